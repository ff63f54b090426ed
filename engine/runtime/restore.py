"""Restore: from a journal to the state an agent goes on with.

The state kept with the last cycle, and what was appended since, played through ``advance``: the agent
uses it at its start, ``status`` to say how things stand while the agent runs or after it was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from engine.codes import IntentState
from engine.model import Fill
from engine.runtime.journal_port import AccountEvent, Event, Incident, IntentEvent, JournalReader
from engine.verbs.state import (
    AgentSet,
    CashMoved,
    Filled,
    Frozen,
    IntentPlanned,
    OrderMoved,
    PositionKnown,
    Rebased,
    State,
    StateEvent,
    TakenUp,
    advance,
    unpack_state,
)
from engine.vocabulary import AGENT_STATE

LeastHeld = Callable[[State, Fill], int]
"""Says the least quantity (scaled) of a fill's symbol that counts as held."""


def any_quantity(state: State, fill: Fill) -> int:
    """Count any quantity as held: for those who know no instrument."""
    return 1


def restored(journal: JournalReader, least_held: LeastHeld = any_quantity) -> State:
    """Return the state after everything the journal holds.

    Raises what the journal raises; TradectlError for a state of another release.
    """
    state = State()
    sequence = 0
    kept = journal.state()
    if kept is not None:
        cycle, snapshot = kept
        state = unpack_state(snapshot.version, snapshot.packed)
        head = journal.cycle_head(cycle)
        sequence = head.sequence if head is not None else 0
    for _, event in journal.events_after(sequence):
        state = after(state, event, journal, least_held)
    last = journal.last_cycle()
    if last is not None and last.cycle > state.cycle:
        # the cycles of a full disk are kept without their state
        state = replace(state, cycle=last.cycle, cycle_ms=last.at_ms)
    return state


def after(state: State, event: Event, journal: JournalReader, least_held: LeastHeld) -> State:
    """Return the state after a journalled event: the same live and after a restart."""
    for change in _changes(state, event, journal, least_held):
        state = advance(state, change)
    return state


def _changes(
    state: State, event: Event, journal: JournalReader, least_held: LeastHeld
) -> Iterable[StateEvent]:
    match event:
        case IntentEvent():
            intent = journal.intent(event.client_id)
            if intent is None:
                return
            if event.state is IntentState.PLANNED:
                if intent.cycle > state.cycle:
                    yield IntentPlanned(intent.order, intent.rule, None, False)
            else:
                if not event.state.final and state.memory(intent.order.symbol).working is None:
                    yield TakenUp(intent.order, intent.rule, event.filled_quantity)
                yield moved(intent.order.symbol, event)
        case Fill():
            yield Filled(event, least_held(state, event))
        case AccountEvent(kind="deposit", amount=amount) if amount:
            yield CashMoved(amount)
        case AccountEvent(kind="withdrawal", amount=amount) if amount:
            yield CashMoved(-amount)
        case AccountEvent(kind="rebase"):
            yield Rebased()
        case Incident(kind="order-conflict", symbol=symbol):
            yield Frozen(symbol, True)
        case AccountEvent(kind="unfreeze", detail=symbol):
            yield Frozen(symbol, False)
        case AccountEvent(kind="position-known", amount=foreign, detail=symbol):
            yield PositionKnown(symbol, foreign or 0)
        case AccountEvent(kind="agent-state", detail=word) if word in AGENT_STATE.words:
            yield AgentSet(word)


def moved(symbol: str, event: IntentEvent) -> OrderMoved:
    """Return what an event says of an order.

    One that ended unfilled and without the venue's name for it never got there.
    """
    ended_early = event.state in (IntentState.CANCELLED, IntentState.EXPIRED)
    reached = not ended_early or bool(event.venue_id) or event.filled_quantity > 0
    return OrderMoved(event.client_id, symbol, event.state, event.at_ms, event.filled_quantity, reached)
