"""The funnel: each directional signal from birth to its one disposition.

An instance is (symbol, signal, side, bar): a signal that stands through all cycles of a bar is one
instance.  Its disposition is the furthest that it reached in those cycles, and final when the symbol's
bar is replaced.  Every instance has exactly one, so the numbers add up.

A signal from outside has the bar of its cycle in the place of its own stamp: records do not keep that yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.codes import Disposition, Side
from engine.lowered import LoweredPolicy
from engine.model import Decision
from engine.verbs.replay import cause_of, directional, signal_names

REACH: Final = (
    Disposition.ACTED,
    Disposition.WORKING,
    Disposition.AWAITING_CANCEL,
    Disposition.CONCURRED,
    Disposition.AT_LEVEL,
    Disposition.DENIED,
    Disposition.LIMITED,
    Disposition.VETOED,
    Disposition.UNKNOWN,
    Disposition.OUTRANKED,
    Disposition.NOT_ADOPTED,
)
"""From the furthest to the least.

At the level: nothing refused it, there was nothing to do.  So it stands behind what acted or agreed, and
before what was refused.
"""

_RANK: Final = {int(disposition): rank for rank, disposition in enumerate(REACH)}


class Instance(NamedTuple):
    """One directional signal on one bar."""

    symbol: str
    signal: str
    side: str
    bar_open_seconds: int


class Fate(NamedTuple):
    """Where an instance stands: disposition, the rule that adopted it, what settled it."""

    disposition: int
    rule: str
    cause: str


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """A line of the funnel: instances that ended so (open ones may move on), and cycles that stood so."""

    signal: str
    side: str
    disposition: str
    rule: str  # that adopted it; "" where none did
    cause: str  # the gate, limit, denial or rule that settled it, see ``cause_of``; "" where none did
    instances: int
    open: int  # of the instances: their bar is still the symbol's last one
    cycles: int


@dataclass(frozen=True, slots=True)
class Funnel:
    """The whole: each number is the sum over the rows.  ``decisions`` counts all, signal or not."""

    rows: tuple[FunnelRow, ...]
    instances: int
    open: int
    cycles: int
    decisions: int


class FunnelCounter:
    """Counts decisions as they are read, oldest first."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._fates: dict[Instance, Fate] = {}
        self._cycles: Counter[tuple[str, str, Fate]] = Counter()
        self._last_bar: dict[str, int] = {}
        self._births = 0
        self._total_cycles = 0
        self._decisions = 0

    def add(
        self, lowered: LoweredPolicy, values: list[float], decision: Decision, bar_open_seconds: int
    ) -> None:
        """Count the directional signals of one decision."""
        self._decisions += 1
        self._last_bar[decision.symbol] = bar_open_seconds
        names = signal_names(lowered)
        for index, side in directional(lowered, values):
            word = Side(side).name.lower()
            instance = Instance(decision.symbol, names[index], word, bar_open_seconds)
            fate = Fate(decision.signal_dispositions[index], *cause_of(lowered, decision, index, side))
            self._cycles[(names[index], word, fate)] += 1
            self._total_cycles += 1
            known = self._fates.get(instance)
            if known is None:
                self._births += 1
            if known is None or _RANK[fate.disposition] < _RANK[known.disposition]:
                self._fates[instance] = fate

    def funnel(self) -> Funnel:
        """Return the rows by signal and side, from the furthest reached to the least."""
        instances: Counter[tuple[str, str, Fate]] = Counter()
        still_open: Counter[tuple[str, str, Fate]] = Counter()
        for instance, fate in self._fates.items():
            key = (instance.signal, instance.side, fate)
            instances[key] += 1
            still_open[key] += self._last_bar[instance.symbol] == instance.bar_open_seconds
        keys = sorted(
            self._cycles, key=lambda key: (*key[:2], _RANK[key[2].disposition], key[2].rule, key[2].cause)
        )
        rows = tuple(
            FunnelRow(
                *key[:2], Disposition(key[2].disposition).word, key[2].rule, key[2].cause,
                instances[key], still_open[key], self._cycles[key],
            )
            for key in keys
        )  # fmt: skip
        funnel = Funnel(rows, self._births, sum(still_open.values()), self._total_cycles, self._decisions)
        _check_sums(funnel)
        return funnel


def _check_sums(funnel: Funnel) -> None:
    """What was counted at birth is what the rows hold; anything else is a mistake of ours."""
    for total, rows in (
        (funnel.instances, sum(row.instances for row in funnel.rows)),
        (funnel.open, sum(row.open for row in funnel.rows)),
        (funnel.cycles, sum(row.cycles for row in funnel.rows)),
    ):
        if total != rows:
            raise AssertionError(f"the funnel does not add up: {rows} in its rows, {total} counted")


def totals(rows: Iterable[FunnelRow]) -> dict[tuple[str, str, str], int]:
    """Return the instances by signal, side and disposition; none of those that no instance ended in."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.instances:
            counted[(row.signal, row.side, row.disposition)] += row.instances
    return dict(counted)
