"""``tradectl funnel``: each directional signal, and each proposal, from birth to its one disposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from adapters.bootstrap.agents import current_agent, open_reader
from adapters.cli import figures as f
from adapters.cli.explain_journal import require_decided
from adapters.cli.instants import parse_instant
from adapters.cli.output import ExitCode, Output, common_options
from engine.codes import Disposition
from engine.runtime.recount import count_funnel
from engine.verbs.funnel import Counted, Funnel, FunnelRow, SignalReadings

SCHEMA: Final = "funnel-v1"


@click.command
@click.option("--agent", metavar="NAME", help="Which agent's journal [the one that ran last].")
@click.option("--symbol", metavar="SYMBOL", help="Only the signals of one symbol.")
@click.option("--from", "from_time", metavar="TIME", help="Only cycles at or after an instant.")
@click.option("--to", "to_time", metavar="TIME", help="Only cycles at or before an instant.")
@click.option(
    "--recount", is_flag=True, help="Decide every record again from its facts, and compare the counts."
)
@common_options
def command(
    output: Output,
    agent: str | None,
    symbol: str | None,
    from_time: str | None,
    to_time: str | None,
    recount: bool,
) -> ExitCode:
    """Count what became of each directional signal, and of what each rule proposed.

    A signal that says buy or sell on one bar of a symbol is one instance, whatever the number of cycles in
    which it stands; its one disposition is the furthest that it reached.  A rule's proposals are counted
    alike.  The numbers add up.  With --recount the reference evaluator decides every record again from its
    facts; exit code 1 if it counts otherwise.
    """
    from_ms = None if from_time is None else parse_instant(from_time, "--from")
    to_ms = None if to_time is None else parse_instant(to_time, "--to")
    folder = current_agent(output.state_dir, agent)
    reader = open_reader(folder)
    try:
        if symbol is not None:
            require_decided(reader, folder.path.name, symbol)
        counted = count_funnel(reader, symbol=symbol, from_ms=from_ms, to_ms=to_ms)
        again = None
        if recount:
            again = count_funnel(reader, symbol=symbol, from_ms=from_ms, to_ms=to_ms, again=True)
    finally:
        reader.close()
    if output.as_json:
        output.document(
            {
                "schema": SCHEMA,
                "agent": folder.path.name,
                "symbol": symbol,
                "from": None if from_ms is None else f.iso(from_ms),
                "to": None if to_ms is None else f.iso(to_ms),
                **_document(counted),
                "recount": None if again is None else {"equal": again == counted, **_document(again)},
            }
        )
    else:
        output.show("\n".join(_lines(counted, again, folder.path.name)))
    return ExitCode.OK if again is None or again == counted else ExitCode.FINDING


def _document(funnel: Funnel) -> dict[str, Any]:
    signals, candidates = asdict(funnel.signals), asdict(funnel.candidates)
    for row in signals["rows"]:
        row["signal"] = row.pop("name")
    for row in candidates["rows"]:
        row["action"] = row.pop("side")
        del row["name"]
    return {
        "decisions": funnel.decisions,
        "readings": [asdict(one) for one in funnel.readings],
        "signals": signals,
        "candidates": candidates,
    }


# --- for people -------------------------------------------------------------------------------

_BY_SIGNAL: Final = ("signal", "disposition", "rule", "settled by", "instances", "cycles")
_BY_RULE: Final = ("rule", "disposition", "", "settled by", "instances", "cycles")


def _lines(funnel: Funnel, again: Funnel | None, agent: str) -> Iterator[str]:
    yield f"agent {agent}: {_many(funnel.decisions, 'decision')}"
    for headings, counted, noun in (
        (_BY_SIGNAL, funnel.signals, "signal"),
        (_BY_RULE, funnel.candidates, "proposal"),
    ):
        yield ""
        yield from _table(headings, counted)
        if counted is funnel.signals:
            yield from _unread(funnel.readings)
        yield (
            f"{_many(counted.instances, noun)} in {_many(counted.cycles, 'cycle')}"
            + (f", {counted.open} still open: on the last bar of their symbol" if counted.open else "")
        )
        if counted.rows:
            yield f"it adds up: {_sum(counted)}"
    if again is not None:
        yield ""
        yield "recounted from the facts: " + ("equal" if again == funnel else "NOT equal")
        yield from _differences(funnel.signals.rows, again.signals.rows)
        yield from _differences(funnel.candidates.rows, again.candidates.rows)


def _unread(readings: Sequence[SignalReadings]) -> Iterator[str]:
    """Yield how often a signal had no side, or could not be known."""
    for one in readings:
        counts = ((one.undirected, "had no side"), (one.unknown, "was unknown"))
        texts = [f"{text} in {_many(count, 'decision')}" for count, text in counts if count]
        if texts:
            yield f"{one.signal} {' and '.join(texts)}"


def _table(headings: Sequence[str], counted: Counted) -> Iterator[str]:
    if not counted.rows:
        return
    table: list[Sequence[str]] = [headings]
    for name, side in dict.fromkeys((row.name, row.side) for row in counted.rows):
        rows = [row for row in counted.rows if (row.name, row.side) == (name, side)]
        for index, row in enumerate(rows):
            table.append(_cells(row, named=index == 0))
        if len(rows) > 1:
            table.append(("", "total", "", "", *_numbers(rows)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        left = [cell.ljust(width) for cell, width in zip(cells[:-2], widths, strict=False) if width]
        right = [cell.rjust(width) for cell, width in zip(cells[-2:], widths[-2:], strict=True)]
        yield "  ".join((*left, *right)).rstrip()


def _cells(row: FunnelRow, *, named: bool = True) -> tuple[str, ...]:
    cause = row.cause
    if cause and row.disposition == Disposition.NOT_ADOPTED.word:
        cause = f"{cause} is not true"
    elif cause and row.disposition == Disposition.ACTED.word:
        cause = f"{cause} shrank it"
    name = f"{row.name} {row.side.upper()}" if named else ""
    rule = "" if row.rule == row.name else row.rule
    return (name, row.disposition.replace("_", " "), rule, cause, *_numbers([row]))


def _numbers(rows: Sequence[FunnelRow]) -> tuple[str, str]:
    return str(sum(row.instances for row in rows)), str(sum(row.cycles for row in rows))


def _sum(counted: Counted) -> str:
    """Return the instances of each disposition as a sum that a person can add up."""
    by_disposition: dict[str, int] = {}
    for row in counted.rows:
        by_disposition[row.disposition] = by_disposition.get(row.disposition, 0) + row.instances
    parts = [f"{count} {word.replace('_', ' ')}" for word, count in by_disposition.items() if count]
    return f"{' + '.join(parts)} = {counted.instances}"


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _differences(counted: Sequence[FunnelRow], again: Sequence[FunnelRow]) -> Iterator[str]:
    """Yield the rows that a recount has otherwise."""
    for sign, rows, others in (("-", counted, again), ("+", again, counted)):
        for row in rows:
            if row not in others:
                yield "  ".join(cell for cell in (sign, *_cells(row)) if cell)
