"""kill -9 at every seam: the process dies inside its ports, is restarted; nothing is lost or doubled.

The run has thirty cycles.  It is deterministic, so one that was killed need not be run to its end: at every
fifth cycle the undisturbed run says what is to be there, and what is the same there goes on the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.brokers.paper import PaperBroker
from adapters.journal.reading import read_journal
from engine.codes import IntentState
from engine.model import OrderSide
from engine.runtime.cycle import CycleReport
from tests.adapters.journal.test_full_disk import disk as disk  # a small disk of its own
from tests.evidence import Evidence
from tests.simulation.world import Hook, World, build, silent

CYCLES, STRETCH = 30, 5
SEAMS = (
    "journal.add_policy",
    "journal.append_account_event",
    "journal.append_receipt",
    "journal.commit",
    "journal.commit_cycle",
    "broker.submit",
    "broker.cancel",
    "broker.find",
    "broker.fills_since",
    "broker.account",
    "venue.commit",
    "quotes.snapshot",
)
PLACES = 3 if os.environ.get("TRADECTL_HYPOTHESIS") == "long" else 2
"""So many calls of each seam: the first, one in the middle, the last."""


def told(folder: Path) -> dict[str, Any]:
    """Return everything that must not depend on crashes: ledger, venue, fills, intents, decisions."""
    world = build(folder)
    world.agent.start()
    result = told_by(world)
    world.close()
    reader = read_journal(folder / "journal.db")
    result["decisions"] = [
        (
            c.head.cycle,
            c.head.at_ms,
            [(d.symbol, d.decision.action, d.decision.rule) for d in c.decisions],
        )
        for c in reader.cycles()
    ]
    result["sound"] = list(reader.verify())
    reader.close()
    return result


def told_by(world: World) -> dict[str, Any]:
    """Return what agent, venue and journal hold."""
    venue, state = venue_of(world), world.agent.state
    account = venue.account()
    journal = world.agent.ports.journal
    return {
        "ledger": (state.ledger.cash, dict(state.ledger.holdings), state.ledger.realised, state.ledger.fees),
        "memories": dict(state.memories),
        "venue": (account.cash, dict(account.positions)),
        "venue fills": [
            (f.symbol, f.side, f.quantity, f.price, f.fee, f.at_ms) for f in venue.fills_since("")[0]
        ],
        "journal fills": [
            (f.fill_id, f.symbol, f.side, f.quantity, f.price, f.at_ms) for f in journal.fills()
        ],
        "intents": [
            (i.cycle, i.order.client_id, i.order.quantity, i.order.limit_price, i.rule)
            for i in journal.intents()
        ],
    }


def venue_of(world: World) -> PaperBroker:
    """Return the venue behind its hook."""
    venue: PaperBroker = world.agent.ports.broker._inner  # type: ignore[attr-defined]  # of Hooked
    return venue


def in_child(folder: Path, until_cycle: int, hook: Hook = silent) -> int:
    """Run an agent up to a cycle in a forked process; return its exit status or minus its signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            world = build(folder, hook=hook)
            world.agent.start()
            world.run(until_cycle)
            world.close()
            status = 0
        finally:
            os._exit(status)
    _, waited = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(waited)


