"""The one place where tests of findings meet the prover."""

from __future__ import annotations

import pytest

from engine.errors import Problem


def prover_findings(text: str, name: str) -> tuple[Problem, ...]:
    """Return what the prover finds in a policy, beside what the loader finds."""
    pytest.skip("the prover is not wired yet")
