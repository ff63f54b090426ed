"""The typed tree: numbers with their units, series of bars, conditions; and the algebra of units.

The tree is independent of symbols: parameters are still names.  ``engine.language.checker`` makes it
from the syntax tree, ``engine.language.lower`` turns it into the lowered form for each variant.

The algebra (language reference, "Units"): like +- like; a ratio times anything is that thing;
money / price is a quantity, price x quantity is money, like / like is a ratio; a bare number scales
anything and compares with indexes and counts; a bare 0 fits everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from engine.codes import Action
from engine.errors import Span
from engine.lowered import Comparison, Operator, SlotOrigin
from engine.units import Measure, Unit
from engine.vocabulary import FACTS, IN_BARS

_M = Measure

# --- typed tree: numbers ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """An exact number, or the index of a word."""

    value: Decimal
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, resolved for each variant."""

    name: str
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class FactRead:
    """A fact; ``series`` where it is computed from bars."""

    name: str
    unit: Unit
    steps_per_unit: int
    origin: SlotOrigin
    span: Span = field(compare=False)
    series: TypedSeries | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An operator on operands."""

    operator: Operator
    operands: tuple[Typed, ...]
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class StepTable:
    """A value by steps of another; thresholds are literals, values read no fact."""

    by: Typed
    thresholds: tuple[Constant, ...]
    values: tuple[Typed, ...]
    unit: Unit
    span: Span = field(compare=False)


Typed = Constant | Parameter | FactRead | Arithmetic | StepTable

# --- typed tree: series -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesColumn:
    """A column of bars of a symbol (``SELF`` is the one under decision) and interval."""

    symbol: str
    interval_seconds: int  # 0 where the policy's own interval could not be read
    name: str


@dataclass(frozen=True, slots=True)
class SeriesNumber:
    """A number inside a series expression."""

    value: Constant | Parameter


@dataclass(frozen=True, slots=True)
class SeriesFunction:
    """An indicator function on series."""

    function: str
    inputs: tuple[TypedSeries, ...]
    lengths: tuple[Constant | Parameter, ...]
    output: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class SeriesOperation:
    """Arithmetic bar by bar."""

    operator: Operator
    operands: tuple[TypedSeries, ...]


@dataclass(frozen=True, slots=True)
class SeriesLag:
    """So many bars ago."""

    operand: TypedSeries
    bars: Constant | Parameter


TypedSeries = SeriesColumn | SeriesNumber | SeriesFunction | SeriesOperation | SeriesLag

# --- typed tree: conditions -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """``left comparison right``; a boolean fact is compared with 1."""

    left: Typed
    comparison: Comparison
    right: Typed
    unit: Unit
    text: str = field(compare=False)
    span: Span = field(compare=False)
    crossing: bool = False  # true at one bar only: the second half of a cross


@dataclass(frozen=True, slots=True)
class Combined:
    """All (``every``) or any of some conditions."""

    every: bool
    operands: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """Not a condition."""

    operand: Condition


@dataclass(frozen=True, slots=True)
class Vetoed:
    """In promises: ``vetoed_by("gate", ...)``, of any candidate; of those with ``action`` where it is set."""

    gates: tuple[str, ...]
    span: Span = field(compare=False)
    action: Action | None = None


Condition = Compared | Combined | Negated | Vetoed


# --- what a policy names itself ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weight:
    """How much an expression adds where it is named: nodes of its tree, and levels."""

    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition, typed."""

    value: Typed | Condition
    weight: Weight = field(default=Weight(), compare=False)


@dataclass(frozen=True, slots=True)
class Indicator:
    """A declared indicator: its outputs ("" where there is one), each a series with unit and k."""

    outputs: Mapping[str, tuple[TypedSeries, Unit, int]]
    weight: Weight = field(default=Weight(), compare=False)


# --- units ------------------------------------------------------------------------------------

