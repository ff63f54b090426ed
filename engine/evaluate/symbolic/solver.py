"""A solver with a budget: it asks z3 whether formulas can be true together.

Everything is decided over exact integers and rationals, never over floats (see ``symbolic.numbers``).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Final

import z3
from z3 import z3consts

from engine.evaluate.symbolic import z3_calls
from engine.evaluate.symbolic.formulas import Book, Expression, Formula, Join, Number, current_book, implies

MEMORY_LIMIT_MB: Final = 700
QUESTION_LIMIT: Final = 4_000_000
"""Units of z3's own work that one question may take, a few seconds: the same on every machine."""

z3.set_param("memory_max_size", MEMORY_LIMIT_MB)


class Answer(Enum):
    """What the solver says of a question; UNDECIDED is never taken for either of the others."""

    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"


@dataclass
class Budget:
    """How much work may be done.

    ``over`` says whether the time is up: the shell knows clocks.  What it says is left of it stops the solver
    also in the midst of a question; where time is not up, its own count of work does, everywhere alike.
    """

    over: Callable[[], bool] = lambda: False
    seconds_left: Callable[[], float] = lambda: math.inf
    question_limit: int = QUESTION_LIMIT
    questions: int = 0
    undecided: int = 0
    newer_first: bool = False  # the newer arithmetic answered last: questions of a proof are alike


class Model:
    """Values that make a question's formulas true."""

    def __init__(self, book: Book, model: z3.ModelRef) -> None:
        """Keep z3's model."""
        self._book = book
        self._model = model
        self._pointer = model.model.value

    def truth(self, formula: Formula) -> bool:
        """Return the truth value of a formula."""
        return formula if isinstance(formula, bool) else self._value(formula) == self._book.true.pointer

    def number(self, number: Number) -> Fraction:
        """Return the value of a number; of one that is no fraction, one close to it."""
        if isinstance(number, int | Fraction):
            return Fraction(number)
        context, value = self._book.pointer, self._value(number)
        if z3_calls.is_algebraic(context, value):
            value = z3_calls.algebraic_lower(context, value, _DIGITS)
        if z3_calls.ast_kind(context, value) != z3consts.Z3_NUMERAL_AST:
            return Fraction(0)  # a quotient by zero may be anything
        return Fraction(z3_calls.numeral_text(context, value).decode())

    def _value(self, expression: Expression) -> int:
        found = ctypes.c_void_p()
        z3_calls.model_eval(self._book.pointer, self._pointer, expression.pointer, True, ctypes.byref(found))
        assert found.value is not None, self._book.complaint()
        return found.value


_DIGITS: Final = 30


def _newer(context: Any) -> Any:  # noqa: ANN401 - z3's own
    """Return a solver with z3's newer arithmetic: it knows products, and answers where the older does not."""
    return _prepared(z3.Solver(ctx=context))


def _simplex(context: Any) -> Any:  # noqa: ANN401 - z3's own
    """Return one with the older arithmetic: quicker at most questions, so it is asked first."""
    solver = _prepared(z3.SimpleSolver(ctx=context))
    solver.set("arith.solver", 2)
    solver.set("arith.branch_cut_ratio", 1000)  # cuts have ever longer coefficients
    return solver


def _prepared(solver: Any) -> Any:  # noqa: ANN401 - z3's own
    solver.set("random_seed", 0)
    solver.set("ctrl_c", False)  # it would take an interruption for itself: whoever asks is to end
    return solver


def _checked(
    solver: z3.Solver, budget: Budget, share: float, names: Sequence[Expression], book: Book
) -> z3.CheckSatResult:
    """Ask one solver for a share of a question's work, and within the budget."""
    solver.set("rlimit", round(share * budget.question_limit))
    left = budget.seconds_left()
    if left < _LONGEST_SECONDS:
        solver.set("timeout", max(1, round(left * 1000)))
    asked = z3_calls.pointers([name.pointer for name in names])
    found = z3_calls.solver_check(book.pointer, solver.solver.value, len(names), asked)
    # Out of memory it has no answer, and says so beside it.
    return z3.unknown if z3_calls.error_code(book.pointer) else z3.CheckSatResult(found)


_SHARES: Final = (0.02, 0.1, 0.3, 1.0)
"""Of a question's limit: each solver is asked for so little work, in turn, before either gets more."""
_BRIEFLY: Final = _SHARES[:2]
_MANY_FORMULAS: Final = 600
"""To read more takes most of the first share: it is left out."""
_HARDLY: Final = (0.02,)
"""Where an answer saves a little, and nothing is lost without one."""
_LONGEST_SECONDS: Final = 3600.0


