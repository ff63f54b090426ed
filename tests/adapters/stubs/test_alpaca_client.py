"""The real alpaca-py drives the local Alpaca: clients and streams, in fair weather and with faults."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestQuoteRequest,
    CryptoLatestTradeRequest,
    StockBarsRequest,
    StockLatestQuoteRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
)
from alpaca.trading.stream import TradingStream

from adapters.stubs.alpaca import AlpacaStub
from adapters.stubs.faults import EVERY_FAULT, Fault, Kind, Scripted
from engine.model import Bar
from tests.adapters.stubs.alpaca_world import THURSDAY_10H, market, order

_WAIT_SECONDS: Final = 10.0
_NOT_HANGING: Final = [fault for fault in EVERY_FAULT if fault.kind is not Kind.HANG]
_ON_TIME: Final = datetime(2025, 11, 20, 15, tzinfo=UTC)


@pytest.fixture
def stub() -> Iterator[AlpacaStub]:
    """A market with 10,000 dollars."""
    with market() as served:
        yield served


@pytest.fixture
def client(stub: AlpacaStub) -> TradingClient:
    """The real client, pointed at the stub; it waits for nothing between its retries."""
    made = TradingClient(stub.key_id, stub.secret, url_override=stub.url)
    made._retry_wait = 0
    made._session.trust_env = False
    return made


def limit_buy(client_order_id: str, price: float = 110, quantity: float = 1) -> LimitOrderRequest:
    """Return a buy of BTC/USD."""
    return LimitOrderRequest(
        symbol="BTC/USD",
        qty=quantity,
        side=OrderSide.BUY,
        time_in_force=TimeInForce.GTC,
        limit_price=price,
        client_order_id=client_order_id,
    )


# --- clients -----------------------------------------------------------------------------------


def test_an_order_from_submission_to_position(client: TradingClient, stub: AlpacaStub) -> None:
    """Everything the trading client is asked for is parsed into its own models."""
    taken: Any = client.submit_order(limit_buy("mine"))
    assert taken.status is OrderStatus.PENDING_NEW
    found: Any = client.get_order_by_client_id("mine")
    assert (found.status, found.filled_qty, found.filled_avg_price) == (OrderStatus.FILLED, "1", "100")
    assert client.get_order_by_id(taken.id) == found
    held: Any = client.get_open_position("BTCUSD")
    assert (held.qty, held.asset_id) == ("1", found.asset_id)
    assert client.get_all_positions() == [held]
    account: Any = client.get_account()
    assert (account.cash, account.equity) == ("9900", "9999.99")
    clock: Any = client.get_clock()
    assert clock.is_open
    assert clock.timestamp.astimezone(UTC).replace(microsecond=0) == _ON_TIME
    with pytest.raises(APIError) as error:
        client.submit_order(limit_buy("mine"))
    assert (error.value.status_code, error.value.code) == (422, 40010001)


def test_open_orders_replacing_and_cancelling(client: TradingClient) -> None:
    """An order is listed while it is open, replaced by another, and cancelled once."""
    first: Any = client.submit_order(limit_buy("first", price=50))
    wanted = GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=["BTC/USD"], nested=True, limit=500)
    assert [one.id for one in client.get_orders(wanted)] == [first.id]  # type: ignore[union-attr]  # no raw data
    changed: Any = client.replace_order_by_id(first.id, ReplaceOrderRequest(limit_price=51, qty=2))
    assert (changed.replaces, changed.qty) == (first.id, "2")
    client.cancel_order_by_id(changed.id)
    with pytest.raises(APIError, match="already in"):
        client.cancel_order_by_id(changed.id)
    assert client.get_orders(wanted) == []


def test_assets_and_calendar(client: TradingClient) -> None:
    """Steps and minimums come over, in both classes; the calendar is that of the week."""
    pairs: Any = client.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))
    assert {"BTC/USD", "USDT/USD"} <= {asset.symbol for asset in pairs}
    doge: Any = client.get_asset("DOGE/USD")
    assert (doge.min_order_size, doge.price_increment) == (7.5, 1e-7)
    days: Any = client.get_calendar(GetCalendarRequest(start=_ON_TIME.date(), end=_ON_TIME.date()))
    assert [str(day.close) for day in days] == ["2025-11-20 16:00:00"]


def test_market_data(stub: AlpacaStub) -> None:
    """Quotes, trades, bars and snapshots are parsed; what is not known is absent; pages are joined."""
    pairs = CryptoHistoricalDataClient(stub.key_id, stub.secret, url_override=stub.data_url)
    stocks = StockHistoricalDataClient(stub.key_id, stub.secret, url_override=stub.data_url)
    both = ["BTC/USD", "ADA/USD"]
    quotes: Any = pairs.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols=both))
    assert list(quotes) == ["BTC/USD"]
    assert (quotes["BTC/USD"].bid_price, quotes["BTC/USD"].ask_price) == (99.99, 100)
    trades: Any = pairs.get_crypto_latest_trade(CryptoLatestTradeRequest(symbol_or_symbols=both))
    assert trades["BTC/USD"].price == 99.99
    start = _ON_TIME - timedelta(hours=5)
    asked = CryptoBarsRequest(symbol_or_symbols=both, timeframe=TimeFrame.Minute, start=start, limit=170)
    assert len(pairs.get_crypto_bars(asked)["BTC/USD"]) == 170
    of_stocks = StockBarsRequest(symbol_or_symbols="SPY", timeframe=TimeFrame.Hour, start=start)
    assert [bar.volume for bar in stocks.get_stock_bars(of_stocks)["SPY"]] == [600, 600, 600]
    quote: Any = stocks.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="SPY"))
    assert quote["SPY"].timestamp == _ON_TIME + timedelta(microseconds=661)
    snapshot: Any = stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="SPY"))
    assert snapshot["SPY"].minute_bar.close == pytest.approx(102.29)


# --- what ADAPTERS.md says of retries, on the real client --------------------------------------


def test_without_an_id_a_retry_duplicates(client: TradingClient, stub: AlpacaStub) -> None:
    """504 three times after acceptance: one call, four orders."""
    stub.plan = Scripted([Fault(Kind.STATUS_504, accepted=True)] * 3, "POST")
    client.submit_order(
        MarketOrderRequest(symbol="BTC/USD", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
    )
    assert len(stub.venue.orders()) == stub.count("POST", "/v2/orders") == 4


def test_with_an_id_a_retry_is_refused(client: TradingClient, stub: AlpacaStub) -> None:
    """504 once after acceptance: the call fails although its order exists."""
    stub.plan = Scripted([Fault(Kind.STATUS_504, accepted=True)], "POST")
    with pytest.raises(APIError, match="must be unique"):
        client.submit_order(limit_buy("once"))
    assert stub.venue.order("once").status == "filled"


def test_closing_half_twice_sells_three_quarters(client: TradingClient, stub: AlpacaStub) -> None:
    """504 once after acceptance of a closing by percentage: it is carried out again."""
    stub.venue.submit(order("SPY", qty="8"))
    stub.plan = Scripted([Fault(Kind.STATUS_504, accepted=True)], "DELETE")
    client.close_position("SPY", ClosePositionRequest(percentage="50"))
    assert stub.venue.positions() == {"SPY": Decimal(2)}


@pytest.mark.parametrize("fault", _NOT_HANGING, ids=str)
def test_faults_before_and_after_acceptance(stub: AlpacaStub, client: TradingClient, fault: Fault) -> None:
    """Every fault is met as planned: the order exists exactly where it came after acceptance."""
    client._retry = 0
    stub.plan = Scripted([fault], "POST", "/v2/orders")
    # A page or another document with status 200 is taken for an answer, or breaks the client's models.
    with pytest.raises((APIError, requests.RequestException, TypeError, ValueError)):
        client.submit_order(limit_buy("one"))
    assert [one.client_order_id for one in stub.venue.orders()] == (["one"] if fault.accepted else [])
    assert stub.requests == [("POST", "/v2/orders", str(fault))]


def test_a_hanging_answer(stub: AlpacaStub) -> None:
    """It hangs until the client gives up; the order after acceptance exists."""
    stub.plan = Scripted([Fault(Kind.HANG, accepted=True)], "POST")
    headers = {"APCA-API-KEY-ID": stub.key_id, "APCA-API-SECRET-KEY": stub.secret}
    with pytest.raises(requests.Timeout):
        requests.post(f"{stub.url}/v2/orders", json=order(client_order_id="h"), headers=headers, timeout=0.2)
    assert stub.venue.order("h").status == "filled"


# --- streams -----------------------------------------------------------------------------------


class Heard:
    """What a stream's handler was given."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._queue: queue.Queue[Any] = queue.Queue()

    async def handler(self, message: Any) -> None:  # noqa: ANN401 - the library's models
        """Keep a message."""
        self._queue.put(message)

    def next(self) -> Any:  # noqa: ANN401 - the library's models
        """Return the next message; fail when none comes."""
        return self._queue.get(timeout=_WAIT_SECONDS)

    @property
    def is_empty(self) -> bool:
        """Whether all was taken."""
        return self._queue.empty()


