"""The streaming evaluator: what is known when, what is Unknown and why."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

import pytest

from engine.codes import UnknownReason
from engine.errors import DataError
from engine.indicators import FUNCTIONS, SeriesEngine, SeriesValue, bars_needed, resolve, stream
from engine.model import Bar
from engine.series import SELF, Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode

MINUTE = 60
DAY = 86400
CLOSE = Column(SELF, MINUTE, "close")
VOLUME = Column(SELF, MINUTE, "volume")


def bar(at: int, close: float, traded: bool = True, volume: float = 100.0) -> Bar:
    """Return bar number ``at``, all prices at ``close``."""
    return Bar(at * MINUTE * 1000, close, close, close, close, volume, traded)


def wave(at: int) -> float:
    """A price that rises and falls and never repeats its neighbour."""
    return 100.0 + 10.0 * math.sin(at * 0.7) + 0.01 * at


def wave_bar(at: int) -> Bar:
    """A bar with a body and two shadows around the wave."""
    opened, close = wave(at - 1), wave(at)
    high, low = max(opened, close) + 0.3, min(opened, close) - 0.2
    return Bar(at * MINUTE * 1000, opened, high, low, close, 100.0)


def call(function: str, *lengths: float, of: SeriesNode | None = None, output: str = "") -> SeriesCall:
    """Build a call over ``of``, or over the function's own columns."""
    inputs = tuple(Column(SELF, MINUTE, name) for name in FUNCTIONS[function].columns)
    return SeriesCall(function, inputs if of is None else (of,), lengths, output)


def feed(engine: SeriesEngine, bars: Iterable[Bar], symbol: str = "") -> None:
    """Feed bars of the decision symbol, or of another."""
    for one in bars:
        engine.feed(symbol or engine.symbol, MINUTE, one)


def over(node: SeriesNode, closes: Sequence[float]) -> SeriesValue:
    """Return the value of a node after these closes."""
    engine = SeriesEngine([node], "A")
    feed(engine, (bar(at, close) for at, close in enumerate(closes)))
    return engine.values()[0]


# --- warm-up, lags, anchors -------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_exactly_from_the_declared_warm_up_on(name: str) -> None:
    """One bar fewer is Unknown(warm_up)."""
    spec = FUNCTIONS[name]
    lengths = {"macd": (3.0, 5.0, 4.0), "bollinger": (5.0, 2.0)}.get(name, (5.0,) * len(spec.parameters))
    node = call(name, *lengths, output=spec.outputs[0].name)
    engine = SeriesEngine([node], "A")
    warm_up = spec.warm_up(lengths)
    feed(engine, map(wave_bar, range(warm_up - 1)))
    assert engine.value(node).reason is (UnknownReason.WARM_UP if warm_up > 1 else UnknownReason.NO_BARS)
    feed(engine, [wave_bar(warm_up - 1)])
    assert engine.value(node).reason is UnknownReason.KNOWN
    assert math.isfinite(engine.value(node).value)


def test_nested_nodes_warm_up_one_after_the_other() -> None:
    """An average over an rsi starts with the first known rsi."""
    node = call("sma", 5, of=Lag(call("rsi", 2), 3))
    engine = SeriesEngine([node], "A")
    feed(engine, map(wave_bar, range(bars_needed(node) - 1)))
    assert engine.value(node).reason is UnknownReason.WARM_UP
    feed(engine, [wave_bar(bars_needed(node) - 1)])
    assert engine.value(node).reason is UnknownReason.KNOWN


def test_lag_gives_the_value_and_the_reason_of_then() -> None:
    """The rate of change over a zero is Unknown when it happens and, lagged, two bars later."""
    ratio = call("roc", 1)
    lagged = Lag(ratio, 2)
    engine = SeriesEngine([ratio, lagged], "A")
    seen = []
    for at, close in enumerate([4.0, 0.0, 1.0, 2.0, 3.0, 6.0]):
        feed(engine, [bar(at, close)])
        seen.append(tuple((value.value, value.reason) for value in engine.values()))
    now, then = zip(*seen, strict=True)
    assert [reason.name for _, reason in now[:3]] == ["WARM_UP", "KNOWN", "DIVISION_BY_ZERO"]
    assert now[3] == (1.0, UnknownReason.KNOWN)
    assert [reason.name for _, reason in then[2:5]] == ["WARM_UP", "KNOWN", "DIVISION_BY_ZERO"]
    assert then[3][0] == -1.0
    assert then[5] == (1.0, UnknownReason.KNOWN)


