"""Properties of the indicators over generated bars: bounds, replay, gaps, and that Unknown stays Unknown."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.codes import UnknownReason
from engine.indicators import FUNCTIONS, SeriesEngine, SeriesValue, bars_needed
from engine.model import Bar
from engine.series import SELF, Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode

MINUTE = 60
CLOSE = Column(SELF, MINUTE, "close")
OTHER = Column("OTHER", MINUTE, "close")
KNOWN = UnknownReason.KNOWN


def close_bar(at: int, close: float, traded: bool = True) -> Bar:
    """Return bar number ``at`` with every field at ``close``."""
    return Bar(at * MINUTE * 1000, close, close, close, close, close, traded)


def call(function: str, *lengths: float, of: SeriesNode | None = None, output: str = "") -> SeriesCall:
    """Build a call over ``of``, or over the function's own columns."""
    inputs = tuple(Column(SELF, MINUTE, name) for name in FUNCTIONS[function].columns)
    return SeriesCall(function, inputs if of is None else (of,), lengths, output)


def history(nodes: list[SeriesNode], closes: list[float]) -> list[tuple[SeriesValue, ...]]:
    """Return the values of the nodes after each close."""
    engine, rows = SeriesEngine(nodes, "A"), []
    for at, close in enumerate(closes):
        engine.feed("A", MINUTE, close_bar(at, close))
        rows.append(engine.values())
    return rows


def bits(values: tuple[SeriesValue, ...]) -> list[tuple[bytes, UnknownReason, int]]:
    """Return what must be equal to the bit."""
    return [(struct.pack("<d", value.value), value.reason, value.age_bars) for value in values]


# Prices on a grid, with stretches that stand still.
prices = st.one_of(
    st.integers(1, 10**9).map(lambda ticks: ticks / 10**4),
    st.sampled_from([0.0001, 0.1, 1.0, 100.0, 100.01]),
)
closes = st.lists(prices, min_size=42, max_size=70)
anything = st.one_of(prices, st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, 1e200]))


@given(closes, st.integers(2, 3))
def test_rsi_stays_between_0_and_100(values: list[float], n: int) -> None:
    """Wilder's and Cutler's, where they are known; Cutler's always is."""
    for wilder, cutler in history([call("rsi", n), call("cutler_rsi", n)], values)[n:]:
        assert wilder.reason in (KNOWN, UnknownReason.WARM_UP, UnknownReason.DIVISION_BY_ZERO)
        assert wilder.reason is not KNOWN or 0.0 <= wilder.value <= 100.0
        assert cutler.reason is KNOWN
        assert 0.0 <= cutler.value <= 100.0


@given(closes, st.integers(2, 20), st.floats(0.0, 5.0))
def test_an_average_lies_in_its_window_and_its_bands_around_it(
    values: list[float], n: int, deviations: float
) -> None:
    """Lowest <= sma <= highest (to the last bits), lower <= middle <= upper, middle is the sma."""
    nodes: list[SeriesNode] = [call("lowest", n), call("sma", n), call("highest", n)]
    nodes += [call("bollinger", n, deviations, output=name) for name in ("lower", "middle", "upper")]
    for at, row in enumerate(history(nodes, values)):
        if at + 1 < n:
            assert all(value.reason is UnknownReason.WARM_UP for value in row)
            continue
        low, mean, high, lower, middle, upper = (value.value for value in row)
        window = values[at + 1 - n : at + 1]
        assert (low, high) == (min(window), max(window))
        assert low - 1e-12 * high <= mean <= high + 1e-12 * high
        assert low != high or mean == low
        assert middle == mean
        assert lower <= middle <= upper


@given(st.lists(anything, min_size=1, max_size=60), st.integers(1, 7))
def test_highest_and_lowest_are_those_of_the_window(values: list[float], n: int) -> None:
    """Any float; a window with one that is none is Unknown."""
    rows = history([call("highest", n), call("lowest", n)], values)
    for at, (high, low) in enumerate(rows):
        window = values[max(0, at + 1 - n) : at + 1]
        if len(window) == n and all(map(math.isfinite, window)):
            assert (high.value, low.value) == (max(window), min(window))
        else:
            assert high.reason is low.reason is not KNOWN


def exactly(name: str, window: list[Fraction]) -> Fraction | None:
    """Return the exact value of a windowed function of 3 over its window; None where it has none."""
    if name == "sma":
        return sum(window[-3:], Fraction(0)) / 3
    if name == "roc":
        return (window[-1] - window[-4]) / window[-4] if window[-4] else None
    changes = [b - a for a, b in pairwise(window[-4:])]
    gains, losses = sum(c for c in changes if c > 0), sum(-c for c in changes if c < 0)
    return Fraction(100) * gains / (gains + losses) if losses else Fraction(100)


@given(st.lists(anything, min_size=4, max_size=30))
def test_unknown_never_becomes_a_bent_number(values: list[float]) -> None:
    """Whatever comes in: a known value is the formula's, and what has no value is Unknown, not 0 or inf."""
    names = ("sma", "roc", "cutler_rsi")
    for at, row in enumerate(history([call(name, 3) for name in names], values)):
        for name, value in zip(names, row, strict=True):
            if value.reason is not KNOWN:
                assert math.isnan(value.value)
                continue
            needed = bars_needed(call(name, 3))
            window = values[at + 1 - needed : at + 1]
            assert len(window) == needed
            assert all(map(math.isfinite, window))
            exact = exactly(name, [Fraction(x) for x in window])
            assert exact is not None
            scale = max(map(abs, window)) if name == "sma" else abs(float(exact))
            assert abs(float(exact) - value.value) <= 1e-12 * scale + 1e-300


