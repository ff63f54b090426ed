"""Mutants: a policy with one small change each, as a slip of the pen would make it.

They are made on the typed tree, never in the file.  What is written once changes once: a literal or a
comparison of a definition changes wherever the definition is read.  A part that is *removed* stays by name
and does nothing any more, so that a case that names it is judged by what is decided.

Not changed are what no case can state or expect (lengths of indicators, how long an order is good for) and
the names, scopes and least steps of rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final

from engine.errors import Span
from engine.language.expression import literal_text
from engine.language.policy import Gate, Limit, OrderTerms, ParameterValue, Policy, Rule, Signal, Vote
from engine.language.types import (
    Arithmetic,
    Combined,
    Compared,
    Condition,
    Constant,
    FactRead,
    Negated,
    Parameter,
    StepTable,
    Typed,
    comparisons_of,
    is_zero,
)
from engine.lowered import Comparison, LimitKind, Operator
from engine.prove.wording import condition_text
from engine.units import Measure, Unit, Words


class Change(StrEnum):
    """What kind of slip a mutant is."""

    THRESHOLD = "threshold"  # a number in a condition, a size, a bound or a price of an order
    COMPARATOR = "comparator"
    CONNECTIVE = "connective"  # and, or
    DROPPED = "dropped"  # one of the conditions of an and, an or
    NEGATED = "negated"
    PRIORITY = "priority"  # with the next rule
    REMOVED = "removed"  # a rule, a gate or a limit
    VETOES = "vetoes"  # one of the kinds of candidates that a gate vetoes
    COUNT = "count"  # of a limit
    WINDOW = "window"  # of a limit
    WEIGHT = "weight"  # of a vote
    SIZE = "size"
    ONCE = "once"
    PROTECTIVE = "protective"
    IF_UNKNOWN = "if_unknown"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed policy.

    ``id`` stays the same while the parts it is about are not edited; ``parts`` names them as coverage does
    ("rule stop-loss"), the first is where the change is told; ``what`` is the change as a sentence.
    """

    id: str
    change: Change
    parts: tuple[str, ...]
    what: str
    span: Span
    policy: Policy

    @property
    def part(self) -> str:
        """The part where the change is told."""
        return self.parts[0]


def mutants_of(policy: Policy) -> tuple[Mutant, ...]:
    """Return every mutant of a policy, in its order: parameters, rules, gates, votes, limits, orders."""
    counted: Counter[tuple[str, Change]] = Counter()
    mutants = []
    for made in _Maker(policy).mutants():
        place = (made.part, made.change)
        counted[place] += 1
        mutants.append(replace(made, id=f"{made.part.replace(' ', '/')}/{made.change}/{counted[place]}"))
    return tuple(mutants)


# --- tables -----------------------------------------------------------------------------------

_C = Comparison
_OTHERS: Final = {
    _C.LESS: (_C.LESS_OR_EQUAL, _C.GREATER_OR_EQUAL),
    _C.LESS_OR_EQUAL: (_C.LESS, _C.GREATER),
    _C.GREATER: (_C.GREATER_OR_EQUAL, _C.LESS_OR_EQUAL),
    _C.GREATER_OR_EQUAL: (_C.GREATER, _C.LESS),
    _C.EQUAL: (_C.NOT_EQUAL, _C.LESS_OR_EQUAL, _C.GREATER_OR_EQUAL),
    _C.NOT_EQUAL: (_C.EQUAL, _C.LESS, _C.GREATER),
}
"""The neighbours of a comparison and its contrary."""
_STEPS: Final[dict[Measure, Decimal | int]] = {
    Measure.RATIO: 10_000,
    Measure.PRICE: 100,
    Measure.MONEY: 100,
    Measure.QUANTITY: 1_000,
    Measure.NUMBER: 100,
    Measure.SCALAR: 100,
    Measure.CLOCK: Decimal(1) / 60,
}
"""Steps per unit of a number that is compared with no fact directly: 0.01 %, a cent, a minute; else 1."""
_SAME_UNIT: Final = frozenset(
    (
        Operator.ADD,
        Operator.SUBTRACT,
        Operator.NEGATE,
        Operator.ABSOLUTE,
        Operator.MINIMUM,
        Operator.MAXIMUM,
    )
)
_VISIBLE: Final = Decimal("1.1")
_FACTORS: Final = (Decimal("1.1"), Decimal("0.9"))  # of sizes
_WEIGHTS: Final = (Decimal("1.5"), Decimal("0.5"))
_NOTHING: Final = Decimal(10) ** 15  # a bound that never binds
_COUNTLESS: Final = 10**9
_NEVER: Final = Compared(
    Constant(Decimal(0), Measure.SCALAR, Span(0, 0)),
    Comparison.EQUAL,
    Constant(Decimal(1), Measure.SCALAR, Span(0, 0)),
    Measure.SCALAR,
    "never",
    Span(0, 0),
)


