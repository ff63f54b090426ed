"""Mutation testing: what kills, what survives, what counts; and that the short cuts change nothing."""

from __future__ import annotations

import pytest

from engine.errors import PolicyError
from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.prove.mutants import mutants_of
from engine.prove.mutation import Fate, MutationResult, run_mutants
from engine.verbs.cases import CaseRunner
from tests.engine.prove.small_policy import (
    BUYS,
    CRYPTO_SELLS,
    HOLDS,
    STOCK_KEEPS,
    STOCK_SELLS,
    cases,
    policy,
)
from tests.policies import shipped_cases as shipped


def fates(result: MutationResult) -> dict[str, Fate]:
    """Return the fate of each mutant by its id."""
    return {one.mutant.id: one.fate for one in result.results}


def lowered_alike(one: Policy, other: Policy) -> bool | None:
    """Say that policies of one lowered form decide alike; of others nothing is known."""
    return True if dict(lower_all(one)) == dict(lower_all(other)) else None


def test_what_kills() -> None:
    """A case at a threshold kills the mutants that move it over the case; one beside it the others."""
    parameter = "parameter/oversold/threshold/{}"
    found = fates(run_mutants(policy(), cases(BUYS)))
    assert found[parameter.format(4)] is Fate.SURVIVED  # 25 becomes 25.01
    assert found[parameter.format(5)] is Fate.KILLED  # 25 becomes 24.99: at 24.99 nothing is bought
    found = fates(run_mutants(policy(), cases(BUYS, HOLDS)))
    assert found[parameter.format(4)] is found[parameter.format(5)] is Fate.KILLED
    assert found[parameter.format(1)] is Fate.SURVIVED  # 30 is that of stocks, which no case is about


def test_what_killed_it_is_said() -> None:
    """The case that came out differently."""
    killed = {one.mutant.id: one.case for one in run_mutants(policy(), cases(HOLDS, BUYS)).results}
    assert killed["rule/entry/removed/1"] == "buys"
    assert killed["parameter/oversold/threshold/4"] == "holds"
    assert killed["rule/stop/removed/1"] == ""


def test_removed_once_is_noticed_though_the_case_states_it() -> None:
    """A case states ``once.entry``, which the mutant does not read: it buys, and that is noticed."""
    used = "used: {symbol: BTC-USD, facts: {rsi: 24, once.entry: true}, expect: {vetoed_by: once}}"
    assert fates(run_mutants(policy(), cases(used)))["rule/entry/once/1"] is Fate.KILLED


def test_a_case_may_state_what_a_mutant_does_not_read() -> None:
    """Without ``rsi > prev(rsi)`` nothing reads ``prev(rsi)``; the case that states it kills the mutant."""
    falls = "falls: {symbol: BTC-USD, facts: {rsi: 24, prev(rsi): 24}, expect: {action: hold}}"
    result = run_mutants(policy(), cases(falls))
    (dropped,) = (one for one in result.results if one.mutant.what.startswith("'rsi > prev(rsi)' is dropped"))
    assert dropped.fate is Fate.KILLED


def test_facts_are_completed_for_whoever_reads_them() -> None:
    """A policy that reads more than the one for which the facts were completed is given all of them."""
    silent = policy(("held and gain <= -8%", "held and rsi > 90"))
    assert "gain" not in {slot.name for slot in lower_all(silent)["SPY"].slots}
    falls = "falls: {symbol: SPY, facts: {position_qty: 5, entry_price: 110 USD}, expect: {action: hold}}"
    runner = CaseRunner(silent, cases(BUYS, falls))
    assert all(result.passed for result in runner.run_all())
    watching = policy()
    buys, falling = runner.against(watching, lower_all(watching)).run_all()
    assert buys.passed
    (step,) = falling.steps
    assert [difference.got for difference in step.differences] == ["sell"]
    assert step.values[step.lowered.slot("gain")] == pytest.approx(-0.0909)
    assert all(result.passed for result in runner.run_all())


