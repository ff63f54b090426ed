"""Promises of a policy, proved or refuted: about one decision here, over time in ``engine.prove.over_time``.

A promise is proved where its violation is impossible: with any fact Unknown, and with either truth of a
comparison whose computed operand lies on the edge of its rounding.  It is refuted by an example that was
decided by the real ``decide`` and broke the promise there.  What is neither is undecided.

Assumed of facts is what the vocabulary says, and one thing more: a quote that may be traded on has a bid and
an ask, as the fact maker takes both from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from engine.codes import Action
from engine.evaluate.symbolic.conditions import Kleene
from engine.evaluate.symbolic.formulas import Formula, every, implies, negation
from engine.evaluate.symbolic.solver import Answer, Model
from engine.language.lower_promises import LoweredPromise, OutcomeKind
from engine.lowered import FactSlot, LimitKind, LimitScope, SlotOrigin
from engine.prove.example import Confirms, Example, Outcome, example, used_up
from engine.prove.outcomes import give_outcomes, stage_words
from engine.prove.proof import Proof, Verdict
from engine.prove.region import Region, decisive_atoms, region_around
from engine.prove.variant import Variant
from engine.units import MONEY_SCALE, Measure, notional
from engine.verbs.numbers import decimal
from engine.verbs.promises import PromiseJudge
from engine.verbs.terms import atoms_of_node, slots_of_node, slots_of_term
from engine.vocabulary import FACTS, QUOTE_STATE, Family

OUT_OF_TIME = "the solver's share of the time was used up"
_CENT = MONEY_SCALE // 100
_BY_EXAMPLE = "by an example"
_BY_UNKNOWN = "by an example in which a fact is Unknown"
_NO_FACTS = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL, SlotOrigin.OUTCOME)


def prove_promises(variant: Variant) -> list[Proof]:
    """Prove or refute every promise of a variant, in the order of the file."""
    if not variant.form.promises:
        return []  # the variant of which anything may be Unknown need not be made
    prover = PromiseProver(variant)
    return [
        _over_time(prover, promise) if promise.promise.over_time else prover.prove(promise)
        for promise in variant.form.promises
    ]


def _over_time(prover: PromiseProver, promise: LoweredPromise) -> Proof:
    from engine.prove.over_time import prove_over_time  # which asks about single decisions, too

    return prove_over_time(prover, promise)


class PromiseProver:
    """Asks about the decisions of one variant: with all facts known, and with any of them Unknown."""

    def __init__(self, variant: Variant) -> None:
        """Give the variant's promises what they read; ``unknown`` is the same variant, any fact Unknown."""
        self.known = variant
        self.unknown = variant.unknown
        self.judge = PromiseJudge(variant.form)
        for one in (self.known, self.unknown):
            give_outcomes(one)

    # --- one decision -------------------------------------------------------------------------

    def prove(self, promise: LoweredPromise) -> Proof:
        """Prove or refute a promise about one decision."""
        fault = violation(self.unknown, promise)
        answer = self.unknown.ask(fault, has_touch(self.unknown))
        if answer is Answer.IMPOSSIBLE:
            return self.proof(promise, Verdict.PROVED, "for every snapshot")
        found = self.counterexample(promise)
        if found is not None:
            shown, how = found
            where = self.region(promise, shown)
            return self.proof(promise, Verdict.REFUTED, how, region=where, example=shown)
        if self.impossible(fault):
            return self.proof(promise, Verdict.PROVED, "for every snapshot")
        how = OUT_OF_TIME
        if answer is Answer.POSSIBLE:
            how = "no snapshot was found that breaks it, and none is excluded"
        return self.proof(promise, Verdict.UNDECIDED, how)

    def impossible(self, *formulas: Formula) -> bool:
        """Say whether formulas are impossible together with any facts Unknown; products as they are."""
        told = has_touch(self.unknown)
        if self.unknown.ask(told, *formulas) is Answer.IMPOSSIBLE:
            return True
        exact = self.unknown.snapshot.exact
        return bool(exact) and self.unknown.ask(told, *exact, *formulas) is Answer.IMPOSSIBLE

    def proof(
        self,
        promise: LoweredPromise,
        verdict: Verdict,
        how: str,
        *,
        stage: str = "",
        region: Region | None = None,
        example: Example | None = None,
    ) -> Proof:
        """Return what is said of a promise."""
        return Proof(
            promise.promise.name,
            promise.promise.span,
            self.known.symbols,
            verdict,
            how,
            stage or stage_words(self.known, self._slots(promise)),
            region,
            example,
        )

    def _slots(self, promise: LoweredPromise) -> list[int]:
        return [slot for node in nodes_of(promise) for slot in slots_of_node(self.known.form.lowered, node)]

    # --- counterexamples ----------------------------------------------------------------------

    def counterexample(self, promise: LoweredPromise) -> tuple[Example, str] | None:
        """Return a situation that breaks a promise, and its kind: in order and all known, if it may be."""

        def confirms(outcome: Outcome) -> bool:
            values = [*outcome.values, *outcome.beyond]
            judgement = self.judge.judge(values, outcome.decision, outcome.vector.situation)
            return promise in judgement.broken

        for variant, beside in self._searched():
            formulas = [violation(variant, promise), *beside]
            shown = example(variant, [*formulas, *_as_known_as_may_be(variant, formulas)], confirms)
            if shown is not None:
                return shown, _BY_EXAMPLE if variant is self.known else _BY_UNKNOWN
        filled = self._at_its_limits(promise, confirms)
        return None if filled is None else (filled, _BY_EXAMPLE)

    def _at_its_limits(self, promise: LoweredPromise, confirms: Confirms) -> Example | None:
        """Return a buy that fills every limit of exposure up, where that breaks a promise."""
        exposures = [
            self.known.form.outcomes[slot].scope
            for slot in self._slots(promise)
            if slot in self.known.form.outcomes
            and self.known.form.outcomes[slot].kind is OutcomeKind.EXPOSURE
        ]
        if not exposures:
            return None
        buys = [given(self.known, promise), self.known.terms.decides(Action.BUY), self.known.in_order]
        shown = example(self.known, buys, lambda outcome: outcome.decision.order is not None)
        if shown is None or (order := shown.outcome.decision.order) is None:
            return None
        bought = notional(order.quantity, order.sized_at)
        usage: dict[LimitScope, int] = {}
        for index, limit in enumerate(self.known.lowered.limits):
            if limit.kind is LimitKind.EXPOSURE_AT_MOST and limit.scope in exposures:
                bound = round(self.known.reference.bound(index, shown.outcome.values) * MONEY_SCALE)
                usage[limit.scope] = min(bound - bought, usage.get(limit.scope, bound))
        literals = {
            limit.name: f"{decimal(Decimal(max(0, usage[limit.scope]) // _CENT * _CENT) / MONEY_SCALE)} USD"
            for limit in self.known.lowered.limits
            if limit.kind is LimitKind.EXPOSURE_AT_MOST and limit.scope in usage
        }
        filled = used_up(self.known, shown, literals)
        return filled if filled is not None and confirms(filled.outcome) else None

    def _searched(self) -> Iterator[tuple[Variant, list[Formula]]]:
        yield self.known, [self.known.in_order]
        yield self.known, []
        yield self.unknown, [self.unknown.in_order, has_touch(self.unknown)]
        yield self.unknown, [has_touch(self.unknown)]

    def region(self, promise: LoweredPromise, shown: Example) -> Region | None:
        """Return where a promise is broken, around an example of it."""
        for variant, beside in self._searched():
            fault = violation(variant, promise)
            model = _near(variant, shown, [fault, *beside])
            if model is not None:
                return region_around(
                    variant,
                    model,
                    fault,
                    given=beside,
                    prefer=self._told_atoms(variant, promise),
                    beside=[*_come_about(variant), *variant.terms.would_exit.values()],
                )
        return None

    @staticmethod
    def _told_atoms(variant: Variant, promise: LoweredPromise) -> list[int]:
        """Return the comparisons of a promise that read facts alone."""
        policy = variant.form.lowered
        atoms = [atom for node in nodes_of(promise) for atom in atoms_of_node(policy, node)]
        own = set(decisive_atoms(policy))
        return [
            atom
            for atom in dict.fromkeys(atoms)
            if atom in own
            or not any(
                policy.slots[slot].origin is SlotOrigin.OUTCOME
                for term in (policy.atoms[atom].left, policy.atoms[atom].right)
                for slot in slots_of_term(term)
            )
        ]


