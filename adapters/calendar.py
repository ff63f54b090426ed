"""Trading calendars, answered from sorted arrays that the library fills once per calendar.

``exchange_calendars`` knows the holidays, the early closes and the daylight-saving switches; it is
imported at the first question about a calendar other than "24/7".  Every answer after that is a
bisection.  What the library does not know are the hours around the regular session: see
``_EXTENDED_HOURS``.
"""

from __future__ import annotations

import difflib
import warnings
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from adapters.symbols.inferred import ALWAYS_OPEN
from engine.errors import ConfigurationError, NotFoundError
from engine.runtime.ports import SessionFacts
from engine.units import ELAPSED_CAP_SECONDS

DAY_MS: Final = 86_400_000
DAY_SECONDS: Final = 86_400

# Fixed bounds, not the library's (which follow today's date): the same question has the same answer
# next year.  The first day is a Monday and the first of a month, so the ordinals count from there.
_FIRST: Final = date(1979, 1, 1)
_LAST: Final = date(2049, 12, 31)


@dataclass(frozen=True, slots=True)
class _ExtendedHours:
    """The local hours in which a venue trades around its regular session."""

    pre_market_open: time
    post_market_close: time
    post_market_close_early: time  # on days on which the regular session closes early


# NYSE and NASDAQ, "Trading hours": pre-market from 04:00, after-hours to 20:00, to 17:00 on the days
# that close at 13:00.  Calendars not listed here have no pre- and no post-market.
_EXTENDED_HOURS: Final = {"XNYS": _ExtendedHours(time(4), time(20), time(17))}


