"""Tries a policy on durable-rules in a child process, where a hang or a crash harms nobody.

The child compiles the policy, decides over a few hundred vectors of facts on and around the policy's own
constants, compares every verdict with the reference evaluator's, and frees everything again.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from pathlib import Path

from engine.errors import ConfigurationError
from engine.evaluate.durable import DurableEvaluator, EngineFault, durable_available
from engine.evaluate.reference import ReferenceEvaluator
from engine.lowered import ConstantTerm, FactTerm, LoweredPolicy

DEADLINE_SECONDS = 30.0
VECTORS = 300
_UNKNOWN_SHARES = (0.0, 0.05, 0.3)


def probe_policy(policy: LoweredPolicy, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Return if durable-rules can be trusted with a policy.

    Raises ConfigurationError where it cannot be imported, EngineFault where the child failed,
    disagreed with the reference evaluator, crashed, or was not ready within the deadline.
    """
    if not durable_available():
        raise ConfigurationError("durable-rules cannot be imported here: a policy cannot be tried on it.")
    # The child finds what this process finds, also where the packages are not installed.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        child = subprocess.run(
            [sys.executable, "-m", "adapters.rules_probe"],
            input=pickle.dumps(policy),
            capture_output=True,
            timeout=deadline_seconds,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineFault(
            f"durable-rules was not ready with policy {policy.name} within {deadline_seconds:g} s"
        ) from error
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise EngineFault(f"durable-rules crashed with policy {policy.name} ({name})")
    if child.returncode:
        reason = (child.stdout or child.stderr).decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineFault(f"durable-rules cannot be trusted with policy {policy.name}: {reason}")


def try_policy(policy: LoweredPolicy) -> None:
    """Compile, decide, compare and free in this process; raise EngineFault at the first difference."""
    reference = ReferenceEvaluator(policy)
    with DurableEvaluator(policy) as durable:
        for values in _vectors(policy):
            expected = reference.verdict(list(values))
            if durable.verdict(list(values)) != expected:
                raise EngineFault(f"it decides otherwise than the reference evaluator on {values}")


def _vectors(policy: LoweredPolicy) -> list[list[float]]:
    draw = random.Random(0)
    near: list[list[float]] = [[0.0, 1.0] for _ in policy.slots]
    for atom in policy.atoms:
        for fact, other in ((atom.left, atom.right), (atom.right, atom.left)):
            if isinstance(fact, FactTerm) and isinstance(other, ConstantTerm):
                step = 1.0 / (atom.steps_per_unit or 1)
                near[fact.slot] += other.value - step, other.value, other.value + step
    made = [[float("nan")] * len(policy.slots)]
    for _ in range(VECTORS):
        unknown = draw.choice(_UNKNOWN_SHARES)
        made.append([float("nan") if draw.random() < unknown else draw.choice(usual) for usual in near])
    return made


def main() -> int:
    """Run as the child: read a policy that the parent pickled, print why it failed, if it did."""
    policy: LoweredPolicy = pickle.load(sys.stdin.buffer)
    try:
        try_policy(policy)
    except (EngineFault, ConfigurationError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
