"""What limits had used when a symbol was decided, counted from the records of its cycle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from engine.language.policy import Limit, Listing, Policy
from engine.lowered import LoweredPolicy
from engine.units import NEVER, PRICE_SCALE
from engine.verbs.ledger import Holding, Ledger
from engine.verbs.plan import Book, open_book
from engine.verbs.record import DecisionRecord
from engine.verbs.replay import CLASSES, context_of
from engine.verbs.state import Memory, State


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
