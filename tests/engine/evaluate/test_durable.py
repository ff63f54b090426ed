"""durable-rules inside its envelope: equal to the reference evaluator, and loud where it fails."""

from __future__ import annotations

import itertools
import locale
import math
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Action, Disposition, Truth
from engine.errors import NOWHERE, ConfigurationError
from engine.evaluate import durable
from engine.evaluate.durable import DurableEvaluator, EngineFault, durable_available, name_hash, number_text
from engine.evaluate.normal_form import ALWAYS, NEVER, Leaf, normal_forms
from engine.evaluate.reference import ReferenceEvaluator
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    Node,
    NodeKind,
    Operator,
    OrderStyle,
    Selection,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.units import Measure
from tests.strategies import Shape, lowered_policies, random_case, random_policy, seeds

pytestmark = pytest.mark.skipif(
    not durable_available(), reason="durable-rules cannot be imported here (Python 3.13 and later)"
)

NAN = math.nan
LONG = settings().max_examples >= 1000
"""The profile ``long`` runs what takes minutes."""
_STYLE = OrderStyle(None, None, "gtc", False)


# --- small policies ---------------------------------------------------------------------------


def fact(name: str, origin: SlotOrigin = SlotOrigin.VOCABULARY) -> FactSlot:
    """A numeric fact on the grid of 0.01."""
    return FactSlot(name, Measure.NUMBER, 100, origin)


def atom(left: Term, comparison: Comparison, right: Term) -> Atom:
    """An atom on the grid of 0.01."""
    return Atom(left, comparison, right, Measure.NUMBER, 100, NOWHERE, "")


def positive(slot: int) -> Atom:
    """The slot is above 0: true at 1, false at 0, Unknown at NaN."""
    return atom(FactTerm(slot), Comparison.GREATER, ConstantTerm(0.0))


def rule(number: int, action: Action, when: int, protective: bool = False) -> LoweredRule:
    """A rule; its priority falls with its number."""
    size = ConstantTerm(100.0) if action is Action.BUY else None
    return LoweredRule(
        f"rule{number}", 1000 - number, action, protective, when, when, size, Measure.MONEY, False, 0.05,
        None, (), (), NOWHERE,
    )  # fmt: skip


def gate(vetoes: str, when: int, pass_if_unknown: bool = False) -> LoweredGate:
    """A gate over the actions it names."""
    return LoweredGate(
        "gate", False, "buy" in vetoes, "sell" in vetoes, "protective" in vetoes, when, when, pass_if_unknown,
        -1, NOWHERE,
    )  # fmt: skip


def policy(
    facts: int,
    atoms: list[Atom],
    nodes: list[Node],
    rules: list[LoweredRule],
    gates: list[LoweredGate] | None = None,
    signals: list[LoweredSignal] | None = None,
) -> LoweredPolicy:
    """A policy over numbered facts, signals behind them."""
    slots = [fact(f"fact{number}") for number in range(facts)]
    for signal in signals or []:
        slots += [fact(f"{signal.name}.{slot}", SlotOrigin.SIGNAL) for slot in signal.slots]
    return LoweredPolicy(
        "small", "1.0.0", "", Selection.EXITS_FIRST, "crypto", tuple(slots), tuple(atoms), tuple(nodes),
        tuple(signals or ()), tuple(rules), tuple(gates or ()), (), _STYLE, _STYLE, (),
    )  # fmt: skip


def leaves(count: int) -> tuple[list[Atom], list[Node]]:
    """``count`` facts, each with an atom and a node that say it is above 0."""
    return [positive(slot) for slot in range(count)], [Node(NodeKind.ATOM, slot) for slot in range(count)]


def assert_equal(
    evaluator: DurableEvaluator, values: list[float], stated: int = 0, bits: int = 0, unknown_bits: int = 0
) -> None:
    """The verdict and every slot written are the reference evaluator's."""
    reference = evaluator._reference
    theirs, ours = list(values), list(values)
    expected = reference.verdict(theirs, stated, bits, unknown_bits)
    assert evaluator.verdict(ours, stated, bits, unknown_bits) == expected
    assert repr(ours) == repr(theirs)
    assert evaluator.standing_exit(list(values), stated) == reference.standing_exit(list(values), stated)


