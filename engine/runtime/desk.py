"""The bar desk: keeps every symbol's indicators up to date and says why a reading is Unknown.

Expected bars come from the calendar.  A bar that is absent while a later one is there is a gap: the
indicators that read it start anew behind it, also after a restart, whatever has come since.  Bars missing
at the end make a reading stale, until they come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.codes import UnknownReason
from engine.errors import DataError, UnavailableError
from engine.indicators import SeriesEngine, bars_needed, is_recursive
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import Bar
from engine.runtime.ports import BarSource, Calendar
from engine.series import SELF, SeriesNode, columns
from engine.verbs.facts import Known, known, unknown
from engine.verbs.state import NEVER

ALWAYS_OPEN: Final = "24/7"
DAY_SECONDS: Final = 86_400

Source = tuple[str, int]
"""A symbol and an interval in seconds."""


@dataclass(slots=True)
class _Cursor:
    """Where reading a source stands: the last bar taken in, and how many expected ones are missing since."""

    last_open_ms: int
    anchor_ms: int = NEVER  # open of the first bar behind the latest gap
    started: bool = False
    missing: int = 0
    due_ms: int = 0  # no expected bar closes before


@dataclass(slots=True)
class _Watched:
    """One symbol under decision."""

    names: tuple[str, ...]
    series: SeriesEngine
    cursors: dict[Source, _Cursor]
    own: Source  # the symbol's bars of the policy's interval
    sources_of: tuple[frozenset[Source], ...]
    fresh_bars: list[Bar] = field(default_factory=list)
    last_bar: Bar | None = None
    readings: dict[str, Known] | None = None  # until a source moves


class BarDesk:
    """Feeds closed bars to the indicators of every symbol.

    ``troubles`` says of each source that could not be read why; it is empty when all is well.
    """

    def __init__(
        self, bars: BarSource, calendar: Calendar, calendar_of: Callable[[str], str], bars_seconds: int
    ) -> None:
        """``calendar_of`` names a symbol's calendar; ``bars_seconds`` is the policy's interval."""
        self.troubles: dict[Source, str] = {}
        self._bars = bars
        self._calendar = calendar
        self._calendar_of = calendar_of
        self._bars_seconds = bars_seconds
        self._watched: dict[str, _Watched] = {}

    def watch(
        self,
        symbol: str,
        policy: LoweredPolicy,
        from_ms: Mapping[Source, int],
        anchors_ms: Mapping[Source, int] | None = None,
    ) -> None:
        """Compute a policy's series for a symbol.

        ``from_ms`` says, by calendar and interval, from which open time on bars are taken in;
        ``anchors_ms``, by symbol and interval, where the first bar behind the latest gap is (``anchors``
        before a restart).
        """
        slots = [
            slot for slot in policy.slots if slot.origin is SlotOrigin.SERIES and slot.series is not None
        ]
        nodes: list[SeriesNode] = [slot.series for slot in slots if slot.series is not None]
        series = SeriesEngine(nodes, symbol)
        own = symbol, self._bars_seconds
        cursors = {}
        for source in sorted({*series.sources, own}):
            anchor_ms = (anchors_ms or {}).get(source, NEVER)
            begin_ms = max(anchor_ms, from_ms.get((self._calendar_of(source[0]), source[1]), 0))
            cursors[source] = _Cursor(begin_ms - 1, anchor_ms)
        sources_of = tuple(
            frozenset(
                (column.symbol if column.symbol != SELF else symbol, column.interval_seconds)
                for column in columns(node)
            )
            for node in nodes
        )
        names = tuple(slot.name for slot in slots)
        self._watched[symbol] = _Watched(names, series, cursors, own, sources_of)

    def anchors(self) -> dict[Source, int]:
        """Return, by source, the open time of the first bar behind its latest gap; without gaps nothing."""
        found: dict[Source, int] = {}
        for watched in self._watched.values():
            for source, cursor in watched.cursors.items():
                if cursor.anchor_ms != NEVER:
                    found[source] = max(cursor.anchor_ms, found.get(source, NEVER))
        return found

    def update(self, symbol: str, now_ms: int) -> None:
        """Take in all bars of a symbol's sources that closed at or before now.

        A source that cannot be read leaves the indicators as they were; its bars are missing until they come.
        """
        watched = self._watched[symbol]
        watched.fresh_bars = []
        for source, cursor in watched.cursors.items():
            if now_ms < cursor.due_ms:
                continue
            try:
                bars = self._bars.closed(*source, cursor.last_open_ms, now_ms)
                self.troubles.pop(source, None)
            except (UnavailableError, DataError) as error:
                bars = ()
                self.troubles[source] = str(error)
            self._take(watched, source, cursor, bars, now_ms)
            watched.readings = None

    def _take(
        self, watched: _Watched, source: Source, cursor: _Cursor, bars: Sequence[Bar], now_ms: int
    ) -> None:
        symbol, interval = source
        expected = self.expected(symbol, interval, cursor.last_open_ms + 1, now_ms)
        at, count = 0, len(bars)
        missing = 0
        for index, open_ms in enumerate(expected):
            while at < count and bars[at].open_time_ms < open_ms:
                at += 1  # outside the expected sessions: no part of any indicator
            if at == count:
                missing += len(expected) - index
                break
            if bars[at].open_time_ms != open_ms:
                missing += 1
                continue
            if missing and cursor.started:
                watched.series.gap(symbol, interval)
                cursor.anchor_ms = open_ms
            missing = 0
            watched.series.feed(symbol, interval, bars[at])
            if source == watched.own:
                watched.fresh_bars.append(bars[at])
                watched.last_bar = bars[at]
            cursor.started = True
            cursor.last_open_ms = open_ms
            at += 1
        cursor.missing = missing
        cursor.due_ms = 0 if missing else self._next_close_ms(symbol, interval, cursor.last_open_ms, now_ms)

    def _next_close_ms(self, symbol: str, interval: int, last_open_ms: int, now_ms: int) -> int:
        """Return when the next expected bar closes, or an earlier instant to look again."""
        name = self._calendar_of(symbol)
        horizon_ms = now_ms + interval * 1000
        coming = self._calendar.expected_bars(name, interval, last_open_ms + 1, horizon_ms)
        return self._calendar.bar_close_ms(name, interval, coming[0]) if coming else horizon_ms

    def expected(self, symbol: str, interval: int, start_ms: int, now_ms: int) -> Sequence[int]:
        """Return the open times of the bars expected from ``start_ms`` on that have closed by now."""
        name = self._calendar_of(symbol)
        found = self._calendar.expected_bars(name, interval, start_ms, now_ms)
        end = len(found)
        while end and self._calendar.bar_close_ms(name, interval, found[end - 1]) > now_ms:
            end -= 1
        return found[:end]

    def readings(self, symbol: str) -> Mapping[str, Known]:
        """Return the value of every series slot, by name; the same until a bar comes or is missed."""
        watched = self._watched[symbol]
        if watched.readings is not None:
            return watched.readings
        result: dict[str, Known] = {}
        for name, sources, value in zip(
            watched.names, watched.sources_of, watched.series.values(), strict=True
        ):
            cursors = [watched.cursors[source] for source in sources]
            if any(not cursor.started for cursor in cursors):
                result[name] = unknown(UnknownReason.NO_BARS)
            elif any(cursor.missing for cursor in cursors) or value.age_bars:
                result[name] = unknown(UnknownReason.STALE)
            elif value.reason is UnknownReason.KNOWN:
                result[name] = known(value.value)
            elif value.reason is UnknownReason.WARM_UP and any(c.anchor_ms != NEVER for c in cursors):
                result[name] = unknown(UnknownReason.GAP)  # it was cut off, and is warming up again
            else:
                result[name] = unknown(value.reason)
        watched.readings = result
        return result

    def fresh_bars(self, symbol: str) -> Sequence[Bar]:
        """Return the bars of the policy's interval that the last update brought."""
        return self._watched[symbol].fresh_bars

    def last_bar_ms(self, symbol: str) -> int:
        """Return the open time of the last closed bar of the policy's interval, NEVER before the first."""
        last = self._watched[symbol].last_bar
        return NEVER if last is None else last.open_time_ms

    def last_close(self, symbol: str) -> tuple[float, int] | None:
        """Return close and closing time of the last bar of the policy's interval; None before the first."""
        watched = self._watched.get(symbol)
        if watched is None or watched.last_bar is None:
            return None
        bar = watched.last_bar
        name = self._calendar_of(symbol)
        return bar.close, self._calendar.bar_close_ms(name, self._bars_seconds, bar.open_time_ms)

    def bars_since(self, symbol: str, since_ms: int, now_ms: int) -> int:
        """Return how many expected bars of the policy's interval closed after an instant."""
        interval = self._bars_seconds
        name = self._calendar_of(symbol)
        reach_ms = max(interval, DAY_SECONDS) * 1000
        opens = self.expected(symbol, interval, since_ms - reach_ms, now_ms)
        closed = bisect_right(
            opens, since_ms, key=lambda open_ms: self._calendar.bar_close_ms(name, interval, open_ms)
        )
        return len(opens) - closed


def history_needed_seconds(
    policy: LoweredPolicy, symbol: str, calendar_of: Callable[[str], str]
) -> dict[tuple[str, int], int]:
    """Return, by calendar and interval, how far back bars are needed so that a symbol's indicators are warm.

    Twice the warm-up of recursive indicators, so that a small gap does not leave them cold; stocks trade
    about a fifth of the time, nights, weekends and holidays being what they are.
    """
    needed: dict[tuple[str, int], int] = {}
    for slot in policy.slots:
        if slot.series is None:
            continue
        for column in columns(slot.series):
            bars = bars_needed(slot.series) * (2 if is_recursive(slot.series) else 1) + 2
            source = calendar_of(symbol if column.symbol == SELF else column.symbol), column.interval_seconds
            seconds = bars * column.interval_seconds
            if source[0] != ALWAYS_OPEN:
                closures = 1.6 if column.interval_seconds >= DAY_SECONDS else 6.5
                seconds = int(seconds * closures) + 5 * DAY_SECONDS
            needed[source] = max(needed.get(source, 0), seconds)
    return needed
