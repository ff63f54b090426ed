"""State: everything the agent remembers, and the one function that advances it.

Cooldowns, once-periods, peaks, entries, open orders and rejection backoff live here and nowhere else.
The state after a cycle is kept with the cycle; what happened since is replayed from the journal through
``advance``, so that a restart is invisible to decisions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, Final

from engine.codes import IntentState
from engine.errors import TradectlError
from engine.model import Fill, OrderRequest, OrderSide, WorkingOrder
from engine.units import ELAPSED_CAP_SECONDS, PRICE_SCALE, scaled
from engine.units import NEVER as NEVER  # whoever asks the state for its instants finds it here
from engine.verbs.ledger import Holding, Ledger, LedgerError, apply_fill, deposit, withdraw
from engine.verbs.lifecycle import NEXT_STATES

STATE_VERSION: Final = 1
BUY_BACKOFF_SECONDS: Final = (60, 3600)
"""How long a symbol's buys wait after a rejection: twice as long after each further one, up to the last."""
SELL_BACKOFF_SECONDS: Final = (30, 300)
"""The same for sells, shorter: a position that wants out is tried again soon, and is unguarded meanwhile."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one symbol.  Prices are scaled; instants are NEVER where not yet."""

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
    buy_rejections: int = 0
    buy_backoff_until_ms: int = NEVER
    sell_rejections: int = 0
    sell_backoff_until_ms: int = NEVER
    working: WorkingOrder | None = None
    working_once: bool = False  # the working order used up its rule's period
    working_level: bool = False  # it goes to a level of its own: a remainder may be sent again
    working_retry: bool = False  # where nothing of it is filled its rule may send again
    booked: int = 0  # of the working order, what the ledger holds
    once_rules: tuple[str, ...] = ()
    once_stamps: tuple[int, ...] = ()
    trusted_bid: int = 0
    trusted_ms: int = NEVER
    suspect_bid: int = 0  # a jump that waits for its second quote
    suspect_ms: int = NEVER  # stamp of that jump
    suspect_source: str = ""
    last_bar_ms: int = NEVER  # open of the last bar that ``peak_price`` has seen
    foreign: int = 0  # what the broker held beside our own when the position began, scaled
    changed_quantity: bool = False  # the broker's quantity moved without a fill of ours
    frozen: bool = False  # the venue contradicted our record of an order: a person decides
    unguarded_since_ms: int = NEVER  # held, and a protective rule could not be known or sent
    unguarded_told: bool = False  # a person was told of it

    @property
    def position(self) -> int:
        """The number of the position that is held, or that the next fill begins."""
        return self.episode + (self.episode_began_ms == NEVER)

    def repeats(self, rule: str) -> bool:
        """Say whether a rule that matches again speaks of its own order, which is still working.

        So it is, and no new order; only a sell to a level that moves with the position would say more.
        """
        working = self.working
        if working is None or working.rule != rule:
            return False
        return working.side is OrderSide.BUY or self.working_level

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
    latched_drawdown: float = 0.0  # a gate on drawdown was true at this one; 0 where none was
    cycle: int = 0
    cycle_ms: int = NEVER
    history_from_ms: tuple[tuple[str, int, int], ...] = ()  # (calendar, interval in seconds, first bar)
    anchors_ms: tuple[tuple[str, int, int], ...] = ()  # (symbol, interval, first bar behind its last gap)
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
    """An intent became durable.  ``once_stamp`` is its rule's period, None without ``once``.

    An order that ends early gives the period back: one to a ``level`` that does not move with it where
    anything is left, one with ``retry`` where nothing of it was filled.
    """

    order: OrderRequest
    rule: str
    once_stamp: int | None
    level: bool
    retry: bool = False


@dataclass(frozen=True, slots=True)
class OrderMoved:
    """The venue said something of an order, or we know something of it.

    ``reached`` is False for an order that ended without ever having been at the venue.
    """

    client_id: str
    symbol: str
    state: IntentState
    at_ms: int
    filled_quantity: int
    reached: bool = True


