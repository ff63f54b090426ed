"""Prices and instants out of vendors' answers: exact, or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.quotes.numbers import instant_ms, price_of, rfc3339_ms


@given(st.decimals(min_value="0.00000001", max_value=10_000_000, places=8))
def test_a_price_survives_every_notation(price: Decimal) -> None:
    """String, Decimal and float of the same price are the same price."""
    assert price_of(str(price)) == price_of(price) == price
    assert price_of(float(price)) == Decimal(repr(float(price)))


@pytest.mark.parametrize(
    "value",
    [0, 0.0, "0", -1, "-0.5", float("nan"), float("inf"), "NaN", "Infinity", "", "x", None, True, [1], {}],
)
def test_what_is_no_price(value: object) -> None:
    """Zero, less, what is not finite, and what is no number."""
    assert price_of(value) is None


@pytest.mark.parametrize(
    ("price", "text"), [(0.45123, "0.45123"), (1.234e-05, "0.00001234"), (40000, "40000")]
)
def test_a_float_stands_for_what_was_sent(price: float, text: str) -> None:
    """No digit is added or lost."""
    assert price_of(price) == Decimal(text)


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (1_589_587_200, 1_589_587_200_000),
        (1_589_587_200.25, 1_589_587_200_250),
        (0, None),
        (-1, None),
        (1_589_587_200_000, None),  # milliseconds: the year 52,000
        (float("nan"), None),
        ("1589587200", None),
        (True, None),
        (None, None),
    ],
)
def test_seconds_since_1970(seconds: object, ms: int | None) -> None:
    """An instant of this century, or none."""
    assert instant_ms(seconds) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2022-03-18T14:03:13.661518592Z", 1_647_612_193_661),
        ("2022-03-18T14:03:13.999999999Z", 1_647_612_193_999),
        ("2022-03-18T14:03:31.96Z", 1_647_612_211_960),
        ("2022-03-18T14:03:13Z", 1_647_612_193_000),
        ("2022-03-18T10:03:13-04:00", 1_647_612_193_000),
        ("2022-03-18T14:03:13", None),  # of which zone?
        ("2022-13-18T14:03:13Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("yesterday", None),
        (1_647_612_193, None),
    ],
)
def test_instants_as_text(text: object, ms: int | None) -> None:
    """Nanoseconds are cut, never rounded up: a quote is not younger than it is."""
    assert rfc3339_ms(text) == ms
