"""Counterfactuals: what they name does what they say, by the step, and nothing smaller would."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given, settings

from engine.codes import Action
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.language.lower import lower
from engine.language.policy import Listing, Policy
from engine.language.source import load_document
from engine.lowered import LoweredPolicy
from engine.prove.changes import counterfactuals
from engine.prove.counterfactual import Search, search
from engine.prove.movement import Movement
from engine.verbs.decide import decide
from engine.verbs.explanation import Counterfactuals
from engine.verbs.statement import parse_statement, what_if_statement
from engine.verbs.vector import Origin, Vector, fact_vector
from tests.evidence import Evidence
from tests.policy_texts import policy_text
from tests.situations import random_facts, random_situation
from tests.strategies import seeds

HEAD = """\
apiVersion: tradectl/v1
policy: moving
version: 1.0.0
timezone: UTC
selection: exits_first
bars: 15m
"""
UNIVERSE = """\
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 10%}}
  stock: {calendar: NYSE, weights: {SPY: 10%}}
orders: {buy: {limit: 100% of ask}, sell: {limit: 100% of bid}}
"""
RULES = """\
indicators: {rsi: rsi(14), macd: "macd(12, 26, 9)", bands: "bollinger(20, 2)", fast: ema(12), slow: ema(26)}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  hot: {priority: 800, when: held and rsi > 80, then: sell all}
  cross: {priority: 700, when: held and macd.line < macd.signal and rsi > 60, then: sell all}
  trim: {priority: 600, when: held and position_value > 110% of target, then: sell to target}
  dip: {priority: 100, when: not held and rsi < 30, then: buy to target}
gates:
  cooldown: {vetoes: [buy], when: since_order < 5m}
  rest: {vetoes: [sell], when: held_for < 1h}
