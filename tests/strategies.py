"""Random lowered policies and facts for them.

One builder serves hypothesis (which draws, shrinks and repeats policies through the ``Random`` it hands
out) and seeded corpora.  Fact vectors come from a plain seeded ``Random``: fifty for each policy would
be slow to draw, and a failure needs only the smallest policy and the seed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from engine.codes import Action, Side, Truth
from engine.errors import NOWHERE
from engine.evaluate.reference import operand_value
from engine.evaluate.verdict import WOULD_EXIT
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LimitKind,
    LimitScope,
    LoweredGate,
    LoweredLimit,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    Node,
    NodeKind,
    Once,
    Operator,
    OrderStyle,
    Selection,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.units import Measure, Unit, Words, quantise

NAN = math.nan
SIDES = Words("side", tuple(side.name.lower() for side in Side))
SESSION = Words("session", ("regular", "pre", "post", "closed"))
_GRIDS = {
    Measure.NUMBER: (10, 100, 10_000),
    Measure.RATIO: (100, 10_000, 1_000_000),
    Measure.MONEY: (100,),
    Measure.PRICE: (100, 10_000, 10**8),
    Measure.DURATION: (1,),
    Measure.QUANTITY: (10**9,),
}
_UNARY = (Operator.NEGATE, Operator.ABSOLUTE, Operator.LOGARITHM)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a random policy may look like.

    ``coherent`` policies are what the loader makes: the two readings of a condition differ only in
    the slots of signals with abstaining votes, and buys act on the entry reading.  Others pair any
    two conditions, which evaluators must honour alike.
    """

    coherent: bool = False
    abstaining: bool = True
    entry_bias: bool = False  # fewer sells and gates, so that buys with Unknown facts win
    rules: tuple[int, int] = (1, 8)


