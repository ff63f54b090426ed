"""Computed numbers as formulas, and how they compare.

* Facts and constants compare exactly, as the floats compare that stand for them.
* A computed operand is an integer ``q`` within half a step, and the error of float64, of the exact value.
  Within that band the formulas leave either outcome open, so that what they rule out no evaluator can do,
  and what they allow must be replayed before it is believed.
* Products and quotients of facts, and logarithms, are numbers about which only their bounds are said, until
  ``Snapshot.exact`` is asserted, which defines them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final, NamedTuple

from engine.evaluate.symbolic.formulas import (
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
)
from engine.evaluate.symbolic.snapshot import Snapshot, Variable, slot_range
from engine.lowered import (
    ArithmeticTerm,
    Comparison,
    ConstantTerm,
    FactTerm,
    Operator,
    StepTerm,
    Term,
)

_FLOAT_ERROR: Final = Fraction(1, 2**49)
"""Of float64 arithmetic, relative to the largest number in it: a few operations of 2^-53 each."""


class Computed(NamedTuple):
    """A computed number: its exact value, and the interval of the numbers met while computing it."""

    known: Formula
    value: Number
    low: float
    high: float
    largest: float  # absolute value met on the way: what the error of float64 is relative to


class Numbers:
    """Numbers of one policy over one snapshot; equal terms are one number, for every policy."""

    def __init__(self, snapshot: Snapshot, read: Callable[[int], Variable]) -> None:
        """Translate nothing yet; ``read`` gives the variable of a slot."""
        self.snapshot = snapshot
        self._read = read
        self._reals: dict[Term, Computed] = {}
        self._operands: dict[tuple[Term, int], tuple[Formula, Number]] = {}

    def on_grid(self, term: Term, k: int) -> tuple[Formula, Number]:
        """Return a computed operand as it is compared: an integer count of steps; and when it is known."""
        if (term, k) not in self._operands:
            computed = self.real(term)
            q = (integer if self.snapshot.whole else real)(self.snapshot.fresh("computed"))
            exact = as_real(k) * as_real(computed.value)
            self.snapshot.define(q, *_rounded(as_real(q), exact, computed, k, adds=_adds(term)))
            self.snapshot.firm += within(as_real(q), exact, Fraction(499, 1000))
            if not self.snapshot.whole:
                self.snapshot.firm.append(is_whole(q))
            self._operands[term, k] = computed.known, q
        return self._operands[term, k]

    def completed_by(self, other: Numbers, alike: Callable[[Term], Formula]) -> Iterator[Formula]:
        """Yield what a completion keeps: of facts that are ``alike`` the same is computed."""
        for term, x in self._reals.items():
            if not isinstance(term, FactTerm | ConstantTerm) and term in other._reals:
                y = other._reals[term]
                equal = as_real(x.value) == as_real(y.value)
                yield implies(alike(term), every((implies(x.known, y.known), equal)))
        for key, (_, steps) in self._operands.items():
            if key in other._operands:
                yield implies(alike(key[0]), steps == other._operands[key][1])

    def real(self, term: Term) -> Computed:
        """Return a number, exactly."""
        if term not in self._reals:
            self._reals[term] = self._real(term)
        return self._reals[term]

    def _real(self, term: Term) -> Computed:
        match term:
            case FactTerm(slot):
                variable = self._read(slot)
                k = variable.slot.steps_per_unit
                if isinstance(variable.value, int):  # it is fixed
                    at = variable.value / k
                    return Computed(variable.known, Fraction(variable.value, k), at, at, abs(at))
                low, high = (bound / k for bound in slot_range(variable.slot))
                value = as_real(variable.value) * as_real(Fraction(1, k))
                return Computed(variable.known, value, low, high, max(abs(low), abs(high)))
            case ConstantTerm(value):
                return Computed(True, Fraction(repr(value)), value, value, abs(value))
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

    def _unary(self, operator: Operator, x: Computed) -> Computed:
        if operator is Operator.NEGATE:
            return Computed(x.known, -as_real(x.value), -x.high, -x.low, x.largest)
        if operator is Operator.ABSOLUTE:
            value = choice(as_real(x.value) >= 0, as_real(x.value), -as_real(x.value))
            low = 0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
            return Computed(x.known, value, low, max(abs(x.low), abs(x.high)), x.largest)
        low = math.log(x.low) if x.low > 0 else -800.0
        high = math.log(x.high) if x.high > 0 else 800.0
        logarithm = self._bounded("log", low, high)
        return Computed(
            every((x.known, as_real(x.value) > 0)), logarithm, low, high, max(abs(low), abs(high))
        )

    def _binary(self, operator: Operator, x: Computed, y: Computed) -> Computed:
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
        return Computed(known, value, low, high, max(x.largest, y.largest, abs(low), abs(high)))

    def _quotient(self, known: Formula, x: Computed, y: Computed) -> Computed:
        divisor = literal(as_real(y.value))
        if divisor is not None:
            if divisor == 0:
                return Computed(False, Fraction(0), 0.0, 0.0, 0.0)
            low, high = sorted((x.low / float(divisor), x.high / float(divisor)))
            value = as_real(x.value) * as_real(1 / divisor)
            return Computed(known, value, low, high, max(x.largest, abs(low), abs(high)))
        a, b = as_real(x.value), as_real(y.value)
        if y.low > 0 or y.high < 0:
            corners = [p / q for p in (x.low, x.high) for q in (y.low, y.high)]
            low, high = min(corners), max(corners)
        else:
            low, high = (0.0 if x.low >= 0 and y.low >= 0 else -math.inf), math.inf
        value = self._bounded("quotient", low, high)
        self.snapshot.exact.append(implies(b != 0, value * b == a))
        return Computed(every((known, b != 0)), value, low, high, max(x.largest, 1e15))

    def _bounded(self, kind: str, low: float, high: float) -> Number:
        value = real(self.snapshot.fresh(kind))
        self.snapshot.define(
            value,
            *([value >= as_real(Fraction(low))] if math.isfinite(low) else []),
            *([value <= as_real(Fraction(high))] if math.isfinite(high) else []),
        )
        return value

    def _step(self, term: StepTerm) -> Computed:
        by = self.real(term.by)
        reached = [self._reached(term.by, by, threshold) for threshold in term.thresholds]
        value: Number = Fraction(0)
        for over, step in zip(reached, term.values, strict=True):
            value = choice(over, as_real(Fraction(repr(step))), as_real(value))
        low, high = min(term.values), max(term.values)
        known = every((by.known, reached[0]))
        return Computed(known, value, low, high, max(abs(low), abs(high)))

    def _reached(self, term: Term, by: Computed, threshold: float) -> Formula:
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


def _rounded(q: Number, exact: Number, computed: Computed, k: int, *, adds: bool) -> Iterator[Formula]:
    """Yield how far a number on the grid may be from the exact one that was computed with float64.

    The error grows with the number; as a multiple of it, it would have coefficients of 2^-49, with which
    the solver takes a hundred times as long, and so it does where bounds depend on the number.  So it is the
    error of the largest number that can be, and, near zero, no more than a share of the number itself.
    """
    half = Fraction(1, 2)
    # Unless it adds, no number met on the way is beyond the last one, relative to its error.
    largest = (computed.largest if adds else max(abs(computed.low), abs(computed.high))) * k
    if largest <= _MANY_STEPS or adds:
        yield from within(q, exact, half + _error(min(largest, 1e30)))
    if largest <= _USUAL_STEPS or adds:
        return
    share = exact * as_real(_SHARE)
    if computed.low >= 0:  # of usual numbers the error is small, too
        usual = within(q, exact, half + _error(_USUAL_STEPS))
        yield implies(exact <= as_real(_USUAL_STEPS), every(usual))
        yield from within(q, exact, as_real(half) + share)
        return
    yield implies(exact >= 0, every(within(q, exact, as_real(half) + share)))
    yield implies(exact <= 0, every(within(q, exact, as_real(half) - share)))


_USUAL_STEPS: Final = 10**13
_MANY_STEPS: Final = 10**18
_SHARE: Final = Fraction(1, 1024)
"""Of a number, far more than its error, and short: so the solver's numbers stay short."""


def _error(size: float) -> Fraction:
    """Return a bound on the error of numbers up to a size, in few digits."""
    return Fraction(math.ceil(size * _FLOAT_ERROR * 1000), 1000)


_ADDING: Final = (Operator.ADD, Operator.SUBTRACT, Operator.LOGARITHM)


def within(number: Number, exact: Number, band: Number) -> list[Formula]:
    """Two numbers differ by no more than a band."""
    return [number <= exact + as_real(band), number >= exact - as_real(band)]


_UNARY: Final = (Operator.NEGATE, Operator.ABSOLUTE, Operator.LOGARITHM)


def compared(comparison: Comparison, left: Number, right: Number) -> Formula:
    """Compare two numbers."""
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


def with_constant(comparison: Comparison, steps: Number, k: int, bound: float) -> Formula:
    """Compare ``steps / k`` with a number, as their floats compare."""
    at = round(bound * k)
    if abs(at) < 2**53 and at / k == bound:
        return compared(comparison, steps, at)
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


def times(steps: Number, factor: int) -> Number:
    """Return a number so many times."""
    return steps if factor == 1 else steps * factor
