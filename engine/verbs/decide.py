"""Decide: from the facts of a symbol to its one decision.

Pure: the same facts, working order and usage of limits give the same decision for ever.  The evaluator
chooses among the rules; here the winner is sized, tried against the exits (``would-exit``), held against
the limits, and every candidate and directional signal gets its disposition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.codes import Action, Denial, Disposition, Side, Truth
from engine.evaluate.verdict import Evaluator, Verdict
from engine.lowered import LimitKind, LoweredPolicy, LoweredRule, OrderStyle, Selection
from engine.model import Decision, Instrument, OrderSide, OrderType, SizedOrder, TimeInForce, WorkingOrder
from engine.units import (
    GRID_PER_UNIT,
    MONEY_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    Measure,
    notional,
    quantise,
)

ESTIMATED_SHARE: Final = 0.05
"""Entries and trims are denied while more than this share of equity is valued at old prices."""

_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]
_PARTS_PER_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision reads beside the facts.

    ``usage`` has one entry per limit of the lowered policy: money held, open and reserved in its scope
    (scaled), or a count; None where it is not known.  ``counted`` says whether the symbol is held or
    being bought already.
    """

    symbol: str
    instrument: Instrument | None
    quantity: int  # own position, scaled
    working: WorkingOrder | None
    cash_available: int  # after reservations, money
    usage: Sequence[int | None]
    counted: bool
    fee_ppm: int = 0  # fee rate in parts per million of notional
    stated: int = 0  # voted signals that are given instead of computed, as a mask
    may_enter: bool = True  # False outside the universe: exits only
    backoff: bool = False  # the venue rejected a buy of the symbol lately
    dust_cost: int = 0  # money paid for a quantity that is too little to be held; it has no entry price


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What sizing made of the winner."""

    disposition: Disposition
    cause: int = -1
    action: Action = Action.HOLD
    order: SizedOrder | None = None
    cancel: str | None = None
    denial: Denial = Denial.NONE


def _denied(denial: Denial) -> _Outcome:
    return _Outcome(Disposition.DENIED, int(denial), denial=denial)


def decide(evaluator: Evaluator, values: list[float], situation: Situation) -> Decision:
    """Decide for one symbol.  ``values`` is its fact vector; voted signals are written into it."""
    policy = evaluator.policy
    would_exit = would_exit_unknown = 0
    sized_buy = False
    while True:
        verdict = evaluator.verdict(values, situation.stated, would_exit, would_exit_unknown)
        outcome = _Outcome(Disposition.NONE)
        if verdict.winner < 0:
            break
        rule = policy.rules[verdict.winner]
        if rule.action is Action.HOLD:
            outcome = _Outcome(Disposition.ACTED)
            break
        if rule.action is Action.SELL:
            outcome = _size_sell(evaluator, verdict.winner, values, situation)
            break
        sized_buy = True
        outcome = _size_buy(evaluator, verdict.winner, values, situation)
        if outcome.order is None or policy.selection is Selection.BY_PRIORITY:
            break
        after = after_entry(policy, values, outcome.order.quantity, situation.dust_cost)
        truth, _ = evaluator.standing_exit(after, situation.stated)
        if truth == Truth.FALSE:
            break
        if truth == Truth.TRUE:
            would_exit |= 1 << verdict.winner
        else:
            would_exit_unknown |= 1 << verdict.winner
    # The limits were asked also where would-exit vetoed the buy in the end: without what they had used the
    # decision could not be made again.
    used = tuple(situation.usage) if sized_buy else ()
    return _decision(policy, values, situation, verdict, outcome, used)


def _decision(
    policy: LoweredPolicy,
    values: list[float],
    situation: Situation,
    verdict: Verdict,
    outcome: _Outcome,
    used: tuple[int | None, ...],
) -> Decision:
    dispositions, causes = verdict.dispositions, verdict.causes
    if verdict.winner >= 0 and outcome.disposition is not Disposition.ACTED:
        changed = bytearray(dispositions)
        changed[verdict.winner] = outcome.disposition
        dispositions = bytes(changed)
        causes = (*causes[: verdict.winner], outcome.cause, *causes[verdict.winner + 1 :])
    return Decision(
        symbol=situation.symbol,
        action=outcome.action,
        rule=verdict.winner,
        truths=verdict.truths,
        dispositions=dispositions,
        causes=causes,
        signal_dispositions=_signal_dispositions(policy, values, dispositions, outcome.action),
        order=outcome.order,
        cancel=outcome.cancel,
        denial=outcome.denial,
        limit_usage=used,
    )


def _signal_dispositions(
    policy: LoweredPolicy, values: list[float], dispositions: bytes, action: Action
) -> bytes:
    """Give every directional signal the disposition of the first candidate that adopts it."""
    slots = [signal.slots[0] for signal in policy.signals] + [feed.side for feed in policy.feeds]
    found = bytearray(len(slots))
    for index, slot in enumerate(slots):
        side = values[slot] if slot >= 0 else math.nan
        if side not in (Side.BUY, Side.SELL):
            continue
        disposition = next(
            (
                dispositions[position]
                for position, rule in enumerate(policy.rules)
                if dispositions[position] and (index, int(side)) in rule.adopts
            ),
            None,
        )
        if disposition is None:
            same = action.value == int(side)
            disposition = Disposition.CONCURRED if same else Disposition.NOT_ADOPTED
        found[index] = disposition
    return bytes(found)


# --- sizes ------------------------------------------------------------------------------------


def _money(value: float) -> int:
    """Turn a fact on the grid of cents into scaled money, exactly."""
    return round(value * _CENTS) * (MONEY_SCALE // _CENTS)


def _floor_quantity(money: int, price: int, instrument: Instrument) -> int:
    """Return the quantity, floored to its step, that ``money`` buys or stands for at ``price``."""
    step = instrument.quantity_step_scaled
    whole = money * QUANTITY_SCALE * PRICE_SCALE // (price * MONEY_SCALE)
    return max(0, whole // step * step)


def _fact(policy: LoweredPolicy, values: list[float], name: str) -> float:
    return values[policy.slot(name)]


def _order_price(style: OrderStyle, computed: float, touch: float, instrument: Instrument, buy: bool) -> int:
    """Return the price that sizes and reserves: the limit on the tick, else the touch.

    Buys round up and sells round down, so that rounding never makes a marketable order rest.
    """
    price = round((touch if style.limit is None else computed) * PRICE_SCALE)
    tick = instrument.price_step_scaled
    return -(-price // tick) * tick if buy else max(tick, price // tick * tick)


def _order(style: OrderStyle, side: OrderSide, quantity: int, price: int, limited_by: int = -1) -> SizedOrder:
    market = style.limit is None
    return SizedOrder(
        side,
        quantity,
        None if market else price,
        OrderType.MARKET if market else OrderType.LIMIT,
        TimeInForce(style.time_in_force),
        style.good_for_seconds,
        limited_by,
        price,
    )


def _level_gap(rule: LoweredRule, size: float, values: list[float], policy: LoweredPolicy) -> float:
    """Return how far the position is below the level of a ``to X``, in the level's measure."""
    name = "position_qty" if rule.size_measure is Measure.QUANTITY else "position_value"
    return size - _fact(policy, values, name)


