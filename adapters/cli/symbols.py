"""Symbols as a person writes them on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import click

_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,63}")


def parse_symbols(texts: Iterable[str]) -> tuple[str, ...]:
    """Return each symbol once, in upper case; click.BadParameter for what is none."""
    found: dict[str, None] = {}
    for text in texts:
        symbol = text.strip().upper()
        if not _SYMBOL.fullmatch(symbol):
            other = symbol.replace("/", "-")
            hint = f"write {other}" if _SYMBOL.fullmatch(other) else "they are such as SPY, BRK.B, BTC-USD"
            raise click.BadParameter(f"{text!r} is no symbol: {hint}", param_hint="'SYMBOL'")
        found[symbol] = None
    return tuple(found)
