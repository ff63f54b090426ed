"""Requirements 1, 6, 13, 15 and 16 on orders: each holds, and fails for a desk that is wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.codes import IntentState
from engine.model import OrderReport, OrderSide, WorkingOrder
from engine.runtime.orders import LOOKED_UP_SECONDS, OrderDesk
from engine.runtime.ports import ANYTHING, Hint
from engine.runtime.reconcile import RECONCILE_EVERY_SECONDS, Reconciler
from engine.verbs.lifecycle import OrderConflict, advance_order
from tests.engine.runtime.desk_world import BUY, SELL, UNIT, DeskWorld, ScriptedHints
from tests.engine.runtime.wrong_desks import (
    Advance,
    BelievesHints,
    CancelledWhenAsked,
    ComparesAtTheStart,
    LostIsRejected,
    NameTooLong,
    NeverCompares,
    NewNameForEachSend,
    OneLookIsProof,
    last_word,
    sums_up,
)
from tests.simulation.scripted import Script

SOL = "SOL-USD"
S, PF, F = IntentState.SENT, IntentState.PARTLY_FILLED, IntentState.FILLED
C = IntentState.CANCELLED


# --- 1: the name ------------------------------------------------------------------------------------


def check_requirement_1(desk_class: type[OrderDesk]) -> None:
    """Whatever becomes of the sends, each is under the name that was durable before, and short enough."""
    for fault in ("lost_before", "lost_after", "late", "down"):
        with DeskWorld(desk_class=desk_class) as world:
            world.venue.faults["submit"] = [fault]
            name = world.order(SOL, BUY)
            for _ in range(2):
                world.restart()
                world.tend(LOOKED_UP_SECONDS)
            assert {order.client_id for order in world.venue.sent} == {name}
            assert len(name) <= 128
            assert world.journal.intent(name) is not None
            assert list(world.venue.orders) == [name]


@pytest.mark.requirement(1)
def test_requirement_1() -> None:
    """A restart yields the same name."""
    check_requirement_1(OrderDesk)


@pytest.mark.requirement(1)
@pytest.mark.parametrize("wrong", [NewNameForEachSend, NameTooLong])
def test_requirement_1_fails_for_a_wrong_desk(wrong: type[OrderDesk]) -> None:
    """One that names anew, one whose names no venue takes."""
    with pytest.raises((AssertionError, LookupError)):
        check_requirement_1(wrong)


# --- 6: what cannot be found --------------------------------------------------------------------------


def check_requirement_6(desk_class: type[OrderDesk]) -> None:
    """The answer was lost, and the look-up finds nothing: blocked until it is found; never a second order."""
    for fault in ("lost_after", "late"):
        with DeskWorld(desk_class=desk_class) as world:
            world.venue.faults["submit"] = [fault]
            world.venue.faults["find"] = ["missing"]
            name = world.order(SOL, BUY, 10, good_for_seconds=3600)
            world.tend(1)
            assert not world.may_order(SOL), "one look is no proof"
            if world.venue.on_the_way:
                world.venue.arrive(name)
            world.tend()
            assert world.working(SOL).client_id == name
            assert list(world.venue.orders) == [name]
            world.venue.fill(name, 10 * UNIT)
            world.tend()
            assert world.held(SOL) == 10 * UNIT
            assert world.states(name)[-1] is F


@pytest.mark.requirement(6)
def test_requirement_6() -> None:
    """Unknown is unknown until it is resolved."""
    check_requirement_6(OrderDesk)


@pytest.mark.requirement(6)
@pytest.mark.parametrize("wrong", [OneLookIsProof, LostIsRejected])
def test_requirement_6_fails_for_a_wrong_desk(wrong: type[OrderDesk]) -> None:
    """One that believes the first look-up, one that takes a lost answer for a refusal."""
    with pytest.raises(AssertionError):
        check_requirement_6(wrong)


# --- 13: the exit behind an exit -----------------------------------------------------------------------

LEAVES = """
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 50%}}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  trim:  {priority: 800, when: held and price >= 105 USD, then: sell to 500 USD, once: position}
  enter: {priority: 100, when: not held and 90 USD < price < 100 USD, then: buy to 1000 USD, once: day}
orders: {buy: {limit: 100% of ask, good_for: 20m}, sell: {limit: 100% of bid, good_for: 20m}}
"""


def check_requirement_13(folder: Path) -> None:
    """A trim rests and the stop comes: it is sent when the venue says that the trim has ended, not before."""
    with Script(folder, LEAVES) as script:
        script.at(SOL, 99)
        bought = script.held()
        script.venue_market.prices = {}
        script.at(SOL, 106)
        trim = script.broker.submitted[-1]
        assert trim.side is OrderSide.SELL and trim.quantity < bought
        script.faults["cancel"] = [lambda call: None] * 2  # asked for, and pending
        for _ in range(2):
            script.at(SOL, 85)
            assert script.broker.submitted[-1] is trim, "two sells of one position are open"
        assert script.disposition("stop") == "awaiting_cancel"
        script.cycle()
        script.cycle()
        sold = script.broker.submitted[-1]
        assert sold is not trim and sold.quantity == bought
        reports = [script.broker.inner.find(order.client_id) for order in script.broker.submitted]
        assert sum(report is not None and not report.state.final for report in reports) == 1


@pytest.mark.requirement(13)
def test_requirement_13(tmp_path: Path) -> None:
    """The final state of the cancelled order is waited for."""
    check_requirement_13(tmp_path)


@pytest.mark.requirement(13)
def test_requirement_13_fails_for_a_wrong_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that counts an order as cancelled when it asked for that."""
    monkeypatch.setattr("engine.runtime.cycle.OrderDesk", CancelledWhenAsked)
    with pytest.raises(AssertionError):
        check_requirement_13(tmp_path)


