"""The only wiring: which adapter stands behind which port."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigurationError, NotFoundError, UnavailableError
from engine.language.expression import duration_text
from engine.language.load import Loaded, load_policy
from engine.language.policy import Policy
from engine.units import MONEY_SCALE

if TYPE_CHECKING:
    from adapters.bars.fetching import HistoryFetcher
    from adapters.bars.source import BarVendor
    from adapters.journal.reading import ReadJournal
    from adapters.quotes.router import QuoteRouter
    from adapters.quotes.source import Source
    from adapters.settings.model import Settings
    from adapters.symbols.assets import Asset
    from adapters.symbols.directory import SymbolDirectory
    from adapters.symbols.store import SymbolStore
    from adapters.vendors.alpaca import AlpacaAccess
    from engine.model import Instrument
    from engine.runtime.cycle import Agent
    from engine.runtime.ports import BarSource, Broker, Calendar, Clock, QuoteSource

SIMULATION_BEGINS_MS: Final = 1_762_353_000_000  # 2025-11-05T14:30Z, a Wednesday: New York opens
DEFAULT_POLICY: Final = "default"
PAPER_FEE: Final = Decimal("0.0002")
STARTING_CASH: Final = 100_000 * MONEY_SCALE
_CURRENT: Final = "current-agent"


def load_named_policy(name: str) -> Loaded:
    """Load a policy by path, or by the name of a shipped one; NotFoundError where there is neither."""
    path = Path(name)
    if path.is_file():
        try:
            return load_policy(path.read_bytes(), str(path))
        except OSError as error:
            raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error
    import policies

    shipped = policies.shipped()
    if name in shipped:
        return load_policy(policies.read(name), f"{name}.yaml")
    raise NotFoundError(
        f"there is no policy file '{name}'; shipped policies: {', '.join(shipped)} (name one, or a path)"
    )


# --- where an agent keeps its things ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentFolder:
    """The folder of one agent: its journal and the paper venue's file."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.db"

    @property
    def venue(self) -> Path:
        """The paper venue's file."""
        return self.path / "venue.db"


def agent_folder(state_dir: Path, name: str) -> AgentFolder:
    """Return the folder of an agent by its name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigurationError(f"'{name}' is no name for an agent: use letters, digits, '.', '_' and '-'")
    return AgentFolder(state_dir / "agents" / name)


def note_current(state_dir: Path, name: str) -> None:
    """Remember the agent that ran last: what ``explain`` and the others ask when none is named."""
    try:
        (state_dir / _CURRENT).write_text(name + "\n", encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{state_dir}: cannot be written ({error.strerror})") from error


def current_agent(state_dir: Path, name: str | None = None) -> AgentFolder:
    """Return the named agent, or the one that ran last; NotFoundError where there is none."""
    if name is None:
        try:
            name = (state_dir / _CURRENT).read_text(encoding="utf-8").strip()
        except OSError:
            raise NotFoundError("no agent has run here yet: 'tradectl run' starts one") from None
    folder = agent_folder(state_dir, name)
    if not folder.journal.is_file():
        raise NotFoundError(f"there is no agent '{name}' in {state_dir}; 'tradectl run' starts one")
    return folder


def open_reader(folder: AgentFolder) -> ReadJournal:
    """Open an agent's journal for reading, beside the agent if it runs."""
    from adapters.journal.reading import read_journal

    return read_journal(folder.journal)


# --- an agent to run --------------------------------------------------------------------------


@dataclass(slots=True)
class RunPlan:
    """An agent, wired; ``end_ms`` is where its data end, None where they do not."""

    agent: Agent
    clock: Clock
    folder: AgentFolder
    name: str
    notes: list[str]
    end_ms: int | None
    symbols: Sequence[str]
    close: Callable[[], None]
    interrupt: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class _Market:
    quotes: QuoteSource
    venue_quotes: QuoteSource
    bars: BarSource
    clock: Clock
    interrupt: Callable[[], None]
    instruments: dict[str, Instrument]
    end_ms: int | None
    finest_seconds: int
    notes: list[str]


