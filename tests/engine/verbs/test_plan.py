"""Planning a cycle: what earlier decisions reserve, and what limits count."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import IntentState
from engine.evaluate.compiled import CompiledEvaluator
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.model import AssetClass, Fill, Instrument, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.units import MONEY_SCALE, notional
from engine.verbs.decide import cost_of
from engine.verbs.ledger import Ledger, deposit
from engine.verbs.plan import Book, Planned, Subject, open_book, plan
from engine.verbs.state import (
    CashMoved,
    Filled,
    IntentPlanned,
    OrderMoved,
    State,
    advance,
)
from tests.engine.verbs.deciding import FLAT, lowered_of, money, policy_of, price, quantity, vector_of

NOW_MS = 1_763_390_400_000
COINS = ("A-USD", "B-USD", "C-USD", "D-USD")
STOCKS = ("SPY", "QQQ")
UNIVERSE = (
    "universe:\n"
    f"  crypto: {{calendar: 24/7, weights: {{{', '.join(f'{name}: 10%' for name in COINS)}}}}}\n"
    f"  stock: {{calendar: NYSE, weights: {{{', '.join(f'{name}: 10%' for name in STOCKS)}}}}}\n"
)
BUYS = "rules: {enter: {priority: 1, when: price < 500 USD, then: buy to 1000 USD}}\n"


def instrument(symbol: str) -> Instrument:
    """Return a coin of fine steps, or a stock of whole shares."""
    coin = "-" in symbol
    kind = AssetClass.CRYPTO if coin else AssetClass.STOCK
    step = Decimal("0.001") if coin else Decimal(1)
    return Instrument(symbol, kind, "24/7" if coin else "NYSE", Decimal("0.01"), step, step, Decimal(1))


class Cycle:
    """A policy over the universe, a state, prices: everything a plan is made from."""

    def __init__(self, limits: str = "", rules: str = BUYS, cash: int = 10_000, fee_ppm: int = 0) -> None:
        """Begin flat, every symbol at 100."""
        self.policy: Policy = policy_of(UNIVERSE + rules + (f"limits: {{{limits}}}\n" if limits else ""))
        self.state: State = advance(State(), CashMoved(money(cash)))
        self.prices = {symbol: price(100) for symbol in (*COINS, *STOCKS)}
        self.foreign: dict[str, int] = {}
        self.now_ms = NOW_MS
        self.fee_ppm = fee_ppm
        self.orders = 0
        self._evaluators: dict[str, CompiledEvaluator] = {}

    def lowered(self, symbol: str) -> LoweredPolicy:
        """Return a symbol's lowered policy."""
        return self.evaluator(symbol).policy

    def evaluator(self, symbol: str) -> CompiledEvaluator:
        """Return a symbol's evaluator."""
        if symbol not in self._evaluators:
            self._evaluators[symbol] = CompiledEvaluator(lowered_of(self.policy, symbol))
        return self._evaluators[symbol]

    def hold(self, symbol: str, size: float | str, least: float | str = "0.001") -> None:
        """Own something, bought at its price."""
        amount, at = quantity(size), self.prices[symbol]
        cost = notional(amount, at)
        self.state = advance(self.state, CashMoved(max(1, cost)))
        fill = Fill(f"f-{symbol}", "c", symbol, OrderSide.BUY, amount, at, cost, 0, self.now_ms)
        self.state = advance(self.state, Filled(fill, quantity(least)))

    def order(self, symbol: str, size: float | str, *, at: float | None = 100, age_ms: int = 0) -> str:
        """Have a buy at the venue."""
        self.orders += 1
        limit = None if at is None else price(at)
        order = OrderRequest(
            f"o{self.orders}",
            symbol,
            OrderSide.BUY,
            quantity(size),
            limit,
            OrderType.MARKET if limit is None else OrderType.LIMIT,
            TimeInForce.GTC,
            None,
            self.now_ms - age_ms,
        )
        self.state = advance(self.state, IntentPlanned(order, "enter", None, True))
        moved = OrderMoved(order.client_id, symbol, IntentState.SENT, self.now_ms, 0)
        self.state = advance(self.state, moved)
        return order.client_id

    def bought_before(self, *ages_ms: int, symbol: str = "A-USD") -> None:
        """Remember buy intents of so long ago."""
        buys = tuple((self.now_ms - age_ms, symbol) for age_ms in sorted(ages_ms, reverse=True))
        self.state = replace(self.state, recent_buys=buys)

    def book(self) -> Book:
        """Open the book."""
        return open_book(self.policy, self.state, self.now_ms, self.prices, self.foreign, self.fee_ppm)

    def subject(self, symbol: str, **facts: float) -> Subject:
        """Return a symbol ready to be decided."""
        listing = self.policy.listing(symbol)
        assert listing is not None
        at = self.prices[symbol] / 10**8
        own = self.state.ledger.holding(symbol).quantity
        known: Mapping[str, float] = {
            **FLAT,
            "price": at,
            "bid": at,
            "ask": at,
            "held": float(own > 0),
            "position_qty": own / 10**9,
            "position_value": round(own * at / 10**7) / 100,
            **facts,
        }
        evaluator = self.evaluator(symbol)
        values = vector_of(evaluator.policy, known)
        working = self.state.memory(symbol).working
        return Subject(
            listing, evaluator, values, bytearray(len(values)), instrument(symbol), own, working, True
        )

    def plan(self, symbols: Sequence[str] = (*COINS, *STOCKS), **facts: float) -> list[Planned]:
        """Plan over symbols in order."""
        subjects = [self.subject(symbol, **facts) for symbol in symbols]
        return plan(self.policy, subjects, self.book(), self.fee_ppm)

    def spent(self, symbols: Sequence[str] = (*COINS, *STOCKS), **facts: float) -> list[int]:
        """Return the dollars that a plan spends on each symbol."""
        return [
            0
            if item.decision.order is None
            else notional(item.decision.order.quantity, price(100)) // MONEY_SCALE
            for item in self.plan(symbols, **facts)
        ]