# --- formulas ---------------------------------------------------------------------------------


def nodes_of(promise: LoweredPromise) -> list[int]:
    """Return the conditions of a promise."""
    return [node for node in (promise.given, promise.always, promise.never) if node >= 0]


def given(variant: Variant, promise: LoweredPromise) -> Formula:
    """A promise claims something."""
    return True if promise.given < 0 else _truth(variant, promise.given).true


def violation(variant: Variant, promise: LoweredPromise) -> Formula:
    """A promise claims something, and ``always`` is not true, or ``never`` not false."""
    kept: list[Formula] = []
    if promise.always >= 0:
        kept.append(_truth(variant, promise.always).true)
    if promise.never >= 0:
        kept.append(_truth(variant, promise.never).false)
    return every((given(variant, promise), negation(every(kept))))


def _truth(variant: Variant, node: int) -> Kleene:
    return variant.terms.node(node)


def _come_about(variant: Variant) -> list[Formula]:
    """The order of each rule is made if the rule is chosen: its size, cash and the venue leave something."""
    pairs = zip(variant.lowered.rules, variant.terms.candidates, strict=True)
    return [implies(one.wins, one.acts) for rule, one in pairs if rule.action is not Action.HOLD]


def has_touch(variant: Variant) -> Formula:
    """A quote that may be traded on has a bid and an ask."""
    state, bid, ask = (
        variant.terms.variable(variant.lowered.slot(name)) for name in ("quote_state", "bid", "ask")
    )
    tradable = state.value == QUOTE_STATE.words.index("tradable")
    return every((state.known, implies(tradable, every((bid.known, ask.known)))))


