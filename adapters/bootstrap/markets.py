"""Markets that are not beyond this machine: a simulated one, and bars in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigurationError
from engine.language.expression import duration_text
from engine.language.policy import Policy

if TYPE_CHECKING:
    from engine.model import Instrument
    from engine.runtime.ports import BarSource, Calendar, Clock, QuoteSource

SIMULATION_BEGINS_MS: Final = 1_762_353_000_000  # 2025-11-05T14:30Z, a Wednesday: New York opens


@dataclass(frozen=True, slots=True)
class Market:
    """A market with its own clock; ``venue_quotes`` are what the paper venue fills at.

    ``end_ms`` is where its data end, None where they do not.
    """

    quotes: QuoteSource
    venue_quotes: QuoteSource
    bars: BarSource
    clock: Clock
    interrupt: Callable[[], None]
    instruments: dict[str, Instrument]
    end_ms: int | None
    finest_seconds: int
    notes: list[str]


def simulated(
    policy: Policy, calendar: Calendar, resume_ms: int | None, speed: float | None, seed: int
) -> Market:
    """Open the simulated market, at its beginning or where the agent went on to."""
    from adapters.clock import SimulatedClock
    from adapters.quotes.simulated import SimulatedMarket, simulated_instrument

    clock = SimulatedClock(SIMULATION_BEGINS_MS if resume_ms is None else resume_ms, speed)
    instruments = {listing.symbol: simulated_instrument(listing.symbol, seed) for listing in policy.universe}
    market = SimulatedMarket(seed, tuple(instruments.values()), calendar, clock)
    return Market(market, market, market, clock, clock.interrupt, instruments, None, 0, [])


def from_files(
    policy: Policy, pattern: str, calendar: Calendar, resume_ms: int | None, speed: float | None
) -> Market:
    """Open bars in files; ConfigurationError where none of them is of a symbol of the policy."""
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
    return Market(
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
