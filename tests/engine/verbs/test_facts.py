"""The fact vector: every fact from a snapshot and the state, and why it is Unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import IntentState, UnknownReason
from engine.lowered import Once
from engine.model import (
    AssetClass,
    Instrument,
    NoQuote,
    OrderSide,
    Quote,
    QuoteKind,
    SessionFacts,
    WorkingOrder,
)
from engine.units import ELAPSED_CAP_SECONDS, PRICE_SCALE
from engine.verbs.facts import (
    AccountFigures,
    FactMaker,
    JudgedQuote,
    Known,
    Moment,
    SymbolView,
    account_figures,
    judge_quote,
    known,
    minimum_quantity,
    once_stamp,
    unknown,
)
from engine.verbs.ledger import FLAT, Holding
from engine.verbs.state import NEVER, Memory
from engine.vocabulary import (
    AGENT_STATE,
    CLOCK_STATE,
    FACTS,
    OPEN_ORDER,
    POSITION_STATE,
    QUOTE_STATE,
    SESSION,
    Family,
    Varies,
)
from tests.engine.verbs.deciding import COIN, SYMBOL, lowered_of, money, policy_of, price, quantity

_R = UnknownReason
NOW_MS = 1_763_390_400_000
_MADE = [
    fact.name
    for fact in FACTS.values()
    if fact.varies is not Varies.FIXED and fact.family not in (Family.BARS, Family.INSTRUMENT)
]
_WORDS = ("quote_state", "session", "weekday", "open_order", "position_state", "agent_state", "clock_state")
_TRUTHS = ("held", "dust", "frozen", "unsendable", "lease", "unguarded")


def condition(name: str) -> str:
    """Return a condition that reads a fact."""
    if name in _WORDS:
        words = {fact.name: fact.unit for fact in FACTS.values()}[name]
        return f"{name} == {words.words[0]}"  # type: ignore[union-attr]  # these are words
    return name if name in _TRUTHS else f"{name} == 0"


POLICY = policy_of(
    "indicators: {fast: sma(3)}\nsignals: {news: {from: feed, max_age: 5m}}\n"
    "rules:\n  hold:\n    priority: 1\n    then: hold\n    when:\n      any:\n"
    + "".join(f"        - {condition(name)}\n" for name in [*_MADE, "fast", "target_weight"])
    + "        - news.side == buy\n"
    "  enter: {priority: 2, when: price < 1 USD, then: buy 100 USD, once: bar}\n"
    "  stop: {priority: 3, protective: true, when: held and gain < -50%, then: sell all}\n"
)
LOWERED = lowered_of(POLICY)
LISTING = POLICY.universe[0]


def quote(bid: float | str, ask: float | str | None = None, *, age_ms: int = 0, source: str = "a") -> Quote:
    """Return a quote of so long ago."""
    return Quote(SYMBOL, price(bid), price(bid if ask is None else ask), source, NOW_MS - age_ms, NOW_MS)


def view_of(**changes: Any) -> SymbolView:  # noqa: ANN401 - fields of the view
    """Return a view: flat, quoted at 100 / 101, in the regular session."""
    fields: dict[str, Any] = {
        "listing": LISTING,
        "instrument": COIN,
        "quote": JudgedQuote(quote(100, 101), "tradable", _R.KNOWN),
        "session": SessionFacts("regular", 3600, 7200, 64_800, 2, 11),
        "memory": Memory(trusted_bid=price(100), trusted_ms=NOW_MS),
        "holding": FLAT,
        "series": {"fast": known(5.0)},
        "bar_stamp": NOW_MS - 60_000,
        "bars_since": lambda since_ms: (NOW_MS - since_ms) // 60_000,
        "feeds": {},
        "equity_weight": 0.1,
    }
    return SymbolView(**{**fields, **changes})


def moment_of(**changes: Any) -> Moment:  # noqa: ANN401 - fields of the moment
    """Return a moment: Monday, 09:40 in New York."""
    fields: dict[str, Any] = {
        "now_ms": NOW_MS,
        "weekday": 0,
        "time_seconds": 34_800,
        "day": date(2025, 11, 17).toordinal(),
        "figures": AccountFigures(money(9_000), money(10_000), 0.0, 0.0),
        "agent_state": "active",
        "clock_state": "ok",
        "lease": True,
    }
    return Moment(**{**fields, **changes})


def made(view: SymbolView | None = None, moment: Moment | None = None) -> dict[str, float | UnknownReason]:
    """Return every fact by name: its value, or why it is Unknown."""
    values, reasons = FactMaker(LOWERED).make(view or view_of(), moment or moment_of())
    return {
        slot.name: value if value == value else UnknownReason(reason)
        for slot, value, reason in zip(LOWERED.slots, values, reasons, strict=True)
    }


HELD = view_of(
    holding=Holding(quantity(12), money(1080)),  # at 90
    memory=Memory(
        episode=1,
        episode_began_ms=NOW_MS - 3_600_000,
        entries=2,
        last_entry_price=price(95),
        peak_price=price(120),
        last_order_ms=NOW_MS - 90_000,
        last_buy_ms=NOW_MS - 90_000,
        trusted_bid=price(100),
        trusted_ms=NOW_MS,
    ),
)


def test_a_flat_symbol() -> None:
    """Nothing is held, nothing has happened: known zeros, "never" is the cap, position facts are Unknown."""
    facts = made()
    expected = {
        "price": 100.0,
        "bid": 100.0,
        "ask": 101.0,
        "quote_age": 0.0,
        "quote_state": QUOTE_STATE.index("tradable"),
        "session": SESSION.index("regular"),
        "until_close": 3600.0,
        "since_open": 7200.0,
        "next_closure": 64_800.0,
        "session_of_week": 2.0,
        "session_of_month": 11.0,
        "weekday": 0.0,
        "time": 34_800.0,
        "equity": 10_000.0,
        "cash": 9_000.0,
        "equity_estimated": 0.0,
        "drawdown": 0.0,
        "held": 0.0,
        "dust": 0.0,
        "position_qty": 0.0,
        "position_value": 0.0,
        "minimum": 0.1,
        "weight": 0.0,
        "target": 1000.0,
        "target_weight": 0.1,
        "entries": 0.0,
        "held_for": 0.0,
        "held_for_bars": 0.0,
        "open_order": OPEN_ORDER.index("none"),
        "frozen": 0.0,
        "unsendable": 0.0,
        "unguarded": 0.0,
        "position_state": 0.0,
        "agent_state": 0.0,
        "clock_state": 0.0,
        "lease": 1.0,
        "fast": 5.0,
        "once.enter": 0.0,
    }
    assert {name: facts[name] for name in expected} == expected
    for name in (
        "since_order",
        "since_buy",
        "since_sell",
        "since_order_bars",
        "since_buy_bars",
        "since_sell_bars",
    ):
        assert facts[name] == ELAPSED_CAP_SECONDS
    for name in ("gain", "peak_gain", "peak_price", "entry_price", "last_entry_price"):
        assert facts[name] is _R.NO_POSITION
    assert facts["until_earnings"] == ELAPSED_CAP_SECONDS, "a coin has no earnings"
    assert facts["news.side"] is _R.NO_FEED


def test_every_fact_is_made() -> None:
    """No fact of the vocabulary is forgotten: held and flat, none is Unknown for want of a maker."""
    for view in (view_of(), HELD):
        assert [name for name, value in made(view).items() if value is _R.MISSING] == []


def test_a_held_symbol() -> None:
    """The position at the bid, over its own cost, since its first fill."""
    facts = made(HELD)
    expected = {
        "held": 1.0,
        "position_qty": 12.0,
        "position_value": 1200.0,
        "weight": 0.12,
        "entry_price": 90.0,
        "last_entry_price": 95.0,
        "peak_price": 120.0,
        "gain": 0.1111,
        "peak_gain": 0.3333,
        "entries": 2.0,
        "held_for": 3600.0,
        "held_for_bars": 60.0,
        "since_order": 90.0,
        "since_buy": 90.0,
        "since_order_bars": 1.0,
        "since_sell": float(ELAPSED_CAP_SECONDS),
    }
    assert {name: facts[name] for name in expected} == expected


def test_facts_are_on_their_grid() -> None:
    """A third of a cent is no money: values are the floats of the decimals of their step."""
    facts = made(replace(HELD, holding=Holding(quantity(7), money(1000))))
    assert facts["entry_price"] == 142.85714286
    assert facts["gain"] == -0.3
    assert facts["position_value"] == 700.0


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (None, "missing", _R.MISSING),
        (NoQuote(SYMBOL, _R.MISSING, "x"), "missing", _R.MISSING),
        (NoQuote(SYMBOL, _R.STALE, "x"), "stale", _R.STALE),
        (NoQuote(SYMBOL, _R.UNCONFIRMED, "two sources disagree"), "unconfirmed", _R.UNCONFIRMED),
        (NoQuote(SYMBOL, _R.NO_INSTRUMENT, "no source has it"), "unsupported", _R.NO_INSTRUMENT),
        (quote(0), "missing", _R.NOT_A_NUMBER),
        (quote(-1), "missing", _R.NOT_A_NUMBER),
        (quote(101, 100), "missing", _R.NOT_A_NUMBER),
        (quote(100, age_ms=-2000), "tradable", _R.KNOWN),
        (quote(100, age_ms=-2001), "missing", _R.CLOCK),
        (quote(100, age_ms=60_000), "tradable", _R.KNOWN),
        (quote(100, age_ms=60_001), "stale", _R.STALE),
        (quote(120), "tradable", _R.KNOWN),
        (quote("120.01"), "unconfirmed", _R.UNCONFIRMED),
        (quote(80), "tradable", _R.KNOWN),
        (quote("79.99"), "unconfirmed", _R.UNCONFIRMED),
        (quote(1), "unconfirmed", _R.UNCONFIRMED),
        (quote(10_000), "unconfirmed", _R.UNCONFIRMED),
    ],
)
def test_quotes_are_judged(answer: Any, state: str, reason: UnknownReason) -> None:  # noqa: ANN401 - an answer
    """Missing, crossed, from the future, old, or a jump of more than 20 %: not traded on, and why."""
    judged = judge_quote(answer, Memory(trusted_bid=price(100), trusted_ms=1), NOW_MS, 60, 0.2)
    assert (judged.state, judged.reason) == (state, reason)
    facts = made(view_of(quote=judged))
    assert facts["quote_state"] == QUOTE_STATE.index(state)
    assert facts["price"] == (answer.bid / PRICE_SCALE if state == "tradable" else reason)
    if state != "tradable":
        assert facts["ask"] is reason


def test_a_stored_close_is_stale_however_young() -> None:
    """It may value a position, so it is kept; no fact of a price is made from it."""
    stored = replace(quote(100, age_ms=1), kind=QuoteKind.HISTORY)
    judged = judge_quote(stored, Memory(), NOW_MS, 60, 0.2)
    assert (judged.state, judged.reason, judged.quote) == ("stale", _R.STALE, stored)
    facts = made(view_of(quote=judged))
    assert facts["price"] is facts["ask"] is _R.STALE
    ahead = replace(quote(100, age_ms=-9000), kind=QuoteKind.HISTORY)
    assert judge_quote(ahead, Memory(), NOW_MS, 60, 0.2).quote is None
    assert judge_quote(replace(stored, bid=0), Memory(), NOW_MS, 60, 0.2).quote is None


def test_the_first_quote_is_accepted() -> None:
    """There is nothing to jump from."""
    assert judge_quote(quote(5), Memory(), NOW_MS, 60, 0.2).state == "tradable"


@pytest.mark.parametrize(
    ("bid", "age_ms", "source", "state"),
    [
        (1, 10, "a", "unconfirmed"),  # the same one, asked for again
        (1, 9, "a", "tradable"),  # a later one that agrees
        (1, 10, "b", "tradable"),  # another source that agrees
        (2, 9, "a", "unconfirmed"),  # a later one that does not
        (100, 9, "a", "tradable"),  # back where it was
    ],
)
def test_what_confirms_a_jump(bid: int, age_ms: int, source: str, state: str) -> None:
    """Another quote that agrees with the suspect one; a suspect confirms nothing by standing still."""
    memory = Memory(
        trusted_bid=price(100),
        trusted_ms=1,
        suspect_bid=price(1),
        suspect_ms=NOW_MS - 10,
        suspect_source="a",
    )
    assert judge_quote(quote(bid, age_ms=age_ms, source=source), memory, NOW_MS, 60, 0.2).state == state


def test_without_a_tradable_quote() -> None:
    """What is made from the price is Unknown for the price's reason; the quantity is not."""
    facts = made(replace(HELD, quote=judge_quote(None, HELD.memory, NOW_MS, 60, 0.2)))
    for name in ("position_value", "weight", "gain"):
        assert facts[name] is _R.MISSING
    assert (facts["held"], facts["position_qty"], facts["peak_gain"]) == (1.0, 12.0, 0.3333)


