"""Every record is decided again to the same decision, or refused."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.journal.reading import read_journal
from engine.codes import Action, Denial, Disposition
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.runtime.journal_port import StoredCycle
from engine.verbs.record import DecisionRecord
from engine.verbs.replay import CONTEXT, Replayer, ReplayError
from tests.evidence import Evidence
from tests.simulation.random_policies import random_policy
from tests.simulation.world import RESTLESS, build

CYCLES = 25
seeds = st.integers(0, 2**32 - 1)


def cycles_of(folder: Path, policy: Policy, cycles: int = CYCLES, seed: int = 7) -> list[StoredCycle]:
    """Run an agent and read its journal back."""
    world = build(folder, policy=policy, seed=seed)
    world.agent.start()
    world.run(cycles)
    world.close()
    reader = read_journal(folder / "journal.db")
    stored = list(reader.cycles())
    reader.close()
    return stored


def restless(old: str = "", new: str = "") -> Policy:
    """Return the restless policy, perhaps with one of its texts replaced."""
    assert old in RESTLESS
    text = RESTLESS.replace(old, new) if old else RESTLESS
    return load_policy(text, "restless.yaml").required()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[DecisionRecord]:
    """The records of a run of the restless policy."""
    stored = cycles_of(tmp_path_factory.mktemp("restless"), restless())
    return [record for cycle in stored for record in cycle.decisions]


@settings(max_examples=8)
@given(seeds)
def test_every_record_of_a_run_is_decided_again_to_the_same(seed: int) -> None:
    """Whatever the policy and the market: decision, dispositions, causes, order, signals are as recorded."""
    policy = load_policy(random_policy(random.Random(seed)), "random.yaml").required()
    with TemporaryDirectory() as folder:
        stored = cycles_of(Path(folder), policy, seed=seed % 1000)
    replayer = Replayer(policy)
    for cycle in stored:
        for record in cycle.decisions:
            replayed = replayer.replay(record)
            assert replayed.differences == (), (cycle.head.cycle, record.symbol)
            for now, then in zip(replayed.values, record.values, strict=True):
                assert now == then or (now != now and then != then)


def test_the_runs_hold_something_to_differ_in(evidence: Evidence) -> None:
    """Random policies trade, are vetoed, limited, withheld, and wait for orders: all of it is there."""
    found: dict[str, int] = {}
    for seed in range(10):
        policy = load_policy(random_policy(random.Random(seed)), "random.yaml").required()
        with TemporaryDirectory() as folder:
            stored = cycles_of(Path(folder), policy, 15, seed)
        for cycle in stored:
            for record in cycle.decisions:
                for disposition in record.decision.dispositions:
                    word = Disposition(disposition).word
                    found[word] = found.get(word, 0) + 1
    evidence(", ".join(f"{count} {word}" for word, count in sorted(found.items())))
    wanted = {"acted", "concurred", "vetoed", "limited", "unknown", "working", "outranked"}
    assert wanted <= set(found), sorted(wanted - set(found))


def test_a_buy_that_would_exit_keeps_what_its_limits_had_used(tmp_path: Path) -> None:
    """A buy was sized and vetoed since an exit would follow: the limits it asked are in the record."""
    policy = restless("rsi > 60", "rsi > 1")
    vetoed = 0
    replayer = Replayer(policy)
    for cycle in cycles_of(tmp_path, policy, 10):
        for record in cycle.decisions:
            lowered = replayer.lowered(record)
            for disposition, cause in zip(record.decision.dispositions, record.decision.causes, strict=True):
                if disposition == Disposition.VETOED and lowered.gates[cause].name == "would-exit":
                    vetoed += 1
                    assert len(record.decision.limit_usage) == len(lowered.limits) > 0
            assert replayer.replay(record).differences == ()
    assert vetoed > 0


def test_a_changed_fact_is_a_difference(records: list[DecisionRecord]) -> None:
    """A record whose facts were tampered with is decided otherwise, and the difference is named."""
    replayer = Replayer(restless())
    bought = next(record for record in records if record.decision.action is Action.BUY)
    values = list(bought.values)
    values[[slot.name for slot in bought.layout.slots].index("rsi")] = 99.0
    replayed = replayer.replay(replace(bought, values=values))
    assert {"action", "rule", "truths", "order"} <= set(replayed.differences)
    assert replayer.replay(bought).differences == ()


@pytest.mark.parametrize("part", ["action", "rule", "dispositions", "signal_dispositions", "order", "denial"])
def test_a_changed_decision_is_a_difference(part: str, records: list[DecisionRecord]) -> None:
    """Each part of a recorded decision is compared."""
    bought = next(record for record in records if record.decision.action is Action.BUY)
    others: dict[str, Any] = {"action": Action.SELL, "rule": 0, "order": None, "denial": Denial.CASH}
    changed = {part: others.get(part, b"\x06" * 4)}
    tampered = replace(bought, decision=replace(bought.decision, **changed))
    assert Replayer(restless()).replay(tampered).differences == (part,)


def test_another_policy_is_refused(records: list[DecisionRecord]) -> None:
    """A record is not decided again by a policy that reads other facts or has other rules."""
    changes = (("rsi < 50", "rsi < 50 and volume > 0"), ("  trim:", "  shave:"), ("  rate:", "  pace:"))
    for old, new in changes:
        with pytest.raises(ReplayError, match="other facts or rules than policy 'restless'"):
            Replayer(restless(old, new)).replay(records[0])


def test_a_record_of_another_release_is_refused(records: list[DecisionRecord]) -> None:
    """A record without one of the integers a decision needs is not guessed at."""
    record = records[0]
    layout = replace(record.layout, context=record.layout.context[:-1])
    with pytest.raises(ReplayError, match="lacks bar_open_seconds"):
        Replayer(restless()).replay(replace(record, layout=layout, context=record.context[:-1]))


def test_a_symbol_outside_the_universe_keeps_its_class(records: list[DecisionRecord]) -> None:
    """A position that the policy no longer lists is decided again as its instrument's class, exits only."""
    record = next(record for record in records if record.context[CONTEXT.index("price_step")])
    outside = replace(record, decision=replace(record.decision, symbol="XRP-USD"))
    listing = Replayer(restless()).listing(outside)
    assert (listing.asset_class, listing.calendar, listing.traded) == ("crypto", "24/7", False)
