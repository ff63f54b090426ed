"""Budgets: never more in any stretch of a period than it allows, and what a source asks for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.quotes.budget import Budget, BudgetSettings
from adapters.settings.model import Rate

_S = 10**9


def _budget(*rates: Rate) -> Budget:
    return Budget(BudgetSettings(rates))


def test_without_rates_nothing_waits() -> None:
    """A source of which no limit is known."""
    budget = _budget()
    for _ in range(1000):
        assert budget.wait_ns(0) == 0
        budget.spend(0)
    assert budget.room(0, 0) > 10**5


def test_a_token_comes_back_a_period_after_it_was_spent() -> None:
    """Two in ten seconds: the third waits for the first to be over, the fourth for the second."""
    budget = _budget(Rate(2, 10))
    budget.spend(0)
    budget.spend(4 * _S)
    assert budget.wait_ns(4 * _S) == 6 * _S
    assert budget.wait_ns(10 * _S) == 0
    budget.spend(10 * _S)
    assert budget.wait_ns(10 * _S) == 4 * _S
    assert budget.room(10 * _S, 10 * _S) == 0
    assert budget.room(10 * _S, 14 * _S) == 1
    assert budget.room(10 * _S, 20 * _S) == 2
    assert budget.room(10 * _S, 40 * _S) == 6
    assert "2 in 10 s is used up for another 4 s" in budget.scarcest(10 * _S)


def test_the_strictest_rate_counts() -> None:
    """Thirty a second and forty a minute: after forty within two seconds the minute is what waits."""
    budget = _budget(Rate(30, 1), Rate(40, 60))
    for _ in range(30):
        budget.spend(0)
    assert budget.wait_ns(0) == _S
    assert budget.room(_S, _S) == 10
    assert budget.room(_S, 59 * _S) == 10
    for _ in range(10):
        budget.spend(_S)
    assert budget.wait_ns(2 * _S) == 58 * _S
    assert "40 in 60 s" in budget.scarcest(2 * _S)


def test_a_batch_may_cost_more_than_one() -> None:
    """Where symbols are counted, so many of them have to fit at once."""
    budget = _budget(Rate(8, 60))
    assert budget.most == 8
    budget.spend(0, 5)
    assert budget.wait_ns(_S, 3) == 0
    assert budget.wait_ns(_S, 4) == 59 * _S


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_wish_that_is_none(seconds: float) -> None:
    """Retry-After: 0, or worse, holds nothing."""
    budget = _budget()
    assert not budget.hold(0, seconds)
    assert budget.wait_ns(0) == 0


def test_a_wish_is_honoured_and_bounded() -> None:
    """The later of two wishes holds; none holds longer than a day."""
    budget = _budget(Rate(5, 60))
    assert budget.hold(0, 30)
    assert budget.hold(0, 10)
    assert budget.wait_ns(0) == 30 * _S
    assert budget.room(0, 29 * _S) == 0
    assert budget.room(0, 30 * _S) == 5
    assert "left alone for another 30 s" in budget.scarcest(0)
    budget.hold(0, 1e12)
    assert budget.wait_ns(0) == 86_400 * _S


@given(
    st.lists(st.builds(Rate, st.integers(1, 5), st.integers(1, 30)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 20 * _S), st.integers(1, 5)), max_size=30),
)
def test_whoever_obeys_never_exceeds(rates: list[Rate], wishes: list[tuple[int, int]]) -> None:
    """Random pauses and costs, each spent when the budget says: every stretch keeps every rate."""
    budget = _budget(*rates)
    spent: list[int] = []
    now_ns = 0
    for pause_ns, wanted in wishes:
        now_ns += pause_ns
        cost = min(wanted, budget.most)
        now_ns += budget.wait_ns(now_ns, cost)
        assert budget.room(now_ns, now_ns) >= cost
        budget.spend(now_ns, cost)
        spent += [now_ns] * cost
    for rate in rates:
        assert all(
            beyond - first >= rate.seconds * _S
            for first, beyond in zip(spent, spent[rate.requests :], strict=False)
        )


@given(
    st.builds(Rate, st.integers(1, 4), st.integers(1, 5)),
    st.lists(st.integers(0, 3 * _S), max_size=8),
    st.integers(0, 12 * _S),
)
def test_room_is_what_can_really_be_spent(rate: Rate, pauses: list[int], span_ns: int) -> None:
    """Spending as early as ever possible: as many as ``room`` said fit in, and not one more."""
    budget = _budget(rate)
    now_ns = 0
    for pause_ns in pauses:
        now_ns += pause_ns
        now_ns += budget.wait_ns(now_ns)
        budget.spend(now_ns)
    said, until_ns, count = budget.room(now_ns, now_ns + span_ns), now_ns + span_ns, 0
    while now_ns + budget.wait_ns(now_ns) <= until_ns:
        now_ns += budget.wait_ns(now_ns)
        budget.spend(now_ns)
        count += 1
    assert count == said
