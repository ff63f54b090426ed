"""What a policy declares: its universe, parameters, definitions, indicators, and the names of its signals.

Definitions and indicators name each other in any order.  They are typed in the order of their needs, so that
no chain of them, however long, makes the stack deep, and a circle is found where it closes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar

from engine.errors import Span
from engine.language.checker import (
    ENUM_WORDS,
    LONGEST_INTERVAL_SECONDS,
    PROMISE_FACTS,
    RESERVED,
    VETO_FUNCTIONS,
    Checker,
    Named,
    TypeProblem,
    suggestion,
)
from engine.language.expression import (
    KEYWORDS,
    Expression,
    Literal,
    Name,
    duration_text,
    literal_text,
    unparse,
    walk,
)
from engine.language.policy import Listing, ParameterValue, Scope
from engine.language.reading import EnoughError, Entry, Reader, SkipError
from engine.language.source import shown
from engine.language.types import (
    Condition,
    Constant,
    Definition,
    Indicator,
    Parameter,
    StepTable,
    Typed,
    common_unit,
    example,
    in_bars,
    is_constant,
    is_zero,
    unit_words,
)
from engine.lowered import SlotOrigin
from engine.units import Measure
from engine.vocabulary import FACTS

MAXIMUM_POLICY_SIZE: Final = 50_000
"""Facts, numbers and operators of a policy, with definitions put in."""
MAXIMUM_SYMBOLS: Final = 5_000
"""Symbols of a universe."""
_OWN_WORDS: Final = (
    KEYWORDS
    | ENUM_WORDS
    | {name.partition(".")[0] for name in PROMISE_FACTS}
    | VETO_FUNCTIONS.keys()
    | {"true", "false", "once"}
)
"""Words of the language that no policy may give another meaning."""
_DECLARING: Final = ("params", "indicators", "define", "signals")

_T = TypeVar("_T")
CalendarProblem = Callable[[str], str | None]
"""Says what is wrong with the name of a calendar, None where it exists."""
Canonical = dict[str, Any]
"""A part of the canonical policy, as JSON takes it."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A step table as it is written."""

    by: Expression
    steps: tuple[tuple[Literal, Expression], ...]
    span: Span


_Content = Expression | _Table


def _expressions(content: _Content) -> Iterator[Expression]:
    if not isinstance(content, _Table):
        yield content
        return
    yield content.by
    yield from (value for _, value in content.steps)


def _unit_of_most(literals: list[Literal]) -> Measure:
    """Return the unit that most literals have; a bare 0 has that of the others."""
    units = Counter(
        literal.measure for literal in literals if literal.value or literal.measure is not Measure.SCALAR
    )
    return units.most_common(1)[0][0] if units else Measure.SCALAR


