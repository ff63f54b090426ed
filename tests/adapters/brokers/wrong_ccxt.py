"""Deliberately wrong adapters: each breaks one requirement, and must fail the check of that requirement."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count
from typing import Any

from adapters.brokers.ccxt import _STATES, exchange_id
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient, ExchangeRefused
from engine.codes import IntentState
from engine.errors import UnavailableError
from engine.model import OrderReport, OrderRequest
from engine.runtime.ports import AmbiguousOutcome, OrderRejected, VenueAccount
from tests.adapters.brokers.ccxt_world import Journalled


class LibraryRetries(ExchangeClient):
    """Leaves the library's own retries on (2)."""

    def _made(self) -> Any:  # noqa: ANN401 - ccxt has no types
        exchange = super()._made()
        exchange.options["maxRetriesOnFailure"] = 2
        return exchange


class Patient(ExchangeClient):
    """Waits a minute for an answer (3)."""

    def __init__(self, access: ExchangeAccess, *clocks: Any) -> None:  # noqa: ANN401 - passed on
        """Ask with other limits than were given."""
        super().__init__(
            replace(access, connect_seconds=60.0, read_seconds=60.0, total_seconds=60.0), *clocks
        )


class LostIsRejected(Journalled):
    """Takes a lost answer for a refusal (4)."""

    def _settled(self, order: OrderRequest, name: str, why: str) -> OrderReport:
        raise OrderRejected(why)


class LostIsNotSent(Journalled):
    """Takes a lost answer for a request that never left (4, 34)."""

    def _settled(self, order: OrderRequest, name: str, why: str) -> OrderReport:
        raise UnavailableError(why)


class DuplicateIsAnyRefusal(ExchangeClient):
    """Does not know a duplicate name by the exchange's words (5)."""

    def call(self, method: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - as ccxt answers
        """Call, and forget what a refusal says."""
        try:
            return super().call(method, *arguments, seconds=seconds)
        except ExchangeRefused as refused:
            kind = "InvalidOrder" if refused.kind == "DuplicateOrderId" else refused.kind
            raise ExchangeRefused(refused.reason, kind) from None


class RoundsUp(Journalled):
    """Rounds quantities to whole coins by way of a float (8)."""

    @staticmethod
    def _wire(order: OrderRequest, name: str) -> tuple[object, ...]:
        wire = list(Journalled._wire(order, name))
        wire[3] = str(float(round(float(str(wire[3])) + 0.5)))
        return tuple(wire)


class LetsTheExchangeSay(Journalled):
    """Sends whatever it is given (8, 9)."""

    def _check(self, order: OrderRequest) -> None:
        return


class KnowsEveryState(Journalled):
    """Believes that there is no state but those in its table (10)."""

    @staticmethod
    def _state(status: str) -> IntentState:
        return _STATES[status]


class AllOrNothing(ExchangeClient):
    """Reads lists as the library does: all rows or none (11)."""

    @staticmethod
    def _read_rows_one_by_one(exchange: Any) -> None:  # noqa: ANN401 - ccxt has no types
        return


class QuotesTheExchange(ExchangeClient):
    """Puts into its errors whatever the exchange says (29)."""

    def _quoted(self, words: object) -> str:
        return str(words)


class LetsCcxtLog(ExchangeClient):
    """Leaves the library's log on (29)."""

    def _made(self) -> Any:  # noqa: ANN401 - ccxt has no types
        exchange = super()._made()
        exchange.logger = logging.getLogger("ccxt.base.exchange")
        return exchange


class ZeroWhenUnsure(Journalled):
    """Has an empty account where the exchange's cannot be read (30)."""

    def account(self) -> VenueAccount:
        """Return something, always."""
        try:
            return super().account()
        except UnavailableError:
            return VenueAccount(0, {})


class FreshNames(Journalled):
    """Gives an order a new name for each send, and sends again what got no answer (34)."""

    _fresh = count(1)

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send until there is an answer."""
        while True:
            try:
                return super().submit(replace(order, client_id=f"{order.client_id}-{next(self._fresh)}"))
            except AmbiguousOutcome:
                continue

    def _settled(self, order: OrderRequest, name: str, why: str) -> OrderReport:
        raise AmbiguousOutcome(why)


class TrustsTheName(Journalled):
    """Relies on the exchange to refuse a name twice, and looks nothing up before a send (34)."""

    def _look_up(self, symbol: str, name: str) -> OrderReport | None:
        if any(name == exchange_id(client_id) for client_id in self.journal):
            return None
        return super()._look_up(symbol, name)
