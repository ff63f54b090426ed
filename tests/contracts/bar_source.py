"""What every source of bars must do.

A test module makes a subclass of ``BarSourceContract`` named ``Test...`` with a fixture ``served``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from engine.model import Bar
from engine.runtime.ports import BarSource, Calendar


@dataclass(frozen=True, slots=True)
class ServedBars:
    """A source and something it serves: at least ten bars of one symbol and interval."""

    source: BarSource
    calendar: Calendar
    calendar_name: str
    symbol: str
    interval_seconds: int
    start_ms: int  # before the first bar
    end_ms: int  # after the last bar's close


class BarSourceContract:
    """The suite."""

    def test_bars_ascend_inside_what_was_asked(self, served: ServedBars) -> None:
        """Bars are strictly ascending, opened after the start and closed by the end."""
        bars = _all(served)
        assert len(bars) >= 10
        times = [bar.open_time_ms for bar in bars]
        assert times == sorted(set(times))
        assert served.start_ms < times[0]
        assert _close_ms(served, times[-1]) <= served.end_ms

    def test_bars_are_expected_and_sane(self, served: ServedBars) -> None:
        """Every bar is one the calendar expects; prices are finite, above 0 and within [low, high]."""
        bars = _all(served)
        expected = set(
            served.calendar.expected_bars(
                served.calendar_name, served.interval_seconds, bars[0].open_time_ms, served.end_ms
            )
        )
        for bar in bars:
            assert bar.open_time_ms in expected
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high < math.inf
            assert 0 <= bar.volume < math.inf

    def test_a_bar_is_served_from_the_instant_of_its_close(self, served: ServedBars) -> None:
        """One millisecond before its close a bar is not there, at its close it is."""
        for bar in _all(served)[-10:]:
            close_ms = _close_ms(served, bar.open_time_ms)
            assert bar in _bars(served, served.start_ms, close_ms)
            assert bar not in _bars(served, served.start_ms, close_ms - 1)

    def test_asking_on_continues_where_it_ended(self, served: ServedBars) -> None:
        """What is asked in two steps is what is asked at once: ``after_ms`` excludes the bar itself."""
        bars = _all(served)
        for cut in range(1, len(bars), max(1, len(bars) // 7)):
            known = _bars(served, served.start_ms, _close_ms(served, bars[cut - 1].open_time_ms))
            new = _bars(served, known[-1].open_time_ms, served.end_ms)
            assert known + new == bars

    def test_a_bar_without_a_trade_repeats_the_last_close(self, served: ServedBars) -> None:
        """``traded=False`` has volume 0 and no price but the close before it."""
        bars = _all(served)
        for before, bar in pairwise(bars):
            if not bar.traded:
                assert bar.volume == 0
                assert bar.open == bar.high == bar.low == bar.close == before.close

    def test_what_is_not_served_is_empty(self, served: ServedBars) -> None:
        """Another symbol, an interval finer than any, an empty stretch: no bars and no error."""
        source, symbol, interval = served.source, served.symbol, served.interval_seconds
        assert list(source.closed("NO-SUCH", interval, served.start_ms, served.end_ms)) == []
        assert list(source.closed(symbol, 7, served.start_ms, served.end_ms)) == []
        assert list(source.closed(symbol, interval, served.end_ms, served.end_ms)) == []
        assert list(source.closed(symbol, interval, served.end_ms, served.start_ms)) == []

    def test_the_finest_interval_is_named(self, served: ServedBars) -> None:
        """A served symbol has a finest interval with bars; another symbol has none."""
        finest = served.source.interval_of(served.symbol)
        assert finest is not None
        assert finest <= served.interval_seconds
        assert len(served.source.closed(served.symbol, finest, served.start_ms, served.end_ms)) >= 10
        assert served.source.interval_of("NO-SUCH") is None


def _bars(served: ServedBars, after_ms: int, until_ms: int) -> list[Bar]:
    return list(served.source.closed(served.symbol, served.interval_seconds, after_ms, until_ms))


def _all(served: ServedBars) -> list[Bar]:
    return _bars(served, served.start_ms, served.end_ms)


def _close_ms(served: ServedBars, open_time_ms: int) -> int:
    return served.calendar.bar_close_ms(served.calendar_name, served.interval_seconds, open_time_ms)
