"""Read one bar file and refuse it, row by row, if anyone could be misled by it.

The rules, all of them errors that name the row (the line of a csv, the record of a parquet file):

* columns ``ts_utc, open, high, low, close, volume``, no more and no fewer, in any order;
* ``ts_utc`` is the bar's start, with a zone (``2025-11-18T12:40:00Z``), strictly ascending, on the
  interval's grid: from UTC midnight, or from the session's open where the two differ; a daily bar
  carries the date of a session at 00:00Z;
* a close in every row; open, high, low and volume may be empty, but only as a whole column;
* finite numbers, prices above 0, volume not below 0, low <= high, low <= close <= high;
* low <= open <= high, but an open up to 1 % outside is kept and noted: official opening prints and the
  day's range come from different tapes, and no bar file that shows it is otherwise wrong;
* no *jump*, unless the manifest says ``allow_jumps: true``: a bar that lies as a whole more than a
  factor 1.8 above or below the bar before it, or a close more than a factor 5 from the close before it.
  That is what unadjusted splits (2:1 and more), prices in the wrong currency unit (x 100) and misplaced
  decimal points look like.  A crash that trades through its range is not a jump.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from adapters.bars.series import DAY_SECONDS, BarSeries
from adapters.extras import require
from adapters.symbols.inferred import ALWAYS_OPEN
from engine.errors import ConfigurationError, DataError
from engine.runtime.ports import Calendar

COLUMNS: Final = ("ts_utc", "open", "high", "low", "close", "volume")
PROBLEMS_SHOWN: Final = 10
GAP_FACTOR: Final = 1.8
CLOSE_FACTOR: Final = 5.0
OPEN_TOLERANCE: Final = 0.01

_INTERVAL: Final = re.compile(r"(\d+)(s|m|min|h|d)", re.IGNORECASE)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": DAY_SECONDS}
_INTERVAL_WORDS: Final = {"minute": 60, "hourly": 3600, "daily": DAY_SECONDS}
_LONGEST_LINE: Final = 4096
_ROWS_THAT_SHOW_THE_STEP: Final = 10
_EARLIEST_MS: Final = -62_135_596_800_000  # 0001-01-01
_LATEST_MS: Final = 253_402_300_800_000  # 10000-01-01
# Sessions open and close on the half hour, so finer intervals stand on one grid with the UTC day.
_SESSION_GRID_SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a file before it is read; ``interval_seconds`` 0 where not even that is."""

    interval_seconds: int
    calendar: str
    allow_jumps: bool = False
    no_trade: bool = False  # an absent bar is one without a trade


@dataclass(slots=True)
class Reading:
    """What came of reading a file: the bars, and what is wrong (row, sentence) or worth a note."""

    bars: BarSeries
    problems: list[tuple[int, str]] = field(default_factory=list)
    more_problems: bool = False
    notes: list[str] = field(default_factory=list)

    def problem(self, row: int, text: str) -> bool:
        """Add a problem; say whether there is room for more."""
        if len(self.problems) == PROBLEMS_SHOWN:
            self.more_problems = True
            return False
        self.problems.append((row, text))
        return True


class _RowError(Exception):
    """One row is wrong; the message is the sentence for the person."""


Cell = str | float | None
_Record = tuple[int, int | str | None, Sequence[Cell]]  # row, time (ms where it is an int), the five numbers


def read_bars(path: Path, expectation: Expectation, calendar: Calendar) -> Reading:
    """Read and check one file.

    Raises:
        DataError: The file cannot be read at all, or its columns are not ours.
        ConfigurationError: pyarrow is needed and not installed.
    """
    reading = Reading(BarSeries(expectation.interval_seconds))
    records = _parquet_records(path) if path.suffix == ".parquet" else _csv_records(path)
    rows = _check_rows(path, records, expectation, reading)
    if expectation.interval_seconds:
        _check_grid(path, rows, expectation, calendar, reading)
    reading.problems.sort()
    return reading


