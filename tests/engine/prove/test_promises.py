"""Promises about one decision: proved for every snapshot, refuted by an example, or neither."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Action
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.language.source import load_document
from engine.prove.example import Example
from engine.prove.promises import prove_promises
from engine.prove.proof import Proof, Verdict
from engine.prove.variant import Variant, variants_of
from engine.verbs.decide import decide
from engine.verbs.promises import PromiseJudge
from engine.verbs.statement import parse_statement
from engine.verbs.vector import fact_vector, finest_instrument, narrowed
from tests.engine.prove.promising import policy_with, proof_of, variants
from tests.policy_texts import policy_text
from tests.situations import random_facts, random_situation

PROVED = [
    # the decision, and what may stand in its way
    ("{given: held and gain <= -8%, always: 'action == sell or exit_vetoed_by(\"integrity\")'}", ""),
    ('{given: held and rsi > 70, always: \'action == sell or vetoed_by("pause", "integrity")\'}', ""),
    ("{given: since_order < 5m, never: action == buy}", ""),
    ("{never: 'exit_vetoed_by(\"cooldown\")'}", ""),
    ("{given: action == buy, always: candidate.action == buy}", ""),
    ("{given: candidate.action == hold, always: action == hold}", ""),
    ("{given: held, never: action == buy}", ""),
    # an exit that stands leaves nobody to ask for an entry's gates
    ("{given: candidate.action == sell, never: 'entry_vetoed_by(\"cooldown\")'}", ""),
    # what is sent
    ("{given: action == buy and position_qty >= 0, always: intent.qty > 0 and not full_exit}", ""),
    ("{given: action == hold, always: intent.qty == 0}", ""),
    ("{given: action == sell and position_qty > 0, always: intent.qty <= position_qty}", ""),
    ("{given: action == sell, always: full_exit}", ""),
    ("{given: held and position_qty > 0 and action == hold, never: full_exit}", ""),
    (
        "{given: action == buy, always: intent.qty <= (2% of equity) / ask}",
        "rules:\n  in: {priority: 1, when: rsi < 30, then: buy (2% of equity) / ask, once: day}\n"
        "limits: {cap: {at_most: 15% of equity, per: symbol}}\n",
    ),
    # limits of exposure
    ("{given: action == buy, always: exposure.symbol <= 15% of equity}", ""),
    ("{given: action == buy, never: exposure.symbol > 15% of equity}", ""),
    # arithmetic, on either side of its rounding
    (
        "{given: price <= slow, never: action == buy}",
        "gates: {t: {vetoes: [buy], when: price <= 102% of slow}}\n",
    ),
    # what cannot be
    ("{given: price > ask, always: action == sell}", ""),
]


@pytest.mark.parametrize(("promise", "part"), PROVED)
def test_proved(promise: str, part: str) -> None:
    """Each kind of outcome, for every snapshot, with any fact Unknown."""
    proof = proof_of(promise, part)
    assert (proof.verdict, proof.how) == (Verdict.PROVED, "for every snapshot")
    assert proof.example is None and proof.region is None


REFUTED = [
    (
        "{given: held and rsi > 60, always: action == sell}",
        "",
        "60 < rsi <= 70 and gain > -8%",
    ),
    ("{given: rsi < 40, never: action == buy}", "", "not held and rsi < 30 and since_order >= 5m"),
    ("{given: held and rsi > 70, always: action == sell}", "", "rsi > 70 and gain > -8% and quote_age > 1m"),
    ("{never: candidate.action == buy}", "", "not held and rsi < 30 and since_order >= 5m"),
    ("{never: 'vetoed_by(\"pause\")'}", "", "held and rsi > 70 and quote_age > 1m"),
    ("{given: rsi > 50, never: full_exit and held}", "", "held and rsi > 70"),
    ("{given: close < slow, never: action == buy}", "", "not held and rsi < 30 and close < slow"),
]


@pytest.mark.parametrize(("promise", "part", "where"), REFUTED)
def test_refuted(promise: str, part: str, where: str) -> None:
    """The region is told in the policy's words, and the example breaks the promise when it is read again."""
    proof = proof_of(promise, part)
    assert proof.verdict is Verdict.REFUTED
    assert proof.example is not None and proof.region is not None
    for condition in where.split(" and "):
        assert condition in proof.region.words
    assert "p" in broken_by(policy_with(promise, part), proof.example)


def broken_by(policy: Policy, example: Example) -> list[str]:
    """Return the promises that an example's facts file breaks."""
    statement = parse_statement(load_document(example.text, "example.yaml"))
    listing = policy.listing(example.symbol)
    assert listing is not None
    (form,) = {id(v.form): v.form for v in variants(policy) if example.symbol in v.symbols}.values()
    lowered = lower_all(policy)[example.symbol]
    vector = fact_vector(policy, form.lowered, listing, statement)
    vector, beyond = narrowed(vector, len(lowered.slots))
    values = list(vector.values)
    decision = decide(ReferenceEvaluator(lowered), values, vector.situation)
    judgement = PromiseJudge(form).judge([*values, *beyond], decision, vector.situation)
    return [promise.promise.name for promise in judgement.broken]


