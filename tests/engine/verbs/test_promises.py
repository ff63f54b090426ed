"""Promises on real decisions: what each outcome is, which promise is broken, alone and over time."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Action, Disposition, Truth
from engine.errors import NOWHERE
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.language.lower_promises import OutcomeKind, lower_promises_all
from engine.language.policy import Follows, Promise, Rate
from engine.lowered import LimitScope
from engine.model import OrderSide
from engine.verbs.decide import decide
from engine.verbs.promises import (
    Breach,
    Judgement,
    Occasion,
    PromiseJudge,
    breach_text,
    broken,
    broken_over_time,
    outcome_values,
)
from tests.engine.verbs.deciding import (
    FLAT,
    HELD,
    SYMBOL,
    money,
    policy_of,
    quantity,
    situation_of,
    vector_of,
    working,
)
from tests.policy_texts import policy_texts
from tests.situations import random_facts, random_situation

RULES = """
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  trim: {priority: 500, when: held and gain >= 20%, then: sell to 600 USD, once: day}
  more: {priority: 200, when: held and gain == 5%, then: buy 101 USD, once: day}
  entry: {priority: 100, when: not held and since_order > 1h, then: buy to target}
gates:
  pause: {vetoes: [buy], when: since_sell < 10m}
  calm: {vetoes: [sell], when: since_sell < 20m}
limits:
  cap: {at_most: 50% of equity, per: symbol}
  class-cap: {at_most: 50% of equity, per: class}
"""


class Judged:
    """A decision of the policy above, judged by promises."""

    def __init__(
        self,
        promises: str | Sequence[str],
        facts: Mapping[str, float],
        *,
        rules: str = RULES,
        **changes: Any,  # noqa: ANN401 - fields of the situation
    ) -> None:
        """Decide by the policy alone, then judge."""
        texts = [promises] if isinstance(promises, str) else promises
        rows = "".join(f"  p{index}: {promise}\n" for index, promise in enumerate(texts))
        policy = policy_of(f"{rules}promises:\n{rows}")
        self.form = lower_promises_all(policy)[SYMBOL]
        self.lowered = lower_all(policy)[SYMBOL]
        values = vector_of(self.form.lowered, facts)
        own = values[: len(self.lowered.slots)]
        known = facts if facts["position_qty"] == facts["position_qty"] else HELD
        self.situation = situation_of(self.lowered, known, **changes)
        self.decision = decide(ReferenceEvaluator(self.lowered), own, self.situation)
        self.values = [*own, *values[len(own) :]]
        self.judgement: Judgement = PromiseJudge(self.form).judge(self.values, self.decision, self.situation)
        found = broken(self.form, self.values, self.decision, self.situation)
        assert found == self.judgement.broken
        self.broken = [promise.promise.name for promise in found]

    def outcome(self, kind: OutcomeKind) -> float:
        """Return the value of the one outcome of a kind."""
        (slot,) = (slot for slot, outcome in self.form.outcomes.items() if outcome.kind is kind)
        return self.judgement.values[slot]


STAGES = (
    "{never: 'action == buy and candidate.action == sell and intent.qty > 1000 * position_qty and full_exit'}"
)


def stages(facts: Mapping[str, float], **changes: Any) -> tuple[float, float, float, float]:  # noqa: ANN401 - fields
    """Return decision, candidate, quantity and full exit."""
    judged = Judged(STAGES, facts, **changes)
    decision, candidate, size, full = (
        judged.outcome(kind)
        for kind in (
            OutcomeKind.DECISION_ACTION,
            OutcomeKind.CANDIDATE_ACTION,
            OutcomeKind.INTENT_QUANTITY,
            OutcomeKind.FULL_EXIT,
        )
    )
    return decision, candidate, size, full


LOSS = {**HELD, "gain": -0.1}
GAIN = {**HELD, "gain": 0.25}
PAUSED = {**FLAT, "since_sell": 60.0}


@pytest.mark.parametrize(
    ("facts", "changes", "expected"),
    [
        # nothing to do; flat: nothing is left
        (HELD, {}, (Action.HOLD, Action.HOLD, 0.0, 0.0)),
        ({**FLAT, "since_order": 60.0}, {}, (Action.HOLD, Action.HOLD, 0.0, 1.0)),
        # bought; denied
        (FLAT, {}, (Action.BUY, Action.BUY, 9.9, 0.0)),
        (FLAT, {"cash_available": 0}, (Action.HOLD, Action.BUY, 0.0, 1.0)),
        # sold whole, in part, to what would be dust
        (LOSS, {}, (Action.SELL, Action.SELL, 12.0, 1.0)),
        (GAIN, {}, (Action.SELL, Action.SELL, 6.0, 0.0)),
        (
            {**GAIN, "position_qty": 6.05, "position_value": 605.0, "minimum": 1.0},
            {},
            (Action.HOLD, Action.SELL, 0.0, 0.0),  # within its least step
        ),
        # a quantity that the venue's step cannot sell is nothing left
        ({**LOSS, "position_qty": 12.0004}, {}, (Action.SELL, Action.SELL, 12.0, 1.0)),
        # an order of it is working already, or is in the way
        (
            LOSS,
            {"working": working(OrderSide.SELL, 12, rule="stop")},
            (Action.SELL, Action.SELL, 0.0, 1.0),
        ),
        (LOSS, {"working": working(OrderSide.BUY, 1)}, (Action.SELL, Action.SELL, 0.0, 1.0)),
        (
            GAIN,
            {"working": working(OrderSide.SELL, 6, rule="trim")},
            (Action.SELL, Action.SELL, 0.0, 0.0),
        ),
        (GAIN, {"working": working(OrderSide.SELL, 12)}, (Action.SELL, Action.SELL, 0.0, 1.0)),
        (GAIN, {"working": working(OrderSide.BUY, 1)}, (Action.SELL, Action.SELL, 0.0, 0.0)),
    ],
)
def test_stages(
    facts: Mapping[str, float],
    changes: Mapping[str, Any],
    expected: tuple[float, float, float, float],
) -> None:
    """What was chosen, what was decided, what is sent, what is left."""
    assert stages(facts, **changes) == expected


def test_full_exit_is_unknown_where_the_position_is() -> None:
    """Unless all of it is sold, however much that is."""
    unknown = {**HELD, "position_qty": math.nan}
    assert math.isnan(stages(unknown)[3])
    assert stages({**unknown, "gain": -0.1}, quantity=quantity(12))[3] == 1.0


# --- exposures --------------------------------------------------------------------------------


def exposure(scope: str, facts: Mapping[str, float], *, rules: str = RULES, **changes: Any) -> float:  # noqa: ANN401 - fields
    """Return an exposure after a decision."""
    return Judged(f"{{never: exposure.{scope} > 1 USD}}", facts, rules=rules, **changes).outcome(
        OutcomeKind.EXPOSURE
    )


UNLIMITED = RULES.partition("limits:")[0]
OPEN_BUY = working(OrderSide.BUY, 2, filled=0.5)  # at 100 USD


def test_exposure_is_what_the_limit_counts_and_the_order() -> None:
    """Foreign quantity, open buys and reservations stand in the limit's usage; a sell frees nothing."""
    usage = (money(700), money(2500))
    assert exposure("symbol", FLAT, usage=usage) == 700 + 999.9  # 9.9 at 101
    assert exposure("class", FLAT, usage=usage) == 2500 + 999.9
    assert exposure("symbol", LOSS, usage=usage) == 700.0
    assert exposure("class", HELD, usage=usage) == 2500.0


