"""From the text of a YAML file to nodes that know where they stand.

PyYAML is used as a tokenizer only: its *events* are walked here, so nothing is ever constructed,
no tag or alias is ever followed, and every mistake has a place and our own words.  Scalars stay
text; ``resolve`` reads a plain one by the YAML 1.2 core rules (``on``, ``NO``, ``09:30``, dates
and ``1_000`` are text), so that no ticker turns into a truth value and no clock into a number.

The language is a small part of YAML: one document, UTF-8, no anchors, aliases, tags, merge keys
or directives, and every key is text.  Input is bounded before it is read: events of deeply nested
text cost quadratic time, and libyaml's own composer overflows the stack.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, NoReturn

import yaml

from engine.errors import NOWHERE, PolicyError, Problem, Source, Span
from engine.language.finding_codes import finding

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000
MAX_PROBLEMS: Final = 50
"""A file with more mistakes is not read further: each costs time to place and to show."""

Path = tuple[str | int, ...]
"""Keys and indices from the root to a node."""

_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


# --- nodes ------------------------------------------------------------------------------------


class ScalarStyle(StrEnum):
    """How a scalar is written."""

    PLAIN = "plain"
    SINGLE_QUOTED = "single-quoted"
    DOUBLE_QUOTED = "double-quoted"
    LITERAL = "literal"  # |
    FOLDED = "folded"  # >


class Run(NamedTuple):
    """A stretch of a scalar's value and the stretch of source it came from.

    Where both have one length they are equal character by character (but for a line break that
    folds to a blank); otherwise the source is an escape, a doubled quote or folded line breaks,
    and belongs to the value as a whole.
    """

    value_start: int
    length: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """Text.  ``raw`` is how it is written, from the start of ``span`` on."""

    text: str
    style: ScalarStyle
    span: Span
    raw: str

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the map from offsets of ``text`` to offsets of the source, in code points."""
        return _runs(self.raw, self.span.start, self.text, self.style)

    def source_span(self, start: int, end: int) -> Span:
        """Return where characters ``start`` to ``end`` of ``text`` stand in the source."""
        runs, length = self.runs, len(self.text)
        if start >= length:
            behind = _place(runs, length - 1).end if length else runs[0].start
            return Span(behind, behind)
        first = _place(runs, start)
        return Span(first.start, _place(runs, min(end, length) - 1).end if end > start else first.start)


def _place(runs: tuple[Run, ...], index: int) -> Span:
    run = runs[bisect_right(runs, index, key=lambda run: run.value_start) - 1]
    if run.end - run.start != run.length:
        return Span(run.start, run.end)
    start = run.start + index - run.value_start
    return Span(start, start + 1)


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys and values in the order of the file; no key stands twice."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    span: Span
    flow: bool  # written {a: b}

    def get(self, key: str) -> Node | None:
        """Return the value of ``key``, or None."""
        return next((value for name, value in self.entries if name.text == key), None)


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """Items in the order of the file."""

    items: tuple[Node, ...]
    span: Span
    flow: bool  # written [a, b]


Node = ScalarNode | MappingNode | SequenceNode


@dataclass(frozen=True, slots=True)
class Document:
    """A file that could be read.

    ``broken`` are the paths that a problem makes unusable: later stages pass over them, so that
    one mistake is one error.
    """

    source: Source
    root: Node
    problems: tuple[Problem, ...]
    broken: frozenset[Path]


# --- scalars ----------------------------------------------------------------------------------

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}")
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def resolve(scalar: ScalarNode) -> bool | int | Decimal | str | None:
    """Return what a scalar stands for by the core schema of YAML 1.2, decimal numbers only.

    Quoted and block scalars are text.  A Decimal keeps its digits: ``1.10`` is not ``1.1``.
    """
    text = scalar.text
    if scalar.style is not ScalarStyle.PLAIN:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _LEADING_ZERO.fullmatch(text):
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text


