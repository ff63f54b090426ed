"""What ``validate-policy --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapters.cli.validation import Outcome, Unread, Validated
from engine.errors import Problem, Source
from engine.lowered import LoweredPolicy

if TYPE_CHECKING:
    from engine.prove.example import Example
    from engine.prove.finding import Finding
    from engine.prove.proof import Proof

SCHEMA: Final = "validate-policy-v1"


def document(outcomes: Sequence[Outcome], *, strict: bool) -> dict[str, Any]:
    """Return the whole document."""
    read = [outcome for outcome in outcomes if isinstance(outcome, Validated)]
    return {
        "schema": SCHEMA,
        "passed": len(read) == len(outcomes) and all(one.passes(strict=strict) for one in read),
        "files": [_file(outcome) for outcome in outcomes],
    }


def _file(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Unread):
        return {
            "file": outcome.name,
            "unread": str(outcome.error),
            "policy": None,
            "problems": [],
            "proof": None,
        }
    checked = outcome.checked
    policy = checked.policy
    return {
        "file": checked.source.name,
        "unread": None,
        "policy": None
        if policy is None
        else {
            "name": policy.name,
            "version": policy.version,
            "digest": policy.digest,
            "rules": len(policy.rules),
            "variants": checked.variants,
            "bars": [
                {"symbol": symbol, "intervals_seconds": list(intervals)}
                for symbol, intervals in checked.needs.items()
            ],
        },
        "problems": [
            _problem(problem, checked.source) | ({} if finding is None else _shown(finding, checked.lowered))
            for problem, finding in outcome.rows()
        ],
        "proof": _proof(outcome),
    }


def _problem(problem: Problem, source: Source) -> dict[str, Any]:
    line, column = source.position(problem.span.start)
    end_line, end_column = source.position(problem.span.end)
    return {
        "code": problem.code,
        "severity": problem.severity.value,
        "message": problem.message,
        "hint": problem.hint,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _shown(finding: Finding, lowered: Mapping[str, LoweredPolicy]) -> dict[str, Any]:
    """Return what the prover says beyond the problem itself."""
    region, trace = finding.region, finding.trace
    return {
        "symbols": list(finding.symbols),
        "region": None if region is None else {"text": region.words, "conditions": list(region.conditions)},
        "given": finding.given,
        "example": None if finding.example is None else _example(finding.example, lowered),
        "trace": None if trace is None else {"cycles": list(trace.words), "breach": trace.breach},
    }


def _example(example: Example, lowered: Mapping[str, LoweredPolicy]) -> dict[str, Any]:
    decision = example.outcome.decision
    rules = lowered[example.symbol].rules
    return {
        "symbol": example.symbol,
        "facts": dict(example.facts),
        "action": decision.action.name.lower(),
        "rule": rules[decision.rule].name if decision.rule >= 0 else None,
    }


def _proof(validated: Validated) -> dict[str, Any] | None:
    proved = validated.proved
    if proved is None:
        return None
    return {
        "variants": proved.variants,
        "questions": proved.questions,
        "seconds": round(validated.seconds, 3),
        "left_open": list(proved.left_open),
        "unknown_buys_nothing": proved.unknown_buys_nothing,
        "promises": [_promise(proof) for proof in proved.promises],
    }


def _promise(proof: Proof) -> dict[str, Any]:
    return {
        "promise": proof.promise,
        "symbols": list(proof.symbols),
        "verdict": proof.verdict.value,
        "how": proof.how,
        "modelled": proof.stage,
    }
