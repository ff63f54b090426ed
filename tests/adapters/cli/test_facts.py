"""``tradectl facts``: the catalogue for people, as JSON, and as the page of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import schemas
from adapters.cli.group import cli
from engine.codes import Denial, Disposition, IntentState, UnknownReason
from engine.indicators.functions import FUNCTIONS
from engine.vocabulary import FACTS

ROOT = Path(__file__).resolve().parents[3]


def printed(*arguments: str) -> str:
    """Return what ``tradectl facts`` prints."""
    found = CliRunner().invoke(cli, ["facts", *arguments], prog_name="tradectl")
    assert found.exit_code == 0, found.output
    return found.output


def test_every_fact_function_and_code_is_listed() -> None:
    """Nothing of the vocabulary, the functions or the codes is left out of the listing."""
    text = printed()
    for fact in FACTS.values():
        assert f"  {fact.name} " in text
        assert fact.meaning in text
    for function in FUNCTIONS.values():
        assert f"  {function.signature}\n" in text
    for codes in (UnknownReason, Disposition, Denial, IntentState):
        for code in codes:
            assert code.meaning in text


@pytest.mark.wheel
def test_the_json_is_in_its_schema() -> None:
    """``--json`` prints what facts-v1 says, every fact with its step, range and default."""
    document = json.loads(printed("--json"))
    Draft202012Validator(schemas.load("facts-v1")).validate(document)
    facts = {fact["name"]: fact for fact in document["facts"]}
    assert set(facts) == set(FACTS)
    assert facts["gain"]["step"] == "0.01 %"
    assert facts["since_order"]["when_absent_shown"] == "never"
    assert facts["session"]["words"] == ["pre", "regular", "post", "closed"]
    assert facts["held"]["when_absent"] is False
    assert [code["word"] for code in document["codes"]["denials"]] == [code.word for code in Denial]


def test_the_documentation_is_the_printed_page() -> None:
    """docs/facts.md is what ``tradectl facts --markdown`` prints; run that to renew it."""
    assert (ROOT / "docs" / "facts.md").read_text(encoding="utf-8") == printed("--markdown")
