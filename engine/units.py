"""Units, grids and exact numbers.

Two kinds of number live in the engine and never mix by accident:

* A *fact* is a float64 on the grid of its step: ``quantise(x, k)`` is ``rint(x * k) / k``
  with an integer ``k`` = 1 / step.  Two such numbers that stand for the same decimal are the
  same float, so a comparison has the meaning of the decimals a person wrote.
* *Money*, *price* and *quantity* in orders and ledgers are scaled integers (see the
  ``*_SCALE`` constants); ``Decimal`` appears at the edges only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Final

MONEY_SCALE: Final = 10**6
"""Integer money is in millionths of the account currency."""
PRICE_SCALE: Final = 10**8
"""Integer prices are in hundred-millionths of the account currency per unit."""
QUANTITY_SCALE: Final = 10**9
"""Integer quantities are in thousand-millionths of a share or coin."""

NEVER: Final = -1
"""An instant that has not been."""
ELAPSED_CAP_SECONDS: Final = 3650 * 86400
"""``since_*`` is capped here; "never" is exactly this value (language reference, "Time")."""

_EXACT_FLOAT: Final = float(2**53)


class Measure(StrEnum):
    """What a number measures.  The algebra of measures is in ``engine.language.types``."""

    SCALAR = "scalar"  # a bare literal or parameter: fits number and count
    NUMBER = "number"  # an index without unit: RSI, a z-score
    COUNT = "count"
    RATIO = "ratio"  # written 10%, held as 0.1
    PRICE = "price"  # money per unit
    MONEY = "money"
    QUANTITY = "quantity"
    DURATION = "duration"  # seconds
    BARS = "bars"  # a span counted in expected bars of the policy
    CLOCK = "clock"  # seconds since midnight in the policy's timezone
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Words:
    """An enumeration a fact may take: its values are bare words, held as their index."""

    name: str
    words: tuple[str, ...]

    def index(self, word: str) -> float:
        """Return the float that stands for ``word`` in a fact vector; ValueError if unknown."""
        return float(self.words.index(word))


Unit = Measure | Words

GRID_PER_UNIT: Final[dict[Measure, int]] = {
    Measure.SCALAR: 10**6,
    Measure.NUMBER: 10**4,
    Measure.COUNT: 1,
    Measure.RATIO: 10**6,
    Measure.PRICE: PRICE_SCALE,
    Measure.MONEY: 100,
    Measure.QUANTITY: QUANTITY_SCALE,
    Measure.DURATION: 1,
    Measure.BARS: 1,
    Measure.CLOCK: 1,
    Measure.BOOLEAN: 1,
}
"""Steps per one of each measure, for computed operands and for facts that state no other."""


def unit_name(unit: Unit) -> str:
    """Return the word that documents and error messages use for a unit."""
    return unit.value if isinstance(unit, Measure) else unit.name


def quantise(value: float, steps_per_unit: int) -> float:
    """Put ``value`` on the grid of ``1 / steps_per_unit``: ``rint(x * k) / k``, half to even.

    Values so large that every float is already a grid point are returned unchanged, and so
    are NaN and the infinities (the caller turns those into Unknown).
    """
    scaled = value * steps_per_unit
    if -_EXACT_FLOAT < scaled < _EXACT_FLOAT:
        return round(scaled) / steps_per_unit
    return value


def on_grid(value: float, steps_per_unit: int) -> bool:
    """Say whether ``value`` is the float of a decimal on the grid."""
    return math.isfinite(value) and quantise(value, steps_per_unit) == value


def scaled(value: Decimal, scale: int) -> int:
    """Turn a decimal into a scaled integer, half even."""
    return int((value * scale).to_integral_value(ROUND_HALF_EVEN))


def unscaled(value: int, scale: int) -> Decimal:
    """Turn a scaled integer back into an exact decimal."""
    return Decimal(value) / scale


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of ``step``."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of ``step``."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def half_even_division(numerator: int, denominator: int) -> int:
    """Divide integers rounding half to even; ``denominator`` must be positive."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2):
        quotient += 1
    return quotient


def notional(quantity: int, price: int) -> int:
    """Money (scaled) of ``quantity`` at ``price`` (both scaled), rounded once, half even."""
    return half_even_division(quantity * price * MONEY_SCALE, QUANTITY_SCALE * PRICE_SCALE)
