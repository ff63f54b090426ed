"""What every calendar must do.

A test module makes a subclass of ``CalendarContract`` named ``Test...`` with a fixture ``calendar`` that
knows "24/7" and "NYSE".
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import NotFoundError
from engine.runtime.ports import Calendar
from engine.units import ELAPSED_CAP_SECONDS

_DAY_MS = 86_400_000
_FIRST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 1000
_LAST = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()) * 1000

names = st.sampled_from(["24/7", "NYSE"])
instants = st.integers(_FIRST, _LAST)
intervals = st.sampled_from([60, 300, 900, 3_600, 14_400, 86_400])
# The fixture is one calendar for all examples on purpose: it has no state but its cache.
shared_fixture = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
)


class CalendarContract:
    """The suite."""

    @shared_fixture
    @given(name=names, at_ms=instants)
    def test_facts_are_within_their_bounds(self, calendar: Calendar, name: str, at_ms: int) -> None:
        """Sessions are known words, spans lie in [0, cap], ordinals in a week and a month."""
        facts = calendar.facts(name, at_ms)
        assert facts.session in {"pre", "regular", "post", "closed"}
        for span in (facts.until_close_seconds, facts.since_open_seconds, facts.next_closure_seconds):
            assert 0 <= span <= ELAPSED_CAP_SECONDS
        assert 1 <= facts.session_of_week <= 7
        assert 1 <= facts.session_of_month <= 31

    @shared_fixture
    @given(name=names, interval=intervals, start=instants, days=st.integers(0, 12), cut=st.integers(0, 12))
    def test_expected_bars_ascend_and_add_up(
        self, calendar: Calendar, name: str, interval: int, start: int, days: int, cut: int
    ) -> None:
        """The bars of a stretch are those of its parts, ascending, inside it."""
        end = start + days * _DAY_MS
        middle = min(start + cut * _DAY_MS // 2, end)
        bars = list(calendar.expected_bars(name, interval, start, end))
        assert bars == sorted(set(bars))
        assert all(start <= bar < end for bar in bars)
        first, second = (
            calendar.expected_bars(name, interval, *part) for part in ((start, middle), (middle, end))
        )
        assert [*first, *second] == bars

    @shared_fixture
    @given(name=names, interval=intervals.filter(lambda seconds: seconds < 86_400), start=instants)
    def test_bars_open_and_close_inside_their_session(
        self, calendar: Calendar, name: str, interval: int, start: int
    ) -> None:
        """A bar opens in a regular session, closes after it opened, no later than its interval says."""
        for bar in calendar.expected_bars(name, interval, start, start + 5 * _DAY_MS):
            close_ms = calendar.bar_close_ms(name, interval, bar)
            assert bar < close_ms <= bar + interval * 1000
            assert calendar.facts(name, bar).session == "regular"
            assert calendar.facts(name, close_ms - 1).session == "regular"

    @shared_fixture
    @given(name=names, start=instants)
    def test_daily_bars_are_dates_and_end_their_session(
        self, calendar: Calendar, name: str, start: int
    ) -> None:
        """A daily bar stands at 00:00Z and closes with the last intraday bar of its session."""
        for label in calendar.expected_bars(name, 86_400, start, start + 8 * _DAY_MS):
            assert label % _DAY_MS == 0
            close_ms = calendar.bar_close_ms(name, 86_400, label)
            last = list(calendar.expected_bars(name, 60, close_ms - _DAY_MS, close_ms))[-1]
            assert calendar.bar_close_ms(name, 60, last) == close_ms

    def test_an_empty_stretch_expects_nothing(self, calendar: Calendar) -> None:
        """Where the end is not after the start there are no bars."""
        for name in ("24/7", "NYSE"):
            assert list(calendar.expected_bars(name, 60, _FIRST, _FIRST)) == []
            assert list(calendar.expected_bars(name, 60, _FIRST + 60_000, _FIRST)) == []

    def test_an_unknown_calendar_is_not_found(self, calendar: Calendar) -> None:
        """A calendar that does not exist is an error that names it."""
        with pytest.raises(NotFoundError, match="MARS"):
            calendar.facts("MARS", _FIRST)
