"""Sources of quotes behind one router."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.bootstrap.markets import SIMULATION_BEGINS_MS
from engine.errors import ConfigurationError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from adapters.quotes.router import QuoteRouter
    from adapters.quotes.source import Source
    from adapters.settings.model import Settings, SourceSettings
    from adapters.symbols.store import SymbolStore
    from adapters.vendors.alpaca import AlpacaAccess
    from engine.runtime.ports import Clock, QuoteSource


@dataclass(frozen=True, slots=True)
class OpenQuotes:
    """A router of quotes and the clock it lives by; ``notes`` say which sources are not asked, and why."""

    router: QuoteRouter
    clock: Clock
    notes: Sequence[str]


@contextmanager
def open_router(
    settings: Settings, state_dir: Path, symbols: SymbolStore, clock: Clock, listened: Sequence[str] = ()
) -> Iterator[OpenQuotes]:
    """Open the sources of quotes that the settings name; nothing is asked yet.

    ``listened`` are the symbols that a stream of quotes is to tell of.  A source that lacks a key, a package
    or its data is left out with a note.  ConfigurationError where none is left.
    """
    from random import Random

    from adapters.quotes.router import QuoteRouter
    from adapters.quotes.router_settings import RouterSettings
    from engine.model import AssetClass

    order = {asset_class: settings.quotes.of(asset_class).sources for asset_class in AssetClass}
    sources: dict[str, Source] = {}
    notes: list[str] = []
    with ExitStack() as closing:
        for name in dict.fromkeys(name for names in order.values() for name in names):
            try:
                sources[name] = source = _open_source(name, settings, state_dir, symbols, clock, listened)
            except (ConfigurationError, NotFoundError, UnavailableError) as error:
                notes.append(f"{name} is not asked: {error}")
                continue
            close = getattr(source, "close", None)
            if close is not None:
                closing.callback(close)
        if not sources:
            raise ConfigurationError("no source of quotes can be asked:\n  " + "\n  ".join(notes))
        router = QuoteRouter(
            {kind: [name for name in names if name in sources] for kind, names in order.items()},
            sources,
            symbols,
            clock,
            Random(),
            RouterSettings.of(settings, sources),
            learn=lambda source, reasons: symbols.learn(source, reasons, clock.now_utc_ms()),
        )
        closing.callback(router.close)
        yield OpenQuotes(router, clock, notes)


def _open_source(
    name: str,
    settings: Settings,
    state_dir: Path,
    symbols: SymbolStore,
    clock: Clock,
    listened: Sequence[str],
) -> Source:
    """Open one source of quotes, its library imported: the time of its first answer is the network's."""
    from adapters.settings.keys import required_keys
    from adapters.settings.model import CCXT

    given = settings.source(name)
    keys = [key.reveal() for key in required_keys(name)]
    if name in ("alpaca", "alpaca_stream"):
        from adapters.vendors.alpaca import DATA_URL, AlpacaAccess, import_library

        import_library()
        data_url = given.url if name == "alpaca" and given.url else DATA_URL
        access = AlpacaAccess(keys[0], keys[1], data_url=data_url, feed=given.feed or "iex")
        if name == "alpaca":
            from adapters.quotes.alpaca import AlpacaSource

            return AlpacaSource(access, clock, batch=given.batch)
        return _streamed(access, given.url, symbols, clock, listened)
    if name == "finnhub":
        from adapters.quotes.finnhub import FinnhubSource
        from adapters.vendors.finnhub import FINNHUB_URL

        return FinnhubSource(keys[0], clock, url=given.url or FINNHUB_URL)
    if name == "twelvedata":
        from adapters.quotes.twelvedata import TwelveDataSource
        from adapters.vendors.twelvedata import TWELVEDATA_URL

        return TwelveDataSource(keys[0], clock, url=given.url or TWELVEDATA_URL, batch=given.batch)
    if name == "yahoo":
        from adapters.quotes.yahoo import YahooSource
        from adapters.vendors.yahoo import import_library

        import_library()
        # Yahoo's library knows its addresses itself: another one is a proxy to them.
        return YahooSource(state_dir / "yahoo", clock, proxy=given.url, certificate=certificate_of(given))
    if name.startswith(CCXT):
        from adapters.quotes.ccxt import CcxtSource
        from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient

        access_there = ExchangeAccess(name.removeprefix(CCXT), url=given.url)
        return CcxtSource(ExchangeClient(access_there, clock.now_utc_ms), clock)
    from adapters.bars.files import open_bar_files
    from adapters.calendar import ExchangeCalendars
    from adapters.quotes.history import HistorySource

    calendar = ExchangeCalendars()
    return HistorySource(
        open_bar_files(settings.history or str(state_dir / "history"), calendar), calendar, clock
    )


