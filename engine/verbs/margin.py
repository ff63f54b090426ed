"""How far a comparison is from its other truth value.

A margin is the smallest number of steps of a fact that flips an atom (language reference, "Numbers"): a
strict comparison needs one more, so 0.57 against ``> 0.60`` at a step of 0.01 is short by 0.04.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from engine.evaluate.reference import Leaf
from engine.lowered import Atom, Comparison, FactSlot, FactTerm
from engine.units import Measure, on_grid
from engine.verbs.terms import slots_of_term

_EXACT: Final = float(2**53)
_INSTRUMENT_PRICES: Final = ("price", "bid", "ask")


@dataclass(frozen=True, slots=True)
class Margin:
    """A signed number of steps of ``slot``; -1 where both operands are computed and the left one moves."""

    slot: int
    steps: int
    steps_per_unit: int
    value: float  # of the fact before it moves

    @property
    def amount(self) -> float:
        """The distance in the fact's unit, never negative."""
        return abs(self.steps) / self.steps_per_unit

    @property
    def moved(self) -> float:
        """The value that flips the atom."""
        return (round(self.value * self.steps_per_unit) + self.steps) / self.steps_per_unit


def margin(atom: Atom, leaf: Leaf, slots: tuple[FactSlot, ...], price_steps: int = 0) -> Margin | None:
    """Return what flips an atom; None for words, truth values, Unknowns, and where no step would do.

    The left operand moves if it is a fact, else the right one.  ``price_steps`` is k of the instrument's
    prices where that is coarser than the vocabulary's.
    """
    if atom.steps_per_unit == 0 or not isinstance(atom.unit, Measure):
        return None
    if not (math.isfinite(leaf.left) and math.isfinite(leaf.right)):
        return None
    mover, comparison, value, bound, other = atom.left, atom.comparison, leaf.left, leaf.right, atom.right
    if isinstance(atom.right, FactTerm) and not isinstance(atom.left, FactTerm):
        mover, value, bound, other = atom.right, leaf.right, leaf.left, atom.left
        comparison = comparison.mirrored
    slot, k = -1, atom.steps_per_unit
    if isinstance(mover, FactTerm):
        if mover.slot in slots_of_term(other):
            return None  # the threshold would move with the fact
        slot, k = mover.slot, slots[mover.slot].steps_per_unit
        if price_steps and slots[slot].name in _INSTRUMENT_PRICES and on_grid(value, price_steps):
            k = price_steps
    if abs(value) * k >= _EXACT or abs(bound) * k >= _EXACT:
        return None
    here = round(value * k)
    there = _flipping(comparison, here, bound, k)
    return None if there is None else Margin(slot, there - here, k, value)


def _flipping(comparison: Comparison, here: int, bound: float, k: int) -> int | None:
    """Return the grid point nearest to ``here`` at which the comparison has the other truth value."""
    if comparison in (Comparison.EQUAL, Comparison.NOT_EQUAL):
        if here / k == bound:
            return here + 1
        there = round(bound * k)
        return there if there / k == bound else None
    # The first point of the upper side: at or above the bound, or strictly above it.
    upper = math.floor(bound * k) - 1
    if comparison in (Comparison.LESS, Comparison.GREATER_OR_EQUAL):
        while upper / k < bound:
            upper += 1
    else:
        while upper / k <= bound:
            upper += 1
    return upper if here < upper else upper - 1
