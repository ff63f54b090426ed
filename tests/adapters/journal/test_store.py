"""The journal's file: who may write it, what it refuses, and that it never loses what it holds."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from adapters.journal import migrations, tables
from adapters.journal.reading import read_journal
from adapters.journal.store import Journal, open_journal
from engine.errors import ConfigurationError, JournalError, NotFoundError, UnavailableError
from tests.journal_records import POLICY, START_MS, Market, at_ms, cycle_of


def open_at(path: Path) -> Journal:
    """Open with a small reserve, so that tests write little."""
    return open_journal(path, at_ms=START_MS, reserve_exits=4)


def filled(path: Path, cycles: int = 70, symbols: int = 8) -> list[Market]:
    """Make a journal with some cycles, close it, return its markets."""
    journal = open_at(path)
    journal.add_policy(POLICY, START_MS)
    markets = [Market(f"S{number}-USD") for number in range(symbols)]
    for cycle in range(1, cycles + 1):
        for market in markets:
            market.move()
        journal.commit_cycle(cycle_of(cycle, [market.record(cycle) for market in markets], state=b"s" * 99))
    journal.close()
    return markets


def _normal(sql: str) -> str:
    return " ".join(sql.split())


# --- schema -------------------------------------------------------------------------------------


def test_migrations_make_the_tables() -> None:
    """The shipped statements make the tables that the queries are written for."""
    dialect = sqlite.dialect()
    wanted: list[str] = []
    for table in tables.metadata.tables.values():
        wanted.append(_normal(str(CreateTable(table).compile(dialect=dialect))))
        wanted += [_normal(str(CreateIndex(index).compile(dialect=dialect))) for index in table.indexes]
    made = [_normal(statement) for steps in migrations.MIGRATIONS for statement in steps]
    assert sorted(made) == sorted(wanted)


def test_migration_of_an_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an earlier release gains what is missing, and keeps all it holds."""
    path = tmp_path / "journal.db"
    filled(path, cycles=3)
    later = (*migrations.MIGRATIONS, ("CREATE TABLE notes (text TEXT NOT NULL) STRICT",))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    monkeypatch.setattr(migrations.migrate, "__defaults__", (later,))
    monkeypatch.setattr("adapters.journal.reading.MIGRATIONS", later)
    journal = open_at(path)
    head = journal.last_cycle()
    assert head is not None and head.cycle == 3
    assert journal.verify() == ()
    journal.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)
    connection.close()


