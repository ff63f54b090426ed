"""The trading API: account, orders, positions, fills, assets, clock and calendar."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal, localcontext
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiMapping

from adapters.stubs.alpaca.assets import STOCK, Asset
from adapters.stubs.alpaca.orders import Order
from adapters.stubs.alpaca.refusal import Refusal, invalid, malformed, not_found
from adapters.stubs.alpaca.sessions import next_open_ms
from adapters.stubs.alpaca.venue import Activity, Holding, Venue
from adapters.stubs.alpaca.wire import (
    EXACT,
    local_date,
    local_instant,
    microseconds,
    parsed_instant,
    text,
)

_ACCOUNT_ID: Final = "6c9a4a8e-5b7d-4a53-9a0e-7f2d4c1b8e90"
_ACCOUNT_NUMBER: Final = "PASTUB000001"
_CREATED_AT: Final = "2024-01-02T14:30:00.000000Z"
_DAY: Final = 86_400_000_000  # microseconds
_MOST_ORDERS: Final = 500
_USUAL_ORDERS: Final = 50
_MOST_ACTIVITIES: Final = 100
_RATIO_STEP: Final = Decimal("1e-12")
_FIRST_DAY: Final = date(1990, 1, 1)
_LAST_DAY: Final = date(2029, 12, 31)

Document = dict[str, object]


def trading_routes(venue: Venue, written: Callable[[object], str]) -> list[web.RouteDef]:
    """Return the routes of the trading API; ``written`` makes the body of an answer."""
    api = _Trading(venue)

    def answered(answer: Callable[[web.Request], Awaitable[object]], status: int = 200) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            with localcontext(EXACT):
                document = await answer(request)
            if document is None:
                return web.Response(status=204)
            return web.json_response(text=written(document), status=status)

        return handler

    return [
        web.get("/v2/account", answered(api.account)),
        web.get("/v2/account/activities", answered(api.activities)),
        web.get("/v2/account/activities/{activity_type}", answered(api.activities)),
        web.get("/v2/orders", answered(api.orders)),
        web.post("/v2/orders", answered(api.submit)),
        web.delete("/v2/orders", answered(api.cancel_all, status=207)),
        web.get("/v2/orders:by_client_order_id", answered(api.order_by_client_id)),
        web.get("/v2/orders/{order_id}", answered(api.order)),
        web.patch("/v2/orders/{order_id}", answered(api.replace)),
        web.delete("/v2/orders/{order_id}", answered(api.cancel)),
        web.get("/v2/positions", answered(api.positions)),
        web.delete("/v2/positions", answered(api.close_all, status=207)),
        web.get("/v2/positions/{symbol_or_asset_id}", answered(api.position)),
        web.delete("/v2/positions/{symbol_or_asset_id}", answered(api.close_position)),
        web.get("/v2/assets", answered(api.assets)),
        # alpaca-py does not escape the slash of BTC/USD.
        web.get("/v2/assets/{symbol_or_asset_id:.+}", answered(api.asset)),
        web.get("/v2/clock", answered(api.clock)),
        web.get("/v2/calendar", answered(api.calendar)),
    ]


class _Trading:
    """What each route answers: a document, or None for no content."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    # --- account -------------------------------------------------------------------------------

    async def account(self, request: web.Request) -> Document:
        venue = self._venue
        cash, held = venue.cash, venue.held_money
        value = sum((self._value(holding) for holding in venue.holdings()), Decimal(0))
        available = text(max(cash - held, Decimal(0)))
        return {
            "id": _ACCOUNT_ID,
            "account_number": _ACCOUNT_NUMBER,
            "status": "ACTIVE",
            "crypto_status": "ACTIVE",
            "currency": "USD",
            "cash": text(cash),
            "buying_power": available,
            "regt_buying_power": available,
            "non_marginable_buying_power": available,
            "options_buying_power": available,
            "options_approved_level": 0,
            "options_trading_level": 0,
            "equity": text(cash + value),
            "last_equity": text(cash + value),
            "portfolio_value": text(cash + value),
            "long_market_value": text(value),
            "short_market_value": "0",
            "initial_margin": text(value),
            "maintenance_margin": "0",
            "last_maintenance_margin": "0",
            "accrued_fees": "0",
            "pending_transfer_in": "0",
            "multiplier": "1",
            "sma": "0",
            "shorting_enabled": False,
            "account_blocked": False,
            "trading_blocked": False,
            "transfers_blocked": False,
            "trade_suspended_by_user": False,
            "balance_asof": local_date(venue.now_ms()).isoformat(),
            "created_at": _CREATED_AT,
        }

    async def activities(self, request: web.Request) -> list[Document]:
        query = request.query
        named = request.match_info.get("activity_type") or query.get("activity_types") or "FILL"
        descending = _direction(query)
        size = _number(query, "page_size", _MOST_ACTIVITIES, 1, _MOST_ACTIVITIES)
        order_id, token = query.get("order_id"), query.get("page_token")
        fits = _time_filter(query)
        if "FILL" not in named.split(","):
            return []
        found = [
            activity
            for activity in self._venue.activities()
            if order_id in (None, activity.order_id) and fits(activity)
        ]
        if descending:
            found.reverse()
        if token:
            found = [
                activity for activity in found if (activity.id < token) == descending and activity.id != token
            ]
        return [activity.to_json() for activity in found[:size]]

    # --- orders --------------------------------------------------------------------------------

    async def submit(self, request: web.Request) -> Document:
        return self._venue.submit(await _body(request))

    async def orders(self, request: web.Request) -> list[Document]:
        query = request.query
        status = query.get("status") or "open"
        if status not in ("open", "closed", "all"):
            raise invalid("invalid status")
        descending = _direction(query)
        limit = _number(query, "limit", _USUAL_ORDERS, 1, _MOST_ORDERS)
        symbols = {self._symbol(symbol) for symbol in _listed(query, "symbols")}
        classes = _listed(query, "asset_class")
        side = query.get("side")
        after, until = _instant(query, "after"), _instant(query, "until")
        after_id, before_id = query.get("after_order_id"), query.get("before_order_id")
        if after_id or before_id:
            orders = _around(self._venue.orders(), after_id, before_id)
        elif status == "open":
            orders = self._venue.open_orders()
        else:
            orders = self._venue.orders()
        found = [
            order
            for order in orders
            if (status == "all" or order.is_open == (status == "open"))
            and (not symbols or order.draft.asset.symbol in symbols)
            and (not classes or "all" in classes or order.draft.asset.asset_class in classes)
            and side in (None, "", order.draft.side)
            and (after is None or microseconds(order.created_ms) > after)
            and (until is None or microseconds(order.created_ms) < until)
        ]
        if descending:
            found.reverse()
        return [self._venue.order_json(order) for order in found[:limit]]

    async def order(self, request: web.Request) -> Document:
        return self._venue.order_json(self._venue.by_id(_order_id(request)))

    async def order_by_client_id(self, request: web.Request) -> Document:
        client_id = request.query.get("client_order_id")
        if not client_id:
            raise malformed("client_order_id is required")
        return self._venue.order_json(self._venue.by_client_id(client_id))

    async def replace(self, request: web.Request) -> Document:
        return self._venue.replace(_order_id(request), await _body(request))

    async def cancel(self, request: web.Request) -> None:
        self._venue.cancel(_order_id(request))

    async def cancel_all(self, request: web.Request) -> list[Document]:
        return [{"id": order.id, "status": self._cancelled(order.id)} for order in self._venue.open_orders()]

    def _cancelled(self, order_id: str) -> int:
        """Cancel an order; return the status of that alone."""
        try:
            self._venue.cancel(order_id)
        except Refusal as refusal:
            return refusal.status
        return 200

    # --- positions -----------------------------------------------------------------------------

    async def positions(self, request: web.Request) -> list[Document]:
        return [self._position(holding) for holding in self._venue.holdings()]

    async def position(self, request: web.Request) -> Document:
        return self._position(self._holding(request.match_info["symbol_or_asset_id"]))

    async def close_position(self, request: web.Request) -> Document:
        holding = self._holding(request.match_info["symbol_or_asset_id"])
        query = request.query
        quantity = holding.quantity
        try:
            if "qty" in query:
                quantity = Decimal(query["qty"])
            elif "percentage" in query:
                share = Decimal(query["percentage"]) / 100
                quantity = min(quantity * share, quantity).quantize(holding.asset.min_trade_increment)
        except ArithmeticError:
            raise malformed("qty or percentage is not a number") from None
        return self._venue.submit(_closing(holding, quantity))

    async def close_all(self, request: web.Request) -> list[Document]:
        if request.query.get("cancel_orders") == "true":
            await self.cancel_all(request)
        answers: list[Document] = []
        for holding in self._venue.holdings():
            try:
                order = self._venue.submit(_closing(holding, holding.quantity))
                answers.append({"symbol": holding.asset.position_symbol, "status": 200, "body": order})
            except Refusal as refusal:
                answers.append({"symbol": holding.asset.position_symbol, "status": refusal.status})
        return answers

    def _holding(self, symbol_or_id: str) -> Holding:
        for holding in self._venue.holdings():
            if symbol_or_id in (holding.asset.position_symbol, holding.asset.id):
                return holding
        raise not_found("position does not exist")

    def _price(self, holding: Holding) -> Decimal:
        ticker = self._venue.ticker(holding.asset.symbol)
        return holding.cost / holding.quantity if ticker is None else ticker.last

    def _value(self, holding: Holding) -> Decimal:
        return holding.quantity * self._price(holding)

    def _position(self, holding: Holding) -> Document:
        price, value = self._price(holding), self._value(holding)
        gain = value - holding.cost
        ratio = text((gain / holding.cost).quantize(_RATIO_STEP)) if holding.cost else "0"
        held = self._venue.held_quantity(holding.asset.symbol)
        return {
            "asset_id": holding.asset.id,
            "symbol": holding.asset.position_symbol,
            "exchange": holding.asset.exchange,
            "asset_class": holding.asset.asset_class,
            "asset_marginable": False,
            "qty": text(holding.quantity),
            "qty_available": text(max(holding.quantity - held, Decimal(0))),
            "avg_entry_price": text((holding.cost / holding.quantity).quantize(_RATIO_STEP)),
            "side": "long" if holding.quantity > 0 else "short",
            "market_value": text(value),
            "cost_basis": text(holding.cost),
            "unrealized_pl": text(gain),
            "unrealized_plpc": ratio,
            "unrealized_intraday_pl": text(gain),
            "unrealized_intraday_plpc": ratio,
            "current_price": text(price),
            "lastday_price": text(price),
            "change_today": "0",
        }

    # --- assets, clock, calendar ---------------------------------------------------------------

    async def assets(self, request: web.Request) -> list[Document]:
        query = request.query
        status, exchange = query.get("status"), query.get("exchange")
        wanted = query.get("asset_class") or STOCK
        found = [
            asset
            for asset in self._venue.assets()
            if asset.asset_class == wanted
            and status in (None, "", "all", asset.status)
            and exchange in (None, "", asset.exchange)
            and not _listed(query, "attributes")
        ]
        found.sort(key=lambda asset: (asset.asset_class, asset.exchange, asset.symbol))
        return [_asset_json(asset) for asset in found]

    async def asset(self, request: web.Request) -> Document:
        name = request.match_info["symbol_or_asset_id"]
        asset = self._venue.asset(name)
        if asset is None:
            raise not_found(f"asset not found for {name}")
        return _asset_json(asset)

    async def clock(self, request: web.Request) -> Document:
        venue = self._venue
        now = venue.now_ms()
        return {
            "timestamp": local_instant(now, fraction=True),
            "is_open": venue.is_open,
            "next_open": local_instant(next_open_ms(venue.sessions, now)),
            "next_close": local_instant(venue.session().close_ms),
        }

    async def calendar(self, request: web.Request) -> list[Document]:
        today = local_date(self._venue.now_ms())
        start = _day(request.query, "start", _FIRST_DAY)
        end = _day(request.query, "end", today + timedelta(days=365))
        if start > end:
            raise Refusal(400, None, "start must not be after end")
        sessions = self._venue.sessions.between(start, end)
        following = self._venue.sessions.between(end + timedelta(days=1), end + timedelta(days=10))
        settles = [session.day for session in (*sessions[1:], *following)]
        return [
            {
                "date": session.day.isoformat(),
                "open": local_instant(session.open_ms)[11:16],
                "close": local_instant(session.close_ms)[11:16],
                "session_open": "0400",
                "session_close": "2000",
                "settlement_date": settlement.isoformat(),
            }
            for session, settlement in zip(sessions, settles, strict=False)
        ]

    def _symbol(self, written: str) -> str:
        asset = self._venue.asset(written)
        return written if asset is None else asset.symbol


