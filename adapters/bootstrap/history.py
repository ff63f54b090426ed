"""Sources of bars behind one history store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from adapters.bars.fetching import HistoryFetcher
    from adapters.bars.source import BarVendor
    from adapters.settings.model import Settings
    from adapters.symbols.directory import SymbolDirectory
    from engine.runtime.ports import Clock

HISTORY_SOURCES: Final = ("alpaca", "yahoo")
"""The sources of quotes that have bars, too; every exchange behind ccxt has."""


@dataclass(frozen=True, slots=True)
class OpenHistory:
    """What fills a history store; ``notes`` say which sources are not asked, and why."""

    fetcher: HistoryFetcher
    sources: Sequence[str]
    notes: Sequence[str]


@contextmanager
def open_history(
    settings: Settings,
    state_dir: Path,
    symbols: SymbolDirectory,
    clock: Clock,
    *,
    sources: Sequence[str] = (),
    store: Path | None = None,
    page_seconds: float = 40.0,
) -> Iterator[OpenHistory]:
    """Open the history of the settings, or another folder, and the sources that fill it; nobody is asked yet.

    ``sources`` are named instead of those of the settings, the most trusted first; a source of the settings
    that lacks a key or a package is left out with a note, a named one must be there.  ConfigurationError
    where none is left, or where the folder is none of ours.
    """
    from adapters.bars.fetching import HistoryFetcher, Retry
    from adapters.bars.store import HistoryStore
    from adapters.calendar import ExchangeCalendars
    from adapters.quotes.budget import Budget, BudgetSettings
    from adapters.settings.model import CCXT
    from engine.model import AssetClass

    by_class = {
        asset_class: sources
        or [
            name
            for name in settings.quotes.of(asset_class).sources
            if name in HISTORY_SOURCES or name.startswith(CCXT)
        ]
        for asset_class in AssetClass
    }
    history = HistoryStore(store or Path(settings.history or state_dir / "history").expanduser())
    vendors: list[BarVendor] = []
    notes: list[str] = []
    with ExitStack() as closing:
        for name in dict.fromkeys(name for names in by_class.values() for name in names):
            try:
                vendors.append(_open_bar_vendor(name, settings, state_dir, clock, closing))
            except (ConfigurationError, NotFoundError) as error:
                if sources:
                    raise
                notes.append(f"{name} is not asked: {error}")
        if not vendors:
            raise ConfigurationError("no source of bars can be asked:\n  " + "\n  ".join(notes))
        budgets = {
            vendor.name: Budget(BudgetSettings(settings.source(vendor.name).budget)) for vendor in vendors
        }

        def wait_seconds(source: str) -> float:
            now_ns, budget = clock.monotonic_ns(), budgets[source]
            wait_ns = budget.wait_ns(now_ns)
            if not wait_ns:
                budget.spend(now_ns)
            return wait_ns / 1e9

        longest = max(settings.source(vendor.name).timeout_seconds for vendor in vendors)
        fetcher = HistoryFetcher(
            history,
            vendors,
            symbols,
            ExchangeCalendars(),
            clock,
            wait_seconds=wait_seconds,
            retry=Retry(request_seconds=longest, page_seconds=page_seconds),
            order=by_class,
        )
        yield OpenHistory(fetcher, [vendor.name for vendor in vendors], notes)


def _open_bar_vendor(
    name: str, settings: Settings, state_dir: Path, clock: Clock, closing: ExitStack
) -> BarVendor:
    """Open one source of bars; its library is imported at the first question."""
    from adapters.settings.keys import required_keys
    from adapters.settings.model import CCXT

    given = settings.source(name)
    if name == "alpaca":
        from adapters.bars.alpaca import AlpacaBars
        from adapters.vendors.alpaca import DATA_URL, AlpacaAccess

        key_id, secret = (key.reveal() for key in required_keys(name))
        return AlpacaBars(
            AlpacaAccess(key_id, secret, data_url=given.url or DATA_URL, feed=given.feed or "iex")
        )
    if name == "yahoo":
        from adapters.bars.yahoo import YahooBars
        from adapters.bootstrap.quoting import certificate_of
        from adapters.vendors.yahoo import YahooClient

        yahoo = YahooClient(
            state_dir / "yahoo", clock.now_utc_ms, proxy=given.url, certificate=certificate_of(given)
        )
        closing.callback(yahoo.close)
        return YahooBars(yahoo)
    if name.startswith(CCXT):
        from adapters.bars.ccxt import CcxtBars
        from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient

        exchange = ExchangeClient(ExchangeAccess(name.removeprefix(CCXT), url=given.url), clock.now_utc_ms)
        closing.callback(exchange.close)
        return CcxtBars(exchange)
    raise ConfigurationError(
        f"'{name}' is no source of bars: write {', '.join(HISTORY_SOURCES)} or {CCXT}EXCHANGE"
    )
