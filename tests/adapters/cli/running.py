"""Running an agent from the command line, in this process or in one of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import schemas
from adapters.cli.group import cli

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
QUICK = str(HERE / "quick.yaml")
AGENT = "sim-quick"


def tradectl(*arguments: str) -> Result:
    """Run a command in this process; an unexpected exception fails the test that asked."""
    return CliRunner().invoke(cli, list(arguments), prog_name="tradectl")


def run_quick(cycles: int, *arguments: str) -> Result:
    """Run the quick policy on the simulated market, and expect it to end well."""
    result = tradectl("run", "--policy", QUICK, "--cycles", str(cycles), *arguments)
    assert result.exit_code == 0, result.output
    return result


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own, its output to be read line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", "from adapters.cli import main; main()", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_interruptions,
    )


def heeds_interruptions() -> None:
    """Whatever runs the tests may ignore Ctrl-C, and what ignores it, its children ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def document(result: Result, schema: str) -> dict[str, Any]:
    """Return the JSON document that a command printed, checked against its schema."""
    read: dict[str, Any] = json.loads(result.stdout)
    Draft202012Validator(schemas.load(schema)).validate(read)
    return read


def steady(text: str, state_dir: Path) -> str:
    """Replace what differs from place to place and from edit to edit: folders, digests, sizes."""
    text = text.replace(str(state_dir), "STATE").replace(str(ROOT), "ROOT")
    text = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", text)
    text = re.sub(r"\([0-9a-f]{6}\)", "(digest)", text)
    return re.sub(r"\d+\.\d MB", "SIZE MB", text)
