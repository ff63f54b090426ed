"""Findings of the prover: a problem in its place, where in the facts it is, and a situation that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.errors import Problem, Span
from engine.evaluate.symbolic.formulas import Formula, every, negation
from engine.evaluate.symbolic.snapshot import fact_values
from engine.evaluate.symbolic.solver import Answer, Model
from engine.language.finding_codes import finding
from engine.prove.example import Confirms, Example, confirmed, example, redecided, usual_account
from engine.prove.proof import Trace
from engine.prove.region import Region, literals_of
from engine.prove.variant import Variant

MOST_TOLD: Final = 8
"""Of some kinds so many are told: nobody reads a hundred, and mending a few changes the rest."""

_MOST_OF_LARGE: Final = 5
"""Of a large policy fewer are told, of all variants together: each takes long to find."""


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


def shown_near(
    variant: Variant, model: Model, formulas: Sequence[Formula], confirms: Confirms, winner: int = -1
) -> Example | None:
    """Return an example close to a situation that the solver found, in which the formulas are true.

    The solver knows of numbers only what is exact, so that its facts contradict each other a little: they are
    moved until they do not, with the comparisons that matter as they were.  ``winner`` is the rule that is to
    win, if one is.
    """
    literals = {
        formula.identity: literal
        for formula, literal in literals_of(variant, range(len(variant.lowered.atoms))).items()
    }
    grounds = variant.grounds.of(every(formulas), model, literals.keys())
    pinned = dict(literals[one.identity] for one in grounds if one.identity in literals)
    values = fact_values(variant.form.lowered, variant.snapshot, model)
    near = variant.search.near(values, pinned, winner, confirms)
    return None if near is None else confirmed(variant, near, confirms)


def ask_plainly(variant: Variant, formulas: Sequence[Formula]) -> Answer:
    """Ask a question; of a large policy, whether it can be so where little is out of the way.

    There equity is as usual, and entries that could be made are not tried: what would follow them is open to
    the solver, and no facts file need show it.
    """
    if variant.is_large:
        untried = [negation(bit) for bit in variant.terms.would_exit.values()]
        answer = variant.ask(*formulas, *usual_account(variant), *untried, briefly=True)
        if answer is not Answer.UNDECIDED:
            return answer
    return variant.ask(*formulas)


def enough(variant: Variant, *codes: str) -> bool:
    """Say whether of a large policy so many findings of some kinds were told that no more are looked for."""
    return variant.is_large and sum(code in codes for code, _ in variant.told) >= _MOST_OF_LARGE


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
