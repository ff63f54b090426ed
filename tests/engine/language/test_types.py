"""The algebra of units, and what can be asked of typed trees."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NOWHERE
from engine.language.types import (
    Combined,
    Compared,
    Condition,
    Constant,
    FactRead,
    Negated,
    Parameter,
    Typed,
    binary_unit,
    columns_of,
    common_unit,
    comparisons_of,
    example,
    facts_of,
    facts_of_condition,
    implied,
    is_constant,
    is_zero,
    on_step,
    product_unit,
    quotient_unit,
    unit_words,
)
from engine.lowered import Comparison, SlotOrigin
from engine.units import Measure, Unit, Words
from engine.vocabulary import FACTS, SESSION, WORDS
from tests.engine.language.small import condition

M = Measure
MEASURES = list(Measure)
SCALABLE = [measure for measure in MEASURES if measure not in (M.CLOCK, M.BOOLEAN)]


def fact(unit: Unit) -> FactRead:
    """Return some fact of a unit."""
    return FactRead("fact", unit, 100, SlotOrigin.VOCABULARY, NOWHERE)


def literal(unit: Unit, value: int = 5) -> Constant:
    """Return a literal of a unit."""
    return Constant(Decimal(value), unit, NOWHERE)


ZERO = literal(M.SCALAR, 0)


@pytest.mark.parametrize(
    ("left", "operator", "right", "unit"),
    [
        (M.PRICE, "*", M.QUANTITY, M.MONEY),
        (M.MONEY, "/", M.PRICE, M.QUANTITY),
        (M.MONEY, "/", M.QUANTITY, M.PRICE),
        (M.PRICE, "/", M.PRICE, M.RATIO),
        (M.NUMBER, "/", M.NUMBER, M.RATIO),
        (M.COUNT, "/", M.COUNT, M.RATIO),
        (M.RATIO, "*", M.RATIO, M.RATIO),
        (M.RATIO, "/", M.RATIO, M.RATIO),
        (M.SCALAR, "*", M.RATIO, M.RATIO),
        (M.RATIO, "*", M.SCALAR, M.RATIO),
        (M.RATIO, "of", M.SCALAR, M.SCALAR),
        (M.RATIO, "of", M.MONEY, M.MONEY),
        (M.RATIO, "of", M.COUNT, M.NUMBER),  # half of 3 is no count
        (M.COUNT, "/", M.SCALAR, M.NUMBER),
        (M.COUNT, "+", M.COUNT, M.COUNT),
        (M.COUNT, "*", M.QUANTITY, M.QUANTITY),
        (M.COUNT, "+", M.NUMBER, M.NUMBER),
        (M.MONEY, "/", M.COUNT, M.MONEY),
        (M.PRICE, "*", M.NUMBER, M.PRICE),
        (M.DURATION, "/", M.SCALAR, M.DURATION),
        (M.DURATION, "*", M.DURATION, None),
        (M.PRICE, "*", M.PRICE, None),
        (M.MONEY, "+", M.QUANTITY, None),
        (M.RATIO, "+", M.SCALAR, None),
        (M.SCALAR, "/", M.PRICE, None),
        (M.CLOCK, "-", M.CLOCK, M.DURATION),
        (M.CLOCK, "+", M.DURATION, M.CLOCK),
        (M.CLOCK, "-", M.DURATION, M.CLOCK),
        (M.CLOCK, "+", M.CLOCK, None),
        (M.DURATION, "-", M.CLOCK, None),
        (M.SCALAR, "*", M.CLOCK, None),
        (M.CLOCK, "/", M.SCALAR, None),
        (M.RATIO, "of", M.CLOCK, None),
    ],
)
def test_arithmetic_of_units(left: Measure, operator: str, right: Measure, unit: Measure | None) -> None:
    """Each operator on two facts gives the unit of the language reference, or has no meaning."""
    assert binary_unit(operator, fact(left), fact(right)) is unit


@given(st.sampled_from(MEASURES), st.sampled_from(MEASURES))
def test_products_are_the_same_from_both_sides(a: Measure, b: Measure) -> None:
    """Multiplication commutes."""
    assert product_unit(a, b) is product_unit(b, a)


@given(st.sampled_from(SCALABLE), st.sampled_from([M.RATIO, M.SCALAR]))
def test_a_ratio_or_number_scales_anything(unit: Measure, scale: Measure) -> None:
    """So much of a thing is that thing; of a count, a number."""
    expected = M.NUMBER if unit is M.COUNT else M.RATIO if {unit, scale} == {M.RATIO, M.SCALAR} else unit
    assert product_unit(scale, unit) is expected


@given(st.sampled_from(MEASURES), st.sampled_from(MEASURES))
def test_what_can_be_multiplied_can_be_divided_again(a: Measure, b: Measure) -> None:
    """A product over one factor has a unit, bare numbers and indexes apart."""
    product = product_unit(a, b)
    if product is not None and {a, b}.isdisjoint({M.SCALAR, M.NUMBER, M.COUNT}):
        assert quotient_unit(product, a) is not None
        assert quotient_unit(product, b) is not None


@given(st.sampled_from(SCALABLE))
def test_like_over_like_is_a_ratio(unit: Measure) -> None:
    """Also of what has no other quotient; a bare number over another stays one."""
    assert quotient_unit(unit, unit) is (M.SCALAR if unit is M.SCALAR else M.RATIO)


@given(st.sampled_from(MEASURES), st.sampled_from(MEASURES))
def test_units_meet_the_same_way_from_both_sides(a: Measure, b: Measure) -> None:
    """Comparison and addition do not care which side is left."""
    for left, right in ((fact(a), fact(b)), (literal(a), fact(b))):
        assert common_unit(left, right) == common_unit(right, left)


def test_what_can_be_compared() -> None:
    """Like with like, bare numbers with indexes and counts, an amount of money with a price, 0 with all."""
    units: list[Unit] = [*MEASURES, SESSION]
    for unit in units:
        assert common_unit(fact(unit), fact(unit)) == unit
        assert common_unit(fact(unit), ZERO) == unit
    assert common_unit(fact(M.NUMBER), literal(M.SCALAR)) is M.NUMBER
    assert common_unit(fact(M.COUNT), literal(M.SCALAR)) is M.COUNT
    assert common_unit(fact(M.COUNT), fact(M.NUMBER)) is M.NUMBER
    assert common_unit(fact(M.PRICE), literal(M.MONEY)) is M.PRICE
    assert common_unit(fact(M.PRICE), Parameter("p", M.MONEY, NOWHERE)) is M.PRICE
    assert common_unit(fact(M.PRICE), fact(M.MONEY)) is None
    assert common_unit(fact(M.RATIO), literal(M.SCALAR)) is None
    assert common_unit(fact(M.DURATION), literal(M.SCALAR)) is None
    assert common_unit(fact(SESSION), fact(WORDS[0])) is None


def test_every_unit_has_words() -> None:
    """Messages name every unit a fact may have, with its article, and show how it is written."""
    for measure in MEASURES:
        assert unit_words(measure)
    assert unit_words(SESSION) == "a session"
    assert unit_words(Words("agent_state", ())) == "an agent state"
    assert example(M.RATIO) == "such as 10%"
    assert example(M.BOOLEAN) == example(SESSION) == ""
    assert {unit_words(known.unit) for known in FACTS.values()}


# --- questions --------------------------------------------------------------------------------


def compared(when: str) -> Compared:
    """Return the one comparison of a condition."""
    (found,) = comparisons_of(condition(when))
    return found


def test_facts_and_constants_of_numbers() -> None:
    """What a number reads is found below arithmetic, step tables and definitions."""
    number = compared("gain > max(roi, 2 * loss)").right
    assert [read.name for read in facts_of(number)] == ["held_for"]
    assert not is_constant(number)
    assert is_constant(compared("gain > 2 * loss").right)
    zero = compared("gain > 0").right
    assert is_zero(zero) and not is_zero(compared("gain > 0%").right)


def test_facts_of_a_condition_come_in_order() -> None:
    """Conditions yield what they read, left to right, however nested."""
    found = facts_of_condition(condition("not (rsi < 30 or price > ask) and held and cash < 5% of equity"))
    assert [read.name for read in found] == ["rsi", "price", "ask", "held", "cash", "equity"]


def test_columns_of_series() -> None:
    """The bars that a fact is made from, through indicators, lags and arithmetic."""
    for when, columns in (
        ("prev(fast / bands.lower) > 1%", {("", 900, "close")}),
        ("zscore(log(close / open), 20) > 2", {("", 900, "close"), ("", 900, "open")}),
        ("spy > 400 USD", {("SPY", 86400, "close")}),
        ("prev(hour, 3) > 400 USD", {("", 3600, "close")}),
    ):
        (read,) = facts_of_condition(condition(when))
        assert read.series is not None
        found = {(column.symbol, column.interval_seconds, column.name) for column in columns_of(read.series)}
        assert found == columns


@pytest.mark.parametrize(
    ("when", "known"),
    [
        ("held and rsi < 30", {("held", "==", 1), ("rsi", "<", 30)}),
        ("not held", {("held", "==", 0)}),
        ("held or rsi < 30", set()),
        ("(held and rsi < 30) or (held and gain > 5%)", {("held", "==", 1)}),
        ("not (session == regular)", {("session", "!=", 1)}),
        ("not (session != regular)", {("session", "==", 1)}),
        ("not (rsi < 30)", set()),
        ("not not held", set()),
        ("20 < rsi < 30", {("rsi", "<", 30)}),
    ],
)
def test_what_a_condition_implies(when: str, known: set[tuple[str, str, int]]) -> None:
    """Facts compared with constants that hold wherever the condition does; nothing is claimed in doubt."""
    found = {(name, comparison.value, int(value)) for name, comparison, value in implied(condition(when))}
    assert found == known


truths = st.recursive(
    st.builds(
        lambda name, comparison, value: Compared(
            FactRead(name, SESSION, 0, SlotOrigin.VOCABULARY, NOWHERE),
            comparison,
            Constant(Decimal(value), SESSION, NOWHERE),
            SESSION,
            "",
            NOWHERE,
        ),
        st.sampled_from("ab"),
        st.sampled_from([Comparison.EQUAL, Comparison.NOT_EQUAL]),
        st.integers(0, 2),
    ),
    lambda below: st.one_of(
        st.builds(Combined, st.booleans(), st.lists(below, min_size=1, max_size=3).map(tuple)),
        st.builds(Negated, below),
    ),
    max_leaves=6,
)


def holds(tree: Condition, values: dict[str, int]) -> bool:
    """Evaluate a condition on words."""
    match tree:
        case Combined(every=every, operands=operands):
            return (all if every else any)(holds(operand, values) for operand in operands)
        case Negated(operand=operand):
            return not holds(operand, values)
        case Compared(left=FactRead(name=name), comparison=comparison, right=Constant(value=value)):
            return (values[name] == value) == (comparison is Comparison.EQUAL)
    raise AssertionError(tree)


@given(truths, st.integers(0, 2), st.integers(0, 2))
def test_what_is_implied_holds_wherever_the_condition_does(tree: Condition, a: int, b: int) -> None:
    """Soundness: a true condition makes every implied comparison true."""
    values = {"a": a, "b": b}
    if holds(tree, values):
        for name, comparison, value in implied(tree):
            assert (values[name] == value) == (comparison is Comparison.EQUAL)


@given(st.decimals(-1000, 1000, places=9), st.sampled_from([1, 100, 10_000, 10**9]))
def test_on_step_is_exact(value: Decimal, k: int) -> None:
    """A number is on the step when so many of them make it, to the last digit."""
    assert on_step(value, k) == ((value * k) % 1 == 0)
    assert on_step(value.quantize(Decimal(1)), k)
    assert not on_step(Decimal("0.5") / k, k)


def test_a_number_that_floats_cannot_hold_is_judged_exactly() -> None:
    """What a float would round to the step is off it all the same."""
    assert not on_step(Decimal("0.1") + Decimal(10) ** -27, 10)


def test_typed_trees_are_equal_whatever_their_places() -> None:
    """Two spellings of one number are one: priorities compare proposals, lowering interns atoms."""
    first, second = compared("since_order > 60m"), compared("since_order  >  1h")
    assert first == second
    assert hash(first) == hash(second)
    values: list[Typed] = [first.right, second.right]
    assert len(set(values)) == 1
