"""A few cycles of one symbol, one after another: bounded model checking of promises over time.

Every cycle has a snapshot of its own, any fact of it Unknown.  From one to the next this is carried over:

* time passes; where a cadence is stated, cycles fall into different periods of it;
* an order is made where the decision is to buy, and may be where it is to sell (one may be working);
  then ``since_*`` begins anew, else it goes on;
* a position grows only after a buy was made, at once, later or never.

All else is free in every cycle: what the formulas rule out no account can do; what they allow need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from engine.codes import Action
from engine.evaluate.symbolic.formulas import (
    Formula,
    Number,
    as_real,
    boolean,
    choice,
    every,
    implies,
    negation,
    real,
    same,
    some,
    total,
)
from engine.evaluate.symbolic.snapshot import Variable
from engine.evaluate.symbolic.solver import Answer, Solver
from engine.lowered import FactSlot, SlotOrigin
from engine.prove.outcomes import give_outcomes
from engine.prove.variant import Variant
from engine.vocabulary import FACTS

_SIDES: Final = (Action.BUY, Action.SELL)
_NEVER: Final = int(FACTS["since_order"].maximum)


class Machine:
    """So many cycles of one symbol of a variant."""

    def __init__(self, variant: Variant, cycles: int, told: Callable[[Variant], Formula]) -> None:
        """Translate every cycle; ``told`` is what is assumed of each snapshot."""
        self.cycles = [variant.moment(f"{number}: ") for number in range(cycles)]
        for cycle in self.cycles:
            give_outcomes(cycle)
        self._told = [told(cycle) for cycle in self.cycles]
        self._at = [real(f"time!{number}") for number in range(cycles)]
        self._made = {
            side: [boolean(f"{side.name} made!{number}") for number in range(cycles)] for side in _SIDES
        }
        self._every = variant.policy.every_seconds or 0
        self._budget = variant.solver.budget

    def made(self, action: Action | None, cycle: int) -> Formula:
        """An order of a side is made in a cycle; of either side without one."""
        return some(self._made[side][cycle] for side in (_SIDES if action is None else (action,)))

    def sooner(self, one: int, other: int, seconds: int) -> Formula:
        """A later cycle comes less than so many seconds after an earlier one."""
        return self._at[other] - self._at[one] < seconds

    def more_than(self, count: int, action: Action | None, cycle: int, seconds: int) -> Formula:
        """An order is made in a cycle, and with it more than so many in the window that ends there."""
        counted: list[Number] = [
            choice(every((self.made(action, one), self.sooner(one, cycle, seconds))), 1, 0)
            for one in range(cycle + 1)
        ]
        return every((self.made(action, cycle), total(counted) > count))

    def impossible(self, formula: Formula) -> bool:
        """Say whether a formula over the cycles is impossible for a symbol that was never traded before."""
        solver = Solver(self._budget)
        links = [*self._start(), *self._links()]
        for cycle in self.cycles:
            solver.add(*cycle.snapshot.constraints)
        return solver.ask(every((formula, *self._told, *links))) is Answer.IMPOSSIBLE

    # --- from one cycle to the next -----------------------------------------------------------

    def _fact(self, cycle: Variant, name: str) -> Variable:
        fact = FACTS[name]
        return cycle.snapshot.variable(FactSlot(name, fact.unit, fact.steps_per_unit, SlotOrigin.VOCABULARY))

    def _start(self) -> Iterator[Formula]:
        """Nothing was ever traded."""
        first = self.cycles[0]
        owned, held = self._fact(first, "position_qty"), self._fact(first, "held")
        yield every((owned.known, owned.value == 0, held.known, negation(held.value)))
        for variable in first.snapshot.variables.values():
            if variable.slot.origin is SlotOrigin.ONCE:
                yield every((variable.known, negation(variable.value)))
        for side in _SIDES:
            yield self._elapsed(side, 0) >= _NEVER

    def _links(self) -> Iterator[Formula]:
        for number, cycle in enumerate(self.cycles):
            for side in _SIDES:
                decided = cycle.terms.decides(side)
                made = self._made[side][number]
                yield same(made, decided) if side is Action.BUY else implies(made, decided)
                yield from self._remembered(side, number)
            order, buy, sell = (self._fact(cycle, f"since_{what}") for what in ("order", "buy", "sell"))
            yield every((order.known, order.value == choice(buy.value < sell.value, buy.value, sell.value)))
            for later in range(number + 1, len(self.cycles)):
                apart = (later - number - 1) * self._every
                yield self._at[later] - self._at[number] > apart
            if number:
                yield from self._position(number)

    def _elapsed(self, side: Action, number: int) -> Number:
        """Return the time since the last order of a side, before a cycle."""
        elapsed: Number = real(f"since {side.name} at first")
        for one in range(number):
            passed = self._at[one + 1] - self._at[one]
            elapsed = choice(self._made[side][one], passed, elapsed + passed)
        return elapsed

    def _remembered(self, side: Action, number: int) -> Iterator[Formula]:
        since, elapsed = (
            self._fact(self.cycles[number], f"since_{side.name.lower()}"),
            self._elapsed(side, number),
        )
        whole = as_real(since.value)
        yield since.known
        yield elapsed >= 0
        capped = every((since.value == _NEVER, elapsed >= _NEVER))
        yield some((capped, every((whole <= elapsed, elapsed < whole + 1, since.value < _NEVER))))

    def _position(self, number: int) -> Iterator[Formula]:
        """A position grows only after a buy, made here or earlier."""
        before, after = (self._fact(self.cycles[at], "position_qty") for at in (number - 1, number))
        bought = [self._made[Action.BUY][one] for one in range(number)]
        bought.append(self._elapsed(Action.BUY, 0) < _NEVER)
        yield every((before.known, after.known))
        yield implies(after.value > before.value, some(bought))
