"""Whatever happens at the local Alpaca, in whatever order: its books balance, and nothing is there twice."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from adapters.clock import SimulatedClock
from adapters.stubs.alpaca import DEFAULT_ASSETS, Venue
from adapters.stubs.alpaca.refusal import Refusal
from adapters.stubs.alpaca.sessions import Weekdays
from tests.adapters.stubs.alpaca_world import THURSDAY_10H, order

_CASH = Decimal(10_000)
_SYMBOLS = ("BTC/USD", "ETH/USD", "SPY")
_PRICES = st.integers(1_000, 20_000).map(lambda cents: Decimal(cents) / 100)
_QUANTITIES = st.integers(1, 50_000).map(lambda thousandths: Decimal(thousandths) / 1000)
_IDS = st.integers(0, 30).map(lambda number: f"id-{number}")


class VenueMachine(RuleBasedStateMachine):
    """Orders, quotes, fills, cancellations and time, by chance."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        """Open the account."""
        super().__init__()
        self.clock = SimulatedClock(THURSDAY_10H)
        self.venue = Venue(self.clock, DEFAULT_ASSETS, _CASH, Weekdays())
        self.told: list[dict[str, Any]] = []
        self.venue.listeners.updates.append(self.told.append)
        self.ids: set[str] = set()
        for symbol in _SYMBOLS:
            self.venue.set_quote(symbol, "99.99", "100")

    @rule(
        target=orders,
        symbol=st.sampled_from(_SYMBOLS),
        side=st.sampled_from(["buy", "sell"]),
        quantity=_QUANTITIES,
        limit=_PRICES,
        time_in_force=st.sampled_from(["gtc", "ioc", "day"]),
        client_id=_IDS,
        at_market=st.booleans(),
    )
    def submit(
        self,
        symbol: str,
        side: str,
        quantity: Decimal,
        limit: Decimal,
        time_in_force: str,
        client_id: str,
        at_market: bool,
    ) -> Any:  # noqa: ANN401 - what a bundle takes
        """Take an order, or refuse it and be as before."""
        before = (self.venue.cash, len(self.venue.orders()), len(self.told))
        fields = {"type": "market"} if at_market else {"type": "limit", "limit_price": str(limit)}
        body = order(
            symbol,
            side=side,
            qty=str(quantity),
            time_in_force=time_in_force,
            client_order_id=client_id,
            **fields,
        )
        try:
            self.venue.submit(body)
        except Refusal:
            assert (self.venue.cash, len(self.venue.orders()), len(self.told)) == before
            return multiple()
        assert client_id not in self.ids
        self.ids.add(client_id)
        return client_id

    @rule(symbol=st.sampled_from(_SYMBOLS), bid=_PRICES, spread=st.integers(0, 100))
    def quote(self, symbol: str, bid: Decimal, spread: int) -> None:
        """Move the market."""
        self.venue.set_quote(symbol, bid, bid + Decimal(spread) / 100)

    @rule(share=st.sampled_from(["0.1", "0.5", "1"]), automatic=st.booleans(), slowly=st.booleans())
    def change_ways(self, share: str, automatic: bool, slowly: bool) -> None:
        """Change how orders are matched and cancelled."""
        self.venue.share = Decimal(share)
        self.venue.automatic = automatic
        self.venue.cancel_slowly = slowly

    @rule()
    def match(self) -> None:
        """Let all orders meet the market."""
        self.venue.match()

    @rule(client_id=orders, quantity=_QUANTITIES)
    def fill_by_hand(self, client_id: str, quantity: Decimal) -> None:
        """Fill what is left of an open order, at most, at its limit or 100."""
        one = self.venue.order(client_id)
        if one.is_open:
            self.venue.fill(client_id, min(quantity, one.remaining), one.draft.limit_price or 100)

    @rule(client_id=orders)
    def cancel(self, client_id: str) -> None:
        """Cancel an order; one that is final stays as it was."""
        one = self.venue.order(client_id)
        try:
            self.venue.cancel(one.id)
        except Refusal:
            assert not one.is_open or one.status == "pending_cancel"
            assert self.venue.order(client_id) == one

    @rule(target=orders, client_id=consumes(orders), quantity=_QUANTITIES, limit=_PRICES, new_id=_IDS)
    def replace(self, client_id: str, quantity: Decimal, limit: Decimal, new_id: str) -> Any:  # noqa: ANN401 - what a bundle takes
        """Replace an order; where that is refused it stays as it was."""
        one = self.venue.order(client_id)
        body = {"qty": str(quantity), "limit_price": str(limit), "client_order_id": new_id}
        try:
            self.venue.replace(one.id, body)
        except Refusal:
            assert self.venue.order(client_id) == one
            return client_id
        assert new_id not in self.ids
        self.ids.add(new_id)
        old, new = self.venue.order(client_id), self.venue.order(new_id)
        assert (old.status, old.replaced_by, new.replaces) == ("replaced", new.id, old.id)
        return new_id

    @rule()
    def settle(self) -> None:
        """End the cancellations."""
        self.venue.settle_cancels()

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Let time pass: sessions end and begin, DAY orders expire."""
        self.clock.sleep_until(self.clock.now_utc_ms() + hours * 3_600_000)

    @invariant()
    def books_balance(self) -> None:
        """Cash and positions are what the fills make of the beginning, to the last digit."""
        cash, positions = _CASH, Counter[str]()
        for fill in self.venue.activities():
            sign = 1 if fill.side == "buy" else -1
            cash -= sign * fill.quantity * fill.price
            positions[fill.symbol] += sign * fill.quantity  # type: ignore[assignment]  # a Decimal
        assert self.venue.cash == cash
        assert self.venue.positions() == {symbol: held for symbol, held in positions.items() if held}
        assert all(held > 0 for held in self.venue.positions().values())

    @invariant()
    def fills_are_cumulative(self) -> None:
        """Each order's fills add up, step by step, to what it shows and never to more than it is for."""
        so_far: dict[str, Decimal] = {}
        for fill in self.venue.activities():
            so_far[fill.order_id] = so_far.get(fill.order_id, Decimal(0)) + fill.quantity
            assert fill.quantity > 0
            assert fill.cumulative == so_far[fill.order_id]
        for one in self.venue.orders():
            assert one.filled_quantity == so_far.get(one.id, 0)
            assert one.draft.quantity is not None
            assert one.filled_quantity <= one.draft.quantity
            assert (one.status == "filled") == (one.filled_quantity == one.draft.quantity)

    @invariant()
    def nothing_is_there_twice(self) -> None:
        """Ids of orders, of clients and of fills are unique; open orders are those that are not final."""
        orders = self.venue.orders()
        assert len({one.id for one in orders}) == len({one.client_order_id for one in orders}) == len(orders)
        fills = [fill.id for fill in self.venue.activities()]
        assert fills == sorted(set(fills))
        assert self.venue.open_orders() == [one for one in orders if one.is_open]

    @invariant()
    def all_fills_are_told(self) -> None:
        """Who listens hears of each fill once, with the order's cumulative quantity."""
        fills = self.venue.activities()  # first: looking lets time do what it does
        told = [update["order"]["filled_qty"] for update in self.told if "price" in update]
        assert [Decimal(quantity) for quantity in told] == [fill.cumulative for fill in fills]


TestVenueMachine = VenueMachine.TestCase
TestVenueMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
