"""Facts files: how they are read, completed, and what contradicts itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import UnknownReason
from engine.errors import PolicyError
from engine.language.load import load_policy
from engine.language.lower import lower
from engine.language.source import load_document
from engine.lowered import LimitKind
from engine.units import MONEY_SCALE, QUANTITY_SCALE
from engine.verbs.statement import Statement, parse_statement, what_if_statement
from engine.verbs.vector import Origin, Vector, fact_vector
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden" / "statement"
POLICY = load_policy(
    """\
apiVersion: tradectl/v1
policy: facts-study
version: 1.0.0
timezone: America/New_York
selection: exits_first
bars: 15m
universe:
  crypto: {calendar: 24/7, weights: {DOGE-USD: 2%}}
  stock:  {calendar: NYSE, weights: {SPY: 10%}}
indicators: {rsi: rsi(14), macd: "macd(12, 26, 9)", mood: close on SPY 1h}
signals:
  tips: {from: feed, max_age: 15m}
  trend:
    votes:
      rsi:  {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      tips: {weight: 1, buy: tips.side == buy, sell: tips.side == sell, if_unknown: abstain}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  exit: {priority: 800, when: held and trend.side == sell and trend.confidence > 60%, then: sell all}
  late: {priority: 700, when: held and peak_gain >= 5% and weight > 3%, then: sell to target}
  dip:
    priority: 100
    when: rsi < 35 and rsi > prev(rsi) and macd.line > macd.signal and close > highest(high, 20) - 1 USD
    then: buy to target
    once: day
  slow:
    priority: 90
    when: since_sell < 1h and time >= 10:00 and weekday == tue and mood > 1 USD
    then: hold
gates:
  hours:    {vetoes: [buy, sell, protective], when: session != regular}
  cooldown: {vetoes: [buy], when: since_order < 5m or since_buy < 10 bars or quote_age > 1m}
limits:
  rate:     {at_most: 3 buys per 3m}
  places:   {at_most: 2 positions}
  symbol:   {at_most: 30% of equity, per: symbol}
  class:    {at_most: 50% of equity, per: class}
""",
    "facts-study.yaml",
).required()


def stated(text: str, *, reasons_required: bool = False) -> Statement:
    """Parse a facts file."""
    return parse_statement(load_document(text, "facts.yaml"), reasons_required=reasons_required)


def vector_of(
    text: str, *what_if: str, symbol: str = "DOGE-USD", replaced: dict[str, float] | None = None
) -> Vector:
    """Return the fact vector of a facts file."""
    listing = POLICY.listing(symbol)
    assert listing is not None
    overrides = what_if_statement(what_if) if what_if else None
    statement = stated(text)
    return fact_vector(
        POLICY, lower(POLICY, listing), listing, statement, what_if=overrides, replaced=replaced
    )


def fact(vector: Vector, name: str, symbol: str = "DOGE-USD") -> tuple[float, UnknownReason, Origin]:
    """Return a fact's value, reason and origin."""
    listing = POLICY.listing(symbol)
    assert listing is not None
    slot = lower(POLICY, listing).slot(name)
    return vector.values[slot], UnknownReason(vector.reasons[slot]), vector.origins[slot]


def value(vector: Vector, name: str) -> float:
    """Return a fact's value."""
    return fact(vector, name)[0]


HELD = "facts: {position_qty: 20000, price: 0.16 USD, entry_price: 0.2 USD, equity: 100000 USD}"


def test_what_is_stated_is_read_in_its_unit() -> None:
    """Each type of fact has its spelling, bar-derived facts their canonical text."""
    vector = vector_of(
        """\
at: 2025-11-18T15:03:27Z
facts:
  held: false
  rsi: 51.30
  prev( rsi ): 49
  macd.line: -0.0012 USD
  highest(high,20): 0.17 USD
  tips: {side: sell, confidence: 57%}
  trend.side: buy
  since_order: 4m
  quote_age: 1s
  session: closed
  once.dip: true
  price: 0.16 USD
"""
    )
    names = ("held", "rsi", "prev(rsi)", "macd.line", "highest(high, 20)", "tips.side", "trend.side")
    assert [value(vector, name) for name in names] == [0.0, 51.3, 49.0, -0.0012, 0.17, 2.0, 1.0]
    more = ("since_order", "quote_age", "session", "once.dip", "time", "weekday")
    assert [value(vector, name) for name in more] == [240.0, 1.0, 3.0, 1.0, 36207.0, 1.0]
    assert fact(vector, "trend.confidence")[1:] == (UnknownReason.NOT_STATED, Origin.ABSENT)
    assert vector.stated_mask == 1


def test_what_follows_is_derived() -> None:
    """Position value, weight, gain, target, held, cash and the bid follow from what is stated."""
    vector = vector_of(HELD)
    derived = {
        name: value(vector, name)
        for name in ("bid", "held", "position_value", "weight", "gain", "target", "cash")
    }
    assert derived == {
        "bid": 0.16,
        "held": 1.0,
        "position_value": 3200.0,
        "weight": 0.032,
        "gain": -0.2,
        "target": 2000.0,
        "cash": 96800.0,
    }
    assert {fact(vector, name)[2] for name in derived} == {Origin.DERIVED}
    assert fact(vector, "peak_gain")[1] is UnknownReason.NOT_STATED
    assert vector.situation.quantity == 20000 * QUANTITY_SCALE
    assert vector.situation.cash_available == 96800 * MONEY_SCALE


def test_what_is_derived_beyond_its_range_is_unknown() -> None:
    """As an agent's facts are: out of range is Unknown with its reason, and no contradiction."""
    vector = vector_of("facts: {position_qty: 1, price: 100000 USD, entry_price: 0.01 USD}")
    assert fact(vector, "gain")[1:] == (UnknownReason.OVERFLOW, Origin.DERIVED)


def test_what_nobody_states_is_what_it_was_before_anything_happened() -> None:
    """Flat, active, never ordered; what needs a source is Unknown, and no market is assumed open."""
    vector = vector_of("facts: {price: 0.16 USD}")
    assert [value(vector, name) for name in ("held", "position_qty", "lease", "frozen", "quote_state")] == [
        0,
        0,
        1,
        0,
        0,
    ]
    assert value(vector, "since_order") == value(vector, "since_sell") == 3650 * 86400
    assert fact(vector, "gain")[1] is UnknownReason.NO_POSITION
    assert fact(vector, "rsi")[1] is UnknownReason.NOT_STATED
    assert value(vector, "session") == 1.0
    stock = vector_of("facts: {}", symbol="SPY")
    assert fact(stock, "session", "SPY")[1] is UnknownReason.NOT_STATED
    assert fact(stock, "quote_state", "SPY")[0] == 2.0
    assert fact(stock, "quote_age", "SPY")[1] is UnknownReason.NOT_STATED


def test_facts_of_an_episode_say_that_something_is_held() -> None:
    """A gain alone is that of a position; a value without a price proves nothing."""
    assert fact(vector_of("facts: {gain: -9%}"), "held") == (1.0, UnknownReason.KNOWN, Origin.DERIVED)
    unknown = vector_of("facts: {position_value: 10 USD}")
    assert math.isnan(value(unknown, "held"))
    assert fact(unknown, "held")[1] is UnknownReason.NOT_STATED


def test_held_of_an_unknown_quantity_can_be_sold() -> None:
    """Where only ``held`` is stated, the least that counts as held stands for the quantity."""
    vector = vector_of("facts: {held: true, price: 0.16 USD}")
    assert math.isnan(value(vector, "position_qty"))
    assert vector.situation.quantity == 1
    assert vector.situation.counted


def test_an_order_that_was_a_buy_or_a_sell_leaves_open_which() -> None:
    """``since_order`` alone makes ``since_sell`` and the count in bars Unknown, not "never"."""
    vector = vector_of("facts: {since_order: 5m}")
    assert fact(vector, "since_sell")[1] is UnknownReason.NOT_STATED
    assert fact(vector, "since_buy_bars")[1] is UnknownReason.NOT_STATED
    known = vector_of("facts: {since_sell: 5m}")
    assert fact(known, "since_order") == (300.0, UnknownReason.KNOWN, Origin.DERIVED)
    bought = vector_of("facts: {since_order: 5m, since_sell: 10m}")
    assert fact(bought, "since_sell") == (600.0, UnknownReason.KNOWN, Origin.STATED)
    sold = vector_of("facts: {since_order: 5m, since_sell: 5m}")
    assert value(sold, "since_order") == 300.0
    assert value(vector_of("facts: {since_order: never}"), "since_sell") == 3650 * 86400


def test_unknown_can_be_stated_with_a_reason() -> None:
    """``unknown`` is a value of every fact."""
    vector = vector_of("facts: {rsi: unknown(warm_up), session: unknown, held: unknown(quantity_changed)}")
    assert fact(vector, "rsi")[1] is UnknownReason.WARM_UP
    assert fact(vector, "session")[1] is UnknownReason.MISSING
    assert fact(vector, "held")[1] is UnknownReason.QUANTITY_CHANGED


def test_usage_of_limits() -> None:
    """What a limit has used may be stated; else it is this symbol's own position."""
    vector = vector_of(f"{HELD}\nusage: {{rate: 2, class: 5000.50 USD}}")
    listing = POLICY.listing("DOGE-USD")
    assert listing is not None
    used = dict(
        zip([limit.name for limit in lower(POLICY, listing).limits], vector.situation.usage, strict=True)
    )
    own = 3200 * MONEY_SCALE
    assert used == {"rate": 2, "places": 1, "symbol": own, "class": 5000_500_000}
    unknown = vector_of("facts: {held: true}")
    kinds = [limit.kind for limit in lower(POLICY, listing).limits]
    assert unknown.situation.usage[kinds.index(LimitKind.EXPOSURE_AT_MOST)] is None


def test_weights_make_side_and_confidence() -> None:
    """A signal whose three weights are stated has the side and confidence of a count."""
    vector = vector_of("facts: {trend: {buy: 1, sell: 2, hold: 0.5}}")
    assert (value(vector, "trend.side"), value(vector, "trend.confidence")) == (2.0, 0.57)


def test_an_override_takes_the_place_of_what_follows_from_it() -> None:
    """Another price makes another value, gain and weight; what is not touched stays."""
    vector = vector_of(f"{HELD[:-1]}, position_value: 3200 USD, gain: -20%}}", "price=0.1 USD")
    assert value(vector, "position_value") == 2000.0
    assert value(vector, "gain") == -0.5
    assert fact(vector, "price")[2] is Origin.WHAT_IF
    assert fact(vector, "position_qty")[2] is Origin.STATED


def test_an_override_of_an_input_of_a_stated_signal_says_so() -> None:
    """The votes of a stated signal are not evaluated; the note names the fact that changes nothing."""
    vector = vector_of("facts: {rsi: 50, trend: {side: sell, confidence: 57%}}", "rsi=81")
    assert vector.notes == ("trend is stated, so its votes are not evaluated: rsi changes nothing in it",)
    assert vector_of("facts: {rsi: 50}", "rsi=81").notes == ()


def test_an_override_of_a_voted_signal_keeps_what_its_votes_make() -> None:
    """Only the confidence is another: side and weights are counted from the votes."""
    vector = vector_of("facts: {rsi: 75, tips.side: sell}", "trend.confidence=61%")
    assert (value(vector, "trend.side"), value(vector, "trend.confidence")) == (2.0, 0.61)
    assert vector.stated_mask == 1


def test_assumptions_keep_their_reason_and_range() -> None:
    """An assumption is typed with its range; another value can be put in its place."""
    text = """\
assumed:
  equity: {value: 100000 USD, range: [1000 USD, 200000 USD], because: not in the log}
  session: {value: regular, range: [regular, closed], because: coins never sleep}
  price: 0.16 USD
"""
    vector = vector_of(text)
    by_name = {assumed.name: assumed for assumed in vector.assumptions}
    assert by_name["equity"].bounds == (1000.0, 200000.0)
    assert by_name["equity"].because == "not in the log"
    assert by_name["session"].bounds == (1.0, 3.0)
    assert value(vector_of(text, replaced={"equity": 1000.0}), "target") == 20.0


def test_what_the_policy_does_not_read_is_said() -> None:
    """A fact of the vocabulary that this policy does not read is information, no mistake."""
    vector = vector_of("facts: {drawdown: 5%, unguarded: false}")
    assert [problem.code for problem in vector.problems] == ["not-read", "not-read"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("facts: {held: false, gain: 5%}", "nothing is held"),
        ("facts: {held: true, position_qty: 0}", "position_qty >= minimum is false"),
        ("facts: {position_qty: 5, price: 1 USD, position_value: 6 USD}", "position_qty x price is 5.00 USD"),
        ("facts: {price: 1 USD, bid: 2 USD}", "the bid is 2.00 USD"),
        ("facts: {bid: 2 USD, ask: 1 USD}", "'bid' (2.00 USD) is above 'ask' (1.00 USD)"),
        ("facts: {cash: 5 USD, equity: 1 USD}", "'cash' (5.00 USD) is above 'equity' (1.00 USD)"),
        ("facts: {since_order: 10m, since_sell: 5m}", "above 'since_sell' (5m)"),
        ("facts: {trend: {side: none, confidence: 5%}}", "a side of none has 0 %"),
        ("facts: {trend: {buy: 1, sell: 2, hold: 0, side: buy}}", "its weights make it sell"),
        ("facts: {target_weight: 3%}", "the policy's universe says 2 %"),
        ("facts: {high: 1 USD, close: 2 USD}", "above 'high'"),
        ("facts: {gain: 5%, price: 1 USD, entry_price: 1 USD}", "price / entry_price - 1 is 0 %"),
        ("facts: {peak_price: 1 USD, entry_price: 2 USD}", "above 'peak_price'"),
        ("facts: {equity: 100 USD, target: 3 USD}", "target_weight x equity is 2.00 USD"),
    ],
)
def test_contradictions_are_errors_that_name_both(text: str, expected: str) -> None:
    """What cannot be together is refused where it stands."""
    with pytest.raises(PolicyError) as caught:
        vector_of(text)
    assert expected in caught.value.render()
    assert {problem.code for problem in caught.value.problems} == {"contradiction"}
    assert caught.value.source.name == "facts.yaml"


