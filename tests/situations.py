"""Plausible facts for a lowered policy, and situations to decide in: orders of a size that venues take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from engine.lowered import (
    ConstantTerm,
    FactSlot,
    FactTerm,
    LimitKind,
    LoweredPolicy,
    SlotOrigin,
)
from engine.model import AssetClass, Instrument
from engine.units import MONEY_SCALE, QUANTITY_SCALE, Measure, Words, quantise
from engine.verbs.decide import Situation

NAN: Final = math.nan
INSTRUMENT: Final = Instrument(
    "BTC-USD", AssetClass.CRYPTO, "24/7", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(1)
)
MINIMUM: Final = 0.02
"""The least quantity that counts as held: 1 USD at the lowest price drawn."""

_USUAL: Final = {
    "quote_state": 0.0,
    "frozen": 0.0,
    "position_state": 0.0,
    "lease": 1.0,
    "agent_state": 0.0,
    "clock_state": 0.0,
    "unsendable": 0.0,
    "open_order": 0.0,
    "equity_estimated": 0.0,
    "session": 1.0,
}
"""What hardly ever differs, so that most cases get beyond the built-in vetoes."""
_SIGNALS: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


def random_facts(policy: LoweredPolicy, rng: random.Random) -> list[float]:
    """Return facts that could be: a position or none, prices near each other, now and then on a bound."""
    price = rng.randrange(5000, 15000) / 100
    equity = float(rng.randrange(1000, 20000))
    quantity = rng.choice((0.0, 0.0, rng.randrange(1, 300) / 1000 * equity / price))
    entry_price = price * rng.randrange(80, 130) / 100 if quantity else NAN
    peak = entry_price * rng.randrange(100, 120) / 100
    known = {
        "price": price,
        "bid": price,
        "ask": price * rng.choice((1.0, 1.001, 1.01)),
        "equity": equity,
        "cash": equity * rng.randrange(0, 100) / 100,
        "position_qty": quantity,
        "position_value": quantity * price,
        "weight": quantity * price / equity,
        "minimum": MINIMUM,
        "entry_price": entry_price,
        "last_entry_price": entry_price,
        "peak_price": peak,
        "gain": price / entry_price - 1,
        "peak_gain": peak / entry_price - 1,
        "entries": float(rng.randrange(1, 4)) if quantity else 0.0,
        "target": equity * rng.randrange(1, 12) / 100,
        "target_weight": rng.randrange(1, 12) / 100,
    }
    values = [_value(slot, known, price, rng) for slot in policy.slots]
    for _ in range(rng.choice((0, 0, 1, 2))):
        _move_to_bound(policy, values, rng)
    return consistent(policy, values)


def _value(slot: FactSlot, known: dict[str, float], price: float, rng: random.Random) -> float:
    if slot.origin in _SIGNALS:
        return NAN  # written by the evaluator
    if slot.name in known and slot.origin is SlotOrigin.VOCABULARY:
        value = known[slot.name]
    elif slot.name in _USUAL and rng.randrange(20):
        return _USUAL[slot.name]
    elif isinstance(slot.unit, Words):
        return float(rng.randrange(len(slot.unit.words)))
    else:
        value = _DRAW[slot.unit](rng, price)
    return quantise(value, slot.steps_per_unit) if slot.steps_per_unit and value == value else value


_DRAW: Final[dict[Measure, Callable[[random.Random, float], float]]] = {
    Measure.BOOLEAN: lambda rng, _: float(rng.randrange(4) == 0),
    Measure.NUMBER: lambda rng, _: rng.randrange(-300, 10000) / 100,
    Measure.SCALAR: lambda rng, _: float(rng.randrange(0, 5)),
    Measure.COUNT: lambda rng, _: float(rng.randrange(0, 6)),
    Measure.RATIO: lambda rng, _: rng.randrange(-20, 120) / 100,
    Measure.PRICE: lambda rng, price: price * rng.randrange(90, 111) / 100,
    Measure.MONEY: lambda rng, _: float(rng.randrange(0, 5000)),
    Measure.QUANTITY: lambda rng, _: float(rng.randrange(0, 1000)),
    Measure.DURATION: lambda rng, _: float(rng.choice((0, 30, 300, 3600, 86400, 3650 * 86400))),
    Measure.BARS: lambda rng, _: float(rng.randrange(0, 60)),
    Measure.CLOCK: lambda rng, _: float(rng.randrange(0, 86400)),
}


def _move_to_bound(policy: LoweredPolicy, values: list[float], rng: random.Random) -> None:
    """Put one fact on, or one step beside, the constant it is compared with."""
    atom = rng.choice(policy.atoms)
    if isinstance(atom.left, FactTerm) and isinstance(atom.right, ConstantTerm):
        slot = policy.slots[atom.left.slot]
        if slot.steps_per_unit and slot.origin not in _SIGNALS:
            step = rng.choice((-1, 0, 1)) / slot.steps_per_unit
            values[atom.left.slot] = quantise(atom.right.value + step, slot.steps_per_unit)


def consistent(policy: LoweredPolicy, values: list[float]) -> list[float]:
    """Return the facts with the invariants of the vocabulary: price is bid <= ask, held by quantity."""
    slots = {slot.name: index for index, slot in enumerate(policy.slots)}
    fixed = list(values)
    bid = fixed[slots["price"]] = fixed[slots["bid"]]
    if fixed[slots["ask"]] < bid:
        fixed[slots["ask"]] = bid
    quantity = fixed[slots["position_qty"]]
    fixed[slots["held"]] = NAN if quantity != quantity else float(quantity >= MINIMUM)
    return fixed


def random_situation(policy: LoweredPolicy, values: list[float], rng: random.Random) -> Situation:
    """Return a situation with room in most limits."""
    quantity = values[policy.slot("position_qty")]
    usage = [
        rng.randrange(3)
        if limit.kind in (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST)
        else rng.randrange(0, 500) * MONEY_SCALE
        for limit in policy.limits
    ]
    return Situation(
        symbol=INSTRUMENT.symbol,
        instrument=INSTRUMENT,
        quantity=0 if quantity != quantity else round(quantity * QUANTITY_SCALE),
        working=None,
        cash_available=rng.choice((100, 5000, 50000)) * MONEY_SCALE,
        usage=usage,
        counted=bool(rng.randrange(2)),
        fee_ppm=rng.choice((0, 200)),
    )
