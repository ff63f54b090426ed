"""The agent's cycle on a scripted world: what it does when its ports do what ports do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.brokers.paper import PaperBroker
from engine.codes import Action, IntentState, UnknownReason
from engine.errors import DataError, UnavailableError
from engine.evaluate.agreed import AgreedEvaluator
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.verdict import Verdict
from engine.model import Fill, OrderReport, OrderSide
from engine.runtime.cycle import AgentSettings
from engine.runtime.journal_port import AccountEvent, IntentEvent
from engine.runtime.ports import OrderRejected
from engine.vocabulary import AGENT_STATE, CLOCK_STATE
from tests.simulation.scripted import (
    START_MS,
    Script,
    load,
    lost_after,
    lost_before,
    money,
    nothing,
    price,
    quantity,
    unreachable,
)

SOL = "SOL-USD"
HEAD = """
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 50%, ADA-USD: 30%}}
orders: {buy: {limit: 100% of ask, good_for: 20m}, sell: {limit: 100% of bid, good_for: 20m}}
"""
SIMPLE = (
    HEAD
    + """
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  leave: {priority: 800, when: held and price >= 110 USD, then: sell all}
  enter: {priority: 100, when: price < 100 USD and not held, then: buy to 1000 USD}
"""
)
"""Buys below 100, sells from 110 on, and has a stop; every price is stated by the test."""


def good_for(policy: str, time: str) -> str:
    """Return a policy whose orders live so long."""
    return policy.replace("good_for: 20m", f"good_for: {time}")


@pytest.fixture
def script(tmp_path: Path) -> Any:  # noqa: ANN401 - a factory with the arguments of Script
    """Make scripts that are closed at the end."""
    made: list[Script] = []

    def make(policy: str = SIMPLE, **options: Any) -> Script:  # noqa: ANN401 - as above
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Script(folder, policy, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Script]


def bought(make: Make, policy: str = SIMPLE, **options: Any) -> Script:  # noqa: ANN401 - as Script's
    """Return a script that holds 10.101 SOL, bought at 99."""
    one = make(policy, **options)
    one.at(SOL, 99)
    assert one.held() == one.venue_held() == quantity("10.101")
    return one


# --- an answer that is lost -------------------------------------------------------------------


def test_a_booked_order_whose_answer_is_lost(script: Make) -> None:
    """The symbol is frozen until the order is found by its name; nothing is sent a second time."""
    one = script()
    one.faults["submit"] = [lost_after]
    one.faults["find"] = [nothing, nothing]
    one.at(SOL, 99)
    assert one.memory().working is not None
    one.cycle(1)
    assert one.fact("frozen") == 1.0
    assert one.held() == one.venue_held(), "its fills are booked as soon as they are heard of"
    one.cycle(1)
    one.cycle(1)
    assert one.memory().working is None
    assert len(one.broker.submitted) == 1
    assert one.held() == one.venue_held() == quantity("10.101")


def test_an_order_lost_on_its_way_is_sent_again_under_its_name(script: Make) -> None:
    """Looked up for a minute in vain, it is sent again, once, under the same name."""
    one = script()
    one.faults["submit"] = [lost_before]
    one.at(SOL, 99)
    for _ in range(5):
        one.cycle(10)
        assert one.disposition("enter") == "vetoed(frozen-symbol)"
        assert len(one.broker.submitted) == 1
    one.cycle(10)
    first, second = one.broker.submitted
    assert first == second
    assert one.held() == one.venue_held() == quantity("10.101")


def test_an_order_lost_on_its_way_whose_time_is_over(script: Make) -> None:
    """It has expired unsent; the policy decides anew, under another name."""
    one = script(good_for(SIMPLE, "30s"))
    one.faults["submit"] = [lost_before]
    one.at(SOL, 99)
    first = one.broker.submitted[0].client_id
    for _ in range(6):
        one.cycle(10)
    assert [event.state for event in one.journal.intent_events(first)][-1] is IntentState.EXPIRED
    assert one.memory().last_order_ms > START_MS + 60_000, "it never reached the venue"
    assert [order.client_id == first for order in one.broker.submitted] == [True, False]
    assert one.held() == one.venue_held() == quantity("10.101")


def test_an_ambiguous_order_outlives_a_restart(script: Make) -> None:
    """A restart neither sends it again nor forgets it."""
    one = script()
    one.faults["submit"] = [lost_after]
    one.at(SOL, 99)
    one.restart()
    assert one.broker.submitted == []
    assert one.held() == one.venue_held() == quantity("10.101")
    one.at(SOL, 99)
    assert one.broker.submitted == []


def test_a_venue_that_could_not_be_reached_is_asked_again(script: Make) -> None:
    """The order was certainly not taken: it is sent in the next round, under its name."""
    one = script()
    one.faults["submit"] = [unreachable]
    one.at(SOL, 99)
    assert one.held() == 0
    assert one.incidents() == ["broker-unavailable"]
    one.agent.tend()
    assert one.held() == one.venue_held() == quantity("10.101")
    first, second = one.broker.submitted
    assert first == second


def test_one_failed_send_does_not_keep_others_back(script: Make) -> None:
    """Of two intents of a cycle the second is sent although the first could not be."""
    one = script()
    one.faults["submit"] = [unreachable]
    one.market.set("ADA-USD", 50)
    one.at(SOL, 99)
    assert (one.held(), one.held("ADA-USD")) == (0, quantity(20))


def test_the_name_is_taken_and_the_order_is_ours(script: Make) -> None:
    """A venue that says "must be unique" has the order: it is looked up, not given up."""
    one = script()

    def booked_and_refused(call: Callable[[], Any]) -> None:
        call()
        call()

    one.faults["submit"] = [booked_and_refused]
    one.at(SOL, 99)
    assert one.held() == one.venue_held() == quantity("10.101")
    assert one.incidents() == []


def test_the_name_is_taken_and_the_order_cannot_be_found(script: Make) -> None:
    """Then its fate is open, not "rejected": the symbol is frozen."""
    one = script()

    def taken(call: Callable[[], Any]) -> None:
        raise OrderRejected("client id must be unique")

    one.faults["submit"] = [taken]
    one.at(SOL, 99)
    working = one.memory().working
    assert working is not None and working.state is IntentState.AMBIGUOUS
    one.cycle(1)
    assert one.disposition("enter") == "vetoed(frozen-symbol)"


# --- what is refused --------------------------------------------------------------------------


def refused(call: Callable[[], Any]) -> None:
    """The venue refuses."""
    raise OrderRejected("insufficient buying power")


def test_a_rejected_buy_waits_and_an_exit_does_not(script: Make) -> None:
    """A rejection of buys has its own backoff, twice as long each time; sells are not held up by it."""
    one = script()
    one.faults["submit"] = [refused, refused]
    one.at(SOL, 99)
    assert one.memory().last_order_ms < 0, "a rejected order starts no cooldown"
    one.cycle(30)
    assert one.disposition("enter") == "denied(backoff)"
    assert one.fact("unsendable") == 0.0
    one.cycle(30)
    assert one.disposition("enter") == "acted"
    for _ in range(3):
        one.cycle(30)
        assert one.disposition("enter") == "denied(backoff)"
    one.cycle(30)
    assert one.held() == quantity("10.101")
    assert one.memory().buy_backoff_until_ms < 0, "a filled order ends it"


def test_a_rejected_exit_is_tried_again_soon(script: Make) -> None:
    """The backoff of sells is short, the position is unguarded meanwhile, and a person is told."""
    one = bought(script)
    one.faults["submit"] = [refused, refused, refused]
    one.at(SOL, 85)
    assert one.decision().action is Action.SELL
    waits = []
    while one.held():
        one.cycle(10)
        waits.append(one.disposition("stop"))
        assert len(waits) < 100
    assert waits.count("acted") == 3
    assert waits[0] == "vetoed(unsendable)"
    assert len(waits) * 10 <= 30 + 60 + 120 + 30
    assert "unguarded" in one.incidents()


# --- what contradicts ------------------------------------------------------------------------


def test_another_order_under_our_name(script: Make) -> None:
    """The symbol is frozen, a person is told once, and it stays so over a restart."""
    one = script()
    one.market.set("ADA-USD", 50)

    def other(call: Callable[[], Any]) -> OrderReport:
        report: OrderReport = call()
        return replace(report, quantity=report.quantity * 2)

    one.faults["submit"] = [other]
    one.at(SOL, 99)
    for _ in range(3):
        one.at(SOL, 85)
        assert one.disposition("stop") == "vetoed(frozen-symbol)"
    assert one.incidents() == ["order-conflict", "unguarded"]
    assert one.held("ADA-USD") == quantity(20), "the other symbol goes on"
    one.restart()
    one.cycle()
    assert one.disposition("stop") == "vetoed(frozen-symbol)"
    assert one.incidents() == ["order-conflict", "unguarded"]
    assert len(list(one.journal.intents(SOL))) == 1


def test_a_fill_that_cannot_be_booked(script: Make) -> None:
    """A sale of more than is held is kept in the journal; the books stay, the symbol is frozen."""
    one = bought(script)

    def oversold(call: Callable[[], Any]) -> tuple[list[Fill], str]:
        fills, cursor = call()
        name = one.broker.submitted[-1].client_id
        fill = Fill("odd", name, SOL, OrderSide.SELL, quantity(99), price(99), money(99 * 99), 0, START_MS)
        return [*fills, fill], cursor + "0"

    one.faults["fills_since"] = [oversold]
    one.broker.faults["fills_since"].append(lambda call: ((), "keep"))
    before = one.agent.state.ledger
    one.agent.tend()
    assert one.agent.state.ledger == before
    assert one.incidents() == ["order-conflict"]
    assert one.memory().frozen


def test_a_fill_of_an_unknown_order(script: Make) -> None:
    """Someone trades in our account: told once, not booked, and nothing else is held up."""
    one = bought(script)

    def someone(call: Callable[[], Any]) -> tuple[list[Fill], str]:
        fills, cursor = call()
        return [*fills, Fill("x", "else", SOL, OrderSide.BUY, 1, 1, 1, 0, START_MS)], cursor

    one.faults["fills_since"] = [someone, someone]
    before = one.agent.state.ledger
    one.cycle()
    assert one.agent.state.ledger == before
    assert one.incidents() == ["foreign-fill"]


def test_fills_from_before_the_journal_are_none_of_its_business(script: Make) -> None:
    """An account with a past: what was bought before is nobody's here, and not told fill by fill."""
    before = bought(script)
    held = before.agent.state.ledger.holding(SOL).quantity
    assert held
    before.close()
    for file in before.folder.glob("journal.db*"):
        file.unlink()
    before.market.set(SOL, 105)  # nothing to buy
    before.restart()
    before.cycle()
    assert before.incidents() == []
    assert before.agent.state.ledger.holding(SOL).quantity == 0
    assert before.broker.account().positions[SOL] == held


