"""Filling the store: what is missing, from whom, within which limits; gaps are told and never filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bars.fetching import (
    SETTLE_SECONDS,
    Filled,
    Gap,
    HistoryFetcher,
    Retry,
    Wanted,
    closed_bars,
    gaps_between,
)
from adapters.bars.files import open_bar_files
from adapters.bars.source import Adjustment, FetchFailedError
from adapters.bars.store import HistoryStore
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.symbols.directory import NotServed, Spelled
from engine.model import AssetClass, Bar
from tests.adapters.bars.vendor import Directory, MemoryVendor, bars_of
from tests.adapters.bars.writing import ms
from tests.shared_data import shared_data

pytest.importorskip("pyarrow", reason="needs the extra: parquet")

_CALENDAR = ExchangeCalendars()
_START = ms("2025-03-03T00:00:00Z")
_HOUR_MS = 3_600_000
_BITCOIN = Wanted("BTC-USD", AssetClass.CRYPTO, "24/7", 900)
_SPY = Wanted("SPY", AssetClass.STOCK, "NYSE", 900)


class Scene:
    """A store, vendors and a clock that jumps."""

    def __init__(self, folder: Path, *vendors: MemoryVendor, now_ms: int = _START + 100 * _HOUR_MS) -> None:
        """Begin with an empty store."""
        self.clock = SimulatedClock(now_ms)
        self.store = HistoryStore(folder)
        self.directory = Directory()
        self.waits: list[float] = []
        self.fetcher = HistoryFetcher(
            self.store,
            vendors,
            self.directory,
            _CALENDAR,
            self.clock,
            wait_seconds=lambda source: self.waits.pop(0) if self.waits else 0.0,
            retry=Retry(jitter=lambda: 0.0),
        )

    def fill(self, wanted: Wanted = _BITCOIN, hours: int = 10, **options: object) -> Filled:
        """Fill some hours."""
        return self.fetcher.fill(wanted, _START, _START + hours * _HOUR_MS, **options)  # type: ignore[arg-type]  # options of fill

    def times(self, wanted: Wanted = _BITCOIN) -> list[int]:
        """Return the open times of what is stored."""
        return list(self.store.read(wanted.symbol, wanted.interval_seconds).open_time_ms)


def _expected(wanted: Wanted = _BITCOIN, hours: int = 10) -> list[int]:
    found = _CALENDAR.expected_bars(
        wanted.calendar, wanted.interval_seconds, _START, _START + hours * _HOUR_MS
    )
    return list(found)


def _vendor(
    name: str = "alpaca", times: Sequence[int] | None = None, wanted: Wanted = _BITCOIN
) -> MemoryVendor:
    return MemoryVendor(name, {wanted.symbol: bars_of(_expected(wanted) if times is None else times)})


# --- what is missing --------------------------------------------------------------------------


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_gaps_are_the_runs_of_what_is_not_there(expected: set[int], there: set[int]) -> None:
    """Together they hold exactly the missing bars, each run as long as it can be."""
    opens = [900_000 * number for number in sorted(expected)]
    gaps = gaps_between(opens, [900_000 * number for number in sorted(there)], 900)
    missing = [900_000 * number for number in sorted(expected - there)]
    held = [at for gap in gaps for at in opens if gap.start_ms <= at < gap.end_ms]
    assert held == missing
    assert sum(gap.bars for gap in gaps) == len(missing)
    for one, other in pairwise(gaps):
        assert any(one.end_ms <= at < other.start_ms for at in opens)


def test_all_pages_are_fetched_and_nothing_twice(tmp_path: Path) -> None:
    """Forty bars by seven: six requests; the second time there is nothing to ask."""
    vendor = _vendor()
    vendor.page_bars = 7
    scene = Scene(tmp_path, vendor)
    seen: list[tuple[int, int]] = []
    filled = scene.fill(progress=lambda done, total: seen.append((done, total)))
    assert scene.times() == _expected()
    assert filled.bars == {"alpaca": 40}
    assert (filled.requests, filled.gaps, filled.expected) == (6, [], 40)
    assert seen == [(7, 40), (14, 40), (21, 40), (28, 40), (35, 40), (40, 40)]
    assert scene.fill().requests == 0
    assert len(vendor.asked) == 6


def test_a_fetch_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    """Pages that came are stored; the next fetch asks from there, with the overlap of three bars."""
    vendor = _vendor()
    vendor.page_bars = 7
    vendor.failures = [None, None, FetchFailedError("gone", passing=False)]
    scene = Scene(tmp_path, vendor)
    filled = scene.fill()
    assert filled.failures == {"alpaca": "gone"}
    assert filled.missing == 26
    assert scene.times() == _expected()[:14]
    assert scene.fill().gaps == []
    assert vendor.asked[3].start_ms == _expected()[14 - 3]


def test_what_nobody_has_is_a_gap_and_stays_one(tmp_path: Path) -> None:
    """Fault 29: absent bars are not made up; they are told, and not asked for again unless that is wished."""
    times = [at for number, at in enumerate(_expected()) if number not in (5, 6, 7, 20)]
    one, two = _vendor("alpaca", times), _vendor("yahoo", times)
    scene = Scene(tmp_path, one, two)
    filled = scene.fill()
    assert filled.gaps == [
        Gap(_expected()[5], _expected()[8], 3),
        Gap(_expected()[20], _expected()[21], 1),
    ]
    assert scene.times() == times
    assert scene.fill().requests == 0
    assert scene.fill().unused["yahoo"] == "has answered before, and does not have what is missing"
    assert scene.fill(again=True).requests == 2


def test_the_next_source_fills_what_the_first_lacks(tmp_path: Path) -> None:
    """Every source is reached; each is asked only for what is missing then."""
    times = _expected()
    one, two, three = _vendor("a", times[:10]), _vendor("b", times[5:30]), _vendor("c", times[30:])
    scene = Scene(tmp_path, one, two, three)
    filled = scene.fill()
    assert scene.times() == times
    assert filled.bars == {"a": 10, "b": 20, "c": 10}
    assert two.asked[0].start_ms == times[10 - 3]


def test_each_class_has_its_own_order(tmp_path: Path) -> None:
    """Who is trusted for coins need not be asked for shares: order and ranking are those of the class."""
    vendors = [_vendor("a"), _vendor("b"), _vendor("c")]
    fetcher = HistoryFetcher(
        HistoryStore(tmp_path),
        vendors,
        Directory(),
        _CALENDAR,
        SimulatedClock(_START + 100 * _HOUR_MS),
        order={AssetClass.CRYPTO: ("c", "a"), AssetClass.STOCK: ("b",)},
    )
    filled = fetcher.fill(_BITCOIN, _START, _START + 10 * _HOUR_MS)
    assert filled.bars == {"c": 40}
    assert [len(vendor.asked) for vendor in vendors] == [0, 0, 1]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failing_source_keeps_no_other_from_its_turn(tmp_path: Path, failing: int) -> None:
    """Whichever fails, the other one is asked, and the failure is told with its source."""
    vendors = [_vendor("a"), _vendor("b")]
    vendors[failing].failures = [FetchFailedError("HTTP 500")] * 4
    scene = Scene(tmp_path, *vendors)
    filled = scene.fill()
    assert filled.gaps == []
    assert filled.failures == ({"a": "HTTP 500"} if failing == 0 else {})


def test_why_a_source_was_not_asked_is_told(tmp_path: Path) -> None:
    """Not served, another currency, no such interval, too far back, unknown there: a reason for each."""
    names = ("a", "b", "c", "d", "e")
    vendors = [_vendor(name) for name in names]
    vendors[2].native = 0
    vendors[3].reach = 86_400
    vendors[4].bars = {}
    scene = Scene(tmp_path, *vendors)
    scene.directory.told = {
        ("a", "BTC-USD"): NotServed("not listed"),
        ("b", "BTC-USD"): Spelled("BTC/USDT", "USDT"),
    }
    filled = scene.fill()
    assert filled.unused == {
        "a": "not listed",
        "b": "prices it in USDT, not USD",
        "c": "has no bars of 15m",
        "d": "has such bars of the last 1 days only",
        "e": "e does not know BTC-USD",
    }
    assert filled.failures == {}
    assert filled.missing == 40


# --- what may be delivered --------------------------------------------------------------------


def test_a_bar_that_has_not_closed_is_dropped(tmp_path: Path) -> None:
    """No look into the future: at 02:07 the bar of 02:00 is not stored, though the source sends it."""
    vendor = _vendor()
    scene = Scene(tmp_path, vendor, now_ms=_START + 2 * _HOUR_MS + 7 * 60_000)
    filled = scene.fill()
    assert scene.times() == _expected()[:8]
    assert filled.expected == 8


def test_bars_outside_sessions_are_dropped(tmp_path: Path) -> None:
    """Extended hours are no part of any indicator: only what the calendar expects is stored."""
    every = list(range(_START, _START + 48 * _HOUR_MS, 900_000))
    scene = Scene(tmp_path, _vendor(times=every, wanted=_SPY))
    scene.fill(_SPY, hours=48)
    assert scene.times(_SPY) == _expected(_SPY, 48)
    assert len(scene.times(_SPY)) == 52


def test_a_late_bar_is_asked_for_until_it_cannot_come(tmp_path: Path) -> None:
    """The newest absent bar may yet come: it is asked for again, until it is long overdue."""
    vendor = _vendor(times=_expected()[:8])
    scene = Scene(tmp_path, vendor, now_ms=_START + 9 * 900_000)
    for _ in range(2):
        assert scene.fill().missing == 1
    assert len(vendor.asked) == 2
    scene.clock.sleep_until(_START + 9 * 900_000 + SETTLE_SECONDS * 1000)
    vendor.bars = {"BTC-USD": bars_of([at for at in _expected() if at != _expected()[8]])}
    scene.fill()
    asked = len(vendor.asked)
    assert scene.fill().missing == 1
    assert len(vendor.asked) == asked


def test_finer_bars_make_coarser_ones(tmp_path: Path) -> None:
    """Where a vendor's own hours stand on another grid, hours are made of its 30 minutes, whole ones only."""
    wanted = replace(_SPY, interval_seconds=3600)
    halves = [
        at for number, at in enumerate(_expected(replace(_SPY, interval_seconds=1800), 48)) if number != 4
    ]
    vendor = MemoryVendor("alpaca", {"SPY": bars_of(halves)}, page_bars=5, native=1800)
    scene = Scene(tmp_path, vendor)
    filled = scene.fill(wanted, hours=48)
    assert scene.times(wanted) == [at for number, at in enumerate(_expected(wanted, 48)) if number != 2]
    assert filled.missing == 1
    assert scene.fill(wanted, hours=48).requests == 0


