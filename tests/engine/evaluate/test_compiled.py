"""What the compiled evaluator adds to the meaning: its source, its size, its rounding and its caches."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import Action, Truth
from engine.errors import NOWHERE
from engine.evaluate import compiled
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    Node,
    NodeKind,
    Operator,
    Term,
)
from engine.units import Measure, quantise
from tests.bench.policies import market_facts, twelve_rules
from tests.engine.evaluate.comparing import answers
from tests.engine.evaluate.small import fact, policy, positive, rule
from tests.strategies import Case, lowered_policies, random_case

ALTERNATELY = (NodeKind.ALL, NodeKind.ANY)


def _agrees(lowered: LoweredPolicy, cases: int = 40) -> CompiledEvaluator:
    rng = random.Random(1)
    evaluator, reference = CompiledEvaluator(lowered), ReferenceEvaluator(lowered)
    for number in range(cases):
        case = Case(market_facts(rng)) if number % 2 else random_case(lowered, rng)
        assert answers(evaluator, case) == answers(reference, case)
    return evaluator


def _with_conditions(tops: list[int], nodes: list[Node]) -> LoweredPolicy:
    base = twelve_rules()
    actions = (Action.SELL, Action.BUY, Action.HOLD)
    rules = tuple(
        replace(base.rules[9], name=f"rule-{index}", when=top, when_entry=top, action=actions[index % 3])
        for index, top in enumerate(tops)
    )
    return replace(base, nodes=tuple(nodes), rules=rules)


def _leaves(nodes: list[Node]) -> list[int]:
    return [index for index, node in enumerate(nodes) if node.kind is NodeKind.ATOM]


def test_three_hundred_rules_of_ten_comparisons() -> None:
    """A large policy compiles and agrees."""
    rng = random.Random(2)
    nodes = list(twelve_rules().nodes)
    leaves = _leaves(nodes)
    tops = []
    for number in range(300):
        nodes.append(Node(ALTERNATELY[number % 2], children=tuple(rng.choice(leaves) for _ in range(10))))
        tops.append(len(nodes) - 1)
    _agrees(_with_conditions(tops, nodes))


@pytest.mark.parametrize("depth", [64, 400])
@pytest.mark.parametrize(
    "kind",
    [lambda level: ALTERNATELY[level % 2], lambda level: (*ALTERNATELY, NodeKind.NOT)[level % 3]],
    ids=["and-or", "and-or-not"],
)
def test_deep_conditions(depth: int, kind: Callable[[int], NodeKind]) -> None:
    """Nesting beyond the parser's limit compiles and agrees."""
    rng = random.Random(3)
    nodes = list(twelve_rules().nodes)
    leaves = _leaves(nodes)
    tops = []
    for _ in range(6):
        top = rng.choice(leaves)
        for level in range(depth):
            chosen = kind(level)
            children = (top,) if chosen is NodeKind.NOT else (rng.choice(leaves), top)
            nodes.append(Node(chosen, children=children))
            top = len(nodes) - 1
        tops.append(top)
    _agrees(_with_conditions(tops, nodes))


def test_shared_conditions_do_not_multiply() -> None:
    """A condition that reads the one below it twice, 64 times over, does not double the source each time."""
    nodes = list(twelve_rules().nodes)
    leaves = _leaves(nodes)
    top = leaves[0]
    for level in range(64):
        nodes.append(Node(NodeKind.NOT, children=(top,)))
        nodes.append(
            Node(ALTERNATELY[level % 2], children=(top, len(nodes) - 1, leaves[level % len(leaves)]))
        )
        top = len(nodes) - 1
    assert len(_agrees(_with_conditions([top, top], nodes)).source) < 200_000


