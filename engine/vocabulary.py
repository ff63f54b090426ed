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


def _fact(
    name: str,
    family: Family,
    unit: Unit,
    varies: Varies,
    source: str,
    meaning: str,
    *,
    steps_per_unit: int | None = None,
    minimum: float = 0.0,
    maximum: float | None = None,
    typical_scale: float | None = None,
    max_age: str = "one cycle",
    when_absent: float | None = None,
) -> Fact:
    if isinstance(unit, Words):
        k, top, scale = 0, float(max(0, len(unit.words) - 1)), 1.0
    elif unit is Measure.BOOLEAN:
        k, top, scale = 0, 1.0, 1.0
    else:
        k, top, scale = GRID_PER_UNIT[unit], _MAXIMUM[unit], _SCALE[unit]
        if unit is Measure.RATIO:
            k = RATIO_STEPS
    return Fact(
        name,
        family,
        unit,
        varies,
        source,
        meaning,
        k if steps_per_unit is None else steps_per_unit,
        minimum,
        top if maximum is None else maximum,
        scale if typical_scale is None else typical_scale,
        max_age,
        when_absent,
    )


_M, _V, _F = Measure, Varies, Family
_NEVER: Final = float(ELAPSED_CAP_SECONDS)
_QUOTE_AGE = "quote_age says"
_BAR_AGE = "no expected bar missing"

