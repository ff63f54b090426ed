"""Broken policies: each mistake is told once, in its place, in our words, with what to write instead.

The first line of each file in ``broken`` says how many mistakes, or findings, it has.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from adapters.calendar import calendar_problem
from engine.errors import Severity, render
from engine.verbs.check import Checked, check
from tests.golden import assert_golden

HERE = Path(__file__).parent / "broken"
LANGUAGE = Path(__file__).resolve().parents[2] / "engine" / "language"
BROKEN = sorted(path.stem for path in HERE.glob("*.yaml"))


def checked(name: str) -> Checked:
    """Check one of the broken policies."""
    return check((HERE / f"{name}.yaml").read_bytes(), f"{name}.yaml", calendar_problem)


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_told_once(name: str, update_golden: bool) -> None:
    """So many problems as the file has mistakes, rendered as a person should read them."""
    found = checked(name)
    count, kind = re.findall(r"\A# (\d+) (mistake|finding)s?: ", found.source.text)[0]
    assert_golden(
        "\n\n".join(render(problem, found.source) for problem in found.problems),
        HERE / f"{name}.txt",
        update_golden,
    )
    assert len(found.problems) == int(count)
    assert (found.policy is None) == (kind == "mistake")
    assert found.count(Severity.ERROR) == (int(count) if kind == "mistake" else 0)


@pytest.mark.parametrize("name", BROKEN)
def test_the_place_is_named(name: str) -> None:
    """Each problem stands somewhere in the file, and what is shown is printable."""
    found = checked(name)
    for problem in found.problems:
        assert 0 <= problem.span.start <= problem.span.end <= len(found.source.text)
        assert all(
            character.isprintable() or character == "\n" for character in render(problem, found.source)
        )


# Which argument of what a stage calls is the problem's code.
_CODE_ARGUMENT = {
    "report": 0, "refuse": 0, "_problem": 0, "problem": 0, "Problem": 0, "finding": 0,
    "_add": 1, "ExpressionError": 3, "TypeProblem": 3,
}  # fmt: skip


def codes() -> set[str]:
    """Return every code that a stage of the language can give a problem."""
    found: set[str] = {"syntax", "type"}  # the defaults
    for path in LANGUAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            position = _CODE_ARGUMENT.get(name)
            arguments = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if position is not None and len(node.args) > position:
                arguments.append(node.args[position])
            found |= {a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def test_every_code_occurs() -> None:
    """No stage has a message that was never seen: here, or in the goldens of source and structure."""
    folders = (
        HERE,
        HERE.parents[1] / "engine" / "language" / "golden",
        HERE.parent / "frozen" / "v0" / "refused",
    )
    goldens = [path for folder in folders for path in folder.glob("*.txt")]
    seen = {
        code for path in goldens for code in re.findall(r"\[([a-z-]+)\]: ", path.read_text(encoding="utf-8"))
    }
    # these need input that is too large or not text: tests of hostile policies and of source have them
    elsewhere = {"encoding", "too-deep", "too-many-nodes", "too-many-problems"}
    # and these are told by fmt-policy alone: its tests have them
    elsewhere |= {"complex-key", "not-laid-out"}
    assert codes() - seen - elsewhere == set()
    assert len(seen) > 60
