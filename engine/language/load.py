"""From the text of a policy to a typed policy: every mistake in one run, each in its place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.codes import Action
from engine.errors import PolicyError, Problem, Severity, Source, Span
from engine.language.expression import (
    SECONDS_PER,
    Chain,
    Crosses,
    Expression,
    ExpressionError,
    Literal,
    Logic,
    Not,
    Unary,
    decimal_text,
    duration_text,
    literal_text,
    parse,
    unparse,
    walk,
)
from engine.language.findings import findings
from engine.language.policy import (
    Gate,
    Limit,
    Listing,
    OrderTerms,
    ParameterValue,
    Policy,
    Promise,
    Rule,
    Scope,
    Signal,
    Vote,
)
from engine.language.source import (
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    SequenceNode,
    load_document,
)
from engine.language.structure import check_structure
from engine.language.types import (
    Checker,
    Combined,
    Condition,
    Indicator,
    Names,
    StepTable,
    Typed,
    TypeProblem,
    common_unit,
    comparisons_of,
    facts_of,
    implied,
)
from engine.lowered import Comparison, LimitKind, LimitScope, Once, Selection
from engine.units import Measure, unit_name
from engine.vocabulary import FACTS, POSITION_SIZE_FACTS

MIN_STEP: Final = Decimal("0.05")
DEFAULT_LIMITS: Final = {"buy": "100.1% of ask", "sell": "99.5% of bid"}
DEFAULT_GOOD_FOR: Final = "1m"

_ALL: Final = frozenset({"buy", "sell", "protective"})
_BUY: Final = frozenset({"buy"})

INTEGRITY_GATES: Final[tuple[tuple[str, frozenset[str], str | None], ...]] = (
    ("no-tradable-quote", _ALL, "quote_state != tradable"),
    ("frozen-symbol", _ALL, "frozen"),
    ("position-unknown", _ALL, "position_state != known"),
    ("lease", _ALL, "not lease"),
    ("agent-state", _ALL, "agent_state == halted"),
    ("agent-state", _BUY, "agent_state == reducing"),
    ("clock", _BUY, "clock_state != ok"),
    ("unsendable", frozenset({"sell", "protective"}), "unsendable"),
    ("would-exit", _BUY, None),
    ("disagreement", frozenset({"buy", "sell"}), None),
)
"""The built-in vetoes (language reference, "Integrity"): name, what they veto, condition."""

RESERVED_GATES: Final = frozenset(
    {name for name, _, _ in INTEGRITY_GATES} | {"once", "disagreement", "integrity"}
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy, unless errors forbid it, and every problem found."""

    source: Source
    policy: Policy | None
    problems: tuple[Problem, ...]

    def required(self) -> Policy:
        """Return the policy; PolicyError with all errors where there is none."""
        if self.policy is None:
            raise PolicyError(self.source, tuple(p for p in self.problems if p.severity is Severity.ERROR))
        return self.policy


def load_policy(text: str | bytes, name: str) -> Loaded:
    """Load a policy from its text; ``name`` is shown in messages.  Bad input is problems, never raised."""
    try:
        document = load_document(text, name)
    except PolicyError as error:
        return Loaded(error.source, None, error.problems)
    structure = check_structure(document)
    loader = _Loader(document, document.broken | structure.broken)
    loader.problems += [*document.problems, *structure.problems]
    policy = loader.load()
    return Loaded(document.source, policy, loader.sorted_problems())


def load_recorded(text: str, name: str) -> Loaded:
    """Load a canonical text that was loaded before: its shape was checked then, and is not again.

    For the texts that a journal keeps by digest: once their digest is found right, the comparison with
    the schema says nothing new, and the library that makes it takes a tenth of a second to import.
    """
    document = load_document(text, name)
    loader = _Loader(document, document.broken)
    loader.problems += document.problems
    return Loaded(document.source, loader.load(), loader.sorted_problems())


class _SkipError(Exception):
    """This part cannot be used: its mistake is reported already."""


@dataclass(slots=True)
class _Definition:
    """A definition, typed when it is first read."""

    node: Node
    path: Path
    state: str = "new"  # new, under-way, typed, broken
    result: Typed | Condition | None = None


