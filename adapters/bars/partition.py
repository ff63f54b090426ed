"""One partition of the history store: bars as columns, their origins, and the parquet file that keeps them.

The file has the columns ``ts_utc`` (the bar's start), ``open, high, low, close, volume`` (float64, bit for
bit what was given), ``traded`` and ``origin``, which counts into the origins in its metadata.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from adapters.bars.series import BarSeries
from adapters.bars.source import Adjustment
from adapters.extras import require

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Indices = NDArray[np.int16]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SCHEMA: Final = "history-v1"
NUMBERS: Final = ("open", "high", "low", "close", "volume")
CLOSE: Final = NUMBERS.index("close")
PARTITION: Final = re.compile(r"([12]\d{3})(?:-(0[1-9]|1[0-2]))?\.parquet")
"""The name of a partition: its year, and its month."""

_YEARLY_FROM_SECONDS: Final = 3600
_METADATA: Final = b"tradectl"
# Prices repeat too seldom for dictionaries, which cost four times as much and make larger files.
_ENCODING: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "use_dictionary": ["traded", "origin"],
    "column_encoding": {"ts_utc": "DELTA_BINARY_PACKED"},
}
_CHECKSUM: Final = b"tradectl.crc32"


class DamagedError(Exception):
    """A file is no partition, or not what was written."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bars came from, and when they were last asked for.

    ``calendar`` says which bars are expected, ``currency`` is what prices are in.
    """

    source: str
    spelling: str
    calendar: str
    adjustment: Adjustment = Adjustment.RAW
    currency: str = "USD"
    fetched_at_ms: int = 0

    def is_like(self, other: Origin) -> bool:
        """Say whether two origins differ in their time only."""
        return replace(self, fetched_at_ms=other.fetched_at_ms) == other


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars as arrays, ascending in time; ``origin`` counts into ``origins``."""

    times: Integers
    numbers: tuple[Floats, ...]  # in the order of NUMBERS
    traded: Flags
    origin: Indices
    origins: tuple[Origin, ...]

    def __len__(self) -> int:
        """Return how many bars there are."""
        return len(self.times)

    def taken(self, which: slice | Flags | Integers) -> Columns:
        """Return some of the bars: a slice, those that are flagged, or those that are counted."""
        return replace(
            self,
            times=self.times[which],
            numbers=tuple(column[which] for column in self.numbers),
            traded=self.traded[which],
            origin=self.origin[which],
        )

    def between(self, start_ms: int | None, end_ms: int | None) -> Columns:
        """Return the bars with start_ms <= open < end_ms; None is no bound."""
        if start_ms is None and end_ms is None:
            return self
        start = 0 if start_ms is None else int(self.times.searchsorted(start_ms))
        end = len(self) if end_ms is None else int(self.times.searchsorted(end_ms))
        return self.taken(slice(start, end))

    def add_to(self, series: BarSeries) -> None:
        """Put the bars at the end of a series."""
        series.open_time_ms.frombytes(self.times.tobytes())
        targets = (series.open, series.high, series.low, series.close, series.volume)
        for target, column in zip(targets, self.numbers, strict=True):
            target.frombytes(column.tobytes())
        series.traded.extend(self.traded.tobytes())


def columns_of(bars: BarSeries, origin: Origin) -> Columns:
    """Return a copy of a series as columns, all of one origin."""
    import numpy as np

    numbers = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return Columns(
        np.array(bars.open_time_ms, np.int64),
        tuple(np.array(column, np.float64) for column in numbers),
        np.array(memoryview(bars.traded), np.uint8).astype(bool),
        np.zeros(len(bars), np.int16),
        (origin,),
    )


# --- which partition --------------------------------------------------------------------------


