"""The state of the local Alpaca: one account, its orders, fills and positions, and the market they meet.

A ``Venue`` is a small exchange in memory.  All its methods may be called from any thread; each is one step
that others see wholly or not at all.  Time is the clock's: an order that expires does so when the venue is
next looked at.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Final

from adapters.stubs.alpaca.assets import Asset
from adapters.stubs.alpaca.orders import (
    MATCHED_STATES,
    Draft,
    Order,
    check,
    check_notional,
    client_id_of,
    drafted,
    number_of,
)
from adapters.stubs.alpaca.prices import MINUTE, Prices, Ticker
from adapters.stubs.alpaca.refusal import forbidden, invalid, malformed, not_found
from adapters.stubs.alpaca.sessions import Session, Sessions, current_or_next
from adapters.stubs.alpaca.wire import EXACT, compact, instant, text
from engine.model import Bar
from engine.runtime.ports import Clock

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "orders.alpaca.stub")
_GOOD_TILL_CANCELED_MS: Final = 90 * 86_400_000
_FINEST: Final = Decimal("0.000000001")
_WHOLE: Final = Decimal(1)

Number = Decimal | str | int


@dataclass(slots=True)
class Holding:
    """A position: its quantity and what it cost in all."""

    asset: Asset
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Activity:
    """One fill, in the order in which they happened."""

    id: str
    at_ms: int
    order_id: str
    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    cumulative: Decimal
    leaves: Decimal
    order_status: str

    def to_json(self) -> dict[str, object]:
        """Return the fill as ``/v2/account/activities`` writes it."""
        return {
            "id": self.id,
            "activity_type": "FILL",
            "transaction_time": instant(self.at_ms),
            "type": "fill" if self.order_status == "filled" else "partial_fill",
            "price": text(self.price),
            "qty": text(self.quantity),
            "side": self.side,
            "symbol": self.symbol,
            "leaves_qty": text(self.leaves),
            "order_id": self.order_id,
            "cum_qty": text(self.cumulative),
            "order_status": self.order_status,
        }


@dataclass(slots=True)
class Listeners:
    """Who is told of what happens; called from the thread in which it happens, and must not wait."""

    updates: list[Callable[[dict[str, object]], None]] = field(default_factory=list)
    tickers: list[Callable[[Asset, Ticker], None]] = field(default_factory=list)
    bars: list[Callable[[Asset, Bar], None]] = field(default_factory=list)


class Venue:
    """The account and its market.

    Attributes:
        automatic: Whether orders are matched by themselves (when they arrive, when a quote changes, when
            the market opens); else only by ``match()``.
        share: How much of an order one matching fills at most, as a share of the whole.
        cancel_slowly: Whether a cancelled order stays in ``pending_cancel`` until ``settle_cancels()``.
    """

    def __init__(self, clock: Clock, assets: Sequence[Asset], cash: Decimal, sessions: Sessions) -> None:
        """Open an account with cash in US dollars."""
        self.automatic = True
        self.share = Decimal(1)
        self.cancel_slowly = False
        self.listeners = Listeners()
        self.prices = Prices()
        self.sessions = sessions
        self._clock = clock
        self._lock = threading.RLock()
        self._cash = cash
        self._assets: dict[str, Asset] = {}
        self._spellings: dict[str, Asset] = {}
        self._orders: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._open: dict[str, Order] = {}
        self._holdings: dict[str, Holding] = {}
        self._activities: list[Activity] = []
        self._halted: set[str] = set()
        self._distorted: dict[str, dict[str, object]] = {}
        self._count = 0
        for asset in assets:
            self.add_asset(asset)

    # --- what tests and people look at ---------------------------------------------------------

    def now_ms(self) -> int:
        """Return the venue's time."""
        return self._clock.now_utc_ms()

    @property
    def cash(self) -> Decimal:
        """The account's money, in US dollars; exact."""
        with self._step():
            return self._cash

    @cash.setter
    def cash(self, amount: Decimal) -> None:
        with self._step():
            self._cash = amount

    def orders(self) -> Sequence[Order]:
        """Return a copy of every order, the oldest first."""
        with self._step():
            return [replace(order) for order in self._orders.values()]

    def open_orders(self) -> Sequence[Order]:
        """Return a copy of every order that is not final, the oldest first."""
        with self._step():
            return [replace(order) for order in self._open.values()]

    def order(self, client_order_id: str) -> Order:
        """Return a copy of an order; KeyError where there is none."""
        with self._step():
            return replace(self._by_client_id[client_order_id])

    def positions(self) -> Mapping[str, Decimal]:
        """Return the quantity held of each symbol, in the spelling of orders."""
        with self._step():
            return {symbol: holding.quantity for symbol, holding in self._holdings.items()}

    def holdings(self) -> Sequence[Holding]:
        """Return a copy of every position."""
        with self._step():
            return [replace(holding) for holding in self._holdings.values()]

    def activities(self) -> Sequence[Activity]:
        """Return every fill, the oldest first."""
        with self._step():
            return list(self._activities)

    def assets(self) -> Sequence[Asset]:
        """Return every asset."""
        with self._step():
            return list(self._assets.values())

    def asset(self, symbol_or_id: str) -> Asset | None:
        """Return an asset by its symbol, by its spelling in positions, or by its id."""
        with self._step():
            return self._spellings.get(symbol_or_id)

    def ticker(self, symbol: str) -> Ticker | None:
        """Return a symbol's latest quote and trade."""
        with self._step():
            return self.prices.tickers.get(symbol)

    def session(self) -> Session:
        """Return the session under way, or the next."""
        return current_or_next(self.sessions, self.now_ms())

    @property
    def is_open(self) -> bool:
        """Whether the regular session of stocks is open."""
        return self.session().open_ms <= self.now_ms()

    @property
    def held_money(self) -> Decimal:
        """The money that open buys keep from others."""
        with self._step():
            return self._held_money()

    def held_quantity(self, symbol: str) -> Decimal:
        """Return what open sells keep from others."""
        with self._step():
            return self._held_quantity(symbol)

    def order_json(self, order: Order) -> dict[str, object]:
        """Return an order as the API writes it, distorted where that was asked for."""
        return order.to_json() | self._distorted.get(order.client_order_id, {})

    # --- what tests and people do --------------------------------------------------------------

    def add_asset(self, asset: Asset) -> None:
        """Serve an asset from now on, or change one."""
        with self._step():
            self._assets[asset.symbol] = asset
            spellings = {asset.symbol, asset.id, asset.position_symbol if asset.is_crypto else asset.symbol}
            self._spellings |= dict.fromkeys(spellings, asset)

    def set_quote(
        self,
        symbol: str,
        bid: Number,
        ask: Number,
        at_ms: int | None = None,
        last: Number | None = None,
    ) -> None:
        """Quote a symbol, in the spelling of orders, at an instant (now unless given).

        ``last`` is the price of the latest trade (the bid unless given), of the same instant.  A symbol
        that is no asset of the venue may have market data all the same.
        """
        with self._step():
            at = self.now_ms() if at_ms is None else at_ms
            ticker = Ticker(Decimal(bid), Decimal(ask), at, Decimal(bid if last is None else last))
            self.prices.tickers[symbol] = ticker
            asset = self._assets.get(symbol)
            if asset is not None:
                for tell in self.listeners.tickers:
                    tell(asset, ticker)
                if self.automatic:
                    self._match_all(asset.symbol)

    def remove_quote(self, symbol: str) -> None:
        """Forget a symbol's quote and trade."""
        with self._step():
            self.prices.tickers.pop(symbol, None)

    def set_bars(self, symbol: str, bars: Sequence[Bar], timeframe: str = MINUTE) -> None:
        """Replace a symbol's bars of one timeframe ("1Min", "1Day"); ascending."""
        with self._step():
            self.prices.bars.setdefault(symbol, {})[timeframe] = list(bars)

    def add_bar(self, symbol: str, bar: Bar) -> None:
        """Add a bar of a minute; who listens to bars is told."""
        with self._step():
            self.prices.add_bar(symbol, bar)
            self.tell_bar(symbol, bar)

    def tell_bar(self, symbol: str, bar: Bar) -> None:
        """Tell who listens of a bar of a minute, without keeping it: where there is a history that has it."""
        with self._step():
            asset = self._assets.get(symbol)
            if asset is not None:
                for tell in self.listeners.bars:
                    tell(asset, bar)

    def halt(self, symbol: str) -> None:
        """Take orders of a symbol, but fill none."""
        with self._step():
            self._halted.add(symbol)

    def resume(self, symbol: str) -> None:
        """End a halt."""
        with self._step():
            self._halted.discard(symbol)
            if self.automatic:
                self._match_all(symbol)

    def match(self) -> None:
        """Let every open order meet the market once."""
        with self._step():
            self._match_all(None)

    def fill(self, client_order_id: str, quantity: Number, price: Number) -> None:
        """Fill an order by hand, whatever its state; ValueError for more than is left of it."""
        with self._step():
            order = self._by_client_id[client_order_id]
            amount = Decimal(quantity)
            if order.draft.quantity is not None and not 0 < amount <= order.remaining:
                raise ValueError(f"{client_order_id} has {text(order.remaining)} left, not {quantity}")
            self._fill(order, amount, Decimal(price))

    def set_state(self, client_order_id: str, status: str) -> None:
        """Put an order into any state, also one that nobody knows; who listens is told."""
        with self._step():
            self._enter(self._by_client_id[client_order_id], status)

    def reject(self, client_order_id: str) -> None:
        """Reject an order that was taken."""
        self.set_state(client_order_id, "rejected")

    def settle_cancels(self) -> None:
        """Cancel every order that waits in ``pending_cancel``."""
        with self._step():
            for order in list(self._open.values()):
                if order.status == "pending_cancel":
                    self._enter(order, "canceled")

    def distort(self, client_order_id: str, **fields: object) -> None:
        """Answer these fields in the place of the true ones whenever the order is shown."""
        with self._step():
            self._distorted.setdefault(client_order_id, {}).update(fields)

    # --- what the API does ---------------------------------------------------------------------

    def submit(self, body: object) -> dict[str, object]:
        """Take an order; return it as it is before it meets the market.

        Raises:
            Refusal: It was not taken.
        """
        with self._step():
            draft = drafted(body, self._spellings)
            order = self._place(draft)
            answer = self.order_json(order)
            self._arrive(order)
            return answer

    def cancel(self, order_id: str) -> None:
        """Cancel an order, or begin to; Refusal where it is not known or not open."""
        with self._step():
            order = self.by_id(order_id)
            if not order.is_open:
                raise invalid(f'order is already in "{order.status}" state')
            if order.status == "pending_cancel":
                raise invalid("order pending cancel")
            self._enter(order, "pending_cancel" if self.cancel_slowly else "canceled")

    def replace(self, order_id: str, body: object) -> dict[str, object]:
        """Put a new order into the place of an open one; return the new one.

        Without ``qty`` the new order is for what is left of the old one.
        """
        with self._step():
            old = self.by_id(order_id)
            if not isinstance(body, dict):
                raise malformed("request body format is invalid")
            if old.status not in MATCHED_STATES | {"accepted"}:
                raise invalid(f'cannot replace order in "{old.status}" state')
            draft = self._replaced(old, body)
            status, old.status = old.status, "replaced"  # what it holds is free for the new one
            try:
                order = self._place(draft, replaces=old.id)
            finally:
                old.status = status
            old.replaced_by = order.id
            self._enter(old, "replaced")
            answer = self.order_json(order)
            self._arrive(order)
            return answer

    def by_id(self, order_id: str) -> Order:
        """Return the order itself; Refusal where there is none."""
        with self._step():
            order = self._orders.get(order_id)
            if order is None:
                raise not_found(f"order not found for {order_id}")
            return order

    def by_client_id(self, client_order_id: str) -> Order:
        """Return the order itself; Refusal where there is none."""
        with self._step():
            order = self._by_client_id.get(client_order_id)
            if order is None:
                raise not_found(f"order not found for {client_order_id}")
            return order

    # --- steps ---------------------------------------------------------------------------------

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock, localcontext(EXACT):
            self._advance()
            yield

    def _advance(self) -> None:
        """Let time do what it does: orders expire, and those that waited for the market become new."""
        now = self._clock.now_utc_ms()
        for order in list(self._open.values()):
            if order.expires_ms <= now:
                self._enter(order, "expired", order.expires_ms)
            elif order.waits_for_open and self._trades_now(order.draft):
                self._enter(order, "new")
                if self.automatic:
                    self._match(order)

    def _place(self, draft: Draft, replaces: str | None = None) -> Order:
        client_id = draft.client_order_id or str(uuid.uuid5(_NAMESPACE, f"client {self._count}"))
        if client_id in self._by_client_id:
            raise malformed("client_order_id must be unique")
        estimate = self._estimate(draft)
        check_notional(draft, draft.limit_price or estimate)
        if draft.is_buy:
            self._check_money(draft, draft.limit_price or estimate)
        else:
            self._check_quantity(draft, estimate)
        self._check_wash_trade(draft)
        self._count += 1
        now = self.now_ms()
        order = Order(
            id=str(uuid.uuid5(_NAMESPACE, f"order {self._count}")),
            client_order_id=client_id,
            draft=draft,
            status="pending_new" if self._trades_now(draft) else "accepted",
            created_ms=now,
            updated_ms=now,
            expires_ms=self._expiry_ms(draft, now),
            estimate=estimate,
            replaces=replaces,
        )
        self._orders[order.id] = self._by_client_id[client_id] = self._open[order.id] = order
        return order

    def _arrive(self, order: Order) -> None:
        """Tell of a new order and let it meet the market."""
        self._tell(order.status, order)
        if order.status == "accepted":
            order.waits_for_open = True
            if order.draft.time_in_force in ("ioc", "fok"):
                self._enter(order, "canceled")
            return
        self._enter(order, "new")
        if self.automatic:
            self._match(order)

    def _replaced(self, old: Order, body: Mapping[str, object]) -> Draft:
        time_in_force = body.get("time_in_force", old.draft.time_in_force)
        quantity = number_of(body, "qty")
        if not isinstance(time_in_force, str) or time_in_force not in ("day", "gtc", "ioc", "fok"):
            raise malformed("invalid time_in_force")
        if old.draft.quantity is None:
            raise invalid("notional orders cannot be replaced")
        draft = replace(
            old.draft,
            quantity=old.remaining if quantity is None else quantity,
            time_in_force=time_in_force,
            limit_price=number_of(body, "limit_price") or old.draft.limit_price,
            stop_price=number_of(body, "stop_price") or old.draft.stop_price,
            client_order_id=client_id_of(body),
        )
        check(draft)
        return draft

    # --- money and quantities ------------------------------------------------------------------

    def _estimate(self, draft: Draft) -> Decimal:
        ticker = self.prices.tickers.get(draft.asset.symbol)
        if ticker is None:
            return draft.stop_price or Decimal(0)
        return max(ticker.ask, draft.stop_price or ticker.ask) if draft.is_buy else ticker.bid

    def _held_money(self) -> Decimal:
        return sum((order.held_money for order in self._open.values()), Decimal(0))

    def _held_quantity(self, symbol: str) -> Decimal:
        orders = self._open.values()
        return sum(
            (order.held_quantity for order in orders if order.draft.asset.symbol == symbol), Decimal(0)
        )

    def _check_money(self, draft: Draft, price: Decimal) -> None:
        cost = draft.notional if draft.notional is not None else (draft.quantity or Decimal(0)) * price
        available = max(self._cash - self._held_money(), Decimal(0))
        if cost <= available:
            return
        if draft.asset.is_crypto:
            raise forbidden(
                f"insufficient balance for USD (requested: {text(cost)}, available: {text(available)})",
                symbol="USD",
                balance=text(self._cash),
                available=text(available),
            )
        raise forbidden("insufficient buying power", buying_power=text(available), cost_basis=text(cost))

    def _check_quantity(self, draft: Draft, price: Decimal) -> None:
        asset = draft.asset
        if draft.quantity is not None:
            wanted = draft.quantity
        else:
            wanted = (draft.notional or Decimal(0)) / price if price else Decimal(0)
        held = self._held_quantity(asset.symbol)
        owned = self._owned(asset)
        available = max(owned - held, Decimal(0))
        if wanted <= available:
            return
        details: dict[str, object] = {"available": text(available)}
        if held:
            related = [order.id for order in self._open.values() if self._holds(order, asset)]
            details |= {"held_for_orders": text(held), "related_orders": related}
        if asset.is_crypto:
            raise forbidden(
                f"insufficient balance for {asset.base} "
                f"(requested: {text(wanted)}, available: {text(available)})",
                balance=text(owned),
                symbol=asset.symbol,
                **details,
            )
        raise forbidden(
            f"insufficient qty available for order (requested: {text(wanted)}, available: {text(available)})",
            existing_qty=text(owned),
            symbol=asset.symbol,
            **({"held_for_orders": "0"} | details),
        )

    def _owned(self, asset: Asset) -> Decimal:
        holding = self._holdings.get(asset.symbol)
        return Decimal(0) if holding is None else holding.quantity

    def _holds(self, order: Order, asset: Asset) -> bool:
        return order.draft.asset.symbol == asset.symbol and bool(order.held_quantity)

    def _check_wash_trade(self, draft: Draft) -> None:
        for other in self._open.values():
            theirs = other.draft
            if not other.is_open or theirs.asset.symbol != draft.asset.symbol or theirs.side == draft.side:
                continue
            kind = "limit"
            if {draft.type, theirs.type} != {"limit"}:
                kind = "market/stop"
            elif draft.limit_price is not None and theirs.limit_price is not None:
                buy, sell = (draft, theirs) if draft.is_buy else (theirs, draft)
                if (buy.limit_price or 0) < (sell.limit_price or 0):
                    continue
            raise forbidden(
                "potential wash trade detected. use complex orders",
                existing_order_id=other.id,
                reject_reason=f"opposite side {kind} order exists",
            )

    # --- time ----------------------------------------------------------------------------------

    def _trades_now(self, draft: Draft) -> bool:
        if draft.asset.is_crypto or self.is_open:
            return True
        return draft.extended_hours and self.sessions.is_extended(self.now_ms())

    def _expiry_ms(self, draft: Draft, now: int) -> int:
        if draft.time_in_force != "day":
            return now + _GOOD_TILL_CANCELED_MS
        return current_or_next(self.sessions, now).close_ms

    # --- the market ----------------------------------------------------------------------------

    def _match_all(self, symbol: str | None) -> None:
        for order in list(self._open.values()):
            if symbol is None or order.draft.asset.symbol == symbol:
                self._match(order)

    def _match(self, order: Order) -> None:
        """Let an order meet the quote once; what cannot wait is cancelled after it."""
        draft = order.draft
        if order.status not in MATCHED_STATES or not self._trades_now(draft):
            return
        price = self._marketable_price(order)
        if price is not None:
            quantity = self._fillable(order, price)
            whole = quantity == order.remaining or draft.notional is not None
            if quantity and (whole or draft.time_in_force != "fok"):
                self._fill(order, quantity, price)
        if order.is_open and draft.time_in_force in ("ioc", "fok"):
            self._enter(order, "canceled")

    def _marketable_price(self, order: Order) -> Decimal | None:
        """Return the price at which an order would be filled now."""
        draft = order.draft
        ticker = self.prices.tickers.get(draft.asset.symbol)
        if ticker is None or draft.asset.symbol in self._halted:
            return None
        price = ticker.ask if draft.is_buy else ticker.bid
        if draft.stop_price is not None and not order.triggered:
            reached = price >= draft.stop_price if draft.is_buy else price <= draft.stop_price
            if not reached:
                return None
            order.triggered = True
        limit = draft.limit_price
        if limit is not None and (price > limit if draft.is_buy else price < limit):
            return None
        return price if price > 0 else None

    def _fillable(self, order: Order, price: Decimal) -> Decimal:
        """Return how much of an order one matching fills."""
        draft = order.draft
        if draft.quantity is None:
            quantity = (order.remaining_notional / price).quantize(_FINEST, ROUND_DOWN)
            return quantity if draft.is_buy else min(quantity, self._owned(draft.asset))
        step = draft.asset.min_trade_increment
        if not draft.asset.is_crypto and draft.quantity % 1 == 0:
            step = _WHOLE
        portion = (draft.quantity * self.share / step).to_integral_value(ROUND_DOWN) * step
        return min(max(portion, step), order.remaining)

    def _fill(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        draft, now = order.draft, self.now_ms()
        cost = quantity * price
        holding = self._holdings.setdefault(draft.asset.symbol, Holding(draft.asset))
        if draft.is_buy:
            self._cash -= cost
            holding.quantity += quantity
            holding.cost += cost
        else:
            self._cash += cost
            if holding.quantity:
                holding.cost -= holding.cost * quantity / holding.quantity
            holding.quantity -= quantity
        if not holding.quantity:
            del self._holdings[draft.asset.symbol]
        order.filled_quantity += quantity
        order.filled_cost += cost
        order.updated_ms = order.filled_ms = now
        # An order in money is done with its first fill: what is left buys less than the finest step.
        if draft.quantity is None or not order.remaining:
            order.status = "filled"
            self._open.pop(order.id, None)
        elif order.status in MATCHED_STATES:
            order.status = "partially_filled"
        number = len(self._activities)
        activity = Activity(
            id=f"{compact(now)}::{uuid.UUID(int=(number << 96) | (4 << 76) | (8 << 60) | number)}",
            at_ms=now,
            order_id=order.id,
            client_order_id=order.client_order_id,
            symbol=draft.asset.symbol,
            side=draft.side,
            quantity=quantity,
            price=price,
            cumulative=order.filled_quantity,
            leaves=order.remaining,
            order_status="filled" if order.status == "filled" else "partially_filled",
        )
        self._activities.append(activity)
        self._tell(
            "fill" if order.status == "filled" else "partial_fill",
            order,
            execution_id=activity.id.partition("::")[2],
            price=text(price),
            qty=text(quantity),
            position_qty=text(holding.quantity),
        )

    def _enter(self, order: Order, status: str, at_ms: int | None = None) -> None:
        at = self.now_ms() if at_ms is None else at_ms
        order.status = status
        order.waits_for_open = False
        order.updated_ms = at
        if order.is_open:
            self._open[order.id] = order
        else:
            self._open.pop(order.id, None)
        match status:
            case "canceled":
                order.canceled_ms = at
            case "expired":
                order.expired_ms = at
            case "rejected":
                order.failed_ms = at
            case "replaced":
                order.replaced_ms = at
        self._tell(status, order)

    def _tell(self, event: str, order: Order, **details: object) -> None:
        update = {
            "event": event,
            "event_id": f"{compact(self.now_ms())}-{self._count}",
            "timestamp": instant(self.now_ms()),
            "order": self.order_json(order),
            **details,
        }
        for tell in self.listeners.updates:
            tell(update)
