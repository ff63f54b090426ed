"""Keys in a file of settings: found by their names and their shapes, and never shown again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from engine.errors import Problem, Source, Span

_MASK: Final = "\N{BULLET}"
# A name that says so, and the rest of its line, whatever stands there; comments are part of the file, too.
_NAMED: Final = re.compile(
    r"""(?P<name>(?<![\w-])(?:[\w-]*[_-])?(?:api|access|private|secret|client|consumer|app|auth|refresh)?
        (?:keys?|key[_-]?id|secret|token|password|passphrase|credentials?|auth|bearer))["']?
        [ \t]*[:=][ \t]*(?P<value>[^\s\#][^\r\n]*)""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_ADDRESS: Final = re.compile(r"://(?P<value>[^/\s@]+)@")
# Alpaca's key ids; and what nobody writes by hand: a long run of letters and digits mixed.
_SHAPED: Final = re.compile(
    r"(?<![\w/.-])(?:[PAC]K[A-Z0-9]{16,30}|(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{32,128})(?![\w/.-])"
)
_HINT: Final = (
    "delete it here, and have a new one made if others can read the file; keys come from the environment"
    " (APCA_API_KEY_ID, FINNHUB_API_KEY, ...) or the keyring: tradectl init --store-keys"
)


def keys_in(text: str) -> tuple[Problem, ...]:
    """Return a problem for each stretch of a file that looks like a key; none tells what it is."""
    return tuple(
        Problem("key-in-file", f"{name} looks like a key, and a file is no place for keys", span, _HINT)
        for name, span in _found(text)
    )


def masked(source: Source) -> Source:
    """Return a source in which what looks like a key is covered; every other place stays where it was."""
    text = source.text
    for _, span in _found(text):
        text = text[: span.start] + _MASK * (span.end - span.start) + text[span.end :]
    return Source(source.name, text)


def _found(text: str) -> Iterator[tuple[str, Span]]:
    taken = -1
    hits = [(hit.start("value"), hit.end("value"), f"'{hit['name']}'") for hit in _NAMED.finditer(text)]
    hits += [(hit.start("value"), hit.end("value"), "this") for hit in _IN_ADDRESS.finditer(text)]
    hits += [(hit.start(), hit.end(), "this") for hit in _SHAPED.finditer(text)]
    for start, end, name in sorted(hits):
        if start >= taken:
            yield name, Span(start, end)
            taken = end
