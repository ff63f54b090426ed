"""Bar files: names and manifests, what is refused and how it is said, joining, both formats."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.bars.files import BarFiles, BarFilesError, open_bar_files
from adapters.calendar import ExchangeCalendars
from engine.errors import DataError, NotFoundError
from engine.model import Bar
from tests.adapters.bars.writing import HEADER, flat_rows, ms, stamp, write_csv
from tests.contracts.bar_source import BarSourceContract, ServedBars

_CALENDAR = ExchangeCalendars()
_START = "2024-03-04T00:00:00Z"
_EVER = 10**13


def _open(path: Path | str) -> BarFiles:
    return open_bar_files(str(path), _CALENDAR)


def _refusal(path: Path | str) -> str:
    with pytest.raises(BarFilesError) as caught:
        _open(path)
    return str(caught.value)


class TestBarFilesKeepTheContract(BarSourceContract):
    """Files keep the contract, for bars as they are and for bars made of finer ones."""

    @pytest.fixture(params=["24/7 1m", "24/7 15m of 1m", "24/7 1m no_trade", "NYSE 1h of 15m", "NYSE 1d"])
    def served(self, request: pytest.FixtureRequest, tmp_path: Path) -> ServedBars:
        """Files of each kind."""
        kind: str = request.param
        name, interval = ("24/7", 60) if kind.startswith("24/7") else ("NYSE", 900)
        start, end = ms("2024-02-26T00:00:00Z"), ms("2024-03-09T00:00:00Z")
        if kind == "NYSE 1d":
            interval = 86_400
        opens = list(_CALENDAR.expected_bars(name, interval, start, end))[:2_000]
        if "no_trade" in kind:
            opens = [at for number, at in enumerate(opens) if number % 5 in (0, 3)]
            entry = {"file": "*.csv", "absent_bars": "no_trade"}
            (tmp_path / "manifest.json").write_text(json.dumps({"bars": [entry]}))
        rows = [[stamp(at), 10, 11, 9, 10 + number % 3 / 4, number] for number, at in enumerate(opens)]
        symbol = "BTC-USD" if name == "24/7" else "SPY"
        write_csv(tmp_path / f"{symbol.lower()}_{interval}s.csv", rows)
        wanted = {"24/7 15m of 1m": 900, "NYSE 1h of 15m": 3_600}.get(kind, interval)
        return ServedBars(_open(tmp_path), _CALENDAR, name, symbol, wanted, start - 1, end)


# --- names and manifests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        ("btc-usd_coinbase_1m_20240304_20240306.csv.gz", "BTC-USD", 60),
        ("eth-usdt_binance_5m_close.csv", "ETH-USDT", 300),
        ("ltc-usd_4h.csv", "LTC-USD", 14_400),
        ("BTC-EUR_15min_x.csv", "BTC-EUR", 900),
        ("doge-usd_daily_2017_2021.csv", "DOGE-USD", 86_400),
    ],
)
def test_the_name_says_symbol_and_interval(tmp_path: Path, name: str, symbol: str, interval: int) -> None:
    """Symbol and interval come from the file's name."""
    write_csv(tmp_path / name, flat_rows(_START, interval, 12))
    files = _open(tmp_path / name)
    assert files.symbols == (symbol,)
    assert files.interval_of(symbol) == interval
    assert files.calendar_of(symbol) == "24/7"
    assert len(files.closed(symbol, interval, 0, _EVER)) == 12


def test_a_stock_with_a_dot_trades_in_new_york(tmp_path: Path) -> None:
    """BRK.B is a stock: no dash makes it a pair."""
    write_csv(
        tmp_path / "brk.b_1d_2024.csv", [[f"2024-03-0{day}T00:00:00Z", 9, 9, 9, 9, 0] for day in (4, 5)]
    )
    files = _open(tmp_path)
    assert files.symbols == ("BRK.B",)
    assert files.calendar_of("BRK.B") == "NYSE"