def _asset_json(asset: Asset) -> Document:
    document: Document = {
        "id": asset.id,
        "class": asset.asset_class,
        "exchange": asset.exchange,
        "symbol": asset.symbol,
        "name": asset.name,
        "status": asset.status,
        "tradable": asset.tradable,
        "marginable": False,
        "maintenance_margin_requirement": 100,
        "margin_requirement_long": "100",
        "margin_requirement_short": "100",
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": asset.fractionable,
        "attributes": [],
    }
    if asset.is_crypto:
        document |= {
            "min_order_size": text(asset.min_order_size),
            "min_trade_increment": text(asset.min_trade_increment),
            "price_increment": text(asset.price_increment),
        }
    return document


def _closing(holding: Holding, quantity: Decimal) -> Document:
    return {
        "symbol": holding.asset.symbol,
        "side": "sell",
        "type": "market",
        "time_in_force": "gtc" if holding.asset.is_crypto else "day",
        "qty": text(quantity),
    }


# --- what is asked -----------------------------------------------------------------------------


async def _body(request: web.Request) -> object:
    try:
        return json.loads(await request.read(), parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refusal(400, 40010000, "request body format is invalid") from None


def _order_id(request: web.Request) -> str:
    try:
        return str(uuid.UUID(request.match_info["order_id"]))
    except ValueError:
        raise malformed("order_id is not a UUID") from None


def _around(orders: Sequence[Order], after_id: str | None, before_id: str | None) -> Sequence[Order]:
    """Return the orders after one, or before one."""
    ids = [order.id for order in orders]
    for order_id in (after_id, before_id):
        if order_id and order_id not in ids:
            raise not_found(f"order not found for {order_id}")
    first = ids.index(after_id) + 1 if after_id else 0
    last = ids.index(before_id) if before_id else len(ids)
    return orders[first:last]


def _direction(query: Mapping[str, str]) -> bool:
    """Return whether the newest come first."""
    direction = query.get("direction") or "desc"
    if direction not in ("asc", "desc"):
        raise invalid("invalid direction")
    return direction == "desc"


def _number(query: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    written = query.get(name)
    if not written:
        return usual
    if not (written.isascii() and written.isdigit() and len(written) < 10 and least <= int(written) <= most):
        raise invalid(f"{name} must be between {least} and {most}")
    return int(written)


def _instant(query: Mapping[str, str], name: str) -> int | None:
    written = query.get(name)
    if not written:
        return None
    try:
        return parsed_instant(written)
    except (ValueError, OverflowError):
        raise invalid(f"{name} is not a time") from None


def _day(query: Mapping[str, str], name: str, usual: date) -> date:
    written = query.get(name)
    if not written:
        return usual
    try:
        return min(max(date.fromisoformat(written[:10]), _FIRST_DAY), _LAST_DAY)
    except ValueError:
        raise Refusal(400, None, f"{name} is not a date") from None


def _listed(query: MultiMapping[str], name: str) -> list[str]:
    return [part for value in query.getall(name, []) for part in value.split(",") if part]


def _time_filter(query: Mapping[str, str]) -> Callable[[Activity], bool]:
    after, until = _instant(query, "after"), _instant(query, "until")
    day = _instant(query, "date")

    def fits(activity: Activity) -> bool:
        at = microseconds(activity.at_ms)
        return (
            (after is None or at > after)
            and (until is None or at < until)
            and (day is None or at // _DAY == day // _DAY)
        )

    return fits
