"""What the local Alpaca trades: assets with their steps and minimums."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

CRYPTO: Final = "crypto"
STOCK: Final = "us_equity"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "assets.alpaca.stub")
_FINEST: Final = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset as ``/v2/assets`` tells it.

    ``symbol`` is in the spelling of orders ("BTC/USD"); quantities are in units of the asset, prices in
    units of the currency it is quoted in.
    """

    symbol: str
    asset_class: str
    exchange: str
    name: str
    price_increment: Decimal
    min_order_size: Decimal = _FINEST
    min_trade_increment: Decimal = _FINEST
    fractionable: bool = True
    tradable: bool = True
    status: str = "active"

    @property
    def id(self) -> str:
        """The same for the same class and symbol, in every run."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.asset_class} {self.symbol}"))

    @property
    def is_crypto(self) -> bool:
        """Whether it trades as crypto: day and night, by crypto's rules."""
        return self.asset_class == CRYPTO

    @property
    def position_symbol(self) -> str:
        """How positions spell it: BTCUSD."""
        return self.symbol.replace("/", "")

    @property
    def base(self) -> str:
        """What is bought: BTC of BTC/USD."""
        return self.symbol.partition("/")[0]


def crypto(
    symbol: str,
    *,
    min_order_size: Decimal | str = _FINEST,
    price_increment: Decimal | str = "0.000000001",
    tradable: bool = True,
) -> Asset:
    """Return a pair such as ``crypto("BTC/USD")``."""
    base, _, quote = symbol.partition("/")
    return Asset(
        symbol,
        CRYPTO,
        "CRYPTO",
        f"{base} / {quote}",
        Decimal(price_increment),
        min_order_size=Decimal(min_order_size),
        tradable=tradable,
    )


def stock(
    symbol: str, *, exchange: str = "NYSE", name: str = "", fractionable: bool = True, tradable: bool = True
) -> Asset:
    """Return a stock or fund such as ``stock("SPY", exchange="ARCA")``."""
    return Asset(
        symbol,
        STOCK,
        exchange,
        name or f"{symbol} Common Stock",
        Decimal("0.01"),
        fractionable=fractionable,
        tradable=tradable,
    )


DEFAULT_ASSETS: Final[tuple[Asset, ...]] = (
    crypto("BTC/USD", min_order_size="0.000016", price_increment="0.01"),
    crypto("ETH/USD", min_order_size="0.00043", price_increment="0.01"),
    crypto("SOL/USD", min_order_size="0.0075", price_increment="0.01"),
    crypto("LINK/USD", min_order_size="0.08", price_increment="0.001"),
    crypto("DOGE/USD", min_order_size="7.5", price_increment="0.0000001"),
    crypto("AAVE/USD", min_order_size="0.006", price_increment="0.01"),
    crypto("SHIB/USD", min_order_size="120000", price_increment="0.00000001"),
    crypto("USDT/USD", min_order_size="1", price_increment="0.00001"),
    stock("SPY", exchange="ARCA", name="SPDR S&P 500 ETF Trust"),
    stock("GLD", exchange="ARCA", name="SPDR Gold Trust"),
    stock("BRK.B", name="Berkshire Hathaway Inc. Class B", fractionable=False),
    stock("AAPL", exchange="NASDAQ", name="Apple Inc. Common Stock"),
    # Stocks that look like coins.
    stock("ETH", exchange="ARCA", name="Grayscale Ethereum Mini Trust ETF"),
    stock("LINK", exchange="NASDAQ", name="Interlink Electronics, Inc. Common Stock"),
)
"""ADA/USD is not among them, as it is not at the real one."""
