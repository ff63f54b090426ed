"""Orders through ccxt: names, fees, cursors, markets, clocks, and other people's orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.brokers import ccxt as module
from adapters.brokers.ccxt import SWEEP_SECONDS, CcxtBroker, exchange_id
from adapters.stubs.exchange import FeeIn
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient
from engine.codes import IntentState
from engine.errors import ConfigurationError, DataError, NotFoundError, UnavailableError
from engine.model import Fill, OrderSide, TimeInForce
from engine.runtime.ports import OrderRejected
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE
from engine.verbs.ledger import Ledger, apply_fills, deposit
from tests.adapters.brokers.ccxt_world import CcxtVenue

SELL = OrderSide.SELL


@pytest.fixture
def venue() -> Iterator[CcxtVenue]:
    """Return an exchange without fees."""
    venue = CcxtVenue()
    yield venue
    venue.close()


def _asked(venue: CcxtVenue, path: str) -> list[str]:
    return [
        asked.parameters.get("symbol", "") for asked in venue.exchange.requests if asked.path.endswith(path)
    ]


# Names.


@given(st.text(min_size=1, max_size=128))
def test_names_fit_every_exchange(client_id: str) -> None:
    """Whatever a client id holds, its name is short, of harmless characters, and its own."""
    name = exchange_id(client_id)
    assert len(name) == 29
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz234567-")
    assert name == exchange_id(client_id) != exchange_id(client_id + "x")


def test_the_name_never_changes() -> None:
    """A name is for ever: an order that was sent under it by an older release is found by a newer one."""
    assert exchange_id("a1b2c3d4e5f6-binanceus-7-SOL-USD-buy") == "td-po73rtew26npkfc7vrffsalui5"


def test_the_journal_names_orders_after_a_restart(venue: CcxtVenue) -> None:
    """Open orders and fills of before a restart carry the agent's ids, not the exchange's."""
    filled, resting = venue.order(), venue.order(limit=90)
    for order in (filled, resting):
        venue.broker.submit(order)
    venue.restart()
    assert [report.client_id for report in venue.broker.open_orders()] == [resting.client_id]
    assert [fill.client_id for fill in venue.broker.fills_since("")[0]] == [filled.client_id]


def test_strangers_orders_are_never_taken_for_ours(venue: CcxtVenue) -> None:
    """A person's order keeps its name; another agent's is told by the exchange's number."""
    venue.broker.instrument(venue.symbol)
    for name, limit in (("web_1", "90"), (exchange_id("another-agent"), "91"), ("web_2", "101")):
        parameters = {"newClientOrderId": name, "timeInForce": "GTC"}
        venue.client.call("create_order", "SOL/USD", "limit", "buy", "1", limit, parameters)
    reports = venue.broker.open_orders()
    assert [report.client_id for report in reports] == ["web_1", reports[1].venue_id]
    assert [fill.client_id for fill in venue.broker.fills_since("")[0]] == ["web_2"]
    assert venue.broker.find("another-agent") is not None  # who knows the id finds it


def test_an_order_is_looked_for_where_its_id_says(venue: CcxtVenue) -> None:
    """After a restart the market that the id names is asked first; then the others."""
    order = venue.order(limit=90)
    venue.broker.submit(order)
    odd = venue.order(limit=90, client_id="says-nothing")
    venue.broker.submit(odd)
    venue.restart()
    venue.exchange.requests.clear()
    assert venue.broker.find(order.client_id) is not None
    assert _asked(venue, "/order") == ["SOLUSD"]
    assert venue.broker.find("nowhere") is None
    assert sorted(_asked(venue, "/order")) == ["BTCUSD", "DOGEUSD", "SOLUSD", "SOLUSD"]
    assert venue.broker.find(odd.client_id) is not None


# Fees.


