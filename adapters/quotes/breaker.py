"""A breaker: a source that fails again and again is left alone for a while, then tried with one call.

It knows no clock: the time, nanoseconds of a clock that never steps, comes with each call.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from adapters.settings.model import BreakerSettings

_SECOND_NS: Final = 1_000_000_000


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"  # the next call is a trial, and the only one


class Breaker:
    """The breaker of one source and asset class.

    Only a call that failed as a whole counts: a source that answers "no data", "stale" or "unsupported"
    has been heard.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        """Begin closed."""
        self._settings = settings
        self._failures = 0
        self._retry_ns: int | None = None

    def state(self, now_ns: int) -> BreakerState:
        """Return its state now."""
        if self._retry_ns is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_ns < self._retry_ns else BreakerState.HALF_OPEN

    def seconds_left(self, now_ns: int) -> float:
        """Return how long it stays open."""
        return 0.0 if self._retry_ns is None else max(0, self._retry_ns - now_ns) / _SECOND_NS

    def begin(self, now_ns: int) -> None:
        """A call begins.  While it tries the source no other may; a trial without an end ends by itself."""
        if self._retry_ns is not None:
            self._retry_ns = self._later(now_ns)

    def heard(self) -> None:
        """A call was answered: close."""
        self._failures = 0
        self._retry_ns = None

    def failed(self, now_ns: int) -> None:
        """A call failed: open after so many in a row."""
        self._failures += 1
        if self._failures >= self._settings.failures:
            self._retry_ns = self._later(now_ns)

    def _later(self, now_ns: int) -> int:
        return now_ns + self._settings.open_seconds * _SECOND_NS
