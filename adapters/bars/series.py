"""Bars of one symbol and interval as columns, and what is made of them: views, gaps filled, coarser bars."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

from engine.model import Bar
from engine.runtime.ports import Calendar

DAY_SECONDS: Final = 86_400
_DAY_MS: Final = DAY_SECONDS * 1000
_LONGEST_CLOSURE_MS: Final = 15 * _DAY_MS


def _integers() -> array[int]:
    return array("q")


def _floats() -> array[float]:
    return array("d")


@dataclass(slots=True)
class BarSeries:
    """Parallel columns, one entry per bar, strictly ascending in time.

    ``open_time_ms`` is each bar's start (UTC); prices are money per unit, NaN where the source has no
    such column; ``traded`` is 1, or 0 for a bar proven to be without a trade.
    """

    interval_seconds: int
    open_time_ms: array[int] = field(default_factory=_integers)
    open: array[float] = field(default_factory=_floats)
    high: array[float] = field(default_factory=_floats)
    low: array[float] = field(default_factory=_floats)
    close: array[float] = field(default_factory=_floats)
    volume: array[float] = field(default_factory=_floats)
    traded: bytearray = field(default_factory=bytearray)

    @classmethod
    def of_columns(cls, interval_seconds: int, columns: Sequence[Sequence[float]]) -> BarSeries:
        """Make a series of bars that all traded from open times, opens, highs, lows, closes, volumes."""
        times, opens, highs, lows, closes, volumes = columns
        return cls(
            interval_seconds,
            array("q", map(int, times)),
            array("d", opens),
            array("d", highs),
            array("d", lows),
            array("d", closes),
            array("d", volumes),
            bytearray(b"\x01") * len(times),
        )

    def __len__(self) -> int:
        """Return how many bars there are."""
        return len(self.open_time_ms)

    def append(self, bar: Bar) -> None:
        """Add a bar at the end; its time must be later than the last."""
        self.open_time_ms.append(bar.open_time_ms)
        self.open.append(bar.open)
        self.high.append(bar.high)
        self.low.append(bar.low)
        self.close.append(bar.close)
        self.volume.append(bar.volume)
        self.traded.append(bar.traded)

    def bar(self, index: int) -> Bar:
        """Return one bar; ``index`` counts from 0."""
        return Bar(
            self.open_time_ms[index],
            self.open[index],
            self.high[index],
            self.low[index],
            self.close[index],
            self.volume[index],
            bool(self.traded[index]),
        )

    def closed(self, calendar: Calendar, name: str, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars that opened after ``after_ms`` and closed at or before ``until_ms``, uncopied."""
        # No bar is open longer than its interval, so all up to here are closed without asking ...
        end = bisect_right(self.open_time_ms, until_ms - self.interval_seconds * 1000)
        # ... and the few behind it are closed only where the session cut them short.
        while (
            end < len(self)
            and self.open_time_ms[end] < until_ms
            and calendar.bar_close_ms(name, self.interval_seconds, self.open_time_ms[end]) <= until_ms
        ):
            end += 1
        start = bisect_right(self.open_time_ms, after_ms)
        return BarSlice(self, range(start, max(start, end)))


class BarSlice(Sequence[Bar]):
    """A stretch of a series; a ``Bar`` is made when it is looked at."""

    __slots__ = ("_indices", "_series")

    def __init__(self, series: BarSeries, indices: range) -> None:
        """Look at ``indices`` of ``series``."""
        self._series = series
        self._indices = indices

    def __len__(self) -> int:
        """Return how many bars are seen."""
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Bar: ...
    @overload
    def __getitem__(self, index: slice) -> BarSlice: ...
    def __getitem__(self, index: int | slice) -> Bar | BarSlice:
        """Return one bar, or a view of some."""
        if isinstance(index, slice):
            return BarSlice(self._series, self._indices[index])
        return self._series.bar(self._indices[index])

    def __iter__(self) -> Iterator[Bar]:
        """Yield the bars in order."""
        return map(self._series.bar, self._indices)


def with_untraded_bars(series: BarSeries, expected: Sequence[int]) -> BarSeries:
    """Return the series with a bar of ``traded=False`` wherever an expected open time is absent.

    Such a bar repeats the last close and has volume 0.  ``expected`` lies within the series' range.
    """
    filled = BarSeries(series.interval_seconds)
    index = 0
    for at_ms in expected:
        while index < len(series) and series.open_time_ms[index] <= at_ms:
            filled.append(series.bar(index))
            index += 1
        if not len(filled) or filled.open_time_ms[-1] != at_ms:
            last = filled.close[-1] if len(filled) else series.close[0]
            filled.append(Bar(at_ms, last, last, last, last, 0.0, traded=False))
    for rest in range(index, len(series)):
        filled.append(series.bar(rest))
    return filled


def resampled(fine: BarSeries, interval_seconds: int, calendar: Calendar, name: str) -> BarSeries:
    """Return the coarser bars that can be proven from finer ones.

    A coarse bar is made only if every finer bar expected within it is there; otherwise it is absent,
    for its consumer a gap.  ``interval_seconds`` is a multiple of the finer interval, at most one day.
    Bars outside regular sessions are part of no coarse bar.
    """
    coarse = BarSeries(interval_seconds)
    opens = fine.open_time_ms
    index = 0
    while index < len(opens):
        enclosing = _enclosing(calendar, name, fine.interval_seconds, interval_seconds, opens[index])
        if enclosing is None:
            index += 1
            continue
        open_time_ms, expected = enclosing
        if opens[index] < expected[0]:
            index = bisect_left(opens, expected[0], index)
            continue
        end = bisect_right(opens, expected[-1], index)
        if end - index == len(expected) and all(map(int.__eq__, opens[index:end], expected)):
            coarse.append(
                Bar(
                    open_time_ms,
                    fine.open[index],
                    max(fine.high[index:end]),
                    min(fine.low[index:end]),
                    fine.close[end - 1],
                    math.fsum(fine.volume[index:end]),
                    traded=any(fine.traded[index:end]),
                )
            )
        index = end
    return coarse


def _enclosing(
    calendar: Calendar, name: str, fine_seconds: int, coarse_seconds: int, at_ms: int
) -> tuple[int, Sequence[int]] | None:
    """Return the open time of the coarse bar around an instant, and those of its finer bars.

    Before a session it is the session's daily bar, but no intraday bar; None where there is none.
    """
    if coarse_seconds == DAY_SECONDS:
        labels = calendar.expected_bars(name, DAY_SECONDS, at_ms - _LONGEST_CLOSURE_MS, at_ms + 2 * _DAY_MS)
        closes = [calendar.bar_close_ms(name, DAY_SECONDS, label) for label in labels]
        index = bisect_right(closes, at_ms)
        if not 0 < index < len(closes):
            return None
        open_time_ms, start_ms, close_ms = labels[index], closes[index - 1], closes[index]
    else:
        opens = calendar.expected_bars(name, coarse_seconds, at_ms - coarse_seconds * 1000 + 1, at_ms + 1)
        if not opens:
            return None
        open_time_ms = start_ms = opens[-1]
        close_ms = calendar.bar_close_ms(name, coarse_seconds, open_time_ms)
    expected = calendar.expected_bars(name, fine_seconds, start_ms, close_ms)
    return (open_time_ms, expected) if expected and at_ms <= expected[-1] else None
