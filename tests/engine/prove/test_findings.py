"""Every kind of finding in small policies: what must be found, what must not, and that it is as told."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pytest

from engine.codes import Action, Disposition, Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.formulas import Formula, every, negation, some
from engine.evaluate.symbolic.solver import Answer, Budget
from engine.evaluate.verdict import WOULD_EXIT
from engine.language.load import Loaded
from engine.lowered import LoweredPolicy, NodeKind, SlotOrigin
from engine.model import Decision
from engine.prove.exits import _sendable
from engine.prove.finding import Finding
from engine.prove.proving import Proved
from engine.prove.region import Literal, Region
from engine.prove.samples import sampled
from engine.prove.variant import IN_ORDER, Variant, variants_of
from engine.units import QUANTITY_SCALE
from engine.verbs.decide import decide
from engine.verbs.terms import slots_of_term
from engine.vocabulary import SESSION
from tests.engine.prove.replaying import codes, of_code, proved, replayed
from tests.engine.prove.test_seeded_faults import _allowed
from tests.evidence import Evidence
from tests.policy_blocks import whole

BASE: Final = """\
apiVersion: tradectl/v1
policy: small
version: 1.0.0
selection: exits_first
bars: 15m
every: 1m
universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%, ETH-USD: 10%}}}
indicators: {rsi: rsi(14), fast: ema(12), slow: ema(26)}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  hot: {priority: 500, when: held and rsi > 70, then: sell all}
  dip: {priority: 100, when: not held and rsi < 30 and fast > slow, then: buy to target}
