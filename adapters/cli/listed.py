"""Conditions and facts laid out over lines: none is broken where it need not be."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

WIDTH: Final = 110
_INDENT: Final = " " * 9


def wrapped(label: str, parts: Sequence[str]) -> Iterator[str]:
    """Lay parts out behind a label, with commas between them; alternatives are put in brackets."""
    line, begun = label, False
    for number, part in enumerate(parts, 1):
        text = f"({part})" if " or " in part and len(parts) > 1 else part
        text += "," if number < len(parts) else ""
        if begun and len(line) + len(text) >= WIDTH:
            yield line.rstrip()
            line = _INDENT
        line += f"{text} "
        begun = True
    yield from textwrap.wrap(line, WIDTH, subsequent_indent=_INDENT, break_long_words=False)
