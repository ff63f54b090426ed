"""Processes as a person starts them: a local Alpaca, an agent that trades there, and its sudden deaths."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from adapters.bootstrap.agents import agent_folder, current_agent, open_reader
from adapters.cli.output import ExitCode
from adapters.journal.lease import holder
from engine.codes import IntentState
from engine.units import QUANTITY_SCALE, unscaled
from tests.adapters.cli.running import start, tradectl
from tests.adapters.cli.stub_process import SECONDS, asking, serving

COINS = str(Path(__file__).with_name("coins.yaml"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@dataclass
class World:
    """A stub in its process, and an agent pointed at it by what the stub printed."""

    home: Path
    config: str
    told: dict[str, Any]
    session: requests.Session

    def orders(self) -> list[dict[str, Any]]:
        """Ask the venue for every order it ever had."""
        asked = {"status": "all", "limit": "500"}
        answer = self.session.get(f"{self.told['addresses']['url']}/v2/orders", params=asked, timeout=SECONDS)
        rows: list[dict[str, Any]] = answer.json()
        return rows

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """Start an agent."""
        return start("run", "-c", self.config, "--policy", COINS, *arguments)

    def until(self, happened: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until something can be said of the venue's orders."""
        ends = time.monotonic() + SECONDS
        while not happened(self.orders()):
            assert time.monotonic() < ends, self.orders()


@pytest.fixture
def world(tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Start a local Alpaca for the coins, and write what it printed where an agent reads it."""
    with serving("alpaca", "--policy", COINS) as (_, told), asking(told) as session:
        for name, value in told["environment"].items():
            monkeypatch.setenv(name, value)
        config = tmp_path / "config.yaml"
        config.write_text(told["settings"], encoding="utf-8")
        yield World(own_environment, str(config), told, session)


def killed(agent: subprocess.Popen[str]) -> str:
    """Kill an agent as a power cut would; return all it printed."""
    agent.kill()
    told = "".join(agent.communicate(timeout=SECONDS))
    assert agent.returncode == -9, told
    return told


def test_orders_and_intents_are_one_to_one_through_sudden_deaths(world: World) -> None:
    """Killed with the first of a cycle's orders at the venue, killed again, run on: nothing twice or lost."""
    agent = world.run("--forever")
    world.until(lambda orders: len(orders) > 0)
    printed = killed(agent)
    before = len(world.orders())
    agent = world.run("--forever")
    world.until(lambda orders: len(orders) > before)
    printed += killed(agent)
    agent = world.run("--cycles", "3")
    printed += "".join(agent.communicate(timeout=SECONDS))
    assert agent.returncode == ExitCode.OK, printed
    assert {order["side"] for order in world.orders()} == {"buy", "sell"}
    one_to_one(world)
    for command in (
        "status",
        "funnel",
        "explain BTC-USD",
        "explain DOGE-USD --why-not sell",
        "journal list",
        "journal orders",
        "journal fills",
        "journal incidents",
        "journal verify",
    ):
        result = tradectl(*command.split())
        assert result.exit_code == ExitCode.OK, result.output
        printed += result.output
    no_key_is_told(world, printed)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_while_it_waits_for_bars(
    tmp_path: Path, own_environment: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: ExitCode
) -> None:
    """The start of an agent may take half a minute; whoever has enough of it need not wait."""
    monkeypatch.setenv("APCA_API_KEY_ID", "PKSENTINELOFSIGNALS1")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "sentinelSecretOfSignals")
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        config = tmp_path / "config.yaml"
        config.write_text(
            "apiVersion: tradectl-config/v1\n"
            f"sources: {{alpaca: {{url: '{url}'}}}}\n"
            "quotes: {crypto: {sources: [alpaca]}}\n",
            encoding="utf-8",
        )
        with start("run", "-c", str(config), "--policy", COINS, "--quotes", "live") as agent:
            assert agent.stderr is not None
            assert "waiting for bars" in agent.stderr.readline()
            agent.send_signal(number)
            printed, told = agent.communicate(timeout=SECONDS / 2)
    assert agent.returncode == code, told
    assert not printed
    assert told.splitlines() == [
        "stopped at once; nothing recorded is lost, and the next run goes on from there"
    ]
    # and the agent's folder is nobody's
    assert holder(agent_folder(own_environment, "paper-coins-live").journal) is None


def one_to_one(world: World) -> None:
    """Each order of the venue is an intent of the journal, and each intent is an order or never was one."""
    with closing(open_reader(current_agent(world.home))) as journal:
        intents = {intent.order.client_id: intent for intent in journal.intents()}
        last = {name: journal.intent_events(name)[-1] for name in intents}
        cycle = journal.last_cycle()
        fills = list(journal.fills())
    orders = world.orders()
    there = {order["client_order_id"]: order for order in orders}
    assert len(there) == len(orders) > 0
    assert there.keys() <= intents.keys()
    assert cycle is not None
    for name, order in there.items():
        intent = intents[name]
        assert order["symbol"].replace("/", "-") == intent.order.symbol
        assert order["side"] == intent.order.side.name.lower()
        assert Decimal(order["qty"]) == unscaled(intent.order.quantity, QUANTITY_SCALE)
        filled = unscaled(sum(fill.quantity for fill in fills if fill.client_id == name), QUANTITY_SCALE)
        # What the last orders became is heard by the next run.
        assert filled == Decimal(order["filled_qty"]) or intent.cycle == cycle.cycle
    for name in intents.keys() - there.keys():
        event = last[name]
        assert event.state in (IntentState.REJECTED, IntentState.EXPIRED, IntentState.CANCELLED), event
        assert not event.venue_id
        assert not event.filled_quantity


def no_key_is_told(world: World, printed: str) -> None:
    """No key is in what was printed, nor in any file of the state folder."""
    keys = world.told["environment"].values()
    assert not [key for key in keys if key in printed]
    kept = [path for path in world.home.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        content = path.read_bytes()
        assert not [key for key in keys if key.encode() in content], path
    assert not (world.home / "crashes").exists()


def test_live_is_refused(tmp_path: Path) -> None:
    """Real money is for no release yet, whatever the settings say."""
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: tradectl-config/v1\nbroker: {name: alpaca}\n", encoding="utf-8")
    agent = start("run", "-c", str(config), "--live")
    printed, told = agent.communicate(timeout=SECONDS)
    assert agent.returncode == ExitCode.CONFIGURATION
    assert "trades on paper only" in told
    assert not printed
    assert not any(Path(os.environ["TRADECTL_HOME"]).iterdir())
