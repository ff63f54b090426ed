"""Quotes out of bars: which bar, which price, which time."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.quotes.bars import BarQuotes
from adapters.symbols.inferred import infer_instrument
from engine.codes import UnknownReason
from engine.errors import ConfigurationError
from engine.model import AssetClass, Bar, Instrument, NoQuote, Quote
from engine.units import PRICE_SCALE
from tests.contracts.quote_source import QuotedMarket, QuoteSourceContract

_CALENDAR = ExchangeCalendars()
_START_MS = 1_709_510_400_000  # 2024-03-04T00:00:00Z, a Monday
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000


class _Bars:
    """Bars in a list: the smallest source there is."""

    def __init__(self, interval_seconds: int, calendar_name: str, bars: Sequence[Bar]) -> None:
        self.interval_seconds = interval_seconds
        self.calendar_name = calendar_name
        self.bars = bars

    def interval_of(self, symbol: str) -> int | None:
        return None if symbol == "NO-BARS" else self.interval_seconds

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        return [
            bar
            for bar in self.bars
            if bar.open_time_ms > after_ms
            and _CALENDAR.bar_close_ms(self.calendar_name, interval_seconds, bar.open_time_ms) <= until_ms
        ]


def _bar(at_ms: int, close: float, *, traded: bool = True) -> Bar:
    return Bar(at_ms, close, close, close, close, 1.0 if traded else 0.0, traded)


def _crypto(symbol: str = "BTC-USD") -> Instrument:
    return infer_instrument(symbol, AssetClass.CRYPTO, "24/7", [100.25])


def _quote(
    bars: Sequence[Bar], at_ms: int, spread: str = "0.0002", max_age: int | None = None
) -> Quote | NoQuote:
    source = BarQuotes(
        _Bars(60, "24/7", bars),
        SimulatedClock(at_ms),
        _CALENDAR,
        {"BTC-USD": _crypto()},
        spread=Decimal(spread),
        max_age_seconds=max_age,
    )
    return source.snapshot(["BTC-USD"], at_ms)["BTC-USD"]


class TestBarQuotesKeepTheContract(QuoteSourceContract):
    """Quotes out of bars keep the contract."""

    @pytest.fixture
    def market(self) -> QuotedMarket:
        """Two coins of an hour of minutes, half an hour in."""
        clock = SimulatedClock(_START_MS + 30 * _MINUTE_MS)
        instruments = [_crypto("BTC-USD"), _crypto("ETH-USD")]
        bars = [_bar(_START_MS + number * _MINUTE_MS, 100 + number / 8) for number in range(60)]
        source = BarQuotes(
            _Bars(60, "24/7", bars), clock, _CALENDAR, {each.symbol: each for each in instruments}
        )
        return QuotedMarket(
            source, instruments, clock.now_utc_ms, lambda ms: clock.sleep_until(clock.now_utc_ms() + ms)
        )


def test_the_bid_is_the_close_of_the_last_closed_bar() -> None:
    """Stamped with the bar's close; the bar under way is not looked at."""
    bars = [
        _bar(_START_MS, 100.25),
        _bar(_START_MS + _MINUTE_MS, 100.5),
        _bar(_START_MS + 2 * _MINUTE_MS, 999),
    ]
    quote = _quote(bars, _START_MS + 2 * _MINUTE_MS + 30_000)
    assert isinstance(quote, Quote)
    assert quote.bid == int(100.5 * PRICE_SCALE)
    assert quote.source_time_ms == _START_MS + 2 * _MINUTE_MS
    assert quote.receive_time_ms == _START_MS + 2 * _MINUTE_MS + 30_000


@pytest.mark.parametrize(
    ("spread", "ask"), [("0", "100.25"), ("0.0000001", "100.26"), ("0.0002", "100.28"), ("0.01", "101.26")]
)
def test_the_ask_is_rounded_up_to_the_tick(spread: str, ask: str) -> None:
    """100.25 and two basis points are 100.27005: on a tick of a cent, 100.28."""
    quote = _quote([_bar(_START_MS, 100.25)], _START_MS + _MINUTE_MS, spread)
    assert isinstance(quote, Quote)
    assert quote.ask == int(Decimal(ask) * PRICE_SCALE)


