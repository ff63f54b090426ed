"""A small world for the paper venue's tests: two instruments, a market one can move, a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from engine.codes import UnknownReason
from engine.errors import UnavailableError
from engine.model import (
    AssetClass,
    Instrument,
    NoQuote,
    OrderRequest,
    OrderSide,
    OrderType,
    Quote,
    TimeInForce,
)
from engine.runtime.ports import Clock
from engine.units import PRICE_SCALE, QUANTITY_SCALE, scaled

START_MS = 1_763_390_400_000  # 2025-11-17 14:40Z, a Monday: New York is open until 21:00Z

SOL = Instrument(
    "SOL-USD", AssetClass.CRYPTO, "24/7", Decimal("0.01"), Decimal("0.001"), Decimal("0.01"), Decimal(10)
)
SPY = Instrument(
    "SPY", AssetClass.STOCK, "NYSE", Decimal("0.01"), Decimal("0.000001"), Decimal("0.000001"), Decimal(1)
)
INSTRUMENTS: Mapping[str, Instrument] = {"SOL-USD": SOL, "SPY": SPY}


def price(text: str | int) -> int:
    """Return a scaled price."""
    return scaled(Decimal(text), PRICE_SCALE)


def quantity(text: str | int) -> int:
    """Return a scaled quantity."""
    return scaled(Decimal(text), QUANTITY_SCALE)


class Market:
    """A quote source whose quotes are set by the test."""

    def __init__(self, clock: Clock) -> None:
        """Begin without quotes."""
        self.clock = clock
        self.quotes: dict[str, Quote] = {}
        self.down = False
        self.asked = 0

    def set(self, symbol: str, bid: int, ask: int) -> None:
        """Quote a symbol from now on (scaled prices)."""
        now_ms = self.clock.now_utc_ms()
        self.quotes[symbol] = Quote(symbol, bid, ask, "test", now_ms, now_ms)

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""
        self.asked += 1
        assert deadline_ms > self.clock.now_utc_ms()
        if self.down:
            raise UnavailableError("the market data are down")
        return {
            symbol: self.quotes.get(symbol, NoQuote(symbol, UnknownReason.MISSING, "not quoted"))
            for symbol in symbols
        }


def order(
    client_id: str,
    side: OrderSide = OrderSide.BUY,
    size: str | int = 2,
    limit: str | int | None = 101,
    time_in_force: TimeInForce = TimeInForce.GTC,
    symbol: str = "SOL-USD",
) -> OrderRequest:
    """Return an order; ``limit`` None makes it a market order."""
    return OrderRequest(
        client_id=client_id,
        symbol=symbol,
        side=side,
        quantity=quantity(size),
        limit_price=None if limit is None else price(limit),
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        time_in_force=time_in_force,
        expires_ms=None,
        created_ms=START_MS,
    )
