"""The registry of functions and the arithmetic of their kernels, against independent oracles."""

from __future__ import annotations

import csv
import gzip
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import talib

from engine.codes import Side, UnknownReason
from engine.indicators import (
    COLUMN_UNITS,
    FUNCTIONS,
    LIKE_INPUT,
    PATTERN_WORDS,
    FunctionSpec,
    SeriesArgument,
    bars_needed,
    is_recursive,
    kernels,
)
from engine.series import Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant
from engine.units import Measure
from tests.shared_data import SHARED, shared_data

_DATA = SHARED / "data"
_BAR_FILES = sorted(
    path.relative_to(_DATA).as_posix()
    for folder in ("stock_*", "crypto_*")
    for path in _DATA.glob(f"{folder}/*.csv.gz")
    if not path.name.endswith(".extra.csv.gz")
)
_COLUMNS = ("open", "high", "low", "close", "volume")
_CLOSE = Column("", 900, "close")


@cache
def bar_columns(name: str) -> dict[str, np.ndarray]:
    """Read a bar file's columns; an empty field is NaN."""
    with gzip.open(shared_data(*name.split("/")), "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {column: np.array([float(row[column] or "nan") for row in rows]) for column in _COLUMNS}


def run(function: str, lengths: Sequence[float], columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return one list per output, NaN where the kernel says Unknown, whatever the declared warm-up."""
    spec = FUNCTIONS[function]
    state = [0.0] * spec.state_size(lengths)
    arguments = spec.kernel_arguments(lengths)
    count = len(spec.outputs)
    rows = []
    for inputs in zip(*columns, strict=True):
        reason = spec.step(state, *inputs, *arguments)
        rows.append([math.nan] * count if reason else state[kernels.OUTPUT : kernels.OUTPUT + count])
    return [list(output) for output in zip(*rows, strict=True)]


# --- TA-Lib is the oracle ---------------------------------------------------------------------


@pytest.mark.parametrize("name", _BAR_FILES or [pytest.param("", marks=pytest.mark.skip("no shared data"))])
def test_kernels_equal_talib_on_every_bar_file(name: str) -> None:
    """From its very first value on, before quantisation, within 1e-9 (of the value, above 1)."""
    bars = bar_columns(name)
    close = bars["close"]
    expected = {
        ("rsi", (14.0,)): [talib.RSI(close, 14)],
        ("sma", (50.0,)): [talib.SMA(close, 50)],
        ("ema", (26.0,)): [talib.EMA(close, 26)],
        ("tema", (9.0,)): [talib.TEMA(close, 9)],
        ("macd", (12.0, 26.0, 9.0)): talib.MACD(close, 12, 26, 9),
        ("bollinger", (20.0, 2.0)): talib.BBANDS(close, 20, 2.0, 2.0)[::-1],
        ("roc", (10.0,)): [talib.ROCP(close, 10)],
        ("highest", (20.0,)): [talib.MAX(close, 20)],
        ("lowest", (10.0,)): [talib.MIN(close, 10)],
    }
    if not np.isnan(bars["high"]).any():
        expected["atr", (14.0,)] = [talib.ATR(bars["high"], bars["low"], close, 14)]
    for (function, lengths), outputs in expected.items():
        columns = [bars[column].tolist() for column in FUNCTIONS[function].columns]
        for ours, theirs in zip(run(function, lengths, columns), outputs, strict=True):
            np.testing.assert_allclose(
                np.array(ours) / np.maximum(1.0, np.abs(theirs)),
                theirs / np.maximum(1.0, np.abs(theirs)),
                rtol=0.0,
                atol=1e-9,
                err_msg=f"{function}{lengths}",
            )


def test_macd_equals_talib_for_other_lengths() -> None:
    """Seeding holds for a signal of one bar, and where the fast average is nearly the slow one."""
    close = bar_columns("stock_1d/spy_1d_2008_2017.csv.gz")["close"]
    for fast, slow, signal in ((2, 3, 1), (25, 26, 30), (5, 35, 5)):
        ours = run("macd", (fast, slow, signal), [close.tolist()])
        for mine, theirs in zip(ours, talib.MACD(close, fast, slow, signal), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=1e-9)


def test_bollinger_equals_the_exact_deviation_at_high_prices() -> None:
    """At 17,000 TA-Lib's difference of squared sums keeps eight decimals; the kernel keeps ten."""
    close = bar_columns("crypto_1m/btc-usd_binancecoinm_1m_20221213.csv.gz")["close"].tolist()
    upper = run("bollinger", (20.0, 2.0), [close])[2]
    for at in range(19, len(close), 97):
        window = close[at - 19 : at + 1]
        exact = statistics.fmean(window) + 2.0 * statistics.pstdev(window)
        assert upper[at] == pytest.approx(exact, rel=0.0, abs=1e-10)


def test_rsi_without_any_change_is_unknown_where_talib_says_zero() -> None:
    """Nothing gained, nothing lost is 0 / 0: an rsi of 0 would be a buy."""
    flat = [5.0] * 40
    assert talib.RSI(np.array(flat), 14)[-1] == 0.0
    state = [0.0] * FUNCTIONS["rsi"].state_size((14.0,))
    reasons = [kernels.rsi(state, price, 14) for price in flat]
    assert reasons[-1] == UnknownReason.DIVISION_BY_ZERO


# --- what TA-Lib has not ----------------------------------------------------------------------


def test_cutler_rsi_equals_the_textbook() -> None:
    """100 - 100 / (1 + mean gain / mean loss) over the last 14 changes."""
    close = bar_columns("stock_15m/aapl_15m_20190104_20190215.csv.gz")["close"].tolist()
    ours = run("cutler_rsi", (14.0,), [close])[0]
    assert all(math.isnan(value) for value in ours[:14])
    for at in range(14, len(close)):
        changes = [b - a for a, b in zip(close[at - 14 : at], close[at - 13 : at + 1], strict=True)]
        gain = math.fsum(change for change in changes if change > 0) / 14
        loss = -math.fsum(change for change in changes if change < 0) / 14
        textbook = 100.0 if loss == 0 else 100.0 - 100.0 / (1.0 + gain / loss)
        assert ours[at] == pytest.approx(textbook, rel=0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("closes", "value"),
    [([1.0, 2.0, 3.0], 100.0), ([3.0, 2.0, 1.0], 0.0), ([2.0, 2.0, 2.0], 100.0), ([1.0, 2.0, 1.0], 50.0)],
)
def test_cutler_rsi_at_its_ends(closes: list[float], value: float) -> None:
    """No losses is 100, also without any change; exactly 0 is a value like any other."""
    assert run("cutler_rsi", (2.0,), [closes])[0][-1] == value


def test_zscore_equals_exact_mean_and_deviation() -> None:
    """Against the standard library's exact arithmetic."""
    close = bar_columns("crypto_1d/ada-eur_bitvavo_1d_2020_2023.csv.gz")["close"].tolist()
    ours = run("zscore", (60.0,), [close])[0]
    for at in range(59, len(close), 7):
        window = close[at - 59 : at + 1]
        exact = (close[at] - statistics.fmean(window)) / statistics.pstdev(window)
        assert ours[at] == pytest.approx(exact, rel=0.0, abs=1e-9)


def test_zscore_of_equal_values_is_unknown_not_rounding_noise() -> None:
    """Sixty times 0.1 does not sum to 6.0 in binary; that is no deviation."""
    state = [0.0] * FUNCTIONS["zscore"].state_size((60.0,))
    reasons = [kernels.zscore(state, 0.1, 60) for _ in range(70)]
    assert reasons[-1] == UnknownReason.DIVISION_BY_ZERO


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))


