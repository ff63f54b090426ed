"""Deciding one symbol: sizes to the last step, limits, would-exit, open orders, dispositions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import Action, Disposition
from engine.evaluate.reference import ReferenceEvaluator
from engine.model import OrderSide, OrderType
from engine.units import MONEY_SCALE, QUANTITY_SCALE, notional
from engine.verbs.decide import after_entry, cost_of, decide
from tests.engine.verbs.deciding import (
    COIN,
    FLAT,
    HELD,
    Decided,
    lowered_of,
    money,
    policy_of,
    quantity,
    situation_of,
    vector_of,
    working,
)

NAN = float("nan")
BUY = "rules: {enter: {priority: 1, when: price < 200 USD, then: %s}}\n"
SELL = "rules: {leave: {priority: 1, when: held and price > 50 USD, then: %s}}\n"


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "bought"),
    [
        ("buy to 1000 USD", 9.9),  # 1000 / 101 = 9.9009..., floored to 0.001
        ("buy to target", 9.9),
        ("buy to 50% of target", 4.95),
        ("buy to 10.1 USD", 0.1),
    ],
)
def test_buying_to_a_level(then: str, bought: float) -> None:
    """A level is money at the ask, floored to the step."""
    found = Decided(BUY % then, FLAT)
    assert (found.action, found.quantity, found.limit) == (Action.BUY, bought, 101.0)


def test_buying_adds_what_is_missing() -> None:
    """The position counts at the bid, what is bought at the limit price."""
    found = Decided(BUY % "buy to 2000 USD", HELD)
    assert found.quantity == 7.92  # (2000 - 1200) / 101 = 7.9207...


def test_an_additive_buy_ignores_the_position() -> None:
    """`buy X` buys X."""
    text = BUY.replace("then: %s", "then: buy 505 USD, once: day")
    assert Decided(text, HELD).quantity == 5.0


@pytest.mark.parametrize(
    ("then", "sold"),
    [
        ("sell all", 12.0),
        ("sell to 1000 USD", 2.0),
        ("sell to target", 2.0),
        ("sell to 333.33 USD", 8.666),  # 866.67 / 100 = 8.6667
        ("sell to 0 USD", 12.0),
    ],
)
def test_selling(then: str, sold: float) -> None:
    """Sells are measured at the bid and floored to the step."""
    found = Decided(SELL % then, HELD)
    assert (found.action, found.quantity, found.limit) == (Action.SELL, sold, 100.0)


def test_levels_in_quantity() -> None:
    """A level may be a quantity."""
    text = SELL.replace("then: %s", "then: sell to 25% of position_qty, once: day")
    assert Decided(text, HELD).quantity == 9.0


@given(
    cents=st.integers(1_000, 10**8),
    bid=st.integers(1, 10**7),
    spread=st.integers(0, 10**4),
    owned=st.integers(0, 10**5),
)
def test_a_level_is_never_passed(cents: int, bid: int, spread: int, owned: int) -> None:
    """`buy to X` ends at or below X and less than a step below; prices in cents, quantities in steps."""
    ask = bid + spread
    value = owned * bid / 100_000
    facts = {
        **FLAT,
        "price": bid / 100,
        "bid": bid / 100,
        "ask": ask / 100,
        "position_qty": owned / 1000,
        "position_value": value,
        "held": float(owned > 0),
        "cash": 1e9,
    }
    found = Decided(BUY.replace("price < 200 USD", "price > 0 USD") % f"buy to {cents / 100:.2f} USD", facts)
    if found.decision.order is None:
        return
    missing = cents - round(value * 100)  # cents
    bought = found.decision.order.quantity * ask * 1000  # in units of 1e-9 coin x 1e-3 cent
    assert bought <= missing * 10**12
    assert missing * 10**12 - bought < COIN.quantity_step_scaled * ask * 1000


# --- the least step of a level ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(949.99, "acted"), (950.0, "acted"), (950.01, "at_level"), (1000.0, "at_level"), (1100.0, "at_level")],
)
def test_a_level_within_its_least_step(value: float, outcome: str) -> None:
    """A buy to a level moves the position by 5 % of the level at least, else it is at its level."""
    facts = {**HELD, "position_value": value, "position_qty": value / 100}
    assert Decided(BUY % "buy to 1000 USD", facts).of("enter") == outcome


@pytest.mark.parametrize(
    ("value", "outcome"), [(1049.99, "at_level"), (1050.0, "acted"), (900.0, "at_level")]
)
def test_a_trim_within_its_least_step(value: float, outcome: str) -> None:
    """So does a trim; below the level there is nothing to trim."""
    facts = {**HELD, "position_value": value, "position_qty": value / 100}
    assert Decided(SELL % "sell to 1000 USD", facts).of("leave") == outcome


def test_a_stated_least_step() -> None:
    """A rule may state its own."""
    text = BUY.replace("then: %s", "then: buy to 1000 USD, min_step: 50%")
    facts = {**HELD, "position_value": 600.0, "position_qty": 6.0}
    assert Decided(text, facts).of("enter") == "at_level"


def test_selling_all_has_no_least_step() -> None:
    """`sell all` is never too little."""
    facts = {**HELD, "position_value": 10.0, "position_qty": 0.1, "minimum": 0.1}
    assert Decided(SELL % "sell all", facts).of("leave") == "acted"


# --- dust and minimums ------------------------------------------------------------------------


def test_a_trim_that_would_leave_dust_sells_all() -> None:
    """Less than the minimum may not be left behind; just the minimum may."""
    facts = {**HELD, "minimum": 0.5}
    assert Decided(SELL % "sell to 49 USD", facts).quantity == 12.0
    assert Decided(SELL % "sell to 50 USD", facts).quantity == 11.5


def test_a_trim_without_a_known_minimum() -> None:
    """Where the minimum is Unknown a trim is denied, `sell all` is not."""
    facts = {**HELD, "minimum": NAN}
    assert Decided(SELL % "sell to 50 USD", facts).of("leave") == "denied(size_unknown)"
    assert Decided(SELL % "sell all", facts).of("leave") == "acted"


def test_what_is_less_than_a_step_cannot_be_sold() -> None:
    """A quantity off the step is floored: the venue would refuse it."""
    found = Decided(SELL % "sell all", HELD, quantity=quantity("12.0004"))
    assert found.quantity == 12.0


@pytest.mark.parametrize(
    ("then", "facts", "outcome"),
    [
        ("buy to 9.99 USD", FLAT, "denied(below_minimum)"),
        ("buy to 0.02 USD", FLAT, "denied(zero_size)"),
        ("buy to target", {**FLAT, "target": NAN}, "denied(size_unknown)"),
        ("buy to target", {**FLAT, "ask": NAN}, "denied(size_unknown)"),
        ("buy to target", {**FLAT, "equity_estimated": 0.0501}, "denied(equity_estimated)"),
        ("buy to target", {**FLAT, "equity_estimated": NAN}, "denied(equity_estimated)"),
        ("buy to target", {**FLAT, "equity_estimated": 0.05}, "acted"),
    ],
)
def test_denied_buys(then: str, facts: dict[str, float], outcome: str) -> None:
    """A refusal of ours has a stated reason, and the symbol holds."""
    found = Decided(BUY % then, facts)
    assert found.of("enter") == outcome
    assert found.action is (Action.BUY if outcome == "acted" else Action.HOLD)


def test_trims_need_the_equity_and_stops_do_not() -> None:
    """With estimated equity a trim is denied, a protective one and `sell all` are not."""
    facts = {**HELD, "equity_estimated": 0.2, "gain": -0.5}
    assert Decided(SELL % "sell to 100 USD", facts).of("leave") == "denied(equity_estimated)"
    assert Decided(SELL % "sell all", facts).of("leave") == "acted"
    stop = (
        "rules: {stop: {priority: 1, protective: true, when: held and gain < -10%, then: sell to 100 USD}}\n"
    )
    assert Decided(stop, facts).of("stop") == "acted"


def test_other_denials() -> None:
    """No instrument, outside the universe, and waiting after a rejection."""
    assert Decided(BUY % "buy to target", FLAT, instrument=None).of("enter") == "denied(no_instrument)"
    assert Decided(SELL % "sell all", HELD, instrument=None).of("leave") == "denied(no_instrument)"
    assert Decided(BUY % "buy to target", FLAT, may_enter=False).of("enter") == "denied(outside_universe)"
    assert Decided(BUY % "buy to target", FLAT, backoff=True).of("enter") == "denied(backoff)"
    assert Decided(SELL % "sell all", HELD, backoff=True, may_enter=False).of("leave") == "acted"


# --- prices -----------------------------------------------------------------------------------


def test_limit_prices_are_on_the_tick() -> None:
    """A buy's limit is rounded up, a sell's down: rounding never makes a marketable order rest."""
    orders = "orders: {buy: {limit: 100.123% of ask}, sell: {limit: 99.987% of bid}}\n"
    assert Decided(BUY % "buy to target", FLAT, orders=orders).limit == 101.13
    assert Decided(SELL % "sell all", HELD, orders=orders).limit == 99.98


def test_market_orders_have_no_limit() -> None:
    """They are sized, and reserve, at the touch."""
    orders = "orders: {buy: {type: market}, sell: {type: market}}\n"
    found = Decided(BUY % "buy to target", FLAT, orders=orders)
    order = found.decision.order
    assert order is not None
    assert (order.order_type, order.limit_price, found.quantity) == (OrderType.MARKET, None, 9.9)
    assert order.sized_at == 101 * 10**8


# --- would-exit -------------------------------------------------------------------------------

EXIT = """
rules:
  leave: {priority: 900, when: held and %s, then: sell all}
  enter: {priority: 100, when: price < 200 USD, then: buy to 1000 USD}
  other: {priority: 50, when: price < 200 USD, then: buy to 100 USD}
