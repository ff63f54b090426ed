"""ccxt's client made safe: where requests go, what they take from the environment, and how they fail."""

from __future__ import annotations

import decimal
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from adapters.stubs.exchange import KEY, SECRET, ExchangeStub
from adapters.stubs.faults import Fault, Kind, Scripted
from adapters.vendors.ccxt import (
    ExchangeAccess,
    ExchangeAmbiguous,
    ExchangeClient,
    ExchangeRefused,
    ExchangeUnavailable,
)
from engine.errors import ConfigurationError
from tests.adapters.brokers.ccxt_world import START_MS, Seconds

ORDER = ("SOL/USD", "limit", "buy", "1", "90", {"newClientOrderId": "one", "timeInForce": "GTC"})


@pytest.fixture
def exchange() -> Iterator[ExchangeStub]:
    """Return an exchange with a quote."""
    with ExchangeStub(now_ms=lambda: START_MS) as exchange:
        exchange.set_quote("SOLUSD", Decimal(100), Decimal(101))
        yield exchange


@pytest.fixture
def seconds() -> Seconds:
    """Return the client's monotonic clock."""
    return Seconds()


@pytest.fixture
def client(exchange: ExchangeStub, seconds: Seconds) -> Iterator[ExchangeClient]:
    """Return a client of it."""
    access = ExchangeAccess("binanceus", KEY, SECRET, url=exchange.url, read_seconds=0.3, total_seconds=0.6)
    client = ExchangeClient(access, lambda: START_MS, seconds)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": KEY}, "both a key and its secret"),
        ({"url": ""}, "loopback"),
        ({"url": "https://api.binance.us"}, "loopback"),
        ({"url": "http://127.0.0.1:80/"}, "loopback"),
        ({"url": "http://user@127.0.0.1:80"}, "loopback"),
        ({"url": "http://[::1"}, "loopback"),
        ({"sandbox": False}, "both sandbox=False and live=True"),
        ({"live": True}, "both sandbox=False and live=True"),
        ({"live": True, "sandbox": False, "url": "http://127.0.0.1:80"}, "no other address"),
        ({"total_seconds": 0}, "timeouts"),
        ({"receive_window_ms": 60_001}, "receive window"),
    ],
)
def test_what_access_must_not_say(options: dict[str, Any], says: str) -> None:
    """An empty address, half of a key, one switch alone for real money: mistakes, told without keys."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        ExchangeAccess("binanceus", **options)
    assert KEY not in str(caught.value)


def _hosts(access: ExchangeAccess) -> frozenset[str]:
    client = ExchangeClient(access, lambda: START_MS)
    client.close()
    return client._gate._hosts


def test_where_requests_go() -> None:
    """With a key to the sandbox; to the exchange with both switches, or where no key is that could trade."""
    sandbox = _hosts(ExchangeAccess("binance", KEY, SECRET))
    live = _hosts(ExchangeAccess("binance", KEY, SECRET, sandbox=False, live=True))
    assert "testnet.binance.vision" in sandbox
    assert "api.binance.com" in live
    assert not sandbox & live
    assert _hosts(ExchangeAccess("binance")) == live


def test_a_sandbox_by_inheritance_is_none() -> None:
    """The library would send Binance US's key to the sandbox of Binance."""
    with pytest.raises(ConfigurationError, match="no sandbox of binanceus"):
        ExchangeClient(ExchangeAccess("binanceus", KEY, SECRET), lambda: START_MS)


def test_an_unknown_exchange() -> None:
    """A name that ccxt does not know is a mistake of the set-up."""
    with pytest.raises(ConfigurationError, match="no exchange 'nowhere'"):
        ExchangeClient(ExchangeAccess("nowhere"), lambda: START_MS)


