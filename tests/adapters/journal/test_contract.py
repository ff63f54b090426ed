"""The SQLite journal keeps the journal's contract."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from adapters.journal.store import Journal, open_journal
from engine.runtime.journal_port import JournalPort
from tests.contracts.journal import JournalContract, Store
from tests.journal_records import START_MS


class SqliteStore:
    """A journal file in the test's folder."""

    journal: JournalPort

    def __init__(self, path: Path) -> None:
        """Open the journal for the first time."""
        self._path = path
        self._nonces = (f"n{number}" for number in count())
        self.journal = self._open()

    def restart(self) -> None:
        """Close the journal and open it again."""
        self.journal.close()
        self.journal = self._open()

    def _open(self) -> Journal:
        return open_journal(self._path, at_ms=START_MS, nonce=lambda: next(self._nonces), reserve_exits=4)


class TestSqliteJournal(JournalContract):
    """The suite, on a file."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """Make the file."""
        return SqliteStore(tmp_path / "journal.db")
