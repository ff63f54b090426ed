"""The registry of indicator functions: what each takes, gives, needs and means.

The language checks types against it, the documentation's table is made from it and the stream
evaluator runs its kernels.  Nothing heavy is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from engine.codes import Side
from engine.indicators import kernels
from engine.series import Column, Lag, SeriesArithmetic, SeriesCall, SeriesConstant, SeriesNode
from engine.units import GRID_PER_UNIT, Measure, Unit, Words

PATTERN_WORDS: Final = Words("side", tuple(side.name.lower() for side in Side))
"""What a candlestick pattern gives; the index of a word is its ``codes.Side``."""

RECURSIVE_WARM_UP: Final = 20
"""A recursive kernel is known after this many times its longest length: what the seed still
weighs is then exp(-20) of an rsi and exp(-40) of an ema."""

LONGEST_LENGTH: Final = 1000
"""No length may be larger: a recursive kernel already needs 20,000 bars then."""

COLUMNS: Final = ("open", "high", "low", "close", "volume", "typical")
COLUMN_UNITS: Final[Mapping[str, Measure]] = MappingProxyType(
    {name: Measure.QUANTITY if name == "volume" else Measure.PRICE for name in COLUMNS}
)


class LikeInput(Enum):
    """The unit of an output that follows the unit of the function's input."""

    LIKE_INPUT = "like-input"


LIKE_INPUT: Final = LikeInput.LIKE_INPUT


