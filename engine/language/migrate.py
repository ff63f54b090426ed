"""``migrate-policy``: from an older version of the language to the newest, by edits of the text.

Each migration leads from one version to the next and is a table of differences, pure functions of a document.
What no difference names stays as it was written, comments above all.  What cannot be known is a problem, and
then nothing is changed; the last word has the loader, which must take the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.errors import NOWHERE, PolicyError, Problem, Severity, Source, Span
from engine.language import migrate_v0
from engine.language.edits import Change, Edit, apply, place_before
from engine.language.lines import Lines
from engine.language.load import load_policy
from engine.language.source import Document, MappingNode, ScalarNode, load_document, shown
from engine.language.structure import NEWEST_VERSION, OLDER_VERSIONS


@dataclass(frozen=True, slots=True)
class Migration:
    """The way from one version to the next."""

    source: str
    target: str
    differences: tuple[migrate_v0.Difference, ...]


MIGRATIONS: Final = (Migration("tradectl/v0", "tradectl/v1", migrate_v0.DIFFERENCES),)
"""From the oldest on: the target of each is the source of the next; the last leads to the newest version."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A policy as it was read, and as it is in the newest version.

    ``source`` has lines that end with LF, which the places of changes and problems are of.  ``version`` is
    what the file said, "" where it said nothing known; ``text`` is None where ``problems`` forbid it.
    """

    source: Source
    version: str
    text: str | None
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]


def migrate_policy(text: str | bytes, name: str) -> Migrated:
    """Migrate a policy; ``name`` is shown in messages.  Bad input is problems, never raised."""
    try:
        read = load_document(text, name).source.text
        document = load_document(read.replace("\r\n", "\n").removesuffix("\n") + "\n", name)
    except PolicyError as error:
        return Migrated(error.source, "", None, (), error.problems)
    source, version = document.source, _version(document)
    problems = [problem for problem in document.problems if problem.severity is Severity.ERROR]
    if version is None:
        problems.append(_unknown_version(document))
    if version is None or problems:
        return Migrated(source, version or "", None, (), tuple(problems))
    if version == NEWEST_VERSION:
        return Migrated(source, version, read, (), ())
    changes: list[Change] = []
    edits: list[tuple[Edit, ...]] = []
    for migration in MIGRATIONS[[known.source for known in MIGRATIONS].index(version) :]:
        found = [item for difference in migration.differences for item in difference(document)]
        problems = [item for item in found if isinstance(item, Problem)]
        if problems:
            break
        step = [item for item in found if isinstance(item, Change)]
        changes += [Change(_origin(edits, change.span), change.sentence, change.edits) for change in step]
        edits.append(tuple(edit for change in step for edit in change.edits))
        changed = apply(document.source.text, edits[-1])
        document, problems = _read_again(document, changed)
        if problems:
            break
    problems = [_placed(edits, problem) for problem in problems or _of_result(document)]
    if problems:
        return Migrated(source, version, None, (), tuple(sorted(problems, key=lambda p: p.span.start)))
    line_end = "\r\n" if read[: read.find("\n") + 1].endswith("\r\n") else "\n"
    result = document.source.text.replace("\n", line_end)
    return Migrated(source, version, result, tuple(sorted(changes, key=lambda c: c.span.start)), ())


def _version(document: Document) -> str | None:
    """Return the version that a document is written in, None where that is no known one."""
    found = document.root.get("apiVersion") if isinstance(document.root, MappingNode) else None
    known = (*OLDER_VERSIONS, NEWEST_VERSION)
    return found.text if isinstance(found, ScalarNode) and found.text in known else None


def _unknown_version(document: Document) -> Problem:
    root = document.root
    found = root.get("apiVersion") if isinstance(root, MappingNode) else None
    hint = f"known are {', '.join((*OLDER_VERSIONS, NEWEST_VERSION))}"
    if isinstance(found, ScalarNode):
        return Problem(
            "unknown-version", f"{shown(found.text)} is no version of the language", found.span, hint
        )
    message = "the file does not say in which version of the language it is written"
    return Problem(
        "unknown-version", message, Span(root.span.start, root.span.start + 1), f"add apiVersion: {hint}"
    )


def _read_again(before: Document, text: str) -> tuple[Document, list[Problem]]:
    """Read a changed text; every comment must still be there."""
    try:
        after = load_document(text, before.source.name)
    except PolicyError as error:
        return before, list(error.problems)
    comments = [sorted(Lines(document).comments()) for document in (before, after)]
    if comments[0] != comments[1]:
        message = "this file cannot be migrated without the loss of a comment, so it is left alone"
        return after, [Problem("migration", message, NOWHERE, "please report it, with the file")]
    return after, [problem for problem in after.problems if problem.severity is Severity.ERROR]


def _of_result(document: Document) -> list[Problem]:
    """Return what the loader finds wrong with the result."""
    loaded = load_policy(document.source.text, document.source.name)
    return [problem for problem in loaded.problems if problem.severity is Severity.ERROR]


def _placed(edits: list[tuple[Edit, ...]], problem: Problem) -> Problem:
    return Problem(
        problem.code, problem.message, _origin(edits, problem.span), problem.hint, problem.severity
    )


def _origin(edits: list[tuple[Edit, ...]], span: Span) -> Span:
    """Return where a place stood in the text that was read, before the edits of all steps."""
    for step in reversed(edits):
        span = place_before(step, span)
    return span
