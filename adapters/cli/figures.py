"""Instants, money, prices and quantities as the commands about an agent print them, and as JSON numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from engine.units import MONEY_SCALE, NEVER, PRICE_SCALE, QUANTITY_SCALE, Measure, unscaled
from engine.verbs.numbers import decimal, shown

_LABEL: Final = 10
_SPAN: Final = re.compile(r"([1-9]\d{0,8})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def instant(at_ms: int) -> str:
    """Return an instant for people: 2025-11-05 14:30:00Z, with milliseconds only where there are some."""
    return iso(at_ms).replace("T", " ")


def iso(at_ms: int) -> str:
    """Return an instant for JSON: 2025-11-05T14:30:00Z."""
    seconds, thousandths = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{thousandths:03d}Z" if thousandths else f"{text}Z"


def iso_or_none(at_ms: int) -> str | None:
    """Return an instant for JSON, None where it has not been."""
    return None if at_ms == NEVER else iso(at_ms)


def money(amount: int) -> str:
    """Return money with two decimals and thousands apart; what is less than a cent is rounded, half even."""
    return f"{unscaled(amount, MONEY_SCALE):,.2f}"


def price(scaled_price: int) -> str:
    """Return a price with all its digits, two decimals at least."""
    return decimal(unscaled(scaled_price, PRICE_SCALE), 2)


def quantity(scaled_quantity: int) -> str:
    """Return a quantity with all its digits."""
    return decimal(unscaled(scaled_quantity, QUANTITY_SCALE))


def percent(ratio: float) -> str:
    """Return a ratio in percent with two decimals and its sign where it is below 0."""
    return f"{ratio * 100:.2f} %".replace("-0.00 %", "0.00 %")


def span(seconds: float) -> str:
    """Return a duration: 4m 12s."""
    return shown(float(seconds), Measure.DURATION)


def number(scaled_value: int, scale: int) -> float:
    """Return a scaled integer as a JSON number: the shortest that reads back as the same decimal."""
    return float(unscaled(scaled_value, scale))


def money_number(amount: int) -> float:
    """Return money as a JSON number."""
    return number(amount, MONEY_SCALE)


def price_number(scaled_price: int | None) -> float | None:
    """Return a price as a JSON number, None where there is none."""
    return None if scaled_price is None else number(scaled_price, PRICE_SCALE)


def quantity_number(scaled_quantity: int) -> float:
    """Return a quantity as a JSON number."""
    return number(scaled_quantity, QUANTITY_SCALE)


def parse_span(text: str) -> int | None:
    """Return the seconds of a duration as policies write it (30d, 12h, 90m); None for anything else."""
    match = _SPAN.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] if match else None


def rows(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with a label before the first."""
    for index, line in enumerate(lines):
        yield f"{label if index == 0 else '':<{_LABEL}}{line}".rstrip()


def laid_out(table: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows of cells out in columns two blanks apart; the last column is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