def test_fills_that_come_later_than_the_order_ends(script: Make) -> None:
    """Filled, says the venue, and its fills are not there: until they come the order has not ended."""
    one = script()
    one.faults["fills_since"] = [lambda call: ((), "")] * 12
    one.at(SOL, 99)
    assert (one.held(), one.venue_held()) == (0, quantity("10.101"))
    for _ in range(2):
        one.cycle()
        assert one.disposition("enter") in ("working", "vetoed(position-unknown)")
    one.cycle()
    assert "fills-missing" in one.incidents()
    one.faults["fills_since"].clear()
    one.cycle()
    assert len(one.broker.submitted) == 1
    assert one.held() == one.venue_held() == quantity("10.101")
    assert one.memory().working is None
    one.cycle()
    assert one.fact("position_state") == 0.0


def test_fills_told_twice(script: Make) -> None:
    """The same fill by two paths, or again after a restart, is booked once."""
    one = script()
    first = one.faults["fills_since"] = [
        lambda call: call(),
        lambda call: call(),
        *[lambda call: one.broker.inner.fills_since("")] * 6,
    ]
    one.at(SOL, 99)
    one.cycle()
    one.restart()
    one.cycle()
    assert not first
    assert one.held() == one.venue_held() == quantity("10.101")
    assert len(list(one.journal.fills())) == 1