def test_anchor_is_the_first_bar_behind_a_gap() -> None:
    """Also of sub-nodes; a lag has its own."""
    rsi = call("rsi", 2)
    node = Lag(rsi, 1)
    engine = SeriesEngine([node], "A")
    assert engine.anchors() == {}
    feed(engine, map(wave_bar, range(3, 9)))
    assert set(engine.anchors().values()) == {3 * MINUTE * 1000}
    assert set(engine.anchors()) == {resolve(node, "A"), resolve(rsi, "A")}
    engine.gap("A", MINUTE)
    assert engine.anchors() == {}
    feed(engine, map(wave_bar, range(20, 25)))
    assert set(engine.anchors().values()) == {20 * MINUTE * 1000}


def test_anchors_hold_a_restarted_engine_back() -> None:
    """A gap that the source has filled since does not change what live trading computed."""
    nodes = [call("rsi", 14), call("ema", 2), call("macd", 2, 3, 2, output="signal")]
    live = SeriesEngine(nodes, "A")
    feed(live, map(wave_bar, range(50)))
    live.gap("A", MINUTE)
    feed(live, map(wave_bar, range(57, 340)))
    restarted = SeriesEngine(nodes, "A", anchors=live.anchors())
    feed(restarted, map(wave_bar, range(340)))
    assert all(value.reason is UnknownReason.KNOWN for value in live.values())
    assert restarted.values() == live.values()
    assert restarted.anchors() == live.anchors()
    unaware = SeriesEngine(nodes, "A")
    feed(unaware, map(wave_bar, range(340)))
    assert unaware.values() != live.values()


# --- Unknown ----------------------------------------------------------------------------------


def test_before_the_first_bar_nothing_is_known() -> None:
    """No bars is a reason of its own; a constant needs none."""
    engine = SeriesEngine([CLOSE, call("rsi", 14), SeriesConstant(2.0)], "A")
    close, rsi, two = engine.values()
    assert close.reason is rsi.reason is UnknownReason.NO_BARS
    assert close.open_time_ms is None
    assert math.isnan(close.value)
    assert two == (2.0, UnknownReason.KNOWN, 0, None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, UnknownReason.MISSING),
        (math.inf, UnknownReason.INFINITE),
        (-math.inf, UnknownReason.INFINITE),
    ],
)
def test_a_field_that_is_no_number_is_unknown_and_resets_what_reads_it(
    value: float, reason: UnknownReason
) -> None:
    """The average of volume starts anew; the rsi of the close goes on."""
    nodes: list[SeriesNode] = [VOLUME, call("sma", 3, of=VOLUME), call("ema", 2, of=VOLUME), call("rsi", 2)]
    engine = SeriesEngine(nodes, "A")
    feed(engine, map(wave_bar, range(50)))
    assert all(value.reason is UnknownReason.KNOWN for value in engine.values())
    feed(engine, [bar(50, 100.0, volume=value)])
    assert [value.reason for value in engine.values()] == [reason] * 3 + [UnknownReason.KNOWN]
    feed(engine, map(wave_bar, range(51, 54)))
    expected = [UnknownReason.KNOWN, UnknownReason.KNOWN, UnknownReason.WARM_UP, UnknownReason.KNOWN]
    assert [value.reason for value in engine.values()] == expected
    assert engine.anchors()[resolve(nodes[2], "A")] == 51 * MINUTE * 1000


@pytest.mark.parametrize(
    ("node", "closes", "reason"),
    [
        (SeriesArithmetic("/", (CLOSE, SeriesConstant(0.0))), [1.0], UnknownReason.DIVISION_BY_ZERO),
        (SeriesArithmetic("log", (CLOSE,)), [0.0], UnknownReason.NOT_A_NUMBER),
        (SeriesArithmetic("log", (CLOSE,)), [-1.0], UnknownReason.NOT_A_NUMBER),
        (SeriesArithmetic("*", (CLOSE, CLOSE)), [1e200], UnknownReason.OVERFLOW),
        (SeriesArithmetic("-", (CLOSE, SeriesConstant(-1e308))), [1e308], UnknownReason.OVERFLOW),
        (call("roc", 1), [0.0, 1.0], UnknownReason.DIVISION_BY_ZERO),
        (call("zscore", 3), [0.1, 0.1, 0.1], UnknownReason.DIVISION_BY_ZERO),
        (call("rsi", 2), [0.1] * 40, UnknownReason.DIVISION_BY_ZERO),
        (call("rsi", 2), [1.0, 2.0] * 20 + [1e308, -1e308], UnknownReason.OVERFLOW),
        (call("cutler_rsi", 2), [1e308, -1e308, 0.0], UnknownReason.OVERFLOW),
        (call("bollinger", 2, 2.0, output="middle"), [1e200, 3e200], UnknownReason.OVERFLOW),
        (call("ema", 2), [1e308] * 2 + [1.0] * 39, UnknownReason.WARM_UP),
    ],
)
def test_arithmetic_that_fails_is_unknown(
    node: SeriesNode, closes: list[float], reason: UnknownReason
) -> None:
    """Each with its reason; an overflow in the seed starts the warm-up anew at once."""
    value = over(node, closes)
    assert (value.reason, math.isnan(value.value)) == (reason, True)


