"""``tradectl fmt-policy``: what it writes, prints and ends with."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import policies
import schemas
from adapters.cli import rewriting
from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from engine.language.format import Formatted, format_policy
from engine.language.source import MAX_BYTES
from tests.engine.language.small import text as small
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden" / "fmt-policy"
TIDY = format_policy(small(), "tidy").text or ""
BROKEN = "apiVersion: tradectl/v1\npolicy: [\n"


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run ``tradectl fmt-policy``."""
    return CliRunner().invoke(cli, ["fmt-policy", *arguments], input=stdin, prog_name="tradectl")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a policy that is laid out, one that is not, and one that is none."""
    monkeypatch.chdir(tmp_path)
    for name, written in (("tidy", TIDY), ("untidy", small()), ("broken", BROKEN)):
        (tmp_path / f"{name}.yaml").write_bytes(written.encode())
    return tmp_path


def test_files_are_laid_out_in_place(folder: Path, update_golden: bool) -> None:
    """A line for each file; problems of what is left alone; all files, whatever the first one is."""
    found = run("absent.yaml", "broken.yaml", "untidy.yaml", "tidy.yaml", "default", ".")
    assert_golden(found.output, GOLDEN / "all.txt", update_golden)
    assert found.exit_code == ExitCode.NOT_FOUND
    assert (folder / "untidy.yaml").read_text() == TIDY == (folder / "tidy.yaml").read_text()
    assert (folder / "broken.yaml").read_text() == BROKEN
    assert sorted(path.name for path in folder.iterdir()) == ["broken.yaml", "tidy.yaml", "untidy.yaml"]
    assert run("untidy.yaml").stdout == "untidy.yaml: unchanged\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["tidy.yaml"], ExitCode.OK),
        (["untidy.yaml"], ExitCode.OK),
        (["tidy.yaml", "--check"], ExitCode.OK),
        (["untidy.yaml", "--check"], ExitCode.FINDING),
        (["untidy.yaml", "--diff"], ExitCode.OK),
        (["untidy.yaml", "--diff", "--check"], ExitCode.FINDING),
        (["untidy.yaml", "--json"], ExitCode.OK),
        (["broken.yaml"], ExitCode.FINDING),
        (["broken.yaml", "--diff"], ExitCode.FINDING),
        (["default"], ExitCode.CONFIGURATION),
        (["default", "--check"], ExitCode.OK),
        (["absent.yaml"], ExitCode.NOT_FOUND),
        (["."], ExitCode.UNAVAILABLE),
        (["bad\0name"], ExitCode.NOT_FOUND),
        ([], ExitCode.USAGE),
        (["-", "tidy.yaml"], ExitCode.USAGE),
        (["-", "-", "--check"], ExitCode.USAGE),
        (["--nonsense"], ExitCode.USAGE),
    ],
)
def test_exit_codes(folder: Path, arguments: list[str], code: ExitCode) -> None:
    """0 as it should be, 1 refused or (with --check) not laid out, else why nothing could be done."""
    assert run(*arguments, stdin=TIDY).exit_code == code


def test_shipped_policies_are_laid_out_and_never_written() -> None:
    """All of them without a name; each by its name, to be checked and compared only."""
    found = run("--check")
    assert found.exit_code == ExitCode.OK
    assert found.output == "".join(f"{name}.yaml: unchanged\n" for name in policies.shipped())
    assert "'default' is shipped and not written" in run("default").output
    assert "did you mean 'default'?" in run("defalt", "--check").output


def test_check_and_diff_write_nothing(folder: Path) -> None:
    """Neither the file nor its time is touched."""
    path = folder / "untidy.yaml"
    before = path.stat()
    assert run("untidy.yaml", "--check").output == "untidy.yaml: would be formatted\n"
    assert run("untidy.yaml", "--diff").exit_code == ExitCode.OK
    assert path.read_text() == small()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_diff_is_one_that_patch_takes(folder: Path, line_end: str, last: bool) -> None:
    """Applied to the file it gives what would have been written, without a last line end, too."""
    written = small().replace("\n", line_end)
    before = (written if last else written.removesuffix(line_end)).encode()
    (folder / "a.yaml").write_bytes(before)
    found = run("a.yaml", "tidy.yaml", "--diff")
    command = ["patch", "--binary", "-p0"]
    try:
        subprocess.run(command, cwd=folder, input=found.stdout_bytes, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("there is no patch here")
    assert (folder / "a.yaml").read_bytes() == TIDY.replace("\n", line_end).encode()


def test_standard_input_is_answered_on_standard_output(folder: Path) -> None:
    """For editors: the new text and nothing else, or nothing where there is a problem."""
    assert run("-", stdin=small()).stdout == TIDY
    assert run("-", stdin=TIDY).stdout == TIDY
    assert (
        run("-", stdin=small().replace("\n", "\r\n").encode()).stdout_bytes
        == TIDY.replace("\n", "\r\n").encode()
    )
    found = run("-", stdin=BROKEN)
    assert (found.exit_code, found.stdout) == (ExitCode.FINDING, "")
    assert "<stdin>:3:1: error" in found.stderr or "<stdin>:2:9: error[open-bracket]" in found.stderr
    assert run("-", "--check", stdin=small()).stdout == "<stdin>: would be formatted\n"
    assert "error[too-large]" in run("-", stdin=b"#" * (MAX_BYTES + 10)).stderr


def test_mode_and_link_stay(folder: Path) -> None:
    """A link is followed, and stays one; the file keeps its mode."""
    path, link = folder / "untidy.yaml", folder / "link.yaml"
    path.chmod(0o640)
    link.symlink_to(path)
    assert run("link.yaml").stdout == "link.yaml: formatted\n"
    assert link.is_symlink()
    assert path.read_text() == TIDY
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_somebody_else_writes_meanwhile_is_not_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changed since it was read is left as it is."""

    def slow(data: bytes, name: str) -> Formatted:
        (folder / name).write_text("# saved by an editor\n")
        return format_policy(data, name)

    (outcome,) = rewriting.Task(slow, check=False, diff=False).run(["untidy.yaml"])
    assert "changed meanwhile" in str(outcome.error)
    assert (folder / "untidy.yaml").read_text() == "# saved by an editor\n"


