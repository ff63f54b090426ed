"""Three-valued logic: its tables, that knowing less never changes a definite answer, and what buys."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import HealthCheck, given, note, settings

from engine.codes import Action, Side, Truth
from engine.errors import NOWHERE
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.lowered import LoweredPolicy, LoweredSignal, Node, NodeKind, SlotOrigin
from tests.engine.evaluate.comparing import LONG
from tests.engine.evaluate.small import (
    BASE_FACTS,
    UNKNOWN,
    atom,
    constant,
    fact,
    gate,
    policy,
    positive,
    rule,
    side_is,
    signal_slots,
    vote,
)
from tests.evidence import Evidence
from tests.strategies import (
    Shape,
    completed,
    fact_slots,
    lowered_policies,
    random_case,
    seeds,
    without_bits,
)

EVALUATORS = pytest.mark.parametrize(
    "make", [ReferenceEvaluator, CompiledEvaluator], ids=["reference", "compiled"]
)
POLICIES = 20_000 if LONG else 120
ENTRY_POLICIES = 40_000 if LONG else 400
FACTS = 40
COMPLETIONS = 8

F, T, U = Truth.FALSE, Truth.TRUE, Truth.UNKNOWN
_NUMBER = {F: 0.0, T: 1.0, U: UNKNOWN}
AND = {(F, F): F, (F, T): F, (F, U): F, (T, T): T, (T, U): U, (U, U): U}
OR = {(F, F): F, (F, T): T, (F, U): U, (T, T): T, (T, U): T, (U, U): U}
NOT = {F: T, T: F, U: U}

Maker = type[ReferenceEvaluator] | type[CompiledEvaluator]


def _truth(make: Maker, kind: NodeKind, *operands: Truth) -> Truth:
    nodes = [*(atom(index) for index in range(len(operands)))]
    nodes.append(Node(kind, children=tuple(range(len(operands)))))
    small = policy(
        slots=[fact(f"operand_{index}") for index in range(len(operands))],
        atoms=[positive(len(BASE_FACTS) + index) for index in range(len(operands))],
        nodes=nodes,
        rules=[rule(Action.BUY, len(operands))],
    )
    values = [*BASE_FACTS, *(_NUMBER[operand] for operand in operands)]
    return Truth(make(small).verdict(values).truths[0])


@EVALUATORS
@pytest.mark.parametrize(("left", "right"), [*itertools.product(Truth, Truth)])
def test_binary_tables(make: Maker, left: Truth, right: Truth) -> None:
    """``and`` and ``or`` of facts are Kleene's."""
    key = (left, right) if (left, right) in AND else (right, left)
    assert _truth(make, NodeKind.ALL, left, right) is AND[key]
    assert _truth(make, NodeKind.ANY, left, right) is OR[key]


@EVALUATORS
@pytest.mark.parametrize("operand", [*Truth])
def test_unary_and_nested_tables(make: Maker, operand: Truth) -> None:
    """``not``, and ``and`` and ``or`` of a single operand."""
    assert _truth(make, NodeKind.NOT, operand) is NOT[operand]
    assert _truth(make, NodeKind.ALL, operand) is operand
    assert _truth(make, NodeKind.ANY, operand) is operand


@EVALUATORS
def test_of_nothing(make: Maker) -> None:
    """``and`` of nothing is true, ``or`` of nothing is false."""
    assert _truth(make, NodeKind.ALL) is T
    assert _truth(make, NodeKind.ANY) is F


