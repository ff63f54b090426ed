"""Conditions that are the same at every moment, and rules whose condition nothing makes true."""

from __future__ import annotations

from collections.abc import Iterator

from engine.codes import Truth
from engine.errors import Span
from engine.evaluate.symbolic.solver import Answer
from engine.lowered import Comparison, LoweredPolicy, LoweredRule, NodeKind
from engine.prove.finding import Finding, found
from engine.prove.region import literal_words
from engine.prove.variant import Variant
from engine.verbs.terms import atoms_of_node, nodes_below


def check_conditions(variant: Variant) -> Iterator[Finding]:
    """Find unreachable rules, and parts of conditions that are always true or always false."""
    policy = variant.lowered
    dead: set[int] = set()
    for rule in policy.rules:
        if variant.lowered.nodes[rule.when].kind is not NodeKind.CONSTANT and _never(
            variant, rule.when, True
        ):
            dead.add(rule.when)
            yield _unreachable(variant, rule)
    tops = {rule.when for rule in policy.rules} | {rule.when_entry for rule in policy.rules}
    told: set[int] = set()
    for owner, top, whole in _owners(policy):
        if top in dead:
            continue
        parts = list(_parts(policy, top, whole=whole and top not in tops))
        for node in parts:
            if node in told or told.intersection(nodes_below(policy, node) - {node}):
                continue
            span = _span(policy, node)
            words = _words(policy, node)
            if _never(variant, node, True):
                told |= nodes_below(policy, node)
                yield found(variant, "always-false", f"{owner}: '{words}' can never be true", span)
            elif _never(variant, node, False):
                told |= nodes_below(policy, node)
                yield found(variant, "always-true", f"{owner}: '{words}' is always true", span)


def _unreachable(variant: Variant, rule: LoweredRule) -> Finding:
    parts = _conjuncts(variant.lowered, rule.when)
    formulas = [variant.terms.node(node).true for node in parts]
    core = variant.least_core(formulas)
    clash = [
        _bracketed(variant.lowered, node)
        for node, formula in zip(parts, formulas, strict=True)
        if core is not None and any(formula is one for one in core)
    ]
    why = f": {' and '.join(clash)} cannot be true together" if len(clash) > 1 else ""
    return found(variant, "unreachable-rule", f"rule '{rule.name}' can never be true{why}", rule.span)


def _conjuncts(policy: LoweredPolicy, node: int) -> list[int]:
    """Return the conditions that must all be true, the smallest ones."""
    lowered = policy.nodes[node]
    if lowered.kind is not NodeKind.ALL:
        return [node]
    return list(dict.fromkeys(part for child in lowered.children for part in _conjuncts(policy, child)))


def _never(variant: Variant, node: int, truth: bool) -> bool:
    """Say whether nothing makes a condition true, or false; what was seen once is not asked again."""
    seen = variant.witnessed.true if truth else variant.witnessed.false
    if seen[node]:
        return False
    kleene = variant.terms.node(node)
    answer = variant.ask(kleene.true if truth else kleene.false)
    seen[node] = answer is Answer.POSSIBLE
    return answer is Answer.IMPOSSIBLE


def _owners(policy: LoweredPolicy) -> Iterator[tuple[str, int, bool]]:
    """Yield every condition with what it belongs to, and whether the whole of it is looked at, too."""
    for rule in policy.rules:
        yield f"rule '{rule.name}'", rule.when, False
    for gate in policy.gates:
        if not gate.reserved:
            yield f"gate '{gate.name}'", gate.when, True
    for signal in policy.signals:
        for vote in signal.votes:
            for side in (vote.buy, vote.sell):
                if side >= 0:
                    yield f"vote '{vote.name}' of '{signal.name}'", side, True


def _parts(policy: LoweredPolicy, node: int, *, whole: bool) -> Iterator[int]:
    """Yield a condition and its parts that are no constants, the larger first."""
    lowered = policy.nodes[node]
    if lowered.kind is NodeKind.CONSTANT:
        return
    if whole:
        yield node
    for child in lowered.children:
        yield from _parts(policy, child, whole=lowered.kind is not NodeKind.NOT)


def _span(policy: LoweredPolicy, node: int) -> Span:
    spans = [policy.atoms[index].span for index in atoms_of_node(policy, node)]
    return Span(min(span.start for span in spans), max(span.end for span in spans))


def _words(policy: LoweredPolicy, node: int) -> str:
    """Return a condition as the policy would write it."""
    lowered = policy.nodes[node]
    if lowered.kind is NodeKind.ATOM:
        atom = policy.atoms[lowered.atom]
        return literal_words(atom, Comparison(atom.comparison)) if atom.steps_per_unit == 0 else atom.text
    if lowered.kind is NodeKind.CONSTANT:
        return "true" if lowered.atom == Truth.TRUE else "false"
    parts = [_words(policy, child) for child in lowered.children]
    if lowered.kind is NodeKind.NOT:
        return f"not {parts[0]}" if " " not in parts[0] else f"not ({parts[0]})"
    if lowered.kind is NodeKind.ALL:
        return " and ".join(_bracketed(policy, child) for child in lowered.children)
    return " or ".join(parts)


def _bracketed(policy: LoweredPolicy, node: int) -> str:
    words = _words(policy, node)
    return f"({words})" if " or " in words else words