@contextmanager
def running(
    stub: AlpacaStub,
    stream: TradingStream | CryptoDataStream | StockDataStream,
    reconnect_seconds: float = 0.01,
) -> Iterator[None]:
    """Run a stream in a thread; end it, and its thread."""
    stream._reconnect_min_backoff = reconnect_seconds
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream._should_run = False
        if stream._loop is not None and stream._loop.is_running():
            stream.stop()
        stub.drop_streams()  # else it looks for its orders only every five seconds
        thread.join(_WAIT_SECONDS)
        assert not thread.is_alive()


def test_trade_updates(stub: AlpacaStub) -> None:
    """Each event of an order's life is told, with the order as it then was."""
    heard = Heard()
    stream = TradingStream(stub.key_id, stub.secret, url_override=stub.stream_url)
    stream.subscribe_trade_updates(heard.handler)
    with running(stub, stream):
        stub.wait_for_listeners("trading")
        stub.venue.submit(order(type="limit", limit_price="90", qty="2", client_order_id="s"))
        stub.venue.fill("s", "0.5", "90")
        stub.venue.set_state("s", "pending_cancel")
        stub.venue.fill("s", "1.5", "89")
        updates = [heard.next() for _ in range(5)]
        assert [update.event for update in updates] == [
            "pending_new",
            "new",
            "partial_fill",
            "pending_cancel",
            "fill",
        ]
        assert [update.order.filled_qty for update in updates] == ["0", "0", "0.5", "0.5", "2"]
        assert (updates[-1].price, updates[-1].qty, updates[-1].position_qty) == (89, 1.5, 2)
        assert updates[-1].order.status is OrderStatus.FILLED
        stub.venue.submit(order(type="limit", limit_price="50", client_order_id="x"))
        stub.venue.set_state("x", "expired")
        stub.venue.submit(order(type="limit", limit_price="50", client_order_id="r"))
        stub.venue.reject("r")
        assert [heard.next().event for _ in range(6)][2::3] == ["expired", "rejected"]


