"""Who decides: agreement, what a disagreement stops, and what protects a position all the same."""

from __future__ import annotations

import math
import random
from functools import partial

import pytest
from hypothesis import given

from engine.codes import Action, Denial, Disposition, Truth
from engine.errors import NOWHERE
from engine.evaluate.agreement import DISAGREEMENT, Agreement, agree
from engine.evaluate.durable import EngineFault
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import Verdict
from engine.lowered import LoweredGate, LoweredPolicy, LoweredRule, OrderStyle, Selection
from engine.units import Measure
from tests.strategies import lowered_policies, random_case, seeds

ACTED, CONCURRED, OUTRANKED = Disposition.ACTED, Disposition.CONCURRED, Disposition.OUTRANKED
VETOED, NONE = Disposition.VETOED, Disposition.NONE
FAULT = EngineFault("the last rule did not fire")
STOP, TRIM, EXIT, BUY, HOLD = "stop", "trim", "exit", "buy", "hold"
"""A protective sell all, a protective trim, an ordinary exit, an entry, a hold."""
ACTIONS = {STOP: Action.SELL, TRIM: Action.SELL, EXIT: Action.SELL, BUY: Action.BUY, HOLD: Action.HOLD}
LEVELS = {STOP: 0.0, TRIM: 50.0}


def make(*words: str, selection: Selection = Selection.EXITS_FIRST, gate: bool = True) -> LoweredPolicy:
    """A policy of such rules, in order; nothing here evaluates its conditions."""
    rules = tuple(
        LoweredRule(
            word, 100 - number, ACTIONS[word], word in LEVELS, 0, 0, None, Measure.MONEY, False, 0.05, None,
            (), (), NOWHERE,
        )
        for number, word in enumerate(words)
    )  # fmt: skip
    gates = tuple(
        LoweredGate(name, True, True, True, False, 0, 0, False, -1, NOWHERE)
        for name in (["lease", DISAGREEMENT] if gate else ["lease"])
    )
    style = OrderStyle(None, None, "gtc", False)
    return LoweredPolicy(
        "small", "1.0.0", "", selection, "crypto", (), (), (), (), rules, gates, (), style, style, ()
    )


def verdict(winner: int, *outcomes: Disposition) -> Verdict:
    """A verdict in which whatever has a disposition is true."""
    truths = bytes(Truth.TRUE if outcome else Truth.FALSE for outcome in outcomes)
    causes = tuple(winner if outcome in (CONCURRED, OUTRANKED) else -1 for outcome in outcomes)
    return Verdict(winner, truths, bytes(outcomes), causes)


def decide(
    policy: LoweredPolicy, durable: Verdict | EngineFault | None, compiled: Verdict, reference: Verdict
) -> Agreement:
    """Agree, with the levels that the words stand for."""
    return agree(policy, durable, compiled, lambda: reference, lambda rule: LEVELS[policy.rules[rule].name])


def never() -> Verdict:
    """Stand for a reference evaluator that nobody may ask."""
    raise AssertionError("asked without need")


def test_agreed() -> None:
    """Two equal verdicts decide; the reference evaluator is not asked."""
    same = verdict(0, ACTED, NONE)
    assert agree(make(BUY, EXIT), same, same, never, float) == Agreement(same, True)


def test_without_durable_rules() -> None:
    """The compiled verdict decides where the reference evaluator's is the same, else it is stopped."""
    policy, buys, nothing = make(BUY), verdict(0, ACTED), verdict(-1, NONE)
    assert decide(policy, None, buys, buys) == Agreement(buys, True)
    stopped = decide(policy, None, buys, nothing)
    assert not stopped.agreed
    assert stopped.verdict == Verdict(-1, buys.truths, bytes((VETOED,)), (1,))
    assert (stopped.differing, stopped.withheld, stopped.unguarded) == ((0,), (0,), ())