# --- fault 40: splits -------------------------------------------------------------------------


def test_a_split_between_two_fetches_is_told(tmp_path: Path) -> None:
    """Fault 40: the source halves all it has by a split after the first fetch; the overlap shows it."""
    times = _expected()
    vendor = _vendor(times=times[:20])
    vendor.adjustment = Adjustment.SPLIT
    scene = Scene(tmp_path, vendor)
    scene.fill(hours=5)
    vendor.bars = {"BTC-USD": bars_of(times, lambda number: 50.0)}
    filled = scene.fill()
    assert "prices 0.5 times those stored" in filled.refused["alpaca"]
    assert scene.times() == times[:20]
    assert filled.missing == 20


def test_a_daily_series_of_apple_is_not_mixed_with_later_prices(tmp_path: Path) -> None:
    """Fault 40 on real prices: unadjusted days of 2011 and 2012, then adjusted ones from another source."""
    raw = open_bar_files(str(shared_data("stock_1d", "aapl_1d_unadjusted_2011_2012.csv.gz")), _CALENDAR)
    adjusted = open_bar_files(str(shared_data("stock_1d", "aapl_1d_2004_2018.csv.gz")), _CALENDAR)
    wanted = Wanted("AAPL", AssetClass.STOCK, "NYSE", 86_400)
    before = list(raw.closed("AAPL", 86_400, 0, ms("2012-06-01T00:00:00Z")))
    after = list(adjusted.closed("AAPL", 86_400, 0, ms("2013-01-01T00:00:00Z")))
    one, two = MemoryVendor("a", {"AAPL": before}), MemoryVendor("b", {"AAPL": after})
    scene = Scene(tmp_path, one, two)
    filled = scene.fetcher.fill(wanted, ms("2011-01-01T00:00:00Z"), ms("2012-12-01T00:00:00Z"))
    assert "AAPL: b now gives prices 0." in filled.refused["b"]
    assert scene.times(wanted) == [bar.open_time_ms for bar in before]


