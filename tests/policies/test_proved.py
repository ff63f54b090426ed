"""The shipped policies before the prover: two without a warning, and the old agent's faults, replayed."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

import policies
from adapters.cli.group import cli
from adapters.processes import at_once
from engine.codes import Disposition
from engine.errors import Severity
from engine.language.load import load_policy
from engine.prove.finding import Finding
from engine.prove.proving import Proved, prove
from tests.proving import proved
from tests.test_findings_docs import SEEDED

LEGACY = "legacy-2025-11-18"


@cache
def shipped(name: str) -> Proved:
    """Prove a shipped policy, once."""
    return proved(policies.read(name), f"{name}.yaml")


@pytest.mark.parametrize("name", ["default", "conservative"])
def test_what_is_meant_to_be_traded_has_no_warning(name: str) -> None:
    """Every promise is proved, nothing is left open, and what is found is information."""
    found = shipped(name)
    assert [one.problem for one in found.findings if one.problem.severity is not Severity.INFORMATION] == []
    assert found.promises
    assert {proof.verdict for proof in found.promises} == {"proved"}
    assert found.left_open == ()


@pytest.mark.parametrize("name", policies.shipped())
def test_processors_change_nothing(name: str) -> None:
    """Shares of the work that are done in processes of their own find the same, in the same words."""
    loaded = load_policy(policies.read(name), f"{name}.yaml")
    apart = prove(loaded.required(), loaded.lowered, at_once=partial(at_once, processors=2))
    assert repr(apart) == repr(shipped(name))  # facts that are Unknown are no numbers, and equal nothing


# --- the old agent's faults -------------------------------------------------------------------


class Fault(NamedTuple):
    """A fault of 2025-11-18: what the finding says of it, and what its example must show."""

    code: str
    said: str  # in the message
    conditions: frozenset[str]  # in the region
    action: str


FAULTS = {
    "a SELL of 60% or less comes to nothing": Fault(
        "lost-signal",
        "a SELL of 'enhanced' can come to nothing",
        frozenset({"enhanced.confidence <= 60%", "enhanced.side == sell", "held"}),
        "hold",
    ),
    "the forced buy ignores a SELL": Fault(
        "entry-against-signal",
        "entry 'crypto-dip-entry' buys while 'enhanced' says SELL",
        frozenset({"enhanced.side == sell", "rsi < 75", "not held"}),
        "buy",
    ),
    "at or under 110 % of its goal nothing sells a position": Fault(
        "trap",
        "nothing ever sells a position while position_value <= 110% of goal",
        frozenset({"held", "position_value <= 110% of goal"}),
        "hold",
    ),
    "exits wait for the cooldown of entries": Fault(
        "gate-vetoes-exit", "gate 'cooldown'", frozenset({"since_order < 15m", "held"}), "hold"
    ),
    "an RSI above 80 does not sell": Fault(
        "gate-vetoes-exit",
        "gate 'trim-gate'",
        frozenset({"position_value <= 110% of goal", "rsi > 80"}),
        "hold",
    ),
}


def of_fault(fault: Fault) -> Finding:
    """Return the one finding of the old policy that tells a fault."""
    (found,) = (
        one
        for one in shipped(LEGACY).findings
        if one.problem.code == fault.code
        and fault.said in one.problem.message
        and one.problem.severity is Severity.WARNING
    )
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found(name: str) -> None:
    """Each fault of that day is a warning, with the region in which it is."""
    fault = FAULTS[name]
    found = of_fault(fault)
    assert found.region is not None
    assert fault.conditions <= set(found.region.conditions)
    assert found.example is not None
    assert found.example.symbol in found.symbols


@pytest.mark.parametrize("name", FAULTS)
def test_the_example_of_the_fault_is_decided_so(name: str, tmp_path: Path) -> None:
    """``explain --facts`` decides the example as the finding says."""
    fault = FAULTS[name]
    example = of_fault(fault).example
    assert example is not None
    explained = explain(example.symbol, LEGACY, example.text, tmp_path)
    assert explained["action"] == fault.action
    if fault.code == "gate-vetoes-exit":
        vetoed = [rule for rule in explained["rules"] if rule["disposition"] == Disposition.VETOED.word]
        assert any(rule["name"] == "overbought-exit" for rule in vetoed)


def explain(symbol: str, policy: str, facts: str, folder: Path) -> dict[str, Any]:
    """Run ``tradectl explain --facts --json`` on a facts file."""
    path = folder / "facts.yaml"
    path.write_text(facts, encoding="utf-8")
    arguments = ["explain", symbol, "--policy", policy, "--facts", str(path), "--json"]
    done = CliRunner().invoke(cli, arguments, prog_name="tradectl")
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.output)
    return document


# --- examples ---------------------------------------------------------------------------------

TEXTS = {
    **{name: name for name in policies.shipped()},
    **{path.stem: str(path) for path in sorted(SEEDED.glob("*.yaml")) if "repaired" not in path.name},
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_example_replays(name: str, tmp_path: Path) -> None:
    """Whatever is found, its example is what ``explain --facts`` decides: action and rule."""
    text = policies.read(name) if name in policies.shipped() else Path(TEXTS[name]).read_text("utf-8")
    found = shipped(name) if name in policies.shipped() else proved(text, f"{name}.yaml")
    shown = [one.example for one in found.findings if one.example is not None]
    assert shown
    for example in shown:
        explained = explain(example.symbol, TEXTS[name], example.text, tmp_path)
        decision = example.outcome.decision
        assert explained["action"] == decision.action.name.lower()
        assert (explained["rule"] is None) == (decision.rule < 0)


@pytest.mark.parametrize("name", TEXTS)
def test_the_example_of_a_warning_is_in_its_region(name: str) -> None:
    """Every condition that a warning's region names is as it says in the example."""
    text = policies.read(name) if name in policies.shipped() else Path(TEXTS[name]).read_text("utf-8")
    lowered = load_policy(text, f"{name}.yaml").lowered
    found = shipped(name) if name in policies.shipped() else proved(text, f"{name}.yaml")
    for one in found.findings:
        if one.problem.severity is Severity.INFORMATION or one.region is None or one.example is None:
            continue
        leaves = one.example.outcome.evaluation.leaves
        own = len(lowered[one.example.symbol].atoms)  # promises' own comparisons stand behind those
        for atom, holds in one.region.literals:
            if atom < own:
                assert leaves[atom].truth == holds, (one.problem.code, one.region.words, one.example.words)
