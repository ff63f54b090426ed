"""Formulas and numbers: what is made means what Python's own numbers and truth values mean."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluate.symbolic.formulas import (
    Join,
    Mentions,
    as_real,
    begin_anew,
    boolean,
    choice,
    every,
    implies,
    integer,
    is_whole,
    literal,
    negation,
    real,
    replaced,
    same,
    shape_of,
    some,
    total,
    value_of,
)
from engine.evaluate.symbolic.solver import Answer, Budget, Solver

_NUMBERS: Final = st.one_of(
    st.integers(-(10**20), 10**20), st.fractions(-1000, 1000), st.sampled_from(["a", "b", "x"])
)
_COMPUTING: Final[list[Callable[[Any, Any], Any]]] = [operator.add, operator.sub]
_COMPARING: Final[list[Callable[[Any, Any], Any]]] = [
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]
_VALUES: Final[dict[str, int | Fraction]] = {"a": 7, "b": -3, "x": Fraction(5, 3)}


@given(
    st.recursive(
        _NUMBERS,
        lambda below: st.one_of(
            st.tuples(st.sampled_from(_COMPUTING), below, below),
            st.tuples(st.just(operator.mul), st.integers(-9, 9), below),
            st.tuples(st.just(operator.neg), below),
        ),
        max_leaves=8,
    ),
    st.sampled_from(_COMPARING),
    _NUMBERS,
)
def test_it_compares_as_python_does(
    tree: Any,  # noqa: ANN401 - numbers, names, and tuples of a function and such
    compare: Callable[[Any, Any], Any],
    other: Any,  # noqa: ANN401 - a number or a name
) -> None:
    """With values for its variables, a comparison holds for the solver where it holds for Python."""
    begin_anew()
    variables = {"a": integer("a"), "b": integer("b"), "x": real("x")}

    def built(part: Any, leaves: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        if isinstance(part, tuple):
            return part[0](*(built(below, leaves) for below in part[1:]))
        return leaves[part] if isinstance(part, str) else part

    formula = compare(built(tree, variables), built(other, variables))
    expected = bool(compare(built(tree, _VALUES), built(other, _VALUES)))
    fixed = [variable == _VALUES[name] for name, variable in variables.items()]
    solver = Solver(Budget(), fixed)
    assert solver.ask(formula) is (Answer.POSSIBLE if expected else Answer.IMPOSSIBLE)
    assert solver.ask(negation(formula)) is (Answer.IMPOSSIBLE if expected else Answer.POSSIBLE)
    assert solver.ask() is Answer.POSSIBLE
    assert solver.model().truth(formula) is expected
    assert [solver.model().number(variable) for variable in variables.values()] == list(_VALUES.values())
    by = [(variable, value_of(variable, _VALUES[name])) for name, variable in variables.items()]
    assert replaced(formula, by) is expected or isinstance(formula, bool)


@given(st.booleans(), st.booleans(), st.booleans())
def test_it_joins_as_python_does(p: bool, q: bool, r: bool) -> None:
    """Of variables and of plain truth values alike."""
    begin_anew()
    free = [boolean(name) for name in "pqr"]
    solver = Solver(Budget(), [same(one, value) for one, value in zip(free, (p, q, r), strict=True)])
    assert solver.ask() is Answer.POSSIBLE
    for a, b, c in (free, [p, q, r], [p, free[1], r]):
        for formula, truth in (
            (every((a, b, c)), p and q and r),
            (some((a, b, c)), p or q or r),
            (implies(a, b), not p or q),
            (same(a, c), p == r),
            (negation(every((a, negation(b)))), not (p and not q)),
            (choice(a, 1, 2) == 1, p),
        ):
            assert solver.model().truth(formula) is truth


def test_constants_fold_away() -> None:
    """The solver never sees them."""
    p, a = boolean("p"), integer("a")
    assert every(()) is True
    assert some(()) is False
    assert every((p, False)) is False
    assert some((p, True)) is True
    assert every((True, p)) is p
    assert negation(negation(p)) is p
    assert choice(True, a, 3) is a
    assert total([1, Fraction(1, 2)]) == Fraction(3, 2)
    assert total([a]) is a
    assert (a == a) is True
    assert literal(as_real(Fraction(1, 3))) == Fraction(1, 3)
    assert literal(a) is None


def test_equal_parts_are_one() -> None:
    """So they can be keys of tables, and are told apart by being others."""
    a, b = integer("a"), integer("b")
    assert a + b is integer("a") + b
    assert {a < b: 1, a + b: 2}[integer("a") < b] == 1
    assert a + b not in {a: 1, b: 2}
    assert repr(a + b <= 3) == "(<= (+ a b) 3)"


def test_what_it_is_made_of() -> None:
    """Also of formulas that the library itself has put together."""
    p, q, a = boolean("p"), boolean("q"), integer("a")
    for formula in (every((p, negation(q))), replaced(every((p, negation(q), a < 3)), [(a, value_of(a, 2))])):
        join, parts = shape_of(formula)
        assert join is Join.AND
        assert set(parts) == {p, negation(q)}
    assert shape_of(a < 3) == (Join.NONE, ())
    among = {one.identity: None for one in (p, q)}
    assert Mentions().of(some((every((p, a < 3)), a > 4)), among) == {p.identity}
    assert Mentions().of(True, among) == frozenset()


def test_numbers_that_are_no_fractions() -> None:
    """Of a root what is close to it is said."""
    x = real("x")
    solver = Solver(Budget(), [x * x == 2, x > 0])
    assert solver.ask() is Answer.POSSIBLE
    assert abs(solver.model().number(x) ** 2 - 2) < Fraction(1, 10**9)
    assert Solver(Budget()).ask(is_whole(x), x > 1, x < 2) is Answer.IMPOSSIBLE


def test_what_makes_no_sense_is_refused() -> None:
    """Before the library writes over its memory."""
    a, p = integer("a"), boolean("p")
    with pytest.raises(AssertionError, match="no number"):
        assert p < 3
    with pytest.raises(TypeError, match="solver's to say"):
        assert a < 3
    begin_anew()
    b, q = integer("b"), boolean("q")
    mixing: list[Callable[[], object]] = [lambda: a + b, lambda: same(q, p), lambda: every((q, p))]
    for mixed in mixing:
        with pytest.raises(AssertionError, match="another proof"):
            mixed()
