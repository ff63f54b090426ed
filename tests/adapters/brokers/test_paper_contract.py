"""The paper venue keeps the broker contract, with and without costs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.brokers.paper import PaperBroker
from adapters.clock import SimulatedClock
from engine.runtime.ports import Broker
from engine.units import MONEY_SCALE, PRICE_SCALE
from engine.verbs.fill import FillModel
from tests.adapters.brokers.world import INSTRUMENTS, START_MS, Market
from tests.contracts.broker import BrokerContract, Venue


class PaperVenue:
    """A paper venue in a folder of its own."""

    symbol = "SOL-USD"
    broker: Broker

    def __init__(self, folder: Path, model: FillModel) -> None:
        """Open the venue with the market at 100 / 101."""
        self.path = folder / "venue.sqlite3"
        self.model = model
        self.clock = SimulatedClock(START_MS)
        self.source = Market(self.clock)
        self.opened: list[PaperBroker] = []
        self.restart()
        self.market(100 * PRICE_SCALE, 101 * PRICE_SCALE)

    def now_ms(self) -> int:
        """Return the venue's time."""
        return self.clock.now_utc_ms()

    def market(self, bid: int, ask: int) -> None:
        """Move the market, one second later."""
        self.clock.sleep_until(self.now_ms() + 1000)
        self.source.set(self.symbol, bid, ask)

    def restart(self) -> None:
        """Open the same file again."""
        paper = PaperBroker(self.path, self.source, self.clock, self.model, 10_000 * MONEY_SCALE, INSTRUMENTS)
        self.opened.append(paper)
        self.broker = paper


class TestPaper(BrokerContract):
    """With fees and slippage, each order in one fill."""

    model = FillModel(fee_rate=Decimal("0.0025"), slippage_rate=Decimal("0.0005"))

    @pytest.fixture
    def venue(self, tmp_path: Path) -> Iterator[Venue]:
        """Return a paper venue; its files are closed afterwards."""
        venue = PaperVenue(tmp_path, self.model)
        yield venue
        for paper in venue.opened:
            paper.close()


class TestPaperFree(TestPaper):
    """Without costs."""

    model = FillModel()
