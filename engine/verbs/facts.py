"""Facts: from a snapshot and the state to the fact vector of each symbol.

Every value is put on its slot's grid; what is missing, stale, infinite or out of its range is NaN with a
reason. The invariants of the vocabulary hold by construction and are asserted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from engine.codes import IntentState, UnknownReason
from engine.invariants import SURE_AT_MOST
from engine.language.policy import Listing
from engine.lowered import FactSlot, LoweredPolicy, Once, SlotOrigin
from engine.model import Instrument, NoQuote, OrderSide, Quote, QuoteKind, SessionFacts
from engine.units import (
    ELAPSED_CAP_SECONDS,
    MONEY_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    notional,
    quantise,
)
from engine.verbs.ledger import Holding
from engine.verbs.state import NEVER, Memory, elapsed_seconds
from engine.vocabulary import (
    AGENT_STATE,
    CLOCK_STATE,
    FACTS,
    OPEN_ORDER,
    POSITION_STATE,
    QUOTE_STATE,
    SESSION,
)

_R = UnknownReason
NAN: Final = math.nan
CLOCK_TOLERANCE_MS: Final = 2000
"""How far a stamp may be ahead of us, and the wall clock behind the journal."""

Known = tuple[float, UnknownReason]
"""A value with the reason why it is NaN, KNOWN where it is not."""


def known(value: float) -> Known:
    """Return a value that is known."""
    return value, _R.KNOWN


def unknown(reason: UnknownReason) -> Known:
    """Return an Unknown with its reason."""
    return NAN, reason


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """The account once per cycle; money is scaled."""

    cash: int
    equity: int
    estimated_share: float
    drawdown: float


@dataclass(frozen=True, slots=True)
class Moment:
    """What all symbols share in a cycle."""

    now_ms: int
    weekday: int  # 0 is Monday, in the policy's timezone
    time_seconds: int  # since midnight, in the policy's timezone
    day: int  # ordinal of the local date
    figures: AccountFigures
    agent_state: str
    clock_state: str
    lease: bool


@dataclass(frozen=True, slots=True)
class JudgedQuote:
    """A quote with what the agent makes of it; ``state`` is a word of ``quote_state``."""

    quote: Quote | None
    state: str
    reason: UnknownReason
    detail: str = ""
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class SymbolView:
    """One symbol in a cycle."""

    listing: Listing
    instrument: Instrument | None
    quote: JudgedQuote
    session: SessionFacts
    memory: Memory
    holding: Holding
    series: Mapping[str, Known]  # by slot name
    bar_stamp: int  # open time of the last closed bar of the policy's interval, NEVER where there is none
    bars_since: Callable[[int], int | None]  # expected bars closed since an instant
    feeds: Mapping[str, Known]
    equity_weight: float | None  # the listing's weight
    reconciled: bool = True  # what the venue has of it was compared with what we have


# --- quotes -----------------------------------------------------------------------------------

_STATES: Final = {_R.STALE: "stale", _R.UNCONFIRMED: "unconfirmed", _R.NO_INSTRUMENT: "unsupported"}
"""What is said of a quote that is not there, by its reason; "missing" for every other one."""


def judge_quote(
    answer: Quote | NoQuote | None, memory: Memory, wall_ms: int, max_age_seconds: int, jump_guard: float
) -> JudgedQuote:
    """Decide whether a quote may be traded on.  Its age is measured on the wall clock, like its stamp.

    A quote further than ``jump_guard`` from the last accepted one is unconfirmed until another agrees
    with it: a later one, or one of another source (language reference, "Prices").  The same quote asked
    for again confirms nothing, or a print at x 0.01 in a quiet market would fire a stop.  A stored close
    is stale however young it is: it may value a position, and prices no order.
    """
    if answer is None:
        return JudgedQuote(None, "missing", _R.MISSING, "no answer")
    if isinstance(answer, NoQuote):
        return JudgedQuote(None, _STATES.get(answer.reason, "missing"), answer.reason, answer.detail)
    if not 0 < answer.bid <= answer.ask:
        return JudgedQuote(None, "missing", _R.NOT_A_NUMBER, "bid above ask, or not above 0")
    age_ms = max(0, wall_ms - answer.source_time_ms)
    if answer.source_time_ms > wall_ms + CLOCK_TOLERANCE_MS:
        return JudgedQuote(None, "missing", _R.CLOCK, "stamped in the future")
    if answer.kind is QuoteKind.HISTORY:
        detail = f"a stored close, {age_ms // 1000} s old: it prices no order"
        return JudgedQuote(answer, "stale", _R.STALE, detail, age_ms)
    if age_ms > max_age_seconds * 1000:
        return JudgedQuote(answer, "stale", _R.STALE, f"{age_ms // 1000} s old", age_ms)
    if memory.trusted_bid and _jumps(memory.trusted_bid, answer.bid, jump_guard):
        another = answer.source_time_ms > memory.suspect_ms or answer.source != memory.suspect_source
        agrees = memory.suspect_bid and not _jumps(memory.suspect_bid, answer.bid, jump_guard)
        if not (agrees and another):
            detail = "a jump no second quote has confirmed"
            return JudgedQuote(answer, "unconfirmed", _R.UNCONFIRMED, detail, age_ms)
    return JudgedQuote(answer, "tradable", _R.KNOWN, "", age_ms)


def _jumps(accepted: int, bid: int, ratio: float) -> bool:
    return abs(bid - accepted) > ratio * accepted


def minimum_quantity(instrument: Instrument | None, trusted_bid: int) -> int | None:
    """Return the least quantity that counts as held: the venue's, or its notional floor, on the step."""
    if instrument is None:
        return None
    least = instrument.minimum_quantity
    if instrument.minimum_notional > 0:
        if trusted_bid <= 0:
            return None
        floor = instrument.minimum_notional * PRICE_SCALE / trusted_bid
        least = max(least, floor)
    steps = (least / instrument.quantity_step).to_integral_value(ROUND_CEILING)
    return int(max(Decimal(1), steps) * instrument.quantity_step_scaled)