_FOLD: Final = r"(?P<fold>[ \t]*+\r?\n[ \t\r\n]*+)"
_PIECES: Final = {
    ScalarStyle.PLAIN: re.compile(rf"{_FOLD}|(?P<verbatim>[ \t]++|[^ \t\r\n]++)"),
    ScalarStyle.SINGLE_QUOTED: re.compile(rf"{_FOLD}|(?P<escape>'')|(?P<verbatim>[ \t]++|[^ \t\r\n']++)"),
    ScalarStyle.DOUBLE_QUOTED: re.compile(
        rf"{_FOLD}|(?P<joined>\\\r?\n[ \t\r\n]*+)"
        r"|(?P<escape>\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\r\n]))"
        r"|(?P<verbatim>[ \t]++|[^ \t\r\n\\]++)"
    ),
}


def _flow_runs(raw: str, base: int, style: ScalarStyle) -> list[Run]:
    """Read a plain or quoted scalar again: one line break folds to a blank, n to n - 1 breaks."""
    quote = 0 if style is ScalarStyle.PLAIN else 1
    inside = raw[quote : len(raw) - quote]
    runs: list[Run] = []
    value = 0
    for piece in _PIECES[style].finditer(inside):
        kind, source_length = piece.lastgroup, piece.end() - piece.start()
        if kind == "verbatim":
            length = source_length
        elif kind == "escape":
            length = 1
        else:
            breaks = piece.group().count("\n") - 1
            length = max(1, breaks) if kind == "fold" else breaks
        if length:
            start = base + quote + piece.start()
            runs.append(Run(value, length, start, start + source_length))
            value += length
    return runs


_BREAKS: Final = re.compile(r"\n+")


def _block_runs(raw: str, base: int, text: str) -> list[Run]:
    """Lay the lines of a block scalar beside its value.

    Between two lines the value has breaks, or one blank where they were folded.
    """
    content = text.lstrip("\n")
    extra = len(content) - len(content.lstrip(" "))
    runs: list[Run] = []
    value = 0
    offset = raw.find("\n") + 1 or len(raw)
    gap = offset
    indent = -1
    while offset < len(raw) and value < len(text):
        line_end = raw.find("\n", offset)
        line_end = len(raw) if line_end < 0 else line_end
        line = raw[offset:line_end].removesuffix("\r")
        if indent < 0 and line.strip(" "):
            indent = max(0, len(line) - len(line.lstrip(" ")) - extra)
        if indent >= 0 and len(line) > indent:
            start = offset + indent
            breaks = _BREAKS.match(text, value)
            between = (breaks.end() - value if breaks else 0) or min(1, len(runs))
            if between:
                runs.append(Run(value, between, base + gap, base + start))
                value += between
            length = len(line) - indent
            runs.append(Run(value, length, base + start, base + start + length))
            value += length
            gap = start + length
        offset = line_end + 1
    if value < len(text):
        runs.append(Run(value, len(text) - value, base + gap, base + len(raw)))
    return runs


_LONGEST_MAPPED: Final = 16_384
"""No text that is read further is longer; the places of one that is are of no use."""


@functools.lru_cache(maxsize=16)  # one condition asks for many places, one after the other
def _runs(raw: str, base: int, text: str, style: ScalarStyle) -> tuple[Run, ...]:
    """Return the map of a scalar whose source is ``raw``, which begins at ``base``."""
    whole = (Run(0, len(text), base, base + len(raw)),)
    quote = 1 if style in (ScalarStyle.SINGLE_QUOTED, ScalarStyle.DOUBLE_QUOTED) else 0
    if raw[quote : len(raw) - quote] == text:
        return (Run(0, len(text), base + quote, base + quote + len(text)),)
    if len(text) > _LONGEST_MAPPED:
        return whole
    block = style in (ScalarStyle.LITERAL, ScalarStyle.FOLDED)
    runs = _block_runs(raw, base, text) if block else _flow_runs(raw, base, style)
    pieces = (
        (run, raw[run.start - base : run.end - base]) for run in runs if run.end - run.start == run.length
    )
    if sum(run.length for run in runs) == len(text) and all(
        "\n" in piece or text.startswith(piece, run.value_start) for run, piece in pieces
    ):
        return tuple(runs) or (Run(0, 0, base + quote, base + quote),)
    # A spelling that the two readings above do not know: point at the whole scalar.
    return whole


# --- characters -------------------------------------------------------------------------------

