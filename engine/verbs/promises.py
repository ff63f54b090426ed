"""Promises on real decisions: what a decision came to, which promises it breaks, and those over time.

Pure: a decision with its facts and situation, or a sequence of them, and nothing else.  The prover's
counterexamples are judged here, too: what it refutes is broken by these functions.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.codes import Action, Disposition, Truth
from engine.evaluate.reference import ReferenceEvaluator, evaluate_term
from engine.language.lower_promises import (
    LoweredPromise,
    Outcome,
    OutcomeKind,
    PromiseForm,
    lower_promises,
)
from engine.language.policy import Follows, Listing, Policy, Promise, Rate
from engine.lowered import LimitScope, LoweredPolicy
from engine.model import Decision, OrderSide
from engine.units import GRID_PER_UNIT, MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, Measure, notional, quantise
from engine.verbs.decide import Situation
from engine.verbs.numbers import difference, shown
from engine.verbs.terms import slots_of_node

_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]
_ACTION_OF: Final = {OrderSide.BUY: Action.BUY, OrderSide.SELL: Action.SELL}


# --- what a decision came to ------------------------------------------------------------------


def outcome_values(
    form: PromiseForm, values: Sequence[float], decision: Decision, situation: Situation
) -> list[float]:
    """Return the fact vector of a form with what the decision came to written in.

    ``values`` are the facts it was decided on, of the policy alone or of the form; facts beyond them are
    Unknown.  ``situation`` is the one before the decision.
    """
    lowered = form.lowered
    found = [*values, *[math.nan] * (len(lowered.slots) - len(values))]
    for slot, outcome in form.outcomes.items():
        found[slot] = _outcome(outcome, lowered, values, decision, situation)
    return found


def _outcome(
    outcome: Outcome,
    lowered: LoweredPolicy,
    values: Sequence[float],
    decision: Decision,
    situation: Situation,
) -> float:
    match outcome.kind:
        case OutcomeKind.DECISION_ACTION:
            return float(decision.action)
        case OutcomeKind.CANDIDATE_ACTION:
            return float(Action.HOLD if decision.rule < 0 else lowered.rules[decision.rule].action)
        case OutcomeKind.INTENT_QUANTITY:
            return 0.0 if decision.order is None else decision.order.quantity / QUANTITY_SCALE
        case OutcomeKind.FULL_EXIT:
            return _full_exit(lowered, list(values), decision, situation)
        case OutcomeKind.EXPOSURE:
            return _exposure(outcome, lowered, values, decision, situation)
        case OutcomeKind.VETO:
            return float(_vetoed(outcome, lowered, decision))


def _vetoed(outcome: Outcome, lowered: LoweredPolicy, decision: Decision) -> bool:
    settled = zip(lowered.rules, decision.dispositions, decision.causes, strict=True)
    return any(
        disposition == Disposition.VETOED and cause in outcome.gates and rule.action in outcome.actions
        for rule, disposition, cause in settled
    )


def _full_exit(
    lowered: LoweredPolicy, values: list[float], decision: Decision, situation: Situation
) -> float:
    """Say whether the position is 0 once what the decision sends, or stands by, is filled whole."""
    size = lowered.rules[decision.rule].size if decision.rule >= 0 else None
    if decision.action is Action.SELL and size is None:
        return 1.0  # sell all: sent, working, or behind a cancel
    if math.isnan(values[lowered.slot("position_qty")]):
        return math.nan
    left, order, working = situation.quantity, decision.order, situation.working
    if order is not None:
        left += order.quantity if order.side is OrderSide.BUY else -order.quantity
    elif decision.action is Action.SELL and size is not None:
        waiting = decision.dispositions[decision.rule] == Disposition.AWAITING_CANCEL
        if waiting or working is None:  # how much is sold, is known when the cancel is
            level = evaluate_term(size, values)
            return math.nan if math.isnan(level) else float(level <= 0)
        left -= working.remaining
    instrument = situation.instrument
    return float(left < (1 if instrument is None else instrument.quantity_step_scaled))


def _exposure(
    outcome: Outcome,
    lowered: LoweredPolicy,
    values: Sequence[float],
    decision: Decision,
    situation: Situation,
) -> float:
    """Return what is in a scope after the decision: sells free nothing until they are filled."""
    used = situation.usage[outcome.limit] if outcome.limit >= 0 else None
    ask = values[lowered.slot("ask")]
    if used is None and outcome.scope is LimitScope.SYMBOL:
        used = _own_exposure(values[lowered.slot("position_value")], ask, situation)
    if used is None:
        return math.nan
    order = decision.order
    if order is not None and order.side is OrderSide.BUY:
        used += notional(order.quantity, order.sized_at or order.limit_price or round(ask * PRICE_SCALE))
    return quantise(used / MONEY_SCALE, _CENTS)


def _own_exposure(position_value: float, ask: float, situation: Situation) -> int | None:
    """Return the agent's own position and open buy: what can be known where no limit counts a symbol."""
    if math.isnan(position_value):
        return None
    used, working = round(position_value * _CENTS) * (MONEY_SCALE // _CENTS), situation.working
    if working is None or working.side is not OrderSide.BUY:
        return used
    if working.limit_price is None and math.isnan(ask):
        return None
    return used + notional(working.remaining, working.limit_price or round(ask * PRICE_SCALE))


# --- one decision -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision as promises see it: the form's facts and outcomes, and the truth of each of its nodes."""

    form: PromiseForm
    values: list[float]
    truths: list[int]
    order: OrderSide | None

    @property
    def broken(self) -> tuple[LoweredPromise, ...]:
        """The promises about one decision that this one breaks."""
        return tuple(
            promise
            for promise in self.form.promises
            if not promise.promise.over_time and self.given(promise) and not self.kept(promise)
        )

    def given(self, promise: LoweredPromise) -> bool:
        """Say whether a promise claims anything here."""
        return promise.given < 0 or self.truths[promise.given] == Truth.TRUE

    def kept(self, promise: LoweredPromise) -> bool:
        """Say whether ``always`` is true and ``never`` false; Unknown is neither."""
        return (promise.always < 0 or self.truths[promise.always] == Truth.TRUE) and (
            promise.never < 0 or self.truths[promise.never] == Truth.FALSE
        )

    def occasion(self, at_ms: int, symbol: str) -> Occasion:
        """Return what promises over time see of it."""
        promises = self.form.promises
        return Occasion(
            at_ms,
            symbol,
            self.form.lowered.asset_class,
            self.order,
            tuple(self.given(promise) for promise in promises),
            tuple(self.kept(promise) for promise in promises),
        )

    def read(self, promise: LoweredPromise) -> str:
        """Return what a promise reads here, for people: "gain -9 %, decision.action hold"."""
        lowered = self.form.lowered
        nodes = [node for node in (promise.given, promise.always, promise.never) if node >= 0]
        slots = dict.fromkeys(slot for node in nodes for slot in slots_of_node(lowered, node))
        return ", ".join(
            f"{slot.name} {shown(self.values[index], slot.unit, slot.steps_per_unit)}"
            for index, slot in ((index, lowered.slots[index]) for index in slots)
        )


class PromiseJudge:
    """Judges the decisions of one variant."""

    def __init__(self, form: PromiseForm) -> None:
        """Prepare the reference evaluator, which evaluates the form's atoms."""
        self.form = form
        self._reference = ReferenceEvaluator(form.lowered)

    def judge(self, values: Sequence[float], decision: Decision, situation: Situation) -> Judgement:
        """Judge a decision by the facts it was made on; see ``outcome_values``."""
        found = outcome_values(self.form, values, decision, situation)
        truths = self._reference.evaluate(found, situation.stated).truths
        order = None if decision.order is None else decision.order.side
        return Judgement(self.form, found, truths, order)


def broken(
    form: PromiseForm, values: Sequence[float], decision: Decision, situation: Situation
) -> tuple[LoweredPromise, ...]:
    """Return the promises about one decision that this one breaks."""
    return PromiseJudge(form).judge(values, decision, situation).broken


# --- over time --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Occasion:
    """One decision of a sequence: when, of what, the side of the intent made durable, if any.

    ``given`` and ``kept`` have one entry per promise of the policy; where ``given`` is empty every promise
    claims what it says.
    """

    at_ms: int
    symbol: str
    asset_class: str
    order: OrderSide | None
    given: tuple[bool, ...] = ()
    kept: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise over time that was broken, and the occasions (their numbers) that break it, in order.

    Of a rate they are the orders in its window, of one order after another these two, of a condition within
    cycles the cycles in which it did not come true.  The last one is where it was broken.
    """

    promise: Promise
    occasions: tuple[int, ...]


class OverTime:
    """Watches a sequence of decisions, in the order of their time; symbols may alternate."""

    def __init__(self, promises: Sequence[Promise]) -> None:
        """Begin with nothing seen."""
        self._promises = [(n, promise) for n, promise in enumerate(promises) if promise.over_time]
        self._seen = 0
        self._orders: defaultdict[tuple[int, str], deque[tuple[int, int]]] = defaultdict(deque)
        self._latest: dict[tuple[int, str], tuple[int, int]] = {}
        self._waiting: defaultdict[tuple[int, str], list[int]] = defaultdict(list)

    def see(self, occasion: Occasion) -> tuple[Breach, ...]:
        """Take in the next decision; return what it breaks."""
        breaches = []
        for number, promise in self._promises:
            given = not occasion.given or occasion.given[number]
            if promise.rate is not None:
                involved = self._counted(number, promise.rate, occasion)
            elif promise.follows is not None:
                involved = self._followed(number, promise.follows, occasion)
            else:
                kept = bool(occasion.kept) and occasion.kept[number]
                involved = self._waited(number, promise.within_cycles, occasion, given and not kept)
            if given and involved:
                breaches.append(Breach(promise, involved))
        self._seen += 1
        return tuple(breaches)

    def _counted(self, number: int, rate: Rate, occasion: Occasion) -> tuple[int, ...]:
        """Count an order; return all in the window where they are too many."""
        if occasion.order is None or rate.action not in (None, _ACTION_OF[occasion.order]):
            return ()
        bucket = {LimitScope.SYMBOL: occasion.symbol, LimitScope.CLASS: occasion.asset_class}.get(
            rate.per, ""
        )
        orders = self._orders[number, bucket]
        orders.append((occasion.at_ms, self._seen))
        while orders[0][0] <= occasion.at_ms - rate.window_seconds * 1000:
            orders.popleft()
        return tuple(at for _, at in orders) if len(orders) > rate.count else ()

    def _followed(self, number: int, follows: Follows, occasion: Occasion) -> tuple[int, ...]:
        """Return the earlier order and this one, where it comes too soon."""
        if occasion.order is None:
            return ()
        action, key = _ACTION_OF[occasion.order], (number, occasion.symbol)
        before = self._latest.get(key)
        if action is follows.after:
            self._latest[key] = occasion.at_ms, self._seen
        soon = before is not None and occasion.at_ms - before[0] < follows.seconds * 1000
        return (before[1], self._seen) if before is not None and soon and action is follows.action else ()

    def _waited(self, number: int, cycles: int, occasion: Occasion, waits: bool) -> tuple[int, ...]:
        """Return the cycles of a symbol in which a condition did not come true, once they are too many."""
        waiting = self._waiting[number, occasion.symbol]
        if not waits:
            waiting.clear()
            return ()
        if len(waiting) > cycles:
            return ()  # told already
        waiting.append(self._seen)
        return tuple(waiting) if len(waiting) > cycles else ()


def broken_over_time(promises: Sequence[Promise], occasions: Iterable[Occasion]) -> Iterator[Breach]:
    """Yield every breach of promises over time, in the order in which they happen."""
    watch = OverTime(promises)
    for occasion in occasions:
        yield from watch.see(occasion)


def breach_text(breach: Breach, occasions: Sequence[Occasion]) -> str:
    """Say for people what a breach is made of; ``occasions`` are those that were seen, in order."""
    first, last = (occasions[index] for index in (breach.occasions[0], breach.occasions[-1]))
    apart = difference((last.at_ms - first.at_ms) / 1000, Measure.DURATION)
    promise = breach.promise
    if promise.rate is not None:
        what = "order" if promise.rate.action is None else promise.rate.action.name.lower()
        count = len(breach.occasions)
        return f"{count} {what}{'' if count == 1 else 's'} in {apart}"
    if promise.follows is not None:
        return f"{promise.follows.action.name.lower()} {apart} after {promise.follows.after.name.lower()}"
    return f"not in {len(breach.occasions)} cycles, {apart} long"


# --- of a policy, as its decisions come -------------------------------------------------------


class Promised:
    """The promises of a policy, lowered for each variant when a decision of it comes."""

    def __init__(self, policy: Policy) -> None:
        """Begin with nothing lowered."""
        self._policy = policy
        self._judges: dict[int, PromiseJudge] = {}

    def judge(self, listing: Listing, lowered: LoweredPolicy) -> PromiseJudge:
        """Return the judge of a symbol; those that share ``lowered`` share it, too."""
        if id(lowered) not in self._judges:
            self._judges[id(lowered)] = PromiseJudge(lower_promises(self._policy, listing))
        return self._judges[id(lowered)]


class Watch:
    """The decisions of one account so far, and what they break over time."""

    def __init__(self, policy: Policy, buys: Iterable[tuple[int, str]] = ()) -> None:
        """Begin with the buys, (instant, symbol), that were made before: they count, and break nothing."""
        self._over_time = OverTime(policy.promises)
        self._occasions: list[Occasion] = []
        nothing = (False,) * len(policy.promises)
        classes = {listing.symbol: listing.asset_class for listing in policy.universe}
        for at_ms, symbol in buys:
            self.see(Occasion(at_ms, symbol, classes.get(symbol, ""), OrderSide.BUY, nothing, nothing))

    def see(self, occasion: Occasion) -> list[tuple[Promise, str]]:
        """Take in the next decision; return the promises it breaks, and what it is made of."""
        self._occasions.append(occasion)
        breaches = self._over_time.see(occasion)
        return [(breach.promise, breach_text(breach, self._occasions)) for breach in breaches]


def broken_by(
    judgement: Judgement, at_ms: int, symbol: str, watch: Watch | None
) -> Iterator[tuple[Promise, str]]:
    """Yield the promises that a decision breaks, alone or with those before it, and why, for people."""
    for lowered in judgement.broken:
        yield lowered.promise, judgement.read(lowered)
    if watch is not None:
        yield from watch.see(judgement.occasion(at_ms, symbol))
