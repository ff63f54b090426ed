"""Grounds: of all that is so in a situation, a little that makes a formula true whatever else is so.

Reasoned is over truth values alone: of a conjunction every part is needed, of a disjunction one is chosen,
preferably one that serves several.  So grounds are soon found, and few; that some follow from others, because
numbers do, is the solver's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from engine.evaluate.symbolic.formulas import Formula, Join, negation, shape_of
from engine.evaluate.symbolic.solver import Model


class _Shape(NamedTuple):
    formula: Formula
    join: Join
    below: tuple[int, ...]


class Grounds:
    """Finds grounds of formulas; how they are made is looked up once."""

    def __init__(self) -> None:
        """Nothing was looked up."""
        self._shapes: dict[int, _Shape] = {}

    def of(self, formula: Formula, model: Model, literals: Collection[int]) -> list[Formula]:
        """Return formulas that are true in a model and make a formula true that is so, too.

        ``literals`` are the ids of formulas that are not looked into.
        """
        if isinstance(formula, bool):
            return []
        return _Search(self, model, literals).grounds(self.key(formula))

    def key(self, formula: Formula) -> int:
        """Return the id by which a formula is known here."""
        key: int = formula.identity
        if key not in self._shapes:
            join, below = shape_of(formula)
            self._shapes[key] = _Shape(formula, join, tuple(self.key(part) for part in below))
        return key

    def shape(self, key: int) -> _Shape:
        """Return how a formula is made."""
        return self._shapes[key]


_Option = tuple[int, bool]  # a formula, and whether it is true


class _Search:
    """One search for grounds in one model."""

    def __init__(self, grounds: Grounds, model: Model, literals: Collection[int]) -> None:
        self._grounds, self._model, self._literals = grounds, model, literals
        self._truths: dict[int, bool] = {}
        self._chosen: dict[int, bool] = {}  # leaves
        self._clauses: list[list[_Option]] = []
        self._known: dict[_Option, list[_Option]] = {}  # by formula and truth value: its options

    def grounds(self, key: int) -> list[Formula]:
        self._need(key, self._truth(key))
        while self._clauses:
            self._clauses = [clause for clause in self._clauses if not any(map(self._follows, clause))]
            if self._clauses:
                self._choose()
        return [self._formula(key, truth) for key, truth in self._chosen.items()]

    def _formula(self, key: int, truth: bool) -> Formula:
        formula = self._grounds.shape(key).formula
        return formula if truth else negation(formula)

    def _shape(self, key: int) -> _Shape:
        shape = self._grounds.shape(key)
        return shape if key not in self._literals else _Shape(shape.formula, Join.NONE, ())

    def _truth(self, key: int) -> bool:
        if key not in self._truths:
            formula, join, below = self._shape(key)
            if join is Join.NONE:
                truth = self._model.truth(formula)
            elif join is Join.NOT:
                truth = not self._truth(below[0])
            else:
                truth = (all if join is Join.AND else any)(self._truth(part) for part in below)
            self._truths[key] = truth
        return self._truths[key]

    def _need(self, key: int, truth: bool) -> None:
        """Choose what a truth value needs; where there is a choice, leave it for later."""
        _, join, below = self._shape(key)
        if join is Join.NONE:
            self._chosen[key] = truth
        elif join is Join.NOT:
            self._need(below[0], not truth)
        elif (join is Join.AND) == truth:
            for part in below:
                self._need(part, truth)
        else:
            options = self._options(key, truth)
            if len(options) == 1:
                self._need(*options[0])
            else:
                self._clauses.append(options)

    def _options(self, key: int, truth: bool) -> list[_Option]:
        """Return the parts that give a formula its truth value; of a part with a choice its own parts."""
        known = self._known.get((key, truth))
        if known is not None:
            return known
        options: dict[_Option, None] = {}
        for part in self._shape(key).below:
            if self._truth(part) != truth:
                continue
            at, wanted = part, truth
            _, join, inner = self._shape(at)
            while join is Join.NOT:
                at, wanted = inner[0], not wanted
                _, join, inner = self._shape(at)
            if join is not Join.NONE and (join is Join.AND) != wanted:
                options.update(dict.fromkeys(self._options(at, wanted)))
            else:
                options[at, wanted] = None
        found = self._known[key, truth] = list(options)
        return found

    def _follows(self, option: _Option) -> bool:
        """Say whether what was chosen makes something so already."""
        key, truth = option
        _, join, below = self._shape(key)
        if join is Join.NONE:
            return key in self._chosen
        if join is Join.NOT:
            return self._follows((below[0], not truth))
        every = (join is Join.AND) == truth
        parts = ((part, truth) for part in below if every or self._truth(part) == truth)
        return (all if every else any)(map(self._follows, parts))

    def _choose(self) -> None:
        """Choose what serves most of the clauses that are left, the earlier if several do."""
        served = Counter(
            option
            for clause in self._clauses
            for option in clause
            if self._shape(option[0]).join is Join.NONE
        )
        if served:
            self._need(*max(served, key=lambda option: served[option]))
        else:
            self._need(*self._clauses[0][0])
