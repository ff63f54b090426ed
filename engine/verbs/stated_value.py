"""One stated value: its text against the type, unit, step and range of its fact."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from engine.codes import UnknownReason
from engine.errors import Problem, Span
from engine.language.expression import (
    Expression,
    ExpressionError,
    Literal,
    Unary,
    duration_text,
    literal_text,
    parse,
)
from engine.language.source import ScalarNode
from engine.language.source import shown as quoted
from engine.units import ELAPSED_CAP_SECONDS, Measure, Unit, Words, unit_name
from engine.verbs.numbers import decimal_places, shown
from engine.verbs.statement import Given

NAN: Final = math.nan
NEVER: Final = float(ELAPSED_CAP_SECONDS)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fact's value may be."""

    unit: Unit
    steps_per_unit: int
    minimum: float = -1e12
    maximum: float = 1e12


class MistakeError(Exception):
    """One value that cannot be used."""

    def __init__(self, code: str, message: str, span: Span, hint: str = "") -> None:
        """Keep the problem."""
        super().__init__(message)
        self.problem = Problem(code, message, span, hint)


_UNKNOWN: Final = re.compile(r"unknown(?:\((\w+)\))?")
_EXAMPLES: Final = {
    Measure.RATIO: "57%",
    Measure.MONEY: "100 USD",
    Measure.PRICE: "0.16 USD",
    Measure.DURATION: "5m, or never",
    Measure.BARS: "30 bars, or never",
    Measure.CLOCK: "10:00",
    Measure.NUMBER: "51.30",
    Measure.COUNT: "3",
    Measure.QUANTITY: "0.025",
    Measure.SCALAR: "2",
}
_BARE: Final = (Measure.NUMBER, Measure.COUNT, Measure.QUANTITY, Measure.SCALAR)


@dataclass(frozen=True, slots=True)
class Assumption:
    """An assumed fact on its grid; ``bounds`` are (least, most), or all words it may be, or empty."""

    name: str
    unit: Unit
    steps_per_unit: int
    value: float
    because: str
    bounds: tuple[float, ...]


def assumption(given: Given, name: str, kind: Kind, value: float) -> Assumption:
    """Return an assumed value with the range over which it should not matter; MistakeError."""
    bounds = tuple(read_value(bound, name, kind)[0] for bound in given.bounds)
    span = given.bounds[0].span if given.bounds else given.name_span
    if isinstance(kind.unit, Measure) and kind.unit is not Measure.BOOLEAN and bounds:
        if len(bounds) != 2 or not bounds[0] <= value <= bounds[1]:
            raise MistakeError(
                "range", f"the range of {quoted(name)} is [least, most] around its value", span
            )
    elif bounds and value not in bounds:
        raise MistakeError("range", f"the range of {quoted(name)} does not contain its value", span)
    return Assumption(name, kind.unit, kind.steps_per_unit, value, given.because, bounds)


def read_value(node: ScalarNode, name: str, kind: Kind) -> tuple[float, UnknownReason]:
    """Return a value on its grid, NaN with its reason for ``unknown`` or ``unknown(stale)``; MistakeError."""
    text = node.text.strip()
    unknown = _UNKNOWN.fullmatch(text)
    if unknown is not None:
        word = (unknown[1] or "missing").upper()
        if word not in UnknownReason.__members__ or word == UnknownReason.KNOWN.name:
            raise MistakeError("unknown-word", f"{quoted(unknown[1])} is no reason to be unknown", node.span)
        return NAN, UnknownReason[word]
    if isinstance(kind.unit, Words):
        return _word(node, text, kind.unit.words, name), UnknownReason.KNOWN
    if kind.unit is Measure.BOOLEAN:
        return _word(node, text, ("false", "true"), name), UnknownReason.KNOWN
    if text == "never" and kind.unit in (Measure.DURATION, Measure.BARS):
        return NEVER, UnknownReason.KNOWN
    return _number(node, name, kind), UnknownReason.KNOWN


def _word(node: ScalarNode, text: str, words: tuple[str, ...], name: str) -> float:
    if text in words:
        return float(words.index(text))
    near = get_close_matches(text.lower(), words, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"it is one of: {', '.join(words)}"
    raise MistakeError("unknown-word", f"{quoted(text)} is no value of {quoted(name)}", node.span, hint)


def _number(node: ScalarNode, name: str, kind: Kind) -> float:
    unit = kind.unit
    assert isinstance(unit, Measure)
    try:
        expression: Expression = parse(node.text, node.source_span)
    except ExpressionError as error:
        raise MistakeError(
            error.code, error.message, error.span, error.hint or f"such as {_EXAMPLES[unit]}"
        ) from None
    negative = isinstance(expression, Unary)
    literal = expression.operand if isinstance(expression, Unary) else expression
    if not isinstance(literal, Literal):
        raise MistakeError(
            "type",
            f"{quoted(name)} is {_described(unit)}, not {quoted(node.text)}",
            node.span,
            f"such as {_EXAMPLES[unit]}",
        )
    value = -literal.value if negative else literal.value
    if not _fits(literal.measure, unit, value):
        raise MistakeError(
            "unit",
            f"{quoted(name)} is {_described(unit)}, {quoted(node.text)} is {_described(literal.measure)}",
            node.span,
            f"write {_rewritten(literal, unit, value)}",
        )
    low, high = Decimal(repr(kind.minimum)), Decimal(repr(kind.maximum))
    if not low <= value <= high:
        raise MistakeError(
            "range",
            f"{quoted(name)} lies between {shown(kind.minimum, unit)} and {shown(kind.maximum, unit)}",
            node.span,
        )
    if (value * kind.steps_per_unit) % 1:
        places = decimal_places(kind.steps_per_unit)
        step = literal_text(Decimal(1) / kind.steps_per_unit, unit)
        below = literal_text(value.quantize(Decimal(1).scaleb(-places)), unit)
        raise MistakeError(
            "off-step",
            f"{quoted(node.text)} is off the step of {quoted(name)}, which is {step}",
            node.span,
            f"write {below}",
        )
    return float(value)


def _fits(measure: Measure, unit: Measure, value: Decimal) -> bool:
    if measure is Measure.SCALAR:
        return unit in _BARE or value == 0
    return measure is unit or (measure is Measure.MONEY and unit is Measure.PRICE)


_DESCRIBED: Final = {
    Measure.SCALAR: "a plain number",
    Measure.MONEY: "money",
    Measure.BARS: "a number of bars",
    Measure.CLOCK: "a time of day",
    Measure.NUMBER: "a plain number",
    Measure.QUANTITY: "a plain number (a quantity)",
    Measure.COUNT: "a plain number (a count)",
}


def _described(measure: Measure) -> str:
    return _DESCRIBED.get(measure, f"a {unit_name(measure)}")


def _rewritten(literal: Literal, unit: Measure, value: Decimal) -> str:
    """Return how the number would be written in the unit that is wanted."""
    if literal.measure is Measure.SCALAR and unit is Measure.RATIO:
        return literal_text(value if abs(value) <= 1 else value / 100, unit)
    if literal.measure is Measure.SCALAR and unit in (Measure.MONEY, Measure.PRICE):
        return literal_text(value, unit)
    if literal.measure is Measure.SCALAR and unit is Measure.DURATION and value == int(value):
        return duration_text(int(value))
    return f"{_described(unit)}, such as {_EXAMPLES[unit]}"
