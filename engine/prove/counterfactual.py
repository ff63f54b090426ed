"""Counterfactuals: the smallest changes of movable facts that would give another decision.

Of a decided situation only what the market and the clock can change is free (``engine.prove.movement``);
all else is what it is.  Sought are the sets of groups of facts that must move, the fewest groups first and
none of them for nothing, and of each set the movement with the least sum of distances over typical scales.

The sets are minimal hitting sets: whatever a solver finds that cannot stay as it is all at once (a core)
must be hit.  A movement found is decided by the reference evaluator.  The formulas leave open what rounding,
sizes and limits do; where the decision comes out otherwise, what was seen there is asserted, and the search
goes on.  So what is found is both confirmed and the least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice, product
from typing import Final, NamedTuple

from engine.codes import Action, Disposition, Truth
from engine.evaluate.reference import Leaf, ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.conditions import Conditions, Kleene
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
    same,
    some,
    total,
)
from engine.evaluate.symbolic.snapshot import Snapshot
from engine.evaluate.symbolic.solver import Answer, Budget, Model, Solver
from engine.lowered import (
    ArithmeticTerm,
    Comparison,
    ConstantTerm,
    FactTerm,
    LimitKind,
    Operator,
    SlotOrigin,
    Term,
)
from engine.model import Decision
from engine.prove.movement import Movement, Point
from engine.prove.region import Literal, conditions, decisive_atoms
from engine.prove.world import TRUTHS, World, WorldTerms
from engine.units import GRID_PER_UNIT, MONEY_SCALE, Measure
from engine.verbs.decide import Situation, decide
from engine.verbs.explain import Trial, Watched
from engine.verbs.terms import slots_of_term

MOST_GROUPS: Final = 4
"""More facts than this are no small change."""
ONE_MORE: Final = Fraction(1, 10**6)
"""What a further fact of one group costs, so that of equal movements the simpler one is found."""
_SETS: Final = 12
"""Of each size no more sets are looked at."""
_REFINEMENTS: Final = 40
_SIMPLE: Final = 8
_LESSONS: Final = 12
_FAILURES: Final = 4
"""Sets of which the formulas promise a movement that no decision confirms, before the search ends."""
_PLATEAUS: Final = 8
"""Steps of a rounded number to each side of a flip between which it may flip to and fro."""
_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]
_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


@dataclass(frozen=True, slots=True)
class Found:
    """A movement that gives the action, decided: the facts there, and which groups moved how far."""

    point: dict[int, int]
    groups: tuple[int, ...]
    distance: Fraction
    values: list[float]
    situation: Situation
    decision: Decision


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to; ``complete`` says that nothing smaller was left open.

    ``impossible``: no movement at all gives the action.  ``obstacles`` are conditions on what does not move,
    in words, that make it so.
    """

    found: tuple[Found, ...]
    complete: bool
    impossible: bool = False
    obstacles: tuple[str, ...] = ()


def search(movement: Movement, action: Action, budget: Budget, count: int = 3) -> Search:
    """Find up to ``count`` smallest movements that give the action, of different sets of groups."""
    return _Searcher(movement, action, budget).search(count)


class _Bound(NamedTuple):
    """What a buy must keep to, and what it is called."""

    formula: Formula
    name: str


# --- the search -------------------------------------------------------------------------------