def test_a_manifest_says_what_the_name_does_not(tmp_path: Path) -> None:
    """A yaml manifest gives symbol, interval and calendar."""
    write_csv(tmp_path / "export 7.csv", flat_rows(_START, 900, 12))
    (tmp_path / "manifest.yaml").write_text(
        "bars:\n  - {file: export*.csv, symbol: ON, interval: 15m, calendar: '24/7'}\n"
    )
    # ON without quotes is a boolean to YAML: say so, and do not trade a symbol called True.
    assert "symbol must be text (write it in quotes)" in _refusal(tmp_path)
    (tmp_path / "manifest.yaml").write_text(
        "bars:\n  - {file: export*.csv, symbol: 'ON', interval: 15m, calendar: '24/7'}\n"
    )
    files = _open(tmp_path)
    assert files.intervals_of("ON") == (900,)
    assert files.calendar_of("ON") == "24/7"


def test_a_name_goes_before_a_pattern(tmp_path: Path) -> None:
    """A pattern states what is common; the file's own entry adds to it and overrides it."""
    rows = flat_rows(_START, 60, 12)
    del rows[5]
    for symbol in ("btc", "eth"):
        write_csv(tmp_path / f"{symbol}-usd_1m.csv", rows)
    entries = [
        {"file": "btc-usd_1m.csv", "symbol": "XBT-USD"},
        {"file": "eth-usd_1m.csv", "absent_bars": "unknown"},
        {"file": "*.csv", "absent_bars": "no_trade"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": entries}))
    files = _open(tmp_path)
    assert [len(files.closed(symbol, 60, 0, _EVER)) for symbol in ("XBT-USD", "ETH-USD")] == [12, 11]


def test_a_foreign_manifest_is_left_alone(tmp_path: Path) -> None:
    """A manifest.json without our key is noted and not read further."""
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    (tmp_path / "manifest.json").write_text('[{"file": "btc-usd_1m.csv", "step": "1m"}]')
    files = _open(tmp_path)
    assert files.symbols == ("BTC-USD",)
    assert any("manifest.json" in note and "left alone" in note for note in files.notes)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ('{"bars": 3}', "'bars' must be a list"),
        ('{"bars": [{"symbol": "X"}]}', r"bars[0]: must have a 'file'"),
        ('{"bars": [{"file": "*", "absent": "x"}]}', "'absent' is not one of file, symbol"),
        ('{"bars": [{"file": "*", "absent_bars": "maybe"}]}', "absent_bars must be one of unknown, no_trade"),
        ('{"bars": [{"file": "*", "interval": "2w"}]}', "interval '2w' is none up to 1d"),
        ('{"bars": [{"file": "*", "allow_jumps": "yes"}]}', "allow_jumps must be true or false"),
        ('{"bars": [', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: str, said: str) -> None:
    """A manifest that is ours and wrong is an error that names the entry."""
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    (tmp_path / "manifest.json").write_text(manifest)
    assert said in _refusal(tmp_path)


def test_a_glob_takes_files_of_all_depths(tmp_path: Path) -> None:
    """``**`` descends; other files are skipped with a note; a folder means all below it."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    write_csv(tmp_path / "deep" / "er" / "eth-usd_1m.csv.gz", flat_rows(_START, 60, 12))
    write_csv(tmp_path / "deep" / "btc-usd_1m.extra.csv", [], header=("ts_utc", "bid"))
    (tmp_path / "deep" / "readme.txt").write_text("not bars")
    for pattern in (tmp_path / "**" / "*", tmp_path):
        files = _open(pattern)
        assert files.symbols == ("BTC-USD", "ETH-USD")
        assert any("extra" in note for note in files.notes)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    assert _open("~/*.csv").symbols == ("BTC-USD",)


def test_brackets_in_a_real_path_are_no_pattern(tmp_path: Path) -> None:
    """A path that exists is that path."""
    (tmp_path / "[2024]").mkdir()
    path = write_csv(tmp_path / "[2024]" / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    assert _open(path).symbols == ("BTC-USD",)


def test_nothing_that_matches_is_not_found(tmp_path: Path) -> None:
    """A pattern without files names itself."""
    with pytest.raises(NotFoundError, match="nothing"):
        _open(tmp_path / "nothing" / "*.csv")


def test_only_the_symbols_asked_for_are_read(tmp_path: Path) -> None:
    """The others are not opened, so their mistakes are nobody's."""
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 12))
    (tmp_path / "eth-usd_1m.csv").write_text("nonsense")
    files = open_bar_files(str(tmp_path), _CALENDAR, symbols={"BTC-USD"})
    assert files.symbols == ("BTC-USD",)


