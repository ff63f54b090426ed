"""The theorem about Unknown: it holds for policies that load, and is refuted for some that do not."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from engine.codes import Action, Side
from engine.errors import NOWHERE
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.snapshot import Snapshot
from engine.evaluate.symbolic.solver import Answer, Budget, Solver
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.lowered import (
    ArithmeticTerm,
    ConstantTerm,
    FactTerm,
    LoweredPolicy,
    LoweredSignal,
    Selection,
    SlotOrigin,
    StepTerm,
)
from engine.prove.unknowns import Theorem, check_unknowns, same_choice, same_size, theorem_holds
from engine.prove.variant import variants_of
from engine.units import Measure
from tests.engine.evaluate.small import atom, fact, gate, policy, positive, rule, side_is, signal_slots, vote
from tests.engine.evaluate.symbolic.test_choice import computes, with_base_facts
from tests.engine.prove.promising import BASE
from tests.policy_blocks import whole
from tests.policy_texts import policy_text
from tests.strategies import Shape, random_policy

POLICIES = sorted(Path("policies").glob("*.yaml"))
FEEDS = """
signals:
  model: {from: feed, max_age: 1h}
  mood:
    votes:
      rsi: {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      slow: {weight: 1, buy: close > slow, sell: close < slow, if_unknown: abstain}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  out: {priority: 500, when: held and mood.side == sell and model.side != buy, then: sell all}
  wait: {priority: 300, when: model.side == hold, then: hold}
  in: {priority: 200, when: mood.side == buy and rsi < 50, then: buy to mood.confidence of target}
  more: {priority: 100, when: model.confidence >= 80% and model.side == buy, then: buy 100 USD, once: day}
"""


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_shipped_policies(path: Path) -> None:
    """What is unknown buys nothing."""
    loaded = load_policy(path.read_text(), path.name).required()
    (variant, *_) = variants_of(loaded, lower_all(loaded), Budget())
    assert list(check_unknowns(variant)) == []
    assert variant.solver.budget.undecided == 0


@pytest.mark.parametrize("selection", ["exits_first", "by_priority"])
def test_feeds_and_votes_that_abstain(selection: str) -> None:
    """Signals from outside may be missing, votes may abstain, sizes may read a signal."""
    text = whole(FEEDS, BASE).replace("exits_first", selection)
    loaded = load_policy(text, "feeds.yaml").required()
    for lowered in {id(form): form for form in lower_all(loaded).values()}.values():
        assert theorem_holds(lowered, Budget()) is Answer.IMPOSSIBLE
        assert same_choice(lowered, Budget())  # that much is clear without asking what the facts are


def test_random_policies() -> None:
    """Policies with every feature of the language, and lowered ones that no loader made but might have."""
    rng = random.Random(20)
    forms = [with_base_facts(random_policy(rng, Shape(coherent=True, rules=(1, 5)))) for _ in range(25)]
    for _ in range(8):
        loaded = load_policy(policy_text(rng), "random.yaml").required()
        forms.append(next(iter(lower_all(loaded).values())))
    answers = [theorem_holds(form, Budget(question_limit=1_000_000)) for form in forms]
    assert Answer.POSSIBLE not in answers
    assert sum(same_choice(form, Budget()) and same_size(form) for form in forms) > len(forms) // 2
    assert answers.count(Answer.IMPOSSIBLE) > len(answers) * 3 // 4


# --- policies that no loader lets through -----------------------------------------------------


def permissive_gate() -> LoweredPolicy:
    """A gate on buys that an Unknown opens."""
    return policy(
        slots=[fact("a"), fact("b")],
        atoms=[positive(3), positive(4)],
        nodes=[atom(0), atom(1)],
        rules=[rule(Action.BUY, 0, size=ConstantTerm(100.0))],
        gates=[gate("b", 1, pass_if_unknown=True)],
    )


def acting_entry() -> LoweredPolicy:
    """An entry that acts on a signal from which a vote abstained."""
    slots, entry = signal_slots("s"), signal_slots("s@entry", SlotOrigin.ENTRY_SIGNAL)
    votes = (vote(0, -1), vote(-1, 1, weight=2, abstain=True))
    signal = LoweredSignal("s", votes, (5, 6, 7, 8, 9), (10, 11, 12, 13, 14), NOWHERE)
    return policy(
        slots=[fact("a"), fact("b"), *slots, *entry],
        atoms=[positive(3), positive(4), side_is(5, Side.BUY)],
        nodes=[atom(0), atom(1), atom(2)],
        rules=[rule(Action.BUY, 2, size=ConstantTerm(100.0))],
        signals=[signal],
    )


def acting_size() -> LoweredPolicy:
    """A size that reads the weights of a signal from which a vote abstained."""
    slots, entry = signal_slots("s"), signal_slots("s@entry", SlotOrigin.ENTRY_SIGNAL)
    votes = (vote(0, -1), vote(1, -1, abstain=True))
    signal = LoweredSignal("s", votes, (5, 6, 7, 8, 9), (10, 11, 12, 13, 14), NOWHERE)
    return policy(
        slots=[fact("a"), fact("b"), *slots, *entry],
        atoms=[positive(3), positive(4)],
        nodes=[atom(0), atom(1)],
        rules=[rule(Action.BUY, 0, size=FactTerm(7), measure=Measure.MONEY)],
        signals=[signal],
    )


INCOHERENT = [permissive_gate(), acting_entry(), acting_size()]


@pytest.mark.parametrize("small", INCOHERENT, ids=["gate", "entry", "size"])
def test_refuted(small: LoweredPolicy) -> None:
    """The two situations that were found are decided differently, and one completes the other."""
    small = with_base_facts(small)
    before, after = situations(small)
    for slot, x, y in zip(small.slots, before, after, strict=True):
        if slot.origin is SlotOrigin.VOCABULARY:
            assert math.isnan(x) or x == y
    assert outcome(small, before) != outcome(small, after)
    assert outcome(small, before)[0] == 0  # the one rule buys
    assert not (same_choice(small, Budget()) and same_size(small))


def outcome(form: LoweredPolicy, values: list[float]) -> tuple[int, float]:
    """Return the rule that wins, and its size."""
    evaluator = ReferenceEvaluator(form)
    winner = evaluator.verdict(values).winner
    return winner, evaluator.size(winner, values) if winner >= 0 else 0.0


def situations(form: LoweredPolicy) -> tuple[list[float], list[float]]:
    """Return the facts that break the theorem, which must be broken, and their completion."""
    snapshot = Snapshot(anything_unknown=True)
    theorem = Theorem(form, PolicyTerms(form, snapshot))
    assert theorem.ask(Solver(Budget()), snapshot.constraints) is Answer.POSSIBLE
    assert theorem.broken_by() == [0]
    return theorem.values()


def test_gates_that_an_unknown_opens_at_random() -> None:
    """Of policies whose gates pass what they do not know some are refuted, and the evaluator agrees."""
    rng, refuted = random.Random(5), 0
    for _ in range(400):
        form = with_base_facts(random_policy(rng, Shape(coherent=True, entry_bias=True, rules=(1, 3))))
        gates = tuple(replace(one, pass_if_unknown=True) for one in form.gates)
        form = replace(form, gates=gates, limits=(), selection=Selection.BY_PRIORITY)
        if computes(form) or any(isinstance(rule.size, ArithmeticTerm | StepTerm) for rule in form.rules):
            continue
        snapshot = Snapshot(anything_unknown=True)
        theorem = Theorem(form, PolicyTerms(form, snapshot))
        if theorem.ask(Solver(Budget()), snapshot.constraints) is Answer.POSSIBLE:
            assert not (same_choice(form, Budget()) and same_size(form))
            before, after = theorem.values()
            assert outcome(form, before)[0] in theorem.broken_by()
            assert outcome(form, before) != outcome(form, after)
            refuted += 1
    assert refuted
