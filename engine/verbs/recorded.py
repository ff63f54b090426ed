"""Recorded facts, read again: as they were, with other values, or as another policy reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.codes import UnknownReason
from engine.language.policy import Limit, Listing, Policy
from engine.lowered import FactSlot, LoweredPolicy, SlotOrigin
from engine.model import OrderSide
from engine.units import GRID_PER_UNIT, MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, Measure
from engine.verbs.decide import Situation
from engine.verbs.ledger import Holding, Ledger
from engine.verbs.plan import Book, open_book
from engine.verbs.record import DecisionRecord
from engine.verbs.replay import CLASSES, Replayed, context_of
from engine.verbs.state import NEVER, Memory, State
from engine.verbs.statement import Statement
from engine.verbs.vector import Completion, KnownFact, Origin, Vector, finest_instrument, working_order

_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]
_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
_OF_THE_POLICY: Final = frozenset({"target", "target_weight", "time", "weekday"})
"""Vocabulary facts that the policy has a word in: its weights, its time zone."""


def recorded_vector(replayed: Replayed, at_ms: int) -> Vector:
    """Return the facts of a record as they decided."""
    slots = replayed.lowered.slots
    origins = tuple(Origin.COMPUTED if slot.origin in _VOTED else Origin.RECORDED for slot in slots)
    record = replayed.record
    return Vector(at_ms, list(record.values), record.reasons, origins, replayed.situation)


def reread(
    replayed: Replayed,
    at_ms: int,
    *,
    policy: Policy,
    lowered: LoweredPolicy,
    listing: Listing,
    same_bars: bool,
    what_if: Statement | None = None,
) -> Vector:
    """Return the recorded facts as ``lowered`` reads them, with the overrides of ``what_if``.

    Facts of bars are taken over where the record has the same series, by what name whatever; facts counted in
    bars of the policy only with ``same_bars``.  What the record lacks, and nothing recorded gives, is
    Unknown (not stated).  What limits have used is left for ``usage_of``.

    Raises PolicyError for overrides that cannot be used.
    """
    unused = (None,) * len(lowered.limits)
    situation = replace(replayed.situation, usage=unused, stated=0, may_enter=listing.traded)
    memory = _Recollection(policy, lowered, listing, situation)
    memory.at_ms = at_ms
    own = lowered is replayed.lowered
    memory.was = _facts(replayed, lowered.slots, own=own, same_bars=same_bars)
    memory.facts = dict(memory.was)
    if what_if is not None:
        memory.override(what_if)
    memory.complete()
    return memory.vector()


def _facts(
    replayed: Replayed, wanted: Sequence[FactSlot], *, own: bool, same_bars: bool
) -> dict[str, KnownFact]:
    """Return the recorded facts by the names that the reading policy has for them."""
    record, facts, series = replayed.record, {}, {}
    for index, slot in enumerate(replayed.lowered.slots):
        fact = KnownFact(record.values[index], Origin.RECORDED, reason=UnknownReason(record.reasons[index]))
        if slot.origin in _VOTED:
            continue
        if slot.origin is SlotOrigin.SERIES and not own:
            series[slot.series] = fact
        elif own or not (slot.name in _OF_THE_POLICY or (slot.unit is Measure.BARS and not same_bars)):
            facts[slot.name] = fact
    for slot in wanted:
        if slot.origin is SlotOrigin.SERIES and slot.series in series:
            facts[slot.name] = series[slot.series]
    return facts


class _Recollection(Completion):
    """Completes recorded facts: by what follows from them, never by defaults."""

    def __init__(
        self, policy: Policy, lowered: LoweredPolicy, listing: Listing, situation: Situation
    ) -> None:
        super().__init__(policy, lowered, listing, situation.instrument or finest_instrument(listing))
        self.recorded = situation
        self.was: dict[str, KnownFact] = {}

    def blank(self) -> Completion:
        """Return one like this with nothing recorded."""
        return _Recollection(self.policy, self.lowered, self.listing, self.recorded)

    def complete(self) -> None:
        """Derive what follows from what is recorded and overridden."""
        if self.at_ms is not None:
            self._clock(self.at_ms)
        if self.listing.weight is not None:
            self._default("target_weight", float(self.listing.weight), Origin.DERIVED)
        self._tally_signals()
        self._derive()
        self._check()
        self._raise()

    def _report(self, names: Sequence[str], message: str, hint: str = "") -> None:
        """Overrides that contradict each other are a mistake; that they contradict the record is meant."""
        if all(self.facts[name].origin is Origin.WHAT_IF for name in names):
            super()._report(names, message, hint)
        elif any(self.facts[name].origin is Origin.WHAT_IF for name in names):
            self.notes.append(f"{message}: the others stay as recorded")

    def _situation(self) -> Situation:
        """Return what was recorded beside the facts, moved along with the facts that were overridden."""
        found = replace(self.recorded, stated=self.stated_mask())
        if self._moved("position_qty"):
            quantity = self._known("position_qty")
            found = replace(found, quantity=0 if math.isnan(quantity) else round(quantity * QUANTITY_SCALE))
        elif self._moved("held"):
            least = round(self._known("minimum") * QUANTITY_SCALE) if self._known("held") == 1.0 else 0
            found = replace(found, quantity=max(found.quantity, least) if least else 0)
        if self._moved("open_order"):
            side = self._known("open_order")
            found = replace(found, working=working_order(side, found.quantity) if side > 0 else None)
        if self._moved("cash"):
            more = self._known("cash") - self.was["cash"].value
            cash = 0 if math.isnan(more) else round(more * _CENTS) * (MONEY_SCALE // _CENTS)
            found = replace(found, cash_available=max(0, found.cash_available + cash))
        if any(self._moved(name) for name in ("position_qty", "held", "open_order")):
            buying = found.working is not None and found.working.side is OrderSide.BUY
            found = replace(found, counted=found.quantity > 0 or buying)
        return found

    def _moved(self, name: str) -> bool:
        return name in self.was and self.facts.get(name) is not self.was[name]


# --- what limits had used ---------------------------------------------------------------------


def book_before(
    policy: Policy,
    records: Sequence[DecisionRecord],
    symbol: str,
    own: tuple[int, float, float],
    at_ms: int,
    cash: int,
    buys: Sequence[tuple[int, str]],
) -> Book:
    """Return what was used of the limits when a symbol's turn came in its cycle.

    ``records`` are all of the cycle, in the order decided; ``own`` is the symbol's quantity (scaled),
    ``held`` and bid, which an override may have moved; ``cash`` is the account's, ``buys`` are the instants
    and symbols of buy intents of earlier cycles, oldest first.  Counted as the agent counts, but that a
    position whose symbol had no tradable quote is unpriced, and that quantities of others are not known.
    """
    bids: dict[str, int] = {}
    asks: dict[str, int] = {}
    holdings: dict[str, Holding] = {}
    memories: dict[str, Memory] = {}
    classes: dict[str, str] = {}
    for record in records:
        context = context_of(record)
        facts = {slot.name: value for slot, value in zip(record.layout.slots, record.values, strict=True)}
        quantity = context["quantity"]
        if record.symbol == symbol:
            quantity, held, facts["bid"] = own
            facts["held"] = held
        for prices, name in ((bids, "bid"), (asks, "ask")):
            if facts.get(name, math.nan) > 0:
                prices[record.symbol] = round(facts[name] * PRICE_SCALE)
        if quantity > 0:
            holdings[record.symbol] = Holding(quantity, 0)
        working = record.working
        memories[record.symbol] = Memory(
            working=working,
            booked=working.filled_quantity if working is not None else 0,
            episode_began_ms=at_ms if facts["held"] == 1.0 else NEVER,
        )
        classes[record.symbol] = CLASSES[context["asset_class"]]
    state = State(ledger=Ledger(cash=cash, holdings=holdings), memories=memories, recent_buys=tuple(buys))
    fee_ppm = context_of(records[0])["fee_ppm"]
    book = open_book(policy, state, at_ms, bids, {}, fee_ppm, classes)
    for record in records:
        if record.symbol == symbol:
            break
        order = record.decision.order
        if order is not None:
            touch = order.limit_price or asks.get(record.symbol, 0)  # a market order was sized at the ask
            decision = replace(record.decision, order=replace(order, sized_at=touch))
            book.reserve(Listing(record.symbol, "", "", None, True), decision, fee_ppm)
    return book


def usage_of(book: Book, policy: Policy, lowered: LoweredPolicy, listing: Listing) -> tuple[int | None, ...]:
    """Return what each limit of a lowered policy has used, for a symbol."""
    limits: dict[str, Limit] = {limit.name: limit for limit in policy.limits}
    return tuple(book.usage(limits[limit.name], listing) for limit in lowered.limits)
