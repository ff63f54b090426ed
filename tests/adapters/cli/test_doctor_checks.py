"""What doctor concludes from facts: every kind of finding, and what it says to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
from adapters.cli.doctor_checks import (
    Check,
    MarketFacts,
    VenueFacts,
    budget_checks,
    fits,
    key_checks,
    market_checks,
    symbol_checks,
    venue_checks,
)
from adapters.settings.keys import FoundKey, MissingKey
from adapters.settings.model import BrokerSettings, ClassQuotes, QuoteSettings, Rate, Settings
from adapters.settings.secrets import Secret
from adapters.symbols.assets import Asset
from adapters.symbols.registry import Registry
from engine.language.load import load_policy
from engine.model import AssetClass
from engine.runtime.ports import VenueClock

POLICY = load_policy(policies.read("default"), "default.yaml").required()
ALPACA = Settings(broker=BrokerSettings("alpaca"))
NOW_MS = 1_763_424_000_000
GOOD = VenueFacts(True, True, "", VenueClock(NOW_MS, True, NOW_MS, NOW_MS), NOW_MS - 20, NOW_MS + 20)
KEY = FoundKey("APCA_API_KEY_ID", "keyring", Secret("PK-sentinel-of-doctor"))


def facts(**changes: Any) -> MarketFacts:  # noqa: ANN401 - whatever the fields are
    """Return facts in which all is well."""
    every = [
        Asset(listing.symbol.replace("-", "/"), "", AssetClass(listing.asset_class))
        for listing in POLICY.universe
    ]
    registry = Registry.of(POLICY.universe).refreshed("alpaca", every, NOW_MS)
    return replace(MarketFacts(ALPACA, {}, [KEY], GOOD, POLICY, registry), **changes)


def named(checks: Sequence[Check], name: str) -> Check:
    """Return the one check of a name."""
    (found,) = [check for check in checks if check.name == name]
    return found


def test_all_is_well() -> None:
    """Nothing fails, and what is not ok says what to do; no key is shown."""
    checks = list(market_checks(facts()))
    assert {check.outcome for check in checks if not check.name.startswith("symbols")} == {"ok"}
    assert all(check.cure for check in checks if check.outcome != "ok")
    assert "keyring" in named(checks, "keys alpaca").detail
    assert "sentinel" not in repr(checks)


def test_missing_keys() -> None:
    """The broker's key fails; that of a source warns; each says where to put it."""
    missing = MissingKey("FINNHUB_API_KEY", "nowhere")
    told = facts(broker_keys=[KEY, MissingKey("APCA_API_SECRET_KEY", "nowhere")], keys={"finnhub": [missing]})
    checks = list(key_checks(told))
    assert [(check.name, check.outcome) for check in checks] == [
        ("keys alpaca", "fail"),
        ("keys finnhub", "warn"),
    ]
    assert checks[0].detail == "APCA_API_SECRET_KEY: nowhere" and "init --store-keys" in checks[0].cure


@pytest.mark.parametrize(
    ("venue", "outcome", "said"),
    [
        (GOOD, "ok", "takes the keys"),
        (VenueFacts(False, False, "silence"), "fail", "cannot be reached: silence"),
        (VenueFacts(True, False, "401"), "fail", "does not take the keys: 401"),
        (replace(GOOD, failure="half a list"), "fail", "half a list"),
    ],
)
def test_the_broker(venue: VenueFacts, outcome: str, said: str) -> None:
    """Reached or not, authorised or not, and odd answers are told apart."""
    check = named(list(venue_checks(facts(venue=venue))), "broker")
    assert check.outcome == outcome and said in check.detail
    assert bool(check.cure) is (outcome != "ok")


def test_real_money_is_refused() -> None:
    """A file that asks for real money fails before anybody is asked."""
    live = replace(ALPACA, broker=BrokerSettings("alpaca", paper=False))
    (check,) = venue_checks(facts(settings=live, venue=None))
    assert check.outcome == "fail" and "paper: true" in check.cure


