"""Lowering: one form per variant, exact constants, and the same meaning for every evaluator."""

from __future__ import annotations

import os
import random
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engine.codes import Action, Side, Truth
from engine.errors import PolicyError
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import fold, lower, lower_all, variant_key
from engine.language.policy import Listing
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    LoweredRule,
    NodeKind,
    Operator,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.series import SELF, Column, Lag, SeriesCall
from engine.units import Measure
from engine.vocabulary import BASE_FACTS
from tests.engine.evaluate.comparing import Census, answers
from tests.engine.language.small import policy
from tests.evidence import Evidence
from tests.policy_texts import policy_texts
from tests.situations import random_facts
from tests.strategies import Case, random_case, seeds

LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
POLICIES = 5_000 if LONG else 120
FACTS = 20


def lowered(when: str, *changes: tuple[str, str], symbol: str = "SPY") -> LoweredPolicy:
    """Return the small policy, with another condition of its entry, lowered for a symbol."""
    return lower_all(policy(when, *changes))[symbol]


def entry(found: LoweredPolicy) -> LoweredRule:
    """Return the entry."""
    return next(rule for rule in found.rules if rule.name == "entry")


def atoms(found: LoweredPolicy, node: int) -> list[Atom]:
    """Return the atoms below a node, in order."""
    at = found.nodes[node]
    if at.kind is NodeKind.ATOM:
        return [found.atoms[at.atom]]
    return [atom for child in at.children for atom in atoms(found, child)]


def written(found: LoweredPolicy, term: Term) -> str:
    """Write a term down."""
    match term:
        case FactTerm(slot):
            return found.slots[slot].name
        case ConstantTerm(value):
            return repr(value)
        case ArithmeticTerm(operator, operands):
            return f"{operator.value}({', '.join(written(found, operand) for operand in operands)})"
        case StepTerm(by, thresholds, values):
            return f"steps({written(found, by)}, {thresholds}, {values})"


def condition(when: str, *changes: tuple[str, str], symbol: str = "SPY") -> str:
    """Write the entry's condition down, lowered."""
    found = lowered(when, *changes, symbol=symbol)

    def write(node: int) -> str:
        at = found.nodes[node]
        match at.kind:
            case NodeKind.CONSTANT:
                return Truth(at.atom).name
            case NodeKind.ATOM:
                atom = found.atoms[at.atom]
                return f"{written(found, atom.left)} {atom.comparison.value} {written(found, atom.right)}"
            case NodeKind.NOT:
                return f"not({write(at.children[0])})"
        return f"{at.kind.name.lower()}({', '.join(write(child) for child in at.children)})"

    return write(entry(found).when)


# --- the same meaning -------------------------------------------------------------------------


