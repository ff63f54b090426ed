"""Measure the history store: a million bars written and read, beside plain pandas in the same run.

Run ``python tests/bench/bench_history.py [FOLDER]``; FOLDER is where the files go (default: a temporary
folder; what is durable is so on the disk under it).  The store writes a partition a month, each synced to the
disk, with checksums, and checks the bars; pandas writes one file and checks nothing.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from adapters.bars.files import open_bar_files
from adapters.bars.partition import Origin
from adapters.bars.series import BarSeries
from adapters.bars.store import Fetched, HistoryStore
from adapters.calendar import ExchangeCalendars

_BARS = 1_000_000
_MINUTE_MS = 60_000
_START_MS = 1_704_067_200_000  # 2024-01-01
_ROUNDS = 3
_COLUMNS = ("open", "high", "low", "close", "volume")


def series() -> BarSeries:
    """Return a million minutes of a walk in cents."""
    chance = random.Random(1)
    bars = BarSeries(60)
    cents = 9_000_000
    for number in range(_BARS):
        opened = cents
        cents += chance.randrange(-500, 501)
        high, low = max(opened, cents) + chance.randrange(200), min(opened, cents) - chance.randrange(200)
        bars.open_time_ms.append(_START_MS + number * _MINUTE_MS)
        bars.open.append(opened / 100)
        bars.high.append(high / 100)
        bars.low.append(low / 100)
        bars.close.append(cents / 100)
        bars.volume.append(chance.randrange(10**6) / 1000)
        bars.traded.append(1)
    return bars


def _best(action: Callable[[int], object]) -> float:
    times = []
    for number in range(_ROUNDS):
        start = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - start)
    return min(times)


def main(folder: Path) -> None:
    """Print a table."""
    bars = series()
    frame = pd.DataFrame(
        {
            "ts_utc": pd.to_datetime(bars.open_time_ms, unit="ms", utc=True),
            **{name: getattr(bars, name) for name in _COLUMNS},
            "traded": [bool(flag) for flag in bars.traded],
        }
    )
    end_ms = bars.open_time_ms[-1] + _MINUTE_MS
    fetched = Fetched(Origin("bench", "BTC/USD", "24/7"), bars, _START_MS, end_ms, end_ms)

    def write(number: int) -> None:
        HistoryStore(folder / f"store{number}").append("BTC-USD", 60, fetched)

    store = HistoryStore(folder / "store0")
    rows = [("write", _best(write), _best(lambda number: frame.to_parquet(folder / f"{number}.parquet")))]
    rows.append(
        (
            "read into columns of Python's own",
            _best(lambda number: store.read("BTC-USD", 60)),
            _best(lambda number: pd.read_parquet(folder / "0.parquet")),
        )
    )
    rows.append(
        (
            "append what is there already (a check)",
            _best(lambda number: store.append("BTC-USD", 60, fetched)),
            rows[0][2],
        )
    )
    assert list(store.read("BTC-USD", 60).close) == list(bars.close)
    calendar = ExchangeCalendars()
    rows.append(
        (
            "open as bars:DIR",
            _best(lambda number: open_bar_files(str(folder / "store0"), calendar)),
            rows[1][2],
        )
    )
    parts = [path.stat().st_size for path in (folder / "store0").rglob("*.parquet")]
    one_file = (folder / "0.parquet").stat().st_size
    print(
        f"{_BARS:,} bars: {sum(parts) / 1e6:.1f} MB in {len(parts)} partitions,"
        f" {one_file / 1e6:.1f} MB in one file of pandas"
    )
    print(f"{'':<40} {'store':>9} {'pandas':>9} {'ratio':>6}")
    for what, ours, theirs in rows:
        print(f"{what:<40} {ours:7.3f} s {theirs:7.3f} s {ours / theirs:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args().folder
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        main(given)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
