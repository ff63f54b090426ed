"""All that an evaluator answers for one case, and a count of what the cases covered."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.codes import Disposition, Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import Evaluator, Verdict
from engine.lowered import (
    ArithmeticTerm,
    Comparison,
    ConstantTerm,
    LoweredPolicy,
    NodeKind,
    Operator,
    Selection,
    StepTerm,
    Term,
)
from tests.strategies import Case, used_slots

LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
"""Whether to run the millions."""


class Answers(NamedTuple):
    """What one evaluator makes of one case; floats in hexadecimal, so that equal means bit-equal."""

    verdict: Verdict
    slots: tuple[str, ...]
    standing_exit: tuple[int, int]
    exit_slots: tuple[str, ...]
    sizes: tuple[str, ...]
    bounds: tuple[str, ...]
    prices: tuple[str, ...]


def _hexadecimal(*values: float) -> tuple[str, ...]:
    return tuple(map(float.hex, values))


def answers(evaluator: Evaluator, case: Case) -> Answers:
    """Ask everything."""
    policy = evaluator.policy
    values, exit_values = list(case.values), list(case.values)
    if any(case[1:]):
        verdict = evaluator.verdict(values, case.stated, case.would_exit, case.would_exit_unknown)
        standing_exit = evaluator.standing_exit(exit_values, case.stated)
    else:
        verdict = evaluator.verdict(values)
        standing_exit = evaluator.standing_exit(exit_values)
    return Answers(
        verdict,
        _hexadecimal(*values),
        standing_exit,
        _hexadecimal(*exit_values),
        _hexadecimal(*(evaluator.size(rule, values) for rule in range(len(policy.rules)))),
        _hexadecimal(*(evaluator.bound(limit, values) for limit in range(len(policy.limits)))),
        _hexadecimal(evaluator.price(True, values), evaluator.price(False, values)),
    )


_DECIDED = (
    Disposition.NONE,
    Disposition.ACTED,
    Disposition.CONCURRED,
    Disposition.OUTRANKED,
    Disposition.VETOED,
    Disposition.UNKNOWN,
)


def _kinds(term: Term) -> list[str]:
    kinds: list[str] = [type(term).__name__]
    if isinstance(term, ArithmeticTerm):
        kinds.append(term.operator)
        for operand in term.operands:
            kinds += _kinds(operand)
    elif isinstance(term, StepTerm):
        kinds += _kinds(term.by)
    return kinds


@dataclass
class Census:
    """Counts evaluations, and those that show something, by the reference evaluator's leaves."""

    policies: int = 0
    evaluations: int = 0
    fired: int = 0
    on_boundary: int = 0
    unknown: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def add_policy(self, policy: LoweredPolicy) -> None:
        """Count a policy and what it is made of."""
        self.policies += 1
        self.seen[policy.selection] += 1
        self.seen.update(node.kind.name for node in policy.nodes)
        for node in policy.nodes:
            if node.kind is NodeKind.CONSTANT:
                self.seen[f"constant {Truth(node.atom).name}"] += 1
        for atom in policy.atoms:
            self.seen[atom.comparison] += 1
            self.seen.update(_kinds(atom.left) + _kinds(atom.right))
        if any(signal.entry_slots != signal.slots for signal in policy.signals):
            self.seen["abstaining signal"] += 1
        if any(gate.only_rule >= 0 for gate in policy.gates):
            self.seen["gate of one rule"] += 1
        if any(gate.pass_if_unknown for gate in policy.gates):
            self.seen["gate passing if Unknown"] += 1

    def add(self, reference: ReferenceEvaluator, case: Case, verdict: Verdict) -> None:
        """Count an evaluation."""
        policy = reference.policy
        self.evaluations += 1
        self.fired += int(Truth.TRUE) in verdict.truths
        self.unknown += any(case.values[slot] != case.values[slot] for slot in used_slots(policy))
        leaves = reference.evaluate(list(case.values), case.stated).leaves
        self.on_boundary += any(
            atom.steps_per_unit > 0
            # NaN is not near; half a step more than one, for the rounding of the difference.
            and abs(leaf.left - leaf.right) * atom.steps_per_unit < 1.5
            for atom, leaf in zip(policy.atoms, leaves, strict=True)
        )
        self.seen.update(f"disposition {Disposition(code).word}" for code in set(verdict.dispositions))

    def missing(self) -> list[str]:
        """Return what never occurred and should have."""
        wanted = [
            *Selection,
            *Comparison,
            *Operator,
            *(kind.name for kind in NodeKind),
            *(f"constant {truth.name}" for truth in Truth),
            *(f"disposition {code.word}" for code in _DECIDED),
            "FactTerm",
            ConstantTerm.__name__,
            ArithmeticTerm.__name__,
            StepTerm.__name__,
            "abstaining signal",
            "gate of one rule",
            "gate passing if Unknown",
        ]
        return [str(kind) for kind in wanted if not self.seen[kind]]

    def __str__(self) -> str:
        """Return the figures in one line."""

        def share(count: int) -> str:
            return f"{100 * count / self.evaluations:.0f} %"

        dispositions = ", ".join(
            f"{code.word} {share(self.seen[f'disposition {code.word}'])}" for code in _DECIDED
        )
        return (
            f"{self.policies:,} policies, {self.evaluations:,} evaluations: a rule true {share(self.fired)}, "
            f"on a boundary {share(self.on_boundary)}, Unknown read {share(self.unknown)}; {dispositions}"
        )
