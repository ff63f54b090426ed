"""Regions: disjoint, covering, and each situation in the one that says what is decided."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator

import pytest

import policies
from engine.codes import Action, Disposition
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.solver import Answer, Budget
from engine.evaluate.verdict import WOULD_EXIT
from engine.language.load import load_policy
from engine.lowered import LoweredPolicy
from engine.model import Decision
from engine.prove.regions import INTEGRITY, Kind, RegionMap, Situation, decompose
from engine.verbs.decide import decide
from tests.engine.evaluate.symbolic.test_choice import computes, given_facts, possible, with_base_facts
from tests.policy_texts import policy_text
from tests.situations import MINIMUM, random_facts, random_situation
from tests.strategies import Case, Shape, random_case, random_policy

LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
FACTS = 100_000 if LONG else 400
"""Random facts for each shipped policy."""
RANDOM_POLICIES = 400 if LONG else 24


def variants(name: str) -> dict[int, LoweredPolicy]:
    """Return the lowered forms of a shipped policy, each once."""
    loaded = load_policy(policies.read(name), name)
    return {id(form): form for form in loaded.lowered.values()}


def related(policy: LoweredPolicy, values: list[float], rng: random.Random) -> list[float]:
    """Return facts with the relations that the vocabulary states, and that random ones do not have."""
    at = {slot.name: index for index, slot in enumerate(policy.slots)}
    for suffix in ("", "_bars"):
        order, buy, sell = (at.get(f"since_{word}{suffix}") for word in ("order", "buy", "sell"))
        if order is not None and (buy is not None or sell is not None):
            values[order] = min(values[side] for side in (buy, sell) if side is not None)
            if (buy is None or sell is None) and rng.randrange(2):
                values[order] = min(values[order], float(rng.choice((0, 60, 3600))))
    if not values[at["held"]]:
        for name in ("gain", "peak_gain", "peak_price", "entry_price", "last_entry_price"):
            if name in at:
                values[at[name]] = math.nan
    for low, high in (("close", "high"), ("open", "high"), ("low", "close"), ("low", "open")):
        if low in at and high in at and values[at[low]] > values[at[high]]:
            values[at[low]] = values[at[high]]
    for name in ("entry_price", "peak_price", "gain", "peak_gain", "target"):
        if name in at and name in ("peak_price",) and "entry_price" in at:
            values[at[name]] = max(values[at[name]], values[at["entry_price"]])
    if "minimum" in at:
        values[at["minimum"]] = MINIMUM
    return values


def drawn(policy: LoweredPolicy, count: int, seed: int) -> Iterator[tuple[list[float], Decision]]:
    """Yield facts and what is decided on them."""
    rng = random.Random(seed)
    evaluator = ReferenceEvaluator(policy)
    for _ in range(count):
        values = related(policy, random_facts(policy, rng), rng)
        yield values, decide(evaluator, values, random_situation(policy, values, rng))


def situation_of(policy: LoweredPolicy, values: list[float], decision: Decision) -> Situation:
    """Return what regions read of a decision."""
    gate = next((index for index, gate in enumerate(policy.gates) if gate.name == WOULD_EXIT), -1)
    bits = sum(
        1 << rule
        for rule, (disposition, cause) in enumerate(zip(decision.dispositions, decision.causes, strict=True))
        if disposition == Disposition.VETOED and cause == gate
    )
    truths = ReferenceEvaluator(policy).evaluate(list(values)).truths
    return Situation(truths, bits, decision.rule)


def says(regions: RegionMap, situation: Situation) -> bool:
    """Say whether a situation is in exactly one region, which says what is decided in it."""
    found = regions.containing(situation)
    if len(found) != 1:
        return False
    outcome = regions.regions[found[0]].outcome
    assert outcome is not None
    rules = regions.lowered.rules
    action = rules[situation.winner].action if situation.winner >= 0 else Action.HOLD
    if outcome.rule < 0:
        return action is Action.HOLD
    return outcome.rule == situation.winner and outcome.action is action


@pytest.mark.parametrize("name", policies.shipped())
def test_random_facts_are_in_the_one_region_that_says_their_decision(name: str) -> None:
    """Of each variant: the regions are proved, and hold of the decisions that are made."""
    forms = variants(name)
    seen: set[int] = set()
    for number, form in enumerate(forms.values()):
        regions = decompose(form, Budget())
        assert regions.proof.holds
        assert len(regions.regions) <= 30, "a person reads them"
        for values, decision in drawn(form, FACTS // len(forms) + 1, number):
            situation = situation_of(form, values, decision)
            assert says(regions, situation), regions.containing(situation)
            seen |= {region for region in regions.containing(situation) if number == 0}
    assert len(seen) > 6, "the facts drawn are not all in the same few"


def _regions(name: str) -> RegionMap:
    return decompose(next(iter(variants(name).values())), Budget())


def test_the_first_region_is_what_the_integrity_gates_close() -> None:
    """The built-in gates are told together."""
    first = _regions("default").regions[0]
    ((literal,),) = first.clauses
    assert (literal.subject.kind, literal.subject.name) == (Kind.GATES, INTEGRITY)
    assert first.outcome is not None
    assert first.outcome.stopped_by == (INTEGRITY,)


def test_every_rule_of_a_shipped_policy_decides_somewhere() -> None:
    """No rule is missing from the map, and each sell of the default policy has one region."""
    regions = _regions("default")
    deciding = [region.outcome.rule for region in regions.regions if region.outcome]
    assert set(deciding) - {-1} == set(range(len(regions.lowered.rules)))
    for index, rule in enumerate(regions.lowered.rules):
        if rule.action is Action.SELL:
            assert deciding.count(index) == 1, rule.name


def test_without_time_what_is_left_open_is_said() -> None:
    """A budget that is over leaves one region, of which nothing is known."""
    regions = decompose(next(iter(variants("default").values())), Budget(over=lambda: True))
    assert [region.outcome for region in regions.regions] == [None]
    assert regions.proof.decided is None
    assert not regions.proof.holds


def known(policy: LoweredPolicy, case: Case) -> Case:
    """Return a case with something plausible for the facts that a random policy does not know."""
    values = [*case.values, *(math.nan for _ in policy.slots[len(case.values) :])]
    at = {slot.name: index for index, slot in enumerate(policy.slots)}
    price, owned = values[at["price"]], values[at["position_qty"]]
    usual = {
        "bid": price, "ask": price, "held": float(owned > 0), "equity": 1e6, "cash": 10.0, "lease": 1.0,
    }  # fmt: skip
    for slot, index in at.items():
        if values[index] != values[index]:
            values[index] = usual.get(slot, 0.0)
    return case._replace(values=values)


@pytest.mark.parametrize("first", range(0, RANDOM_POLICIES, 8))
def test_random_lowered_policies(first: int) -> None:
    """Any two conditions, any readings: what is proved of the regions holds of the facts."""
    compared = 0
    for seed in range(first, first + 8):
        original = random_policy(random.Random(seed), Shape(rules=(1, 4)))
        policy = with_base_facts(original)
        regions = decompose(policy, Budget())
        proof = regions.proof
        assert proof.covering is not False
        assert proof.disjoint is not False
        assert proof.decided is not False
        if computes(policy) or not proof.holds:
            continue
        rng = random.Random(seed)
        for _ in range(40):
            case = known(policy, possible(policy, random_case(original, rng, 0)))
            if case.stated or case.would_exit_unknown or not _consistent(regions, case):
                continue
            compared += 1
            values = list(case.values)
            verdict = ReferenceEvaluator(policy).verdict(values, 0, case.would_exit)
            truths = ReferenceEvaluator(policy).evaluate(values).truths
            assert says(regions, Situation(truths, case.would_exit, verdict.winner)), (seed, case)
    assert compared or first, "not all facts are ruled out"


def _consistent(regions: RegionMap, case: Case) -> bool:
    """Say whether the vocabulary allows the facts."""
    questions = regions.questions
    terms = questions.terms
    assert isinstance(terms, PolicyTerms)
    facts = given_facts(terms, questions.snapshot, case)
    if facts is None:
        return False
    with questions.solver.supposing(*questions.snapshot.constraints, *facts):
        return questions.solver.ask() is Answer.POSSIBLE


@pytest.mark.parametrize("seed", range(200 if LONG else 12))
def test_random_policies(seed: int) -> None:
    """Policies as they are written: no proof of their regions fails, and facts are where they belong."""
    loaded = load_policy(policy_text(random.Random(seed)), "random")
    if loaded.policy is None:
        pytest.skip("refused by the loader")
    form = next(iter(loaded.lowered.values()))
    regions = decompose(form, Budget(question_limit=400_000))
    proof = regions.proof
    assert (proof.covering, proof.disjoint, proof.decided).count(False) == 0
    if proof.holds:
        for values, decision in drawn(form, 30, seed):
            situation = situation_of(form, values, decision)
            assert len(regions.containing(situation)) <= 1
