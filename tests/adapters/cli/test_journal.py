"""``tradectl journal``: what was recorded, whether it is sound, how it is pruned."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.bootstrap.agents import agent_folder
from adapters.cli.figures import parse_span
from adapters.cli.output import ExitCode
from adapters.journal.store import open_journal
from tests.adapters.cli.running import AGENT, HERE, document, run_quick, steady, tradectl
from tests.golden import assert_golden

LISTS = ("list", "orders", "fills", "incidents", "policies", "verify")


@pytest.mark.parametrize("name", LISTS)
def test_what_people_read(name: str, own_environment: Path, update_golden: bool) -> None:
    """Each list is a table, oldest first."""
    run_quick(9)
    result = tradectl("journal", name)
    assert result.exit_code == 0
    shown = steady(result.stdout, own_environment)
    assert_golden(shown, HERE / "golden" / f"journal-{name}.txt", update_golden)


def test_a_cycle(own_environment: Path, update_golden: bool) -> None:
    """A cycle shows its decisions and orders; one that is not there is not found."""
    run_quick(9)
    shown = steady(tradectl("journal", "show", "5").stdout, own_environment)
    assert_golden(shown, HERE / "golden" / "journal-show.txt", update_golden)
    missing = tradectl("journal", "show", "10")
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert "the newest is 9" in missing.stderr


@pytest.mark.parametrize("arguments", [*([name] for name in LISTS), ["show", "5"], ["size"]])
def test_json(arguments: list[str]) -> None:
    """Every document follows the schema."""
    run_quick(9)
    read = document(tradectl("journal", *arguments, "--json"), "journal-v1")
    assert read["agent"] == AGENT


def test_orders_and_fills_agree() -> None:
    """Every order is filled by what the fills say, and --last and --symbol choose among them."""
    run_quick(9)
    orders = document(tradectl("journal", "orders", "--json"), "journal-v1")["orders"]
    fills = document(tradectl("journal", "fills", "--json"), "journal-v1")["fills"]
    filled = {order["client_id"]: order["events"][-1]["filled_quantity"] for order in orders}
    assert filled == {fill["client_id"]: fill["quantity"] for fill in fills}
    assert {order["events"][-1]["state"] for order in orders} == {"filled"}
    last = document(tradectl("journal", "orders", "--last", "1", "--json"), "journal-v1")["orders"]
    assert last == orders[-1:]
    doge = document(tradectl("journal", "fills", "--symbol", "DOGE-USD", "--json"), "journal-v1")["fills"]
    assert doge == [fill for fill in fills if fill["symbol"] == "DOGE-USD"]


def test_the_policy_as_it_decided(tmp_path: Path) -> None:
    """The kept text is a policy of the same digest, whatever became of the file."""
    run_quick(1)
    (kept,) = document(tradectl("journal", "policies", "--json"), "journal-v1")["policies"]
    text = tradectl("journal", "policies", "--digest", kept["digest"][:8]).stdout
    (tmp_path / "kept.yaml").write_text(text, encoding="utf-8")
    run = tradectl("run", "--policy", str(tmp_path / "kept.yaml"), "--cycles", "1")
    assert run.exit_code == 0, run.output
    assert f"({kept['digest'][:6]})" in run.stdout
    assert tradectl("journal", "policies", "--digest", "zz").exit_code == ExitCode.NOT_FOUND


def test_prune() -> None:
    """Old cycles go, orders and the decisions behind them stay."""
    run_quick(40)
    before = document(tradectl("journal", "fills", "--json"), "journal-v1")["fills"]
    pruned = document(tradectl("journal", "prune", "--keep", "10", "--json"), "journal-v1")["pruned"]
    assert pruned["cycles_removed"] == 30
    listed = document(tradectl("journal", "list", "--last", "100", "--json"), "journal-v1")["cycles"]
    assert [cycle["cycle"] for cycle in listed][-10:] == list(range(31, 41))
    assert document(tradectl("journal", "fills", "--json"), "journal-v1")["fills"] == before
    shown = document(tradectl("journal", "show", "1", "--json"), "journal-v1")
    assert shown["pruned"] and [order["rule"] for order in shown["orders"]] == ["in", "in"]
    assert "cycles forgotten" in tradectl("journal", "prune", "--keep", "2m").stdout
    assert tradectl("journal", "verify").exit_code == 0
    assert run_quick(1).exit_code == 0


@pytest.mark.parametrize("keep", ["0", "-3", "x", "30 d", "", "1.5"])
def test_what_is_no_measure_to_keep(keep: str) -> None:
    """A number of cycles or a duration, else a usage error that shows both."""
    run_quick(1)
    result = tradectl("journal", "prune", "--keep", keep)
    assert result.exit_code == ExitCode.USAGE
    assert "(30d)" in result.stderr


def test_a_damaged_journal(own_environment: Path) -> None:
    """A record that was changed on disk is found; verify and doctor fail and name it."""
    run_quick(3)
    path = agent_folder(own_environment, AGENT).journal
    journal = open_journal(path, at_ms=0)
    journal.close()
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE states SET packed = x'00' WHERE cycle = 2")
    connection.close()
    verified = tradectl("journal", "verify")
    assert verified.exit_code == ExitCode.FINDING
    assert "state of cycle 2" in verified.stdout
    doctor = tradectl("doctor")
    assert doctor.exit_code == ExitCode.FINDING
    assert "state of cycle 2" in doctor.stdout and "--restart" in doctor.stdout


def test_durations() -> None:
    """Durations are written as in policies."""
    assert [parse_span(text) for text in ("90s", "2m", "12h", "30d", "1w")] == [
        90,
        120,
        43200,
        2592000,
        604800,
    ]
    assert parse_span("12") is None and parse_span("0d") is None
