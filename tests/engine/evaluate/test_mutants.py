"""The comparison with the reference can fail: it kills every mutant of what decides, or the mutant is equal.

Mutants are made of the source that the compiled evaluator generates for rich policies, of what that source
calls, and of the reference evaluator's logic.  The normal run takes a fixed sample, the long one all.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import CodeType, ModuleType
from typing import Any

import pytest

from engine.codes import Action, Truth
from engine.evaluate import compiled, reference
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import NOT_TABLE, ReferenceEvaluator
from engine.evaluate.verdict import Evaluator
from engine.lowered import LoweredPolicy, Selection
from engine.units import Measure
from tests.engine.evaluate.comparing import LONG, Answers, answers
from tests.engine.evaluate.mutation import Point, describe, points, proven_equal
from tests.engine.evaluate.rich import rich_cases, rich_policy
from tests.evidence import Evidence
from tests.strategies import Case, Shape, random_case, random_policy

SEED = 20_251_118
RANDOM_POLICIES, RANDOM_CASES, MODULE_CASES = 60, 60, 2_000
FIRST_CASES, ALL_CASES = 1_000, 20_000
EVERY = 1 if LONG else 60
RUNTIME_EVERY, LOGIC_EVERY = (1, 1) if LONG else (10, 32)


def _without_trims(policy: LoweredPolicy) -> LoweredPolicy:
    return replace(policy, rules=tuple(replace(rule, size=None) for rule in policy.rules))


POLICIES: dict[str, Callable[[], LoweredPolicy]] = {
    "exits first": lambda: rich_policy(Selection.EXITS_FIRST),
    "exits first, entries above": lambda: rich_policy(Selection.EXITS_FIRST, acting_first=True),
    "exits first, no trims": lambda: _without_trims(rich_policy(Selection.EXITS_FIRST)),
    "by priority": lambda: rich_policy(Selection.BY_PRIORITY),
    "by priority, entries above": lambda: rich_policy(Selection.BY_PRIORITY, acting_first=True),
}


class Subject:
    """A policy, and cases with the reference's answers: as many as it takes to kill a mutant."""

    def __init__(self, policy: LoweredPolicy, cases: Iterator[Case]) -> None:
        """Ask nothing yet."""
        self.policy = policy
        self._reference = ReferenceEvaluator(policy)
        self._cases = cases
        self._answered: list[tuple[Case, Answers]] = []

    def _expected(self, count: int) -> Iterator[tuple[Case, Answers]]:
        yield from list(self._answered)
        for case in itertools.islice(self._cases, max(0, count - len(self._answered))):
            self._answered.append((case, answers(self._reference, case)))
            yield self._answered[-1]

    def kills(self, evaluator: Evaluator, count: int = ALL_CASES) -> bool:
        """Say whether some answer to ``count`` cases differs; the case that told moves to the front."""
        for index, (case, expected) in enumerate(self._expected(count)):
            try:
                same = answers(evaluator, case) == expected
            except Exception:
                same = False  # an evaluator that fails is noticed, too
            if not same:
                self._answered.insert(0, self._answered.pop(index))
                return True
        return False


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    """Return the rich policies with their cases."""
    made = {name: make() for name, make in POLICIES.items()}
    return {name: Subject(policy, rich_cases(policy, random.Random(SEED))) for name, policy in made.items()}


@pytest.fixture(scope="module")
def all_subjects(subjects: dict[str, Subject]) -> list[Subject]:
    """Return random policies, few cases of each, and the rich ones."""
    rng = random.Random(SEED)
    made = [random_policy(rng, Shape(coherent=number % 2 == 0)) for number in range(RANDOM_POLICIES)]
    few = [Subject(policy, iter([random_case(policy, rng) for _ in range(RANDOM_CASES)])) for policy in made]
    return [*few, *subjects.values()]


def _summary(kind: str, made: int, proven: int, reasoned: int) -> str:
    return (
        f"{made:,} mutants of {kind}: {made - proven - reasoned:,} killed, {proven} proven equal, "
        f"{reasoned} equal for a stated reason"
    )


# --- generated source ---------------------------------------------------------------------------


