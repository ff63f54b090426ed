"""Cases against a policy: what was expected, what was decided, and the difference in words.

Each case goes the way of the agent: facts are completed, an evaluator chooses, the winner is sized and
limited.  Nothing is compared that the case does not mention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

from engine.codes import Denial, Disposition, Side, Truth
from engine.errors import PolicyError, Problem, Span
from engine.evaluate.reference import Leaf, ReferenceEvaluator
from engine.evaluate.verdict import Evaluator
from engine.language.lower import lower_all
from engine.language.policy import Listing, Policy
from engine.language.source import ScalarNode
from engine.language.source import shown as quoted
from engine.lowered import FactSlot, LoweredPolicy, SlotOrigin
from engine.model import Decision
from engine.units import (
    GRID_PER_UNIT,
    MONEY_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    Measure,
    notional,
    quantise,
)
from engine.verbs.case_file import (
    ALL,
    NONE,
    Account,
    Case,
    CaseFile,
    Expectation,
    ExpectedSignal,
    Step,
    closer,
)
from engine.verbs.case_series import Series, begin, kept, money, quantity
from engine.verbs.decide import decide
from engine.verbs.margin import margin
from engine.verbs.numbers import difference, shown
from engine.verbs.promises import Promised, Watch, broken_by
from engine.verbs.replay import cause_text, signal_names
from engine.verbs.stated_value import Assumption, Kind, MistakeError, read_value
from engine.verbs.statement import Statement
from engine.verbs.terms import atoms_of_node, slots_of_term
from engine.verbs.vector import Vector, fact_vector, finest_instrument, narrowed

_DISPOSITIONS: Final = {disposition.word: disposition for disposition in Disposition}
_ORDER_KINDS: Final = {
    "quantity": Kind(Measure.QUANTITY, QUANTITY_SCALE, 0.0),
    "notional": Kind(Measure.MONEY, GRID_PER_UNIT[Measure.MONEY], 0.0),
    "limit_price": Kind(Measure.PRICE, PRICE_SCALE, 0.0),
}
_CONFIDENCE: Final = Kind(Measure.RATIO, 100, 0.0, 1.0)
_EPOCH_MS: Final = 1_767_225_600_000  # 2026-01-01: where a series begins that names no instant


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected; ``span`` is the expectation in the case file."""

    what: str
    expected: str
    got: str
    span: Span


@dataclass(frozen=True, slots=True)
class StepResult:
    """One decision of a case, with all it was made from; ``values`` have the voted signals written in."""

    step: Step
    listing: Listing
    lowered: LoweredPolicy
    vector: Vector
    values: list[float]
    decision: Decision
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case; a time series stops at its first step that is not as expected."""

    case: Case
    steps: tuple[StepResult, ...]

    @property
    def passed(self) -> bool:
        """Say whether all is as expected."""
        return all(not step.differences for step in self.steps)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What the case takes for granted, each once."""
        found = {a.name: a for step in self.steps for a in step.vector.assumptions}
        return tuple(found.values())