# --- 15: partial fills ----------------------------------------------------------------------------------

SENT = WorkingOrder("id", SELL, 10, 0, 100, S, False, None, "stop", 10_000)
HISTORIES = [
    ([(S, 0), (PF, 4), (PF, 4), (PF, 7), (F, 10)], F, 10),
    ([(PF, 4), (PF, 7), (PF, 4), (S, 0)], PF, 7),
    ([(F, 10), (PF, 7), (C, 7)], F, 10),
    ([(C, 4), (PF, 4), (S, 0)], C, 4),
    ([(C, 4), (F, 10)], F, 10),
]


def check_requirement_15(advance: Advance) -> None:
    """However often and late it is told, the cumulative quantity is what is filled."""
    for told, state, filled in HISTORIES:
        order = SENT
        for word, quantity in told:
            order = advance(SOL, order, OrderReport("id", "v", SOL, SELL, 10, 100, word, quantity, 10_500))
        assert (order.state, order.filled_quantity) == (state, filled), told


@pytest.mark.requirement(15)
def test_requirement_15() -> None:
    """Duplicates and late events are no-ops."""
    check_requirement_15(advance_order)


@pytest.mark.requirement(15)
@pytest.mark.parametrize("wrong", [sums_up, last_word])
def test_requirement_15_fails_for_a_wrong_reading(wrong: Advance) -> None:
    """One that sums up what is cumulative, one that believes the last word."""
    with pytest.raises((AssertionError, OrderConflict)):
        check_requirement_15(wrong)


# --- 16: streams are hints ------------------------------------------------------------------------------


def check_16_start(reconciler_class: type[Reconciler]) -> None:
    """An open order of ours that our books do not have is seen at the start."""
    with DeskWorld(reconciler_class=reconciler_class) as world:
        _stray(world)
        world.restart()
        assert "order-conflict" in world.incidents()


def check_16_reconnect(reconciler_class: type[Reconciler]) -> None:
    """And when the stream, or the venue, is heard again."""
    with DeskWorld(reconciler_class=reconciler_class, hints=ScriptedHints()) as world:
        _stray(world)
        assert world.hints is not None
        world.hints.waiting = [ANYTHING]
        world.reconciler.heed()
        assert "order-conflict" in world.incidents()
    with DeskWorld(reconciler_class=reconciler_class) as world:
        _stray(world)
        world.venue.faults["fills_since"] = ["down"]
        world.tend(1)
        world.tend(1)
        assert "order-conflict" in world.incidents()


def check_16_timer(reconciler_class: type[Reconciler]) -> None:
    """And on a timer, where nobody tells anything."""
    with DeskWorld(reconciler_class=reconciler_class) as world:
        _stray(world)
        world.tend(RECONCILE_EVERY_SECONDS)
        assert "order-conflict" in world.incidents()


def check_16_nothing_is_booked_from_a_hint(reconciler_class: type[Reconciler]) -> None:
    """A stream that tells of an order changes nothing; what the venue answers does."""
    with DeskWorld(reconciler_class=reconciler_class, hints=ScriptedHints()) as world:
        name = world.order(SOL, BUY)
        before = world.desk.state
        assert world.hints is not None
        world.hints.waiting = [Hint(name)] * 3
        world.reconciler.heed()
        assert world.desk.state == before


def _stray(world: DeskWorld) -> None:
    """Put an order at the venue that carries our name, and that our journal does not have."""
    order = world.plan("ADA-USD", BUY, UNIT).order
    world.venue.take(replace(order, client_id="n0-paper-999-SOL-USD-buy", symbol=SOL))


CHECKS_16: list[Callable[[type[Reconciler]], None]] = [
    check_16_start,
    check_16_reconnect,
    check_16_timer,
    check_16_nothing_is_booked_from_a_hint,
]
WRONG_16: list[tuple[Any, type[Reconciler]]] = [
    *((check, NeverCompares) for check in CHECKS_16[:3]),
    *((check, ComparesAtTheStart) for check in CHECKS_16[1:3]),
    (check_16_nothing_is_booked_from_a_hint, BelievesHints),
]


@pytest.mark.requirement(16)
@pytest.mark.parametrize("check", CHECKS_16)
def test_requirement_16(check: Callable[[type[Reconciler]], None]) -> None:
    """The venue is asked at the start, on every reconnection and on a timer; a hint is not believed."""
    check(Reconciler)


@pytest.mark.requirement(16)
@pytest.mark.parametrize(("check", "wrong"), WRONG_16)
def test_requirement_16_fails_for_a_wrong_reconciler(
    check: Callable[[type[Reconciler]], None], wrong: type[Reconciler]
) -> None:
    """One that never compares, one that does so only at the start, one that believes a hint."""
    with pytest.raises(AssertionError):
        check(wrong)
