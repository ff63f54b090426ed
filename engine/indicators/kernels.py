"""The arithmetic of indicators: one step function each, one bar at a time.

A kernel is ``step(state, *inputs, *lengths) -> reason``.  ``state`` is a flat list of floats,
all zero at the anchor, and the only memory a kernel has:

* ``state[COUNT]`` bars consumed since the anchor,
* ``state[OUTPUT]`` and the entries after it the outputs, meaningful where the kernel returns 0,
* the rest is the kernel's own.

The returned integer is an ``UnknownReason``.  There is nothing here but floats, integers and
loops, so that a compiler for numeric Python takes these functions as they are: live trading and
backtests share one kernel.

A *windowed* kernel is a function of its window alone: its sum runs from the oldest to the newest
value and never subtracts, so that it neither drifts nor depends on where the bars began.  A
*recursive* one (ema and what is built on it, rsi, atr) depends on its anchor; its seeding is that
of TA-Lib, whose definitions are the reference for every function that TA-Lib has too.
"""

from __future__ import annotations

import math
from typing import Final

from engine.codes import Side, UnknownReason

COUNT: Final = 0
OUTPUT: Final = 1

_KNOWN: Final = int(UnknownReason.KNOWN)
_WARM_UP: Final = int(UnknownReason.WARM_UP)
_DIVISION_BY_ZERO: Final = int(UnknownReason.DIVISION_BY_ZERO)
_OVERFLOW: Final = int(UnknownReason.OVERFLOW)

_BUY: Final = float(Side.BUY)
_SELL: Final = float(Side.SELL)
_HOLD: Final = float(Side.HOLD)


# --- parts of kernels -------------------------------------------------------------------------


def _push(state: list[float], base: int, n: int, x: float) -> int:
    """Put ``x`` into the ring of ``n`` at ``base``; return the index of the oldest of the ``n``.

    The ring is written twice, ``n`` apart, so that the window always lies in one piece.
    """
    at = base + int(state[COUNT]) % n
    state[at] = x
    state[at + n] = x
    return at + 1


def _mean(state: list[float], first: int, n: int) -> float:
    """Mean of ``state[first : first + n]``; exact where all of them are equal."""
    origin = state[first]
    total = 0.0
    for at in range(first + 1, first + n):
        total += state[at] - origin
    return origin + total / n


def _deviation(state: list[float], first: int, n: int, mean: float) -> float:
    """Population standard deviation of ``state[first : first + n]`` about ``mean``."""
    total = 0.0
    for at in range(first, first + n):
        distance = state[at] - mean
        total += distance * distance
    return math.sqrt(total / n)


def _ema(state: list[float], base: int, x: float, n: int) -> bool:
    """Step the average at ``base`` (count, value); say whether it has its seed, the first mean."""
    count = state[base]
    if count < n:
        # Until the seed is whole the value is the sum of what was seen.
        state[base] = count + 1.0
        state[base + 1] += x
        if count + 1.0 < n:
            return False
        state[base + 1] /= n
        return True
    state[base + 1] += (x - state[base + 1]) * (2.0 / (n + 1))
    return True


def _highest(state: list[float], x: float, n: int) -> float:
    """Highest of the last ``n`` values, amortised O(1): a queue of falling values with their bars.

    Own state: head, size, then rings of ``n`` values and ``n`` bar numbers.
    """
    values = OUTPUT + 3
    bars = values + n
    bar = state[COUNT]
    head = int(state[OUTPUT + 1])
    size = int(state[OUTPUT + 2])
    if size > 0 and state[bars + head] <= bar - n:
        head = (head + 1) % n
        size -= 1
    while size > 0 and state[values + (head + size - 1) % n] <= x:
        size -= 1
    tail = (head + size) % n
    state[values + tail] = x
    state[bars + tail] = bar
    state[OUTPUT + 1] = float(head)
    state[OUTPUT + 2] = float(size + 1)
    return state[values + head]


# --- windowed ---------------------------------------------------------------------------------


def sma(state: list[float], x: float, n: int) -> int:
    """Arithmetic mean of the last ``n`` values."""
    first = _push(state, OUTPUT + 1, n, x)
    state[COUNT] += 1.0
    if state[COUNT] < n:
        return _WARM_UP
    state[OUTPUT] = _mean(state, first, n)
    return _KNOWN


