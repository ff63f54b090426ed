"""The paper venue beside a naive model in rational numbers, through random days and restarts."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.brokers.paper import PaperBroker
from adapters.clock import SimulatedClock
from engine.codes import IntentState
from engine.model import OrderRequest, OrderSide, TimeInForce
from engine.runtime.ports import OrderRejected
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE
from engine.verbs.fill import FillModel
from tests.adapters.brokers.world import INSTRUMENTS, START_MS, Market, order

SYMBOL = "SOL-USD"
TICK = Fraction(1, 100)
CASH = 2000 * MONEY_SCALE
FEE, SLIPPAGE = Fraction(25, 10_000), Fraction(1, 1000)
GTC, IOC = TimeInForce.GTC, TimeInForce.IOC


def money(exact: Fraction) -> Fraction:
    """Round to the millionth, half even."""
    return Fraction(round(exact * MONEY_SCALE), MONEY_SCALE)


@dataclass
class NaiveOrder:
    """An order of the model, in units and USD."""

    request: OrderRequest
    reserve: Fraction
    open: bool = True
    filled: Fraction = Fraction(0)
    fills: int = 0
    last_quote: int = -1

    @property
    def buying(self) -> bool:
        """Say whether it is a buy."""
        return self.request.side is OrderSide.BUY

    @property
    def rest(self) -> Fraction:
        """What is not filled."""
        return Fraction(self.request.quantity, QUANTITY_SCALE) - self.filled


class PaperMachine(RuleBasedStateMachine):
    """Random orders, quotes, cancellations, money and restarts."""

    def __init__(self) -> None:
        """Open a venue in a folder of its own."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SimulatedClock(START_MS)
        self.market = Market(self.clock)
        self.cash = Fraction(CASH, MONEY_SCALE)
        self.put_in = self.cash
        self.held = Fraction(0)
        self.orders: dict[str, NaiveOrder] = {}
        self.quotes = 0
        self.bid = self.ask = Fraction(0)

    @initialize(partial=st.sampled_from(["0", "0.5", "1"]), minimum_fee=st.sampled_from([0, 500_000]))
    def begin(self, partial: str, minimum_fee: int) -> None:
        """Choose the venue's costs and its partial fills."""
        self.model = FillModel(
            fee_rate=Decimal("0.0025"),
            minimum_fee=minimum_fee,
            slippage_rate=Decimal("0.001"),
            partial_rate=Decimal(partial),
            partial_share=Decimal("0.3"),
        )
        self.minimum_fee = Fraction(minimum_fee, MONEY_SCALE)
        self.broker = self.open()
        self.quote(10_000, 10)

    def open(self) -> PaperBroker:
        """Open the file."""
        path = Path(self.folder.name) / "venue.sqlite3"
        return PaperBroker(path, self.market, self.clock, self.model, CASH, INSTRUMENTS)

    def teardown(self) -> None:
        """Close the file and remove it."""
        if hasattr(self, "broker"):
            self.broker.close()
        self.folder.cleanup()

    # The model.

    def cost(self, size: Fraction, at: Fraction) -> Fraction:
        """Return what buying takes."""
        return money(size * at) + max(money(size * at * FEE), self.minimum_fee)

    def price(self, one: NaiveOrder) -> Fraction | None:
        """Return the price at which an order executes now."""
        limit = one.request.limit_price
        if one.buying:
            worst = math.inf if limit is None else Fraction(limit, PRICE_SCALE)
            at = math.ceil(self.ask * (1 + SLIPPAGE) / TICK) * TICK
            return None if worst < self.ask else Fraction(min(at, worst))
        worst = Fraction(0) if limit is None else Fraction(limit, PRICE_SCALE)
        at = math.floor(self.bid * (1 - SLIPPAGE) / TICK) * TICK
        return None if worst > self.bid else max(at, worst)

    def reserved(self, but: NaiveOrder | None = None) -> Fraction:
        """Return what open buys hold, but for one of them."""
        buys = (one for one in self.orders.values() if one.open and one.buying and one is not but)
        return sum((self.cost(one.rest, one.reserve) for one in buys), Fraction(0))

    def match(self) -> None:
        """Fill what the quote fills, oldest first."""
        for one in self.orders.values():
            at = self.price(one)
            if one.open and at is not None and one.last_quote < self.quotes:
                self.execute(one, at)
            if one.request.time_in_force is IOC:
                one.open = False

    def execute(self, one: NaiveOrder, at: Fraction) -> None:
        """Fill a part or the rest of an order, or end it where cash does not cover that."""
        rest = one.rest
        part = self.model.quantity(
            one.request.client_id, int(rest * QUANTITY_SCALE), one.fills, INSTRUMENTS[SYMBOL]
        )
        size = Fraction(part, QUANTITY_SCALE)
        if one.buying:
            free = self.cash - self.reserved(but=one)
            after = self.cost(rest - size, one.reserve) if size < rest else Fraction(0)
            if self.cost(size, at) + after > free:
                size = rest
                if self.cost(size, at) > free:
                    one.open = False
                    return
            self.cash -= self.cost(size, at)
            self.held += size
        else:
            value = money(size * at)
            self.cash += value - min(max(money(size * at * FEE), self.minimum_fee), value)
            self.held -= size
        one.filled += size
        one.fills += 1
        one.last_quote = self.quotes
        one.open = one.rest > 0

    def refused(self, request: OrderRequest) -> bool:
        """Say whether the venue must refuse a well-formed order."""
        if request.client_id in self.orders:
            return True
        one = NaiveOrder(request, Fraction(0))
        at = Fraction(request.limit_price, PRICE_SCALE) if request.limit_price else self.price(one)
        assert at is not None
        if money(one.rest * at) < 10:
            return True
        if one.buying:
            return self.cost(one.rest, at) > self.cash - self.reserved()
        offered = sum(other.rest for other in self.orders.values() if other.open and not other.buying)
        return one.rest > self.held - offered

    # What happens.

    @rule(bid_ticks=st.integers(8_000, 12_000), spread_ticks=st.integers(0, 100))
    def quote(self, bid_ticks: int, spread_ticks: int) -> None:
        """Move the market, one second later."""
        self.clock.sleep_until(self.clock.now_utc_ms() + 1000)
        self.bid, self.ask = bid_ticks * TICK, (bid_ticks + spread_ticks) * TICK
        self.market.set(SYMBOL, int(self.bid * PRICE_SCALE), int(self.ask * PRICE_SCALE))
        self.quotes += 1
        self.match()

    @rule(
        number=st.integers(1, 30),
        side=st.sampled_from(OrderSide),
        steps=st.integers(50, 15_000),
        limit_ticks=st.none() | st.integers(8_000, 12_000),
        time_in_force=st.sampled_from([GTC, GTC, IOC]),
    )
    def submit(
        self,
        number: int,
        side: OrderSide,
        steps: int,
        limit_ticks: int | None,
        time_in_force: TimeInForce,
    ) -> None:
        """Send an order; low numbers are sent again now and then."""
        limit = None if limit_ticks is None else str(Decimal(limit_ticks) / 100)
        self.send(order(f"id-{number}", side, str(Decimal(steps) / 1000), limit, time_in_force))

    @rule(number=st.integers(31, 60), limit_ticks=st.none() | st.integers(8_000, 12_000))
    def sell_what_is_left(self, number: int, limit_ticks: int | None) -> None:
        """Offer all that is held and not offered yet."""
        offered = sum(one.rest for one in self.orders.values() if one.open and not one.buying)
        left = int((self.held - offered) * 1000)
        assume(left >= 10)
        limit = None if limit_ticks is None else str(Decimal(limit_ticks) / 100)
        self.send(order(f"id-{number}", OrderSide.SELL, str(Decimal(left) / 1000), limit))

    def send(self, request: OrderRequest) -> None:
        """Send an order to both."""
        refused = self.refused(request)
        try:
            report = self.broker.submit(request)
        except OrderRejected:
            assert refused
            return
        assert not refused
        assert report.client_id == request.client_id
        one = NaiveOrder(request, Fraction(0))
        at = Fraction(request.limit_price, PRICE_SCALE) if request.limit_price else self.price(one)
        assert at is not None
        one.reserve = at
        self.orders[request.client_id] = one
        self.match()
        assert report == self.broker.find(request.client_id)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel any order, open or not."""
        assume(self.orders)
        client_id = data.draw(st.sampled_from(sorted(self.orders)))
        self.broker.cancel(client_id)
        self.orders[client_id].open = False

    @rule(amount=st.integers(1, 10**9))
    def deposit(self, amount: int) -> None:
        """Move money in."""
        self.broker.deposit(amount)
        self.cash += Fraction(amount, MONEY_SCALE)
        self.put_in += Fraction(amount, MONEY_SCALE)

    @rule(amount=st.integers(1, 10**9))
    def withdraw(self, amount: int) -> None:
        """Move out what is free."""
        assume(Fraction(amount, MONEY_SCALE) <= self.cash - self.reserved())
        self.broker.withdraw(amount)
        self.cash -= Fraction(amount, MONEY_SCALE)
        self.put_in -= Fraction(amount, MONEY_SCALE)

    @rule(close=st.booleans())
    def restart(self, close: bool) -> None:
        """Go on with a new broker on the same file; the old one is closed before or after."""
        old = self.broker
        if close:
            old.close()
        self.broker = self.open()
        old.close()

    # What always holds.

    @invariant()
    def agrees(self) -> None:
        """Cash, position and every order equal the model's."""
        account = self.broker.account()
        assert Fraction(account.cash, MONEY_SCALE) == self.cash >= 0
        assert self.cash >= self.reserved()
        held = Fraction(account.positions.get(SYMBOL, 0), QUANTITY_SCALE)
        assert held == self.held >= 0
        for client_id, one in self.orders.items():
            report = self.broker.find(client_id)
            assert report is not None
            assert Fraction(report.filled_quantity, QUANTITY_SCALE) == one.filled
            assert (not report.state.final) == one.open
            assert (report.state is IntentState.FILLED) == (one.rest == 0)
        open_ids = [client_id for client_id, one in self.orders.items() if one.open]
        assert [report.client_id for report in self.broker.open_orders()] == open_ids

    @invariant()
    def conserves(self) -> None:
        """Fills, each once and within its limit, explain the whole account."""
        fills, _ = self.broker.fills_since("")
        assert len({fill.fill_id for fill in fills}) == len(fills)
        cash, held = self.put_in, Fraction(0)
        for fill in fills:
            sign = 1 if fill.side is OrderSide.BUY else -1
            cash -= Fraction(sign * fill.notional + fill.fee, MONEY_SCALE)
            held += Fraction(sign * fill.quantity, QUANTITY_SCALE)
            limit = self.orders[fill.client_id].request.limit_price
            assert limit is None or sign * fill.price <= sign * limit
        assert (cash, held) == (self.cash, self.held)


TestPaperMachine = PaperMachine.TestCase
TestPaperMachine.settings = settings(settings.default, stateful_step_count=30)
