"""Prices stay exact on their way to the engine, and on the screen."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.quotes.prices import LARGEST_PRICE, SMALLEST_PRICE, as_quote, price_text
from adapters.quotes.source import SourceQuote
from engine.model import QuoteKind
from engine.units import PRICE_SCALE

_PRICES = st.decimals(SMALLEST_PRICE, LARGEST_PRICE, allow_nan=False, allow_infinity=False)


def _quote(bid: Decimal, ask: Decimal, currency: str = "USD") -> SourceQuote:
    return SourceQuote(bid, bid, ask, currency, QuoteKind.QUOTE, 1, 2)


@given(_PRICES, _PRICES)
def test_the_bid_is_rounded_down_and_the_ask_up(one: Decimal, other: Decimal) -> None:
    """By less than a step of the engine's, and not at all where they are no finer than that."""
    quote = as_quote("X", "a", _quote(min(one, other), max(one, other)))
    bid, ask = Fraction(min(one, other)), Fraction(max(one, other))
    step = Fraction(1, PRICE_SCALE)
    assert bid - step < Fraction(quote.bid, PRICE_SCALE) <= bid
    assert ask <= Fraction(quote.ask, PRICE_SCALE) < ask + step


@pytest.mark.parametrize(
    ("text", "scaled"), [("0.45123", 45_123_000), ("0.00001234", 1_234), ("93412.55", 9_341_255_000_000)]
)
def test_what_the_engine_can_hold_is_held_exactly(text: str, scaled: int) -> None:
    """ADA, SHIB and BTC."""
    quote = as_quote("X", "a", _quote(Decimal(text), Decimal(text)))
    assert quote.bid == quote.ask == scaled


def test_another_currency_is_flagged() -> None:
    """In the one field that tells where a quote is from."""
    assert as_quote("X", "finnhub", _quote(Decimal(1), Decimal(1), "USDT")).source == "finnhub/USDT"


@pytest.mark.parametrize(
    ("price", "step", "text"),
    [
        ("0.45123", "0.0001", "0.45123"),
        ("0.00001234", "0.00000001", "0.00001234"),
        ("1.234E-5", "0.00000001", "0.00001234"),
        ("580.1", "0.01", "580.10"),
        ("580", "0.01", "580.00"),
        ("93412.5500", "0.01", "93412.55"),
        ("4000", "5", "4000"),
    ],
)
def test_prices_are_shown_by_the_step(price: str, step: str, text: str) -> None:
    """At least as many decimals as the step has, all that the price has, no exponent."""
    assert price_text(Decimal(price), Decimal(step)) == text


@given(_PRICES, st.sampled_from(["1", "0.01", "0.0001", "0.00000001"]))
def test_no_digit_is_lost(price: Decimal, step: str) -> None:
    """What is shown reads back as the same price."""
    assert Decimal(price_text(price, Decimal(step))) == price
