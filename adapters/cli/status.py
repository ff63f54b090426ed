"""``tradectl status``: how an agent stands, while it runs or after it was stopped or killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from adapters.bootstrap.agents import AgentFolder, current_agent, open_reader
from adapters.cli import figures as f
from adapters.cli.output import Output, common_options
from adapters.journal.lease import holder
from adapters.journal.reading import ReadJournal
from adapters.journal.reserve import BYTES_PER_EXIT
from engine.codes import Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.lowered import Comparison, ConstantTerm, FactTerm, LoweredGate, LoweredPolicy
from engine.model import OrderSide
from engine.runtime.journal_port import CycleHead, Incident
from engine.runtime.restore import restored
from engine.units import Measure, notional
from engine.verbs.numbers import shown
from engine.verbs.record import DecisionRecord
from engine.verbs.state import NEVER, Memory, State, elapsed_seconds
from engine.verbs.terms import atoms_of_node

SCHEMA: Final = "status-v1"
_LATEST: Final = 5
_COOLDOWN: Final = "since_"


@click.command
@click.option("--agent", metavar="NAME", help="Which agent [the one that ran last].")
@common_options
def command(output: Output, agent: str | None) -> None:
    """Say how an agent stands.

    Account, positions, open orders, what is closed or cooling down, what needs a person.  It reads what the
    agent has made durable, so it also works while the agent runs and after it was killed.
    """
    folder = current_agent(output.state_dir, agent)
    reader = open_reader(folder)
    try:
        status = status_of(folder, reader)
    finally:
        reader.close()
    if output.as_json:
        output.document(status.to_json())
    else:
        output.show("\n".join(_lines(status)))


# --- what is told -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Position:
    """A position at its last trusted price; prices and value are null where none was ever trusted."""

    symbol: str
    quantity: float
    price: float | None
    value: float | None
    entry_price: float | None
    gain: float | None
    peak_price: float | None
    held_for_seconds: int | None
    entries: int
    unguarded: bool
    quantity_changed: bool
    """The broker's quantity changed without a fill of ours."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An own order whose fate is not final."""

    symbol: str
    client_id: str
    side: str
    quantity: float
    filled_quantity: float
    limit_price: float | None
    state: str
    cancelling: bool
    rule: str
    created_at: str
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A gate on elapsed time that is closed, and how long it still is; null where it says more than that."""

    symbol: str
    gate: str
    remaining: float | None
    unit: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """Orders of one side wait after the venue refused one."""

    symbol: str
    side: str
    until: str


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """A gate that keeps even protective exits from being sent."""

    gate: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """All that is told of an agent."""

    agent: str
    folder: str
    process: int | None
    policy: dict[str, str] | None
    cycle: int
    at: str | None
    agent_state: str
    halt_reason: str
    equity: float | None
    equity_estimated: float
    cash: float
    reserved: float
    realised: float
    fees: float
    drawdown: float
    drawdown_latched: bool
    positions: tuple[Position, ...]
    open_orders: tuple[OpenOrder, ...]
    cooldowns: tuple[Cooldown, ...]
    backoffs: tuple[Backoff, ...]
    unguarded: tuple[str, ...]
    closed_gates: tuple[ClosedGate, ...]
    frozen: tuple[str, ...]
    incident_count: int
    incidents: tuple[dict[str, Any], ...]
    journal_bytes: int
    reserve_exits: int

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints: schema status-v1."""
        return {"schema": SCHEMA, **asdict(self)}