def test_exposure_without_a_limit() -> None:
    """Of the symbol the agent knows its own; of a class or the account one symbol tells nothing."""
    assert exposure("symbol", FLAT, rules=UNLIMITED) == 999.9
    assert exposure("symbol", HELD, rules=UNLIMITED) == 1200.0
    assert exposure("symbol", HELD, rules=UNLIMITED, working=OPEN_BUY) == 1350.0
    assert exposure("symbol", HELD, rules=UNLIMITED, working=working(OrderSide.SELL, 2)) == 1200.0
    for scope in ("class", "portfolio"):
        assert math.isnan(exposure(scope, FLAT, rules=UNLIMITED))
    assert math.isnan(exposure("symbol", {**HELD, "position_value": math.nan}, rules=UNLIMITED))


def test_exposure_where_usage_is_not_known() -> None:
    """Nothing was counted, or a holding has no price: of the symbol its own is known still."""
    nothing = (None, None)
    assert exposure("symbol", HELD, usage=nothing) == 1200.0
    assert math.isnan(exposure("class", HELD, usage=nothing))
    at_market = replace(OPEN_BUY, limit_price=None)
    assert exposure("symbol", HELD, usage=nothing, working=at_market) == 1200 + 1.5 * 101
    no_ask = {**HELD, "ask": math.nan}
    assert math.isnan(exposure("symbol", no_ask, usage=nothing, working=at_market))


# --- vetoes -----------------------------------------------------------------------------------

