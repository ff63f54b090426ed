"""``tradectl migrate-policy``: what it writes, prints and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import schemas
from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from engine.language.load import load_policy
from engine.language.migrate import migrate_policy
from tests.engine.language.small import text as small
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden" / "migrate-policy"
FROZEN = Path(__file__).resolve().parents[2] / "policies" / "frozen" / "v0"
OLD = (FROZEN / "dip.yaml").read_text("utf-8")
NEW = (FROZEN / "migrated" / "dip.yaml").read_text("utf-8")
UNCLEAR = (FROZEN / "refused" / "twice.yaml").read_text("utf-8")


def run(*arguments: str, stdin: str | None = None, command: str = "migrate-policy") -> Result:
    """Run ``tradectl migrate-policy``, or another command."""
    return CliRunner().invoke(cli, [command, *arguments], input=stdin, prog_name="tradectl")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an old policy, a new one and one that cannot be migrated."""
    monkeypatch.chdir(tmp_path)
    for name, written in (("old", OLD), ("new", small()), ("unclear", UNCLEAR)):
        (tmp_path / f"{name}.yaml").write_text(written)
    return tmp_path


def test_files_are_migrated_in_place(folder: Path, update_golden: bool) -> None:
    """Each change with its line and reason; what is refused is left as it is, and nobody else's matter."""
    found = run("absent.yaml", "unclear.yaml", "old.yaml", "new.yaml")
    assert_golden(found.output, GOLDEN / "all.txt", update_golden)
    assert found.exit_code == ExitCode.NOT_FOUND
    assert (folder / "old.yaml").read_text() == NEW
    assert (folder / "unclear.yaml").read_text() == UNCLEAR
    assert (folder / "new.yaml").read_text() == small()
    assert run("old.yaml").stdout == "old.yaml: unchanged\n"
    assert load_policy((folder / "old.yaml").read_text(), "old.yaml").policy is not None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["old.yaml"], ExitCode.OK),
        (["new.yaml", "--check"], ExitCode.OK),
        (["old.yaml", "--check"], ExitCode.FINDING),
        (["old.yaml", "--diff"], ExitCode.OK),
        (["unclear.yaml"], ExitCode.FINDING),
        (["default"], ExitCode.NOT_FOUND),  # what is shipped is never old
        (["."], ExitCode.UNAVAILABLE),
        ([], ExitCode.USAGE),
    ],
)
def test_exit_codes(folder: Path, arguments: list[str], code: ExitCode) -> None:
    """As of fmt-policy."""
    assert run(*arguments).exit_code == code


def test_check_and_diff_write_nothing(folder: Path) -> None:
    """What would be written is told."""
    assert run("old.yaml", "--check").output.startswith("old.yaml: would be migrated\n")
    assert "\n-apiVersion: 'tradectl/v0'\n+apiVersion: 'tradectl/v1'\n" in run("old.yaml", "--diff").output
    assert (folder / "old.yaml").read_text() == OLD


def test_standard_input_is_answered_on_standard_output() -> None:
    """The new text alone."""
    assert run("-", stdin=OLD).stdout == NEW
    found = run("-", stdin=UNCLEAR)
    assert (found.stdout, found.exit_code) == ("", ExitCode.FINDING)


@pytest.mark.parametrize("command", ["validate-policy", "fmt-policy", "test-policy"])
def test_other_commands_say_how_to_migrate(folder: Path, command: str) -> None:
    """One mistake, and what to run."""
    found = run("old.yaml", command=command)
    assert found.exit_code != ExitCode.OK
    assert found.output.count("error[") == 1
    assert "run  tradectl migrate-policy old.yaml" in found.output


def test_json_is_as_its_schema_says(folder: Path) -> None:
    """Each file with the versions it is from and of, and its changes."""
    validator = Draft202012Validator(schemas.load("migrate-policy-v1"))
    document = json.loads(run("absent.yaml", "unclear.yaml", "old.yaml", "new.yaml", "--json").stdout)
    validator.validate(document)
    absent, unclear, old, new = document["files"]
    assert document["passed"] is False
    assert [file["outcome"] for file in document["files"]] == ["unread", "refused", "rewritten", "unchanged"]
    assert [(file["from"], file["to"]) for file in (absent, old, new)] == [
        (None, None),
        ("tradectl/v0", "tradectl/v1"),
        ("tradectl/v1", "tradectl/v1"),
    ]
    assert len(old["changes"]) == len(migrate_policy(OLD, "old.yaml").changes) > 0
    assert old["changes"][0] == {
        "line": 2,
        "column": 13,
        "sentence": "the policy is written in tradectl/v1 now",
    }
    assert [problem["line"] for problem in unclear["problems"]] == [10]
    assert unclear["changes"] == new["changes"] == []
