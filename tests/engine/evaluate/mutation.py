"""Single-point mutants of Python source, and a proof that some of them are equal.

A mutant changes one node of the syntax tree: a comparison to its neighbour or its contrary, an operator
to another, a constant by one, a branch's condition to its contrary; or it drops an operand, a statement
or a branch.
"""

from __future__ import annotations

import ast
import copy
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_DROPPED = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.For, ast.If, ast.Expr, ast.Continue)


@dataclass(frozen=True)
class Point:
    """One place and one change: set ``field`` (at ``position`` of a list) of a node to ``new``."""

    node: ast.AST
    field: str
    position: int | None
    new: Any
    what: str

    def apply(self) -> Any:  # noqa: ANN401 - a field of a syntax tree holds anything
        """Change the tree; return what was there."""
        if self.position is None:
            old = getattr(self.node, self.field)
            setattr(self.node, self.field, self.new)
            return old
        place = getattr(self.node, self.field)
        old = place[self.position]
        place[self.position] = self.new
        return old

    def undo(self, old: Any) -> None:  # noqa: ANN401 - as above
        """Put back what ``apply`` returned."""
        if self.position is None:
            setattr(self.node, self.field, old)
        else:
            getattr(self.node, self.field)[self.position] = old


def _of(node: ast.AST) -> Iterator[Point]:
    """Yield the changes of one node."""

    def point(
        field: str,
        new: Any,  # noqa: ANN401 - as above
        what: str,
        position: int | None = None,
    ) -> Point:
        if isinstance(new, ast.AST):
            new = ast.fix_missing_locations(ast.copy_location(new, node))
        return Point(node, field, position, new, what)

    match node:
        case ast.Compare():
            for position, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    what = f"{type(operator).__name__} -> {other.__name__}"
                    yield point("ops", other(), what, position)
        case ast.BoolOp():
            other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield point("op", other_op, f"{type(node.op).__name__} -> {type(other_op).__name__}")
        case ast.BinOp() | ast.AugAssign():
            swapped = _OPERATORS[type(node.op)]
            yield point("op", swapped(), f"{type(node.op).__name__} -> {swapped.__name__}")
        case ast.Constant(value=bool() as flag):
            yield point("value", not flag, f"{flag} -> {not flag}")
        case ast.Constant(value=int() | float() as value):
            yield point("value", value + 1, f"{value} + 1")
            yield point("value", value - 1, f"{value} - 1")
        case ast.If() | ast.IfExp():
            yield point("test", ast.UnaryOp(ast.Not(), node.test), "negated")
            if isinstance(node, ast.If) and node.orelse:
                yield point("orelse", [], "else dropped")
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            for position, statement in enumerate(statements):
                if isinstance(statement, _DROPPED) and not _is_docstring(statement):
                    yield point(field, ast.Pass(), f"dropped: {_short(statement)}", position)
    for field, value in ast.iter_fields(node):
        children: list[tuple[int | None, Any]] = [(None, value)]
        if isinstance(value, list):
            children = [*enumerate(value)]
        for place, child in children:
            if isinstance(child, ast.UnaryOp):
                yield point(field, child.operand, f"{type(child.op).__name__} dropped", place)
            if isinstance(child, ast.BoolOp):
                for dropped in child.values:
                    rest = [operand for operand in child.values if operand is not dropped]
                    new = rest[0] if len(rest) == 1 else ast.BoolOp(child.op, rest)
                    yield point(field, new, f"dropped: {_short(dropped)}", place)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:60]


def points(root: ast.AST) -> list[Point]:
    """Return every single-point change below ``root``, in the order of the source."""
    return [change for node in ast.walk(root) if not isinstance(node, ast.arguments) for change in _of(node)]


def describe(function: ast.FunctionDef, point: Point) -> str:
    """Return what is changed, and the statement it is in."""
    around = _enclosing(function, point.node)
    head = f"def {function.name}({ast.unparse(function.args)})"
    return f"{function.name}: {point.what}, in: {_short(around[0]) if around else head}"


# --- proofs -------------------------------------------------------------------------------------

_FACT, _CELL, _OPERAND = (re.compile(pattern) for pattern in (r"[ftx]\d*", r"c\d+", r"q\d+"))
_FLAGS = frozenset("muijghpqbyzk")
_MOST_COMBINATIONS = 200_000


def _enclosing(function: ast.FunctionDef, node: ast.AST) -> list[ast.stmt]:
    """Return the statements around a node, from the innermost outwards."""
    path: list[ast.stmt] = []

    def visit(at: ast.AST, above: list[ast.stmt]) -> bool:
        here = [at, *above] if isinstance(at, ast.stmt) and at is not function else above
        if at is node:
            path.extend(here)
            return True
        return any(visit(child, here) for child in ast.iter_child_nodes(at))

    visit(function, [])
    return path


def proven_equal(function: ast.FunctionDef, change: Point) -> bool:
    """Say whether a statement around the change does the same whatever it reads.

    It is run, changed and unchanged, on every combination of its facts and computed operands, each below,
    at and above each constant of the statement, apart from each other, and NaN.  As it only compares and
    selects them, that covers all that can be: a proof by exhaustion.
    """
    return any(_same(statement, change) for statement in _enclosing(function, change.node))


