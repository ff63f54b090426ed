"""The journal's tables, for queries.  ``migrations`` makes them; a test holds the two together.

Append-only tables reserve ``previous_hash`` for a chain of hashes; it is NULL in this release.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from engine.errors import JournalError

APPLICATION_ID: Final = 0x74_72_4A_6C  # "trJl": says that a SQLite file is a journal

_SYMBOL_BITS: Final = 20


def decision_id(cycle: int, symbol: int) -> int:
    """Return the key of a full record: cycle, then symbol, so that records lie in order of time."""
    return cycle << _SYMBOL_BITS | symbol


def cycle_of(decision: int) -> int:
    """Return the cycle of a full record's key."""
    return decision >> _SYMBOL_BITS


MAXIMUM_SYMBOLS: Final = 1 << _SYMBOL_BITS


class Scaled(TypeDecorator[int]):
    """A scaled integer as decimal text: many units of a cheap coin outgrow SQLite's 64 bits."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """Write the number."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ANN401 - as the base class
        """Read the number; JournalError where it is none."""
        try:
            return None if value is None else int(value)
        except ValueError as error:
            raise JournalError(f"{value!r} stands where a number was kept") from error


metadata: Final = MetaData()


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    return Table(name, metadata, *columns, sqlite_strict=True)


def _key(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


def _integer(name: str, refers_to: str = "", *, null: bool = False) -> Column[int]:
    reference = [ForeignKey(refers_to)] if refers_to else []
    return Column(name, Integer, *reference, nullable=null)


def _text(name: str, *, unique: bool = False) -> Column[str]:
    return Column(name, Text, nullable=False, unique=unique)


def _scaled(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, Scaled, nullable=null)


def _blob(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


def _previous_hash() -> Column[bytes]:
    return _blob("previous_hash", null=True)


meta: Final = _table("meta", Column("name", Text, primary_key=True, nullable=False), _text("value"))

policies: Final = _table(
    "policies",
    _key("id"),
    _text("digest"),
    _text("name"),
    _text("version"),
    _text("text"),
    _text("engine_digest"),
    _text("vocabulary_digest"),
    _text("calendar_digest"),
    _integer("added_ms"),
    Index(
        "policies_by_digest", "digest", "engine_digest", "vocabulary_digest", "calendar_digest", unique=True
    ),
)

layouts: Final = _table("layouts", _key("id"), _text("digest", unique=True), _text("text"))

symbols: Final = _table("symbols", _key("id"), _text("name", unique=True))

# Which symbols a cycle decided on, in the order of its frame, and by which layout.
rosters: Final = _table("rosters", _key("id"), _blob("members"))

cycles: Final = _table(
    "cycles",
    _key("id"),
    _integer("at_ms"),
    _integer("policy", "policies.id"),
    _integer("roster", "rosters.id", null=True),  # NULL, like the frame, in a pruned cycle
    _scaled("cash"),
    _scaled("reserved"),
    _scaled("equity"),
    _integer("estimated_millionths"),
    _integer("sequence"),
    _blob("frame", null=True),
    _previous_hash(),
    Index("cycles_by_time", "at_ms"),
)

# Full records; what changed since them is in the frames of the cycles.
decisions: Final = _table(
    "decisions",
    _key("id"),
    _integer("symbol", "symbols.id"),
    _integer("layout", "layouts.id"),
    _blob("packed"),
    _previous_hash(),
    Index("decisions_by_symbol", "symbol", "id"),
)

intents: Final = _table(
    "intents",
    _key("id"),
    _text("client_id", unique=True),
    _integer("cycle", "cycles.id"),
    _integer("symbol", "symbols.id"),
    _text("side"),
    _scaled("quantity"),
    _scaled("limit_price", null=True),
    _text("order_type"),
    _text("time_in_force"),
    _integer("expires_ms", null=True),
    _integer("created_ms"),
    _text("rule"),
    _integer("protective"),
    _previous_hash(),
    Index("intents_by_symbol", "symbol", "cycle"),
)

# The four tables below share one series of sequence numbers: the order in which things happened.
intent_events: Final = _table(
    "intent_events",
    _key("sequence"),
    _integer("intent", "intents.id"),
    _integer("state"),
    _integer("at_ms"),
    _scaled("filled_quantity"),
    _text("venue_id"),
    _text("reason"),
    _previous_hash(),
    Index("intent_events_by_intent", "intent", "sequence"),
)

fills: Final = _table(
    "fills",
    _key("sequence"),
    _text("fill_id", unique=True),
    _integer("intent", "intents.id"),
    _integer("symbol", "symbols.id"),
    _text("side"),
    _scaled("quantity"),
    _scaled("price"),
    _scaled("notional"),
    _scaled("fee"),
    _integer("at_ms"),
    _previous_hash(),
    Index("fills_by_intent", "intent"),
)

account_events: Final = _table(
    "account_events",
    _key("sequence"),
    _text("kind"),
    _integer("at_ms"),
    _scaled("amount", null=True),
    _text("detail"),
    _previous_hash(),
)

incidents: Final = _table(
    "incidents",
    _key("sequence"),
    _text("kind"),
    _integer("at_ms"),
    _text("symbol"),
    _text("client_id"),
    _text("detail"),
    _previous_hash(),
)

# Not a record but an index: intents whose last event is not final.
open_intents: Final = _table("open_intents", Column("intent", ForeignKey("intents.id"), primary_key=True))

# The newest states only; older ones are made again from the records.
states: Final = _table("states", _key("cycle"), _integer("version"), _blob("packed"))
