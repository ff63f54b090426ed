"""``tradectl doctor`` and the broker of the settings: the real client at a local Alpaca."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.cli.output import ExitCode
from adapters.clock import SimulatedClock, WallClock
from adapters.stubs.alpaca import AlpacaStub, stock
from adapters.stubs.faults import Fault, Kind, Scripted
from tests.adapters.cli.running import document, tradectl

KEY_ID, SECRET = "PKSENTINELOFDOCTOR01", "sentinelSecretOfDoctorNeverToBeSeen000001"
POLICY = """\
apiVersion: tradectl/v1
policy: small
version: 1.0.0
selection: exits_first
bars: 1m
universe:
  stock: {calendar: NYSE, symbols: [SPY, BRK.B]}
  crypto: {calendar: 24/7, symbols: [BTC-USD, ADA-USD]}
rules:
  out: {priority: 1, protective: true, when: held, then: sell all}
"""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaStub]:
    """Serve a local Alpaca whose clock is ours, with the keys in the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    with AlpacaStub(clock=WallClock(), key_id=KEY_ID, secret=SECRET, assets=[stock("BRK.B")]) as server:
        yield server


def configured(folder: Path, url: str, *more: str) -> str:
    """Write settings for the broker at an address, and the policy; return the file's name."""
    policy = folder / "small.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    path = folder / "config.yaml"
    lines = (
        "apiVersion: tradectl-config/v1",
        f"policy: {policy}",
        f"broker: {{name: alpaca, url: '{url}', connect_timeout: 2s, read_timeout: 2s, timeout: 2s}}",
        *more,
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def asked(config: str, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run doctor; return its exit code, and (outcome, detail and cure) of each check."""
    result = tradectl("doctor", "--json", "-c", config, *arguments)
    assert SECRET not in result.output and KEY_ID not in result.output
    checks = document(result, "doctor-v1")["checks"]
    return result.exit_code, {
        check["name"]: (check["outcome"], f"{check['detail']} {check['cure']}") for check in checks
    }


def test_a_broker_that_answers(stub: AlpacaStub, tmp_path: Path, own_environment: Path) -> None:
    """It is reached and takes the keys; its list of assets is read, kept, and names what it lacks."""
    config = configured(tmp_path, stub.url)
    code, checks = asked(config)
    assert code == ExitCode.OK, checks
    assert checks["settings"] == ("ok", f"{config} ")
    assert checks["keys alpaca"][0] == checks["broker"][0] == "ok"
    assert checks["venue clock"] == ("ok", "agrees with ours ")
    assert checks["tradable"][0] == "warn" and "ADA-USD is not in the list" in checks["tradable"][1]
    assert checks["symbols alpaca"][0] == "warn" and checks["symbols yahoo"][0] == "ok"
    assert checks["keys finnhub"][0] == "warn"
    assert "NYSE" in checks["policy calendars"][1] and "24/7" in checks["policy calendars"][1]
    assert (own_environment / "symbols.json").is_file()
    asked_for_assets = stub.count("GET", "/assets")
    assert asked_for_assets > 0
    asked(config)
    assert stub.count("GET", "/assets") == asked_for_assets  # the list is kept


def test_a_clock_that_differs(stub: AlpacaStub, tmp_path: Path) -> None:
    """A venue that lives an hour ago: this machine's clock, or the venue's, is wrong."""
    an_hour_ago = SimulatedClock(WallClock().now_utc_ms() - 3_600_000)
    with AlpacaStub(clock=an_hour_ago, key_id=KEY_ID, secret=SECRET) as server:
        code, checks = asked(configured(tmp_path, server.url))
    assert code == ExitCode.OK
    assert checks["venue clock"][0] == "warn"
    assert "ahead of the venue's" in checks["venue clock"][1] and "NTP" in checks["venue clock"][1]


def test_keys_that_are_not_taken(stub: AlpacaStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is there and refuses: a finding, with what to do."""
    monkeypatch.setenv("APCA_API_SECRET_KEY", "not-the-secret-of-this-account")
    code, checks = asked(configured(tmp_path, stub.url))
    assert code == ExitCode.FINDING
    assert checks["broker"][0] == "fail" and "does not take the keys" in checks["broker"][1]


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.RESET, Kind.STATUS_503, Kind.HTML])
def test_a_broker_that_cannot_be_heard(kind: Kind, stub: AlpacaStub, tmp_path: Path) -> None:
    """Silence, a broken connection, a page of a proxy: said within the deadline, exit code 5 or 1."""
    stub.plan = Scripted([Fault(kind)] * 10)
    code, checks = asked(configured(tmp_path, stub.url))
    assert checks["broker"][0] == "fail", checks["broker"]
    assert code in (ExitCode.UNAVAILABLE, ExitCode.FINDING)
    if kind in (Kind.HANG, Kind.RESET):
        assert code == ExitCode.UNAVAILABLE
    assert checks["symbols alpaca"][0] == "ok"  # nothing is denied that nobody was asked for


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server: exit code 5."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, checks = asked(configured(tmp_path, f"http://127.0.0.1:{port}"))
    assert code == ExitCode.UNAVAILABLE
    assert "cannot be reached" in checks["broker"][1]


def test_missing_keys(tmp_path: Path) -> None:
    """Without keys nobody is asked; which ones, and where to put them, is said."""
    code, checks = asked(configured(tmp_path, "http://127.0.0.1:9"))
    assert code == ExitCode.FINDING
    assert checks["keys alpaca"][0] == "fail"
    assert "APCA_API_KEY_ID and APCA_API_SECRET_KEY" in checks["keys alpaca"][1]
    assert "broker" not in checks


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("brokr: {}", ExitCode.CONFIGURATION, "did you mean 'broker'"),
        ("quotes: {crypto: {sources: [yahooo]}}", ExitCode.CONFIGURATION, "did you mean 'yahoo'"),
    ],
)
def test_wrong_settings(line: str, code: ExitCode, said: str, tmp_path: Path) -> None:
    """Mistakes are told with their place on standard error, beside the checks of the installation."""
    config = configured(tmp_path, "http://127.0.0.1:9", line)
    result = tradectl("doctor", "-c", config)
    assert result.exit_code == code
    assert f"{config}:4:" in result.stderr and said in result.stderr
    assert "fail  settings" in result.stdout and "ok    names" in result.stdout


def test_real_money_and_other_addresses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that trades real money is a wrong setting, and nothing is asked of it."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    result = tradectl("doctor", "-c", configured(tmp_path, "https://api.alpaca.markets"))
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "real money" in result.stderr


def test_a_file_or_a_policy_that_is_not_there(tmp_path: Path) -> None:
    """Both are told by name."""
    result = tradectl("doctor", "-c", str(tmp_path / "none.yaml"))
    assert result.exit_code == ExitCode.NOT_FOUND and "none.yaml" in result.stderr
    config = configured(tmp_path, "http://127.0.0.1:9")
    result = tradectl("doctor", "-c", config, "--policy", "nothing")
    assert result.exit_code == ExitCode.NOT_FOUND and "nothing" in result.stderr
