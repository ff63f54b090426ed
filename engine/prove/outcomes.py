"""What a decision came to, as variables: the outcome slots of promises over the terms of a policy.

Of each outcome the formulas say what ``engine.verbs.decide`` guarantees, and nothing more.

*Exposure.*  ``decide`` makes a buy (``_limited_buy``) only where the usage ``u`` and the bound ``b`` of
every limit of exposure are known, and after ``q <= floor((b - u) / p)`` for each of them, ``p`` being the
price that sizes and reserves.  So ``q x p <= b - u``; ``b - u`` is a whole count of the money scale, so the
rounded notional is not above it either, and after the decision ``u + notional(q, p) <= b``.  ``b`` lies on
the grid of cents: rounding the sum to cents cannot lift it above ``b``.  What is bought later in the cycle
is another decision, which is held to the same bound with this one's order reserved.  All limits of one
scope count the same (one of the account that is ``for:`` a part of it does not), so each of them bounds the
exposure.

*Quantities.*  A buy that is made has a quantity above 0; of a rule sized in quantity it is at most what the
rule asks for.  A sell has at most what is owned, and none where an order of it is working.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.codes import Action
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.formulas import Formula, boolean, every, implies, integer, negation, same, some
from engine.evaluate.symbolic.snapshot import Variable
from engine.language.lower_promises import Outcome, OutcomeKind
from engine.lowered import FactSlot, LimitKind, LimitScope, SlotOrigin
from engine.prove.variant import Variant
from engine.units import GRID_PER_UNIT, Measure

_STAGES: Final = {
    OutcomeKind.VETO: "rules and gates",
    OutcomeKind.CANDIDATE_ACTION: "the choice among the rules",
    OutcomeKind.DECISION_ACTION: "the decision",
    OutcomeKind.FULL_EXIT: "what is left once it is filled whole",
    OutcomeKind.INTENT_QUANTITY: "the order's bounds",
    OutcomeKind.EXPOSURE: "limits of exposure, whatever else is held",
}
_CAVEAT: Final = (
    "the venue takes a sale of all that is held;"
    " cash, limits and least orders may leave nothing of a buy or a trim"
)


def stage_words(variant: Variant, slots: Sequence[int]) -> str:
    """Say what is modelled of a promise that reads some slots."""
    kinds = {
        variant.form.outcomes[slot].kind
        for slot in slots
        if variant.form.lowered.slots[slot].origin is SlotOrigin.OUTCOME
    }
    stages = [words for kind, words in _STAGES.items() if kind in kinds]
    said = ", ".join(stages) or "the facts of one symbol"
    decided = kinds - {OutcomeKind.VETO, OutcomeKind.CANDIDATE_ACTION}
    return f"{said}; {_CAVEAT}" if decided else said


def give_outcomes(variant: Variant) -> None:
    """Give every outcome slot of a variant's promises its variable; once is enough."""
    if variant.has_outcomes:
        return
    variant.has_outcomes = True
    maker = OutcomeTerms(variant, variant.terms)
    for slot, outcome in variant.form.outcomes.items():
        variant.terms.give(slot, maker.variable(variant.form.lowered.slots[slot], outcome))


