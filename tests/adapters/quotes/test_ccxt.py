"""A crypto exchange as a source of quotes: its tickers on loopback, through the real ccxt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import count

import pytest

from adapters.clock import SimulatedClock
from adapters.quotes.ccxt import CcxtSource
from adapters.quotes.source import Answer, Miss, Outcome, Source, SourceFailedError, SourceQuote
from adapters.stubs.exchange import PAIRS, ExchangeStub, Pair
from adapters.stubs.faults import Fault, Kind, Scripted
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient
from engine.errors import ConfigurationError
from engine.model import AssetClass, QuoteKind
from tests.contracts.quote_fetch import (
    SENTINEL,
    SourceContract,
    World,
    check_requirement_3,
    check_requirement_18,
    check_requirement_20,
    check_requirement_21,
    check_requirement_29,
    check_requirement_30,
)

NOW_MS = 1_763_390_400_000
CRYPTO = AssetClass.CRYPTO


@pytest.fixture
def clock() -> SimulatedClock:
    """Return the clock of source and exchange."""
    return SimulatedClock(NOW_MS)


@pytest.fixture
def exchange(clock: SimulatedClock) -> Iterator[ExchangeStub]:
    """Return an exchange with quotes of SOL and SHIB, and a market that is halted."""
    pairs = (*PAIRS, Pair("LUNA", status="BREAK"), Pair("BTC", "USDT"))
    with ExchangeStub(pairs=pairs, now_ms=clock.now_utc_ms) as exchange:
        exchange.set_quote("SOLUSD", Decimal("100.01"), Decimal("100.02"), at_ms=NOW_MS - 1500)
        exchange.set_quote("SHIBUSD", Decimal("0.00001234"), Decimal("0.00001235"))
        exchange.set_quote("BTCUSDT", Decimal(90_000), Decimal(90_001))
        yield exchange


@pytest.fixture
def source(exchange: ExchangeStub, clock: SimulatedClock) -> Iterator[CcxtSource]:
    """Return the source: it has no key."""
    source = CcxtSource(_client(exchange, clock), clock)
    yield source
    source.close()


def _client(exchange: ExchangeStub, clock: SimulatedClock, name: str = "binanceus") -> ExchangeClient:
    access = ExchangeAccess(name, url=exchange.url, read_seconds=0.5, total_seconds=1.0)
    return ExchangeClient(access, clock.now_utc_ms, monotonic=lambda: 0.0)


class CarelessExchange:
    """The library as its page shows it: floats, the time of receipt, everything in dollars, 0 for a price."""

    name = "ccxt:binanceus"
    batch = 100

    def __init__(self, exchange: ExchangeStub, clock: SimulatedClock) -> None:
        """Make the library's own client."""
        import ccxt

        self._clock = clock
        self._exchange = ccxt.binanceus({"apiKey": SENTINEL, "secret": SENTINEL, "timeout": 60_000})
        self._exchange.urls["api"]["public"] = f"{exchange.url}/api/v3"

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Pass on what comes."""
        tickers = self._exchange.fetch_tickers(list(spellings))
        now_ms = self._clock.now_utc_ms()
        return {
            text: SourceQuote(
                Decimal(str(ticker["last"])),
                Decimal(str(ticker["bid"])),
                Decimal(str(ticker["ask"])),
                "USD",
                QuoteKind.QUOTE,
                now_ms,
                now_ms,
            )
            for text, ticker in tickers.items()
        }


def _world(exchange: ExchangeStub, clock: SimulatedClock, source: Source) -> World:
    def set_price(text: str, price: Decimal, at_ms: int) -> None:
        exchange.set_quote(text.replace("/", ""), price, price, at_ms=at_ms)

    return World(
        source=source,
        asset_class=CRYPTO,
        spelling="BTC/USDT",
        unknown="NO/USD",
        currency="USDT",
        set_price=set_price,
        set_plan=lambda plan: setattr(exchange, "plan", plan),
        asked=lambda: sum("ticker" in asked.path for asked in exchange.requests),
        now_ms=clock.now_utc_ms,
        kind=QuoteKind.QUOTE,
        path="ticker",
    )


class TestContract(SourceContract):
    """The suite of all sources; with a key, though none is needed."""

    @pytest.fixture
    def world(self, exchange: ExchangeStub, clock: SimulatedClock) -> Iterator[World]:
        """Return a source; between two calls the exchange's wish to be left alone has passed."""
        access = ExchangeAccess("binanceus", SENTINEL, SENTINEL, url=exchange.url)
        client = ExchangeClient(access, clock.now_utc_ms, monotonic=count(0.0, 2.0).__next__)
        source = CcxtSource(client, clock)
        yield _world(exchange, clock, source)
        source.close()


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check_requirement_3, marks=pytest.mark.requirement(3)),
        pytest.param(check_requirement_18, marks=pytest.mark.requirement(18)),
        pytest.param(check_requirement_20, marks=pytest.mark.requirement(20)),
        pytest.param(check_requirement_21, marks=pytest.mark.requirement(21)),
        pytest.param(check_requirement_30, marks=pytest.mark.requirement(30)),
    ],
)
def test_a_careless_source_is_caught(
    exchange: ExchangeStub, clock: SimulatedClock, check: Callable[[World], None]
) -> None:
    """The checks fail a source that is easily written, and wrong."""
    with pytest.raises(AssertionError):
        check(_world(exchange, clock, CarelessExchange(exchange, clock)))