def test_a_flat_symbol_is_worth_nothing_at_any_price() -> None:
    """Without a quote too."""
    facts = made(view_of(quote=JudgedQuote(None, "missing", _R.MISSING)))
    assert (facts["position_value"], facts["weight"]) == (0.0, 0.0)


def test_a_quantity_that_changed_behind_us() -> None:
    """Cost, peak and gain are Unknown(quantity_changed), and the position's state says so."""
    facts = made(replace(HELD, memory=replace(HELD.memory, changed_quantity=True)))
    for name in ("gain", "peak_gain", "peak_price", "entry_price", "last_entry_price"):
        assert facts[name] is _R.QUANTITY_CHANGED
    assert facts["position_state"] == POSITION_STATE.index("changed")


@pytest.mark.parametrize(
    ("least_quantity", "least_notional", "bid", "least"),
    [
        ("0.01", 10, 100, "0.1"),
        ("0.01", 10, 99, "0.102"),  # 0.10101..., up to the step
        ("0.5", 10, 100, "0.5"),
        ("0.0005", 0, 0, "0.001"),  # never less than a step
        ("0.01", 10, 0, None),
        ("0.01", 0, 0, "0.01"),
    ],
)
def test_the_least_quantity_that_is_held(
    least_quantity: str, least_notional: int, bid: int, least: str | None
) -> None:
    """The venue's, or its notional floor over the last trusted price, up to the step; else Unknown."""
    instrument = Instrument(
        SYMBOL,
        AssetClass.CRYPTO,
        "24/7",
        Decimal("0.01"),
        Decimal("0.001"),
        Decimal(least_quantity),
        Decimal(least_notional),
    )
    expected = None if least is None else quantity(least)
    assert minimum_quantity(instrument, price(bid)) == expected
    assert minimum_quantity(None, price(bid)) is None


