"""``tradectl status`` and ``tradectl resume``: how an agent stands, and what a person may lift."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from adapters.bootstrap.agents import agent_folder
from adapters.cli.output import ExitCode
from adapters.journal.store import open_journal
from engine.runtime.journal_port import Incident
from tests.adapters.cli.running import AGENT, HERE, QUICK, document, run_quick, start, steady, tradectl
from tests.golden import assert_golden


def test_held_positions(own_environment: Path, update_golden: bool) -> None:
    """A position shows price, gain, peak and age; a latched drawdown says how it is lifted."""
    run_quick(3)
    result = tradectl("status")
    assert result.exit_code == 0
    assert_golden(steady(result.stdout, own_environment), HERE / "golden" / "status-held.txt", update_golden)


def test_after_the_exit(own_environment: Path, update_golden: bool) -> None:
    """A cooldown under way says what is left of it."""
    run_quick(6)
    result = tradectl("status")
    assert_golden(steady(result.stdout, own_environment), HERE / "golden" / "status-flat.txt", update_golden)


def test_json() -> None:
    """The document follows its schema and agrees with the run's."""
    end = json.loads(run_quick(3, "--json").stdout.splitlines()[-1])
    status = document(tradectl("status", "--json"), "status-v1")
    assert status["agent"] == AGENT and status["cycle"] == 3 and status["process"] is None
    for name in ("cash", "equity", "fees", "realised", "drawdown"):
        assert status[name] == end[name]
    assert [position["symbol"] for position in status["positions"]] == ["BTC-USD", "DOGE-USD"]
    assert status["positions"][0]["entries"] == 1 and not status["positions"][0]["unguarded"]


def test_before_anything_ran() -> None:
    """It says what starts an agent."""
    result = tradectl("status")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "'tradectl run' starts one" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_while_it_runs_and_after_it_was_killed() -> None:
    """A reader disturbs nobody: it names the process, and after kill -9 tells what was durable."""
    process = start("run", "--policy", QUICK, "--forever", "--json")
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    running = document(tradectl("status", "--json"), "status-v1")
    assert running["process"] == process.pid and running["cycle"] >= 3
    refused = tradectl("resume", "--rebase")
    assert refused.exit_code == ExitCode.UNAVAILABLE
    assert f"in use by process {process.pid}" in refused.stderr
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate()
    cycles = [json.loads(line)["cycle"] for line in printed.splitlines() if line.endswith("}")]
    killed = document(tradectl("status", "--json"), "status-v1")
    assert killed["process"] is None
    assert killed["cycle"] >= max(cycles, default=3)
    assert tradectl("journal", "verify").exit_code == 0
    assert tradectl("doctor").exit_code == 0


# --- resume -----------------------------------------------------------------------------------


def test_rebase() -> None:
    """A latched drawdown stands until a person lifts it: then the gate opens and buys come again."""
    run_quick(6)
    assert document(tradectl("status", "--json"), "status-v1")["drawdown_latched"]
    later = [json.loads(line) for line in run_quick(40, "--json").stdout.splitlines()]
    assert later[-1]["orders"] == {}
    result = document(tradectl("resume", "--rebase", "--json"), "resume-v1")
    assert result["done"] == ["the drawdown of 0.1% is lifted and counted anew"]
    assert not document(tradectl("status", "--json"), "status-v1")["drawdown_latched"]
    after = [json.loads(line) for line in run_quick(5, "--json").stdout.splitlines()]
    assert after[-1]["orders"]["in"] == 2
    again = tradectl("resume", "--rebase")
    assert again.exit_code == 0


def test_nothing_to_rebase() -> None:
    """Where nothing is latched it says so and changes nothing."""
    run_quick(1)
    assert "nothing to lift" in tradectl("resume", "--rebase").stdout


def test_unfreeze(own_environment: Path) -> None:
    """A frozen symbol is named with its cure; freed, it trades again."""
    run_quick(1)
    folder = agent_folder(own_environment, AGENT)
    journal = open_journal(folder.journal, at_ms=0)
    journal.append_incident(Incident("order-conflict", 1_762_353_030_000, "not our order", "BTC-USD", "x"))
    journal.close()
    shown = tradectl("status").stdout
    assert "BTC-USD: settle its order by hand, then tradectl resume --unfreeze BTC-USD" in shown
    held = [json.loads(line) for line in run_quick(8, "--json").stdout.splitlines()]
    assert {order["symbol"] for cycle in held[1:-1] for order in cycle["orders"]} == {"DOGE-USD"}
    wrong = tradectl("resume", "--unfreeze", "DOGE-USD")
    assert wrong.exit_code == ExitCode.NOT_FOUND
    assert "frozen are BTC-USD" in wrong.stderr
    assert "BTC-USD is free again" in tradectl("resume", "--unfreeze", "BTC-USD").stdout
    assert document(tradectl("status", "--json"), "status-v1")["frozen"] == []
    free = [json.loads(line) for line in run_quick(2, "--json").stdout.splitlines()]
    assert [order["symbol"] for cycle in free[1:-1] for order in cycle["orders"]] == ["BTC-USD"]


def test_resume_wants_to_know_what() -> None:
    """Without a wish it is a usage error."""
    assert tradectl("resume").exit_code == ExitCode.USAGE
