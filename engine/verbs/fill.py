"""The venue's rules, pure: which orders are taken, and what fills at a quote.

The paper broker stores what this module decides; a backtest calls the same functions.  Prices,
quantities and money are integers scaled as ``engine.units`` states; rates are exact fractions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final

from engine.model import AssetClass, Fill, Instrument, OrderRequest, OrderSide, OrderType, Quote, TimeInForce
from engine.units import (
    MONEY_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    half_even_division,
    notional,
    scaled,
    unscaled,
)

CLIENT_ID_LENGTH: Final = 128
"""The longest client id a venue takes, in characters."""

_SUB_DOLLAR_TICK: Final = PRICE_SCALE // 10_000
_DRAW_RANGE: Final = 1 << 64


class Refusal(StrEnum):
    """Why the venue refuses an order: the first words of its reason."""

    CLIENT_ID = "client id must have 1 to 128 characters"
    DUPLICATE = "client id must be unique"
    UNKNOWN_SYMBOL = "unknown symbol"
    ORDER_TYPE = "a limit order needs a limit price, a market order has none"
    QUANTITY_STEP = "quantity is not a multiple of the step"
    PRICE_STEP = "limit price is not a multiple of the tick"
    TIME_IN_FORCE = "time in force is not allowed"
    MINIMUM_QUANTITY = "below the minimum quantity"
    MINIMUM_NOTIONAL = "below the minimum notional"
    INSUFFICIENT_QUANTITY = "insufficient quantity"
    INSUFFICIENT_BUYING_POWER = "insufficient buying power"


def tick_at(instrument: Instrument, price: int) -> int:
    """Return the tick (scaled) that applies at ``price``.

    A stock's or fund's tick is 0.0001 below 1 USD (SEC Rule 612), a crypto pair's is the same everywhere.
    """
    step = instrument.price_step_scaled
    if instrument.asset_class is not AssetClass.CRYPTO and price < PRICE_SCALE:
        return min(step, _SUB_DOLLAR_TICK)
    return step


@dataclass(frozen=True, slots=True)
class FillModel:
    """What an execution costs, and how much of an order one quote fills.

    ``fee_rate`` of the notional is charged per fill, at least ``minimum_fee`` (money); a sale is
    never charged more than it brings, so it never takes cash.  ``slippage_rate`` moves the
    price against the customer.  A share ``partial_rate`` of all executions fill only
    ``partial_share`` of what is left; which ones follows from client id and attempt alone.
    """

    fee_rate: Decimal = Decimal(0)
    minimum_fee: int = 0
    slippage_rate: Decimal = Decimal(0)
    partial_rate: Decimal = Decimal(0)
    partial_share: Decimal = Decimal("0.5")
    _fee: tuple[int, int] = field(init=False, repr=False, compare=False)
    _slippage: tuple[int, int] = field(init=False, repr=False, compare=False)
    _share: tuple[int, int] = field(init=False, repr=False, compare=False)
    _partial_below: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the rates and turn them into integer fractions; ValueError outside their range."""
        for name in ("fee_rate", "slippage_rate", "partial_rate", "partial_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.minimum_fee < 0:
            raise ValueError("minimum_fee must not be below 0")
        object.__setattr__(self, "_fee", self.fee_rate.as_integer_ratio())
        object.__setattr__(self, "_slippage", self.slippage_rate.as_integer_ratio())
        object.__setattr__(self, "_share", self.partial_share.as_integer_ratio())
        object.__setattr__(self, "_partial_below", scaled(self.partial_rate, _DRAW_RANGE))

    def fee(self, side: OrderSide, quantity: int, price: int) -> int:
        """Return the fee (money) of one fill, rounded once from the exact notional, half even."""
        numerator, denominator = self._fee
        fee = half_even_division(
            quantity * price * MONEY_SCALE * numerator, QUANTITY_SCALE * PRICE_SCALE * denominator
        )
        fee = max(fee, self.minimum_fee)
        return min(fee, notional(quantity, price)) if side is OrderSide.SELL else fee

    def buying_power(self, quantity: int, price: int) -> int:
        """Return the money that buying ``quantity`` at ``price`` takes, fee included."""
        return notional(quantity, price) + self.fee(OrderSide.BUY, quantity, price)

    def price(
        self, side: OrderSide, limit_price: int | None, quote: Quote, instrument: Instrument
    ) -> int | None:
        """Return the price at which the quote executes, or None where it does not.

        Ask for a buy, bid for a sell, moved by the slippage, put on the tick against the customer, and
        never worse than the limit.  Nothing executes below one tick.
        """
        if not 0 < quote.bid <= quote.ask:
            return None
        numerator, denominator = self._slippage
        if side is OrderSide.BUY:
            if limit_price is not None and limit_price < quote.ask:
                return None
            moved = quote.ask * (denominator + numerator)
            tick = tick_at(instrument, moved // denominator)
            price = -(-moved // (denominator * tick)) * tick
            return price if limit_price is None else min(price, limit_price)
        if limit_price is not None and limit_price > quote.bid:
            return None
        moved = quote.bid * (denominator - numerator)
        tick = tick_at(instrument, moved // denominator)
        price = moved // (denominator * tick) * tick
        return max(price, limit_price or 0) or None

    def quantity(self, client_id: str, remaining: int, attempt: int, instrument: Instrument) -> int:
        """Return how much of ``remaining`` the execution number ``attempt`` (from 0) fills.

        All of it, or the partial share rounded down to the quantity step; all of it also where the
        share is less than one step, so that every order ends.
        """
        draw = int.from_bytes(sha256(f"{client_id}/{attempt}".encode()).digest()[:8], "big")
        if draw >= self._partial_below:
            return remaining
        numerator, denominator = self._share
        step = instrument.quantity_step_scaled
        return remaining * numerator // (denominator * step) * step or remaining

    def fill(
        self,
        order: OrderRequest,
        filled_quantity: int,
        attempt: int,
        quote: Quote,
        instrument: Instrument,
        at_ms: int,
        *,
        whole: bool = False,
    ) -> Fill | None:
        """Return the fill of an open order at a quote, or None where nothing executes.

        ``attempt`` counts the order's earlier fills and names this one; ``whole`` fills all that is left.
        """
        price = self.price(order.side, order.limit_price, quote, instrument)
        remaining = order.quantity - filled_quantity
        if price is None or remaining <= 0:
            return None
        quantity = remaining if whole else self.quantity(order.client_id, remaining, attempt, instrument)
        return Fill(
            fill_id=f"{order.client_id}/{attempt + 1}",
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            notional=notional(quantity, price),
            fee=self.fee(order.side, quantity, price),
            at_ms=at_ms,
        )

    def execute(
        self,
        order: OrderRequest,
        filled_quantity: int,
        attempt: int,
        quote: Quote,
        instrument: Instrument,
        at_ms: int,
        *,
        reserve_price: int,
        spendable: int,
    ) -> Fill | Refusal | None:
        """Return the fill that cash covers, the refusal where it does not, None where nothing executes.

        ``spendable`` is cash less the reservations of all *other* orders.  Each partial fill may pay the
        minimum fee, more than was reserved for one; then the rest is filled at once, which the
        reservation of a limit order always covers.
        """
        for whole in (False, True):
            fill = self.fill(order, filled_quantity, attempt, quote, instrument, at_ms, whole=whole)
            if fill is None or fill.side is OrderSide.SELL:
                return fill
            rest = self.reservation(order, filled_quantity + fill.quantity, reserve_price)
            if fill.notional + fill.fee + rest <= spendable:
                return fill
        return Refusal.INSUFFICIENT_BUYING_POWER

    def reserve_price(self, order: OrderRequest, quote: Quote | None, instrument: Instrument) -> int:
        """Return the price at which an open buy holds buying power: its limit, else the quote's.

        A market buy without a quote holds none; it is cancelled if cash does not cover it when it executes.
        """
        if order.limit_price is not None:
            return order.limit_price
        if quote is None:
            return 0
        return self.price(order.side, None, quote, instrument) or 0

    def reservation(self, order: OrderRequest, filled_quantity: int, reserve_price: int) -> int:
        """Return the money an open order holds back: nothing for a sell or a filled order."""
        remaining = order.quantity - filled_quantity
        if order.side is OrderSide.SELL or remaining <= 0 or reserve_price == 0:
            return 0
        return self.buying_power(remaining, reserve_price)


def refusal_of_form(order: OrderRequest, instrument: Instrument | None) -> str | None:
    """Return why the venue refuses an order whatever the account holds, or None."""
    if not 1 <= len(order.client_id) <= CLIENT_ID_LENGTH:
        return Refusal.CLIENT_ID
    if instrument is None:
        return f"{Refusal.UNKNOWN_SYMBOL}: {order.symbol}"
    if (order.order_type is OrderType.LIMIT) != (order.limit_price is not None):
        return Refusal.ORDER_TYPE
    if order.quantity <= 0 or order.quantity % instrument.quantity_step_scaled:
        return f"{Refusal.QUANTITY_STEP}: {_quantity(order.quantity)}, step {instrument.quantity_step:f}"
    limit = order.limit_price
    if limit is not None and (limit <= 0 or limit % tick_at(instrument, limit)):
        tick = unscaled(tick_at(instrument, limit), PRICE_SCALE)
        return f"{Refusal.PRICE_STEP}: {unscaled(limit, PRICE_SCALE):f}, tick {tick:f}"
    if order.quantity < scaled(instrument.minimum_quantity, QUANTITY_SCALE):
        return (
            f"{Refusal.MINIMUM_QUANTITY}: {_quantity(order.quantity)}"
            f" is less than {instrument.minimum_quantity:f}"
        )
    if instrument.asset_class is AssetClass.CRYPTO:
        if order.time_in_force is TimeInForce.DAY:
            return f"{Refusal.TIME_IN_FORCE}: crypto orders are gtc or ioc"
    elif order.quantity % QUANTITY_SCALE and order.time_in_force is not TimeInForce.DAY:
        return f"{Refusal.TIME_IN_FORCE}: fractional orders are day only"
    return None


def refusal_of_size(
    order: OrderRequest,
    instrument: Instrument,
    quote: Quote | None,
    model: FillModel,
    *,
    sellable: int,
    spendable: int,
) -> str | None:
    """Return why the account or the market does not allow a well-formed order, or None.

    ``sellable`` is the quantity held less open sells; ``spendable`` is cash less open buys' reservations.
    """
    if order.side is OrderSide.SELL and order.quantity > sellable:
        return (
            f"{Refusal.INSUFFICIENT_QUANTITY}: {_quantity(order.quantity)} {order.symbol} requested,"
            f" {_quantity(sellable)} available"
        )
    price = order.limit_price
    if price is None and quote is not None:
        price = model.price(order.side, None, quote, instrument)
    if price is None:
        return None
    value = notional(order.quantity, price)
    if value < scaled(instrument.minimum_notional, MONEY_SCALE):
        return f"{Refusal.MINIMUM_NOTIONAL}: {_money(value)} is less than {instrument.minimum_notional:f}"
    if order.side is OrderSide.BUY and (needed := model.buying_power(order.quantity, price)) > spendable:
        return f"{Refusal.INSUFFICIENT_BUYING_POWER}: {_money(needed)} needed, {_money(spendable)} available"
    return None


def _money(amount: int) -> str:
    return f"{unscaled(amount, MONEY_SCALE):f}"


def _quantity(quantity: int) -> str:
    return f"{unscaled(quantity, QUANTITY_SCALE):f}"