def status_of(folder: AgentFolder, reader: ReadJournal) -> Status:
    """Read how an agent stands out of its journal."""
    head, state = reader.last_cycle(), restored(reader)
    incidents = list(reader.incidents())
    readings = [] if head is None else list(_readings(reader, head))
    unguarded = tuple(
        symbol for symbol, memory in state.memories.items() if memory.unguarded_since_ms != NEVER
    )
    held = holder(folder.journal)
    return Status(
        agent=folder.path.name,
        folder=str(folder.path),
        process=None if held is None else held.process,
        policy=None
        if head is None
        else {"name": head.policy.name, "version": head.policy.version, "digest": head.policy.digest},
        cycle=state.cycle,
        at=f.iso_or_none(state.cycle_ms),
        agent_state=state.agent_state,
        halt_reason=state.halt_reason,
        equity=None if head is None else f.money_number(head.account.equity),
        equity_estimated=0.0 if head is None else head.account.estimated_millionths / 1_000_000,
        cash=f.money_number(state.ledger.cash),
        reserved=f.money_number(_reserved(state)),
        realised=f.money_number(state.ledger.realised),
        fees=f.money_number(state.ledger.fees),
        drawdown=_drawdown(state, head),
        drawdown_latched=state.latched_drawdown > 0,
        positions=tuple(_positions(state, unguarded)),
        open_orders=tuple(_open_orders(state)),
        cooldowns=tuple(cooldown for reading in readings for cooldown in reading.cooldowns()),
        backoffs=tuple(_backoffs(state)),
        unguarded=unguarded,
        closed_gates=_closed(readings),
        frozen=tuple(symbol for symbol, memory in state.memories.items() if memory.frozen),
        incident_count=len(incidents),
        incidents=tuple(_incident(incident) for incident in incidents[-_LATEST:]),
        journal_bytes=_size(folder, "", "-wal"),
        reserve_exits=_size(folder, ".reserve") // BYTES_PER_EXIT,
    )


def _size(folder: AgentFolder, *suffixes: str) -> int:
    paths = [folder.journal.with_name(folder.journal.name + suffix) for suffix in suffixes]
    return sum(path.stat().st_size for path in paths if path.exists())


def _reserved(state: State) -> int:
    """Return what open buys may still cost, fees aside."""
    return sum(
        notional(memory.working.remaining, memory.working.limit_price or memory.trusted_bid)
        for memory in state.memories.values()
        if memory.working is not None and memory.working.side is OrderSide.BUY
    )


def _drawdown(state: State, head: CycleHead | None) -> float:
    if head is None or state.peak_equity <= 0:
        return 0.0
    return max(1 - head.account.equity / state.peak_equity, state.latched_drawdown, 0.0)


def _positions(state: State, unguarded: Sequence[str]) -> Iterator[Position]:
    for symbol, holding in state.ledger.holdings.items():
        if not holding.quantity:
            continue
        memory = state.memory(symbol)
        average = holding.average_price
        entry = None if average is None else float(average)
        bid = f.price_number(memory.trusted_bid) if memory.trusted_bid else None
        began = memory.episode_began_ms
        yield Position(
            symbol,
            f.quantity_number(holding.quantity),
            bid,
            f.money_number(notional(holding.quantity, memory.trusted_bid)) if bid is not None else None,
            entry,
            bid / entry - 1 if bid is not None and entry else None,
            f.price_number(memory.peak_price) if memory.peak_price else None,
            None if began == NEVER else elapsed_seconds(state.cycle_ms, began),
            memory.entries,
            symbol in unguarded,
            memory.changed_quantity,
        )


def _open_orders(state: State) -> Iterator[OpenOrder]:
    for symbol, memory in state.memories.items():
        order = memory.working
        if order is not None:
            yield OpenOrder(
                symbol,
                order.client_id,
                order.side.value,
                f.quantity_number(order.quantity),
                f.quantity_number(order.filled_quantity),
                f.price_number(order.limit_price),
                order.state.word,
                order.cancelling,
                order.rule,
                f.iso(order.created_ms),
                None if order.expires_ms is None else f.iso(order.expires_ms),
            )


def _backoffs(state: State) -> Iterator[Backoff]:
    for symbol, memory in state.memories.items():
        for side, until_ms in _backoff_ends(memory):
            if until_ms > state.cycle_ms:
                yield Backoff(symbol, side.value, f.iso(until_ms))