def test_fill_and_cancellation_cross(script: Make) -> None:
    """Cancelled while it was filled: the fill is booked, the order has ended."""
    one = script(good_for(SIMPLE, "30s"), instant_fills=False)
    one.at(SOL, 99)
    assert one.memory().working is not None

    def filled_first(call: Callable[[], Any]) -> None:
        one.venue_market.set(SOL, 99)
        call()

    one.faults["cancel"] = [filled_first]
    one.at(SOL, 120)
    assert one.held() == one.venue_held() == quantity("10.101")
    assert one.memory().working is None


def test_the_venue_is_not_the_one_of_the_journal(tmp_path: Path, script: Make) -> None:
    """A venue file that was replaced is refused at the start, with what to do."""
    one = bought(script)
    one.close()
    for path in one.folder.glob("venue.db*"):
        path.unlink()
    one.clock.now_ms += 1
    with pytest.raises(DataError, match="cursor"):
        one.restart()


def test_the_venue_is_replaced_under_the_agent(script: Make) -> None:
    """Cycles are skipped, a person is told once, and nothing is traded."""
    one = bought(script)

    def replaced(call: Callable[[], Any]) -> None:
        raise DataError("the fill cursor is not of this venue's file")

    one.faults["fills_since"] = [replaced] * 5
    for _ in range(3):
        report = one.cycle()
        assert "cursor" in report.skipped
        assert report.planned == ()
    assert one.incidents().count("broker-unavailable") == 1


# --- ports out of reach -----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["find", "fills_since", "account"])
def test_the_broker_is_out_of_reach(call: str, script: Make) -> None:
    """The cycle is skipped and says so; held positions are unguarded; then all goes on where it was."""
    one = bought(script, SIMPLE, instant_fills=True)
    if call == "find":
        one.venue_market.prices = {}
        one.market.set("ADA-USD", 50)
        one.cycle()
        assert one.memory("ADA-USD").working is not None
    cycles = one.agent.state.cycle
    one.faults[call] = [unreachable] * 3
    if call == "find":
        one.faults["open_orders"] = [unreachable] * 2  # else the list, asked for anew, tells of the order
    for number in range(3):
        report = one.cycle(40)
        assert report.skipped == "the venue is down"
        assert report.unguarded == [SOL]
        assert one.agent.state.cycle == cycles, number
    assert one.incidents() == ["broker-unavailable", "unguarded"]
    one.at(SOL, 85)
    assert one.decision().action is Action.SELL
    assert one.agent.state.cycle == cycles + 1


def test_no_quotes_at_all(script: Make) -> None:
    """A source of quotes out of reach has no quotes: everything is decided, nothing can be traded."""
    one = bought(script)
    one.market.quotes_down = True
    one.cycle()
    assert one.fact("price") is UnknownReason.MISSING
    assert one.decision().action is Action.HOLD
    assert one.reports[-1].unguarded == [SOL]
    one.market.quotes_down = False
    one.at(SOL, 85)
    assert one.held() == 0


INDICATOR = (
    HEAD
    + """
indicators: {fast: sma(3)}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  leave: {priority: 800, when: held and price < fast, then: sell all}
  enter: {priority: 100, when: price > fast, then: buy to 1000 USD}
"""
)


def with_bars(one: Script, closes: list[float], interval: int = 60) -> None:
    """Let bars of SOL close one after another, up to the script's instant."""
    first = one.clock.now_ms - one.clock.now_ms % (interval * 1000) - len(closes) * interval * 1000
    for number, close in enumerate(closes):
        one.market.bar(SOL, interval, first + number * interval * 1000, close)


def test_bars_out_of_reach(script: Make) -> None:
    """What is read from bars grows stale with the first bar that is due, told once; the rest goes on."""
    one = script(INDICATOR)
    with_bars(one, [90, 91, 92, 93, 94])
    one.at(SOL, 99)
    assert one.fact("fast") == 93.0
    assert one.held() > 0
    one.market.bars_down = True
    one.cycle(10)
    assert one.fact("fast") == 93.0, "no bar is due yet"
    for _ in range(2):
        one.cycle(60)
        assert one.fact("fast") is UnknownReason.STALE
    assert one.incidents() == ["bars-unavailable"]
    one.at(SOL, 80)
    assert one.held() == 0, "a stop on quotes needs no bars"
    one.market.bars_down = False
    with_bars(one, [95, 96, 97])
    one.cycle(1)
    assert one.fact("fast") == 96.0


def test_the_instrument_is_out_of_reach(script: Make) -> None:
    """Steps and minimums are asked for again; without them nothing is bought."""
    one = script()
    one.faults["instrument"] = [unreachable] * 20
    one.at(SOL, 99)
    assert one.disposition("enter") in ("vetoed(unknown)", "denied(no_instrument)", "unknown")
    one.faults["instrument"] = []
    one.cycle()
    assert one.held() == quantity("10.101")


