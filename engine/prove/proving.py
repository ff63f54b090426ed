"""Everything the prover says of a policy: findings of all its variants together, and what was left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engine.codes import Side
from engine.errors import Problem, Span
from engine.evaluate.formulas import begin_anew
from engine.evaluate.solver import Budget
from engine.language.finding_codes import finding
from engine.language.policy import Policy
from engine.language.types import implied
from engine.lowered import Comparison, LoweredPolicy, NodeKind
from engine.prove.choice import check_choice
from engine.prove.conditions import check_conditions
from engine.prove.exits import check_exits
from engine.prove.finding import Finding, merged
from engine.prove.limits import check_limits
from engine.prove.promises import prove_promises
from engine.prove.proof import Proof, Verdict
from engine.prove.samples import Witnessed
from engine.prove.signals import check_signals
from engine.prove.unknowns import check_unknowns
from engine.prove.variant import Variant, variants_of
from engine.prove.verdicts import joined, promise_findings
from engine.vocabulary import SIDE

Progress = Callable[[str], None]
"""Is told what is being looked at."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What was found, in the order of the file.

    ``left_open`` says in words what was not settled within the budget; so many ``questions`` were asked.
    ``promises`` are in the order of the file; of one that holds for some symbols only there are several.
    """

    findings: tuple[Finding, ...]
    left_open: tuple[str, ...]
    questions: int
    variants: int
    promises: tuple[Proof, ...] = ()

    @property
    def unknown_buys_nothing(self) -> bool | None:
        """Whether no fact gone missing makes or enlarges a buy; None where that was left open."""
        if any(one.problem.code == "unknown-enables" for one in self.findings):
            return False
        return None if any(text.startswith(_UNKNOWN) for text in self.left_open) else True

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The findings as problems."""
        return tuple(one.problem for one in self.findings)


def prove(
    policy: Policy,
    lowered: Mapping[str, LoweredPolicy],
    budget: Budget | None = None,
    progress: Progress = lambda _text: None,
) -> Proved:
    """Look for every kind of finding in every variant of a policy that loads."""
    begin_anew()
    budget = budget or Budget()
    found: list[Finding] = []
    left_open: list[str] = []
    dead: dict[str, list[bool]] = {}
    proofs: list[Proof] = []
    variants = looked_at = 0
    for variant in variants_of(policy, lowered, budget):
        variants += 1
        seen = Witnessed(variant)
        looked_at += len(variant.symbols)
        for name, checks in _CHECKS.items():
            before = budget.undecided
            progress(f"{name} ({variant.words})")
            if not budget.over():
                found += checks(variant, seen)
            if budget.undecided > before or budget.over():
                left_open.append(f"{name} for {variant.words}")
        progress(f"promises ({variant.words})")
        before = budget.undecided
        said = prove_promises(variant)
        proofs += said
        if budget.undecided > before and any(proof.verdict is Verdict.UNDECIDED for proof in said):
            left_open.append(f"promises for {variant.words}")
        for rule in variant.lowered.rules:
            constant = variant.lowered.nodes[rule.when]
            never = constant.kind is NodeKind.CONSTANT and constant.atom == 0
            dead.setdefault(rule.name, []).append(never)
        if budget.over() and not policy.promises and looked_at < len(lowered):
            left_open.append("everything for the other symbols")
            break  # of promises it is said, variant by variant, that they were left open
    promises = joined(proofs)
    found += [*_nowhere(policy, dead), *promise_findings(promises)]
    together = merged(found, len(lowered))
    if left_open:
        together.append(_open(left_open, policy))
    together.sort(key=lambda one: (one.problem.span.start, one.problem.code))
    return Proved(tuple(together), tuple(left_open), budget.questions, variants, promises)


_UNKNOWN: Final = "unknown facts"
_CHECKS: Mapping[str, Callable[[Variant, Witnessed], Iterator[Finding]]] = {
    "conditions": check_conditions,
    "rules": check_choice,
    "exits": lambda variant, _seen: check_exits(variant),
    "signals": lambda variant, _seen: check_signals(variant, promised_sides(variant.policy)),
    "limits": check_limits,
    _UNKNOWN: lambda variant, _seen: check_unknowns(variant),
}


def promised_sides(policy: Policy) -> frozenset[tuple[int, int]]:
    """Return the sides of voted signals of which a promise says when they are acted upon."""
    voted = [signal.name for signal in policy.signals if signal.votes]
    found = set()
    for promise in policy.promises:
        for name, comparison, value in implied(promise.given) if promise.given is not None else ():
            head, _, field = name.partition(".")
            if head in voted and field == "side" and comparison is Comparison.EQUAL:
                found.add((voted.index(head), int(value)))
    return frozenset(pair for pair in found if pair[1] < len(SIDE.words) and pair[1] != Side.NONE)


def _nowhere(policy: Policy, dead: Mapping[str, list[bool]]) -> Iterator[Finding]:
    """Find rules whose condition is decided for every variant, and is false."""
    for rule in policy.rules:
        if dead.get(rule.name) and all(dead[rule.name]):
            message = f"rule '{rule.name}' can never be true for any symbol it is for"
            yield Finding(finding("unreachable-rule", message, rule.span), tuple(dead))


def _open(left_open: list[str], policy: Policy) -> Finding:
    parts = ", ".join(dict.fromkeys(left_open))
    message = f"not everything could be settled in the time: {parts}"
    hint = "ask again with a larger --budget"
    symbols = tuple(listing.symbol for listing in policy.traded)
    return Finding(finding("budget", message, Span(0, 1), hint), symbols)
