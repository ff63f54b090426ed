"""``tradectl fetch-history`` against a local Alpaca, through the real alpaca-py and the real wiring."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.calendar import ExchangeCalendars
from adapters.cli.output import ExitCode
from adapters.clock import WallClock
from adapters.stubs.alpaca import AlpacaStub
from adapters.stubs.faults import Fault, Kind, Scripted
from engine.model import Bar
from tests.adapters.bars.writing import ms
from tests.adapters.cli.running import document, start, tradectl

pytest.importorskip("pyarrow", reason="needs the extra: parquet")
pytest.importorskip("aiohttp", reason="needs the extra: stub")

KEY_ID, SECRET = "PKSENTINELOFHISTORY1", "sentinelSecretOfHistoryNeverToBeSeen0001"
_CALENDAR = ExchangeCalendars()
_START = ms("2025-03-07T00:00:00Z")
_SPAN = ("--interval", "15m", "--from", "2025-03-07", "--to", "2025-03-11", "--source", "alpaca")


def _quarters(calendar: str, start_ms: int, end_ms: int, price: float) -> list[Bar]:
    return [
        Bar(at, price, price + 2, price - 2, price + number % 8 / 4, 10.0 + number)
        for number, at in enumerate(_CALENDAR.expected_bars(calendar, 900, start_ms, end_ms))
    ]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaStub]:
    """Serve quarters of BTC/USD (three are absent) and of SPY, with the keys in the environment."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    with AlpacaStub(clock=WallClock(), key_id=KEY_ID, secret=SECRET) as server:
        end_ms = ms("2025-03-13T00:00:00Z")
        coins = _quarters("24/7", _START, end_ms, 90_000)
        server.venue.set_bars("BTC/USD", coins[:40] + coins[43:], "15Min")
        server.venue.set_bars("SPY", _quarters("NYSE", _START, end_ms, 580), "15Min")
        yield server


@pytest.fixture
def config(stub: AlpacaStub, tmp_path: Path) -> str:
    """Return settings for it."""
    path = tmp_path / "config.yaml"
    path.write_text(f"apiVersion: tradectl-config/v1\nsources:\n  alpaca: {{url: '{stub.data_url}'}}\n")
    return str(path)


# --- what is fetched --------------------------------------------------------------------------


def test_a_whole_span(config: str, own_environment: Path) -> None:
    """A stock's sessions over a change of the clocks: none is missing, and backtests can read them."""
    result = tradectl("fetch-history", "spy", *_SPAN, "-c", config)
    assert result.exit_code == ExitCode.OK, result.output
    assert "SPY 15m  52 bars written (alpaca 52); none of 52 missing" in result.output
    assert f"1 symbol: 52 bars written, 0 missing; in {own_environment / 'history'}" in result.output
    again = tradectl("fetch-history", "SPY", *_SPAN, "-c", config)
    assert "SPY 15m  0 bars written; none of 52 missing" in again.output


def test_the_store_feeds_a_run(config: str, own_environment: Path, tmp_path: Path) -> None:
    """``--quotes bars:DIR`` reads what was fetched."""
    tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config)
    policy = tmp_path / "coin.yaml"
    policy.write_text(
        "apiVersion: tradectl/v1\npolicy: coin\nversion: 1.0.0\nselection: exits_first\nbars: 15m\n"
        "universe:\n  crypto: {calendar: 24/7, symbols: [BTC-USD]}\n"
        "rules:\n  out: {priority: 1, protective: true, when: held, then: sell all}\n"
    )
    store = own_environment / "history"
    result = tradectl("run", "--policy", str(policy), "--quotes", f"bars:{store}", "--cycles", "3")
    assert result.exit_code == ExitCode.OK, result.output


def test_gaps_are_told(config: str) -> None:
    """Faults 28 and 29: how many bars are missing, the longest stretch and where; the exit code is 1."""
    result = tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config)
    assert result.exit_code == ExitCode.FINDING
    assert (
        "BTC-USD 15m  381 bars written (alpaca 381); 3 of 384 missing in 1 gap, the longest 3"
        " from 2025-03-07 10:00:00Z to 2025-03-07 10:45:00Z" in result.output
    )
    again = tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config)
    assert again.exit_code == ExitCode.FINDING
    assert "alpaca: has answered before, and does not have what is missing" in again.output


