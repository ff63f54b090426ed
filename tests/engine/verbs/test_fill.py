"""The venue's rules: prices, fees, partial fills and refusals."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.model import AssetClass, Instrument, OrderRequest, OrderSide, OrderType, Quote, TimeInForce
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, notional, scaled
from engine.verbs.fill import FillModel, Refusal, refusal_of_form, refusal_of_size, tick_at

BUY, SELL = OrderSide.BUY, OrderSide.SELL
SPY = Instrument(
    "SPY", AssetClass.STOCK, "NYSE", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(1)
)
ADA = Instrument(
    "ADA-USD", AssetClass.CRYPTO, "24/7", Decimal("0.00001"), Decimal("0.1"), Decimal(1), Decimal(10)
)


def price(text: str) -> int:
    """Return a scaled price."""
    return scaled(Decimal(text), PRICE_SCALE)


def quantity(text: str) -> int:
    """Return a scaled quantity."""
    return scaled(Decimal(text), QUANTITY_SCALE)


def quote(bid: str, ask: str) -> Quote:
    """Return a quote; its symbol and times do not matter here."""
    return Quote("SPY", price(bid), price(ask), "test", 0, 0)


def order(side: OrderSide = BUY, size: str = "10", limit: str | None = "100") -> OrderRequest:
    """Return a day order for SPY."""
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    limit_price = None if limit is None else price(limit)
    return OrderRequest("id", "SPY", side, quantity(size), limit_price, kind, TimeInForce.DAY, None, 0)


@pytest.mark.parametrize(
    ("side", "limit", "rate", "expected"),
    [
        (BUY, None, "0", "100.02"),
        (SELL, None, "0", "100.00"),
        (BUY, None, "0.001", "100.13"),  # 100.12002, up to the tick
        (SELL, None, "0.001", "99.90"),
        (SELL, None, "0.0011", "99.89"),  # 99.89 exactly
        (SELL, None, "0.00111", "99.88"),  # 99.889, down to the tick
        (BUY, "100.05", "0.001", "100.05"),  # never worse than the limit
        (SELL, "99.95", "0.001", "99.95"),
        (BUY, "100.02", "0", "100.02"),
        (BUY, "100.01", "0", None),
        (SELL, "100.00", "0", "100.00"),
        (SELL, "100.01", "0", None),
    ],
)
def test_price(side: OrderSide, limit: str | None, rate: str, expected: str | None) -> None:
    """Ask or bid, moved and put on the tick against the customer, within the limit; else no execution."""
    model = FillModel(slippage_rate=Decimal(rate))
    limit_price = None if limit is None else price(limit)
    got = model.price(side, limit_price, quote("100.00", "100.02"), SPY)
    assert got == (None if expected is None else price(expected))


def test_sub_dollar_prices_are_exact() -> None:
    """A coin at 0.45123 fills at 0.45123; a stock below 1 USD moves in 0.0001; nothing fills at 0."""
    model = FillModel()
    assert model.price(BUY, None, quote("0.45122", "0.45123"), ADA) == price("0.45123")
    assert model.price(SELL, None, quote("0.4512", "0.4513"), SPY) == price("0.4512")
    assert tick_at(SPY, price("0.9999")) == price("0.0001")
    assert tick_at(SPY, price("1")) == price("0.01")
    assert model.price(SELL, None, quote("0.000009", "0.00002"), ADA) is None
    filled = model.fill(order(limit=None), 0, 0, quote("0.45122", "0.45123"), ADA, 0)
    assert filled is not None
    assert filled.notional == 4_512_300


@pytest.mark.parametrize(("bid", "ask"), [("0", "1"), ("2", "1")])
def test_a_broken_quote_executes_nothing(bid: str, ask: str) -> None:
    """No bid, or a crossed quote, is no market."""
    assert FillModel().price(BUY, None, quote(bid, ask), SPY) is None
    assert FillModel().price(SELL, None, quote(bid, ask), SPY) is None


@given(
    side=st.sampled_from(OrderSide),
    bid=st.integers(1, 10**13),
    spread=st.integers(0, 10**11),
    limit_ticks=st.none() | st.integers(1, 10**7),
    rate=st.decimals(0, "0.2", places=5),
)
def test_price_properties(
    side: OrderSide, bid: int, spread: int, limit_ticks: int | None, rate: Decimal
) -> None:
    """A price is on the tick, never better than the quote and never worse than the limit."""
    ask = bid + spread
    limit = None if limit_ticks is None else limit_ticks * ADA.price_step_scaled
    got = FillModel(slippage_rate=rate).price(side, limit, Quote("", bid, ask, "", 0, 0), ADA)
    if got is None:
        beyond = limit is not None and (limit < ask if side is BUY else limit > bid)
        assert beyond or (side is SELL and bid * (1 - Fraction(rate)) < ADA.price_step_scaled)
        return
    assert got > 0
    assert got % ADA.price_step_scaled == 0
    worst = ask * (1 + Fraction(rate)) if side is BUY else bid * (1 - Fraction(rate))
    if side is BUY:
        assert ask <= got < worst + ADA.price_step_scaled
        assert limit is None or got <= limit
    else:
        assert worst - ADA.price_step_scaled < got <= bid
        assert limit is None or got >= limit


@given(
    size=st.integers(1, 10**15),
    at=st.integers(1, 10**14),
    rate=st.decimals(0, "0.1", places=6),
    minimum=st.integers(0, 10**7),
)
def test_notional_and_fee_are_rounded_once(size: int, at: int, rate: Decimal, minimum: int) -> None:
    """Each is the exact product rounded half even; a sale's fee never exceeds what it brings."""
    model = FillModel(fee_rate=rate, minimum_fee=minimum)
    exact = Fraction(size, QUANTITY_SCALE) * Fraction(at, PRICE_SCALE) * MONEY_SCALE
    assert notional(size, at) == round(exact)
    fee = max(round(exact * Fraction(rate)), minimum)
    assert model.fee(BUY, size, at) == fee
    assert model.fee(SELL, size, at) == min(fee, round(exact))
    assert model.buying_power(size, at) == round(exact) + fee