def _engulfing(last: tuple[Decimal, Decimal], bar: tuple[Decimal, Decimal]) -> str:
    """Apply the registry's definition to two (open, close) bodies, with intervals of decimals."""
    covers = min(bar) <= min(last) and max(bar) >= max(last) and set(bar) != set(last)
    fell, rose = last[1] < last[0], last[1] > last[0]
    if covers and fell and bar[1] > bar[0]:
        return "buy"
    return "sell" if covers and rose and bar[1] < bar[0] else "hold"


def _hammer(opened: Decimal, high: Decimal, low: Decimal, close: Decimal) -> str:
    """Apply the registry's definition in decimals."""
    body, above, below = abs(close - opened), high - max(opened, close), min(opened, close) - low
    if high == low:
        return "hold"
    if below >= 2 * body and 10 * above <= high - low:
        return "buy"
    return "sell" if above >= 2 * body and 10 * below <= high - low else "hold"


@pytest.mark.parametrize(
    "name", ["stock_15m/spy_15m_20190104_20190215.csv.gz", "crypto_1d/ada-eur_bitvavo_1d_2020_2023.csv.gz"]
)
def test_patterns_equal_their_definition_in_decimals(name: str) -> None:
    """Every bar of two real files; each word occurs."""
    bars = bar_columns(name)
    opens, highs, lows, closes = (bars[column].tolist() for column in ("open", "high", "low", "close"))
    bodies = [(_exact(a), _exact(b)) for a, b in zip(opens, closes, strict=True)]
    engulfing = [PATTERN_WORDS.words[int(side)] for side in run("engulfing", (), [opens, closes])[0][1:]]
    assert engulfing == [_engulfing(a, b) for a, b in pairwise(bodies)]
    hammer = [PATTERN_WORDS.words[int(side)] for side in run("hammer", (), [opens, highs, lows, closes])[0]]
    rows = zip(opens, highs, lows, closes, strict=True)
    assert hammer == [_hammer(*map(_exact, row)) for row in rows]
    assert set(engulfing) == set(hammer) == {"buy", "sell", "hold"}


