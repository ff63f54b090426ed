"""Random policies: no fault seeded into them is missed, and what the prover says never happens never does."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from engine.codes import Action, Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.snapshot import slot_range
from engine.evaluate.symbolic.solver import Budget
from engine.invariants import SURE_AT_MOST
from engine.language.load import Loaded, load_policy
from engine.lowered import LoweredPolicy, NodeKind, SlotOrigin
from engine.prove.conditions import _owners, _parts, _words
from engine.prove.finding import Finding
from engine.prove.proving import Proved, prove
from engine.prove.samples import sampled
from engine.prove.variant import IN_ORDER
from engine.units import Measure
from engine.verbs.decide import decide
from tests.engine.evaluate.comparing import LONG
from tests.engine.prove.replaying import of_code, replayed
from tests.engine.prove.seeding import seeded
from tests.engine.prove.test_regions import related
from tests.evidence import Evidence
from tests.policy_texts import policy_text
from tests.situations import MINIMUM, random_facts, random_situation

SEEDED = 500 if LONG else 20
SLICES = 10
RANDOM = 300 if LONG else 3
FACTS = 5_000 if LONG else 400
"""Of each policy's variants together."""
QUESTION_LIMIT = 4_000_000 if LONG else 60_000
"""Hard questions of random policies are left open soon: here it matters what is said."""


def _proved(text: str) -> tuple[Loaded, Proved]:
    loaded = load_policy(text, "random.yaml")
    return loaded, prove(loaded.required(), loaded.lowered, Budget(question_limit=QUESTION_LIMIT))


def _for(loaded: Loaded, rule: str) -> set[str]:
    """Return the symbols for which a rule is left to the prover."""
    return {
        symbol
        for symbol, form in loaded.lowered.items()
        for one in form.rules
        if one.name == rule and form.nodes[one.when].kind is not NodeKind.CONSTANT
    }


