"""Routers that are wrong on purpose: what the tests of the requirements must find.

``OldRouter`` is the old agent's order of things.  ``SequentialRouter`` does what the real router does, one
request after the other, and makes exactly the one mistake it is given; without one it is right, but slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from enum import Enum, auto
from typing import ClassVar

from adapters.quotes.breaker import Breaker, BreakerState
from adapters.quotes.budget import Budget, BudgetSettings
from adapters.quotes.hop import Hop, Routed
from adapters.quotes.judging import Demands, detail_of_miss, judge, reason_of_miss, values_positions
from adapters.quotes.prices import as_quote, price_text
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.settings.model import BreakerSettings
from adapters.symbols.directory import NotServed
from engine.codes import UnknownReason
from engine.errors import NotFoundError
from engine.model import AssetClass, NoQuote, Quote, QuoteKind
from engine.units import PRICE_SCALE
from tests.adapters.quotes.fakes import World

_HOP_SECONDS = 1.5


class OldRouter:
    """The old agent's: four mistakes that together hid ADA-USD and DOGE-USD and let BTC-USD through."""

    # One table for all sources, of the symbols that someone once thought of.
    TABLE: ClassVar = {"BTC-USD": "BTC/USD", "ETH-USD": "ETH/USD", "DOGE-USD": "DOGE/USD"}
    FALLBACK_TABLE: ClassVar = {"BTC-USD": "BINANCE:BTCUSDT", "ETH-USD": "BINANCE:ETHUSDT"}
    MAX_AGE_SECONDS = 60

    def __init__(self, world: World) -> None:
        """Begin with one breaker for everything."""
        self._world = world
        self._failures = 0

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""
        return {symbol: self._quote(symbol) for symbol in symbols}

    def _quote(self, symbol: str) -> Quote | NoQuote:
        for name, source in self._world.sources.items():
            table = self.TABLE if name == "alpaca" else self.FALLBACK_TABLE
            if symbol not in table:
                continue
            if self._failures >= 3:
                break
            try:
                answer = source.fetch([table[symbol]], AssetClass.CRYPTO, 30.0).get(table[symbol])
            except SourceFailedError:
                self._failures += 1
                continue
            if not isinstance(answer, SourceQuote) or answer.price < 1:
                self._failures += 1
                continue
            stamp_ms = answer.source_time_ms or 0
            if self._world.clock.now_utc_ms() - stamp_ms > self.MAX_AGE_SECONDS * 1000:
                self._failures += 1
                continue
            return as_quote(symbol, name, answer)
        return NoQuote(symbol, UnknownReason.MISSING, "all methods failed")


class Mistake(Enum):
    """What may be wrong; each breaks one requirement."""

    OWN_TIME = auto()  # 18: the time of receipt is given out as the source's
    NO_TIME_IS_NOW = auto()  # 19: what has no time is taken for fresh
    ANY_PRICE = auto()  # 20: zeros, crossed and infinite prices pass
    TETHER_IS_DOLLAR = auto()  # 21: what is priced in another currency is used
    UNSUPPORTED_IS_FAILURE = auto()  # 22: "unknown symbol" opens the breaker, and is asked again
    ONE_BREAKER = auto()  # 23: one breaker for all sources, and "no data" counts
    GIVES_UP = auto()  # 24: a failure ends the way
    HISTORY_IS_A_QUOTE = auto()  # 25: a stored close looks like a quote
    NO_BUDGET = auto()  # 26: asks as it likes, always from the top
    WAITS = auto()  # 27: waits as long as a source takes
    TWO_DECIMALS = auto()  # 28: rounds prices before use and for show


