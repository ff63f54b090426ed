"""Regions: the fewest comparisons of a policy under which something always is so.

A situation that shows a fault is a point; a person needs the place.  The truth of every comparison at the
point says all that the policy can see of it.  Of these, the fewest are kept that rule out the absence of the
fault: whatever else is so, it is there wherever they hold (a prime implicant).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.codes import Truth
from engine.evaluate.symbolic.formulas import Formula, negation
from engine.evaluate.symbolic.solver import Answer, Model
from engine.lowered import Atom, Comparison, ConstantTerm, FactTerm, LoweredPolicy, NodeKind
from engine.prove.variant import Variant
from engine.units import Measure, Words
from engine.verbs.numbers import shown
from engine.verbs.terms import atoms_of_node

_MOST_LEFT_OUT: Final = 10
"""Of more comparisons it is not tried, in a large policy, whether some can be left out after all."""
_STRICT: Final = {
    Comparison.LESS_OR_EQUAL: Comparison.LESS,
    Comparison.GREATER_OR_EQUAL: Comparison.GREATER,
}
_LOWER: Final = (Comparison.GREATER, Comparison.GREATER_OR_EQUAL)
_UPPER: Final = (Comparison.LESS, Comparison.LESS_OR_EQUAL)


class Literal(NamedTuple):
    """A comparison of the policy, and whether it is true."""

    atom: int
    holds: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A conjunction of literals; ``conditions`` are its words, one for each or for several together."""

    literals: tuple[Literal, ...]
    conditions: tuple[str, ...]

    @property
    def words(self) -> str:
        """The whole condition."""
        return " and ".join(self.conditions) or "always"

    def formulas(self, variant: Variant) -> list[Formula]:
        """Return that a situation of a variant lies in it."""
        atoms = [(literal, variant.terms.atom(literal.atom)) for literal in self.literals]
        return [truth.true if literal.holds else truth.false for literal, truth in atoms]

    def restricted(self, policy: LoweredPolicy, literals: Sequence[Literal]) -> str:
        """Return some of the literals as a condition, "" where there are none."""
        return " and ".join(conditions(policy, literals))


def region(
    variant: Variant,
    fault: Formula,
    *,
    given: Sequence[Formula] = (),
    prefer: Iterable[int] = (),
    beside: Sequence[Formula] = (),
) -> Region | None:
    """Return where a fault always is, around one situation in which it is; None where none is found.

    ``given`` is taken for granted and not told; ``prefer`` are atoms to keep rather than others; ``beside``
    are truth values that are no comparisons (an exit would follow the entry), kept where they are needed.
    """
    if variant.ask(fault, *given) is not Answer.POSSIBLE:
        return None
    return region_around(variant, variant.model(), fault, given=given, prefer=prefer, beside=beside)


def region_around(
    variant: Variant,
    model: Model,
    fault: Formula,
    *,
    given: Sequence[Formula] = (),
    prefer: Iterable[int] = (),
    beside: Sequence[Formula] = (),
) -> Region | None:
    """Return where a fault always is, around a situation in which it is."""
    policy = variant.form.lowered
    literals = literals_of(variant, (*prefer, *decisive_atoms(policy)))
    formulas = [formula for formula in literals if model.truth(formula)]
    beside = [*beside, *variant.delivered]
    formulas += [one if model.truth(one) else negation(one) for one in beside]
    if variant.is_large:
        core = _few(variant, model, fault, given, formulas)
    else:
        with variant.supposing(negation(fault), *given):
            core = variant.least_core(formulas)
    if core is None:
        return None
    kept = tuple(literals[formula] for formula in core if formula in literals)
    return Region(kept, tuple(conditions(policy, kept)))


def literals_of(variant: Variant, atoms: Iterable[int]) -> dict[Formula, Literal]:
    """Return comparisons, and what says that they are true, or false; not those that are always the same."""
    found: dict[Formula, Literal] = {}
    for index in dict.fromkeys(atoms):
        truth = variant.terms.atom(index)
        for formula, holds in ((truth.true, True), (truth.false, False)):
            if not isinstance(formula, bool):
                found[formula] = Literal(index, holds)
    return found


def _few(
    variant: Variant, model: Model, fault: Formula, given: Sequence[Formula], formulas: Sequence[Formula]
) -> list[Formula] | None:
    """Return the formulas that are grounds of a fault, or None if it is not soon clear that they are enough.

    Of a large policy to leave out one of a hundred comparisons after the other takes too long.
    """
    own = {_id(formula): formula for formula in formulas}
    grounds = variant.grounds.of(fault, model, own.keys())
    kept = {_id(one) for one in grounds}
    few = [formula for key, formula in own.items() if key in kept]
    with variant.supposing(negation(fault), *given):
        return variant.least_core(few, _MOST_LEFT_OUT)


