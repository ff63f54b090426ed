"""Plan: one cycle's decisions over all symbols, with what earlier ones reserved.

Rules and gates see the snapshot at the cycle's start; reservations act in limits only.  Planned sells free
nothing until they are filled.  Symbols are decided in the order of the universe: the order in which buys
compete for cash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from engine.codes import UnknownReason
from engine.evaluate.verdict import Evaluator
from engine.language.policy import Limit, Listing, Policy
from engine.lowered import LimitKind, LimitScope, LoweredPolicy, SlotOrigin
from engine.model import Decision, Instrument, OrderSide, WorkingOrder
from engine.units import notional
from engine.verbs.decide import Situation, cost_of, decide
from engine.verbs.state import NEVER, State


@dataclass(frozen=True, slots=True)
class Subject:
    """One symbol, ready to be decided: its evaluator, fact vector and what surrounds it."""

    listing: Listing
    evaluator: Evaluator
    values: list[float]
    reasons: bytearray
    instrument: Instrument | None
    quantity: int
    working: WorkingOrder | None
    may_enter: bool  # False for a symbol outside the universe: exits only
    backoff: bool = False  # the venue rejected a buy of the symbol lately
    dust_cost: int = 0  # money paid for a quantity that is too little to be held


@dataclass(frozen=True, slots=True)
class Planned:
    """A decision with all it was made from."""

    subject: Subject
    situation: Situation
    decision: Decision


@dataclass(slots=True)
class Book:
    """What is used of every limit so far in the cycle; money is scaled.

    ``exposure`` is each symbol's value at the cycle's price with open and reserved buys.
    """

    cash: int
    exposure: dict[str, int]
    classes: Mapping[str, str]
    positions: set[str]
    buys: list[tuple[int, str]]
    now_ms: int
    unpriced: frozenset[str] = frozenset()
    covered: dict[str, frozenset[str]] = field(default_factory=dict)
    _used: dict[tuple[str, str], tuple[Limit, int | None]] = field(default_factory=dict)

    def usage(self, limit: Limit, listing: Listing) -> int | None:
        """Return what is used of a limit as it applies to a symbol; None where it is not known.

        Sums over many symbols are made once and then kept up to date: a cycle may ask once per symbol.
        """
        bucket = self._bucket(limit, listing)
        if limit.per is LimitScope.SYMBOL:
            return self._count(limit, bucket, (bucket,))
        key = limit.name, bucket
        if key not in self._used:
            self._used[key] = limit, self._count(limit, bucket, self.exposure)
        return self._used[key][1]

    def _count(self, limit: Limit, bucket: str, symbols: Iterable[str]) -> int | None:
        if limit.kind is LimitKind.BUYS_AT_MOST:
            since = self.now_ms - limit.window_seconds * 1000
            return sum(1 for at, symbol in self.buys if at > since and self._counts(limit, bucket, symbol))
        if limit.kind is LimitKind.POSITIONS_AT_MOST:
            return sum(1 for symbol in self.positions if self._counts(limit, bucket, symbol))
        if limit.kind is LimitKind.EXPOSURE_AT_MOST:
            counted = [symbol for symbol in symbols if self._counts(limit, bucket, symbol)]
            if not self.unpriced.isdisjoint(counted):
                return None
            return sum(self.exposure.get(symbol, 0) for symbol in counted)
        return 0

    @staticmethod
    def _bucket(limit: Limit, listing: Listing) -> str:
        if limit.per is LimitScope.SYMBOL:
            return listing.symbol
        return listing.asset_class if limit.per is LimitScope.CLASS else ""

    def _counts(self, limit: Limit, bucket: str, symbol: str) -> bool:
        if limit.per is LimitScope.SYMBOL:
            return symbol == bucket
        if limit.per is LimitScope.CLASS:
            return self.classes.get(symbol) == bucket
        covered = self.covered.get(limit.name)
        return covered is None or symbol in covered

    def reserve(self, listing: Listing, decision: Decision, fee_ppm: int) -> None:
        """Take a decided buy into account."""
        order = decision.order
        if order is None or order.side is not OrderSide.BUY:
            return
        symbol, price = listing.symbol, order.sized_at
        amount = notional(order.quantity, price)
        more = {
            LimitKind.BUYS_AT_MOST: 1,
            LimitKind.POSITIONS_AT_MOST: int(symbol not in self.positions),
            LimitKind.EXPOSURE_AT_MOST: amount,
        }
        for key, (limit, used) in self._used.items():
            if used is not None and limit.kind in more and self._counts(limit, key[1], symbol):
                self._used[key] = limit, used + more[limit.kind]
        self.cash -= cost_of(order.quantity, price, fee_ppm)
        self.exposure[symbol] = self.exposure.get(symbol, 0) + amount
        self.positions.add(symbol)
        self.buys.append((self.now_ms, symbol))


def open_book(
    policy: Policy,
    state: State,
    now_ms: int,
    prices: Mapping[str, int],
    foreign: Mapping[str, int],
    fee_ppm: int,
    classes: Mapping[str, str] | None = None,
) -> Book:
    """Return the book at a cycle's start.

    ``prices`` are bids (scaled) by symbol, last trusted ones where none is fresh; ``foreign`` is what the
    broker has beside our own (below 0 where it has less): it counts in exposure only.  ``classes`` are
    the asset classes of symbols outside the universe.
    """
    cash = state.ledger.cash
    exposure: dict[str, int] = {}
    unpriced: set[str] = set()
    positions = {
        symbol for symbol, memory in state.memories.items() if memory.episode_began_ms != NEVER
    }  # dust is none
    quantities = {symbol: holding.quantity for symbol, holding in state.ledger.holdings.items()}
    for symbol in {**quantities, **foreign}:
        quantity = quantities.get(symbol, 0) + foreign.get(symbol, 0)
        if quantity <= 0:
            continue
        price = prices.get(symbol, 0)
        if price <= 0:
            unpriced.add(symbol)
        exposure[symbol] = notional(quantity, price)
    for symbol, memory in state.memories.items():
        working = memory.working
        if working is None or working.side is not OrderSide.BUY:
            continue
        # what the venue has filled and the ledger does not hold yet is still to be paid
        remaining = working.quantity - memory.booked
        price = working.limit_price or prices.get(symbol, 0)
        if price <= 0:
            unpriced.add(symbol)
        cash -= cost_of(remaining, price, fee_ppm)
        exposure[symbol] = exposure.get(symbol, 0) + notional(remaining, price)
        positions.add(symbol)
    covered = {
        limit.name: frozenset(listing.symbol for listing in policy.universe if limit.scope.covers(listing))
        for limit in policy.limits
        if limit.scope.names
    }
    listed = {listing.symbol: listing.asset_class for listing in policy.universe}
    return Book(
        cash,
        exposure,
        {**(classes or {}), **listed},
        positions,
        list(state.recent_buys),
        now_ms,
        frozenset(unpriced),
        covered,
    )


def plan(
    policy: Policy,
    subjects: Iterable[Subject],
    book: Book,
    fee_ppm: int,
    decided: Callable[[Planned], None] | None = None,
) -> list[Planned]:
    """Decide for every subject in order, each with what the ones before it reserved."""
    limits = {limit.name: limit for limit in policy.limits}
    planned: list[Planned] = []
    signal_slots: dict[int, tuple[int, ...]] = {}
    for subject in subjects:
        lowered = subject.evaluator.policy
        if id(lowered) not in signal_slots:
            signal_slots[id(lowered)] = _signal_slots(lowered)
        situation = Situation(
            symbol=subject.listing.symbol,
            instrument=subject.instrument,
            quantity=subject.quantity,
            working=subject.working,
            cash_available=max(0, book.cash),
            usage=_Usage(lowered, limits, book, subject.listing),
            counted=subject.listing.symbol in book.positions,
            fee_ppm=fee_ppm,
            may_enter=subject.may_enter,
            backoff=subject.backoff,
            dust_cost=subject.dust_cost,
        )
        result = Planned(subject, situation, decide(subject.evaluator, subject.values, situation))
        _note(signal_slots[id(lowered)], subject.values, subject.reasons)
        book.reserve(subject.listing, result.decision, fee_ppm)
        planned.append(result)
        if decided is not None:
            decided(result)
    return planned


def _signal_slots(policy: LoweredPolicy) -> tuple[int, ...]:
    return tuple(
        index
        for index, slot in enumerate(policy.slots)
        if slot.origin in (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
    )


def _note(slots: Iterable[int], values: Sequence[float], reasons: bytearray) -> None:
    """Write the reasons of the voted signals, whose values the evaluator has written."""
    for slot in slots:
        reasons[slot] = UnknownReason.KNOWN if values[slot] == values[slot] else UnknownReason.VOTE


class _Usage(Sequence[int | None]):
    """What each limit has used, counted only when a buy asks: most decisions are no buys."""

    def __init__(
        self, lowered: LoweredPolicy, limits: Mapping[str, Limit], book: Book, listing: Listing
    ) -> None:
        self._wanted = [limits[limit.name] for limit in lowered.limits]
        self._book, self._listing = book, listing
        self._used: tuple[int | None, ...] | None = None

    def _counted(self) -> tuple[int | None, ...]:
        if self._used is None:
            self._used = tuple(self._book.usage(limit, self._listing) for limit in self._wanted)
        return self._used

    @overload
    def __getitem__(self, index: int) -> int | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int | None]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int | None] | None:
        return self._counted()[index]

    def __len__(self) -> int:
        return len(self._counted())
