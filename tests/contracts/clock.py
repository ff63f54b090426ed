"""What every clock must do.

A test module makes a subclass of ``ClockContract`` named ``Test...`` with a fixture ``clock``: a clock
whose waiting costs the test no real time.
"""

from __future__ import annotations

from engine.runtime.ports import Clock


class ClockContract:
    """The suite."""

    def test_sleep_ends_when_its_time_has_come(self, clock: Clock) -> None:
        """After ``sleep_until`` it is at least that late."""
        at_ms = clock.now_utc_ms() + 1_500
        clock.sleep_until(at_ms)
        assert clock.now_utc_ms() >= at_ms

    def test_the_past_needs_no_sleep(self, clock: Clock) -> None:
        """A time that is past ends the sleep at once and never turns the clock back."""
        before = clock.now_utc_ms()
        clock.sleep_until(before - 60_000)
        assert before <= clock.now_utc_ms() < before + 60_000

    def test_what_is_measured_goes_with_what_is_shown(self, clock: Clock) -> None:
        """Over a sleep the monotonic clock advances as far as the time does."""
        begin_ns, begin_ms = clock.monotonic_ns(), clock.now_utc_ms()
        clock.sleep_until(begin_ms + 2_000)
        measured_ms = (clock.monotonic_ns() - begin_ns) / 1e6
        assert abs(measured_ms - (clock.now_utc_ms() - begin_ms)) <= 1
