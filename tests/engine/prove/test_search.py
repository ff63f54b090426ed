"""Large policies: facts that move keep up with the evaluator, grounds are enough, findings are confirmed."""

from __future__ import annotations

import random
from functools import cache

from engine.codes import Disposition
from engine.evaluate.symbolic.formulas import begin_anew, every, negation
from engine.evaluate.symbolic.solver import Answer, Budget
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.prove.choice import check_choice
from engine.prove.finding import enough
from engine.prove.moving import MovingFacts
from engine.prove.region import literals_of
from engine.prove.variant import Variant, variants_of
from tests.bench.large_policies import large_policy


def large_variant() -> Variant:
    """Return a variant of a hundred rules: enough to be asked only what each question is about."""
    begin_anew()
    policy = load_policy(_text(), "large.yaml").required()
    variant = next(variants_of(policy, lower_all(policy), Budget()))
    assert variant.is_large
    return variant


@cache
def _text() -> str:
    return large_policy(100)


def test_facts_that_move() -> None:
    """After every move, and after every one taken back, all truths are what the evaluator says."""
    variant, rng = large_variant(), random.Random(7)
    facts = MovingFacts(variant)
    for _ in range(300):
        atom = rng.randrange(len(facts.atoms))
        ways = list(facts.ways(atom, rng.random() < 0.5))
        mark = facts.mark()
        if ways:
            facts.move(*rng.choice(ways))
        if rng.random() < 0.3:
            facts.back(mark)
        values = facts.values[: len(variant.lowered.slots)]
        evaluation = variant.reference.evaluate(values)
        assert evaluation.truths == facts.truths
        assert [leaf.truth for leaf in evaluation.leaves] == facts.atoms


def test_grounds() -> None:
    """Grounds are true in the model, and without what they are grounds of impossible."""
    variant = large_variant()
    literals = literals_of(variant, range(len(variant.lowered.atoms)))
    ids = {formula.identity for formula in literals}
    for rule in (0, 3, 4):
        fault = every((variant.terms.candidates[rule].matches, variant.in_order))
        assert variant.ask(fault) is Answer.POSSIBLE
        model = variant.model()
        grounds = variant.grounds.of(fault, model, ids)
        assert all(model.truth(formula) for formula in grounds)
        assert variant.ask(negation(fault), *grounds) is Answer.IMPOSSIBLE


def test_findings_of_a_large_policy() -> None:
    """Each has an example in which the rule does what is said, and of one kind there are a few only."""
    variant = large_variant()
    said = list(check_choice(variant))
    deciding = [one for one in said if one.problem.code == "priority-decides"]
    assert deciding
    assert enough(variant, "priority-decides")
    for one in deciding:
        assert one.example is not None
        assert one.region is not None
        decision = one.example.outcome.decision
        assert variant.lowered.rules[decision.rule].span == one.problem.span
        assert {Disposition.OUTRANKED, Disposition.CONCURRED} & set(decision.dispositions)
