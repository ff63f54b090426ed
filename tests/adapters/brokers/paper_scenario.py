"""A day at the paper venue that can be interrupted at any commit and resumed by its caller.

Run as a program it plays the day on a file and dies (without any clean-up) at the chosen commit:
``python -m tests.adapters.brokers.paper_scenario FILE COMMIT before|after``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final

from adapters.brokers.paper import PaperBroker
from adapters.brokers.venue_file import CommitProbe
from adapters.clock import SimulatedClock
from engine.model import Fill, OrderReport, OrderRequest, OrderSide, TimeInForce
from engine.runtime.ports import VenueAccount
from engine.units import MONEY_SCALE
from engine.verbs.fill import FillModel
from tests.adapters.brokers.world import INSTRUMENTS, START_MS, Market, order, price

CRASHED: Final = 9
CASH: Final = 10_000 * MONEY_SCALE
MODEL: Final = FillModel(
    fee_rate=Decimal("0.0025"),
    minimum_fee=10_000,
    slippage_rate=Decimal("0.0005"),
    partial_rate=Decimal("0.6"),
    partial_share=Decimal("0.4"),
)
SELL, IOC = OrderSide.SELL, TimeInForce.IOC

Step = Callable[[PaperBroker], object]


def send(request: OrderRequest) -> Step:
    """Return a step that sends an order as an agent does: only if a look-up does not find it."""

    def step(broker: PaperBroker) -> object:
        return broker.find(request.client_id) or broker.submit(request)

    return step


# One step per second: the quote of that second, and what the agent does.
DAY: Final[tuple[tuple[str, str, Step], ...]] = (
    ("100", "101", send(order("day-1", size=20, limit="101.50"))),
    ("100.20", "101.10", lambda broker: broker.open_orders()),
    ("100.10", "101", send(order("day-2", size="10.5", limit=95))),
    ("94", "94.80", lambda broker: broker.account()),
    ("93", "94", send(order("day-ioc", size="3.125", limit=94, time_in_force=IOC))),
    ("96", "97", send(order("day-4", SELL, size=5, limit=120))),
    ("96", "97.50", lambda broker: broker.cancel("day-4")),
    ("121", "122", send(order("day-5", SELL, size="11.001", limit=None))),
    ("121", "121.50", lambda broker: broker.fills_since("")),
    ("120", "120.50", lambda broker: broker.open_orders()),
    ("119", "119.50", lambda broker: broker.open_orders()),
    ("118", "118.50", lambda broker: broker.open_orders()),
)
ORDERS: Final = ("day-1", "day-2", "day-ioc", "day-4", "day-5")

Outcome = tuple[VenueAccount, list[OrderReport | None], list[Fill]]


class CountingProbe:
    """Remembers the names of the commits."""

    def __init__(self) -> None:
        """Begin with none."""
        self.names: list[str] = []

    def before_commit(self, name: str) -> None:
        """Count."""
        self.names.append(name)

    def after_commit(self, name: str) -> None:
        """Do nothing."""


class CrashingProbe:
    """Ends the process at one commit, as a kill does: nothing is closed, nothing is written."""

    def __init__(self, commit: int, moment: str) -> None:
        """Choose the commit (from 0) and whether to die before or after it."""
        self.left = commit
        self.moment = moment

    def before_commit(self, name: str) -> None:
        """Die here, or not."""
        if self.left == 0 and self.moment == "before":
            os._exit(CRASHED)

    def after_commit(self, name: str) -> None:
        """Die here, or not."""
        if self.left == 0 and self.moment == "after":
            os._exit(CRASHED)
        self.left -= 1


class World:
    """The day's clock and market."""

    def __init__(self, step: int) -> None:
        """Begin at a step of the day."""
        self.clock = SimulatedClock(START_MS)
        self.market = Market(self.clock)
        self.go(step)

    def go(self, step: int) -> None:
        """Go to the second of a step, and to its quote."""
        self.clock.sleep_until(START_MS + 1000 * step)
        bid, ask, _ = DAY[step]
        self.market.set("SOL-USD", price(bid), price(ask))


@contextmanager
def opened(path: Path, world: World, probe: CommitProbe | None = None) -> Iterator[PaperBroker]:
    """Open the venue in a world."""
    with PaperBroker(path, world.market, world.clock, MODEL, CASH, INSTRUMENTS, probe=probe) as broker:
        yield broker


def reached(path: Path) -> int:
    """Return the step that was under way: what an agent knows from its own journal."""
    progress = path.with_suffix(".step")
    return int(progress.read_text()) if progress.exists() else 0


def play(path: Path, probe: CommitProbe | None = None) -> None:
    """Play the day from the step that was under way to its end."""
    world = World(reached(path))
    with opened(path, world, probe) as broker:
        for number in range(reached(path), len(DAY)):
            path.with_suffix(".step").write_text(str(number))
            world.go(number)
            DAY[number][2](broker)


def outcome(path: Path) -> Outcome:
    """Return all that the venue knows, at the step that was under way."""
    with opened(path, World(reached(path))) as broker:
        fills, _ = broker.fills_since("")
        return broker.account(), [broker.find(client_id) for client_id in ORDERS], list(fills)


if __name__ == "__main__":
    play(Path(sys.argv[1]), CrashingProbe(int(sys.argv[2]), sys.argv[3]))
