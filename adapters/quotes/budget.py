"""Budgets: how often a source may be asked, per second, minute or day, and what it asks for itself.

A bucket that holds N tokens and gets N more in each period lets nearly 2 N through within one period: the
vendor counts those and answers 429.  So the tokens here come back exactly one period after each was spent:
in no stretch of a period's length are there more than N.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from adapters.settings.model import Rate

_SECOND_NS: Final = 1_000_000_000
_UNLIMITED: Final = 1_000_000
_LONGEST_HOLD_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """The rates of a source; ``per_symbol`` where it counts the symbols of a batch, not the calls."""

    rates: tuple[Rate, ...] = ()
    per_symbol: bool = False


class Budget:
    """The budget of one source.  Times are nanoseconds of a clock that never steps."""

    def __init__(self, settings: BudgetSettings) -> None:
        """Begin with all of it."""
        self.settings = settings
        self._spent = [(rate, deque[int](maxlen=rate.requests)) for rate in settings.rates]
        self._held_until_ns: int | None = None

    @property
    def most(self) -> int:
        """The most that can be spent at once."""
        return min((rate.requests for rate in self.settings.rates), default=_UNLIMITED)

    def wait_ns(self, now_ns: int, cost: int = 1) -> int:
        """Return how long it is until ``cost`` (at most ``most``) may be spent; 0 for now."""
        wait = self.held_ns(now_ns)
        for rate, spent in self._spent:
            # the youngest of those that have to be over before ``cost`` more fit in
            over = len(spent) + cost - rate.requests
            if over > 0:
                wait = max(wait, spent[over - 1] + rate.seconds * _SECOND_NS - now_ns)
        return wait

    def room(self, now_ns: int, until_ns: int) -> int:
        """Return how much may be spent from now until an instant at most."""
        if self.held_ns(until_ns):
            return 0
        return min((_room(rate, spent, now_ns, until_ns) for rate, spent in self._spent), default=_UNLIMITED)

    def scarcest(self, now_ns: int) -> str:
        """Say which rate, or whose wish, makes the next request wait."""
        if self.held_ns(now_ns):
            return f"it asked to be left alone for another {_seconds(self.held_ns(now_ns))} s"
        waits = [
            (spent[0] + rate.seconds * _SECOND_NS - now_ns, rate)
            for rate, spent in self._spent
            if len(spent) == rate.requests
        ]
        if not waits:
            return "its budget is too small for all"
        wait_ns, rate = max(waits, key=lambda one: one[0])
        return (
            f"its budget of {rate.requests} in {rate.seconds} s is used up for another {_seconds(wait_ns)} s"
        )

    def spend(self, now_ns: int, cost: int = 1) -> None:
        """Note what was sent.  A full deque lets go of its oldest, which is over by then."""
        for _, spent in self._spent:
            spent.extend([now_ns] * cost)

    def hold(self, now_ns: int, seconds: float) -> bool:
        """Honour a source's own wish (Retry-After, a reset), for a day at most; False if it is none."""
        if not seconds > 0:
            return False
        until_ns = now_ns + round(min(seconds, _LONGEST_HOLD_SECONDS) * _SECOND_NS)
        self._held_until_ns = max(until_ns, self._held_until_ns or until_ns)
        return True

    def held_ns(self, now_ns: int) -> int:
        """Return how long the source wishes to be left alone."""
        return 0 if self._held_until_ns is None else max(0, self._held_until_ns - now_ns)


def _room(rate: Rate, spent: deque[int], now_ns: int, until_ns: int) -> int:
    period_ns = rate.seconds * _SECOND_NS
    # Whole periods have room for all of it; before them there is what is left, or over by then.
    periods, rest_ns = divmod(max(0, until_ns - now_ns), period_ns)
    oldest_ns = now_ns + rest_ns - period_ns
    over = sum(1 for _ in takewhile(lambda stamp: stamp <= oldest_ns, spent))
    return rate.requests * (periods + 1) - len(spent) + over


def _seconds(wait_ns: int) -> int:
    return max(1, -(-wait_ns // _SECOND_NS))
