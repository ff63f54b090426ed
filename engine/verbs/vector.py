"""The fact vector that a statement makes: stated, assumed, derived and default facts together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from engine.codes import IntentState, Side, UnknownReason
from engine.errors import NOWHERE, PolicyError, Problem, Severity, Source, Span
from engine.evaluate.reference import WEIGHT_STEPS, ReferenceEvaluator, tally
from engine.indicators.functions import FUNCTIONS
from engine.invariants import AT_MOST, RELATED, RELATIONS, Relation, followers
from engine.language.expression import ExpressionError, parse, unparse
from engine.language.policy import Listing, Policy
from engine.language.source import shown as quoted
from engine.lowered import FactSlot, LimitKind, LoweredPolicy, SlotOrigin
from engine.model import AssetClass, Instrument, OrderSide, WorkingOrder
from engine.series import Lag, SeriesCall, SeriesNode
from engine.units import (
    ELAPSED_CAP_SECONDS,
    GRID_PER_UNIT,
    MONEY_SCALE,
    QUANTITY_SCALE,
    Measure,
    ceil_to,
    quantise,
    scaled,
)
from engine.verbs.decide import Situation
from engine.verbs.numbers import shown
from engine.verbs.stated_value import Assumption, Kind, MistakeError, assumption, read_value
from engine.verbs.statement import WHAT_IF, Given, Statement
from engine.verbs.terms import slots_of_node
from engine.vocabulary import FACTS, FEED_FIELDS, QUOTE_STATE, SESSION, SIGNAL_FIELDS, Family

NAN: Final = math.nan
NEVER: Final = float(ELAPSED_CAP_SECONDS)
ALWAYS_OPEN: Final = "24/7"


class Origin(StrEnum):
    """Where the value of a fact comes from."""

    STATED = "stated"
    ASSUMED = "assumed"
    WHAT_IF = "what-if"
    DERIVED = "derived"  # follows from others by the vocabulary's invariants
    DEFAULT = "default"  # what the vocabulary says before anything happened
    COMPUTED = "computed"  # counted from votes
    RECORDED = "recorded"  # from the journal
    ABSENT = "absent"  # Unknown, because nobody stated it


@dataclass(frozen=True, slots=True)
class Vector:
    """The facts of a symbol as a lowered policy reads them, and what a decision reads beside them.

    ``values``, ``reasons`` and ``origins`` have one entry per slot.  ``values`` is to be copied before an
    evaluator writes the voted signals into it.  ``notes`` and ``problems`` (information only) are for people.
    """

    at_ms: int | None
    values: list[float]
    reasons: bytes
    origins: tuple[Origin, ...]
    situation: Situation
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def symbol(self) -> str:
        """The symbol under decision."""
        return self.situation.symbol

    @property
    def stated_mask(self) -> int:
        """The voted signals that are given instead of counted, as bits."""
        return self.situation.stated


def finest_instrument(listing: Listing) -> Instrument:
    """Return the finest steps and no minimums: a facts file knows no venue."""
    return Instrument(
        symbol=listing.symbol,
        asset_class=AssetClass(listing.asset_class),
        calendar=listing.calendar,
        price_step=Decimal("1e-8"),
        quantity_step=Decimal("1e-9"),
        minimum_quantity=Decimal("1e-9"),
        minimum_notional=Decimal(0),
    )


def fact_vector(
    policy: Policy,
    lowered: LoweredPolicy,
    listing: Listing,
    statement: Statement,
    *,
    what_if: Statement | None = None,
    replaced: Mapping[str, float] | None = None,
    instrument: Instrument | None = None,
) -> Vector:
    """Complete a statement into the facts that ``lowered`` reads.

    ``what_if`` overrides facts; what was stated and follows from an overridden fact is derived anew.
    ``replaced`` puts other values (on their grid) in the place of assumed ones, to walk through their ranges.

    Raises:
        PolicyError: Names nobody knows, values of the wrong type or unit, off their step or out of range,
            and statements that contradict each other; all of one statement at once.
    """
    maker = Completion(policy, lowered, listing, instrument or finest_instrument(listing))
    maker.take(statement, Origin.STATED)
    for name, value in (replaced or {}).items():
        maker.facts[name] = replace(maker.facts[name], value=value)
    if what_if is not None:
        maker.override(what_if)
    maker.complete()
    return maker.vector()


def narrowed(vector: Vector, slots: int) -> tuple[Vector, list[float]]:
    """Return a vector with its first slots only, and the values of the others."""
    beyond = vector.values[slots:]
    if not beyond:
        return vector, beyond
    narrow = replace(
        vector,
        values=vector.values[:slots],
        reasons=vector.reasons[:slots],
        origins=vector.origins[:slots],
    )
    return narrow, beyond


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact's value and where it comes from; NaN with its reason where it is stated to be Unknown."""

    value: float
    origin: Origin
    span: Span = NOWHERE
    source: Source | None = None
    reason: UnknownReason = UnknownReason.KNOWN


