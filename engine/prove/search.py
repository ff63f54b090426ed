"""Situations close to those that the solver finds, which a facts file can state.

Facts are moved one at a time towards what is wanted, as in WalkSAT (B. Selman, H. Kautz, B. Cohen, 1994): a
comparison that is not yet as it should be is chosen, and a change that mends it and breaks least of others.
What comes of it is decided by the reference evaluator and ``decide``, from a facts file.  That nothing was
found says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.codes import Action, Disposition, Truth
from engine.evaluate.reference import Evaluation
from engine.evaluate.verdict import WOULD_EXIT
from engine.lowered import NodeKind
from engine.model import Decision
from engine.prove.example import Confirms, decided
from engine.prove.moving import MovingFacts
from engine.prove.samples import Sequence32
from engine.prove.variant import Variant
from engine.verbs.decide import after_entry
from engine.verbs.terms import slots_of_term

_MOST_STEPS: Final = 60
_MOST_TRIES: Final = 6
_MOST_WAYS: Final = 5
_MOST_PINS: Final = 40  # beyond those that were asked for
_BOUGHT: Final = 10**9  # scaled: one


class Search:
    """Looks for situations of one variant."""

    def __init__(self, variant: Variant) -> None:
        """Begin anywhere."""
        self._variant = variant
        self._policy = variant.lowered
        self._facts = MovingFacts(variant)
        self._draw = Sequence32()
        self._pinned: dict[int, bool] = {}  # comparisons, and what they are to be

    def near(
        self, values: list[float], pinned: Mapping[int, bool], winner: int, confirms: Confirms
    ) -> list[float] | None:
        """Return facts close to some, with comparisons as ``pinned``; None where none show what is claimed.

        ``values`` are the form's; they need not agree with each other as a facts file's do.  ``winner`` is
        the rule that is to win, or -1.
        """
        self._facts.load(values)
        self._pinned = dict(pinned)
        for _ in range(_MOST_TRIES):
            if self._variant.solver.budget.over() or not self._reach():
                return None
            now = list(self._facts.values)
            outcome = decided(self._variant, now)
            if outcome is None:
                return None
            if confirms(outcome):
                return now
            if winner < 0 or not self._mend(
                winner, outcome.decision, outcome.evaluation, outcome.values, _MOST_PINS + len(pinned)
            ):
                return None
        return None

    # --- towards what is wanted ---------------------------------------------------------------

    def _reach(self) -> bool:
        """Move facts until every comparison is as it should be; False where that took too long."""
        missing = self._missing()
        for _ in range(_MOST_STEPS):
            if not missing:
                return True
            best: tuple[str, float] | None = None
            least = len(missing) + 1
            for way in self._ways(missing[self._draw.below(len(missing))]):
                mark = self._facts.mark()
                self._facts.move(*way)
                left = len(self._missing())
                self._facts.back(mark)
                if left < least:
                    best, least = way, left
                if left < len(missing):
                    break
            if best is not None:
                self._facts.move(*best)
                missing = self._missing()
        return not missing

    def _missing(self) -> list[int]:
        atoms = self._facts.atoms
        return [atom for atom, holds in self._pinned.items() if atoms[atom] != holds]

    def _ways(self, atom: int) -> list[tuple[str, float]]:
        """Return a few changes that may make a comparison what it should be, in any order."""
        ways = list(self._facts.ways(atom, self._pinned[atom]))
        return [ways.pop(self._draw.below(len(ways))) for _ in range(min(_MOST_WAYS, len(ways)))]

    # --- what the comparisons do not say ------------------------------------------------------

    def _mend(
        self, rule: int, decision: Decision, evaluation: Evaluation, values: list[float], most: int
    ) -> bool:
        """Ask for what kept a rule from winning to be false; False where there is no such thing.

        That is a gate, a rule that wins over it, or exits that would follow the entry.
        """
        settled, cause, before = decision.dispositions[rule], decision.causes[rule], len(self._pinned)
        here = [True] * len(values)
        is_buy = self._policy.rules[rule].action is Action.BUY
        if settled in (Disposition.OUTRANKED, Disposition.CONCURRED):
            self._pin_false(self._policy.rules[cause].when, evaluation.truths, here)
        elif settled == Disposition.VETOED and self._policy.gates[cause].name != WOULD_EXIT:
            gate = self._policy.gates[cause]
            self._pin_false(gate.when_entry if is_buy else gate.when, evaluation.truths, here)
        elif settled == Disposition.VETOED:
            after = after_entry(self._policy, values, _BOUGHT)
            truths = self._variant.reference.evaluate(after).truths
            stays = [x == y for x, y in zip(values, after, strict=True)]
            for other in self._variant.rules(Action.SELL):
                node = self._policy.rules[other].when_entry
                if truths[node] == Truth.TRUE:
                    self._pin_false(node, truths, stays)
        return before < len(self._pinned) <= most

    def _pin_false(self, node: int, truths: Sequence[int], stays: Sequence[bool]) -> None:
        """Ask for comparisons to be false that make a condition true, and that an entry does not change."""
        lowered = self._policy.nodes[node]
        if lowered.kind is NodeKind.ATOM:
            atom = self._policy.atoms[lowered.atom]
            slots = (*slots_of_term(atom.left), *slots_of_term(atom.right))
            if all(stays[slot] for slot in slots) and lowered.atom not in self._pinned:
                self._pinned[lowered.atom] = False
        elif lowered.kind is NodeKind.ALL:
            before, children = len(self._pinned), list(lowered.children)
            while children and len(self._pinned) == before:
                self._pin_false(children.pop(self._draw.below(len(children))), truths, stays)
        elif lowered.kind is NodeKind.ANY:
            for child in lowered.children:
                if truths[child] == Truth.TRUE:
                    self._pin_false(child, truths, stays)
