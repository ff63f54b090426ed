"""``tradectl validate-policy``: what it prints, its exit codes, its JSON, its hook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import policies
import schemas
from adapters.calendar import COMMON, ExchangeCalendars, calendar_problem
from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from engine.language.finding_codes import FINDING_CODES
from engine.language.source import MAX_BYTES
from tests.engine.language.small import text
from tests.golden import assert_golden

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).parent / "golden" / "validate-policy"
BROKEN = text("rsi < 30% and price > 100")
WARNED = text().replace("SPY: 20%", "SPY: 99%")


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run ``tradectl validate-policy``."""
    return CliRunner().invoke(cli, ["validate-policy", *arguments], input=stdin, prog_name="tradectl")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a good, a broken and a doubtful policy; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    for name, written in (("good", text()), ("broken", BROKEN), ("doubtful", WARNED)):
        (tmp_path / f"{name}.yaml").write_text(written)
    return tmp_path


def test_a_line_for_each_policy_and_a_block_for_each_problem(folder: Path, update_golden: bool) -> None:
    """Problems with their lines and carets, then what the policy is and needs."""
    found = run("good.yaml", "broken.yaml", "doubtful.yaml", "default", "absent", "--no-proof")
    assert_golden(found.output, GOLDEN / "all.txt", update_golden)
    assert found.exit_code == ExitCode.NOT_FOUND


def test_all_shipped_policies_by_default() -> None:
    """Without a name each shipped policy is checked; none has an error."""
    found = run("--no-proof")
    assert found.exit_code == ExitCode.OK
    for name in policies.shipped():
        assert f"{name}.yaml: " in found.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["good.yaml"], ExitCode.OK),
        (["good.yaml", "--strict", "--no-proof"], ExitCode.OK),
        (["good.yaml", "--strict"], ExitCode.FINDING),
        (["doubtful.yaml"], ExitCode.OK),
        (["doubtful.yaml", "--strict"], ExitCode.FINDING),
        (["broken.yaml"], ExitCode.FINDING),
        (["broken.yaml", "good.yaml"], ExitCode.FINDING),
        (["good.yaml", "absent.yaml"], ExitCode.NOT_FOUND),
        (["absent.yaml", "broken.yaml"], ExitCode.NOT_FOUND),
        (["."], ExitCode.UNAVAILABLE),
        (["--nonsense"], ExitCode.USAGE),
    ],
)
def test_exit_codes(folder: Path, arguments: list[str], code: ExitCode) -> None:
    """0 ok, 1 a problem (with --strict a warning is one), 2 usage, 3 not found, 5 not readable."""
    assert run(*arguments).exit_code == code


def test_all_files_are_checked_whatever_the_first_is(folder: Path) -> None:
    """A missing file and a broken one do not keep the others from being told."""
    found = run("absent.yaml", "broken.yaml", "good.yaml").output
    assert "there is no policy file 'absent.yaml'" in found
    assert "broken.yaml: 2 errors" in found
    assert "good.yaml: small 1.0.0" in found


def test_a_misspelt_name_is_guessed() -> None:
    """The name of a shipped policy, nearly."""
    assert "did you mean 'default'?" in run("defalt").output


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [
        (text(), ExitCode.OK, "<stdin>: small 1.0.0"),
        (BROKEN, ExitCode.FINDING, "<stdin>:"),
        ("", ExitCode.FINDING, "error[empty]"),
        (b"\xff\xfe", ExitCode.FINDING, "error[encoding]"),
        (b"#" * (MAX_BYTES + 10), ExitCode.FINDING, "error[too-large]"),
    ],
)
def test_standard_input(stdin: str | bytes, code: ExitCode, said: str) -> None:
    """A policy may come through a pipe; no more of it is read than is ever looked at."""
    found = run("-", stdin=stdin)
    assert found.exit_code == code
    assert said in found.output


