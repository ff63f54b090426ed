"""The shape of an explanation: plain values, as ``--json`` prints them (schema explain-v1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from engine.verbs.numbers import Plain

SCHEMA: Final = "explain-v1"


@dataclass(frozen=True, slots=True)
class MissingFact:
    """An Unknown fact and why it is."""

    fact: str
    reason: str  # a word of UnknownReason
    text: str


@dataclass(frozen=True, slots=True)
class MarginView:
    """How far a fact must move to flip a leaf: signed steps, the distance, and the distance in words."""

    fact: str | None
    steps: int
    amount: float
    shown: str


@dataclass(frozen=True, slots=True)
class LeafView:
    """One comparison, with the values compared; ``right`` is null where it is a literal or parameter."""

    condition: str
    truth: str
    text: str
    left: str
    left_value: Plain
    left_shown: str
    comparison: str
    right: str | None
    right_value: Plain
    right_shown: str
    unit: str
    margin: MarginView | None
    missing: tuple[MissingFact, ...]


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule: whether it matched, what became of it, and why in words."""

    name: str
    priority: int
    action: str
    then: str
    protective: bool
    truth: str
    disposition: str
    cause: str | None  # the gate, rule, limit or denial behind the disposition
    text: str
    leaves: tuple[LeafView, ...]


@dataclass(frozen=True, slots=True)
class GateView:
    """A gate; ``entry_truth`` is its condition as entries read it."""

    name: str
    reserved: bool
    only_rule: str | None
    vetoes: tuple[str, ...]
    truth: str
    entry_truth: str
    vetoed: tuple[str, ...]  # rules
    text: str
    leaves: tuple[LeafView, ...]


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit: its bound and what is used of it, money in the account currency or a count."""

    name: str
    kind: str
    scope: str
    bound: float | None
    used: float | None
    binding: bool  # it shrank or denied the order
    text: str


@dataclass(frozen=True, slots=True)
class VoteView:
    """A vote: the truth of its sides and what it cast (buy, sell, hold, nothing, unknown)."""

    name: str
    weight: float
    buy: str | None
    sell: str | None
    cast: str
    leaves: tuple[LeafView, ...]


@dataclass(frozen=True, slots=True)
class SignalView:
    """A signal and what became of it; votes are empty where it is stated or comes from outside."""

    name: str
    source: str  # votes, feed or stated
    side: str | None
    confidence: float | None
    shown: str
    disposition: str
    adopted_by: str | None
    text: str
    votes: tuple[VoteView, ...]


@dataclass(frozen=True, slots=True)
class FactView:
    """A fact the policy reads, and where it comes from; ``reading`` is "entries" where theirs differs."""

    name: str
    unit: str
    value: Plain
    shown: str
    origin: str
    reason: str | None
    because: str
    reading: str
    own: bool  # read by the policy's own rules, gates, votes or sizes, not only by what is built in


@dataclass(frozen=True, slots=True)
class OrderView:
    """The sized order: decimals as text."""

    side: str
    quantity: str
    limit_price: str | None
    notional: str
    text: str


@dataclass(frozen=True, slots=True)
class MovedFact:
    """A fact that a change gives another value; ``follows`` where it only follows from others."""

    fact: str
    unit: str
    before: Plain
    after: Plain
    before_shown: str
    shown: str
    follows: bool


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A smallest change of what market and clock move that would give the action; decided, not guessed.

    ``fact`` and ``value`` are of the first fact in ``text``; ``rule`` would then decide.  ``distance`` is the
    sum of changes over typical scales, ``groups`` how many facts move on their own.
    """

    fact: str
    value: Plain
    text: str
    rule: str | None = None
    groups: int = 1
    distance: float = 0.0
    facts: tuple[MovedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """What would have given an action; ``text`` says why where nothing would."""

    changes: tuple[ChangeView, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class MakeIt:
    """What would make the decision ``action``."""

    action: str
    decided: bool  # it is
    changes: tuple[ChangeView, ...]
    text: str


@dataclass(frozen=True, slots=True)
class WhyNotRule:
    """What keeps a rule of the action asked for from deciding."""

    name: str
    text: str
    unmet: tuple[LeafView, ...]


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why the decision is not ``action``."""

    action: str
    decided: bool  # it is
    rules: tuple[WhyNotRule, ...]
    changes: tuple[ChangeView, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that can be said of one decision."""

    symbol: str
    at: str | None
    policy: str
    version: str
    digest: str
    selection: str
    action: str
    rule: str | None
    because: str
    position: str
    order: OrderView | None
    denial: str | None
    rules: tuple[RuleView, ...]
    gates: tuple[GateView, ...]
    limits: tuple[LimitView, ...]
    signals: tuple[SignalView, ...]
    facts: tuple[FactView, ...]
    notes: tuple[str, ...]
    why_not: WhyNot | None = None
    make_it: MakeIt | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints: schema explain-v1."""
        return {"schema": SCHEMA, **asdict(self)}
