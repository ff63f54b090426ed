"""How Alpaca writes numbers and instants: strings in trading, numbers in market data, nanoseconds in both."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = ZoneInfo("America/New_York")
EXACT: Final = Context(prec=100)
"""Enough for any product of a price and a quantity that orders may have: money is never rounded."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The stub's clock knows milliseconds.  What it writes has digits below them, as the real one's has: who
# rounds instead of cutting them off is a millisecond late.
_MICROSECONDS: Final = 282
_NANOSECONDS: Final = 661_592


def text(number: Decimal) -> str:
    """Return a number as trading writes it: plain digits in a string, no zeros at its end."""
    written = f"{number:f}"
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def instant(at_ms: int | None) -> str | None:
    """Return an instant of trading: RFC 3339, UTC, microseconds."""
    return None if at_ms is None else f"{_to_the_second(at_ms)}.{at_ms % 1000:03d}{_MICROSECONDS:03d}Z"


def data_instant(at_ms: int) -> str:
    """Return an instant of market data: RFC 3339, UTC, nanoseconds."""
    return f"{_to_the_second(at_ms)}.{at_ms % 1000:03d}{_NANOSECONDS:06d}Z"


def data_nanoseconds(at_ms: int) -> int:
    """Return the same instant in nanoseconds since 1970."""
    return at_ms * 1_000_000 + _NANOSECONDS


def bar_instant(at_ms: int) -> str:
    """Return the instant a bar opens, which is a whole second."""
    return f"{_to_the_second(at_ms)}Z"


def local_instant(at_ms: int, fraction: bool = False) -> str:
    """Return an instant in New York's time, as the clock tells it."""
    local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(NEW_YORK)
    offset = local.strftime("%z")
    digits = f".{at_ms % 1000:03d}{_NANOSECONDS:06d}" if fraction else ""
    return f"{local:%Y-%m-%dT%H:%M:%S}{digits}{offset[:3]}:{offset[3:]}"


def compact(at_ms: int) -> str:
    """Return an instant as the ids of activities begin: 20220202135509981."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y%m%d%H%M%S}{at_ms % 1000:03d}"


def local_date(at_ms: int) -> date:
    """Return the day it is in New York."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(NEW_YORK).date()


def local_ms(day: date, at: time) -> int:
    """Return the instant of a time of day in New York."""
    return to_ms(datetime.combine(day, at, NEW_YORK))


def to_ms(at: datetime) -> int:
    """Return an aware time in milliseconds since 1970, cut off."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def microseconds(at_ms: int) -> int:
    """Return an instant of trading as it is written, in microseconds since 1970."""
    return at_ms * 1000 + _MICROSECONDS


def parsed_instant(written: str) -> int:
    """Return a time that was asked for, in microseconds since 1970; ValueError where it is none.

    It is a date, or RFC 3339; without an offset it is UTC.
    """
    # A plus sign in a query that was not escaped arrives as a space.
    at = datetime.fromisoformat(written.strip().replace(" ", "+"))
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return (aware - _EPOCH) // timedelta(microseconds=1)


def _to_the_second(at_ms: int) -> str:
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%S}"
