"""The paper venue: a broker of its own, with its own file and its own commits.

An order is booked in one commit and filled in a later one, as at a real venue: a crash can fall
between our intent, the venue's acceptance and our receipt.  What is taken and what fills is decided by
``engine.verbs.fill``; this module asks for quotes and time and stores the outcome.  The same calls
at the same simulated times give the same fills, also after a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from adapters.brokers.venue_file import BookedOrder, CommitProbe, CommitUnknown, NoProbe, VenueFile
from engine.codes import IntentState
from engine.errors import ConfigurationError, DataError, NotFoundError, UnavailableError
from engine.model import (
    Fill,
    Instrument,
    OrderReport,
    OrderRequest,
    OrderSide,
    Quote,
    QuoteKind,
    TimeInForce,
)
from engine.runtime.ports import (
    AmbiguousOutcome,
    Calendar,
    Clock,
    OrderRejected,
    QuoteSource,
    VenueAccount,
    VenueClock,
)
from engine.units import MONEY_SCALE, unscaled
from engine.verbs.fill import FillModel, Refusal, refusal_of_form, refusal_of_size

Quotes = Mapping[str, Quote]


class PaperBroker:
    """A simulated venue behind the broker port.

    Resting orders are matched whenever the venue is called, at its clock and its market's quotes.  An order
    rests while its symbol has no quote or, where a calendar is given, outside the regular session.
    Day orders end with the session where a calendar is given, else they stand until cancelled.
    Every method raises UnavailableError where the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        market: QuoteSource,
        clock: Clock,
        fill_model: FillModel,
        starting_cash: int,
        instruments: Mapping[str, Instrument],
        *,
        calendar: Calendar | None = None,
        probe: CommitProbe | None = None,
        busy_seconds: float = 5.0,
        quote_timeout_ms: int = 2000,
    ) -> None:
        """Open the venue's file, or create it with ``starting_cash`` (money; else the file governs).

        Raises UnavailableError where it cannot be opened, ConfigurationError where it is a file of
        another kind or format.
        """
        if starting_cash < 0:
            raise ConfigurationError(f"starting cash must not be below 0, not {_money(starting_cash)}")
        self._market = market
        self._clock = clock
        self._model = fill_model
        self._instruments = instruments
        self._calendar = calendar
        self._quote_timeout_ms = quote_timeout_ms
        self._file = VenueFile(
            path,
            created_ms=clock.now_utc_ms(),
            starting_cash=starting_cash,
            probe=probe or NoProbe(),
            busy_seconds=busy_seconds,
        )

    def __enter__(self) -> PaperBroker:
        """Return itself; the file is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file.  No order is lost by not closing it."""
        self._file.close()

    # The broker port.

    def submit(self, order: OrderRequest) -> OrderReport:
        """Book an order durably, match it, and return the first report.

        Raises OrderRejected where the venue refuses it, AmbiguousOutcome where it cannot be known whether it
        was booked, UnavailableError where it was certainly not.
        """
        now_ms = self._clock.now_utc_ms()
        quotes = self._quotes({order.symbol, *self._open_symbols()}, now_ms)
        self._match(quotes, now_ms)
        try:
            booked = self._book(order, quotes.get(order.symbol), now_ms)
        except CommitUnknown as error:
            raise AmbiguousOutcome(str(error)) from error
        try:
            self._match(quotes, now_ms)
            booked = self._file.find(order.client_id) or booked
        except UnavailableError:
            # It is booked, and that is certain; what it fills is found by the next call.
            pass
        return booked.report()

    def find(self, client_id: str) -> OrderReport | None:
        """Look an order up by client id; None when the venue does not know it."""
        self.advance()
        booked = self._file.find(client_id)
        return None if booked is None else booked.report()

    def cancel(self, client_id: str) -> None:
        """Cancel an order at once; a final order stays as it is.  NotFoundError for an unknown one.

        An order that executes at this moment is filled first: fill and cancellation may cross.
        """
        self.advance()
        with self._file.transaction("cancel"):
            booked = self._file.find(client_id)
            if booked is None:
                raise NotFoundError(f"the paper venue has no order {client_id!r}")
            if not booked.state.final:
                self._end(booked, IntentState.CANCELLED, self._clock.now_utc_ms(), "cancelled on request")

    def open_orders(self) -> Sequence[OrderReport]:
        """Return every order that is not final, in the order they were booked."""
        self.advance()
        return [booked.report() for booked in self._file.open_orders()]

    def fills_since(self, cursor: str) -> tuple[Sequence[Fill], str]:
        """Return fills after a cursor ("" for all) in the venue's order, and the new cursor.

        Raises DataError for a cursor of another file, so that no fill is passed over in silence.
        """
        self.advance()
        after = self._position(cursor)
        numbered = self._file.fills_after(after)
        last = numbered[-1][0] if numbered else after
        return [fill for _, fill in numbered], f"{self._file.created_ms}.{last}"

    def account(self) -> VenueAccount:
        """Return cash and positions."""
        self.advance()
        ledger = self._file.ledger()
        return VenueAccount(
            cash=ledger.cash,
            positions={symbol: holding.quantity for symbol, holding in sorted(ledger.holdings.items())},
        )

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the steps and minimums of a symbol; None when it is not served here."""
        return self._instruments.get(symbol)

    def clock(self) -> VenueClock:
        """Return the clock's time: orders are taken at any hour, and rest outside their session."""
        now_ms = self._clock.now_utc_ms()
        return VenueClock(now_ms, is_open=True, next_open_ms=now_ms, next_close_ms=now_ms)

    # Beyond the port.

    def advance(self) -> None:
        """Match open orders now.  Every call of the port does this first."""
        symbols = self._open_symbols()
        if symbols:
            now_ms = self._clock.now_utc_ms()
            self._match(self._quotes(symbols, now_ms), now_ms)

    def deposit(self, amount: int) -> None:
        """Move money into the account.  ConfigurationError unless ``amount`` is above 0."""
        if amount <= 0:
            raise ConfigurationError(f"a deposit must be above 0, not {_money(amount)}")
        with self._file.transaction("deposit"):
            self._file.post_funding(amount, self._clock.now_utc_ms())

    def withdraw(self, amount: int) -> None:
        """Move money out.  ConfigurationError where cash less open buys' reservations does not cover it."""
        if amount <= 0:
            raise ConfigurationError(f"a withdrawal must be above 0, not {_money(amount)}")
        self.advance()
        with self._file.transaction("withdraw"):
            free = self._file.ledger().cash - self._reserved(self._file.open_orders())
            if amount > free:
                raise ConfigurationError(f"cannot withdraw {_money(amount)}: {_money(free)} is free")
            self._file.post_funding(-amount, self._clock.now_utc_ms())

    # Booking.

    def _book(self, order: OrderRequest, quote: Quote | None, now_ms: int) -> BookedOrder:
        with self._file.transaction("book"):
            # Before every other check: whatever else is wrong with a repeated order, it is here already.
            if self._file.find(order.client_id) is not None:
                raise OrderRejected(Refusal.DUPLICATE)
            instrument = self._instruments.get(order.symbol)
            refusal = refusal_of_form(order, instrument)
            if refusal is not None or instrument is None:
                raise OrderRejected(refusal or Refusal.UNKNOWN_SYMBOL)
            ledger = self._file.ledger()
            open_orders = self._file.open_orders()
            selling = sum(
                booked.remaining
                for booked in open_orders
                if booked.order.symbol == order.symbol and booked.order.side is OrderSide.SELL
            )
            refusal = refusal_of_size(
                order,
                instrument,
                quote,
                self._model,
                sellable=ledger.holding(order.symbol).quantity - selling,
                spendable=ledger.cash - self._reserved(open_orders),
            )
            if refusal is not None:
                raise OrderRejected(refusal)
            reserve_price = self._model.reserve_price(order, quote, instrument)
            return self._file.book(order, now_ms, self._ends_ms(order, instrument, now_ms), reserve_price)

    def _ends_ms(self, order: OrderRequest, instrument: Instrument, now_ms: int) -> int | None:
        if order.time_in_force is not TimeInForce.DAY or self._calendar is None:
            return None
        return now_ms + 1000 * self._calendar.facts(instrument.calendar, now_ms).until_close_seconds

    def _reserved(self, open_orders: Iterable[BookedOrder]) -> int:
        return sum(
            self._model.reservation(booked.order, booked.filled_quantity, booked.reserve_price)
            for booked in open_orders
        )

    # Matching.

    def _match(self, quotes: Quotes, now_ms: int) -> None:
        # Nothing is written, and no lock taken, while nothing can happen.
        if any(self._is_due(booked, quotes, now_ms) for booked in self._file.open_orders()):
            with self._file.transaction("match"):
                for booked in self._file.open_orders():
                    self._match_one(booked, quotes, now_ms)

    def _is_due(self, booked: BookedOrder, quotes: Quotes, now_ms: int) -> bool:
        return (
            booked.order.time_in_force is TimeInForce.IOC
            or self._is_over(booked, now_ms)
            or self._executing_quote(booked, quotes, now_ms) is not None
        )

    def _match_one(self, booked: BookedOrder, quotes: Quotes, now_ms: int) -> None:
        if self._is_over(booked, now_ms):
            self._end(booked, IntentState.EXPIRED, now_ms, "the session ended")
            return
        quote = self._executing_quote(booked, quotes, now_ms)
        if quote is not None:
            booked = self._execute(booked, quote, now_ms)
        if booked.order.time_in_force is TimeInForce.IOC and not booked.state.final:
            self._end(booked, IntentState.CANCELLED, now_ms, "immediate or cancel")

    def _execute(self, booked: BookedOrder, quote: Quote, now_ms: int) -> BookedOrder:
        others = (other for other in self._file.open_orders() if other.sequence != booked.sequence)
        fill = self._model.execute(
            booked.order,
            booked.filled_quantity,
            booked.fill_count,
            quote,
            self._instruments[booked.order.symbol],
            now_ms,
            reserve_price=booked.reserve_price,
            spendable=self._file.ledger().cash - self._reserved(others),
        )
        if fill is None:
            return booked
        if isinstance(fill, Refusal):
            return self._end(booked, IntentState.CANCELLED, now_ms, f"{fill} at execution")
        filled = booked.filled_quantity + fill.quantity
        whole = filled == booked.order.quantity
        booked = replace(
            booked,
            state=IntentState.FILLED if whole else IntentState.PARTLY_FILLED,
            filled_quantity=filled,
            fill_count=booked.fill_count + 1,
            last_fill_quote_ms=quote.source_time_ms,
            updated_ms=now_ms,
        )
        self._file.post_fill(fill)
        self._file.update(booked)
        return booked

    def _executing_quote(self, booked: BookedOrder, quotes: Quotes, now_ms: int) -> Quote | None:
        order = booked.order
        quote, instrument = quotes.get(order.symbol), self._instruments.get(order.symbol)
        if quote is None or instrument is None:
            return None
        if booked.last_fill_quote_ms is not None and quote.source_time_ms <= booked.last_fill_quote_ms:
            return None
        if self._model.price(order.side, order.limit_price, quote, instrument) is None:
            return None
        if self._calendar is not None:
            session = self._calendar.facts(instrument.calendar, now_ms).session
            return quote if session == "regular" else None
        return quote

    @staticmethod
    def _is_over(booked: BookedOrder, now_ms: int) -> bool:
        return booked.ends_ms is not None and now_ms >= booked.ends_ms

    def _end(self, booked: BookedOrder, state: IntentState, now_ms: int, reason: str) -> BookedOrder:
        ended = replace(booked, state=state, updated_ms=now_ms, reason=reason)
        self._file.update(ended)
        return ended

    # The market and the cursor.

    def _open_symbols(self) -> set[str]:
        return {booked.order.symbol for booked in self._file.open_orders()}

    def _quotes(self, symbols: Iterable[str], now_ms: int) -> Quotes:
        served = sorted(symbol for symbol in symbols if symbol in self._instruments)
        try:
            answers = self._market.snapshot(served, now_ms + self._quote_timeout_ms)
        except UnavailableError:
            # A market that cannot be seen is a market without quotes: orders rest, look-ups go on.
            return {}
        return {
            symbol: quote
            for symbol, quote in answers.items()
            # A stored close is no market: nothing is sold into it.
            if isinstance(quote, Quote) and quote.kind is not QuoteKind.HISTORY
        }

    def _position(self, cursor: str) -> int:
        if not cursor:
            return 0
        parts = re.fullmatch(r"(-?\d+)\.(\d+)", cursor)
        if parts is not None and int(parts[1]) == self._file.created_ms:
            sequence = int(parts[2])
            if sequence <= self._file.last_posting():
                return sequence
        raise DataError(
            f"the fill cursor {cursor!r} is not of this paper venue's file: was the file replaced or"
            " restored? start again from all fills"
        )


def _money(amount: int) -> str:
    return f"{unscaled(amount, MONEY_SCALE):f}"
