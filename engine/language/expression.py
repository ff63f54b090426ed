"""The expression language: tokens, syntax tree, parser, canonical text.

A recursive descent parser, because its errors can say what was expected in words and its spans
are exact.  Offsets are code points of the expression's text; the caller maps them to the file.

    condition    rsi < 30 and not held or macd.line crosses above macd.signal
    chains       10:00 <= time < 15:00
    literals     10%   5m   30 bars   10:00   100 USD   80   -4
    functions    prev(rsi, 2)   highest(high, 20)   max(a, b)
    indicators   sma(50) on 1h   close on SPY 1d
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from engine.errors import Span
from engine.lowered import Comparison
from engine.units import Measure

MAXIMUM_LENGTH: Final = 10_000
"""Code points of one expression."""
MAXIMUM_NESTING: Final = 64

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
    text: str
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

_TOKENS = re.compile(
    r"""
      (?P<space>   \s+ )
    | (?P<clock>   \d{1,2}:\d{2} (?![\w:]) )
    | (?P<percent> (?:\d+\.?\d*|\.\d+) \s? % )
    | (?P<money>   (?:\d+\.?\d*|\.\d+) \s+ USD (?![\w-]) )
    | (?P<bars>    \d+ \s+ bars? (?!\w) )
    | (?P<duration>\d+ [smhdw] (?!\w) )
    | (?P<number>  (?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})? (?![\w.%]) )
    | (?P<ticker>  [0-9]*[A-Z][A-Z0-9]*(?:[-./][A-Z0-9]+)* (?![\w]) )
    | (?P<name>    [a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)* (?![\w]) )
    | (?P<text>    "[^"\n]*" | '[^'\n]*' )
    | (?P<compare> <= | >= | == | != | < | > )
    | (?P<symbol>  [-+*/(),] )
    """,
    re.VERBOSE,
)

_NOT_OURS: Final = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=": "write '==' to compare",
    "≤": "write '<='",
    "≥": "write '>='",
    "≠": "write '!='",
    "−": "write '-' (this is another character)",
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
        raise ExpressionError(
            f"an expression may have {MAXIMUM_LENGTH} characters, this one has {len(text)}",
            locate(0, 1),
            "split it with 'define:'",
            "too-large",
        )
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


def _not_a_token(text: str, at: int, locate: Locate) -> ExpressionError:
    for wrong, hint in _NOT_OURS.items():
        if text.startswith(wrong, at):
            return ExpressionError(
                f"'{wrong}' is not part of the language", locate(at, at + len(wrong)), hint
            )
    word = re.compile(r"[\w.%:]+").match(text, at)
    if word is None:
        if text[at] in "\"'":
            return ExpressionError("a text that is not closed", locate(at, len(text)), "close the quote")
        shown = text[at] if text[at].isprintable() else f"U+{ord(text[at]):04X}"
        return ExpressionError(f"unexpected character '{shown}'", locate(at, at + 1))
    span = locate(at, word.end())
    spelled = word.group()
    if spelled[0].isdigit():
        return ExpressionError(
            f"'{spelled}' is not a number of the language",
            span,
            "write 10%, 5m (s, m, h, d, w), 30 bars, 10:00, 100 USD or 80",
        )
    if spelled.lower() in KEYWORDS:
        return ExpressionError(
            f"'{spelled}' is written '{spelled.lower()}'", span, f"write '{spelled.lower()}'"
        )
    return ExpressionError(
        f"'{spelled}' is not a name", span, "names are lower case with _ and digits; symbols are upper case"
    )


# --- parser -----------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str, locate: Locate) -> None:
        self.tokens = list(tokens(text, locate))
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.at += 1
        return token

    def is_word(self, word: str) -> bool:
        return self.token.kind == "name" and self.token.text == word

    def is_symbol(self, symbol: str) -> bool:
        return self.token.kind == "symbol" and self.token.text == symbol

    def expected(self, what: str, hint: str = "") -> ExpressionError:
        token = self.token
        found = "the end" if token.kind == "end" else f"'{token.text}'"
        return ExpressionError(f"expected {what}, found {found}", token.span, hint)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAXIMUM_NESTING:
            raise ExpressionError(
                f"nested deeper than {MAXIMUM_NESTING} levels",
                self.token.span,
                "split it with 'define:'",
                "too-large",
            )

    def whole(self) -> Expression:
        if self.token.kind == "end":
            raise ExpressionError("an expression is missing here", self.token.span)
        result = self.indicator()
        if self.token.kind != "end":
            hint = ""
            if self.token.kind == "compare":
                hint = "a comparison may be chained, but 'crosses' may not"
            elif self.token.kind in ("name", "number", "percent", "symbol", "ticker", "duration", "clock"):
                hint = "is an operator ('and', 'or', '<', 'of', ...) missing?"
            raise self.expected("the end of the expression", hint)
        return result

    def indicator(self) -> Expression:
        operand = self.disjunction()
        if not self.is_word("on"):
            return operand
        self.take()
        symbol = self.take().text if self.token.kind == "ticker" else None
        if self.token.kind != "duration":
            raise self.expected("an interval after 'on'", "write 'on 1h' or 'on SPY 1d'")
        interval = self.literal(self.take())
        return On(operand, symbol, interval, Span(operand.span.start, interval.span.end))

    def disjunction(self) -> Expression:
        return self.logic("or", self.conjunction)

    def conjunction(self) -> Expression:
        return self.logic("and", self.negation)

    def logic(self, word: str, operand) -> Expression:  # type: ignore[no-untyped-def]  # a bound method of this class
        operands = [operand()]
        while self.is_word(word):
            self.take()
            operands.append(operand())
        if len(operands) == 1:
            return operands[0]  # type: ignore[no-any-return]  # an Expression by construction
        return Logic(word == "and", tuple(operands), Span(operands[0].span.start, operands[-1].span.end))

    def negation(self) -> Expression:
        if self.is_word("not"):
            start = self.take().span.start
            self.enter()
            operand = self.negation()
            self.depth -= 1
            return Not(operand, Span(start, operand.span.end))
        return self.comparison()

    def comparison(self) -> Expression:
        left = self.sum()
        if self.is_word("crosses"):
            self.take()
            if not (self.is_word("above") or self.is_word("below")):
                raise self.expected("'above' or 'below' after 'crosses'")
            above = self.take().text == "above"
            right = self.sum()
            return Crosses(left, above, right, Span(left.span.start, right.span.end))
        operands, comparisons = [left], []
        while self.token.kind == "compare":
            comparisons.append(Comparison(self.take().text))
            operands.append(self.sum())
        if not comparisons:
            return left
        return Chain(tuple(operands), tuple(comparisons), Span(left.span.start, operands[-1].span.end))

    def sum(self) -> Expression:
        left = self.product()
        depth = self.depth
        while self.is_symbol("+") or self.is_symbol("-"):
            self.enter()  # the tree leans left: a long sum is a deep tree
            operator = self.take().text
            right = self.product()
            left = Binary(operator, left, right, Span(left.span.start, right.span.end))
        self.depth = depth
        return left

    def product(self) -> Expression:
        left = self.unary()
        depth = self.depth
        while self.is_symbol("*") or self.is_symbol("/") or self.is_word("of"):
            self.enter()  # the tree leans left: a long sum is a deep tree
            operator = self.take().text
            right = self.unary()
            left = Binary(operator, left, right, Span(left.span.start, right.span.end))
        self.depth = depth
        return left

    def unary(self) -> Expression:
        if self.is_symbol("-"):
            start = self.take().span.start
            self.enter()
            operand = self.unary()
            self.depth -= 1
            return Unary(operand, Span(start, operand.span.end))
        return self.primary()

    def primary(self) -> Expression:
        token = self.token
        if token.kind == "symbol" and token.text == "(":
            self.take()
            self.enter()
            inner = self.disjunction()
            self.depth -= 1
            if not self.is_symbol(")"):
                raise self.expected("')'")
            self.take()
            return inner
        if token.kind == "name" and token.text not in KEYWORDS:
            self.take()
            return self.call(token) if self.is_symbol("(") else Name(token.text, token.span)
        if token.kind == "ticker":
            self.take()
            return Ticker(token.text, token.span)
        if token.kind == "text":
            self.take()
            return Text(token.text[1:-1], token.span)
        if token.kind in ("number", "percent", "duration", "bars", "clock", "money"):
            return self.literal(self.take())
        raise self.expected("a fact, a number or '('")

    def call(self, name: Token) -> Expression:
        self.take()
        self.enter()
        arguments: list[Expression] = []
        while not self.is_symbol(")"):
            if arguments:
                if not self.is_symbol(","):
                    raise self.expected("',' or ')'")
                self.take()
            arguments.append(self.disjunction())
        end = self.take().span.end
        self.depth -= 1
        return Call(name.text, tuple(arguments), Span(name.span.start, end), name.span)

    def literal(self, token: Token) -> Literal:
        text = token.text
        if token.kind == "percent":
            return Literal(Decimal(text.rstrip("% ")) / 100, Measure.RATIO, text, token.span)
        if token.kind == "money":
            return Literal(Decimal(text.split()[0]), Measure.MONEY, text, token.span)
        if token.kind == "bars":
            return Literal(Decimal(text.split()[0]), Measure.BARS, text, token.span)
        if token.kind == "duration":
            return Literal(Decimal(text[:-1]) * SECONDS_PER[text[-1]], Measure.DURATION, text, token.span)
        if token.kind == "clock":
            hours, minutes = (int(part) for part in text.split(":"))
            if hours > 24 or minutes > 59 or hours * 60 + minutes > 1440:
                raise ExpressionError(f"'{text}' is not a time of day", token.span, "write 00:00 to 24:00")
            return Literal(Decimal(hours * 3600 + minutes * 60), Measure.CLOCK, text, token.span)
        whole = text.partition(".")[0]
        if len(whole) > 1 and whole.startswith("0") and whole.isdigit():
            raise ExpressionError(
                f"'{text}' has a leading zero: readers differ about it",
                token.span,
                f"write {text.lstrip('0') or '0'}",
            )
        return Literal(Decimal(text), Measure.SCALAR, text, token.span)


def parse(text: str, locate: Locate = Span) -> Expression:
    """Parse an expression; ExpressionError with the place of the first mistake.

    ``locate`` maps offsets of ``text`` to the place in a file that spans shall name.
    """
    return _Parser(text, locate).whole()


# --- canonical text ---------------------------------------------------------------------------

_LEVEL_OR, _LEVEL_AND, _LEVEL_NOT, _LEVEL_COMPARE, _LEVEL_SUM, _LEVEL_PRODUCT, _LEVEL_UNARY = range(7)


def duration_text(seconds: int) -> str:
    """Return a duration as a literal of the language: 90 is "90s", 3600 "1h", 604800 "7d"."""
    for letter, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{letter}"
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
            return (
                f"{_bracketed(operand, _LEVEL_OR)} on {symbol + ' ' if symbol else ''}{literal_text(interval.value, interval.measure)}",
                _LEVEL_OR - 1,
            )


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
