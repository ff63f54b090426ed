"""Promises over time: proved by induction over cycles, refuted by a trace of cycles that replays.

*The machine.*  A cycle sees one snapshot of each symbol.  Facts of the market, of the calendar and of the
account are free in every cycle, and so is what becomes of an order: filled whole, in part or not at all, at
once or later.  What a cycle leaves to the next is what the agent remembers (``engine.verbs.state``):

* ``since_buy``, ``since_sell`` and ``since_order`` are the whole seconds since the last such order was
  made: 0 when it is made, more by what passes between cycles, 3650d where there was none;
* every buy made durable is counted for as long as a limit on buys looks back;
* where a cadence is stated (``every:``), cycles fall into different periods of it: of n + 1 cycles in a row
  the last is more than (n - 1) periods after the first.

That every order reaches the venue is assumed: one that it rejects counts for no ``since_*``.  While the
fate of an order is open the symbol is frozen, which vetoes every candidate, so that no order can come in
between.

*Rates by limits.*  ``decide`` makes a buy only if ``used + 1 <= count`` for every limit on buys, where
``used`` are all buys made durable in (t - w, t] over the limit's scope, this cycle's included.  Be
``at_most: c buys per w`` a limit that covers every symbol over which a promise "never more than n in W"
counts.  Cut (t - W, t] into ceil(W / w) pieces of length w from its end.  In each, the last buy b counted
all buys of the piece, as they lie in (b - w, b], so the piece has at most c.  So n >= c x ceil(W / w) is
never exceeded: by induction over the buys, each of which was made under the limit.

*Rates by distance.*  If an order of one symbol is impossible while the last one is less than d ago, n + 1
of them span at least n x d; if that is W or more, the first is not in (t - W, t] any more.

*One order after another.*  ``never: sell within 60s of buy`` is broken by a cycle that sells while
``since_buy`` is below 60 s, and by nothing else: asked for any state that the machine can be in, reached or
not.

*Within n cycles.*  A breach is n + 1 cycles in a row that violate the condition.  An order of a side that
no such cycle makes was made before the first of them, so in the last one ``since_*`` of that side is at
least the time between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.codes import Action
from engine.evaluate.smt import Variable
from engine.evaluate.solver import Formula, every, some
from engine.language.lower_promises import LoweredPromise
from engine.language.policy import Follows, Limit, Listing, Rate
from engine.lowered import FactSlot, LimitKind, LimitScope, SlotOrigin
from engine.prove.promises import PromiseProver, given, violation
from engine.prove.proof import Proof, Verdict
from engine.prove.variant import Variant
from engine.vocabulary import FACTS

_SINCE = {Action.BUY: "since_buy", Action.SELL: "since_sell", None: "since_order"}
_WIDER = {
    LimitScope.PORTFOLIO: (LimitScope.PORTFOLIO,),
    LimitScope.CLASS: (LimitScope.PORTFOLIO, LimitScope.CLASS),
    LimitScope.SYMBOL: (LimitScope.PORTFOLIO, LimitScope.CLASS, LimitScope.SYMBOL),
}
_MEMORY = "orders that reach the venue, and the time since the last of each side"
_COUNTED = "buys made durable, counted as limit '{}' counts them"


def prove_over_time(prover: PromiseProver, promise: LoweredPromise) -> Proof:
    """Prove or refute a promise over time."""
    stated = promise.promise
    if stated.rate is not None:
        found = _rate(prover, promise, stated.rate)
    elif stated.follows is not None:
        found = _follows(prover, promise, stated.follows)
    else:
        found = _within(prover, promise, stated.within_cycles)
    if found is not None:
        return found
    return prover.proof(promise, Verdict.UNDECIDED, "no induction goes through", stage=_MEMORY)


def _induction(prover: PromiseProver, promise: LoweredPromise, stage: str, k: int = 1) -> Proof:
    return prover.proof(promise, Verdict.PROVED, f"by induction over cycles (k = {k})", stage=stage)


# --- rates ------------------------------------------------------------------------------------


def _rate(prover: PromiseProver, promise: LoweredPromise, rate: Rate) -> Proof | None:
    unknown = prover.unknown
    orders = _orders(unknown, rate.action)
    claimed = given(unknown, promise)
    if rate.action is Action.BUY:
        limit = _bounding_limit(prover.known, rate)
        if limit is not None:
            return _induction(prover, promise, _COUNTED.format(limit.name))
    if prover.impossible(orders, claimed):
        return prover.proof(promise, Verdict.PROVED, "for every snapshot: no such order is ever made")
    if rate.count and len(_counted_over(prover.known, rate.per)) == 1:
        distance = -(-rate.window_seconds // rate.count)
        last = claimed if rate.count == 1 else True  # of two orders the later one is the one that is judged
        if prover.impossible(orders, last, _sooner(unknown, rate.action, distance)):
            return _induction(prover, promise, _MEMORY)
    return None


def _orders(variant: Variant, action: Action | None) -> Formula:
    """An order of a side may be made; of either side without one."""
    actions = (Action.BUY, Action.SELL) if action is None else (action,)
    return some(variant.terms.decides(one) for one in actions)


def _sooner(variant: Variant, action: Action | None, seconds: int) -> Formula:
    """The last order of a side was made less than so many seconds ago."""
    since = _elapsed(variant, action)
    return every((since.known, since.value < seconds))


def _elapsed(variant: Variant, action: Action | None) -> Variable:
    """Return the time since the last order of a side, whether or not the policy reads it."""
    for one in (*_SINCE, None):  # their relation is asserted where all three are there
        fact = FACTS[_SINCE[one]]
        variant.snapshot.variable(FactSlot(fact.name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))
    found = variant.snapshot.find(_SINCE[action])
    assert found is not None, "made just above"
    return found


def _counted_over(variant: Variant, scope: LimitScope) -> Sequence[Listing]:
    """Return the symbols that are counted together with this variant's: of one, where it is per symbol."""
    if scope is LimitScope.SYMBOL:
        return (variant.listing,)
    return [
        listing
        for listing in variant.policy.traded
        if scope is LimitScope.PORTFOLIO or listing.asset_class == variant.listing.asset_class
    ]


