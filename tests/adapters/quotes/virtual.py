"""A time that jumps: a clock, an event loop and workers in which a minute of waiting takes no time.

The router, its loop and its timers are the real ones; only what passes time is replaced.  A source that
calls ``clock.sleep`` spends virtual time in its worker; one that sleeps for ever never comes back.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import selectors
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Result = TypeVar("_Result")
BEGIN_MS = 1_763_468_800_000
FOREVER = math.inf


class VirtualClock:
    """A ``Clock`` that someone else moves on."""

    def __init__(self, begin_ms: int = BEGIN_MS) -> None:
        """Begin at an instant, milliseconds since 1970 UTC."""
        self._begin_ms = begin_ms
        self.now_ns = 0
        self._spent_by_call: float | None = None

    def now_utc_ms(self) -> int:
        """Return the time."""
        return self._begin_ms + self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the virtual nanoseconds since the beginning; a call sees its own go by."""
        spent = self._spent_by_call or 0.0
        return self.now_ns + (0 if math.isinf(spent) else math.ceil(spent * 1e9))

    def sleep_until(self, at_ms: int) -> None:
        """Jump there."""
        self.sleep(max(0, at_ms - self.now_utc_ms()) / 1000)

    def sleep(self, seconds: float) -> None:
        """Let time go by: for the caller alone where it is a call in a worker, for all elsewhere."""
        if self._spent_by_call is not None:
            self._spent_by_call += seconds
        elif math.isinf(seconds):
            raise AssertionError("it waits for ever")
        else:
            self.now_ns += math.ceil(seconds * 1e9)

    def spent_by(self, work: Callable[[], _Result]) -> tuple[_Result, float]:
        """Run a call; return its result and the seconds that it took."""
        self._spent_by_call = 0.0
        try:
            return work(), self._spent_by_call
        finally:
            self._spent_by_call = None

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that lives by this clock."""
        return _VirtualLoop(self)


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would wait, time jumps to the end of the wait."""

    clock: VirtualClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready without waiting."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "the loop waits for what will never happen"
            self.clock.sleep(timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        selector = _JumpingSelector()
        selector.clock = clock
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual.now_ns / 1e9


class VirtualWorkers:
    """``Workers`` whose calls take the virtual time that they say, also beyond the end of a pass."""

    def __init__(self, clock: VirtualClock, count: int) -> None:
        """Begin with all of them free."""
        self._clock = clock
        self._count = count
        self._order = itertools.count()
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self.started = 0

    @property
    def free(self) -> int:
        """How many calls may be started now."""
        self._end_what_is_over()
        return self._count - len(self._ends)

    def start(self, work: Callable[[], _Result], done: Callable[[_Result], None]) -> None:
        """Run the work now, and tell its result when its time is over."""
        assert self.free > 0
        self.started += 1
        result, seconds = self._clock.spent_by(work)
        at_ns = self._clock.now_ns + (FOREVER if math.isinf(seconds) else math.ceil(seconds * 1e9))
        heapq.heappush(self._ends, (at_ns, next(self._order), lambda: done(result)))
        if not math.isinf(seconds):
            asyncio.get_running_loop().call_later(seconds, self._end_what_is_over)

    def close(self) -> None:
        """Nothing is kept."""

    def _end_what_is_over(self) -> None:
        while self._ends and self._ends[0][0] <= self._clock.now_ns:
            heapq.heappop(self._ends)[-1]()


def virtual(clock: VirtualClock) -> Mapping[str, Any]:
    """Return the arguments that make a ``QuoteRouter`` live by a clock."""
    return {
        "workers": lambda name, count: VirtualWorkers(clock, count),
        "new_event_loop": clock.new_event_loop,
    }
