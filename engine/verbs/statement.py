"""What a person states of one instant: facts files, and the fact vectors made of them.

A facts file says what is known under ``facts:`` and what is taken for granted under ``assumed:``, with a
reason.  What follows from both by the vocabulary's invariants is derived, what contradicts them is an
error, what nobody stated is what the vocabulary says it is before anything happened, else Unknown.

    symbol: DOGE-USD
    at: 2025-11-18T12:03:27Z
    facts:
      held: false
      rsi: 51.30
      prev(rsi): 49
      enhanced: {side: sell, confidence: 57%}     # a signal instead of what its votes read
    assumed:
      equity: {value: 100000 USD, because: not in the log}
      ask: {value: 0.1601 USD, range: [0.10 USD, 0.25 USD], because: only the fill is in the log}
    usage:                                        # what limits count, beyond this symbol's own position
      order-rate: 2
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from engine.errors import NOWHERE, PolicyError, Problem, Source, Span
from engine.language.source import (
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    ScalarStyle,
    SequenceNode,
)
from engine.language.source import shown as quoted
from engine.vocabulary import SIGNAL_FIELDS


@dataclass(frozen=True, slots=True)
class Given:
    """One fact as it is written; ``bounds`` are the ends of a range, or the words it may also be."""

    name: str
    name_span: Span
    value: ScalarNode
    assumed: bool = False
    because: str = ""
    bounds: tuple[ScalarNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A facts file, or the part of a case that is one.  Values are typed when a policy reads them."""

    source: Source
    symbol: str | None
    symbol_span: Span
    at_ms: int | None
    given: tuple[Given, ...]
    usage: tuple[Given, ...] = ()


WHAT_IF: Final = "--what-if"
"""The name of the source of overrides."""
KEYS: Final = ("symbol", "at", "facts", "assumed", "usage")
_ASSUMPTION_KEYS: Final = ("value", "range", "because")


def parse_statement(document: Document, *, reasons_required: bool = False) -> Statement:
    """Read a facts file; PolicyError with all mistakes of its shape.

    ``reasons_required`` makes an assumption without a reason a mistake, as it is in cases.
    """
    statement, problems = read_statement(
        document.root, document.source, broken=document.broken, reasons_required=reasons_required
    )
    if document.problems or problems:
        raise PolicyError(document.source, (*document.problems, *problems))
    return statement


def read_statement(
    node: Node,
    source: Source,
    *,
    path: Path = (),
    broken: frozenset[Path] = frozenset(),
    reasons_required: bool = False,
    other_keys: Sequence[str] = (),
) -> tuple[Statement, tuple[Problem, ...]]:
    """Read a statement that stands at ``path`` of a document; ``other_keys`` are the caller's own."""
    reader = _Reader(source, broken, reasons_required)
    return reader.statement(node, path, other_keys), tuple(reader.problems)


def what_if_statement(texts: Sequence[str]) -> Statement:
    """Read overrides such as ``rsi=81``; PolicyError where one is not NAME=VALUE."""
    text = "\n".join(texts)
    source = Source(WHAT_IF, text)
    given: list[Given] = []
    problems: list[Problem] = []
    start = 0
    for part in texts:
        name, equals, value = part.partition("=")
        span = Span(start, start + len(part))
        if not (name.strip() and equals and value.strip()) or "\n" in part:
            problems.append(
                Problem("what-if", f"{quoted(part)} is not NAME=VALUE", span, "such as --what-if rsi=81")
            )
        else:
            at = start + len(name) + 1 + len(value) - len(value.lstrip())
            given.append(Given(name.strip(), Span(start, start + len(name)), scalar_node(value.strip(), at)))
        start = span.end + 1
    if problems:
        raise PolicyError(source, tuple(problems))
    return Statement(source, None, NOWHERE, None, tuple(given))


def scalar_node(text: str, start: int) -> ScalarNode:
    """Return a plain scalar that stands at an offset of a source of one's own making."""
    return ScalarNode(text, ScalarStyle.PLAIN, Span(start, start + len(text)), text)