def test_events_during_a_gap_are_lost(stub: AlpacaStub) -> None:
    """The real client reconnects by itself; what happened meanwhile is never told."""
    heard = Heard()
    stream = TradingStream(stub.key_id, stub.secret, url_override=stub.stream_url)
    stream.subscribe_trade_updates(heard.handler)
    with running(stub, stream, reconnect_seconds=0.5):
        stub.wait_for_listeners("trading")
        stub.drop_streams()
        stub.venue.submit(order(client_order_id="lost"))
        stub.wait_for_listeners("trading")
        stub.venue.submit(order(client_order_id="told"))
        assert heard.next().order.client_order_id == "told"


def test_a_mute_stream_stays_open(stub: AlpacaStub) -> None:
    """It is open and says nothing; afterwards it goes on, without what happened."""
    heard = Heard()
    stream = TradingStream(stub.key_id, stub.secret, url_override=stub.stream_url)
    stream.subscribe_trade_updates(heard.handler)
    with running(stub, stream):
        stub.wait_for_listeners("trading")
        stub.mute_streams()
        stub.venue.submit(order(client_order_id="mute"))
        assert stub.listeners("trading") == 1
        stub.unmute_streams()
        stub.venue.submit(order(client_order_id="told"))
        assert heard.next().order.client_order_id == "told"


