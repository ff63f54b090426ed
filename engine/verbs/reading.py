"""Facts read against the conditions of a policy: every leaf with its value, threshold and margin in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.codes import Truth, UnknownReason
from engine.evaluate.reference import Leaf, ReferenceEvaluator
from engine.lowered import (
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    NodeKind,
    Term,
)
from engine.units import Measure, Words, unit_name
from engine.verbs.explanation import LeafView, MarginView, MissingFact
from engine.verbs.margin import Margin, margin
from engine.verbs.numbers import difference, plain, shown
from engine.verbs.terms import atoms_of_node, slots_of_term
from engine.verbs.vector import Vector

TRUTH_WORDS: Final = ("false", "true", "unknown")
_REASONS: Final = {
    UnknownReason.VOTE: "a vote is unknown",
    UnknownReason.ABSTAINED: "a vote abstained",
    UnknownReason.NO_POSITION: "no position",
}


def _reason_text(reason: int) -> str:
    known = UnknownReason(reason)
    return _REASONS.get(known, known.word.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Need:
    """An atom that must get another truth; those of one ``group`` are alternatives, -1 is none."""

    atom: int
    wanted: int
    group: int


class Reading:
    """One fact vector, evaluated: its leaves, and what must change for a condition to change."""

    def __init__(self, lowered: LoweredPolicy, vector: Vector) -> None:
        """Evaluate every leaf; the voted signals are counted into ``values``."""
        self.lowered = lowered
        self.vector = vector
        self.values = list(vector.values)
        self.evaluator = ReferenceEvaluator(lowered)
        self.evaluation = self.evaluator.evaluate(self.values, vector.stated_mask)
        instrument = vector.situation.instrument
        self.price_steps = instrument.price_steps_per_unit if instrument else 0
        self._views: dict[int, LeafView] = {}

    def truth(self, node: int) -> int:
        """Return the truth of a condition."""
        return self.evaluation.truths[node]

    def value(self, name: str) -> float:
        """Return a fact as exits read it; NaN where it is Unknown or not read."""
        names = [slot.name for slot in self.lowered.slots]
        return self.values[names.index(name)] if name in names else math.nan

    def leaf(self, index: int) -> LeafView:
        """Return an atom with its values in words."""
        if index not in self._views:
            self._views[index] = self._leaf(self.lowered.atoms[index], self.evaluation.leaves[index])
        return self._views[index]

    def leaves(self, node: int) -> tuple[LeafView, ...]:
        """Return the atoms below a condition, in order."""
        return tuple(self.leaf(atom) for atom in atoms_of_node(self.lowered, node))

    def _leaf(self, atom: Atom, leaf: Leaf) -> LeafView:
        sides = _sides(atom)
        left, left_shown = self._operand(atom, atom.left, leaf.left, sides[0])
        right, right_shown = self._operand(atom, atom.right, leaf.right, sides[1])
        missing = self.missing((*slots_of_term(atom.left), *slots_of_term(atom.right)))
        found = margin(atom, leaf, self.lowered.slots, self.price_steps)
        view = LeafView(
            condition=atom.text,
            truth=TRUTH_WORDS[leaf.truth],
            text="",
            left=left or sides[0],
            left_value=plain(leaf.left, atom.unit),
            left_shown=left_shown,
            comparison=atom.comparison.value,
            right=right,
            right_value=plain(leaf.right, atom.unit),
            right_shown=right_shown,
            unit=unit_name(atom.unit),
            margin=None if found is None else self._margin(atom, found),
            missing=missing,
        )
        return replace(view, text=_leaf_text(atom, leaf, view))

    def _operand(self, atom: Atom, term: Term, value: float, text: str) -> tuple[str | None, str]:
        """Return the name of an operand (None of a number) and its value in words."""
        match term:
            case ConstantTerm():
                return None, shown(value, atom.unit)
            case FactTerm(slot):
                fact = self.lowered.slots[slot]
                return fact.name, shown(value, fact.unit, fact.steps_per_unit)
            case _:
                return text, shown(value, atom.unit, atom.steps_per_unit)

    def _margin(self, atom: Atom, found: Margin) -> MarginView:
        slot = self.lowered.slots[found.slot] if found.slot >= 0 else None
        text = difference(found.amount, slot.unit if slot else atom.unit, found.steps_per_unit)
        return MarginView(slot.name if slot else None, found.steps, found.amount, text)

    def missing(self, slots: Iterable[int]) -> tuple[MissingFact, ...]:
        """Return the Unknown facts among some slots, each once."""
        found = {}
        for slot in slots:
            if self.values[slot] != self.values[slot]:
                name, reason = self.lowered.slots[slot].name, UnknownReason(self.reason(slot))
                found[name] = MissingFact(name, reason.word, f"{name}: {_reason_text(reason)}")
        return tuple(found.values())

    def reason(self, slot: int) -> int:
        """Return why a slot is Unknown; of a voted signal only the evaluation knows."""
        for signal in self.lowered.signals:
            acting = dict(zip(signal.entry_slots, signal.slots, strict=True)).get(slot, slot)
            if acting != slot and self.values[acting] == self.values[acting]:
                return UnknownReason.ABSTAINED
        return self.vector.reasons[slot] or UnknownReason.MISSING

    # --- what must change ---------------------------------------------------------------------

    def unmet(self, node: int, wanted: int, group: int = -1) -> list[Need]:
        """Return the atoms that keep a condition from a truth value."""
        if self.truth(node) == wanted:
            return []
        lowered = self.lowered.nodes[node]
        if lowered.kind is NodeKind.ATOM:
            return [Need(lowered.atom, wanted, group)]
        if lowered.kind is NodeKind.NOT:
            return self.unmet(lowered.children[0], 1 - wanted, group)
        if lowered.kind is NodeKind.CONSTANT:
            return []
        open_children = [child for child in lowered.children if self.truth(child) != wanted]
        if (lowered.kind is NodeKind.ALL) != (wanted == Truth.TRUE) and len(open_children) > 1 and group < 0:
            group = node
        return [need for child in open_children for need in self.unmet(child, wanted, group)]

    def single(self, node: int, wanted: int) -> list[tuple[int, int]]:
        """Return the atoms of which one alone, flipped, gives a condition a truth value."""
        if self.truth(node) == wanted:
            return []
        lowered = self.lowered.nodes[node]
        if lowered.kind is NodeKind.ATOM:
            return [(lowered.atom, wanted)]
        if lowered.kind is NodeKind.NOT:
            return self.single(lowered.children[0], 1 - wanted)
        open_children = [child for child in lowered.children if self.truth(child) != wanted]
        every = (lowered.kind is NodeKind.ALL) == (wanted == Truth.TRUE)
        if every and len(open_children) > 1:
            return []
        return [found for child in open_children for found in self.single(child, wanted)]

    def needs_text(self, needs: Sequence[Need]) -> str:
        """Return the failing leaves in words: all of them, alternatives joined by "or"."""
        parts: dict[int, list[str]] = {}
        for index, need in enumerate(needs):
            key = need.group if need.group >= 0 else -1 - index
            parts.setdefault(key, []).append(self.leaf(need.atom).text)
        return "; ".join(" or ".join(dict.fromkeys(texts)) for texts in parts.values())

    def unknown_text(self, node: int) -> str:
        """Return the facts that make a condition Unknown, with their reasons."""
        unknown = [leaf for leaf in self.leaves(node) if leaf.truth == "unknown"]
        facts = dict.fromkeys(missing.text for leaf in unknown for missing in leaf.missing)
        return ", ".join(facts) or "; ".join(leaf.condition for leaf in unknown)


def _sides(atom: Atom) -> tuple[str, str]:
    """Return the texts of an atom's operands, as the policy writes them."""
    for between in (f" {atom.comparison.value} ", " crosses above ", " crosses below "):
        left, found, right = atom.text.partition(between)
        if found:
            return left, right
    return atom.text, ""