def test_held_dust_and_unknown() -> None:
    """At the minimum it is held, below it is dust, without a minimum it is Unknown; nothing is nothing."""
    assert made(view_of(holding=Holding(quantity("0.1"), 1)))["held"] == 1.0
    dust = made(view_of(holding=Holding(quantity("0.099"), 1)))
    assert (dust["held"], dust["dust"], dust["gain"]) == (0.0, 1.0, _R.NO_POSITION)
    blind = made(view_of(holding=Holding(quantity(5), 1), instrument=None))
    assert (blind["held"], blind["dust"], blind["minimum"]) == (_R.NO_INSTRUMENT,) * 3
    assert made(view_of(instrument=None))["held"] == 0.0


def test_open_orders() -> None:
    """The side of the own order; it is frozen while it is not known to be at the venue, or by a person."""
    order = WorkingOrder("w", OrderSide.SELL, 5, 0, 1, IntentState.SENT, False, None, "r", 0)
    for state, frozen in ((IntentState.PLANNED, 1), (IntentState.AMBIGUOUS, 1), (IntentState.SENT, 0)):
        facts = made(view_of(memory=Memory(working=replace(order, state=state))))
        assert (facts["open_order"], facts["frozen"]) == (OPEN_ORDER.index("sell"), frozen)
    buy = made(view_of(memory=Memory(working=replace(order, side=OrderSide.BUY))))
    assert buy["open_order"] == OPEN_ORDER.index("buy")
    assert made(view_of(memory=Memory(frozen=True)))["frozen"] == 1.0


