"""Regions in the policy's words: numbers for its parameters, bounds of one number together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from engine.codes import Truth
from engine.language.expression import (
    Binary,
    Call,
    Chain,
    Expression,
    ExpressionError,
    Literal,
    Name,
    Not,
    Unary,
    parse,
    unparse,
)
from engine.language.lower import fold
from engine.language.policy import Listing, Policy
from engine.lowered import FactTerm, LoweredPolicy, NodeKind, Operator, SlotOrigin
from engine.prove import region
from engine.prove.regions import INTEGRITY, Clause, Kind
from engine.prove.regions import Literal as RegionLiteral
from engine.units import Measure

_STATE: Final = {Truth.TRUE: "closed", Truth.FALSE: "open", Truth.UNKNOWN: "unknown"}


# --- parameters as numbers --------------------------------------------------------------------


def with_numbers(policy: Policy, listing: Listing, lowered: LoweredPolicy) -> LoweredPolicy:
    """Return a lowered policy whose texts name numbers instead of parameters; nothing else differs."""
    atoms = tuple(replace(atom, text=_numbered(policy, listing, atom.text)) for atom in lowered.atoms)
    return replace(lowered, atoms=atoms)


def then_words(policy: Policy, listing: Listing, then: str) -> str:
    """Return what a rule does, with numbers for parameters: "buy to 50% of target"."""
    verb = next((verb for verb in ("buy to ", "sell to ", "buy ", "sell ") if then.startswith(verb)), "")
    return verb + _numbered(policy, listing, then.removeprefix(verb)) if verb else then


def _numbered(policy: Policy, listing: Listing, text: str) -> str:
    try:
        return unparse(_resolved(policy, listing, parse(text)))
    except ExpressionError:  # "once per day: used up" is no expression
        return text


def _resolved(policy: Policy, listing: Listing, expression: Expression) -> Expression:
    def below(part: Expression) -> Expression:
        return _resolved(policy, listing, part)

    match expression:
        case Name(name=name, span=span) if name in policy.parameters:
            parameter = policy.parameters[name]
            measure = parameter.unit if isinstance(parameter.unit, Measure) else Measure.SCALAR
            return Literal(parameter.resolve(listing), measure, span)
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(map(below, arguments)))
        case Unary(operand=operand):
            inner = below(operand)
            return (
                replace(inner, value=-inner.value) if isinstance(inner, Literal) else Unary(inner, inner.span)
            )
        case Binary(operator=operator, left=left, right=right):
            one, other = below(left), below(right)
            return _folded(operator, one, other) or replace(expression, left=one, right=other)
        case Chain(operands=operands):
            return replace(expression, operands=tuple(map(below, operands)))
        case Not(operand=operand):
            return replace(expression, operand=below(operand))
    return expression


def _folded(operator: str, left: Expression, right: Expression) -> Expression | None:
    """Return the sum or difference of two literals of one kind; a product keeps its factors."""
    if operator not in "+-" or not (isinstance(left, Literal) and isinstance(right, Literal)):
        return None
    if left.measure is not right.measure:
        return None
    value = fold(Operator(operator), [left.value, right.value])
    return None if value is None else replace(left, value=Decimal(value))


# --- clauses ----------------------------------------------------------------------------------


def conditions(policy: LoweredPolicy, clauses: Sequence[Clause]) -> list[str]:
    """Return clauses as conditions; bounds of one number are told together, in the place of the first."""
    plain: list[region.Literal] = []
    told: list[str] = []
    for clause in clauses:
        found = _comparison(policy, clause)
        if found is None:
            told.append(clause_words(policy, clause))
        else:
            plain.append(found)
    gates = [text for text in told if _is_state(text)]
    return [*gates, *region.conditions(policy, plain), *(text for text in told if text not in gates)]


def _is_state(text: str) -> bool:
    return text.rpartition(" ")[2] in _STATE.values()


def _comparison(policy: LoweredPolicy, clause: Clause) -> region.Literal | None:
    """Return a clause that is one comparison, true or false, of facts that exits and entries read alike."""
    if len(clause) > 1:
        return None
    (kind, ids, _), truth = clause[0]
    if kind is not Kind.CONDITION or truth is Truth.UNKNOWN:
        return None
    node = policy.nodes[ids[0]]
    if node.kind is not NodeKind.ATOM or _origin(policy, node.atom) is not None:
        return None
    return region.Literal(node.atom, truth is Truth.TRUE)


def _origin(policy: LoweredPolicy, atom: int) -> SlotOrigin | None:
    """Return the origin of a fact that needs words of its own."""
    left = policy.atoms[atom].left
    origin = policy.slots[left.slot].origin if isinstance(left, FactTerm) else None
    return origin if origin in (SlotOrigin.ONCE, SlotOrigin.ENTRY_SIGNAL) else None


def clause_words(policy: LoweredPolicy, clause: Clause) -> str:
    """Return a clause on one line."""
    return " or ".join(literal_words(policy, literal) for literal in clause)


def literal_words(policy: LoweredPolicy, literal: RegionLiteral) -> str:
    """Return a literal on one line."""
    (kind, ids, name), truth = literal
    if kind is Kind.GATES:
        return f"{gates_words(name)} {_STATE[truth]}"
    if kind is Kind.WOULD_EXIT:
        return f"{'an' if truth is Truth.TRUE else 'no'} exit would follow {policy.rules[ids[0]].name}"
    if kind is Kind.DECIDES:
        return f"{policy.rules[ids[0]].name} {'is' if truth is Truth.TRUE else 'is not'} chosen"
    if truth is Truth.UNKNOWN:
        return f"unknown whether {_bracketed(policy, ids[0], Truth.TRUE)}"
    return _bracketed(policy, ids[0], truth)


def gates_words(name: str) -> str:
    """Return the name of a group of gates."""
    return "integrity gates" if name == INTEGRITY else name


def node_words(policy: LoweredPolicy, node: int, truth: Truth = Truth.TRUE) -> str:
    """Return when a condition is true, or false."""
    lowered = policy.nodes[node]
    if lowered.kind is NodeKind.CONSTANT:
        return "always" if lowered.atom == truth else "never"
    if lowered.kind is NodeKind.ATOM:
        return _atom_words(policy, lowered.atom, truth)
    if lowered.kind is NodeKind.NOT:
        return node_words(policy, lowered.children[0], Truth(1 - truth))
    together = (lowered.kind is NodeKind.ALL) == (truth is Truth.TRUE)
    parts = (_bracketed(policy, child, truth) for child in lowered.children)
    return (" and " if together else " or ").join(parts)


def _bracketed(policy: LoweredPolicy, node: int, truth: Truth) -> str:
    text = node_words(policy, node, truth)
    return f"({text})" if " and " in text or " or " in text else text


def _atom_words(policy: LoweredPolicy, atom: int, truth: Truth) -> str:
    origin = _origin(policy, atom)
    holds = truth is Truth.TRUE
    if origin is SlotOrigin.ONCE:
        left = policy.atoms[atom].left
        assert isinstance(left, FactTerm), "once is a fact"
        rule = policy.slots[left.slot].name.removeprefix("once.")
        return f"once of {rule} {'used up' if holds else 'not used up'}"
    (text,) = region.conditions(policy, [region.Literal(atom, holds)])
    return f"{text} to entries" if origin is SlotOrigin.ENTRY_SIGNAL else text


def gate_words(policy: LoweredPolicy, nodes: Sequence[int]) -> Iterator[str]:
    """Yield the gates of a group: each with its condition."""
    for node in nodes:
        names = [gate.name for gate in policy.gates if node in (gate.when, gate.when_entry)]
        yield f"{names[0]} ({node_words(policy, node)})"
