"""Calm facts: of all situations with a property, one that a person can take in at a glance.

A solver gives any numbers that do: a bid of 0.000499 USD where the stop is at -8 %.  So every fact is first
held at what it is in a quiet market; of what cannot stay there, prices are tried a little way off, at round
distances, before the solver may choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.evaluate.symbolic.formulas import Formula, every, negation
from engine.evaluate.symbolic.snapshot import slot_range
from engine.evaluate.symbolic.solver import Answer, Model
from engine.lowered import FactSlot, SlotOrigin
from engine.prove.variant import Variant
from engine.units import Measure
from engine.vocabulary import FACTS, SESSION

_NOT_CHOSEN: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL, SlotOrigin.OUTCOME)
_QUIET: Final = {
    "price": 100.0,
    "bid": 100.0,
    "ask": 100.0,
    "equity": 100_000.0,
    "cash": 50_000.0,
    "session": float(SESSION.words.index("regular")),
    "until_close": 10_800.0,
    "since_open": 10_800.0,
    "quote_age": 0.0,
    "held_for": 86_400.0,
    "entries": 1.0,
    "minimum": 1e-9,
    "session_of_week": 2.0,
    "session_of_month": 10.0,
    "weekday": 2.0,
    "time": 43_200.0,
}
_FOLLOWING: Final = frozenset({"held", "price", "gain", "peak_gain", "weight", "position_value", "target"})
"""These follow from the others: to hold them only gets in the way."""
_WAY_OFF: Final = (1.0, 0.95, 1.05, 0.9, 1.1, 0.85, 1.15, 0.8, 1.2, 1.35, 0.7, 1.5, 0.5, 2.0)
_MOST_TRIALS: Final = 18


def calm_model(variant: Variant, formulas: Sequence[Formula]) -> Model | None:
    """Return a model of the formulas with as many facts as may be as in a quiet market; None if none is."""
    pins = {
        slot.name: pin
        for slot in variant.form.lowered.slots
        if slot.origin not in _NOT_CHOSEN and (pin := _held_at(variant, slot, quiet_value(slot))) is not None
    }
    brief = variant.is_large  # there are other anchors, and each question takes long
    while (answer := variant.ask(*formulas, *pins.values(), briefly=brief)) is Answer.IMPOSSIBLE and pins:
        core = {id(formula) for formula in variant.solver.core()}
        kept = {name: pin for name, pin in pins.items() if id(pin) not in core}
        pins = kept if len(kept) < len(pins) else {}
    if answer is not Answer.POSSIBLE:
        return None
    if variant.is_large:  # nobody reads forty facts
        return variant.model()
    return _nearer(variant, formulas, pins) or variant.model()


def _nearer(variant: Variant, formulas: Sequence[Formula], pins: dict[str, Formula]) -> Model | None:
    """Bring the facts that could not stay as they were to round numbers, one after the other."""
    model, trials = variant.model(), 0
    for slot in variant.form.lowered.slots:
        if slot.origin in _NOT_CHOSEN or slot.name in pins or slot.name in _FOLLOWING - {"price"}:
            continue
        for factor in _WAY_OFF if slot.unit is Measure.PRICE else (1.0,):
            pin = _held_at(variant, slot, quiet_value(slot) * factor, always=True)
            if pin is None or trials == _MOST_TRIALS:
                break
            trials += 1
            if variant.ask(*formulas, *pins.values(), pin) is Answer.POSSIBLE:
                pins[slot.name] = pin
                model = variant.model()
                break
    return model


def _held_at(variant: Variant, slot: FactSlot, value: float, *, always: bool = False) -> Formula | None:
    """Return that a fact has a value; None where it follows from others."""
    if slot.name in _FOLLOWING and not always:
        return None
    variable = variant.snapshot.variable(slot)
    if slot.unit is Measure.BOOLEAN:
        return variable.value if value else negation(variable.value)
    low, high = slot_range(slot)
    steps = min(max(round(value * (slot.steps_per_unit or 1)), low), high)
    is_so = variable.value == steps
    return every((variable.known, is_so)) if slot.origin is SlotOrigin.FEED else is_so


def quiet_value(slot: FactSlot) -> float:
    """Return what a fact is in a quiet market."""
    if slot.name in _QUIET:
        return _QUIET[slot.name]
    fact = FACTS.get(slot.name)
    if fact is not None and fact.when_absent is not None:
        return fact.when_absent
    if slot.unit is Measure.PRICE:
        return 100.0
    low, high = (bound / (slot.steps_per_unit or 1) for bound in slot_range(slot))
    return (low + high) / 2 if high <= _SMALL else max(low, 0.0)


_SMALL: Final = 1000
"""What has no larger value is an index: its middle is where it usually is."""
