"""The simulated market: pure, the same everywhere, consistent with itself, and lively enough to trade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.quotes.simulated import HISTORY_BEGINS_MS, SLOT_MS, SimulatedMarket, simulated_instrument
from engine.codes import UnknownReason
from engine.model import Bar, NoQuote, Quote
from engine.units import PRICE_SCALE, on_grid
from tests.contracts.bar_source import BarSourceContract, ServedBars
from tests.contracts.quote_source import QuotedMarket, QuoteSourceContract

_CALENDAR = ExchangeCalendars()
_SYMBOLS = ("SPY", "GLD", "BTC-USD", "DOGE-USD", "ADA-USD", "SHIB-USD", "ZZZ", "ZZZ-USD")
_DAY_MS = 86_400_000


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


_NOW = _ms("2025-11-18T12:40:00-05:00")
_LATEST = _ms("2035-01-01T00:00:00Z")
_instants = st.integers(HISTORY_BEGINS_MS + 40 * _DAY_MS, _LATEST)


def _market(seed: int = 7, now_ms: int = _LATEST, symbols: Sequence[str] = _SYMBOLS) -> SimulatedMarket:
    instruments = [simulated_instrument(symbol, seed) for symbol in symbols]
    return SimulatedMarket(seed, instruments, _CALENDAR, SimulatedClock(now_ms))


_MARKET = _market()


def _quote(symbol: str, at_ms: int, market: SimulatedMarket = _MARKET) -> Quote:
    quote = market.quote(symbol, at_ms)
    assert isinstance(quote, Quote)
    return quote


class TestSimulatedQuotesKeepTheContract(QuoteSourceContract):
    """Simulated quotes keep the contract."""

    @pytest.fixture
    def market(self) -> QuotedMarket:
        """All symbols while New York is open."""
        clock = SimulatedClock(_NOW)
        instruments = [simulated_instrument(symbol, 7) for symbol in _SYMBOLS]
        source = SimulatedMarket(7, instruments, _CALENDAR, clock)
        return QuotedMarket(
            source, instruments, clock.now_utc_ms, lambda ms: clock.sleep_until(clock.now_utc_ms() + ms)
        )


class TestSimulatedBarsKeepTheContract(BarSourceContract):
    """Simulated bars keep the contract, over early closes and for every kind of interval."""

    @pytest.fixture(
        params=[
            ("BTC-USD", 60, 1),
            ("BTC-USD", 900, 3),
            ("DOGE-USD", 25_200, 9),
            ("SPY", 60, 4),
            ("SPY", 3_600, 9),
            ("SPY", 86_400, 40),
            ("BTC-USD", 86_400, 40),
        ]
    )
    def served(self, request: pytest.FixtureRequest) -> ServedBars:
        """Days around Thanksgiving 2025."""
        symbol, interval, days = request.param
        end = _ms("2025-11-29T00:00:00Z")
        name = "24/7" if "-" in symbol else "NYSE"
        return ServedBars(_MARKET, _CALENDAR, name, symbol, interval, end - days * _DAY_MS, end)


# --- pure -------------------------------------------------------------------------------------


def test_golden_values() -> None:
    """These numbers are the same on every machine, for ever: another number is another market."""
    at_ms = _ms("2025-11-18T17:40:00Z")
    market = _market(seed=42)
    quotes = {symbol: _quote(symbol, at_ms, market) for symbol in ("SPY", "BTC-USD", "DOGE-USD", "ZZZ")}
    assert {
        symbol: (quote.bid, quote.ask, quote.source_time_ms - at_ms) for symbol, quote in quotes.items()
    } == {
        "SPY": (74_199_000_000, 74_207_000_000, 0),
        "BTC-USD": (12_190_967_000_000, 12_195_844_000_000, 0),
        "DOGE-USD": (12_957_000, 12_963_000, 0),
        "ZZZ": (9_886_000_000, 9_887_000_000, 0),
    }
    quarters = market.closed("ADA-USD", 900, at_ms - 3_600_000, at_ms)
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in quarters] == [
        (0.4414, 0.44163, 0.44082, 0.44088, 3_749_183_488),
        (0.44086, 0.44088, 0.43833, 0.43856, 3_605_004_288),
        (0.43853, 0.43865, 0.43776, 0.43806, 4_203_216_896),
    ]
    (day,) = market.closed("SPY", 86_400, at_ms - 2 * _DAY_MS, at_ms)
    assert (day.open, day.high, day.low, day.close, day.volume) == (
        713.36,
        727.62,
        712.29,
        727.62,
        793_624_576,
    )


@given(
    symbol=st.sampled_from(_SYMBOLS),
    seed=st.integers(-(2**70), 2**70),
    instants=st.lists(_instants, max_size=4),
)
@settings(max_examples=15)
def test_quotes_do_not_depend_on_what_was_asked_before(symbol: str, seed: int, instants: list[int]) -> None:
    """A new market asked once, and an old one asked in any order, say the same."""
    market = _market(seed, symbols=[symbol])
    asked = [market.quote(symbol, at_ms) for at_ms in instants]
    assert [_market(seed, symbols=[symbol]).quote(symbol, at_ms) for at_ms in instants] == asked
    assert [market.quote(symbol, at_ms) for at_ms in reversed(instants)] == asked[::-1]


@given(
    symbol=st.sampled_from(_SYMBOLS),
    interval=st.sampled_from([60, 900, 3_600, 86_400]),
    start=_instants,
    parts=st.lists(st.integers(0, 40), min_size=1, max_size=3),
)
@settings(max_examples=15)
def test_bars_do_not_depend_on_how_they_are_asked_for(
    symbol: str, interval: int, start: int, parts: list[int]
) -> None:
    """One question over a stretch, or several over its parts, to an old market or a new one."""
    edges = [start]
    for bars in parts:
        edges.append(min(edges[-1] + bars * interval * 1000, _LATEST))
    whole = list(_MARKET.closed(symbol, interval, start, edges[-1]))
    fresh = _market()
    collected: list[Bar] = []
    for until in edges[1:]:
        after = collected[-1].open_time_ms if collected else start
        collected += fresh.closed(symbol, interval, after, until)
    assert collected == whole


def test_seeds_and_symbols_are_different_markets() -> None:
    """No two paths are alike."""
    paths = [
        tuple(bar.close for bar in _market(seed).closed(symbol, 900, _NOW - _DAY_MS, _NOW))
        for seed in (1, 2)
        for symbol in ("BTC-USD", "ADA-USD")
    ]
    assert len(set(paths)) == 4


def test_nothing_is_known_before_its_time() -> None:
    """Whatever is asked for, no bar has closed after the clock's time."""
    market = _market(now_ms=_NOW)
    bars = market.closed("BTC-USD", 900, _NOW - _DAY_MS, _NOW + _DAY_MS)
    assert len(bars) == 96 - 1
    assert bars[-1].open_time_ms + 900_000 <= _NOW


