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

On a calendar without holes n closed bars took more than n - 1 of their intervals.

*Within n cycles.*  A breach is n + 1 cycles in a row that violate the condition.  An order of a side that
no such cycle makes was made before the first of them, so in the last one ``since_*`` of that side is at
least the time between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.codes import Action
from engine.evaluate.symbolic.formulas import Formula, every, implies, some
from engine.evaluate.symbolic.snapshot import Variable
from engine.language.lower_promises import LoweredPromise
from engine.language.policy import Follows, Limit, Listing, Rate
from engine.lowered import FactSlot, LimitKind, LimitScope, SlotOrigin
from engine.prove.machine import Machine
from engine.prove.promises import OUT_OF_TIME, PromiseProver, given, has_touch, violation
from engine.prove.proof import Proof, Verdict
from engine.prove.traces import MOST_STEPS, TraceFinder, Wanted, gaps, orders_of
from engine.prove.variant import Variant
from engine.verbs.vector import ALWAYS_OPEN
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
        found, plans = _rate(prover, promise, stated.rate), _rate_plans(prover, promise, stated.rate)
    elif stated.follows is not None:
        found, plans = (
            _follows(prover, promise, stated.follows),
            _follows_plans(prover, promise, stated.follows),
        )
    else:
        cycles = stated.within_cycles
        found, plans = _within(prover, promise, cycles), _within_plans(prover, promise, cycles)
    if found is not None:
        return found
    if prover.unknown.solver.budget.over():
        return prover.proof(promise, Verdict.UNDECIDED, OUT_OF_TIME, stage=_MEMORY)
    finder = TraceFinder(prover.known)
    for plan in plans:
        for held_for in _HELD_FOR:
            trace = finder.find(stated, plan, held_for)
            if trace is not None:
                proof = prover.proof(
                    promise, Verdict.REFUTED, f"by a trace of {len(plan)} cycles", stage=_MEMORY
                )
                return replace(proof, trace=trace)
    how = "no induction goes through, and no trace was found"
    return prover.proof(promise, Verdict.UNDECIDED, _bounded(prover, promise) or how, stage=_MEMORY)


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
        if _never_sooner(prover, every((orders, last)), rate.action, distance):
            return _induction(prover, promise, _MEMORY)
    return None


def _orders(variant: Variant, action: Action | None) -> Formula:
    """An order of a side may be made; of either side without one."""
    actions = (Action.BUY, Action.SELL) if action is None else (action,)
    return some(variant.terms.decides(one) for one in actions)


def _never_sooner(prover: PromiseProver, orders: Formula, action: Action | None, seconds: int) -> bool:
    """Say whether orders are impossible less than so many seconds after the last order of a side."""
    since = _elapsed(prover.unknown, action)
    sooner = every((since.known, since.value < seconds))
    return prover.impossible(orders, sooner, *_bars_take_time(prover.unknown))


def _bars_take_time(variant: Variant) -> Iterator[Formula]:
    """Yield that n bars take more than n - 1 of their intervals, where a calendar has no holes."""
    if variant.listing.calendar != ALWAYS_OPEN:
        return
    for name in _SINCE.values():
        bars, since = variant.snapshot.find(f"{name}_bars"), variant.snapshot.find(name)
        if bars is not None and since is not None:
            never = int(FACTS[name].maximum)
            took = since.value >= (bars.value - 1) * variant.policy.bars_seconds
            both = every((bars.known, since.known))
            yield implies(every((both, bars.value < never)), some((took, since.value == never)))
            yield implies(every((both, bars.value == never)), since.value == never)


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
    orders = every((given(unknown, promise), unknown.terms.decides(follows.action)))
    if _never_sooner(prover, orders, follows.after, follows.seconds):
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


# --- what may break them ----------------------------------------------------------------------

_HELD_FOR = (None, 86400, 60)


def _order(prover: PromiseProver, action: Action) -> Formula:
    return prover.known.terms.decides(action)


