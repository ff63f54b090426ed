"""The order desk: sends intents, hears what became of them, and makes it durable before anything acts on it.

The rules: an intent is durable before it is sent; it is sent under one name, once, unless a look-up
proves that the venue does not have it; what the venue says is kept together with the fills that came with
it, and an order has not ended before the ledger holds all it filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from engine.codes import IntentState
from engine.errors import DataError, JournalError, NotFoundError, UnavailableError
from engine.model import Fill, OrderReport, OrderSide, WorkingOrder
from engine.runtime.journal_port import Event, Incident, Intent, IntentEvent, JournalPort
from engine.runtime.ports import AmbiguousOutcome, Broker, OrderRejected, VenueAccount
from engine.runtime.restore import LeastHeld, after, moved
from engine.verbs.lifecycle import OrderConflict, advance_order
from engine.verbs.state import CancelAsked, IntentPlanned, State, StateEvent, advance

LOOKED_UP_SECONDS: Final = 60
"""So long an order whose answer was lost is looked up before "the venue does not know it" is believed."""

APART_SECONDS: Final = 30
"""So far apart are the looks that did not find an order, before it is given up."""

UNHEARD: Final = "broker-unavailable"
"""The incident of a venue that cannot be heard."""

_ROUNDS: Final = 3
_AT_HAND: Final = 256
_UNSETTLED: Final = (IntentState.PLANNED, IntentState.AMBIGUOUS)
FAULTS: Final = (UnavailableError, DataError, JournalError, NotFoundError)


@dataclass(slots=True)
class Heard:
    """What the broker said in one round: in the journal already.

    ``trouble`` says why it could not be heard to the end; nothing is lost by that, the next round asks again.
    """

    events: list[IntentEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    trouble: str = ""
    unheard: dict[str, str] = field(default_factory=dict)  # by symbol: why its order could not be looked up


class OrderDesk:
    """One account's orders.  ``state`` is the agent's: every change of it goes through ``advance``."""

    def __init__(
        self,
        broker: Broker,
        journal: JournalPort,
        now_ms: Callable[[], int],
        running_ms: Callable[[], int],
        least_held: LeastHeld,
    ) -> None:
        """``now_ms`` is cycle time, which may stand still, ``running_ms`` does not.

        ``least_held`` says from which quantity on a position is held.
        """
        self.state = State()
        self._broker = broker
        self._journal = journal
        self._now_ms = now_ms
        self._running_ms = running_ms
        self._least_held = least_held
        self._cursor: str | None = None
        self._told: set[tuple[str, str]] = set()
        self._intents: dict[str, Intent] = {}
        self._absent: dict[
            str, tuple[int, int]
        ] = {}  # looks that did not find an order, and the first's time

    def advance(self, event: StateEvent) -> None:
        """Change the state."""
        self.state = advance(self.state, event)

    def tell(self, heard: Heard, kind: str, detail: str, symbol: str = "", client_id: str = "") -> None:
        """Journal an incident, once while it lasts (see ``settled``)."""
        key = kind, client_id or symbol
        if key in self._told:
            return
        self._told.add(key)
        incident = Incident(kind, self._now_ms(), detail, symbol, client_id)
        heard.incidents.append(incident)
        try:
            self._journal.append_incident(incident)
        except UnavailableError:
            self._told.discard(key)  # no disk to write it to: whoever watches is told again
        else:
            self.state = after(self.state, incident, self._journal, self._least_held)

    def settled(self, kind: str, about: str = "") -> None:
        """Note that what an incident told of is over: the next one is told again."""
        self._told.discard((kind, about))

    # --- in rounds ----------------------------------------------------------------------------

    def resume(self) -> None:
        """After a restart: every intent whose fate is open is the working order of its symbol."""
        for intent, event in self._journal.pending_intents():
            if self.state.memory(intent.order.symbol).working is None:
                # its cycle was kept without its state, on a full disk
                self.advance(IntentPlanned(intent.order, intent.rule, None, False))
                self.advance(moved(intent.order.symbol, event))

    def round(
        self, heard: Heard, reports: Mapping[str, OrderReport], only: Collection[str] | None = None
    ) -> None:
        """Cancel what is over, and take in what became of open orders and every fill.

        ``reports`` (by client id) were told already and are not asked for; with ``only``, other orders
        than these are asked for when they are to be cancelled, else not.  An order that cannot be looked
        up is in ``heard.unheard``.  Raises one of FAULTS where the venue cannot be heard.
        """
        now_ms = self._running_ms()
        silent: UnavailableError | None = None
        answered = False
        for symbol, memory in list(self.state.memories.items()):
            working = memory.working
            if working is None or memory.frozen:
                continue  # of a frozen one the venue was heard: a person decides
            client_id = working.client_id
            over = working.expires_ms is not None and working.expires_ms <= now_ms
            ending = (over or working.cancelling) and working.state is not IntentState.PLANNED
            if ending:
                self.cancel(symbol, client_id)
            elif only is not None and client_id not in only:
                continue
            try:
                report = None if ending else reports.get(client_id)
                report = report or self._broker.find(client_id)
            except UnavailableError as fault:
                if silent is not None:
                    raise  # two in a row: it is not the order
                silent, heard.unheard[symbol] = fault, str(fault)
                continue
            except DataError as odd:
                heard.unheard[symbol] = str(odd)
                continue
            silent, answered = None, True
            if report is None:
                self._not_found(symbol, working, over, now_ms, heard)
            else:
                self._absent.pop(client_id, None)
                self.settled("order-missing", client_id)
                self._take_report(symbol, report, heard)
        if silent is not None and not answered:
            raise silent
        self._take((), heard)

    def account(self, heard: Heard) -> VenueAccount | None:
        """Return the venue's account with every fill behind it taken in; None where it cannot be heard."""
        try:
            for _ in range(_ROUNDS):
                venue = self._broker.account()
                if not self._take((), heard):
                    break  # nothing was filled between the two questions
        except FAULTS as fault:
            self.in_trouble(heard, fault)
            return None
        self.settled(UNHEARD)
        return venue

    def in_trouble(self, heard: Heard, fault: Exception) -> None:
        """Note that the venue was not heard to the end."""
        heard.trouble = str(fault)
        self.tell(heard, UNHEARD, heard.trouble)

    def _not_found(self, symbol: str, working: WorkingOrder, over: bool, now_ms: int, heard: Heard) -> None:
        """The venue says that it does not know an order: send it again, give it up, or wait.

        One such answer proves nothing.  An order whose answer was lost is believed absent after a while
        and two looks; it is given up only where these are apart.  What is sent again has the same name,
        which the venue takes once: should the first one arrive after all, the second is refused.
        """
        client_id = working.client_id
        looks, first_ms = self._absent.get(client_id, (0, now_ms))
        looks += 1
        self._absent[client_id] = looks, first_ms
        waited_ms = now_ms - working.created_ms
        long = waited_ms >= LOOKED_UP_SECONDS * 1000 and looks > 1
        if working.state not in _UNSETTLED:
            if long and now_ms - first_ms >= LOOKED_UP_SECONDS * 1000:
                detail = "the venue took it, and does not know it any more"
                self.tell(heard, "order-missing", detail, symbol, client_id)
        elif over:
            if long and now_ms - first_ms >= APART_SECONDS * 1000:
                reason = "its time to live ended before it reached the venue"
                event = IntentEvent(client_id, IntentState.EXPIRED, self._now_ms(), 0, "", reason)
                self._take((event,), heard)
                del self._absent[client_id]
        elif working.state is IntentState.PLANNED or long:
            intent = self.intent(client_id)
            if intent is not None:
                self._absent.pop(client_id)
                self._send(intent, heard)

    def take_up(self, intent: Intent, report: OrderReport, heard: Heard) -> None:
        """Make an order that was given up the working order of its symbol again, and end it.

        Raises one of FAULTS.
        """
        self._take((), heard)
        name = report.client_id
        booked = _quantity(self._journal.fills(client_id=name), intent.order.side)
        state = IntentState.PARTLY_FILLED if booked else IntentState.SENT
        reason = "given up, and alive at the venue"
        event = IntentEvent(name, state, self._now_ms(), booked, report.venue_id, reason)
        self._take((event,), heard)

    # --- orders -------------------------------------------------------------------------------

    def send(self, intents: Sequence[Intent], heard: Heard) -> None:
        """Send intents that are durable.  What fails with one does not keep the others back."""
        for intent in intents:
            self._keep_at_hand(intent)
            try:
                self._send(intent, heard)
            except FAULTS as fault:
                # it is found by its name in the next round, or sent then
                self.in_trouble(heard, fault)

    def _send(self, intent: Intent, heard: Heard) -> None:
        order = intent.order
        at_ms = self._now_ms()
        try:
            report = self._broker.submit(order)
        except OrderRejected as rejected:
            state = IntentState.REJECTED
            if "unique" in rejected.reason:
                # the venue has this name already: an earlier send arrived, and that order is the result
                found = self._broker.find(order.client_id)
                if found is not None:
                    self._take_report(order.symbol, found, heard)
                    return
                state = IntentState.AMBIGUOUS
            event = IntentEvent(order.client_id, state, at_ms, 0, "", rejected.reason)
        except AmbiguousOutcome as lost:
            event = IntentEvent(order.client_id, IntentState.AMBIGUOUS, at_ms, 0, "", str(lost))
        else:
            self._take_report(order.symbol, report, heard)
            return
        self._take((event,), heard)

    def cancel(self, symbol: str, client_id: str) -> None:
        """Ask for cancellation; it is asked again in every round until the order has ended."""
        self.advance(CancelAsked(symbol))
        self.ask_to_cancel(client_id)

    def ask_to_cancel(self, client_id: str) -> None:
        """Ask the venue; whether it has done so is seen when the order is looked up."""
        try:
            self._broker.cancel(client_id)
        except (AmbiguousOutcome, OrderRejected, NotFoundError, UnavailableError):
            return

    # --- what the venue says ------------------------------------------------------------------

    def _take_report(self, symbol: str, report: OrderReport, heard: Heard) -> None:
        working = self.state.memory(symbol).working
        if working is None or working.client_id != report.client_id:
            return
        try:
            known = advance_order(symbol, working, report)
        except OrderConflict as conflict:
            self.tell(heard, "order-conflict", conflict.detail, symbol, conflict.client_id)
            return
        if report.replaced_by:
            detail = f"somebody replaced it at the venue by {report.replaced_by}, which is not ours"
            self.tell(heard, "order-conflict", detail, symbol, report.client_id)
        if (known.state, known.filled_quantity) == (working.state, working.filled_quantity):
            return
        event = IntentEvent(
            report.client_id,
            known.state,
            self._now_ms(),
            known.filled_quantity,
            report.venue_id,
            report.reason,
        )
        self._take((event,), heard)

    def _take(self, events: Sequence[IntentEvent], heard: Heard) -> bool:
        """Keep events and the fills that came with them in one receipt; say whether any fill is new."""
        if self._cursor is None:
            self._cursor = self._journal.fill_cursor()
        fills, cursor = self._broker.fills_since(self._cursor)
        ours = [fill for fill in fills if self._is_ours(fill, heard)]
        events = [kept for event in events if (kept := self._held_back(event, ours, heard)) is not None]
        if not events and cursor == self._cursor:
            return False
        fresh = self._journal.append_receipt(events, ours, cursor)
        self._cursor = cursor
        happenings: tuple[Event, ...] = (*fresh, *events)  # in the order in which a restart plays them
        frozen = {fill.symbol for fill in fresh if self.state.memory(fill.symbol).frozen}
        for happened in happenings:
            self.state = after(self.state, happened, self._journal, self._least_held)
        heard.fills += fresh
        heard.events += events
        for fill in fresh:
            if self.state.memory(fill.symbol).frozen and fill.symbol not in frozen:
                detail = "a fill that our books cannot hold: more sold than held, or more spent than there is"
                self.tell(heard, "order-conflict", detail, fill.symbol, fill.client_id)
        return bool(fresh)

    def intent(self, client_id: str) -> Intent | None:
        """Return an intent of the journal's; those that were just asked for are kept at hand."""
        if client_id not in self._intents:
            intent = self._journal.intent(client_id)
            if intent is None:
                return None
            self._keep_at_hand(intent)
        return self._intents[client_id]

    def _keep_at_hand(self, intent: Intent) -> None:
        if len(self._intents) >= _AT_HAND:
            self._intents.clear()
        self._intents[intent.order.client_id] = intent

    def _is_ours(self, fill: Fill, heard: Heard) -> bool:
        if self.intent(fill.client_id) is not None:
            return True
        detail = f"the venue filled an order that this journal does not have: {fill.fill_id}"
        self.tell(heard, "foreign-fill", detail, fill.symbol, fill.client_id)
        return False

    def _held_back(self, event: IntentEvent, fills: Sequence[Fill], heard: Heard) -> IntentEvent | None:
        """Return an event as far as its fills have come; None where that is nothing new.

        An order whose fills are still on their way has not ended: without them we would think that we hold
        nothing, and buy again.
        """
        if not event.state.final or not event.filled_quantity:
            return event
        client_id = event.client_id
        intent = self.intent(client_id)
        if intent is None:
            return event
        side = intent.order.side
        heard_of = [fill for fill in fills if fill.client_id == client_id]
        filled = _quantity(heard_of, side)
        if filled < event.filled_quantity:
            filled = _quantity([*heard_of, *self._journal.fills(client_id=client_id)], side)
        if filled >= event.filled_quantity:
            return event
        if self._running_ms() - intent.order.created_ms >= LOOKED_UP_SECONDS * 1000:
            detail = f"the venue says {event.state.word}, and its fills do not come"
            self.tell(heard, "fills-missing", detail, intent.order.symbol, client_id)
        state = IntentState.PARTLY_FILLED if filled else IntentState.SENT
        working = self.state.memory(intent.order.symbol).working
        if working is not None and (working.state, working.filled_quantity) == (state, filled):
            return None
        return replace(event, state=state, filled_quantity=filled)


def _quantity(fills: Iterable[Fill], side: OrderSide) -> int:
    """Return what fills of an order make together, each counted once.

    A fee that the venue takes in coins is booked as a sale of them, under the name of the buy: not counted.
    """
    return sum({fill.fill_id: fill.quantity for fill in fills if fill.side is side}.values())
