"""The one file that knows z3: formulas, numbers, and a solver with a budget.

A ``Formula`` is a z3 boolean or a Python ``bool``; constants fold away before z3 sees them.  A ``Number``
is a z3 integer or real, an ``int`` or a ``Fraction``; ``+ - * < <= > >=`` work between them.  Everything is
decided over exact integers and rationals, never over floats (see ``engine.evaluate.smt``).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Final

import z3

Formula = Any  # z3.BoolRef | bool: z3's own operators are untyped
Number = Any  # z3.ArithRef | int | Fraction

MEMORY_LIMIT_MB: Final = 700
QUESTION_LIMIT: Final = 4_000_000
"""Units of z3's own work that one question may take, a few seconds: the same on every machine."""

_MUCH_BYTES: Final = 200 * 2**20
z3.set_param("memory_max_size", MEMORY_LIMIT_MB)


def begin_anew() -> None:
    """Forget every name and number given out so far: the same questions then get the same answers again.

    z3 looks for answers in an order that depends on all it was asked before in the process.  What was made
    before can go on being asked about, but not together with what is made from now on.
    """
    if z3.Z3_get_estimated_alloc_size() > _MUCH_BYTES:
        gc.collect()  # proofs that are over hold each other: without memory for its names z3 ends the process
    z3.z3._main_ctx = None  # the library has no public way: what it makes next gets a context of its own


# --- making formulas --------------------------------------------------------------------------


def boolean(name: str) -> Formula:
    """Return a free truth value."""
    return z3.Bool(name)


def integer(name: str) -> Number:
    """Return a free integer."""
    return z3.Int(name)


def real(name: str) -> Number:
    """Return a free real number."""
    return z3.Real(name)


def as_real(number: Number) -> Number:
    """Return a number as a real one."""
    if isinstance(number, int | Fraction):
        fraction = Fraction(number)
        return z3.Q(fraction.numerator, fraction.denominator)
    return z3.ToReal(number) if z3.is_int(number) else number


def is_whole(number: Number) -> Formula:
    """A real number is an integer."""
    return z3.IsInt(number)


def literal(number: Number) -> Fraction | None:
    """Return the value of a number that is a constant, or None."""
    if isinstance(number, int | Fraction):
        return Fraction(number)
    if z3.is_rational_value(number) or z3.is_int_value(number):
        return Fraction(number.as_fraction()) if z3.is_rational_value(number) else Fraction(number.as_long())
    return None


def negation(formula: Formula) -> Formula:
    """Not."""
    if isinstance(formula, bool):
        return not formula
    if z3.is_not(formula):
        return formula.arg(0)
    context = formula.ctx
    return z3.BoolRef(z3.Z3_mk_not(context.ref(), formula.as_ast()), context)


def every(formulas: Iterable[Formula]) -> Formula:
    """And: true of nothing."""
    kept = []
    for formula in formulas:
        if formula is False:
            return False
        if formula is not True:
            kept.append(formula)
    return True if not kept else kept[0] if len(kept) == 1 else _joined(z3.Z3_mk_and, kept)


def some(formulas: Iterable[Formula]) -> Formula:
    """Or: false of nothing."""
    kept = []
    for formula in formulas:
        if formula is True:
            return True
        if formula is not False:
            kept.append(formula)
    return False if not kept else kept[0] if len(kept) == 1 else _joined(z3.Z3_mk_or, kept)


def _joined(join: Callable[..., Any], parts: Sequence[Formula]) -> Formula:
    """Join formulas as ``z3.And`` and ``z3.Or`` do, but without asking each for its sort: they are many."""
    context = parts[0].ctx
    array = (z3.Ast * len(parts))(*(part.as_ast() for part in parts))
    return z3.BoolRef(join(context.ref(), len(parts), array), context)


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
    return z3.If(condition, then, otherwise)


def total(numbers: Sequence[Number]) -> Number:
    """Return the sum."""
    return z3.Sum(list(numbers)) if numbers else z3.IntVal(0)


def replaced(formula: Formula, by: Sequence[tuple[Any, Any]]) -> Formula:
    """Return a formula with variables replaced by values or by other variables, and simplified."""
    if isinstance(formula, bool) or not by:
        return formula
    return _folded(z3.simplify(z3.substitute(formula, *by)))


def value_of(variable: Any, value: bool | int | Fraction) -> Any:  # noqa: ANN401 - z3's own
    """Return the constant that stands for a value of a variable's kind."""
    if z3.is_bool(variable):
        return z3.BoolVal(bool(value))
    return z3.IntVal(int(value)) if z3.is_int(variable) else as_real(Fraction(value))


class Join(Enum):
    """How a formula is made of others."""

    AND = "and"
    OR = "or"
    NOT = "not"
    NONE = "by itself"


def shape_of(formula: Formula) -> tuple[Join, list[Formula]]:
    """Return how a formula is made, and of which."""
    join = _JOINS.get(formula.decl().kind(), Join.NONE)
    return join, [] if join is Join.NONE else formula.children()


