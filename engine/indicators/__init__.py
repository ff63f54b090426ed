"""Indicators: pure functions of closed bars, one kernel for live trading and backtests.

``functions`` says what exists, ``kernels`` is the arithmetic, ``stream`` evaluates series nodes
(``engine.series``) bar by bar.
"""

from engine.indicators.functions import (
    COLUMN_UNITS,
    COLUMNS,
    FUNCTIONS,
    LIKE_INPUT,
    PATTERN_WORDS,
    FunctionSpec,
    LikeInput,
    OutputSpec,
    Parameter,
    SeriesArgument,
    bars_needed,
    is_recursive,
)
from engine.indicators.stream import QUIET_PERCENT, SeriesEngine, SeriesValue, resolve

__all__ = [
    "COLUMNS",
    "COLUMN_UNITS",
    "FUNCTIONS",
    "LIKE_INPUT",
    "PATTERN_WORDS",
    "QUIET_PERCENT",
    "FunctionSpec",
    "LikeInput",
    "OutputSpec",
    "Parameter",
    "SeriesArgument",
    "SeriesEngine",
    "SeriesValue",
    "bars_needed",
    "is_recursive",
    "resolve",
]
