"""The life of an order: one state machine, driven by what the venue reports.

The cumulative filled quantity is the truth.  A report that repeats or goes back changes nothing,
so reports may come late, twice and out of order; a fill that crosses a cancellation still counts.
A report that cannot be of our order, or cannot be at all, raises ``OrderConflict``: the caller
freezes the symbol and raises an incident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from engine.codes import IntentState
from engine.errors import TradectlError
from engine.model import OrderReport, WorkingOrder
from engine.units import QUANTITY_SCALE, unscaled

CLOCK_TOLERANCE_MS: Final = 2000
"""How far the venue's clock may be behind ours."""

_P, _S, _A = IntentState.PLANNED, IntentState.SENT, IntentState.AMBIGUOUS
_PF, _F = IntentState.PARTLY_FILLED, IntentState.FILLED
_C, _E, _R = IntentState.CANCELLED, IntentState.EXPIRED, IntentState.REJECTED

VENUE_STATES: Final[Mapping[str, IntentState]] = {
    # Open: something may still be filled.  Whether something is, says the quantity.
    "accepted": _S,
    "accepted_for_bidding": _S,
    "pending_new": _S,
    "new": _S,
    "held": _S,
    "partially_filled": _PF,
    "stopped": _S,
    "suspended": _S,
    "calculated": _S,
    "done_for_day": _S,
    "pending_cancel": _S,
    "pending_replace": _S,
    # Final.
    "filled": _F,
    "canceled": _C,
    "replaced": _C,  # its own part is over; ``OrderReport.replaced_by`` names what stands in its place
    "expired": _E,
    "rejected": _R,
}
"""What the words of FIX's OrdStatus (tag 39), and two more of venues, mean to us (docs/orders.md)."""

NEXT_STATES: Final[Mapping[IntentState, frozenset[IntentState]]] = {
    # A restart may find anything that became of a planned or an ambiguous order.
    _P: frozenset({_S, _A, _PF, _F, _C, _E, _R}),
    _A: frozenset({_S, _PF, _F, _C, _E, _R}),
    _S: frozenset({_PF, _F, _C, _E, _R}),
    _PF: frozenset({_F, _C, _E}),
    # Fill and cancellation cross: the fill that completes an ended order is the truth.
    _C: frozenset({_F}),
    _E: frozenset({_F}),
    _F: frozenset(),
    _R: frozenset(),
}
"""The legal changes of state; staying in a state is always legal."""


def venue_state(word: str) -> IntentState:
    """Return what a venue's word for an order's state means; AMBIGUOUS for one that we do not know.

    Then the order's quantity alone is believed, and it stays open until a known word comes.
    """
    return VENUE_STATES.get(word.strip().lower(), IntentState.AMBIGUOUS)


class OrderConflict(TradectlError):
    """A report that contradicts our own record of the order: freeze the symbol."""

    def __init__(self, client_id: str, detail: str) -> None:
        """Name the order and the contradiction."""
        super().__init__(f"order {client_id}: {detail}")
        self.client_id = client_id
        self.detail = detail


class NotOurOrder(OrderConflict):
    """The venue knows another order by our client id."""


class ImpossibleReport(OrderConflict):
    """The order is ours, but what the venue says cannot follow from what it said before."""


def check_ours(symbol: str, working: WorkingOrder, report: OrderReport) -> None:
    """Raise NotOurOrder unless id, symbol, side and quantity match and the order is not older than ours."""
    mine = (working.client_id, symbol, working.side, working.quantity)
    theirs = (report.client_id, report.symbol, report.side, report.quantity)
    if mine != theirs:
        raise NotOurOrder(
            working.client_id,
            f"the venue has {report.side} {_quantity(report.quantity)} {report.symbol} as"
            f" {report.client_id!r}, we sent {working.side} {_quantity(working.quantity)} {symbol}",
        )
    if report.updated_ms < working.created_ms - CLOCK_TOLERANCE_MS:
        raise NotOurOrder(
            working.client_id,
            f"the venue's order is {working.created_ms - report.updated_ms} ms older than ours",
        )


def advance_order(symbol: str, working: WorkingOrder, report: OrderReport) -> WorkingOrder:
    """Return the order after a report of the venue; the same value where the report adds nothing.

    Raises NotOurOrder or ImpossibleReport.  A report whose state is AMBIGUOUS (a word of the venue that we do
    not know) tells only its quantity.  A report that says filled with less than the whole
    quantity is read by its quantity: still open.
    """
    check_ours(symbol, working, report)
    filled = report.filled_quantity
    if not 0 <= filled <= report.quantity:
        raise ImpossibleReport(
            working.client_id, f"{_quantity(filled)} filled of {_quantity(report.quantity)}"
        )
    if report.state is IntentState.PLANNED:
        raise ImpossibleReport(working.client_id, "the venue reports an order as not yet sent")
    if report.state is IntentState.REJECTED and filled:
        raise ImpossibleReport(working.client_id, f"rejected, but {_quantity(filled)} is filled")
    if working.state is IntentState.REJECTED and (filled or not report.state.final):
        raise ImpossibleReport(working.client_id, f"was rejected, now {report.state.word}")
    if filled < working.filled_quantity:
        return working
    return _moved(replace(working, filled_quantity=filled), _state_after(working, report))


def mark(working: WorkingOrder, state: IntentState) -> WorkingOrder:
    """Return the order after an event of our own: sent, ambiguous, rejected, or ended before it was sent.

    Raises ImpossibleReport where the life cycle does not allow it.
    """
    return _moved(working, state)


def _state_after(working: WorkingOrder, report: OrderReport) -> IntentState:
    if report.filled_quantity == report.quantity:
        return IntentState.FILLED
    if working.state.final:
        return working.state
    if report.state.final and report.state is not IntentState.FILLED:
        return report.state
    if report.filled_quantity:
        return IntentState.PARTLY_FILLED
    if report.state is IntentState.AMBIGUOUS:
        return working.state if working.state is not IntentState.PLANNED else IntentState.AMBIGUOUS
    return IntentState.SENT


def _moved(working: WorkingOrder, state: IntentState) -> WorkingOrder:
    if state is not working.state and state not in NEXT_STATES[working.state]:
        raise ImpossibleReport(working.client_id, f"was {working.state.word}, now {state.word}")
    return replace(working, state=state, cancelling=working.cancelling and not state.final)


def _quantity(quantity: int) -> str:
    return f"{unscaled(quantity, QUANTITY_SCALE):f}"
