"""Filling the history store: which bars are missing, and who has them.

The calendar says which bars are expected, the store which of them are there.  What is missing is asked of the
sources in their order, span by span and page by page; every page is stored before the next is asked for, so a
fetch that is broken off goes on from there.  A span that a source has answered for is not asked of it again.

A few bars on each side of a missing span are asked for, too: where they differ in scale from the stored ones,
there was a split in between, and nothing is stored (``adapters.bars.merging``).

What no source has stays absent.  It is reported as a gap and never filled.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.bars.merging import Merge, ScaleError
from adapters.bars.partition import Origin
from adapters.bars.reading import interval_text
from adapters.bars.series import DAY_SECONDS, BarSeries, resampled
from adapters.bars.source import (
    Adjustment,
    BarVendor,
    FetchFailedError,
    NoSuchSymbolError,
    Page,
    PageRequest,
)
from adapters.bars.store import Fetched, HistoryStore, Spans, joined
from adapters.symbols.directory import NotServed, Spelled, SymbolDirectory
from engine.model import AssetClass
from engine.runtime.ports import Calendar, Clock

OVERLAP_BARS: Final = 3
SETTLE_SECONDS: Final = 1200
"""How long after its close an absent bar may yet come: free feeds are 15 minutes late."""

_LONGEST_CLOSURE_MS: Final = 12 * DAY_SECONDS * 1000
_NEAR_BARS: Final = 500
"""Missing spans with no more bars between them are asked for in one go."""

_FAILURES_UNTIL_DOWN: Final = 2
_DOWN_SECONDS: Final = 60.0
_LONGEST_DOWN_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars of one symbol and interval, and the calendar that says which are expected."""

    symbol: str
    asset_class: AssetClass
    calendar: str
    interval_seconds: int
    adjustment: Adjustment = Adjustment.RAW

    def __str__(self) -> str:
        """Name them: BTC-USD 15m."""
        return f"{self.symbol} {interval_text(self.interval_seconds)}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Expected bars in a row that are absent: the first opens at ``start_ms``, all end by ``end_ms``."""

    start_ms: int
    end_ms: int
    bars: int


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a page is asked for, with pauses that double, and for how long in all."""

    attempts: int = 4
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 8.0
    request_seconds: float = 15.0
    page_seconds: float = 40.0
    jitter: Callable[[], float] = random.random  # 0 to 1: how much of a pause is cut, halved

    def pause_seconds(self, attempt: int, wish: float | None) -> float:
        """Return the pause after an attempt (from 1); a vendor's own wish is a lower bound."""
        pause = min(self.first_pause_seconds * 2.0 ** (attempt - 1), self.longest_pause_seconds)
        return max(pause * (1 - self.jitter() / 2), wish or 0.0)


@dataclass(slots=True)
class Filled:
    """What came of filling a span.

    ``bars`` are those written, by source; ``unused`` says of each source that was not asked, or had nothing,
    why; ``failures`` of each that could not be heard; ``refused`` of each whose bars do not fit.
    ``limited``: a source that may know the symbol could not be asked for what is missing.
    """

    wanted: Wanted
    start_ms: int
    end_ms: int
    expected: int = 0
    merge: Merge = field(default_factory=Merge)
    bars: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    requests: int = 0
    unused: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()
    limited: bool = False
    complete: bool = True  # False where time or pages ran out before every source had its turn

    @property
    def missing(self) -> int:
        """How many expected bars are absent."""
        return sum(gap.bars for gap in self.gaps)


def closed_bars(calendar: Calendar, wanted: Wanted, start_ms: int, end_ms: int, now_ms: int) -> Sequence[int]:
    """Return the open times of the bars expected in [start_ms, end_ms) that have closed by now."""
    found = calendar.expected_bars(wanted.calendar, wanted.interval_seconds, start_ms, min(end_ms, now_ms))
    end = len(found)
    while end and calendar.bar_close_ms(wanted.calendar, wanted.interval_seconds, found[end - 1]) > now_ms:
        end -= 1
    return found[:end]