"""
FLAT = "price: 100 USD\nask: 100.1 USD\nequity: 10000 USD\nrsi: 50\nmacd.line: 1 USD\nmacd.signal: 0.5 USD\n"
HELD = FLAT.replace("50", "50.25", 1) + "position_qty: 10\nentry_price: 100 USD\nheld_for: 2h\n"


class Asked(NamedTuple):
    """A policy, a listing of it and a facts file."""

    policy: Policy
    listing: Listing
    lowered: LoweredPolicy
    facts: str

    def vector(self, *what_if: str) -> Vector:
        """Return the facts, with overrides."""
        lines = "".join(f"  {line}\n" for line in self.facts.splitlines())
        statement = parse_statement(load_document(f"facts:\n{lines}", "facts.yaml"))
        overrides = what_if_statement(what_if) if what_if else None
        return fact_vector(self.policy, self.lowered, self.listing, statement, what_if=overrides)

    def action(self, *what_if: str) -> Action:
        """Return what is decided on the facts, with overrides."""
        vector = self.vector(*what_if)
        return decide(ReferenceEvaluator(self.lowered), list(vector.values), vector.situation).action

    def reach(self, action: Action) -> Counterfactuals:
        """Return what would give an action."""
        return counterfactuals(self.policy, self.listing, self.lowered, self.vector(), action, Budget())


def asked(facts: str, rules: str = RULES, symbol: str = "SOL-USD", head: str = HEAD) -> Asked:
    """Load a policy and ask about a situation."""
    policy = load_policy(head + UNIVERSE + rules, "moving.yaml").required()
    listing = policy.listing(symbol)
    assert listing is not None
    return Asked(policy, listing, lower(policy, listing), facts)


def texts(found: Counterfactuals) -> list[str]:
    """Return the changes in words."""
    return [change.text for change in found.changes]


# --- what moves together ----------------------------------------------------------------------


def test_single_facts_are_changed_to_the_very_step() -> None:
    """The changed value gives the action, one step less does not; the nearest comes first."""
    found = asked(HELD).reach(Action.SELL)
    assert (
        texts(found)
        == [
            "price -7.995 USD (to 92.005 USD, gain -8 %)",
            "rsi +29.76 (to 80.01)",
            "rsi +9.76 (to 60.01), and macd.line -0.50000001 USD (to 0.49999999 USD, macd.signal unchanged)",
        ][: len(found.changes)]
    )
    assert asked(HELD).action("rsi=80.01") is Action.SELL
    assert asked(HELD).action("rsi=80") is Action.HOLD
    assert asked(HELD).action("price=92.005 USD", "ask=93 USD") is Action.SELL
    assert asked(HELD).action("price=92.00500001 USD", "ask=93 USD") is Action.HOLD


def test_what_follows_from_the_bid_goes_with_it() -> None:
    """Value, equity, target, gain and ask move with the price; quantity and entry price stay."""
    (change, *_) = asked(HELD.replace("rsi: 50.25", "rsi: 20")).reach(Action.SELL).changes
    after = {fact.fact: fact.after for fact in change.facts}
    assert after["price"] == after["bid"] == 92.005
    assert after["ask"] == pytest.approx(92.105)
    assert after["position_value"] == 920.05
    assert after["equity"] == 9920.05  # all else of the account stays
    assert after["target"] == pytest.approx(992.0)
    assert after["gain"] == -0.08
    assert {"position_qty", "entry_price", "rsi"}.isdisjoint(after)
    assert [fact.fact for fact in change.facts if not fact.follows] == ["price", "bid"]
    assert change.rule == "stop"


def test_a_trim_reads_value_and_target_at_the_same_price() -> None:
    """With equity moving, too, the price must rise further than value alone would say."""
    rules = RULES.replace("gain <= -8%", "gain <= -80%").replace("rsi > 80", "rsi > 100")
    (change, *_) = asked(HELD, rules).reach(Action.SELL).changes
    assert change.fact == "price"
    price = change.value
    assert isinstance(price, float)
    assert round(10 * price, 2) > round(1.1 * round(0.1 * (9000 + 10 * price), 2), 2)
    below = price - 0.001  # the cent below
    assert not round(10 * below, 2) > round(1.1 * round(0.1 * (9000 + 10 * below), 2), 2)


def test_time_passes_for_all_that_counts_it() -> None:
    """Every elapsed time grows by the same; what is never stays never."""
    facts = FLAT.replace("rsi: 50", "rsi: 29") + "since_buy: 252s\n"
    (change,) = asked(facts).reach(Action.BUY).changes
    assert change.text == "48s more (since_order 5m)"
    assert {fact.fact: fact.after for fact in change.facts} == {"since_order": 300.0}
    both = asked(FLAT + "since_buy: 252s\n").reach(Action.BUY)
    assert texts(both) == ["rsi -20.01 (to 29.99), and 48s more (since_order 5m)"]
    assert both.changes[0].groups == 2


def test_the_fields_of_an_indicator_are_one_group() -> None:
    """A crossing moves one of both lines, and says which one stays."""
    facts = HELD.replace("50.25", "70")
    found = asked(facts).reach(Action.SELL)
    assert "macd.line -0.50000001 USD (to 0.49999999 USD, macd.signal unchanged)" in texts(found)
    assert all(change.groups == 1 for change in found.changes)


def test_a_bar_stays_a_bar() -> None:
    """A close that rises above the high takes the high along."""
    rules = (
        "rules:\n  out: {priority: 1, when: held and close > 105 USD and open < 200 USD, then: sell all}\n"
    )
    rules += "  up: {priority: 2, when: held and high > 500 USD, then: sell all}\n"
    facts = "price: 100 USD\nposition_qty: 1\nopen: 100 USD\nhigh: 101 USD\nlow: 99 USD\nclose: 100 USD\n"
    (change,) = asked(facts, rules).reach(Action.SELL).changes
    assert change.text == (
        "close +5.00000001 USD (to 105.00000001 USD, with high +4.00000001 USD to 105.00000001 USD, "
        "open unchanged)"
    )


def test_a_signal_that_is_stated_moves_as_such() -> None:
    """Side and confidence are one change; counted, its votes' inputs move."""
    rules = """\
indicators: {rsi: rsi(14), fast: ema(12), slow: ema(26)}
signals:
  trend:
    votes:
      rsi: {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      cross: {weight: 1, buy: fast > slow, sell: fast < slow}
rules:
  out: {priority: 1, when: held and trend.side == sell and trend.confidence >= 60%, then: sell all}
"""
    held = "price: 100 USD\nposition_qty: 1\n"
    stated = asked(held + "trend: {side: buy, confidence: 55%}\n", rules).reach(Action.SELL)
    assert texts(stated) == ["trend.side sell (with trend.confidence +5 % to 60 %)"]
    counted = asked(held + "rsi: 50\nfast: 11 USD\nslow: 10 USD\n", rules).reach(Action.SELL)
    assert texts(counted) == ["rsi +20.01 (to 70.01)"]


def test_what_is_unknown_may_become_known() -> None:
    """A missing fact counts as one change, and a value is named that would do."""
    facts = FLAT.replace("rsi: 50\n", "")
    assert texts(asked(facts).reach(Action.BUY)) == ["rsi known (as 29.99)"]
    no_quote = asked("rsi: 20\nequity: 10000 USD\nmacd.line: 1 USD\nmacd.signal: 0.5 USD\n")
    (change,) = no_quote.reach(Action.BUY).changes
    assert change.text.startswith("quote_state tradable (with price known as ")
    assert "ask" in {fact.fact for fact in change.facts}


