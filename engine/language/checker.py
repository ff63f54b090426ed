"""The checker: from the syntax tree of an expression to its typed tree.

It knows the vocabulary, asks for the policy's own names, and says what is wrong in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice, pairwise
from typing import Final, Protocol

from engine.codes import Action
from engine.errors import Span
from engine.indicators.functions import FUNCTIONS, FunctionSpec, SeriesArgument
from engine.language.expression import (
    MAXIMUM_HEIGHT,
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
from engine.language.reading import SkipError
from engine.language.source import shown
from engine.language.types import (
    EXAMPLES,
    INDEX_LIKE,
    Arithmetic,
    Combined,
    Compared,
    Condition,
    Constant,
    Definition,
    FactRead,
    Indicator,
    Negated,
    Parameter,
    SeriesColumn,
    SeriesFunction,
    SeriesLag,
    SeriesNumber,
    SeriesOperation,
    StepTable,
    Typed,
    TypedSeries,
    Vetoed,
    Weight,
    binary_unit,
    columns_of,
    common_unit,
    example,
    facts_of,
    in_bars,
    is_constant,
    unit_words,
)
from engine.lowered import Comparison, Operator, SlotOrigin
from engine.series import SELF
from engine.units import GRID_PER_UNIT, Measure, Unit, Words
from engine.vocabulary import BAR_COLUMNS, FACTS, FEED_FIELDS, SIGNAL_FIELDS, WORDS

_M = Measure

MAXIMUM_SIZE: Final = 10_000
"""Numbers, facts and operators of one expression with its definitions and indicators put in."""
LONGEST_INTERVAL_SECONDS: Final = 86_400
"""Bars are at most a day long."""

# --- names ------------------------------------------------------------------------------------

Named = Parameter | Definition | Indicator | SlotOrigin
"""What a policy's own name stands for; a signal is SIGNAL or FEED."""


class Names(Protocol):
    """What an expression may name beyond the vocabulary."""

    @property
    def bars_seconds(self) -> int:
        """The policy's interval; 0 where it could not be read."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the universe, sorted."""

    @property
    def calendars(self) -> tuple[str, ...]:
        """The calendars of the universe, sorted."""

    @property
    def gates(self) -> frozenset[str]:
        """The names of all gates, built-in ones too."""

    def find(self, name: str, span: Span) -> Named | None:
        """Return what a name stands for, None where the policy does not declare it."""

    def declared(self) -> Iterable[str]:
        """Return the policy's own names, to guess what a misspelt one meant."""

    def check_symbol(self, symbol: str, span: Span) -> None:
        """Raise where a symbol is not in the universe."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" where a known name is near, else ""; bounded in what it compares."""
    by_lower_case = {name.lower(): name for name in islice(known, 1000)}
    near = get_close_matches(word[:64].lower(), by_lower_case, 1)
    return f"did you mean '{by_lower_case[near[0]]}'?" if near else ""


def _rewritten(left: Typed, right: Typed) -> str:
    """Return how a literal would be written in the unit of the other side."""
    for literal, other in ((right, left), (left, right)):
        if other.unit is _M.BOOLEAN:
            return "write the fact itself, or 'not' before it"
        if not isinstance(literal, Constant) or isinstance(other.unit, Words):
            continue
        if other.unit is _M.RATIO and literal.unit is _M.SCALAR:
            percent = literal.value * 100 if abs(literal.value) <= 1 else literal.value
            return f"write {decimal_text(percent)}%"
        if other.unit in INDEX_LIKE and literal.unit is _M.RATIO:
            return f"write {decimal_text(literal.value * 100)}"
        if other.unit in (_M.PRICE, _M.MONEY) and literal.unit is _M.SCALAR:
            return f"write {decimal_text(literal.value)} USD"
        if other.unit in EXAMPLES:
            return f"write {unit_words(other.unit)}, {example(other.unit)}"
    return ""


# --- the checker ------------------------------------------------------------------------------


