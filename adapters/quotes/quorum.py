"""Quorum: several sources must say about the same before a price is believed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from adapters.quotes.hop import Hop
from adapters.quotes.prices import price_text
from adapters.quotes.source import Outcome, SourceQuote
from adapters.settings.model import Quorum


def chosen(quorum: Quorum, hops: Sequence[Hop]) -> Hop | None:
    """Return the first hop whose price enough sources agree with, itself among them; None without."""
    fresh = _fresh(hops)
    mids = sorted(middle for _, middle in fresh)
    groups = [
        group
        for first in range(len(mids) - quorum.sources + 1)
        if _near(quorum, group := mids[first : first + quorum.sources])
    ]
    return next((hop for hop, mid in fresh if any(group[0] <= mid <= group[-1] for group in groups)), None)


def disagreement(quorum: Quorum, hops: Sequence[Hop]) -> str:
    """Say which fresh prices there are, and how far each is from the first."""
    fresh = _fresh(hops)
    needed = f"{quorum.sources} sources must agree within {price_text(quorum.within * 100)} %"
    if len(fresh) < quorum.sources:
        there = ", ".join(f"{hop.source} {price_text(mid)}" for hop, mid in fresh)
        return f"{needed}, fresh: {there or 'none'}"
    (first_hop, first), *others = fresh
    rest = (f"{hop.source} {price_text(mid)} ({(mid / first - 1) * 100:+.2f} %)" for hop, mid in others)
    return f"{needed}: {first_hop.source} {price_text(first)}, {', '.join(rest)}"


def _near(quorum: Quorum, ordered: Sequence[Decimal]) -> bool:
    return ordered[-1] - ordered[0] <= quorum.within * ordered[0]


def _fresh(hops: Sequence[Hop]) -> list[tuple[Hop, Decimal]]:
    return [
        (hop, _middle(hop.quote)) for hop in hops if hop.outcome is Outcome.FRESH and hop.quote is not None
    ]


def _middle(quote: SourceQuote) -> Decimal:
    return (quote.bid + quote.ask) / 2