# Not for a reader's eyes: controls, line ends that only some readers see, marks that reorder or
# hide text (a condition must read as it acts), halves of surrogate pairs.
_UNSEEN: Final = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
)
_REFUSED: Final = re.compile(rf"[{_UNSEEN}]|\r(?!\n)")
_SHOWN_LENGTH: Final = 48


def shown(text: str) -> str:
    """Return ``text`` in quotes as messages show it: short, on one line, printable."""
    cut = text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."
    return "'" + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut) + "'"


def _refused_character(character: str, span: Span) -> Problem:
    if character == "\r":
        message = "a line ends with a carriage return alone"
        return Problem("line-end", message, span, "end lines with LF or CR LF")
    name = unicodedata.name(character, "a control character")
    return Problem(
        "refused-character",
        f"the character U+{ord(character):04X} ({name}) cannot be seen and is not allowed",
        span,
        "delete it",
    )


def _decode(data: bytes, name: str) -> str:
    """Decode UTF-8, or say at which character it ends being that."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        source = Source(name, data.decode("utf-8", "replace"))
        at = len(data[: error.start].decode("utf-8"))
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            message = "the file is UTF-16, not UTF-8"
        else:
            message = f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8"
        problem = Problem("encoding", message, Span(at, at + 1), "save the file as UTF-8")
        raise PolicyError(source, (problem,)) from None


def _admit(text: str | bytes, name: str) -> Source:
    """Return the source if it is small enough and made of characters a person can see."""
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        message = f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read"
        raise PolicyError(Source(name, ""), (Problem("too-large", message, NOWHERE),))
    # Some editors begin a UTF-8 file with a byte order mark, which says nothing.
    decoded = (_decode(text, name) if isinstance(text, bytes) else text).removeprefix("\ufeff")
    source = Source(name, decoded)
    problems = []
    for match in _REFUSED.finditer(decoded):
        problems.append(_refused_character(match.group(), Span(match.start(), match.end())))
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise PolicyError(source, tuple(problems))
    return source


# --- syntax errors ----------------------------------------------------------------------------

_QUOTES_HINT: Final = "put the whole value in quotes"
_TAG: Final = re.compile(r"[^\s,\[\]{}]+")
_NEGATION: Final = re.compile(r"!([a-z_]+)")
_KEY_WITHOUT_BLANK: Final = re.compile(r"[a-z_]+:")
_ANCHOR_HINT: Final = "write the value out; a text that begins with & or * needs quotes"
_KEY_HINT: Final = "a key is one word before a colon"


def _start(event: yaml.Event) -> int:
    """Return where an event's source begins (events of a parser always have marks)."""
    return event.start_mark.index if event.start_mark else 0


def _end(event: yaml.Event) -> int:
    return event.end_mark.index if event.end_mark else 0


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _syntax_problem(error: yaml.YAMLError, text: str, last: yaml.Event | None, bracket: int) -> Problem:
    """Say in our words what PyYAML did not understand.

    ``last`` is the last event before it, ``bracket`` the place of the innermost open bracket or -1.
    """
    mark, context_mark = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    at = min(mark.index if mark else 0, len(text))
    opened = min(context_mark.index if context_mark else at, len(text))
    complaint = str(getattr(error, "problem", None) or "")
    context = str(getattr(error, "context", None) or "")
    here = text[at : at + 1]
    rest = _line_end(text, at)

    def problem(code: str, message: str, hint: str, start: int = at, end: int = at + 1) -> Problem:
        return Problem(code, message, Span(start, min(max(end, start + 1), len(text))), hint)

    if here == "\t" or "tab character" in complaint:
        return problem("tab", "a tab stands where the line is indented", "indent with spaces")
    if "scanning a quoted" in context and "end of stream" in complaint:
        return problem("open-quote", "this quote is never closed", "close it", opened, opened + 1)
    if "scanning a quoted" in context and "document" in complaint:
        return problem("open-quote", "this quote is not closed before the document ends", "close it", opened)
    if "quoted scalar" in context:
        hint = "in double quotes a backslash begins an escape; single quotes take each character as it is"
        return problem("escape", "this escape is not known", hint, max(opened, text.rfind("\\", 0, at + 1)))
    if "tag" in context or "tag handle" in complaint:
        return _tag_problem(text, opened)
    if "anchor" in context or "alias" in context:
        return problem("anchor", "YAML reads & and * as anchors and aliases", _ANCHOR_HINT, opened)
    if "directive" in context or "directive" in complaint:
        message = "a line that begins with % is a directive, which is not allowed"
        return problem("directive", message, "delete the line", opened)
    first = opened if last and opened >= _end(last) else at
    behind = _text_behind_value(text, first, "flow" in context, last)
    if behind:
        return behind
    if "block scalar" in context:
        message = "a value that begins with | or > is a block of text, which begins on the next line"
        return problem("block-text", message, _QUOTES_HINT, opened, rest)
    if "sequence entries are not allowed" in complaint:
        hint = "write -5 without the blank, or quote the value; a list begins on a line of its own"
        return problem("dash", "a value cannot begin with '- '", hint)
    if "cannot start any token" in complaint:
        return problem("first-character", f"a value cannot begin with {shown(here)}", _QUOTES_HINT)
    return (
        _bracket_problem(text, at, bracket)
        or _colon_problem(text, at, last)
        or _line_problem(text, at, opened, complaint)
    )


