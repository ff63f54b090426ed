"""What became of a symbol on its way from source to source."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.quotes.source import Outcome, SourceQuote
from engine.model import NoQuote, Quote


@dataclass(frozen=True, slots=True)
class Hop:
    """One source's part.  ``quote`` is what it gave, used or not; ``reason`` why it was not used."""

    source: str
    spelling: str | None  # None where the source does not serve the symbol
    outcome: Outcome
    reason: str = ""
    quote: SourceQuote | None = None
    elapsed_ms: int = 0
    request: int = 0  # the router's number of the call, shared by all symbols of a batch; 0: none was made


@dataclass(frozen=True, slots=True)
class Routed:
    """The one answer for a symbol, and every hop on the way to it, in the order of the sources."""

    symbol: str
    answer: Quote | NoQuote
    hops: tuple[Hop, ...]
    used: str | None = None  # the source whose quote the answer is
