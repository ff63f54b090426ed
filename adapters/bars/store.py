"""The history store: vendors' bars on disk, and what is known of where each came from.

::

    FOLDER/history.json                     says that the folder is a store, and of which format
    FOLDER/BTC-USD/15m/2025-01.parquet      a partition: the bars of a month; of a year from 1h on
    FOLDER/BTC-USD/15m/answered.json        which spans each source has answered for, bars or none

``adapters.bars.partition`` says what is in a partition, ``adapters.bars.merging`` how bars are merged and
which are refused.

A partition is written beside its place, made durable and renamed: a reader sees the old one or the new one,
and a process that dies leaves one of the two.  One process at a time writes a symbol and interval.
"""

from __future__ import annotations

import json
import os
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.bars.merging import Merge, check_bars, check_jumps, check_origins, check_scale, merged
from adapters.bars.partition import (
    PARTITION,
    SCHEMA,
    Columns,
    DamagedError,
    Origin,
    by_partition,
    columns_of,
    parsed,
    partition_bounds,
    partition_bytes,
)
from adapters.bars.reading import interval_seconds_of, interval_text
from adapters.bars.series import BarSeries
from engine.errors import ConfigurationError, DataError, UnavailableError

MARKER: Final = "history.json"

_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9.\-]*")
_ANSWERED: Final = "answered.json"
_LOCK_WAIT_SECONDS: Final = 30.0
_LOCK_POLL_SECONDS: Final = 0.02

Spans = Sequence[tuple[int, int]]
"""Stretches of open times [start_ms, end_ms), ascending and apart."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source answered for open times in [start_ms, end_ms): these bars, and no others.

    ``final_ms`` is up to where that will not change; behind it an absent bar may yet come.
    """

    origin: Origin
    bars: BarSeries
    start_ms: int
    end_ms: int
    final_ms: int


def is_history(folder: Path) -> bool:
    """Say whether a folder is a history store."""
    return (folder / MARKER).is_file()


