"""The vocabulary: every fact a policy may name.

One entry per fact: type, unit, step, range, typical scale, source, meaning, how old it may be, what it is
before anything happened, and what it varies with.  ``tradectl facts`` and the documentation are made
from this table; the type checker, the fact maker and every evaluator rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.units import ELAPSED_CAP_SECONDS, GRID_PER_UNIT, Measure, Unit, Words

SIDE: Final = Words("side", ("none", "buy", "sell", "hold"))
SESSION: Final = Words("session", ("pre", "regular", "post", "closed"))
WEEKDAY: Final = Words("weekday", ("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
OPEN_ORDER: Final = Words("open_order", ("none", "buy", "sell"))
AGENT_STATE: Final = Words("agent_state", ("active", "reducing", "halted"))
QUOTE_STATE: Final = Words("quote_state", ("tradable", "stale", "missing", "unconfirmed", "unsupported"))
POSITION_STATE: Final = Words("position_state", ("known", "changed", "unreconciled"))
CLOCK_STATE: Final = Words("clock_state", ("ok", "behind", "ahead"))
ASSET_CLASS: Final = Words("asset_class", ("stock", "commodity", "crypto"))
CALENDAR: Final = Words("calendar", ())
SYMBOL: Final = Words("symbol", ())

WORDS: Final = (
    SIDE,
    SESSION,
    WEEKDAY,
    OPEN_ORDER,
    AGENT_STATE,
    QUOTE_STATE,
    POSITION_STATE,
    CLOCK_STATE,
    ASSET_CLASS,
)
"""The enumerations whose words are fixed; ``symbol`` and ``calendar`` take the policy's own."""


class Varies(StrEnum):
    """What makes a fact change: the movable facts are those that vary with market or clock."""

    MARKET = "market"
    CLOCK = "clock"
    ACCOUNT = "account"
    FIXED = "fixed"