def test_before_the_beginning_there_is_nothing() -> None:
    """The market begins in 2015: before it, no quote and no bar."""
    answer = _MARKET.quote("BTC-USD", HISTORY_BEGINS_MS - 1)
    assert isinstance(answer, NoQuote)
    assert answer.reason is UnknownReason.MISSING
    assert list(_MARKET.closed("BTC-USD", 900, 0, HISTORY_BEGINS_MS)) == []
    assert _MARKET.closed("BTC-USD", 900, 0, HISTORY_BEGINS_MS + 900_000)[0].open_time_ms == HISTORY_BEGINS_MS


# --- consistent -------------------------------------------------------------------------------


@given(symbol=st.sampled_from(_SYMBOLS), at_ms=_instants)
def test_quotes_are_sane(symbol: str, at_ms: int) -> None:
    """Positive, bid just below ask, on the tick, no later than now, no older than a long weekend."""
    quote = _quote(symbol, at_ms)
    tick = simulated_instrument(symbol, 7).price_step_scaled
    assert 0 < quote.bid < quote.ask <= quote.bid * 1.001 + tick
    assert quote.bid % tick == quote.ask % tick == 0
    assert at_ms - (30 * 60_000 if "-" in symbol else 5 * _DAY_MS) < quote.source_time_ms <= at_ms


@pytest.mark.parametrize(
    ("symbol", "interval"), [("DOGE-USD", 60), ("DOGE-USD", 900), ("SPY", 900), ("SPY", 3_600)]
)
def test_bars_contain_their_quotes(symbol: str, interval: int) -> None:
    """Every quote stamped inside a bar lies in [low, high]; the last is the close; bad prints lie outside."""
    start = _ms("2025-11-24T00:00:00Z")
    bars = _MARKET.closed(symbol, interval, start, start + 5 * _DAY_MS)
    name = "24/7" if "-" in symbol else "NYSE"
    for bar in bars:
        close_ms = _CALENDAR.bar_close_ms(name, interval, bar.open_time_ms)
        bids = {}
        for at_ms in range(bar.open_time_ms + SLOT_MS, close_ms + 1, SLOT_MS):
            quote = _quote(symbol, at_ms)
            if quote.source_time_ms == at_ms and _is_near(quote.bid / PRICE_SCALE, bar.close):
                bids[at_ms] = quote.bid / PRICE_SCALE
        assert bar.traded == bool(bids)
        if bids:
            prices = list(bids.values())
            assert bar.low <= min(prices)
            assert max(prices) <= bar.high
            if close_ms in bids:
                assert prices[-1] == bar.close


def _is_near(price: float, other: float) -> bool:
    return 0.5 < price / other < 2