class SequentialRouter:
    """One request at a time, symbol by symbol, source by source."""

    def __init__(self, world: World, mistake: Mistake | None = None) -> None:
        """Make one mistake, or none."""
        self._world = world
        self._mistake = mistake
        self._breakers: dict[object, Breaker] = {}
        self._unsupported: dict[tuple[str, str], str] = {}
        self._budgets = {
            name: Budget(world.settings.budgets.get(name, BudgetSettings())) for name in world.sources
        }
        self._last: dict[str, int] = {}
        self._number = 0

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""
        return {symbol: routed.answer for symbol, routed in self.route(symbols, deadline_ms).items()}

    def route(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Routed]:
        """Return the answers with their hops."""
        turns = sorted(dict.fromkeys(symbols), key=lambda symbol: self._last.get(symbol, -1))
        if self._mistake is Mistake.NO_BUDGET:
            turns = list(dict.fromkeys(symbols))
        return {symbol: self._routed(symbol) for symbol in turns}

    def directory_changed(self) -> None:
        """Ask again."""
        self._unsupported.clear()

    def price_text(self, price: Decimal, step: Decimal) -> str:
        """Return a price for people."""
        return f"{price:.2f}" if self._mistake is Mistake.TWO_DECIMALS else price_text(price, step)

    def _routed(self, symbol: str) -> Routed:
        try:
            asset_class = self._world.directory.asset_class(symbol)
        except NotFoundError as error:
            return Routed(symbol, NoQuote(symbol, UnknownReason.NO_INSTRUMENT, str(error)), ())
        demands = self._world.settings.demands(asset_class)
        hops: list[Hop] = []
        for name in self._world.order[asset_class]:
            hops.append(self._hop(name, symbol, asset_class, demands))
            if hops[-1].outcome is Outcome.FRESH:
                return self._used(symbol, hops[-1], hops)
            if self._mistake is Mistake.GIVES_UP and hops[-1].outcome is Outcome.FAILED:
                break
        for hop in hops:
            if values_positions(hop, self._world.clock.now_utc_ms(), demands):
                return self._used(symbol, hop, hops)
        return Routed(symbol, NoQuote(symbol, reason_of_miss(hops), detail_of_miss(hops)), tuple(hops))

    def _hop(self, name: str, symbol: str, asset_class: AssetClass, demands: Demands) -> Hop:
        spelled = self._world.directory.spelled(name, symbol)
        if isinstance(spelled, NotServed):
            return Hop(name, None, Outcome.UNSUPPORTED, spelled.reason)
        if (name, symbol) in self._unsupported:
            return Hop(name, spelled.text, Outcome.UNSUPPORTED, self._unsupported[name, symbol])
        now_ns = self._world.clock.monotonic_ns()
        key = () if self._mistake is Mistake.ONE_BREAKER else (name, asset_class)
        breaker = self._breakers.setdefault(key, Breaker(BreakerSettings()))
        if breaker.state(now_ns) is BreakerState.OPEN:
            return Hop(name, spelled.text, Outcome.SKIPPED, "its breaker is open")
        budget = self._budgets[name]
        if self._mistake is not Mistake.NO_BUDGET and budget.wait_ns(now_ns):
            return Hop(name, spelled.text, Outcome.SKIPPED, budget.scarcest(now_ns))
        budget.spend(now_ns)
        breaker.begin(now_ns)
        self._number += 1
        self._last[symbol] = self._number
        quote, outcome, reason = self._asked(name, spelled.text, asset_class, demands, budget)
        bad = {Outcome.FAILED}
        if outcome is Outcome.UNSUPPORTED and quote is None:
            if self._mistake is Mistake.UNSUPPORTED_IS_FAILURE:
                bad.add(Outcome.UNSUPPORTED)
            else:
                self._unsupported[name, symbol] = reason
        if self._mistake is Mistake.ONE_BREAKER:
            bad.add(Outcome.NO_DATA)
        if outcome not in bad:
            breaker.heard()
        elif not budget.held_ns(now_ns):
            breaker.failed(now_ns)
        return Hop(name, spelled.text, outcome, reason, quote, 0, self._number)

    def _asked(
        self, name: str, spelling: str, asset_class: AssetClass, demands: Demands, budget: Budget
    ) -> tuple[SourceQuote | None, Outcome, str]:
        source, clock = self._world.sources[name], self._world.clock
        try:
            answer = source.fetch([spelling], asset_class, _HOP_SECONDS).get(spelling)
        except SourceFailedError as error:
            budget.hold(clock.monotonic_ns(), error.retry_after_seconds or 0.0)
            return None, Outcome.FAILED, error.reason
        except RuntimeError as error:
            return None, Outcome.FAILED, type(error).__name__
        if isinstance(answer, SourceQuote):
            answer = self._spoilt(answer)
        return (answer if isinstance(answer, SourceQuote) else None), *self._judged(answer, demands)

    def _spoilt(self, quote: SourceQuote) -> SourceQuote:
        match self._mistake:
            case Mistake.OWN_TIME:
                return replace(quote, source_time_ms=quote.receive_time_ms)
            case Mistake.NO_TIME_IS_NOW:
                return replace(quote, source_time_ms=quote.source_time_ms or quote.receive_time_ms)
            case Mistake.TETHER_IS_DOLLAR:
                return replace(quote, currency="USD")
            case Mistake.HISTORY_IS_A_QUOTE if quote.kind is QuoteKind.HISTORY:
                return replace(quote, kind=QuoteKind.QUOTE)
            case Mistake.TWO_DECIMALS:
                cent = Decimal("0.01")
                return replace(
                    quote,
                    price=quote.price.quantize(cent),
                    bid=quote.bid.quantize(cent),
                    ask=quote.ask.quantize(cent),
                )
        return quote

    def _judged(self, answer: Answer | None, demands: Demands) -> tuple[Outcome, str]:
        if self._mistake is Mistake.ANY_PRICE and isinstance(answer, SourceQuote):
            return Outcome.FRESH, ""
        if self._mistake is Mistake.HISTORY_IS_A_QUOTE and isinstance(answer, SourceQuote):
            demands = replace(demands, tradable_seconds=10**6)
        return judge(answer, self._world.clock.now_utc_ms(), demands)

    def _used(self, symbol: str, hop: Hop, hops: Sequence[Hop]) -> Routed:
        assert hop.quote is not None
        if self._mistake is Mistake.ANY_PRICE:
            finite = hop.quote.bid.is_finite() and hop.quote.ask.is_finite()
            bid, ask = (int(side * PRICE_SCALE) if finite else 0 for side in (hop.quote.bid, hop.quote.ask))
            now_ms = self._world.clock.now_utc_ms()
            return Routed(
                symbol, Quote(symbol, bid, ask, hop.source, now_ms, now_ms), tuple(hops), hop.source
            )
        return Routed(symbol, as_quote(symbol, hop.source, hop.quote), tuple(hops), hop.source)


__all__ = ["Miss", "Mistake", "OldRouter", "SequentialRouter"]