@pytest.mark.parametrize("kind", ["crypto", "stocks"])
def test_market_data_streams(stub: AlpacaStub, kind: str) -> None:
    """Quotes, trades and bars of what was subscribed to, in the library's own models."""
    symbol = "BTC/USD" if kind == "crypto" else "SPY"
    stream: CryptoDataStream | StockDataStream
    if kind == "crypto":
        stream = CryptoDataStream(stub.key_id, stub.secret, url_override=stub.crypto_stream_url)
    else:
        stream = StockDataStream(stub.key_id, stub.secret, url_override=stub.stock_stream_url)
    quotes, trades, minutes = Heard(), Heard(), Heard()
    stream.subscribe_quotes(quotes.handler, symbol)
    stream.subscribe_trades(trades.handler, "*")
    stream.subscribe_bars(minutes.handler, symbol)
    with running(stub, stream):
        stub.wait_for_listeners(kind)
        stub.venue.set_quote("ETH/USD" if kind == "crypto" else "AAPL", "1", "2")
        stub.venue.set_quote(symbol, "98.5", "98.75", last="98.6")
        stub.venue.add_bar(symbol, Bar(THURSDAY_10H, 1.0, 2.0, 0.5, 1.5, 7.0))
        quote = quotes.next()
        assert (quote.symbol, quote.bid_price, quote.ask_price) == (symbol, 98.5, 98.75)
        assert quote.timestamp == _ON_TIME + timedelta(microseconds=661)
        assert [trades.next().price for _ in range(2)] == [1, 98.6]
        bar = minutes.next()
        assert (bar.timestamp, bar.close, bar.volume) == (_ON_TIME, 1.5, 7)
        assert quotes.is_empty
        stream.unsubscribe_quotes(symbol)


@pytest.mark.parametrize("kind", ["trading", "crypto"])
def test_a_bad_key_never_listens(stub: AlpacaStub, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The real client is told so, and tries for ever."""
    heard = Heard()
    stream: TradingStream | CryptoDataStream
    if kind == "trading":
        stream = TradingStream(stub.key_id, "wrong", url_override=stub.stream_url)
        stream.subscribe_trade_updates(heard.handler)
    else:
        stream = CryptoDataStream(stub.key_id, "wrong", url_override=stub.crypto_stream_url)
        stream.subscribe_quotes(heard.handler, "BTC/USD")
    told = threading.Event()
    handler = _Signal(told, "auth")
    for name in ("alpaca.trading.stream", "alpaca.data.live.websocket"):
        caplog.set_level(logging.WARNING, name)  # our own streams silence the library for the whole process
    logging.getLogger("alpaca").addHandler(handler)
    try:
        with running(stub, stream):
            assert told.wait(_WAIT_SECONDS)
            assert stub.listeners(kind) == 0
    finally:
        logging.getLogger("alpaca").removeHandler(handler)


class _Signal(logging.Handler):
    """Sets an event when a line of the log holds a word."""

    def __init__(self, event: threading.Event, word: str) -> None:
        super().__init__()
        self._event = event
        self._word = word

    def emit(self, record: logging.LogRecord) -> None:
        if self._word in record.getMessage():
            self._event.set()
