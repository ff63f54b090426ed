"""Conditions and voted signals as formulas.

A condition is a pair: when it is definitely true, when definitely false.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from engine.codes import Side, Truth
from engine.evaluate.reference import CONFIDENCE_STEPS
from engine.evaluate.symbolic.formulas import (
    Formula,
    Number,
    choice,
    every,
    implies,
    integer,
    negation,
    same,
    some,
    total,
)
from engine.evaluate.symbolic.numbers import Numbers, compared, times, with_constant
from engine.evaluate.symbolic.snapshot import Snapshot, Variable
from engine.lowered import (
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    LoweredSignal,
    LoweredVote,
    NodeKind,
    Term,
)
from engine.units import Measure

_CONFIDENCE: Final = 1  # of the five fields of a signal


class Kleene(NamedTuple):
    """When a condition is definitely true, and when definitely false.

    ``certain`` says that it is always one of the two, because all it reads is always known.
    """

    true: Formula
    false: Formula
    certain: bool = False

    @property
    def unknown(self) -> Formula:
        """When it is neither."""
        return False if self.certain else every((negation(self.true), negation(self.false)))


_CONSTANT: Final = {
    Truth.FALSE: Kleene(False, True, True),
    Truth.TRUE: Kleene(True, False, True),
    Truth.UNKNOWN: Kleene(False, False),
}


class Conditions:
    """Every condition of a lowered policy as formulas over a snapshot.

    ``own`` gives facts that are not the snapshot's: those of the moment after an entry, what a decision was,
    signals that are stated instead of counted.  Policies that share slots, atoms, nodes and signals share
    their formulas where one is translated ``beside`` another: what they compute alike is one number.
    """

    def __init__(
        self,
        policy: LoweredPolicy,
        snapshot: Snapshot,
        own: dict[int, Variable] | None = None,
        beside: Conditions | None = None,
    ) -> None:
        """Translate nothing yet: what nobody asks for costs nothing."""
        self.policy = policy
        self.snapshot = snapshot
        self._given = own or {}
        self._own = dict(self._given)
        self._nodes: dict[int, Kleene] = {}
        self._atoms: dict[int, Kleene] = {}
        self._signals: dict[int, _Signal] = {}
        self._signal_of = {
            slot: (index, part)
            for index, signal in enumerate(policy.signals)
            for slots in (signal.slots, signal.entry_slots)
            for part, slot in enumerate(slots)
        }
        self.terms = Numbers(snapshot, self.variable)
        if beside is not None:
            self._given, self._own, self._signals = beside._given, beside._own, beside._signals
            self._nodes, self._atoms, self.terms = beside._nodes, beside._atoms, beside.terms

    def variable(self, slot: int, compared_with: float | None = None) -> Variable:
        """Return the variable of a slot; a voted signal's follows from its votes.

        A confidence is defined at the bound it is compared with, or else at each of its steps.
        """
        if slot in self._signal_of and slot not in self._given:
            signal, part = self._signal_of[slot]
            counted = self.signal(signal)
            if part == _CONFIDENCE and compared_with is None:
                counted.define(*range(1, CONFIDENCE_STEPS + 1))
            elif part == _CONFIDENCE and compared_with is not None:
                at = math.floor(compared_with * CONFIDENCE_STEPS)
                counted.define(at - 1, at, at + 1, at + 2)
        if slot in self._own:
            return self._own[slot]
        return self.snapshot.variable(self.policy.slots[slot])

    def give(self, slot: int, variable: Variable) -> None:
        """Give a fact that is not the snapshot's, before anything has read it: what a decision came to."""
        self._own[slot] = variable

    def node(self, node: int) -> Kleene:
        """Return when a condition is true and when false."""
        if node not in self._nodes:
            self._nodes[node] = self._node(node)
        return self._nodes[node]

    def _node(self, node: int) -> Kleene:
        lowered = self.policy.nodes[node]
        if lowered.kind is NodeKind.CONSTANT:
            return _CONSTANT[Truth(lowered.atom)]
        if lowered.kind is NodeKind.ATOM:
            return self.atom(lowered.atom)
        below = [self.node(child) for child in lowered.children]
        if lowered.kind is NodeKind.NOT:
            return Kleene(below[0].false, below[0].true, below[0].certain)
        true, false = (every, some) if lowered.kind is NodeKind.ALL else (some, every)
        holds = true(part.true for part in below)
        if all(part.certain for part in below):
            return Kleene(holds, negation(holds), True)
        return Kleene(holds, false(part.false for part in below))

    def atom(self, index: int) -> Kleene:
        """Return when a comparison is true and when false."""
        if index not in self._atoms:
            known, holds = self._comparison(self.policy.atoms[index])
            fails = every((known, negation(holds)))
            self._atoms[index] = Kleene(every((known, holds)), fails, known is True)
        return self._atoms[index]

    def _comparison(self, atom: Atom) -> tuple[Formula, Formula]:
        left, right, comparison = atom.left, atom.right, atom.comparison
        if isinstance(left, ConstantTerm):
            left, right, comparison = right, left, comparison.mirrored
        k = atom.steps_per_unit
        if isinstance(left, ConstantTerm):  # both are
            assert isinstance(right, ConstantTerm)
            return True, bool(compared(comparison, left.value, right.value))
        if k == 0 and isinstance(left, FactTerm):
            return self._word(left, comparison, right)
        bound = right.value if isinstance(right, ConstantTerm) else None
        left_known, left_steps, left_k = self._operand(left, k, bound)
        if isinstance(right, ConstantTerm):
            return left_known, with_constant(comparison, left_steps, left_k, right.value)
        right_known, right_steps, right_k = self._operand(right, k)
        common = math.lcm(left_k, right_k)
        holds = compared(
            comparison, times(left_steps, common // left_k), times(right_steps, common // right_k)
        )
        return every((left_known, right_known)), holds

    def _operand(self, term: Term, k: int, bound: float | None = None) -> tuple[Formula, Number, int]:
        if isinstance(term, FactTerm):
            variable = self.variable(term.slot, bound)
            return variable.known, variable.value, variable.slot.steps_per_unit
        return *self.terms.on_grid(term, k), k

    def _word(self, left: FactTerm, comparison: Comparison, right: Term) -> tuple[Formula, Formula]:
        variable = self.variable(left.slot)
        is_truth = variable.slot.unit is Measure.BOOLEAN
        if isinstance(right, ConstantTerm):
            known = variable.known
            if is_truth:
                equal = variable.value if right.value == 1 else negation(variable.value)
                equal = equal if right.value in (0, 1) else False
            else:
                equal = variable.value == int(right.value) if right.value == int(right.value) else False
        else:
            assert isinstance(right, FactTerm)
            other = self.variable(right.slot)
            known = every((variable.known, other.known))
            equal = same(variable.value, other.value) if is_truth else variable.value == other.value
        return known, equal if comparison is Comparison.EQUAL else negation(equal)

    def signal(self, index: int) -> _Signal:
        """Return a voted signal; its slots can be read afterwards."""
        if index not in self._signals:
            signal = self.policy.signals[index]
            counted = _Signal(self, signal)
            self._signals[index] = counted
            for slots, known in (
                (signal.entry_slots, counted.known_to_entries),
                (signal.slots, counted.known),
            ):
                for slot, value in zip(slots, counted.values, strict=True):
                    self._own[slot] = Variable(self.policy.slots[slot], known, value)
        return self._signals[index]


class _Signal:
    """The count of a signal's votes: side, confidence in hundredths, and the weights in millionths."""

    def __init__(self, conditions: Conditions, signal: LoweredSignal) -> None:
        self._snapshot = snapshot = conditions.snapshot
        sums: list[list[Number]] = [[], [], []]
        unknown: list[Formula] = []
        for vote in signal.votes:
            buy, sell = _sides(conditions, vote)
            casts = (
                every((buy.true, sell.false)),
                every((sell.true, buy.false)),
                every((buy.false, sell.false)),
            )
            weights = (vote.weight, vote.weight, vote.hold_weight)
            for parts, cast, weight in zip(sums, casts, weights, strict=True):
                if weight:
                    parts.append(choice(cast, weight, 0))
            unknown.append(some((buy.unknown, sell.unknown)))
        acting = [one for one, vote in zip(unknown, signal.votes, strict=True) if not vote.abstain]
        self.known = negation(some(acting))
        self.known_to_entries = negation(some(unknown))
        names = [integer(snapshot.fresh(f"{signal.name}.{part}")) for part in ("buy", "sell", "hold")]
        buy_weight, sell_weight, hold_weight = names
        wins = (
            every((buy_weight > sell_weight, buy_weight > hold_weight)),
            every((sell_weight > buy_weight, sell_weight > hold_weight)),
            every((hold_weight > buy_weight, hold_weight > sell_weight)),
        )
        side = integer(snapshot.fresh(f"{signal.name}.side"))
        self._confidence = confidence = integer(snapshot.fresh(f"{signal.name}.confidence"))
        self._largest = largest = integer(snapshot.fresh(f"{signal.name}.largest"))
        self._cast = total(names)
        self._defined: set[int] = set()
        sides = (Side.BUY, Side.SELL, Side.HOLD)
        for name, parts in zip(names, sums, strict=True):
            snapshot.define(name, name == total(parts))
        is_side = [same(side == code, won) for code, won in zip(sides, wins, strict=True)]
        snapshot.define(side, side >= Side.NONE, side <= Side.HOLD, *is_side)
        is_largest = [implies(won, largest == name) for name, won in zip(names, wins, strict=True)]
        snapshot.define(largest, *is_largest, implies(side == Side.NONE, largest == 0))
        snapshot.define(
            confidence,
            confidence >= 0,
            confidence <= CONFIDENCE_STEPS,
            implies(side == Side.NONE, confidence == 0),
        )
        self.values = (side, confidence, buy_weight, sell_weight, hold_weight)

    def define(self, *hundredths: int) -> None:
        """Say when the confidence reaches each of these: what it is compared with."""
        for hundredth in hundredths:
            if 1 <= hundredth <= CONFIDENCE_STEPS and hundredth not in self._defined:
                self._defined.add(hundredth)
                reached = _at_least(self._largest, self._cast, hundredth)
                self._snapshot.define(self._confidence, same(self._confidence >= hundredth, reached))


def _sides(conditions: Conditions, vote: LoweredVote) -> tuple[Kleene, Kleene]:
    buy, sell = (
        conditions.node(node) if node >= 0 else _CONSTANT[Truth.FALSE] for node in (vote.buy, vote.sell)
    )
    return buy, sell


def _at_least(largest: Number, cast: Number, hundredth: int) -> Formula:
    """Say whether ``largest / cast``, rounded as ``units.quantise`` does, has so many hundredths.

    At a tie the quotient is the float nearest to an odd number of two-hundredths, whatever the weights.
    """
    odd = 2 * hundredth - 1
    tie_rounds_up = round(odd / (2 * CONFIDENCE_STEPS) * CONFIDENCE_STEPS) >= hundredth
    left, right = largest * (2 * CONFIDENCE_STEPS), cast * odd
    return every((left >= right if tie_rounds_up else left > right, largest > 0))
