"""Wherever the time is up, what was found till then is told, and the rest is said to be open."""

from __future__ import annotations

from functools import cache

import pytest

import policies
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import Loaded, load_policy
from engine.prove.compared import compare
from engine.prove.policy_map import map_policy
from engine.prove.proving import prove
from tests.engine.evaluate.comparing import LONG

PLACES = 400 if LONG else 6


class Times:
    """Is up when it was asked so many times."""

    def __init__(self, most: float) -> None:
        """Begin before the first time."""
        self.asked = 0
        self._most = most

    def budget(self) -> Budget:
        """Return a budget that ends then."""
        return Budget(over=self._over)

    def _over(self) -> bool:
        self.asked += 1
        return self.asked > self._most


@cache
def shipped(name: str) -> Loaded:
    """Load a shipped policy, once."""
    return load_policy(policies.read(name), f"{name}.yaml")


@pytest.mark.parametrize("name", policies.shipped())
def test_a_proof_ends_anywhere(name: str) -> None:
    """What is found is found with all the time there is, too, and what was not asked is left open."""
    loaded = shipped(name)
    whole = Times(float("inf"))
    everything = prove(loaded.required(), loaded.lowered, whole.budget())
    assert everything.left_open == ()
    told = {(one.problem.code, one.problem.span) for one in everything.findings}
    assert everything.unknown_buys_nothing
    for place in range(PLACES):
        said = prove(loaded.required(), loaded.lowered, Times(whole.asked * place // PLACES).budget())
        found = {(one.problem.code, one.problem.span) for one in said.findings}
        assert {code for code, _ in found - told} <= {"budget", "promise-undecided"}
        assert said.left_open or found == told  # the very last question may have been answered
        open_theorem = any("unknown facts" in text for text in said.left_open)
        assert said.unknown_buys_nothing is (None if open_theorem else True)
        promised = [{proof.promise for proof in one.promises} for one in (said, everything)]
        assert promised[0] == promised[1]


@pytest.mark.parametrize("name", policies.shipped())
def test_a_map_and_a_comparison_end_anywhere(name: str) -> None:
    """Those say themselves what is open; each place is taken in its turn, the later ones take longer."""
    loaded, other = shipped(name), shipped("default")
    for place in range(PLACES):
        up = Times(3 * place**2)
        map_policy(loaded.required(), loaded.lowered, up.budget())
        compare(other.required(), loaded.required(), other.lowered, loaded.lowered, up.budget())