def bollinger(state: list[float], x: float, n: int, deviations: float) -> int:
    """Lower, middle, upper: the mean of ``n`` and ``deviations`` population deviations about it."""
    first = _push(state, OUTPUT + 3, n, x)
    state[COUNT] += 1.0
    if state[COUNT] < n:
        return _WARM_UP
    mean = _mean(state, first, n)
    width = deviations * _deviation(state, first, n, mean)
    state[OUTPUT] = mean - width
    state[OUTPUT + 1] = mean
    state[OUTPUT + 2] = mean + width
    return _KNOWN


def zscore(state: list[float], x: float, n: int) -> int:
    """Distance of ``x`` from the mean of the last ``n``, in their population deviations."""
    first = _push(state, OUTPUT + 1, n, x)
    state[COUNT] += 1.0
    if state[COUNT] < n:
        return _WARM_UP
    mean = _mean(state, first, n)
    deviation = _deviation(state, first, n, mean)
    if not math.isfinite(deviation):
        return _OVERFLOW
    if deviation == 0.0:
        return _DIVISION_BY_ZERO
    state[OUTPUT] = (x - mean) / deviation
    return _KNOWN


def cutler_rsi(state: list[float], x: float, n: int) -> int:
    """100 x gains / (gains + losses), sums of the last ``n`` changes; 100 where none is a loss.

    Own state: the previous value, then the ring of changes.
    """
    previous = state[OUTPUT + 1]
    state[OUTPUT + 1] = x
    if state[COUNT] == 0.0:
        state[COUNT] = 1.0
        return _WARM_UP
    first = _push(state, OUTPUT + 2, n, x - previous)
    state[COUNT] += 1.0
    if state[COUNT] <= n:
        return _WARM_UP
    gains = 0.0
    losses = 0.0
    for at in range(first, first + n):
        if state[at] > 0.0:
            gains += state[at]
        else:
            losses -= state[at]
    total = gains + losses
    if not math.isfinite(total):
        return _OVERFLOW
    state[OUTPUT] = 100.0 if losses == 0.0 else 100.0 * (gains / total)
    return _KNOWN


def roc(state: list[float], x: float, n: int) -> int:
    """``(x - x n bars ago) / x n bars ago``, a ratio."""
    at = OUTPUT + 1 + int(state[COUNT]) % n
    past = state[at]
    state[at] = x
    state[COUNT] += 1.0
    if state[COUNT] <= n:
        return _WARM_UP
    if past == 0.0:
        return _DIVISION_BY_ZERO
    state[OUTPUT] = (x - past) / past
    return _KNOWN


def highest(state: list[float], x: float, n: int) -> int:
    """Highest of the last ``n`` values, the current one included."""
    state[OUTPUT] = _highest(state, x, n)
    state[COUNT] += 1.0
    return _WARM_UP if state[COUNT] < n else _KNOWN


def lowest(state: list[float], x: float, n: int) -> int:
    """Lowest of the last ``n`` values, the current one included."""
    state[OUTPUT] = -_highest(state, -x, n)
    state[COUNT] += 1.0
    return _WARM_UP if state[COUNT] < n else _KNOWN


# --- recursive --------------------------------------------------------------------------------


def ema(state: list[float], x: float, n: int) -> int:
    """Exponential mean with alpha = 2 / (n + 1), seeded with the mean of the first ``n``."""
    state[COUNT] += 1.0
    if not _ema(state, OUTPUT + 1, x, n):
        return _WARM_UP
    state[OUTPUT] = state[OUTPUT + 2]
    return _KNOWN


def tema(state: list[float], x: float, n: int) -> int:
    """``3 a - 3 b + c`` where b is the ema of a and c the ema of b, each seeded in its turn."""
    state[COUNT] += 1.0
    once = OUTPUT + 1
    if not _ema(state, once, x, n):
        return _WARM_UP
    if not _ema(state, once + 2, state[once + 1], n):
        return _WARM_UP
    if not _ema(state, once + 4, state[once + 3], n):
        return _WARM_UP
    state[OUTPUT] = 3.0 * state[once + 1] - 3.0 * state[once + 3] + state[once + 5]
    return _KNOWN