@dataclass(frozen=True, slots=True)
class _Sessions:
    """One calendar: parallel arrays, one entry per session, ascending; instants in UTC ms."""

    name: str
    labels: array[int]  # the session's date at 00:00Z
    begins: array[int]  # start of the pre-market, or of the session where there is none
    opens: array[int]
    closes: array[int]
    ends: array[int]  # end of the post-market, or of the session where there is none
    of_week: array[int]
    of_month: array[int]

    def _range_error(self, at_ms: int) -> ConfigurationError:
        first, last = _iso_date(self.labels[0]), _iso_date(self.labels[-1])
        return ConfigurationError(
            f"{_iso_date(at_ms)} is outside the {self.name} calendar, which is loaded from {first} to {last}"
        )

    def facts(self, at_ms: int) -> SessionFacts:
        latest = bisect_right(self.opens, at_ms) - 1  # the latest session that opened
        begun = bisect_right(self.begins, at_ms, max(latest, 0)) - 1  # the latest that began trading at all
        coming = bisect_right(self.closes, at_ms, max(latest, 0))  # under way, or next to open
        if latest < 0 or coming + 1 >= len(self.opens):
            raise self._range_error(at_ms)
        if at_ms < self.closes[latest]:
            session = "regular"
        elif begun > latest:
            session = "pre"
        elif at_ms < self.ends[latest]:
            session = "post"
        else:
            session = "closed"
        return SessionFacts(
            session=session,
            # Up, as since_open is down: the two add up to the session, and "15 minutes" is not said early.
            until_close_seconds=min(-((at_ms - self.closes[coming]) // 1000), ELAPSED_CAP_SECONDS),
            since_open_seconds=min((at_ms - self.opens[latest]) // 1000, ELAPSED_CAP_SECONDS),
            next_closure_seconds=(self.opens[coming + 1] - self.closes[coming]) // 1000,
            session_of_week=self.of_week[begun],
            session_of_month=self.of_month[begun],
        )

    def check(self, start_ms: int, end_ms: int) -> None:
        """Refuse a range of which the calendar does not know every day."""
        if start_ms < self.labels[0]:
            raise self._range_error(start_ms)
        if end_ms > self.labels[-1] + DAY_MS:
            raise self._range_error(end_ms)

    def expected_bars(self, interval_seconds: int, start_ms: int, end_ms: int) -> Sequence[int]:
        if start_ms >= end_ms:
            return []
        self.check(start_ms, end_ms)
        if interval_seconds == DAY_SECONDS:
            return list(self.labels[bisect_left(self.labels, start_ms) : bisect_left(self.labels, end_ms)])
        step = interval_seconds * 1000
        bars: list[int] = []
        first = bisect_right(self.closes, start_ms)
        for index in range(first, bisect_left(self.opens, end_ms, first)):
            bars.extend(range(self.opens[index], self.closes[index], step))
        return bars[bisect_left(bars, start_ms) : bisect_left(bars, end_ms)]

    def bar_close_ms(self, interval_seconds: int, open_time_ms: int) -> int:
        self.check(open_time_ms, open_time_ms)
        if interval_seconds == DAY_SECONDS:
            index = bisect_left(self.labels, open_time_ms)
            if index == len(self.labels) or self.labels[index] != open_time_ms:
                raise NotFoundError(f"{_iso_date(open_time_ms)} is no session of {self.name}")
            return self.closes[index]
        close_ms = open_time_ms + interval_seconds * 1000
        latest = bisect_right(self.opens, open_time_ms) - 1
        if latest >= 0 and open_time_ms < self.closes[latest]:
            return min(close_ms, self.closes[latest])
        return close_ms


class ExchangeCalendars:
    """Trading calendars by name: a ``Calendar``.

    Names are those of ``exchange_calendars`` and its aliases ("NYSE" is "XNYS"), and "24/7".

    Of what the port leaves open:

    * The *regular* session is [open, close): 09:30:00.000 is regular, 16:00:00.000 is post.
    * ``session_of_week`` and ``session_of_month`` count the latest session whose trading day
      (pre-market included) has begun, so the answer is the same during Monday's post-market, at the
      close of its daily bar, and until Tuesday's pre-market.
    * "24/7" is one session without end: ``until_close`` and ``since_open`` are the cap of 3650 days
      (language reference, "never"), ``next_closure`` is 0, and the ordinals are the ISO weekday and
      the day of the month in UTC.
    """

    def __init__(self) -> None:
        """Load nothing yet: each calendar is loaded, once, when first asked for."""
        self._loaded: dict[str, _Sessions] = {}

    def facts(self, calendar: str, at_ms: int) -> SessionFacts:
        """Return the session facts at an instant.

        Raises:
            NotFoundError: There is no such calendar.
            ConfigurationError: The instant is outside the days the calendar is loaded for.
        """
        if calendar != ALWAYS_OPEN:
            return self._sessions(calendar).facts(at_ms)
        day = at_ms // DAY_MS
        return SessionFacts(
            session="regular",
            until_close_seconds=ELAPSED_CAP_SECONDS,
            since_open_seconds=ELAPSED_CAP_SECONDS,
            next_closure_seconds=0,
            session_of_week=(day + 3) % 7 + 1,  # 1970-01-01 was a Thursday
            session_of_month=_utc_date(at_ms).day,
        )

    def expected_bars(
        self, calendar: str, interval_seconds: int, start_ms: int, end_ms: int
    ) -> Sequence[int]:
        """Return the open times of the bars expected with start_ms <= open < end_ms, ascending.

        Regular sessions only; intraday bars are aligned to the session's open ("24/7": to UTC
        midnight), daily bars (86,400 seconds) carry the session's date at 00:00Z.

        Raises:
            NotFoundError: There is no such calendar.
            ConfigurationError: The interval is none, or the range is outside the loaded days.
        """
        _check_interval(interval_seconds)
        if calendar != ALWAYS_OPEN:
            return self._sessions(calendar).expected_bars(interval_seconds, start_ms, end_ms)
        step = interval_seconds * 1000
        if DAY_MS % step == 0:
            return range(start_ms + -start_ms % step, end_ms, step)
        days = range(start_ms - start_ms % DAY_MS, end_ms, DAY_MS)
        return [bar for day in days for bar in range(day, day + DAY_MS, step) if start_ms <= bar < end_ms]

    def bar_close_ms(self, calendar: str, interval_seconds: int, open_time_ms: int) -> int:
        """Return when the bar closes: at the latest with its session ("24/7": with its UTC day).

        A bar outside regular sessions closes one interval after its open.

        Raises:
            NotFoundError: There is no such calendar, or a daily bar's date is no session of it.
            ConfigurationError: The interval is none, or the bar is outside the loaded days.
        """
        _check_interval(interval_seconds)
        if calendar != ALWAYS_OPEN:
            return self._sessions(calendar).bar_close_ms(interval_seconds, open_time_ms)
        return min(open_time_ms + interval_seconds * 1000, open_time_ms - open_time_ms % DAY_MS + DAY_MS)

    def _sessions(self, name: str) -> _Sessions:
        sessions = self._loaded.get(name)
        if sessions is None:
            sessions = self._loaded[name] = _load(name)
        return sessions


COMMON: Final = frozenset({ALWAYS_OPEN, "NYSE", "XNYS", "NASDAQ"})
"""Calendars that are known to exist without asking the library, which takes a second to load."""


def calendar_problem(name: str) -> str | None:
    """Return what is wrong with the name of a calendar; None where it can be used."""
    if name in COMMON:
        return None
    try:
        _load(name)
    except (NotFoundError, ConfigurationError) as error:
        return str(error)
    return None


def _check_interval(interval_seconds: int) -> None:
    if not 0 < interval_seconds <= DAY_SECONDS:
        raise ConfigurationError(
            f"a bar of {interval_seconds} seconds: intervals are from 1 second to 1 day (86400)"
        )


def _load(name: str) -> _Sessions:
    import exchange_calendars
    from exchange_calendars.errors import InvalidCalendarName

    try:
        with warnings.catch_warnings():
            # What pandas tells the library's authors about their calls is not for our users.
            warnings.simplefilter("ignore")
            try:
                library = exchange_calendars.get_calendar(name, start=_FIRST, end=_LAST)
            except ValueError:
                # A few calendars are recorded for fewer years than we ask for: take what there is.
                library = exchange_calendars.get_calendar(name)
    except InvalidCalendarName:
        known = [ALWAYS_OPEN, *exchange_calendars.get_calendar_names()]
        close = difflib.get_close_matches(name.upper(), known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise NotFoundError(f"there is no trading calendar called {name!r}{hint}") from None
    if library.sessions_has_break(library.first_session, library.last_session):
        raise ConfigurationError(
            f"the {name} calendar has a midday break: such exchanges are not supported yet"
        )

    labels = _milliseconds(library.sessions.as_unit("ns").asi8)
    opens = _milliseconds(library.opens_nanos)
    closes = _milliseconds(library.closes_nanos)
    begins, ends = opens, closes
    hours = _EXTENDED_HOURS.get(library.name)
    if hours is not None:
        zone = ZoneInfo(str(library.tz))
        begins = array("q", (_local_ms(label, hours.pre_market_open, zone) for label in labels))
        regular_close = library.close_times[-1][1]
        ends = array("q")
        for label, close_ms in zip(labels, closes, strict=True):
            early = close_ms < _local_ms(label, regular_close, zone)
            ends.append(
                _local_ms(label, hours.post_market_close_early if early else hours.post_market_close, zone)
            )
    of_week, of_month = _ordinals(labels)
    return _Sessions(name, labels, begins, opens, closes, ends, of_week, of_month)


def _milliseconds(nanoseconds: Sequence[int]) -> array[int]:
    return array("q", (int(instant) // 1_000_000 for instant in nanoseconds))


def _ordinals(labels: Sequence[int]) -> tuple[array[int], array[int]]:
    """Number the sessions within their ISO week and within their month, from 1."""
    dates = [_utc_date(label) for label in labels]
    of_week, of_month = array("i", [1]), array("i", [1])
    for before, day in pairwise(dates):
        same_week = before.isocalendar()[:2] == day.isocalendar()[:2]
        same_month = (before.year, before.month) == (day.year, day.month)
        of_week.append(of_week[-1] + 1 if same_week else 1)
        of_month.append(of_month[-1] + 1 if same_month else 1)
    return of_week, of_month


def _local_ms(label_ms: int, at: time, zone: ZoneInfo) -> int:
    return int(datetime.combine(_utc_date(label_ms), at, zone).timestamp()) * 1000


def _utc_date(at_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).date()


def _iso_date(at_ms: int) -> str:
    try:
        return _utc_date(at_ms).isoformat()
    except OverflowError:
        return f"{at_ms} ms"
