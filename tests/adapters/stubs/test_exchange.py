"""The local exchange does what Binance does."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from decimal import Decimal
from urllib.parse import urlencode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from adapters.stubs.exchange import KEY, SECRET, ExchangeStub, FeeIn

NOW_MS = 1_763_390_400_000


@pytest.fixture
def exchange() -> Iterator[ExchangeStub]:
    """Return an exchange with the market of SOL at 100 / 101."""
    with ExchangeStub(now_ms=lambda: NOW_MS) as exchange:
        exchange.set_quote("SOLUSD", Decimal(100), Decimal(101))
        yield exchange


def _ask(
    exchange: ExchangeStub,
    method: str,
    path: str,
    parameters: Mapping[str, object] | None = None,
    *,
    secret: str = SECRET,
    key: str | None = KEY,
    at_ms: int | None = NOW_MS,
) -> tuple[int, object]:
    stamped = dict(parameters or {}) | ({"timestamp": at_ms} if at_ms is not None else {})
    query = urlencode(stamped)
    signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    query += f"&signature={signature}"
    in_body = method == "POST"
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(
            method,
            f"{exchange.url}/api/v3/{path}" + ("" if in_body else f"?{query}"),
            data=query if in_body else None,
            headers={"X-MBX-APIKEY": key} if key else {},
            timeout=5,
        )
    return response.status_code, response.json()


def _order(exchange: ExchangeStub, **changes: object) -> tuple[int, object]:
    parameters: dict[str, object] = {
        "symbol": "SOLUSD",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "1",
        "price": "90",
        "newClientOrderId": "one",
    }
    return _ask(exchange, "POST", "order", {k: v for k, v in (parameters | changes).items() if v is not None})


def _code(answer: tuple[int, object]) -> tuple[int, int]:
    status, said = answer
    assert isinstance(said, dict)
    return status, said["code"]


def test_who_may_ask(exchange: ExchangeStub) -> None:
    """Without a key, with another one, with a wrong signature, and too early or late, nothing is answered."""
    assert _code(_ask(exchange, "GET", "account", key=None)) == (401, -2014)
    assert _code(_ask(exchange, "GET", "account", key="other")) == (401, -2015)
    assert _code(_ask(exchange, "GET", "account", secret="other")) == (400, -1022)
    assert _code(_ask(exchange, "GET", "account", at_ms=None)) == (400, -1102)
    assert _code(_ask(exchange, "GET", "account", at_ms=NOW_MS - 5001)) == (400, -1021)
    assert _code(_ask(exchange, "GET", "account", at_ms=NOW_MS + 1001)) == (400, -1021)
    assert _ask(exchange, "GET", "account", {"recvWindow": 6000}, at_ms=NOW_MS - 5001)[0] == 200
    assert _ask(exchange, "GET", "account", at_ms=NOW_MS - 5000)[0] == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NONE"}, -1121),
        ({"quantity": "1.0005"}, -1013),
        ({"quantity": "0.0001"}, -1013),
        ({"quantity": "0.1"}, -1013),
        ({"price": "90.001"}, -1013),
        ({"quantity": "1e0"}, -1100),
        ({"quantity": "NaN"}, -1100),
        ({"quantity": "-1"}, -1100),
        ({"quantity": None}, -1102),
        ({"timeInForce": "DAY"}, -1115),
        ({"side": "SHORT"}, -1106),
        ({"quantity": "500"}, -2010),
        ({"side": "SELL"}, -2010),
    ],
)
def test_what_is_refused(exchange: ExchangeStub, changes: dict[str, object], code: int) -> None:
    """Refusals carry Binance's codes, and leave nothing behind."""
    assert _code(_order(exchange, **changes)) == (400, code)
    assert exchange.orders() == []
    assert exchange.balance("USD") == 10_000


def test_a_name_is_free_again_when_its_order_has_ended(exchange: ExchangeStub) -> None:
    """While it is open a second order of its name is refused, after that not: whoever sends must look."""
    assert _order(exchange)[0] == 200
    assert _code(_order(exchange)) == (400, -2010)
    asked = {"symbol": "SOLUSD", "origClientOrderId": "one"}
    status, cancelled = _ask(exchange, "DELETE", "order", asked)
    assert isinstance(cancelled, dict)
    assert (status, cancelled["origClientOrderId"], cancelled["status"]) == (200, "one", "CANCELED")
    assert _code(_ask(exchange, "DELETE", "order", asked)) == (400, -2011)
    assert _order(exchange, price="101")[0] == 200
    assert _order(exchange, price="101")[0] == 200
    assert [order.status for order in exchange.orders()] == ["CANCELED", "FILLED", "FILLED"]
    latest = _ask(exchange, "GET", "order", asked)[1]
    assert isinstance(latest, dict)
    assert latest["orderId"] == 3
    unknown = {"symbol": "SOLUSD", "origClientOrderId": "two"}
    assert _code(_ask(exchange, "GET", "order", unknown)) == (400, -2013)


def test_open_orders_hold_back(exchange: ExchangeStub) -> None:
    """What an open order may take is locked, and free again when it ends."""
    _order(exchange, quantity="10")
    account = _ask(exchange, "GET", "account")[1]
    assert isinstance(account, dict)
    balances = {row["asset"]: (row["free"], row["locked"]) for row in account["balances"]}
    assert balances["USD"] == ("9100.00000000", "900.00000000")
    _ask(exchange, "DELETE", "order", {"symbol": "SOLUSD", "orderId": 1})
    assert exchange.balance("USD") == 10_000
    assert _order(exchange, quantity="99")[0] == 200