def test_unsendable_is_of_sells() -> None:
    """A rejected sell backs off until its instant; a rejected buy does not hold sells up."""
    assert made(view_of(memory=Memory(sell_backoff_until_ms=NOW_MS + 1)))["unsendable"] == 1.0
    assert made(view_of(memory=Memory(sell_backoff_until_ms=NOW_MS)))["unsendable"] == 0.0
    assert made(view_of(memory=Memory(buy_backoff_until_ms=NOW_MS + 1)))["unsendable"] == 0.0


def test_the_agent_itself() -> None:
    """Its state, its clock and its lease are facts."""
    facts = made(moment=moment_of(agent_state="halted", clock_state="behind", lease=False))
    assert (facts["agent_state"], facts["clock_state"], facts["lease"]) == (
        AGENT_STATE.index("halted"),
        CLOCK_STATE.index("behind"),
        0.0,
    )
    ahead = made(view_of(quote=judge_quote(quote(100, age_ms=-5000), Memory(), NOW_MS, 60, 0.2)))
    assert ahead["clock_state"] == CLOCK_STATE.index("ahead")
    assert made(view_of(memory=Memory(unguarded_since_ms=5)))["unguarded"] == 1.0


def test_a_symbol_without_a_weight_has_no_target() -> None:
    """It is Unknown, never 0: nothing is sold for not being listed."""
    facts = made(view_of(equity_weight=None))
    assert (facts["target"], facts["target_weight"]) == (_R.MISSING, _R.MISSING)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), _R.NOT_A_NUMBER),
        (float("inf"), _R.INFINITE),
        (float("-inf"), _R.INFINITE),
        (1e400, _R.INFINITE),
    ],
)
def test_numbers_that_are_none(value: float, reason: UnknownReason) -> None:
    """An indicator that gave no number is Unknown with a reason."""
    assert made(view_of(series={"fast": known(value)}))["fast"] is reason


