"""Alpaca's orders as ours: what a row of its lists says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from adapters.brokers.alpaca.reading import (
    OddRowError,
    Row,
    id_of,
    instant_of,
    number_of,
    optional_id_of,
    optional_number_of,
    text_of,
)
from engine.codes import IntentState
from engine.model import AssetClass, OrderReport, OrderSide
from engine.units import PRICE_SCALE, QUANTITY_SCALE, scaled
from engine.verbs.lifecycle import venue_state

PENDING_CANCEL: Final = "pending_cancel"
_REPLACED: Final = "replaced"

ASSET_CLASSES: Final = MappingProxyType({"us_equity": AssetClass.STOCK, "crypto": AssetClass.CRYPTO})
"""The venue's classes that tradectl trades."""

_SIDES: Final = MappingProxyType({"buy": OrderSide.BUY, "sell": OrderSide.SELL, "sell_short": OrderSide.SELL})
_SAYS_IT_ALL: Final = frozenset({"new", "partially_filled", "filled"})

Canonical = Callable[[str, AssetClass, str], "str | None"]
"""Gives the canonical symbol of (the venue's text, class, the venue's identifier of the asset)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a venue's order is: enough to say what its fills belong to."""

    client_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order as a row tells it: our report of it, and the venue's own word for its state."""

    report: OrderReport
    status: str

    @property
    def is_ending(self) -> bool:
        """Whether it is final, or will be without another word of ours."""
        return self.report.state.final or self.status == PENDING_CANCEL


def state_of(status: str, *, filled: bool) -> IntentState:
    """Return what a state means, given whether any of the order is filled; never fails."""
    state = venue_state(status)
    if filled and state is IntentState.SENT:
        return IntentState.PARTLY_FILLED
    if filled and state is IntentState.REJECTED:
        return IntentState.CANCELLED  # what is filled stays filled
    return state


def owner_of(row: Row, canonical: Canonical) -> Owner:
    """Read whose a row's order is; OddRowError where it does not say."""
    return Owner(text_of(row, "client_order_id"), _symbol(row, canonical))


def order_of(row: Row, canonical: Canonical) -> VenueOrder:
    """Read a row; OddRowError where it does not say what it must.

    Only what is needed is read, so that fields and words which nobody knows yet do no harm.
    """
    owner = owner_of(row, canonical)
    filled = number_of(row, "filled_qty")
    quantity = optional_number_of(row, "qty")
    if quantity is None:
        raise OddRowError("qty is null: an order for an amount of money, which is none of ours")
    if quantity <= 0 or not 0 <= filled <= quantity:
        raise OddRowError(f"{filled} filled of {quantity}")
    limit = optional_number_of(row, "limit_price")
    status = text_of(row, "status")
    report = OrderReport(
        client_id=owner.client_id,
        venue_id=id_of(row),
        symbol=owner.symbol,
        side=side_of(row),
        quantity=_exact(quantity, QUANTITY_SCALE, "qty"),
        limit_price=None if limit is None else _exact(limit, PRICE_SCALE, "limit_price"),
        state=state_of(status, filled=filled > 0),
        filled_quantity=_exact(filled, QUANTITY_SCALE, "filled_qty"),
        updated_ms=instant_of(row, "submitted_at" if row.get("updated_at") is None else "updated_at"),
        reason="" if status in _SAYS_IT_ALL else status,
        replaced_by=(optional_id_of(row, "replaced_by") or "") if status == _REPLACED else "",
    )
    return VenueOrder(report, status)


def side_of(row: Row) -> OrderSide:
    """Read a side; a short sale is a sale."""
    side = _SIDES.get(text_of(row, "side"))
    if side is None:
        raise OddRowError("side is neither buy nor sell")
    return side


def _symbol(row: Row, canonical: Canonical) -> str:
    text, word = text_of(row, "symbol"), text_of(row, "asset_class")
    asset_class = ASSET_CLASSES.get(word)
    asset_id = row.get("asset_id")
    identifier = asset_id if isinstance(asset_id, str) else ""
    symbol = None if asset_class is None else canonical(text, asset_class, identifier)
    if symbol is None:
        raise OddRowError(f"{word} {text} is nothing that tradectl trades")
    return symbol


def _exact(number: Decimal, scale: int, name: str) -> int:
    found = scaled(number, scale)
    if Decimal(found) != number * scale:
        raise OddRowError(f"{name} {number} is finer than 1 / {scale}")
    return found
