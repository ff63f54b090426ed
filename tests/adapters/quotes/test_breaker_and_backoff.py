"""Leaving a source alone, and a symbol at it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from adapters.quotes.backoff import Backoff
from adapters.quotes.breaker import Breaker, BreakerState
from adapters.settings.model import BackoffSettings, BreakerSettings

_S = 10**9


def test_it_opens_after_failures_in_a_row() -> None:
    """An answer between them begins the count anew."""
    breaker = Breaker(BreakerSettings(3, 30))
    for _ in range(2):
        breaker.failed(0)
        breaker.failed(0)
        assert breaker.state(0) is BreakerState.CLOSED
        breaker.heard()
    for _ in range(3):
        breaker.failed(0)
    assert breaker.state(0) is BreakerState.OPEN
    assert breaker.seconds_left(10 * _S) == 20


def test_one_call_tries_it() -> None:
    """When its time is over one call goes through, alone; its end decides."""
    breaker = Breaker(BreakerSettings(1, 30))
    breaker.failed(0)
    assert breaker.state(30 * _S) is BreakerState.HALF_OPEN
    breaker.begin(30 * _S)
    assert breaker.state(31 * _S) is BreakerState.OPEN, "no second call beside the trial"
    breaker.failed(32 * _S)
    assert breaker.state(61 * _S) is BreakerState.OPEN
    assert breaker.state(62 * _S) is BreakerState.HALF_OPEN
    breaker.begin(62 * _S)
    breaker.heard()
    assert breaker.state(62 * _S) is BreakerState.CLOSED


def test_a_trial_without_an_end_ends_by_itself() -> None:
    """A pass that was interrupted must not keep a source away for ever."""
    breaker = Breaker(BreakerSettings(1, 30))
    breaker.failed(0)
    breaker.begin(30 * _S)
    assert breaker.state(60 * _S) is BreakerState.HALF_OPEN


def test_a_call_in_a_closed_breaker_changes_nothing() -> None:
    """Beginning is no failure."""
    breaker = Breaker(BreakerSettings(1, 30))
    breaker.begin(0)
    assert breaker.state(0) is BreakerState.CLOSED
    assert breaker.seconds_left(0) == 0


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_waits_have_full_jitter_and_a_cap(seed: int, failures: int) -> None:
    """After n failures the wait is between 0 and the doubled first one, and never above the longest."""
    backoff = Backoff(BackoffSettings(2, 120), random.Random(seed))
    for count in range(1, failures + 1):
        backoff.failed("SPY", 0)
        assert backoff.failures("SPY") == count
        assert 0 <= backoff.seconds_left("SPY", 0) <= min(120, 2 * 2 ** (count - 1))
    assert backoff.seconds_left("SPY", 120 * _S) == 0
    assert backoff.seconds_left("GLD", 0) == 0, "each symbol has its own"
    backoff.heard("SPY")
    assert (backoff.failures("SPY"), backoff.seconds_left("SPY", 0)) == (0, 0)


def test_who_failed_together_does_not_come_back_together() -> None:
    """A hundred symbols after the fifth failure: their waits fill the range."""
    backoff = Backoff(BackoffSettings(2, 120), random.Random(7))
    symbols = [f"S{number}" for number in range(100)]
    for _ in range(5):
        for symbol in symbols:
            backoff.failed(symbol, 0)
    waits = sorted(backoff.seconds_left(symbol, 0) for symbol in symbols)
    assert waits[0] < 2
    assert waits[-1] > 28
    assert 10 < waits[50] < 22
