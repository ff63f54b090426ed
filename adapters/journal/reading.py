"""Reading a journal: what a running agent, ``explain`` and ``journal verify`` all ask.

Each question is its own connection and its own snapshot, so that a reader sees no half of a cycle
and a long one does not stand in the writer's way.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, create_engine, event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from adapters.journal import tables as t
from adapters.journal.failures import DAMAGED, explained
from adapters.journal.migrations import MIGRATIONS
from engine.codes import IntentState
from engine.errors import ConfigurationError, JournalError, NotFoundError, UnavailableError
from engine.model import Fill, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.runtime.journal_port import (
    AccountEvent,
    AccountNumbers,
    CycleHead,
    Event,
    Incident,
    Intent,
    IntentEvent,
    PolicyText,
    SizeReport,
    StateSnapshot,
    StoredCycle,
    StoredDecision,
)
from engine.verbs.record import (
    KEYFRAME_CYCLES,
    Image,
    Layout,
    layout_from_text,
    record_of,
    unpack_delta,
    unpack_frame,
    unpack_full,
    unpack_roster,
    unseal,
)

_Row = Row[Any]  # the tables are STRICT: SQLite holds the types

BUSY_SECONDS: Final = 5.0
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_STATES: Final = tuple(IntentState)


def read_journal(path: Path) -> ReadJournal:
    """Open a journal for reading; a running agent is not disturbed.

    Raises NotFoundError where there is none, ConfigurationError for a file that is no journal or of
    a newer release, UnavailableError for one that cannot be read.
    """
    if not path.exists():
        raise NotFoundError(f"{path}: there is no journal; an agent makes one when it runs")
    inspect(path)
    # A folder that cannot be written holds no write-ahead log; SQLite needs to be told so.
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.exists() or _writable(path.parent) else "mode=ro&immutable=1"
    return ReadJournal(path, connect(path, mode, begin="BEGIN"))


def inspect(path: Path) -> None:
    """Look at a file's first bytes before SQLite does; raise what ``read_journal`` states."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except IsADirectoryError as error:
        raise ConfigurationError(f"{path}: is a folder, not a journal") from error
    except OSError as error:
        raise UnavailableError(
            f"{path}: cannot be read ({error.strerror}); check its permissions and its owner"
        ) from error
    if len(header) < _HEADER_BYTES and _MAGIC.startswith(header[: len(_MAGIC)]):
        raise UnavailableError(f"{path}: is cut off after {len(header)} bytes: {DAMAGED}")
    if not header.startswith(_MAGIC):
        raise ConfigurationError(f"{path}: is no journal and no SQLite file; it was left as it is")
    if int.from_bytes(header[68:72], "big") != t.APPLICATION_ID:
        raise ConfigurationError(f"{path}: is a SQLite file but no journal; it was left as it is")


def connect(path: Path, mode: str, begin: str) -> Engine:
    """Return an engine on the file; ``begin`` is how its transactions start."""
    address = f"{path.resolve().as_uri()}?{mode}"
    engine = create_engine(
        "sqlite://",
        # Transactions are begun below, not by guesses of the driver.
        creator=partial(sqlite3.connect, address, uri=True, timeout=BUSY_SECONDS, isolation_level=None),
        poolclass=NullPool,
    )

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", start)
    return engine


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