class _Reader:
    """Reads the shape of a statement; collects what is wrong with it."""

    def __init__(self, source: Source, broken: frozenset[Path], reasons_required: bool) -> None:
        self.source = source
        self.broken = broken
        self.reasons_required = reasons_required
        self.problems: list[Problem] = []

    def report(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.problems.append(Problem(code, message, span, hint))

    def entries(self, node: Node | None, path: Path, what: str) -> Iterable[tuple[ScalarNode, Node, Path]]:
        if node is None or path in self.broken:
            return
        if not isinstance(node, MappingNode):
            self.report("type", f"{what} must be a mapping (name: value)", node.span)
            return
        for key, value in node.entries:
            if (*path, key.text) not in self.broken:
                yield key, value, (*path, key.text)

    def statement(self, node: Node, path: Path, other_keys: Sequence[str]) -> Statement:
        known = (*KEYS, *other_keys)
        symbol, symbol_span, at_ms = None, NOWHERE, None
        given: list[Given] = []
        usage: list[Given] = []
        for key, value, below in self.entries(node, path, "a statement of facts"):
            if key.text == "symbol":
                if isinstance(value, ScalarNode):
                    symbol, symbol_span = value.text, value.span
                else:
                    self.report("type", "'symbol' must be text", value.span, "such as symbol: BTC-USD")
            elif key.text == "at":
                at_ms = self.instant(value)
            elif key.text in ("facts", "assumed"):
                for name, stated, place in self.entries(value, below, f"'{key.text}'"):
                    given += self.fact(name, stated, place, key.text == "assumed")
            elif key.text == "usage":
                for name, stated, _ in self.entries(value, below, "'usage'"):
                    if isinstance(stated, ScalarNode):
                        usage.append(Given(name.text, name.span, stated))
                    else:
                        self.report("type", "what a limit has used is a count or money", stated.span)
            elif key.text not in known:
                near = get_close_matches(key.text, known, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                self.report(
                    "unknown-key",
                    f"unknown key {quoted(key.text)}",
                    key.span,
                    f"{hint}known here: {', '.join(known)}",
                )
        return Statement(self.source, symbol, symbol_span, at_ms, tuple(given), tuple(usage))

    def instant(self, node: Node) -> int | None:
        hint = "write an instant with its zone, such as 2025-11-18T12:03:27Z"
        if isinstance(node, ScalarNode):
            try:
                at = datetime.fromisoformat(node.text)
            except ValueError:
                self.report("instant", f"{quoted(node.text)} is not an instant", node.span, hint)
                return None
            if at.tzinfo is not None:
                return round(at.timestamp() * 1000)
        self.report("instant", "'at' must be an instant with its zone", node.span, hint)
        return None

    def fact(self, name: ScalarNode, node: Node, path: Path, assumed: bool) -> list[Given]:
        """Read one entry: a value, an assumption with its reason, or the fields of a signal."""
        if isinstance(node, ScalarNode):
            if assumed and self.reasons_required:
                self.report(
                    "no-reason",
                    f"the assumption {quoted(name.text)} has no reason",
                    name.span,
                    f"write {name.text}: {{value: {node.text}, because: not in the log}}",
                )
            return [Given(name.text, name.span, node, assumed)]
        if isinstance(node, SequenceNode):
            self.report("type", f"{quoted(name.text)} must be one value, not a list", node.span)
            return []
        if assumed and node.get("value") is not None:
            return self.assumption(name, node, path)
        fields = [key for key, _ in node.entries if key.text != "because" or not assumed]
        wrong = next((key for key in fields if key.text not in SIGNAL_FIELDS), None)
        if wrong is not None or not fields:
            known = ", ".join([*SIGNAL_FIELDS, *(_ASSUMPTION_KEYS if assumed else ())])
            span = wrong.span if wrong else name.span
            self.report(
                "unknown-key",
                f"unknown key {quoted(wrong.text)} in {quoted(name.text)}"
                if wrong
                else f"{quoted(name.text)} is empty",
                span,
                f"known here: {known}",
            )
            return []
        because = self.reason(name, node, path) if assumed else ""
        found = []
        for key, value, below in self.entries(node, path, quoted(name.text)):
            if key.text == "because":
                continue
            field = replace(key, text=f"{name.text}.{key.text}")
            if isinstance(value, ScalarNode):
                found.append(Given(field.text, key.span, value, assumed, because))
            elif assumed and isinstance(value, MappingNode) and value.get("value") is not None:
                found += self.assumption(field, value, below)
            else:
                self.report("type", f"{quoted(field.text)} must be one value", value.span)
        return found

    def reason(self, name: ScalarNode, node: MappingNode, path: Path) -> str:
        because = node.get("because")
        if isinstance(because, ScalarNode):
            return because.text
        if because is not None:
            self.report("type", "'because' must be text", because.span)
        elif self.reasons_required and (*path, "because") not in self.broken:
            self.report(
                "no-reason",
                f"the assumption {quoted(name.text)} has no reason",
                name.span,
                "add because: not in the log",
            )
        return ""

    def assumption(self, name: ScalarNode, node: MappingNode, path: Path) -> list[Given]:
        for key, _ in node.entries:
            if key.text not in _ASSUMPTION_KEYS:
                self.report(
                    "unknown-key",
                    f"unknown key {quoted(key.text)} in {quoted(name.text)}",
                    key.span,
                    f"known here: {', '.join(_ASSUMPTION_KEYS)}",
                )
        value, bounds = node.get("value"), node.get("range")
        because = self.reason(name, node, path)
        if not isinstance(value, ScalarNode):
            self.report("type", f"the value of {quoted(name.text)} must be one value", node.span)
            return []
        ends: list[ScalarNode] = []
        if bounds is not None:
            items = bounds.items if isinstance(bounds, SequenceNode) else ()
            ends = [item for item in items if isinstance(item, ScalarNode)]
            if len(ends) < 2 or len(ends) != len(items):
                self.report("type", "a range is [least, most], or a list of words", bounds.span)
                return []
        return [Given(name.text, name.span, value, True, because, tuple(ends))]