def _nudged(value: Decimal, steps_per_unit: Decimal | int) -> list[Decimal]:
    """Return a number a step up, a step down, and a tenth more of it on its grid."""
    step = 1 / Decimal(steps_per_unit)
    tenth = (value * _VISIBLE * steps_per_unit).to_integral_value(ROUND_HALF_UP) * step
    return [new for new in dict.fromkeys((value + step, value - step, tenth)) if new != value]


# --- places -----------------------------------------------------------------------------------

_Tree = Condition | Typed
_Place = tuple[object, ...]


def _place(node: _Tree) -> _Place | None:
    """Return what tells a node of the text from all others; None of what is never changed."""
    match node:
        case Compared(span=span, crossing=crossing):
            return Compared, span, crossing
        case Combined(every=every):
            return Combined, every, *(compared.span for compared in comparisons_of(node))
        case Negated():
            return Negated, *(compared.span for compared in comparisons_of(node))
        case Constant(span=span):
            return Constant, span
    return None


@dataclass(frozen=True, slots=True)
class _Swap:
    """Puts ``new`` wherever the node of a place of the text is read."""

    place: _Place
    new: _Tree

    def condition(self, node: Condition) -> Condition:
        """Return a condition with the node swapped in it."""
        if _place(node) == self.place and isinstance(self.new, Condition):
            return self.new
        match node:
            case Compared(left=left, right=right):
                return replace(node, left=self.number(left), right=self.number(right))
            case Negated(operand=operand):
                return Negated(self.condition(operand))
            case Combined(every=every, operands=operands):
                return Combined(every, tuple(self.condition(operand) for operand in operands))
        return node

    def number(self, node: Typed) -> Typed:
        """Return a number with the node swapped in it."""
        if _place(node) == self.place and isinstance(self.new, Typed):
            return self.new
        match node:
            case Arithmetic(operands=operands):
                return replace(node, operands=tuple(self.number(operand) for operand in operands))
            case StepTable(by=by, thresholds=thresholds, values=values):
                swapped = (self.number(threshold) for threshold in thresholds)
                return replace(
                    node,
                    by=self.number(by),
                    thresholds=tuple(threshold for threshold in swapped if isinstance(threshold, Constant)),
                    values=tuple(self.number(value) for value in values),
                )
        return node

    def policy(self, policy: Policy) -> Policy:
        """Return a policy with the node swapped in all that decides."""

        def terms(side: OrderTerms) -> OrderTerms:
            return replace(side, limit=side.limit and self.number(side.limit))

        return replace(
            policy,
            rules=tuple(
                replace(rule, when=self.condition(rule.when), size=rule.size and self.number(rule.size))
                for rule in policy.rules
            ),
            gates=tuple(replace(gate, when=gate.when and self.condition(gate.when)) for gate in policy.gates),
            signals=tuple(
                replace(signal, votes=tuple(self._vote(vote) for vote in signal.votes))
                for signal in policy.signals
            ),
            limits=tuple(
                replace(limit, bound=limit.bound and self.number(limit.bound)) for limit in policy.limits
            ),
            buy_terms=terms(policy.buy_terms),
            sell_terms=terms(policy.sell_terms),
        )

    def _vote(self, vote: Vote) -> Vote:
        return replace(
            vote,
            buy=vote.buy and self.condition(vote.buy),
            sell=vote.sell and self.condition(vote.sell),
        )


@dataclass(slots=True)
class _Site:
    """A node of the text, and the parts that read it."""

    node: _Tree
    parts: list[str]
    steps_per_unit: Decimal | int = 0  # of a number
    unit: Unit = Measure.SCALAR  # of a number
    negated: bool = False  # it stands right behind a ``not``
    text: str = ""  # the comparison, size, bound or price that a number stands in


