"""The whole agent over random markets, with random faults at every port: what must hold whatever happens.

One seed is one story: prices that wander and jump, quotes that go missing or stand still, bars that come
late or never, a venue that loses answers, refuses, is out of reach, hides fills or tells them twice, a clock
that steps back, others who trade in the account, and restarts at any time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.journal.reading import read_journal
from engine.codes import Action, Disposition, IntentState, Side, Truth
from engine.errors import DataError
from engine.model import OrderSide
from engine.runtime.cycle import CycleReport
from engine.runtime.ports import OrderRejected
from engine.runtime.replay import JournalReplayer
from engine.runtime.restore import restored
from engine.units import notional
from engine.verbs.ledger import apply_fills, deposit
from engine.verbs.plan import Planned
from engine.verbs.state import State
from engine.vocabulary import QUOTE_STATE, SESSION
from tests.evidence import Evidence
from tests.simulation.scripted import (
    START_MS,
    Fault,
    Script,
    lost_after,
    lost_before,
    money,
    nothing,
    quantity,
    unreachable,
)

POLICY = """
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 30%, ADA-USD: 30%}}
  stock:  {calendar: NYSE, weights: {SPY: 20%}}
indicators: {fast: sma(3)}
signals:
  trend: {votes: {a: {weight: 1, buy: price > fast, sell: price < 98% of fast}}}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -6%, then: sell all}
  leave: {priority: 800, when: held and trend.side == sell, then: sell all}
  trim:  {priority: 700, when: held and position_value > 120% of target, then: sell to target}
  half:  {priority: 650, when: held and gain >= 5%, then: sell to 50% of position_value, once: position}
  enter: {priority: 300, once: bar, when: trend.side == buy and position_value < 80% of target,
          then: buy to target}
  add:   {priority: 200, when: price < 99% of fast and trend.side != sell, then: buy 300 USD, once: day}
gates:
  market-hours: {vetoes: [buy, sell, protective], when: session != regular}
  cooldown:     {vetoes: [buy], when: since_sell < 1m}
limits:
  rate:  {at_most: 6 buys per 2m}
  cap:   {at_most: 35% of equity, per: symbol}
  total: {at_most: 70% of equity, per: portfolio}
  keep:  {at_least: 5% of equity, kept: cash}
  least: {at_least: 20 USD, per: order}
orders:
  buy:  {limit: 100% of ask, good_for: 1m}
  sell: {limit: 99.9% of bid, good_for: 1m}
