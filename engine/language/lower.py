"""Lowering: from the typed policy to the one form that every evaluator reads, for a variant.

Parameters become constants, literals are folded exactly in decimals and then become floats, rules and gates
out of scope are left out, facts that are fixed for the variant (asset class, calendar, symbol) are decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from engine.codes import Action, Side, Truth
from engine.errors import PolicyError, Problem, Span
from engine.indicators.functions import FUNCTIONS
from engine.language.expression import literal_text
from engine.language.policy import Gate, Listing, OrderTerms, Policy, Rule
from engine.language.types import (
    Arithmetic,
    Combined,
    Compared,
    Condition,
    Constant,
    FactRead,
    Negated,
    Parameter,
    SeriesColumn,
    SeriesFunction,
    SeriesLag,
    SeriesNumber,
    SeriesOperation,
    StepTable,
    Typed,
    TypedSeries,
    comparisons_of,
    facts_of,
    fold,
    implied,
)
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredFeed,
    LoweredGate,
    LoweredLimit,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    Node,
    NodeKind,
    OrderStyle,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.series import Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode
from engine.units import GRID_PER_UNIT, Measure, Unit, Words, on_grid
from engine.vocabulary import BASE_FACTS, FACTS, SIGNAL_FIELDS

WEIGHT_STEPS = 1_000_000
COMPANIONS = {
    "gain": ("entry_price",),
    "peak_gain": ("entry_price", "peak_price"),
    "peak_price": ("entry_price",),
}
"""What the decision must know to try an entry on facts that a policy reads (``would-exit``)."""
_FIXED = ("asset_class", "calendar", "symbol")


@dataclass(frozen=True, slots=True)
class VariantKey:
    """What symbols share when they share a lowered policy."""

    asset_class: str
    calendar: str
    parameters: tuple[Decimal, ...]
    rules: tuple[str, ...]
    gates: tuple[int, ...]
    limits: tuple[str, ...]
    symbol: str  # only where the policy reads the fact ``symbol``


def variant_key(policy: Policy, listing: Listing) -> VariantKey:
    """Return the variant a symbol belongs to."""
    return VariantKey(
        listing.asset_class,
        listing.calendar,
        tuple(parameter.resolve(listing) for parameter in policy.parameters.values()),
        tuple(rule.name for rule in policy.rules if rule.scope.covers(listing)),
        tuple(index for index, gate in enumerate(policy.gates) if gate.scope.covers(listing)),
        tuple(limit.name for limit in policy.limits if limit.scope.covers(listing)),
        listing.symbol if _reads_symbol(policy) else "",
    )


def _reads_symbol(policy: Policy) -> bool:
    conditions = [rule.when for rule in policy.rules] + [gate.when for gate in policy.gates if gate.when]
    conditions += [
        side for signal in policy.signals for vote in signal.votes for side in (vote.buy, vote.sell) if side
    ]
    return any(
        fact.name == "symbol"
        for condition in conditions
        for compared in comparisons_of(condition)
        for fact in facts_of(compared.left)
    )


def lower(policy: Policy, listing: Listing) -> LoweredPolicy:
    """Lower a policy for the variant of a symbol.

    Raises PolicyError where a literal or parameter is off the step of the fact it is compared with, or a
    parameter is no legal length of an indicator.
    """
    lowering = _Lowering(policy, listing)
    lowered = lowering.policy_form()
    if lowering.problems:
        raise PolicyError(policy.source, tuple(dict.fromkeys(lowering.problems)))
    return lowered


def lower_all(policy: Policy) -> Mapping[str, LoweredPolicy]:
    """Lower a policy for every traded symbol; symbols of one variant share one object.

    Raises PolicyError with the problems of all variants.
    """
    by_key: dict[VariantKey, LoweredPolicy] = {}
    by_symbol: dict[str, LoweredPolicy] = {}
    problems: list[Problem] = []
    for listing in policy.traded:
        key = variant_key(policy, listing)
        if key not in by_key:
            try:
                by_key[key] = lower(policy, listing)
            except PolicyError as error:
                problems += error.problems
                continue
        by_symbol[listing.symbol] = by_key[key]
    if problems:
        # one place, one problem: a parameter that fits no variant is told once
        unique = {(problem.code, problem.span): problem for problem in reversed(problems)}
        raise PolicyError(policy.source, tuple(unique.values()))
    return by_symbol


class _Lowering:
    def __init__(self, policy: Policy, listing: Listing) -> None:
        self.policy = policy
        self.listing = listing
        self.slots: list[FactSlot] = []
        self.slot_ids: dict[tuple[str, SlotOrigin], int] = {}
        self.atoms: list[Atom] = []
        self.atom_ids: dict[tuple[Term, Comparison, Term, int], int] = {}
        self.nodes: list[Node] = []
        self.node_ids: dict[Node, int] = {}
        self.abstaining = {signal.name for signal in policy.signals if signal.may_abstain}
        self.voted = [signal for signal in policy.signals if signal.votes]
        self.problems: list[Problem] = []
        self.because_terms: list[tuple[Term, Unit, int]] = []
        for name in BASE_FACTS:
            fact = FACTS[name]
            self._slot(FactSlot(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))

    # --- slots and terms ----------------------------------------------------------------------

    def _slot(self, slot: FactSlot) -> int:
        key = (slot.name, slot.origin)
        if key not in self.slot_ids:
            self.slot_ids[key] = len(self.slots)
            self.slots.append(slot)
        return self.slot_ids[key]

    def _fact_slot(self, fact: FactRead, entry: bool) -> int:
        head = fact.name.partition(".")[0]
        origin = fact.origin
        if origin is SlotOrigin.SIGNAL and entry and head in self.abstaining:
            origin = SlotOrigin.ENTRY_SIGNAL
        max_age = None
        if origin is SlotOrigin.FEED:
            max_age = next(s.max_age_seconds for s in self.policy.signals if s.name == head)
        series = None if fact.series is None else self.series(fact.series, fact.span)
        return self._slot(FactSlot(fact.name, fact.unit, fact.steps_per_unit, origin, series, max_age))

    def resolved(self, parameter: Parameter) -> Constant:
        value = self.policy.parameters[parameter.name].resolve(self.listing)
        return Constant(value, parameter.unit, parameter.span)

    def constant(self, typed: Typed) -> Constant | None:
        """Return the exact value of a number that reads no fact, or None."""
        match typed:
            case Constant():
                return typed
            case Parameter():
                return self.resolved(typed)
            case Arithmetic(operator=operator, operands=operands, unit=unit, span=span):
                constants = [self.constant(operand) for operand in operands]
                known = tuple(constant for constant in constants if constant is not None)
                if len(known) == len(operands):
                    value = fold(operator, known)
                    return None if value is None else Constant(value, unit, span)
        return None

    def term(self, typed: Typed, entry: bool) -> Term:
        constant = self.constant(typed)
        if constant is not None:
            return ConstantTerm(float(constant.value))
        match typed:
            case FactRead():
                return FactTerm(self._fact_slot(typed, entry))
            case Arithmetic(operator=operator, operands=operands):
                return ArithmeticTerm(operator, tuple(self.term(operand, entry) for operand in operands))
            case StepTable(by=by, thresholds=thresholds, values=values):
                return StepTerm(
                    self.term(by, entry),
                    tuple(self._number(threshold) for threshold in thresholds),
                    tuple(self._number(value) for value in values),
                )
        raise AssertionError(typed)

    def _number(self, typed: Typed) -> float:
        constant = self.constant(typed)
        if constant is None:
            self._problem("step-table", "a step table is made of literals and parameters", typed.span)
            return 0.0
        return float(constant.value)

    def _problem(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.problems.append(Problem(code, message, span, hint))

    def series(self, series: TypedSeries, span: Span) -> SeriesNode:
        match series:
            case SeriesColumn(symbol=symbol, interval_seconds=seconds, name=name):
                return Column(symbol, seconds, name)
            case SeriesNumber(value=value):
                return SeriesConstant(self._number(value))
            case SeriesFunction(function=function, inputs=inputs, lengths=lengths, output=output):
                numbers = tuple(self._number(length) for length in lengths)
                wrong = FUNCTIONS[function].problem(numbers)
                if wrong is not None:
                    self._problem("length", wrong, span)
                return SeriesCall(function, tuple(self.series(i, span) for i in inputs), numbers, output)
            case SeriesOperation(operator=operator, operands=operands):
                return SeriesArithmetic(operator.value, tuple(self.series(o, span) for o in operands))
            case SeriesLag(operand=operand, bars=bars):
                back = self._number(bars)
                if back != int(back) or not 1 <= back <= 10_000:
                    self._problem("length", f"'prev' goes back 1 to 10000 whole bars, not {back:g}", span)
                return Lag(self.series(operand, span), int(back))

    # --- conditions ---------------------------------------------------------------------------

    def node(self, node: Node) -> int:
        if node not in self.node_ids:
            self.node_ids[node] = len(self.nodes)
            self.nodes.append(node)
        return self.node_ids[node]

    def truth(self, truth: Truth) -> int:
        return self.node(Node(NodeKind.CONSTANT, int(truth)))

    def condition(self, condition: Condition, entry: bool) -> int:
        match condition:
            case Compared():
                return self._compared(condition, entry)
            case Combined(every=every, operands=operands):
                return self._combined(every, [self.condition(operand, entry) for operand in operands])
            case Negated(operand=operand):
                inner = self.condition(operand, entry)
                known = self._known(inner)
                if known is not None:
                    return self.truth(Truth(1 - known))
                return self.node(Node(NodeKind.NOT, children=(inner,)))
        raise AssertionError(condition)

    def _known(self, node: int) -> int | None:
        found = self.nodes[node]
        return found.atom if found.kind is NodeKind.CONSTANT else None

    def _combined(self, every: bool, children: Iterable[int]) -> int:
        decisive, neutral = (Truth.FALSE, Truth.TRUE) if every else (Truth.TRUE, Truth.FALSE)
        kept: list[int] = []
        for child in children:
            known = self._known(child)
            if known == decisive:
                return self.truth(decisive)
            if known != neutral and child not in kept:
                kept.append(child)
        if not kept:
            return self.truth(neutral)
        if len(kept) == 1:
            return kept[0]
        return self.node(Node(NodeKind.ALL if every else NodeKind.ANY, children=tuple(kept)))

    def _compared(self, compared: Compared, entry: bool) -> int:
        fixed = self._fixed(compared)
        if fixed is not None:
            return self.truth(fixed)
        left, right = self.term(compared.left, entry), self.term(compared.right, entry)
        if isinstance(left, ConstantTerm) and isinstance(right, ConstantTerm):
            return self.truth(Truth(int(_compare(left.value, compared.comparison, right.value))))
        self._check_step(compared, left, right)
        k = GRID_PER_UNIT[compared.unit] if isinstance(compared.unit, Measure) else 0
        if compared.unit is Measure.BOOLEAN:
            k = 0
        key = (left, compared.comparison, right, k)
        if key not in self.atom_ids:
            self.atom_ids[key] = len(self.atoms)
            self.atoms.append(
                Atom(left, compared.comparison, right, compared.unit, k, compared.span, compared.text)
            )
        return self.node(Node(NodeKind.ATOM, self.atom_ids[key]))

    def _fixed(self, compared: Compared) -> Truth | None:
        """Decide a comparison of a fact that is the same for the whole variant."""
        left, right = compared.left, compared.right
        if not isinstance(left, FactRead) or left.name not in _FIXED or not isinstance(right, Constant):
            return None
        words = {
            "asset_class": FACTS["asset_class"].unit,
            "calendar": Words(
                "calendar", tuple(sorted({listing.calendar for listing in self.policy.universe}))
            ),
            "symbol": Words("symbol", tuple(sorted(listing.symbol for listing in self.policy.universe))),
        }[left.name]
        own = {
            "asset_class": self.listing.asset_class,
            "calendar": self.listing.calendar,
            "symbol": self.listing.symbol,
        }[left.name]
        assert isinstance(words, Words)
        equal = words.words[int(right.value)] == own
        return Truth(int(equal == (compared.comparison is Comparison.EQUAL)))

    def _check_step(self, compared: Compared, left: Term, right: Term) -> None:
        """A literal or parameter must lie on the step of the fact it is compared with."""
        for term, other, typed in ((left, right, compared.left), (right, left, compared.right)):
            if not isinstance(term, ConstantTerm) or not isinstance(compared.unit, Measure):
                continue
            k = (
                self.slots[other.slot].steps_per_unit
                if isinstance(other, FactTerm)
                else GRID_PER_UNIT[compared.unit]
            )
            if k and not on_grid(term.value, k):
                fact = f"'{self.slots[other.slot].name}'" if isinstance(other, FactTerm) else "the other side"
                unit = compared.unit
                step = literal_text(Decimal(1) / k, unit)
                constant = self.constant(typed)
                shown = literal_text(constant.value, unit) if constant is not None else str(term.value)
                self._problem(
                    "off-step",
                    f"{shown} is off the step of {fact}, which is {step}: the comparison could never be exact",
                    typed.span,
                    f"write a multiple of {step}",
                )

    # --- the parts ----------------------------------------------------------------------------

    def policy_form(self) -> LoweredPolicy:
        policy, listing = self.policy, self.listing
        votes = [self._votes(index) for index in range(len(self.voted))]
        rules = [rule for rule in policy.rules if rule.scope.covers(listing)]
        lowered_rules = [self._rule(rule) for rule in rules]
        gates = [self._gate(gate) for gate in policy.gates if gate.scope.covers(listing)]
        reserved = [gate for gate in gates if gate.reserved]
        once = [self._once_gate(index, rule) for index, rule in enumerate(rules) if rule.once is not None]
        own = [gate for gate in gates if not gate.reserved]
        limits = tuple(
            LoweredLimit(
                limit.name,
                limit.kind,
                limit.per,
                None if limit.bound is None else self.term(limit.bound, True),
                limit.count,
                limit.window_seconds,
                limit.span,
            )
            for limit in policy.limits
            if limit.scope.covers(listing)
        )
        buy_style, sell_style = self._style(policy.buy_terms, True), self._style(policy.sell_terms, False)
        signals = self._place_signals(votes)
        feeds = tuple(self._feed(signal.name, signal.span) for signal in policy.signals if not signal.votes)
        self._place_companions(lowered_rules)
        return LoweredPolicy(
            name=policy.name,
            version=policy.version,
            digest=policy.digest,
            selection=policy.selection,
            asset_class=listing.asset_class,
            slots=tuple(self.slots),
            atoms=tuple(self.atoms),
            nodes=tuple(self.nodes),
            signals=signals,
            rules=tuple(lowered_rules),
            gates=(*reserved, *once, *own),
            limits=limits,
            buy_style=buy_style,
            sell_style=sell_style,
            because_terms=tuple(self.because_terms),
            feeds=feeds,
        )

    def _votes(self, index: int) -> tuple[LoweredVote, ...]:
        return tuple(
            LoweredVote(
                vote.name,
                int(vote.weight * WEIGHT_STEPS),
                -1 if vote.buy is None else self.condition(vote.buy, False),
                -1 if vote.sell is None else self.condition(vote.sell, False),
                int(vote.hold * WEIGHT_STEPS),
                vote.abstain,
                vote.span,
            )
            for vote in self.voted[index].votes
        )

    def _place_signals(self, votes: list[tuple[LoweredVote, ...]]) -> tuple[LoweredSignal, ...]:
        """Give every field of every voted signal its slot, also those that nothing reads."""
        placed = []
        for signal, lowered in zip(self.voted, votes, strict=True):
            readings: list[tuple[int, int, int, int, int]] = []
            for origin in (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL):
                if origin is SlotOrigin.ENTRY_SIGNAL and signal.name not in self.abstaining:
                    readings.append(readings[0])
                    continue
                side, confidence, buy, sell, hold = (
                    self._slot(FactSlot(f"{signal.name}.{field}", unit, k, origin))
                    for field, (unit, k, _) in SIGNAL_FIELDS.items()
                )
                readings.append((side, confidence, buy, sell, hold))
            placed.append(LoweredSignal(signal.name, lowered, readings[0], readings[1], signal.span))
        return tuple(placed)

    def _place_companions(self, rules: Iterable[LoweredRule]) -> None:
        """Add the facts that sizing and ``would-exit`` need beside those the policy reads."""
        read = {slot.name for slot in self.slots}
        needed = [name for fact, names in COMPANIONS.items() if fact in read for name in names]
        if any(rule.action is Action.SELL and rule.size is not None for rule in rules):
            needed.append("minimum")  # a trim that would leave dust sells all
        for name in needed:
            fact = FACTS[name]
            self._slot(FactSlot(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))

    def _feed(self, name: str, span: Span) -> LoweredFeed:
        side, confidence = (
            self.slot_ids.get((f"{name}.{field}", SlotOrigin.FEED), -1) for field in ("side", "confidence")
        )
        return LoweredFeed(name, side, confidence, span)

    def _rule(self, rule: Rule) -> LoweredRule:
        entry_reading = rule.action is Action.BUY
        when = self._guarded(rule, entry_reading)
        when_entry = when if entry_reading else self._guarded(rule, True)
        size = None if rule.size is None else self.term(rule.size, entry_reading)
        because: list[str | int] = []
        for part in rule.because:
            if isinstance(part, str):
                because.append(part)
            else:
                because.append(len(self.because_terms))
                k = part.steps_per_unit if isinstance(part, FactRead) else 0
                self.because_terms.append((self.term(part, entry_reading), part.unit, k))
        signals = [signal.name for signal in self.voted]
        signals += [signal.name for signal in self.policy.signals if not signal.votes]
        adopts = tuple(
            (signals.index(head), int(value))
            for name, comparison, value in sorted(implied(rule.when), key=str)
            if comparison is Comparison.EQUAL
            for head, _, tail in [name.partition(".")]
            if tail == "side" and head in signals and int(value) == _SIDE_OF[rule.action]
        )
        return LoweredRule(
            rule.name, rule.priority, rule.action, rule.protective, when, when_entry, size, rule.size_measure,
            rule.additive, float(rule.min_step), rule.once, tuple(because), adopts, rule.span,
        )  # fmt: skip

    def _guarded(self, rule: Rule, entry: bool) -> int:
        """Lower a rule's condition; every sell is read as ``held and (...)``."""
        condition = self.condition(rule.when, entry)
        if rule.action is not Action.SELL or ("held", Comparison.EQUAL, Decimal(1)) in implied(rule.when):
            return condition
        fact = FACTS["held"]
        held = Compared(
            FactRead("held", fact.unit, 0, SlotOrigin.VOCABULARY, rule.when_span),
            Comparison.EQUAL,
            Constant(Decimal(1), Measure.BOOLEAN, rule.when_span),
            Measure.BOOLEAN,
            "held",
            rule.when_span,
        )
        return self._combined(True, (self._compared(held, entry), condition))

    def _gate(self, gate: Gate) -> LoweredGate:
        if gate.when is None:
            when = when_entry = self.truth(Truth.FALSE)  # set by the decision itself
        else:
            when, when_entry = self.condition(gate.when, False), self.condition(gate.when, True)
        return LoweredGate(
            gate.name, gate.reserved, "buy" in gate.vetoes, "sell" in gate.vetoes, "protective" in gate.vetoes,
            when, when_entry, gate.pass_if_unknown, -1, gate.span,
        )  # fmt: skip

    def _once_gate(self, index: int, rule: Rule) -> LoweredGate:
        """``once`` used up is a veto of that rule, like any other."""
        slot = self._slot(FactSlot(f"once.{rule.name}", Measure.BOOLEAN, 0, SlotOrigin.ONCE))
        key = (FactTerm(slot), Comparison.EQUAL, ConstantTerm(1.0), 0)
        self.atom_ids[key] = len(self.atoms)
        text = f"once per {rule.once.value}: used up" if rule.once else ""
        self.atoms.append(Atom(key[0], key[1], key[2], Measure.BOOLEAN, 0, rule.span, text))
        when = self.node(Node(NodeKind.ATOM, self.atom_ids[key]))
        sell = rule.action is Action.SELL
        return LoweredGate("once", True, not sell, sell, sell, when, when, False, index, rule.span)

    def _style(self, terms: OrderTerms, entry: bool) -> OrderStyle:
        limit = None if terms.limit is None else self.term(terms.limit, entry)
        # venues take fractional stock orders for the day only, and know no day for coins
        usual = "gtc" if self.listing.asset_class == "crypto" else "day"
        time_in_force = terms.time_in_force or usual
        return OrderStyle(limit, terms.good_for_seconds, time_in_force, terms.extended_hours)


_SIDE_OF = {Action.BUY: int(Side.BUY), Action.SELL: int(Side.SELL), Action.HOLD: int(Side.HOLD)}


def _compare(left: float, comparison: Comparison, right: float) -> bool:
    return {
        Comparison.LESS: left < right,
        Comparison.LESS_OR_EQUAL: left <= right,
        Comparison.GREATER: left > right,
        Comparison.GREATER_OR_EQUAL: left >= right,
        Comparison.EQUAL: left == right,
        Comparison.NOT_EQUAL: left != right,
    }[comparison]
