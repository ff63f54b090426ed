"""Console blocks of the documentation: commands with what they print, run and compared.

A fenced block of language ``console`` holds lines ``$ tradectl ...`` (a backslash at the end goes on with the
next line), each followed by exactly what the command prints; a line ``...`` stands for any lines, and
``$ echo $?`` prints the exit code of the command before.  Commands of one page run in one state folder, in
order, from the root of the repository.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

ELLIPSIS = "..."
_BLOCK = re.compile(r"^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

Run = Callable[[list[str]], tuple[str, int]]
"""Runs a command's arguments; returns what it printed and its exit code."""


@dataclass(slots=True)
class Command:
    """One command of a page; ``prompt`` is how it is written, ``line`` where (from 1)."""

    prompt: str
    line: int
    expected: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The command's words."""
        return shlex.split(self.prompt.removeprefix("$ ").replace("\\\n", " "))


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A command that does not print what the page says."""

    line: int
    prompt: str
    expected: str
    got: str

    def __str__(self) -> str:
        """Say where, what was expected and what came."""
        return f"line {self.line}: {self.prompt}\nthe page says:\n{self.expected}\nit prints:\n{self.got}"


def commands(body: str, first_line: int) -> list[Command]:
    """Split a block into its commands; ValueError where it begins with something else."""
    found: list[Command] = []
    going_on = False
    for number, line in enumerate(body.splitlines(), first_line):
        if going_on:
            found[-1].prompt += "\n" + line
        elif line.startswith("$ "):
            found.append(Command(line, number))
        elif not found:
            raise ValueError(f"line {number}: a console block begins with a command ($ tradectl ...)")
        else:
            found[-1].expected.append(line.rstrip())
            continue
        going_on = line.endswith("\\")
    return found


def matches(expected: list[str], got: list[str]) -> bool:
    """Say whether lines are as expected; ``...`` stands for any lines, none included."""
    if not expected:
        return not got
    if expected[0] == ELLIPSIS:
        return any(matches(expected[1:], got[start:]) for start in range(len(got) + 1))
    return bool(got) and got[0] == expected[0] and matches(expected[1:], got[1:])


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def checked(page: str, run: Run) -> tuple[list[Mismatch], str]:
    """Run every command of a page; return what differs, and the page as it would be right.

    ValueError where a block holds another command than ``tradectl``: such examples are ``sh`` blocks.
    """
    mismatches: list[Mismatch] = []
    pieces: list[str] = []
    at, code = 0, 0
    for block in _BLOCK.finditer(page):
        first_line = page.count("\n", 0, block.start("body")) + 1
        written: list[str] = []
        for command in commands(block["body"], first_line):
            output, code = _outcome(command, run, code)
            got = _lines(output)
            expected = _lines("\n".join(command.expected))
            if not matches(expected, got):
                mismatches.append(Mismatch(command.line, command.prompt, "\n".join(expected), "\n".join(got)))
                expected = got
            written += [command.prompt, *expected]
        pieces += [page[at : block.start("body")], "\n".join(written) + "\n"]
        at = block.end("body")
    return mismatches, "".join([*pieces, page[at:]])


def _outcome(command: Command, run: Run, code: int) -> tuple[str, int]:
    words = command.words
    if words == ["echo", "$?"]:
        return f"{code}\n", 0
    if words[:1] != ["tradectl"]:
        raise ValueError(f"line {command.line}: '{command.prompt}' is no tradectl: make it a block of sh")
    return run(words[1:])


def blocks(page: str) -> Iterator[str]:
    """Yield the bodies of a page's console blocks."""
    return (block["body"] for block in _BLOCK.finditer(page))
