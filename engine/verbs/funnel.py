"""The funnel: each directional signal from birth to its one disposition.

An instance is (symbol, signal, side, bar): the same signal standing for all cycles of a bar is one instance.  Its
disposition is the furthest that it reached in those cycles.  Every instance has exactly one, so the numbers add up.
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
"""From the furthest to the least; the first one reached in any cycle is the instance's."""

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
    """A line of the funnel."""

    signal: str
    side: str
    disposition: str
    rule: str
    cause: str
    instances: int
    cycles: int


@dataclass(frozen=True, slots=True)
class Funnel:
    """The whole; ``instances`` is the sum of its rows."""

    rows: tuple[FunnelRow, ...]
    instances: int
    cycles: int


class FunnelCounter:
    """Counts decisions as they are read, oldest first."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._fates: dict[Instance, Fate] = {}
        self._cycles: Counter[tuple[str, str, Fate]] = Counter()
        self._total_cycles = 0

    def add(
        self, lowered: LoweredPolicy, values: list[float], decision: Decision, bar_open_seconds: int
    ) -> None:
        """Count the directional signals of one decision."""
        names = signal_names(lowered)
        for index, side in directional(lowered, values):
            word = Side(side).name.lower()
            instance = Instance(decision.symbol, names[index], word, bar_open_seconds)
            fate = Fate(decision.signal_dispositions[index], *cause_of(lowered, decision, index, side))
            self._cycles[(names[index], word, fate)] += 1
            self._total_cycles += 1
            known = self._fates.get(instance)
            if known is None or _RANK[fate.disposition] < _RANK[known.disposition]:
                self._fates[instance] = fate

    def funnel(self) -> Funnel:
        """Return the rows, from the furthest reached to the least."""
        instances: Counter[tuple[str, str, Fate]] = Counter(
            (instance.signal, instance.side, fate) for instance, fate in self._fates.items()
        )
        keys = sorted(
            set(instances) | set(self._cycles),
            key=lambda key: (key[0], key[1], _RANK[key[2].disposition], key[2].rule, key[2].cause),
        )
        words = tuple(Disposition)
        rows = tuple(
            FunnelRow(
                signal, side, words[fate.disposition].word, fate.rule, fate.cause,
                instances[(signal, side, fate)], self._cycles[(signal, side, fate)],
            )
            for signal, side, fate in keys
        )  # fmt: skip
        return Funnel(rows, len(self._fates), self._total_cycles)


def totals(rows: Iterable[FunnelRow]) -> dict[tuple[str, str, str], int]:
    """Return the instances by signal, side and disposition."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        counted[(row.signal, row.side, row.disposition)] += row.instances
    return dict(counted)
