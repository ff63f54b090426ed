"""A local Alpaca, and brokers that use it through the real library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Self

from adapters.brokers.alpaca import AlpacaBroker
from adapters.clock import SimulatedClock
from adapters.stubs.alpaca import AlpacaStub, crypto
from adapters.symbols.assets import Asset
from adapters.symbols.registry import Registry
from adapters.vendors.alpaca import AlpacaAccess
from engine.model import OrderRequest, OrderSide, OrderType, TimeInForce
from engine.units import PRICE_SCALE, unscaled
from tests.adapters.brokers.world import order, price, quantity

START_MS = 1_754_060_400_000  # 2025-08-01T15:00Z, a Friday: the stock market is open
KEY_ID, SECRET = "PKSENTINELKEYID00001", "sentinelSecretNeverToBeSeenAnywhere000001"
SOL = replace(
    crypto("SOL/USD", min_order_size="0.01", price_increment="0.01"), min_trade_increment=Decimal("0.0001")
)


class AlpacaWorld:
    """The stub at 100 / 101 for SOL-USD, its clock, and the registry that its brokers share."""

    def __init__(self, clock: SimulatedClock | None = None) -> None:
        """Begin with 10,000 USD."""
        self.clock = clock or SimulatedClock(START_MS)
        self.stub = AlpacaStub(clock=self.clock, key_id=KEY_ID, secret=SECRET, assets=[SOL])
        self.registry = Registry()
        self.opened: list[AlpacaBroker] = []
        self.quote(100, 101)

    def access(self, **changes: float) -> AlpacaAccess:
        """Return how the stub is reached, with short timeouts: it is near."""
        access = AlpacaAccess(
            KEY_ID,
            SECRET,
            trading_url=self.stub.url,
            data_url=self.stub.data_url,
            connect_seconds=2.0,
            read_seconds=5.0,
            total_seconds=5.0,
        )
        return replace(access, **changes)  # type: ignore[arg-type] # only the timeouts are changed

    def learn(self, assets: Sequence[Asset]) -> None:
        """Take in the venue's list of assets."""
        self.registry = self.registry.refreshed("alpaca", assets, self.clock.now_utc_ms())

    def open(
        self,
        kind: type[AlpacaBroker] = AlpacaBroker,
        *,
        spend: Callable[[], None] | None = None,
        extended_hours: bool = False,
        **changes: float,
    ) -> AlpacaBroker:
        """Return a broker of the account; ``changes`` are timeouts."""
        broker = kind(
            self.access(**changes),
            lambda: self.registry,
            self.learn,
            spend=spend,
            extended_hours=extended_hours,
        )
        self.opened.append(broker)
        return broker

    def quote(self, bid: str | int, ask: str | int, symbol: str = "SOL/USD") -> None:
        """Quote a symbol, a second later."""
        self.clock.sleep_until(self.clock.now_utc_ms() + 1000)
        self.stub.venue.set_quote(symbol, Decimal(bid), Decimal(ask))

    def count_orders(self) -> int:
        """Return how many orders the venue has."""
        return len(self.stub.venue.orders())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close brokers and stub."""
        for broker in self.opened:
            broker.close()
        self.stub.close()


def stock_order(
    client_id: str,
    *,
    size: str | int = 1,
    limit: str | int | None = 500,
    time_in_force: TimeInForce = TimeInForce.DAY,
    side: OrderSide = OrderSide.BUY,
    symbol: str = "SPY",
) -> OrderRequest:
    """Return an order for a stock."""
    return order(client_id, side, size, limit, time_in_force, symbol)


def as_price(scaled_price: int) -> Decimal:
    """Return a scaled price as it is."""
    return unscaled(scaled_price, PRICE_SCALE)


__all__ = [
    "KEY_ID",
    "SECRET",
    "SOL",
    "START_MS",
    "AlpacaWorld",
    "OrderType",
    "as_price",
    "order",
    "price",
    "quantity",
    "stock_order",
]