def test_a_contradiction_made_by_an_override_points_at_the_override() -> None:
    """It is the override that cannot be, not the file."""
    with pytest.raises(PolicyError) as caught:
        vector_of(HELD, "gain=5%")
    assert caught.value.source.name == "--what-if"
    assert "'gain' is 5 %, but price / entry_price - 1 is -20 %" in caught.value.render()


BROKEN = {
    "shape": """\
symbol: [DOGE-USD]
at: 2025-11-18T12:03:27
facts:
  rsi: [1, 2]
  trend: {side: sell, confidense: 57%}
assumed:
  equity: {value: 1 USD, becaus: no}
  price: {value: 1 USD, range: 3}
fact: {}
""",
    "not-a-mapping": "facts: [rsi, 3]\n",
    "values": """\
facts:
  rsi: 51.305
  helt: true
  trend: {side: SELL, confidence: 0.57}
  price: 0.16
  since_order: 90
  session: closd
  held: yes
  trend.side: sell
  cash: -5 USD
  prev(rsi): 120
  calendar: NYSE
  macd.line: unknown(bored)
  quote_age: rsi
  tips.confidence: 5%%
assumed:
  equity: {value: 100000 USD, range: [1 USD, 2 USD], because: guessed}
usage: {rat: 2, symbol: 3}
""",
    "contradictions": """\
facts:
  held: true
  position_qty: 0
  price: 0.16 USD
  bid: 0.17 USD
  ask: 0.15 USD
  equity: 1000 USD
  target: 100 USD
""",
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_mistakes_are_told_with_place_and_cure(name: str, update_golden: bool) -> None:
    """Every mistake of a file in one run, each with its line, a caret and what to write."""
    with pytest.raises(PolicyError) as caught:
        vector_of(BROKEN[name])
    assert_golden(caught.value.render(), GOLDEN / f"{name}.txt", update_golden)


def test_cases_need_reasons() -> None:
    """Where reasons are required an assumption without one is a mistake, however it is written."""
    text = "assumed: {price: 1 USD, equity: {value: 1 USD}, trend: {side: buy}}"
    with pytest.raises(PolicyError) as caught:
        stated(text, reasons_required=True)
    assert [problem.code for problem in caught.value.problems] == ["no-reason"] * 3
    assert len(stated(text).given) == 3


@pytest.mark.parametrize("text", ["rsi", "rsi=", "=81", " = ", "rsi=\n81"])
def test_an_override_is_a_name_and_a_value(text: str) -> None:
    """Anything else is told, not guessed."""
    with pytest.raises(PolicyError) as caught:
        what_if_statement([text])
    assert caught.value.problems[0].code == "what-if"


@given(
    quantity=st.integers(1, 10**9),
    price=st.integers(1, 10**7),
    entry=st.integers(100, 10**7),  # a gain of at most 10,000,000 %
)
def test_what_is_derived_contradicts_nothing(quantity: int, price: int, entry: int) -> None:
    """A file that states what was derived from another is the same vector."""
    first = f"position_qty: {quantity / 1000}, price: {price / 100} USD, entry_price: {entry / 100} USD"
    first += ", equity: 999999999999 USD"
    vector = vector_of(f"facts: {{{first}}}")
    gain, worth = value(vector, "gain"), value(vector, "position_value")
    again = vector_of(f"facts: {{{first}, gain: {gain * 100:.2f}%, position_value: {worth:.2f} USD}}")
    assert list(map(repr, again.values)) == list(map(repr, vector.values))