_JOINS: Final = {z3.Z3_OP_AND: Join.AND, z3.Z3_OP_OR: Join.OR, z3.Z3_OP_NOT: Join.NOT}


class Mentions:
    """Finds which of some variables a formula mentions; what was looked through once is not again."""

    def __init__(self) -> None:
        """Nothing was looked through."""
        self._found: dict[int, frozenset[int]] = {}
        self._alive: list[Formula] = []  # formulas, and so the ids of all their parts

    def of(self, formula: Formula, among: Mapping[int, object]) -> frozenset[int]:
        """Return the ids of the variables of ``among``; those must be there before the formula is made."""
        if isinstance(formula, bool):
            return frozenset()
        context = formula.ctx.ref()
        top, found = formula.as_ast(), self._found
        key = z3.Z3_get_ast_id(context, top)
        if key in found:
            return found[key]
        self._alive.append(formula)
        pending = [(top, key)]
        while pending:  # parts are looked at as z3 has them: wrapped, each would cost ten times as much
            one, identity = pending[-1]
            if identity in found:
                pending.pop()
                continue
            count = z3.Z3_get_app_num_args(context, one) if _is_made(context, one) else 0
            below = [z3.Z3_get_app_arg(context, one, place) for place in range(count)]
            keys = [z3.Z3_get_ast_id(context, part) for part in below]
            missing = [pair for pair in zip(below, keys, strict=True) if pair[1] not in found]
            if missing:
                pending.extend(missing)
                continue
            mentioned = frozenset().union(*(found[part] for part in keys))
            found[identity] = mentioned | {identity} if not below and identity in among else mentioned
            pending.pop()
        return found[key]


def _is_made(context: Any, ast: Any) -> bool:  # noqa: ANN401 - z3's own
    """Say whether something is made of parts, and not a number."""
    return bool(z3.Z3_get_ast_kind(context, ast) == z3.Z3_APP_AST)


def _folded(formula: Formula) -> Formula:
    if z3.is_true(formula):
        return True
    return False if z3.is_false(formula) else formula


# --- asking -----------------------------------------------------------------------------------


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

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - z3's own
        """Keep z3's model."""
        self._model = model

    def truth(self, formula: Formula) -> bool:
        """Return the truth value of a formula."""
        if isinstance(formula, bool):
            return formula
        return bool(z3.is_true(self._model.eval(formula, model_completion=True)))

    def number(self, number: Number) -> Fraction:
        """Return the value of a number."""
        if isinstance(number, int | Fraction):
            return Fraction(number)
        found = self._model.eval(number, model_completion=True)
        if z3.is_algebraic_value(found):
            found = found.approx(30)
        return literal(found) or Fraction(0)


def _newer(context: Any) -> Any:  # noqa: ANN401 - z3's own
    """Return a solver with z3's newer arithmetic: it knows products, and answers where the older does not."""
    solver = z3.Solver(ctx=context)
    solver.set("random_seed", 0)
    return solver


def _simplex(context: Any) -> Any:  # noqa: ANN401 - z3's own
    """Return one with the older arithmetic: quicker at most questions, so it is asked first."""
    solver = z3.SimpleSolver(ctx=context)
    solver.set("random_seed", 0)
    solver.set("arith.solver", 2)
    solver.set("arith.branch_cut_ratio", 1000)  # cuts have ever longer coefficients
    return solver


def _add(solver: Any, formula: Formula) -> None:  # noqa: ANN401 - z3's own
    """Assert a formula as ``solver.add`` does, without asking for its sort: they are many."""
    assert formula.ctx is solver.ctx, "of another proof: z3 would write over its memory"
    z3.Z3_solver_assert(formula.ctx_ref(), solver.solver, formula.as_ast())


def _checked(
    solver: Any,  # noqa: ANN401 - z3's own
    budget: Budget,
    share: float,
    names: Sequence[Formula],
) -> Any:  # noqa: ANN401 - z3's own
    """Ask one solver for a share of a question's work, and within the budget."""
    solver.set("rlimit", round(share * budget.question_limit))
    left = budget.seconds_left()
    if left < _LONGEST_SECONDS:
        solver.set("timeout", max(1, round(left * 1000)))
    try:
        return solver.check(*names)
    except z3.Z3Exception:  # out of memory
        return z3.unknown


_SHARES: Final = (0.02, 0.04, 0.2, 1.0)
"""Of a question's limit: each solver is asked for so little work, in turn, before either gets more."""
_BRIEFLY: Final = _SHARES[:2]
_LONGEST_SECONDS: Final = 3600.0