"""


@pytest.mark.parametrize(
    ("condition", "entry", "other"),
    [
        (
            "position_value > 500 USD",
            "vetoed(would-exit)",
            "acted",
        ),  # true for the first, false for the second
        ("position_value > 50 USD", "vetoed(would-exit)", "vetoed(would-exit)"),
        ("gain < -0.5%", "vetoed(would-exit)", "vetoed(would-exit)"),  # bought at the ask, worth the bid
        ("gain < -1.5%", "acted", "concurred(enter)"),
        ("weight > 5%", "vetoed(would-exit)", "acted"),
        ("entries >= 1", "vetoed(would-exit)", "vetoed(would-exit)"),
        ("held_for >= 1s", "acted", "concurred(enter)"),
        ("since_buy < 1m", "vetoed(would-exit)", "vetoed(would-exit)"),
        ("peak_gain > 0%", "acted", "concurred(enter)"),
        ("price < 99.5% of peak_price", "vetoed(would-exit)", "vetoed(would-exit)"),
    ],
)
def test_an_entry_is_tried_against_the_exits(condition: str, entry: str, other: str) -> None:
    """What would be sold at once is not bought; the next entry is tried."""
    found = Decided(EXIT % condition, FLAT)
    assert (found.of("enter"), found.of("other")) == (entry, other)


def test_an_exit_that_would_be_unknown() -> None:
    """An exit that is false while nothing is held, and Unknown with the order filled, forbids the entry."""
    found = Decided(EXIT % "equity > 1 USD and drawdown > 5%", {**FLAT, "drawdown": NAN})
    assert found.of("enter") == "vetoed(would-exit)"
    assert found.action is Action.HOLD


def test_adding_to_a_position_is_tried_too() -> None:
    """Cost, peak and entries go on from what is held."""
    text = EXIT.replace("1000 USD", "3000 USD")
    assert Decided(text % "entries >= 2", HELD).of("enter") == "vetoed(would-exit)"
    assert Decided(text % "entry_price > 100.5 USD", HELD).of("enter") == "vetoed(would-exit)"
    assert Decided(text % "entry_price > 100.7 USD", HELD).of("enter") == "acted"
    assert Decided(text % "peak_price > 120 USD", HELD).of("enter") == "acted"


def test_by_priority_does_not_try() -> None:
    """Under `by_priority` what wins is bought, whatever the exits would say."""
    found = Decided(EXIT % "position_value > 50 USD", FLAT, selection="by_priority")
    assert found.of("enter") == "acted"


def test_dust_keeps_no_entry_back() -> None:
    """What little is owned without being held goes into the cost, and an exit is tried on the whole."""
    facts = {**FLAT, "position_qty": 0.05, "position_value": 5.0, "dust": 1.0}
    for cost, entry in ((5, "acted"), (60, "vetoed(would-exit)")):
        found = Decided(EXIT % "gain < -5%", facts, dust_cost=money(cost))
        assert found.of("enter") == entry


def test_facts_after_an_entry() -> None:
    """A first entry starts peak, gain and age; quantity, value and weight follow the whole order."""
    policy = policy_of(
        "rules: {leave: {priority: 1, when: held and gain < 0% and peak_gain < 0% and weight > 1%"
        " and held_for > 1m and entries > 3 and since_order > 1m, then: sell all}}\n"
    )
    lowered = lowered_of(policy)
    after = after_entry(lowered, vector_of(lowered, FLAT), quantity(10))
    facts = {slot.name: value for slot, value in zip(lowered.slots, after, strict=True)}
    assert facts["position_qty"] == 10.0
    assert facts["position_value"] == 1000.0
    assert facts["weight"] == 0.1
    assert facts["gain"] == -0.0099
    assert (facts["peak_gain"], facts["held_for"], facts["entries"], facts["since_order"]) == (0, 0, 1, 0)
    assert facts["cash"] == FLAT["cash"]


# --- limits -----------------------------------------------------------------------------------


def limits(text: str) -> str:
    """Return a buy to 5,000 USD under limits."""
    return BUY % "buy to 5000 USD" + f"limits: {{{text}}}\n"


@pytest.mark.parametrize(
    ("text", "usage", "outcome", "bought"),
    [
        ("cap: {at_most: 1010 USD, per: order}", (0,), "acted", 10.0),
        ("cap: {at_most: 2020 USD, per: symbol}", (money(1010),), "acted", 10.0),
        ("cap: {at_most: 20% of equity, per: class}", (money(990),), "acted", 10.0),
        ("cap: {at_most: 2000 USD, per: portfolio}", (money(2000),), "limited(cap)", 0.0),
        ("cap: {at_most: 2000 USD, per: portfolio}", (money(3000),), "limited(cap)", 0.0),
        ("cap: {at_most: 2000 USD, per: portfolio}", (None,), "denied(limit_unknown)", 0.0),
        ("least: {at_least: 5000 USD, per: order}", (0,), "limited(least)", 0.0),
        ("least: {at_least: 4900 USD, per: order}", (0,), "acted", 49.504),
        ("rate: {at_most: 3 buys per 3m}", (2,), "acted", 49.504),
        ("rate: {at_most: 3 buys per 3m}", (3,), "limited(rate)", 0.0),
        ("rate: {at_most: 3 buys per 3m}", (None,), "limited(rate)", 0.0),
        ("few: {at_most: 4 positions}", (3,), "acted", 49.504),
        ("few: {at_most: 4 positions}", (4,), "limited(few)", 0.0),
        ("reserve: {at_least: 5000 USD, kept: cash}", (0,), "acted", 49.504),
        ("reserve: {at_least: 5001 USD, kept: cash}", (0,), "limited(reserve)", 0.0),
        (
            "cap: {at_most: 1010 USD, per: order}, least: {at_least: 2000 USD, per: order}",
            (0, 0),
            "limited(least)",
            0.0,
        ),
        ("a: {at_most: 2020 USD, per: order}, b: {at_most: 1010 USD, per: order}", (0, 0), "acted", 10.0),
        ("a: {at_most: 1010 USD, per: order}, b: {at_most: 2020 USD, per: order}", (0, 0), "acted", 10.0),
        ("cap: {at_most: 10% of equity, per: order}", (0,), "acted", 9.9),
    ],
)
def test_limits(text: str, usage: tuple[int | None, ...], outcome: str, bought: float) -> None:
    """Money shrinks, a count and a least amount deny, the smallest result stands, an Unknown limit denies."""
    found = Decided(limits(text), FLAT, usage=usage)
    assert (found.of("enter"), found.quantity) == (outcome, bought)


def test_the_limit_that_shrank_is_named() -> None:
    """A shrunk order acts, and says which limit shrank it."""
    text = "rate: {at_most: 3 buys per 3m}"
    text += ", a: {at_most: 2020 USD, per: order}, b: {at_most: 1010 USD, per: order}"
    order = Decided(limits(text), FLAT, usage=(0, 0, 0)).decision.order
    assert order is not None and order.limited_by == 2
    order = Decided(limits("a: {at_most: 9999 USD, per: order}"), FLAT).decision.order
    assert order is not None and order.limited_by == -1


def test_an_unknown_bound_denies() -> None:
    """A limit that reads an Unknown fact denies entries, never exits."""
    text = limits("cap: {at_most: 10% of equity, per: order}")
    assert Decided(text, {**FLAT, "equity": NAN}).of("enter") == "denied(limit_unknown)"
    text = SELL % "sell all" + "limits: {cap: {at_most: 10% of equity, per: order}}\n"
    assert Decided(text, {**HELD, "equity": NAN}, usage=(None,)).of("leave") == "acted"


def test_a_held_symbol_needs_no_further_position() -> None:
    """The count of positions does not stop adding to one that is there."""
    found = Decided(limits("few: {at_most: 4 positions}"), HELD, usage=(4,))
    assert found.of("enter") == "acted"


def test_limits_leave_sells_alone() -> None:
    """Limits act on buys only; one exceeded already forces nothing."""
    text = (
        SELL % "sell all" + "limits: {cap: {at_most: 1 USD, per: symbol}, rate: {at_most: 1 buys per 1d}}\n"
    )
    assert Decided(text, HELD, usage=(money(99999), 9)).of("leave") == "acted"


@given(
    cash=st.integers(0, 2 * 10**10),
    fee_ppm=st.integers(0, 20_000),
    ask=st.integers(1, 10**6),
    wanted=st.integers(1000, 10**7),
)
def test_cash_is_never_overdrawn(cash: int, fee_ppm: int, ask: int, wanted: int) -> None:
    """What a buy reserves, fee included, is never more than there is; one step more would often be."""
    facts = {**FLAT, "bid": ask / 100, "price": ask / 100, "ask": ask / 100}
    text = BUY.replace("price < 200 USD", "price > 0 USD") % f"buy to {wanted} USD"
    found = Decided(text, facts, cash_available=cash, fee_ppm=fee_ppm)
    order = found.decision.order
    if order is None:
        assert found.of("enter") in ("denied(cash)", "denied(below_minimum)", "denied(zero_size)")
        return
    cost = cost_of(order.quantity, order.sized_at, fee_ppm)
    assert cost >= notional(order.quantity, order.sized_at) * (10**6 + fee_ppm) // 10**6
    assert cost <= cash


# --- open orders ------------------------------------------------------------------------------

BOTH = """
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  trim:  {priority: 800, when: held and price > 50 USD, then: sell to 1000 USD}
  enter: {priority: 100, when: price < 200 USD, then: buy to 5000 USD}
