"""Finnhub as a source, through the real finnhub-python, against a server on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from adapters.clock import WallClock
from adapters.quotes.finnhub import FinnhubSource
from adapters.quotes.source import Miss, Outcome, SourceFailedError, SourceQuote
from adapters.stubs.finnhub import FinnhubStub
from engine.errors import ConfigurationError
from engine.model import AssetClass
from tests.adapters.quotes.wrong_sources import CarelessFinnhub
from tests.contracts.quote_fetch import (
    SENTINEL,
    SourceContract,
    World,
    check_requirement_3,
    check_requirement_20,
    check_requirement_21,
    check_requirement_29,
    check_requirement_30,
    check_requirement_31,
)
from tests.shared_data import shared_data

ADA = "BINANCE:ADAUSDT"


@pytest.fixture
def stub() -> Iterator[FinnhubStub]:
    """Return a server that knows one pair and one stock."""
    prices = {ADA: Decimal("0.45123"), "BRK.B": Decimal("512.5")}
    with FinnhubStub(key=SENTINEL, prices=prices) as served:
        yield served


@pytest.fixture
def source(stub: FinnhubStub) -> Iterator[FinnhubSource]:
    """Return the source."""
    made = FinnhubSource(SENTINEL, WallClock(), url=stub.url)
    yield made
    made.close()


@pytest.fixture
def world(stub: FinnhubStub, source: FinnhubSource) -> World:
    """Return the source and its server."""
    return World(
        source=source,
        asset_class=AssetClass.CRYPTO,
        spelling=ADA,
        unknown="BTCUSD",
        currency="USDT",
        set_price=stub.set_price,
        set_plan=lambda plan: setattr(stub, "plan", plan),
        asked=lambda: len(stub.requests),
        now_ms=WallClock().now_utc_ms,
    )


@pytest.fixture
def careless(stub: FinnhubStub, world: World) -> World:
    """Return the wrong source on the same server."""
    return dataclasses.replace(world, source=CarelessFinnhub(SENTINEL, WallClock(), stub.url))


class TestFinnhubSource(SourceContract):
    """The suite of all sources."""


@pytest.mark.requirement(3)
@pytest.mark.requirement(27)
def test_requirement_3_fails_the_careless(careless: World) -> None:
    """The library waits 10 s, whatever was asked for."""
    with pytest.raises(AssertionError):
        check_requirement_3(careless)


@pytest.mark.requirement(20)
def test_requirement_20_fails_the_careless(careless: World) -> None:
    """A price of 0 gets through."""
    with pytest.raises(AssertionError):
        check_requirement_20(careless)


@pytest.mark.requirement(21)
def test_requirement_21_fails_the_careless(careless: World) -> None:
    """A price in USDT is sold as dollars."""
    with pytest.raises(AssertionError):
        check_requirement_21(careless)


@pytest.mark.requirement(29)
def test_requirement_29_fails_the_careless(careless: World, caplog: pytest.LogCaptureFixture) -> None:
    """The key is in the address, and so in the log and in errors."""
    with pytest.raises(AssertionError, match="the key is in"):
        check_requirement_29(careless, caplog)


@pytest.mark.requirement(30)
def test_requirement_30_fails_the_careless(careless: World) -> None:
    """The library's exceptions come through."""
    with pytest.raises(AssertionError):
        check_requirement_30(careless)


@pytest.mark.requirement(31)
def test_requirement_31_fails_the_careless(careless: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library goes through the proxy of the environment."""
    with pytest.raises(AssertionError):
        check_requirement_31(careless, monkeypatch)


def test_the_key_goes_into_a_header_only(stub: FinnhubStub, source: FinnhubSource) -> None:
    """The address of a question has the symbol in it and nothing else."""
    source.fetch([ADA], AssetClass.CRYPTO, 5.0)
    (asked,) = stub.requests
    assert dict(asked.query) == {"symbol": ADA}
    assert asked.headers["X-Finnhub-Token"] == SENTINEL


def test_stocks_are_in_dollars(source: FinnhubSource) -> None:
    """A stock's price is in USD."""
    quote = source.fetch(["BRK.B"], AssetClass.STOCK, 5.0)["BRK.B"]
    assert isinstance(quote, SourceQuote)
    assert (quote.price, quote.currency) == (Decimal("512.5"), "USD")


def test_a_pair_of_an_unknown_currency_has_no_price(stub: FinnhubStub, source: FinnhubSource) -> None:
    """Without a currency a price says nothing."""
    stub.set_price("BINANCE:ADATRY", Decimal(18))
    answer = source.fetch(["BINANCE:ADATRY"], AssetClass.CRYPTO, 5.0)["BINANCE:ADATRY"]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.FAILED


def test_what_is_not_paid_for_is_not_supported(stub: FinnhubStub, source: FinnhubSource) -> None:
    """403 with its sentence speaks of the symbol, not of the source."""
    stub.not_paid_for = frozenset({ADA})
    answer = source.fetch([ADA], AssetClass.CRYPTO, 5.0)[ADA]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.UNSUPPORTED


def test_a_wrong_key_is_a_failure_without_the_key(stub: FinnhubStub) -> None:
    """401 fails the call, with the vendor's words and without the key."""
    wrong = FinnhubSource("wrong-key", WallClock(), url=stub.url)
    with pytest.raises(SourceFailedError, match="401: Invalid API key") as caught:
        wrong.fetch([ADA], AssetClass.CRYPTO, 5.0)
    assert "wrong-key" not in str(caught.value)
    wrong.close()


@pytest.mark.parametrize(("key", "url"), [("", "http://127.0.0.1:1"), ("key", "")])
def test_an_empty_key_or_address_is_refused(key: str, url: str) -> None:
    """An empty address is no way to the real service."""
    with pytest.raises(ConfigurationError):
        FinnhubSource(key, WallClock(), url=url)


@pytest.mark.parametrize(
    ("symbol", "fixture"),
    [(ADA, "quote_crypto"), ("BRK.B", "quote_stock_doc"), ("BTCUSD", "quote_unknown_symbol")],
)
def test_the_server_answers_as_the_service_does(stub: FinnhubStub, symbol: str, fixture: str) -> None:
    """What the service was seen to answer is in the server's answers, with the same types."""
    import requests

    seen = json.loads((shared_data("fixtures", "finnhub") / f"{fixture}.json").read_text())["body"]
    headers = {"X-Finnhub-Token": SENTINEL}
    with requests.Session() as session:
        session.trust_env = False
        told = session.get(f"{stub.url}/quote", params={"symbol": symbol}, headers=headers, timeout=5).json()
    assert set(seen) <= set(told)
    for name, value in seen.items():
        number = isinstance(value, int | float) and isinstance(told[name], int | float)
        assert number or type(told[name]) is type(value), name
