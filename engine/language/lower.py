"""Lowering: from the typed policy to the one form that every evaluator reads, for a variant.

Parameters become constants, literals are folded exactly in decimals and then become floats, rules and gates
out of scope are left out, facts that are fixed for the variant (asset class, calendar, symbol) are decided.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from engine.codes import Action, Side, Truth
from engine.errors import PolicyError, Problem, Span
from engine.indicators.functions import FUNCTIONS
from engine.language.expression import literal_text
from engine.language.policy import Gate, Limit, Listing, OrderTerms, ParameterValue, Policy, Rule, Vote
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
    facts_of_condition,
    implied,
    on_step,
    unit_words,
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
    Operator,
    OrderStyle,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.series import Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode
from engine.units import GRID_PER_UNIT, Measure, Unit, Words, quantise
from engine.vocabulary import ASSET_CLASS, BASE_FACTS, CALENDAR, FACTS, SIGNAL_FIELDS, SYMBOL

WEIGHT_STEPS: Final = 1_000_000
"""Weights of votes are integers in millionths."""
MAXIMUM_WORK: Final = 300_000
"""Facts, numbers and operators, times variants, that are lowered."""
BUILT_IN_WORK: Final = 100
"""What every variant has beside them: built-in gates and facts."""
MAXIMUM_MAGNITUDE: Final = Decimal(10) ** 15
"""No number of a policy may be larger: its float could not tell it from its neighbours."""
LONGEST_LAG: Final = 10_000

COMPANIONS: Final = {
    "gain": ("entry_price",),
    "peak_gain": ("entry_price", "peak_price"),
    "peak_price": ("entry_price",),
}
"""What the decision must know to try an entry on facts that a policy reads (``would-exit``)."""

_HELD: Final = ("held", Comparison.EQUAL, Decimal(1))
_SIDE_OF: Final = {Action.BUY: Side.BUY, Action.SELL: Side.SELL, Action.HOLD: Side.HOLD}
_COMPARE: Final = {
    Comparison.LESS: lt,
    Comparison.LESS_OR_EQUAL: le,
    Comparison.GREATER: gt,
    Comparison.GREATER_OR_EQUAL: ge,
    Comparison.EQUAL: eq,
    Comparison.NOT_EQUAL: ne,
}


@dataclass(frozen=True, slots=True)
class VariantKey:
    """What symbols share when they share a lowered policy."""

    asset_class: str
    calendar: str
    parameters: frozenset[tuple[str, Decimal]]  # those that are not as for most
    scopes: frozenset[int]  # the rules, gates and limits that are not for all, and cover the symbol
    symbol: str  # only where the policy reads the fact ``symbol``


class _Variants:
    """Says which variant a symbol belongs to."""

    def __init__(self, policy: Policy) -> None:
        self.reads_symbol = _reads_symbol(policy)
        self.scopes: dict[str, list[int]] = defaultdict(list)  # by class and symbol
        self.parameters: dict[str, list[ParameterValue]] = defaultdict(list)
        parts: tuple[Rule | Gate | Limit, ...] = (*policy.rules, *policy.gates, *policy.limits)
        for index, part in enumerate(parts):
            for place in part.scope.names:
                self.scopes[place].append(index)
        for parameter in policy.parameters.values():
            for place in parameter.overrides:
                self.parameters[place].append(parameter)

    def key(self, listing: Listing) -> VariantKey:
        places = (listing.asset_class, listing.symbol)
        own = [parameter for place in places for parameter in self.parameters.get(place, ())]
        values = ((parameter, parameter.resolve(listing)) for parameter in own)
        return VariantKey(
            listing.asset_class,
            listing.calendar,
            frozenset((parameter.name, value) for parameter, value in values if value != parameter.value),
            frozenset(index for place in places for index in self.scopes.get(place, ())),
            listing.symbol if self.reads_symbol else "",
        )


def variant_key(policy: Policy, listing: Listing) -> VariantKey:
    """Return the variant a symbol belongs to."""
    return _Variants(policy).key(listing)


def _reads_symbol(policy: Policy) -> bool:
    conditions = [rule.when for rule in policy.rules] + [gate.when for gate in policy.gates if gate.when]
    conditions += [
        side for signal in policy.signals for vote in signal.votes for side in (vote.buy, vote.sell) if side
    ]
    conditions += [part for promise in policy.promises for part in promise.conditions]
    return any(fact.name == SYMBOL.name for condition in conditions for fact in facts_of_condition(condition))


def lower(policy: Policy, listing: Listing) -> LoweredPolicy:
    """Lower a policy for the variant of a symbol.

    Raises PolicyError where a literal or parameter is off the step of the fact it is compared with, or a
    parameter is no legal length of an indicator.
    """
    lowering = Lowering(policy, listing)
    lowered = lowering.policy_form()
    if lowering.problems:
        raise PolicyError(policy.source, tuple(dict.fromkeys(lowering.problems)))
    return lowered


def lower_all(policy: Policy) -> Mapping[str, LoweredPolicy]:
    """Lower a policy for every traded symbol; symbols of one variant share one object.

    Raises PolicyError with the problems of all variants, or where there are too many of them.
    """
    lowered, problems = try_to_lower(policy)
    if problems:
        raise PolicyError(policy.source, problems)
    return lowered


def try_to_lower(
    policy: Policy, conditions: Iterable[Condition] = ()
) -> tuple[Mapping[str, LoweredPolicy], tuple[Problem, ...]]:
    """Lower what could be read of a policy; return it by traded symbol, and what is wrong with it.

    ``conditions`` are looked at, too: those of parts that could not be read whole.
    """
    variants = _Variants(policy)
    keys = {listing.symbol: variants.key(listing) for listing in policy.traded}
    firsts: dict[VariantKey, Listing] = {}
    for listing in policy.traded:
        firsts.setdefault(keys[listing.symbol], listing)
    if len(firsts) * (policy.size + BUILT_IN_WORK) > MAXIMUM_WORK:
        message = (
            f"{len(firsts):,} variants (symbols that differ in parameters or rules) of "
            f"{policy.size:,} facts, numbers and operators are more than anybody reads"
        )
        return {}, (Problem("too-large", message, Span(0, 1)),)
    # What is held and not listed any more is decided, too: any symbol of any class must have a form.
    strangers = [Listing("", asset_class, "", None, False) for asset_class in ASSET_CLASS.words]
    lowered: dict[VariantKey, LoweredPolicy] = {}
    problems: dict[tuple[str, Span], Problem] = {}  # a mistake of several variants is told once
    for listing in (*firsts.values(), *strangers):
        lowering = Lowering(policy, listing)
        lowered[variants.key(listing)] = lowering.policy_form()
        for condition in conditions:
            lowering.check(condition)
        for problem in lowering.problems:
            problems.setdefault((problem.code, problem.span), problem)
    return {symbol: lowered[key] for symbol, key in keys.items()}, tuple(problems.values())


def fold(operator: Operator, values: list[Decimal]) -> Decimal | None:
    """Return the exact value of an operator on constants; None where it has none."""
    first, *others = values
    match operator:
        case Operator.NEGATE:
            return -first
        case Operator.ABSOLUTE:
            return abs(first)
        case Operator.LOGARITHM:
            return first.ln() if first > 0 else None
        case Operator.MINIMUM:
            return min(values)
        case Operator.MAXIMUM:
            return max(values)
        case Operator.ADD:
            return sum(others, first)
        case Operator.SUBTRACT:
            return first - sum(others)
        case Operator.MULTIPLY:
            return math.prod(others, start=first)
        case Operator.DIVIDE:
            divisor = math.prod(others, start=Decimal(1))
            return first / divisor if divisor else None


def _grid(unit: Unit) -> int:
    """Return the steps per unit of a computed operand; 0 for words and truth values."""
    return 0 if isinstance(unit, Words) or unit is Measure.BOOLEAN else GRID_PER_UNIT[unit]


class Lowering:
    """Lowers one policy for one listing; promises go on where it ends (``lower_promises``)."""

    def __init__(self, policy: Policy, listing: Listing) -> None:
        """Begin with the facts that every policy has; ``problems`` collects what is wrong."""
        self.policy = policy
        self.listing = listing
        self.slots: list[FactSlot] = []
        self.slot_ids: dict[tuple[str, SlotOrigin], int] = {}
        self.atoms: list[Atom] = []
        self.atom_ids: dict[tuple[Term, Comparison, Term, int], int] = {}
        self.nodes: list[Node] = []
        self.node_ids: dict[Node, int] = {}
        self.abstaining = {signal.name for signal in policy.signals if signal.may_abstain}
        self.max_ages = {signal.name: signal.max_age_seconds for signal in policy.signals if not signal.votes}
        self.voted = [signal for signal in policy.signals if signal.votes]
        self._done: dict[tuple[int, bool], tuple[Compared, int]] = {}
        self.problems: list[Problem] = []
        self.because_terms: list[tuple[Term, Unit, int]] = []
        self.fixed = {
            ASSET_CLASS.name: listing.asset_class,
            CALENDAR.name: listing.calendar,
            SYMBOL.name: listing.symbol,
        }
        for name in BASE_FACTS:
            fact = FACTS[name]
            self._slot(FactSlot(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))

    def _problem(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.problems.append(Problem(code, message, span, hint))

    # --- numbers ------------------------------------------------------------------------------

    def constant(self, typed: Typed) -> Decimal | None:
        """Return the exact value of a number that reads no fact, or None."""
        match typed:
            case Constant(value=value):
                return value
            case Parameter(name=name):
                return self.policy.parameters[name].resolve(self.listing)
            case Arithmetic(operator=operator, operands=operands, span=span):
                known = [self.constant(operand) for operand in operands]
                if operator is Operator.DIVIDE and known[1] == 0:
                    self._problem("never-known", "a division by zero", span, "it would be Unknown for ever")
                values = [value for value in known if value is not None]
                if len(values) < len(known):
                    return None
                folded = fold(operator, values)
                if folded is None and operator is Operator.LOGARITHM:
                    self._problem("never-known", "a logarithm of what is not above 0", span)
                if folded is not None and abs(folded) > MAXIMUM_MAGNITUDE:
                    self._problem("range", f"this is more than {MAXIMUM_MAGNITUDE:,}", span)
                    return Decimal(0)
                return folded
        return None

    def _number(self, typed: Typed) -> float:
        """Return the value of what reads no fact; 0 where a problem was told."""
        return float(self.constant(typed) or 0)

    def term(self, typed: Typed, entry: bool) -> Term:
        """Lower a number, as entries read it or as exits do."""
        constant = self.constant(typed)
        if constant is not None:
            return ConstantTerm(float(constant))
        match typed:
            case FactRead():
                return FactTerm(self._fact_slot(typed, entry))
            case Arithmetic(operator=operator, operands=operands):
                return ArithmeticTerm(operator, tuple(self.term(operand, entry) for operand in operands))
            case StepTable(by=by, thresholds=thresholds, values=values):
                for threshold in thresholds:
                    self._check_step(threshold, by)
                steps = tuple(self._number(threshold) for threshold in thresholds)
                return StepTerm(self.term(by, entry), steps, tuple(self._number(value) for value in values))
        return ConstantTerm(0.0)  # a constant that has no value, which is told

    # --- facts --------------------------------------------------------------------------------

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
        max_age = self.max_ages.get(head) if origin is SlotOrigin.FEED else None
        series = None if fact.series is None else self.series(fact.series)
        return self._slot(FactSlot(fact.name, fact.unit, fact.steps_per_unit, origin, series, max_age))

    def series(self, series: TypedSeries) -> SeriesNode:
        """Lower a series."""
        match series:
            case SeriesColumn(symbol=symbol, interval_seconds=seconds, name=name):
                return Column(symbol, seconds, name)
            case SeriesNumber(value=value):
                return SeriesConstant(self._number(value))
            case SeriesFunction(function=function, inputs=inputs, lengths=lengths, output=output, span=span):
                numbers = tuple(self._number(length) for length in lengths)
                wrong = FUNCTIONS[function].problem(numbers)
                if wrong is not None:
                    self._problem("length", wrong, span)
                return SeriesCall(function, tuple(self.series(below) for below in inputs), numbers, output)
            case SeriesOperation(operator=operator, operands=operands):
                return SeriesArithmetic(operator.value, tuple(self.series(operand) for operand in operands))
            case SeriesLag(operand=operand, bars=bars):
                back = self._number(bars)
                if back != int(back) or not 1 <= back <= LONGEST_LAG:
                    message = f"'prev' goes back 1 to {LONGEST_LAG} whole bars, not {back:g}"
                    self._problem("length", message, bars.span)
                return Lag(self.series(operand), int(back))

    # --- conditions ---------------------------------------------------------------------------

    def check(self, condition: Condition) -> None:
        """Find what is wrong with a condition's comparisons, to whatever it belongs."""
        for compared in comparisons_of(condition):
            self._compared(compared, entry=False)

    def node(self, node: Node) -> int:
        """Return the id of a node."""
        if node not in self.node_ids:
            self.node_ids[node] = len(self.nodes)
            self.nodes.append(node)
        return self.node_ids[node]

    def truth(self, truth: Truth) -> int:
        """Return the node of a truth that is the same at every moment."""
        return self.node(Node(NodeKind.CONSTANT, int(truth)))

    def condition(self, condition: Condition, entry: bool) -> int:
        """Lower a condition, as entries read it or as exits do; return its node."""
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
        raise AssertionError(condition)  # vetoed_by stands in promises only

    def _known(self, node: int) -> int | None:
        found = self.nodes[node]
        return found.atom if found.kind is NodeKind.CONSTANT else None

    def _combined(self, every: bool, children: Iterable[int]) -> int:
        decisive, neutral = (Truth.FALSE, Truth.TRUE) if every else (Truth.TRUE, Truth.FALSE)
        kept: dict[int, None] = {}  # in order, each once
        for child in children:
            known = self._known(child)
            if known == decisive:
                return self.truth(decisive)
            if known != neutral:
                kept[child] = None
        if not kept:
            return self.truth(neutral)
        if len(kept) == 1:
            return next(iter(kept))
        return self.node(Node(NodeKind.ALL if every else NodeKind.ANY, children=tuple(kept)))

    def _compared(self, compared: Compared, entry: bool) -> int:
        """Lower a comparison; one of a definition comes by once for each time that it is named."""
        key = (id(compared), entry)
        if key not in self._done:
            self._done[key] = (compared, self._lowered(compared, entry))  # which keeps it, and so its id
        return self._done[key][1]

    def _lowered(self, compared: Compared, entry: bool) -> int:
        if isinstance(compared.left, FactRead) and compared.left.name in self.fixed:
            return self.truth(self._fixed(compared, self.fixed[compared.left.name]))
        k = _grid(compared.unit)
        left, right = (self._operand(typed, k, entry) for typed in (compared.left, compared.right))
        if isinstance(left, ConstantTerm) and isinstance(right, ConstantTerm):
            return self.truth(Truth(_COMPARE[compared.comparison](left.value, right.value)))
        if k:
            self._check_step(compared.left, compared.right)
            self._check_step(compared.right, compared.left)
        key = (left, compared.comparison, right, k)
        if key not in self.atom_ids:
            self.atom_ids[key] = len(self.atoms)
            self.atoms.append(Atom(*key[:3], compared.unit, k, compared.span, compared.text))
        return self.node(Node(NodeKind.ATOM, self.atom_ids[key]))

    def _operand(self, typed: Typed, steps_per_unit: int, entry: bool) -> Term:
        """Return a side of a comparison; a computed constant is put on its unit's grid like any other."""
        term = self.term(typed, entry)
        if isinstance(term, ConstantTerm) and isinstance(typed, Arithmetic):
            return ConstantTerm(quantise(term.value, steps_per_unit))
        return term

    def _fixed(self, compared: Compared, own: str) -> Truth:
        """Decide a comparison of a fact that is the same for the whole variant."""
        right = compared.right
        if isinstance(right, FactRead):  # with itself: no two of them have one unit
            equal = True
        else:
            assert isinstance(right, Constant) and isinstance(right.unit, Words)
            equal = right.unit.words[int(right.value)] == own
        return Truth(equal == (compared.comparison is Comparison.EQUAL))

    def _check_step(self, number: Typed, other: Typed) -> None:
        """A literal or parameter must lie on the step of the fact it is compared with."""
        if not isinstance(number, Constant | Parameter) or isinstance(other.unit, Words):
            return
        unit = other.unit
        k = other.steps_per_unit if isinstance(other, FactRead) else _grid(unit)
        value = self.constant(number)
        if value is None or on_step(value, k):
            return
        step = literal_text(1 / Decimal(k), unit)
        fact = f"'{other.name}'" if isinstance(other, FactRead) else unit_words(unit)
        shown, span = literal_text(value, unit), number.span
        if isinstance(number, Parameter):
            shown, span = f"'{number.name}', {shown},", self.policy.parameters[number.name].span
        self._problem(
            "off-step",
            f"{shown} is off the step of {fact}, which is {step}: the comparison could never be exact",
            span,
            f"write a multiple of {step}",
        )

    # --- the parts ----------------------------------------------------------------------------

    def policy_form(self) -> LoweredPolicy:
        """Lower all but the promises."""
        policy, listing = self.policy, self.listing
        votes = [tuple(self._vote(vote) for vote in signal.votes) for signal in self.voted]
        covering = [rule for rule in policy.rules if rule.scope.covers(listing)]
        rules = tuple(self._rule(rule) for rule in covering)
        gates = [self._gate(gate) for gate in policy.gates if gate.scope.covers(listing)]
        once = [self._once_gate(index, rule) for index, rule in enumerate(covering) if rule.once is not None]
        limits = tuple(self._limit(limit) for limit in policy.limits if limit.scope.covers(listing))
        buy_style, sell_style = self._style(policy.buy_terms, True), self._style(policy.sell_terms, False)
        self._place_companions(rules)
        signals = self._place_signals(votes)
        feeds = tuple(self._feed(signal.name, signal.span) for signal in policy.signals if not signal.votes)
        for indicator in policy.indicators.values():  # their lengths, also of those that nothing reads
            for series, _, _ in indicator.outputs.values():
                self.series(series)
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
            rules=rules,
            gates=(
                *(gate for gate in gates if gate.reserved),
                *once,
                *(gate for gate in gates if not gate.reserved),
            ),
            limits=limits,
            buy_style=buy_style,
            sell_style=sell_style,
            because_terms=tuple(self.because_terms),
            feeds=feeds,
        )

    def _place_companions(self, rules: Iterable[LoweredRule]) -> None:
        """Add the facts that sizing and ``would-exit`` need beside those the policy reads."""
        read = {slot.name for slot in self.slots}
        needed = [name for fact, names in COMPANIONS.items() if fact in read for name in names]
        if any(rule.action is Action.SELL and rule.size is not None for rule in rules):
            needed.append("minimum")  # a trim that would leave dust sells all
        for name in needed:
            fact = FACTS[name]
            self._slot(FactSlot(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))

    # --- signals

    def _vote(self, vote: Vote) -> LoweredVote:
        return LoweredVote(
            name=vote.name,
            weight=int(vote.weight * WEIGHT_STEPS),
            buy=-1 if vote.buy is None else self.condition(vote.buy, False),
            sell=-1 if vote.sell is None else self.condition(vote.sell, False),
            hold_weight=int(vote.hold * WEIGHT_STEPS),
            abstain=vote.abstain,
            span=vote.span,
        )

    def _place_signals(self, votes: list[tuple[LoweredVote, ...]]) -> tuple[LoweredSignal, ...]:
        """Give every field of every voted signal its slot, also those that nothing reads."""
        placed = []
        for signal, lowered in zip(self.voted, votes, strict=True):
            slots = entry_slots = self._signal_slots(signal.name, SlotOrigin.SIGNAL)
            if signal.may_abstain:
                entry_slots = self._signal_slots(signal.name, SlotOrigin.ENTRY_SIGNAL)
            placed.append(LoweredSignal(signal.name, lowered, slots, entry_slots, signal.span))
        return tuple(placed)

    def _signal_slots(self, name: str, origin: SlotOrigin) -> tuple[int, int, int, int, int]:
        side, confidence, buy, sell, hold = (
            self._slot(FactSlot(f"{name}.{field}", unit, k, origin))
            for field, (unit, k, _) in SIGNAL_FIELDS.items()
        )
        return side, confidence, buy, sell, hold

    def _feed(self, name: str, span: Span) -> LoweredFeed:
        side, confidence = (
            self.slot_ids.get((f"{name}.{field}", SlotOrigin.FEED), -1) for field in ("side", "confidence")
        )
        return LoweredFeed(name, side, confidence, span)

    # --- rules

    def _rule(self, rule: Rule) -> LoweredRule:
        entry_reading = rule.action is Action.BUY
        when = self._guarded(rule, entry_reading)
        return LoweredRule(
            name=rule.name,
            priority=rule.priority,
            action=rule.action,
            protective=rule.protective,
            when=when,
            when_entry=when if entry_reading else self._guarded(rule, True),
            size=None if rule.size is None else self.term(rule.size, entry_reading),
            size_measure=rule.size_measure,
            additive=rule.additive,
            min_step=float(rule.min_step),
            once=rule.once,
            because=tuple(self._reason(part, entry_reading) for part in rule.because),
            adopts=self._adopted(rule),
            span=rule.span,
        )

    def _guarded(self, rule: Rule, entry: bool) -> int:
        """Lower a rule's condition; every sell is read as ``held and (...)``."""
        condition = self.condition(rule.when, entry)
        if rule.action is not Action.SELL or _HELD in implied(rule.when):
            return condition
        held = FactRead("held", Measure.BOOLEAN, 0, SlotOrigin.VOCABULARY, rule.when_span)
        one = Constant(Decimal(1), Measure.BOOLEAN, rule.when_span)
        compared = Compared(held, Comparison.EQUAL, one, Measure.BOOLEAN, "held", rule.when_span)
        return self._combined(True, (self._compared(compared, entry), condition))

    def _reason(self, part: str | Typed, entry: bool) -> str | int:
        """Return text as it is, and where the term of anything else stands: no decision reads it."""
        if isinstance(part, str):
            return part
        if isinstance(part, FactRead) and part.name in self.fixed:
            return self.fixed[part.name]
        k = part.steps_per_unit if isinstance(part, FactRead) else 0
        self.because_terms.append((self.term(part, entry), part.unit, k))
        return len(self.because_terms) - 1

    def _adopted(self, rule: Rule) -> tuple[tuple[int, int], ...]:
        """Return the sides of signals that a rule's condition implies, where it acts so."""
        side = _SIDE_OF[rule.action]
        known = implied(rule.when)
        signals = [*self.voted, *(signal for signal in self.policy.signals if not signal.votes)]
        return tuple(
            (index, int(side))
            for index, signal in enumerate(signals)
            if (f"{signal.name}.side", Comparison.EQUAL, Decimal(int(side))) in known
        )

    # --- gates, limits, orders

    def _gate(self, gate: Gate) -> LoweredGate:
        if gate.when is None:
            when = when_entry = self.truth(Truth.FALSE)  # set by the decision itself
        else:
            when, when_entry = self.condition(gate.when, False), self.condition(gate.when, True)
        return LoweredGate(
            name=gate.name,
            reserved=gate.reserved,
            vetoes_buy="buy" in gate.vetoes,
            vetoes_sell="sell" in gate.vetoes,
            vetoes_protective="protective" in gate.vetoes,
            when=when,
            when_entry=when_entry,
            pass_if_unknown=gate.pass_if_unknown,
            only_rule=-1,
            span=gate.span,
        )

    def _once_gate(self, index: int, rule: Rule) -> LoweredGate:
        """``once`` used up is a veto of that rule, like any other."""
        assert rule.once is not None
        used = FactRead(f"once.{rule.name}", Measure.BOOLEAN, 0, SlotOrigin.ONCE, rule.span)
        one = Constant(Decimal(1), Measure.BOOLEAN, rule.span)
        text = f"once per {rule.once.value}: used up"
        when = self._compared(Compared(used, Comparison.EQUAL, one, Measure.BOOLEAN, text, rule.span), False)
        sell = rule.action is Action.SELL
        return LoweredGate("once", True, not sell, sell, False, when, when, False, index, rule.span)

    def _limit(self, limit: Limit) -> LoweredLimit:
        return LoweredLimit(
            name=limit.name,
            kind=limit.kind,
            scope=limit.per,
            bound=None if limit.bound is None else self.term(limit.bound, True),
            count=limit.count,
            window_seconds=limit.window_seconds,
            span=limit.span,
        )

    def _style(self, terms: OrderTerms, entry: bool) -> OrderStyle:
        limit = None if terms.limit is None else self.term(terms.limit, entry)
        # venues take fractional stock orders for the day only, and know no day for coins
        usual = "gtc" if self.listing.asset_class == "crypto" else "day"
        time_in_force = terms.time_in_force or usual
        return OrderStyle(limit, terms.good_for_seconds, time_in_force, terms.extended_hours)