class Solver:
    """Asks whether formulas can be true together with what was asserted before."""

    def __init__(self, budget: Budget, asserted: Iterable[Formula] = ()) -> None:
        """Begin with what always holds."""
        self.budget = budget
        self._asserted: list[list[Formula]] = [[]]  # by level, for the one that most questions never need
        self._context = z3.main_ctx()  # what comes later goes there, too, whatever was begun anew meanwhile
        self._solvers = [_simplex(self._context)]
        self._answering = self._solvers[0]
        self._named: list[dict[int, tuple[Formula, Formula]]] = [{}]  # by level: formula's id, its name
        self._core: list[Formula] = []
        self.add(*asserted)

    def add(self, *formulas: Formula) -> None:
        """Assert."""
        for formula in formulas:
            if formula is not True:
                self._assert(z3.BoolVal(formula, self._context) if isinstance(formula, bool) else formula)

    def _assert(self, formula: Formula) -> None:
        self._asserted[-1].append(formula)
        for solver in self._solvers:
            _add(solver, formula)

    def _both(self) -> Iterator[Any]:
        """Yield the solvers; the second is made when the first one has not answered for the first time."""
        if len(self._solvers) == 1:
            yield self._solvers[0]
            self._solvers.append(self._second())
            yield self._solvers[1]
        else:
            yield from reversed(self._solvers) if self.budget.newer_first else self._solvers

    def _second(self) -> Any:  # noqa: ANN401 - z3's own
        other = _newer(self._context)
        for number, formulas in enumerate(self._asserted):
            if number:
                other.push()
            for formula in formulas:
                _add(other, formula)
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
        named = {}
        for formula in formulas:
            if formula is not True:
                name = self._name(formula)
                named[name.get_id()] = (name, formula)
        self.budget.questions += 1
        names = [name for name, _ in named.values()]
        found = z3.unknown
        for share, solver in ((share, solver) for share in shares for solver in self._both()):
            self._answering = solver
            found = _checked(solver, self.budget, share, names)
            if found != z3.unknown or self.budget.over():
                break
        if found != z3.unknown:
            self.budget.newer_first = self._answering is not self._solvers[0]
        if found == z3.sat:
            return Answer.POSSIBLE
        if found == z3.unsat:
            self._core = [named[name.get_id()][1] for name in self._answering.unsat_core()]
            return Answer.IMPOSSIBLE
        return Answer.UNDECIDED

    def _name(self, formula: Formula) -> Formula:
        """Return a truth value that implies the formula: only such can be asked about."""
        identity = formula.get_id()
        for level in self._named:
            if identity in level:
                return level[identity][1]
        name = formula
        if not (z3.is_const(formula) or (z3.is_not(formula) and z3.is_const(formula.arg(0)))):
            name = z3.FreshBool("asked", self._context)
            self._assert(z3.Implies(name, formula))
        self._named[-1][identity] = (formula, name)  # keeps the formula, and so its id, alive
        return name

    def model(self) -> Model:
        """Return the values found by the last question, which was POSSIBLE."""
        return Model(self._answering.model())

    def core(self) -> list[Formula]:
        """Return formulas of the last question that were impossible together: not always the fewest."""
        return self._core

    def least_core(self, formulas: Sequence[Formula], most: int | None = None) -> list[Formula] | None:
        """Return formulas, none of which can be left out, that are impossible together; None if undecided.

        Of formulas that could be left out, later ones go first.  One of which it is not soon clear stays.
        With ``most`` it is asked briefly; if more than so many are left by the first question, they are
        what is returned.
        """
        if self.ask(*formulas, briefly=most is not None) is not Answer.IMPOSSIBLE:
            return None
        found = {_identity(formula) for formula in self._core}
        kept = [formula for formula in formulas if _identity(formula) in found]
        if most is not None and len(kept) > most:
            return kept
        for formula in reversed(list(kept)):
            rest = [other for other in kept if other is not formula]
            if len(rest) < len(kept) and self._ask(rest, _SHARES[:1]) is Answer.IMPOSSIBLE:
                found = {_identity(one) for one in self._core}
                kept = [one for one in rest if _identity(one) in found]
        return kept


def _identity(formula: Formula) -> Any:  # noqa: ANN401 - an id of z3's, or a truth value
    return formula if isinstance(formula, bool) else formula.get_id()


def least(
    budget: Budget, asserted: Sequence[Formula], costs: Sequence[Number]
) -> tuple[Answer, Model | None]:
    """Find values with the least costs, the first cost first."""
    optimize = z3.Optimize()
    optimize.set("rlimit", budget.question_limit)
    optimize.set("priority", "lex")
    optimize.add([formula for formula in asserted if formula is not True])
    for cost in costs:
        optimize.minimize(cost)
    if budget.over():
        budget.undecided += 1
        return Answer.UNDECIDED, None
    budget.questions += 1
    try:
        found = optimize.check()
    except z3.Z3Exception:
        found = z3.unknown
    if found == z3.sat:
        return Answer.POSSIBLE, Model(optimize.model())
    if found == z3.unsat:
        return Answer.IMPOSSIBLE, None
    budget.undecided += 1
    return Answer.UNDECIDED, None
