"""Processes as a person starts them: a local exchange of coins behind ccxt, an agent that dies; a Yahoo."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.bootstrap.agents import current_agent, open_reader
from adapters.brokers.ccxt import exchange_id
from adapters.cli.output import ExitCode
from adapters.clock import WallClock
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient
from engine.model import OrderSide
from engine.units import QUANTITY_SCALE, unscaled
from tests.adapters.cli.running import start, tradectl
from tests.adapters.cli.stub_process import SECONDS, serving

COINS = str(Path(__file__).with_name("coins.yaml"))
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def test_an_agent_at_an_exchange_of_coins(
    tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fees are coins, its names for orders are hashes, and its agent is killed with orders just sent."""
    with serving("exchange", "--policy", COINS) as (_, told):
        for name, value in told["environment"].items():
            monkeypatch.setenv(name, value)
        config = tmp_path / "config.yaml"
        config.write_text(told["settings"], encoding="utf-8")
        key, secret = told["environment"].values()
        access = ExchangeAccess("binanceus", key, secret, url=told["addresses"]["url"])
        with closing(ExchangeClient(access, WallClock().now_utc_ms)) as client:
            agent = start("run", "-c", str(config), "--policy", COINS, "--forever")
            until(client, lambda rows: len(rows) > 0)
            agent.kill()
            printed = "".join(agent.communicate(timeout=SECONDS))
            agent = start("run", "-c", str(config), "--policy", COINS, "--cycles", "4")
            printed += "".join(agent.communicate(timeout=SECONDS))
            assert agent.returncode == ExitCode.OK, printed
            assert "fill" in printed
            orders, coins = all_orders(client), client.call("fetch_balance")["total"]
    assert {order["side"] for order in orders} == {"buy", "sell"}
    with closing(open_reader(current_agent(own_environment))) as journal:
        intents = {exchange_id(intent.order.client_id): intent for intent in journal.intents()}
        fills = list(journal.fills())
    there = {order["clientOrderId"]: order for order in orders}
    assert len(there) == len(orders)
    assert there.keys() <= intents.keys()
    for name, order in there.items():
        intent = intents[name]
        assert order["symbol"].replace("/", "-") == intent.order.symbol
        assert Decimal(order["amount"]) == unscaled(intent.order.quantity, QUANTITY_SCALE)
    for symbol in SYMBOLS:
        signed = sum(
            fill.quantity if fill.side is OrderSide.BUY else -fill.quantity
            for fill in fills
            if fill.symbol == symbol
        )
        assert unscaled(signed, QUANTITY_SCALE) == Decimal(coins[symbol.removesuffix("-USD")]), symbol
    assert key not in printed and secret not in printed
    for path in own_environment.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def all_orders(client: ExchangeClient) -> list[dict[str, Any]]:
    """Ask the exchange for every order there ever was."""
    return [
        row for symbol in SYMBOLS for row in client.call("fetch_orders", symbol.replace("-", "/"), None, 1000)
    ]


def until(client: ExchangeClient, happened: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until something can be said of the exchange's orders."""
    ends = time.monotonic() + SECONDS
    while not happened(rows := all_orders(client)):
        assert time.monotonic() < ends, rows


def test_a_yahoo_whose_certificate_is_trusted(tmp_path: Path) -> None:
    """What it prints is enough for quotes and for bars; without its certificate it is nobody."""
    with serving("yahoo") as (_, told):
        config = tmp_path / "config.yaml"
        config.write_text(told["settings"], encoding="utf-8")
        result = tradectl("quote", "BTC-USD", "-c", str(config))
        assert result.exit_code == ExitCode.OK, result.output
        assert "from yahoo" in result.output
        day = ("--interval", "1d", "--from", "2025-11-03", "--to", "2025-11-08")
        result = tradectl("fetch-history", "BTC-USD", "SPY", *day, "-c", str(config))
        assert result.exit_code == ExitCode.OK, result.output
        assert "5 bars written (yahoo 5)" in result.output
        config.write_text(without_certificate(told["settings"]), encoding="utf-8")
        result = tradectl("quote", "BTC-USD", "-c", str(config))
        assert result.exit_code == ExitCode.UNAVAILABLE, result.output
        assert "failed:" in result.output
        config.write_text(told["settings"].replace("authority.pem", "gone.pem"), encoding="utf-8")
        result = tradectl("quote", "BTC-USD", "-c", str(config))
        assert result.exit_code == ExitCode.CONFIGURATION, result.output
        assert "there is no certificate" in result.stderr


def without_certificate(settings: str) -> str:
    """Return settings that trust the usual authorities only."""
    before, _, after = settings.partition(", certificate:")
    return f"{before}}}}}\n" if after else settings
