"""Whether an answer of a source may be used, and if not, why: the one place that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from adapters.quotes.hop import Hop
from adapters.quotes.prices import LARGEST_PRICE, SMALLEST_PRICE, price_text
from adapters.quotes.source import Answer, Miss, Outcome, SourceQuote
from engine.codes import UnknownReason
from engine.model import QuoteKind

CLOCK_TOLERANCE_MS: Final = 2000
"""How far a source's clock may be ahead of ours."""
_DETAIL_LENGTH: Final = 160


@dataclass(frozen=True, slots=True)
class Demands:
    """What is demanded of a quote: ages by purpose, and the currencies that count as the account's."""

    tradable_seconds: int
    valuing_seconds: int  # of stored history, which never prices an order
    currencies: frozenset[str]


def judge(answer: Answer | None, now_ms: int, demands: Demands) -> tuple[Outcome, str]:
    """Return what an answer is, and why it is not fresh ("" where it is).

    Prices must be finite, above 0, in order and within the engine's range; the time must be the source's
    own: without one nothing is known of the age, and nothing of unknown age is traded on.
    """
    match answer:
        case None:
            return Outcome.NO_DATA, "nothing about it in the answer"
        case Miss():
            spoken = answer.outcome not in (Outcome.FRESH, Outcome.SKIPPED)
            return (answer.outcome if spoken else Outcome.FAILED), answer.reason
        case SourceQuote():
            return _wrong_price(answer) or _wrong_currency(answer, demands) or _age(answer, now_ms, demands)


def values_positions(hop: Hop, now_ms: int, demands: Demands) -> bool:
    """Say whether a hop brought a stored close that may value a position where nothing else is known."""
    quote = hop.quote
    return (
        quote is not None
        and quote.kind is QuoteKind.HISTORY
        and quote.source_time_ms is not None
        and _wrong_price(quote) is None
        and quote.currency in demands.currencies
        and -CLOCK_TOLERANCE_MS <= now_ms - quote.source_time_ms <= demands.valuing_seconds * 1000
    )


def _wrong_price(quote: SourceQuote) -> tuple[Outcome, str] | None:
    prices = {"price": quote.price, "bid": quote.bid, "ask": quote.ask}
    for name, value in prices.items():
        if not value.is_finite():
            return Outcome.FAILED, f"its {name} is no finite number"
        if value < 0:
            return Outcome.FAILED, f"its {name} is below 0"
    for name, value in prices.items():
        if value == 0:
            return Outcome.NO_DATA, f"its {name} is 0: it has none"
        if value < SMALLEST_PRICE or value > LARGEST_PRICE:
            return Outcome.NO_DATA, f"its {name} is outside {SMALLEST_PRICE:f} to {LARGEST_PRICE:f}"
    if quote.bid > quote.ask:
        return Outcome.NO_DATA, f"its bid {_shown(quote.bid)} is above its ask {_shown(quote.ask)}"
    return None


def _wrong_currency(quote: SourceQuote, demands: Demands) -> tuple[Outcome, str] | None:
    if quote.currency in demands.currencies:
        return None
    return Outcome.UNSUPPORTED, other_currency(quote.currency)


def other_currency(currency: str) -> str:
    """Say why a price in another currency is not used."""
    return f"its price is in {currency}, which the settings do not take for USD"


def _age(quote: SourceQuote, now_ms: int, demands: Demands) -> tuple[Outcome, str]:
    if quote.source_time_ms is None:
        return Outcome.STALE, "the source gives no time, so its age is not known"
    if quote.source_time_ms <= 0:
        return Outcome.NO_DATA, "its time is 0: it has none"
    age_ms = now_ms - quote.source_time_ms
    if age_ms < -CLOCK_TOLERANCE_MS:
        return Outcome.STALE, f"stamped {-age_ms / 1000:.0f} s in the future, so its age is not known"
    if quote.kind is QuoteKind.HISTORY:
        return Outcome.STALE, f"a stored close, {max(0, age_ms) // 1000} s old: it prices no order"
    if age_ms > demands.tradable_seconds * 1000:
        return Outcome.STALE, f"{age_ms // 1000} s old, {demands.tradable_seconds} s are allowed"
    return Outcome.FRESH, ""


def _shown(price: Decimal) -> str:
    return price_text(price)


# --- what a miss says -------------------------------------------------------------------------


def reason_of_miss(hops: Sequence[Hop]) -> UnknownReason:
    """Return the code of a symbol that no source had fresh.

    An old price says more than none; a symbol that no source serves is not known.
    """
    outcomes = {hop.outcome for hop in hops}
    if Outcome.STALE in outcomes:
        return UnknownReason.STALE
    if outcomes == {Outcome.UNSUPPORTED}:
        return UnknownReason.NO_INSTRUMENT
    return UnknownReason.MISSING


def detail_of_miss(hops: Sequence[Hop]) -> str:
    """Return every hop's reason, in the order of the sources."""
    told = (f"{hop.source}: {hop.outcome.replace('_', ' ')}, {_short(hop.reason)}" for hop in hops)
    return "; ".join(told)


def _short(reason: str) -> str:
    text = " ".join(reason.split())
    return text if len(text) <= _DETAIL_LENGTH else text[: _DETAIL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
