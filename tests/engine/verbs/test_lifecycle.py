"""The life of an order: late, repeated, crossing and contradicting reports."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import IntentState
from engine.model import OrderReport, OrderSide, WorkingOrder
from engine.verbs.lifecycle import (
    NEXT_STATES,
    VENUE_STATES,
    ImpossibleReport,
    NotOurOrder,
    OrderConflict,
    advance_order,
    mark,
    venue_state,
)

WHOLE = 10
PLANNED = WorkingOrder(
    client_id="id",
    side=OrderSide.SELL,
    quantity=WHOLE,
    filled_quantity=0,
    limit_price=100,
    state=IntentState.PLANNED,
    cancelling=False,
    expires_ms=None,
    rule="stop-loss",
    created_ms=10_000,
)


def report(state: IntentState, filled: int = 0, **changes: object) -> OrderReport:
    """Return a report of our order."""
    made = OrderReport("id", "v1", "SPY", OrderSide.SELL, WHOLE, 100, state, filled, 10_500)
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def after(*reports: OrderReport, start: WorkingOrder = PLANNED) -> WorkingOrder:
    """Return the order after reports in their order."""
    for one in reports:
        start = advance_order("SPY", start, one)
    return start


S, A, PF, F = IntentState.SENT, IntentState.AMBIGUOUS, IntentState.PARTLY_FILLED, IntentState.FILLED
C, E, R = IntentState.CANCELLED, IntentState.EXPIRED, IntentState.REJECTED


@pytest.mark.parametrize(
    ("reports", "state", "filled"),
    [
        ([(S, 0)], S, 0),
        ([(S, 0), (S, 0)], S, 0),
        ([(S, 0), (PF, 4), (PF, 4), (F, 10)], F, 10),
        ([(PF, 4), (S, 0)], PF, 4),  # late
        ([(F, 10), (PF, 4), (S, 0), (C, 4)], F, 10),  # late, after the end
        ([(S, 0), (C, 0), (PF, 4)], C, 4),  # fill and cancellation cross
        ([(PF, 4), (C, 4), (C, 4), (F, 10)], F, 10),
        ([(C, 4), (C, 3)], C, 4),  # goes back: ignored
        ([(PF, 4), (R, 0)], PF, 4),
        ([(E, 0)], E, 0),
        ([(R, 0), (R, 0)], R, 0),
        ([(A, 0)], A, 0),  # a word of the venue that we do not know
        ([(S, 0), (A, 0)], S, 0),
        ([(A, 4)], PF, 4),
        ([(F, 4)], PF, 4),  # the quantity is the truth
        ([(F, 0)], S, 0),
        ([(PF, 10)], F, 10),
        ([(C, 10)], F, 10),
        ([(S, 4)], PF, 4),
    ],
)
def test_reports(reports: list[tuple[IntentState, int]], state: IntentState, filled: int) -> None:
    """The cumulative quantity decides; what is late or repeated changes nothing."""
    got = after(*(report(one, quantity) for one, quantity in reports))
    assert (got.state, got.filled_quantity) == (state, filled)
    assert got.remaining == WHOLE - filled


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "other"},
        {"symbol": "QQQ"},
        {"side": OrderSide.BUY},
        {"quantity": WHOLE + 1},
        {"updated_ms": 7_999},
    ],
)
def test_an_order_that_is_not_ours(changes: dict[str, object]) -> None:
    """Another id, symbol, side or quantity, or an order older than ours, is not ours."""
    with pytest.raises(NotOurOrder):
        after(replace(report(S), **changes))  # type: ignore[arg-type]  # fields by name


def test_the_venue_clock_may_be_behind_a_little() -> None:
    """Two seconds of clock difference do not make an order older than ours."""
    assert after(report(S, updated_ms=8_000)).state is S


@pytest.mark.parametrize(
    "reports",
    [
        [(S, WHOLE + 1)],
        [(S, -1)],
        [(IntentState.PLANNED, 0)],
        [(R, 3)],
        [(R, 0), (S, 0)],
        [(R, 0), (F, 10)],
    ],
)
def test_impossible_reports(reports: list[tuple[IntentState, int]]) -> None:
    """What no venue can mean is a conflict, not a guess."""
    with pytest.raises(ImpossibleReport):
        after(*(report(one, quantity) for one, quantity in reports))


OPEN_WORDS = [
    "accepted",
    "pending_new",
    "new",
    "partially_filled",
    "done_for_day",
    "pending_cancel",
    "pending_replace",
    "accepted_for_bidding",
    "stopped",
    "suspended",
    "calculated",
    "held",
]
FINAL_WORDS = ["filled", "canceled", "expired", "replaced", "rejected"]


def test_every_word_of_a_venue_has_one_meaning() -> None:
    """All 17, open and final apart; a word that nobody knows is no end, and no error."""
    assert sorted(VENUE_STATES) == sorted(OPEN_WORDS + FINAL_WORDS)
    assert len(VENUE_STATES) == 17
    assert not any(venue_state(word).final for word in OPEN_WORDS)
    assert all(venue_state(word).final for word in FINAL_WORDS)
    assert venue_state(" Filled ") is F
    for odd in ("", "pending_review", "none", "\u00e9"):
        assert venue_state(odd) is A


def test_the_page_has_the_same_tables() -> None:
    """docs/orders.md states each word's meaning as it is."""
    page = (Path(__file__).parents[3] / "docs" / "orders.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (yes|no) \|$", page, re.MULTILINE)
    assert {word: (state, final) for word, state, final in rows} == {
        word: (state.word, "yes" if state.final else "no") for word, state in VENUE_STATES.items()
    }


