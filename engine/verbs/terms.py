"""What terms and conditions of a lowered policy read."""

from __future__ import annotations

from collections.abc import Iterator

from engine.lowered import ArithmeticTerm, ConstantTerm, FactTerm, LoweredPolicy, NodeKind, StepTerm, Term


def slots_of_term(term: Term) -> tuple[int, ...]:
    """Return the slots a term reads, each once, in order."""
    match term:
        case FactTerm(slot):
            return (slot,)
        case ConstantTerm():
            return ()
        case ArithmeticTerm(_, operands):
            return tuple(dict.fromkeys(slot for operand in operands for slot in slots_of_term(operand)))
        case StepTerm(by, _, _):
            return slots_of_term(by)


def atoms_of_node(policy: LoweredPolicy, node: int) -> tuple[int, ...]:
    """Return the atoms below a condition, each once, in order."""
    return tuple(dict.fromkeys(_atoms(policy, node)))


def _atoms(policy: LoweredPolicy, node: int) -> Iterator[int]:
    lowered = policy.nodes[node]
    if lowered.kind is NodeKind.ATOM:
        yield lowered.atom
    for child in lowered.children:
        yield from _atoms(policy, child)


def nodes_below(policy: LoweredPolicy, node: int) -> set[int]:
    """Return a condition and all its parts."""
    return {node}.union(*(nodes_below(policy, child) for child in policy.nodes[node].children))


def slots_of_node(policy: LoweredPolicy, node: int) -> tuple[int, ...]:
    """Return the slots a condition reads, each once, in order."""
    atoms = [policy.atoms[index] for index in atoms_of_node(policy, node)]
    return tuple(
        dict.fromkeys(
            slot for atom in atoms for term in (atom.left, atom.right) for slot in slots_of_term(term)
        )
    )