def test_symbols_compete_for_cash_in_their_order() -> None:
    """The universe's order is the order of reservations; the last gets what is left."""
    assert Cycle(cash=2500).spent() == [1000, 1000, 500, 0, 0, 0]
    assert Cycle(cash=2500).spent(("D-USD", "A-USD", "B-USD")) == [1000, 1000, 500]


def test_fees_are_reserved_too() -> None:
    """At 1 % fee two orders of 1,000 take 2,020."""
    assert Cycle(cash=2525, fee_ppm=10_000).spent() == [1000, 1000, 500, 0, 0, 0]


def test_open_buys_hold_cash_and_exposure() -> None:
    """What an own open buy may still cost is spent already; a market order's at the touch."""
    cycle = Cycle(cash=2000)
    cycle.order("D-USD", 5)
    cycle.order("QQQ", 5, at=None)
    assert cycle.spent(("A-USD", "B-USD")) == [1000, 0]
    assert cycle.book().exposure == {"D-USD": money(500), "QQQ": money(500)}


def test_a_fill_that_is_heard_of_and_not_booked_is_still_to_be_paid() -> None:
    """Cash is held for what the ledger does not have, whatever the venue says of the order."""
    cycle = Cycle(cash=1000)
    name = cycle.order("D-USD", 8)
    moved = OrderMoved(name, "D-USD", IntentState.PARTLY_FILLED, NOW_MS, quantity(8))
    cycle.state = advance(cycle.state, moved)
    assert cycle.book().cash == money(200)
    fill = Fill("x", name, "D-USD", OrderSide.BUY, quantity(8), price(100), money(800), 0, NOW_MS)
    cycle.state = advance(cycle.state, Filled(fill, 1))
    assert cycle.book().cash == money(200)


def test_planned_sells_free_nothing() -> None:
    """What is sold in a cycle is no cash in it."""
    rules = """
rules:
  leave: {priority: 9, when: held and price < 500 USD, then: sell all}
  enter: {priority: 1, when: price < 500 USD, then: buy to 1000 USD}
"""
    cycle = Cycle(rules=rules, cash=500)
    cycle.hold("A-USD", 50)
    planned = cycle.plan(("A-USD",))
    assert planned[0].decision.order is not None
    assert cycle.book().cash == money(500)