@dataclass
class _Builder:
    rng: random.Random
    shape: Shape
    slots: list[FactSlot] = field(default_factory=list)
    atoms: list[Atom] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    signals: list[LoweredSignal] = field(default_factory=list)
    mirrored: dict[int, int] = field(default_factory=dict)  # acting slot -> entry slot
    fact_count: int = 0

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) >= 100 - percent

    # --- facts and numbers

    def slot(self, name: str, unit: Unit, steps: int, origin: SlotOrigin = SlotOrigin.VOCABULARY) -> int:
        self.slots.append(FactSlot(name, unit, steps, origin))
        return len(self.slots) - 1

    def facts(self) -> None:
        self.slot("position_qty", Measure.QUANTITY, 10**9)
        self.slot("position_value", Measure.MONEY, 100)
        self.slot("price", Measure.PRICE, 100)
        self.slot("session", SESSION, 0)
        self.slot("fresh", Measure.BOOLEAN, 0)
        for index in range(self.rng.randrange(1, 6)):
            measure = self.rng.choice(tuple(_GRIDS))
            self.slot(f"fact_{index}", measure, self.rng.choice(_GRIDS[measure]))
        self.fact_count = len(self.slots)

    def constant(self, steps: int) -> float:
        if self.chance(15):
            return float(self.rng.randrange(-2, 5))
        return self.rng.randrange(-4, 13) / steps

    def numeric_slot(self, late: bool) -> int:
        usable = [
            index
            for index, slot in enumerate(self.slots)
            if slot.steps_per_unit
            and (slot.origin is SlotOrigin.VOCABULARY or (late and slot.origin is SlotOrigin.SIGNAL))
        ]
        return self.rng.choice(usable)

    def term(self, late: bool, steps: int, depth: int = 2) -> Term:
        kind = self.rng.randrange(10)
        if kind < 4 or depth == 0:
            return FactTerm(self.numeric_slot(late))
        if kind < 6:
            return ConstantTerm(self.constant(steps))
        return self.computed(late, steps, depth)

    def computed(self, late: bool, steps: int, depth: int = 2) -> Term:
        if self.chance(20):
            rows = self.rng.randrange(1, 7)
            thresholds = sorted({self.constant(steps) for _ in range(rows)})
            values = tuple(self.constant(steps) for _ in thresholds)
            return StepTerm(self.term(late, steps, depth - 1), tuple(thresholds), values)
        operator = self.rng.choice(tuple(Operator))
        count = 1 if operator in _UNARY else 2 + self.rng.randrange(2)
        return ArithmeticTerm(operator, tuple(self.term(late, steps, depth - 1) for _ in range(count)))

    # --- conditions

    def node(self, kind: NodeKind, atom: int = -1, children: tuple[int, ...] = ()) -> int:
        made = Node(kind, atom, children)
        if made in self.nodes:
            return self.nodes.index(made)
        self.nodes.append(made)
        return len(self.nodes) - 1

    def atom_node(self, left: Term, comparison: Comparison, right: Term, unit: Unit, steps: int) -> int:
        made = Atom(left, comparison, right, unit, steps, NOWHERE, "")
        if made not in self.atoms:
            self.atoms.append(made)
        return self.node(NodeKind.ATOM, self.atoms.index(made))

    def random_atom(self, late: bool) -> int:
        rng = self.rng
        if late and self.chance(40):
            signal = rng.choice(self.signals)
            comparison = rng.choice((Comparison.EQUAL, Comparison.NOT_EQUAL))
            side = ConstantTerm(float(rng.randrange(len(Side))))
            return self.atom_node(FactTerm(signal.slots[0]), comparison, side, SIDES, 0)
        kind = rng.randrange(10)
        if kind < 2:
            slot, count = rng.choice(((3, len(SESSION.words)), (4, 2)))
            comparison = rng.choice((Comparison.EQUAL, Comparison.NOT_EQUAL))
            word = ConstantTerm(float(rng.randrange(count)))
            return self.atom_node(FactTerm(slot), comparison, word, self.slots[slot].unit, 0)
        slot = self.numeric_slot(late)
        steps, unit = self.slots[slot].steps_per_unit, self.slots[slot].unit
        left: Term = FactTerm(slot)
        if kind >= 7:
            left = self.computed(late, steps)
        right: Term = ConstantTerm(self.constant(steps)) if self.chance(60) else self.term(late, steps)
        return self.atom_node(left, rng.choice(tuple(Comparison)), right, unit, steps)

    def condition(self, late: bool, depth: int = 3) -> int:
        late = late and bool(self.signals)
        kind = self.rng.randrange(12)
        if self.nodes and self.chance(12):
            shared = self.rng.randrange(len(self.nodes))
            if late or not self.reads_signal(shared):
                return shared
        if depth == 0 or kind < 4:
            return self.random_atom(late)
        if kind == 4 and self.chance(50):
            return self.node(NodeKind.CONSTANT, int(self.rng.choice(tuple(Truth))))
        if kind < 6:
            return self.node(NodeKind.NOT, children=(self.condition(late, depth - 1),))
        both = NodeKind.ALL if kind < 9 else NodeKind.ANY
        count = self.rng.choice((2, 2, 2, 3, 1, 0))
        return self.node(both, children=tuple(self.condition(late, depth - 1) for _ in range(count)))

    def reads_signal(self, node: int) -> bool:
        lowered = self.nodes[node]
        if lowered.kind is NodeKind.ATOM:
            atom = self.atoms[lowered.atom]
            return any(slot >= self.fact_count for slot in slots_of(atom.left) | slots_of(atom.right))
        return any(self.reads_signal(child) for child in lowered.children)

    def entry_reading(self, node: int) -> int:
        """Return the condition with signals as entries read them."""
        lowered = self.nodes[node]
        if lowered.kind is NodeKind.ATOM:
            atom = self.atoms[lowered.atom]
            left, right = self.entry_term(atom.left), self.entry_term(atom.right)
            return self.atom_node(left, atom.comparison, right, atom.unit, atom.steps_per_unit)
        children = tuple(self.entry_reading(child) for child in lowered.children)
        return self.node(lowered.kind, lowered.atom, children)

    def entry_term(self, term: Term) -> Term:
        match term:
            case FactTerm(slot):
                return FactTerm(self.mirrored.get(slot, slot))
            case ConstantTerm():
                return term
            case ArithmeticTerm(operator, operands):
                return ArithmeticTerm(operator, tuple(self.entry_term(operand) for operand in operands))
            case StepTerm(by, thresholds, values):
                return StepTerm(self.entry_term(by), thresholds, values)

    def readings(self, when: int) -> tuple[int, int]:
        """Return the acting and the entry reading of a condition."""
        if not self.shape.coherent and self.chance(10):
            return when, self.rng.randrange(len(self.nodes))
        return when, self.entry_reading(when)

    # --- what conditions are for

    def vote(self, name: str, abstain: bool) -> LoweredVote:
        rng = self.rng
        buy = self.condition(False, 1) if self.chance(80) else -1
        sell = self.condition(False, 1) if self.chance(80) else -1
        weights = (0, 1, 2, 500_000, 1_000_000, 1_000_000, 2_000_000, 3_333_333)
        return LoweredVote(name, rng.choice(weights), buy, sell, rng.choice(weights), abstain, NOWHERE)

    def voted(self) -> None:
        """Declare the signals; their slots come last."""
        drafts = []
        for index in range(self.rng.choice((0, 1, 1, 2))):
            abstaining = self.shape.abstaining and self.chance(50)
            votes = tuple(
                self.vote(f"vote_{number}", abstaining and self.chance(60))
                for number in range(self.rng.randrange(1, 4))
            )
            drafts.append((f"signal_{index}", votes))
        units: tuple[tuple[str, Unit, int], ...] = (
            ("side", SIDES, 0),
            ("confidence", Measure.RATIO, 100),
            ("buy", Measure.NUMBER, 10**6),
            ("sell", Measure.NUMBER, 10**6),
            ("hold", Measure.NUMBER, 10**6),
        )
        for name, votes in drafts:
            first = [self.slot(f"{name}.{part}", u, k, SlotOrigin.SIGNAL) for part, u, k in units]
            entry = first
            if any(vote.abstain for vote in votes):
                entry = [
                    self.slot(f"{name}.{part}@entry", u, k, SlotOrigin.ENTRY_SIGNAL) for part, u, k in units
                ]
                self.mirrored.update(zip(first, entry, strict=True))
            slots = (first[0], first[1], first[2], first[3], first[4])
            entry_slots = (entry[0], entry[1], entry[2], entry[3], entry[4])
            self.signals.append(LoweredSignal(name, votes, slots, entry_slots, NOWHERE))

    def rule(self, index: int, count: int, held: int) -> LoweredRule:
        rng = self.rng
        actions = (Action.BUY, Action.SELL, Action.HOLD, Action.BUY, Action.SELL)
        action = rng.choice(actions)
        if self.shape.entry_bias:
            action = rng.choice((Action.BUY, Action.BUY, Action.BUY, Action.SELL, Action.HOLD))
        when = self.condition(True)
        if action is Action.SELL and self.chance(60):
            when = self.node(NodeKind.ALL, children=(held, when))
        when, when_entry = self.readings(when)
        if action is Action.BUY:
            when = when_entry
        measure = rng.choice((Measure.MONEY, Measure.QUANTITY))
        sized = action is Action.BUY or (action is Action.SELL and self.chance(50))
        size = self.term(True, 100) if sized else None
        if size is not None and action is Action.BUY and self.shape.coherent:
            size = self.entry_term(size)
        return LoweredRule(
            name=f"rule-{index}",
            priority=100 - index,
            action=action,
            protective=action is Action.SELL and self.chance(35),
            when=when,
            when_entry=when_entry,
            size=size,
            size_measure=measure,
            additive=False,
            min_step=0.05,
            once=rng.choice((None, *Once)) if action is not Action.HOLD else None,
            because=(),
            adopts=(),
            span=NOWHERE,
        )

    def gate(self, name: str, rules: int, reserved: bool = False) -> LoweredGate:
        buy, sell, protective = self.chance(60), self.chance(60), self.chance(40)
        when, when_entry = self.readings(self.condition(True, 2))
        return LoweredGate(
            name=name,
            reserved=reserved,
            vetoes_buy=buy,
            vetoes_sell=sell,
            vetoes_protective=protective,
            when=when,
            when_entry=when_entry,
            pass_if_unknown=not buy and self.chance(40),
            only_rule=self.rng.randrange(rules) if rules and self.chance(25) else -1,
            span=NOWHERE,
        )

    def limit(self, index: int) -> LoweredLimit:
        bound = self.term(True, 100) if self.chance(80) else None
        kind = LimitKind.ORDER_AT_MOST if bound is not None else LimitKind.BUYS_AT_MOST
        return LoweredLimit(f"limit-{index}", kind, LimitScope.SYMBOL, bound, 3, 180, NOWHERE)

    def style(self) -> OrderStyle:
        limit = self.term(False, 100) if self.chance(70) else None
        return OrderStyle(limit, 60, "day", False)

    def build(self) -> LoweredPolicy:
        self.facts()
        self.voted()
        minimum = ConstantTerm(1 / 10**9)
        held = self.atom_node(FactTerm(0), Comparison.GREATER_OR_EQUAL, minimum, Measure.QUANTITY, 10**9)
        count = self.rng.randrange(self.shape.rules[0], self.shape.rules[1] + 1)
        rules = tuple(self.rule(index, count, held) for index in range(count))
        never = self.node(NodeKind.CONSTANT, int(Truth.FALSE))
        would_exit = LoweredGate(WOULD_EXIT, True, True, False, False, never, never, False, -1, NOWHERE)
        reserved = [self.gate("reserved", count, reserved=True)] if self.chance(50) else []
        gates = [self.gate(f"gate-{index}", count) for index in range(self.rng.randrange(0, 5))]
        return LoweredPolicy(
            name="random",
            version="1.0.0",
            digest="",
            selection=self.rng.choice(tuple(Selection)),
            asset_class="crypto",
            slots=tuple(self.slots),
            atoms=tuple(self.atoms),
            nodes=tuple(self.nodes),
            signals=tuple(self.signals),
            rules=rules,
            gates=(*reserved, would_exit, *gates),
            limits=tuple(self.limit(index) for index in range(self.rng.randrange(3))),
            buy_style=self.style(),
            sell_style=self.style(),
            because_terms=(),
        )


