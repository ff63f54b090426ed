"""The quote router: ordered sources for each asset class, and one typed answer for every symbol.

A symbol goes from source to source until one has a fresh price.  Whatever a source does (fails, hangs,
answers with an old price, does not know the symbol, may not be asked), the next one is asked, and what all
of them said is kept (``Hop``).  Nothing is rounded, nothing without the source's own time is fresh, and
every pass ends by its deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from adapters.quotes.breaker import BreakerState
from adapters.quotes.desk import SourceDesk, WorkersMaker
from adapters.quotes.hop import Hop, Routed
from adapters.quotes.judging import detail_of_miss, reason_of_miss, values_positions
from adapters.quotes.prices import as_quote
from adapters.quotes.quorum import chosen, disagreement
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome, Source
from adapters.quotes.workers import DaemonWorkers
from adapters.symbols.directory import SymbolDirectory
from engine.codes import UnknownReason
from engine.errors import ConfigurationError, NotFoundError
from engine.model import AssetClass, NoQuote, Quote
from engine.runtime.ports import Clock

_MS_NS: Final = 1_000_000
Learn = Callable[[str, Mapping[str, str]], None]
"""Takes a source and, by symbol, why it does not serve it."""


class QuoteRouter:
    """A ``QuoteSource`` over several sources.  One pass at a time; a second caller waits for the first."""

    def __init__(
        self,
        order: Mapping[AssetClass, Sequence[str]],
        sources: Mapping[str, Source],
        directory: SymbolDirectory,
        clock: Clock,
        rng: random.Random,
        settings: RouterSettings | None = None,
        *,
        learn: Learn | None = None,
        workers: WorkersMaker = DaemonWorkers,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        """Ask ``sources`` in their ``order`` for each class; ``rng`` is for the jitter of backoffs.

        ``learn`` is told, after a pass, which symbols a source was found not to serve; the directory is then
        asked as before, and says so itself.  ``workers`` and ``new_event_loop`` let a test live in a time of
        its own.

        Raises:
            ConfigurationError: The order names a source that is not there, or one twice.
        """
        self._order = {asset_class: tuple(names) for asset_class, names in order.items()}
        self._settings = settings or RouterSettings()
        self._directory = directory
        self._clock = clock
        self._learn = learn
        self._new_event_loop = new_event_loop
        self._one_pass = threading.Lock()
        for asset_class, names in self._order.items():
            _check_order(asset_class, names, sources)
        numbers = itertools.count(1)
        used = dict.fromkeys(name for names in self._order.values() for name in names)
        self._desks = {
            name: SourceDesk(
                sources[name], directory, clock, rng, self._settings,
                workers(name, self._settings.workers), numbers,
            )
            for name in used
        }  # fmt: skip

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol by ``deadline_ms`` (milliseconds since 1970 UTC)."""
        return {symbol: routed.answer for symbol, routed in self.route(symbols, deadline_ms).items()}

    def route(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Routed]:
        """Return the answers of ``snapshot`` with every hop on the way to them."""
        return self._pass(symbols, deadline_ms, survey=False)

    def survey(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Routed]:
        """Ask every source for every symbol, also after one had it: for people who want to see them all."""
        return self._pass(symbols, deadline_ms, survey=True)

    def breaker(self, source: str, asset_class: AssetClass) -> BreakerState:
        """Return the state of the breaker of a source and class now."""
        return self._desks[source].breaker(asset_class)

    def directory_changed(self) -> None:
        """Ask again for what sources said they do not serve: the symbol directory was refreshed."""
        with self._one_pass:
            for desk in self._desks.values():
                desk.forget_unsupported()

    def close(self) -> None:
        """Let go of the workers; who hangs is left behind, and keeps nothing from ending."""
        for desk in self._desks.values():
            desk.close()

    # --- a pass -------------------------------------------------------------------------------

    def _pass(self, symbols: Sequence[str], deadline_ms: int, survey: bool) -> dict[str, Routed]:
        with self._one_pass:
            left_ms = min(self._settings.total_ms, deadline_ms - self._clock.now_utc_ms())
            end_ns = self._clock.monotonic_ns() + (left_ms - self._settings.margin_ms) * _MS_NS
            with asyncio.Runner(loop_factory=self._new_event_loop) as runner:
                routed = runner.run(self._routes(dict.fromkeys(symbols), end_ns, survey))
            self._tell_what_was_learnt()
            return routed

    def _tell_what_was_learnt(self) -> None:
        for name, desk in self._desks.items():
            reasons = desk.take_learnt()
            if reasons and self._learn is not None:
                self._learn(name, reasons)
                desk.forget_unsupported()

    async def _routes(self, symbols: Iterable[str], end_ns: int, survey: bool) -> dict[str, Routed]:
        loop = asyncio.get_running_loop()
        for desk in self._desks.values():
            desk.open(loop)
        try:
            routed = await asyncio.gather(*(self._routed(symbol, end_ns, survey) for symbol in symbols))
        finally:
            for desk in self._desks.values():
                desk.shut()
        return {one.symbol: one for one in routed}

    async def _routed(self, symbol: str, end_ns: int, survey: bool) -> Routed:
        try:
            asset_class = self._directory.asset_class(symbol)
        except NotFoundError as error:
            return Routed(symbol, NoQuote(symbol, UnknownReason.NO_INSTRUMENT, str(error)), ())
        order = self._order.get(asset_class, ())
        if not order:
            detail = f"no source of quotes is set for the class {asset_class}"
            return Routed(symbol, NoQuote(symbol, UnknownReason.MISSING, detail), ())
        if survey or self._settings.quotes.of(asset_class).quorum is not None:
            hops = await self._ask_all(symbol, asset_class, order, end_ns, survey)
        else:
            hops = await self._ask_in_turn(symbol, asset_class, order, end_ns)
        return self._chosen(symbol, asset_class, tuple(hops))

    async def _ask_in_turn(
        self, symbol: str, asset_class: AssetClass, order: Sequence[str], end_ns: int
    ) -> list[Hop]:
        hops: list[Hop] = []
        for name in order:
            # Those that are still to come keep their share of the time that is left.
            until_ns = self._until_ns(end_ns, sharing=len(order) - len(hops))
            hops.append(await self._desks[name].ask(symbol, asset_class, until_ns))
            if hops[-1].outcome is Outcome.FRESH:
                break
        return hops

    async def _ask_all(
        self, symbol: str, asset_class: AssetClass, order: Sequence[str], end_ns: int, any_currency: bool
    ) -> list[Hop]:
        until_ns = self._until_ns(end_ns, sharing=1)
        asked = (self._desks[name].ask(symbol, asset_class, until_ns, any_currency) for name in order)
        return await asyncio.gather(*asked)

    def _until_ns(self, end_ns: int, sharing: int) -> int:
        now_ns = self._clock.monotonic_ns()
        return now_ns + min(self._settings.hop_ms * _MS_NS, (end_ns - now_ns) // sharing)

    # --- the answer ---------------------------------------------------------------------------

    def _chosen(self, symbol: str, asset_class: AssetClass, hops: tuple[Hop, ...]) -> Routed:
        fresh = [hop for hop in hops if hop.outcome is Outcome.FRESH]
        quorum = self._settings.quotes.of(asset_class).quorum
        if fresh and quorum is not None:
            agreed = chosen(quorum, hops)
            if agreed is None:
                detail = "; ".join([disagreement(quorum, hops), *_missed(hops)])
                return Routed(symbol, NoQuote(symbol, UnknownReason.UNCONFIRMED, detail), hops)
            return _used(symbol, agreed, hops)
        if fresh:
            return _used(symbol, fresh[0], hops)
        now_ms, demands = self._clock.now_utc_ms(), self._settings.demands(asset_class)
        stored = next((hop for hop in hops if values_positions(hop, now_ms, demands)), None)
        if stored is not None:
            return _used(symbol, stored, hops)
        return Routed(symbol, NoQuote(symbol, reason_of_miss(hops), detail_of_miss(hops)), hops)


def _used(symbol: str, hop: Hop, hops: tuple[Hop, ...]) -> Routed:
    assert hop.quote is not None, "what is used has a price"
    return Routed(symbol, as_quote(symbol, hop.source, hop.quote), hops, hop.source)


def _missed(hops: Sequence[Hop]) -> list[str]:
    missed = [hop for hop in hops if hop.outcome is not Outcome.FRESH]
    return [detail_of_miss(missed)] if missed else []


def _check_order(asset_class: AssetClass, names: Sequence[str], sources: Mapping[str, Source]) -> None:
    for name in names:
        if name not in sources:
            known = ", ".join(sorted(sources)) or "none"
            raise ConfigurationError(
                f"'{name}' is no source of quotes that is set up, yet it is in the order for {asset_class}; "
                f"there are: {known}"
            )
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"the order of sources for {asset_class} names one twice: {', '.join(names)}"
        )