def _id(formula: Formula) -> int:
    number: int = formula.identity
    return number


def decisive_atoms(policy: LoweredPolicy) -> list[int]:
    """Return the atoms of rules, then of gates: signals are told by side and confidence, not by votes."""
    nodes = [node for rule in policy.rules for node in (rule.when, rule.when_entry)]
    nodes += [node for gate in policy.gates for node in (gate.when, gate.when_entry)]
    return list(dict.fromkeys(atom for node in dict.fromkeys(nodes) for atom in atoms_of_node(policy, node)))


def constant_truth(policy: LoweredPolicy, node: int) -> Truth | None:
    """Return the truth of a condition that is decided for the whole variant, or None."""
    lowered = policy.nodes[node]
    return Truth(lowered.atom) if lowered.kind is NodeKind.CONSTANT else None


# --- words ------------------------------------------------------------------------------------


def conditions(policy: LoweredPolicy, literals: Iterable[Literal]) -> list[str]:
    """Return literals in the policy's words; bounds of one number are told together, the tightest only."""
    found: dict[tuple[object, str], list[tuple[Comparison, Atom]]] = {}
    compared = [
        (index, policy.atoms[index].comparison if holds else policy.atoms[index].comparison.negated)
        for index, holds in literals
    ]
    sides_of = {index: (policy.atoms[index].left, policy.atoms[index].right) for index, _ in compared}
    unequal = {sides_of[index] for index, comparison in compared if comparison is Comparison.NOT_EQUAL}
    bounded = {sides_of[index] for index, comparison in compared if comparison in _STRICT} & unequal
    for index, comparison in compared:
        atom = policy.atoms[index]
        if sides_of[index] in bounded:  # x >= 2 and x != 2 is x > 2
            if comparison is Comparison.NOT_EQUAL:
                continue
            comparison = _STRICT.get(comparison, comparison)
        side = "<" if comparison in _UPPER else ">" if comparison in _LOWER else f"={index}"
        key = (atom.left, side) if isinstance(atom.right, ConstantTerm) else (index, "")
        found.setdefault(key, []).append((comparison, atom))
    texts: dict[object, str] = {}
    for (left, side), bounds in found.items():
        comparison, atom = _tightest(bounds) if side in ("<", ">") else bounds[0]
        other = found.get((left, ">" if side == "<" else "<")) if side in ("<", ">") else None
        if side == "<" and other:
            low, low_atom = _tightest(other)
            texts[left] = (
                f"{_bound(low_atom)} {'<' if low is Comparison.GREATER else '<='} {_name(atom)} "
                f"{comparison.value} {_bound(atom)}"
            )
        elif not other:
            texts[(left, side)] = literal_words(atom, comparison)
    return list(texts.values())


def _tightest(bounds: list[tuple[Comparison, Atom]]) -> tuple[Comparison, Atom]:
    def order(bound: tuple[Comparison, Atom]) -> tuple[float, bool]:
        comparison, atom = bound
        assert isinstance(atom.right, ConstantTerm)
        strict = comparison in (Comparison.LESS, Comparison.GREATER)
        return (-atom.right.value if comparison in _UPPER else atom.right.value), strict

    return max(bounds, key=order)


def literal_words(atom: Atom, comparison: Comparison) -> str:
    """Return a comparison as a condition: ``rsi <= 80``, ``not held``, ``session == regular``."""
    if atom.unit is Measure.BOOLEAN and isinstance(atom.right, ConstantTerm):
        holds = (comparison is Comparison.EQUAL) == (atom.right.value == 1)
        name = atom.text.removeprefix("not ")
        return name if holds else f"not {name}" if " " not in name else f"not ({name})"
    if isinstance(atom.right, ConstantTerm):
        return f"{_name(atom)} {comparison.value} {_bound(atom)}"
    left, between, right = sides(atom)
    if not between:
        return atom.text if comparison is atom.comparison else f"not ({atom.text})"
    return f"{left} {comparison.value} {right}"


def sides(atom: Atom) -> tuple[str, str, str]:
    """Return the texts left of, of and right of the comparison; empty ones where it is written otherwise."""
    left, between, right = atom.text.partition(f" {atom.comparison.value} ")
    return (left, between.strip(), right) if between else (atom.text, "", "")


def _name(atom: Atom) -> str:
    left, between, _ = sides(atom)
    return left if between or not isinstance(atom.left, FactTerm) else atom.text.split()[0]


def _bound(atom: Atom) -> str:
    assert isinstance(atom.right, ConstantTerm)
    if isinstance(atom.unit, Words):
        return atom.unit.words[int(atom.right.value)]
    return shown(atom.right.value, atom.unit).replace(" %", "%")
