"""The wall clock and the simulated clock, on a machine time of our own: no test waits."""

from __future__ import annotations

import time

import pytest

from adapters.clock import SimulatedClock, WallClock
from engine.errors import ConfigurationError
from tests.contracts.clock import ClockContract

_START_MS = 1_763_469_600_000


class _Machine:
    """A machine whose time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.ns = 5_000_000_000
        self.stepped_ns = 0
        self.slept: list[float] = []

    def wall_ns(self) -> int:
        return _START_MS * 1_000_000 + self.ns + self.stepped_ns

    def monotonic_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += int(seconds * 1e9) + 1000

    def wall_clock(self) -> WallClock:
        return WallClock(wall_ns=self.wall_ns, monotonic_ns=self.monotonic_ns, sleep=self.sleep)

    def simulated_clock(self, speed: float) -> SimulatedClock:
        return SimulatedClock(_START_MS, speed, monotonic_ns=self.monotonic_ns, sleep=self.sleep)


class TestWallClock(ClockContract):
    """The wall clock keeps the contract."""

    @pytest.fixture
    def clock(self) -> WallClock:
        """A wall clock on a machine of ours."""
        return _Machine().wall_clock()


class TestJumpingClock(ClockContract):
    """The jumping clock keeps the contract."""

    @pytest.fixture
    def clock(self) -> SimulatedClock:
        """A clock that jumps."""
        return SimulatedClock(_START_MS)


class TestScaledClock(ClockContract):
    """The scaled clock keeps the contract."""

    @pytest.fixture(params=[0.5, 1.0, 360.0])
    def clock(self, request: pytest.FixtureRequest) -> SimulatedClock:
        """A clock that runs at a speed."""
        return _Machine().simulated_clock(request.param)


def test_the_wall_clock_is_the_machines() -> None:
    """Without arguments it shows the real time."""
    before = time.time_ns() // 1_000_000
    assert before <= WallClock().now_utc_ms() <= time.time_ns() // 1_000_000


def test_a_step_of_the_wall_clock_is_noticed() -> None:
    """When the wall clock is set forward during a sleep, the sleep ends then, not at its old end."""
    machine = _Machine()
    clock = machine.wall_clock()
    at_ms = clock.now_utc_ms() + 3_600_000

    def sleep_and_step(seconds: float) -> None:
        machine.sleep(seconds)
        machine.stepped_ns = 3_600_000_000_000

    stepping = WallClock(wall_ns=machine.wall_ns, monotonic_ns=machine.monotonic_ns, sleep=sleep_and_step)
    stepping.sleep_until(at_ms)
    assert len(machine.slept) == 1


def test_speed_divides_the_wait() -> None:
    """One simulated minute at speed 60 is one real second."""
    machine = _Machine()
    clock = machine.simulated_clock(60)
    clock.sleep_until(_START_MS + 60_000)
    assert sum(machine.slept) == pytest.approx(1.0, abs=0.01)
    assert clock.now_utc_ms() == pytest.approx(_START_MS + 60_000, abs=60)


def test_a_jump_takes_no_time_and_is_exact() -> None:
    """The jumping clock stands exactly where it was sent."""
    clock = SimulatedClock(_START_MS)
    clock.sleep_until(_START_MS + 86_400_000)
    assert clock.now_utc_ms() == _START_MS + 86_400_000
    assert clock.monotonic_ns() == 86_400_000 * 1_000_000


def test_an_interruption_ends_the_sleep_under_way() -> None:
    """An interruption during a long sleep ends it within one slice; later sleeps end at once."""
    machine = _Machine()

    def sleep_and_interrupt(seconds: float) -> None:
        machine.sleep(seconds)
        clock.interrupt()

    clock = WallClock(wall_ns=machine.wall_ns, monotonic_ns=machine.monotonic_ns, sleep=sleep_and_interrupt)
    clock.sleep_until(clock.now_utc_ms() + 86_400_000)
    clock.sleep_until(clock.now_utc_ms() + 86_400_000)
    assert machine.slept == [0.2]


def test_a_waking_ends_one_sleep() -> None:
    """The sleep under way, or else the next one, ends within a slice; the one after it is whole."""
    machine = _Machine()

    def sleep_and_wake(seconds: float) -> None:
        machine.sleep(seconds)
        if len(machine.slept) == 1:
            clock.wake()

    clock = WallClock(wall_ns=machine.wall_ns, monotonic_ns=machine.monotonic_ns, sleep=sleep_and_wake)
    at_ms = clock.now_utc_ms() + 1_000
    clock.sleep_until(at_ms)
    assert machine.slept == [0.2]
    clock.sleep_until(at_ms)
    assert clock.now_utc_ms() >= at_ms
    clock.wake()
    slept = len(machine.slept)
    clock.sleep_until(at_ms + 1_000)
    assert len(machine.slept) == slept


def test_a_woken_clock_does_not_jump_once() -> None:
    """The jumping clock stays where it is for one sleep."""
    clock = SimulatedClock(_START_MS)
    clock.wake()
    clock.sleep_until(_START_MS + 1)
    assert clock.now_utc_ms() == _START_MS
    clock.sleep_until(_START_MS + 1)
    assert clock.now_utc_ms() == _START_MS + 1


def test_an_interrupted_clock_does_not_jump() -> None:
    """After an interruption the jumping clock stays where it is."""
    clock = SimulatedClock(_START_MS)
    clock.interrupt()
    clock.sleep_until(_START_MS + 1)
    assert clock.now_utc_ms() == _START_MS


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    """Speed must be above 0 and finite."""
    with pytest.raises(ConfigurationError, match="speed"):
        SimulatedClock(_START_MS, speed)
