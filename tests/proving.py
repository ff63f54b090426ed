"""The one place where tests of findings meet the prover."""

from __future__ import annotations

from engine.errors import Problem
from engine.language.load import load_policy
from engine.prove.proving import Proved, prove


def proved(text: str, name: str) -> Proved:
    """Return what the prover says of a policy that loads, with all the time it takes."""
    loaded = load_policy(text, name)
    return prove(loaded.required(), loaded.lowered)


def prover_findings(text: str, name: str) -> tuple[Problem, ...]:
    """Return what the prover finds in a policy, beside what the loader finds."""
    return proved(text, name).problems