def test_a_name_without_an_interval_is_refused(tmp_path: Path) -> None:
    """The message says how to name the file, beside what else is wrong with it."""
    write_csv(tmp_path / "btc-usd.csv", [[_START, 1, 1, 1, 1, -1]])
    said = _refusal(tmp_path)
    assert "btc-usd.csv:2: volume -1 is below 0" in said
    assert "the name says no interval" in said


# --- what is refused --------------------------------------------------------------------------


def _cell(row: int, column: str, value: object) -> Callable[[list[list[object]]], None]:
    def change(rows: list[list[object]]) -> None:
        rows[row][HEADER.index(column)] = value

    return change


def _swap(one: int, other: int) -> Callable[[list[list[object]]], None]:
    def change(rows: list[list[object]]) -> None:
        rows[one], rows[other] = rows[other], rows[one]

    return change


@pytest.mark.parametrize(
    ("change", "row", "said"),
    [
        (_cell(5, "close", "12,5"), 7, "close '12,5' is not a number"),
        (_cell(5, "close", ""), 7, "the close is empty"),
        (_cell(5, "open", ""), 7, "open is empty here and given in other rows"),
        (_cell(5, "volume", ""), 7, "volume is empty here and given in other rows"),
        (_cell(5, "close", "nan"), 7, "close 'nan' is not a finite number"),
        (_cell(5, "volume", "inf"), 7, "volume 'inf' is not a finite number"),
        (_cell(5, "volume", -1), 7, "volume -1 is below 0"),
        (_cell(5, "low", 0), 7, "low 0 is not above 0"),
        (_cell(5, "open", -100), 7, "open -100 is not above 0"),
        (_cell(5, "low", 102), 7, "low 102 is above high 101"),
        (_cell(5, "close", 101.01), 7, "close 101.01 is outside [low, high] = [99, 101]"),
        (_cell(5, "close", 98.99), 7, "close 98.99 is outside [low, high] = [99, 101]"),
        (_cell(5, "open", 97.9), 7, "open 97.9 is outside [low, high] = [99, 101]"),
        (_cell(5, "open", 102.1), 7, "open 102.1 is outside [low, high] = [99, 101]"),
        (_cell(5, "close", "1_00"), 7, "an underscore"),
        (_cell(5, "ts_utc", ""), 7, "the time is empty"),
        (_cell(5, "ts_utc", "yesterday"), 7, "'yesterday' is not a time such as"),
        (_cell(5, "ts_utc", "2024-03-04T01:15:00"), 7, "has no zone"),
        (_cell(5, "ts_utc", "2024-03-04 01:15:00"), 7, "has no zone"),
        (_cell(5, "ts_utc", "2024-03-04T01:15:00.500Z"), 7, "fraction of a second"),
        (_cell(5, "ts_utc", "2024-03-04T01:16:00Z"), 7, "is not on the grid of 15m bars"),
        (_cell(5, "ts_utc", "2024-03-04T01:00:00Z"), 7, "stands twice"),
        (_swap(4, 5), 7, "rows must run from the oldest to the newest"),
        (lambda rows: rows[5].append(1), 7, "7 fields, expected 6"),
        (lambda rows: rows[5].pop(), 7, "5 fields, expected 6"),
        (lambda rows: rows[5].clear(), 7, "the time is empty"),
        (lambda rows: rows.clear(), 1, "the file has no bars"),
    ],
)
def test_a_wrong_row_is_named(
    tmp_path: Path, change: Callable[[list[list[object]]], None], row: int, said: str
) -> None:
    """File and line of the row, and what is wrong with it."""
    rows = flat_rows(_START, 900, 20)
    change(rows)
    path = write_csv(tmp_path / "btc-usd_15m.csv", rows)
    refusal = _refusal(path)
    assert f"{path}:{row}: " in refusal
    assert said in refusal


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Date,Open,High,Low,Close,Adj Close,Volume", "missing: ts_utc, open, high, low, close, volume"),
        ("ts_utc,open,high,low,close,volume,bid", "not expected: 'bid'"),
        ("ts_utc,open,high,low,close", "missing: volume"),
        ("ts_utc,open,high,low,close,close", "missing: volume"),
        ("", "missing: ts_utc"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, header: str, said: str) -> None:
    """What was expected, what was found, and the difference."""
    path = tmp_path / "btc-usd_1m.csv"
    path.write_text(header + "\n")
    refusal = _refusal(path)
    assert f"{path}:1: expected the columns ts_utc,open,high,low,close,volume; found " in refusal
    assert said in refusal