# --- the account ------------------------------------------------------------------------------


def account_figures(
    cash: int,
    holdings: Mapping[str, int],
    bids: Mapping[str, tuple[int, bool]],
    peak_equity: int,
    latched_drawdown: float,
) -> AccountFigures:
    """Value an account.

    ``holdings`` are quantities, own and foreign; ``bids`` give the price of each and whether it is fresh.
    A symbol without any price makes all of it estimated, at nothing.
    """
    fresh = stale = 0
    unpriced = False
    for symbol, quantity in holdings.items():
        price, is_fresh = bids.get(symbol, (0, False))
        value = notional(quantity, price)
        if is_fresh:
            fresh += value
        else:
            stale += value
            unpriced = unpriced or price <= 0
    equity = cash + fresh + stale
    share = 1.0 if unpriced else (stale / equity if equity > 0 else (1.0 if stale else 0.0))
    peak = max(peak_equity, equity)
    fall = 1 - equity / peak if peak > 0 else 0.0
    return AccountFigures(cash, equity, share, max(fall, latched_drawdown))


# --- the vector -------------------------------------------------------------------------------

_Maker = Callable[[SymbolView, Moment], Known]


def _money(value: int) -> float:
    return value / MONEY_SCALE


def _price(value: int) -> Known:
    return known(value / PRICE_SCALE)


def _quoted(side: str) -> _Maker:
    def make(view: SymbolView, moment: Moment) -> Known:
        judged = view.quote
        if judged.state != "tradable" or judged.quote is None:
            return unknown(judged.reason)
        return _price(judged.quote.ask if side == "ask" else judged.quote.bid)

    return make


_bid = _quoted("bid")


def _quote_age(view: SymbolView, moment: Moment) -> Known:
    judged = view.quote
    return unknown(judged.reason) if judged.quote is None else known(judged.age_ms / 1000)


def _minimum(view: SymbolView) -> int | None:
    return minimum_quantity(view.instrument, view.memory.trusted_bid)


def is_held(view: SymbolView) -> bool | None:
    """Say whether the position counts as held; None where the minimum is not known."""
    if view.holding.quantity == 0:
        return False
    least = _minimum(view)
    return None if least is None else view.holding.quantity >= least


def _held(view: SymbolView, moment: Moment) -> Known:
    held = is_held(view)
    return unknown(_R.NO_INSTRUMENT) if held is None else known(float(held))


def _dust(view: SymbolView, moment: Moment) -> Known:
    held = is_held(view)
    if held is None:
        return unknown(_R.NO_INSTRUMENT)
    return known(float(view.holding.quantity > 0 and not held))


def _minimum_fact(view: SymbolView, moment: Moment) -> Known:
    least = _minimum(view)
    return unknown(_R.NO_INSTRUMENT) if least is None else known(least / QUANTITY_SCALE)


def _quantity(view: SymbolView, moment: Moment) -> Known:
    return known(view.holding.quantity / QUANTITY_SCALE)


