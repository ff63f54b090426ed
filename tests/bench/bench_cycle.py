"""Where a cycle's time goes: ``python tests/bench/bench_cycle.py [--symbols 5000] [--cycles 6]``.

Two agents, both whole: policy, all three evaluators, journal on SQLite, paper venue.

*Wide*: thousands of symbols, a policy of twelve rules.  What counts is the time from ready facts to the
durable cycle: deciding, guarding, naming intents, packing, committing.  Quotes, indicators and facts are
timed apart.

*Default*: the default policy over its own universe on the simulated market, with a cycle each 30 seconds.

Every part is timed inside the one run that is reported; ``durable-rules`` is a share of ``decide``.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import policies
from adapters.brokers.paper import PaperBroker
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.journal.store import Journal, open_journal
from adapters.quotes.simulated import SimulatedMarket, simulated_instrument
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.durable import DurableEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.model import AssetClass, Bar, Instrument, NoQuote, Quote
from engine.runtime import cycle as agent_module
from engine.runtime.cycle import Agent, AgentSettings, Ports
from engine.runtime.desk import BarDesk
from engine.runtime.orders import OrderDesk
from engine.runtime.ports import Broker, QuoteSource
from engine.units import MONEY_SCALE, PRICE_SCALE
from engine.verbs.facts import FactMaker
from engine.verbs.fill import FillModel

FROM_FACTS: Final = ("decide", "guard", "intents", "pack", "records", "journal")
"""The parts between ready facts and the durable cycle."""
START_MS: Final = 1_763_390_400_000
_SERIES: Final = 16
_WIDE: Final = """
apiVersion: tradectl/v1
policy: wide
version: 1.0.0
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {%s}}
indicators:
  rsi: rsi(3)
  fast: sma(3)
  slow: sma(8)
  bands: "bollinger(5, 2)"
  macd: "macd(3, 6, 3)"
