"""The nouns: instruments, quotes, bars, positions, orders, decisions.

All are immutable values.  Instants are integers, milliseconds since 1970-01-01T00:00Z
(``*_ms``); spans of time are integer seconds (``*_seconds``).  Money, prices and quantities
of orders are integers scaled as ``engine.units`` states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from engine.codes import Action, Denial, Disposition, IntentState, Side, UnknownReason
from engine.units import PRICE_SCALE, QUANTITY_SCALE, scaled


class AssetClass(StrEnum):
    """The classes a universe may list."""

    STOCK = "stock"
    COMMODITY = "commodity"
    CRYPTO = "crypto"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a venue says of a symbol: its steps and minimums."""

    symbol: str
    asset_class: AssetClass
    calendar: str  # "24/7" or an exchange's name, such as "NYSE"
    price_step: Decimal
    quantity_step: Decimal
    minimum_quantity: Decimal
    minimum_notional: Decimal  # in the account currency; 0 where the venue has none

    @property
    def price_step_scaled(self) -> int:
        """The tick, scaled by ``PRICE_SCALE``."""
        return scaled(self.price_step, PRICE_SCALE)

    @property
    def quantity_step_scaled(self) -> int:
        """The quantity step, scaled by ``QUANTITY_SCALE``."""
        return scaled(self.quantity_step, QUANTITY_SCALE)

    @property
    def price_steps_per_unit(self) -> int:
        """The integer k of the price grid; ``PRICE_SCALE`` where the tick divides no unit."""
        step = self.price_step_scaled
        return PRICE_SCALE // step if PRICE_SCALE % step == 0 else PRICE_SCALE


class QuoteKind(StrEnum):
    """What a price was made of."""

    QUOTE = "quote"  # a bid and an ask
    TRADE = "trade"  # the last trade: bid and ask are its price
    HISTORY = "history"  # the close of a stored bar: it may value a position, and prices no order


@dataclass(frozen=True, slots=True)
class Quote:
    """A two-sided quote with its source's own time."""

    symbol: str
    bid: int  # scaled by PRICE_SCALE
    ask: int  # scaled by PRICE_SCALE
    source: str
    source_time_ms: int
    receive_time_ms: int
    kind: QuoteKind = QuoteKind.QUOTE


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why a symbol has no quote: a typed answer, never None."""

    symbol: str
    reason: UnknownReason
    detail: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One closed bar; ``open_time_ms`` is its start.  A no-trade bar repeats the last close."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    traded: bool = True


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The calendar at one instant.  Spans are seconds, capped at 3650 days where unbounded."""

    session: str  # pre, regular, post, closed
    until_close_seconds: int  # of the regular session under way or next to open
    since_open_seconds: int  # of the latest regular open
    next_closure_seconds: int  # length of the closure that follows the current or next session
    session_of_week: int  # 1 is the first session of the ISO week
    session_of_month: int


class OrderSide(StrEnum):
    """The side of an order at the venue."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long an order stands at the venue."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as it is sent: named once, sized and priced."""

    client_id: str
    symbol: str
    side: OrderSide
    quantity: int  # scaled by QUANTITY_SCALE
    limit_price: int | None  # scaled by PRICE_SCALE; None for a market order
    order_type: OrderType
    time_in_force: TimeInForce
    expires_ms: int | None  # our own time-to-live: cancelled by the agent after it
    created_ms: int


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill; ``fill_id`` is the venue's and unique there."""

    fill_id: str
    client_id: str
    symbol: str
    side: OrderSide
    quantity: int
    price: int
    notional: int  # money, rounded once, half even
    fee: int  # money, rounded once, half even
    at_ms: int


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the venue says of one order now.  ``filled_quantity`` is cumulative: the truth."""

    client_id: str
    venue_id: str
    symbol: str
    side: OrderSide
    quantity: int
    limit_price: int | None
    state: IntentState
    filled_quantity: int
    updated_ms: int
    reason: str = ""
    replaced_by: str = ""  # the venue's name of an order that somebody put in its place


@dataclass(frozen=True, slots=True)
class SizedOrder:
    """A decision's order before it has a name: what an intent is made of."""

    side: OrderSide
    quantity: int
    limit_price: int | None
    order_type: OrderType
    time_in_force: TimeInForce
    good_for_seconds: int | None
    limited_by: int = -1  # index of the limit that shrank it, or -1
    sized_at: int = field(default=0, compare=False)  # the price that sized and reserves it


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An own order of a symbol that is open, or whose fate is not known yet."""

    client_id: str
    side: OrderSide
    quantity: int
    filled_quantity: int
    limit_price: int | None
    state: IntentState
    cancelling: bool
    expires_ms: int | None
    rule: str
    created_ms: int

    @property
    def remaining(self) -> int:
        """Quantity not yet filled, scaled."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True)
class SignalValue:
    """A voted or outside signal; Unknown where ``reason`` is not KNOWN."""

    side: Side
    confidence: float
    buy: float
    sell: float
    hold: float
    reason: UnknownReason = UnknownReason.KNOWN


@dataclass(frozen=True, slots=True)
class CandidateOutcome:
    """What became of one rule's proposal."""

    disposition: Disposition
    cause: int = -1  # gate, rule or limit index, or denial code: see the disposition


@dataclass(frozen=True, slots=True)
class Decision:
    """The one outcome for a symbol in a cycle, with what caused it.

    ``truths``, ``dispositions`` and ``causes`` have one entry per rule of the lowered policy,
    in its order; ``signal_dispositions`` one per voted or outside signal.
    """

    symbol: str
    action: Action
    rule: int  # the deciding rule, or -1
    truths: bytes
    dispositions: bytes
    causes: tuple[int, ...]
    signal_dispositions: bytes
    order: SizedOrder | None = None
    cancel: str | None = None  # client id of a working order to cancel first
    denial: Denial = Denial.NONE
    limit_usage: tuple[int | None, ...] = field(default=())
