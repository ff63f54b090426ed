"""Twelve Data as a source, over httpx2, against a server on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from adapters.clock import WallClock
from adapters.quotes.source import Miss, Outcome, SourceFailedError, SourceQuote
from adapters.quotes.twelvedata import FREE_PLAN_CREDITS, TwelveDataSource
from adapters.stubs.twelvedata import TwelveDataStub
from engine.errors import ConfigurationError
from engine.model import AssetClass
from tests.adapters.quotes.wrong_sources import CarelessTwelveData
from tests.contracts.quote_fetch import (
    SENTINEL,
    SourceContract,
    World,
    check_requirement_18,
    check_requirement_20,
    check_requirement_29,
    check_requirement_30,
)
from tests.shared_data import shared_data

_LATE_IN_A_DAY_MS = 1_795_305_590_000  # 2026-11-21T23:59:50Z
ADA = "ADA/USD"


class _Stopped(WallClock):
    """A clock that stands still, ten seconds before a minute and a day end."""

    def __init__(self) -> None:
        super().__init__(wall_ns=lambda: _LATE_IN_A_DAY_MS * 1_000_000)


@pytest.fixture
def stub() -> Iterator[TwelveDataStub]:
    """Return a server that knows a pair and two stocks."""
    prices = {ADA: Decimal("0.45123"), "SPY": Decimal("689.43"), "BRK.B": Decimal("512.5")}
    with TwelveDataStub(key=SENTINEL, prices=prices) as served:
        yield served


@pytest.fixture
def source(stub: TwelveDataStub) -> Iterator[TwelveDataSource]:
    """Return the source."""
    made = TwelveDataSource(SENTINEL, WallClock(), url=stub.url)
    yield made
    made.close()


@pytest.fixture
def world(stub: TwelveDataStub, source: TwelveDataSource) -> World:
    """Return the source and its server."""
    return World(
        source=source,
        asset_class=AssetClass.CRYPTO,
        spelling=ADA,
        unknown="NO/USD",
        currency="USD",
        set_price=stub.set_price,
        set_plan=lambda plan: setattr(stub, "plan", plan),
        asked=lambda: len(stub.requests),
        now_ms=WallClock().now_utc_ms,
    )


@pytest.fixture
def careless(stub: TwelveDataStub, world: World) -> World:
    """Return the wrong source on the same server."""
    return dataclasses.replace(world, source=CarelessTwelveData(SENTINEL, WallClock(), stub.url))


class TestTwelveDataSource(SourceContract):
    """The suite of all sources."""


@pytest.mark.requirement(18)
def test_requirement_18_fails_the_careless(careless: World) -> None:
    """``timestamp`` is the start of the day's bar, and a price with two decimals is another price."""
    with pytest.raises(AssertionError):
        check_requirement_18(careless)


@pytest.mark.requirement(20)
def test_requirement_20_fails_the_careless(careless: World) -> None:
    """An error in HTTP 200 becomes a price of 0."""
    with pytest.raises(AssertionError):
        check_requirement_20(careless)


@pytest.mark.requirement(29)
def test_requirement_29_fails_the_careless(careless: World, caplog: pytest.LogCaptureFixture) -> None:
    """The key is in the address, and so in errors."""
    with pytest.raises(AssertionError, match="the key is in"):
        check_requirement_29(careless, caplog)


@pytest.mark.requirement(30)
def test_requirement_30_fails_the_careless(careless: World) -> None:
    """What is no JSON raises whatever it raises."""
    with pytest.raises(AssertionError):
        check_requirement_30(careless)


