"""What a venue says of the things it trades: one row of its list of assets."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from engine.model import AssetClass


@dataclass(frozen=True, slots=True)
class Asset:
    """One row of a venue's list; None where the venue does not tell.

    ``text`` is the symbol as the venue writes it in orders (``BTC/USD``, ``BRK.B``); ``venue_id`` is the
    venue's own identifier, "" where it has none.  Steps and minimums are exact; ``minimum_notional`` is in
    the currency that the asset is priced in, ``currency``.
    """

    text: str
    venue_id: str
    asset_class: AssetClass
    name: str = ""
    tradable: bool = True
    fractionable: bool = True
    minimum_quantity: Decimal | None = None
    quantity_step: Decimal | None = None
    price_step: Decimal | None = None
    minimum_notional: Decimal | None = None
    currency: str = "USD"
