"""A spot exchange on loopback that speaks Binance's REST interface, as ccxt's binance and binanceus do.

It does what the real one does where that matters to whoever trades on it: requests are signed and must be
fresh; filters refuse what is off the step or too small; a client id is refused only while an order under it
is open, and may be used again after that; a fee is taken out of what a trade brings; trades are numbered and
answered by market.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from aiohttp import web

from adapters.stubs.faults import FaultPlan, Handler, NoFaults, fault_middleware
from adapters.stubs.serving import LoopbackServer
from engine.model import Bar

KEY: Final = "stub-exchange-key"
SECRET: Final = "stub-exchange-secret"

_ROOT: Final = "/api/v3/"
_ZERO: Final = Decimal(0)
_UNIT: Final = Decimal("0.00000001")
_MOST_ROWS: Final = 1000
_AHEAD_MS: Final = 1000  # how far in the future a request may be stamped
_DEFAULT_WINDOW_MS: Final = 5000
_MINUTES: Final = (1, 3, 5, 15, 30)
_HOURS: Final = (1, 2, 4, 6, 8, 12)
_INTERVALS: Final = (
    {f"{count}m": count * 60 for count in _MINUTES}
    | {f"{count}h": count * 3600 for count in _HOURS}
    | {"1d": 86_400}
)
"""Seconds of the klines of a ``history``."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A market: its coins, steps and minimums."""

    base: str
    quote: str = "USD"
    tick: Decimal = Decimal("0.01")
    step: Decimal = Decimal("0.001")
    minimum_quantity: Decimal = Decimal("0.001")
    minimum_notional: Decimal = Decimal(10)
    status: str = "TRADING"

    @property
    def name(self) -> str:
        """The exchange's name of it, such as BTCUSD."""
        return self.base + self.quote


PAIRS: Final = (
    Pair("BTC", step=Decimal("0.00001"), minimum_quantity=Decimal("0.00001")),
    Pair("ETH", step=Decimal("0.0001"), minimum_quantity=Decimal("0.0001")),
    Pair("SOL"),
    Pair("ADA", tick=Decimal("0.0001"), step=Decimal("0.1"), minimum_quantity=Decimal("0.1")),
    Pair("DOGE", tick=Decimal("0.00001"), step=Decimal(1), minimum_quantity=Decimal(1)),
    Pair("LINK"),
    Pair("AAVE"),
    Pair("SHIB", tick=Decimal("0.00000001"), step=Decimal(1), minimum_quantity=Decimal(1)),
)
"""The markets that are there if no others are given."""


class FeeIn(StrEnum):
    """What a fee is taken in."""

    RECEIVED = "received"  # what the trade brings: coins for a buy, money for a sale; as Binance does
    QUOTE = "quote"  # always the money
    OTHER = "other"  # a third coin, as Binance does where one wishes so


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade; ``number`` counts within its market."""

    number: int
    pair: str
    order: int
    is_buyer: bool
    is_maker: bool
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_coin: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands."""

    number: int
    client_id: str
    pair: str
    side: str  # BUY, SELL
    kind: str  # LIMIT, MARKET
    time_in_force: str
    quantity: Decimal
    price: Decimal  # 0 for a market order
    made_ms: int
    changed_ms: int
    status: str = "NEW"
    filled: Decimal = _ZERO
    paid: Decimal = _ZERO  # quote money of what is filled

    @property
    def is_open(self) -> bool:
        """Say whether it can still be filled."""
        return self.status in ("NEW", "PARTIALLY_FILLED")

    @property
    def left(self) -> Decimal:
        """What is not filled."""
        return self.quantity - self.filled


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(repr=False)


class Refusal(Exception):
    """What the exchange says no with: its own code, its sentence, the HTTP status."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        """Keep them."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(slots=True)
class _Quote:
    bid: Decimal
    ask: Decimal
    bid_size: Decimal | None  # None: without end
    ask_size: Decimal | None
    at_ms: int