@pytest.mark.parametrize("constant", [False, True], ids=["facts", "constants"])
def test_deep_arithmetic(constant: bool) -> None:
    """Arithmetic nested 200 deep compiles and agrees, as operand and as size."""
    rng = random.Random(4)
    base = twelve_rules()
    term: Term = ConstantTerm(2.0)
    operators = (Operator.ADD, Operator.DIVIDE, Operator.MINIMUM, Operator.SUBTRACT, Operator.MAXIMUM)
    for level in range(200):
        other: Term = ConstantTerm(rng.randrange(1, 4)) if constant else FactTerm(rng.randrange(37))
        term = ArithmeticTerm(
            operators[level % len(operators)], (term, other) if level % 2 else (other, term)
        )
    atom = Atom(term, Comparison.GREATER, ConstantTerm(1.0), Measure.PRICE, 100, NOWHERE, "")
    nodes = (*base.nodes, Node(NodeKind.ATOM, len(base.atoms)))
    rules = tuple(
        replace(each, when=len(base.nodes), when_entry=len(base.nodes), size=term) for each in base.rules[:2]
    )
    _agrees(replace(base, atoms=(*base.atoms, atom), nodes=nodes, rules=rules))


@given(lowered_policies())
def test_no_text_of_a_policy_reaches_the_source(lowered: LoweredPolicy) -> None:
    """The source of a policy with hostile names and texts is the same as without, and holds no text."""
    hostile = '"); __import__("os").abort()  #'
    renamed = replace(
        lowered,
        name=hostile,
        version=hostile,
        asset_class=hostile,
        atoms=tuple(replace(atom, text=hostile) for atom in lowered.atoms),
        rules=tuple(replace(each, name=hostile, because=(hostile,)) for each in lowered.rules),
        signals=tuple(replace(signal, name=hostile) for signal in lowered.signals),
        limits=tuple(replace(limit, name=hostile) for limit in lowered.limits),
    )
    source = CompiledEvaluator(renamed).source
    assert source == CompiledEvaluator(lowered).source
    assert not re.search(r"""["'\\;@]""", source)


def test_rules_that_share_a_condition_are_skipped_together() -> None:
    """``held`` is asked once for all exits."""
    source = CompiledEvaluator(twelve_rules()).source
    verdict = source[source.index("def verdict") : source.index("def standing_exit")]
    # Once for the eight exits, and once in each of the two entries that want a flat symbol.
    assert verdict.count("f4 < f5") == 1 + 2


def test_what_is_never_true_leaves_no_code() -> None:
    """Constant conditions are decided when the policy is compiled."""
    lowered = policy(
        slots=[fact("x")],
        atoms=[positive(3)],
        nodes=[
            Node(NodeKind.CONSTANT, int(Truth.FALSE)),
            Node(NodeKind.ATOM, 0),
            Node(NodeKind.ALL, children=(0, 1)),
        ],
        rules=[rule(Action.SELL, 2)],
    )
    source = CompiledEvaluator(lowered).source
    assert "f3 " not in source.replace("f3 = ", "")
    assert "m |=" not in source


_BORDERS = tuple(
    sign * base * (1 + factor) + offset
    for base in (2.0**51, 2.0**52, 2.0**53)
    for sign in (-1, 1)
    for factor in (0.0, 1e-15, -1e-15, 1e-9, -1e-9)
    for offset in (0.0, 0.5, 1.5)
)


@given(
    st.one_of(
        st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(_BORDERS), st.floats(-1e6, 1e6)
    ),
    st.sampled_from((1, 10, 100, 10**4, 10**6, 10**8, 10**9)),
)
def test_rounding_is_quantising(value: float, steps: int) -> None:
    """The quick rounding gives the same bits as ``quantise``, and NaN for what is not finite."""
    for number in (value, value / steps, value / steps / 2):
        expected = quantise(number, steps) if abs(number) < float("inf") else float("nan")
        assert compiled._on_grid(number, float(steps)).hex() == expected.hex()


def test_caches_are_bounded() -> None:
    """A cache that is full begins anew, and forgets nothing but speed."""
    cache = compiled._Cache(compiled._members)
    for key in range(3 * compiled._CACHE_ENTRIES):
        assert cache[key] == tuple(bit for bit in range(20) if key >> bit & 1)
        assert len(cache) <= compiled._CACHE_ENTRIES
