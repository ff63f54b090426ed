"""``tradectl doctor``: each check that can fail does, and says what to do."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from adapters import distribution
from adapters.cli.output import ExitCode
from adapters.distribution import NameClash
from engine.evaluate import durable
from tests.adapters.cli.running import document, run_quick, tradectl

Usage = namedtuple("Usage", ["total", "used", "free"])


def outcome(name: str, *arguments: str) -> tuple[str, str]:
    """Return (outcome, detail and cure) of a check."""
    checks = document(tradectl("doctor", "--json", *arguments), "doctor-v1")["checks"]
    found = next(check for check in checks if check["name"] == name)
    return found["outcome"], f"{found['detail']} {found['cure']}"


def test_a_sound_installation() -> None:
    """Here nothing fails; before an agent ran there is no journal to check."""
    result = tradectl("doctor")
    assert result.exit_code == 0, result.output
    assert "fail" not in [line.split()[0] for line in result.stdout.splitlines()]
    assert outcome("journal")[0] == "ok"
    run_quick(1)
    assert outcome("journal") == ("ok", "agent sim-quick: sound, up to cycle 1 ")


def test_a_state_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file in the place of the folder fails, with exit code 1."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = tradectl("doctor", "--state-dir", str(tmp_path / "file"))
    assert result.exit_code == ExitCode.FINDING
    assert outcome("state folder", "--state-dir", str(tmp_path / "file"))[0] == "fail"
    assert outcome("state folder", "--state-dir", str(tmp_path / "not" / "yet"))[0] == "ok"
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(("free", "expected"), [(2**20, "fail"), (2**28, "warn"), (2**32, "ok")])
def test_disk_space(free: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little fails, little warns."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**40, 2**40 - free, free))
    assert outcome("disk")[0] == expected


def test_a_foreign_package_of_our_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution that owns one of our names is named."""
    monkeypatch.setattr(distribution, "name_clashes", lambda: (NameClash("adapters", "adapters"),))
    found = outcome("names")
    assert found[0] == "fail" and "virtual environment" in found[1]


def test_without_the_rules_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where durable-rules cannot be imported it says who decides instead."""
    monkeypatch.setattr(durable, "durable_available", lambda: False)
    found = outcome("durable-rules")
    assert found[0] == "warn" and "the compiled evaluator decides" in found[1]


def test_an_agent_that_is_not_there() -> None:
    """A named agent must exist."""
    assert outcome("journal", "--agent", "nobody")[0] == "fail"