def _check_rows(
    path: Path, records: Iterator[_Record], expectation: Expectation, reading: Reading
) -> Sequence[int]:
    """Fill ``reading`` with the rows that are right by themselves and beside their neighbour."""
    right: list[tuple[int, int, float, float, float, float, float]] = []
    empty: dict[str, list[int]] = {name: [] for name in COLUMNS[1:]}
    outside: list[tuple[float, int]] = []
    last_ms, last_low, last_high, last_close = -math.inf, 0.0, math.inf, math.nan
    for row, instant, cells in records:
        try:
            at_ms = _known_ms(instant) if isinstance(instant, int) else _instant_ms(instant)
            try:
                opened, high, low, close, volume = map(float, cells)  # type: ignore[arg-type]  # None raises
                plain = 0 < low <= opened <= high < math.inf and low <= close <= high
                plain = plain and 0 <= volume < math.inf
            except (TypeError, ValueError):
                plain = False
            if plain:
                floor, ceiling = low, high
            else:
                opened, high, low, close, volume = _odd_row(row, cells, empty, outside)
                floor, ceiling = (close if math.isnan(side) else side for side in (low, high))
            before_ms, last_ms = last_ms, at_ms
            before_close = last_close
            jumped = (
                floor > last_high * GAP_FACTOR
                or ceiling * GAP_FACTOR < last_low
                or close > last_close * CLOSE_FACTOR
                or close * CLOSE_FACTOR < last_close
            )
            last_low, last_high, last_close = floor, ceiling, close
            if at_ms <= before_ms:
                raise _RowError(_disorder(at_ms, int(before_ms)))
            if jumped and not expectation.allow_jumps:
                raise _RowError(jump_text(before_close, close))
        except _RowError as error:
            if not reading.problem(row, str(error)):
                break
            continue
        right.append((row, at_ms, opened, high, low, close, volume))
    _check_empty_columns(empty, len(right), reading)
    if not right and not reading.problems:
        reading.problem(1, "the file has no bars")
    if outside:
        share, row = max(outside)
        reading.notes.append(
            f"{path}: {len(outside)} open(s) outside [low, high], kept as delivered;"
            f" the furthest by {share:.2%} at row {row}"
        )
    rows, *columns = zip(*right, strict=True) if right else ((),) * 7
    reading.bars = BarSeries.of_columns(reading.bars.interval_seconds, columns)
    return rows


def _odd_row(
    row: int, cells: Sequence[Cell], empty: dict[str, list[int]], outside: list[tuple[float, int]]
) -> tuple[float, float, float, float, float]:
    """Read a row that is not plainly right: return it with NaN for what is empty, or say what is wrong."""
    if len(cells) != len(COLUMNS) - 1:
        raise _RowError(f"{len(cells) + 1} fields, expected {len(COLUMNS)}")
    numbers = dict(zip(COLUMNS[1:], map(_number, COLUMNS[1:], cells), strict=True))
    opened, high, low, close, volume = numbers.values()
    if math.isnan(close):
        raise _RowError("the close is empty")
    for name in ("open", "high", "low", "close"):
        if numbers[name] <= 0:
            raise _RowError(f"{name} {numbers[name]:g} is not above 0")
    if volume < 0:
        raise _RowError(f"volume {volume:g} is below 0")
    if low > high:
        raise _RowError(f"low {low:.10g} is above high {high:.10g}")
    if close < low or close > high:
        raise _RowError(f"close {close:.10g} is outside [low, high] = [{low:.10g}, {high:.10g}]")
    share = max(low / opened - 1, opened / high - 1)
    if share > OPEN_TOLERANCE:
        raise _RowError(f"open {opened:.10g} is outside [low, high] = [{low:.10g}, {high:.10g}]")
    if share > 0:
        outside.append((share, row))
    for name, number in numbers.items():
        if math.isnan(number):
            empty[name].append(row)
    return opened, high, low, close, volume


