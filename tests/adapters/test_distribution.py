"""Who else owns our import names: tried with real metadata and real folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.distribution import NameClash, name_clashes

pytestmark = pytest.mark.wheel


def _install(folder: Path, name: str, top_level: str) -> None:
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "top_level.txt").write_text(f"{top_level}\n")


def test_another_distribution_with_our_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that lists one of our packages is named; ours and unrelated ones are not."""
    before = name_clashes()
    _install(tmp_path, "adapters", "adapters")
    _install(tmp_path, "unrelated", "unrelated")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(name_clashes()) - set(before) == {NameClash("adapters", "adapters")}


def test_our_own_distribution_is_no_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own metadata, however its name is spelled, is not a clash."""
    before = name_clashes()
    _install(tmp_path, "TradeCtl", "engine")
    monkeypatch.syspath_prepend(tmp_path)
    assert name_clashes() == before


def test_a_folder_in_the_way_is_found(tmp_path: Path) -> None:
    """A folder that is imported in place of one of our packages is named with its path."""
    stranger = tmp_path / "schemas"
    stranger.mkdir()
    (stranger / "__init__.py").touch()
    ours = Path(sys.modules["adapters"].__path__[0]).parent
    program = "from adapters.distribution import name_clashes; print(*name_clashes(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ours)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{stranger.resolve()} also provides the package 'schemas'" in done.stdout


def test_a_clash_says_what_to_do() -> None:
    """The sentence names both owners and the way out."""
    assert str(NameClash("adapters", "other")) == (
        "other also provides the package 'adapters' of tradectl: "
        "install tradectl in a virtual environment of its own"
    )
