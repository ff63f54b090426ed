"""A missing fact never enables an order: language reference, "Unknown".

If a buy is decided with facts Unknown, every completion of those facts decides the same buy by the same rule
at the same size; so making a fact Unknown never turns another decision into a buy, nor makes one larger.
Cash, what limits have used, and the vocabulary's invariants are held fixed.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace

from hypothesis import HealthCheck, given, note, settings

from engine.codes import Action
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import Decision
from engine.verbs.decide import decide
from tests.engine.language.small import policy
from tests.evidence import Evidence
from tests.policy_texts import policy_text
from tests.situations import INSTRUMENT, MINIMUM, consistent, random_facts, random_situation
from tests.strategies import seeds

POLICIES = 5_000 if os.environ.get("TRADECTL_HYPOTHESIS") == "long" else 60
CASES = 40
COMPLETIONS = 5
_VOTED = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
_BY_INVARIANT = ("price", "held")  # they follow from bid and position_qty


def unknowable(form: LoweredPolicy) -> list[int]:
    """Return the slots of facts that may be made Unknown one by one."""
    return [
        index
        for index, slot in enumerate(form.slots)
        if slot.origin not in _VOTED and slot.name not in _BY_INVARIANT
    ]


def completed(form: LoweredPolicy, values: list[float], known: list[float]) -> list[float] | None:
    """Return the facts with every Unknown filled from ``known``; None where an invariant forbids it."""
    filled = [other if value != value else value for value, other in zip(values, known, strict=True)]
    held = form.slot("held")
    if values[held] != values[held]:
        filled[held] = math.nan
    whole = consistent(form, filled)
    same = (
        value != value or value == other or slot.origin in _VOTED
        for value, other, slot in zip(values, whole, form.slots, strict=True)
    )
    return whole if all(same) else None


def outcome(decision: Decision) -> tuple[object, ...]:
    """Return what must be the same."""
    return decision.action, decision.rule, decision.order


def test_a_buy_with_unknown_facts_is_the_buy_of_every_completion(evidence: Evidence) -> None:
    """The theorem, on random policies, facts and situations, by both evaluators in turn."""
    counted = {"decisions with Unknown facts": 0, "buys among them": 0, "completions of those": 0}

    @settings(max_examples=POLICIES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seeds)
    def hold(seed: int) -> None:
        rng = random.Random(seed)
        loaded = load_policy(policy_text(rng), "random.yaml").required()
        for form in {id(form): form for form in lower_all(loaded).values()}.values():
            facts, evaluators = unknowable(form), (ReferenceEvaluator(form), CompiledEvaluator(form))
            for number in range(CASES):
                evaluator = evaluators[number % 2]
                known = random_facts(form, rng)
                situation = random_situation(form, known, rng)
                values = list(known)
                for index in rng.sample(facts, rng.choice((1, 1, 2, 4))):
                    values[index] = math.nan
                values = consistent(form, values)
                decided = decide(evaluator, list(values), situation)
                counted["decisions with Unknown facts"] += 1
                before = decide(evaluator, list(known), situation)
                if decided.action is not Action.BUY:
                    continue
                counted["buys among them"] += 1
                assert before.action is Action.BUY, form.rules[decided.rule].name
                for attempt in range(COMPLETIONS):
                    whole = completed(form, values, random_facts(form, rng) if attempt else known)
                    if whole is not None:
                        counted["completions of those"] += 1
                        note(f"{[form.slots[i].name for i in facts if values[i] != values[i]]}")
                        assert outcome(decide(evaluator, list(whole), situation)) == outcome(decided)

    hold()
    evidence(", ".join(f"{count:,} {what}" for what, count in counted.items()))
    assert counted["buys among them"] > POLICIES / 4
    assert counted["completions of those"] > counted["buys among them"]


# --- what the property found ------------------------------------------------------------------

EXIT = "peak_gain < 1% and peak_gain > -1%"


def test_whether_an_entry_is_the_first_is_unknown_where_held_is() -> None:
    """With ``held`` Unknown the peak behind the entry is Unknown, not that of a first one."""
    found = policy(
        "cash > 1 USD",
        ("when: held and gain <= -loss", f"when: held and {EXIT}"),
        ("gain > roi and since_order > pause or pattern == sell", "cash < 1 USD"),
        ("held and spy < hour", "cash < 1 USD"),
        ("model.side == sell and fast > 1 USD", "cash < 1 USD"),
        ("buy to target", "buy 100 USD\n    once: day"),
    )  # fmt: skip
    form = lower_all(found)["BTC-USD"]
    rng = random.Random(0)
    usual = {
        "price": 100.0, "bid": 100.0, "ask": 100.0, "equity": 10_000.0, "cash": 9_000.0, "position_qty": 0.0,
        "position_value": 0.0, "held": 0.0, "quote_state": 0.0, "frozen": 0.0, "position_state": 0.0,
        "lease": 1.0, "agent_state": 0.0, "clock_state": 0.0, "unsendable": 0.0, "open_order": 0.0,
        "equity_estimated": 0.0, "peak_gain": 0.5, "peak_price": 90.0, "entry_price": 60.0, "once.entry": 0.0,
    }  # fmt: skip
    values = [usual.get(slot.name, math.nan) for slot in form.slots]
    situation = replace(
        random_situation(form, values, rng),
        instrument=INSTRUMENT,
        cash_available=10**10,
        quantity=0,
        usage=[],
    )
    evaluator = ReferenceEvaluator(form)
    first = decide(evaluator, list(values), situation)
    assert first.action is Action.HOLD  # a first entry has peak_gain 0: it would exit
    values[form.slot("position_qty")] = values[form.slot("held")] = math.nan
    unknown = decide(evaluator, list(values), situation)
    assert unknown.action is Action.HOLD
    values[form.slot("position_qty")], values[form.slot("held")] = 50 * MINIMUM, 1.0
    further = decide(evaluator, list(values), situation)
    assert further.action is Action.BUY
