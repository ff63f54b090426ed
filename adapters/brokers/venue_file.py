"""The paper venue's own SQLite file: orders, fills and funding, each change its own durable commit.

The account is not stored: it is the fold of funding and fills in their order (``engine.verbs.ledger``),
so there is nothing it could disagree with.  Quantities, prices and money are scaled integers kept
as decimal text, since a large holding of a small coin outgrows SQLite's 64 bits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from engine.codes import IntentState
from engine.errors import ConfigurationError, UnavailableError
from engine.model import Fill, OrderReport, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.verbs.ledger import Ledger, LedgerError, apply_fill, deposit, withdraw

_Row = tuple[Any, ...]  # as SQLite gives it; the schema's STRICT tables hold the types
_Value = TypeVar("_Value")

APPLICATION_ID: Final = 0x74_72_50_76  # "trPv": says that a SQLite file is a paper venue's
FORMAT: Final = 1

_SCHEMA: Final = """
CREATE TABLE venue (created_ms INTEGER NOT NULL) STRICT;
CREATE TABLE orders (
    sequence           INTEGER PRIMARY KEY,
    client_id          TEXT NOT NULL UNIQUE,
    symbol             TEXT NOT NULL,
    side               TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity           TEXT NOT NULL,
    limit_price        TEXT,
    order_type         TEXT NOT NULL CHECK (order_type IN ('limit', 'market')),
    time_in_force      TEXT NOT NULL CHECK (time_in_force IN ('day', 'gtc', 'ioc')),
    booked_ms          INTEGER NOT NULL,
    ends_ms            INTEGER,
    reserve_price      TEXT NOT NULL,
    state              TEXT NOT NULL,
    filled_quantity    TEXT NOT NULL,
    fill_count         INTEGER NOT NULL,
    last_fill_quote_ms INTEGER,
    updated_ms         INTEGER NOT NULL,
    reason             TEXT NOT NULL
) STRICT;
CREATE INDEX orders_open ON orders (sequence) WHERE state IN ('sent', 'partly_filled');
-- Fills and funding share one series of sequence numbers: the order in which they happened.
CREATE TABLE fills (
    sequence  INTEGER PRIMARY KEY,
    fill_id   TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES orders (client_id),
    symbol    TEXT NOT NULL,
    side      TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity  TEXT NOT NULL,
    price     TEXT NOT NULL,
    notional  TEXT NOT NULL,
    fee       TEXT NOT NULL,
    at_ms     INTEGER NOT NULL
) STRICT;
CREATE TABLE funding (
    sequence INTEGER PRIMARY KEY,
    amount   TEXT NOT NULL,
    at_ms    INTEGER NOT NULL
) STRICT;
"""

_WHAT_TO_DO: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its permissions and those of its folder",
    sqlite3.SQLITE_BUSY: "another process is writing to it; try again",
    sqlite3.SQLITE_LOCKED: "another process is writing to it; try again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists and is writable",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it; check the disk and try again",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup or start with another file",
    sqlite3.SQLITE_NOTADB: "it is damaged or of another kind; restore a backup or start with another file",
}


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


class CommitUnknown(UnavailableError):
    """A commit failed half-way: whether the change is durable shows only when the file is read again."""


@dataclass(frozen=True, slots=True)
class BookedOrder:
    """An order as the venue keeps it.

    ``last_fill_quote_ms`` is the source time of the quote that filled it last: one quote fills an
    order once, however often the venue is asked meanwhile.
    """

    sequence: int
    order: OrderRequest
    booked_ms: int
    ends_ms: int | None
    reserve_price: int
    state: IntentState = IntentState.SENT
    filled_quantity: int = 0
    fill_count: int = 0
    last_fill_quote_ms: int | None = None
    updated_ms: int = 0
    reason: str = ""

    @property
    def remaining(self) -> int:
        """Quantity not yet filled, scaled."""
        return self.order.quantity - self.filled_quantity

    def report(self) -> OrderReport:
        """Return what the venue says of it."""
        return OrderReport(
            client_id=self.order.client_id,
            venue_id=f"paper-{self.sequence}",
            symbol=self.order.symbol,
            side=self.order.side,
            quantity=self.order.quantity,
            limit_price=self.order.limit_price,
            state=self.state,
            filled_quantity=self.filled_quantity,
            updated_ms=self.updated_ms,
            reason=self.reason,
        )


class VenueFile:
    """The file, opened.  Every failure is an UnavailableError that says what to do.

    Another process may have the same file open: a transaction takes SQLite's write lock before it
    reads, and the folded account catches up with what others wrote.
    """

    def __init__(
        self, path: Path, *, created_ms: int, starting_cash: int, probe: CommitProbe, busy_seconds: float
    ) -> None:
        """Open the file, or create it with ``starting_cash`` (money).

        Raises ConfigurationError for a file of another kind or format.
        """
        self._path = path
        self._probe = probe
        self._ledger = Ledger()
        self._posted = 0  # sequence of the last posting folded into the ledger
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
        try:
            self._open(created_ms, starting_cash)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self, name: str) -> Iterator[None]:
        """Make the changes of the block durable in one commit, or none of them.

        Raises CommitUnknown where the commit itself failed.
        """
        before = self._ledger, self._posted
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._probe.before_commit(name)
            self._commit()
        except BaseException:
            self._ledger, self._posted = before
            # Where the rollback fails too, closing or recovery undoes what was not committed.
            with suppress(sqlite3.Error):
                self._connection.rollback()
            raise
        self._probe.after_commit(name)

    def ledger(self) -> Ledger:
        """Return the account: funding and fills folded in their order."""
        try:
            for sequence, posting in self._postings(self._posted):
                if isinstance(posting, Fill):
                    self._ledger = apply_fill(self._ledger, posting)
                elif posting > 0:
                    self._ledger = deposit(self._ledger, posting)
                else:
                    self._ledger = withdraw(self._ledger, -posting)
                self._posted = sequence
        except LedgerError as error:
            raise self._unavailable(f"its postings contradict each other ({error}); use a backup") from error
        return self._ledger

    def find(self, client_id: str) -> BookedOrder | None:
        """Return an order by client id, or None."""
        rows = self._orders("WHERE client_id = ?", client_id)
        return rows[0] if rows else None

    def open_orders(self) -> Sequence[BookedOrder]:
        """Return the orders that are not final, in the order they were booked."""
        return self._orders("WHERE state IN ('sent', 'partly_filled') ORDER BY sequence")

    def book(self, order: OrderRequest, now_ms: int, ends_ms: int | None, reserve_price: int) -> BookedOrder:
        """Insert an order; its client id must be new."""
        ((last,),) = self._rows("SELECT coalesce(max(sequence), 0) FROM orders")
        booked = BookedOrder(int(last) + 1, order, now_ms, ends_ms, reserve_price, updated_ms=now_ms)
        self._write(
            f"INSERT INTO orders VALUES ({', '.join('?' * 17)})",
            booked.sequence,
            order.client_id,
            order.symbol,
            order.side.value,
            str(order.quantity),
            None if order.limit_price is None else str(order.limit_price),
            order.order_type.value,
            order.time_in_force.value,
            booked.booked_ms,
            ends_ms,
            str(reserve_price),
            booked.state.word,
            "0",
            0,
            None,
            now_ms,
            "",
        )
        return booked

    def update(self, booked: BookedOrder) -> None:
        """Write what changes in an order's life."""
        self._write(
            "UPDATE orders SET state = ?, filled_quantity = ?, fill_count = ?, last_fill_quote_ms = ?,"
            " updated_ms = ?, reason = ? WHERE sequence = ?",
            booked.state.word,
            str(booked.filled_quantity),
            booked.fill_count,
            booked.last_fill_quote_ms,
            booked.updated_ms,
            booked.reason,
            booked.sequence,
        )

    def post_fill(self, fill: Fill) -> None:
        """Append a fill and apply it to the account."""
        self.ledger()
        amounts = (str(amount) for amount in (fill.quantity, fill.price, fill.notional, fill.fee))
        self._write(
            f"INSERT INTO fills VALUES ({', '.join('?' * 10)})",
            self._posted + 1,
            fill.fill_id,
            fill.client_id,
            fill.symbol,
            fill.side.value,
            *amounts,
            fill.at_ms,
        )
        self.ledger()

    def post_funding(self, amount: int, at_ms: int) -> None:
        """Append a deposit (> 0) or a withdrawal (< 0), money, and apply it to the account."""
        self.ledger()
        self._write("INSERT INTO funding VALUES (?, ?, ?)", self._posted + 1, str(amount), at_ms)
        self.ledger()

    def fills_after(self, sequence: int) -> Sequence[tuple[int, Fill]]:
        """Return (sequence, fill) of the fills after a sequence number, ascending."""
        rows = self._rows("SELECT * FROM fills WHERE sequence > ? ORDER BY sequence", sequence)
        return self._decoded(_fill, rows)

    def last_posting(self) -> int:
        """Return the highest sequence number of fills and funding."""
        ((last,),) = self._rows(
            "SELECT max(coalesce((SELECT max(sequence) FROM fills), 0),"
            " coalesce((SELECT max(sequence) FROM funding), 0))"
        )
        return int(last)

    # Opening.

    def _open(self, created_ms: int, starting_cash: int) -> None:
        # The kind is checked before anything is changed: a foreign file is left as it was found.
        fresh = self._is_fresh()
        with self._errors():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        if fresh:
            with self.transaction("create"):
                # Again, under the lock: another process may have been first.
                if self._is_fresh():
                    self._create(created_ms, starting_cash)
        ((created,),) = self._rows("SELECT created_ms FROM venue")
        self.created_ms = int(created)
        self.ledger()

    def _is_fresh(self) -> bool:
        ((application_id,),) = self._rows("PRAGMA application_id")
        ((found,),) = self._rows("PRAGMA user_version")
        ((tables,),) = self._rows("SELECT count(*) FROM sqlite_master")
        if (application_id, found, tables) == (0, 0, 0):
            return True
        if application_id != APPLICATION_ID:
            raise ConfigurationError(
                f"{self._path} is a SQLite file but not a paper venue's; name another file"
            )
        if found != FORMAT:
            raise ConfigurationError(
                f"{self._path} is a paper venue file of format {found}, this program reads format {FORMAT};"
                " use the program that wrote it, or name another file"
            )
        return False

    def _create(self, created_ms: int, starting_cash: int) -> None:
        for statement in _SCHEMA.split(";\n"):
            self._write(statement)
        self._write("INSERT INTO venue VALUES (?)", created_ms)
        if starting_cash:
            self.post_funding(starting_cash, created_ms)
        self._write(f"PRAGMA application_id = {APPLICATION_ID}")
        self._write(f"PRAGMA user_version = {FORMAT}")

    # Rows.

    def _orders(self, where: str, *values: object) -> Sequence[BookedOrder]:
        return self._decoded(_booked_order, self._rows(f"SELECT * FROM orders {where}", *values))

    def _postings(self, after: int) -> Sequence[tuple[int, Fill | int]]:
        rows = self._rows("SELECT * FROM funding WHERE sequence > ?", after)
        postings: list[tuple[int, Fill | int]] = [*self.fills_after(after), *self._decoded(_funding, rows)]
        return sorted(postings, key=itemgetter(0))

    def _decoded(self, decode: Callable[[_Row], _Value], rows: Sequence[_Row]) -> Sequence[_Value]:
        try:
            return [decode(row) for row in rows]
        except (ValueError, KeyError) as error:
            raise self._unavailable(f"a row cannot be read ({error}); restore a backup") from error

    def _rows(self, statement: str, *values: object) -> Sequence[_Row]:
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    def _write(self, statement: str, *values: object) -> None:
        with self._errors():
            self._connection.execute(statement, values)

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise CommitUnknown(f"{self._described()}: a commit failed: {self._advice(error)}") from error

    # Failures.

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # our own mistake, such as a closed file: nothing a person could mend
        except sqlite3.Error as error:
            raise self._unavailable(self._advice(error)) from error

    @staticmethod
    def _advice(error: sqlite3.Error) -> str:
        # The low byte of an extended result code is the primary one.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return _WHAT_TO_DO.get(code, str(error))

    def _unavailable(self, advice: str) -> UnavailableError:
        return UnavailableError(f"{self._described()}: {advice}")

    def _described(self) -> str:
        return f"the paper venue's file {self._path}"


