"""Reconciliation: the venue's open orders, money and positions against ours; hints, and when all is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.codes import IntentState
from engine.errors import DataError
from engine.model import OrderReport
from engine.runtime.orders import APART_SECONDS, LOOKED_UP_SECONDS
from engine.runtime.ports import ANYTHING, Hint
from engine.runtime.reconcile import HINTS_UNHEARD, RECONCILE_EVERY_SECONDS, UNTOLD_SECONDS, compare
from engine.verbs.state import State
from tests.engine.runtime.desk_world import BUY, UNIT, DeskWorld, ScriptedHints

SOL, ADA = "SOL-USD", "ADA-USD"
S, C, E, F = IntentState.SENT, IntentState.CANCELLED, IntentState.EXPIRED, IntentState.FILLED


@pytest.fixture
def world() -> Iterator[DeskWorld]:
    """An account."""
    with DeskWorld() as made:
        yield made


@pytest.fixture
def hinted() -> Iterator[DeskWorld]:
    """An account of a venue that tells unasked."""
    with DeskWorld(hints=ScriptedHints()) as made:
        yield made


def hints_of(world: DeskWorld) -> ScriptedHints:
    """Return the hints that the test writes."""
    assert world.hints is not None
    return world.hints


def other(world: DeskWorld, client_id: str, symbol: str = SOL) -> None:
    """Put an order into the account that the agent did not send."""
    intent = world.plan("TEMPLATE", BUY, UNIT).order
    world.desk.state = replace(
        world.desk.state, memories={k: v for k, v in world.desk.state.memories.items() if k != "TEMPLATE"}
    )
    world.venue.take(replace(intent, client_id=client_id, symbol=symbol))


# --- the comparison ---------------------------------------------------------------------------------


def test_what_is_open_is_told_apart(world: DeskWorld) -> None:
    """Working, ended here, named by us and unknown, somebody else's; what ended meanwhile is left out."""
    name = world.order(SOL, BUY)
    ended = world.order(ADA, BUY)
    world.cancel(ADA)
    world.tend()
    open_one = world.venue.orders[name].now
    reports = [
        open_one,
        replace(open_one, client_id=ended, symbol=ADA),
        replace(open_one, client_id="n0-paper-99-SOL-USD-buy"),
        replace(open_one, client_id="somebody"),
        replace(open_one, client_id="over", state=C),
    ]
    found = compare(world.desk.state, reports, world.desk.intent, lambda one: one.startswith("n0-paper-"))
    assert dict(found.working) == {name: open_one}
    assert [(intent.order.client_id, report.symbol) for intent, report in found.strays] == [(ended, ADA)]
    assert [report.client_id for report in found.unrecorded] == ["n0-paper-99-SOL-USD-buy"]
    assert [report.client_id for report in found.foreign] == ["somebody"]


def test_nothing_open(world: DeskWorld) -> None:
    """Nothing is nothing."""
    found = compare(State(), [], lambda name: None, lambda name: True)
    assert (dict(found.working), found.strays, found.unrecorded, found.foreign) == ({}, (), (), ())


# --- when it is made --------------------------------------------------------------------------------


def test_at_the_start_after_trouble_and_on_a_timer(world: DeskWorld) -> None:
    """The open orders are asked for then, and not in between."""

    def asked() -> int:
        count = world.venue.asked.count("open_orders")
        world.venue.asked.clear()
        return count

    assert asked() == 1
    world.tend(30)
    assert asked() == 0
    world.venue.faults["fills_since"] = ["down"]
    assert world.tend(30).trouble
    assert not world.reconciler.is_reconciled(SOL)
    assert asked() == 0
    world.tend(30)
    assert asked() == 1
    assert world.reconciler.is_reconciled(SOL)
    world.tend(RECONCILE_EVERY_SECONDS - 1)
    assert asked() == 0
    world.tend(1)
    assert asked() == 1
    world.restart()
    assert asked() == 1


def test_a_working_order_that_is_listed_is_not_looked_up(world: DeskWorld) -> None:
    """One list instead of many questions; one that is not listed is asked for by its name."""
    listed = world.order(SOL, BUY)
    gone = world.order(ADA, BUY)
    world.venue.end(gone, E)
    world.venue.asked.clear()
    world.tend(RECONCILE_EVERY_SECONDS)
    assert world.venue.asked.count("find") == 1
    assert world.working(SOL).client_id == listed
    assert (world.working(ADA), world.states(gone)[-1]) == (None, E)


