"""Bars from files: csv, csv.gz and parquet, found by a glob, checked before use, coarsened on demand.

Symbol and interval come from the file's name, ``SYMBOL_..._INTERVAL_....csv``: the first part is the
symbol, the first part that is an interval (``15m``, ``1h``, ``1d``, ``daily``) is the interval, the rest
is the reader's: ``btc-usd_coinbase_1m_20180404_20180406.csv.gz`` is BTC-USD in bars of one minute.

A ``manifest.json`` or ``manifest.yaml`` beside the files says what a name cannot::

    bars:
      - file: trades*.csv        # a name or a pattern, in the manifest's folder
        symbol: BTC-USD          # otherwise from the name
        interval: 1m             # otherwise from the name
        calendar: 24/7           # otherwise 24/7 for pairs (BTC-USD), NYSE for the rest
        absent_bars: no_trade    # coverage is proven: an absent bar is a minute without a trade
        allow_jumps: true        # prices that jump as no trading does (see adapters.bars.reading)

What is stated of a name goes before what is stated of a pattern.
A manifest without ``bars`` belongs to somebody else and is left alone.

A folder that is a history store (``adapters.bars.store``) is opened as such: its bars were checked when they
were stored, and what is absent from it is a gap.
"""

from __future__ import annotations

import glob
import json
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from adapters.bars.reading import (
    CLOSE_FACTOR,
    GAP_FACTOR,
    Expectation,
    instant_text,
    interval_seconds_of,
    interval_text,
    jump_text,
    read_bars,
)
from adapters.bars.series import DAY_SECONDS, BarSeries, resampled, with_untraded_bars
from adapters.bars.store import HistoryStore, is_history
from adapters.symbols.inferred import calendar_of
from engine.errors import DataError, NotFoundError
from engine.model import Bar
from engine.runtime.ports import Calendar

_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
_MANIFESTS: Final = ("manifest.json", "manifest.yaml", "manifest.yml")
_MANIFEST_BYTES: Final = 1_000_000
_SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9.\-]*")
_ABSENT_BARS: Final = ("unknown", "no_trade")
_MOST_UNTRADED_BARS: Final = 5_000_000