def _tag_problem(text: str, start: int) -> Problem:
    found = _TAG.match(text, start)
    tag = found.group() if found else "!"
    message, hint = f"YAML reads {shown(tag)} as a tag", "leave it out; quotes make text of anything"
    if negation := _NEGATION.fullmatch(tag):
        message, hint = message + ", not as a negation", f"write 'not {negation[1]}'"
    return Problem("tag", message, Span(start, min(start + len(tag), len(text))), hint)


def _text_behind_value(text: str, at: int, flow: bool, last: yaml.Event | None) -> Problem | None:
    """Explain an error that stands directly behind a quoted value or a closed bracket."""
    between = text[_end(last) : at] if last else "\n"
    if last is None or "\n" in between or between.strip() or text[at : at + 1] in ("]", "}", ",", "", "\n"):
        return None
    rest = _line_end(text, at)
    if isinstance(last, yaml.ScalarEvent) and last.style in ("'", '"'):
        span = Span(_start(last), max(rest, at + 1))
        value = text[span.start : rest].strip()
        message = "a value that begins with a quote ends at its closing quote, but more follows"
        hint = "put the whole value in quotes of the other kind"
        if flow:
            hint += ", or separate entries with a comma"
        elif "'" not in value and "\n" not in value:
            hint += f": '{shown(value)[1:-1]}'"
        return Problem("text-behind-value", message, span, hint)
    bracket = text[_start(last) : _end(last)]
    if isinstance(last, yaml.CollectionEndEvent) and bracket in ("]", "}"):
        message = f"a value that begins with a bracket ends at its {bracket}, but more follows"
        return Problem("text-behind-value", message, Span(at, max(rest, at + 1)), _QUOTES_HINT)
    return None


def _colon_problem(text: str, at: int, last: yaml.Event | None) -> Problem | None:
    """Explain a colon that can end no key."""
    if text[at : at + 1] != ":":
        return None
    if text[at + 1 : at + 2] not in ("", " ", "\t", "\n", "\r"):
        return Problem("colon", "the colon needs a blank behind it", Span(at, at + 1), "write key: value")
    if isinstance(last, yaml.ScalarEvent) and "\n" not in text[_start(last) : at]:
        message = "a colon with a blank behind it ends a key, and this value holds one"
        return Problem("colon-in-value", message, Span(_start(last), at + 1), _QUOTES_HINT)
    line_start = text.rfind("\n", 0, at) + 1
    line = text[line_start:at]
    key = line.strip()
    if not key:
        return Problem("bad-key", "a key is missing before the colon", Span(at, at + 1), _KEY_HINT)
    start = line_start + len(line) - len(line.lstrip())
    message = f"the key {shown(key)} cannot stand here: its line continues the text of the line above"
    hint = "keys of one mapping begin in the same column, and the line above needs its own key: value"
    return Problem("indentation", message, Span(start, at), hint)


