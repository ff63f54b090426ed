"""The journal's schema, release by release.

A journal carries the number of its schema in SQLite's ``user_version``.  Opening an older one for
writing applies what is missing, all of it in one transaction or none.  What a release has shipped
here is never edited: the next one appends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

_FIRST: Final = (
    """CREATE TABLE meta (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (name)
        )
    STRICT""",
    """CREATE TABLE policies (
        id INTEGER NOT NULL,
        digest TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        text TEXT NOT NULL,
        engine_digest TEXT NOT NULL,
        vocabulary_digest TEXT NOT NULL,
        calendar_digest TEXT NOT NULL,
        added_ms INTEGER NOT NULL,
        PRIMARY KEY (id)
        )
    STRICT""",
    "CREATE UNIQUE INDEX policies_by_digest"
    " ON policies (digest, engine_digest, vocabulary_digest, calendar_digest)",
    """CREATE TABLE layouts (
        id INTEGER NOT NULL,
        digest TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (digest)
        )
    STRICT""",
    """CREATE TABLE symbols (
        id INTEGER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (name)
        )
    STRICT""",
    """CREATE TABLE rosters (
        id INTEGER NOT NULL,
        members BLOB NOT NULL,
        PRIMARY KEY (id)
        )
    STRICT""",
    """CREATE TABLE cycles (
        id INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        roster INTEGER,
        cash TEXT NOT NULL,
        reserved TEXT NOT NULL,
        equity TEXT NOT NULL,
        estimated_millionths INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        frame BLOB,
        previous_hash BLOB,
        PRIMARY KEY (id),
        FOREIGN KEY(policy) REFERENCES policies (id),
        FOREIGN KEY(roster) REFERENCES rosters (id)
        )
    STRICT""",
    "CREATE INDEX cycles_by_time ON cycles (at_ms)",
    """CREATE TABLE decisions (
        id INTEGER NOT NULL,
        symbol INTEGER NOT NULL,
        layout INTEGER NOT NULL,
        packed BLOB NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (id),
        FOREIGN KEY(symbol) REFERENCES symbols (id),
        FOREIGN KEY(layout) REFERENCES layouts (id)
        )
    STRICT""",
    "CREATE INDEX decisions_by_symbol ON decisions (symbol, id)",
    """CREATE TABLE intents (
        id INTEGER NOT NULL,
        client_id TEXT NOT NULL,
        cycle INTEGER NOT NULL,
        symbol INTEGER NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        limit_price TEXT,
        order_type TEXT NOT NULL,
        time_in_force TEXT NOT NULL,
        expires_ms INTEGER,
        created_ms INTEGER NOT NULL,
        rule TEXT NOT NULL,
        protective INTEGER NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (id),
        UNIQUE (client_id),
        FOREIGN KEY(cycle) REFERENCES cycles (id),
        FOREIGN KEY(symbol) REFERENCES symbols (id)
        )
    STRICT""",
    "CREATE INDEX intents_by_symbol ON intents (symbol, cycle)",
    """CREATE TABLE intent_events (
        sequence INTEGER NOT NULL,
        intent INTEGER NOT NULL,
        state INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        filled_quantity TEXT NOT NULL,
        venue_id TEXT NOT NULL,
        reason TEXT NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (sequence),
        FOREIGN KEY(intent) REFERENCES intents (id)
        )
    STRICT""",
    "CREATE INDEX intent_events_by_intent ON intent_events (intent, sequence)",
    """CREATE TABLE fills (
        sequence INTEGER NOT NULL,
        fill_id TEXT NOT NULL,
        intent INTEGER NOT NULL,
        symbol INTEGER NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        price TEXT NOT NULL,
        notional TEXT NOT NULL,
        fee TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (sequence),
        UNIQUE (fill_id),
        FOREIGN KEY(intent) REFERENCES intents (id),
        FOREIGN KEY(symbol) REFERENCES symbols (id)
        )
    STRICT""",
    "CREATE INDEX fills_by_intent ON fills (intent)",
    """CREATE TABLE account_events (
        sequence INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        amount TEXT,
        detail TEXT NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (sequence)
        )
    STRICT""",
    """CREATE TABLE incidents (
        sequence INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        client_id TEXT NOT NULL,
        detail TEXT NOT NULL,
        previous_hash BLOB,
        PRIMARY KEY (sequence)
        )
    STRICT""",
    """CREATE TABLE open_intents (
        intent INTEGER NOT NULL,
        PRIMARY KEY (intent),
        FOREIGN KEY(intent) REFERENCES intents (id)
        )
    STRICT""",
    """CREATE TABLE states (
        cycle INTEGER NOT NULL,
        version INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (cycle)
        )
    STRICT""",
)

MIGRATIONS: Final[Sequence[Sequence[str]]] = (_FIRST,)
"""The statements that lead from schema n to schema n + 1, at index n."""


def migrate(connection: Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> int:
    """Bring the schema up to date inside the caller's transaction; return how many steps it took."""
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    missing = migrations[version:]
    for statements in missing:
        for statement in statements:
            connection.exec_driver_sql(statement)
    if missing:
        connection.exec_driver_sql(f"PRAGMA user_version = {len(migrations)}")
    return len(missing)