class _Searcher:
    def __init__(self, movement: Movement, action: Action, budget: Budget) -> None:
        self.movement = movement
        self.lowered = movement.lowered
        self.action = action
        self.budget = budget
        self.stated = movement.vector.stated_mask
        self.reference = ReferenceEvaluator(self.lowered)
        self.watched = Watched(self.lowered)
        self.now = self.reference.evaluate(list(movement.values), self.stated).leaves
        self.world = World(movement)
        own = {
            slot: self.world.slots[slot]
            for index, signal in enumerate(self.lowered.signals)
            if self.stated >> index & 1
            for slot in (*signal.slots, *signal.entry_slots)
        }
        self.coordinates_of = [self._coordinates_of(index) for index in range(len(self.lowered.atoms))]
        decided = {
            index: Truth(self.now[index].truth)
            for index, of in enumerate(self.coordinates_of)
            if of is not None and not of
        }
        self.terms = WorldTerms(self.lowered, self.world, own, decided, self._divided)
        self.bounds = self._bounds()
        self.goal = self._goal()
        self.solver = Solver(budget)
        self.asserted = 0
        self.failed = 0  # sets that might do and were not found to: larger ones may then have any group
        self.open = action is Action.HOLD  # whether something smaller may have been missed
        self.resting = [
            every(
                resting
                for resting, coordinate in zip(self.world.resting, movement.coordinates, strict=True)
                if coordinate.group == group
            )
            for group in range(len(movement.groups))
        ]
        self.free = [group for group, formula in enumerate(self.resting) if formula is not True]

    def _coordinates_of(self, atom: int) -> tuple[int, ...] | None:
        """Return the coordinates that a comparison depends on; None where it reads a counted signal."""
        lowered = self.lowered.atoms[atom]
        slots = {slot for term in (lowered.left, lowered.right) for slot in slots_of_term(term)}
        return self._of_slots(slots)

    def _of_slots(self, slots: set[int]) -> tuple[int, ...] | None:
        found: dict[int, None] = {}
        for slot in slots:
            if self.lowered.slots[slot].origin in _VOTED and not self._is_stated(slot):
                return None
            found |= dict.fromkeys(self.movement.movable.get(slot, ()))
        return tuple(sorted(found))

    def _is_stated(self, slot: int) -> bool:
        return any(
            slot in (*signal.slots, *signal.entry_slots)
            for index, signal in enumerate(self.lowered.signals)
            if self.stated >> index & 1
        )

    # --- what is asked

    def _goal(self) -> Formula:
        if self.action is not Action.HOLD:
            return self.terms.decides(self.action)
        # That a limit or a trial leaves nothing of an order is decided, not asked: see ``_learn``.
        return every((self.terms.proposes(Action.HOLD), *map(negation, self.terms.would_exit.values())))

    def _bounds(self) -> list[_Bound]:
        """Return what every buy needs beside rules and gates: no order open, room in each limit, cash."""
        if self.action is not Action.BUY:
            return []
        situation = self.movement.vector.situation
        found = [
            _Bound(situation.working is None, "an order of it is open"),
            _Bound(not situation.backoff, "the venue refused a buy of it lately"),
            _Bound(situation.may_enter, "it is outside the universe"),
            _Bound(situation.instrument is not None, "the venue does not say what it trades of it"),
        ]
        cent = MONEY_SCALE // _CENTS
        cash = situation.cash_available // cent
        found.append(_Bound(cash > 0, "there is no cash left"))
        room: list[_Bound] = []
        least_order: list[Formula] = []
        for index, limit in enumerate(self.lowered.limits):
            used, name = situation.usage[index], f"the limit {limit.name}"
            if limit.bound is None:
                found.append(self._counted(limit.kind, limit.count, limit.window_seconds, used, name))
                continue
            known, bound = self.terms.money(limit.bound)
            if limit.kind is LimitKind.ORDER_AT_LEAST:
                found.append(_Bound(every((known, bound <= cash)), name))
                least_order.append(bound)
            elif limit.kind is LimitKind.CASH_AT_LEAST:
                found.append(_Bound(every((known, bound <= cash)), name))
            elif limit.kind is LimitKind.ORDER_AT_MOST:
                room.append(_Bound(every((known, bound > 0)), name))
            elif used is None:
                found.append(_Bound(False, name))
            else:
                left = bound - used // cent - self._more_worth()
                room.append(
                    _Bound(every((known, left > 0, *(left + 1 >= one for one in least_order))), limit.name)
                )
        return [bound for bound in (*found, *room) if bound.formula is not True]

    def _more_worth(self) -> Number:
        """Return by how many cents the position's value moves."""
        index = self.lowered.slot("position_value")
        if index not in self.movement.lines or self.movement.values[index] != self.movement.values[index]:
            return 0
        return self.world.slots[index].value - round(self.movement.values[index] * _CENTS)

    def _counted(self, kind: LimitKind, count: int, window: int, used: int | None, name: str) -> _Bound:
        if used is not None and (used < count or (kind is LimitKind.POSITIONS_AT_MOST and self._counts())):
            return _Bound(True, name)
        if kind is not LimitKind.BUYS_AT_MOST or self.movement.seconds < 0 or count == 0:
            return _Bound(False, name)
        return _Bound(self._passed() >= window, name)

    def _counts(self) -> bool:
        return self.movement.vector.situation.counted

    def _ask(self, *formulas: Formula) -> Answer:
        self._settle()
        return self.solver.ask(*formulas)

    def _settle(self) -> None:
        fresh = self.world.constraints[self.asserted :]
        self.asserted += len(fresh)
        self.solver.add(*fresh)

    @property
    def _wanted(self) -> list[Formula]:
        return [self.goal, *(bound.formula for bound in self.bounds)]

    # --- sets of groups

    def search(self, count: int) -> Search:
        """Look through sets of groups, the smallest first."""
        if self._ask(*self.resting) is not Answer.POSSIBLE:
            self.open = True  # the facts contradict each other: nothing is proved about them
        cores: list[frozenset[int]] = []
        found: list[Found] = []
        done: list[frozenset[int]] = []  # no superset of these is wanted
        for size in range(MOST_GROUPS + 1):
            tried: set[frozenset[int]] = set()
            while len(tried) < _SETS and self.failed <= _FAILURES:
                chosen = self._hitting(cores, size, done, tried)
                if chosen is None:
                    break
                staying = [group for group in self.free if group not in chosen]
                answer = self._ask(*self._wanted, *(self.resting[group] for group in staying))
                if answer is Answer.IMPOSSIBLE:
                    core = {id(formula) for formula in self.solver.core()}
                    hit = frozenset(group for group in staying if id(self.resting[group]) in core)
                    if not hit and not found:
                        return Search((), not self.open, not self.open, self._obstacles())
                    if not hit:
                        return self._sorted(found, count)
                    cores.append(hit)
                    continue
                tried.add(chosen)
                best = self._best(chosen) if answer is Answer.POSSIBLE else None
                self.failed += best is None
                if best is not None:
                    done.append(chosen)
                    found.append(best)
                elif (
                    answer is Answer.UNDECIDED
                    or self._ask(*self._wanted, *(self.resting[group] for group in staying))
                    is not Answer.IMPOSSIBLE
                ):
                    self.open = True
            if len(found) >= count or self.failed > _FAILURES or self.budget.over():
                break
        return self._sorted(found, count)

    def _sorted(self, found: list[Found], count: int) -> Search:
        found.sort(key=lambda one: (len(one.groups), one.distance))
        return Search(tuple(found[:count]), not self.open and not self.budget.over())

    def _hitting(
        self,
        cores: Sequence[frozenset[int]],
        size: int,
        done: Sequence[frozenset[int]],
        tried: set[frozenset[int]],
    ) -> frozenset[int] | None:
        """Return the next set of so many groups that hits every core."""
        candidates = self.free if self.failed else sorted(frozenset().union(*cores))
        for chosen in map(frozenset, combinations(candidates, size)):
            if chosen in tried or any(one <= chosen for one in done):
                continue
            if all(chosen & core for core in cores):
                return chosen
        return None

    # --- the best of a set

    def _best(self, groups: frozenset[int]) -> Found | None:
        """Return the least movement of some groups that is decided as asked for; None if none is found.

        Each movement that is found is drawn in as far as its decision stays; then a shorter one is asked for,
        until there is none, or none by as much as a step.
        """
        coordinates = self.movement.coordinates
        moving = [index for index, one in enumerate(coordinates) if one.group in groups]
        staying = [self.resting[group] for group in self.free if group not in groups]
        length, step = self._length(moving), min((ONE_MORE, *(coordinates[index].weight for index in moving)))
        least: Fraction = Fraction(0)
        halve, lessons = False, 0
        self._settle()
        mark = self.asserted
        with self.solver.supposing(*self._wanted, *staying):
            best = self._simplest(groups, moving)
            for _ in range(_REFINEMENTS):
                self._settle()
                bound = None if best is None else (least + best.distance) / 2 if halve else best.distance
                answer, model = self._shorter(length, bound)
                if model is not None:
                    point = self._point(model, moving)
                    found, values = self._decide(point)
                    if found is not None:
                        halve = bound is not None and not halve
                        best = self._drawn_in(found)
                    elif lessons == _LESSONS or not self._learn(model, point, values):
                        self.open = True
                        break
                    else:
                        lessons += 1
                elif answer is Answer.UNDECIDED or bound is None or not halve:
                    self.open = self.open or answer is Answer.UNDECIDED
                    break
                else:
                    least = bound
                if best is not None and best.distance - least < step:
                    break
            else:
                self.open = True
        self.asserted = mark
        return best

    def _simplest(self, groups: frozenset[int], moving: Sequence[int]) -> Found | None:
        """Return the best movement of one fact in each group: most often there is no shorter one."""
        coordinates = self.movement.coordinates
        of = [[index for index in moving if coordinates[index].group == group] for group in sorted(groups)]
        found: list[Found] = []
        for chosen in islice(product(*of), _SIMPLE) if groups else ():
            rest = [self.world.resting[index] for index in moving if index not in chosen]
            with self.solver.supposing(*rest):
                model = self.solver.model() if self.solver.ask() is Answer.POSSIBLE else None
            if model is not None and (one := self._decide(self._point(model, moving))[0]):
                found.append(self._drawn_in(one))
        return min(found, key=lambda one: one.distance, default=None)

    def _shorter(self, length: Number, bound: Fraction | None) -> tuple[Answer, Model | None]:
        """Ask for a movement that is shorter than a bound."""
        with self.solver.supposing(*([] if bound is None else [length < as_real(bound)])):
            answer = self.solver.ask()
            return answer, self.solver.model() if answer is Answer.POSSIBLE else None

    def _length(self, moving: Sequence[int]) -> Number:
        """Return the sum of distances."""
        distances: list[Number] = []
        for index in moving:
            coordinate, move = self.movement.coordinates[index], self.world.moves[index]
            if coordinate.rest is None:
                distances.append(choice(self.world.known[index], as_real(1), as_real(0)))
            elif coordinate.counted:
                distances.append(choice(move == coordinate.rest, as_real(0), as_real(1)))
            else:
                off = integer(self.world.fresh(f"off {coordinate.name}"))
                self.world.constraints += [off >= move - coordinate.rest, off >= coordinate.rest - move]
                distances.append(as_real(off) * as_real(coordinate.weight))
            if not coordinate.counted and coordinate.rest is not None:
                distances.append(choice(move == coordinate.rest, as_real(0), as_real(ONE_MORE)))
        return total(distances)

    def _drawn_in(self, found: Found) -> Found:
        """Return the movement with each coordinate as near to rest as its decision allows, one by one."""
        coordinates = self.movement.coordinates
        for index in sorted(found.point, key=lambda one: -coordinates[one].distance(found.point[one])):
            at = found.point[index]
            without = {other: n for other, n in found.point.items() if other != index}
            found = self._if_decided(without) or found
            if index not in found.point or coordinates[index].counted:
                continue
            rest = coordinates[index].rest
            near = coordinates[index].usual if rest is None else rest
            if rest is None and (usual := self._if_decided({**found.point, index: near})):
                found = usual
                continue
            far = at
            while abs(far - near) > 1:
                middle = (near + far) // 2
                if nearer := self._if_decided({**found.point, index: middle}):
                    found, far = nearer, middle
                else:
                    near = middle
        return found

    def _if_decided(self, point: Point) -> Found | None:
        return self._decide(point)[0] if self.movement.possible(point) else None

    def _point(self, model: Model, moving: Sequence[int]) -> dict[int, int]:
        point = {}
        for index in moving:
            if model.truth(self.world.known[index]):
                n = int(model.number(self.world.moves[index]))
                if n != self.movement.coordinates[index].rest:
                    point[index] = n
        return point

    def _decide(self, point: Point) -> tuple[Found | None, list[float]]:
        """Decide at a point: what is found if it comes out as asked, and the facts there."""
        values, situation = self.movement.at(point)
        watched = self.watched
        watched.trials.clear()
        decision = decide(watched, list(values), situation)
        if decision.action is not self.action:
            self.seen = decision
            return None, values
        groups = tuple(sorted({self.movement.coordinates[index].group for index in point}))
        coordinates = self.movement.coordinates
        distance = sum((coordinates[index].distance(n) for index, n in point.items()), Fraction(0))
        distance += ONE_MORE * sum(
            not coordinates[index].counted and coordinates[index].rest is not None for index in point
        )
        return Found(dict(point), groups, distance, values, situation, decision), values

    # --- what a decision that came out otherwise teaches

    def _learn(self, model: Model, point: Point, values: list[float]) -> bool:
        """Assert what was seen at a point and the formulas had left open; False where nothing was."""
        leaves = self.reference.evaluate(list(values), self.stated).leaves
        learnt = False
        for index, of in enumerate(self.coordinates_of):
            if not of:
                continue
            truth = self.terms.atom(index)
            true, false = model.truth(truth.true), model.truth(truth.false)
            if (true, false) != TRUTHS[Truth(leaves[index].truth)]:
                self._add(self._lesson(index, of, point, leaves[index].truth))
                learnt = True
        if learnt:
            return True
        decision, trials = self.seen, dict(self.watched.trials)
        rule = decision.rule
        entries = [index for index, one in enumerate(self.lowered.rules) if one.name in trials]
        if self.action is Action.HOLD or (rule < 0 and not entries):
            return False
        for entry in entries:
            lesson = self._trial_lesson(entry, trials[self.lowered.rules[entry].name], point)
            if model.truth(lesson):  # it is known already: what the exit reads beside it was left open
                everything = self._pinned(range(len(self.world.moves)), point)
                lesson = implies(everything, negation(self.terms.candidates[entry].acts))
            self._add(lesson)
        if rule >= 0 and rule not in entries and decision.dispositions[rule] != Disposition.ACTED:
            candidate = self.terms.candidates[rule]
            here = every((self._pinned(self._of_order(rule), point), self._as_counted(point)))
            self._add(implies(here, negation(candidate.acts)))
            return True
        return bool(entries)

    def _add(self, formula: Formula) -> None:
        self.world.constraints.append(formula)

    def _pinned(self, coordinates: Sequence[int], point: Point) -> Formula:
        return every(self._pin(index, point) for index in coordinates)

    def _pin(self, index: int, point: Point) -> Formula:
        rest = self.movement.coordinates[index].rest
        if index in point:
            return every((self.world.known[index], self.world.moves[index] == point[index]))
        return negation(self.world.known[index]) if rest is None else self.world.moves[index] == rest

    def _is(self, index: int, truth: int) -> Formula:
        kleene = self.terms.atom(index)
        return (
            kleene.true if truth == Truth.TRUE else kleene.false if truth == Truth.FALSE else kleene.unknown
        )

    def _lesson(self, atom: int, of: Sequence[int], point: Point, truth: int) -> Formula:
        """Return what is so of a comparison at a point."""
        return implies(self._pinned(of, point), self._is(atom, truth))

    # --- comparisons that divide a line

    def _divided(self, atom: int) -> Kleene | None:
        """Return a comparison of one coordinate's facts by where it flips; None where that is not known.

        Its two sides move in proportion, so it flips once, but for their rounding: near the flip it may flip
        to and fro, and is left open.
        """
        of = self.coordinates_of[atom]
        if of is None or len(of) != 1 or not self._flips_once(atom):
            return None
        coordinate, move = self.movement.coordinates[of[0]], self.world.moves[of[0]]
        lowered = self.lowered.atoms[atom]
        terms = lowered.left, lowered.right
        followers = {*self.movement.lines, self.movement.weight}
        plain = all(isinstance(term, FactTerm | ConstantTerm) for term in terms)
        if coordinate.rest is None or (
            plain and not any(followers & set(slots_of_term(term)) for term in terms)
        ):
            return None  # its formulas are exact
        here = self._leaf(atom, of[0], coordinate.rest)
        ends = [self._leaf(atom, of[0], end) for end in (coordinate.low, coordinate.high)]
        if Truth.UNKNOWN in (here.truth, *(end.truth for end in ends)):
            return None
        otherwise: list[Formula] = []
        for end, leaf in zip((coordinate.low, coordinate.high), ends, strict=True):
            if leaf.truth != here.truth:
                near, far = self._flips(atom, of[0], coordinate.rest, end)
                up = end > coordinate.rest
                otherwise.append(move >= far if up else move <= far)
                if near != far:
                    maybe = boolean(self.world.fresh("near"))
                    otherwise.append(every((maybe, move >= near if up else move <= near)))
        other = some(otherwise)
        now = negation(other)
        return Kleene(now, other) if here.truth == Truth.TRUE else Kleene(other, now)

    def _leaf(self, atom: int, index: int, n: int) -> Leaf:
        at_rest = n == self.movement.coordinates[index].rest
        values, _ = self.movement.at({} if at_rest else {index: n})
        return self.reference.evaluate(values, self.stated).leaves[atom]

    def _flips(self, atom: int, index: int, rest: int, end: int) -> tuple[int, int]:
        """Return where a comparison first is otherwise than at rest, and from where on it stays so."""
        now, up = self._leaf(atom, index, rest), 1 if end > rest else -1

        def first(inside: int, outside: int, differs: Callable[[Leaf], bool]) -> int:
            """Return the point nearest to ``inside`` that differs; ``outside`` does."""
            while abs(outside - inside) > 1:
                middle = (inside + outside) // 2
                if differs(self._leaf(atom, index, middle)):
                    outside = middle
                else:
                    inside = middle
            return outside

        flip = near = far = first(rest, end, lambda leaf: leaf.truth != now.truth)
        lowered = self.lowered.atoms[atom]
        if not all(self._of_slots(set(slots_of_term(term))) for term in (lowered.left, lowered.right)):
            return near, far  # against a fixed number there is no to and fro
        at = flip
        for _ in range(_PLATEAUS):
            before = self._leaf(atom, index, at - up)
            if before[:2] == now[:2]:
                break
            at = first(rest, at - up, _shows(before))
            near = near if before.truth == now.truth else at
        at, last = flip, self._leaf(atom, index, end)
        for _ in range(_PLATEAUS):
            here = self._leaf(atom, index, at)
            if here[:2] == last[:2]:
                break
            if here.truth == now.truth:
                far = 0
            elif not far:
                far = at
            at = first(at, end, _shows_no_more(here))
        return near, far or at

    def _flips_once(self, atom: int) -> bool:
        """Say whether a comparison of one coordinate's facts can have but one threshold."""
        lowered = self.lowered.atoms[atom]
        if lowered.comparison in (Comparison.EQUAL, Comparison.NOT_EQUAL) or lowered.steps_per_unit == 0:
            return False
        return all(self._is_straight(term) for term in (lowered.left, lowered.right))

    def _is_straight(self, term: Term) -> bool:
        """Say whether a number moves in proportion."""
        match term:
            case FactTerm() | ConstantTerm():
                return True
            case ArithmeticTerm(Operator.ADD | Operator.SUBTRACT | Operator.NEGATE, operands):
                return all(self._is_straight(operand) for operand in operands)
            case ArithmeticTerm(Operator.MULTIPLY, operands):
                moving = [operand for operand in operands if self._of_slots(set(slots_of_term(operand)))]
                return len(moving) <= 1 and all(self._is_straight(operand) for operand in moving)
            case ArithmeticTerm(Operator.DIVIDE, operands):
                divisors = [self._of_slots(set(slots_of_term(operand))) for operand in operands[1:]]
                return not any(divisors) and self._is_straight(operands[0])
        return False

    def _of_order(self, rule: int) -> list[int]:
        """Return the coordinates on which the order of a rule depends."""
        lowered = self.lowered
        style = lowered.buy_style if lowered.rules[rule].action is Action.BUY else lowered.sell_style
        terms = [lowered.rules[rule].size, style.limit, *(limit.bound for limit in lowered.limits)]
        slots = {slot for term in terms if term is not None for slot in slots_of_term(term)}
        return sorted({self.movement.bid, self.movement.ask, *(self._of_slots(slots) or ())})

    def _as_counted(self, point: Point) -> Formula:
        """Say that limits of a rate count as they do at a point."""
        windows = {
            limit.window_seconds for limit in self.lowered.limits if limit.kind is LimitKind.BUYS_AT_MOST
        }
        passed = self.movement.passed(point)
        return every(same(self._passed() >= window, passed >= window) for window in sorted(windows))

    def _passed(self) -> Number:
        passed = self.world.moves[self.movement.seconds]
        if self.movement.daily and self.movement.bars >= 0:
            passed = passed + self.world.moves[self.movement.bars] * self.movement.policy.bars_seconds
        return passed

    def _trial_lesson(self, entry: int, trial: Trial, point: Point) -> Formula:
        """Return what an entry led to: the facts after it, or how narrow the spread must be."""
        movement, acts = self.movement, self.terms.candidates[entry].acts
        of, counted = self._of_order(entry), self._as_counted(point)
        spread = self.movement.coordinates[movement.ask]
        at = point.get(movement.ask, 0)
        if spread.rest is not None and at > spread.low and self._stands({**point, movement.ask: spread.low}):
            wide, narrow = at, spread.low
            while wide - narrow > 1:
                middle = (wide + narrow) // 2
                if self._stands({**point, movement.ask: middle}):
                    narrow = middle
                else:
                    wide = middle
            rest = [index for index in of if index != movement.ask]
            close = self.world.moves[movement.ask] <= narrow
            return implies(every((self._pinned(rest, point), counted, acts)), close)
        after = self.terms.after_entry(entry)
        assert after is not None, "only entries are tried"
        facts = every(self._after_facts(after, trial.after))
        return implies(every((self._pinned(of, point), counted, acts)), facts)

    def _stands(self, point: Point) -> bool:
        values, situation = self.movement.at(point)
        return decide(self.reference, values, situation).action is self.action

    def _after_facts(self, after: Conditions, values: list[float]) -> Iterator[Formula]:
        for index, slot in enumerate(self.lowered.slots):
            if slot.origin in _VOTED:
                continue
            variable, value = after.variable(index), values[index]
            if variable is self.terms.variable(index):
                continue
            if value != value:
                yield negation(variable.known)
            elif slot.unit is Measure.BOOLEAN:
                yield every((variable.known, same(variable.value, bool(value))))
            else:
                yield every((variable.known, variable.value == round(value * (slot.steps_per_unit or 1))))

    # --- what stands in the way

    def _obstacles(self) -> tuple[str, ...]:
        """Return conditions on what does not move under which nothing that moves gives the action."""
        bounds = [bound for bound in self.bounds if bound.formula is not True]
        if self.solver.ask(self.goal) is Answer.POSSIBLE:
            kept = self.solver.least_core([self.goal, *(bound.formula for bound in bounds)]) or []
            names = [bound.name for bound in bounds if any(bound.formula is one for one in kept)]
            return tuple(names)
        return tuple(self._fixed_conditions())

    def _fixed_conditions(self) -> Iterator[str]:
        """Yield the fewest conditions on facts that do not move, each as it is, that rule the action out."""
        snapshot = Snapshot(anything_unknown=True)
        terms = PolicyTerms(self.lowered, snapshot)
        goal = terms.decides(self.action)
        literals: dict[int, Literal | str] = {}
        formulas = []
        for index in decisive_atoms(self.lowered):
            if self.coordinates_of[index] != ():
                continue
            truth, kleene = self.now[index].truth, terms.atom(index)
            formula = kleene.true if truth == Truth.TRUE else kleene.false
            if truth == Truth.UNKNOWN:
                formula = kleene.unknown
            literal: Literal | str = Literal(index, truth == Truth.TRUE)
            if truth == Truth.UNKNOWN:
                literal = f"{self._unknown_in(index)} is unknown"
            if formula is not True:
                literals[id(formula)] = literal
                formulas.append(formula)
        for index, slot in enumerate(self.lowered.slots):
            if slot.origin in _VOTED or index in self.movement.movable:
                continue
            known, value = terms.variable(index), self.movement.values[index]
            if value != value:
                formulas.append(negation(known.known))
                literals[id(formulas[-1])] = f"{slot.name} is unknown"
        solver = Solver(self.budget, snapshot.constraints)
        kept = solver.least_core([goal, *formulas])
        said = [literals[id(formula)] for formula in kept or () if id(formula) in literals]
        yield from conditions(self.lowered, [one for one in said if isinstance(one, Literal)])
        yield from dict.fromkeys(one for one in said if isinstance(one, str))

    def _unknown_in(self, atom: int) -> str:
        lowered = self.lowered.atoms[atom]
        slots = [slot for term in (lowered.left, lowered.right) for slot in slots_of_term(term)]
        unknown = [slot for slot in slots if self.movement.values[slot] != self.movement.values[slot]]
        return self.lowered.slots[unknown[0]].name if unknown else lowered.text


def _shows(of: Leaf) -> Callable[[Leaf], bool]:
    return lambda leaf: leaf[:2] == of[:2]


def _shows_no_more(of: Leaf) -> Callable[[Leaf], bool]:
    return lambda leaf: leaf[:2] != of[:2]
