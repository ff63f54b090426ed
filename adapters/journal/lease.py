"""One writer per journal: a lock of the operating system on a file beside it.

The lock dies with the process, however that ends.  The file also says who holds it, and how far the
journal had come: an older journal put in its place is seen at the next start.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import UnavailableError

_WIDTH: Final = 256
"""Bytes of the note: always the same, so that keeping it never needs more disk."""

_NOBODY: Final = 0
"""In the place of a process: the holder let go."""

_LOCKED_BYTE: Final = 1 << 20
"""Where Windows locks, which makes locked bytes unreadable: far behind the note."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the file says: the holder, and the last cycle it made durable."""

    process: int
    host: str
    cycle: int


def holder(journal: Path) -> Note | None:
    """Return who holds a journal's lock, as far as this machine can tell without taking it; None if nobody.

    The lock itself is not tried: an agent that starts at that moment would find it taken.
    """
    try:
        note = _parsed(journal.with_name(journal.name + ".lock").read_bytes()[:_WIDTH])
    except OSError:
        return None
    if note is None or not note.process or note.host != _host() or not _lives(note.process):
        return None
    return note


def _host() -> str:
    return platform.node() or "this-host"


def _parsed(text: bytes) -> Note | None:
    try:
        process, cycle, host = text.decode().split(maxsplit=2)
        return Note(int(process), host.strip(), int(cycle))
    except ValueError:
        return None


class Lease:
    """The lock, held from construction until ``release``."""

    def __init__(self, journal: Path) -> None:
        """Take the lock of a journal; UnavailableError naming the holder where it is taken."""
        self.path = journal.with_name(journal.name + ".lock")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UnavailableError(
                f"{self.path}: cannot be opened ({error.strerror}); an agent writes beside its journal"
            ) from error
        try:
            locked = _lock(self._file)
        except OSError as error:
            os.close(self._file)
            raise UnavailableError(
                f"{self.path}: this file system cannot lock files ({error.strerror}); "
                "keep the journal on a local disk"
            ) from error
        before = self._read()
        if not locked:
            os.close(self._file)
            holder = f"process {before.process} on {before.host}" if before else "another process"
            raise UnavailableError(
                f"{journal}: in use by {holder}; stop that agent, or give this one a name of its own"
            )
        self.last_cycle_noted = before.cycle if before else 0
        self.note(self.last_cycle_noted)

    def note(self, cycle: int) -> None:
        """Write who holds the journal and how far it has come."""
        self._cycle = cycle
        self._write(os.getpid())

    def release(self) -> None:
        """Let go of the lock; the file stays, for whoever comes next."""
        if self._file >= 0:
            self._write(_NOBODY)
            os.close(self._file)
            self._file = -1

    def _write(self, process: int) -> None:
        text = f"{process} {self._cycle} {_host()}"
        # The note is a help: the journal stands without it, and what failed here fails there too.
        with suppress(OSError):
            _ = os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.encode()[: _WIDTH - 1].ljust(_WIDTH - 1) + b"\n")

    def _read(self) -> Note | None:
        try:
            _ = os.lseek(self._file, 0, os.SEEK_SET)
            return _parsed(os.read(self._file, _WIDTH))
        except OSError:
            return None


if sys.platform == "win32":
    import msvcrt

    def _lives(process: int) -> bool:
        return True  # a process cannot be asked here without harm

    def _lock(file: int) -> bool:
        _ = os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lives(process: int) -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # it lives, and is somebody else's
        return True

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