def test_a_fact_out_of_its_range() -> None:
    """More than the vocabulary allows is Unknown(overflow), not a number to trade on."""
    facts = made(moment=moment_of(figures=AccountFigures(0, 10**19, 0.0, 0.0)))
    assert facts["equity"] is _R.OVERFLOW


def test_readings_come_with_their_reasons() -> None:
    """What the desk says is what the fact says; a series that nobody computed has no bars."""
    for reason in (_R.GAP, _R.STALE, _R.WARM_UP):
        assert made(view_of(series={"fast": unknown(reason)}))["fast"] is reason
    assert made(view_of(series={}))["fast"] is _R.NO_BARS


# --- once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("once", "before", "after"),
    [
        (Once.DAY, "2025-11-17", "2025-11-18"),
        (Once.WEEK, "2025-11-23", "2025-11-24"),  # Sunday, Monday
        (Once.MONTH, "2025-11-30", "2025-12-01"),
        (Once.MONTH, "2025-12-31", "2026-01-01"),
    ],
)
def test_periods_begin_anew(once: Once, before: str, after: str) -> None:
    """A day, an ISO week and a month in the policy's timezone."""
    stamps = [
        once_stamp(once, view_of(), moment_of(day=date.fromisoformat(day).toordinal()))
        for day in (before, after)
    ]
    assert stamps[0] != stamps[1]
    same = date.fromisoformat(before).toordinal() - (0 if once is Once.DAY else 1)
    assert once_stamp(once, view_of(), moment_of(day=same)) == stamps[0]


