"""The ledger is exact: against rational arithmetic, and at its edges."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.model import Fill, OrderSide
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, notional
from engine.verbs.ledger import FLAT, Holding, Ledger, LedgerError, apply_fill, apply_fills, deposit, withdraw

SYMBOLS = ("BTC-USD", "DOGE-USD", "SPY")


def make_fill(side: OrderSide, quantity: int, price: int, fee: int = 0, symbol: str = "SPY") -> Fill:
    """Return a fill with the notional that quantity and price have."""
    return Fill("f", "c", symbol, side, quantity, price, notional(quantity, price), fee, 0)


def test_buy_then_sell_all_leaves_no_cost() -> None:
    """Selling everything releases the whole cost, to the last millionth."""
    ledger = deposit(Ledger(), 1000 * MONEY_SCALE)
    ledger = apply_fill(ledger, make_fill(OrderSide.BUY, 3 * QUANTITY_SCALE, 100 * PRICE_SCALE, 7))
    assert ledger.holding("SPY") == Holding(3 * QUANTITY_SCALE, 300 * MONEY_SCALE)
    assert ledger.holding("SPY").average_price == Decimal(100)
    for quantity in (QUANTITY_SCALE, 2 * QUANTITY_SCALE):
        ledger = apply_fill(ledger, make_fill(OrderSide.SELL, quantity, 110 * PRICE_SCALE, 1))
    assert ledger.holdings == {}
    assert ledger.holding("SPY") is FLAT
    assert FLAT.average_price is None
    assert (ledger.cash, ledger.realised, ledger.fees) == (1030 * MONEY_SCALE - 9, 30 * MONEY_SCALE, 9)


def test_released_cost_rounds_half_even() -> None:
    """A half millionth of released cost goes to the even side, and the rest stays in the holding."""
    assert Holding(2, 5).released_cost(1) == 2
    assert Holding(2, 7).released_cost(1) == 4
    assert Holding(2, 5).sold(1) == Holding(1, 3)


def test_cash_may_reach_zero_but_not_less() -> None:
    """A purchase for all cash passes; one millionth of fee more does not, and nothing is changed."""
    ledger = deposit(Ledger(), 100 * MONEY_SCALE)
    exact = make_fill(OrderSide.BUY, QUANTITY_SCALE, 100 * PRICE_SCALE)
    assert apply_fill(ledger, exact).cash == 0
    with pytest.raises(LedgerError, match=r"would leave cash at -0.000001; there is 100"):
        apply_fill(ledger, make_fill(OrderSide.BUY, QUANTITY_SCALE, 100 * PRICE_SCALE, 1))
    assert ledger == deposit(Ledger(), 100 * MONEY_SCALE)


def test_selling_more_than_held_is_an_error() -> None:
    """There are no shorts."""
    ledger = apply_fill(
        deposit(Ledger(), MONEY_SCALE), make_fill(OrderSide.BUY, QUANTITY_SCALE, PRICE_SCALE // 2)
    )
    with pytest.raises(LedgerError, match=r"sells 1\.000000001 SPY where 1 is held"):
        apply_fill(ledger, make_fill(OrderSide.SELL, QUANTITY_SCALE + 1, PRICE_SCALE))


def test_impossible_amounts_are_errors() -> None:
    """Deposits, withdrawals and fills of nothing, and withdrawals beyond cash, are refused."""
    for move, amount in ((deposit, 0), (withdraw, -1), (withdraw, 1)):
        with pytest.raises(LedgerError):
            move(Ledger(), amount)
    with pytest.raises(LedgerError):
        apply_fill(Ledger(), make_fill(OrderSide.BUY, 0, 1))


@given(
    cost=st.integers(0, 10**18),
    quantity=st.integers(1, 10**18),
    parts=st.lists(st.integers(1, 10**18), max_size=8),
)
def test_cost_is_zero_exactly_when_the_quantity_is(cost: int, quantity: int, parts: list[int]) -> None:
    """However a holding is sold off, the released parts sum to its cost and none is negative."""
    holding, released = Holding(quantity, cost), 0
    for part in [*parts, quantity]:
        part = min(part, holding.quantity)
        if part:
            released += holding.released_cost(part)
            holding = holding.sold(part)
            assert holding.cost >= 0
    assert holding == FLAT
    assert released == cost


class LedgerMachine(RuleBasedStateMachine):
    """The ledger beside a naive one in rational numbers."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.ledger = Ledger()
        self.fills: list[Fill] = []
        self.cash = Fraction(0)
        self.put_in = Fraction(0)
        self.quantity = dict.fromkeys(SYMBOLS, Fraction(0))
        self.cost = dict.fromkeys(SYMBOLS, Fraction(0))
        self.realised = Fraction(0)
        self.fees = Fraction(0)

    def post(self, fill: Fill) -> None:
        """Apply a fill to the ledger."""
        self.ledger = apply_fill(self.ledger, fill)
        self.fees += Fraction(fill.fee, MONEY_SCALE)

    @rule(amount=st.integers(1, 10**12))
    def pay_in(self, amount: int) -> None:
        """Deposit."""
        self.ledger = deposit(self.ledger, amount)
        self.cash += Fraction(amount, MONEY_SCALE)
        self.put_in += Fraction(amount, MONEY_SCALE)

    @precondition(lambda self: self.ledger.cash > 0)
    @rule(data=st.data())
    def pay_out(self, data: st.DataObject) -> None:
        """Withdraw what is there."""
        amount = data.draw(st.integers(1, self.ledger.cash))
        self.ledger = withdraw(self.ledger, amount)
        self.cash -= Fraction(amount, MONEY_SCALE)
        self.put_in -= Fraction(amount, MONEY_SCALE)

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        quantity=st.integers(1, 10**13),
        price=st.integers(1, 10**13),
        fee=st.integers(0, 10**6),
    )
    def buy(self, symbol: str, quantity: int, price: int, fee: int) -> None:
        """Buy where cash covers it; else it must be refused."""
        fill = make_fill(OrderSide.BUY, quantity, price, fee, symbol)
        # Python's own half-even rounding of a fraction, beside the ledger's integers.
        value = Fraction(quantity, QUANTITY_SCALE) * Fraction(price, PRICE_SCALE)
        value = Fraction(round(value * MONEY_SCALE), MONEY_SCALE)
        if value + Fraction(fee, MONEY_SCALE) > self.cash:
            with pytest.raises(LedgerError):
                apply_fill(self.ledger, fill)
            return
        self.post(fill)
        self.cash -= value + Fraction(fee, MONEY_SCALE)
        self.quantity[symbol] += Fraction(quantity, QUANTITY_SCALE)
        self.cost[symbol] += value

    @rule(symbol=st.sampled_from(SYMBOLS), price=st.integers(10**6, 10**13), data=st.data())
    def sell(self, symbol: str, price: int, data: st.DataObject) -> None:
        """Sell a part or all of what is held."""
        held = self.ledger.holding(symbol).quantity
        if not held:
            return
        quantity = data.draw(st.one_of(st.just(held), st.integers(1, held)))
        self.post(make_fill(OrderSide.SELL, quantity, price, 0, symbol))
        value = Fraction(quantity, QUANTITY_SCALE) * Fraction(price, PRICE_SCALE)
        value = Fraction(round(value * MONEY_SCALE), MONEY_SCALE)
        released = self.cost[symbol] * Fraction(quantity, held)
        released = Fraction(round(released * MONEY_SCALE), MONEY_SCALE)
        self.cash += value
        self.quantity[symbol] -= Fraction(quantity, QUANTITY_SCALE)
        self.cost[symbol] -= released
        self.realised += value - released

    @invariant()
    def agrees(self) -> None:
        """Every total equals the naive one."""
        assert Fraction(self.ledger.cash, MONEY_SCALE) == self.cash >= 0
        assert Fraction(self.ledger.realised, MONEY_SCALE) == self.realised
        assert Fraction(self.ledger.fees, MONEY_SCALE) == self.fees
        for symbol in SYMBOLS:
            holding = self.ledger.holding(symbol)
            assert Fraction(holding.quantity, QUANTITY_SCALE) == self.quantity[symbol]
            assert Fraction(holding.cost, MONEY_SCALE) == self.cost[symbol]
            assert (symbol in self.ledger.holdings) == (holding.quantity > 0)

    @invariant()
    def conserves(self) -> None:
        """Money is neither made nor lost."""
        ledger = self.ledger
        assert ledger.cash + ledger.total_cost == ledger.deposited + ledger.realised - ledger.fees


TestLedgerMachine = LedgerMachine.TestCase


def test_apply_fills_is_the_fold() -> None:
    """Several fills at once are the same as one after the other."""
    fills = [
        make_fill(OrderSide.BUY, 7, 3 * PRICE_SCALE * QUANTITY_SCALE, 1),
        make_fill(OrderSide.SELL, 2, 5 * PRICE_SCALE * QUANTITY_SCALE),
    ]
    start = deposit(Ledger(), 10**9)
    assert apply_fills(start, fills) == apply_fill(apply_fill(start, fills[0]), fills[1])
