"""The funnel: each directional signal, and each proposal of a rule, from birth to its one disposition.

An instance is (symbol, signal, side, bar): a signal that stands through all cycles of a bar is one
instance.  Its disposition is the furthest that it reached in those cycles, and final when the symbol's
bar is replaced.  Every instance has exactly one, so the numbers add up.  Candidates are counted alike:
what a rule proposes on a bar is one.

A signal from outside has the bar of its cycle in the place of its own stamp: records do not keep that yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from engine.codes import Disposition, Side
from engine.lowered import LoweredPolicy
from engine.model import Decision
from engine.verbs.replay import candidate_cause, cause_of, sides, signal_names

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


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """A line of the funnel: instances that ended so (open ones may move on), and cycles that stood so.

    ``name`` and ``side`` are a signal's, or a rule's and its action.
    """

    name: str
    side: str
    disposition: str
    rule: str  # that adopted the signal, or is the candidate; "" where none adopted it
    cause: str  # the gate, limit, denial or rule that settled it, see ``cause_of``; "" where none did
    instances: int
    open: int  # of the instances: their bar is still the symbol's last one
    cycles: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows by name and side, from the furthest reached to the least; each number is their sum."""

    rows: tuple[FunnelRow, ...]
    instances: int
    open: int
    cycles: int


@dataclass(frozen=True, slots=True)
class SignalReadings:
    """In how many decisions a signal was read: with a side (buy or sell), without one, Unknown."""

    signal: str
    directional: int
    undirected: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Funnel:
    """The whole.  ``decisions`` counts all of them, signal or not."""

    decisions: int
    readings: tuple[SignalReadings, ...]
    signals: Counted
    candidates: Counted


class _Instance(NamedTuple):
    """One signal or candidate on one bar."""

    symbol: str
    name: str
    side: str
    bar_open_seconds: int


class _Fate(NamedTuple):
    """Where an instance stands."""

    disposition: int
    rule: str
    cause: str


@dataclass(slots=True)
class _Tally:
    """Counts instances of one kind."""

    fates: dict[_Instance, _Fate] = field(default_factory=dict)
    cycles: Counter[tuple[str, str, _Fate]] = field(default_factory=Counter)
    births: int = 0
    standing: int = 0

    def add(self, instance: _Instance, fate: _Fate) -> None:
        """Count a cycle of an instance."""
        self.cycles[(instance.name, instance.side, fate)] += 1
        self.standing += 1
        known = self.fates.get(instance)
        if known is None:
            self.births += 1
        if known is None or _RANK[fate.disposition] < _RANK[known.disposition]:
            self.fates[instance] = fate

    def counted(self, last_bar: dict[str, int]) -> Counted:
        """Return the rows; ``last_bar`` is each symbol's newest."""
        instances: Counter[tuple[str, str, _Fate]] = Counter()
        still_open: Counter[tuple[str, str, _Fate]] = Counter()
        for instance, fate in self.fates.items():
            key = (instance.name, instance.side, fate)
            instances[key] += 1
            still_open[key] += last_bar[instance.symbol] == instance.bar_open_seconds
        keys = sorted(
            self.cycles, key=lambda key: (*key[:2], _RANK[key[2].disposition], key[2].rule, key[2].cause)
        )
        rows = tuple(
            FunnelRow(
                *key[:2], Disposition(key[2].disposition).word, key[2].rule, key[2].cause,
                instances[key], still_open[key], self.cycles[key],
            )
            for key in keys
        )  # fmt: skip
        counted = Counted(rows, self.births, sum(still_open.values()), self.standing)
        _check_sums(counted)
        return counted


class FunnelCounter:
    """Counts decisions as they are read, oldest first."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._signals = _Tally()
        self._candidates = _Tally()
        self._readings: dict[str, list[int]] = {}
        self._last_bar: dict[str, int] = {}
        self._decisions = 0

    def add(
        self, lowered: LoweredPolicy, values: list[float], decision: Decision, bar_open_seconds: int
    ) -> None:
        """Count the directional signals and the candidates of one decision."""
        self._decisions += 1
        self._last_bar[decision.symbol] = bar_open_seconds
        names = signal_names(lowered)
        for index, side in sides(lowered, values):
            readings = self._readings.setdefault(names[index], [0, 0, 0])
            if side not in (Side.BUY, Side.SELL):
                readings[2 if side is None else 1] += 1
                continue
            readings[0] += 1
            instance = _Instance(decision.symbol, names[index], side.name.lower(), bar_open_seconds)
            disposition = decision.signal_dispositions[index]
            self._signals.add(instance, _Fate(disposition, *cause_of(lowered, decision, index, side)))
        for position, disposition in enumerate(decision.dispositions):
            if disposition:
                rule = lowered.rules[position]
                instance = _Instance(decision.symbol, rule.name, rule.action.name.lower(), bar_open_seconds)
                cause = candidate_cause(lowered, decision, position)
                self._candidates.add(instance, _Fate(disposition, rule.name, cause))

    def funnel(self) -> Funnel:
        """Return what was counted."""
        return Funnel(
            self._decisions,
            tuple(SignalReadings(name, *counts) for name, counts in sorted(self._readings.items())),
            self._signals.counted(self._last_bar),
            self._candidates.counted(self._last_bar),
        )


def _check_sums(counted: Counted) -> None:
    """What was counted at birth is what the rows hold; anything else is a mistake of ours."""
    for total, rows in (
        (counted.instances, sum(row.instances for row in counted.rows)),
        (counted.open, sum(row.open for row in counted.rows)),
        (counted.cycles, sum(row.cycles for row in counted.rows)),
    ):
        if total != rows:
            raise AssertionError(f"the funnel does not add up: {rows} in its rows, {total} counted")


def totals(rows: Iterable[FunnelRow]) -> dict[tuple[str, str, str], int]:
    """Return the instances by name, side and disposition; none of those that no instance ended in."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.instances:
            counted[(row.name, row.side, row.disposition)] += row.instances
    return dict(counted)