def test_exposure_of_symbol_class_and_portfolio() -> None:
    """Held, open and reserved count, each where its scope says; shrinking goes on to the last dollar."""
    cycle = Cycle("cap: {at_most: 1500 USD, per: class}")
    cycle.hold("SPY", 3)
    cycle.order("D-USD", 4)
    assert cycle.spent(("A-USD", "B-USD", "SPY", "QQQ")) == [1000, 100, 700, 500]
    cycle = Cycle("cap: {at_most: 1500 USD, per: portfolio}")
    assert cycle.spent(("A-USD", "SPY", "B-USD")) == [1000, 500, 0]
    cycle = Cycle("cap: {at_most: 700 USD, per: symbol}")
    cycle.hold("A-USD", 2)
    assert cycle.spent(("A-USD", "B-USD")) == [500, 700]


def test_a_limit_for_some_symbols() -> None:
    """A limit with `for:` binds and counts those alone; per class it counts the class."""
    cycle = Cycle("cap: {at_most: 1500 USD, per: portfolio, for: [A-USD, SPY]}")
    assert cycle.spent(("B-USD", "A-USD", "C-USD", "SPY")) == [1000, 1000, 1000, 500]
    cycle = Cycle("cap: {at_most: 1500 USD, per: class, for: crypto}")
    assert cycle.spent(("SPY", "A-USD", "QQQ", "B-USD")) == [1000, 1000, 1000, 500]


def test_foreign_quantity_counts_in_exposure() -> None:
    """What others hold in the account takes room; where the broker has less there is more room."""
    cycle = Cycle("cap: {at_most: 1500 USD, per: portfolio}")
    cycle.foreign = {"SPY": quantity(10)}
    assert cycle.spent(("A-USD",)) == [500]
    cycle.hold("B-USD", 5)
    cycle.foreign = {"B-USD": -quantity(5)}
    assert cycle.book().exposure == {}


def test_a_holding_without_a_price_is_unknown_exposure() -> None:
    """Then no entry that its limit speaks of is made."""
    cycle = Cycle("cap: {at_most: 50000 USD, per: class}")
    cycle.hold("SPY", 1)
    cycle.prices["SPY"] = 0
    assert cycle.book().usage(cycle.policy.limits[0], _listing(cycle, "QQQ")) is None
    assert cycle.spent(("QQQ", "A-USD")) == [0, 1000]


def _listing(cycle: Cycle, symbol: str) -> Listing:
    listing = cycle.policy.listing(symbol)
    assert listing is not None
    return listing


@pytest.mark.parametrize(
    ("ages_ms", "allowed"),
    [
        ((), 3),
        ((180_000,), 3),  # just out of (t - 3m, t]
        ((179_999,), 2),
        ((0,), 2),
        ((179_999, 90_000, 1), 0),
        ((180_000, 180_000, 180_000, 5), 2),
    ],
)
def test_order_rate(ages_ms: tuple[int, ...], allowed: int) -> None:
    """Buy intents of the window count, this cycle's included, whatever became of them."""
    cycle = Cycle("rate: {at_most: 3 buys per 3m}")
    cycle.bought_before(*ages_ms)
    assert sum(amount > 0 for amount in cycle.spent(COINS)) == min(allowed, 4)


def test_ten_buys_in_three_minutes() -> None:
    """However many symbols want to buy, an account with that limit sends three."""
    cycle = Cycle("rate: {at_most: 3 buys per 3m}", cash=100_000)
    assert [amount > 0 for amount in cycle.spent()] == [True, True, True, False, False, False]


def test_order_rate_per_class_and_symbol() -> None:
    """A rate may be of a class or a symbol."""
    cycle = Cycle("rate: {at_most: 1 buys per 3m, per: class}")
    assert [amount > 0 for amount in cycle.spent()] == [True, False, False, False, True, False]
    cycle = Cycle("rate: {at_most: 1 buys per 3m, per: symbol}")
    cycle.bought_before(5, symbol="B-USD")
    assert [amount > 0 for amount in cycle.spent(COINS)] == [True, False, True, True]


def test_counted_positions() -> None:
    """Held or being bought counts, dust does not; what is reserved in this cycle does."""
    cycle = Cycle("few: {at_most: 3 positions}")
    cycle.hold("D-USD", 1)
    cycle.hold("SPY", 1, least=5)
    cycle.order("QQQ", 1)
    assert cycle.book().positions == {"D-USD", "QQQ"}
    assert cycle.spent(("A-USD", "B-USD", "D-USD")) == [1000, 0, 900]


