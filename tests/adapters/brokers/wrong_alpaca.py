"""Brokers that are wrong on purpose: what the tests of the requirements must find.

Each is the real one with one mistake, of those that people make with this library.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.alpaca.refusals import fields_of
from adapters.symbols.assets import Asset
from adapters.vendors.alpaca import AlpacaAccess
from engine.codes import IntentState
from engine.errors import UnavailableError
from engine.model import OrderReport, OrderRequest, OrderSide
from engine.runtime.ports import AmbiguousOutcome, OrderRejected
from engine.units import PRICE_SCALE, QUANTITY_SCALE


class LibraryAsItIs(AlpacaBroker):
    """Uses the library as it comes: it repeats writes, waits for ever, and raises what it happens to raise.

    Only its waits between two attempts are left out, so that the tests are short.
    """

    def __init__(
        self,
        access: AlpacaAccess,
        symbols: Callable[[], Any],
        learn: Callable[[Sequence[Asset]], None],
        *,
        spend: Callable[[], None] | None = None,
        extended_hours: bool = False,
    ) -> None:
        """Put the library's own client in the place of the safe one."""
        from alpaca.trading.client import TradingClient

        super().__init__(access, symbols, learn, spend=spend, extended_hours=extended_hours)
        self._client = TradingClient(
            access.key_id, access.secret, paper=access.paper, raw_data=True, url_override=access.trading_url
        )
        self._client._retry_wait = 0


class StepTimeouts(LibraryAsItIs):
    """Gives the library a timeout for each step, and takes that for a limit of the whole."""

    def __init__(self, access: AlpacaAccess, *others: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        """Wrap the session's request."""
        super().__init__(access, *others, **more)
        request = self._client._session.request

        def with_timeout(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
            timeout = access.connect_seconds, access.read_seconds
            return request(*arguments, **options | {"timeout": timeout})

        self._client._session.request = with_timeout  # type: ignore[method-assign]  # wrong on purpose


class TimeoutIsFailure(AlpacaBroker):
    """Takes a lost answer for a refusal."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Say that it was not taken."""
        try:
            return super().submit(order)
        except AmbiguousOutcome as lost:
            raise OrderRejected(str(lost)) from None

    def _settled(self, client_id: str, reason: str) -> OrderReport:
        raise AmbiguousOutcome(reason)


class TimeoutIsUnavailable(TimeoutIsFailure):
    """Takes a lost answer for an order that was certainly not sent."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Say that it was not sent."""
        try:
            return super().submit(order)
        except OrderRejected as lost:
            raise UnavailableError(lost.reason) from None


class DuplicateIsRefusal(AlpacaBroker):
    """Takes "must be unique" for a refusal like any other."""

    def _settled(self, client_id: str, reason: str) -> OrderReport:
        raise OrderRejected(reason)


class ClosesPositions(AlpacaBroker):
    """Sells all that is held with the library's own call for it: without a name, and twice if repeated."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Close the position."""
        if order.side is OrderSide.SELL:
            asset, _ = self._traded(order)
            self._client.close_position(asset.text.replace("/", ""))
            raise AmbiguousOutcome("closed")
        return super().submit(order)


class SendsFloats(AlpacaBroker):
    """Sends what floats make of prices and quantities, the nearest number of a few digits."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send it."""
        asset, _ = self._traded(order)
        fields = fields_of(order, asset, extended_hours=False)
        fields["qty"] = round(order.quantity / QUANTITY_SCALE, 6)
        if order.limit_price is not None:
            fields["limit_price"] = order.limit_price / PRICE_SCALE
        self._client.post("/orders", fields)
        raise AmbiguousOutcome("sent")


class SendsAnything(AlpacaBroker):
    """Leaves every check to the venue."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send it unseen."""
        asset, _ = self._traded(order)
        with contextlib.suppress(Exception):
            self._client.post("/orders", fields_of(order, asset, extended_hours=True))
        raise OrderRejected("whatever the venue says")


class KnowsItsStates(AlpacaBroker):
    """Reads states with the library's enumeration, and thinks that a day's end is an order's."""

    def find(self, client_id: str) -> OrderReport | None:
        """Look it up."""
        from alpaca.trading.enums import OrderStatus

        row = self._get("/orders:by_client_order_id", {"client_order_id": client_id})
        OrderStatus(row["status"])  # type: ignore[index] # as careless as it looks
        return super().find(client_id)


class DayIsOver(AlpacaBroker):
    """Thinks that an order that is done for the day is done."""

    def find(self, client_id: str) -> OrderReport | None:
        """Look it up."""
        from dataclasses import replace

        report = super().find(client_id)
        if report is not None and report.reason == "done_for_day":
            return replace(report, state=IntentState.EXPIRED)
        return report


class ParsesAllOrNothing(AlpacaBroker):
    """Reads lists with the library's models: one row that they do not know loses all."""

    def open_orders(self) -> Sequence[OrderReport]:
        """Read them all, then as ever."""
        from alpaca.trading.models import Order

        for row in self._list("/orders", {"status": "open"}):
            Order(**row)  # type: ignore[arg-type] # as careless as it looks
        return super().open_orders()


class OddIsAbsent(AlpacaBroker):
    """Takes an order that cannot be read for one that is not there."""

    def find(self, client_id: str) -> OrderReport | None:
        """Look it up, and shrug."""
        with contextlib.suppress(Exception):
            return super().find(client_id)
        return None


class AllForbidden(AlpacaBroker):
    """Knows one reason for every 403: its number."""

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send it."""
        try:
            return super().submit(order)
        except OrderRejected:
            raise OrderRejected("refused by Alpaca: 403/40310000") from None


class QuotesErrors(LibraryAsItIs):
    """Hands on whatever text an error has."""

    def find(self, client_id: str) -> OrderReport | None:
        """Look it up."""
        try:
            return super().find(client_id)
        except Exception as error:
            raise UnavailableError(f"Alpaca: {error}") from error
