"""The files of "Prove your policy in ten minutes" are what its commands make of one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner

from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from tests.proving import proved

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "how-to" / "prove"
IDEA: Final = FOLDER / "1-idea.yaml"
CODE: Final = "gate-vetoes-exit"


def read(path: Path) -> Any:  # noqa: ANN401 - YAML
    """Return what a YAML file says."""
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_facts_are_those_of_the_example() -> None:
    """waiting.yaml is the example of the finding, word for word."""
    found = proved(IDEA.read_text("utf-8"), IDEA.name).findings
    (example,) = (one.example for one in found if one.problem.code == CODE)
    assert example is not None
    assert (FOLDER / "waiting.yaml").read_text("utf-8") == example.text


def test_the_cases_are_those_saved_but_for_what_should_be(tmp_path: Path) -> None:
    """cases.yaml is what --save-cases writes, with the one expectation that the page changes."""
    saved = tmp_path / "saved.yaml"
    done = CliRunner().invoke(cli, ["validate-policy", str(IDEA), "--save-cases", str(saved)])
    assert done.exit_code == ExitCode.OK, done.output
    written, kept = read(saved), read(FOLDER / "cases.yaml")
    changed = kept["cases"][f"{CODE}-cooldown"]
    assert changed["expect"] == {"action": "sell", "rule": "recovered"}
    changed["expect"] = written["cases"][f"{CODE}-cooldown"]["expect"]
    assert kept == written


@pytest.mark.parametrize(("step", "changed"), [("2-mended", "gates"), ("3-promised", "promises")])
def test_a_step_changes_what_it_says(step: str, changed: str) -> None:
    """Each policy of the page is the one before it, but for the version and one section."""
    steps = sorted(path.stem for path in FOLDER.glob("[0-9]*.yaml"))
    before = read(FOLDER / f"{steps[steps.index(step) - 1]}.yaml")
    after = read(FOLDER / f"{step}.yaml")
    differing = {key for key in before | after if before.get(key) != after.get(key)}
    assert differing == {"version", changed}
