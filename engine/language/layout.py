"""White space of a policy, canonical: indentation, blanks inside lines, columns, empty lines.

A line is words with blanks between them, and perhaps a comment.  What the words say is never touched; the
blanks inside a condition are.  Columns that a writer aligned stay aligned: a stretch of blanks is kept where
the word behind it stands under another of the same mapping, and a comment keeps its column, unless what
stands before it has grown.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from engine.errors import Span
from engine.language.edits import Edit, apply
from engine.language.expression import KEYWORDS, ExpressionError, Token, tokens
from engine.language.lines import Kind, Line, Lines, keeps_ends, own_indent, text_column
from engine.language.source import Document, MappingNode, Node, Path, ScalarNode, SequenceNode

INDENT: Final = 2
NEAREST_COMMENT: Final = 2
"""Blanks before a comment that cannot keep its column; one that stood nearer stays so near."""

# --- expressions ------------------------------------------------------------------------------

_EXPRESSIONS: Final = {
    "params": ("value", "range", "for"),
    "universe": ("weights",),
    "rules": ("when", "then", "min_step"),
    "gates": ("when",),
    "limits": ("at_most", "at_least"),
    "orders": ("limit",),
    "promises": ("given", "always", "never"),
}
_WORDS: Final = KEYWORDS | {"to", "buy"}
"""Names that a bracket may follow and that are no functions."""


def is_expression(path: Path) -> bool:
    """Say whether the scalar at a path of a policy is read by the expression language."""
    section, *below = path or ("",)
    if section in ("indicators", "define"):
        return bool(below)
    if section == "signals":
        return len(below) == 4 and below[1] == "votes" and below[3] in ("buy", "sell")
    return len(below) > 1 and below[1] in _EXPRESSIONS.get(str(section), ())


def expressions(node: Node, path: Path = ()) -> Iterator[tuple[Path, ScalarNode]]:
    """Yield the scalars of a policy that the expression language reads, and their paths."""
    if isinstance(node, ScalarNode):
        if is_expression(path):
            yield path, node
    elif isinstance(node, MappingNode):
        for key, value in node.entries:
            yield from expressions(value, (*path, key.text))
    else:
        for index, item in enumerate(node.items):
            yield from expressions(item, (*path, index))


def tokens_of(scalar: ScalarNode) -> tuple[tuple[str, str], ...] | None:
    """Return kind and text of an expression's tokens, without blanks; None where it has a mistake."""
    try:
        return tuple((token.kind, "".join(token.text.split())) for token in tokens(scalar.text))
    except ExpressionError:
        return None


def spacing(scalar: ScalarNode, text: str) -> Iterator[Edit]:
    """Yield the edits of the blanks inside an expression; none where it has a mistake.

    ``text`` is the file's.  Where its lines break is the writer's choice.
    """
    try:
        found = list(tokens(scalar.text, scalar.source_span))[:-1]
    except ExpressionError:
        return
    for token in found:
        written = text[token.span.start : token.span.end]
        if written == token.text and token.kind in ("percent", "money", "bars"):
            blanks = "" if token.kind == "percent" else " "
            yield Edit(token.span, re.sub(r"\s+", blanks, written))
    before: Token | None = None
    for first, second in pairwise(found):
        gap = Span(first.span.end, second.span.start)
        between = text[gap.start : gap.end]
        if gap.start <= gap.end and not between.strip() and "\n" not in between:
            yield Edit(gap, _between(before, first, second))
        before = first


def _between(before: Token | None, first: Token, second: Token) -> str:
    """Return the blanks between two tokens; a minus is a sign where ``before`` it is no operand."""
    opened = first.text == "(" or (first.text == "-" and not _is_operand(before))
    called = second.text == "(" and first.kind == "name" and first.text not in _WORDS
    return "" if opened or called or second.text in (")", ",") else " "


def _is_operand(token: Token | None) -> bool:
    if token is None or token.kind == "compare":
        return False
    return token.text == ")" if token.kind == "symbol" else token.text not in _WORDS


# --- the parts of a result --------------------------------------------------------------------