class Solver:
    """Asks whether formulas can be true together with what was asserted before."""

    def __init__(self, budget: Budget, asserted: Iterable[Formula] = ()) -> None:
        """Begin with what always holds."""
        self.budget = budget
        self._asserted: list[list[Expression]] = [[]]  # by level, for the one that most questions never need
        self._book = current_book()  # what comes later goes there, too, whatever was begun anew meanwhile
        self._solvers = [_simplex(self._book.context)]
        self._answering = self._solvers[0]
        self._named: list[dict[Expression, Expression]] = [{}]  # by level: formula, its name
        self._core: list[Formula] = []
        self.add(*asserted)

    def add(self, *formulas: Formula) -> None:
        """Assert."""
        for formula in formulas:
            if formula is not True:
                self._assert(self._book.truth(formula))

    def _assert(self, formula: Expression) -> None:
        self._asserted[-1].append(formula)
        for solver in self._solvers:
            z3_calls.solver_assert(self._book.pointer, solver.solver.value, formula.pointer)

    def _both(self) -> Iterator[Any]:
        """Yield the solvers; the second is made when the first one has not answered for the first time."""
        if len(self._solvers) == 1:
            yield self._solvers[0]
            self._solvers.append(self._second())
            yield self._solvers[1]
        else:
            yield from reversed(self._solvers) if self.budget.newer_first else self._solvers

    def _second(self) -> Any:  # noqa: ANN401 - z3's own
        other = _newer(self._book.context)
        for number, formulas in enumerate(self._asserted):
            if number:
                other.push()
            for formula in formulas:
                z3_calls.solver_assert(self._book.pointer, other.solver.value, formula.pointer)
        return other

    @contextmanager
    def supposing(self, *formulas: Formula) -> Iterator[None]:
        """Assert for a while."""
        for solver in self._solvers:
            solver.push()
        self._named.append({})
        self._asserted.append([])
        try:
            self.add(*formulas)
            yield
        finally:
            self._named.pop()
            self._asserted.pop()
            for solver in self._solvers:
                solver.pop()

    def ask(self, *formulas: Formula, briefly: bool = False) -> Answer:
        """Say whether the formulas can be true together; a model or a core is there afterwards.

        ``briefly``: what is not soon clear is UNDECIDED, and nothing is left open by that.
        """
        answer = self._ask(formulas, _BRIEFLY if briefly else _SHARES)
        self.budget.undecided += answer is Answer.UNDECIDED and not briefly
        return answer

    def _ask(self, formulas: Sequence[Formula], shares: Sequence[float]) -> Answer:
        self._core = []
        if any(formula is False for formula in formulas):
            self._core = [False]
            return Answer.IMPOSSIBLE
        if self.budget.over():
            return Answer.UNDECIDED
        named = {self._name(formula): formula for formula in formulas if formula is not True}
        self.budget.questions += 1
        names = list(named)
        if len(shares) > 1 and sum(map(len, self._asserted)) > _MANY_FORMULAS:
            shares = shares[1:]
        found = z3.unknown
        for share, solver in ((share, solver) for share in shares for solver in self._both()):
            self._answering = solver
            found = _checked(solver, self.budget, share, names, self._book)
            if found != z3.unknown or self.budget.over():
                break
        if found != z3.unknown:
            self.budget.newer_first = self._answering is not self._solvers[0]
        if found == z3.sat:
            return Answer.POSSIBLE
        if found == z3.unsat:
            core = (self._book.read(part.ast.value) for part in self._answering.unsat_core())
            self._core = [named[part] for part in core]
            return Answer.IMPOSSIBLE
        return Answer.UNDECIDED

    def _name(self, formula: Expression) -> Expression:
        """Return a truth value that implies the formula: only such can be asked about."""
        for level in self._named:
            if formula in level:
                return level[formula]
        name = formula
        if (formula.parts[0] if formula.join is Join.NOT else formula).parts:
            name = self._book.name()
            self._assert(self._book.truth(implies(name, formula)))
        self._named[-1][formula] = name
        return name

    def model(self) -> Model:
        """Return the values found by the last question, which was POSSIBLE."""
        return Model(self._book, self._answering.model())

    def core(self) -> list[Formula]:
        """Return formulas of the last question that were impossible together: not always the fewest."""
        return self._core

    def least_core(self, formulas: Sequence[Formula], most: int | None = None) -> list[Formula] | None:
        """Return formulas, none of which can be left out, that are impossible together; None if undecided.

        Of formulas that could be left out, later ones go first.  One of which it is not soon clear stays.
        With ``most`` it is hardly asked; if more than so many are left by the first question, they are
        what is returned.
        """
        first = self.ask(*formulas) if most is None else self._ask(formulas, _HARDLY)
        if first is not Answer.IMPOSSIBLE:
            return None
        found = set(self._core)
        kept = [formula for formula in formulas if formula in found]
        if most is not None and len(kept) > most:
            return kept
        for formula in reversed(list(kept)):
            rest = [other for other in kept if other is not formula]
            if len(rest) < len(kept) and self._ask(rest, _HARDLY) is Answer.IMPOSSIBLE:
                found = set(self._core)
                kept = [one for one in rest if one in found]
        return kept


def least(
    budget: Budget, asserted: Sequence[Formula], costs: Sequence[Number]
) -> tuple[Answer, Model | None]:
    """Find values with the least costs, the first cost first."""
    book = current_book()
    optimize = z3.Optimize(ctx=book.context)
    optimize.set("rlimit", budget.question_limit)
    optimize.set("priority", "lex")
    optimize.set("ctrl_c", False)
    for formula in asserted:
        if formula is not True:
            z3_calls.optimize_assert(book.pointer, optimize.optimize.value, book.truth(formula).pointer)
    for cost in costs:
        z3_calls.optimize_minimize(book.pointer, optimize.optimize.value, book.number(cost).pointer)
    if budget.over():
        budget.undecided += 1
        return Answer.UNDECIDED, None
    budget.questions += 1
    try:
        found = optimize.check()
    except z3.Z3Exception:
        found = z3.unknown
    if found == z3.sat:
        return Answer.POSSIBLE, Model(book, optimize.model())
    if found == z3.unsat:
        return Answer.IMPOSSIBLE, None
    budget.undecided += 1
    return Answer.UNDECIDED, None
