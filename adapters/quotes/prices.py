"""Prices between a source's decimals and the engine's integers, exactly; and as people read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from adapters.quotes.source import SourceQuote
from engine.model import Quote, QuoteKind
from engine.units import PRICE_SCALE
from engine.verbs.numbers import decimal

LARGEST_PRICE: Final = Decimal(10_000_000)
"""What the vocabulary allows a price to be."""
SMALLEST_PRICE: Final = Decimal(1) / PRICE_SCALE
"""The step of the engine's integer prices."""


def as_quote(symbol: str, source: str, quote: SourceQuote) -> Quote:
    """Return a judged quote as the engine holds it.

    Where its prices are finer than the engine's scale the bid is rounded down and the ask up: against
    whoever trades on it.  The source's name carries a currency other than USD: ``finnhub/USDT``.
    """
    assert quote.source_time_ms is not None, "a quote without a time is never used"
    bid, bid_unit = quote.bid.as_integer_ratio()
    ask, ask_unit = quote.ask.as_integer_ratio()
    return Quote(
        symbol,
        bid * PRICE_SCALE // bid_unit,
        -(-ask * PRICE_SCALE // ask_unit),
        source if quote.currency == "USD" else f"{source}/{quote.currency}",
        quote.source_time_ms,
        quote.receive_time_ms,
        QuoteKind(quote.kind),
    )


def price_text(price: Decimal, step: Decimal = Decimal(1)) -> str:
    """Return a price with the decimals of the instrument's step, and with all of its own where it has more.

    Never rounded: ADA at 0.45123 is not 0.45, and SHIB at 0.00001234 is not 0.00.
    """
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "a step is a number"
    return decimal(price, max(0, -exponent))
