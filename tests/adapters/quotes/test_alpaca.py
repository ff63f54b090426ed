"""Alpaca's latest quotes as a source, through the real alpaca-py, against the local Alpaca."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from decimal import Decimal

import pytest

from adapters.clock import WallClock
from adapters.quotes.alpaca import AlpacaSource
from adapters.quotes.source import Miss, Outcome, SourceFailedError, SourceQuote
from adapters.stubs.alpaca import AlpacaStub
from adapters.vendors.alpaca import AlpacaAccess
from engine.model import AssetClass, QuoteKind
from tests.adapters.quotes.wrong_sources import CarelessAlpaca
from tests.contracts.quote_fetch import (
    SENTINEL,
    SourceContract,
    World,
    check_requirement_18,
    check_requirement_30,
    check_requirement_31,
)

BTC = "BTC/USD"


@pytest.fixture
def stub() -> Iterator[AlpacaStub]:
    """Return the local Alpaca with a pair and two stocks."""
    with AlpacaStub(clock=WallClock(), secret=SENTINEL) as served:
        for symbol, price in ((BTC, "50000"), ("SPY", "689.43"), ("BRK.B", "512.5")):
            served.venue.set_quote(symbol, Decimal(price), Decimal(price) + 1)
        yield served


@pytest.fixture
def access(stub: AlpacaStub) -> AlpacaAccess:
    """Return the way to it."""
    return AlpacaAccess(stub.key_id, stub.secret, trading_url=stub.url, data_url=stub.data_url)


@pytest.fixture
def source(access: AlpacaAccess) -> AlpacaSource:
    """Return the source."""
    return AlpacaSource(access, WallClock())


@pytest.fixture
def world(stub: AlpacaStub, source: AlpacaSource) -> World:
    """Return the source and its server."""

    def set_price(symbol: str, price: Decimal, at_ms: int) -> None:
        stub.venue.set_quote(symbol, price, price, at_ms=at_ms)

    return World(
        source=source,
        asset_class=AssetClass.CRYPTO,
        spelling=BTC,
        unknown="NO/USD",
        currency="USD",
        set_price=set_price,
        set_plan=lambda plan: setattr(stub, "plan", plan),
        asked=lambda: stub.count("GET"),
        now_ms=WallClock().now_utc_ms,
        kind=QuoteKind.QUOTE,
    )


@pytest.fixture
def careless(stub: AlpacaStub, world: World) -> World:
    """Return the wrong source on the same server."""
    wrong = CarelessAlpaca(stub.key_id, stub.secret, WallClock(), stub.data_url)
    return dataclasses.replace(world, source=wrong)


class TestAlpacaSource(SourceContract):
    """The suite of all sources."""


@pytest.mark.requirement(18)
def test_requirement_18_fails_the_careless(careless: World) -> None:
    """The time of the answer is not the time of the quote."""
    with pytest.raises(AssertionError):
        check_requirement_18(careless)


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


def test_bid_and_ask_are_the_books(source: AlpacaSource) -> None:
    """A quote has both sides; its price is their middle."""
    quote = source.fetch(["BRK.B"], AssetClass.STOCK, 10.0)["BRK.B"]
    assert isinstance(quote, SourceQuote)
    assert (quote.bid, quote.ask, quote.price) == (Decimal("512.5"), Decimal("513.5"), Decimal(513))
    assert (quote.kind, quote.currency) == (QuoteKind.QUOTE, "USD")


def test_many_symbols_are_one_request(stub: AlpacaStub, source: AlpacaSource) -> None:
    """A batch is one call; what Alpaca leaves out is left out."""
    answers = source.fetch(["SPY", "ZZZZ", "BRK.B"], AssetClass.STOCK, 10.0)
    assert stub.count("GET") == 1
    assert set(answers) == {"SPY", "BRK.B"}


@pytest.mark.requirement(22)
@pytest.mark.parametrize(
    ("spelling", "asset_class"),
    [("BTCUSD", AssetClass.CRYPTO), ("BTC-USD", AssetClass.CRYPTO), ("BRK-B", AssetClass.STOCK)],
)
def test_another_notation_is_not_sent(
    stub: AlpacaStub, source: AlpacaSource, spelling: str, asset_class: AssetClass
) -> None:
    """One wrong symbol would be an error for all of a batch: it is not asked for, and is not supported."""
    right = BTC if asset_class is AssetClass.CRYPTO else "SPY"
    answers = source.fetch([right, spelling], asset_class, 10.0)
    wrong = answers[spelling]
    assert isinstance(wrong, Miss)
    assert wrong.outcome is Outcome.UNSUPPORTED
    assert isinstance(answers[right], SourceQuote)
    assert stub.count("GET") == 1


def test_a_book_with_one_side_is_no_data(stub: AlpacaStub, source: AlpacaSource) -> None:
    """An ask of 0 is nobody's ask."""
    stub.venue.set_quote("SPY", Decimal("689.43"), Decimal(0))
    answer = source.fetch(["SPY"], AssetClass.STOCK, 10.0)["SPY"]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.NO_DATA
    assert "ask" in answer.reason


def test_a_wrong_key_is_a_failure(access: AlpacaAccess) -> None:
    """401 fails the call, without the key."""
    wrong = AlpacaSource(dataclasses.replace(access, secret="another"), WallClock())
    with pytest.raises(SourceFailedError, match="401") as caught:
        wrong.fetch([BTC], AssetClass.CRYPTO, 10.0)
    assert "another" not in caught.value.reason


def test_a_feed_that_is_not_paid_for_is_a_failure(access: AlpacaAccess) -> None:
    """403 for the feed is told in the venue's words."""
    wrong = AlpacaSource(dataclasses.replace(access, feed="sip"), WallClock())
    with pytest.raises(SourceFailedError, match="subscription"):
        wrong.fetch(["SPY"], AssetClass.STOCK, 10.0)


def test_a_batch_refused_for_one_symbol(source: AlpacaSource) -> None:
    """What Alpaca names is not served, and the others were not answered; they are told apart."""
    answers = source.fetch(["SPY", "A1"], AssetClass.STOCK, 10.0)
    outcomes = {symbol: answer.outcome for symbol, answer in answers.items() if isinstance(answer, Miss)}
    assert outcomes == {"SPY": Outcome.FAILED, "A1": Outcome.UNSUPPORTED}
    assert "A1" in str(answers["SPY"])