class _Maker:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.sites: dict[_Place, _Site] = {}
        self.parameters: dict[str, tuple[list[str], set[Decimal | int]]] = defaultdict(lambda: ([], set()))

    def mutants(self) -> Iterator[Mutant]:
        policy = self.policy
        for rule in policy.rules:
            self._look(f"rule {rule.name}", rule.when)
            if rule.size is not None:
                self._numbers(f"rule {rule.name}", rule.size, 0, rule.size.unit, f"'{rule.then_text}'")
        for gate in policy.gates:
            if gate.when is not None and not gate.reserved:
                self._look(f"gate {gate.name}", gate.when)
        for signal in policy.signals:
            for vote in signal.votes:
                for side, condition in (("buy", vote.buy), ("sell", vote.sell)):
                    if condition is not None:
                        self._look(f"vote {signal.name}.{vote.name} {side}", condition)
        for limit in policy.limits:
            if limit.bound is not None:
                self._numbers(f"limit {limit.name}", limit.bound, 0, limit.bound.unit, "its bound")
        for side, terms in (("buy", policy.buy_terms), ("sell", policy.sell_terms)):
            if terms.limit is not None and terms.limit.span.start:  # else it is not written: the default
                self._numbers(f"orders {side}", terms.limit, 0, Measure.PRICE, "their limit")
        for name, (parts, steps) in self.parameters.items():
            yield from self._parameter(policy.parameters[name], parts, min(steps))
        for site in self.sites.values():
            yield from self._of_site(site)
        for index, rule in enumerate(policy.rules):
            yield from self._rule(index, rule)
        for gate in policy.gates:
            yield from self._gate(gate)
        for signal in policy.signals:
            for vote in signal.votes:
                yield from self._vote(signal, vote)
        for limit in policy.limits:
            yield from self._limit(limit)

    # --- what there is to change --------------------------------------------------------------

    def _look(self, part: str, condition: Condition, negated: bool = False) -> None:
        """Note the nodes of a condition."""
        self._site(part, condition).negated = negated
        match condition:
            case Compared(left=left, right=right, text=text):
                for number, other in ((left, right), (right, left)):
                    k = other.steps_per_unit if isinstance(other, FactRead) else 0
                    self._numbers(part, number, k, other.unit, f"'{text}'")
            case Combined(operands=operands):
                for operand in operands:
                    self._look(part, operand)
            case Negated(operand=operand):
                self._look(part, operand, negated=True)

    def _site(self, part: str, node: _Tree) -> _Site:
        place = _place(node)
        assert place is not None
        site = self.sites.setdefault(place, _Site(node, []))
        if part not in site.parts:
            site.parts.append(part)
        return site

    def _numbers(self, part: str, typed: Typed, steps_per_unit: int, unit: Unit, text: str) -> None:
        """Note the numbers below a number that is compared with a fact of so many steps per unit (or 0)."""
        if isinstance(unit, Words) or unit is Measure.BOOLEAN:
            return
        match typed:
            case Constant():
                site = self._site(part, typed)
                site.unit = unit if is_zero(typed) else typed.unit
                site.steps_per_unit = steps_per_unit or _steps(site.unit)
                site.text = text
            case Parameter(name=name):
                parts, steps = self.parameters[name]
                if part not in parts:
                    parts.append(part)
                steps.add(steps_per_unit or _steps(typed.unit))
            case Arithmetic(operator=operator, operands=operands):
                k = steps_per_unit if operator in _SAME_UNIT else 0
                for operand in operands:
                    self._numbers(part, operand, k, operand.unit, text)
            case StepTable(by=by, thresholds=thresholds, values=values):
                k = by.steps_per_unit if isinstance(by, FactRead) else 0
                for threshold in thresholds:
                    self._numbers(part, threshold, k, by.unit, text)
                for value in values:
                    self._numbers(part, value, steps_per_unit, value.unit, text)
                self._numbers(part, by, 0, by.unit, text)

    # --- changes of conditions and numbers ----------------------------------------------------

    def _of_site(self, site: _Site) -> Iterator[Mutant]:
        match site.node:
            case Constant():
                yield from self._constant(site, site.node)
            case Compared():
                yield from self._comparison(site, site.node)
            case Combined():
                yield from self._combined(site, site.node)
            case Negated(operand=operand):
                what = f"'{condition_text(site.node)}' becomes '{condition_text(operand)}'"
                yield self._everywhere(site, Change.NEGATED, what, operand)

    def _everywhere(
        self, site: _Site, change: Change, what: str, new: _Tree, span: Span | None = None
    ) -> Mutant:
        """Put another node in the place of a site's, wherever it is read."""
        node, place = site.node, _place(site.node)
        assert place is not None
        assert isinstance(node, Constant | Condition)
        if span is None:
            span = node.span if isinstance(node, Constant) else next(comparisons_of(node)).span
        return Mutant("", change, tuple(site.parts), what, span, _Swap(place, new).policy(self.policy))

    def _constant(self, site: _Site, constant: Constant) -> Iterator[Mutant]:
        unit = site.unit
        assert isinstance(unit, Measure)
        for value in _nudged(constant.value, site.steps_per_unit):
            what = f"{_shown(constant.value, unit)} becomes {_shown(value, unit)} in {site.text}"
            yield self._everywhere(site, Change.THRESHOLD, what, replace(constant, value=value, unit=unit))

    def _comparison(self, site: _Site, compared: Compared) -> Iterator[Mutant]:
        if compared.unit is Measure.BOOLEAN:
            if not site.negated:
                what = f"'{compared.text}' becomes 'not {compared.text}'"
                yield self._everywhere(site, Change.NEGATED, what, Negated(compared))
            return
        others = _OTHERS[compared.comparison]
        for other in others[:1] if isinstance(compared.unit, Words) else others:
            text = compared.text.replace(f" {compared.comparison} ", f" {other} ", 1)
            what = f"'{compared.text}' becomes '{text}'"
            yield self._everywhere(
                site, Change.COMPARATOR, what, replace(compared, comparison=other, text=text)
            )

    def _combined(self, site: _Site, combined: Combined) -> Iterator[Mutant]:
        words = ("and", "or") if combined.every else ("or", "and")
        what = f"'{words[0]}' becomes '{words[1]}' in '{condition_text(combined)}'"
        yield self._everywhere(site, Change.CONNECTIVE, what, Combined(not combined.every, combined.operands))
        for index, operand in enumerate(combined.operands):
            others = combined.operands[:index] + combined.operands[index + 1 :]
            rest = others[0] if len(others) == 1 else Combined(combined.every, others)
            what = f"'{condition_text(operand)}' is dropped from '{condition_text(combined)}'"
            yield self._everywhere(site, Change.DROPPED, what, rest, next(comparisons_of(operand)).span)

    def _parameter(
        self, parameter: ParameterValue, parts: list[str], steps_per_unit: Decimal | int
    ) -> Iterator[Mutant]:
        name, unit = parameter.name, parameter.unit
        assert isinstance(unit, Measure)
        places: dict[str, Decimal] = {"": parameter.value, **parameter.overrides}
        for scope, old in places.items():
            where = f" for {scope}" if scope else ""
            for value in _nudged(old, steps_per_unit):
                what = f"{name}{where} {_shown(old, unit)} becomes {_shown(value, unit)}"
                new = (
                    replace(parameter, overrides={**parameter.overrides, scope: value})
                    if scope
                    else replace(parameter, value=value)
                )
                policy = replace(self.policy, parameters={**self.policy.parameters, name: new})
                told = (f"parameter {name}", *parts)
                yield Mutant("", Change.THRESHOLD, told, what, parameter.span, policy)

    # --- changes of parts ---------------------------------------------------------------------

    def _rule(self, index: int, rule: Rule) -> Iterator[Mutant]:
        rules = self.policy.rules

        def changed(change: Change, what: str, new: Rule) -> Mutant:
            policy = replace(self.policy, rules=(*rules[:index], new, *rules[index + 1 :]))
            return Mutant("", change, (f"rule {rule.name}",), what, rule.span, policy)

        yield changed(Change.REMOVED, "it is removed", replace(rule, when=_NEVER))
        if rule.protective:
            yield changed(Change.PROTECTIVE, "'protective' is removed", replace(rule, protective=False))
        if rule.once is not None:
            yield changed(Change.ONCE, f"'once: {rule.once}' is removed", replace(rule, once=None))
        if rule.size is not None:
            for factor in _FACTORS:
                ratio = Constant(factor, Measure.RATIO, rule.size.span)
                size = Arithmetic(Operator.MULTIPLY, (ratio, rule.size), rule.size.unit, rule.size.span)
                what = f"'{rule.then_text}' becomes {literal_text(factor, Measure.RATIO)} of that"
                yield changed(Change.SIZE, what, replace(rule, size=size))
        if index + 1 < len(rules):
            after = rules[index + 1]
            swapped = (
                replace(after, priority=rule.priority, order=rule.order),
                replace(rule, priority=after.priority, order=after.order),
            )
            policy = replace(self.policy, rules=(*rules[:index], *swapped, *rules[index + 2 :]))
            parts = (f"rule {rule.name}", f"rule {after.name}")
            yield Mutant("", Change.PRIORITY, parts, f"'{after.name}' goes before it", rule.span, policy)

    def _gate(self, gate: Gate) -> Iterator[Mutant]:
        if gate.reserved:
            return
        for veto in ("", *(veto for veto in sorted(gate.vetoes) if len(gate.vetoes) > 1)):
            vetoes = gate.vetoes - {veto} if veto else frozenset[str]()
            what = f"'{veto}' is removed from what it vetoes" if veto else "it is removed"
            yield self._gate_becomes(
                gate, Change.VETOES if veto else Change.REMOVED, what, replace(gate, vetoes=vetoes)
            )
        if gate.pass_if_unknown:
            what = "'if_unknown: pass' is removed"
            yield self._gate_becomes(gate, Change.IF_UNKNOWN, what, replace(gate, pass_if_unknown=False))

    def _gate_becomes(self, gate: Gate, change: Change, what: str, new: Gate) -> Mutant:
        gates = tuple(new if other is gate else other for other in self.policy.gates)
        return Mutant("", change, (f"gate {gate.name}",), what, gate.span, replace(self.policy, gates=gates))

    def _vote(self, signal: Signal, vote: Vote) -> Iterator[Mutant]:
        def changed(change: Change, what: str, new: Vote) -> Mutant:
            votes = tuple(new if other is vote else other for other in signal.votes)
            signals = tuple(
                replace(signal, votes=votes) if other is signal else other for other in self.policy.signals
            )
            part = f"vote {signal.name}.{vote.name}"
            parts = (part, f"{part} buy", f"{part} sell")
            return Mutant("", change, parts, what, vote.span, replace(self.policy, signals=signals))

        for factor in _WEIGHTS:
            weight, hold = vote.weight * factor, vote.hold * factor
            what = f"weight {_plain(vote.weight)} becomes {_plain(weight)}"
            yield changed(Change.WEIGHT, what, replace(vote, weight=weight))
            if vote.hold:
                what = f"hold {_plain(vote.hold)} becomes {_plain(hold)}"
                yield changed(Change.WEIGHT, what, replace(vote, hold=hold))
        if vote.abstain:
            yield changed(Change.IF_UNKNOWN, "'if_unknown: abstain' is removed", replace(vote, abstain=False))

    def _limit(self, limit: Limit) -> Iterator[Mutant]:
        def changed(change: Change, what: str, new: Limit) -> Mutant:
            limits = tuple(new if other is limit else other for other in self.policy.limits)
            part = f"limit {limit.name}"
            return Mutant("", change, (part,), what, limit.span, replace(self.policy, limits=limits))

        least = limit.kind in (LimitKind.ORDER_AT_LEAST, LimitKind.CASH_AT_LEAST)
        unbound = Constant(-_NOTHING if least else _NOTHING, Measure.MONEY, limit.span)
        inert = replace(limit, count=_COUNTLESS, bound=None if limit.bound is None else unbound)
        yield changed(Change.REMOVED, "it is removed", inert)
        if limit.bound is None:
            for count in (limit.count + 1, limit.count - 1):
                what = f"at most {limit.count} becomes at most {count}"
                yield changed(Change.COUNT, what, replace(limit, count=count))
        if limit.window_seconds:
            for seconds in _nudged(Decimal(limit.window_seconds), 1):
                old, new = (
                    _shown(Decimal(length), Measure.DURATION) for length in (limit.window_seconds, seconds)
                )
                what = f"a window of {old} becomes {new}"
                yield changed(Change.WINDOW, what, replace(limit, window_seconds=int(seconds)))


def _steps(unit: Unit) -> Decimal | int:
    return _STEPS.get(unit, 1) if isinstance(unit, Measure) else 1


def _shown(value: Decimal, unit: Measure) -> str:
    return literal_text(value, unit)


def _plain(value: Decimal) -> str:
    return literal_text(value, Measure.SCALAR)
