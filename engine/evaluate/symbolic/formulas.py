"""Formulas and numbers as z3 has them, made by nothing but its own calls.

A ``Formula`` is a truth value of the solver's or a Python ``bool``; constants fold away before the solver
sees them.  A ``Number`` is the solver's, whole or real, an ``int`` or a ``Fraction``; ``+ - * < <= > >= ==``
work between them.

The library's own Python classes count references to each part, ask for its sort and convert it: to make a
formula took longer than to solve it.  Here parts live as long as the proof that they belong to, a ``Book``;
equal parts are one object, and each knows what it is made of.  What asks, ``Solver``, uses the library's
solvers as they are.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import Any, Final

import z3
from z3 import z3consts, z3core

from engine.evaluate.symbolic import z3_calls

Formula = Any  # Expression | bool
Number = Any  # Expression | int | Fraction

_MUCH_BYTES: Final = 200 * 2**20


class Sort(Enum):
    """What an expression is."""

    TRUTH = "truth value"
    WHOLE = "whole number"
    REAL = "real number"


class Join(Enum):
    """How a formula is made of others."""

    AND = "and"
    OR = "or"
    NOT = "not"
    EQUAL = "the same as"
    NONE = "by itself"


class Expression:
    """A part of formulas: hashed and compared as what it is, one object for equal ones of a book.

    ``pointer`` is the library's; ``identity`` a number that no other part of the book has; ``parts`` what
    it is made of; ``value`` the number that it is, if it is one.
    """

    __slots__ = ("book", "identity", "join", "parts", "pointer", "sort", "value")

    def __init__(
        self,
        book: Book,
        identity: int,
        pointer: int,
        sort: Sort,
        parts: tuple[Expression, ...],
        join: Join,
        value: int | Fraction | None,
    ) -> None:
        """Keep what is known of it."""
        self.book = book
        self.identity = identity
        self.pointer = pointer
        self.sort = sort
        self.parts = parts
        self.join = join
        self.value = value

    def __hash__(self) -> int:
        """Hash as what it is."""
        return self.identity

    def __bool__(self) -> bool:
        """Say of an equation whether its sides are one and the same: what looks parts up in tables asks."""
        if self.join is Join.EQUAL:
            return self.parts[0] is self.parts[1]
        raise TypeError("whether a formula is true is the solver's to say")

    def __repr__(self) -> str:
        """Show it as the library writes it."""
        return str(z3_calls.text(self.book.pointer, self.pointer).decode())

    def __eq__(self, other: object) -> Formula:
        """Say that two are the same."""
        return True if other is self else self.book.equal(self, other)

    def __ne__(self, other: object) -> Formula:
        """Say that two are not the same."""
        return False if other is self else negation(self.book.equal(self, other))

    def __lt__(self, other: Number) -> Formula:
        """Compare."""
        return self.book.compared(z3_calls.less, self, other)

    def __le__(self, other: Number) -> Formula:
        """Compare."""
        return self.book.compared(z3_calls.less_or_equal, self, other)

    def __gt__(self, other: Number) -> Formula:
        """Compare."""
        return self.book.compared(z3_calls.greater, self, other)

    def __ge__(self, other: Number) -> Formula:
        """Compare."""
        return self.book.compared(z3_calls.greater_or_equal, self, other)

    def __add__(self, other: Number) -> Number:
        """Add."""
        return self.book.computed(z3_calls.add, self, other)

    def __radd__(self, other: Number) -> Number:
        """Add."""
        return self.book.computed(z3_calls.add, other, self)

    def __sub__(self, other: Number) -> Number:
        """Subtract."""
        return self.book.computed(z3_calls.subtract, self, other)

    def __rsub__(self, other: Number) -> Number:
        """Subtract."""
        return self.book.computed(z3_calls.subtract, other, self)

    def __mul__(self, other: Number) -> Number:
        """Multiply."""
        return self.book.computed(z3_calls.multiply, self, other)

    def __rmul__(self, other: Number) -> Number:
        """Multiply."""
        return self.book.computed(z3_calls.multiply, other, self)

    def __neg__(self) -> Number:
        """Negate."""
        return self.book.made(z3_calls.minus(self.book.pointer, self.pointer), self.sort, (self,))


class Book:
    """All parts of the formulas of one proof: they are let go of together."""

    def __init__(self) -> None:
        """Begin empty."""
        self.context = z3.Context()
        self.pointer: int = self.context.ref().value
        self._parts: dict[int, Expression] = {}  # by pointer
        self._numerals: dict[tuple[Sort, int | Fraction], Expression] = {}
        self._names = 0
        self._sorts = {
            Sort.TRUTH: z3_calls.bool_sort(self.pointer),
            Sort.WHOLE: z3_calls.int_sort(self.pointer),
            Sort.REAL: z3_calls.real_sort(self.pointer),
        }
        self.true = self.made(z3_calls.true(self.pointer), Sort.TRUTH, ())
        self.false = self.made(z3_calls.false(self.pointer), Sort.TRUTH, ())

    def made(
        self,
        pointer: int | None,
        sort: Sort,
        parts: tuple[Expression, ...],
        join: Join = Join.NONE,
        value: int | Fraction | None = None,
    ) -> Expression:
        """Return the one object for a part that the library made."""
        found = self._parts.get(pointer) if pointer else None
        if found is None:
            kept = self._kept(pointer)
            found = self._parts[kept] = Expression(self, len(self._parts), kept, sort, parts, join, value)
        return found

    def _kept(self, pointer: int | None) -> int:
        """Keep what the library made as long as the book is; z3.Z3Exception where it made nothing."""
        if not pointer:
            raise z3.Z3Exception(self.complaint())
        z3_calls.keep(self.pointer, pointer)
        return pointer

    def variable(self, name: str, sort: Sort) -> Expression:
        """Return a free truth value or number."""
        symbol = z3_calls.symbol(self.pointer, name.encode())
        return self.made(z3_calls.constant(self.pointer, symbol, self._sorts[sort]), sort, ())

    def complaint(self) -> str:
        """Say what the library could not do."""
        return str(z3_calls.error_message(self.pointer, z3_calls.error_code(self.pointer)).decode())

    def name(self) -> Expression:
        """Return a truth value with a name that nothing else has."""
        self._names += 1
        return self.variable(f"asked!{self._names}", Sort.TRUTH)

    def numeral(self, number: int | Fraction, sort: Sort) -> Expression:
        """Return a constant."""
        found = self._numerals.get((sort, number))
        if found is None:
            pointer = z3_calls.numeral(self.pointer, str(number).encode(), self._sorts[sort])
            found = self._numerals[sort, number] = self.made(pointer, sort, (), value=number)
        return found

    def truth(self, formula: Formula) -> Expression:
        """Return a formula as a part, also where it is a plain truth value."""
        if isinstance(formula, bool):
            return self.true if formula else self.false
        assert formula.book is self, "of another proof: z3 would write over its memory"
        return formula  # type: ignore[no-any-return] # a formula that is no bool is an expression

    def number(self, number: Number) -> Expression:
        """Return a number as a part, also where it is a constant."""
        return self.alike(number)[0]

    def alike(self, *numbers: Number) -> list[Expression]:
        """Return numbers as parts of one sort: all whole, or all real."""
        sort = Sort.WHOLE if all(map(_is_whole, numbers)) else Sort.REAL
        return [
            self.as_sort(number, sort) if isinstance(number, Expression) else self.numeral(number, sort)
            for number in numbers
        ]

    def as_sort(self, number: Expression, sort: Sort) -> Expression:
        """Return a number as one of a sort; a whole one may be real, not the other way round."""
        assert number.book is self, "of another proof: z3 would write over its memory"
        if number.sort is sort:
            return number
        assert number.sort is Sort.WHOLE, "it is no number"
        return self.made(z3_calls.to_real(self.pointer, number.pointer), Sort.REAL, (number,))

    def equal(self, left: Formula | Number, right: Formula | Number) -> Formula:
        """Say that two numbers, or two truth values, are the same."""
        if isinstance(left, Expression) and left.sort is Sort.TRUTH:
            a, b = left, self.truth(right)
        else:
            a, b = self.alike(left, right)
        return self.made(z3_calls.equal(self.pointer, a.pointer, b.pointer), Sort.TRUTH, (a, b), Join.EQUAL)

    def compared(self, make: Any, left: Number, right: Number) -> Formula:  # noqa: ANN401 - a call
        """Compare two numbers."""
        a, b = self.alike(left, right)
        return self.made(make(self.pointer, a.pointer, b.pointer), Sort.TRUTH, (a, b))

    def computed(self, make: Any, left: Number, right: Number) -> Number:  # noqa: ANN401 - a call
        """Compute with two numbers."""
        parts = self.alike(left, right)
        return self.joined(make, parts, parts[0].sort)

    def joined(
        self,
        make: Any,  # noqa: ANN401 - a call
        parts: Sequence[Expression],
        sort: Sort,
        join: Join = Join.NONE,
    ) -> Expression:
        """Make one of many."""
        assert all(part.book is self for part in parts), "of another proof: z3 would write over its memory"
        pointer = make(self.pointer, len(parts), _pointers(parts))
        return self.made(pointer, sort, tuple(parts), join)

    def read(self, pointer: int | None) -> Expression:
        """Return a part that the library made of others, with all that it is made of."""
        found = self._parts.get(pointer) if pointer else None
        if found is not None:
            return found
        pointer = self._kept(pointer)  # before its parts are looked at: nothing else holds it
        sort = _SORTS[z3_calls.sort_kind(self.pointer, z3_calls.sort_of(self.pointer, pointer))]
        if z3_calls.ast_kind(self.pointer, pointer) == z3consts.Z3_NUMERAL_AST:
            digits = z3_calls.numeral_text(self.pointer, pointer).decode()
            return self.made(pointer, sort, (), value=Fraction(digits))
        count = z3_calls.part_count(self.pointer, pointer)
        parts = tuple(self.read(z3_calls.part(self.pointer, pointer, place)) for place in range(count))
        kind = z3_calls.declared_kind(self.pointer, z3_calls.declaration(self.pointer, pointer))
        return self.made(pointer, sort, parts, _JOINS.get(kind, Join.NONE))


def _is_whole(number: Number) -> bool:
    if isinstance(number, Expression):
        return number.sort is Sort.WHOLE
    return isinstance(number, int) or number.denominator == 1


def _pointers(parts: Sequence[Expression]) -> Any:  # noqa: ANN401 - an array of ctypes
    return z3_calls.pointers([part.pointer for part in parts])


_SORTS: Final = {
    z3consts.Z3_BOOL_SORT: Sort.TRUTH,
    z3consts.Z3_INT_SORT: Sort.WHOLE,
    z3consts.Z3_REAL_SORT: Sort.REAL,
}
_JOINS: Final = {
    z3consts.Z3_OP_AND: Join.AND,
    z3consts.Z3_OP_OR: Join.OR,
    z3consts.Z3_OP_NOT: Join.NOT,
    z3consts.Z3_OP_EQ: Join.EQUAL,
}
_LOOKED_INTO: Final = (Join.AND, Join.OR, Join.NOT)


# --- the proof that is going on ---------------------------------------------------------------

_current: Book | None = None


def begin_anew() -> None:
    """Forget every name and number given out so far: the same questions then get the same answers again.

    z3 looks for answers in an order that depends on all it was asked before in the process.  What was made
    before can go on being asked about, but not together with what is made from now on.
    """
    global _current
    if z3core.Z3_get_estimated_alloc_size() > _MUCH_BYTES:
        gc.collect()  # proofs that are over hold each other: without memory for its names z3 ends the process
    _current = None


def current_book() -> Book:
    """Return the book of the proof that is going on."""
    global _current
    if _current is None:
        _current = Book()
    return _current


# --- making formulas --------------------------------------------------------------------------


def boolean(name: str) -> Formula:
    """Return a free truth value."""
    return current_book().variable(name, Sort.TRUTH)


def integer(name: str) -> Number:
    """Return a free integer."""
    return current_book().variable(name, Sort.WHOLE)


def real(name: str) -> Number:
    """Return a free real number."""
    return current_book().variable(name, Sort.REAL)


def as_real(number: Number) -> Number:
    """Return a number as a real one."""
    if isinstance(number, Expression):
        return number.book.as_sort(number, Sort.REAL)
    return current_book().numeral(number, Sort.REAL)


def is_whole(number: Number) -> Formula:
    """A real number is an integer."""
    return number.book.made(z3_calls.is_int(number.book.pointer, number.pointer), Sort.TRUTH, (number,))


def literal(number: Number) -> Fraction | None:
    """Return the value of a number that is a constant, or None."""
    if isinstance(number, Expression):
        return None if number.value is None else Fraction(number.value)
    return Fraction(number)


def negation(formula: Formula) -> Formula:
    """Not."""
    if isinstance(formula, bool):
        return not formula
    if formula.join is Join.NOT:
        return formula.parts[0]
    book = formula.book
    return book.made(z3_calls.negation(book.pointer, formula.pointer), Sort.TRUTH, (formula,), Join.NOT)


def every(formulas: Iterable[Formula]) -> Formula:
    """And: true of nothing."""
    kept = []
    for formula in formulas:
        if formula is False:
            return False
        if formula is not True:
            kept.append(formula)
    if len(kept) < 2:
        return kept[0] if kept else True
    return kept[0].book.joined(z3_calls.conjunction, kept, Sort.TRUTH, Join.AND)


def some(formulas: Iterable[Formula]) -> Formula:
    """Or: false of nothing."""
    kept = []
    for formula in formulas:
        if formula is True:
            return True
        if formula is not False:
            kept.append(formula)
    if len(kept) < 2:
        return kept[0] if kept else False
    return kept[0].book.joined(z3_calls.disjunction, kept, Sort.TRUTH, Join.OR)


def implies(premise: Formula, conclusion: Formula) -> Formula:
    """If the premise holds, so does the conclusion."""
    return some((negation(premise), conclusion))


def same(left: Formula, right: Formula) -> Formula:
    """Both are true or both are false."""
    if isinstance(left, bool):
        return right if left else negation(right)
    if isinstance(right, bool):
        return left if right else negation(left)
    return left == right


def choice(condition: Formula, then: Number, otherwise: Number) -> Number:
    """The one number or the other."""
    if isinstance(condition, bool):
        return then if condition else otherwise
    book = condition.book
    a, b = book.alike(then, otherwise)
    return book.made(
        z3_calls.choice(book.pointer, condition.pointer, a.pointer, b.pointer), a.sort, (condition, a, b)
    )


def total(numbers: Sequence[Number]) -> Number:
    """Return the sum."""
    expression = next((number for number in numbers if isinstance(number, Expression)), None)
    if expression is None:
        return sum(numbers)
    parts = expression.book.alike(*numbers)
    return expression.book.joined(z3_calls.add, parts, parts[0].sort) if len(parts) > 1 else expression


def replaced(formula: Formula, by: Sequence[tuple[Any, Any]]) -> Formula:
    """Return a formula with variables replaced by values or by other variables, and simplified."""
    if isinstance(formula, bool) or not by:
        return formula
    book = formula.book
    olds, news = _pointers([old for old, _ in by]), _pointers([new for _, new in by])
    substituted = book.read(z3_calls.substitute(book.pointer, formula.pointer, len(by), olds, news))
    found = book.read(z3_calls.simplify(book.pointer, substituted.pointer))
    return {book.true.pointer: True, book.false.pointer: False}.get(found.pointer, found)


def value_of(variable: Expression, value: bool | int | Fraction) -> Expression:
    """Return the constant that stands for a value of a variable's kind."""
    if variable.sort is Sort.TRUTH:
        return variable.book.truth(bool(value))
    return variable.book.numeral(value, variable.sort)


def shape_of(formula: Expression) -> tuple[Join, Sequence[Expression]]:
    """Return how a formula is made of formulas, and of which; an equation is by itself."""
    return (formula.join, formula.parts) if formula.join in _LOOKED_INTO else (Join.NONE, ())


class Mentions:
    """Finds which of some variables a formula mentions; what was looked through once is not again."""

    def __init__(self) -> None:
        """Nothing was looked through."""
        self._found: dict[Expression, frozenset[int]] = {}

    def of(self, formula: Formula, among: Mapping[int, object]) -> frozenset[int]:
        """Return the identities of the variables of ``among``; those are there before the formula is made."""
        if isinstance(formula, bool):
            return frozenset()
        found = self._found
        if formula in found:
            return found[formula]
        pending = [formula]
        while pending:
            one = pending[-1]
            if one in found:
                pending.pop()
                continue
            missing = [part for part in one.parts if part not in found]
            if missing:
                pending.extend(missing)
                continue
            mentioned: frozenset[int] = frozenset().union(*(found[part] for part in one.parts))
            own = not one.parts and one.identity in among
            found[one] = mentioned | {one.identity} if own else mentioned
            pending.pop()
        return found[formula]
