"""Files that commands write: whole or not at all, and never over another without being told to."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from engine.errors import ConfigurationError, UnavailableError


def write_new(path: Path, text: str, *, force: bool = False) -> None:
    """Write a new file; ConfigurationError where there is one already, unless it may be replaced."""
    require_new(path, force=force)
    write_whole(path, text)


def require_new(path: Path, *, force: bool = False) -> None:
    """Raise ConfigurationError where a file is there already, unless it may be replaced."""
    if path.exists() and not force:
        raise ConfigurationError(f"'{path}' exists: name another file, or replace it with --force")


def write_whole(path: Path, text: str) -> None:
    """Put a text in the place of a file: at every moment the old text or the new one is there.

    The file keeps its mode; of a symbolic link what it points to is written.  UnavailableError where the
    folder or the disk refuses.
    """
    target = path.resolve()
    unfinished = None
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            unfinished = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644 if mode is None else mode)
        unfinished.replace(target)
    except OSError as error:
        if unfinished is not None:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: cannot be written ({error.strerror})") from error
