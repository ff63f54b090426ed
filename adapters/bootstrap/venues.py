"""Brokers beyond this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigurationError

if TYPE_CHECKING:
    from adapters.brokers.alpaca_stream import AlpacaHints
    from adapters.settings.model import Settings
    from adapters.symbols.assets import Asset
    from adapters.symbols.store import SymbolStore
    from engine.runtime.ports import Broker, Clock, VenueClock


@dataclass(frozen=True, slots=True)
class OpenVenue:
    """A broker that is not on this machine.

    ``read_assets`` None: it has no list to be read; ``listen`` None: it tells nothing unasked.  Who listens
    is woken, on another thread, when something was told.
    """

    broker: Broker
    read_assets: Callable[[], Sequence[Asset]] | None = None
    listen: Callable[[Callable[[], None]], AlpacaHints] | None = None


GREATEST_SKEW_MS: Final = 2_000
"""A clock that is further away makes quotes look older or newer than they are."""


def skew_ms(clock: VenueClock, asked_ms: int, answered_ms: int) -> int:
    """Return how far the venue's clock is ahead of ours at least: it was read between the two instants."""
    early, late = clock.now_ms - answered_ms, clock.now_ms - asked_ms
    return 0 if early <= 0 <= late else min(early, late, key=abs)


def told_skew(skew_ms: int) -> str:
    """Return a skew in words."""
    side = "behind" if skew_ms > 0 else "ahead of"
    return f"this machine's is at least {abs(skew_ms) / 1000:.1f} s {side} the venue's"


def refused_status(error: BaseException | None) -> int | None:
    """Return the HTTP status of a refusal that an error was made of; None where nobody answered so."""
    while error is not None:
        status = getattr(error, "status", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def refuses_keys(error: BaseException) -> bool:
    """Say whether an error was made of a refusal of the keys, which no second attempt mends."""
    return refused_status(error) in (401, 403)


@contextmanager
def open_broker(
    settings: Settings,
    symbols: SymbolStore,
    clock: Clock,
    pairs: Sequence[str] = (),
    own_ids: Callable[[], Iterable[str]] = tuple,
) -> Iterator[OpenVenue]:
    """Open the broker of the settings, for paper trading; ``pairs`` are what an exchange of coins trades.

    ``own_ids`` are the client ids of the journal: an exchange keeps only what can be counted from them.
    Nothing is asked of it yet.  ConfigurationError where a key or a package is missing, where the settings
    cannot be meant, or for the paper venue, which is no one else's.
    """
    from adapters.settings.keys import required_keys

    broker = settings.broker
    if not broker.paper:
        raise ConfigurationError("broker.paper is false: this release trades on paper only; set it to true")
    if broker.name == "paper":
        raise ConfigurationError("the paper venue is on this machine: there is no broker to be asked")
    key_id, secret = (key.reveal() for key in required_keys(broker.name, trading=True))
    if broker.name == "alpaca":
        from adapters.brokers.alpaca import AlpacaBroker
        from adapters.brokers.alpaca_stream import AlpacaHints
        from adapters.vendors.alpaca import DATA_URL, PAPER_URL, AlpacaAccess

        access = AlpacaAccess(
            key_id,
            secret,
            trading_url=broker.url or PAPER_URL,
            data_url=settings.source("alpaca").url or DATA_URL,
            feed=settings.source("alpaca").feed or "iex",
            connect_seconds=broker.connect_timeout_seconds,
            read_seconds=broker.read_timeout_seconds,
            total_seconds=broker.timeout_seconds,
        )

        def learn(assets: Sequence[Asset]) -> None:
            symbols.refresh("alpaca", assets, clock.now_utc_ms())

        with AlpacaBroker(access, lambda: symbols.registry, learn) as alpaca:
            yield OpenVenue(alpaca, alpaca.read_assets, lambda wake: AlpacaHints(access, clock, wake))
    else:
        from adapters.brokers.ccxt import CcxtBroker
        from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient

        exchange = ExchangeAccess(
            broker.name.removeprefix("ccxt:"),
            key_id,
            secret,
            url=broker.url,
            connect_seconds=broker.connect_timeout_seconds,
            read_seconds=broker.read_timeout_seconds,
            total_seconds=broker.timeout_seconds,
        )
        coins = CcxtBroker(ExchangeClient(exchange, clock.now_utc_ms), pairs, known_ids=own_ids)
        try:
            yield OpenVenue(coins)
        finally:
            coins.close()