def truth(evaluator: DurableEvaluator, values: list[float]) -> Truth:
    """The truth of the first rule."""
    return Truth(evaluator.verdict(list(values)).truths[0])


# --- what is written for durable-rules --------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.08, "-0.08"),
        (30.0, "30.0"),
        (1e-07, "1.0e-07"),
        (1.5e-07, "1.5e-07"),
        (-1e22, "-1.0e+22"),
        (1.5e300, "1.5e+300"),
        (5, "5.0"),
    ],
)
def test_numbers_have_a_point(value: float, text: str) -> None:
    """A number without a decimal point before its exponent would be refused."""
    assert number_text(value) == text
    assert float(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_exact(value: float) -> None:
    """The text is the same float again, and always has a point."""
    text = number_text(value)
    assert float(text) == value
    assert "." in text


def test_name_hash_is_the_c_modules() -> None:
    """The hashes are the constants that durable-rules' source states."""
    assert (name_hash("id"), name_hash("sid"), name_hash("$lt")) == (926444256, 3593476751, 542787579)


def test_names_do_not_share_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field whose hash is taken gets another name (durable-rules would take both for one)."""
    monkeypatch.setattr(durable, "name_hash", lambda name: len(name))
    language = durable._Language(policy(1, *leaves(1), []))
    names = [language.name(durable._Field("f", number)) for number in range(4)]
    assert len({len(name) for name in names}) == 4
    assert names == [language.name(durable._Field("f", number)) for number in range(4)]


# --- atoms ------------------------------------------------------------------------------------

_DOUBLE = ArithmeticTerm(Operator.MULTIPLY, (ConstantTerm(2.0), FactTerm(1)))
_STEPS = StepTerm(FactTerm(1), (0.0, 1.0), (1.0, -1.0))
_OPERANDS: dict[str, tuple[Term, Term]] = {
    "fact-constant": (FactTerm(0), ConstantTerm(1.0)),
    "constant-fact": (ConstantTerm(1.0), FactTerm(0)),
    "fact-fact": (FactTerm(0), FactTerm(1)),
    "fact-itself": (FactTerm(0), FactTerm(0)),
    "arithmetic": (FactTerm(0), _DOUBLE),
    "steps": (_STEPS, FactTerm(0)),
    "constants": (ConstantTerm(1.0), ConstantTerm(2.0)),
    "infinite": (FactTerm(0), ConstantTerm(math.inf)),
    "unknown": (FactTerm(0), ConstantTerm(NAN)),
    "both-unknown": (ConstantTerm(1.0), ConstantTerm(NAN)),
}


@pytest.mark.parametrize("comparison", Comparison, ids=lambda comparison: comparison.value)
@pytest.mark.parametrize("operands", _OPERANDS)
def test_atoms(operands: str, comparison: Comparison) -> None:
    """Every kind of atom, and its negation, over values below, at and above each other and Unknown."""
    left, right = _OPERANDS[operands]
    nodes = [Node(NodeKind.ATOM, 0), Node(NodeKind.NOT, children=(0,))]
    small = policy(
        2, [atom(left, comparison, right)], nodes, [rule(0, Action.SELL, 0), rule(1, Action.HOLD, 1)]
    )
    values = (-1.0, -0.0, 0.0, 0.5, 1.0, 2.0, NAN)
    with DurableEvaluator(small) as evaluator:
        for first, second in itertools.product(values, values):
            assert_equal(evaluator, [first, second])


@pytest.mark.parametrize(
    ("value", "constant"),
    [
        (0.1 + 0.2, 0.3),
        (1e-07, 1.0000000000000001e-07),
        (5e-324, 0.0),
        (sys.float_info.max / 2, sys.float_info.max / 2),
        (float(2**53), float(2**53 + 2)),
        (0.57, 0.6),
    ],
)
def test_neighbouring_floats(value: float, constant: float) -> None:
    """No digit of a number is lost on its way into durable-rules."""
    nodes = [Node(NodeKind.ATOM, 0)]
    for comparison, (left, right) in itertools.product(Comparison, ((value, constant), (constant, value))):
        small = policy(
            1, [atom(FactTerm(0), comparison, ConstantTerm(right))], nodes, [rule(0, Action.SELL, 0)]
        )
        with DurableEvaluator(small) as evaluator:
            assert_equal(evaluator, [left])
            assert_equal(evaluator, [math.nextafter(right, math.inf)])
            assert_equal(evaluator, [math.nextafter(right, -math.inf)])


# --- Kleene's logic ---------------------------------------------------------------------------

_THREE = (0.0, 1.0, NAN)


@pytest.mark.parametrize("kind", [NodeKind.ALL, NodeKind.ANY])
@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_all_and_any(kind: NodeKind, width: int) -> None:
    """And, or and their negations over every combination of true, false and Unknown."""
    atoms, nodes = leaves(3)
    nodes += [Node(kind, children=tuple(range(width))), Node(NodeKind.NOT, children=(3,))]
    small = policy(3, atoms, nodes, [rule(0, Action.SELL, 3), rule(1, Action.HOLD, 4)])
    with DurableEvaluator(small) as evaluator:
        for values in itertools.product(_THREE, repeat=3):
            assert_equal(evaluator, list(values))


@pytest.mark.parametrize("constant", list(Truth))
def test_constants(constant: Truth) -> None:
    """A constant alone, and as an operand: an Unknown constant is never mistaken for false."""
    atoms, nodes = leaves(1)
    nodes += [
        Node(NodeKind.CONSTANT, int(constant)),
        Node(NodeKind.ALL, children=(0, 1)),
        Node(NodeKind.ANY, children=(0, 1)),
        Node(NodeKind.NOT, children=(2,)),
    ]
    rules = [rule(number, Action.SELL, node) for number, node in enumerate((1, 2, 3, 4))]
    with DurableEvaluator(policy(1, atoms, nodes, rules)) as evaluator:
        for value in _THREE:
            assert_equal(evaluator, [value])


def test_contradictions_stay_unknown() -> None:
    """``a and not a`` is false or Unknown and ``a or not a`` true or Unknown, never the other."""
    atoms, nodes = leaves(2)
    nodes += [
        Node(NodeKind.NOT, children=(0,)),
        Node(NodeKind.ALL, children=(0, 2)),
        Node(NodeKind.ANY, children=(0, 2)),
        Node(NodeKind.ANY, children=(1, 3)),
        Node(NodeKind.ALL, children=(1, 4)),
    ]
    rules = [rule(number, Action.HOLD, node) for number, node in enumerate((3, 4, 5, 6))]
    with DurableEvaluator(policy(2, atoms, nodes, rules)) as evaluator:
        for values in itertools.product(_THREE, repeat=2):
            assert_equal(evaluator, list(values))
        assert evaluator.verdict([NAN, NAN]).truths == bytes((Truth.UNKNOWN,) * 4)


@pytest.mark.parametrize("most_clauses", [1, 4, 64])
def test_exploding_conditions_are_cut(most_clauses: int) -> None:
    """Eight alternatives of three each would be 6,561 clauses; stages keep it to a few."""
    atoms, nodes = leaves(24)
    anys = [Node(NodeKind.ANY, children=(n, n + 8, n + 16)) for n in range(8)]
    nodes += [*anys, Node(NodeKind.ALL, children=tuple(range(24, 32))), Node(NodeKind.NOT, children=(32,))]
    small = policy(24, atoms, nodes, [rule(0, Action.SELL, 32), rule(1, Action.HOLD, 33)])
    draw = random.Random(7)
    forms = normal_forms(small, (32, 33), most_clauses)
    assert forms.cuts
    assert all(len(side) <= max(most_clauses, 8) for sides in forms.sides.values() for side in sides)
    with DurableEvaluator(small, most_clauses) as evaluator:
        assert len(evaluator._rules) > 1
        for _ in range(200):
            assert_equal(evaluator, [draw.choice((0.0, 1.0, 1.0, 1.0, NAN)) for _ in range(24)])


def test_normal_forms_of_constants() -> None:
    """What can never or must always hold is no clause at all, or an empty one."""
    nodes = [Node(NodeKind.CONSTANT, int(truth)) for truth in Truth]
    forms = normal_forms(policy(0, [], nodes, []), (0, 1, 2))
    assert [forms.sides[node] for node in range(3)] == [(NEVER, ALWAYS), (ALWAYS, NEVER), (NEVER, NEVER)]
    assert forms.open == {2}


def test_normal_forms_are_small() -> None:
    """What never holds and what another clause implies is dropped: ``a or (a and b) or (b and not b)``."""
    atoms, nodes = leaves(2)
    nodes += [
        Node(NodeKind.ALL, children=(0, 1)),
        Node(NodeKind.NOT, children=(1,)),
        Node(NodeKind.ALL, children=(1, 3)),
        Node(NodeKind.ANY, children=(0, 2, 4)),
    ]
    sides = normal_forms(policy(2, atoms, nodes, []), (5,)).sides[5]
    a, not_a, b, not_b = (Leaf(False, number, wanted) for number in (0, 1) for wanted in (True, False))
    assert sides.true == {frozenset((a,))}
    assert sides.false == {frozenset((not_a, b)), frozenset((not_a, not_b))}


# --- gates and votes --------------------------------------------------------------------------


@pytest.mark.parametrize("pass_if_unknown", [False, True])
def test_gates_are_permits_and_vetoes(pass_if_unknown: bool) -> None:
    """An ordinary candidate needs a permit; only a definite veto stops a protective one."""
    atoms, nodes = leaves(4)
    rules = [rule(0, Action.SELL, 0, protective=True), rule(1, Action.SELL, 1), rule(2, Action.BUY, 2)]
    small = policy(4, atoms, nodes, rules, [gate("buy sell protective", 3, pass_if_unknown)])
    with DurableEvaluator(small) as evaluator:
        for values in itertools.product(_THREE, repeat=4):
            assert_equal(evaluator, list(values))
        unknown = evaluator.verdict([1.0, 1.0, 0.0, NAN]).dispositions
        stopped = Disposition.CONCURRED if pass_if_unknown else Disposition.VETOED
        assert unknown[:2] == bytes((Disposition.ACTED, stopped))


def test_a_lost_permit_vetoes() -> None:
    """A gate of which nothing is heard is Unknown although every fact is known."""
    atoms, nodes = leaves(2)
    small = policy(2, atoms, nodes, [rule(0, Action.BUY, 0)], [gate("buy", 1)])
    with DurableEvaluator(small) as evaluator:
        assert evaluator.verdict([1.0, 0.0]).winner == 0
        ruleset = evaluator._rulesets[0]
        permit = next(name for name, bits in ruleset._bits.items() if bits == durable._FALSE_FIRED << 8)
        ruleset._bits[permit] = 0
        assert evaluator.verdict([1.0, 0.0]).dispositions[0] == Disposition.VETOED


def test_both_sides_of_a_gate_are_a_fault() -> None:
    """A gate that is definitely true and definitely false ends the evaluation."""
    atoms, nodes = leaves(2)
    small = policy(2, atoms, nodes, [rule(0, Action.BUY, 0)], [gate("buy", 1)])
    with DurableEvaluator(small) as evaluator:
        bits = evaluator._rulesets[0]._bits
        permit = next(name for name, owned in bits.items() if owned == durable._FALSE_FIRED << 8)
        bits[permit] |= durable._TRUE_FIRED << 8
        with pytest.raises(EngineFault, match="condition 1 is both true and false"):
            evaluator.verdict([1.0, 0.0])


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("stated", [0, 1])
def test_votes(abstain: bool, stated: int) -> None:
    """Sides are fired first; the signal they make is a fact of the rules; a stated one is taken as it is."""
    atoms, nodes = leaves(4)
    atoms += [
        atom(FactTerm(4), Comparison.EQUAL, ConstantTerm(1.0)),
        atom(FactTerm(10), Comparison.GREATER_OR_EQUAL, ConstantTerm(0.6)),
    ]
    nodes += [Node(NodeKind.ATOM, 4), Node(NodeKind.ATOM, 5)]
    votes = (
        LoweredVote("one", 2_000_000, 0, 1, 1_000_000, abstain, NOWHERE),
        LoweredVote("two", 1_000_000, 2, -1, 0, abstain, NOWHERE),
        LoweredVote("three", 1_500_000, -1, 3, 500_000, False, NOWHERE),
    )
    signal = LoweredSignal("signal", votes, (4, 5, 6, 7, 8), (9, 10, 11, 12, 13), NOWHERE)
    small = policy(4, atoms, nodes, [rule(0, Action.SELL, 4), rule(1, Action.BUY, 5)], None, [signal])
    small = replace(small, slots=(*small.slots, *small.slots[4:]))
    with DurableEvaluator(small) as evaluator:
        for values in itertools.product(_THREE, repeat=4):
            assert_equal(evaluator, [*values, 1.0, 0.7, 0.0, 0.0, 0.0, NAN, NAN, NAN, NAN, NAN], stated)


# --- random policies --------------------------------------------------------------------------


@given(lowered_policies(), seeds, st.sampled_from((1, 3, 64)))
def test_equal_to_the_reference(drawn: LoweredPolicy, seed: int, most_clauses: int) -> None:
    """Any policy, any facts, cut small or not: the same verdict, slots and standing exit."""
    draw = random.Random(seed)
    with DurableEvaluator(drawn, most_clauses) as evaluator:
        for _ in range(15):
            case = random_case(drawn, draw)
            assert_equal(evaluator, *case)


@given(lowered_policies(Shape(coherent=True)), seeds)
def test_sizes_are_the_references(drawn: LoweredPolicy, seed: int) -> None:
    """Sizes, bounds and prices are the reference evaluator's."""
    reference = ReferenceEvaluator(drawn)
    with DurableEvaluator(drawn) as evaluator:
        values = random_case(drawn, random.Random(seed)).values
        ours = [evaluator.size(index, values) for index in range(len(drawn.rules))]
        ours += [evaluator.bound(index, values) for index in range(len(drawn.limits))]
        ours += [evaluator.price(True, values), evaluator.price(False, values)]
        theirs = [reference.size(index, values) for index in range(len(drawn.rules))]
        theirs += [reference.bound(index, values) for index in range(len(drawn.limits))]
        theirs += [reference.price(True, values), reference.price(False, values)]
        assert repr(ours) == repr(theirs)


# --- the size of the envelope -----------------------------------------------------------------


def wide_policy(rules: int, facts: int, operands: int, seed: int = 3) -> LoweredPolicy:
    """Many rules, each a conjunction of comparisons of different facts with constants of its own."""
    draw = random.Random(seed)
    atoms: list[Atom] = []
    nodes: list[Node] = []
    made = []
    for number in range(rules):
        children = []
        for slot in draw.sample(range(facts), operands):
            comparison = draw.choice((Comparison.LESS, Comparison.GREATER_OR_EQUAL))
            atoms.append(atom(FactTerm(slot), comparison, ConstantTerm(draw.randrange(1000) / 100)))
            nodes.append(Node(NodeKind.ATOM, len(atoms) - 1))
            children.append(len(nodes) - 1)
        nodes.append(Node(NodeKind.ALL, children=tuple(children)))
        made.append(rule(number, draw.choice(list(Action)), len(nodes) - 1))
    return policy(facts, atoms, nodes, made)


def wide_values(draw: random.Random, count: int, unknown: float) -> list[float]:
    """Facts in the range of the constants."""
    return [NAN if draw.random() < unknown else draw.randrange(1000) / 100 for _ in range(count)]


@pytest.mark.parametrize(("facts", "operands"), [(40, 2), (40, 4), (400, 3)])
def test_three_hundred_rules(facts: int, operands: int) -> None:
    """As many groups, fields and rulesets as it takes (10,000 evaluations in the long profile)."""
    wide = wide_policy(300, facts, operands)
    draw = random.Random(5)
    with DurableEvaluator(wide) as evaluator:
        sheets = [sheet for stage in evaluator._rules for sheet in stage]
        assert sum(len(sheet.questions) for sheet in sheets) > 28 * 20
        for ruleset in evaluator._rulesets:
            assert len(ruleset._bits) <= 28 * 31 + 2
        assert all(len(sheet.slots) + len(sheet.doubts) <= durable.FIELDS_PER_FACT for sheet in sheets)
        for _ in range(10_000 if LONG else 150):
            assert_equal(evaluator, wide_values(draw, facts, draw.choice((0.0, 0.02, 0.5))))


def test_more_than_one_ruleset() -> None:
    """A policy beyond one ruleset's groups is divided among several."""
    wide = wide_policy(400, 60, 5)
    draw = random.Random(6)
    with DurableEvaluator(wide) as evaluator:
        assert len(evaluator._rulesets) > 1
        for _ in range(40):
            assert_equal(evaluator, wide_values(draw, 60, 0.1))


def test_the_largest_condition() -> None:
    """A condition of as many facts as fit is evaluated, and so is one beside it."""
    atoms, nodes = leaves(199)
    nodes += [Node(NodeKind.ALL, children=tuple(range(199))), Node(NodeKind.ANY, children=tuple(range(199)))]
    large = policy(199, atoms, nodes, [rule(0, Action.SELL, 199), rule(1, Action.HOLD, 200)])
    with DurableEvaluator(large) as evaluator:
        for values in (
            [1.0] * 199,
            [0.0] * 199,
            [1.0] * 198 + [NAN],
            [0.0] * 198 + [NAN],
            [NAN] * 198 + [0.0],
        ):
            assert_equal(evaluator, values)


def test_a_condition_too_large_is_refused() -> None:
    """A condition of more facts than a fact may have fields is a message, not a wrong answer."""
    atoms, nodes = leaves(200)
    nodes.append(Node(NodeKind.ALL, children=tuple(range(200))))
    with pytest.raises(ConfigurationError, match="reads 200 facts or more"):
        DurableEvaluator(policy(200, atoms, nodes, [rule(0, Action.SELL, 200)]))


# --- faults -----------------------------------------------------------------------------------


@pytest.fixture
def evaluator() -> Iterator[DurableEvaluator]:
    """An evaluator with one rule, ``fact0 > 0``."""
    with DurableEvaluator(policy(1, *leaves(1), [rule(0, Action.SELL, 0)])) as made:
        yield made


def assert_recovers(evaluator: DurableEvaluator) -> None:
    """It refuses to answer until it is rebuilt, and is right then."""
    with pytest.raises(EngineFault):
        evaluator.verdict([1.0])
    evaluator.rebuild()
    for value, expected in zip(_THREE, (Truth.FALSE, Truth.TRUE, Truth.UNKNOWN), strict=True):
        assert truth(evaluator, [value]) is expected


@pytest.mark.parametrize(
    ("sent", "instead", "message"),
    [
        ('"c":0.5', '"c":0.1', "rule 0001 fired after none"),  # the first does not fire
        ('"c":0.5', '"c":5', "rule 0001 fired after none"),  # as where a comma is the decimal point
        ('"d":1.25e-07', '"d":1.75e-07', "the last rule that fired is 0001"),
        ('"d":1.25e-07', '"e":1.25e-07', "the last rule that fired is 0001"),
        ('"c":0.5,', "", "not handled|the last rule|fired after none"),
        ('{"id"', '{"id"id"', "error code"),  # not JSON
    ],
)
def test_canaries(evaluator: DurableEvaluator, sent: str, instead: str, message: str) -> None:
    """A lost first or last rule, or a fact that is not understood, is a fault."""
    sheet = evaluator._rules[0][0]
    genuine = sheet.head
    sheet.head = genuine.replace(sent, instead)
    assert sheet.head != genuine
    with pytest.raises(EngineFault, match=message):
        evaluator.verdict([1.0])
    sheet.head = genuine
    assert_recovers(evaluator)


def test_the_rule_that_never_fires(evaluator: DurableEvaluator) -> None:
    """A rule that nobody knows fired: the one that never does, or one of another table."""
    del evaluator._rulesets[0]._bits["0001"]
    with pytest.raises(EngineFault, match="rule 0001 fired after 0000"):
        evaluator.verdict([1.0])
    assert_recovers(evaluator)


def test_a_fact_left_behind(evaluator: DurableEvaluator) -> None:
    """A fact that an earlier evaluation left makes the next one a fault, not a wrong answer."""
    ruleset = evaluator._rulesets[0]
    fact_text, _ = evaluator._rules[0][0].encode([1.0], [])
    ruleset._assert_fact(ruleset._handle, fact_text)
    with pytest.raises(EngineFault, match=r"error code|not handled"):
        evaluator.verdict([0.0])
    assert_recovers(evaluator)


def test_an_unfinished_activation(evaluator: DurableEvaluator) -> None:
    """An activation that was never completed silences durable-rules; that is heard."""
    ruleset = evaluator._rulesets[0]
    _, state = ruleset._assert_fact(ruleset._handle, evaluator._rules[0][0].encode([1.0], [])[0])
    ruleset._start(ruleset._handle, state)
    ruleset._retract_fact(ruleset._handle, '{"id":"1"}')
    with pytest.raises(EngineFault):
        evaluator.verdict([1.0])
    assert_recovers(evaluator)


def test_an_interrupt_leaves_a_fault(evaluator: DurableEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in the middle of an evaluation nothing it left behind is used."""

    def interrupted(handle: int, state: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluator._rulesets[0], "_complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluator.verdict([1.0])
    assert_recovers(evaluator)


def test_bad_values_are_a_fault(evaluator: DurableEvaluator) -> None:
    """A vector of the wrong length is a fault with its reason, not an answer."""
    with pytest.raises(EngineFault, match="index out of range"):
        evaluator.verdict([])
    assert_recovers(evaluator)


def test_another_thread_is_refused(evaluator: DurableEvaluator) -> None:
    """durable-rules stays in the thread it was built in; the evaluator is whole afterwards."""
    heard: list[str] = []

    def ask() -> None:
        try:
            evaluator.verdict([1.0])
        except EngineFault as error:
            heard.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert heard == ["durable-rules was built in another thread"]
    assert truth(evaluator, [1.0]) is Truth.TRUE


def test_closed(evaluator: DurableEvaluator) -> None:
    """A closed evaluator says so, may be closed again, and may be rebuilt."""
    evaluator.close()
    evaluator.close()
    with pytest.raises(EngineFault, match="closed"):
        evaluator.verdict([1.0])
    assert_recovers(evaluator)


def test_another_decimal_point(evaluator: DurableEvaluator) -> None:
    """A changed C locale is caught at once, in an evaluator at work and in one being built."""
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "nl_NL.UTF-8", "German_Germany.1252"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        break
    else:
        pytest.skip("no locale with a decimal comma is installed")
    try:
        with pytest.raises(EngineFault):
            evaluator.verdict([1.0])
        with pytest.raises(EngineFault):
            evaluator.rebuild()
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)
    assert_recovers(evaluator)


def test_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the module cannot be imported the evaluator says what decides instead."""
    monkeypatch.setitem(sys.modules, "durable_rules_engine", None)
    assert not durable_available()
    with pytest.raises(ConfigurationError, match=r"Python 3\.12 or older.*the compiled evaluator decides"):
        DurableEvaluator(policy(1, *leaves(1), [rule(0, Action.SELL, 0)]))


# --- memory -----------------------------------------------------------------------------------


def _resident_bytes() -> int:
    """Memory of this process that is in use now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        pytest.skip("only Linux says how much memory is in use now")
    return pages * 4096


def test_memory_is_flat() -> None:
    """Evaluating keeps nothing (200,000 evaluations in the long profile)."""
    draw = random.Random(11)
    drawn = random_policy(random.Random(4), Shape(rules=(8, 8)))
    cases = [random_case(drawn, draw) for _ in range(100)]
    count = 200_000 if LONG else 6_000
    with DurableEvaluator(drawn) as evaluator:
        for case in itertools.islice(itertools.cycle(cases), 2_000):
            evaluator.verdict(list(case.values), case.stated)
        before = _resident_bytes()
        for case in itertools.islice(itertools.cycle(cases), count):
            evaluator.verdict(list(case.values), case.stated)
        assert _resident_bytes() - before < 2 * 2**20


def test_rebuilding_frees() -> None:
    """Closing frees the ruleset and its state (485 KB and more each)."""
    wide = wide_policy(60, 30, 3)
    values = wide_values(random.Random(1), 30, 0.1)
    with DurableEvaluator(wide) as evaluator:
        evaluator.verdict(values)
        before = _resident_bytes()
        for _ in range(300 if LONG else 40):
            evaluator.rebuild()
            evaluator.verdict(values)
        assert _resident_bytes() - before < 16 * 2**20
