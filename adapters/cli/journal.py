"""``tradectl journal``: what an agent has recorded, whether it is sound, how large it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, TypeVar

import click

from adapters.bootstrap.agents import AgentFolder, current_agent, open_reader
from adapters.cli import figures as f
from adapters.cli.documents import event_document, fill_document, incident_document, order_document
from adapters.cli.output import ExitCode, Output, common_options
from adapters.journal.reading import ReadJournal
from engine.codes import Disposition, IntentState
from engine.errors import NotFoundError
from engine.model import Fill
from engine.runtime.journal_port import CycleHead, Incident, Intent, IntentEvent, PolicyText
from engine.verbs.record import DecisionRecord, Layout

SCHEMA: Final = "journal-v1"
_Row = TypeVar("_Row")


@click.group
def command() -> None:
    """Look into an agent's journal, check it, prune it.

    Reading works while the agent runs and after it was killed; pruning wants it stopped.
    """


def _agent_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--agent", metavar="NAME", help="Which agent [the one that ran last].")(function)


def _last_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--last",
        type=click.IntRange(1),
        default=20,
        show_default=True,
        metavar="N",
        help="Only the newest N.",
    )(function)


@contextmanager
def _reading(output: Output, agent: str | None) -> Iterator[tuple[AgentFolder, ReadJournal]]:
    folder = current_agent(output.state_dir, agent)
    reader = open_reader(folder)
    try:
        yield folder, reader
    finally:
        reader.close()


def _show(
    output: Output,
    kind: str,
    folder: AgentFolder,
    documents: list[dict[str, Any]],
    table: Sequence[tuple[str, ...]],
    nothing: str,
) -> None:
    """Print a list: as one document, or as a table."""
    if output.as_json:
        output.document({"schema": SCHEMA, "agent": folder.path.name, kind: documents})
    else:
        output.show("\n".join(f.laid_out(table)) if table else nothing)


def _newest(rows: Iterable[_Row], count: int) -> list[_Row]:
    return list(deque(rows, maxlen=count))


# --- cycles -----------------------------------------------------------------------------------


@command.command("list")
@_agent_option
@_last_option
@common_options
def list_command(output: Output, agent: str | None, last: int) -> None:
    """List the newest cycles."""
    with _reading(output, agent) as (folder, reader):
        heads = reader.recent_heads(last)
    table = [
        (
            str(head.cycle),
            f.instant(head.at_ms),
            f"equity {f.money(head.account.equity)}",
            f"cash {f.money(head.account.cash)}",
            f"{head.policy.name} {head.policy.version} ({head.policy.digest[:6]})",
        )
        for head in heads
    ]
    _show(output, "cycles", folder, [_head_document(head) for head in heads], table, "no cycle yet")


@command.command("show")
@click.argument("cycle", type=click.IntRange(1))
@_agent_option
@common_options
def show_command(output: Output, cycle: int, agent: str | None) -> None:
    """Show a CYCLE: every decision in it, and the orders it made."""
    with _reading(output, agent) as (folder, reader):
        head = reader.cycle_head(cycle)
        if head is None:
            last = reader.last_cycle()
            newest = "no cycle yet" if last is None else f"the newest is {last.cycle}"
            raise NotFoundError(f"the journal of {folder.path.name} has no cycle {cycle} ({newest})")
        stored = next(one for one in reader.cycles(head.at_ms, head.at_ms) if one.head.cycle == cycle)
        intents = [
            intent
            for record in stored.decisions
            for intent in reader.intents_of_decision(cycle, record.symbol)
        ]
    if output.as_json:
        output.document(
            {
                "schema": SCHEMA,
                "agent": folder.path.name,
                "cycle": _head_document(head),
                "pruned": stored.pruned,
                "decisions": [_decision_document(record) for record in stored.decisions],
                "orders": [order_document(intent) for intent in intents],
            }
        )
        return
    policy = f"{head.policy.name} {head.policy.version} ({head.policy.digest[:6]})"
    lines = [
        f"cycle {cycle}   {f.instant(head.at_ms)}   {policy}   equity {f.money(head.account.equity)}   "
        f"cash {f.money(head.account.cash)}"
    ]
    if stored.pruned:
        lines.append("pruned: only the decisions that made an order are left")
    lines += f.laid_out([_decision_row(record) for record in stored.decisions])
    lines += [_order_line(intent) for intent in intents]
    output.show("\n".join(lines))


def _head_document(head: CycleHead) -> dict[str, Any]:
    return {
        "cycle": head.cycle,
        "at": f.iso(head.at_ms),
        "cash": f.money_number(head.account.cash),
        "equity": f.money_number(head.account.equity),
        "reserved": f.money_number(head.account.reserved),
        "equity_estimated": head.account.estimated_millionths / 1_000_000,
        "policy": _policy_name(head.policy),
    }


def _policy_name(policy: PolicyText) -> dict[str, str]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest}


def _rule(layout: Layout, index: int) -> str | None:
    return layout.rules[index] if index >= 0 else None


def _became(record: DecisionRecord) -> dict[str, str]:
    """Return what became of each rule that proposed something."""
    return {
        rule: tuple(Disposition)[disposition].word
        for rule, disposition in zip(record.layout.rules, record.decision.dispositions, strict=True)
        if disposition
    }


def _decision_document(record: DecisionRecord) -> dict[str, Any]:
    return {
        "symbol": record.symbol,
        "action": record.decision.action.name.lower(),
        "rule": _rule(record.layout, record.decision.rule),
        "candidates": _became(record),
        "unknown": [
            slot.name
            for slot, value in zip(record.layout.slots, record.values, strict=True)
            if value != value
        ],
    }


def _decision_row(record: DecisionRecord) -> tuple[str, ...]:
    candidates = ", ".join(f"{rule} {word.replace('_', ' ')}" for rule, word in _became(record).items())
    return record.symbol, record.decision.action.name, candidates


# --- orders, fills, incidents, policies -------------------------------------------------------


@command.command
@click.option("--symbol", help="Only of this symbol.")
@_agent_option
@_last_option
@common_options
def orders(output: Output, symbol: str | None, agent: str | None, last: int) -> None:
    """List the newest orders, each with what became of it."""
    with _reading(output, agent) as (folder, reader):
        newest = _newest(reader.intents(symbol), last)
        told = [(intent, reader.intent_events(intent.order.client_id)) for intent in newest]
    documents = [
        {**order_document(intent), "events": [event_document(event) for event in events]}
        for intent, events in told
    ]
    table = [_order_row(intent, events[-1]) for intent, events in told]
    _show(output, "orders", folder, documents, table, "no order yet")


def _order_row(intent: Intent, event: IntentEvent) -> tuple[str, ...]:
    order = intent.order
    filled = ""
    if event.filled_quantity and event.state is not IntentState.FILLED:
        filled = f", {f.quantity(event.filled_quantity)} filled"
    reason = f": {event.reason}" if event.reason else ""
    return (
        f.instant(order.created_ms),
        order.symbol,
        f"{order.side.value} {f.quantity(order.quantity)}",
        "at market" if order.limit_price is None else f"at {f.price(order.limit_price)}",
        intent.rule,
        f"cycle {intent.cycle}",
        f"{event.state.word.replace('_', ' ')}{filled}{reason}",
    )


def _order_line(intent: Intent) -> str:
    order = intent.order
    at = "at market" if order.limit_price is None else f"at {f.price(order.limit_price)}"
    return f"order {order.symbol} {order.side.value} {f.quantity(order.quantity)} {at}   ({intent.rule})"


@command.command
@click.option("--symbol", help="Only of this symbol.")
@_agent_option
@_last_option
@common_options
def fills(output: Output, symbol: str | None, agent: str | None, last: int) -> None:
    """List the newest fills."""
    with _reading(output, agent) as (folder, reader):
        newest = _newest(reader.fills(symbol), last)
    table = [_fill_row(fill) for fill in newest]
    _show(output, "fills", folder, [fill_document(fill) for fill in newest], table, "no fill yet")


def _fill_row(fill: Fill) -> tuple[str, ...]:
    return (
        f.instant(fill.at_ms),
        fill.symbol,
        f"{fill.side.value} {f.quantity(fill.quantity)}",
        f"at {f.price(fill.price)}",
        f"{f.money(fill.notional)}",
        f"fee {f.money(fill.fee)}",
    )


@command.command
@_agent_option
@_last_option
@common_options
def incidents(output: Output, agent: str | None, last: int) -> None:
    """List the newest incidents: what a person must know of."""
    with _reading(output, agent) as (folder, reader):
        newest = _newest(reader.incidents(), last)
    table = [_incident_row(incident) for incident in newest]
    documents = [incident_document(incident) for incident in newest]
    _show(output, "incidents", folder, documents, table, "no incident")


def _incident_row(incident: Incident) -> tuple[str, ...]:
    return f.instant(incident.at_ms), incident.symbol, f"{incident.kind}: {incident.detail}"


@command.command
@click.option("--digest", help="Print the full text of the policy whose digest begins so.")
@_agent_option
@common_options
def policies(output: Output, digest: str | None, agent: str | None) -> None:
    """List the policies that have decided here, or print the text of one as it decided."""
    with _reading(output, agent) as (folder, reader):
        kept = reader.policies()
    if digest is not None:
        kept = [(policy, at_ms) for policy, at_ms in kept if policy.digest.startswith(digest)]
        if not kept:
            raise NotFoundError(f"no policy whose digest begins with '{digest}' has decided here")
        if not output.as_json:
            output.show(kept[-1][0].text)
            return
    documents: list[dict[str, Any]] = [
        {**_policy_name(policy), "added_at": f.iso(at_ms), "text": policy.text} for policy, at_ms in kept
    ]
    table = [(f.instant(at_ms), policy.name, policy.version, policy.digest) for policy, at_ms in kept]
    _show(output, "policies", folder, documents, table, "no policy yet")


# --- the file ---------------------------------------------------------------------------------


@command.command
@_agent_option
@common_options
def verify(output: Output, agent: str | None) -> ExitCode:
    """Read the whole journal and check every record; exit code 1 if anything is wrong."""
    with _reading(output, agent) as (folder, reader):
        wrong = reader.verify()
        last = reader.last_cycle()
    cycles = 0 if last is None else last.cycle
    if output.as_json:
        document = {"schema": SCHEMA, "agent": folder.path.name, "sound": not wrong, "wrong": list(wrong)}
        output.document(document)
    else:
        output.show("\n".join(wrong) or f"{folder.journal}: sound, up to cycle {cycles}")
    return ExitCode.FINDING if wrong else ExitCode.OK


@command.command
@_agent_option
@common_options
def size(output: Output, agent: str | None) -> None:
    """Say where the journal's bytes are."""
    with _reading(output, agent) as (folder, reader):
        report = reader.size_report()
    if output.as_json:
        document: Mapping[str, Any] = {**asdict(report), "tables": dict(report.tables)}
        output.document({"schema": SCHEMA, "agent": folder.path.name, "size": document})
        return
    records = report.full_records
    rows = [
        ("file", _bytes(report.file_bytes), str(folder.journal)),
        ("log", _bytes(report.log_bytes), "written ahead, not yet in the file"),
        ("reserve", _bytes(report.reserve_bytes), "set aside for exits on a full disk"),
        ("cycles", f"{report.cycles:,}", f"{_bytes(report.frame_bytes)} of unchanged and changed decisions"),
        ("records", f"{records:,}", f"{_bytes(report.full_packed_bytes)} of decisions kept in full"),
    ]
    largest = sorted(report.tables.items(), key=lambda table: -table[1])[:8]
    rows += [("table", _bytes(count), name) for name, count in largest]
    output.show("\n".join(f.laid_out(rows)))