@EVALUATORS
def test_knowing_less_never_contradicts(make: Maker, evidence: Evidence) -> None:
    """Making facts Unknown turns no true condition false and no false one true.

    That is of every rule as entries read it.  The acting reading may contradict where a vote
    abstains, as declared: so rules whose readings differ are left out.
    """
    compared = lost = 0

    @settings(max_examples=POLICIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lowered_policies(Shape(coherent=True)), seeds)
    def check(random_policy: LoweredPolicy, seed: int) -> None:
        nonlocal compared, lost
        rng = random.Random(seed)
        evaluator = make(random_policy)
        same = [i for i, each in enumerate(random_policy.rules) if each.when == each.when_entry]
        for _ in range(FACTS):
            case = random_case(random_policy, rng, unknown_percent=20)
            less = list(case.values)
            for slot in rng.sample(fact_slots(random_policy), 1 + rng.randrange(3)):
                less[slot] = math.nan
            before = evaluator.verdict(list(case.values), case.stated).truths
            after = evaluator.verdict(list(less), case.stated).truths
            for index in same:
                compared += 1
                lost += before[index] != after[index]
                assert after[index] in (before[index], U), f"rule {index}: {case} and {less}"
            exit_before, _ = evaluator.standing_exit(list(case.values), case.stated)
            exit_after, _ = evaluator.standing_exit(list(less), case.stated)
            assert exit_after in (exit_before, U), f"standing exit: {case} and {less}"

    check()
    evidence(f"{compared:,} truths, of which {lost:,} became Unknown")
    assert lost > 0.02 * compared


def test_a_buy_with_unknown_facts_is_a_buy_with_all_known(evidence: Evidence) -> None:
    """Whatever the Unknown facts turn out to be, the same rule buys, at the same size.

    The theorem of the language reference, "Unknown", for one symbol.
    """
    buys = completions = 0

    @settings(max_examples=ENTRY_POLICIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(lowered_policies(Shape(coherent=True, entry_bias=True, rules=(1, 6))), seeds)
    def check(random_policy: LoweredPolicy, seed: int) -> None:
        nonlocal buys, completions
        rng = random.Random(seed)
        evaluator = CompiledEvaluator(random_policy)
        for _ in range(FACTS):
            case = without_bits(random_case(random_policy, rng, unknown_percent=100))
            values = list(case.values)
            winner = evaluator.verdict(values, case.stated).winner
            if winner < 0 or random_policy.rules[winner].action is not Action.BUY:
                continue
            buys += 1
            size = evaluator.size(winner, values)
            for _ in range(COMPLETIONS):
                completions += 1
                full = completed(random_policy, case, rng)
                note(f"{case} completed to {full}")
                assert evaluator.verdict(full, case.stated).winner == winner
                if size == size:
                    assert evaluator.size(winner, full).hex() == size.hex()

    check()
    evidence(f"{buys:,} buys with Unknown facts, {completions:,} completions")
    assert buys > 2 * ENTRY_POLICIES


@EVALUATORS
@pytest.mark.parametrize("protective", [True, False], ids=["protective", "pass-if-unknown"])
def test_a_veto_by_abstained_votes_withholds_entries(make: Maker, protective: bool) -> None:
    """An exit that a gate vetoes only because votes abstained withholds entries: the votes might free it."""
    acting, entry = (5, 6, 7, 8, 9), (10, 11, 12, 13, 14)
    signal = LoweredSignal(
        "signal", (vote(0, -1, weight=3, abstain=True), vote(-1, 1)), acting, entry, NOWHERE
    )
    small = policy(
        slots=[
            fact("unknown"),
            fact("sells"),
            *signal_slots("signal"),
            *signal_slots("signal@entry", SlotOrigin.ENTRY_SIGNAL),
        ],
        atoms=[positive(3), positive(4), side_is(acting[0], Side.SELL), side_is(entry[0], Side.SELL)],
        nodes=[atom(0), atom(1), atom(2), atom(3), constant(T)],
        rules=[rule(Action.SELL, 4, protective=protective), rule(Action.BUY, 4)],
        gates=[gate("p" if protective else "s", 2, 3, pass_if_unknown=not protective)],
        signals=[signal],
    )
    evaluator = make(small)
    nothing = [UNKNOWN] * 10
    # Known, the first vote outweighs the second: no veto, the exit acts.
    assert evaluator.verdict([*BASE_FACTS, 1.0, 1.0, *nothing]).winner == 0
    # Unknown, it abstains: the exit is vetoed, and no entry may take its place.
    assert evaluator.verdict([*BASE_FACTS, UNKNOWN, 1.0, *nothing]).winner == -1
