"""CPU, wall time and memory of ``validate-policy``, as a whole process: `python -m tests.bench.bench_prover`.

The shipped policies, and generated ones of 100 and 300 rules. What is not settled within the budget of 20 s
is left open, which the last line of each says.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.large_policies import large_policy

SHIPPED = ("default", "conservative", "legacy-2025-11-18")
LARGE = (100, 300)


def measured(name: str, policy: str) -> str:
    """Validate one policy in a process of its own and return its figures."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", "from adapters.cli import main; main()", "validate-policy", policy]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = done.stdout.splitlines()[-1].partition("   ")[2]
    wall = time.perf_counter() - began
    memory = after.ru_maxrss // 1024  # of the largest so far
    return f"{name:<20} {cpu:6.2f} s CPU {wall:6.2f} s wall {memory:5} MB   {last}"


def main() -> None:
    """Measure all of them."""
    for name in SHIPPED:
        print(measured(name, name))
    with tempfile.TemporaryDirectory() as folder:
        for rules in LARGE:
            path = Path(folder) / f"{rules}.yaml"
            path.write_text(large_policy(rules), encoding="utf-8")
            print(measured(f"{rules} rules", str(path)))


if __name__ == "__main__":
    main()
