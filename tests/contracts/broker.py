"""What every broker must do, whichever venue is behind it.

A test module of an adapter makes a subclass of ``BrokerContract`` named ``Test...`` with a fixture
``venue``; the suite then runs against the real adapter (and, for a remote venue, its loopback stub).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from typing import Protocol

import pytest

from engine.codes import IntentState
from engine.errors import NotFoundError
from engine.model import (
    AssetClass,
    Fill,
    Instrument,
    OrderReport,
    OrderRequest,
    OrderSide,
    OrderType,
    TimeInForce,
)
from engine.runtime.ports import Broker, OrderRejected
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, half_even_division, scaled

BUY, SELL = OrderSide.BUY, OrderSide.SELL
GTC, IOC = TimeInForce.GTC, TimeInForce.IOC
SENT, FILLED, CANCELLED = IntentState.SENT, IntentState.FILLED, IntentState.CANCELLED


class Venue(Protocol):
    """A broker and the world around it.

    The account begins with 10,000 USD and no position; ``symbol`` is a crypto pair that is served.
    """

    broker: Broker
    symbol: str

    def now_ms(self) -> int:
        """Return the venue's time."""

    def market(self, bid: int, ask: int) -> None:
        """Move the market of ``symbol`` to a quote (scaled prices), one second later."""

    def restart(self) -> None:
        """Replace ``broker`` by a new client of the same account."""