def test_texts_mean_the_same_to_both_evaluators(evidence: Evidence) -> None:
    """From random texts to verdicts, sizes, bounds and prices: reference and compiled agree bit for bit."""
    census = Census()

    @settings(max_examples=POLICIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(policy_texts(), seeds)
    def agree(text: str, seed: int) -> None:
        rng = random.Random(seed)
        variants = {
            id(form): form for form in lower_all(load_policy(text, "random.yaml").required()).values()
        }
        for form in variants.values():
            census.add_policy(form)
            reference, compiled = ReferenceEvaluator(form), CompiledEvaluator(form)
            for number in range(max(2, FACTS // len(variants))):
                case = random_case(form, rng) if number % 2 else Case(random_facts(form, rng))
                expected = answers(reference, case)
                note(str(case))
                assert answers(compiled, case) == expected
                census.add(reference, case, expected.verdict)

    agree()
    evidence(str(census))
    assert census.policies >= POLICIES
    assert census.evaluations >= POLICIES * FACTS // 2
    assert census.fired > 0.1 * census.evaluations
    assert {kind.name for kind in NodeKind} <= {kind for kind, count in census.seen.items() if count}


# --- conditions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "form"),
    [
        ("rsi < 30", "rsi < 30.0"),
        ("20 < rsi <= 30", "all(20.0 < rsi, rsi <= 30.0)"),
        ("not held", "not(held == 1.0)"),
        ("not (held or dust)", "not(any(held == 1.0, dust == 1.0))"),
        ("since_buy < 30 bars", "since_buy_bars < 30.0"),
        ("gain > loss", "gain > 0.08"),
        ("gain <= -loss", "gain <= -0.08"),
        ("rsi < oversold - 2 * 5", "rsi < 20.0"),
        ("gain > roi", "gain > steps(held_for, (0.0, 1800.0), (0.04, 0.08))"),
        ("price <= (100% - loss) of peak_price", "price <= *(0.92, peak_price)"),
        ("position_value < goal", "position_value < *(0.5, target)"),
        ("prev(rsi) < rsi", "prev(rsi) < rsi"),
        ("session != regular", "session != 1.0"),
        ("calm and rsi > 40", "all(all(rsi > 40.0, rsi < 60.0), rsi > 40.0)"),
        ("held and held", "held == 1.0"),
        ("held or held or dust", "any(held == 1.0, dust == 1.0)"),
        ("log(price / ask) > 0", "log(/(price, ask)) > 0.0"),
        ("min(price, ask, bid) > 1 USD", "min(price, ask, bid) > 1.0"),
        ("enhanced.side == buy", "enhanced.side == 1.0"),
    ],
)
def test_conditions(when: str, form: str) -> None:
    """Parameters are constants, definitions are put in, numbers that read no fact are folded."""
    assert condition(when) == form


@pytest.mark.parametrize(
    ("when", "stock", "crypto"),
    [
        ("asset_class == crypto and held", "FALSE", "held == 1.0"),
        ("asset_class == crypto or held", "held == 1.0", "TRUE"),
        ("asset_class != crypto and held", "held == 1.0", "FALSE"),
        ("not (asset_class == crypto) and held", "held == 1.0", "FALSE"),
        ('calendar == "24/7" and held', "FALSE", "held == 1.0"),
        ("symbol == SPY and held", "held == 1.0", "FALSE"),
        ("symbol == symbol and held", "held == 1.0", "held == 1.0"),
        ("rsi < oversold", "rsi < 30.0", "rsi < 25.0"),
        ("oversold > 27 and held", "held == 1.0", "FALSE"),
    ],
)
def test_what_is_the_same_for_a_variant_is_decided(when: str, stock: str, crypto: str) -> None:
    """Class, calendar, symbol and comparisons of parameters are no atoms."""
    assert condition(when) == stock
    assert condition(when, symbol="BTC-USD") == crypto


def test_a_cross_is_lowered_to_both_of_its_comparisons() -> None:
    """Not above at the bar before, above now."""
    once = ("then: buy to target", "then: buy to target\n    once: bar")
    assert condition("rsi crosses above 30", once) == "all(prev(rsi) <= 30.0, rsi > 30.0)"
    assert condition("fast crosses below bands.middle", once) == (
        "all(prev(fast) >= prev(bands.middle), fast < bands.middle)"
    )


def test_equal_comparisons_share_an_atom_however_they_are_spelt() -> None:
    """Atoms are interned by what they compare, not by their text."""
    found = lowered("rsi < 30 and (held or rsi < oversold)")
    (first, _, last) = atoms(found, entry(found).when)
    assert first is last


@pytest.mark.parametrize(
    ("when", "value"),
    [
        ("rsi < 100 / 3", 33.3333),
        ("gain < 10% / 3", 0.033333),
        ("since_buy < 10s / 3", 3.0),
        ("ask < 1 USD / 3", 0.33333333),
    ],
)
def test_a_computed_constant_is_put_on_the_grid_of_its_unit(when: str, value: float) -> None:
    """Like every computed operand: 100 / 3 is no literal off the step, but a number on the grid."""
    found = lowered(when)
    (atom,) = atoms(found, entry(found).when)
    assert atom.right == ConstantTerm(value)


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ("rsi < 30.005", "off-step"),
        ("30.005 > rsi", "off-step"),
        ("2 * rsi < 30.00001", "off-step"),
        ("gain < 5.001%", "off-step"),
        ("enhanced.confidence > 60.5%", "off-step"),
        ("position_value < 10.005 USD", "off-step"),
        ("entries < 1.5", "off-step"),
        ("rsi < 30.005 or calm", "off-step"),
        ("prev(rsi, 10001) < 30", "length"),
        ("sma(1001) < ask", "length"),
        ("rsi / (oversold - oversold) < 3", "never-known"),
    ],
)
def test_what_could_never_be_exact_or_known_is_refused(when: str, code: str) -> None:
    """Literals and parameters lie on the step of what they are compared with; lengths are legal."""
    with pytest.raises(PolicyError) as raised:
        policy(when)
    assert {problem.code for problem in raised.value.problems} == {code}
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    "when", ["rsi < 30.01", "2 * rsi < 30.0001", "gain < 5.01%", "enhanced.confidence > 61%"]
)
def test_what_lies_on_the_step_is_taken(when: str) -> None:
    """The step itself is the bound."""
    assert atoms(lowered(when), entry(lowered(when)).when)


def test_a_value_for_one_class_is_told_once_at_the_parameter() -> None:
    """However many symbols and comparisons it spoils."""
    with pytest.raises(PolicyError) as raised:
        policy("rsi < oversold and prev(rsi) < oversold", ("for: {crypto: 25}", "for: {crypto: 25.005}"))
    (problem,) = raised.value.problems
    assert raised.value.source.text[problem.span.start : problem.span.end] == "oversold"


