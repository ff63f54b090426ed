"""What SQLite's errors mean to a person: which file, what is wrong, what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from engine.errors import JournalError, UnavailableError
from engine.runtime.journal_port import JournalFullError

DAMAGED: Final = (
    "it is damaged and nothing was written to it; copy it and its -wal file aside, "
    "then restore a backup or start with another journal"
)
_FULL: Final = "the disk is full; free some space: nothing recorded is lost"

_WHAT_TO_DO: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_READONLY: "it cannot be written; check its permissions, its owner and those of its folder",
    sqlite3.SQLITE_BUSY: "another process is writing to it; try again",
    sqlite3.SQLITE_LOCKED: "another process is writing to it; try again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists and its permissions",
    sqlite3.SQLITE_PERM: "it cannot be opened; check its permissions",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it; check the disk",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
# A quota and a file size limit come as write errors, only a full disk as SQLITE_FULL.
_NO_ROOM: Final = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of the store into one for people."""
    try:
        yield
    except DBAPIError as error:
        raise _explanation(path, error.orig) from error
    except sqlite3.Error as error:
        raise _explanation(path, error) from error


def _explanation(path: Path, error: BaseException | None) -> UnavailableError | JournalError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_ROOM:
        return JournalFullError(f"{path}: {_FULL} ({error})")
    if code & 0xFF == sqlite3.SQLITE_CONSTRAINT:
        return JournalError(f"{path}: contradicts what is recorded already ({error})")
    what = _WHAT_TO_DO.get(code & 0xFF, "it cannot be used")
    return UnavailableError(f"{path}: {what} ({error})")
