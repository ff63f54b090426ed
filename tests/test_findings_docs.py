"""The pages of findings are true: the first policy of each has the finding, the second has it no more.

``pytest --update-golden`` rewrites what is made here: the table, the line that a page begins with, and the
policies with seeded faults, which are the blocks of the prover's pages as files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import Final

import pytest

from adapters.calendar import calendar_problem
from engine.errors import Problem, Severity
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.finding_codes import FINDING_CODES, FindingCode
from engine.language.load import load_policy
from engine.verbs.cases import CaseRunner
from engine.verbs.check import check
from tests.golden import assert_golden
from tests.policy_blocks import Example, cases, examples, whole
from tests.proving import prover_findings

DOCS: Final = Path(__file__).parents[1] / "docs"
FOLDER: Final = DOCS / "findings"
SEEDED: Final = Path(__file__).parent / "policies" / "seeded"
SMALLEST: Final = next(examples((DOCS / "language.md").read_text("utf-8"))).parts[0]
KINDS: Final = ("bad", "shown", "better", "mended", "refused")
WITHOUT_BAD: Final = {
    "unknown-enables": "no policy may have it",
    "promise-undecided": "what is hard to decide is the solver's, and changes with it",
    "budget": "depends on the time that is given",
}


class Page:
    """A page, its blocks by kind, and the whole policies in them."""

    def __init__(self, code: str) -> None:
        """Read the page of a code."""
        self.code = code
        self.text = (FOLDER / f"{code}.md").read_text("utf-8")
        self.blocks: dict[str, list[Example]] = {}
        for block in examples(self.text):
            self.blocks.setdefault(block.kind, []).append(block)

    @property
    def bad(self) -> str:
        """The policy that has the finding; where there can be none, the smallest policy."""
        return whole(self.blocks["bad"][0].parts[0], SMALLEST) if "bad" in self.blocks else SMALLEST

    @property
    def better(self) -> str:
        """The policy that does not have it."""
        return whole(self.blocks["better"][0].parts[0], self.bad)

    @property
    def allowed(self) -> set[str]:
        """The codes that the bad policy has beside its own, as its fence says."""
        return set(self.blocks["bad"][0].code.split())


PAGES: Final = {code: Page(code) for code in FINDING_CODES if (FOLDER / f"{code}.md").is_file()}
EXAMPLES: Final = [code for code in PAGES if code not in WITHOUT_BAD]
LOADED: Final = [code for code in EXAMPLES if not FINDING_CODES[code].prover]
PROVED: Final = [code for code in EXAMPLES if FINDING_CODES[code].prover]
SEEDS: Final = ["unused", *PROVED]


def codes(text: str) -> set[str]:
    """Return the codes of everything that the loader says of a policy, which must load."""
    checked = check(text, "policy.yaml", calendar_problem)
    assert checked.policy is not None, checked.problems
    return {problem.code for problem in checked.problems}


def warnings(problems: Iterable[Problem]) -> set[str]:
    """Return the codes of those that are warnings."""
    return {problem.code for problem in problems if problem.severity is Severity.WARNING}


# --- the pages --------------------------------------------------------------------------------


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """Nothing is found that is not explained; nothing is explained that is not found."""
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == set(FINDING_CODES)


@pytest.mark.parametrize("code", PAGES)
def test_page_has_its_blocks(code: str) -> None:
    """One policy with the finding and one without; no block is passed over because its kind is misspelt."""
    blocks = PAGES[code].blocks
    assert set(blocks) <= set(KINDS)
    assert len(blocks.get("bad", [])) == (code not in WITHOUT_BAD)
    assert len(blocks.get("better", [])) == (code != "budget")


@pytest.mark.parametrize("code", EXAMPLES)
def test_what_else_is_found_is_named(code: str) -> None:
    """A finding that comes along is named in the text, not only in a fence that nobody sees."""
    for other in PAGES[code].allowed:
        assert f"`{other}`" in PAGES[code].text
        assert other in FINDING_CODES


@pytest.mark.parametrize("code", LOADED)
def test_the_loader_finds_what_the_page_says(code: str) -> None:
    """The first policy has this finding, and no other that is not named; the second has none at all."""
    page = PAGES[code]
    assert codes(page.bad) == {code} | page.allowed
    assert codes(page.better) == set()


@pytest.mark.parametrize("code", PROVED)
def test_policies_for_the_prover_are_clean_for_the_loader(code: str) -> None:
    """What the prover is to find is the only fault."""
    page = PAGES[code]
    assert codes(page.bad) == {other for other in page.allowed if not FINDING_CODES[other].prover}
    assert codes(page.better) == set()


@pytest.mark.parametrize("code", [code for code in PAGES if code in WITHOUT_BAD and code != "budget"])
def test_policies_beside_findings_that_have_no_example(code: str) -> None:
    """What is better is sound."""
    assert codes(PAGES[code].better) == set()


@pytest.mark.parametrize("code", PROVED)
def test_the_prover_finds_what_the_page_says(code: str) -> None:
    """The first policy has this finding, and no warning that is not named; the second has no warning."""
    page = PAGES[code]
    found = prover_findings(page.bad, f"{code}.yaml")
    assert code in {problem.code for problem in found}
    assert warnings(found) <= {code} | page.allowed
    found = prover_findings(page.better, f"{code}.repaired.yaml")
    assert code not in {problem.code for problem in found}
    assert warnings(found) == set()


@pytest.mark.parametrize("evaluator", [ReferenceEvaluator, CompiledEvaluator])
@pytest.mark.parametrize("kind", ["shown", "mended"])
@pytest.mark.parametrize("code", EXAMPLES)
def test_policies_decide_what_the_page_says(
    code: str, kind: str, evaluator: type[ReferenceEvaluator] | type[CompiledEvaluator]
) -> None:
    """Cases show the fault in the first policy and its absence in the second, by either evaluator."""
    page = PAGES[code]
    policy = load_policy(page.bad if kind == "shown" else page.better, f"{code}.yaml").required()
    for block in page.blocks.get(kind, []):
        file = cases(block.parts[0], policy.name, f"{code}.md")
        for result in CaseRunner(policy, file, evaluator).run_all():
            differences = [(d.what, d.expected, d.got) for step in result.steps for d in step.differences]
            if (code, kind) == ("promise-refuted", "shown"):
                broken = [what for what, _, _ in differences]
                assert broken == [f"promise '{promise.name}'" for promise in policy.promises]
            else:
                assert differences == [], result.case.name


@pytest.mark.parametrize("code", PAGES)
def test_what_is_refused_is_refused(code: str) -> None:
    """A policy that cannot be written is refused with the code in its fence."""
    for block in PAGES[code].blocks.get("refused", []):
        problems = load_policy(whole(block.parts[0], SMALLEST), f"{code}.yaml").problems
        assert {p.code for p in problems if p.severity is Severity.ERROR} == {block.code}


# --- what is made from the registry and the pages ---------------------------------------------


def row(found: FindingCode) -> str:
    """Return a code's row of the table."""
    finder = "prover" if found.prover else "loader"
    return f"| [{found.code}]({found.code}.md) | {found.severity} | {finder} | {found.meaning} |\n"


