"""Stored history as a source: the newest close.  It may value a position, and prices no order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.quotes.numbers import price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceQuote
from adapters.symbols.inferred import calendar_of
from engine.errors import TradectlError
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import BarSource, Calendar, Clock

_DAY_SECONDS: Final = 86_400
_LOOK_BACK_BARS: Final = (4, 64, 1024, 16_384)
"""How far to look for the last bar that traded, in intervals: nearly always the first is enough."""


class HistorySource:
    """``Source`` over stored bars, asked for by canonical symbol: the newest close, of whatever interval.

    The time of a close is the end of its bar.
    """

    name = "history"
    batch = 1000

    def __init__(self, bars: BarSource, calendar: Calendar, clock: Clock) -> None:
        """Look into ``bars``; ``calendar`` says when a bar of a symbol ended."""
        self._bars = bars
        self._calendar = calendar
        self._clock = clock

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Look up every symbol; where the time does not last, the rest has failed."""
        ends_ns = self._clock.monotonic_ns() + int(timeout_seconds * 1_000_000_000)
        answers: dict[str, Answer] = {}
        for symbol in spellings:
            if self._clock.monotonic_ns() >= ends_ns:
                answers[symbol] = Miss(Outcome.FAILED, f"not looked up within {timeout_seconds:g} s")
                continue
            try:
                answers[symbol] = self._newest(symbol)
            except TradectlError as error:
                answers[symbol] = Miss(Outcome.FAILED, f"its bars cannot be read: {error}")
        return answers

    def _newest(self, symbol: str) -> Answer:
        finest = self._bars.interval_of(symbol)
        if finest is None:
            return Miss(Outcome.UNSUPPORTED, f"no bars of {symbol} are stored")
        now_ms = self._clock.now_utc_ms()
        closes = [
            found
            for interval in {finest, _DAY_SECONDS}
            if (found := self._close(symbol, interval, now_ms)) is not None
        ]
        if not closes:
            return Miss(Outcome.NO_DATA, f"no stored bar of {symbol} has closed and traded")
        return max(closes, key=lambda quote: quote.source_time_ms or 0)

    def _close(self, symbol: str, interval: int, now_ms: int) -> SourceQuote | None:
        for count in _LOOK_BACK_BARS:
            for bar in reversed(
                self._bars.closed(symbol, interval, now_ms - count * interval * 1000, now_ms)
            ):
                price = price_of(bar.close) if bar.traded else None
                if price is not None:
                    at_ms = self._calendar.bar_close_ms(calendar_of(symbol), interval, bar.open_time_ms)
                    currency = symbol.partition("-")[2] if calendar_of(symbol) == "24/7" else "USD"
                    return SourceQuote(
                        price=price,
                        bid=price,
                        ask=price,
                        currency=currency,
                        kind=QuoteKind.HISTORY,
                        source_time_ms=at_ms,
                        receive_time_ms=now_ms,
                    )
        return None
