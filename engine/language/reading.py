"""Reading a document whose shape was checked: entries that know their place, and the list of problems.

One mistake is one problem.  What an earlier stage found broken, or what was reported here, ends its entry by
``SkipError``; whoever reads a section goes on with the next entry, so that all mistakes are told in one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from engine.errors import Problem, Severity, Span
from engine.language.expression import (
    Expression,
    ExpressionError,
    Literal,
    Unary,
    duration_text,
    parse,
    unparse,
)
from engine.language.source import (
    MAX_PROBLEMS,
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    ScalarStyle,
    SequenceNode,
    resolve,
    shown,
)
from engine.language.types import example, unit_words
from engine.units import Measure

MAXIMUM_ENTRIES: Final = 500
"""Entries of a section, a list of conditions or a step table."""


class SkipError(Exception):
    """This part cannot be used: its mistake is reported already."""


class EnoughError(Exception):
    """More mistakes than anybody reads."""


class Reader:
    """A document, what is broken in it, and the problems found so far."""

    def __init__(self, document: Document, broken: frozenset[Path], problems: list[Problem]) -> None:
        """``broken`` are the paths at which ``problems`` of earlier stages lie."""
        self.source = document.source
        self.broken = broken
        self.problems = problems
        self._errors = 0

    def report(self, code: str, message: str, span: Span, hint: str = "") -> None:
        """Keep an error; EnoughError where there are too many."""
        self._errors += 1
        if self._errors > MAX_PROBLEMS:
            message = f"there are more than {MAX_PROBLEMS} mistakes; the rest is not shown"
            self.problems.append(Problem("too-many-problems", message, span))
            raise EnoughError
        self.problems.append(Problem(code, message, span, hint))

    def refuse(self, code: str, message: str, span: Span, hint: str = "") -> NoReturn:
        """Keep an error that ends the entry."""
        self.report(code, message, span, hint)
        raise SkipError

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Report the mistake of a parser or checker; it ends the entry."""
        try:
            yield
        except ExpressionError as error:
            self.report(error.code, error.message, error.span, error.hint)
            raise SkipError from None

    def in_unit(self, literal: Literal, wanted: Measure) -> Literal:
        """Return a literal in the unit it must have: a bare 0 has any."""
        if literal.measure is wanted:
            return literal
        if literal.measure is Measure.SCALAR and literal.value == 0:
            return Literal(literal.value, wanted, literal.span)
        message = f"{unit_words(wanted)} is needed here, and this is {unit_words(literal.measure)}"
        self.refuse("unit", message, literal.span, example(wanted))

    def check_count(self, entries: Sequence[Entry], what: str) -> None:
        """Refuse more entries than anybody reads, or a decision could look at in time."""
        if len(entries) > MAXIMUM_ENTRIES:
            message = f"{what} has {len(entries):,} entries; at most {MAXIMUM_ENTRIES} are read"
            self.refuse("too-large", message, entries[0].key.span)

    @property
    def failed(self) -> bool:
        """Whether an error was found, here or by an earlier stage."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def line(self, span: Span) -> int:
        """Return the line of a place."""
        return self.source.position(span.start)[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """A node with its key and path.  Accessors raise SkipError where an earlier stage found it broken."""

    reader: Reader
    key: ScalarNode
    node: Node
    path: Path

    @property
    def name(self) -> str:
        """The key."""
        return self.key.text

    def _usable(self) -> Node:
        if self.path in self.reader.broken:
            raise SkipError
        return self.node

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self._usable(), MappingNode)

    def as_key(self) -> Entry:
        """Return its key as a scalar to be read."""
        return Entry(self.reader, self.key, self.key, self.path)

    # --- mappings and lists -------------------------------------------------------------------

    def find(self, key: str) -> Entry | None:
        """Return an entry of a mapping, None where it is absent."""
        path = (*self.path, key)
        if path in self.reader.broken:
            raise SkipError
        for name, node in self._mapping().entries:
            if name.text == key:
                return Entry(self.reader, name, node, path)
        return None

    def states(self, key: str) -> bool:
        """Say whether an entry is there, if only a broken one."""
        try:
            return self.find(key) is not None
        except SkipError:
            return True

    def get(self, key: str) -> Entry:
        """Return an entry that must be there."""
        entry = self.find(key)
        if entry is None:  # reported as missing
            raise SkipError
        return entry

    def entries(self) -> list[Entry]:
        """Return all entries of a mapping, in order."""
        return [
            Entry(self.reader, key, node, (*self.path, key.text)) for key, node in self._mapping().entries
        ]

    def _mapping(self) -> MappingNode:
        node = self._usable()
        if not isinstance(node, MappingNode):
            raise SkipError
        return node

    def items(self) -> list[Entry]:
        """Return the items of a list; a single value is a list of one."""
        node = self._usable()
        if not isinstance(node, SequenceNode):
            return [self]
        return [
            Entry(self.reader, self.key, item, (*self.path, index)) for index, item in enumerate(node.items)
        ]

    # --- scalars ------------------------------------------------------------------------------

    @property
    def scalar(self) -> ScalarNode:
        """The scalar it must be."""
        node = self._usable()
        if not isinstance(node, ScalarNode):
            raise SkipError
        return node

    @property
    def text(self) -> str:
        """The scalar's text."""
        return self.scalar.text

    def word(self, key: str, default: str = "") -> str:
        """Return the text of an entry of a mapping."""
        entry = self.find(key)
        return default if entry is None else entry.text

    def flag(self, key: str) -> bool:
        """Return a truth value of a mapping, False where it is absent."""
        entry = self.find(key)
        return entry is not None and resolve(entry.scalar) is True

    def number(self) -> Decimal:
        """Return a plain number, as the schema demands one."""
        value = resolve(self.scalar)
        if isinstance(value, str | None):
            raise SkipError
        return Decimal(value)

    def expression(self, start: int = 0, end: int | None = None) -> Expression:
        """Parse the scalar (or a part of it); the spans of the tree are places in the file."""
        scalar = self.scalar
        with self.reader.explaining():
            return parse(scalar.text[start:end], lambda a, b: scalar.source_span(a + start, b + start))

    def literal(self, wanted: Measure | None = None) -> Literal:
        """Read a literal, perhaps negative; a bare 0 is one of any unit."""
        expression = self.expression()
        inner = expression.operand if isinstance(expression, Unary) else expression
        if not isinstance(inner, Literal):
            hint = example(wanted) if wanted else "such as 10%, 5m or 80"
            message = f"a literal is needed here, and {shown(unparse(expression))} is none"
            self.reader.refuse("type", message, expression.span, hint)
        value = inner.value if inner is expression else -inner.value
        literal = Literal(value, inner.measure, expression.span)
        return literal if wanted is None else self.reader.in_unit(literal, wanted)

    def duration(self, longest_seconds: int) -> int:
        """Read a duration above 0, in seconds."""
        literal = self.literal(Measure.DURATION)
        if not 0 < literal.value <= longest_seconds:
            longest = duration_text(longest_seconds)
            message = f"a duration above 0 and of at most {longest} is needed here"
            self.reader.refuse("range", message, literal.span, example(Measure.DURATION))
        return int(literal.value)


def root_entry(reader: Reader, document: Document) -> Entry:
    """Return the whole document as an entry."""
    start = document.root.span.start
    key = ScalarNode("", ScalarStyle.PLAIN, Span(start, start), "")
    return Entry(reader, key, document.root, ())
