"""Backoff with full jitter: after each failure in a row a symbol waits longer, by chance, at one source.

The wait is uniform between 0 and ``first * 2 ** (failures - 1)``, capped (Brooker 2015, "Exponential Backoff
And Jitter"): who failed together does not come back together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from adapters.settings.model import BackoffSettings

_SECOND_NS: Final = 1_000_000_000
_MOST_DOUBLINGS: Final = 32


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
            self._settings.longest_seconds,
            self._settings.first_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS),
        )
        wait_ns = round(self._rng.uniform(0, longest) * _SECOND_NS)
        self._waits[symbol] = _Wait(failures, now_ns + wait_ns)

    def heard(self, symbol: str) -> None:
        """Forget: the source answered, whatever it said."""
        self._waits.pop(symbol, None)
