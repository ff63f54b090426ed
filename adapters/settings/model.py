"""Settings: what may be set beside the policy, each with a default that is safe.

Spans are whole seconds, shares are exact (0.01 is 1 %).  ``schemas/config-v1.json`` says how each is
written in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from engine.model import AssetClass

CCXT: Final = "ccxt:"
"""Begins the name of each exchange behind ccxt: ``ccxt:kraken``."""
VENDORS: Final = ("alpaca", "alpaca_stream", "finnhub", "twelvedata", "yahoo")
SOURCES: Final = (*VENDORS, "history")
"""Every source of quotes by name, but the exchanges behind ccxt."""
BROKERS: Final = ("paper", "alpaca")
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Who takes orders.  ``url`` None is the vendor's own address for paper trading.

    ``paper=False`` alone trades no real money: the run must ask for that, too.
    """

    name: str = "paper"
    paper: bool = True
    url: str | None = None
    connect_timeout_seconds: int = 3
    read_timeout_seconds: int = 10
    timeout_seconds: int = 15
    fee: Decimal = Decimal("0.0002")


@dataclass(frozen=True, slots=True)
class Quorum:
    """So many sources must agree, apart by no more than this share of the lowest price among them."""

    sources: int
    within: Decimal


@dataclass(frozen=True, slots=True)
class ClassQuotes:
    """Quotes of an asset class: who is asked, in which order, and what is demanded of an answer."""

    sources: tuple[str, ...] = ("alpaca", "finnhub", "twelvedata", "yahoo", "history")
    order_age_seconds: int = 60  # the oldest price that may price an order
    value_age_seconds: int = 7 * DAY  # the oldest that may value a position: longer than any holiday
    currencies: tuple[str, ...] = ("USD",)
    quorum: Quorum | None = None


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a source is left alone: after so many failed calls in a row, for so long."""

    failures: int = 3
    open_seconds: int = 30


@dataclass(frozen=True, slots=True)
class BackoffSettings:
    """The longest wait of a symbol at a source after one failure, and after any number."""

    first_seconds: int = 2
    longest_seconds: int = 120


@dataclass(frozen=True, slots=True)
class QuoteSettings:
    """How quotes are had: the time for a whole pass, the time for one source, and each class."""

    deadline_seconds: int = 5
    source_deadline_seconds: int = 2
    breaker: BreakerSettings = BreakerSettings()
    backoff: BackoffSettings = BackoffSettings()
    stock: ClassQuotes = ClassQuotes()
    commodity: ClassQuotes = ClassQuotes()
    crypto: ClassQuotes = ClassQuotes(order_age_seconds=120)  # the book of a small coin can be quiet

    def of(self, asset_class: AssetClass) -> ClassQuotes:
        """Return the settings of a class."""
        by_class = {
            AssetClass.STOCK: self.stock,
            AssetClass.COMMODITY: self.commodity,
            AssetClass.CRYPTO: self.crypto,
        }
        return by_class[asset_class]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many requests in any stretch of so many seconds."""

    requests: int
    seconds: int


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source.  ``url`` None is the vendor's own; ``batch`` is how many symbols one call may ask for.

    ``timeout_seconds`` bounds a call outside a pass of quotes, such as one for bars.  ``feed`` is the
    vendor's name of a feed, None its usual one; ``certificate`` a file of authorities to trust in the place
    of the usual ones, which Yahoo's library alone can be given: of a proxy that reads along.
    """

    url: str | None = None
    budget: tuple[Rate, ...] = (Rate(60, 60),)
    batch: int = 1
    feed: str | None = None
    timeout_seconds: int = 10
    certificate: str | None = None


TRUSTING: Final = ("yahoo",)
"""The sources that may be given a certificate."""

USUAL_SOURCES: Final[Mapping[str, SourceSettings]] = MappingProxyType(
    {
        "alpaca": SourceSettings(budget=(Rate(200, 60),), batch=100, feed="iex"),
        "alpaca_stream": SourceSettings(budget=(), batch=500, feed="iex"),
        "finnhub": SourceSettings(budget=(Rate(30, 1), Rate(60, 60))),
        # The day's 800 are spread out, or they would be gone within its first hours.
        "twelvedata": SourceSettings(budget=(Rate(8, 60), Rate(50, 5_400), Rate(800, DAY)), batch=8),
        "yahoo": SourceSettings(budget=(Rate(60, 60),), timeout_seconds=15),
    }
)
"""What the vendors allow without payment; of Yahoo, which states no limit, what harms nobody."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings.  ``Settings()`` needs no file, no key and no network: it trades on paper.

    ``agent`` None lets the agent be named after its policy and market; ``history`` None is the folder
    ``history`` in the state folder.
    """

    agent: str | None = None
    policy: str = "default"
    broker: BrokerSettings = BrokerSettings()
    quotes: QuoteSettings = QuoteSettings()
    sources: Mapping[str, SourceSettings] = field(default_factory=lambda: USUAL_SOURCES)
    history: str | None = None
    reconcile_seconds: int = 60
    refresh_symbols_seconds: int = 7 * DAY

    def source(self, name: str) -> SourceSettings:
        """Return the settings of a source, those of an exchange nobody mentioned among them."""
        return self.sources.get(name) or SourceSettings()


def is_source(name: str) -> bool:
    """Say whether a name is a source's."""
    return name in SOURCES or is_exchange(name)


def is_broker(name: str) -> bool:
    """Say whether a name is a broker's."""
    return name in BROKERS or is_exchange(name)


def is_exchange(name: str) -> bool:
    """Say whether a name is that of an exchange behind ccxt: ccxt:kraken."""
    exchange = name.removeprefix(CCXT)
    return exchange != name and exchange.isascii() and exchange.isalnum() and exchange.islower()
