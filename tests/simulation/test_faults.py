"""Faults that other trading systems have met, each once, on the whole agent.

Under every one of them: no order is lost, none is sent twice, no signal vanishes, nothing recorded is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.codes import Action, IntentState, UnknownReason
from engine.errors import UnavailableError
from engine.model import OrderSide
from tests.simulation.scripted import (
    START_MS,
    Script,
    lost_after,
    lost_before,
    money,
    price,
    quantity,
)

SOL = "SOL-USD"
ALL = quantity("10.101")  # 1,000 USD at 99
POLICY = """
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 50%, ADA-USD: 30%}}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  leave: {priority: 800, when: held and price >= 110 USD, then: sell all}
  enter: {priority: 100, when: 90 USD < price < 100 USD and position_value < 900 USD, then: buy to 1000 USD}
orders: {buy: {limit: 100% of ask, good_for: 20m}, sell: {limit: 100% of bid, good_for: 20m}}
"""


class Killed(BaseException):
    """The process is gone: nothing after this line happens."""


Make = Callable[..., Script]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make scripts that are closed at the end."""
    made: list[Script] = []

    def one(policy: str = POLICY, **options: Any) -> Script:  # noqa: ANN401 - of Script
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Script(folder, policy, **options))
        return made[-1]

    yield one
    for script in made:
        script.close()


def orders_of(script: Script) -> list[str]:
    """Return the names of the intents, each of which the venue must have."""
    names = [intent.order.client_id for intent in script.journal.intents()]
    assert all(script.broker.inner.find(name) is not None for name in names)
    return names


def resting(make: Make, **options: Any) -> Script:  # noqa: ANN401 - of Script
    """Return a script whose buy rests at the venue, because the venue has no price."""
    script = make(instant_fills=False, **options)
    script.at(SOL, 99)
    assert script.memory().working is not None and script.held() == 0
    return script


