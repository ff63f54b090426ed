"""Trading calendars on days that are known from elsewhere: the exchange's own announcements."""

from __future__ import annotations

from datetime import datetime

import pytest

from adapters.calendar import ExchangeCalendars
from engine.errors import ConfigurationError, NotFoundError
from engine.runtime.ports import SessionFacts
from engine.units import ELAPSED_CAP_SECONDS
from tests.contracts.calendar import CalendarContract

_CALENDAR = ExchangeCalendars()


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _nyse(text: str) -> SessionFacts:
    return _CALENDAR.facts("NYSE", _ms(text))


class TestExchangeCalendars(CalendarContract):
    """The calendars keep the contract."""

    @pytest.fixture
    def calendar(self) -> ExchangeCalendars:
        """One instance: loading the library's calendar takes a third of a second."""
        return _CALENDAR


@pytest.mark.parametrize(
    ("at", "session"),
    [
        ("2025-11-18T03:59:59.999-05:00", "closed"),
        ("2025-11-18T04:00:00-05:00", "pre"),
        ("2025-11-18T09:29:59.999-05:00", "pre"),
        ("2025-11-18T09:30:00-05:00", "regular"),
        ("2025-11-18T15:59:59-05:00", "regular"),
        ("2025-11-18T15:59:59.999-05:00", "regular"),
        ("2025-11-18T16:00:00-05:00", "post"),
        ("2025-11-18T19:59:59.999-05:00", "post"),
        ("2025-11-18T20:00:00-05:00", "closed"),
        # Early closes: 13:00, and the post-market ends at 17:00.
        ("2025-11-28T12:59:59.999-05:00", "regular"),
        ("2025-11-28T13:00:00-05:00", "post"),
        ("2025-11-28T16:59:59.999-05:00", "post"),
        ("2025-11-28T17:00:00-05:00", "closed"),
        ("2025-12-24T12:59:59-05:00", "regular"),
        ("2025-12-24T13:00:00-05:00", "post"),
        ("2025-12-24T17:00:00-05:00", "closed"),
        # Days without a session.
        ("2025-11-22T12:00:00-05:00", "closed"),  # Saturday
        ("2025-11-23T12:00:00-05:00", "closed"),  # Sunday
        ("2025-07-04T12:00:00-04:00", "closed"),
        ("2025-04-18T12:00:00-04:00", "closed"),  # Good Friday
        ("2018-12-05T12:00:00-05:00", "closed"),  # mourning for G. H. W. Bush
        ("2012-10-29T12:00:00-04:00", "closed"),  # hurricane Sandy
        ("2001-09-11T12:00:00-04:00", "closed"),
        # The same local hours on both sides of both switches.
        ("2025-03-07T14:29:59.999+00:00", "pre"),
        ("2025-03-07T14:30:00+00:00", "regular"),
        ("2025-03-10T13:29:59.999+00:00", "pre"),
        ("2025-03-10T13:30:00+00:00", "regular"),
        ("2025-10-31T20:00:00+00:00", "post"),
        ("2025-11-03T20:59:59+00:00", "regular"),
        ("2025-11-03T21:00:00+00:00", "post"),
        ("2025-11-03T08:59:59+00:00", "closed"),
        ("2025-11-03T09:00:00+00:00", "pre"),
    ],
)
def test_new_york_sessions(at: str, session: str) -> None:
    """Each instant lies in the session that the exchange announced."""
    assert _nyse(at).session == session


def test_spans_in_a_session() -> None:
    """Elapsed time is rounded down, remaining time up; together they are the session."""
    facts = _nyse("2025-11-18T15:45:00.001-05:00")
    assert (facts.since_open_seconds, facts.until_close_seconds) == (22_500, 900)
    assert _nyse("2025-11-18T15:45:00-05:00").until_close_seconds == 900
    assert _nyse("2025-11-18T15:45:00.999-05:00").until_close_seconds == 900
    assert _nyse("2025-11-28T12:45:00-05:00").until_close_seconds == 900