"""


def test_a_further_buy_while_an_order_is_open() -> None:
    """It is `working` and sends nothing, whatever the open order is."""
    text = BUY % "buy to 5000 USD"
    for order in (working(OrderSide.BUY, 1), working(OrderSide.SELL, 1)):
        found = Decided(text, FLAT, working=order)
        assert (found.of("enter"), found.action, found.decision.order) == ("working", Action.HOLD, None)


@pytest.mark.parametrize(
    ("order", "outcome", "cancels"),
    [
        (working(OrderSide.SELL, 2, rule="trim"), "working", False),
        (working(OrderSide.SELL, "1.5", rule="trim"), "working", False),  # the same exit, priced a little off
        (working(OrderSide.SELL, 2, rule="older"), "working", False),
        (working(OrderSide.SELL, 1, rule="older"), "awaiting_cancel", True),
        (working(OrderSide.BUY, 9), "awaiting_cancel", True),
        (working(OrderSide.BUY, 9, cancelling=True), "awaiting_cancel", False),
    ],
)
def test_a_trim_and_an_open_order(order: Any, outcome: str, cancels: bool) -> None:  # noqa: ANN401 - an order
    """The same exit is working; a larger one replaces a smaller sell, any replaces a buy; it stays a sell."""
    found = Decided(BOTH, HELD, working=order)
    assert (found.of("trim"), found.action, found.decision.order) == (outcome, Action.SELL, None)
    assert found.decision.cancel == ("w" if cancels else None)


def test_a_stop_and_an_open_trim() -> None:
    """A full exit replaces the trim: first it is cancelled, then all that is left is sold."""
    facts = {**HELD, "gain": -0.2}
    found = Decided(BOTH, facts, working=working(OrderSide.SELL, 2, rule="trim"))
    assert (found.of("stop"), found.of("trim"), found.decision.cancel) == (
        "awaiting_cancel",
        "concurred(stop)",
        "w",
    )
    found = Decided(BOTH, {**facts, "position_qty": 11.0, "position_value": 1100.0})
    assert (found.of("stop"), found.quantity) == ("acted", 11.0)


def test_a_stop_whose_order_is_partly_filled() -> None:
    """What is left at the venue is all that is left to sell."""
    facts = {**HELD, "gain": -0.2, "position_qty": 7.0, "position_value": 700.0}
    found = Decided(BOTH, facts, working=working(OrderSide.SELL, 12, rule="trim", filled=5))
    assert found.of("stop") == "working"


# --- dispositions of signals ------------------------------------------------------------------

SIGNALS = """
signals:
  one: {votes: {a: {weight: 1, buy: price < 150 USD, sell: price > 150 USD}}}