class SeriesArgument(Enum):
    """Whether a leading series may be written: ``sma(volume, 20)``."""

    NONE = "none"  # the function reads its own columns of the bar
    OPTIONAL = "optional"  # without one it reads its default column
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A numeric argument: a whole length in bars unless ``whole`` is False."""

    name: str
    minimum: float
    maximum: float = LONGEST_LENGTH
    default: float | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a function.

    ``steps_per_unit`` is k of its grid; 0 for words, and where the unit follows the input (the
    grid is then the input's).  ``typical`` is the range where values usually lie, in multiples of
    the input's own level where the unit follows it; ``bounds`` what they can never leave.
    """

    name: str
    unit: Unit | LikeInput
    steps_per_unit: int
    typical: tuple[float, float]
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function of closed bars.

    ``columns`` are the columns its kernel reads, in order, where no series is written.
    ``extra_bars`` are the bars a windowed kernel needs beyond its longest length.  The kernel's
    state has ``state_fixed + state_per_bar * longest length`` floats.
    """

    name: str
    columns: tuple[str, ...]
    series: SeriesArgument
    parameters: tuple[Parameter, ...]
    outputs: tuple[OutputSpec, ...]
    recursive: bool
    extra_bars: int
    step: Callable[..., int]
    state_fixed: int
    state_per_bar: int
    doc: str
    source: str
    ascending: tuple[str, str] | None = None  # the first parameter must be below the second

    def longest(self, lengths: Sequence[float]) -> int:
        """Return the largest of the lengths in bars, 0 where the function has none."""
        pairs = zip(self.parameters, lengths, strict=True)
        return max((int(length) for parameter, length in pairs if parameter.whole), default=0)

    def warm_up(self, lengths: Sequence[float]) -> int:
        """Return how many bars, the current one included, make the value known."""
        longest = self.longest(lengths)
        return RECURSIVE_WARM_UP * longest if self.recursive else longest + self.extra_bars

    def state_size(self, lengths: Sequence[float]) -> int:
        """Return the number of floats of the kernel's state."""
        return self.state_fixed + self.state_per_bar * self.longest(lengths)

    def kernel_arguments(self, lengths: Sequence[float]) -> tuple[float, ...]:
        """Return the lengths as the kernel takes them: whole ones as integers."""
        pairs = zip(self.parameters, lengths, strict=True)
        return tuple(int(length) if parameter.whole else length for parameter, length in pairs)

    def complete(self, lengths: Sequence[float]) -> tuple[float, ...] | None:
        """Fill in the defaults of parameters left out at the end; None if one has no default."""
        missing = [parameter.default for parameter in self.parameters[len(lengths) :]]
        known = [default for default in missing if default is not None]
        return (*lengths, *known) if len(known) == len(missing) else None

    def problem(self, lengths: Sequence[float]) -> str | None:
        """Return what is wrong with a full list of lengths, as a sentence; None if nothing is."""
        if len(lengths) != len(self.parameters):
            return f"{self.signature} takes {len(self.parameters)} numbers, not {len(lengths)}"
        for parameter, length in zip(self.parameters, lengths, strict=True):
            if not math.isfinite(length) or (parameter.whole and length != int(length)):
                return f"{parameter.name} of {self.signature} must be a whole number, not {length:g}"
            if not parameter.minimum <= length <= parameter.maximum:
                legal = f"{parameter.minimum:g} to {parameter.maximum:g}"
                return f"{parameter.name} of {self.signature} must be {legal}, not {length:g}"
        if self.ascending is not None:
            lower, upper = self.ascending
            by_name = {p.name: length for p, length in zip(self.parameters, lengths, strict=True)}
            if by_name[lower] >= by_name[upper]:
                return f"{lower} of {self.signature} must be below {upper}"
        return None

    @property
    def signature(self) -> str:
        """How the function is written: ``bollinger([series,] n=20, deviations=2)``."""
        series = {SeriesArgument.NONE: [], SeriesArgument.OPTIONAL: [], SeriesArgument.REQUIRED: ["series"]}
        names = [p.name if p.default is None else f"{p.name}={p.default:g}" for p in self.parameters]
        optional = "[series,] " if self.series is SeriesArgument.OPTIONAL else ""
        return f"{self.name}({optional}{', '.join(series[self.series] + names)})"

    def output(self, name: str) -> OutputSpec:
        """Return the output called ``name`` ("" where there is one); KeyError if there is none."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(name)

    def unit_of(self, output: str, input_unit: Measure) -> tuple[Unit, int]:
        """Return unit and steps per unit of an output for a series of ``input_unit``."""
        spec = self.output(output)
        if isinstance(spec.unit, LikeInput):
            return input_unit, GRID_PER_UNIT[input_unit]
        return spec.unit, spec.steps_per_unit


_RSI_OUTPUT: Final = OutputSpec("", Measure.NUMBER, 100, (20.0, 80.0), (0.0, 100.0))
_LEVEL: Final = (0.5, 1.5)
_AROUND_ZERO: Final = (-0.05, 0.05)
_SIDE: Final = OutputSpec("", PATTERN_WORDS, 0, (float(Side.BUY), float(Side.HOLD)), (1.0, 3.0))


def _like_input(typical: tuple[float, float], *names: str) -> tuple[OutputSpec, ...]:
    return tuple(OutputSpec(name, LIKE_INPUT, 0, typical) for name in names or ("",))


_SPECS: Final = (
    FunctionSpec(
        name="rsi",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 2, default=14),),
        outputs=(_RSI_OUTPUT,),
        recursive=True,
        extra_bars=0,
        step=kernels.rsi,
        state_fixed=5,
        state_per_bar=0,
        doc="Relative strength index with Wilder's averages: 100 x gain / (gain + loss). While nothing"
        " has changed since the anchor it is 0 / 0, Unknown(division_by_zero), where TA-Lib says 0.",
        source="J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib RSI",
    ),
    FunctionSpec(
        name="cutler_rsi",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 2, default=14),),
        outputs=(_RSI_OUTPUT,),
        recursive=False,
        extra_bars=1,
        step=kernels.cutler_rsi,
        state_fixed=3,
        state_per_bar=2,
        doc="Relative strength index with simple means of the last n changes: 100 x gains / (gains +"
        " losses). It is 100 where none of the changes is a loss, also where there was no change.",
        source="Cutler's RSI, as the agent of 2025-11-18 computed it",
    ),
    FunctionSpec(
        name="sma",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 2),),
        outputs=_like_input(_LEVEL),
        recursive=False,
        extra_bars=0,
        step=kernels.sma,
        state_fixed=2,
        state_per_bar=2,
        doc="Simple moving average: the mean of the last n values.",
        source="TA-Lib SMA",
    ),
    FunctionSpec(
        name="ema",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 2),),
        outputs=_like_input(_LEVEL),
        recursive=True,
        extra_bars=0,
        step=kernels.ema,
        state_fixed=4,
        state_per_bar=0,
        doc="Exponential moving average: value += (x - value) x 2 / (n + 1), seeded with the mean of the"
        " first n values.",
        source="TA-Lib EMA, default compatibility",
    ),
    FunctionSpec(
        name="tema",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 2),),
        outputs=_like_input(_LEVEL),
        recursive=True,
        extra_bars=0,
        step=kernels.tema,
        state_fixed=8,
        state_per_bar=0,
        doc="Triple exponential moving average: 3 a - 3 b + c, a = ema(x), b = ema(a), c = ema(b).",
        source="P. G. Mulloy, Stocks & Commodities 12:1, 1994; TA-Lib TEMA",
    ),
    FunctionSpec(
        name="macd",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(
            Parameter("fast", 2, default=12),
            Parameter("slow", 3, default=26),
            Parameter("signal", 1, default=9),
        ),
        outputs=_like_input(_AROUND_ZERO, "line", "signal", "histogram"),
        recursive=True,
        extra_bars=0,
        step=kernels.macd,
        state_fixed=10,
        state_per_bar=0,
        doc="line = ema(fast) - ema(slow), signal = ema(line, signal), histogram = line - signal. Both"
        " averages are seeded at the slow-th bar, the fast one with the mean of the last fast values.",
        source="G. Appel; TA-Lib MACD, default compatibility",
        ascending=("fast", "slow"),
    ),
    FunctionSpec(
        name="bollinger",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(
            Parameter("n", 2, default=20),
            Parameter("deviations", 0.0, maximum=100.0, default=2.0, whole=False),
        ),
        outputs=_like_input(_LEVEL, "lower", "middle", "upper"),
        recursive=False,
        extra_bars=0,
        step=kernels.bollinger,
        state_fixed=4,
        state_per_bar=2,
        doc="middle = sma(n), lower and upper so many population standard deviations away.",
        source="J. Bollinger; TA-Lib BBANDS with a simple average",
    ),
    FunctionSpec(
        name="atr",
        columns=("high", "low", "close"),
        series=SeriesArgument.NONE,
        parameters=(Parameter("n", 1, default=14),),
        outputs=(OutputSpec("", LIKE_INPUT, 0, (0.0, 0.1)),),
        recursive=True,
        extra_bars=0,
        step=kernels.atr,
        state_fixed=3,
        state_per_bar=0,
        doc="Average true range: Wilder's average of max(high - low, |high - last close|, |low - last"
        " close|), seeded with the mean of the first n; a price.",
        source="J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib ATR",
    ),
    FunctionSpec(
        name="roc",
        columns=("close",),
        series=SeriesArgument.OPTIONAL,
        parameters=(Parameter("n", 1),),
        outputs=(OutputSpec("", Measure.RATIO, GRID_PER_UNIT[Measure.RATIO], (-0.1, 0.1)),),
        recursive=False,
        extra_bars=1,
        step=kernels.roc,
        state_fixed=2,
        state_per_bar=1,
        doc="Rate of change over n bars as a ratio: (x - past) / past; Unknown where the past value is 0.",
        source="TA-Lib ROCP",
    ),
    FunctionSpec(
        name="highest",
        columns=("close",),
        series=SeriesArgument.REQUIRED,
        parameters=(Parameter("n", 1),),
        outputs=_like_input(_LEVEL),
        recursive=False,
        extra_bars=0,
        step=kernels.highest,
        state_fixed=4,
        state_per_bar=2,
        doc="Highest of the last n values; the bar just closed is one of them.",
        source="TA-Lib MAX",
    ),
    FunctionSpec(
        name="lowest",
        columns=("close",),
        series=SeriesArgument.REQUIRED,
        parameters=(Parameter("n", 1),),
        outputs=_like_input(_LEVEL),
        recursive=False,
        extra_bars=0,
        step=kernels.lowest,
        state_fixed=4,
        state_per_bar=2,
        doc="Lowest of the last n values; the bar just closed is one of them.",
        source="TA-Lib MIN",
    ),
    FunctionSpec(
        name="zscore",
        columns=("close",),
        series=SeriesArgument.REQUIRED,
        parameters=(Parameter("n", 2),),
        outputs=(OutputSpec("", Measure.NUMBER, GRID_PER_UNIT[Measure.NUMBER], (-3.0, 3.0)),),
        recursive=False,
        extra_bars=0,
        step=kernels.zscore,
        state_fixed=2,
        state_per_bar=2,
        doc="(x - mean) / population standard deviation of the last n values, x among them; Unknown"
        " where all n are equal.",
        source="standard score",
    ),
    FunctionSpec(
        name="engulfing",
        columns=("open", "close"),
        series=SeriesArgument.NONE,
        parameters=(),
        outputs=(_SIDE,),
        recursive=False,
        extra_bars=2,
        step=kernels.engulfing,
        state_fixed=4,
        state_per_bar=0,
        doc="buy: the last bar fell (close < open) and this bar's body covers its body: open <= last close"
        " and close >= last open, not both equal. sell: the last bar rose, open >= last close and close"
        " <= last open, not both equal. Otherwise hold. The trend before is not looked at.",
        source="S. Nison, Japanese Candlestick Charting Techniques; TA-Lib CDLENGULFING, but a last bar"
        " without a body is never engulfed",
    ),
    FunctionSpec(
        name="hammer",
        columns=("open", "high", "low", "close"),
        series=SeriesArgument.NONE,
        parameters=(),
        outputs=(_SIDE,),
        recursive=False,
        extra_bars=1,
        step=kernels.hammer,
        state_fixed=2,
        state_per_bar=0,
        doc="With body = |close - open|, above = high - max(open, close), below = min(open, close) - low:"
        " buy (hammer) where below >= 2 x body and above <= 10 % of high - low; sell (shooting star)"
        " where above >= 2 x body and below <= 10 % of it; otherwise, and where high = low, hold."
        " Decimals that are equal count as equal (a slack of 1e-12 of the high). The trend before is"
        " not looked at.",
        source="S. Nison, Japanese Candlestick Charting Techniques; the 10 % are ours",
    ),
)

FUNCTIONS: Final[Mapping[str, FunctionSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every function by name."""


def bars_needed(node: SeriesNode) -> int:
    """Return how many bars from the anchor on make ``node`` known, the last one included."""
    match node:
        case SeriesConstant():
            return 0
        case Column():
            return 1
        case SeriesArithmetic(operands=operands):
            return max(map(bars_needed, operands))
        case Lag(operand=operand, bars=bars):
            return bars_needed(operand) + bars
        case SeriesCall(function=function, inputs=inputs, lengths=lengths):
            return max(map(bars_needed, inputs)) + FUNCTIONS[function].warm_up(lengths) - 1


def is_recursive(node: SeriesNode) -> bool:
    """Say whether the value depends on its anchor, not only on the last ``bars_needed`` bars."""
    match node:
        case SeriesConstant() | Column():
            return False
        case SeriesArithmetic(operands=operands):
            return any(map(is_recursive, operands))
        case Lag(operand=operand):
            return is_recursive(operand)
        case SeriesCall(function=function, inputs=inputs):
            return FUNCTIONS[function].recursive or any(map(is_recursive, inputs))