class ExchangeStub:
    """The exchange, from its making until ``close``; a context manager.

    ``plan`` may be exchanged at any time; ``requests`` is every request in its order, faulty or not.
    ``edits`` are functions by path (such as ``openOrders``) through which answers pass before they are sent:
    to say what this exchange never says.  ``history`` has the klines of markets whose bars were not set: by
    market, seconds of the interval, first and last opening time.
    """

    history: Callable[[str, int, int, int], Sequence[Bar]] | None = None

    def __init__(
        self,
        *,
        port: int = 0,
        pairs: Iterable[Pair] = PAIRS,
        balances: Mapping[str, Decimal] | None = None,
        fee_rate: Decimal = _ZERO,
        fee_in: FeeIn = FeeIn.RECEIVED,
        trades_per_fill: int = 1,
        key: str = KEY,
        secret: str = SECRET,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """Listen.

        Args:
            port: 0 takes a free one.
            pairs: The markets.
            balances: Of the one account; 10,000 USD if not given.
            fee_rate: Share of what a trade is worth.
            fee_in: What it is taken in.
            trades_per_fill: So many trades, of the same millisecond, make up one fill.
            key: The account's.
            secret: What requests are signed with.
            now_ms: The exchange's clock; the wall's if not given.
        """
        self.plan: FaultPlan = NoFaults()
        self.requests: list[Asked] = []
        self.edits: dict[str, Callable[[Any], object]] = {}
        self._pairs = {pair.name: pair for pair in pairs}
        self._free = dict(balances if balances is not None else {"USD": Decimal(10_000)})
        self._locked: dict[str, Decimal] = {}
        self._held: dict[int, Decimal] = {}  # what each open order holds back
        self._fee_rate = fee_rate
        self._fee_in = fee_in
        self._trades_per_fill = trades_per_fill
        self._key = key
        self._secret = secret.encode()
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._quotes: dict[str, _Quote] = {}
        self._orders: dict[int, Order] = {}
        self._trades: dict[str, list[Trade]] = {name: [] for name in self._pairs}
        self._bars: dict[tuple[str, str], Sequence[Sequence[object]]] = {}
        self._lock = threading.RLock()
        self._server = LoopbackServer(self._application(), port)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self._server.url

    def close(self) -> None:
        """Stop listening.  Safe to call twice."""
        self._server.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # What a test, or a person, does with it.

    def set_quote(
        self,
        pair: str,
        bid: Decimal,
        ask: Decimal,
        *,
        bid_size: Decimal | None = None,
        ask_size: Decimal | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Move a market; open orders that it reaches are filled at their own price, as far as the sizes go.

        Without a size there is enough for everyone.  ``at_ms`` is the quote's time; now, if not given.
        """
        with self._lock:
            at = self._now_ms() if at_ms is None else at_ms
            self._quotes[pair] = _Quote(bid, ask, bid_size, ask_size, at)
            for order in list(self._orders.values()):
                if order.pair == pair and order.is_open and self._reaches(order):
                    self._fill(order, order.price, is_maker=True)

    def set_bars(self, pair: str, interval: str, bars: Sequence[Sequence[object]]) -> None:
        """Serve bars as klines: rows of (open ms, open, high, low, close, volume)."""
        self._bars[pair, interval] = bars

    def fill(self, number: int, quantity: Decimal, price: Decimal | None = None) -> None:
        """Fill some of an open order, whatever the market says."""
        with self._lock:
            order = self._orders[number]
            self._execute(order, min(quantity, order.left), price or order.price, is_maker=True)

    def orders(self) -> Sequence[Order]:
        """Return every order there ever was, the oldest first."""
        with self._lock:
            return list(self._orders.values())

    def trades(self, pair: str) -> Sequence[Trade]:
        """Return a market's trades, the oldest first."""
        with self._lock:
            return list(self._trades[pair])

    def balance(self, coin: str) -> Decimal:
        """Return what the account has of a coin, with what orders hold back."""
        with self._lock:
            return self._free.get(coin, _ZERO) + self._locked.get(coin, _ZERO)

    def posted(self) -> int:
        """Return how many new orders were asked for, whatever became of them."""
        return sum(asked.method == "POST" for asked in self.requests)

    # Requests.

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._recording, fault_middleware(lambda: self.plan), _refusing]
        )
        public: dict[str, Callable[[Mapping[str, str]], object]] = {
            "ping": lambda _: {},
            "time": lambda _: {"serverTime": self._now_ms()},
            "exchangeInfo": self._exchange_info,
            "ticker/24hr": self._tickers,
            "ticker/bookTicker": self._book_tickers,
            "klines": self._klines,
        }
        private: dict[tuple[str, str], Callable[[Mapping[str, str]], object]] = {
            ("GET", "account"): self._account,
            ("GET", "order"): self._query,
            ("POST", "order"): self._new,
            ("DELETE", "order"): self._cancel,
            ("GET", "openOrders"): self._open_orders,
            ("GET", "allOrders"): self._all_orders,
            ("GET", "myTrades"): self._my_trades,
        }
        for path, answer in public.items():
            application.router.add_get(_ROOT + path, self._answering(answer, signed=False))
        for (method, path), answer in private.items():
            application.router.add_route(method, _ROOT + path, self._answering(answer, signed=True))
        return application

    def _answering(
        self, answer: Callable[[Mapping[str, str]], object], *, signed: bool
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            raw = request.rel_url.raw_query_string + (await request.read()).decode()
            parameters = dict(parse_qsl(raw, keep_blank_values=True))
            if signed:
                self._check_signature(request.headers.get("X-MBX-APIKEY"), raw, parameters)
            with self._lock:
                said = answer(parameters)
            edit = self.edits.get(request.path.removeprefix(_ROOT))
            return web.json_response(said if edit is None else edit(said))

        return handler

    @web.middleware
    async def _recording(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        raw = request.rel_url.raw_query_string + (await request.read()).decode()
        self.requests.append(Asked(request.method, request.path, dict(parse_qsl(raw))))
        return await handler(request)

    def _check_signature(self, key: str | None, raw: str, parameters: Mapping[str, str]) -> None:
        if not key:
            raise Refusal(-2014, "API-key format invalid.", 401)
        if key != self._key:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        signed, _, signature = raw.rpartition("&signature=")
        due = hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(due, signature):
            raise Refusal(-1022, "Signature for this request is not valid.")
        stamped = _whole(parameters, "timestamp")
        window = _whole(parameters, "recvWindow", _DEFAULT_WINDOW_MS)
        if stamped is None:
            raise Refusal(
                -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."
            )
        late = self._now_ms() - stamped
        if late < -_AHEAD_MS:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if late > (window or 0):
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

    # Answers that everyone gets.

    def _exchange_info(self, _parameters: Mapping[str, str]) -> object:
        return {
            "timezone": "UTC",
            "serverTime": self._now_ms(),
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [_market(pair) for pair in self._pairs.values()],
        }

    def _named(self, parameters: Mapping[str, str]) -> Sequence[str]:
        if "symbols" in parameters:
            names = json.loads(parameters["symbols"])
        else:
            names = [parameters["symbol"]] if "symbol" in parameters else list(self._pairs)
        if not all(name in self._pairs for name in names):
            raise Refusal(-1121, "Invalid symbol.")
        return [str(name) for name in names]

    def _tickers(self, parameters: Mapping[str, str]) -> object:
        rows = [self._ticker(name) for name in self._named(parameters)]
        return rows[0] if "symbol" in parameters else rows

    def _ticker(self, name: str) -> dict[str, object]:
        quote = self._quotes.get(name)
        bid, ask = (quote.bid, quote.ask) if quote else (_ZERO, _ZERO)
        at_ms = quote.at_ms if quote else self._now_ms()
        trades = self._trades[name]
        last = trades[-1].price if trades else (bid + ask) / 2
        return {
            "symbol": name,
            "priceChange": _text(_ZERO),
            "priceChangePercent": "0.000",
            "weightedAvgPrice": _text(last),
            "lastPrice": _text(last),
            "lastQty": _text(trades[-1].quantity if trades else _ZERO),
            **_book(quote),
            "openPrice": _text(last),
            "highPrice": _text(last),
            "lowPrice": _text(last),
            "volume": _text(sum((trade.quantity for trade in trades), _ZERO)),
            "quoteVolume": _text(sum((trade.quantity * trade.price for trade in trades), _ZERO)),
            "openTime": at_ms - 86_400_000,
            "closeTime": at_ms,
            "firstId": 0,
            "lastId": len(trades) - 1,
            "count": len(trades),
        }

    def _book_tickers(self, parameters: Mapping[str, str]) -> object:
        rows = [{"symbol": name, **_book(self._quotes.get(name))} for name in self._named(parameters)]
        return rows[0] if "symbol" in parameters else rows

    def _klines(self, parameters: Mapping[str, str]) -> object:
        name = self._pair(parameters).name
        start, end = _whole(parameters, "startTime", 0), _whole(parameters, "endTime", None)
        limit = min(_whole(parameters, "limit", 500) or 500, _MOST_ROWS)
        interval = parameters.get("interval", "")
        stored = self._bars.get((name, interval))
        if stored is None:
            stored = self._told(name, interval, start or 0, end, limit)
        rows = [
            row
            for row in stored
            if isinstance(row[0], int) and row[0] >= (start or 0) and (end is None or row[0] <= end)
        ]
        rows = rows[:limit] if "startTime" in parameters else rows[-limit:]
        return [[row[0], *(str(number) for number in row[1:])] for row in rows]

    def _told(
        self, name: str, interval: str, start_ms: int, end_ms: int | None, limit: int
    ) -> Sequence[Sequence[object]]:
        """Return the rows that the history has, no further than a page goes."""
        step_ms = _INTERVALS.get(interval, 0) * 1000
        if self.history is None or not step_ms:
            return ()
        last_ms = self._now_ms() if end_ms is None else end_ms
        if start_ms:
            last_ms = min(last_ms, start_ms + limit * step_ms)
        else:
            start_ms = last_ms - limit * step_ms
        bars = self.history(name, step_ms // 1000, start_ms, last_ms)
        return [(bar.open_time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]

    # Orders.

    def _pair(self, parameters: Mapping[str, str]) -> Pair:
        pair = self._pairs.get(parameters.get("symbol", ""))
        if pair is None:
            raise Refusal(-1121, "Invalid symbol.")
        return pair

    def _new(self, parameters: Mapping[str, str]) -> object:
        pair = self._pair(parameters)
        if pair.status != "TRADING":
            raise Refusal(-1013, "Market is closed.")
        side, kind = parameters.get("side", ""), parameters.get("type", "")
        if side not in ("BUY", "SELL") or kind not in ("LIMIT", "MARKET"):
            raise Refusal(-1106, "Parameter 'side' or 'type' is not known.")
        time_in_force = parameters.get("timeInForce", "GTC" if kind == "MARKET" else "")
        if time_in_force not in ("GTC", "IOC", "FOK"):
            raise Refusal(-1115, "Invalid timeInForce.")
        quantity = _positive(parameters, "quantity")
        price = _positive(parameters, "price") if kind == "LIMIT" else _ZERO
        self._check_filters(pair, quantity, price, kind)
        client_id = parameters.get("newClientOrderId") or f"stub-{len(self._orders) + 1}"
        if any(order.is_open and order.client_id == client_id for order in self._orders.values()):
            raise Refusal(-2010, "Duplicate order sent.")
        now_ms = self._now_ms()
        number = 1 + len(self._orders)
        order = Order(
            number,
            client_id,
            pair.name,
            side,
            kind,
            time_in_force,
            quantity,
            price,
            made_ms=now_ms,
            changed_ms=now_ms,
        )
        self._hold(order, pair)
        self._orders[number] = order
        traded = len(self._trades[pair.name])
        order = self._match(order)
        answer = _order_row(order) | {"transactTime": order.changed_ms}
        for key in ("time", "updateTime", "isWorking"):
            answer.pop(key)
        answer["fills"] = [
            {
                "price": _text(trade.price),
                "qty": _text(trade.quantity),
                "commission": _text(trade.fee),
                "commissionAsset": trade.fee_coin,
                "tradeId": trade.number,
            }
            for trade in self._trades[pair.name][traded:]
        ]
        return answer

    def _check_filters(self, pair: Pair, quantity: Decimal, price: Decimal, kind: str) -> None:
        if quantity < pair.minimum_quantity or quantity % pair.step:
            raise Refusal(-1013, "Filter failure: LOT_SIZE")
        if kind == "LIMIT" and price % pair.tick:
            raise Refusal(-1013, "Filter failure: PRICE_FILTER")
        quote = self._quotes.get(pair.name)
        worth = quantity * (price or (quote.ask if quote else _ZERO))
        if worth < pair.minimum_notional:
            raise Refusal(-1013, "Filter failure: NOTIONAL")

    def _hold(self, order: Order, pair: Pair) -> None:
        """Put aside what an order may take; Refusal where the account does not have it."""
        coin, amount = pair.base, order.quantity
        if order.side == "BUY":
            quote = self._quotes.get(pair.name)
            price = order.price or (quote.ask if quote else _ZERO)
            coin, amount = pair.quote, _down(order.quantity * price)
            if self._fee_in is FeeIn.QUOTE:
                amount += _down(amount * self._fee_rate)
        if self._free.get(coin, _ZERO) < amount:
            raise Refusal(-2010, "Account has insufficient balance for requested action.")
        self._free[coin] -= amount
        self._locked[coin] = self._locked.get(coin, _ZERO) + amount
        self._held[order.number] = amount

    def _release(self, order: Order) -> None:
        pair = self._pairs[order.pair]
        coin = pair.quote if order.side == "BUY" else pair.base
        amount = self._held.pop(order.number)
        self._locked[coin] -= amount
        self._free[coin] = self._free.get(coin, _ZERO) + amount

    def _reaches(self, order: Order) -> bool:
        quote = self._quotes.get(order.pair)
        if quote is None:
            return False
        if order.kind == "MARKET":
            return True
        return order.price >= quote.ask if order.side == "BUY" else order.price <= quote.bid

    def _match(self, order: Order) -> Order:
        if self._reaches(order):
            quote = self._quotes[order.pair]
            size = quote.ask_size if order.side == "BUY" else quote.bid_size
            if order.time_in_force != "FOK" or size is None or size >= order.quantity:
                order = self._fill(order, quote.ask if order.side == "BUY" else quote.bid, is_maker=False)
        if order.is_open and (order.kind == "MARKET" or order.time_in_force in ("IOC", "FOK")):
            order = self._end(order, "EXPIRED")
        return order

    def _fill(self, order: Order, price: Decimal, *, is_maker: bool) -> Order:
        """Fill an order as far as the market's size goes."""
        quote = self._quotes[order.pair]
        size = quote.ask_size if order.side == "BUY" else quote.bid_size
        quantity = order.left if size is None else min(order.left, size)
        if not quantity:
            return order
        if size is not None:
            if order.side == "BUY":
                quote.ask_size = size - quantity
            else:
                quote.bid_size = size - quantity
        return self._execute(order, quantity, price, is_maker=is_maker)

    def _execute(self, order: Order, quantity: Decimal, price: Decimal, *, is_maker: bool) -> Order:
        pair = self._pairs[order.pair]
        self._release(order)
        step = pair.step
        share = max(step, quantity / self._trades_per_fill // step * step)
        while quantity:
            part = share if quantity >= 2 * share else quantity
            quantity -= part
            order = self._trade(order, pair, part, price, is_maker)
        order = replace(
            order, status="FILLED" if not order.left else "PARTIALLY_FILLED", changed_ms=self._now_ms()
        )
        self._orders[order.number] = order
        if order.is_open:
            # What the rest may take; less than before, so that it is there.
            self._hold(replace(order, quantity=order.left), pair)
        return order

    def _trade(self, order: Order, pair: Pair, quantity: Decimal, price: Decimal, is_maker: bool) -> Order:
        worth = quantity * price
        sign = 1 if order.side == "BUY" else -1
        received = (pair.base, quantity) if order.side == "BUY" else (pair.quote, worth)
        fee_coin, taken_from = {
            FeeIn.RECEIVED: received,
            FeeIn.QUOTE: (pair.quote, worth),
            FeeIn.OTHER: ("BNB", worth),
        }[self._fee_in]
        fee = _down(taken_from * self._fee_rate)
        self._free[pair.base] = self._free.get(pair.base, _ZERO) + sign * quantity
        self._free[pair.quote] = self._free.get(pair.quote, _ZERO) - sign * worth
        self._free[fee_coin] = self._free.get(fee_coin, _ZERO) - fee
        trades = self._trades[pair.name]
        trades.append(
            Trade(
                len(trades),
                pair.name,
                order.number,
                order.side == "BUY",
                is_maker,
                quantity,
                price,
                fee,
                fee_coin,
                self._now_ms(),
            )
        )
        return replace(order, filled=order.filled + quantity, paid=order.paid + worth)

    def _end(self, order: Order, status: str) -> Order:
        self._release(order)
        order = replace(order, status=status, changed_ms=self._now_ms())
        self._orders[order.number] = order
        return order

    def _known(self, parameters: Mapping[str, str], unknown: Refusal) -> Order:
        """Return the order that is asked for: of those that had a client id, the latest."""
        pair = self._pair(parameters).name
        number, client_id = _whole(parameters, "orderId", None), parameters.get("origClientOrderId")
        for order in reversed(self._orders.values()):
            if order.pair == pair and (order.number == number or order.client_id == client_id):
                return order
        raise unknown

    def _query(self, parameters: Mapping[str, str]) -> object:
        return _order_row(self._known(parameters, Refusal(-2013, "Order does not exist.")))

    def _cancel(self, parameters: Mapping[str, str]) -> object:
        unknown = Refusal(-2011, "Unknown order sent.")
        order = self._known(parameters, unknown)
        if not order.is_open:
            raise unknown
        order = self._end(order, "CANCELED")
        # The cancellation has a name of its own; the order's stands beside it.
        return _order_row(order) | {"origClientOrderId": order.client_id, "clientOrderId": f"c{order.number}"}

    def _open_orders(self, parameters: Mapping[str, str]) -> object:
        pair = self._pair(parameters).name if "symbol" in parameters else None
        return [
            _order_row(order)
            for order in self._orders.values()
            if order.is_open and (pair is None or order.pair == pair)
        ]

    def _all_orders(self, parameters: Mapping[str, str]) -> object:
        pair = self._pair(parameters).name
        first = _whole(parameters, "orderId", None)
        limit = min(_whole(parameters, "limit", 500) or 500, _MOST_ROWS)
        rows = [
            order for order in self._orders.values() if order.pair == pair and order.number >= (first or 0)
        ]
        return [_order_row(order) for order in (rows[-limit:] if first is None else rows[:limit])]

    def _my_trades(self, parameters: Mapping[str, str]) -> object:
        trades = self._trades[self._pair(parameters).name]
        first = _whole(parameters, "fromId", None)
        limit = min(_whole(parameters, "limit", 500) or 500, _MOST_ROWS)
        rows = [trade for trade in trades if trade.number >= (first or 0)]
        return [_trade_row(trade) for trade in (rows[-limit:] if first is None else rows[:limit])]

    def _account(self, _parameters: Mapping[str, str]) -> object:
        coins = sorted({*self._free, *self._locked, *(pair.base for pair in self._pairs.values())})
        return {
            "makerCommission": 0,
            "takerCommission": 0,
            "canTrade": True,
            "canWithdraw": False,
            "canDeposit": False,
            "updateTime": self._now_ms(),
            "accountType": "SPOT",
            "balances": [
                {
                    "asset": coin,
                    "free": _text(self._free.get(coin, _ZERO)),
                    "locked": _text(self._locked.get(coin, _ZERO)),
                }
                for coin in coins
            ],
            "permissions": ["SPOT"],
        }


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return web.json_response({"code": refusal.code, "msg": refusal.message}, status=refusal.status)


def _market(pair: Pair) -> dict[str, object]:
    return {
        "symbol": pair.name,
        "status": pair.status,
        "baseAsset": pair.base,
        "baseAssetPrecision": 8,
        "quoteAsset": pair.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _text(pair.tick),
                "maxPrice": "1000000.00000000",
                "tickSize": _text(pair.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": _text(pair.minimum_quantity),
                "maxQty": "9000000.00000000",
                "stepSize": _text(pair.step),
            },
            {"filterType": "NOTIONAL", "minNotional": _text(pair.minimum_notional), "applyMinToMarket": True},
        ],
        "permissions": ["SPOT"],
    }


def _order_row(order: Order) -> dict[str, Any]:
    return {
        "symbol": order.pair,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": _text(order.price),
        "origQty": _text(order.quantity),
        "executedQty": _text(order.filled),
        "cummulativeQuoteQty": _text(order.paid),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "side": order.side,
        "stopPrice": "0.00000000",
        "time": order.made_ms,
        "updateTime": order.changed_ms,
        "isWorking": True,
    }


def _trade_row(trade: Trade) -> dict[str, object]:
    return {
        "symbol": trade.pair,
        "id": trade.number,
        "orderId": trade.order,
        "orderListId": -1,
        "price": _text(trade.price),
        "qty": _text(trade.quantity),
        "quoteQty": _text(trade.quantity * trade.price),
        "commission": _text(trade.fee),
        "commissionAsset": trade.fee_coin,
        "time": trade.at_ms,
        "isBuyer": trade.is_buyer,
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


def _book(quote: _Quote | None) -> dict[str, str]:
    if quote is None:
        return dict.fromkeys(("bidPrice", "bidQty", "askPrice", "askQty"), _text(_ZERO))
    enough = Decimal(1000)
    return {
        "bidPrice": _text(quote.bid),
        "bidQty": _text(enough if quote.bid_size is None else quote.bid_size),
        "askPrice": _text(quote.ask),
        "askQty": _text(enough if quote.ask_size is None else quote.ask_size),
    }


def _text(number: Decimal) -> str:
    return f"{number:.8f}"


def _down(number: Decimal) -> Decimal:
    return number.quantize(_UNIT, ROUND_DOWN)


def _missing(name: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _positive(parameters: Mapping[str, str], name: str) -> Decimal:
    """Return a number as the exchange takes it: digits and one dot, above 0."""
    text = parameters.get(name, "")
    if not text:
        raise _missing(name)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = _ZERO
    if "e" in text.lower() or not number.is_finite() or number <= 0:
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'.")
    return number


def _whole(parameters: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)