def test_what_only_an_unknown_fact_breaks() -> None:
    """A promise holds for all that is known, and not where nobody knows: the example says so."""
    proof = proof_of(
        '{given: held, always: \'action == sell or rsi <= 70 or vetoed_by("pause", "integrity")\'}'
    )
    assert proof.verdict is Verdict.REFUTED and proof.example is not None
    assert proof.how == "by an example in which a fact is Unknown"
    assert "rsi" not in dict(proof.example.facts)  # which nobody states
    assert proof.example.outcome.decision.action is Action.HOLD


def test_facts_that_only_the_promise_reads() -> None:
    """The example states them, too."""
    proof = proof_of("{given: close < slow, never: action == buy}")
    assert proof.example is not None
    assert {"close", "slow"} <= {name for name, _ in proof.example.facts}


def test_either_rounding_is_allowed_for() -> None:
    """Half of a cent more or less is not told apart by arithmetic: what rests on it is not proved."""
    gate = "gates: {t: {vetoes: [buy], when: price <= 100.000001% of slow}}\n"
    assert proof_of("{given: price <= slow, never: action == buy}", gate).verdict is Verdict.PROVED
    gate = "gates: {t: {vetoes: [buy], when: 99.999999% of slow >= price}}\n"
    assert proof_of("{given: price <= slow, never: action == buy}", gate).verdict is not Verdict.PROVED


@pytest.mark.parametrize(
    "promise",
    [
        "{given: action == buy, always: exposure.class <= 50% of equity}",  # no limit counts a class
        "{given: action == sell, always: intent.qty * price <= position_value + 1 USD}",
    ],
)
def test_not_proved(promise: str) -> None:
    """What is neither proved nor shown to be broken is never taken for proved."""
    assert proof_of(promise).verdict is not Verdict.PROVED


@pytest.mark.parametrize(
    "promise",
    [
        "{given: action == buy, always: exposure.symbol <= 14% of equity}",
        "{given: action == buy and price > 50 USD, never: exposure.symbol >= 10.5% of equity}",
    ],
)
def test_a_limit_that_is_filled_up(promise: str) -> None:
    """What was used before a buy is stated beside the facts, so that the buy leaves as much as it may."""
    proof = proof_of(promise)
    assert proof.verdict is Verdict.REFUTED and proof.example is not None
    assert proof.how == "by an example"
    assert [name for name, _ in proof.example.usage] == ["cap"]
    assert "usage:\n  cap: " in proof.example.text
    assert "used of cap" in proof.example.words
    assert broken_by(policy_with(promise), proof.example) == ["p"]


def test_without_time_nothing_is_settled() -> None:
    """An exhausted budget leaves every promise open."""
    policy = policy_with("{given: since_order < 5m, never: action == buy}")
    (variant,) = variants_of(policy, lower_all(policy), Budget(over=lambda: True))
    (proof,) = prove_promises(variant)
    assert proof.verdict is Verdict.UNDECIDED
    assert "used up" in proof.how


# --- random policies --------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_random_promises(seed: int) -> None:
    """What is proved no random facts break, some of them Unknown; what is refuted its example does."""
    rng = random.Random(seed)
    policy = load_policy(policy_text(rng), "random.yaml").required()
    (first, *_) = variants_of(policy, lower_all(policy), Budget(question_limit=300_000))
    proofs = prove_promises(first)
    for proof in proofs:
        if proof.example is not None:
            assert proof.promise in broken_by(policy, proof.example)
    proved = {
        proof.promise for proof in proofs if proof.verdict is Verdict.PROVED and not over_time(policy, proof)
    }
    for _ in range(150):
        assert not proved & set(broken_at_random(first, rng))


def over_time(policy: Policy, proof: Proof) -> bool:
    """Say whether a proof is of a promise over time."""
    return next(one.over_time for one in policy.promises if one.name == proof.promise)


def broken_at_random(variant: Variant, rng: random.Random) -> list[str]:
    """Return the promises that a decision on random facts breaks; the venue takes any order."""
    lowered = variant.form.lowered
    values = random_facts(lowered, rng)
    situation = random_situation(variant.lowered, values[: len(variant.lowered.slots)], rng)
    around = replace(situation, instrument=finest_instrument(variant.listing))
    for name in ("frozen", "unsendable"):
        values[lowered.slot(name)] = 0.0
    if rng.randrange(3) == 0:
        for slot in rng.sample(range(len(values)), rng.choice((1, 2, 3))):
            if lowered.slots[slot].name not in ("bid", "ask", "price", "quote_state"):
                values[slot] = float("nan")
    own = values[: len(variant.lowered.slots)]
    decision = decide(variant.reference, own, around)
    judgement = PromiseJudge(variant.form).judge([*own, *values[len(own) :]], decision, around)
    return [promise.promise.name for promise in judgement.broken]