def test_once_per_bar_and_position() -> None:
    """The last closed bar, Unknown before the first; the position that is held, or to come."""
    assert once_stamp(Once.BAR, view_of(bar_stamp=5), moment_of()) == 5
    assert once_stamp(Once.BAR, view_of(bar_stamp=NEVER), moment_of()) is None
    assert made(view_of(bar_stamp=NEVER))["once.enter"] is _R.NO_BARS
    assert once_stamp(Once.POSITION, view_of(memory=Memory(episode=3)), moment_of()) == 4
    held = Memory(episode=3, episode_began_ms=5)
    assert once_stamp(Once.POSITION, view_of(memory=held), moment_of()) == 3


def test_a_used_up_period() -> None:
    """The rule's own stamp of this period; while its order works, it is that order."""
    memory = Memory(trusted_bid=1).with_stamp("enter", NOW_MS - 60_000)
    assert made(view_of(memory=memory))["once.enter"] == 1.0
    assert made(view_of(memory=memory, bar_stamp=NOW_MS))["once.enter"] == 0.0
    order = WorkingOrder("w", OrderSide.BUY, 5, 0, 1, IntentState.SENT, False, None, "enter", 0)
    assert made(view_of(memory=replace(memory, working=order)))["once.enter"] == 0.0


# --- the account ------------------------------------------------------------------------------


def test_equity_is_cash_and_everything_at_its_price() -> None:
    """Old prices count, and are told of as a share."""
    figures = account_figures(
        money(500),
        {"A": quantity(3), "B": quantity(5)},
        {"A": (price(100), True), "B": (price(40), False)},
        0,
        0.0,
    )
    assert (figures.equity, figures.estimated_share, figures.drawdown) == (money(1000), 0.2, 0.0)


def test_what_has_no_price_makes_all_of_it_estimated() -> None:
    """It counts nothing, and nothing is sure."""
    figures = account_figures(money(500), {"A": quantity(3)}, {}, 0, 0.0)
    assert (figures.equity, figures.estimated_share) == (money(500), 1.0)


@pytest.mark.parametrize(
    ("peak", "latched", "drawdown"), [(0, 0.0, 0.0), (1000, 0.0, 0.5), (1000, 0.7, 0.7), (400, 0.0, 0.0)]
)
def test_drawdown(peak: int, latched: float, drawdown: float) -> None:
    """The fall from the peak, never less than what is latched."""
    assert account_figures(money(500), {}, {}, money(peak), latched).drawdown == drawdown


@given(
    st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**14), st.booleans()), max_size=5),
    st.integers(0, 10**12),
)
def test_figures_are_in_range(legs: list[tuple[int, int, bool]], cash: int) -> None:
    """The share of old prices and the drawdown lie between 0 and 1, whatever is held."""
    holdings = {f"S{i}": size for i, (size, _, _) in enumerate(legs)}
    prices = {f"S{i}": (at, fresh) for i, (_, at, fresh) in enumerate(legs)}
    figures = account_figures(cash, holdings, prices, 10**13, 0.0)
    assert 0 <= figures.estimated_share <= 1
    assert 0 <= figures.drawdown <= 1
    assert figures.equity >= cash


def test_a_broken_invariant_is_told() -> None:
    """Facts that cannot be are never decided on: the maker says which relation does not hold."""
    with pytest.raises(AssertionError, match="bid <= ask"):
        made(view_of(quote=JudgedQuote(quote(101, 100), "tradable", _R.KNOWN)))


def test_the_helpers_of_this_file() -> None:
    """A known value has no reason, an Unknown no value."""
    makers: list[Callable[[], Known]] = [lambda: known(1.0), lambda: unknown(_R.GAP)]
    (value, none), (nothing, reason) = (make() for make in makers)
    assert (value, none, reason) == (1.0, _R.KNOWN, _R.GAP)
    assert nothing != nothing
