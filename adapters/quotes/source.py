"""What one source of quotes answers: something typed for every symbol, never None and never silence.

A source is a blocking client of one vendor.  The router calls it in worker threads, a batch at a time, and
gives its answers their place: which was fresh, which was not used, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from engine.model import AssetClass, QuoteKind


class Outcome(StrEnum):
    """What a source had for a symbol."""

    FRESH = "fresh"
    STALE = "stale"  # older than the age allowed, or without a time of the source: its age is not known
    NO_DATA = "no_data"  # the source knows the symbol and has no price now; no failure of the source
    UNSUPPORTED = (
        "unsupported"  # the source does not serve the symbol; for good, and no failure of the source
    )
    FAILED = "failed"  # the source could not be heard, or what it said cannot be read
    SKIPPED = "skipped"  # it was not asked: its breaker is open, its budget used up, or no time was left


@dataclass(frozen=True, slots=True)
class SourceQuote:
    """A price as a source gave it: exact, unrounded.  ``source_time_ms`` None: the source gives no time."""

    price: Decimal
    bid: Decimal
    ask: Decimal
    currency: str
    kind: QuoteKind
    source_time_ms: int | None
    receive_time_ms: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a source has no price: NO_DATA, UNSUPPORTED or FAILED, and a sentence without secrets."""

    outcome: Outcome
    reason: str


Answer = SourceQuote | Miss


class SourceFailedError(Exception):
    """A whole call failed; no secret in ``reason``.  ``retry_after_seconds`` is the source's own wish."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """Keep what the router needs."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class Source(Protocol):
    """One vendor.  ``batch`` is how many symbols one call may ask for."""

    name: str
    batch: int

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Return an answer for each spelling (in the source's own notation), within ``timeout_seconds``.

        A spelling that is absent from the answer is NO_DATA.  Raises SourceFailedError where the call
        failed as a whole.  Makes one request, without retries of its own.
        """
