"""``tradectl funnel``: each directional signal from birth to its one disposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

import click

from adapters.bootstrap import current_agent, open_reader
from adapters.cli import figures as f
from adapters.cli.explain_journal import require_decided
from adapters.cli.instants import parse_instant
from adapters.cli.output import ExitCode, Output, common_options
from engine.runtime.replay import count_funnel
from engine.verbs.funnel import Funnel, FunnelRow

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
    """Count what became of each directional signal.

    A signal that says buy or sell on one bar of a symbol is one instance, whatever the number of cycles in
    which it stands; its one disposition is the furthest that it reached.  The numbers add up.  With
    --recount the reference evaluator decides every record again from its facts; exit code 1 if it counts
    otherwise.
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
                **asdict(counted),
                "recount": None if again is None else {"equal": again == counted, **asdict(again)},
            }
        )
    else:
        output.show("\n".join(_lines(counted, again, folder.path.name)))
    return ExitCode.OK if again is None or again == counted else ExitCode.FINDING


# --- for people -------------------------------------------------------------------------------

_HEADINGS: Final = ("signal", "disposition", "rule", "settled by", "instances", "cycles")


def _lines(funnel: Funnel, again: Funnel | None, agent: str) -> Iterator[str]:
    table: list[Sequence[str]] = [_HEADINGS]
    shown = ""
    for key in dict.fromkeys((row.signal, row.side) for row in funnel.rows):
        rows = [row for row in funnel.rows if (row.signal, row.side) == key]
        for row in rows:
            name = f"{row.signal} {row.side.upper()}"
            table.append(_cells("" if name == shown else name, row))
            shown = name
        table.append(("", "total", "", "", *_numbers(rows)))
    if funnel.rows:
        yield from _aligned(table)
    yield (
        f"agent {agent}: {_counted(funnel.decisions, 'decision')}; a signal had a side "
        f"{_counted(funnel.cycles, 'time')}: {_counted(funnel.instances, 'instance')}"
        + (f" ({funnel.open} still open: on their symbol's last bar)" if funnel.open else "")
    )
    if funnel.rows:
        by_disposition: dict[str, int] = {}
        for row in funnel.rows:
            by_disposition[row.disposition] = by_disposition.get(row.disposition, 0) + row.instances
        parts = " + ".join(
            f"{count} {word.replace('_', ' ')}" for word, count in by_disposition.items() if count
        )
        yield f"it adds up: {parts} = {funnel.instances}"
    if again is not None:
        yield "recounted from the facts: " + ("equal" if again == funnel else "NOT equal")
        yield from _differences(funnel, again)


def _cells(name: str, row: FunnelRow) -> tuple[str, ...]:
    cause = f"{row.cause} is not true" if row.cause and row.disposition == "not_adopted" else row.cause
    return (name, row.disposition.replace("_", " "), row.rule, cause, *_numbers([row]))


def _numbers(rows: Sequence[FunnelRow]) -> tuple[str, str]:
    return str(sum(row.instances for row in rows)), str(sum(row.cycles for row in rows))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay cells out in columns, the last two to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        left = [cell.ljust(width) for cell, width in zip(cells[:-2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[-2:], widths[-2:], strict=True)]
        yield "  ".join((*left, *right)).rstrip()


def _differences(counted: Funnel, again: Funnel) -> Iterator[str]:
    """Yield the rows that a recount has otherwise."""
    for sign, rows, others in (("-", counted.rows, again.rows), ("+", again.rows, counted.rows)):
        for row in rows:
            if row not in others:
                cells = (sign, *_cells(f"{row.signal} {row.side.upper()}", row))
                yield "  ".join(cell for cell in cells if cell)