def _bounding_limit(variant: Variant, rate: Rate) -> Limit | None:
    """Return a limit on buys that keeps a rate, or None."""
    return next(
        (
            limit
            for limit in variant.policy.limits
            if limit.kind is LimitKind.BUYS_AT_MOST
            and limit.per in _WIDER[rate.per]
            and all(limit.scope.covers(listing) for listing in _counted_over(variant, rate.per))
            and limit.count * -(-rate.window_seconds // limit.window_seconds) <= rate.count
        ),
        None,
    )


# --- one order after another ------------------------------------------------------------------


def _follows(prover: PromiseProver, promise: LoweredPromise, follows: Follows) -> Proof | None:
    unknown = prover.unknown
    sooner = _sooner(unknown, follows.after, follows.seconds)
    if prover.impossible(given(unknown, promise), unknown.terms.decides(follows.action), sooner):
        return _induction(prover, promise, _MEMORY)
    return None


# --- within so many cycles --------------------------------------------------------------------


def _within(prover: PromiseProver, promise: LoweredPromise, cycles: int) -> Proof | None:
    unknown = prover.unknown
    fault = violation(unknown, promise)
    if prover.impossible(fault):
        return prover.proof(promise, Verdict.PROVED, "for every snapshot: it is true at once")
    if prover.impossible(fault, *_waited(prover, fault, cycles)):
        return _induction(prover, promise, _MEMORY + _every(prover.known), cycles + 1)
    return None


def _waited(prover: PromiseProver, fault: Formula, cycles: int) -> Iterator[Formula]:
    """Yield what holds in the last of so many more cycles in a row that violate a condition."""
    seconds = (prover.known.policy.every_seconds or 0) * (cycles - 1)
    for action, name in _SINCE.items():
        if not prover.impossible(fault, _orders(prover.unknown, action)):
            continue
        since = _elapsed(prover.unknown, action)
        low = min(seconds, int(FACTS[name].maximum))
        yield every((since.known, since.value >= low))


def _every(variant: Variant) -> str:
    seconds = variant.policy.every_seconds
    return f"; a cycle every {seconds} s" if seconds else ""