@pytest.mark.parametrize("fee_in", FeeIn)
@pytest.mark.parametrize("trades_per_fill", [1, 3])
def test_the_books_hold_what_the_balance_holds(fee_in: FeeIn, trades_per_fill: int) -> None:
    """After every fill cash and position by our ledger are the exchange's, to the last digit."""
    venue = CcxtVenue(fee_rate=Decimal("0.001"), fee_in=fee_in, trades_per_fill=trades_per_fill)
    try:
        books = deposit(Ledger(), 10_000 * MONEY_SCALE)
        cursor = ""
        for size, limit, side in [("3.337", 101, OrderSide.BUY), ("1.111", 100, SELL), ("0.5", None, SELL)]:
            order = venue.order(size, limit, side=side)
            venue.broker.submit(order)
            fills, cursor = venue.broker.fills_since(cursor)
            books = apply_fills(books, fills)
            account = venue.broker.account()
            assert account.cash == books.cash
            held = {symbol: holding.quantity for symbol, holding in books.holdings.items()}
            assert dict(account.positions) == held
            assert sum(fill.quantity for fill in fills if fill.side is side) >= order.quantity
        assert (books.fees > 0) == (fee_in is not FeeIn.OTHER)
    finally:
        venue.close()


def test_a_fee_in_coins_is_coins_sold_for_the_fee() -> None:
    """A fee in coins takes those coins and no cash."""
    venue = CcxtVenue(fee_rate=Decimal("0.001"), fee_in=FeeIn.RECEIVED)
    try:
        order = venue.order(2)
        venue.broker.submit(order)
        bought, fee = venue.broker.fills_since("")[0]
        assert (bought.side, bought.quantity, bought.fee) == (OrderSide.BUY, 2 * QUANTITY_SCALE, 0)
        assert bought.notional == 202 * MONEY_SCALE
        assert fee == Fill(
            fill_id="SOL-USD/0/fee",
            client_id=order.client_id,
            symbol="SOL-USD",
            side=SELL,
            quantity=2 * QUANTITY_SCALE // 1000,
            price=101 * PRICE_SCALE,
            notional=202_000,
            fee=202_000,
            at_ms=bought.at_ms,
        )
    finally:
        venue.close()


# Fills.


def test_trades_of_one_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades of the same instant in two markets come once each, however small the pages and the steps."""
    monkeypatch.setattr(module, "_PAGE", 2)
    venue = CcxtVenue(trades_per_fill=5)
    try:
        venue.exchange.set_quote("DOGEUSD", Decimal("0.15433"), Decimal("0.15434"))
        orders = [venue.order(5), venue.order(1000, "0.15434", symbol="DOGE-USD"), venue.order(3)]
        cursor, seen = "", list[Fill]()
        for order in orders:
            venue.broker.submit(order)
            new, cursor = venue.broker.fills_since(cursor)
            seen += new
        assert len({fill.fill_id for fill in seen}) == len(seen) == 15
        assert len({fill.at_ms for fill in seen}) == 1
        for order in orders:
            quantities = [fill.quantity for fill in seen if fill.client_id == order.client_id]
            assert sum(quantities) == order.quantity
        assert {fill.fill_id for fill in venue.broker.fills_since("")[0]} == {fill.fill_id for fill in seen}
    finally:
        venue.close()


def test_quiet_markets_are_asked_from_time_to_time(venue: CcxtVenue) -> None:
    """Where no order of ours was seen trades are asked for once a minute, so that a stranger's are seen."""
    _, cursor = venue.broker.fills_since("")
    venue.exchange.requests.clear()
    venue.broker.submit(venue.order())
    fills, cursor = venue.broker.fills_since(cursor)
    assert (len(fills), _asked(venue, "/myTrades")) == (1, ["SOLUSD"])
    venue.exchange.set_quote("DOGEUSD", Decimal("0.15433"), Decimal("0.15434"))
    parameters = {"newClientOrderId": "web", "timeInForce": "GTC"}
    venue.client.call("create_order", "DOGE/USD", "limit", "buy", "1000", "0.2", parameters)
    assert list(venue.broker.fills_since(cursor)[0]) == []
    venue.seconds.now += SWEEP_SECONDS
    fills, cursor = venue.broker.fills_since(cursor)
    assert [fill.client_id for fill in fills] == ["web"]