"""
SYMBOLS = {"SOL-USD": 100.0, "ADA-USD": 50.0, "SPY": 600.0}
UNSETTLED = (IntentState.PLANNED, IntentState.AMBIGUOUS)
CYCLES = 70
HEALING = 14
RATE, WINDOW_MS = 6, 120_000
CAP, TOTAL = Decimal("0.35"), Decimal("0.70")
RESERVED = ("frozen-symbol", "position-unknown", "unsendable", "agent-state", "lease", "disagreement")


def refused(call: Callable[[], Any]) -> None:
    """The venue refuses."""
    raise OrderRejected("the venue does not like it")


class Story:
    """One agent's life under one seed."""

    def __init__(self, folder: Path, seed: int, calm: bool = False) -> None:
        """Begin; ``calm`` leaves every fault out."""
        self.rng = random.Random(seed)
        self.calm = calm
        self.script = Script(
            folder,
            POLICY,
            fee_ppm=self.rng.choice((0, 200)),
            partial_rate=Decimal(self.rng.choice(("0", "0.4"))),
        )
        self.at = dict(SYMBOLS)
        self.counts: Counter[str] = Counter()
        self.late: list[tuple[str, int, float]] = []
        self.minute = START_MS // 60_000
        self.sent: dict[str, int] = {}
        for minute in range(self.minute - 12, self.minute):
            for symbol, price in SYMBOLS.items():
                self.script.market.bar(symbol, 60, minute * 60_000, price)
        for symbol, price in SYMBOLS.items():
            self.script.market.set(symbol, price)

    # --- what happens -------------------------------------------------------------------------

    def chance(self, percent: float) -> bool:
        """Say whether something happens that happens so often."""
        return self.rng.random() * 100 < percent

    def move(self) -> None:
        """Let prices wander, quotes falter and bars close."""
        market, rng = self.script.market, self.rng
        for symbol in SYMBOLS:
            step = rng.gauss(0, 0.015) + (rng.choice((-0.12, 0.12)) if self.chance(2) else 0)
            self.at[symbol] = round(min(max(self.at[symbol] * (1 + step), SYMBOLS[symbol] / 3), 3000.0), 2)
            market.set(symbol, self.at[symbol])
            if not self.calm and self.chance(6):
                fault = rng.choice((market.drop, self._stale, self._bad_print))
                fault(symbol)
        if not self.calm:
            self.script.venue_market.quotes = (
                {symbol: market.quotes[symbol] for symbol in market.quotes} if self.chance(50) else {}
            )
            market.quotes_down, market.bars_down = self.chance(2), self.chance(2)
        self._bars()

    def _stale(self, symbol: str) -> None:
        self.script.market.pin(symbol, self.at[symbol], age_seconds=self.rng.choice((60, 400)))

    def _bad_print(self, symbol: str) -> None:
        self.script.market.pin(symbol, round(self.at[symbol] * self.rng.choice((0.01, 100)), 2))

    def _bars(self) -> None:
        now = self.script.clock.now_ms // 60_000
        while self.minute < now:
            for symbol in SYMBOLS:
                bar = symbol, self.minute * 60_000, self.at[symbol]
                if self.calm or not self.chance(3):
                    self.script.market.bar(symbol, 60, *bar[1:])
                elif self.chance(70):
                    self.late.append(bar)
            self.minute += 1
        for symbol, open_ms, close in self.late:
            if self.chance(30):
                self.script.market.bar(symbol, 60, open_ms, close)
        known = self.script.market.bars
        self.late = [bar for bar in self.late if all(b.open_time_ms != bar[1] for b in known[bar[0], 60])]

    def break_something(self) -> None:
        """Lay faults before some of the calls to come."""
        broker = self.script.broker
        menu: dict[str, list[Fault]] = {
            "submit": [lost_after, lost_before, refused, unreachable],
            "find": [unreachable, nothing],
            "cancel": [lost_before, lost_after, unreachable],
            "account": [unreachable],
            "instrument": [unreachable],
            "fills_since": [
                unreachable,
                lambda call: ((), self.script.broker.cursor),  # they are on their way
                lambda call: self.script.broker.inner.fills_since(""),  # all of them, again
            ],
        }
        for name, faults in menu.items():
            if self.chance(9):
                broker.faults.setdefault(name, []).append(self.rng.choice(faults))
        if self.chance(2):
            broker.beside["SOL-USD"] = quantity(self.rng.choice((0, 0, 3, -1)))

    def pass_time(self) -> float:
        """Return how many seconds pass; sometimes the clock steps back, and catches up later.

        Not while an order is on its way: one that the venue books before it was made is taken for another's.
        """
        on_its_way = any(
            memory.working is not None and memory.working.state in UNSETTLED
            for memory in self.script.agent.state.memories.values()
        )
        if not self.calm and not on_its_way and self.chance(2):
            return self.rng.choice((-5, -1, -120))
        return self.rng.choice((30, 30, 30, 15, 60, 90))

    def live(self, cycles: int) -> None:
        """Run cycles, checking after each."""
        for _ in range(cycles):
            self.move()
            if not self.calm:
                self.break_something()
                if self.chance(5):
                    self.restart()
                if self.chance(15):
                    self.script.agent.tend()
            report = self.script.cycle(self.pass_time())
            self.check(report)

    def restart(self) -> None:
        """End the process and begin another; a venue out of reach only delays it."""
        self.counts["restarts"] += 1
        try:
            self.script.restart()
        except DataError as error:
            raise AssertionError("the venue is the same") from error

    def heal(self) -> None:
        """Let everything work again, long enough for all that was under way to end."""
        self.calm = True
        self.script.broker.faults.clear()
        self.script.broker.beside.clear()
        self.script.venue_market.quotes = {}
        self.script.market.quotes_down = self.script.market.bars_down = False
        self.script.clock.now_ms = max(self.script.clock.now_ms, self.script.agent.state.cycle_ms)
        for _ in range(HEALING):
            self.move()
            self.check(self.script.cycle(30))

    # --- what must hold -----------------------------------------------------------------------

    def check(self, report: CycleReport) -> None:
        """Require everything that holds after any cycle."""
        self.counts["cycles"] += 1
        state = self.script.agent.state
        assert state.ledger.cash >= 0
        self._one_order_per_intent()
        if report.skipped:
            self.counts["skipped"] += 1
            assert not report.planned
            return
        for item in report.planned:
            self._disposed(item)
            self._guarded(item, report)
            self.counts[item.decision.action.name.lower()] += 1
        self._limited(report, state)
        durable = restored(self.script.journal, self.script.agent._least_held)
        assert durable == state, "a restart now would go on from here"

    def _one_order_per_intent(self) -> None:
        broker, journal = self.script.broker, self.script.journal
        for order in broker.submitted:
            intent = journal.intent(order.client_id)
            assert intent is not None and intent.order == order, "durable before it was sent"
        for name in broker.booked:
            self.sent[name] = self.sent.get(name, 0) + 1
        broker.booked.clear()
        broker.submitted.clear()
        assert all(count == 1 for count in self.sent.values()), "sent once"

    def _disposed(self, item: Planned) -> None:
        decision, lowered = item.decision, item.subject.evaluator.policy
        for truth, disposition in zip(decision.truths, decision.dispositions, strict=True):
            assert (truth == Truth.TRUE) == (disposition != Disposition.NONE)
        acted = [d for d in decision.dispositions if d == Disposition.ACTED]
        assert len(acted) == (decision.order is not None)
        for index, signal in enumerate(lowered.signals):
            found = Disposition(decision.signal_dispositions[index])
            if item.subject.values[signal.slots[0]] not in (Side.BUY, Side.SELL):
                assert found is Disposition.NONE
                continue
            assert found is not Disposition.NONE
            self.counts[f"signal {found.word}"] += 1

    def _guarded(self, item: Planned, report: CycleReport) -> None:
        """A stop that is true and could be sold ends in an order, at work, or vetoed by name and told of."""
        lowered, values = item.subject.evaluator.policy, item.subject.values
        stop = next(i for i, rule in enumerate(lowered.rules) if rule.protective)
        if item.decision.truths[stop] != Truth.TRUE:
            return
        if values[lowered.slot("quote_state")] != QUOTE_STATE.index("tradable"):
            return
        word = Disposition(item.decision.dispositions[stop])
        gate = lowered.gates[item.decision.causes[stop]].name if word is Disposition.VETOED else ""
        self.counts[f"stop {word.word} {gate}".rstrip()] += 1
        if values[lowered.slot("session")] != SESSION.index("regular"):
            assert gate == "market-hours" or gate in RESERVED
            return
        assert word in (
            Disposition.ACTED,
            Disposition.CONCURRED,
            Disposition.WORKING,
            Disposition.AWAITING_CANCEL,
            Disposition.VETOED,
        )
        if word is Disposition.VETOED:
            assert gate in RESERVED
            assert item.decision.symbol in report.unguarded
        elif word is not Disposition.CONCURRED:
            assert item.decision.action is Action.SELL

    def _limited(self, report: CycleReport, state: State) -> None:
        """Recount the limits from what is held, open and was sent."""
        buys = [intent.order for intent in report.intents if intent.order.side is OrderSide.BUY]
        self.counts["buys"] += len(buys)
        if not buys:
            return
        equity = Decimal(report.figures.equity)
        exposure: Counter[str] = Counter()
        positions = self.script.broker.inner.account().positions
        for symbol in SYMBOLS:
            size = positions.get(symbol, 0) + self.script.broker.beside.get(symbol, 0)
            exposure[symbol] += notional(max(0, size), state.memory(symbol).trusted_bid)
        for order in buys:
            working = state.memory(order.symbol).working
            unfilled = 0 if working is None else working.quantity - state.memory(order.symbol).booked
            exposure[order.symbol] += notional(unfilled, order.limit_price or 0)
            tolerance = money("0.05")
            if not self.script.broker.faults.get("fills_since") and not self._unheard(state, positions):
                assert exposure[order.symbol] <= CAP * equity + tolerance
                assert sum(exposure.values()) <= TOTAL * equity + tolerance
        made = [at for at, _ in state.recent_buys if at > report.at_ms - WINDOW_MS]
        assert len(made) <= RATE

    def _unheard(self, state: State, positions: Any) -> bool:  # noqa: ANN401 - a mapping
        """Say whether the venue has filled what the agent has not heard of yet."""
        return any(positions.get(s, 0) != state.ledger.holding(s).quantity for s in SYMBOLS)

    def check_end(self) -> None:
        """Require what holds when everything has worked again for a while."""
        script, state = self.script, self.script.agent.state
        venue = script.broker.inner.account()
        own = {symbol: holding.quantity for symbol, holding in state.ledger.holdings.items()}
        assert own == dict(venue.positions), "nothing lost, nothing doubled"
        assert state.ledger.cash == venue.cash
        opening = deposit(State().ledger, money(script.cash))
        assert state.ledger == apply_fills(opening, script.journal.fills())
        for symbol in SYMBOLS:
            working = state.memory(symbol).working
            assert working is None or working.state not in UNSETTLED
            assert not state.memory(symbol).changed_quantity
        for intent in script.journal.intents():
            events = [event.state for event in script.journal.intent_events(intent.order.client_id)]
            assert events[0] is IntentState.PLANNED
            assert [s for s in events if s.final] in ([], [events[-1]]), "it ends once"
        assert list(script.journal.verify()) == []

    def replay(self) -> int:
        """Decide every record again out of the journal; return how many there were."""
        self.script.close()
        reader = read_journal(self.script.folder / "journal.db")
        replayer, count = JournalReplayer(), 0
        for cycle in reader.cycles():
            for record in cycle.decisions:
                count += 1
                assert replayer.replay(cycle.head, record).differences == ()
        reader.close()
        return count


_TOTAL: Counter[str] = Counter()


@settings(max_examples=max(5, settings().max_examples // 7))  # a story is some seventy cycles long
@given(seed=st.integers(0, 2**32))
def test_whatever_happens(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No order lost or doubled, books that agree, limits that hold, a disposition for everything."""
    story = Story(tmp_path_factory.mktemp("story"), seed)
    try:
        story.live(CYCLES)
        story.heal()
        story.check_end()
        assert story.replay() >= CYCLES
    finally:
        story.script.close()
        _TOTAL.update(story.counts)


def test_the_stories_hold_something_to_go_wrong(evidence: Evidence, tmp_path: Path) -> None:
    """They trade; without faults nothing is skipped, and nobody is told of anything but a jump."""
    story = Story(tmp_path, 7, calm=True)
    story.live(CYCLES)
    story.check_end()
    assert story.counts["skipped"] == 0
    assert set(story.script.incidents()) <= {"unguarded"}
    assert story.counts["buy"] >= 5
    assert story.counts["sell"] >= 5
    assert story.counts["signal acted"] >= 5
    story.script.close()
    if _TOTAL:
        evidence(", ".join(f"{count} {what}" for what, count in sorted(_TOTAL.items())))
