"""The paper venue is killed at every commit and loses, doubles and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from engine.codes import IntentState
from engine.model import Fill
from engine.units import MONEY_SCALE
from engine.verbs.ledger import Ledger, apply_fills, deposit
from tests.adapters.brokers.paper_scenario import (
    CASH,
    CRASHED,
    ORDERS,
    CountingProbe,
    Outcome,
    World,
    opened,
    outcome,
    play,
    reached,
)

ROOT = Path(__file__).resolve().parents[3]
# What the day's commits are; a test holds this list against the day.
COMMITS = ["create", "book", "match", "match", "book", "match", "book", "match", "book", "cancel"]
COMMITS += ["book", *["match"] * 5]
CRASHES = [(number, moment) for number in range(len(COMMITS)) for moment in ("before", "after")]


def crash(path: Path, commit: int, moment: str) -> None:
    """Play the day in a process of its own that dies at a commit."""
    command = [sys.executable, "-m", "tests.adapters.brokers.paper_scenario", str(path), str(commit), moment]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == CRASHED, died.stderr


def check(path: Path) -> Outcome:
    """Return what the venue knows, after checking that it is consistent in itself."""
    account, orders, fills = outcome(path)
    with opened(path, World(reached(path))) as broker:
        open_orders = broker.open_orders()
    ledger = apply_fills(deposit(Ledger(), CASH), fills)
    assert account.cash == ledger.cash >= 0
    assert account.positions == {symbol: held.quantity for symbol, held in ledger.holdings.items()}
    assert len({fill.fill_id for fill in fills}) == len(fills)
    for client_id, order in zip(ORDERS, orders, strict=True):
        filled = filled_quantity(fills, client_id)
        assert filled == (order.filled_quantity if order else 0)
        if order:
            assert (order.state is IntentState.FILLED) == (filled == order.quantity)
    assert list(open_orders) == [order for order in orders if order and not order.state.final]
    return account, orders, fills


def filled_quantity(fills: Sequence[Fill], client_id: str) -> int:
    """Return the sum of an order's fills."""
    return sum(fill.quantity for fill in fills if fill.client_id == client_id)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[str]]:
    """Return the outcome of the day without a crash, and its commits."""
    path, probe = tmp_path_factory.mktemp("undisturbed") / "venue.sqlite3", CountingProbe()
    play(path, probe)
    return outcome(path), probe.names


def test_the_day(undisturbed: tuple[Outcome, list[str]]) -> None:
    """The day has every kind of commit and every end of an order, else the crashes would prove little."""
    (account, orders, fills), commits = undisturbed
    assert commits == COMMITS
    assert account.cash != 10_000 * MONEY_SCALE
    assert len(fills) > len(ORDERS)
    states = [order.state for order in orders if order]
    assert set(states) == {IntentState.FILLED, IntentState.CANCELLED}
    partly = [order for order in orders if order and 0 < order.filled_quantity < order.quantity]
    assert [order.state for order in partly] == [IntentState.CANCELLED]


@pytest.mark.parametrize(("commit", "moment"), CRASHES)
def test_a_crash_changes_nothing(
    commit: int, moment: str, tmp_path: Path, undisturbed: tuple[Outcome, list[str]]
) -> None:
    """Killed before or after a commit and resumed, the day ends exactly as it does undisturbed."""
    path = tmp_path / "venue.sqlite3"
    crash(path, commit, moment)
    check(path)
    play(path)
    assert outcome(path) == undisturbed[0]


@pytest.mark.parametrize(("moment", "orders"), [("before", []), ("after", [("day-1", "sent", "0")])])
def test_between_acceptance_and_fill(moment: str, orders: list[tuple[str, str, str]], tmp_path: Path) -> None:
    """Killed after booking, the order is at the venue, unfilled, although its sender never heard of it."""
    path = tmp_path / "venue.sqlite3"
    crash(path, COMMITS.index("book"), moment)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT client_id, state, filled_quantity FROM orders").fetchall() == orders
        assert connection.execute("SELECT count(*) FROM fills").fetchone() == (0,)


def test_a_torn_write_ahead_log_is_a_shorter_past(tmp_path: Path) -> None:
    """With the end of the log lost, as after a power cut, what is left is consistent and a prefix."""
    path = tmp_path / "venue.sqlite3"
    crash(path, len(COMMITS) - 1, "after")
    log = path.with_name(path.name + "-wal").read_bytes()
    whole = check(shutil.copytree(tmp_path, tmp_path / "whole") / path.name)
    assert whole[2]
    lengths = set()
    for part in range(25):
        torn = tmp_path / f"torn-{part}" / path.name
        torn.parent.mkdir()
        shutil.copy(path, torn)
        torn.with_name(torn.name + "-wal").write_bytes(log[: len(log) * part // 25])
        # Opened at the first second's quote: an order whose fill was lost may fill anew, at that one.
        _, _, fills = check(torn)
        kept = [fill for fill in fills if fill in whole[2]]
        assert kept == whole[2][: len(kept)]
        lengths.add(len(kept))
    assert len(lengths) > 2