def test_a_pair_that_the_exchange_does_not_have() -> None:
    """It costs that pair, not the others; an order that may be in a market that is gone is not denied."""
    with closing(CcxtVenue(symbols=("SOL-USD", "NONE-USD"))) as venue:
        order = venue.order()
        assert venue.broker.submit(order).filled_quantity == order.quantity
        assert len(venue.broker.fills_since("")[0]) == 1
        assert venue.broker.instrument("NONE-USD") is None
        assert list(venue.broker.open_orders()) == []
        assert venue.broker.find("a1b2c3d4e5f6-binanceus-9-SOL-USD-buy") is None
        with pytest.raises(UnavailableError, match="NONE/USD"):
            venue.broker.find("a1b2c3d4e5f6-binanceus-9-NONE-USD-buy")


@pytest.mark.parametrize("cursor", ["x", "[]", '{"SOL-USD": "1"}', "17"])
def test_a_foreign_cursor_is_refused(venue: CcxtVenue, cursor: str) -> None:
    """A cursor of another broker never passes over fills in silence."""
    with pytest.raises(DataError, match="cursor"):
        venue.broker.fills_since(cursor)


def test_partial_fills_are_cumulative(venue: CcxtVenue) -> None:
    """An order that fills by and by tells how much; cancelled, it keeps what it has."""
    order = venue.order(5, 90)
    venue.broker.submit(order)
    number = venue.exchange.orders()[0].number
    for filled in (1, 3):
        venue.exchange.fill(number, Decimal(filled))
    found = venue.broker.find(order.client_id)
    assert found is not None
    assert (found.state, found.filled_quantity) == (IntentState.PARTLY_FILLED, 4 * QUANTITY_SCALE)
    venue.broker.cancel(order.client_id)
    found = venue.broker.find(order.client_id)
    assert found is not None
    assert (found.state, found.filled_quantity) == (IntentState.CANCELLED, 4 * QUANTITY_SCALE)
    assert sum(fill.quantity for fill in venue.broker.fills_since("")[0]) == 4 * QUANTITY_SCALE


