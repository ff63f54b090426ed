"""``fmt-policy``: one layout for all policies; what a policy says is never changed.

Two steps, each by places of the source: keys are put into the order of the schema, then white space is
made canonical (``engine.language.layout``).  Nothing is written anew: keys, values and comments are those
that were read, to the character, but for the blanks between the tokens of a condition.  At last the result
is read again and compared; a text that would say something else is never returned.

Maps of names (rules, gates, votes, weights, ...) stay in their order, which has a meaning.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import schemas
from engine.errors import NOWHERE, PolicyError, Problem, Severity, Source, Span
from engine.language.edits import Edit, apply
from engine.language.layout import Layout, is_expression, tokens_of
from engine.language.lines import Kind, Lines
from engine.language.source import (
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    ScalarStyle,
    SequenceNode,
    load_document,
)
from engine.language.structure import POLICY_SCHEMA, check_structure


@dataclass(frozen=True, slots=True)
class Formatted:
    """A policy as it was read and as it is laid out: ``text`` is None where ``problems`` forbid that."""

    source: Source
    text: str | None
    problems: tuple[Problem, ...]


def format_policy(text: str | bytes, name: str) -> Formatted:
    """Lay a policy out; ``name`` is shown in messages.  Bad input is problems, never raised.

    A text that is no YAML or has not the shape of a policy is left alone.  A mistake in a condition is not
    looked for: the blanks of that condition stay as they are.  Line ends stay what the first one is.
    """
    try:
        document = load_document(text, name)
    except PolicyError as error:
        return Formatted(error.source, None, error.problems)
    found = (*document.problems, *check_structure(document).problems, *_complex_keys(document))
    problems = tuple(problem for problem in found if problem.severity is Severity.ERROR)
    if problems:
        return Formatted(document.source, None, tuple(sorted(problems, key=lambda p: p.span.start)))
    written = document.source.text
    laid_out = _laid_out(written.replace("\r\n", "\n").removesuffix("\n") + "\n")
    if laid_out is None:
        return Formatted(document.source, None, (_UNSAFE,))
    line_end = "\r\n" if written[: written.find("\n") + 1].endswith("\r\n") else "\n"
    return Formatted(document.source, laid_out.replace("\n", line_end), ())


_UNSAFE: Final = Problem(
    "not-laid-out",
    "this file cannot be laid out without a change of what it says, so it is left alone",
    NOWHERE,
    "please report it, with the file",
)


def _complex_keys(document: Document) -> Iterator[Problem]:
    """Find keys written ``? key``: a spelling that is left to its writer."""
    text = document.source.text
    lines = Lines(document)
    for line in lines.lines:
        ends = [line.start, *(piece.end for piece in line.pieces)]
        starts = [*(piece.start for piece in line.pieces), line.comment or line.end]
        for start, end in zip(ends, starts, strict=True):
            at = -1 if line.inside else text.find("?", start, end)
            if at >= 0:
                message = "a key that begins with a question mark is not laid out"
                yield Problem("complex-key", message, Span(at, at + 1), "write  key: value")


def _laid_out(text: str) -> str | None:
    """Return a text laid out, None where something would be lost."""
    before = load_document(text, "")
    with_flows = apply(text, _flow_edits(before.root, text))
    with_blocks = _with_blocks_in_order(load_document(with_flows, ""))
    result = Layout(load_document(with_blocks, "")).text()
    try:
        after = load_document(result, "")
    except PolicyError:
        return None
    comments = [sorted(Lines(document).comments()) for document in (before, after)]
    return result if _same(before.root, after.root) and comments[0] == comments[1] else None


def _same(before: Node, after: Node, path: Path = ()) -> bool:
    """Say whether two nodes say the same, which blanks of a condition and the order of keys do not change."""
    match before, after:
        case ScalarNode(), ScalarNode():
            if before.text == after.text and before.style is after.style:
                return True
            if before.style is not after.style or not is_expression(path):
                # The last line of a file has a line end now, and so has its block of text.
                block = before.style in (ScalarStyle.LITERAL, ScalarStyle.FOLDED)
                return block and before.style is after.style and before.text + "\n" == after.text
            found = tokens_of(before)
            return found is not None and found == tokens_of(after)
        case SequenceNode(), SequenceNode():
            return len(before.items) == len(after.items) and all(
                _same(a, b, (*path, index))
                for index, (a, b) in enumerate(zip(before.items, after.items, strict=True))
            )
        case MappingNode(), MappingNode():
            names = [[key.text for key, _ in node.entries] for node in (before, after)]
            if _order(path):
                names = [sorted(keys) for keys in names]
            values = {key.text: value for key, value in after.entries}
            return names[0] == names[1] and all(
                _same(value, values[key.text], (*path, key.text)) for key, value in before.entries
            )
    return False


# --- the order of keys ------------------------------------------------------------------------

_UNORDERED: Final = (("universe",),)
"""Maps of known keys whose order has a meaning: buys compete for cash as classes are written."""


@functools.cache
def _schema() -> dict[str, Any]:
    return schemas.load(POLICY_SCHEMA)


def _order(path: Path) -> tuple[str, ...]:
    """Return the keys of the mapping at a path in their order; none where the writer's order stays."""
    if path in _UNORDERED:
        return ()
    schema = _resolved(_schema())
    for step in path:
        if isinstance(step, int):
            schema = _resolved(schema.get("items", {}))
            continue
        named = schema.get("properties", {}).get(step)
        patterns = schema.get("patternProperties", {})
        schema = _resolved(named or next(iter(patterns.values()), {}))
    return tuple(schema.get("properties", ()))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = _schema()["$defs"][name] if name else schema
    return resolved


