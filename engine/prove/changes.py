"""Changes in words: what would have given an action, in the units of the facts that change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from engine.codes import Action
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.solver import Budget
from engine.language.policy import Listing, Policy
from engine.lowered import LimitKind, LoweredPolicy, SlotOrigin
from engine.prove.counterfactual import MOST_GROUPS, Found, Search, search
from engine.prove.movement import CLOCK, QUOTE, Movement
from engine.units import unit_name
from engine.verbs.explanation import ChangeView, Counterfactuals, MovedFact
from engine.verbs.numbers import difference, plain, shown
from engine.verbs.terms import slots_of_term
from engine.verbs.vector import Vector

_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
_FOLLOWERS: Final = 2
"""More facts that only follow are not told."""


def counterfactuals(
    policy: Policy,
    listing: Listing,
    lowered: LoweredPolicy,
    vector: Vector,
    action: Action,
    budget: Budget,
) -> Counterfactuals:
    """Return the smallest changes of a situation that give ``action``, or why there is none."""
    movement = Movement(policy, listing, lowered, vector)
    result = search(movement, action, budget)
    changes = tuple(_Words(movement, found).change() for found in result.found)
    return Counterfactuals(changes, "" if changes else _none(action, result))


def _none(action: Action, result: Search) -> str:
    would = f"would {action.name.lower()} it" if action is not Action.HOLD else "would hold"
    if result.impossible:
        why = f": {', '.join(result.obstacles)}" if result.obstacles else ""
        return f"nothing that the market or the clock does {would}{why}"
    if result.complete:
        return f"more than {MOST_GROUPS} things would have to change at once"
    return f"no change of what the market or the clock moves was found that {would}"


class _Words:
    """One movement in words."""

    def __init__(self, movement: Movement, found: Found) -> None:
        self.movement = movement
        self.found = found
        self.lowered = movement.lowered
        stated = movement.vector.stated_mask
        evaluator = ReferenceEvaluator(self.lowered)
        before, after = list(movement.values), list(found.values)
        leaves = evaluator.evaluate(before, stated).leaves, evaluator.evaluate(after, stated).leaves
        self.mattering = list(
            dict.fromkeys(
                slot
                for atom, was, now in zip(self.lowered.atoms, *leaves, strict=True)
                if was.truth != now.truth
                for term in (atom.left, atom.right)
                for slot in slots_of_term(term)
            )
        )

    def change(self) -> ChangeView:
        """Return the movement as it is shown."""
        groups = sorted(self.found.groups, key=lambda group: (self.movement.groups[group] == CLOCK, group))
        first = min(
            (index for index in self.found.point if self.movement.coordinates[index].group == groups[0]),
            key=self._order,
        )
        fact, value = self._named(first)
        decider = self.found.decision.rule
        return ChangeView(
            fact=fact,
            value=value,
            text=", and ".join(self._group(group) for group in groups),
            rule=self.lowered.rules[decider].name if decider >= 0 else None,
            groups=len(groups),
            distance=round(float(self.found.distance), 6),
            facts=tuple(self._facts()),
        )

    def _order(self, index: int) -> tuple[Fraction, int]:
        """Words first, then what moves most."""
        coordinate = self.movement.coordinates[index]
        n = self.found.point[index]
        return -Fraction(10**9) if coordinate.counted else -coordinate.distance(n), index

    def _named(self, index: int) -> tuple[str, bool | float | str | None]:
        """Return the fact that stands for a coordinate, and its new value."""
        coordinate = self.movement.coordinates[index]
        if coordinate.slots:
            return coordinate.name, plain(coordinate.value(self.found.point[index]), coordinate.unit)
        followers = self._followers(coordinate.group)
        if not followers:
            return coordinate.name, plain(coordinate.value(self.found.point[index]), coordinate.unit)
        slot = self.lowered.slots[followers[0]]
        return slot.name, plain(self.found.values[followers[0]], slot.unit)

    def _group(self, group: int) -> str:
        movement = self.movement
        moved = sorted(
            (index for index in self.found.point if movement.coordinates[index].group == group),
            key=self._order,
        )
        followers = self._followers(group)
        if movement.bars in moved and movement.seconds in moved:
            counting = [movement.names[name] for name in movement.growing_bars]
            if not set(followers) & set(counting):
                moved.remove(movement.bars)  # they pass, and do nothing
        head, *others = moved
        text, where = self._coordinate(head)
        notes = [where] if where else []
        for index in others:
            moved_too, where = self._coordinate(index)
            notes.append(f"with {moved_too} {where}".rstrip())
        for slot in followers[:_FOLLOWERS]:
            fact = self.lowered.slots[slot]
            notes.append(f"{fact.name} {shown(self.found.values[slot], fact.unit, fact.steps_per_unit)}")
        if not movement.coordinates[head].slots:
            notes += self._limits_with_room()
        notes += self._unchanged(group, moved)
        return f"{text} ({', '.join(notes)})" if notes else text

    def _coordinate(self, index: int) -> tuple[str, str]:
        """Return how a coordinate moved, and where to ("" where that is said already)."""
        coordinate, n = self.movement.coordinates[index], self.found.point[index]
        if not coordinate.slots:
            return f"{difference(float(n), coordinate.unit)} more", ""
        value, k = coordinate.value(n), coordinate.per_unit
        name, unit = coordinate.name, coordinate.unit
        if self.lowered.slots[coordinate.slots[0]].origin is SlotOrigin.ONCE:
            rule = next(rule for rule in self.lowered.rules if name == f"once.{rule.name}")
            return f"a new {rule.once} for {rule.name}", ""
        if index == self.movement.ask:
            value = self.found.values[coordinate.slots[0]]
        if coordinate.rest is None:
            return f"{name} known", f"as {shown(value, unit, k)}"
        if coordinate.counted:
            return f"{name} {shown(value, unit)}", ""
        steps = coordinate.stride * (n - coordinate.rest)
        amount = difference(abs(steps) / k, unit, k)
        return f"{name} {'+' if steps > 0 else '-'}{amount}", f"to {shown(value, unit, k)}"

    def _followers(self, group: int) -> list[int]:
        """Return facts that follow from a group and made the difference."""
        movement = self.movement
        moved = {index for index in self.found.point if movement.coordinates[index].group == group}
        own = {slot for index in moved for slot in movement.coordinates[index].slots}
        return [
            slot
            for slot in self.mattering
            if slot not in own
            and moved & set(movement.movable.get(slot, ()))
            and self.found.values[slot] != movement.values[slot]
            and self.lowered.slots[slot].name not in ("price", "bid", "ask")
        ]

    def _limits_with_room(self) -> Iterator[str]:
        """Name the limits of a rate whose window has passed."""
        before, after = self.movement.vector.situation.usage, self.found.situation.usage
        for limit, was, now in zip(self.lowered.limits, before, after, strict=True):
            if limit.kind is LimitKind.BUYS_AT_MOST and was and not now and was >= limit.count:
                yield f"{limit.name} has room again"

    def _unchanged(self, group: int, moved: Sequence[int]) -> Iterator[str]:
        """Name the facts of an indicator, a bar or a side that stay while others of it move."""
        movement = self.movement
        if movement.groups[group] == QUOTE:
            if movement.ask in moved and movement.bid not in moved:
                yield "price unchanged"
            return
        sides = any(movement.coordinates[index].counted for index in moved)
        staying = [
            one.name
            for index, one in enumerate(movement.coordinates)
            if one.group == group
            and index not in moved
            and one.rest is not None
            and one.slots
            and (self.lowered.slots[one.slots[0]].origin is SlotOrigin.SERIES or sides)
        ]
        if staying:
            yield f"{' and '.join(staying)} unchanged"

    def _facts(self) -> Iterator[MovedFact]:
        own = {slot for index in self.found.point for slot in self.movement.coordinates[index].slots}
        told = set()
        for index, slot in enumerate(self.lowered.slots):
            before, after = self.movement.values[index], self.found.values[index]
            same = before == after or (before != before and after != after)
            if same or slot.name in told or (slot.origin in _VOTED and index not in own):
                continue
            told.add(slot.name)
            k = slot.steps_per_unit
            yield MovedFact(
                slot.name,
                unit_name(slot.unit),
                plain(before, slot.unit),
                plain(after, slot.unit),
                shown(before, slot.unit, k),
                shown(after, slot.unit, k),
                index not in own,
            )
