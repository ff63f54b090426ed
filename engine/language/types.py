"""The typed tree, and the checker that makes it from the syntax tree.

The typed tree is independent of symbols: parameters are still names.  ``engine.language.lower`` turns
it into the lowered form for each variant.

The algebra of units (language reference, "Units"): like +- like; a ratio times anything is that thing;
money / price is a quantity, price x quantity is money, like / like is a ratio; a bare number scales
anything and compares with indexes and counts; a bare 0 fits everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from engine.errors import Span
from engine.indicators.functions import FUNCTIONS, FunctionSpec, SeriesArgument
from engine.language.expression import (
    Binary,
    Call,
    Chain,
    Crosses,
    Expression,
    ExpressionError,
    Literal,
    Logic,
    Name,
    Not,
    On,
    Text,
    Ticker,
    Unary,
    decimal_text,
    duration_text,
    unparse,
)
from engine.lowered import Comparison, Operator, SlotOrigin
from engine.series import SELF
from engine.units import GRID_PER_UNIT, Measure, Unit, Words, unit_name
from engine.vocabulary import (
    BAR_COLUMNS,
    FACTS,
    FEED_FIELDS,
    IN_BARS,
    SIGNAL_FIELDS,
    SYMBOL,
    WORDS,
)

_M = Measure

# --- typed tree: numbers ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """An exact number."""

    value: Decimal
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, resolved for each variant."""

    name: str
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class FactRead:
    """A fact; ``series`` where it is computed from bars."""

    name: str
    unit: Unit
    steps_per_unit: int
    origin: SlotOrigin
    span: Span = field(compare=False)
    series: TypedSeries | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An operator on operands."""

    operator: Operator
    operands: tuple[Typed, ...]
    unit: Unit
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class StepTable:
    """A value by steps of another."""

    by: Typed
    thresholds: tuple[Typed, ...]
    values: tuple[Typed, ...]
    unit: Unit
    span: Span = field(compare=False)


Typed = Constant | Parameter | FactRead | Arithmetic | StepTable

# --- typed tree: series -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesColumn:
    """A column of bars of a symbol (``SELF`` is the one under decision) and interval."""

    symbol: str
    interval_seconds: int
    name: str


@dataclass(frozen=True, slots=True)
class SeriesNumber:
    """A number inside a series expression."""

    value: Constant | Parameter


@dataclass(frozen=True, slots=True)
class SeriesFunction:
    """An indicator function on series."""

    function: str
    inputs: tuple[TypedSeries, ...]
    lengths: tuple[Constant | Parameter, ...]
    output: str


@dataclass(frozen=True, slots=True)
class SeriesOperation:
    """Arithmetic bar by bar."""

    operator: Operator
    operands: tuple[TypedSeries, ...]


@dataclass(frozen=True, slots=True)
class SeriesLag:
    """So many bars ago."""

    operand: TypedSeries
    bars: Constant | Parameter


TypedSeries = SeriesColumn | SeriesNumber | SeriesFunction | SeriesOperation | SeriesLag

# --- typed tree: conditions -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """``left comparison right``; a boolean fact is compared with 1."""

    left: Typed
    comparison: Comparison
    right: Typed
    unit: Unit
    text: str = field(compare=False)
    span: Span = field(compare=False)
    crossing: bool = False  # true at one bar only: the second half of a cross


@dataclass(frozen=True, slots=True)
class Combined:
    """All (``every``) or any of some conditions."""

    every: bool
    operands: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """Not a condition."""

    operand: Condition


@dataclass(frozen=True, slots=True)
class Vetoed:
    """In promises: ``vetoed_by("gate", ...)``."""

    gates: tuple[str, ...]
    span: Span = field(compare=False)


Condition = Compared | Combined | Negated | Vetoed


@dataclass(frozen=True, slots=True)
class Indicator:
    """A declared indicator: its outputs ("" where there is one), each a series with unit and k."""

    outputs: Mapping[str, tuple[TypedSeries, Unit, int]]


# --- units ------------------------------------------------------------------------------------

ZERO: Final = Decimal(0)
_INDEX_LIKE: Final = (_M.NUMBER, _M.COUNT)


def is_zero(typed: Typed) -> bool:
    """Say whether this is a bare 0, which fits any unit."""
    return isinstance(typed, Constant) and typed.value == 0 and typed.unit is _M.SCALAR


def _literal_like(typed: Typed) -> bool:
    return isinstance(typed, Constant | Parameter)


def common_unit(left: Typed, right: Typed) -> Unit | None:
    """Return the unit in which two numbers can be compared or added, or None."""
    a, b = left.unit, right.unit
    if a == b:
        return a
    if is_zero(left):
        return b
    if is_zero(right):
        return a
    for x, y, literal in ((a, b, left), (b, a, right)):
        if x is _M.SCALAR and y in _INDEX_LIKE:
            return y
        if x is _M.MONEY and y is _M.PRICE and _literal_like(literal):
            return y  # 100 USD beside a price is a price
    return None


def product_unit(a: Unit, b: Unit) -> Unit | None:
    """Return the unit of a product, or None."""
    for x, y in ((a, b), (b, a)):
        if x in (_M.RATIO, _M.SCALAR):
            return y
    for x, y in ((a, b), (b, a)):
        if x in _INDEX_LIKE and isinstance(y, Measure) and y not in (_M.BOOLEAN, _M.CLOCK):
            return y
        if x is _M.PRICE and y is _M.QUANTITY:
            return _M.MONEY
    return None


def quotient_unit(a: Unit, b: Unit) -> Unit | None:
    """Return the unit of a quotient, or None."""
    if b is _M.SCALAR or (b is _M.RATIO and a is not _M.RATIO):
        return a
    if a == b and a not in (_M.BOOLEAN, _M.CLOCK) and isinstance(a, Measure):
        return _M.RATIO
    if a is _M.MONEY and b is _M.PRICE:
        return _M.QUANTITY
    if a is _M.MONEY and b is _M.QUANTITY:
        return _M.PRICE
    if b in _INDEX_LIKE and isinstance(a, Measure) and a not in (_M.BOOLEAN, _M.CLOCK, _M.SCALAR, _M.RATIO):
        return a
    return None


_WRITTEN: Final = {
    _M.RATIO: "10%",
    _M.DURATION: "5m",
    _M.BARS: "30 bars",
    _M.CLOCK: "10:00",
    _M.MONEY: "100 USD",
    _M.PRICE: "100 USD",
    _M.NUMBER: "80",
    _M.COUNT: "3",
    _M.SCALAR: "80",
}


def _unit_hint(left: Typed, right: Typed) -> str:
    for literal, other in ((right, left), (left, right)):
        if not isinstance(literal, Constant) or not isinstance(other.unit, Measure):
            continue
        if other.unit is _M.RATIO and literal.unit is _M.SCALAR:
            return f"write {decimal_text(literal.value * 100)}%"
        if other.unit in (_M.NUMBER, _M.COUNT) and literal.unit is _M.RATIO:
            return f"write {decimal_text(literal.value * 100)}"
        if other.unit in (_M.PRICE, _M.MONEY) and literal.unit is _M.SCALAR:
            return f"write {decimal_text(literal.value)} USD"
        if other.unit in _WRITTEN:
            return f"write a {unit_name(other.unit)}, such as {_WRITTEN[other.unit]}"
    return ""


# --- the checker ------------------------------------------------------------------------------


class TypeProblem(ExpressionError):
    """A mistake of meaning inside an expression."""

    def __init__(self, message: str, span: Span, hint: str = "", code: str = "type") -> None:
        """Keep what ``Problem`` needs."""
        super().__init__(message, span, hint, code)


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name beyond the vocabulary; functions resolve on demand."""

    parameters: Mapping[str, Unit]
    definition: Callable[[str, Span], Typed | Condition | None]
    indicator: Callable[[str, Span], Indicator | None]
    signals: frozenset[str]
    feeds: frozenset[str]
    known_names: frozenset[str]
    symbols: frozenset[str]
    calendars: frozenset[str]
    gates: frozenset[str]
    bars_seconds: int


