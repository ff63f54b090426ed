"""The reference evaluator: small and obvious.  Every leaf is evaluated and recorded.

It is the meaning that the other evaluators are compared with, and what ``explain`` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from operator import eq, ge, gt, le, lt, ne
from typing import NamedTuple

from engine.codes import Action, Disposition, Side, Truth
from engine.evaluate.verdict import WOULD_EXIT, Verdict, gates_of
from engine.lowered import (
    ArithmeticTerm,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    LoweredSignal,
    NodeKind,
    Operator,
    Selection,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.units import GRID_PER_UNIT, Measure, quantise

NAN = math.nan
# Bound once: to look a member up in its class costs more than to compare it.
FALSE, TRUE, UNKNOWN = int(Truth.FALSE), int(Truth.TRUE), int(Truth.UNKNOWN)
ALL, ANY = NodeKind.ALL, NodeKind.ANY
ADD, SUBTRACT, MULTIPLY, DIVIDE = Operator.ADD, Operator.SUBTRACT, Operator.MULTIPLY, Operator.DIVIDE
NEGATE, ABSOLUTE, LOGARITHM = Operator.NEGATE, Operator.ABSOLUTE, Operator.LOGARITHM
MINIMUM, MAXIMUM = Operator.MINIMUM, Operator.MAXIMUM

CONFIDENCE_STEPS = 100
WEIGHT_STEPS = 1_000_000
"""Weights are integers in millionths (see ``LoweredVote``)."""
_CENTS = GRID_PER_UNIT[Measure.MONEY]

NOT_TABLE = (TRUE, FALSE, UNKNOWN)

_Compare = Callable[[float, float], bool]
_COMPARE: dict[Comparison, _Compare] = {
    Comparison.LESS: lt,
    Comparison.LESS_OR_EQUAL: le,
    Comparison.GREATER: gt,
    Comparison.GREATER_OR_EQUAL: ge,
    Comparison.EQUAL: eq,
    Comparison.NOT_EQUAL: ne,
}


def evaluate_term(term: Term, values: list[float]) -> float:
    """Return the value of a term in float64; NaN where any input or result is not finite."""
    if isinstance(term, FactTerm):
        return values[term.slot]
    if isinstance(term, ConstantTerm):
        return term.value
    if isinstance(term, ArithmeticTerm):
        return arithmetic(term.operator, [evaluate_term(operand, values) for operand in term.operands])
    at = evaluate_term(term.by, values)
    result = NAN
    for threshold, value in zip(term.thresholds, term.values, strict=True):
        if at >= threshold:
            result = value
    return result


def arithmetic(operator: Operator, operands: list[float]) -> float:
    """Apply an operator, left to right; a result that is not finite is NaN (Unknown)."""
    result = operands[0]
    try:
        if operator is NEGATE:
            result = -result
        elif operator is ABSOLUTE:
            result = abs(result)
        elif operator is LOGARITHM:
            result = math.log(result)
        for other in operands[1:]:
            if operator is MULTIPLY:
                result = result * other
            elif operator is DIVIDE:
                result = result / other
            elif operator is ADD:
                result = result + other
            elif operator is SUBTRACT:
                result = result - other
            elif result != result or other != other:
                result = NAN  # min and max of an Unknown are Unknown, whatever the other is
            elif operator is MINIMUM:
                result = min(result, other)
            elif operator is MAXIMUM:
                result = max(result, other)
            if not math.isfinite(result):
                return NAN
    except (ZeroDivisionError, ValueError):
        return NAN
    return result


def operand_value(term: Term, steps_per_unit: int, values: list[float]) -> float:
    """Return an operand of a comparison: a computed one is put on the grid first."""
    value = evaluate_term(term, values)
    if isinstance(term, FactTerm | ConstantTerm):
        return value
    return quantise(value, steps_per_unit) if value == value else NAN


def conjunction(nodes: tuple[int, ...], truths: list[int]) -> int:
    """Kleene's and."""
    result = TRUE
    for node in nodes:
        truth = truths[node]
        if truth == FALSE:
            return FALSE
        if truth == UNKNOWN:
            result = UNKNOWN
    return result


def disjunction(nodes: tuple[int, ...], truths: list[int]) -> int:
    """Kleene's or."""
    result = FALSE
    for node in nodes:
        truth = truths[node]
        if truth == TRUE:
            return TRUE
        if truth == UNKNOWN:
            result = UNKNOWN
    return result


class Leaf(NamedTuple):
    """One evaluated atom: both operands as compared, and the truth."""

    left: float
    right: float
    truth: int


