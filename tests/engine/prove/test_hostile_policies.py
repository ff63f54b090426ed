"""Policies made to hang the prover: each run ends soon after its budget, says what it left open, stays small.

Whole processes are bounded by the system in memory and processor time, so that a slow machine is no failure.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.engine.prove.hostile import HOSTILE
from tests.evidence import Evidence

ROOT: Final = Path(__file__).parents[3]
BUDGET_SECONDS: Final = 1
OVERRUN_SECONDS: Final = 7
"""Loading takes up to three of these, imports one, and a question that has begun may go on for a moment."""
MEMORY_BYTES: Final = 1 << 30
MAY_BE_SETTLED: Final = frozenset({"products", "divisions", "nested", "constants"})
"""What is hard for a solver by its looks alone."""


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seconds = BUDGET_SECONDS + OVERRUN_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def validated(path: Path, home: Path) -> tuple[dict[str, Any], float]:
    """Run ``validate-policy`` on a file; return its document and the processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = ["validate-policy", str(path), "--budget", str(BUDGET_SECONDS), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from adapters.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRADECTL_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_bounded,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", HOSTILE)
def test_the_prover_ends_with_its_budget(name: str, tmp_path: Path, evidence: Evidence) -> None:
    """Within bounds of memory and time, without a traceback; what was not settled is said."""
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name](), encoding="utf-8")
    document, seconds = validated(path, tmp_path)
    (file,) = document["files"]
    assert file["policy"] is not None, file["problems"][:3]
    found = {problem["code"] for problem in file["problems"]}
    assert "budget" in found or name in MAY_BE_SETTLED, found
    evidence(f"{seconds:.1f} s of processor time for a budget of {BUDGET_SECONDS} s")
