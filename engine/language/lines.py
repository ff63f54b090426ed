"""A YAML text as lines: which are blank, which are comments, which parts of a line are keys and values.

PyYAML's events tell nothing of comments.  They are what stands behind a ``#`` outside of all scalars; and
outside of scalars there is nothing but blanks and the marks ``{}[],:-``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from engine.language.source import Document, MappingNode, Node, ScalarNode, ScalarStyle

_BLOCK: Final = (ScalarStyle.LITERAL, ScalarStyle.FOLDED)
_HEADER: Final = re.compile(r"[|>](?P<indicators>[-+0-9]*)")


class Kind(Enum):
    """What a line is."""

    BLANK = "blank"
    COMMENT = "comment"
    CONTENT = "content"


class Piece(NamedTuple):
    """The part of a scalar that stands on one line."""

    start: int
    end: int
    scalar: ScalarNode


@dataclass(slots=True)
class Line:
    """A line without its end.  ``inside`` is the block of text (``|`` or ``>``) that it belongs to."""

    start: int
    end: int
    pieces: list[Piece] = field(default_factory=list)
    comment: int | None = None
    inside: ScalarNode | None = None
    kind: Kind = Kind.BLANK
    column: int = 0


class Lines:
    """The lines of a document whose text ends them with LF alone, the last one, too."""

    def __init__(self, document: Document) -> None:
        """Find the scalars of each line, then its comment."""
        self.text = document.source.text
        starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        ends = [*(start - 1 for start in starts[1:]), len(self.text)]
        self.lines = [Line(start, end) for start, end in zip(starts, ends, strict=True)]
        if len(self.lines) > 1:
            self.lines.pop()  # what follows the last line end
        self._starts = [line.start for line in self.lines]
        for scalar in scalars(document.root):
            self._place(scalar)
        for line in self.lines:
            self._classify(line)

    def number_of(self, offset: int) -> int:
        """Return the index of the line that holds an offset."""
        return bisect_right(self._starts, offset) - 1

    def column_of(self, offset: int) -> int:
        """Return how far behind the beginning of its line an offset is."""
        return offset - self.lines[self.number_of(offset)].start

    def begins_line(self, offset: int) -> bool:
        """Say whether nothing stands before an offset on its line."""
        return not self.text[self.lines[self.number_of(offset)].start : offset].strip()

    def last_line(self, node: Node) -> int:
        """Return the index of the last line that a node takes."""
        if isinstance(node, ScalarNode):
            return self.number_of(max(node.span.start, end_of(node) - 1))
        if node.flow:
            return self.number_of(node.span.end - 1)
        children = [value for _, value in node.entries] if isinstance(node, MappingNode) else node.items
        return self.last_line(children[-1])

    def raw(self, number: int) -> str:
        """Return a line as it is written."""
        line = self.lines[number]
        return self.text[line.start : line.end]

    def chunks(self, node: MappingNode, first: int, end: int) -> list[int]:
        """Return where each entry of a mapping begins, its comments among it, and where what follows does.

        The mapping takes the lines from ``first`` to ``end``.  A comment belongs to the entry below it,
        unless it is indented deeper than the keys or stands right below an entry with an empty line behind.
        """
        keys = [self.number_of(key.span.start) for key, _ in node.entries]
        column = self.column_of(node.entries[0][0].span.start)
        starts = [first if first else self._head_end(keys[0])]
        for (_, value), key in zip(node.entries, [*keys[1:], None], strict=True):
            starts.append(self._boundary(self.last_line(value) + 1, end if key is None else key, column, key))
        return starts

    def _head_end(self, first_key: int) -> int:
        """Return where the comments of the file end: the only ones, or those before an empty line."""
        lines = self.lines[:first_key]
        begun = next((n for n, line in enumerate(lines) if line.kind is not Kind.BLANK), first_key)
        empty = [n for n, line in enumerate(lines) if line.kind is Kind.BLANK and n > begun]
        marks = [n for n, line in enumerate(lines) if line.kind is Kind.CONTENT]
        return max(empty[-1] + 1 if empty else first_key, *(n + 1 for n in marks), 0)

    def _boundary(self, first: int, end: int, column: int, key: int | None) -> int:
        """Return where an entry ends whose last line is before ``first``; the next ``key`` is at ``end``."""
        end = next((n for n in range(first, end) if self.lines[n].kind is Kind.CONTENT), end)
        deep = [n for n in range(first, end) if self._is_comment(n) and self.lines[n].column > column]
        at = deep[-1] + 1 if deep else first
        # Behind the last entry, what is indented less belongs to what is around the mapping.
        least = column if key is None else 0
        near = (n for n in range(at, end) if not (self._is_comment(n) and self.lines[n].column >= least))
        behind = next(near, end)
        return behind if behind < end or key is None else at

    def _is_comment(self, number: int) -> bool:
        return self.lines[number].kind is Kind.COMMENT

    def comments(self) -> Iterator[str]:
        """Yield each comment, from its # on, without blanks at its end."""
        for line in self.lines:
            if line.comment is not None:
                yield self.text[line.comment : line.end].rstrip()

    def _place(self, scalar: ScalarNode) -> None:
        first, last = self.number_of(scalar.span.start), self.last_line(scalar)
        block = scalar.style in _BLOCK
        for number in range(first, last + 1):
            line = self.lines[number]
            if block and number > first:
                line.inside = scalar
                continue
            start, end = max(scalar.span.start, line.start), min(end_of(scalar), line.end)
            if block:
                end = start + len(header(scalar))
            start += len(self.text[start:end]) - len(self.text[start:end].lstrip())
            line.pieces.append(Piece(start, start + len(_right(self.text[start:end], scalar)), scalar))

    def _classify(self, line: Line) -> None:
        text = self.text[line.start : line.end]
        line.column = len(text) - len(text.lstrip())
        if line.inside is not None:
            line.kind = Kind.CONTENT
            return
        behind = line.pieces[-1].end if line.pieces else line.start
        hash_mark = self.text.find("#", behind, line.end)
        if hash_mark >= 0:
            line.comment = hash_mark
        if text.strip() or line.pieces:  # an empty line inside a quoted value belongs to it
            line.kind = Kind.COMMENT if line.comment == line.start + line.column else Kind.CONTENT


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Yield the keys and values below a node in the order of the file."""
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, MappingNode):
        for key, value in node.entries:
            yield key
            yield from scalars(value)
    else:
        for item in node.items:
            yield from scalars(item)


def _right(text: str, scalar: ScalarNode) -> str:
    r"""Return text without the blanks at its right, but for one that a backslash makes part of the value."""
    bare = text.rstrip()
    escaped = len(bare) - len(bare.rstrip("\\"))
    if scalar.style is ScalarStyle.DOUBLE_QUOTED and escaped % 2 and len(bare) < len(text):
        return text[: len(bare) + 1]
    return bare


# --- blocks of text ---------------------------------------------------------------------------


def header(scalar: ScalarNode) -> str:
    """Return how a block of text begins: ``|``, ``>-``, ``|2``."""
    found = _HEADER.match(scalar.raw)
    assert found is not None
    return found.group()


def keeps_ends(scalar: ScalarNode) -> bool:
    """Say whether the empty lines behind a block of text belong to it (``|+``)."""
    return scalar.style in _BLOCK and "+" in header(scalar)


def own_indent(scalar: ScalarNode) -> int | None:
    """Return the indent that a block of text states relative to what holds it, None where it does not."""
    digits = [character for character in header(scalar) if character.isdigit()]
    return int(digits[0]) if digits else None


def text_column(scalar: ScalarNode, holder_column: int) -> int:
    """Return the column at which the lines of a block of text begin."""
    stated = own_indent(scalar)
    if stated is not None:
        return holder_column + stated
    full = (line for line in scalar.raw.split("\n")[1:] if line.strip(" "))
    return next((len(line) - len(line.lstrip(" ")) for line in full), holder_column + 1)


def end_of(scalar: ScalarNode) -> int:
    """Return where a scalar ends: a block of text with its last line, which may be of blanks."""
    if scalar.style not in _BLOCK:
        return scalar.span.end
    if keeps_ends(scalar):
        return scalar.span.start + len(scalar.raw)
    first, *lines = scalar.raw.split("\n")
    full = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")]
    if not full:
        return scalar.span.start + len(first.rstrip())
    # A line of more blanks than all others are indented by is text.
    while lines and not lines[-1].strip(" ") and len(lines[-1]) <= min(full):
        lines.pop()
    return scalar.span.start + len("\n".join((first, *lines)))
