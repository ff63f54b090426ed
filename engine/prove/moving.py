"""Facts that can be moved: a vector whose comparisons follow when one fact is changed.

What follows from a fact by the vocabulary's relations moves with it: a gain with the entry price, a value
with the quantity.  Only what reads a changed fact is evaluated anew, and a change can be taken back.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from engine.codes import Truth
from engine.evaluate.reference import NOT_TABLE, conjunction, disjunction, operand_value, write_signal
from engine.evaluate.symbolic.snapshot import slot_range
from engine.invariants import RELATED, RELATIONS, SURE_AT_MOST
from engine.lowered import Atom, Comparison, FactSlot, FactTerm, LoweredPolicy, NodeKind, SlotOrigin, Term
from engine.prove.calm import quiet_value
from engine.prove.variant import IN_ORDER, Variant
from engine.units import GRID_PER_UNIT, Measure, quantise
from engine.verbs.terms import slots_of_term
from engine.vocabulary import FACTS, Family

_NOT_CHOSEN: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL, SlotOrigin.OUTCOME)
_POSITION: Final = {
    fact.name: math.nan if fact.when_absent is None else fact.when_absent
    for fact in FACTS.values()
    if fact.family is Family.POSITION and fact.name not in ("held", "minimum", "target", "target_weight")
}
"""What facts of a position are where there is none."""
_BEGINNING: Final = {
    "bid": 100.0,
    "ask": 100.0,
    "entry_price": 100.0,
    "last_entry_price": 100.0,
    "peak_price": 100.0,
    "position_qty": 0.0,
    "minimum": 1e-9,
    "equity": 100_000.0,
    "equity_estimated": 0.0,
}
_HELD_QUANTITY: Final = 10.0
_FORWARD: Final = tuple(
    relation
    for relation in RELATIONS
    if not relation.inverse and relation.target not in ("bid", "typical", "position_qty")
)
_RELATED: Final = RELATED | _POSITION.keys()
_COMPARE: Final = {
    Comparison.LESS: float.__lt__,
    Comparison.LESS_OR_EQUAL: float.__le__,
    Comparison.GREATER: float.__gt__,
    Comparison.GREATER_OR_EQUAL: float.__ge__,
    Comparison.EQUAL: float.__eq__,
    Comparison.NOT_EQUAL: float.__ne__,
}


class MovingFacts:
    """A fact vector of a variant, and the truth of every comparison and condition in it.

    ``values`` has one entry for each slot of the variant's form.
    """

    def __init__(self, variant: Variant) -> None:
        """Begin in a quiet market, with nothing held."""
        self.variant = variant
        self.policy: LoweredPolicy = variant.lowered
        self._slots = variant.form.lowered.slots
        self._at = {
            slot.name: index for index, slot in enumerate(self._slots) if slot.origin not in _NOT_CHOSEN
        }
        self._base = dict(_BEGINNING)
        for slot in self._slots:
            if slot.origin not in _NOT_CHOSEN and slot.name not in self._base:
                usual = IN_ORDER.get(slot.name)
                self._base[slot.name] = quiet_value(slot) if usual is None else float(usual)
        weight = variant.listing.weight
        self._base["target_weight"] = 0.0 if weight is None else float(weight)
        self.values = [math.nan] * len(self._slots)
        self.truths: list[int] = [
            node.atom if node.kind is NodeKind.CONSTANT else Truth.UNKNOWN for node in self.policy.nodes
        ]
        self.atoms: list[int] = [Truth.UNKNOWN] * len(self.policy.atoms)
        self._trail: list[tuple[Any, Any, Any]] = []
        self._index()
        self._evaluate()

    def _index(self) -> None:
        policy = self.policy
        self._readers: dict[int, list[int]] = defaultdict(list)  # slot: atoms
        self._nodes_of: dict[int, list[int]] = defaultdict(list)  # atom: nodes
        self._above: dict[int, list[int]] = defaultdict(list)  # node: nodes
        self._voters: dict[int, list[int]] = defaultdict(list)  # node: signals
        for index, atom in enumerate(policy.atoms):
            for slot in {*slots_of_term(atom.left), *slots_of_term(atom.right)}:
                self._readers[slot].append(index)
        for index, node in enumerate(policy.nodes):
            if node.kind is NodeKind.ATOM:
                self._nodes_of[node.atom].append(index)
            for child in node.children:
                self._above[child].append(index)
        self.signal_of: dict[int, int] = {}
        for index, signal in enumerate(policy.signals):
            self.signal_of.update(dict.fromkeys((*signal.slots, *signal.entry_slots), index))
            for vote in signal.votes:
                for side in (vote.buy, vote.sell):
                    if side >= 0:
                        self._voters[side].append(index)

    def load(self, values: list[float]) -> None:
        """Take the values of the form's slots over; where they contradict each other some give way."""
        self._trail.clear()
        at = {name: values[slot] for name, slot in self._at.items() if values[slot] == values[slot]}
        for name, value in at.items():
            if name in self._base:
                self._base[name] = value
        base = self._base
        price = base["bid"] = max(at.get("price", base["bid"]), 1e-8)
        base["ask"] = price  # of a spread the solver makes anything
        weight = self.variant.listing.weight
        base["target_weight"] = 0.0 if weight is None else float(weight)
        worth, target = at.get("position_value", 0.0), at.get("target", 0.0)
        base["equity"] = max(base["equity"], 1.0)
        if weight is not None and target > 0:  # of its target the position stays the share it is
            base["equity"] = _BEGINNING["equity"]
            worth *= base["equity"] * base["target_weight"] / target
        if not at.get("held"):
            base["position_qty"] = 0.0
        elif worth > 0:
            base["position_qty"] = max(self._on_grid("position_qty", worth / price), base["minimum"])
        if at.get("gain", -1.0) > -1.0:
            base["entry_price"] = self._on_grid("entry_price", price / (1 + at["gain"]))
        if "peak_gain" in at:
            base["peak_price"] = self._on_grid("peak_price", base["entry_price"] * (1 + at["peak_gain"]))
        base["peak_price"] = max(base["peak_price"], base["entry_price"])
        self._evaluate()
        self._trail.clear()

    def _evaluate(self) -> None:
        self._follow()
        for index in range(len(self.policy.atoms)):
            self._reread(index)
        self._settle(set(range(len(self.policy.nodes))))

    # --- moving -------------------------------------------------------------------------------

    def mark(self) -> int:
        """Return where to go back to."""
        return len(self._trail)

    def back(self, mark: int) -> None:
        """Take back every change since a mark."""
        trail = self._trail
        while len(trail) > mark:
            holder, key, value = trail.pop()
            holder[key] = value

    def _put(self, holder: Any, key: Any, value: Any) -> None:  # noqa: ANN401 - lists and a dict
        self._trail.append((holder, key, holder[key]))
        holder[key] = value

    def move(self, name: str, value: float) -> None:
        """Give a fact a value, and what follows from it its own."""
        changed = self._follow() if self._move_base(name, value) in _RELATED else self._update(name)
        self._settle({node for slot in changed for node in self._read_again(slot)})

    def _move_base(self, name: str, value: float) -> str:
        """Change what a fact comes from, and return its name."""
        base = self._base
        price, entry = base["bid"], base["entry_price"]
        match name:
            case "held":
                owned = (base["position_qty"] or _HELD_QUANTITY) if value else 0.0
                self._put(base, "position_qty", owned)
                return name
            case "price":
                name = "bid"
            case "gain":  # a price moves less than where it was bought
                name, value = "entry_price", price / max(0.01, 1 + value)
            case "peak_gain":
                name, value = "peak_price", entry * (1 + value)
            case "position_value" | "weight":
                worth = value * base["equity"] if name == "weight" else value
                name, value = "position_qty", worth / price
            case "target_weight" | "target":
                return name
            case "cash":  # what is not in a position is cash
                name, value = "equity", value + base["position_qty"] * price
            case "since_order" | "since_order_bars":
                name = name.replace("order", "buy")
        if name not in base:
            return name
        value = self._on_grid(name, value)
        self._put(base, name, value)
        for low, high in SURE_AT_MOST:
            if name in (low, high) and low in base and high in base and base[low] > base[high]:
                self._put(base, high if name == low else low, value)
        if name == "bid" and base["ask"] != value:
            self._put(base, "ask", value)
        return name

    def _update(self, name: str) -> list[int]:
        slot = self._at.get(name)
        if slot is None or self.values[slot] == self._base[name]:
            return []
        self._put(self.values, slot, self._base[name])
        return [slot]

    def _on_grid(self, name: str, value: float) -> float:
        if name in self._at:
            slot = self._slots[self._at[name]]
            low, high = slot_range(slot)
            k = slot.steps_per_unit
            return min(max(quantise(value, k), low / k), high / k) if k else value
        fact = FACTS[name]
        return quantise(min(max(value, fact.minimum), fact.maximum), fact.steps_per_unit)

    def _follow(self) -> list[int]:
        """Bring the slots up to the facts; return those that changed."""
        facts = dict(self._base)
        held = facts["position_qty"] >= facts["minimum"]
        if not held:
            facts.update(_POSITION)
            facts["held"] = facts["dust"] = 0.0
        for relation in _FORWARD:
            if not held and relation.target in _POSITION:
                continue
            inputs = [facts.get(name, math.nan) for name in relation.inputs]
            value = None if any(one != one for one in inputs) else relation.compute(*inputs)
            if value is not None:
                k = FACTS[relation.target].steps_per_unit
                facts[relation.target] = quantise(value, k) if k else value
        cash = max(0.0, facts["equity"] - facts.get("position_value", 0.0))
        facts["cash"] = quantise(cash, GRID_PER_UNIT[Measure.MONEY])
        changed = []
        values = self.values
        for name, slot in self._at.items():
            value, before = facts[name], values[slot]
            if value != before and (value == value or before == before):
                self._put(values, slot, value)
                changed.append(slot)
        return changed

    def _read_again(self, slot: int) -> Iterator[int]:
        for atom in self._readers.get(slot, ()):
            before = self.atoms[atom]
            if self._reread(atom) != before:
                yield from self._nodes_of[atom]

    def _reread(self, index: int) -> int:
        atom = self.policy.atoms[index]
        left = operand_value(atom.left, atom.steps_per_unit, self.values)
        right = operand_value(atom.right, atom.steps_per_unit, self.values)
        truth: int = Truth.UNKNOWN
        if left == left and right == right:
            truth = int(_COMPARE[atom.comparison](float(left), float(right)))
        if truth != self.atoms[index]:
            self._put(self.atoms, index, truth)
        return truth

    def _settle(self, pending: set[int]) -> None:
        """Evaluate conditions anew, the smaller first; then the signals that they vote for."""
        nodes, truths = self.policy.nodes, self.truths
        while pending:
            recount: set[int] = set()
            while pending:
                index = min(pending)  # a condition stands behind its parts
                pending.discard(index)
                node = nodes[index]
                if node.kind is NodeKind.CONSTANT:
                    continue
                if node.kind is NodeKind.ATOM:
                    truth = self.atoms[node.atom]
                elif node.kind is NodeKind.ALL:
                    truth = conjunction(node.children, truths)
                elif node.kind is NodeKind.ANY:
                    truth = disjunction(node.children, truths)
                else:
                    truth = NOT_TABLE[truths[node.children[0]]]
                recount.update(self._voters.get(index, ()))
                if truth != truths[index]:
                    self._put(truths, index, truth)
                    pending.update(self._above.get(index, ()))
            for signal in recount:
                pending.update(self._recount(signal))

    def _recount(self, signal: int) -> Iterator[int]:
        lowered = self.policy.signals[signal]
        slots = dict.fromkeys((*lowered.slots, *lowered.entry_slots))
        before = [self.values[slot] for slot in slots]
        write_signal(lowered, self.truths, self.values)
        after = [self.values[slot] for slot in slots]
        for slot, old, new in zip(slots, before, after, strict=True):
            if old != new and (old == old or new == new):
                self._trail.append((self.values, slot, old))
                yield from self._read_again(slot)

    # --- moves --------------------------------------------------------------------------------

    def ways(self, index: int, holds: bool) -> Iterator[tuple[str, float]]:
        """Yield changes of one fact each that should make a comparison true, or false."""
        atom = self.policy.atoms[index]
        comparison = atom.comparison if holds else atom.comparison.negated
        yield from self._side(atom, atom.left, atom.right, comparison)
        yield from self._side(atom, atom.right, atom.left, comparison.mirrored)

    def _side(
        self, atom: Atom, one: Term, other: Term, comparison: Comparison
    ) -> Iterator[tuple[str, float]]:
        slots = [slot for slot in slots_of_term(one) if slot not in self.signal_of]
        at = operand_value(other, atom.steps_per_unit, self.values)
        for number in slots:
            slot = self._slots[number]
            if at == at and len(slots) == 1 and isinstance(one, FactTerm):
                yield from ((slot.name, value) for value in _values(slot, at, comparison))
            elif self.values[number] == self.values[number]:
                now = self.values[number]
                yield from ((slot.name, now * by) for by in (0.5, 0.9, 1.1, 2.0, -1.0, 0.0, 10.0))
                yield slot.name, 1.0


def _values(slot: FactSlot, at: float, comparison: Comparison) -> Iterator[float]:
    """Yield values of a fact that compare with a number as wanted."""
    k = slot.steps_per_unit
    if slot.unit is Measure.BOOLEAN:
        yield at if comparison is Comparison.EQUAL else 1.0 - at
    elif not k:
        last = slot_range(slot)[1]
        words = (float(word) for word in range(int(last) + 1))
        yield from (word for word in words if (word == at) == (comparison is Comparison.EQUAL))
    elif comparison in (Comparison.EQUAL, Comparison.LESS_OR_EQUAL, Comparison.GREATER_OR_EQUAL):
        yield at
    far = max(abs(at) * 0.1, 10.0 if k <= 100 else 0.0, 1 / k) if k else 0.0
    if k and comparison in (Comparison.LESS, Comparison.LESS_OR_EQUAL, Comparison.NOT_EQUAL):
        yield at - 1 / k
        yield at - far
    if k and comparison in (Comparison.GREATER, Comparison.GREATER_OR_EQUAL, Comparison.NOT_EQUAL):
        yield at + 1 / k
        yield at + far
