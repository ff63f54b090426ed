"""``tradectl test-policy``: a line per case, what decided where one fails, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import policies
import schemas
from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from tests.engine.prove import small_policy as small
from tests.golden import assert_golden

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "test-policy"
STUDY = str(HERE / "study.yaml")
CASES = """\
apiVersion: tradectl/cases-v1
policy: study
background:
  all: {facts: {price: 0.16 USD, ask: 0.16 USD, equity: 100000 USD, tips.side: none}}
  crypto:
    facts: {rsi: 50, prev(rsi): 50, fast: 1 USD, slow: 1 USD, prev(fast): 1 USD, prev(slow): 1 USD}
cases:
  nothing-happens:
    symbol: DOGE-USD
    expect: {action: hold, rule: none}
  the-stop-holds-too-long:
    symbol: DOGE-USD
    facts: {position_qty: 1000, entry_price: 0.20 USD, peak_price: 0.20 USD}
    expect: {action: hold, rule: none}
  time-passes:
    account: {cash: 100000 USD, positions: {DOGE-USD: {quantity: 1000, entry_price: 0.16 USD}}}
    steps:
      - {symbol: DOGE-USD, expect: {action: hold}}
      - {after: 1m, symbol: DOGE-USD, facts: {price: 0.15 USD, ask: 0.15 USD}, expect: {action: sell}}
