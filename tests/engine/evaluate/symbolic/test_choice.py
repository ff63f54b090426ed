"""The prover's terms against the reference evaluator: on given facts both say the same."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings

from engine.codes import Action, Disposition
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.formulas import Formula, every, negation, same, value_of
from engine.evaluate.symbolic.snapshot import Snapshot, Variable, fact_values, slot_range
from engine.evaluate.symbolic.solver import Answer, Budget, Solver
from engine.lowered import (
    ArithmeticTerm,
    FactSlot,
    LoweredPolicy,
    Selection,
    SlotOrigin,
    StepTerm,
)
from engine.units import Measure
from engine.vocabulary import BASE_FACTS, FACTS
from tests.strategies import Case, Shape, lowered_policies, random_case, random_policy, seeds, without_bits

VOTED = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


def with_base_facts(policy: LoweredPolicy) -> LoweredPolicy:
    """Give a random policy the facts that every loaded one has."""
    there = {slot.name for slot in policy.slots}
    missing = [FACTS[name] for name in BASE_FACTS if name not in there]
    more = tuple(FactSlot(f.name, f.unit, f.steps_per_unit, SlotOrigin.VOCABULARY) for f in missing)
    return replace(policy, slots=(*policy.slots, *more))


def fixed(variable: Variable, value: float) -> list[Formula] | None:
    """Return what says that a fact has a value; None where the vocabulary does not allow it."""
    if math.isnan(value):
        return [negation(variable.known)]
    slot = variable.slot
    if slot.unit is Measure.BOOLEAN:
        return [variable.known, same(variable.value, value == 1.0)] if value in (0.0, 1.0) else None
    k = slot.steps_per_unit or 1
    steps = round(value * k) if abs(value) < 1e300 / k else 0
    low, high = slot_range(slot)
    if steps / k != value or not low <= steps <= high:
        return None
    return [variable.known, variable.value == value_of(variable.value, steps)]


def possible(policy: LoweredPolicy, case: Case) -> Case:
    """Return a case whose facts the vocabulary allows."""
    values = list(case.values)
    for index, (slot, value) in enumerate(zip(policy.slots, case.values, strict=False)):
        low, high = slot_range(slot)
        k = slot.steps_per_unit
        if k and not math.isnan(value):
            values[index] = min(max(round(min(max(value, -1e15), 1e15) * k), low), high) / k
    if values[policy.slot("position_qty")] == 0.0:
        values[policy.slot("position_value")] = 0.0
    if policy.selection is Selection.BY_PRIORITY:
        case = without_bits(case)  # no decision ever sets them there
    return case._replace(values=values)


def given_facts(terms: PolicyTerms, snapshot: Snapshot, case: Case) -> list[Formula] | None:
    """Return what says that the facts are those of a case; None where they cannot be."""
    said: list[Formula] = []
    for slot, value in zip(terms.policy.slots, case.values, strict=False):
        if slot.origin in VOTED:
            continue
        formulas = fixed(snapshot.variable(slot), value)
        if formulas is None:
            return None
        said += formulas
    for bits, formulas_of in (
        (case.would_exit, terms.would_exit),
        (case.would_exit_unknown, terms.would_exit_unknown),
    ):
        said += [same(formula, bool(bits >> index & 1)) for index, formula in formulas_of.items()]
    return said


def computes(policy: LoweredPolicy) -> bool:
    """Say whether a policy computes any number: then what is on a rounding's edge is left open."""
    terms = [term for atom in policy.atoms for term in (atom.left, atom.right)]
    sells = [rule for rule in policy.rules if rule.action is Action.SELL]
    terms += [rule.size for rule in sells if rule.size is not None]
    return any(isinstance(term, ArithmeticTerm | StepTerm) for term in terms)


def _agree(policy: LoweredPolicy, seed: int, cases: int = 6) -> tuple[int, int]:
    """Compare on random facts; return how many cases were compared, and how many of them exactly."""
    original, policy = policy, with_base_facts(policy)
    snapshot = Snapshot(anything_unknown=True)
    terms = PolicyTerms(policy, snapshot)
    solver = Solver(Budget(), snapshot.constraints)
    reference = ReferenceEvaluator(policy)
    rng = random.Random(seed)
    compared = decided = 0
    for _ in range(cases):
        case = possible(policy, random_case(original, rng))
        facts = given_facts(terms, snapshot, case)
        if facts is None or case.stated:
            continue
        values = [*case.values, *(math.nan for _ in policy.slots[len(case.values) :])]
        verdict = reference.verdict(values, 0, case.would_exit, case.would_exit_unknown)
        expected = every(
            [
                every(
                    (
                        same(candidate.matches, disposition != Disposition.NONE or truth == 1),
                        same(candidate.wins, index == verdict.winner),
                        same(candidate.withheld, disposition == Disposition.UNKNOWN),
                    )
                )
                for index, (candidate, disposition, truth) in enumerate(
                    zip(terms.candidates, verdict.dispositions, verdict.truths, strict=True)
                )
                if not _unasked(policy, index, verdict.winner)
            ]
        )
        with solver.supposing(*snapshot.constraints, *snapshot.exact, *facts):
            if solver.ask() is not Answer.POSSIBLE:
                continue  # facts that the vocabulary rules out
            compared += 1
            assert solver.ask(expected) is Answer.POSSIBLE
            if not computes(policy):
                decided += 1
                assert solver.ask(negation(expected)) is Answer.IMPOSSIBLE
    return compared, decided


def _unasked(policy: LoweredPolicy, index: int, winner: int) -> bool:
    """Of entries below a standing exit the evaluators do not ask what would have become of them."""
    return (
        winner >= 0
        and policy.rules[winner].action is Action.SELL
        and policy.rules[index].action is not Action.SELL
    )


@pytest.mark.parametrize("first_seed", range(0, 240, 40))
def test_terms_say_what_the_reference_evaluator_does(first_seed: int) -> None:
    """Random policies and facts, Unknown ones among them: the same rules match, are withheld, win."""
    compared = decided = 0
    for seed in range(first_seed, first_seed + 40):
        shape = Shape(rules=(1, 4), entry_bias=bool(seed % 3))
        found = _agree(random_policy(random.Random(seed), shape), seed, 3)
        compared, decided = compared + found[0], decided + found[1]
    assert compared > 40, "the facts drawn are not all ruled out"
    assert decided, "many policies leave nothing open"


@settings(max_examples=30)
@given(lowered_policies(Shape(abstaining=False)), seeds)
def test_a_model_replays(policy: LoweredPolicy, seed: int) -> None:
    """Facts that the solver finds for a rule make that rule win, where nothing is computed."""
    policy = with_base_facts(policy)
    snapshot = Snapshot()
    terms = PolicyTerms(policy, snapshot)
    if computes(policy):
        return
    for slot in policy.slots:
        if slot.origin not in VOTED:
            snapshot.variable(slot)
    solver = Solver(Budget(), snapshot.constraints)
    reference = ReferenceEvaluator(policy)
    for index, candidate in enumerate(terms.candidates):
        if (
            solver.ask(candidate.wins, *(negation(bit) for bit in terms.would_exit.values()))
            is Answer.POSSIBLE
        ):
            values = fact_values(policy, snapshot, solver.model())
            assert reference.verdict(values).winner == index


@pytest.mark.parametrize("steps", [1, 100, 10**8])
def test_ranges_are_whole_steps(steps: int) -> None:
    """A price is at least one step: a quote without a bid is none."""
    low, high = slot_range(FactSlot("bid", Measure.PRICE, steps, SlotOrigin.VOCABULARY))
    assert (low, high) == (1, 10**7 * steps)
