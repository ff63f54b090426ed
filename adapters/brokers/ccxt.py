"""Orders on crypto exchanges, through ccxt.

Exchanges take a client id of some characters only, and a look-up by it within one market only, and forget a
name when its order has ended.  So:

* An order's name there is a hash of its client id (``exchange_id``), the same after every restart.  Which
  client id a hash stands for is known of the orders that went through this object, and asked of
  ``known_ids``, the journal's, for the others.  An order under any other name is a stranger's and is told
  under the exchange's own.
* Nothing is sent before the name was looked up, and nothing again before a lost request can no longer arrive.

A fee taken in coins is told as a second fill: those coins, sold at the price of the trade, for a fee of what
they brought.  The books then hold what the balance holds, and the fee in money.  A fee in a third coin is in
neither; its balance alone shows it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any, Final, TypeGuard

from adapters.vendors.ccxt import ExchangeAmbiguous, ExchangeClient, ExchangeError, ExchangeRefused
from engine.codes import IntentState
from engine.errors import ConfigurationError, DataError, NotFoundError, UnavailableError
from engine.model import (
    AssetClass,
    Fill,
    Instrument,
    OrderReport,
    OrderRequest,
    OrderSide,
    OrderType,
)
from engine.runtime.ports import AmbiguousOutcome, OrderRejected, VenueAccount, VenueClock
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, notional, scaled, unscaled
from engine.verbs.fill import Refusal, refusal_of_form

TESTED: Final = ("binance", "binanceus")
"""The exchanges whose orders this module is tested with."""

SWEEP_SECONDS: Final = 60.0
"""Fills of markets where no order of ours was seen lately are asked for this often."""

_NEEDED: Final = (
    "createOrder",
    "cancelOrder",
    "fetchOrder",
    "fetchOrders",
    "fetchOpenOrders",
    "fetchMyTrades",
    "fetchBalance",
    "fetchTime",
)
_OURS: Final = "td-"
_HASH_CHARACTERS: Final = 26  # of 5 bits
_PAGE: Final = 1000
# What an order must say to be one: ccxt has a number, such as 0 filled, for what is missing.
_ORDER_FIELDS: Final = (
    "orderId",
    "clientOrderId",
    "symbol",
    "side",
    "type",
    "origQty",
    "executedQty",
    "status",
)

_STATES: Final[Mapping[str, IntentState]] = {
    "open": IntentState.SENT,
    "canceling": IntentState.SENT,
    "closed": IntentState.FILLED,
    "canceled": IntentState.CANCELLED,
    "expired": IntentState.EXPIRED,
    "rejected": IntentState.REJECTED,
}
_AT_ONCE: Final = ("IOC", "FOK")


def exchange_id(client_id: str) -> str:
    """Return an order's name at exchanges, from the client id alone: 29 characters of a-z, 2-7 and "-"."""
    digest = sha256(client_id.encode()).digest()
    return _OURS + base64.b32encode(digest).decode().lower()[:_HASH_CHARACTERS]


@dataclass(frozen=True, slots=True)
class _Trade:
    """A trade as the exchange tells it; ``number`` counts within its market."""

    number: int
    symbol: str
    order: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    at_ms: int


