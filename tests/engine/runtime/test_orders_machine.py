"""Orders through a bad network: whatever it does, and however often the agent restarts, the books hold.

The machine trades two symbols as an agent would, and a plain model says what is true at the venue.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.codes import IntentState
from engine.model import OrderSide
from engine.runtime.orders import LOOKED_UP_SECONDS, OrderDesk
from engine.runtime.ports import ANYTHING, Hint
from engine.runtime.reconcile import Reconciler
from engine.verbs.lifecycle import NEXT_STATES
from tests.engine.runtime.desk_world import SYMBOLS, UNIT, DeskWorld, ScriptedHints, VenueOrder
from tests.engine.runtime.wrong_desks import CancelledWhenAsked, LostIsRejected, OneLookIsProof

FAULTS = {
    "submit": ["lost_before", "lost_after", "late", "down"],
    "find": ["missing", "stale", "down"],
    "cancel": ["lost_before", "lost_after", "pending", "down"],
    "open_orders": ["missing", "stale", "down"],
    "fills_since": ["late", "again", "down"],
    "account": ["down"],
}
symbols = st.sampled_from(SYMBOLS)
sends = st.sampled_from(["", "", *FAULTS["submit"]])
looks = st.lists(st.sampled_from(["", *FAULTS["find"]]), max_size=2)


class Orders(RuleBasedStateMachine):
    """One account before a model of the venue."""

    desk_class = OrderDesk
    reconciler_class = Reconciler

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.hints = ScriptedHints()
        self.world = DeskWorld(
            hints=self.hints, desk_class=self.desk_class, reconciler_class=self.reconciler_class
        )
        self.venue = self.world.venue

    def teardown(self) -> None:
        """The network is well again: after a while all is known, and nothing was lost."""
        try:
            self.venue.faults.clear()
            self.venue.on_the_way.clear()
            for _ in range(6):
                self.world.tend(40)
            for order in self._open():
                self.venue.end(order.request.client_id, IntentState.CANCELLED)
            self.world.tend()
            self.world.tend()
            self._settled()
        finally:
            self.world.close()

    def _settled(self) -> None:
        true = {name: order.now.filled_quantity for name, order in self.venue.orders.items()}
        assert self.world.booked() == {name: filled for name, filled in true.items() if filled}
        for symbol in SYMBOLS:
            memory = self.world.desk.state.memory(symbol)
            assert self.world.held(symbol) == self.venue.held.get(symbol, 0)
            assert memory.working is None and not memory.frozen
        for name, order in self.venue.orders.items():
            states = self.world.states(name)
            assert states[-1] is order.now.state, (name, states, order.told)
            # every recorded change of state is one of the table: what ended stays ended
            for before, state in pairwise(states):
                assert state is before or state in NEXT_STATES[before], (name, states)
        sent: dict[str, object] = {}
        for request in self.venue.sent:
            assert sent.setdefault(request.client_id, request) == request, "what is sent again is the same"
            assert self.world.journal.intent(request.client_id) is not None, "it was durable before"
        assert not set(self.world.incidents()) & {"order-conflict", "foreign-order", "foreign-fill"}

    def _open(self) -> list[VenueOrder]:
        return [order for order in self.venue.orders.values() if order.open]

    # --- the agent --------------------------------------------------------------------------------

    @rule(symbol=symbols, units=st.integers(1, 9), good_for=st.sampled_from([None, 20, 90]), fault=sends)
    def buy(self, symbol: str, units: int, good_for: int | None, fault: str) -> None:
        """Buy, where nothing forbids it."""
        if self.world.may_order(symbol):
            self.venue.faults["submit"] = [fault]
            self.world.order(symbol, OrderSide.BUY, units, good_for)

    @rule(symbol=symbols, good_for=st.sampled_from([None, 20]), fault=sends)
    def sell_all(self, symbol: str, good_for: int | None, fault: str) -> None:
        """Sell all that the books say is held."""
        if self.world.held(symbol) and self.world.may_order(symbol):
            self.venue.faults["submit"] = [fault]
            self.world.send(symbol, OrderSide.SELL, self.world.held(symbol), good_for)

    @rule(symbol=symbols)
    def plan_and_die(self, symbol: str) -> None:
        """An intent is durable, and the process dies before it is sent."""
        if self.world.may_order(symbol):
            self.world.plan(symbol, OrderSide.BUY, UNIT)
            self.world.restart()

    @rule(symbol=symbols)
    def cancel(self, symbol: str) -> None:
        """Cancel what works."""
        working = self.world.working(symbol)
        if working is not None and working.state is not IntentState.PLANNED:
            self.world.cancel(symbol)

    @rule(seconds=st.sampled_from([1, 10, 30, 70, 400]), faults=looks)
    def tend(self, seconds: int, faults: list[str]) -> None:
        """A round, as before a cycle, with the account behind it."""
        self.venue.faults["find"] = faults
        heard = self.world.tend(seconds)
        if not heard.trouble:
            self.world.reconciler.account(heard)

    @rule()
    def restart(self) -> None:
        """The process is gone, and another one takes over."""
        self.world.restart()

    @precondition(lambda self: self.venue.orders)
    @rule(data=st.data(), anything=st.booleans())
    def hint(self, data: st.DataObject, anything: bool) -> None:
        """Hints come, in any order, of any order, as often as they like."""
        names = data.draw(st.lists(st.sampled_from([*self.venue.orders, "else"]), max_size=4))
        self.hints.waiting += [*map(Hint, names), *([ANYTHING] if anything else [])]
        self.world.reconciler.heed()

    # --- the venue --------------------------------------------------------------------------------

    @precondition(lambda self: self._open())
    @rule(data=st.data(), share=st.integers(1, 3))
    def fill(self, data: st.DataObject, share: int) -> None:
        """Some of an order is filled, or the rest."""
        order = data.draw(st.sampled_from(self._open()))
        rest = order.now.quantity - order.now.filled_quantity
        self.venue.fill(order.request.client_id, max(1, rest // share))

    @precondition(lambda self: self._open())
    @rule(data=st.data(), state=st.sampled_from([IntentState.CANCELLED, IntentState.EXPIRED]))
    def end(self, data: st.DataObject, state: IntentState) -> None:
        """The venue ends an order."""
        self.venue.end(data.draw(st.sampled_from(self._open())).request.client_id, state)

    @precondition(lambda self: self.venue.on_the_way)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """A request thought lost arrives after all; after a minute none does any more."""
        name = data.draw(st.sampled_from(sorted(self.venue.on_the_way)))
        if self.world.now_ms - self.venue.on_the_way[name].created_ms < LOOKED_UP_SECONDS * 1000:
            self.venue.arrive(name)
        else:
            del self.venue.on_the_way[name]

    @rule(data=st.data(), call=st.sampled_from(sorted(FAULTS)))
    def fault(self, data: st.DataObject, call: str) -> None:
        """The network spoils the next calls."""
        self.venue.faults[call] = data.draw(st.lists(st.sampled_from(FAULTS[call]), min_size=1, max_size=3))

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def never_more_sold_than_held(self) -> None:
        """The model would let us; our own rules do not."""
        assert all(quantity >= 0 for quantity in self.venue.held.values())

    @invariant()
    def one_open_order_of_a_symbol(self) -> None:
        """What is open at the venue is the order that we think is working: its symbol is blocked."""
        for symbol in SYMBOLS:
            alive = [order for order in self._open() if order.request.symbol == symbol]
            assert len(alive) <= 1, "a second order was sent while one was open"
            if alive:
                working = self.world.working(symbol)
                assert working is not None and working.client_id == alive[0].request.client_id


# An example is a journal on disk, and many restarts: a quarter of what the profile states.
Orders.TestCase.settings = settings(
    max_examples=max(10, settings().max_examples // 4), stateful_step_count=30
)
TestOrders = Orders.TestCase


@pytest.mark.parametrize("wrong", [OneLookIsProof, LostIsRejected, CancelledWhenAsked])
def test_the_machine_finds_a_wrong_desk(wrong: type[OrderDesk]) -> None:
    """Desks that are wrong on purpose do not get through it."""
    machine = type("Wrong", (Orders,), {"desk_class": wrong})
    once = settings(
        max_examples=80,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=once)