_ARITHMETIC: Final = {
    "+": Operator.ADD,
    "-": Operator.SUBTRACT,
    "*": Operator.MULTIPLY,
    "of": Operator.MULTIPLY,
    "/": Operator.DIVIDE,
}
_ORDERED: Final = (Comparison.LESS, Comparison.LESS_OR_EQUAL, Comparison.GREATER, Comparison.GREATER_OR_EQUAL)
_PLAIN_FUNCTIONS: Final = {
    "abs": Operator.ABSOLUTE,
    "min": Operator.MINIMUM,
    "max": Operator.MAXIMUM,
    "log": Operator.LOGARITHM,
}
RESERVED: Final = frozenset({"at_entry", "rank"})
ACTION_WORDS: Final = Words("action", ("hold", "buy", "sell"))
_PROMISE_FACTS: Final[dict[str, Unit]] = {
    "action": ACTION_WORDS,
    "decision.action": ACTION_WORDS,
    "candidate.action": ACTION_WORDS,
    "intent.qty": _M.QUANTITY,
    "full_exit": _M.BOOLEAN,
}


class Checker:
    """Types expressions against the vocabulary and a policy's own names."""

    def __init__(self, names: Names, *, promise: bool = False) -> None:
        """``promise`` admits the words that only promises know."""
        self.names = names
        self.promise = promise
        self.used: set[str] = set()
        self._column_symbol = SELF
        self._column_interval = names.bars_seconds

    # --- conditions ---------------------------------------------------------------------------

    def condition(self, expression: Expression) -> Condition:
        """Type an expression as a condition."""
        match expression:
            case Logic(every=every, operands=operands):
                return Combined(every, tuple(self.condition(operand) for operand in operands))
            case Not(operand=operand):
                return Negated(self.condition(operand))
            case Chain(operands=operands, comparisons=comparisons):
                return self._chain(expression, operands, comparisons)
            case Crosses():
                return self._crosses(expression)
            case Call(function="vetoed_by") if self.promise:
                return self._vetoed_by(expression)
            case Name(name=name, span=span):
                inlined = self._definition(name, span)
                if isinstance(inlined, Compared | Combined | Negated):
                    return inlined
        typed = self.number(expression)
        if typed.unit is not _M.BOOLEAN:
            hint = f"compare it, as in {unparse(expression)} > ..." if isinstance(expression, Name) else ""
            raise TypeProblem(
                f"a condition is needed here, and '{unparse(expression)}' is a {unit_name(typed.unit)}",
                expression.span,
                hint,
            )
        one = Constant(Decimal(1), _M.BOOLEAN, expression.span)
        return Compared(typed, Comparison.EQUAL, one, _M.BOOLEAN, unparse(expression), expression.span)

    def _chain(
        self, whole: Expression, operands: tuple[Expression, ...], comparisons: tuple[Comparison, ...]
    ) -> Condition:
        parts = [
            self._comparison(left, comparison, right)
            for left, comparison, right in zip(operands, comparisons, operands[1:], strict=False)
        ]
        return parts[0] if len(parts) == 1 else Combined(True, tuple(parts))

    def _comparison(self, left: Expression, comparison: Comparison, right: Expression) -> Condition:
        span = Span(left.span.start, right.span.end)
        text = f"{unparse(left)} {comparison.value} {unparse(right)}"
        word_sides = (self._word_candidate(left), self._word_candidate(right))
        if any(word_sides):
            return self._word_comparison(left, comparison, right, text, span)
        a, b = self.number(left), self.number(right)
        a, b = self._in_bars(a, b), self._in_bars(b, a)
        unit = common_unit(a, b)
        if unit is None:
            raise TypeProblem(
                f"'{unparse(left)}' is a {unit_name(a.unit)} and '{unparse(right)}' a {unit_name(b.unit)}: "
                "they cannot be compared",
                span,
                _unit_hint(a, b),
                "unit",
            )
        if isinstance(unit, Words) or unit is _M.BOOLEAN:
            if comparison in _ORDERED:
                raise TypeProblem(
                    f"'{unparse(left)}' has no order: it is a {unit_name(unit)}", span, "use == or !="
                )
        return Compared(a, comparison, b, unit, text, span)

    def _word_candidate(self, expression: Expression) -> bool:
        """Say whether this can only be an enum word or a symbol, not a number."""
        if isinstance(expression, Ticker):
            return True
        if not isinstance(expression, Name) or "." in expression.name:
            return False
        name = expression.name
        if name in self.names.parameters or name in FACTS or name in self.names.known_names:
            return False
        if self.promise and name in _PROMISE_FACTS:
            return False
        return any(name in words.words for words in (*WORDS, ACTION_WORDS))

    def _word_comparison(
        self, left: Expression, comparison: Comparison, right: Expression, text: str, span: Span
    ) -> Condition:
        fact_side, word_side = (right, left) if self._word_candidate(left) else (left, right)
        if self._word_candidate(fact_side):
            raise TypeProblem("two words are compared: one side must be a fact", span)
        typed = self.number(fact_side)
        unit = typed.unit
        word = word_side.symbol if isinstance(word_side, Ticker) else getattr(word_side, "name", "")
        if not isinstance(unit, Words):
            raise TypeProblem(
                f"'{unparse(fact_side)}' is a {unit_name(unit)} and '{word}' is a word",
                word_side.span,
                _unit_hint(typed, typed) or "",
                "unit",
            )
        if comparison in _ORDERED:
            raise TypeProblem(
                f"'{unparse(fact_side)}' has no order: it is a {unit.name}", span, "use == or !="
            )
        legal = self._words_of(unit)
        if word not in legal:
            near = get_close_matches(word.lower(), [w.lower() for w in legal], 1)
            meant = next((w for w in legal if near and w.lower() == near[0]), None)
            raise TypeProblem(
                f"'{word}' is not a {unit.name}",
                word_side.span,
                f"did you mean '{meant}'?" if meant else f"it is one of: {', '.join(legal)}",
                "unknown-word",
            )
        constant = Constant(Decimal(legal.index(word)), unit, word_side.span)
        return Compared(typed, comparison, constant, unit, text, span)

    def _words_of(self, unit: Words) -> tuple[str, ...]:
        if unit.name == SYMBOL.name:
            return tuple(sorted(self.names.symbols))
        return tuple(sorted(self.names.calendars)) if unit.name == "calendar" else unit.words

    def _crosses(self, crosses: Crosses) -> Condition:
        """``a crosses above b`` is ``prev(a) <= prev(b) and a > b``."""
        now, before = (
            (Comparison.GREATER, Comparison.LESS_OR_EQUAL)
            if crosses.above
            else (Comparison.LESS, Comparison.GREATER_OR_EQUAL)
        )
        span, word = crosses.span, "above" if crosses.above else "below"
        a, b = self.number(crosses.left), self.number(crosses.right)
        unit = common_unit(a, b)
        if unit is None or not isinstance(unit, Measure):
            raise TypeProblem(
                f"'{unparse(crosses.left)}' is a {unit_name(a.unit)} and '{unparse(crosses.right)}' a "
                f"{unit_name(b.unit)}: one cannot cross the other",
                span,
                _unit_hint(a, b),
                "unit",
            )
        one = Constant(Decimal(1), _M.SCALAR, span)
        if _literal_like(a) and _literal_like(b):
            raise TypeProblem("neither side of 'crosses' moves", span)
        was_a, was_b = (self._previous(x, y, one) for x, y in ((a, crosses.left), (b, crosses.right)))
        if not (_literal_like(a) or _literal_like(b)):
            self._one_step((a, b), span)
        texts = (unparse(crosses.left), unparse(crosses.right))
        was_texts = tuple(t if _literal_like(x) else f"prev({t})" for t, x in zip(texts, (a, b), strict=True))
        return Combined(
            True,
            (
                Compared(was_a, before, was_b, unit, f"{was_texts[0]} {before.value} {was_texts[1]}", span),
                Compared(a, now, b, unit, f"{texts[0]} crosses {word} {texts[1]}", span, True),
            ),
        )

    def _vetoed_by(self, call: Call) -> Condition:
        gates = []
        for argument in call.arguments:
            if not isinstance(argument, Text):
                raise TypeProblem(
                    "gates are named as texts", argument.span, 'write vetoed_by("market-hours")'
                )
            if argument.value not in self.names.gates:
                near = get_close_matches(argument.value, self.names.gates, 1)
                raise TypeProblem(
                    f"there is no gate '{argument.value}'",
                    argument.span,
                    f"did you mean '{near[0]}'?" if near else f"gates: {', '.join(sorted(self.names.gates))}",
                    "unknown-name",
                )
            gates.append(argument.value)
        if not gates:
            raise TypeProblem("vetoed_by names at least one gate", call.span)
        return Vetoed(tuple(gates), call.span)

    # --- numbers ------------------------------------------------------------------------------

    def number(self, expression: Expression) -> Typed:
        """Type an expression as a value (a number, a word or a boolean fact)."""
        match expression:
            case Literal(value=value, measure=measure, span=span):
                return Constant(value, measure, span)
            case Name(name=name, span=span):
                return self._name(name, span)
            case Ticker(symbol=symbol, span=span):
                raise TypeProblem(
                    f"a symbol ('{symbol}') cannot stand here",
                    span,
                    "declare an indicator, such as 'close on SPY 1d'",
                )
            case Unary(operand=operand, span=span):
                typed = self.number(operand)
                self._arithmetic_operand(typed, operand)
                return self._folded(Operator.NEGATE, (typed,), typed.unit, span)
            case Binary():
                return self._binary(expression)
            case Call():
                return self._call(expression)
            case On(span=span):
                raise TypeProblem(
                    "'on' belongs to indicators: an interval is declared once",
                    span,
                    f"declare it under 'indicators:', as in  name: {unparse(expression)}",
                )
            case Text(span=span):
                raise TypeProblem("a text cannot stand here", span)
            case _:
                raise TypeProblem("a number is needed here, and this is a condition", expression.span)

    def _arithmetic_operand(self, typed: Typed, expression: Expression) -> None:
        if not isinstance(typed.unit, Measure) or typed.unit is _M.BOOLEAN:
            raise TypeProblem(
                f"'{unparse(expression)}' is a {unit_name(typed.unit)}: there is no arithmetic on it",
                expression.span,
            )

    def _binary(self, binary: Binary) -> Typed:
        a, b = self.number(binary.left), self.number(binary.right)
        self._arithmetic_operand(a, binary.left)
        self._arithmetic_operand(b, binary.right)
        operator = _ARITHMETIC[binary.operator]
        unit: Unit | None
        if operator in (Operator.ADD, Operator.SUBTRACT):
            unit = common_unit(a, b)
            if unit is _M.CLOCK:
                unit = _M.DURATION if operator is Operator.SUBTRACT else None
            elif (a.unit, b.unit) == (_M.CLOCK, _M.DURATION):
                unit = _M.CLOCK
        elif operator is Operator.MULTIPLY:
            unit = product_unit(a.unit, b.unit)
            if binary.operator == "of" and a.unit is not _M.RATIO:
                raise TypeProblem(
                    f"'of' takes a ratio before it, and '{unparse(binary.left)}' is a {unit_name(a.unit)}",
                    binary.left.span,
                    "write 10% of X, or X * Y",
                    "unit",
                )
        else:
            unit = quotient_unit(a.unit, b.unit)
            if isinstance(b, Constant) and b.value == 0:
                raise TypeProblem("a division by zero", binary.right.span)
        if unit is None:
            words = {
                "+": "added to",
                "-": "subtracted from",
                "*": "multiplied with",
                "/": "divided by",
                "of": "taken of",
            }
            raise TypeProblem(
                f"'{unparse(binary.left)}' ({unit_name(a.unit)}) and '{unparse(binary.right)}' ({unit_name(b.unit)}) "
                f"cannot be {words[binary.operator]} each other"
                if binary.operator in "+*"
                else f"'{unparse(binary.left)}' ({unit_name(a.unit)}) {binary.operator} '{unparse(binary.right)}' "
                f"({unit_name(b.unit)}) has no meaning",
                binary.span,
                _unit_hint(a, b),
                "unit",
            )
        return self._folded(operator, (a, b), unit, binary.span)

    def _folded(self, operator: Operator, operands: tuple[Typed, ...], unit: Unit, span: Span) -> Typed:
        """Fold literals, exactly, in decimals; parameters are folded when they are resolved."""
        folded = fold(operator, operands)
        if folded is not None:
            return Constant(folded, unit, span)
        return Arithmetic(operator, operands, unit, span)

    def _call(self, call: Call) -> Typed:
        name = call.function
        if name == "prev":
            return self._prev(call)
        if name in _PLAIN_FUNCTIONS:
            return self._plain_function(call)
        if name in RESERVED:
            raise TypeProblem(f"'{name}' is reserved for a later version", call.function_span)
        spec = FUNCTIONS.get(name)
        if spec is None:
            known = [*FUNCTIONS, *_PLAIN_FUNCTIONS, "prev"]
            near = get_close_matches(name, known, 1)
            raise TypeProblem(
                f"there is no function '{name}'",
                call.function_span,
                f"did you mean '{near[0]}'?" if near else f"functions: {', '.join(sorted(known))}",
                "unknown-name",
            )
        outputs = self._indicator_call(call, spec).outputs
        if len(outputs) > 1:
            raise TypeProblem(
                f"'{name}' has several outputs: {', '.join(outputs)}",
                call.span,
                f"declare it under 'indicators:' and name one, as in  {name}.{next(iter(outputs))}",
            )
        ((series, unit, k),) = outputs.values()
        return FactRead(unparse(call), unit, k, SlotOrigin.SERIES, call.span, series)

    def _plain_function(self, call: Call) -> Typed:
        operator = _PLAIN_FUNCTIONS[call.function]
        least = 2 if operator in (Operator.MINIMUM, Operator.MAXIMUM) else 1
        if len(call.arguments) < least or (least == 1 and len(call.arguments) > 1):
            wanted = "two or more arguments" if least == 2 else "one argument"
            raise TypeProblem(f"'{call.function}' takes {wanted}", call.span)
        operands = [self.number(argument) for argument in call.arguments]
        for operand, argument in zip(operands, call.arguments, strict=True):
            self._arithmetic_operand(operand, argument)
        unit: Unit | None = operands[0].unit
        if operator is Operator.LOGARITHM:
            if unit not in (_M.RATIO, _M.NUMBER, _M.SCALAR):
                raise TypeProblem(
                    f"the logarithm of a {unit_name(operands[0].unit)} has no meaning",
                    call.span,
                    "divide by a like value first",
                )
            unit = _M.NUMBER
        for operand, argument in zip(operands[1:], call.arguments[1:], strict=True):
            unit = common_unit(replace(operands[0], unit=unit) if unit else operands[0], operand)
            if unit is None:
                raise TypeProblem(
                    f"'{unparse(argument)}' is a {unit_name(operand.unit)}, and the argument before it a "
                    f"{unit_name(operands[0].unit)}",
                    argument.span,
                    _unit_hint(operands[0], operand),
                    "unit",
                )
        assert unit is not None
        return self._folded(operator, tuple(operands), unit, call.span)

    # --- names --------------------------------------------------------------------------------

    def _definition(self, name: str, span: Span) -> Typed | Condition | None:
        found = self.names.definition(name, span)
        if found is not None:
            self.used.add(name)
        return found

    def _name(self, name: str, span: Span) -> Typed:
        if self.promise and name in _PROMISE_FACTS:
            return FactRead(name, _PROMISE_FACTS[name], 0, SlotOrigin.VOCABULARY, span)
        if name in self.names.parameters:
            self.used.add(name)
            return Parameter(name, self.names.parameters[name], span)
        inlined = self._definition(name, span)
        if inlined is not None:
            if isinstance(inlined, Compared | Combined | Negated | Vetoed):
                raise TypeProblem(f"'{name}' is a condition, not a number", span)
            return replace(inlined, span=span)
        head, _, tail = name.partition(".")
        indicator = self.names.indicator(head, span)
        if indicator is not None:
            self.used.add(head)
            return self._indicator_output(name, head, tail, indicator, span)
        if head in self.names.signals:
            self.used.add(head)
            return self._signal_field(name, head, tail, span)
        if name in BAR_COLUMNS:
            fact = FACTS[name]
            if self._column_symbol != SELF or self._column_interval != self.names.bars_seconds:
                # inside "... on SPY 1d" a bare column is that symbol's, on that interval
                label = f"{name} on {self._column_symbol or 'self'} {self._column_interval}s"
            else:
                label = name
            series = SeriesColumn(self._column_symbol, self._column_interval, name)
            return FactRead(label, fact.unit, fact.steps_per_unit, SlotOrigin.SERIES, span, series)
        if name in FACTS:
            fact = FACTS[name]
            return FactRead(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY, span)
        raise self._unknown_name(name, span)

    def _unknown_name(self, name: str, span: Span) -> TypeProblem:
        if name in RESERVED:
            return TypeProblem(f"'{name}' is reserved for a later version", span)
        if name in FUNCTIONS or name in _PLAIN_FUNCTIONS or name == "prev":
            return TypeProblem(f"'{name}' is a function", span, f"write {name}(...)", "unknown-name")
        if any(name in words.words for words in (*WORDS, ACTION_WORDS)):
            return TypeProblem(
                f"the word '{name}' stands alone",
                span,
                f"compare it with a fact, as in  session == {name}"
                if name in ("regular", "closed", "pre", "post")
                else "compare it with a fact",
            )
        if name in ("true", "false"):
            return TypeProblem(f"'{name}' is not needed", span, "write the fact itself, or 'not' before it")
        known = [*FACTS, *self.names.parameters, *self.names.known_names]
        known += [f"{signal}.{field_name}" for signal in self.names.signals for field_name in SIGNAL_FIELDS]
        near = get_close_matches(name, known, 1, 0.6)
        return TypeProblem(
            f"there is no fact, parameter or definition '{name}'",
            span,
            f"did you mean '{near[0]}'?" if near else "'tradectl facts' lists the facts",
            "unknown-name",
        )

    def _indicator_output(self, name: str, head: str, tail: str, indicator: Indicator, span: Span) -> Typed:
        if tail not in indicator.outputs:
            outputs = ", ".join(f"{head}.{output}" for output in indicator.outputs if output)
            if not tail:
                raise TypeProblem(f"'{head}' has several outputs", span, f"write one of: {outputs}")
            raise TypeProblem(
                f"'{head}' has no output '{tail}'",
                span,
                f"write one of: {outputs}" if outputs else f"write {head}",
            )
        series, unit, k = indicator.outputs[tail]
        return FactRead(name, unit, k, SlotOrigin.SERIES, span, series)

    def _signal_field(self, name: str, head: str, tail: str, span: Span) -> Typed:
        if tail not in SIGNAL_FIELDS:
            fields = ", ".join(f"{head}.{field_name}" for field_name in SIGNAL_FIELDS)
            raise TypeProblem(
                f"'{head}' is a signal" if not tail else f"a signal has no '{tail}'",
                span,
                f"write one of: {fields}",
            )
        if head in self.names.feeds and tail not in FEED_FIELDS:
            raise TypeProblem(
                f"'{head}' comes from outside: it has no votes to count",
                span,
                f"write {head}.side or {head}.confidence",
            )
        unit, k, _ = SIGNAL_FIELDS[tail]
        origin = SlotOrigin.FEED if head in self.names.feeds else SlotOrigin.SIGNAL
        return FactRead(name, unit, k, origin, span)

    def _in_bars(self, fact: Typed, other: Typed) -> Typed:
        """``since_order < 30 bars`` reads the fact that counts in expected bars."""
        if other.unit is _M.BARS and isinstance(fact, FactRead) and fact.name in IN_BARS:
            counted = FACTS[IN_BARS[fact.name]]
            return replace(fact, name=counted.name, unit=counted.unit, steps_per_unit=counted.steps_per_unit)
        return fact

    # --- series -------------------------------------------------------------------------------

    def indicator(self, expression: Expression) -> Indicator:
        """Type the definition of an indicator."""
        if isinstance(expression, On):
            self._column_symbol = self._checked_symbol(expression)
            self._column_interval = int(expression.interval.value)
            try:
                inner = self.indicator(expression.operand)
            finally:
                self._column_symbol, self._column_interval = SELF, self.names.bars_seconds
            if isinstance(expression.operand, On):
                raise TypeProblem("'on' stands once", expression.span)
            self._all_on(inner, expression)
            return inner
        if isinstance(expression, Call) and expression.function in FUNCTIONS:
            return self._indicator_call(expression, FUNCTIONS[expression.function])
        typed = self.number(expression)
        series = self._as_series(typed, expression)
        self._one_step((typed,), expression.span)
        k = typed.steps_per_unit if isinstance(typed, FactRead) else _grid(typed.unit)
        return Indicator({"": (series, typed.unit, k)})

    def _checked_symbol(self, on: On) -> str:
        if on.symbol is None:
            return SELF
        if on.symbol not in self.names.symbols:
            near = get_close_matches(on.symbol, self.names.symbols, 1)
            raise TypeProblem(
                f"'{on.symbol}' is not in the universe",
                on.span,
                f"did you mean '{near[0]}'?" if near else f"list it under a class's 'watch: [{on.symbol}]'",
                "unknown-symbol",
            )
        return on.symbol

    def _all_on(self, indicator: Indicator, on: On) -> None:
        wanted = int(on.interval.value)
        for series, _, _ in indicator.outputs.values():
            intervals = {interval for interval in series_intervals(series)}
            if intervals - {wanted}:
                raise TypeProblem(
                    "the operands are declared on another interval", on.span, "drop 'on' here, or there"
                )

    def _indicator_call(self, call: Call, spec: FunctionSpec) -> Indicator:
        arguments = list(call.arguments)
        inputs: list[Typed] = []
        input_expressions: list[Expression] = []
        if spec.series is not SeriesArgument.NONE and arguments and not self._is_length(arguments[0]):
            input_expressions.append(arguments.pop(0))
            inputs.append(self.number(input_expressions[0]))
        elif spec.series is SeriesArgument.REQUIRED:
            raise TypeProblem(f"'{spec.name}' needs a series first", call.span, f"write {spec.signature}")
        lengths = self._lengths(call, spec, arguments)
        if inputs:
            series_inputs = tuple(
                self._as_series(typed, expression)
                for typed, expression in zip(inputs, input_expressions, strict=True)
            )
            self._one_step(tuple(inputs), call.span)
            input_unit = inputs[0].unit
        else:
            series_inputs = tuple(
                SeriesColumn(self._column_symbol, self._column_interval, column) for column in spec.columns
            )
            input_unit = FACTS[spec.columns[0]].unit
        if not isinstance(input_unit, Measure):
            raise TypeProblem(f"'{spec.name}' of words has no meaning", call.span)
        outputs: dict[str, tuple[TypedSeries, Unit, int]] = {}
        for output in spec.outputs:
            unit, k = spec.unit_of(output.name, input_unit)
            outputs[output.name] = (SeriesFunction(spec.name, series_inputs, lengths, output.name), unit, k)
        return Indicator(outputs)

    def _is_length(self, argument: Expression) -> bool:
        if isinstance(argument, Literal):
            return True
        return isinstance(argument, Name) and argument.name in self.names.parameters

    def _lengths(
        self, call: Call, spec: FunctionSpec, arguments: list[Expression]
    ) -> tuple[Constant | Parameter, ...]:
        if len(arguments) > len(spec.parameters):
            raise TypeProblem(
                f"'{spec.name}' takes {len(spec.parameters)} number(s), here are {len(arguments)}",
                arguments[len(spec.parameters)].span,
                f"write {spec.signature}",
            )
        lengths: list[Constant | Parameter] = []
        for index, length in enumerate(spec.parameters):
            if index >= len(arguments):
                if length.default is None:
                    raise TypeProblem(
                        f"'{spec.name}' needs its '{length.name}'", call.span, f"write {spec.signature}"
                    )
                lengths.append(Constant(Decimal(str(length.default)), _M.SCALAR, call.span))
                continue
            typed = self.number(arguments[index])
            if not isinstance(typed, Constant | Parameter) or typed.unit not in (_M.SCALAR, _M.BARS):
                raise TypeProblem(
                    f"'{length.name}' of '{spec.name}' is a plain number or a parameter",
                    arguments[index].span,
                    f"write {spec.signature}",
                )
            if isinstance(typed, Constant):
                check_length(typed.value, spec, index, arguments[index].span)
            lengths.append(typed)
        return tuple(lengths)

    def _prev(self, call: Call) -> Typed:
        if not 1 <= len(call.arguments) <= 2:
            raise TypeProblem(
                "'prev' takes a series, and perhaps how many bars back",
                call.span,
                "write prev(rsi) or prev(rsi, 2)",
            )
        typed = self.number(call.arguments[0])
        bars: Typed = Constant(Decimal(1), _M.SCALAR, call.span)
        if len(call.arguments) == 2:
            bars = self.number(call.arguments[1])
            span = call.arguments[1].span
            if not isinstance(bars, Constant | Parameter) or bars.unit not in (_M.SCALAR, _M.BARS):
                raise TypeProblem("how many bars back is a plain number or a parameter", span)
            if isinstance(bars, Constant) and (
                bars.value != bars.value.to_integral_value() or not 1 <= bars.value <= 10_000
            ):
                raise TypeProblem("'prev' goes back 1 to 10000 whole bars", span)
        if _literal_like(typed):
            raise TypeProblem("'prev' of a number that never changes", call.span)
        assert isinstance(bars, Constant | Parameter)
        return self._previous(typed, call.arguments[0], bars, unparse(call))

    def _previous(
        self, typed: Typed, expression: Expression, bars: Constant | Parameter, name: str = ""
    ) -> Typed:
        if isinstance(typed, Constant | Parameter):
            return typed
        series = self._as_series(typed, expression)
        self._one_step((typed,), expression.span)
        k = typed.steps_per_unit if isinstance(typed, FactRead) else _grid(typed.unit)
        label = name or f"prev({unparse(expression)})"
        return FactRead(label, typed.unit, k, SlotOrigin.SERIES, expression.span, SeriesLag(series, bars))

    def _as_series(self, typed: Typed, expression: Expression) -> TypedSeries:
        """Read a typed number as a series; a fact that is not from bars is an error."""
        match typed:
            case Constant() | Parameter():
                return SeriesNumber(typed)
            case FactRead(series=series) if series is not None:
                return series
            case FactRead(name=name):
                raise TypeProblem(
                    f"'{name}' is not made from bars, so it has no bar before this one",
                    expression.span,
                    "use close, high, low, volume or an indicator",
                    "not-a-series",
                )
            case Arithmetic(operator=operator, operands=operands):
                return SeriesOperation(
                    operator, tuple(self._as_series(operand, expression) for operand in operands)
                )
            case StepTable():
                raise TypeProblem(
                    "a step table is not a series of bars", expression.span, code="not-a-series"
                )
        raise AssertionError(typed)

    def _one_step(self, typed: tuple[Typed, ...], span: Span) -> None:
        """All operands of one series expression step in the same bars."""
        intervals: set[int] = set()
        for operand in typed:
            intervals |= _intervals_of(operand)
        if len(intervals) > 1:
            shown = " and ".join(duration_text(seconds) for seconds in sorted(intervals))
            raise TypeProblem(
                f"the operands step in different bars: {shown}",
                span,
                "declare them 'on' one interval",
                "mixed-intervals",
            )