def test_the_spread_narrows_where_an_exit_would_follow_the_entry() -> None:
    """Bought at the ask and worth the bid, the position would be stopped at once: the ask comes down."""
    wide = FLAT.replace("rsi: 50", "rsi: 20").replace("100.1", "120")
    found = asked(wide).reach(Action.BUY)
    (change,) = found.changes
    assert change.text.startswith("ask -11.")
    assert change.text.endswith("price unchanged)")
    assert isinstance(change.value, float) or change.fact == "ask"
    ask = next(fact.after for fact in change.facts if fact.fact == "ask")
    assert isinstance(ask, float)
    assert asked(wide).action(f"ask={ask} USD") is Action.BUY
    assert asked(wide).action(f"ask={ask + 1e-8:.8f} USD") is Action.HOLD


def test_sessions_begin_and_quotes_are_fresh_again() -> None:
    """A session is a change of its own; an old quote may be followed by a fresh one."""
    rules = """\
indicators: {rsi: rsi(14), macd: "macd(12, 26, 9)"}
rules:
  hot: {priority: 800, when: held and rsi > 80, then: sell all}
gates:
  hours: {vetoes: [buy, sell], when: session != regular}
  fresh: {vetoes: [buy, sell], when: quote_age > 60s}
"""
    facts = HELD.replace("50.25", "85") + "session: pre\nquote_age: 90s\nuntil_close: 8h\n"
    found = asked(facts, rules, "SPY").reach(Action.SELL)
    assert texts(found) == ["quote_age -30s (to 1m), and session regular"]


def test_bars_are_counted_with_the_seconds() -> None:
    """Where bars close all the time, so many seconds close so many of them."""
    rules = "rules:\n  out: {priority: 1, when: held and held_for >= 3 bars, then: sell all}\n"
    question = asked("price: 100 USD\nposition_qty: 1\nheld_for_bars: 1 bars\nheld_for: 20m\n", rules)
    vector = question.vector()
    at = Vector(1_763_468_400_000 + 100_000, *(getattr(vector, name) for name in _REST))
    found = counterfactuals(question.policy, question.listing, question.lowered, at, Action.SELL, Budget())
    (change,) = found.changes
    assert change.text == "23m 20s more (held_for_bars 3 bars)"  # 400 s of the bar are gone


_REST = ("values", "reasons", "origins", "situation")


# --- where nothing would do -------------------------------------------------------------------


def test_account_facts_that_stand_in_the_way_are_named() -> None:
    """Nothing that moves sells what is not held, nor buys what the account cannot."""
    nothing = asked(FLAT).reach(Action.SELL)
    assert nothing.changes == ()
    assert nothing.text == "nothing that the market or the clock does would sell it: not held"
    rules = RULES + "limits: {cap: {at_most: 1% of equity, per: symbol}}\n"
    full = asked(FLAT + "rsi: 20\n".replace("rsi: 20\n", ""), rules)
    assert "would buy it" not in full.reach(Action.BUY).text
    used = asked(FLAT.replace("rsi: 50", "rsi: 20") + "open_order: buy\n").reach(Action.BUY)
    assert used.text.startswith("nothing that the market or the clock does would buy it: ")
    unknown = asked("rsi: 20\nprice: 100 USD\nask: 100 USD\n").reach(Action.BUY)
    assert unknown.text == "nothing that the market or the clock does would buy it: target is unknown"


def test_a_rate_is_waited_for() -> None:
    """After the window of a rate limit its count is over; a count of positions stays."""
    facts = FLAT.replace("rsi: 50", "rsi: 20")
    rules = RULES + "limits: {rate: {at_most: 3 buys per 3m}, most: {at_most: 5 positions}}\n"
    question = asked(facts, rules)

    def reach(**usage: int) -> Counterfactuals:
        document = "facts:\n" + "".join(f"  {line}\n" for line in facts.splitlines())
        document += f"usage: {{{', '.join(f'{name}: {used}' for name, used in usage.items())}}}\n"
        statement = parse_statement(load_document(document, "facts.yaml"))
        vector = fact_vector(question.policy, question.lowered, question.listing, statement)
        return counterfactuals(
            question.policy, question.listing, question.lowered, vector, Action.BUY, Budget()
        )

    assert texts(reach(rate=3, most=0)) == ["3m more (rate has room again)"]
    assert reach(rate=0, most=5).text == (
        "nothing that the market or the clock does would buy it: the limit most"
    )


def test_the_budget_is_kept() -> None:
    """With no time left nothing is claimed."""
    question = asked(HELD)
    budget = Budget(over=lambda: True)
    found = counterfactuals(
        question.policy, question.listing, question.lowered, question.vector(), Action.SELL, budget
    )
    assert found.changes == ()
    assert found.text == "no change of what the market or the clock moves was found that would sell it"


# --- properties -------------------------------------------------------------------------------