def test_several_symbols_are_one_request(stub: TwelveDataStub, source: TwelveDataSource) -> None:
    """A batch is one call; what is not known is told for itself and spoils nothing."""
    answers = source.fetch(["SPY", "NO-SUCH", "BRK.B"], AssetClass.STOCK, 5.0)
    assert len(stub.requests) == 1
    assert dict(stub.requests[0].query) == {"symbol": "SPY,NO-SUCH,BRK.B"}
    spy, unknown = answers["SPY"], answers["NO-SUCH"]
    assert isinstance(spy, SourceQuote)
    assert (spy.price, spy.currency) == (Decimal("689.43"), "USD")
    assert isinstance(unknown, Miss)
    assert unknown.outcome is Outcome.UNSUPPORTED
    assert isinstance(answers["BRK.B"], SourceQuote)


def test_the_key_goes_into_a_header_only(stub: TwelveDataStub, source: TwelveDataSource) -> None:
    """The address of a question has no key in it."""
    source.fetch([ADA], AssetClass.CRYPTO, 5.0)
    (asked,) = stub.requests
    assert asked.headers["Authorization"] == f"apikey {SENTINEL}"
    assert SENTINEL not in str(asked.query)


@pytest.mark.parametrize("spellings", [[ADA], [ADA, "BTC/USD"]])
def test_credits_that_are_spent_are_a_failure_until_the_minute_ends(
    stub: TwelveDataStub, spellings: list[str]
) -> None:
    """429 inside HTTP 200, for one symbol or for all of a batch, with the time until credits come back."""
    stub.credits_left = 0
    source = TwelveDataSource(SENTINEL, _Stopped(), url=stub.url)
    with pytest.raises(SourceFailedError, match="run out of API credits") as caught:
        source.fetch(spellings, AssetClass.CRYPTO, 5.0)
    assert caught.value.retry_after_seconds == 10
    source.close()


def test_credits_that_end_within_a_batch(stub: TwelveDataStub, source: TwelveDataSource) -> None:
    """What could still be paid for is answered, the rest has failed."""
    stub.credits_left = 1
    answers = source.fetch(["SPY", "BRK.B"], AssetClass.STOCK, 5.0)
    assert isinstance(answers["SPY"], SourceQuote)
    rest = answers["BRK.B"]
    assert isinstance(rest, Miss)
    assert rest.outcome is Outcome.FAILED


def test_a_wrong_key_is_a_failure_without_the_key(stub: TwelveDataStub) -> None:
    """401 fails the call, with the vendor's words and without the key."""
    wrong = TwelveDataSource("wrong-key", WallClock(), url=stub.url)
    with pytest.raises(SourceFailedError, match="apikey") as caught:
        wrong.fetch([ADA], AssetClass.CRYPTO, 5.0)
    assert "wrong-key" not in str(caught.value)
    wrong.close()


def test_a_call_holds_no_more_than_the_free_plan_pays_for(source: TwelveDataSource) -> None:
    """A batch of nine could never be answered in full."""
    assert source.batch == FREE_PLAN_CREDITS == 8


@pytest.mark.parametrize(("key", "url"), [("", "http://127.0.0.1:1"), ("key", "")])
def test_an_empty_key_or_address_is_refused(key: str, url: str) -> None:
    """An empty address is no way to the real service."""
    with pytest.raises(ConfigurationError):
        TwelveDataSource(key, WallClock(), url=url)


@pytest.mark.parametrize(("symbol", "fixture"), [("SPY", "quote_index"), ("NO", "err_404_symbol")])
def test_the_server_answers_as_the_service_does(stub: TwelveDataStub, symbol: str, fixture: str) -> None:
    """What the service was seen to answer is in the server's answers, with the same types."""
    import httpx2

    seen = json.loads((shared_data("fixtures", "twelvedata") / f"{fixture}.json").read_text())["body"]
    headers = {"Authorization": f"apikey {SENTINEL}"}
    with httpx2.Client(trust_env=False, headers=headers) as client:
        told = client.get(f"{stub.url}/quote", params={"symbol": symbol}).json()
    assert set(seen) <= set(told)
    assert {name: type(told[name]) for name in seen} == {name: type(value) for name, value in seen.items()}