class Killer:
    """A hook that kills its process, without a farewell, at one call of one seam."""

    def __init__(self, seam: str, when: str, number: int) -> None:
        """Kill ``when`` ("before", "after") the call with this number, from 1."""
        self.place = (seam, when)
        self.left = number

    def __call__(self, seam: str, when: str, arguments: tuple[Any, ...]) -> None:
        """Count, and kill."""
        if (seam, when) == self.place:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Undisturbed:
    """An undisturbed run, saved at every fifth cycle: the agent's folder there, and what it told."""

    folder: Path
    told: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: dict[int, Counter[str]] = field(default_factory=dict)  # of each seam, by the stretch's first cycle
    partial: list[tuple[int, int]] = field(default_factory=list)  # (stretch, number) of receipts of a part

    def saved(self, cycle: int) -> Path:
        """Return the folder as it was after a cycle."""
        return self.folder / f"after-{cycle}"

    def copy(self, cycle: int, into: Path) -> Path:
        """Return a copy of the folder as it was after a cycle."""
        shutil.copytree(self.saved(cycle), into)
        return into

    def places(self, seam: str) -> list[tuple[int, int]]:
        """Return calls of a seam, as (stretch, number in it): the first, the last; at length one between."""
        calls = [
            (stretch, number)
            for stretch, counts in sorted(self.calls.items())
            for number in range(1, counts[seam] + 1)
        ]
        last = len(calls) - 1
        return [calls[at] for at in sorted({round(last * part / (PLACES - 1)) for part in range(PLACES)})]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run to the end, in stretches of five cycles."""
    run = Undisturbed(tmp_path_factory.mktemp("undisturbed"))
    run.saved(0).mkdir()
    for stretch in range(0, CYCLES, STRETCH):
        counts: Counter[str] = Counter()

        def count(
            seam: str,
            when: str,
            arguments: tuple[Any, ...],
            counts: Counter[str] = counts,
            stretch: int = stretch,
        ) -> None:
            counts[seam] += when == "before"
            if (seam, when) == ("journal.append_receipt", "after") and any(
                event.state is IntentState.PARTLY_FILLED for event in arguments[0]
            ):
                run.partial.append((stretch, counts[seam]))

        folder = run.copy(stretch, run.saved(stretch + STRETCH))
        world = build(folder, hook=count)
        world.agent.start()
        world.run(stretch + STRETCH)
        world.close()
        run.calls[stretch] = counts
        run.told[stretch + STRETCH] = told(folder)
    return run


def test_the_run_holds_what_crashes_could_lose(
    undisturbed: Undisturbed, tmp_path: Path, evidence: Evidence
) -> None:
    """It trades, its venue and journal tell the same, and without the restarts in it it is the same run."""
    result = undisturbed.told[CYCLES]
    calls = sum(undisturbed.calls.values(), Counter())
    assert len(result["intents"]) >= 20
    assert len(result["venue fills"]) > len(result["intents"]) * 3 // 4
    assert calls["broker.cancel"] >= 1, "partial fills run out of time and are cancelled"
    assert len(undisturbed.partial) >= 3
    assert [f[1:] for f in result["journal fills"]] == [f[:4] + f[5:] for f in result["venue fills"]]
    assert result["ledger"][0] == result["venue"][0]
    assert {s: h.quantity for s, h in result["ledger"][1].items()} == result["venue"][1]
    assert result["sound"] == []
    assert in_child(tmp_path, CYCLES) == 0
    assert told(tmp_path) == result
    places = sum(len(undisturbed.places(seam)) for seam in SEAMS) * 2
    assert places >= 20 * PLACES
    evidence(f"killed at {places} places of {sum(calls[seam] for seam in SEAMS) * 2}")


def killed_and_restarted(
    undisturbed: Undisturbed, stretch: int, folder: Path, killer: Callable[[], Hook]
) -> None:
    """Kill a process in a stretch, restart it, and compare where the stretch ends."""
    undisturbed.copy(stretch, folder)
    end = stretch + STRETCH
    assert in_child(folder, end, killer()) == -signal.SIGKILL
    assert in_child(folder, end) == 0
    assert told(folder) == undisturbed.told[end]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("seam", SEAMS)
def test_kill_anywhere(seam: str, when: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Killed at the first, a middle and the last call of a seam, and restarted, the run goes on the same."""
    for stretch, number in undisturbed.places(seam):
        killed_and_restarted(
            undisturbed,
            stretch,
            tmp_path / f"{stretch}-{number}",
            lambda number=number: Killer(seam, when, number),  # type: ignore[misc]  # bound now
        )