def _default_mask_of_a_sell(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """The masks of tried entries speak of buys: the bit of another rule means nothing."""
    return (
        any(point.node is default for default in function.args.defaults[1:])
        and point.new == 1
        and policy.rules[0].action is not Action.BUY
    )


def _slice_written_anyway(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """A slice ends where its list ends, and what a slice wrongly takes the next one writes again."""
    slices = [node for node in ast.walk(function) if isinstance(node, ast.Slice)]
    starts = {node.lower.value for node in slices if isinstance(node.lower, ast.Constant)}
    return any(point.node is each.upper and point.new - 1 in {*starts, len(policy.slots)} for each in slices)


def _shifted(function: ast.FunctionDef, point: Point) -> int:
    """Return the bits in which a mask that a rule's bit is asked of was changed."""
    shifts = (
        node for node in ast.walk(function) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.RShift)
    )
    if isinstance(point.node, ast.Constant) and any(point.node is each.left for each in shifts):
        return int(ast.literal_eval(point.node)) ^ int(point.new)
    return 0


def _first_stands_and_wins(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """No exit leaves less than a first one that sells all: if it stands it wins and never concurs."""
    first = policy.rules[0]
    return _shifted(function, point) == 1 and first.action is Action.SELL and first.size is None


def _asked_of_sells_only(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """Which gates stop a rule because it is protective is asked of sells only."""
    changed = _shifted(function, point)
    choices = (node for node in ast.walk(function) if isinstance(node, ast.IfExp))
    return changed > 0 and any(
        isinstance(each.body, ast.Name)
        and each.body.id == "h"
        and any(part is point.node for part in ast.walk(each.test))
        and not any(
            changed >> index & 1 and rule.action is Action.SELL for index, rule in enumerate(policy.rules)
        )
        for each in choices
    )


def _never_stopped(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """Whether Unknown gates alone stop a rule matters for sells, and for buys with a gate of their own.

    No gate stops a hold, and a gate of all buys that is not false leaves no entry to withhold.
    """
    own = {gate.only_rule for gate in policy.gates}
    stopped = {
        index
        for index, rule in enumerate(policy.rules)
        if rule.action is Action.SELL or (rule.action is Action.BUY and index in own)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AugAssign):
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            if (
                isinstance(target, ast.Name)
                and target.id == "i"
                and isinstance(point.node, ast.Constant)
                and any(part is point.node for part in ast.walk(node))
            ):
                changed = int(ast.literal_eval(point.node)) ^ int(point.new)
                return not any(changed >> index & 1 for index in stopped)
    return False


def _level_of_cents(function: ast.FunctionDef, point: Point, policy: LoweredPolicy) -> bool:
    """The smaller of a size in money and ``position_value`` is on the grid of cents already."""
    if not function.name.startswith("level"):
        return False
    rule = policy.rules[int(function.name.removeprefix("level"))]
    changed = (
        point.node if isinstance(point.node, ast.Constant) else getattr(point.node, "body", [None] * 9)[-2]
    )
    return rule.size_measure is Measure.MONEY and any(
        changed is part
        for statement in function.body
        if "on_grid" in ast.unparse(statement)
        for part in ast.walk(statement)
    )


# Why a surviving mutant of generated source is equal, where no exhaustion shows it.
EQUAL_GENERATED = (
    _default_mask_of_a_sell,
    _slice_written_anyway,
    _first_stands_and_wins,
    _asked_of_sells_only,
    _never_stopped,
    _level_of_cents,
)


class _Generated:
    """The functions of one compiled policy, each of which can be exchanged."""

    def __init__(self, policy: LoweredPolicy) -> None:
        self._original = CompiledEvaluator(policy)
        tree = ast.parse(self._original.source)
        self.functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        self._codes = [self._compiled(function) for function in self.functions]

    @staticmethod
    def _compiled(function: ast.FunctionDef) -> CodeType:
        return compile(ast.Module([function], []), "<mutant>", "exec")

    def mutant(self, function: ast.FunctionDef) -> CompiledEvaluator:
        """Return the evaluator with the function as it is now."""
        namespace = dict(self._original.namespace)
        for original, code in zip(self.functions, self._codes, strict=True):
            exec(self._compiled(function) if original is function else code, namespace)
        evaluator = CompiledEvaluator.__new__(CompiledEvaluator)
        evaluator.policy = self._original.policy
        evaluator._bind(namespace)
        return evaluator


@pytest.mark.parametrize("name", POLICIES)
def test_mutants_of_generated_source(name: str, subjects: dict[str, Subject], evidence: Evidence) -> None:
    """Every mutant of the generated source is killed or shown equal."""
    subject = subjects[name]
    generated = _Generated(subject.policy)
    every = ((function, point) for function in generated.functions for point in points(function))
    made = proven = reasoned = 0
    survivors: list[str] = []
    # Another part of the sample for each policy.
    for function, point in itertools.islice(every, list(POLICIES).index(name), None, EVERY):
        made += 1
        old = point.apply()
        try:
            mutant = generated.mutant(function)
            killed = subject.kills(mutant, FIRST_CASES)
        finally:
            point.undo(old)
        if killed:
            continue
        if proven_equal(function, point):
            proven += 1
        elif not subject.kills(mutant):
            if any(reason(function, point, subject.policy) for reason in EQUAL_GENERATED):
                reasoned += 1
            else:
                survivors.append(describe(function, point))
    evidence(_summary(f"the source for '{name}'", made, proven, reasoned))
    assert survivors == [], "\n".join(survivors)


# --- what it calls, and the reference's logic -----------------------------------------------------

RUNTIME = ("_finite", "_on_grid", "_Cache", "_members", "_truths", "_quiet", "_tally")
LOGIC = (
    "evaluate_term",
    "arithmetic",
    "operand_value",
    "conjunction",
    "disjunction",
    "write_signal",
    "tally",
    "ReferenceEvaluator",
    "_on_grid",
    "_settle",
)
_EXACT = "the quick and the exact rounding agree where either is used (test_rounding_is_quantising)"
_CACHE = "a cache: without it, or with another bound, only slower"
_NOT_ASKED = "an evaluator is asked with all arguments, this one by itself"
_HAS_GATE = "every policy has the gate"
_ON_GRID = "facts and constants are on their grid"
_ANY_NEGATIVE = "asked only whether it is negative"

# Why a surviving mutant is equal, by parts of its description: the function and the change, the statement.
EQUAL_RUNTIME = {
    ("_on_grid: dropped: if -_ROUND_BELOW", ""): _EXACT,
    ("_on_grid: dropped: return (scaled", ""): _EXACT,
    ("_on_grid: Lt -> LtE", "if -_ROUND_BELOW"): _EXACT,
    ("_on_grid: USub dropped", "if -_ROUND_BELOW"): _EXACT,
    ("__missing__: ", "if len(self) >= _CACHE_ENTRIES"): _CACHE,
    ("__missing__: dropped: if len(self)", ""): _CACHE,
    ("__missing__: dropped: self.clear()", ""): _CACHE,
}
EQUAL_LOGIC = {
    ("evaluate_term: True -> False", "for threshold, value in zip"): "``strict`` only asserts",
    ("arithmetic: dropped: result != result", ""): "min and max keep a first NaN",
    ("operand_value: dropped: if isinstance(term, FactTerm", ""): _ON_GRID,
    ("operand_value: dropped: return value", ""): _ON_GRID,
    ("_place: dropped: if isinstance(term, FactTerm)", ""): _ON_GRID,
    ("_place: dropped: return term.slot", ""): _ON_GRID,
    ("__init__: ", "self._would_exit_gate = next"): _HAS_GATE,
    ("write_signal: True -> False", "for slot, value in zip"): "``strict`` only asserts",
    ("choose: 0 ", "exits = self._standing("): "the masks of tried entries speak of buys",
    ("evaluate: ", "def evaluate("): _NOT_ASKED,
    ("choose: ", "def choose("): _NOT_ASKED,
    ("_pass: 0 - 1", "truths[index] = NOT_TABLE"): "the only child",
    ("_veto: 1 + 1", "return -1"): _ANY_NEGATIVE,
    ("_withheld: 1 + 1", "return -1"): _ANY_NEGATIVE,
    ("_withheld: GtE -> Gt", ""): "an entry that no gate vetoes is neither Unknown nor stopped",
    ("_withheld: dropped: rule.action is not Action.HOLD", ""): "no gate stops a hold",
}


def _definitions(module: ModuleType, names: tuple[str, ...]) -> tuple[ast.Module, list[ast.stmt]]:
    tree = ast.parse(inspect.getsource(module))
    found: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    ]
    assert len(found) == len(names)
    return tree, found


def _module(tree: ast.Module, like: ModuleType) -> ModuleType:
    spec = importlib.util.spec_from_loader("mutant", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Classes look their module up by name while they are made.
    sys.modules["mutant"] = module
    try:
        exec(compile(tree, f"<mutant of {like.__name__}>", "exec"), module.__dict__)
    finally:
        del sys.modules["mutant"]
    return module


def _functions(found: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for node in found:
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef):
                yield part


def _check_module(
    module: ModuleType,
    names: tuple[str, ...],
    evaluator: str,
    equal: dict[tuple[str, str], str],
    subjects: list[Subject],
    sample: slice,
) -> tuple[str, list[str]]:
    tree, found = _definitions(module, names)
    made = reasoned = 0
    survivors: list[str] = []
    every = [(function, point) for function in _functions(found) for point in points(function)]
    for function, point in every[sample]:
        made += 1
        old = point.apply()
        try:
            killed = _kills(_module(tree, module), evaluator, subjects)
        finally:
            point.undo(old)
        if not killed:
            what = describe(function, point)
            change, _, statement = what.partition(", in: ")
            if any(change.startswith(start) and part in statement for start, part in equal):
                reasoned += 1
            else:
                survivors.append(what)
    return _summary(f"{module.__name__}", made, 0, reasoned), survivors


def _kills(mutant: ModuleType, evaluator: str, subjects: list[Subject]) -> bool:
    try:
        return any(
            subject.kills(getattr(mutant, evaluator)(subject.policy), MODULE_CASES) for subject in subjects
        )
    except Exception:
        return True


def test_mutants_of_what_generated_source_calls(all_subjects: list[Subject], evidence: Evidence) -> None:
    """Every mutant of the tables and functions behind the generated source is killed or equal."""
    line, survivors = _check_module(
        compiled,
        RUNTIME,
        "CompiledEvaluator",
        EQUAL_RUNTIME,
        all_subjects,
        slice(0, None, RUNTIME_EVERY),
    )
    evidence(line)
    assert survivors == [], "\n".join(survivors)


def test_mutants_of_the_reference(all_subjects: list[Subject], evidence: Evidence) -> None:
    """Every mutant of the reference evaluator's logic is told from the reference itself."""
    line, survivors = _check_module(
        reference,
        LOGIC,
        "ReferenceEvaluator",
        EQUAL_LOGIC,
        all_subjects,
        slice(0, None, LOGIC_EVERY),
    )
    evidence(line)
    assert survivors == [], "\n".join(survivors)


# --- Kleene's tables ----------------------------------------------------------------------------

WRONG_ENTRIES = [
    (name, operands, wrong)
    for name in ("conjunction", "disjunction")
    for operands in itertools.product(Truth, repeat=2)
    for wrong in Truth
    if wrong != getattr(reference, name)((0, 1), operands)
] + [("NOT_TABLE", (operand,), wrong) for operand in Truth for wrong in Truth if wrong != NOT_TABLE[operand]]


def _wrong_binary(right: Callable[..., int], operands: tuple[Truth, ...], wrong: Truth) -> Callable[..., int]:
    def fold(nodes: tuple[int, ...], truths: list[int]) -> int:
        if not nodes:
            return right((), truths)
        result, *others = (truths[node] for node in nodes)
        for other in others:
            result = int(wrong) if (result, other) == operands else right((0, 1), [result, other])
        return result

    return fold


@pytest.mark.parametrize(
    ("name", "operands", "wrong"),
    WRONG_ENTRIES,
    ids=[
        f"{name}-{'-'.join(o.name for o in operands)}-{wrong.name}" for name, operands, wrong in WRONG_ENTRIES
    ],
)
def test_each_wrong_entry_of_kleenes_tables_is_killed(
    name: str,
    operands: tuple[Truth, ...],
    wrong: Truth,
    subjects: dict[str, Subject],
) -> None:
    """Nine entries of ``and``, nine of ``or``, three of ``not``: any other value is noticed."""
    right = getattr(reference, name)
    if name == "NOT_TABLE":
        table: Any = tuple(int(wrong) if index == operands[0] else truth for index, truth in enumerate(right))
    else:
        table = _wrong_binary(right, operands, wrong)
    # A module of its own: the reference goes on answering the cases nobody has asked yet.
    mutant = _module(_definitions(reference, LOGIC)[0], reference)
    setattr(mutant, name, table)
    assert any(subject.kills(mutant.ReferenceEvaluator(subject.policy)) for subject in subjects.values())
