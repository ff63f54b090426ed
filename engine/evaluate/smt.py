"""The prover's terms: a lowered policy as formulas, with the meaning of ``engine.evaluate.verdict``.

A fact is a pair: whether it is known, and its value as an integer count of steps of its grid (a word's
index, a truth value).  A condition is a pair, too: when it is definitely true, when definitely false.

What an atom compares:

* facts and constants: exactly, as the floats compare that stand for them;
* a computed operand: an integer ``q`` within half a step, and the error of float64, of the exact value.
  Within that band the formulas leave either outcome open, so that what they rule out no evaluator can do,
  and what they allow must be replayed before it is believed;
* products and quotients of facts, and logarithms: numbers about which only their bounds are said, until
  ``Snapshot.exact`` is asserted, which defines them.

A limit is not modelled beyond what every buy obeys: see ``PolicyTerms.bought``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from engine.codes import Action, Side, Truth
from engine.evaluate.formulas import (
    Formula,
    Number,
    as_real,
    boolean,
    choice,
    every,
    implies,
    integer,
    is_whole,
    literal,
    negation,
    real,
    same,
    some,
    total,
)
from engine.evaluate.reference import CONFIDENCE_STEPS
from engine.evaluate.solver import Model
from engine.evaluate.verdict import WOULD_EXIT, gates_of
from engine.invariants import SURE_AT_MOST
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    NodeKind,
    Operator,
    Selection,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.series import SELF, Column, Lag, SeriesCall, SeriesNode
from engine.units import GRID_PER_UNIT, Measure, Words
from engine.vocabulary import FACTS, SIGNAL_FIELDS, Family

NAN: Final = math.nan
_BEYOND_LEVELS: Final = 10**18
_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]
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
_FLOAT_ERROR: Final = Fraction(1, 2**49)
"""Of float64 arithmetic, relative to the largest number in it: a few operations of 2^-53 each."""
_CONFIDENCE: Final = 1  # of the five fields of a signal
_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


class Kleene(NamedTuple):
    """When a condition is definitely true, and when definitely false.

    ``certain`` says that it is always one of the two, because all it reads is always known.
    """

    true: Formula
    false: Formula
    certain: bool = False

    @property
    def unknown(self) -> Formula:
        """When it is neither."""
        return False if self.certain else every((negation(self.true), negation(self.false)))


_CONSTANT: Final = {
    Truth.FALSE: Kleene(False, True, True),
    Truth.TRUE: Kleene(True, False, True),
    Truth.UNKNOWN: Kleene(False, False),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """A fact: whether it is known, and its value if so (a truth value, a word's index, a count of steps)."""

    slot: FactSlot
    known: Formula
    value: Number | Formula


class _Real(NamedTuple):
    """A computed number: its exact value, and the interval of the numbers met while computing it."""

    known: Formula
    value: Number
    low: float
    high: float
    largest: float  # absolute value met on the way: what the error of float64 is relative to


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


# --- numbers ----------------------------------------------------------------------------------


class _Terms:
    """Numbers of one policy over one snapshot; equal terms are one number, for every policy."""

    def __init__(self, snapshot: Snapshot, read: Callable[[int], Variable]) -> None:
        self.snapshot = snapshot
        self._read = read
        self._reals: dict[Term, _Real] = {}
        self._operands: dict[tuple[Term, int], tuple[Formula, Number]] = {}

    def on_grid(self, term: Term, k: int) -> tuple[Formula, Number]:
        """Return a computed operand as it is compared: an integer count of steps; and when it is known."""
        if (term, k) not in self._operands:
            computed = self.real(term)
            q = (integer if self.snapshot.whole else real)(self.snapshot.fresh("computed"))
            exact = as_real(k) * as_real(computed.value)
            self.snapshot.define(q, *_rounded(as_real(q), exact, computed, k, adds=_adds(term)))
            self.snapshot.firm += _within(as_real(q), exact, Fraction(499, 1000))
            if not self.snapshot.whole:
                self.snapshot.firm.append(is_whole(q))
            self._operands[term, k] = computed.known, q
        return self._operands[term, k]

    def completed_by(self, other: _Terms, alike: Callable[[Term], Formula]) -> Iterator[Formula]:
        """Yield what a completion keeps: of facts that are ``alike`` the same is computed."""
        for term, x in self._reals.items():
            if not isinstance(term, FactTerm | ConstantTerm) and term in other._reals:
                y = other._reals[term]
                equal = as_real(x.value) == as_real(y.value)
                yield implies(alike(term), every((implies(x.known, y.known), equal)))
        for key, (_, steps) in self._operands.items():
            if key in other._operands:
                yield implies(alike(key[0]), steps == other._operands[key][1])

    def real(self, term: Term) -> _Real:
        """Return a number, exactly."""
        if term not in self._reals:
            self._reals[term] = self._real(term)
        return self._reals[term]

    def _real(self, term: Term) -> _Real:
        match term:
            case FactTerm(slot):
                variable = self._read(slot)
                k = variable.slot.steps_per_unit
                if isinstance(variable.value, int):  # it is fixed
                    at = variable.value / k
                    return _Real(variable.known, Fraction(variable.value, k), at, at, abs(at))
                low, high = (bound / k for bound in slot_range(variable.slot))
                value = as_real(variable.value) * as_real(Fraction(1, k))
                return _Real(variable.known, value, low, high, max(abs(low), abs(high)))
            case ConstantTerm(value):
                return _Real(True, Fraction(repr(value)), value, value, abs(value))
            case StepTerm():
                return self._step(term)
            case ArithmeticTerm(operator, operands):
                first, *others = (self.real(operand) for operand in operands)
                if operator in _UNARY:
                    return self._unary(operator, first)
                result = first
                for other in others:
                    result = self._binary(operator, result, other)
                return result

    def _unary(self, operator: Operator, x: _Real) -> _Real:
        if operator is Operator.NEGATE:
            return _Real(x.known, -as_real(x.value), -x.high, -x.low, x.largest)
        if operator is Operator.ABSOLUTE:
            value = choice(as_real(x.value) >= 0, as_real(x.value), -as_real(x.value))
            low = 0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
            return _Real(x.known, value, low, max(abs(x.low), abs(x.high)), x.largest)
        low = math.log(x.low) if x.low > 0 else -800.0
        high = math.log(x.high) if x.high > 0 else 800.0
        logarithm = self._bounded("log", low, high)
        return _Real(every((x.known, as_real(x.value) > 0)), logarithm, low, high, max(abs(low), abs(high)))

    def _binary(self, operator: Operator, x: _Real, y: _Real) -> _Real:
        known = every((x.known, y.known))
        a, b = as_real(x.value), as_real(y.value)
        match operator:
            case Operator.ADD:
                value, low, high = a + b, x.low + y.low, x.high + y.high
            case Operator.SUBTRACT:
                value, low, high = a - b, x.low - y.high, x.high - y.low
            case Operator.MINIMUM:
                value, low, high = choice(a <= b, a, b), min(x.low, y.low), min(x.high, y.high)
            case Operator.MAXIMUM:
                value, low, high = choice(a >= b, a, b), max(x.low, y.low), max(x.high, y.high)
            case Operator.MULTIPLY:
                corners = [p * q for p in (x.low, x.high) for q in (y.low, y.high)]
                low, high = min(corners), max(corners)
                value = a * b
                if literal(a) is None and literal(b) is None:
                    value = self._bounded("product", low, high)
                    self.snapshot.exact.append(value == a * b)
            case _:
                return self._quotient(known, x, y)
        return _Real(known, value, low, high, max(x.largest, y.largest, abs(low), abs(high)))

    def _quotient(self, known: Formula, x: _Real, y: _Real) -> _Real:
        divisor = literal(as_real(y.value))
        if divisor is not None:
            if divisor == 0:
                return _Real(False, Fraction(0), 0.0, 0.0, 0.0)
            low, high = sorted((x.low / float(divisor), x.high / float(divisor)))
            value = as_real(x.value) * as_real(1 / divisor)
            return _Real(known, value, low, high, max(x.largest, abs(low), abs(high)))
        a, b = as_real(x.value), as_real(y.value)
        if y.low > 0 or y.high < 0:
            corners = [p / q for p in (x.low, x.high) for q in (y.low, y.high)]
            low, high = min(corners), max(corners)
        else:
            low, high = (0.0 if x.low >= 0 and y.low >= 0 else -math.inf), math.inf
        value = self._bounded("quotient", low, high)
        self.snapshot.exact.append(implies(b != 0, value * b == a))
        return _Real(every((known, b != 0)), value, low, high, max(x.largest, 1e15))

    def _bounded(self, kind: str, low: float, high: float) -> Number:
        value = real(self.snapshot.fresh(kind))
        self.snapshot.define(
            value,
            *([value >= as_real(Fraction(low))] if math.isfinite(low) else []),
            *([value <= as_real(Fraction(high))] if math.isfinite(high) else []),
        )
        return value

    def _step(self, term: StepTerm) -> _Real:
        by = self.real(term.by)
        reached = [self._reached(term.by, by, threshold) for threshold in term.thresholds]
        value: Number = Fraction(0)
        for over, step in zip(reached, term.values, strict=True):
            value = choice(over, as_real(Fraction(repr(step))), as_real(value))
        low, high = min(term.values), max(term.values)
        known = every((by.known, reached[0]))
        return _Real(known, value, low, high, max(abs(low), abs(high)))

    def _reached(self, term: Term, by: _Real, threshold: float) -> Formula:
        """Say whether a step's threshold is reached; a computed one may round to either side of it."""
        at = as_real(Fraction(repr(threshold)))
        if isinstance(term, FactTerm):
            return by.value >= at
        error = as_real(Fraction(min(by.largest, 1e30)) * _FLOAT_ERROR)
        reached = boolean(self.snapshot.fresh("reached"))
        self.snapshot.define(
            reached,
            implies(as_real(by.value) >= at + error, reached),
            implies(as_real(by.value) < at - error, negation(reached)),
        )
        return reached


def _adds(term: Term) -> bool:
    """Say whether a term adds or takes a logarithm: then its error may be large beside its value."""
    if not isinstance(term, ArithmeticTerm):
        return isinstance(term, StepTerm) and _adds(term.by)
    return term.operator in _ADDING or any(_adds(operand) for operand in term.operands)


def _rounded(q: Number, exact: Number, computed: _Real, k: int, *, adds: bool) -> Iterator[Formula]:
    """Yield how far a number on the grid may be from the exact one that was computed with float64.

    The error grows with the number; as a multiple of it, it would have coefficients of 2^-49, with which
    the solver takes a hundred times as long, and so it does where bounds depend on the number.  So it is the
    error of the largest number that can be, and, near zero, no more than a share of the number itself.
    """
    half = Fraction(1, 2)
    # Unless it adds, no number met on the way is beyond the last one, relative to its error.
    largest = (computed.largest if adds else max(abs(computed.low), abs(computed.high))) * k
    if largest <= _MANY_STEPS or adds:
        yield from _within(q, exact, half + _error(min(largest, 1e30)))
    if largest <= _USUAL_STEPS or adds:
        return
    share = exact * as_real(_SHARE)
    if computed.low >= 0:  # of usual numbers the error is small, too
        usual = _within(q, exact, half + _error(_USUAL_STEPS))
        yield implies(exact <= as_real(_USUAL_STEPS), every(usual))
        yield from _within(q, exact, as_real(half) + share)
        return
    yield implies(exact >= 0, every(_within(q, exact, as_real(half) + share)))
    yield implies(exact <= 0, every(_within(q, exact, as_real(half) - share)))


_USUAL_STEPS: Final = 10**13
_MANY_STEPS: Final = 10**18
_SHARE: Final = Fraction(1, 1024)
"""Of a number, far more than its error, and short: so the solver's numbers stay short."""


def _error(size: float) -> Fraction:
    """Return a bound on the error of numbers up to a size, in few digits."""
    return Fraction(math.ceil(size * _FLOAT_ERROR * 1000), 1000)


_ADDING: Final = (Operator.ADD, Operator.SUBTRACT, Operator.LOGARITHM)


def _within(number: Number, exact: Number, band: Number) -> list[Formula]:
    """Two numbers differ by no more than a band."""
    return [number <= exact + as_real(band), number >= exact - as_real(band)]


_UNARY: Final = (Operator.NEGATE, Operator.ABSOLUTE, Operator.LOGARITHM)


def _compared(comparison: Comparison, left: Number, right: Number) -> Formula:
    match comparison:
        case Comparison.LESS:
            return left < right
        case Comparison.LESS_OR_EQUAL:
            return left <= right
        case Comparison.GREATER:
            return left > right
        case Comparison.GREATER_OR_EQUAL:
            return left >= right
        case Comparison.EQUAL:
            return left == right
        case Comparison.NOT_EQUAL:
            return left != right


def _with_constant(comparison: Comparison, steps: Number, k: int, bound: float) -> Formula:
    """Compare ``steps / k`` with a number, as their floats compare."""
    at = round(bound * k)
    if abs(at) < 2**53 and at / k == bound:
        return _compared(comparison, steps, at)
    below = math.floor(bound * k)  # the bound lies between two steps
    while below / k > bound:
        below -= 1
    while (below + 1) / k < bound:
        below += 1
    match comparison:
        case Comparison.LESS | Comparison.LESS_OR_EQUAL:
            return steps <= below
        case Comparison.GREATER | Comparison.GREATER_OR_EQUAL:
            return steps > below
        case Comparison.EQUAL:
            return False
        case Comparison.NOT_EQUAL:
            return True


# --- conditions and signals -------------------------------------------------------------------


class Conditions:
    """Every condition of a lowered policy as formulas over a snapshot.

    ``own`` gives facts that are not the snapshot's: those of the moment after an entry, what a decision was,
    signals that are stated instead of counted.  Policies that share slots, atoms, nodes and signals share
    their formulas where one is translated ``beside`` another: what they compute alike is one number.
    """

    def __init__(
        self,
        policy: LoweredPolicy,
        snapshot: Snapshot,
        own: dict[int, Variable] | None = None,
        beside: Conditions | None = None,
    ) -> None:
        """Translate nothing yet: what nobody asks for costs nothing."""
        self.policy = policy
        self.snapshot = snapshot
        self._given = own or {}
        self._own = dict(self._given)
        self._nodes: dict[int, Kleene] = {}
        self._atoms: dict[int, Kleene] = {}
        self._signals: dict[int, _Signal] = {}
        self._signal_of = {
            slot: (index, part)
            for index, signal in enumerate(policy.signals)
            for slots in (signal.slots, signal.entry_slots)
            for part, slot in enumerate(slots)
        }
        self.terms = _Terms(snapshot, self.variable)
        if beside is not None:
            self._given, self._own, self._signals = beside._given, beside._own, beside._signals
            self._nodes, self._atoms, self.terms = beside._nodes, beside._atoms, beside.terms

    def variable(self, slot: int, compared_with: float | None = None) -> Variable:
        """Return the variable of a slot; a voted signal's follows from its votes.

        A confidence is defined at the bound it is compared with, or else at each of its steps.
        """
        if slot in self._signal_of and slot not in self._given:
            signal, part = self._signal_of[slot]
            counted = self.signal(signal)
            if part == _CONFIDENCE and compared_with is None:
                counted.define(*range(1, CONFIDENCE_STEPS + 1))
            elif part == _CONFIDENCE and compared_with is not None:
                at = math.floor(compared_with * CONFIDENCE_STEPS)
                counted.define(at - 1, at, at + 1, at + 2)
        if slot in self._own:
            return self._own[slot]
        return self.snapshot.variable(self.policy.slots[slot])

    def give(self, slot: int, variable: Variable) -> None:
        """Give a fact that is not the snapshot's, before anything has read it: what a decision came to."""
        self._own[slot] = variable

    def node(self, node: int) -> Kleene:
        """Return when a condition is true and when false."""
        if node not in self._nodes:
            self._nodes[node] = self._node(node)
        return self._nodes[node]

    def _node(self, node: int) -> Kleene:
        lowered = self.policy.nodes[node]
        if lowered.kind is NodeKind.CONSTANT:
            return _CONSTANT[Truth(lowered.atom)]
        if lowered.kind is NodeKind.ATOM:
            return self.atom(lowered.atom)
        below = [self.node(child) for child in lowered.children]
        if lowered.kind is NodeKind.NOT:
            return Kleene(below[0].false, below[0].true, below[0].certain)
        true, false = (every, some) if lowered.kind is NodeKind.ALL else (some, every)
        holds = true(part.true for part in below)
        if all(part.certain for part in below):
            return Kleene(holds, negation(holds), True)
        return Kleene(holds, false(part.false for part in below))

    def atom(self, index: int) -> Kleene:
        """Return when a comparison is true and when false."""
        if index not in self._atoms:
            known, holds = self._comparison(self.policy.atoms[index])
            fails = every((known, negation(holds)))
            self._atoms[index] = Kleene(every((known, holds)), fails, known is True)
        return self._atoms[index]

    def _comparison(self, atom: Atom) -> tuple[Formula, Formula]:
        left, right, comparison = atom.left, atom.right, atom.comparison
        if isinstance(left, ConstantTerm):
            left, right, comparison = right, left, comparison.mirrored
        k = atom.steps_per_unit
        if isinstance(left, ConstantTerm):  # both are
            assert isinstance(right, ConstantTerm)
            return True, bool(_compared(comparison, left.value, right.value))
        if k == 0 and isinstance(left, FactTerm):
            return self._word(left, comparison, right)
        bound = right.value if isinstance(right, ConstantTerm) else None
        left_known, left_steps, left_k = self._operand(left, k, bound)
        if isinstance(right, ConstantTerm):
            return left_known, _with_constant(comparison, left_steps, left_k, right.value)
        right_known, right_steps, right_k = self._operand(right, k)
        common = math.lcm(left_k, right_k)
        holds = _compared(
            comparison, _times(left_steps, common // left_k), _times(right_steps, common // right_k)
        )
        return every((left_known, right_known)), holds

    def _operand(self, term: Term, k: int, bound: float | None = None) -> tuple[Formula, Number, int]:
        if isinstance(term, FactTerm):
            variable = self.variable(term.slot, bound)
            return variable.known, variable.value, variable.slot.steps_per_unit
        return *self.terms.on_grid(term, k), k

    def _word(self, left: FactTerm, comparison: Comparison, right: Term) -> tuple[Formula, Formula]:
        variable = self.variable(left.slot)
        is_truth = variable.slot.unit is Measure.BOOLEAN
        if isinstance(right, ConstantTerm):
            known = variable.known
            if is_truth:
                equal = variable.value if right.value == 1 else negation(variable.value)
                equal = equal if right.value in (0, 1) else False
            else:
                equal = variable.value == int(right.value) if right.value == int(right.value) else False
        else:
            assert isinstance(right, FactTerm)
            other = self.variable(right.slot)
            known = every((variable.known, other.known))
            equal = same(variable.value, other.value) if is_truth else variable.value == other.value
        return known, equal if comparison is Comparison.EQUAL else negation(equal)

    def signal(self, index: int) -> _Signal:
        """Return a voted signal; its slots can be read afterwards."""
        if index not in self._signals:
            signal = self.policy.signals[index]
            counted = _Signal(self, signal)
            self._signals[index] = counted
            for slots, known in (
                (signal.entry_slots, counted.known_to_entries),
                (signal.slots, counted.known),
            ):
                for slot, value in zip(slots, counted.values, strict=True):
                    self._own[slot] = Variable(self.policy.slots[slot], known, value)
        return self._signals[index]


def _times(steps: Number, factor: int) -> Number:
    return steps if factor == 1 else steps * factor


class _Signal:
    """The count of a signal's votes: side, confidence in hundredths, and the weights in millionths."""

    def __init__(self, conditions: Conditions, signal: LoweredSignal) -> None:
        self._snapshot = snapshot = conditions.snapshot
        sums: list[list[Number]] = [[], [], []]
        unknown: list[Formula] = []
        for vote in signal.votes:
            buy, sell = _sides(conditions, vote)
            casts = (
                every((buy.true, sell.false)),
                every((sell.true, buy.false)),
                every((buy.false, sell.false)),
            )
            weights = (vote.weight, vote.weight, vote.hold_weight)
            for parts, cast, weight in zip(sums, casts, weights, strict=True):
                if weight:
                    parts.append(choice(cast, weight, 0))
            unknown.append(some((buy.unknown, sell.unknown)))
        acting = [one for one, vote in zip(unknown, signal.votes, strict=True) if not vote.abstain]
        self.known = negation(some(acting))
        self.known_to_entries = negation(some(unknown))
        names = [integer(snapshot.fresh(f"{signal.name}.{part}")) for part in ("buy", "sell", "hold")]
        buy_weight, sell_weight, hold_weight = names
        wins = (
            every((buy_weight > sell_weight, buy_weight > hold_weight)),
            every((sell_weight > buy_weight, sell_weight > hold_weight)),
            every((hold_weight > buy_weight, hold_weight > sell_weight)),
        )
        side = integer(snapshot.fresh(f"{signal.name}.side"))
        self._confidence = confidence = integer(snapshot.fresh(f"{signal.name}.confidence"))
        self._largest = largest = integer(snapshot.fresh(f"{signal.name}.largest"))
        self._cast = total(names)
        self._defined: set[int] = set()
        sides = (Side.BUY, Side.SELL, Side.HOLD)
        for name, parts in zip(names, sums, strict=True):
            snapshot.define(name, name == total(parts))
        is_side = [same(side == code, won) for code, won in zip(sides, wins, strict=True)]
        snapshot.define(side, side >= Side.NONE, side <= Side.HOLD, *is_side)
        is_largest = [implies(won, largest == name) for name, won in zip(names, wins, strict=True)]
        snapshot.define(largest, *is_largest, implies(side == Side.NONE, largest == 0))
        snapshot.define(
            confidence,
            confidence >= 0,
            confidence <= CONFIDENCE_STEPS,
            implies(side == Side.NONE, confidence == 0),
        )
        self.values = (side, confidence, buy_weight, sell_weight, hold_weight)

    def define(self, *hundredths: int) -> None:
        """Say when the confidence reaches each of these: what it is compared with."""
        for hundredth in hundredths:
            if 1 <= hundredth <= CONFIDENCE_STEPS and hundredth not in self._defined:
                self._defined.add(hundredth)
                reached = _at_least(self._largest, self._cast, hundredth)
                self._snapshot.define(self._confidence, same(self._confidence >= hundredth, reached))


def _sides(conditions: Conditions, vote: LoweredVote) -> tuple[Kleene, Kleene]:
    buy, sell = (
        conditions.node(node) if node >= 0 else _CONSTANT[Truth.FALSE] for node in (vote.buy, vote.sell)
    )
    return buy, sell


def _at_least(largest: Number, cast: Number, hundredth: int) -> Formula:
    """Say whether ``largest / cast``, rounded as ``units.quantise`` does, has so many hundredths.

    At a tie the quotient is the float nearest to an odd number of two-hundredths, whatever the weights.
    """
    odd = 2 * hundredth - 1
    tie_rounds_up = round(odd / (2 * CONFIDENCE_STEPS) * CONFIDENCE_STEPS) >= hundredth
    left, right = largest * (2 * CONFIDENCE_STEPS), cast * odd
    return every((left >= right if tie_rounds_up else left > right, largest > 0))


# --- choice -----------------------------------------------------------------------------------


@dataclass
class Candidate:
    """What can become of one rule."""

    matches: Formula
    vetoed_by: list[tuple[int, Formula]] = field(default_factory=list)  # gate, when it is the one that vetoes
    withheld: Formula = False
    stands: Formula = False
    wins: Formula = False
    acts: Formula = False  # wins, and an order of it is sent or under way

    @property
    def vetoed(self) -> Formula:
        """When some gate vetoes it."""
        return some(veto for _, veto in self.vetoed_by)


class PolicyTerms(Conditions):
    """A whole policy as formulas: its conditions, what becomes of each rule, the decision.

    ``candidates`` has one entry per rule.  The action at the stage ``candidate`` is that of the rule that
    wins; at the stage ``decision`` the order must also have come about.  Certain of orders is only:

    * ``sell all`` of something held is sent or under way (``unsendable`` says where the venue would refuse);
    * a trim is not made within its least step, or, unless protective, on estimated equity;
    * a buy needs a known ask, no estimated equity, a distance from its level, and its exits to be false
      on the facts after it.  Whether limits and cash leave anything of it is open.
    """

    def __init__(
        self,
        policy: LoweredPolicy,
        snapshot: Snapshot,
        own: dict[int, Variable] | None = None,
        beside: PolicyTerms | None = None,
    ) -> None:
        """Translate the choice among the rules."""
        super().__init__(policy, snapshot, own, beside)
        self._speaking = [gates_of(policy, index) for index in range(len(policy.rules))]
        self._would_exit_gate = next(
            (index for index, gate in enumerate(policy.gates) if gate.name == WOULD_EXIT), -1
        )
        self._stopped: dict[object, Formula] = {}  # by gates: only Unknown ones stop what they speak of
        self.exits_first = policy.selection is Selection.EXITS_FIRST
        self._first_gain: Number | None = None if beside is None else beside._first_gain
        self._after: dict[object, Conditions] = {} if beside is None else beside._after  # by what is ordered
        self._levels: dict[object, tuple[Formula, Number]] = {} if beside is None else beside._levels
        self.moves: dict[int, Formula] = {}  # by rule with a size: its order is not at its level already
        self.helping: dict[int, Formula] = {}  # by rule: what is left open of its order
        self.would_exit: dict[int, Formula] = {}
        self.would_exit_unknown: dict[int, Formula] = {}
        self.candidates = [Candidate(self._matches(rule)) for rule in policy.rules]
        self._choose()

    # --- rules and gates

    def _matches(self, rule: LoweredRule) -> Formula:
        return self.node(rule.when).true

    def gate(self, index: int, rule: int) -> Kleene:
        """Return a gate's condition as a rule reads it."""
        gate = self.policy.gates[index]
        return self.node(gate.when_entry if self.policy.rules[rule].action is Action.BUY else gate.when)

    def gates_of(self, rule: int) -> list[tuple[int, LoweredGate]]:
        """Return the gates that can veto a rule."""
        return self._speaking[rule]

    def _vetoes(self, rule: int, index: int, gate: LoweredGate) -> Formula:
        truth = self.gate(index, rule)
        if self.policy.rules[rule].protective or gate.pass_if_unknown:
            return truth.true
        return negation(truth.false)

    def _veto(self, rule: int) -> None:
        would_exit = some((self.would_exit.get(rule, False), self.would_exit_unknown.get(rule, False)))
        candidate = self.candidates[rule]
        free: Formula = candidate.matches
        for index, gate in self._speaking[rule]:
            vetoes = self._vetoes(rule, index, gate)
            candidate.vetoed_by.append((index, every((free, vetoes))))
            free = every((free, negation(vetoes)))
        if would_exit is not False:
            candidate.vetoed_by.append((self._would_exit_gate, every((free, would_exit))))

    def _stopped_by_unknown_only(self, rule: int) -> Formula:
        lowered = self.policy.rules[rule]
        key = (tuple(index for index, _ in self._speaking[rule]), lowered.protective)
        if key not in self._stopped:
            gates = [(gate, self.node(gate.when_entry)) for _, gate in self._speaking[rule]]
            counts = [
                truth.unknown
                for gate, truth in gates
                if not (lowered.protective or gate.pass_if_unknown) or gate.when != gate.when_entry
            ]
            self._stopped[key] = every((*(negation(truth.true) for _, truth in gates), some(counts)))
        return self._stopped[key]

    def withholds(self, index: int) -> Formula:
        """Say when a rule, being Unknown or stopped by Unknown gates only, withholds the entries below it."""
        rule = self.policy.rules[index]
        truth = self.node(rule.when_entry)
        reasons = [truth.unknown]
        if rule.action is not Action.HOLD:
            reasons.append(every((truth.true, self._stopped_by_unknown_only(index))))
        if rule.action is Action.BUY:
            maybe = self.would_exit_unknown.get(index, False)
            reasons.append(every((maybe, negation(self.would_exit.get(index, False)))))
        return some(reasons)

    # --- the choice

    def _leave_tries_open(self) -> None:
        """Give entries truth values for what follows them: an exit, or perhaps one."""
        if not self.exits_first:
            return
        for index, rule in enumerate(self.policy.rules):
            if rule.action is Action.BUY:
                self.would_exit[index] = boolean(self.snapshot.fresh(f"would-exit {rule.name}"))
                if self.snapshot.anything_unknown:
                    name = self.snapshot.fresh(f"would-exit-unknown {rule.name}")
                    self.would_exit_unknown[index] = boolean(name)

    def _choose(self) -> None:
        self._leave_tries_open()
        rules = self.policy.rules
        exits_first = self.exits_first
        exits = [index for index, rule in enumerate(rules) if rule.action is Action.SELL]
        withheld = some(self.withholds(index) for index in exits)
        for index, rule in enumerate(rules):
            self._veto(index)
            candidate = self.candidates[index]
            if rule.action is Action.BUY:
                candidate.withheld = every((candidate.matches, negation(candidate.vetoed), withheld))
            if rule.action is not Action.SELL:
                withheld = some((withheld, self.withholds(index)))
            candidate.stands = every(
                (candidate.matches, negation(candidate.vetoed), negation(candidate.withheld))
            )
        free: Formula = True
        if exits_first:
            self._choose_exit(exits)
            free = negation(some(self.candidates[index].stands for index in exits))
        for index, rule in enumerate(rules):
            if not exits_first or rule.action is not Action.SELL:
                candidate = self.candidates[index]
                candidate.wins = every((candidate.stands, free))
                free = every((free, negation(candidate.stands)))
        for index, candidate in enumerate(self.candidates):
            candidate.acts = self._acts(index, candidate.wins)
        if exits_first:
            self._try_entries(self.would_exit, self.would_exit_unknown)

    def _choose_exit(self, exits: Sequence[int]) -> None:
        """The standing sell that leaves the smallest position wins; ties go to the first in order.

        Sells with one size leave the same; an Unknown level is the largest.
        """
        alike: dict[object, list[int]] = {}  # by size
        for index in exits:
            rule = self.policy.rules[index]
            alike.setdefault((rule.size, rule.size is None or rule.size_measure), []).append(index)
        is_least: dict[int, Formula] = dict.fromkeys(exits, True)
        if len(alike) > 1:
            least = integer(self.snapshot.fresh("least level"))
            reached: list[Formula] = []
            for indices in alike.values():
                known, level = self._level(indices[0])
                level = choice(known, level, _BEYOND_LEVELS)
                stands = some(self.candidates[index].stands for index in indices)
                self.snapshot.define(least, implies(stands, least <= level))
                reached.append(every((stands, least == level)))
                is_least.update(dict.fromkeys(indices, least == level))
            self.snapshot.define(least, some((least == _BEYOND_LEVELS, *reached)))
        free: Formula = True
        for index in exits:
            candidate = self.candidates[index]
            leaves_least = every((candidate.stands, is_least[index]))
            candidate.wins = every((leaves_least, free))
            free = every((free, negation(leaves_least)))

    def _level(self, rule: int) -> tuple[Formula, Number]:
        """Return the position value, in cents, that a sell would leave."""
        lowered = self.policy.rules[rule]
        if lowered.size is None:
            return True, 0
        size_known, size = self.size(rule)
        owned = self._named("position_value" if lowered.size_measure is Measure.MONEY else "position_qty")
        known = every((size_known, owned.known))
        if lowered.size_measure is Measure.MONEY:
            level = choice(size <= owned.value, size, owned.value)
            return known, choice(level >= 0, level, 0)
        if lowered.size in self._levels:
            return self._levels[lowered.size]
        least = integer(self.snapshot.fresh("level"))
        bid = self._named("price")
        self.snapshot.define(least, least >= 0, implies(size <= 0, least == 0))
        self.snapshot.exact.append(
            implies(
                size > 0,
                every(
                    _within(
                        as_real(least),
                        as_real(choice(size <= owned.value, size, owned.value))
                        * as_real(bid.value)
                        * as_real(Fraction(_CENTS, owned.slot.steps_per_unit * bid.slot.steps_per_unit)),
                        Fraction(501, 1000),
                    )
                ),
            )
        )
        self._levels[lowered.size] = every((known, bid.known)), least
        return self._levels[lowered.size]

    def _named(self, name: str) -> Variable:
        return self.variable(self.policy.slot(name))

    def size(self, rule: int) -> tuple[Formula, Number]:
        """Return when a rule's size is known, and the size in steps of its measure's grid."""
        lowered = self.policy.rules[rule]
        assert lowered.size is not None
        return self.money(lowered.size, lowered.size_measure)

    def money(self, term: Term, measure: Measure = Measure.MONEY) -> tuple[Formula, Number]:
        """Return when an amount is known, and the amount in steps of its measure's grid."""
        k = GRID_PER_UNIT[measure]
        if isinstance(term, ConstantTerm):
            return True, round(term.value * k)
        return self.terms.on_grid(term, k)

    # --- orders

    def _acts(self, index: int, wins: Formula) -> Formula:
        rule = self.policy.rules[index]
        if rule.action is Action.HOLD or wins is False:
            return False
        needs: list[Formula] = [wins]
        estimated = self._named("equity_estimated")
        trusted = every((estimated.known, estimated.value * 20 <= estimated.slot.steps_per_unit))
        if rule.size is not None:
            known, moved = self._moves(index)
            self.moves[index] = moved
            needs += [known, moved]
            if not rule.protective:
                needs.append(trusted)
        if rule.action is Action.BUY:
            needs += [self._named("ask").known, self.sent(index)]
        else:
            needs.append(self._named("bid").known)
            style = self.policy.sell_style.limit
            if style is not None and not isinstance(style, ConstantTerm):
                needs.append(self.terms.on_grid(style, GRID_PER_UNIT[Measure.PRICE])[0])
            if rule.size is not None:
                needs.append(self.sent(index))
        return every(needs)

    def sent(self, rule: int) -> Formula:
        """Say that nothing beyond what is modelled leaves no order of a rule: limits, cash, rounding."""
        if rule not in self.helping:
            self.helping[rule] = boolean(self.snapshot.fresh(f"sent {self.policy.rules[rule].name}"))
        return self.helping[rule]

    def _moves(self, index: int) -> tuple[Formula, Formula]:
        """Say when a size is known, and when its order is not at its level already."""
        rule = self.policy.rules[index]
        known, size = self.size(index)
        if rule.additive:
            return known, size > 0
        owned = self._named("position_qty" if rule.size_measure is Measure.QUANTITY else "position_value")
        k = GRID_PER_UNIT[rule.size_measure]
        factor = k // owned.slot.steps_per_unit
        move = size - _times(owned.value, factor)
        move = -move if rule.action is Action.SELL else move
        band = as_real(1)  # of rounding the least step
        share = as_real(Fraction(repr(rule.min_step)))
        enough = as_real(move) >= as_real(size) * share - band
        return every((known, owned.known)), every((move > 0, enough))

    # --- the entry, tried on its own facts

    def _try_entries(self, would_exit: dict[int, Formula], unknown: dict[int, Formula]) -> None:
        """An entry is made only if no exit's condition is true or Unknown on the facts after it."""
        exits = [rule for rule in self.policy.rules if rule.action is Action.SELL]
        for index, exits_after in would_exit.items():
            candidate = self.candidates[index]
            after = self.after_entry(index)
            assert after is not None, "would-exit is asked of entries only"
            truths = [after.node(rule.when_entry) for rule in exits]
            none = every(truth.false for truth in truths)
            self.snapshot.define(self.sent(index), implies(candidate.acts, none))
            self.snapshot.define(exits_after, implies(exits_after, some(truth.true for truth in truths)))
            if index in unknown:
                maybe = some(truth.unknown for truth in truths)
                self.snapshot.define(unknown[index], implies(unknown[index], maybe))

    def after_entry(self, rule: int) -> Conditions | None:
        """Return the conditions on the facts after an entry; None where no exit is tried on them.

        Entries that order the same lead to the same facts; others share what does not depend on the size.
        """
        lowered = self.policy.rules[rule]
        if not self.exits_first or lowered.action is not Action.BUY:
            return None
        key = entry_key(self.policy, lowered)
        if key not in self._after:
            self._after[key] = Conditions(self.policy, self.snapshot, self._given | self._after_entry())
        return self._after[key]

    def _after_entry(self) -> dict[int, Variable]:
        """Return the facts that an entry changes, as they may be after it (``verbs.decide.after_entry``)."""
        slots = {slot.name: index for index, slot in enumerate(self.policy.slots)}
        after: dict[int, Variable] = {}
        snapshot = self.snapshot

        def new(name: str) -> tuple[Variable, Number] | None:
            if name not in slots or self.policy.slots[slots[name]].origin is not SlotOrigin.VOCABULARY:
                return None
            index = slots[name]
            slot, before = self.policy.slots[index], self.variable(index)
            value = integer(snapshot.fresh(f"after.{name}"))
            low, high = slot_range(slot)
            snapshot.define(value, value >= low, value <= high)
            known: Formula = True
            if snapshot.anything_unknown:
                known = boolean(snapshot.fresh(f"after.{name}?"))
            after[index] = Variable(slot, known, value)
            return before, value

        held, owned = self._named("held"), self._named("position_qty")
        first = every((held.known, negation(held.value)))
        empty = every((owned.known, owned.value == 0))
        for name, truth in (("held", True), ("dust", False)):
            if name in slots:
                after[slots[name]] = Variable(self.policy.slots[slots[name]], True, truth)
        for name in ("position_qty", "position_value"):
            if made := new(name):
                more = implies(every((made[0].known, first)), made[1] >= made[0].value)
                snapshot.define(made[1], more)
        for name in ("weight", "last_entry_price"):
            new(name)
        ask = self._named("ask")
        entry = new("entry_price")
        if entry:
            snapshot.define(entry[1], implies(every((empty, ask.known)), entry[1] == ask.value))
        if made := new("gain"):  # the bid is never above the ask; of a first entry it is one for all sizes
            if self._first_gain is None:
                self._first_gain = made[1]
            snapshot.define(made[1], implies(empty, every((made[1] <= 0, made[1] == self._first_gain))))
        peak = new("peak_price")
        if entry and peak:
            snapshot.define(peak[1], implies(first, peak[1] == entry[1]), peak[1] >= entry[1])
        if made := new("peak_gain"):
            snapshot.define(made[1], implies(first, made[1] == 0))
        if made := new("entries"):
            snapshot.define(made[1], made[1] == choice(first, 1, made[0].value + 1))
        for name in ("held_for", "held_for_bars"):
            if made := new(name):
                snapshot.define(made[1], made[1] == choice(first, 0, made[0].value))
        for name in ("since_order", "since_buy", "since_order_bars", "since_buy_bars"):
            if name in slots:
                after[slots[name]] = Variable(self.policy.slots[slots[name]], True, 0)
        return after

    # --- the decision

    def proposes(self, action: Action) -> Formula:
        """Say when the action of the rule that wins is ``action``: the stage ``candidate``."""
        wins = [
            candidate.wins
            for rule, candidate in zip(self.policy.rules, self.candidates, strict=True)
            if rule.action is action
        ]
        if action is not Action.HOLD:
            return some(wins)
        return negation(some(candidate.wins for rule, candidate in self._orders()))

    def decides(self, action: Action) -> Formula:
        """Say when the decision is ``action``."""
        acts = [candidate.acts for rule, candidate in self._orders() if rule.action is action]
        if action is not Action.HOLD:
            return some(acts)
        return negation(some(candidate.acts for _, candidate in self._orders()))

    def _orders(self) -> list[tuple[LoweredRule, Candidate]]:
        pairs = zip(self.policy.rules, self.candidates, strict=True)
        return [(rule, candidate) for rule, candidate in pairs if rule.action is not Action.HOLD]


class ChoiceTerms(PolicyTerms):
    """What becomes of each rule before the choice; any comparison may be true, false or Unknown.

    Whatever is impossible here is so for facts, too: of them no more is said than its user says of ``atom``.
    The conditions ``whole`` are not looked into: they are one and the same, and so are questions about rules
    that differ in nothing else.  Two of them must not meet in a question.
    """

    def __init__(self, policy: LoweredPolicy, snapshot: Snapshot, whole: Collection[int] = ()) -> None:
        """Translate what becomes of each rule."""
        self._whole = whole
        self.condition = self._anything(snapshot, "condition")
        super().__init__(policy, snapshot)

    @staticmethod
    def _anything(snapshot: Snapshot, name: str) -> Kleene:
        true, false = (boolean(snapshot.fresh(name)) for _ in range(2))
        snapshot.define(true, negation(every((true, false))))
        return Kleene(true, false)

    def node(self, node: int) -> Kleene:
        """Return when a condition is true and when false."""
        return self.condition if node in self._whole else super().node(node)

    def atom(self, index: int) -> Kleene:
        """Return a comparison of which nothing is known but that it is not both true and false."""
        if index not in self._atoms:
            self._atoms[index] = self._anything(self.snapshot, f"atom {index}")
        return self._atoms[index]

    def _choose(self) -> None:
        """Choose nothing: what wins over what is its user's to say."""
        self._leave_tries_open()
        for bits in (
            self.would_exit,
            self.would_exit_unknown,
        ):  # a question is about one entry: one bit will do
            bits.update(dict.fromkeys(bits, next(iter(bits.values()), False)))
        self._open: dict[object, Formula] = {}  # by gates and who asks: none vetoes

    def is_free(self, index: int) -> Formula:
        """Say when a rule matches and no gate vetoes it."""
        rule = self.policy.rules[index]
        gates = self.gates_of(index)
        key = (tuple(number for number, _ in gates), rule.action, rule.protective)
        if key not in self._open:
            self._open[key] = negation(some(self._vetoes(index, number, gate) for number, gate in gates))
        would_exit = (self.would_exit.get(index, False), self.would_exit_unknown.get(index, False))
        return every((self.candidates[index].matches, self._open[key], *map(negation, would_exit)))


def entry_key(policy: LoweredPolicy, rule: LoweredRule) -> object:
    """Return what says how much a buy orders: rules with one key lead to the same facts after it."""
    size = (rule.size, rule.size_measure, rule.additive, rule.min_step)
    return size, policy.buy_style, policy.limits


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