"""


def run(*arguments: str) -> Result:
    """Run ``tradectl test-policy``."""
    return CliRunner().invoke(cli, ["test-policy", *arguments], prog_name="tradectl")


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a case file of the study policy, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.yaml").write_text(CASES)
    return "cases.yaml"


def test_all_shipped_policies_pass() -> None:
    """Without a name every shipped policy is tested against the cases that are shipped with it."""
    result = run()
    assert result.exit_code == ExitCode.OK
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")][:-1] == [
        "conservative",
        "default",
        "legacy",
    ]
    assert lines[-1].endswith(" cases, 0 failed")
    assert int(lines[-1].split()[0]) == sum(line.startswith("  ok    ") for line in lines) > 150


def test_failing_cases(cases: str, update_golden: bool) -> None:
    """A failing case shows what was expected, what came, where it is written and which rules say why."""
    result = run(STUDY, "--cases", cases)
    assert result.exit_code == ExitCode.FINDING
    text = "\n".join(["study", *result.stdout.splitlines()[1:]])  # the first line has the digest
    assert_golden(text, GOLDEN / "failing.txt", update_golden)


@pytest.mark.parametrize("passing", [True, False])
def test_json(cases: str, passing: bool) -> None:
    """The document follows its schema, and says the same."""
    arguments = ["default"] if passing else [STUDY, "--cases", cases]
    result = run(*arguments, "--json")
    document = json.loads(result.stdout)
    Draft202012Validator(schemas.load("test-policy-v1")).validate(document)
    assert document["passed"] is passing
    assert result.exit_code == (ExitCode.OK if passing else ExitCode.FINDING)
    (policy,) = document["policies"]
    failed = {case["name"]: case for case in policy["cases"] if not case["passed"]}
    if passing:
        assert failed == {}
    else:
        assert set(failed) == {"the-stop-holds-too-long", "time-passes"}
        assert failed["time-passes"]["failed_step"] == 2
        assert failed["the-stop-holds-too-long"]["differences"][0] == {
            "what": "action",
            "expected": "hold",
            "got": "sell",
            "line": 14,
            "column": 22,
        }


def test_cases_stand_beside_a_policy_file(tmp_path: Path) -> None:
    """Of a policy file the cases are those of its name in the folder ``cases`` beside it."""
    (tmp_path / "cases").mkdir()
    (tmp_path / "mine.yaml").write_text(policies.read("default"))
    (tmp_path / "cases" / "mine.yaml").write_text(policies.read_cases("default"))
    result = run(str(tmp_path / "mine.yaml"))
    assert result.exit_code == ExitCode.OK
    assert str(tmp_path / "cases" / "mine.yaml") in result.stdout


def test_some_cases_with_their_decisions(update_golden: bool) -> None:
    """A pattern chooses cases; each decision of them is shown on one line."""
    result = run("--case", "ten-buys*", "--decisions")
    assert result.exit_code == ExitCode.OK
    shown = [line for line in result.stdout.splitlines() if line.startswith(" ")]
    assert_golden("\n".join(shown), GOLDEN / "decisions.txt", update_golden)


def test_no_case_of_that_name() -> None:
    """A pattern that chooses nothing is a mistake, not success."""
    result = run("default", "--case", "ten-buy")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "ten-buy" in result.stderr


def test_a_broken_case_file(cases: str, update_golden: bool) -> None:
    """Mistakes are told with file, line and column; the exit code is that of configuration."""
    Path(cases).write_text(CASES.replace("rule: none", "rule: stopp").replace("0.15 USD", "0.15"))
    result = run(STUDY, "--cases", cases)
    assert result.exit_code == ExitCode.CONFIGURATION
    assert result.stdout == ""
    assert_golden(result.stderr, GOLDEN / "broken.txt", update_golden)


def test_a_policy_without_cases(tmp_path: Path) -> None:
    """There is nothing to run, and that is not success."""
    (tmp_path / "mine.yaml").write_text(policies.read("default"))
    result = run(str(tmp_path / "mine.yaml"))
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "--cases" in result.stderr


def test_no_such_policy() -> None:
    """A name that is neither a file nor shipped."""
    result = run("defualt")
    assert result.exit_code == ExitCode.NOT_FOUND


def test_one_case_file_is_of_one_policy(cases: str) -> None:
    """Cases of one policy cannot be run against several."""
    assert run("--cases", cases).exit_code == ExitCode.USAGE
    assert run("default", "conservative", "--cases", cases).exit_code == ExitCode.USAGE


# --- how good the cases are -------------------------------------------------------------------


@pytest.fixture
def small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a small policy whose cases show some of it, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "small.yaml").write_text(small.POLICY)
    written = "".join(f"  {case}\n" for case in (small.BUYS, small.HOLDS, small.STOCK_SELLS))
    (tmp_path / "cases" / "small.yaml").write_text(small.CASES + written)
    return "small.yaml"


def test_coverage_and_mutants(small_files: str, update_golden: bool) -> None:
    """A table, what no case shows, and what no case notices, each with its place in the policy."""
    result = run(small_files, "--coverage", "--mutate")
    assert result.exit_code == ExitCode.OK
    text = "\n".join(["small", *result.stdout.splitlines()[1:]])  # the first line has the digest
    assert_golden(text, GOLDEN / "adequacy.txt", update_golden)


def test_coverage_and_mutants_as_json(small_files: str) -> None:
    """The document follows its schema, and its counts add up."""
    document = json.loads(run(small_files, "--coverage", "--mutate", "--json").stdout)
    Draft202012Validator(schemas.load("test-policy-v1")).validate(document)
    (policy,) = document["policies"]
    coverage, mutation = policy["coverage"], policy["mutation"]
    shares = {kind: share for kind, share in coverage.items() if kind != "not_seen"}
    assert shares["rules"] == {"seen": 4, "points": 6, "percent": pytest.approx(66.6667, abs=1e-3)}
    for kind, share in shares.items():
        missing = sum(point["kind"] == kind for point in coverage["not_seen"])
        assert share["points"] == share["seen"] + missing
    fates = ("killed", "survived", "equivalent", "stillborn")
    assert mutation["mutants"] == sum(mutation[fate] for fate in fates)
    assert mutation["survived"] == len(mutation["survivors"]) > 0
    told_apart = mutation["mutants"] - mutation["equivalent"]
    assert mutation["score"] == pytest.approx(100 * mutation["killed"] / told_apart)
    assert "coverage" not in json.loads(run(small_files, "--json").stdout)["policies"][0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--coverage", "--fail-under", "66.6"), ExitCode.OK),
        (("--coverage", "--fail-under", "66.7"), ExitCode.FINDING),
        (("--mutate", "--fail-under", "100"), ExitCode.FINDING),
        (("--fail-under", "50"), ExitCode.USAGE),
    ],
)
def test_fail_under(small_files: str, arguments: tuple[str, ...], code: ExitCode) -> None:
    """The least of what was asked for decides the exit code."""
    assert run(small_files, *arguments).exit_code == code


def test_mutants_are_not_run_against_failing_cases(cases: str) -> None:
    """First every case must say what the policy does."""
    result = run(STUDY, "--cases", cases, "--mutate")
    assert result.exit_code == ExitCode.FINDING
    assert "mutants     not run: mend the cases first" in result.stdout
    document = json.loads(run(STUDY, "--cases", cases, "--mutate", "--json").stdout)
    assert "mutation" not in document["policies"][0]


def test_the_shipped_cases_leave_nothing_out() -> None:
    """All rules, conditions and comparisons of the shipped policies."""
    result = run("--coverage", "--fail-under", "100")
    assert result.exit_code == ExitCode.OK
