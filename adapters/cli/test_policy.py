"""``tradectl test-policy``: does a policy decide what its cases say?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import click

import policies
from adapters.bootstrap import load_named_policy
from adapters.cli.output import ExitCode, Output, common_options
from engine.codes import Disposition
from engine.errors import NotFoundError, UnavailableError
from engine.language.policy import Policy
from engine.language.source import MAX_BYTES
from engine.verbs.case_file import CaseFile, load_cases
from engine.verbs.cases import CaseResult, CaseRunner, StepResult
from engine.verbs.explain import explain
from engine.verbs.explanation import RuleView
from engine.verbs.replay import cause_text

SCHEMA: Final = "test-policy-v1"


@dataclass(frozen=True, slots=True)
class Tested:
    """A policy and what became of its cases."""

    policy: Policy
    file: CaseFile
    results: tuple[CaseResult, ...]

    @property
    def failed(self) -> int:
        """How many cases were not as expected."""
        return sum(not result.passed for result in self.results)


@click.command
@click.argument("names", metavar="[POLICY]...", nargs=-1)
@click.option(
    "--cases",
    "cases_file",
    metavar="FILE",
    help="Another case file [cases/NAME.yaml beside the policy].",
)
@click.option("--case", "pattern", default="*", metavar="NAME", help="Only these cases, as in 'stop-*'.")
@click.option("--decisions", is_flag=True, help="Show each decision, of a time series one by one.")
@common_options
def command(
    output: Output, names: tuple[str, ...], cases_file: str | None, pattern: str, decisions: bool
) -> ExitCode:
    """Run the cases of each POLICY (a file, or the name of a shipped one; all shipped ones by default).

    Ends with 1 if a case is not as expected: what was expected, what came, and the conditions that decided.
    """
    chosen = names or policies.shipped()
    if cases_file is not None and len(chosen) != 1:
        raise click.UsageError("--cases goes with one POLICY")
    tested = []
    for name in chosen:
        policy = load_named_policy(name).required()
        file = load_cases(*_cases_of(name, cases_file))
        chosen_cases = tuple(case for case in file.cases if fnmatchcase(case.name, pattern))
        file = replace(file, cases=chosen_cases)
        tested.append(Tested(policy, file, CaseRunner(policy, file).run_all()))
    tested = [one for one in tested if one.results]
    if not tested:
        raise NotFoundError(f"no case is called '{pattern}'")
    if output.as_json:
        output.document(document(tested))
    else:
        output.show("\n".join(listing(tested, decisions=decisions)))
    return ExitCode.FINDING if any(one.failed for one in tested) else ExitCode.OK


def _cases_of(name: str, cases_file: str | None) -> tuple[bytes | str, str]:
    """Return the text and the name of a policy's case file; NotFoundError where it has none."""
    policy = Path(name)
    path = Path(cases_file) if cases_file else policy.parent / "cases" / policy.name
    if not cases_file and not policy.is_file():
        try:
            return policies.read_cases(name), f"cases/{name}.yaml"
        except KeyError:
            raise NotFoundError(f"policy '{name}' has no cases") from None
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), str(path)
    except FileNotFoundError:
        raise NotFoundError(f"there is no case file '{path}': write one, or name it with --cases") from None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error


# --- text -------------------------------------------------------------------------------------


def listing(tested: Sequence[Tested], *, decisions: bool = False) -> Iterator[str]:
    """Lay the results out for people: a line per case, more for those that failed."""
    for one in tested:
        policy = one.policy
        yield f"{policy.name} {policy.version} ({policy.digest[:6]})   {one.file.source.name}"
        for result in one.results:
            if result.passed:
                yield f"  ok    {result.case.name}"
            else:
                yield from _failure(one, result)
            if decisions:
                yield from (f"        {_decision(step)}".rstrip() for step in result.steps)
    cases, failed = sum(len(one.results) for one in tested), sum(one.failed for one in tested)
    yield f"{cases} {'case' if cases == 1 else 'cases'}, {failed} failed"


def _decision(step: StepResult) -> str:
    """Return one decision on one line: when, of what, which, and what became of each candidate."""
    decision, lowered = step.decision, step.lowered
    at_ms = step.vector.at_ms
    at = "" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}  "
    settled = []
    for rule, code, cause in zip(lowered.rules, decision.dispositions, decision.causes, strict=True):
        if code != Disposition.NONE:
            by = cause_text(lowered, code, cause)
            settled.append(f"{rule.name} {tuple(Disposition)[code].word}" + (f" ({by})" if by else ""))
    return f"{at}{step.listing.symbol:<9} {decision.action.name:<4}  {', '.join(settled)}"


def _failure(tested: Tested, result: CaseResult) -> Iterator[str]:
    step = result.steps[-1]
    where = f", step {len(result.steps)}" if result.case.account is not None else ""
    yield f"  FAIL  {result.case.name}{where}   {step.listing.symbol}"
    for difference in step.differences:
        line, column = tested.file.source.position(difference.span.start)
        place = f"{tested.file.source.name}:{line}:{column}"
        yield f"        {difference.what}: expected {difference.expected}, got {difference.got}   ({place})"
    rules = _deciding(tested.policy, step)
    width = max((len(rule.name) for rule in rules), default=0)
    for rule in rules:
        yield f"        {rule.name:<{width}}  {rule.text}"


def _deciding(policy: Policy, step: StepResult) -> list[RuleView]:
    """Return the rules that say why: the one that decided, those asked for, those of the action asked for."""
    explanation = explain(policy, step.lowered, step.vector, step.decision)
    expect = step.step.expect
    asked = {rule.text for rule, _, _ in (*expect.dispositions, *expect.short_by)}
    if expect.rule is not None:
        asked.add(expect.rule.text)
    action = expect.action.text if expect.action is not None else ""
    return [
        rule
        for rule in explanation.rules
        if rule.name in asked
        or rule.name == explanation.rule
        or (rule.action == action and explanation.action != action)
    ]


# --- json -------------------------------------------------------------------------------------


def document(tested: Sequence[Tested]) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "schema": SCHEMA,
        "passed": not any(one.failed for one in tested),
        "policies": [
            {
                "policy": one.policy.name,
                "version": one.policy.version,
                "digest": one.policy.digest,
                "cases_file": one.file.source.name,
                "cases": [_case(one, result) for result in one.results],
            }
            for one in tested
        ],
    }


def _case(tested: Tested, result: CaseResult) -> dict[str, Any]:
    source, step = tested.file.source, result.steps[-1]
    differences = []
    for difference in step.differences:
        line, column = source.position(difference.span.start)
        differences.append(
            {
                "what": difference.what,
                "expected": difference.expected,
                "got": difference.got,
                "line": line,
                "column": column,
            }
        )
    return {
        "name": result.case.name,
        "line": source.position(result.case.span.start)[0],
        "passed": result.passed,
        "steps": len(result.case.steps),
        "failed_step": None if result.passed else len(result.steps),
        "differences": differences,
        "rules": []
        if result.passed
        else [
            {"rule": rule.name, "truth": rule.truth, "disposition": rule.disposition, "text": rule.text}
            for rule in _deciding(tested.policy, step)
        ],
    }
