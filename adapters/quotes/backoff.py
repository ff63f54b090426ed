"""Backoff with full jitter: after each failure in a row a symbol waits longer, by chance, at one source.

The wait is uniform between 0 and ``base * 2 ** (failures - 1)``, capped (Brooker 2015, "Exponential Backoff
And Jitter"): who failed together does not come back together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from engine.errors import ConfigurationError

_SECOND_NS: Final = 1_000_000_000
_MOST_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """The longest wait after one failure, and after any number."""

    base_seconds: float = 2.0
    cap_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; ConfigurationError."""
        if not 0 < self.base_seconds <= self.cap_seconds:
            raise ConfigurationError("a backoff's base must be above 0 seconds, and not above its cap")


@dataclass(slots=True)
class _Wait:
    failures: int
    until_ns: int


class Backoff:
    """The waits of one source, by symbol."""

    def __init__(self, settings: BackoffSettings, rng: random.Random) -> None:
        """Begin without any."""
        self._settings = settings
        self._rng = rng
        self._waits: dict[str, _Wait] = {}

    def seconds_left(self, symbol: str, now_ns: int) -> float:
        """Return how long a symbol still waits; 0 where it does not."""
        wait = self._waits.get(symbol)
        return 0.0 if wait is None else max(0, wait.until_ns - now_ns) / _SECOND_NS

    def failures(self, symbol: str) -> int:
        """Return how often in a row a symbol has failed."""
        wait = self._waits.get(symbol)
        return 0 if wait is None else wait.failures

    def failed(self, symbol: str, now_ns: int) -> None:
        """Draw the next wait."""
        failures = self.failures(symbol) + 1
        longest = min(
            self._settings.cap_seconds,
            self._settings.base_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS),
        )
        wait_ns = round(self._rng.uniform(0, longest) * _SECOND_NS)
        self._waits[symbol] = _Wait(failures, now_ns + wait_ns)

    def heard(self, symbol: str) -> None:
        """Forget: the source answered, whatever it said."""
        self._waits.pop(symbol, None)
