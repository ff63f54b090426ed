"""The market behind ``tradectl stub``: the simulated one, moving every second."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from adapters.quotes.simulated import SimulatedMarket, simulated_instrument
from adapters.symbols.inferred import ALWAYS_OPEN
from engine.model import Bar, Quote
from engine.runtime.ports import Calendar, Clock
from engine.units import PRICE_SCALE

_DAY_SECONDS: Final = 86_400
_NEW_YORK: Final = ZoneInfo("America/New_York")
_LARGEST_MOVE: Final = Decimal("0.0002")
"""How far a second's price is from the simulated market's own, as a share: about a spread."""
_DOLLAR: Final = (Decimal("0.9999"), Decimal("1.0001"))


@dataclass(frozen=True, slots=True)
class Tick:
    """A quote of one symbol: US dollars, and when it was made."""

    symbol: str
    bid: Decimal
    ask: Decimal
    at_ms: int


class StubMarket:
    """Quotes that differ from second to second around a ``SimulatedMarket``, and that market's bars.

    The same seed makes the same market.  Stocks stand still while their exchange is closed.
    """

    def __init__(self, symbols: Sequence[str], seed: int, calendar: Calendar, clock: Clock) -> None:
        """Simulate canonical symbols."""
        self._seed = seed
        self._clock = clock
        self._instruments = {symbol: simulated_instrument(symbol, seed) for symbol in symbols}
        self._market = SimulatedMarket(seed, list(self._instruments.values()), calendar, clock)

    def ticks(self) -> list[Tick]:
        """Return the quote of every symbol at the clock's time."""
        now_ms = self._clock.now_utc_ms()
        return [tick for symbol in self._instruments if (tick := self._tick(symbol, now_ms)) is not None]

    def calendar(self, symbol: str) -> str:
        """Return the calendar that a symbol trades by."""
        return self._instruments[symbol].calendar

    def bars(
        self, symbol: str, interval_seconds: int, start_ms: int, end_ms: int, *, untraded: bool = False
    ) -> Sequence[Bar]:
        """Return the closed bars with trades that open within [start, end], ascending; or all of them.

        Bars of a day of stocks open at midnight in New York, as Alpaca's do.
        """
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return []
        slack_ms = _DAY_SECONDS * 1000 if interval_seconds == _DAY_SECONDS else 0
        until_ms = end_ms + slack_ms + interval_seconds * 1000
        bars = self._market.closed(symbol, interval_seconds, start_ms - slack_ms - 1, until_ms)
        if slack_ms and instrument.calendar != ALWAYS_OPEN:
            bars = [replace(bar, open_time_ms=_midnight_ms(bar.open_time_ms)) for bar in bars]
        return [bar for bar in bars if (bar.traded or untraded) and start_ms <= bar.open_time_ms <= end_ms]

    def _tick(self, symbol: str, now_ms: int) -> Tick | None:
        if symbol.startswith(("USDT-", "USDC-")):
            return Tick(symbol, *_DOLLAR, now_ms)
        quote = self._market.quote(symbol, now_ms)
        if not isinstance(quote, Quote):
            return None
        at_ms = now_ms if self._instruments[symbol].calendar == ALWAYS_OPEN else quote.source_time_ms
        step = Decimal(self._instruments[symbol].price_step)
        factor = 1 + _LARGEST_MOVE * self._drawn(symbol, at_ms // 1000)
        bid = (Decimal(quote.bid) / PRICE_SCALE * factor / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step
        spread = Decimal(quote.ask - quote.bid) / PRICE_SCALE
        return Tick(symbol, max(bid, step), max(bid, step) + spread, at_ms)

    def _drawn(self, symbol: str, second: int) -> Decimal:
        """Return a number from -1 to 1."""
        digest = hashlib.blake2b(f"{self._seed}\n{symbol}\n{second}".encode(), digest_size=4).digest()
        return Decimal(int.from_bytes(digest, "little")) / 2**31 - 1


def _midnight_ms(label_ms: int) -> int:
    day = datetime.fromtimestamp(label_ms / 1000, UTC).date()
    return int(datetime.combine(day, time(), _NEW_YORK).timestamp()) * 1000
