"""Two policies compared for people: the regions where they decide differently, each with an example.

A region is found around a situation: the fewest comparisons of both policies under which the one always comes
to its outcome and the other to its own.  Then the next is looked for outside of it, until there is none or
enough are told.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from engine.codes import Action, Disposition, Truth
from engine.errors import TradectlError
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.formulas import Formula, begin_anew, every, negation, some
from engine.evaluate.symbolic.solver import Answer, Budget, Model
from engine.language.expression import decimal_text, duration_text, literal_text
from engine.language.policy import Policy
from engine.language.source import load_document
from engine.lowered import LoweredPolicy
from engine.prove.difference import Asked, Decided, Pair, Scene, Side, Winners, pairs
from engine.prove.example import Example, literal_of
from engine.prove.policy_map import symbols_words
from engine.prove.region_words import conditions, then_words, with_numbers
from engine.prove.regions import (
    Clause,
    MapRegion,
    Questions,
    clauses_of,
    condition_literal,
    reduced,
    spoken,
)
from engine.prove.regions import Literal as RegionLiteral
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, Measure, unscaled
from engine.verbs.decide import decide
from engine.verbs.numbers import decimal
from engine.verbs.statement import parse_statement
from engine.verbs.terms import slots_of_node, slots_of_term
from engine.verbs.vector import fact_vector

MOST_PLACES: Final = 12
"""Regions that are told of one group of symbols."""


@dataclass(frozen=True, slots=True)
class OutcomeView:
    """What one policy does."""

    action: Action
    rule: str  # that decides; "" where none does
    then: str
    order: str  # of the example: "buy 12 at 100.10 USD", "" where none is made


@dataclass(frozen=True, slots=True)
class Place:
    """A region where two policies decide differently, and an example on which both were run.

    ``conditions`` is empty where no region was found around the example.  ``reproduces`` says whether
    ``explain --facts`` decides alike on a file with these facts, for either policy.
    """

    conditions: tuple[str, ...]
    old: OutcomeView
    new: OutcomeView
    symbol: str
    facts: tuple[tuple[str, str], ...]
    reproduces: bool


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """What differs for symbols whose variants are the same.

    ``equal`` is None where it is undecided; ``complete`` says that there is no other region; ``redefined``
    names what both policies read and define differently, so that no proof covers it.
    """

    words: str
    symbols: tuple[str, ...]
    equal: bool | None
    places: tuple[Place, ...]
    complete: bool
    redefined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyDifference:
    """Two policies compared.  ``beside`` is what else they say differently."""

    old: Policy
    new: Policy
    groups: tuple[GroupDifference, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def equal(self) -> bool | None:
        """True: proved to decide alike; False: they do not; None: undecided."""
        answers = [group.equal for group in self.groups]
        if False in answers or self.only_old or self.only_new:
            return False
        return None if None in answers else True


def compare(
    old: Policy,
    new: Policy,
    old_forms: Mapping[str, LoweredPolicy],
    new_forms: Mapping[str, LoweredPolicy],
    budget: Budget,
) -> PolicyDifference:
    """Compare two policies."""
    begin_anew()
    before, after = ([listing.symbol for listing in policy.traded] for policy in (old, new))
    groups = tuple(_group(pair, budget) for pair in _alike(pairs(old, new, old_forms, new_forms, budget)))
    return PolicyDifference(
        old,
        new,
        groups,
        tuple(symbol for symbol in before if symbol not in after),
        tuple(symbol for symbol in after if symbol not in before),
        tuple(_beside(old, new)),
    )


def _alike(found: Iterator[Pair]) -> list[Pair]:
    """Return pairs with numbers in their texts; those that decide alike but for order terms are one."""
    merged: list[tuple[object, Pair]] = []
    for pair in found:
        key = tuple(_decisive(form) for form in (pair.before, pair.after)), pair.redefined
        weights = pair.old.listing.weight, pair.new.listing.weight
        for index, (other, kept) in enumerate(merged):
            same_weights = (kept.old.listing.weight, kept.new.listing.weight) == weights
            if other == key and (same_weights or weights[0] == weights[1]):
                merged[index] = key, kept.for_more(pair.symbols)
                break
        else:
            old, new = (
                replace(side, lowered=with_numbers(side.policy, side.listing, side.lowered))
                for side in (pair.old, pair.new)
            )
            merged.append((key, Pair(old, new, pair.symbols, pair.budget)))
    return [pair for _, pair in merged]


def _decisive(form: LoweredPolicy) -> LoweredPolicy:
    styles = {name: replace(getattr(form, name), time_in_force="") for name in ("buy_style", "sell_style")}
    return replace(form, asset_class="", **styles)


def _group(pair: Pair, budget: Budget) -> GroupDifference:
    equal = pair.equal()
    places: list[Place] = []
    complete = equal is True
    if equal is not True:
        finder = _Finder(pair)
        places = list(finder.places())
        complete = finder.complete and not pair.redefined and bool(places)
        equal = False if places else equal
    words = symbols_words(pair.old.policy, pair.symbols)
    return GroupDifference(words, pair.symbols, equal, tuple(places), complete, pair.redefined)


class _Literal(NamedTuple):
    """Something that holds in a situation: a clause, or what its words say."""

    formula: Formula
    clause: Clause | None
    words: str = ""


# --- regions ----------------------------------------------------------------------------------


class _Finder:
    """Finds the regions of one pair; ``complete`` says afterwards whether there are no others."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.complete = False
        self._told = 0

    def places(self) -> Iterator[Place]:
        """Yield regions: where facts are known, then where some are not; else an example at least."""
        if not self.pair.redefined:
            whole = True
            for asked in (self.pair.known, self.pair.unknown):
                all_told = yield from self._regions(asked)
                whole = whole and all_told
                if self._told:
                    break  # what differs where facts are known differs where some are not, too
            self.complete = whole and self.pair.orders_alike
        found = None if self._told else self.pair.sampled()
        if found is None and not self.pair.orders_alike:
            found = self.pair.limited()
        if found is not None:
            yield self._bare(*found)

    def _regions(self, asked: Asked) -> Generator[Place, None, bool]:
        """Yield regions; return whether there are no others."""
        whole = True
        variant = asked.variant
        untried = negation(some(asked.bits))
        elsewhere: list[Formula] = []
        for given in ((variant.in_order, untried), (untried,), ()):
            taken = [formula for formula in given if formula is not True]
            while self._told < MOST_PLACES:
                answer = variant.ask(asked.differ, *taken, *elsewhere)
                if answer is not Answer.POSSIBLE:
                    whole = whole and answer is Answer.IMPOSSIBLE
                    break
                place, blocked = self._around(asked, variant.model())
                elsewhere.append(negation(blocked))
                # What an entry's own exits do depends on facts that the prover knows little of.
                if place is None or not (taken or place.reproduces):
                    whole = False
                else:
                    self._told += 1
                    yield place
                if not taken and not whole:
                    return False
            else:
                return False
        return whole

    def _around(self, asked: Asked, model: Model) -> tuple[Place | None, Formula]:
        """Return the region around a situation, and what it is as a formula."""
        winners = asked.winner(asked.old, model), asked.winner(asked.new, model)
        fault = asked.outcomes(*winners)
        questions = Questions.of(asked.old, asked.variant.solver)
        literals = list(self._literals(asked, questions, model))
        with asked.variant.supposing(negation(fault)):
            core = asked.variant.least_core([literal.formula for literal in literals])
        if core is None:
            return None, fault
        kept = [literal for literal in literals if any(literal.formula is one for one in core)]
        inside = every(literal.formula for literal in kept)
        with asked.variant.supposing(*(literal.formula for literal in kept if literal.clause is None)):
            clauses = tuple(literal.clause for literal in kept if literal.clause is not None)
            clauses = reduced(questions, MapRegion(clauses, None)).clauses
        told = dict.fromkeys(literal.words for literal in kept if literal.words)
        words = (*conditions(self.pair.before, clauses), *told)
        return self._shown(asked, words, every((fault, inside)), winners), inside

    def _literals(self, asked: Asked, questions: Questions, model: Model) -> Iterator[_Literal]:
        """Yield what either policy sees of a situation: its rules, its gates, the exits of its entries.

        Where no entry stands it is only told that none does, not why.
        """
        table = self.pair.before
        buys = [
            (f"{rule.name} ({which}) does not buy", candidate.stands)
            for which, (terms, form) in zip(("old", "new"), asked.sides, strict=True)
            for candidate, rule in zip(terms.candidates, form.rules, strict=True)
            if rule.action is Action.BUY
        ]
        idle = not any(model.truth(stands) for _, stands in buys)
        nodes: dict[int, None] = {}
        for _, form in asked.sides:
            nodes |= dict.fromkeys(_deciding(form) if idle else spoken(form))
        gates = [gate for _, form in asked.sides for gate in form.gates]
        integrity = dict.fromkeys(
            gate.when for gate in gates if gate.reserved and gate.vetoes_protective and gate.vetoes_buy
        )
        open_gates = every(asked.old.node(node).false for node in integrity)
        seen: dict[Clause, None] = {}
        for node in nodes:
            if node not in integrity or not model.truth(open_gates):
                seen |= dict.fromkeys(clauses_of(table, _truth(asked, model, node)))
        for clause in seen:
            formula = questions.clause(clause)
            if formula is not True:
                yield _Literal(formula, clause)
        if model.truth(open_gates):
            yield _Literal(open_gates, None, "integrity gates open")
        if idle:
            yield from (_Literal(negation(stands), None, words) for words, stands in buys)
            return
        for which, (terms, form) in zip(("old", "new"), asked.sides, strict=True):
            for rule, bit in (*terms.would_exit.items(), *terms.would_exit_unknown.items()):
                after = f"exit would follow {form.rules[rule].name} ({which})"
                if model.truth(bit):
                    yield _Literal(bit, None, f"an {after}")
                else:
                    yield _Literal(negation(bit), None, f"no {after}")

    def _shown(self, asked: Asked, words: tuple[str, ...], inside: Formula, winners: Winners) -> Place | None:
        example = asked.example(inside, expected=winners)
        if example is not None:
            made = self.pair.decided(example.outcome.values)
            return self._place(words, made, example.facts, self._reproduces(example, made))
        values = asked.replayed(inside, expected=winners)
        if values is None:
            return None
        return self._place(words, self.pair.decided(values), self._facts(values))

    def _reproduces(self, example: Example, made: tuple[Decided, Decided]) -> bool:
        """Say whether both policies decide so on a facts file, each as it stands."""
        for side, one in zip((self.pair.old, self.pair.new), made, strict=True):
            try:
                statement = parse_statement(load_document(example.text, "example"))
                vector = fact_vector(side.policy, side.lowered, side.listing, statement)
            except TradectlError:
                return False
            decision = decide(ReferenceEvaluator(side.lowered), list(vector.values), vector.situation)
            if (decision.rule, decision.action) != (one.rule, one.decision.action):
                return False
        return True

    def _bare(self, values: list[float], scene: Scene) -> Place:
        facts = (*self._facts(values), *scene_words(scene))
        return self._place((), self.pair.decided(values, scene), facts)

    def _place(
        self,
        conditions: tuple[str, ...],
        made: tuple[Decided, Decided],
        facts: tuple[tuple[str, str], ...],
        reproduces: bool = False,
    ) -> Place:
        old = outcome_view(self.pair.old, self.pair.before, made[0])
        new = outcome_view(self.pair.new, self.pair.after, made[1])
        return Place(conditions, old, new, self.pair.symbols[0], facts, reproduces)

    def _facts(self, values: Sequence[float]) -> tuple[tuple[str, str], ...]:
        """Return the facts that rules and gates of either policy read."""
        slots: dict[int, None] = {}
        for form in (self.pair.before, self.pair.after):
            for node in spoken(form):
                slots |= dict.fromkeys(slots_of_node(form, node))
            for rule in form.rules:
                slots |= dict.fromkeys(slots_of_term(rule.size) if rule.size is not None else ())
        counted = list(values)
        ReferenceEvaluator(self.pair.before).evaluate(counted)  # the signals
        named = ((self.pair.before.slots[index], counted[index]) for index in slots)
        return tuple(
            (slot.name, literal_of(value, slot.unit) if value == value else "unknown")
            for slot, value in named
        )


