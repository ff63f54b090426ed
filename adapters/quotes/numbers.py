"""Prices and instants out of the answers of vendors: exact, or not at all."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

_EARLIEST_SECONDS: Final = 946_684_800  # 2000-01-01: no exchange's quote is older
_LATEST_SECONDS: Final = 4_102_444_800  # 2100-01-01: above it lie milliseconds
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def price_of(value: object) -> Decimal | None:
    """Return a number, or a string that is one, as it was written; None unless it is finite and above 0.

    A float stands for the shortest decimal that reads back as it: the one that was sent.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        price = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return price if price.is_finite() and price > 0 else None


def instant_ms(seconds: object) -> int | None:
    """Return seconds since 1970 in milliseconds; None for 0, for what is no number, and for no such age."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | Decimal):
        return None
    return int(seconds * 1000) if _EARLIEST_SECONDS <= seconds < _LATEST_SECONDS else None


def rfc3339_ms(text: object) -> int | None:
    """Return an instant such as ``2022-03-18T14:03:13.661518592Z``, cut to milliseconds; None for another."""
    if not isinstance(text, str) or not (found := _RFC3339.fullmatch(text)):
        return None
    whole, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    except ValueError:
        return None
    seconds = instant_ms(int(at.timestamp()))
    return None if seconds is None else seconds + int((fraction or "").ljust(3, "0")[:3])