def test_the_order_of_the_columns_is_free(tmp_path: Path) -> None:
    """Columns are found by name; a byte order mark and CRLF do not matter."""
    path = tmp_path / "btc-usd_1m.csv"
    text = "volume,close,low,high,open,ts_utc\r\n5,2,1,4,3,2024-03-04T00:00:00Z\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(_open(path).closed("BTC-USD", 60, 0, _EVER)) == [Bar(ms(_START), 3, 4, 1, 2, 5)]


def test_ten_rows_are_shown_and_no_more(tmp_path: Path) -> None:
    """A file that is wrong throughout does not flood the screen."""
    rows = [[row[0], -1, -1, -1, -1, 0] for row in flat_rows(_START, 60, 5_000)]
    lines = _refusal(write_csv(tmp_path / "btc-usd_1m.csv", rows)).splitlines()
    assert len(lines) == 11
    assert "more rows are wrong" in lines[-1]


def test_every_wrong_file_has_its_own_text(tmp_path: Path) -> None:
    """One failure per file, all of them at once."""
    for symbol in ("btc", "eth", "sol"):
        write_csv(tmp_path / f"{symbol}-usd_1m.csv", [[_START, 1, 1, 1, symbol, 0]])
    with pytest.raises(BarFilesError) as caught:
        _open(tmp_path)
    assert [failure.count("is not a number") for failure in caught.value.failures] == [1, 1, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"ts_utc,open,high,low,close,volume\n")[:-9], "cannot be read"),
        (b"\x1f\x8b nonsense", "cannot be read"),
        (b"plain text", "cannot be read"),
        (b"", "missing: ts_utc"),
        (gzip.compress(b"ts_utc,open,high,low,close,volume\n\xff\xfe"), "is not UTF-8"),
        (gzip.compress(b"x" * 1_000_000), "longer than 4096"),
        (gzip.compress(b'ts_utc,open,high,low,close,volume\n"a"b,1\n'), "is not csv"),
        (
            gzip.compress(b"ts_utc,open,high,low,close,volume\n\x1b[31m,1,1,1,1,1\n"),
            r"'\x1b[31m' is not a time",
        ),
    ],
    # compressed bytes hold the time of day: as ids they would differ between workers
    ids=["cut", "nonsense", "text", "empty", "not-utf8", "long-line", "bad-quotes", "control"],
)
def test_a_hostile_file_is_refused_in_words(tmp_path: Path, content: bytes, said: str) -> None:
    """Truncated, binary, endless or coloured: an error for people, and nothing reaches the terminal raw."""
    path = tmp_path / "btc-usd_1m.csv.gz"
    path.write_bytes(content)
    refusal = _refusal(path)
    assert said in refusal
    assert "\x1b" not in refusal


def test_bars_coarser_than_their_name_are_refused(tmp_path: Path) -> None:
    """Hourly bars in a file called 1m would be one long gap."""
    said = _refusal(write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 3_600, 12)))
    assert "the bars are 1m by name, but no two stand closer than 1h" in said


