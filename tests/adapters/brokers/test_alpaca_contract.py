"""Alpaca keeps the broker contract: the real library, at a local Alpaca."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.runtime.ports import Broker
from tests.adapters.brokers.alpaca_world import AlpacaWorld, as_price
from tests.contracts.broker import BrokerContract, Venue

pytestmark = pytest.mark.requirement(32)


class AlpacaVenue:
    """The local Alpaca and one broker of its account at a time."""

    symbol = "SOL-USD"
    broker: Broker

    def __init__(self, world: AlpacaWorld) -> None:
        """Open the first broker."""
        self.world = world
        self.restart()

    def now_ms(self) -> int:
        """Return the venue's time."""
        return self.world.stub.venue.now_ms()

    def market(self, bid: int, ask: int) -> None:
        """Move the market, one second later."""
        self.world.quote(str(as_price(bid)), str(as_price(ask)))

    def restart(self) -> None:
        """Make a new client."""
        self.broker = self.world.open()


class TestAlpaca(BrokerContract):
    """Each order in one fill."""

    @pytest.fixture
    def venue(self) -> Iterator[Venue]:
        """Return a local Alpaca of its own."""
        with AlpacaWorld() as world:
            yield AlpacaVenue(world)