def test_a_list_out_of_reach_at_the_start_keeps_all_symbols_back(world: DeskWorld) -> None:
    """Nothing is traded, nothing is sent again, until the list was seen."""
    world.plan(SOL, BUY, UNIT)
    world.venue.faults["open_orders"] = ["down", "down"]
    assert world.restart().trouble
    assert world.tend().trouble
    assert not world.may_order(ADA)
    assert world.venue.sent == []
    world.tend()
    assert world.may_order(ADA)
    assert len(world.venue.sent) == 1


def test_one_order_that_cannot_be_looked_up_keeps_its_symbol_back(world: DeskWorld) -> None:
    """The others go on: only what was not compared is not traded."""
    world.order(SOL, BUY)
    world.order(ADA, BUY)
    world.venue.faults["find"] = ["", "down"]
    heard = world.tend()
    assert heard.trouble == ""
    assert list(heard.unheard) == [ADA]
    assert (world.reconciler.is_reconciled(SOL), world.reconciler.is_reconciled(ADA)) == (True, False)
    world.tend()
    assert world.reconciler.is_reconciled(ADA)


def test_an_odd_row_keeps_its_symbol_back(world: DeskWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that the adapter cannot read is one symbol's trouble, also where it is the only one."""
    world.order(SOL, BUY)

    def odd(client_id: str) -> OrderReport:
        raise DataError("no quantity")

    monkeypatch.setattr(world.venue, "find", odd)
    heard = world.tend()
    assert (heard.trouble, heard.unheard) == ("", {SOL: "no quantity"})
    assert not world.reconciler.is_reconciled(SOL)
    assert world.may_order(ADA)


def test_two_in_a_row_are_a_venue_out_of_reach(world: DeskWorld) -> None:
    """A venue that hangs costs two waits, not one for each order."""
    for number in range(5):
        world.order(f"S{number}", BUY)
    world.venue.faults["find"] = ["down"] * 5
    world.venue.asked.clear()
    assert world.tend().trouble
    assert world.venue.asked == ["find", "find"]


# --- what differs -----------------------------------------------------------------------------------


def test_one_that_was_given_up_is_taken_up_again(world: DeskWorld) -> None:
    """It arrived after we had given it up: its symbol is blocked, it is cancelled, and its fill counts."""
    world.venue.faults["submit"] = ["late"]
    name = world.order(SOL, BUY, 10, good_for_seconds=20)
    for _ in range(4):
        world.tend(30)
    assert (world.states(name)[-1], world.working(SOL)) == (E, None)
    world.venue.arrive(name)
    world.venue.fill(name, 4 * UNIT)
    world.venue.faults["cancel"] = ["pending"] * 3
    world.tend(RECONCILE_EVERY_SECONDS)
    assert world.working(SOL).client_id == name
    assert world.working(SOL).cancelling
    assert world.held(SOL) == 4 * UNIT
    before = world.desk.state
    world.restart()
    assert world.working(SOL) == before.memory(SOL).working
    assert world.desk.state.memory(SOL).last_buy_ms == before.memory(SOL).last_buy_ms > 0
    world.tend()
    world.tend()
    world.tend()
    assert (world.states(name)[-1], world.working(SOL)) == (C, None)
    assert world.incidents() == []


def test_one_that_ended_and_is_open_is_cancelled_and_frozen(world: DeskWorld) -> None:
    """The venue said cancelled, and fills it later: a late list is waited out, then a person decides."""
    name = world.order(SOL, BUY)
    world.cancel(SOL)
    world.tend()
    assert world.states(name)[-1] is C
    order = world.venue.orders[name]
    order.told.append(replace(order.told[0]))
    world.venue.cancelled.clear()
    world.tend(RECONCILE_EVERY_SECONDS)
    assert not world.may_order(SOL)
    assert world.incidents() == []
    world.tend(1)
    assert not world.may_order(SOL), "also while it is not asked again"
    world.tend(APART_SECONDS)
    assert world.incidents() == ["order-conflict"]
    assert world.desk.state.memory(SOL).frozen
    assert world.venue.cancelled == [name]
    assert world.may_order(ADA)


def test_a_late_list_is_no_conflict(world: DeskWorld) -> None:
    """What is listed, and has ended when it is asked for, has ended."""
    name = world.order(SOL, BUY)
    world.cancel(SOL)
    world.tend()
    world.venue.faults["open_orders"] = ["stale"]
    world.tend(RECONCILE_EVERY_SECONDS)
    assert world.states(name)[-1] is C
    assert world.may_order(SOL)
    assert world.incidents() == []


def test_an_order_of_our_name_that_the_journal_does_not_have(world: DeskWorld) -> None:
    """After a restored backup: the symbol is frozen, over a restart too, and the others go on."""
    other(world, "n0-paper-77-SOL-USD-buy")
    world.tend(RECONCILE_EVERY_SECONDS)
    world.tend(RECONCILE_EVERY_SECONDS)
    assert world.incidents() == ["order-conflict"]
    assert not world.may_order(SOL)
    assert world.may_order(ADA)
    world.restart()
    assert not world.may_order(SOL)


def test_a_name_of_an_earlier_nonce_is_ours(world: DeskWorld) -> None:
    """A restored journal has a new nonce; what it sent under the old one is known by its intents."""
    world.order(ADA, BUY)
    other(world, "n0-paper-77-SOL-USD-buy")
    world.journal.renew_nonce(world.now_ms, "restored", lambda: "n1")
    world.restart()
    assert world.incidents() == ["order-conflict"]


@pytest.mark.parametrize("name", ["else", "n9-paper-1-SOL-USD-buy", "n0-other-1-SOL-USD-buy", ""])
def test_somebody_elses_order_is_told_once_and_left_alone(name: str, world: DeskWorld) -> None:
    """Another agent or a person: no symbol is held up by it, and it is never cancelled."""
    other(world, name)
    for _ in range(3):
        world.tend(RECONCILE_EVERY_SECONDS)
    assert world.incidents() == ["foreign-order"]
    assert world.may_order(SOL)
    assert world.venue.cancelled == []


def test_an_order_that_somebody_replaced(world: DeskWorld) -> None:
    """Its own part is over; what stands in its place is not ours: the symbol is frozen."""
    name = world.order(SOL, BUY)
    world.venue.fill(name, 3 * UNIT)
    order = world.venue.orders[name]
    order.told.append(replace(order.now, state=C, replaced_by="v99"))
    world.tend()
    assert world.states(name)[-1] is C
    assert world.held(SOL) == 3 * UNIT
    assert world.incidents() == ["order-conflict"]
    assert not world.may_order(SOL)


def test_an_order_that_the_venue_took_and_forgot(world: DeskWorld) -> None:
    """It stays blocked, a person is told, and nothing is sent again."""
    name = world.order(SOL, BUY)
    lost = world.venue.orders.pop(name)
    for _ in range(4):
        world.tend()
    assert world.incidents() == ["order-missing"]
    assert world.working(SOL).client_id == name
    assert len(world.venue.sent) == 1
    world.venue.orders[name] = lost
    world.tend()
    world.venue.end(name, C)
    world.tend()
    assert world.working(SOL) is None


def test_less_cash_than_in_the_books_is_told_while_it_lasts(world: DeskWorld) -> None:
    """Somebody drew money; a rounded fee is nothing."""
    world.venue.missing_cash = 900_000
    world.reconciler.account(world.tend(RECONCILE_EVERY_SECONDS))
    assert world.incidents() == []
    world.venue.missing_cash = 2_000_000_000
    for _ in range(2):
        world.reconciler.account(world.tend(RECONCILE_EVERY_SECONDS))
    assert world.incidents() == ["cash-differs"]
    world.venue.missing_cash = 0
    world.reconciler.account(world.tend(RECONCILE_EVERY_SECONDS))
    world.venue.missing_cash = 2_000_000_000
    world.reconciler.account(world.tend(RECONCILE_EVERY_SECONDS))
    assert world.incidents() == ["cash-differs"] * 2


# --- hints ------------------------------------------------------------------------------------------


def test_a_hint_asks_for_its_order_and_for_no_other(hinted: DeskWorld) -> None:
    """What the hint says is not believed: the order is asked for, and the fills."""
    name = hinted.order(SOL, BUY)
    hinted.order(ADA, BUY)
    hinted.venue.fill(name, 10 * UNIT)
    hinted.venue.asked.clear()
    hints_of(hinted).waiting = [Hint(name), Hint(name), Hint("somebody")]
    heard = hinted.reconciler.heed()
    assert hinted.venue.asked == ["find", "fills_since", "fills_since"]
    assert [fill.client_id for fill in heard.fills] == [name]
    assert (hinted.held(SOL), hinted.states(name)[-1]) == (10 * UNIT, F)


def test_a_hint_without_a_change_changes_nothing(hinted: DeskWorld) -> None:
    """A stream that lies books nothing."""
    name = hinted.order(SOL, BUY)
    before = hinted.desk.state
    hints_of(hinted).waiting = [Hint(name)]
    assert hinted.reconciler.heed().events == []
    assert hinted.desk.state == before


def test_a_hint_that_could_not_be_followed_is_kept(hinted: DeskWorld) -> None:
    """The venue was down when it came: it is followed in the next round."""
    name = hinted.order(SOL, BUY)
    hinted.order(ADA, BUY)
    hinted.venue.fill(name, 10 * UNIT)
    hints_of(hinted).waiting = [Hint(name)]
    hinted.venue.faults["find"] = ["down"]
    assert hinted.reconciler.heed().trouble
    assert hinted.held(SOL) == 0
    assert hinted.reconciler.heed().trouble == ""
    assert hinted.states(name)[-1] is F


def test_a_stream_that_was_away_asks_for_everything(hinted: DeskWorld) -> None:
    """What happened in the gap was not told."""
    name = hinted.order(SOL, BUY)
    hinted.venue.end(name, E)
    hinted.venue.asked.clear()
    hints_of(hinted).waiting = [ANYTHING]
    hinted.reconciler.heed()
    assert hinted.venue.asked[0] == "open_orders"
    assert hinted.working(SOL) is None
    hinted.venue.asked.clear()
    hinted.reconciler.heed()
    assert "open_orders" not in hinted.venue.asked


def test_a_cancellation_goes_on_while_hints_come(hinted: DeskWorld) -> None:
    """A round for hints also ends what is over: its time may have come just then."""
    name = hinted.order(SOL, BUY, good_for_seconds=5)
    hinted.now_ms += 6_000
    hinted.reconciler.heed()
    assert hinted.states(name)[-1] is C


def test_a_stream_in_trouble_is_told_once_while_it_lasts(hinted: DeskWorld) -> None:
    """And again when it is in trouble again."""
    for wrong in ("the key is unauthorized", "the key is unauthorized", "", "silent"):
        hints_of(hinted).wrong = wrong
        hinted.tend()
    assert hinted.incidents() == [HINTS_UNHEARD] * 2


def test_a_stream_that_stands_and_says_nothing_is_told(hinted: DeskWorld) -> None:
    """The venue did something and no hint came, nor later: the stream is mute.  A hint ends that."""
    name = hinted.order(SOL, BUY)
    hinted.venue.fill(name, UNIT)
    hinted.tend()
    assert hinted.incidents() == []
    hinted.tend(UNTOLD_SECONDS)
    assert hinted.incidents() == [HINTS_UNHEARD]
    hints_of(hinted).waiting = [Hint(name)]
    hinted.tend()
    hinted.venue.fill(name, UNIT)
    hints_of(hinted).waiting = [Hint(name)]
    hinted.tend()
    hinted.tend(UNTOLD_SECONDS)
    assert hinted.incidents() == [HINTS_UNHEARD]


def test_positions_that_fills_do_not_bear_out(world: DeskWorld) -> None:
    """Told while it lasts, for each symbol."""
    name = world.order(SOL, BUY)
    world.venue.fill(name, 10 * UNIT)
    heard = world.tend()
    world.reconciler.compare_positions(heard)
    assert world.incidents() == []
    state = world.desk.state
    world.desk.state = state.with_memory(SOL, replace(state.memory(SOL), changed_quantity=True))
    world.reconciler.compare_positions(heard)
    world.reconciler.compare_positions(heard)
    assert world.incidents() == ["position-differs"]


# --- what was not found -----------------------------------------------------------------------------


def test_an_order_whose_time_is_over_is_not_given_up_by_one_look(world: DeskWorld) -> None:
    """Planned, then dead for an hour: two looks apart, then it has expired; never is it sent."""
    name = world.plan(SOL, BUY, UNIT, good_for_seconds=20).order.client_id
    world.now_ms += 3_600_000
    world.restart()
    world.tend(1)
    assert world.working(SOL).client_id == name
    world.tend(APART_SECONDS)
    assert (world.working(SOL), world.states(name)) == (None, [IntentState.PLANNED, E])
    assert world.venue.sent == []


def test_what_is_sent_again_needs_new_looks(world: DeskWorld) -> None:
    """A venue that keeps losing the answer is not sent the order in every round."""
    world.venue.faults["submit"] = ["lost_before"] * 3
    world.order(SOL, BUY)
    for _ in range(3 + LOOKED_UP_SECONDS // 10):
        world.tend(10)
    assert len(world.venue.sent) <= 3
    assert {order.client_id for order in world.venue.sent} == {world.working(SOL).client_id}
