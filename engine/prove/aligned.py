"""Two lowered policies in one table: the same slots, comparisons, conditions and signals for both.

What both say is then said once, so that the prover knows it to be the same, and one fact vector serves both.
Names, places and reasons that no decision reads are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from engine.codes import Action
from engine.errors import NOWHERE
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredGate,
    LoweredLimit,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    Node,
    NodeKind,
    Operator,
    OrderStyle,
    SlotOrigin,
    StepTerm,
    Term,
)

_VOTED = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


class Order(NamedTuple):
    """What the order of a rule depends on, beside facts; rules that hold have none."""

    action: Action
    size: Term | None
    measure: str
    additive: bool
    min_step: float
    protective: bool  # of trims: others wait while equity is estimated


def order_of(rule: LoweredRule) -> Order | None:
    """Return what the order of a rule depends on."""
    if rule.action is Action.HOLD:
        return None
    trims = rule.action is Action.SELL and rule.size is not None
    return Order(
        rule.action,
        rule.size,
        rule.size_measure.value if rule.size is not None else "",
        rule.additive,
        rule.min_step if rule.size is not None else 0.0,
        trims and rule.protective,
    )


def aligned(old: LoweredPolicy, new: LoweredPolicy) -> tuple[LoweredPolicy, LoweredPolicy]:
    """Return both policies over one table.

    A rule that is only called otherwise in the new policy is taken for the old one: its ``once`` is the same
    fact.  The indices of limits change.
    """
    table = _Table([], [], [], [], {}, {}, {})
    first = _Reading(table, old, {})
    second = _Reading(table, new, _renamed(first, old, new))
    parts = first.read(), second.read()
    one, other = (
        replace(
            part,
            slots=tuple(table.slots),
            atoms=tuple(table.atoms),
            nodes=tuple(table.nodes),
            signals=tuple(table.signals),
        )
        for part in parts
    )
    return one, other


def alike(one: LoweredPolicy, other: LoweredPolicy) -> bool:
    """Say whether two aligned policies say the same, but for names and priorities."""
    return _essence(one) == _essence(other)


def _essence(policy: LoweredPolicy) -> object:
    rules = [replace(rule, name="", priority=0) for rule in policy.rules]
    gates = [replace(gate, name=gate.name if gate.reserved else "") for gate in policy.gates]
    return rules, gates, policy.limits, policy.selection, policy.buy_style, policy.sell_style


@dataclass
class _Table:
    slots: list[FactSlot]
    atoms: list[Atom]
    nodes: list[Node]
    signals: list[LoweredSignal]
    slot_ids: dict[object, int]
    atom_ids: dict[object, int]
    node_ids: dict[Node, int]


class _Reading:
    """Reads one policy into the table."""

    def __init__(self, table: _Table, policy: LoweredPolicy, renamed: dict[str, str]) -> None:
        self.table = table
        self.policy = policy
        self.renamed = renamed
        self.slots: dict[int, int] = {}
        self.nodes: dict[int, int] = {}
        for index, slot in enumerate(policy.slots):
            if slot.origin not in _VOTED:
                self.slots[index] = self._slot(slot)
        for signal in policy.signals:
            self._signal(signal)

    def _slot(self, slot: FactSlot) -> int:
        if slot.origin is SlotOrigin.ONCE:
            rule = slot.name.removeprefix("once.")
            slot = replace(slot, name=f"once.{self.renamed.get(rule, rule)}")
        key = slot.series if slot.series is not None else (slot.name, slot.origin)
        if key not in self.table.slot_ids:
            self.table.slot_ids[key] = len(self.table.slots)
            self.table.slots.append(slot)
        return self.table.slot_ids[key]

    def _signal(self, signal: LoweredSignal) -> None:
        """A signal with the same votes is the same signal, whatever it is called."""
        votes = tuple(
            LoweredVote(
                "",
                vote.weight,
                self.node(vote.buy),
                self.node(vote.sell),
                vote.hold_weight,
                vote.abstain,
                NOWHERE,
            )
            for vote in signal.votes
        )
        found = next((one for one in self.table.signals if one.votes == votes), None)
        if found is None:
            places = {}
            for slot in dict.fromkeys((*signal.slots, *signal.entry_slots)):
                places[slot] = len(self.table.slots)
                self.table.slots.append(self.policy.slots[slot])
            a, b, c, d, e = (places[slot] for slot in signal.slots)
            f, g, h, i, j = (places[slot] for slot in signal.entry_slots)
            found = LoweredSignal(signal.name, votes, (a, b, c, d, e), (f, g, h, i, j), NOWHERE)
            self.table.signals.append(found)
        self.slots |= dict(zip(signal.slots, found.slots, strict=True))
        self.slots |= dict(zip(signal.entry_slots, found.entry_slots, strict=True))

    def term(self, term: Term) -> Term:
        match term:
            case FactTerm(slot):
                return FactTerm(self.slots[slot])
            case ConstantTerm():
                return term
            case ArithmeticTerm(operator, operands):
                read = tuple(map(self.term, operands))
                if operator is Operator.MULTIPLY:  # by 1 is exact in floats, too
                    read = tuple(one for one in read if one != ConstantTerm(1.0)) or read[:1]
                single = operator is Operator.MULTIPLY and len(read) == 1
                return read[0] if single else ArithmeticTerm(operator, read)
            case StepTerm(by, thresholds, values):
                return StepTerm(self.term(by), thresholds, values)

    def node(self, node: int) -> int:
        if node < 0:
            return node
        if node not in self.nodes:
            lowered = self.policy.nodes[node]
            if lowered.kind is NodeKind.ATOM:
                lowered = replace(lowered, atom=self._atom(self.policy.atoms[lowered.atom]))
            made = replace(lowered, children=tuple(map(self.node, lowered.children)))
            if made not in self.table.node_ids:
                self.table.node_ids[made] = len(self.table.nodes)
                self.table.nodes.append(made)
            self.nodes[node] = self.table.node_ids[made]
        return self.nodes[node]

    def _atom(self, atom: Atom) -> int:
        made = replace(atom, left=self.term(atom.left), right=self.term(atom.right), span=NOWHERE)
        key = (made.left, made.comparison, made.right, made.steps_per_unit)
        if key not in self.table.atom_ids:
            self.table.atom_ids[key] = len(self.table.atoms)
            self.table.atoms.append(made)
        return self.table.atom_ids[key]

    def rule(self, rule: LoweredRule) -> LoweredRule:
        return replace(
            rule,
            name=self.renamed.get(rule.name, rule.name),
            when=self.node(rule.when),
            when_entry=self.node(rule.when_entry),
            size=None if rule.size is None else self.term(rule.size),
            because=(),
            adopts=(),
            span=NOWHERE,
        )

    def _gate(self, gate: LoweredGate) -> LoweredGate:
        return replace(gate, when=self.node(gate.when), when_entry=self.node(gate.when_entry), span=NOWHERE)

    def _limit(self, limit: LoweredLimit) -> LoweredLimit:
        bound = None if limit.bound is None else self.term(limit.bound)
        return replace(limit, name="", bound=bound, span=NOWHERE)

    def _style(self, style: OrderStyle) -> OrderStyle:
        return replace(style, limit=None if style.limit is None else self.term(style.limit))

    def read(self) -> LoweredPolicy:
        """Return the policy; slots, atoms, nodes and signals are the table's once all is read."""
        policy = self.policy
        return replace(
            policy,
            rules=tuple(map(self.rule, policy.rules)),
            gates=tuple(map(self._gate, policy.gates)),
            limits=tuple(sorted(map(self._limit, policy.limits), key=repr)),
            buy_style=self._style(policy.buy_style),
            sell_style=self._style(policy.sell_style),
            because_terms=(),
            feeds=(),
        )


def _renamed(first: _Reading, old: LoweredPolicy, new: LoweredPolicy) -> dict[str, str]:
    """Return the old names of rules that are only called otherwise."""
    before, after = ({rule.name for rule in policy.rules} for policy in (old, new))
    second = _Reading(first.table, new, {})
    gone = {rule.name: first.rule(rule) for rule in old.rules if rule.name not in after}
    names: dict[str, str] = {}
    for rule in new.rules:
        if rule.name not in before:
            read = second.rule(rule)
            for name, other in gone.items():
                if name not in names.values() and replace(read, name=name, priority=other.priority) == other:
                    names[rule.name] = name
                    break
    return names