@given(anything, anything, st.sampled_from(["+", "-", "*", "/", "min", "max"]))
def test_arithmetic_is_that_of_floats_or_unknown(left: float, right: float, operator: str) -> None:
    """Known exactly where both sides and the result are finite."""
    node = SeriesArithmetic(operator, (Column(SELF, MINUTE, "close"), Column(SELF, MINUTE, "open")))
    engine = SeriesEngine([node], "A")
    engine.feed("A", MINUTE, Bar(0, right, 1.0, 1.0, left, 1.0))
    (value,) = engine.values()
    if not (math.isfinite(left) and math.isfinite(right)):
        assert value.reason in (UnknownReason.MISSING, UnknownReason.INFINITE)
    elif operator == "/" and right == 0.0:
        assert value.reason is UnknownReason.DIVISION_BY_ZERO
    else:
        result = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "min": lambda: min(left, right),
            "max": lambda: max(left, right),
        }[operator]()
        assert value.reason is (KNOWN if math.isfinite(result) else UnknownReason.OVERFLOW)
        assert value.value == result or value.reason is not KNOWN


# --- gaps, replay, restart --------------------------------------------------------------------

_RATIO = SeriesArithmetic("log", (SeriesArithmetic("/", (CLOSE, OTHER)),))
NODES: list[SeriesNode] = [
    CLOSE,
    call("rsi", 2),
    call("ema", 2, of=call("roc", 1)),
    call("sma", 3, of=call("ema", 2)),
    call("macd", 2, 3, 2, output="histogram"),
    call("highest", 3, of=call("cutler_rsi", 2)),
    Lag(call("zscore", 3), 2),
    call("atr", 2),
    call("hammer"),
    SeriesArithmetic("-", (call("ema", 3), SeriesConstant(1.0))),
    call("zscore", 3, of=_RATIO),
    Lag(call("ema", 2, of=_RATIO), 1),
    call("sma", 2, of=SeriesArithmetic("-", (call("ema", 2), OTHER))),
]

# What happens to one symbol at one tick: a bar, a bar without a trade, an empty field, an unproven
# gap, or nothing at all.
_ticks = st.one_of(
    prices.map(lambda close: ("bar", close)),
    prices.map(lambda close: ("bar", close)),
    st.tuples(st.just("quiet"), prices),
    st.sampled_from([("bar", math.nan), ("gap", 0.0), ("nothing", 0.0)]),
)


@st.composite
def markets(draw: st.DrawFn) -> list[tuple[tuple[str, float], tuple[str, float]]]:
    """Draw ticks of two symbols: long calm stretches, with accidents between them."""
    ticks: list[tuple[tuple[str, float], tuple[str, float]]] = []
    for _ in range(draw(st.integers(1, 3))):
        ticks += draw(st.lists(st.tuples(_ticks, _ticks), max_size=4))
        calm = draw(st.lists(st.tuples(prices, prices), min_size=1, max_size=8))
        stretch = draw(st.integers(1, 12))
        ticks += [(("bar", a), ("bar", b)) for a, b in calm] * stretch
    return ticks


def play(engine: SeriesEngine, at: int, tick: tuple[tuple[str, float], tuple[str, float]]) -> None:
    """Deliver one tick to both symbols."""
    for symbol, (kind, close) in zip(("A", "OTHER"), tick, strict=True):
        if kind in ("bar", "quiet"):
            engine.feed(symbol, MINUTE, close_bar(at, close, kind == "bar"))
        elif kind == "gap":
            engine.gap(symbol, MINUTE)


@given(markets(), st.data())
def test_a_restart_from_the_anchors_is_invisible(
    market: list[tuple[tuple[str, float], tuple[str, float]]], data: st.DataObject
) -> None:
    """Fed from the earliest anchor on, a new engine gives the same bits as the one that never stopped."""
    cut = data.draw(st.integers(1, len(market)), label="restart after tick")
    market = [*market[:cut], (("bar", 7.0), ("bar", 9.0)), *market[cut:]]
    streaming = SeriesEngine(NODES, "A")
    for at in range(cut):
        play(streaming, at, market[at])
    anchors = streaming.anchors()
    first = min(anchors.values(), default=cut * MINUTE * 1000) // (MINUTE * 1000)
    replayed, unaware = SeriesEngine(NODES, "A", anchors), SeriesEngine(NODES, "A")
    for at in range(first, cut):
        play(replayed, at, market[at])
        play(unaware, at, market[at])
    for at in range(cut, len(market)):
        for engine in (streaming, replayed, unaware):
            play(engine, at, market[at])
        assert bits(replayed.values()) == bits(streaming.values())
        assert bits(unaware.values()) == bits(streaming.values())
    assert replayed.anchors() == streaming.anchors() == unaware.anchors()


@given(markets(), closes)
def test_a_gap_forgets_everything_before_it(
    market: list[tuple[tuple[str, float], tuple[str, float]]], after: list[float]
) -> None:
    """Behind an unproven gap the values are those of an engine that never saw the bars before it."""
    engine, fresh = SeriesEngine(NODES, "A"), SeriesEngine(NODES, "A")
    for at, tick in enumerate(market):
        play(engine, at, tick)
    for symbol in ("A", "OTHER"):
        engine.gap(symbol, MINUTE)
    assert {value.reason for value in engine.values()} == {UnknownReason.GAP}
    for at, close in enumerate(after, len(market)):
        for one in (engine, fresh):
            play(one, at, (("bar", close), ("bar", close + 1.0)))
        assert bits(engine.values()) == bits(fresh.values())
    assert engine.anchors() == fresh.anchors()