def _at_level(rule: LoweredRule, size: float, move: float) -> bool:
    """Say whether a level order would move the position by less than its least step."""
    if rule.additive:
        return False
    k = GRID_PER_UNIT[rule.size_measure]
    return move <= 0 or move < quantise(rule.min_step * size, k)


def _size_buy(evaluator: Evaluator, index: int, values: list[float], situation: Situation) -> _Outcome:
    policy, instrument = evaluator.policy, situation.instrument
    rule = policy.rules[index]
    if not situation.may_enter:
        return _denied(Denial.OUTSIDE_UNIVERSE)
    if situation.working is not None:
        return _Outcome(Disposition.WORKING)
    if situation.backoff:
        return _denied(Denial.BACKOFF)
    if instrument is None:
        return _denied(Denial.NO_INSTRUMENT)
    size = evaluator.size(index, values)
    computed = evaluator.price(True, values)
    ask = _fact(policy, values, "ask")
    market = policy.buy_style.limit is None
    move = size if rule.additive else _level_gap(rule, size, values, policy)
    if move != move or ask != ask or (computed != computed and not market):
        return _denied(Denial.SIZE_UNKNOWN)
    if not _fact(policy, values, "equity_estimated") <= ESTIMATED_SHARE:
        return _denied(Denial.EQUITY_ESTIMATED)
    if _at_level(rule, size, move):
        return _Outcome(Disposition.AT_LEVEL)
    price = _order_price(policy.buy_style, computed, ask, instrument, True)
    if price <= 0 or move <= 0:
        return _denied(Denial.ZERO_SIZE)
    if rule.size_measure is Measure.QUANTITY:
        step = instrument.quantity_step_scaled
        quantity = round(move * QUANTITY_SCALE) // step * step
    else:
        quantity = _floor_quantity(_money(move), price, instrument)
    if quantity <= 0:
        return _denied(Denial.ZERO_SIZE)
    return _limited_buy(evaluator, values, situation, instrument, quantity, price)