# --- time -------------------------------------------------------------------------------------


def test_a_clock_that_steps_back(script: Make) -> None:
    """Cycle time stands still, entries are vetoed, exits act, and the agent keeps its cadence."""
    one = bought(script)
    last_ms = one.reports[-1].at_ms
    one.clock.now_ms -= 3_600_000
    wake_ms = one.agent.next_wake_ms()
    assert wake_ms <= one.clock.now_ms + 30_000, "an hour must not pass without a stop"
    one.market.set("ADA-USD", 50)
    report = one.cycle(30)
    assert report.at_ms == last_ms
    assert one.fact("clock_state") == CLOCK_STATE.index("behind")
    assert one.disposition("enter", "ADA-USD") == "vetoed(clock)"
    one.at(SOL, 85)
    assert one.held() == 0
    assert [cycle.head.at_ms for cycle in one.journal.cycles()] == [last_ms] * 3


def test_a_clock_a_second_behind_is_no_matter(script: Make) -> None:
    """Up to two seconds behind the journal nothing is vetoed."""
    one = script()
    one.at(SOL, 120)
    one.clock.now_ms -= 1900
    one.at(SOL, 101, 0)
    one.at(SOL, 99, 0)
    assert one.held() > 0


def test_a_quote_from_the_future(script: Make) -> None:
    """A stamp more than two seconds ahead makes the quote Unknown; the clock is said to differ."""
    one = script()
    one.at(SOL, 120)
    one.market.pin(SOL, 99, age_seconds=-40)
    one.cycle(30)
    assert one.fact("price") is UnknownReason.CLOCK
    assert one.fact("clock_state") == CLOCK_STATE.index("ahead")
    one.market.pin(SOL, 101, age_seconds=-2)
    one.cycle(0)
    assert one.fact("price") == 101.0
    assert one.fact("clock_state") == 0.0


# --- quotes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("print_at", [0.99, 9900.0])
def test_a_bad_print_moves_nothing(print_at: float, script: Make) -> None:
    """A print at x 0.01 fires no stop, one at x 100 sets no peak; the next good quote is good."""
    one = bought(script)
    one.at(SOL, print_at)
    assert one.fact("price") is UnknownReason.UNCONFIRMED
    assert one.decision().action is Action.HOLD
    assert one.memory().peak_price == price(99)
    one.at(SOL, 98)
    assert one.fact("price") == 98.0
    assert one.held() > 0


def test_a_second_quote_confirms_a_jump(script: Make) -> None:
    """A real crash is believed with the second quote that agrees."""
    one = bought(script)
    one.at(SOL, 60)
    assert one.held() > 0
    one.at(SOL, 61)
    assert one.decision().action is Action.SELL
    assert one.held() == 0


def test_the_same_quote_again_confirms_nothing(script: Make) -> None:
    """A bad print that a quiet market repeats is one print; another source that agrees confirms it."""
    one = bought(script)
    one.market.pin(SOL, 0.99)
    for _ in range(3):
        one.cycle(10)
        assert one.fact("price") is UnknownReason.UNCONFIRMED
    one.market.pin(SOL, 0.98, age_seconds=30, source="another")
    one.cycle(0)
    assert one.fact("price") == 0.98


def test_a_jump_is_measured_from_the_accepted_price(script: Make) -> None:
    """A fall of just 20 % is no jump, of more it is; a class may have its own guard."""
    one = bought(script)
    one.at(SOL, 79.2)
    assert one.fact("price") == 79.2
    other = bought(script, settings=AgentSettings(fee_ppm=0, jump_guards={"crypto": 0.5}))
    other.at(SOL, 50)
    assert other.fact("price") == 50.0


def test_a_missing_quote_is_not_zero(script: Make) -> None:
    """Without a quote there is no price, no gain, no sale and no purchase."""
    one = bought(script)
    one.market.drop(SOL)
    one.cycle()
    for fact in ("price", "gain", "position_value"):
        assert one.fact(fact) is UnknownReason.MISSING
    assert one.decision().action is Action.HOLD
    assert one.disposition("stop") == "none"


# --- positions that others change -------------------------------------------------------------


def test_foreign_quantity(script: Make) -> None:
    """What others hold counts in equity and exposure; it is never ours to sell."""
    one = script(SIMPLE + "limits: {cap: {at_most: 1500 USD, per: symbol}}\n")
    one.beside[SOL] = quantity(10)
    one.at(SOL, 99)
    assert one.fact("equity") == 10_000 + 990
    assert one.fact("held") == 0.0
    assert one.disposition("enter") == "acted"
    assert one.held() == quantity("5.151"), "510 USD of exposure were left"
    one.at(SOL, 85)
    assert one.broker.submitted[-1].quantity == quantity("5.151")
    assert one.venue_held() == 0


def test_foreign_symbols_are_valued_and_never_decided(script: Make) -> None:
    """A symbol of someone else's is quoted for the equity's sake; no decision is made on it."""
    one = script(SIMPLE + "limits: {cap: {at_most: 50% of equity, per: portfolio}}\n")
    one.beside["SPY"] = quantity(100)
    one.market.set("SPY", 600)
    one.at(SOL, 99)
    assert one.fact("equity") == 70_000.0
    assert [item.decision.symbol for item in one.reports[-1].planned] == [SOL, "ADA-USD"]
    assert one.disposition("enter") == "limited(cap)"


def test_the_broker_has_less_than_ours(script: Make) -> None:
    """Then cost, peak and stops are Unknown and nothing is traded, until it has it again."""
    one = bought(script)
    one.beside[SOL] = -quantity(4)
    one.at(SOL, 85)
    assert one.fact("gain") is UnknownReason.QUANTITY_CHANGED
    assert one.fact("position_qty") == 6.101
    assert one.decision().action is Action.HOLD
    assert one.reports[-1].unguarded == [SOL]
    one.beside.clear()
    one.cycle()
    assert one.decision().action is Action.SELL
    assert one.held() == one.venue_held() == 0


