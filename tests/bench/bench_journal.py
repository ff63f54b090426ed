"""Measure the journal: how long an intent takes to be durable, and a cycle of 5,000 symbols to be kept.

Run ``python tests/bench/bench_journal.py [FOLDER]``; FOLDER is where the files go (default: a temporary
folder; the durability of an intent is that of the disk under it).
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from adapters.journal.reading import read_journal
from adapters.journal.store import Journal, open_journal
from engine.codes import IntentState
from engine.runtime.journal_port import CycleRecord, IntentEvent
from tests.journal_records import POLICY, START_MS, Market, at_ms, cycle_of

_What = TypeVar("_What")

_SYMBOLS = 5000
_ROUNDS = 7
_KINDS = (("first, all full", True, 1), ("unchanged", False, _ROUNDS), ("moved", True, _ROUNDS))


@contextmanager
def _journal(folder: Path, name: str) -> Iterator[Journal]:
    journal = open_journal(folder / f"{name}.db", at_ms=START_MS, reserve_exits=1)
    journal.add_policy(POLICY, START_MS)
    yield journal
    journal.close()


def _milliseconds(action: Callable[[_What], object], what: _What) -> float:
    start = time.perf_counter_ns()
    action(what)
    return (time.perf_counter_ns() - start) / 1e6


def _line(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{what:<46} p50 {statistics.median(times):9.3f} ms   p99 {p99:9.3f} ms")


def intents(folder: Path) -> None:
    """Time the commit of a cycle of one sell, and of its receipt."""
    market, cycles, receipts = Market("ON"), [], []
    with _journal(folder, "intents") as journal:
        for cycle in range(1, 1001):
            record = cycle_of(cycle, [market.sell(cycle)])
            cycles.append(_milliseconds(journal.commit_cycle, record))
            name = record.intents[0].order.client_id
            event = IntentEvent(name, IntentState.SENT, at_ms(cycle))
            receipts.append(_milliseconds(journal.append_receipt, [event]))
    _line("intent, with its cycle, durable", cycles)
    _line("receipt, durable", receipts)


def cycles(folder: Path) -> None:
    """Time cycles of 5,000 decisions of 40 facts: first, unchanged, and with all market facts moved."""
    markets = [Market(f"S{number:04d}") for number in range(_SYMBOLS)]
    numbers = count(1)

    def ready(*, moved: bool) -> CycleRecord:
        cycle = next(numbers)
        if moved:
            for market in markets:
                market.move()
        return cycle_of(cycle, [market.record(cycle) for market in markets])

    with _journal(folder, "cycles") as journal:
        for what, moved, rounds in _KINDS:
            times = []
            for _ in range(rounds):
                record = ready(moved=moved)
                gc.collect()
                times.append(_milliseconds(journal.commit_cycle, record))
            _line(f"cycle of {_SYMBOLS:,} symbols, {what}", times)
    size = (folder / "cycles.db").stat().st_size
    print(f"{'file':<46} {size / 1e6:.1f} MB")


def reading(folder: Path) -> None:
    """Time one symbol's last decision out of cycles of 5,000: CPU seconds count for ``explain``."""
    start = time.process_time()
    reader = read_journal(folder / "cycles.db")
    found = reader.decision_at("S2500")
    assert found is not None
    print(f"{'one decision out of 5,000 a cycle':<46} {(time.process_time() - start) * 1e3:.1f} ms CPU")
    reader.close()


def main() -> None:
    """Run all measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    chosen: Path | None = parser.parse_args().folder
    with tempfile.TemporaryDirectory(dir=chosen) as folder:
        intents(Path(folder))
        cycles(Path(folder))
        reading(Path(folder))


if __name__ == "__main__":
    main()
