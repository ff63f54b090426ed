"""Writing the journal: one process, one connection, one transaction for each thing that happened."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from adapters.journal import tables as t
from adapters.journal.failures import DAMAGED, explained
from adapters.journal.lease import Lease
from adapters.journal.migrations import migrate
from adapters.journal.pruning import forget
from adapters.journal.reading import BUSY_SECONDS, ReadJournal, connect, inspect
from adapters.journal.reserve import EXITS, Reserve
from engine.codes import IntentState
from engine.errors import JournalError, NotFoundError, UnavailableError
from engine.model import Fill, OrderSide
from engine.runtime.journal_port import (
    AccountEvent,
    CycleRecord,
    Incident,
    Intent,
    IntentEvent,
    JournalFullError,
    PolicyText,
    PruneReport,
)
from engine.verbs.record import (
    KEYFRAME_CYCLES,
    DecisionRecord,
    Image,
    Layout,
    full_of,
    pack_delta,
    pack_frame,
    pack_full,
    pack_roster,
    seal,
)

_Result = TypeVar("_Result")
_Kept = TypeVar("_Kept", AccountEvent, Incident)
_Values = Mapping[str, Any]  # one row's values by column
_Members = tuple[tuple[int, int], ...]  # (symbol, layout) of each record of a cycle

KEEP_STATES: Final = 64
"""States of so many cycles are kept; a state is only ever taken up from the newest."""

_ROSTERS: Final = 64
"""So many different rosters are remembered; one that comes back later is written again."""

_CHECKED_BYTES: Final = 256 * 1024 * 1024
"""A file up to this size is checked whole after an unclean end; ``verify`` checks larger ones."""


class CommitProbe(Protocol):
    """Is told of every commit, with its name: where a fault may be made to happen."""

    def before_commit(self, name: str) -> None:
        """Called when all of a change is written but not yet durable."""

    def after_commit(self, name: str) -> None:
        """Called when the change is durable and nobody was told of it yet."""


class NoProbe:
    """Does nothing."""

    def before_commit(self, name: str) -> None:
        """Do nothing."""

    def after_commit(self, name: str) -> None:
        """Do nothing."""


def new_nonce() -> str:
    """Return 48 random bits as text that any venue takes in a client id."""
    return secrets.token_hex(6)


def open_journal(
    path: Path,
    *,
    at_ms: int,
    nonce: Callable[[], str] = new_nonce,
    probe: CommitProbe | None = None,
    reserve_exits: int = EXITS,
    keep_states: int = KEEP_STATES,
) -> Journal:
    """Open an agent's journal for writing, or make it; take its lease, fill its reserve.

    ``at_ms`` is now.  ``nonce`` names a new journal, and one that is found to be a copy or a restored
    backup.  Raises UnavailableError (in use, damaged, cut off, not writable) or ConfigurationError
    (no journal, or of a newer release); either says what to do, and the file is as it was.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"{path.parent}: this folder cannot be made ({error.strerror}); name another --state-dir"
        ) from error
    with ExitStack() as undo:
        lease = Lease(path)
        undo.callback(lease.release)
        if path.exists():
            inspect(path)
        elif lease.last_cycle_noted:
            raise UnavailableError(
                f"{path}: is gone, but {lease.path.name} says that it had {lease.last_cycle_noted} cycles; "
                f"restore it, or remove {lease.path.name} to begin anew"
            )
        else:
            _create(path, at_ms, nonce())
        _require_sound(path)
        engine = connect(path, "mode=rw", begin="BEGIN IMMEDIATE")
        undo.callback(engine.dispose)
        try:
            reserve = Reserve(path, reserve_exits)
        except OSError as error:
            raise UnavailableError(
                f"{path}.reserve: cannot be opened ({error.strerror}); check its permissions"
            ) from error
        undo.callback(reserve.close)
        journal = Journal(path, engine, lease, reserve, probe or NoProbe(), keep_states)
        undo.callback(journal.close)
        journal.take_over(at_ms, nonce)
        undo.pop_all()
        return journal


