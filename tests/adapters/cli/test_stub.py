"""``tradectl stub``: what it lists, what it prints, and what it serves until it is stopped."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests

from adapters.calendar import ExchangeCalendars
from adapters.cli.output import ExitCode
from adapters.cli.stub import STUBS
from adapters.cli.stub_market import StubMarket
from adapters.clock import SimulatedClock
from adapters.settings.reading import load_settings
from adapters.stubs.serving import LoopbackServer
from tests.adapters.cli.running import document, tradectl
from tests.adapters.cli.stub_process import SECONDS, asking, headers, serving

THURSDAY_10H = 1_763_650_800_000


def test_without_a_name_it_lists_them() -> None:
    """Each with a line, as text and as JSON."""
    result = tradectl("stub")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(STUBS)
    told = document(tradectl("stub", "--json"), "stub-v1")
    assert [entry["name"] for entry in told["stubs"]] == list(STUBS)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["alpacca"], ExitCode.NOT_FOUND, "there are alpaca"),
        (["alpaca", "--policy", "none"], ExitCode.NOT_FOUND, "there is no policy"),
        (["alpaca", "--cash", "much"], ExitCode.USAGE, "no amount of money"),
        (["alpaca", "--cash", "-5"], ExitCode.USAGE, "no amount of money"),
        (["alpaca", "--faults", "2"], ExitCode.USAGE, "--faults"),
    ],
)
def test_mistakes(arguments: list[str], code: ExitCode, words: str) -> None:
    """Each ends with its exit code and says what there is."""
    result = tradectl("stub", *arguments)
    assert result.exit_code == code
    assert words in result.stderr


def test_a_port_that_is_taken() -> None:
    """It says so; exit code 5."""
    from aiohttp import web

    with LoopbackServer(web.Application()) as other:
        result = tradectl("stub", "alpaca", "--port", str(other.port))
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert f"127.0.0.1:{other.port}" in result.stderr


def test_without_the_server_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which line installs it; exit code 4."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    result = tradectl("stub", "alpaca")
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "pip install 'tradectl[stub]'" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_local_alpaca_until_it_is_stopped() -> None:
    """What it prints points an agent at it; its prices move; orders are filled; Ctrl-C ends it."""
    with serving("alpaca", "--cash", "5000.25", "--seed", "7") as (process, told):
        url = told["addresses"]["url"]
        settings = load_settings(told["settings"], "printed")
        assert (settings.broker.name, settings.broker.url) == ("alpaca", url)
        assert settings.source("alpaca").url == url
        assert settings.quotes.crypto.sources == ("alpaca",)
        with asking(told) as session:
            assert session.get(f"{url}/v2/account", timeout=SECONDS).json()["cash"] == "5000.25"
            latest = f"{url}/v1beta3/crypto/us/latest/quotes"
            asked = {"symbols": "BTC/USD,DOGE/USD,LTC/USD,ADA/USD,USDT/USD"}
            first = session.get(latest, params=asked, timeout=SECONDS).json()["quotes"]
            assert sorted(first) == ["BTC/USD", "DOGE/USD", "LTC/USD", "USDT/USD"]
            later = first
            for _ in range(5_000):
                later = session.get(latest, params=asked, timeout=SECONDS).json()["quotes"]
                if later != first:
                    break
            assert later["BTC/USD"]["t"] > first["BTC/USD"]["t"]
            body = {
                "symbol": "DOGE/USD",
                "side": "buy",
                "type": "market",
                "time_in_force": "gtc",
                "notional": "50",
            }
            assert session.post(f"{url}/v2/orders", json=body, timeout=SECONDS).status_code == 200
            assert session.get(f"{url}/v2/positions", timeout=SECONDS).json()[0]["symbol"] == "DOGEUSD"
            yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
            wanted = {"symbols": "BTC/USD", "timeframe": "1Hour", "start": yesterday}
            bars = session.get(f"{url}/v1beta3/crypto/us/bars", params=wanted, timeout=SECONDS).json()
            assert len(bars["bars"]["BTC/USD"]) >= 20
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == ExitCode.INTERRUPTED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_faults_are_served() -> None:
    """With a share of 1 no request is answered well; a share above 0 is what was asked for."""
    with serving("alpaca", "--faults", "1") as (process, told):
        good = 0
        for _ in range(5):
            try:
                url = told["addresses"]["url"]
                answer = requests.get(f"{url}/v2/clock", headers=headers(told), timeout=0.5)
                answer.raise_for_status()
                good += "next_open" in answer.json() and isinstance(answer.json()["is_open"], bool)
            except requests.RequestException:
                continue
        assert good == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == ExitCode.TERMINATED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_vendor_of_quotes() -> None:
    """Finnhub in its own spelling, to who has the key that was printed."""
    with serving("finnhub") as (_, told):
        url = told["addresses"]["url"]
        assert load_settings(told["settings"], "printed").source("finnhub").url == url
        token = told["environment"]["FINNHUB_API_KEY"]
        asked = {"symbol": "BINANCE:ADAUSDT", "token": token}
        assert requests.get(f"{url}/quote", params=asked, timeout=SECONDS).json()["c"] > 0
        assert requests.get(f"{url}/quote", params={"symbol": "SPY"}, timeout=SECONDS).status_code == 401


# --- the market behind it ----------------------------------------------------------------------


def market(seed: int = 1, at_ms: int = THURSDAY_10H) -> tuple[StubMarket, SimulatedClock]:
    """Return a market of a coin, a dollar coin and a stock, and its clock."""
    clock = SimulatedClock(at_ms)
    return StubMarket(("BTC-USD", "USDT-USD", "SPY"), seed, ExchangeCalendars(), clock), clock


def test_the_market_moves_each_second() -> None:
    """The coin's price is another each second, of that second, and near the simulated market's."""
    moving, clock = market()
    seen = []
    for _ in range(30):
        btc, usdt, _ = moving.ticks()
        assert btc.at_ms == clock.now_utc_ms()
        assert 0 < btc.bid < btc.ask
        assert usdt.bid < 1 < usdt.ask
        seen.append(btc.bid)
        clock.sleep_until(clock.now_utc_ms() + 1000)
    assert len(set(seen)) > 25
    assert max(seen) / min(seen) < Decimal("1.05")


def test_the_same_seed_makes_the_same_market() -> None:
    """And another seed another one."""
    assert market()[0].ticks() == market()[0].ticks()
    assert market()[0].ticks() != market(seed=2)[0].ticks()


def test_stocks_stand_still_while_closed() -> None:
    """On a Saturday a stock's quote is Friday's last."""
    saturday = THURSDAY_10H + 2 * 86_400_000
    moving, clock = market(at_ms=saturday)
    spy = moving.ticks()[2]
    assert spy.at_ms <= THURSDAY_10H + 86_400_000 + 6 * 3_600_000
    clock.sleep_until(saturday + 60_000)
    assert moving.ticks()[2] == spy


def test_bars_are_those_of_the_venue() -> None:
    """Minutes open within what was asked for; a day of stocks opens at midnight in New York."""
    moving, _ = market()
    minutes = moving.bars("BTC-USD", 60, THURSDAY_10H - 600_000, THURSDAY_10H - 60_000)
    assert {bar.open_time_ms for bar in minutes} <= set(range(THURSDAY_10H - 600_000, THURSDAY_10H, 60_000))
    assert minutes
    (wednesday,) = moving.bars("SPY", 86_400, THURSDAY_10H - 2 * 86_400_000, THURSDAY_10H)
    assert wednesday.open_time_ms == 1_763_528_400_000  # 2025-11-19 05:00:00Z
    assert moving.bars("NONE", 60, 0, THURSDAY_10H) == []
