"""The one lowered form between the typed policy and every evaluator.

A ``LoweredPolicy`` is a policy for one *variant*: the symbols that share asset class, parameter
values and applicable rules.  Parameters are constants, definitions are inlined, ids are dense
and stable.  It holds no text that an evaluator needs.

A fact vector for it is a ``list[float]`` with one entry per slot: a number on the slot's grid, the
index of an enum word, 0.0 or 1.0 for a boolean, and NaN for Unknown (the reasons travel beside it
in a ``bytearray`` of ``UnknownReason``).  Evaluators write the slots of voted signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Final

from engine.codes import Action
from engine.errors import Span
from engine.series import SeriesNode
from engine.units import Measure, Unit


class SlotOrigin(Enum):
    """Where the value of a slot comes from."""

    VOCABULARY = "vocabulary"
    SERIES = "series"  # computed from closed bars: an indicator, prev(...), highest(...)
    FEED = "feed"  # an outside signal
    ONCE = "once"  # 1 when the period of a rule's ``once`` is used up
    SIGNAL = "signal"  # a voted signal: written by the evaluator
    ENTRY_SIGNAL = "entry-signal"  # the same as entries read it: Unknown where a vote abstained
    OUTCOME = "outcome"  # what a decision came to; promises alone read it


@dataclass(frozen=True, slots=True)
class FactSlot:
    """One entry of the fact vector."""

    name: str
    unit: Unit
    steps_per_unit: int  # k of the grid; 0 for words and booleans
    origin: SlotOrigin
    series: SeriesNode | None = None
    max_age_seconds: int | None = None  # of a feed


# --- terms: numbers computed from facts -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FactTerm:
    """The value of a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class ConstantTerm:
    """A number: a literal, a parameter, or folded from them."""

    value: float


class Operator(StrEnum):
    """Arithmetic operators."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    NEGATE = "neg"
    ABSOLUTE = "abs"
    MINIMUM = "min"
    MAXIMUM = "max"
    LOGARITHM = "log"  # natural; of a number <= 0 it is Unknown


@dataclass(frozen=True, slots=True)
class ArithmeticTerm:
    """An operator on operands, evaluated left to right in float64."""

    operator: Operator
    operands: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class StepTerm:
    """A step table: the value of the last threshold at or below ``by``; Unknown below the first."""

    by: Term
    thresholds: tuple[float, ...]  # ascending
    values: tuple[float, ...]


Term = FactTerm | ConstantTerm | ArithmeticTerm | StepTerm


# --- conditions -------------------------------------------------------------------------------


class Comparison(StrEnum):
    """Comparison operators."""

    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    EQUAL = "=="
    NOT_EQUAL = "!="

    @property
    def mirrored(self) -> Comparison:
        """The one that says the same with its sides changed: ``a < b`` is ``b > a``."""
        return _MIRRORED.get(self, self)

    @property
    def negated(self) -> Comparison:
        """The one that is true where this is false, of known numbers."""
        return _NEGATED[self]


_MIRRORED: Final = {
    Comparison.LESS: Comparison.GREATER,
    Comparison.LESS_OR_EQUAL: Comparison.GREATER_OR_EQUAL,
    Comparison.GREATER: Comparison.LESS,
    Comparison.GREATER_OR_EQUAL: Comparison.LESS_OR_EQUAL,
}
_NEGATED: Final = {
    Comparison.LESS: Comparison.GREATER_OR_EQUAL,
    Comparison.LESS_OR_EQUAL: Comparison.GREATER,
    Comparison.GREATER: Comparison.LESS_OR_EQUAL,
    Comparison.GREATER_OR_EQUAL: Comparison.LESS,
    Comparison.EQUAL: Comparison.NOT_EQUAL,
    Comparison.NOT_EQUAL: Comparison.EQUAL,
}


@dataclass(frozen=True, slots=True)
class Atom:
    """``left comparison right``.

    A computed operand (arithmetic or step table) is put on the grid of ``steps_per_unit`` before it is
    compared; facts and constants are on theirs already.
    Booleans and words compare with a constant by EQUAL or NOT_EQUAL and have grid 0.
    """

    left: Term
    comparison: Comparison
    right: Term
    unit: Unit
    steps_per_unit: int
    span: Span
    text: str  # canonical text, for explanation only


class NodeKind(IntEnum):
    """Kinds of condition nodes."""

    CONSTANT = 0  # atom holds the Truth
    ATOM = 1
    NOT = 2
    ALL = 3
    ANY = 4


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the boolean graph; children have smaller ids than their parents."""

    kind: NodeKind
    atom: int = -1
    children: tuple[int, ...] = ()