class BrokerContract:
    """The suite.  Prices are about 100 USD, so that every venue's minimums are met."""

    bid = 100 * PRICE_SCALE
    ask = 101 * PRICE_SCALE

    @pytest.fixture
    def venue(self) -> Venue:
        """Return the venue under test, with the market at ``bid`` and ``ask``."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def fresh_ids(self) -> None:
        """Name the orders of each test from 1."""
        self.numbers = count(1)

    def request(
        self,
        venue: Venue,
        side: OrderSide = BUY,
        units: int = 2,
        limit: int | None = 101 * PRICE_SCALE,
        time_in_force: TimeInForce = GTC,
    ) -> OrderRequest:
        """Return a new order."""
        return OrderRequest(
            client_id=f"contract-{next(self.numbers)}",
            symbol=venue.symbol,
            side=side,
            quantity=units * QUANTITY_SCALE,
            limit_price=limit,
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            time_in_force=time_in_force,
            expires_ms=None,
            created_ms=venue.now_ms(),
        )

    def found(self, venue: Venue, client_id: str) -> OrderReport:
        """Return the report of an order that must be there."""
        report = venue.broker.find(client_id)
        assert report is not None
        return report

    def fills_of(self, venue: Venue, client_id: str) -> Sequence[Fill]:
        """Return all fills of an order."""
        return [fill for fill in venue.broker.fills_since("")[0] if fill.client_id == client_id]

    def test_an_empty_account(self, venue: Venue) -> None:
        """Nothing was ordered: nothing is found, open, filled or held."""
        assert venue.broker.find("contract-none") is None
        assert list(venue.broker.open_orders()) == []
        assert list(venue.broker.fills_since("")[0]) == []
        account = venue.broker.account()
        assert (account.cash, dict(account.positions)) == (10_000 * MONEY_SCALE, {})

    def test_instruments(self, venue: Venue) -> None:
        """A served symbol has steps and minimums; another has none."""
        instrument = venue.broker.instrument(venue.symbol)
        assert isinstance(instrument, Instrument)
        assert instrument.symbol == venue.symbol
        assert instrument.asset_class is AssetClass.CRYPTO
        assert instrument.price_step_scaled > 0
        assert instrument.quantity_step_scaled > 0
        assert instrument.minimum_quantity > 0
        assert instrument.minimum_notional >= 0
        assert venue.broker.instrument("NO-SUCH-SYMBOL") is None

    def test_the_clock_is_the_venues(self, venue: Venue) -> None:
        """It tells the venue's time, and of a closed session when it opens."""
        clock = venue.broker.clock()
        assert abs(clock.now_ms - venue.now_ms()) < 2000
        assert clock.is_open or clock.next_open_ms > clock.now_ms

    def test_a_resting_order(self, venue: Venue) -> None:
        """An order away from the market is accepted, rests, and reserves no position."""
        order = self.request(venue, limit=90 * PRICE_SCALE)
        first = venue.broker.submit(order)
        report = self.found(venue, order.client_id)
        for seen in (first, report):
            assert (seen.client_id, seen.symbol, seen.side) == (order.client_id, venue.symbol, BUY)
            assert (seen.quantity, seen.limit_price) == (order.quantity, order.limit_price)
            assert (seen.state, seen.filled_quantity) == (SENT, 0)
        assert first.venue_id == report.venue_id != ""
        assert [one.client_id for one in venue.broker.open_orders()] == [order.client_id]
        assert self.fills_of(venue, order.client_id) == []
        assert dict(venue.broker.account().positions) == {}

    @pytest.mark.parametrize("limit", [101 * PRICE_SCALE, 105 * PRICE_SCALE, None])
    def test_a_marketable_buy(self, venue: Venue, limit: int | None) -> None:
        """It is filled, never above its limit, and the account changes by exactly its fills."""
        order = self.request(venue, limit=limit)
        venue.broker.submit(order)
        report = self.found(venue, order.client_id)
        assert (report.state, report.filled_quantity) == (FILLED, order.quantity)
        assert list(venue.broker.open_orders()) == []
        fills = self.fills_of(venue, order.client_id)
        assert sum(fill.quantity for fill in fills) == order.quantity
        for fill in fills:
            assert (fill.symbol, fill.side) == (venue.symbol, BUY)
            assert limit is None or fill.price <= limit
            exact = half_even_division(fill.quantity * fill.price * MONEY_SCALE, QUANTITY_SCALE * PRICE_SCALE)
            assert fill.notional == exact
            assert fill.fee >= 0
        account = venue.broker.account()
        spent = sum(fill.notional + fill.fee for fill in fills)
        assert account.cash == 10_000 * MONEY_SCALE - spent
        assert dict(account.positions) == {venue.symbol: order.quantity}

    def test_a_round_trip(self, venue: Venue) -> None:
        """Everything bought can be sold; the position is gone and the cash adds up."""
        venue.broker.submit(self.request(venue))
        sale = self.request(venue, SELL, limit=100 * PRICE_SCALE)
        venue.broker.submit(sale)
        assert self.found(venue, sale.client_id).state is FILLED
        assert all(fill.price >= 100 * PRICE_SCALE for fill in self.fills_of(venue, sale.client_id))
        fills, _ = venue.broker.fills_since("")
        change = sum(fill.notional * (1 if fill.side is SELL else -1) - fill.fee for fill in fills)
        account = venue.broker.account()
        assert account.cash == 10_000 * MONEY_SCALE + change
        assert account.positions.get(venue.symbol, 0) == 0

    def test_a_resting_order_fills_when_the_market_comes(self, venue: Venue) -> None:
        """It rests, the market reaches it, and it is filled within its limit."""
        order = self.request(venue, limit=90 * PRICE_SCALE)
        venue.broker.submit(order)
        venue.market(88 * PRICE_SCALE, 89 * PRICE_SCALE)
        assert self.found(venue, order.client_id).state is FILLED
        assert all(fill.price <= 90 * PRICE_SCALE for fill in self.fills_of(venue, order.client_id))

    def test_a_client_id_is_taken_for_ever(self, venue: Venue) -> None:
        """The same id again never makes a second order: refused, or answered with the first one."""
        order = self.request(venue, limit=90 * PRICE_SCALE)
        first = venue.broker.submit(order)
        for _ in range(2):
            try:
                assert venue.broker.submit(order).venue_id == first.venue_id
            except OrderRejected as rejected:
                assert "unique" in rejected.reason
            assert len(venue.broker.open_orders()) <= 1
            venue.broker.cancel(order.client_id)
        venue.market(80 * PRICE_SCALE, 81 * PRICE_SCALE)
        assert self.fills_of(venue, order.client_id) == []
        assert self.found(venue, order.client_id).state is CANCELLED

    def test_a_filled_order_sent_again(self, venue: Venue) -> None:
        """A repeated send of a filled order buys nothing more."""
        order = self.request(venue)
        venue.broker.submit(order)
        try:
            assert venue.broker.submit(order).filled_quantity == order.quantity
        except OrderRejected as rejected:
            assert "unique" in rejected.reason
        assert dict(venue.broker.account().positions) == {venue.symbol: order.quantity}

    def test_cancel(self, venue: Venue) -> None:
        """A cancelled order is final and never fills; cancelling it again changes nothing."""
        order = self.request(venue, limit=90 * PRICE_SCALE)
        venue.broker.submit(order)
        for _ in range(2):
            venue.broker.cancel(order.client_id)
            assert self.found(venue, order.client_id).state is CANCELLED
        assert list(venue.broker.open_orders()) == []
        venue.market(80 * PRICE_SCALE, 81 * PRICE_SCALE)
        assert self.fills_of(venue, order.client_id) == []

    def test_cancel_of_a_filled_order(self, venue: Venue) -> None:
        """Fill and cancellation cross: the fill stands."""
        order = self.request(venue)
        venue.broker.submit(order)
        venue.broker.cancel(order.client_id)
        assert self.found(venue, order.client_id).state is FILLED

    def test_cancel_of_an_unknown_order(self, venue: Venue) -> None:
        """An id the venue never saw is an error, not silence."""
        with pytest.raises(NotFoundError):
            venue.broker.cancel("contract-none")

    def test_immediate_or_cancel(self, venue: Venue) -> None:
        """What does not fill at once is cancelled; what does is filled."""
        away = self.request(venue, limit=90 * PRICE_SCALE, time_in_force=IOC)
        venue.broker.submit(away)
        assert self.found(venue, away.client_id).state is CANCELLED
        there = self.request(venue, time_in_force=IOC)
        venue.broker.submit(there)
        assert self.found(venue, there.client_id).state is FILLED

    @pytest.mark.parametrize(
        "case", ["symbol", "step", "tick", "minimum", "zero", "negative", "short", "buying power"]
    )
    def test_refusals(self, venue: Venue, case: str) -> None:
        """A refused order is certain: it raises, says why, is not found, and changes nothing."""
        instrument = venue.broker.instrument(venue.symbol)
        assert instrument is not None
        minimum = scaled(instrument.minimum_quantity, QUANTITY_SCALE)
        sides = {"short": SELL}
        quantities = {
            "step": 2 * QUANTITY_SCALE + instrument.quantity_step_scaled // 2,
            "minimum": min(minimum, instrument.quantity_step_scaled),
            "zero": 0,
            "negative": -QUANTITY_SCALE,
            "buying power": 100 * QUANTITY_SCALE,
        }
        limits = {"tick": self.ask + instrument.price_step_scaled // 2}
        order = OrderRequest(
            client_id="contract-refused",
            symbol="NO-SUCH-SYMBOL" if case == "symbol" else venue.symbol,
            side=sides.get(case, BUY),
            quantity=quantities.get(case, 2 * QUANTITY_SCALE),
            limit_price=limits.get(case, self.ask),
            order_type=OrderType.LIMIT,
            time_in_force=GTC,
            expires_ms=None,
            created_ms=venue.now_ms(),
        )
        with pytest.raises(OrderRejected) as caught:
            venue.broker.submit(order)
        assert caught.value.reason
        assert venue.broker.find(order.client_id) is None
        assert list(venue.broker.open_orders()) == []
        assert list(venue.broker.fills_since("")[0]) == []
        assert venue.broker.account().cash == 10_000 * MONEY_SCALE

    def test_open_sells_hold_their_quantity(self, venue: Venue) -> None:
        """What an open sell offers cannot be sold again until that one is cancelled."""
        venue.broker.submit(self.request(venue, units=3))
        resting = self.request(venue, SELL, units=2, limit=120 * PRICE_SCALE)
        venue.broker.submit(resting)
        with pytest.raises(OrderRejected):
            venue.broker.submit(self.request(venue, SELL, units=2, limit=100 * PRICE_SCALE))
        venue.broker.cancel(resting.client_id)
        exit_order = self.request(venue, SELL, units=3, limit=100 * PRICE_SCALE)
        venue.broker.submit(exit_order)
        assert self.found(venue, exit_order.client_id).state is FILLED

    def test_open_buys_hold_their_money(self, venue: Venue) -> None:
        """What open buys may cost cannot be spent again until they are cancelled."""
        resting = self.request(venue, units=60, limit=90 * PRICE_SCALE)
        venue.broker.submit(resting)
        with pytest.raises(OrderRejected):
            venue.broker.submit(self.request(venue, units=60))
        venue.broker.cancel(resting.client_id)
        second = self.request(venue, units=60)
        venue.broker.submit(second)
        assert self.found(venue, second.client_id).state is FILLED

    def test_fill_cursors(self, venue: Venue) -> None:
        """A cursor gives each fill once, in order; "" gives all; a cursor at the end gives none."""
        _, start = venue.broker.fills_since("")
        seen: list[Fill] = []
        cursor = start
        for units in (1, 2, 3):
            venue.broker.submit(self.request(venue, units=units))
            new, cursor = venue.broker.fills_since(cursor)
            assert sum(fill.quantity for fill in new) == units * QUANTITY_SCALE
            seen += new
        assert list(venue.broker.fills_since("")[0]) == seen == list(venue.broker.fills_since(start)[0])
        assert len({fill.fill_id for fill in seen}) == len(seen)
        assert [fill.at_ms for fill in seen] == sorted(fill.at_ms for fill in seen)
        for _ in range(2):
            new, cursor = venue.broker.fills_since(cursor)
            assert list(new) == []

    def test_a_restart_forgets_nothing(self, venue: Venue) -> None:
        """A new client sees the same orders, fills, cursor and account."""
        filled, resting = self.request(venue), self.request(venue, limit=90 * PRICE_SCALE)
        for order in (filled, resting):
            venue.broker.submit(order)
        fills, cursor = venue.broker.fills_since("")
        before = (
            [venue.broker.find(order.client_id) for order in (filled, resting)],
            list(venue.broker.open_orders()),
            list(fills),
            venue.broker.account(),
        )
        venue.restart()
        assert before == (
            [venue.broker.find(order.client_id) for order in (filled, resting)],
            list(venue.broker.open_orders()),
            list(venue.broker.fills_since("")[0]),
            venue.broker.account(),
        )
        assert list(venue.broker.fills_since(cursor)[0]) == []

    def test_quantities_are_exact(self, venue: Venue) -> None:
        """The smallest step is kept through order, fill and position."""
        instrument = venue.broker.instrument(venue.symbol)
        assert instrument is not None
        quantity = scaled(Decimal(1), QUANTITY_SCALE) + instrument.quantity_step_scaled
        order = self.request(venue)
        order = OrderRequest(
            order.client_id, order.symbol, BUY, quantity, self.ask, OrderType.LIMIT, GTC, None, venue.now_ms()
        )
        venue.broker.submit(order)
        assert self.found(venue, order.client_id).filled_quantity == quantity
        assert dict(venue.broker.account().positions) == {venue.symbol: quantity}
