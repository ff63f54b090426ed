"""The expression language: tokens, syntax tree, parser, canonical text.

A recursive descent parser, because its errors can say what was expected in words and its spans
are exact.  Offsets are code points of the expression's text; the caller maps them to the file.

    condition    rsi < 30 and not held or macd.line crosses above macd.signal
    chains       10:00 <= time < 15:00
    literals     10%   5m   30 bars   10:00   100 USD   80   -4
    functions    prev(rsi, 2)   highest(high, 20)   max(a, b)
    indicators   sma(50) on 1h   close on SPY 1d

Every bound here is there for hostile input: numbers fit in a float exactly enough, and no tree is
so high that code which walks it recursively could run out of stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from engine.errors import Span
from engine.language.source import shown
from engine.lowered import Comparison
from engine.units import ELAPSED_CAP_SECONDS, Measure

MAXIMUM_LENGTH: Final = 10_000
"""Code points of one expression."""
MAXIMUM_NESTING: Final = 32
"""Brackets, calls, ``not`` and ``-`` inside each other."""
MAXIMUM_HEIGHT: Final = 64
"""Levels of an expression's tree; a sum of n terms has n of them."""
MAXIMUM_DIGITS: Final = (15, 12)
"""Digits of a number before and behind its point."""

SECONDS_PER: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class ExpressionError(Exception):
    """A mistake in an expression: message, span within its text, and a hint."""

    def __init__(self, message: str, span: Span, hint: str = "", code: str = "syntax") -> None:
        """Keep what ``Problem`` needs."""
        super().__init__(message)
        self.message, self.span, self.hint, self.code = message, span, hint, code


