"""A full disk: exits still become durable, out of the reserve, and what cannot be kept says so.

The disk is a small tmpfs mounted by the test, which needs a superuser (or a namespace of one's own);
elsewhere these tests are skipped.  ``test_full_file`` runs on any POSIX system: there a limit on the size
of files stands for the full disk, which shows the message but not the reserve.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.journal.reserve import BYTES_PER_EXIT, EXITS, Reserve
from adapters.journal.store import Journal, open_journal
from engine.codes import IntentState
from engine.runtime.journal_port import CycleRecord, IntentEvent, JournalFullError
from tests.contracts.journal import fill_of
from tests.journal_records import POLICY, START_MS, Market, at_ms, cycle_of

_DISK_BYTES = 40 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 40 MiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("needs mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


def _fill(folder: Path) -> None:
    """Take every byte that is left on a disk."""
    with (folder / "others").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def _open(folder: Path) -> Journal:
    journal = open_journal(folder / "journal.db", at_ms=START_MS)
    journal.add_policy(POLICY, START_MS)
    return journal


def _receive(journal: Journal, cycle: CycleRecord) -> None:
    """Journal what a venue says of a cycle's exits: accepted, then filled."""
    for intent in cycle.intents:
        client_id, quantity = intent.order.client_id, intent.order.quantity
        journal.append_receipt([IntentEvent(client_id, IntentState.SENT, at_ms(cycle.cycle), 0, "venue-1")])
        journal.append_receipt(
            [IntentEvent(client_id, IntentState.FILLED, at_ms(cycle.cycle), quantity)],
            [fill_of(intent, f"fill of {client_id}", quantity)],
            f"cursor {cycle.cycle}",
        )


def test_a_thousand_exits_on_a_full_disk(disk: Path) -> None:
    """With no byte left, 1,000 exits with their receipts become durable, one by one; then it says stop."""
    journal = _open(disk)
    assert journal.reserve_left() == EXITS
    market = Market("ON")
    journal.commit_cycle(cycle_of(1, [market.record(1)]))
    _fill(disk)

    with pytest.raises(JournalFullError, match=r"journal\.db: the disk is full; free some space"):
        journal.commit_cycle(cycle_of(2, [market.sell(2)], state=bytes(1 << 20)))
    for cycle in range(2, 2 + EXITS):
        market.move()
        record = cycle_of(cycle, [market.sell(cycle)], state=bytes(1 << 20))
        journal.commit_exits(record)
        _receive(journal, record)
    assert journal.reserve_left() > 0
    used = EXITS - journal.reserve_left()
    print(f"1,000 exits took {used * BYTES_PER_EXIT / EXITS:.0f} bytes each of {BYTES_PER_EXIT} set aside")
    journal.close()

    # The space comes back: nothing is lost, and the reserve is filled again.
    (disk / "others").unlink()
    journal = _open(disk)
    assert journal.reserve_left() == EXITS
    assert journal.verify() == ()
    assert not journal.pending_intents()
    assert len(list(journal.fills())) == EXITS
    head = journal.last_cycle()
    assert head is not None and head.cycle == 1 + EXITS
    journal.commit_cycle(cycle_of(head.cycle + 1, [market.record(head.cycle + 1)]))
    journal.close()


def test_buys_and_holds_leave_the_reserve_alone(disk: Path) -> None:
    """On a full disk a cycle is refused whole; its sells alone are kept from the reserve."""
    journal = _open(disk)
    markets = [Market("BUY"), Market("SELL"), Market("HOLD")]
    journal.commit_cycle(cycle_of(1, [market.record(1) for market in markets]))
    _fill(disk)
    # Whatever the log still has room for is used up first.
    cycle, room = 2, True
    while room:
        try:
            big = cycle_of(cycle, [market.record(cycle) for market in markets], state=bytes(1 << 18))
            journal.commit_cycle(big)
            cycle += 1
        except JournalFullError:
            room = False
    assert journal.reserve_left() == EXITS

    record = cycle_of(
        cycle,
        [markets[0].buy(cycle), markets[1].sell(cycle), markets[2].record(cycle)],
        state=bytes(1 << 18),
    )
    with pytest.raises(JournalFullError):
        journal.commit_cycle(record)
    assert journal.reserve_left() == EXITS
    journal.commit_exits(record)
    assert [intent.order.symbol for intent in journal.intents()] == ["SELL"]
    found = journal.decision_at("SELL")
    assert found is not None and found.record == record.decisions[1]
    assert [stored.record.symbol for stored in journal.decisions("HOLD", at_ms(cycle))] == []
    journal.close()


def test_reserve_used_up(disk: Path) -> None:
    """When the reserve is empty too, it says that nothing can be made durable; all before stands."""
    journal = open_journal(disk / "journal.db", at_ms=START_MS, reserve_exits=4)
    journal.add_policy(POLICY, START_MS)
    market = Market("ON")
    journal.commit_cycle(cycle_of(1, [market.record(1)]))
    _fill(disk)
    cycle = 1
    with pytest.raises(JournalFullError, match="nothing can be made durable and the agent must halt"):
        while True:
            wide = replace(market.sell(cycle + 1), stated=1 << 400_000)
            journal.commit_exits(cycle_of(cycle + 1, [wide]))
            cycle += 1
    assert journal.reserve_left() == 0
    head = journal.last_cycle()
    assert head is not None and head.cycle == cycle
    assert journal.verify() == ()
    journal.close()


def test_full_file(tmp_path: Path) -> None:
    """Where the file may not grow, the cycle is refused with a message and the journal stays whole."""
    journal = open_journal(tmp_path / "journal.db", at_ms=START_MS, reserve_exits=4)
    journal.add_policy(POLICY, START_MS)
    market = Market("ON")
    journal.commit_cycle(cycle_of(1, [market.record(1)]))
    resource = pytest.importorskip("resource", reason="needs limits on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, before[1]))
    try:
        with pytest.raises(JournalFullError, match="the disk is full"):
            journal.commit_cycle(cycle_of(2, [market.record(2)], state=bytes(1 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.verify() == ()
    journal.commit_cycle(cycle_of(2, [market.record(2)]))
    journal.close()


def test_reserve_takes_back_what_was_not_used(tmp_path: Path) -> None:
    """What was released and not used is set aside again; the file is made of real blocks."""
    reserve = Reserve(tmp_path / "journal.db", exits=100)
    assert reserve.exits_left >= 100
    assert reserve.path.stat().st_blocks * 512 >= reserve.size_bytes
    full = reserve.size_bytes
    assert reserve.release()
    assert reserve.size_bytes < full
    reserve.fill()
    assert reserve.size_bytes == full
    while reserve.release():
        pass
    assert reserve.exits_left == 0
    reserve.close()