def test_daily_bars_of_a_stock_stand_on_sessions(tmp_path: Path) -> None:
    """A label on a holiday, or on the local midnight, is not the session's date."""
    rows = [[f"2024-03-{day}T00:00:00Z", 9, 9, 9, 9, 0] for day in ("28", "29")]
    assert "xyz_1d.csv:3: 2024-03-29T00:00:00Z is no session of NYSE" in _refusal(
        write_csv(tmp_path / "xyz_1d.csv", rows)
    )
    rows = [["2024-03-28T04:00:00Z", 9, 9, 9, 9, 0]]
    assert "is not on the grid of 1d bars" in _refusal(write_csv(tmp_path / "xyz_1d.csv", rows))


def test_hourly_bars_of_a_stock_begin_at_the_open(tmp_path: Path) -> None:
    """New York opens at half past: an hour that begins at the full hour straddles two bars."""
    write_csv(tmp_path / "xyz_1h.csv", [[f"2024-03-04T1{h}:30:00Z", 9, 9, 9, 9, 0] for h in range(4, 8)])
    assert len(_open(tmp_path).closed("XYZ", 3_600, 0, _EVER)) == 4
    write_csv(tmp_path / "xyz_1h.csv", [[f"2024-03-04T1{h}:00:00Z", 9, 9, 9, 9, 0] for h in range(5, 8)])
    assert "which begins at the session's open" in _refusal(tmp_path)


def test_a_date_outside_the_calendar_names_file_and_date(tmp_path: Path) -> None:
    """A date that no calendar knows is the file's mistake."""
    write_csv(tmp_path / "xyz_1d.csv", [["2090-03-28T00:00:00Z", 9, 9, 9, 9, 0]])
    said = _refusal(tmp_path)
    assert "xyz_1d.csv" in said
    assert "2090-03-28 is outside the NYSE calendar" in said


def test_an_open_a_little_outside_the_range_is_noted(tmp_path: Path) -> None:
    """Vendors print such opens: up to 1 % they are kept as they are, and said."""
    rows = flat_rows(_START, 900, 12)
    rows[5][1] = 98.5
    files = _open(write_csv(tmp_path / "btc-usd_15m.csv", rows))
    assert files.closed("BTC-USD", 900, 0, _EVER)[5].open == 98.5
    assert any("1 open(s) outside [low, high]" in note and "row 7" in note for note in files.notes)


def test_close_only_files_have_no_other_prices(tmp_path: Path) -> None:
    """Whole columns may be empty: they are NaN, never made up, also in coarser bars."""
    rows = [[row[0], None, None, None, row[4], None] for row in flat_rows(_START, 60, 60)]
    files = _open(write_csv(tmp_path / "btc-usd_1m.csv", rows))
    for interval in (60, 900):
        for bar in files.closed("BTC-USD", interval, 0, _EVER):
            assert all(map(math.isnan, (bar.open, bar.high, bar.low, bar.volume)))
            assert bar.close > 0


# --- jumps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.5, 2.0, 10.0, 100.0])
def test_a_jump_is_refused_unless_it_is_allowed(tmp_path: Path, factor: float) -> None:
    """A split or a wrong unit: the first row behind the jump is named; the manifest may allow it."""
    rows = flat_rows(_START, 900, 20)
    for row in rows[8:]:
        row[1:5] = [float(str(cell)) * factor for cell in row[1:5]]
    path = write_csv(tmp_path / "btc-usd_15m.csv", rows)
    assert f"{path}:10: the price jumps from" in _refusal(path)
    entry = {"file": path.name, "allow_jumps": True}
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": [entry]}))
    assert len(_open(path).closed("BTC-USD", 900, 0, _EVER)) == 20


def test_one_bad_bar_is_named_on_both_sides(tmp_path: Path) -> None:
    """The bar and the way back."""
    rows = flat_rows(_START, 900, 20)
    rows[8][1:5] = [0.1] * 4
    said = _refusal(write_csv(tmp_path / "btc-usd_15m.csv", rows))
    assert "csv:10: the price jumps" in said
    assert "csv:11: the price jumps" in said


def test_a_bad_close_inside_a_wide_bar_is_refused(tmp_path: Path) -> None:
    """A close five times the one before is a jump even where the bar's range reaches down to it."""
    rows = flat_rows(_START, 900, 20)
    rows[8][1:5] = [100, 10_000, 99, 10_000]
    assert "csv:10: the price jumps" in _refusal(write_csv(tmp_path / "btc-usd_15m.csv", rows))