def _position_value(view: SymbolView, moment: Moment) -> Known:
    if view.holding.quantity == 0:
        return known(0.0)
    bid, reason = _bid(view, moment)
    if reason is not _R.KNOWN:
        return unknown(reason)
    return known(_money(notional(view.holding.quantity, round(bid * PRICE_SCALE))))


def _equity(moment: Moment) -> float:
    return _money(moment.figures.equity)


def _weight(view: SymbolView, moment: Moment) -> Known:
    value, reason = _position_value(view, moment)
    if reason is not _R.KNOWN:
        return unknown(reason)
    return known(value / _equity(moment)) if moment.figures.equity > 0 else unknown(_R.DIVISION_BY_ZERO)


def _target(view: SymbolView, moment: Moment) -> Known:
    if view.equity_weight is None:
        return unknown(_R.MISSING)
    return known(view.equity_weight * _equity(moment))


def _entry_price(view: SymbolView) -> float | None:
    average = view.holding.average_price
    return None if average is None else float(average)


def _of_position(make: Callable[[SymbolView, Moment], Known]) -> _Maker:
    """A fact of the position: Unknown where there is none, or where its quantity changed behind us."""

    def maker(view: SymbolView, moment: Moment) -> Known:
        if view.memory.changed_quantity:
            return unknown(_R.QUANTITY_CHANGED)
        if view.holding.quantity == 0 or view.memory.episode_began_ms == NEVER:
            return unknown(_R.NO_POSITION)
        return make(view, moment)

    return maker


def _gain_over(price: float, view: SymbolView) -> Known:
    entry = _entry_price(view)
    if entry is None or entry <= 0:
        return unknown(_R.NO_POSITION)
    return known(price / entry - 1)


def _gain(view: SymbolView, moment: Moment) -> Known:
    bid, reason = _bid(view, moment)
    return unknown(reason) if reason is not _R.KNOWN else _gain_over(bid, view)


def _peak(view: SymbolView) -> float:
    """Return the highest close since the first fill, and no less than the entry price, which fills move."""
    return max(view.memory.peak_price / PRICE_SCALE, _entry_price(view) or 0.0)


def _entry(view: SymbolView, moment: Moment) -> Known:
    entry = _entry_price(view)
    return unknown(_R.NO_POSITION) if entry is None else known(entry)


def _held_since(view: SymbolView) -> int:
    return view.memory.episode_began_ms if view.holding.quantity else NEVER


def _held_for(view: SymbolView, moment: Moment) -> Known:
    began = _held_since(view)
    return known(0.0 if began == NEVER else float(elapsed_seconds(moment.now_ms, began)))


def _elapsed(field: str) -> _Maker:
    return lambda view, moment: known(float(elapsed_seconds(moment.now_ms, getattr(view.memory, field))))


def _elapsed_bars(field: str) -> _Maker:
    def make(view: SymbolView, moment: Moment) -> Known:
        since = getattr(view.memory, field)
        if since == NEVER:
            return known(float(ELAPSED_CAP_SECONDS))
        bars = view.bars_since(since)
        return unknown(_R.MISSING) if bars is None else known(float(bars))

    return make


def _held_for_bars(view: SymbolView, moment: Moment) -> Known:
    began = _held_since(view)
    if began == NEVER:
        return known(0.0)
    bars = view.bars_since(began)
    return unknown(_R.MISSING) if bars is None else known(float(bars))


def _unsendable(view: SymbolView, moment: Moment) -> Known:
    return known(float(moment.now_ms < view.memory.sell_backoff_until_ms))


def _open_order(view: SymbolView, moment: Moment) -> Known:
    working = view.memory.working
    if working is None:
        return known(OPEN_ORDER.index("none"))
    return known(OPEN_ORDER.index("buy" if working.side is OrderSide.BUY else "sell"))


def _frozen(view: SymbolView, moment: Moment) -> Known:
    working = view.memory.working
    unsettled = working is not None and working.state in (IntentState.AMBIGUOUS, IntentState.PLANNED)
    return known(float(unsettled or view.memory.frozen))


def _position_state(view: SymbolView, moment: Moment) -> Known:
    explained = "changed" if view.memory.changed_quantity else "known"
    return known(POSITION_STATE.index(explained if view.reconciled else "unreconciled"))


def _clock_state(view: SymbolView, moment: Moment) -> Known:
    if moment.clock_state == "ok" and view.quote.reason is _R.CLOCK:
        return known(CLOCK_STATE.index("ahead"))  # the source's clock, seen from ours
    return known(CLOCK_STATE.index(moment.clock_state))


