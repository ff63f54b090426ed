"""State: everything the agent remembers, and the one function that advances it.

Cooldowns, once-periods, peaks, entries, open orders and rejection backoff live here and nowhere else.  The state
after a cycle is kept with the cycle; what happened since is replayed from the journal through ``advance``,
so that a restart is invisible to decisions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from engine.codes import IntentState
from engine.errors import TradectlError
from engine.model import Fill, OrderRequest, OrderSide, WorkingOrder
from engine.units import ELAPSED_CAP_SECONDS
from engine.verbs.ledger import Holding, Ledger, apply_fill, deposit, withdraw
from engine.verbs.lifecycle import NEXT_STATES

STATE_VERSION: Final = 1
BACKOFF_FIRST_SECONDS: Final = 60
BACKOFF_LAST_SECONDS: Final = 3600
NEVER: Final = -1
"""An instant that has not been."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one symbol.  Prices are scaled; instants are milliseconds, NEVER where not yet."""

    episode: int = 0  # how many positions have begun
    episode_began_ms: int = NEVER  # NEVER while nothing is held
    entries: int = 0
    counted_order: str = ""  # the buy order that ``entries`` counted last
    last_entry_price: int = 0
    peak_price: int = 0
    last_order_ms: int = NEVER
    last_buy_ms: int = NEVER
    last_sell_ms: int = NEVER
    before_order: tuple[int, int, int] = (NEVER, NEVER, NEVER)  # the three above, before the latest order
    rejections: int = 0
    backoff_until_ms: int = NEVER
    working: WorkingOrder | None = None
    working_once: bool = False  # the working order used up its rule's period
    working_level: bool = False  # it goes to a level: a remainder may be sent again
    once_rules: tuple[str, ...] = ()
    once_stamps: tuple[int, ...] = ()
    trusted_bid: int = 0
    trusted_ms: int = NEVER
    suspect_bid: int = 0  # a jump that waits for its second quote
    last_bar_ms: int = NEVER  # open of the last bar that ``peak_price`` has seen
    changed_quantity: bool = False  # the broker's quantity moved without a fill of ours
    frozen: bool = False  # the venue contradicted our record of an order: a person decides

    def once_stamp(self, rule: str) -> int | None:
        """Return the period in which a rule last sent, or None."""
        if rule in self.once_rules:
            return self.once_stamps[self.once_rules.index(rule)]
        return None

    def with_stamp(self, rule: str, stamp: int | None) -> Memory:
        """Note the period in which a rule sent; None forgets it."""
        kept = [(r, s) for r, s in zip(self.once_rules, self.once_stamps, strict=True) if r != rule]
        if stamp is not None:
            kept.append((rule, stamp))
        return replace(self, once_rules=tuple(r for r, _ in kept), once_stamps=tuple(s for _, s in kept))


NOTHING: Final = Memory()


@dataclass(frozen=True, slots=True)
class State:
    """Everything the agent remembers."""

    ledger: Ledger = field(default_factory=Ledger)
    memories: Mapping[str, Memory] = field(default_factory=dict)
    recent_buys: tuple[tuple[int, str], ...] = ()  # (instant, symbol) of buy intents, oldest first
    peak_equity: int = 0
    latched_drawdown: float = 0.0
    cycle: int = 0
    cycle_ms: int = NEVER
    history_from_ms: tuple[tuple[str, int, int], ...] = ()  # (calendar, interval in seconds, first bar)
    agent_state: str = "active"
    halt_reason: str = ""

    def memory(self, symbol: str) -> Memory:
        """Return what is remembered of a symbol."""
        return self.memories.get(symbol, NOTHING)

    def with_memory(self, symbol: str, memory: Memory) -> State:
        """Return the state with one symbol's memory replaced."""
        if memory is self.memories.get(symbol):
            return self
        return replace(self, memories={**self.memories, symbol: memory})


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntentPlanned:
    """An intent became durable.  ``once_stamp`` is its rule's period, None without ``once``."""

    order: OrderRequest
    rule: str
    once_stamp: int | None
    level: bool


@dataclass(frozen=True, slots=True)
class OrderMoved:
    """The venue said something of an order, or we know something of it."""

    client_id: str
    symbol: str
    state: IntentState
    at_ms: int
    filled_quantity: int


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Cancellation of a working order was asked for."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A fill; ``minimum`` is the least quantity (scaled) that counts as held."""

    fill: Fill
    minimum: int


@dataclass(frozen=True, slots=True)
class CashMoved:
    """A deposit (positive) or withdrawal (negative), money."""

    amount: int


@dataclass(frozen=True, slots=True)
class QuoteSeen:
    """A quote was accepted (``trusted``), or set aside as a jump."""

    symbol: str
    bid: int
    at_ms: int
    trusted: bool


@dataclass(frozen=True, slots=True)
class BarSeen:
    """A bar of the policy's interval closed; ``close`` is scaled."""

    symbol: str
    open_ms: int
    close: int


