"""A source of quotes of our own (a simulated market, bars in files) as one of the router's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.quotes.source import Answer, Miss, Outcome, SourceQuote
from adapters.symbols.directory import Spelled
from adapters.symbols.inferred import infer_asset_class
from engine.codes import UnknownReason
from engine.model import AssetClass, NoQuote, Quote
from engine.runtime.ports import Clock, QuoteSource
from engine.units import PRICE_SCALE, unscaled


class CanonicalSymbols:
    """A ``SymbolDirectory`` for sources of our own: symbols are spelled as they are, and classed by form."""

    def spelled(self, source: str, symbol: str) -> Spelled:
        """Return the symbol itself."""
        return Spelled(symbol)

    def asset_class(self, symbol: str) -> AssetClass:
        """Return the class that the symbol's form says."""
        return infer_asset_class(symbol)


class PortedSource:
    """``Source`` over a ``QuoteSource``; symbols are spelled canonically."""

    batch = 1000

    def __init__(self, name: str, quotes: QuoteSource, clock: Clock) -> None:
        """Ask ``quotes``, and call it so."""
        self.name = name
        self._quotes = quotes
        self._clock = clock

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for all of them."""
        deadline_ms = self._clock.now_utc_ms() + int(timeout_seconds * 1000)
        told = self._quotes.snapshot(spellings, deadline_ms)
        return {symbol: _answer(answer) for symbol, answer in told.items()}


def _answer(answer: Quote | NoQuote) -> Answer:
    if isinstance(answer, NoQuote):
        unknown = answer.reason in (UnknownReason.NO_INSTRUMENT, UnknownReason.NO_BARS)
        return Miss(Outcome.UNSUPPORTED if unknown else Outcome.NO_DATA, answer.detail)
    bid, ask = unscaled(answer.bid, PRICE_SCALE), unscaled(answer.ask, PRICE_SCALE)
    return SourceQuote(bid, bid, ask, "USD", answer.kind, answer.source_time_ms, answer.receive_time_ms)