def test_a_split_fires_no_stop(script: Make) -> None:
    """Twice the quantity at half the price without a fill of ours: Unknown until a person says what it is."""
    one = bought(script)
    one.beside[SOL] = one.held()
    one.at(SOL, 49.5)
    one.at(SOL, 49.5)
    assert one.fact("price") == 49.5
    assert one.fact("gain") is UnknownReason.QUANTITY_CHANGED
    assert one.decision().action is Action.HOLD
    one.cycle(60)
    assert "unguarded" in one.incidents()
    one.journal.append_account_event(AccountEvent("position-known", one.clock.now_ms, one.held(), SOL))
    one.restart()
    one.cycle()
    assert one.fact("gain") == -0.5
    assert one.held() == 0


def test_a_changed_quantity_is_forgotten_with_the_position(script: Make) -> None:
    """A symbol that is flat again is not kept from trading by what was held once."""
    one = bought(script)
    one.beside[SOL] = -quantity(1)
    one.cycle()
    assert one.memory().changed_quantity
    one.beside.clear()
    one.at(SOL, 85)
    assert one.held() == 0
    one.at(SOL, 95)
    assert not one.memory().changed_quantity
    assert one.held() > 0


def test_a_fill_between_two_questions_is_no_change(script: Make) -> None:
    """The venue fills while the agent asks: the account is read again with its fills, not mistrusted."""
    one = script(instant_fills=False)
    one.at(SOL, 99)
    assert one.memory().working is not None

    def fills_now(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - the account
        one.venue_market.set(SOL, 99)
        return call()

    one.faults["account"] = [fills_now]
    one.cycle()
    assert one.fact("position_state") == 0.0
    assert one.fact("held") == 1.0


def test_a_symbol_outside_the_universe(script: Make) -> None:
    """It gets no entries and keeps all its exits; it is never sold for not being listed."""
    one = bought(script)
    one.policy = load(SIMPLE.replace("SOL-USD: 50%, ", ""))
    one.restart()
    one.cycle()
    assert [item.decision.symbol for item in one.reports[-1].planned] == ["ADA-USD", SOL]
    assert one.decision().action is Action.HOLD
    one.at(SOL, 85)
    assert one.held() == 0
    one.cycle()
    assert [item.decision.symbol for item in one.reports[-1].planned] == ["ADA-USD"]


# --- money ------------------------------------------------------------------------------------


TRIM = (
    HEAD
    + """
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  leave: {priority: 800, when: held and price >= 115 USD, then: sell all}
  trim:  {priority: 700, when: held and price >= 105 USD, then: sell to 500 USD}
  enter: {priority: 100, when: price < 100 USD and position_value < 900 USD, then: buy to 1000 USD}
"""
)


def test_estimated_equity_stops_entries_and_trims_but_no_exit(script: Make) -> None:
    """With more than 5 % of equity at old prices nothing is bought or trimmed; `sell all` needs no equity."""
    one = bought(script, TRIM)
    one.market.set("ADA-USD", 99)
    one.cycle()
    one.market.drop("ADA-USD")
    one.at(SOL, 106)
    assert one.fact("equity_estimated") > 0.05
    assert one.disposition("trim") == "denied(equity_estimated)"
    one.at(SOL, 99)
    one.at(SOL, 116)
    assert one.decision().action is Action.SELL
    one.at(SOL, 99)
    assert one.disposition("enter") == "denied(equity_estimated)"


STOCKS = """
selection: exits_first
every: 30s
bars: 5m
universe:
  stock:  {calendar: NYSE, weights: {SPY: 50%}}
  crypto: {calendar: 24/7, weights: {SOL-USD: 50%}}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  enter: {priority: 100, when: not held and price < 600 USD, then: buy to 3000 USD}
"""


def test_stocks_asleep_do_not_freeze_coins(script: Make) -> None:
    """At night the official close is a stock's fresh valuation; it is not unguarded, and nobody is woken."""
    one = script(STOCKS)
    one.market.set("SPY", 590)
    one.cycle()
    assert one.held("SPY") == quantity(5)
    one.market.pin("SPY", 590)
    one.clock.now_ms = START_MS + 7 * 3_600_000  # 21:40Z: New York has closed
    close_ms = START_MS + 6 * 3_600_000 + 20 * 60_000
    one.market.bar("SPY", 300, close_ms - 300_000, 595)
    for _ in range(4):
        one.at(SOL, 700)
        assert one.fact("price", "SPY") is UnknownReason.STALE
        assert one.fact("equity_estimated") == 0.0
        assert one.fact("equity") == 10_000 - 5 * 590 + 5 * 595
        assert one.reports[-1].unguarded == []
    one.at(SOL, 599)
    assert one.disposition("enter") == "acted"
    assert one.incidents() == []


def test_cash_is_what_the_venue_has_if_that_is_less(script: Make) -> None:
    """Money that someone drew from the account is not spent, and a person is told."""
    one = script()
    one.broker.inner.withdraw(money(9500))
    one.at(SOL, 99)
    assert one.held() == quantity("5.05")
    assert one.incidents() == ["cash-differs"]


def test_fees_never_overdraw(script: Make) -> None:
    """All the cash is spent, fee included, and not a cent more."""
    policy = SIMPLE.replace("buy to 1000 USD", "buy to 100000 USD")
    one = script(policy, fee_ppm=3333)
    one.at(SOL, 99)
    assert one.disposition("enter") == "acted"
    cash = one.agent.state.ledger.cash
    assert 0 <= cash < money(1)
    assert one.incidents() == []


LATCH = (
    SIMPLE
    + """
gates:
  halt: {vetoes: [buy], when: drawdown > 3%}
"""
)


def test_a_drawdown_gate_latches(script: Make) -> None:
    """True once, it holds when equity recovers, over restarts, until a person rebases; it is told once."""
    one = script(LATCH.replace("buy to 1000 USD", "buy to 9000 USD"))
    one.at(SOL, 99)
    one.at(SOL, 92)
    assert one.fact("drawdown") > 0.03
    one.at(SOL, 109)
    one.at(SOL, 110)
    assert one.held() == 0
    one.restart()
    for _ in range(2):
        one.at(SOL, 99)
        assert one.disposition("enter") == "vetoed(halt)"
    assert one.incidents() == ["drawdown-latched"]
    one.journal.append_account_event(AccountEvent("rebase", one.clock.now_ms))
    one.restart()
    one.cycle()
    assert one.disposition("enter") == "acted"


def test_drawdown_is_net_of_deposits(script: Make) -> None:
    """Money put in or taken out moves the peak along."""
    one = bought(script, LATCH)
    for kind, amount in (("deposit", 5000), ("withdrawal", 4000)):
        one.journal.append_account_event(AccountEvent(kind, one.clock.now_ms, money(amount)))
        one.restart()
        one.cycle()
        assert one.fact("drawdown") == 0.0


@pytest.mark.parametrize(
    ("word", "entry", "stop"),
    [
        ("active", "acted", "acted"),
        ("reducing", "vetoed(agent-state)", "acted"),
        ("halted", "vetoed(agent-state)", "vetoed(agent-state)"),
    ],
)
def test_agent_states(word: str, entry: str, stop: str, script: Make) -> None:
    """Reducing stops entries, halted stops everything; a person says which."""
    one = bought(script)
    one.journal.append_account_event(AccountEvent("agent-state", one.clock.now_ms, None, word))
    one.restart()
    one.market.set("ADA-USD", 50)
    one.at(SOL, 85)
    assert one.fact("agent_state") == AGENT_STATE.index(word)
    assert one.disposition("enter", "ADA-USD") == entry
    assert one.disposition("stop") == stop


# --- guarded or not ---------------------------------------------------------------------------


def test_unguarded_is_told_after_a_minute(script: Make) -> None:
    """Held, and a protective rule Unknown: shown at once, told after 60 s, once, over restarts."""
    one = bought(script)
    one.market.drop(SOL)
    for seconds in (30, 20, 10):
        report = one.cycle(seconds)
        assert report.unguarded == [SOL]
        assert one.incidents() == []
    one.cycle(30)
    one.restart()
    one.cycle(30)
    assert one.incidents() == ["unguarded"]
    one.at(SOL, 99)
    assert one.reports[-1].unguarded == []
    one.market.drop(SOL)
    for _ in range(4):
        one.cycle()
    assert one.incidents() == ["unguarded", "unguarded"], "the next time is told again"


def test_a_gate_that_closes_the_stop_is_no_alarm(script: Make) -> None:
    """A gate of the policy that lists protective and is definitely true says so itself."""
    gate = "gates: {pause: {vetoes: [protective], when: price < 90 USD}}\n"
    one = bought(script, SIMPLE + gate)
    for _ in range(4):
        one.at(SOL, 85)
        assert one.disposition("stop") == "vetoed(pause)"
        assert one.reports[-1].unguarded == []
    assert one.incidents() == []


def test_a_fact_says_that_a_position_is_unguarded(script: Make) -> None:
    """`unguarded` can be read by a policy: it is what the cycle before found."""
    one = bought(script, SIMPLE + "gates: {alone: {vetoes: [buy], when: unguarded}}\n")
    one.market.drop(SOL)
    one.cycle()
    assert one.fact("unguarded") == 0.0
    one.cycle()
    assert one.fact("unguarded") == 1.0


class Lying:
    """Stands in the place of durable-rules and says the contrary about one rule."""

    def __init__(self, honest: CompiledEvaluator, about: str) -> None:
        """Lie about one rule."""
        self.honest = honest
        self.rule = next(i for i, rule in enumerate(honest.policy.rules) if rule.name == about)
        self.rebuilt = 0

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Return the verdict with one truth turned round."""
        honest = self.honest.verdict(values, stated, would_exit, would_exit_unknown)
        truths = bytearray(honest.truths)
        truths[self.rule] = 1 - truths[self.rule] if truths[self.rule] < 2 else 0
        return honest._replace(truths=bytes(truths))

    def rebuild(self) -> None:
        """Count."""
        self.rebuilt += 1

    def close(self) -> None:
        """Nothing to let go of."""


def lie(one: Script, about: str) -> Lying:
    """Put a liar into the place of durable-rules."""
    evaluator = one.planned(SOL).subject.evaluator
    assert isinstance(evaluator, AgreedEvaluator)
    liar = Lying(evaluator.compiled, about)
    evaluator.durable = liar  # type: ignore[assignment]  # what it must offer, it offers
    return liar


def test_evaluators_that_differ_buy_nothing(script: Make) -> None:
    """The entry is withheld, the incident names symbol and rule, the ruleset is built anew."""
    one = script()
    one.at(SOL, 120)
    liar = lie(one, "enter")
    one.at(SOL, 99)
    assert one.disposition("enter") == "vetoed(disagreement)"
    assert one.decision().action is Action.HOLD
    assert liar.rebuilt >= 1
    found = [incident for incident in one.journal.incidents() if incident.symbol == SOL]
    assert [(i.kind, "enter" in i.detail) for i in found] == [("disagreement", True)]
    assert one.broker.submitted == []


def test_a_protective_exit_acts_where_the_other_two_agree(script: Make) -> None:
    """An ordinary exit waits while the evaluators differ; a stop goes out, because two of three say so."""
    one = bought(script)
    lie(one, "enter")
    one.at(SOL, 111)
    assert one.disposition("leave") == "vetoed(disagreement)"
    one.at(SOL, 89)
    assert one.disposition("stop") == "acted"
    assert one.held() == 0


def test_a_broken_rules_engine_is_told(script: Make) -> None:
    """An engine that gives no verdict at all withholds like one that lies; the stop still works."""
    from engine.evaluate.durable import EngineFault

    one = bought(script)
    liar = lie(one, "enter")

    def broken(*_: Any) -> Verdict:  # noqa: ANN401 - the arguments do not matter
        raise EngineFault("the engine stopped")

    liar.verdict = broken  # type: ignore[method-assign, assignment]  # as an engine that died
    one.at(SOL, 85)
    assert one.held() == 0
    assert all("the engine stopped" in detail for detail in one.incidents("disagreement"))


# --- orders in their time ---------------------------------------------------------------------


def test_an_order_is_cancelled_when_its_time_is_over(script: Make) -> None:
    """Working until then, cancelled after; the level is bought again while the rule matches."""
    one = script(good_for(SIMPLE, "1m"), instant_fills=False)
    one.at(SOL, 99)
    one.cycle()
    assert one.disposition("enter") == "working"
    one.cycle()
    first = one.broker.submitted[0].client_id
    assert one.broker.cancelled == [first]
    assert [event.state for event in one.journal.intent_events(first)][-1] is IntentState.CANCELLED
    assert one.disposition("enter") == "acted"
    assert len(one.broker.submitted) == 2


def test_a_cancellation_that_is_lost_is_asked_again(script: Make) -> None:
    """A venue that does not answer a cancellation gets it again each round; a stuck one is told of."""
    one = bought(script, SIMPLE, instant_fills=True)
    one.venue_market.prices = {}
    one.at(SOL, 111)
    assert one.disposition("leave") == "acted"
    one.faults["cancel"] = [lost_before] * 4
    trim = one.broker.submitted[-1].client_id
    one.at(SOL, 95)
    one.at(SOL, 85)
    assert one.disposition("stop") == "working", "an exit of the whole position stands already"
    assert one.broker.cancelled == []
    assert trim


def test_a_larger_exit_replaces_a_trim(script: Make) -> None:
    """Cancel, await the final state, sell what is owned: never more, and it stays a sell all the while."""
    one = bought(script, TRIM)
    one.venue_market.prices = {}
    one.at(SOL, 106)
    assert one.disposition("trim") == "acted"
    trim = one.broker.submitted[-1]
    one.at(SOL, 107)
    assert (one.disposition("trim"), one.decision().action) == ("working", Action.SELL)
    one.faults["cancel"] = [lost_before, lost_before]
    for _ in range(2):
        one.at(SOL, 88)
        assert (one.disposition("stop"), one.decision().action) == ("awaiting_cancel", Action.SELL)
        assert one.reports[-1].unguarded == [SOL]
    assert one.broker.cancelled == [trim.client_id] * 2
    one.cycle()
    assert one.broker.cancelled == [trim.client_id] * 3
    assert one.disposition("stop") == "acted"
    assert one.broker.submitted[-1].quantity == one.held()


def test_an_exit_replaces_a_buy_that_is_partly_filled(script: Make) -> None:
    """The buy is cancelled, what it bought is sold, and not more."""
    one = script(SIMPLE.replace("price < 100 USD", "90 USD < price < 100 USD"), partial_rate=Decimal(1))
    one.at(SOL, 99)
    part = one.held()
    assert 0 < part < quantity("10.101")
    one.venue_market.prices = {}
    one.at(SOL, 85)
    assert one.disposition("stop") == "awaiting_cancel"
    one.venue_market.prices = one.market.prices
    for _ in range(60):
        one.at(SOL, 85, 10)
    sold = [intent.order for intent in one.journal.intents(SOL) if intent.order.side is OrderSide.SELL]
    assert sold[0].quantity >= part
    assert one.venue_held() == 0


def test_market_orders(script: Make) -> None:
    """Sized and reserved at the touch, sent without a price."""
    one = script(
        SIMPLE.replace("limit: 100% of ask, ", "type: market, ").replace(
            "limit: 100% of bid, ", "type: market, "
        )
    )
    one.market.set(SOL, 98, 99)
    one.cycle()
    order = one.broker.submitted[0]
    assert (order.limit_price, order.quantity) == (None, quantity("10.101"))
    assert one.agent.state.ledger.cash == money(10_000) - order.quantity * price(99) * 10**6 // 10**17


# --- once -------------------------------------------------------------------------------------


def once(period: str, then: str = "buy 100 USD") -> str:
    """Return a policy that buys once per period."""
    rule = f"buy: {{priority: 100, when: price < 100 USD, then: {then}, once: {period}}}"
    stop = "stop: {priority: 900, protective: true, when: held and gain <= -50%, then: sell all}"
    return HEAD + f"rules:\n  {stop}\n  {rule}\n"


@pytest.mark.parametrize(
    ("period", "seconds"), [("bar", 60), ("day", 86_400), ("week", 7 * 86_400), ("month", 30 * 86_400)]
)
def test_once_per_period(period: str, seconds: int, script: Make) -> None:
    """A sent order uses the period up, over restarts; the next period begins anew."""
    one = script(once(period))
    for open_ms in range(START_MS - 600_000, START_MS + 600_000, 60_000):
        one.market.bar(SOL, 60, open_ms, 99)
    one.at(SOL, 99, 1)
    one.cycle(1)
    one.restart()
    one.cycle(1)
    assert one.disposition("buy") == "vetoed(once)"
    assert len(list(one.journal.intents())) == 1
    if period != "bar":
        one.market.bar(SOL, 60, START_MS + seconds * 1000 - 60_000, 99)
    one.cycle(seconds)
    assert len(list(one.journal.intents())) == 2


def test_once_per_position(script: Make) -> None:
    """It holds from the order that begins the position to the position's end."""
    policy = once("position").replace("gain <= -50%", "price >= 110 USD").replace("protective: true, ", "")
    one = script(policy)
    one.at(SOL, 99)
    for _ in range(3):
        one.cycle()
        assert one.disposition("buy") == "vetoed(once)"
    one.at(SOL, 110)
    assert one.held() == 0
    one.at(SOL, 99)
    assert one.disposition("buy") == "acted"
    assert len(list(one.journal.intents())) == 3


def test_once_per_position_without_a_fill(script: Make) -> None:
    """An entry of which nothing was filled began no position: it may be sent again."""
    one = script(good_for(once("position"), "30s"), instant_fills=False)
    one.at(SOL, 99)
    one.cycle()
    assert one.disposition("buy") == "acted"


def test_once_is_given_back_by_a_rejection_not_used_by_a_denial(script: Make) -> None:
    """A rejected order may be sent again in its period; a denied one never used it up."""
    one = script(once("day") + "limits: {least: {at_least: 200 USD, per: order}}\n")
    one.at(SOL, 99)
    assert one.disposition("buy") == "limited(least)"
    assert one.memory().once_rules == ()
    other = script(once("day"))
    other.faults["submit"] = [refused]
    other.at(SOL, 99)
    other.cycle(60)
    assert other.disposition("buy") == "acted"
    other.cycle(60)
    assert other.disposition("buy") == "vetoed(once)"


def test_a_partly_filled_level_is_sent_again(script: Make) -> None:
    """What is left of `buy to X` is bought under the same `once`; while its order works it is `working`."""
    policy = good_for(once("day", "buy to 1000 USD"), "1m")
    one = script(policy, partial_rate=Decimal(1))
    one.at(SOL, 99)
    part = one.held()
    one.venue_market.prices = {}
    one.cycle()
    assert one.disposition("buy") == "working"
    one.venue_market.prices = one.market.prices
    for _ in range(30):
        one.cycle()
    assert one.held() > part
    assert quantity(950) <= one.held() * 99 <= quantity(1000), "within the least step of the level"


def test_a_level_that_moves_with_the_position_is_sent_once(script: Make) -> None:
    """Part of a moving level was sold: what is left of it is not measured anew and sold again."""
    policy = SIMPLE.replace(
        "when: held and price >= 110 USD, then: sell all",
        "when: held and price >= 105 USD, then: sell to 50% of position_value, once: position",
    )
    one = bought(script, good_for(policy, "30s"))
    one.model = replace(one.model, partial_rate=Decimal(1))
    one.restart()
    one.at(SOL, 106)
    sold = quantity("10.101") - one.held()
    assert 0 < sold < quantity("5.05")
    one.venue_market.prices = {}
    for _ in range(5):
        one.cycle()
    trims = [intent for intent in one.journal.intents() if intent.rule == "leave"]
    assert len(trims) == 1
    other = bought(script, good_for(policy, "30s"))
    other.venue_market.prices = {}
    other.at(SOL, 106)
    for _ in range(3):
        other.cycle()
    assert len([i for i in other.journal.intents() if i.rule == "leave"]) > 1, (
        "nothing was sold: it is tried again"
    )


# --- cooldowns --------------------------------------------------------------------------------


def test_cooldowns_count_orders_that_reached_the_venue(script: Make) -> None:
    """`since_order` runs from a sent order; a rejected one, or one that never arrived, is none."""
    one = script(SIMPLE + "gates: {cooldown: {vetoes: [buy], when: since_order < 5m}}\n")
    one.faults["submit"] = [refused]
    one.at(SOL, 99)
    one.cycle(60)
    assert one.disposition("enter") == "acted"
    one.cycle(60)
    assert one.fact("since_order") == 60.0
    one.at(SOL, 110)
    one.at(SOL, 99, 299)
    assert one.disposition("enter") == "vetoed(cooldown)"
    one.cycle(1)
    assert one.disposition("enter") == "acted"


def test_a_decision_survives_the_journal(script: Make) -> None:
    """What was decided, sent and filled is in the journal with the state after it; a restart has the same."""
    one = bought(script)
    one.at(SOL, 85)
    state = one.agent.state
    one.restart()
    assert one.agent.state == state
    events = [
        [event.state for event in one.journal.intent_events(i.order.client_id)] for i in one.journal.intents()
    ]
    assert events == [[IntentState.PLANNED, IntentState.FILLED]] * 2


def test_incidents_are_kept_once(script: Make) -> None:
    """What was journalled when it was heard is not journalled again with the cycle."""
    one = bought(script)
    one.faults["account"] = [unreachable]
    one.cycle()
    report = one.cycle()
    assert report.incidents == ()
    assert one.incidents() == ["broker-unavailable"]


def test_the_first_start_needs_the_venue(tmp_path: Path) -> None:
    """An agent that cannot see its account does not begin; nothing is kept of it."""
    one = Script(tmp_path, SIMPLE)
    one.close()
    for path in tmp_path.iterdir():
        path.unlink()
    one.faults["account"] = [unreachable]
    with pytest.raises(UnavailableError, match="the venue is down"):
        one.restart()
    one.close()


def test_ports_are_used_as_they_are(script: Make) -> None:
    """The names in this file are the real ones: paper venue and journal events."""
    one = script()
    assert isinstance(one.broker.inner, PaperBroker)
    assert IntentEvent("a", IntentState.SENT, 0).filled_quantity == 0
