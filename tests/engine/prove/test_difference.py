"""Equal policies are proved to be, different ones shown to be: by facts on which both are run."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import policies
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.prove.aligned import aligned, alike
from engine.prove.difference import equal, pairs
from engine.prove.mutants import mutants_of
from engine.prove.samples import sampled
from tests.policy_texts import policy_text

LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
DIP = (Path(__file__).parents[3] / "docs" / "how-to" / "dip.yaml").read_text("utf-8")


def policy(text: str, *changes: tuple[str, str]) -> Policy:
    """Load a policy with some of its text replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return load_policy(text, "policy").required()


def compared(*changes: tuple[str, str]) -> bool | None:
    """Compare the policy of the documentation with a changed one."""
    return equal(policy(DIP), policy(DIP, *changes), Budget())


@pytest.mark.parametrize("name", policies.shipped())
def test_a_policy_equals_itself(name: str) -> None:
    """However it is loaded."""
    text = policies.read(name)
    assert equal(policy(text), policy(text), Budget()) is True


EQUAL = {
    "a name": (("exit:", "way-out:"),),
    "a condition said otherwise": (("held and rsi > 70", "not (not held or rsi <= 70)"),),
    "a condition that always holds beside": (("held and rsi > 70", "held and rsi > 70 and rsi > 60"),),
    "the order of two exits": (("priority: 900", "priority: 400"),),
    "a rule behind one like it": (
        ("  dip:", "  deep: {priority: 90, when: not held and rsi < 20, then: buy to target}\n  dip:"),
    ),
    "a gate that never closes": (("gates:", "gates:\n  never: {vetoes: [buy], when: rsi > 100}"),),
    "an alias": (("indicators: {rsi: rsi(14)}", "indicators: {index: rsi(14)}"), ("rsi <", "index <"),
                 ("rsi >", "index >")),
    "an order of factors": (("then: buy to target", "then: buy to 100% of target"),),
    "a version": (("version: 1.0.0", "version: 1.0.1"),),
}  # fmt: skip
DIFFERENT = {
    "a threshold": (("rsi < 30", "rsi < 31"),),
    "a comparator": (("rsi > 70", "rsi >= 70"),),
    "a size": (("buy to target", "buy to 50% of target"),),
    "a count": (("1 buys", "2 buys"),),
    "a gate": (("vetoes: [buy]", "vetoes: [buy, sell]"),),
    "a cooldown": (("since_order < 30m", "since_order < 31m"),),
    "an action": (("then: sell all", "then: sell to 10 USD"),),
    "a weight": (("BTC-USD: 10%", "BTC-USD: 11%"),),
    "what orders cost at most": (("limits:", "orders: {buy: {limit: 102% of ask}}\nlimits:"),),
    "a symbol": (("ETH-USD: 5%", "SOL-USD: 5%"),),
    "a length": (("rsi(14)", "rsi(15)"),),
}


@pytest.mark.parametrize("changes", EQUAL.values(), ids=EQUAL)
def test_what_changes_nothing_is_proved(changes: tuple[tuple[str, str], ...]) -> None:
    """Names, versions and conditions said otherwise decide alike."""
    assert compared(*changes) is True


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT)
def test_what_changes_something_is_shown(changes: tuple[tuple[str, str], ...]) -> None:
    """Each by facts on which the two decide differently."""
    assert compared(*changes) is False


def test_another_meaning_of_a_count_is_undecided() -> None:
    """No fact vector serves both where a limit counts over another time: nothing is claimed."""
    assert compared(("per 1h", "per 2h")) is None


def test_unknown_facts_tell_policies_apart() -> None:
    """A gate that lets the Unknown pass differs only where something is Unknown."""
    gate = ("gates:", "gates:\n  calm: {vetoes: [sell], when: drawdown > 50%}")
    passing = ("gates:", "gates:\n  calm: {vetoes: [sell], when: drawdown > 50%, if_unknown: pass}")
    old, new = policy(DIP, gate), policy(DIP, passing)
    (pair, *_) = pairs(old, new, lower_all(old), lower_all(new), Budget())
    assert equal(old, new, Budget()) is False
    found = pair.unknown.replayed()
    assert found is not None
    assert found[pair.before.slot("drawdown")] != found[pair.before.slot("drawdown")]


def test_without_time_nothing_is_claimed() -> None:
    """A proof that was not made is no proof; what differs is shown all the same, if a sample does."""
    spent = Budget(over=lambda: True)
    said_otherwise = policy(DIP, *EQUAL["a condition said otherwise"])
    assert equal(policy(DIP), said_otherwise, spent) is None


def test_a_renamed_rule_keeps_its_once() -> None:
    """The fact that a rule's period is used up belongs to the rule, not to its name."""
    once = policy(DIP, ("then: buy to target", "then: buy to target, once: day"))
    renamed = policy(DIP, ("then: buy to target", "then: buy to target, once: day"), ("dip:", "dive:"))
    one, other = lower_all(once)["BTC-USD"], lower_all(renamed)["BTC-USD"]
    assert one != other
    assert alike(*aligned(one, other))
    assert equal(once, renamed, Budget()) is True


@pytest.mark.parametrize("name", policies.shipped())
def test_mutants_are_judged_rightly(name: str) -> None:
    """What is said to be equal decides alike on other samples, too; hardly anything is left undecided."""
    original = policy(policies.read(name))
    mutants = mutants_of(original)
    chosen = mutants if LONG else random.Random(7).sample(mutants, 8)
    undecided = 0
    for mutant in chosen:
        answer = equal(original, mutant.policy, Budget())
        undecided += answer is None
        if answer:
            _agree(original, mutant.policy, 40)
    assert undecided <= len(chosen) // 5


def _agree(old: Policy, new: Policy, count: int) -> None:
    for pair in pairs(old, new, lower_all(old), lower_all(new), Budget()):
        for values in sampled(pair.after, count):  # not the samples that are tried first
            assert not pair.differs(*pair.decided(values)), values


@pytest.mark.parametrize("seed", range(300 if LONG else 6))
def test_random_policies(seed: int) -> None:
    """A random policy equals itself; a mutant that is proved to be equal decides alike."""
    loaded = load_policy(policy_text(random.Random(seed)), "random")
    if loaded.policy is None:
        pytest.skip("refused by the loader")
    assert equal(loaded.policy, loaded.policy, Budget()) is True
    mutants = mutants_of(loaded.policy)
    for mutant in random.Random(seed).sample(mutants, min(3, len(mutants))):
        if equal(loaded.policy, mutant.policy, Budget(question_limit=300_000)):
            _agree(loaded.policy, mutant.policy, 40)
