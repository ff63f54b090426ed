"""The funnel counts each directional signal once, and a recount from the facts finds the same."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.journal.reading import read_journal
from engine.codes import Action, Disposition, Side, Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import lower
from engine.lowered import LoweredPolicy
from engine.model import Decision, OrderSide, OrderType, SizedOrder, TimeInForce
from engine.runtime.journal_port import StoredCycle
from engine.runtime.recount import count_funnel
from engine.verbs.funnel import REACH, Counted, Funnel, FunnelCounter, SignalReadings, totals
from engine.verbs.replay import CONTEXT, cause_of
from tests.simulation.random_policies import random_policy
from tests.simulation.world import build

seeds = st.integers(0, 2**32 - 1)

SIGNAL = """
apiVersion: tradectl/v1
policy: pulse
version: 1.0.0
selection: exits_first
bars: 1m
universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%, ETH-USD: 10%}}}
signals:
  pulse: {votes: {price: {weight: 1, buy: price > 100 USD, sell: price < 50 USD}}}
rules:
  leave: {priority: 500, when: held and pulse.side == sell, then: sell all}
  enter: {priority: 100, when: pulse.side == buy, then: buy to target}
gates:
  closed: {vetoes: [buy], when: equity < 10 USD}
limits:
  rate: {at_most: 3 buys per 3m}
"""


@pytest.fixture(scope="module")
def lowered() -> LoweredPolicy:
    """The policy above, lowered for BTC-USD."""
    policy = load_policy(SIGNAL, "pulse.yaml").required()
    return lower(policy, policy.universe[0])


class Stage:
    """Makes decisions with the dispositions that a test wants, and counts them."""

    def __init__(self, lowered: LoweredPolicy) -> None:
        """Begin with an empty counter."""
        self.lowered = lowered
        self.counter = FunnelCounter()

    def add(
        self, bar: int, price: float, disposition: Disposition, cause: int = -1, symbol: str = "BTC-USD"
    ) -> None:
        """Count a cycle in which ``enter`` had this disposition; the price makes the signal's side."""
        values = [float("nan")] * len(self.lowered.slots)
        values[self.lowered.slot("price")] = price
        ReferenceEvaluator(self.lowered).evaluate(values, 0)
        names = [rule.name for rule in self.lowered.rules]
        enter = names.index("enter")
        dispositions, causes = bytearray(len(names)), [-1] * len(names)
        candidate = price > 100
        dispositions[enter] = disposition if candidate else Disposition.NONE
        causes[enter] = cause
        decision = Decision(
            symbol,
            Action.BUY if disposition is Disposition.ACTED else Action.HOLD,
            enter,
            bytes([Truth.TRUE] * len(names)),
            bytes(dispositions),
            tuple(causes),
            bytes([disposition if candidate else Disposition.NOT_ADOPTED if price < 50 else 0]),
        )
        self.counter.add(self.lowered, values, decision, bar)

    def told(self) -> list[tuple[object, ...]]:
        """Return the rows without the signal's name."""
        return [
            (row.side, row.disposition, row.rule, row.cause, row.instances, row.open, row.cycles)
            for row in self.counter.funnel().signals.rows
        ]


def test_reach_has_every_disposition_once() -> None:
    """Every disposition a signal can have has one rank, acted first and not adopted last."""
    assert len(set(REACH)) == len(REACH) == len(Disposition) - 1
    assert REACH[0] is Disposition.ACTED
    assert REACH[-1] is Disposition.NOT_ADOPTED


def test_the_furthest_of_a_bars_cycles_is_the_instances(lowered: LoweredPolicy) -> None:
    """Vetoed, then acted, then working on one bar: one instance, acted; the cycles stand beside it."""
    stage = Stage(lowered)
    closed = [gate.name for gate in lowered.gates].index("closed")
    stage.add(0, 101, Disposition.VETOED, closed)
    stage.add(0, 101, Disposition.VETOED, closed)
    stage.add(0, 101, Disposition.ACTED)
    stage.add(0, 101, Disposition.WORKING)
    stage.add(60, 75, Disposition.NONE)
    assert stage.told() == [
        ("buy", "acted", "enter", "", 1, 0, 1),
        ("buy", "working", "enter", "", 0, 0, 1),
        ("buy", "vetoed", "enter", "closed", 0, 0, 2),
    ]
    assert stage.counter.funnel().signals.instances == 1
    assert stage.counter.funnel().decisions == 5


def test_a_rules_proposals_are_counted_alike(lowered: LoweredPolicy) -> None:
    """What a rule proposes on a bar is one instance, whatever its signal."""
    stage = Stage(lowered)
    stage.add(0, 101, Disposition.LIMITED, 0)
    stage.add(0, 101, Disposition.ACTED)
    stage.add(60, 101, Disposition.WORKING)
    stage.add(60, 49, Disposition.NONE)
    counted = stage.counter.funnel().candidates
    assert [(row.name, row.side, row.disposition, row.cause, row.instances) for row in counted.rows] == [
        ("enter", "buy", "acted", "", 1),
        ("enter", "buy", "working", "", 1),
        ("enter", "buy", "limited", "rate", 0),
    ]
    assert (counted.instances, counted.open, counted.cycles) == (2, 1, 3)


def test_an_order_that_a_limit_shrank_names_it(lowered: LoweredPolicy) -> None:
    """It acted all the same, and the limit stands beside it."""
    order = SizedOrder(OrderSide.BUY, 1, 1, OrderType.LIMIT, TimeInForce.GTC, None, limited_by=0)
    dispositions = bytes([Disposition.NONE, Disposition.ACTED])
    decision = Decision("BTC-USD", Action.BUY, 1, b"\0\1", dispositions, (-1, -1), b"\1", order)
    assert cause_of(lowered, decision, 0, Side.BUY) == ("enter", "rate")