@dataclass(frozen=True, slots=True)
class TakenUp:
    """An order that we had given up is at the venue: it works again, until its cancellation is final.

    ``booked`` is what the ledger holds of it.
    """

    order: OrderRequest
    rule: str
    booked: int


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
    source: str = ""


@dataclass(frozen=True, slots=True)
class BarSeen:
    """A bar of the policy's interval closed; ``close`` is scaled."""

    symbol: str
    open_ms: int
    close: int


@dataclass(frozen=True, slots=True)
class QuantitySeen:
    """What the ledger and the broker have of a symbol, with no fill between them unheard; scaled."""

    symbol: str
    own: int
    broker: int


@dataclass(frozen=True, slots=True)
class PositionKnown:
    """A person says that this is what the broker has beside our own: the position is known again."""

    symbol: str
    foreign: int


@dataclass(frozen=True, slots=True)
class GuardSeen:
    """Whether a held position is without a protective rule that could act now, and who knows of it."""

    symbol: str
    unguarded: bool
    at_ms: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class AgentSet:
    """A person made the agent active, reducing or halted."""

    agent_state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DrawdownLatched:
    """A gate on drawdown was true at this one."""

    drawdown: float


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


Seen = QuoteSeen | BarSeen | QuantitySeen | GuardSeen
"""What a cycle sees of a symbol; it changes that symbol's memory and nothing else."""
StateEvent = (
    IntentPlanned
    | TakenUp
    | OrderMoved
    | CancelAsked
    | Filled
    | CashMoved
    | Seen
    | PositionKnown
    | EquitySeen
    | DrawdownLatched
    | Frozen
    | Rebased
    | AgentSet
)


def advance(state: State, event: StateEvent) -> State:
    """Return the state after an event.  Pure; events of one order may come late or twice."""
    match event:
        case IntentPlanned():
            return _planned(state, event)
        case TakenUp():
            return _taken_up(state, event)
        case OrderMoved(symbol=symbol):
            return state.with_memory(symbol, _order_moved(state.memory(symbol), event))
        case CancelAsked(symbol=symbol):
            memory = state.memory(symbol)
            if memory.working is None:
                return state
            return state.with_memory(
                symbol, replace(memory, working=replace(memory.working, cancelling=True))
            )
        case Filled():
            return _filled(state, event)
        case CashMoved(amount=amount):
            moved = deposit(state.ledger, amount) if amount > 0 else withdraw(state.ledger, -amount)
            return replace(state, ledger=moved, peak_equity=max(0, state.peak_equity + amount))
        case QuoteSeen() | BarSeen() | QuantitySeen() | GuardSeen():
            return advance_all(state, (event,))
        case PositionKnown(symbol=symbol, foreign=foreign):
            known = replace(state.memory(symbol), foreign=foreign, changed_quantity=False)
            return state.with_memory(symbol, known)
        case EquitySeen(equity=equity):
            return replace(state, peak_equity=max(state.peak_equity, equity))
        case DrawdownLatched(drawdown=drawdown):
            return replace(state, latched_drawdown=max(state.latched_drawdown, drawdown))
        case AgentSet(agent_state=word, reason=reason):
            return replace(state, agent_state=word, halt_reason=reason)
        case Frozen(symbol=symbol, frozen=frozen):
            return state.with_memory(symbol, replace(state.memory(symbol), frozen=frozen))
        case Rebased():
            return replace(state, peak_equity=0, latched_drawdown=0.0)


def advance_all(state: State, events: Iterable[Seen]) -> State:
    """Return the state after many sights, in order; as ``advance`` one by one, but in one copy."""
    memories: dict[str, Memory] | None = None
    for event in events:
        before = (memories or state.memories).get(event.symbol, NOTHING)
        after = _after_sight(before, event)
        if after is not before:
            if memories is None:
                memories = dict(state.memories)
            memories[event.symbol] = after
    return state if memories is None else replace(state, memories=memories)