def test_an_overflow_does_not_poison_what_follows() -> None:
    """The kernel starts anew behind it."""
    node = call("rsi", 2)
    engine = SeriesEngine([node], "A")
    feed(engine, map(wave_bar, range(45)))
    feed(engine, [bar(45, 1e308), bar(46, -1e308)])
    assert engine.value(node).reason is UnknownReason.OVERFLOW
    feed(engine, map(wave_bar, range(47, 47 + 40)))
    fresh = SeriesEngine([node], "A")
    feed(fresh, map(wave_bar, range(47, 47 + 40)))
    assert engine.values() == fresh.values()
    assert engine.value(node).reason is UnknownReason.KNOWN


@pytest.mark.parametrize(
    ("operator", "operands", "value"),
    [
        ("+", (1.0, 2.0, 4.0), 7.0),
        ("-", (1.0, 2.0), -1.0),
        ("*", (3.0, 2.0), 6.0),
        ("/", (8.0, 2.0, 4.0), 1.0),
        ("min", (3.0, 2.0, 5.0), 2.0),
        ("max", (3.0, 2.0, 5.0), 5.0),
        ("neg", (3.0,), -3.0),
        ("abs", (-3.0,), 3.0),
        ("log", (1.0,), 0.0),
    ],
)
def test_arithmetic(operator: str, operands: tuple[float, ...], value: float) -> None:
    """From left to right; over constants alone it is a constant, over a column it steps with it."""
    constants = tuple(map(SeriesConstant, operands))
    assert SeriesEngine([SeriesArithmetic(operator, constants)], "A").values()[0].value == value
    first = SeriesArithmetic("+", (CLOSE, SeriesConstant(operands[0])))
    assert over(SeriesArithmetic(operator, (first, *constants[1:])), [0.0]).value == value


def test_typical_price() -> None:
    """(high + low + close) / 3."""
    engine = SeriesEngine([Column(SELF, MINUTE, "typical")], "A")
    feed(engine, [Bar(0, 5.0, 9.0, 1.0, 5.0, 1.0)])
    assert engine.values()[0].value == 5.0


# --- bars without a trade ---------------------------------------------------------------------


def test_more_than_a_fifth_without_trade_is_quiet() -> None:
    """Two of ten bars may be without a trade, three may not; they still count as bars."""
    node, column = call("sma", 10), CLOSE
    engine = SeriesEngine([node, column], "A")
    feed(engine, (bar(at, wave(at), traded=at not in (7, 8)) for at in range(10)))
    assert engine.value(node).reason is UnknownReason.KNOWN
    feed(engine, [bar(10, wave(10), traded=False)])
    assert engine.value(node).reason is UnknownReason.QUIET
    assert math.isnan(engine.value(node).value)
    assert engine.value(column).value == wave(10)
    feed(engine, (bar(at, wave(at)) for at in range(11, 17)))
    assert engine.value(node).reason is UnknownReason.QUIET
    feed(engine, [bar(17, wave(17))])
    assert engine.value(node).reason is UnknownReason.KNOWN


def test_a_quiet_stretch_withholds_values_and_loses_none() -> None:
    """Recursive kernels look at their whole warm-up window; behind it they are what they would be."""
    ema = call("ema", 2)
    nodes: list[SeriesNode] = [ema, SeriesArithmetic("-", (ema, CLOSE)), Lag(ema, 1)]
    quiet, busy = SeriesEngine(nodes, "A"), SeriesEngine(nodes, "A")
    for at in range(120):
        feed(quiet, [bar(at, wave(at), traded=not 50 <= at < 59)])
        feed(busy, [bar(at, wave(at))])
        current, before, lagged = (value.reason for value in quiet.values())
        known = at >= 39 and not 58 <= at < 90
        assert (current is UnknownReason.KNOWN) == known
        assert before is current
        assert lagged is UnknownReason.QUIET if 59 <= at < 91 else lagged is not UnknownReason.QUIET
    assert quiet.values() == busy.values()


