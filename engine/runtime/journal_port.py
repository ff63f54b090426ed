"""The journal as the agent sees it: what it keeps, and what can be asked of it.

One process writes a journal; any number may read it.  Money, prices and quantities are scaled
integers (``engine.units``), instants are milliseconds UTC.

What is appended after a cycle (intent events, fills, account events, incidents) carries one
series of sequence numbers.  A cycle keeps the last number at its commit, so an agent that restarts takes
the state of the last cycle and plays ``events_after`` that cycle's ``sequence``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.codes import IntentState
from engine.errors import UnavailableError
from engine.model import Fill, OrderRequest
from engine.verbs.record import DecisionRecord


class JournalFullError(UnavailableError):
    """The disk has no room: what was to be written is not durable, what was recorded before is."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy as it decided: its canonical text, and the digests of what gave it its meaning."""

    digest: str
    name: str
    version: str
    text: str
    engine_digest: str
    vocabulary_digest: str
    calendar_digest: str


@dataclass(frozen=True, slots=True)
class AccountNumbers:
    """The account at a cycle's start: money, scaled."""

    cash: int
    reserved: int  # by own open buys
    equity: int
    estimated_millionths: int = 0  # share of equity valued at old prices


@dataclass(frozen=True, slots=True)
class Intent:
    """A sized, priced, named order, and the rule of which policy it comes from."""

    order: OrderRequest
    rule: str
    protective: bool
    cycle: int


@dataclass(frozen=True, slots=True)
class IntentEvent:
    """What became of an intent.  ``filled_quantity`` is cumulative, as the venue says."""

    client_id: str
    state: IntentState
    at_ms: int
    filled_quantity: int = 0
    venue_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """A change of the account or the agent that is no fill: a deposit, a resume, a new nonce."""

    kind: str
    at_ms: int
    amount: int | None = None  # money, scaled
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something a person must know of."""

    kind: str
    at_ms: int
    detail: str
    symbol: str = ""
    client_id: str = ""


Event = IntentEvent | Fill | AccountEvent | Incident


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The agent's state after a cycle, packed by whoever owns it; ``version`` is of its form."""

    version: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """All that one cycle makes durable, in one transaction.

    ``cycle`` is one more than the last one's; ``at_ms`` is never less.  ``decisions`` has each
    symbol at most once; ``intents`` are those of this cycle's decisions.
    """

    cycle: int
    at_ms: int
    policy_digest: str
    account: AccountNumbers
    decisions: Sequence[DecisionRecord]
    intents: Sequence[Intent] = ()
    state: StateSnapshot | None = None
    account_events: Sequence[AccountEvent] = ()
    incidents: Sequence[Incident] = ()


@dataclass(frozen=True, slots=True)
class CycleHead:
    """A cycle as it is kept.  ``sequence`` is that of the last event kept with or before it."""

    cycle: int
    at_ms: int
    policy: PolicyText
    account: AccountNumbers
    sequence: int


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision read back, with the cycle it was made in."""

    head: CycleHead
    record: DecisionRecord


@dataclass(frozen=True, slots=True)
class StoredCycle:
    """A cycle read back.  Of a pruned one only the decisions that made an intent are left."""

    head: CycleHead
    decisions: tuple[DecisionRecord, ...]
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What pruning removed; bytes are of the files on disk."""

    cycles_removed: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class SizeReport:
    """Where the journal's bytes are.

    ``tables`` gives the bytes of each table's and index's pages, and is empty where the store cannot
    tell.  ``packed`` sums are of the packed records alone, without the store's overhead.
    """

    file_bytes: int
    log_bytes: int  # written ahead, not yet in the file
    reserve_bytes: int
    cycles: int
    full_records: int
    full_packed_bytes: int
    frame_bytes: int  # packed deltas of all cycles
    tables: Mapping[str, int] = field(default_factory=dict)