def test_spans_outside_a_session() -> None:
    """Outside, the close is the next session's and the open is the last one's."""
    saturday = _nyse("2025-11-22T09:30:00-05:00")
    assert saturday.since_open_seconds == 86_400
    assert saturday.until_close_seconds == 2 * 86_400 + 6 * 3_600 + 1_800
    assert _nyse("2025-11-21T16:00:00-05:00").until_close_seconds == saturday.until_close_seconds + 63_000


@pytest.mark.parametrize(
    ("at", "hours"),
    [
        ("2025-11-18T12:00:00-05:00", 17.5),
        ("2025-11-18T18:00:00-05:00", 17.5),
        ("2025-11-21T12:00:00-05:00", 65.5),
        ("2025-11-22T12:00:00-05:00", 17.5),  # the closure behind Monday, not the one under way
        ("2025-11-26T12:00:00-05:00", 41.5),  # before Thanksgiving
        ("2025-11-28T12:00:00-05:00", 68.5),  # early close
        ("2025-03-07T12:00:00-05:00", 64.5),  # the switch takes an hour
        ("2025-10-31T12:00:00-04:00", 66.5),  # the switch adds one
        ("2025-08-29T12:00:00-04:00", 89.5),  # Labor Day
    ],
)
def test_the_next_closure(at: str, hours: float) -> None:
    """The closure behind the session under way, or the next, from close to open."""
    assert _nyse(at).next_closure_seconds == hours * 3_600


@pytest.mark.parametrize(
    ("at", "week", "month"),
    [
        ("2025-11-03T04:00:00-05:00", 1, 1),  # Monday's pre-market opens the week and the month
        ("2025-11-03T03:59:59-05:00", 5, 23),  # before it, Friday's session is still the latest
        ("2025-11-03T16:00:00-05:00", 1, 1),  # at the close of its daily bar the session is its own
        ("2025-11-28T12:00:00-05:00", 4, 19),  # Thanksgiving is not counted
        ("2025-11-29T12:00:00-05:00", 4, 19),
        ("2025-12-01T09:30:00-05:00", 1, 1),
        ("2026-01-02T10:00:00-05:00", 4, 1),  # an ISO week goes across the year
    ],
)
def test_session_ordinals(at: str, week: int, month: int) -> None:
    """Sessions are counted within the ISO week and the month, holidays left out."""
    facts = _nyse(at)
    assert (facts.session_of_week, facts.session_of_month) == (week, month)


def test_24_7_is_always_regular() -> None:
    """Without closures everything that counts to or from one is the cap, and a closure has length 0."""
    facts = _CALENDAR.facts("24/7", _ms("2025-12-31T23:59:59.999+00:00"))
    cap = ELAPSED_CAP_SECONDS
    assert facts == SessionFacts("regular", cap, cap, 0, session_of_week=3, session_of_month=31)
    assert _CALENDAR.facts("24/7", _ms("2026-01-01T00:00+00:00")).session_of_month == 1


def test_expected_bars_of_a_session() -> None:
    """Intraday bars are aligned to the open; an early close leaves fewer; a daily bar is its date."""
    start, end = _ms("2025-11-28T00:00+00:00"), _ms("2025-11-29T00:00+00:00")
    assert len(_CALENDAR.expected_bars("NYSE", 60, start, end)) == 210
    hours = _CALENDAR.expected_bars("NYSE", 3_600, start, end)
    assert list(hours) == [_ms(f"2025-11-28T{hour}:30-05:00") for hour in ("09", "10", "11", "12")]
    assert _CALENDAR.bar_close_ms("NYSE", 3_600, hours[-1]) == _ms("2025-11-28T13:00-05:00")
    assert _CALENDAR.bar_close_ms("NYSE", 3_600, hours[0]) == _ms("2025-11-28T10:30-05:00")
    assert list(_CALENDAR.expected_bars("NYSE", 86_400, start, end)) == [start]
    assert _CALENDAR.bar_close_ms("NYSE", 86_400, start) == _ms("2025-11-28T13:00-05:00")
    # A bar of the post-market is not cut.
    assert _CALENDAR.bar_close_ms("NYSE", 900, _ms("2025-11-28T14:00-05:00")) == _ms("2025-11-28T14:15-05:00")