def _bracket_problem(text: str, at: int, bracket: int) -> Problem | None:
    """Explain a bracket that is not closed, or not opened."""
    here = text[at : at + 1]
    if bracket >= 0 and (not here or "\n" in text[bracket:at]):
        opening = text[bracket]
        hint = "close it with " + ("]" if opening == "[" else "}")
        return Problem("open-bracket", f"this {opening} is not closed", Span(bracket, bracket + 1), hint)
    if bracket >= 0 and here != ":":
        message = "a comma or the closing bracket is missing before this"
        return Problem("comma", message, Span(at, min(at + 1, len(text))), "separate entries with commas")
    if here in ("]", "}", ","):
        message = f"nothing is open that {shown(here)} could end or separate"
        return Problem("bracket", message, Span(at, at + 1), "delete it, or put the value in quotes")
    return None


def _line_problem(text: str, at: int, opened: int, complaint: str) -> Problem:
    """Explain a line that fits none above it."""
    if "expected ':'" in complaint:
        message = "this line has no colon, so it is neither a key nor part of a value"
        return Problem("no-colon", message, Span(opened, _line_end(text, opened)), "write key: value")
    message = "the beginning of this line does not fit the lines above it"
    hint = "entries of one mapping or list begin in the same column, each as key: value or - item"
    return Problem("indentation", message, Span(at, max(at, _line_end(text, at))), hint)


# --- composing --------------------------------------------------------------------------------

_STYLES: Final[dict[str | None, ScalarStyle]] = {
    None: ScalarStyle.PLAIN,
    "": ScalarStyle.PLAIN,
    "'": ScalarStyle.SINGLE_QUOTED,
    '"': ScalarStyle.DOUBLE_QUOTED,
    "|": ScalarStyle.LITERAL,
    ">": ScalarStyle.FOLDED,
}