# --- syntax tree ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A number with its unit; ``value`` is exact (a ratio 10% is 0.1, a duration is seconds)."""

    value: Decimal
    measure: Measure
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A lower-case name, perhaps dotted: a fact, parameter, definition, indicator or word."""

    name: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Ticker:
    """A symbol written bare: SPY, BTC-USD."""

    symbol: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text; promises name gates with it."""

    value: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Expression, ...]
    span: Span = field(compare=False)
    function_span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x``."""

    operand: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic: operator is one of + - * / of."""

    operator: str
    left: Expression
    right: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """A comparison, perhaps chained: ``a < b <= c`` is ``a < b and b <= c``."""

    operands: tuple[Expression, ...]
    comparisons: tuple[Comparison, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Crosses:
    """``a crosses above b``: it was not above at the bar before, and is now."""

    left: Expression
    above: bool
    right: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    operand: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """``and`` (every) or ``or`` of two or more operands."""

    every: bool
    operands: tuple[Expression, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class On:
    """An indicator on another interval, and perhaps another symbol."""

    operand: Expression
    symbol: str | None
    interval: Literal
    span: Span = field(compare=False)


Expression = Literal | Name | Ticker | Text | Call | Unary | Binary | Chain | Crosses | Not | Logic | On

# --- tokens -----------------------------------------------------------------------------------

_TOKENS: Final = re.compile(
    r"""
      (?P<space>    \s+ )
    | (?P<clock>    \d{1,2}:\d{2} (?![\w:]) )
    | (?P<percent>  \d+(?:\.\d+)? [ ]? % )
    | (?P<money>    \d+(?:\.\d+)? \s+ USD (?![\w-]) )
    | (?P<bars>     \d+ \s+ bars? (?!\w) )
    | (?P<duration> \d+ [smhdw] (?!\w) )
    | (?P<number>   \d+(?:\.\d+)? (?![\w.%]) )
    | (?P<ticker>   \d*[A-Z][A-Z0-9]*(?:[-./][A-Z0-9]+)* (?!\w) )
    | (?P<name>     [a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)* (?!\w) )
    | (?P<text>     "[^"\n]*" | '[^'\n]*' )
    | (?P<compare>  <= | >= | == | != | < | > )
    | (?P<symbol>   [-+*/(),] )
    """,
    re.VERBOSE | re.ASCII,
)
_NUMBERS: Final = ("number", "percent", "money", "bars", "duration", "clock")
_HOW_TO_WRITE_NUMBERS: Final = "write 10%, 5m (s, m, h, d, w), 30 bars, 10:00, 100 USD or 80"

_NOT_OURS: Final = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=>": "write '>='",
    "=<": "write '<='",
    "=": "write '==' to compare",
    "≤": "write '<='",
    "≥": "write '>='",
    "≠": "write '!='",
    "\N{MINUS SIGN}": "write '-' (this is another character)",
    "[": "lists go under 'all:' or 'any:'",
    "{": "a condition is plain text, not a map",
    "?": "there is no if/else: write two rules",
    "$": "write '100 USD'",
    "€": "amounts are in USD: write '100 USD'",
    "^": "there is no power operator: multiply",
}

KEYWORDS: Final = frozenset({"and", "or", "not", "crosses", "above", "below", "of", "on"})


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``kind`` is the group of the token pattern, "end" behind the last."""

    kind: str
    text: str
    span: Span


Locate = Callable[[int, int], Span]
"""Maps offsets of an expression's text to its place in a file."""


def tokens(text: str, locate: Locate = Span) -> Iterator[Token]:
    """Yield the tokens of a text and one of kind "end"; ExpressionError at what is none."""
    if len(text) > MAXIMUM_LENGTH:
        raise _too_long(len(text), locate)
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise _not_a_token(text, at, locate)
        kind = match.lastgroup or ""
        if kind != "space":
            yield Token(kind, match.group(), locate(at, match.end()))
        at = match.end()
    yield Token("end", "", locate(len(text), len(text)))


def _too_long(length: int, locate: Locate) -> ExpressionError:
    message = f"an expression may have {MAXIMUM_LENGTH:,} characters, this one has {length:,}"
    return ExpressionError(message, locate(0, 1), "split it with 'define:'", "too-large")


_EXPONENT: Final = re.compile(r"[\d.]+[eE][-+]?\d+")
_WORD: Final = re.compile(rf"{_EXPONENT.pattern}|[\w.%:]+")


def _not_a_token(text: str, at: int, locate: Locate) -> ExpressionError:
    for wrong, hint in _NOT_OURS.items():
        if text.startswith(wrong, at):
            return ExpressionError(
                f"'{wrong}' is not part of the language", locate(at, at + len(wrong)), hint
            )
    word = _WORD.match(text, at)
    if word is None:
        if text[at] in "\"'":
            return ExpressionError("a text that is not closed", locate(at, len(text)), "close the quote")
        character = text[at] if text[at].isprintable() else f"U+{ord(text[at]):04X}"
        return ExpressionError(f"unexpected character '{character}'", locate(at, at + 1))
    spelled, span = word.group(), locate(at, word.end())
    if spelled[0].isdigit() or (spelled[0] == "." and spelled[1:2].isdigit()):
        hint = _HOW_TO_WRITE_NUMBERS
        if _EXPONENT.fullmatch(spelled):
            hint = "write all its digits: 1000, 0.001"
        elif spelled[0] == ".":
            hint = f"write 0{spelled}"
        return ExpressionError(f"{shown(spelled)} is not a number of the language", span, hint)
    if spelled.lower() in KEYWORDS:
        return ExpressionError(
            f"'{spelled}' is written '{spelled.lower()}'", span, f"write '{spelled.lower()}'"
        )
    return ExpressionError(
        f"{shown(spelled)} is not a name",
        span,
        "names are lower case with _ and digits; symbols are upper case",
    )


# --- parser -----------------------------------------------------------------------------------


def _between(first: Expression, last: Expression) -> Span:
    return Span(first.span.start, last.span.end)


class Parser:
    """Parses one expression; promises have forms of their own (``engine.language.promises``)."""

    def __init__(self, text: str, locate: Locate) -> None:
        """Read the tokens; ExpressionError at what is none."""
        self.tokens = list(tokens(text, locate))
        self.at = 0
        self.nesting = 0

    @property
    def token(self) -> Token:
        """The token that is next."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Return the next token and go on behind it."""
        token = self.token
        if token.kind != "end":
            self.at += 1
        return token

    def is_word(self, word: str) -> bool:
        """Say whether a word is next."""
        return self.token.kind == "name" and self.token.text == word

    def is_symbol(self, symbol: str) -> bool:
        """Say whether a symbol is next."""
        return self.token.kind == "symbol" and self.token.text == symbol

    def expected(self, what: str, hint: str = "") -> ExpressionError:
        """Return the mistake that something else is next."""
        token = self.token
        found = "the end" if token.kind == "end" else shown(token.text)
        return ExpressionError(f"expected {what}, found {found}", token.span, hint)

    def nested(self, operand: Callable[[], Expression]) -> Expression:
        """Parse something inside something else."""
        self.nesting += 1
        if self.nesting > MAXIMUM_NESTING:
            raise _too_high(MAXIMUM_NESTING, self.token.span)
        result = operand()
        self.nesting -= 1
        return result

    def whole(self) -> Expression:
        """Parse all of the text."""
        if self.token.kind == "end":
            raise ExpressionError("an expression is missing here", self.token.span)
        result = self.indicator()
        self.finish()
        return result

    def finish(self) -> None:
        """Refuse whatever follows."""
        if self.token.kind != "end":
            raise self.expected("the end of the expression", self._hint_behind_an_end())

    def _hint_behind_an_end(self) -> str:
        before = self.tokens[self.at - 1].kind
        if self.token.kind == "ticker" and self.token.text.lower() in KEYWORDS:
            return f"write '{self.token.text.lower()}'"
        if self.token.text in ("above", "below"):
            return "write '>' or '<', or 'crosses above' or 'crosses below'"
        if self.token.kind == "compare":
            return "a comparison may be chained, but 'crosses' may not"
        if before == "number" and self.token.kind in ("name", "ticker"):
            return _HOW_TO_WRITE_NUMBERS
        if before == "name" and self.token.kind == "name":
            return "is an operator ('and', 'or', '<', 'of', ...) missing, or a name misspelt?"
        return "" if self.is_symbol(")") else "is an operator ('and', 'or', '<', 'of', ...) missing?"

    def indicator(self) -> Expression:
        """Parse ``sma(50) on 1h``, or anything below."""
        operand = self.disjunction()
        if not self.is_word("on"):
            return operand
        self.take()
        symbol = self.take().text if self.token.kind == "ticker" else None
        if self.token.kind != "duration":
            raise self.expected("an interval after 'on'", "write 'on 1h' or 'on SPY 1d'")
        interval = self.literal(self.take())
        return On(operand, symbol, interval, _between(operand, interval))

    def disjunction(self) -> Expression:
        """Parse ``a or b``."""
        return self.logic("or", self.conjunction)

    def conjunction(self) -> Expression:
        """Parse ``a and b``."""
        return self.logic("and", self.negation)

    def logic(self, word: str, operand: Callable[[], Expression]) -> Expression:
        """Parse operands with one word between them."""
        operands = [operand()]
        while self.is_word(word):
            self.take()
            operands.append(operand())
        if len(operands) == 1:
            return operands[0]
        return Logic(word == "and", tuple(operands), _between(operands[0], operands[-1]))

    def negation(self) -> Expression:
        """Parse ``not a``."""
        if not self.is_word("not"):
            return self.comparison()
        start = self.take().span.start
        operand = self.nested(self.negation)
        return Not(operand, Span(start, operand.span.end))

    def comparison(self) -> Expression:
        """Parse ``a < b <= c`` or a cross."""
        left = self.sum()
        if self.is_word("crosses"):
            self.take()
            if not (self.is_word("above") or self.is_word("below")):
                raise self.expected("'above' or 'below' after 'crosses'", "write 'rsi crosses above 30'")
            above = self.take().text == "above"
            right = self.sum()
            return Crosses(left, above, right, _between(left, right))
        operands, comparisons = [left], []
        while self.token.kind == "compare":
            comparisons.append(Comparison(self.take().text))
            operands.append(self.sum())
        if not comparisons:
            return left
        return Chain(tuple(operands), tuple(comparisons), _between(left, operands[-1]))

    def sum(self) -> Expression:
        """Parse ``a + b``."""
        return self.arithmetic(("+", "-"), self.product)

    def product(self) -> Expression:
        """Parse ``a * b``."""
        return self.arithmetic(("*", "/", "of"), self.unary)

    def arithmetic(self, operators: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        """Parse operands with operators of one level between them."""
        left = operand()
        while self.token.kind in ("symbol", "name") and self.token.text in operators:
            operator = self.take().text
            right = operand()
            left = Binary(operator, left, right, _between(left, right))
        return left

    def unary(self) -> Expression:
        """Parse ``-a``."""
        if not self.is_symbol("-"):
            return self.primary()
        start = self.take().span.start
        operand = self.nested(self.unary)
        return Unary(operand, Span(start, operand.span.end))

    def primary(self) -> Expression:
        """Parse a bracket, name, call or number."""
        token = self.token
        if self.is_symbol("("):
            self.take()
            inner = self.nested(self.disjunction)
            if not self.is_symbol(")"):
                raise self.expected("')'", "is an operator missing, or a bracket not closed?")
            return replace(inner, span=Span(token.span.start, self.take().span.end))
        if token.kind == "name" and token.text not in KEYWORDS:
            self.take()
            return self.call(token) if self.is_symbol("(") else Name(token.text, token.span)
        if token.kind == "ticker":
            return Ticker(self.take().text, token.span)
        if token.kind == "text":
            return Text(self.take().text[1:-1], token.span)
        if token.kind in _NUMBERS:
            return self.literal(self.take())
        raise self.expected("a fact, a number or '('")

    def call(self, name: Token) -> Expression:
        """Parse the arguments of a function."""
        self.take()
        arguments: list[Expression] = []
        while not self.is_symbol(")"):
            if arguments:
                if not self.is_symbol(","):
                    raise self.expected("',' or ')'")
                self.take()
            arguments.append(self.nested(self.disjunction))
        end = self.take().span.end
        return Call(name.text, tuple(arguments), Span(name.span.start, end), name.span)

    def literal(self, token: Token) -> Literal:
        """Read a token that is a number."""
        text = token.text
        if token.kind == "clock":
            return _clock(token)
        digits = re.match(r"[\d.]+", text)
        assert digits is not None
        number = digits.group()
        _check_digits(number, token)
        value = Decimal(number)
        match token.kind:
            case "percent":
                return Literal(value.scaleb(-2), Measure.RATIO, token.span)
            case "money":
                return Literal(value, Measure.MONEY, token.span)
            case "bars":
                return Literal(value, Measure.BARS, token.span)
            case "duration":
                seconds = value * SECONDS_PER[text[-1]]
                if seconds > ELAPSED_CAP_SECONDS:
                    raise ExpressionError(
                        f"{shown(text)} is too long", token.span, "durations end at 3650d: never", "range"
                    )
                return Literal(seconds, Measure.DURATION, token.span)
        return Literal(value, Measure.SCALAR, token.span)


def _clock(token: Token) -> Literal:
    hours, minutes = (int(part) for part in token.text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 1440:
        raise ExpressionError(f"'{token.text}' is not a time of day", token.span, "write 00:00 to 24:00")
    return Literal(Decimal(hours * 3600 + minutes * 60), Measure.CLOCK, token.span)


def _check_digits(number: str, token: Token) -> None:
    whole, _, fraction = number.partition(".")
    if len(whole) > 1 and whole.startswith("0"):
        bare = token.text.lstrip("0")
        raise ExpressionError(
            f"{shown(token.text)} has a leading zero: readers differ about it",
            token.span,
            f"write {shown(bare if bare[:1].isdigit() else '0' + bare)}",
        )
    before, behind = MAXIMUM_DIGITS
    if len(whole) > before or len(fraction) > behind:
        raise ExpressionError(
            f"{shown(token.text)} has too many digits",
            token.span,
            f"a number has at most {before} digits before its point and {behind} behind it",
            "too-large",
        )


def _too_high(levels: int, span: Span) -> ExpressionError:
    return ExpressionError(
        f"this is nested deeper than {levels} levels", span, "split it with 'define:'", "too-large"
    )


def _check_height(expression: Expression) -> None:
    """Refuse a tree that recursive code could not walk: ``a + b + ...`` leans left without brackets."""
    level: list[Expression] = [expression]
    for _ in range(MAXIMUM_HEIGHT):
        level = [child for parent in level for child in children(parent)]
    if level:
        raise _too_high(MAXIMUM_HEIGHT, level[0].span)


def parse(text: str, locate: Locate = Span) -> Expression:
    """Parse an expression; ExpressionError with the place of the first mistake.

    ``locate`` maps offsets of ``text`` to the place in a file that spans shall name.
    """
    expression = Parser(text, locate).whole()
    check_size(expression, text, locate)
    return expression


def check_size(expression: Expression, text: str, locate: Locate, more: int = 0) -> None:
    """Refuse what recursive code could not walk, or whose canonical text could not be read back.

    ``more`` characters of canonical text follow those of the expression.
    """
    if len(text) > MAXIMUM_HEIGHT:  # a level takes a character at least
        _check_height(expression)
        if len(unparse(expression)) + more > MAXIMUM_LENGTH:
            raise _too_long(MAXIMUM_LENGTH + 1, locate)


# --- canonical text ---------------------------------------------------------------------------

_LEVEL_OR, _LEVEL_AND, _LEVEL_NOT, _LEVEL_COMPARE, _LEVEL_SUM, _LEVEL_PRODUCT, _LEVEL_UNARY = range(7)


def duration_text(seconds: int) -> str:
    """Return a duration as a literal of the language: 90 is "90s", 3600 "1h", 604800 "7d"."""
    for letter in "dhm":
        if seconds and seconds % SECONDS_PER[letter] == 0:
            return f"{seconds // SECONDS_PER[letter]}{letter}"
    return f"{seconds}s"


def decimal_text(value: Decimal) -> str:
    """Return a decimal without exponent and without trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def literal_text(value: Decimal, measure: Measure) -> str:
    """Return the one canonical spelling of a literal: ``10.0%`` is "10%", ``60m`` is "1h"."""
    match measure:
        case Measure.RATIO:
            return f"{decimal_text(value * 100)}%"
        case Measure.DURATION if value == value.to_integral_value():
            return f"{'-' if value < 0 else ''}{duration_text(abs(int(value)))}"
        case Measure.CLOCK:
            return f"{int(value) // 3600:02d}:{int(value) % 3600 // 60:02d}"
        case Measure.BARS:
            return f"{decimal_text(value)} bars"
        case Measure.MONEY | Measure.PRICE:
            return f"{decimal_text(value)} USD"
        case _:
            return decimal_text(value)


def unparse(expression: Expression) -> str:
    """Return canonical text: parsing it gives an equal tree."""
    return _unparse(expression)[0]


def _bracketed(expression: Expression, level: int) -> str:
    text, own = _unparse(expression)
    return text if own >= level else f"({text})"


def _unparse(expression: Expression) -> tuple[str, int]:
    match expression:
        case Literal(value=value, measure=measure):
            return literal_text(value, measure), _LEVEL_UNARY
        case Name(name=name):
            return name, _LEVEL_UNARY
        case Ticker(symbol=symbol):
            return symbol, _LEVEL_UNARY
        case Text(value=value):
            return (f'"{value}"' if '"' not in value else f"'{value}'"), _LEVEL_UNARY
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(unparse(a) for a in arguments)})", _LEVEL_UNARY
        case Unary(operand=operand):
            return f"-{_bracketed(operand, _LEVEL_UNARY)}", _LEVEL_UNARY
        case Binary(operator=operator, left=left, right=right):
            level = _LEVEL_SUM if operator in "+-" else _LEVEL_PRODUCT
            return f"{_bracketed(left, level)} {operator} {_bracketed(right, level + 1)}", level
        case Chain(operands=operands, comparisons=comparisons):
            parts = [_bracketed(operands[0], _LEVEL_SUM)]
            for comparison, operand in zip(comparisons, operands[1:], strict=True):
                parts += [comparison.value, _bracketed(operand, _LEVEL_SUM)]
            return " ".join(parts), _LEVEL_COMPARE
        case Crosses(left=left, above=above, right=right):
            direction = "above" if above else "below"
            return (
                f"{_bracketed(left, _LEVEL_SUM)} crosses {direction} {_bracketed(right, _LEVEL_SUM)}",
                _LEVEL_COMPARE,
            )
        case Not(operand=operand):
            return f"not {_bracketed(operand, _LEVEL_NOT)}", _LEVEL_NOT
        case Logic(every=every, operands=operands):
            level = _LEVEL_AND if every else _LEVEL_OR
            return (" and " if every else " or ").join(_bracketed(o, level + 1) for o in operands), level
        case On(operand=operand, symbol=symbol, interval=interval):
            where = literal_text(interval.value, interval.measure)
            where = f"{symbol} {where}" if symbol else where
            return f"{_bracketed(operand, _LEVEL_OR)} on {where}", _LEVEL_OR - 1


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the direct operands of an expression."""
    match expression:
        case Call(arguments=parts) | Chain(operands=parts) | Logic(operands=parts):
            return parts
        case Unary(operand=operand) | Not(operand=operand) | On(operand=operand):
            return (operand,)
        case Binary(left=left, right=right) | Crosses(left=left, right=right):
            return (left, right)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and everything below it."""
    yield expression
    for child in children(expression):
        yield from walk(child)
