"""The evaluators agree on random policies, facts and masks: every answer, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.durable import DurableEvaluator, durable_available
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import Evaluator
from engine.lowered import LoweredPolicy
from tests.engine.evaluate.comparing import LONG, Census, answers
from tests.evidence import Evidence
from tests.strategies import lowered_policies, random_case, seeds

POLICIES = 40_000 if LONG else 300
FACTS = 50

durable_only = pytest.mark.skipif(
    not durable_available(), reason="durable-rules cannot be imported on this Python"
)


@pytest.mark.parametrize(
    "make",
    [CompiledEvaluator, pytest.param(DurableEvaluator, marks=durable_only)],
    ids=["compiled", "durable"],
)
def test_it_agrees_with_the_reference(make: Callable[[LoweredPolicy], Any], evidence: Evidence) -> None:
    """Winner, truths, dispositions, causes, standing exit, sizes, bounds, prices and signals are equal."""
    census = Census()

    @settings(max_examples=POLICIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lowered_policies(), seeds)
    def agree(policy: LoweredPolicy, seed: int) -> None:
        rng = random.Random(seed)
        reference = ReferenceEvaluator(policy)
        made = make(policy)
        with closing(made) if hasattr(made, "close") else nullcontext(made) as other:
            evaluator: Evaluator = other
            census.add_policy(policy)
            for number in range(FACTS):
                case = random_case(policy, rng)
                expected = answers(reference, case)
                found = answers(evaluator, case)
                if found != expected:
                    note(f"case {number}: {case}")
                assert found == expected
                census.add(reference, case, expected.verdict)

    agree()
    evidence(str(census))
    assert census.policies >= POLICIES
    assert census.evaluations >= POLICIES * FACTS
    assert census.fired >= 0.3 * census.evaluations
    assert census.on_boundary >= 0.2 * census.evaluations
    assert census.unknown >= 0.3 * census.evaluations
    assert census.missing() == []