class _Part(NamedTuple):
    """A scalar, or what of it is on a line, or a mark."""

    start: int
    end: int
    text: str
    mark: str = ""


_MARKS: Final = re.compile(r"^(?:---|\.\.\.)(?=\s|\Z)|[^ \t]", re.MULTILINE)
_CLOSING: Final = ("}", "]")
_ENDING: Final = (",", ":", "-", "---", "...")


@dataclass(slots=True)
class _Word:
    """What stands between two stretches of blanks: where it stood, how far behind the last, and where now."""

    text: str
    column: int
    gap: int
    at: int = 0

    @property
    def end(self) -> int:
        return self.at + len(self.text)


@dataclass(frozen=True, slots=True)
class _Place:
    """How a line is indented now, in whose collection, and the columns around it (old, new)."""

    column: int
    owner: int
    levels: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Row:
    """A line of the result: words and a comment, or else text as it is."""

    kind: Kind
    words: list[_Word] = field(default_factory=list)
    text: str = ""
    comment: str = ""
    comment_column: int = 0
    comment_gap: int = 0

    @property
    def end(self) -> int:
        return self.words[-1].end if self.words else 0

    def written(self) -> str:
        """Return the line."""
        text = self.text
        for word in self.words:
            text = text.ljust(word.at) + word.text
        return text.ljust(self.comment_column) + self.comment if self.comment else text