def _backoff_ends(memory: Memory) -> tuple[tuple[OrderSide, int], ...]:
    return (OrderSide.BUY, memory.buy_backoff_until_ms), (OrderSide.SELL, memory.sell_backoff_until_ms)


def _incident(incident: Incident) -> dict[str, Any]:
    return {
        "kind": incident.kind,
        "at": f.iso(incident.at_ms),
        "symbol": incident.symbol or None,
        "detail": incident.detail,
    }


# --- gates, read again from the record --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """The last decision on a symbol, its gates evaluated again."""

    symbol: str
    lowered: LoweredPolicy
    values: Sequence[float]
    closed: tuple[LoweredGate, ...]

    def cooldowns(self) -> Iterator[Cooldown]:
        """Yield the closed gates that look at elapsed time."""
        for gate in self.closed:
            spans = list(self._spans(gate))
            if spans:
                remaining, measure = spans[0] if len(spans) == 1 else (None, None)
                text = "" if remaining is None or measure is None else shown(remaining, measure)
                yield Cooldown(self.symbol, gate.name, remaining, measure and measure.value, text)

    def _spans(self, gate: LoweredGate) -> Iterator[tuple[float, Measure]]:
        """Yield what is left of each ``since_... < span`` in a gate."""
        for index in atoms_of_node(self.lowered, gate.when):
            atom = self.lowered.atoms[index]
            match atom.left, atom.right:
                case FactTerm(slot), ConstantTerm(most) if atom.comparison in (
                    Comparison.LESS,
                    Comparison.LESS_OR_EQUAL,
                ) and self.lowered.slots[slot].name.startswith(_COOLDOWN):
                    value = self.values[slot]
                    if value <= most and isinstance(atom.unit, Measure):
                        yield most - value, atom.unit


def _readings(reader: ReadJournal, head: CycleHead) -> Iterator[_Reading]:
    """Evaluate the gates of the last cycle again, with the policy that decided."""
    loaded = load_policy(head.policy.text, head.policy.name)
    if loaded.policy is None:
        return  # another release's language: what it means is not known here
    lowered_of = lower_all(loaded.policy)
    evaluators: dict[int, ReferenceEvaluator] = {}
    for stored in reader.cycles(head.at_ms, head.at_ms):
        if stored.head.cycle != head.cycle:
            continue
        for record in stored.decisions:
            lowered = lowered_of.get(record.symbol)
            if lowered is None or not _same_facts(lowered, record):
                continue
            evaluator = evaluators.setdefault(id(lowered), ReferenceEvaluator(lowered))
            values = list(record.values)
            truths = evaluator.evaluate(values).truths
            closed = tuple(
                gate for gate in lowered.gates if not gate.reserved and truths[gate.when] == Truth.TRUE
            )
            yield _Reading(record.symbol, lowered, values, closed)


def _same_facts(lowered: LoweredPolicy, record: DecisionRecord) -> bool:
    return [slot.name for slot in record.layout.slots] == [slot.name for slot in lowered.slots]


def _closed(readings: Sequence[_Reading]) -> tuple[ClosedGate, ...]:
    symbols: dict[str, list[str]] = {}
    for reading in readings:
        for gate in reading.closed:
            if gate.vetoes_protective:
                symbols.setdefault(gate.name, []).append(reading.symbol)
    return tuple(ClosedGate(gate, tuple(names)) for gate, names in symbols.items())


# --- text -------------------------------------------------------------------------------------