def test_sizes_and_times_in_force(exchange: ExchangeStub) -> None:
    """A market's size fills an order in part; IOC ends the rest, FOK fills all or nothing."""
    exchange.set_quote("SOLUSD", Decimal(100), Decimal(101), ask_size=Decimal(3))
    filled = {}
    for name, time_in_force in (("fok", "FOK"), ("ioc", "IOC"), ("gtc", "GTC")):
        _order(exchange, newClientOrderId=name, timeInForce=time_in_force, quantity="4", price="101")
        order = exchange.orders()[-1]
        filled[name] = (order.status, order.filled)
    assert filled == {
        "fok": ("EXPIRED", Decimal(0)),
        "ioc": ("EXPIRED", Decimal(3)),
        "gtc": ("NEW", Decimal(0)),
    }
    exchange.set_quote("SOLUSD", Decimal(99), Decimal(100), ask_size=Decimal(1))
    last = exchange.orders()[-1]
    assert (last.status, last.filled) == ("PARTIALLY_FILLED", Decimal(1))
    assert exchange.trades("SOLUSD")[-1].price == 101  # a resting order fills at its own price
    assert exchange.trades("SOLUSD")[-1].is_maker


def test_lists_by_number(exchange: ExchangeStub) -> None:
    """Orders and trades are answered from a number on, or the latest; by market."""
    for _ in range(4):
        _order(exchange, price="101")
    market: dict[str, object] = {"symbol": "SOLUSD", "limit": 2}

    def ids(path: str, key: str, **more: object) -> list[int]:
        rows = _ask(exchange, "GET", path, market | more)[1]
        assert isinstance(rows, list)
        return [row[key] for row in rows]

    assert ids("allOrders", "orderId") == [3, 4]
    assert ids("allOrders", "orderId", orderId=2) == [2, 3]
    assert ids("myTrades", "id") == [2, 3]
    assert ids("myTrades", "id", fromId=1) == [1, 2]
    assert _ask(exchange, "GET", "myTrades", {"symbol": "BTCUSD"})[1] == []
    assert _ask(exchange, "GET", "openOrders")[1] == []


def test_prices(exchange: ExchangeStub) -> None:
    """Tickers come one or many, and bars within their times."""
    one = _ask(exchange, "GET", "ticker/bookTicker", {"symbol": "SOLUSD"})[1]
    assert isinstance(one, dict)
    assert (one["bidPrice"], one["askPrice"]) == ("100.00000000", "101.00000000")
    many = _ask(exchange, "GET", "ticker/24hr", {"symbols": '["SOLUSD","BTCUSD"]'})[1]
    assert isinstance(many, list)
    assert [(row["symbol"], row["closeTime"]) for row in many] == [("SOLUSD", NOW_MS), ("BTCUSD", NOW_MS)]
    exchange.set_bars("SOLUSD", "1m", [(60_000 * n, n, n, n, n, n) for n in range(5)])
    asked: dict[str, object] = {"symbol": "SOLUSD", "interval": "1m"}
    bars = _ask(exchange, "GET", "klines", asked | {"startTime": 60_000, "limit": 2})[1]
    assert bars == [[60_000, *["1"] * 5], [120_000, *["2"] * 5]]
    assert _code(_ask(exchange, "GET", "ticker/24hr", {"symbols": '["NONE"]'})) == (400, -1121)


@given(
    st.lists(
        st.tuples(st.sampled_from(("BUY", "SELL")), st.integers(1, 400), st.integers(95, 105)), max_size=8
    ),
    st.sampled_from(FeeIn),
    st.integers(1, 4),
)
def test_money_and_coins_are_conserved(
    orders: list[tuple[str, int, int]], fee_in: FeeIn, trades_per_fill: int
) -> None:
    """Whatever is ordered, the balances are what was there, moved by the trades and their fees."""
    balances = {"USD": Decimal(10_000), "SOL": Decimal(20), "BNB": Decimal(5)}
    with ExchangeStub(
        balances=balances,
        fee_rate=Decimal("0.001"),
        fee_in=fee_in,
        trades_per_fill=trades_per_fill,
        now_ms=lambda: NOW_MS,
    ) as exchange:
        exchange.set_quote("SOLUSD", Decimal(99), Decimal(101))
        for number, (side, size, price) in enumerate(orders):
            _order(
                exchange,
                side=side,
                quantity=f"{size / 10:.1f}",
                price=str(price),
                newClientOrderId=str(number),
            )
        exchange.set_quote("SOLUSD", Decimal(98), Decimal(99), ask_size=Decimal(2))
        expected = dict(balances)
        for trade in exchange.trades("SOLUSD"):
            sign = 1 if trade.is_buyer else -1
            expected["SOL"] += sign * trade.quantity
            expected["USD"] -= sign * trade.quantity * trade.price
            expected[trade.fee_coin] -= trade.fee
        assert {coin: exchange.balance(coin) for coin in expected} == expected
        for order in exchange.orders():
            traded = [trade for trade in exchange.trades("SOLUSD") if trade.order == order.number]
            assert sum((trade.quantity for trade in traded), Decimal(0)) == order.filled <= order.quantity
            assert sum((trade.quantity * trade.price for trade in traded), Decimal(0)) == order.paid