# --- several symbols --------------------------------------------------------------------------

KO, PEP = Column("KO", MINUTE, "close"), Column("PEP", MINUTE, "close")
PAIR = SeriesCall("zscore", (SeriesArithmetic("log", (SeriesArithmetic("/", (KO, PEP)),)),), (5.0,))


def test_a_pair_steps_when_both_have_the_bar() -> None:
    """Its value is the formula's; while one waits for the other it ages."""
    engine = SeriesEngine([PAIR, KO], "KO")
    feed(engine, (bar(at, wave(at)) for at in range(8)), "KO")
    assert engine.value(PAIR).reason is UnknownReason.NO_BARS
    feed(engine, (bar(at, wave(at + 3)) for at in range(6)), "PEP")
    logs = [math.log(wave(at) / wave(at + 3)) for at in range(1, 6)]
    value = engine.value(PAIR)
    expected = (logs[-1] - statistics.fmean(logs)) / statistics.pstdev(logs)
    assert value.value == pytest.approx(expected, abs=1e-9)
    assert (value.reason, value.age_bars, value.open_time_ms) == (UnknownReason.KNOWN, 2, 5 * MINUTE * 1000)
    assert engine.value(KO).age_bars == 0
    feed(engine, [bar(6, wave(9)), bar(7, wave(10))], "PEP")
    assert engine.value(PAIR).age_bars == 0


def test_a_bar_that_one_symbol_lacks_is_a_gap_of_the_pair() -> None:
    """Known again after five bars of both; the symbol alone goes on."""
    alone = SeriesCall("sma", (KO,), (5.0,))
    engine = SeriesEngine([PAIR, alone], "KO")
    for at in range(6):
        feed(engine, [bar(at, wave(at))], "KO")
        feed(engine, [bar(at, wave(at + 3))], "PEP")
    feed(engine, [bar(6, wave(6))], "KO")
    assert engine.value(PAIR).age_bars == 1
    feed(engine, [bar(7, wave(10))], "PEP")
    assert engine.value(PAIR).reason is UnknownReason.GAP
    for at in range(7, 12):
        assert engine.value(PAIR).reason is not UnknownReason.KNOWN
        feed(engine, [bar(at, wave(at))], "KO")
        if at > 7:
            feed(engine, [bar(at, wave(at + 3))], "PEP")
        assert engine.value(alone).reason is UnknownReason.KNOWN
    assert engine.value(PAIR).reason is UnknownReason.KNOWN
    assert engine.anchors()[PAIR] == 7 * MINUTE * 1000


def test_order_between_symbols_does_not_matter() -> None:
    """History symbol by symbol gives what live trading gave bar by bar."""
    spread = SeriesArithmetic("-", (SeriesCall("ema", (KO,), (2.0,)), SeriesCall("ema", (PEP,), (3.0,))))
    nodes: list[SeriesNode] = [PAIR, Lag(PAIR, 1), SeriesCall("ema", (spread,), (2.0,))]
    nodes.append(SeriesArithmetic("-", (PAIR, Column("SPY", MINUTE, "close"))))
    by_bar, by_symbol = SeriesEngine(nodes, "KO"), SeriesEngine(nodes, "KO")
    histories = {
        name: [bar(at, wave(at * shift)) for at in range(150) if at not in holes]
        for name, shift, holes in (("KO", 1, {40}), ("PEP", 2, {41, 42}), ("SPY", 3, {40, 60}))
    }
    for name, bars in histories.items():
        feed(by_symbol, bars, name)
    timeline = sorted((one.open_time_ms, name, one) for name, bars in histories.items() for one in bars)
    for _, name, one in timeline:
        feed(by_bar, [one], name)
    assert by_bar.values() == by_symbol.values()
    assert by_bar.anchors() == by_symbol.anchors()
    assert all(value.reason is UnknownReason.KNOWN for value in by_bar.values())


def test_a_gap_of_one_symbol_resets_the_pair() -> None:
    """And what is built on it; the other symbol is untouched."""
    three = SeriesArithmetic("-", (PAIR, Column("SPY", MINUTE, "close")))
    other = SeriesCall("sma", (PEP,), (5.0,))
    engine = SeriesEngine([PAIR, three, KO, other], "KO")
    for at in range(6):
        for name, shift in (("KO", 1), ("PEP", 2), ("SPY", 3)):
            feed(engine, [bar(at, wave(at * shift))], name)
    assert all(value.reason is UnknownReason.KNOWN for value in engine.values())
    engine.gap("KO", MINUTE)
    gap, known = UnknownReason.GAP, UnknownReason.KNOWN
    assert [value.reason for value in engine.values()] == [gap, gap, gap, known]