class BarFilesError(DataError):
    """Bar files that cannot be used: ``failures`` has one text per file, rows named as file:row."""

    def __init__(self, failures: Sequence[str]) -> None:
        """Keep the failures; the message is all of them, a blank line between two."""
        self.failures = tuple(failures)
        super().__init__("\n\n".join(failures))


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one file; empty or 0 where neither name nor manifest says it."""

    path: Path
    symbol: str
    interval_seconds: int
    calendar: str
    no_trade: bool = False
    allow_jumps: bool = False


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a folder's manifest states: by exact name, and by pattern."""

    named: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    patterns: Sequence[Mapping[str, Any]] = ()

    def entries_for(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Yield what is stated of a file, the general before the particular."""
        yield from (entry for entry in self.patterns if fnmatchcase(name, entry["file"]))
        if name in self.named:
            yield self.named[name]


@dataclass(frozen=True, slots=True)
class _Part:
    """One file's bars on their way into a series."""

    entry: _Entry
    bars: BarSeries


@dataclass(slots=True)
class BarFiles:
    """Closed bars out of files: a ``BarSource``.

    A coarser interval than a file has is made from the coarsest finer one that divides it.  ``notes``
    are sentences for the person about what was skipped or kept in spite of its looks.

    Bars outside regular sessions are delivered as the files have them, and are part of no coarser bar.
    """

    calendar: Calendar
    notes: list[str] = field(default_factory=list)
    _calendars: dict[str, str] = field(default_factory=dict)
    _series: dict[str, dict[int, BarSeries]] = field(default_factory=dict)
    _resampled: dict[tuple[str, int], BarSeries] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are served, sorted."""
        return tuple(sorted(self._series))

    def calendar_of(self, symbol: str) -> str:
        """Return the calendar of a served symbol's bars; NotFoundError for another symbol."""
        try:
            return self._calendars[symbol]
        except KeyError:
            raise NotFoundError(f"no bar file holds {symbol}") from None

    def intervals_of(self, symbol: str) -> tuple[int, ...]:
        """Return the intervals that files hold for a symbol, seconds, finest first."""
        return tuple(sorted(self._series.get(symbol, ())))

    def interval_of(self, symbol: str) -> int | None:
        """Return the finest interval served for a symbol, seconds; None if it is not served."""
        return min(self._series.get(symbol, ()), default=None)

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars with ``open_time_ms > after_ms`` that closed at or before ``until_ms``.

        Two bisections and no copy, so asking in every cycle for all bars so far costs nothing.
        """
        series = self.series(symbol, interval_seconds)
        if series is None:
            return ()
        return series.closed(self.calendar, self._calendars[symbol], after_ms, until_ms)

    def series(self, symbol: str, interval_seconds: int) -> BarSeries | None:
        """Return all bars of a symbol and interval as columns; None if they are not served."""
        held = self._series.get(symbol, {})
        if interval_seconds in held:
            return held[interval_seconds]
        key = (symbol, interval_seconds)
        if key not in self._resampled:
            finer = [own for own in held if own < interval_seconds and interval_seconds % own == 0]
            if not finer or interval_seconds > DAY_SECONDS:
                return None
            name = self._calendars[symbol]
            self._resampled[key] = resampled(held[max(finer)], interval_seconds, self.calendar, name)
        return self._resampled[key]


def open_bar_files(pattern: str, calendar: Calendar, symbols: Collection[str] | None = None) -> BarFiles:
    """Open the bar files that a path, a folder or a glob (``**``, ``~``) names, and check all of them.

    Args:
        pattern: A file, a folder (all bar files below it), a glob, or the folder of a history store.
        calendar: Says which bars are expected: for joining files, for daily bars, for coarser ones.
        symbols: Read only the files of these symbols; None reads all.

    Raises:
        NotFoundError: Nothing matches.
        BarFilesError: Files that cannot be used, or do not join: one text per file.
        ConfigurationError: A parquet file without pyarrow, or a date outside the calendar.
    """
    if is_history(Path(pattern).expanduser()):
        return _of_history(HistoryStore(Path(pattern).expanduser()), calendar, symbols)
    found = BarFiles(calendar)
    failures: list[str] = []
    parts: dict[tuple[str, int], list[_Part]] = {}
    for entry in _entries(pattern, found.notes, failures):
        if symbols is not None and entry.symbol not in symbols:
            continue
        try:
            bars = _load(entry, calendar, found.notes)
        except DataError as error:
            failures.append(str(error))
        else:
            parts.setdefault((entry.symbol, entry.interval_seconds), []).append(_Part(entry, bars))
    for (symbol, interval_seconds), pieces in parts.items():
        try:
            series = _joined(pieces, calendar)
            known = found._calendars.setdefault(symbol, pieces[0].entry.calendar)
            if known != pieces[0].entry.calendar:
                raise DataError(
                    f"{pieces[0].entry.path}: {symbol} cannot have two calendars: {known} and this"
                )
        except DataError as error:
            failures.append(str(error))
        else:
            found._series.setdefault(symbol, {})[interval_seconds] = series
    if failures:
        raise BarFilesError(failures)
    return found


def _of_history(store: HistoryStore, calendar: Calendar, symbols: Collection[str] | None) -> BarFiles:
    found = BarFiles(calendar)
    failures = []
    for symbol in store.symbols():
        if symbols is not None and symbol not in symbols:
            continue
        try:
            found._calendars[symbol] = store.calendar_of(symbol) or calendar_of(symbol)
            found._series[symbol] = {
                interval: store.read(symbol, interval) for interval in store.intervals(symbol)
            }
        except DataError as error:
            failures.append(str(error))
    if failures:
        raise BarFilesError(failures)
    if not found._series:
        raise NotFoundError(
            f"{store.folder}: the history holds no such bars; 'tradectl fetch-history' gets them"
        )
    return found


# --- which files, and what they are -----------------------------------------------------------


def _entries(pattern: str, notes: list[str], failures: list[str]) -> Iterator[_Entry]:
    """Yield the bar files that a pattern names, sorted by path."""
    place = Path(pattern).expanduser()
    # A path that exists is meant as it stands, whatever brackets it has.
    paths = [place] if place.exists() else [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207  # Path.glob takes no absolute pattern
    if place.is_dir():
        paths = [path for path in place.rglob("*") if path.name.endswith(_SUFFIXES)]
    taken = 0
    manifests: dict[Path, _Manifest] = {}
    for path in sorted(paths):
        if path.is_dir() or path.name in _MANIFESTS:
            continue
        if not path.name.endswith(_SUFFIXES):
            notes.append(f"{path}: skipped, not {', '.join(_SUFFIXES)}")
        elif ".extra." in path.name:
            notes.append(f"{path}: skipped, holds what does not fit the six columns")
        else:
            taken += 1
            try:
                if path.parent not in manifests:
                    manifests[path.parent] = _manifest(path.parent, notes)
                yield _entry(path, manifests[path.parent])
            except DataError as error:
                failures.append(str(error))
    if not taken:
        skipped = "".join(f"; {note}" for note in notes[:1])
        raise NotFoundError(f"no bar file (csv, csv.gz, parquet) matches {pattern}{skipped}")


def _entry(path: Path, manifest: _Manifest) -> _Entry:
    if len(path.parents) > 2 and is_history(path.parents[2]):
        raise DataError(f"{path}: part of the history store {path.parents[2]}; name that folder itself")
    parts = path.name[: path.name.index(".csv") if ".csv" in path.name else path.name.rindex(".")].split("_")
    intervals = [seconds for part in parts[1:] if (seconds := interval_seconds_of(part))]
    symbol = parts[0].upper()
    entry = _Entry(path, symbol, intervals[0] if intervals else 0, calendar_of(symbol))
    for stated in manifest.entries_for(path.name):
        symbol = stated.get("symbol", entry.symbol)
        entry = _Entry(
            path,
            symbol,
            stated.get("interval", entry.interval_seconds),
            stated.get("calendar", entry.calendar if symbol == entry.symbol else calendar_of(symbol)),
            stated["absent_bars"] == "no_trade" if "absent_bars" in stated else entry.no_trade,
            stated.get("allow_jumps", entry.allow_jumps),
        )
    if not _SYMBOL.fullmatch(entry.symbol):
        raise DataError(f"{path}: {entry.symbol!a} is no symbol; name the file SYMBOL_INTERVAL.csv")
    return entry


def _manifest(folder: Path, notes: list[str]) -> _Manifest:
    """Read our manifest of a folder: entries with ``interval`` in seconds; empty if there is none."""
    path = next((folder / name for name in _MANIFESTS if (folder / name).is_file()), None)
    if path is None:
        return _Manifest()
    document = _document(path)
    if not isinstance(document, dict) or "bars" not in document:
        notes.append(f"{path}: not ours (no 'bars'), left alone")
        return _Manifest()
    entries = document["bars"]
    if not isinstance(entries, list):
        raise DataError(f"{path}: 'bars' must be a list of entries with 'file'")
    checked = [_checked_entry(f"{path}: bars[{index}]", entry) for index, entry in enumerate(entries)]
    return _Manifest(
        {entry["file"]: entry for entry in checked},
        [entry for entry in checked if set("*?[") & set(entry["file"])],
    )


def _document(path: Path) -> object:
    try:
        if path.stat().st_size > _MANIFEST_BYTES:
            raise DataError(f"{path}: larger than {_MANIFEST_BYTES} bytes")
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DataError(f"{path}: is not YAML: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _checked_entry(where: str, entry: object) -> Mapping[str, Any]:
    kinds = {
        "file": str,
        "symbol": str,
        "interval": str,
        "calendar": str,
        "absent_bars": str,
        "allow_jumps": bool,
    }
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise DataError(f"{where}: must have a 'file': a name or a pattern in this folder")
    for key, value in entry.items():
        if key not in kinds:
            raise DataError(f"{where}: {key!a} is not one of {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            hint = " (write it in quotes)" if kinds[key] is str else ""
            raise DataError(
                f"{where}: {key} must be {'text' if kinds[key] is str else 'true or false'}{hint}"
            )
    checked = dict(entry)
    if "interval" in checked:
        checked["interval"] = interval_seconds_of(checked["interval"])
        if not checked["interval"]:
            raise DataError(f"{where}: interval {entry['interval']!a} is none up to 1d, such as 15m")
    if checked.get("absent_bars", "unknown") not in _ABSENT_BARS:
        raise DataError(f"{where}: absent_bars must be one of {', '.join(_ABSENT_BARS)}")
    return checked


# --- what is in them --------------------------------------------------------------------------


def _load(entry: _Entry, calendar: Calendar, notes: list[str]) -> BarSeries:
    """Read one file; DataError with every problem that is shown of it."""
    path = entry.path
    expectation = Expectation(entry.interval_seconds, entry.calendar, entry.allow_jumps, entry.no_trade)
    reading = read_bars(path, expectation, calendar)
    lines = [f"{path}:{row}: {text}" for row, text in reading.problems]
    if reading.more_problems:
        lines.append(f"{path}: more rows are wrong; these are the first")
    if not entry.interval_seconds:
        lines.append(
            f"{path}: the name says no interval; name it SYMBOL_INTERVAL.csv (btc-usd_1m.csv)"
            " or list it in a manifest.yaml beside it"
        )
    if lines:
        raise DataError("\n".join(lines))
    notes.extend(reading.notes)
    bars = reading.bars
    if not entry.no_trade:
        return bars
    expected = calendar.expected_bars(
        entry.calendar, entry.interval_seconds, bars.open_time_ms[0], bars.open_time_ms[-1] + 1
    )
    if len(expected) > _MOST_UNTRADED_BARS:
        raise DataError(
            f"{path}: absent_bars: no_trade would make {len(expected):,} bars of {len(bars):,};"
            f" the file spans {instant_text(bars.open_time_ms[0])} to {instant_text(bars.open_time_ms[-1])}"
        )
    return with_untraded_bars(bars, expected)


def _joined(parts: Sequence[_Part], calendar: Calendar) -> BarSeries:
    """Merge the files of one symbol and interval; DataError naming two that do not join."""
    ordered = sorted(parts, key=lambda part: (part.bars.open_time_ms[0], part.entry.path))
    whole = ordered[0]
    for part in ordered[1:]:
        whole = _Part(part.entry, _join(whole, part, calendar))
    return whole.bars


def _join(before: _Part, after: _Part, calendar: Calendar) -> BarSeries:
    """Append what ``after`` adds: it continues ``before``, or says the same where they overlap."""
    one, two, entry = before.bars, after.bars, after.entry
    last_ms, first_ms = one.open_time_ms[-1], two.open_time_ms[0]
    shared = bisect_left(one.open_time_ms, first_ms)
    overlap = min(len(one) - shared, len(two))
    for left, right in zip(range(shared, len(one)), range(overlap), strict=False):
        if not _same(one.bar(left), two.bar(right)):
            at = instant_text(min(one.open_time_ms[left], two.open_time_ms[right]))
            raise _do_not_join(before, after, f"they overlap and differ at {at}")
    if not overlap:
        between = calendar.expected_bars(entry.calendar, entry.interval_seconds, last_ms + 1, first_ms)
        if between:
            raise _do_not_join(
                before,
                after,
                f"the first ends at {instant_text(last_ms)}, the second begins at {instant_text(first_ms)},"
                f" and {len(between):,} expected bars are in neither",
            )
        factor = max(two.close[0] / one.close[-1], one.close[-1] / two.close[0])
        if factor > min(GAP_FACTOR, CLOSE_FACTOR) and not entry.allow_jumps:
            raise _do_not_join(before, after, jump_text(one.close[-1], two.close[0]))
    for index in range(overlap, len(two)):
        one.append(two.bar(index))
    return one


def _same(left: Bar, right: Bar) -> bool:
    # NaN is equal to NaN here: both files have no such column.
    return repr(left) == repr(right)


def _do_not_join(before: _Part, after: _Part, reason: str) -> DataError:
    entry = after.entry
    return DataError(
        f"{before.entry.path} and {entry.path} both hold {entry.symbol}"
        f" {interval_text(entry.interval_seconds)} and do not join: {reason};"
        " choose one of them with a narrower pattern"
    )