def _limited_buy(
    evaluator: Evaluator,
    values: list[float],
    situation: Situation,
    instrument: Instrument,
    quantity: int,
    price: int,
) -> _Outcome:
    """Shrink by every bound of money, then ask every count and every least amount."""
    policy = evaluator.policy
    limited_by = -1
    bounds: list[int] = []
    for index, limit in enumerate(policy.limits):
        bound = 0
        if limit.bound is not None:
            value = evaluator.bound(index, values)
            if value != value:
                return _denied(Denial.LIMIT_UNKNOWN)
            bound = _money(value)
        bounds.append(bound)
        if limit.kind in (LimitKind.ORDER_AT_MOST, LimitKind.EXPOSURE_AT_MOST):
            used = situation.usage[index] if limit.kind is LimitKind.EXPOSURE_AT_MOST else 0
            if used is None:
                return _denied(Denial.LIMIT_UNKNOWN)
            most = _floor_quantity(max(0, bound - used), price, instrument)
            if most < quantity:
                quantity, limited_by = most, index
            if quantity <= 0:
                return _Outcome(Disposition.LIMITED, index)
    affordable = situation.cash_available * _PARTS_PER_MILLION // (_PARTS_PER_MILLION + situation.fee_ppm)
    quantity = min(quantity, _floor_quantity(max(0, affordable), price, instrument))
    # the fee is rounded up and the notional half even: at the last step that can cost a cent too much
    while quantity > 0 and cost_of(quantity, price, situation.fee_ppm) > situation.cash_available:
        quantity -= instrument.quantity_step_scaled
    if quantity <= 0:
        return _denied(Denial.CASH)
    cost = cost_of(quantity, price, situation.fee_ppm)
    for index, limit in enumerate(policy.limits):
        used = situation.usage[index]
        if limit.kind is LimitKind.ORDER_AT_LEAST:
            refused = notional(quantity, price) < bounds[index]
        elif limit.kind is LimitKind.CASH_AT_LEAST:
            refused = situation.cash_available - cost < bounds[index]
        elif limit.kind is LimitKind.BUYS_AT_MOST:
            refused = used is None or used + 1 > limit.count
        elif limit.kind is LimitKind.POSITIONS_AT_MOST:
            refused = used is None or (not situation.counted and used + 1 > limit.count)
        else:
            continue
        if refused:
            return _Outcome(Disposition.LIMITED, index)
    if below_minimum(quantity, price, instrument):
        return _denied(Denial.BELOW_MINIMUM)
    order = _order(policy.buy_style, OrderSide.BUY, quantity, price, limited_by)
    return _Outcome(Disposition.ACTED, action=Action.BUY, order=order)