def _number(name: str, cell: Cell) -> float:
    if cell is None or cell == "":
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        raise _RowError(f"{name} {_shown(cell)} is not a number") from None
    if not math.isfinite(number):
        raise _RowError(f"{name} {_shown(cell)} is not a finite number")
    return number


def _instant_ms(text: str | None) -> int:
    if not text:
        raise _RowError("the time is empty")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise _RowError(f"{_shown(text)} is not a time such as 2025-11-18T12:40:00Z") from None
    if instant.tzinfo is None:
        raise _RowError(f"the time {_shown(text)} has no zone; write UTC with a Z: 2025-11-18T12:40:00Z")
    if instant.microsecond:
        raise _RowError(f"the time {_shown(text)} has a fraction of a second")
    return int(instant.timestamp()) * 1000


def _known_ms(at_ms: int) -> int:
    if not _EARLIEST_MS <= at_ms < _LATEST_MS:
        raise _RowError(f"{at_ms} ms since 1970 is no time of this calendar")
    return at_ms


def _disorder(at_ms: int, before_ms: int) -> str:
    if at_ms == before_ms:
        return f"{instant_text(at_ms)} stands twice"
    return (
        f"{instant_text(at_ms)} comes after {instant_text(before_ms)}:"
        " rows must run from the oldest to the newest"
    )


def jump_text(before: float, close: float) -> str:
    """Say what a jump between two closes is likely to be."""
    return (
        f"the price jumps from {before:.10g} to {close:.10g}, by a factor {close / before:.4g}, without"
        " trading between: an unadjusted split or a wrong unit?"
        " If it is real, say allow_jumps: true in the manifest"
    )


def _check_empty_columns(empty: dict[str, list[int]], count: int, reading: Reading) -> None:
    for name, rows in empty.items():
        if rows and len(rows) < count:
            for row in rows:
                if not reading.problem(row, f"{name} is empty here and given in other rows"):
                    return


def _check_grid(
    path: Path, rows: Sequence[int], expectation: Expectation, calendar: Calendar, reading: Reading
) -> None:
    """Check every time against the interval and the calendar."""
    interval, name = expectation.interval_seconds, expectation.calendar
    opens = reading.bars.open_time_ms
    if not opens:
        return
    step_ms = interval * 1000
    off_grid = f"is not on the grid of {interval_text(interval)} bars"
    try:
        if interval == DAY_SECONDS:
            sessions = set(calendar.expected_bars(name, interval, opens[0], opens[-1] + 1))
            wrong = [
                (row, off_grid if at_ms % step_ms else f"is no session of {name}")
                for row, at_ms in zip(rows, opens, strict=True)
                if at_ms not in sessions
            ]
        elif name == ALWAYS_OPEN or _SESSION_GRID_SECONDS % interval == 0:
            wrong = [(row, off_grid) for row, at_ms in zip(rows, opens, strict=True) if at_ms % step_ms]
        else:
            wrong = [
                (row, f"{off_grid}, which begins at the session's open")
                for row, at_ms in zip(rows, opens, strict=True)
                if (facts := calendar.facts(name, at_ms)).session == "regular"
                and facts.since_open_seconds % interval
            ]
    except ConfigurationError as error:
        raise DataError(f"{path}: {error}") from None
    times = dict(zip(rows, opens, strict=True))
    for row, text in wrong:
        if not reading.problem(row, f"{instant_text(times[row])} {text}"):
            return
    steps = [after - before for before, after in pairwise(opens)]
    if len(rows) >= _ROWS_THAT_SHOW_THE_STEP and min(steps) > step_ms and not expectation.no_trade:
        found = interval_text(min(steps) // 1000)
        reading.problem(
            rows[0], f"the bars are {interval_text(interval)} by name, but no two stand closer than {found}"
        )


# --- the two formats --------------------------------------------------------------------------


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the formats' readers raise into one sentence."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}") from error


def _csv_records(path: Path) -> Iterator[_Record]:
    with _reading(path), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        reader = csv.reader(_lines(path, text), strict=True)
        try:
            pick = itemgetter(*_order(path, next(reader, [])))
            for cells in reader:
                instant, *numbers = pick(cells) if len(cells) == len(COLUMNS) else cells or [""]
                yield reader.line_num, instant, numbers
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: is not csv: {error}") from error


def _lines(path: Path, text: io.TextIOBase) -> Iterator[str]:
    """Yield lines, but none so long that the memory is not ours any more."""
    number = 0
    while line := text.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise DataError(f"{path}:{number}: the line is longer than {_LONGEST_LINE} characters")
        if "_" in line and number > 1:
            # float() would read 1_000 as a thousand; nobody writes prices so on purpose.
            raise DataError(
                f"{path}:{number}: an underscore belongs into no time and no number: {_shown(line)}"
            )
        yield line


def _order(path: Path, found: Sequence[str]) -> list[int]:
    if sorted(found) != sorted(COLUMNS):
        shown = ",".join(found)
        raise DataError(
            f"{path}:1: expected the columns {','.join(COLUMNS)}; found {_shown(shown)}"
            f" ({_difference(found)})"
        )
    return [found.index(name) for name in COLUMNS]


def _difference(found: Sequence[str]) -> str:
    missing = [name for name in COLUMNS if name not in found]
    extra = [_shown(name) for name in found if name not in COLUMNS]
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"not expected: {', '.join(extra)}"] if extra else []
    return "; ".join(parts) or "a column stands twice"


