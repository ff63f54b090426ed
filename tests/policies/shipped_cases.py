"""The shipped policies and their cases, loaded once; and the ranges that cases declare."""

from __future__ import annotations

import functools

from hypothesis import strategies as st

import policies
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.units import Measure
from engine.verbs.case_file import Case, CaseFile, load_cases
from engine.verbs.cases import CaseRunner
from engine.verbs.stated_value import Assumption


@functools.cache
def policy(name: str) -> Policy:
    """Return a shipped policy."""
    return load_policy(policies.read(name), f"{name}.yaml").required()


@functools.cache
def case_file(name: str) -> CaseFile:
    """Return the cases of a shipped policy."""
    return load_cases(policies.read_cases(name), f"cases/{name}.yaml")


@functools.cache
def runner(name: str) -> CaseRunner:
    """Return a runner of a shipped policy's cases, with the reference evaluator."""
    return CaseRunner(policy(name), case_file(name))


def ranged(name: str) -> list[Case]:
    """Return the cases of which an assumption, or one of their backgrounds, declares a range."""
    file = case_file(name)
    common = [given for background in file.backgrounds.values() for given in background.given]
    return [
        case
        for case in file.cases
        if any(given.bounds for step in case.steps for given in (*step.statement.given, *common))
    ]


def ranges(name: str, case: Case) -> list[Assumption]:
    """Return the assumptions of a case over whose range the outcome must be the same."""
    return [assumption for assumption in runner(name).run(case).assumptions if assumption.bounds]


def within(assumption: Assumption) -> st.SearchStrategy[float]:
    """Draw a value of an assumption's range, on its grid; the ends more often than chance would."""
    if not isinstance(assumption.unit, Measure) or assumption.unit is Measure.BOOLEAN:
        return st.sampled_from(assumption.bounds)
    k = assumption.steps_per_unit
    low, high = (round(bound * k) for bound in assumption.bounds)
    steps = st.one_of(st.sampled_from([low, high]), st.integers(low, high))
    return steps.map(lambda step: step / k)