def test_coarse_bars_are_made_of_fine_ones() -> None:
    """Fifteen minutes, hours and days say the same as their minutes, also where nothing was traded."""
    start, end = _ms("2025-11-26T00:00:00Z"), _ms("2025-11-29T00:00:00Z")
    for symbol, name in (("DOGE-USD", "24/7"), ("SPY", "NYSE")):
        minutes = _MARKET.closed(symbol, 60, start - 1, end)
        for interval in (900, 3_600, 86_400):
            for bar in _MARKET.closed(symbol, interval, start - 1, end):
                close_ms = _CALENDAR.bar_close_ms(name, interval, bar.open_time_ms)
                parts = [each for each in minutes if bar.open_time_ms <= each.open_time_ms < close_ms]
                traded = [each for each in parts if each.traded]
                assert bar.traded == bool(traded)
                assert bar.close == parts[-1].close
                assert bar.volume == math.fsum(each.volume for each in parts)
                if traded:
                    assert bar.open == traded[0].open
                    assert bar.high == max(each.high for each in traded)
                    assert bar.low == min(each.low for each in traded)


def test_prices_are_on_the_grid_of_their_tick() -> None:
    """Bars hold the floats of decimals: SHIB's hundred-millionths and a stock's cents alike."""
    for symbol in _SYMBOLS:
        steps = simulated_instrument(symbol, 7).price_steps_per_unit
        for bar in _MARKET.closed(symbol, 900, _NOW - 3 * _DAY_MS, _NOW):
            assert all(on_grid(price, steps) for price in (bar.open, bar.high, bar.low, bar.close))


def test_stocks_are_quoted_in_sessions_only() -> None:
    """From an early close to Monday's first slot the last quote stands and grows old."""
    close = _ms("2025-11-28T13:00:00-05:00")
    monday = _ms("2025-12-01T09:30:00-05:00")
    last = _quote("SPY", close)
    assert close - 30 * 60_000 < last.source_time_ms <= close
    for at_ms in (close + 1, close + 3_600_000, monday - 1, monday, monday + SLOT_MS - 1):
        assert _quote("SPY", at_ms).source_time_ms == last.source_time_ms
    assert _quote("SPY", monday + 3_600_000).source_time_ms > monday


# --- lively -----------------------------------------------------------------------------------


def _rsi(bars: Sequence[Bar], length: int = 14) -> list[float]:
    """Wilder's relative strength index (New Concepts in Technical Trading Systems, 1978)."""
    gain = loss = 0.0
    values = []
    for number, (before, bar) in enumerate(pairwise(bars), start=1):
        change = bar.close - before.close
        share = 1 / min(number, length)
        gain += (max(change, 0.0) - gain) * share
        loss += (max(-change, 0.0) - loss) * share
        if number >= 5 * length and gain + loss > 0:
            values.append(100 * gain / (gain + loss))
    return values


@pytest.mark.parametrize(("interval", "days"), [(60, 2), (900, 10)])
def test_indicators_travel(interval: int, days: int) -> None:
    """RSI goes below 30 and above 80 within days, on minutes and quarters of an hour."""
    for symbol in ("BTC-USD", "DOGE-USD", "ADA-USD"):
        values = _rsi(_MARKET.closed(symbol, interval, _NOW - days * _DAY_MS, _NOW))
        assert min(values) < 30
        assert max(values) > 80


def test_prices_stay_near_their_base() -> None:
    """After years BTC still looks like BTC and DOGE like DOGE."""
    for symbol, base in (("SPY", 580.0), ("BTC-USD", 95_000.0), ("DOGE-USD", 0.16), ("ADA-USD", 0.45)):
        bars = _MARKET.closed(symbol, 86_400, _NOW - 1_000 * _DAY_MS, _NOW)
        assert all(base / 3.5 < bar.low <= bar.high < base * 3.5 for bar in bars)
        assert max(bar.high for bar in bars) > 1.2 * min(bar.low for bar in bars)


def test_there_are_quiet_spells() -> None:
    """Some minutes have no trade, most have; quotes grow older than a minute in between."""
    bars = _MARKET.closed("DOGE-USD", 60, _NOW - 10 * _DAY_MS, _NOW)
    quiet = [bar for bar in bars if not bar.traded]
    assert 0.001 < len(quiet) / len(bars) < 0.05
    ages = [
        bar.open_time_ms + 60_000 - _quote("DOGE-USD", bar.open_time_ms + 60_000).source_time_ms
        for bar in quiet
    ]
    assert all(age >= 60_000 for age in ages)
    assert max(ages) > 5 * 60_000


def test_there_are_jumps_and_bad_prints() -> None:
    """A bad print is a hundred times off, lasts for one quote, and no bar knows of it."""
    start = _NOW - 6 * _DAY_MS
    bids = [_quote("BTC-USD", at_ms).bid for at_ms in range(start, _NOW, SLOT_MS)]
    bad = [index for index in range(1, len(bids) - 1) if not _is_near(bids[index], bids[index - 1])]
    wrong = [index for index in bad if not _is_near(bids[index], bids[0])]
    assert 1 <= len(wrong) <= 20
    assert all(_is_near(bids[index + 1], bids[index - 1]) for index in wrong)
    assert {round(math.log10(bids[index] / bids[index - 1])) for index in wrong} <= {-2, 2}
    bars = _MARKET.closed("BTC-USD", 60, start, _NOW)
    assert all(_is_near(bar.high, bar.low) for bar in bars)
    moves = [abs(after.open / before.close - 1) for before, after in pairwise(bars)]
    assert max(moves) > 0.01