def test_cash_reserve() -> None:
    """An order that would go below the cash to be kept is denied, not shrunk."""
    cycle = Cycle("keep: {at_least: 50% of equity, kept: cash}", cash=7500)
    assert cycle.spent(COINS) == [1000, 1000, 0, 0]


def test_decisions_are_told_one_by_one() -> None:
    """Whoever watches hears of each decision as it is made."""
    cycle = Cycle()
    heard: list[str] = []
    subjects = [cycle.subject(symbol) for symbol in COINS]
    plan(cycle.policy, subjects, cycle.book(), 0, lambda item: heard.append(item.decision.symbol))
    assert tuple(heard) == COINS


@given(seed=st.integers(0, 2**32), data=st.data())
def test_limits_and_cash_hold_together(seed: int, data: Any) -> None:  # noqa: ANN401 - hypothesis
    """Whatever is held, open and wanted: cash stays at 0 or more, no buy passes a limit."""
    rng = random.Random(seed)
    caps = {"symbol": rng.randint(1, 3000), "class": rng.randint(1, 6000), "portfolio": rng.randint(1, 9000)}
    text = ", ".join(f"{scope}: {{at_most: {cap} USD, per: {scope}}}" for scope, cap in caps.items())
    cycle = Cycle(text, cash=rng.randint(0, 8000), fee_ppm=rng.choice((0, 200, 9999)))
    cycle.prices = {symbol: rng.randint(1, 49_999) * 10**6 for symbol in cycle.prices}
    held = data.draw(st.lists(st.sampled_from(sorted(cycle.prices)), unique=True, max_size=3))
    for symbol in held:
        cycle.hold(symbol, rng.randint(1, 30))
    for symbol in rng.sample(sorted(cycle.prices), 2):
        if symbol not in held:
            cycle.order(symbol, rng.randint(1, 5), at=cycle.prices[symbol] / 10**8)
    before = cycle.book()
    if before.cash < 0:
        return
    subjects = [cycle.subject(symbol) for symbol in cycle.prices]
    book = cycle.book()
    planned = plan(cycle.policy, subjects, book, cycle.fee_ppm)

    cash, exposure = before.cash, dict(before.exposure)
    for item in planned:
        order = item.decision.order
        if order is None:
            continue
        assert order.side is OrderSide.BUY
        symbol = item.decision.symbol
        cash -= cost_of(order.quantity, order.sized_at, cycle.fee_ppm)
        exposure[symbol] = exposure.get(symbol, 0) + notional(order.quantity, order.sized_at)
        own_class = ["-" in symbol]
        assert exposure[symbol] <= money(caps["symbol"])
        assert sum(v for s, v in exposure.items() if ["-" in s] == own_class) <= money(caps["class"])
        assert sum(exposure.values()) <= money(caps["portfolio"])
    assert cash >= 0
    assert (book.cash, book.exposure) == (cash, exposure)


def test_the_book_counts_as_it_goes() -> None:
    """Sums that are kept up to date equal sums that are made anew."""
    limits = "a: {at_most: 90000 USD, per: portfolio}, b: {at_most: 9 positions, per: class}"
    limits += ", c: {at_most: 9 buys per 1m}"
    cycle = Cycle(limits, cash=100_000)
    cycle.hold("A-USD", 1)
    book = cycle.book()
    for symbol in (*COINS, *STOCKS, "A-USD"):
        listing = _listing(cycle, symbol)
        kept = [book.usage(limit, listing) for limit in cycle.policy.limits]
        anew = replace(book, _used={})
        assert kept == [anew.usage(limit, listing) for limit in cycle.policy.limits]
        result = plan(cycle.policy, [cycle.subject(symbol, position_value=0.0)], cycle.book(), 0)[0]
        book.reserve(listing, result.decision, 0)


def test_a_ledger_is_where_cash_comes_from() -> None:
    """An empty account plans nothing."""
    cycle = Cycle()
    cycle.state = replace(cycle.state, ledger=Ledger())
    assert cycle.spent() == [0] * 6
    cycle.state = replace(cycle.state, ledger=deposit(Ledger(), money(100)))
    assert cycle.spent()[0] == 100
