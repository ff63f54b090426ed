"""The documentation says what the commands print: every console block is run and compared.

``pytest --update-golden`` rewrites the pages to what is printed now.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.cli.group import cli
from tests.console import Command, Mismatch, blocks, checked, commands, matches

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if any(blocks(path.read_text("utf-8")))
)


def run(arguments: list[str]) -> tuple[str, int]:
    """Run a command in this process; return what it printed (errors among it) and its exit code."""
    result = CliRunner().invoke(cli, arguments, prog_name="tradectl")
    return result.output, result.exit_code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    """Each command of a page prints what the page shows."""
    monkeypatch.chdir(ROOT)
    mismatches, right = checked(page.read_text("utf-8"), run)
    if update_golden:
        page.write_text(right, encoding="utf-8")
        return
    assert not mismatches, "\n\n".join(map(str, mismatches))


def test_incident_page_is_checked() -> None:
    """The page that answers the old request has commands beside its claims, and is among those that run."""
    page = ROOT / "docs" / "incident-2025-11-18.md"
    assert page in PAGES
    assert sum(len(commands(body, 1)) for body in blocks(page.read_text("utf-8"))) >= 12


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the repository."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_excerpts_are_of_the_files_they_name(page: Path) -> None:
    """Each line of a yaml block that begins with ``# from FILE`` stands in that file, in that order."""
    for body in re.findall(r"^```yaml\n# from (.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        name, *lines = body.splitlines()
        rest = iter((ROOT / name).read_text("utf-8").splitlines())
        for line in lines:
            assert line in rest, f"{page.name}: not (or not there) in {name}: {line}"


# --- the harness itself -----------------------------------------------------------------------


def fake(arguments: list[str]) -> tuple[str, int]:
    """Print the arguments, one per line; the exit code is their number."""
    return "".join(f"{word}\n" for word in arguments), len(arguments)


def page_of(body: str) -> str:
    """Return a page with one console block."""
    return f"Text.\n\n```console\n{body}```\n\nMore text.\n"


def test_harness_accepts_what_is_printed() -> None:
    """Commands, a continued line, an ellipsis and an exit code."""
    page = page_of("$ tradectl a 'b c'\na\nb c\n$ tradectl a \\\n    b c\na\n...\n$ echo $?\n3\n")
    assert checked(page, fake) == ([], page)


def test_harness_finds_and_mends_a_difference() -> None:
    """What differs is reported with its line; the mended page differs no more and keeps the rest."""
    page = page_of("$ tradectl a b\na\nx\n$ tradectl c\nc\n")
    mismatches, right = checked(page, fake)
    assert mismatches == [Mismatch(4, "$ tradectl a b", "a\nx", "a\nb")]
    assert right == page_of("$ tradectl a b\na\nb\n$ tradectl c\nc\n")
    assert checked(right, fake) == ([], right)


@pytest.mark.parametrize("body", ["$ tradectl a\n", "$ tradectl a\na\nb\n", "$ tradectl a b\n...\na\n"])
def test_harness_can_fail(body: str) -> None:
    """Missing, surplus and differing lines are differences."""
    assert checked(page_of(body), fake)[0]


@pytest.mark.parametrize("body", ["output first\n", "$ rm -rf .\n"])
def test_harness_refuses_other_commands(body: str) -> None:
    """A block that is not about tradectl is a mistake of the page, never run."""
    with pytest.raises(ValueError, match="line 4"):
        checked(page_of(body), fake)


def test_ellipsis_is_any_lines() -> None:
    """Also none, at the beginning, in the middle and at the end."""
    assert matches(["...", "b", "..."], ["a", "b"])
    assert matches(["..."], [])
    assert not matches(["a", "...", "c"], ["a", "b"])
    assert Command("$ tradectl 'a b'", 1).words == ["tradectl", "a b"]