VETOES = (
    "{never: vetoed_by('pause')}",
    "{never: exit_vetoed_by('pause')}",
    "{never: entry_vetoed_by('pause')}",
    "{never: vetoed_by('calm')}",
    "{never: exit_vetoed_by('calm')}",
    "{never: entry_vetoed_by('calm')}",
    "{never: vetoed_by('integrity')}",
    "{never: exit_vetoed_by('once')}",
)


def vetoed(facts: Mapping[str, float]) -> set[str]:
    """Return what was vetoed, by the names of the functions that say so."""
    judged = Judged(VETOES, facts)
    return {VETOES[int(name[1:])].removeprefix("{never: ").removesuffix("}") for name in judged.broken}


def test_vetoes() -> None:
    """Of the candidates, the first gate that stops one; a rule that proposes nothing is not vetoed."""
    assert vetoed(PAUSED) == {"vetoed_by('pause')", "entry_vetoed_by('pause')"}
    assert vetoed({**GAIN, "since_sell": 60.0}) == {"vetoed_by('calm')", "exit_vetoed_by('calm')"}
    assert vetoed({**HELD, "since_sell": 60.0}) == set()
    assert vetoed({**LOSS, "since_sell": 60.0}) == set()  # protective
    used = {**GAIN, "once.trim": 1.0}
    assert vetoed(used) == {"vetoed_by('integrity')", "exit_vetoed_by('once')"}
    # the built-in gate stands before the policy's own
    assert vetoed({**PAUSED, "quote_state": 1.0}) == {"vetoed_by('integrity')"}


# --- what breaks a promise --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("promise", "facts", "holds"),
    [
        ("{given: held and gain <= -8%, always: action == sell}", LOSS, True),
        ("{given: held and gain <= -8%, always: full_exit and intent.qty == position_qty}", LOSS, True),
        ("{given: held and gain <= -8%, always: action == hold}", LOSS, False),
        ("{given: held and gain <= -8%, never: action == sell}", LOSS, False),
        ("{given: held and gain <= -8%, never: action == sell}", HELD, True),
        # a given that is Unknown claims nothing; Unknown keeps neither always nor never
        ("{given: gain <= -8%, always: action == buy}", FLAT, True),
        ("{always: gain > -8%}", FLAT, False),
        ("{never: gain <= -8%}", FLAT, False),
        ("{never: gain <= -8% and action == sell}", FLAT, True),
        ("{given: action == buy, never: exposure.symbol > 10% of equity}", FLAT, True),
        ("{given: action == buy, never: exposure.symbol > 5% of equity}", FLAT, False),
        # of forms over time one decision says nothing
        ("{never: more than 0 buys in 1d}", FLAT, True),
        ("{always: action == sell within 1 cycle}", FLAT, True),
    ],
)
def test_broken(promise: str, facts: Mapping[str, float], holds: bool) -> None:
    """Given, always and never in Kleene's logic."""
    assert Judged(promise, facts).broken == ([] if holds else ["p0"])


def test_facts_that_only_the_promise_reads() -> None:
    """They stand behind the policy's own; where they are not handed over they are Unknown."""
    promise = "{given: held_for > 30m, never: action == hold}"
    judged = Judged(promise, HELD)
    assert judged.broken == ["p0"]
    own = judged.values[: len(judged.lowered.slots)]
    assert len(own) < len(judged.values)
    assert broken(judged.form, own, judged.decision, judged.situation) == ()


def test_what_is_read_is_shown() -> None:
    """Facts and outcomes, each once."""
    judged = Judged("{given: held and gain <= -8%, never: action == sell and gain < 0%}", LOSS)
    (promise,) = judged.judgement.broken
    assert judged.judgement.read(promise) == "held true, gain -10 %, decision.action sell"


@settings(max_examples=40, deadline=None)
@given(policy_texts(), st.integers(0, 2**32))
def test_outcomes_of_random_decisions(written: str, seed: int) -> None:
    """Whatever was decided: the facts stay, the outcomes agree with each other and with the decision."""
    rng = random.Random(seed)
    policy = load_policy(written, "random.yaml").required()
    forms = lower_promises_all(policy)
    symbol = rng.choice(sorted(forms))
    form, lowered = forms[symbol], lower_all(policy)[symbol]
    values = random_facts(lowered, rng)
    around = random_situation(lowered, values, rng)
    decision = decide(ReferenceEvaluator(lowered), values, around)
    found = outcome_values(form, values, decision, around)
    assert len(found) == len(form.lowered.slots)
    assert repr(found[: len(values)]) == repr(values)
    named = {form.lowered.slots[slot].name: found[slot] for slot in form.outcomes}
    assert named.get("decision.action", decision.action) == decision.action
    if "intent.qty" in named:
        assert (named["intent.qty"] > 0) == (decision.order is not None)
    if named.get("full_exit") == 1.0 and decision.order is not None:
        assert decision.order.side is OrderSide.SELL
    for slot, outcome in form.outcomes.items():
        if outcome.kind is OutcomeKind.VETO and found[slot]:
            assert Disposition.VETOED in decision.dispositions
    judgement = PromiseJudge(form).judge(values, decision, around)
    assert all(judgement.given(promise) for promise in judgement.broken)
    for promise in form.promises:
        if promise.never >= 0 and promise in judgement.broken:
            assert judgement.truths[promise.never] != Truth.FALSE