@dataclass(frozen=True, slots=True)
class EquitySeen:
    """Equity of a cycle whose valuation is trusted."""

    equity: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A symbol was frozen by a contradiction, or freed by a person."""

    symbol: str
    frozen: bool


@dataclass(frozen=True, slots=True)
class Rebased:
    """A person lifted a latched drawdown: the peak starts anew."""


StateEvent = (
    IntentPlanned | OrderMoved | CancelAsked | Filled | CashMoved | QuoteSeen | BarSeen | EquitySeen | Frozen | Rebased
)


def advance(state: State, event: StateEvent) -> State:
    """Return the state after an event.  Pure; events of one order may come late or twice."""
    match event:
        case IntentPlanned():
            return _planned(state, event)
        case OrderMoved(symbol=symbol):
            return state.with_memory(symbol, _order_moved(state.memory(symbol), event))
        case CancelAsked(symbol=symbol):
            memory = state.memory(symbol)
            if memory.working is None:
                return state
            return state.with_memory(symbol, replace(memory, working=replace(memory.working, cancelling=True)))
        case Filled():
            return _filled(state, event)
        case CashMoved(amount=amount):
            moved = deposit(state.ledger, amount) if amount > 0 else withdraw(state.ledger, -amount)
            return replace(state, ledger=moved, peak_equity=max(0, state.peak_equity + amount))
        case QuoteSeen(symbol=symbol):
            return state.with_memory(symbol, _quote_seen(state.memory(symbol), event))
        case BarSeen(symbol=symbol):
            return state.with_memory(symbol, _bar_seen(state.memory(symbol), event))
        case EquitySeen(equity=equity):
            return replace(state, peak_equity=max(state.peak_equity, equity))
        case Frozen(symbol=symbol, frozen=frozen):
            return state.with_memory(symbol, replace(state.memory(symbol), frozen=frozen))
        case Rebased():
            return replace(state, peak_equity=0, latched_drawdown=0.0)


def _planned(state: State, event: IntentPlanned) -> State:
    order = event.order
    memory = state.memory(order.symbol)
    working = WorkingOrder(
        order.client_id, order.side, order.quantity, 0, order.limit_price, IntentState.PLANNED, False,
        order.expires_ms, event.rule, order.created_ms,
    )  # fmt: skip
    memory = replace(
        memory, working=working, working_once=event.once_stamp is not None, working_level=event.level
    ).with_stamp(event.rule, event.once_stamp if event.once_stamp is not None else memory.once_stamp(event.rule))
    buys = state.recent_buys
    if order.side is OrderSide.BUY:
        buys = (*buys, (order.created_ms, order.symbol))
    return replace(state.with_memory(order.symbol, memory), recent_buys=buys)


def _order_moved(memory: Memory, event: OrderMoved) -> Memory:
    working = memory.working
    if working is None or working.client_id != event.client_id:
        return memory
    first_reach = working.state in (IntentState.PLANNED, IntentState.AMBIGUOUS) and event.state not in (
        IntentState.PLANNED,
        IntentState.AMBIGUOUS,
    )
    if event.state is not working.state and event.state not in NEXT_STATES[working.state]:
        return memory
    filled = max(working.filled_quantity, event.filled_quantity)
    if first_reach and event.state is not IntentState.REJECTED:
        buy = working.side is OrderSide.BUY
        memory = replace(
            memory,
            before_order=(memory.last_order_ms, memory.last_buy_ms, memory.last_sell_ms),
            last_order_ms=working.created_ms,
            last_buy_ms=working.created_ms if buy else memory.last_buy_ms,
            last_sell_ms=memory.last_sell_ms if buy else working.created_ms,
        )
    if not event.state.final:
        return replace(memory, working=replace(working, state=event.state, filled_quantity=filled))
    return _order_ended(replace(memory, working=None), working, event, filled, first_reach)


def _order_ended(
    memory: Memory, working: WorkingOrder, event: OrderMoved, filled: int, first_reach: bool
) -> Memory:
    if event.state is IntentState.REJECTED and filled == 0:
        # a rejected order is no order for cooldowns; it has a backoff of its own
        if not first_reach:
            last, buy, sell = memory.before_order
            memory = replace(memory, last_order_ms=last, last_buy_ms=buy, last_sell_ms=sell)
        wait = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS << min(memory.rejections, 10))
        memory = replace(
            memory, rejections=memory.rejections + 1, backoff_until_ms=event.at_ms + wait * 1000
        )
    elif filled:
        memory = replace(memory, rejections=0, backoff_until_ms=NEVER)
    unfinished = filled < working.quantity
    rejected = event.state is IntentState.REJECTED
    if memory.working_once and (rejected or (unfinished and memory.working_level)):
        memory = memory.with_stamp(working.rule, None)
    return replace(memory, working_once=False, working_level=False)


def _filled(state: State, event: Filled) -> State:
    fill = event.fill
    before = state.ledger.holding(fill.symbol).quantity
    ledger = apply_fill(state.ledger, fill)
    after = ledger.holding(fill.symbol).quantity
    memory = state.memory(fill.symbol)
    was_held, is_held = before >= event.minimum, after >= event.minimum
    if fill.side is OrderSide.BUY:
        begins = is_held and (memory.episode_began_ms == NEVER or not was_held)
        if begins:
            memory = replace(
                memory,
                episode=memory.episode + 1,
                episode_began_ms=fill.at_ms,
                entries=0,
                counted_order="",
                peak_price=0,
                last_bar_ms=fill.at_ms,
            )
        counted = memory.counted_order == fill.client_id
        memory = replace(
            memory,
            entries=memory.entries + (0 if counted else 1),
            counted_order=fill.client_id,
            last_entry_price=fill.price,
        )
        average = ledger.holding(fill.symbol).average_price
        if average is not None:
            memory = replace(memory, peak_price=max(memory.peak_price, round(average * 10**8)))
    elif not is_held:
        memory = replace(memory, episode_began_ms=NEVER, entries=0, counted_order="", peak_price=0)
    return replace(state, ledger=ledger).with_memory(fill.symbol, memory)


def _quote_seen(memory: Memory, event: QuoteSeen) -> Memory:
    if event.trusted:
        return replace(memory, trusted_bid=event.bid, trusted_ms=event.at_ms, suspect_bid=0)
    return replace(memory, suspect_bid=event.bid)


def _bar_seen(memory: Memory, event: BarSeen) -> Memory:
    if memory.episode_began_ms == NEVER or event.open_ms < memory.last_bar_ms:
        return memory
    return replace(memory, peak_price=max(memory.peak_price, event.close), last_bar_ms=event.open_ms)


def elapsed_seconds(now_ms: int, since_ms: int) -> int:
    """Return whole seconds since an instant, capped; "never" is exactly the cap."""
    if since_ms == NEVER:
        return ELAPSED_CAP_SECONDS
    return min(ELAPSED_CAP_SECONDS, max(0, (now_ms - since_ms) // 1000))


def forget_buys(state: State, before_ms: int) -> State:
    """Drop the buy intents that no rate limit looks at any more."""
    if not state.recent_buys or state.recent_buys[0][0] > before_ms:
        return state
    return replace(state, recent_buys=tuple(buy for buy in state.recent_buys if buy[0] > before_ms))


# --- packing ----------------------------------------------------------------------------------

_STATES: Final = tuple(IntentState)
_MEMORY_FIELDS: Final = tuple(f.name for f in fields(Memory))


def pack_state(state: State) -> bytes:
    """Pack a state as compact JSON; what a symbol has in common with a new one is left out."""
    ledger = state.ledger
    data = {
        "ledger": {
            "cash": ledger.cash,
            "realised": ledger.realised,
            "fees": ledger.fees,
            "deposited": ledger.deposited,
            "holdings": {symbol: [h.quantity, h.cost] for symbol, h in ledger.holdings.items()},
        },
        "memories": {symbol: _packed_memory(memory) for symbol, memory in state.memories.items()},
        "recent_buys": state.recent_buys,
        "peak_equity": state.peak_equity,
        "latched_drawdown": state.latched_drawdown,
        "cycle": state.cycle,
        "cycle_ms": state.cycle_ms,
        "history_from_ms": state.history_from_ms,
        "agent_state": state.agent_state,
        "halt_reason": state.halt_reason,
    }
    return json.dumps(data, separators=(",", ":")).encode()


def _packed_memory(memory: Memory) -> dict[str, Any]:
    packed: dict[str, Any] = {}
    for name in _MEMORY_FIELDS:
        value = getattr(memory, name)
        if value != getattr(NOTHING, name):
            packed[name] = asdict(value) if isinstance(value, WorkingOrder) else value
    return packed


def unpack_state(version: int, packed: bytes) -> State:
    """Read what ``pack_state`` gave; TradectlError where it cannot be read."""
    if version != STATE_VERSION:
        raise TradectlError(f"the journal's state has form {version}, this release reads {STATE_VERSION}")
    try:
        data = json.loads(packed)
        ledger = data["ledger"]
        return State(
            ledger=Ledger(
                cash=ledger["cash"],
                holdings={symbol: Holding(q, c) for symbol, (q, c) in ledger["holdings"].items()},
                realised=ledger["realised"],
                fees=ledger["fees"],
                deposited=ledger["deposited"],
            ),
            memories={symbol: _unpacked_memory(memory) for symbol, memory in data["memories"].items()},
            recent_buys=tuple((at, symbol) for at, symbol in data["recent_buys"]),
            peak_equity=data["peak_equity"],
            latched_drawdown=data["latched_drawdown"],
            cycle=data["cycle"],
            cycle_ms=data["cycle_ms"],
            history_from_ms=tuple((name, interval, at) for name, interval, at in data["history_from_ms"]),
            agent_state=data["agent_state"],
            halt_reason=data["halt_reason"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TradectlError(f"the journal's state cannot be read: {error}") from error


def _unpacked_memory(packed: dict[str, Any]) -> Memory:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in packed.items()}
    working = values.get("working")
    if working is not None:
        values["working"] = WorkingOrder(
            **{**working, "side": OrderSide(working["side"]), "state": _STATES[working["state"]]}
        )
    return Memory(**values)
