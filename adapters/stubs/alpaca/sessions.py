"""When the local Alpaca's stock market is open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from adapters.stubs.alpaca.wire import NEW_YORK, local_date, local_ms, to_ms
from engine.runtime.ports import Calendar

_CALENDAR: Final = "NYSE"
# Longer than any session and no daily bar: one bar of this interval opens with each session.
_WHOLE_SESSION_SECONDS: Final = 86_340
_NEAR_DAYS: Final = 10
"""Within as many days there is always a session."""


@dataclass(frozen=True, slots=True)
class Session:
    """One regular session; instants in milliseconds."""

    day: date
    open_ms: int
    close_ms: int


class Sessions(Protocol):
    """The stock market's sessions."""

    def between(self, first: date, last: date) -> Sequence[Session]:
        """Return the sessions of a range of days, both included."""

    def is_extended(self, at_ms: int) -> bool:
        """Say whether orders for extended hours trade: from the pre-market to the post-market's end."""


class Weekdays:
    """Monday to Friday, 09:30 to 16:00 in New York, no holidays: enough where no calendar is given."""

    def between(self, first: date, last: date) -> Sequence[Session]:
        """Return the sessions of a range of days, both included."""
        return [
            Session(day, local_ms(day, time(9, 30)), local_ms(day, time(16)))
            for day in _days(first, last)
            if day.weekday() < 5
        ]

    def is_extended(self, at_ms: int) -> bool:
        """Say whether it is between 04:00 and 20:00 on a weekday."""
        day = local_date(at_ms)
        return day.weekday() < 5 and local_ms(day, time(4)) <= at_ms < local_ms(day, time(20))


class CalendarSessions:
    """The sessions of the NYSE as a ``Calendar`` knows them."""

    def __init__(self, calendar: Calendar) -> None:
        """Ask this calendar."""
        self._calendar = calendar

    def between(self, first: date, last: date) -> Sequence[Session]:
        """Return the sessions of a range of days, both included."""
        start = to_ms(datetime.combine(first, time(), NEW_YORK))
        end = to_ms(datetime.combine(last + timedelta(days=1), time(), NEW_YORK))
        opens = self._calendar.expected_bars(_CALENDAR, _WHOLE_SESSION_SECONDS, start, end)
        return [
            Session(
                local_date(open_ms),
                open_ms,
                self._calendar.bar_close_ms(_CALENDAR, _WHOLE_SESSION_SECONDS, open_ms),
            )
            for open_ms in opens
        ]

    def is_extended(self, at_ms: int) -> bool:
        """Say whether it is the pre-market, the regular session or the post-market."""
        return self._calendar.facts(_CALENDAR, at_ms).session != "closed"


def current_or_next(sessions: Sessions, at_ms: int) -> Session:
    """Return the session that is under way, or else the next to open."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    near = sessions.between(day - timedelta(days=1), day + timedelta(days=_NEAR_DAYS))
    return next(session for session in near if session.close_ms > at_ms)


def next_open_ms(sessions: Sessions, at_ms: int) -> int:
    """Return when the market opens next; if it is open, the session after this one."""
    session = current_or_next(sessions, at_ms)
    if session.open_ms > at_ms:
        return session.open_ms
    return current_or_next(sessions, session.close_ms).open_ms


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=count) for count in range((last - first).days + 1))
