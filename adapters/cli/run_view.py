"""What is seen of a run while it runs: lines, a live table, or a JSON object per cycle."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from adapters.bootstrap.running import RunPlan
from adapters.cli import figures as f
from adapters.cli.documents import event_document, fill_document, incident_document, order_document
from adapters.cli.run_tally import Tally, missing_facts, summary_document, summary_text
from engine.codes import Disposition, IntentState, UnknownReason
from engine.model import Fill
from engine.runtime.cycle import Agent, CycleReport, Heard
from engine.runtime.journal_port import Incident, Intent, IntentEvent
from engine.verbs.plan import Planned
from engine.verbs.replay import cause_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

SCHEMA: Final = "run-v1"
_REFRESH_SECONDS: Final = 0.1
_JOINTS: Final = {
    Disposition.VETOED: " by ",
    Disposition.LIMITED: " by ",
    Disposition.OUTRANKED: " by ",
    Disposition.ACTED: ", limited by ",
}
_TOLD: Final = (IntentState.AMBIGUOUS, IntentState.CANCELLED, IntentState.EXPIRED, IntentState.REJECTED)


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """One symbol after a cycle."""

    symbol: str
    price: float | None
    quantity: int
    gain: float | None
    action: str
    rule: str  # the one that decided, or the first that wanted to
    disposition: Disposition
    cause: str
    missing: Mapping[str, UnknownReason]

    @property
    def verdict(self) -> tuple[str, str, int, str, bool]:
        """What must change for the row to be told again."""
        return self.action, self.rule, int(self.disposition), self.cause, bool(self.missing)

    @property
    def why(self) -> str:
        """The disposition in words: vetoed by cooldown."""
        if not self.rule:
            return f"no rule matches; unknown: {self._missing}" if self.missing else "no rule matches"
        word = self.disposition.word.replace("_", " ")
        joint = _JOINTS.get(self.disposition, ": ")
        return f"{word}{joint}{self.cause}" if self.cause else word

    @property
    def _missing(self) -> str:
        by_reason: dict[UnknownReason, list[str]] = {}
        for fact, reason in self.missing.items():
            by_reason.setdefault(reason, []).append(fact)
        return "; ".join(
            f"{', '.join(facts)} ({reason.word.replace('_', ' ')})" for reason, facts in by_reason.items()
        )


def symbol_row(item: Planned, agent: Agent) -> SymbolRow:
    """Sum a decision up."""
    decision, subject = item.decision, item.subject
    policy = subject.evaluator.policy
    bid = subject.values[policy.slot("price")]
    average = agent.state.ledger.holding(decision.symbol).average_price
    gain = None if average is None or math.isnan(bid) else bid / float(average) - 1
    index = decision.rule
    if index < 0:
        index = next((at for at, disposition in enumerate(decision.dispositions) if disposition), -1)
    rule, disposition, cause = "", Disposition.NONE, ""
    if index >= 0:
        rule = policy.rules[index].name
        disposition = tuple(Disposition)[decision.dispositions[index]]
        cause = cause_text(policy, disposition, decision.causes[index])
        if decision.order is not None and decision.order.limited_by >= 0:
            cause = policy.limits[decision.order.limited_by].name
    return SymbolRow(
        decision.symbol,
        None if math.isnan(bid) else bid,
        subject.quantity,
        gain,
        decision.action.name.lower(),
        rule,
        disposition,
        cause,
        missing_facts(policy, subject.reasons),
    )


class View(Protocol):
    """Someone who watches a run."""

    def begin(self, plan: RunPlan) -> None:
        """The agent was restored and is about to run."""

    def cycle(self, report: CycleReport) -> None:
        """A cycle was made, and is durable."""

    def tended(self, heard: Heard) -> None:
        """Something was heard of open orders between two cycles."""

    def end(self, tally: Tally, note: str) -> None:
        """The run ended; ``note`` says why where it was not asked to."""


# --- lines ------------------------------------------------------------------------------------


class LineView:
    """One line per order, fill and incident, and one when a symbol's decision changes."""

    decisions: bool = True

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: dict[str, tuple[str, str, int, str, bool]] = {}
        self._width = 0
        self._trouble = ""

    def _print(self, text: str) -> None:
        click.echo(text)

    def begin(self, plan: RunPlan) -> None:
        """Print what the agent is, and the notes."""
        self._plan = plan
        self._width = max((len(symbol) for symbol in plan.symbols), default=0)
        policy, state = plan.agent.policy, plan.agent.state
        after = f", continues after cycle {state.cycle} ({f.instant(state.cycle_ms)})" if state.cycle else ""
        self._print(f"agent {plan.name}: policy {policy.name} {policy.version} ({policy.digest[:6]}){after}")
        for note in plan.notes:
            self._print(f"note: {note}")

    def cycle(self, report: CycleReport) -> None:
        """Print what is new."""
        trouble = report.halted or report.skipped
        if trouble != self._trouble:
            self._trouble = trouble
            kind = "halted" if report.halted else "skipped" if report.skipped else "goes on"
            self._print(self._line(report.at_ms, "", kind, trouble))
        for event in report.events:
            self._event(event)
        for incident in report.incidents:
            self._print(self._incident(incident))
        ordered = {intent.order.symbol for intent in report.intents}
        for item in report.planned if self.decisions else ():
            row = symbol_row(item, self._plan.agent)
            if self._told.get(row.symbol) != row.verdict:
                self._told[row.symbol] = row.verdict
                if row.symbol not in ordered:
                    rule = f"{row.rule} " if row.rule else ""
                    self._print(self._line(report.at_ms, row.symbol, row.action.upper(), f"{rule}{row.why}"))
        for intent in report.intents:
            self._print(self._order(intent))
        for fill in report.fills:
            self._print(self._fill(fill))

    def tended(self, heard: Heard) -> None:
        """Print what came of open orders."""
        for event in heard.events:
            self._event(event)
        for fill in heard.fills:
            self._print(self._fill(fill))
        for incident in heard.incidents:
            self._print(self._incident(incident))

    def end(self, tally: Tally, note: str) -> None:
        """Print the summary."""
        self._print("")
        if note:
            self._print(note)
        for line in summary_text(tally, self._plan.agent, self._plan.name, self._plan.symbols):
            self._print(line)

    def _line(self, at_ms: int, symbol: str, kind: str, text: str) -> str:
        return f"{f.instant(at_ms)}  {symbol:<{self._width}}  {kind:<8}  {text}".rstrip()

    def _order(self, intent: Intent) -> str:
        order = intent.order
        at = "at market" if order.limit_price is None else f"at {f.price(order.limit_price)} or better"
        guard = ", protective" if intent.protective else ""
        text = f"{order.side.value} {f.quantity(order.quantity)} {at}   ({intent.rule}{guard})"
        return self._line(order.created_ms, order.symbol, "order", text)

    def _fill(self, fill: Fill) -> str:
        text = (
            f"{fill.side.value} {f.quantity(fill.quantity)} at {f.price(fill.price)}, fee {f.money(fill.fee)}"
        )
        return self._line(fill.at_ms, fill.symbol, "fill", text)

    def _event(self, event: IntentEvent) -> None:
        intent = self._plan.agent.ports.journal.intent(event.client_id) if event.state in _TOLD else None
        if intent is not None:
            order = intent.order
            became = f"{event.state.word}{f': {event.reason}' if event.reason else ''}"
            text = f"{order.side.value} {f.quantity(order.quantity)} {became}   ({intent.rule})"
            self._print(self._line(event.at_ms, order.symbol, "order", text))

    def _incident(self, incident: Incident) -> str:
        return self._line(incident.at_ms, incident.symbol, "incident", f"{incident.kind}: {incident.detail}")


