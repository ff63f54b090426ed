"""Changes of a text by places: what is not named by an edit stays as it was written, to the character."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from engine.errors import Span


@dataclass(frozen=True, slots=True)
class Edit:
    """What shall stand in the place of a stretch of the text; an empty span inserts."""

    span: Span
    text: str


def ordered(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return edits by place; those that insert in one place stay in their order.  ValueError on overlap."""
    result = tuple(sorted(edits, key=lambda edit: (edit.span.start, edit.span.end)))
    for before, edit in pairwise(result):
        if edit.span.start < before.span.end:
            raise ValueError(f"two edits of one place: {before} and {edit}")
    return result


def apply(text: str, edits: Iterable[Edit], start: int = 0, end: int | None = None) -> str:
    """Return the text from ``start`` to ``end`` with the edits made that lie inside."""
    stop = len(text) if end is None else end
    parts: list[str] = []
    at = start
    for edit in ordered(edits):
        if start <= edit.span.start and edit.span.end <= stop:
            parts += (text[at : edit.span.start], edit.text)
            at = edit.span.end
    return "".join((*parts, text[at:stop]))


def place_before(edits: Iterable[Edit], span: Span) -> Span:
    """Return where a stretch of the changed text stood before: the whole edit where it is inside one."""
    return Span(_before(edits, span.start, end=False), _before(edits, span.end, end=True))


def _before(edits: Iterable[Edit], offset: int, *, end: bool) -> int:
    moved = 0  # how much further right everything stands now
    for edit in ordered(edits):
        start = edit.span.start + moved
        if offset < start or (end and offset == start):
            break
        if offset < start + len(edit.text) or (end and offset == start + len(edit.text)):
            return edit.span.end if end else edit.span.start
        moved += len(edit.text) - (edit.span.end - edit.span.start)
    return offset - moved


@dataclass(frozen=True, slots=True)
class Change:
    """Edits that belong together: what they change, at which place, and why, in one sentence."""

    span: Span
    sentence: str
    edits: tuple[Edit, ...]
