"""Quorum: several sources must say about the same before a price is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from adapters.quotes.hop import Hop
from adapters.quotes.prices import price_text
from adapters.quotes.source import Outcome, SourceQuote
from engine.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Quorum:
    """So many sources, apart by no more than this share of the lowest price among them (0.005 is 0.5 %)."""

    sources: int
    band: Decimal

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; ConfigurationError."""
        if self.sources < 2 or not self.band.is_finite() or self.band < 0:
            raise ConfigurationError("a quorum is of 2 sources or more, within a share that is not below 0")

    def chosen(self, hops: Sequence[Hop]) -> Hop | None:
        """Return the first hop whose price enough sources agree with, itself among them; None without."""
        fresh = _fresh(hops)
        mids = sorted(middle for _, middle in fresh)
        groups = [
            mids[first : first + self.sources]
            for first in range(len(mids) - self.sources + 1)
            if mids[first + self.sources - 1] - mids[first] <= self.band * mids[first]
        ]
        return next(
            (hop for hop, mid in fresh if any(group[0] <= mid <= group[-1] for group in groups)), None
        )

    def disagreement(self, hops: Sequence[Hop]) -> str:
        """Say which fresh prices there are, and how far each is from the first."""
        fresh = _fresh(hops)
        needed = f"{self.sources} sources must agree within {price_text(self.band * 100)} %"
        if len(fresh) < self.sources:
            return f"{needed}, fresh here: {_told(fresh[:1]) or 'none'}"
        (_, first), *others = fresh
        rest = (f"{hop.source} {price_text(mid)} ({(mid / first - 1) * 100:+.2f} %)" for hop, mid in others)
        return f"{needed}: {_told(fresh[:1])}, {', '.join(rest)}"


def _told(fresh: Sequence[tuple[Hop, Decimal]]) -> str:
    return ", ".join(f"{hop.source} {price_text(mid)}" for hop, mid in fresh)


def _fresh(hops: Sequence[Hop]) -> list[tuple[Hop, Decimal]]:
    return [
        (hop, _middle(hop.quote)) for hop in hops if hop.outcome is Outcome.FRESH and hop.quote is not None
    ]


def _middle(quote: SourceQuote) -> Decimal:
    return (quote.bid + quote.ask) / 2