INDEX_LIKE: Final = (_M.NUMBER, _M.COUNT)
"""What plain numbers compare with."""
_UNIT_WORDS: Final = {
    _M.SCALAR: "a plain number",
    _M.NUMBER: "a number",
    _M.COUNT: "a count",
    _M.RATIO: "a ratio",
    _M.PRICE: "a price",
    _M.MONEY: "an amount of money",
    _M.QUANTITY: "a quantity",
    _M.DURATION: "a duration",
    _M.BARS: "a span in bars",
    _M.CLOCK: "a time of day",
    _M.BOOLEAN: "true or false",
}
EXAMPLES: Final = {
    _M.SCALAR: "80",
    _M.NUMBER: "80",
    _M.COUNT: "3",
    _M.RATIO: "10%",
    _M.PRICE: "100 USD",
    _M.MONEY: "100 USD",
    _M.DURATION: "15m, 1h or 1d",
    _M.BARS: "30 bars",
    _M.CLOCK: "10:00",
}


def unit_words(unit: Unit) -> str:
    """Return a unit as messages say it: "a ratio", "a session"."""
    if isinstance(unit, Measure):
        return _UNIT_WORDS[unit]
    return ("an " if unit.name[0] in "aeiou" else "a ") + unit.name.replace("_", " ")


def example(unit: Unit) -> str:
    """Return "such as ..." for a unit whose literals can be written, else ""."""
    return f"such as {EXAMPLES[unit]}" if isinstance(unit, Measure) and unit in EXAMPLES else ""


def operands_of(typed: Typed) -> tuple[Typed, ...]:
    """Return the direct operands of a number."""
    match typed:
        case Arithmetic(operands=operands):
            return operands
        case StepTable(by=by, thresholds=thresholds, values=values):
            return (by, *thresholds, *values)
        case _:
            return ()


def facts_of(typed: Typed) -> Iterator[FactRead]:
    """Yield every fact a number reads, in order."""
    if isinstance(typed, FactRead):
        yield typed
    for operand in operands_of(typed):
        yield from facts_of(operand)


def is_constant(typed: Typed) -> bool:
    """Say whether a number reads no fact: it is the same at every moment."""
    return next(facts_of(typed), None) is None


def is_zero(typed: Typed) -> bool:
    """Say whether this is a bare 0, which fits any unit."""
    return isinstance(typed, Constant) and typed.value == 0 and typed.unit is _M.SCALAR


def on_step(value: Decimal, steps_per_unit: int) -> bool:
    """Say, exactly, whether a number is a whole count of steps."""
    return (Fraction(value) * steps_per_unit).denominator == 1


def common_unit(left: Typed, right: Typed) -> Unit | None:
    """Return the unit in which two numbers can be compared or added, or None."""
    a, b = left.unit, right.unit
    if a == b:
        return a
    if is_zero(left):
        return b
    if is_zero(right):
        return a
    if a in INDEX_LIKE and b in INDEX_LIKE:
        return _M.NUMBER
    for x, y, other in ((a, b, left), (b, a, right)):
        if x is _M.SCALAR and y in INDEX_LIKE:
            return y
        if x is _M.MONEY and y is _M.PRICE and is_constant(other):
            return y  # 100 USD beside a price is a price
    return None


def _scaled(unit: Unit) -> Unit | None:
    """Return the unit of so many times, or such a part of, something."""
    if not isinstance(unit, Measure) or unit in (_M.CLOCK, _M.BOOLEAN):
        return None
    return _M.NUMBER if unit is _M.COUNT else unit  # half of 3 is no count


def product_unit(a: Unit, b: Unit) -> Unit | None:
    """Return the unit of a product, or None."""
    for scale in (_M.SCALAR, _M.RATIO, *INDEX_LIKE):
        for x, y in ((a, b), (b, a)):
            if x is scale:
                return _scaled(y)
    return _M.MONEY if {a, b} == {_M.PRICE, _M.QUANTITY} else None


