"""``tradectl validate-policy``: every mistake and finding of policies, each in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

import policies
from adapters.calendar import calendar_problem
from adapters.cli.output import ExitCode, Output, common_options
from engine.errors import NotFoundError, Problem, Severity, Source, TradectlError, UnavailableError, render
from engine.language.checker import suggestion
from engine.language.expression import duration_text
from engine.language.finding_codes import FINDING_CODES, FindingCode
from engine.language.source import MAX_BYTES
from engine.verbs.check import Checked, check

SCHEMA: Final = "validate-policy-v1"
CODE_SCHEMA: Final = "finding-code-v1"
STANDARD_INPUT: Final = "-"
_NAMED_SYMBOLS: Final = 3
"""So many symbols are named; of more, the number is told."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read."""

    name: str
    error: TradectlError


Outcome = Checked | Unread


@click.command
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--strict", is_flag=True, help="End with 1 also where there are warnings.")
@click.option("--explain", "code", metavar="CODE", help="Say what a finding means, and read no FILE.")
@common_options
def command(output: Output, files: tuple[str, ...], strict: bool, code: str | None) -> ExitCode:
    """Check each FILE: a path, the name of a shipped policy, or - for standard input.

    Without a FILE, all shipped policies. Structure, types, units and meaning are checked, as far as no
    prover is needed; all files are read, and all mistakes of each are told. Ends with 1 if there is an
    error, with 3 if a file does not exist.
    """
    if code is not None:
        if files:
            raise click.UsageError("--explain takes no FILE")
        explain(output, code)
        return ExitCode.OK
    outcomes = [_checked(name) for name in files or policies.shipped()]
    if output.as_json:
        output.document(document(outcomes, strict=strict))
    else:
        output.show("\n".join(listing(outcomes)))
    return _exit_code(outcomes, strict=strict)


def _checked(name: str) -> Outcome:
    try:
        text, shown = _read(name)
    except TradectlError as error:
        return Unread(name, error)
    return check(text, shown, calendar_problem)


def _read(name: str) -> tuple[bytes | str, str]:
    """Return the text of a policy, no more of it than is ever read, and its name for messages."""
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>"
    path = Path(name)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1), name
        if path.exists():
            raise UnavailableError(f"{name}: is no file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnavailableError(f"{name}: cannot be read ({reason})") from error
    shipped = policies.shipped()
    if name in shipped:
        return policies.read(name), f"{name}.yaml"
    hint = suggestion(name, shipped) or f"shipped policies: {', '.join(shipped)}"
    raise NotFoundError(f"there is no policy file '{name}'; {hint}")


def _exit_code(outcomes: Sequence[Outcome], *, strict: bool) -> ExitCode:
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Unread)]
    if any(isinstance(error, NotFoundError) for error in errors):
        return ExitCode.NOT_FOUND
    if errors:
        return ExitCode.UNAVAILABLE
    passed = all(_passes(outcome, strict=strict) for outcome in outcomes)
    return ExitCode.OK if passed else ExitCode.FINDING


def _passes(outcome: Outcome, *, strict: bool) -> bool:
    if isinstance(outcome, Unread) or outcome.policy is None:
        return False
    return not (strict and outcome.count(Severity.WARNING))


# --- a code -----------------------------------------------------------------------------------


def explain(output: Output, code: str) -> None:
    """Print what the registry says of a code; its page in the documentation has examples."""
    found = FINDING_CODES.get(code)
    if found is None:
        hint = suggestion(code, FINDING_CODES) or f"there are: {', '.join(sorted(FINDING_CODES))}"
        raise NotFoundError(f"no finding has the code '{code}'; {hint}")
    if output.as_json:
        output.document(code_document(found))
    else:
        output.show("\n".join(code_listing(found)))


def code_listing(found: FindingCode) -> Iterator[str]:
    """Lay a row of the registry out for people."""
    yield f"{found.code}   {found.severity}, found by the {_finder(found)}"
    yield f"means    {found.meaning}"
    yield f"why      {found.why}"
    yield f"instead  {found.instead}"
    yield f"page     {found.page}"


def code_document(found: FindingCode) -> dict[str, Any]:
    """Return what ``--explain CODE --json`` prints."""
    return {
        "schema": CODE_SCHEMA,
        "code": found.code,
        "severity": found.severity.value,
        "found_by": _finder(found),
        "meaning": found.meaning,
        "why": found.why,
        "instead": found.instead,
        "page": found.page,
    }


def _finder(found: FindingCode) -> str:
    return "prover" if found.prover else "loader"


# --- text -------------------------------------------------------------------------------------


def listing(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Lay the outcomes out for people: each problem with its line, and a line for each policy."""
    for outcome in outcomes:
        if isinstance(outcome, Unread):
            yield f"tradectl: {outcome.error}"
            continue
        for problem in outcome.problems:
            yield render(problem, outcome.source)
        yield _summary(outcome)


def _summary(checked: Checked) -> str:
    policy = checked.policy
    if policy is None:
        return f"{checked.source.name}: {_number(checked.count(Severity.ERROR), 'error')}"
    warnings = checked.count(Severity.WARNING)
    parts = [
        _number(len(policy.rules), "rule"),
        _number(checked.variants, "variant"),
        *([_number(warnings, "warning")] if warnings else []),
        f"bars {'; '.join(_needs(checked))}",
    ]
    return f"{checked.source.name}: {policy.name} {policy.version} ({policy.digest[:6]})   {', '.join(parts)}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _needs(checked: Checked) -> Iterator[str]:
    """Yield the bars that a policy needs, symbols with the same needs together."""
    together: dict[tuple[int, ...], list[str]] = {}
    for symbol, intervals in checked.needs.items():
        together.setdefault(intervals, []).append(symbol)
    for intervals, symbols in together.items():
        spans = ", ".join(duration_text(seconds) for seconds in intervals)
        whose = ", ".join(symbols) if len(symbols) <= _NAMED_SYMBOLS else f"{len(symbols)} symbols"
        yield f"{spans} of {whose}"


# --- json -------------------------------------------------------------------------------------


def document(outcomes: Sequence[Outcome], *, strict: bool) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "schema": SCHEMA,
        "passed": all(_passes(outcome, strict=strict) for outcome in outcomes),
        "files": [_file(outcome) for outcome in outcomes],
    }


def _file(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Unread):
        return {"file": outcome.name, "unread": str(outcome.error), "policy": None, "problems": []}
    policy = outcome.policy
    return {
        "file": outcome.source.name,
        "unread": None,
        "policy": None
        if policy is None
        else {
            "name": policy.name,
            "version": policy.version,
            "digest": policy.digest,
            "rules": len(policy.rules),
            "variants": outcome.variants,
            "bars": [
                {"symbol": symbol, "intervals_seconds": list(intervals)}
                for symbol, intervals in outcome.needs.items()
            ],
        },
        "problems": [_problem(problem, outcome.source) for problem in outcome.problems],
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