rules:
  leave: {priority: 900, when: held and one.side == sell, then: sell all}
  enter: {priority: 100, when: one.side == buy, then: buy to 1000 USD}
  plain: {priority: 90, when: price < 200 USD, then: buy to 500 USD}
"""


def signal(found: Decided) -> str:
    """Return what became of the only signal."""
    return Disposition(found.decision.signal_dispositions[0]).word


def test_a_signal_has_what_became_of_who_adopts_it() -> None:
    """The highest candidate that adopts it decides; without one, concurred or not adopted."""
    assert signal(Decided(SIGNALS, FLAT)) == "acted"
    assert signal(Decided(SIGNALS, {**FLAT, "agent_state": 1.0})) == "vetoed"
    assert signal(Decided(SIGNALS, FLAT, cash_available=0)) == "denied"
    rising = {**FLAT, "price": 180.0, "bid": 180.0, "ask": 181.0}
    assert signal(Decided(SIGNALS, rising)) == "not_adopted", "it sells, and nothing is held"
    unadopted = SIGNALS.replace("one.side == buy", "price < 201 USD")
    assert signal(Decided(unadopted, FLAT)) == "concurred", "the decision is its side"
    flat = {**FLAT, "price": 150.0, "bid": 150.0, "ask": 150.0}
    assert signal(Decided(SIGNALS, flat)) == "none"


@given(
    st.dictionaries(
        st.sampled_from([name for name in HELD if name not in ("bid", "price")]), st.just(NAN), max_size=4
    ),
    st.sampled_from([FLAT, HELD, {**HELD, "gain": -0.2}]),
    st.sampled_from([None, working(OrderSide.SELL, 2), working(OrderSide.BUY, 2)]),
)
def test_every_candidate_has_one_disposition(
    unknown: dict[str, float],
    facts: dict[str, float],
    order: Any,  # noqa: ANN401 - an order or none
) -> None:
    """Exactly the rules that matched have one, at most one acts, and an order comes with it."""
    policy = policy_of(BOTH)
    lowered = lowered_of(policy)
    values = vector_of(lowered, {**facts, **unknown})
    situation = situation_of(lowered, facts, working=order)
    found = decide(ReferenceEvaluator(lowered), values, situation)
    for truth, disposition in zip(found.truths, found.dispositions, strict=True):
        assert (truth == 1) == (disposition != Disposition.NONE)
    acted = [i for i, disposition in enumerate(found.dispositions) if disposition == Disposition.ACTED]
    assert len(acted) <= 1
    assert (found.order is not None) == bool(acted)
    if found.order is not None:
        assert found.order.quantity > 0
        assert found.order.quantity <= quantity(12) or found.order.side is OrderSide.BUY


def test_scales_of_this_file() -> None:
    """A dollar and a coin are what the tests take them for."""
    assert money(1) == MONEY_SCALE
    assert quantity(1) == QUANTITY_SCALE
