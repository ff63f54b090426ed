"""Fenced YAML blocks of a page, and fragments of policies completed to whole ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import indent
from typing import Final, NamedTuple

from engine.verbs.case_file import CaseFile, load_cases

BACKGROUND: Final = "all: {facts: {price: 100 USD, ask: 100 USD, equity: 10000 USD}}"


class Example(NamedTuple):
    """A fenced block ``yaml KIND CODE``; its parts stand between lines of ``---``."""

    line: int
    section: str
    kind: str
    code: str
    parts: tuple[str, ...]


def examples(text: str) -> Iterator[Example]:
    """Yield the tested blocks of a page."""
    section = ""
    for match in re.finditer(r"^## (.+)$|^```yaml (\w+) ?(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        if match[1]:
            section = match[1]
        else:
            line = text.count("\n", 0, match.start()) + 1
            parts = tuple(re.split(r"^---\n", match[4], flags=re.MULTILINE))
            yield Example(line, section, match[2], match[3], parts)


def sections(policy: str) -> dict[str, str]:
    """Return the top-level entries of a policy as they are written, by key."""
    entries = re.findall(r"^(\w+):(?:.*\n)(?:[ \n#].*\n?)*", policy, re.MULTILINE)
    texts = re.split(rf"^(?=(?:{'|'.join(entries)}):)", policy, flags=re.MULTILINE)
    return dict(zip(entries, texts[1:], strict=True))


def whole(part: str, base: str) -> str:
    """Return a whole policy: a part's entries replace those of the base, unless it is one itself."""
    if part.startswith("apiVersion:"):
        return part
    return "".join({**sections(base), **sections(part)}.values())


def cases(text: str, policy: str, name: str) -> CaseFile:
    """Load cases written without their head; they start from a price and ask of 100 USD."""
    head = f"apiVersion: tradectl/cases-v1\npolicy: {policy}\nbackground: {{{BACKGROUND}}}\ncases:\n"
    return load_cases(head + indent(text, "  "), name)