signals:
  enhanced:
    votes:
      rsi:      {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      macd:     {weight: 2, buy: macd.line > macd.signal, sell: macd.line < macd.signal}
      averages: {weight: 1, buy: fast > slow, sell: fast < slow}
      bands:    {weight: 1, buy: close < bands.lower, sell: close > bands.upper}
rules:
  stop-loss:       {priority: 1000, protective: true, when: held and gain <= -8%%, then: sell all}
  trailing-stop:   {priority: 950, protective: true,
                    when: held and peak_gain >= 5%% and price <= 94%% of peak_price, then: sell all}
  overbought-exit: {priority: 900, protective: true, when: held and rsi > 95, then: sell all}
  profit-target:   {priority: 850, when: held and gain >= 30%%, then: sell all}
  adopted-sell:    {priority: 800, when: held and enhanced.side == sell and enhanced.confidence >= 60%%,
                    then: sell all}
  stale-position:  {priority: 780, when: held and held_for > 90d and gain < 2%%, then: sell all}
  trim-overweight: {priority: 700, when: held and position_value > 110%% of target, then: sell to target}
  no-new-risk:     {priority: 400, when: drawdown >= 50%% or cash < 1%% of equity, then: hold}
  adopted-buy:     {priority: 300, when: enhanced.side == buy and enhanced.confidence >= 60%% and rsi < 70
                    and position_value < 90%% of target, then: buy to target}
  breakout:        {priority: 200, when: not held and close > bands.upper and enhanced.side != sell,
                    then: buy to 50%% of target}
  dip-entry:       {priority: 100, when: not held and rsi < 35 and rsi > prev(rsi) and enhanced.side != sell,
                    then: buy to target}
  nothing:         {priority: 1, when: price < 0.01 USD, then: hold}
gates:
  freshness: {vetoes: [buy, sell], when: quote_age > 60s}
  cooldown:  {vetoes: [buy], when: since_order < 5m}
  late:      {vetoes: [buy], when: until_close < 15m}
limits:
  rate:      {at_most: 60 buys per 3m}
  cap:       {at_most: 15%% of equity, per: symbol}
  class-cap: {at_most: 50%% of equity, per: class}
  total:     {at_most: 90%% of equity, per: portfolio}
  reserve:   {at_least: 5%% of equity, kept: cash}
  least:     {at_least: 10 USD, per: order}
"""


class Stopwatch:
    """Adds up the seconds spent in functions, each without what is timed inside it.

    Wall time, and the process's CPU time beside it: on a busy machine only the latter says much.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._inside: list[tuple[float, float]] = []
        self._undo: list[Callable[[], None]] = []

    def time(self, owner: Any, name: str, part: str) -> None:  # noqa: ANN401 - a class or module
        """Time every call of ``owner.name`` as ``part``."""
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            self._inside.append((0.0, 0.0))
            begin, begin_cpu = time.perf_counter(), time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                cpu, took = time.process_time() - begin_cpu, time.perf_counter() - begin
                within, within_cpu = self._inside.pop()
                self.seconds[part] += took - within
                self.cpu[part] += cpu - within_cpu
                if self._inside:
                    outer, outer_cpu = self._inside[-1]
                    self._inside[-1] = outer + took, outer_cpu + cpu

        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, inner))

    def from_facts(self) -> tuple[float, float]:
        """Return wall and CPU seconds of the parts between ready facts and the durable cycle."""
        parts = [part for part in self.seconds if part.startswith(FROM_FACTS)]
        return sum(self.seconds[part] for part in parts), sum(self.cpu[part] for part in parts)

    def stop(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time the parts of a cycle."""
    watch = Stopwatch()
    watch.time(BarDesk, "update", "indicators")
    watch.time(BarDesk, "readings", "indicators")
    watch.time(FactMaker, "make", "facts")
    watch.time(Agent, "_quotes", "quotes")
    watch.time(agent_module, "open_book", "decide: limits")
    watch.time(agent_module, "plan", "decide: rest")
    watch.time(DurableEvaluator, "verdict", "decide: durable-rules")
    for evaluator in (CompiledEvaluator, ReferenceEvaluator):
        if "verdict" in vars(evaluator):
            watch.time(evaluator, "verdict", f"decide: {evaluator.__name__}")
    watch.time(Agent, "_guard", "guard")
    watch.time(Agent, "_latch_drawdown", "guard")
    watch.time(Agent, "_commit", "intents and state")
    watch.time(agent_module, "pack_state", "pack state")
    watch.time(Agent, "_record", "records")
    watch.time(Journal, "commit_cycle", "journal: commit")
    watch.time(Journal, "_pack", "journal: pack")
    watch.time(OrderDesk, "tend", "venue: hear")
    watch.time(OrderDesk, "account", "venue: hear")
    watch.time(OrderDesk, "send", "venue: send")
    try:
        yield watch
    finally:
        watch.stop()


class WideMarket:
    """Quotes and bars of any number of coins: a few bar series, quotes that wander round them."""

    def __init__(self, symbols: Sequence[str], clock: SimulatedClock) -> None:
        """Make the bars of half a day."""
        self._clock = clock
        self._number = {symbol: number for number, symbol in enumerate(symbols)}
        first = START_MS - 720 * 60_000
        self._bars = [
            [self._bar(series, first + minute * 60_000) for minute in range(1440)]
            for series in range(_SERIES)
        ]

    @staticmethod
    def _price(series: int, at_ms: int) -> float:
        minute = at_ms / 60_000
        wave = math.sin(minute / (9 + series)) + 0.6 * math.sin(minute / (2.3 + series / 7) + series)
        return 100.0 + series + 2.0 * wave

    def _bar(self, series: int, open_ms: int) -> Bar:
        begin, end = self._price(series, open_ms), self._price(series, open_ms + 60_000)
        return Bar(open_ms, begin, max(begin, end), min(begin, end), end, 10.0)

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Quote every symbol a little off its series."""
        now_ms = self._clock.now_utc_ms()
        prices = [self._price(series, now_ms) for series in range(_SERIES)]
        quotes: dict[str, Quote | NoQuote] = {}
        for symbol in symbols:
            number = self._number[symbol]
            cents = round(prices[number % _SERIES] * 100) + number % 7
            bid = cents * PRICE_SCALE // 100
            quotes[symbol] = Quote(symbol, bid, bid + PRICE_SCALE // 50, "wide", now_ms, now_ms)
        return quotes

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars of the symbol's series."""
        bars = self._bars[self._number[symbol] % _SERIES]
        first = max(0, (after_ms - bars[0].open_time_ms) // 60_000 + 1)
        last = (until_ms - bars[0].open_time_ms) // 60_000
        return bars[first : max(first, last)]

    def interval_of(self, symbol: str) -> int | None:
        """A minute."""
        return 60


def agent_of(
    folder: Path,
    policy: Policy,
    clock: SimulatedClock,
    market: QuoteSource,
    instruments: Mapping[str, Instrument],
) -> tuple[Agent, Callable[[], None]]:
    """Wire an agent; return it, and what closes everything."""
    calendar = ExchangeCalendars()
    journal = open_journal(folder / "journal.db", at_ms=START_MS, reserve_exits=1)
    model = FillModel(fee_rate=Decimal("0.0002"))
    broker: Broker = PaperBroker(
        folder / "venue.db", market, clock, model, 10**8 * MONEY_SCALE, instruments, calendar=calendar
    )
    bars: Any = market
    agent = Agent(policy, Ports(clock, market, bars, calendar, broker, journal), AgentSettings())

    def close() -> None:
        agent.close()
        journal.close()

    return agent, close


def report(title: str, watch: Stopwatch, totals: Sequence[float], cycles: int, symbols: int) -> None:
    """Print each part's milliseconds per cycle."""
    median = statistics.median(totals) * 1e3
    print(f"\n{title}: {symbols:,} symbols, {cycles} cycles, median {median:.1f} ms a cycle")
    rest = sum(totals) - sum(watch.seconds.values())
    for part, seconds in sorted({**watch.seconds, "everything else": rest}.items()):
        wall, cpu = seconds / cycles * 1e3, watch.cpu[part] / cycles * 1e3
        print(f"  {part:<24} {wall:9.2f} ms  {cpu:9.2f} CPU  {wall / symbols * 1e3:8.1f} us a symbol")


def run(title: str, agent: Agent, clock: SimulatedClock, cycles: int, warm: int, symbols: int) -> None:
    """Run cycles, the first of them unmeasured, and report."""
    begin = time.perf_counter()
    agent.start()
    for _ in range(warm):
        clock.sleep_until(agent.next_cycle_ms())
        agent.cycle()
    print(f"\n{title}: start, history and {warm} cycles in {time.perf_counter() - begin:.1f} s")
    totals: list[float] = []
    walls: list[float] = []
    cpus: list[float] = []
    orders = 0
    with timed() as watch:
        for _ in range(cycles):
            clock.sleep_until(agent.next_cycle_ms())
            gc.collect()
            wall, cpu = watch.from_facts()
            begin = time.perf_counter()
            made = agent.cycle()
            totals.append(time.perf_counter() - begin)
            wall_after, cpu_after = watch.from_facts()
            walls.append(wall_after - wall)
            cpus.append(cpu_after - cpu)
            orders += len(made.intents)
        report(title, watch, totals, cycles, symbols)
        share = watch.cpu["decide: durable-rules"] / sum(cpus)
    median, worst = statistics.median(walls) * 1e3, max(walls) * 1e3
    print(f"  from ready facts to the durable cycle: median {median:.0f} ms, worst {worst:.0f} ms;")
    print(f"  CPU {statistics.median(cpus) * 1e3:.0f} ms, durable-rules {share:.0%} of it; {orders} orders")


def wide(folder: Path, count: int, cycles: int) -> None:
    """Measure thousands of symbols."""
    symbols = [f"C{number:04d}-USD" for number in range(count)]
    share = Decimal(90) / count
    weights = ", ".join(f"{symbol}: {share:.4f}%" for symbol in symbols)
    text = _WIDE % weights
    loaded = load_policy(text, "wide.yaml")
    policy = loaded.required()
    clock = SimulatedClock(START_MS)
    market = WideMarket(symbols, clock)
    step = Decimal("0.000001")
    instruments = {
        symbol: Instrument(symbol, AssetClass.CRYPTO, "24/7", Decimal("0.01"), step, step, Decimal(10))
        for symbol in symbols
    }
    agent, close = agent_of(folder, policy, clock, market, instruments)
    try:
        run("wide", agent, clock, cycles, 4, count)
    finally:
        close()


def default(folder: Path, cycles: int) -> None:
    """Measure the default policy on the simulated market."""
    policy = load_policy(policies.read("default"), "default.yaml").required()
    clock = SimulatedClock(START_MS)
    instruments = {listing.symbol: simulated_instrument(listing.symbol, 1) for listing in policy.universe}
    market = SimulatedMarket(1, tuple(instruments.values()), ExchangeCalendars(), clock)
    agent, close = agent_of(folder, policy, clock, market, instruments)
    try:
        run("default", agent, clock, cycles, 3, len(instruments))
    finally:
        close()


def main() -> None:
    """Run both and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=5000)
    parser.add_argument("--cycles", type=int, default=6)
    parser.add_argument("--only", choices=("wide", "default"))
    chosen = parser.parse_args()
    if chosen.only in (None, "default"):
        with tempfile.TemporaryDirectory() as folder:
            default(Path(folder), max(60, chosen.cycles))
    if chosen.only in (None, "wide"):
        with tempfile.TemporaryDirectory() as folder:
            wide(Path(folder), chosen.symbols, chosen.cycles)


if __name__ == "__main__":
    main()