class CaseRunner:
    """Runs the cases of one file against one policy.

    Raises PolicyError (of the case file) where the file speaks of another policy, of names the policy does
    not have, or of values that its facts cannot take.
    """

    def __init__(
        self,
        policy: Policy,
        file: CaseFile,
        evaluator: Callable[[LoweredPolicy], Evaluator] = ReferenceEvaluator,
    ) -> None:
        """Lower the policy and check the file against it."""
        self.policy = policy
        self.file = file
        self._make = evaluator
        self._lowered = lower_all(policy)
        self._evaluators: dict[int, Evaluator] = {}
        self._references: dict[int, ReferenceEvaluator] = {}
        self._completed: _Facts | None = None
        self._places: dict[int, list[int]] = {}
        self._promised = Promised(policy) if policy.promises else None
        problems = [*self._problems_of_file(), *(p for case in file.cases for p in self._problems_of(case))]
        if problems:
            raise PolicyError(file.source, tuple(problems))

    def run_all(self) -> tuple[CaseResult, ...]:
        """Run every case; PolicyError with the mistakes of all of them."""
        results: list[CaseResult] = []
        problems: list[Problem] = []
        for case in self.file.cases:
            try:
                results.append(self.run(case))
            except PolicyError as error:
                problems += error.problems
        if problems:
            raise PolicyError(self.file.source, tuple(dict.fromkeys(problems)))
        return tuple(results)

    def run(self, case: Case, replaced: Mapping[str, float] | None = None) -> CaseResult:
        """Run one case.

        ``replaced`` puts other values (on their grid) in the place of assumed ones, to walk through their
        ranges; sizes of orders are then not compared: they follow the value, the decision must not.
        """
        series = None if case.account is None else self._begin(case, case.account)
        watch = Watch(self.policy, series.state.recent_buys) if series and self._promised else None
        results: list[StepResult] = []
        for step in case.steps:
            if series is not None:
                series.now_ms += step.after_seconds * 1000
            result = self._step(step, series, replaced, watch)
            results.append(result)
            if result.differences:
                break
        return CaseResult(case, tuple(results))

    def against(self, policy: Policy, lowered: Mapping[str, LoweredPolicy]) -> CaseRunner:
        """Return a runner of the same cases for a policy that has the same names and decides otherwise.

        ``lowered`` is that policy by symbol.  The facts are those that this policy reads, completed once: a
        case may state a fact that the other one does not read any more.  Its promises are not asked: what
        the cases themselves notice is the question.
        """
        self._completed = self._completed or _Facts(self.policy, self._lowered)
        other = copy(self)
        other.policy, other._lowered = policy, lowered
        other._evaluators, other._references, other._places, other._promised = {}, {}, {}, None
        return other

    # --- one decision -------------------------------------------------------------------------

    def _step(
        self,
        step: Step,
        series: Series | None,
        replaced: Mapping[str, float] | None,
        watch: Watch | None,
    ) -> StepResult:
        listing = self._listing(step)
        lowered = self._lowered[listing.symbol]
        # promises may read facts that nothing else does: they stand behind those of the policy
        judge = self._promised.judge(listing, lowered) if self._promised else None
        reader = judge.form.lowered if judge else lowered
        instrument = finest_instrument(listing)
        statement = self._whole(step, listing, series is not None)
        if self._completed is not None and not replaced:
            if id(reader) not in self._places:
                self._places[id(reader)] = self._completed.places(listing.symbol, reader)
            vector = self._completed.read(listing, step, statement, self._places[id(reader)])
        else:
            assumed = {given.name for given in statement.given if given.assumed}
            here = {name: value for name, value in (replaced or {}).items() if name in assumed}
            vector = fact_vector(self.policy, reader, listing, statement, replaced=here)
        if series is not None:
            vector = series.see(listing, reader, instrument, vector, _stated_close(statement))
        vector, beyond = narrowed(vector, len(lowered.slots))
        values = list(vector.values)
        decision = decide(self._evaluator(lowered), values, vector.situation)
        if series is not None:
            series.fill(listing, lowered, instrument, decision, values[lowered.slot("ask")])
        leaves: list[Leaf] = []
        if step.expect.short_by:
            leaves = self._reference(lowered).evaluate(list(values), vector.stated_mask).leaves
        comparison = _Comparison(lowered, values, decision, leaves)
        differences = list(comparison.differences(step.expect, sizes=not replaced))
        if judge is not None:
            judgement = judge.judge([*values, *beyond], decision, vector.situation)
            at_ms = 0 if series is None else series.now_ms
            for promise, got in broken_by(judgement, at_ms, listing.symbol, watch):
                line, _ = self.policy.source.position(promise.span.start)
                expected = f"{promise.text} ({self.policy.source.name}:{line})"
                differences.append(Difference(f"promise '{promise.name}'", expected, got, step.span))
        return StepResult(step, listing, lowered, vector, values, decision, tuple(differences))

    def _whole(self, step: Step, listing: Listing, series: bool) -> Statement:
        """Return a step's statement on its backgrounds: the symbol's, the class's, that of all."""
        background: Statement | None = None
        for scope in (ALL, listing.asset_class, listing.symbol):
            nearer = self.file.backgrounds.get(scope)
            if nearer is not None:
                background = closer(nearer, background)
        if background is not None and series:
            given = tuple(given for given in background.given if not kept(given.name))
            background = replace(background, given=given, usage=())
        return closer(step.statement, background)

    def _evaluator(self, lowered: LoweredPolicy) -> Evaluator:
        if id(lowered) not in self._evaluators:
            self._evaluators[id(lowered)] = self._make(lowered)
        return self._evaluators[id(lowered)]

    def _reference(self, lowered: LoweredPolicy) -> ReferenceEvaluator:
        if id(lowered) not in self._references:
            self._references[id(lowered)] = ReferenceEvaluator(lowered)
        return self._references[id(lowered)]

    def _listing(self, step: Step) -> Listing:
        listing = self.policy.listing(step.statement.symbol or "")
        assert listing is not None, "checked before any case runs"
        return listing

    def _begin(self, case: Case, account: Account) -> Series:
        positions: dict[str, tuple[int, int, int]] = {}
        instruments = {}
        for position in account.positions:
            symbol = position.symbol.text
            listing = self.policy.listing(symbol)
            assert listing is not None, "checked before any case runs"
            instruments[symbol] = finest_instrument(listing)
            size, price, held = _read_position(position.quantity, position.entry_price, position.held_for)
            positions[symbol] = (quantity(size), round(price * PRICE_SCALE), int(held))
        start_ms = _EPOCH_MS if case.at_ms is None else case.at_ms
        cash, _ = read_value(account.cash, "cash", _ORDER_KINDS["notional"])
        return begin(self.policy, positions, money(cash), start_ms, instruments)

    # --- what the file says against what the policy has ---------------------------------------

    def _problems_of_file(self) -> Iterator[Problem]:
        file = self.file
        if file.policy != self.policy.name:
            yield Problem(
                "policy",
                f"these cases are of policy {quoted(file.policy)}, not of {quoted(self.policy.name)}",
                file.policy_span,
                f"write policy: {self.policy.name}, or run them with their own policy",
            )
        scopes = {ALL, *(listing.asset_class for listing in self.policy.universe), *self._lowered}
        for scope, background in file.backgrounds.items():
            if scope not in scopes:
                near = get_close_matches(scope, sorted(scopes), 1)
                yield Problem(
                    "unknown-scope",
                    f"policy {quoted(self.policy.name)} has no class and trades no symbol {quoted(scope)}",
                    background.symbol_span,
                    f"did you mean {quoted(near[0])}?" if near else "delete it",
                )

    def _problems_of(self, case: Case) -> Iterator[Problem]:
        if case.account is not None:
            yield from _quietly(lambda: read_value(case.account.cash, "cash", _ORDER_KINDS["notional"]))  # type: ignore[union-attr]  # asked just above
            for position in case.account.positions:
                yield from self._unknown_symbol(position.symbol.text, position.symbol.span)
                yield from _quietly(
                    lambda p=position: _read_position(p.quantity, p.entry_price, p.held_for)  # type: ignore[misc]  # a default binds the loop's variable
                )
        for step in case.steps:
            statement = step.statement
            unknown = list(self._unknown_symbol(statement.symbol or "", statement.symbol_span))
            yield from unknown
            if unknown:
                continue
            if case.account is not None:
                for given in statement.given:
                    if kept(given.name):
                        yield Problem(
                            "kept",
                            f"{quoted(given.name)} follows from the account and the steps before",
                            given.name_span,
                            "state the market, or begin with another account",
                        )
            yield from _Checker(self._lowered[statement.symbol or ""], statement.symbol or "").check(
                step.expect
            )

    def _unknown_symbol(self, symbol: str, span: Span) -> Iterator[Problem]:
        if symbol not in self._lowered:
            near = get_close_matches(symbol, self._lowered, 1)
            yield Problem(
                "unknown-symbol",
                f"policy {quoted(self.policy.name)} does not trade {quoted(symbol)}",
                span,
                f"did you mean {quoted(near[0])}?" if near else f"it trades {', '.join(self._lowered)}",
            )