def fold(operator: Operator, operands: tuple[Typed, ...]) -> Decimal | None:
    """Return the exact value of an operator on constants, or None."""
    values = []
    for operand in operands:
        if not isinstance(operand, Constant):
            return None
        values.append(operand.value)
    result = values[0]
    if operator is Operator.NEGATE:
        return -result
    if operator is Operator.ABSOLUTE:
        return abs(result)
    if operator is Operator.LOGARITHM:
        return result.ln() if result > 0 else None
    for value in values[1:]:
        match operator:
            case Operator.ADD:
                result = result + value
            case Operator.SUBTRACT:
                result = result - value
            case Operator.MULTIPLY:
                result = result * value
            case Operator.DIVIDE:
                if value == 0:
                    return None
                result = result / value
            case Operator.MINIMUM:
                result = min(result, value)
            case Operator.MAXIMUM:
                result = max(result, value)
    return result


def check_length(value: Decimal, spec: FunctionSpec, index: int, span: Span) -> None:
    """Raise where a length is outside what its function takes."""
    length = spec.parameters[index]
    whole = length.whole and value != value.to_integral_value()
    if whole or not length.minimum <= value <= length.maximum:
        kind = "a whole number " if length.whole else ""
        raise TypeProblem(
            f"'{length.name}' of '{spec.name}' is {kind}from {length.minimum:g} to {length.maximum:g}",
            span,
            f"write {spec.signature}",
        )


