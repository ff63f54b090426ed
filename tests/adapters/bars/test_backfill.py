"""Bars for a running agent: never late by waiting, never from the future, never over an undecided hole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.bars.backfill import BackfilledBars, Pace
from adapters.bars.fetching import SETTLE_SECONDS, HistoryFetcher, Retry, Wanted
from adapters.bars.source import FetchFailedError
from adapters.bars.store import HistoryStore
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from engine.codes import UnknownReason
from engine.errors import DataError
from engine.language.load import load_policy
from engine.model import AssetClass, Bar
from engine.runtime.desk import BarDesk
from tests.adapters.bars.vendor import Directory, MemoryVendor, bars_of
from tests.adapters.bars.writing import ms
from tests.contracts.bar_source import BarSourceContract, ServedBars
from tests.engine.verbs.deciding import lowered_of, policy_of

pytest.importorskip("pyarrow", reason="needs the extra: parquet")

_CALENDAR = ExchangeCalendars()
_START = ms("2025-03-03T00:00:00Z")
_STEP_MS = 900_000
_BITCOIN = Wanted("BTC-USD", AssetClass.CRYPTO, "24/7", 900)
_SPY = Wanted("SPY", AssetClass.STOCK, "NYSE", 900)
_PATIENT = 30.0
"""Seconds that a thread of a test may take at most; it takes a fraction of one."""


class Scene:
    """A backfill, its vendors, and a clock that jumps."""

    def __init__(
        self, folder: Path, *vendors: MemoryVendor, now_ms: int, wanted: Wanted = _BITCOIN, back: int = 43_200
    ) -> None:
        """Begin with an empty store."""
        self.clock = SimulatedClock(now_ms)
        self.wanted = wanted
        self.store = HistoryStore(folder)
        fetcher = HistoryFetcher(
            self.store,
            vendors,
            Directory(),
            _CALENDAR,
            self.clock,
            retry=Retry(attempts=1),
        )
        self.bars = BackfilledBars(
            fetcher,
            _CALENDAR,
            self.clock,
            {wanted: back},
            Pace(turn_seconds=1e9, rest_seconds=0, trouble_rest_seconds=0),
        )

    def settle(self) -> None:
        """Wait until the thread has nothing to do."""
        assert self.bars.warm_up(_PATIENT)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.sleep_until(self.clock.now_utc_ms() + round(seconds * 1000))

    def closed(self, after_ms: int = _START - 1) -> list[int]:
        """Return the open times that are delivered now."""
        found = self.bars.closed(
            self.wanted.symbol, self.wanted.interval_seconds, after_ms, self.clock.now_utc_ms()
        )
        return [bar.open_time_ms for bar in found]


MakeScene = Callable[..., Scene]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[MakeScene]:
    """Return what makes a scene; its thread ends with the test."""
    made: list[Scene] = []

    def make(*vendors: MemoryVendor, now_ms: int = _START + 12 * 3_600_000, **options: object) -> Scene:
        made.append(Scene(tmp_path / str(len(made)), *vendors, now_ms=now_ms, **options))  # type: ignore[arg-type]  # options of Scene
        return made[-1]

    yield make
    for one in made:
        one.bars.close()


def _times(count: int, first: int = 0) -> list[int]:
    return [_START + number * _STEP_MS for number in range(first, count)]


def _vendor(times: Sequence[int], name: str = "alpaca") -> MemoryVendor:
    return MemoryVendor(name, {"BTC-USD": bars_of(times)})


class TestBackfilledBarsKeepTheContract(BarSourceContract):
    """What was fetched is served as every other source serves it."""

    @pytest.fixture(params=["24/7", "NYSE"])
    def served(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServedBars]:
        """Ten days of quarters; some crypto bars without a trade."""
        name: str = request.param
        wanted = _BITCOIN if name == "24/7" else _SPY
        start, end = ms("2024-02-26T00:00:00Z"), ms("2024-03-09T00:00:00Z")
        bars: list[Bar] = []
        for number, at_ms in enumerate(_CALENDAR.expected_bars(name, 900, start, end)):
            if bars and number % 31 == 7:
                last = bars[-1].close
                bars.append(Bar(at_ms, last, last, last, last, 0, traded=False))
            else:
                bars.append(Bar(at_ms, 10, 11, 9, 10 + number % 3 / 4, number))
        clock = SimulatedClock(end)
        vendor = MemoryVendor("alpaca", {wanted.symbol: bars}, page_bars=97)
        fetcher = HistoryFetcher(HistoryStore(tmp_path), [vendor], Directory(), _CALENDAR, clock)
        source = BackfilledBars(fetcher, _CALENDAR, clock, {wanted: 14 * 86_400})
        assert source.warm_up(_PATIENT)
        yield ServedBars(source, _CALENDAR, name, wanted.symbol, 900, start - 1, end)
        source.close()


# --- it does not wait -------------------------------------------------------------------------


def test_a_cycle_does_not_wait_for_a_vendor(scene: MakeScene) -> None:
    """While the vendor hangs the answer is empty and at once; what came is there later."""
    hangs = threading.Event()
    vendor = _vendor(_times(48))
    vendor.before = lambda: _wait(hangs)
    one = scene(vendor)
    assert one.closed() == []
    assert one.closed() == []  # the vendor has not answered yet, and nobody waited for it
    hangs.set()
    one.settle()
    assert one.closed() == _times(48)


def _wait(event: threading.Event) -> None:
    assert event.wait(_PATIENT)


def test_a_hanging_vendor_does_not_keep_it_from_ending(scene: MakeScene) -> None:
    """Closing leaves the page under way to itself: the thread is a daemon."""
    hangs = threading.Event()
    vendor = _vendor(_times(48))
    vendor.before = lambda: _wait(hangs)
    one = scene(vendor)
    one.closed()
    one.bars.close(0.01)
    assert one.closed() == []
    hangs.set()


def test_a_turn_is_bounded_and_all_get_theirs(tmp_path: Path) -> None:
    """A long history of one symbol does not keep another one waiting: requests of a turn are counted."""
    clock = SimulatedClock(_START + 48 * _STEP_MS)
    symbols = [replace(_BITCOIN, symbol=symbol) for symbol in ("AAVE-USD", "BTC-USD")]
    vendor = MemoryVendor("alpaca", {one.symbol: bars_of(_times(48)) for one in symbols}, page_bars=4)
    fetcher = HistoryFetcher(HistoryStore(tmp_path), [vendor], Directory(), _CALENDAR, clock)
    pace = Pace(turn_seconds=1e9, turn_requests=3, rest_seconds=0)
    bars = BackfilledBars(fetcher, _CALENDAR, clock, dict.fromkeys(symbols, 48 * 900), pace)
    assert bars.warm_up(_PATIENT)
    bars.close()
    asked = [request.spelling[:3] for request in vendor.asked]
    assert asked[:12] == ["AAV"] * 3 + ["BTC"] * 3 + ["AAV"] * 3 + ["BTC"] * 3
    for one in symbols:
        assert len(bars.closed(one.symbol, 900, _START - 1, clock.now_utc_ms())) == 48


# --- no look into the future ------------------------------------------------------------------


def test_nothing_is_newer_than_the_clock(scene: MakeScene) -> None:
    """Whatever the vendor sends and whatever is asked for: only what has closed by now."""
    one = scene(_vendor(_times(96)))
    one.settle()
    ahead = one.bars.closed("BTC-USD", 900, _START - 1, _START + 10**12)
    assert [bar.open_time_ms for bar in ahead] == _times(48)
    assert one.store.read("BTC-USD", 900).open_time_ms[-1] == _times(48)[-1]


def test_a_new_bar_comes_when_it_has_closed(scene: MakeScene) -> None:
    """It is fetched behind the cycle that misses it, and seen by the next one."""
    one = scene(_vendor(_times(96)))
    one.settle()
    one.pass_time(900)
    assert one.closed(_times(48)[-1]) == []
    one.settle()
    assert one.closed(_times(48)[-1]) == [_times(49)[-1]]


def test_a_bar_that_is_published_late_is_waited_for(scene: MakeScene) -> None:
    """Fault 28: a source that is behind is asked again and again; the bar is taken when it comes."""
    vendor = _vendor(_times(47))
    one = scene(vendor)
    for _ in range(3):
        one.settle()
        assert one.closed() == _times(47)
    vendor.bars = {"BTC-USD": bars_of(_times(48))}
    one.settle()
    assert one.closed() == _times(48)


# --- holes ------------------------------------------------------------------------------------


def test_a_hole_that_nobody_can_fill_is_told_and_stepped_over(scene: MakeScene) -> None:
    """Fault 29: every source has answered: bars behind it are served, the hole is reported, not filled."""
    times = [at for at in _times(48) if at not in _times(13, 10)]
    one = scene(_vendor(times, "alpaca"), _vendor(times, "yahoo"))
    one.settle()
    assert one.closed() == times
    (gap,) = one.bars.gaps()["BTC-USD", 900]
    assert (gap.start_ms, gap.bars) == (_times(11, 10)[0], 3)


def test_bars_behind_an_undecided_hole_are_held_back(scene: MakeScene) -> None:
    """While the second source cannot be heard nobody knows: an indicator must not step over the hole yet."""
    times = [at for at in _times(48) if at != _times(11, 10)[0]]
    second = _vendor(_times(48), "yahoo")
    second.failures = [FetchFailedError("no answer")]
    one = scene(_vendor(times, "alpaca"), second)
    one.settle()
    assert one.closed() == _times(10)
    assert one.bars.troubles() == {("BTC-USD", 900): "yahoo: no answer"}
    one.settle()
    assert one.closed() == _times(48)
    assert one.bars.troubles() == {}


def test_patience_ends(scene: MakeScene) -> None:
    """A source that stays away does not stop the agent for good: after ten minutes the hole is a gap."""
    times = [at for at in _times(60) if at != _times(11, 10)[0]]
    away = _vendor([], "yahoo")
    away.failures = [FetchFailedError("no answer")] * 1000
    one = scene(_vendor(times, "alpaca"), away)
    one.settle()
    assert one.closed() == _times(10)
    one.pass_time(599)
    assert one.closed() == _times(10)
    one.pass_time(1)
    assert one.closed() == [at for at in times if at < _times(48)[-1] + _STEP_MS]
    assert [gap.bars for gap in one.bars.gaps()["BTC-USD", 900]] == [1]


def test_a_thin_symbol_waits_only_until_a_later_bar_comes(scene: MakeScene) -> None:
    """A bar behind the hole proves that the source has got past it; without one it is waited for."""
    vendor = _vendor([*_times(46), _times(48)[-1]])
    one = scene(vendor)
    one.settle()
    assert one.closed() == [*_times(46), _times(48)[-1]]
    vendor.bars = {"BTC-USD": bars_of(_times(46))}
    other = scene(vendor)
    other.settle()
    asked = len(vendor.asked)
    other.settle()
    assert len(vendor.asked) == asked + 1
    other.pass_time(SETTLE_SECONDS - 900)
    other.settle()
    assert other.closed() == _times(46)


def _desk(bars: BackfilledBars) -> BarDesk:
    """Return a desk that reads an average of ten closes."""
    text = "universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%}}}\n"
    text += "indicators: {fast: sma(10)}\n"
    text += "rules: {hold: {priority: 1, then: hold, when: 'fast > 0 USD'}}\n"
    source = policy_of(text).source.text.replace("bars: 1m", "bars: 15m")
    policy = load_policy(source, "desk.yaml").required()
    desk = BarDesk(bars, _CALENDAR, lambda symbol: "24/7", 900)
    desk.watch("BTC-USD", lowered_of(policy, "BTC-USD"), {("24/7", 900): _START})
    return desk


def test_an_indicator_is_not_bent_by_a_hole_that_is_filled_late(scene: MakeScene) -> None:
    """Fault 29: read while a hole is undecided, and again when it is filled, the desk saw no gap at all."""
    times = [at for at in _times(48) if at != _times(11, 10)[0]]
    second = _vendor(_times(48), "yahoo")
    second.failures = [FetchFailedError("no answer")]
    one, undisturbed = scene(_vendor(times, "alpaca"), second), scene(_vendor(_times(48)))
    readings = []
    for each in (one, undisturbed):
        desk = _desk(each.bars)
        for _ in range(3):
            each.settle()
            desk.update("BTC-USD", each.clock.now_utc_ms())
        assert desk.anchors() == {}
        readings.append(desk.readings("BTC-USD"))
    assert readings[0] == readings[1]
    assert readings[0]["fast"][1] is UnknownReason.KNOWN


# --- failures ---------------------------------------------------------------------------------


def test_what_keeps_the_thread_from_working_is_heard(scene: MakeScene) -> None:
    """A damaged store is raised where the agent asks, by name, once a turn; mended, it goes on."""
    one = scene(_vendor(_times(48)))
    one.settle()
    (path,) = one.store.folder.rglob("*.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    one.pass_time(900)
    one.settle()
    with pytest.raises(DataError, match=str(path)):
        one.closed()
    path.write_bytes(whole)
    one.settle()
    assert one.closed() == _times(48)


def test_a_source_in_trouble_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """A series that failed rests before its next turn; others are not kept waiting by it."""
    clock = SimulatedClock(_START + 48 * _STEP_MS)
    vendor = _vendor(_times(48))
    vendor.failures = [FetchFailedError("no answer", passing=False)]
    fetcher = HistoryFetcher(HistoryStore(tmp_path), [vendor], Directory(), _CALENDAR, clock)
    bars = BackfilledBars(fetcher, _CALENDAR, clock, {_BITCOIN: 43_200}, Pace(rest_seconds=0))
    for passed, asked in ((0, 1), (29, 1), (1, 2)):
        clock.sleep_until(clock.now_utc_ms() + passed * 1000)
        assert bars.warm_up(_PATIENT)
        assert len(vendor.asked) == asked
    bars.close()


def test_a_restart_asks_only_for_what_is_new(scene: MakeScene, tmp_path: Path) -> None:
    """The store is the memory: an agent that starts again has warm indicators at once."""
    vendor = _vendor(_times(96))
    one = scene(vendor)
    one.settle()
    one.bars.close()
    asked = len(vendor.asked)
    again = Scene(one.store.folder, vendor, now_ms=one.clock.now_utc_ms() + 900_000, back=43_200)
    again.settle()
    assert again.closed() == _times(49, 1)
    assert [request.start_ms for request in vendor.asked[asked:]] == [_times(46)[-1]]
    again.bars.close()


def test_what_is_not_wanted_is_not_served(scene: MakeScene) -> None:
    """Other symbols and intervals: nothing, and nobody is asked."""
    vendor = _vendor(_times(48))
    one = scene(vendor)
    assert one.bars.closed("ETH-USD", 900, 0, _START) == ()
    assert one.bars.closed("BTC-USD", 60, 0, _START) == ()
    assert one.bars.interval_of("BTC-USD") == 900
    assert one.bars.interval_of("ETH-USD") is None
    assert vendor.asked == []


def test_history_goes_back_as_far_as_it_was_wanted(scene: MakeScene) -> None:
    """A question for all bars there ever were does not fetch them."""
    vendor = _vendor(_times(48))
    one = scene(vendor, back=3600)
    one.settle()
    assert one.closed(-1) == _times(48, 44)
    assert vendor.asked[0].start_ms == _times(48, 44)[0]