def _optional(text: str | None) -> int | None:
    return None if text is None else int(text)


def _booked_order(row: _Row) -> BookedOrder:
    sequence, client_id, symbol, side, quantity, limit_price, order_type, time_in_force, *life = row
    booked_ms, ends_ms, reserve_price, state, filled, fill_count, last_fill_quote_ms, updated_ms, reason = (
        life
    )
    return BookedOrder(
        sequence=sequence,
        order=OrderRequest(
            client_id=client_id,
            symbol=symbol,
            side=OrderSide(side),
            quantity=int(quantity),
            limit_price=_optional(limit_price),
            order_type=OrderType(order_type),
            time_in_force=TimeInForce(time_in_force),
            expires_ms=None,  # the agent's own time-to-live: no venue knows it
            created_ms=booked_ms,
        ),
        booked_ms=booked_ms,
        ends_ms=ends_ms,
        reserve_price=int(reserve_price),
        state=IntentState[state.upper()],
        filled_quantity=int(filled),
        fill_count=fill_count,
        last_fill_quote_ms=last_fill_quote_ms,
        updated_ms=updated_ms,
        reason=reason,
    )


def _fill(row: _Row) -> tuple[int, Fill]:
    sequence, fill_id, client_id, symbol, side, quantity, price, notional, fee, at_ms = row
    return sequence, Fill(
        fill_id=fill_id,
        client_id=client_id,
        symbol=symbol,
        side=OrderSide(side),
        quantity=int(quantity),
        price=int(price),
        notional=int(notional),
        fee=int(fee),
        at_ms=at_ms,
    )


def _funding(row: _Row) -> tuple[int, int]:
    sequence, amount, _ = row
    return sequence, int(amount)
