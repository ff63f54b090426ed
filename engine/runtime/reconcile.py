"""Reconciliation: what the venue has, compared with what we think it has.

The comparison of open orders is pure.  The driver makes it at the start, when the venue or its stream of
hints is heard again, and on a timer.  Between two of them it listens to hints.  A hint says where to look;
what happened is asked of the broker.  A symbol is not traded until it has been compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from engine.codes import IntentState
from engine.errors import DataError
from engine.model import OrderReport
from engine.runtime.journal_port import Intent, JournalReader
from engine.runtime.orders import APART_SECONDS, FAULTS, Heard, OrderDesk
from engine.runtime.ports import ANYTHING, Broker, OrderHints, VenueAccount
from engine.units import MONEY_SCALE, QUANTITY_SCALE, unscaled
from engine.verbs.state import State

RECONCILE_EVERY_SECONDS: Final = 300

HINTS_UNHEARD: Final = "hints-unheard"
"""The incident of a stream of hints that is not heard: what happens is seen in the next round only."""

UNTOLD_SECONDS: Final = 10
"""So late a hint may be; a stream that stands and does not tell what the venue did is not heard."""

_CASH_TOLERANCE_PPM: Final = 1000
"""So far, and by 1 USD at least, the venue's cash may be below our books: it rounds fees its own way."""


# --- the comparison ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """The venue's open orders, told apart; a working order that is in none of them is looked up by name."""

    working: Mapping[str, OrderReport]  # of our working orders, by client id
    strays: tuple[tuple[Intent, OrderReport], ...]  # of our intents that we do not think are open
    unrecorded: tuple[OrderReport, ...]  # named by us, and the journal does not have them
    foreign: tuple[OrderReport, ...]  # somebody else's


def compare(
    state: State,
    open_orders: Iterable[OrderReport],
    intent_of: Callable[[str], Intent | None],
    is_named_by_us: Callable[[str], bool],
) -> Comparison:
    """Tell the venue's open orders apart by what we know of each."""
    ours = {memory.working.client_id for memory in state.memories.values() if memory.working is not None}
    working: dict[str, OrderReport] = {}
    strays: list[tuple[Intent, OrderReport]] = []
    unrecorded: list[OrderReport] = []
    foreign: list[OrderReport] = []
    for report in open_orders:
        if report.state.final:
            continue  # it ended while the list was made
        if report.client_id in ours:
            working[report.client_id] = report
        elif (intent := intent_of(report.client_id)) is not None:
            strays.append((intent, report))
        elif is_named_by_us(report.client_id):
            unrecorded.append(report)
        else:
            foreign.append(report)
    return Comparison(working, tuple(strays), tuple(unrecorded), tuple(foreign))


class OwnNames:
    """Which client ids this account's agent made, under this journal's nonce or one that it had before."""

    def __init__(self, journal: JournalReader, account: str) -> None:
        """Read the nonce now, the earlier ones when they are first asked for."""
        self._journal = journal
        self._mark = f"-{account}-"
        self._nonces: frozenset[str] | None = None

    def __contains__(self, client_id: str) -> bool:
        """Say whether a client id is nonce, account, and more.

        A journal restored from a backup has a new nonce, and not the orders that were sent after the backup.
        """
        nonce, mark, _ = client_id.partition(self._mark)
        if not mark:
            return False
        if self._nonces is None:
            earlier = (intent.order.client_id for intent in self._journal.intents())
            nonces = {name.partition(self._mark)[0] for name in earlier}
            self._nonces = frozenset({*nonces, self._journal.nonce()})
        return nonce in self._nonces


# --- the driver -------------------------------------------------------------------------------


