"""Cases that the prover writes: they run, they reach every rule, they can be read."""

from __future__ import annotations

import os

import pytest

import policies
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.prove.case_text import LONGEST_NAME, case_file_text, case_name
from engine.prove.coverage import Kind, measure_coverage
from engine.prove.generation import generated
from engine.verbs.case_file import load_cases
from engine.verbs.cases import CaseRunner

LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
BREAKOUT = """\
apiVersion: tradectl/v1
policy: breakout
version: 1.0.0
selection: exits_first
bars: 15m
universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%}}}
indicators:
  rsi: rsi(14)
  high_20: highest(high, 20)
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  weak: {priority: 500, when: held and rsi < 40 and session != pre, then: sell all}
  add: {priority: 200, when: 110% of prev(high_20) < close and rsi >= 60, then: buy to target}
gates:
  cooldown: {vetoes: [buy, sell], when: since_order < 5m}
"""


@pytest.mark.parametrize("name", policies.shipped() if LONG else ["default"])
def test_cases_of_shipped_policies_pass_and_reach_every_rule(name: str) -> None:
    """What is written is what the policy does, rule by rule and gate by gate."""
    loaded = load_policy(policies.read(name), name)
    policy = loaded.required()
    cases = generated(policy, loaded.lowered, Budget())
    file = load_cases(case_file_text(policy.name, cases, "generated"), "generated.yaml")
    assert all(result.passed for result in CaseRunner(policy, file).run_all())
    coverage = measure_coverage(policy, file)
    assert coverage.percent(Kind.RULE) == 100.0
    assert coverage.percent(Kind.GATE) == 100.0


def test_boundaries_gates_and_conflicts_are_named() -> None:
    """Each side of a threshold, a comparison of two facts that fails alone, a veto, a conflict."""
    loaded = load_policy(BREAKOUT, "breakout")
    cases = generated(loaded.required(), loaded.lowered, Budget())
    names = {case.name for case in cases}
    assert {
        "stop-decides",
        "stop-just-gain-8",
        "stop-just-not-gain-8",
        "weak-not-session-pre",
        "cooldown-vetoes-add",
        "cooldown-vetoes-weak",
    } <= names
    assert any(name.startswith("add-not-110-of-prev") for name in names)


def test_names_are_names() -> None:
    """Whatever a condition says, its case has a name that may be one."""
    assert case_name("Stop", "just", "gain <= -8%") == "stop-just-gain-8"
    assert len(case_name("x" * 90)) <= LONGEST_NAME
