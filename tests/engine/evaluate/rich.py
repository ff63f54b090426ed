"""Policies in which each comparison reads facts of its own, so that each can be told apart.

Random policies hide much of themselves (a condition that can never be, a gate behind another);
a mutant in such a place is equal.  In these few places are hidden, and the cases make each
comparison true, false (both by one step at most) and Unknown.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from engine.codes import Action, Side, Truth
from engine.errors import NOWHERE
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LimitKind,
    LimitScope,
    LoweredLimit,
    LoweredPolicy,
    LoweredSignal,
    Node,
    NodeKind,
    Operator,
    OrderStyle,
    Selection,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.units import Measure
from tests.engine.evaluate.small import SIDES, gate, policy, rule, signal_slots, vote
from tests.strategies import SESSION, Case

_THRESHOLD = 2.0
_FACTS = 90
_FIRST_SIGNAL, _SECOND_SIGNAL, _SECOND_ENTRY = 3 + _FACTS, 3 + _FACTS + 5, 3 + _FACTS + 10
_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = Operator.ADD, Operator.SUBTRACT, Operator.MULTIPLY, Operator.DIVIDE


class _Writer:
    """Hands out fresh facts, atoms and nodes."""

    def __init__(self) -> None:
        self.slots: list[FactSlot] = []
        self.atoms: list[Atom] = []
        self.nodes: list[Node] = []

    def slot(self, made: FactSlot) -> int:
        self.slots.append(made)
        return 2 + len(self.slots)

    def number(self) -> FactTerm:
        made = FactSlot(f"fact_{len(self.slots)}", Measure.NUMBER, 10, SlotOrigin.VOCABULARY)
        return FactTerm(self.slot(made))

    def atom(self, left: Term, comparison: str, right: Term, steps: int = 10) -> int:
        made = Atom(left, Comparison(comparison), right, Measure.NUMBER, steps, NOWHERE, "")
        return self._atom(made)

    def _atom(self, made: Atom) -> int:
        self.atoms.append(made)
        return self.node(NodeKind.ATOM, atom=len(self.atoms) - 1)

    def is_(self, comparison: str, threshold: float = _THRESHOLD) -> int:
        return self.atom(self.number(), comparison, ConstantTerm(threshold))

    def flag(self, comparison: str, value: float) -> int:
        slot = self.slot(FactSlot(f"flag_{len(self.slots)}", Measure.BOOLEAN, 0, SlotOrigin.VOCABULARY))
        made = Atom(
            FactTerm(slot), Comparison(comparison), ConstantTerm(value), Measure.BOOLEAN, 0, NOWHERE, ""
        )
        return self._atom(made)

    def word(self, comparison: str, value: float) -> int:
        slot = self.slot(FactSlot(f"word_{len(self.slots)}", SESSION, 0, SlotOrigin.VOCABULARY))
        made = Atom(FactTerm(slot), Comparison(comparison), ConstantTerm(value), SESSION, 0, NOWHERE, "")
        return self._atom(made)

    def side(self, slot: int, comparison: str, side: Side) -> int:
        made = Atom(FactTerm(slot), Comparison(comparison), ConstantTerm(float(side)), SIDES, 0, NOWHERE, "")
        return self._atom(made)

    def node(self, kind: NodeKind, *children: int, atom: int = -1) -> int:
        self.nodes.append(Node(kind, atom, children))
        return len(self.nodes) - 1

    def all(self, *children: int) -> int:
        return self.node(NodeKind.ALL, *children)

    def any(self, *children: int) -> int:
        return self.node(NodeKind.ANY, *children)

    def not_(self, child: int) -> int:
        return self.node(NodeKind.NOT, child)

    def computed(self, operator: Operator, *operands: Term) -> Term:
        return ArithmeticTerm(operator, operands)


def rich_policy(selection: Selection, acting_first: bool = False) -> LoweredPolicy:
    """Return a policy of all rule, gate, vote and term kinds, in the given selection.

    ``acting_first`` puts the buys before the sells.
    """
    w = _Writer()
    number, computed = w.number, w.computed
    held = w.atom(FactTerm(0), ">=", number())

    # Signals: of the second one vote may abstain.
    first = LoweredSignal(
        "first",
        (
            vote(w.is_("<"), w.is_(">"), weight=2, hold=1),
            vote(w.is_("<="), -1, weight=3),
            vote(-1, w.is_(">="), weight=4, hold=2),
        ),
        (_FIRST_SIGNAL, *range(_FIRST_SIGNAL + 1, _FIRST_SIGNAL + 5)),
        (_FIRST_SIGNAL, *range(_FIRST_SIGNAL + 1, _FIRST_SIGNAL + 5)),
        NOWHERE,
    )
    second = LoweredSignal(
        "second",
        (
            vote(w.all(w.is_("=="), w.is_("<")), w.any(w.is_("!="), w.is_(">")), weight=2, abstain=True),
            vote(w.not_(w.is_("<")), w.is_(">="), weight=1, hold=3),
        ),
        (_SECOND_SIGNAL, *range(_SECOND_SIGNAL + 1, _SECOND_SIGNAL + 5)),
        (_SECOND_ENTRY, *range(_SECOND_ENTRY + 1, _SECOND_ENTRY + 5)),
        NOWHERE,
    )
    weights = FactTerm(_FIRST_SIGNAL + 2), FactTerm(_FIRST_SIGNAL + 3), FactTerm(_FIRST_SIGNAL + 4)
    sure = w.atom(FactTerm(_FIRST_SIGNAL + 1), ">=", ConstantTerm(0.6), 100)
    buying, selling = w.side(_FIRST_SIGNAL, "==", Side.BUY), w.side(_FIRST_SIGNAL, "==", Side.SELL)
    second_sells = w.side(_SECOND_SIGNAL, "==", Side.SELL)
    second_sells_entry = w.side(_SECOND_ENTRY, "==", Side.SELL)
    not_selling = w.side(_SECOND_ENTRY, "!=", Side.SELL)

    table = StepTerm(number(), (1.0, 2.0, 3.0), (2.16, 1.26, 3.36))
    halves = ConstantTerm(0.5)
    arithmetic = (
        w.atom(number(), "<=", computed(_MULTIPLY, halves, number()), 10),
        w.atom(computed(_DIVIDE, number(), number()), ">", ConstantTerm(1.5), 10),
        w.atom(computed(_ADD, number(), number(), number()), "<", ConstantTerm(6.0), 1),
        w.atom(computed(_SUBTRACT, number(), number()), "==", ConstantTerm(1.0), 1),
        w.atom(
            computed(Operator.ABSOLUTE, computed(_SUBTRACT, number(), number())), ">=", ConstantTerm(1.0), 1
        ),
        w.atom(computed(Operator.NEGATE, number()), "!=", ConstantTerm(-2.0), 1),
        w.atom(computed(Operator.LOGARITHM, number()), ">=", ConstantTerm(1.0), 1),
        w.atom(computed(Operator.MINIMUM, number(), number()), ">", ConstantTerm(1.0), 1),
        w.atom(
            computed(Operator.MAXIMUM, number(), computed(_ADD, number(), number())),
            "<",
            ConstantTerm(5.0),
            1,
        ),
        w.atom(number(), ">", table),
        w.atom(computed(_MULTIPLY, ConstantTerm(0.3), computed(_ADD, *weights[:2])), ">", weights[2], 1),
        w.atom(computed(_DIVIDE, number(), computed(_SUBTRACT, number(), number())), "<", number(), 10),
    )
    never_known = w.node(NodeKind.CONSTANT, atom=int(Truth.UNKNOWN))

    sells = [
        rule(Action.SELL, w.all(held, w.is_(">"), w.flag("==", 1.0)), protective=True),
        rule(Action.SELL, w.all(held, w.is_("<=")), size=computed(_MULTIPLY, halves, number())),
        rule(Action.SELL, w.all(held, w.is_("!=")), size=number(), measure=Measure.QUANTITY),
        rule(Action.SELL, w.all(held, selling, sure, arithmetic[0])),
        rule(
            Action.SELL,
            w.all(held, second_sells, arithmetic[1]),
            w.all(held, second_sells_entry, arithmetic[1]),
        ),
        rule(Action.SELL, w.all(held, w.word("!=", 2.0), arithmetic[2]), protective=True, size=number()),
    ]
    entries = [
        rule(
            Action.BUY,
            w.all(buying, w.any(arithmetic[3], arithmetic[4])),
            size=computed(_ADD, number(), halves),
        ),
        rule(
            Action.HOLD, w.any(w.all(arithmetic[5], arithmetic[6]), w.not_(w.any(arithmetic[7], w.is_(">"))))
        ),
        rule(Action.BUY, w.all(not_selling, w.not_(w.all(arithmetic[8], w.flag("!=", 0.0)))), size=number()),
        rule(
            Action.BUY,
            w.any(arithmetic[9], arithmetic[10], w.all(arithmetic[11], never_known)),
            size=number(),
        ),
        rule(Action.BUY, w.any(w.is_(">"), w.is_("==")), size=number()),
    ]
    rules = entries + sells if acting_first else sells + entries
    once_buy, once_sell = (0, len(entries)) if acting_first else (len(sells), 0)
    gates = (
        gate("bsp", w.flag("==", 1.0)),
        gate("s", w.is_(">"), pass_if_unknown=True),
        gate("bs", w.is_(">=")),
        gate("b", w.is_("<"), only_rule=once_buy),
        gate("p", w.is_("=="), only_rule=once_sell),
        gate("sp", w.all(second_sells, w.is_("<")), w.all(second_sells_entry, len(w.nodes) - 2)),
        gate("b", w.word("==", 1.0)),
        gate("s", w.is_("<=")),
    )
    assert len(w.slots) <= _FACTS, len(w.slots)
    while len(w.slots) < _FACTS:
        w.number()
    made = policy(
        slots=[
            *w.slots,
            *signal_slots("first"),
            *signal_slots("second"),
            *signal_slots("second@entry", SlotOrigin.ENTRY_SIGNAL),
        ],
        atoms=w.atoms,
        nodes=w.nodes,
        rules=rules,
        gates=gates,
        signals=(first, second),
        selection=selection,
    )
    bound = LoweredLimit(
        "bound",
        LimitKind.ORDER_AT_MOST,
        LimitScope.ORDER,
        computed(_MULTIPLY, halves, FactTerm(3)),
        0,
        0,
        NOWHERE,
    )
    style = OrderStyle(computed(_MULTIPLY, ConstantTerm(1.001), FactTerm(2)), None, "day", False)
    return replace(made, limits=(bound,), buy_style=style)


def rich_cases(lowered: LoweredPolicy, rng: random.Random) -> Iterator[Case]:
    """Yield facts that make comparisons true or false by a step, or Unknown; and random masks.

    Comparisons of a few rules and gates in focus are true nearly always, those of other rules and gates
    as often as chance decides for the case; and often something in focus is Unknown.
    """
    parts = [rule.when for rule in lowered.rules] + [gate.when for gate in lowered.gates]
    buys, sells = (
        [rule for rule in lowered.rules if rule.action is action] for action in (Action.BUY, Action.SELL)
    )
    under = {when: _atoms_under(lowered, when) for when in parts}
    of_gates = {atom for gate in lowered.gates for atom in under[gate.when]}
    steered = [_Steered.of(lowered, index) for index in range(len(lowered.atoms))]
    while True:
        values = _numbers(lowered, rng)
        true, closed = rng.choice((20, 50, 75, 92)), rng.choice((2, 10, 40))
        focus = rng.sample(parts, rng.randrange(1, 6))
        blank = rng.sample(focus, rng.randrange(1, len(focus) + 1)) if rng.randrange(2) else []
        if rng.randrange(4) == 0:
            # Two exits, two entries or one of each, and perhaps an Unknown gate between them.
            true, closed = 20, 2
            gate = rng.choice(lowered.gates).when
            focus = [gate, *(rule.when for rule in rng.sample(buys + sells, 2))]
            blank = [gate] if rng.randrange(3) else []
        in_focus = {atom for when in focus for atom in under[when]}
        for index, atom in enumerate(steered):
            if atom is not None:
                percent = 92 if index in in_focus else closed if index in of_gates else true
                values[atom.slot] = rng.choice(atom.true if rng.randrange(100) < percent else atom.false)
        for when in blank:
            atoms = [steered[index] for index in sorted(under[when])]
            values[rng.choice([atom.slot for atom in atoms if atom] or [0])] = math.nan
        unknown = rng.choice((0, 0, 2, 10))
        for slot in range(3 + _FACTS) if unknown else ():
            if rng.randrange(100) < unknown:
                values[slot] = math.nan
        for side in (_FIRST_SIGNAL, _SECOND_SIGNAL, _SECOND_ENTRY):
            values[side : side + 2] = (
                rng.choice((0.0, 1.0, 1.0, 2.0, 2.0, 3.0)),
                rng.choice((0.59, 0.6, 0.61)),
            )
            if rng.randrange(4) == 0:
                values[side + rng.randrange(2)] = math.nan
        bits = len(lowered.rules)
        masks = (
            rng.getrandbits(bits) & rng.getrandbits(bits) if rng.randrange(3) == 0 else 0 for _ in range(2)
        )
        yield Case(values, rng.choice((0, 0, 1, 2, 3)), *masks)


class _Steered(NamedTuple):
    """A fact that is compared with a constant, and the values next to it that make it true and false."""

    slot: int
    true: list[float]
    false: list[float]

    @staticmethod
    def of(lowered: LoweredPolicy, index: int) -> _Steered | None:
        """Return it, or None where the comparison is of anything else."""
        atom = lowered.atoms[index]
        if not (isinstance(atom.left, FactTerm) and isinstance(atom.right, ConstantTerm)):
            return None
        constant = atom.right.value
        steps = lowered.slots[atom.left.slot].steps_per_unit or 1
        near = [0.0, 1.0] if atom.unit is Measure.BOOLEAN else [constant + n / steps for n in (-1, 0, 1)]
        holds = {value: _holds(value, atom.comparison, constant) for value in near}
        return _Steered(
            atom.left.slot, [at for at in near if holds[at]], [at for at in near if not holds[at]]
        )


def _numbers(lowered: LoweredPolicy, rng: random.Random) -> list[float]:
    if rng.randrange(2):
        values = [rng.randrange(-5, 50) / 10 for _ in lowered.slots]
    else:
        values = [rng.choice((1.3, 2.3, 2.3)) for _ in lowered.slots]
    values[0] = rng.choice((2.0, 3.0, 4.0))
    values[3] = values[0] + rng.choice((-1.0, -0.1, 0.0, 0.0, 0.1))  # what the position is compared with
    values[1], values[2] = rng.choice(((100.0, 100.0), (100.0, 0.5), (0.013, 0.017), (0.5, 100.37)))
    if rng.randrange(4) == 0:
        values[rng.randrange(1, 3)] = math.nan
    number = rng.randrange(3, 10 * _FACTS)
    if number < 3 + _FACTS and lowered.slots[number].unit is Measure.NUMBER:
        # The largest, and where quantising ends: 2**51 and 2**53 over the steps of a grid.
        edge = rng.choice((2.0**51, 2.0**52, 2.0**53)) / rng.choice((1, 10, 100))
        values[number] = rng.choice((1.7e308, -1.7e308, edge * 1.0001, -edge * 1.0001, edge / 1.0001))
    return values


def _atoms_under(lowered: LoweredPolicy, node: int) -> set[int]:
    at = lowered.nodes[node]
    if at.kind is NodeKind.ATOM:
        return {at.atom}
    return {atom for child in at.children for atom in _atoms_under(lowered, child)}


def _holds(left: float, comparison: Comparison, right: float) -> bool:
    match comparison:
        case Comparison.LESS:
            return left < right
        case Comparison.LESS_OR_EQUAL:
            return left <= right
        case Comparison.GREATER:
            return left > right
        case Comparison.GREATER_OR_EQUAL:
            return left >= right
        case Comparison.EQUAL:
            return left == right
        case Comparison.NOT_EQUAL:
            return left != right
