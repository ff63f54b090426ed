"""Disk space set aside, so that a full disk does not keep an agent from leaving its positions.

A file of real blocks lies beside the journal.  When the disk is full it gives some of them back, and
takes back what was not used right after, so that no other writer of the disk eats the reserve.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

BYTES_PER_EXIT: Final = 16 * 1024
"""Disk of one exit: intent, decision, receipts and fill with their pages in the write-ahead log.

tests/adapters/journal/test_full_disk.py measures that a thousand exits need less.
"""

EXITS: Final = 1000
_GRAIN: Final = 64 * 1024
_RELEASED_AT_ONCE: Final = 4 * _GRAIN


class Reserve:
    """The file of blocks set aside beside a journal."""

    def __init__(self, journal: Path, exits: int = EXITS) -> None:
        """Open the file and fill it as far as the disk allows; OSError where it cannot be opened."""
        self.path = journal.with_name(journal.name + ".reserve")
        self._capacity = -(-exits * BYTES_PER_EXIT // _GRAIN) * _GRAIN
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._size = min(os.fstat(self._file).st_size, self._capacity)
        os.ftruncate(self._file, self._size)
        self.fill()

    @property
    def size_bytes(self) -> int:
        """Bytes set aside now."""
        return self._size

    @property
    def exits_left(self) -> int:
        """How many exits these bytes hold."""
        return self._size // BYTES_PER_EXIT

    def fill(self) -> None:
        """Take as much as is missing and the disk has."""
        if self._size < self._capacity and not self._grow(self._capacity):
            while self._size < self._capacity and self._grow(self._size + _GRAIN):
                pass

    def release(self) -> bool:
        """Give some blocks back to the disk; False where none are left."""
        if not self._size:
            return False
        self._size = max(0, self._size - _RELEASED_AT_ONCE)
        os.ftruncate(self._file, self._size)
        return True

    def close(self) -> None:
        """Close the file; its blocks stay set aside."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _grow(self, size: int) -> bool:
        try:
            _allocate(self._file, self._size, size - self._size)
        except OSError:
            # Blocks of a half-made allocation go back to the disk.
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            return False
        self._size = size
        return True


def _allocate(file: int, offset: int, length: int) -> None:
    """Make a file longer by blocks that the disk has really given."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, offset, length)
        return
    _ = os.lseek(file, offset, os.SEEK_SET)
    for _ in range(length // _GRAIN):
        os.write(file, bytes(_GRAIN))
    os.fsync(file)