def _after_sight(memory: Memory, event: Seen) -> Memory:
    match event:
        case QuoteSeen():
            return _quote_seen(memory, event)
        case BarSeen():
            return _bar_seen(memory, event)
        case QuantitySeen():
            return _quantity_seen(memory, event)
        case GuardSeen():
            return _guard_seen(memory, event)


def _planned(state: State, event: IntentPlanned) -> State:
    order = event.order
    memory = state.memory(order.symbol)
    working = WorkingOrder(
        order.client_id, order.side, order.quantity, 0, order.limit_price, IntentState.PLANNED, False,
        order.expires_ms, event.rule, order.created_ms,
    )  # fmt: skip
    memory = replace(
        memory,
        working=working,
        working_once=event.once_stamp is not None,
        working_level=event.level,
        working_retry=event.retry,
        booked=0,
    )
    if event.once_stamp is not None:
        memory = memory.with_stamp(event.rule, event.once_stamp)
    buys = state.recent_buys
    if order.side is OrderSide.BUY:
        buys = (*buys, (order.created_ms, order.symbol))
    return replace(state.with_memory(order.symbol, memory), recent_buys=buys)


def _taken_up(state: State, event: TakenUp) -> State:
    order = event.order
    memory = state.memory(order.symbol)
    if memory.working is not None:
        return state
    working = WorkingOrder(
        order.client_id, order.side, order.quantity, event.booked, order.limit_price, IntentState.SENT, True,
        order.expires_ms, event.rule, order.created_ms,
    )  # fmt: skip
    # it reached the venue after all: cooldowns count it, unless they count a later one
    last = [max(memory.last_order_ms, order.created_ms), memory.last_buy_ms, memory.last_sell_ms]
    side = 1 if order.side is OrderSide.BUY else 2
    last[side] = max(last[side], order.created_ms)
    return state.with_memory(
        order.symbol,
        replace(
            memory,
            working=working,
            booked=event.booked,
            before_order=(memory.last_order_ms, memory.last_buy_ms, memory.last_sell_ms),
            last_order_ms=last[0],
            last_buy_ms=last[1],
            last_sell_ms=last[2],
        ),
    )


def _order_moved(memory: Memory, event: OrderMoved) -> Memory:
    working = memory.working
    if working is None or working.client_id != event.client_id:
        return memory
    unsettled = (IntentState.PLANNED, IntentState.AMBIGUOUS)
    first_reach = working.state in unsettled and event.state not in unsettled and event.reached
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
    rejected = event.state is IntentState.REJECTED
    if rejected and not first_reach:
        # a rejected order is no order for cooldowns; it has a backoff of its own
        last, buy, sell = memory.before_order
        memory = replace(memory, last_order_ms=last, last_buy_ms=buy, last_sell_ms=sell)
    if rejected or filled:
        memory = _backing_off(memory, working.side, event.at_ms if rejected else NEVER)
    unfinished = filled < working.quantity
    if memory.working_once and (
        rejected
        or not event.reached
        or (unfinished and memory.working_level)
        or (not filled and memory.working_retry)
    ):
        memory = memory.with_stamp(working.rule, None)
    return replace(memory, working_once=False, working_level=False, working_retry=False, booked=0)


def _backing_off(memory: Memory, side: OrderSide, rejected_ms: int) -> Memory:
    """Return the memory after a rejection, or (NEVER) after an order that was filled."""
    buy = side is OrderSide.BUY
    first, last = BUY_BACKOFF_SECONDS if buy else SELL_BACKOFF_SECONDS
    count, until_ms = 0, NEVER
    if rejected_ms != NEVER:
        count = (memory.buy_rejections if buy else memory.sell_rejections) + 1
        until_ms = rejected_ms + min(last, first << min(count - 1, 10)) * 1000
    if buy:
        return replace(memory, buy_rejections=count, buy_backoff_until_ms=until_ms)
    return replace(memory, sell_rejections=count, sell_backoff_until_ms=until_ms)


