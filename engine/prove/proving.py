"""Everything the prover says of a policy: findings of all its variants together, and what was left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from engine.codes import Side
from engine.errors import Problem, Span
from engine.evaluate.symbolic.formulas import begin_anew
from engine.evaluate.symbolic.solver import Budget
from engine.language.finding_codes import finding
from engine.language.policy import Policy
from engine.language.types import implied
from engine.lowered import Comparison, LoweredPolicy, Node, NodeKind
from engine.prove.choice import check_choice
from engine.prove.conditions import check_conditions
from engine.prove.exits import check_exits
from engine.prove.finding import Finding, merged
from engine.prove.limits import check_limits
from engine.prove.promises import prove_promises
from engine.prove.proof import Proof, Verdict
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


class Part(NamedTuple):
    """What one share of the work came to; so many ``questions`` were asked and were left ``undecided``."""

    findings: list[Finding]
    left_open: list[str]
    proofs: list[Proof]
    questions: int
    undecided: int


Share = Callable[[], Part]
"""A share of the work: it needs nothing of the others, and can be done wherever a processor is free."""


def in_turn(shares: Sequence[Share]) -> list[Part]:
    """Do one share after the other."""
    return [share() for share in shares]


def prove(
    policy: Policy,
    lowered: Mapping[str, LoweredPolicy],
    budget: Budget | None = None,
    progress: Progress = lambda _text: None,
    at_once: Callable[[Sequence[Share]], Sequence[Part]] = in_turn,
) -> Proved:
    """Look for every kind of finding in every variant of a policy that loads.

    ``at_once`` does the shares of the work, in whatever order and wherever: what is found is the same.
    """
    budget = budget or Budget()
    parts = at_once([partial(_done, names, policy, lowered, budget, progress) for names in _SHARES])
    left_open = [text for part in parts for text in part.left_open]
    promises = joined([proof for part in parts for proof in part.proofs])
    found = [one for part in parts for one in part.findings]
    found += [*_nowhere(policy, lowered), *promise_findings(promises)]
    together = merged(found, len(lowered))
    if left_open:
        together.append(_open(left_open, policy))
    together.sort(key=lambda one: (one.problem.span.start, one.problem.code))
    budget.questions += sum(part.questions for part in parts)
    budget.undecided += sum(part.undecided for part in parts)
    variants = len({id(form) for form in lowered.values()})
    return Proved(tuple(together), tuple(left_open), budget.questions, variants, promises)


def _done(
    names: Sequence[str],
    policy: Policy,
    lowered: Mapping[str, LoweredPolicy],
    bounds: Budget,
    progress: Progress,
) -> Part:
    """Do a share: some checks, of every variant."""
    begin_anew()
    budget = replace(bounds, questions=0, undecided=0)
    found: list[Finding] = []
    left_open: list[str] = []
    proofs: list[Proof] = []
    looked_at = 0
    for variant in variants_of(policy, lowered, budget):
        looked_at += len(variant.symbols)
        for name in names:
            before = budget.undecided
            progress(f"{name} ({variant.words})")
            may_be_open = True
            if name == _PROMISES:
                said = prove_promises(variant)
                proofs += said
                may_be_open = any(proof.verdict is Verdict.UNDECIDED for proof in said)
            elif not budget.over():
                found += _CHECKS[name](variant)
            if may_be_open and (budget.undecided > before or budget.over()):
                left_open.append(f"{name} for {variant.words}")
        # Of promises it is said, variant by variant, that they were left open.
        if budget.over() and looked_at < len(lowered) and not (_PROMISES in names and policy.promises):
            left_open += [f"{name} for the other symbols" for name in names]
            break
    return Part(found, left_open, proofs, budget.questions, budget.undecided)


_UNKNOWN: Final = "unknown facts"
_PROMISES: Final = "promises"
_CHECKS: Mapping[str, Callable[[Variant], Iterator[Finding]]] = {
    "conditions": check_conditions,
    "rules": check_choice,
    "exits": check_exits,
    "signals": lambda variant: check_signals(variant, promised_sides(variant.policy)),
    "limits": check_limits,
    _UNKNOWN: check_unknowns,
}
_SHARES: Final = (("exits", "signals", _UNKNOWN, _PROMISES), ("conditions", "rules", "limits"))
"""What is done together: about as long the one as the other.  A check is told what earlier ones of its share
found; each share translates the policy, so that there are few."""


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


def _nowhere(policy: Policy, lowered: Mapping[str, LoweredPolicy]) -> Iterator[Finding]:
    """Find rules whose condition is decided for every symbol that they are for, and is false."""
    conditions: dict[str, dict[str, Node]] = {}
    for symbol, form in lowered.items():
        for rule in form.rules:
            conditions.setdefault(rule.name, {})[symbol] = form.nodes[rule.when]
    for written in policy.rules:
        nodes = conditions.get(written.name, {})
        if nodes and all(node.kind is NodeKind.CONSTANT and node.atom == 0 for node in nodes.values()):
            message = f"rule '{written.name}' can never be true"
            yield Finding(finding("unreachable-rule", message, written.span), tuple(nodes))


def _open(left_open: list[str], policy: Policy) -> Finding:
    parts = ", ".join(dict.fromkeys(left_open))
    message = f"not everything could be settled in the time: {parts}"
    hint = "ask again with a larger --budget"
    symbols = tuple(listing.symbol for listing in policy.traded)
    return Finding(finding("budget", message, Span(0, 1), hint), symbols)