# --- what conditions are for ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoweredVote:
    """One declared vote.  Weights are integers in millionths, so that sums are exact."""

    name: str
    weight: int
    buy: int  # node, or -1 where the vote has no such side
    sell: int
    hold_weight: int
    abstain: bool  # if_unknown: abstain
    span: Span


@dataclass(frozen=True, slots=True)
class LoweredSignal:
    """A voted signal.

    ``slots`` are side, confidence, buy, sell, hold as exits read them; ``entry_slots`` as entries read
    them (the same slots where no vote may abstain).
    """

    name: str
    votes: tuple[LoweredVote, ...]
    slots: tuple[int, int, int, int, int]
    entry_slots: tuple[int, int, int, int, int]
    span: Span


@dataclass(frozen=True, slots=True)
class LoweredFeed:
    """A signal from outside: the slots of its side and confidence, -1 where nothing reads them."""

    name: str
    side: int
    confidence: int
    span: Span


class Once(StrEnum):
    """The period in which a rule sends one order."""

    BAR = "bar"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    POSITION = "position"


@dataclass(frozen=True, slots=True)
class LoweredRule:
    """A rule.

    ``when`` is the reading that lets it act; ``when_entry`` the one entries look at (they differ only
    where an abstaining vote is read).  A sell's condition includes ``held``.
    ``size`` is None for ``sell all`` and ``hold``.
    """

    name: str
    priority: int
    action: Action
    protective: bool
    when: int
    when_entry: int
    size: Term | None
    size_measure: Measure  # MONEY or QUANTITY
    additive: bool  # ``buy X``; otherwise ``to X`` is a level
    min_step: float  # ratio of the level below which a level order is not made
    once: Once | None
    because: tuple[str | int, ...]  # text and term indices into LoweredPolicy.because_terms
    adopts: tuple[tuple[int, int], ...]  # (signal index, Side) implied; feeds follow the voted signals
    span: Span


@dataclass(frozen=True, slots=True)
class LoweredGate:
    """A gate: vetoes candidates while its condition is true, or (but for protective) Unknown."""

    name: str
    reserved: bool
    vetoes_buy: bool
    vetoes_sell: bool
    vetoes_protective: bool
    when: int
    when_entry: int
    pass_if_unknown: bool
    only_rule: int  # the one rule it speaks of (``once``), or -1
    span: Span


class LimitKind(StrEnum):
    """What a limit bounds."""

    ORDER_AT_MOST = "order-at-most"  # money of one order; shrinks
    ORDER_AT_LEAST = "order-at-least"  # money of one order; denies
    EXPOSURE_AT_MOST = "exposure-at-most"  # money held, open and reserved in the scope; shrinks
    CASH_AT_LEAST = "cash-at-least"  # cash kept; denies
    BUYS_AT_MOST = "buys-at-most"  # buy intents in a window; denies
    POSITIONS_AT_MOST = "positions-at-most"  # held or being bought; denies


class LimitScope(StrEnum):
    """Over what a limit counts."""

    ORDER = "order"
    SYMBOL = "symbol"
    CLASS = "class"
    PORTFOLIO = "portfolio"


@dataclass(frozen=True, slots=True)
class LoweredLimit:
    """A limit on buys."""

    name: str
    kind: LimitKind
    scope: LimitScope
    bound: Term | None  # money; None for counts
    count: int
    window_seconds: int
    span: Span


@dataclass(frozen=True, slots=True)
class OrderStyle:
    """How orders of one side are sent; ``limit`` is a price term, None for market orders."""

    limit: Term | None
    good_for_seconds: int | None
    time_in_force: str
    extended_hours: bool


class Selection(StrEnum):
    """The hit policies."""

    EXITS_FIRST = "exits_first"
    BY_PRIORITY = "by_priority"


@dataclass(frozen=True, slots=True)
class LoweredPolicy:
    """A policy, lowered for one variant."""

    name: str
    version: str
    digest: str
    selection: Selection
    asset_class: str
    slots: tuple[FactSlot, ...]
    atoms: tuple[Atom, ...]
    nodes: tuple[Node, ...]
    signals: tuple[LoweredSignal, ...]
    rules: tuple[LoweredRule, ...]  # in the order of choice: priority descending, then as written
    gates: tuple[LoweredGate, ...]  # reserved first, then as written
    limits: tuple[LoweredLimit, ...]
    buy_style: OrderStyle
    sell_style: OrderStyle
    because_terms: tuple[tuple[Term, Unit, int], ...]
    feeds: tuple[LoweredFeed, ...] = ()

    def slot(self, name: str) -> int:
        """Return the index of the slot called ``name``; KeyError if the policy does not read it."""
        for index, slot in enumerate(self.slots):
            if slot.name == name:
                return index
        raise KeyError(name)
