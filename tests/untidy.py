"""Policies as people leave them: comments anywhere, blanks, empty lines, other line ends, another order."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from itertools import pairwise

from engine.language.lines import Kind, Line, Lines
from engine.language.source import MappingNode, load_document

TAILS = ("é\tü", "'quoted", '"half', "{a: [b", "- x: y", "# # #", "a — 日本")


@dataclass
class Untidy:
    """A policy's text that says the same and looks worse.

    ``comments`` are those that were put in, each with a number of its own; ``above`` and ``behind`` tell of
    some of them, by number, what the line below or before them begins with.
    """

    text: str = ""
    comments: list[str] = field(default_factory=list)
    above: dict[int, str] = field(default_factory=dict)
    behind: dict[int, str] = field(default_factory=dict)


def beginning(line: str) -> str:
    """Return what a line begins with: a key, or an item as far as blanks do not matter."""
    return re.sub(r"\s|#.*", "", line).partition(":")[0].removeprefix("-")[:12]


def untidy(text: str, rng: random.Random) -> Untidy:
    """Make a policy's text worse: the same state of ``rng`` makes the same of it."""
    indented = rng.choice((1, 1, 2, 3))
    text = re.sub(r"^ +", lambda blanks: blanks[0] * indented, _shuffled(text, rng), flags=re.MULTILINE)
    document = load_document(text, "untidy.yaml")
    lines, root = Lines(document), document.root
    result = Untidy()
    written: list[str] = []

    def comment() -> str:
        result.comments.append(f"# {len(result.comments)}. {rng.choice(TAILS)}")
        return result.comments[-1]

    for number, line in enumerate(lines.lines):
        raw = lines.raw(number)
        if line.inside is None and not any(
            _goes_on(line, piece.end, piece.scalar.raw) for piece in line.pieces
        ):
            if rng.randrange(10) == 0:
                written += rng.choice(([""], ["   "], ["", "", ""]))
            if rng.randrange(10) == 0:
                column = rng.choice((line.column, line.column, 0, rng.randrange(20)))
                if number and lines.lines[number - 1].inside is not None:
                    column = min(column, line.column)  # else it is a line of the text above
                # What stands above the first key of all is about the file.
                if line.kind is Kind.CONTENT and column == line.column and line.start > root.span.start:
                    result.above[len(result.comments)] = beginning(raw)
                written.append(" " * column + comment())
            raw = _spaced(raw, rng) if line.comment is None else raw
            if line.kind is Kind.CONTENT and line.comment is None and rng.randrange(5) == 0:
                result.behind[len(result.comments)] = beginning(raw)
                raw += " " * rng.choice((1, 2, 3, max(1, 40 - len(raw)))) + comment()
            raw += rng.choice(("", "", "", " ", "    "))
        written.append(raw)
    if rng.randrange(3) == 0:
        written += [*rng.choice(([], [""])), comment()]
    line_end = rng.choice(("\n", "\n", "\r\n"))
    result.text = line_end.join(written) + rng.choice((line_end, line_end, "", line_end * 3))
    return result


def _goes_on(line: Line, end: int, raw: str) -> bool:
    """Say whether a scalar stands on further lines: a comment behind it would be part of it, or end it."""
    return "\n" in raw.rstrip() and end == line.end


def _spaced(raw: str, rng: random.Random) -> str:
    """Return a line with other blanks around operators and behind a comma or a colon."""
    if '"' in raw or "'" in raw:
        return raw
    blanks = ("", " ", "  ")
    if rng.randrange(3) == 0:
        operator = r"(?<=[\w)]) (<=?|>=?|[+*/]) (?=[\w(])"
        raw = re.sub(operator, lambda found: rng.choice(blanks) + found[1] + rng.choice(blanks), raw)
    if rng.randrange(3) == 0:
        raw = re.sub(r"(?<=[,:{]) (?=\S)", lambda _: " " * rng.randrange(1, 5), raw, count=1)
    return raw


def _shuffled(text: str, rng: random.Random) -> str:
    """Return the text with its sections, and the keys of one rule, in another order, sometimes."""
    if rng.randrange(2):
        return text
    document = load_document(text, "untidy.yaml")
    assert isinstance(document.root, MappingNode)
    lines = Lines(document)
    starts = lines.chunks(document.root, 0, len(lines.lines))
    sections = [range(first, end) for first, end in pairwise(starts)]
    rng.shuffle(sections)
    head, foot = range(starts[0]), range(starts[-1], len(lines.lines))
    return "".join(f"{lines.raw(n)}\n" for part in (head, *sections, foot) for n in part)
