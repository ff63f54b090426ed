"""What is said of a symbol before a venue was asked."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from adapters.symbols.inferred import calendar_of, infer_asset_class, infer_instrument
from engine.model import AssetClass
from engine.units import quantise


@pytest.mark.parametrize(
    ("symbol", "asset_class", "calendar"),
    [
        ("BTC-USD", AssetClass.CRYPTO, "24/7"),
        ("ADA-USDT", AssetClass.CRYPTO, "24/7"),
        ("SOL-EUR", AssetClass.CRYPTO, "24/7"),
        ("SPY", AssetClass.STOCK, "NYSE"),
        ("ETH", AssetClass.STOCK, "NYSE"),
        ("BRK-B", AssetClass.STOCK, "NYSE"),
        ("BRK.B", AssetClass.STOCK, "NYSE"),
        ("-USD", AssetClass.STOCK, "NYSE"),
        ("GLD", AssetClass.COMMODITY, "NYSE"),
    ],
)
def test_the_form_of_a_symbol(symbol: str, asset_class: AssetClass, calendar: str) -> None:
    """A pair with a quote currency is crypto; a dash alone, or a bare coin's name, is not."""
    assert infer_asset_class(symbol) is asset_class
    assert calendar_of(symbol) == calendar


@pytest.mark.parametrize(
    ("prices", "step"),
    [
        ([7424.91, 7422.0], "0.01"),
        ([43239.0], "0.01"),
        ([0.45123], "0.00001"),
        ([0.16], "0.00001"),
        ([13.47], "0.001"),
        ([0.0000085], "1e-8"),
        ([33.35399601000002], "1e-8"),
        ([0.06, 9000.1, 9000.2], "0.01"),  # a flash crash does not make the tick finer
        ([math.nan, math.inf, 95.5], "0.001"),
        ([], "1e-8"),
    ],
)
def test_a_coins_tick(prices: list[float], step: str) -> None:
    """As many decimals as the prices show and five digits need, at least two, at most eight."""
    instrument = infer_instrument("X-USD", AssetClass.CRYPTO, "24/7", prices)
    assert instrument.price_step == Decimal(step)


@pytest.mark.parametrize(("prices", "step"), [([277.1234], "0.01"), ([0.99, 3], "0.0001"), ([], "0.01")])
def test_a_stocks_tick(prices: list[float], step: str) -> None:
    """A cent; a hundredth of a cent where prices fall below a dollar."""
    assert infer_instrument("X", AssetClass.STOCK, "NYSE", prices).price_step == Decimal(step)


def test_prices_stay_apart_on_their_own_tick() -> None:
    """The price grid made of a sub-dollar price holds that price exactly."""
    instrument = infer_instrument("ADA-USD", AssetClass.CRYPTO, "24/7", [0.45123])
    assert quantise(0.45123, instrument.price_steps_per_unit) == 0.45123
    assert instrument.minimum_notional == 10
    assert instrument.quantity_step == instrument.minimum_quantity == Decimal("1e-9")