def _create(path: Path, at_ms: int, nonce: str) -> None:
    """Make an empty journal under another name and move it in place: no half of one is ever seen."""
    unfinished = path.with_name(path.name + ".new")
    with explained(path):
        try:
            unfinished.unlink(missing_ok=True)
            os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise UnavailableError(
                f"{path}: cannot be made ({error.strerror}); check its folder's permissions and space"
            ) from error
        engine = connect(unfinished, "mode=rw", begin="BEGIN IMMEDIATE")
        with engine.connect() as connection:
            # Before the first table: so that pruning can give pages back without a second copy of the file.
            _raw(connection).execute("PRAGMA auto_vacuum = INCREMENTAL")
            with connection.begin():
                connection.exec_driver_sql(f"PRAGMA application_id = {t.APPLICATION_ID}")
                migrate(connection)
                about = {"nonce": nonce, "created_ms": str(at_ms), "inode": _inode(unfinished)}
                rows = [{"name": name, "value": value} for name, value in about.items()]
                connection.execute(insert(t.meta), rows)
        engine.dispose()
    unfinished.replace(path)


def _require_sound(path: Path) -> None:
    """Refuse a file that is cut off or damaged, before anything is written to it."""
    log = path.with_name(path.name + "-wal")
    unclean = log.exists() and log.stat().st_size > 0
    # The last writer to close a file moves the log into it; a reader leaves both as they are.
    engine = connect(path, "mode=ro", begin="BEGIN")
    with explained(path), engine.connect() as connection:
        # Reading the schema makes SQLite compare the file's length with its header.
        connection.exec_driver_sql("SELECT count(*) FROM meta").scalar_one()
        if not unclean:
            # SQLite itself overlooks a last page that is cut.
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            stated = pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            if path.stat().st_size < stated:
                raise UnavailableError(
                    f"{path}: {DAMAGED} ({path.stat().st_size} of {stated} bytes are left)"
                )
        elif path.stat().st_size <= _CHECKED_BYTES:
            first = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if first != "ok":
                raise UnavailableError(f"{path}: {DAMAGED} ({first})")