def test_a_flash_crash_is_not_a_jump(tmp_path: Path) -> None:
    """A bar that trades down to a cent and back is history, not an error."""
    rows = flat_rows(_START, 900, 20)
    rows[8][3] = 0.06
    assert len(_open(write_csv(tmp_path / "btc-usd_15m.csv", rows)).closed("BTC-USD", 900, 0, _EVER)) == 20


# --- joining ----------------------------------------------------------------------------------


def test_files_that_follow_each_other_are_one_series(tmp_path: Path) -> None:
    """Contiguous files, also where they repeat some of the same bars."""
    rows = flat_rows(_START, 900, 40)
    write_csv(tmp_path / "btc-usd_a_15m.csv", rows[:15])
    write_csv(tmp_path / "btc-usd_b_15m.csv", rows[15:25])
    write_csv(tmp_path / "btc-usd_c_15m.csv", rows[20:])
    write_csv(tmp_path / "btc-usd_d_15m.csv", rows[22:30])
    bars = _open(tmp_path).closed("BTC-USD", 900, 0, _EVER)
    assert [bar.open_time_ms for bar in bars] == [ms(str(row[0])) for row in rows]


def test_a_weekend_between_two_files_of_a_stock_joins(tmp_path: Path) -> None:
    """No bar is expected between Friday and Monday."""
    write_csv(tmp_path / "xyz_1_1d.csv", [["2024-03-01T00:00:00Z", 9, 9, 9, 9, 0]])
    write_csv(tmp_path / "xyz_2_1d.csv", [["2024-03-04T00:00:00Z", 9, 9, 9, 9, 0]])
    assert len(_open(tmp_path).closed("XYZ", 86_400, 0, _EVER)) == 2


def _change_close(rows: list[list[object]]) -> list[list[object]]:
    return [[*row[:4], 99.5, row[5]] for row in rows]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (lambda rows: rows[21:], "and 1 expected bars are in neither"),
        (lambda rows: _change_close(rows[15:]), "they overlap and differ at"),
        (lambda rows: [rows[15], *rows[17:]], "they overlap and differ at"),
        (lambda rows: [[row[0], 300, 300, 300, 300, 0] for row in rows[20:]], "the price jumps"),
    ],
)
def test_files_that_do_not_join_are_both_named(
    tmp_path: Path, second: Callable[[list[list[object]]], list[list[object]]], said: str
) -> None:
    """A hole, a contradiction or a split between two files: nothing is chosen for the person."""
    rows = flat_rows(_START, 900, 40)
    one = write_csv(tmp_path / "btc-usd_coinbase_15m.csv", rows[:20])
    two = write_csv(tmp_path / "btc-usd_kraken_15m.csv", second(rows))
    refusal = _refusal(tmp_path)
    assert str(one) in refusal
    assert str(two) in refusal
    assert "do not join" in refusal
    assert said in refusal


# --- parquet ----------------------------------------------------------------------------------