def _reads_signal(term: Term, signal_slots: frozenset[int]) -> bool:
    match term:
        case FactTerm(slot):
            return slot in signal_slots
        case ConstantTerm():
            return False
        case ArithmeticTerm(_, operands):
            return any(_reads_signal(operand, signal_slots) for operand in operands)
        case StepTerm(by, _, _):
            return _reads_signal(by, signal_slots)


_leaf = partial(tuple.__new__, Leaf)
"""Makes a Leaf of three values, in half the time."""
_NO_LEAF = Leaf(NAN, NAN, UNKNOWN)


class _Phase(NamedTuple):
    """What is evaluated together: before the votes are counted, or after."""

    computed: list[tuple[int, Term, int]]  # place, term, steps per unit
    atoms: list[tuple[int, int, _Compare, int]]  # atom, place of left, comparison, place of right
    atom_nodes: list[tuple[int, int]]  # node, atom
    nodes: list[tuple[int, NodeKind, tuple[int, ...]]]  # node, kind, children


class Evaluation(NamedTuple):
    """Everything the reference evaluator saw: one entry per atom and per node."""

    leaves: list[Leaf]
    truths: list[int]


class ReferenceEvaluator:
    """Evaluates every atom, then every node, then chooses; see ``engine.evaluate.verdict``."""

    def __init__(self, policy: LoweredPolicy) -> None:
        """Split atoms and nodes into those that votes may read and those that read signals."""
        self.policy = policy
        signal_slots = frozenset(
            index
            for index, slot in enumerate(policy.slots)
            if slot.origin in (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
        )
        self._constants: list[float] = []
        self._phases = (_Phase([], [], [], []), _Phase([], [], [], []))
        late_atoms: set[int] = set()
        for index, atom in enumerate(policy.atoms):
            late = _reads_signal(atom.left, signal_slots) or _reads_signal(atom.right, signal_slots)
            if late:
                late_atoms.add(index)
            left, right = (self._place(term, atom.steps_per_unit, late) for term in (atom.left, atom.right))
            self._phases[late].atoms.append((index, left, _COMPARE[atom.comparison], right))
        self._truths = [UNKNOWN] * len(policy.nodes)  # before anything is evaluated
        late_nodes: set[int] = set()
        for index, node in enumerate(policy.nodes):
            if node.kind is NodeKind.CONSTANT:
                self._truths[index] = node.atom
                continue
            if node.kind is NodeKind.ATOM:
                late = node.atom in late_atoms
                self._phases[late].atom_nodes.append((index, node.atom))
            else:
                late = not late_nodes.isdisjoint(node.children)
                self._phases[late].nodes.append((index, node.kind, node.children))
            if late:
                late_nodes.add(index)
        self._whens = tuple(rule.when for rule in policy.rules)
        self._actions = tuple(rule.action for rule in policy.rules)
        self._speaking = tuple(gates_of(policy, index) for index in range(len(policy.rules)))
        self._would_exit_gate = next(
            (index for index, gate in enumerate(policy.gates) if gate.name == WOULD_EXIT), -1
        )

    def _place(self, term: Term, steps_per_unit: int, late: bool) -> int:
        """Return where a term's value stands among the operands: the facts, then everything else."""
        if isinstance(term, FactTerm):
            return term.slot
        place = len(self.policy.slots) + len(self._constants)
        self._constants.append(term.value if isinstance(term, ConstantTerm) else NAN)
        if not isinstance(term, ConstantTerm):
            self._phases[late].computed.append((place, term, steps_per_unit))
        return place

    # --- conditions ---------------------------------------------------------------------------

    def evaluate(self, values: list[float], stated: int = 0) -> Evaluation:
        """Evaluate every leaf and node, writing the slots of the voted signals."""
        leaves: list[Leaf] = [_NO_LEAF] * len(self.policy.atoms)
        truths = self._truths.copy()
        operands = values + self._constants
        early, late = self._phases
        self._pass(early, values, operands, leaves, truths)
        for index, signal in enumerate(self.policy.signals):
            if not stated >> index & 1:
                write_signal(signal, truths, values)
        operands[: len(values)] = values
        self._pass(late, values, operands, leaves, truths)
        return Evaluation(leaves, truths)

    @staticmethod
    def _pass(
        phase: _Phase, values: list[float], operands: list[float], leaves: list[Leaf], truths: list[int]
    ) -> None:
        for place, term, steps_per_unit in phase.computed:
            operands[place] = operand_value(term, steps_per_unit, values)
        for index, left_place, compare, right_place in phase.atoms:
            left, right = operands[left_place], operands[right_place]
            known = left == left and right == right
            truth = int(compare(left, right)) if known else UNKNOWN
            leaves[index] = _leaf((left, right, truth))
        for index, atom in phase.atom_nodes:
            truths[index] = leaves[atom].truth
        for index, kind, children in phase.nodes:
            if kind is ALL:
                truths[index] = conjunction(children, truths)
            elif kind is ANY:
                truths[index] = disjunction(children, truths)
            else:
                truths[index] = NOT_TABLE[truths[children[0]]]

    # --- choice -------------------------------------------------------------------------------

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Evaluate and choose; see ``Evaluator.verdict``."""
        _, truths = self.evaluate(values, stated)
        return self.choose(truths, values, would_exit, would_exit_unknown)

    def choose(
        self, truths: list[int], values: list[float], would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Choose among the rules, given the truth of every node."""
        rules = self.policy.rules
        count = len(rules)
        dispositions = [Disposition.NONE] * count
        causes = [-1] * count
        candidates = [index for index, when in enumerate(self._whens) if truths[when] == TRUE]
        winner = -1
        if self.policy.selection is Selection.EXITS_FIRST:
            exits = self._standing(candidates, (Action.SELL,), truths, 0, 0, dispositions, causes)
            if exits:
                winner = min(exits, key=lambda index: (self.level_after(index, values), index))
                entries = [index for index in candidates if rules[index].action is not Action.SELL]
                _settle(rules[winner].action, winner, exits + entries, self._actions, dispositions, causes)
                return self._answer(winner, truths, dispositions, causes)
            considered: tuple[Action, ...] = (Action.BUY, Action.HOLD)
        else:
            considered = (Action.BUY, Action.SELL, Action.HOLD)
        standing = self._standing(
            candidates, considered, truths, would_exit, would_exit_unknown, dispositions, causes
        )
        if standing:
            winner = standing[0]
            _settle(rules[winner].action, winner, standing, self._actions, dispositions, causes)
        return self._answer(winner, truths, dispositions, causes)

    def _answer(
        self, winner: int, truths: list[int], dispositions: list[Disposition], causes: list[int]
    ) -> Verdict:
        matched = bytes([truths[when] for when in self._whens])
        return Verdict(winner, matched, bytes(dispositions), tuple(causes))

    def _standing(
        self,
        candidates: list[int],
        considered: tuple[Action, ...],
        truths: list[int],
        would_exit: int,
        would_exit_unknown: int,
        dispositions: list[Disposition],
        causes: list[int],
    ) -> list[int]:
        """Return the candidates that neither a gate vetoes nor an Unknown withholds."""
        standing = []
        for index in candidates:
            action = self.policy.rules[index].action
            if action not in considered:
                continue
            gate = self._veto(index, truths)
            if gate < 0 and action is Action.BUY and (would_exit | would_exit_unknown) >> index & 1:
                gate = self._would_exit_gate
            if gate >= 0:
                dispositions[index], causes[index] = Disposition.VETOED, gate
                continue
            if action is Action.BUY:
                withheld_by = self._withheld(index, truths, would_exit_unknown & ~would_exit)
                if withheld_by >= 0:
                    dispositions[index], causes[index] = Disposition.UNKNOWN, withheld_by
                    continue
            standing.append(index)
        return standing

    def _veto(self, rule: int, truths: list[int]) -> int:
        """Return the first gate that vetoes a rule, or -1."""
        lowered = self.policy.rules[rule]
        for index, gate in self._speaking[rule]:
            truth = truths[gate.when_entry if lowered.action is Action.BUY else gate.when]
            if truth == TRUE:
                return index
            if truth == UNKNOWN and not lowered.protective and not gate.pass_if_unknown:
                return index
        return -1

    def _stopped_by_unknown_only(self, rule: int, truths: list[int]) -> bool:
        """Say whether only Unknown gates stop a rule: known, they might let it through."""
        lowered = self.policy.rules[rule]
        stopped = False
        for _, gate in self._speaking[rule]:
            truth = truths[gate.when_entry]
            if truth == TRUE:
                return False
            counts = not (lowered.protective or gate.pass_if_unknown) or gate.when != gate.when_entry
            if truth == UNKNOWN and counts:
                stopped = True
        return stopped

    def _withheld(self, entry: int, truths: list[int], would_exit_unknown: int) -> int:
        """Return the first rule whose Unknown forbids an entry, or -1 (language reference, "Unknown")."""
        for index, rule in enumerate(self.policy.rules):
            if rule.action is not Action.SELL and index >= entry:
                continue
            truth = truths[rule.when_entry]
            if truth == UNKNOWN:
                return index
            if (
                truth == TRUE
                and rule.action is not Action.HOLD
                and self._stopped_by_unknown_only(index, truths)
            ):
                return index
            if rule.action is Action.BUY and would_exit_unknown >> index & 1:
                return index
        return -1

    def level_after(self, rule: int, values: list[float]) -> float:
        """Return the position value a sell would leave; infinite where Unknown."""
        lowered = self.policy.rules[rule]
        if lowered.size is None:
            return 0.0
        level = self.size(rule, values)
        if lowered.size_measure is Measure.QUANTITY:
            owned = self._fact("position_qty", values)
            level = arithmetic(MULTIPLY, [min(level, owned), self._fact("price", values)])
            unknown = owned != owned or level != level
        else:
            owned = self._fact("position_value", values)
            unknown = owned != owned or level != level
            level = min(level, owned)
        return math.inf if unknown else max(0.0, quantise(level, _CENTS))

    def _fact(self, name: str, values: list[float]) -> float:
        return values[self.policy.slot(name)]

    # --- what surrounds the choice ------------------------------------------------------------

    def standing_exit(self, values: list[float], stated: int = 0) -> tuple[int, int]:
        """Return the first exit whose condition is true or Unknown; see ``Evaluator``."""
        _, truths = self.evaluate(values, stated)
        exits = [
            (truths[rule.when_entry], index)
            for index, rule in enumerate(self.policy.rules)
            if rule.action is Action.SELL
        ]
        for wanted in (TRUE, UNKNOWN):
            for truth, index in exits:
                if truth == wanted:
                    return wanted, index
        return FALSE, -1

    def size(self, rule: int, values: list[float]) -> float:
        """Return a rule's size on its measure's grid; NaN where Unknown."""
        lowered = self.policy.rules[rule]
        if lowered.size is None:
            return 0.0
        return _on_grid(lowered.size, lowered.size_measure, values)

    def bound(self, limit: int, values: list[float]) -> float:
        """Return a limit's bound in money; NaN where Unknown."""
        bound = self.policy.limits[limit].bound
        return NAN if bound is None else _on_grid(bound, Measure.MONEY, values)

    def price(self, buy: bool, values: list[float]) -> float:
        """Return the limit price of the order style; NaN where Unknown or a market order."""
        style = self.policy.buy_style if buy else self.policy.sell_style
        return NAN if style.limit is None else _on_grid(style.limit, Measure.PRICE, values)


def _on_grid(term: Term, measure: Measure, values: list[float]) -> float:
    value = evaluate_term(term, values)
    return quantise(value, GRID_PER_UNIT[measure]) if value == value else NAN


def _settle(
    action: Action,
    winner: int,
    standing: list[int],
    actions: tuple[Action, ...],
    dispositions: list[Disposition],
    causes: list[int],
) -> None:
    for index in standing:
        if index == winner:
            dispositions[index] = Disposition.ACTED
        else:
            same = actions[index] is action
            dispositions[index] = Disposition.CONCURRED if same else Disposition.OUTRANKED
            causes[index] = winner


def write_signal(signal: LoweredSignal, truths: list[int], values: list[float]) -> None:
    """Count a signal's votes and write its slots, in the acting and in the entry reading."""
    buys = sells = holds = 0
    unknown = entry_unknown = False
    for vote in signal.votes:
        buy = truths[vote.buy] if vote.buy >= 0 else FALSE
        sell = truths[vote.sell] if vote.sell >= 0 else FALSE
        if buy == UNKNOWN or sell == UNKNOWN:
            entry_unknown = True
            unknown = unknown or not vote.abstain
        elif buy == TRUE and sell == FALSE:
            buys += vote.weight
        elif sell == TRUE and buy == FALSE:
            sells += vote.weight
        elif buy == FALSE:
            holds += vote.hold_weight
    counted = tally(buys, sells, holds)
    readings = [(signal.slots, unknown)]
    if signal.entry_slots != signal.slots:
        readings.append((signal.entry_slots, entry_unknown))
    for slots, hidden in readings:
        for slot, value in zip(slots, counted, strict=True):
            values[slot] = NAN if hidden else value


def tally(buy: int, sell: int, hold: int) -> tuple[float, float, float, float, float]:
    """Return side, confidence and the weights cast, from weights in millionths."""
    weights = (buy / WEIGHT_STEPS, sell / WEIGHT_STEPS, hold / WEIGHT_STEPS)
    for side, weight, others in (
        (Side.BUY, buy, max(sell, hold)),
        (Side.SELL, sell, max(buy, hold)),
        (Side.HOLD, hold, max(buy, sell)),
    ):
        if weight > others:
            return (float(side), quantise(weight / (buy + sell + hold), CONFIDENCE_STEPS), *weights)
    return (float(Side.NONE), 0.0, *weights)
