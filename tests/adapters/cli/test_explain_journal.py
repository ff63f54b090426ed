"""``tradectl explain`` out of the journal: what people read, what ``--json`` prints, what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.bootstrap.agents import agent_folder
from adapters.cli.output import ExitCode
from tests.adapters.cli.running import HERE, ROOT, document, steady, tradectl
from tests.golden import assert_golden

PULSE = HERE / "pulse.yaml"
AGENT = "sim-pulse"
BOUGHT, HELD, LIMITED, VETOED = (
    "2025-11-05T14:39:00Z", "2025-11-05T14:40:10Z", "2025-11-05T14:38:00Z", "2025-11-05T14:44:00Z"
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of an agent that ran for forty cycles."""
    home = tmp_path_factory.mktemp("ran")
    result = tradectl("run", "--policy", str(PULSE), "--cycles", "40", "--state-dir", str(home))
    assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def home(ran: Path, own_environment: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(ran, own_environment, dirs_exist_ok=True)
    return own_environment


GOLDEN: dict[str, tuple[str, ...]] = {
    "last": ("BTC-USD",),
    "bought": ("ETH-USD", "--at", BOUGHT),
    "held": ("ETH-USD", "--at", HELD),
    "limited": ("DOGE-USD", "--at", LIMITED),
    "why-not-buy": ("ETH-USD", "--at", VETOED, "--why-not", "buy"),
    "what-if": ("ETH-USD", "--at", HELD, "--what-if", "gain=-2%"),
    "other-policy": ("ETH-USD", "--at", BOUGHT, "--policy", "conservative"),
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_what_people_read(name: str, home: Path, update_golden: bool) -> None:
    """The whole text; the decision is made again, and is the same."""
    found = tradectl("explain", *GOLDEN[name])
    assert found.exit_code == 0, found.output
    assert_golden(steady(found.stdout, home), HERE / "golden" / f"explain-journal-{name}.txt", update_golden)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_json_is_in_its_schema(name: str, home: Path) -> None:
    """``--json`` prints what explain-v1 says, the record among it."""
    read = document(tradectl("explain", *GOLDEN[name], "--json"), "explain-v1")
    record = read["recorded"]
    assert record["agent"] == AGENT
    assert record["again"]["differences"] == []
    assert record["supposed"] == (name in ("what-if", "other-policy"))
    if not record["supposed"]:
        assert read["action"] == record["decision"]["action"] == record["again"]["action"]
        assert read["digest"] == record["policy"]["digest"]


def test_what_followed_is_what_the_journal_has(home: Path) -> None:
    """The order of a decision is told with its events and fills."""
    read = document(tradectl("explain", "ETH-USD", "--at", BOUGHT, "--json"), "explain-v1")
    (order,) = read["recorded"]["orders"]
    listed = json.loads(tradectl("journal", "orders", "--symbol", "ETH-USD", "--json").stdout)["orders"]
    assert {key: value for key, value in order.items() if key != "fills"} in listed
    assert order["events"][0]["state"] == "planned"
    assert sum(fill["quantity"] for fill in order["fills"]) == order["quantity"]


def test_at_is_the_decision_at_or_before(home: Path) -> None:
    """Between two cycles the earlier one is explained."""
    read = document(tradectl("explain", "ETH-USD", "--at", HELD, "--json"), "explain-v1")
    assert read["at"] == "2025-11-05T14:40:00Z"
    later = document(tradectl("explain", "ETH-USD", "--at", "2030-01-01T00:00:00Z", "--json"), "explain-v1")
    assert later["recorded"]["cycle"] == 40


def test_an_edited_policy_still_explains_what_it_was(own_environment: Path, tmp_path: Path) -> None:
    """The policy that decided is in the journal: what the file says by now does not matter."""
    policy = tmp_path / "mine.yaml"
    text = PULSE.read_text(encoding="utf-8")
    policy.write_text(text, encoding="utf-8")
    assert tradectl("run", "--policy", str(policy), "--cycles", "20").exit_code == 0
    before = tradectl("explain", "BTC-USD").stdout
    policy.write_text(text.replace("60%", "99%").replace("1.0.0", "2.0.0"), encoding="utf-8")
    assert tradectl("explain", "BTC-USD").stdout == before
    policy.unlink()
    assert tradectl("explain", "BTC-USD").stdout == before
    assert "pulse 1.0.0" in before


def test_a_decision_before_a_swap_is_by_the_policy_of_then(home: Path, tmp_path: Path) -> None:
    """Two policies in one journal: each decision is explained by its own."""
    second = tmp_path / "second.yaml"
    second.write_text(PULSE.read_text(encoding="utf-8").replace("1.0.0", "2.0.0"), encoding="utf-8")
    assert tradectl("run", "--policy", str(second), "--agent", AGENT, "--cycles", "3").exit_code == 0
    assert "pulse 2.0.0" in tradectl("explain", "BTC-USD").stdout
    assert "pulse 1.0.0" in tradectl("explain", "BTC-USD", "--at", BOUGHT).stdout


# --- a record that is not decided alike -------------------------------------------------------


def tamper(home: Path, statement: str, *values: object) -> None:
    """Change the journal behind its back."""
    with sqlite3.connect(agent_folder(home, AGENT).journal) as connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def test_a_decision_that_comes_out_otherwise_is_said(home: Path) -> None:
    """Where the record and the policy that is kept do not decide alike, both are told: exit code 1."""
    import hashlib

    with sqlite3.connect(agent_folder(home, AGENT).journal) as connection:
        ((text,),) = connection.execute("SELECT text FROM policies").fetchall()
        other = text.replace("pulse.confidence >= 60%", "pulse.confidence >= 1%").replace(
            '"when": "held and pulse.side == sell', '"when": "not held and pulse.side == sell'
        )
        assert other != text
        digest = hashlib.sha256(other.encode()).hexdigest()
        connection.execute("UPDATE policies SET text = ?, digest = ?", (other, digest))
    connection.close()
    sold = tradectl("explain", "ETH-USD", "--at", "2025-11-05T14:42:00Z")
    assert sold.exit_code == ExitCode.FINDING, sold.output
    assert (
        "recorded SELL by leave in cycle 24 of agent sim-pulse; decided again: HOLD (other: action"
        in sold.stdout
    )
    read = document(tradectl("explain", "ETH-USD", "--at", "2025-11-05T14:42:00Z", "--json"), "explain-v1")
    assert read["recorded"]["decision"] == {"action": "sell", "rule": "leave"}
    assert read["recorded"]["again"]["action"] == read["action"] == "hold"
    assert "action" in read["recorded"]["again"]["differences"]


@pytest.mark.parametrize("column", ["engine_digest", "vocabulary_digest"])
def test_another_meaning_is_refused(column: str, home: Path) -> None:
    """A record of another release is not decided again; what was recorded, and where it is shown, is said."""
    tamper(home, f"UPDATE policies SET {column} = 'tradectl-engine/0'")
    refused = tradectl("explain", "ETH-USD", "--at", BOUGHT)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "(BUY by enter) cannot be made again: decided by" in refused.stderr
    shown = tradectl(*f"journal show 18 --agent {AGENT}".split())
    assert f"tradectl journal show 18 --agent {AGENT}" in refused.stderr
    assert shown.exit_code == 0
    assert "tradectl journal policies --digest " in refused.stderr


def test_a_damaged_policy_is_refused(home: Path) -> None:
    """A text that is not what its digest says decides nothing."""
    tamper(home, "UPDATE policies SET text = replace(text, '60%', '61%')")
    refused = tradectl("explain", "BTC-USD")
    assert refused.exit_code == ExitCode.UNAVAILABLE
    assert "the journal's text of policy pulse 1.0.0" in refused.stderr


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("BTC",), ExitCode.NOT_FOUND, "agent sim-pulse has never decided 'BTC': did you mean BTC-USD?"),
        (("XYZ",), ExitCode.NOT_FOUND, "it decided BTC-USD, ETH-USD, DOGE-USD"),
        (
            ("BTC-USD", "--at", "2020-01-01T00:00Z"),
            ExitCode.NOT_FOUND,
            "the first one kept is of 2025-11-05 14:30:30Z",
        ),
        (("BTC-USD", "--at", "noon"), ExitCode.USAGE, "'noon' is no instant with its zone"),
        (("BTC-USD", "--at", "2025-11-05T14:40"), ExitCode.USAGE, "is no instant with its zone"),
        (("BTC-USD", "--agent", "other"), ExitCode.NOT_FOUND, "there is no agent 'other'"),
        (("BTC-USD", "--policy", "nowhere"), ExitCode.NOT_FOUND, "there is no policy file 'nowhere'"),
        (("BTC-USD", "--what-if", "rsi=81"), ExitCode.CONFIGURATION, "has a fact 'rsi'"),
        (("BTC-USD", "--what-if", "price"), ExitCode.CONFIGURATION, "'price' is not NAME=VALUE"),
        (("BTC-USD", "--facts", "-", "--at", BOUGHT), ExitCode.USAGE, "leave them out with --facts"),
        (("DOGE-USD", "--policy", str(ROOT / "tests/policies/rsi_ladder.yaml")), ExitCode.NOT_FOUND,
         "policy 'rsi-ladder' does not trade 'DOGE-USD'"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: tuple[str, ...], code: ExitCode, said: str, home: Path) -> None:
    """Each refusal says what is there and what to do."""
    refused = tradectl("explain", *arguments)
    assert refused.exit_code == code, refused.output
    assert said in refused.output


def test_before_any_agent_ran() -> None:
    """The message says what starts one."""
    refused = tradectl("explain", "BTC-USD")
    assert refused.exit_code == ExitCode.NOT_FOUND
    assert "'tradectl run' starts one" in refused.stderr


def test_what_a_policy_out_of_the_journal_needs_no_library_for(home: Path) -> None:
    """Neither the schema library nor a numeric one is imported: they cost more than the explanation."""
    heavy = ("jsonschema", "numpy", "pandas", "exchange_calendars", "durable_rules_engine", "rich")
    code = (
        "import sys\nfrom adapters.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        f"    print([name for name in {heavy!r} if name in sys.modules], end.code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", "BTC-USD", "--state-dir", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == "[] 0"