class CcxtBroker:
    """The broker port over one exchange and one currency.

    ``symbols`` are the pairs traded here, such as BTC-USD: orders go into their markets only, and are looked
    up there; one that the exchange has no market for is as if it were not named.  Balances of other coins are
    told where the exchange has a market for them in the currency.
    Every method raises UnavailableError where the exchange cannot be heard.
    """

    def __init__(
        self,
        client: ExchangeClient,
        symbols: Sequence[str],
        *,
        currency: str = "USD",
        known_ids: Callable[[], Iterable[str]] = tuple,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise ConfigurationError for an exchange that this module is not tested with.

        Args:
            client: Of the exchange.
            symbols: The canonical pairs that are traded here.
            currency: Of the account: every pair's second name.
            known_ids: All client ids of the journal.  Asked when the exchange names an order of ours that did
                not go through this object: after a restart.
            monotonic: Seconds, by a clock that never steps.
        """
        if client.name not in TESTED:
            raise ConfigurationError(
                f"orders at {client.name} are not tested; exchanges that are: {', '.join(TESTED)}"
            )
        lacking = [ability for ability in _NEEDED if not client.can(ability)]
        if lacking:
            raise ConfigurationError(
                f"{client.name} cannot be traded on: ccxt has no {', '.join(lacking)} for it"
            )
        foreign = [symbol for symbol in symbols if not symbol.endswith(f"-{currency}")]
        if foreign:
            raise ConfigurationError(
                f"{', '.join(foreign)}: this account trades pairs against {currency} only"
            )
        self._client = client
        self._symbols = tuple(symbols)
        self._currency = currency
        self._known_ids = known_ids
        self._monotonic = monotonic
        self._client_ids: dict[str, str] = {}  # by the exchange's name for the order
        self._knows_the_journal = False
        self._traded_in: dict[str, str] = {}  # the symbol by client id
        self._names: dict[tuple[str, str], str] = {}  # by symbol and the exchange's number of the order
        self._lost_until: dict[str, float] = {}  # when a request whose answer was lost can no longer arrive
        self._watched_until: dict[str, float] = {}  # markets where an order of ours was seen lately
        self._swept_at: float | None = None

    # The broker port.

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send an order, unless the exchange has it already; return its report.

        Raises OrderRejected, AmbiguousOutcome, or UnavailableError where it certainly was not sent.
        """
        name = self._named(order.client_id)
        self._check(order)
        # The exchange refuses a name only while its order is open: a filled one would be bought again.
        known = self._look_up(order.symbol, name)
        if known is not None:
            return known
        if self._monotonic() < self._lost_until.get(name, 0.0):
            raise AmbiguousOutcome("the first request may still arrive")
        self._traded_in[order.client_id] = order.symbol
        try:
            answer = self._client.call("create_order", *self._wire(order, name))
        except ExchangeRefused as refused:
            if refused.kind != "DuplicateOrderId":
                raise OrderRejected(refused.reason) from None
            return self._settled(order, name, refused.reason)
        except ExchangeAmbiguous as lost:
            return self._settled(order, name, lost.reason)
        except ExchangeError as unheard:
            raise UnavailableError(unheard.reason) from None
        report = self._report_or_none(answer)
        if report is None or report.client_id != order.client_id:
            return self._settled(order, name, f"{self._client.name}: an answer that is not this order")
        return report

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up by client id; None when none of the markets has it."""
        name = self._named(client_id)
        for symbol in self._markets_of(client_id):
            report = self._look_up(symbol, name)
            if report is not None:
                return report
        return None

    def cancel(self, client_id: str) -> None:
        """Ask for cancellation; an order that has ended stays as it is.

        Raises NotFoundError for an unknown one, AmbiguousOutcome where it is not known whether it was heard.
        """
        symbol = self._traded_in.get(client_id)
        if symbol is None:
            report = self.find(client_id)
            if report is None:
                raise NotFoundError(f"{self._client.name} has no order {client_id!r}")
            if report.state.final:
                return
            symbol = report.symbol
        name = self._named(client_id)
        try:
            self._client.call("cancel_order", None, _unified(symbol), {"origClientOrderId": name})
            return
        except (ExchangeRefused, ExchangeAmbiguous) as failure:
            why = failure.reason
        except ExchangeError as unheard:
            raise UnavailableError(unheard.reason) from None
        # Fill and cancellation may have crossed, or the answer was lost after the cancellation.
        try:
            report = self._look_up(symbol, name)
        except UnavailableError:
            raise AmbiguousOutcome(why) from None
        if report is None:
            raise NotFoundError(f"{self._client.name} has no order {client_id!r}")
        if not report.state.final:
            raise AmbiguousOutcome(why)

    def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order in the markets traded here, strangers' too, under their own names.

        A row that cannot be read is left out; UnavailableError where none can.
        """
        rows = self._ask("fetch_open_orders")
        reports = [self._report_or_none(row) for row in rows]
        if rows and not any(reports):
            raise UnavailableError(f"{self._client.name}: its open orders cannot be read")
        return [report for report in reports if report is not None and report.symbol in self._symbols]

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return fills after a cursor ("" for all), by time, and the new cursor.

        The cursor has the last trade of each market, because exchanges number trades and answer them by
        market: trades of the same millisecond are told apart.  It stops before a trade that cannot be read.

        Raises DataError for a cursor that is not of this class.
        """
        after = _parsed_cursor(cursor)
        trades: list[_Trade] = []
        for symbol in self._due_markets(everything=not cursor):
            found, last = self._trades(symbol, after.get(symbol, -1))
            trades += found
            if last is not None:
                after[symbol] = last
        trades.sort(key=lambda trade: (trade.at_ms, trade.symbol, trade.number))
        self._learn_names(trades)
        fills = [fill for trade in trades for fill in self._fills_of(trade)]
        return fills, json.dumps(after, sort_keys=True, separators=(",", ":"))

    def account(self) -> VenueAccount:
        """Return the balances, with what open orders hold back.

        UnavailableError also where one that matters here cannot be read: nothing is taken for 0.
        """
        markets = self._markets()
        told = self._ask("fetch_balance")
        totals = told.get("total") if isinstance(told, dict) else None
        rows = _inner(told, "info", "balances")
        if not isinstance(totals, dict) or not isinstance(rows, list) or len(totals) != len(rows):
            raise UnavailableError(f"{self._client.name}: its balances cannot be read")
        if self._currency not in totals:
            raise UnavailableError(f"{self._client.name} tells no balance of {self._currency}")
        held: dict[str, int] = {}
        cash = 0
        for coin, total in sorted(totals.items()):
            is_cash = coin == self._currency
            if not is_cash and f"{coin}/{self._currency}" not in markets:
                continue
            amount = _decimal(total)
            if amount is None:
                raise UnavailableError(f"{self._client.name}: its balance of {coin} cannot be read")
            if is_cash:
                cash = scaled(amount, MONEY_SCALE)
            elif amount:
                held[f"{coin}-{self._currency}"] = scaled(amount, QUANTITY_SCALE)
        return VenueAccount(cash, held)

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the steps and minimums of a pair; None where the exchange does not trade it against cash."""
        market = self._markets().get(_unified(symbol))
        if market is None or market.get("quote") != self._currency or market.get("active") is False:
            return None
        limits = market["limits"]
        price_step = _step(market["precision"].get("price"), PRICE_SCALE)
        quantity_step = _step(market["precision"].get("amount"), QUANTITY_SCALE)
        if price_step is None or quantity_step is None:
            return None
        return Instrument(
            symbol=symbol,
            asset_class=AssetClass.CRYPTO,
            calendar="24/7",
            price_step=price_step,
            quantity_step=quantity_step,
            minimum_quantity=max(_decimal(limits["amount"].get("min")) or quantity_step, quantity_step),
            minimum_notional=_decimal(limits["cost"].get("min")) or Decimal(0),
        )

    def clock(self) -> VenueClock:
        """Return the exchange's time; it never closes."""
        now_ms = self._ask("fetch_time")
        if type(now_ms) is not int:
            raise UnavailableError(f"{self._client.name}: its time cannot be read")
        return VenueClock(now_ms, is_open=True, next_open_ms=now_ms, next_close_ms=now_ms)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    # Orders.

    def _check(self, order: OrderRequest) -> None:
        """Refuse what the exchange would; but what a market order is worth only the exchange can tell."""
        instrument = self.instrument(order.symbol) if order.symbol in self._symbols else None
        refusal = refusal_of_form(order, instrument)
        if refusal is not None:
            raise OrderRejected(refusal)
        if instrument is None or order.limit_price is None:
            return
        worth = notional(order.quantity, order.limit_price)
        if worth < scaled(instrument.minimum_notional, MONEY_SCALE):
            raise OrderRejected(
                f"{Refusal.MINIMUM_NOTIONAL}: {unscaled(worth, MONEY_SCALE):f}"
                f" is less than {instrument.minimum_notional:f}"
            )

    def _settled(self, order: OrderRequest, name: str, why: str) -> OrderReport:
        """Look up an order whose answer was lost, or whose name is taken; AmbiguousOutcome without one."""
        margin = self._client.access.total_seconds
        self._lost_until[name] = self._monotonic() + self._client.access.receive_window_ms / 1000 + margin
        try:
            report = self._look_up(order.symbol, name)
        except UnavailableError:
            report = None
        if report is None:
            raise AmbiguousOutcome(why)
        return report

    def _look_up(self, symbol: str, name: str) -> OrderReport | None:
        try:
            answer = self._client.call("fetch_order", None, _unified(symbol), {"origClientOrderId": name})
        except ExchangeRefused as refused:
            if refused.kind == "OrderNotFound":
                return None
            raise UnavailableError(f"{self._client.name} does not look up orders: {refused.reason}") from None
        except ExchangeError as unheard:
            raise UnavailableError(unheard.reason) from None
        report = self._report_or_none(answer)
        if report is None or report.client_id != self._client_ids.get(name):
            raise UnavailableError(f"{self._client.name}: an answer that is not the order asked for")
        self._traded_in[report.client_id] = symbol
        self._watch(symbol)
        return report

    def _report_or_none(self, answer: object) -> OrderReport | None:
        """Return what an answer says of an order; None where it is none that can be read."""
        if not isinstance(answer, dict) or not _has(answer.get("info"), _ORDER_FIELDS):
            return None
        quantity, filled = _decimal(answer.get("amount")), _decimal(answer.get("filled"))
        symbol, sides = answer.get("symbol"), {side.value: side for side in OrderSide}
        number, name, status = (answer.get(key) for key in ("id", "clientOrderId", "status"))
        side = sides.get(str(answer.get("side")))
        at_ms = answer.get("lastUpdateTimestamp") or answer.get("timestamp")
        limit = None if answer.get("type") == "market" else _decimal(answer.get("price"))
        if not (isinstance(number, str) and isinstance(name, str) and isinstance(status, str)):
            return None
        if not isinstance(symbol, str) or side is None or quantity is None or filled is None:
            return None
        if type(at_ms) is not int or (limit is None and answer.get("type") != "market"):
            return None
        state = self._state(status)
        if state is IntentState.EXPIRED and answer.get("timeInForce") in _AT_ONCE:
            state = IntentState.CANCELLED  # that it did not fill at once is what was asked
        if state is IntentState.SENT and filled:
            state = IntentState.PARTLY_FILLED
        self._watch(_canonical(symbol))
        return OrderReport(
            client_id=self._client_id(name, number),
            venue_id=number,
            symbol=_canonical(symbol),
            side=side,
            quantity=scaled(quantity, QUANTITY_SCALE),
            limit_price=None if limit is None else scaled(limit, PRICE_SCALE),
            state=state,
            filled_quantity=scaled(filled, QUANTITY_SCALE),
            updated_ms=at_ms,
            reason="" if status in ("open", "closed") else f"{self._client.name}: {status}",
        )

    @staticmethod
    def _state(status: str) -> IntentState:
        """Return the state for ccxt's word; AMBIGUOUS, which tells only a quantity, for one that is new."""
        return _STATES.get(status, IntentState.AMBIGUOUS)

    @staticmethod
    def _wire(order: OrderRequest, name: str) -> tuple[object, ...]:
        """Return an order as ccxt takes it, its numbers as exact text."""
        parameters = {"newClientOrderId": name}
        if order.order_type is OrderType.LIMIT:
            parameters["timeInForce"] = order.time_in_force.value.upper()
        limit = order.limit_price
        return (
            _unified(order.symbol),
            order.order_type.value,
            order.side.value,
            f"{unscaled(order.quantity, QUANTITY_SCALE):f}",
            None if limit is None else f"{unscaled(limit, PRICE_SCALE):f}",
            parameters,
        )

    def _markets_of(self, client_id: str) -> Sequence[str]:
        """Return the symbols in whose markets an order may be, the likeliest first."""
        known = self._traded_in.get(client_id)
        if known is not None:
            return (known,)
        # Where the market that its id names is gone, nobody can say that the order is not there.
        named = [symbol for symbol in self._symbols if f"-{symbol}-" in client_id]
        return [*named, *(symbol for symbol in self._there() if symbol not in named)]

    # Names.

    def _named(self, client_id: str) -> str:
        name = exchange_id(client_id)
        self._client_ids[name] = client_id
        return name

    def _client_id(self, name: str, number: str) -> str:
        """Return the client id behind the exchange's name of an order; a stranger's as it is."""
        if not name.startswith(_OURS):
            return name
        if name not in self._client_ids and not self._knows_the_journal:
            # Once is enough: whatever the journal gets from now on goes through submit.
            self._knows_the_journal = True
            for client_id in self._known_ids():
                self._named(client_id)
        # Under a name of our form that we never gave, the order is another agent's.
        return self._client_ids.get(name, number)

    def _learn_names(self, trades: Sequence[_Trade]) -> None:
        """Ask for the names of the orders behind trades: a trade has but the number of its order."""
        for symbol in sorted({trade.symbol for trade in trades}):
            wanted = {trade.order for trade in trades if trade.symbol == symbol}
            missing = sorted((number for number in wanted if (symbol, number) not in self._names), key=int)
            while missing:
                rows = self._ask("fetch_orders", _unified(symbol), None, _PAGE, {"orderId": missing[0]})
                # As the exchange wrote them: an order that is odd otherwise has a name none the less.
                told = {
                    str(_inner(row, "info", "orderId")): _inner(row, "info", "clientOrderId") for row in rows
                }
                for number in missing:
                    if isinstance(told.get(number), str):
                        self._names[symbol, number] = told[number]
                left = [number for number in missing if (symbol, number) not in self._names]
                if left and left[0] == missing[0]:
                    raise UnavailableError(
                        f"{self._client.name} does not name the order {left[0]} of a trade"
                    )
                missing = left

    # Fills.

    def _due_markets(self, *, everything: bool) -> Sequence[str]:
        """Return the markets whose trades are asked for now: all from time to time, else those watched."""
        now = self._monotonic()
        if everything or self._swept_at is None or now >= self._swept_at + SWEEP_SECONDS:
            self._swept_at = now
            return self._there()
        return [symbol for symbol in self._there() if now < self._watched_until.get(symbol, now)]

    def _there(self) -> Sequence[str]:
        """Return the symbols that the exchange has a market for."""
        markets = self._markets()
        return [symbol for symbol in self._symbols if _unified(symbol) in markets]

    def _watch(self, symbol: str) -> None:
        self._watched_until[symbol] = self._monotonic() + SWEEP_SECONDS

    def _trades(self, symbol: str, after: int) -> tuple[list[_Trade], int | None]:
        """Return a market's trades above a number, and the number up to which all of them could be read."""
        trades: dict[int, _Trade] = {}
        last: int | None = None
        whole = True
        first = after + 1
        while True:
            rows = self._ask("fetch_my_trades", _unified(symbol), None, _PAGE, {"fromId": first})
            for row in rows:
                trade = _trade(row, symbol)
                whole = whole and trade is not None
                if trade is not None and trade.number >= first:
                    trades[trade.number] = trade
                    last = trade.number if whole else last
            if len(rows) < _PAGE:
                return list(trades.values()), last
            following = max(trades, default=after) + 1
            if following <= first:
                raise UnavailableError(f"{self._client.name}: its trades in {symbol} cannot be read")
            first = following

    def _fills_of(self, trade: _Trade) -> Iterable[Fill]:
        """Return a trade as a fill, and as a second one the coins that its fee took."""
        coin = trade.symbol.partition("-")[0]
        quantity, price = scaled(trade.quantity, QUANTITY_SCALE), scaled(trade.price, PRICE_SCALE)
        client_id = self._client_id(self._names[trade.symbol, trade.order], trade.order)

        def fill(fill_id: str, side: OrderSide, quantity: int, fee: int) -> Fill:
            worth = notional(quantity, price)
            return Fill(fill_id, client_id, trade.symbol, side, quantity, price, worth, fee, trade.at_ms)

        name = f"{trade.symbol}/{trade.number}"
        in_money = trade.fee if trade.fee_currency == self._currency else Decimal(0)
        yield fill(name, trade.side, quantity, scaled(in_money, MONEY_SCALE))
        coins = scaled(trade.fee, QUANTITY_SCALE)
        if trade.fee_currency == coin and coins:
            yield fill(f"{name}/fee", OrderSide.SELL, coins, notional(coins, price))

    # Asking.

    def _markets(self) -> Mapping[str, Mapping[str, Any]]:
        try:
            return self._client.markets()
        except ExchangeError as unheard:
            raise UnavailableError(unheard.reason) from None

    def _ask(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - as ccxt answers
        try:
            return self._client.call(method, *arguments)
        except ExchangeError as unheard:
            raise UnavailableError(unheard.reason) from None


def _trade(row: object, symbol: str) -> _Trade | None:
    """Return what a row says of a trade; None where it cannot be read."""
    if not isinstance(row, dict) or row.get("symbol") != _unified(symbol):
        return None
    fee = row.get("fee")
    quantity, price = _decimal(row.get("amount")), _decimal(row.get("price"))
    cost = _decimal(_inner(fee, "cost"))
    currency, number, order = _inner(fee, "currency"), row.get("id"), row.get("order")
    at_ms, side = row.get("timestamp"), row.get("side")
    if not quantity or not price or cost is None or not isinstance(currency, str) or type(at_ms) is not int:
        return None
    if not (_is_number(number) and _is_number(order)) or side not in ("buy", "sell"):
        return None
    return _Trade(int(number), symbol, order, OrderSide(side), quantity, price, cost, currency, at_ms)


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def _parsed_cursor(cursor: str) -> dict[str, int]:
    try:
        after = json.loads(cursor) if cursor else {}
    except ValueError:
        after = None
    if not isinstance(after, dict) or not all(type(number) is int for number in after.values()):
        raise DataError(f"the fill cursor {cursor!r} is not of an exchange: start again from all fills")
    return after


def _unified(symbol: str) -> str:
    """Return ccxt's symbol of a canonical one: BTC/USD."""
    return symbol.replace("-", "/")


def _canonical(unified: str) -> str:
    return unified.replace("/", "-")


def _decimal(value: object) -> Decimal | None:
    """Return a number that is text as it was written; None for what is none, not finite or below 0."""
    if not isinstance(value, str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


def _step(value: object, scale: int) -> Decimal | None:
    """Return a step, at least as coarse as the engine's integers; None where there is none that fits."""
    step = _decimal(value)
    if not step:
        return None
    finest = Decimal(1) / scale
    step = max(step, finest)
    return step.normalize() if step % finest == 0 else None


def _inner(value: object, *keys: str) -> Any:  # noqa: ANN401 - whatever a document holds there
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _has(row: object, keys: Sequence[str]) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str | int) for key in keys)