@pytest.mark.parametrize(
    ("venue_ms", "asked_ms", "answered_ms", "outcome"),
    [
        (10_000, 9_990, 10_010, "ok"),
        (12_010, 9_990, 10_010, "ok"),  # at least 2.0 s behind, and no more is certain
        (12_011, 9_990, 10_010, "warn"),
        (7_989, 9_990, 10_010, "warn"),
        (7_990, 9_990, 10_010, "ok"),
        (13_000, 5_000, 15_000, "ok"),  # a slow answer proves nothing
    ],
)
def test_clock_skew(venue_ms: int, asked_ms: int, answered_ms: int, outcome: str) -> None:
    """What is certain is told: the venue's clock was read somewhere between question and answer."""
    clock = VenueClock(venue_ms, True, venue_ms, venue_ms)
    told = facts(venue=replace(GOOD, clock=clock, asked_ms=asked_ms, answered_ms=answered_ms))
    check = named(list(venue_checks(told)), "venue clock")
    assert check.outcome == outcome
    if outcome == "warn":
        assert ("behind" in check.detail) is (venue_ms > 10_000) and "NTP" in check.cure


def test_symbols() -> None:
    """What a source does not serve is named with the reason; what nobody serves fails."""
    lists = [Asset("BTC/USD", "", AssetClass.CRYPTO)]
    registry = Registry.of(POLICY.universe).refreshed("alpaca", lists, NOW_MS)
    checks = list(symbol_checks(facts(registry=registry)))
    alpaca = named(checks, "symbols alpaca")
    assert alpaca.outcome == "warn" and "ADA-USD (ADA-USD is not in the list" in alpaca.detail
    assert "and 1 more" in alpaca.detail
    assert "priced in USDT" in named(checks, "symbols finnhub").detail
    assert [check for check in checks if check.name == "symbols"] == []  # Yahoo has them
    assert "ADA-USD" in named(checks, "tradable").detail and named(checks, "tradable").outcome == "warn"

    only = ClassQuotes(sources=("alpaca", "finnhub", "history"))
    quotes = QuoteSettings(crypto=only)
    checks = list(symbol_checks(facts(registry=registry, settings=replace(ALPACA, quotes=quotes))))
    nobody = named(checks, "symbols")
    assert nobody.outcome == "fail" and "ADA-USD" in nobody.detail and "BTC-USD" not in nobody.detail

    tether = replace(ALPACA, quotes=QuoteSettings(crypto=replace(only, currencies=("USD", "USDT"))))
    checks = list(symbol_checks(facts(registry=registry, settings=tether)))
    assert named(checks, "symbols finnhub").outcome == "ok"
    assert [check for check in checks if check.name == "symbols"] == []
    keyless = facts(registry=registry, settings=tether, keys={"finnhub": [MissingKey("FINNHUB_API_KEY", "")]})
    assert named(list(symbol_checks(keyless)), "symbols").outcome == "fail"


def test_budgets() -> None:
    """A first source that is asked for too much warns; a fallback only serves some."""
    checks = list(budget_checks(facts()))
    assert [check.outcome for check in checks] == ["ok"] * len(checks)
    assert "3 requests a pass" in named(checks, "budget alpaca").detail  # stocks, commodities, coins
    assert "as a fallback" in named(checks, "budget twelvedata").detail
    first = ClassQuotes(sources=("twelvedata", "alpaca"))
    eager = replace(ALPACA, quotes=QuoteSettings(stock=first, commodity=first, crypto=first))
    check = named(list(budget_checks(facts(settings=eager))), "budget twelvedata")
    assert check.outcome == "warn" and "8 per 1m" in check.detail and check.cure


@given(
    requests=st.integers(1, 50),
    seconds=st.integers(1, 600),
    cost=st.integers(1, 60),
    cadence=st.integers(1, 600),
)
def test_a_budget_that_fits_is_never_overdrawn(requests: int, seconds: int, cost: int, cadence: int) -> None:
    """Over a long time no more is asked for than a rate over longer than a pass allows."""
    if seconds < cadence or not fits(Rate(requests, seconds), cost, cadence, 5):
        return
    assert cost * 10_000 // cadence <= requests * -(-10_000 // seconds)
    assert not fits(Rate(requests, seconds), cost + requests * cadence, cadence, 5)


def test_a_rate_of_a_second_binds_within_a_pass() -> None:
    """Thirty a second are 150 in a pass of five seconds."""
    assert fits(Rate(30, 1), 150, 30, 5) and not fits(Rate(30, 1), 151, 30, 5)