@pytest.mark.parametrize("part", range(SLICES))
def test_no_seeded_fault_is_missed(part: int, evidence: Evidence) -> None:
    """A rule that contradicts itself is found in every policy, for all symbols it is for."""
    kinds: Counter[str] = Counter()
    for seed in range(part, SEEDED, SLICES):
        fault = seeded(policy_text(random.Random(seed)), random.Random(seed))
        if fault is None:
            kinds["none"] += 1
            continue
        loaded, said = _proved(fault.text)
        span = next(rule.span for rule in loaded.required().rules if rule.name == fault.rule)
        found = [one for one in of_code(said, "unreachable-rule") if one.problem.span == span]
        assert found, (seed, fault.contradiction)
        assert {symbol for one in found for symbol in one.symbols} >= _for(loaded, fault.rule), seed
        kinds[fault.kind] += 1
    assert sum(kinds.values()) - kinds["none"] >= 0.9 * SEEDED / SLICES
    evidence(", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items())))


def test_a_seeded_policy_is_otherwise_what_it_was() -> None:
    """What writes the policies changes nothing but the rule that it is to change."""
    from tests.engine.prove.seeding import with_conditions

    for seed in range(20 if LONG else 10):
        text = policy_text(random.Random(seed))
        before = load_policy(text, "random.yaml").required()
        after = load_policy(with_conditions(text, before.rules[0].name), "random.yaml").required()
        assert after.digest == before.digest


# --- what never happens -----------------------------------------------------------------------


def _allowed(policy: LoweredPolicy, values: list[float]) -> bool:
    """Say whether facts keep the vocabulary's ranges and relations: the prover speaks of no others."""
    at = {slot.name: values[index] for index, slot in enumerate(policy.slots)}
    for slot, value in zip(policy.slots, values, strict=True):
        if value == value and slot.unit is not Measure.BOOLEAN and slot.origin not in _VOTED:
            low, high = slot_range(slot)
            if not low <= round(value * (slot.steps_per_unit or 1)) <= high:
                return False
    for low_name, high_name in SURE_AT_MOST:
        if at.get(low_name, 0.0) > at.get(high_name, float("inf")):
            return False
    for suffix in ("", "_bars"):
        sides = [at[f"since_{side}{suffix}"] for side in ("buy", "sell") if f"since_{side}{suffix}" in at]
        if len(sides) == 2 and at.get(f"since_order{suffix}", min(sides)) != min(sides):
            return False
    held = bool(at["held"])
    if any(held != (at[name] == at[name]) for name in _EPISODE if name in at):
        return False  # all is known but what belongs to a position that is not held
    quantity = at["position_qty"]
    return (
        at["price"] == at["bid"]
        and (quantity > 0 or not held)
        and ("minimum" not in at or held == (quantity >= at["minimum"]))
        and (quantity != 0 or at.get("position_value", 0.0) == 0)
        and at.get("dust", 0.0) == (quantity > 0 and not held)
        and all(
            value == value
            for slot, value in zip(policy.slots, values, strict=True)
            if slot.origin not in _VOTED and slot.name not in _EPISODE and slot.origin is not SlotOrigin.FEED
        )
    )


_VOTED = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
_EPISODE = frozenset({"gain", "peak_gain", "peak_price", "entry_price", "last_entry_price", "held_for"}) | {
    "held_for_bars"
}


def _facts(policy: LoweredPolicy, count: int, rng: random.Random) -> Iterator[list[float]]:
    at = {slot.name: index for index, slot in enumerate(policy.slots)}
    candidates = [*sampled(policy, count // 2)]
    candidates += [related(policy, random_facts(policy, rng), rng) for _ in range(count // 2)]
    for values in candidates:
        held = values[at["held"]]
        for name in _EPISODE & at.keys():
            index = at[name]
            if not held:
                values[index] = float("nan")
            elif values[index] != values[index]:
                values[index] = 0.0 if name not in ("peak_price", "entry_price") else values[at["price"]]
        if "dust" in at:
            values[at["dust"]] = float(0 < values[at["position_qty"]] < MINIMUM and not held)
        if values[at["position_qty"]] == 0 and "position_value" in at:
            values[at["position_value"]] = 0.0
        if _allowed(policy, values):
            yield values


def _nodes(policy: LoweredPolicy, message: str) -> list[int]:
    """Return the conditions that a finding's message names."""
    named = re.match(r"(.+?): '(.*)' (?:can never be|is always) true", message)
    assert named is not None, message
    return [
        node
        for owner, top, _ in _owners(policy)
        if owner == named[1]
        for node in _parts(policy, top, whole=True)
        if _words(policy, node) == named[2]
    ]


def _never(policy: LoweredPolicy, one: Finding) -> Iterator[tuple[str, int]]:
    """Yield what a finding says never happens: a kind and a rule, condition or limit."""
    names = {rule.name: index for index, rule in enumerate(policy.rules)}
    limits = {limit.name: index for index, limit in enumerate(policy.limits)}
    quoted = re.findall(r"'([^']*)'", one.problem.message)
    match one.problem.code:
        case "unreachable-rule":
            yield "true", policy.rules[names[quoted[0]]].when
        case "always-false":
            yield from (("true", node) for node in _nodes(policy, one.problem.message))
        case "always-true":
            yield from (("false", node) for node in _nodes(policy, one.problem.message))
        case "shadowed-rule" | "entry-always-exits":
            yield "decides", names[quoted[0]]
        case "limit-never-binds":
            yield "binds", limits[quoted[0]]


def test_what_never_happens_never_does(evidence: Evidence) -> None:
    """In no facts at all, of those that the vocabulary allows; and every example comes out as it is told."""
    claims: Counter[str] = Counter()
    drawn = shown = 0
    for seed in range(RANDOM):
        rng = random.Random(seed)
        loaded, said = _proved(policy_text(rng))
        forms = {id(form): (form, symbol) for symbol, form in loaded.lowered.items()}
        for one in said.findings:
            if one.example is not None:
                replayed(loaded, one.example)
                shown += 1
        for form, symbol in forms.values():
            claimed = [
                (one, *claim) for one in said.findings if symbol in one.symbols for claim in _never(form, one)
            ]
            claims.update(one.problem.code for one, *_ in claimed)
            if not claimed:
                continue
            reference = ReferenceEvaluator(form)
            usual = {form.slot(name): float(value) for name, value in IN_ORDER.items()}
            for values in _facts(form, FACTS, rng):
                drawn += 1
                truths = reference.evaluate(list(values)).truths
                decision = decide(reference, list(values), random_situation(form, values, rng))
                in_order = all(values[slot] == value for slot, value in usual.items())
                order = decision.order
                for one, kind, index in claimed:
                    told = (seed, symbol, one.problem.message, values)
                    if kind == "true":
                        assert truths[index] != Truth.TRUE, told
                    elif kind == "false":
                        assert truths[index] != Truth.FALSE, told
                    elif kind == "decides" and in_order:
                        acts = form.rules[index].action is not Action.BUY or decision.action is Action.BUY
                        assert decision.rule != index or not acts, told
                    elif kind == "binds" and order is not None:
                        assert order.limited_by != index, told
    assert shown and drawn > RANDOM * 20
    assert not LONG or {"unreachable-rule", "always-true", "always-false", "shadowed-rule"} <= claims.keys()
    evidence(f"{drawn} facts, {shown} examples; " + ", ".join(f"{n} x {c}" for c, n in claims.items()))