# --- faults 33 and 34: calendars ---------------------------------------------------------------


def test_the_week_of_the_clock_change(tmp_path: Path) -> None:
    """Fault 33: on 2025-03-10 New York opens an hour earlier in UTC; every bar is expected where it is."""
    days = [(ms("2025-03-07T14:30:00Z"), 26), (ms("2025-03-10T13:30:00Z"), 26)]
    times = [start + number * 900_000 for start, bars in days for number in range(bars)]
    scene = Scene(tmp_path, _vendor(times=times, wanted=_SPY), now_ms=ms("2025-03-11T00:00:00Z"))
    filled = scene.fetcher.fill(_SPY, ms("2025-03-07T00:00:00Z"), ms("2025-03-11T00:00:00Z"))
    assert filled.gaps == []
    assert scene.times(_SPY) == times


def test_a_half_day_is_no_gap(tmp_path: Path) -> None:
    """Fault 34: on 2024-11-29 New York closed at 13:00; on the 28th it did not open: nothing is missing."""
    times = [ms("2024-11-29T14:30:00Z") + number * 900_000 for number in range(14)]
    scene = Scene(tmp_path, _vendor(times=times, wanted=_SPY))
    filled = scene.fetcher.fill(_SPY, ms("2024-11-28T00:00:00Z"), ms("2024-11-30T00:00:00Z"))
    assert (filled.expected, filled.missing) == (14, 0)