@pytest.mark.parametrize("word", [*OPEN_WORDS, "never heard of"])
@pytest.mark.parametrize("filled", [0, 4])
def test_an_open_word_leaves_the_order_open_with_its_quantity(word: str, filled: int) -> None:
    """Whatever the word: the quantity says whether something is filled, and nothing ends."""
    got = after(report(S), report(venue_state(word), filled))
    assert (got.state, got.filled_quantity) == (PF if filled else S, filled)
    assert after(report(venue_state(word), WHOLE)).state is F


def test_cancelling_ends_with_the_order() -> None:
    """A cancellation under way stays so while the order is open, and ends with it."""
    asked = replace(PLANNED, state=S, cancelling=True)
    assert after(report(PF, 3), start=asked).cancelling
    assert not after(report(C, 3), start=asked).cancelling


def test_mark_allows_exactly_the_legal_changes() -> None:
    """Our own events follow the same table."""
    for state in IntentState:
        for target in IntentState:
            order = replace(PLANNED, state=state)
            if target is state or target in NEXT_STATES[state]:
                assert mark(order, target).state is target
            else:
                with pytest.raises(ImpossibleReport, match=f"was {state.word}, now {target.word}"):
                    mark(order, target)


def test_the_table_is_complete_and_has_no_way_back() -> None:
    """Every state has a row, and no state can be reached from a state it leads to."""
    assert set(NEXT_STATES) == set(IntentState)

    def reachable(state: IntentState) -> set[IntentState]:
        return set(NEXT_STATES[state]).union(*(reachable(target) for target in NEXT_STATES[state]))

    for state in IntentState:
        assert state not in reachable(state)


@st.composite
def histories(draw: st.DrawFn) -> list[OrderReport]:
    """What a venue truthfully says of one order from acceptance to its end."""
    levels = sorted(draw(st.lists(st.integers(1, WHOLE), max_size=4, unique=True)))
    told = [report(S), *(report(F if level == WHOLE else PF, level) for level in levels)]
    if not levels or levels[-1] < WHOLE:
        end = draw(st.sampled_from([C, E, S]))
        if end is not S:
            told.append(report(end, levels[-1] if levels else 0))
    return told


@given(history=histories(), data=st.data())
def test_any_delivery_of_a_true_history_ends_alike(history: list[OrderReport], data: st.DataObject) -> None:
    """Shuffled, repeated and mixed with lost answers, a history leads to the same end; fills only grow."""
    repeats = data.draw(st.lists(st.sampled_from(history), max_size=5))
    delivered = data.draw(st.permutations(history + repeats))
    start = data.draw(st.sampled_from([PLANNED, replace(PLANNED, state=A), replace(PLANNED, state=S)]))
    order = start
    for one in delivered:
        before, order = order, advance_order("SPY", order, one)
        assert order.filled_quantity >= before.filled_quantity
        assert order.state is before.state or order.state in NEXT_STATES[before.state]
        assert advance_order("SPY", order, one) == order
    assert order == after(*history, start=start)


@given(
    reports=st.lists(st.builds(report, st.sampled_from(IntentState), st.integers(-1, WHOLE + 1)), max_size=8)
)
def test_any_report_is_applied_or_a_conflict(reports: list[OrderReport]) -> None:
    """No sequence of reports, however false, breaks the order's own bounds or raises anything else."""
    order = PLANNED
    for one in reports:
        try:
            order = advance_order("SPY", order, one)
        except OrderConflict as conflict:
            assert str(conflict).startswith("order id: ")
        assert 0 <= order.filled_quantity <= WHOLE
        assert (order.state is F) == (order.filled_quantity == WHOLE)