def _deciding(form: LoweredPolicy) -> list[int]:
    """Return the conditions of rules and gates that speak of more than entries."""
    rules = [rule for rule in form.rules if rule.action is not Action.BUY]
    nodes = [node for rule in rules for node in (rule.when, rule.when_entry)]
    gates = [gate for gate in form.gates if gate.vetoes_sell or gate.vetoes_protective]
    return [*nodes, *(node for gate in gates for node in (gate.when, gate.when_entry))]


def _truth(asked: Asked, model: Model, node: int) -> RegionLiteral:
    """Return what a condition is in a situation."""
    truth = asked.old.node(node)
    if model.truth(truth.true):
        return condition_literal(node, Truth.TRUE)
    return condition_literal(node, Truth.FALSE if model.truth(truth.false) else Truth.UNKNOWN)


# --- outcomes ---------------------------------------------------------------------------------


def outcome_view(side: Side, form: LoweredPolicy, made: Decided) -> OutcomeView:
    """Return what one policy does on facts."""
    rule = form.rules[made.rule] if made.rule >= 0 else None
    if rule is None or rule.action is Action.HOLD:
        return OutcomeView(Action.HOLD, "" if rule is None else _own_name(side, made.rule), "hold", "")
    name = _own_name(side, made.rule)
    text = next(one.then_text for one in side.policy.rules if one.name == name)
    return OutcomeView(rule.action, name, then_words(side.policy, side.listing, text), order_words(made))


