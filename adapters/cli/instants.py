"""Instants as a person writes them in an option."""

from __future__ import annotations

from datetime import datetime

import click


def parse_instant(text: str, option: str) -> int:
    """Return an instant in milliseconds; click.BadParameter where it is none, or has no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.BadParameter(
            f"'{text}' is no instant with its zone: write one such as 2025-11-18T12:03:27Z",
            param_hint=f"'{option}'",
        )
    return round(at.timestamp() * 1000)
