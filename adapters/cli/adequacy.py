"""How good a policy's cases are, for people and as JSON: coverage and mutants."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from engine.errors import Span
from engine.language.policy import Policy
from engine.prove.coverage import Coverage, Kind, Point
from engine.prove.mutation import Fate, MutantResult, MutationResult

REQUIRED: Final = (Kind.RULE, Kind.DECISION, Kind.CONDITION)
"""What ``--fail-under`` is about; MC/DC, gates, votes and limits are told and required of nobody."""
_MEANING: Final = {
    Kind.RULE: "each matches, and decides",
    Kind.DECISION: "each 'when', each side of a vote: true and false",
    Kind.CONDITION: "each comparison in them: true and false",
    Kind.ALONE: "each comparison decides alone, true and false (MC/DC)",
    Kind.GATE: "each vetoes, and lets pass",
    Kind.VOTE: "each is cast for each of its sides",
    Kind.LIMIT: "each shrinks or denies an order",
}


def percent(share: float) -> str:
    """Return a percentage with one digit, rounded down: what is not all is never printed as 100."""
    return f"{math.floor(share * 10 + 1e-9) / 10:.1f} %"


def weakest(coverage: Coverage | None, mutation: MutationResult | None) -> float:
    """Return the least of the percentages that ``--fail-under`` is about."""
    shares = [] if coverage is None else [coverage.percent(kind) for kind in REQUIRED]
    return min(shares if mutation is None else [*shares, mutation.score])


def _place(policy: Policy, span: Span) -> str:
    line, column = policy.source.position(span.start)
    return f"{policy.source.name}:{line}:{column}"


# --- coverage ---------------------------------------------------------------------------------


def not_seen(coverage: Coverage) -> list[Point]:
    """Return what no case shows, each thing once.

    A condition that is one comparison is not told twice, nor that a comparison decides nothing alone where
    it is not seen at all.
    """
    told: dict[tuple[str, str, str], Point] = {}
    for point in coverage.unseen:
        if point.kind in (Kind.DECISION, Kind.CONDITION, Kind.ALONE):
            told.setdefault((point.part, point.condition, point.outcome), point)
        else:
            told[(point.part, point.kind, point.outcome)] = point
    return list(told.values())


def coverage_lines(policy: Policy, coverage: Coverage) -> Iterator[str]:
    """Lay coverage out as a table, and below it what no case shows."""
    yield "  coverage"
    for kind in Kind:
        seen, count = coverage.of(kind)
        if count:
            share = percent(coverage.percent(kind))
            yield f"    {kind:<11}{seen:>4} of {count:<4}{share:>8}   {_MEANING[kind]}"
    missing = not_seen(coverage)
    if missing:
        yield "  not seen"
        yield from (f"    {_place(policy, point.span)}  {point.part}: {point.needed}" for point in missing)


def coverage_document(policy: Policy, coverage: Coverage) -> dict[str, Any]:
    """Return coverage as ``--json`` prints it."""
    return {
        **{
            kind.value: {"seen": seen, "points": count, "percent": coverage.percent(kind)}
            for kind in Kind
            for seen, count in (coverage.of(kind),)
        },
        "not_seen": [
            {
                "kind": point.kind.value,
                "part": point.part,
                "condition": point.condition,
                "outcome": point.outcome,
                "needed": point.needed,
                **_position(policy, point.span),
            }
            for point in coverage.unseen
        ],
    }


def _position(policy: Policy, span: Span) -> dict[str, int]:
    line, column = policy.source.position(span.start)
    return {"line": line, "column": column}


# --- mutants ----------------------------------------------------------------------------------


def mutation_lines(policy: Policy, mutation: MutationResult) -> Iterator[str]:
    """Say how many mutants were killed, and list those that were not."""
    counts = ", ".join(
        f"{mutation.count(fate)} {fate}"
        for fate in Fate
        if mutation.count(fate) or fate in (Fate.KILLED, Fate.SURVIVED)
    )
    yield f"  mutants     {len(mutation.results)}: {counts}   score {percent(mutation.score)}"
    if mutation.survivors:
        yield "  survived: no case tells them from the policy"
        yield from (f"    {_survivor(policy, result)}" for result in mutation.survivors)


def _survivor(policy: Policy, result: MutantResult) -> str:
    mutant = result.mutant
    differs = "; it is proved to decide otherwise somewhere" if result.differs else ""
    return f"{_place(policy, mutant.span)}  {mutant.part}: {mutant.what}{differs}"


def mutation_document(policy: Policy, mutation: MutationResult) -> dict[str, Any]:
    """Return the fates of mutants as ``--json`` prints them."""
    return {
        "mutants": len(mutation.results),
        **{fate.value: mutation.count(fate) for fate in Fate},
        "score": mutation.score,
        "survivors": [
            {
                "id": result.mutant.id,
                "change": result.mutant.change.value,
                "part": result.mutant.part,
                "what": result.mutant.what,
                "differs": result.differs,
                **_position(policy, result.mutant.span),
            }
            for result in mutation.survivors
        ],
    }