def _own_name(side: Side, rule: int) -> str:
    """Return a rule's name in its own policy: the table may have the other one's."""
    return side.lowered.rules[rule].name


def scene_words(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yield what is not usual of cash and limits."""
    usual = Scene()
    if scene.cash != usual.cash:
        yield "cash left", f"{decimal(unscaled(scene.cash, MONEY_SCALE))} USD"
    if scene.used != usual.used:
        yield f"exposure of {scene.scope.value}", f"{decimal(unscaled(scene.used, MONEY_SCALE))} USD"
    if scene.count != usual.count:
        yield "counted by limits", str(scene.count)


def order_words(made: Decided) -> str:
    """Return a decision's order, or why there is none."""
    decision = made.decision
    if decision.order is None:
        word = Disposition(decision.dispositions[made.rule]).word.replace("_", " ")
        return f"{word}: no order"
    order = decision.order
    quantity = decimal(unscaled(order.quantity, QUANTITY_SCALE))
    price = decimal(unscaled(order.sized_at, PRICE_SCALE))
    kind = "at market, about" if order.limit_price is None else "at"
    return f"{order.side.value} {quantity} {kind} {price} USD"


# --- beside the decisions ---------------------------------------------------------------------


def _beside(old: Policy, new: Policy) -> Iterator[str]:
    """Yield what the policies say differently, also where no decision on given facts shows it."""
    for what, one, other in (
        ("selection", old.selection.value, new.selection.value),
        ("bars", duration_text(old.bars_seconds), duration_text(new.bars_seconds)),
        ("every", _cadence(old), _cadence(new)),
        ("timezone", old.timezone, new.timezone),
    ):
        if one != other:
            yield f"{what}: {one} becomes {other}"
    yield from _universe(old, new)
    yield from _parameters(old, new)
    for name in (name for name in old.indicators if name in new.indicators):
        if old.indicators[name].outputs != new.indicators[name].outputs:
            yield f"indicator {name}: is computed otherwise"
    for what, names in (
        ("rule", [{one.name for one in policy.rules} for policy in (old, new)]),
        ("gate", [{one.name for one in policy.gates} for policy in (old, new)]),
        ("limit", [{one.name for one in policy.limits} for policy in (old, new)]),
        ("signal", [{one.name for one in policy.signals} for policy in (old, new)]),
        ("indicator", [set(policy.indicators) for policy in (old, new)]),
        ("promise", [{one.name for one in policy.promises} for policy in (old, new)]),
    ):
        yield from (f"{what} {name}: only in the old policy" for name in sorted(names[0] - names[1]))
        yield from (f"{what} {name}: only in the new policy" for name in sorted(names[1] - names[0]))
    limits = {limit.name: limit for limit in new.limits}
    for limit in old.limits:
        if limit.name in limits and limit != replace(limits[limit.name], span=limit.span):
            yield f"limit {limit.name}: another bound, count, window or scope"
    for side in ("buy_terms", "sell_terms"):
        if getattr(old, side) != getattr(new, side):
            yield f"orders: {side.removesuffix('_terms')} orders are sent otherwise"
    rules = {rule.name: rule for rule in new.rules}
    for rule in old.rules:
        other_rule = rules.get(rule.name)
        if other_rule is not None and rule.protective != other_rule.protective:
            yield f"rule {rule.name}: {'no longer' if rule.protective else 'now'} protective"
        if other_rule is not None and rule.once != other_rule.once:
            words = [one.value if one else "not limited" for one in (rule.once, other_rule.once)]
            yield f"rule {rule.name}: once {words[0]} becomes {words[1]}"


def _cadence(policy: Policy) -> str:
    return duration_text(policy.every_seconds) if policy.every_seconds else "each close of its bars"


def _universe(old: Policy, new: Policy) -> Iterator[str]:
    weights = [{one.symbol: one.weight for one in policy.traded} for policy in (old, new)]
    common = [symbol for symbol in weights[0] if symbol in weights[1]]
    for symbol in common:
        one, other = (part[symbol] for part in weights)
        if one != other:
            words = [
                f"{decimal_text(weight * 100)}%" if weight is not None else "none" for weight in (one, other)
            ]
            yield f"weight of {symbol}: {words[0]} becomes {words[1]}"
    if common != [symbol for symbol in weights[1] if symbol in weights[0]]:
        yield "universe: buys compete for cash in another order"


def _parameters(old: Policy, new: Policy) -> Iterator[str]:
    for name in (name for name in old.parameters if name in new.parameters):
        one, other = old.parameters[name], new.parameters[name]
        scopes = [("", one.value, other.value)]
        scopes += [
            (f" for {scope}", one.overrides.get(scope, one.value), other.overrides.get(scope, other.value))
            for scope in dict.fromkeys((*one.overrides, *other.overrides))
        ]
        for scope, before, after in scopes:
            if before != after and isinstance(one.unit, Measure):
                texts = [literal_text(value, one.unit) for value in (before, after)]
                yield f"param {name}{scope}: {texts[0]} becomes {texts[1]}"
