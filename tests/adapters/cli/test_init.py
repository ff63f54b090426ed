"""``tradectl init``: what it writes is read as what was asked for, and nothing is lost or shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from click.testing import CliRunner

from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from adapters.settings.model import BrokerSettings, Settings
from adapters.settings.reading import read_settings
from tests.adapters.cli.running import document, tradectl
from tests.adapters.settings.test_keys import MemoryKeyring

SENTINEL = "sEnTiNeL-0f-init"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is to be: a folder that is not there yet."""
    return tmp_path / "folder" / "config.yaml"


@pytest.fixture(autouse=True)
def own_keyring() -> Iterator[MemoryKeyring]:
    """Put a keyring of the test's own in the place of the user's."""
    before = keyring.get_keyring()
    mine = MemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.mark.parametrize("broker", ["paper", "alpaca", "ccxt:binanceus"])
def test_what_it_writes_is_what_was_asked(broker: str, path: Path) -> None:
    """The file reads as the defaults with that broker; people are told what comes next."""
    result = tradectl("init", "--path", str(path), "--broker", broker)
    assert result.exit_code == 0, result.output
    assert read_settings(str(path)) == (Settings(broker=BrokerSettings(broker)), path)
    assert "doctor" in result.stdout
    needed = {"alpaca": "APCA_API_KEY_ID", "ccxt:binanceus": "CCXT_BINANCEUS_SECRET"}.get(broker)
    assert ("next: put" in result.stdout) is (needed is not None)
    assert needed is None or needed in result.stdout


def test_the_default_file_is_the_default() -> None:
    """Without an option the file means exactly what no file means, and is found where it was written."""
    result = document(tradectl("init", "--json"), "init-v1")
    settings, found = read_settings()
    assert settings == Settings()
    assert str(found) == result["path"]
    assert result["written"] and result["keys_missing"] == []


def test_it_never_replaces_a_file_unasked(path: Path) -> None:
    """A file that is there stays, unless --force says otherwise."""
    path.parent.mkdir()
    path.write_text("mine\n", encoding="utf-8")
    result = tradectl("init", "--path", str(path))
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "--force" in result.stderr and path.read_text(encoding="utf-8") == "mine\n"
    assert tradectl("init", "--path", str(path), "--force").exit_code == 0
    assert read_settings(str(path))[0] == Settings()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where a folder should be is told."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = tradectl("init", "--path", str(tmp_path / "file" / "config.yaml"))
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "cannot be made" in result.stderr


def test_a_broker_that_is_none(path: Path) -> None:
    """A misspelt broker is a usage error, and nothing is written."""
    result = tradectl("init", "--path", str(path), "--broker", "alpacca")
    assert result.exit_code == ExitCode.USAGE
    assert "ccxt:NAME" in result.stderr and not path.exists()


def test_keys_go_into_the_keyring_unseen(path: Path, own_keyring: MemoryKeyring) -> None:
    """They are asked for without being shown, kept in the keyring, and not in the file."""
    arguments = ["init", "--path", str(path), "--broker", "alpaca", "--store-keys"]
    result = CliRunner().invoke(cli, arguments, input=f"{SENTINEL}-1\n{SENTINEL}-2\n\n\n")
    assert result.exit_code == 0, result.output
    assert own_keyring.kept == {
        ("tradectl", "APCA_API_KEY_ID"): f"{SENTINEL}-1",
        ("tradectl", "APCA_API_SECRET_KEY"): f"{SENTINEL}-2",
    }
    assert SENTINEL not in result.output + path.read_text(encoding="utf-8")
    assert "next: put" not in result.stdout
    # Once more, for another key: the file is there and stays.
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    result = CliRunner().invoke(cli, arguments, input=f"\n\n{SENTINEL}-3\n\n")
    assert result.exit_code == 0, result.output
    assert own_keyring.kept["tradectl", "FINNHUB_API_KEY"] == f"{SENTINEL}-3"
    assert path.read_text(encoding="utf-8").endswith("# mine\n")


def test_what_is_no_key_is_not_kept(path: Path, own_keyring: MemoryKeyring) -> None:
    """A value with a blank is refused without being repeated."""
    arguments = ["init", "--path", str(path), "--broker", "alpaca", "--store-keys"]
    result = CliRunner().invoke(cli, arguments, input=f"{SENTINEL} x\n")
    assert result.exit_code == ExitCode.USAGE
    assert SENTINEL not in result.output and own_keyring.kept == {}
