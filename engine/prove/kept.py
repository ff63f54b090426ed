"""Examples of findings, kept as cases: what a policy decides where something is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.codes import Disposition
from engine.errors import Span
from engine.language.policy import Gate, Limit, Policy, Promise, Rule, Signal
from engine.lowered import LoweredPolicy
from engine.prove.case_text import WrittenCase, case_file_text, case_name
from engine.prove.finding import Finding
from engine.verbs.case_file import load_cases
from engine.verbs.cases import CaseRunner

_OF_THE_WHOLE: Final = frozenset({"gap"})
"""What is no rule's or gate's own, although it has to stand somewhere."""
_Part = Rule | Gate | Limit | Signal | Promise


@dataclass(frozen=True, slots=True)
class Kept:
    """A case file with so many ``cases``; ``broken`` were left out, because they break a promise.

    ``text`` is empty where there is no case.
    """

    text: str
    cases: int
    broken: int


def kept_cases(
    policy: Policy, lowered: Mapping[str, LoweredPolicy], findings: Sequence[Finding], heading: str
) -> Kept:
    """Return a case for every example, each of which passes; what is expected is what was decided.

    Promises are held to every case, so that an example that breaks one can be no case that passes.
    """
    written = list(_written(policy, lowered, findings))
    if not written:
        return Kept("", 0, 0)
    whole = case_file_text(policy.name, written, heading)
    passed = [result.passed for result in CaseRunner(policy, load_cases(whole, "cases")).run_all()]
    cases = [case for case, good in zip(written, passed, strict=True) if good]
    text = case_file_text(policy.name, cases, heading) if cases else ""
    return Kept(text, len(cases), len(written) - len(cases))


def _written(
    policy: Policy, lowered: Mapping[str, LoweredPolicy], findings: Sequence[Finding]
) -> Iterator[WrittenCase]:
    for one in findings:
        if one.example is None:
            continue
        decision = one.example.outcome.decision
        told = tuple(
            index
            for index, disposition in enumerate(decision.dispositions)
            if disposition != Disposition.NONE and (index, disposition) != (decision.rule, Disposition.ACTED)
        )
        subject = "" if one.problem.code in _OF_THE_WHOLE else _subject(policy, one.problem.span)
        form = lowered[one.example.symbol]
        yield WrittenCase(case_name(one.problem.code, subject), one.problem.message, form, one.example, told)


def _subject(policy: Policy, span: Span) -> str:
    """Return the name of what stands in a place of the file; "" where it is the whole."""
    parts: tuple[_Part, ...] = (
        *policy.rules,
        *policy.gates,
        *policy.limits,
        *policy.signals,
        *policy.promises,
    )
    return next((part.name for part in parts if part.span == span), "")
