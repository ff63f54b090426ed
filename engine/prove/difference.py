"""Whether two policies decide alike, and where they do not.

Two policies are *equal* when for every known or Unknown facts of every symbol the same action wins (the
stage ``candidate``), with the same size, limits and order terms: names, reasons and priorities that change no
choice do not count.  ``True`` is proved over all facts; ``False`` is shown by facts on which the reference
evaluator and ``decide`` come to different ends; anything else is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Final, NamedTuple

from engine.codes import Action
from engine.errors import PolicyError
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms, entry_key
from engine.evaluate.symbolic.formulas import (
    Formula,
    as_real,
    begin_anew,
    boolean,
    every,
    implies,
    negation,
    same,
    some,
)
from engine.evaluate.symbolic.snapshot import fact_values, slot_range
from engine.evaluate.symbolic.solver import Answer, Budget, Model
from engine.evaluate.verdict import WOULD_EXIT
from engine.language.lower import lower_all
from engine.language.lower_promises import PromiseForm
from engine.language.policy import Listing, Policy
from engine.lowered import LimitKind, LimitScope, LoweredPolicy, Once, SlotOrigin
from engine.model import AssetClass, Decision, Instrument
from engine.prove.aligned import aligned, alike, order_of
from engine.prove.example import Example, Outcome, example
from engine.prove.samples import sampled
from engine.prove.variant import Variant
from engine.units import MONEY_SCALE, QUANTITY_SCALE, quantise
from engine.verbs.decide import Situation, decide

SAMPLES: Final = 120
_CENTS: Final = 100
_PLENTY: Final = 10**9 * MONEY_SCALE
_SMALL: Final = 2**50  # steps
_FIRM: Final = Fraction(499, 1000)  # of a step: no fact lies on the edge of its rounding
_SCOPES: Final = tuple(LimitScope)  # from the narrowest
_HALF_A_CENT: Final = MONEY_SCALE // _CENTS // 2
_STEP: Final = Decimal("0.00000001")
_USUAL: Final = (("price", 1, 10_000), ("ask", 1, 10_000), ("equity", 10_000, 10**7))
_BARS_READ: Final = ("_bars", "peak_price", "peak_gain")
_CLOCK_READ: Final = ("time", "weekday", "session_of_week", "session_of_month")
_WEIGHT_READ: Final = ("target", "target_weight")


Winners = tuple[int, int]
"""The rules with orders that win by either policy; -1 where none does."""


class Decided(NamedTuple):
    """What one policy makes of facts: the rule that wins (-1: none), its size, and the decision."""

    rule: int
    size: float
    decision: Decision


def equal(old: Policy, new: Policy, budget: Budget) -> bool | None:
    """Say whether two policies are proved to decide alike (True) or shown not to (False); None if neither."""
    if {listing.symbol for listing in old.traded} != {listing.symbol for listing in new.traded}:
        return False
    try:
        forms = lower_all(old), lower_all(new)
    except PolicyError:
        return None
    begin_anew()
    answer: bool | None = True
    for pair in pairs(old, new, *forms, budget):
        found = pair.equal()
        if found is False:
            return False
        answer = answer if found else None
    return answer


def pairs(
    old: Policy,
    new: Policy,
    old_forms: Mapping[str, LoweredPolicy],
    new_forms: Mapping[str, LoweredPolicy],
    budget: Budget,
) -> Iterator[Pair]:
    """Yield the variants of both policies for the symbols that both trade, each pair of variants once."""
    sharing: dict[object, list[str]] = {}
    for symbol in old_forms:
        if symbol in new_forms:
            one, other = (_listing(policy, symbol) for policy in (old, new))
            key = (id(old_forms[symbol]), id(new_forms[symbol]), one.weight == other.weight)
            sharing.setdefault(key, []).append(symbol)
    for symbols in sharing.values():
        first = symbols[0]
        yield Pair(
            Side(old, _listing(old, first), old_forms[first]),
            Side(new, _listing(new, first), new_forms[first]),
            tuple(symbols),
            budget,
        )


def _listing(policy: Policy, symbol: str) -> Listing:
    listing = policy.listing(symbol)
    assert listing is not None, "only listed symbols are lowered"
    return listing


@dataclass(frozen=True, slots=True)
class Side:
    """One of the policies, for one symbol."""

    policy: Policy
    listing: Listing
    lowered: LoweredPolicy


class Pair:
    """A variant of either policy, for the symbols that share both."""

    def __init__(self, old: Side, new: Side, symbols: tuple[str, ...], budget: Budget) -> None:
        """Align the two; nothing is asked yet."""
        self.old, self.new, self.symbols, self.budget = old, new, symbols, budget
        self.before, self.after = aligned(old.lowered, new.lowered)
        self._evaluators = ReferenceEvaluator(self.before), ReferenceEvaluator(self.after)

    def for_more(self, symbols: Iterable[str]) -> Pair:
        """Return the pair for more symbols that are decided alike."""
        return Pair(self.old, self.new, (*self.symbols, *symbols), self.budget)

    # --- is it the same?

    def equal(self) -> bool | None:
        """Say whether the two are proved to decide alike, or shown not to."""
        meant = not self.redefined
        if meant and alike(self.before, self.after):
            return True
        if self.sampled() is not None or (not self.orders_alike and self.limited() is not None):
            return False
        if not meant:
            return None
        for asked in (self.known, self.unknown):
            answer = asked.variant.ask(asked.differ)
            if answer is Answer.UNDECIDED:
                return None
            if answer is Answer.POSSIBLE:
                return None if asked.replayed() is None else False
        if self.orders_alike or self.unknown.variant.ask(self.unknown.buys) is Answer.IMPOSSIBLE:
            return True
        return None

    @property
    def orders_alike(self) -> bool:
        """Limits and order terms are the same."""
        one, other = self.before, self.after
        styles = (one.buy_style, one.sell_style) == (other.buy_style, other.sell_style)
        return styles and one.limits == other.limits

    @cached_property
    def redefined(self) -> tuple[str, ...]:
        """What both read and the policies define differently: one fact vector does not serve both."""
        read = {slot.name for slot in self.before.slots}
        once = [
            {rule.name: rule.once for rule in part.rules if rule.once} for part in (self.before, self.after)
        ]
        one, other = self.old, self.new
        found = [
            f"once of {name}" for name in once[0] if name in once[1] and once[0][name] is not once[1][name]
        ]
        periods = {period for part in once for period in part.values()}
        counts_bars = any(name.endswith(_BARS_READ) for name in read) or Once.BAR in periods
        if one.policy.bars_seconds != other.policy.bars_seconds and counts_bars:
            found.append("bars")
        counts_days = read & {*_CLOCK_READ} or periods & {Once.DAY, Once.WEEK, Once.MONTH}
        if one.policy.timezone != other.policy.timezone and counts_days:
            found.append("timezone")
        if one.listing.calendar != other.listing.calendar:
            found.append("calendar")
        if one.listing.weight != other.listing.weight and read & {*_WEIGHT_READ}:
            found.append("weight")
        ages = [
            {slot.name: slot.max_age_seconds for slot in part.lowered.slots if slot.origin is SlotOrigin.FEED}
            for part in (one, other)
        ]
        found += [f"max_age of {name}" for name, age in ages[0].items() if ages[1].get(name, age) != age]
        protects = [
            {rule.name for rule in part.rules if rule.protective} for part in (self.before, self.after)
        ]
        if "unguarded" in read and protects[0] != protects[1]:
            found.append("unguarded")
        return tuple(found)

    # --- decisions

    def decided(self, values: Sequence[float], scene: Scene | None = None) -> tuple[Decided, Decided]:
        """Decide on one fact vector of the common table, by either policy."""
        scene = scene or Scene()
        made = []
        for side, form, evaluator in zip(
            (self.old, self.new), (self.before, self.after), self._evaluators, strict=True
        ):
            facts = list(values)
            if "weight" in self.redefined:
                facts = _with_weight(form, side.listing, facts)
            decision = decide(evaluator, facts, scene.situation(form, facts, side.listing.symbol))
            rule = decision.rule
            sized = rule >= 0 and form.rules[rule].size is not None
            made.append(Decided(rule, evaluator.size(rule, facts) if sized else 0.0, decision))
        return made[0], made[1]

    def differs(self, old: Decided, new: Decided) -> bool:
        """Say whether two decisions differ: in the action that wins, in its size, or in the order."""
        return self._essence(self.before, old) != self._essence(self.after, new)

    @staticmethod
    def _essence(form: LoweredPolicy, made: Decided) -> object:
        rule = form.rules[made.rule] if made.rule >= 0 else None
        order = made.decision.order
        sent = None if order is None else replace(order, limited_by=-1)
        if rule is None or rule.action is Action.HOLD:
            return Action.HOLD
        size = None if made.size != made.size else made.size
        return rule.action, rule.size is None, rule.size_measure if rule.size else "", size, sent

    @staticmethod
    def acting(form: LoweredPolicy, made: Decided) -> int:
        """Return the rule with an order that wins; -1 where none does."""
        return made.rule if made.rule >= 0 and form.rules[made.rule].action is not Action.HOLD else -1

    def sampled(self, count: int = SAMPLES) -> tuple[list[float], Scene] | None:
        """Return plausible facts on which the two differ, if a few show some."""
        for values in sampled(self.before, count):
            if self.differs(*self.decided(values)):
                return values, Scene()
        return None

    def limited(self) -> tuple[list[float], Scene] | None:
        """Return facts, and what limits have used, on which the two buy differently."""
        for values in self.known.buying():
            for scene in self._scenes(values):
                if self.differs(*self.decided(values, scene)):
                    return values, scene
        return None

    def _scenes(self, values: list[float]) -> Iterator[Scene]:
        """Yield scenes in which some limit is about to bind: what is left is little, or the least amount."""
        yield Scene()
        counts = {limit.count for form in (self.before, self.after) for limit in form.limits}
        yield from (Scene(count=count) for count in sorted(counts | {max(0, one - 1) for one in counts}))
        bounds = list(self._bounds(values))
        least = [bound for kind, _, bound in bounds if kind is LimitKind.ORDER_AT_LEAST]
        left = [
            0,
            MONEY_SCALE,
            20 * MONEY_SCALE,
            *(bound + half for bound in least for half in (-5000, 5000)),
        ]
        for kind, scope, bound in bounds:
            for less in (*left, bound // 10):
                if kind is LimitKind.EXPOSURE_AT_MOST:
                    yield Scene(used=max(0, bound - less), scope=scope)
                elif kind is LimitKind.CASH_AT_LEAST:
                    yield Scene(cash=bound + less)

    def _bounds(self, values: list[float]) -> Iterator[tuple[LimitKind, LimitScope, int]]:
        """Yield the limits of money of both, with their bounds."""
        for form, evaluator in zip((self.before, self.after), self._evaluators, strict=True):
            for index, limit in enumerate(form.limits):
                bound = math.nan if limit.bound is None else evaluator.bound(index, list(values))
                if bound == bound:
                    yield limit.kind, limit.scope, round(bound * _CENTS) * (MONEY_SCALE // _CENTS)

    # --- proofs

    @cached_property
    def known(self) -> Asked:
        """The question over facts that are known."""
        return Asked(self, anything_unknown=False)

    @cached_property
    def unknown(self) -> Asked:
        """The question over facts of which any may be Unknown."""
        return Asked(self, anything_unknown=True)


def _with_weight(form: LoweredPolicy, listing: Listing, values: list[float]) -> list[float]:
    """Return facts with the target that a listing's weight makes of the equity."""
    if listing.weight is None:
        return values
    for index, slot in enumerate(form.slots):
        if slot.origin is SlotOrigin.VOCABULARY and values[index] == values[index]:
            if slot.name == "target_weight":
                values[index] = float(listing.weight)
            elif slot.name == "target":
                equity = values[form.slot("equity")]
                values[index] = quantise(float(listing.weight) * equity, slot.steps_per_unit)
    return values


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision reads beside facts, the same for both policies: cash, and what limits have used."""

    cash: int = _PLENTY
    used: int = 0  # money, of every limit of exposure over ``scope`` or more
    scope: LimitScope = LimitScope.SYMBOL
    count: int = 0  # of every limit that counts

    def situation(self, form: LoweredPolicy, values: Sequence[float], symbol: str) -> Situation:
        """Return the situation of a symbol in it; a venue whose steps and minimums change nothing."""
        quantity = values[form.slot("position_qty")]
        counts = (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST)
        return Situation(
            symbol=symbol,
            instrument=Instrument(
                symbol, AssetClass(form.asset_class), "", _STEP, _STEP, Decimal(0), Decimal(0)
            ),
            quantity=0 if quantity != quantity else round(quantity * QUANTITY_SCALE),
            working=None,
            cash_available=self.cash,
            usage=[
                self.count
                if limit.kind in counts
                else self.used
                if _SCOPES.index(limit.scope) >= _SCOPES.index(self.scope)
                else 0
                for limit in form.limits
            ],
            counted=False,
        )


class Asked:
    """Both policies as formulas over one snapshot, and where they may differ."""

    def __init__(self, pair: Pair, *, anything_unknown: bool) -> None:
        """Translate both."""
        self.pair = pair
        old = pair.old
        self.variant = Variant(
            old.policy,
            old.listing,
            pair.symbols,
            pair.before,
            pair.budget,
            anything_unknown=anything_unknown,
            form=PromiseForm(pair.before, (), {}),
        )
        self.old = self.variant.terms
        self.new = PolicyTerms(pair.after, self.variant.snapshot, beside=self.old)
        self.variant.snapshot.constraints += [*self._tried(), *self._target()]
        self.differ = some(self._differences())
        self.buys = some((self.old.proposes(Action.BUY), self.new.proposes(Action.BUY)))

    @property
    def sides(self) -> tuple[tuple[PolicyTerms, LoweredPolicy], tuple[PolicyTerms, LoweredPolicy]]:
        """The formulas of either policy."""
        return (self.old, self.pair.before), (self.new, self.pair.after)

    def _tried(self) -> Iterator[Formula]:
        """Yield when an entry is vetoed by its own exits: alike for entries that order alike."""
        ordered: dict[object, Formula] = {}
        for terms, form in self.sides:
            exits = [rule for rule in form.rules if rule.action is Action.SELL]
            for index, bit in terms.would_exit.items():
                key = entry_key(form, form.rules[index])
                if key not in ordered:
                    ordered[key] = boolean(self.variant.snapshot.fresh("ordered"))
                after = terms.after_entry(index)
                assert after is not None, "only entries are tried"
                truths = [after.node(rule.when_entry) for rule in exits]
                one = some(truth.true for truth in truths)
                yield same(bit, every((ordered[key], self._free(terms, form, index), one)))
                if index in terms.would_exit_unknown:
                    maybe = some(truth.unknown for truth in truths)
                    tried = (ordered[key], self._free(terms, form, index), negation(one), maybe)
                    yield same(terms.would_exit_unknown[index], every(tried))

    def _target(self) -> Iterator[Formula]:
        """Yield what the symbol's weight says of its target, where both policies give it one."""
        weight, snapshot = self.pair.old.listing.weight, self.variant.snapshot
        if weight is None or weight != self.pair.new.listing.weight:
            return
        share = Fraction(weight)
        if found := snapshot.find("target_weight"):
            yield implies(found.known, found.value == round(share * found.slot.steps_per_unit))
        target, equity = snapshot.find("target"), snapshot.find("equity")
        if target and equity:
            exact = as_real(equity.value) * as_real(
                share * Fraction(target.slot.steps_per_unit, equity.slot.steps_per_unit)
            )
            half = as_real(Fraction(1, 2))
            near = every((as_real(target.value) <= exact + half, as_real(target.value) >= exact - half))
            yield implies(target.known, every((equity.known, near)))

    @staticmethod
    def _free(terms: PolicyTerms, form: LoweredPolicy, rule: int) -> Formula:
        """A rule matches and no other gate vetoes it: else its entry is not tried."""
        candidate = terms.candidates[rule]
        others = [veto for gate, veto in candidate.vetoed_by if form.gates[gate].name != WOULD_EXIT]
        return every((candidate.matches, negation(some(others))))

    def _differences(self) -> Iterator[Formula]:
        for action in (Action.BUY, Action.SELL):
            yield negation(same(self.old.proposes(action), self.new.proposes(action)))
        for one, rule in enumerate(self.pair.before.rules):
            for other, new_rule in enumerate(self.pair.after.rules):
                if rule.action is new_rule.action and order_of(rule) != order_of(new_rule):
                    wins = self.old.candidates[one].wins, self.new.candidates[other].wins
                    yield every((*wins, self._sized_differently(one, other)))

    def winner(self, terms: PolicyTerms, model: Model) -> int:
        """Return the rule with an order that wins in a model; -1 where none does."""
        return next(
            (
                index
                for index, (rule, candidate) in enumerate(
                    zip(terms.policy.rules, terms.candidates, strict=True)
                )
                if rule.action is not Action.HOLD and model.truth(candidate.wins)
            ),
            -1,
        )

    def outcomes(self, one: int, other: int) -> Formula:
        """Return when one rule wins by the old policy and another by the new one (-1: none), differently."""
        wins = [
            terms.candidates[rule].wins if rule >= 0 else terms.proposes(Action.HOLD)
            for terms, rule in ((self.old, one), (self.new, other))
        ]
        rules = self.pair.before.rules, self.pair.after.rules
        if one >= 0 and other >= 0 and rules[0][one].action is rules[1][other].action:
            wins.append(self._sized_differently(one, other))
        return every(wins)

    def _sized_differently(self, one: int, other: int) -> Formula:
        old, new = order_of(self.pair.before.rules[one]), order_of(self.pair.after.rules[other])
        if old is None or new is None or old.size is None or new.size is None:
            return True
        if old._replace(size=None) != new._replace(size=None):
            return True
        known, size = self.old.size(one)
        new_known, new_size = self.new.size(other)
        return some((negation(same(known, new_known)), every((known, size != new_size))))

    # --- replayed

    def replayed(self, *given: Formula, expected: Winners | None = None) -> list[float] | None:
        """Return facts on which the two are seen to differ (as expected); None where none were found."""
        acting = some(negation(same(self.old.decides(action), self.new.decides(action))) for action in Action)
        for more in self._likely(acting):
            if self.variant.ask(self.differ, *given, *more) is Answer.POSSIBLE:
                values = self.values(self.variant.model())
                if self._shows(values, expected):
                    return values
        found = self.example(self.differ, *given, expected=expected)
        return None if found is None else found.outcome.values

    def _shows(self, values: Sequence[float], expected: Winners | None) -> bool:
        old, new = self.pair.decided(values)
        found = self.pair.acting(self.pair.before, old), self.pair.acting(self.pair.after, new)
        return self.pair.differs(old, new) and expected in (None, found)

    def example(self, *formulas: Formula, expected: Winners | None = None) -> Example | None:
        """Return a facts file on which the two are seen to differ (as expected); None where none is found."""

        def shows(outcome: Outcome) -> bool:
            return self._shows(outcome.values, expected)

        acting = some(negation(same(self.old.decides(action), self.new.decides(action))) for action in Action)
        sent = [terms.sent(index) for terms in (self.old, self.new) for index in terms.would_exit]
        likely = [negation(some(self.bits)), *sent, acting]
        return example(self.variant, [*formulas, *likely], shows)

    def buying(self) -> Iterator[list[float]]:
        """Yield facts on which one of the two may buy."""
        for terms in (self.old, self.new):
            for more in self._likely(terms.decides(Action.BUY)):
                if self.variant.ask(*more) is Answer.POSSIBLE:
                    yield self.values(self.variant.model())
                    break

    def _likely(self, acting: Formula) -> Iterator[tuple[Formula, ...]]:
        """Yield what makes it likely that facts decide as the formulas say, the most telling first."""
        snapshot = self.variant.snapshot
        sides = (self.old, self.new)
        sent = every(terms.sent(index) for terms in sides for index in terms.would_exit)
        untried = negation(some(self.bits))
        firm, exact, usual = [*snapshot.firm, *self._small()], snapshot.exact, list(self._usual())
        yield (*firm, *usual, *self._anchored(), untried, sent, acting)
        yield (*firm, *usual, untried, sent, acting)
        yield (*firm, *exact, untried, sent, acting)
        yield (*firm, *usual, *exact, sent, acting)
        yield (*firm, *usual, untried)
        yield (*firm, *exact)

    @property
    def bits(self) -> list[Formula]:
        """Return what says that an entry is vetoed by its own exits."""
        bits = [bit for terms in (self.old, self.new) for bit in terms.would_exit.values()]
        return bits + [bit for terms in (self.old, self.new) for bit in terms.would_exit_unknown.values()]

    def _small(self) -> Iterator[Formula]:
        """Yield that facts are numbers whose neighbours on the grid a float can tell from them."""
        for variable in self.variant.snapshot.variables.values():
            low, high = slot_range(variable.slot)
            if variable.slot.steps_per_unit and max(-low, high) > _SMALL:
                yield every((variable.value >= -_SMALL, variable.value <= _SMALL))

    def _usual(self) -> Iterator[Formula]:
        """Yield that amounts and the spread are of a usual size, so that no order is too small to be made."""
        find = self.variant.snapshot.find
        for name, least, most in _USUAL:
            if found := find(name):
                k = found.slot.steps_per_unit
                yield implies(found.known, every((found.value >= least * k, found.value <= most * k)))
        ask, bid = find("ask"), find("bid")
        if ask and bid and ask.slot.steps_per_unit == bid.slot.steps_per_unit:
            yield implies(every((ask.known, bid.known)), ask.value * 100 <= bid.value * 101)
        worth, owned, held = find("position_value"), find("position_qty"), self.variant.held
        if worth and owned:
            something = worth.value >= 1000 * _CENTS, owned.value >= owned.slot.steps_per_unit
            yield implies(held, every(something))
            yield implies(negation(held), every((worth.value == 0, owned.value == 0)))

    def _anchored(self) -> Iterator[Formula]:
        """Yield the relations of a position's facts, linear because ten are held that were bought at 100."""
        find, held = self.variant.snapshot.find, self.variant.held
        for name, value in (("position_qty", 10), ("entry_price", 100), ("last_entry_price", 100)):
            if found := find(name):
                yield implies(held, found.value == value * found.slot.steps_per_unit)
        for name, of, factor, less in (
            ("position_value", "price", Fraction(10), 0),
            ("gain", "price", Fraction(1, 100), 1),
            ("peak_gain", "peak_price", Fraction(1, 100), 1),
        ):
            fact, price = find(name), find(of)
            if fact and price:
                k, m = fact.slot.steps_per_unit, price.slot.steps_per_unit
                exact = as_real(price.value) * as_real(factor * k / m) - as_real(less * k)
                band = as_real(_FIRM)
                near = as_real(fact.value) <= exact + band, as_real(fact.value) >= exact - band
                yield implies(held, every(near))

    def values(self, model: Model) -> list[float]:
        """Return a model's fact vector, in the common table."""
        return fact_values(self.pair.before, self.variant.snapshot, model)
