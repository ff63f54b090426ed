"""Why not: what keeps the rules of another action from deciding, and the nearest change that would do.

Changes are of one fact, and are not guessed: each is decided again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from engine.codes import Action, Disposition, Truth
from engine.evaluate.reference import Leaf
from engine.lowered import Atom, Comparison, ConstantTerm, FactTerm, LoweredPolicy, LoweredRule, SlotOrigin
from engine.model import Decision
from engine.units import QUANTITY_SCALE, Measure, Words, quantise
from engine.verbs.decide import decide
from engine.verbs.explanation import ChangeView
from engine.verbs.margin import margin
from engine.verbs.numbers import difference, plain, shown
from engine.verbs.reading import Reading
from engine.verbs.vector import series_bounds
from engine.vocabulary import FACTS, Family, Varies


def nearest_changes(reading: Reading, decision: Decision, action: Action) -> tuple[ChangeView, ...]:
    """Return, fact by fact, the smallest change of that one fact which makes the decision ``action``."""
    return tuple(_Search(reading, decision).changes(action))


class _Search:
    def __init__(self, reading: Reading, decision: Decision) -> None:
        self.reading = reading
        self.lowered = reading.lowered
        self.values = reading.values
        self.decision = decision

    def changes(self, action: Action) -> list[ChangeView]:
        """Return the nearest change of each single fact that makes the decision ``action``."""
        nearest: dict[int, tuple[float, float]] = {}
        for index, rule in enumerate(self.lowered.rules):
            if rule.action is not action:
                continue
            for atom, wanted in self._flips(index, rule):
                slot, value = self._flip(
                    self.lowered.atoms[atom], self.reading.evaluation.leaves[atom], wanted
                )
                if slot < 0 or not self._decides(slot, value, action):
                    continue
                distance = abs(value - self.values[slot])
                if slot not in nearest or distance < nearest[slot][0]:
                    nearest.pop(slot, None)
                    nearest[slot] = (distance, value)
        return [self._change(slot, value) for slot, (_, value) in nearest.items()]

    def _flips(self, index: int, rule: LoweredRule) -> list[tuple[int, int]]:
        """Return the single atoms that would make a rule match, or free it of its one veto."""
        if self.decision.dispositions[index] == Disposition.VETOED:
            gate = self.lowered.gates[self.decision.causes[index]]
            return self.reading.single(
                gate.when_entry if rule.action is Action.BUY else gate.when, Truth.FALSE
            )
        return self.reading.single(rule.when, Truth.TRUE)

    def _flip(self, atom: Atom, leaf: Leaf, wanted: int) -> tuple[int, float]:
        """Return the fact and the value that give an atom the wanted truth; -1 where no fact can."""
        found = margin(atom, leaf, self.lowered.slots, self.reading.price_steps)
        slot, value = -1, math.nan
        if found is not None:
            slot, value = found.slot, found.moved
        elif (
            isinstance(atom.left, FactTerm)
            and isinstance(atom.right, ConstantTerm)
            and leaf.left == leaf.left
        ):
            if atom.unit is Measure.BOOLEAN:
                slot, value = atom.left.slot, 1.0 - leaf.left
            elif isinstance(atom.unit, Words) and (atom.comparison is Comparison.EQUAL) == (
                wanted == Truth.TRUE
            ):
                slot, value = atom.left.slot, leaf.right
        return (slot, value) if slot >= 0 and self._movable(slot, value) else (-1, value)

    def _movable(self, index: int, value: float) -> bool:
        """Say whether a fact can take another value by itself.

        A side cannot without its confidence, nor can a position be there without a quantity.
        """
        slot = self.lowered.slots[index]
        if slot.origin is SlotOrigin.SERIES:
            low, high = series_bounds(slot.series)
            return low <= value <= high
        if slot.origin is not SlotOrigin.VOCABULARY:
            return slot.name.endswith(".confidence") and 0 <= value <= 1
        fact = FACTS[slot.name]
        if fact.varies is Varies.FIXED or (fact.family is Family.POSITION and fact.unit is Measure.BOOLEAN):
            return False
        return fact.minimum <= value <= fact.maximum

    def _decides(self, slot: int, value: float, action: Action) -> bool:
        """Decide again with one fact changed, and with what follows from it."""
        values, stated = _with_change(self.lowered, self.values, slot, value, self.reading.vector.stated_mask)
        quantity = values[self.lowered.slot("position_qty")]
        situation = replace(self.reading.vector.situation, stated=stated)
        if quantity == quantity:
            situation = replace(situation, quantity=round(quantity * QUANTITY_SCALE))
        return decide(self.reading.evaluator, values, situation).action is action

    def _change(self, index: int, value: float) -> ChangeView:
        slot, old = self.lowered.slots[index], self.values[index]
        if slot.steps_per_unit == 0:
            return ChangeView(slot.name, plain(value, slot.unit), f"{slot.name} {shown(value, slot.unit)}")
        k = slot.steps_per_unit
        amount = difference(round(abs(value - old) * k) / k, slot.unit, k)
        sign = "+" if value > old else "-"
        return ChangeView(slot.name, plain(value, slot.unit), f"{slot.name} {sign}{amount}")


def _with_change(
    policy: LoweredPolicy, values: Sequence[float], changed: int, value: float, stated: int
) -> tuple[list[float], int]:
    """Return the facts with one changed, and the mask of stated signals.

    What follows from a price or a position follows in proportion: value and weight, the gain; a target
    follows equity.  A changed confidence is that of a signal that is given.
    """
    after = list(values)
    slots: dict[str, list[int]] = {}
    for index, slot in enumerate(policy.slots):
        slots.setdefault(slot.name, []).append(index)

    def write(name: str, result: float) -> None:
        for index in slots.get(name, ()):
            k = policy.slots[index].steps_per_unit
            after[index] = quantise(result, k) if k and result == result else result

    def scale(factor: float, *names: str) -> None:
        for name in names:
            for index in slots.get(name, ()):
                write(name, values[index] * factor)

    name, old = policy.slots[changed].name, values[changed]
    write(name, value)
    factor = value / old if old and old == old else math.nan
    match name:
        case "price" | "bid":
            write("price", value)
            write("bid", value)
            for index in slots.get("ask", ()):
                write("ask", max(values[index], value))
            scale(factor, "position_value", "weight")
            for index in slots.get("gain", ()):
                write("gain", (1 + values[index]) * factor - 1)
        case "position_value" | "position_qty" | "weight":
            scale(factor, *({"position_value", "position_qty", "weight"} - {name}))
        case "equity":
            scale(factor, "target")
            scale(1 / factor if factor else math.nan, "weight")
    for index, signal in enumerate(policy.signals):
        if changed in signal.slots or changed in signal.entry_slots:
            stated |= 1 << index
    return after, stated
