"""Closed bars for a running agent: out of the history store, which is filled behind its back.

``closed`` never waits for a vendor: what is missing is fetched by a thread, and seen by a later call.  Until
it is known what became of a missing bar, the bars behind it are held back: an indicator that steps over a
hole starts anew there (``engine.runtime.desk``), and a bar that comes a second later would come too late.  A
hole is decided once every source has answered and none has the bar, or after ``patience_seconds``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.bars.fetching import Filled, Gap, HistoryFetcher, Wanted, closed_bars
from adapters.bars.series import BarSeries
from adapters.bars.store import Spans, covers, repeat_closes
from engine.model import Bar
from engine.runtime.ports import Calendar, Clock

_NS: Final = 1_000_000_000
Key = tuple[str, int]
"""A symbol and an interval in seconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the thread works: so long and so many requests for one series before the next has its turn.

    After a turn a series rests, unless there was more to fetch, and longer where there was trouble.
    ``patience_seconds`` is how long a missing bar holds back those behind it while sources cannot be heard.
    """

    turn_seconds: float = 10.0
    turn_requests: int = 10
    rest_seconds: float = 5.0
    trouble_rest_seconds: float = 30.0
    patience_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class _View:
    """What is known of a series; replaced as a whole, so it can be read without a lock."""

    from_ms: int
    series: BarSeries
    looked_ms: int  # of what had closed by then ...
    undecided: Spans  # ... these missing bars may yet come
    gaps: Sequence[Gap] = ()
    trouble: str = ""

    def is_decided(self, open_ms: int, close_ms: int) -> bool:
        return close_ms <= self.looked_ms and not covers(self.undecided, open_ms)


@dataclass(slots=True)
class _Series:
    """One series: what is wanted, what is seen of it, and when it has its next turn."""

    wanted: Wanted
    back_seconds: int
    view: _View | None = None
    error: Exception | None = None  # of the thread, to be raised where somebody hears it
    queued: bool = False
    rests_until_ns: int = 0
    hole_ms: int = -1
    hole_since_ns: int = 0
    given_up_ms: int = -1  # holes that closed by then hold nothing back any more


class BackfilledBars:
    """A ``BarSource`` that fetches what its store lacks.  Safe to ask from one thread."""

    def __init__(
        self,
        fetcher: HistoryFetcher,
        calendar: Calendar,
        clock: Clock,
        wanted: Mapping[Wanted, int],
        pace: Pace | None = None,
    ) -> None:
        """Serve these series, each as many seconds back from the first question as ``wanted`` says.

        The thread begins with the first question and ends with ``close``, or with the process.
        """
        self._fetcher = fetcher
        self._calendar = calendar
        self._clock = clock
        self._pace = pace or Pace()
        self._series = {
            (one.symbol, one.interval_seconds): _Series(one, back) for one, back in wanted.items()
        }
        self._changed = threading.Condition()
        self._queue: list[_Series] = []
        self._working = False
        self._closed = False
        self._thread: threading.Thread | None = None

    # --- the port -----------------------------------------------------------------------------

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the known bars with ``open_time_ms > after_ms`` that closed at or before ``until_ms``.

        Nothing has closed after the clock's time, whatever ``until_ms`` says.  Asks for what is missing and
        does not wait for it.  Raises, once, what kept the thread from its work.
        """
        series = self._series.get((symbol, interval_seconds))
        now_ms = self._clock.now_utc_ms()
        until_ms = min(until_ms, now_ms)
        if series is None or after_ms >= until_ms:
            return ()
        if series.error is not None:
            error, series.error = series.error, None
            raise error
        view = series.view
        if view is None:
            self._ask(series)
            return ()
        hole_ms = self._hole(series, view, max(after_ms + 1, view.from_ms), until_ms)
        if hole_ms is not None:
            self._ask(series)
            if not self._gave_up(series, hole_ms, now_ms):
                until_ms = min(until_ms, hole_ms)
        return view.series.closed(self._calendar, series.wanted.calendar, after_ms, until_ms)

    def interval_of(self, symbol: str) -> int | None:
        """Return the finest interval served for a symbol, seconds; None if it is not served."""
        own = [series.wanted for (name, _), series in self._series.items() if name == symbol]
        stored = self._fetcher.store.intervals(symbol) if own else ()
        return min(
            (
                one.interval_seconds
                for one in own
                if one.interval_seconds in stored or self._fetcher.serves(one)
            ),
            default=None,
        )

    # --- what a person wants to know ------------------------------------------------------------

    def gaps(self) -> Mapping[Key, Sequence[Gap]]:
        """Return, by series that has any, the expected bars that nobody had so far."""
        return {
            key: series.view.gaps
            for key, series in self._series.items()
            if series.view is not None and series.view.gaps
        }

    def troubles(self) -> Mapping[Key, str]:
        """Return, by series, why sources could not be heard or were not believed at the last turn."""
        return {
            key: series.view.trouble
            for key, series in self._series.items()
            if series.view is not None and series.view.trouble
        }

    def warm_up(self, seconds: float) -> bool:
        """Fetch all that is missing, for so long at most; say whether nothing is left to do.

        For the start of an agent: its first cycles would find indicators cold.
        """
        with self._changed:  # none begins before all are waiting: each has its turn
            for series in self._series.values():
                self._ask(series)
            return self._changed.wait_for(lambda: not self._queue and not self._working, seconds)

    def close(self, seconds: float = 5.0) -> None:
        """End the thread; a page that is under way is left to itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    # --- holes ----------------------------------------------------------------------------------

    def _hole(self, series: _Series, view: _View, start_ms: int, until_ms: int) -> int | None:
        """Return the open time of the first missing bar that may yet come."""
        wanted = series.wanted
        there = view.series.open_time_ms
        known = set(there[bisect_left(there, start_ms) :])
        for open_ms in closed_bars(self._calendar, wanted, start_ms, until_ms, until_ms):
            if open_ms in known:
                continue
            close_ms = self._calendar.bar_close_ms(wanted.calendar, wanted.interval_seconds, open_ms)
            if not view.is_decided(open_ms, close_ms) and close_ms > series.given_up_ms:
                return open_ms
        return None

    def _gave_up(self, series: _Series, hole_ms: int, now_ms: int) -> bool:
        """Say whether a hole has held others back for long enough."""
        now_ns = self._clock.monotonic_ns()
        if hole_ms != series.hole_ms:
            series.hole_ms, series.hole_since_ns = hole_ms, now_ns
            return False
        if now_ns - series.hole_since_ns < self._pace.patience_seconds * _NS:
            return False
        # The newest bar holds nothing back, and may come any moment.
        series.given_up_ms = now_ms - series.wanted.interval_seconds * 1000
        return True

    # --- the thread -----------------------------------------------------------------------------

    def _ask(self, series: _Series) -> None:
        with self._changed:
            if self._closed or series.queued or self._clock.monotonic_ns() < series.rests_until_ns:
                return
            series.queued = True
            self._queue.append(series)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="backfill", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._working = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._queue)
                if self._closed:
                    return
                series = self._queue.pop(0)
                self._working = True
            again = False
            try:
                again = self._turn(series)
            except Exception as error:  # raised in ``closed``, where the agent hears it
                series.error = error
            with self._changed:
                series.queued = again
                if again:
                    self._queue.append(series)  # behind the others: each has its turn
                else:
                    troubled = series.error is not None or (series.view is not None and series.view.trouble)
                    rest = self._pace.trouble_rest_seconds if troubled else self._pace.rest_seconds
                    series.rests_until_ns = self._clock.monotonic_ns() + round(rest * _NS)

    def _turn(self, series: _Series) -> bool:
        """Load a series, or fetch what it lacks; say whether there is more to do at once."""
        now_ms = self._clock.now_utc_ms()
        if series.view is None:
            from_ms = now_ms - series.back_seconds * 1000
            self._show(series, from_ms, from_ms, now_ms, None)
            return True
        view = series.view
        start_ms = min([view.looked_ms, *(start for start, _ in view.undecided)])
        # A daily bar opens, by its label, up to two days before it closes.
        start_ms = max(view.from_ms, start_ms - 2 * max(series.wanted.interval_seconds, 86_400) * 1000)
        filled = self._fetcher.fill(
            series.wanted,
            start_ms,
            now_ms,
            until_ns=self._clock.monotonic_ns() + round(self._pace.turn_seconds * _NS),
            most_requests=self._pace.turn_requests,
        )
        self._show(series, view.from_ms, start_ms, now_ms, filled)
        return not filled.complete and bool(filled.bars)

    def _show(self, series: _Series, from_ms: int, start_ms: int, now_ms: int, filled: Filled | None) -> None:
        """Replace the view by one that has read the store again from ``start_ms`` on."""
        wanted, before = series.wanted, series.view
        bars = self._fetcher.store.read(wanted.symbol, wanted.interval_seconds, start_ms, now_ms)
        if before is not None:
            bars = _continued(before.series, start_ms, bars)
        gaps = [] if before is None else [gap for gap in before.gaps if gap.end_ms <= start_ms]
        trouble = ""
        if filled is not None:
            gaps += filled.gaps
            told = {**filled.failures, **filled.refused}
            trouble = "; ".join(f"{source}: {reason}" for source, reason in told.items())
        undecided = self._fetcher.undecided(wanted, start_ms, now_ms)
        series.view = _View(from_ms, bars, now_ms, undecided, gaps, trouble)


def _continued(before: BarSeries, start_ms: int, fresh: BarSeries) -> BarSeries:
    """Return a new series: what of ``before`` opened before an instant, and all of ``fresh``."""
    end = bisect_left(before.open_time_ms, start_ms)
    both = BarSeries(
        before.interval_seconds,
        before.open_time_ms[:end] + fresh.open_time_ms,
        before.open[:end] + fresh.open,
        before.high[:end] + fresh.high,
        before.low[:end] + fresh.low,
        before.close[:end] + fresh.close,
        before.volume[:end] + fresh.volume,
        before.traded[:end] + fresh.traded,
    )
    repeat_closes(both)
    return both