def test_the_real_outage_of_an_exchange_is_told(tmp_path: Path) -> None:
    """Faults 28 and 29 on real minutes: Coinbase of 2018-04-04 lacks seven hours, found to the minute."""
    path = shared_data("crypto_1m", "btc-usd_coinbase_1m_20180404_20180406.csv.gz")
    bars = list(open_bar_files(str(path), _CALENDAR).closed("BTC-USD", 60, 0, 2**60))
    wanted = replace(_BITCOIN, interval_seconds=60)
    scene = Scene(tmp_path, MemoryVendor("ccxt:coinbase", {"BTC-USD": bars}))
    filled = scene.fetcher.fill(wanted, ms("2018-04-04T00:00:00Z"), ms("2018-04-07T00:00:00Z"))
    assert filled.missing == 3 * 1440 - len(bars)
    longest = max(filled.gaps, key=lambda gap: gap.bars)
    assert longest.bars > 420
    assert not any(longest.start_ms <= bar.open_time_ms < longest.end_ms for bar in bars)


def test_candles_that_stopped_days_ago_are_not_taken_for_new(tmp_path: Path) -> None:
    """Fault 30: a source that stood still three days ago leaves a gap up to now; a second one fills it."""
    every = _expected(hours=96)
    scene = Scene(tmp_path, _vendor("alpaca", every[:96]), now_ms=_START + 96 * _HOUR_MS)
    filled = scene.fill(hours=96)
    assert filled.gaps == [Gap(every[96], every[-1] + 900_000, 288)]
    other = Scene(tmp_path / "other", _vendor("alpaca", every[:96]), _vendor("yahoo", every))
    assert other.fill(hours=96).bars == {"alpaca": 96, "yahoo": 288}


def test_a_weekend_is_not_stale(tmp_path: Path) -> None:
    """Fault 30, the false alarm: on Monday before the open nothing is missing since Friday's close."""
    friday = [ms("2025-03-07T14:30:00Z") + number * 900_000 for number in range(26)]
    scene = Scene(tmp_path, _vendor(times=friday, wanted=_SPY), now_ms=ms("2025-03-10T13:29:59Z"))
    filled = scene.fetcher.fill(_SPY, ms("2025-03-07T00:00:00Z"), ms("2025-03-12T00:00:00Z"))
    assert (filled.expected, filled.missing) == (26, 0)


# --- limits -----------------------------------------------------------------------------------


def test_a_page_is_asked_for_again_with_longer_pauses(tmp_path: Path) -> None:
    """Three failures and then the page: half a second, one, two; the vendor's own wish is kept."""
    vendor = _vendor()
    vendor.failures = [
        FetchFailedError("HTTP 500"),
        FetchFailedError("HTTP 429", 5.0),
        FetchFailedError("reset"),
    ]
    scene = Scene(tmp_path, vendor)
    began = scene.clock.now_utc_ms()
    filled = scene.fill()
    assert filled.gaps == []
    assert filled.requests == 4
    assert scene.clock.now_utc_ms() - began == 500 + 5000 + 2000


def test_what_will_not_pass_is_not_asked_again(tmp_path: Path) -> None:
    """A key that is refused stays refused."""
    vendor = _vendor()
    vendor.failures = [FetchFailedError("no such key", passing=False)]
    scene = Scene(tmp_path, vendor)
    assert scene.fill().requests == 1


