"""kill -9 at every seam: the process dies inside its ports, is restarted; nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from adapters.brokers.paper import PaperBroker
from adapters.journal.reading import read_journal
from tests.simulation.world import build

CYCLES = 30
SEAMS = (
    "journal.add_policy",
    "journal.append_account_event",
    "journal.append_receipt",
    "journal.commit_cycle",
    "broker.submit",
    "broker.cancel",
    "broker.find",
    "broker.fills_since",
    "broker.account",
    "quotes.snapshot",
)


def told(folder: Path) -> dict[str, Any]:
    """Return everything that must not depend on crashes: ledger, venue, fills, intents, decisions."""
    world = build(folder)
    agent = world.agent
    agent.start()
    broker: PaperBroker = agent.ports.broker._inner  # type: ignore[attr-defined]  # behind the hook
    account = broker.account()
    fills, _ = broker.fills_since("")
    state = agent.state
    world.close()
    reader = read_journal(folder / "journal.db")
    result = {
        "ledger": (state.ledger.cash, dict(state.ledger.holdings), state.ledger.realised, state.ledger.fees),
        "memories": dict(state.memories),
        "venue": (account.cash, dict(account.positions)),
        "venue fills": [(f.symbol, f.side, f.quantity, f.price, f.fee, f.at_ms) for f in fills],
        "journal fills": [
            (f.fill_id, f.symbol, f.side, f.quantity, f.price, f.at_ms) for f in reader.fills()
        ],
        "intents": [
            (i.cycle, i.order.client_id, i.order.quantity, i.order.limit_price, i.rule)
            for i in reader.intents()
        ],
        "decisions": [
            (
                c.head.cycle,
                c.head.at_ms,
                [(d.symbol, d.decision.action, d.decision.rule) for d in c.decisions],
            )
            for c in reader.cycles()
        ],
        "sound": list(reader.verify()),
    }
    reader.close()
    return result


def in_child(folder: Path, hook: Any) -> int:  # noqa: ANN401 - a hook
    """Run an agent to the last cycle in a forked process; return its exit status or minus its signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            world = build(folder, hook=hook)
            world.agent.start()
            world.run(CYCLES)
            world.close()
            status = 0
        finally:
            os._exit(status)
    _, waited = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(waited)


class Killer:
    """A hook that kills its process, without a farewell, at one call of one seam."""

    def __init__(self, seam: str, when: str, number: int) -> None:
        """Kill ``when`` ("before", "after") the call with this number, from 1."""
        self.place = (seam, when)
        self.left = number

    def __call__(self, seam: str, when: str) -> None:
        """Count, and kill."""
        if (seam, when) == self.place:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, int]]:
    """An undisturbed run: what it told, and how often each seam was called."""
    folder = tmp_path_factory.mktemp("undisturbed")
    calls: dict[str, int] = {}

    def count(seam: str, when: str) -> None:
        calls[seam] = calls.get(seam, 0) + (when == "before")

    world = build(folder, hook=count)
    world.agent.start()
    world.run(CYCLES)
    world.close()
    return told(folder), calls


def test_the_run_holds_what_crashes_could_lose(undisturbed: tuple[dict[str, Any], dict[str, int]]) -> None:
    """The undisturbed run trades, and its venue and journal tell the same."""
    result, calls = undisturbed
    assert len(result["intents"]) >= 20
    assert len(result["venue fills"]) > len(result["intents"]) * 3 // 4
    assert calls["broker.cancel"] >= 1, "partial fills run out of time and are cancelled"
    assert [f[1:] for f in result["journal fills"]] == [f[:4] + f[5:] for f in result["venue fills"]]
    assert result["ledger"][0] == result["venue"][0]
    assert {s: h.quantity for s, h in result["ledger"][1].items()} == result["venue"][1]
    assert result["sound"] == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("seam", SEAMS)
def test_kill_anywhere(
    seam: str, when: str, undisturbed: tuple[dict[str, Any], dict[str, int]], tmp_path: Path
) -> None:
    """Killed at the first, a middle and the last call of a seam, and restarted, the run ends the same."""
    expected, calls = undisturbed
    numbers = sorted({1, max(1, calls[seam] // 3), max(1, 2 * calls[seam] // 3), calls[seam]})
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        assert in_child(folder, Killer(seam, when, number)) == -signal.SIGKILL, (seam, when, number)
        assert in_child(folder, lambda seam, when: None) == 0
        assert told(folder) == expected, (seam, when, number)


def test_killed_again_and_again(undisturbed: tuple[dict[str, Any], dict[str, int]], tmp_path: Path) -> None:
    """A process that dies at every third send still ends where the undisturbed one does."""
    expected, _ = undisturbed
    for _ in range(40):
        status = in_child(tmp_path, Killer("broker.submit", "after", 3))
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert told(tmp_path) == expected
