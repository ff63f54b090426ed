"""The typed policy: what a policy file says, checked, with its units and places.

Values here are independent of symbols; ``engine.language.lower`` resolves them for a variant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from engine.codes import Action
from engine.errors import Source, Span
from engine.language.types import Condition, Indicator, Typed
from engine.lowered import LimitKind, LimitScope, Once, Selection
from engine.units import Measure, Unit


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol of the universe; ``traded`` is False where it is only watched."""

    symbol: str
    asset_class: str
    calendar: str
    weight: Decimal | None
    traded: bool


@dataclass(frozen=True, slots=True)
class ParameterValue:
    """A parameter: its value, the range a sweep may try, values of classes and symbols."""

    name: str
    unit: Unit
    value: Decimal
    low: Decimal | None
    high: Decimal | None
    overrides: Mapping[str, Decimal]
    span: Span

    def resolve(self, listing: Listing) -> Decimal:
        """Return the value for a symbol: its own, else its class's, else the plain one."""
        for scope in (listing.symbol, listing.asset_class):
            if scope in self.overrides:
                return self.overrides[scope]
        return self.value


class Scope:
    """Where a rule, gate or limit applies: the classes and symbols after ``for:``; empty is everywhere."""

    __slots__ = ("_set", "names")

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Keep the names as written, and once more to look symbols up."""
        self.names = tuple(names)
        self._set = frozenset(self.names)

    def covers(self, listing: Listing) -> bool:
        """Say whether a symbol is in the scope."""
        return not self.names or listing.symbol in self._set or listing.asset_class in self._set


@dataclass(frozen=True, slots=True)
class Vote:
    """A declared vote of a signal."""

    name: str
    weight: Decimal
    buy: Condition | None
    sell: Condition | None
    hold: Decimal
    abstain: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal: votes, or a feed from outside with the age it may have."""

    name: str
    votes: tuple[Vote, ...]
    feed: str | None
    max_age_seconds: int | None
    span: Span

    @property
    def may_abstain(self) -> bool:
        """Say whether entries may read it differently from exits."""
        return any(vote.abstain for vote in self.votes)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; ``size`` is None for ``sell all`` and ``hold``."""

    name: str
    priority: int
    order: int
    action: Action
    size: Typed | None
    size_measure: Measure
    additive: bool
    protective: bool
    once: Once | None
    min_step: Decimal
    when: Condition
    scope: Scope
    because: tuple[str | Typed, ...]
    span: Span
    when_span: Span
    then_text: str

    @property
    def is_level(self) -> bool:
        """Whether it moves the position to a level: ``buy to X``, ``sell to X``."""
        return self.size is not None and not self.additive


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate; ``when`` is None for the gates whose condition the engine sets itself."""

    name: str
    vetoes: frozenset[str]  # buy, sell, protective
    when: Condition | None
    pass_if_unknown: bool
    scope: Scope
    span: Span
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on buys."""

    name: str
    kind: LimitKind
    per: LimitScope
    bound: Typed | None
    count: int
    window_seconds: int
    scope: Scope
    span: Span


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """How orders of one side are sent; ``limit`` is None for market orders.

    ``time_in_force`` is "" where the policy says none: then each class has its venue's usual one.
    """

    limit: Typed | None
    good_for_seconds: int | None
    time_in_force: str
    extended_hours: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """More orders than ``count`` within (t - ``window_seconds``, t]; of either side without ``action``."""

    action: Action | None
    count: int
    window_seconds: int
    per: LimitScope = LimitScope.PORTFOLIO  # or CLASS, SYMBOL


@dataclass(frozen=True, slots=True)
class Follows:
    """An order of a symbol less than ``seconds`` after an earlier order of it."""

    action: Action
    after: Action
    seconds: int


@dataclass(frozen=True, slots=True)
class Promise:
    """A property that must always hold.

    It has one of ``always``, ``never``, ``rate`` and ``follows``; the last two must never be.
    ``within_cycles`` is 0 where ``always`` speaks of one decision; ``text`` is canonical, for people.
    """

    name: str
    given: Condition | None
    always: Condition | None
    never: Condition | None
    span: Span
    within_cycles: int = 0
    rate: Rate | None = None
    follows: Follows | None = None
    text: str = ""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions it is made of."""
        return tuple(part for part in (self.given, self.always, self.never) if part is not None)

    @property
    def over_time(self) -> bool:
        """Whether it speaks of more than one decision."""
        return bool(self.within_cycles or self.rate or self.follows)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy.  ``canonical`` is its canonical text; ``digest`` the SHA-256 of that.

    ``spans`` are the places of the names it declares, ``size`` is how many facts, numbers and operators
    its expressions have: a measure of the work of lowering one variant.
    """

    source: Source
    name: str
    version: str
    digest: str
    canonical: str
    selection: Selection
    timezone: str
    bars_seconds: int
    every_seconds: int | None
    universe: tuple[Listing, ...]
    parameters: Mapping[str, ParameterValue]
    indicators: Mapping[str, Indicator]
    signals: tuple[Signal, ...]
    rules: tuple[Rule, ...]  # in the order of choice
    gates: tuple[Gate, ...]
    limits: tuple[Limit, ...]
    buy_terms: OrderTerms
    sell_terms: OrderTerms
    promises: tuple[Promise, ...]
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)
    size: int = 0

    def listing(self, symbol: str) -> Listing | None:
        """Return a symbol's listing, or None."""
        return next((listing for listing in self.universe if listing.symbol == symbol), None)

    @property
    def traded(self) -> tuple[Listing, ...]:
        """The symbols that may be traded, as written: the order in which buys compete for cash."""
        return tuple(listing for listing in self.universe if listing.traded)
