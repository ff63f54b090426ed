"""The funnel of a journal: from the dispositions it keeps, or from its facts alone."""

from __future__ import annotations

from collections.abc import Iterator

from engine.runtime.journal_port import CycleHead, JournalReader
from engine.runtime.replay import JournalReplayer
from engine.verbs.funnel import Funnel, FunnelCounter
from engine.verbs.record import DecisionRecord
from engine.verbs.replay import context_of


def count_funnel(
    journal: JournalReader,
    *,
    symbol: str | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    again: bool = False,
) -> Funnel:
    """Count what became of the directional signals; ``again`` decides every record anew, believing none.

    Raises ReplayError and JournalError as ``JournalReplayer.replay``.
    """
    replayer, counter = JournalReplayer(), FunnelCounter()
    for head, record in _records(journal, symbol, from_ms, to_ms):
        if again:
            replayed = replayer.replay(head, record)
            counter.add(replayed.lowered, replayed.values, replayed.decision, replayed.bar_open_seconds)
        else:
            bar_open_seconds = context_of(record)["bar_open_seconds"]
            counter.add(
                replayer.lowered(head, record), list(record.values), record.decision, bar_open_seconds
            )
    return counter.funnel()


def _records(
    journal: JournalReader, symbol: str | None, from_ms: int | None, to_ms: int | None
) -> Iterator[tuple[CycleHead, DecisionRecord]]:
    if symbol is not None:
        for stored in journal.decisions(symbol, from_ms, to_ms):
            yield stored.head, stored.record
        return
    for cycle in journal.cycles(from_ms, to_ms):
        for record in cycle.decisions:
            yield cycle.head, record
