"""The one registry of codes: dense integers with a word and a sentence each.

Evaluators, journal and funnel carry the integers; text is made at the edge from here, and so
is the table in the documentation.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """An integer code whose members carry a sentence (``meaning``) for people."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Code:
        """Attach the sentence to the integer (type checkers take a look-up by value for this call)."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @property
    def word(self) -> str:
        """The lower-case word shown to people and written to JSON."""
        return self.name.lower()


class Truth(IntEnum):
    """Kleene's three truth values."""

    FALSE = 0
    TRUE = 1
    UNKNOWN = 2


class Action(IntEnum):
    """What a decision does to a position."""

    HOLD = 0
    BUY = 1
    SELL = 2


class Side(IntEnum):
    """The direction of a signal."""

    NONE = 0
    BUY = 1
    SELL = 2
    HOLD = 3


class UnknownReason(Code):
    """Why a fact is Unknown."""

    KNOWN = 0, "the fact is known"
    MISSING = 1, "the source gave no value"
    STALE = 2, "older than the vocabulary allows"
    NOT_A_NUMBER = 3, "the value is not a number"
    INFINITE = 4, "the value is infinite"
    OVERFLOW = 5, "outside the range the vocabulary states"
    DIVISION_BY_ZERO = 6, "a division by zero"
    WARM_UP = 7, "fewer bars than the indicator's declared warm-up"
    GAP = 8, "expected bars are missing and nothing proves that there was no trade"
    CLOCK = 9, "the wall clock and the journal disagree"
    UNCONFIRMED = 10, "a jump that no second quote has confirmed"
    NO_POSITION = 11, "there is no position"
    NO_FEED = 12, "no outside feed delivers this signal"
    QUANTITY_CHANGED = 13, "the broker's quantity changed without a fill of ours"
    ESTIMATED = 14, "too much of the equity is valued at old prices"
    NOT_STATED = 15, "the facts file does not state it"
    VOTE = 16, "a vote of the signal is Unknown"
    NO_INSTRUMENT = 17, "the instrument is not known"
    NO_DATES = 18, "no source of dates is configured"
    QUIET = 19, "too many bars without a trade in the window"
    NO_BARS = 20, "no bars of this symbol and interval are available"
    ABSTAINED = 21, "a vote abstained: for entries the signal is Unknown"


class Disposition(Code):
    """What became of a candidate or a directional signal in one cycle."""

    NONE = 0, "the rule proposed nothing"
    ACTED = 1, "this rule decided and its order was sent or planned"
    CONCURRED = 2, "same action, another rule decided"
    OUTRANKED = 3, "a candidate chosen before it won"
    VETOED = 4, "a gate vetoed it"
    LIMITED = 5, "a limit left nothing to send"
    DENIED = 6, "refused by us for another stated reason"
    UNKNOWN = 7, "an entry withheld because a fact is Unknown"
    WORKING = 8, "an order for it is already open"
    AWAITING_CANCEL = 9, "waiting for an earlier order to be cancelled"
    AT_LEVEL = 10, "the position is already at the level, within the minimum step"
    NOT_ADOPTED = 11, "no rule adopted the signal"


class Denial(Code):
    """Our own reasons not to send a sized order."""

    NONE = 0, "not denied"
    SIZE_UNKNOWN = 1, "the size reads an Unknown fact"
    ZERO_SIZE = 2, "the size rounds down to nothing"
    BELOW_MINIMUM = 3, "below the venue's minimum quantity or notional"
    EQUITY_ESTIMATED = 4, "too much of the equity is valued at old prices"
    CASH = 5, "not enough cash after reservations and fees"
    LIMIT_UNKNOWN = 6, "a limit reads an Unknown fact"
    NO_INSTRUMENT = 7, "the venue's steps and minimums are not known"
    OUTSIDE_UNIVERSE = 8, "the symbol is not in the policy's universe"
    DISAGREEMENT = 9, "the evaluators disagreed"
    BACKOFF = 10, "the venue rejected the last buy of the symbol: it waits before the next"


class IntentState(Code):
    """What became of an intent, appended after it was planned."""

    PLANNED = 0, "durable, not yet sent"
    SENT = 1, "acknowledged by the venue"
    AMBIGUOUS = 2, "sent, the answer was lost: being looked up by client id"
    PARTLY_FILLED = 3, "some of it is filled, the rest is open"
    FILLED = 4, "wholly filled"
    CANCELLED = 5, "cancelled, perhaps after partial fills"
    EXPIRED = 6, "its time in force ended"
    REJECTED = 7, "refused by the venue"

    @property
    def final(self) -> bool:
        """Say whether nothing can follow."""
        return self >= IntentState.FILLED