@pytest.mark.requirement(29)
def test_a_careless_source_tells_its_key(
    exchange: ExchangeStub, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the library's client logs, the check of secrets sees it."""
    careless = CarelessExchange(exchange, clock)
    careless._exchange.headers = {"X-MBX-APIKEY": SENTINEL}  # what it sends with whatever it signs
    with pytest.raises(AssertionError):
        check_requirement_29(_world(exchange, clock, careless), caplog)


def test_many_in_one_call(source: CcxtSource, exchange: ExchangeStub) -> None:
    """Quotes are exact, with the exchange's time and currency; the call for all of them is one."""
    answers = source.fetch(["SOL/USD", "SHIB/USD", "BTC/USDT"], CRYPTO, 1.0)
    assert source.name == "ccxt:binanceus"
    assert answers["SOL/USD"] == SourceQuote(
        price=Decimal("100.015"),
        bid=Decimal("100.01"),
        ask=Decimal("100.02"),
        currency="USD",
        kind=QuoteKind.QUOTE,
        source_time_ms=NOW_MS - 1500,
        receive_time_ms=NOW_MS,
    )
    shib, bitcoin = answers["SHIB/USD"], answers["BTC/USDT"]
    assert isinstance(shib, SourceQuote)
    assert (shib.bid, shib.ask) == (Decimal("0.00001234"), Decimal("0.00001235"))
    assert isinstance(bitcoin, SourceQuote)
    assert bitcoin.currency == "USDT"
    source.fetch(["SOL/USD"], CRYPTO, 1.0)
    assert [asked.path for asked in exchange.requests] == [
        "/api/v3/exchangeInfo",
        "/api/v3/ticker/24hr",
        "/api/v3/ticker/24hr",
    ]


def test_what_is_not_there(source: CcxtSource) -> None:
    """What is not served, what is halted and what has no price are told apart, and cost no other."""
    answers = source.fetch(["NO/USD", "LUNA/USD", "ADA/USD", "SOL/USD"], CRYPTO, 1.0)
    misses = {text: answer.outcome for text, answer in answers.items() if isinstance(answer, Miss)}
    assert misses == {
        "NO/USD": Outcome.UNSUPPORTED,
        "LUNA/USD": Outcome.NO_DATA,
        "ADA/USD": Outcome.NO_DATA,
    }
    assert isinstance(answers["SOL/USD"], SourceQuote)
    assert all(answer.reason for answer in answers.values() if isinstance(answer, Miss))


def test_stocks_are_not_asked_for(source: CcxtSource, exchange: ExchangeStub) -> None:
    """ETH the fund is not ETH the coin."""
    answer = source.fetch(["ETH"], AssetClass.STOCK, 1.0)["ETH"]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.UNSUPPORTED
    assert exchange.requests == []


def test_without_a_time_the_age_is_not_known(source: CcxtSource, exchange: ExchangeStub) -> None:
    """An exchange that stamps nothing gives no time, not the time of receipt."""
    exchange.set_quote("SOLUSD", Decimal(100), Decimal(101), at_ms=0)
    answer = source.fetch(["SOL/USD"], CRYPTO, 1.0)["SOL/USD"]
    assert isinstance(answer, SourceQuote)
    assert answer.source_time_ms is None


@pytest.mark.requirement(30)
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("path", ["exchangeInfo", "ticker"])
def test_every_fault_is_a_typed_failure(
    source: CcxtSource, exchange: ExchangeStub, kind: Kind, path: str
) -> None:
    """Whatever comes instead of an answer fails the call within its time, and the next one works."""
    exchange.plan = Scripted([Fault(kind, accepted=True)], path=path)
    began = time.monotonic()
    with pytest.raises(SourceFailedError) as caught:
        source.fetch(["SOL/USD"], CRYPTO, 0.3)
    assert time.monotonic() - began < 5
    assert caught.value.reason.startswith("binanceus: ")
    assert caught.value.retry_after_seconds == (1.0 if kind is Kind.STATUS_429 else None)
    if kind is not Kind.STATUS_429:  # there it keeps to what it was asked for
        assert isinstance(source.fetch(["SOL/USD"], CRYPTO, 1.0)["SOL/USD"], SourceQuote)


def test_an_odd_row_costs_itself(source: CcxtSource, exchange: ExchangeStub) -> None:
    """One ticker that cannot be read is missing; the others are there."""
    exchange.edits["ticker/24hr"] = lambda rows: [None, {"symbol": 7}, *rows[1:]]
    answers = source.fetch(["SHIB/USD", "SOL/USD"], CRYPTO, 1.0)
    assert isinstance(answers["SHIB/USD"], Miss)
    assert isinstance(answers["SOL/USD"], SourceQuote)


def test_an_exchange_without_tickers_is_refused(exchange: ExchangeStub, clock: SimulatedClock) -> None:
    """Exchanges that would take a request for each market are no source."""
    with pytest.raises(ConfigurationError, match="in one call"):
        CcxtSource(_client(exchange, clock, "bitflyer"), clock)
