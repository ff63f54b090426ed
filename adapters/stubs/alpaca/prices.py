"""The market data of the local Alpaca: the latest quote and trade of each symbol, and its bars."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Final, Protocol

from adapters.stubs.alpaca.refusal import bad_request
from adapters.stubs.alpaca.wire import NEW_YORK, bar_instant, data_instant, local_date, to_ms
from engine.model import Bar

_MINUTE_MS: Final = 60_000
_UNITS_MS: Final = {"Min": _MINUTE_MS, "T": _MINUTE_MS, "Hour": 60 * _MINUTE_MS, "H": 60 * _MINUTE_MS}
_DAY_MS: Final = 86_400_000
_MOST_OF_UNIT: Final = {"Min": 59, "T": 59, "Hour": 23, "H": 23}
_STRETCH: Final = 5000
_ALL_MS: Final = 1 << 48
_HISTORY_BEGINS_MS: Final = 1_420_070_400_000  # 2015-01-01, as the real one's
MINUTE: Final = "1Min"
DAY: Final = "1Day"


@dataclass(frozen=True, slots=True)
class Ticker:
    """The latest quote and the latest trade of one symbol."""

    bid: Decimal
    ask: Decimal
    at_ms: int
    last: Decimal
    size: Decimal = Decimal(1)

    def quote_json(self, is_crypto: bool) -> dict[str, object]:
        """Return the quote as market data writes it."""
        size: float | int = float(self.size) if is_crypto else 100
        quote: dict[str, object] = {
            "t": data_instant(self.at_ms),
            "bp": float(self.bid),
            "bs": size,
            "ap": float(self.ask),
            "as": size,
        }
        if not is_crypto:
            quote |= {"ax": "V", "bx": "V", "c": ["R"], "z": "B"}
        return quote

    def trade_json(self, is_crypto: bool) -> dict[str, object]:
        """Return the trade as market data writes it."""
        trade: dict[str, object] = {"t": data_instant(self.at_ms), "p": float(self.last), "i": self.at_ms}
        if is_crypto:
            return trade | {"s": float(self.size), "tks": "B"}
        return trade | {"s": 100, "x": "V", "c": ["@"], "z": "B"}


def bar_json(bar: Bar, is_crypto: bool) -> dict[str, object]:
    """Return a bar as market data writes it."""
    return {
        "t": bar_instant(bar.open_time_ms),
        "o": bar.open,
        "h": bar.high,
        "l": bar.low,
        "c": bar.close,
        "v": bar.volume if is_crypto else int(bar.volume),
        "n": 1 if bar.traded else 0,
        "vw": (bar.high + bar.low + bar.close) / 3,
    }


class History(Protocol):
    """Bars of a past that is longer than one cares to store."""

    def __call__(self, symbol: str, interval_seconds: int, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """Return the bars of a minute or of a day that open within [start, end], ascending."""


@dataclass(slots=True)
class Prices:
    """What the market data knows; symbols in the spelling of orders.

    A symbol has the bars that were set by hand; a symbol without any has those of ``history``.
    """

    tickers: dict[str, Ticker] = field(default_factory=dict)
    bars: dict[str, dict[str, list[Bar]]] = field(default_factory=dict)
    """Bars by symbol and timeframe ("1Min", "1Day"), ascending."""
    history: History | None = None

    def add_bar(self, symbol: str, bar: Bar, timeframe: str = MINUTE) -> None:
        """Add a bar, or put it in the place of the one that opened with it."""
        of_symbol = self.bars.setdefault(symbol, {})
        bars = [other for other in of_symbol.get(timeframe, []) if other.open_time_ms != bar.open_time_ms]
        insort(bars, bar, key=lambda other: other.open_time_ms)
        of_symbol[timeframe] = bars  # a new list: who reads the old one is not disturbed

    def series(
        self, symbol: str, timeframe: str, is_crypto: bool, start_ms: int, end_ms: int
    ) -> Sequence[Bar]:
        """Return the bars that open within [start, end]; longer ones are made of those of a minute.

        Raises:
            Refusal: The timeframe cannot be read.
        """
        unit_ms = timeframe_ms(timeframe)
        stored = self.bars.get(symbol, {})
        found: Sequence[Bar]
        if timeframe in stored:
            found = stored[timeframe]
        elif not stored and self.history is not None and unit_ms == _DAY_MS:
            found = self.history(symbol, _DAY_MS // 1000, start_ms, end_ms)
        else:
            minutes = self._minutes(symbol, start_ms, end_ms + unit_ms)
            groups = groupby(minutes, key=lambda bar: _opening_ms(bar.open_time_ms, unit_ms, is_crypto))
            found = [_joined(open_ms, list(bars)) for open_ms, bars in groups]
        return [bar for bar in found if start_ms <= bar.open_time_ms <= end_ms]

    def stretch_ms(self, timeframe: str) -> int:
        """Return how much is best read at once: what is stored as a whole, a history piece by piece."""
        return _ALL_MS if self.history is None else _STRETCH * timeframe_ms(timeframe)

    def _minutes(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        stored = self.bars.get(symbol)
        if stored is not None:
            return stored.get(MINUTE, [])
        return [] if self.history is None else self.history(symbol, 60, start_ms, end_ms)


def timeframe_ms(timeframe: str) -> int:
    """Return the length of a timeframe such as 1Min, 15T, 4Hour or 1Day; a refusal where it is none."""
    digits = timeframe[: len(timeframe) - len(timeframe.lstrip("0123456789"))]
    unit = timeframe[len(digits) :]
    count = int(digits) if digits.isascii() and 1 <= len(digits) <= 3 else 0
    if unit in ("Day", "D") and count == 1:
        return _DAY_MS
    if unit in _UNITS_MS and 1 <= count <= _MOST_OF_UNIT[unit]:
        return count * _UNITS_MS[unit]
    raise bad_request(f"invalid timeframe: {timeframe}")


def _opening_ms(at_ms: int, unit_ms: int, is_crypto: bool) -> int:
    if unit_ms < _DAY_MS or is_crypto:
        return at_ms - at_ms % unit_ms
    # A day of stocks begins at midnight in New York.
    return to_ms(datetime.combine(local_date(at_ms), datetime.min.time(), NEW_YORK))


def _joined(open_ms: int, bars: Sequence[Bar]) -> Bar:
    traded = [bar for bar in bars if bar.traded] or bars
    return Bar(
        open_ms,
        traded[0].open,
        max(bar.high for bar in traded),
        min(bar.low for bar in traded),
        traded[-1].close,
        sum(bar.volume for bar in traded),
        traded=any(bar.traded for bar in bars),
    )


# --- pages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked of the history: [start, end] in milliseconds, and where the last page ended."""

    start_ms: int
    end_ms: int
    limit: int
    descending: bool
    token: str | None

    def of(
        self, symbols: Iterable[str], read: Callable[[str, int, int], Sequence[Bar]], stretch_ms: int
    ) -> tuple[dict[str, list[Bar]], str | None]:
        """Return this page, one symbol after another, and the next page's token.

        ``read`` returns the bars of a symbol that open within a stretch, ascending; it is asked for so
        much at once.
        """
        pages: dict[str, list[Bar]] = {}
        last = ("", 0)
        found = self._all(symbols, read, stretch_ms)
        for taken, (symbol, bar) in enumerate(found):
            if taken == self.limit:
                return pages, _token(*last)
            pages.setdefault(symbol, []).append(bar)
            last = symbol, bar.open_time_ms
        return pages, None

    def _all(
        self, symbols: Iterable[str], read: Callable[[str, int, int], Sequence[Bar]], stretch_ms: int
    ) -> Iterator[tuple[str, Bar]]:
        after = None if self.token is None else _opened_token(self.token)
        for symbol in sorted(symbols):
            start_ms, end_ms = max(self.start_ms, _HISTORY_BEGINS_MS), self.end_ms
            if after is not None and symbol < after[0]:
                continue
            if after is not None and symbol == after[0] and self.descending:
                end_ms = min(end_ms, after[1] - 1)
            elif after is not None and symbol == after[0]:
                start_ms = max(start_ms, after[1] + 1)
            # A page is often much shorter than what was asked for.
            stretches = range(start_ms, end_ms + 1, stretch_ms)
            for first_ms in reversed(stretches) if self.descending else stretches:
                bars = read(symbol, first_ms, min(first_ms + stretches.step - 1, end_ms))
                for bar in reversed(bars) if self.descending else bars:
                    yield symbol, bar


def _token(symbol: str, at_ms: int) -> str:
    return b64encode(json.dumps([symbol, at_ms]).encode()).decode()


def _opened_token(token: str) -> tuple[str, int]:
    try:
        symbol, at_ms = json.loads(b64decode(token, validate=True))
    except (ValueError, TypeError):
        raise bad_request("invalid page_token") from None
    if not (isinstance(symbol, str) and isinstance(at_ms, int)):
        raise bad_request("invalid page_token")
    return symbol, at_ms


def day_before(at_ms: int) -> int:
    """Return the beginning of the UTC day: where a history begins that was asked for without a start."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