def cost_of(quantity: int, price: int, fee_ppm: int) -> int:
    """Return what a buy reserves: notional at its limit and the fee, rounded up."""
    amount = notional(quantity, price)
    return amount - (-amount * fee_ppm // _PARTS_PER_MILLION)


def below_minimum(quantity: int, price: int, instrument: Instrument) -> bool:
    """Say whether a venue would refuse an order for being too small."""
    if quantity < round(instrument.minimum_quantity * QUANTITY_SCALE):
        return True
    return notional(quantity, price) < round(instrument.minimum_notional * MONEY_SCALE)


def _size_sell(evaluator: Evaluator, index: int, values: list[float], situation: Situation) -> _Outcome:
    policy, instrument, working = evaluator.policy, situation.instrument, situation.working
    rule = policy.rules[index]
    if instrument is None:
        return _denied(Denial.NO_INSTRUMENT)
    bid = _fact(policy, values, "bid")
    step = instrument.quantity_step_scaled
    owned = quantity = situation.quantity // step * step  # what is less than a step cannot be sold
    if rule.size is not None:
        size = evaluator.size(index, values)
        move = -_level_gap(rule, size, values, policy)
        if move != move or not bid > 0:
            return _denied(Denial.SIZE_UNKNOWN)
        if not rule.protective and not _fact(policy, values, "equity_estimated") <= ESTIMATED_SHARE:
            return _denied(Denial.EQUITY_ESTIMATED)
        if _at_level(rule, size, move):
            return _Outcome(Disposition.AT_LEVEL)
        if rule.size_measure is Measure.QUANTITY:
            quantity = min(quantity, round(move * QUANTITY_SCALE) // step * step)
        else:
            quantity = min(quantity, _floor_quantity(_money(move), round(bid * PRICE_SCALE), instrument))
        least = _fact(policy, values, "minimum") if _has(policy, "minimum") else 0.0
        if least != least:
            return _denied(Denial.SIZE_UNKNOWN)
        if 0 < quantity < owned and owned - quantity < round(least * QUANTITY_SCALE):
            quantity = owned  # a trim that would leave dust sells all
    if quantity <= 0:
        return _denied(Denial.ZERO_SIZE)
    if working is not None:
        if working.cancelling:
            return _Outcome(Disposition.AWAITING_CANCEL, action=Action.SELL)
        if working.side is OrderSide.SELL and (working.rule == rule.name or working.remaining >= quantity):
            return _Outcome(Disposition.WORKING, action=Action.SELL)
        return _Outcome(Disposition.AWAITING_CANCEL, action=Action.SELL, cancel=working.client_id)
    computed = evaluator.price(False, values)
    if not bid > 0 or (computed != computed and policy.sell_style.limit is not None):
        return _denied(Denial.SIZE_UNKNOWN)
    price = _order_price(policy.sell_style, computed, bid, instrument, False)
    if below_minimum(quantity, price, instrument):
        return _denied(Denial.BELOW_MINIMUM)
    order = _order(policy.sell_style, OrderSide.SELL, quantity, price)
    return _Outcome(Disposition.ACTED, action=Action.SELL, order=order)


def _has(policy: LoweredPolicy, name: str) -> bool:
    return any(slot.name == name for slot in policy.slots)


# --- the entry, tried on its own facts --------------------------------------------------------


def after_entry(policy: LoweredPolicy, values: list[float], quantity: int, dust_cost: int = 0) -> list[float]:
    """Return the facts as they would be with the whole order filled at the ask.

    Quantity, cost, weight and entries follow the order; a first entry starts its peak at the entry price
    with ``peak_gain`` and ``held_for`` 0; ``since_order`` and ``since_buy`` are 0.  What depends on
    whether it is the first is Unknown where ``held`` is.
    """
    after = list(values)
    slots = {slot.name: index for index, slot in enumerate(policy.slots)}

    def read(name: str) -> float:
        return values[slots[name]] if name in slots else math.nan

    def write(name: str, value: float) -> None:
        if name in slots:
            k = policy.slots[slots[name]].steps_per_unit
            after[slots[name]] = quantise(value, k) if k and value == value else value

    bought, ask, price = quantity / QUANTITY_SCALE, read("ask"), read("price")
    owned, held = read("position_qty"), read("held")

    def by_entry(first: float, further: float) -> float:
        return math.nan if held != held else further if held else first

    dust = held == 0.0 or owned == 0
    old_cost = dust_cost / MONEY_SCALE if dust else owned * read("entry_price")
    total = owned + bought
    entry_price = ask if owned == 0 else (old_cost + bought * ask) / total
    value = total * price
    write("held", 1.0)
    write("dust", 0.0)
    write("position_qty", total)
    write("position_value", value)
    equity = read("equity")
    write("weight", value / equity if equity > 0 else math.nan)
    write("entry_price", entry_price)
    write("last_entry_price", ask)
    write("gain", price / entry_price - 1 if entry_price > 0 else math.nan)
    write("entries", by_entry(1.0, read("entries") + 1))
    known_peak = max(read("peak_price"), entry_price) if entry_price == entry_price else math.nan
    peak = by_entry(entry_price, known_peak)
    write("peak_price", peak)
    write("peak_gain", by_entry(0.0, peak / entry_price - 1 if entry_price > 0 else math.nan))
    write("held_for", by_entry(0.0, read("held_for")))
    write("held_for_bars", by_entry(0.0, read("held_for_bars")))
    for name in ("since_order", "since_buy", "since_order_bars", "since_buy_bars"):
        write(name, 0.0)
    return after