def _parquet_records(path: Path) -> Iterator[_Record]:
    pyarrow = require("pyarrow", "parquet")
    parquet = require("pyarrow.parquet", "parquet")
    with _reading(path):
        try:
            table = parquet.read_table(path)
            order = _order(path, table.column_names)
            columns = [table.column(index) for index in order]
            times = _parquet_times(pyarrow, path, columns[0])
            numbers = []
            for name, column in zip(COLUMNS[1:], columns[1:], strict=True):
                kind = column.type
                is_ = pyarrow.types
                if not (
                    is_.is_floating(kind) or is_.is_integer(kind) or is_.is_decimal(kind) or is_.is_null(kind)
                ):
                    raise DataError(f"{path}: the column {name} holds {kind}, not numbers")
                numbers.append(column.cast(pyarrow.float64()).to_pylist())
        except pyarrow.ArrowException as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
    for row, (at, *cells) in enumerate(zip(times, *numbers, strict=True), start=1):
        yield row, at, cells


def _parquet_times(pyarrow: Any, path: Path, column: Any) -> list[int | str | None]:  # noqa: ANN401  # untyped library
    kind = column.type
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        texts: list[int | str | None] = column.to_pylist()
        return texts
    if not pyarrow.types.is_timestamp(kind):
        raise DataError(f"{path}: the column ts_utc holds {kind}, not times")
    if kind.tz is None:
        raise DataError(f"{path}: the times in ts_utc have no zone; store them as timestamps in UTC")
    milliseconds: list[int | str | None] = (
        column.cast(pyarrow.timestamp("ms", kind.tz)).cast(pyarrow.int64()).to_pylist()
    )
    return milliseconds


# --- how things are written for people --------------------------------------------------------


def instant_text(at_ms: int) -> str:
    """Write an instant as it stands in a bar file."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def interval_text(seconds: int) -> str:
    """Write an interval as file names do: 15m."""
    for unit, size in (("d", DAY_SECONDS), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def interval_seconds_of(text: str) -> int:
    """Return the seconds of an interval such as 15m; 0 if it is none, or longer than a day."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return _INTERVAL_WORDS.get(text.lower(), 0)
    seconds = int(match[1]) * _UNIT_SECONDS[match[2].lower()]
    return seconds if seconds <= DAY_SECONDS else 0


def _shown(cell: object) -> str:
    """Write a foreign text so that it fits a line and reaches no terminal unescaped."""
    text = ascii(cell)
    return text if len(text) <= 120 else f"{text[:117]}..."