def test_a_dead_source_costs_a_bounded_time(tmp_path: Path) -> None:
    """It is tried four times for two symbols, then left alone for a minute, then tried again."""
    dead = _vendor("dead")
    dead.failures = [FetchFailedError("no answer")] * 8
    scene = Scene(tmp_path, dead)
    symbols = [replace(_BITCOIN, symbol=symbol) for symbol in ("AAVE-USD", "BTC-USD", "ETH-USD")]
    for wanted in symbols[:2]:
        assert scene.fill(wanted).failures == {"dead": "no answer"}
    asked = len(dead.asked)
    assert scene.fill(symbols[2]).failures == {"dead": "not asked: no answer"}
    assert len(dead.asked) == asked == 8
    scene.clock.sleep_until(scene.clock.now_utc_ms() + 61_000)
    assert scene.fill().gaps == []


def test_a_deadline_ends_a_fill(tmp_path: Path) -> None:
    """With slow pages it ends at the deadline; what came is stored, and the rest is called incomplete."""
    vendor = _vendor()
    vendor.page_bars = 5
    scene = Scene(tmp_path, vendor)
    vendor.before = lambda: scene.clock.sleep_until(scene.clock.now_utc_ms() + 4000)
    filled = scene.fill(until_ns=scene.clock.monotonic_ns() + 10_000_000_000)
    assert not filled.complete
    assert len(vendor.asked) == 3
    assert scene.times() == _expected()[:15]


def test_the_number_of_requests_is_bounded(tmp_path: Path) -> None:
    """A cycle's share of requests, no more; the next call goes on."""
    vendor = _vendor()
    vendor.page_bars = 5
    scene = Scene(tmp_path, vendor)
    assert not scene.fill(most_requests=3).complete
    assert scene.times() == _expected()[:15]
    assert scene.fill(most_requests=30).complete
    assert scene.times() == _expected()


def test_a_budget_is_waited_for(tmp_path: Path) -> None:
    """A budget that is used up makes the fetch wait, or end where the deadline comes first."""
    vendor = _vendor()
    scene = Scene(tmp_path, vendor)
    scene.waits = [7.5, 2.5]
    began = scene.clock.now_utc_ms()
    assert scene.fill().gaps == []
    assert scene.clock.now_utc_ms() - began == 10_000
    other = Scene(tmp_path / "other", _vendor())
    other.waits = [60.0]
    assert not other.fill(until_ns=other.clock.monotonic_ns() + 1_000_000_000).complete


def test_an_interrupted_clock_ends_a_wait(tmp_path: Path) -> None:
    """Ctrl-C during a wait for a budget ends the fetch instead of spinning."""
    scene = Scene(tmp_path, _vendor())
    scene.waits = [60.0] * 100
    scene.clock.interrupt()
    assert not scene.fill().complete
    assert len(scene.waits) == 99


def test_answers_that_get_no_further_end(tmp_path: Path) -> None:
    """A vendor that says again and again that there is more, without a bar, is a failure, not a loop."""
    vendor = _vendor(times=[])
    scene = Scene(tmp_path, vendor)
    vendor.stuck = True
    assert scene.fill().failures == {"alpaca": "its answers get no further"}


def test_only_closed_bars_are_expected() -> None:
    """Up to now, by the calendar's close of each bar: a half day's last bar closes early."""
    wanted = replace(_SPY, interval_seconds=3600)
    start, end = ms("2024-11-29T00:00:00Z"), ms("2024-11-30T00:00:00Z")
    at_close = ms("2024-11-29T18:00:00Z")
    assert closed_bars(_CALENDAR, wanted, start, end, at_close)[-1] == ms("2024-11-29T17:30:00Z")
    assert closed_bars(_CALENDAR, wanted, start, end, at_close - 1)[-1] == ms("2024-11-29T16:30:00Z")


def test_bars_on_no_grid_are_not_stored(tmp_path: Path) -> None:
    """A last row with the time of the last trade, as Yahoo sends it, is none of ours."""
    odd = Bar(_START + 5 * 900_000 + 37_000, 1, 1, 1, 1, 1)
    vendor = MemoryVendor("yahoo", {"BTC-USD": [*bars_of(_expected()[:5]), odd]})
    scene = Scene(tmp_path, vendor)
    scene.fill()
    assert scene.times() == _expected()[:5]
