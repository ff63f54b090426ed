"""The language reference is true: its examples are loaded or decided, its tables are the engine's.

``pytest --update-golden`` rewrites the tables.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from engine.errors import Severity
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.finding_codes import FINDING_CODES
from engine.language.load import INTEGRITY_GATES, Loaded, load_policy
from engine.language.types import product_unit, quotient_unit
from engine.units import GRID_PER_UNIT, Measure, Unit, unit_name
from engine.verbs.cases import CaseRunner
from tests.policy_blocks import Example, cases, examples, sections, whole
from tests.proving import prover_findings

PAGE: Final = Path(__file__).parents[1] / "docs" / "language.md"
TEXT: Final = PAGE.read_text("utf-8")
KINDS: Final = ("policy", "error", "finding", "decide", "broken", "same", "other")
MEASURES: Final = tuple(measure for measure in Measure if measure not in (Measure.CLOCK, Measure.BOOLEAN))


EXAMPLES: Final = tuple(examples(TEXT))
SMALLEST: Final = EXAMPLES[0].parts[0]


def loaded(part: str) -> Loaded:
    """Load a part as a policy."""
    return load_policy(whole(part, SMALLEST), "language.md")


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    """Parametrize with the examples of some kinds."""
    chosen = [example for example in EXAMPLES if example.kind in kinds]
    return pytest.mark.parametrize("example", chosen, ids=lambda e: f"line-{e.line}-{e.code}".rstrip("-"))


def test_kinds_are_known_and_each_section_has_an_example() -> None:
    """No block is passed over because its kind is misspelt, and nothing is claimed without an example."""
    assert {example.kind for example in EXAMPLES} <= set(KINDS)
    assert {example.section for example in EXAMPLES} == set(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))


@of_kind("policy")
def test_policy(example: Example) -> None:
    """A policy, or a fragment of one, loads."""
    for part in example.parts:
        assert [p for p in loaded(part).problems if p.severity is Severity.ERROR] == []


@of_kind("error")
def test_error(example: Example) -> None:
    """A mistake is refused with the code that its first line says, and with no other."""
    assert example.parts[0].startswith(f"# refused: {example.code}\n")
    for part in example.parts:
        errors = {p.code for p in loaded(part).problems if p.severity is Severity.ERROR}
        assert errors == {example.code}, part


@of_kind("finding")
def test_finding(example: Example) -> None:
    """What is legal and dubious loads, with the finding that its first line says."""
    assert example.parts[0].startswith(f"# finding: {example.code}\n")
    for part in example.parts:
        result = loaded(part)
        assert result.policy is not None, result.problems
        prover = FINDING_CODES[example.code].prover
        problems = prover_findings(whole(part, SMALLEST), "language.md") if prover else result.problems
        assert example.code in {p.code for p in problems}, part


@pytest.mark.parametrize("evaluator", [ReferenceEvaluator, CompiledEvaluator])
@of_kind("decide")
def test_decide(example: Example, evaluator: type[ReferenceEvaluator] | type[CompiledEvaluator]) -> None:
    """The policy above the line decides what the cases below it expect, by either evaluator."""
    policy, text = example.parts
    file = cases(text, "smallest", "language.md")
    for result in CaseRunner(loaded(policy).required(), file, evaluator).run_all():
        differences = [(d.what, d.expected, d.got) for step in result.steps for d in step.differences]
        assert differences == [], result.case.name


@of_kind("broken")
def test_broken_promise(example: Example) -> None:
    """Each case below the line breaks the promise that the first line names, and is else as expected."""
    policy, text = example.parts
    assert policy.startswith(f"# broken: {example.code}\n")
    for result in CaseRunner(loaded(policy).required(), cases(text, "smallest", "language.md")).run_all():
        found = [d.what for step in result.steps for d in step.differences]
        assert found == [f"promise '{example.code}'"], result.case.name


@of_kind("same", "other")
def test_digest(example: Example) -> None:
    """Two spellings of one policy have the same digest; two policies do not."""
    digests = {loaded(part).required().digest for part in example.parts}
    assert len(digests) == (1 if example.kind == "same" else len(example.parts))


# --- tables -----------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def algebra(operator: str) -> str:
    """Return what each unit makes with each other; an empty cell is an error."""
    rule = product_unit if operator == "x" else quotient_unit

    def cell(a: Unit, b: Unit) -> str:
        unit = rule(a, b)
        return "" if unit is None else unit_name(unit)

    head = [f"a {operator} b", *map(unit_name, MEASURES)]
    return table(head, [[f"**{unit_name(a)}**", *(cell(a, b) for b in MEASURES)] for a in MEASURES])


TABLES: Final = {
    "product": algebra("x"),
    "quotient": algebra("/"),
    "grid": table(
        ["unit", "steps per unit"],
        [[unit_name(measure), f"{GRID_PER_UNIT[measure]:,}"] for measure in MEASURES],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str, update_golden: bool) -> None:
    """A table of the page is what the engine's own rules give."""
    marked = re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
    text = PAGE.read_text("utf-8")
    found = marked.search(text)
    assert found is not None
    if update_golden:
        PAGE.write_text(text[: found.start(2)] + TABLES[name] + text[found.end(2) :], encoding="utf-8")
        return
    assert found[2] == TABLES[name]


def test_no_line_of_prose_begins_as_something_else() -> None:
    """An operator at the beginning of a line would be a quotation or a list."""
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?:[>+*=]|\d+[.)] ).*", prose, re.MULTILINE) == []


def test_built_in_gates_are_all_explained() -> None:
    """Each built-in gate stands in the table of gates."""
    for name in {name for name, _, _ in INTEGRITY_GATES} | {"once"}:
        assert re.search(rf"^\| `{name}` \|", TEXT, re.MULTILINE), name


# --- the harness itself -----------------------------------------------------------------------


def test_harness_replaces_sections() -> None:
    """A fragment's entries stand in the place of those of the smallest policy."""
    part = "rules:\n  a: 1\n\n  # b\n  c: 2\nevery: 30s\n"
    assert sections(part) == {"rules": "rules:\n  a: 1\n\n  # b\n  c: 2\n", "every": "every: 30s\n"}
    assert "  a: 1" in whole(part, SMALLEST)
    assert "stop" not in whole(part, SMALLEST)


def test_harness_finds_blocks() -> None:
    """Kind, code, section and parts of a block; other blocks are left alone."""
    page = "## One\n\n```yaml error unit\na: 1\n---\nb: 2\n```\n\n```console\n$ x\n```\n"
    assert list(examples(page)) == [Example(3, "One", "error", "unit", ("a: 1\n", "b: 2\n"))]