def test_a_folder_that_cannot_be_written_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays whole, and nothing is left beside it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.cli.writing.os.fsync", full)
    found = run("untidy.yaml")
    assert found.exit_code == ExitCode.UNAVAILABLE
    assert "No space left on device" in found.stderr
    assert (folder / "untidy.yaml").read_text() == small()
    assert len(list(folder.iterdir())) == 3


def test_json_is_as_its_schema_says(folder: Path) -> None:
    """What became of each file; the text of standard input, or a diff, where they are asked for."""
    validator = Draft202012Validator(schemas.load("fmt-policy-v1"))
    for arguments, outcomes in (
        (["untidy.yaml", "broken.yaml", "absent.yaml", "--check"], ["would-change", "refused", "unread"]),
        (["untidy.yaml", "tidy.yaml", "--diff"], ["would-change", "unchanged"]),
        (["-"], ["rewritten"]),
        (["untidy.yaml", "tidy.yaml"], ["rewritten", "unchanged"]),
    ):
        document = json.loads(run(*arguments, "--json", stdin=small()).stdout)
        validator.validate(document)
        files = document["files"]
        assert [file["outcome"] for file in files] == outcomes
        assert document["passed"] is ("--check" not in arguments)
        assert [file["text"] for file in files] == [
            TIDY if file["file"] == "<stdin>" else None for file in files
        ]
        assert all((file["diff"] is not None) == ("--diff" in arguments) for file in files)
        assert all(bool(file["problems"]) == (file["outcome"] == "refused") for file in files)