def test_json_is_as_its_schema_says(folder: Path) -> None:
    """Each file, its policy and problems, with places from 1."""
    found = run("good.yaml", "broken.yaml", "doubtful.yaml", "absent.yaml", "--json")
    document = json.loads(found.output)
    Draft202012Validator(schemas.load("validate-policy-v1")).validate(document)
    assert document["passed"] is False
    good, broken, doubtful, absent = document["files"]
    assert good["policy"]["name"] == "small"
    assert {need["symbol"]: need["intervals_seconds"] for need in good["policy"]["bars"]} == {
        "SPY": [900, 3600, 86400], "QQQ": [900, 3600], "BTC-USD": [900, 3600], "ETH-USD": [900, 3600],
    }  # fmt: skip
    assert [problem["code"] for problem in broken["problems"]] == ["unit", "unit"]
    line = BROKEN.split("\n").index("    when: rsi < 30% and price > 100") + 1
    assert {(p["line"], p["column"], p["end_line"]) for p in broken["problems"]} == {
        (line, 11, line),
        (line, 25, line),
    }
    assert broken["policy"] is None
    assert doubtful["problems"][0]["severity"] == "warning"
    assert absent["unread"]


@pytest.mark.parametrize("code", ["unused", "gap"])
def test_a_code_is_explained(code: str, update_golden: bool) -> None:
    """What it means, why it matters, what to write instead, and where its page is."""
    found = run("--explain", code)
    assert found.exit_code == ExitCode.OK
    assert_golden(found.output, GOLDEN / f"explain-{code}.txt", update_golden)


def test_every_code_is_explained_as_its_schema_says() -> None:
    """``--explain CODE --json`` is the row of the registry."""
    validator = Draft202012Validator(schemas.load("finding-code-v1"))
    for code, known in FINDING_CODES.items():
        document = json.loads(run("--explain", code, "--json").output)
        validator.validate(document)
        assert (document["code"], document["severity"]) == (code, known.severity)


def test_an_unknown_code_is_not_explained() -> None:
    """A misspelt code is guessed; of another, the codes there are are told; a file beside it is a mistake."""
    near = run("--explain", "unusd")
    assert (near.exit_code, "did you mean 'unused'?" in near.output) == (ExitCode.NOT_FOUND, True)
    far = run("--explain", "zzz")
    assert far.exit_code == ExitCode.NOT_FOUND
    assert all(code in far.output for code in FINDING_CODES)
    both = run("--explain", "unused", "default")
    assert (both.exit_code, "--explain takes no FILE" in both.output) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("strict", [True, False])
def test_json_says_whether_it_passed(folder: Path, strict: bool) -> None:
    """A warning is a failure under --strict only."""
    arguments = ["doubtful.yaml", "--json", *(["--strict"] if strict else [])]
    assert json.loads(run(*arguments).output)["passed"] is not strict


def test_an_unknown_calendar_is_told_in_its_place(folder: Path) -> None:
    """The library is asked about calendars that are not common."""
    (folder / "other.yaml").write_text(text().replace("calendar: NYSE", "calendar: NYES"))
    found = run("other.yaml")
    assert found.exit_code == ExitCode.FINDING
    assert "error[unknown-calendar]: there is no trading calendar called 'NYES'" in found.output


def test_the_common_calendars_exist() -> None:
    """What is not asked for is there."""
    calendars = ExchangeCalendars()
    for name in COMMON:
        assert calendar_problem(name) is None
        assert calendars.facts(name, 1_763_467_200_000).until_close_seconds > 0
    assert calendar_problem("XLON") is None
    assert "did you mean" in (calendar_problem("XLOM") or "")


