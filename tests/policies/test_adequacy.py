"""The cases of the shipped policies: they leave nothing unseen, and they notice small changes."""

from __future__ import annotations

import pytest

import policies
from engine.prove.coverage import Kind, measure_coverage
from engine.prove.mutation import Fate, run_mutants
from tests.policies import shipped_cases as shipped

UNSEEN = {
    "default": {("rule trim-overweight", "held", "false")},
    "conservative": {("rule second-half", "held", "false")},
    "legacy-2025-11-18": {("limit order", "", "bound")},
}
"""What no case can honestly state: dust that is more than the target, an entry without a position; and an
order of 15.7 % of the equity, where no weight is more than 5 %."""

EQUIVALENT = {
    # Every sell is read as 'held and (...)'.
    "default": {
        *(
            f"rule/{name}/dropped/1"
            for name in (
                "stop-loss",
                "trailing-stop",
                "overbought-exit",
                "profit-target",
                "adopted-sell",
                "trim-overweight",
            )
        ),
        "rule/adopted-sell/priority/1",  # of two exits the fuller one wins, whichever comes first
        "rule/trim-overweight/priority/1",  # an exit outranks every entry
    },
    "conservative": {
        *(
            f"rule/{name}/dropped/1"
            for name in ("hard-stop", "atr-stop", "regime-exit", "roi-exit", "half-off")
        ),
        "rule/roi-exit/threshold/2",  # nothing is held for less than 0 s
        "rule/second-half/dropped/1",  # one entry is a position
        "rule/second-half/comparator/2",  # a position has one entry at least
        "rule/roi-exit/priority/1",  # as above: the fuller exit
        "rule/half-off/priority/1",  # a hold holds back no exit
        "rule/second-half/priority/1",  # held, not held: never both
    },
    "legacy-2025-11-18": {
        "rule/overbought-exit/dropped/1",
        "rule/enhanced-sell/dropped/3",
        "rule/standard-exit/dropped/1",
        # No weight is below the least size, and none is near 15.7 %.
        *(f"parameter/min_size/threshold/{number}" for number in (1, 2, 3, 5)),
        *(f"limit/order/threshold/{number}" for number in (1, 2, 3)),
        "limit/order/removed/1",
        # Neighbours of which one is for what is held and one for what is not, or for other sides of a signal.
        *(
            f"rule/{name}/priority/1"
            for name in (
                "overbought-exit",
                "crypto-dip-entry",
                "enhanced-sell",
                "enhanced-buy",
                "standard-exit",
            )
        ),
    },
}
"""Mutants that decide as the policy does, wherever the facts can be as they are."""


@pytest.mark.parametrize("name", policies.shipped())
def test_cases_cover_the_policy(name: str) -> None:
    """Each rule decides, each condition and each comparison in it is true and false, and decides alone."""
    coverage = measure_coverage(shipped.policy(name), shipped.case_file(name))
    assert {(p.part, p.condition, p.outcome) for p in coverage.unseen} == UNSEEN[name]
    assert coverage.percent(Kind.RULE) == coverage.percent(Kind.DECISION) == 100.0
    assert coverage.percent(Kind.CONDITION) == coverage.percent(Kind.GATE) == 100.0


@pytest.mark.parametrize("name", policies.shipped())
def test_cases_notice_small_changes(name: str) -> None:
    """What no case kills changes no decision."""
    result = run_mutants(shipped.policy(name), shipped.case_file(name))
    survivors = {one.mutant.id: one.mutant.what for one in result.survivors}
    missing = {id_: what for id_, what in survivors.items() if id_ not in EQUIVALENT[name]}
    assert not missing, "\n".join(f"{id_}: {what}" for id_, what in missing.items())
    assert set(survivors) == EQUIVALENT[name]  # none of them is killed: it would not be equivalent
    assert result.count(Fate.STILLBORN) == 0
    assert result.count(Fate.KILLED) > 200
    assert result.score > 92.0  # before the equivalent ones are proved to be, which takes them out