class _Loader:
    """Reads one document; each ``_section`` method returns what could be used of it."""

    def __init__(self, document: Document, broken: frozenset[Path]) -> None:
        self.document = document
        self.broken = broken
        self.problems: list[Problem] = []
        self.used: set[str] = set()
        self.declared: dict[str, tuple[str, Span]] = {}
        self.universe: list[Listing] = []
        self.parameters: dict[str, ParameterValue] = {}
        self.definitions: dict[str, _Definition] = {}
        self.indicator_nodes: dict[str, tuple[Node, Path]] = {}
        self.indicators: dict[str, Indicator | None] = {}
        self.feeds: set[str] = set()
        self.signal_names: set[str] = set()
        self.gate_names: set[str] = set(RESERVED_GATES)
        self.bars_seconds = 86400
        self.clock_literal: Span | None = None
        self.canonical: dict[str, Any] = {}

    # --- problems -----------------------------------------------------------------------------

    def report(
        self, code: str, message: str, span: Span, hint: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        self.problems.append(Problem(code, message, span, hint, severity))

    def sorted_problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(dict.fromkeys(self.problems), key=lambda p: (p.span.start, p.span.end, p.code)))

    def failed(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    # --- nodes --------------------------------------------------------------------------------

    def child(self, mapping: Node | None, key: str, path: Path) -> Node | None:
        """Return a value that can be used, None where it is absent."""
        if (*path, key) in self.broken:
            raise _SkipError
        return mapping.get(key) if isinstance(mapping, MappingNode) else None

    def section(self, *path: str) -> Iterator[tuple[ScalarNode, Node, Path]]:
        """Yield the usable entries of a section."""
        node: Node | None = self.document.root
        for depth, key in enumerate(path):
            if path[: depth + 1] in self.broken or not isinstance(node, MappingNode):
                return
            node = node.get(key)
        if isinstance(node, MappingNode):
            for name, value in node.entries:
                if (*path, name.text) not in self.broken:
                    yield name, value, (*path, name.text)

    def text(self, mapping: Node, key: str, path: Path, default: str) -> str:
        node = self.child(mapping, key, path)
        return node.text if isinstance(node, ScalarNode) else default

    # --- expressions --------------------------------------------------------------------------

    def parsed(self, node: Node | None, start: int = 0, end: int | None = None) -> Expression:
        """Parse a scalar (or part of it); the spans of the tree are places in the file."""
        if not isinstance(node, ScalarNode):
            raise _SkipError
        text = node.text[start:end]
        expression = self.guarded(lambda: parse(text, lambda a, b: node.source_span(a + start, b + start)))
        for part in walk(expression):
            if isinstance(part, Literal) and part.measure is Measure.CLOCK and self.clock_literal is None:
                self.clock_literal = part.span
        return expression

    def guarded(self, use: Callable[[], _T]) -> _T:
        """Run a parser or checker; its mistake is reported and ends this entry."""
        try:
            return use()
        except ExpressionError as error:
            self.report(error.code, error.message, error.span, error.hint)
            raise _SkipError from None

    def checker(self, *, promise: bool = False) -> Checker:
        known = {*self.definitions, *self.indicator_nodes, *self.signal_names}
        names = Names(
            parameters={name: parameter.unit for name, parameter in self.parameters.items()},
            definition=self.definition,
            indicator=self.indicator,
            signals=frozenset(self.signal_names),
            feeds=frozenset(self.feeds),
            known_names=frozenset(known),
            symbols=frozenset(listing.symbol for listing in self.universe),
            calendars=frozenset(listing.calendar for listing in self.universe),
            gates=frozenset(self.gate_names),
            bars_seconds=self.bars_seconds,
        )
        return Checker(names, promise=promise)

    def condition(self, expression: Expression, *, promise: bool = False) -> Condition:
        checker = self.checker(promise=promise)
        try:
            return self.guarded(lambda: checker.condition(expression))
        finally:
            self.used |= checker.used

    def number(self, expression: Expression) -> Typed:
        checker = self.checker()
        try:
            return self.guarded(lambda: checker.number(expression))
        finally:
            self.used |= checker.used

    def literal(self, node: Node | None, wanted: Measure | None = None) -> tuple[Decimal, Measure]:
        """Read a scalar that must be a literal, perhaps negative; returns value and unit."""
        expression = self.parsed(node)
        sign = 1
        inner = expression
        if isinstance(inner, Unary):
            sign, inner = -1, inner.operand
        if not isinstance(inner, Literal):
            self.report("type", "a literal is needed here", expression.span, "such as 10%, 5m or 80")
            raise _SkipError
        value, measure = sign * inner.value, inner.measure
        if wanted is not None and measure is not wanted:
            if measure is Measure.SCALAR and value == 0:
                return value, wanted
            hints = {Measure.RATIO: "such as 10%", Measure.DURATION: "such as 15m, 1h or 1d"}
            self.report(
                "unit",
                f"a {unit_name(wanted)} is needed here, and this is a {unit_name(measure)}",
                expression.span,
                f"write a {unit_name(wanted)}, {hints.get(wanted, 'a plain number')}",
            )
            raise _SkipError
        return value, measure

    def duration(self, node: Node | None) -> int:
        value, _ = self.literal(node, Measure.DURATION)
        if value <= 0:
            assert node is not None
            self.report("range", "a duration above 0 is needed here", node.span)
            raise _SkipError
        return int(value)

    # --- names --------------------------------------------------------------------------------

    def declare(self, kind: str, name: ScalarNode) -> bool:
        """Note an id of parameters, definitions, indicators and signals: one name, one meaning."""
        taken = "a fact of the vocabulary" if name.text in FACTS else None
        if name.text in self.declared:
            other, span = self.declared[name.text]
            line = self.document.source.position(span.start)[0]
            taken = f"{other} on line {line}"
        if taken:
            self.report("name-taken", f"'{name.text}' is already {taken}", name.span, "choose another name")
            return False
        self.declared[name.text] = (kind, name.span)
        return True

    def definition(self, name: str, span: Span) -> Typed | Condition | None:
        definition = self.definitions.get(name)
        if definition is None:
            return None
        if definition.state == "broken":
            raise _SkipError
        if definition.state == "under-way":
            raise TypeProblem(f"the definition of '{name}' needs itself", span, code="cycle")
        if definition.state == "new":
            definition.state = "under-way"
            try:
                definition.result = self._define(definition)
            except _SkipError:
                definition.state = "broken"
                raise
            definition.state = "typed"
        return definition.result

    def _define(self, definition: _Definition) -> Typed | Condition:
        if isinstance(definition.node, MappingNode):
            return self._step_table(definition.node, definition.path)
        expression = self.parsed(definition.node)
        self.canonical["define"][definition.path[-1]] = unparse(expression)
        if isinstance(expression, Logic | Not | Chain | Crosses):
            return self.condition(expression)
        return self.number(expression)

    def _step_table(self, node: MappingNode, path: Path) -> StepTable:
        by_expression = self.parsed(self.child(node, "by", path))
        by = self.number(by_expression)
        steps = self.child(node, "from", path)
        if not isinstance(steps, MappingNode) or not steps.entries:
            raise _SkipError
        thresholds: list[Typed] = []
        values: list[Typed] = []
        texts: dict[str, str] = {}
        for key, value in steps.entries:
            threshold_expression, value_expression = self.parsed(key), self.parsed(value)
            threshold, typed = self.number(threshold_expression), self.number(value_expression)
            if common_unit(by, threshold) is None:
                self.report(
                    "unit",
                    f"'{key.text}' is a {unit_name(threshold.unit)} and 'by' a {unit_name(by.unit)}",
                    key.span,
                )
                raise _SkipError
            if values and common_unit(values[0], typed) is None:
                self.report(
                    "unit",
                    f"this is a {unit_name(typed.unit)}, the first a {unit_name(values[0].unit)}",
                    value.span,
                )
                raise _SkipError
            previous = thresholds[-1] if thresholds else None
            if previous is not None and not getattr(previous, "value", 0) < getattr(threshold, "value", 0):
                self.report("order", "thresholds rise from step to step", key.span)
                raise _SkipError
            thresholds.append(threshold)
            values.append(typed)
            texts[unparse(threshold_expression)] = unparse(value_expression)
        self.canonical["define"][path[-1]] = {"by": unparse(by_expression), "from": texts}
        return StepTable(by, tuple(thresholds), tuple(values), values[0].unit, node.span)

    def indicator(self, name: str, span: Span) -> Indicator | None:
        if name not in self.indicator_nodes:
            return None
        if name not in self.indicators:
            self.indicators[name] = None  # a definition that needs itself finds this
            node, path = self.indicator_nodes[name]
            expression = self.parsed(node)
            self.canonical["indicators"][path[-1]] = unparse(expression)
            checker = self.checker()
            try:
                self.indicators[name] = self.guarded(lambda: checker.indicator(expression))
            finally:
                self.used |= checker.used - {name}
        found = self.indicators[name]
        if found is None:
            raise _SkipError
        return found

    def scope(self, node: Node | None) -> Scope:
        if node is None:
            return Scope()
        items = node.items if isinstance(node, SequenceNode) else (node,)
        classes = {listing.asset_class for listing in self.universe}
        symbols = {listing.symbol for listing in self.universe}
        names: list[str] = []
        for item in items:
            if not isinstance(item, ScalarNode):
                raise _SkipError
            if item.text not in classes | symbols:
                near = get_close_matches(item.text, sorted(classes | symbols), 1)
                self.report(
                    "unknown-symbol",
                    f"'{item.text}' is neither a class nor a symbol of the universe",
                    item.span,
                    f"did you mean '{near[0]}'?" if near else f"classes: {', '.join(sorted(classes))}",
                )
                raise _SkipError
            names.append(item.text)
        return Scope(tuple(names))

    # --- the whole ----------------------------------------------------------------------------

    def load(self) -> Policy | None:
        root = self.document.root
        self.canonical = {"apiVersion": "tradectl/v1"}
        head = {key: self._head(root, key) for key in ("policy", "version", "selection")}
        self.canonical |= {key: value for key, value in head.items() if value}
        timezone = self._timezone(root)
        self.canonical["timezone"] = timezone
        every = self._cadence(root)
        self._universe()
        self._parameters()
        self._collect_names()
        signals = self._signals()
        for name in [*self.definitions, *self.indicator_nodes]:
            self._type_quietly(name)
        rules = self._rules()
        gates = self._gates()
        limits = self._limits()
        buy_terms, sell_terms = self._order_terms("buy"), self._order_terms("sell")
        promises = self._promises()
        if self.clock_literal is not None and timezone == "UTC" and self._absent(root, "timezone"):
            self.report(
                "timezone-missing",
                "a time of day needs the policy's timezone",
                self.clock_literal,
                "add a line  timezone: America/New_York  (or your own)",
            )
        self._order_in_file()
        if self.failed():
            return None
        assert buy_terms is not None and sell_terms is not None
        canonical = json.dumps(self.canonical, ensure_ascii=False, indent=1)
        policy = Policy(
            source=self.document.source,
            name=head["policy"],
            version=head["version"],
            digest=hashlib.sha256(canonical.encode()).hexdigest(),
            canonical=canonical,
            selection=Selection(head["selection"]),
            timezone=timezone,
            bars_seconds=self.bars_seconds,
            every_seconds=every,
            universe=tuple(self.universe),
            parameters=self.parameters,
            indicators={name: found for name, found in self.indicators.items() if found is not None},
            signals=tuple(signals),
            rules=tuple(sorted(rules, key=lambda rule: (-rule.priority, rule.order))),
            gates=(*self._integrity_gates(Selection(head["selection"])), *gates),
            limits=tuple(limits),
            buy_terms=buy_terms,
            sell_terms=sell_terms,
            promises=tuple(promises),
            spans={name: span for name, (_, span) in self.declared.items()},
        )
        self.problems += findings(policy, self.declared, self.used, root.span)
        return None if self.failed() else policy

    def _order_in_file(self) -> None:
        """Definitions and indicators are typed on demand; the canonical text keeps the file's order."""
        for key, order in (("define", self.definitions), ("indicators", self.indicator_nodes)):
            texts = self.canonical.get(key, {})
            self.canonical[key] = {name: texts[name] for name in order if name in texts}
        for key in [key for key, value in self.canonical.items() if value == {}]:
            del self.canonical[key]

    def _type_quietly(self, name: str) -> None:
        """Type a definition or indicator that nothing else may read, to find its mistakes."""
        try:
            span = self.declared[name][1]
            if name in self.definitions:
                self.guarded(lambda: self.definition(name, span))
            else:
                self.indicator(name, span)
        except _SkipError:
            pass

    # --- head ---------------------------------------------------------------------------------

    def _absent(self, root: Node, key: str) -> bool:
        return isinstance(root, MappingNode) and root.get(key) is None

    def _head(self, root: Node, key: str) -> str:
        try:
            return self.text(root, key, (), "")
        except _SkipError:
            return ""

    def _timezone(self, root: Node) -> str:
        name = self._head(root, "timezone") or "UTC"
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            node = root.get("timezone") if isinstance(root, MappingNode) else None
            if node is not None:
                self.report(
                    "timezone", f"there is no timezone '{name}'", node.span, "such as America/New_York or UTC"
                )
            return "UTC"
        return name

    def _cadence(self, root: Node) -> int | None:
        every = None
        try:
            self.bars_seconds = self.duration(self.child(root, "bars", ()))
            self.canonical["bars"] = duration_text(self.bars_seconds)
        except _SkipError:
            pass
        try:
            node = self.child(root, "every", ())
            if node is not None:
                every = self.duration(node)
                self.canonical["every"] = duration_text(every)
        except _SkipError:
            pass
        return every

    # --- universe and parameters --------------------------------------------------------------

    def _universe(self) -> None:
        seen: dict[str, Span] = {}
        canonical = self.canonical.setdefault("universe", {})
        for class_name, node, path in self.section("universe"):
            try:
                self._asset_class(class_name.text, node, path, seen, canonical)
            except _SkipError:
                continue

    def _asset_class(
        self, name: str, node: Node, path: Path, seen: dict[str, Span], canonical: dict[str, Any]
    ) -> None:
        calendar = self.text(node, "calendar", path, "24/7")
        entry: dict[str, Any] = {"calendar": calendar}
        listings: list[tuple[ScalarNode, Decimal | None, bool]] = []
        for key, value, _ in self.section("universe", name, "weights"):
            weight, _measure = self.literal(value, Measure.RATIO)
            if not 0 <= weight <= 1:
                self.report("range", "a weight is from 0% to 100%", value.span)
                raise _SkipError
            listings.append((key, weight, True))
            entry.setdefault("weights", {})[key.text] = literal_text(weight, Measure.RATIO)
        for listed, traded in (("symbols", True), ("watch", False)):
            items = self.child(node, listed, path)
            if isinstance(items, SequenceNode):
                scalars = [item for item in items.items if isinstance(item, ScalarNode)]
                listings += [(item, None, traded) for item in scalars]
                entry[listed] = [item.text for item in scalars]
        for scalar, share, traded in listings:
            if scalar.text in seen:
                line = self.document.source.position(seen[scalar.text].start)[0]
                self.report(
                    "duplicate-symbol", f"'{scalar.text}' is listed already on line {line}", scalar.span
                )
                continue
            seen[scalar.text] = scalar.span
            self.universe.append(Listing(scalar.text, name, calendar, share, traded))
        canonical[name] = entry

    def _parameters(self) -> None:
        canonical = self.canonical.setdefault("params", {})
        for name, node, path in self.section("params"):
            if not self.declare("a parameter", name):
                continue
            try:
                self.parameters[name.text] = self._parameter(name, node, path, canonical)
            except _SkipError:
                continue

    def _parameter(
        self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]
    ) -> ParameterValue:
        value, unit = self.literal(self.child(node, "value", path))
        entry: dict[str, Any] = {"value": literal_text(value, unit)}
        low = high = None
        range_node = self.child(node, "range", path)
        if isinstance(range_node, SequenceNode) and len(range_node.items) == 2:
            low, high = (self.literal(item, unit)[0] for item in range_node.items)
            entry["range"] = [literal_text(low, unit), literal_text(high, unit)]
            if low > high:
                self.report("range", "the range ends before it begins", range_node.span)
        overrides: dict[str, Decimal] = {}
        for key, override, _ in self.section("params", name.text, "for"):
            self.scope(key)
            overrides[key.text] = self.literal(override, unit)[0]
            entry.setdefault("for", {})[key.text] = literal_text(overrides[key.text], unit)
        if low is not None and high is not None:
            for scope, number in {"": value, **overrides}.items():
                if not low <= number <= high:
                    where = f" for {scope}" if scope else ""
                    self.report(
                        "range",
                        f"'{name.text}'{where} is {literal_text(number, unit)}: outside its range "
                        f"{literal_text(low, unit)} to {literal_text(high, unit)}",
                        node.span,
                    )
        canonical[name.text] = entry
        return ParameterValue(name.text, unit, value, low, high, overrides, name.span)

    def _collect_names(self) -> None:
        for name, node, path in self.section("define"):
            if self.declare("a definition", name):
                self.definitions[name.text] = _Definition(node, path)
        for name, node, path in self.section("indicators"):
            if self.declare("an indicator", name):
                self.indicator_nodes[name.text] = (node, path)
        for name, node, _ in self.section("signals"):
            if self.declare("a signal", name):
                self.signal_names.add(name.text)
                if isinstance(node, MappingNode) and node.get("from") is not None:
                    self.feeds.add(name.text)
        for name, _, _ in self.section("gates"):
            if name.text in RESERVED_GATES:
                self.report(
                    "name-taken",
                    f"'{name.text}' is the name of a built-in gate",
                    name.span,
                    "choose another name",
                )
            self.gate_names.add(name.text)
        for key in ("define", "indicators"):
            self.canonical.setdefault(key, {})

    # --- signals ------------------------------------------------------------------------------

    def _signals(self) -> list[Signal]:
        signals = []
        canonical = self.canonical.setdefault("signals", {})
        for name, node, path in self.section("signals"):
            if name.text not in self.signal_names:
                continue
            try:
                signals.append(self._signal(name, node, path, canonical))
            except _SkipError:
                continue
        return signals

    def _signal(self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Signal:
        if name.text in self.feeds:
            feed = self.text(node, "from", path, "feed")
            max_age = self.duration(self.child(node, "max_age", path))
            canonical[name.text] = {"from": feed, "max_age": duration_text(max_age)}
            return Signal(name.text, (), feed, max_age, name.span)
        votes: list[Vote] = []
        entries: dict[str, Any] = {}
        failed = False
        for vote_name, vote_node, vote_path in self.section("signals", name.text, "votes"):
            try:
                votes.append(self._vote(vote_name, vote_node, vote_path, entries))
            except _SkipError:
                failed = True
        if failed or not votes:
            raise _SkipError
        canonical[name.text] = {"votes": entries}
        return Signal(name.text, tuple(votes), None, None, name.span)

    def _vote(self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Vote:
        weight = self._weight(node, "weight", path)
        hold = self._weight(node, "hold", path)
        entry: dict[str, Any] = {"weight": _number(weight)}
        sides: dict[str, Condition | None] = {}
        for side in ("buy", "sell"):
            side_node = self.child(node, side, path)
            sides[side] = None
            if side_node is not None:
                expression = self.parsed(side_node)
                sides[side] = self._vote_condition(expression)
                entry[side] = unparse(expression)
        if hold:
            entry["hold"] = _number(hold)
        abstain = self.text(node, "if_unknown", path, "") == "abstain"
        if abstain:
            entry["if_unknown"] = "abstain"
        canonical[name.text] = entry
        return Vote(name.text, weight, sides["buy"], sides["sell"], hold, abstain, name.span)

    def _weight(self, node: Node, key: str, path: Path) -> Decimal:
        child = self.child(node, key, path)
        if child is None:
            return Decimal(0)
        value, _ = self.literal(child, Measure.SCALAR)
        if not 0 <= value <= 1000 or value != value.quantize(Decimal("0.000001")):
            self.report("range", "a weight is from 0 to 1000, with at most 6 decimals", child.span)
            raise _SkipError
        return value

    def _vote_condition(self, expression: Expression) -> Condition:
        condition = self.condition(expression)
        for compared in comparisons_of(condition):
            for fact in (*facts_of(compared.left), *facts_of(compared.right)):
                head, _, tail = fact.name.partition(".")
                if tail and head in self.signal_names - self.feeds:
                    self.report(
                        "vote", f"a vote cannot read another voted signal ('{fact.name}')", expression.span
                    )
                    raise _SkipError
        return condition

    # --- rules --------------------------------------------------------------------------------

    def _rules(self) -> list[Rule]:
        rules: list[Rule] = []
        canonical = self.canonical.setdefault("rules", {})
        for order, (name, node, path) in enumerate(self.section("rules")):
            try:
                rules.append(self._rule(order, name, node, path, canonical))
            except _SkipError:
                continue
        self._equal_priorities(rules)
        return rules

    def _rule(self, order: int, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Rule:
        priority = int(self.literal(self.child(node, "priority", path), Measure.SCALAR)[0])
        failed = False
        when = None
        when_text = ""
        when_span = name.span
        try:
            when_node = self.child(node, "when", path)
            when_span = when_node.span if when_node is not None else name.span
            when, when_text = self._when(when_node, (*path, "when"))
        except _SkipError:
            failed = True
        scope = self.scope(self.child(node, "for", path))
        then_node = self.child(node, "then", path)
        action, size, measure, additive, then_text = self._then(then_node)
        if failed or when is None:
            raise _SkipError
        once_text = self.text(node, "once", path, "")
        once = Once(once_text) if once_text else None
        protective = self.text(node, "protective", path, "false").lower() == "true"
        min_step = MIN_STEP
        min_step_node = self.child(node, "min_step", path)
        if min_step_node is not None:
            min_step = self.literal(min_step_node, Measure.RATIO)[0]
        because_node = self.child(node, "because", path)
        because, because_text = self._because(because_node)
        rule = Rule(
            name.text, priority, order, action, size, measure, additive, protective, once, min_step,
            when, scope, because, name.span, when_span, then_text,
        )  # fmt: skip
        assert then_node is not None
        self._check_rule(rule, then_node.span)
        entry: dict[str, Any] = {"priority": priority, "when": when_text, "then": then_text}
        entry |= {"for": list(scope.names)} if scope.names else {}
        entry |= {"once": once.value} if once else {}
        entry |= {"protective": True} if protective else {}
        entry |= {"because": because_text} if because_text else {}
        if action is not Action.HOLD and size is not None and not additive:
            entry["min_step"] = literal_text(min_step, Measure.RATIO)
        canonical[name.text] = entry
        return rule

    def _when(self, node: Node | None, path: Path) -> tuple[Condition, str]:
        """Read a condition: a text, or a list under ``all:`` or ``any:``; returns it and its canonical text."""
        if isinstance(node, ScalarNode):
            expression = self.parsed(node)
            return self.condition(expression), unparse(expression)
        if not isinstance(node, MappingNode) or len(node.entries) != 1:
            raise _SkipError
        (key, items), failed = node.entries[0], False
        if not isinstance(items, SequenceNode):
            raise _SkipError
        parts: list[tuple[Condition, str]] = []
        for index, item in enumerate(items.items):
            try:
                parts.append(self._when(item, (*path, key.text, index)))
            except _SkipError:
                failed = True
        if failed or not parts:
            raise _SkipError
        if len(parts) == 1:
            return parts[0]
        joint = " and " if key.text == "all" else " or "
        text = joint.join(f"({part})" for _, part in parts)
        return Combined(key.text == "all", tuple(part for part, _ in parts)), unparse(parse(text))

    def _then(self, node: Node | None) -> tuple[Action, Typed | None, Measure, bool, str]:
        if not isinstance(node, ScalarNode):
            raise _SkipError
        text = node.text
        match = re.match(r"\s*(?:(hold)|(sell)\s+all|(?:(sell|buy)\s+to|(buy))\s+(?=\S))\s*", text)
        if match is None or ((match.group(1) or match.group(2)) and match.end() != len(text)):
            self.report(
                "action",
                f"'{text.strip()[:60]}' is not an action",
                node.span,
                "write: sell all, sell to X, buy to X, buy X, hold",
            )
            raise _SkipError
        if match.group(1):
            return Action.HOLD, None, Measure.MONEY, False, "hold"
        if match.group(2):
            return Action.SELL, None, Measure.MONEY, False, "sell all"
        additive = match.group(4) is not None
        action = Action.SELL if match.group(3) == "sell" else Action.BUY
        expression = self.parsed(node, match.end())
        size = self.number(expression)
        if size.unit not in (Measure.MONEY, Measure.QUANTITY) and not _is_bare_zero(size):
            self.report(
                "unit",
                f"a size is money or a quantity, and '{unparse(expression)}' is a {unit_name(size.unit)}",
                expression.span,
                _size_hint(expression, size),
            )
            raise _SkipError
        measure = Measure.QUANTITY if size.unit is Measure.QUANTITY else Measure.MONEY
        words = "buy" if additive else f"{action.name.lower()} to"
        return action, size, measure, additive, f"{words} {unparse(expression)}"

    def _because(self, node: Node | None) -> tuple[tuple[str | Typed, ...], str]:
        if not isinstance(node, ScalarNode):
            return (), ""
        parts: list[str | Typed] = []
        texts: list[str] = []
        at = 0
        for match in re.finditer(r"\{([^{}]*)\}", node.text):
            parts.append(node.text[at : match.start()])
            expression = self.parsed(node, match.start(1), match.end(1))
            parts.append(self.number(expression))
            texts += [node.text[at : match.start()], f"{{{unparse(expression)}}}"]
            at = match.end()
        parts.append(node.text[at:])
        return tuple(part for part in parts if part != ""), "".join([*texts, node.text[at:]])

    def _check_rule(self, rule: Rule, then_span: Span) -> None:
        held = ("held", Comparison.EQUAL, Decimal(1))
        if rule.protective and (rule.action is not Action.SELL or held not in implied(rule.when)):
            self.report(
                "protective",
                "'protective' belongs to a sell rule whose condition implies 'held'",
                rule.when_span,
                "begin the condition with  held and ...",
            )
        reads_own_size = (
            rule.size is not None
            and not rule.additive
            and any(fact.name in POSITION_SIZE_FACTS for fact in facts_of(rule.size))
        )
        crossing = rule.action is Action.BUY and any(c.crossing for c in comparisons_of(rule.when))
        if rule.once is None and (rule.additive or crossing or reads_own_size):
            why = (
                "an additive buy repeats at every cycle"
                if rule.additive
                else "a cross stays true for every cycle of its bar"
                if crossing
                else "the level moves with the position itself"
            )
            self.report(
                "once-missing",
                f"{why}: say how often",
                then_span,
                "add  once: bar  (or day, week, month, position)",
            )
        if rule.action is Action.HOLD and rule.once is not None:
            self.report("once", "'once' belongs to rules that send orders", then_span)
        needs_weight = {"target", "target_weight"} & {fact.name for fact in _facts_of_rule(rule)}
        for listing in self.universe:
            if needs_weight and listing.traded and listing.weight is None and rule.scope.covers(listing):
                self.report(
                    "weight-missing",
                    f"'{rule.name}' reads '{min(needs_weight)}', and {listing.symbol} has no weight",
                    then_span,
                    "give the symbol a weight under 'weights:', or write an amount such as 100 USD",
                )
                break

    def _equal_priorities(self, rules: list[Rule]) -> None:
        for index, rule in enumerate(rules):
            for earlier in rules[:index]:
                if rule.priority != earlier.priority or _same_proposal(rule, earlier):
                    continue
                overlap = any(
                    rule.scope.covers(listing) and earlier.scope.covers(listing) for listing in self.universe
                )
                if overlap and not _plainly_disjoint(rule, earlier):
                    self.report(
                        "equal-priority",
                        f"'{rule.name}' and '{earlier.name}' have priority {rule.priority} and propose different things",
                        rule.span,
                        "give one of them another priority",
                    )

    # --- gates, limits, orders, promises ------------------------------------------------------

    def _gates(self) -> list[Gate]:
        gates = []
        canonical = self.canonical.setdefault("gates", {})
        for name, node, path in self.section("gates"):
            if name.text in RESERVED_GATES:
                continue
            try:
                gates.append(self._gate(name, node, path, canonical))
            except _SkipError:
                continue
        return gates

    def _gate(self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Gate:
        when, when_text = self._when(self.child(node, "when", path), (*path, "when"))
        scope = self.scope(self.child(node, "for", path))
        vetoes_node = self.child(node, "vetoes", path)
        items = vetoes_node.items if isinstance(vetoes_node, SequenceNode) else ()
        vetoes = [item.text for item in items if isinstance(item, ScalarNode)]
        passes = self.text(node, "if_unknown", path, "") == "pass"
        if passes and "buy" in vetoes:
            self.report(
                "gate-pass",
                "'if_unknown: pass' on a gate that vetoes buys would let a missing fact enable an order",
                name.span,
                "split the gate: one for buys, one for sells",
            )
        elif passes:
            self.report(
                "gate-passes-unknown",
                f"gate '{name.text}' lets sells pass while its condition is Unknown",
                name.span,
                severity=Severity.INFORMATION,
            )
        entry: dict[str, Any] = {"vetoes": vetoes, "when": when_text}
        entry |= {"for": list(scope.names)} if scope.names else {}
        entry |= {"if_unknown": "pass"} if passes else {}
        canonical[name.text] = entry
        return Gate(name.text, frozenset(vetoes), when, passes, scope, name.span)

    def _integrity_gates(self, selection: Selection) -> list[Gate]:
        """Return the built-in gates, written in the language itself."""
        checker = self.checker()
        gates = []
        for name, vetoes, text in INTEGRITY_GATES:
            if name == "would-exit" and selection is Selection.BY_PRIORITY:
                continue
            when = None if text is None else checker.condition(parse(text))
            gates.append(Gate(name, vetoes, when, False, Scope(), Span(0, 0), reserved=True))
        return gates

    def _limits(self) -> list[Limit]:
        limits = []
        canonical = self.canonical.setdefault("limits", {})
        for name, node, path in self.section("limits"):
            try:
                limits.append(self._limit(name, node, path, canonical))
            except _SkipError:
                continue
        return limits

    def _limit(self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Limit:
        at_most = self.child(node, "at_most", path)
        at_least = self.child(node, "at_least", path)
        bound_node = at_most if at_most is not None else at_least
        per_text = self.text(node, "per", path, "")
        scope = self.scope(self.child(node, "for", path))
        kept = self.text(node, "kept", path, "")
        if not isinstance(bound_node, ScalarNode) or (at_most is None) == (at_least is None):
            self.report("limit", "a limit says either 'at_most' or 'at_least'", name.span)
            raise _SkipError
        key = "at_most" if at_most is not None else "at_least"
        entry: dict[str, Any] = {}
        bound: Typed | None = None
        count = window_seconds = 0
        per = LimitScope(per_text) if per_text else LimitScope.PORTFOLIO
        rate = re.fullmatch(r"\s*(\d{1,6})\s+buys?\s+per\s+(\d{1,6})([smhdw])\s*", bound_node.text)
        positions = re.fullmatch(r"\s*(\d{1,6})\s+positions?\s*", bound_node.text)
        if rate and key == "at_most":
            kind = LimitKind.BUYS_AT_MOST
            count, window_seconds = int(rate.group(1)), int(rate.group(2)) * SECONDS_PER[rate.group(3)]
            entry[key] = f"{count} buys per {duration_text(window_seconds)}"
        elif positions and key == "at_most":
            kind, count = LimitKind.POSITIONS_AT_MOST, int(positions.group(1))
            entry[key] = f"{count} positions"
        else:
            expression = self.parsed(bound_node)
            bound = self.number(expression)
            if bound.unit is not Measure.MONEY and not _is_bare_zero(bound):
                self.report(
                    "unit",
                    f"a limit is money or a count, and '{unparse(expression)}' is a {unit_name(bound.unit)}",
                    expression.span,
                    _size_hint(expression, bound)
                    or "such as 15% of equity, 100 USD, 3 positions, 3 buys per 3m",
                )
                raise _SkipError
            kind = self._money_limit_kind(key, per_text, kept, name)
            entry[key] = unparse(expression)
        entry |= {"per": per_text} if per_text else {}
        entry |= {"kept": kept} if kept else {}
        entry |= {"for": list(scope.names)} if scope.names else {}
        canonical[name.text] = entry
        return Limit(name.text, kind, per, bound, count, window_seconds, scope, name.span)

    def _money_limit_kind(self, key: str, per: str, kept: str, name: ScalarNode) -> LimitKind:
        if key == "at_least":
            if kept == "cash":
                return LimitKind.CASH_AT_LEAST
            if per == "order":
                return LimitKind.ORDER_AT_LEAST
            self.report(
                "limit",
                "'at_least' bounds an order or the cash that is kept",
                name.span,
                "add  per: order  or  kept: cash",
            )
            raise _SkipError
        if kept:
            self.report("limit", "'kept' goes with 'at_least'", name.span)
            raise _SkipError
        return LimitKind.ORDER_AT_MOST if per == "order" else LimitKind.EXPOSURE_AT_MOST

    def _order_terms(self, side: str) -> OrderTerms | None:
        try:
            return self._read_order_terms(side)
        except _SkipError:
            return None

    def _read_order_terms(self, side: str) -> OrderTerms:
        orders = self.child(self.document.root, "orders", ())
        node = self.child(orders, side, ("orders",)) if orders is not None else None
        path: Path = ("orders", side)
        empty = MappingNode((), Span(0, 0), False)
        node = node if isinstance(node, MappingNode) else empty
        order_type = self.text(node, "type", path, "limit")
        limit_node = self.child(node, "limit", path)
        good_for_node = self.child(node, "good_for", path)
        good_for = (
            self.duration(good_for_node) if good_for_node is not None else _literal_seconds(DEFAULT_GOOD_FOR)
        )
        terms: dict[str, Any] = {"type": order_type, "good_for": duration_text(good_for)}
        limit: Typed | None = None
        if order_type == "limit":
            expression = self.parsed(limit_node) if limit_node is not None else parse(DEFAULT_LIMITS[side])
            limit = self.number(expression)
            if limit.unit is not Measure.PRICE:
                self.report(
                    "unit", f"a limit price is a price, and '{unparse(expression)}' is a {unit_name(limit.unit)}",
                    expression.span, f"such as {DEFAULT_LIMITS[side]}",
                )  # fmt: skip
                raise _SkipError
            terms["limit"] = unparse(expression)
        elif limit_node is not None:
            self.report(
                "orders",
                "a market order has no limit price",
                limit_node.span,
                "drop 'limit', or write  type: limit",
            )
            raise _SkipError
        time_in_force = self.text(node, "time_in_force", path, "")
        terms |= {"time_in_force": time_in_force} if time_in_force else {}
        terms["session"] = self.text(node, "session", path, "regular")
        self.canonical.setdefault("orders", {})[side] = terms
        return OrderTerms(limit, good_for, time_in_force, terms["session"] == "extended")

    def _promises(self) -> list[Promise]:
        promises = []
        canonical = self.canonical.setdefault("promises", {})
        for name, node, path in self.section("promises"):
            try:
                promises.append(self._promise(name, node, path, canonical))
            except _SkipError:
                continue
        return promises

    def _promise(self, name: ScalarNode, node: Node, path: Path, canonical: dict[str, Any]) -> Promise:
        parts: dict[str, Condition | None] = {}
        entry: dict[str, Any] = {}
        for key in ("given", "always", "never"):
            child = self.child(node, key, path)
            parts[key] = None
            if child is not None:
                expression = self.parsed(child)
                parts[key] = self.condition(expression, promise=True)
                entry[key] = unparse(expression)
        within = None
        within_node = self.child(node, "within", path)
        if isinstance(within_node, ScalarNode):
            match = re.fullmatch(r"\s*(\d{1,4})\s+cycles?\s*", within_node.text)
            if match is None:
                self.report("promise", "'within' counts cycles", within_node.span, "write  within: 5 cycles")
                raise _SkipError
            within = int(match.group(1))
            entry["within"] = f"{within} cycles"
        if (parts["always"] is None) == (parts["never"] is None):
            self.report("promise", "a promise says either 'always' or 'never'", name.span)
            raise _SkipError
        canonical[name.text] = entry
        return Promise(name.text, parts["given"], parts["always"], parts["never"], within, name.span)


# --- small questions about rules --------------------------------------------------------------


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _literal_seconds(text: str) -> int:
    expression = parse(text)
    assert isinstance(expression, Literal)
    return int(expression.value)


def _is_bare_zero(typed: Typed) -> bool:
    return getattr(typed, "value", None) == 0 and typed.unit is Measure.SCALAR


def _size_hint(expression: Expression, typed: Typed) -> str:
    if typed.unit is Measure.SCALAR and isinstance(expression, Literal):
        return f"write {decimal_text(expression.value)} USD"
    if typed.unit is Measure.RATIO:
        return f"of what? write  {unparse(expression)} of equity"
    return ""


def _facts_of_rule(rule: Rule) -> Iterable[Any]:
    for compared in comparisons_of(rule.when):
        yield from facts_of(compared.left)
        yield from facts_of(compared.right)
    if rule.size is not None:
        yield from facts_of(rule.size)


def _same_proposal(a: Rule, b: Rule) -> bool:
    return (a.action, a.size, a.additive) == (b.action, b.size, b.additive)


def _plainly_disjoint(a: Rule, b: Rule) -> bool:
    """Say whether both conditions fix one fact to different values."""
    fixed: dict[str, Decimal] = {}
    for rule in (a, b):
        known = {
            (name, value) for name, comparison, value in implied(rule.when) if comparison is Comparison.EQUAL
        }
        if rule.action is Action.SELL:
            known.add(("held", Decimal(1)))
        for name, value in known:
            if fixed.setdefault(name, value) != value:
                return True
    return False
