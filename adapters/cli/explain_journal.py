"""``tradectl explain`` out of the journal: a decision made again, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from adapters.bootstrap.agents import AgentFolder, current_agent, open_reader
from adapters.bootstrap.policies import load_named_policy
from adapters.cli import figures as f
from adapters.cli.documents import event_document, fill_document, order_document
from adapters.cli.explain import Asked, Subject, explained, laid_out, rows, traded_listing
from adapters.cli.instants import parse_instant
from adapters.cli.output import ExitCode, Output
from adapters.journal.reading import ReadJournal
from engine.codes import Action, Disposition, IntentState
from engine.errors import NotFoundError
from engine.language.policy import Policy
from engine.model import Decision, Fill, WorkingOrder
from engine.runtime.journal_port import CycleHead, Intent, IntentEvent, StoredDecision
from engine.runtime.recall import Recalled, recall, suppose, with_limits_counted
from engine.verbs.record import Layout
from engine.verbs.replay import ReplayError
from engine.verbs.statement import Statement


@dataclass(frozen=True, slots=True)
class Followed:
    """An order that a decision made, and what came of it."""

    intent: Intent
    events: Sequence[IntentEvent]
    fills: Sequence[Fill]


def explain_recorded(
    output: Output,
    symbol: str,
    at: str | None,
    agent: str | None,
    policy_name: str | None,
    what_if: Statement | None,
    asked: Asked,
) -> ExitCode:
    """Explain a recorded decision, or what its facts would decide otherwise."""
    at_ms = None if at is None else parse_instant(at, "--at")
    other = None if policy_name is None else load_named_policy(policy_name).required()
    folder = current_agent(output.state_dir, agent)
    reader = open_reader(folder)
    try:
        recalled = _recalled(reader, folder, _found(reader, folder, symbol, at_ms), other, what_if, asked)
        orders = [] if recalled.supposed else _followed(reader, recalled.stored)
    finally:
        reader.close()
    subject = Subject(recalled.policy, recalled.listing, recalled.lowered, recalled.vector, recalled.decision)
    explanation = explained(subject, asked)
    if output.as_json:
        document = explanation.to_json() | {"recorded": _document(recalled, folder, orders)}
        output.document(document)
    else:
        if not recalled.limits_asked:
            explanation = replace(explanation, limits=())
        lines = [
            *laid_out(explanation, _order_rows(recalled, orders)),
            *_recorded_rows(recalled, folder, asked),
        ]
        output.show("\n".join(lines))
    differs = bool(recalled.replayed.differences) and not recalled.supposed
    return ExitCode.FINDING if differs else ExitCode.OK


def require_decided(reader: ReadJournal, agent: str, symbol: str) -> None:
    """Raise NotFoundError, with a guess at what was meant, for a symbol that an agent has never decided."""
    symbols = reader.symbols()
    if symbol not in symbols:
        near = get_close_matches(symbol.upper(), symbols, 1)
        hint = f"did you mean {near[0]}?" if near else f"it decided {', '.join(symbols) or 'nothing yet'}"
        raise NotFoundError(f"agent {agent} has never decided '{symbol}': {hint}")


def _found(reader: ReadJournal, folder: AgentFolder, symbol: str, at_ms: int | None) -> StoredDecision:
    stored = reader.decision_at(symbol, at_ms)
    if stored is not None:
        return stored
    name = folder.path.name
    require_decided(reader, name, symbol)
    first = next(reader.decisions(symbol), None)
    since = "" if first is None else f"; the first one kept is of {f.instant(first.head.at_ms)}"
    before = "" if at_ms is None else f" at or before {f.instant(at_ms)}"
    raise NotFoundError(f"agent {name} has no decision on {symbol}{before}{since}")


def _recalled(
    reader: ReadJournal,
    folder: AgentFolder,
    stored: StoredDecision,
    other: Policy | None,
    what_if: Statement | None,
    asked: Asked,
) -> Recalled:
    """Decide again, and otherwise where that is asked."""
    head = stored.head
    try:
        recalled = recall(stored)
    except ReplayError as error:
        raise ReplayError(
            f"the decision on {stored.record.symbol} at {f.instant(head.at_ms)} "
            f"({_told(stored.record.decision, stored.record.layout)}) cannot be made again: {error}\n"
            f"what was recorded:      tradectl journal show {head.cycle} --agent {folder.path.name}\n"
            f"the policy as it was:   tradectl journal policies --digest {head.policy.digest[:6]} "
            f"--agent {folder.path.name}"
        ) from error
    if other is not None or what_if is not None:
        listing = None if other is None else traded_listing(other, stored.record.symbol)
        return suppose(reader, recalled, policy=other, listing=listing, what_if=what_if)
    if Action.BUY in (asked.why_not, asked.make_it) and not recalled.limits_asked:
        return with_limits_counted(reader, recalled)
    return recalled


def _followed(reader: ReadJournal, stored: StoredDecision) -> list[Followed]:
    found = []
    for intent in reader.intents_of_decision(stored.head.cycle, stored.record.symbol):
        client_id = intent.order.client_id
        found.append(
            Followed(intent, reader.intent_events(client_id), tuple(reader.fills(client_id=client_id)))
        )
    return found


# --- for people -------------------------------------------------------------------------------


def _told(decision: Decision, layout: Layout) -> str:
    """Return an action with the rule behind it: SELL by stop-loss, HOLD (adopted-buy limited)."""
    action = decision.action.name
    if decision.rule < 0:
        return action
    rule, disposition = layout.rules[decision.rule], Disposition(decision.dispositions[decision.rule])
    if decision.action is Action.HOLD and disposition is not Disposition.ACTED:
        return f"{action} ({rule} {disposition.word.replace('_', ' ')})"
    return f"{action} by {rule}"


def _order_rows(recalled: Recalled, orders: Sequence[Followed]) -> Iterator[str]:
    record = recalled.stored.record
    if recalled.vector.situation.working is not None:
        yield from rows("working", [_working_text(recalled.vector.situation.working)])
    if recalled.decision.cancel is not None:
        yield from rows("cancel", ["the working order is cancelled first"])
    for order in orders:
        yield from rows("sent", _story(order, record.symbol))


def _working_text(working: WorkingOrder) -> str:
    filled = f", {f.quantity(working.filled_quantity)} filled" if working.filled_quantity else ""
    limit = "at market" if working.limit_price is None else f"at {f.price(working.limit_price)}"
    state = "being cancelled" if working.cancelling else working.state.word.replace("_", " ")
    by = f" by {working.rule} {f.instant(working.created_ms)}" if working.rule else ""
    return f"{working.side.value} {f.quantity(working.quantity)} {limit}{by}{filled}: {state}"


def _story(order: Followed, symbol: str) -> Iterator[str]:
    """Yield what came of an order: its states, then its fills."""
    states = []
    for event in order.events:
        reason = f" ({event.reason})" if event.reason else ""
        states.append(f"{event.state.word.replace('_', ' ')} {f.instant(event.at_ms)}{reason}")
    yield ", ".join(states)
    for fill in order.fills:
        yield (
            f"{fill.side.value} {f.quantity(fill.quantity)} at {f.price(fill.price)}: "
            f"{f.money(fill.notional)} USD, fee {f.money(fill.fee)} USD"
        )
    last = order.events[-1] if order.events else None
    if last is not None and not last.state.final and last.state is not IntentState.PLANNED:
        yield f"of {symbol} the rest is open still"


def _recorded_rows(recalled: Recalled, folder: AgentFolder, asked: Asked) -> Iterator[str]:
    record, head = recalled.stored.record, recalled.stored.head
    if not recalled.limits_asked and asked == Asked():
        yield from rows("limits", ["not asked: nothing wanted to buy"])
    was = f"{_told(record.decision, record.layout)} in cycle {head.cycle} of agent {folder.path.name}"
    differences = ", ".join(name.replace("_", " ") for name in recalled.replayed.differences)
    again = _told(recalled.replayed.decision, record.layout)
    if recalled.supposed:
        by = "" if recalled.policy.digest == head.policy.digest else f", by {_policy_text(head)}"
        yield from rows("recorded", [f"{was}{by}; the above is what would have been"])
        if differences:
            yield from rows("", [f"decided again as it was: {again} (other: {differences})"])
    elif differences:
        yield from rows("recorded", [f"{was}; decided again: {again} (other: {differences})"])
    else:
        yield from rows("recorded", [f"{was}; decided again: the same"])


def _policy_text(head: CycleHead) -> str:
    return f"{head.policy.name} {head.policy.version} ({head.policy.digest[:6]})"


# --- as JSON ----------------------------------------------------------------------------------


def _document(recalled: Recalled, folder: AgentFolder, orders: Sequence[Followed]) -> dict[str, Any]:
    record, head = recalled.stored.record, recalled.stored.head
    again = recalled.replayed.decision
    working = recalled.vector.situation.working
    return {
        "agent": folder.path.name,
        "cycle": head.cycle,
        "policy": {
            "name": head.policy.name,
            "version": head.policy.version,
            "digest": head.policy.digest,
        },
        "decision": _decision_document(record.decision, record.layout),
        "again": {
            **_decision_document(again, record.layout),
            "differences": list(recalled.replayed.differences),
        },
        "supposed": recalled.supposed,
        "limits_asked": recalled.limits_asked,
        "working": None if working is None else _working_document(working),
        "cancel": recalled.decision.cancel,
        "orders": [
            {
                **order_document(order.intent),
                "events": [event_document(event) for event in order.events],
                "fills": [fill_document(fill) for fill in order.fills],
            }
            for order in orders
        ],
    }


def _decision_document(decision: Decision, layout: Layout) -> dict[str, str | None]:
    rule = layout.rules[decision.rule] if decision.rule >= 0 else None
    return {"action": decision.action.name.lower(), "rule": rule}


def _working_document(working: WorkingOrder) -> dict[str, Any]:
    return {
        "client_id": working.client_id,
        "side": working.side.value,
        "quantity": f.quantity_number(working.quantity),
        "filled_quantity": f.quantity_number(working.filled_quantity),
        "limit_price": f.price_number(working.limit_price),
        "state": working.state.word,
        "cancelling": working.cancelling,
        "rule": working.rule,
    }