class OutcomeTerms:
    """The outcomes of one decision as variables; ``terms`` are those of the form's policy."""

    def __init__(self, variant: Variant, terms: PolicyTerms) -> None:
        """Make nothing yet."""
        self._policy_limits = variant.policy.limits
        self._policy = variant.form.lowered
        self._terms = terms
        self._snapshot = terms.snapshot
        self._buys = terms.decides(Action.BUY)
        self._sells = terms.decides(Action.SELL)

    def variable(self, slot: FactSlot, outcome: Outcome) -> Variable:
        """Return the variable of an outcome slot."""
        match outcome.kind:
            case OutcomeKind.DECISION_ACTION:
                return self._action(slot, self._buys, self._sells)
            case OutcomeKind.CANDIDATE_ACTION:
                proposes = self._terms.proposes
                return self._action(slot, proposes(Action.BUY), proposes(Action.SELL))
            case OutcomeKind.INTENT_QUANTITY:
                return self._quantity(slot)
            case OutcomeKind.FULL_EXIT:
                return self._full_exit(slot)
            case OutcomeKind.EXPOSURE:
                return self._exposure(slot, outcome)
            case OutcomeKind.VETO:
                return Variable(slot, True, self._vetoed(outcome))

    def _action(self, slot: FactSlot, buys: Formula, sells: Formula) -> Variable:
        code = integer(self._snapshot.fresh(slot.name))
        self._snapshot.define(
            code,
            code >= Action.HOLD,
            code <= Action.SELL,
            same(code == Action.BUY, buys),
            same(code == Action.SELL, sells),
        )
        return Variable(slot, True, code)

    def _vetoed(self, outcome: Outcome) -> Formula:
        """A candidate is stopped by one of the gates; below a standing exit nobody asks for an entry's."""
        stands = [
            candidate.stands
            for rule, candidate in zip(self._policy.rules, self._terms.candidates, strict=True)
            if rule.action is Action.SELL
        ]
        asked = negation(some(stands)) if self._terms.exits_first else True
        vetoes = []
        for rule, candidate in zip(self._policy.rules, self._terms.candidates, strict=True):
            if rule.action in outcome.actions:
                by = some(formula for gate, formula in candidate.vetoed_by if gate in outcome.gates)
                vetoes.append(by if rule.action is Action.SELL else every((asked, by)))
        return some(vetoes)

    def _owned(self) -> Variable:
        return self._terms.variable(self._policy.slot("position_qty"))

    def _quantity(self, slot: FactSlot) -> Variable:
        quantity, owned = integer(self._snapshot.fresh(slot.name)), self._owned()
        factor = slot.steps_per_unit // owned.slot.steps_per_unit
        self._snapshot.define(
            quantity,
            quantity >= 0,
            implies(self._buys, quantity > 0),
            implies(every((self._sells, owned.known)), quantity <= owned.value * factor),
            implies(negation(some((self._buys, self._sells))), quantity == 0),
        )
        for index, rule in enumerate(self._policy.rules):
            if rule.action is Action.BUY and rule.size_measure is Measure.QUANTITY:
                _, size = self._terms.size(index)
                most = size if rule.additive else size - owned.value * factor
                bought = self._terms.candidates[index].acts
                self._snapshot.define(quantity, implies(bought, quantity <= most))
        return Variable(slot, True, quantity)

    def _full_exit(self, slot: FactSlot) -> Variable:
        """Selling all leaves nothing, buying something, holding what is held; a trim's rest is left open."""
        pairs = list(zip(self._policy.rules, self._terms.candidates, strict=True))
        whole = some(
            candidate.acts for rule, candidate in pairs if rule.action is Action.SELL and rule.size is None
        )
        owned, held = self._owned(), self._terms.variable(self._policy.slot("held"))
        nothing_left = boolean(self._snapshot.fresh(slot.name))
        told = boolean(self._snapshot.fresh(f"{slot.name}?"))
        still = negation(some((self._buys, self._sells)))
        self._snapshot.define(
            nothing_left,
            implies(whole, nothing_left),
            implies(self._buys, negation(nothing_left)),
            implies(every((still, owned.known, owned.value == 0)), nothing_left),
            implies(every((still, held.known, held.value)), negation(nothing_left)),
        )
        self._snapshot.define(told, implies(negation(self._sells), told))
        return Variable(slot, some((whole, every((owned.known, told)))), nothing_left)

    def _exposure(self, slot: FactSlot, outcome: Outcome) -> Variable:
        after = integer(self._snapshot.fresh(slot.name))
        known = boolean(self._snapshot.fresh(f"{slot.name}?"))
        self._snapshot.define(after, after >= 0)
        worth = self._terms.variable(self._policy.slot("position_value"))
        if outcome.scope is LimitScope.SYMBOL and outcome.limit < 0:
            # no limit counts it: the agent's own position, and what is being bought
            at_least = worth.value * (slot.steps_per_unit // worth.slot.steps_per_unit)
            self._snapshot.define(known, implies(known, worth.known))
            self._snapshot.define(after, implies(known, after >= at_least))
            return Variable(slot, known, after)
        if outcome.limit < 0:
            return Variable(slot, False, after)
        self._snapshot.define(known, implies(self._buys, known))
        for limit in self._policy.limits:
            if limit.kind is not LimitKind.EXPOSURE_AT_MOST or limit.scope is not outcome.scope:
                continue
            if limit.scope is LimitScope.PORTFOLIO and self._in_part(limit.name):
                continue
            assert limit.bound is not None
            bound_known, bound = self._terms.money(limit.bound)
            factor = slot.steps_per_unit // GRID_PER_UNIT[Measure.MONEY]
            capped = every((bound_known, after <= bound * factor))
            self._snapshot.define(after, implies(self._buys, capped))
        return Variable(slot, known, after)

    def _in_part(self, name: str) -> bool:
        """Say whether a limit is ``for:`` a part of the universe and counts no more than that."""
        return any(limit.name == name and limit.scope.names for limit in self._policy_limits)
