"""Quotes made from closed bars: what a backtest, a replay or a paper run over files trades on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from engine.codes import UnknownReason
from engine.errors import ConfigurationError
from engine.model import Bar, Instrument, NoQuote, Quote
from engine.runtime.ports import BarSource, Calendar, Clock
from engine.units import PRICE_SCALE, ceil_to, scaled

DEFAULT_SPREAD: Final = Decimal("0.0002")
"""The ask's distance from the bid as a ratio of it: 2 basis points."""

_DAY_SECONDS: Final = 86_400
_DAY_MS: Final = _DAY_SECONDS * 1000
_LONGEST_CLOSURE_DAYS: Final = 12

_LOOK_BACK_BARS: Final = (4, 64, 1024, 16_384)
"""How far to look for the last bar that traded, in intervals: nearly always the first is enough."""


class BarQuotes:
    """A ``QuoteSource`` that quotes the close of the last closed bar that traded.

    The bid is that close on the instrument's tick; the ask lies ``spread`` above it, rounded up to the
    tick.  The source's time is the bar's close, so a quote ages through a gap, through bars without a
    trade, and overnight.  What is too old is the policy's to say; ``max_age_seconds`` only bounds what
    is delivered at all.
    """

    def __init__(
        self,
        bars: BarSource,
        clock: Clock,
        calendar: Calendar,
        instruments: Mapping[str, Instrument],
        *,
        spread: Decimal = DEFAULT_SPREAD,
        interval_seconds: int | None = None,
        max_age_seconds: int | None = None,
    ) -> None:
        """Quote ``instruments`` out of ``bars``.

        Args:
            bars: Where closed bars come from.
            clock: The time a quote is asked at.
            calendar: Says when a bar closes.
            instruments: Tick and calendar by symbol; no other symbol is quoted.
            spread: Ask over bid, minus 1; not below 0.
            interval_seconds: Interval of the bars to quote from; None is each symbol's finest.
            max_age_seconds: Older closes are STALE; None delivers them with their age.

        Raises:
            ConfigurationError: The spread is negative or not finite.
        """
        if not (spread.is_finite() and spread >= 0):
            raise ConfigurationError(f"the spread must be 0 or more, not {spread}")
        self._bars = bars
        self._clock = clock
        self._calendar = calendar
        self._instruments = instruments
        self._spread = spread
        self._interval_seconds = interval_seconds
        self._max_age_seconds = max_age_seconds

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol; the deadline is met without looking (nothing here waits)."""
        now_ms = self._clock.now_utc_ms()
        return {symbol: self._quote(symbol, now_ms) for symbol in symbols}

    def _quote(self, symbol: str, now_ms: int) -> Quote | NoQuote:
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return NoQuote(symbol, UnknownReason.NO_INSTRUMENT, "its steps and calendar are not known")
        interval = self._interval_seconds or self._bars.interval_of(symbol)
        if interval is None:
            return NoQuote(symbol, UnknownReason.NO_BARS, "no bars of this symbol are available")
        bar = self._last_traded(symbol, interval, now_ms)
        if bar is None:
            return NoQuote(symbol, UnknownReason.MISSING, f"no {interval} s bar has closed and traded yet")
        source_time_ms = self._calendar.bar_close_ms(instrument.calendar, interval, bar.open_time_ms)
        age_seconds = (now_ms - source_time_ms) // 1000
        if self._max_age_seconds is not None and age_seconds > self._max_age_seconds:
            return NoQuote(
                symbol,
                UnknownReason.STALE,
                f"the last bar closed {age_seconds} s ago, {self._max_age_seconds} s are allowed",
            )
        close = Decimal(repr(bar.close))
        step = instrument.price_step
        bid = (close / step).to_integral_value() * step  # half to even, as facts are put on the grid
        if bid <= 0:
            return NoQuote(
                symbol, UnknownReason.MISSING, f"the close {close} is less than one tick of {step}"
            )
        ask = ceil_to(bid * (1 + self._spread), step)
        return Quote(
            symbol, scaled(bid, PRICE_SCALE), scaled(ask, PRICE_SCALE), "bars", source_time_ms, now_ms
        )

    def _last_traded(self, symbol: str, interval: int, now_ms: int) -> Bar | None:
        for count in _LOOK_BACK_BARS:
            closed = self._bars.closed(symbol, interval, now_ms - count * interval * 1000, now_ms)
            for bar in reversed(closed):
                if bar.traded:
                    return bar
        return None


class OpeningQuotes:
    """A ``QuoteSource`` of what a venue trades at: the open of the bar that begins next.

    A decision at a bar's close is filled at the following open, never at the close it was made from.  Where
    no bar begins within one interval the symbol has no quote, and its orders rest.  A daily bar begins with
    its session, perhaps days after the last one closed: its open stands from that close on.
    """

    def __init__(
        self,
        bars: BarSource,
        clock: Clock,
        calendar: Calendar,
        instruments: Mapping[str, Instrument],
        *,
        spread: Decimal = DEFAULT_SPREAD,
    ) -> None:
        """Quote ``instruments`` at the clock's time; see ``BarQuotes`` for the spread."""
        self._bars = bars
        self._clock = clock
        self._calendar = calendar
        self._instruments = instruments
        self._spread = spread

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""
        now_ms = self._clock.now_utc_ms()
        return {symbol: self._quote(symbol, now_ms) for symbol in symbols}

    def _quote(self, symbol: str, now_ms: int) -> Quote | NoQuote:
        instrument = self._instruments.get(symbol)
        interval = self._bars.interval_of(symbol)
        if instrument is None or interval is None:
            return NoQuote(symbol, UnknownReason.NO_BARS, "no bars of this symbol are available")
        if interval == _DAY_SECONDS:
            bar = self._session_ahead(symbol, instrument.calendar, now_ms)
        else:
            bar = self._begins_here(symbol, interval, now_ms)
        if bar is None:
            return NoQuote(symbol, UnknownReason.GAP, "no bar begins here")
        opened = bar.open if bar.open == bar.open else bar.close
        bid = (Decimal(repr(opened)) / instrument.price_step).to_integral_value() * instrument.price_step
        ask = ceil_to(bid * (1 + self._spread), instrument.price_step)
        return Quote(
            symbol, scaled(bid, PRICE_SCALE), scaled(ask, PRICE_SCALE), "bars", bar.open_time_ms, now_ms
        )

    def _begins_here(self, symbol: str, interval: int, now_ms: int) -> Bar | None:
        step_ms = interval * 1000
        following = self._bars.closed(symbol, interval, now_ms - 1, now_ms + 2 * step_ms)
        return following[0] if following and following[0].open_time_ms <= now_ms + step_ms else None

    def _session_ahead(self, symbol: str, calendar: str, now_ms: int) -> Bar | None:
        """Return the daily bar of the session under way, or of the next one."""
        # a daily bar carries its session's date, so it "opens" up to two days before it closes
        near = self._calendar.expected_bars(
            calendar, _DAY_SECONDS, now_ms - 2 * _DAY_MS, now_ms + _LONGEST_CLOSURE_DAYS * _DAY_MS
        )
        for open_ms in near:
            close_ms = self._calendar.bar_close_ms(calendar, _DAY_SECONDS, open_ms)
            if close_ms > now_ms:
                found = self._bars.closed(symbol, _DAY_SECONDS, open_ms - 1, close_ms)
                return found[0] if found and found[0].open_time_ms == open_ms else None
        return None
