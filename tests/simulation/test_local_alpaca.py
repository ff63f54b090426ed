"""Faults at every call to a local Alpaca: no order is lost, none is made twice, and no secret is told."""

from __future__ import annotations

import logging
import os
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from adapters.journal.reading import read_journal
from adapters.stubs.faults import EVERY_FAULT, Fault, Kind, NoFaults, Seeded
from engine.codes import IntentState
from engine.units import MONEY_SCALE, QUANTITY_SCALE, unscaled
from tests.evidence import Evidence
from tests.simulation.local_alpaca import CASH, KEY_ID, SECRET, LocalAlpaca

LONG: Final = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
CYCLES: Final = 500 if LONG else 40
SYMBOLS: Final = 20
LEAST_FAULTS: Final = 2_000 if LONG else 40
OFTEN: Final = 0.25
SELDOM: Final = 0.06
WHOLE_CYCLE: Final = ("/v2/account", "/v2/positions", "/v2/orders")
"""Where a fault skips the cycle: if most were, little else would be asked.  So it is with bars."""
# Each hang takes the whole of a deadline.
FAULTS: Final = [fault for fault in EVERY_FAULT if fault.kind is not Kind.HANG] * 3 + [
    Fault(Kind.HANG),
    Fault(Kind.HANG, accepted=True),
]


class Everywhere:
    """Faults at every call; fewer where a fault ends a cycle."""

    def __init__(self, seed: int) -> None:
        """The same seed and requests meet the same faults."""
        self.often = Seeded(seed, OFTEN, FAULTS)
        self.seldom = Seeded(seed + 1, SELDOM, FAULTS)

    def fault(self, method: str, path: str) -> Fault | None:
        """Draw."""
        ends = method == "GET" and (
            path in WHOLE_CYCLE or path.startswith("/v2/account/") or path.endswith("/bars")
        )
        return (self.seldom if ends else self.often).fault(method, path)

    @property
    def met(self) -> Counter[str]:
        """How often each fault was met."""
        return self.often.met + self.seldom.met


@pytest.mark.requirement(34)
def test_orders_and_intents_are_one_to_one_under_faults(
    tmp_path: Path, evidence: Evidence, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults before and after acceptance at every call, restarts among them; then the venue is well again."""
    caplog.set_level(logging.DEBUG)
    world = LocalAlpaca(tmp_path, SYMBOLS, seed=1)
    plan = Everywhere(1)
    try:
        done: Counter[str] = Counter()
        for _ in range(3):
            world.cycle()  # its indicators get warm
        world.stub.plan = plan
        for number in range(CYCLES):
            if number and number % (CYCLES // 4) == 0:
                world.stub.plan = NoFaults()  # the start of an agent asks for the account, or ends
                world.restart()
                world.stub.plan = plan
            report = world.cycle()
            done["skipped" if report.skipped else "decided"] += 1
            done["intents"] += len(report.intents)
            done["incidents"] += len(report.incidents)
        world.stub.plan = NoFaults()
        for _ in range(6):
            world.cycle()
        _one_to_one(world)
        _nothing_told(tmp_path, caplog.text)
        met = sum(plan.met.values())
        orders = len(world.stub.venue.orders())
        evidence(f"{CYCLES} cycles, {met} faults of {len(plan.met)} kinds, {orders} orders; {dict(done)}")
        assert met >= LEAST_FAULTS
        assert done["intents"] > CYCLES // 4
    finally:
        world.close()


def _one_to_one(world: LocalAlpaca) -> None:
    """Each order of the venue is an intent of the journal, and each intent that got there is one order."""
    with closing(read_journal(world.folder / "journal.db")) as journal:
        intents = {intent.order.client_id: intent.order for intent in journal.intents()}
        last = {client_id: journal.intent_events(client_id)[-1] for client_id in intents}
        fills = list(journal.fills())
    orders = world.stub.venue.orders()
    assert len({order.client_order_id for order in orders}) == len(orders)
    there = {order.client_order_id: order for order in orders}
    assert there.keys() <= intents.keys()
    for client_id, order in there.items():
        assert order.draft.asset.symbol.replace("/", "-") == intents[client_id].symbol
        assert order.draft.quantity == unscaled(intents[client_id].quantity, QUANTITY_SCALE)
        filled = sum(fill.quantity for fill in fills if fill.client_id == client_id)
        assert unscaled(filled, QUANTITY_SCALE) == order.filled_quantity, client_id
    for client_id in intents.keys() - there.keys():
        event = last[client_id]
        assert event.state in (IntentState.REJECTED, IntentState.EXPIRED, IntentState.CANCELLED), event
        assert not event.venue_id
        assert event.filled_quantity == 0
    owned = {
        symbol.replace("/", "-"): quantity
        for symbol, quantity in world.stub.venue.positions().items()
        if quantity
    }
    booked = {
        symbol: unscaled(holding.quantity, QUANTITY_SCALE)
        for symbol, holding in world.agent.state.ledger.holdings.items()
        if holding.quantity
    }
    assert booked == owned
    # Our money has six decimals, the venue's as many as it takes.
    assert abs(world.agent.state.ledger.cash - world.stub.venue.cash * MONEY_SCALE) <= len(fills)
    assert world.stub.venue.cash != CASH


def _nothing_told(folder: Path, log: str) -> None:
    """No key is in anything that was kept or logged."""
    assert SECRET not in log
    assert KEY_ID not in log
    for path in folder.rglob("*"):
        if path.is_file():
            kept = path.read_bytes()
            assert SECRET.encode() not in kept, path
            assert KEY_ID.encode() not in kept, path
