"""A crypto exchange on loopback and a broker of ccxt's at it, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import count

from adapters.brokers.ccxt import CcxtBroker
from adapters.clock import SimulatedClock
from adapters.stubs.exchange import KEY, SECRET, ExchangeStub, FeeIn
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient
from engine.model import OrderReport, OrderRequest, OrderSide, OrderType, TimeInForce
from engine.runtime.ports import Broker
from engine.units import PRICE_SCALE, QUANTITY_SCALE, scaled, unscaled

START_MS = 1_763_390_400_000  # 2025-11-17 14:40Z
SYMBOLS = ("SOL-USD", "BTC-USD", "DOGE-USD")


class Seconds:
    """A monotonic clock that a test turns."""

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Journalled(CcxtBroker):
    """The broker with its client ids written down before a send, as the order desk's journal has them."""

    journal: list[str]

    def submit(self, order: OrderRequest) -> OrderReport:
        """Note the id, then send."""
        self.journal.append(order.client_id)
        return super().submit(order)


class CcxtVenue:
    """The exchange, and a client of its one account; the market of SOL at 100 / 101.

    Waiting for the exchange takes a fraction of a second here, so that tests of silence are quick.
    """

    symbol = "SOL-USD"
    broker: Broker

    def __init__(
        self,
        *,
        exchange: str = "binanceus",
        fee_rate: Decimal = Decimal(0),
        fee_in: FeeIn = FeeIn.RECEIVED,
        trades_per_fill: int = 1,
        read_seconds: float = 5.0,
        broker: type[CcxtBroker] = Journalled,
        client: type[ExchangeClient] = ExchangeClient,
        symbols: Sequence[str] = SYMBOLS,
    ) -> None:
        """Open the exchange."""
        self.time = SimulatedClock(START_MS)
        self.seconds = Seconds()
        self.exchange = ExchangeStub(
            fee_rate=fee_rate, fee_in=fee_in, trades_per_fill=trades_per_fill, now_ms=self.time.now_utc_ms
        )
        self.access = ExchangeAccess(
            exchange,
            KEY,
            SECRET,
            url=self.exchange.url,
            read_seconds=read_seconds,
            total_seconds=2 * read_seconds,
        )
        self.journal: list[str] = []
        self.numbers = count(1)
        self._kinds = broker, client
        self._symbols = symbols
        self._opened: list[CcxtBroker] = []
        self.restart()
        self.market(100 * PRICE_SCALE, 101 * PRICE_SCALE)

    def now_ms(self) -> int:
        """Return the exchange's time."""
        return self.time.now_utc_ms()

    def market(self, bid: int, ask: int) -> None:
        """Move the market of SOL, one second later."""
        self.time.sleep_until(self.now_ms() + 1000)
        self.exchange.set_quote("SOLUSD", unscaled(bid, PRICE_SCALE), unscaled(ask, PRICE_SCALE))

    def restart(self) -> None:
        """Make a new client and broker of the same account."""
        broker, client = self._kinds
        self.client = client(self.access, self.now_ms, self.seconds)
        self.ccxt = broker(
            self.client, self._symbols, known_ids=lambda: list(self.journal), monotonic=self.seconds
        )
        if isinstance(self.ccxt, Journalled):
            self.ccxt.journal = self.journal
        self._opened.append(self.ccxt)
        self.broker = self.ccxt

    def close(self) -> None:
        """Close all."""
        for broker in self._opened:
            broker.close()
        self.exchange.close()

    def order(
        self,
        size: str | int = 2,
        limit: str | int | None = 101,
        *,
        side: OrderSide = OrderSide.BUY,
        symbol: str = "SOL-USD",
        time_in_force: TimeInForce = TimeInForce.GTC,
        client_id: str = "",
    ) -> OrderRequest:
        """Return an order with an id as the agent makes them."""
        return OrderRequest(
            client_id=client_id or f"a1b2c3d4e5f6-binanceus-{next(self.numbers)}-{symbol}-{side}",
            symbol=symbol,
            side=side,
            quantity=scaled(Decimal(size), QUANTITY_SCALE),
            limit_price=None if limit is None else scaled(Decimal(limit), PRICE_SCALE),
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            time_in_force=time_in_force,
            expires_ms=None,
            created_ms=self.now_ms(),
        )