def _grid(unit: Unit) -> int:
    return GRID_PER_UNIT[unit] if isinstance(unit, Measure) else 0


def series_intervals(series: TypedSeries) -> set[int]:
    """Return the intervals, seconds, of all columns below a series."""
    match series:
        case SeriesColumn(interval_seconds=seconds):
            return {seconds}
        case SeriesNumber():
            return set()
        case SeriesFunction(inputs=children) | SeriesOperation(operands=children):
            return set().union(*(series_intervals(child) for child in children))
        case SeriesLag(operand=operand):
            return series_intervals(operand)


def _intervals_of(typed: Typed) -> set[int]:
    match typed:
        case FactRead(series=series) if series is not None:
            return series_intervals(series)
        case Arithmetic(operands=operands):
            return set().union(*(_intervals_of(operand) for operand in operands))
        case _:
            return set()


def facts_of(typed: Typed) -> tuple[FactRead, ...]:
    """Return every fact a number reads, in order."""
    match typed:
        case FactRead():
            return (typed,)
        case Arithmetic(operands=operands):
            return tuple(fact for operand in operands for fact in facts_of(operand))
        case StepTable(by=by, values=values):
            return (*facts_of(by), *(fact for value in values for fact in facts_of(value)))
        case _:
            return ()


def comparisons_of(condition: Condition) -> tuple[Compared, ...]:
    """Return every comparison below a condition, in order."""
    match condition:
        case Compared():
            return (condition,)
        case Combined(operands=operands):
            return tuple(found for operand in operands for found in comparisons_of(operand))
        case Negated(operand=operand):
            return comparisons_of(operand)
        case _:
            return ()


def implied(condition: Condition) -> frozenset[tuple[str, Comparison, Decimal]]:
    """Return comparisons of facts with constants that hold wherever the condition is true."""
    match condition:
        case Compared(left=FactRead(name=name), comparison=comparison, right=Constant(value=value)):
            return frozenset(((name, comparison, value),))
        case Combined(every=True, operands=operands):
            return frozenset().union(*(implied(operand) for operand in operands))
        case Combined(every=False, operands=operands):
            return frozenset.intersection(*(implied(operand) for operand in operands))
        case Negated(
            operand=Compared(left=FactRead(name=name, unit=Measure.BOOLEAN), right=Constant(value=value))
        ):
            return frozenset(((name, Comparison.EQUAL, 1 - value),))
        case _:
            return frozenset()