class Reconciler:
    """When to compare, what is done about a difference, and which symbols may be traded meanwhile."""

    def __init__(
        self,
        desk: OrderDesk,
        broker: Broker,
        journal: JournalReader,
        running_ms: Callable[[], int],
        account: str,
        hints: OrderHints | None = None,
        every_seconds: int = RECONCILE_EVERY_SECONDS,
    ) -> None:
        """Begin with nothing compared.  ``running_ms`` is a time that goes on."""
        self._desk = desk
        self._broker = broker
        self._journal = journal
        self._running_ms = running_ms
        self._hints = hints
        self._every_ms = every_seconds * 1000
        self._names = OwnNames(journal, account)
        self._hinted: dict[str, None] = {}
        self._strays: dict[str, tuple[str, int]] = {}  # ended, and listed as open: symbol, and since when
        self._untold_ms: int | None = None  # since when the venue knows of something that no hint told of
        self._lost = True
        self._due_ms = 0
        self._cash_due = True
        self._unheard: frozenset[str] = frozenset()

    @property
    def due_ms(self) -> int:
        """When the next comparison is due by the timer."""
        return self._due_ms

    def is_reconciled(self, symbol: str) -> bool:
        """Say whether a symbol's orders were compared since the venue was last out of reach."""
        doubted = symbol in self._unheard or any(symbol == stray for stray, _ in self._strays.values())
        return not (self._lost or doubted)

    def lost(self) -> None:
        """Note that the venue was not heard to the end: no symbol is compared until all is asked anew."""
        self._lost = True

    def resume(self) -> Heard:
        """After a restart: take up every intent whose fate is open, and compare.

        Raises DataError where the venue is not the one of this journal.
        """
        self._desk.resume()
        return self._round(strict=True)

    def tend(self) -> Heard:
        """Cancel what is over and take in what became of open orders, all of them where that is due.

        A venue out of reach is no error: ``trouble`` says so, and the next round asks again.
        """
        return self._round()

    def heed(self) -> Heard:
        """Take in what hints tell of, and nothing else, unless a comparison is due."""
        return self._round(hinted_only=True)

    def account(self, heard: Heard) -> VenueAccount | None:
        """Return the venue's account with every fill behind it taken in; None where it cannot be heard."""
        venue = self._desk.account(heard)
        if venue is None:
            self.lost()
        elif self._cash_due:
            self._cash_due = False
            self._compare_cash(venue, heard)
        return venue

    def _round(self, *, strict: bool = False, hinted_only: bool = False) -> Heard:
        heard = Heard()
        self._listen(heard)
        now_ms = self._running_ms()
        whole = self._lost or ANYTHING.client_id in self._hinted or now_ms >= self._due_ms
        only = frozenset(self._hinted) if hinted_only and not whole else None
        try:
            reports = self._compared(heard) if whole else {}
        except FAULTS as fault:
            return self._in_trouble(heard, fault)
        try:
            self._desk.round(heard, reports, only)
        except FAULTS as fault:
            if strict and isinstance(fault, DataError):
                raise
            return self._in_trouble(heard, fault)
        if self._untold_ms is None and heard.events and not self._hinted:
            self._untold_ms = now_ms
        if whole:
            self._lost, self._cash_due = False, True
            self._due_ms = now_ms + (APART_SECONDS * 1000 if self._strays else self._every_ms)
        # what could not be asked is not over: its hint is kept, and every later round asks for it
        self._unheard = frozenset(heard.unheard) | (self._unheard if only is not None else frozenset())
        kept = {self._working_id(symbol): None for symbol in heard.unheard}
        self._hinted = {name: None for name in self._hinted if name in kept}
        return heard

    def _in_trouble(self, heard: Heard, fault: Exception) -> Heard:
        self._desk.in_trouble(heard, fault)
        self.lost()
        return heard

    def _listen(self, heard: Heard) -> None:
        if self._hints is None:
            return
        told = self._hints.drain()
        if told:
            self._untold_ms = None
        self._hinted.update((hint.client_id, None) for hint in told)
        trouble = self._hints.trouble()
        if not trouble and self._is_mute():
            trouble = "the stream of hints stands, and did not tell what the venue did"
        if trouble:
            self._desk.tell(heard, HINTS_UNHEARD, trouble)
        else:
            self._desk.settled(HINTS_UNHEARD)

    def _is_mute(self) -> bool:
        untold_ms = self._untold_ms
        return untold_ms is not None and self._running_ms() - untold_ms >= UNTOLD_SECONDS * 1000

    def _working_id(self, symbol: str) -> str:
        working = self._desk.state.memory(symbol).working
        return "" if working is None else working.client_id

    # --- what differs ---------------------------------------------------------------------------

    def _compared(self, heard: Heard) -> Mapping[str, OrderReport]:
        """Ask for the open orders, act on what differs, and return the reports of our working ones."""
        found = compare(
            self._desk.state, self._broker.open_orders(), self._desk.intent, self._names.__contains__
        )
        strays, self._strays = self._strays, {}
        for intent, report in found.strays:
            _, since_ms = strays.get(report.client_id, ("", self._running_ms()))
            self._stray(intent, report, since_ms, heard)
        for report in found.unrecorded:
            detail = f"the venue has {_told(report)}, named by this agent, and the journal does not have it"
            self._desk.tell(heard, "order-conflict", detail, report.symbol, report.client_id)
        for report in found.foreign:
            detail = f"somebody else has an open order in this account: {_told(report)}"
            self._desk.tell(heard, "foreign-order", detail, report.symbol, report.client_id)
        return found.working

    def _stray(self, intent: Intent, listed: OrderReport, since_ms: int, heard: Heard) -> None:
        """An order that has ended is listed as open: the list is late, or it has not ended.

        One that we gave up ourselves, because the venue did not know it, is taken up again.  One of which the
        venue said that it had ended keeps its symbol from being traded; if it is still listed after a while
        (``since_ms``: since when it is) a person decides.
        """
        client_id, symbol = listed.client_id, intent.order.symbol
        report = self._broker.find(client_id)
        if report is None or report.state.final:
            return
        last = self._journal.intent_events(client_id)[-1]
        given_up = last.state is IntentState.EXPIRED and not last.venue_id
        if given_up and self._desk.state.memory(symbol).working is None:
            self._desk.take_up(intent, report, heard)
            return
        self._strays[client_id] = symbol, since_ms
        if self._running_ms() - since_ms < APART_SECONDS * 1000:
            return
        detail = f"it was {last.state.word} and is open at the venue: {_told(report)}"
        self._desk.tell(heard, "order-conflict", detail, symbol, client_id)
        self._desk.ask_to_cancel(client_id)

    def _compare_cash(self, venue: VenueAccount, heard: Heard) -> None:
        own = self._desk.state.ledger.cash
        if own - venue.cash > max(MONEY_SCALE, own * _CASH_TOLERANCE_PPM // 1_000_000):
            detail = (
                f"the venue has {unscaled(venue.cash, MONEY_SCALE):.2f} of cash, our books"
                f" {unscaled(own, MONEY_SCALE):.2f}: no more than the venue has is spent"
            )
            self._desk.tell(heard, "cash-differs", detail)
        else:
            self._desk.settled("cash-differs")

    def compare_positions(self, heard: Heard) -> None:
        """Tell of each position that the venue's quantity does not bear out."""
        for symbol, memory in self._desk.state.memories.items():
            if memory.changed_quantity:
                detail = "the venue's quantity changed without a fill of ours"
                self._desk.tell(heard, "position-differs", detail, symbol)
            else:
                self._desk.settled("position-differs", symbol)


def _told(report: OrderReport) -> str:
    quantity = unscaled(report.quantity, QUANTITY_SCALE)
    return f"{report.side} {quantity:f} {report.symbol} ({report.client_id or report.venue_id})"