def plan_run(
    policy: Policy,
    *,
    state_dir: Path,
    quotes: str = "sim",
    agent_name: str | None = None,
    speed: float | None = None,
    seed: int = 1,
    restart: bool = False,
    swap_unguarded: bool = False,
) -> RunPlan:
    """Wire an agent: its market from ``quotes`` ("sim" or "bars:GLOB"), the paper venue, its journal.

    ``swap_unguarded`` allows a policy without protective rules for what the last one guards.
    Raises ConfigurationError, NotFoundError, UnavailableError or DataError, each saying what to do.
    """
    from adapters.brokers.paper import PaperBroker
    from adapters.calendar import ExchangeCalendars
    from adapters.journal.store import open_journal
    from engine.runtime.cycle import Agent, AgentSettings, Ports
    from engine.verbs.fill import FillModel

    kind, _, argument = quotes.partition(":")
    if kind not in ("sim", "bars") or (kind == "bars" and not argument):
        raise ConfigurationError(f"'{quotes}' is no source of quotes: write  sim  or  bars:GLOB")
    name = agent_name or _agent_name(policy, kind, argument, seed)
    folder = agent_folder(state_dir, name)
    if restart:
        _set_aside(folder)
    resume_ms = _last_moment_ms(folder)
    if not swap_unguarded:
        _require_guarded(folder, policy)
    calendar = ExchangeCalendars()
    if kind == "sim":
        market = _simulated(policy, calendar, resume_ms, speed, seed)
    else:
        market = _from_files(policy, argument, calendar, resume_ms, speed)
    with ExitStack() as undo:
        journal = open_journal(folder.journal, at_ms=market.clock.now_utc_ms())
        undo.callback(journal.close)
        broker = PaperBroker(
            folder.venue,
            market.venue_quotes,
            market.clock,
            FillModel(fee_rate=PAPER_FEE),
            STARTING_CASH,
            market.instruments,
            calendar=calendar,
        )
        undo.callback(broker.close)
        settings = AgentSettings(
            fee_ppm=int(PAPER_FEE * 1_000_000), finest_cadence_seconds=market.finest_seconds
        )
        ports = Ports(market.clock, market.quotes, market.bars, calendar, broker, journal)
        agent = Agent(policy, ports, settings, served=frozenset(market.instruments))
        undo.callback(agent.close)
        note_current(state_dir, name)
        close = undo.pop_all().close
    return RunPlan(
        agent, market.clock, folder, name, market.notes, market.end_ms, tuple(market.instruments), close,
        market.interrupt,
    )  # fmt: skip


def _agent_name(policy: Policy, kind: str, argument: str, seed: int) -> str:
    """One journal per policy and market: a market's clock cannot go back."""
    if kind == "sim":
        return f"sim-{policy.name}" if seed == 1 else f"sim-{seed}-{policy.name}"
    digest = hashlib.sha256(str(Path(argument).expanduser().absolute()).encode()).hexdigest()[:8]
    return f"bars-{policy.name}-{digest}"


def _set_aside(folder: AgentFolder) -> None:
    """Move an agent's folder out of the way; nothing recorded is lost."""
    if not folder.path.exists():
        return
    number = 1
    while (aside := folder.path.with_name(f"{folder.path.name}.{number}")).exists():
        number += 1
    try:
        folder.path.rename(aside)
    except OSError as error:
        raise UnavailableError(f"{folder.path}: cannot be set aside ({error.strerror})") from error


def _last_moment_ms(folder: AgentFolder) -> int | None:
    """Return when the agent's last journalled cycle was, or what came after it; None for a new one."""
    if not folder.journal.exists():
        return None
    reader = open_reader(folder)
    try:
        last = reader.last_cycle()
        if last is None:
            return None
        return max([last.at_ms, *(event.at_ms for _, event in reader.events_after(last.sequence))])
    finally:
        reader.close()


def _require_guarded(folder: AgentFolder, policy: Policy) -> None:
    """Refuse a policy that would leave a held position without the protective rules it has."""
    if not folder.journal.exists():
        return
    from engine.runtime.restore import restored

    reader = open_reader(folder)
    try:
        last = reader.last_cycle()
        if last is None or last.policy.digest == policy.digest:
            return
        before = load_policy(last.policy.text, last.policy.name).policy
        held = [symbol for symbol, holding in restored(reader).ledger.holdings.items() if holding.quantity]
    finally:
        reader.close()
    bare = [
        symbol
        for symbol in held
        if before is not None and _protects(before, symbol) and not _protects(policy, symbol)
    ]
    if bare:
        raise ConfigurationError(
            f"policy {policy.name} {policy.version} has no protective rule for {', '.join(bare)}, which "
            f"this agent holds and {last.policy.name} {last.policy.version} guards; add one, or run with "
            "--swap-unguarded"
        )


def _protects(policy: Policy, symbol: str) -> bool:
    from engine.language.lower import lower
    from engine.runtime.guard import protects

    listing = policy.listing(symbol)
    return listing is not None and protects(lower(policy, listing))