def test_migration_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half-way leaves the older file as it was."""
    path = tmp_path / "journal.db"
    filled(path, cycles=3)
    broken = (*migrations.MIGRATIONS, ("CREATE TABLE notes (text TEXT) STRICT", "CREATE TABLE notes (x INT)"))
    monkeypatch.setattr(migrations.migrate, "__defaults__", (broken,))
    monkeypatch.setattr("adapters.journal.reading.MIGRATIONS", broken)
    with pytest.raises(UnavailableError, match="notes already exists"):
        open_at(path)
    monkeypatch.undo()
    journal = open_at(path)
    assert journal.verify() == ()
    journal.close()


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file of a newer release is neither read nor written."""
    path = tmp_path / "journal.db"
    filled(path, cycles=1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (open_at, read_journal):
        with pytest.raises(ConfigurationError, match=r"newer release \(schema 99.*upgrade"):
            opening(path)


# --- one writer ---------------------------------------------------------------------------------


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody else may read the journal or what lies beside it, whatever the umask."""
    before = os.umask(0)
    try:
        journal = open_at(tmp_path / "agent" / "journal.db")
        journal.add_policy(POLICY, START_MS)
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "agent").iterdir()}
        journal.close()
    finally:
        os.umask(before)
    assert set(modes) >= {"journal.db", "journal.db-wal", "journal.db.lock", "journal.db.reserve"}
    assert set(modes.values()) == {0o600}


def test_second_writer_is_refused(tmp_path: Path) -> None:
    """A second agent is told who has the journal; a reader is let in; after closing all may."""
    path = tmp_path / "journal.db"
    journal = open_at(path)
    journal.add_policy(POLICY, START_MS)
    journal.commit_cycle(cycle_of(1, [Market("ON").record(1)]))
    with pytest.raises(UnavailableError, match=rf"in use by process {os.getpid()} on \S+; stop that agent"):
        open_at(path)
    reader = read_journal(path)
    assert reader.decision_at("ON") is not None
    journal.commit_cycle(cycle_of(2, [Market("ON").record(2)]))
    head = reader.last_cycle()
    assert head is not None and head.cycle == 2
    reader.close()
    journal.close()
    journal.close()
    open_at(path).close()


_HOLDS = """
import sys, time
from pathlib import Path
from adapters.journal.store import open_journal
journal = open_journal(Path(sys.argv[1]), at_ms=0, reserve_exits=1)
print("held", flush=True)
sys.stdin.read()
"""


def test_lease_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """The lock of another process holds, and dies with it by kill -9."""
    path = tmp_path / "journal.db"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UnavailableError, match=f"in use by process {holder.pid} on"):
            open_at(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    open_at(path).close()


# --- copies and backups -------------------------------------------------------------------------


def test_restored_backup_gets_a_new_nonce(tmp_path: Path) -> None:
    """A backup put back in place makes no client id a second time."""
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    markets = filled(path, cycles=3)
    shutil.copy(path, backup)
    journal = open_at(path)
    nonce = journal.nonce()
    journal.commit_cycle(cycle_of(4, [markets[0].record(4)]))
    journal.close()
    # In place, so that the file's identity stays.
    path.write_bytes(backup.read_bytes())
    journal = open_at(path)
    assert journal.nonce() != nonce
    assert ["cycle 3 of 4" in event.detail for event in journal.account_events()] == [True]
    journal.close()


def test_copy_gets_a_new_nonce(tmp_path: Path) -> None:
    """A copy under another name is another journal; the first one keeps its nonce."""
    path, copy = tmp_path / "journal.db", tmp_path / "copy.db"
    filled(path, cycles=3)
    shutil.copy(path, copy)
    first, second = open_at(path), open_at(copy)
    assert first.nonce() != second.nonce()
    first.close()
    second.close()
    again = open_at(copy)
    assert len(list(again.account_events())) == 1
    again.close()


def test_journal_that_is_gone(tmp_path: Path) -> None:
    """A journal that was there before is not silently begun anew."""
    path = tmp_path / "journal.db"
    filled(path, cycles=2)
    path.unlink()
    with pytest.raises(UnavailableError, match=r"is gone, but .* had 2 cycles; restore it, or remove"):
        open_at(path)
    assert not path.exists()


# --- files that cannot be used ------------------------------------------------------------------


def test_no_journal_to_read(tmp_path: Path) -> None:
    """Reading what is not there says so."""
    with pytest.raises(NotFoundError, match="there is no journal"):
        read_journal(tmp_path / "journal.db")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            b"a letter to a friend, longer than the hundred bytes of a header " * 3,
            ConfigurationError,
            "no SQLite",
        ),
        (b"", UnavailableError, "cut off after 0 bytes"),
        (b"SQLite format 3\0" + bytes(40), UnavailableError, "cut off after 56 bytes"),
    ],
)
def test_other_files_are_left_alone(
    tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    """What is no journal, or the stump of one, is refused and not touched."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    for opening in (open_at, read_journal):
        with pytest.raises(error, match=message):
            opening(path)
    assert path.read_bytes() == content


def test_other_databases_are_left_alone(tmp_path: Path) -> None:
    """Somebody else's SQLite file is refused and not touched."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="but no journal"):
        open_at(path)
    assert path.read_bytes() == before


def test_folder_in_place_of_a_journal(tmp_path: Path) -> None:
    """A folder is no journal."""
    with pytest.raises(ConfigurationError, match="is a folder"):
        open_at(tmp_path)


def test_truncated_file_is_not_overwritten(tmp_path: Path) -> None:
    """A file that lost its end is refused byte for byte as it is, wherever the cut falls."""
    path = tmp_path / "journal.db"
    filled(path)
    whole = path.read_bytes()
    for size in (110, 4096, 5000, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UnavailableError, match=r"journal\.db: it is damaged.*restore a backup"):
            open_at(path)
        assert path.read_bytes() == whole[:size]
    path.write_bytes(whole)
    open_at(path).close()


def test_truncated_file_with_a_log(tmp_path: Path) -> None:
    """After an unclean end a cut file is refused with its log; nothing is moved into it."""
    path = tmp_path / "journal.db"
    markets = filled(path)
    _end_uncleanly(path, markets)
    wal = path.with_name("journal.db-wal")
    log, whole = wal.read_bytes(), path.read_bytes()
    assert log
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnavailableError, match="it is damaged"):
        open_at(path)
    assert (path.read_bytes(), wal.read_bytes()) == (whole[: len(whole) // 2], log)


def _end_uncleanly(path: Path, markets: list[Market]) -> None:
    """Leave the files as a killed process leaves them: with a log that is not in the file yet."""
    journal = open_at(path)
    head = journal.last_cycle()
    assert head is not None
    for cycle in range(head.cycle + 1, head.cycle + 5):
        journal.commit_cycle(cycle_of(cycle, [market.sell(cycle) for market in markets]))
    wal = path.with_name(path.name + "-wal")
    kept = {file: file.read_bytes() for file in (path, wal)}
    journal.close()
    for file, content in kept.items():
        file.write_bytes(content)


def test_log_torn_at_any_place(tmp_path: Path) -> None:
    """A log torn by the loss of power, wherever, gives back a whole number of cycles."""
    path = tmp_path / "journal.db"
    markets = filled(path, cycles=3, symbols=2)
    _end_uncleanly(path, markets)
    wal = path.with_name("journal.db-wal")
    log, whole = wal.read_bytes(), path.read_bytes()
    seen = set()
    for size in range(0, len(log) + 5999, 5999):
        path.write_bytes(whole)
        wal.write_bytes(log[:size])
        path.with_name("journal.db-shm").unlink(missing_ok=True)
        journal = open_at(path)
        head = journal.last_cycle()
        assert head is not None
        seen.add(head.cycle)
        assert journal.verify() == ()
        assert len(journal.pending_intents()) == 2 * (head.cycle - 3)
        journal.close()
    assert seen == {3, 4, 5, 6, 7}


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    """A flipped bit in a packed record is found by ``verify`` and by whoever reads the record."""
    path = tmp_path / "journal.db"
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE cycles SET frame = CAST(frame || x'00' AS BLOB) WHERE id = 40")
        connection.execute(
            "UPDATE decisions SET packed = CAST(x'01' || packed AS BLOB)"
            " WHERE id = (SELECT min(id) FROM decisions)"
        )
    connection.close()
    journal = open_at(path)
    wrong = journal.verify()
    assert any("cycle 40: damaged: the checksum" in line for line in wrong)
    assert any("full record of cycle 1" in line for line in wrong)
    with pytest.raises(JournalError, match="cycle 40: damaged"):
        list(journal.decisions("S1-USD", at_ms(40), at_ms(40)))
    # The rest is read as ever.
    assert journal.decision_at("S0-USD") is not None
    assert journal.decision_at("S1-USD", at_ms(39)) is not None
    journal.close()


def test_missing_cycle_is_named(tmp_path: Path) -> None:
    """A cycle taken out of the file is missed: later deltas would mean something else."""
    path = tmp_path / "journal.db"
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM cycles WHERE id = 30")
    connection.close()
    journal = open_at(path)
    assert any("between 29 and 31 are missing" in line for line in journal.verify())
    with pytest.raises(JournalError, match="between 29 and 31"):
        list(journal.cycles())
    journal.close()


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is named with what to look at."""
    path = tmp_path / "journal.db"
    filled(path, cycles=1)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # A superuser may read anything: the refusal is made, not found.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnavailableError, match=r"cannot be read \(Permission denied\); check its perm"):
        open_at(path)


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    """A reader changes no byte of a journal, and needs no lease."""
    path = tmp_path / "journal.db"
    filled(path, cycles=5)
    before = path.read_bytes()
    reader = read_journal(path)
    assert reader.verify() == ()
    assert len(list(reader.cycles())) == 5
    reader.close()
    assert path.read_bytes() == before


def test_states_are_bounded(tmp_path: Path) -> None:
    """Only the newest states are kept."""
    path = tmp_path / "journal.db"
    filled(path, cycles=100, symbols=1)
    journal = open_at(path)
    assert journal.state(36) is None
    assert journal.state(37) is not None
    journal.close()


def test_reading_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed journal is read where not even SQLite's own side files can be made."""
    path = tmp_path / "journal.db"
    filled(path, cycles=5)
    # A superuser may write anywhere: the answer is made, not found.
    monkeypatch.setattr("adapters.journal.reading.os.access", lambda *_: False)
    reader = read_journal(path)
    assert len(list(reader.cycles())) == 5
    assert not path.with_name("journal.db-shm").exists()
    reader.close()
