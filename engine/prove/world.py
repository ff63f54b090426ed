"""One situation as formulas: what moves is a variable, all else is the number that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

from engine.codes import Truth
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.conditions import Kleene
from engine.evaluate.symbolic.formulas import (
    Formula,
    Number,
    as_real,
    boolean,
    choice,
    every,
    implies,
    integer,
    negation,
    real,
    same,
    some,
)
from engine.evaluate.symbolic.snapshot import Snapshot, Variable, slot_range
from engine.lowered import FactSlot, LoweredPolicy
from engine.prove.movement import DAY, Coordinate, Movement
from engine.units import Measure
from engine.vocabulary import SIDE

_SLACK: Final = Fraction(1, 2) + Fraction(1, 2**20)
TRUTHS: Final[dict[Truth, tuple[bool, bool]]] = {
    Truth.FALSE: (False, True),
    Truth.TRUE: (True, False),
    Truth.UNKNOWN: (False, False),
}
"""Whether a condition is definitely true, and whether definitely false."""


class World(Snapshot):
    """The facts of one situation: numbers where they stay, variables where they move.

    Only coordinates are whole numbers.  What follows from them is anything within its rounding: of that the
    solver is soon sure, and where it says too much, a decision says so.
    """

    whole = False

    def __init__(self, movement: Movement) -> None:
        """Make a variable of each coordinate, and of each fact what follows."""
        super().__init__("", anything_unknown=True)
        self.movement = movement
        self.moves: list[Number] = []
        self.known: list[Formula] = []
        self.resting: list[Formula] = []
        for index, coordinate in enumerate(movement.coordinates):
            self._coordinate(index, coordinate)
        self.slots = [self._slot(index) for index in range(len(movement.lowered.slots))]
        self._of = {slot: self.slots[index] for index, slot in enumerate(movement.lowered.slots)}
        self.constraints += self._relations_that_hold()

    def variable(self, slot: FactSlot) -> Variable:
        """Return what a fact is."""
        return self._of[slot]

    def _coordinate(self, index: int, coordinate: Coordinate) -> None:
        move = integer(f"{coordinate.name}~{index}")
        self.constraints += [move >= coordinate.low, move <= coordinate.high]
        if coordinate.allowed:
            self.constraints.append(some(move == n for n in coordinate.allowed))
        known: Formula = True if coordinate.rest is not None else boolean(f"{coordinate.name}~{index}?")
        self.moves.append(move)
        self.known.append(known)
        self.resting.append(negation(known) if coordinate.rest is None else move == coordinate.rest)

    def _slot(self, index: int) -> Variable:
        """Return what a slot is: fixed, on a coordinate, or following from some."""
        movement = self.movement
        if index not in movement.movable:
            return self._fixed(index)
        if index in movement.lines or index == movement.weight:
            return self._follower(index)
        if index in movement.sums:
            return self._sum(index)
        for at, coordinate in enumerate(movement.coordinates):
            if index in coordinate.slots:
                return self._on(index, at, coordinate)
        return self._later(index, round(movement.values[index]))

    def _fixed(self, index: int) -> Variable:
        slot, value = self.movement.lowered.slots[index], self.movement.values[index]
        known = value == value
        if slot.unit is Measure.BOOLEAN:
            return Variable(slot, known, known and bool(value))
        return Variable(slot, known, round(value * (slot.steps_per_unit or 1)) if known else 0)

    def steps(self, index: int) -> Number:
        """Return where a coordinate is, in steps of its fact's grid."""
        coordinate = self.movement.coordinates[index]
        move = self.moves[index] if coordinate.stride == 1 else self.moves[index] * coordinate.stride
        return move if coordinate.base == 0 else move + coordinate.base

    def _on(self, index: int, at: int, coordinate: Coordinate) -> Variable:
        slot, movement = self.movement.lowered.slots[index], self.movement
        if at == movement.ask:
            known = every((self.known[movement.bid], self.known[at]))
            beyond = self.moves[at] * coordinate.stride + movement.gap
            return Variable(slot, known, self.steps(movement.bid) + beyond)
        if slot.unit is Measure.BOOLEAN:
            return Variable(slot, self.known[at], self.moves[at] == 1)
        return Variable(slot, self.known[at], self.steps(at))

    @property
    def bid(self) -> Number:
        """The bid, in account currency."""
        coordinate = self.movement.coordinates[self.movement.bid]
        return as_real(self.steps(self.movement.bid)) * as_real(Fraction(1, coordinate.per_unit))

    def _follower(self, index: int) -> Variable:
        slot, movement = self.movement.lowered.slots[index], self.movement
        value = real(f"{slot.name}~")
        if index not in movement.lines:
            low, high = slot_range(slot)
            self.constraints += [value >= low, value <= high]
        else:
            line = movement.lines[index]
            exact = self.bid * as_real(line.slope * slot.steps_per_unit)
            exact = exact + as_real(line.constant * slot.steps_per_unit)
            if slot.name == "drawdown":
                exact = choice(exact >= 0, exact, as_real(0))
            # Equity and target are made of numbers that are rounded themselves.
            band = _SLACK + 1 if slot.name in ("equity", "target") else _SLACK
            self.constraints += _about(value, exact, band)
        return Variable(slot, self.known[movement.bid], value)

    def _sum(self, index: int) -> Variable:
        slot, movement = self.movement.lowered.slots[index], self.movement
        value = real(f"{slot.name}~")
        now = round(movement.values[index] * slot.steps_per_unit)
        exact: Number = as_real(now)
        for part, share in movement.sums[index].items():
            at = next(i for i, one in enumerate(movement.coordinates) if part in one.slots)
            exact = exact + as_real(self.moves[at]) * as_real(share * movement.coordinates[at].stride)
        self.constraints += _about(value, exact, _SLACK + (0 if len(movement.sums[index]) == 2 else 1))
        return Variable(slot, True, value)

    def _later(self, index: int, now: int) -> Variable:
        """Return a fact that moves with time."""
        movement, slot = self.movement, self.movement.lowered.slots[index]
        seconds = self.moves[movement.seconds]
        if slot.name in movement.growing_bars:
            return Variable(slot, True, self._bars_passed() + now)
        if slot.name in movement.falling:
            return Variable(slot, True, now - seconds)
        if slot.name == "time":
            later = seconds + now
            return Variable(slot, True, choice(later < DAY, later, later - DAY))
        days = 0
        if movement.by_the_day(slot.name):
            days = self.moves[movement.bars] * movement.policy.bars_seconds
        return Variable(slot, True, seconds + days + now)

    def _bars_passed(self) -> Number:
        """Return how many bars close: a coordinate, unless bars close at known seconds."""
        movement = self.movement
        if movement.phase is None:
            return self.moves[movement.bars]
        every_seconds, bars = movement.policy.bars_seconds, integer(self.fresh("bars"))
        passed = self.moves[movement.seconds] + movement.phase
        self.constraints += [bars * every_seconds <= passed, passed < (bars + 1) * every_seconds]
        return bars

    def _relations_that_hold(self) -> Iterator[Formula]:
        """Yield what ties coordinates to each other, where it holds as things are."""
        movement = self.movement
        for low, high in movement.ordered:
            a, b = self.slots[low], self.slots[high]
            yield implies(every((a.known, b.known)), a.value <= b.value)
        for side, confidence in movement.sides:
            s, c = self.slots[side], self.slots[confidence]
            directional = s.value != SIDE.words.index("none")
            yield implies(every((s.known, c.known)), same(directional, c.value > 0))
        if movement.bars >= 0 and not movement.daily:
            every_seconds, bars = movement.policy.bars_seconds, self.moves[movement.bars]
            seconds = self.moves[movement.seconds]
            yield some((bars == 0, (bars - 1) * every_seconds < seconds))
            yield seconds < (bars + 1) * every_seconds


def _about(value: Number, exact: Number, band: Fraction = _SLACK) -> list[Formula]:
    return [value <= exact + as_real(band), value >= exact - as_real(band)]


class WorldTerms(PolicyTerms):
    """The policy over a world: comparisons of what does not move are decided, some others divide a line."""

    def __init__(
        self,
        policy: LoweredPolicy,
        world: World,
        own: dict[int, Variable],
        decided: dict[int, Truth],
        along: Callable[[int], Kleene | None],
    ) -> None:
        """Translate; ``decided`` are truths of comparisons, ``along`` may know others better."""
        self.decided = decided
        self.along = along
        self._found: dict[int, Kleene] = {}
        super().__init__(policy, world, own)

    def atom(self, index: int) -> Kleene:
        """Return when a comparison is true and when false."""
        if index not in self._found:
            if index in self.decided:
                self._found[index] = Kleene(*TRUTHS[self.decided[index]])
            else:
                self._found[index] = self.along(index) or super().atom(index)
        return self._found[index]