# --- a live table -----------------------------------------------------------------------------


class TableView(LineView):
    """On a terminal: the same lines for orders, fills and incidents, above a table of all decisions."""

    decisions = False

    def __init__(self, colour: bool) -> None:
        """Take the terminal."""
        super().__init__()
        from rich.console import Console

        self._console: Console = Console(highlight=False, soft_wrap=True, no_color=not colour)
        self._live: Live | None = None
        self._shown_at = 0.0
        self._report: CycleReport | None = None

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)

    def begin(self, plan: RunPlan) -> None:
        """Print the notes and open the table."""
        from rich.live import Live

        super().begin(plan)
        # Drawn by us, not by a thread: between two cycles nothing changes.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def cycle(self, report: CycleReport) -> None:
        """Draw the table, at most ten times a second."""
        super().cycle(report)
        self._report = report
        if time.monotonic() - self._shown_at >= _REFRESH_SECONDS:
            self._draw()

    def end(self, tally: Tally, note: str) -> None:
        """Leave the last table standing, and print the summary."""
        self.close()
        if self._report is not None:
            self._console.print(self._table(self._report))
        super().end(tally, note)

    def close(self) -> None:
        """Give the terminal back; safe to call twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._live is not None and self._report is not None:
            self._live.update(self._table(self._report), refresh=True)
            self._shown_at = time.monotonic()

    def _table(self, report: CycleReport) -> Table:
        from rich.table import Table

        agent = self._plan.agent
        title = f"cycle {report.cycle}   {f.instant(report.at_ms)}   equity {f.money(report.figures.equity)}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in ("symbol", "price", "position", "gain", "action", "rule", "why", "missing"):
            numeric = name in ("price", "position", "gain", "missing")
            table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
        for item in report.planned:
            row = symbol_row(item, agent)
            colour = {"buy": "green", "sell": "magenta"}.get(row.action, "")
            table.add_row(
                row.symbol,
                "unknown" if row.price is None else f.price(round(row.price * 10**8)),
                f.quantity(row.quantity) if row.quantity else "",
                "" if row.gain is None else f.percent(row.gain),
                row.action.upper(),
                row.rule,
                row.why,
                str(len(row.missing)) if row.missing else "",
                style=colour,
            )
        return table


# --- JSON lines -------------------------------------------------------------------------------


class JsonView:
    """One JSON object a line: the beginning, every cycle, the end; schema run-v1."""

    def _print(self, event: str, document: Mapping[str, Any]) -> None:
        line = {"schema": SCHEMA, "event": event, **document}
        click.echo(json.dumps(line, ensure_ascii=False, allow_nan=False))
        sys.stdout.flush()  # whoever reads along wants each cycle when it is made

    def begin(self, plan: RunPlan) -> None:
        """Print what the agent is."""
        self._plan = plan
        policy, state = plan.agent.policy, plan.agent.state
        self._print(
            "begin",
            {
                "agent": plan.name,
                "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
                "symbols": list(plan.symbols),
                "after_cycle": state.cycle,
                "after_at": f.iso_or_none(state.cycle_ms),
                "notes": list(plan.notes),
            },
        )

    def cycle(self, report: CycleReport) -> None:
        """Print a cycle."""
        self._print(
            "cycle",
            {
                "cycle": report.cycle,
                "at": f.iso(report.at_ms),
                "cash": f.money_number(report.figures.cash),
                "equity": f.money_number(report.figures.equity),
                "equity_estimated": report.figures.estimated_share,
                "drawdown": report.figures.drawdown,
                "halted": report.halted or None,
                "skipped": report.skipped or None,
                "unguarded": list(report.unguarded),
                "decisions": [_decision(symbol_row(item, self._plan.agent)) for item in report.planned],
                "orders": [order_document(intent) for intent in report.intents],
                **_heard(report.events, report.fills, report.incidents),
            },
        )

    def tended(self, heard: Heard) -> None:
        """Print what came of open orders, if anything did."""
        if heard.events or heard.fills or heard.incidents:
            self._print("between", _heard(heard.events, heard.fills, heard.incidents))

    def end(self, tally: Tally, note: str) -> None:
        """Print the summary."""
        self._print("end", {"note": note, **summary_document(tally, self._plan.agent)})


def _heard(
    events: Sequence[IntentEvent], fills: Sequence[Fill], incidents: Sequence[Incident]
) -> dict[str, Any]:
    return {
        "order_events": [event_document(event) for event in events],
        "fills": [fill_document(fill) for fill in fills],
        "incidents": [incident_document(incident) for incident in incidents],
    }


def _decision(row: SymbolRow) -> dict[str, Any]:
    return {
        "symbol": row.symbol,
        "price": row.price,
        "position": f.quantity_number(row.quantity),
        "gain": row.gain,
        "action": row.action,
        "rule": row.rule or None,
        "disposition": row.disposition.word,
        "cause": row.cause or None,
        "missing": {fact: reason.word for fact, reason in row.missing.items()},
    }