def _leaf_text(atom: Atom, leaf: Leaf, view: LeafView) -> str:
    """Return a leaf as people read it: ``rsi 51.30 > 80 is false, short by 28.71``."""
    if leaf.truth == Truth.UNKNOWN:
        missing = ", ".join(fact.text for fact in view.missing)
        return f"{view.condition} is unknown ({missing})" if missing else f"{view.condition} is unknown"
    if isinstance(atom.right, ConstantTerm) and not isinstance(atom.left, ConstantTerm):
        if atom.unit is Measure.BOOLEAN:
            return f"{view.left} is {view.left_shown}"
        if isinstance(atom.unit, Words):
            same = (atom.comparison is Comparison.EQUAL) == (leaf.truth == Truth.TRUE)
            return f"{view.left} is {view.left_shown}" + ("" if same else f", not {view.right_shown}")
    left = _operand_text(atom.left, view.left, view.left_shown)
    right = _operand_text(atom.right, view.right, view.right_shown)
    text = f"{left} {view.comparison} {right} is {view.truth}"
    if view.margin is None:
        return text
    return f"{text}, {'by' if leaf.truth == Truth.TRUE else 'short by'} {view.margin.shown}"


def _operand_text(term: Term, name: str | None, value: str) -> str:
    match term:
        case ConstantTerm():
            return value
        case FactTerm():
            return f"{name} {value}"
        case _:
            return f"{name} ({value})"