@pytest.mark.parametrize("word", [BUY, EXIT])
def test_a_disagreement_stops_entries_and_ordinary_exits(word: str) -> None:
    """Two evaluators against durable-rules are not enough."""
    acts, nothing = verdict(0, ACTED), verdict(-1, NONE)
    answer = decide(make(word), nothing, acts, acts)
    assert (answer.agreed, answer.verdict.winner, answer.withheld) == (False, -1, (0,))
    assert answer.verdict.dispositions == bytes((VETOED,))
    assert answer.verdict.causes == (1,)


def test_a_fault_stops_them_too() -> None:
    """Without a verdict of durable-rules nothing but a protective exit is sent, and the reason is kept."""
    acts = verdict(0, ACTED)
    answer = decide(make(BUY), FAULT, acts, acts)
    assert (answer.agreed, answer.verdict.winner, answer.fault) == (False, -1, str(FAULT))
    assert answer.differing == ()


def test_without_the_gate_it_is_a_denial() -> None:
    """A policy lowered without the reserved gate still has a disposition for what was stopped."""
    acts = verdict(0, ACTED)
    answer = decide(make(BUY, gate=False), FAULT, acts, acts)
    assert answer.verdict.dispositions == bytes((Disposition.DENIED,))
    assert answer.verdict.causes == (Denial.DISAGREEMENT,)


@pytest.mark.parametrize("durable", [FAULT, verdict(1, NONE, ACTED)], ids=["fault", "disagreement"])
def test_a_protective_exit_acts_if_both_others_agree(durable: Verdict | EngineFault) -> None:
    """The compiled and the reference evaluator together send a stop."""
    sells = verdict(0, ACTED, OUTRANKED)
    answer = decide(make(STOP, BUY), durable, sells, sells)
    assert (answer.verdict.winner, answer.withheld, answer.unguarded) == (0, (1,), ())
    assert answer.verdict.dispositions == bytes((ACTED, VETOED))


@pytest.mark.parametrize("alone", ["compiled", "reference"])
def test_a_protective_exit_of_one_alone_is_unguarded(alone: str) -> None:
    """One evaluator alone does not sell; the position stands unguarded."""
    sells, nothing = verdict(0, ACTED), verdict(-1, NONE)
    compiled, reference = (sells, nothing) if alone == "compiled" else (nothing, sells)
    answer = decide(make(STOP), FAULT, compiled, reference)
    assert (answer.verdict.winner, answer.unguarded, answer.differing) == (-1, (0,), (0,))
    assert answer.withheld == ((0,) if alone == "compiled" else ())


def test_a_protective_exit_behind_an_ordinary_one() -> None:
    """An ordinary exit that won does not take the protective one with it when it is stopped."""
    both = verdict(0, ACTED, CONCURRED)
    answer = decide(make(EXIT, STOP), FAULT, both, both)
    assert answer.verdict.winner == 1
    assert answer.verdict.dispositions == bytes((VETOED, ACTED))
    assert answer.verdict.causes == (1, -1)


def test_the_fullest_protective_exit_acts() -> None:
    """Of protective exits the one that leaves the least acts under ``exits_first``, not the first."""
    compiled = verdict(0, ACTED, CONCURRED, CONCURRED)
    answer = decide(make(EXIT, TRIM, STOP), FAULT, compiled, compiled)
    assert answer.verdict.winner == 2
    assert answer.verdict.dispositions == bytes((VETOED, CONCURRED, ACTED))
    assert answer.verdict.causes == (1, 2, -1)


def test_the_first_protective_exit_acts_by_priority() -> None:
    """Under ``by_priority`` the first protective exit acts, also where an entry stood before it."""
    policy = make(BUY, TRIM, STOP, selection=Selection.BY_PRIORITY)
    compiled = verdict(0, ACTED, OUTRANKED, OUTRANKED)
    answer = decide(policy, FAULT, compiled, compiled)
    assert answer.verdict.winner == 1
    assert answer.verdict.dispositions == bytes((VETOED, ACTED, CONCURRED))


