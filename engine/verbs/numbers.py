"""Facts and numbers as people read them: 57 %, 51.30, 0.16001 USD, 4m 12s, never.

Every digit that a float has is shown, so two different numbers are never printed alike.
"""

from __future__ import annotations

import math
from decimal import Decimal

from engine.units import ELAPSED_CAP_SECONDS, Measure, Unit, Words

Plain = bool | float | str | None
"""A fact's value in JSON: a truth value, a number, a word; null where it is Unknown."""

_LEAST_PLACES = {Measure.NUMBER: 2, Measure.MONEY: 2, Measure.PRICE: 2}
_ELAPSED = (Measure.DURATION, Measure.BARS)
_SUFFIX = {Measure.RATIO: " %", Measure.MONEY: " USD", Measure.PRICE: " USD"}


def shown(value: float, unit: Unit, steps_per_unit: int = 0) -> str:
    """Return a value with its unit; NaN is "unknown", an elapsed time at its cap "never".

    With the step of a fact, indexes, money and prices keep two decimals where the step has them (an RSI of
    51.3 is "51.30"); without one (a literal, a parameter) a number is as short as it can be.
    """
    if not math.isfinite(value):
        return "unknown"
    if isinstance(unit, Words):
        return unit.words[int(value)]
    if unit is Measure.BOOLEAN:
        return "true" if value else "false"
    if unit in _ELAPSED and value == ELAPSED_CAP_SECONDS:
        return "never"
    return _clock(value) if unit is Measure.CLOCK else difference(value, unit, steps_per_unit)


def difference(value: float, unit: Unit, steps_per_unit: int = 0) -> str:
    """Return how far apart two values are: as ``shown``, but two times of day are a duration apart."""
    if unit in (Measure.DURATION, Measure.CLOCK):
        return _duration(value)
    exact = Decimal(repr(value))
    if unit is Measure.RATIO:
        exact *= 100
    least = 0
    if isinstance(unit, Measure) and steps_per_unit > 1:
        least = min(_LEAST_PLACES.get(unit, 0), decimal_places(steps_per_unit))
    text = decimal(exact, least)
    if unit is Measure.BARS:
        return f"{text} bar" if value == 1 else f"{text} bars"
    return text + (_SUFFIX.get(unit, "") if isinstance(unit, Measure) else "")


def decimal(value: Decimal, least_places: int = 0) -> str:
    """Return a decimal without exponent, without zeros at its end beyond ``least_places``."""
    text = f"{value:f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(least_places, "0")
    text = f"{whole}.{fraction}" if fraction else whole
    return text if text.strip("-0.") else text.lstrip("-")


def decimal_places(steps_per_unit: int) -> int:
    """Return how many decimals the grid of ``1 / steps_per_unit`` needs."""
    places, power = 0, 1
    while power % steps_per_unit and places < 18:
        places, power = places + 1, power * 10
    return places


def plain(value: float, unit: Unit) -> Plain:
    """Return a value as JSON holds it: a ratio as a number (0.57), a duration in seconds."""
    if not math.isfinite(value):
        return None
    if isinstance(unit, Words):
        return unit.words[int(value)]
    return bool(value) if unit is Measure.BOOLEAN else value


def _duration(value: float) -> str:
    sign, rest = ("-" if value < 0 else ""), Decimal(repr(abs(value)))
    parts = []
    for letter, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:f}{letter}")
    if rest or not parts:
        parts.append(f"{decimal(rest)}s")
    return sign + " ".join(parts)


def _clock(value: float) -> str:
    sign, seconds = ("-" if value < 0 else ""), int(abs(value))
    text = f"{sign}{seconds // 3600:02d}:{seconds % 3600 // 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text
