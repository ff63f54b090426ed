"""Mutants: each is one small change, in one place, told with its place."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.language.types import facts_of_condition
from engine.prove.mutants import Change, Mutant, mutants_of
from tests.engine.prove.small_policy import policy
from tests.policies import shipped_cases as shipped


def told(part: str, change: Change, *changes: tuple[str, str]) -> list[str]:
    """Return what the mutants of one kind change in a part of the small policy."""
    found = mutants_of(policy(*changes))
    return [mutant.what for mutant in found if mutant.part == part and mutant.change is change]


def rule_when(mutant: Mutant, name: str) -> str:
    """Return what a mutant lets a rule read."""
    (rule,) = (rule for rule in mutant.policy.rules if rule.name == name)
    return repr(rule.when)


def test_comparators() -> None:
    """A comparison becomes its neighbour and its contrary; of words the contrary only."""
    assert told("rule stop", Change.COMPARATOR) == [
        "'gain <= -8%' becomes 'gain < -8%'",
        "'gain <= -8%' becomes 'gain > -8%'",
    ]
    assert [what for what in told("rule exit", Change.COMPARATOR) if "asset_class" in what] == [
        "'asset_class == crypto' becomes 'asset_class != crypto'"
    ]


@pytest.mark.parametrize(
    ("written", "others"),
    [("==", ["!=", "<=", ">="]), ("!=", ["==", "<", ">"]), (">", [">=", "<="]), (">=", [">", "<"])],
)
def test_every_comparator_has_others(written: str, others: list[str]) -> None:
    """Equality has both of its neighbours."""
    what = told("rule stop", Change.COMPARATOR, ("gain <= -8%", f"entries {written} 1"))
    assert what == [f"'entries {written} 1' becomes 'entries {other} 1'" for other in others]


def test_thresholds() -> None:
    """A step of the fact's grid up and down, and a tenth more."""
    assert told("rule stop", Change.THRESHOLD) == [
        "-8% becomes -7.99% in 'gain <= -8%'",
        "-8% becomes -8.01% in 'gain <= -8%'",
        "-8% becomes -8.8% in 'gain <= -8%'",
    ]
    assert told("parameter oversold", Change.THRESHOLD) == [
        "oversold 30 becomes 30.01",
        "oversold 30 becomes 29.99",
        "oversold 30 becomes 33",
        "oversold for crypto 25 becomes 25.01",
        "oversold for crypto 25 becomes 24.99",
        "oversold for crypto 25 becomes 27.5",
    ]


def test_a_number_that_is_compared_with_no_fact_moves_by_what_people_see() -> None:
    """A factor by 0.01 %, a table's thresholds by the step of what they are compared with."""
    factor = ("gain <= -8%", "price <= (100% - 1%) of entry_price")
    assert "1% becomes 1.01% in 'price <= (100% - 1%) of entry_price'" in told(
        "rule stop", Change.THRESHOLD, factor
    )
    table = ("  calm: rsi", "  roi: {by: held_for, from: {0m: 4%, 30m: 2%}}\n  calm: rsi")
    what = told("rule stop", Change.THRESHOLD, table, ("gain <= -8%", "gain >= roi"))
    assert "30m becomes 1801s in 'gain >= roi'" in what
    assert "4% becomes 4.01% in 'gain >= roi'" in what


def test_conditions() -> None:
    """And becomes or, a part of either is dropped, a boolean and a ``not`` change sides, each once."""
    assert told("rule stop", Change.CONNECTIVE) == ["'and' becomes 'or' in 'held and gain <= -8%'"]
    assert told("rule stop", Change.DROPPED) == [
        "'held' is dropped from 'held and gain <= -8%'",
        "'gain <= -8%' is dropped from 'held and gain <= -8%'",
    ]
    assert told("rule stop", Change.NEGATED) == ["'held' becomes 'not held'"]
    assert told("rule entry", Change.NEGATED) == [
        "'not held' becomes 'held'",
        "'not (rsi > 40 and rsi < 60)' becomes 'rsi > 40 and rsi < 60'",
    ]


def test_parts() -> None:
    """Rules, gates, votes and limits: what makes each of them what it is."""
    counted = Counter((mutant.part, mutant.change) for mutant in mutants_of(policy()))
    assert counted["rule stop", Change.REMOVED] == counted["rule stop", Change.PROTECTIVE] == 1
    assert counted["rule entry", Change.ONCE] == 1
    assert counted["rule entry", Change.SIZE] == 2
    assert told("rule exit", Change.PRIORITY) == ["'entry' goes before it"]
    assert told("gate cooldown", Change.VETOES) == [
        "'buy' is removed from what it vetoes",
        "'sell' is removed from what it vetoes",
    ]
    assert counted["gate calm", Change.VETOES] == 0  # without its only one it would be removed
    assert told("vote mood.rsi", Change.WEIGHT) == [
        "weight 2 becomes 3",
        "hold 1 becomes 1.5",
        "weight 2 becomes 1",
        "hold 1 becomes 0.5",
    ]
    assert told("limit rate", Change.COUNT) == ["at most 1 becomes at most 2", "at most 1 becomes at most 0"]
    assert told("limit rate", Change.WINDOW) == [
        "a window of 1h becomes 3601s",
        "a window of 1h becomes 3599s",
        "a window of 1h becomes 66m",
    ]
    assert told("limit least", Change.THRESHOLD)[0] == "10 USD becomes 10.01 USD in its bound"
    assert counted["orders buy", Change.THRESHOLD] == 0  # it is not written: the default