def test_a_new_bar_a_new_side_a_new_symbol_are_new_instances(lowered: LoweredPolicy) -> None:
    """An instance is of one symbol, signal, side and bar; the last bar's are open."""
    stage = Stage(lowered)
    stage.add(0, 101, Disposition.ACTED)
    stage.add(0, 49, Disposition.NONE)
    stage.add(60, 101, Disposition.OUTRANKED, 0)
    stage.add(60, 101, Disposition.LIMITED, 0, "ETH-USD")
    assert stage.told() == [
        ("buy", "acted", "enter", "", 1, 0, 1),
        ("buy", "limited", "enter", "rate", 1, 1, 1),
        ("buy", "outranked", "enter", "leave", 1, 1, 1),
        ("sell", "not_adopted", "", "leave", 1, 0, 1),
    ]


def test_no_direction_is_no_instance(lowered: LoweredPolicy) -> None:
    """A side of none, or an Unknown one, is born nowhere."""
    stage = Stage(lowered)
    stage.add(0, 75, Disposition.NONE)
    stage.add(0, float("nan"), Disposition.NONE)
    nothing = Counted((), 0, 0, 0)
    assert stage.counter.funnel() == Funnel(2, (SignalReadings("pulse", 0, 1, 1),), nothing, nothing)


def test_numbers_that_do_not_add_up_are_a_mistake_of_ours(
    lowered: LoweredPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that falls out of the rows is no funnel: it is said, not shown."""
    stage = Stage(lowered)
    stage.add(0, 101, Disposition.ACTED)
    stage.counter._signals.cycles.clear()
    with pytest.raises(AssertionError, match="does not add up"):
        stage.counter.funnel()


def naive_signals(stored: list[StoredCycle]) -> dict[tuple[str, str, str], int]:
    """Count from the recorded dispositions, in the plainest way."""
    reached: dict[tuple[str, str, str, int], int] = {}
    for cycle in stored:
        for record in cycle.decisions:
            slots = [slot.name for slot in record.layout.slots]
            bar = record.context[CONTEXT.index("bar_open_seconds")]
            signals = [name for name in ("pulse", "outside") if name != "outside" or "outside.side" in slots]
            for index, name in enumerate(signals):
                # Where a vote abstains, entries read the signal as Unknown from a slot of the same name.
                sides = {v for slot, v in zip(slots, record.values, strict=True) if slot == f"{name}.side"}
                for side in sides & {1.0, 2.0}:
                    key = (record.symbol, name, "buy" if side == 1.0 else "sell", bar)
                    rank = REACH.index(Disposition(record.decision.signal_dispositions[index]))
                    reached[key] = min(rank, reached.get(key, rank))
    return dict(Counter((name, side, REACH[rank].word) for (_, name, side, _), rank in reached.items()))


def naive_candidates(stored: list[StoredCycle]) -> dict[tuple[str, str], int]:
    """Count the rules' proposals from the recorded dispositions, in the plainest way."""
    reached: dict[tuple[str, str, int], int] = {}
    for cycle in stored:
        for record in cycle.decisions:
            bar = record.context[CONTEXT.index("bar_open_seconds")]
            for rule, disposition in zip(record.layout.rules, record.decision.dispositions, strict=True):
                if disposition:
                    rank = REACH.index(Disposition(disposition))
                    reached[record.symbol, rule, bar] = min(
                        rank, reached.get((record.symbol, rule, bar), rank)
                    )
    return dict(Counter((rule, REACH[rank].word) for (_, rule, _), rank in reached.items()))


@settings(max_examples=6)
@given(seeds)
def test_a_recount_from_the_facts_finds_the_same(seed: int) -> None:
    """Stored dispositions, a recount by the reference evaluator and a naive count agree on any run."""
    policy = load_policy(random_policy(random.Random(seed)), "random.yaml").required()
    with TemporaryDirectory() as folder:
        world = build(Path(folder), policy=policy, seed=seed % 1000)
        world.agent.start()
        world.run(20)
        world.close()
        reader = read_journal(Path(folder) / "journal.db")
        stored = list(reader.cycles())
        believed, recounted = count_funnel(reader), count_funnel(reader, again=True)
        by_symbol = [count_funnel(reader, symbol=symbol) for symbol in reader.symbols()]
        split_ms = stored[10].head.at_ms
        early, late = count_funnel(reader, to_ms=split_ms), count_funnel(reader, from_ms=split_ms + 1)
        reader.close()
    assert believed == recounted
    assert totals(believed.signals.rows) == naive_signals(stored)
    proposed = totals(believed.candidates.rows).items()
    assert {(rule, word): count for (rule, _, word), count in proposed} == naive_candidates(stored)
    for kind in ("signals", "candidates"):
        whole = getattr(believed, kind)
        assert sum(getattr(funnel, kind).instances for funnel in by_symbol) == whole.instances
        assert sum(getattr(funnel, kind).cycles for funnel in by_symbol) == whole.cycles
        assert getattr(early, kind).cycles + getattr(late, kind).cycles == whole.cycles
    for one in believed.readings:
        assert one.directional + one.undirected + one.unknown == believed.decisions
    assert sum(one.directional for one in believed.readings) == believed.signals.cycles
    assert early.decisions + late.decisions == believed.decisions
