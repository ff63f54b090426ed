"""Stored closes in a cycle: they value what has no price yet, and price nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.codes import Action, UnknownReason
from engine.model import Quote, QuoteKind
from tests.simulation.scripted import Script, price, quantity

POLICY = """
selection: exits_first
every: 30s
bars: 1m
universe:
  crypto: {calendar: 24/7, weights: {SOL-USD: 50%, ADA-USD: 30%}}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  enter: {priority: 100, when: price < 100 USD and not held, then: buy to 1000 USD}
"""
SOL = "SOL-USD"


def store(one: Script, bid: int, age_seconds: int = 3600) -> None:
    """Answer with a stored close in the agent's and the venue's market."""
    for market in (one.market, one.venue_market):
        market.pin(SOL, bid, age_seconds=age_seconds)
        pinned = market.quotes[SOL]
        assert isinstance(pinned, Quote)
        market.quotes[SOL] = replace(pinned, kind=QuoteKind.HISTORY)


def test_a_stored_close_buys_nothing(tmp_path: Path) -> None:
    """However low and however young it is."""
    with Script(tmp_path, POLICY) as one:
        store(one, 50, age_seconds=0)
        one.cycle()
        assert one.decision().action is Action.HOLD
        assert one.fact("price") is UnknownReason.STALE
        assert one.broker.submitted == []


def test_a_stored_close_values_what_has_no_price_yet(tmp_path: Path) -> None:
    """Coins of others count in the equity, as estimated; without the close they would be worth nothing."""
    with Script(tmp_path, POLICY) as one:
        one.beside[SOL] = quantity(20)
        store(one, 100)
        one.cycle()
        assert one.fact("equity") == 12_000.0
        assert one.fact("equity_estimated") == 0.1667
        assert one.memory().trusted_bid == 0, "it is not trusted"


def test_a_stored_close_does_not_replace_a_price_that_was_seen(tmp_path: Path) -> None:
    """The last quote that was traded on says more, and no stop fires on a close."""
    with Script(tmp_path, POLICY) as one:
        one.at(SOL, 99)
        one.cycle()
        assert one.held() > 0
        before = one.agent.state.ledger.cash
        store(one, 10)
        one.cycle()
        assert one.decision().action is Action.HOLD
        assert one.memory().trusted_bid == price(99)
        assert one.agent.state.ledger.cash == before
        assert one.fact("equity") == 10_000.0


def test_the_paper_venue_fills_nothing_at_a_stored_close(tmp_path: Path) -> None:
    """An order that rests goes on resting."""
    with Script(tmp_path, POLICY) as one:
        store(one, 10)
        one.market.set(SOL, 99)
        one.cycle()
        assert [order.symbol for order in one.broker.submitted] == [SOL]
        one.cycle()
        assert one.held() == one.venue_held() == 0


def test_what_a_slow_source_stamps_meanwhile_is_not_from_the_future(tmp_path: Path) -> None:
    """A pass of 4 s brings quotes that are stamped after its beginning."""
    with Script(tmp_path, POLICY) as one:
        snapshot = one.market.snapshot

        def slow(symbols: list[str], deadline_ms: int) -> object:
            one.clock.now_ms += 4_000
            return snapshot(symbols, deadline_ms)

        one.market.set(SOL, 150)
        one.market.snapshot = slow  # type: ignore[method-assign,assignment] # the same, only later
        one.cycle()
        assert one.fact("price") == 150.0
