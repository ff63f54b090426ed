"""Conditions as alternatives of known leaves: what an engine without Kleene's logic can fire.

A rules engine fires a rule when all its comparisons hold; a fact that is left out makes a
comparison not hold.  So each condition gets two forms, each an ``any`` of ``all`` of leaves (a
disjunctive normal form): one that holds exactly when the condition is definitely true, one exactly when it is
definitely false; negation is pushed into the leaves.  Where neither holds the condition is Unknown.
That is Kleene's logic to the letter, because his *and*, *or* and *not* are definite exactly when
some such choice of definite leaves is.

Distributing *and* over *or* multiplies.  Where more than ``MOST_CLAUSES`` would come of it, the
widest operand is *cut*: it is evaluated before, and stands as a leaf of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import prod
from operator import itemgetter
from typing import NamedTuple

from engine.codes import Truth
from engine.evaluate.reference import FALSE, TRUE, UNKNOWN, operand_value
from engine.lowered import (
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    Node,
    NodeKind,
    Term,
)

MOST_CLAUSES = 64
"""More alternatives than this on one side of a condition, and an operand is cut out."""


class Leaf(NamedTuple):
    """An atom, or a cut node, that must be definitely true (``wanted``) or definitely false."""

    is_node: bool
    number: int
    wanted: bool


Clause = frozenset[Leaf]
Form = frozenset[Clause]

NEVER: Form = frozenset()
ALWAYS: Form = frozenset((frozenset(),))


class Sides(NamedTuple):
    """When a condition is definitely true, and when it is definitely false."""

    true: Form
    false: Form

    def leaves(self) -> set[Leaf]:
        """Return every leaf of either side."""
        return {leaf for form in self for clause in form for leaf in clause}


@dataclass(frozen=True, slots=True)
class NormalForms:
    """The sides of every wanted node and of every cut one.

    ``cuts`` are the cut nodes in the order in which they can be evaluated: those of one level read atoms
    and earlier levels only.  ``open`` are the nodes that read an Unknown constant: they may be
    Unknown although every leaf is known.
    """

    sides: dict[int, Sides]
    cuts: tuple[tuple[int, ...], ...]
    open: frozenset[int]


def normal_forms(policy: LoweredPolicy, wanted: Iterable[int], most: int = MOST_CLAUSES) -> NormalForms:
    """Return both sides of the ``wanted`` nodes, with at most ``most`` clauses a side where that can be.

    A side may be wider only where a node itself has more operands than ``most``.
    """
    sides: dict[int, Sides] = {}
    cut: set[int] = set()
    unknown: set[int] = set()
    for index in _reached(policy.nodes, wanted):
        node = policy.nodes[index]
        operands = {child: sides[child] for child in node.children}
        match node.kind:
            case NodeKind.CONSTANT:
                sides[index] = _constant(node.atom)
            case NodeKind.ATOM:
                sides[index] = _atom(policy.atoms[node.atom], node.atom)
            case NodeKind.NOT:
                sides[index] = _negated(sides[node.children[0]])
            case NodeKind.ALL:
                sides[index] = _conjunction(operands, True, most, cut)
            case NodeKind.ANY:  # not all of (not a), (not b)
                swapped = {child: _negated(side) for child, side in operands.items()}
                sides[index] = _negated(_conjunction(swapped, False, most, cut))
        if (sides[index] == (NEVER, NEVER)) or not unknown.isdisjoint(node.children):
            unknown.add(index)
    return NormalForms(sides, _levels(cut, sides), frozenset(unknown))


def _reached(nodes: tuple[Node, ...], wanted: Iterable[int]) -> list[int]:
    """Return the nodes that the wanted ones are made of, children first."""
    reached: set[int] = set()
    waiting = list(wanted)
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            waiting.extend(nodes[index].children)
    return sorted(reached)


def _constant(truth: int) -> Sides:
    return Sides(
        ALWAYS if truth == Truth.TRUE else NEVER,
        ALWAYS if truth == Truth.FALSE else NEVER,
    )


def _atom(atom: Atom, index: int) -> Sides:
    if isinstance(atom.left, ConstantTerm) and isinstance(atom.right, ConstantTerm):
        return _constant(truth_of(atom)([]))
    return _leaf(False, index)


def _leaf(is_node: bool, index: int, wanted: bool = True) -> Sides:
    return Sides(
        frozenset((frozenset((Leaf(is_node, index, wanted),)),)),
        frozenset((frozenset((Leaf(is_node, index, not wanted),)),)),
    )


def _negated(sides: Sides) -> Sides:
    return Sides(sides.false, sides.true)


def _conjunction(operands: dict[int, Sides], wanted: bool, most: int, cut: set[int]) -> Sides:
    """Combine operands by *and*, cutting the widest while a side would exceed ``most``.

    ``wanted`` is False where the operands are the negations of the nodes they are keyed by.
    """
    while True:
        if prod(len(sides.true) for sides in operands.values()) > most:
            widest = max(operands, key=lambda child: len(operands[child].true))
        elif sum(len(sides.false) for sides in operands.values()) > most:
            widest = max(operands, key=lambda child: len(operands[child].false))
            if len(operands[widest].false) == 1:
                break  # nothing but leaves: as wide as the policy's own text
        else:
            break
        operands[widest] = _leaf(True, widest, wanted)
        cut.add(widest)
    clauses = ALWAYS
    for sides in operands.values():
        clauses = _absorbed({a | b for a in clauses for b in sides.true})
    return Sides(clauses, _absorbed({clause for sides in operands.values() for clause in sides.false}))


def _absorbed(clauses: set[Clause]) -> Form:
    """Drop clauses that never hold, and those that another, shorter one implies."""
    kept: list[Clause] = []
    for clause in sorted(clauses, key=len):
        if any(leaf._replace(wanted=not leaf.wanted) in clause for leaf in clause):
            continue
        if not any(shorter <= clause for shorter in kept):
            kept.append(clause)
    return frozenset(kept)


def _levels(cut: set[int], sides: dict[int, Sides]) -> tuple[tuple[int, ...], ...]:
    level: dict[int, int] = {}
    for index in sorted(cut):  # a cut node reads cut nodes of smaller id only
        read = (level[leaf.number] for leaf in sides[index].leaves() if leaf.is_node)
        level[index] = 1 + max(read, default=-1)
    return tuple(
        tuple(index for index in sorted(cut) if level[index] == at)
        for at in range(max(level.values(), default=-1) + 1)
    )


_COMPARE = {
    Comparison.LESS: float.__lt__,
    Comparison.LESS_OR_EQUAL: float.__le__,
    Comparison.GREATER: float.__gt__,
    Comparison.GREATER_OR_EQUAL: float.__ge__,
    Comparison.EQUAL: float.__eq__,
    Comparison.NOT_EQUAL: float.__ne__,
}


def truth_of(atom: Atom) -> Callable[[list[float]], int]:
    """Return the function from values to an atom's truth; its terms are the reference evaluator's."""
    left, right = _operand(atom.left, atom.steps_per_unit), _operand(atom.right, atom.steps_per_unit)
    compare = _COMPARE[atom.comparison]

    def truth(values: list[float]) -> int:
        a, b = left(values), right(values)
        if a != a or b != b:
            return UNKNOWN
        return TRUE if compare(a, b) else FALSE

    return truth


def _operand(term: Term, steps_per_unit: int) -> Callable[[list[float]], float]:
    match term:
        case FactTerm(slot):
            return itemgetter(slot)
        case ConstantTerm(value):
            return lambda values: value
        case _:
            return partial(operand_value, term, steps_per_unit)
