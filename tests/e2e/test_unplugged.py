"""Without a network: each command that wants one says so, in its time, and with its exit code."""

from __future__ import annotations

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
    "run": ["run", "--cycles", "2"],
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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_and_says_why(tmp_path: Path, keys: None, nowhere: str, command: str) -> None:
    """Exit code 5, a sentence, no traceback, no key; and it does not last."""
    process = start(*COMMANDS[command], "-c", configured(tmp_path, nowhere))
    printed, told = process.communicate(timeout=LONGEST_SECONDS)
    both = printed + told
    assert process.returncode == ExitCode.UNAVAILABLE, both
    assert any(words in both for words in ("refuses connections", "no whole answer within", "no answer "))
    assert "Traceback" not in both and "internal error" not in both
    assert KEY_ID not in both and SECRET not in both


@pytest.mark.parametrize("source", ["finnhub", "twelvedata", "yahoo", "ccxt:binanceus"])
def test_every_source_of_quotes(tmp_path: Path, keys: None, nowhere: str, source: str) -> None:
    """Each is told as one that failed."""
    result = tradectl("quote", "BTC-USD", "-c", configured(tmp_path, nowhere, f'"{source}"'))
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert "failed:" in result.output and "Traceback" not in result.output
    assert OTHER not in result.output


@pytest.mark.parametrize("command", ["run", "quote", "doctor"])
def test_a_name_that_is_not_found(tmp_path: Path, keys: None, command: str) -> None:
    """Where names are not resolved, as without a network: the same, and the name server is not waited for."""
    process = start(*COMMANDS[command], "-c", configured(tmp_path, ""), preamble=_NO_NAMES)
    printed, told = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == ExitCode.UNAVAILABLE, printed + told
    assert "cannot be resolved" in printed + told
    assert "Traceback" not in printed + told


_NO_NAMES: Final = """
import socket
def unresolved(host, *arguments, **options):
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
socket.getaddrinfo = unresolved
"""


def test_settings_are_written_without_a_network(tmp_path: Path) -> None:
    """The first command of a new user asks nobody."""
    process = start("init", "--broker", "alpaca", "--path", str(tmp_path / "config.yaml"), preamble=_NO_NAMES)
    printed, told = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == ExitCode.OK, told
    assert "APCA_API_KEY_ID" in printed