def gaps_between(expected: Sequence[int], there: Sequence[int], interval_seconds: int) -> list[Gap]:
    """Return the runs of expected bars that are not there; both are ascending open times."""
    gaps: list[Gap] = []
    at, count, step_ms = 0, len(there), interval_seconds * 1000
    first = last = bars = 0
    for open_ms in expected:
        while at < count and there[at] < open_ms:
            at += 1
        if at < count and there[at] == open_ms:
            if bars:
                gaps.append(Gap(first, last + step_ms, bars))
                bars = 0
            continue
        if not bars:
            first = open_ms
        last, bars = open_ms, bars + 1
    if bars:
        gaps.append(Gap(first, last + step_ms, bars))
    return gaps


class HistoryFetcher:
    """Fills a store from vendors, the most trusted first.  Not for use by two threads at once."""

    def __init__(
        self,
        store: HistoryStore,
        vendors: Sequence[BarVendor],
        directory: SymbolDirectory,
        calendar: Calendar,
        clock: Clock,
        *,
        wait_seconds: Callable[[str], float] = lambda source: 0.0,
        retry: Retry | None = None,
        order: Mapping[AssetClass, Sequence[str]] | None = None,
    ) -> None:
        """Fill ``store``.

        Args:
            store: Where the bars go.
            vendors: Who is asked, in this order; where two differ the earlier one is right.
            directory: How each of them writes a symbol.
            calendar: Which bars are expected.
            clock: The time, and how to wait.
            wait_seconds: Called with a source's name before each request: 0 lets it through and counts
                it, anything else is how long its budget is used up.
            retry: How often a page is asked for.
            order: Who is asked for bars of a class, by name, where that is not everyone in this order.
        """
        self.store = store
        self.vendors = tuple(vendors)
        self._order = order or {}
        self._directory = directory
        self._calendar = calendar
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._retry = retry or Retry()
        self._health = {vendor.name: _Health() for vendor in vendors}

    def serves(self, wanted: Wanted) -> bool:
        """Say whether any vendor may have such bars."""
        return bool(self._serving(wanted))

    def fill(
        self,
        wanted: Wanted,
        start_ms: int,
        end_ms: int,
        *,
        until_ns: int | None = None,
        most_requests: int | None = None,
        again: bool = False,
        allow_jumps: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Filled:
        """Fetch what is missing of [start_ms, end_ms) and has closed.

        Args:
            wanted: Which bars.
            start_ms: The first open time.
            end_ms: The open time behind the last.
            until_ns: When to stop, by the clock's ``monotonic_ns``; None for no limit.
            most_requests: How many requests to make at most.
            again: Ask also for what a source has said before that it does not have.
            allow_jumps: See ``HistoryStore.append``.
            progress: Called with (bars done, bars in all) after each page.

        Raises:
            UnavailableError: The store cannot be written.
            DataError: The store is damaged.
            ConfigurationError: The calendar does not know these days, or pyarrow is missing.
        """
        filled = Filled(wanted, start_ms, end_ms)
        now_ms = self._clock.now_utc_ms()
        expected = closed_bars(self._calendar, wanted, start_ms, end_ms, now_ms)
        filled.expected = len(expected)
        work = _Work(filled, expected, now_ms, until_ns, most_requests, allow_jumps, progress)
        filled.gaps = self._gaps(work)
        for vendor in self._asked_for(wanted):
            if not filled.gaps:
                break
            self._ask(vendor, work, again=again)
            filled.gaps = self._gaps(work)
        return filled

    def undecided(self, wanted: Wanted, start_ms: int, end_ms: int) -> Spans:
        """Return the spans of missing bars that some vendor has not answered for yet."""
        now_ms = self._clock.now_utc_ms()
        expected = closed_bars(self._calendar, wanted, start_ms, end_ms, now_ms)
        work = _Work(Filled(wanted, start_ms, end_ms), expected, now_ms)
        gaps = self._gaps(work)
        open_to: list[tuple[int, int]] = []
        for vendor in self._serving(wanted):
            open_to += self._spans(vendor, work, gaps, again=False)
        return joined(open_to)

    def _asked_for(self, wanted: Wanted) -> list[BarVendor]:
        """Return the vendors of a class, the most trusted first."""
        by_name = {vendor.name: vendor for vendor in self.vendors}
        return [by_name[name] for name in self._order.get(wanted.asset_class, by_name) if name in by_name]

    def _serving(self, wanted: Wanted) -> list[BarVendor]:
        return [
            vendor
            for vendor in self._asked_for(wanted)
            if isinstance(spelled := self._spelling(vendor, wanted), Spelled)
            and spelled.currency == _currency(wanted)
            and vendor.native_seconds(wanted.interval_seconds, wanted.asset_class) is not None
        ]

    # --- one source ---

    def _ask(self, vendor: BarVendor, work: _Work, *, again: bool) -> None:
        filled, name = work.filled, vendor.name
        spelled = self._spelling(vendor, filled.wanted)
        if isinstance(spelled, NotServed):
            filled.unused[name] = spelled.reason
            return
        limit = self._limit(vendor, spelled, work)
        if limit:
            filled.unused[name], filled.limited = limit, True
            return
        spans = self._spans(vendor, work, filled.gaps, again=again)
        if not spans:
            filled.unused[name] = "has answered before, and does not have what is missing"
            return
        health = self._health[name]
        if self._clock.monotonic_ns() < health.down_until_ns:
            filled.failures[name] = f"not asked: {health.reason}"
            return
        try:
            for span in spans:
                self._ask_span(vendor, spelled, work, self._with_overlap(filled.wanted, span, work.now_ms))
            health.worked()
        except NoSuchSymbolError as error:
            filled.unused[name] = error.reason
        except FetchFailedError as error:
            filled.failures[name] = error.reason
            health.failed(error.reason, self._clock.monotonic_ns())
        except _OutOfTime:
            filled.complete = False

    def _spelling(self, vendor: BarVendor, wanted: Wanted) -> Spelled | NotServed:
        return self._directory.spelled(vendor.name, wanted.symbol)

    def _limit(self, vendor: BarVendor, spelled: Spelled, work: _Work) -> str:
        """Return why a vendor that knows the symbol is not asked; "" where it is."""
        wanted = work.filled.wanted
        currency = _currency(wanted)
        if spelled.currency != currency:
            return f"prices it in {spelled.currency}, not {currency}"
        native = vendor.native_seconds(wanted.interval_seconds, wanted.asset_class)
        if native is None:
            return f"has no bars of {interval_text(wanted.interval_seconds)}"
        reach = vendor.reach_seconds(native)
        if reach is not None and work.filled.gaps[-1].end_ms <= work.now_ms - reach * 1000:
            return f"has such bars of the last {reach // DAY_SECONDS} days only"
        return ""

    def _spans(self, vendor: BarVendor, work: _Work, gaps: Sequence[Gap], *, again: bool) -> Spans:
        """Return what of the gaps to ask a vendor for: within its reach, and not answered for before."""
        wanted, expected = work.filled.wanted, work.expected
        known = self.store.answered(wanted.symbol, wanted.interval_seconds).get(vendor.name, ())
        native = vendor.native_seconds(wanted.interval_seconds, wanted.asset_class)
        reach = None if native is None else vendor.reach_seconds(native)
        earliest_ms = 0 if reach is None else work.now_ms - reach * 1000
        spans: list[tuple[int, int]] = []
        step_ms = wanted.interval_seconds * 1000
        for gap in gaps:
            for start, end in _outside((gap.start_ms, gap.end_ms), () if again else known):
                first = bisect_left(expected, max(start, earliest_ms))
                behind = bisect_left(expected, end)
                if first == behind:
                    continue
                span = expected[first], expected[behind - 1] + step_ms
                if spans and first - bisect_left(expected, spans[-1][1]) <= _NEAR_BARS:
                    spans[-1] = spans[-1][0], span[1]
                else:
                    spans.append(span)
        return spans

    def _with_overlap(self, wanted: Wanted, span: tuple[int, int], now_ms: int) -> tuple[int, int]:
        """Widen a span by a few stored bars on each side."""
        start, end = span
        step_ms = wanted.interval_seconds * 1000
        before = closed_bars(self._calendar, wanted, start - _LONGEST_CLOSURE_MS, start, now_ms)
        after = closed_bars(self._calendar, wanted, end, end + _LONGEST_CLOSURE_MS, now_ms)
        sides = [*before[-OVERLAP_BARS:], *after[:OVERLAP_BARS]]
        if not sides:
            return span
        there = self.store.read(
            wanted.symbol, wanted.interval_seconds, sides[0], sides[-1] + step_ms
        ).open_time_ms
        stored = [open_ms for open_ms in sides if _holds(there, open_ms)]
        return (
            min([start, *(open_ms for open_ms in stored if open_ms < start)]),
            max([end, *(open_ms + step_ms for open_ms in stored if open_ms >= end)]),
        )

    def _ask_span(self, vendor: BarVendor, spelled: Spelled, work: _Work, span: tuple[int, int]) -> None:
        wanted, name = work.filled.wanted, vendor.name
        native = vendor.native_seconds(wanted.interval_seconds, wanted.asset_class)
        assert native is not None  # else there is no spelling
        at_ms, end_ms = span
        while at_ms < end_ms:
            request = PageRequest(spelled.text, wanted.asset_class, native, at_ms, end_ms, wanted.adjustment)
            page = self._page(vendor, request, work)
            bars, reached_ms = self._fitted(wanted, page, request)
            if reached_ms <= at_ms:
                raise FetchFailedError("its answers get no further", passing=False)
            final_ms = max(
                bars.open_time_ms[-1] + wanted.interval_seconds * 1000 if len(bars) else 0,
                work.now_ms - SETTLE_SECONDS * 1000,
            )
            origin = Origin(
                name, spelled.text, wanted.calendar, page.adjustment, spelled.currency, work.now_ms
            )
            try:
                merge = self.store.append(
                    wanted.symbol,
                    wanted.interval_seconds,
                    Fetched(origin, bars, at_ms, reached_ms, min(final_ms, reached_ms)),
                    [vendor.name for vendor in self._asked_for(wanted)],
                    allow_jumps=work.allow_jumps,
                )
            except ScaleError as error:
                work.filled.refused[name] = str(error)
                return
            work.filled.merge.add(merge)
            written = merge.added + merge.replaced + merge.revised
            if written:
                work.filled.bars[name] = work.filled.bars.get(name, 0) + written
            work.filled.unreadable += page.refused
            at_ms = reached_ms
            work.progress(bisect_left(work.expected, at_ms), len(work.expected))

    def _page(self, vendor: BarVendor, request: PageRequest, work: _Work) -> Page:
        """Ask for a page until it comes, within the limits; FetchFailedError with the last reason."""
        began_ns = self._clock.monotonic_ns()
        until_ns = began_ns + round(self._retry.page_seconds * 1e9)
        if work.until_ns is not None:
            until_ns = min(until_ns, work.until_ns)
        for attempt in range(1, self._retry.attempts + 1):
            while (wait := self._wait_seconds(vendor.name)) > 0:
                if not self._slept(wait, work.until_ns):
                    raise _OutOfTime
            if work.most_requests is not None and work.filled.requests >= work.most_requests:
                raise _OutOfTime
            left = (until_ns - self._clock.monotonic_ns()) / 1e9
            if left <= 0:
                raise _OutOfTime
            work.filled.requests += 1
            try:
                return vendor.page(request, min(self._retry.request_seconds, left))
            except FetchFailedError as error:
                failure = error
            if not failure.passing or attempt == self._retry.attempts:
                raise failure
            pause = self._retry.pause_seconds(attempt, failure.retry_after_seconds)
            if not self._slept(pause, until_ns):
                raise failure
        raise AssertionError("the last attempt returns or raises")

    def _slept(self, seconds: float, until_ns: int | None) -> bool:
        """Wait, unless that would last beyond a limit; False where it would, or the clock was interrupted."""
        if until_ns is not None and self._clock.monotonic_ns() + seconds * 1e9 > until_ns:
            return False
        wake_ms = self._clock.now_utc_ms() + max(1, round(seconds * 1000))
        self._clock.sleep_until(wake_ms)
        return self._clock.now_utc_ms() >= wake_ms

    def _fitted(self, wanted: Wanted, page: Page, request: PageRequest) -> tuple[BarSeries, int]:
        """Return a page's closed bars on our grid and interval, and up to where they are all there are."""
        now_ms = self._clock.now_utc_ms()
        native = Wanted(
            wanted.symbol, wanted.asset_class, wanted.calendar, request.interval_seconds, wanted.adjustment
        )
        times = page.bars.open_time_ms
        behind_ms = min(request.end_ms, times[-1] + 1) if times else request.start_ms
        ours = set(closed_bars(self._calendar, native, request.start_ms, behind_ms, now_ms))
        bars = BarSeries(request.interval_seconds)
        for index, open_ms in enumerate(times):
            if open_ms in ours and (not bars.open_time_ms or open_ms > bars.open_time_ms[-1]):
                bars.append(page.bars.bar(index))
        if native.interval_seconds == wanted.interval_seconds:
            return bars, min(page.end_ms, request.end_ms)
        coarse = resampled(bars, wanted.interval_seconds, self._calendar, wanted.calendar)
        if page.end_ms >= request.end_ms:
            return coarse, request.end_ms
        # The page may end within a coarse bar: the next one begins with that bar.
        coming = self._calendar.expected_bars(
            wanted.calendar, wanted.interval_seconds, request.start_ms, page.end_ms
        )
        if not coming:
            return coarse, page.end_ms
        last_close_ms = self._calendar.bar_close_ms(wanted.calendar, wanted.interval_seconds, coming[-1])
        return coarse, page.end_ms if last_close_ms <= page.end_ms else coming[-1]

    def _gaps(self, work: _Work) -> list[Gap]:
        wanted, expected = work.filled.wanted, work.expected
        if not expected:
            return []
        behind_ms = expected[-1] + 1
        there = self.store.read(wanted.symbol, wanted.interval_seconds, expected[0], behind_ms).open_time_ms
        return gaps_between(expected, there, wanted.interval_seconds)


@dataclass(slots=True)
class _Work:
    """One fill under way."""

    filled: Filled
    expected: Sequence[int]
    now_ms: int
    until_ns: int | None = None
    most_requests: int | None = None
    allow_jumps: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None


class _OutOfTime(Exception):
    """The limits of a fill are reached; what is stored stays."""


@dataclass(slots=True)
class _Health:
    """Leaves a vendor alone for a while that failed twice in a row."""

    failures: int = 0
    down_until_ns: int = 0
    reason: str = ""

    def worked(self) -> None:
        """Forget its failures."""
        self.failures, self.down_until_ns = 0, 0

    def failed(self, reason: str, now_ns: int) -> None:
        """Count a failure."""
        self.failures, self.reason = self.failures + 1, reason
        if self.failures >= _FAILURES_UNTIL_DOWN:
            pause = min(_DOWN_SECONDS * 2 ** (self.failures - _FAILURES_UNTIL_DOWN), _LONGEST_DOWN_SECONDS)
            self.down_until_ns = now_ns + round(pause * 1e9)


def _currency(wanted: Wanted) -> str:
    """Return the currency that a symbol's prices are in by its name."""
    _, dash, currency = wanted.symbol.partition("-")
    return currency if dash and wanted.asset_class is AssetClass.CRYPTO else "USD"


def _holds(times: Sequence[int], at_ms: int) -> bool:
    index = bisect_left(times, at_ms)
    return index < len(times) and times[index] == at_ms


def _outside(span: tuple[int, int], known: Spans) -> Iterator[tuple[int, int]]:
    """Yield what of a span no other span covers."""
    start, end = span
    for one, other in known[max(bisect_right(known, start, key=lambda known_span: known_span[0]) - 1, 0) :]:
        if one >= end:
            break
        if start < one:
            yield start, one
        start = max(start, other)
    if start < end:
        yield start, end