def test_what_was_missing_may_be_asked_for_again(stub: AlpacaStub, config: str) -> None:
    """``--again``: Alpaca has mended its history since."""
    tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config)
    stub.venue.set_bars("BTC/USD", _quarters("24/7", _START, _START + 5 * 86_400_000, 90_000), "15Min")
    assert tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config).exit_code == ExitCode.FINDING
    result = tradectl("fetch-history", "BTC-USD", *_SPAN, "-c", config, "--again")
    assert result.exit_code == ExitCode.OK
    assert "3 bars written" in result.output


def test_a_longer_span_fetches_what_is_new(stub: AlpacaStub, config: str) -> None:
    """The days that are there are not fetched again; only three bars of overlap are."""
    tradectl("fetch-history", "SPY", *_SPAN, "-c", config)
    longer = ("--interval", "15m", "--from", "2025-03-07", "--to", "2025-03-13", "--source", "alpaca")
    result = tradectl("fetch-history", "SPY", *longer, "-c", config, "--json")
    (spy,) = document(result, "fetch-history-v1")["symbols"]
    assert (spy["written"], spy["expected"], spy["missing"]) == ({"alpaca": 52}, 104, 0)
    assert spy["requests"] == 1


def test_a_policy_says_what_is_needed(config: str, tmp_path: Path) -> None:
    """Its symbols and its bars; what Alpaca does not have is told, and the rest is fetched."""
    policy = tmp_path / "small.yaml"
    policy.write_text(
        "apiVersion: tradectl/v1\npolicy: small\nversion: 1.0.0\nselection: exits_first\nbars: 15m\n"
        "universe:\n  stock: {calendar: NYSE, symbols: [SPY]}\n"
        "  crypto: {calendar: 24/7, symbols: [BTC-USD, ADA-USD]}\n"
        "rules:\n  out: {priority: 1, protective: true, when: held, then: sell all}\n"
    )
    arguments = ("--from", "2025-03-07", "--to", "2025-03-11", "--source", "alpaca", "-c", config)
    result = tradectl("fetch-history", "--policy", str(policy), *arguments, "--json")
    assert result.exit_code == ExitCode.NOT_FOUND
    told = document(result, "fetch-history-v1")
    assert told["interval_seconds"] == 900
    assert {one["symbol"]: one["outcome"] for one in told["symbols"]} == {
        "SPY": "complete",
        "BTC-USD": "gaps",
        "ADA-USD": "unknown",
    }


def test_a_split_is_told_and_nothing_is_mixed(stub: AlpacaStub, config: str) -> None:
    """Fault 40: the second fetch is at another scale: told, exit 1; ``--anew`` sets the first aside."""
    tradectl("fetch-history", "SPY", *_SPAN, "-c", config)
    end_ms = ms("2025-03-13T00:00:00Z")
    stub.venue.set_bars("SPY", _quarters("NYSE", _START, end_ms, 290), "15Min")
    longer = ("--interval", "15m", "--from", "2025-03-07", "--to", "2025-03-13", "--source", "alpaca")
    result = tradectl("fetch-history", "SPY", *longer, "-c", config)
    assert result.exit_code == ExitCode.FINDING
    assert "now gives prices 0.5" in result.output
    assert "52 of 104 missing" in result.output
    anew = tradectl("fetch-history", "SPY", *longer, "-c", config, "--anew")
    assert anew.exit_code == ExitCode.OK
    assert "104 bars written" in anew.output
    assert "what was stored before is in" in anew.output


# --- what goes wrong --------------------------------------------------------------------------


def test_an_unknown_symbol(config: str) -> None:
    """Nobody has a bar of it: exit 3."""
    result = tradectl("fetch-history", "NOPE", *_SPAN, "-c", config)
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "no source has a bar of it: is that its name?" in result.output


def test_a_fetch_that_breaks_off_goes_on(stub: AlpacaStub, config: str) -> None:
    """Five failures in a row end it with exit 5 and no key in sight; the same command then goes on."""
    stub.plan = Scripted([Fault(Kind.STATUS_500)] * 5)
    arguments = ("fetch-history", "SPY", *_SPAN, "-c", config, "--timeout", "2")
    result = tradectl(*arguments)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "alpaca: Alpaca: answered an error of its own (HTTP 500)" in result.output
    assert "the same command goes on from here" in result.output
    assert SECRET not in result.output and KEY_ID not in result.output
    stub.plan = Scripted([])
    assert tradectl(*arguments).exit_code == ExitCode.OK