class _Composer:
    """Turns events into nodes and collects problems."""

    def __init__(self, source: Source, loader: type) -> None:
        self._source = source
        self._text = source.text
        self._events: Iterator[yaml.Event] = yaml.parse(source.text, Loader=loader)
        self._last: yaml.Event | None = None
        self._path: list[str | int] = []
        self._brackets: list[int] = []
        self._nodes = 0
        self._problems: list[Problem] = []
        self._broken: set[Path] = set()

    def document(self) -> Document:
        """Read the whole stream."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            self._fail(_EMPTY)
        if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
            span = Span(_start(event), _line_end(self._text, _start(event)))
            message = "directives (%YAML, %TAG) are not allowed"
            self._report(Problem("directive", message, span, "delete the line"))
        root = self._node(self._next())
        if _is_empty(root):
            self._fail(_EMPTY)
        self._next()  # the end of the document
        event = self._next()
        if isinstance(event, yaml.DocumentStartEvent):
            hint = "one file holds one document: move the rest to a file of its own"
            span = Span(_start(event), max(_end(event), _start(event) + 1))
            self._report(Problem("documents", "a second document begins here", span, hint))
        return Document(self._source, root, tuple(self._problems), frozenset(self._broken))

    def _next(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.YAMLError as error:
            if getattr(self._last, "tag", None) is not None:  # reported, and the cause of this one
                raise PolicyError(self._source, tuple(self._problems)) from None
            bracket = self._brackets[-1] if self._brackets else -1
            self._fail(_syntax_problem(error, self._text, self._last, bracket))
        self._last = event
        return event

    def _fail(self, problem: Problem) -> NoReturn:
        raise PolicyError(self._source, (*self._problems, problem)) from None

    def _report(self, problem: Problem) -> None:
        if len(self._problems) == MAX_PROBLEMS:
            message = f"there are more than {MAX_PROBLEMS} mistakes; the rest is not shown"
            self._fail(Problem("too-many-problems", message, problem.span))
        self._problems.append(problem)

    def _break(self, problem: Problem, *below: str | int) -> None:
        """Keep a problem that makes the node at ``below`` the present path unusable."""
        self._broken.add((*self._path, *below))
        self._report(problem)

    def _node(self, event: yaml.Event) -> Node:
        self._check_event(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event)
        assert isinstance(event, yaml.ScalarEvent)  # an alias was not admitted
        scalar = self._scalar(event)
        self._check_value(scalar, _end(event))
        return scalar

    def _check_event(self, event: yaml.Event) -> None:
        """Refuse what would make the document larger, deeper or other than it looks."""
        start = _start(event)
        span = Span(start, max(start + 1, _end(event)))
        self._nodes += 1
        if self._nodes > MAX_NODES:
            message = f"the file has more than {MAX_NODES:,} keys and values"
            self._fail(Problem("too-many-nodes", message, span))
        if len(self._path) > MAX_DEPTH:
            self._fail(Problem("too-deep", f"this is nested deeper than {MAX_DEPTH} levels", span))
        if getattr(event, "anchor", None) is not None:
            message = "anchors and aliases (& and *) are not part of the language"
            self._fail(Problem("anchor", message, Span(start, start + 1), _ANCHOR_HINT))
        if getattr(event, "tag", None) is not None:
            self._break(_tag_problem(self._text, start))

    def _scalar(self, event: yaml.ScalarEvent) -> ScalarNode:
        start, style = _start(event), _STYLES[event.style]
        raw = self._text[start : _end(event)]
        scalar = ScalarNode(
            event.value,
            style,
            Span(start, start + len(raw.rstrip())),
            raw,
        )
        found = _REFUSED.search(scalar.text) if style is ScalarStyle.DOUBLE_QUOTED else None
        if found:
            self._break(_refused_character(found.group(), scalar.source_span(found.start(), found.end())))
        return scalar

    def _check_value(self, scalar: ScalarNode, end: int) -> None:
        """Find what readers of a plain value would differ about, and values cut by ``#``."""
        if scalar.style is not ScalarStyle.PLAIN:
            return
        if _LEADING_ZERO.fullmatch(scalar.text):
            message = f"{shown(scalar.text)} begins with a zero: some readers take it for octal"
            hint = "write it without the zero, or in quotes if it is text"
            self._break(Problem("leading-zero", message, scalar.span, hint))
        comment = self._text[end : end + 3]
        if scalar.text and comment[:2] == " #" and comment[2:] not in ("", " ", "#", "\n", "\r"):
            message = f"a comment begins here and cuts the value to {shown(scalar.text)}"
            hint = "put the value in quotes if # belongs to it; else write a blank behind #"
            span = Span(end + 1, _line_end(self._text, end))
            self._report(finding("comment-in-value", message, span, hint))

    def _open(self, event: yaml.CollectionStartEvent) -> bool:
        """Note the bracket of a collection that has one; say whether it has."""
        if event.flow_style:
            self._brackets.append(_start(event))
        return bool(event.flow_style)

    def _sequence(self, event: yaml.SequenceStartEvent) -> SequenceNode:
        flow = self._open(event)
        items: list[Node] = []
        while not isinstance(following := self._next(), yaml.SequenceEndEvent):
            self._path.append(len(items))
            item = self._node(following)
            if _is_empty(item):
                hint = "write a value, or delete the item"
                self._break(Problem("empty-item", "this item is empty", item.span, hint))
            self._path.pop()
            items.append(item)
        if flow:
            self._brackets.pop()
            self._check_list_commas(items)
        end = _end(following) if flow or not items else items[-1].span.end
        return SequenceNode(tuple(items), Span(_start(event), end), flow)

    def _check_list_commas(self, items: list[Node]) -> None:
        """Find items of ``[...]`` that are parts of one call: ``[highest(high, 20)]``."""
        opened: ScalarNode | None = None
        depth = 0
        for item in items:
            if not isinstance(item, ScalarNode) or item.style is not ScalarStyle.PLAIN:
                opened = None
                continue
            depth = (depth if opened else 0) + item.text.count("(") - item.text.count(")")
            if depth > 0:
                opened = opened or item
            elif opened:
                self._break(self._comma_problem("[]", opened, item.span.end))
                opened = None

    def _comma_problem(self, brackets: str, value: ScalarNode, end: int) -> Problem:
        whole = shown(self._text[value.span.start : end])[1:-1]
        message = f"a comma inside {brackets} ends a value, which leaves {shown(value.text)}"
        return Problem("comma-in-value", message, Span(value.span.start, end), f'put it in quotes: "{whole}"')

    def _mapping(self, event: yaml.MappingStartEvent) -> MappingNode:
        flow = self._open(event)
        entries: list[tuple[ScalarNode, Node]] = []
        while not isinstance(following := self._next(), yaml.MappingEndEvent):
            key = self._key(following)
            self._path.append(key.text if key else "")
            value = self._node(self._next())
            self._path.pop()
            if key:
                entries.append((key, value))
        if flow:
            self._brackets.pop()
            entries = self._without_strays(entries)
        entries = self._without_duplicates(entries)
        for key, value in entries:
            if _is_empty(value) and (*self._path, key.text) not in self._broken:
                hint = "write a value, indent what belongs to it, or delete the key"
                if flow:
                    hint = "write {key: value}, with a blank behind the colon, or [a, b] for a list"
                message = f"the key {shown(key.text)} has no value"
                self._break(Problem("no-value", message, key.span, hint), key.text)
        end = _end(following) if flow or not entries else entries[-1][1].span.end
        return MappingNode(tuple(entries), Span(_start(event), end), flow)

    def _key(self, event: yaml.Event) -> ScalarNode | None:
        """Return a key, or None (reported) if it cannot be one."""
        if not isinstance(event, yaml.ScalarEvent):
            span = Span(_start(event), _start(event) + 1)
            reported = len(self._problems)
            self._path.append("")
            self._node(event)
            self._path.pop()
            del self._problems[reported:]  # of what should not be here at all
            if self._path:
                self._broken.add(tuple(self._path))
            self._report(Problem("bad-key", "a key must be text", span, _KEY_HINT))
            return None
        self._path.append(event.value)
        self._check_event(event)
        key = self._scalar(event)
        self._path.pop()
        if key.text == "<<" and key.style is ScalarStyle.PLAIN:
            hint = "write the entries out: one file says all it means"
            self._fail(Problem("merge-key", "merge keys (<<) are not part of the language", key.span, hint))
        if not key.text or "\n" in key.text:
            message = "a key must be text on one line" if key.text else "a key is missing before the colon"
            self._report(Problem("bad-key", message, key.span, _KEY_HINT))
            return None
        return key

    def _without_strays(self, entries: list[tuple[ScalarNode, Node]]) -> list[tuple[ScalarNode, Node]]:
        """Find keys of ``{...}`` without a colon: what a comma cut off the value before them."""
        kept: list[tuple[ScalarNode, Node]] = []
        cut: dict[int, int] = {}  # the index of an entry: where its value really ends
        for key, value in entries:
            stray = _is_empty(value) and not self._text[key.span.end : value.span.start].strip()
            if stray and kept and _is_plain(kept[-1][1]) and not _KEY_WITHOUT_BLANK.match(key.text):
                cut[len(kept) - 1] = key.span.end
            else:
                kept.append((key, value))
        for index, end in cut.items():
            key, value = kept[index]
            if isinstance(value, ScalarNode) and value.text:
                self._break(self._comma_problem("{}", value, end), key.text)
        return kept

    def _without_duplicates(self, entries: list[tuple[ScalarNode, Node]]) -> list[tuple[ScalarNode, Node]]:
        first: dict[str, tuple[ScalarNode, Node]] = {}
        for key, value in entries:
            kept = first.setdefault(key.text, (key, value))[0]
            if kept is not key:
                line = self._source.position(kept.span.start)[0]
                message = f"the key {shown(key.text)} stands twice; the first is in line {line}"
                self._report(Problem("duplicate-key", message, key.span, "keep one of them"))
        return list(first.values())


_EMPTY: Final = Problem("empty", "the file is empty", NOWHERE, "write key: value, one a line")


def _is_plain(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is ScalarStyle.PLAIN


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is ScalarStyle.PLAIN and not node.text


def load_document(text: str | bytes, name: str) -> Document:
    """Read a YAML file called ``name``.

    Mistakes that leave a tree are in the document's ``problems``; PolicyError is raised, with
    all problems found so far, where no tree can be had: text that is too large, too deep, not
    UTF-8, empty, not YAML, or that uses anchors.
    """
    return _Composer(_admit(text, name), _LOADER).document()
