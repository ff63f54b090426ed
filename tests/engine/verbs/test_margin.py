"""Margins: the smallest number of steps that flips a comparison."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.codes import Truth
from engine.errors import NOWHERE
from engine.evaluate.reference import Leaf, ReferenceEvaluator
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredPolicy,
    Operator,
    OrderStyle,
    Selection,
    SlotOrigin,
    Term,
)
from engine.units import Measure, Unit
from engine.verbs.margin import margin

FACT = FactTerm(0)
STYLE = OrderStyle(None, None, "gtc", False)


def atom_of(
    left: Term, comparison: Comparison, right: Term, unit: Unit = Measure.NUMBER, k: int = 10_000
) -> Atom:
    """Return an atom without a place or text."""
    return Atom(left, comparison, right, unit, k, NOWHERE, "")


def evaluated(atom: Atom, slots: tuple[FactSlot, ...], values: list[float]) -> Leaf:
    """Evaluate an atom as the reference evaluator does."""
    policy = LoweredPolicy(
        "one-atom",
        "1.0.0",
        "",
        Selection.BY_PRIORITY,
        "crypto",
        slots,
        (atom,),
        (),
        (),
        (),
        (),
        (),
        STYLE,
        STYLE,
        (),
    )
    return ReferenceEvaluator(policy).evaluate(values).leaves[0]


def slot(k: int, unit: Unit = Measure.NUMBER, name: str = "fact") -> FactSlot:
    """Return a fact's slot."""
    return FactSlot(name, unit, k, SlotOrigin.VOCABULARY)


@pytest.mark.parametrize(
    ("value", "comparison", "bound", "steps"),
    [
        (0.57, Comparison.GREATER, 0.60, 4),  # the strict comparison needs one more
        (0.57, Comparison.GREATER_OR_EQUAL, 0.60, 3),
        (0.60, Comparison.GREATER, 0.60, 1),
        (0.61, Comparison.GREATER, 0.60, -1),
        (0.60, Comparison.GREATER_OR_EQUAL, 0.60, -1),
        (0.57, Comparison.LESS, 0.60, 3),
        (0.60, Comparison.LESS, 0.60, -1),
        (0.60, Comparison.LESS_OR_EQUAL, 0.60, 1),
        (0.57, Comparison.EQUAL, 0.60, 3),
        (0.60, Comparison.EQUAL, 0.60, 1),
        (0.57, Comparison.NOT_EQUAL, 0.60, 3),
    ],
)
def test_margins_of_a_fact_and_a_literal(
    value: float, comparison: Comparison, bound: float, steps: int
) -> None:
    """Each comparison, from both sides and from the boundary itself."""
    slots = (slot(100, Measure.RATIO),)
    atom = atom_of(FACT, comparison, ConstantTerm(bound), Measure.RATIO, 10**6)
    found = margin(atom, evaluated(atom, slots, [value]), slots)
    assert found is not None
    assert found.steps == steps
    assert found.amount == abs(steps) / 100


@given(
    k=st.sampled_from([1, 2, 100, 10_000, 10**8]),
    here=st.integers(-2000, 2000),
    bound=st.integers(-4000, 4000),
    finer=st.sampled_from([1, 2, 10]),
    comparison=st.sampled_from(list(Comparison)),
    mirrored=st.booleans(),
)
def test_the_margin_flips_and_one_step_less_does_not(
    k: int, here: int, bound: int, finer: int, comparison: Comparison, mirrored: bool
) -> None:
    """Moved by its margin the fact flips the atom; moved by fewer steps, either way, it does not."""
    slots = (slot(k),)
    constant = ConstantTerm(bound / (k * finer))
    left, right = (constant, FACT) if mirrored else (FACT, constant)
    atom = atom_of(left, comparison, right)
    leaf = evaluated(atom, slots, [here / k])
    found = margin(atom, leaf, slots)
    if found is None:
        assert comparison in (Comparison.EQUAL, Comparison.NOT_EQUAL)
        assert round(constant.value * k) / k != constant.value
        return
    assert found.moved == (here + found.steps) / k
    assert evaluated(atom, slots, [found.moved]).truth == 1 - leaf.truth
    least = abs(found.steps)
    for fewer in {1, least // 2, least - 1} - {0, -1, least}:
        for steps in (fewer, -fewer):
            assert evaluated(atom, slots, [(here + steps) / k]).truth == leaf.truth


@given(here=st.integers(0, 500), other=st.integers(0, 500), percent=st.integers(1, 300))
def test_the_margin_to_a_computed_threshold(here: int, other: int, percent: int) -> None:
    """Against a computed threshold, which is on its own grid, the fact moves in its own steps."""
    slots = (slot(100, Measure.MONEY), slot(100, Measure.MONEY, "target"))
    threshold = ArithmeticTerm(Operator.MULTIPLY, (ConstantTerm(percent / 100), FactTerm(1)))
    atom = atom_of(FACT, Comparison.GREATER, threshold, Measure.MONEY, 100)
    values = [here / 100, other / 100]
    leaf = evaluated(atom, slots, values)
    found = margin(atom, leaf, slots)
    assert found is not None
    assert evaluated(atom, slots, [found.moved, values[1]]).truth == 1 - leaf.truth
    closer = (here + found.steps - (1 if found.steps > 0 else -1)) / 100
    assume(closer != here / 100)
    assert evaluated(atom, slots, [closer, values[1]]).truth == leaf.truth


def test_what_has_no_margin() -> None:
    """Words, Unknowns, and a threshold that moves with the fact have none."""
    slots = (slot(100), slot(100))
    both = ArithmeticTerm(Operator.MULTIPLY, (ConstantTerm(2.0), FACT))
    moving = atom_of(FACT, Comparison.LESS, both)
    word = atom_of(FACT, Comparison.EQUAL, ConstantTerm(1.0), Measure.BOOLEAN, 0)
    plain = atom_of(FACT, Comparison.LESS, ConstantTerm(1.0))
    assert margin(moving, evaluated(moving, slots, [3.0, 0.0]), slots) is None
    assert margin(word, Leaf(0.0, 1.0, Truth.FALSE), slots) is None
    assert margin(plain, Leaf(float("nan"), 1.0, Truth.UNKNOWN), slots) is None


def test_prices_move_in_the_instruments_steps() -> None:
    """A quote on a venue's tick is short by ticks, not by the vocabulary's finest step."""
    slots = (slot(10**8, Measure.PRICE, "price"),)
    atom = atom_of(FACT, Comparison.GREATER, ConstantTerm(101.0), Measure.PRICE, 10**8)
    leaf = evaluated(atom, slots, [100.5])
    coarse, fine = margin(atom, leaf, slots, 100), margin(atom, leaf, slots)
    assert coarse is not None
    assert fine is not None
    assert (coarse.steps, coarse.amount) == (51, 0.51)
    assert fine.amount == 0.50000001


def test_two_computed_sides_have_a_distance_of_no_fact() -> None:
    """Where no operand is a plain fact the left side's distance is told, on the atom's grid."""
    slots = (slot(100, Measure.MONEY),)
    doubled = ArithmeticTerm(Operator.MULTIPLY, (ConstantTerm(2.0), FACT))
    atom = atom_of(doubled, Comparison.GREATER, ConstantTerm(10.0), Measure.MONEY, 100)
    found = margin(atom, evaluated(atom, slots, [4.0]), slots)
    assert found is not None
    assert (found.slot, found.steps) == (-1, 201)
