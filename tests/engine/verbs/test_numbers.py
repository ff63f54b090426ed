"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.units import ELAPSED_CAP_SECONDS, GRID_PER_UNIT, Measure, Unit, Words
from engine.verbs.numbers import difference, plain, shown

SIDE = Words("side", ("none", "buy", "sell", "hold"))
NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "unit", "steps", "text"),
    [
        (0.57, Measure.RATIO, 100, "57 %"),
        (0.575, Measure.RATIO, 10_000, "57.5 %"),
        (-0.08, Measure.RATIO, 0, "-8 %"),
        (28.71, Measure.NUMBER, 100, "28.71"),
        (51.3, Measure.NUMBER, 100, "51.30"),
        (80.0, Measure.NUMBER, 0, "80"),
        (0.16001, Measure.PRICE, 10**8, "0.16001 USD"),
        (0.16, Measure.PRICE, 10**8, "0.16 USD"),
        (0.00000001, Measure.PRICE, 10**8, "0.00000001 USD"),
        (91359.49, Measure.PRICE, 10**8, "91359.49 USD"),
        (100000.0, Measure.MONEY, 100, "100000.00 USD"),
        (6312.27, Measure.QUANTITY, 10**9, "6312.27"),
        (252.0, Measure.DURATION, 1, "4m 12s"),
        (0.0, Measure.DURATION, 1, "0s"),
        (90061.0, Measure.DURATION, 1, "1d 1h 1m 1s"),
        (-90.0, Measure.DURATION, 1, "-1m 30s"),
        (float(ELAPSED_CAP_SECONDS), Measure.DURATION, 1, "never"),
        (float(ELAPSED_CAP_SECONDS), Measure.BARS, 1, "never"),
        (1.0, Measure.BARS, 1, "1 bar"),
        (30.0, Measure.BARS, 1, "30 bars"),
        (36000.0, Measure.CLOCK, 1, "10:00"),
        (36030.0, Measure.CLOCK, 1, "10:00:30"),
        (2.0, SIDE, 0, "sell"),
        (1.0, Measure.BOOLEAN, 0, "true"),
        (NAN, Measure.RATIO, 100, "unknown"),
        (NAN, SIDE, 0, "unknown"),
        (-0.0, Measure.MONEY, 100, "0.00 USD"),
    ],
)
def test_values_are_shown_with_their_unit(value: float, unit: Unit, steps: int, text: str) -> None:
    """Each unit has its spelling, each step its decimals."""
    assert shown(value, unit, steps) == text


def test_a_difference_of_times_is_a_duration() -> None:
    """Two times of day are a duration apart, and no distance is "never"."""
    assert difference(4500.0, Measure.CLOCK, 1) == "1h 15m"
    assert difference(float(ELAPSED_CAP_SECONDS), Measure.DURATION, 1) == "3650d"


def test_json_values_are_plain() -> None:
    """JSON gets truth values, numbers, words and null."""
    assert [
        plain(1.0, Measure.BOOLEAN),
        plain(0.57, Measure.RATIO),
        plain(1.0, SIDE),
        plain(NAN, Measure.PRICE),
    ] == [True, 0.57, "buy", None]


_NUMERIC = [unit for unit in Measure if unit not in (Measure.BOOLEAN, Measure.SCALAR)]


@given(
    unit=st.sampled_from(_NUMERIC),
    a=st.integers(-(10**12), 10**12),
    apart=st.one_of(st.just(1), st.integers(1, 10**6)),
    with_step=st.booleans(),
)
def test_two_different_numbers_are_never_shown_alike(
    unit: Measure, a: int, apart: int, with_step: bool
) -> None:
    """Whatever lies on a grid and differs by a step or more has another text."""
    k = GRID_PER_UNIT[unit]
    one, other = a / k, (a + apart) / k
    steps = k if with_step else 0
    assert shown(one, unit, steps) != shown(other, unit, steps)
