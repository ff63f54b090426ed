"""Findings of the prover: a problem in its place, where in the facts it is, and a situation that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from engine.errors import Problem, Span
from engine.evaluate.solver import Formula
from engine.language.finding_codes import finding
from engine.prove.example import Confirms, Example, example, redecided
from engine.prove.proof import Trace
from engine.prove.region import Region
from engine.prove.variant import Variant


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of one or several variants; ``symbols`` are those that have it.

    ``region`` says where, in the policy's words; ``example`` is one situation there, and None where the
    finding is that there is none.
    """

    problem: Problem
    symbols: tuple[str, ...]
    region: Region | None = None
    example: Example | None = None
    given: str = ""  # what is taken for granted, in words
    trace: Trace | None = None  # of a promise over time: the cycles that break it


def found(
    variant: Variant,
    code: str,
    message: str,
    span: Span,
    hint: str = "",
    *,
    region: Region | None = None,
    example: Example | None = None,
    given: str = "",
) -> Finding:
    """Return a finding of a registered kind in a variant."""
    one = Finding(finding(code, message, span, hint), variant.symbols, region, example, given)
    variant.told[code, span] = one
    return one


def shown_in(
    variant: Variant, where: Region | None, formulas: Sequence[Formula], confirms: Confirms
) -> Example | None:
    """Return an example in a region, or, if none is confirmed there, anywhere."""
    inside = None if where is None else example(variant, [*formulas, *where.formulas(variant)], confirms)
    return inside or example(variant, formulas, confirms)


def again(variant: Variant, code: str, span: Span, confirms: Confirms) -> Finding | None:
    """Return a finding of an earlier variant if its example shows the same in this one."""
    earlier = variant.told.get((code, span))
    if earlier is None or earlier.example is None:
        return None
    if redecided(variant, earlier.example, confirms) is None:
        return None
    return replace(earlier, symbols=variant.symbols)


def merged(findings: Iterable[Finding], symbols: int) -> list[Finding]:
    """Put findings of several variants together; say for whom they are where it is not for all ``symbols``.

    Where two variants have it in one place, what is clearer stands for both: with an example and a region.
    """
    together: dict[tuple[str, Span], Finding] = {}
    for one in findings:
        key = (one.problem.code, one.problem.span)
        first = together.get(key)
        if first is None:
            together[key] = one
            continue
        shown = max((first, one), key=_clarity)
        names = tuple(dict.fromkeys((*first.symbols, *one.symbols)))
        together[key] = replace(shown, symbols=names)
    return [_for_whom(one, symbols) for one in together.values()]


def _clarity(one: Finding) -> int:
    return (one.example is not None) + (one.region is not None)


def _for_whom(one: Finding, symbols: int) -> Finding:
    if len(one.symbols) == symbols:
        return one
    shown = ", ".join(one.symbols[:3])
    more = len(one.symbols) - 3
    whom = shown if more <= 0 else f"{shown} and {more} more"
    return replace(one, problem=replace(one.problem, message=f"{one.problem.message} (for {whom})"))
