"""An agent on the markets of today: quotes through the router, orders at the broker of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.bootstrap.agents import agent_folder, note_current, require_guarded, set_aside
from adapters.bootstrap.history import open_history
from adapters.bootstrap.quoting import open_router
from adapters.bootstrap.running import STARTING_CASH, RunPlan
from adapters.bootstrap.venues import (
    GREATEST_SKEW_MS,
    OpenVenue,
    open_broker,
    refuses_keys,
    skew_ms,
    told_skew,
)
from adapters.extras import require
from adapters.symbols.directory import NotServed
from engine.errors import ConfigurationError, UnavailableError
from engine.language.expression import duration_text
from engine.language.policy import Policy
from engine.model import AssetClass

if TYPE_CHECKING:
    from adapters.bars.backfill import BackfilledBars
    from adapters.bars.fetching import Wanted
    from adapters.brokers.paper import PaperBroker
    from adapters.clock import WallClock
    from adapters.quotes.router import QuoteRouter
    from adapters.settings.model import Settings
    from adapters.symbols.store import SymbolStore
    from engine.model import Instrument, NoQuote, Quote
    from engine.runtime.journal_port import JournalPort
    from engine.runtime.ports import Broker, Calendar, OrderHints

WARM_UP_SECONDS: Final = 30.0
"""So long the start waits for bars; what is not there by then is fetched while the agent runs."""
_SILENT_SECONDS: Final = 1.5
"""A person who waits longer than this wants to know for what."""
_END_SECONDS: Final = 1.0
"""So long the end waits for a page of bars that is under way; what is not stored is fetched again."""
_NAMED: Final = 6
_UNHEARD: Final = ("failed", "skipped")


def plan_live(
    policy: Policy,
    settings: Settings,
    *,
    state_dir: Path,
    agent_name: str | None = None,
    restart: bool = False,
    swap_unguarded: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> RunPlan:
    """Wire an agent to the sources and the broker of the settings; ``say`` is told what it waits for.

    Raises ConfigurationError, NotFoundError, UnavailableError or DataError, each saying what to do.
    """
    from adapters.bars.backfill import BackfilledBars
    from adapters.calendar import ExchangeCalendars
    from adapters.clock import WallClock
    from adapters.journal.store import open_journal
    from adapters.settings.model import DAY
    from adapters.symbols.store import FILE, SymbolStore
    from engine.runtime.cycle import Agent, AgentSettings, Ports

    require("pyarrow", "parquet")  # of the bars: without them no indicator is ever warm
    name = agent_name or settings.agent or f"{settings.broker.name.replace(':', '-')}-{policy.name}-live"
    folder = agent_folder(state_dir, name)
    if not (swap_unguarded or restart):
        require_guarded(folder, policy)
    clock, calendar = WallClock(), ExchangeCalendars()
    with ExitStack() as undo:
        days = max(1, settings.refresh_symbols_seconds // DAY)
        symbols = SymbolStore(
            state_dir / FILE, policy.universe, now_ms=clock.now_utc_ms(), stale_after_days=days
        )
        listened = [listing.symbol for listing in policy.universe]
        quotes = undo.enter_context(open_router(settings, state_dir, symbols, clock, listened))
        history = undo.enter_context(open_history(settings, state_dir, symbols, clock))
        if restart:
            set_aside(folder)  # not before the settings have shown that they can be used
        journal = open_journal(folder.journal, at_ms=clock.now_utc_ms())
        undo.callback(journal.close)
        notes = [*symbols.notes, *quotes.notes, *history.notes]
        market = _Today(clock, calendar, quotes.router, journal)
        broker, hints = _venue(undo, policy, settings, symbols, market, folder.venue, notes)
        bars = BackfilledBars(history.fetcher, calendar, clock, dict(_wanted(policy)))
        undo.callback(bars.close, _END_SECONDS)
        notes += _warmed_up(bars, say)
        age_seconds = max(settings.quotes.of(kind).order_age_seconds for kind in AssetClass)
        heard = _Heard(quotes.router)
        agent = Agent(
            policy,
            Ports(clock, heard, bars, calendar, broker, journal, hints),
            AgentSettings(
                account=settings.broker.name,
                quote_max_age_seconds=age_seconds,
                fee_ppm=int(settings.broker.fee * 1_000_000),
                deadline_ms=settings.quotes.deadline_seconds * 1000,
                reconcile_every_seconds=settings.reconcile_seconds,
            ),
        )
        undo.callback(agent.close)
        note_current(state_dir, name)
        close = undo.pop_all().close
    traded = tuple(listing.symbol for listing in policy.traded)
    return RunPlan(
        agent, clock, folder, name, list(dict.fromkeys(notes)), None, traded, close, clock.interrupt,
        heard.why_not,
    )  # fmt: skip


class _Heard:
    """The router as the agent's source of quotes; keeps whether anybody was heard in the last pass."""

    def __init__(self, router: QuoteRouter) -> None:
        self._router = router
        self._why_not = ""

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return what the router does."""
        told = self._router.route(symbols, deadline_ms)
        # What is stored on this machine is not heard of anybody.
        hops = [hop for routed in told.values() for hop in routed.hops if hop.source != "history"]
        asked = [hop for hop in hops if hop.request or hop.outcome in _UNHEARD]
        failed = [hop for hop in asked if hop.outcome in _UNHEARD]
        reasons = dict.fromkeys(f"{hop.source}: {hop.reason}" for hop in failed)
        self._why_not = "; ".join(reasons) if len(failed) == len(asked) else ""
        return {symbol: routed.answer for symbol, routed in told.items()}

    def why_not(self) -> str:
        """Return why nobody was heard, "" where somebody was or nobody was asked."""
        return self._why_not


@dataclass(frozen=True, slots=True)
class _Today:
    """What a venue is opened with."""

    clock: WallClock
    calendar: Calendar
    router: QuoteRouter
    journal: JournalPort


def _warmed_up(bars: BackfilledBars, say: Callable[[str], None]) -> Iterator[str]:
    """Wait for the bars that the indicators need; yield what a person should know of those that lack."""
    warm = bars.warm_up(_SILENT_SECONDS)
    if not warm:
        say(f"waiting for bars, for {WARM_UP_SECONDS:g} s at most")
        warm = bars.warm_up(WARM_UP_SECONDS - _SILENT_SECONDS)
    lacking: dict[str, list[str]] = {}
    for (symbol, interval), trouble in bars.troubles().items():
        lacking.setdefault(trouble, []).append(f"{symbol} {duration_text(interval)}")
    for trouble, series in lacking.items():
        yield f"not all bars of {_some(series)} could be had, and are asked for again: {trouble}"
    if not warm and not lacking:
        yield "not all bars are there yet: they are fetched while the agent runs"


def _wanted(policy: Policy) -> Iterator[tuple[Wanted, int]]:
    """Yield the series that a policy reads, and how far back each is needed, seconds."""
    from adapters.bars.fetching import Wanted
    from adapters.symbols.inferred import calendar_of, infer_asset_class
    from engine.language.lower import lower
    from engine.runtime.desk import history_needed_seconds
    from engine.series import SELF, columns

    listings = {listing.symbol: listing for listing in policy.universe}

    def calendar(symbol: str) -> str:
        return listings[symbol].calendar if symbol in listings else calendar_of(symbol)

    back: dict[Wanted, int] = {}
    for listing in policy.traded:
        lowered = lower(policy, listing)
        needed = history_needed_seconds(lowered, listing.symbol, calendar)
        read = {(listing.symbol, policy.bars_seconds)} | {
            (listing.symbol if column.symbol == SELF else column.symbol, column.interval_seconds)
            for slot in lowered.slots
            if slot.series is not None
            for column in columns(slot.series)
        }
        for symbol, interval in sorted(read):
            known = listings.get(symbol)
            asset_class = AssetClass(known.asset_class) if known else infer_asset_class(symbol)
            wanted = Wanted(symbol, asset_class, calendar(symbol), interval)
            seconds = needed.get((wanted.calendar, interval), 10 * interval)
            back[wanted] = max(back.get(wanted, 0), seconds)
    yield from back.items()


def _venue(
    undo: ExitStack,
    policy: Policy,
    settings: Settings,
    symbols: SymbolStore,
    market: _Today,
    path: Path,
    notes: list[str],
) -> tuple[Broker, OrderHints | None]:
    """Open who takes the orders, and what tells of them unasked."""
    clock = market.clock
    if settings.broker.name == "paper":
        return undo.enter_context(_paper(policy, settings, symbols, market, path)), None

    def own_ids() -> Iterator[str]:
        return (intent.order.client_id for intent in market.journal.intents())

    pairs = [listing.symbol for listing in policy.traded if listing.asset_class == AssetClass.CRYPTO.value]
    venue = undo.enter_context(open_broker(settings, symbols, clock, pairs, own_ids))
    if venue.read_assets is not None and symbols.is_stale(settings.broker.name, clock.now_utc_ms()):
        try:
            symbols.refresh(settings.broker.name, venue.read_assets(), clock.now_utc_ms())
        except UnavailableError as error:
            if refuses_keys(error):
                raise ConfigurationError(str(error)) from error
            if symbols.registry.refreshed_ms(settings.broker.name) is None:
                raise  # nothing is known of what it trades
            notes.append(f"the list of assets is old, and could not be read: {error}")
        else:
            market.router.directory_changed()
    notes += _untraded(policy, settings.broker.name, symbols, venue)
    notes += _skewed(venue.broker, clock)
    hints = None if venue.listen is None else undo.enter_context(venue.listen(clock.wake))
    return venue.broker, hints


def _skewed(broker: Broker, clock: WallClock) -> Iterator[str]:
    """Yield what there is to say of our clock: by a wrong one, all quotes are too old or of the future."""
    asked_ms = clock.now_utc_ms()
    try:
        told = broker.clock()
    except UnavailableError:
        return  # the agent's own start says so
    skew = skew_ms(told, asked_ms, clock.now_utc_ms())
    if abs(skew) > GREATEST_SKEW_MS:
        yield f"the clocks differ, and quotes may be taken for none: {told_skew(skew)}; set it (NTP)"


def _untraded(policy: Policy, broker: str, symbols: SymbolStore, venue: OpenVenue) -> Iterator[str]:
    """Yield what of the policy the broker does not trade; ConfigurationError where that is all of it."""
    reasons: list[str] = []
    for symbol in (listing.symbol for listing in policy.traded):
        spelled = symbols.spelled(broker, symbol)
        if isinstance(spelled, NotServed):
            reasons.append(f"{symbol} ({spelled.reason})")
        elif venue.read_assets is None and venue.broker.instrument(symbol) is None:
            reasons.append(f"{symbol} ({broker} has no market for it that is open)")
    if reasons and len(reasons) == len(policy.traded):
        raise ConfigurationError(f"{broker} trades nothing of policy {policy.name}: not {_some(reasons)}")
    if reasons:
        yield f"not traded at {broker}: {_some(reasons)}"


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def _paper(
    policy: Policy, settings: Settings, symbols: SymbolStore, market: _Today, path: Path
) -> PaperBroker:
    """Return the paper venue at the quotes of today, in the steps that Alpaca has where it was asked once."""
    from adapters.brokers.paper import PaperBroker
    from adapters.symbols.inferred import infer_instrument
    from engine.verbs.fill import FillModel

    instruments: dict[str, Instrument] = {
        listing.symbol: symbols.registry.instrument(listing.symbol)
        or infer_instrument(listing.symbol, AssetClass(listing.asset_class), listing.calendar, ())
        for listing in policy.universe
    }
    model = FillModel(fee_rate=settings.broker.fee)
    return PaperBroker(
        path, market.router, market.clock, model, STARTING_CASH, instruments, calendar=market.calendar
    )