def _until_earnings(view: SymbolView, moment: Moment) -> Known:
    if view.listing.asset_class != "stock":
        return known(float(ELAPSED_CAP_SECONDS))
    return unknown(_R.NO_DATES)


_MAKERS: Final[dict[str, _Maker]] = {
    "price": _bid,
    "bid": _bid,
    "ask": _quoted("ask"),
    "quote_age": _quote_age,
    "quote_state": lambda view, moment: known(QUOTE_STATE.index(view.quote.state)),
    "session": lambda view, moment: known(SESSION.index(view.session.session)),
    "until_close": lambda view, moment: known(float(view.session.until_close_seconds)),
    "since_open": lambda view, moment: known(float(view.session.since_open_seconds)),
    "next_closure": lambda view, moment: known(float(view.session.next_closure_seconds)),
    "session_of_week": lambda view, moment: known(float(view.session.session_of_week)),
    "session_of_month": lambda view, moment: known(float(view.session.session_of_month)),
    "weekday": lambda view, moment: known(float(moment.weekday)),
    "time": lambda view, moment: known(float(moment.time_seconds)),
    "until_earnings": _until_earnings,
    "equity": lambda view, moment: known(_equity(moment)),
    "cash": lambda view, moment: known(_money(moment.figures.cash)),
    "drawdown": lambda view, moment: known(moment.figures.drawdown),
    "equity_estimated": lambda view, moment: known(moment.figures.estimated_share),
    "held": _held,
    "dust": _dust,
    "position_qty": _quantity,
    "position_value": _position_value,
    "minimum": _minimum_fact,
    "weight": _weight,
    "target": _target,
    "target_weight": lambda view, moment: (
        unknown(_R.MISSING) if view.equity_weight is None else known(view.equity_weight)
    ),
    "gain": _of_position(_gain),
    "peak_gain": _of_position(lambda view, moment: _gain_over(_peak(view), view)),
    "peak_price": _of_position(lambda view, moment: known(_peak(view))),
    "entry_price": _of_position(_entry),
    "last_entry_price": _of_position(lambda view, moment: _price(view.memory.last_entry_price)),
    "entries": lambda view, moment: known(float(view.memory.entries)),
    "unguarded": lambda view, moment: known(float(view.memory.unguarded_since_ms != NEVER)),
    "held_for": _held_for,
    "held_for_bars": _held_for_bars,
    "since_order": _elapsed("last_order_ms"),
    "since_buy": _elapsed("last_buy_ms"),
    "since_sell": _elapsed("last_sell_ms"),
    "since_order_bars": _elapsed_bars("last_order_ms"),
    "since_buy_bars": _elapsed_bars("last_buy_ms"),
    "since_sell_bars": _elapsed_bars("last_sell_ms"),
    "open_order": _open_order,
    "frozen": _frozen,
    "unsendable": _unsendable,
    "position_state": _position_state,
    "agent_state": lambda view, moment: known(AGENT_STATE.index(moment.agent_state)),
    "clock_state": _clock_state,
    "lease": lambda view, moment: known(float(moment.lease)),
}

_NO_BARS: Final = unknown(_R.NO_BARS)


def once_stamp(once: Once, view: SymbolView, moment: Moment) -> int | None:
    """Return the period under way, None where it is not known."""
    match once:
        case Once.BAR:
            return None if view.bar_stamp == NEVER else view.bar_stamp
        case Once.DAY:
            return moment.day
        case Once.WEEK:
            return (moment.day - 1) // 7  # ordinal 1 is a Monday
        case Once.MONTH:
            return month_of_ordinal(moment.day)
        case Once.POSITION:
            return view.memory.position


def month_of_ordinal(day: int) -> int:
    """Return a number that is the same for all days of one month."""
    from datetime import date

    local = date.fromordinal(day)
    return local.year * 12 + local.month


_SHARED: Final = ("weekday", "time", "equity", "cash", "drawdown", "equity_estimated", "agent_state", "lease")
"""Facts of the moment alone: the same for every symbol of a cycle."""

_Made = tuple[int, _Maker, int, float, float]
"""A slot, what makes it, k of its grid, and its range."""


