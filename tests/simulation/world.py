"""A small agent over a simulated market, with ports that a test can hook: for crash and cycle tests.

Everything is the real thing: policy, evaluators, journal on SQLite, paper venue with its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from adapters.brokers.paper import PaperBroker
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.journal.reading import read_journal
from adapters.journal.store import open_journal
from adapters.quotes.simulated import SimulatedMarket, simulated_instrument
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.runtime.cycle import Agent, AgentSettings, CycleReport, Ports
from engine.units import MONEY_SCALE
from engine.verbs.fill import FillModel

START_MS = 1_763_389_800_000
CASH = 100_000 * MONEY_SCALE

RESTLESS = """
apiVersion: tradectl/v1
policy: restless
version: 1.0.0
selection: exits_first
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {BTC-USD: 15%, ETH-USD: 15%, DOGE-USD: 15%, SOL-USD: 15%, ADA-USD: 15%}}
indicators:
  rsi: rsi(2)
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -2%, then: sell all}
  leave: {priority: 800, when: held and rsi > 60, then: sell all}
  trim:  {priority: 700, when: held and position_value > 105% of target, then: sell to target}
  enter: {priority: 100, when: rsi < 50 and position_value < 90% of target, then: buy to target, once: bar}
gates:
  cooldown: {vetoes: [buy], when: since_sell < 2m}
limits:
  rate: {at_most: 6 buys per 5m}
  cap:  {at_most: 40% of equity, per: symbol}
orders:
  buy: {limit: 100% of ask, good_for: 2m}
"""
"""A policy that trades nearly every minute, so that few cycles hold many orders."""

Hook = Callable[[str, str, tuple[Any, ...]], None]
"""Called with a seam's name, "before" or "after", and what the call was given."""


class Hooked:
    """A port behind a hook: every public call is announced before and after it is made."""

    def __init__(self, inner: Any, name: str, hook: Hook) -> None:  # noqa: ANN401 - any port
        """Stand before ``inner``."""
        self._inner = inner
        self._name = name
        self._hook = hook

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 - any port's method
        """Return the inner method, announced."""
        value = getattr(self._inner, attribute)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any port's method
            self._hook(f"{self._name}.{attribute}", "before", args)
            result = value(*args, **kwargs)
            self._hook(f"{self._name}.{attribute}", "after", args)
            return result

        return call


class Commits:
    """Announces the commits of a file, as a seam, to a hook."""

    def __init__(self, name: str, hook: Hook) -> None:
        """Announce as ``name.commit``, with what was committed."""
        self._seam = f"{name}.commit"
        self._hook = hook

    def before_commit(self, name: str) -> None:
        """All is written, and not yet durable."""
        self._hook(self._seam, "before", (name,))

    def after_commit(self, name: str) -> None:
        """It is durable, and nobody was told of it yet."""
        self._hook(self._seam, "after", (name,))


def silent(seam: str, when: str, arguments: tuple[Any, ...]) -> None:
    """A hook that does nothing."""


@cache
def _restless() -> Policy:
    return load_policy(RESTLESS, "restless.yaml").required()


@dataclass(slots=True)
class World:
    """An agent and everything it stands on."""

    agent: Agent
    clock: SimulatedClock
    closing: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Close journal, venue and rules engines."""
        self.closing.close()

    def run(self, until_cycle: int, seen: Callable[[CycleReport], None] | None = None) -> None:
        """Run cycles until the agent's cycle has this number."""
        while self.agent.state.cycle < until_cycle:
            self.clock.sleep_until(self.agent.next_cycle_ms())
            report = self.agent.cycle()
            if seen is not None:
                seen(report)


def build(
    folder: Path,
    *,
    policy: Policy | None = None,
    hook: Hook = silent,
    nonce: str = "n0",
    partial_rate: Decimal = Decimal("0.3"),
    seed: int = 7,
    settings: AgentSettings | None = None,
    venue_folder: Path | None = None,
    reserve_exits: int = 1,
    busy_seconds: float = 5.0,
) -> World:
    """Open (or create) an agent in a folder; the clock goes on after the last journalled cycle."""
    policy = policy or _restless()
    journal_path = folder / "journal.db"
    at_ms = START_MS
    if journal_path.exists():
        reader = read_journal(journal_path)
        last = reader.last_cycle()
        reader.close()
        at_ms = START_MS if last is None else last.at_ms
    clock = SimulatedClock(at_ms)
    calendar = ExchangeCalendars()
    instruments = {listing.symbol: simulated_instrument(listing.symbol, seed) for listing in policy.universe}
    market = SimulatedMarket(seed, tuple(instruments.values()), calendar, clock)
    closing = ExitStack()
    journal = open_journal(
        journal_path,
        at_ms=at_ms,
        nonce=lambda: nonce,
        probe=Commits("journal", hook),
        reserve_exits=reserve_exits,
    )
    closing.callback(journal.close)
    model = FillModel(fee_rate=Decimal("0.0002"), partial_rate=partial_rate, partial_share=Decimal("0.5"))
    broker = PaperBroker(
        (venue_folder or folder) / "venue.db",
        market,
        clock,
        model,
        CASH,
        instruments,
        calendar=calendar,
        probe=Commits("venue", hook),
        busy_seconds=busy_seconds,
    )
    closing.callback(broker.close)
    ports = Ports(
        clock,
        Hooked(market, "quotes", hook),
        market,
        calendar,
        Hooked(broker, "broker", hook),
        Hooked(journal, "journal", hook),
    )
    agent = Agent(policy, ports, settings or AgentSettings())
    closing.callback(agent.close)
    return World(agent, clock, closing)