def test_killed_between_a_partial_receipt_and_the_next(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """What was filled in part is booked once, and the rest of it comes."""
    for stretch, number in undisturbed.partial[:4]:
        killed_and_restarted(
            undisturbed,
            stretch,
            tmp_path / f"{stretch}-{number}",
            lambda number=number: Killer("journal.append_receipt", "after", number),  # type: ignore[misc]  # now
        )


def test_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A process that dies at every third send still ends where the undisturbed one does."""
    for _ in range(40):
        status = in_child(tmp_path, CYCLES, Killer("broker.submit", "after", 3))
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert told(tmp_path) == undisturbed.told[CYCLES]


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_pruning(when: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Old cycles are gone or are not; what must stay is there, and the run goes on the same."""
    folder = undisturbed.copy(15, tmp_path / "agent")
    pid = os.fork()
    if pid == 0:

        def kill(seam: str, at: str, arguments: tuple[Any, ...]) -> None:
            if (seam, at, arguments) == ("journal.commit", when, ("prune",)):
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            world = build(folder, hook=kill)
            world.agent.start()
            world.run(17)
            world.agent.ports.journal._inner.prune(keep_cycles=3)  # type: ignore[attr-defined]  # of Hooked
        finally:
            os._exit(1)
    _, waited = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(waited) == -signal.SIGKILL
    assert in_child(folder, 20) == 0
    found, expected = told(folder), dict(undisturbed.told[20])
    kept = 15 if when == "after" else 1
    assert [d for d in found.pop("decisions") if d[0] >= 15] == [
        d for d in expected.pop("decisions") if d[0] >= 15
    ]
    assert found == expected
    reader = read_journal(folder / "journal.db")
    whole = [cycle.head.cycle for cycle in reader.cycles() if not cycle.pruned]
    reader.close()
    assert whole[0] == kept


# --- a disk that is full, a file that is locked -----------------------------------------------


def sound(world: World, folder: Path) -> None:
    """Require that books and venue agree, and that a restart goes on from here."""
    world.agent.tend()
    told_now = told_by(world)
    cash, holdings = told_now["ledger"][:2]
    assert (cash, {s: h.quantity for s, h in holdings.items()}) == told_now["venue"]
    names = [intent[1] for intent in told_now["intents"]]
    assert len(set(names)) == len(names)
    assert all(venue_of(world).find(name) is not None for name in names)
    assert not any(memory.frozen for memory in told_now["memories"].values())
    assert list(world.agent.ports.journal.verify()) == []
    state = world.agent.state
    world.close()
    again = build(folder, venue_folder=folder.parent / "venue", reserve_exits=60)
    again.agent.start()
    for symbol, memory in state.memories.items():
        assert again.agent.state.memory(symbol) == memory
    assert again.agent.state == state
    again.close()


def fill(folder: Path) -> Path:
    """Take every byte that is left on a disk; return the file that has them."""
    others = folder / "others"
    with others.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return others


@pytest.fixture
def small(disk: Path) -> Iterator[tuple[World, Path]]:
    """An agent on a small disk of its own, its venue elsewhere, after ten cycles."""
    folder, venue = disk / "agent", disk.parent / "venue"
    folder.mkdir()
    venue.mkdir()
    (disk / "venue").symlink_to(venue)
    world = build(folder, venue_folder=venue, reserve_exits=60)
    world.agent.start()
    world.run(10)
    world.agent.ports.journal.prune(keep_cycles=5)  # what was set aside for the log is given back
    yield world, folder
    world.close()


def test_the_disk_is_full_during_a_run(small: tuple[World, Path]) -> None:
    """Buys wait, exits go out of the reserve, the agent says so; with room again it goes on."""
    world, folder = small
    others = fill(folder.parent)
    reports: list[CycleReport] = []
    for _ in range(40):
        world.clock.sleep_until(world.agent.next_cycle_ms())
        reports.append(world.agent.cycle())
    halted = [report for report in reports if report.halted]
    sold = [report for report in halted if report.intents]
    assert len(halted) >= 3
    assert sold, "exits were sent with the disk full"
    for report in halted:
        assert "full" in report.halted
        assert all(intent.order.side is OrderSide.SELL for intent in report.intents)
    bought = sum(report.planned != () and not report.intents for report in halted)
    assert bought
    others.unlink()
    for _ in range(6):
        world.clock.sleep_until(world.agent.next_cycle_ms())
        report = world.agent.cycle()
        assert report.halted == "" and report.skipped == ""
    sound(world, folder)


def test_killed_with_the_disk_full(small: tuple[World, Path]) -> None:
    """After exits that were kept without their cycle, a restart has the same ledger and goes on."""
    world, folder = small
    others = fill(folder.parent)
    sold = False
    for _ in range(40):
        world.clock.sleep_until(world.agent.next_cycle_ms())
        report = world.agent.cycle()
        sold = bool(report.halted and report.intents)
        if sold:
            break
    assert sold
    ledger, cycle = world.agent.state.ledger, world.agent.state.cycle
    world.closing.pop_all()  # as if killed: nothing is closed
    journal: Any = world.agent.ports.journal
    journal._inner._lease.release()
    others.unlink()
    again = build(folder, venue_folder=folder.parent / "venue", reserve_exits=60)
    again.agent.start()
    assert (again.agent.state.ledger, again.agent.state.cycle) == (ledger, cycle)
    again.run(cycle + 5)
    sound(again, folder)


def test_the_venue_file_is_locked(tmp_path: Path) -> None:
    """Another process writes to the venue's file for a while: orders wait, and each is sent once."""
    folder, venue = tmp_path / "agent", tmp_path / "venue"
    folder.mkdir()
    venue.mkdir()
    world = build(folder, venue_folder=venue, busy_seconds=0.01)
    world.agent.start()
    world.run(6)
    lock = sqlite3.connect(venue / "venue.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    for _ in range(8):
        world.clock.sleep_until(world.agent.next_cycle_ms())
        world.agent.cycle()
    lock.rollback()
    lock.close()
    kinds: Mapping[str, int] = Counter(i.kind for i in world.agent.ports.journal.incidents())
    assert kinds["broker-unavailable"] >= 1
    for _ in range(8):
        world.clock.sleep_until(world.agent.next_cycle_ms())
        report = world.agent.cycle()
    assert report.skipped == ""
    sound(world, folder)