def _as_known_as_may_be(variant: Variant, formulas: Sequence[Formula]) -> list[Formula]:
    """Return that facts are known: all of which the formulas do not need one to be Unknown."""
    if not variant.snapshot.anything_unknown:
        return []
    held = every((variant.terms.variable(variant.lowered.slot("held")).known, variant.held))
    pins = [
        implies(held, one.known) if _of_a_position(one.slot) else one.known
        for one in variant.snapshot.variables.values()
    ]
    while variant.ask(*formulas, *pins) is Answer.IMPOSSIBLE:
        core = {id(formula) for formula in variant.solver.core()}
        given_up = next((pin for pin in pins if id(pin) in core), None)
        if given_up is None:
            return []
        pins.remove(given_up)
    return pins


def _of_a_position(slot: FactSlot) -> bool:
    """Say whether a fact may be Unknown because nothing is held."""
    fact = FACTS.get(slot.name)
    return fact is not None and fact.family is Family.POSITION and fact.when_absent is None


def _near(variant: Variant, shown: Example, formulas: Sequence[Formula]) -> Model | None:
    """Return a model of the formulas at an example, or, where the votes' facts do not say it, anywhere."""
    for pins in (list(_pinned(variant, shown)), []):
        if variant.ask(*formulas, *pins) is Answer.POSSIBLE:
            return variant.model()
    return None


def _pinned(variant: Variant, shown: Example) -> Iterator[Formula]:
    values = (*shown.outcome.values, *shown.outcome.beyond)
    for index, (slot, value) in enumerate(zip(variant.form.lowered.slots, values, strict=True)):
        if value != value or (slot.origin in _NO_FACTS and not slot.name.endswith(".side")):
            continue
        variable = variant.terms.variable(index)
        if slot.unit is Measure.BOOLEAN:
            yield variable.value if value else negation(variable.value)
        else:
            yield variable.value == round(value * (slot.steps_per_unit or 1))