def random_policy(rng: random.Random, shape: Shape | None = None) -> LoweredPolicy:
    """Return a random policy; the same state of ``rng`` gives the same policy."""
    return _Builder(rng, shape or Shape()).build()


@st.composite
def lowered_policies(draw: st.DrawFn, shape: Shape | None = None) -> LoweredPolicy:
    """Draw policies that hypothesis can shrink."""
    return random_policy(draw(st.randoms(use_true_random=False)), shape)


seeds = st.integers(min_value=0, max_value=2**32 - 1)


# --- facts --------------------------------------------------------------------------------------


class Case(NamedTuple):
    """What one evaluation is given."""

    values: list[float]
    stated: int = 0
    would_exit: int = 0
    would_exit_unknown: int = 0


def slots_of(term: Term) -> frozenset[int]:
    """Return the slots a term reads."""
    match term:
        case FactTerm(slot):
            return frozenset((slot,))
        case ConstantTerm():
            return frozenset()
        case ArithmeticTerm(_, operands):
            return frozenset().union(*(slots_of(operand) for operand in operands))
        case StepTerm(by, _, _):
            return slots_of(by)


def fact_slots(policy: LoweredPolicy) -> list[int]:
    """Return the slots that are facts, not voted signals."""
    voted = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
    return [index for index, slot in enumerate(policy.slots) if slot.origin not in voted]