@given(
    client_id=st.text(min_size=1, max_size=20),
    steps=st.integers(1, 10**9),
    rate=st.decimals(0, 1, places=2),
    share=st.decimals(0, 1, places=3),
)
def test_partial_fills_end_and_repeat(client_id: str, steps: int, rate: Decimal, share: Decimal) -> None:
    """Partial quantities are on the step, repeat exactly, and sum to the order."""
    model = FillModel(partial_rate=rate, partial_share=share)
    remaining, attempt = steps * ADA.quantity_step_scaled, 0
    assume(share == 0 or share > Decimal("0.05"))
    while remaining:
        size = model.quantity(client_id, remaining, attempt, ADA)
        assert size == FillModel(partial_rate=rate, partial_share=share).quantity(
            client_id, remaining, attempt, ADA
        )
        assert 0 < size <= remaining
        assert size % ADA.quantity_step_scaled == 0
        remaining -= size
        attempt += 1


def test_partial_rate_is_the_share_of_partial_fills() -> None:
    """Of 4,000 executions at a rate of 0.25 about a quarter are partial: half of the order each."""
    model = FillModel(partial_rate=Decimal("0.25"), partial_share=Decimal("0.5"))
    sizes = [model.quantity(f"order-{n}", quantity("3.5"), 0, ADA) for n in range(4000)]
    assert set(sizes) == {quantity("3.5"), quantity("1.7")}
    assert 900 < sizes.count(quantity("1.7")) < 1100


@pytest.mark.parametrize("name", ["fee_rate", "slippage_rate", "partial_rate", "partial_share"])
@pytest.mark.parametrize("value", ["-0.1", "1.1"])
def test_rates_out_of_range(name: str, value: str) -> None:
    """A rate outside 0 to 1 is refused when the model is made."""
    with pytest.raises(ValueError, match=name):
        FillModel(**{name: Decimal(value)})  # type: ignore[arg-type]  # the name is a variable


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({}, None),
        ({"client_id": ""}, Refusal.CLIENT_ID),
        ({"client_id": "x" * 129}, Refusal.CLIENT_ID),
        ({"client_id": "x" * 128}, None),
        ({"limit_price": None}, Refusal.ORDER_TYPE),
        ({"order_type": OrderType.MARKET}, Refusal.ORDER_TYPE),
        ({"quantity": 0}, Refusal.QUANTITY_STEP),
        ({"quantity": -QUANTITY_SCALE}, Refusal.QUANTITY_STEP),
        ({"quantity": quantity("1.0005")}, Refusal.QUANTITY_STEP),
        ({"quantity": quantity("1.001")}, None),
        ({"quantity": quantity("1.001"), "time_in_force": TimeInForce.GTC}, Refusal.TIME_IN_FORCE),
        ({"time_in_force": TimeInForce.GTC}, None),
        ({"limit_price": price("100.001")}, Refusal.PRICE_STEP),
        ({"limit_price": 0}, Refusal.PRICE_STEP),
        ({"limit_price": price("0.1234")}, None),
        ({"limit_price": price("0.12345")}, Refusal.PRICE_STEP),
    ],
)
def test_refusals_of_form(change: dict[str, object], refusal: Refusal | None) -> None:
    """Every rule of form, on both of its sides."""
    got = refusal_of_form(replace(order(), **change), SPY)  # type: ignore[arg-type]  # fields by name
    assert (got is None) == (refusal is None)
    assert refusal is None or got is None or got.startswith(refusal)


