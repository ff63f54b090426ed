"""From ``tradectl/v0``, the draft of the language, to ``tradectl/v1``.

Each difference is a pure function from a document to changes, or to problems where what was meant cannot be
known.  ``docs/language-v0.md`` says what the draft was; ``tests/policies/frozen/v0`` keeps files of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from engine.errors import Problem, Span
from engine.indicators.functions import COLUMN_UNITS, FUNCTIONS
from engine.language.edits import Change, Edit
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
    Unary,
    children,
    decimal_text,
    parse,
)
from engine.language.layout import expressions
from engine.language.lines import scalars
from engine.language.source import Document, MappingNode, Node, ScalarNode, SequenceNode, shown
from engine.language.types import product_unit, quotient_unit
from engine.units import Measure, Unit
from engine.vocabulary import FACTS

Found = Iterator[Change | Problem]
Difference = Callable[[Document], Found]

LISTED: Final = {"rules": "rule", "gates": "gate", "limits": "limit"}
"""Sections that were lists: what one entry of each is called."""
ACTIONS: Final = {
    "SELL_ALL": "sell all",
    "SELL_TO": "sell to",
    "BUY_TO": "buy to",
    "BUY": "buy",
    "HOLD": "hold",
}
SECONDS_KEYS: Final = {
    "": ("every_seconds", "bars_seconds"),
    "signals": ("max_age_seconds",),
    "orders": ("good_for_seconds",),
}
"""Keys that had their unit in their name, by the section whose entries have them ("" is the file)."""
PARAMETER_UNITS: Final = {
    "ratio": Measure.RATIO,
    "seconds": Measure.DURATION,
    "usd": Measure.MONEY,
    "bars": Measure.BARS,
}

_ACTION: Final = re.compile(r"\s*(?P<verb>[A-Z]+(?:_[A-Z]+)*)(?=\s|$)")
_DASH: Final = re.compile(r"^[ ]*-(?=\s)", re.MULTILINE)
_COUNT: Final = re.compile(r"\s*[0-9]+\s+[a-z]")
_RATE: Final = re.compile(r"\s*[0-9]+\s+buys?\s+per\s+(?P<seconds>[0-9]+)\s*")
_WHOLE: Final = re.compile(r"[1-9][0-9]{0,8}")


# --- reading ----------------------------------------------------------------------------------


def _mapping(node: Node | None) -> MappingNode | None:
    return node if isinstance(node, MappingNode) else None


def _entries(document: Document, section: str) -> Iterator[tuple[str, MappingNode]]:
    """Yield the entries of a section that are mappings, and their names ("" where one has none)."""
    root = _mapping(document.root)
    found = root.get(section) if root else None
    if isinstance(found, MappingNode):
        yield from ((key.text, value) for key, value in found.entries if isinstance(value, MappingNode))
    elif isinstance(found, SequenceNode):
        for item in found.items:
            if isinstance(item, MappingNode):
                name = item.get("id")
                yield (name.text if isinstance(name, ScalarNode) else ""), item


def _renamed(key: ScalarNode, name: str) -> Edit:
    return Edit(key.source_span(0, len(key.text)), name)


def _column(document: Document, offset: int) -> int:
    return offset - (document.source.text.rfind("\n", 0, offset) + 1)


def _without(document: Document, node: MappingNode, index: int) -> Edit | Problem:
    """Return the edit that takes an entry, which is not the only one, out of a mapping."""
    text = document.source.text
    key, value = node.entries[index]
    if node.flow:
        last = index + 1 == len(node.entries)
        gap = Span(
            node.entries[index - 1][1].span.end if last else key.span.start,
            value.span.end if last else node.entries[index + 1][0].span.start,
        )
        if "#" in text[gap.start : gap.end].replace(text[value.span.start : value.span.end], "", 1):
            message = f"{shown(key.text)} goes, and a comment stands beside it"
            return Problem("migration", message, key.span, "put the comment on a line of its own")
        return Edit(gap, "")
    start = text.rfind("\n", 0, key.span.start) + 1
    end = text.find("\n", value.span.end)
    comment = text[value.span.end : end].lstrip()
    if comment:  # it stays, on a line of its own
        return Edit(Span(key.span.start, end - len(comment)), "")
    return Edit(Span(start, end + 1), "")


# --- the file ---------------------------------------------------------------------------------


def _version(document: Document) -> Found:
    root = _mapping(document.root)
    version = root.get("apiVersion") if root else None
    if isinstance(version, ScalarNode):
        edit = Edit(version.source_span(0, len(version.text)), "tradectl/v1")
        yield Change(version.span, "the policy is written in tradectl/v1 now", (edit,))


def _selection(document: Document) -> Found:
    """The draft had one way to choose among rules that are true; now a policy says which of two it is."""
    root = _mapping(document.root)
    if root is None or root.get("selection") is not None:
        return
    keys = [key.text for key, _ in root.entries]
    index = next((keys.index(name) for name in ("version", "policy") if name in keys), 0)
    key, value = root.entries[index]
    if root.flow:
        hint = "add  selection: by_priority  and run it again"
        yield Problem(
            "migration", "'selection' is missing, and this file has no lines to put it in", key.span, hint
        )
        return
    end = document.source.text.find("\n", value.span.end)
    edit = Edit(Span(end, end), f"\n{' ' * _column(document, key.span.start)}selection: by_priority")
    sentence = "'selection: by_priority' is stated: the rule of the highest salience decided, whatever it did"
    yield Change(key.span, sentence, (edit,))


def _lists(document: Document) -> Found:
    """Rules, gates and limits were lists of entries with an ``id``; now they are maps by name."""
    root = _mapping(document.root)
    for key, node in root.entries if root else ():
        if key.text not in LISTED or not isinstance(node, SequenceNode):
            continue
        if node.flow:
            hint = f"write each {LISTED[key.text]} on lines of its own, the first beginning with  - id: NAME"
            yield Problem("migration", f"{shown(key.text)} is a list in brackets", key.span, hint)
            continue
        yield from _keyed(document, key, node)


def _keyed(document: Document, section: ScalarNode, node: SequenceNode) -> Found:
    what = LISTED[section.text]
    below = _column(document, node.span.start) <= _column(document, section.span.start)
    changes: list[Change] = []
    names: dict[str, Span] = {}
    start = node.span.start
    for item in node.items:
        dash = _dash(document.source.text, start, item.span.start)
        start = item.span.end
        if not isinstance(item, MappingNode):
            yield Problem("migration", f"this is no {what}", item.span, "write  - id: NAME  and its keys")
            continue
        index = next((i for i, (key, _) in enumerate(item.entries) if key.text == "id"), None)
        name = None if index is None else item.entries[index][1]
        if index is None or not isinstance(name, ScalarNode):
            message = f"this {what} has no 'id', which is its name now"
            yield Problem("migration", message, item.entries[0][0].span, "add  id: NAME")
            continue
        if name.text in names:
            line = document.source.position(names[name.text].start)[0]
            message = f"another {what} is called {shown(name.text)}, in line {line}, and a name is unique now"
            yield Problem("migration", message, name.span, "give one of them another name")
            continue
        names[name.text] = name.span
        edits = _named(document, item, index, dash, 2 if below else 0)
        if isinstance(edits, Problem):
            yield edits
            continue
        sentence = f"{what} {shown(name.text)} is a key now: a name is unique, and every place has a path"
        changes.append(Change(name.span, sentence, edits))
    if below and changes:
        edits = tuple(_indent(document, node, [edit for change in changes for edit in change.edits]))
        changes[0] = Change(changes[0].span, changes[0].sentence, (*edits, *changes[0].edits))
    yield from changes


def _indent(document: Document, node: SequenceNode, edits: list[Edit]) -> Iterator[Edit]:
    """Yield edits that indent a list by two blanks, but for lines that other edits take away."""
    text, first, last = document.source.text, node.span.start, node.items[-1].span.end
    gone = {edit.span.start for edit in edits if not edit.text}
    for edit in edits:
        inside = re.finditer("\n", text[edit.span.start : edit.span.end - 1])
        gone.update(edit.span.start + match.end() for match in inside)
    starts = {first, *(match.end() for match in re.finditer(r"\n(?=[^\n])", text[:last]))}
    yield from (Edit(Span(start, start), "  ") for start in sorted(starts - gone) if start >= first)


def _dash(text: str, start: int, end: int) -> int:
    """Return where the dash of an item stands that begins at ``end``, behind ``start``."""
    found = [match.end() - 1 for match in _DASH.finditer(text, start, end)]
    return found[-1] if found else start


def _named(
    document: Document, item: MappingNode, index: int, dash: int, deeper: int
) -> tuple[Edit, ...] | Problem:
    """Return the edits that put the name of an item in the place of its dash."""
    text = document.source.text
    key, name = item.entries[index]
    written = text[name.span.start : name.span.end]
    if "#" in text[dash : item.span.start]:
        return Problem(
            "migration", "a comment stands between the dash and its entry", key.span, "put it above"
        )
    if item.flow:
        if len(item.entries) == 1:
            return Problem("migration", "there is nothing here but a name", key.span, "delete the entry")
        removed = _without(document, item, index)
        return (
            removed
            if isinstance(removed, Problem)
            else (Edit(Span(dash, item.span.start), f"{written}: "), removed)
        )
    if index == 0:
        return (Edit(Span(dash, name.span.end), f"{written}:"),)
    removed = _without(document, item, index)
    if isinstance(removed, Problem):
        return removed
    first = item.span.start
    column = _column(document, first) + deeper
    return Edit(Span(dash, first), f"{written}:\n{' ' * column}"), removed


# --- words ------------------------------------------------------------------------------------


def _salience(document: Document) -> Found:
    for _, rule in _entries(document, "rules"):
        for key, _ in rule.entries:
            if key.text == "salience":
                yield Change(
                    key.span,
                    "'salience' is called 'priority': the word of people, not of rule engines",
                    (_renamed(key, "priority"),),
                )


def _actions(document: Document) -> Found:
    for _, rule in _entries(document, "rules"):
        for key, value in rule.entries:
            if key.text != "action" or not isinstance(value, ScalarNode):
                continue
            found = _ACTION.match(value.text)
            if found is None or found["verb"] not in ACTIONS:
                hint = f"the actions were {', '.join(ACTIONS)}"
                yield Problem("migration", f"{shown(value.text)} was no action", value.span, hint)
                continue
            verb = found["verb"]
            edit = Edit(value.source_span(found.start("verb"), found.end("verb")), ACTIONS[verb])
            sentence = f"'action: {verb}' is written 'then: {ACTIONS[verb]}': a rule reads as a sentence"
            yield Change(key.span, sentence, (_renamed(key, "then"), edit))


# --- units ------------------------------------------------------------------------------------


def _seconds(document: Document) -> Found:
    """``every_seconds: 30`` is ``every: 30s``."""
    for section, names in SECONDS_KEYS.items():
        root = _mapping(document.root)
        holders = [node for _, node in _entries(document, section)] if section else [root]
        for key, value in (entry for node in holders if node for entry in node.entries):
            if key.text not in names or not isinstance(value, ScalarNode):
                continue
            if not _WHOLE.fullmatch(value.text):
                message = f"{shown(value.text)} is no whole number of seconds"
                yield Problem("migration", message, value.span, "such as 300")
                continue
            name = key.text.removesuffix("_seconds")
            at = value.source_span(0, len(value.text)).end
            sentence = f"'{key.text}: {value.text}' is '{name}: {value.text}s': a number carries its unit"
            yield Change(key.span, sentence, (_renamed(key, name), Edit(Span(at, at), "s")))


def _parameters(document: Document) -> Found:
    """A parameter said its unit in a key of its own; now its numbers carry it."""
    for name, node in _entries(document, "params"):
        index = next((i for i, (key, _) in enumerate(node.entries) if key.text == "unit"), None)
        if index is None:
            continue
        key, unit = node.entries[index]
        measure = PARAMETER_UNITS.get(unit.text) if isinstance(unit, ScalarNode) else None
        if measure is None or len(node.entries) == 1:
            hint = f"the units were {', '.join(PARAMETER_UNITS)}; a plain number has none"
            yield Problem("migration", f"parameter {shown(name)} has no unit that was known", unit.span, hint)
            continue
        edits: list[Edit] = []
        for scalar in _numbers(node):
            for found in _in_unit(_parsed(scalar), measure):
                if isinstance(found, Problem):
                    yield found
                else:
                    edits += found.edits
        removed = _without(document, node, index)
        if isinstance(removed, Problem):
            yield removed
            continue
        sentence = f"the numbers of parameter {shown(name)} carry their unit, which 'unit:' said"
        yield Change(key.span, sentence, (*edits, removed))


def _numbers(parameter: MappingNode) -> Iterator[ScalarNode]:
    for key, value in parameter.entries:
        if key.text in ("value", "range", "for"):
            yield from (
                scalars(value)
                if not isinstance(value, MappingNode)
                else (item for _, item in value.entries if isinstance(item, ScalarNode))
            )


def _weights(document: Document) -> Found:
    """Weights, and the least step of a rule, were fractions."""
    scalars = [
        value
        for _, node in _entries(document, "rules")
        for key, value in node.entries
        if key.text == "min_step"
    ]
    for _, node in _entries(document, "universe"):
        weights = node.get("weights")
        scalars += [value for _, value in weights.entries] if isinstance(weights, MappingNode) else []
    for scalar in scalars:
        if isinstance(scalar, ScalarNode):
            yield from _in_unit(_parsed(scalar), Measure.RATIO)


def _rates(document: Document) -> Found:
    """``3 buys per 180`` counted seconds."""
    for _, limit in _entries(document, "limits"):
        value = limit.get("at_most")
        found = _RATE.fullmatch(value.text) if isinstance(value, ScalarNode) else None
        if found and isinstance(value, ScalarNode):
            at = value.source_span(found.start("seconds"), found.end("seconds"))
            sentence = f"{found['seconds']} is written {found['seconds']}s: a number carries its unit"
            yield Change(at, sentence, (Edit(Span(at.end, at.end), "s"),))


def _conditions(document: Document) -> Found:
    """Ratios were fractions and durations seconds, wherever they were compared or added."""
    units = _Units(document)
    for scalar, start in _written(document):
        expression = _parsed(scalar, start)
        if isinstance(expression, Problem):
            yield expression
        else:
            yield from units.convert(expression, None)


def _written(document: Document) -> Iterator[tuple[ScalarNode, int]]:
    """Yield the texts that the expression language read, and where in each the expression begins."""
    for path, scalar in expressions(document.root):
        stated = path[0] in ("params", "universe") or path[-1] in ("min_step", "then")
        table = path[0] == "define" and len(path) > 2  # step tables came with v1
        count = path[0] == "limits" and _COUNT.match(scalar.text)
        if not (stated or table or count):
            yield scalar, 0
    for _, rule in _entries(document, "rules"):
        value = rule.get("action")
        found = _ACTION.match(value.text) if isinstance(value, ScalarNode) else None
        if found and isinstance(value, ScalarNode) and value.text[found.end() :].strip():
            yield value, found.end()


def _parsed(scalar: ScalarNode, start: int = 0) -> Expression | Problem:
    try:
        return parse(scalar.text[start:], lambda a, b: scalar.source_span(a + start, b + start))
    except ExpressionError as error:
        return Problem("migration", f"this cannot be read: {error.message}", error.span, error.hint)


def _in_unit(literal: Expression | Problem, measure: Measure, *, factor: bool = False) -> Found:
    """Yield the change of a bare number, perhaps negative, to one with its unit; 0 has any.

    As a ratio a number above 1 is not clear, unless it is a ``factor``: 1.1 of the target.
    """
    if isinstance(literal, Problem):
        yield literal
        return
    number = literal.operand if isinstance(literal, Unary) else literal
    if not isinstance(number, Literal) or number.measure is not Measure.SCALAR or not number.value:
        return
    written, text = decimal_text(number.value), _literal(number.value, measure)
    if text is None or (measure is Measure.RATIO and number.value > 1 and not factor):
        yield _unclear(number, measure)
        return
    kind = {Measure.RATIO: "ratio", Measure.DURATION: "duration"}.get(measure, "number")
    sentence = f"{written} is written {text}: a {kind} carries its unit"
    yield Change(number.span, sentence, (Edit(number.span, text),))


def _literal(value: Decimal, measure: Measure) -> str | None:
    """Return a number with its unit, None where it is not whole and must be."""
    if measure is Measure.RATIO:
        return f"{decimal_text(value * 100)}%"
    if measure is Measure.MONEY:
        return f"{decimal_text(value)} USD"
    if value != value.to_integral_value():
        return None
    return f"{decimal_text(value)}{'s' if measure is Measure.DURATION else ' bars'}"


def _unclear(number: Literal, measure: Measure) -> Problem:
    written = decimal_text(number.value)
    if measure is Measure.RATIO:
        percent = decimal_text(number.value * 100)
        message = (
            f"as a fraction {written} is {percent}%: more than the whole, and perhaps {written}% was meant"
        )
        return Problem("migration", message, number.span, f"write {percent}% or {written}%")
    return Problem("migration", f"{written} is no whole number", number.span, "write it with its unit")


class _Units:
    """What the names of a draft measured, as far as it can be known, and the numbers beside them."""

    def __init__(self, document: Document) -> None:
        self._units: dict[str, Unit] = {name: fact.unit for name, fact in FACTS.items()}
        self._definitions: dict[str, Expression] = {}
        root = _mapping(document.root)
        for name, _ in _entries(document, "signals"):
            self._units[f"{name}.confidence"] = Measure.RATIO
        for name, node in _entries(document, "params"):
            unit = node.get("unit")
            if isinstance(unit, ScalarNode) and unit.text in PARAMETER_UNITS:
                self._units[name] = PARAMETER_UNITS[unit.text]
        for section in ("define", "indicators"):
            holder = _mapping(root.get(section)) if root else None
            for key, value in holder.entries if holder else ():
                expression = _parsed(value) if isinstance(value, ScalarNode) else None
                if isinstance(expression, Expression):
                    self._definitions[key.text] = expression

    def of(self, expression: Expression, inside: frozenset[str] = frozenset()) -> Unit | None:
        """Return the unit of an expression, None where it is a bare number or unknown."""
        match expression:
            case Literal(measure=measure):
                return None if measure is Measure.SCALAR else measure
            case Name(name=name):
                return self._of_name(name, inside)
            case Unary(operand=operand) | On(operand=operand):
                return self.of(operand, inside)
            case Binary(operator="*" | "/" | "of" as operator, left=left, right=right):
                units = [self.of(left, inside), self.of(right, inside)]
                bare = [
                    isinstance(side, Literal) and unit is None
                    for side, unit in zip((left, right), units, strict=True)
                ]
                if units[0] is not None and units[1] is not None:
                    return (quotient_unit if operator == "/" else product_unit)(units[0], units[1])
                return units[1] if bare[0] and operator != "/" else units[0] if bare[1] else None
            case Binary(left=left, right=right):
                return self.of(left, inside) or self.of(right, inside)
            case Call(function=function, arguments=arguments):
                return self._of_call(function, arguments, inside)
        return None

    def _of_name(self, name: str, inside: frozenset[str]) -> Unit | None:
        first, _, output = name.partition(".")
        if first in self._definitions and first not in inside:
            definition = self._definitions[first]
            called = definition.operand if isinstance(definition, On) else definition
            if output and isinstance(called, Call):
                return self._of_call(called.function, called.arguments, inside, output)
            return self.of(definition, inside | {first})
        return self._units.get(name)

    def _of_call(
        self, function: str, arguments: tuple[Expression, ...], inside: frozenset[str], output: str = ""
    ) -> Unit | None:
        if function in ("abs", "min", "max", "prev"):
            return next((unit for argument in arguments if (unit := self.of(argument, inside))), None)
        spec = FUNCTIONS.get(function)
        if spec is None or output not in {known.name for known in spec.outputs}:
            return None
        read = self.of(arguments[0], inside) if arguments else None
        unit, _ = spec.unit_of(output, read if isinstance(read, Measure) else COLUMN_UNITS[spec.columns[0]])
        return unit

    def convert(self, expression: Expression, wanted: Measure | None) -> Found:
        """Yield the changes of numbers that are ratios or durations; ``wanted`` is what the whole is."""
        match expression:
            case Literal():
                if wanted is not None:
                    yield from _in_unit(expression, wanted)
            case Chain(operands=operands):
                yield from self._alike(operands, None)
            case Crosses(left=left, right=right):
                yield from self._alike((left, right), None)
            case Binary(operator="+" | "-", left=left, right=right):
                yield from self._alike((left, right), wanted)
            case Call(function="abs" | "min" | "max", arguments=arguments):
                yield from self._alike(arguments, wanted)
            case Call(arguments=arguments):
                yield from self.convert(arguments[0], None) if arguments else ()
            case Binary(operator="of", left=left, right=right):
                whole = isinstance(left, Literal)
                yield from _in_unit(left, Measure.RATIO, factor=True) if whole else ()
                yield from self.convert(left, Measure.RATIO) if not whole else ()
                yield from self.convert(right, wanted)
            case Binary(left=left, right=right):
                yield from self._factors(expression, left, right, wanted)
            case Unary(operand=operand) | On(operand=operand):
                yield from self.convert(operand, wanted)
            case Logic() | Not():
                for part in children(expression):
                    yield from self.convert(part, None)

    def _alike(self, parts: tuple[Expression, ...], wanted: Measure | None) -> Found:
        """Convert what is added or compared: all of it has one unit."""
        units = (self.of(part) for part in parts)
        known = next((unit for unit in units if unit in (Measure.RATIO, Measure.DURATION)), None)
        measure = wanted or (known if isinstance(known, Measure) else None)
        for part in parts:
            yield from self.convert(part, measure)

    def _factors(
        self, whole: Expression, left: Expression, right: Expression, wanted: Measure | None
    ) -> Found:
        """Convert a product: the factor that has the unit of the whole, while the other one scales it."""
        for part in (left, right):
            yield from self.convert(part, wanted if wanted and self.of(part) == wanted else None)
        if wanted and self.of(whole) is None and isinstance(left, Literal) and isinstance(right, Literal):
            message = "which of these numbers is meant to carry the unit cannot be known"
            yield Problem("migration", message, whole.span, "write it as one number")


DIFFERENCES: Final[tuple[Difference, ...]] = (
    _version,
    _selection,
    _lists,
    _salience,
    _actions,
    _seconds,
    _parameters,
    _weights,
    _rates,
    _conditions,
)
"""What is different in v1; all look at the same text, and no two touch the same place."""