def test_ifs_of_unknown() -> None:
    """What Unknown does is changed, too, where it is written."""
    changes = (
        ("hold: 1}", "hold: 1, if_unknown: abstain}"),
        ("since_order < 30m}", "since_order < 30m, if_unknown: pass}"),
        ("[buy, sell], when: since", "[sell], when: since"),
    )
    assert told("vote mood.rsi", Change.IF_UNKNOWN, *changes) == ["'if_unknown: abstain' is removed"]
    assert told("gate cooldown", Change.IF_UNKNOWN, *changes) == ["'if_unknown: pass' is removed"]


def test_a_definition_changes_wherever_it_is_read() -> None:
    """It is written once, so it is one mutant, of all the parts that read it."""
    (mutant,) = (m for m in mutants_of(policy()) if m.what.startswith("40 becomes 40.01"))
    assert mutant.parts == ("rule entry", "gate calm")
    (gate,) = (gate for gate in mutant.policy.gates if gate.name == "calm")
    assert "40.01" in repr(gate.when)
    assert "40.01" in rule_when(mutant, "entry")


def test_a_cross_changes_one_half_at_a_time() -> None:
    """Both halves are written as one; each comparison is a mutant of its own, a number in both is one."""
    cross = ("gain <= -8%", "rsi crosses above 70")
    assert told("rule stop", Change.COMPARATOR, cross) == [
        "'prev(rsi) <= 70' becomes 'prev(rsi) < 70'",
        "'prev(rsi) <= 70' becomes 'prev(rsi) > 70'",
        "'rsi > 70' becomes 'rsi >= 70'",
        "'rsi > 70' becomes 'rsi <= 70'",
    ]
    assert len(told("rule stop", Change.THRESHOLD, cross)) == 3


def test_a_removed_rule_never_matches() -> None:
    """It stays by name: that its condition is false in every variant is its removal."""
    (mutant,) = (m for m in mutants_of(policy()) if m.id == "rule/exit/removed/1")
    for lowered in lower_all(mutant.policy).values():
        (rule,) = (rule for rule in lowered.rules if rule.name == "exit")
        assert not any(node.children for node in lowered.nodes[rule.when : rule.when + 1])
        assert rule.adopts == ()
    (old,) = (rule for rule in mutant.policy.rules if rule.name == "exit")
    assert list(facts_of_condition(old.when)) == []


def every_policy() -> list[Policy]:
    """Return the policies of which every mutant is looked at."""
    return [policy(), *map(shipped.policy, ("default", "conservative", "legacy-2025-11-18"))]


@pytest.mark.parametrize("original", every_policy(), ids=lambda found: found.name)
def test_every_mutant(original: Policy) -> None:
    """Its id is its own, its place is in the file, and it is another policy with the same names."""
    before = dict(lower_all(original))
    found = mutants_of(original)
    assert len({mutant.id for mutant in found}) == len(found)
    for mutant in found:
        assert mutant.policy != original
        assert mutant.policy.source is original.source
        line, _ = original.source.position(mutant.span.start)
        assert line > 1
        assert sorted(rule.name for rule in mutant.policy.rules) == sorted(r.name for r in original.rules)
        assert [gate.name for gate in mutant.policy.gates] == [gate.name for gate in original.gates]
        assert [limit.name for limit in mutant.policy.limits] == [limit.name for limit in original.limits]
    assert dict(lower_all(original)) == before  # nothing was changed in place


def test_ids_stay_while_other_parts_are_edited() -> None:
    """A new rule changes the ids of no other part."""
    before = {mutant.id: mutant.what for mutant in mutants_of(policy())}
    more = ("  entry:\n", "  early: {priority: 850, when: held and gain >= 50%, then: sell all}\n  entry:\n")
    after = {mutant.id: mutant.what for mutant in mutants_of(policy(more))}
    changed = {id_ for id_, what in before.items() if after.get(id_) != what}
    assert changed == {"rule/stop/priority/1"}


def test_steps_are_exact() -> None:
    """Nudged numbers are decimals: no float has been near them."""
    (mutant,) = (m for m in mutants_of(policy()) if m.what.startswith("oversold 30 becomes 29.99"))
    assert mutant.policy.parameters["oversold"].value == Decimal("29.99")