def _lines(status: Status) -> Iterator[str]:
    runs = "not running" if status.process is None else f"running (process {status.process})"
    yield from f.rows("agent", [f"{status.agent}   {runs}   {_health(status)}"])
    if status.policy is not None:
        policy = status.policy
        yield from f.rows("policy", [f"{policy['name']} {policy['version']} ({policy['digest'][:6]})"])
    at = "none yet" if status.at is None else f"{status.cycle} at {status.at.replace('T', ' ')}"
    yield from f.rows("cycle", [at])
    yield from f.rows("account", [_account(status)])
    yield from f.rows("drawdown", [_drawdown_text(status)])
    yield from f.rows("held", f.laid_out([_position_row(position) for position in status.positions]))
    yield from f.rows("orders", [_order_text(order) for order in status.open_orders])
    yield from f.rows(
        "cooling",
        f.laid_out(
            [(item.symbol, item.gate, item.text and f"{item.text} left") for item in status.cooldowns]
        ),
    )
    yield from f.rows(
        "backoff",
        [
            f"{item.symbol}  {item.side}s wait until {item.until.replace('T', ' ')}: the venue refused one"
            for item in status.backoffs
        ],
    )
    yield from f.rows("closed", [f"{item.gate}: {', '.join(item.symbols)}" for item in status.closed_gates])
    if status.unguarded:
        why = "a protective rule is Unknown or cannot be sent"
        yield from f.rows("unguarded", [f"{', '.join(status.unguarded)}: {why}"])
    yield from f.rows(
        "frozen",
        [
            f"{symbol}: settle its order by hand, then tradectl resume --unfreeze {symbol}"
            for symbol in status.frozen
        ],
    )
    if status.incidents:
        rows = [
            (item["at"].replace("T", " "), item["symbol"] or "", f"{item['kind']}: {item['detail']}")
            for item in status.incidents
        ]
        more = status.incident_count - len(rows)
        yield from f.rows("incidents", [*f.laid_out(rows), *([f"and {more} before"] if more else [])])
    size = f"{status.journal_bytes / 1_000_000:.1f} MB"
    yield from f.rows("journal", [f"{size}, reserve for {status.reserve_exits} exits   {status.folder}"])


def _health(status: Status) -> str:
    return f"{status.agent_state}{f': {status.halt_reason}' if status.halt_reason else ''}"


def _account(status: Status) -> str:
    figures = {
        "equity": status.equity,
        "cash": status.cash,
        "reserved": status.reserved or None,
        "realised": status.realised,
        "fees": status.fees,
    }
    text = "   ".join(f"{word} {value:,.2f}" for word, value in figures.items() if value is not None)
    if status.equity_estimated:
        text += f"   ({f.percent(status.equity_estimated)} of equity at old prices)"
    return text


def _drawdown_text(status: Status) -> str:
    latched = ", latched: tradectl resume --rebase lifts it" if status.drawdown_latched else ""
    return f"{f.percent(status.drawdown)}{latched}"


def _position_row(position: Position) -> tuple[str, ...]:
    notes = [
        word
        for word, flag in (("unguarded", position.unguarded), ("changed", position.quantity_changed))
        if flag
    ]
    return (
        position.symbol,
        shown(position.quantity, Measure.QUANTITY),
        "" if position.entry_price is None else f"at {position.entry_price:,.8g}",
        "no price" if position.value is None else f"worth {position.value:,.2f}",
        "" if position.gain is None else f.percent(position.gain),
        "" if position.peak_price is None else f"peak {position.peak_price:,.8g}",
        "" if position.held_for_seconds is None else f"for {f.span(position.held_for_seconds)}",
        ", ".join(notes),
    )


def _order_text(order: OpenOrder) -> str:
    at = "at market" if order.limit_price is None else f"at {order.limit_price:,.10g}"
    filled = f", {order.filled_quantity:.9g} filled" if order.filled_quantity else ""
    state = "being cancelled" if order.cancelling else order.state.replace("_", " ")
    ends = f", until {order.expires_at.replace('T', ' ')}" if order.expires_at else ""
    return f"{order.symbol}  {order.side} {order.quantity:.9g} {at}   ({order.rule})   {state}{filled}{ends}"
