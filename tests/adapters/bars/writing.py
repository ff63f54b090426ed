"""Bar files for tests, written as people and vendors write them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

HEADER = ("ts_utc", "open", "high", "low", "close", "volume")
Row = Sequence[object]


def ms(text: str) -> int:
    """Return an ISO time as milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def stamp(at_ms: int) -> str:
    """Return milliseconds as a bar file's time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_csv(path: Path, rows: Iterable[Row], header: Sequence[str] = HEADER) -> Path:
    """Write a csv, or csv.gz, file; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def flat_rows(first: str, step_seconds: int, count: int, price: float = 100.0) -> list[list[object]]:
    """Return rows that move a little around a price, one bar after the other."""
    rows: list[list[object]] = []
    for number in range(count):
        close = price + number % 7 / 10
        rows.append(
            [stamp(ms(first) + number * step_seconds * 1000), price, price + 1, price - 1, close, number]
        )
    return rows