class TypeProblem(ExpressionError):
    """A mistake of meaning inside an expression."""

    def __init__(self, message: str, span: Span, hint: str = "", code: str = "type") -> None:
        """Keep what ``Problem`` needs."""
        super().__init__(message, span, hint, code)


_OPERATORS: Final = {
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
_FUNCTION_NAMES: Final = (*FUNCTIONS, *_PLAIN_FUNCTIONS, "prev")
RESERVED: Final = frozenset({"at_entry", "rank"})
"""Names kept for a later version of the language."""
ACTION_WORDS: Final = Words("action", ("hold", "buy", "sell"))
PROMISE_FACTS: Final[dict[str, Unit]] = {
    "action": ACTION_WORDS,
    "decision.action": ACTION_WORDS,
    "candidate.action": ACTION_WORDS,
    "intent.qty": _M.QUANTITY,
    "full_exit": _M.BOOLEAN,
    "exposure.symbol": _M.MONEY,
    "exposure.class": _M.MONEY,
    "exposure.portfolio": _M.MONEY,
}
"""What only promises speak of."""
VETO_FUNCTIONS: Final[dict[str, Action | None]] = {
    "vetoed_by": None,
    "exit_vetoed_by": Action.SELL,
    "entry_vetoed_by": Action.BUY,
}
"""The functions that only promises know, and whose candidates they speak of."""
ENUM_WORDS: Final = frozenset(word for words in (*WORDS, ACTION_WORDS) for word in words.words)
"""Every word that some fact may take."""


class Checker:
    """Types one expression against the vocabulary and a policy's own names.

    The mistake that ends it is raised.  Mistakes in several operands of ``and`` and ``or`` are kept in
    ``problems``, and SkipError is raised.  ``clock_literal`` is the place of the first time of day.
    """

    def __init__(self, names: Names, *, promise: bool = False) -> None:
        """``promise`` admits the words that only promises know."""
        self._names = names
        self._promise = promise
        self._column = (SELF, names.bars_seconds)
        self._size = self._height = self._depth = 0
        self.problems: list[TypeProblem] = []
        self.clock_literal: Span | None = None

    @property
    def weight(self) -> Weight:
        """What has been typed so far adds where it is named."""
        return Weight(self._size, self._height)

    def _grow(self, weight: Weight, span: Span) -> None:
        """Refuse trees that would take too long to walk, or too much stack: definitions multiply."""
        self._size += weight.size
        self._height = max(self._height, self._depth + weight.height)
        if self._size > MAXIMUM_SIZE or self._height > MAXIMUM_HEIGHT:
            raise TypeProblem(
                "with its definitions put in, this is too large",
                span,
                f"at most {MAXIMUM_SIZE:,} facts, numbers and operators, {MAXIMUM_HEIGHT} inside each other",
                "too-large",
            )

    # --- conditions ---------------------------------------------------------------------------

    def condition(self, expression: Expression) -> Condition:
        """Type an expression as a condition."""
        self._grow(Weight(), expression.span)
        self._depth += 1
        result = self._condition(expression)
        self._depth -= 1
        return result

    def _condition(self, expression: Expression) -> Condition:
        match expression:
            case Logic(every=every, operands=operands):
                return Combined(every, self._each(operands))
            case Not(operand=operand):
                return Negated(self.condition(operand))
            case Chain(operands=operands, comparisons=comparisons):
                parts = tuple(
                    self._comparison(left, comparison, right)
                    for (left, right), comparison in zip(pairwise(operands), comparisons, strict=True)
                )
                return parts[0] if len(parts) == 1 else Combined(True, parts)
            case Crosses():
                return self._crosses(expression)
            case Call(function=function) if self._promise and function in VETO_FUNCTIONS:
                return self._vetoed_by(expression)
            case Name(name=name, span=span):
                found = self._names.find(name, span)
                if isinstance(found, Definition) and isinstance(
                    found.value, Compared | Combined | Negated | Vetoed
                ):
                    self._grow(found.weight, span)
                    return found.value
        typed = self._number(expression)
        if typed.unit is not _M.BOOLEAN:
            hint = f"compare it, as in  {unparse(expression)} > ..." if isinstance(expression, Name) else ""
            raise TypeProblem(
                f"a condition is needed here, and {shown(unparse(expression))} is {unit_words(typed.unit)}",
                expression.span,
                hint,
            )
        one = Constant(Decimal(1), _M.BOOLEAN, expression.span)
        return Compared(typed, Comparison.EQUAL, one, _M.BOOLEAN, unparse(expression), expression.span)

    def _each(self, operands: tuple[Expression, ...]) -> tuple[Condition, ...]:
        """Type every operand, also behind one with a mistake: one run tells all."""
        depth, typed = self._depth, []
        for operand in operands:
            try:
                typed.append(self.condition(operand))
            except TypeProblem as problem:
                self.problems.append(problem)
            except SkipError:
                pass
            self._depth = depth
        if len(typed) < len(operands):
            raise SkipError
        return tuple(typed)

    def _comparison(self, left: Expression, comparison: Comparison, right: Expression) -> Compared:
        left_word, right_word = self._is_word(left), self._is_word(right)
        span = Span(left.span.start, right.span.end)
        text = f"{unparse(left)} {comparison.value} {unparse(right)}"
        if left_word != right_word:
            fact, word = (right, left) if left_word else (left, right)
            return self._word_comparison(fact, comparison, word, text, span)
        a, b = self.number(left), self.number(right)
        a, b = in_bars(a, b), in_bars(b, a)
        unit = common_unit(a, b)
        if unit is None:
            raise TypeProblem(
                f"{shown(unparse(left))} is {unit_words(a.unit)} and {shown(unparse(right))} "
                f"{unit_words(b.unit)}: they cannot be compared",
                span,
                _rewritten(a, b),
                "unit",
            )
        if isinstance(unit, Words) or unit is _M.BOOLEAN:
            self._refuse_order(left, unit, comparison, span)
        return Compared(a, comparison, b, unit, text, span)

    def _refuse_order(self, fact: Expression, unit: Unit, comparison: Comparison, span: Span) -> None:
        if comparison in _ORDERED:
            message = f"{shown(unparse(fact))} is {unit_words(unit)}, which has no order"
            raise TypeProblem(message, span, "use == or !=")

    def _is_word(self, expression: Expression) -> bool:
        """Say whether this can only be an enum word or a symbol: it names nothing."""
        match expression:
            case Ticker() | Text():
                return True
            case Name(name=name, span=span) if "." not in name and name not in FACTS:
                if self._promise and name in PROMISE_FACTS:
                    return False
                return self._names.find(name, span) is None
        return False

    def _word_comparison(
        self, fact: Expression, comparison: Comparison, word: Expression, text: str, span: Span
    ) -> Compared:
        typed = self.number(fact)
        unit = typed.unit
        if not isinstance(unit, Words):
            if isinstance(word, Name) and word.name not in ENUM_WORDS:
                raise self._unknown_name(word.name, word.span)
            raise TypeProblem(
                f"{shown(unparse(fact))} is {unit_words(unit)} and {shown(unparse(word))} is a word",
                word.span,
                _rewritten(typed, typed),
                "unit",
            )
        self._refuse_order(fact, unit, comparison, span)
        match word:
            case Ticker(symbol=spelled) | Name(name=spelled) | Text(value=spelled):
                pass
            case _:
                raise AssertionError(word)
        if unit.name == "symbol":
            self._names.check_symbol(spelled, word.span)
        if spelled not in unit.words:
            raise TypeProblem(
                f"{shown(spelled)} is not {unit_words(unit)}",
                word.span,
                suggestion(spelled, unit.words) or f"it is one of: {', '.join(unit.words[:12])}",
                "unknown-word",
            )
        if isinstance(word, Text) and unit.name != "calendar":
            raise TypeProblem("words are written without quotes", word.span, f"write {spelled}")
        constant = Constant(Decimal(unit.words.index(spelled)), unit, word.span)
        return Compared(typed, comparison, constant, unit, text, span)

    def _crosses(self, crosses: Crosses) -> Condition:
        """``a crosses above b`` is ``prev(a) <= prev(b) and a > b``."""
        before, now = Comparison.LESS_OR_EQUAL, Comparison.GREATER
        if not crosses.above:
            before, now = Comparison.GREATER_OR_EQUAL, Comparison.LESS
        span = crosses.span
        a, b = self.number(crosses.left), self.number(crosses.right)
        text_a, text_b = unparse(crosses.left), unparse(crosses.right)
        unit = common_unit(a, b)
        if unit is None or isinstance(unit, Words) or unit is _M.BOOLEAN:
            raise TypeProblem(
                f"{shown(text_a)} is {unit_words(a.unit)} and {shown(text_b)} {unit_words(b.unit)}: "
                "one cannot cross the other",
                span,
                _rewritten(a, b),
                "unit",
            )
        if is_constant(a) and is_constant(b):
            raise TypeProblem(
                "neither side of 'crosses' moves", span, "a cross is between two series of bars"
            )
        was_a, was_b = self._bar_before(a, crosses.left), self._bar_before(b, crosses.right)
        self._one_step((a, b), span)
        was_text = f"{_before(a, text_a)} {before.value} {_before(b, text_b)}"
        return Combined(
            True,
            (
                Compared(was_a, before, was_b, unit, was_text, span),
                Compared(a, now, b, unit, f"{text_a} {now.value} {text_b}", span, True),
            ),
        )

    def _bar_before(self, typed: Typed, expression: Expression) -> Typed:
        if is_constant(typed):
            return typed
        one = Constant(Decimal(1), _M.SCALAR, expression.span)
        return self._lagged(typed, expression, one, f"prev({unparse(expression)})")

    def _vetoed_by(self, call: Call) -> Condition:
        gates = []
        example_call = f'write {call.function}("market-hours")'
        for argument in call.arguments:
            if not isinstance(argument, Text):
                raise TypeProblem("gates are named as texts", argument.span, example_call)
            if argument.value not in self._names.gates:
                known = sorted(self._names.gates)
                hint = suggestion(argument.value, known) or f"gates: {', '.join(known[:20])}"
                message = f"there is no gate {shown(argument.value)}"
                raise TypeProblem(message, argument.span, hint, "unknown-name")
            gates.append(argument.value)
        if not gates:
            raise TypeProblem(f"{call.function} names at least one gate", call.span, example_call)
        return Vetoed(tuple(gates), call.span, VETO_FUNCTIONS[call.function])

    def either(self, expression: Expression) -> Typed | Condition:
        """Type an expression that may be a condition or a value: a definition."""
        if isinstance(expression, Name):
            found = self._names.find(expression.name, expression.span)
            if isinstance(found, Definition) and isinstance(
                found.value, Compared | Combined | Negated | Vetoed
            ):
                return self.condition(expression)
        if isinstance(expression, Logic | Not | Chain | Crosses):
            return self.condition(expression)
        return self.number(expression)

    # --- numbers ------------------------------------------------------------------------------

    def number(self, expression: Expression) -> Typed:
        """Type an expression as a value (a number, a word or a boolean fact)."""
        self._grow(Weight(), expression.span)
        self._depth += 1
        result = self._number(expression)
        self._depth -= 1
        return result

    def _number(self, expression: Expression) -> Typed:
        match expression:
            case Literal(value=value, measure=measure, span=span):
                if measure is _M.CLOCK:
                    self.clock_literal = self.clock_literal or span
                return Constant(value, measure, span)
            case Name(name=name, span=span):
                return self._name(name, span)
            case Unary(operand=operand, span=span):
                typed = self.number(operand)
                self._refuse_arithmetic_on_words(typed, operand)
                if typed.unit is _M.CLOCK:
                    raise TypeProblem("a time of day cannot be negative", span, code="unit")
                if isinstance(typed, Constant):
                    return replace(typed, value=-typed.value, span=span)
                return Arithmetic(Operator.NEGATE, (typed,), typed.unit, span)
            case Binary():
                return self._binary(expression)
            case Call():
                return self._call(expression)
            case Ticker(symbol=symbol, span=span):
                hint = f"declare an indicator, such as  close on {symbol} 1d"
                raise TypeProblem(f"a symbol ('{symbol}') cannot stand here", span, hint)
            case On(span=span):
                raise TypeProblem(
                    "'on' belongs to indicators: an interval is declared once",
                    span,
                    f"declare it under 'indicators:', as in  name: {unparse(expression)}",
                )
            case Text(span=span):
                raise TypeProblem("a text cannot stand here", span)
            case _:
                hint = "conditions are joined by 'and' and 'or'"
                raise TypeProblem("a number is needed here, and this is a condition", expression.span, hint)

    def _refuse_arithmetic_on_words(self, typed: Typed, expression: Expression) -> None:
        if isinstance(typed.unit, Words) or typed.unit is _M.BOOLEAN:
            message = (
                f"{shown(unparse(expression))} is {unit_words(typed.unit)}: there is no arithmetic on it"
            )
            raise TypeProblem(message, expression.span)

    def _binary(self, binary: Binary) -> Typed:
        a, b = self.number(binary.left), self.number(binary.right)
        self._refuse_arithmetic_on_words(a, binary.left)
        self._refuse_arithmetic_on_words(b, binary.right)
        left, right = shown(unparse(binary.left)), shown(unparse(binary.right))
        if binary.operator == "of" and a.unit is not _M.RATIO:
            message = f"'of' takes a ratio before it, and {left} is {unit_words(a.unit)}"
            raise TypeProblem(message, binary.left.span, "write 10% of X, or X * Y", "unit")
        unit = binary_unit(binary.operator, a, b)
        if unit is None:
            raise TypeProblem(
                f"{left} is {unit_words(a.unit)} and {right} {unit_words(b.unit)}: "
                f"there is no '{binary.operator}' between them",
                binary.span,
                _rewritten(a, b) if binary.operator in "+-" else "",
                "unit",
            )
        return Arithmetic(_OPERATORS[binary.operator], (a, b), unit, binary.span)

    def _call(self, call: Call) -> Typed:
        name = call.function
        if name == "prev":
            return self._prev(call)
        if name in _PLAIN_FUNCTIONS:
            return self._plain_function(call)
        if name in RESERVED:
            raise TypeProblem(
                f"'{name}' is reserved for a later version", call.function_span, code="reserved"
            )
        if name in VETO_FUNCTIONS and not self._promise:
            hint = "a rule sees no other rule's fate: write the gate's condition itself"
            message = f"only promises speak of '{name}'"
            raise TypeProblem(message, call.function_span, hint, "unknown-name")
        spec = FUNCTIONS.get(name)
        if spec is None:
            hint = suggestion(name, _FUNCTION_NAMES) or f"functions: {', '.join(sorted(_FUNCTION_NAMES))}"
            raise TypeProblem(f"there is no function {shown(name)}", call.function_span, hint, "unknown-name")
        outputs = self._function_outputs(call, spec)
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
        several = operator in (Operator.MINIMUM, Operator.MAXIMUM)
        if (len(call.arguments) < 2) if several else (len(call.arguments) != 1):
            wanted = "two or more arguments" if several else "one argument"
            hint = f"write {call.function}({'price, ask' if several else 'x'})"
            raise TypeProblem(f"'{call.function}' takes {wanted}", call.span, hint)
        operands = tuple(self.number(argument) for argument in call.arguments)
        for operand, argument in zip(operands, call.arguments, strict=True):
            self._refuse_arithmetic_on_words(operand, argument)
        first = operands[0]
        if operator is Operator.LOGARITHM:
            if first.unit not in (_M.RATIO, _M.NUMBER, _M.SCALAR):
                message = f"the logarithm of {unit_words(first.unit)} has no meaning"
                raise TypeProblem(message, call.span, "divide by a like value first", "unit")
            return Arithmetic(operator, operands, _M.NUMBER, call.span)
        unit = first.unit
        for operand, argument in zip(operands[1:], call.arguments[1:], strict=True):
            common = common_unit(replace(first, unit=unit), operand)
            if common is None:
                raise TypeProblem(
                    f"{shown(unparse(argument))} is {unit_words(operand.unit)}, "
                    f"and the argument before it {unit_words(unit)}",
                    argument.span,
                    _rewritten(first, operand),
                    "unit",
                )
            unit = common
        return Arithmetic(operator, operands, unit, call.span)

    # --- names --------------------------------------------------------------------------------

    def _name(self, name: str, span: Span) -> Typed:
        if self._promise and name in PROMISE_FACTS:
            unit = PROMISE_FACTS[name]
            k = GRID_PER_UNIT[unit] if isinstance(unit, Measure) and unit is not _M.BOOLEAN else 0
            return FactRead(name, unit, k, SlotOrigin.OUTCOME, span)
        head, dot, tail = name.partition(".")
        match self._names.find(head, span):
            case Indicator() as indicator:
                self._grow(indicator.weight, span)
                return self._indicator_output(name, head, tail, indicator, span)
            case SlotOrigin() as origin:
                return self._signal_field(name, head, tail, origin, span)
            case Parameter() as parameter if not dot:
                return replace(parameter, span=span)
            case Definition(value=value, weight=weight) if not dot:
                if isinstance(value, Condition):
                    raise TypeProblem(f"'{name}' is a condition, not a number", span)
                self._grow(weight, span)
                return replace(value, span=span)
        if name in BAR_COLUMNS:
            fact = FACTS[name]
            series = SeriesColumn(*self._column, name)
            return FactRead(name, fact.unit, fact.steps_per_unit, SlotOrigin.SERIES, span, series)
        if name in FACTS:
            fact = FACTS[name]
            own_words = {"symbol": self._names.symbols, "calendar": self._names.calendars}
            unit = Words(name, own_words[name]) if name in own_words else fact.unit
            return FactRead(name, unit, fact.steps_per_unit, SlotOrigin.VOCABULARY, span)
        raise self._unknown_name(name, span)

    def _unknown_name(self, name: str, span: Span) -> TypeProblem:
        if name in RESERVED:
            return TypeProblem(f"'{name}' is reserved for a later version", span, code="reserved")
        if name in _FUNCTION_NAMES:
            return TypeProblem(f"'{name}' is a function", span, f"write {name}(...)", "unknown-name")
        if name in PROMISE_FACTS:
            hint = "read facts of the position, such as held"
            return TypeProblem(f"only promises speak of '{name}'", span, hint, "unknown-name")
        if name in ENUM_WORDS:
            hint = "compare it with a fact, as in  session == regular"
            return TypeProblem(f"the word '{name}' stands alone", span, hint, "unknown-name")
        if name in ("true", "false"):
            return TypeProblem(f"'{name}' is not needed", span, "write the fact itself, or 'not' before it")
        return TypeProblem(
            f"there is no fact, parameter or definition {shown(name)}",
            span,
            suggestion(name, (*self._names.declared(), *FACTS)) or "'tradectl facts' lists the facts",
            "unknown-name",
        )

    def _indicator_output(self, name: str, head: str, tail: str, indicator: Indicator, span: Span) -> Typed:
        if tail not in indicator.outputs:
            outputs = ", ".join(f"{head}.{output}" for output in indicator.outputs if output)
            message = f"'{head}' has no output {shown(tail)}" if tail else f"'{head}' has several outputs"
            hint = f"write one of: {outputs}" if outputs else f"write {head}"
            raise TypeProblem(message, span, hint, "unknown-name")
        series, unit, k = indicator.outputs[tail]
        return FactRead(name, unit, k, SlotOrigin.SERIES, span, series)

    def _signal_field(self, name: str, head: str, tail: str, origin: SlotOrigin, span: Span) -> Typed:
        feed = origin is SlotOrigin.FEED
        fields = [field for field in SIGNAL_FIELDS if not feed or field in FEED_FIELDS]
        if tail not in fields:
            message = f"'{head}' is a signal: it is no number itself"
            if feed and tail in SIGNAL_FIELDS:
                message = f"'{head}' comes from outside: it has no votes to count"
            elif tail:
                message = f"a signal has no {shown(tail)}"
            hint = "write one of: " + ", ".join(f"{head}.{field}" for field in fields)
            raise TypeProblem(message, span, hint, "unknown-name")
        unit, k, _ = SIGNAL_FIELDS[tail]
        return FactRead(name, unit, k, origin, span)

    # --- series -------------------------------------------------------------------------------

    def indicator(self, expression: Expression) -> Indicator:
        """Type the definition of an indicator."""
        if isinstance(expression, On):
            return self._on(expression)
        if isinstance(expression, Call) and expression.function in FUNCTIONS:
            outputs = self._function_outputs(expression, FUNCTIONS[expression.function])
        else:
            typed = self.number(expression)
            if is_constant(typed):
                message = f"an indicator is made from bars, and {shown(unparse(expression))} reads none"
                raise TypeProblem(message, expression.span, "numbers go under 'params:' or 'define:'")
            series = self._as_series(typed)
            self._one_step((typed,), expression.span)
            outputs = {"": (series, typed.unit, _steps(typed))}
        return Indicator(outputs, self.weight)

    def _on(self, on: On) -> Indicator:
        symbol, seconds = on.symbol or SELF, int(on.interval.value)
        if on.symbol is not None:
            self._names.check_symbol(on.symbol, on.span)
        if not 0 < seconds <= LONGEST_INTERVAL_SECONDS:
            raise TypeProblem(
                "bars are from 1s to 1d long", on.interval.span, "such as 15m, 1h or 1d", "range"
            )
        self._column = (symbol, seconds)
        indicator = self.indicator(on.operand)
        for series, _, _ in indicator.outputs.values():
            if any(
                (column.symbol, column.interval_seconds) != (symbol, seconds) for column in columns_of(series)
            ):
                message = "what stands before 'on' is declared on other bars already"
                raise TypeProblem(message, on.span, "drop 'on' here, or there", "mixed-intervals")
        return indicator

    def _function_outputs(self, call: Call, spec: FunctionSpec) -> dict[str, tuple[TypedSeries, Unit, int]]:
        arguments = [(self.number(argument), argument) for argument in call.arguments]
        inputs: tuple[TypedSeries, ...] = tuple(SeriesColumn(*self._column, name) for name in spec.columns)
        unit = FACTS[spec.columns[0]].unit
        if spec.series is not SeriesArgument.NONE and arguments and not is_constant(arguments[0][0]):
            typed, expression = arguments.pop(0)
            self._refuse_arithmetic_on_words(typed, expression)
            inputs, unit = (self._as_series(typed),), typed.unit
            self._one_step((typed,), call.span)
        elif spec.series is SeriesArgument.REQUIRED:
            raise TypeProblem(f"'{spec.name}' needs a series first", call.span, f"write {spec.signature}")
        lengths = self._lengths(call, spec, arguments)
        assert isinstance(unit, Measure)
        return {
            output.name: (
                SeriesFunction(spec.name, inputs, lengths, output.name, call.span),
                *spec.unit_of(output.name, unit),
            )
            for output in spec.outputs
        }

    def _lengths(
        self, call: Call, spec: FunctionSpec, arguments: list[tuple[Typed, Expression]]
    ) -> tuple[Constant | Parameter, ...]:
        hint = f"write {spec.signature}"
        if len(arguments) > len(spec.parameters):
            message = f"'{spec.name}' takes {len(spec.parameters)} number(s), here are {len(arguments)}"
            raise TypeProblem(message, arguments[len(spec.parameters)][1].span, hint)
        lengths = [
            self._bar_count(typed, argument, f"'{length.name}' of '{spec.name}'", hint)
            for length, (typed, argument) in zip(spec.parameters, arguments, strict=False)
        ]
        for length in spec.parameters[len(arguments) :]:
            if length.default is None:
                raise TypeProblem(f"'{spec.name}' needs its '{length.name}'", call.span, hint)
            lengths.append(Constant(Decimal(str(length.default)), _M.SCALAR, call.span))
        return tuple(lengths)

    def _bar_count(self, typed: Typed, expression: Expression, what: str, hint: str) -> Constant | Parameter:
        """Return a length: its size is checked where parameters have values, in lowering."""
        if isinstance(typed, Constant | Parameter) and typed.unit in (_M.SCALAR, _M.BARS):
            return typed
        raise TypeProblem(f"{what} is a plain number or a parameter", expression.span, hint)

    def _prev(self, call: Call) -> Typed:
        hint = "write prev(rsi) or prev(rsi, 2)"
        if not 1 <= len(call.arguments) <= 2:
            raise TypeProblem("'prev' takes a series, and perhaps how many bars back", call.span, hint)
        typed = self.number(call.arguments[0])
        bars: Constant | Parameter = Constant(Decimal(1), _M.SCALAR, call.span)
        if len(call.arguments) == 2:
            count = call.arguments[1]
            bars = self._bar_count(self.number(count), count, "how many bars back", hint)
        if is_constant(typed):
            raise TypeProblem("'prev' of a number that never changes", call.span, hint)
        return self._lagged(typed, call.arguments[0], bars, unparse(call))

    def _lagged(
        self, typed: Typed, expression: Expression, bars: Constant | Parameter, name: str
    ) -> FactRead:
        series = self._as_series(typed)
        self._one_step((typed,), expression.span)
        lag = SeriesLag(series, bars)
        return FactRead(name, typed.unit, _steps(typed), SlotOrigin.SERIES, expression.span, lag)

    def _as_series(self, typed: Typed) -> TypedSeries:
        """Read a typed number as a series; a fact that is not from bars is an error."""
        match typed:
            case Constant() | Parameter():
                return SeriesNumber(typed)
            case FactRead(series=series) if series is not None:
                return series
            case FactRead(name=name, span=span):
                raise TypeProblem(
                    f"'{name}' is not made from bars, so it has no value of the bar before",
                    span,
                    "use close, high, low, volume or an indicator",
                    "not-a-series",
                )
            case Arithmetic(operator=operator, operands=operands):
                return SeriesOperation(operator, tuple(self._as_series(operand) for operand in operands))
            case StepTable(span=span):
                hint = "compare it, without 'prev' and 'crosses'"
                raise TypeProblem("a step table is not a series of bars", span, hint, "not-a-series")

    def _one_step(self, numbers: tuple[Typed, ...], span: Span) -> None:
        """All operands of one series expression step in the same bars."""
        facts = (fact for number in numbers for fact in facts_of(number) if fact.series is not None)
        columns = (column for fact in facts if fact.series for column in columns_of(fact.series))
        intervals = {column.interval_seconds for column in columns}
        if len(intervals - {0}) > 1:
            listed = " and ".join(duration_text(seconds) for seconds in sorted(intervals - {0}))
            raise TypeProblem(
                f"the operands step in different bars: {listed}",
                span,
                "declare them 'on' one interval",
                "mixed-intervals",
            )


def _before(typed: Typed, text: str) -> str:
    return text if is_constant(typed) else f"prev({text})"


def _steps(typed: Typed) -> int:
    """Return the steps per unit of a value that becomes a fact of its own."""
    if isinstance(typed, FactRead):
        return typed.steps_per_unit
    return GRID_PER_UNIT[typed.unit] if isinstance(typed.unit, Measure) else 0