# --- over time --------------------------------------------------------------------------------


def promise(**parts: Any) -> Promise:  # noqa: ANN401 - fields
    """Return a promise over time."""
    return Promise("p", None, None, None, NOWHERE, **parts)


def orders(*events: tuple[float, str, str]) -> list[Occasion]:
    """Return orders as (seconds, symbol, side); stocks have short names, coins long ones."""
    return [
        Occasion(round(at * 1000), symbol, "crypto" if "-" in symbol else "stock", OrderSide(side))
        for at, symbol, side in events
    ]


def breaches(what: Promise, occasions: Sequence[Occasion]) -> list[tuple[int, ...]]:
    """Return what breaks one promise."""
    return [breach.occasions for breach in broken_over_time((what,), occasions)]


def test_rate_counts_a_window_that_is_open_at_its_beginning() -> None:
    """Orders in (t - D, t]: one made exactly D ago is out."""
    rate = promise(rate=Rate(Action.BUY, 2, 60))
    assert breaches(rate, orders((0, "A", "buy"), (30, "B", "buy"), (60, "A", "buy"))) == []
    assert breaches(rate, orders((0, "A", "buy"), (30, "B", "buy"), (59.999, "A", "buy"))) == [(0, 1, 2)]
    assert breaches(rate, orders((5, "A", "buy"), (5, "B", "buy"), (5, "C", "buy"))) == [(0, 1, 2)]
    assert breaches(rate, orders((0, "A", "buy"), (1, "A", "sell"), (2, "A", "buy"))) == []


def test_rate_counts_over_its_scope() -> None:
    """The account, a class, or a symbol; orders of either side, or of one."""
    events = orders((0, "A", "buy"), (1, "B", "sell"), (2, "C-USD", "buy"), (3, "A", "sell"))
    assert breaches(promise(rate=Rate(None, 3, 60)), events) == [(0, 1, 2, 3)]
    assert breaches(promise(rate=Rate(None, 2, 60, LimitScope.CLASS)), events) == [(0, 1, 3)]
    assert breaches(promise(rate=Rate(None, 1, 60, LimitScope.SYMBOL)), events) == [(0, 3)]
    assert breaches(promise(rate=Rate(Action.BUY, 1, 60)), events) == [(0, 2)]
    assert breaches(promise(rate=Rate(Action.BUY, 0, 60)), events) == [(0,), (0, 2)]


def test_follows_is_of_one_symbol_and_less_than_its_time() -> None:
    """The same as a gate on ``since_buy < 60s`` would veto."""
    follows = promise(follows=Follows(Action.SELL, Action.BUY, 60))
    assert breaches(follows, orders((0, "A", "buy"), (59.999, "A", "sell"))) == [(0, 1)]
    assert breaches(follows, orders((0, "A", "buy"), (60, "A", "sell"))) == []
    assert breaches(follows, orders((0, "A", "buy"), (1, "B", "sell"))) == []
    assert breaches(follows, orders((0, "A", "sell"), (1, "A", "buy"))) == []
    assert breaches(follows, orders((0, "A", "buy"), (9, "A", "buy"), (65, "A", "sell"))) == [(1, 2)]
    again = promise(follows=Follows(Action.BUY, Action.BUY, 60))
    assert breaches(again, orders((0, "A", "buy"), (5, "A", "sell"), (9, "A", "buy"))) == [(0, 2)]


def cycles(text: str, symbol: str = "A") -> list[Occasion]:
    """Return cycles of a symbol: "." given and not kept, "k" given and kept, " " not given."""
    return [
        Occasion(at * 1000, symbol, "stock", None, (mark != " ",), (mark == "k",))
        for at, mark in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("..", []),
        ("..k", []),
        ("...", [(0, 1, 2)]),
        ("....", [(0, 1, 2)]),  # told once
        ("..k..", []),
        ("..k...", [(3, 4, 5)]),
        (".. ..", []),  # given did not stay true
        ("... ...", [(0, 1, 2), (4, 5, 6)]),
        ("   ", []),
    ],
)
def test_within_cycles(text: str, expected: list[tuple[int, ...]]) -> None:
    """Within 2: in this cycle or one of the two after it, while given stays true."""
    assert breaches(promise(within_cycles=2), cycles(text)) == expected


