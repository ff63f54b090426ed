"""Coarser bars: made only where every finer bar is proven, aligned as the calendar says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.bars.files import BarFiles, open_bar_files
from adapters.calendar import ExchangeCalendars
from engine.model import Bar
from tests.adapters.bars.writing import flat_rows, ms, stamp, write_csv

_CALENDAR = ExchangeCalendars()
_START = "2024-03-04T00:00:00Z"
_EVER = 10**13


def _open(path: Path) -> BarFiles:
    return open_bar_files(str(path), _CALENDAR)


def _opens(files: BarFiles, symbol: str, interval: int) -> list[str]:
    return [stamp(bar.open_time_ms) for bar in files.closed(symbol, interval, 0, _EVER)]


def test_a_coarse_bar_sums_its_finer_bars(tmp_path: Path) -> None:
    """First open, highest high, lowest low, last close, all the volume."""
    write_csv(
        tmp_path / "btc-usd_1m.csv",
        [
            ["2024-03-04T00:00:00Z", 10, 12, 9, 11, 1],
            ["2024-03-04T00:01:00Z", 11, 15, 11, 14, 2],
            ["2024-03-04T00:02:00Z", 14, 14, 8, 13, 0.5],
        ],
    )
    assert list(_open(tmp_path).closed("BTC-USD", 180, 0, _EVER)) == [Bar(ms(_START), 10, 15, 8, 13, 3.5)]


def test_a_missing_finer_bar_leaves_a_gap(tmp_path: Path) -> None:
    """The hour with the hole is absent; the hours beside it and the edges' halves are as they are."""
    rows = flat_rows("2024-03-04T00:30:00Z", 60, 60 * 5)
    del rows[100]
    files = _open(write_csv(tmp_path / "btc-usd_1m.csv", rows).parent)
    assert _opens(files, "BTC-USD", 3_600) == [
        "2024-03-04T01:00:00Z",
        "2024-03-04T03:00:00Z",
        "2024-03-04T04:00:00Z",
    ]
    assert _opens(files, "BTC-USD", 86_400) == []


def test_proven_absence_is_a_bar_without_a_trade(tmp_path: Path) -> None:
    """With ``absent_bars: no_trade`` the hole is filled, flagged, and the hour is whole."""
    rows = flat_rows(_START, 60, 120)
    before, removed = rows[99], [rows.pop(100), rows.pop(100)]
    write_csv(tmp_path / "btc-usd_1m.csv", rows)
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": [{"file": "*", "absent_bars": "no_trade"}]}))
    files = _open(tmp_path)
    filled = files.closed("BTC-USD", 60, ms(str(before[0])), ms(str(rows[100][0])))
    close = float(str(before[4]))
    assert list(filled) == [
        Bar(ms(str(row[0])), close, close, close, close, 0, traded=False) for row in removed
    ]
    assert len(_opens(files, "BTC-USD", 60)) == 120
    hours = files.closed("BTC-USD", 3_600, 0, _EVER)
    assert [bar.traded for bar in hours] == [True, True]


def test_a_bar_of_nothing_but_silence_did_not_trade(tmp_path: Path) -> None:
    """A coarse bar made of no-trade bars is a no-trade bar."""
    rows = flat_rows(_START, 60, 15)
    del rows[4:11]
    write_csv(tmp_path / "btc-usd_1m.csv", rows)
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": [{"file": "*", "absent_bars": "no_trade"}]}))
    bars = _open(tmp_path).closed("BTC-USD", 300, 0, _EVER)
    assert [bar.traded for bar in bars] == [True, False, True]