def _raw(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection: some settings are refused inside a transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _inode(path: Path) -> str:
    return str(path.stat().st_ino)


@dataclass(slots=True)
class _Names:
    """Numbers given to symbols and layouts; what a transaction adds counts once it is durable."""

    symbols: dict[str, int] = field(default_factory=dict)
    layouts: dict[str, int] = field(default_factory=dict)  # by digest


@dataclass(slots=True)
class _Packed:
    """A cycle ready to be written."""

    symbols: list[_Values] = field(default_factory=list)
    layouts: list[_Values] = field(default_factory=list)
    rosters: list[_Values] = field(default_factory=list)
    decisions: list[_Values] = field(default_factory=list)
    members: _Members = ()
    roster: int = 0
    frame: bytes = b""
    chains: dict[int, tuple[Image, int]] = field(default_factory=dict)
    names: _Names = field(default_factory=_Names)


class Journal(ReadJournal):
    """A ``JournalPort`` on SQLite, made by ``open_journal``."""

    def __init__(
        self, path: Path, engine: Engine, lease: Lease, reserve: Reserve, probe: CommitProbe, keep_states: int
    ) -> None:
        """Take over a file whose lease is held; UnavailableError where it cannot be used."""
        super().__init__(path, connect(path, "mode=rw", begin="BEGIN"))
        self._lease = lease
        self._reserve = reserve
        self._probe = probe
        self._keep_states = keep_states
        self._chains: dict[int, tuple[Image, int]] = {}  # last record, and the cycle of the last full one
        self._names = _Names()
        self._known_rosters: dict[_Members, int] = {}
        self._policies: dict[str, int] = {}  # number of the newest row of a digest
        self._last_roster = self._last_cycle = self._last_ms = self._sequence = 0
        self._writer_engine = engine
        with explained(path):
            self._writer = engine.connect()
            raw = _raw(self._writer)
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            # Nothing secret is deleted: overwriting it with zeros would double the work.
            raw.execute("PRAGMA secure_delete = OFF")

    def take_over(self, at_ms: int, nonce: Callable[[], str]) -> None:
        """Migrate, read where the journal stands, and take a new nonce if the file is a copy."""
        self._write("migrate", migrate, durable=True, use_reserve=True)
        with self._reading() as connection:
            self._names.symbols = {
                name: number for number, name in connection.execute(select(t.symbols.c.id, t.symbols.c.name))
            }
            self._names.layouts = {
                digest: number
                for number, digest in connection.execute(select(t.layouts.c.id, t.layouts.c.digest))
            }
            self._last_roster = connection.scalar(select(func.max(t.rosters.c.id))) or 0
            self._sequence = max(
                connection.scalar(select(func.max(table.c.sequence))) or 0
                for table in (t.intent_events, t.fills, t.account_events, t.incidents)
            )
            last = connection.execute(
                select(t.cycles.c.id, t.cycles.c.at_ms).order_by(t.cycles.c.id.desc()).limit(1)
            ).first()
            self._last_cycle, self._last_ms = (0, 0) if last is None else (last.id, last.at_ms)
            moved = self._meta(connection, "inode") != _inode(self._path)
        if self._last_cycle < self._lease.last_cycle_noted:
            why = f"the journal ends at cycle {self._last_cycle} of {self._lease.last_cycle_noted}: a backup"
            self.renew_nonce(at_ms, why, nonce)
        elif moved:
            self.renew_nonce(at_ms, "the journal is another file than before: a copy", nonce)
        self._lease.note(self._last_cycle)

    def close(self) -> None:
        """Let go of the file and of the lease.  Safe to call twice."""
        # What failed here is durable already; the next one to open it says what is wrong.
        with suppress(UnavailableError), explained(self._path):
            self._writer.close()
            self._writer_engine.dispose()
        super().close()
        self._reserve.close()
        self._lease.release()

    # --- cycles ---------------------------------------------------------------------------------

    def add_policy(self, policy: PolicyText, at_ms: int) -> None:
        """Keep a policy; a second time it does nothing."""
        values = {
            "digest": policy.digest,
            "engine_digest": policy.engine_digest,
            "vocabulary_digest": policy.vocabulary_digest,
            "calendar_digest": policy.calendar_digest,
        }

        def work(connection: Connection) -> None:
            same = [t.policies.c[column] == value for column, value in values.items()]
            known = connection.scalar(select(t.policies.c.id).where(*same))
            if known is None:
                # The newest row of a digest is the one that cycles refer to.
                texts = {"name": policy.name, "version": policy.version, "text": policy.text}
                row = {"id": _next_id(connection, t.policies), "added_ms": at_ms, **values, **texts}
                connection.execute(insert(t.policies), row)

        self._write("policy", work, durable=True)
        self._policies.pop(policy.digest, None)

    def commit_cycle(self, cycle: CycleRecord) -> None:
        """Keep a cycle whole, its intents planned; JournalFullError where the disk is full."""
        self._commit_cycle(cycle, use_reserve=False)
        self._reserve.fill()

    def commit_exits(self, cycle: CycleRecord) -> None:
        """Keep a cycle's sells alone, out of the reserve; JournalFullError when that is used up."""
        sells = tuple(intent for intent in cycle.intents if intent.order.side is OrderSide.SELL)
        selling = {intent.order.symbol for intent in sells}
        decisions = tuple(record for record in cycle.decisions if record.symbol in selling)
        self._commit_cycle(replace(cycle, decisions=decisions, intents=sells, state=None), use_reserve=True)

    def _commit_cycle(self, cycle: CycleRecord, *, use_reserve: bool) -> None:
        if cycle.cycle != self._last_cycle + 1 or cycle.at_ms < self._last_ms:
            raise JournalError(
                f"{self._path}: cycle {cycle.cycle} at {cycle.at_ms} ms cannot follow "
                f"cycle {self._last_cycle} at {self._last_ms} ms"
            )
        packed = self._pack(cycle)

        def work(connection: Connection) -> int:
            for table, rows in (
                (t.symbols, packed.symbols),
                (t.layouts, packed.layouts),
                (t.rosters, packed.rosters),
            ):
                if rows:
                    connection.execute(insert(table), rows)
            sequence = self._insert_intents(connection, cycle, self._sequence, packed.names.symbols)
            for account_event in cycle.account_events:
                sequence += 1
                _insert_account_event(connection, sequence, account_event)
            for incident in cycle.incidents:
                sequence += 1
                _insert_incident(connection, sequence, incident)
            connection.execute(insert(t.cycles), self._cycle_row(connection, cycle, packed, sequence))
            if packed.decisions:
                connection.execute(insert(t.decisions), packed.decisions)
            if cycle.state is not None:
                row = {
                    "cycle": cycle.cycle,
                    "version": cycle.state.version,
                    "packed": seal(cycle.state.packed),
                }
                connection.execute(insert(t.states), row)
                connection.execute(
                    delete(t.states).where(t.states.c.cycle <= cycle.cycle - self._keep_states)
                )
            return sequence

        durable = bool(cycle.intents or cycle.account_events or cycle.incidents)
        self._sequence = self._write("cycle", work, durable=durable, use_reserve=use_reserve)
        self._chains.update(packed.chains)
        self._names.symbols.update(packed.names.symbols)
        self._names.layouts.update(packed.names.layouts)
        if packed.rosters:
            if len(self._known_rosters) >= _ROSTERS:
                self._known_rosters.clear()
            self._known_rosters[packed.members] = packed.roster
            self._last_roster = packed.roster
        self._last_cycle, self._last_ms = cycle.cycle, cycle.at_ms
        self._lease.note(cycle.cycle)

    def _pack(self, cycle: CycleRecord) -> _Packed:
        """Pack the decisions; nothing of the journal's own state changes yet."""
        packed = _Packed()
        names, packed.names.symbols = self._names, {}
        members: list[tuple[int, int]] = []
        entries: list[bytes | None] = []
        ordering = {intent.order.symbol for intent in cycle.intents}
        layout: Layout | None = None
        layout_number = 0
        for record in cycle.decisions:
            name = record.symbol
            symbol = names.symbols.get(name) or self._new_symbol(packed, name)
            if record.layout is not layout:
                layout = record.layout
                layout_number = self._layout_number(packed, layout)
            members.append((symbol, layout_number))
            chain = self._chains.get(symbol)
            if chain is None or self._starts_anew(cycle.cycle, symbol, record, chain) or name in ordering:
                data, image = pack_full(record, cycle.at_ms)
                entries.append(None)
                key = t.decision_id(cycle.cycle, symbol)
                packed.decisions.append(
                    {"id": key, "symbol": symbol, "layout": layout_number, "packed": data}
                )
                packed.chains[symbol] = image, cycle.cycle
            else:
                data, image = pack_delta(record, chain[0], cycle.at_ms)
                entries.append(data)
                packed.chains[symbol] = image, chain[1]
        if len(packed.chains) != len(members):
            raise JournalError(f"{self._path}: cycle {cycle.cycle} decides twice on one symbol")
        packed.members = tuple(members)
        packed.roster = self._known_rosters.get(packed.members, 0)
        if not packed.roster:
            packed.roster = self._last_roster + 1
            packed.rosters.append({"id": packed.roster, "members": pack_roster(packed.members)})
        packed.frame = pack_frame(entries)
        return packed

    @staticmethod
    def _starts_anew(cycle: int, symbol: int, record: DecisionRecord, chain: tuple[Image, int]) -> bool:
        """Say whether a record is to be a full one.

        The symbols take turns, so that no cycle has to write all of them in full.
        """
        image, keyframe = chain
        return (
            cycle - keyframe >= KEYFRAME_CYCLES
            or (cycle + symbol) % KEYFRAME_CYCLES == 0
            or record.decision.order is not None
            or (record.layout is not image.layout and record.layout != image.layout)
        )

    def _new_symbol(self, packed: _Packed, name: str) -> int:
        added = packed.names.symbols
        if name not in added:
            added[name] = len(self._names.symbols) + len(added) + 1
            if added[name] >= t.MAXIMUM_SYMBOLS:
                raise JournalError(f"{self._path}: a journal holds at most {t.MAXIMUM_SYMBOLS - 1} symbols")
            packed.symbols.append({"id": added[name], "name": name})
        return added[name]

    def _layout_number(self, packed: _Packed, layout: Layout) -> int:
        added, digest = packed.names.layouts, layout.digest
        number = self._names.layouts.get(digest) or added.get(digest)
        if number is None:
            number = added[digest] = len(self._names.layouts) + len(added) + 1
            packed.layouts.append({"id": number, "digest": digest, "text": layout.text})
        return number

    def _cycle_row(
        self, connection: Connection, cycle: CycleRecord, packed: _Packed, sequence: int
    ) -> _Values:
        policy = self._policies.get(cycle.policy_digest)
        if policy is None:
            newest = select(func.max(t.policies.c.id)).where(t.policies.c.digest == cycle.policy_digest)
            policy = connection.scalar(newest)
            if policy is None:
                raise NotFoundError(
                    f"{self._path}: policy {cycle.policy_digest} was not added before its cycle"
                )
            self._policies[cycle.policy_digest] = policy
        return {
            "id": cycle.cycle,
            "at_ms": cycle.at_ms,
            "policy": policy,
            "roster": packed.roster,
            "cash": cycle.account.cash,
            "reserved": cycle.account.reserved,
            "equity": cycle.account.equity,
            "estimated_millionths": cycle.account.estimated_millionths,
            "sequence": sequence,
            "frame": packed.frame,
        }

    def _insert_intents(
        self, connection: Connection, cycle: CycleRecord, sequence: int, added: Mapping[str, int]
    ) -> int:
        """Insert the intents as planned; return the last sequence number used."""
        if not cycle.intents:
            return sequence
        for number, intent in enumerate(cycle.intents, _next_id(connection, t.intents)):
            order = intent.order
            symbol = self._names.symbols.get(order.symbol) or added.get(order.symbol)
            if symbol is None or intent.cycle != cycle.cycle:
                raise JournalError(f"{self._path}: intent {order.client_id} has no decision in its cycle")
            sequence += 1
            connection.execute(insert(t.intents), _intent_row(number, symbol, intent))
            planned = IntentEvent(order.client_id, IntentState.PLANNED, order.created_ms)
            connection.execute(insert(t.intent_events), _event_row(sequence, number, planned))
            connection.execute(insert(t.open_intents), {"intent": number})
        return sequence

    # --- what happened to intents and account ---------------------------------------------------

    def append_receipt(
        self, events: Sequence[IntentEvent], fills: Sequence[Fill] = (), cursor: str | None = None
    ) -> Sequence[Fill]:
        """Keep what the venue said and its cursor; return the fills that are new."""

        def work(connection: Connection) -> tuple[int, Sequence[Fill]]:
            sequence = self._sequence
            new: list[Fill] = []
            for fill in fills:
                intent = self._intent_id(connection, fill.client_id)
                if not self._recorded(connection, fill):
                    sequence += 1
                    symbol = self._names.symbols.get(fill.symbol)
                    if symbol is None:
                        raise NotFoundError(
                            f"{self._path}: fill {fill.fill_id} is of the unknown {fill.symbol}"
                        )
                    connection.execute(insert(t.fills), _fill_row(sequence, intent, symbol, fill))
                    new.append(fill)
            for happened in events:
                sequence += 1
                intent = self._intent_id(connection, happened.client_id)
                connection.execute(insert(t.intent_events), _event_row(sequence, intent, happened))
                _keep_open(connection, intent, is_open=not happened.state.final)
            if cursor is not None:
                _set_meta(connection, "cursor", cursor)
            return sequence, tuple(new)

        self._sequence, new = self._write("receipt", work, durable=True, use_reserve=True)
        return new

    def append_account_event(self, event: AccountEvent) -> None:
        """Keep an account event."""
        self._append("account event", _insert_account_event, event)

    def append_incident(self, incident: Incident) -> None:
        """Keep an incident."""
        self._append("incident", _insert_incident, incident)

    def _append(self, name: str, add: Callable[[Connection, int, _Kept], None], what: _Kept) -> None:
        sequence = self._sequence + 1
        self._write(name, lambda connection: add(connection, sequence, what), durable=True, use_reserve=True)
        self._sequence = sequence

    def renew_nonce(self, at_ms: int, why: str, nonce: Callable[[], str] = new_nonce) -> str:
        """Take a new nonce, so that no client id is ever made twice; return it."""
        sequence, name = self._sequence + 1, nonce()

        def work(connection: Connection) -> None:
            _set_meta(connection, "nonce", name)
            _set_meta(connection, "inode", _inode(self._path))
            _insert_account_event(connection, sequence, AccountEvent("nonce", at_ms, detail=why))

        self._write("nonce", work, durable=True, use_reserve=True)
        self._sequence = sequence
        return name

    def _intent_id(self, connection: Connection, client_id: str) -> int:
        found = select(t.intents.c.id).where(t.intents.c.client_id == client_id)
        number: int | None = connection.scalar(found)
        if number is None:
            raise NotFoundError(f"{self._path}: no intent has the client id {client_id}")
        return number

    def _recorded(self, connection: Connection, fill: Fill) -> bool:
        """Say whether a fill is kept already; JournalError where it was another one."""
        known = select(t.fills, t.intents.c.client_id, t.symbols.c.name.label("symbol_name")).where(
            t.fills.c.fill_id == fill.fill_id,
            t.fills.c.intent == t.intents.c.id,
            t.fills.c.symbol == t.symbols.c.id,
        )
        row = connection.execute(known).first()
        if row is None:
            return False
        if (row.client_id, row.symbol_name, row.side, row.quantity, row.price) != (
            fill.client_id,
            fill.symbol,
            fill.side.value,
            fill.quantity,
            fill.price,
        ):
            raise JournalError(
                f"{self._path}: the venue's fill {fill.fill_id} was recorded before with other content"
            )
        return True

    # --- room -----------------------------------------------------------------------------------

    def reserve_left(self) -> int:
        """Return for how many exit intents the reserve has room."""
        return self._reserve.exits_left

    def prune(self, keep_cycles: int | None = None, keep_seconds: int | None = None) -> PruneReport:
        """Forget old cycles; intents, fills and events stay, with the decisions they came from."""
        if (keep_cycles is None) == (keep_seconds is None):
            raise ValueError("prune by cycles or by seconds")
        before = self._disk_bytes()
        with self._reading() as connection:
            if keep_seconds is not None:
                first = self._first_cycle_id(connection, self._last_ms - keep_seconds * 1000)
            else:
                first = self._last_cycle - max(keep_cycles or 0, 1) + 1
            # The first records that are kept may continue forgotten ones: they are written out in full.
            fulls = self._continued_at(connection, first)
        removed = self._write(
            "prune", lambda connection: forget(connection, first, fulls), durable=True, use_reserve=True
        )
        self._known_rosters.clear()
        self._policies.clear()
        with explained(self._path):
            raw = _raw(self._writer)
            # It frees one page a step; only a script is stepped to its end.
            raw.executescript("PRAGMA incremental_vacuum")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._reserve.fill()
        return PruneReport(removed, before, self._disk_bytes())

    def _continued_at(self, connection: Connection, first: int) -> list[_Values]:
        """Return full records of the symbols whose first record at or after ``first`` is a delta."""
        last = first + KEYFRAME_CYCLES
        written = t.decisions.c.id.between(t.decision_id(max(first, 0), 0), t.decision_id(last + 1, 0))
        full = set(connection.scalars(select(t.decisions.c.id).where(written)))
        seen: set[int] = set()
        rows: list[_Values] = []
        for cycle, images in self._walk(connection, first, last):
            for symbol in sorted(images.keys() - seen):
                image, key = images[symbol], t.decision_id(cycle.id, symbol)
                if key not in full:
                    layout = self._names.layouts[image.layout.digest]
                    rows.append({"id": key, "symbol": symbol, "layout": layout, "packed": full_of(image)})
            seen |= images.keys()
        return rows

    def _disk_bytes(self) -> int:
        report = self.size_report()
        return report.file_bytes + report.log_bytes

    def _write(
        self,
        name: str,
        work: Callable[[Connection], _Result],
        *,
        durable: bool,
        use_reserve: bool = False,
    ) -> _Result:
        """Run ``work`` in one transaction: all of it is kept, or nothing.

        ``durable`` also against the loss of power; the rest follows with the next that is.  ``work`` may
        run again, after the reserve gave the disk some room.
        """
        while True:
            try:
                with explained(self._path):
                    _raw(self._writer).execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    with self._writer.begin():
                        result = work(self._writer)
                        self._probe.before_commit(name)
                    self._probe.after_commit(name)
            except JournalFullError as error:
                if not use_reserve:
                    raise
                if not self._reserve.release():
                    raise JournalFullError(
                        f"{self._path}: the disk is full and the reserve is used up: nothing can be made "
                        "durable and the agent must halt; free some space"
                    ) from error
                self._make_log_reusable()
            else:
                if use_reserve:
                    # What was released and not used is set aside again before others take it.
                    self._reserve.fill()
                return result

    def _make_log_reusable(self) -> None:
        """Move the write-ahead log into the file, so that it begins again in the space it has."""
        # Where even that needs more room than was released, the log goes on growing into the reserve.
        with suppress(UnavailableError), explained(self._path):
            _raw(self._writer).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


# --- rows ---------------------------------------------------------------------------------------


def _next_id(connection: Connection, table: Any) -> int:  # noqa: ANN401 - a table's columns have no types
    newest: int | None = connection.scalar(select(func.max(table.c.id)))
    return (newest or 0) + 1


def _set_meta(connection: Connection, name: str, value: str) -> None:
    changed = connection.execute(update(t.meta).where(t.meta.c.name == name).values(value=value))
    if not changed.rowcount:
        connection.execute(insert(t.meta), {"name": name, "value": value})


def _keep_open(connection: Connection, intent: int, *, is_open: bool) -> None:
    row = {"intent": intent}
    if is_open:
        connection.execute(insert(t.open_intents).prefix_with("OR IGNORE"), row)
    else:
        connection.execute(delete(t.open_intents).where(t.open_intents.c.intent == bindparam("intent")), row)


def _insert_account_event(connection: Connection, sequence: int, event: AccountEvent) -> None:
    row = {
        "sequence": sequence,
        "kind": event.kind,
        "at_ms": event.at_ms,
        "amount": event.amount,
        "detail": event.detail,
    }
    connection.execute(insert(t.account_events), row)


def _insert_incident(connection: Connection, sequence: int, incident: Incident) -> None:
    row = {
        "sequence": sequence,
        "kind": incident.kind,
        "at_ms": incident.at_ms,
        "symbol": incident.symbol,
        "client_id": incident.client_id,
        "detail": incident.detail,
    }
    connection.execute(insert(t.incidents), row)


def _intent_row(number: int, symbol: int, intent: Intent) -> _Values:
    order = intent.order
    return {
        "id": number,
        "client_id": order.client_id,
        "cycle": intent.cycle,
        "symbol": symbol,
        "side": order.side.value,
        "quantity": order.quantity,
        "limit_price": order.limit_price,
        "order_type": order.order_type.value,
        "time_in_force": order.time_in_force.value,
        "expires_ms": order.expires_ms,
        "created_ms": order.created_ms,
        "rule": intent.rule,
        "protective": int(intent.protective),
    }


def _event_row(sequence: int, intent: int, event: IntentEvent) -> _Values:
    return {
        "sequence": sequence,
        "intent": intent,
        "state": int(event.state),
        "at_ms": event.at_ms,
        "filled_quantity": event.filled_quantity,
        "venue_id": event.venue_id,
        "reason": event.reason,
    }


def _fill_row(sequence: int, intent: int, symbol: int, fill: Fill) -> _Values:
    return {
        "sequence": sequence,
        "fill_id": fill.fill_id,
        "intent": intent,
        "symbol": symbol,
        "side": fill.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "notional": fill.notional,
        "fee": fill.fee,
        "at_ms": fill.at_ms,
    }
