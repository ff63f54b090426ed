"""What validate-policy tells people: problems, where they are and an example, promises, a line per policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from adapters.cli.validation import STANDARD_INPUT, Outcome, Unread, Validated
from engine.errors import Problem, Severity, render
from engine.language.expression import duration_text
from engine.lowered import LoweredPolicy

if TYPE_CHECKING:
    from engine.prove.example import Example
    from engine.prove.finding import Finding

_LABEL_WIDTH: Final = 13
_NAMED_SYMBOLS: Final = 3
"""So many symbols are named; of more, the number is told."""
_NEVER_HIDDEN: Final = "budget"
"""What was left open is no piece of information that may be passed over."""


def listing(outcomes: Sequence[Outcome], *, width: int, everything: bool = False) -> Iterator[str]:
    """Lay the outcomes out for people, in lines of about ``width`` columns.

    Of what the prover found, information is counted only, unless ``everything`` is wanted.
    """
    for outcome in outcomes:
        if isinstance(outcome, Unread):
            yield f"tradectl: {outcome.error}"
        else:
            yield from _file(outcome, width, everything)


def _file(validated: Validated, width: int, everything: bool) -> Iterator[str]:
    hidden: list[Problem] = []
    examples = False
    for problem, finding in validated.rows():
        if finding is not None and not everything and _may_be_hidden(problem):
            hidden.append(problem)
            continue
        yield render(problem, validated.checked.source)
        if finding is not None:
            yield from finding_lines(finding, validated.checked.lowered, width)
            examples = examples or finding.example is not None
    if hidden:
        yield _counted(hidden)
    if examples:
        name = "POLICY" if validated.name == STANDARD_INPUT else validated.name
        yield f"see one: tradectl explain SYMBOL --facts FILE --policy {name}; keep all: --save-cases FILE"
    yield from promise_lines(validated, everything=everything)
    yield summary(validated)


# --- findings of the prover -------------------------------------------------------------------


def _may_be_hidden(problem: Problem) -> bool:
    return problem.severity is Severity.INFORMATION and problem.code != _NEVER_HIDDEN


def _counted(hidden: Sequence[Problem]) -> str:
    """Say how much is not shown, by code."""
    codes = Counter(problem.code for problem in hidden)
    each = ", ".join(code if count == 1 else f"{code} ({count})" for code, count in codes.items())
    pieces = "piece" if len(hidden) == 1 else "pieces"
    return f"{len(hidden)} more {pieces} of information: {each}; --all shows {_them(hidden)}"


def _them(hidden: Sequence[Problem]) -> str:
    return "it" if len(hidden) == 1 else "them"


def finding_lines(finding: Finding, lowered: Mapping[str, LoweredPolicy], width: int) -> Iterator[str]:
    """Lay out where a finding is, what is taken for granted, and the example or the cycles that show it."""
    if finding.region is not None:
        first, *others = finding.region.conditions or ("always",)
        yield from _flowed("where", [first, *(f"and {one}" for one in others)], width)
    if finding.given:
        yield from _flowed("given", finding.given.split(" "), width)
    if finding.example is not None:
        yield from _flowed("example", _situation(finding.example, lowered), width)
    if finding.trace is not None:
        for number, words in enumerate(finding.trace.words):
            yield from _flowed("" if number else "example", words.split(" "), width)
        yield from _flowed("breaks", finding.trace.breach.split(" "), width)


def _situation(example: Example, lowered: Mapping[str, LoweredPolicy]) -> Iterator[str]:
    """Yield the parts of an example, none of which should be torn apart: symbol, facts, decision."""
    yield f"{example.symbol}:"
    last = len(example.facts) - 1
    for index, (name, value) in enumerate(example.facts):
        yield f"{name} {value}" + ("," if index < last else "")
    decision = example.outcome.decision
    rule = f" ({lowered[example.symbol].rules[decision.rule].name})" if decision.rule >= 0 else ""
    yield f"-> {decision.action.name}{rule}"


def _flowed(label: str, parts: Iterable[str], width: int) -> Iterator[str]:
    """Lay parts out behind a label, as many to a line as it has room for."""
    margin = " " * _LABEL_WIDTH
    line = f"    {label}".ljust(_LABEL_WIDTH)
    empty = True
    for part in parts:
        if not empty and len(line) + 1 + len(part) > width:
            yield line
            line, empty = margin, True
        line += part if empty else f" {part}"
        empty = False
    yield line


# --- a policy ---------------------------------------------------------------------------------


def promise_lines(validated: Validated, *, everything: bool) -> Iterator[str]:
    """Say of each promise whether it holds, and how that is known; of all, also what was modelled."""
    proofs = validated.proofs
    if validated.proved is not None and validated.proved.unknown_buys_nothing is not None:
        holds = "proved" if validated.proved.unknown_buys_nothing else "refuted"
        yield f"theorem: a missing fact makes no buy, and none larger: {holds}"
    wide = max((len(proof.promise) for proof in proofs), default=0)
    traded = len(validated.checked.lowered)
    for proof in proofs:
        whom = "" if len(proof.symbols) == traded else f" (for {_symbols(proof.symbols)})"
        stage = f"; modelled: {proof.stage}" if everything else ""
        because = ":" if proof.verdict == "undecided" else ""
        yield f"promise {proof.promise:<{wide}}   {proof.verdict}{because} {proof.how}{whom}{stage}"


def summary(validated: Validated) -> str:
    """Return what a policy is, how much is wrong with it, and what it needs, on one line."""
    checked = validated.checked
    policy = checked.policy
    if policy is None:
        return f"{checked.source.name}: {_number(checked.count(Severity.ERROR), 'error')}"
    parts = [_number(len(policy.rules), "rule"), _number(checked.variants, "variant"), *_outlook(validated)]
    parts.append(f"bars {'; '.join(_needs(checked.needs))}")
    return f"{checked.source.name}: {policy.name} {policy.version} ({policy.digest[:6]})   {', '.join(parts)}"


def _outlook(validated: Validated) -> Iterator[str]:
    warnings = validated.count(Severity.WARNING)
    if validated.proved is None:
        yield "not proved"
        if warnings:
            yield _number(warnings, "warning")
        return
    promised = {proof.promise for proof in validated.proofs}
    if promised:
        yield f"{validated.kept_promises} of {_number(len(promised), 'promise')} proved"
    yield _number(warnings, "warning") if warnings else "no warning"
    left_open = len(validated.proved.left_open)
    if left_open:
        yield f"{_number(left_open, 'check')} left open"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _needs(needs: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield the bars that a policy needs, symbols with the same needs together."""
    together: dict[tuple[int, ...], list[str]] = {}
    for symbol, intervals in needs.items():
        together.setdefault(intervals, []).append(symbol)
    for intervals, symbols in together.items():
        spans = ", ".join(duration_text(seconds) for seconds in intervals)
        yield f"{spans} of {_symbols(symbols)}"


def _symbols(symbols: Sequence[str]) -> str:
    return ", ".join(symbols) if len(symbols) <= _NAMED_SYMBOLS else f"{len(symbols)} symbols"
