"""Replay: decide again from a record, and say where the result differs.

A record holds the fact vector, the working order, the usage of limits and a few integers (``CONTEXT``); the
policy's text is kept by its digest.  Nothing else is needed: that is what makes a decision explainable later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from engine.codes import Denial, Disposition, Side
from engine.errors import ConfigurationError
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.lower import VariantKey, lower, variant_key
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.model import AssetClass, Decision, Instrument
from engine.units import MONEY_SCALE, NEVER, PRICE_SCALE, QUANTITY_SCALE, scaled, unscaled
from engine.verbs.decide import Situation, decide
from engine.verbs.record import DecisionRecord, Layout, layout_of
from engine.vocabulary import FACTS

ENGINE_SEMANTICS: Final = "tradectl-engine/1"
"""Names the meaning of this release's decisions; it changes when the same facts could decide otherwise."""

CONTEXT: Final = (
    "quantity",
    "cash_available",
    "counted",
    "fee_ppm",
    "may_enter",
    "backoff",
    "dust_cost",
    "price_step",
    "quantity_step",
    "minimum_quantity",
    "minimum_notional",
    "asset_class",
    "bar_open_seconds",
)
"""What a decision depends on beside its facts, and the bar it was made on, in the journal's records."""

CLASSES: Final = tuple(AssetClass)
"""The asset classes by their number in a context."""
_COMPARED: Final = (
    "action",
    "rule",
    "truths",
    "dispositions",
    "causes",
    "signal_dispositions",
    "order",
    "cancel",
    "denial",
)


class ReplayError(ConfigurationError):
    """A record that this release cannot decide again."""


def vocabulary_digest() -> str:
    """Return the digest of the vocabulary that gives facts their meaning."""
    return hashlib.sha256(repr(sorted(FACTS.items())).encode()).hexdigest()


