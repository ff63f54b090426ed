"""The whole agent against a local Alpaca, through the real alpaca-py: for tests with faults at every call.

Time is simulated and the venue lives by the same clock; everything else is the real thing: HTTP on loopback,
the registry, the router, the history behind the bars, the journal on disk.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Final

from adapters.bars.alpaca import AlpacaBars
from adapters.bars.backfill import BackfilledBars, Pace
from adapters.bars.fetching import HistoryFetcher, Retry, Wanted
from adapters.bars.store import HistoryStore
from adapters.brokers.alpaca import AlpacaBroker
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.journal.store import open_journal
from adapters.quotes.alpaca import AlpacaSource
from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.settings.model import BackoffSettings, BreakerSettings, QuoteSettings
from adapters.stubs.alpaca import AlpacaStub
from adapters.stubs.alpaca.assets import Asset
from adapters.symbols.store import SymbolStore
from adapters.vendors.alpaca import AlpacaAccess
from engine.language.load import load_policy
from engine.model import AssetClass, Bar
from engine.runtime.cycle import Agent, AgentSettings, CycleReport, Ports

START_MS: Final = 1_763_389_800_000
STEP_MS: Final = 60_000
CASH: Final = Decimal(100_000)
KEY_ID: Final = "PKSENTINELKEYID"
SECRET: Final = "sentinel-secret-nobody-may-see"
HISTORY_BARS: Final = 30
_CENT: Final = Decimal("0.01")

_POLICY: Final = """
apiVersion: tradectl/v1
policy: busy
version: 1.0.0
selection: exits_first
bars: 1m
every: 1m
universe:
  crypto: {{calendar: 24/7, weights: {{{weights}}}}}
indicators: {{rsi: rsi(2)}}
rules:
  stop:  {{priority: 900, protective: true, when: held and gain <= -3%, then: sell all}}
  leave: {{priority: 800, when: held and rsi > 65, then: sell all}}
  old:   {{priority: 700, when: held and held_for > 10m, then: sell all}}
  enter: {{priority: 100, when: not held and rsi < 55, then: buy to target, once: bar}}
gates:
  cooldown: {{vetoes: [buy], when: since_sell < 2m}}
orders:
  buy: {{limit: 100.2% of ask, good_for: 3m}}
"""


class LocalAlpaca:
    """A venue with a market that wanders, and an agent that can be restarted at any time."""

    def __init__(self, folder: Path, symbols: int, seed: int) -> None:
        """Open the venue with so many coins, and the agent's first life."""
        self.folder = folder
        self.clock = SimulatedClock(START_MS)
        self._random = random.Random(seed)
        self.symbols = [f"C{_letters(number)}-USD" for number in range(symbols)]
        share = f"{90 // symbols}%"
        text = _POLICY.format(weights=", ".join(f"{symbol}: {share}" for symbol in self.symbols))
        self.policy = load_policy(text, "busy.yaml").required()
        spelled = [symbol.replace("-", "/") for symbol in self.symbols]
        assets = [Asset(text, "crypto", "CRYPTO", text, _CENT) for text in spelled]
        self._closing = ExitStack()
        self.stub = self._closing.enter_context(
            AlpacaStub(clock=self.clock, key_id=KEY_ID, secret=SECRET, cash=CASH, assets=assets)
        )
        self._prices = {asset.symbol: Decimal(100) for asset in assets}
        past = range(START_MS - HISTORY_BARS * STEP_MS, START_MS, STEP_MS)
        for text in spelled:
            self.stub.venue.set_bars(text, [self._bar(text, open_ms) for open_ms in past])
        self._quote_all()
        self._life: ExitStack = ExitStack()
        self.agent: Agent
        self._bars: BackfilledBars
        self.begin()

    # --- the market

    def step(self) -> None:
        """Let a minute pass: one more bar of each coin, and new quotes."""
        before_ms = self.clock.now_utc_ms()
        for symbol in self._prices:
            self.stub.venue.add_bar(symbol, self._bar(symbol, before_ms))
        self.clock.sleep_until(before_ms + STEP_MS)
        self._quote_all()

    def _bar(self, symbol: str, open_ms: int) -> Bar:
        old = self._prices[symbol]
        move = Decimal(self._random.randrange(-150, 151)) / 10_000
        new = max(Decimal(20), old * (1 + move)).quantize(_CENT)
        self._prices[symbol] = new
        opened, closed = float(old), float(new)
        return Bar(open_ms, opened, max(opened, closed), min(opened, closed), closed, 10.0)

    def _quote_all(self) -> None:
        for symbol, price in self._prices.items():
            self.stub.venue.set_quote(symbol, price, price + 2 * _CENT)

    # --- the agent

    def begin(self) -> None:
        """Begin a life of the agent: everything is opened anew, and restored from its journal."""
        self._life = ExitStack()
        now_ms = self.clock.now_utc_ms()
        access = AlpacaAccess(
            KEY_ID,
            SECRET,
            trading_url=self.stub.url,
            data_url=self.stub.data_url,
            connect_seconds=0.5,
            read_seconds=0.5,
            total_seconds=0.5,
        )
        symbols = SymbolStore(self.folder / "symbols.json", self.policy.universe, now_ms=now_ms)
        broker = self._life.enter_context(
            AlpacaBroker(
                access,
                lambda: symbols.registry,
                lambda rows: symbols.refresh("alpaca", rows, self.clock.now_utc_ms()),
            )
        )
        impatient = QuoteSettings(
            deadline_seconds=1,
            source_deadline_seconds=1,
            breaker=BreakerSettings(failures=5, open_seconds=30),
            backoff=BackoffSettings(first_seconds=1, longest_seconds=30),
        )
        router = QuoteRouter(
            {AssetClass.CRYPTO: ["alpaca"]},
            {"alpaca": AlpacaSource(access, self.clock, batch=100)},
            symbols,
            self.clock,
            random.Random(1),
            RouterSettings(impatient),
        )
        self._life.callback(router.close)
        calendar = ExchangeCalendars()
        fetcher = HistoryFetcher(
            HistoryStore(self.folder / "history"),
            [AlpacaBars(access)],
            symbols,
            calendar,
            self.clock,
            retry=Retry(attempts=1),
        )
        wanted = {Wanted(symbol, AssetClass.CRYPTO, "24/7", 60): HISTORY_BARS * 60 for symbol in self.symbols}
        self._bars = BackfilledBars(fetcher, calendar, self.clock, wanted, Pace(rest_seconds=0))
        self._life.callback(self._bars.close)
        journal = open_journal(self.folder / "journal.db", at_ms=now_ms)
        self._life.callback(journal.close)
        ports = Ports(self.clock, router, self._bars, calendar, broker, journal)
        self.agent = Agent(self.policy, ports, AgentSettings(account="alpaca", fee_ppm=0))
        self._life.callback(self.agent.close)
        _ = self.agent.start()

    def restart(self) -> None:
        """End the agent's life and begin another."""
        self._life.close()
        self.begin()

    def cycle(self) -> CycleReport:
        """Let a minute pass and decide."""
        self.step()
        self._bars.warm_up(1.0)
        return self.agent.cycle()

    def close(self) -> None:
        """End everything."""
        self._life.close()
        self._closing.close()


def _letters(number: int) -> str:
    """Return a name of letters alone: Alpaca's crypto symbols have no digits."""
    return "".join(chr(ord("A") + digit) for digit in divmod(number, 26))
