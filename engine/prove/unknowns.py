"""The theorem about Unknown, for every policy: what is unknown buys nothing (language reference, "Unknown").

Let ``x`` be facts of which some are Unknown, and ``y`` a completion: whatever ``x`` knows, ``y`` knows
alike, and it may know more.  If a buy is made in ``x``, the same rule makes the same buy in ``y``, with
cash, the usage of limits and the venue as they are.  The solver is asked for the choice; the rest follows
from how ``decide`` goes on from there:

* *Choice.*  If a buy rule wins in ``x`` with some entries known to be followed by an exit (``would_exit``),
  it wins in ``y`` with the same ones: asked.  ``would_exit_unknown`` plays no part: an entry of which it is
  set is vetoed, and every lower one is withheld, so no buy is made in ``x`` once it is.
* *Size.*  ``decide`` makes a buy only where size, limit price and every bound of a limit are known in
  ``x``.  Each is a number computed from facts, and unknown where one of them is, so it is the same in
  ``y``; that signals which they read are the same is asked.
* *Tried entries.*  ``decide`` tries the winner on the facts after it.  Those are the facts before it, or
  computed from them, so the ones of ``y`` complete those of ``x``.  Conditions are monotone in Kleene's
  logic, and exits are read as entries read them, without abstaining votes: an exit that is true in ``x`` is
  true in ``y``, and where all are false in ``x`` they are so in ``y``.  By induction over the entries
  tried, ``decide`` goes in ``y`` the way it goes in ``x``.

Choice is first asked of comparisons alone, each of which may be as it likes in ``x`` and, where it is known
there, is the same in ``y``: the same number, computed from the same facts.  That is soon answered, and an
impossible there is one for facts.  Only what is left of it is asked of the facts themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from engine.codes import Action
from engine.evaluate.symbolic.choice import ChoiceTerms, PolicyTerms
from engine.evaluate.symbolic.conditions import Kleene
from engine.evaluate.symbolic.formulas import Formula, every, implies, negation, same, some
from engine.evaluate.symbolic.snapshot import Completion, Snapshot, fact_values
from engine.evaluate.symbolic.solver import Answer, Budget, Model, Solver
from engine.lowered import (
    ArithmeticTerm,
    ConstantTerm,
    FactTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    SlotOrigin,
    StepTerm,
    Term,
)
from engine.prove.finding import Finding, found
from engine.prove.variant import Variant
from engine.units import GRID_PER_UNIT, Measure
from engine.verbs.terms import nodes_below, slots_of_node, slots_of_term

_VOTED = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)


def check_unknowns(variant: Variant) -> Iterator[Finding]:
    """Find an entry that a missing fact makes, or makes larger; there is none in a policy that loads."""
    if same_choice(variant.lowered, variant.solver.budget) and same_size(variant.lowered):
        return
    theorem = Theorem(variant.lowered, variant.unknown.terms)
    answer = theorem.ask(variant.unknown.solver, variant.unknown.snapshot.constraints)
    if answer is not Answer.POSSIBLE:
        return
    for rule in theorem.broken_by():
        name = variant.lowered.rules[rule].name
        message = f"entry '{name}' may buy while a fact is Unknown, and not the same once it is known"
        yield found(variant, "unknown-enables", message, variant.lowered.rules[rule].span)


def _same_tries(before: PolicyTerms, after: PolicyTerms) -> Iterator[Formula]:
    """The same entries were tried and would exit; none of which that is Unknown."""
    for terms in (before, after):
        yield from map(negation, terms.would_exit_unknown.values())
    for index, bit in before.would_exit.items():
        yield same(bit, after.would_exit[index])


# --- comparisons alone ------------------------------------------------------------------------


def same_choice(policy: LoweredPolicy, budget: Budget) -> bool:
    """Say whether no buy is chosen that another choice would take the place of, once more is known.

    Nothing is said of facts: False where it may be so, or was left open.  Asked is, of each rule by itself:
    a buy that nothing vetoes in ``x`` is vetoed by nothing in ``y``; and what neither is free to stand in
    ``x`` nor withholds others does neither in ``y``.  By induction in the order of rules that is enough: of
    what goes before a buy that wins, and of all exits, none is free to stand, and none withholds it.
    """
    return any(_same_choice(policy, budget, whole) for whole in (_plain(policy), frozenset[int]()))


def _plain(policy: LoweredPolicy) -> frozenset[int]:
    """Return the conditions of rules that are known once they are: one stands for all of them.

    Those are not among them that read a signal whose votes may yet change it, or are part of another
    condition or of a gate: there two of them might meet.
    """
    voted = _abstaining(policy) | _readings(policy).keys()
    tops = {rule.when for rule in policy.rules if rule.when == rule.when_entry}
    others = {child for node in tops for child in policy.nodes[node].children}
    read: list[LoweredGate | LoweredRule] = [*policy.gates]
    read += [rule for rule in policy.rules if rule.when != rule.when_entry]
    others |= {node for one in read for node in (one.when, one.when_entry)}
    below = {below for node in others for below in nodes_below(policy, node)}
    return frozenset(node for node in tops - below if voted.isdisjoint(slots_of_node(policy, node)))


def _same_choice(policy: LoweredPolicy, budget: Budget, whole: Collection[int]) -> bool:
    before, after = (
        ChoiceTerms(policy, Snapshot(name, anything_unknown=True), whole) for name in ("chosen ", "then ")
    )
    solver = Solver(budget)
    solver.add(*_as_comparisons_go(policy, before, after), *_same_tries(before, after))
    solver.add(_goes_on(before.condition, after.condition))
    solver.add(*before.snapshot.constraints, *after.snapshot.constraints)
    differs = []
    for index, rule in enumerate(policy.rules):
        (free, withholds), (still_free, still_withholds) = (
            (terms.is_free(index), terms.withholds(index)) for terms in (before, after)
        )
        appears = every((negation(free), negation(withholds), some((still_free, still_withholds))))
        differs.append(appears)
        if rule.action is Action.BUY:
            differs.append(every((free, negation(still_free))))
        if rule.action is Action.SELL:  # by priority, one that stands below the buy need only not withhold
            differs.append(every((negation(withholds), still_withholds)))
    return all(solver.ask(one, briefly=True) is Answer.IMPOSSIBLE for one in dict.fromkeys(differs))


def _as_comparisons_go(policy: LoweredPolicy, before: ChoiceTerms, after: ChoiceTerms) -> Iterator[Formula]:
    """Yield what is sure of comparisons: known once they stay as they are, and read alike by exits."""
    abstaining = _abstaining(policy)
    readings = _readings(policy)
    place = {
        (atom.left, atom.comparison, atom.right, atom.steps_per_unit): index
        for index, atom in enumerate(policy.atoms)
    }
    for index, atom in enumerate(policy.atoms):
        slots = {*slots_of_term(atom.left), *slots_of_term(atom.right)}
        if not slots & abstaining:
            yield _goes_on(before.atom(index), after.atom(index))
        if slots & readings.keys():
            left, right = (_reading(term, readings) for term in (atom.left, atom.right))
            acting = place.get((left, atom.comparison, right, atom.steps_per_unit))
            if acting is not None:
                yield from (_goes_on(terms.atom(index), terms.atom(acting)) for terms in (before, after))


def _goes_on(one: Kleene, other: Kleene) -> Formula:
    return every((implies(one.true, other.true), implies(one.false, other.false)))


def _readings(policy: LoweredPolicy) -> dict[int, int]:
    """Return the slots of signals as exits read them, by those that entries read where they differ."""
    return {
        entry: acting
        for signal in policy.signals
        for entry, acting in zip(signal.entry_slots, signal.slots, strict=True)
        if entry != acting
    }


def _abstaining(policy: LoweredPolicy) -> set[int]:
    """Return the slots of signals that are known although a vote is not: more votes may change them."""
    return {
        slot
        for signal in policy.signals
        if any(vote.abstain for vote in signal.votes)
        for slot in signal.slots
    }


def _reading(term: Term, readings: Mapping[int, int]) -> Term:
    """Return a term as exits read it, of one as entries do."""
    match term:
        case FactTerm(slot):
            return FactTerm(readings.get(slot, slot))
        case ArithmeticTerm(operator, operands):
            return ArithmeticTerm(operator, tuple(_reading(one, readings) for one in operands))
        case StepTerm(by, thresholds, values):
            return StepTerm(_reading(by, readings), thresholds, values)
        case ConstantTerm():
            return term


def same_size(policy: LoweredPolicy) -> bool:
    """Say whether what a buy computes reads nothing that may change once more is known."""
    sizes = [rule.size for rule in policy.rules if rule.action is Action.BUY]
    bounds = [limit.bound for limit in policy.limits]
    read = {
        slot
        for term in (*sizes, policy.buy_style.limit, *bounds)
        if term is not None
        for slot in slots_of_term(term)
    }
    return read.isdisjoint(_abstaining(policy))


def theorem_holds(policy: LoweredPolicy, budget: Budget) -> Answer:
    """Say whether a policy can break the theorem: IMPOSSIBLE is what it should be."""
    snapshot = Snapshot(anything_unknown=True)
    terms = PolicyTerms(policy, snapshot)
    for slot in policy.slots:
        if slot.origin not in _VOTED:
            snapshot.variable(slot)
    return Theorem(policy, terms).ask(Solver(budget), snapshot.constraints)


class Theorem:
    """The two snapshots: ``terms`` over ``x``, in which any fact may be Unknown, and those over ``y``."""

    def __init__(self, policy: LoweredPolicy, terms: PolicyTerms) -> None:
        """Translate the policy over the completion."""
        self.policy = policy
        self.before = terms
        self.completion = Completion(terms.snapshot)
        self.after = PolicyTerms(policy, self.completion)
        self._broken = {
            index: self._differs(index)
            for index, rule in enumerate(policy.rules)
            if rule.action is Action.BUY
        }
        self._model: Model | None = None

    def ask(self, solver: Solver, before: list[Formula]) -> Answer:
        """Say whether a buy can differ; ``before`` are the constraints of ``x``."""
        for slot in self.policy.slots:
            if slot.origin not in _VOTED:
                self.completion.variable(slot)
        facts = [*self.before.terms.completed_by(self.after.terms, self._alike), *self._same_counts()]
        with solver.supposing(
            *before, *self.completion.constraints, *facts, *_same_tries(self.before, self.after)
        ):
            answer = solver.ask(some(self._broken.values()))
            if answer is Answer.POSSIBLE:
                self._model = solver.model()
        return answer

    def broken_by(self) -> list[int]:
        """Return the rules whose buys differ in the situation that was found."""
        assert self._model is not None, "only where it is possible"
        return [index for index, formula in self._broken.items() if self._model.truth(formula)]

    def values(self) -> tuple[list[float], list[float]]:
        """Return the facts of the situation that was found, and those of its completion."""
        assert self._model is not None, "only where it is possible"
        before, after = (
            fact_values(self.policy, snapshot, self._model)
            for snapshot in (self.before.snapshot, self.completion)
        )
        return before, after

    def _alike(self, term: Term) -> Formula:
        """The facts that a number is computed from have one value: a signal may have another one in ``y``."""
        voted = [slot for slot in slots_of_term(term) if self.policy.slots[slot].origin in _VOTED]
        pairs = ((self.before.variable(slot), self.after.variable(slot)) for slot in voted)
        return every(every((implies(x.known, y.known), x.value == y.value)) for x, y in pairs)

    def _same_counts(self) -> Iterator[Formula]:
        """Where every vote of a signal is known in ``x``, each is the same in ``y``, and so is the count."""
        for index in range(len(self.policy.signals)):
            x, y = self.before.signal(index), self.after.signal(index)
            equal = [a == b for a, b in zip(x.values, y.values, strict=True)]
            yield implies(x.known_to_entries, every((y.known_to_entries, *equal)))

    def _differs(self, index: int) -> Formula:
        """A buy can be made, and another rule is chosen once more is known, or it computes otherwise."""
        rule = self.policy.rules[index]
        k = GRID_PER_UNIT[rule.size_measure]
        terms = [(rule.size, k), (self.policy.buy_style.limit, GRID_PER_UNIT[Measure.PRICE])]
        terms += [(limit.bound, GRID_PER_UNIT[Measure.MONEY]) for limit in self.policy.limits]
        computed = [(term, k) for term, k in terms if term is not None and not isinstance(term, ConstantTerm)]
        known = every(self.before.terms.on_grid(term, k)[0] for term, k in computed)
        changed = [self._changes(slot) for term, _ in computed for slot in slots_of_term(term)]
        before, after = self.before.candidates[index], self.after.candidates[index]
        return every((before.wins, known, some((negation(after.wins), *changed))))

    def _changes(self, slot: int) -> Formula:
        """A fact that is read is not known after all, or, a signal, may be another one."""
        x, y = self.before.variable(slot), self.after.variable(slot)
        if self.policy.slots[slot].origin not in _VOTED:
            return negation(x.known)
        return some((negation(x.known), negation(y.known), x.value != y.value))
