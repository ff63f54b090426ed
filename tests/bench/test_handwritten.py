"""The hand-written peer of the benchmark decides what the policy means: else its speed says nothing."""

from __future__ import annotations

import math
import random
from collections import Counter

from engine.codes import Disposition, Truth
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.lowered import LoweredPolicy
from tests.bench.peers.handwritten import decide
from tests.bench.policies import FACTS, market_facts, twelve_rules
from tests.evidence import Evidence
from tests.strategies import Case, move_to_boundary, random_case

CASES = 10_000


def _case(policy: LoweredPolicy, rng: random.Random) -> Case:
    if rng.randrange(3) == 0:
        return random_case(policy, rng)
    values = market_facts(rng)
    for _ in range(rng.choice((0, 1, 3))):
        move_to_boundary(policy, values, rng)
    for _ in range(rng.choice((0, 0, 1, 2))):
        values[rng.randrange(len(FACTS))] = math.nan
    bits = len(policy.rules)
    masks = (rng.getrandbits(bits) if rng.randrange(5) == 0 else 0 for _ in range(2))
    return Case(values, 0, *masks)


def test_it_equals_the_reference(evidence: Evidence) -> None:
    """The same verdict and signal, on 10,000 cases with boundaries, Unknown facts and tried entries."""
    policy = twelve_rules()
    assert (len(policy.rules), len(FACTS)) == (12, 40)
    reference, compiled = ReferenceEvaluator(policy), CompiledEvaluator(policy)
    rng = random.Random(12)
    seen: Counter[str] = Counter()
    for _ in range(CASES):
        case = _case(policy, rng)
        expected_values, values, compiled_values = (list(case.values) for _ in range(3))
        expected = reference.verdict(expected_values, *case[1:])
        assert decide(values, *case[1:]) == expected, case
        assert compiled.verdict(compiled_values, *case[1:]) == expected
        assert list(map(float.hex, values)) == list(map(float.hex, expected_values))
        seen.update(f"{Truth(truth).name} rule" for truth in set(expected.truths))
        seen.update(Disposition(code).word for code in set(expected.dispositions))
        seen.update(f"{rule} won" for rule in (expected.winner,))
    evidence(", ".join(f"{name} {count:,}" for name, count in sorted(seen.items())))
    for word in ("acted", "concurred", "outranked", "vetoed", "unknown", "UNKNOWN rule"):
        assert seen[word] >= 20
    assert all(seen[f"{rule} won"] for rule in range(-1, 12))
