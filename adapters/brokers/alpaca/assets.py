"""Alpaca's list of assets, row by row, as the symbol registry takes it."""

from __future__ import annotations

from typing import Final

from adapters.brokers.alpaca.orders import ASSET_CLASSES
from adapters.brokers.alpaca.reading import (
    OddRowError,
    Row,
    flag_of,
    id_of,
    optional_number_of,
    text_of,
)
from adapters.symbols.assets import Asset

LISTED_CLASSES: Final = tuple(ASSET_CLASSES)


def asset_of(row: Row) -> Asset:
    """Read a row of ``/v2/assets``; OddRowError where it does not say what it must.

    Alpaca tells steps and minimums of coins alone; those of shares are the registry's to say.
    """
    asset_class = ASSET_CLASSES.get(text_of(row, "class"))
    if asset_class is None:
        raise OddRowError(f"class {row.get('class')} is nothing that tradectl trades")
    text = text_of(row, "symbol")
    name = row.get("name")
    return Asset(
        text=text,
        venue_id=id_of(row),
        asset_class=asset_class,
        name=name if isinstance(name, str) else "",
        tradable=flag_of(row, "tradable") and row.get("status", "active") == "active",
        fractionable=flag_of(row, "fractionable"),
        minimum_quantity=optional_number_of(row, "min_order_size"),
        quantity_step=optional_number_of(row, "min_trade_increment"),
        price_step=optional_number_of(row, "price_increment"),
        currency=text.partition("/")[2] or "USD",
    )
