"""Orders at an exchange through ccxt keep the broker contract: with and without fees, with long ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from adapters.stubs.exchange import FeeIn
from engine.model import OrderRequest, OrderSide, TimeInForce
from engine.units import PRICE_SCALE
from tests.adapters.brokers.ccxt_world import CcxtVenue
from tests.contracts.broker import BUY, GTC, BrokerContract, Venue

pytestmark = pytest.mark.requirement(32)


class TestBinanceUs(BrokerContract):
    """Without fees, each fill one trade."""

    fee_rate = Decimal(0)
    trades_per_fill = 1
    exchange = "binanceus"

    @pytest.fixture
    def venue(self) -> Iterator[Venue]:
        """Return an exchange with an account of its own."""
        venue = CcxtVenue(
            exchange=self.exchange,
            fee_rate=self.fee_rate,
            fee_in=FeeIn.QUOTE,
            trades_per_fill=self.trades_per_fill,
        )
        yield venue
        venue.close()


class TestBinance(TestBinanceUs):
    """The same by ccxt's binance."""

    exchange = "binance"


class TestFeesInMoney(TestBinanceUs):
    """With a fee in money, each fill in three trades of the same millisecond."""

    fee_rate = Decimal("0.001")
    trades_per_fill = 3


class TestLongNames(TestBinanceUs):
    """With client ids that no exchange would take."""

    def request(
        self,
        venue: Venue,
        side: OrderSide = BUY,
        units: int = 2,
        limit: int | None = 101 * PRICE_SCALE,
        time_in_force: TimeInForce = GTC,
    ) -> OrderRequest:
        """Return an order whose id is as long as ids may be."""
        order = super().request(venue, side, units, limit, time_in_force)
        return replace(order, client_id=f"{order.client_id}/{'ü' * 100}")