def test_a_hold_before_it_wins_by_priority() -> None:
    """No gate stops a hold: under ``by_priority`` one before a protective exit still wins."""
    policy = make(HOLD, STOP, BUY, selection=Selection.BY_PRIORITY)
    compiled = verdict(0, ACTED, OUTRANKED, OUTRANKED)
    answer = decide(policy, FAULT, compiled, compiled)
    assert (answer.verdict.winner, answer.unguarded) == (0, ())
    assert answer.verdict.dispositions == bytes((ACTED, VETOED, VETOED))


def test_a_hold_loses_to_an_exit() -> None:
    """Under ``exits_first`` a hold suppresses no exit; without one it wins."""
    compiled = verdict(1, OUTRANKED, ACTED)
    answer = decide(make(HOLD, STOP), FAULT, compiled, compiled)
    assert answer.verdict.dispositions == bytes((OUTRANKED, ACTED))
    compiled = verdict(1, OUTRANKED, ACTED)
    answer = decide(make(HOLD, EXIT), FAULT, compiled, compiled)
    assert answer.verdict.winner == 0
    assert answer.verdict.dispositions == bytes((ACTED, VETOED))


def test_other_vetoes_stay() -> None:
    """What another gate stopped keeps its cause."""
    compiled = Verdict(-1, bytes((1, 1)), bytes((VETOED, Disposition.UNKNOWN)), (0, 7))
    answer = decide(make(BUY, BUY), FAULT, compiled, compiled)
    assert answer.verdict == compiled
    assert answer.withheld == ()


def identity(answer: Verdict) -> Verdict:
    """Stand for the reference evaluator."""
    return answer


def level(reference: ReferenceEvaluator, values: list[float], rule: int) -> float:
    """Return what an exit would leave."""
    return reference.level_after(rule, values)


@given(lowered_policies(), seeds)
def test_nothing_but_protective_exits_acts(policy: LoweredPolicy, seed: int) -> None:
    """On a fault, for any policy: the winner is a protective exit or a hold, and dispositions add up."""
    reference = ReferenceEvaluator(policy)
    draw = random.Random(seed)
    for _ in range(10):
        case = random_case(policy, draw)
        values = case.values
        whole = reference.verdict(values, *case[1:])
        answer = agree(policy, FAULT, whole, partial(identity, whole), partial(level, reference, values))
        acted = [index for index, outcome in enumerate(answer.verdict.dispositions) if outcome == ACTED]
        assert acted == ([] if answer.verdict.winner < 0 else [answer.verdict.winner])
        if acted:
            decider = policy.rules[acted[0]]
            assert decider.protective or decider.action is Action.HOLD
        if whole.winner >= 0 and policy.rules[whole.winner].protective:
            assert answer.verdict.winner == whole.winner
        assert answer.verdict.truths == whole.truths
        assert [bool(outcome) for outcome in answer.verdict.dispositions] == [
            bool(outcome) for outcome in whole.dispositions
        ]


@given(lowered_policies(), seeds)
def test_one_evaluator_alone_sends_nothing(policy: LoweredPolicy, seed: int) -> None:
    """Where the reference evaluator sees no candidate, whatever the compiled one says is stopped."""
    reference = ReferenceEvaluator(policy)
    case = random_case(policy, random.Random(seed))
    compiled = reference.verdict(case.values, *case[1:])
    count = len(policy.rules)
    nothing = Verdict(-1, bytes(count), bytes(count), (-1,) * count)
    answer = agree(policy, FAULT, compiled, lambda: nothing, lambda rule: math.inf)
    winner = answer.verdict.winner
    assert winner < 0 or policy.rules[winner].action is Action.HOLD
    standing = [index for index in answer.withheld if policy.rules[index].protective]
    if policy.selection is Selection.EXITS_FIRST:
        assert list(answer.unguarded) == standing