@settings(max_examples=12)
@given(seed=seeds)
def test_each_change_replays_as_an_override(seed: int) -> None:
    """All that a change says of facts, stated with ``--what-if``, decides as asked."""
    rng = random.Random(seed)
    rsi = rng.randrange(0, 10_000) / 100
    equity, since = rng.randrange(5000, 20000), rng.randrange(0, 900)
    facts = (
        f"price: {rng.randrange(9000, 11000) / 100} USD\nask: 111 USD\nequity: {equity} USD\nrsi: {rsi}\n"
        f"macd.line: {rng.randrange(-100, 100) / 100} USD\nmacd.signal: 0.5 USD\nsince_order: {since}s\n"
    )
    if rng.randrange(3):
        facts += (
            f"position_qty: {rng.randrange(1, 20)}\nentry_price: 100 USD\nheld_for: {rng.randrange(7000)}s\n"
        )
    question = asked(facts)
    now = question.action()
    for action in Action:
        if action is now:
            continue
        movement = Movement(question.policy, question.listing, question.lowered, question.vector())
        _check(movement, search(movement, action, Budget()), action, rng)
        for change in question.reach(action).changes:
            stated = [
                _stated(fact.fact, fact.after) for fact in change.facts if fact.fact not in ("cash", "bid")
            ]
            assert question.action(*stated) is action, change


def _stated(fact: str, value: object) -> str:
    assert isinstance(value, float)
    if fact in ("gain", "drawdown", "weight"):
        return f"{fact}={value * 100:.2f}%"
    if fact.startswith(("since_", "held_for")):
        return f"{fact}={value:.0f}s"
    return f"{fact}={value}" if fact == "rsi" else f"{fact}={value:.8f} USD"


def _some_facts(form: LoweredPolicy, rng: random.Random) -> list[float]:
    values = random_facts(form, rng)
    for index, slot in enumerate(form.slots):
        if slot.origin.value in ("series", "feed") and rng.random() < 0.05:
            values[index] = math.nan
    return values


def _check(movement: Movement, found: Search, action: Action, rng: random.Random) -> int:
    """Hold what was found against points drawn at random; return how many of them gave the action."""
    form, reference, reached = movement.lowered, ReferenceEvaluator(movement.lowered), 0

    def gives(point: dict[int, int]) -> bool:
        if not movement.possible(point):
            return False
        values, situation = movement.at(point)
        return decide(reference, values, situation).action is action

    singles: dict[int, Fraction] = {}
    for one in found.found:
        assert gives(one.point), (form.name, one)
        if len(one.groups) == 1:
            singles[one.groups[0]] = one.distance
        if len(one.point) == 1:
            ((index, n),) = one.point.items()
            coordinate = movement.coordinates[index]
            if coordinate.rest is not None and not coordinate.counted:
                assert not gives({index: n - (1 if n > coordinate.rest else -1)}), "one step less would do"
    if not found.complete:
        return 0
    for _ in range(40):
        index = rng.randrange(len(movement.coordinates))
        coordinate = movement.coordinates[index]
        near = round((coordinate.rest or coordinate.usual) + rng.gauss(0, 3) * coordinate.scale)
        n = min(max(coordinate.low, near), coordinate.high)
        if n == coordinate.rest or not gives({index: n}):
            continue
        reached += 1
        assert not found.impossible
        if coordinate.group in singles:
            assert coordinate.distance(n) >= singles[coordinate.group] - Fraction(1, 10**5)
        else:
            assert len(singles) == 3, "three nearer ones were there"
    return reached


def test_of_random_policies_nothing_smaller_does(evidence: Evidence) -> None:
    """On random policies and facts: found is confirmed and least; what is not found is not there."""
    counted = {"questions": 0, "answered by a change": 0, "proved impossible": 0, "random points that do": 0}

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def hold(seed: int) -> None:
        rng = random.Random(seed)
        policy = load_policy(policy_text(rng), "random.yaml").required()
        listing = policy.traded[0]
        form = lower(policy, listing)
        for _ in range(2):
            values = _some_facts(form, rng)
            situation = random_situation(form, values, rng)
            at = rng.choice((None, 1_763_468_400_000))
            vector = Vector(at, values, bytes(len(values)), (Origin.RECORDED,) * len(values), situation)
            now = decide(ReferenceEvaluator(form), list(values), situation).action
            for action in (Action.BUY, Action.SELL):
                if action is now:
                    continue
                movement = Movement(policy, listing, form, vector)
                found = search(movement, action, Budget(question_limit=300_000))
                counted["questions"] += 1
                counted["answered by a change"] += bool(found.found)
                counted["proved impossible"] += found.impossible
                counted["random points that do"] += _check(movement, found, action, rng)

    hold()
    evidence("counterfactuals of random policies: " + ", ".join(f"{n} {name}" for name, n in counted.items()))