def test_a_pair_does_not_reach_back_over_a_gap() -> None:
    """Bars from before it are not paired any more, even where the other symbol is late."""
    engine = SeriesEngine([PAIR], "KO")
    feed(engine, (bar(at, wave(at)) for at in range(5)), "KO")
    engine.gap("KO", MINUTE)
    feed(engine, (bar(at, wave(at)) for at in range(5, 10)), "KO")
    feed(engine, (bar(at, wave(at + 3)) for at in range(9)), "PEP")
    assert engine.anchors()[PAIR] == 5 * MINUTE * 1000
    assert engine.value(PAIR).reason is UnknownReason.WARM_UP
    feed(engine, [bar(9, wave(12))], "PEP")
    assert engine.value(PAIR).reason is UnknownReason.KNOWN


# --- building ---------------------------------------------------------------------------------


def test_self_is_the_decision_symbol() -> None:
    """Named or not, it is the same column."""
    engine = SeriesEngine([CLOSE, Column("A", MINUTE, "close")], "A")
    assert engine.sources == {("A", MINUTE)}
    feed(engine, [bar(0, 5.0)])
    assert [value.value for value in engine.values()] == [5.0, 5.0]


def test_equal_nodes_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three outputs, a lag and an average of one macd step one kernel."""
    spec, calls = FUNCTIONS["macd"], []

    def counted(*arguments: float) -> int:
        calls.append(arguments)
        return spec.step(*arguments)

    registry = {**FUNCTIONS, "macd": dataclasses.replace(spec, step=counted)}
    monkeypatch.setattr(stream, "FUNCTIONS", registry)
    outputs = [call("macd", 2, 3, 2, output=name) for name in ("line", "signal", "histogram")]
    engine = SeriesEngine([*outputs, Lag(outputs[0], 1), call("sma", 2, of=outputs[2])], "A")
    feed(engine, map(wave_bar, range(70)))
    line, signal, histogram = (engine.value(node).value for node in outputs)
    assert histogram == line - signal
    assert len(calls) == 70


def test_a_source_that_no_node_reads_is_ignored() -> None:
    """Feeding or gapping it changes nothing."""
    engine = SeriesEngine([CLOSE], "A")
    engine.feed("B", MINUTE, bar(0, 5.0))
    engine.gap("A", DAY)
    assert engine.values()[0].reason is UnknownReason.NO_BARS


@pytest.mark.parametrize("at", [4, 5])
def test_bars_out_of_order_are_refused(at: int) -> None:
    """A double or an earlier bar is an error that names symbol and times."""
    engine = SeriesEngine([CLOSE], "A")
    feed(engine, [bar(5, 1.0)])
    with pytest.raises(DataError, match=f"bars of A .* opened at {at * MINUTE * 1000} ms came after"):
        feed(engine, [bar(at, 1.0)])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (SeriesCall("vwap", (CLOSE,), (5.0,)), "no function 'vwap'"),
        (SeriesCall("sma", (CLOSE,), (1.0,)), "must be 2 to 1000"),
        (SeriesCall("sma", (CLOSE, CLOSE), (5.0,)), "reads 1 series, not 2"),
        (SeriesCall("sma", (SeriesConstant(1.0),), (5.0,)), "needs a column"),
        (SeriesCall("macd", (CLOSE,), (12.0, 26.0, 9.0)), "no output ''"),
        (SeriesArithmetic("%", (CLOSE, CLOSE)), "no operator '%'"),
        (SeriesArithmetic("log", (CLOSE, CLOSE)), "takes 1 operands"),
        (SeriesArithmetic("+", (CLOSE,)), "takes two or more operands"),
        (SeriesArithmetic("+", (CLOSE, Column(SELF, DAY, "close"))), "mixes intervals"),
        (Column(SELF, MINUTE, "vwap"), "no column 'vwap'"),
        (Lag(CLOSE, 0), "one bar or more"),
        (Lag(SeriesConstant(1.0), 1), "needs a column"),
    ],
)
def test_nodes_the_language_would_not_build_are_refused(node: SeriesNode, message: str) -> None:
    """At construction, never while trading."""
    with pytest.raises(ValueError, match=message):
        SeriesEngine([node], "A")