@given(
    st.sampled_from(list(Operator)),
    st.lists(st.decimals(-1000, 1000, places=3), min_size=2, max_size=2),
)
def test_folding_is_exact(operator: Operator, values: list[Decimal]) -> None:
    """Decimals: 0.1 + 0.2 is 0.3; nothing divides by zero, and no logarithm of what is not above 0."""
    unary = operator in (Operator.NEGATE, Operator.ABSOLUTE, Operator.LOGARITHM)
    a, b = values
    found = fold(operator, values[:1] if unary else values)
    match operator:
        case Operator.ADD:
            assert found == a + b
        case Operator.SUBTRACT:
            assert found == a - b
        case Operator.MULTIPLY:
            assert found == a * b
        case Operator.DIVIDE:
            assert (found is None) == (b == 0)
            assert found is None or abs(found * b - a) < Decimal("1e-20")
        case Operator.MINIMUM | Operator.MAXIMUM:
            assert found in values
        case Operator.LOGARITHM:
            assert (found is None) == (a <= 0)
        case _:
            assert found is not None and abs(found) == abs(a)


# --- facts ------------------------------------------------------------------------------------


def test_every_lowered_policy_begins_with_what_the_engine_itself_reads() -> None:
    """The base facts stand first, in one order."""
    assert [slot.name for slot in lowered("held").slots[: len(BASE_FACTS)]] == list(BASE_FACTS)


def test_slots_know_their_series() -> None:
    """Indicators are series over the symbol itself, or a named one, on their own interval."""
    found = lowered("rsi < 30 and prev(hour, 2) < spy and highest(high, n) > ask")
    series = {slot.name: slot.series for slot in found.slots if slot.origin is SlotOrigin.SERIES}
    assert series["rsi"] == SeriesCall("rsi", (Column(SELF, 900, "close"),), (14.0,))
    assert series["prev(hour, 2)"] == Lag(Column(SELF, 3600, "close"), 2)
    assert series["spy"] == Column("SPY", 86400, "close")
    assert series["highest(high, n)"] == SeriesCall("highest", (Column(SELF, 900, "high"),), (14.0,))


def test_entries_read_an_abstaining_signal_by_slots_of_their_own() -> None:
    """A buy's condition, size and gates read the entry slots; a sell acts on the others."""
    found = lowered(
        "enhanced.side == buy",
        ("then: sell to goal", "then: sell to enhanced.confidence of target"),
        ("rules:\n", "gates:\n  doubt: {vetoes: [buy, sell], when: enhanced.confidence < 60%}\nrules:\n"),
    )
    origin = {index: slot.origin for index, slot in enumerate(found.slots)}

    def read(node: int) -> set[SlotOrigin]:
        return {origin[atom.left.slot] for atom in atoms(found, node) if isinstance(atom.left, FactTerm)}

    assert read(entry(found).when) == {SlotOrigin.ENTRY_SIGNAL}
    gate = next(gate for gate in found.gates if gate.name == "doubt")
    assert (read(gate.when), read(gate.when_entry)) == ({SlotOrigin.SIGNAL}, {SlotOrigin.ENTRY_SIGNAL})
    (signal,) = found.signals
    assert set(signal.slots).isdisjoint(signal.entry_slots)


def test_without_abstaining_votes_both_readings_are_one() -> None:
    """The entry slots are the others."""
    found = lowered("enhanced.side == buy", (", if_unknown: abstain", ""))
    (signal,) = found.signals
    assert signal.slots == signal.entry_slots
    assert all(rule.when == rule.when_entry for rule in found.rules)


# --- rules, gates, variants -------------------------------------------------------------------


def test_every_sell_is_read_as_held_and() -> None:
    """Where the condition does not imply it, held is put before it."""
    found = lowered("held")
    for rule in found.rules:
        first = atoms(found, rule.when)[0]
        assert (written(found, first.left) == "held") == (rule.action is Action.SELL or rule.name == "entry")


def test_a_rule_adopts_the_side_its_condition_implies() -> None:
    """Only the side that it acts on, of voted signals and feeds; feeds follow the voted ones."""
    found = lowered("enhanced.side == buy and not calm")
    adopted = {rule.name: rule.adopts for rule in found.rules}
    assert adopted["entry"] == ((0, int(Side.BUY)),)
    assert adopted["told"] == ((1, int(Side.SELL)),)
    assert adopted["stop"] == ()
    doubtful = lowered("enhanced.side == buy or rsi < 20")
    assert entry(doubtful).adopts == ()
    contrary = lowered("enhanced.side == sell")
    assert entry(contrary).adopts == ()


