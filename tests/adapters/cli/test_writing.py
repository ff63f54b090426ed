"""Files that commands write."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from adapters.cli.writing import write_new, write_whole
from engine.errors import ConfigurationError, UnavailableError


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    """What is there stays, unless it may be replaced."""
    path = tmp_path / "cases.yaml"
    write_new(path, "one\r\n")
    with pytest.raises(ConfigurationError, match="--force"):
        write_new(path, "two\n")
    assert path.read_bytes() == b"one\r\n"
    write_new(path, "two\n", force=True)
    assert path.read_bytes() == b"two\n"


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """What a link points to is written, with the mode it had."""
    path, link = tmp_path / "policy.yaml", tmp_path / "link.yaml"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is none is told, and no unfinished file stays."""
    with pytest.raises(UnavailableError, match=r"nowhere.a\.yaml: cannot be written"):
        write_whole(tmp_path / "nowhere" / "a.yaml", "text")
    assert list(tmp_path.iterdir()) == []
