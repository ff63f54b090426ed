"""Promises as they are written: conditions, and three forms over time.

    never:  more than 3 buys in 3m           orders made in (t - 3m, t], counted at each order
    never:  sell within 60s of buy           orders of one symbol
    always: action == sell within 5 cycles   at most so many cycles later, while ``given`` stays true

The forms are made of the tokens of the expression language.  Their words are no keywords: no expression has
two names in a row, nor a name behind a whole operand.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from engine.codes import Action
from engine.errors import Span
from engine.language.declarations import Canonical, Declarations
from engine.language.expression import (
    Expression,
    ExpressionError,
    Locate,
    Parser,
    Token,
    check_size,
    duration_text,
    unparse,
)
from engine.language.policy import Follows, Promise, Rate
from engine.language.reading import Entry, Reader, SkipError
from engine.language.types import Condition
from engine.lowered import LimitScope

MAXIMUM_COUNT: Final = 999_999
"""Orders that a rate counts to."""
MAXIMUM_CYCLES: Final = 1000
"""Cycles that a promise may take to come true."""

_RATE_HINT: Final = "write  more than 3 buys in 3m"
_FOLLOWS_HINT: Final = "write  sell within 60s of buy"
_CYCLES_HINT: Final = "write  action == sell within 5 cycles"
_SIDES: Final = {"buy": Action.BUY, "sell": Action.SELL}
_COUNTED: Final[dict[str, Action | None]] = {**_SIDES, "order": None}


@dataclass(frozen=True, slots=True)
class Within:
    """A condition that comes true in so many cycles."""

    operand: Expression
    cycles: int


Written = Expression | Rate | Follows | Within
"""What stands behind ``always`` or ``never``."""


class _PromiseParser(Parser):
    """Parses what a promise may say."""

    def promise(self) -> Written:
        kinds = [(token.kind, token.text) for token in self.tokens[self.at : self.at + 3]]
        words, (last_kind, _) = [text if kind == "name" else "" for kind, text in kinds], kinds[-1]
        result: Written
        if words[:2] == ["more", "than"]:
            result = self.rate()
        elif words[1:2] == ["within"] and (words[0] in _SIDES or last_kind == "duration"):
            result = self.follows()
        elif kinds[0][0] == "number" and words[1:2] and words[1].removesuffix("s") in _COUNTED:
            raise ExpressionError("a rate says what is too much", self.token.span, _RATE_HINT)
        elif not self.tokens[self.at + 1 :]:
            return self.whole()  # which says that nothing is there
        else:
            operand = self.indicator()
            if not self.is_word("within"):
                self.finish()
                return operand
            result = self.within(operand)
        if self.token.kind != "end":
            raise self.expected("the end", "this stands alone: make another promise of the rest")
        return result

    def rate(self) -> Rate:
        self.take()
        self.take()
        count = self.whole_number("a number of orders", MAXIMUM_COUNT, 0, _RATE_HINT)
        counted = self.token.text.removesuffix("s")
        if self.token.kind != "name" or counted not in _COUNTED:
            raise self.expected("'buys', 'sells' or 'orders'", _RATE_HINT)
        self.take()
        if not self.is_word("in"):
            raise self.expected("'in' and a time", _RATE_HINT)
        self.take()
        return Rate(_COUNTED[counted], count, self.seconds("a time behind 'in'", _RATE_HINT))

    def follows(self) -> Follows:
        action = self.side()
        self.take()
        hint = _CYCLES_HINT if self.token.kind == "number" else _FOLLOWS_HINT
        seconds = self.seconds("a time behind 'within'", hint)
        if not self.is_word("of"):
            raise self.expected("'of' and the earlier order", _FOLLOWS_HINT)
        self.take()
        return Follows(action, self.side(), seconds)

    def within(self, operand: Expression) -> Within:
        self.take()
        cycles = self.whole_number("a number of cycles", MAXIMUM_CYCLES, 1, _CYCLES_HINT)
        if self.token.text not in ("cycle", "cycles"):
            raise self.expected("'cycles'", _CYCLES_HINT)
        self.take()
        return Within(operand, cycles)

    def side(self) -> Action:
        if self.token.text not in _SIDES:
            raise self.expected("'buy' or 'sell'", _FOLLOWS_HINT)
        return _SIDES[self.take().text]

    def seconds(self, what: str, hint: str) -> int:
        token = self._number_of("duration", what, hint)
        seconds = int(self.literal(token).value)
        if seconds == 0:
            raise ExpressionError("a time above 0 is needed here", token.span, "such as 3m", "range")
        return seconds

    def whole_number(self, what: str, most: int, least: int, hint: str) -> int:
        token = self._number_of("number", what, hint)
        value = self.literal(token).value
        if value != value.to_integral_value() or not Decimal(least) <= value <= most:
            message = f"a whole number from {least} to {most:,} is needed here"
            raise ExpressionError(message, token.span, hint, "range")
        return int(value)

    def _number_of(self, kind: str, what: str, hint: str) -> Token:
        if self.token.kind != kind:
            raise self.expected(what, hint)
        return self.take()


def parse_promise(text: str, locate: Locate = Span) -> Written:
    """Parse what a promise says; ExpressionError with the place of the first mistake."""
    written = _PromiseParser(text, locate).promise()
    match written:
        case Rate() | Follows():
            pass
        case Within(operand=operand):
            check_size(operand, text, locate, len(written_text(written)) - len(unparse(operand)))
        case _:
            check_size(written, text, locate)
    return written


def written_text(written: Written) -> str:
    """Return canonical text: parsing it gives the same again."""
    match written:
        case Rate(action=action, count=count, window_seconds=seconds):
            what = "order" if action is None else action.name.lower()
            return f"more than {count} {what}{'' if count == 1 else 's'} in {duration_text(seconds)}"
        case Follows(action=action, after=after, seconds=seconds):
            return f"{action.name.lower()} within {duration_text(seconds)} of {after.name.lower()}"
        case Within(operand=operand, cycles=cycles):
            return f"{unparse(operand)} within {cycles} cycle{'' if cycles == 1 else 's'}"
        case _:
            return unparse(written)


# --- entries ----------------------------------------------------------------------------------

_BELONGS: Final[tuple[tuple[type[Rate | Follows | Within], str, str, str], ...]] = (
    (Rate, "never", "a rate of orders", "never: more than 3 buys in 3m"),
    (Follows, "never", "an order within some time of another", "never: sell within 60s of buy"),
    (Within, "always", "'within' so many cycles", "always: action == sell within 5 cycles"),
)


@dataclass(frozen=True, slots=True)
class PromiseReader:
    """Reads the entries under ``promises:``."""

    reader: Reader
    names: Declarations

    def read(self, entry: Entry) -> tuple[Promise, Canonical]:
        """Return a promise and its canonical form; SkipError with its mistakes reported."""
        stated = {key: found for key in ("given", "always", "never") if (found := entry.find(key))}
        written: dict[str, Written] = {}
        conditions: dict[str, Condition] = {}
        for key, found in stated.items():
            with suppress(SkipError):
                says = self._written(found)
                expression = says.operand if isinstance(says, Within) else says
                if not isinstance(expression, Rate | Follows):
                    conditions[key] = self.names.condition(expression, promise=True)
                written[key] = says
        if len(written) < len(stated):
            raise SkipError
        if "always" in stated and "never" in stated:
            message = "a promise says either 'always' or 'never'"
            self.reader.refuse("promise", message, entry.key.span, "make two promises of it")
        promise = Promise(
            entry.name,
            conditions.get("given"),
            conditions.get("always"),
            conditions.get("never"),
            entry.key.span,
            text=", ".join(f"{key} {written_text(says)}" for key, says in written.items()),
        )
        canonical: Canonical = {key: written_text(says) for key, says in written.items()}
        match written.get("always", written.get("never")):
            case Rate() as rate:
                promise = replace(promise, rate=rate)
            case Follows() as follows:
                promise = replace(promise, follows=follows)
            case Within(cycles=cycles):
                promise = replace(promise, within_cycles=cycles)
        return self._counted_per(entry, promise, canonical)

    def _written(self, entry: Entry) -> Written:
        """Read what stands behind a key, as far as it may stand there."""
        scalar = entry.scalar
        with self.reader.explaining():
            written = parse_promise(scalar.text, scalar.source_span)
        for form, key, what, right in _BELONGS:
            if isinstance(written, form) and entry.name != key:
                message = f"{what} goes with '{key}', not with '{entry.name}'"
                self.reader.refuse("promise", message, entry.node.span, f"write  {right}")
        return written

    def _counted_per(self, entry: Entry, promise: Promise, canonical: Canonical) -> tuple[Promise, Canonical]:
        """Read over what a rate counts: the account unless the promise says otherwise."""
        per = entry.find("per")
        if per is None:
            return promise, canonical
        if promise.rate is None:
            message = "'per' belongs to a rate of orders"
            hint = "delete it, or write  never: more than 3 buys in 3m"
            self.reader.refuse("promise", message, per.key.span, hint)
        rate = replace(promise.rate, per=LimitScope(per.text))
        text = f"{promise.text} per {per.text}"
        return replace(promise, rate=rate, text=text), {**canonical, "per": per.text}
