"""``tradectl test-policy``: does a policy decide what its cases say, and do they say enough?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

import policies
from adapters.bootstrap.policies import load_named_policy
from adapters.cli import adequacy
from adapters.cli.output import ExitCode, Output, common_options
from adapters.cli.progress import ProgressBar
from engine.codes import Disposition
from engine.errors import NotFoundError, UnavailableError
from engine.language.policy import Policy
from engine.language.source import MAX_BYTES
from engine.prove.coverage import Coverage, measure_coverage
from engine.prove.mutation import MutationResult, run_mutants
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
    coverage: Coverage | None = None
    mutation: MutationResult | None = None
    judged: bool = False  # coverage or mutants were asked for

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
@click.option("--coverage", is_flag=True, help="What the cases show of the policy, and what they do not.")
@click.option("--mutate", is_flag=True, help="Change the policy a little, many times: what notices no case?")
@click.option(
    "--generate",
    "generated_file",
    metavar="FILE",
    help="Run nothing: write a case for each rule, boundary, gate and conflict to a new FILE; - prints them.",
)
@click.option("--force", is_flag=True, help="Let --generate replace a file.")
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="End with 1 below it: the coverage of rules, decisions and conditions, the score of mutants.",
)
@common_options
def command(
    output: Output,
    names: tuple[str, ...],
    cases_file: str | None,
    pattern: str,
    decisions: bool,
    coverage: bool,
    mutate: bool,
    generated_file: str | None,
    force: bool,
    fail_under: float | None,
) -> ExitCode:
    """Run the cases of each POLICY (a file, or the name of a shipped one; all shipped ones by default).

    Ends with 1 if a case is not as expected: what was expected, what came, and the conditions that decided.
    """
    chosen = names or policies.shipped()
    if cases_file is not None and len(chosen) != 1:
        raise click.UsageError("--cases goes with one POLICY")
    if generated_file is not None:
        if len(names) != 1:
            raise click.UsageError("--generate goes with one POLICY")
        from adapters.cli.generate import generate

        return generate(output, names[0], generated_file, force=force)
    if fail_under is not None and not (coverage or mutate):
        raise click.UsageError("--fail-under goes with --coverage or --mutate")
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
    tested = [_judged(one, coverage=coverage, mutate=mutate) for one in tested]
    if output.as_json:
        output.document(document(tested))
    else:
        output.show("\n".join(listing(tested, decisions=decisions, mutate=mutate)))
    weak = fail_under is not None and any(_weakest(one) < fail_under for one in tested)
    return ExitCode.FINDING if weak or any(one.failed for one in tested) else ExitCode.OK


def _judged(tested: Tested, *, coverage: bool, mutate: bool) -> Tested:
    """Add what was asked about the cases themselves; mutants only where every case passes."""
    policy, file = tested.policy, tested.file
    tested = replace(tested, judged=coverage or mutate)
    if coverage:
        tested = replace(tested, coverage=measure_coverage(policy, file))
    if mutate and not tested.failed:
        from engine.evaluate.symbolic.solver import Budget
        from engine.prove.difference import equal

        with ProgressBar(f"mutants of {policy.name}") as bar:
            alike = partial(equal, budget=Budget())
            tested = replace(tested, mutation=run_mutants(policy, file, equal=alike, progress=bar))
    return tested


def _weakest(tested: Tested) -> float:
    if tested.coverage is None and tested.mutation is None:
        return 0.0  # mutants were asked for, and a case fails
    return adequacy.weakest(tested.coverage, tested.mutation)


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


def listing(tested: Sequence[Tested], *, decisions: bool = False, mutate: bool = False) -> Iterator[str]:
    """Lay the results out for people: a line per case, more for those that failed.

    Cases that pass are left out where it is the cases that are judged.
    """
    for one in tested:
        policy = one.policy
        yield f"{policy.name} {policy.version} ({policy.digest[:6]})   {one.file.source.name}"
        for result in one.results:
            if result.passed and one.judged and not decisions:
                continue
            if result.passed:
                yield f"  ok    {result.case.name}"
            else:
                yield from _failure(one, result)
            if decisions:
                yield from (f"        {_decision(step)}".rstrip() for step in result.steps)
        if one.coverage is not None:
            yield from adequacy.coverage_lines(policy, one.coverage)
        if one.mutation is not None:
            yield from adequacy.mutation_lines(policy, one.mutation)
        elif mutate and one.failed:
            yield "  mutants     not run: mend the cases first"
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
                **_adequacy(one),
            }
            for one in tested
        ],
    }


def _adequacy(tested: Tested) -> dict[str, Any]:
    """Return what was asked about the cases themselves."""
    found: dict[str, Any] = {}
    if tested.coverage is not None:
        found["coverage"] = adequacy.coverage_document(tested.policy, tested.coverage)
    if tested.mutation is not None:
        found["mutation"] = adequacy.mutation_document(tested.policy, tested.mutation)
    return found


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