def test_stillborn_mutants_do_not_count() -> None:
    """A hundredth less than a divisor of a hundredth is a division by zero: no policy."""
    result = run_mutants(policy(("gain <= -8%", "rsi / 0.01 > 9000")), cases(BUYS))
    (stillborn,) = (one for one in result.results if one.fate is Fate.STILLBORN)
    assert stillborn.mutant.what.startswith("0.01 becomes 0 ")
    killed, survived = result.count(Fate.KILLED), result.count(Fate.SURVIVED)
    assert killed + survived == len(result.results) - 1
    assert result.score == pytest.approx(100 * killed / (killed + survived))


def test_equivalent_mutants_do_not_count() -> None:
    """Where every symbol has a value of its own, the plain one decides nothing."""
    small = policy(("{crypto: 25}", "{crypto: 25, stock: 28}"))
    plain = run_mutants(small, cases(BUYS, HOLDS))
    proved = run_mutants(small, cases(BUYS, HOLDS), equal=lowered_alike)
    found = [one.mutant.what for one in proved.results if one.fate is Fate.EQUIVALENT]
    assert found == [
        *(f"oversold 30 becomes {other}" for other in ("30.01", "29.99", "33")),
        # every sell is read as 'held and (...)'
        "'held' is dropped from 'held and (rsi > 70 or (asset_class == crypto and rsi > 65))'",
    ]
    assert proved.count(Fate.KILLED) == plain.count(Fate.KILLED)
    assert proved.count(Fate.SURVIVED) == plain.count(Fate.SURVIVED) - len(found)
    assert proved.score > plain.score


def test_a_survivor_that_is_proved_to_differ_says_so() -> None:
    """What is asked is asked of survivors only, and its answer kept: a case is missing."""
    asked: list[Policy] = []

    def differs(_: Policy, other: Policy) -> bool:
        asked.append(other)
        return False

    result = run_mutants(policy(), cases(BUYS), equal=differs)
    assert [one.mutant.policy for one in result.survivors] == asked
    assert all(one.differs for one in result.survivors)
    assert not any(one.differs for one in result.results if one.fate is Fate.KILLED)


def test_a_case_that_fails_says_nothing() -> None:
    """It would notice every mutant, also those that change nothing."""
    wrong = BUYS.replace("action: buy", "action: sell").replace("buys:", "wrong:")
    assert fates(run_mutants(policy(), cases(BUYS, wrong))) == fates(run_mutants(policy(), cases(BUYS)))
    with pytest.raises(PolicyError):
        run_mutants(policy(), cases(BUYS.replace("entry", "entri")))


def test_progress_is_told() -> None:
    """From none to all."""
    told: list[tuple[int, int]] = []
    chosen = mutants_of(policy())[:3]
    run_mutants(policy(), cases(BUYS), chosen, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def naive(original: Policy, mutant: Policy, name: str) -> Fate | None:
    """Return a mutant's fate by running every case anew; None where a case cannot be run."""
    file = shipped.case_file(name)
    try:
        results = CaseRunner(mutant, file).run_all()
    except PolicyError:
        return None  # it states what the mutant does not read; the short cut lets it be judged all the same
    assert original.name == mutant.name
    return Fate.SURVIVED if all(result.passed for result in results) else Fate.KILLED


@pytest.mark.parametrize("name", ["default", "conservative", "legacy-2025-11-18"])
def test_short_cuts_change_nothing(name: str) -> None:
    """Facts completed once, variants left as they are, cases in another order: the same fates."""
    original = shipped.policy(name)
    chosen = mutants_of(original)[::32]
    compared = 0
    for one in run_mutants(original, shipped.case_file(name), chosen).results:
        expected = naive(original, one.mutant.policy, name)
        if expected is not None:
            compared += 1
            assert one.fate is expected, one.mutant.what
    assert compared > 3


def test_small_cases_together() -> None:
    """More cases kill at least what fewer killed."""
    few = fates(run_mutants(policy(), cases(BUYS)))
    more = fates(run_mutants(policy(), cases(BUYS, HOLDS, STOCK_SELLS, STOCK_KEEPS, CRYPTO_SELLS)))
    assert {id_ for id_, fate in few.items() if fate is Fate.KILLED} < {
        id_ for id_, fate in more.items() if fate is Fate.KILLED
    }
