"""The whole agent where the venue's answers about orders go wrong, and where it tells unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.bootstrap.agents import AgentFolder
from adapters.bootstrap.running import RunPlan
from adapters.cli.run import Stop, _cycles
from adapters.cli.run_tally import Tally
from adapters.cli.run_view import LineView
from engine.codes import IntentState
from engine.errors import DataError
from engine.model import OrderRequest, OrderSide, OrderType, TimeInForce
from engine.runtime.cycle import AgentSettings
from engine.runtime.ports import ANYTHING, Hint
from tests.engine.runtime.desk_world import ScriptedHints
from tests.simulation.scripted import (
    Fault,
    Script,
    SteppingClock,
    lost_after,
    lost_before,
    nothing,
    price,
    quantity,
    unreachable,
)

SOL, ADA = "SOL-USD", "ADA-USD"
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
Make = Callable[..., Script]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make scripts that are closed at the end."""
    made: list[Script] = []

    def one(**options: Any) -> Script:  # noqa: ANN401 - of Script
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Script(folder, POLICY, **options))
        return made[-1]

    yield one
    for script in made:
        script.close()


def odd(call: Callable[[], Any]) -> None:
    """The venue's answer cannot be read."""
    raise DataError("half of an answer")


def again(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - fills and cursor
    """Each fill is told twice."""
    fills, cursor = call()
    return [*fills, *fills], cursor


FAULTS: dict[str, list[Fault]] = {
    "open_orders": [unreachable, odd, lambda call: []],
    "find": [unreachable, odd, nothing],
    "fills_since": [unreachable, again],
    "account": [unreachable],
    "submit": [unreachable, lost_before, lost_after],
    "cancel": [unreachable, lost_before, lost_after],
}


def test_a_day_of_faults_about_orders(make: Make) -> None:
    """Every fault of every call in turn, a comparison in each cycle: one order per intent, equal books."""
    script = make(settings=AgentSettings(fee_ppm=0, reconcile_every_seconds=30), instant_fills=False)
    levels = (99, 99, 85, 95, 112)
    calls = [(call, fault) for call, faults in FAULTS.items() for fault in faults]
    for number, (call, fault) in enumerate(calls * 4):
        script.faults[call] = [fault]
        for symbol, shift in ((SOL, 0), (ADA, 2)):
            level = levels[(number + shift) % len(levels)]
            script.market.set(symbol, level)
            if number % 3:
                script.venue_market.set(symbol, level)
            else:
                script.venue_market.drop(symbol)
        script.cycle(45)
        if number % 7 == 0:
            script.restart()
    script.faults.clear()
    for _ in range(40):
        script.venue_market.prices = script.market.prices
        script.venue_market.quotes.clear()
        script.cycle(60)
    names = [intent.order.client_id for intent in script.journal.intents()]
    assert len(names) > 20
    assert len(script.broker.booked) == len(set(script.broker.booked))
    for name in names:
        report = script.broker.inner.find(name)
        states = [event.state for event in script.journal.intent_events(name)]
        ended_unsent = states[-1] is IntentState.EXPIRED and report is None
        assert ended_unsent or (report is not None and report.state is states[-1]), name
    for symbol in (SOL, ADA):
        assert script.held(symbol) == script.venue_held(symbol)
        assert not script.memory(symbol).frozen
    assert script.agent.state.ledger.cash == script.broker.inner.account().cash


def test_a_symbol_that_cannot_be_compared_is_not_traded_and_others_are(make: Make) -> None:
    """Its order cannot be read: `position-unknown` vetoes all of it; the other symbol buys."""
    script = make(instant_fills=False)
    script.at(SOL, 99)
    assert script.memory().working is not None
    script.faults["find"] = [odd]
    script.market.set(SOL, 112)
    script.at(ADA, 95)
    assert script.fact("position_state") == 2.0
    assert script.disposition("enter", ADA) == "acted"
    script.at(SOL, 99)
    assert script.fact("position_state") == 0.0


def test_an_order_named_by_us_that_nobody_recorded(make: Make) -> None:
    """The symbol is frozen before the first decision; the other one goes on, and no order is touched."""
    script = make(instant_fills=False)
    script.at(ADA, 95)
    order = replace(script.broker.submitted[0], client_id="n0-paper-999-SOL-USD-buy", symbol=SOL)
    script.broker.inner.submit(order)
    script.restart()
    script.at(SOL, 99)
    assert script.disposition("enter") == "vetoed(frozen-symbol)"
    assert script.disposition("enter", ADA) == "working"
    assert script.incidents() == ["order-conflict"]
    assert script.broker.cancelled == []


def test_somebody_else_trades_beside_us(make: Make) -> None:
    """Their order is told once; ours are made as if it were not there."""
    script = make()
    order = OrderRequest(
        "person-1", SOL, OrderSide.BUY, quantity(1), price(50), OrderType.LIMIT, TimeInForce.GTC, None,
        script.clock.now_ms,
    )  # fmt: skip
    script.broker.inner.submit(order)
    script.restart()
    script.at(SOL, 99)
    assert script.disposition("enter") == "acted"
    assert script.incidents() == ["foreign-order"]


class WokenClock(SteppingClock):
    """Sleeps until something happens: each waking is a function that runs in the middle of a sleep."""

    def __init__(self, now_ms: int, wakings: list[Callable[[], None]]) -> None:
        """Begin at an instant."""
        super().__init__(now_ms)
        self.wakings = wakings

    def sleep_until(self, at_ms: int) -> None:
        """Jump there, or half of the way where something happens."""
        if self.wakings:
            self.now_ms = (self.now_ms + at_ms) // 2
            self.wakings.pop(0)()
        else:
            super().sleep_until(at_ms)


def test_a_hint_ends_the_sleep_and_its_order_is_asked_for(make: Make) -> None:
    """The fill is in the journal before the next cycle is due, and no cycle comes early."""
    hints = ScriptedHints()
    script = make(hints=hints, instant_fills=False)
    script.at(SOL, 99)
    name = script.broker.submitted[0].client_id
    seen: list[tuple[int, int]] = []

    def filled() -> None:
        script.venue_market.set(SOL, 99)
        hints.waiting = [Hint(name)]

    def look() -> None:
        seen.append((script.held(), script.agent.state.cycle))

    clock = WokenClock(script.clock.now_ms, [filled, look])
    script.clock = script.market.clock = script.venue_market.clock = clock
    script.agent.ports = replace(script.agent.ports, clock=clock)
    script.broker.inner._clock = clock
    plan = RunPlan(script.agent, clock, AgentFolder(script.folder), "script", [], None, (SOL,), script.close)
    view = LineView()
    view.begin(plan)
    assert _cycles(plan, 1, Tally(), view, Stop()) == ""
    assert seen == [(quantity("10.101"), 1)]
    assert script.agent.state.cycle == 2


def test_a_stream_that_was_away(make: Make) -> None:
    """Its trouble is told once, and when it is back all open orders are compared."""
    hints = ScriptedHints()
    script = make(hints=hints, instant_fills=False)
    script.at(SOL, 99)
    hints.wrong = "the key is unauthorized"
    script.cycle()
    script.cycle()
    assert script.incidents() == ["hints-unheard"]
    hints.wrong, hints.waiting = "", [ANYTHING]
    script.faults["open_orders"] = [lambda call: call()]
    script.agent.heed()
    assert script.faults["open_orders"] == []


def test_open_orders_are_compared_between_rare_cycles(make: Make) -> None:
    """With an order open the agent wakes for the timer, although its cadence is a day."""
    script = make(instant_fills=False)
    script.policy = replace(script.policy, every_seconds=86_400)
    script.restart()
    script.at(SOL, 99)
    now_ms = script.clock.now_ms
    assert now_ms < script.agent.next_wake_ms() <= now_ms + 300_000
    script.market.set(SOL, 80)
    script.venue_market.set(SOL, 99)
    script.clock.now_ms = script.agent.next_wake_ms()
    script.agent.tend()
    assert script.held() == quantity("10.101")
    assert script.agent.next_wake_ms() > script.clock.now_ms + 300_000