class _Facts:
    """The facts of each step as one policy reads them, completed once, and read by changed policies."""

    def __init__(self, policy: Policy, lowered: Mapping[str, LoweredPolicy]) -> None:
        self._policy = policy
        self._lowered = lowered
        self._slots = {id(own): {_key(slot): slot for slot in own.slots} for own in lowered.values()}
        self._vectors: dict[int, Vector] = {}

    def places(self, symbol: str, reader: LoweredPolicy) -> list[int]:
        """Return where the facts that ``reader`` reads stand in the vectors; it may read more of them."""
        slots = self._slots[id(self._lowered[symbol])]
        for slot in reader.slots:
            slots.setdefault(_key(slot), slot)
        place = {key: index for index, key in enumerate(slots)}
        return [place[_key(slot)] for slot in reader.slots]

    def read(self, listing: Listing, step: Step, statement: Statement, places: list[int]) -> Vector:
        """Return the facts of a step at some places."""
        own = self._lowered[listing.symbol]
        slots = self._slots[id(own)]
        vector = self._vectors.get(id(step))
        if vector is None or len(vector.values) < len(slots):
            wide = replace(own, slots=tuple(slots.values()))
            vector = self._vectors[id(step)] = fact_vector(self._policy, wide, listing, statement)
        return replace(
            vector,
            values=[vector.values[place] for place in places],
            reasons=bytes(vector.reasons[place] for place in places),
            origins=tuple(vector.origins[place] for place in places),
        )