def _bytes(count: int) -> str:
    return f"{count:,} bytes"


@command.command
@click.option(
    "--keep",
    required=True,
    metavar="N|DURATION",
    help="How many cycles stay, or for how long before the newest (30d, 12h).",
)
@_agent_option
@common_options
def prune(output: Output, keep: str, agent: str | None) -> None:
    """Forget old cycles.

    Orders, fills, incidents and policies stay, and so do the decisions that made an order.
    """
    seconds = f.parse_span(keep)
    if seconds is None and not (keep.isascii() and keep.isdigit() and int(keep) > 0):
        raise click.BadParameter(
            f"'{keep}' is neither a number of cycles (1000) nor a duration (30d)", param_hint="--keep"
        )
    from adapters.clock import WallClock
    from adapters.journal.store import open_journal

    folder = current_agent(output.state_dir, agent)
    journal = open_journal(folder.journal, at_ms=WallClock().now_utc_ms())
    try:
        report = journal.prune(None if seconds is not None else int(keep), seconds)
    finally:
        journal.close()
    if output.as_json:
        output.document({"schema": SCHEMA, "agent": folder.path.name, "pruned": asdict(report)})
    else:
        output.show(
            f"{report.cycles_removed:,} cycles forgotten; {_bytes(report.bytes_before)} before, "
            f"{_bytes(report.bytes_after)} now"
        )