class Family(StrEnum):
    """The part of the world a fact speaks of."""

    MARKET = "market"
    BARS = "bars"
    CALENDAR = "calendar"
    ACCOUNT = "account"
    POSITION = "position"
    MEMORY = "memory"
    ORDERS = "orders"
    AGENT = "agent"
    INSTRUMENT = "instrument"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the vocabulary.

    ``steps_per_unit`` is k of its grid (0 for words and booleans; prices use the instrument's own where it is
    coarser).  ``when_absent`` is the value before anything happened; None is Unknown with ``no_position``.
    """

    name: str
    family: Family
    unit: Unit
    varies: Varies
    source: str
    meaning: str
    steps_per_unit: int
    minimum: float
    maximum: float
    typical_scale: float
    max_age: str
    when_absent: float | None


_MAXIMUM: Final[dict[Measure, float]] = {
    Measure.NUMBER: 1e9,
    Measure.COUNT: 1e6,
    Measure.RATIO: 1e6,
    Measure.PRICE: 1e7,
    Measure.MONEY: 1e12,
    Measure.QUANTITY: 1e12,
    Measure.DURATION: float(ELAPSED_CAP_SECONDS),
    Measure.BARS: float(ELAPSED_CAP_SECONDS),
    Measure.CLOCK: 86399.0,
}
_SCALE: Final[dict[Measure, float]] = {
    Measure.NUMBER: 1.0,
    Measure.COUNT: 1.0,
    Measure.RATIO: 0.05,
    Measure.PRICE: 1.0,
    Measure.MONEY: 1000.0,
    Measure.QUANTITY: 1.0,
    Measure.DURATION: 300.0,
    Measure.BARS: 10.0,
    Measure.CLOCK: 3600.0,
}
RATIO_STEPS: Final = 10_000
"""Ratios a policy compares literals with are known to 0.01 %."""


class _Facts:
    """Makes facts of one family that share what most of them have in common."""

    def __init__(self, family: Family, varies: Varies, source: str, max_age: str = "one cycle") -> None:
        self.family, self.varies, self.source, self.max_age = family, varies, source, max_age

    def __call__(
        self,
        name: str,
        unit: Unit,
        meaning: str,
        *,
        varies: Varies | None = None,
        source: str = "",
        steps_per_unit: int | None = None,
        minimum: float = 0.0,
        maximum: float | None = None,
        typical_scale: float | None = None,
        max_age: str = "",
        when_absent: float | None = None,
    ) -> Fact:
        """Return a fact; what is not stated is the family's or the unit's."""
        if isinstance(unit, Words) or unit is Measure.BOOLEAN:
            k, top, scale = 0, float(max(0, len(unit.words) - 1) if isinstance(unit, Words) else 1), 1.0
        else:
            k = RATIO_STEPS if unit is Measure.RATIO else GRID_PER_UNIT[unit]
            top, scale = _MAXIMUM[unit], _SCALE[unit]
        return Fact(
            name=name,
            family=self.family,
            unit=unit,
            varies=varies or self.varies,
            source=source or self.source,
            meaning=meaning,
            steps_per_unit=k if steps_per_unit is None else steps_per_unit,
            minimum=minimum,
            maximum=top if maximum is None else maximum,
            typical_scale=scale if typical_scale is None else typical_scale,
            max_age=max_age or self.max_age,
            when_absent=when_absent,
        )


_M, _V = Measure, Varies
_NEVER: Final = float(ELAPSED_CAP_SECONDS)
_quote = _Facts(Family.MARKET, _V.MARKET, "quote", "quote_age says")
_bar = _Facts(Family.BARS, _V.MARKET, "bars", "no expected bar missing")
_clock = _Facts(Family.CALENDAR, _V.CLOCK, "calendar")
_account = _Facts(Family.ACCOUNT, _V.ACCOUNT, "ledger")
_position = _Facts(Family.POSITION, _V.ACCOUNT, "ledger")
_memory = _Facts(Family.MEMORY, _V.CLOCK, "journal")
_order = _Facts(Family.ORDERS, _V.ACCOUNT, "journal")
_agent = _Facts(Family.AGENT, _V.ACCOUNT, "agent")
_instrument = _Facts(Family.INSTRUMENT, _V.FIXED, "policy")

_FACTS: Final = (
    # the quote
    _quote("price", _M.PRICE, "the bid: what a sale would bring now"),
    _quote("bid", _M.PRICE, "the best bid"),
    _quote("ask", _M.PRICE, "the best ask; never below the bid"),
    _quote(
        "quote_age",
        _M.DURATION,
        "time since the source stamped the quote",
        varies=_V.CLOCK,
        max_age="one cycle",
    ),
    _quote(
        "quote_state", QUOTE_STATE, "whether the quote may be traded on", max_age="one cycle", when_absent=2.0
    ),
    # the last closed bar of the policy's interval
    _bar("open", _M.PRICE, "open of the last closed bar"),
    _bar("high", _M.PRICE, "high of the last closed bar"),
    _bar("low", _M.PRICE, "low of the last closed bar"),
    _bar("close", _M.PRICE, "close of the last closed bar"),
    _bar("typical", _M.PRICE, "(high + low + close) / 3 of the last closed bar"),
    _bar(
        "volume", _M.QUANTITY, "volume of the last closed bar", steps_per_unit=1_000_000, typical_scale=1000.0
    ),
    # calendar and clock
    _clock("session", SESSION, "the session under way; 24/7 is always regular"),
    _clock("until_close", _M.DURATION, "to the end of the current or next regular session; 3650d on 24/7"),
    _clock("since_open", _M.DURATION, "since the latest regular open; 3650d on 24/7"),
    _clock("next_closure", _M.DURATION, "length of the closure after the current or next session; 0 on 24/7"),
    _clock("session_of_week", _M.COUNT, "1 in the first session of the ISO week", minimum=1.0, maximum=7.0),
    _clock("session_of_month", _M.COUNT, "1 in the first session of the month", minimum=1.0, maximum=31.0),
    _clock("weekday", WEEKDAY, "day of the week in the policy's timezone", source="clock"),
    _clock("time", _M.CLOCK, "cycle time of day in the policy's timezone", source="clock"),
    _clock(
        "until_earnings",
        _M.DURATION,
        "to the next earnings date; 3650d for crypto and commodities",
        source="dates",
        max_age="1d",
    ),
    # the account
    _account("equity", _M.MONEY, "cash and all positions at their bids, once per cycle"),
    _account("cash", _M.MONEY, "cash at the start of the cycle"),
    _account(
        "drawdown",
        _M.RATIO,
        "fall of equity from its peak, net of deposits and withdrawals",
        maximum=1.0,
        when_absent=0.0,
    ),
    _account(
        "equity_estimated", _M.RATIO, "share of equity valued at old prices", maximum=1.0, when_absent=0.0
    ),
    # the position
    _position("held", _M.BOOLEAN, "position_qty >= minimum", when_absent=0.0),
    _position("dust", _M.BOOLEAN, "a quantity above 0 and below minimum", when_absent=0.0),
    _position("position_qty", _M.QUANTITY, "the agent's own quantity", when_absent=0.0),
    _position("position_value", _M.MONEY, "position_qty at the bid", source="ledger, quote", when_absent=0.0),
    _position(
        "minimum", _M.QUANTITY, "the least quantity that counts as held", varies=_V.MARKET, source="venue"
    ),
    _position("weight", _M.RATIO, "position_value over equity", source="ledger, quote", when_absent=0.0),
    _position("target", _M.MONEY, "target_weight of equity", source="policy, ledger"),
    _position(
        "target_weight",
        _M.RATIO,
        "the symbol's weight in the universe",
        varies=_V.FIXED,
        source="policy",
        maximum=1.0,
    ),
    _position(
        "gain",
        _M.RATIO,
        "price over entry_price, less 1",
        varies=_V.MARKET,
        source="ledger, quote",
        minimum=-1.0,
    ),
    _position(
        "peak_gain", _M.RATIO, "peak_price over entry_price, less 1", source="ledger, bars", minimum=-1.0
    ),
    _position(
        "peak_price",
        _M.PRICE,
        "highest of entry_price and the closes of bars opened since the first fill",
        source="ledger, bars",
    ),
    _position("entry_price", _M.PRICE, "cost over quantity"),
    _position("last_entry_price", _M.PRICE, "price of the latest buy fill of this position"),
    _position("entries", _M.COUNT, "filled buy orders of this position", when_absent=0.0),
    _position(
        "held_for",
        _M.DURATION,
        "time since the position began",
        varies=_V.CLOCK,
        source="ledger, clock",
        when_absent=0.0,
    ),
    _position(
        "held_for_bars",
        _M.BARS,
        "expected bars closed since the position began",
        varies=_V.CLOCK,
        source="ledger, calendar",
        when_absent=0.0,
    ),
    # memory
    _memory(
        "since_order",
        _M.DURATION,
        "since the last order that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _memory(
        "since_buy",
        _M.DURATION,
        "since the last buy that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _memory(
        "since_sell",
        _M.DURATION,
        "since the last sell that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _memory(
        "since_order_bars",
        _M.BARS,
        "since_order in expected bars",
        source="journal, calendar",
        when_absent=_NEVER,
    ),
    _memory(
        "since_buy_bars",
        _M.BARS,
        "since_buy in expected bars",
        source="journal, calendar",
        when_absent=_NEVER,
    ),
    _memory(
        "since_sell_bars",
        _M.BARS,
        "since_sell in expected bars",
        source="journal, calendar",
        when_absent=_NEVER,
    ),
    # own orders
    _order("open_order", OPEN_ORDER, "side of the own order that is open or ambiguous", when_absent=0.0),
    _order("frozen", _M.BOOLEAN, "an order of this symbol is ambiguous", when_absent=0.0),
    _order(
        "unsendable",
        _M.BOOLEAN,
        "a sell would be refused now: rejection backoff or below a minimum",
        source="journal, venue",
        when_absent=0.0,
    ),
    # the agent itself
    _agent(
        "position_state",
        POSITION_STATE,
        "whether the broker's quantity is explained by our fills",
        source="journal, venue",
        when_absent=0.0,
    ),
    _agent("agent_state", AGENT_STATE, "active, reducing (exits only) or halted", when_absent=0.0),
    _agent(
        "clock_state",
        CLOCK_STATE,
        "whether the wall clock agrees with journal and sources",
        varies=_V.CLOCK,
        source="clock",
        when_absent=0.0,
    ),
    _agent("lease", _M.BOOLEAN, "this agent alone writes the journal", source="journal", when_absent=1.0),
    _agent(
        "unguarded", _M.BOOLEAN, "held while a protective rule is Unknown or cannot be sent", when_absent=0.0
    ),
    # the instrument
    _instrument("symbol", SYMBOL, "the symbol itself"),
    _instrument("asset_class", ASSET_CLASS, "the class the universe lists it under"),
    _instrument("calendar", CALENDAR, "the calendar of its class"),
)

FACTS: Final[dict[str, Fact]] = {fact.name: fact for fact in _FACTS}
"""Every fact by name, in the order of the documentation."""

BAR_COLUMNS: Final = frozenset(fact.name for fact in _FACTS if fact.family is Family.BARS)

SIGNAL_FIELDS: Final[dict[str, tuple[Unit, int, float]]] = {
    "side": (SIDE, 0, 3.0),
    "confidence": (Measure.RATIO, 100, 1.0),
    "buy": (Measure.SCALAR, 1_000_000, 1e6),
    "sell": (Measure.SCALAR, 1_000_000, 1e6),
    "hold": (Measure.SCALAR, 1_000_000, 1e6),
}
"""What every signal offers as ``NAME.field``: unit, steps per unit, maximum."""

FEED_FIELDS: Final = frozenset({"side", "confidence"})
"""What a signal from outside delivers."""

IN_BARS: Final[dict[str, str]] = {
    name: f"{name}_bars" for name in ("since_order", "since_buy", "since_sell", "held_for")
}
"""The elapsed facts that can be compared with ``n bars``, and the fact that counts in bars."""

POSITION_SIZE_FACTS: Final = frozenset({"position_value", "position_qty", "weight"})
"""Facts that move with the order itself: a level that reads one needs ``once``."""

BASE_FACTS: Final = (
    "price", "bid", "ask", "held", "position_qty", "position_value", "equity", "cash", "equity_estimated",
    "quote_state", "frozen", "position_state", "lease", "agent_state", "clock_state", "unsendable",
    "open_order",
)  # fmt: skip
"""Facts every lowered policy has: built-in vetoes and sizing read them."""

INVARIANTS: Final = (
    "bid <= ask",
    "price == bid",
    "held == (position_qty >= minimum)",
    "dust is a quantity above 0 that is not held",
    "a quantity of 0 is worth 0",
    "entry_price <= peak_price",
    "since_order is the shorter of since_buy and since_sell",
    "a voted signal follows from its votes",
    "low <= open, low <= close, open <= high, close <= high",
)
"""Relations between facts in every snapshot: the fact maker asserts them, the prover assumes them."""