def test_once_is_a_gate_of_its_rule() -> None:
    """It vetoes that rule alone while its period is used up."""
    found = lowered("held", ("then: buy to target", "then: buy to target\n    once: day"))
    (gate,) = (gate for gate in found.gates if gate.name == "once")
    assert found.rules[gate.only_rule].name == "entry"
    assert (gate.reserved, gate.vetoes_buy, gate.vetoes_sell, gate.vetoes_protective) == (
        True,
        True,
        False,
        False,
    )
    (atom,) = atoms(found, gate.when)
    assert isinstance(atom.left, FactTerm)
    assert (found.slots[atom.left.slot].name, found.slots[atom.left.slot].origin) == (
        "once.entry",
        SlotOrigin.ONCE,
    )


def test_reserved_gates_stand_before_the_policys_own() -> None:
    """Integrity, once, then as written."""
    found = lowered(
        "held",
        ("then: buy to target", "then: buy to target\n    once: day"),
        ("rules:\n", "gates:\n  late: {vetoes: [buy], when: until_close < 15m}\nrules:\n"),
    )
    assert [gate.name for gate in found.gates][-2:] == ["once", "late"]
    assert [gate.reserved for gate in found.gates] == [True] * (len(found.gates) - 1) + [False]


def test_scopes_leave_out_what_is_for_others() -> None:
    """A rule, gate or limit for a class or symbol is not in the others' forms."""
    changes = (
        ("then: buy to target", "then: buy to target\n    for: crypto"),
        (
            "rules:\n",
            "gates: {late: {vetoes: [buy], when: until_close < 15m, for: [SPY]}}\n"
            "limits: {cap: {at_most: 5 USD, for: QQQ}}\nrules:\n",
        ),
    )
    names = {}
    for symbol, form in lower_all(policy("held", *changes)).items():
        found = [rule.name for rule in form.rules] + [gate.name for gate in form.gates]
        found += [limit.name for limit in form.limits]
        names[symbol] = {"entry", "late", "cap"}.intersection(found)
    assert names == {"SPY": {"late"}, "QQQ": {"cap"}, "BTC-USD": {"entry"}, "ETH-USD": {"entry"}}


@pytest.mark.parametrize(
    ("when", "changes", "variants"),
    [
        ("rsi < 30", (("for: {crypto: 25}", "for: {crypto: 30}"),), 2),  # class and calendar differ
        ("rsi < oversold", (("for: {crypto: 25}", "for: {QQQ: 25}"),), 3),
        ("rsi < oversold", (("for: {crypto: 25}", "for: {QQQ: 30}"),), 2),  # the same value as for all
        ("symbol == SPY", (), 4),
        ("rsi < 30", (("then: buy to target", "then: buy to target\n    for: ETH-USD"),), 3),
    ],
)
def test_symbols_share_what_is_the_same(
    when: str, changes: tuple[tuple[str, str], ...], variants: int
) -> None:
    """Symbols of one class, calendar, parameter values and rules share one object."""
    found = policy(when, *changes)
    forms = lower_all(found)
    assert len({id(form) for form in forms.values()}) == variants
    assert len({variant_key(found, listing) for listing in found.traded}) == variants
    for listing in found.traded:
        assert lower(found, listing) == forms[listing.symbol]


def test_a_symbol_outside_the_universe_can_be_lowered() -> None:
    """What is held is sold, also when it is not listed any more."""
    found = policy("rsi < oversold")
    for asset_class in ("stock", "commodity", "crypto"):
        form = lower(found, Listing("XYZ", asset_class, "24/7", None, False))
        assert [rule.name for rule in form.rules] == [rule.name for rule in found.rules]


def test_values_for_symbols_outside_the_universe_are_checked_when_it_is_loaded() -> None:
    """A plain value that no listed symbol has is one that a symbol outside may need."""
    with pytest.raises(PolicyError, match="1 problem"):
        policy(
            "rsi < oversold",
            (
                "{value: 30, range: [10, 50], for: {crypto: 25}}",
                "{value: 30.005, for: {stock: 30, crypto: 25}}",
            ),
        )


def test_reasons_are_terms_beside_the_decision() -> None:
    """No node reads what a reason shows, and the asset class is text already."""
    changes = (
        "then: buy to target",
        "then: buy to target\n    because: '{rsi} of {asset_class} at {volume}'",
    )
    found, plain = lowered("held", changes), lowered("held")
    assert [p if isinstance(p, str) else found.because_terms[p][1] for p in entry(found).because] == [
        Measure.NUMBER, " of ", "stock", " at ", Measure.QUANTITY,
    ]  # fmt: skip
    assert found.nodes == plain.nodes
    assert [atom.text for atom in found.atoms] == [atom.text for atom in plain.atoms]


def test_comparisons_read_left_to_right() -> None:
    """The comparison is kept as it is written: explanations show it so."""
    found = lowered("30 > rsi")
    (atom,) = atoms(found, entry(found).when)
    assert (atom.comparison, atom.text, atom.unit) == (Comparison.GREATER, "30 > rsi", Measure.NUMBER)
