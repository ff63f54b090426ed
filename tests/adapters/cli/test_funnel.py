"""``tradectl funnel``: what became of each directional signal."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from adapters.bootstrap.agents import agent_folder
from adapters.cli.output import ExitCode
from tests.adapters.cli.running import HERE, document, run_quick, steady, tradectl
from tests.golden import assert_golden

AGENT = "sim-pulse"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of an agent that ran for forty cycles."""
    home = tmp_path_factory.mktemp("ran")
    result = tradectl("run", "--policy", str(HERE / "pulse.yaml"), "--cycles", "40", "--state-dir", str(home))
    assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def home(ran: Path, own_environment: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(ran, own_environment, dirs_exist_ok=True)
    return own_environment


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("all", ("--recount",)),
        ("one", ("--symbol", "ETH-USD")),
        ("none", ("--to", "2025-01-01T00:00:00Z")),
    ],
)
def test_what_people_read(name: str, arguments: tuple[str, ...], home: Path, update_golden: bool) -> None:
    """A line per signal, side, disposition, rule and what settled it; a sum that adds up."""
    found = tradectl("funnel", *arguments)
    assert found.exit_code == 0, found.output
    assert_golden(steady(found.stdout, home), HERE / "golden" / f"funnel-{name}.txt", update_golden)


def test_a_policy_without_signals(own_environment: Path) -> None:
    """There is no signal to count, and that is said; its rules are counted."""
    run_quick(4)
    found = tradectl("funnel", "--recount")
    assert found.exit_code == 0
    assert "0 signals in 0 cycles" in found.stdout
    assert re.search(r"in BUY +acted +2 +2", found.stdout)


def test_the_json_adds_up(home: Path) -> None:
    """The document follows the schema; its rows add up to its totals; the recount has the same."""
    read = document(tradectl("funnel", "--recount", "--json"), "funnel-v1")
    for counted in (read["signals"], read["candidates"]):
        for key in ("instances", "open", "cycles"):
            assert sum(row[key] for row in counted["rows"]) == counted[key] > 0
    assert read["decisions"] == 120
    assert read["recount"] == {"equal": True, **{key: read[key] for key in read["recount"] if key != "equal"}}
    parts = [document(tradectl("funnel", "--symbol", symbol, "--json"), "funnel-v1")
             for symbol in ("BTC-USD", "ETH-USD", "DOGE-USD")]  # fmt: skip
    assert sum(part["signals"]["instances"] for part in parts) == read["signals"]["instances"]


def test_acted_instances_are_the_orders(home: Path) -> None:
    """Every order of this policy follows a signal: the funnel has as many that acted."""
    read = document(tradectl("funnel", "--json"), "funnel-v1")
    orders = document(tradectl("journal", "orders", "--last", "999", "--json"), "journal-v1")["orders"]
    for counted in (read["signals"], read["candidates"]):
        acted = sum(row["instances"] for row in counted["rows"] if row["disposition"] == "acted")
        assert acted == len(orders) > 5


def test_an_interval(home: Path) -> None:
    """Cycles before and after an instant are all cycles."""
    whole = document(tradectl("funnel", "--json"), "funnel-v1")
    early = document(tradectl("funnel", "--to", "2025-11-05T14:40:00Z", "--json"), "funnel-v1")
    late = document(tradectl("funnel", "--from", "2025-11-05T14:40:01Z", "--json"), "funnel-v1")
    assert early["to"] == "2025-11-05T14:40:00Z"
    for kind in ("signals", "candidates"):
        assert early[kind]["cycles"] + late[kind]["cycles"] == whole[kind]["cycles"] > 0
    assert early["decisions"] + late["decisions"] == whole["decisions"]


def test_stored_dispositions_that_the_facts_do_not_give_are_found(home: Path) -> None:
    """A recount does not believe what is stored: with another policy in the journal the counts differ."""
    import hashlib

    with sqlite3.connect(agent_folder(home, AGENT).journal) as connection:
        ((text,),) = connection.execute("SELECT text FROM policies").fetchall()
        other = text.replace("since_sell < 3m", "since_sell < 1h")
        assert other != text
        digest = hashlib.sha256(other.encode()).hexdigest()
        connection.execute("UPDATE policies SET text = ?, digest = ?", (other, digest))
    connection.close()
    believed = tradectl("funnel")
    assert believed.exit_code == 0
    recounted = tradectl("funnel", "--recount")
    assert recounted.exit_code == ExitCode.FINDING
    assert "recounted from the facts: NOT equal" in recounted.stdout
    assert re.search(r"^\+  pulse BUY  vetoed  enter  cooldown", recounted.stdout, re.MULTILINE)
    assert re.search(r"^\+  enter BUY  vetoed  cooldown", recounted.stdout, re.MULTILINE)
    assert document(tradectl("funnel", "--recount", "--json"), "funnel-v1")["recount"]["equal"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--symbol", "eth"), ExitCode.NOT_FOUND, "did you mean ETH-USD?"),
        (("--agent", "nobody"), ExitCode.NOT_FOUND, "there is no agent 'nobody'"),
        (("--from", "monday"), ExitCode.USAGE, "'monday' is no instant"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], code: ExitCode, said: str, home: Path) -> None:
    """Each refusal says what to do."""
    refused = tradectl("funnel", *arguments)
    assert refused.exit_code == code
    assert said in refused.output
