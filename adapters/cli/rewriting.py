"""What the commands that rewrite policies share: reading, comparing, writing in place, printing."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import click

import policies
from adapters.cli.output import ExitCode, Output
from adapters.cli.writing import write_whole
from engine.errors import (
    ConfigurationError,
    NotFoundError,
    Problem,
    Source,
    TradectlError,
    UnavailableError,
    render,
)
from engine.language.checker import suggestion
from engine.language.source import MAX_BYTES

STANDARD_INPUT: Final = "-"


class Became(StrEnum):
    """What became of a file."""

    REWRITTEN = "rewritten"
    WOULD_CHANGE = "would-change"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNREAD = "unread"


class Rewriting(Protocol):
    """What the engine makes of a text: another one, or problems."""

    @property
    def source(self) -> Source:
        """The text that its problems point into."""

    @property
    def text(self) -> str | None:
        """The new text, None where there are problems."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What forbids to write it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A file, what the engine made of it, and what became of it."""

    name: str
    became: Became
    rewriting: Rewriting | None = None
    error: TradectlError | None = None
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with each file: nothing is written to ``check`` or to show a ``diff``."""

    rewrite: Callable[[bytes, str], Rewriting]
    check: bool
    diff: bool
    shipped: bool = False
    """Whether shipped policies may be named."""

    @property
    def writes(self) -> bool:
        """Whether files are written."""
        return not (self.check or self.diff)

    def run(self, names: Iterable[str]) -> list[Outcome]:
        """Read, rewrite and write each file, whatever became of the others."""
        return [self._of(name) for name in names]

    def _of(self, name: str) -> Outcome:
        try:
            data, path = self._read(name)
            shown = "<stdin>" if name == STANDARD_INPUT else name if path else f"{name}.yaml"
            rewriting = self.rewrite(data, shown)
            if rewriting.text is None:
                return Outcome(shown, Became.REFUSED, rewriting)
            if rewriting.text.encode() == data:
                return Outcome(shown, Became.UNCHANGED, rewriting)
            if not self.writes:
                diff = unified(data.decode(), rewriting.text, shown) if self.diff else ""
                return Outcome(shown, Became.WOULD_CHANGE, rewriting, diff=diff)
            if path is not None:
                _replace(path, data, rewriting.text)
            return Outcome(shown, Became.REWRITTEN, rewriting)
        except TradectlError as error:
            return Outcome(name, Became.UNREAD, error=error)

    def _read(self, name: str) -> tuple[bytes, Path | None]:
        """Return the bytes of a policy, no more of them than are ever read, and its path if it has one."""
        if name == STANDARD_INPUT:
            return sys.stdin.buffer.read(MAX_BYTES + 1), None
        path = Path(name)
        try:
            if path.is_file():
                with path.open("rb") as file:
                    return file.read(MAX_BYTES + 1), path
            if path.exists():
                raise UnavailableError(f"{name}: is no file")
        except OSError as error:
            raise UnavailableError(f"{name}: cannot be read ({error.strerror})") from error
        shipped = policies.shipped() if self.shipped else ()
        if name not in shipped:
            hint = suggestion(name, shipped)
            raise NotFoundError(f"there is no policy file '{name}'" + (f"; {hint}" if hint else ""))
        if self.writes:
            raise ConfigurationError(
                f"'{name}' is shipped and not written: use --check or --diff, or copy it"
            )
        return policies.read(name).encode(), None


def _replace(path: Path, before: bytes, text: str) -> None:
    """Write a file that is still as it was read; of a symbolic link what it points to is written."""
    try:
        unchanged = path.read_bytes() == before
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error
    if not unchanged:
        raise UnavailableError(f"{path}: was changed meanwhile by somebody else; it is left as it is")
    write_whole(path, text)


def unified(before: str, after: str, name: str) -> str:
    """Return the differences of two texts as patch takes them."""
    old, new = (re.findall(r"[^\n]*\n|[^\n]+$", text) for text in (before, after))
    rows = difflib.unified_diff(old, new, name, name)
    return "".join(row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows)


def require_names(names: Sequence[str], task: Task) -> None:
    """Refuse what cannot be done: click.UsageError."""
    if STANDARD_INPUT in names and len(names) > 1 and (task.writes or names.count(STANDARD_INPUT) > 1):
        raise click.UsageError("standard input stands alone: its new text goes to standard output")
    if not names and task.writes:
        raise click.UsageError("name at least one FILE, or - for standard input")


# --- printing ---------------------------------------------------------------------------------


def show(
    outcomes: Sequence[Outcome],
    task: Task,
    output: Output,
    done: str,
    details: Callable[[Outcome], Iterator[str]],
) -> None:
    """Print what became of each file; ``done`` is the word for having written it.

    Problems go to standard error, for standard output may be a policy or a patch.
    """
    for outcome in outcomes:
        if outcome.error is not None:
            click.echo(f"tradectl: {outcome.error}", err=True)
        elif outcome.rewriting is not None and outcome.became is Became.REFUSED:
            blocks = (render(problem, outcome.rewriting.source) for problem in outcome.rewriting.problems)
            click.echo("\n".join((*blocks, f"{outcome.name}: left as it is")), err=True)
        elif task.diff:
            click.echo(outcome.diff.encode(), nl=False)
        elif outcome.name == "<stdin>" and task.writes and outcome.rewriting is not None:
            click.echo((outcome.rewriting.text or "").encode(), nl=False)
        else:
            word = {Became.REWRITTEN: done, Became.WOULD_CHANGE: f"would be {done}"}.get(
                outcome.became, outcome.became.value
            )
            output.show("\n".join((f"{outcome.name}: {word}", *details(outcome))))


def exit_code(outcomes: Sequence[Outcome], task: Task) -> ExitCode:
    """Return 3, 4 or 5 where a file could not be read or written, 1 where one is refused or fails a check."""
    errors = [outcome.error for outcome in outcomes]
    for kind, code in (
        (NotFoundError, ExitCode.NOT_FOUND),
        (ConfigurationError, ExitCode.CONFIGURATION),
        (TradectlError, ExitCode.UNAVAILABLE),
    ):
        if any(isinstance(error, kind) for error in errors):
            return code
    return ExitCode.OK if passed(outcomes, task) else ExitCode.FINDING


def passed(outcomes: Sequence[Outcome], task: Task) -> bool:
    """Say whether every file is, or was made, as it should be."""
    good = {Became.REWRITTEN, Became.UNCHANGED} | (set() if task.check else {Became.WOULD_CHANGE})
    return all(outcome.became in good for outcome in outcomes)


def document(outcome: Outcome, task: Task) -> dict[str, Any]:
    """Return what ``--json`` prints of a file."""
    rewriting = outcome.rewriting
    printed = outcome.name == "<stdin>" and task.writes and rewriting is not None
    return {
        "file": outcome.name,
        "outcome": outcome.became.value,
        "unread": None if outcome.error is None else str(outcome.error),
        "problems": [] if rewriting is None else [_problem(p, rewriting.source) for p in rewriting.problems],
        "diff": outcome.diff if task.diff else None,
        "text": rewriting.text if printed and rewriting is not None else None,
    }


def _problem(problem: Problem, source: Source) -> dict[str, Any]:
    line, column = source.position(problem.span.start)
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "line": line,
        "column": column,
    }