def test_refusals_of_symbol_minimum_and_crypto_day() -> None:
    """An unknown symbol, a quantity below the venue's minimum, and a day order for crypto."""
    assert refusal_of_form(order(), None) == "unknown symbol: SPY"
    coin = replace(order(), symbol="ADA-USD", time_in_force=TimeInForce.GTC)
    assert refusal_of_form(coin, ADA) is None
    small = replace(coin, quantity=quantity("0.9"))
    assert refusal_of_form(small, ADA) == "below the minimum quantity: 0.9 is less than 1"
    assert (refusal_of_form(order(), ADA) or "").startswith(Refusal.TIME_IN_FORCE)


def test_refusals_of_size() -> None:
    """Notional floor, quantity available and buying power, at their exact boundaries."""
    model, market = FillModel(fee_rate=Decimal("0.001")), quote("99.99", "100.00")

    def refused(request: OrderRequest, sellable: int = 0, spendable: int = 0) -> str | None:
        return refusal_of_size(request, SPY, market, model, sellable=sellable, spendable=spendable)

    assert refused(order(), spendable=1_001_000_000) is None
    assert refused(order(), spendable=1_000_999_999) == (
        "insufficient buying power: 1001 needed, 1000.999999 available"
    )
    assert refused(order(limit=None), spendable=1_000_999_999) is not None
    assert refused(order(SELL), sellable=quantity("10")) is None
    assert (refused(order(SELL), sellable=quantity("9.999")) or "").startswith(Refusal.INSUFFICIENT_QUANTITY)
    assert (refused(order(size="0.009"), spendable=10**9) or "").startswith(Refusal.MINIMUM_NOTIONAL)
    assert refused(order(size="0.01"), spendable=10**9) is None
    assert refusal_of_size(order(limit=None), SPY, None, model, sellable=0, spendable=0) is None


def test_execution_never_overspends() -> None:
    """Where cash does not cover a second minimum fee the fill is whole, or the order ends."""
    model = FillModel(minimum_fee=MONEY_SCALE, partial_rate=Decimal(1))
    request, market = order(limit="100.00"), quote("99.99", "100.00")

    def execute(spendable: int, request: OrderRequest = request) -> object:
        got = model.execute(
            request, 0, 0, market, SPY, 0, reserve_price=price("100"), spendable=spendable * MONEY_SCALE
        )
        return got if got is None or isinstance(got, Refusal) else got.quantity

    assert execute(1002) == quantity("5")
    assert execute(1001) == quantity("10")
    assert execute(1000) is Refusal.INSUFFICIENT_BUYING_POWER
    assert execute(0, order(SELL, limit="99.99")) == quantity("5")
    assert execute(0, order(limit="99.99")) is None


def test_reservations() -> None:
    """An open buy holds its limit's money and fee; a sell, a filled and an unpriced order hold nothing."""
    model, market = FillModel(fee_rate=Decimal("0.01"), slippage_rate=Decimal("0.01")), quote("99", "100")
    assert model.reserve_price(order(limit="98"), market, SPY) == price("98")
    assert model.reserve_price(order(limit=None), market, SPY) == price("101")
    assert model.reserve_price(order(limit=None), None, SPY) == 0
    assert model.reservation(order(), quantity("4"), price("100")) == 606 * MONEY_SCALE
    assert model.reservation(order(), quantity("10"), price("100")) == 0
    assert model.reservation(order(SELL), 0, price("100")) == 0
    assert model.reservation(order(limit=None), 0, 0) == 0
