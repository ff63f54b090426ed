"""Microseconds per bar and node of the stream evaluator: ``python tests/bench/bench_indicators.py``.

Feeds every symbol an engine of its own, as the agent does, with a random walk from a fixed seed, and
prints the cost of each function alone and of the nodes of a typical policy together.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.indicators import FUNCTIONS, SeriesEngine
from engine.model import Bar
from engine.series import SELF, Column, Lag, SeriesCall, SeriesNode

INTERVAL_SECONDS = 900
_LENGTHS = {"sma": (50.0,), "ema": (12.0,), "tema": (9.0,), "roc": (10.0,), "zscore": (60.0,)}
_CLOSE = Column(SELF, INTERVAL_SECONDS, "close")


def call(name: str, *lengths: float, output: str | None = None) -> SeriesCall:
    """Build a call over the function's own columns; defaults fill in the lengths left out."""
    spec = FUNCTIONS[name]
    full = spec.complete(lengths)
    if full is None:
        raise ValueError(f"{spec.signature} needs its lengths")
    inputs = tuple(Column(SELF, INTERVAL_SECONDS, column) for column in spec.columns)
    return SeriesCall(name, inputs, full, spec.outputs[0].name if output is None else output)


def policy_nodes() -> list[SeriesNode]:
    """Return the twelve series of a policy like the default one."""
    rsi = call("rsi")
    nodes: list[SeriesNode] = [_CLOSE, rsi, Lag(rsi, 1), call("ema", 12.0), call("ema", 26.0)]
    nodes += [call("macd", output=name) for name in ("line", "signal")]
    nodes += [call("bollinger", output=name) for name in ("lower", "upper")]
    return [*nodes, call("sma", 20.0), call("atr"), call("highest", 20.0)]


def random_walk(count: int) -> list[Bar]:
    """Return bars of a geometric random walk, always the same."""
    chance = random.Random(7)
    bars, close = [], 100.0
    for at in range(count):
        opened, close = close, close * (1.0 + chance.gauss(0.0, 0.004))
        high, low = max(opened, close) * 1.001, min(opened, close) * 0.999
        bars.append(Bar(at * INTERVAL_SECONDS * 1000, opened, high, low, close, 1000.0))
    return bars


def microseconds_per_bar(nodes: Sequence[SeriesNode], bars: Sequence[Bar], engines: int, read: bool) -> float:
    """Time one engine's share of one bar, fed to ``engines`` of them in turn."""
    fleet = [SeriesEngine(nodes, f"S{at}") for at in range(engines)]
    start = time.perf_counter()
    for bar in bars:
        for engine in fleet:
            engine.feed(engine.symbol, INTERVAL_SECONDS, bar)
            if read:
                engine.values()
    return (time.perf_counter() - start) * 1e6 / (len(bars) * engines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bars", type=int, default=20_000, help="bars for each function alone")
    parser.add_argument("--symbols", type=int, default=5_000, help="engines of the closing line")
    options = parser.parse_args()
    bars = random_walk(options.bars)
    print(f"{'function':<40}{'us/bar':>10}")
    print(f"{'close (the cost of a feed)':<40}{microseconds_per_bar([_CLOSE], bars, 1, False):>10.2f}")
    for name, spec in FUNCTIONS.items():
        lengths = _LENGTHS.get(name, (20.0,) * sum(p.default is None for p in spec.parameters))
        node = call(name, *lengths)
        numbers = ", ".join(f"{length:g}" for length in node.lengths)
        print(f"{f'{name}({numbers})':<40}{microseconds_per_bar([node], bars, 1, False):>10.2f}")
    nodes = policy_nodes()
    engines = options.symbols
    for read in (False, True):
        cost = microseconds_per_bar(nodes, bars[:30], engines, read)
        words = f"{len(nodes)} nodes x {engines} symbols" + (", values read" if read else "")
        seconds = cost * engines / 1e6
        print(f"{words:<40}{cost:>10.2f}  {cost / len(nodes):.2f} us/node, {seconds:.2f} s/close")


if __name__ == "__main__":
    main()
