"""Examples as cases: the text of a case file that ``test-policy`` runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from engine.codes import Disposition
from engine.lowered import LoweredPolicy
from engine.prove.example import Example
from engine.verbs.replay import cause_text

LONGEST_NAME: Final = 80
_ELSEWHERE: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class WrittenCase:
    """A case to be written: what became of ``rules`` is expected beside the decision itself."""

    name: str
    because: str
    lowered: LoweredPolicy
    example: Example
    rules: tuple[int, ...] = ()


def case_file_text(policy: str, cases: Iterable[WrittenCase], heading: str) -> str:
    """Return a whole case file; cases of one name are told apart by a number."""
    rows = [*(f"# {line}".rstrip() for line in heading.splitlines()), "apiVersion: tradectl/cases-v1"]
    rows += [f"policy: {policy}", "", "cases:"]
    taken: dict[str, int] = {}
    for case in cases:
        count = taken[case.name] = taken.get(case.name, 0) + 1
        rows += _case(case.name if count == 1 else f"{case.name}-{count}", case)
    return "\n".join(rows) + "\n"


def case_name(*parts: str) -> str:
    """Return a name that a case may have, made of words."""
    words = [_ELSEWHERE.sub("-", part.lower()).strip("-") for part in parts]
    return "-".join(word for word in words if word)[: LONGEST_NAME - 4].strip("-")


def _case(name: str, case: WrittenCase) -> Iterator[str]:
    yield f"  {name}:"
    yield f"    because: {json.dumps(case.because, ensure_ascii=False)}"
    yield f"    symbol: {case.example.symbol}"
    if case.example.facts:
        yield "    facts:"
        yield from (f"      {fact}: {value}" for fact, value in case.example.facts)
    yield f"    expect: {{{', '.join(_expected(case))}}}"


def _expected(case: WrittenCase) -> Iterator[str]:
    decision, rules = case.example.outcome.decision, case.lowered.rules
    yield f"action: {decision.action.name.lower()}"
    yield f"rule: {rules[decision.rule].name if decision.rule >= 0 else 'none'}"
    settled = []
    for index in case.rules:
        disposition = Disposition(decision.dispositions[index])
        word = disposition.word
        if disposition in (Disposition.VETOED, Disposition.LIMITED):
            word = f"[{word}, {cause_text(case.lowered, disposition, decision.causes[index])}]"
        settled.append(f"{rules[index].name}: {word}")
    if settled:
        yield f"dispositions: {{{', '.join(settled)}}}"