def _key(slot: FactSlot) -> tuple[str, SlotOrigin]:
    return slot.name, slot.origin


def _read_position(
    size: ScalarNode, price: ScalarNode, held_for: ScalarNode | None
) -> tuple[float, float, float]:
    """Return quantity, entry price and seconds held; raises MistakeError."""
    held = 86_400.0
    if held_for is not None:
        held, _ = read_value(held_for, "held_for", Kind(Measure.DURATION, 1, 0.0, 1e9))
    amount, _ = read_value(size, "quantity", Kind(Measure.QUANTITY, QUANTITY_SCALE, 1e-9))
    paid, _ = read_value(price, "entry_price", Kind(Measure.PRICE, PRICE_SCALE, 1e-8, 1e7))
    return amount, paid, held


def _stated_close(statement: Statement) -> float:
    """Return the close of a step, also where the policy does not read it: peaks are made of closes."""
    close = next((given.value for given in statement.given if given.name == "close"), None)
    return math.nan if close is None else read_value(close, "close", _ORDER_KINDS["limit_price"])[0]


def _quietly(read: Callable[[], object]) -> Iterator[Problem]:
    try:
        read()
    except MistakeError as mistake:
        yield mistake.problem


# --- names and values of an expectation -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Checker:
    """Finds what an expectation says that a policy cannot mean."""

    lowered: LoweredPolicy
    symbol: str

    def check(self, expect: Expectation) -> Iterator[Problem]:
        rules = [rule.name for rule in self.lowered.rules]
        gates = list(dict.fromkeys(gate.name for gate in self.lowered.gates))
        limits = [limit.name for limit in self.lowered.limits]
        denials = [denial.word for denial in Denial if denial]
        yield from self._known("rule", expect.rule, [*rules, NONE])
        yield from self._known("limit", expect.limited_by, limits)
        yield from self._known("denial", expect.denied, denials)
        for gate in expect.vetoed_by:
            yield from self._known("gate", gate, gates)
        for rule, word, cause in expect.dispositions:
            yield from self._known("rule", rule, rules)
            yield from self._known("disposition", word, list(_DISPOSITIONS))
            if cause is not None:
                kind, names = self._causes(word.text, rules, gates, limits, denials)
                yield from self._known(kind, cause, names)
        for signal in expect.signals:
            yield from self._known("signal", signal.name, list(signal_names(self.lowered)))
            for bound in signal.confidence:
                yield from _quietly(lambda b=bound: read_value(b, "confidence", _CONFIDENCE))  # type: ignore[misc]  # a default binds the loop's variable
        for name, bounds in expect.order:
            for bound in bounds:
                yield from _quietly(lambda b=bound, n=name: read_value(b, n.text, _ORDER_KINDS[n.text]))  # type: ignore[misc]  # as above
        for rule, fact, value in expect.short_by:
            unknown = list(self._known("rule", rule, rules))
            yield from unknown
            if not unknown:
                yield from self._leaf(rules.index(rule.text), fact, value)

    def _known(self, kind: str, node: ScalarNode | None, names: Sequence[str]) -> Iterator[Problem]:
        if node is not None and node.text not in names:
            near = get_close_matches(node.text, names, 1)
            known = ", ".join(names) or "none"
            where = "" if kind in ("disposition", "denial") else f" that applies to {self.symbol}"
            yield Problem(
                "unknown-name",
                f"there is no {kind} {quoted(node.text)}{where}",
                node.span,
                f"did you mean {quoted(near[0])}?" if near else f"there is: {known}",
            )

    def _causes(
        self, word: str, rules: list[str], gates: list[str], limits: list[str], denials: list[str]
    ) -> tuple[str, list[str]]:
        match _DISPOSITIONS.get(word):
            case Disposition.VETOED:
                return "gate", gates
            case Disposition.LIMITED:
                return "limit", limits
            case Disposition.DENIED:
                return "denial", denials
        return "rule", rules

    def _leaf(self, rule: int, fact: ScalarNode, value: ScalarNode) -> Iterator[Problem]:
        leaves = {self.lowered.slots[slot].name: slot for slot in _slots(self.lowered, rule)}
        unknown = list(self._known(f"comparison in '{self.lowered.rules[rule].name}' of", fact, list(leaves)))
        yield from unknown
        if not unknown:
            slot = self.lowered.slots[leaves[fact.text]]
            yield from _quietly(lambda: read_value(value, fact.text, Kind(slot.unit, slot.steps_per_unit)))