def test_a_bar_without_a_trade_does_not_renew_a_quote() -> None:
    """The price is as old as the last trade, however many quiet bars follow."""
    quiet = [_bar(_START_MS + number * _MINUTE_MS, 100.25, traded=False) for number in range(1, 100)]
    quote = _quote([_bar(_START_MS, 100.25), *quiet], _START_MS + 100 * _MINUTE_MS)
    assert isinstance(quote, Quote)
    assert quote.source_time_ms == _START_MS + _MINUTE_MS


def test_a_quote_ages_through_a_gap() -> None:
    """After the last bar the quote stands and grows old; a bound on the age makes it stale."""
    late = _START_MS + 7 * 3_600_000
    quote = _quote([_bar(_START_MS, 100.25)], late)
    assert isinstance(quote, Quote)
    assert quote.source_time_ms == _START_MS + _MINUTE_MS
    stale = _quote([_bar(_START_MS, 100.25)], late, max_age=3_600)
    assert isinstance(stale, NoQuote)
    assert stale.reason is UnknownReason.STALE
    assert "25140 s ago" in stale.detail
    on_time = _quote([_bar(_START_MS, 100.25)], _START_MS + _MINUTE_MS + 3_600_000, max_age=3_600)
    assert isinstance(on_time, Quote)


def test_every_way_to_have_no_quote_has_its_reason() -> None:
    """No instrument, no bars, no bar yet, a close below a tick."""
    none = _quote([_bar(_START_MS, 100.25)], _START_MS + _MINUTE_MS - 1)
    assert isinstance(none, NoQuote)
    assert none.reason is UnknownReason.MISSING
    dust = _quote([_bar(_START_MS, 0.001)], _START_MS + _MINUTE_MS)
    assert isinstance(dust, NoQuote)
    assert "less than one tick" in dust.detail
    source = BarQuotes(
        _Bars(60, "24/7", []), SimulatedClock(_START_MS), _CALENDAR, {"NO-BARS": _crypto("NO-BARS")}
    )
    answers = source.snapshot(["NO-BARS", "OTHER"], _START_MS)
    assert isinstance(answers["NO-BARS"], NoQuote)
    assert answers["NO-BARS"].reason is UnknownReason.NO_BARS
    assert isinstance(answers["OTHER"], NoQuote)
    assert answers["OTHER"].reason is UnknownReason.NO_INSTRUMENT


def test_a_daily_close_is_quoted_from_the_session_end_over_the_weekend() -> None:
    """Friday's close is Saturday's quote, stamped 16:00 New York."""
    friday = _START_MS + 4 * _DAY_MS
    bars = _Bars(86_400, "NYSE", [_bar(friday, 512.85)])
    spy = infer_instrument("SPY", AssetClass.STOCK, "NYSE", [512.85])
    clock = SimulatedClock(friday + 2 * _DAY_MS)
    quote = BarQuotes(bars, clock, _CALENDAR, {"SPY": spy}).snapshot(["SPY"], 0)["SPY"]
    assert isinstance(quote, Quote)
    assert quote.source_time_ms == friday + 21 * 3_600_000
    assert quote.bid == 51_285 * PRICE_SCALE // 100


@pytest.mark.parametrize("spread", ["-0.0001", "NaN", "Infinity"])
def test_a_spread_that_is_none_is_refused(spread: str) -> None:
    """A spread is 0 or more."""
    with pytest.raises(ConfigurationError, match="spread"):
        BarQuotes(_Bars(60, "24/7", []), SimulatedClock(0), _CALENDAR, {}, spread=Decimal(spread))


@given(ticks=st.integers(1, 10**9), spread=st.decimals("0", "0.5", places=6))
def test_the_spread_is_kept_within_a_tick(ticks: int, spread: Decimal) -> None:
    """Bid <= bid x (1 + spread) <= ask < that + one tick, exactly."""
    quote = _quote([_bar(_START_MS, ticks / 100)], _START_MS + _MINUTE_MS, str(spread))
    assert isinstance(quote, Quote)
    tick = PRICE_SCALE // 100
    assert quote.bid == ticks * tick
    assert quote.bid * (1 + spread) <= quote.ask < quote.bid * (1 + spread) + tick
