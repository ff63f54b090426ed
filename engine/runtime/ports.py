"""The ports: everything the agent needs from outside comes in through one of these.

Implementations live in ``adapters``; each has a contract suite in ``tests/contracts``.
All calls are synchronous.  A port that cannot answer raises ``UnavailableError``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from engine.model import Bar, Fill, Instrument, NoQuote, OrderReport, OrderRequest, Quote
from engine.model import SessionFacts as SessionFacts


class Clock(Protocol):
    """Time.  Simulated clocks jump in ``sleep_until``; the wall clock waits."""

    def now_utc_ms(self) -> int:
        """Return the time, milliseconds since 1970 UTC."""

    def monotonic_ns(self) -> int:
        """Return a clock that never steps, for measuring."""

    def sleep_until(self, at_ms: int) -> None:
        """Return when ``now_utc_ms() >= at_ms``; at once if that is past."""


class QuoteSource(Protocol):
    """Quotes, all symbols in one call."""

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol; a symbol that cannot be quoted gets a ``NoQuote``."""


class BarSource(Protocol):
    """Closed bars of a symbol and interval."""

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        """Return the bars with ``open_time_ms > after_ms`` that closed at or before ``until_ms``.

        Ascending by time, no duplicates.  A bar is absent where the source has none; a source that
        can prove there was no trade delivers a bar with ``traded=False``.  An empty sequence
        where the symbol or interval is not served.
        """

    def interval_of(self, symbol: str) -> int | None:
        """Return the finest interval served for a symbol, seconds; None if it is not served."""


class Calendar(Protocol):
    """Trading calendars by name; "24/7" is always regular."""

    def facts(self, calendar: str, at_ms: int) -> SessionFacts:
        """Return the session facts; NotFoundError for a calendar that does not exist."""

    def expected_bars(
        self, calendar: str, interval_seconds: int, start_ms: int, end_ms: int
    ) -> Sequence[int]:
        """Return the open times of the bars expected with start_ms <= open < end_ms.

        Regular sessions only; intraday bars are aligned to the session's open, daily bars (86,400
        seconds) carry the session's date at 00:00Z.
        """

    def bar_close_ms(self, calendar: str, interval_seconds: int, open_time_ms: int) -> int:
        """Return when the bar closes (an early close shortens it; a daily bar ends its session)."""


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """The venue's own view of the account: money and quantities are scaled integers."""

    cash: int
    positions: Mapping[str, int]  # quantity by symbol


@dataclass(frozen=True, slots=True)
class VenueClock:
    """The venue's own time, and whether its regular session for stocks is open."""

    now_ms: int
    is_open: bool
    next_open_ms: int
    next_close_ms: int


class Broker(Protocol):
    """Orders.  ``submit`` is called at most once per client id unless a look-up proves absence.

    ``submit`` raises ``OrderRejected`` when the venue refused (certain), ``AmbiguousOutcome`` when
    the order may or may not exist, and ``UnavailableError`` only where it was certainly not taken.
    """

    def submit(self, order: OrderRequest) -> OrderReport:
        """Send an order once; return the venue's first report."""

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up by client id; None when the venue does not know it."""

    def cancel(self, client_id: str) -> None:
        """Ask for cancellation; the final state comes by ``find`` or ``open_orders``."""

    def open_orders(self) -> Sequence[OrderReport]:
        """Return every order that is not final."""

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return fills after a cursor ("" for all) in the venue's order, and the new cursor."""

    def account(self) -> VenueAccount:
        """Return cash and positions."""

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the steps and minimums of a symbol; None when it is not served here."""

    def clock(self) -> VenueClock:
        """Return the venue's time; without a stock session of its own the venue is always open."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to an order; without a ``client_id`` it may have been to any of them.

    It says nothing of what happened: that is asked of the broker.
    """

    client_id: str = ""


ANYTHING: Final = Hint()
"""What a stream says that is heard for the first time, or again: all that it did not tell was missed."""


class OrderHints(Protocol):
    """What a venue tells unasked.  Neither call waits, or raises; both may be made from any thread.

    Whoever implements it also ends the sleep of the agent's loop when there is something to drain or a new
    trouble, so that neither waits for the next cycle.
    """

    def drain(self) -> Sequence[Hint]:
        """Return what was heard since the last call, oldest first, with ``ANYTHING`` for each connection."""

    def trouble(self) -> str:
        """Return why nothing is heard now; "" where all is well."""


class OrderRejected(Exception):
    """The venue refused an order; ``reason`` is its own word."""

    def __init__(self, reason: str) -> None:
        """Keep the venue's reason."""
        super().__init__(reason)
        self.reason = reason


class AmbiguousOutcome(Exception):
    """A write whose answer was lost: the order may or may not exist."""
