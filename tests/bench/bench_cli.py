"""CPU seconds of the commands a person waits for, as whole processes: `python tests/bench/bench_cli.py`.

Each command runs several times after a warm-up; the median of user + system time is printed beside what
it should stay under.  CPU time leaves out waiting, but a contended core still slows it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RUNS = 7
FACTS = """
symbol: DOGE-USD
facts:
  enhanced: {side: sell, confidence: 57%}
  held: true
  position_qty: 7000
  price: 0.16 USD
  ask: 0.1601 USD
  equity: 100000 USD
  rsi: 51.30
"""


def tradectl(*arguments: str) -> list[str]:
    """Return the command line of this checkout's tradectl."""
    return [sys.executable, "-c", "from adapters.cli import main; main()", *arguments]


def cpu_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command to its end and return its user and system time."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command[3:])} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TRADECTL_HOME": folder, "PYTHONPATH": str(Path(__file__).parents[2])}
        facts = Path(folder) / "facts.yaml"
        facts.write_text(FACTS, encoding="utf-8")
        cpu_seconds(tradectl("run", "--cycles", "5"), environment)
        measured = {
            ("--help",): 0.200,
            ("explain", "DOGE-USD", "--facts", str(facts)): 0.400,
            ("explain", "BTC-USD"): 0.700,
            ("validate-policy", "default"): 1.5,
            ("funnel",): None,
        }
        for arguments, limit in measured.items():
            times = [cpu_seconds(tradectl(*arguments), environment) for _ in range(RUNS + 1)][1:]
            median = statistics.median(times)
            target = "" if limit is None else f"   to stay under {limit * 1000:.0f} ms"
            shown = " ".join(a if not a.startswith("/") else "FILE" for a in arguments)
            spread = f"{min(times) * 1000:.0f}-{max(times) * 1000:.0f}"
            print(f"{shown:40} {median * 1000:6.0f} ms CPU ({spread}){target}")


if __name__ == "__main__":
    main()