def pack_context(situation: Situation, bar_open_ms: int) -> tuple[int, ...]:
    """Return the integers of ``CONTEXT``."""
    instrument = situation.instrument
    known = (0, 0, 0, 0, 0)
    if instrument is not None:
        known = (
            instrument.price_step_scaled,
            instrument.quantity_step_scaled,
            scaled(instrument.minimum_quantity, QUANTITY_SCALE),
            scaled(instrument.minimum_notional, MONEY_SCALE),
            CLASSES.index(instrument.asset_class),
        )
    return (
        situation.quantity,
        situation.cash_available,
        int(situation.counted),
        situation.fee_ppm,
        int(situation.may_enter),
        int(situation.backoff),
        situation.dust_cost,
        *known,
        NEVER if bar_open_ms == NEVER else bar_open_ms // 1000,
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record, decided again.  ``values`` are its facts with the voted signals as counted now."""

    record: DecisionRecord
    listing: Listing
    lowered: LoweredPolicy
    situation: Situation
    values: list[float]
    decision: Decision
    bar_open_seconds: int  # NEVER before the symbol's first bar

    @property
    def differences(self) -> tuple[str, ...]:
        """Name what is not as recorded; empty when the decision is the same."""
        return tuple(
            name for name in _COMPARED if getattr(self.record.decision, name) != getattr(self.decision, name)
        )


class Replayer:
    """Decides records of one policy again; symbols of one variant share what it is lowered to."""

    def __init__(self, policy: Policy) -> None:
        """Replay with this policy, normally the recorded one."""
        self.policy = policy
        self._listings = {listing.symbol: listing for listing in policy.universe}
        self._by_key: dict[VariantKey, ReferenceEvaluator] = {}
        self._by_symbol: dict[str, ReferenceEvaluator] = {}
        # Layouts seen to fit an evaluator; keeping them keeps their ids.
        self._fitting: dict[int, dict[int, Layout]] = {}

    def replay(self, record: DecisionRecord) -> Replayed:
        """Decide a record again with the reference evaluator.

        Raises ReplayError where the record was made of other facts or rules than this policy has.
        """
        context = context_of(record)
        listing = self.listing(record)
        evaluator = self._evaluator(listing, record)
        lowered = evaluator.policy
        situation = Situation(
            symbol=record.symbol,
            instrument=_instrument(listing, context),
            quantity=context["quantity"],
            working=record.working,
            cash_available=context["cash_available"],
            # Nothing was counted where nothing wanted to buy; should something want to now, it will differ.
            usage=record.decision.limit_usage or (None,) * len(lowered.limits),
            counted=bool(context["counted"]),
            fee_ppm=context["fee_ppm"],
            stated=record.stated,
            may_enter=bool(context["may_enter"]),
            backoff=bool(context["backoff"]),
            dust_cost=context["dust_cost"],
        )
        values = list(record.values)
        decision = decide(evaluator, values, situation)
        return Replayed(record, listing, lowered, situation, values, decision, context["bar_open_seconds"])

    def lowered(self, record: DecisionRecord) -> LoweredPolicy:
        """Return the variant of a record's symbol; ReplayError where the record does not fit it."""
        return self._evaluator(self.listing(record), record).policy

    def listing(self, record: DecisionRecord) -> Listing:
        """Return the listing of a record's symbol; one outside the universe has its instrument's class."""
        listing = self._listings.get(record.symbol)
        if listing is not None:
            return listing
        asset_class = CLASSES[context_of(record)["asset_class"]].value
        calendar = next(
            (other.calendar for other in self.policy.universe if other.asset_class == asset_class), "24/7"
        )
        return Listing(record.symbol, asset_class, calendar, None, False)

    def _evaluator(self, listing: Listing, record: DecisionRecord) -> ReferenceEvaluator:
        if record.symbol not in self._by_symbol:
            key = variant_key(self.policy, listing)
            if key not in self._by_key:
                self._by_key[key] = ReferenceEvaluator(lower(self.policy, listing))
            self._by_symbol[record.symbol] = self._by_key[key]
        evaluator = self._by_symbol[record.symbol]
        if id(record.layout) not in self._fitting.setdefault(id(evaluator), {}):
            if layout_of(evaluator.policy, record.layout.context) != record.layout:
                raise ReplayError(
                    f"the record of {record.symbol} was made of other facts or rules than policy "
                    f"'{self.policy.name}' has here"
                )
            self._fitting[id(evaluator)][id(record.layout)] = record.layout
        return evaluator


def context_of(record: DecisionRecord) -> dict[str, int]:
    """Return a record's integers by name; ReplayError where one of ``CONTEXT`` is not among them."""
    context = dict(zip(record.layout.context, record.context, strict=True))
    missing = [name for name in CONTEXT if name not in context]
    if missing:
        raise ReplayError(
            f"the record of {record.symbol} lacks {', '.join(missing)}: another release made it"
        )
    return context


def _instrument(listing: Listing, context: dict[str, int]) -> Instrument | None:
    if not context["price_step"]:
        return None
    return Instrument(
        listing.symbol,
        AssetClass(listing.asset_class),
        listing.calendar,
        unscaled(context["price_step"], PRICE_SCALE),
        unscaled(context["quantity_step"], QUANTITY_SCALE),
        Decimal(context["minimum_quantity"]) / QUANTITY_SCALE,
        Decimal(context["minimum_notional"]) / MONEY_SCALE,
    )


# --- what became of signals -------------------------------------------------------------------


def signal_names(lowered: LoweredPolicy) -> tuple[str, ...]:
    """Return the signals in the order of ``Decision.signal_dispositions``."""
    return (*(signal.name for signal in lowered.signals), *(feed.name for feed in lowered.feeds))


def sides(lowered: LoweredPolicy, values: list[float]) -> Iterator[tuple[int, Side | None]]:
    """Yield (signal index, side) of the signals that are read, as exits read them; None where Unknown."""
    slots = [signal.slots[0] for signal in lowered.signals] + [feed.side for feed in lowered.feeds]
    for index, slot in enumerate(slots):
        if slot >= 0:
            value = values[slot]
            yield index, Side(int(value)) if value == value else None


def cause_of(lowered: LoweredPolicy, decision: Decision, index: int, side: int) -> tuple[str, str]:
    """Return (adopting rule, what settled it) for a directional signal, "" where nothing did.

    What was not adopted was settled by the first rule that could have, and did not match.
    """
    for position, rule in enumerate(lowered.rules):
        disposition = decision.dispositions[position]
        if disposition and (index, side) in rule.adopts:
            return rule.name, candidate_cause(lowered, decision, position)
    if decision.signal_dispositions[index] == Disposition.CONCURRED and decision.rule >= 0:
        return "", lowered.rules[decision.rule].name
    return "", next((rule.name for rule in lowered.rules if (index, side) in rule.adopts), "")


def candidate_cause(lowered: LoweredPolicy, decision: Decision, position: int) -> str:
    """Return what settled a rule's proposal; of one that acted the limit that shrank its order, if any."""
    order = decision.order
    if position == decision.rule and order is not None and order.limited_by >= 0:
        return lowered.limits[order.limited_by].name
    return cause_text(lowered, decision.dispositions[position], decision.causes[position])


def cause_text(lowered: LoweredPolicy, disposition: int, cause: int) -> str:
    """Return the name of what a disposition's cause points to."""
    if cause < 0:
        return ""
    match Disposition(disposition):
        case Disposition.VETOED:
            return lowered.gates[cause].name
        case Disposition.LIMITED:
            return lowered.limits[cause].name
        case Disposition.DENIED:
            return Denial(cause).word
        case Disposition.UNKNOWN | Disposition.CONCURRED | Disposition.OUTRANKED:
            return lowered.rules[cause].name
    return ""