def certificate_of(source: SourceSettings) -> Path | None:
    """Return the file of authorities that a source is to trust; NotFoundError where it is not there."""
    if source.certificate is None:
        return None
    path = Path(source.certificate).expanduser()
    if not path.is_file():
        raise NotFoundError(f"there is no certificate '{path}'")
    return path


def _streamed(
    access: AlpacaAccess, url: str | None, symbols: SymbolStore, clock: Clock, listened: Sequence[str]
) -> Source:
    from adapters.quotes.streamed import StreamedSource
    from adapters.symbols.directory import Spelled
    from engine.model import AssetClass

    coins: dict[bool, list[str]] = {True: [], False: []}
    for symbol in listened:
        spelled = symbols.spelled("alpaca_stream", symbol)
        if isinstance(spelled, Spelled):
            coins[symbols.asset_class(symbol) is AssetClass.CRYPTO].append(spelled.text)
    return StreamedSource(
        access,
        clock,
        stocks=coins[False],
        crypto=coins[True],
        stock_url=f"{url}/v2/{access.feed}" if url else "",
        crypto_url=f"{url}/v1beta3/crypto/us" if url else "",
    )


@contextmanager
def open_market_router(
    quotes: str, state_dir: Path, symbols: Sequence[str], seed: int = 1
) -> Iterator[OpenQuotes]:
    """Open a router whose one source is the simulated market ("sim"), or bars in files ("bars:GLOB").

    It lives at the beginning of the simulation, or at the end of the files.
    """
    from random import Random

    from adapters.calendar import ExchangeCalendars
    from adapters.clock import SimulatedClock
    from adapters.quotes.bars import BarQuotes
    from adapters.quotes.ported import CanonicalSymbols, PortedSource
    from adapters.quotes.router import QuoteRouter
    from adapters.quotes.router_settings import RouterSettings
    from adapters.quotes.simulated import SimulatedMarket, simulated_instrument
    from adapters.settings.model import QuoteSettings
    from adapters.symbols.inferred import calendar_of, infer_asset_class, infer_instrument
    from engine.model import AssetClass

    kind, _, argument = quotes.partition(":")
    calendar = ExchangeCalendars()
    market: QuoteSource
    if kind == "sim" and not argument:
        clock = SimulatedClock(SIMULATION_BEGINS_MS)
        instruments = [simulated_instrument(symbol, seed) for symbol in symbols]
        market, name = SimulatedMarket(seed, instruments, calendar, clock), "simulated"
    elif kind == "bars" and argument:
        from adapters.bars.files import open_bar_files

        files, ends, known = open_bar_files(argument, calendar), [0], {}
        for symbol in set(files.symbols).intersection(symbols):
            interval, trades = files.interval_of(symbol) or 0, calendar_of(symbol)
            bars = files.closed(symbol, interval, -1, 2**62)
            ends.append(calendar.bar_close_ms(trades, interval, bars[-1].open_time_ms))
            closes = (bar.close for bar in bars)
            known[symbol] = infer_instrument(symbol, infer_asset_class(symbol), trades, closes)
        clock = SimulatedClock(max(ends))
        market, name = BarQuotes(files, clock, calendar, known), "bars"
    else:
        raise ConfigurationError(f"'{quotes}' is no source of quotes: write  sim  or  bars:GLOB")
    # Nobody else is there to be asked instead, and reading calendars for the first time takes a while.
    patient = RouterSettings(QuoteSettings(deadline_seconds=60, source_deadline_seconds=60))
    router = QuoteRouter(
        dict.fromkeys(AssetClass, (name,)),
        {name: PortedSource(name, market, clock)},
        CanonicalSymbols(),
        clock,
        Random(seed),
        patient,
    )
    try:
        yield OpenQuotes(router, clock, ())
    finally:
        router.close()
