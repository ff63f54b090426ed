"""How much disk decisions take, measured on the files: bytes do not depend on the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.journal.store import open_journal
from engine.runtime.journal_port import SizeReport
from tests.journal_records import LAYOUT, POLICY, START_MS, Market, cycle_of

_CYCLES, _SYMBOLS = 1000, 20


def _keep(path: Path, kind: str) -> tuple[float, SizeReport]:
    """Journal 1,000 cycles of 20 symbols and 40 facts; return the file's bytes per decision."""
    assert len(LAYOUT.slots) == 40
    journal = open_journal(path, at_ms=START_MS, reserve_exits=1)
    journal.add_policy(POLICY, START_MS)
    markets = [Market(f"S{number:02d}-USD") for number in range(_SYMBOLS)]
    for cycle in range(1, _CYCLES + 1):
        if kind != "unchanged":
            for market in markets:
                market.move()
        full = kind == "full"
        records = [market.sell(cycle) if full else market.record(cycle) for market in markets]
        # The intents are counted apart: here it is the decisions that are measured.
        journal.commit_cycle(replace(cycle_of(cycle, records), intents=()))
    report = journal.size_report()
    journal.close()
    return path.stat().st_size / (_CYCLES * _SYMBOLS), report


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("unchanged", 40), ("moving", 150), ("full", 400)],
)
def test_bytes_on_disk(tmp_path: Path, kind: str, limit: int) -> None:
    """The whole file, tables, indexes and empty pages, stays below the stated bytes per decision."""
    size, report = _keep(tmp_path / "journal.db", kind)
    print(f"{kind}: {size:.1f} bytes per decision on disk")
    assert size <= limit
    assert report.cycles == _CYCLES
    if kind == "full":
        assert report.full_records == _CYCLES * _SYMBOLS
        assert report.full_packed_bytes / report.full_records < size
    else:
        # One full record in 64 cycles for each symbol, and those of the first cycle.
        assert report.full_records <= _SYMBOLS * (_CYCLES // 64 + 2)
    assert report.tables["decisions"] + report.tables["cycles"] <= report.file_bytes


def test_pruning_gives_the_bytes_back(tmp_path: Path) -> None:
    """After pruning the file is smaller by about what was forgotten, without a second copy of it."""
    path = tmp_path / "journal.db"
    _keep(path, "moving")
    journal = open_journal(path, at_ms=START_MS, reserve_exits=1)
    report = journal.prune(keep_cycles=100)
    journal.close()
    assert report.cycles_removed == 900
    assert report.bytes_after < report.bytes_before / 4
    assert path.stat().st_size <= report.bytes_after
