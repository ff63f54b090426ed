"""The command line as a whole: help, exit codes, what it says when something is wrong."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from adapters.cli import COMMANDS
from adapters.cli.group import cli
from adapters.cli.output import ExitCode, report
from engine.errors import (
    NOWHERE,
    ConfigurationError,
    DataError,
    JournalError,
    NotFoundError,
    PolicyError,
    Problem,
    Source,
    TradectlError,
    UnavailableError,
)

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "sqlalchemy",
    "jsonschema",
    "exchange_calendars",
    "rich",
    "durable_rules_engine",
)


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="tradectl")


def process(
    *arguments: str, code: str = "from adapters.cli import main; main()", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command() -> None:
    """The table names the commands; each has a page of help of its own."""
    whole = run("--help")
    assert whole.exit_code == 0
    for name, (module, line) in COMMANDS.items():
        assert name in whole.output
        assert line.split()[0] in whole.output
        command = importlib.import_module(f"adapters.cli.{module}").command
        assert isinstance(command, click.Command)
        page = run(name, "--help")
        assert page.exit_code == 0, page.output
        assert f"Usage: tradectl {name}" in page.output


def test_help_imports_no_command_and_nothing_heavy() -> None:
    """Help answers at once: it loads neither the engine's rooms nor any large library."""
    code = (
        "import sys\nfrom adapters.cli.group import cli\ncli(['--help'], standalone_mode=False)\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    done = process(code=code)
    loaded = done.stdout.partition("LOADED")[2].split()
    assert done.returncode == 0, done.stderr
    assert [module for module in loaded if module.partition(".")[0] in HEAVY] == []
    assert [module for module in loaded if module.startswith("engine.")] == ["engine.errors"]


def test_version() -> None:
    """Both spellings print one line."""
    for option in ("-V", "--version"):
        found = run(option)
        assert found.exit_code == 0
        assert found.output.startswith("tradectl ")


def test_shell_completion_is_there() -> None:
    """The line that help recommends prints a script."""
    assert "_TRADECTL_COMPLETE=bash_source tradectl" in run("--help").output
    done = process(_TRADECTL_COMPLETE="zsh_source")
    assert done.returncode == 0
    assert "compdef" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explian"], "No such command 'explian'. Did you mean 'explain'?"),
        (["--no-such-option"], "No such option"),
        (["explain"], "Missing argument 'SYMBOL'"),
        (["explain", "DOGE-USD", "--why-not", "dance", "--facts", "x"], "'dance' is not one of"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], said: str) -> None:
    """Usage errors say what is wrong and end with 2."""
    found = run(*arguments)
    assert found.exit_code == ExitCode.USAGE
    assert said in found.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError("x"), ExitCode.NOT_FOUND),
        (ConfigurationError("x"), ExitCode.CONFIGURATION),
        (DataError("x"), ExitCode.CONFIGURATION),
        (PolicyError(Source("p.yaml", "x"), (Problem("code", "message", NOWHERE),)), ExitCode.CONFIGURATION),
        (UnavailableError("x"), ExitCode.UNAVAILABLE),
        (JournalError("x"), ExitCode.UNAVAILABLE),
    ],
)
def test_each_error_has_its_exit_code(
    error: TradectlError, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    """One place maps the classes of errors; what they say goes to standard error."""
    assert report(error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip()


def test_every_class_of_error_is_mapped() -> None:
    """No error of ours falls through to "internal error"."""
    tree = ast.parse((ROOT / "engine" / "errors.py").read_text())
    names = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(b, ast.Name) and b.id == "TradectlError" for b in node.bases)
    }
    from adapters.cli import output

    assert names == {kind.__name__ for kind, _ in output._CODES}


def test_a_mistake_of_ours_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, own_environment: Path, tmp_path: Path
) -> None:
    """The traceback goes into the state folder, also a given one; the exit code is 70."""

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("adapters.cli.facts.catalogue", broken)
    found = run("facts")
    assert found.exit_code == ExitCode.INTERNAL
    assert found.output.count("\n") == 1
    assert "internal error (RuntimeError)" in found.output
    assert "please report" in found.output
    (kept,) = (own_environment / "crashes").iterdir()
    assert "RuntimeError: a mistake" in kept.read_text()
    assert run("facts", "--state-dir", str(tmp_path / "other")).exit_code == ExitCode.INTERNAL
    assert len(list((tmp_path / "other" / "crashes").iterdir())) == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """``tradectl facts | head`` ends quietly."""
    code = (
        "import os, sys\nread, write = os.pipe()\nos.close(read)\nos.dup2(write, 1)\n"
        "from adapters.cli import main\nmain()"
    )
    done = process("facts", code=code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130, without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapters.cli.facts.catalogue", interrupted)
    found = run("facts")
    assert found.exit_code == ExitCode.INTERRUPTED
    assert "interrupted" in found.output