class Layout:
    """Lays out one document, whose lines end with LF."""

    def __init__(self, document: Document) -> None:
        """Find out where each line belongs."""
        self._source = document.source.text
        self._lines = Lines(document)
        self._root = document.root
        self._places: dict[int, _Place] = {}
        self._shifts: dict[int, tuple[int, int]] = {}  # columns of blocks of text, old and new, by line
        self._openers: set[int] = set()  # lines whose value begins on a later one
        self._edits = {id(node): list(spacing(node, self._source)) for _, node in expressions(document.root)}
        if isinstance(self._root, ScalarNode) or self._root.flow:
            self._begin(self._root.span.start, 0, id(self._root), ())
            self._continue(self._root, None, ())
        else:
            self._block(self._root, 0, ())

    def text(self) -> str:
        """Return the whole text, laid out."""
        rows = [self._row(number, line) for number, line in enumerate(self._lines.lines)]
        self._align_words(rows)
        self._align_comments(rows)
        return "".join(f"{line}\n" for line in self._spread(rows))

    # --- where lines belong -------------------------------------------------------------------

    def _begin(self, offset: int, column: int, owner: int, levels: tuple[tuple[int, int], ...]) -> None:
        """Note the place of the line that begins at an offset, if one does."""
        if self._lines.begins_line(offset):
            self._places[self._lines.number_of(offset)] = _Place(column, owner, levels)

    def _block(
        self, node: MappingNode | SequenceNode, column: int, outside: tuple[tuple[int, int], ...]
    ) -> None:
        start = node.entries[0][0].span.start if isinstance(node, MappingNode) else node.span.start
        levels = (*outside, (self._lines.column_of(start), column))
        if isinstance(node, MappingNode):
            for key, value in node.entries:
                self._begin(key.span.start, column, id(node), levels)
                line = self._lines.number_of(key.span.start)
                if self._lines.number_of(value.span.start) > line:
                    self._openers.add(line)
                self._value(value, column, levels)
            return
        for item in node.items:
            start = self._dash(start, item)
            self._begin(start, column, id(node), levels)
            self._value(item, column, levels)
            start = item.span.end

    def _dash(self, start: int, item: Node) -> int:
        """Return where the dash of an item is, which stands behind ``start``."""
        for number in range(self._lines.number_of(item.span.start), self._lines.number_of(start) - 1, -1):
            line = self._lines.lines[number]
            first = line.start + line.column
            if line.inside is None and start <= first < item.span.start and self._source[first] == "-":
                return first
        return start

    def _value(self, node: Node, holder: int, levels: tuple[tuple[int, int], ...]) -> None:
        """Note the places of a value's lines; ``holder`` is the new column of the key or dash before it."""
        if isinstance(node, ScalarNode) or node.flow:
            self._begin(node.span.start, holder + INDENT, id(node), levels)
            self._continue(node, holder, levels)
        else:
            self._block(node, holder + INDENT, levels)

    def _continue(self, node: Node, holder: int | None, levels: tuple[tuple[int, int], ...]) -> None:
        """Note the places of a value's further lines: moved like its first one, behind what holds it."""
        first, last = self._lines.number_of(node.span.start), self._lines.last_line(node)
        if isinstance(node, ScalarNode) and self._lines.lines[last].inside is node:
            stated = own_indent(node)
            old_holder, new_holder = levels[-1]
            columns = text_column(node, old_holder), new_holder + (stated or INDENT)
            self._shifts |= dict.fromkeys(range(first + 1, last + 1), columns)
            return
        place = self._places.get(first)
        moved = place.column - self._lines.lines[first].column if place else 0
        for number in range(first + 1, last + 1):
            line = self._lines.lines[number]
            closing = self._source[line.start + line.column : line.end][:1] in ("}", "]")
            least = 0 if holder is None else holder if closing else holder + INDENT
            column = max(line.column + moved, least)
            self._places[number] = _Place(column, id(node), (*levels, (line.column, column)))

    # --- lines to words -----------------------------------------------------------------------

    def _row(self, number: int, line: Line) -> _Row:
        if line.inside is not None:
            old, new = self._shifts[number]
            text = apply(self._source, self._edits.get(id(line.inside), ()), line.start, line.end)
            # Blanks beyond the indentation belong to the text.
            return _Row(Kind.CONTENT, text=" " * new + text[old:] if len(text) > old else "")
        row = _Row(line.kind)
        if line.kind is Kind.CONTENT:
            row.words = self._words(line)
            if row.words and number in self._places:
                row.words[0].at = self._places[number].column
        if line.comment is not None:
            before = self._source[line.start : line.comment]
            row.comment = self._source[line.comment : line.end].rstrip()
            row.comment_column = len(before)
            row.comment_gap = len(before) - len(before.rstrip())
        return row

    def _words(self, line: Line) -> list[_Word]:
        """Return the words of a line: a comma, colon or dash ends one; brackets stand by what they hold."""
        words: list[_Word] = []
        end = line.start
        before = ""  # the mark before, "" where it was none
        for part in self._parts(line):
            if part.mark in _CLOSING and before == ",":
                words[-1].text = words[-1].text[:-1] + part.text  # the comma before it says nothing
            elif words and (part.mark in (",", ":") or before not in _ENDING):
                words[-1].text += part.text
            else:
                words.append(_Word(part.text, part.start - line.start, part.start - end))
            end, before = part.end, part.mark
        return words

    def _parts(self, line: Line) -> Iterator[_Part]:
        """Yield scalars, or what of them is on the line, and the marks between them."""
        stop = line.end if line.comment is None else line.comment
        at = line.start
        for piece in line.pieces:
            yield from self._marks(at, piece.start)
            edits = self._edits.get(id(piece.scalar), ())
            yield _Part(piece.start, piece.end, apply(self._source, edits, piece.start, piece.end))
            at = piece.end
        yield from self._marks(at, stop)

    def _marks(self, start: int, end: int) -> Iterator[_Part]:
        for found in _MARKS.finditer(self._source, start, end):
            yield _Part(found.start(), found.end(), found.group(), found.group())

    # --- columns ------------------------------------------------------------------------------

    def _align_words(self, rows: Sequence[_Row]) -> None:
        """Place each word one blank behind the last, or in the column that lines of its collection share."""
        by_owner: dict[int, list[tuple[int, list[_Word]]]] = defaultdict(list)
        for number, row in enumerate(rows):
            place = self._places.get(number)
            moved = place.column - self._lines.lines[number].column if place else 0
            by_owner[place.owner if place else -number].append((moved, row.words))
        for lines in by_owner.values():
            pairs = [(moved, *pair) for moved, words in lines for pair in pairwise(words)]
            # From left to right: where a word stands depends on what stands before it.
            pairs.sort(key=_column)
            for column, group in groupby(pairs, key=_column):
                members = list(group)
                shared = [member for member in members if member[2].gap]
                kept = len(shared) > 1 and any(word.gap > 1 for _, _, word in shared)
                nearest = max((before.end + 1 for _, before, _ in shared), default=0)
                common = max(nearest, column + max(moved for moved, _, _ in members))
                for _, before, word in members:
                    word.at = common if kept and word.gap else before.end + 1

    def _align_comments(self, rows: Sequence[_Row]) -> None:
        """Keep the columns that comments share; move a comment on a line of its own with what is below it."""
        groups: dict[tuple[int, int], list[_Row]] = defaultdict(list)
        columns = Counter(row.comment_column for row in rows if row.comment and row.words)
        paragraph = 0
        above: tuple[int, int] | None = None  # the group of the line above, if its comment is in one
        for row in rows:
            paragraph += row.kind is Kind.BLANK
            key = (paragraph, row.comment_column)
            above = key if row.comment and (row.words or above == key) else None
            if above:
                groups[key].append(row)
        self._move_comments(rows, {id(row) for group in groups.values() for row in group})
        for (_, column), members in groups.items():
            behind = [row for row in members if row.words]
            if columns[column] == 1:
                column = behind[0].end + max(1, behind[0].comment_gap)
            nearest = (row.end + min(NEAREST_COMMENT, max(1, row.comment_gap)) for row in behind)
            common = max(column, *nearest)
            for row in members:
                row.comment_column = common

    def _move_comments(self, rows: Sequence[_Row], grouped: set[int]) -> None:
        """Move the other comments, each as far as the nearest thing that holds it."""
        below: dict[int, int] = {}  # the next line that has a place
        following: int | None = None
        for number in reversed(range(len(rows))):
            if following is not None:
                below[number] = following
            following = number if number in self._places else following
        held: _Place | None = None  # of the last line that has one
        after_text = False
        for number, row in enumerate(rows):
            held = self._places.get(number, held)
            if row.kind is Kind.COMMENT and id(row) not in grouped:
                column = self._comment_column(row.comment_column, held, below.get(number))
                # Indented as deep as a block of text above it, it would be part of that.
                row.comment_column = min(column, held.column) if held and after_text else column
            if row.kind is not Kind.BLANK:
                after_text = self._lines.lines[number].inside is not None

    def _comment_column(self, column: int, above: _Place | None, below: int | None) -> int:
        levels = list(above.levels) if above else []
        if below is not None:
            if self._lines.lines[below].column == column:
                return self._places[below].column
            levels += self._places[below].levels
        old, new = max((level for level in levels if level[0] <= column), default=(column, 0), key=_old)
        return new + column - old

    # --- empty lines --------------------------------------------------------------------------

    def _spread(self, rows: Sequence[_Row]) -> Iterator[str]:
        """Yield the lines with one empty line where there were several, and where a section begins."""
        breaks = self._breaks()
        empty = False
        above: int | None = None
        for number, row in enumerate(rows):
            if row.kind is Kind.BLANK:
                empty = True
                continue
            if above is not None and above not in self._openers and (empty or number in breaks):
                scalar = self._lines.lines[above].inside
                if scalar is None or not keeps_ends(scalar):
                    yield ""
            yield row.written()
            above, empty = number, False

    def _breaks(self) -> set[int]:
        """Return the lines before which an empty one stands: around sections of more than one line."""
        if not isinstance(self._root, MappingNode) or self._root.flow:
            return set()
        keys = [self._lines.number_of(key.span.start) for key, _ in self._root.entries]
        tall = [
            self._lines.last_line(value) > key
            for key, (_, value) in zip(keys, self._root.entries, strict=True)
        ]
        starts = self._lines.chunks(self._root, 0, len(self._lines.lines))
        return {
            next(n for n in range(start, key + 1) if self._lines.lines[n].kind is not Kind.BLANK)
            for start, key, both in zip(starts[1:], keys[1:], pairwise(tall), strict=False)
            if any(both)
        }


def _column(pair: tuple[int, _Word, _Word]) -> int:
    return pair[2].column


def _old(level: tuple[int, int]) -> int:
    return level[0]