class _Inputs(ast.NodeVisitor):
    """What a statement compares and sets; ``closed`` is false where it does more than that."""

    def __init__(self, changed: ast.AST) -> None:
        self._changed = changed
        self.given: set[str] = set()  # temporaries that are taken for facts
        self.facts: set[str] = set()
        self.cells: set[str] = set()
        self.flags: set[str] = set()
        self.compared: list[tuple[set[str], set[float]]] = []  # names with names, and with constants
        self.closed = True

    def visit_Call(self, node: ast.Call) -> None:
        """Accept the function of a computed operand, whose arguments do not matter, and quantising."""
        assert isinstance(node.func, ast.Name)
        if node.func.id == "on_grid":
            self.visit(node.args[0])
        elif not _OPERAND.fullmatch(node.func.id):
            self.closed = False

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Take a temporary for a fact: whatever it is set to, that is covered."""
        if node.target.id[0] == "t" and not any(part is self._changed for part in ast.walk(node.value)):
            self.given.add(node.target.id)
            self.visit(node.target)
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Sort the name into its kind."""
        if node.id in _FLAGS:
            self.flags.add(node.id)
        elif _CELL.fullmatch(node.id):
            self.cells.add(node.id)
        elif _FACT.fullmatch(node.id):
            self.facts.add(node.id)
        elif node.id not in ("nan", "inf"):
            self.closed = False

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Refuse arithmetic: it is more than a comparison."""
        self.closed = False

    def visit_Compare(self, node: ast.Compare) -> None:
        """Note what is compared with what."""
        before = self.facts, self.cells
        self.facts, self.cells = set(), set()
        self.generic_visit(node)
        names = self.facts | self.cells
        constants = {
            sign * part.value
            for part in ast.walk(node)
            if isinstance(part, ast.Constant) and isinstance(part.value, float)
            for sign in (-1.0, 1.0)
        }
        self.compared.append((names, constants))
        self.facts, self.cells = before[0] | self.facts, before[1] | self.cells

    def combinations(self) -> Iterator[dict[str, float]]:
        """Yield values for all names: every order among names compared, and with their constants."""
        groups: list[tuple[set[str], set[float]]] = []
        for names, constants in [*self.compared, *(({name}, set()) for name in self.facts | self.cells)]:
            joined = [group for group in groups if group[0] & names]
            groups = [group for group in groups if not group[0] & names]
            groups.append((names.union(*(g[0] for g in joined)), constants.union(*(g[1] for g in joined))))
        columns: list[list[dict[str, float]]] = []
        for names, constants in groups:
            values = {math.nan, *constants}
            for constant in constants or {0.0}:
                for step in range(1, len(names) + 1):
                    values.update((constant, constant - step / 16, constant + step / 16))
            ordered = sorted(names)
            columns.append(
                [dict(zip(ordered, row, strict=True)) for row in itertools.product(values, repeat=len(names))]
            )
        for rows in itertools.product(*columns):
            yield {name: value for row in rows for name, value in row.items()}

    def count(self) -> int:
        """Return how many combinations there are, at most."""
        return sum(1 for _ in itertools.islice(self.combinations(), _MOST_COMBINATIONS + 1))


class _Given(ast.NodeTransformer):
    """Reads temporaries that are given instead of setting them."""

    def __init__(self, given: set[str]) -> None:
        self._given = given

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.AST:
        """Replace the expression by its name."""
        if node.target.id in self._given:
            return ast.Name(node.target.id, ast.Load())
        return self.generic_visit(node)


def _same(statement: ast.stmt, change: Point) -> bool:
    inputs = _Inputs(change.node)
    inputs.visit(statement)
    old = change.apply()
    inputs.visit(statement)
    changed = _probe(statement, inputs) if inputs.closed else None
    change.undo(old)
    if changed is None or inputs.count() > _MOST_COMBINATIONS:
        return False
    probe = _probe(statement, inputs)
    cells = sorted(inputs.cells)
    return all(
        _outcome(probe, values, flags, known) == _outcome(changed, values, flags, known)
        for values in inputs.combinations()
        for flags in (0, -1)
        # Each computed operand was evaluated before, or not.
        for known in itertools.product((False, True), repeat=len(cells))
    )


def _probe(statement: ast.stmt, inputs: _Inputs) -> Callable[..., Any]:
    cells, flags = sorted(inputs.cells), sorted(inputs.flags)
    lines = [
        "def probe(_values, _flags, _known):",
        *(f"    {fact} = _values[{fact!r}]" for fact in sorted(inputs.facts)),
        *(f"    {flag} = _flags" for flag in flags),
        *(f"    {cell} = _values[{cell!r}] if _known[{index}] else None" for index, cell in enumerate(cells)),
        *(f"    q{cell[1:]} = lambda *_: _values[{cell!r}]" for cell in cells),
        "    pass",
        f"    return ({', '.join(flags)}{',' if flags else ''})",
    ]
    module = ast.parse("\n".join(lines))
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body[-2] = _Given(inputs.given).visit(copy.deepcopy(statement))
    for node in ast.walk(function.body[-2]):
        # The facts that only a computed operand reads are not given.
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and _OPERAND.fullmatch(node.func.id)
        ):
            node.args = []
    namespace: dict[str, Any] = {"nan": math.nan, "inf": math.inf, "on_grid": lambda value, _: value}
    exec(compile(ast.fix_missing_locations(module), "<probe>", "exec"), namespace)
    return namespace["probe"]  # type: ignore[no-any-return] # a function made here


def _outcome(probe: Callable[..., Any], values: dict[str, float], flags: int, known: tuple[bool, ...]) -> str:
    try:
        return repr(probe(values, flags, known))
    except Exception as problem:
        return type(problem).__name__
