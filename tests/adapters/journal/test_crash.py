"""A process that dies at any commit leaves a journal that says exactly what became durable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.journal.store import Journal, open_journal
from engine.codes import IntentState
from engine.errors import TradectlError
from engine.runtime.journal_port import AccountEvent, IntentEvent
from tests.contracts.journal import fill_of
from tests.journal_records import POLICY, START_MS, Market, at_ms, cycle_of, intent_of

_CYCLES = 3
_DEAD = 77


class Dies:
    """Ends the process, as kill -9 would, at the n-th commit: before it or after it."""

    def __init__(self, commit: int, *, after: bool) -> None:
        """Count down to a commit."""
        self._left = commit
        self._after = after

    def before_commit(self, name: str) -> None:
        """Die before the commit."""
        self._left -= 1
        if self._left < 0 and not self._after:
            os._exit(_DEAD)

    def after_commit(self, name: str) -> None:
        """Die after the commit."""
        if self._left < 0 and self._after:
            os._exit(_DEAD)


def run(journal: Journal) -> None:
    """Do what an agent does, from wherever the journal stands, in steps that may be repeated."""
    journal.add_policy(POLICY, START_MS)
    market = Market("ON")
    last = journal.last_cycle()
    first = 0 if last is None else last.cycle
    for cycle in range(1, _CYCLES + 1):
        market.move()
        record = market.sell(cycle)
        if cycle > first:
            journal.commit_cycle(cycle_of(cycle, [record], state=b"state %d" % cycle))
        intent = intent_of(record, cycle)
        known = {event.state for event in journal.intent_events(intent.order.client_id)}
        if IntentState.SENT not in known:
            sent = IntentEvent(intent.order.client_id, IntentState.SENT, at_ms(cycle))
            journal.append_receipt([sent])
        if IntentState.FILLED not in known:
            filled = IntentEvent(intent.order.client_id, IntentState.FILLED, at_ms(cycle), 5)
            journal.append_receipt([filled], [fill_of(intent, f"f{cycle}", 5)], f"cursor {cycle}")
    if not any(event.kind == "end" for event in journal.account_events()):
        journal.append_account_event(AccountEvent("end", at_ms(_CYCLES)))
    if journal.prune(keep_cycles=2).cycles_removed > _CYCLES - 2:
        raise TradectlError("pruned what was to be kept")


def content(path: Path) -> tuple[object, ...]:
    """Return all that a journal tells."""
    journal = open_journal(path, at_ms=0, reserve_exits=1)
    try:
        assert journal.verify() == ()
        return (
            list(journal.cycles()),
            list(journal.events_after(0)),
            list(journal.intents()),
            list(journal.pending_intents()),
            journal.fill_cursor(),
            journal.state(),
            journal.nonce(),
        )
    finally:
        journal.close()


def _main(path: str, commit: str, moment: str) -> None:
    probe = Dies(int(commit), after=moment == "after")
    journal = open_journal(Path(path), at_ms=0, nonce=lambda: "n0", probe=probe, reserve_exits=1)
    run(journal)
    journal.close()


LONG = os.environ.get("TRADECTL_HYPOTHESIS") == "long"
"""Else every other commit, those before and those after in turn."""

_COMMITS = 2 + 3 * _CYCLES + 2
"""Migration, policy, three for each cycle, the end, pruning."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_at_every_commit(tmp_path: Path, moment: str) -> None:
    """Killed at each commit and started again, a run ends in the same journal as an undisturbed one."""
    undisturbed = tmp_path / "undisturbed.db"
    _main(str(undisturbed), "999", "before")
    expected = content(undisturbed)
    for commit in range(0 if moment == "before" else 1, _COMMITS, 1 if LONG else 2):
        path = tmp_path / f"{commit}.db"
        command = [sys.executable, "-c", _PROGRAM, str(path), str(commit), moment]
        assert subprocess.run(command, check=False).returncode == _DEAD, f"commit {commit} was to be the last"
        _main(str(path), "999", moment)
        assert content(path) == expected, f"died {moment} commit {commit}"


_PROGRAM = """
import sys
from tests.adapters.journal.test_crash import _main
_main(*sys.argv[1:])
"""


def test_every_commit_was_counted(tmp_path: Path) -> None:
    """The run has as many commits as the deaths above assume."""
    names: list[str] = []

    class Counts:
        def before_commit(self, name: str) -> None:
            names.append(name)

        def after_commit(self, name: str) -> None:
            names.append(name)

    journal = open_journal(tmp_path / "journal.db", at_ms=0, probe=Counts(), reserve_exits=1)
    run(journal)
    journal.close()
    assert len(names) == 2 * _COMMITS
    assert names[::2] == names[1::2]
    assert set(names) == {"migrate", "policy", "cycle", "receipt", "account event", "prune"}
