"""Recorded facts, read again: as they were, with other values, or as another policy reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from engine.codes import UnknownReason
from engine.language.policy import Listing, Policy
from engine.lowered import FactSlot, LoweredPolicy, SlotOrigin
from engine.model import OrderSide
from engine.units import GRID_PER_UNIT, MONEY_SCALE, QUANTITY_SCALE, Measure
from engine.verbs.decide import Situation
from engine.verbs.replay import Replayed
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
    Unknown (not stated).  What limits have used is left for ``engine.verbs.limits_used``.

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