def test_order_booked_then_the_database_write_fails(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt cannot be written: the order is found by its name in the next round, and not sent again."""
    script = make()
    write = script.journal.append_receipt
    failures = [True, True]

    def fails(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of append_receipt
        if failures:
            failures.pop()
            raise UnavailableError("the journal cannot be written")
        return write(*args, **kwargs)

    monkeypatch.setattr(script.journal, "append_receipt", fails)
    script.at(SOL, 99)
    assert (script.held(), script.venue_held()) == (0, ALL)
    script.cycle()
    script.cycle()
    assert script.held() == ALL
    assert len(orders_of(script)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_persisting_and_the_acknowledgement(when: str, make: Make) -> None:
    """Before the order is sent, or after it is booked: the restart sends it once, or finds it."""
    script = make()

    def killed(call: Callable[[], Any]) -> None:
        if when == "after":
            call()
        raise Killed

    script.faults["submit"] = [killed]
    with pytest.raises(Killed):
        script.at(SOL, 99)
    script.restart()
    assert script.held() == script.venue_held() == ALL
    script.cycle()
    assert len(orders_of(script)) == 1


def test_a_restart_creates_no_duplicate_order(make: Make) -> None:
    """Restarted over and over with an order at the venue, the agent has one order there."""
    script = resting(make)
    for _ in range(3):
        script.restart()
        script.cycle()
        assert script.disposition("enter") == "working"
    assert len(orders_of(script)) == 1


def test_fills_are_not_replayed_on_a_restart(make: Make) -> None:
    """The venue tells all its fills again: each is booked once."""
    script = make()
    script.at(SOL, 99)
    script.faults["fills_since"] = [lambda call: script.broker.inner.fills_since("")]
    script.restart()
    assert script.held() == ALL
    assert script.agent.state.ledger.cash == script.broker.inner.account().cash


def test_an_order_in_flight_is_not_marked_rejected(make: Make) -> None:
    """A lost answer is no rejection: no backoff, and the period of its rule stays used."""
    script = make()
    script.faults["submit"] = [lost_after]
    script.faults["find"] = [lambda call: None]
    script.at(SOL, 99)
    script.agent.tend()
    assert script.memory().buy_rejections == 0
    script.agent.tend()
    events = [event.state for event in script.journal.intent_events(orders_of(script)[0])]
    assert events == [IntentState.PLANNED, IntentState.AMBIGUOUS, IntentState.FILLED]


def test_a_working_order_survives_a_cold_start(make: Make) -> None:
    """It is still known, still working, and its fill is taken in."""
    script = resting(make)
    script.restart()
    working = script.memory().working
    assert working is not None and working.client_id == orders_of(script)[0]
    script.venue_market.set(SOL, 99)
    script.cycle()
    assert script.held() == ALL


def test_a_restart_loses_no_tag(make: Make) -> None:
    """Which rule an order comes from, whether it protects, and the decision behind it, are in the journal."""
    script = make()
    script.at(SOL, 99)
    script.at(SOL, 85)
    script.restart()
    enter, stop = script.journal.intents()
    assert (enter.rule, enter.protective, stop.rule, stop.protective) == ("enter", False, "stop", True)
    stored = script.journal.decision_at(SOL, stop.order.created_ms)
    assert stored is not None
    assert stored.record.decision.action is Action.SELL
    assert [i.order for i in script.journal.intents_of_decision(stored.head.cycle, SOL)] == [stop.order]


def test_the_fill_event_never_arrives(make: Make) -> None:
    """Filled, and no fill: the symbol waits, a person is told, nothing is bought a second time."""
    script = make()
    script.faults["fills_since"] = [lambda call: ((), "")] * 40
    script.at(SOL, 99)
    for _ in range(4):
        script.cycle()
    assert len(orders_of(script)) == 1
    assert "fills-missing" in script.incidents()
    script.faults["fills_since"].clear()
    script.cycle()
    assert script.held() == ALL


def test_an_order_that_expires_at_the_venue(make: Make) -> None:
    """A day order ends with the session: it is `expired`, and the symbol is free for the next day."""
    policy = POLICY.replace("crypto: {calendar: 24/7", "stock: {calendar: NYSE").replace(
        "SOL-USD: 50%, ADA-USD: 30%", "SPY: 50%"
    )
    script = make(policy.replace("good_for: 20m", "good_for: 1d"), instant_fills=False)
    script.at("SPY", 99)
    script.clock.now_ms = START_MS + 7 * 3_600_000
    script.cycle()
    events = [event.state for event in script.journal.intent_events(orders_of(script)[0])]
    assert events == [IntentState.PLANNED, IntentState.SENT, IntentState.EXPIRED]
    script.venue_market.set("SPY", 99)
    script.clock.now_ms = START_MS + 24 * 3_600_000
    script.at("SPY", 99)
    assert script.held("SPY") == quantity(10)
    assert len(orders_of(script)) == 2


def test_fill_and_cancel_cross(make: Make) -> None:
    """The cancellation arrives after the fill: the fill stands, the stop sells it all."""
    script = resting(make)

    def crossing(call: Callable[[], Any]) -> None:
        script.venue_market.prices = script.market.prices
        call()

    script.faults["cancel"] = [crossing]
    script.cycle(20 * 60)
    assert script.held() == ALL
    script.at(SOL, 85)
    assert script.held() == script.venue_held() == 0


def test_a_partial_fill_then_no_double_sell(make: Make) -> None:
    """An exit that is half filled is not sent a second time; never is more sold than was held."""
    script = make()
    script.at(SOL, 99)
    script.model = replace(script.model, partial_rate=Decimal(1))
    script.restart()
    script.at(SOL, 85)
    assert 0 < script.held() < ALL
    while script.held():
        script.at(SOL, 85)
        assert script.disposition("stop") in ("working", "acted", "none")
    sold = [
        intent.order.quantity for intent in script.journal.intents() if intent.order.side is OrderSide.SELL
    ]
    assert sum(sold) == ALL


def test_a_partial_fill_does_not_block_the_stop(make: Make) -> None:
    """Half a buy is filled, the rest rests, the price falls: the rest is cancelled and the half is sold."""
    script = make(partial_rate=Decimal(1))
    script.at(SOL, 99)
    half = script.held()
    assert 0 < half < ALL
    script.market.set(SOL, 85)
    script.venue_market.prices = {}
    script.cycle()
    assert script.disposition("stop") == "awaiting_cancel"
    script.cycle()
    assert script.disposition("stop") == "acted"
    assert script.broker.submitted[-1].quantity == half


def test_a_partial_fill_is_not_counted_twice_on_replay(make: Make) -> None:
    """Restarted after each part, the books hold each part once."""
    script = make(partial_rate=Decimal(1))
    script.at(SOL, 99)
    for _ in range(20):
        script.restart()
        script.cycle()
        assert script.held() == script.venue_held()
    assert script.agent.state.ledger.cash == script.broker.inner.account().cash


def test_dust_is_no_position(make: Make) -> None:
    """What is too little to be sold is not held: no exit is tried on it, it keeps no entry back."""
    script = make(POLICY.replace("good_for: 20m", "good_for: 30s"))
    script.at(SOL, 99)
    script.model = replace(script.model, partial_rate=Decimal(1), partial_share=Decimal("0.995"))
    script.restart()
    script.at(SOL, 85)
    script.venue_market.prices = {}
    for _ in range(3):
        script.cycle()
        assert (script.fact("held"), script.disposition("stop")) == (0.0, "none")
    crumb = script.held()
    assert 0 < crumb * 85 < quantity(10)
    script.at(SOL, 95)
    assert script.disposition("enter") == "acted"


def test_cancelled_here_alive_at_the_venue(make: Make) -> None:
    """A cancellation whose answer was lost: the order works until the venue says that it has ended."""
    script = resting(make)
    script.faults["cancel"] = [lost_before, lost_before]
    script.cycle(20 * 60)
    working = script.memory().working
    assert working is not None and working.cancelling
    script.venue_market.set(SOL, 99)
    script.cycle()
    assert script.held() == script.venue_held() == ALL
    assert len(orders_of(script)) == 1


def test_re_entry_after_cancelled_partly_filled(make: Make) -> None:
    """The next buy is of what is missing to the level, not of the whole again."""
    script = make(POLICY.replace("good_for: 20m", "good_for: 30s"), partial_rate=Decimal(1))
    script.at(SOL, 99)
    first = script.held()
    script.venue_market.prices = {}
    script.cycle()
    second = script.broker.submitted[-1]
    assert len(script.broker.submitted) == 2
    assert second.quantity <= ALL - first + quantity("0.001")


def test_the_same_fill_by_two_paths(make: Make) -> None:
    """A fill that is told twice in one answer is one fill."""
    script = make()

    def doubled(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - fills and cursor
        fills, cursor = call()
        return [*fills, *fills], cursor

    script.faults["fills_since"] = [doubled] * 4
    script.at(SOL, 99)
    assert script.held() == script.venue_held() == ALL
    assert len(list(script.journal.fills())) == 1


BARS = POLICY.replace("rules:", "indicators: {fast: sma(3), rsi: rsi(3)}\nrules:", 1).replace(
    "when: 90 USD < price < 100 USD and", "when: price > fast and rsi > 1 and"
)


def minutes(script: Script, count: int, close: float = 90.0, skip: frozenset[int] = frozenset()) -> None:
    """Deliver minute bars up to now, but some."""
    first = script.clock.now_ms - count * 60_000
    for number in range(count):
        if number not in skip:
            script.market.bar(SOL, 60, first + number * 60_000, close + number % 3)


def test_bars_stop_after_a_reconnect(make: Make) -> None:
    """No bar comes any more: what is made from bars is stale after one, and nothing is bought on it."""
    script = make(BARS)
    minutes(script, 120)
    script.at(SOL, 101, 0)
    assert script.disposition("enter") == "acted"
    other = make(BARS)
    minutes(other, 120)
    other.clock.now_ms += 60_000
    other.at(SOL, 101, 0)
    assert other.fact("fast") is UnknownReason.STALE
    assert other.decision().action is Action.HOLD


def test_a_gap_bends_no_indicator(make: Make) -> None:
    """A missing bar is no flat bar: the RSI is Unknown behind it until it is warm again."""
    script = make(BARS)
    minutes(script, 120, skip=frozenset({110}))
    script.at(SOL, 101, 0)
    assert script.fact("rsi") is UnknownReason.GAP
    assert script.fact("fast") == pytest.approx(91.0)
    assert script.decision().action is Action.HOLD


STOCK = """
selection: exits_first
every: 30s
bars: 5m
universe:
  stock: {calendar: NYSE, weights: {SPY: 50%}}
indicators: {fast: sma(2)}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  enter: {priority: 100, when: not held and price > fast, then: buy to 3000 USD}
gates:
  market-hours: {vetoes: [buy, sell, protective], when: session != regular}
"""


def at(text: str) -> int:
    """Return an instant of New York."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)


def session(script: Script, day: str, close: str = "16:00", value: float = 500.0) -> None:
    """Deliver the five-minute bars of a session."""
    for open_ms in range(at(f"{day}T09:30"), at(f"{day}T{close}"), 300_000):
        script.market.bar("SPY", 300, open_ms, value)


def test_stale_candles_and_false_stale(make: Make) -> None:
    """On Monday at 09:30 the last bar is fresh; five minutes later it is stale, and stays so."""
    script = make(STOCK, start_ms=at("2025-11-14T15:00"))
    session(script, "2025-11-14")
    script.market.set("SPY", 501)
    for when, fresh in (
        ("2025-11-14T16:00", True),
        ("2025-11-17T09:30", True),
        ("2025-11-17T09:35", False),
        ("2025-11-19T12:00", False),
    ):
        script.clock.now_ms = at(when)
        script.cycle(0)
        assert script.fact("fast", "SPY") == (500.0 if fresh else UnknownReason.STALE)


def test_a_missing_quote_is_not_zero(make: Make) -> None:
    """No quote, or one of 0: no price, no loss, no sale."""
    script = make()
    script.at(SOL, 99)
    script.market.drop(SOL)
    script.cycle()
    assert script.fact("gain") is UnknownReason.MISSING
    script.market.pin(SOL, 0)
    script.cycle()
    assert script.fact("gain") is UnknownReason.NOT_A_NUMBER
    assert script.held() == ALL


@pytest.mark.parametrize(("before", "after"), [("2025-10-31", "2025-11-03"), ("2025-03-07", "2025-03-10")])
def test_daylight_saving(before: str, after: str, make: Make) -> None:
    """The session opens at 09:30 of New York's clock on both sides of the change."""
    script = make(STOCK, start_ms=at(f"{before}T15:00"))
    session(script, before)
    script.market.set("SPY", 501)
    for day in (before, after):
        for when, entry in (("09:29:30", "vetoed(market-hours)"), ("09:30", "acted"), ("16:00", "none")):
            if day == before and when != "16:00":
                continue
            script.clock.now_ms = max(script.clock.now_ms, at(f"{day}T{when}"))
            script.cycle(0)
            expected = "vetoed(market-hours)" if day == before else entry
            assert script.disposition("enter", "SPY") == expected, (day, when)


def test_a_half_day(make: Make) -> None:
    """After Thanksgiving New York closes at 13:00: nothing is sent behind it, and its close is not stale."""
    script = make(STOCK, start_ms=at("2025-11-28T12:00"))
    session(script, "2025-11-28", "13:00")
    script.market.set("SPY", 501)
    for when, entry in (("12:59:30", "acted"), ("13:00", "none"), ("15:00", "none")):
        script.clock.now_ms = at(f"2025-11-28T{when}")
        script.cycle(0)
        assert script.disposition("enter", "SPY") == entry
    assert script.fact("fast", "SPY") == 500.0
    script.market.pin("SPY", 501)
    script.cycle(600)
    assert script.fact("equity_estimated", "SPY") == 0.0
    script.market.set("SPY", 401)
    script.cycle()
    script.cycle()
    assert script.disposition("stop", "SPY") == "vetoed(market-hours)"


def test_a_clock_that_drifts_and_steps_back(make: Make) -> None:
    """Behind the journal nothing is bought and stops go on; no instant in the journal ever goes back."""
    script = make()
    script.at(SOL, 99)
    script.market.set("ADA-USD", 95)
    script.at(SOL, 98, -3600)
    assert script.disposition("enter", "ADA-USD") == "vetoed(clock)"
    script.at(SOL, 85)
    assert script.held() == 0
    assert script.agent.next_wake_ms() - script.clock.now_ms <= 30_000
    instants = [cycle.head.at_ms for cycle in script.journal.cycles()]
    assert instants == sorted(instants)
    script.restart()
    assert script.cycle(3700).at_ms == script.clock.now_ms


def test_quantities_are_rounded_down_never_up_or_to_nothing(make: Make) -> None:
    """999.999 buys 10.1 of 99.00, not 10.101; less than a step is denied by name, not sent as 0."""
    script = make()
    script.at(SOL, 99)
    assert script.broker.submitted[0].quantity == ALL
    assert ALL * price(99) <= money(1000) * 10**11
    small = make(
        POLICY.replace("buy to 1000 USD", "buy to 0.05 USD").replace(
            "and position_value < 900 USD", "and not held"
        )
    )
    small.at(SOL, 99)
    assert small.disposition("enter") == "denied(zero_size)"
    assert small.broker.submitted == []


def test_no_limit_denies_an_exit_and_a_throttle_recovers(make: Make) -> None:
    """With rate and cooldown exhausted the stop is sent; the rate has room again after its window."""
    policy = (
        POLICY
        + """
gates: {cooldown: {vetoes: [buy], when: since_order < 10m}}
limits: {rate: {at_most: 1 buys per 3m}, cap: {at_most: 1 USD, per: portfolio, for: [ADA-USD]}}
"""
    )
    script = make(policy)
    script.at(SOL, 99)
    script.market.set("ADA-USD", 95)
    script.at(SOL, 85)
    assert script.disposition("enter", "ADA-USD") == "limited(rate)"
    assert script.held() == 0
    script.at(SOL, 95, 30)
    assert script.disposition("enter") == "vetoed(cooldown)"
    script.cycle(600)
    assert script.disposition("enter") == "acted"


def test_a_split_leaves_no_trigger_unadjusted(make: Make) -> None:
    """Twice the quantity at half the price: the stop is Unknown, not true, and a person is told."""
    script = make()
    script.at(SOL, 99)
    script.beside[SOL] = ALL
    for _ in range(5):
        script.at(SOL, 49.5)
        assert script.disposition("stop") == "none"
    assert script.fact("gain") is UnknownReason.QUANTITY_CHANGED
    assert script.held() == ALL
    assert "unguarded" in script.incidents()
