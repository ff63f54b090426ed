"""Without a network: each command that wants one says so, in its time, and with its exit code."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from adapters.cli.output import ExitCode
from tests.adapters.cli.running import start, tradectl

COINS: Final = str(Path(__file__).with_name("coins.yaml"))
KEY_ID, SECRET, OTHER = (
    "PKSENTINELUNPLUGGED1",
    "sentinelSecretUnpluggedNeverSeen00000001",
    "sentinelOther000001",
)
LONGEST_SECONDS: Final = 20
"""More than any of them takes, on a machine that is busy with other things."""

_SETTINGS: Final = """\
apiVersion: tradectl-config/v1
policy: {policy}
broker: {{name: alpaca, url: "{url}", connect_timeout: 1s, read_timeout: 1s, timeout: 1s}}
quotes:
  deadline: 1s
  source_deadline: 1s
  crypto: {{sources: [{sources}]}}
sources:
  alpaca: {{url: "{url}", timeout: 1s}}
  finnhub: {{url: "{url}", timeout: 1s}}
  twelvedata: {{url: "{url}", timeout: 1s}}
  yahoo: {{url: "{url}", timeout: 1s}}
  ccxt:binanceus: {{url: "{url}", timeout: 1s}}
"""
COMMANDS: Final = {
    "quote": ["quote", "BTC-USD", "ETH-USD"],
    "fetch-history": [
        "fetch-history",
        "BTC-USD",
        "--interval",
        "1h",
        "--from",
        "2026-01-01",
        "--timeout",
        "2",
    ],
    "doctor": ["doctor"],
}


@pytest.fixture(params=["nobody listens", "nobody answers"])
def nowhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a port where nobody listens, or of one that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "nobody listens":
            server.close()
        yield url


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put keys into the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    monkeypatch.setenv("FINNHUB_API_KEY", OTHER)
    monkeypatch.setenv("TWELVEDATA_API_KEY", OTHER)


def configured(folder: Path, url: str, sources: str = "alpaca") -> str:
    """Write settings whose vendors are all at an address; return the file's name."""
    path = folder / "config.yaml"
    text = _SETTINGS.format(policy=COINS, url=url, sources=sources)
    path.write_text(text.replace('url: "", ', ""), encoding="utf-8")
    return str(path)


def test_an_agent_ends_and_says_why(tmp_path: Path, keys: None, nowhere: str) -> None:
    """A process that cannot begin: exit code 5, a sentence, no traceback, no key; and it does not last."""
    process = start("run", "--cycles", "2", "-c", configured(tmp_path, nowhere))
    printed, told = process.communicate(timeout=LONGEST_SECONDS)
    ended_well(process.returncode, printed + told)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_and_says_why(tmp_path: Path, keys: None, nowhere: str, command: str) -> None:
    """The same of what asks but once."""
    result = tradectl(*COMMANDS[command], "-c", configured(tmp_path, nowhere))
    ended_well(result.exit_code, result.output)


def ended_well(code: int, output: str) -> None:
    """Exit code 5, a sentence, no traceback, no key."""
    assert code == ExitCode.UNAVAILABLE, output
    assert any(words in output for words in ("refuses connections", "no whole answer within", "no answer "))
    assert "Traceback" not in output and "internal error" not in output
    assert KEY_ID not in output and SECRET not in output


@pytest.mark.parametrize("nowhere", ["nobody listens"], indirect=True)
def test_an_agent_of_the_paper_venue(tmp_path: Path, nowhere: str) -> None:
    """It needs no broker, and begins; that it had no quotes at all is said in the end."""
    path = Path(configured(tmp_path, nowhere, "yahoo"))
    path.write_text(path.read_text("utf-8").replace("broker:", "# broker:"), encoding="utf-8")
    bitcoin = tmp_path / "bitcoin.yaml"
    text = Path(COINS).read_text("utf-8")
    bitcoin.write_text(re.sub("weights: {.*}}", "weights: {BTC-USD: 20%}}", text), encoding="utf-8")
    result = tradectl("run", "--quotes", "live", "--cycles", "1", "-c", str(path), "--policy", str(bitcoin))
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert "no source of quotes could be heard: yahoo: " in result.stderr
    assert "not all bars of BTC-USD 1m" in result.output


@pytest.mark.parametrize("source", ["finnhub", "twelvedata", "yahoo", "ccxt:binanceus"])
def test_every_source_of_quotes(tmp_path: Path, keys: None, nowhere: str, source: str) -> None:
    """Each is told as one that failed."""
    result = tradectl("quote", "BTC-USD", "-c", configured(tmp_path, nowhere, f'"{source}"'))
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert "failed:" in result.output and "Traceback" not in result.output
    assert OTHER not in result.output


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name be resolved, as without a network."""

    def unresolved(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_not_found(tmp_path: Path, keys: None, no_names: None, command: str) -> None:
    """The vendors' own addresses, and nobody who knows where they are."""
    result = tradectl(*COMMANDS[command], "-c", configured(tmp_path, ""))
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert "cannot be resolved" in result.output
    assert "Traceback" not in result.output


def test_settings_are_written_without_a_network(tmp_path: Path, no_names: None) -> None:
    """The first command of a new user asks nobody."""
    result = tradectl("init", "--broker", "alpaca", "--path", str(tmp_path / "config.yaml"))
    assert result.exit_code == ExitCode.OK, result.output
    assert "APCA_API_KEY_ID" in result.output