def test_what_is_left_of_an_immediate_order(venue: CcxtVenue) -> None:
    """It fills as far as the market goes, and the rest is cancelled."""
    venue.exchange.set_quote("SOLUSD", Decimal(100), Decimal(101), ask_size=Decimal("0.7"))
    order = venue.order(2, 101, time_in_force=TimeInForce.IOC)
    report = venue.broker.submit(order)
    assert (report.state, report.filled_quantity) == (IntentState.CANCELLED, 7 * QUANTITY_SCALE // 10)


# Account, instruments, clock.


def test_what_open_orders_hold_is_still_ours(venue: CcxtVenue) -> None:
    """Balances are told with what is locked; coins without a market here are not told."""
    venue.broker.submit(venue.order(3))
    venue.broker.submit(venue.order(2, 120, side=SELL))
    venue.broker.submit(venue.order(2, 90))
    account = venue.broker.account()
    assert (account.cash, dict(account.positions)) == (
        9_697 * MONEY_SCALE,
        {"SOL-USD": 3 * QUANTITY_SCALE},
    )
    venue.exchange.edits["account"] = lambda said: (
        said | {"balances": [*said["balances"], {"asset": "XYZ", "free": "5", "locked": "0"}]}
    )
    assert venue.broker.account() == account


@pytest.mark.parametrize(
    "row",
    [
        {"asset": "USD", "free": "NaN", "locked": "0"},
        {"asset": "SOL", "free": None, "locked": None},
        {"asset": 7, "free": "1", "locked": "0"},
        {"free": "1", "locked": "0"},
        {"asset": "EUR", "free": "1", "locked": "0"},
        None,
    ],
)
def test_no_balance_is_guessed(venue: CcxtVenue, row: object) -> None:
    """A balance that cannot be read is not 0: the account is not known."""
    venue.exchange.edits["account"] = lambda said: (
        said | {"balances": [*(one for one in said["balances"] if one["asset"] not in ("USD", "SOL")), row]}
    )
    with pytest.raises(UnavailableError):
        venue.broker.account()


def test_steps_are_the_exchanges(venue: CcxtVenue) -> None:
    """Steps and minimums are the market's own, exact."""
    instrument = venue.broker.instrument("BTC-USD")
    assert instrument is not None
    assert (instrument.price_step, instrument.quantity_step) == (Decimal("0.01"), Decimal("0.00001"))
    assert (instrument.minimum_quantity, instrument.minimum_notional) == (Decimal("0.00001"), Decimal(10))
    assert venue.broker.instrument("BTC-EUR") is None


def test_clocks_apart(venue: CcxtVenue) -> None:
    """An agent whose clock is ten minutes off trades none the less, and again after one of them is set."""
    wrong = ExchangeClient(venue.access, lambda: venue.now_ms() + drift[0], venue.seconds)
    drift = [600_000]
    broker = CcxtBroker(wrong, venue._symbols, monotonic=venue.seconds)
    try:
        order = venue.order(limit=90)
        assert broker.submit(order).state is IntentState.SENT
        assert abs(broker.clock().now_ms - venue.now_ms()) < 2000
        drift[0] = -600_000
        with pytest.raises(UnavailableError, match="time"):
            broker.submit(venue.order(limit=91))
        assert broker.submit(venue.order(limit=91)).state is IntentState.SENT
        assert len(venue.exchange.orders()) == 2
    finally:
        broker.close()


def test_a_key_that_is_not_accepted(venue: CcxtVenue) -> None:
    """A wrong key is told as that, sends nothing, and is no refusal of the order."""
    wrong = ExchangeClient(replace(venue.access, key="other"), venue.now_ms, venue.seconds)
    broker = CcxtBroker(wrong, venue._symbols, monotonic=venue.seconds)
    try:
        with pytest.raises(UnavailableError, match="does not accept the key"):
            broker.submit(venue.order())
        assert venue.exchange.orders() == []
    finally:
        broker.close()


def test_a_refused_request_says_why(venue: CcxtVenue) -> None:
    """The exchange's own words and code reach the person."""
    with pytest.raises(OrderRejected, match=r"insufficient balance for requested action\. \(-2010\)"):
        venue.broker.submit(venue.order(500))


def test_cancel_of_what_never_arrived(venue: CcxtVenue) -> None:
    """An order that this object sent, and that the exchange does not know, is not found."""
    order = venue.order(500)
    with pytest.raises(OrderRejected):
        venue.broker.submit(order)
    with pytest.raises(NotFoundError):
        venue.broker.cancel(order.client_id)


# What is not taken.


@pytest.mark.parametrize("exchange", ["kraken", "coinbase", "bitstamp"])
def test_untested_exchanges_are_refused(exchange: str) -> None:
    """Orders go only where this was tested; the message says where that is."""
    client = ExchangeClient(ExchangeAccess(exchange, url="http://127.0.0.1:9"), lambda: 0)
    with pytest.raises(ConfigurationError, match="binance, binanceus"):
        CcxtBroker(client, ["BTC-USD"])
    client.close()


def test_one_currency(venue: CcxtVenue) -> None:
    """A dollar account trades no pair against another currency: USDT is no dollar."""
    with pytest.raises(ConfigurationError, match="BTC-USDT"):
        CcxtBroker(venue.client, ["SOL-USD", "BTC-USDT"])


def test_steps_finer_than_ours_are_made_coarser(venue: CcxtVenue) -> None:
    """A tick below the engine's scale becomes the scale's; one that does not fit is not traded."""

    def with_tick(tick: str) -> None:
        def edited(said: dict[str, list[dict[str, list[dict[str, str]]]]]) -> object:
            for market in said["symbols"]:
                market["filters"][0]["tickSize"] = tick
            return said

        venue.exchange.edits["exchangeInfo"] = edited
        venue.restart()

    with_tick("0.0000000001")
    instrument = venue.broker.instrument("SOL-USD")
    assert instrument is not None
    assert instrument.price_step == Decimal("1e-8")
    with_tick("0.000000015")
    assert venue.broker.instrument("SOL-USD") is None