def test_the_network_unplugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: exit 5 within the limit, for many symbols too."""
    monkeypatch.setenv("APCA_API_KEY_ID", KEY_ID)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        path = tmp_path / "config.yaml"
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        path.write_text(f"apiVersion: tradectl-config/v1\nsources:\n  alpaca: {{url: '{url}'}}\n")
        symbols = [f"{coin}-USD" for coin in ("AAVE", "ADA", "BTC", "DOGE", "ETH", "LINK", "SOL", "LTC")]
        began = time.monotonic()
        result = tradectl("fetch-history", *symbols, *_SPAN, "-c", str(path), "--timeout", "2")
        assert time.monotonic() - began < 60
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.output.count("not asked: Alpaca: ") == 6


def test_a_server_that_hangs(stub: AlpacaStub, config: str) -> None:
    """No answer ends with the limit, exit 5."""
    stub.plan = Scripted([Fault(Kind.HANG)] * 9)
    began = time.monotonic()
    result = tradectl("fetch-history", "SPY", *_SPAN, "-c", config, "--timeout", "1")
    assert time.monotonic() - began < 30
    assert result.exit_code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("BTC-USD", "--from", "2025-03-07"), ExitCode.USAGE, "say the interval"),
        (("--interval", "15m", "--from", "2025-03-07"), ExitCode.USAGE, "name symbols, or a policy"),
        (("X", "--interval", "2w", "--from", "2025-03-07"), ExitCode.USAGE, "no interval up to 1d"),
        (("X", "--interval", "15m", "--from", "7 March"), ExitCode.USAGE, "no instant with its zone"),
        (("X", "--interval", "15m", "--from", "2025-03-07", "--to", "2025-03-07"), ExitCode.USAGE, "nothing"),
        (("--policy", "nope.yaml", "--from", "2025-03-07"), ExitCode.NOT_FOUND, "no policy file"),
    ],
)
def test_what_cannot_be_meant(config: str, arguments: tuple[str, ...], code: ExitCode, said: str) -> None:
    """Each with its exit code and a sentence."""
    result = tradectl("fetch-history", *arguments, "-c", config)
    assert result.exit_code == code
    assert said in result.output


def test_a_source_without_its_key(tmp_path: Path) -> None:
    """One that was named must be there: exit 4, and what to do; one of the settings is left out, and told."""
    result = tradectl("fetch-history", "SPY", *_SPAN)
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "Set APCA_API_KEY_ID and APCA_API_SECRET_KEY" in result.output
    other = tradectl("fetch-history", "SPY", *_SPAN[:-1], "finnhub")
    assert other.exit_code == ExitCode.CONFIGURATION
    assert "'finnhub' is no source of bars: write alpaca, yahoo or ccxt:EXCHANGE" in other.output
    alone = tmp_path / "config.yaml"
    alone.write_text(
        "apiVersion: tradectl-config/v1\nquotes:\n"
        + "".join(f"  {kind}: {{sources: [alpaca, history]}}\n" for kind in ("stock", "commodity", "crypto"))
    )
    nobody = tradectl("fetch-history", "SPY", *_SPAN[:-2], "-c", str(alone))
    assert nobody.exit_code == ExitCode.CONFIGURATION
    assert "no source of bars can be asked:\n  alpaca is not asked: " in nobody.output


def test_a_folder_of_somebody_else(config: str, tmp_path: Path) -> None:
    """It is not written into."""
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "letter.txt").write_text("mine")
    result = tradectl("fetch-history", "SPY", *_SPAN, "-c", config, "--store", str(tmp_path / "papers"))
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "not a history store" in result.output
    assert [path.name for path in (tmp_path / "papers").iterdir()] == ["letter.txt"]


def test_an_interruption(stub: AlpacaStub, config: str, tmp_path: Path) -> None:
    """Ctrl-C while the source hangs: exit 130, and the store is whole."""
    stub.plan = Scripted([None, *[Fault(Kind.HANG)] * 9])
    store = tmp_path / "history"
    process = start("fetch-history", "SPY", "BTC-USD", *_SPAN, "-c", config, "--store", str(store))
    assert process.stdout is not None
    assert "52 bars written" in process.stdout.readline()
    for _ in range(3):  # one that arrives while Python collects garbage is lost
        os.kill(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, errors = process.communicate(timeout=15)
            break
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in errors
    stub.plan = Scripted([])
    arguments = ("fetch-history", "SPY", *_SPAN, "-c", config, "--store", str(store))
    assert "0 bars written; none of 52 missing" in tradectl(*arguments).output