def test_a_hostile_span_is_not_filled(tmp_path: Path) -> None:
    """Two bars a thousand years apart do not become a billion."""
    write_csv(tmp_path / "btc-usd_1m.csv", [[_START, 1, 1, 1, 1, 1], ["3024-03-04T00:00:00Z", 1, 1, 1, 1, 1]])
    assert _open(tmp_path).closed("BTC-USD", 3_600, 0, 10**15) is not None
    (tmp_path / "manifest.json").write_text(json.dumps({"bars": [{"file": "*", "absent_bars": "no_trade"}]}))
    with pytest.raises(Exception, match=r"absent_bars: no_trade would make 525,\d+,\d+ bars of 2"):
        _open(tmp_path)


def test_stock_bars_are_aligned_to_the_session(tmp_path: Path) -> None:
    """From 15 m bars of an early close: hours from the open, a short last one, one day."""
    opens = _CALENDAR.expected_bars("NYSE", 900, ms("2025-11-26T00:00:00Z"), ms("2025-11-29T00:00:00Z"))
    rows = [[stamp(at), 9, 10, 8, 9, 1] for at in opens]
    # A bar of the post-market is part of nothing.
    rows.append(["2025-11-28T18:00:00Z", 9, 9, 5, 9, 1])
    files = _open(write_csv(tmp_path / "xyz_15m.csv", rows).parent)
    assert _opens(files, "XYZ", 3_600)[-4:] == [f"2025-11-28T{hour}:30:00Z" for hour in (14, 15, 16, 17)]
    hours = files.closed("XYZ", 3_600, 0, _EVER)
    assert [bar.volume for bar in hours] == [4] * 6 + [2] + [4] * 3 + [2]
    days = list(files.closed("XYZ", 86_400, 0, _EVER))
    assert [stamp(day.open_time_ms) for day in days] == ["2025-11-26T00:00:00Z", "2025-11-28T00:00:00Z"]
    assert [day.volume for day in days] == [26, 14]
    assert days[-1].low == 8


def test_a_day_is_closed_at_its_early_close(tmp_path: Path) -> None:
    """The daily bar of a half day is there from 13:00 New York."""
    write_csv(tmp_path / "xyz_1d.csv", [[f"2025-11-{day}T00:00:00Z", 9, 9, 9, 9, 0] for day in (26, 28)])
    files = _open(tmp_path)
    early = ms("2025-11-28T13:00:00-05:00")
    assert len(files.closed("XYZ", 86_400, 0, early)) == 2
    assert len(files.closed("XYZ", 86_400, 0, early - 1)) == 1


def test_a_coarser_file_goes_before_what_could_be_made(tmp_path: Path) -> None:
    """A file of the interval asked for is used as it is; otherwise the coarsest that divides."""
    write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 180))
    write_csv(tmp_path / "btc-usd_1h.csv", flat_rows(_START, 3_600, 24, price=101.0))
    files = _open(tmp_path)
    assert files.intervals_of("BTC-USD") == (60, 3_600)
    assert [bar.open for bar in files.closed("BTC-USD", 3_600, 0, _EVER)] == [101.0] * 24
    assert [bar.open for bar in files.closed("BTC-USD", 86_400, 0, _EVER)] == [101.0]
    assert [bar.open for bar in files.closed("BTC-USD", 1_800, 0, _EVER)] == [100.0] * 6
    assert files.closed("BTC-USD", 5_400, 0, _EVER)[0].open == 100.0
    assert list(files.closed("BTC-USD", 604_800, 0, _EVER)) == []


def test_a_view_is_a_sequence(tmp_path: Path) -> None:
    """What ``closed`` returns can be indexed, sliced, reversed and counted."""
    bars = _open(write_csv(tmp_path / "btc-usd_1m.csv", flat_rows(_START, 60, 10)).parent).closed(
        "BTC-USD", 60, 0, _EVER
    )
    listed = list(bars)
    assert len(bars) == 10
    assert bars[-1] == listed[-1]
    assert list(bars[2:9:3]) == listed[2:9:3]
    assert list(bars[2:][1:]) == listed[3:]
    assert list(reversed(bars)) == listed[::-1]
    with pytest.raises(IndexError):
        bars[10]