class ReadJournal:
    """A ``JournalReader`` on SQLite."""

    def __init__(self, path: Path, engine: Engine) -> None:
        """Read through an engine; raises what ``read_journal`` states."""
        self._path = path
        self._engine = engine
        self._layouts: dict[int, Layout] = {}
        self._rosters: dict[int, tuple[tuple[int, int], ...]] = {}
        with self._reading() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            newest = len(MIGRATIONS)
            if version > newest:
                raise ConfigurationError(
                    f"{path}: written by a newer release (schema {version}; this one reads up to {newest}); "
                    "upgrade tradectl"
                )

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    # --- the agent and its policies -------------------------------------------------------------

    def nonce(self) -> str:
        """Return the random name of this journal."""
        with self._reading() as connection:
            return self._meta(connection, "nonce")

    def fill_cursor(self) -> str:
        """Return the venue's cursor recorded with the last receipt; "" before the first."""
        with self._reading() as connection:
            return self._meta(connection, "cursor")

    def policy_text(self, digest: str) -> PolicyText:
        """Return a policy by its digest; NotFoundError."""
        query = select(t.policies).where(t.policies.c.digest == digest).order_by(t.policies.c.id.desc())
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"{self._path}: no policy with digest {digest} has decided here")
        return _policy(row)

    def symbols(self) -> Sequence[str]:
        """Return every symbol that was ever decided on, in the order of first appearance."""
        with self._reading() as connection:
            return tuple(connection.scalars(select(t.symbols.c.name).order_by(t.symbols.c.id)))

    def state(self, cycle: int | None = None) -> tuple[int, StateSnapshot] | None:
        """Return (cycle, state) of the newest kept state at or before ``cycle`` (None: newest)."""
        query = select(t.states).order_by(t.states.c.cycle.desc()).limit(1)
        if cycle is not None:
            query = query.where(t.states.c.cycle <= cycle)
        with self._reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        with self._naming(f"state of cycle {row.cycle}"):
            return row.cycle, StateSnapshot(row.version, unseal(row.packed))

    # --- decisions ------------------------------------------------------------------------------

    def last_cycle(self) -> CycleHead | None:
        """Return the newest cycle; None before the first."""
        with self._reading() as connection:
            row = connection.execute(_heads().order_by(t.cycles.c.id.desc()).limit(1)).first()
        return None if row is None else _head(row)

    def cycle_head(self, cycle: int) -> CycleHead | None:
        """Return a cycle's head by its number; None where it is not kept."""
        with self._reading() as connection:
            row = connection.execute(_heads().where(t.cycles.c.id == cycle)).first()
        return None if row is None else _head(row)

    def recent_heads(self, count: int) -> Sequence[CycleHead]:
        """Return the heads of the newest ``count`` cycles, oldest first."""
        query = _heads().order_by(t.cycles.c.id.desc()).limit(count)
        with self._reading() as connection:
            return tuple(_head(row) for row in connection.execute(query))[::-1]

    def policies(self) -> Sequence[tuple[PolicyText, int]]:
        """Return every policy that was made to decide here, oldest first, with when it was added."""
        query = select(t.policies).order_by(t.policies.c.id)
        with self._reading() as connection:
            return tuple((_policy(row), row.added_ms) for row in connection.execute(query))

    def decision_at(self, symbol: str, at_ms: int | None = None) -> StoredDecision | None:
        """Return the symbol's last decision at or before ``at_ms`` (None: the newest)."""
        with self._reading() as connection:
            number = self._symbol(connection, symbol)
            if number is None:
                return None
            newest = self._last_cycle_id(connection, at_ms)
            start = self._keyframe(connection, number, newest)
            if start is None:
                return None
            # After its keyframe a symbol has deltas for less than KEYFRAME_CYCLES cycles.
            end = min(newest, start + KEYFRAME_CYCLES)
            found = None
            for row, images in self._walk(connection, start, end, number, lead=0):
                if number in images:
                    found = row, images[number]
            return None if found is None else self._stored(*found, symbol)

    def decisions(
        self, symbol: str, from_ms: int | None = None, to_ms: int | None = None
    ) -> Iterator[StoredDecision]:
        """Yield the decisions of a symbol with ``from_ms <= at_ms <= to_ms``, oldest first."""
        with self._reading() as connection:
            number = self._symbol(connection, symbol)
            if number is None:
                return
            first = self._first_cycle_id(connection, from_ms)
            for row, images in self._walk(connection, first, self._last_cycle_id(connection, to_ms), number):
                if number in images:
                    yield self._stored(row, images[number], symbol)

    def cycles(self, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[StoredCycle]:
        """Yield the cycles with ``from_ms <= at_ms <= to_ms``, oldest first, with all decisions."""
        with self._reading() as connection:
            names = _symbol_names(connection)
            first = self._first_cycle_id(connection, from_ms)
            for row, images in self._walk(connection, first, self._last_cycle_id(connection, to_ms)):
                with self._naming(f"cycle {row.id}"):
                    records = tuple(record_of(image, names[number]) for number, image in images.items())
                yield StoredCycle(_head(row), records, pruned=row.frame is None)

    # --- intents and what became of them --------------------------------------------------------

    def pending_intents(self) -> Sequence[tuple[Intent, IntentEvent]]:
        """Return the intents whose fate is not final, oldest first, each with its last event."""
        query = _intents().join(t.open_intents, t.open_intents.c.intent == t.intents.c.id)
        with self._reading() as connection:
            pending = [_intent(row) for row in connection.execute(query)]
            return tuple((intent, self._events(connection, intent.order.client_id)[-1]) for intent in pending)

    def intents(self, symbol: str | None = None, after_ms: int | None = None) -> Iterator[Intent]:
        """Yield intents created after ``after_ms``, oldest first."""
        query = _intents()
        if symbol is not None:
            query = query.where(t.symbols.c.name == symbol)
        if after_ms is not None:
            query = query.where(t.intents.c.created_ms > after_ms)
        with self._reading() as connection:
            for row in connection.execute(query):
                yield _intent(row)

    def intent(self, client_id: str) -> Intent | None:
        """Return the intent of a client id; None where the journal has none."""
        with self._reading() as connection:
            row = connection.execute(_intents().where(t.intents.c.client_id == client_id)).first()
        return None if row is None else _intent(row)

    def intents_of_decision(self, cycle: int, symbol: str) -> Sequence[Intent]:
        """Return the intents that a decision made."""
        query = _intents().where(t.symbols.c.name == symbol, t.intents.c.cycle == cycle)
        with self._reading() as connection:
            return tuple(_intent(row) for row in connection.execute(query))

    def intent_events(self, client_id: str) -> Sequence[IntentEvent]:
        """Return what became of an intent, oldest first."""
        with self._reading() as connection:
            return self._events(connection, client_id)

    def fills(self, symbol: str | None = None, client_id: str | None = None) -> Iterator[Fill]:
        """Yield fills in the order in which they were recorded."""
        query = _fills()
        if symbol is not None:
            query = query.where(t.symbols.c.name == symbol)
        if client_id is not None:
            query = query.where(t.intents.c.client_id == client_id)
        with self._reading() as connection:
            for row in connection.execute(query):
                yield _fill(row)

    def account_events(self) -> Iterator[AccountEvent]:
        """Yield account events, oldest first."""
        with self._reading() as connection:
            for row in connection.execute(select(t.account_events).order_by(t.account_events.c.sequence)):
                yield _account_event(row)

    def incidents(self) -> Iterator[Incident]:
        """Yield incidents, oldest first."""
        with self._reading() as connection:
            for row in connection.execute(select(t.incidents).order_by(t.incidents.c.sequence)):
                yield _incident(row)

    def events_after(self, sequence: int) -> Iterator[tuple[int, Event]]:
        """Yield (sequence, event) of all kinds appended after ``sequence``, in order."""
        with self._reading() as connection:
            kinds: list[Iterable[tuple[int, Event]]] = [
                (
                    (row.sequence, _intent_event(row))
                    for row in connection.execute(
                        _intent_events().where(t.intent_events.c.sequence > sequence)
                    )
                ),
                (
                    (row.sequence, _fill(row))
                    for row in connection.execute(_fills().where(t.fills.c.sequence > sequence))
                ),
                (
                    (row.sequence, _account_event(row))
                    for row in connection.execute(
                        _after(select(t.account_events), t.account_events, sequence)
                    )
                ),
                (
                    (row.sequence, _incident(row))
                    for row in connection.execute(_after(select(t.incidents), t.incidents, sequence))
                ),
            ]
            yield from heapq.merge(*kinds, key=lambda numbered: numbered[0])

    # --- the file itself ------------------------------------------------------------------------

    def size_report(self) -> SizeReport:
        """Return where the bytes are."""
        full, frames = func.length(t.decisions.c.packed), func.length(t.cycles.c.frame)
        with self._reading() as connection:
            records, full_bytes = connection.execute(
                select(func.count(), func.coalesce(func.sum(full), 0)).select_from(t.decisions)
            ).one()
            count, frame_bytes = connection.execute(
                select(func.count(), func.coalesce(func.sum(frames), 0)).select_from(t.cycles)
            ).one()
            try:
                pages = connection.exec_driver_sql("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")
                by_table = {str(name): int(size) for name, size in pages}
            except OperationalError as error:
                if "dbstat" not in str(error.orig):
                    raise
                by_table = {}  # not every SQLite is built with the table that tells
        return SizeReport(
            file_bytes=_bytes(self._path),
            log_bytes=_bytes(self._path, "-wal"),
            reserve_bytes=_bytes(self._path, ".reserve"),
            cycles=count,
            full_records=records,
            full_packed_bytes=full_bytes,
            frame_bytes=frame_bytes,
            tables=by_table,
        )

    def verify(self) -> Sequence[str]:
        """Read the whole journal; return a sentence for each thing that is wrong."""
        wrong: list[str] = []
        try:
            with self._reading() as connection:
                pages = connection.exec_driver_sql("PRAGMA quick_check(20)").scalars()
                wrong += [f"{self._path}: {line}" for line in pages if line != "ok"]
                for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                    wrong.append(f"{self._path}: {table} {row} refers to a row of {parent} that is not there")
                wrong += self._wrong_records(connection)
                for row in connection.execute(select(t.states)):
                    wrong += _complaint(f"{self._path}: state of cycle {row.cycle}", unseal, row.packed)
                for query, read in (
                    (_intents(), _intent),
                    (_intent_events(), _intent_event),
                    (_fills(), _fill),
                ):
                    for row in connection.execute(query):
                        wrong += _complaint(str(self._path), read, row)
        except (UnavailableError, JournalError) as error:
            wrong.append(str(error))
        return tuple(wrong)

    def _wrong_records(self, connection: Connection) -> Iterator[str]:
        """Decode every record; after a wrong one its symbol's chain starts again at the next full one."""
        names = _symbol_names(connection)
        images: dict[int, Image] = {}
        before = None
        broken_until = 0
        for row, fulls in self._rows(connection, 0, None, None):
            if before is not None and before.frame is not None and row.id != before.id + 1:
                yield f"{self._path}: the cycles between {before.id} and {row.id} are missing"
            before = row
            try:
                now = self._images(row, fulls, images, None, lenient=row.id < broken_until)
                for number, image in now.items():
                    record_of(image, names[number])
            except (JournalError, KeyError) as error:
                yield str(error) if isinstance(error, JournalError) else f"{self._path}: no symbol {error}"
                images.clear()
                broken_until = row.id + KEYFRAME_CYCLES + 1

    # --- chains of records ----------------------------------------------------------------------

    def _walk(
        self,
        connection: Connection,
        first: int,
        last: int,
        symbol: int | None = None,
        lead: int = KEYFRAME_CYCLES,
    ) -> Iterator[tuple[_Row, dict[int, Image]]]:
        """Yield the cycles from ``first`` to ``last`` with the image of each symbol decided in them.

        Reads on from ``lead`` cycles before, where every chain that reaches ``first`` has begun.
        """
        images: dict[int, Image] = {}
        before = None
        for row, fulls in self._rows(connection, first - lead, last, symbol):
            if before is not None and before.frame is not None and row.id != before.id + 1:
                raise JournalError(f"{self._path}: the cycles between {before.id} and {row.id} are missing")
            before = row
            now = self._images(row, fulls, images, symbol, lenient=row.id < first)
            if row.id >= first:
                yield row, now

    def _rows(
        self, connection: Connection, first: int, last: int | None, symbol: int | None
    ) -> Iterator[tuple[_Row, list[_Row]]]:
        """Yield each cycle with its full records: two streams in step."""
        heads = _heads(t.cycles.c.frame, t.cycles.c.roster).where(t.cycles.c.id >= first)
        records = select(t.decisions).where(t.decisions.c.id >= t.decision_id(max(first, 0), 0))
        if last is not None:
            heads = heads.where(t.cycles.c.id <= last)
            records = records.where(t.decisions.c.id < t.decision_id(last + 1, 0))
        if symbol is not None:
            records = records.where(t.decisions.c.symbol == symbol)
        groups = groupby(
            connection.execute(records.order_by(t.decisions.c.id)), lambda row: t.cycle_of(row.id)
        )
        group = next(groups, None)
        for head in connection.execute(heads.order_by(t.cycles.c.id)):
            while group is not None and group[0] < head.id:
                group = next(groups, None)
            if group is not None and group[0] == head.id:
                yield head, list(group[1])
                group = next(groups, None)
            else:
                yield head, []

    def _images(
        self, row: _Row, fulls: list[_Row], images: dict[int, Image], only: int | None, *, lenient: bool
    ) -> dict[int, Image]:
        """Read one cycle's records in the order of its roster; ``images`` is brought up to date.

        ``lenient`` passes over deltas whose chain began before what was read.
        """
        now: dict[int, Image] = {}
        for full in fulls:
            with self._naming(f"full record of cycle {row.id}, symbol {full.symbol}"):
                now[full.symbol] = unpack_full(self._layout(full.layout), full.packed, row.at_ms)
        if row.frame is None:
            images.clear()
            return now
        with self._naming(f"cycle {row.id}"):
            entries = unpack_frame(row.frame)
            roster = self._roster(row.roster)
            if len(entries) != len(roster):
                raise JournalError("the frame does not have the symbols of its roster")
            ordered: dict[int, Image] = {}
            for (symbol, layout), entry in zip(roster, entries, strict=True):
                if only is not None and symbol != only:
                    continue
                image = now.get(symbol)
                if image is None:
                    previous = images.get(symbol)
                    if entry is None:
                        raise JournalError(f"the full record of symbol {symbol} is missing")
                    if previous is None:
                        if lenient:
                            continue
                        raise JournalError(f"the record that symbol {symbol} continues is missing")
                    if previous.layout is not self._layout(layout):
                        raise JournalError(f"symbol {symbol} continues a record of another layout")
                    image = unpack_delta(previous, entry, row.at_ms)
                images[symbol] = ordered[symbol] = image
        return ordered

    def _layout(self, number: int) -> Layout:
        if number not in self._layouts:
            with self._reading() as connection:
                text = connection.scalar(select(t.layouts.c.text).where(t.layouts.c.id == number))
            if text is None:
                raise JournalError(f"layout {number} is missing")
            self._layouts[number] = layout_from_text(text)
        return self._layouts[number]

    def _roster(self, number: int) -> tuple[tuple[int, int], ...]:
        if number not in self._rosters:
            with self._reading() as connection:
                packed = connection.scalar(select(t.rosters.c.members).where(t.rosters.c.id == number))
            if packed is None:
                raise JournalError(f"roster {number} is missing")
            self._rosters[number] = unpack_roster(packed)
        return self._rosters[number]

    # --- small questions ------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Say of which file and record a JournalError speaks."""
        try:
            yield
        except JournalError as error:
            raise JournalError(f"{self._path}: {what}: {error}") from error

    def _meta(self, connection: Connection, name: str) -> str:
        return connection.scalar(select(t.meta.c.value).where(t.meta.c.name == name)) or ""

    def _symbol(self, connection: Connection, name: str) -> int | None:
        return connection.scalar(select(t.symbols.c.id).where(t.symbols.c.name == name))

    def _first_cycle_id(self, connection: Connection, from_ms: int | None) -> int:
        """Return the first cycle at or after a time; one past the last where there is none."""
        if from_ms is None:
            return 0
        query = select(t.cycles.c.id).where(t.cycles.c.at_ms >= from_ms)
        found = connection.scalar(query.order_by(t.cycles.c.at_ms, t.cycles.c.id).limit(1))
        return self._last_cycle_id(connection, None) + 1 if found is None else found

    def _last_cycle_id(self, connection: Connection, to_ms: int | None) -> int:
        """Return the last cycle at or before a time; -1 where there is none."""
        query = select(t.cycles.c.id)
        if to_ms is not None:
            query = query.where(t.cycles.c.at_ms <= to_ms)
        found = connection.scalar(query.order_by(t.cycles.c.at_ms.desc(), t.cycles.c.id.desc()).limit(1))
        return -1 if found is None else found

    def _keyframe(self, connection: Connection, symbol: int, cycle: int) -> int | None:
        """Return the cycle of the symbol's last full record at or before a cycle."""
        newest = select(func.max(t.decisions.c.id)).where(
            t.decisions.c.symbol == symbol, t.decisions.c.id < t.decision_id(cycle + 1, 0)
        )
        found = connection.scalar(newest)
        return None if found is None else t.cycle_of(found)

    def _events(self, connection: Connection, client_id: str) -> tuple[IntentEvent, ...]:
        query = _intent_events().where(t.intents.c.client_id == client_id)
        return tuple(_intent_event(row) for row in connection.execute(query))

    def _stored(self, row: _Row, image: Image, symbol: str) -> StoredDecision:
        with self._naming(f"cycle {row.id}, {symbol}"):
            return StoredDecision(_head(row), record_of(image, symbol))


# --- rows ---------------------------------------------------------------------------------------


def _heads(*more: Any) -> Select[Any]:  # noqa: ANN401 - columns of any type
    """Select cycles with their policies."""
    cycles = (
        t.cycles.c.id,
        t.cycles.c.at_ms,
        t.cycles.c.cash,
        t.cycles.c.reserved,
        t.cycles.c.equity,
        t.cycles.c.estimated_millionths,
        t.cycles.c.sequence,
    )
    policy = [column for column in t.policies.c if column.name not in ("id", "added_ms")]
    return select(*cycles, *more, *policy).join_from(
        t.cycles, t.policies, t.cycles.c.policy == t.policies.c.id
    )


def _intents() -> Select[Any]:
    return (
        select(t.intents, t.symbols.c.name.label("symbol_name"))
        .join(t.symbols, t.intents.c.symbol == t.symbols.c.id)
        .order_by(t.intents.c.id)
    )


def _intent_events() -> Select[Any]:
    return (
        select(t.intent_events, t.intents.c.client_id)
        .join(t.intents, t.intent_events.c.intent == t.intents.c.id)
        .order_by(t.intent_events.c.sequence)
    )


def _fills() -> Select[Any]:
    return (
        select(t.fills, t.intents.c.client_id, t.symbols.c.name.label("symbol_name"))
        .join(t.intents, t.fills.c.intent == t.intents.c.id)
        .join(t.symbols, t.fills.c.symbol == t.symbols.c.id)
        .order_by(t.fills.c.sequence)
    )


def _after(query: Select[Any], table: Any, sequence: int) -> Select[Any]:  # noqa: ANN401 - a table's columns have no types
    return query.where(table.c.sequence > sequence).order_by(table.c.sequence)


def _policy(row: _Row) -> PolicyText:
    return PolicyText(
        digest=row.digest,
        name=row.name,
        version=row.version,
        text=row.text,
        engine_digest=row.engine_digest,
        vocabulary_digest=row.vocabulary_digest,
        calendar_digest=row.calendar_digest,
    )


def _head(row: _Row) -> CycleHead:
    account = AccountNumbers(row.cash, row.reserved, row.equity, row.estimated_millionths)
    return CycleHead(row.id, row.at_ms, _policy(row), account, row.sequence)


def _intent(row: _Row) -> Intent:
    try:
        order = OrderRequest(
            client_id=row.client_id,
            symbol=row.symbol_name,
            side=OrderSide(row.side),
            quantity=row.quantity,
            limit_price=row.limit_price,
            order_type=OrderType(row.order_type),
            time_in_force=TimeInForce(row.time_in_force),
            expires_ms=row.expires_ms,
            created_ms=row.created_ms,
        )
    except ValueError as error:
        raise JournalError(f"intent {row.client_id} cannot be read: {error}") from error
    return Intent(order, row.rule, bool(row.protective), row.cycle)


def _intent_event(row: _Row) -> IntentEvent:
    if not 0 <= row.state < len(_STATES):
        raise JournalError(
            f"event {row.sequence} has the state {row.state}, which this release does not know"
        )
    return IntentEvent(
        row.client_id, _STATES[row.state], row.at_ms, row.filled_quantity, row.venue_id, row.reason
    )


def _fill(row: _Row) -> Fill:
    try:
        side = OrderSide(row.side)
    except ValueError as error:
        raise JournalError(f"fill {row.fill_id} cannot be read: {error}") from error
    return Fill(
        fill_id=row.fill_id,
        client_id=row.client_id,
        symbol=row.symbol_name,
        side=side,
        quantity=row.quantity,
        price=row.price,
        notional=row.notional,
        fee=row.fee,
        at_ms=row.at_ms,
    )


def _account_event(row: _Row) -> AccountEvent:
    return AccountEvent(row.kind, row.at_ms, row.amount, row.detail)


def _incident(row: _Row) -> Incident:
    return Incident(row.kind, row.at_ms, row.detail, row.symbol, row.client_id)


def _symbol_names(connection: Connection) -> dict[int, str]:
    return {row.id: row.name for row in connection.execute(select(t.symbols))}


def _bytes(path: Path, suffix: str = "") -> int:
    beside = path.with_name(path.name + suffix)
    return beside.stat().st_size if beside.exists() else 0


def _complaint(what: str, read: Any, argument: Any) -> list[str]:  # noqa: ANN401 - any reader and what it reads
    try:
        read(argument)
    except JournalError as error:
        return [f"{what}: {error}"]
    return []
