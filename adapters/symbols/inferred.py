"""What can be said of a symbol before a venue was asked: its class, its calendar, its steps.

A venue's own answer always goes first; this is for backtests, for the simulated market and for paper
trading, where no venue is there to be asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from engine.model import AssetClass, Instrument

ALWAYS_OPEN: Final = "24/7"
"""The calendar that never closes."""

# The right side of a pair.  A dash alone does not mean crypto: Yahoo writes BRK-B for BRK.B.
_QUOTE_CURRENCIES: Final = frozenset({"USD", "USDT", "USDC", "EUR", "GBP", "BTC", "ETH"})
_COMMODITIES: Final = frozenset({"GLD", "SLV", "IAU", "USO", "UNG", "DBC", "PDBC", "CPER"})

_FINEST_PRICE_DECIMALS: Final = 8  # engine.units.PRICE_SCALE
_SIGNIFICANT_DIGITS: Final = 5


def infer_asset_class(symbol: str) -> AssetClass:
    """Return the class a canonical symbol names by its form: BTC-USD is crypto, GLD a commodity fund."""
    base, dash, quote = symbol.partition("-")
    if dash and base and quote in _QUOTE_CURRENCIES:
        return AssetClass.CRYPTO
    return AssetClass.COMMODITY if symbol in _COMMODITIES else AssetClass.STOCK


def calendar_of(symbol: str) -> str:
    """Return the calendar a canonical symbol trades by: "24/7" for crypto, "NYSE" for the rest."""
    return ALWAYS_OPEN if infer_asset_class(symbol) is AssetClass.CRYPTO else "NYSE"


def infer_instrument(
    symbol: str, asset_class: AssetClass, calendar: str, prices: Iterable[float]
) -> Instrument:
    """Return steps and minimums for a symbol from its prices (money per unit; NaN is skipped).

    * Crypto: the price step has as many decimals as the prices show, but at least two, and at least
      enough to give the median price five significant digits; at most eight.  Quantities in steps of
      1e-9, orders of at least 10 (Alpaca's floor for crypto, in US dollars).
    * Stocks and commodities: 0.01, or 0.0001 if any price is below 1 (US equities: SEC rule 612).
      Fractions in steps of 1e-9, orders of at least 1 (Alpaca's floor for fractional orders).
    """
    seen = sorted(price for price in prices if 0 < price < math.inf)
    crypto = asset_class is AssetClass.CRYPTO
    if not crypto:
        price_step = Decimal("0.0001") if seen and seen[0] < 1 else Decimal("0.01")
    elif seen:
        shown = max(_decimals(price) for price in set(seen))
        needed = _SIGNIFICANT_DIGITS - 1 - Decimal(seen[len(seen) // 2]).adjusted()
        price_step = Decimal(1).scaleb(-min(max(shown, needed, 2), _FINEST_PRICE_DECIMALS))
    else:
        price_step = Decimal(1).scaleb(-_FINEST_PRICE_DECIMALS)
    quantity_step = Decimal("1e-9")
    return Instrument(
        symbol=symbol,
        asset_class=asset_class,
        calendar=calendar,
        price_step=price_step,
        quantity_step=quantity_step,
        minimum_quantity=quantity_step,
        minimum_notional=Decimal(10) if crypto else Decimal(1),
    )


def _decimals(price: float) -> int:
    exponent = Decimal(repr(price)).normalize().as_tuple().exponent
    return max(0, -int(exponent))