def _filled(state: State, event: Filled) -> State:
    fill = event.fill
    memory = state.memory(fill.symbol)
    try:
        ledger = apply_fill(state.ledger, fill)
    except LedgerError:
        # it sells what we do not have, or spends what there is not: kept in the journal, but it cannot be
        # booked
        return state.with_memory(fill.symbol, replace(memory, frozen=True))
    before, after = (book.holding(fill.symbol).quantity for book in (state.ledger, ledger))
    was_held, is_held = before >= event.minimum, after >= event.minimum
    working = memory.working
    # A fee that the venue takes in coins is booked as a sale of them, under the name of the buy.
    if working is not None and (working.client_id, working.side) == (fill.client_id, fill.side):
        memory = replace(memory, booked=memory.booked + fill.quantity)
    if not is_held:
        # dust belongs to no position
        memory = replace(memory, episode_began_ms=NEVER, entries=0, counted_order="", peak_price=0)
    elif fill.side is OrderSide.BUY:
        if memory.episode_began_ms == NEVER or not was_held:
            memory = replace(
                memory,
                episode=memory.episode + 1,
                episode_began_ms=fill.at_ms,
                entries=0,
                counted_order="",
                peak_price=0,
                last_bar_ms=fill.at_ms,
            )
        average = ledger.holding(fill.symbol).average_price or Decimal(0)
        memory = replace(
            memory,
            entries=memory.entries + (memory.counted_order != fill.client_id),
            counted_order=fill.client_id,
            last_entry_price=fill.price,
            peak_price=max(memory.peak_price, scaled(average, PRICE_SCALE)),
        )
    return replace(state, ledger=ledger).with_memory(fill.symbol, memory)


def _quote_seen(memory: Memory, event: QuoteSeen) -> Memory:
    if not event.trusted:
        if (event.bid, event.at_ms, event.source) == (
            memory.suspect_bid,
            memory.suspect_ms,
            memory.suspect_source,
        ):
            return memory
        return replace(memory, suspect_bid=event.bid, suspect_ms=event.at_ms, suspect_source=event.source)
    if (event.bid, event.at_ms, 0) == (memory.trusted_bid, memory.trusted_ms, memory.suspect_bid):
        return memory
    return replace(
        memory,
        trusted_bid=event.bid,
        trusted_ms=event.at_ms,
        suspect_bid=0,
        suspect_ms=NEVER,
        suspect_source="",
    )


def _bar_seen(memory: Memory, event: BarSeen) -> Memory:
    if memory.episode_began_ms == NEVER or event.open_ms < memory.last_bar_ms:
        return memory
    return replace(memory, peak_price=max(memory.peak_price, event.close), last_bar_ms=event.open_ms)


def _quantity_seen(memory: Memory, event: QuantitySeen) -> Memory:
    """Compare what the broker has with our fills; what it had before the position began is foreign."""
    beside = max(0, event.broker - event.own)
    foreign, changed = memory.foreign, False
    if event.own:
        # that others have less of theirs now is no change of ours
        foreign = min(foreign, beside)
        changed = event.broker < event.own or beside > foreign
    elif memory.working is None:
        foreign = beside
    if (foreign, changed) == (memory.foreign, memory.changed_quantity):
        return memory
    return replace(memory, foreign=foreign, changed_quantity=changed)


def _guard_seen(memory: Memory, event: GuardSeen) -> Memory:
    if not event.unguarded:
        if memory.unguarded_since_ms == NEVER:
            return memory
        return replace(memory, unguarded_since_ms=NEVER, unguarded_told=False)
    since_ms = event.at_ms if memory.unguarded_since_ms == NEVER else memory.unguarded_since_ms
    told = memory.unguarded_told or event.told
    if (since_ms, told) == (memory.unguarded_since_ms, memory.unguarded_told):
        return memory
    return replace(memory, unguarded_since_ms=since_ms, unguarded_told=told)


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
        "anchors_ms": state.anchors_ms,
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
            anchors_ms=tuple((name, interval, at) for name, interval, at in data["anchors_ms"]),
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