class HistoryStore:
    """Bars of symbols and intervals in one folder.  Safe beside other readers and writers."""

    def __init__(self, folder: Path) -> None:
        """Open a store; an empty or absent folder becomes one with the first bars.

        Raises:
            ConfigurationError: The folder holds something else.
            DataError: The store is of another format.
            UnavailableError: The folder cannot be read.
        """
        self.folder = folder
        foreign = any(not name.startswith(".") for name in _names(folder))
        # Looked for after the listing: the marker is the first thing that a new store gets.
        if is_history(folder):
            _check_marker(folder / MARKER)
        elif foreign:
            raise ConfigurationError(
                f"{folder}: not a history store (it has no {MARKER}); name another folder"
            )

    def symbols(self) -> tuple[str, ...]:
        """Return the symbols with bars, sorted."""
        return tuple(name for name in _names(self.folder) if self.intervals(name))

    def intervals(self, symbol: str) -> tuple[int, ...]:
        """Return the intervals with bars of a symbol, seconds, ascending."""
        if not _SYMBOL.fullmatch(symbol):
            return ()
        found = {interval_seconds_of(name): name for name in _names(self.folder / symbol)}
        return tuple(
            seconds
            for seconds, name in sorted(found.items())
            if seconds and name == interval_text(seconds) and self._partitions(symbol, seconds)
        )

    def read(
        self, symbol: str, interval_seconds: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> BarSeries:
        """Return the bars with start_ms <= open < end_ms; an empty series where there are none.

        A bar without a trade repeats the close before it, whatever has come before it since it was stored.

        Raises:
            DataError: A partition is damaged; the message names it.
            UnavailableError: It cannot be read.
            ConfigurationError: pyarrow is not installed.
        """
        series = BarSeries(interval_seconds)
        for path in self._partitions(symbol, interval_seconds):
            first_ms, behind_ms = partition_bounds(path.name)
            if (start_ms is None or start_ms < behind_ms) and (end_ms is None or first_ms < end_ms):
                columns = _read(path, symbol, interval_seconds)
                if columns is not None:
                    columns.between(start_ms, end_ms).add_to(series)
        repeat_closes(series)
        return series

    def origins(self, symbol: str, interval_seconds: int) -> Mapping[str, Sequence[Origin]]:
        """Return, by partition (such as 2025-01), where its bars came from."""
        return {
            path.stem: columns.origins
            for path in self._partitions(symbol, interval_seconds)
            if (columns := _read(path, symbol, interval_seconds)) is not None
        }

    def calendar_of(self, symbol: str) -> str | None:
        """Return the calendar of a symbol's bars; None where there are none."""
        for interval_seconds in self.intervals(symbol):
            for path in reversed(self._partitions(symbol, interval_seconds)):
                columns = _read(path, symbol, interval_seconds)
                if columns is not None:
                    return columns.origins[0].calendar
        return None

    def answered(self, symbol: str, interval_seconds: int) -> Mapping[str, Spans]:
        """Return, by source, the spans it has answered for: what is absent there, it does not have."""
        return _read_answered(self._place(symbol, interval_seconds) / _ANSWERED)

    def append(
        self,
        symbol: str,
        interval_seconds: int,
        fetched: Fetched,
        ranking: Sequence[str] = (),
        *,
        allow_jumps: bool = False,
    ) -> Merge:
        """Merge what a source answered into the store; safe to repeat.

        Args:
            symbol: The canonical symbol.
            interval_seconds: The bars' interval.
            fetched: The answer.
            ranking: Sources, the most trusted first; one that is not listed ranks last.
            allow_jumps: Take prices that jump as no trading does.

        Raises:
            ScaleError: The bars do not fit what is stored, or each other; nothing was stored.
            DataError: They are no bars, or a partition is damaged.
            UnavailableError: The disk is full, or cannot be written; what was stored stays.
            ConfigurationError: pyarrow is not installed.
        """
        if not _SYMBOL.fullmatch(symbol):
            raise DataError(f"{symbol!a} is no symbol")
        new = columns_of(fetched.bars, fetched.origin)
        name = f"{symbol} {interval_text(interval_seconds)}"
        check_bars(f"{name} from {fetched.origin.source}", new, fetched.start_ms, fetched.end_ms)
        place = self._place(symbol, interval_seconds)
        self._make(place)
        with _locked(_lock_of(place)):
            merge = self._merge(symbol, interval_seconds, new, ranking, allow_jumps=allow_jumps)
            # Only now: who dies in between asks again for what is there already.
            answered = fetched.start_ms, min(fetched.end_ms, fetched.final_ms)
            _note_answered(place / _ANSWERED, fetched.origin.source, answered)
        return merge

    def set_aside(self, symbol: str, interval_seconds: int) -> Path | None:
        """Move a symbol's bars of an interval out of the way, to fetch them anew; nothing is deleted.

        Returns where they lie now, None where there were none.
        """
        place = self._place(symbol, interval_seconds)
        if not place.exists():
            return None
        with _locked(_lock_of(place)), _writing(place):
            number = 1
            while (aside := place.with_name(f"{place.name}.{number}")).exists():
                number += 1
            place.rename(aside)
        return aside

    def _place(self, symbol: str, interval_seconds: int) -> Path:
        return self.folder / symbol / interval_text(interval_seconds)

    def _partitions(self, symbol: str, interval_seconds: int) -> list[Path]:
        if not _SYMBOL.fullmatch(symbol):
            return []
        place = self._place(symbol, interval_seconds)
        return [place / name for name in _names(place) if PARTITION.fullmatch(name)]

    def _make(self, place: Path) -> None:
        """Make the folders; the first is the marker, so that no half of a store looks like something else."""
        marker = self.folder / MARKER
        with _writing(place):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                with _locked(self.folder / ".lock"):
                    _write_durably(marker, json.dumps({"schema": SCHEMA}).encode() + b"\n")
            if not place.exists():
                place.mkdir(parents=True, exist_ok=True)
                for folder in (place.parent, self.folder):
                    _sync_folder(folder)

    def _merge(
        self, symbol: str, interval_seconds: int, new: Columns, ranking: Sequence[str], *, allow_jumps: bool
    ) -> Merge:
        """Look at everything before anything is written: what is refused leaves no trace."""
        total = Merge()
        if not len(new):
            return total
        place = self._place(symbol, interval_seconds)
        pieces = dict(by_partition(new, interval_seconds))
        names = sorted({path.name for path in self._partitions(symbol, interval_seconds)} | pieces.keys())
        first, last = names.index(min(pieces)), names.index(max(pieces))
        parts: list[Columns] = []
        changed: list[tuple[str, Columns]] = []
        for name in names[max(first - 1, 0) : last + 2]:
            part = old = _read(place / name, symbol, interval_seconds)
            if old is not None:
                check_origins(symbol, new.origins[0], old.origins)
            if name in pieces:
                if old is None:
                    part, merge = pieces[name], Merge(added=len(pieces[name]))
                else:
                    check_scale(symbol, old, pieces[name])
                    label = f"{symbol} {interval_text(interval_seconds)}"
                    part, merge = merged(old, pieces[name], ranking, label)
                total.add(merge)
                if part is not old:
                    changed.append((name, part))
            if part is not None:
                parts.append(part)
        if not allow_jumps:
            check_jumps(symbol, parts, new)
        for name, part in changed:
            _write_durably(place / name, partition_bytes(part, symbol, interval_seconds))
        return total


# --- spans ------------------------------------------------------------------------------------


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans ascending and apart: those that overlap or touch become one, empty ones none."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if result and start <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((start, end))
    return result


def covers(spans: Spans, at_ms: int) -> bool:
    """Say whether an instant lies within one of the spans."""
    index = bisect_right(spans, at_ms, key=lambda span: span[0]) - 1
    return index >= 0 and at_ms < spans[index][1]


def _read_answered(path: Path) -> dict[str, Spans]:
    content = _content(path)
    if content is None:
        return {}
    try:
        document = json.loads(content)
        return {
            str(source): joined((int(start), int(end)) for start, end in spans)
            for source, spans in document["answered"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); delete it: the sources will be asked again") from error


def _note_answered(path: Path, source: str, span: tuple[int, int]) -> None:
    before = _read_answered(path)
    known = before.get(source, ())
    spans = joined([*known, span])
    if spans != known and spans:
        document = {"schema": SCHEMA, "answered": {**before, source: spans}}
        _write_durably(path, json.dumps(document).encode() + b"\n")


# --- reading ----------------------------------------------------------------------------------


def _check_marker(path: Path) -> None:
    try:
        document = json.loads(_content(path) or b"")
    except ValueError as error:
        raise DataError(f'{path}: damaged ({error}); write {{"schema": "{SCHEMA}"}} into it') from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: this is format {schema!a}; this tradectl reads {SCHEMA}")


def _read(path: Path, symbol: str, interval_seconds: int) -> Columns | None:
    """Read a partition, None where there is none; DataError where it is damaged."""
    content = _content(path)
    if content is None:
        return None
    try:
        return parsed(content, symbol, interval_seconds, path)
    except DamagedError as error:
        raise DataError(
            f"{path}: damaged, or not written by tradectl ({error}); move it away and fetch its bars again:"
            f" tradectl fetch-history {symbol} --interval {interval_text(interval_seconds)} --again"
        ) from error


def _content(path: Path) -> bytes | None:
    """Read a file at once, so that nobody who replaces it gets between; None where it is absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error


def _names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none where it is absent."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  # names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnavailableError(f"{folder}: cannot be read ({error.strerror})") from error


def repeat_closes(series: BarSeries) -> None:
    """Let each bar without a trade repeat the close of the bar before it."""
    at = series.traded.find(0, 1)
    while at != -1:
        last = series.close[at - 1]
        series.open[at] = series.high[at] = series.low[at] = series.close[at] = last
        at = series.traded.find(0, at + 1)


# --- writing ----------------------------------------------------------------------------------


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{path}: cannot be written ({error.strerror}); what was stored before is whole and stays"
        ) from error


def _write_durably(path: Path, content: bytes) -> None:
    """Put a file in its place, whole and durable, or leave what is there.

    Whoever calls holds the lock, so the file beside it is ours, or one that a dead process left.
    """
    beside = path.with_name(f".{path.name}.new")
    with _writing(path):
        try:
            with beside.open("wb", buffering=0) as file:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            with suppress(OSError):
                beside.unlink()
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make what was renamed or made in a folder durable, where a folder can be opened."""
    if os.name == "nt":
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _lock_of(place: Path) -> Path:
    # Beside the folder: Windows renames none with an open file in it.
    return place.with_name(f".{place.name}.lock")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, which dies with the process."""
    with _writing(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        until = time.monotonic() + _LOCK_WAIT_SECONDS
        while not _try_lock(file):
            if time.monotonic() > until:
                raise UnavailableError(f"{path}: another process has been writing here for long; try again")
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(file)


if os.name == "nt":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows'
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