class Declarations:
    """The names of one policy: ``engine.language.checker.Names``, read from its document."""

    def __init__(
        self, reader: Reader, root: Entry, reserved_gates: Iterable[str], calendar_problem: CalendarProblem
    ) -> None:
        """Read every declaration; mistakes become the reader's problems."""
        self.reader = reader
        self.root = root
        self._calendar_problem = calendar_problem
        self.declared_as: dict[str, tuple[str, Span]] = {}
        self.used: set[str] = set()
        self.conditions: list[Condition] = []
        self.size = 0
        self.clock_literal: Span | None = None
        self.canonical: Canonical = {}
        self._known: dict[str, Named] = {}
        self._refused: set[str] = set()
        self._hidden = any((section,) in reader.broken for section in _DECLARING)

        self.bars_seconds = self._bars()
        self.universe: list[Listing] = []
        self._whole_universe = all(path[:1] != ("universe",) for path in reader.broken)
        self._universe()
        self.symbols = tuple(sorted(listing.symbol for listing in self.universe))
        self.calendars = tuple(sorted({listing.calendar for listing in self.universe}))
        self._classes = sorted({listing.asset_class for listing in self.universe})
        self._places = frozenset((*self._classes, *self.symbols))
        self.gates = frozenset((*reserved_gates, *(entry.name for entry in self.section("gates"))))
        self.parameters: dict[str, ParameterValue] = {}
        self.canonical["params"] = self.read("params", self._parameter)
        self._contents: dict[str, _Content] = {}
        for section, kind in (("indicators", "an indicator"), ("define", "a definition")):
            self.canonical[section] = self.read(section, partial(self._write, kind))
        self.canonical["signals"] = {}
        for entry in self.section("signals"):
            with suppress(SkipError):
                self._declare("a signal", entry)
                self._known[entry.name] = SlotOrigin.FEED if entry.find("from") else SlotOrigin.SIGNAL
        for name in self._in_order_of_needs():
            with suppress(SkipError):
                self._type(name, self._contents[name])

    @property
    def indicators(self) -> dict[str, Indicator]:
        """Every indicator that could be typed, as written."""
        return {name: found for name, found in self._known.items() if isinstance(found, Indicator)}

    # --- sections -----------------------------------------------------------------------------

    def section(self, name: str) -> list[Entry]:
        """Return the entries of a section, none where it is absent, broken or too large."""
        try:
            section = self.root.find(name)
            entries = section.entries() if section else []
            self.reader.check_count(entries, f"'{name}'")
        except SkipError:
            self._hidden = self._hidden or name in _DECLARING
            return []
        return entries

    def read(self, section: str, make: Callable[[Entry], _T]) -> dict[str, _T]:
        """Make something of each usable entry of a section."""
        made = {}
        for entry in self.section(section):
            with suppress(SkipError):
                made[entry.name] = make(entry)
        return made

    # --- names --------------------------------------------------------------------------------

    def find(self, name: str, span: Span) -> Named | None:
        """Return what a name stands for, None where the policy does not declare it.

        Raises SkipError where its declaration is broken, or may be among what is.
        """
        if name in self.declared_as:
            self.used.add(name)
            if name not in self._known:
                raise SkipError
            return self._known[name]
        if name in self._refused or (self._hidden and name not in FACTS and name not in _OWN_WORDS):
            raise SkipError
        return None

    def declared(self) -> Iterable[str]:
        """Return the policy's own names."""
        return self.declared_as

    def is_declared_by(self, entry: Entry) -> bool:
        """Say whether an entry's name stands for that entry."""
        return self.declared_as.get(entry.name, ("", None))[1] == entry.key.span

    def check_symbol(self, symbol: str, span: Span) -> None:
        """Raise where a symbol is not in the universe."""
        if symbol in self._places and symbol not in self._classes:
            return
        if not self._whole_universe:
            raise SkipError
        hint = suggestion(symbol, self.symbols) or f"list it under a class's  watch: [{symbol}]"
        raise TypeProblem(f"'{symbol}' is not in the universe", span, hint, "unknown-symbol")

    def _declare(self, kind: str, entry: Entry) -> None:
        """Note a name: one name, one meaning."""
        name, taken = entry.name, ""
        if name in FACTS:
            taken = "a fact of the vocabulary"
        elif name in _OWN_WORDS or name in RESERVED:
            taken = "a word of the language"
        elif name in self.declared_as:
            other, span = self.declared_as[name]
            taken = f"{other} on line {self.reader.line(span)}"
        if taken:
            self._refused.add(name)
            self.reader.refuse(
                "name-taken", f"'{name}' is already {taken}", entry.key.span, "choose another name"
            )
        self.declared_as[name] = (kind, entry.key.span)

    # --- typing -------------------------------------------------------------------------------

    def condition(self, expression: Expression, *, promise: bool = False) -> Condition:
        """Type a condition; SkipError with its mistakes reported."""
        checker = Checker(self, promise=promise)
        try:
            with self.reader.explaining():
                condition = checker.condition(expression)
            self.conditions.append(condition)
            return condition
        finally:
            self._note(checker)

    def number(self, expression: Expression) -> Typed:
        """Type a number; SkipError with its mistake reported."""
        checker = Checker(self)
        try:
            with self.reader.explaining():
                return checker.number(expression)
        finally:
            self._note(checker)

    def _note(self, checker: Checker) -> None:
        """Take over what a checker came to know."""
        for problem in checker.problems:
            self.reader.report(problem.code, problem.message, problem.span, problem.hint)
        self.size += checker.weight.size
        if self.size > MAXIMUM_POLICY_SIZE:
            message = f"the policy has more than {MAXIMUM_POLICY_SIZE:,} facts, numbers and operators"
            hint = "definitions count wherever they are named"
            self.reader.report("too-large", message, self.root.key.span, hint)
            raise EnoughError
        self.clock_literal = self.clock_literal or checker.clock_literal

    def literal(self, entry: Entry, wanted: Measure | None = None) -> Literal:
        """Read a literal, noting the first time of day."""
        literal = entry.literal(wanted)
        if literal.measure is Measure.CLOCK:
            self.clock_literal = self.clock_literal or literal.span
        return literal

    # --- bars and universe --------------------------------------------------------------------

    def _bars(self) -> int:
        try:
            seconds = self.root.get("bars").duration(LONGEST_INTERVAL_SECONDS)
        except SkipError:
            return 0
        self.canonical["bars"] = duration_text(seconds)
        return seconds

    def _universe(self) -> None:
        seen: dict[str, Span] = {}
        canonical = self.canonical["universe"] = {}
        for entry in self.section("universe"):
            try:
                canonical[entry.name] = self._asset_class(entry, seen)
            except SkipError:
                self._whole_universe = False

    def _asset_class(self, entry: Entry, seen: dict[str, Span]) -> Canonical:
        calendar = entry.get("calendar").text
        wrong = self._calendar_problem(calendar)
        if wrong is not None:
            hint = "a name such as NYSE, or 24/7"
            self.reader.report("unknown-calendar", wrong, entry.get("calendar").node.span, hint)
        canonical: Canonical = {"calendar": calendar}
        listed: list[tuple[Entry, str, Decimal | None]] = []
        weights = entry.find("weights")
        shares = weights.entries() if weights else []
        tickers = {key: found.items() for key in ("symbols", "watch") if (found := entry.find(key))}
        count = len(shares) + sum(map(len, tickers.values())) + len(self.universe)
        if count > MAXIMUM_SYMBOLS:
            message = f"these are {count:,} symbols; at most {MAXIMUM_SYMBOLS:,} are read"
            self.reader.refuse("too-large", message, entry.key.span)
        for share in shares:
            weight = share.literal(Measure.RATIO)
            if not 0 <= weight.value <= 1:
                self.reader.refuse("range", "a weight is from 0% to 100%", weight.span, "such as 10%")
            listed.append((share, share.name, weight.value))
            canonical.setdefault("weights", {})[share.name] = literal_text(weight.value, Measure.RATIO)
        for key, items in tickers.items():
            canonical[key] = [item.text for item in items]
            listed += [(item, item.text, None) for item in items]
        watched = set(canonical.get("watch", ()))
        for item, symbol, share_of_equity in listed:
            span = item.key.span if symbol == item.name else item.node.span
            if symbol in seen:
                message = f"'{symbol}' is listed already on line {self.reader.line(seen[symbol])}"
                self.reader.report("duplicate-symbol", message, span, "keep one of them")
                continue
            seen[symbol] = span
            self.universe.append(
                Listing(symbol, entry.name, calendar, share_of_equity, symbol not in watched)
            )
        return canonical

    def scope(self, entry: Entry | None) -> Scope:
        """Read the classes and symbols of a ``for:``."""
        if entry is None:
            return Scope()
        for item in entry.items():
            self._check_scope(item.text, item.node.span)
        return Scope(item.text for item in entry.items())

    def _check_scope(self, name: str, span: Span) -> None:
        if name in self._places:
            return
        if not self._whole_universe:
            raise SkipError
        hint = suggestion(name, (*self._classes, *self.symbols)) or f"classes: {', '.join(self._classes)}"
        message = f"'{name}' is neither a class nor a symbol of the universe"
        self.reader.refuse("unknown-symbol", message, span, hint)

    # --- parameters ---------------------------------------------------------------------------

    def _parameter(self, entry: Entry) -> Canonical:
        self._declare("a parameter", entry)
        value_entry, range_entry, for_entry = entry.get("value"), entry.find("range"), entry.find("for")
        ends = range_entry.items() if range_entry else []
        overrides = for_entry.entries() if for_entry else []
        for override in overrides:
            self._check_scope(override.name, override.key.span)
        literals = [self.literal(written) for written in (value_entry, *ends, *overrides)]
        unit = _unit_of_most(literals)
        value, *others = (self.reader.in_unit(literal, unit).value for literal in literals)
        low, high = others[:2] if ends else (None, None)
        scoped = {
            override.name: number for override, number in zip(overrides, others[len(ends) :], strict=True)
        }
        canonical: Canonical = {"value": literal_text(value, unit)}
        if low is not None and high is not None:
            canonical["range"] = [literal_text(low, unit), literal_text(high, unit)]
            if low > high:
                span = Span(ends[0].node.span.start, ends[1].node.span.end)
                self.reader.refuse("range", "the range ends before it begins", span, "write the least first")
            for literal, number in zip((literals[0], *literals[3:]), (value, *scoped.values()), strict=True):
                if not low <= number <= high:
                    within = f"{literal_text(low, unit)} to {literal_text(high, unit)}"
                    message = f"{literal_text(number, unit)} is outside the range, which is {within}"
                    self.reader.report("range", message, literal.span, "change the value or the range")
        if scoped:
            canonical["for"] = {name: literal_text(number, unit) for name, number in scoped.items()}
        span = entry.key.span
        self.parameters[entry.name] = ParameterValue(entry.name, unit, value, low, high, scoped, span)
        self._known[entry.name] = Parameter(entry.name, unit, span)
        return canonical

    # --- definitions and indicators -----------------------------------------------------------

    def _write(self, kind: str, entry: Entry) -> Any:  # noqa: ANN401 - a part of the canonical policy
        """Note a definition or indicator, not yet typed; return its canonical form."""
        self._declare(kind, entry)
        if not entry.is_mapping:
            expression = entry.expression()
            self._contents[entry.name] = expression
            return unparse(expression)
        by, written = entry.get("by").expression(), entry.get("from").entries()
        self.reader.check_count(written, "a step table")
        steps = [(self.literal(step.as_key()), step.expression()) for step in written]
        self._contents[entry.name] = _Table(by, tuple(steps), entry.key.span)
        texts = {literal_text(at.value, at.measure): unparse(value) for at, value in steps}
        return {"by": unparse(by), "from": texts}

    def _needs(self, name: str) -> Iterator[tuple[str, Span]]:
        """Yield the definitions and indicators that one names, and where."""
        for expression in _expressions(self._contents[name]):
            for part in walk(expression):
                if isinstance(part, Name) and (head := part.name.partition(".")[0]) in self._contents:
                    yield head, part.span

    def _in_order_of_needs(self) -> list[str]:
        """Return what is to be typed, each behind what it needs; a circle is told where it closes."""
        order: list[str] = []
        seen: set[str] = set()
        for start in self._contents:
            under_way = {} if start in seen else {start: self._needs(start)}
            while under_way:
                name, needs = next(reversed(under_way.items()))
                need, span = next(needs, ("", Span(0, 0)))
                if not need:
                    del under_way[name]
                    seen.add(name)
                    order.append(name)
                elif need in under_way:
                    circle = list(under_way)[list(under_way).index(need) :]
                    shown_circle = [*circle[:3], "...", *circle[-1:]] if len(circle) > 5 else circle
                    hint = " needs ".join((*shown_circle, need))
                    self.reader.report("cycle", f"'{need}' is defined by itself", span, hint)
                    del under_way[name]
                    seen.add(name)  # and never typed
                elif need not in seen:
                    under_way[need] = self._needs(need)
        return order

    def _type(self, name: str, content: _Content) -> None:
        checker = Checker(self)
        try:
            with self.reader.explaining():
                if isinstance(content, _Table):
                    value: Typed | Condition = self._table(checker, content)
                elif self.declared_as[name][0] == "an indicator":
                    self._known[name] = checker.indicator(content)
                    return
                else:
                    value = checker.either(content)
                self._known[name] = Definition(value, checker.weight)
                if isinstance(value, Condition):
                    self.conditions.append(value)
        finally:
            self._note(checker)

    def _table(self, checker: Checker, table: _Table) -> StepTable:
        by = checker.number(table.by)
        thresholds: list[Constant] = []
        values: list[Typed] = []
        for literal, expression in table.steps:
            threshold = Constant(literal.value, literal.measure, literal.span)
            by = in_bars(by, threshold)
            if common_unit(by, threshold) is None:
                message = f"'by' is {unit_words(by.unit)}, and this is {unit_words(threshold.unit)}"
                self.reader.refuse("unit", message, threshold.span, example(by.unit))
            if thresholds and threshold.value <= thresholds[-1].value:
                self.reader.refuse(
                    "order", "thresholds rise from step to step", threshold.span, "write the least first"
                )
            value = checker.number(expression)
            if not is_constant(value):
                message = f"a step table is made of numbers, and {shown(unparse(expression))} is a fact"
                self.reader.refuse("step-table", message, expression.span, "write a literal or a parameter")
            if values and common_unit(values[0], value) is None:
                message = f"this is {unit_words(value.unit)}, the first {unit_words(values[0].unit)}"
                self.reader.refuse("unit", message, expression.span, example(values[0].unit))
            thresholds.append(threshold)
            values.append(value)
        unit = next((value.unit for value in values if not is_zero(value)), values[0].unit)
        return StepTable(by, tuple(thresholds), tuple(values), unit, table.span)
