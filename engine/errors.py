"""Problems for people: what is wrong, where, and what to do.

A ``Problem`` is one mistake in one place.  Loaders collect all of them and raise
``PolicyError`` (or return them) once, so that a person mends a file in one go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a problem is: an error stops, a warning does not, information is information."""

    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source text: start and end offsets in code points, end exclusive."""

    start: int
    end: int


NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True)
class Source:
    """A named text that spans point into."""

    name: str
    text: str

    def position(self, offset: int) -> tuple[int, int]:
        """Return (line, column), both from 1, of a code point offset."""
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its end."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: a stable code, the place, one sentence, and what to write instead."""

    code: str
    message: str
    span: Span
    hint: str = ""
    severity: Severity = Severity.ERROR


_LINE_WIDTH = 160
_TAB = "\t"


def render(problem: Problem, source: Source) -> str:
    """Render a problem as ``file:line:column: severity[code]: message`` with line and caret."""
    line_number, column = source.position(problem.span.start)
    line = source.line(line_number).replace(_TAB, " ")
    width = max(1, min(problem.span.end, problem.span.start + len(line) - column + 1) - problem.span.start)
    first = max(0, column - 1 - _LINE_WIDTH // 2) if len(line) > _LINE_WIDTH else 0
    shown = line[first : first + _LINE_WIDTH]
    caret_at = column - 1 - first
    caret = " " * caret_at + "^" * max(1, min(width, len(shown) - caret_at))
    # Control characters in a hostile file must not reach the terminal.
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    head = f"{source.name}:{line_number}:{column}: {problem.severity}[{problem.code}]: {problem.message}"
    rows = [head, f"    {shown}", f"    {caret}"]
    if problem.hint:
        rows.append(f"    {problem.hint}")
    return "\n".join(rows)


class TradectlError(Exception):
    """Base of every error that a person sees as a message instead of a traceback."""


class PolicyError(TradectlError):
    """A policy (or cases, or facts) file with problems; ``problems`` is never empty."""

    def __init__(self, source: Source, problems: tuple[Problem, ...]) -> None:
        """Keep the source and its problems, ordered by place."""
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda p: (p.span.start, p.span.end, p.code)))
        super().__init__(f"{source.name}: {len(problems)} problem(s)")

    def render(self) -> str:
        """Render every problem, a blank line between two."""
        return "\n\n".join(render(problem, self.source) for problem in self.problems)


class DataError(TradectlError):
    """Bars, quotes or another data file that cannot be used; the message names the row."""


class NotFoundError(TradectlError):
    """Something that was asked for by name does not exist."""


class ConfigurationError(TradectlError):
    """The set-up does not allow what was asked (a missing extra, a wrong setting)."""


class UnavailableError(TradectlError):
    """A source, venue or store cannot be reached or written now."""


class JournalError(TradectlError):
    """A record of the journal that cannot be read or kept; the message names the record."""