def test_no_bar_is_expected_over_a_night() -> None:
    """Between the last bar of Friday and the first of Monday there is none: 17.5 hours are not a gap."""
    after, until = _ms("2025-11-21T15:45:00.001-05:00"), _ms("2025-11-24T09:30-05:00")
    assert list(_CALENDAR.expected_bars("NYSE", 900, after, until)) == []


def test_expected_bars_of_24_7() -> None:
    """Bars are aligned to UTC midnight; an interval that does not divide the day is cut there."""
    start = _ms("2025-11-28T00:00+00:00")
    assert list(_CALENDAR.expected_bars("24/7", 900, start + 1, start + 1_800_001)) == [
        start + 900_000,
        start + 1_800_000,
    ]
    sevens = list(_CALENDAR.expected_bars("24/7", 25_200, start, start + 86_400_000))
    assert [bar - start for bar in sevens] == [0, 25_200_000, 50_400_000, 75_600_000]
    assert _CALENDAR.bar_close_ms("24/7", 25_200, sevens[-1]) == start + 86_400_000
    assert _CALENDAR.bar_close_ms("24/7", 86_400, start) == start + 86_400_000


def test_names_of_the_same_exchange_agree() -> None:
    """NASDAQ and NYSE keep the same hours."""
    at_ms = _ms("2025-11-28T12:59:59-05:00")
    assert _CALENDAR.facts("NASDAQ", at_ms) == _CALENDAR.facts("NYSE", at_ms)


def test_an_exchange_without_known_extended_hours_has_none() -> None:
    """London is closed one second before it opens and after it closes."""
    for at, session in (
        ("2025-11-18T07:59:59+00:00", "closed"),
        ("2025-11-18T08:00:00+00:00", "regular"),
        ("2025-11-18T16:30:00+00:00", "closed"),
    ):
        assert _CALENDAR.facts("XLON", _ms(at)).session == session


@pytest.mark.parametrize(
    ("at", "named"), [("2060-01-05T15:00+00:00", "2060-01-05"), ("1950-06-01T15:00+00:00", "1950-06-01")]
)
def test_a_day_outside_the_calendar_is_named(at: str, named: str) -> None:
    """The message says which day was asked and which days are known."""
    at_ms = _ms(at)
    for ask in (
        lambda: _CALENDAR.facts("NYSE", at_ms),
        lambda: _CALENDAR.expected_bars("NYSE", 60, at_ms, at_ms + 1),
        lambda: _CALENDAR.bar_close_ms("NYSE", 60, at_ms),
    ):
        with pytest.raises(ConfigurationError, match=f"{named}.*1979-01-02 to 2049-12-31"):
            ask()


def test_a_near_miss_is_suggested() -> None:
    """A misspelt calendar names the one that was meant."""
    with pytest.raises(NotFoundError, match=r"'NYS'.*NYSE"):
        _CALENDAR.facts("NYS", 0)


def test_a_midday_break_is_refused() -> None:
    """A calendar whose bars we would get wrong is refused instead."""
    with pytest.raises(ConfigurationError, match="midday break"):
        _CALENDAR.facts("XTKS", _ms("2025-11-18T03:00+00:00"))


def test_a_daily_bar_on_a_holiday_is_refused() -> None:
    """A daily bar of a day without a session has no close."""
    with pytest.raises(NotFoundError, match="2025-07-04 is no session"):
        _CALENDAR.bar_close_ms("NYSE", 86_400, _ms("2025-07-04T00:00+00:00"))


@pytest.mark.parametrize("interval", [0, -60, 604_800])
def test_an_interval_that_is_none_is_refused(interval: int) -> None:
    """Intervals go from a second to a day."""
    for name in ("24/7", "NYSE"):
        with pytest.raises(ConfigurationError, match=str(interval)):
            _CALENDAR.expected_bars(name, interval, 0, 1)
