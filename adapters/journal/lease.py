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

_LOCKED_BYTE: Final = 1 << 20
"""Where Windows locks, which makes locked bytes unreadable: far behind the note."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the file says: the holder, and the last cycle it made durable."""

    process: int
    host: str
    cycle: int


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
        text = f"{os.getpid()} {cycle} {platform.node() or 'this-host'}"
        # The note is a help: the journal stands without it, and what failed here fails there too.
        with suppress(OSError):
            _ = os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.encode()[: _WIDTH - 1].ljust(_WIDTH - 1) + b"\n")

    def release(self) -> None:
        """Let go of the lock; the file stays, for whoever comes next."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self) -> Note | None:
        try:
            _ = os.lseek(self._file, 0, os.SEEK_SET)
            process, cycle, host = os.read(self._file, _WIDTH).decode().split(maxsplit=2)
            return Note(int(process), host.strip(), int(cycle))
        except (OSError, ValueError):
            return None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        _ = os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