class JournalReader(Protocol):
    """Questions to a journal.

    Every method may raise UnavailableError (the file cannot be read: the message says why and what
    to do) or JournalError (a record is damaged: the message names it).  Iterators stream.
    """

    def nonce(self) -> str:
        """Return the random name of this journal: part of every client id."""

    def last_cycle(self) -> CycleHead | None:
        """Return the newest cycle; None before the first."""

    def cycle_head(self, cycle: int) -> CycleHead | None:
        """Return a cycle's head by its number; None where it is not kept."""

    def state(self, cycle: int | None = None) -> tuple[int, StateSnapshot] | None:
        """Return (cycle, state) of the newest kept state at or before ``cycle`` (None: newest)."""

    def policy_text(self, digest: str) -> PolicyText:
        """Return a policy by its digest; NotFoundError."""

    def symbols(self) -> Sequence[str]:
        """Return every symbol that was ever decided on, in the order of first appearance."""

    def decision_at(self, symbol: str, at_ms: int | None = None) -> StoredDecision | None:
        """Return the symbol's last decision at or before ``at_ms`` (None: the newest), if any."""

    def decisions(
        self, symbol: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> Iterator[StoredDecision]:
        """Yield the decisions of a symbol with ``from_ms <= at_ms <= to_ms``, oldest first."""

    def cycles(self, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[StoredCycle]:
        """Yield the cycles with ``from_ms <= at_ms <= to_ms``, oldest first, with all decisions."""

    def pending_intents(self) -> Sequence[tuple[Intent, IntentEvent]]:
        """Return the intents whose fate is not final, oldest first, each with its last event."""

    def intents(self, symbol: str | None = None, after_ms: int | None = None) -> Iterator[Intent]:
        """Yield intents created after ``after_ms``, oldest first."""

    def intent(self, client_id: str) -> Intent | None:
        """Return the intent of a client id; None where the journal has none."""

    def intents_of_decision(self, cycle: int, symbol: str) -> Sequence[Intent]:
        """Return the intents that a decision made."""

    def intent_events(self, client_id: str) -> Sequence[IntentEvent]:
        """Return what became of an intent, oldest first; the first event is PLANNED."""

    def fills(self, symbol: str | None = None, client_id: str | None = None) -> Iterator[Fill]:
        """Yield fills in the order in which they were recorded."""

    def fill_cursor(self) -> str:
        """Return the venue's cursor recorded with the last receipt; "" before the first."""

    def account_events(self) -> Iterator[AccountEvent]:
        """Yield account events, oldest first."""

    def incidents(self) -> Iterator[Incident]:
        """Yield incidents, oldest first."""

    def events_after(self, sequence: int) -> Iterator[tuple[int, Event]]:
        """Yield (sequence, event) of all kinds appended after ``sequence``, in order."""

    def size_report(self) -> SizeReport:
        """Return where the bytes are."""

    def verify(self) -> Sequence[str]:
        """Read the whole journal; return a sentence for each thing that is wrong, none if sound."""

    def close(self) -> None:
        """Let go of the file.  Safe to call twice."""


class JournalPort(JournalReader, Protocol):
    """The journal of a running agent.

    A method that returned has made its change durable: against the death of the process always, and
    against the loss of power whenever intents, receipts, fills, account events or incidents are in it.
    A method that raised has changed nothing.
    """

    def add_policy(self, policy: PolicyText, at_ms: int) -> None:
        """Keep a policy; a second time it does nothing.  Before the first cycle that it decides."""

    def commit_cycle(self, cycle: CycleRecord) -> None:
        """Keep a cycle whole, its intents planned.

        Raises JournalFullError where the disk is full: then ``commit_exits`` may still do.
        """

    def commit_exits(self, cycle: CycleRecord) -> None:
        """Keep a cycle's sells alone, out of the reserve: for a cycle that found the disk full.

        The cycle is kept with the decisions of its sell intents and without buys and state.
        Raises JournalFullError when the reserve is used up too: nothing can be made durable.
        """

    def append_receipt(
        self, events: Sequence[IntentEvent], fills: Sequence[Fill] = (), cursor: str | None = None
    ) -> Sequence[Fill]:
        """Keep what the venue said, and its cursor behind these fills; return the new fills.

        A fill recorded before is left out.  May use the reserve.  Raises NotFoundError for an
        unknown client id, JournalError for a fill id recorded with other content.
        """

    def append_account_event(self, event: AccountEvent) -> None:
        """Keep an account event.  May use the reserve."""

    def append_incident(self, incident: Incident) -> None:
        """Keep an incident.  May use the reserve."""

    def renew_nonce(self, at_ms: int, why: str) -> str:
        """Take a new nonce, so that no client id is ever made twice; return it."""

    def reserve_left(self) -> int:
        """Return for how many exit intents the reserve has room."""

    def prune(self, keep_cycles: int | None = None, keep_seconds: int | None = None) -> PruneReport:
        """Forget all but the newest ``keep_cycles``, or those within ``keep_seconds`` of the newest.

        The newest cycle always stays.
        Intents, fills and events stay, with the decisions, cycles and policies that they came from.
        """
