"""Why an order is refused: by us before it is sent, and by Alpaca in words that do not change."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Final

from adapters.symbols.assets import Asset
from adapters.vendors.alpaca import AlpacaRefused
from engine.model import AssetClass, Instrument, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, notional, unscaled
from engine.verbs.fill import Refusal, refusal_of_form


class AlpacaRefusal(StrEnum):
    """The first words of a reason that are Alpaca's alone; the others are ``engine.verbs.fill.Refusal``."""

    HELD_FOR_ORDERS = "held for open orders"
    WASH_TRADE = "wash trade"
    EXTENDED_HOURS = "extended hours take limit orders for the day only"
    OTHER = "refused by Alpaca"


DUPLICATE: Final = "must be unique"
"""Words of Alpaca's when a client id is taken."""

_MINIMUM: Final = "minimal amount"
_WASH: Final = "wash trade"


def refusal_before(
    order: OrderRequest, asset: Asset, instrument: Instrument, *, extended_hours: bool
) -> str | None:
    """Return why an order must not be sent, or None: what Alpaca would refuse, and what it would misread."""
    if type(order.quantity) is not int or type(order.limit_price) not in (int, type(None)):
        # A float would come here as NaN or with digits that nobody wrote.
        return f"{Refusal.QUANTITY_STEP}: quantity and limit price must be whole numbers of their scales"
    refusal = refusal_of_form(order, instrument)
    if refusal is not None:
        return refusal
    day_limit = (order.order_type, order.time_in_force) == (OrderType.LIMIT, TimeInForce.DAY)
    if extended_hours and instrument.asset_class is not AssetClass.CRYPTO and not day_limit:
        return AlpacaRefusal.EXTENDED_HOURS
    return _below_floor(order, asset, instrument)


def _below_floor(order: OrderRequest, asset: Asset, instrument: Instrument) -> str | None:
    """The floor is for buys in dollars of coins and of fractions of a share: what is held may always go."""
    small = instrument.asset_class is AssetClass.CRYPTO or order.quantity % QUANTITY_SCALE
    if order.side is not OrderSide.BUY or order.limit_price is None or not small or asset.currency != "USD":
        return None
    cost = unscaled(notional(order.quantity, order.limit_price), MONEY_SCALE)
    if cost >= instrument.minimum_notional:
        return None
    return f"{Refusal.MINIMUM_NOTIONAL}: {cost:f} is less than {instrument.minimum_notional:f}"


def fields_of(order: OrderRequest, asset: Asset, *, extended_hours: bool) -> dict[str, object]:
    """Return an order as Alpaca's specification says it: numbers are strings of plain digits."""
    fields: dict[str, object] = {
        "symbol": asset.text,
        "qty": digits(unscaled(order.quantity, QUANTITY_SCALE)),
        "side": order.side.value,
        "type": order.order_type.value,
        "time_in_force": order.time_in_force.value,
        "client_order_id": order.client_id,
    }
    if order.limit_price is not None:
        fields["limit_price"] = digits(unscaled(order.limit_price, PRICE_SCALE))
    if extended_hours and asset.asset_class is not AssetClass.CRYPTO:
        fields["extended_hours"] = True
    return fields


def digits(number: Decimal) -> str:
    """Return a number in plain digits without zeros at its end: 0.00000001, never 1e-08."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_about_keys(refused: AlpacaRefused) -> bool:
    """Say whether it is not the order that is refused but who asks: the venue has looked no further."""
    return refused.status in (401, 403) and refused.code is None


def is_alpacas(refused: AlpacaRefused) -> bool:
    """Say whether the venue itself refused: it numbers its refusals, and what stands before it does not."""
    return refused.code is not None


def is_duplicate(refused: AlpacaRefused) -> bool:
    """Say whether the client id is taken: an order with it is there already."""
    return refused.status == 422 and DUPLICATE in refused.message


def reason_of(refused: AlpacaRefused, side: OrderSide) -> str:
    """Return a stable word for why the venue refused an order, and its own sentence.

    Alpaca uses one number (403/40310000) for money, quantity, wash trades and minimums alike.
    """
    return f"{_word(refused, side)}: {refused.message}"


def _word(refused: AlpacaRefused, side: OrderSide) -> str:
    message, body = refused.message.lower(), refused.body
    if _WASH in message or _WASH in str(body.get("reject_reason", "")).lower():
        return AlpacaRefusal.WASH_TRADE
    if "opposite side" in str(body.get("reject_reason", "")).lower():
        return AlpacaRefusal.WASH_TRADE
    if _MINIMUM in message:
        return Refusal.MINIMUM_NOTIONAL if "cost basis" in message else Refusal.MINIMUM_QUANTITY
    if "insufficient" in message:
        if side is OrderSide.BUY:
            return Refusal.INSUFFICIENT_BUYING_POWER
        held = str(body.get("held_for_orders", "0"))
        return AlpacaRefusal.HELD_FOR_ORDERS if held.strip("0.") else Refusal.INSUFFICIENT_QUANTITY
    if "buying power" in message:
        return Refusal.INSUFFICIENT_BUYING_POWER
    return AlpacaRefusal.OTHER
