"""Cheap sampling: what some plausible facts show need not be asked of the solver.

Facts are drawn near the numbers that the policy compares them with, from a fixed sequence: the same policy
always gets the same facts.  They settle only that something can be; that it cannot is the solver's to say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple

from engine.codes import Truth
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.snapshot import slot_range
from engine.lowered import ConstantTerm, FactSlot, FactTerm, LoweredPolicy, SlotOrigin
from engine.prove.variant import IN_ORDER, Variant
from engine.units import Measure, Words

COUNT: Final = 160
_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL, SlotOrigin.OUTCOME)
_EMPTY_WHEN_FLAT: Final = frozenset(
    {"position_qty", "position_value", "weight", "entries", "held_for", "held_for_bars"}
)
_UNKNOWN_WHEN_FLAT: Final = frozenset({"gain", "peak_gain", "peak_price", "entry_price", "last_entry_price"})


class Sequence32:
    """Numbers that look random and are always the same (xorshift32 of G. Marsaglia, 2003)."""

    def __init__(self, seed: int = 2_463_534_242) -> None:
        """Begin anywhere but at 0."""
        self._state = seed

    def below(self, bound: int) -> int:
        """Return a number from 0 to ``bound`` - 1."""
        x = self._state
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._state = x
        return x % bound


class Witnessed:
    """What samples of facts have shown of a variant: nodes seen true and false, rules that won."""

    def __init__(self, variant: Variant, count: int = COUNT) -> None:
        """Evaluate samples."""
        policy = variant.lowered
        self.true = [False] * len(policy.nodes)
        self.false = [False] * len(policy.nodes)
        self.won: set[int] = set()
        self.facts: list[tuple[list[float], list[int]]] = []  # values and truths of nodes
        reference = ReferenceEvaluator(policy)
        for values in sampled(policy, count):
            truths = reference.evaluate(values).truths
            self.facts.append((values, truths))
            for node, truth in enumerate(truths):
                if truth == Truth.TRUE:
                    self.true[node] = True
                elif truth == Truth.FALSE:
                    self.false[node] = True
            self.won.add(reference.choose(truths, values).winner)
        self.won.discard(-1)


def sampled(policy: LoweredPolicy, count: int) -> Iterator[list[float]]:
    """Yield fact vectors within the vocabulary's ranges and relations."""
    bounds: dict[int, list[float]] = defaultdict(list)
    for atom in policy.atoms:
        for one, other in ((atom.left, atom.right), (atom.right, atom.left)):
            if isinstance(one, FactTerm) and isinstance(other, ConstantTerm):
                bounds[one.slot].append(other.value)
    draw = Sequence32()
    drawn = [_Range.of(slot, bounds.get(index, [])) for index, slot in enumerate(policy.slots)]
    for _ in range(count):
        yield _consistent(policy, [one.value(draw) for one in drawn], draw)


class _Range(NamedTuple):
    """What one fact is drawn from: steps of its grid, near its bounds where it has any, or words."""

    usual: float | None
    kind: _Kind
    words: int
    low: int
    high: int
    steps_per_unit: int
    bounds: list[float]

    @classmethod
    def of(cls, slot: FactSlot, bounds: list[float]) -> _Range:
        usual = None if slot.name not in IN_ORDER else float(IN_ORDER[slot.name])
        low, high, words, kind = 0, 0, 0, _Kind.STEPS
        if slot.origin in _VOTED:
            kind = _Kind.NOTHING
        elif isinstance(slot.unit, Words):
            kind, words = _Kind.WORD, max(1, len(slot.unit.words))
        elif slot.unit is Measure.BOOLEAN:
            kind = _Kind.TRUTH
        else:
            low, high = slot_range(slot)
        return cls(usual, kind, words, low, high, slot.steps_per_unit, bounds)

    def value(self, draw: Sequence32) -> float:
        if self.kind is _Kind.NOTHING:
            return math.nan
        if self.usual is not None and draw.below(16):
            return self.usual
        bounds, k = self.bounds, self.steps_per_unit
        if self.kind is _Kind.WORD:
            near = bounds and draw.below(2)
            return bounds[draw.below(len(bounds))] if near else float(draw.below(self.words))
        if self.kind is _Kind.TRUTH:
            return float(draw.below(2))
        if bounds:
            steps = round(bounds[draw.below(len(bounds))] * k) + _NEAR[draw.below(len(_NEAR))]
            steps += (draw.below(3) - 1) * draw.below(50) * max(1, k // 10)
        else:
            steps = (1 + draw.below(20)) * k * _MAGNITUDES[draw.below(len(_MAGNITUDES))]
        return min(max(steps, self.low), self.high) / k


class _Kind(Enum):
    NOTHING = "a signal: its votes say"
    WORD = "a word"
    TRUTH = "true or false"
    STEPS = "steps of a grid"


_NEAR: Final = (-1, 0, 0, 1)
_MAGNITUDES: Final = (1, 10, 10, 100, 1000)


def _consistent(policy: LoweredPolicy, values: list[float], draw: Sequence32) -> list[float]:
    """Make the relations hold that the vocabulary states."""
    at = {slot.name: index for index, slot in enumerate(policy.slots) if slot.origin not in _VOTED}

    def lower(name: str, other: str) -> None:
        if name in at and other in at:
            a, b = values[at[name]], values[at[other]]
            values[at[name]], values[at[other]] = min(a, b), max(a, b)

    values[at["bid"]] = values[at["price"]]
    lower("bid", "ask")
    values[at["price"]] = values[at["bid"]]
    for low, high in (("position_value", "equity"), ("cash", "equity"), ("low", "close"), ("low", "open")):
        lower(low, high)
    for low, high in (("close", "high"), ("open", "high"), ("entry_price", "peak_price")):
        lower(low, high)
    for suffix in ("", "_bars"):
        sides = [at[name] for name in (f"since_buy{suffix}", f"since_sell{suffix}") if name in at]
        order = at.get(f"since_order{suffix}")
        if order is not None and sides:
            values[sides[draw.below(len(sides))]] = values[order]
            for side in sides:
                values[side] = max(values[side], values[order])
    held = at["held"]
    least = at.get("minimum")
    if values[held]:
        floor = values[least] if least is not None else 0.0
        values[at["position_qty"]] = max(values[at["position_qty"]], floor, 1e-9)
    else:
        for name, index in at.items():
            if name in _EMPTY_WHEN_FLAT:
                values[index] = 0.0
            elif name in _UNKNOWN_WHEN_FLAT:
                values[index] = math.nan
        if least is not None:
            values[least] = max(values[least], 1e-9)
    if "dust" in at:
        values[at["dust"]] = 0.0
    return values
