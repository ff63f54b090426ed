"""The two clocks: the wall's, and a simulated one that jumps or runs at a chosen speed.

Both can be interrupted, also from a signal handler or another thread: ``interrupt()`` makes the
sleep under way, and every later one, return early.  Whoever interrupts is ending the run.  ``wake()`` ends
one sleep only: the one under way, or else the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from engine.errors import ConfigurationError

_SLICE_SECONDS: Final = 0.2
"""The longest single wait: how late an interruption, or a step of the wall clock, is noticed."""


class _Sleeper:
    """Waits in short slices until a time has come or someone interrupts."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        # A plain flag: a signal handler may set it at any point, which an Event's lock does not allow.
        self.interrupted = self.woken = False

    def wait(self, remaining_seconds: Callable[[], float]) -> None:
        while not (self.interrupted or self.woken) and (remaining := remaining_seconds()) > 0:
            self._sleep(min(remaining, _SLICE_SECONDS))
        self.woken = False


class WallClock:
    """The machine's clock: a ``Clock`` for live trading.

    A wall clock may step; ``sleep_until`` looks at it again at least every 0.2 seconds.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the machine's own functions, or others in their place for tests."""
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._sleeper = _Sleeper(sleep)

    def now_utc_ms(self) -> int:
        """Return the time, milliseconds since 1970 UTC."""
        return self._wall_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return a clock that never steps, for measuring."""
        return self._monotonic_ns()

    def sleep_until(self, at_ms: int) -> None:
        """Return when ``now_utc_ms() >= at_ms``, or early when interrupted."""
        self._sleeper.wait(lambda: (at_ms - self.now_utc_ms()) / 1000)

    def wake(self) -> None:
        """End the sleep under way, or the next one, early."""
        self._sleeper.woken = True

    def interrupt(self) -> None:
        """End the sleep under way and all later ones at once."""
        self._sleeper.interrupted = True


class SimulatedClock:
    """A ``Clock`` that begins at a chosen instant.

    ``speed`` None: time stands still but for ``sleep_until``, which jumps.  Otherwise simulated
    time runs ``speed`` times as fast as real time and ``sleep_until`` really waits.
    """

    def __init__(
        self,
        start_ms: int,
        speed: float | None = None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start at ``start_ms`` (milliseconds since 1970 UTC).

        Raises:
            ConfigurationError: ``speed`` is not a positive, finite number.
        """
        if speed is not None and not (math.isfinite(speed) and speed > 0):
            raise ConfigurationError(f"the clock's speed must be above 0, not {speed}; leave it out to jump")
        self._now_ms = start_ms
        self._start_ms = start_ms
        self._speed = speed
        self._real_ns = monotonic_ns
        self._origin_ns = monotonic_ns()
        self._sleeper = _Sleeper(sleep)

    def now_utc_ms(self) -> int:
        """Return the simulated time, milliseconds since 1970 UTC."""
        if self._speed is None:
            return self._now_ms
        return self._start_ms + self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the simulated nanoseconds since the start: what is measured is simulated time too."""
        if self._speed is None:
            return (self._now_ms - self._start_ms) * 1_000_000
        return int((self._real_ns() - self._origin_ns) * self._speed)

    def sleep_until(self, at_ms: int) -> None:
        """Jump to ``at_ms``, or wait for it at ``speed``; return early when interrupted."""
        if self._speed is None:
            if not (self._sleeper.interrupted or self._sleeper.woken):
                self._now_ms = max(self._now_ms, at_ms)
            self._sleeper.woken = False
            return
        speed = self._speed
        self._sleeper.wait(lambda: (at_ms - self.now_utc_ms()) / 1000 / speed)

    def wake(self) -> None:
        """End the sleep under way, or the next one, early."""
        self._sleeper.woken = True

    def interrupt(self) -> None:
        """End the sleep under way and all later ones at once."""
        self._sleeper.interrupted = True