def test_no_other_address(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """Whatever address the library comes up with, a request goes to its exchange or nowhere."""
    client._exchange.urls["api"]["public"] = "https://api.example.org/api/v3"
    with pytest.raises(ConfigurationError, match="another address"):
        client.call("fetch_time")
    client._exchange.urls["api"]["public"] = "http://api.binance.us/api/v3"
    with pytest.raises(ConfigurationError, match="another address"):
        client.call("fetch_time")
    assert exchange.requests == []


def test_nothing_from_the_environment(client: ExchangeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are not used: there a key would pass by."""
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert client.call("fetch_time") == START_MS


def test_numbers_are_text(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """What the exchange wrote is what is read, also where it wrote a JSON number."""
    exchange.set_quote("SHIBUSD", Decimal("0.00001234"), Decimal("0.00001235"))
    ticker = client.call("fetch_tickers", ["SHIB/USD"])["SHIB/USD"]
    assert (ticker["bid"], ticker["ask"]) == ("0.00001234", "0.00001235")
    exchange.edits["ticker/24hr"] = lambda rows: [{**rows[0], "bidPrice": 0.1, "askPrice": 1}]
    ticker = client.call("fetch_tickers", ["SHIB/USD"])["SHIB/USD"]
    assert (ticker["bid"], ticker["ask"]) == ("0.1", "1")


def test_the_decimals_of_this_thread_stay_as_they_are(client: ExchangeClient) -> None:
    """The library sets rounding and traps of the context it works in: not of ours."""
    before = decimal.getcontext().copy()
    client.call("create_order", *ORDER)
    after = decimal.getcontext()
    assert (after.rounding, after.traps, after.prec) == (before.rounding, before.traps, before.prec)


def test_refused_by_the_exchange_and_by_the_library(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """A certain no says its kind, whoever said it."""
    with pytest.raises(ExchangeRefused) as caught:
        client.call("fetch_order", None, "SOL/USD", {"origClientOrderId": "none"})
    assert (caught.value.kind, caught.value.reason) == ("OrderNotFound", "Order does not exist. (-2013)")
    exchange.requests.clear()
    with pytest.raises(ExchangeRefused) as caught:
        client.call("create_order", "NO/USD", *ORDER[1:])
    assert caught.value.kind == "BadSymbol"
    assert exchange.requests == []
    client.call("create_order", *ORDER)
    with pytest.raises(ExchangeRefused) as caught:
        client.call("create_order", *ORDER)
    assert caught.value.kind == "DuplicateOrderId"


def test_writes_are_ambiguous_and_questions_are_not(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """The same silence is AMBIGUOUS after a write that left, and unavailable after a question."""
    client.markets()
    exchange.plan = Scripted([Fault(Kind.RESET)] * 2, path="/order")
    with pytest.raises(ExchangeAmbiguous):
        client.call("create_order", *ORDER)
    with pytest.raises(ExchangeUnavailable):
        client.call("fetch_order", None, "SOL/USD", {"origClientOrderId": "one"})


def test_a_server_that_is_not_there(exchange: ExchangeStub) -> None:
    """Where nobody listens nothing was sent, a write neither."""
    access = ExchangeAccess("binanceus", KEY, SECRET, url=exchange.url)
    client = ExchangeClient(access, lambda: START_MS)
    client.markets()
    client.call("fetch_balance")
    client.close()
    exchange.close()
    with pytest.raises(ExchangeUnavailable, match="refuses connections"):
        client.call("create_order", *ORDER)


def test_left_alone_as_it_asked(client: ExchangeClient, exchange: ExchangeStub, seconds: Seconds) -> None:
    """After a 429 nothing is sent until its Retry-After has passed: who goes on is banned."""
    exchange.plan = Scripted([Fault(Kind.STATUS_429)])
    with pytest.raises(ExchangeUnavailable) as caught:
        client.call("fetch_time")
    assert caught.value.retry_after_seconds == 1.0
    with pytest.raises(ExchangeUnavailable, match="left alone"):
        client.call("fetch_time")
    assert len(exchange.requests) == 1
    seconds.now += 1.0
    assert client.call("fetch_time") == START_MS


def test_calls_of_many_threads(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """Calls wait for each other, and each gets its own answer."""
    exchange.set_quote("ETHUSD", Decimal(3000), Decimal(3001))
    client.markets()
    wrong: list[str] = []

    def ask(symbol: str, bid: str) -> None:
        for _ in range(5):
            ticker = client.call("fetch_tickers", [symbol])[symbol]
            if Decimal(ticker["bid"]) != Decimal(bid):
                wrong.append(symbol)

    threads = [
        threading.Thread(target=ask, args=pair)
        for pair in [("SOL/USD", "100"), ("ETH/USD", "3000")]
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_no_time_left(client: ExchangeClient, exchange: ExchangeStub) -> None:
    """A call without time sends nothing."""
    with pytest.raises(ExchangeUnavailable, match="no time"):
        client.call("fetch_time", seconds=0.0)
    assert exchange.requests == []


def test_odd_rows_are_logged_without_what_they_hold(
    client: ExchangeClient, exchange: ExchangeStub, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that cannot be read is told of, and not quoted."""
    exchange.edits["openOrders"] = lambda _: [None, {"symbol": KEY}]
    with caplog.at_level(logging.WARNING):
        rows = client.call("fetch_open_orders")
    assert rows[0] == {"info": None}
    assert "cannot be read" in caplog.text
    assert KEY not in caplog.text
