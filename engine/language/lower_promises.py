"""Lowering of promises: the lowered policy goes on with the facts, outcomes and conditions they read.

What decides stays as it is: every slot, atom and node of the policy keeps its id, and what promises need
comes behind.  A gate that a variant does not have never vetoes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Final

from engine.codes import Action, Truth
from engine.errors import PolicyError
from engine.language.lower import Lowering, VariantKey, variant_key
from engine.language.policy import Listing, Policy, Promise
from engine.language.types import Compared, Condition, Constant, FactRead, Vetoed
from engine.lowered import Comparison, LimitKind, LimitScope, LoweredPolicy, SlotOrigin
from engine.units import Measure

_INTEGRITY: Final = "integrity"
"""Names every built-in gate at once."""


class OutcomeKind(Enum):
    """What an outcome slot tells of a decision."""

    DECISION_ACTION = "decision.action"
    CANDIDATE_ACTION = "candidate.action"  # of the rule that was chosen, before it was sized
    INTENT_QUANTITY = "intent.qty"  # of the order to be sent; 0 where there is none
    FULL_EXIT = "full_exit"  # nothing is left of the position
    EXPOSURE = "exposure"
    VETO = "veto"  # a gate of ``gates`` vetoed a candidate that does one of ``actions``


@dataclass(frozen=True, slots=True)
class Outcome:
    """The meaning of an outcome slot.

    Of an EXPOSURE, ``scope`` says over what, and ``limit`` is a limit of the lowered policy whose usage is
    just that exposure before the decision, -1 where there is none.
    """

    kind: OutcomeKind
    scope: LimitScope = LimitScope.PORTFOLIO
    limit: int = -1
    gates: frozenset[int] = frozenset()
    actions: frozenset[Action] = frozenset()


@dataclass(frozen=True, slots=True)
class LoweredPromise:
    """A promise; its conditions are nodes of the form's policy, -1 where it has no such part."""

    promise: Promise
    given: int
    always: int
    never: int


@dataclass(frozen=True, slots=True)
class PromiseForm:
    """A policy lowered for one variant, with its promises.

    ``lowered`` is what the policy itself is lowered to, with slots, atoms and nodes appended; ``outcomes``
    says what each appended slot of origin OUTCOME is.
    """

    lowered: LoweredPolicy
    promises: tuple[LoweredPromise, ...]
    outcomes: Mapping[int, Outcome]


def lower_promises(policy: Policy, listing: Listing) -> PromiseForm:
    """Lower a policy and its promises for the variant of a symbol; raises as ``lower`` does."""
    lowering = _PromiseLowering(policy, listing)
    promises = tuple(lowering.promise(promise) for promise in policy.promises)
    if lowering.problems:
        raise PolicyError(policy.source, tuple(dict.fromkeys(lowering.problems)))
    return PromiseForm(lowering.whole(), promises, lowering.outcomes)


def lower_promises_all(policy: Policy) -> Mapping[str, PromiseForm]:
    """Lower the promises for every traded symbol; symbols of one variant share one form."""
    forms: dict[VariantKey, PromiseForm] = {}
    by_symbol = {}
    for listing in policy.traded:
        key = variant_key(policy, listing)
        if key not in forms:
            forms[key] = lower_promises(policy, listing)
        by_symbol[listing.symbol] = forms[key]
    return by_symbol


_PLAIN: Final = {
    "action": OutcomeKind.DECISION_ACTION,
    **{kind.value: kind for kind in OutcomeKind if kind not in (OutcomeKind.EXPOSURE, OutcomeKind.VETO)},
}
_SCOPES: Final = {
    f"exposure.{scope.value}": scope for scope in (LimitScope.SYMBOL, LimitScope.CLASS, LimitScope.PORTFOLIO)
}
_VETO_NAMES: Final = {None: "vetoed_by", Action.SELL: "exit_vetoed_by", Action.BUY: "entry_vetoed_by"}


class _PromiseLowering(Lowering):
    """Goes on where the lowering of the policy itself has ended.  Facts are read as exits read them."""

    def __init__(self, policy: Policy, listing: Listing) -> None:
        super().__init__(policy, listing)
        self.base = self.policy_form()
        self.outcomes: dict[int, Outcome] = {}

    def whole(self) -> LoweredPolicy:
        """Return the policy with what was appended."""
        return replace(self.base, slots=tuple(self.slots), atoms=tuple(self.atoms), nodes=tuple(self.nodes))

    def promise(self, promise: Promise) -> LoweredPromise:
        given, always, never = (
            -1 if part is None else self.condition(part, False)
            for part in (promise.given, promise.always, promise.never)
        )
        return LoweredPromise(promise, given, always, never)

    def condition(self, condition: Condition, entry: bool) -> int:
        if isinstance(condition, Vetoed):
            return self._vetoed(condition)
        return super().condition(condition, entry)

    def _vetoed(self, vetoed: Vetoed) -> int:
        gates = frozenset(
            index
            for index, gate in enumerate(self.base.gates)
            if gate.name in vetoed.gates or (gate.reserved and _INTEGRITY in vetoed.gates)
        )
        if not gates:
            return self.truth(Truth.FALSE)
        actions = (Action.BUY, Action.SELL) if vetoed.action is None else (vetoed.action,)
        named = ", ".join(f'"{gate}"' for gate in vetoed.gates)
        name = f"{_VETO_NAMES[vetoed.action]}({named})"
        fact = FactRead(name, Measure.BOOLEAN, 0, SlotOrigin.OUTCOME, vetoed.span)
        one = Constant(Decimal(1), Measure.BOOLEAN, vetoed.span)
        node = self._compared(
            Compared(fact, Comparison.EQUAL, one, Measure.BOOLEAN, name, vetoed.span), entry=False
        )
        slot = self.slot_ids[name, SlotOrigin.OUTCOME]
        self.outcomes[slot] = Outcome(OutcomeKind.VETO, gates=gates, actions=frozenset(actions))
        return node

    def _fact_slot(self, fact: FactRead, entry: bool) -> int:
        kind = _PLAIN.get(fact.name) if fact.origin is SlotOrigin.OUTCOME else None
        if kind is not None:
            slot = super()._fact_slot(replace(fact, name=kind.value), entry)  # ``action`` is short for one
            self.outcomes[slot] = Outcome(kind)
            return slot
        slot = super()._fact_slot(fact, entry)
        if fact.origin is SlotOrigin.OUTCOME and fact.name in _SCOPES:
            scope = _SCOPES[fact.name]
            self.outcomes[slot] = Outcome(OutcomeKind.EXPOSURE, scope, self._limit_of(scope))
        return slot

    def _limit_of(self, scope: LimitScope) -> int:
        """Return a limit that counts all of a scope: one of the account may be ``for:`` a part of it."""
        in_part = {limit.name for limit in self.policy.limits if limit.scope.names}
        whole = (
            index
            for index, limit in enumerate(self.base.limits)
            if limit.kind is LimitKind.EXPOSURE_AT_MOST
            and limit.scope is scope
            and not (scope is LimitScope.PORTFOLIO and limit.name in in_part)
        )
        return next(whole, -1)