def partition_name(interval_seconds: int, at_ms: int) -> str:
    """Return the name of the partition that a bar belongs to."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    month = "" if interval_seconds >= _YEARLY_FROM_SECONDS else f"-{at.month:02}"
    return f"{at.year:04}{month}.parquet"


def partition_bounds(name: str) -> tuple[int, int]:
    """Return the first instant of a partition, and the first behind it."""
    match = PARTITION.fullmatch(name)
    assert match is not None, name
    year, month = int(match[1]), match[2]
    first = datetime(year, int(month or 1), 1, tzinfo=UTC)
    behind = datetime(year + 1, 1, 1, tzinfo=UTC)
    if month and month != "12":
        behind = datetime(year, int(month) + 1, 1, tzinfo=UTC)
    return int(first.timestamp()) * 1000, int(behind.timestamp()) * 1000


def by_partition(columns: Columns, interval_seconds: int) -> Iterator[tuple[str, Columns]]:
    """Yield the name of each partition, and its bars."""
    start = 0
    while start < len(columns):
        name = partition_name(interval_seconds, int(columns.times[start]))
        end = int(columns.times.searchsorted(partition_bounds(name)[1]))
        yield name, columns.taken(slice(start, end))
        start = end


# --- the file ---------------------------------------------------------------------------------


def partition_bytes(columns: Columns, symbol: str, interval_seconds: int) -> bytes:
    """Return the content of a partition's file; ConfigurationError where pyarrow is not installed."""
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    said = {
        "schema": SCHEMA,
        "symbol": symbol,
        "interval_seconds": interval_seconds,
        "bars": len(columns),
        "origins": [asdict(origin) for origin in columns.origins],
    }
    text = json.dumps(said).encode()
    table = pyarrow.table(
        {
            "ts_utc": pyarrow.array(columns.times).cast(pyarrow.timestamp("ms", "UTC")),
            **dict(zip(NUMBERS, map(pyarrow.array, columns.numbers), strict=True)),
            "traded": pyarrow.array(columns.traded),
            "origin": pyarrow.array(columns.origin),
        },
        metadata={_METADATA: text, _CHECKSUM: str(zlib.crc32(text)).encode()},
    )
    buffer = pyarrow.BufferOutputStream()
    parquet.write_table(table, buffer, write_page_checksum=True, **_ENCODING)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def parsed(content: bytes, symbol: str, interval_seconds: int, path: Path) -> Columns:
    """Return the bars of a partition's file.

    Raises:
        DamagedError: The content is not what was written for this symbol, interval and path.
        ConfigurationError: pyarrow is not installed.
    """
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    try:
        table = parquet.read_table(pyarrow.BufferReader(content), page_checksum_verification=True)
        columns = _columns_of_table(pyarrow, table, symbol, interval_seconds)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # The library's message may be many lines, or none.
        raise DamagedError(str(error).partition("\n")[0] or type(error).__name__) from error
    first_ms, behind_ms = partition_bounds(path.name)
    if len(columns):
        if (columns.times[1:] <= columns.times[:-1]).any():
            raise DamagedError("its bars do not ascend")
        if not first_ms <= columns.times[0] <= columns.times[-1] < behind_ms:
            raise DamagedError("its bars belong to another partition")
        if not 0 <= columns.origin.min() <= columns.origin.max() < len(columns.origins):
            raise DamagedError("its bars have an origin that is not listed")
    return columns


def _columns_of_table(
    pyarrow: Any,  # noqa: ANN401  # untyped library
    table: Any,  # noqa: ANN401  # untyped library
    symbol: str,
    interval_seconds: int,
) -> Columns:
    metadata = table.schema.metadata or {}
    text = metadata[_METADATA]
    if zlib.crc32(text) != int(metadata[_CHECKSUM]):
        raise DamagedError("its metadata do not match their checksum")
    said = json.loads(text)
    if (said["schema"], said["symbol"], said["interval_seconds"]) != (SCHEMA, symbol, interval_seconds):
        raise DamagedError(f"it holds {said['symbol']} in bars of {said['interval_seconds']} seconds")
    if said["bars"] != table.num_rows:
        raise DamagedError(f"{table.num_rows} of {said['bars']} bars")
    origins = [Origin(**{**one, "adjustment": Adjustment(one["adjustment"])}) for one in said["origins"]]
    return Columns(
        table.column("ts_utc").cast(pyarrow.int64()).to_numpy(),
        tuple(table.column(name).cast(pyarrow.float64()).to_numpy() for name in NUMBERS),
        table.column("traded").cast(pyarrow.bool_()).to_numpy(),
        table.column("origin").cast(pyarrow.int16()).to_numpy(),
        tuple(origins),
    )
