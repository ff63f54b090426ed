"""Ctrl-C ends a proof, whatever the solver is about, and all processes that are at it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.cli.output import ExitCode
from tests.adapters.cli.running import ROOT, heeds_interruptions
from tests.bench.large_policies import large_policy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


def test_a_proof_can_be_interrupted(tmp_path: Path) -> None:
    """From a terminal, on which what is being proved is shown first; its line is wiped."""
    path = tmp_path / "large.yaml"
    path.write_text(large_policy(300), encoding="utf-8")
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from adapters.cli import main; main()", "validate-policy", str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=end,
        start_new_session=True,
        preexec_fn=heeds_interruptions,
    )
    os.close(end)
    shown = b""
    while b"proving" not in shown:
        shown += os.read(terminal, 1024)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert printed == b""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with suppress(OSError):  # of Linux, once all is read and the other end is closed
        while more := os.read(terminal, 1024):
            shown += more
    os.close(terminal)
    assert shown.endswith(b"\r\x1b[2K\r\ninterrupted\r\n"), shown
