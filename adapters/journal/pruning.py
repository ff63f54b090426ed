"""Forgetting: what may go, and what the records that stay still need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from adapters.journal import tables as t


def forget(connection: Connection, first: int, fulls: Sequence[Mapping[str, Any]]) -> int:
    """Forget the cycles before ``first`` in the caller's transaction; return how many were left whole.

    ``fulls`` are the rows of full records to be written for what continues a forgotten one.  A cycle
    with an intent loses its frame only, and keeps the full records of the symbols that it traded.
    """
    whole = t.cycles.c.id < first, t.cycles.c.frame.is_not(None)
    count = connection.scalar(select(func.count()).select_from(t.cycles).where(*whole)) or 0
    if not count:
        return 0
    if fulls:
        connection.execute(insert(t.decisions), fulls)
    traded = select(t.intents.c.cycle)
    of_intent = (
        select(t.intents.c.id)
        .where(
            t.intents.c.symbol == t.decisions.c.symbol,
            t.intents.c.cycle == t.decisions.c.id // t.decision_id(1, 0),
        )
        .exists()
    )
    connection.execute(delete(t.decisions).where(t.decisions.c.id < t.decision_id(first, 0), ~of_intent))
    connection.execute(delete(t.cycles).where(t.cycles.c.id < first, t.cycles.c.id.not_in(traded)))
    connection.execute(update(t.cycles).where(*whole).values(frame=None, roster=None))
    connection.execute(delete(t.states).where(t.states.c.cycle < first))
    for table, used in (
        (t.policies, select(t.cycles.c.policy)),
        (t.rosters, select(t.cycles.c.roster).where(t.cycles.c.roster.is_not(None))),
    ):
        newest = select(func.max(table.c.id))
        connection.execute(
            delete(table).where(table.c.id.not_in(used), table.c.id != newest.scalar_subquery())
        )
    return count
