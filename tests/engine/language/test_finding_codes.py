"""The registry of findings: one place for code and severity, and nothing in it that is made nowhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Severity, Span
from engine.language.finding_codes import FINDING_CODES, finding

ENGINE = Path(__file__).resolve().parents[3] / "engine"
REGISTRY = ENGINE / "language" / "finding_codes.py"
# A facts file may state what its policy does not read: that is said of the file, not of a policy; and a
# migration says what it changed.
NOT_OF_POLICIES = {("vector.py", "not-read"), ("migrate.py",)}


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """Yield the calls of a function in the engine, each with its file."""
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
                yield path, node


def words(node: ast.Call) -> list[str]:
    """Return a call's code if it is written out."""
    first = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
    values = [value.value for value in first if isinstance(value, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def severity_is_error(node: ast.Call) -> bool:
    """Say whether a problem is made with the severity of an error: without one, or with that one."""
    given = [*node.args[4:], *(keyword.value for keyword in node.keywords if keyword.arg == "severity")]
    return all(ast.unparse(value) == "Severity.ERROR" for value in given)


def test_nothing_else_makes_a_finding() -> None:
    """Whoever makes a problem that is no error asks the registry for its severity."""
    others = {
        (path.name, *words(node))
        for path, node in calls("Problem")
        if path != REGISTRY and not severity_is_error(node)
    }
    assert others == NOT_OF_POLICIES


def test_codes_are_registered_where_they_are_made() -> None:
    """No finding has a code that the registry does not know."""
    made = {word for _, node in calls("finding") for word in words(node)}
    assert made <= set(FINDING_CODES)
    assert made


def test_registered_codes_are_made_somewhere() -> None:
    """Every code has a producer, or is the prover's."""
    made = {word for path, node in calls("finding") if path.parent.name == "language" for word in words(node)}
    assert made == {code for code, found in FINDING_CODES.items() if not found.prover}


def test_a_finding_is_as_severe_as_its_row() -> None:
    """The registry alone says what is a warning."""
    for code, found in FINDING_CODES.items():
        problem = finding(code, "message", Span(1, 2), "hint")
        assert (problem.code, problem.severity) == (code, found.severity)
        assert found.severity is not Severity.ERROR
    with pytest.raises(KeyError):
        finding("no-such-code", "message", Span(1, 2))


@pytest.mark.parametrize("code", FINDING_CODES)
def test_a_row_is_three_sentences(code: str) -> None:
    """Each says something of its own, in one line and without a full stop, as messages do."""
    found = FINDING_CODES[code]
    sentences = (found.meaning, found.why, found.instead)
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence == sentence.strip()
        assert not sentence.endswith(".")
        assert 10 < len(sentence) < 110
