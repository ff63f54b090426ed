"""The facts of one symbol at one instant, as variables of the solver.

A fact is a pair: whether it is known, and its value as an integer count of steps of its grid (a word's
index, a truth value).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from engine.evaluate.symbolic.formulas import (
    Formula,
    Number,
    boolean,
    every,
    implies,
    integer,
    negation,
    same,
    some,
)
from engine.evaluate.symbolic.solver import Model
from engine.invariants import SURE_AT_MOST
from engine.lowered import (
    FactSlot,
    LoweredPolicy,
    SlotOrigin,
)
from engine.series import SELF, Column, Lag, SeriesCall, SeriesNode
from engine.units import Measure, Words
from engine.vocabulary import FACTS, SIGNAL_FIELDS, Family

NAN: Final = math.nan
_QUOTED: Final = frozenset({"price", "bid", "ask"})
_EPISODE: Final = frozenset(
    fact.name
    for fact in FACTS.values()
    if fact.family is Family.POSITION
    and fact.when_absent is None
    and fact.name not in ("minimum", "target", "target_weight")
)
"""Facts that are known only while something is held."""
_UNBOUNDED: Final = 10**12
_FARTHEST_PRICE: Final = 10**8
"""What indicators of prices stay within: a band of ten times the highest price there is."""
_AVERAGES: Final = frozenset({"sma", "ema", "highest", "lowest"})
"""Functions whose values lie among those of their input."""
_MOST_PRICE: Final = 10**9  # of what is computed from prices: a hundred times the largest
_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


@dataclass(frozen=True, slots=True)
class Variable:
    """A fact: whether it is known, and its value if so (a truth value, a word's index, a count of steps)."""

    slot: FactSlot
    known: Formula
    value: Number | Formula


class Snapshot:
    """The variables of all facts of one symbol at one instant, shared by all policies asked about it.

    Facts are one and the same where they have one name and, computed from bars, one series.  With
    ``anything_unknown`` any fact may be Unknown; else all are known but those of a position that is not held
    and those of outside feeds.  ``constraints`` always hold: ranges and the vocabulary's relations.
    """

    whole = True
    """Computed numbers are whole steps of their grid; without that they are anything within rounding."""

    def __init__(self, name: str = "", *, anything_unknown: bool = False) -> None:
        """Begin without facts; ``name`` tells the variables of several snapshots apart."""
        self.name = name
        self.anything_unknown = anything_unknown
        self.constraints: list[Formula] = []
        self.common: list[Formula] = []  # of the constraints those that are about facts
        self.definitions: dict[int, tuple[Number | Formula, list[Formula]]] = {}
        self.said = 0  # so many formulas define something
        self.exact: list[Formula] = []  # what products and quotients are
        self.firm: list[Formula] = []  # computed numbers lie on their grid, none on the edge of its rounding
        self.variables: dict[object, Variable] = {}
        self._named: dict[str, Variable] = {}
        self._related: set[str] = set()
        self._fresh = 0

    def variable(self, slot: FactSlot) -> Variable:
        """Return the variable of a fact."""
        key = _key(slot)
        if key not in self.variables:
            taken = sum(other.slot.name == slot.name for other in self.variables.values())
            name = f"{self.name}{slot.name}" + (f"#{taken + 1}" if taken else "")
            variable = Variable(slot, self._known(slot, name), self._value(slot, name))
            self.variables[key] = variable
            if slot.origin is SlotOrigin.VOCABULARY or _is_own_column(slot):
                self._named.setdefault(slot.name, variable)
            self._relate()
        return self.variables[key]

    def find(self, name: str) -> Variable | None:
        """Return the variable of a fact of the vocabulary, if something reads it."""
        return self._named.get(name)

    def define(self, helping: Number | Formula, *formulas: Formula) -> None:
        """Say what a helping variable stands for: of no concern to what does not mention it.

        Whatever the facts are, some value of the variable makes the formulas true.
        """
        self.constraints += formulas
        self.definitions.setdefault(helping.identity, (helping, []))[1].extend(formulas)
        self.said += len(formulas)

    def fresh(self, kind: str) -> str:
        """Return a new name for a helping variable."""
        self._fresh += 1
        return f"{self.name}{kind}!{self._fresh}"

    def _known(self, slot: FactSlot, name: str) -> Formula:
        if slot.origin in _VOTED or slot.origin is SlotOrigin.OUTCOME:
            return True
        if not self.anything_unknown and slot.origin is not SlotOrigin.FEED and slot.name not in _EPISODE:
            return True
        known = boolean(f"{name}?")
        if slot.name in _EPISODE:
            held = self.variable(FactSlot("held", Measure.BOOLEAN, 0, SlotOrigin.VOCABULARY))
            there = every((held.known, held.value))
            self._always(implies(known, there) if self.anything_unknown else same(known, there))
        return known

    def _value(self, slot: FactSlot, name: str) -> Number | Formula:
        if slot.unit is Measure.BOOLEAN:
            return boolean(name)
        value = integer(name)
        low, high = slot_range(slot)
        self._always(value >= low, value <= high)
        return value

    def _always(self, *formulas: Formula) -> None:
        self.constraints += formulas
        self.common += formulas

    def _relate(self) -> None:
        """Assert the vocabulary's relations between facts that are there, each once."""
        for words, relation in self._relations():
            if words not in self._related:
                self._related.add(words)
                self._always(relation)

    def _relations(self) -> Iterable[tuple[str, Formula]]:
        def both(*names: str) -> list[Variable] | None:
            found = [self.find(name) for name in names]
            return None if None in found else [one for one in found if one is not None]

        for low, high in SURE_AT_MOST:
            if pair := both(low, high):
                a, b = pair
                k, m = a.slot.steps_per_unit, b.slot.steps_per_unit
                below = a.value <= b.value if k == m else a.value * m <= b.value * k
                yield f"{low} <= {high}", implies(every((a.known, b.known)), below)
        if pair := both("price", "bid"):
            price, bid = pair
            k, m = price.slot.steps_per_unit, bid.slot.steps_per_unit
            equal = price.value == bid.value if k == m else price.value * m == bid.value * k
            yield "price is bid", every((same(price.known, bid.known), equal))
        if three := both("held", "position_qty", "minimum"):
            held, owned, least = three
            enough = owned.value >= least.value
            yield (
                "held is enough",
                implies(every((held.known, owned.known, least.known)), same(held.value, enough)),
            )
        if pair := both("held", "position_qty"):
            held, owned = pair
            known = every((held.known, owned.known))
            yield "held is something", implies(every((known, held.value)), owned.value > 0)
        if pair := both("position_qty", "position_value"):
            owned, worth = pair
            known = every((owned.known, worth.known))
            yield "nothing is worth nothing", implies(every((known, owned.value == 0)), worth.value == 0)
        if three := both("dust", "held", "position_qty"):
            dust, held, owned = three
            known = every((dust.known, held.known, owned.known))
            some_less = every((owned.value > 0, negation(held.value)))
            yield "dust is less", implies(known, same(dust.value, some_less))
        for suffix in ("", "_bars"):
            if three := both(f"since_order{suffix}", f"since_buy{suffix}", f"since_sell{suffix}"):
                order, buy, sell = three
                known = every((order.known, buy.known, sell.known))
                either = some((order.value == buy.value, order.value == sell.value))
                yield f"since_order{suffix} is the shorter", implies(known, either)


class Completion(Snapshot):
    """A snapshot that knows all that another one knows, alike, and perhaps more.

    A fact that the other does not know has a value there, too, which nothing reads: it is what is known here.
    So the two share every value, and differ in what is known alone.
    """

    def __init__(self, of: Snapshot) -> None:
        """Begin without facts."""
        super().__init__(f"{of.name}known ", anything_unknown=True)
        self.of = of

    def _known(self, slot: FactSlot, name: str) -> Formula:
        known = super()._known(slot, name)
        self._always(implies(self.of.variable(slot).known, known))
        return known

    def _value(self, slot: FactSlot, name: str) -> Number | Formula:
        return self.of.variable(slot).value


def _key(slot: FactSlot) -> object:
    return slot.series if slot.series is not None else (slot.name, slot.origin)


def _is_own_column(slot: FactSlot) -> bool:
    """Say whether a fact is a column of the policy's own bars, such as ``close``."""
    return isinstance(slot.series, Column) and slot.series.name == slot.name and slot.series.symbol == SELF


def slot_range(slot: FactSlot) -> tuple[int, int]:
    """Return the least and the largest count of steps (index of a word) that a fact may have."""
    k = slot.steps_per_unit
    if isinstance(slot.unit, Words):
        last = max(0, len(slot.unit.words) - 1)
        low, high = (0.0, last) if slot.series is None else _series_range(slot.series, _UNBOUNDED)
        return max(0, round(low)), min(last, round(high))
    if slot.name in _QUOTED:
        return 1, round(FACTS[slot.name].maximum * k)  # a quote without a bid above 0 is none
    if slot.series is not None:
        low, high = _series_range(slot.series, _FARTHEST_PRICE if slot.unit is Measure.PRICE else _UNBOUNDED)
        if slot.unit is Measure.PRICE:
            low, high = max(low, -_MOST_PRICE), min(high, _MOST_PRICE)
    elif slot.name in FACTS:
        low, high = FACTS[slot.name].minimum, FACTS[slot.name].maximum
    else:
        low, high = 0.0, SIGNAL_FIELDS.get(slot.name.rpartition(".")[2], (None, 0, 1.0 * _UNBOUNDED))[2]
        if slot.origin not in (*_VOTED, SlotOrigin.FEED, SlotOrigin.OUTCOME):
            low = -high
    return math.ceil(low * k), math.floor(high * k)


def _series_range(series: SeriesNode, farthest: float) -> tuple[float, float]:
    from engine.indicators.functions import FUNCTIONS

    if isinstance(series, Lag):
        return _series_range(series.operand, farthest)
    if isinstance(series, Column):
        return FACTS[series.name].minimum, FACTS[series.name].maximum
    if isinstance(series, SeriesCall):
        bounds = FUNCTIONS[series.function].output(series.output).bounds
        if bounds is not None:
            return bounds
        if series.function in _AVERAGES:
            return _series_range(series.inputs[0], farthest)
    return -farthest, farthest


# --- back to facts ----------------------------------------------------------------------------


def fact_values(policy: LoweredPolicy, snapshot: Snapshot, model: Model) -> list[float]:
    """Return the fact vector that a model stands for; voted signals are left to the evaluator."""
    values = []
    for slot in policy.slots:
        variable = snapshot.variables.get(_key(slot))
        if variable is None:
            values.append(NAN if slot.origin in _VOTED else _unread(slot))
        elif not model.truth(variable.known):
            values.append(NAN)
        elif slot.unit is Measure.BOOLEAN:
            values.append(float(model.truth(variable.value)))
        else:
            steps = int(model.number(variable.value))
            values.append(steps / slot.steps_per_unit if slot.steps_per_unit else float(steps))
    return values


def _unread(slot: FactSlot) -> float:
    """Return a value for a fact that no formula reads."""
    fact = FACTS.get(slot.name)
    if fact is not None and fact.when_absent is not None:
        return fact.when_absent
    low, high = slot_range(slot)
    steps = min(max(0, low), high)
    return steps / slot.steps_per_unit if slot.steps_per_unit else float(steps)