def test_engulfing_equals_talib_where_the_last_bar_has_a_body() -> None:
    """The one difference to CDLENGULFING: a bar without a body is not engulfed."""
    bars = bar_columns("stock_1d/aapl_1d_2004_2018.csv.gz")
    theirs = talib.CDLENGULFING(bars["open"], bars["high"], bars["low"], bars["close"])
    ours = run("engulfing", (), [bars["open"].tolist(), bars["close"].tolist()])[0]
    sign = {Side.BUY: 1, Side.SELL: -1, Side.HOLD: 0}
    for at in range(2, len(ours)):
        if bars["open"][at - 1] != bars["close"][at - 1]:
            assert sign[Side(int(ours[at]))] == np.sign(theirs[at])


def test_hammer_counts_equal_decimals_as_equal() -> None:
    """Lower shadow 0.2 is twice a body of 0.1, though 10.2 - 10.0 < 2 x (10.3 - 10.2) in binary."""
    assert 10.2 - 10.0 < 2 * (10.3 - 10.2)
    assert run("hammer", (), [[10.2], [10.3], [10.0], [10.3]])[0] == [float(Side.BUY)]


# --- the registry -----------------------------------------------------------------------------


def test_registry_loads_without_numpy() -> None:
    """The language asks the registry on every start: nothing heavy may come with it."""
    heavy = ("numpy", "pandas", "talib")
    code = f"import sys, engine.indicators; print([n for n in {heavy!r} if n in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pattern_words_are_the_sides() -> None:
    """The float of a word is its Side."""
    assert {word: PATTERN_WORDS.index(word) for word in PATTERN_WORDS.words} == {
        side.name.lower(): float(side) for side in Side
    }


@pytest.mark.parametrize("spec", FUNCTIONS.values(), ids=lambda spec: spec.name)
def test_every_function_is_described(spec: FunctionSpec) -> None:
    """Columns exist, defaults are legal, a formula and its source are stated."""
    assert set(spec.columns) <= set(COLUMN_UNITS)
    assert spec.doc.endswith(".")
    assert spec.source
    assert len(spec.columns) == 1 or spec.series is SeriesArgument.NONE
    lengths = tuple(p.minimum if p.default is None else p.default for p in spec.parameters)
    assert spec.problem(lengths) is None
    for output in spec.outputs:
        assert output.typical[0] < output.typical[1]
        assert spec.output(output.name) is output


def test_legal_lengths() -> None:
    """Defaults fill in from the right; every mistake has a sentence."""
    macd, sma, bands = FUNCTIONS["macd"], FUNCTIONS["sma"], FUNCTIONS["bollinger"]
    assert macd.complete((5.0,)) == (5.0, 26.0, 9.0)
    assert sma.complete(()) is None
    assert bands.problem((20.0, 2.5)) is None
    assert bands.signature == "bollinger([series,] n=20, deviations=2)"
    assert FUNCTIONS["highest"].signature == "highest(series, n)"
    assert macd.problem((26.0, 12.0, 9.0)) == f"fast of {macd.signature} must be below slow"
    assert sma.problem((2.5,)) == "n of sma([series,] n) must be a whole number, not 2.5"
    assert sma.problem((1001.0,)) == "n of sma([series,] n) must be 2 to 1000, not 1001"
    assert sma.problem((math.nan,)) is not None
    assert sma.problem(()) == "sma([series,] n) takes 1 numbers, not 0"


def test_units_follow_the_input_where_they_say_so() -> None:
    """An average of volume is a quantity, an rsi of it a number in hundredths."""
    assert FUNCTIONS["sma"].outputs[0].unit is LIKE_INPUT
    assert FUNCTIONS["sma"].unit_of("", Measure.QUANTITY) == (Measure.QUANTITY, 10**9)
    assert FUNCTIONS["rsi"].unit_of("", Measure.QUANTITY) == (Measure.NUMBER, 100)
    assert FUNCTIONS["macd"].unit_of("histogram", Measure.PRICE) == (Measure.PRICE, 10**8)
    assert FUNCTIONS["hammer"].unit_of("", Measure.PRICE) == (PATTERN_WORDS, 0)
    with pytest.raises(KeyError):
        FUNCTIONS["macd"].unit_of("middle", Measure.PRICE)


def test_bars_needed_add_up_through_a_node() -> None:
    """Twenty lengths for recursive kernels, the window for windowed ones, one bar more per lag."""
    rsi = SeriesCall("rsi", (_CLOSE,), (14.0,))
    assert bars_needed(rsi) == 280
    assert bars_needed(SeriesCall("sma", (rsi,), (5.0,))) == 284
    assert bars_needed(Lag(SeriesCall("roc", (_CLOSE,), (10.0,)), 3)) == 14
    assert bars_needed(SeriesArithmetic("-", (rsi, SeriesConstant(50.0)))) == 280
    assert bars_needed(SeriesCall("macd", (_CLOSE,), (12.0, 26.0, 9.0), "line")) == 520
    assert is_recursive(Lag(rsi, 1))
    assert not is_recursive(SeriesCall("cutler_rsi", (_CLOSE,), (14.0,)))
