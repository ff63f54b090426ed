"""Golden files: what was printed once, read by a person, and must not change by accident.

``pytest --update-golden`` rewrites them; the difference is then read like any other change.
"""

from __future__ import annotations

from pathlib import Path


def assert_golden(actual: str, path: Path, update: bool) -> None:
    """Compare a text with a golden file (blanks at line ends apart), or rewrite the file."""
    text = "".join(line.rstrip() + "\n" for line in actual.strip("\n").split("\n"))
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} does not exist: run pytest --update-golden, then read it"
    assert text == path.read_text(encoding="utf-8")