def test_the_hook_of_other_repositories_runs_this_command(folder: Path) -> None:
    """The hook's entry is a command line that takes the changed files, and fails where one is broken."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    assert (program, hook["language"]) == ("tradectl", "python")
    for path, wanted in (
        ("policies/mine.yaml", True),
        ("desk/policies/mine.yml", True),
        ("policies/cases/mine.yaml", False),  # cases are no policies
        ("other/mine.yaml", False),
        ("policies/mine.txt", False),
    ):
        assert bool(re.search(hook["files"], path)) == wanted
    for name, code in (("good.yaml", ExitCode.OK), ("broken.yaml", ExitCode.FINDING)):
        found = CliRunner().invoke(cli, [*arguments, name], prog_name="tradectl")
        assert found.exit_code == code


def loaded_by(*arguments: str) -> set[str]:
    """Run a command in an interpreter of its own; return the modules that it loaded."""
    code = (
        "import sys\nfrom adapters.cli.group import cli\n"
        f"cli({list(arguments)!r}, standalone_mode=False)\nprint('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


HEAVY = {"pandas", "numpy", "exchange_calendars", "sqlalchemy", "rich", "pyarrow"}
BROKEN_FILE = "tests/policies/broken/unit-arguments.yaml"


@pytest.mark.parametrize(
    "arguments",
    [["--no-proof", "default"], ["--explain", "gap"], [BROKEN_FILE]],
    ids=["no-proof", "explain", "broken"],
)
def test_no_prover_is_loaded_where_nothing_is_proved(arguments: list[str]) -> None:
    """A check takes no second: neither the solver nor pandas nor calendars nor stores are imported."""
    assert loaded_by("validate-policy", *arguments).isdisjoint({"z3", *HEAVY})


def test_nothing_else_heavy_is_loaded_to_prove() -> None:
    """The solver alone."""
    loaded = loaded_by("validate-policy", "docs/how-to/dip.yaml")
    assert "z3" in loaded
    assert loaded.isdisjoint(HEAVY)


# --- the prover -------------------------------------------------------------------------------

SEEDED = ROOT / "tests" / "policies" / "seeded"


def test_findings_are_told_with_where_and_an_example(
    update_golden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning is told whole; information is counted; promises, and a line for the policy, stand last."""
    monkeypatch.chdir(SEEDED)
    found = run("gate-vetoes-exit.yaml", "promise-refuted.yaml", "promise-refuted.repaired.yaml")
    assert found.exit_code == ExitCode.OK
    assert_golden(found.output, GOLDEN / "proved.txt", update_golden)


