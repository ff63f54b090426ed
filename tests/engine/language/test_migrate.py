"""From older versions of the language: frozen files become what was frozen beside them, or are refused.

The files under ``tests/policies/frozen/v0`` were written in the draft of the language and are never edited.
``migrated`` has what each of them becomes and every change with its line; ``refused`` has files that cannot
be migrated with certainty, and what is said about them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Severity, render
from engine.language.format import format_policy
from engine.language.lines import Lines
from engine.language.load import load_policy
from engine.language.migrate import MIGRATIONS, Migrated, migrate_policy
from engine.language.source import load_document
from engine.language.structure import NEWEST_VERSION, OLDER_VERSIONS
from tests.engine.language.small import text as small
from tests.golden import assert_golden

FROZEN = Path(__file__).resolve().parents[2] / "policies" / "frozen" / "v0"
GOOD = sorted(path.stem for path in FROZEN.glob("*.yaml"))
REFUSED = sorted(path.stem for path in (FROZEN / "refused").glob("*.yaml"))
HEAD = """\
apiVersion: tradectl/v0
policy: old
version: 0.1.0
selection: exits_first
bars_seconds: 900
universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 0.1}}}
indicators: {rsi: rsi(14), change: roc(10), fast: ema(12), bands: "bollinger(20, 2)"}
"""


def migrated(text: str) -> str:
    """Return a text migrated."""
    found = migrate_policy(text, "old.yaml")
    assert found.text is not None, found.problems
    return found.text


def problems(text: str) -> str:
    """Return what is wrong with a text, as it is shown."""
    found = migrate_policy(text, "old.yaml")
    assert found.text is None
    assert found.changes == ()
    return "\n".join(render(problem, found.source) for problem in found.problems)


# --- frozen files -----------------------------------------------------------------------------


def test_migrations_are_one_way_to_the_newest_version() -> None:
    """Each older version has its migration; each leads to the next, the last one to the newest."""
    assert tuple(migration.source for migration in MIGRATIONS) == OLDER_VERSIONS
    targets = [migration.target for migration in MIGRATIONS]
    assert targets == [*OLDER_VERSIONS[1:], NEWEST_VERSION]


@pytest.mark.parametrize("name", GOOD)
def test_a_frozen_file_becomes_what_it_did(name: str, update_golden: bool) -> None:
    """The text, and each change with its line and reason."""
    found = migrate_policy((FROZEN / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    assert (found.version, found.problems) == ("tradectl/v0", ())
    lines = [f"{found.source.position(c.span.start)[0]}: {c.sentence}" for c in found.changes]
    assert_golden(found.text or "", FROZEN / "migrated" / f"{name}.yaml", update_golden)
    assert_golden("\n".join(lines), FROZEN / "migrated" / f"{name}.txt", update_golden)


@pytest.mark.parametrize("name", GOOD)
def test_what_was_migrated_is_a_policy(name: str) -> None:
    """It loads without an error, nothing more is to be migrated, and every comment is still there."""
    before = (FROZEN / f"{name}.yaml").read_text("utf-8")
    after = migrated(before)
    assert [p for p in load_policy(after, name).problems if p.severity is Severity.ERROR] == []
    assert migrate_policy(after, name) == Migrated(
        load_document(after, name).source, "tradectl/v1", after, (), ()
    )
    comments = [sorted(Lines(load_document(text, name)).comments()) for text in (before, after)]
    assert comments[0] == comments[1]
    assert format_policy(after, name).problems == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused(name: str, update_golden: bool) -> None:
    """All of it is told at once, in its place in the old file, with what to write; nothing is changed."""
    found = migrate_policy((FROZEN / "refused" / f"{name}.yaml").read_bytes(), f"{name}.yaml")
    assert found.text is None
    shown = "\n\n".join(render(problem, found.source) for problem in found.problems)
    assert_golden(shown, FROZEN / "refused" / f"{name}.txt", update_golden)
    assert all(problem.hint for problem in found.problems)


def test_the_frozen_files_have_every_difference() -> None:
    """Each difference makes a change of a frozen file: none is untested."""
    documents = [load_document((FROZEN / f"{name}.yaml").read_text("utf-8"), name) for name in GOOD]
    for migration in MIGRATIONS:
        for difference in migration.differences:
            assert any(list(difference(document)) for document in documents), difference.__name__


# --- one difference at a time -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Which numbers are ratios or durations follows from what they stand beside.
        ("gain < -0.05", "gain < -5%"),
        ("-0.05 > gain", "-5% > gain"),
        ("0.01 <= gain < 0.5", "1% <= gain < 50%"),
        ("gain > 0", "gain > 0"),
        ("weight > target_weight + 0.05", "weight > target_weight + 5%"),
        ("max(gain, 0.01) > 0.02", "max(gain, 1%) > 2%"),
        ("abs(gain - 0.01) > 0.5 * drawdown", "abs(gain - 1%) > 0.5 * drawdown"),
        ("price / entry_price - 1 > 0.1", "price / entry_price - 100% > 10%"),
        ("price > 1.1 of entry_price", "price > 110% of entry_price"),
        ("price > 1.1 * entry_price", "price > 1.1 * entry_price"),
        ("price < (1 - 0.05) of peak_price", "price < (100% - 5%) of peak_price"),
        ("change > 0.02", "change > 2%"),
        ("prev(change) > 0.02", "prev(change) > 2%"),
        ("change crosses above 0.02", "change crosses above 2%"),
        ("bands.upper > 1.02 of fast", "bands.upper > 102% of fast"),
        ("rsi > 30 and rsi - 10 < 60.5", "rsi > 30 and rsi - 10 < 60.5"),
        ("held_for > 3600", "held_for > 3600s"),
        ("held_for + 60 > since_order", "held_for + 60s > since_order"),
        ("since_order < 3 bars", "since_order < 3 bars"),
        ("gain > half", "gain > half"),
        ("margin > 0.05", "margin > 5%"),
        ("gain > 5%", "gain > 5%"),
    ],
)
def test_numbers_get_the_unit_of_what_they_stand_beside(before: str, after: str) -> None:
    """The same in a condition of a rule, between the same blanks."""
    rest = "params: {half: {VALUE}}\ndefine: {margin: gain - MARGIN}\nrules:\n"
    old = HEAD + rest.replace("VALUE", "value: 0.5, unit: ratio").replace("MARGIN", "0.01")
    old += f"  - id: out\n    salience: 9\n    when: 'held  and {before}'\n    action: SELL_ALL\n"
    new = re.search(r"when: '(.*)'", migrated(old))
    assert new is not None
    assert new[1] == f"held  and {after}"


def test_selection_is_stated_where_it_was_not() -> None:
    """The draft knew one way to choose; a file in one bracket has no line for it."""
    old = HEAD.replace("selection: exits_first\n", "") + (
        "rules:\n  - {id: out, salience: 9, when: held and rsi > 70, action: SELL_ALL}\n"
    )
    assert "version: 0.1.0\nselection: by_priority\nbars: 900s\n" in migrated(old)
    assert "'selection' is missing" in problems("{apiVersion: tradectl/v0, policy: old}")


def test_line_ends_stay() -> None:
    """A file with CR LF gets lines with CR LF."""
    text = (FROZEN / "momentum.yaml").read_text("utf-8")
    assert migrated(text.replace("\n", "\r\n")) == migrated(text).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "error[empty]"),
        ("a: [", "error[open-bracket]"),
        ("policy: x\n", "the file does not say in which version of the language it is written"),
        ("apiVersion: tradectl/v9\n", "'tradectl/v9' is no version of the language"),
        ("apiVersion: tradectl/v0\napiVersion: tradectl/v0\n", "error[duplicate-key]"),
        ("apiVersion: tradectl/v0\n", "error[missing-key]"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, said: str) -> None:
    """With its place and what to do, as everywhere."""
    assert said in problems(text)


def test_a_policy_of_the_newest_version_is_left_alone() -> None:
    """Also one with mistakes: they are for validate-policy."""
    text = small("rsi < nothing")
    assert migrated(text) == text


def test_every_loader_says_how_to_migrate() -> None:
    """One problem, whatever else would be wrong with an old file, with the command to run."""
    text = (FROZEN / "momentum.yaml").read_text("utf-8")
    for name, file in (("old.yaml", "old.yaml"), ("<stdin>", "-")):
        (problem,) = load_policy(text, name).problems
        assert problem.code == "old-version"
        assert problem.hint == f"run  tradectl migrate-policy {file}"
        assert format_policy(text, name).problems == (problem,)


@given(st.text(st.sampled_from("abc:-#'\" {}[],0.5\n"), max_size=60), st.integers(0, 3000))
def test_damaged_files_are_never_a_traceback(noise: str, at: int) -> None:
    """Whatever a file is like, the answer is a policy that loads, or problems with places in the file."""
    text = (FROZEN / "momentum.yaml").read_text("utf-8")
    found = migrate_policy(text[:at] + noise + text[at:], "old.yaml")
    if found.text is None:
        assert all(0 <= p.span.start <= p.span.end <= len(found.source.text) for p in found.problems)
        assert found.problems
    else:
        assert load_policy(found.text, "new.yaml").policy is not None
