"""Replay: decide again from a record, and say where the result differs.

A record holds the fact vector, the working order, the usage of limits and a few integers (``CONTEXT``); the policy's
text is kept by its digest.  Nothing else is needed: that is what makes a decision explainable later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from engine.codes import Action, Denial, Disposition
from engine.errors import TradectlError
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import Evaluator
from engine.language.lower import lower
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.model import AssetClass, Decision, Instrument
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, scaled, unscaled
from engine.verbs.decide import Situation, decide
from engine.verbs.record import DecisionRecord, layout_of
from engine.verbs.state import NEVER

ENGINE_SEMANTICS: Final = "tradectl-engine/1"
"""Names the meaning of this release's decisions; it changes when the same facts could decide otherwise."""

CONTEXT: Final = (
    "quantity",
    "cash_available",
    "counted",
    "fee_ppm",
    "may_enter",
    "price_step",
    "quantity_step",
    "minimum_quantity",
    "minimum_notional",
    "bar_open_seconds",
)
"""What a decision depends on beside its facts, and the bar it was made on, in the journal's records."""


class ReplayError(TradectlError):
    """A record that this release cannot decide again."""


def pack_context(situation: Situation, bar_open_ms: int) -> tuple[int, ...]:
    """Return the integers of ``CONTEXT``."""
    instrument = situation.instrument
    steps = (0, 0, 0, 0)
    if instrument is not None:
        steps = (
            instrument.price_step_scaled,
            instrument.quantity_step_scaled,
            scaled(instrument.minimum_quantity, QUANTITY_SCALE),
            scaled(instrument.minimum_notional, MONEY_SCALE),
        )
    return (
        situation.quantity,
        situation.cash_available,
        int(situation.counted),
        situation.fee_ppm,
        int(situation.may_enter),
        *steps,
        NEVER if bar_open_ms == NEVER else bar_open_ms // 1000,
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """A record, decided again."""

    record: DecisionRecord
    listing: Listing
    lowered: LoweredPolicy
    situation: Situation
    values: list[float]
    decision: Decision
    bar_open_seconds: int

    @property
    def differences(self) -> tuple[str, ...]:
        """Name what is not as recorded; empty when the decision is the same."""
        names = ("action", "rule", "truths", "dispositions", "causes", "signal_dispositions", "order", "cancel", "denial")
        return tuple(
            name for name in names if getattr(self.record.decision, name) != getattr(self.decision, name)
        )


class Replayer:
    """Decides records of one policy again; lowers each variant once."""

    def __init__(self, policy: Policy) -> None:
        """Replay with this policy, normally the recorded one."""
        self.policy = policy
        self._lowered: dict[str, LoweredPolicy] = {}
        self._evaluators: dict[int, Evaluator] = {}

    def replay(self, record: DecisionRecord) -> Replayed:
        """Decide a record again with the reference evaluator.

        Raises ReplayError where the record was made of other facts than this policy reads.
        """
        symbol = record.symbol
        context = dict(zip(record.layout.context, record.context, strict=True))
        missing = [name for name in CONTEXT if name not in context]
        if missing:
            raise ReplayError(f"the record of {symbol} lacks {', '.join(missing)}: another release made it")
        listing = self.policy.listing(symbol) or Listing(symbol, "stock", "24/7", None, False)
        lowered = self._variant(listing)
        if [slot.name for slot in record.layout.slots] != [slot.name for slot in lowered.slots]:
            raise ReplayError(f"the record of {symbol} was made of other facts than policy '{self.policy.name}' reads")
        situation = Situation(
            symbol=symbol,
            instrument=_instrument(listing, context),
            quantity=context["quantity"],
            working=record.working,
            cash_available=context["cash_available"],
            usage=record.decision.limit_usage,
            counted=bool(context["counted"]),
            fee_ppm=context["fee_ppm"],
            stated=record.stated,
            may_enter=bool(context["may_enter"]),
        )
        values = list(record.values)
        evaluator = self._evaluators.setdefault(id(lowered), ReferenceEvaluator(lowered))
        decision = decide(evaluator, values, situation)
        return Replayed(
            record, listing, lowered, situation, values, decision, context["bar_open_seconds"]
        )

    def _variant(self, listing: Listing) -> LoweredPolicy:
        if listing.symbol not in self._lowered:
            self._lowered[listing.symbol] = lower(self.policy, listing)
        return self._lowered[listing.symbol]


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


def signal_names(lowered: LoweredPolicy) -> tuple[str, ...]:
    """Return the signals in the order of ``Decision.signal_dispositions``."""
    return (*(signal.name for signal in lowered.signals), *(feed.name for feed in lowered.feeds))


def directional(lowered: LoweredPolicy, values: list[float]) -> Iterator[tuple[int, int]]:
    """Yield (signal index, side) of the signals that say buy or sell, as exits read them."""
    slots = [signal.slots[0] for signal in lowered.signals] + [feed.side for feed in lowered.feeds]
    for index, slot in enumerate(slots):
        side = values[slot] if slot >= 0 else 0.0
        if side in (Action.BUY, Action.SELL):
            yield index, int(side)


def cause_of(lowered: LoweredPolicy, decision: Decision, index: int, side: int) -> tuple[str, str]:
    """Return (adopting rule, what settled it) for a directional signal, "" where nothing did."""
    for position, rule in enumerate(lowered.rules):
        disposition = decision.dispositions[position]
        if not disposition or (index, side) not in rule.adopts:
            continue
        return rule.name, cause_text(lowered, disposition, decision.causes[position])
    return "", ""


def cause_text(lowered: LoweredPolicy, disposition: int, cause: int) -> str:
    """Return the name of what a disposition's cause points to."""
    if cause < 0:
        return ""
    match tuple(Disposition)[disposition]:
        case Disposition.VETOED:
            return lowered.gates[cause].name
        case Disposition.LIMITED:
            return lowered.limits[cause].name
        case Disposition.DENIED:
            return tuple(Denial)[cause].word
        case Disposition.UNKNOWN | Disposition.CONCURRED | Disposition.OUTRANKED:
            return lowered.rules[cause].name
    return ""