def _rate_plans(prover: PromiseProver, promise: LoweredPromise, rate: Rate) -> Iterator[list[Wanted]]:
    """Yield plans of one order too many: in rounds over the symbols that are counted together."""
    if rate.count >= MOST_STEPS:
        return
    own, listed = prover.known.symbols, [one.symbol for one in _counted_over(prover.known, rate.per)]
    symbols = [symbol for symbol in own if symbol in listed]
    symbols += [symbol for symbol in listed if symbol not in own]
    claimed = given(prover.known, promise)
    counted = (Action.BUY, Action.SELL) if rate.action is None else (rate.action,)
    rounds = -(-(rate.count + 1) // len(symbols))
    for action in counted:
        for side in orders_of(action, rounds):
            for spread in gaps(rate.window_seconds - 1, len(side)):
                plan: list[Wanted] = []
                orders = 0
                for one, gap in zip(side, spread, strict=True):
                    for index, symbol in enumerate(symbols):
                        if orders > rate.count:
                            break
                        orders += one in counted
                        last = (claimed,) if orders > rate.count else ()
                        plan.append(
                            Wanted(symbol, gap if index == 0 else 0, (_order(prover, one), *last), one)
                        )
                yield plan
    for limit in prover.known.policy.limits:
        if limit.kind is LimitKind.BUYS_AT_MOST and rate.action is Action.BUY:
            yield _batches(prover, promise, symbols, rate, limit)


def _batches(
    prover: PromiseProver, promise: LoweredPromise, symbols: Sequence[str], rate: Rate, limit: Limit
) -> list[Wanted]:
    """Return a plan of as many buys at once as a limit leaves, and again as soon as it leaves more."""
    buys = _order(prover, Action.BUY)
    plan = []
    for index in range(rate.count + 1):
        gap = limit.window_seconds if index and index % limit.count == 0 else 0
        last = (given(prover.known, promise),) if index == rate.count else ()
        plan.append(Wanted(symbols[index % len(symbols)], gap, (buys, *last), Action.BUY))
    return plan


def _follows_plans(
    prover: PromiseProver, promise: LoweredPromise, follows: Follows
) -> Iterator[list[Wanted]]:
    """Yield plans of the one order and then the other, too soon."""
    symbol, claimed = prover.known.listing.symbol, given(prover.known, promise)
    after, action = follows.after, follows.action
    other = Action.SELL if action is Action.BUY else Action.BUY
    sequences = [[after, action]] if after is not action else [[after, action], [after, other, action]]
    if after is action is Action.SELL:
        sequences.append([Action.BUY, Action.SELL, Action.SELL])
    for sides in sequences:
        for spread in gaps(follows.seconds - 1, len(sides)):
            yield [
                Wanted(
                    symbol,
                    gap,
                    (_order(prover, side), *((claimed,) if index == len(sides) - 1 else ())),
                    side,
                )
                for index, (side, gap) in enumerate(zip(sides, spread, strict=True))
            ]


def _within_plans(prover: PromiseProver, promise: LoweredPromise, cycles: int) -> Iterator[list[Wanted]]:
    """Yield the plan of one violating cycle too many."""
    gap = prover.known.policy.every_seconds or prover.known.policy.bars_seconds
    fault = violation(prover.known, promise)
    symbol = prover.known.listing.symbol
    yield [Wanted(symbol, gap if index else 0, (fault,)) for index in range(cycles + 1)]


# --- for some cycles --------------------------------------------------------------------------

_BOUND = 6
"""Cycles of an account that never traded, for which a promise is looked at that nothing else settles."""


def _bounded(prover: PromiseProver, promise: LoweredPromise) -> str:
    """Say for how many cycles a promise holds at least, where it does; "" where that is not known."""
    stated = promise.promise
    cycles = max(_BOUND, stated.within_cycles + 1)
    several = stated.rate is not None and len(_counted_over(prover.known, stated.rate.per)) > 1
    if several or cycles > 2 * _BOUND:
        return ""
    machine = Machine(prover.known, cycles, has_touch)
    breach = some(_breaches(machine, promise))
    if not machine.impossible(breach):
        return ""
    return f"for up to {cycles} cycles of an account that never traded, not beyond"


def _breaches(machine: Machine, promise: LoweredPromise) -> Iterator[Formula]:
    """Yield what breaks a promise in each of some cycles."""
    stated = promise.promise
    for last, cycle in enumerate(machine.cycles):
        claimed = given(cycle, promise)
        if stated.rate is not None:
            rate = stated.rate
            yield every((claimed, machine.more_than(rate.count, rate.action, last, rate.window_seconds)))
        elif stated.follows is not None:
            earlier = some(
                every(
                    (
                        machine.made(stated.follows.after, one),
                        machine.sooner(one, last, stated.follows.seconds),
                    )
                )
                for one in range(last)
            )
            yield every((claimed, machine.made(stated.follows.action, last), earlier))
        elif last >= stated.within_cycles:
            run = machine.cycles[last - stated.within_cycles : last + 1]
            yield every(violation(one, promise) for one in run)