def quotient_unit(a: Unit, b: Unit) -> Unit | None:
    """Return the unit of a quotient, or None."""
    if b is _M.SCALAR or (b is _M.RATIO and a is not _M.RATIO):
        return _scaled(a)
    if a == b:
        return None if _scaled(a) is None else _M.RATIO
    if a is _M.MONEY and b is _M.PRICE:
        return _M.QUANTITY
    if a is _M.MONEY and b is _M.QUANTITY:
        return _M.PRICE
    if b in INDEX_LIKE and a not in (_M.SCALAR, _M.RATIO):
        return _scaled(a)
    return None


def binary_unit(operator: str, left: Typed, right: Typed) -> Unit | None:
    """Return the unit of ``left operator right``, or None where it has no meaning."""
    a, b = left.unit, right.unit
    match operator:
        case "*":
            return product_unit(a, b)
        case "of":
            return b if a is _M.RATIO and _scaled(b) is b else product_unit(a, b)
        case "/":
            return quotient_unit(a, b)
        case "-" if a is _M.CLOCK and b is _M.CLOCK:
            return _M.DURATION
        case _ if (a, b) == (_M.CLOCK, _M.DURATION):
            return _M.CLOCK
    unit = common_unit(left, right)
    return None if unit is _M.CLOCK else unit


# --- questions about typed trees --------------------------------------------------------------


def columns_of(series: TypedSeries) -> frozenset[SeriesColumn]:
    """Return all columns below a series."""
    match series:
        case SeriesColumn():
            return frozenset((series,))
        case SeriesNumber():
            return frozenset()
        case SeriesFunction(inputs=below) | SeriesOperation(operands=below):
            return frozenset().union(*(columns_of(operand) for operand in below))
        case SeriesLag(operand=operand):
            return columns_of(operand)


def comparisons_of(condition: Condition) -> Iterator[Compared]:
    """Yield every comparison below a condition, in order."""
    match condition:
        case Compared():
            yield condition
        case Combined(operands=operands):
            for operand in operands:
                yield from comparisons_of(operand)
        case Negated(operand=operand):
            yield from comparisons_of(operand)


def facts_of_condition(condition: Condition) -> Iterator[FactRead]:
    """Yield every fact a condition reads, in order."""
    for compared in comparisons_of(condition):
        yield from facts_of(compared.left)
        yield from facts_of(compared.right)


Known = tuple[str, Comparison, Decimal]
"""A fact compared with a constant."""


def implied(condition: Condition) -> frozenset[Known]:
    """Return comparisons of facts with constants that hold wherever the condition is true."""
    match condition:
        case Compared(left=FactRead(name=name), comparison=comparison, right=Constant(value=value)):
            return frozenset(((name, comparison, value),))
        case Combined(every=True, operands=operands):
            return frozenset().union(*(implied(operand) for operand in operands))
        case Combined(every=False, operands=operands):
            return frozenset.intersection(*(implied(operand) for operand in operands))
        case Negated(
            operand=Compared(left=FactRead(name=name, unit=unit), right=Constant(value=value)) as no
        ):
            if unit is _M.BOOLEAN:
                return frozenset(((name, Comparison.EQUAL, 1 - value),))
            opposite = {Comparison.EQUAL: Comparison.NOT_EQUAL, Comparison.NOT_EQUAL: Comparison.EQUAL}
            if no.comparison in opposite:
                return frozenset(((name, opposite[no.comparison], value),))
    return frozenset()


def in_bars(fact: Typed, other: Typed) -> Typed:
    """Return the fact that counts in expected bars where ``since_order`` meets ``30 bars``."""
    if other.unit is _M.BARS and isinstance(fact, FactRead) and fact.name in IN_BARS:
        counted = FACTS[IN_BARS[fact.name]]
        return replace(fact, name=counted.name, unit=counted.unit, steps_per_unit=counted.steps_per_unit)
    return fact