def head(found: FindingCode) -> str:
    """Return what a page begins with."""
    finder = "prover" if found.prover else "loader"
    line = f"**{found.severity.capitalize()}, found by the {finder}:** {found.meaning}."
    return f"# {found.code}\n\n{fill(line, 110, break_long_words=False, break_on_hyphens=False)}\n\n"


def test_table(update_golden: bool) -> None:
    """The table of the codes is the registry."""
    path = FOLDER / "README.md"
    table = "| finding | severity | found by | meaning |\n| --- | --- | --- | --- |\n"
    table += "".join(row(found) for found in FINDING_CODES.values())
    held_to(path, re.compile(r"(?<=<!-- codes -->\n).*?(?=<!-- end -->)", re.DOTALL), table, update_golden)


@pytest.mark.parametrize("code", PAGES)
def test_page_begins_with_the_registry(code: str, update_golden: bool) -> None:
    """Title, severity and meaning are the registry's."""
    begin = re.compile(r"\A# .*?\n\n.*?\n\n", re.DOTALL)
    held_to(FOLDER / f"{code}.md", begin, head(FINDING_CODES[code]), update_golden)


def held_to(path: Path, pattern: re.Pattern[str], wanted: str, update: bool) -> None:
    """Compare a part of a page with what it should be, or rewrite it."""
    text = path.read_text("utf-8")
    found = pattern.search(text)
    assert found is not None
    if update:
        path.write_text(text[: found.start()] + wanted + text[found.end() :], encoding="utf-8")
        return
    assert found[0] == wanted


@pytest.mark.parametrize("code", SEEDS)
def test_seeded_policies_are_those_of_the_pages(code: str, update_golden: bool) -> None:
    """Each page's policies as files: one with its fault, one repaired."""
    origin = f"# From docs/findings/{code}.md: "
    assert_golden(f"{origin}seeded fault\n{PAGES[code].bad}", SEEDED / f"{code}.yaml", update_golden)
    assert_golden(f"{origin}repaired\n{PAGES[code].better}", SEEDED / f"{code}.repaired.yaml", update_golden)


def test_no_other_policy_is_seeded() -> None:
    """No file is left of a page that is gone."""
    assert {path.name for path in SEEDED.iterdir()} == {
        f"{code}{kind}.yaml" for code in SEEDS for kind in ("", ".repaired")
    }