def used_slots(policy: LoweredPolicy) -> frozenset[int]:
    """Return the slots of facts that some condition reads."""
    read = (slots_of(atom.left) | slots_of(atom.right) for atom in policy.atoms)
    return frozenset().union(*read).intersection(fact_slots(policy))


def _random_value(slot: FactSlot, rng: random.Random) -> float:
    if isinstance(slot.unit, Words):
        return float(rng.randrange(len(slot.unit.words)))
    if slot.unit is Measure.BOOLEAN:
        return float(rng.randrange(2))
    kind = rng.randrange(20)
    if kind < 14:
        return rng.randrange(-3, 12) / slot.steps_per_unit
    if kind < 18:
        return float(rng.randrange(-2, 5))
    if kind < 19:
        return rng.randrange(-(10**7), 10**7) / slot.steps_per_unit
    return rng.choice((1e300, -1e300, 1e-300, 1.7e308, 2.0**52, 2.0**53, 3e15, 4503599627370497.0))


def move_to_boundary(policy: LoweredPolicy, values: list[float], rng: random.Random) -> None:
    """Change one fact so that an atom holds, fails or turns by a single step."""
    atom = rng.choice(policy.atoms)
    for term, other in ((atom.left, atom.right), (atom.right, atom.left)):
        if isinstance(term, FactTerm) and atom.steps_per_unit:
            at = operand_value(other, atom.steps_per_unit, values)
            slot = policy.slots[term.slot]
            if slot.origin is SlotOrigin.VOCABULARY and slot.steps_per_unit and math.isfinite(at):
                step = rng.choice((-1, 0, 0, 1)) / slot.steps_per_unit
                values[term.slot] = quantise(at + step, slot.steps_per_unit)
            return


