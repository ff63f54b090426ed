"""Cases written by the prover: each rule, each gate, each boundary and each conflict once.

A case says what the policy does, not what it should do: it is there to be read, to be kept where it is
meant, and to fail when a change moves what it stands on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.codes import Action, Disposition, Truth
from engine.evaluate.symbolic.formulas import Formula, begin_anew, every, negation
from engine.evaluate.symbolic.solver import Budget
from engine.language.policy import Policy
from engine.lowered import Comparison, ConstantTerm, FactTerm, LoweredPolicy, NodeKind
from engine.prove.case_text import WrittenCase, case_name
from engine.prove.example import Confirms, Outcome, example
from engine.prove.region import literal_words
from engine.prove.variant import Variant, variants_of
from engine.verbs.terms import atoms_of_node

_BEATEN = (Disposition.OUTRANKED, Disposition.CONCURRED)


def generated(policy: Policy, lowered: Mapping[str, LoweredPolicy], budget: Budget) -> list[WrittenCase]:
    """Return cases for all variants of a policy; what variants have in common is written once."""
    begin_anew()
    cases: dict[str, WrittenCase] = {}
    for variant in variants_of(policy, lowered, budget):
        for case in _of_variant(variant, cases):
            cases.setdefault(case.name, case)
    return list(cases.values())


def _of_variant(variant: Variant, written: Mapping[str, WrittenCase]) -> Iterator[WrittenCase]:
    for index in range(len(variant.lowered.rules)):
        yield from _rule(variant, index, written)
        yield from _boundaries(variant, index, written)
    yield from _gates(variant, written)
    yield from _conflicts(variant, written)


def _write(
    variant: Variant,
    written: Mapping[str, WrittenCase],
    name: str,
    because: str,
    formulas: Sequence[Formula],
    confirms: Confirms,
    rules: tuple[int, ...] = (),
) -> Iterator[WrittenCase]:
    if name in written:
        return
    shown = example(variant, [*formulas, variant.in_order], confirms)
    if shown is not None:
        yield WrittenCase(name, because, variant.lowered, shown, rules)


# --- rules and their boundaries ---------------------------------------------------------------


def _rule(variant: Variant, index: int, written: Mapping[str, WrittenCase]) -> Iterator[WrittenCase]:
    rule, candidate = variant.lowered.rules[index], variant.terms.candidates[index]
    decides = candidate.wins if rule.action is Action.HOLD else candidate.acts
    yield from _write(
        variant,
        written,
        case_name(rule.name, "decides"),
        f"{rule.name} is the rule that decides",
        [decides],
        lambda outcome: outcome.decision.rule == index and outcome.decision.action is rule.action,
    )


def _boundaries(variant: Variant, index: int, written: Mapping[str, WrittenCase]) -> Iterator[WrittenCase]:
    """Each comparison of a rule: the last value at which the rule is true, and the next, at which it is not.

    Of a comparison with no number: once it is what alone keeps the rule from being true.
    """
    policy, rule = variant.lowered, variant.lowered.rules[index]
    matches = variant.terms.candidates[index].matches
    for atom in atoms_of_node(policy, rule.when):
        lowered = policy.atoms[atom]
        words = literal_words(lowered, lowered.comparison)
        fails = every((negation(matches), *_only(variant, index, atom)))
        edge = _edge(variant, atom)
        sides = [("not", "false", Truth.FALSE, [fails])]
        if edge is not None:
            last, beyond = edge
            sides = [
                ("just", "still true", Truth.TRUE, [last, matches]),
                ("just-not", "no longer true", Truth.FALSE, [beyond, fails]),
            ]
        for label, so, wanted, formulas in sides:
            yield from _write(
                variant,
                written,
                case_name(rule.name, label, words),
                f"{rule.name} is {so}: {words}",
                formulas,
                _is(index, wanted),
                (index,),
            )


def _edge(variant: Variant, atom: int) -> tuple[Formula, Formula] | None:
    """Return that a fact has the last value at which a comparison with a number holds, and the next one."""
    lowered = variant.lowered.atoms[atom]
    if not (isinstance(lowered.left, FactTerm) and isinstance(lowered.right, ConstantTerm)):
        return None
    k = variant.lowered.slots[lowered.left.slot].steps_per_unit
    if not k or lowered.comparison is Comparison.NOT_EQUAL:
        return None
    at = round(lowered.right.value * k)
    last = at + {Comparison.LESS: -1, Comparison.GREATER: 1}.get(lowered.comparison, 0)
    beyond = last + (1 if lowered.comparison in (Comparison.LESS, Comparison.LESS_OR_EQUAL) else -1)
    value = variant.terms.variable(lowered.left.slot).value
    return value == last, value == beyond


def _only(variant: Variant, index: int, atom: int) -> Iterator[Formula]:
    """A comparison of a rule's conjunction is false, and every other part of it true."""
    policy = variant.lowered
    top = policy.nodes[policy.rules[index].when]
    yield variant.terms.atom(atom).false
    for child in top.children if top.kind is NodeKind.ALL else ():
        if atom not in atoms_of_node(policy, child):
            yield variant.terms.node(child).true


def _is(index: int, wanted: Truth) -> Confirms:
    def confirms(outcome: Outcome) -> bool:
        return outcome.decision.truths[index] == wanted

    return confirms


# --- gates and conflicts ----------------------------------------------------------------------


def _gates(variant: Variant, written: Mapping[str, WrittenCase]) -> Iterator[WrittenCase]:
    """Each gate of the policy stops a rule of each kind that it vetoes."""
    for number, gate in enumerate(variant.lowered.gates):
        if gate.reserved:
            continue
        for action, protective in ((Action.BUY, False), (Action.SELL, False), (Action.SELL, True)):
            for index in variant.rules(action):
                if variant.lowered.rules[index].protective != protective:
                    continue
                vetoes = [
                    formula for at, formula in variant.terms.candidates[index].vetoed_by if at == number
                ]
                if not vetoes:
                    continue

                def confirms(outcome: Outcome, index: int = index, number: int = number) -> bool:
                    decision = outcome.decision
                    vetoed = decision.dispositions[index] == Disposition.VETOED
                    return vetoed and decision.causes[index] == number

                name = variant.lowered.rules[index].name
                made = list(
                    _write(
                        variant,
                        written,
                        case_name(gate.name, "vetoes", name),
                        f"gate {gate.name} stops {name}",
                        vetoes,
                        confirms,
                        (index,),
                    )
                )
                if made or case_name(gate.name, "vetoes", name) in written:
                    yield from made
                    break


def _conflicts(variant: Variant, written: Mapping[str, WrittenCase]) -> Iterator[WrittenCase]:
    """Each pair of rules that propose different things: both stand, one decides."""
    rules, candidates = variant.lowered.rules, variant.terms.candidates
    for index, rule in enumerate(rules):
        for other in range(len(rules)):
            if other == index or rules[other].action is rule.action:
                continue

            def confirms(outcome: Outcome, index: int = index, other: int = other) -> bool:
                decision = outcome.decision
                return decision.rule == index and decision.dispositions[other] in _BEATEN

            yield from _write(
                variant,
                written,
                case_name(rule.name, "over", rules[other].name),
                f"{rule.name} decides, and not {rules[other].name}, although both are true",
                [candidates[index].wins, candidates[other].matches],
                confirms,
                (other,),
            )