"""
STOP: Final = (
    "rules:\n  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}\n"
)
BY_PRIORITY: Final = "selection: by_priority\n"
VOTED: Final = "signals: {mix: {votes: {a: {weight: 1, buy: rsi < 35, sell: rsi > 65, hold: 1}}}}\n"


def rules(*written: str) -> str:
    """Return the stop and further rules, by descending priority."""
    rows = (f"  r{n}: {{priority: {800 - n}, {rule}}}\n" for n, rule in enumerate(written))
    return STOP + "".join(rows)


FOUND: Final = {
    "contradiction": (rules("when: held and gain > 9% and gain < 8%, then: sell all"), "unreachable-rule"),
    "contradiction beside an alternative": (
        rules("when: held and (rsi < 20 or rsi > 80) and gain > 9% and gain < 8%, then: sell all"),
        "unreachable-rule",
    ),
    "a bound beyond the range": (
        rules(
            "when: not held and rsi > 100, then: buy to target",
        ),
        "unreachable-rule",
    ),
    "shadowed by the same action": (
        rules(
            "when: not held and rsi < 30, then: buy to 50% of target",
            "when: not held and rsi < 20, then: buy to target",
        ),
        "shadowed-rule",
    ),
    "shadowed by two rules together": (
        rules(
            "when: not held and rsi < 50, then: hold",
            "when: not held and rsi >= 50, then: hold",
            "when: not held and fast > slow, then: buy to target",
        ),
        "shadowed-rule",
    ),
    "always vetoed": (
        rules(
            "when: not held and rsi < 30, then: buy to target",
        )
        + "gates: {no: {vetoes: [buy], when: rsi < 40}}\n",
        "shadowed-rule",
    ),
    "always true": (rules("when: not held and rsi < 30 and rsi <= 100, then: buy to target"), "always-true"),
    "always false": (
        rules("when: not held and (rsi < 30 or rsi < 0), then: buy to target"),
        "always-false",
    ),
    "sold at once": (
        rules("when: held and rsi < 50, then: sell all", "when: not held and rsi < 40, then: buy to target"),
        "entry-always-exits",
    ),
    "priority alone": (
        rules(
            "when: not held and rsi < 30, then: buy to 50% of target",
            "when: not held and fast > slow, then: hold",
        ),
        "priority-decides",
    ),
    "a hold over an exit": (
        BY_PRIORITY
        + rules(
            "when: held and rsi > 60, then: hold",
            "when: held and fast < slow, then: sell all",
        ),
        "exit-overruled",
    ),
    "a trim over an exit": (
        BY_PRIORITY
        + rules(
            "when: held and rsi > 60, then: sell to 50% of target",
            "when: held and fast < slow, then: sell all",
        ),
        "exit-overruled",
    ),
    "an entry beside an exit": (
        rules("when: rsi < 30 and position_value < 50% of target, then: buy to target"),
        "entry-against-exit",
    ),
    "a gate on stops": (
        rules() + "gates: {wait: {vetoes: [sell, protective], when: since_order < 5m}}\n",
        "gate-vetoes-protective",
    ),
    "a signal no rule acts on": (VOTED + rules(), "lost-signal"),
    "a signal that is dropped": (
        VOTED + rules("when: held and mix.side == sell and gain > 0%, then: sell all"),
        "lost-signal",
    ),
    "a buy against a signal": (
        VOTED + rules("when: not held and fast > slow, then: buy to target"),
        "entry-against-signal",
    ),
    "a trap": (rules() + "gates: {few: {vetoes: [sell, protective], when: entries > 2}}\n", "trap"),
    "a gap": ("", "gap"),
    "a limit out of reach": (
        rules("when: not held and rsi < 30, then: buy to 20% of equity")
        + "limits: {cap: {at_most: 50% of equity, per: order}}\n",
        "limit-never-binds",
    ),
    "a limit on every order": (
        rules("when: not held and rsi < 30, then: buy 20% of equity, once: day")
        + "limits: {cap: {at_most: 5% of equity, per: order}}\n",
        "limit-always-binds",
    ),
}
NOT_FOUND: Final = {
    "one step between": (
        rules("when: held and gain > 8% and gain < 8.02%, then: sell all"),
        {"unreachable-rule", "shadowed-rule"},
    ),
    "the last of the range": (
        rules(
            "when: not held and rsi >= 100, then: buy to target",
        ),
        {"unreachable-rule"},
    ),
    "an exit of a rarer kind": (
        rules(
            "when: held and rsi > 70, then: sell all",
            "when: held and rsi > 60, then: sell to 50% of target",
        ),
        {"shadowed-rule", "unreachable-rule", "priority-decides", "exit-overruled"},
    ),
    "a fuller exit below": (  # it leaves less, so it wins whatever its priority
        rules(
            "when: held and rsi > 60, then: sell to 50% of target",
            "when: held and rsi > 70, then: sell all",
        ),
        {"shadowed-rule", "priority-decides"},
    ),
    "one may be false while the other is true": (
        rules(
            "when: not held and rsi < 30 and fast > slow, then: hold",
            "when: not held and rsi < 25, then: buy to target",
        ),
        {"shadowed-rule"},
    ),
    "entries without an exit": (
        rules("when: not held and rsi < 30, then: buy to target"),
        {"entry-against-exit", "entry-always-exits", "exit-overruled", "trap", "lost-exit"},
    ),
    "exits above under by_priority": (BY_PRIORITY, {"exit-overruled"}),
    "a gate on entries": (
        rules() + "gates: {wait: {vetoes: [buy], when: since_order < 5m}}\n",
        {"gate-vetoes-protective", "gate-vetoes-exit", "trap"},
    ),
    "every side is acted on": (
        VOTED
        + rules(
            "when: held and mix.side == sell, then: sell all",
            "when: not held and mix.side == buy, then: buy to target",
        ),
        {"lost-signal", "entry-against-signal"},
    ),
    "a limit that binds at times": (
        rules("when: not held and rsi < 30, then: buy to 90% of cash")
        + "limits: {cap: {at_most: 50% of equity, per: order}}\n",
        {"limit-never-binds", "limit-always-binds"},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    """The fault is found, and its example decides what is told, by both evaluators."""
    part, code = FOUND[name]
    loaded, said = proved(whole(part, BASE))
    assert code in codes(said)
    assert not said.left_open
    for one in said.findings:
        if one.example is not None:
            replayed(loaded, one.example)


@pytest.mark.parametrize("name", NOT_FOUND)
def test_not_found(name: str) -> None:
    """What only looks like a fault is none."""
    part, absent = NOT_FOUND[name]
    _, said = proved(whole(part, BASE))
    assert not codes(said) & absent
    assert not said.left_open


def test_what_clashes_is_what_is_told() -> None:
    """Of an unreachable rule the comparisons are named that contradict each other, no alternatives."""
    part, _ = FOUND["contradiction beside an alternative"]
    (one,) = of_code(proved(whole(part, BASE))[1], "unreachable-rule")
    assert "gain > 9% and gain < 8%" in one.problem.message


def test_an_example_may_state_what_promises_alone_read() -> None:
    """It is a facts file all the same."""
    promised = 'promises: {p: {given: "highest(rsi, 5) > 80", never: action == sell}}\n'
    loaded, said = proved(whole(promised, BASE))
    (one,) = of_code(said, "promise-refuted")
    assert one.example is not None
    assert "highest(rsi, 5)" in dict(one.example.facts)
    assert replayed(loaded, one.example).decision.action is Action.SELL


# --- regions ----------------------------------------------------------------------------------

WITH_REGIONS: Final = (
    "gap",
    "priority-decides",
    "exit-overruled",
    "entry-against-exit",
    "gate-vetoes-protective",
    "lost-signal",
)


def regions_of(code: str) -> Iterator[tuple[str, Loaded, Proved, Finding, Region]]:
    """Yield the findings of a kind that have a region, in the policies above."""
    for name, (part, _) in FOUND.items():
        loaded, said = proved(whole(part, BASE))
        for one in of_code(said, code):
            # Where no rule compares the side of a signal, its region has it in words alone.
            if one.region is not None and one.region.literals:
                yield name, loaded, said, one, one.region


def holds(policy: LoweredPolicy, literals: Sequence[Literal], values: list[float]) -> bool:
    """Say whether facts lie in a region."""
    truths = ReferenceEvaluator(policy).evaluate(list(values)).truths
    at = {node.atom: index for index, node in enumerate(policy.nodes) if node.kind is NodeKind.ATOM}
    return all(truths[at[one.atom]] == (Truth.TRUE if one.holds else Truth.FALSE) for one in literals)


def _nearby(
    policy: LoweredPolicy, one: Finding, literals: Sequence[Literal], rng: random.Random
) -> Iterator[list[float]]:
    """Yield random facts in a region: what its comparisons read as in the example, and anything else."""
    assert one.example is not None
    shown = one.example.outcome.values
    read = {
        slot
        for literal in literals
        for term in (policy.atoms[literal.atom].left, policy.atoms[literal.atom].right)
        for slot in slots_of_term(term)
    }
    at = {slot.name: index for index, slot in enumerate(policy.slots)}
    usual = {**IN_ORDER, "session": SESSION.words.index("regular"), "quote_age": 0, "equity_estimated": 0}
    for values in sampled(policy, 400):
        for index, slot in enumerate(policy.slots):
            calm = slot.name in usual or slot.origin is SlotOrigin.ONCE
            if index in read or (shown[index] == shown[index] and rng.randrange(2)):
                values[index] = shown[index]
            elif calm:
                values[index] = float(usual.get(slot.name, 0))
        if values[at["held"]]:
            for name, index in at.items():
                if name in ("gain", "peak_gain", "entry_price", "peak_price", "held_for"):
                    values[index] = shown[index] if shown[index] == shown[index] else 1.0
            values[at["position_qty"]] = max(values[at["position_qty"]], 1.0)
        values[at["ask"]] = max(values[at["ask"]], values[at["bid"]])
        values[at["price"]] = values[at["bid"]]
        if _allowed(policy, values) and holds(policy, literals, values):
            yield values


def shows(policy: LoweredPolicy, one: Finding, values: list[float], decision: Decision) -> bool:
    """Say whether a decision shows what a finding tells."""
    named = [_rule(policy, text) for text in re.findall(r"'([^']*)'", one.problem.message)]
    first, second = ([index for index in named if index >= 0] + [-1, -1])[:2]
    beaten = (Disposition.OUTRANKED, Disposition.CONCURRED)
    match one.problem.code:
        case "gap":
            return Truth.TRUE not in decision.truths
        case "priority-decides" | "exit-overruled":
            return decision.rule == first and decision.dispositions[second] in beaten
        case "entry-against-exit":
            return decision.truths[first] == decision.truths[second] == Truth.TRUE
        case "gate-vetoes-protective":
            return decision.dispositions[first] == Disposition.VETOED
        case "lost-signal":
            return Disposition.NOT_ADOPTED in decision.signal_dispositions
    raise AssertionError(one.problem.code)


def _rule(policy: LoweredPolicy, name: str) -> int:
    return next((index for index, rule in enumerate(policy.rules) if rule.name == name), -1)


def _would_exit(policy: LoweredPolicy, decision: Decision) -> bool:
    gate = next((index for index, one in enumerate(policy.gates) if one.name == WOULD_EXIT), -1)
    pairs = zip(decision.dispositions, decision.causes, strict=True)
    return any(disposition == Disposition.VETOED and cause == gate for disposition, cause in pairs)


@pytest.mark.parametrize("code", WITH_REGIONS)
def test_wherever_the_region_is_so_is_the_fault(code: str, evidence: Evidence) -> None:
    """Random facts in a region show the fault, and so does the example, which lies in it."""
    rng = random.Random(1)
    drawn = 0
    for name, loaded, _, one, region in regions_of(code):
        assert one.example is not None
        form = loaded.lowered[one.example.symbol]
        reference = ReferenceEvaluator(form)
        situation = one.example.outcome.vector.situation
        if not situation.stated:
            assert holds(form, region.literals, one.example.outcome.values), (name, region.words)
        for values in _nearby(form, one, region.literals, rng):
            quantity = round(values[form.slot("position_qty")] * QUANTITY_SCALE)
            decision = decide(reference, values, replace(situation, quantity=quantity, stated=0))
            if not _would_exit(form, decision):  # what the region does not tell
                drawn += 1
                assert shows(form, one, values, decision), (name, region.words, values)
    assert drawn > 20
    evidence(f"{drawn} random facts")


Fault = Callable[[Variant, int, int], tuple[Formula, list[Formula]]]
FAULTS: Final[dict[str, Fault]] = {
    "gap": lambda v, _a, _b: (
        negation(some(candidate.matches for candidate in v.terms.candidates)),
        [v.in_order],
    ),
    "priority-decides": lambda v, a, b: (
        every((v.terms.candidates[a].wins, v.terms.candidates[b].stands)),
        [v.in_order, *(negation(bit) for bit in v.terms.would_exit.values())],
    ),
    "exit-overruled": lambda v, a, b: (
        every((v.terms.candidates[a].wins, v.terms.candidates[b].stands)),
        _sendable(v),
    ),
    "entry-against-exit": lambda v, a, b: (
        every((v.terms.candidates[a].matches, v.terms.candidates[b].stands)),
        _sendable(v),
    ),
}


@pytest.mark.parametrize("code", FAULTS)
def test_no_comparison_of_a_region_can_be_left_out(code: str) -> None:
    """All together rule out that there is no fault; without any one of them there may be none."""
    looked_at = 0
    for name, loaded, _, one, region in regions_of(code):
        variant = next(variants_of(loaded.required(), loaded.lowered, Budget()))
        rules_named = [_rule(variant.lowered, text) for text in re.findall(r"'([^']*)'", one.problem.message)]
        a, b = ([index for index in rules_named if index >= 0] + [0, 0])[:2]
        fault, given = FAULTS[code](variant, a, b)
        formulas = region.formulas(variant)
        told = (name, region.words)
        assert variant.ask(*formulas, *given, negation(fault)) is Answer.IMPOSSIBLE, told
        for formula in formulas:
            rest = [other for other in formulas if other is not formula]
            assert variant.ask(*rest, *given, negation(fault)) is Answer.POSSIBLE, told
        looked_at += 1
    assert looked_at
