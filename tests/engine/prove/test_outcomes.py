"""The lemma behind proofs about exposure, held by the real ``decide``: no buy leaves one above its limit."""

from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.evaluate.reference import ReferenceEvaluator
from engine.language.lower_promises import OutcomeKind
from engine.lowered import LimitKind, LimitScope
from engine.model import AssetClass, Instrument
from engine.prove.outcomes import stage_words
from engine.units import GRID_PER_UNIT, MONEY_SCALE, Measure
from engine.verbs.decide import Situation, decide
from engine.verbs.plan import Book, Subject, plan
from engine.verbs.promises import outcome_values
from tests.engine.prove.promising import policy_with, variants

PART = """
rules:
  stop: {priority: 9, protective: true, when: held and gain <= -8%, then: sell all}
  more: {priority: 1, when: rsi < 30, then: buy 30% of equity, once: bar}
limits:
  symbol: {at_most: 15% of equity, per: symbol}
  class: {at_most: 20% of equity, per: class}
  all: {at_most: 25% of equity, per: portfolio}
"""
READS_ALL = (
    "{given: action == buy,"
    " always: exposure.symbol <= 15% of equity and exposure.class <= 20% of equity"
    " and exposure.portfolio <= 25% of equity}"
)
(VARIANT,) = variants(policy_with(READS_ALL, PART))
STEPS = st.sampled_from(["1e-8", "1e-9", "0.001", "0.37", "1"])


def buying_facts(ask: int, cents: int) -> list[float]:
    """Return the facts of an entry, at an ask in hundred-millionths, with so much equity."""
    values = []
    facts = {
        "price": ask / 10**8,
        "bid": ask / 10**8,
        "ask": ask / 10**8,
        "equity": cents / 100,
        "rsi": 20.0,
        "lease": 1.0,
        "since_order": 1e6,
    }
    for slot in VARIANT.lowered.slots:
        values.append(facts.get(slot.name, 0.0))
    return values


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.integers(1, 10**14),
    st.integers(100, 10**12),
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3),
    STEPS,
    st.sampled_from(["0.00000001", "0.01", "1"]),
)
def test_a_buy_stays_within_every_limit(ask: int, cents: int, parts: list[int], step: str, tick: str) -> None:
    """Whatever was used before, at any price, step and tick: exposure after a buy is at most the bound."""
    coin = Instrument(
        "BTC-USD", AssetClass.CRYPTO, "24/7", Decimal(tick), Decimal(step), Decimal(0), Decimal(0)
    )
    values = buying_facts(ask, cents)
    used = [cents * (MONEY_SCALE // 100) * part // 10**6 // 4 for part in parts]  # up to a quarter of equity
    situation = Situation("BTC-USD", coin, 0, None, 10**18, used, False)
    decision = decide(VARIANT.reference, values, situation)
    assume(decision.order is not None)
    outcomes = outcome_values(VARIANT.form, values, decision, situation)
    for slot, outcome in VARIANT.form.outcomes.items():
        if outcome.kind is OutcomeKind.EXPOSURE:
            bound = VARIANT.reference.bound(outcome.limit, values)
            assert bound == bound
            assert outcomes[slot] <= bound


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_the_buys_of_a_cycle_stay_within_every_limit_together(seed: int) -> None:
    """What a cycle reserves counts for the buys behind it: no sum of them is above its bound."""
    rng = random.Random(seed)
    policy = VARIANT.policy
    coins = {
        listing.symbol: Instrument(
            listing.symbol,
            AssetClass.CRYPTO,
            "24/7",
            Decimal("0.01"),
            Decimal("0.001"),
            Decimal(0),
            Decimal(0),
        )
        for listing in policy.traded
    }
    cents = rng.randrange(10**4, 10**9)
    subjects = [
        Subject(
            listing,
            ReferenceEvaluator(VARIANT.lowered),
            buying_facts(rng.randrange(1, 10**6) * 10**6, cents),
            bytearray(len(VARIANT.lowered.slots)),
            coins[listing.symbol],
            0,
            None,
            True,
        )
        for listing in policy.traded
    ]
    exposure = {symbol: rng.randrange(0, cents * MONEY_SCALE // 500) for symbol in coins}
    classes = dict.fromkeys(coins, "crypto")
    before = dict(exposure)
    book = Book(rng.randrange(10**18), exposure, classes, set(), [], 0)
    bought = [one.decision.order for one in plan(policy, subjects, book, 0)]
    assume(any(bought))
    grid = MONEY_SCALE // GRID_PER_UNIT[Measure.MONEY]
    for index, limit in enumerate(policy.limits):
        assert limit.kind is LimitKind.EXPOSURE_AT_MOST
        for subject, order in zip(subjects, bought, strict=True):
            bound = round(VARIANT.reference.bound(index, subject.values) * 100) * grid
            used = book.usage(limit, subject.listing)
            assert used is not None
            own = limit.per is LimitScope.SYMBOL
            already = before[subject.listing.symbol] if own else sum(before.values())
            assert used <= bound or used == already
            assert order is None or used <= bound


def test_the_stage_is_told() -> None:
    """What a promise reads says what was modelled."""
    slots = list(VARIANT.form.outcomes)
    assert stage_words(VARIANT, slots) == (
        "the decision, limits of exposure, whatever else is held;"
        " the venue takes a sale of all that is held;"
        " cash, limits and least orders may leave nothing of a buy or a trim"
    )
    assert stage_words(VARIANT, []) == "the facts of one symbol"