def _slots(lowered: LoweredPolicy, rule: int) -> tuple[int, ...]:
    """Return the facts whose distance can be told in a rule's own leaves."""
    atoms = atoms_of_node(lowered, lowered.rules[rule].when)
    return tuple(
        dict.fromkeys(
            slot
            for atom in atoms
            if lowered.atoms[atom].steps_per_unit
            for term in (lowered.atoms[atom].left, lowered.atoms[atom].right)
            for slot in slots_of_term(term)
        )
    )


# --- expected and got -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One decision against what was expected of it."""

    policy: LoweredPolicy
    values: list[float]
    decision: Decision
    leaves: list[Leaf]

    def differences(self, expect: Expectation, *, sizes: bool) -> Iterator[Difference]:
        decision, rules = self.decision, self.policy.rules
        if expect.action is not None:
            yield from self._word("action", expect.action, decision.action.name.lower())
        if expect.rule is not None:
            yield from self._word(
                "rule", expect.rule, rules[decision.rule].name if decision.rule >= 0 else NONE
            )
        for rule, word, cause in expect.dispositions:
            yield from self._disposition(rule, word, cause)
        for gate in expect.vetoed_by:
            vetoing = self._causes(Disposition.VETOED)
            if gate.text not in vetoing:
                yield Difference("vetoed_by", gate.text, ", ".join(vetoing) or NONE, gate.span)
        if expect.limited_by is not None:
            yield from self._word("limited_by", expect.limited_by, self._limit() or NONE)
        if expect.denied is not None:
            yield from self._word("denied", expect.denied, decision.denial.word)
        for signal in expect.signals:
            yield from self._signal(signal)
        for rule, fact, value in expect.short_by:
            yield from self._short(rule.text, fact, value)
        if expect.no_order is not None and decision.order is not None:
            yield Difference("order", NONE, self._order_text(), expect.no_order.span)
        if sizes:
            for field, bounds in expect.order:
                yield from self._order(field, bounds)

    @staticmethod
    def _word(what: str, expected: ScalarNode, got: str) -> Iterator[Difference]:
        if expected.text != got:
            yield Difference(what, expected.text, got, expected.span)

    def _disposition(
        self, rule: ScalarNode, word: ScalarNode, cause: ScalarNode | None
    ) -> Iterator[Difference]:
        index = next(i for i, lowered in enumerate(self.policy.rules) if lowered.name == rule.text)
        found = tuple(Disposition)[self.decision.dispositions[index]]
        by = cause_text(self.policy, found, self.decision.causes[index])
        if found.word != word.text or (cause is not None and cause.text != by):
            yield Difference(
                rule.text, _caused(word.text, cause.text if cause else ""), _caused(found.word, by), word.span
            )

    def _causes(self, wanted: Disposition) -> list[str]:
        """Return what settled the candidates that have a disposition, each once."""
        found = (
            cause_text(self.policy, disposition, cause)
            for disposition, cause in zip(self.decision.dispositions, self.decision.causes, strict=True)
            if disposition == wanted
        )
        return list(dict.fromkeys(found))

    def _limit(self) -> str:
        order = self.decision.order
        if order is not None:
            return self.policy.limits[order.limited_by].name if order.limited_by >= 0 else ""
        return ", ".join(self._causes(Disposition.LIMITED))

    def _signal(self, expected: ExpectedSignal) -> Iterator[Difference]:
        index = signal_names(self.policy).index(expected.name.text)
        name = expected.name.text
        if expected.disposition is not None:
            got = tuple(Disposition)[self.decision.signal_dispositions[index]].word
            yield from self._word(name, expected.disposition, got)
        side, confidence = self._reading(index)
        if expected.side is not None:
            got = Side(int(side)).name.lower() if side == side else "unknown"
            yield from self._word(f"{name}.side", expected.side, got)
        if expected.confidence:
            yield from self._between(f"{name}.confidence", expected.confidence, confidence, _CONFIDENCE)

    def _reading(self, index: int) -> tuple[float, float]:
        """Return side and confidence of a signal as exits read it; NaN where Unknown or not read."""
        signals = self.policy.signals
        if index < len(signals):
            slots = signals[index].slots[:2]
        else:
            feed = self.policy.feeds[index - len(signals)]
            slots = (feed.side, feed.confidence)
        side, confidence = (self.values[slot] if slot >= 0 else math.nan for slot in slots)
        return side, confidence

    def _short(self, rule: str, fact: ScalarNode, expected: ScalarNode) -> Iterator[Difference]:
        what = f"{rule}: {fact.text} short by"
        index = next(i for i, lowered in enumerate(self.policy.rules) if lowered.name == rule)
        short = []
        for atom in atoms_of_node(self.policy, self.policy.rules[index].when):
            found = margin(self.policy.atoms[atom], self.leaves[atom], self.policy.slots)
            if found is None or found.slot < 0 or self.policy.slots[found.slot].name != fact.text:
                continue
            if self.leaves[atom].truth == Truth.FALSE:
                short.append((found.amount, self.policy.slots[found.slot]))
        if not short:
            yield Difference(what, expected.text, "no failing leaf", expected.span)
            return
        amount, slot = short[0]
        wanted, _ = read_value(expected, fact.text, Kind(slot.unit, slot.steps_per_unit))
        if all(quantise(found, slot.steps_per_unit) != wanted for found, _ in short):
            got = difference(amount, slot.unit, slot.steps_per_unit)
            yield Difference(what, difference(wanted, slot.unit, slot.steps_per_unit), got, expected.span)

    def _order(self, field: ScalarNode, bounds: tuple[ScalarNode, ...]) -> Iterator[Difference]:
        order, kind = self.decision.order, _ORDER_KINDS[field.text]
        if order is None:
            yield Difference(
                f"order {field.text}", _bounds_text(bounds, field.text, kind), "no order", field.span
            )
            return
        price = order.sized_at if order.limit_price is None else order.limit_price
        got = {
            "quantity": order.quantity / QUANTITY_SCALE,
            "notional": quantise(notional(order.quantity, price) / MONEY_SCALE, kind.steps_per_unit),
            "limit_price": math.nan if order.limit_price is None else order.limit_price / PRICE_SCALE,
        }[field.text]
        yield from self._between(f"order {field.text}", bounds, got, kind)

    def _order_text(self) -> str:
        order = self.decision.order
        assert order is not None
        return f"{order.side.value} {shown(order.quantity / QUANTITY_SCALE, Measure.QUANTITY)}"

    @staticmethod
    def _between(what: str, bounds: tuple[ScalarNode, ...], got: float, kind: Kind) -> Iterator[Difference]:
        ends = [read_value(bound, what, kind)[0] for bound in bounds]
        if not ends[0] <= got <= ends[-1]:
            text = _bounds_text(bounds, what, kind)
            yield Difference(what, text, shown(got, kind.unit, kind.steps_per_unit), bounds[0].span)


def _bounds_text(bounds: tuple[ScalarNode, ...], name: str, kind: Kind) -> str:
    ends = [shown(read_value(bound, name, kind)[0], kind.unit, kind.steps_per_unit) for bound in bounds]
    return " to ".join(ends)


def _caused(word: str, cause: str) -> str:
    return f"{word} ({cause})" if cause else word