_FACTS: Final = (
    # market
    _fact(
        "price",
        _F.MARKET,
        _M.PRICE,
        _V.MARKET,
        "quote",
        "the bid: what a sale would bring now",
        max_age=_QUOTE_AGE,
    ),
    _fact("bid", _F.MARKET, _M.PRICE, _V.MARKET, "quote", "the best bid", max_age=_QUOTE_AGE),
    _fact(
        "ask",
        _F.MARKET,
        _M.PRICE,
        _V.MARKET,
        "quote",
        "the best ask; never below the bid",
        max_age=_QUOTE_AGE,
    ),
    _fact("quote_age", _F.MARKET, _M.DURATION, _V.CLOCK, "quote", "time since the source stamped the quote"),
    _fact(
        "quote_state",
        _F.MARKET,
        QUOTE_STATE,
        _V.MARKET,
        "quote",
        "whether the quote may be traded on",
        when_absent=2.0,
    ),
    # the last closed bar of the policy's interval
    _fact("open", _F.BARS, _M.PRICE, _V.MARKET, "bars", "open of the last closed bar", max_age=_BAR_AGE),
    _fact("high", _F.BARS, _M.PRICE, _V.MARKET, "bars", "high of the last closed bar", max_age=_BAR_AGE),
    _fact("low", _F.BARS, _M.PRICE, _V.MARKET, "bars", "low of the last closed bar", max_age=_BAR_AGE),
    _fact("close", _F.BARS, _M.PRICE, _V.MARKET, "bars", "close of the last closed bar", max_age=_BAR_AGE),
    _fact(
        "typical",
        _F.BARS,
        _M.PRICE,
        _V.MARKET,
        "bars",
        "(high + low + close) / 3 of the last closed bar",
        max_age=_BAR_AGE,
    ),
    _fact(
        "volume",
        _F.BARS,
        _M.QUANTITY,
        _V.MARKET,
        "bars",
        "volume of the last closed bar",
        steps_per_unit=1_000_000,
        max_age=_BAR_AGE,
        typical_scale=1000.0,
    ),
    # calendar
    _fact(
        "session", _F.CALENDAR, SESSION, _V.CLOCK, "calendar", "the session under way; 24/7 is always regular"
    ),
    _fact(
        "until_close",
        _F.CALENDAR,
        _M.DURATION,
        _V.CLOCK,
        "calendar",
        "to the end of the current or next regular session; 3650d on 24/7",
    ),
    _fact(
        "since_open",
        _F.CALENDAR,
        _M.DURATION,
        _V.CLOCK,
        "calendar",
        "since the latest regular open; 3650d on 24/7",
    ),
    _fact(
        "next_closure",
        _F.CALENDAR,
        _M.DURATION,
        _V.CLOCK,
        "calendar",
        "length of the closure after the current or next session; 0 on 24/7",
    ),
    _fact(
        "session_of_week",
        _F.CALENDAR,
        _M.COUNT,
        _V.CLOCK,
        "calendar",
        "1 in the first session of the ISO week",
        minimum=1.0,
        maximum=7.0,
    ),
    _fact(
        "session_of_month",
        _F.CALENDAR,
        _M.COUNT,
        _V.CLOCK,
        "calendar",
        "1 in the first session of the month",
        minimum=1.0,
        maximum=31.0,
    ),
    _fact("weekday", _F.CALENDAR, WEEKDAY, _V.CLOCK, "clock", "day of the week in the policy's timezone"),
    _fact("time", _F.CALENDAR, _M.CLOCK, _V.CLOCK, "clock", "cycle time of day in the policy's timezone"),
    _fact(
        "until_earnings",
        _F.CALENDAR,
        _M.DURATION,
        _V.CLOCK,
        "dates",
        "to the next earnings date; 3650d for crypto and commodities",
        max_age="1d",
    ),
    # account
    _fact(
        "equity",
        _F.ACCOUNT,
        _M.MONEY,
        _V.ACCOUNT,
        "ledger",
        "cash and all positions at their bids, once per cycle",
        typical_scale=1000.0,
    ),
    _fact("cash", _F.ACCOUNT, _M.MONEY, _V.ACCOUNT, "ledger", "cash at the start of the cycle"),
    _fact(
        "drawdown",
        _F.ACCOUNT,
        _M.RATIO,
        _V.ACCOUNT,
        "ledger",
        "fall of equity from its peak, net of deposits and withdrawals",
        maximum=1.0,
        when_absent=0.0,
    ),
    _fact(
        "equity_estimated",
        _F.ACCOUNT,
        _M.RATIO,
        _V.ACCOUNT,
        "ledger",
        "share of equity valued at old prices",
        maximum=1.0,
        when_absent=0.0,
    ),
    # position
    _fact("held", _F.POSITION, _M.BOOLEAN, _V.ACCOUNT, "ledger", "position_qty >= minimum", when_absent=0.0),
    _fact(
        "dust",
        _F.POSITION,
        _M.BOOLEAN,
        _V.ACCOUNT,
        "ledger",
        "a quantity above 0 and below minimum",
        when_absent=0.0,
    ),
    _fact(
        "position_qty",
        _F.POSITION,
        _M.QUANTITY,
        _V.ACCOUNT,
        "ledger",
        "the agent's own quantity",
        when_absent=0.0,
    ),
    _fact(
        "position_value",
        _F.POSITION,
        _M.MONEY,
        _V.ACCOUNT,
        "ledger, quote",
        "position_qty at the bid",
        when_absent=0.0,
    ),
    _fact("minimum", _F.POSITION, _M.QUANTITY, _V.MARKET, "venue", "the least quantity that counts as held"),
    _fact(
        "weight",
        _F.POSITION,
        _M.RATIO,
        _V.ACCOUNT,
        "ledger, quote",
        "position_value over equity",
        when_absent=0.0,
    ),
    _fact("target", _F.POSITION, _M.MONEY, _V.ACCOUNT, "policy, ledger", "target_weight of equity"),
    _fact(
        "target_weight",
        _F.POSITION,
        _M.RATIO,
        _V.FIXED,
        "policy",
        "the symbol's weight in the universe",
        maximum=1.0,
    ),
    _fact(
        "gain",
        _F.POSITION,
        _M.RATIO,
        _V.MARKET,
        "ledger, quote",
        "price over entry_price, less 1",
        minimum=-1.0,
    ),
    _fact(
        "peak_gain",
        _F.POSITION,
        _M.RATIO,
        _V.ACCOUNT,
        "ledger, bars",
        "peak_price over entry_price, less 1",
        minimum=-1.0,
    ),
    _fact(
        "peak_price",
        _F.POSITION,
        _M.PRICE,
        _V.ACCOUNT,
        "ledger, bars",
        "highest of entry_price and the closes of bars opened since the first fill",
    ),
    _fact("entry_price", _F.POSITION, _M.PRICE, _V.ACCOUNT, "ledger", "cost over quantity"),
    _fact(
        "last_entry_price",
        _F.POSITION,
        _M.PRICE,
        _V.ACCOUNT,
        "ledger",
        "price of the latest buy fill of this position",
    ),
    _fact(
        "entries",
        _F.POSITION,
        _M.COUNT,
        _V.ACCOUNT,
        "ledger",
        "filled buy orders of this position",
        when_absent=0.0,
    ),
    _fact(
        "held_for",
        _F.POSITION,
        _M.DURATION,
        _V.CLOCK,
        "ledger, clock",
        "time since the position began",
        when_absent=0.0,
    ),
    _fact(
        "held_for_bars",
        _F.POSITION,
        _M.BARS,
        _V.CLOCK,
        "ledger, calendar",
        "expected bars closed since the position began",
        when_absent=0.0,
    ),
    # memory
    _fact(
        "since_order",
        _F.MEMORY,
        _M.DURATION,
        _V.CLOCK,
        "journal",
        "since the last order that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _fact(
        "since_buy",
        _F.MEMORY,
        _M.DURATION,
        _V.CLOCK,
        "journal",
        "since the last buy that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _fact(
        "since_sell",
        _F.MEMORY,
        _M.DURATION,
        _V.CLOCK,
        "journal",
        "since the last sell that reached the venue; 3650d is never",
        when_absent=_NEVER,
    ),
    _fact(
        "since_order_bars",
        _F.MEMORY,
        _M.BARS,
        _V.CLOCK,
        "journal, calendar",
        "since_order in expected bars",
        when_absent=_NEVER,
    ),
    _fact(
        "since_buy_bars",
        _F.MEMORY,
        _M.BARS,
        _V.CLOCK,
        "journal, calendar",
        "since_buy in expected bars",
        when_absent=_NEVER,
    ),
    _fact(
        "since_sell_bars",
        _F.MEMORY,
        _M.BARS,
        _V.CLOCK,
        "journal, calendar",
        "since_sell in expected bars",
        when_absent=_NEVER,
    ),
    # orders and the agent itself
    _fact(
        "open_order",
        _F.ORDERS,
        OPEN_ORDER,
        _V.ACCOUNT,
        "journal",
        "side of the own order that is open or ambiguous",
        when_absent=0.0,
    ),
    _fact(
        "frozen",
        _F.ORDERS,
        _M.BOOLEAN,
        _V.ACCOUNT,
        "journal",
        "an order of this symbol is ambiguous",
        when_absent=0.0,
    ),
    _fact(
        "unsendable",
        _F.ORDERS,
        _M.BOOLEAN,
        _V.ACCOUNT,
        "journal, venue",
        "a sell would be refused now: rejection backoff or below a minimum",
        when_absent=0.0,
    ),
    _fact(
        "position_state",
        _F.AGENT,
        POSITION_STATE,
        _V.ACCOUNT,
        "journal, venue",
        "whether the broker's quantity is explained by our fills",
        when_absent=0.0,
    ),
    _fact(
        "agent_state",
        _F.AGENT,
        AGENT_STATE,
        _V.ACCOUNT,
        "agent",
        "active, reducing (exits only) or halted",
        when_absent=0.0,
    ),
    _fact(
        "clock_state",
        _F.AGENT,
        CLOCK_STATE,
        _V.CLOCK,
        "clock",
        "whether the wall clock agrees with journal and sources",
        when_absent=0.0,
    ),
    _fact(
        "lease",
        _F.AGENT,
        _M.BOOLEAN,
        _V.ACCOUNT,
        "journal",
        "this agent alone writes the journal",
        when_absent=1.0,
    ),
    _fact(
        "unguarded",
        _F.AGENT,
        _M.BOOLEAN,
        _V.ACCOUNT,
        "agent",
        "held while a protective rule is Unknown or cannot be sent",
        when_absent=0.0,
    ),
    # instrument
    _fact("symbol", _F.INSTRUMENT, SYMBOL, _V.FIXED, "policy", "the symbol itself"),
    _fact(
        "asset_class", _F.INSTRUMENT, ASSET_CLASS, _V.FIXED, "policy", "the class the universe lists it under"
    ),
    _fact("calendar", _F.INSTRUMENT, CALENDAR, _V.FIXED, "policy", "the calendar of its class"),
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
    "quote_state", "frozen", "position_state", "lease", "agent_state", "clock_state", "unsendable", "open_order",
)  # fmt: skip
"""Facts every lowered policy has: built-in vetoes and sizing read them."""

INVARIANTS: Final = (
    "bid <= ask",
    "price == bid",
    "held == (position_qty >= minimum)",
    "a voted signal follows from its votes",
    "low <= open, low <= close, open <= high, close <= high",
)
"""Relations between facts that hold in every snapshot; the fact maker asserts them."""