def _state(signal: LoweredSignal, values: list[float], rng: random.Random) -> None:
    stated = [NAN] * 5
    if rng.randrange(4):
        stated = [
            float(rng.randrange(4)),
            rng.randrange(101) / 100,
            *(float(rng.randrange(4)) for _ in range(3)),
        ]
    for slots in (signal.slots, signal.entry_slots):
        for slot, value in zip(slots, stated, strict=True):
            values[slot] = value


def random_case(policy: LoweredPolicy, rng: random.Random, unknown_percent: int = 50) -> Case:
    """Return random facts, many of them on a boundary of some atom, and random masks.

    ``unknown_percent`` of the cases have Unknown facts.  What a voted signal's slots hold before
    the evaluation is arbitrary.
    """
    values = [_random_value(slot, rng) for slot in policy.slots]
    for _ in range(rng.choice((0, 1, 2, 4))):
        move_to_boundary(policy, values, rng)
    facts = fact_slots(policy)
    if rng.randrange(100) < unknown_percent:
        for slot in rng.sample(facts, rng.choice((1, 1, 2, 3))):
            values[slot] = NAN
    stated = would_exit = would_exit_unknown = 0
    for index, signal in enumerate(policy.signals):
        if rng.randrange(5) == 0:
            stated |= 1 << index
            _state(signal, values, rng)
    if rng.randrange(4) == 0:
        would_exit = rng.getrandbits(len(policy.rules))
    if rng.randrange(4) == 0:
        would_exit_unknown = rng.getrandbits(len(policy.rules))
    return Case(values, stated, would_exit, would_exit_unknown)


def completed(policy: LoweredPolicy, case: Case, rng: random.Random) -> list[float]:
    """Return the facts of a case with something known for each that is Unknown."""
    values = list(case.values)
    unknown = [slot for slot in fact_slots(policy) if values[slot] != values[slot]]
    for slot in unknown:
        values[slot] = _random_value(policy.slots[slot], rng)
    for index, signal in enumerate(policy.signals):
        if case.stated >> index & 1 and values[signal.slots[0]] != values[signal.slots[0]]:
            _state(signal, values, rng)
    for _ in range(rng.choice((0, 2, 4))):
        moved = list(values)
        move_to_boundary(policy, moved, rng)
        for slot in unknown:
            values[slot] = moved[slot]
    return values


def without_bits(case: Case) -> Case:
    """Return the case with no entry tried."""
    return case._replace(would_exit=0, would_exit_unknown=0)
