"""The bar desk: keeps every symbol's indicators up to date and says why a reading is Unknown.

Expected bars come from the calendar.  A bar that is absent while a later one is there is a gap: the
indicators that read it start anew behind it.  Bars missing at the end make a reading stale, until they come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.codes import UnknownReason
from engine.indicators import SeriesEngine, bars_needed, is_recursive
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import Bar
from engine.runtime.ports import BarSource, Calendar
from engine.series import SELF, SeriesNode, columns
from engine.verbs.facts import Known, known, unknown
from engine.verbs.state import NEVER

ALWAYS_OPEN: Final = "24/7"
DAY_SECONDS: Final = 86_400


@dataclass(slots=True)
class _Cursor:
    """Where reading a source stands: the last bar taken in, and how many expected ones are missing since."""

    last_open_ms: int
    started: bool = False
    missing: int = 0
    due_ms: int = 0  # no expected bar closes before


@dataclass(slots=True)
class _Watched:
    """One symbol under decision."""

    names: tuple[str, ...]
    series: SeriesEngine
    cursors: dict[tuple[str, int], _Cursor]
    own: _Cursor
    sources_of: tuple[frozenset[tuple[str, int]], ...]
    fresh_bars: list[Bar] = field(default_factory=list)
    readings: dict[str, Known] | None = None  # until a source moves


class BarDesk:
    """Feeds closed bars to the indicators of every symbol."""

    def __init__(
        self, bars: BarSource, calendar: Calendar, calendar_of: Callable[[str], str], bars_seconds: int
    ) -> None:
        """``calendar_of`` names a symbol's calendar; ``bars_seconds`` is the policy's interval."""
        self._bars = bars
        self._calendar = calendar
        self._calendar_of = calendar_of
        self._bars_seconds = bars_seconds
        self._watched: dict[str, _Watched] = {}

    def watch(self, symbol: str, policy: LoweredPolicy, from_ms: Mapping[tuple[str, int], int]) -> None:
        """Compute a policy's series for a symbol.

        ``from_ms`` says, by calendar and interval, from which open time on bars are taken in.
        """
        slots = [slot for slot in policy.slots if slot.origin is SlotOrigin.SERIES and slot.series is not None]
        nodes: list[SeriesNode] = [slot.series for slot in slots if slot.series is not None]
        series = SeriesEngine(nodes, symbol)
        cursors = {
            source: _Cursor(from_ms.get((self._calendar_of(source[0]), source[1]), 0) - 1)
            for source in sorted(series.sources)
        }
        sources_of = tuple(
            frozenset(
                (column.symbol if column.symbol != SELF else symbol, column.interval_seconds)
                for column in columns(node)
            )
            for node in nodes
        )
        own = _Cursor(from_ms.get((self._calendar_of(symbol), self._bars_seconds), 0) - 1)
        self._watched[symbol] = _Watched(tuple(slot.name for slot in slots), series, cursors, own, sources_of)

    def update(self, symbol: str, now_ms: int) -> None:
        """Take in all bars of a symbol's sources that closed at or before now."""
        watched = self._watched[symbol]
        for source, cursor in watched.cursors.items():
            if now_ms >= cursor.due_ms:
                self._read(watched, source, cursor, now_ms)
                watched.readings = None
        own = watched.own
        fresh = self._bars.closed(symbol, self._bars_seconds, own.last_open_ms, now_ms)
        watched.fresh_bars = list(fresh)
        if watched.fresh_bars:
            own.started = True
            own.last_open_ms = watched.fresh_bars[-1].open_time_ms

    def _read(self, watched: _Watched, source: tuple[str, int], cursor: _Cursor, now_ms: int) -> None:
        symbol, interval = source
        bars = self._bars.closed(symbol, interval, cursor.last_open_ms, now_ms)
        expected = self.expected(symbol, interval, cursor.last_open_ms + 1, now_ms)
        at = 0
        missing = 0
        for open_ms in expected:
            while at < len(bars) and bars[at].open_time_ms < open_ms:
                at += 1  # outside the expected sessions: no part of any indicator
            if at >= len(bars) or bars[at].open_time_ms != open_ms:
                missing += 1
                continue
            if missing and cursor.started:
                watched.series.gap(symbol, interval)
            missing = 0
            watched.series.feed(symbol, interval, bars[at])
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
            cursors = [watched.cursors[source] for source in sources if source in watched.cursors]
            if any(not cursor.started for cursor in cursors):
                result[name] = unknown(UnknownReason.NO_BARS)
            elif any(cursor.missing for cursor in cursors) or value.age_bars:
                result[name] = unknown(UnknownReason.STALE)
            elif value.reason is UnknownReason.KNOWN:
                result[name] = known(value.value)
            else:
                result[name] = unknown(value.reason)
        watched.readings = result
        return result

    def fresh_bars(self, symbol: str) -> Sequence[Bar]:
        """Return the bars of the policy's interval that the last update brought."""
        return self._watched[symbol].fresh_bars

    def last_bar_ms(self, symbol: str) -> int:
        """Return the open time of the last closed bar of the policy's interval, NEVER before the first."""
        own = self._watched[symbol].own
        return own.last_open_ms if own.started else NEVER

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

    Twice the warm-up of recursive indicators, so that a small gap does not leave them cold; stocks trade about a
    fifth of the time, nights, weekends and holidays being what they are.
    """
    needed: dict[tuple[str, int], int] = {}
    for slot in policy.slots:
        if slot.series is None:
            continue
        for column in columns(slot.series):
            bars = bars_needed(slot.series) * (2 if is_recursive(slot.series) else 1) + 2
            source = calendar_of(symbol if column.symbol == SELF else column.symbol), column.interval_seconds
            spread = 1.0 if source[0] == ALWAYS_OPEN else 6.5
            if column.interval_seconds >= DAY_SECONDS and spread > 1:
                spread = 1.6
            seconds = int(bars * column.interval_seconds * spread) + 5 * DAY_SECONDS
            needed[source] = max(needed.get(source, 0), seconds)
    return needed