def test_all_information_is_told_if_it_is_wanted(
    update_golden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--all leaves nothing out, and says what of a decision the promises' proofs speak of."""
    monkeypatch.chdir(SEEDED)
    found = run("gap.repaired.yaml", "--all")
    assert_golden(found.output, GOLDEN / "proved-all.txt", update_golden)
    promised = run("promise-refuted.repaired.yaml", "--all")
    assert "more piece" not in found.output + promised.output
    assert "information[gap]" in promised.output
    assert "proved for every snapshot; modelled: the decision" in promised.output


def test_what_the_prover_warns_of_is_a_failure_where_wanted() -> None:
    """--strict counts its warnings; --no-proof does not look for them."""
    trap = str(SEEDED / "trap.yaml")
    assert run(trap).exit_code == ExitCode.OK
    assert run(trap, "--strict").exit_code == ExitCode.FINDING
    assert run(trap, "--strict", "--no-proof").exit_code == ExitCode.OK
    assert "not proved" in run(trap, "--no-proof").output
    assert run(str(SEEDED / "trap.repaired.yaml"), "--strict").exit_code == ExitCode.OK


def test_time_that_is_up_is_told() -> None:
    """What was not settled is left open, never passed over: a promise is undecided, the rest one finding."""
    found = run(str(SEEDED / "promise-refuted.repaired.yaml"), "--budget", "0.000001")
    assert "information[budget]: not everything could be settled in the time" in found.output
    assert "warning[promise-undecided]" in found.output
    assert "0 of 1 promise proved" in found.output
    assert "left open" in found.output.splitlines()[-1]


@pytest.mark.parametrize("budget", ["0", "-1", "soon"])
def test_a_budget_is_a_time(budget: str) -> None:
    """No time at all is spelt --no-proof."""
    assert run("default", "--budget", budget).exit_code == ExitCode.USAGE


def test_json_says_what_the_prover_found() -> None:
    """Region, example and verdicts as their schema says; what the loader found has none of them."""
    names = ["promise-refuted.yaml", "promise-refuted.repaired.yaml", "unused.yaml"]
    found = run(*(str(SEEDED / name) for name in names), "--json")
    document = json.loads(found.output)
    Draft202012Validator(schemas.load("validate-policy-v1")).validate(document)
    refuted, repaired, unused = document["files"]
    (problem,) = (one for one in refuted["problems"] if one["code"] == "promise-refuted")
    assert problem["symbols"] == ["BTC-USD", "ETH-USD"]
    assert set(problem["region"]["conditions"]) == {"close < trend", "not held", "rsi < 30"}
    assert problem["region"]["text"] == " and ".join(problem["region"]["conditions"])
    assert (problem["example"]["action"], problem["example"]["rule"]) == ("buy", "dip")
    assert problem["example"]["facts"]["rsi"] == "29.99"
    assert [one["verdict"] for one in refuted["proof"]["promises"]] == ["refuted"]
    (promise,) = repaired["proof"]["promises"]
    assert (promise["verdict"], promise["how"]) == ("proved", "for every snapshot")
    assert repaired["proof"]["questions"] > 0
    assert repaired["proof"]["left_open"] == []
    (loaded,) = (one for one in unused["problems"] if one["code"] == "unused")
    assert "example" not in loaded
    unproved = json.loads(run(str(SEEDED / "unused.yaml"), "--no-proof", "--json").output)
    assert unproved["files"][0]["proof"] is None


def test_a_policy_through_a_pipe_is_proved() -> None:
    """The name of standard input is no name of a policy."""
    found = run("-", stdin=(SEEDED / "trap.yaml").read_text("utf-8"))
    assert "warning[trap]" in found.output
    assert "--policy POLICY" in found.output


# --- examples as cases ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gap", "trap", "lost-signal", "exit-overruled", "lost-exit"])
def test_saved_cases_pass(name: str, tmp_path: Path) -> None:
    """One case for each example: what is expected is what is decided, for test-policy, too."""
    policy, cases = str(SEEDED / f"{name}.yaml"), str(tmp_path / "cases.yaml")
    saved = run(policy, "--save-cases", cases, "--json")
    assert saved.exit_code == ExitCode.OK
    assert f"test-policy {policy} --cases {cases} runs them" in saved.stderr
    problems = json.loads(saved.stdout)["files"][0]["problems"]
    examples = [one["example"] for one in problems if one.get("example")]
    tested = CliRunner().invoke(cli, ["test-policy", policy, "--cases", cases], prog_name="tradectl")
    assert tested.exit_code == ExitCode.OK, tested.output
    assert f"{len(examples)} case" in tested.output.splitlines()[-1]
    written = yaml.safe_load(Path(cases).read_text())["cases"]
    assert any(case.startswith(name) for case in written)
    assert [case["expect"]["action"] for case in written.values()] == [one["action"] for one in examples]


def test_a_case_fails_once_the_policy_is_mended(tmp_path: Path) -> None:
    """The case kept of a lost signal notices that the repaired policy sells."""
    cases = str(tmp_path / "cases.yaml")
    run(str(SEEDED / "lost-signal.yaml"), "--save-cases", cases)
    repaired = str(SEEDED / "lost-signal.repaired.yaml")
    tested = CliRunner().invoke(cli, ["test-policy", repaired, "--cases", cases], prog_name="tradectl")
    assert tested.exit_code == ExitCode.FINDING
    assert "action: expected hold, got sell" in tested.output


def test_an_example_that_breaks_a_promise_is_no_case(tmp_path: Path) -> None:
    """test-policy holds promises to every case: what breaks one is left out, and that is said."""
    cases = tmp_path / "cases.yaml"
    found = run(str(SEEDED / "promise-refuted.yaml"), "--save-cases", str(cases))
    assert "(1 left out: a case that breaks a promise fails)" in found.output
    assert not any(name.startswith("promise") for name in yaml.safe_load(cases.read_text())["cases"])


def test_no_file_is_written_over_unasked(tmp_path: Path) -> None:
    """What is there stays, unless --force says otherwise; nothing else is left in the folder."""
    cases = tmp_path / "cases.yaml"
    cases.write_text("mine\n")
    policy = str(SEEDED / "trap.yaml")
    refused = run(policy, "--save-cases", str(cases))
    assert (refused.exit_code, cases.read_text()) == (ExitCode.CONFIGURATION, "mine\n")
    assert "--force" in refused.output
    assert run(policy, "--save-cases", str(cases), "--force").exit_code == ExitCode.OK
    assert "apiVersion: tradectl/cases-v1" in cases.read_text()
    assert list(tmp_path.iterdir()) == [cases]


def test_no_cases_of_what_is_no_policy(folder: Path) -> None:
    """A file with mistakes has no examples; several files would need several files of cases."""
    assert "not written" in run("broken.yaml", "--save-cases", "cases.yaml").output
    assert not Path("cases.yaml").exists()
    assert run("good.yaml", "doubtful.yaml", "--save-cases", "cases.yaml").exit_code == ExitCode.USAGE
    assert run("good.yaml", "--save-cases", "cases.yaml", "--no-proof").exit_code == ExitCode.USAGE
    document = run(str(SEEDED / "trap.yaml"), "--save-cases", "cases.yaml", "--json")
    assert json.loads(document.stdout)["passed"] is True
    assert "runs them" in document.stderr
