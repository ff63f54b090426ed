"""Reading the fields of Alpaca's rows: exact, and nothing taken for what it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

Row = Mapping[str, object]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MOST_DIGITS: Final = 15
"""Before the point, and twice as many behind it: no number of an account has more."""
_INSTANT: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d+))?(Z|[+-]\d{2}:\d{2})")


class OddRowError(Exception):
    """A row that does not say what it must; the text tells which field, without the row."""


def row_of(value: object) -> Row:
    """Return a JSON object; OddRowError for anything else."""
    if isinstance(value, dict):
        return value
    raise OddRowError(f"a {type(value).__name__} where an object was expected")


def text_of(row: Row, name: str) -> str:
    """Return a text that is not empty."""
    value = row.get(name)
    if isinstance(value, str) and value:
        return value
    raise OddRowError(f"{name} is {_shown(value)}, not a text")


def id_of(row: Row, name: str = "id") -> str:
    """Return one of the venue's identifiers, which may stand in an address."""
    text = text_of(row, name)
    try:
        return str(UUID(text))
    except ValueError:
        raise OddRowError(f"{name} is {_shown(text)}, not an identifier") from None


def optional_id_of(row: Row, name: str) -> str | None:
    """Return an identifier, None where it is absent or null."""
    return None if row.get(name) is None else id_of(row, name)


def flag_of(row: Row, name: str) -> bool:
    """Return true or false."""
    value = row.get(name)
    if isinstance(value, bool):
        return value
    raise OddRowError(f"{name} is {_shown(value)}, not true or false")


def number_of(row: Row, name: str) -> Decimal:
    """Return a finite number of a usual size, sent as a string (as the venue does) or as a number."""
    value = row.get(name)
    if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite():
            exponent = number.as_tuple().exponent
            if number.adjusted() < _MOST_DIGITS and int(exponent) >= -2 * _MOST_DIGITS:
                return number
    raise OddRowError(f"{name} is {_shown(value)}, not a number")


def optional_number_of(row: Row, name: str) -> Decimal | None:
    """Return a number, None where it is absent or null."""
    return None if row.get(name) is None else number_of(row, name)


def instant_of(row: Row, name: str) -> int:
    """Return an instant, milliseconds since 1970 UTC; what is finer is cut off, so that nothing is early."""
    text = text_of(row, name)
    parts = _INSTANT.fullmatch(text)
    if parts is not None:
        whole, fraction, offset = parts.groups()
        try:
            at = datetime.fromisoformat(f"{whole}.{(fraction or '0')[:6].ljust(6, '0')}{offset}")
            return (at - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):
            pass
    raise OddRowError(f"{name} is {_shown(text)}, not an instant")


def instant_text(at_ms: int) -> str:
    """Return an instant as the venue reads it in questions."""
    return f"{_EPOCH + at_ms * _MILLISECOND:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _shown(value: object) -> str:
    """Return a value as it can be told: short, and of one line."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
