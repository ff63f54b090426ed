"""A policy is tried on durable-rules in a child process, where a hang or a crash harms nobody."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import rules_probe
from adapters.rules_probe import probe_policy, try_policy
from engine.errors import NOWHERE, ConfigurationError
from engine.evaluate import durable
from engine.evaluate.durable import DurableEvaluator, EngineFault, durable_available
from engine.lowered import (
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredPolicy,
    Node,
    NodeKind,
    SlotOrigin,
)
from engine.units import Measure
from tests.strategies import Shape, random_policy

pytestmark = pytest.mark.skipif(
    not durable_available(), reason="durable-rules cannot be imported here (Python 3.13 and later)"
)


@pytest.fixture(scope="module")
def policy() -> LoweredPolicy:
    """Some policy with rules, votes and gates."""
    return random_policy(random.Random(12), Shape(rules=(8, 8)))


def test_a_good_policy_passes(policy: LoweredPolicy) -> None:
    """The child compiles, decides and ends well."""
    probe_policy(policy)


def test_a_deadline_ends_it(policy: LoweredPolicy) -> None:
    """A child that is not ready in time is ended, and that is a fault."""
    with pytest.raises(EngineFault, match=r"was not ready with policy random within 0\.001 s"):
        probe_policy(policy, deadline_seconds=0.001)


@pytest.mark.skipif(os.name != "posix", reason="signals end processes on POSIX only")
def test_a_crash_is_named(policy: LoweredPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A child that dies by a signal is a fault that names it."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\ncat > /dev/null\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(EngineFault, match=r"crashed with policy random \(SIGSEGV\)"):
        probe_policy(policy)


def test_a_refusal_has_its_reason(policy: LoweredPolicy) -> None:
    """What the child says of a policy that durable-rules cannot hold is the reason given."""
    slots = tuple(FactSlot(f"fact{n}", Measure.NUMBER, 100, SlotOrigin.VOCABULARY) for n in range(201))
    atoms = tuple(
        Atom(FactTerm(n), Comparison.GREATER, ConstantTerm(0.0), Measure.NUMBER, 100, NOWHERE, "")
        for n in range(201)
    )
    nodes = (
        *(Node(NodeKind.ATOM, n) for n in range(201)),
        Node(NodeKind.ALL, children=tuple(range(201))),
    )
    rule = replace(policy.rules[0], when=201, when_entry=201)
    wide = replace(policy, slots=slots, atoms=atoms, nodes=nodes, signals=(), rules=(rule,), gates=())
    with pytest.raises(EngineFault, match=r"cannot be trusted .* reads 200 facts or more"):
        probe_policy(wide)


def test_a_difference_is_found(policy: LoweredPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluator that decides otherwise than the reference one is not trusted."""
    monkeypatch.setitem(durable._OPERATORS, Comparison.LESS, "$lte")
    with pytest.raises(EngineFault, match="decides otherwise than the reference evaluator"):
        for seed in range(20):
            try_policy(random_policy(random.Random(seed), Shape(rules=(8, 8))))


def test_unavailable(policy: LoweredPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without durable-rules there is nothing to try."""
    monkeypatch.setattr(rules_probe, "durable_available", lambda: False)
    with pytest.raises(ConfigurationError, match="cannot be imported here"):
        probe_policy(policy)


def test_it_frees_what_it_made(policy: LoweredPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying in this process closes the evaluator."""
    closed: list[DurableEvaluator] = []
    close = DurableEvaluator.close

    def closing(self: DurableEvaluator) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(DurableEvaluator, "close", closing)
    try_policy(policy)
    assert closed[-1]._rulesets == []