def macd(state: list[float], x: float, fast: int, slow: int, signal: int) -> int:
    """Line ``ema(fast) - ema(slow)``, signal ``ema(line, signal)``, histogram ``line - signal``.

    Both averages get their seeds at the same bar, the ``slow``-th, as in TA-Lib: the fast one
    is seeded with the mean of the ``fast`` values that end there.
    """
    state[COUNT] += 1.0
    fast_ema = OUTPUT + 3
    slow_ema = fast_ema + 2
    signal_ema = slow_ema + 2
    if state[COUNT] > slow - fast:
        _ema(state, fast_ema, x, fast)
    if not _ema(state, slow_ema, x, slow):
        return _WARM_UP
    line = state[fast_ema + 1] - state[slow_ema + 1]
    if not _ema(state, signal_ema, line, signal):
        return _WARM_UP
    state[OUTPUT] = line
    state[OUTPUT + 1] = state[signal_ema + 1]
    state[OUTPUT + 2] = line - state[signal_ema + 1]
    return _KNOWN


def rsi(state: list[float], x: float, n: int) -> int:
    """100 x gain / (gain + loss), Wilder's averages of the changes, seeded with the first mean.

    Own state: the previous value, average gain, average loss.
    """
    change = x - state[OUTPUT + 1]
    state[OUTPUT + 1] = x
    state[COUNT] += 1.0
    if state[COUNT] == 1.0:
        return _WARM_UP
    gain = change if change > 0.0 else 0.0
    loss = -change if change < 0.0 else 0.0
    if state[COUNT] <= n + 1:
        state[OUTPUT + 2] += gain
        state[OUTPUT + 3] += loss
        if state[COUNT] <= n:
            return _WARM_UP
        state[OUTPUT + 2] /= n
        state[OUTPUT + 3] /= n
    else:
        state[OUTPUT + 2] = (state[OUTPUT + 2] * (n - 1) + gain) / n
        state[OUTPUT + 3] = (state[OUTPUT + 3] * (n - 1) + loss) / n
    total = state[OUTPUT + 2] + state[OUTPUT + 3]
    if not math.isfinite(total):
        return _OVERFLOW
    if total == 0.0:
        return _DIVISION_BY_ZERO
    state[OUTPUT] = 100.0 * (state[OUTPUT + 2] / total)
    return _KNOWN


def atr(state: list[float], high: float, low: float, close: float, n: int) -> int:
    """Wilder's average of the true range, seeded with the mean of the first ``n`` of them.

    Own state: the previous close.
    """
    previous = state[OUTPUT + 1]
    state[OUTPUT + 1] = close
    state[COUNT] += 1.0
    if state[COUNT] == 1.0:
        return _WARM_UP
    true_range = max(high - low, abs(high - previous), abs(low - previous))
    if state[COUNT] > n + 1:
        state[OUTPUT] = (state[OUTPUT] * (n - 1) + true_range) / n
        return _KNOWN
    state[OUTPUT] += true_range
    if state[COUNT] <= n:
        return _WARM_UP
    state[OUTPUT] /= n
    return _KNOWN


# --- candlestick patterns ---------------------------------------------------------------------


def engulfing(state: list[float], open_: float, close: float) -> int:
    """Side of an engulfing pattern; the definition is the registry's.  Own state: the last body."""
    last_open = state[OUTPUT + 1]
    last_close = state[OUTPUT + 2]
    state[OUTPUT + 1] = open_
    state[OUTPUT + 2] = close
    state[COUNT] += 1.0
    if state[COUNT] < 2.0:
        return _WARM_UP
    state[OUTPUT] = _HOLD
    differs = open_ != last_close or close != last_open
    if last_close < last_open and open_ <= last_close and close >= last_open and differs:
        state[OUTPUT] = _BUY
    elif last_close > last_open and open_ >= last_close and close <= last_open and differs:
        state[OUTPUT] = _SELL
    return _KNOWN


def hammer(state: list[float], open_: float, high: float, low: float, close: float) -> int:
    """Side of a hammer or shooting star; the definition is the registry's."""
    state[COUNT] += 1.0
    state[OUTPUT] = _HOLD
    # Differences of decimals are not exact in binary: 10.2 - 10.0 falls short of 0.2.
    slack = 1e-12 * abs(high)
    height = high - low
    body = abs(close - open_)
    above = high - max(open_, close)
    below = min(open_, close) - low
    if height > slack:
        if below + slack >= 2.0 * body and above <= 0.1 * height + slack:
            state[OUTPUT] = _BUY
        elif above + slack >= 2.0 * body and below <= 0.1 * height + slack:
            state[OUTPUT] = _SELL
    return _KNOWN