def test_within_cycles_are_those_of_a_symbol() -> None:
    """What comes true of one symbol is nothing to another."""
    both = [pair for at in zip(cycles("..."), cycles(".k.", "B"), strict=True) for pair in at]
    assert breaches(promise(within_cycles=2), both) == [(0, 2, 4)]


def test_given_is_judged_where_the_order_is_made() -> None:
    """Orders made where it was false are counted, and break nothing."""
    first, second = orders((0, "A", "buy"), (1, "A", "sell"))
    silent = replace(second, given=(False,), kept=(False,))
    follows = promise(follows=Follows(Action.SELL, Action.BUY, 60))
    assert breaches(follows, [first, silent]) == []
    assert breaches(follows, [replace(first, given=(False,)), second]) == [(0, 1)]
    rate = promise(rate=Rate(None, 1, 60))
    assert breaches(rate, [first, silent, orders((2, "B", "buy"))[0]]) == [(0, 1, 2)]


events = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(("A", "B", "C-USD")), st.sampled_from(("buy", "sell"))),
    max_size=12,
)
actions = st.sampled_from((Action.BUY, Action.SELL))
scopes = st.sampled_from((LimitScope.PORTFOLIO, LimitScope.CLASS, LimitScope.SYMBOL))


@given(events, st.builds(Rate, st.none() | actions, st.integers(0, 3), st.integers(1, 8), scopes))
def test_rates_as_they_are_defined(written: list[tuple[int, str, str]], rate: Rate) -> None:
    """Against the definition, order by order."""
    found = orders(*sorted(written, key=lambda event: event[0]))
    expected = []
    for last, order in enumerate(found):
        counted = [
            n
            for n, other in enumerate(found[: last + 1])
            if order.at_ms - rate.window_seconds * 1000 < other.at_ms
            and (rate.action is None or other.order is OrderSide[rate.action.name])
            and (rate.per is not LimitScope.SYMBOL or other.symbol == order.symbol)
            and (rate.per is not LimitScope.CLASS or other.asset_class == order.asset_class)
        ]
        if last in counted and len(counted) > rate.count:
            expected.append(tuple(counted))
    assert breaches(promise(rate=rate), found) == expected


@given(events, st.builds(Follows, actions, actions, st.integers(1, 8)))
def test_follows_as_it_is_defined(written: list[tuple[int, str, str]], follows: Follows) -> None:
    """Against the definition, pair by pair."""
    found = orders(*sorted(written, key=lambda event: event[0]))
    broken_at = [
        later
        for later, order in enumerate(found)
        if order.order is OrderSide[follows.action.name]
        and any(
            other.symbol == order.symbol
            and other.order is OrderSide[follows.after.name]
            and order.at_ms - other.at_ms < follows.seconds * 1000
            for other in found[:later]
        )
    ]
    assert [pair[-1] for pair in breaches(promise(follows=follows), found)] == broken_at


@given(st.text(".k ", max_size=15), st.integers(1, 4))
def test_within_cycles_as_it_is_defined(text: str, most: int) -> None:
    """A run of more than so many cycles in which it claims and is not kept, told once."""
    runs, run = [], 0
    for at, mark in enumerate(text):
        run = run + 1 if mark == "." else 0
        if run == most + 1:
            runs.append(at)
    found = breaches(promise(within_cycles=most), cycles(text))
    assert [occasions[-1] for occasions in found] == runs
    assert all(len(occasions) == most + 1 for occasions in found)


def test_breaches_in_words() -> None:
    """How many, how far apart."""
    events = orders((0, "A", "buy"), (30, "A", "buy"), (40, "A", "sell"))
    rate, follows = promise(rate=Rate(None, 2, 60)), promise(follows=Follows(Action.SELL, Action.BUY, 60))
    assert breach_text(Breach(rate, (0, 1, 2)), events) == "3 orders in 40s"
    assert breach_text(Breach(promise(rate=Rate(Action.BUY, 0, 60)), (0,)), events) == "1 buy in 0s"
    assert breach_text(Breach(follows, (1, 2)), events) == "sell 10s after buy"
    within = promise(within_cycles=2)
    assert breach_text(Breach(within, (0, 1, 2)), cycles("...")) == "not in 3 cycles, 2s long"