def _simulated(
    policy: Policy, calendar: Calendar, resume_ms: int | None, speed: float | None, seed: int
) -> _Market:
    from adapters.clock import SimulatedClock
    from adapters.quotes.simulated import SimulatedMarket, simulated_instrument

    clock = SimulatedClock(SIMULATION_BEGINS_MS if resume_ms is None else resume_ms, speed)
    instruments = {listing.symbol: simulated_instrument(listing.symbol, seed) for listing in policy.universe}
    market = SimulatedMarket(seed, tuple(instruments.values()), calendar, clock)
    return _Market(market, market, market, clock, clock.interrupt, instruments, None, 0, [])


def _from_files(
    policy: Policy, pattern: str, calendar: Calendar, resume_ms: int | None, speed: float | None
) -> _Market:
    from adapters.bars.files import open_bar_files
    from adapters.clock import SimulatedClock
    from adapters.quotes.bars import BarQuotes, OpeningQuotes
    from adapters.symbols.inferred import infer_instrument
    from engine.model import AssetClass

    files = open_bar_files(pattern, calendar)
    notes = list(files.notes)
    listed = {listing.symbol: listing for listing in policy.universe}
    served = [symbol for symbol in listed if symbol in files.symbols]
    if not served:
        raise ConfigurationError(
            f"none of the symbols of policy '{policy.name}' has bars here; the files hold "
            f"{', '.join(files.symbols)}, the universe {', '.join(listed)}"
        )
    unlisted = [symbol for symbol in files.symbols if symbol not in listed]
    if unlisted:
        notes.append(f"not in the policy's universe, so not traded: {', '.join(unlisted)}")
    absent = [listing.symbol for listing in policy.traded if listing.symbol not in served]
    if absent:
        notes.append(f"no bars here, so not decided: {', '.join(absent)}")
    instruments: dict[str, Instrument] = {}
    first_ms, end_ms, finest = [], [], []
    for symbol in served:
        interval = files.interval_of(symbol) or 0
        series = files.series(symbol, interval)
        assert series is not None  # a served symbol has a series at its finest interval
        bars = series.closed(calendar, listed[symbol].calendar, -1, 2**62)
        instruments[symbol] = infer_instrument(
            symbol,
            AssetClass(listed[symbol].asset_class),
            listed[symbol].calendar,
            (bar.close for bar in bars),
        )
        first_ms.append(calendar.bar_close_ms(listed[symbol].calendar, interval, bars[0].open_time_ms))
        end_ms.append(calendar.bar_close_ms(listed[symbol].calendar, interval, bars[-1].open_time_ms))
        finest.append(interval)
    finest_seconds = min(finest)
    cadence_seconds = policy.every_seconds or policy.bars_seconds
    if finest_seconds > cadence_seconds:
        notes.append(
            f"the policy decides every {duration_text(cadence_seconds)}; the finest bars here are of "
            f"{duration_text(finest_seconds)}, so it decides at their closes"
        )
    clock = SimulatedClock(min(first_ms) - 1 if resume_ms is None else resume_ms, speed)
    return _Market(
        BarQuotes(files, clock, calendar, instruments),
        OpeningQuotes(files, clock, calendar, instruments),
        files,
        clock,
        clock.interrupt,
        instruments,
        max(end_ms),
        finest_seconds,
        notes,
    )


# --- a venue beyond this machine --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenVenue:
    """A broker that is not on this machine; ``read_assets`` None: it has no list to be read."""

    broker: Broker
    read_assets: Callable[[], Sequence[Asset]] | None = None


@contextmanager
def open_broker(
    settings: Settings, symbols: SymbolStore, clock: Clock, pairs: Sequence[str] = ()
) -> Iterator[OpenVenue]:
    """Open the broker of the settings, for paper trading; ``pairs`` are what an exchange of coins trades.

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
            yield OpenVenue(alpaca, alpaca.read_assets)
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
        coins = CcxtBroker(ExchangeClient(exchange, clock.now_utc_ms), pairs)
        try:
            yield OpenVenue(coins)
        finally:
            coins.close()


# --- quotes -----------------------------------------------------------------------------------


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
    """Open one source of quotes; its library is imported at the first question."""
    from adapters.settings.keys import required_keys
    from adapters.settings.model import CCXT

    given = settings.source(name)
    keys = [key.reveal() for key in required_keys(name)]
    if name in ("alpaca", "alpaca_stream"):
        from adapters.vendors.alpaca import DATA_URL, AlpacaAccess

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

        # Yahoo's library knows its addresses itself: another one is a proxy to them.
        return YahooSource(state_dir / "yahoo", clock, proxy=given.url)
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


# --- history ----------------------------------------------------------------------------------


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
            except ConfigurationError as error:
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
        from adapters.vendors.yahoo import YahooClient

        yahoo = YahooClient(state_dir / "yahoo", clock.now_utc_ms, proxy=given.url)
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