def _sorted_indices(node: MappingNode, path: Path) -> list[int]:
    """Return the indices of a mapping's entries in the order that they shall have."""
    order = _order(path)
    keys = [key.text for key, _ in node.entries]
    indices = [*range(len(keys))]
    return sorted(indices, key=lambda index: order.index(keys[index])) if set(keys) <= set(order) else indices


def _flow_edits(node: Node, text: str, path: Path = ()) -> Iterator[Edit]:
    """Yield the edits that order the keys of maps written {a: b}."""
    if isinstance(node, ScalarNode):
        return
    if node.flow:
        written = text[node.span.start : node.span.end]
        ordered = _flow_text(node, text, path)
        if ordered != written:
            yield Edit(node.span, ordered)
    elif isinstance(node, MappingNode):
        for key, value in node.entries:
            yield from _flow_edits(value, text, (*path, key.text))
    else:
        for index, item in enumerate(node.items):
            yield from _flow_edits(item, text, (*path, index))


def _flow_text(node: Node, text: str, path: Path) -> str:
    """Return a node inside brackets with its keys in order, each in the place of another.

    A map with a comment inside is left as it is: nobody can tell whose comment it is.
    """
    if isinstance(node, ScalarNode):
        return text[node.span.start : node.span.end]
    if isinstance(node, SequenceNode):
        spans = [item.span for item in node.items]
        parts = [_flow_text(item, text, (*path, index)) for index, item in enumerate(node.items)]
    else:
        spans = [Span(key.span.start, value.span.end) for key, value in node.entries]
        parts = [
            text[key.span.start : value.span.start] + _flow_text(value, text, (*path, key.text))
            for key, value in node.entries
        ]
        ends = [node.span.start, *(span.end for span in spans), *(key.span.end for key, _ in node.entries)]
        starts = [
            *(span.start for span in spans),
            node.span.end,
            *(value.span.start for _, value in node.entries),
        ]
        if not any("#" in text[end:start] for end, start in zip(ends, starts, strict=True)):
            parts = [parts[index] for index in _sorted_indices(node, path)]
    edits = (Edit(span, part) for span, part in zip(spans, parts, strict=True))
    return apply(text, edits, node.span.start, node.span.end)


def _with_blocks_in_order(document: Document) -> str:
    """Return the text with the keys of maps written in lines in order, their comments with them."""
    lines = Lines(document)
    if not isinstance(document.root, MappingNode) or document.root.flow:
        return document.source.text
    ordered = _ordered_lines(document.root, lines, 0, len(lines.lines), ())
    return "".join(f"{line}\n" for line in ordered)


def _ordered_lines(node: MappingNode, lines: Lines, first: int, end: int, path: Path) -> Iterator[str]:
    """Yield the lines of a mapping, which takes those from ``first`` to ``end``."""
    starts = lines.chunks(node, first, end)
    chunks = [
        list(_chunk(key, value, lines, chunk, (*path, key.text)))
        for (key, value), chunk in zip(node.entries, pairwise(starts), strict=True)
    ]
    yield from map(lines.raw, range(first, starts[0]))
    order = _sorted_indices(node, path)
    for index in order:
        yield from chunks[index]
        if order != [*range(len(order))] and lines.lines[starts[index + 1] - 1].kind is Kind.COMMENT:
            yield ""  # else it would stand above the next key, and be taken for its comment
    yield from map(lines.raw, range(starts[-1], end))


def _chunk(key: ScalarNode, value: Node, lines: Lines, chunk: tuple[int, int], path: Path) -> Iterator[str]:
    """Yield the lines of an entry, those of the mapping in it in order."""
    first, end = chunk
    if isinstance(value, MappingNode) and not value.flow:
        below = lines.number_of(key.span.start) + 1
        yield from map(lines.raw, range(first, below))
        yield from _ordered_lines(value, lines, below, end, path)
    else:
        yield from map(lines.raw, range(first, end))
