"""Examples of findings, kept as cases: named after what they show, and each one passes."""

from __future__ import annotations

from engine.language.load import load_policy
from engine.prove.kept import Kept, kept_cases
from engine.prove.proving import prove
from engine.verbs.case_file import load_cases
from engine.verbs.cases import CaseRunner
from tests.test_findings_docs import PAGES


def kept(code: str) -> tuple[Kept, tuple[str, ...]]:
    """Keep the examples of a page's first policy; return the cases, and the names of those that pass."""
    loaded = load_policy(PAGES[code].bad, f"{code}.yaml")
    policy = loaded.required()
    found = prove(policy, loaded.lowered)
    made = kept_cases(policy, loaded.lowered, found.findings, "Two lines\nof heading.")
    results = CaseRunner(policy, load_cases(made.text, "cases")).run_all() if made.text else ()
    return made, tuple(result.case.name for result in results if result.passed)


def test_cases_are_named_after_what_they_show() -> None:
    """The code and the rule or gate it is about; what became of the other rules is expected, too."""
    made, passed = kept("gate-vetoes-exit")
    assert passed == ("gap", "gate-vetoes-exit-trim-gate")
    assert (made.cases, made.broken) == (2, 0)
    assert made.text.startswith("# Two lines\n# of heading.\napiVersion: tradectl/cases-v1\n")
    assert "expect: {action: hold, rule: none, dispositions: {overbought: [vetoed, trim-gate]}}" in made.text


def test_an_example_that_breaks_a_promise_is_left_out() -> None:
    """Cases hold promises, so that this one could never pass."""
    made, passed = kept("promise-refuted")
    assert (passed, made.cases, made.broken) == (("gap",), 1, 1)


def test_nothing_found_is_nothing_kept() -> None:
    """There is no case file without a case."""
    loaded = load_policy(PAGES["gap"].bad, "gap.yaml")
    assert kept_cases(loaded.required(), loaded.lowered, (), "") == Kept("", 0, 0)