class FactMaker:
    """Makes fact vectors for one lowered policy."""

    def __init__(self, policy: LoweredPolicy) -> None:
        """Look up, once, what makes each slot."""
        self.policy = policy
        self._rules = {rule.name: rule for rule in policy.rules}
        self._shared: list[_Made] = []
        self._own: list[_Made] = []
        self._series: list[tuple[int, str, int]] = []
        self._others: list[tuple[int, FactSlot]] = []
        self._moment: Moment | None = None
        self._values: list[float] = []  # what the moment's symbols have in common
        self._reasons = bytearray()
        slots = {slot.name: index for index, slot in enumerate(policy.slots)}
        self._related = tuple(slots[name] for name in ("bid", "ask", "price", "held"))
        self._ordered = tuple(
            (slots[low], slots[high], f"{low} <= {high}")
            for low, high in SURE_AT_MOST
            if low in slots and high in slots
        )
        self._quantity, self._minimum = slots["position_qty"], slots.get("minimum", -1)
        for index, slot in enumerate(policy.slots):
            if slot.origin is SlotOrigin.VOCABULARY and slot.name in _MAKERS:
                fact = FACTS[slot.name]
                made = index, _MAKERS[slot.name], slot.steps_per_unit, fact.minimum, fact.maximum
                (self._shared if slot.name in _SHARED else self._own).append(made)
            elif slot.origin is SlotOrigin.SERIES:
                self._series.append((index, slot.name, slot.steps_per_unit))
            else:
                self._others.append((index, slot))

    def make(self, view: SymbolView, moment: Moment) -> tuple[list[float], bytearray]:
        """Return the fact vector of a symbol and the reason of each Unknown."""
        if moment is not self._moment:
            self._values, self._reasons = [NAN] * len(self.policy.slots), bytearray(len(self.policy.slots))
            _make(self._shared, view, moment, self._values, self._reasons)
            self._moment = moment
        values, reasons = self._values.copy(), self._reasons.copy()
        _make(self._own, view, moment, values, reasons)
        for index, name, k in self._series:
            value, reason = view.series.get(name, _NO_BARS)
            if value - value == 0.0:
                values[index] = quantise(value, k) if k else value
            else:
                reasons[index] = reason or _not_finite(value)
        for index, slot in self._others:
            value, reason = self._other(slot, view, moment)
            if reason is _R.KNOWN:
                values[index] = quantise(value, slot.steps_per_unit) if slot.steps_per_unit else value
            else:
                reasons[index] = reason
        self._assert_invariants(values)
        return values, reasons

    def _other(self, slot: FactSlot, view: SymbolView, moment: Moment) -> Known:
        match slot.origin:
            case SlotOrigin.FEED:
                value, reason = view.feeds.get(slot.name, unknown(_R.NO_FEED))
                return (value, reason) if reason or math.isfinite(value) else unknown(_not_finite(value))
            case SlotOrigin.ONCE:
                rule = self._rules[slot.name.removeprefix("once.")]
                assert rule.once is not None
                stamp = once_stamp(rule.once, view, moment)
                if stamp is None:
                    return unknown(_R.NO_BARS)
                if view.memory.repeats(rule.name):
                    return known(0.0)
                return known(float(view.memory.once_stamp(rule.name) == stamp))
            case SlotOrigin.SIGNAL | SlotOrigin.ENTRY_SIGNAL:
                return unknown(_R.VOTE)  # written by the evaluator
        return unknown(_R.MISSING)

    def _assert_invariants(self, values: Sequence[float]) -> None:
        """Relations of the vocabulary: facts that break one must never be decided on."""
        bid, ask, price, held = (values[slot] for slot in self._related)
        assert not bid > ask, "bid <= ask"
        assert price == bid or (price != price and bid != bid), "price is the bid"
        for low, high, words in self._ordered:
            assert not values[low] > values[high], words
        if self._minimum >= 0 and held == held:
            enough = values[self._quantity] >= values[self._minimum]
            assert (held == 1.0) == enough, "held is position_qty >= minimum"


def _make(
    made: Sequence[_Made], view: SymbolView, moment: Moment, values: list[float], reasons: bytearray
) -> None:
    """Write what is known, on its grid and in its range; the reason of everything else."""
    for index, maker, k, low, high in made:
        value, reason = maker(view, moment)
        if reason:
            reasons[index] = reason
            continue
        if k:
            value = quantise(value, k)
        if low <= value <= high:
            values[index] = value
        else:
            reasons[index] = _R.OVERFLOW if math.isfinite(value) else _R.NOT_A_NUMBER


def _not_finite(value: float) -> UnknownReason:
    return _R.NOT_A_NUMBER if value != value else _R.INFINITE