def _write_parquet(path: Path, columns: dict[str, object]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    parquet.write_table(pyarrow.table(columns), path)
    return path


def _parquet_columns(rows: list[list[object]]) -> dict[str, object]:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    times = pyarrow.array([ms(str(row[0])) for row in rows], pyarrow.timestamp("ms", "UTC"))
    numbers = {name: [row[index] for row in rows] for index, name in enumerate(HEADER) if index}
    return {"ts_utc": times, **numbers}


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    """The same bars come out of both formats, with times as timestamps or as text."""
    rows = flat_rows(_START, 900, 20)
    expected = list(_open(write_csv(tmp_path / "btc-usd_15m.csv", rows)).closed("BTC-USD", 900, 0, _EVER))
    columns = _parquet_columns(rows)
    for times in (columns["ts_utc"], [row[0] for row in rows]):
        path = _write_parquet(tmp_path / "btc-usd_15m.parquet", {**columns, "ts_utc": times})
        assert list(_open(path).closed("BTC-USD", 900, 0, _EVER)) == expected


def test_a_wrong_parquet_record_is_named(tmp_path: Path) -> None:
    """Records are counted from 1; nulls are empty fields."""
    rows = flat_rows(_START, 900, 20)
    rows[5][4] = None
    path = _write_parquet(tmp_path / "btc-usd_15m.parquet", _parquet_columns(rows))
    assert f"{path}:6: the close is empty" in _refusal(path)


def test_wrong_parquet_columns_are_refused(tmp_path: Path) -> None:
    """Times without a zone, text for numbers, strange columns, and what is no parquet at all."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    columns = _parquet_columns(flat_rows(_START, 900, 20))
    naive = pyarrow.array(range(20), pyarrow.timestamp("ms"))
    path = tmp_path / "btc-usd_15m.parquet"
    for name, column, said in (
        ("ts_utc", naive, "have no zone"),
        ("ts_utc", [1.0] * 20, "not times"),
        ("close", ["1"] * 20, "the column close holds string, not numbers"),
        ("bid", [1.0] * 20, "not expected: 'bid'"),
    ):
        assert said in _refusal(_write_parquet(path, {**columns, name: column}))
    path.write_bytes(b"PAR1 nonsense")
    assert "cannot be read" in _refusal(path)


# --- properties -------------------------------------------------------------------------------


@st.composite
def _random_rows(draw: st.DrawFn) -> list[list[object]]:
    """Valid rows of one minute, with holes."""
    price, at_ms = draw(st.floats(0.001, 90_000)), ms(_START)
    rows: list[list[object]] = []
    for _ in range(draw(st.integers(2, 25))):
        at_ms += 60_000 * draw(st.integers(1, 4) if len(rows) > 1 else st.just(1))
        prices = sorted(price * draw(st.floats(0.8, 1.25)) for _ in range(4))
        low, one, other, high = prices
        volume = draw(st.floats(0, 1e12))
        rows.append([stamp(at_ms), one, high, low, other, volume])
        price = other
    return rows


_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@_one_folder
@given(rows=_random_rows(), suffix=st.sampled_from(["csv", "csv.gz", "parquet"]))
def test_valid_bars_come_back_as_they_were(tmp_path: Path, rows: list[list[object]], suffix: str) -> None:
    """What is written is read, to the last bit, in every format."""
    path = tmp_path / f"doge-usd_1m.{suffix}"
    manifest = {"bars": [{"file": "*", "allow_jumps": True}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    if suffix == "parquet":
        _write_parquet(path, _parquet_columns(rows))
    else:
        write_csv(path, rows)
    read = _open(path).closed("DOGE-USD", 60, 0, _EVER)
    assert [[stamp(b.open_time_ms), b.open, b.high, b.low, b.close, b.volume] for b in read] == rows


_corruptions = st.sampled_from(
    [
        ("ts_utc", ""), ("ts_utc", "2024-03-04T00:00:30Z"), ("ts_utc", "2024-03-04"), ("ts_utc", "17"),
        ("close", ""), ("close", "x"), ("close", "nan"), ("close", "-inf"), ("close", "0"), ("close", "-1"),
        ("open", "0"), ("open", "1e9"), ("high", "1e-9"), ("low", "1e9"), ("volume", "-1"), ("volume", "nan"),
    ]
)  # fmt: skip


@_one_folder
@given(rows=_random_rows(), corruption=_corruptions, data=st.data())
def test_a_corrupt_cell_is_refused_by_its_row(
    tmp_path: Path, rows: list[list[object]], corruption: tuple[str, str], data: st.DataObject
) -> None:
    """Whatever row is spoilt, the refusal names it, even where jumps are allowed."""
    manifest = {"bars": [{"file": "*", "allow_jumps": True}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    number = data.draw(st.integers(0, len(rows) - 1), "row")
    column, value = corruption
    rows[number][HEADER.index(column)] = value
    path = write_csv(tmp_path / "doge-usd_1m.csv", rows)
    with pytest.raises(DataError, match=rf"doge-usd_1m\.csv:{number + 2}: "):
        _open(path)