class Completion:
    """Completes what was stated of a symbol into all facts that a lowered policy reads."""

    def __init__(
        self, policy: Policy, lowered: LoweredPolicy, listing: Listing, instrument: Instrument
    ) -> None:
        """Begin with nothing stated."""
        self.policy = policy
        self.lowered = lowered
        self.listing = listing
        self.instrument = instrument
        self.kinds = _kinds(policy, lowered)
        self.read = {slot.name for slot in lowered.slots}
        self.facts: dict[str, KnownFact] = {}
        self.usage: dict[str, int] = {}
        self.assumptions: dict[str, Assumption] = {}
        self.at_ms: int | None = None
        self.problems: list[tuple[Source, Problem]] = []
        self.notes: list[str] = []
        self.informed: list[Problem] = []

    # --- values -------------------------------------------------------------------------------

    def take(self, statement: Statement, origin: Origin) -> None:
        """Type every value of a statement; PolicyError with all that cannot be used."""
        self.at_ms = self.at_ms if statement.at_ms is None else statement.at_ms
        taken: set[str] = set()
        for given in statement.given:
            try:
                name = self._name(given)
                if name in taken:
                    raise MistakeError(
                        "stated-twice", f"{quoted(name)} is stated twice", given.name_span, "keep one of them"
                    )
                taken.add(name)
                kind = self.kinds[name]
                value, reason = read_value(given.value, name, kind)
                source = Origin.ASSUMED if given.assumed else origin
                self.facts[name] = KnownFact(value, source, given.name_span, statement.source, reason)
                if given.assumed:
                    self.assumptions[name] = assumption(given, name, kind, value)
            except MistakeError as mistake:
                self.problems.append((statement.source, mistake.problem))
        for used in statement.usage:
            try:
                self.usage[used.name] = self._used(used)
            except MistakeError as mistake:
                self.problems.append((statement.source, mistake.problem))
        self._raise()

    def _learns_of_promises(self) -> bool:
        """Get to know the facts that promises alone read; False where there are none, or they are known.

        The prover's examples state them, too.
        """
        from engine.language.lower_promises import lower_promises

        known = len(self.kinds)
        if self.policy.promises:
            form = lower_promises(self.policy, self.listing).lowered
            self.kinds = {**_kinds(self.policy, form), **self.kinds}
        return len(self.kinds) > known

    def _name(self, given: Given) -> str:
        for name in _spellings(given.name):
            if name in _FIXED:
                raise MistakeError(
                    "fixed",
                    f"{quoted(name)} is what the policy's universe says",
                    given.name_span,
                    "delete the line",
                )
            if name in self.kinds:
                if name not in self.read and name not in RELATED:
                    message = (
                        f"policy {self.policy.name} does not read {quoted(name)} for {self.listing.symbol}"
                    )
                    self.informed.append(
                        Problem("not-read", message, given.name_span, severity=Severity.INFORMATION)
                    )
                return name
        if self._learns_of_promises():
            return self._name(given)
        near = get_close_matches(given.name, sorted(self.kinds), 1)
        raise MistakeError(
            "unknown-name",
            f"neither policy {self.policy.name} nor the vocabulary has a fact {quoted(given.name)}",
            given.name_span,
            f"did you mean '{near[0]}'?" if near else "'tradectl facts' lists the vocabulary",
        )

    def _used(self, used: Given) -> int:
        limit = next((limit for limit in self.lowered.limits if limit.name == used.name), None)
        counted = [
            limit.name for limit in self.lowered.limits if limit.kind in _COUNTS or limit.kind in _EXPOSURES
        ]
        if limit is None or limit.name not in counted:
            near = get_close_matches(used.name, counted, 1)
            raise MistakeError(
                "unknown-name",
                f"no limit {quoted(used.name)} counts anything for {self.listing.symbol}",
                used.name_span,
                f"did you mean '{near[0]}'?"
                if near
                else f"limits that count: {', '.join(counted) or 'none'}",
            )
        if limit.kind in _COUNTS:
            return int(read_value(used.value, used.name, Kind(Measure.COUNT, 1, 0.0, 1e6))[0])
        value, _ = read_value(used.value, used.name, Kind(Measure.MONEY, GRID_PER_UNIT[Measure.MONEY], 0.0))
        return _money(value)

    def override(self, what_if: Statement) -> None:
        """Put other values in; what was stated and follows from them is to be derived again."""
        signals = {signal.name: index for index, signal in enumerate(self.lowered.signals)}
        before = dict(self.facts)
        self.take(what_if, Origin.WHAT_IF)
        changed = {name for name, known in self.facts.items() if known is not before.get(name)}
        for name in changed:
            for follower in followers(name) - changed:
                self.facts.pop(follower, None)
                self.assumptions.pop(follower, None)
            self.assumptions.pop(name, None)
            head, _, field = name.partition(".")
            if head in signals and field in SIGNAL_FIELDS and not _states(before, head):
                self._complete_signal(head, changed)
        for head, index in signals.items():
            if not _states(before, head):
                continue
            slots = {
                slot
                for vote in self.lowered.signals[index].votes
                for slot in self._vote_slots(vote.buy, vote.sell)
            }
            names = {self.lowered.slots[slot].name for slot in slots}
            for name in sorted(changed & names):
                self.notes.append(
                    f"{head} is stated, so its votes are not evaluated: {name} changes nothing in it"
                )

    def _vote_slots(self, *nodes: int) -> set[int]:
        return {slot for node in nodes if node >= 0 for slot in slots_of_node(self.lowered, node)}

    def _complete_signal(self, head: str, changed: set[str]) -> None:
        """Fill the fields of a voted signal that ``--what-if`` leaves to its votes."""
        trial = self.blank()
        trial.facts = {name: known for name, known in self.facts.items() if not name.startswith(f"{head}.")}
        trial.at_ms = self.at_ms
        trial.complete()
        values = trial.values()
        ReferenceEvaluator(self.lowered).evaluate(values, trial.stated_mask())
        for field in SIGNAL_FIELDS:
            name = f"{head}.{field}"
            slot = self.lowered.slot(name)
            if name not in changed and values[slot] == values[slot]:
                self.facts[name] = KnownFact(values[slot], Origin.COMPUTED)
        self.notes.append(f"{head} is what its votes make it but for --what-if")

    def blank(self) -> Completion:
        """Return one like this with nothing stated."""
        return Completion(self.policy, self.lowered, self.listing, self.instrument)

    # --- completion ---------------------------------------------------------------------------

    def complete(self) -> None:
        """Derive what follows, take the defaults of the rest; PolicyError at a contradiction."""
        if self.at_ms is not None:
            self._clock(self.at_ms)
        if self.listing.weight is not None:
            weight = float(self.listing.weight)
            self._default("target_weight", weight, Origin.DERIVED)
            if self._known("target_weight") != weight:
                self._contradiction("target_weight", "the policy's universe says", weight)
        self._tally_signals()
        self._derive("price", "bid", "position_value", "position_qty")
        self._default("minimum", self._minimum())
        self._derive()
        self._flat()
        self._derive()
        self._defaults()
        self._derive()
        self._check()
        self._raise()

    def _known(self, name: str) -> float:
        return self.facts[name].value if name in self.facts else NAN

    def _put(
        self, name: str, value: float, origin: Origin, reason: UnknownReason = UnknownReason.KNOWN
    ) -> None:
        self.facts[name] = KnownFact(value, origin, reason=reason)

    def _default(self, name: str, value: float, origin: Origin = Origin.DEFAULT) -> None:
        if name not in self.facts:
            self._put(name, value, origin)

    def _clock(self, at_ms: int) -> None:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(self.policy.timezone))
        self._default("time", float(at.hour * 3600 + at.minute * 60 + at.second), Origin.DERIVED)
        self._default("weekday", float(at.weekday()), Origin.DERIVED)

    def _minimum(self) -> float:
        """Return the least quantity that counts as held, as the vocabulary has it."""
        least = self.instrument.minimum_quantity
        price = self._known("price")
        if price > 0 and self.instrument.minimum_notional > 0:
            floor = self.instrument.minimum_notional / Decimal(repr(price))
            least = max(least, ceil_to(floor, self.instrument.quantity_step))
        return float(least)

    def _derive(self, *only: str) -> None:
        """Apply the relations until nothing new follows."""
        found = True
        while found:
            found = False
            for relation in RELATIONS:
                if relation.target in self.facts or (only and relation.target not in only):
                    continue
                value = self._follows(relation)
                if value is None:
                    continue
                kind = self.kinds[relation.target]
                if kind.minimum <= value <= kind.maximum:
                    self._put(relation.target, value, Origin.DERIVED)
                else:
                    self._put(relation.target, NAN, Origin.DERIVED, UnknownReason.OVERFLOW)
                found = True

    def _follows(self, relation: Relation) -> float | None:
        inputs = [self._known(name) for name in relation.inputs]
        if any(value != value for value in inputs):
            return None
        value = relation.compute(*inputs)
        if value is None:
            return None
        k = self.kinds[relation.target].steps_per_unit
        return quantise(value, k) if k else value

    def _flat(self) -> None:
        """Where nothing speaks of a position there is none; facts of an episode say that there is one."""
        if "held" not in self.facts:
            spoken = {name for name in _POSITION if self._known(name) not in (0.0, FACTS[name].when_absent)}
            spoken = {name for name in spoken if self._known(name) == self._known(name)}
            if spoken & _EPISODE:
                self._put("held", 1.0, Origin.DERIVED)
            elif spoken:
                self._put("held", NAN, Origin.ABSENT, UnknownReason.NOT_STATED)
            else:
                self._put("held", 0.0, Origin.DEFAULT)
        if self._known("held") != 0.0:
            return
        for name in _POSITION:
            absent = FACTS[name].when_absent
            if absent is not None:
                self._default(name, absent)
            elif name not in self.facts:
                self._put(name, NAN, Origin.DEFAULT, UnknownReason.NO_POSITION)
            elif self._known(name) == self._known(name):
                message = f"{quoted(name)} is {self._how(name)}, but nothing is held ({self._how('held')})"
                self._report((name,), message, "state what is held, or delete the line")

    def _defaults(self) -> None:
        always_open = self.listing.calendar == ALWAYS_OPEN
        priced = self._known("price") == self._known("price")
        self._default("quote_state", QUOTE_STATE.index("tradable" if priced else "missing"))
        if priced:
            self._default("quote_age", 0.0)
        if always_open:
            self._default("session", SESSION.index("regular"))
            for name in ("until_close", "since_open"):
                self._default(name, NEVER)
            self._default("next_closure", 0.0)
        if self.listing.asset_class != AssetClass.STOCK:
            self._default("until_earnings", NEVER)
        self._elapsed()
        for name, fact in FACTS.items():
            if fact.when_absent is not None and fact.family is not Family.POSITION:
                self._default(name, fact.when_absent)

    def _elapsed(self) -> None:
        """An order was a buy or a sell: what is stated of one says something of the others."""
        for name in _ELAPSED:
            for one, other in ((name, f"{name}_bars"), (f"{name}_bars", name)):
                if one in self.facts and self._known(one) != NEVER:
                    self._leave_open(other)  # how many bars a time is depends on when it began
        for suffix in ("", "_bars"):
            order, *sides = (f"{name}{suffix}" for name in _ELAPSED)
            at = self._known(order) if order in self.facts else NEVER
            stated = [self._known(side) for side in sides if side in self.facts]
            for side in sides:
                if at == NEVER or any(time == at for time in stated):
                    self._default(side, NEVER)
                elif any(time > at for time in stated):
                    self._default(side, at, Origin.DERIVED)
                self._leave_open(side)
            times = [self._known(side) for side in sides]
            if all(time == time for time in times):
                self._default(order, min(times), Origin.DERIVED if stated else Origin.DEFAULT)
            self._leave_open(order)

    def _leave_open(self, name: str) -> None:
        if name not in self.facts:
            self._put(name, NAN, Origin.ABSENT, UnknownReason.NOT_STATED)

    def _tally_signals(self) -> None:
        """Side and confidence follow from the three weights where all are stated."""
        for signal in self.lowered.signals:
            names = [f"{signal.name}.{field}" for field in ("buy", "sell", "hold")]
            if any(name not in self.facts or self.facts[name].source is None for name in names):
                continue
            weights = [self._known(name) for name in names]
            if any(weight != weight for weight in weights):
                continue
            side, confidence, *_ = tally(*(round(weight * WEIGHT_STEPS) for weight in weights))
            for field, value in (("side", side), ("confidence", confidence)):
                name = f"{signal.name}.{field}"
                if name in self.facts and self._known(name) != value:
                    self._contradiction(name, "its weights make it", value)
                self._default(name, value, Origin.DERIVED)

    # --- contradictions -----------------------------------------------------------------------

    def _check(self) -> None:
        for relation in RELATIONS:
            value, stated = self._follows(relation), self._known(relation.target)
            if relation.inverse or value is None or value == stated or stated != stated:
                continue
            made_of = ", ".join(f"{name} {self._how(name)}" for name in relation.inputs)
            self._contradiction(
                relation.target, f"{relation.words} is", value, relation.inputs, f" ({made_of})"
            )
        for low, high in AT_MOST:
            if self._known(low) > self._known(high):
                message = f"{quoted(low)} ({self._how(low)}) is above {quoted(high)} ({self._how(high)})"
                self._report((low, high), message)
        for signal in self.policy.signals:
            name = f"{signal.name}.confidence"
            if self._known(f"{signal.name}.side") == Side.NONE and self._known(name) > 0:
                message = f"{quoted(name)} is {self._how(name)}, but a side of none has 0 %"
                self._report((name,), message)

    def _contradiction(
        self, name: str, words: str, value: float, inputs: Sequence[str] = (), made_of: str = ""
    ) -> None:
        kind = self.kinds[name]
        other = shown(value, kind.unit, kind.steps_per_unit)
        message = f"{quoted(name)} is {self._how(name)}, but {words} {other}{made_of}"
        self._report((name, *inputs), message, "state one of them")

    def _report(self, names: Sequence[str], message: str, hint: str = "") -> None:
        """Point at what a person wrote last of these facts; one mistake there is enough."""
        written = [self.facts[name] for name in names if self.facts[name].source is not None]
        if not written:
            return
        last = max(written, key=lambda known: (known.origin is Origin.WHAT_IF, known.span.start))
        assert last.source is not None
        if all(problem.span != last.span or source is not last.source for source, problem in self.problems):
            self.problems.append((last.source, Problem("contradiction", message, last.span, hint)))

    def _raise(self) -> None:
        """Raise the problems of one source; overrides go first."""
        if self.problems:
            source = max((source for source, _ in self.problems), key=lambda s: s.name == WHAT_IF)
            raise PolicyError(source, tuple(problem for of, problem in self.problems if of is source))

    def _how(self, name: str) -> str:
        known, kind = self.facts[name], self.kinds[name]
        taken = {Origin.DEFAULT: " by default", Origin.DERIVED: " derived", Origin.ASSUMED: " assumed"}
        return shown(known.value, kind.unit, kind.steps_per_unit) + taken.get(known.origin, "")

    # --- the vector ---------------------------------------------------------------------------

    def stated_mask(self) -> int:
        """Return the bits of the voted signals that are stated."""
        return sum(1 << index for index, s in enumerate(self.lowered.signals) if _states(self.facts, s.name))

    def values(self) -> list[float]:
        """Return the value of every slot."""
        return [self._slot_fact(slot).value for slot in self.lowered.slots]

    def _slot_fact(self, slot: FactSlot) -> KnownFact:
        known = self.facts.get(slot.name)
        if known is not None:
            return known
        if slot.origin is SlotOrigin.ONCE:
            return KnownFact(0.0, Origin.DEFAULT)
        voted = slot.origin in (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
        if voted and not _states(self.facts, slot.name.partition(".")[0]):
            return KnownFact(NAN, Origin.COMPUTED, reason=UnknownReason.VOTE)
        return KnownFact(NAN, Origin.ABSENT, reason=UnknownReason.NOT_STATED)

    def vector(self) -> Vector:
        """Return the facts as the lowered policy reads them."""
        slots = [self._slot_fact(slot) for slot in self.lowered.slots]
        return Vector(
            self.at_ms,
            [known.value for known in slots],
            bytes(known.reason for known in slots),
            tuple(known.origin for known in slots),
            self._situation(),
            tuple(self.assumptions.values()),
            tuple(dict.fromkeys(self.notes)),
            tuple(self.informed),
        )

    def _situation(self) -> Situation:
        owned, held = self._known("position_qty"), self._known("held") == 1.0
        if owned != owned:
            # Held, nobody says how much: the least that is held stands for it, so that an exit can be told.
            least = self._known("minimum")
            owned = (self._minimum() if least != least else least) if held else 0.0
        quantity = round(owned * QUANTITY_SCALE)
        open_order = self._known("open_order")
        cash = self._known("cash")
        return Situation(
            symbol=self.listing.symbol,
            instrument=self.instrument,
            quantity=quantity,
            working=working_order(open_order, quantity) if open_order > 0 else None,
            cash_available=_money(cash) if cash == cash else 0,
            usage=tuple(self._usage(limit.name, limit.kind) for limit in self.lowered.limits),
            counted=held or open_order == 1.0,
            stated=self.stated_mask(),
        )

    def _usage(self, name: str, kind: LimitKind) -> int | None:
        if name in self.usage:
            return self.usage[name]
        if kind in _EXPOSURES:
            value = self._known("position_value")
            return _money(value) if value == value else None
        return int(self._known("held") == 1.0) if kind is LimitKind.POSITIONS_AT_MOST else 0


_POSITION: Final = tuple(
    fact.name
    for fact in FACTS.values()
    if fact.family is Family.POSITION and fact.name not in ("held", "minimum", "target", "target_weight")
)
_EPISODE: Final = frozenset(_POSITION) - {"dust", "position_qty", "position_value", "weight"}
_FIXED: Final = ("symbol", "asset_class", "calendar")
_ELAPSED: Final = ("since_order", "since_buy", "since_sell")
_COUNTS: Final = (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST)
_EXPOSURES: Final = (LimitKind.EXPOSURE_AT_MOST,)


def _states(facts: Mapping[str, KnownFact], signal: str) -> bool:
    return any(f"{signal}.{field}" in facts for field in SIGNAL_FIELDS)


def _money(value: float) -> int:
    return scaled(Decimal(repr(value)), MONEY_SCALE)


def working_order(open_order: float, quantity: int) -> WorkingOrder:
    """Return the open order of which a facts file knows the side only: it stands for all of the position."""
    side = OrderSide.BUY if open_order == 1.0 else OrderSide.SELL
    return WorkingOrder("open-order", side, max(quantity, 1), 0, None, IntentState.SENT, False, None, "", 0)


def _spellings(name: str) -> Iterator[str]:
    """Yield a fact's name as it is written, and its canonical text: ``prev( rsi,2 )`` is ``prev(rsi, 2)``."""
    yield name
    with suppress(ExpressionError):
        yield unparse(parse(name))


def _kinds(policy: Policy, lowered: LoweredPolicy) -> dict[str, Kind]:
    """Return what every fact that can be stated may be."""
    kinds = {
        fact.name: Kind(fact.unit, fact.steps_per_unit, fact.minimum, fact.maximum)
        for fact in FACTS.values()
        if fact.name not in _FIXED
    }
    for name, indicator in policy.indicators.items():
        for output, (_, unit, k) in indicator.outputs.items():
            kinds[f"{name}.{output}" if output else name] = Kind(unit, k)
    for slot in lowered.slots:
        if slot.name in FACTS:
            continue
        if slot.origin is SlotOrigin.SERIES:
            kinds[slot.name] = Kind(slot.unit, slot.steps_per_unit, *series_bounds(slot.series))
        elif slot.origin is SlotOrigin.ONCE:
            kinds[slot.name] = Kind(Measure.BOOLEAN, 0, 0.0, 1.0)
    for signal in policy.signals:
        for field, (unit, k, maximum) in SIGNAL_FIELDS.items():
            if signal.votes or field in FEED_FIELDS:
                kinds[f"{signal.name}.{field}"] = Kind(unit, k, 0.0, maximum)
    return kinds


def series_bounds(series: SeriesNode | None) -> tuple[float, float]:
    """Return what a series can never leave."""
    if isinstance(series, Lag):
        return series_bounds(series.operand)
    if isinstance(series, SeriesCall):
        return FUNCTIONS[series.function].output(series.output).bounds or (-1e12, 1e12)
    return -1e12, 1e12
