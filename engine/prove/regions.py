"""The whole behaviour of a policy as a finite set of regions: disjoint, covering, each with its outcome.

A tree asks the policy's own questions in the order of its choice: are the gates open, is something held, does
this rule match; the solver prunes what is impossible and says when the outcome is settled.  (Region
decomposition: a cylindrical partition of the inputs by behaviour, as of Imandra; here over the policy's
comparisons instead of over its program.)  Leaves become conjunctions of clauses; regions with one outcome are
merged where their union is such a conjunction, too; what follows from the rest is left out.  That they are
disjoint and cover everything is then proved of what came out, whatever made it.

All is said of snapshots in which everything is known but facts of a position that is not held and those of
outside feeds (``symbolic.snapshot.Snapshot``), and of the stage ``candidate``: which rule wins.  Whether the
order of a buy that would be chosen makes an exit true (``would-exit``) is a question like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, NamedTuple

from engine.codes import Action, Truth
from engine.evaluate.reference import conjunction, disjunction
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.conditions import Kleene
from engine.evaluate.symbolic.formulas import Formula, every, negation, some
from engine.evaluate.symbolic.snapshot import Snapshot
from engine.evaluate.symbolic.solver import Answer, Budget, Solver
from engine.evaluate.verdict import WOULD_EXIT, gates_of
from engine.lowered import FactTerm, LoweredPolicy, NodeKind, Selection

_TRUTHS: Final = (Truth.TRUE, Truth.FALSE, Truth.UNKNOWN)
_ANYTHING: Final = frozenset(_TRUTHS)
_OPPOSITE: Final = {Truth.TRUE: Truth.FALSE, Truth.FALSE: Truth.TRUE, Truth.UNKNOWN: Truth.UNKNOWN}
_LONGEST_JOINED: Final = 5
"""Literals of a clause that merging makes: a longer one is read by nobody."""
_MOST_APART: Final = 3
"""Clauses by which the shorter of two regions differs from the other where merging is tried."""
MOST_REGIONS: Final = 400
"""A tree with more leaves is left open: nobody reads it."""
INTEGRITY: Final = "integrity"
UNKNOWN: Final = "unknown"
"""What stops an entry whose own or whose exits' conditions are Unknown."""


class Kind(Enum):
    """What a literal speaks of."""

    CONDITION = "condition"  # a node of the policy
    GATES = "gates"  # whether any of several gates' conditions is true
    WOULD_EXIT = "would-exit"  # whether an exit would follow a rule's entry
    DECIDES = "decides"  # whether a rule is chosen before others that stand


class Subject(NamedTuple):
    """What is asked: ``ids`` are nodes, or one rule; ``name`` is that of a group of gates."""

    kind: Kind
    ids: tuple[int, ...]
    name: str = ""


class Literal(NamedTuple):
    """A subject and its truth."""

    subject: Subject
    truth: Truth


Clause = tuple[Literal, ...]
"""At least one of the literals holds."""


class Outcome(NamedTuple):
    """What the policy does: the action, the rule that decides (-1: none needs to), what stops the others."""

    action: Action
    rule: int
    stopped_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapRegion:
    """A region: all its clauses hold.  An ``outcome`` of None was left open for lack of time."""

    clauses: tuple[Clause, ...]
    outcome: Outcome | None


class Situation(NamedTuple):
    """Facts as regions read them: truths of all nodes, rules whose entry an exit would follow, the winner."""

    truths: Sequence[int]
    would_exit: int  # a bit mask
    winner: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What is proved of regions; None is undecided."""

    covering: bool | None
    disjoint: bool | None
    decided: bool | None  # in each region the outcome is what it says

    @property
    def holds(self) -> bool:
        """Everything is proved."""
        return self.covering is True and self.disjoint is True and self.decided is True


@dataclass(frozen=True)
class RegionMap:
    """The regions of one lowered policy, in the order in which its questions are asked."""

    lowered: LoweredPolicy
    regions: tuple[MapRegion, ...]
    leaves: int  # before merging
    proof: Proof
    questions: Questions

    def containing(self, situation: Situation) -> list[int]:
        """Return the regions that facts are in."""
        return [
            index
            for index, region in enumerate(self.regions)
            if all(
                any(holds(self.lowered, literal, situation) for literal in clause)
                for clause in region.clauses
            )
        ]

    def formula(self, region: MapRegion) -> Formula:
        """Return a region as a formula over the snapshot of ``questions``."""
        return self.questions.conjunction(region.clauses)


def holds(policy: LoweredPolicy, literal: Literal, situation: Situation) -> bool:
    """Say whether a literal holds in a situation."""
    (kind, ids, _), truth = literal
    if kind is Kind.CONDITION:
        return situation.truths[ids[0]] == truth
    if kind is Kind.GATES:
        return disjunction(ids, list(situation.truths)) == truth
    if kind is Kind.WOULD_EXIT:
        return bool(situation.would_exit >> ids[0] & 1) == (truth is Truth.TRUE)
    return (situation.winner == ids[0]) == (truth is Truth.TRUE)


def decompose(lowered: LoweredPolicy, budget: Budget) -> RegionMap:
    """Return the regions of a policy, and what could be proved of them within the budget."""
    questions = Questions(lowered, budget)
    tree = _Tree(questions)
    regions = [reduced(questions, region) for region in tree.regions()]
    return RegionMap(lowered, tuple(regions), tree.leaves, _proof(questions, regions), questions)


def spoken(lowered: LoweredPolicy) -> list[int]:
    """Return the conditions of rules and gates, in order, each once."""
    nodes = [node for rule in lowered.rules for node in (rule.when, rule.when_entry)]
    nodes += [node for gate in lowered.gates for node in (gate.when, gate.when_entry)]
    return list(dict.fromkeys(nodes))


# --- what is asked ----------------------------------------------------------------------------


class Questions:
    """A policy's formulas and the solver that knows what they mean."""

    def __init__(self, lowered: LoweredPolicy, budget: Budget) -> None:
        """Translate everything that may be asked."""
        snapshot = Snapshot()
        terms = PolicyTerms(lowered, snapshot)
        for node in spoken(lowered):
            terms.node(node)
        self._begin(terms, Solver(budget, snapshot.constraints))

    @classmethod
    def of(cls, terms: PolicyTerms, solver: Solver) -> Questions:
        """Ask about formulas that are there already, of a solver that knows what they mean."""
        questions = cls.__new__(cls)
        questions._begin(terms, solver)
        return questions

    def _begin(self, terms: PolicyTerms, solver: Solver) -> None:
        self.lowered, self.snapshot, self.terms, self.solver = terms.policy, terms.snapshot, terms, solver
        self._formulas: dict[Literal, Formula] = {}

    def formula(self, literal: Literal) -> Formula:
        """Return when a literal holds."""
        if literal not in self._formulas:
            self._formulas[literal] = self._formula(literal)
        return self._formulas[literal]

    def _formula(self, literal: Literal) -> Formula:
        (kind, ids, _), truth = literal
        if kind is Kind.CONDITION:
            return _when(self.terms.node(ids[0]), truth)
        if kind is Kind.GATES:
            gates = [self.terms.node(node) for node in ids]
            any_of = Kleene(some(gate.true for gate in gates), every(gate.false for gate in gates))
            return _when(any_of, truth)
        if truth is Truth.UNKNOWN:
            return False
        bit = self.terms.would_exit[ids[0]] if kind is Kind.WOULD_EXIT else self.terms.candidates[ids[0]].wins
        return bit if truth is Truth.TRUE else negation(bit)

    def clause(self, clause: Clause) -> Formula:
        """Return when a clause holds."""
        return some(self.formula(literal) for literal in clause)

    def conjunction(self, clauses: Iterable[Clause]) -> Formula:
        """Return when all clauses hold."""
        return every(self.clause(clause) for clause in clauses)

    def decides(self, rule: int) -> Formula:
        """Return when a rule wins; -1: when no order does."""
        if rule >= 0:
            return self.terms.candidates[rule].wins
        return self.terms.proposes(Action.HOLD)

    def impossible(self, *formulas: Formula) -> bool:
        """Say whether formulas are proved never to be true together."""
        return self.solver.ask(*formulas) is Answer.IMPOSSIBLE


def _when(truth: Kleene, wanted: Truth) -> Formula:
    return truth.true if wanted is Truth.TRUE else truth.false if wanted is Truth.FALSE else truth.unknown


# --- the tree ---------------------------------------------------------------------------------


@dataclass
class _Path:
    """What is known on the way to a leaf: literals in order, and the truths they leave to each node."""

    literals: tuple[Literal, ...] = ()
    known: dict[Subject, Truth] = field(default_factory=dict)
    nodes: dict[int, Truth] = field(default_factory=dict)

    def extended(self, policy: LoweredPolicy, literal: Literal) -> _Path:
        """Return the path with one literal more."""
        (kind, ids, _), truth = literal
        path = _Path((*self.literals, literal), {**self.known, literal.subject: truth}, dict(self.nodes))
        if kind is Kind.CONDITION:
            path._learn(policy, ids[0], truth)
        elif kind is Kind.GATES and truth is Truth.FALSE:
            for node in ids:
                path._learn(policy, node, Truth.FALSE)
        return path

    def _learn(self, policy: LoweredPolicy, node: int, truth: Truth) -> None:
        """Note the truth of a node, and what follows of those below it."""
        self.nodes[node] = truth
        lowered = policy.nodes[node]
        if lowered.kind is NodeKind.NOT:
            self._learn(policy, lowered.children[0], _OPPOSITE[truth])
        elif (lowered.kind, truth) in ((NodeKind.ALL, Truth.TRUE), (NodeKind.ANY, Truth.FALSE)):
            for child in lowered.children:
                self._learn(policy, child, truth)

    def possible(self, policy: LoweredPolicy, node: int) -> frozenset[Truth]:
        """Return the truths that a node may still have, as far as its structure says."""
        if node in self.nodes:
            return frozenset((self.nodes[node],))
        lowered = policy.nodes[node]
        if lowered.kind is NodeKind.CONSTANT:
            return frozenset((Truth(lowered.atom),))
        if lowered.kind is NodeKind.ATOM:
            return _ANYTHING
        below = [self.possible(policy, child) for child in lowered.children]
        if lowered.kind is NodeKind.NOT:
            return frozenset(_OPPOSITE[truth] for truth in below[0])
        fold = conjunction if lowered.kind is NodeKind.ALL else disjunction
        found = frozenset((Truth.TRUE if lowered.kind is NodeKind.ALL else Truth.FALSE,))
        for truths in below:
            found = frozenset(Truth(fold((0, 1), [a, b])) for a in found for b in truths)
        return found


class _Tree:
    """Asks until every outcome is settled."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.policy = policy = questions.lowered
        self.speaking = [gates_of(policy, index) for index in range(len(policy.rules))]
        self.orders = [index for index, rule in enumerate(policy.rules) if rule.action is not Action.HOLD]
        exits = [index for index in self.orders if policy.rules[index].action is Action.SELL]
        first = exits if policy.selection is Selection.EXITS_FIRST else []
        self.order = [*first, *(index for index in range(len(policy.rules)) if index not in first)]
        speaking = {rule: self._conditional(rule) for rule in self.orders}
        everywhere = set.intersection(*map(set, speaking.values())) if speaking else set()
        self.integrity = [index for index in sorted(everywhere) if policy.gates[index].reserved]
        self.everything = [index for index in sorted(everywhere) if not policy.gates[index].reserved]
        self.own = {
            rule: [index for index in gates if index not in everywhere] for rule, gates in speaking.items()
        }
        self.held = self._held()
        self.leaves = 0

    def _conditional(self, rule: int) -> list[int]:
        """Return the gates that veto a rule, and others like it, by a condition."""
        return [
            index
            for index, gate in self.speaking[rule]
            if gate.only_rule < 0 and _constant(self.policy, gate.when) is not Truth.FALSE
        ]

    def _held(self) -> Subject | None:
        """Return the question whether something is held, if more than one rule asks it."""
        for index in range(len(self.policy.nodes)):
            if _is_held(self.policy, index):
                readers = [rule for rule in self.policy.rules if _reads(self.policy, rule.when, index)]
                return Subject(Kind.CONDITION, (index,)) if len(readers) > 1 else None
        return None

    # --- leaves

    def regions(self) -> list[MapRegion]:
        """Return the regions that the tree ends in: disjoint, and all of them."""
        return self._below(_Path())

    def _below(self, path: _Path) -> list[MapRegion]:
        """Return the regions under a path, without the clauses that are known on it."""
        questions = self.questions
        found = questions.solver.ask()
        if found is Answer.IMPOSSIBLE:
            return []
        if found is Answer.POSSIBLE:
            model = questions.solver.model()
            candidates = questions.terms.candidates
            winner = next((rule for rule in self.orders if model.truth(candidates[rule].wins)), -1)
            found = questions.solver.ask(negation(questions.decides(winner)))
            if found is Answer.IMPOSSIBLE:
                return self._leaf(self._outcome(path, winner))
        if self.leaves >= MOST_REGIONS or questions.solver.budget.over():
            return self._leaf(None)
        subject = self._next(path)
        regions: list[MapRegion] = []
        for truth in _TRUTHS:
            literal = Literal(subject, truth)
            formula = questions.formula(literal)
            if formula is not False:
                with questions.solver.supposing(formula):
                    below = self._below(path.extended(self.policy, literal))
                own = [_left(path, clause) for clause in clauses_of(self.policy, literal)]
                regions += [replace(region, clauses=(*own, *region.clauses)) for region in below]
        with questions.solver.supposing():  # what is asked about is forgotten again
            return _merged(questions, regions)

    def _leaf(self, outcome: Outcome | None) -> list[MapRegion]:
        self.leaves += 1
        return [MapRegion((), outcome)]

    def _outcome(self, path: _Path, winner: int) -> Outcome:
        if winner >= 0:
            return Outcome(self.policy.rules[winner].action, winner)
        holding = [rule for rule in self.order if rule not in self.orders]
        for rule in holding:
            if path.known.get(Subject(Kind.CONDITION, (self.policy.rules[rule].when,))) is Truth.TRUE:
                return Outcome(Action.HOLD, rule)
        stopped: dict[str, None] = {}
        for rule in self.orders:
            if not self.questions.impossible(self.questions.terms.candidates[rule].matches):
                stopped |= dict.fromkeys(self._stop(path, rule))
        return Outcome(Action.HOLD, -1, tuple(stopped))

    def _stop(self, path: _Path, rule: int) -> Iterator[str]:
        """Yield what keeps a rule from winning, if it matches."""
        nodes = {self._node_of(gate, rule): self.policy.gates[gate].name for gate, _ in self.speaking[rule]}
        for (kind, ids, name), truth in path.known.items():
            if kind is Kind.WOULD_EXIT and ids == (rule,) and truth is Truth.TRUE:
                yield WOULD_EXIT
                return
            if kind in (Kind.GATES, Kind.CONDITION) and truth is not Truth.FALSE and nodes.keys() >= set(ids):
                yield name or nodes[ids[0]]
                return
        if self.policy.rules[rule].action is Action.BUY:
            yield UNKNOWN

    # --- the next question

    def _next(self, path: _Path) -> Subject:
        return next(question for question in self._questions(path) if question not in path.known)

    def _questions(self, path: _Path) -> Iterator[Subject]:
        """Yield what may be asked, the most telling first."""
        policy = self.policy
        for rule in self.orders:
            yield from self._of_gates(path, self.integrity, rule, INTEGRITY)
            yield from self._of_gates(path, self.everything, rule, "gates on everything")
        if self.held is not None:
            yield self.held
        for rule in self.order:
            lowered = policy.rules[rule]
            if not path.possible(policy, lowered.when) & {Truth.TRUE} or self._closed(path, rule):
                continue
            if lowered.action is Action.HOLD:
                yield from self._of_hold(path, rule)
                continue
            yield from self._of_gates(path, self.own[rule], rule, f"gates on {self._kind(rule)}")
            yield from self._of_node(path, lowered.when)
            for _, gate in self.speaking[rule]:
                if gate.only_rule >= 0:
                    yield from self._of_node(path, gate.when)
            if rule in self.questions.terms.would_exit:
                yield Subject(Kind.WOULD_EXIT, (rule,))
            if lowered.action is Action.BUY:
                yield from self._withholding(path, rule)
        for rule in self.orders:
            yield Subject(Kind.DECIDES, (rule,))

    def _of_hold(self, path: _Path, rule: int) -> Iterator[Subject]:
        """A rule that holds matters where it comes before an order that may be made."""
        behind = self.order[self.order.index(rule) + 1 :]
        rules = self.policy.rules
        if any(
            other in self.own
            and Truth.TRUE in path.possible(self.policy, rules[other].when)
            and not self._closed(path, other)
            for other in behind
        ):
            yield from self._of_node(path, rules[rule].when)

    def _kind(self, rule: int) -> str:
        """Return which rules have the same gates as one."""
        lowered = self.policy.rules[rule]
        if lowered.action is Action.BUY:
            return "buys"
        alike = [
            self.policy.rules[other].protective for other in self.own if self.own[other] == self.own[rule]
        ]
        others = any(self.own[other] != self.own[rule] for other in self.own if self._is_sell(other))
        return "protective sells" if others and all(alike) else "other sells" if others else "sells"

    def _is_sell(self, rule: int) -> bool:
        return self.policy.rules[rule].action is Action.SELL

    def _of_node(self, path: _Path, node: int) -> Iterator[Subject]:
        if len(path.possible(self.policy, node)) > 1:
            yield Subject(Kind.CONDITION, (node,))

    def _node_of(self, gate: int, rule: int) -> int:
        lowered = self.policy.gates[gate]
        return lowered.when_entry if self.policy.rules[rule].action is Action.BUY else lowered.when

    def _of_gates(self, path: _Path, gates: Sequence[int], rule: int, name: str) -> Iterator[Subject]:
        """Ask for several gates together; where that is Unknown, or one is left, for each of them."""
        nodes = tuple(dict.fromkeys(self._node_of(gate, rule) for gate in gates))
        subject = Subject(Kind.GATES, nodes, name)
        left = [node for node in nodes if path.possible(self.policy, node) != {Truth.FALSE}]
        if len(left) > 1:
            yield subject
        if len(left) == 1 or path.known.get(subject) is Truth.UNKNOWN:
            for node in left:
                yield from self._of_node(path, node)

    def _closed(self, path: _Path, rule: int) -> bool:
        """Say whether a gate is known to veto a rule."""
        if path.known.get(Subject(Kind.WOULD_EXIT, (rule,))) is Truth.TRUE:
            return True
        nodes = {self._node_of(index, rule) for index, _ in self.speaking[rule]}
        for (kind, ids, _), truth in path.known.items():
            if kind is Kind.GATES and truth is Truth.TRUE and nodes >= set(ids):
                return True
        for index, gate in self.speaking[rule]:
            possible = path.possible(self.policy, self._node_of(index, rule))
            passes = self.policy.rules[rule].protective or gate.pass_if_unknown
            if Truth.FALSE not in possible and not (passes and Truth.UNKNOWN in possible):
                return True
        return False

    def _withholding(self, path: _Path, entry: int) -> Iterator[Subject]:
        """Ask what withholds an entry: exits, and rules before it, that may be Unknown."""
        for index, rule in enumerate(self.policy.rules):
            if rule.action is Action.SELL or index < entry:
                yield from self._of_node(path, rule.when_entry)
                for _, gate in self.speaking[index]:
                    yield from self._of_node(path, gate.when_entry)


def _constant(policy: LoweredPolicy, node: int) -> Truth | None:
    lowered = policy.nodes[node]
    return Truth(lowered.atom) if lowered.kind is NodeKind.CONSTANT else None


def _reads(policy: LoweredPolicy, node: int, wanted: int) -> bool:
    return node == wanted or any(_reads(policy, child, wanted) for child in policy.nodes[node].children)


# --- clauses ----------------------------------------------------------------------------------


def clauses_of(policy: LoweredPolicy, literal: Literal) -> list[Clause]:
    """Return a literal as clauses of comparisons, as far as that needs no more than one for each part."""
    if literal.subject.kind is not Kind.CONDITION:
        return [(literal,)]
    node, truth = literal.subject.ids[0], literal.truth
    lowered = policy.nodes[node]
    if lowered.kind is NodeKind.CONSTANT:
        return [] if lowered.atom == truth else [()]
    if lowered.kind is NodeKind.ATOM or truth is Truth.UNKNOWN:
        return [(literal,)]
    if lowered.kind is NodeKind.NOT:
        return clauses_of(policy, condition_literal(lowered.children[0], _OPPOSITE[truth]))
    below = [condition_literal(child, truth) for child in lowered.children]
    if (lowered.kind is NodeKind.ALL) == (truth is Truth.TRUE):
        return [clause for part in below for clause in clauses_of(policy, part)]
    joined: list[Literal] = []
    for part in below:
        found = clauses_of(policy, part)
        joined += found[0] if len(found) == 1 else [part]
    return [tuple(dict.fromkeys(joined))]


def _left(path: _Path, clause: Clause) -> Clause:
    """Return a clause without what cannot hold on a path."""
    return tuple(
        one
        for one in clause
        if one.subject.kind is not Kind.CONDITION
        or path.nodes.get(one.subject.ids[0], one.truth) is one.truth
    )


def condition_literal(node: int, truth: Truth) -> Literal:
    """Return that a condition has a truth."""
    return Literal(Subject(Kind.CONDITION, (node,)), truth)


def reduced(questions: Questions, region: MapRegion) -> MapRegion:
    """Leave out literals that cannot hold beside the other clauses, and clauses that follow from them."""
    with questions.solver.supposing():  # what is asked about is forgotten again
        return _reduced(questions, region)


def _reduced(questions: Questions, region: MapRegion) -> MapRegion:
    clauses = list(region.clauses)

    def rest(index: int) -> list[Formula]:
        return [questions.clause(other) for at, other in enumerate(clauses) if at != index]

    for index, clause in enumerate(clauses):
        if len(clause) > 1:
            beside = rest(index)
            kept = (one for one in clause if not questions.impossible(*beside, questions.formula(one)))
            clauses[index] = tuple(kept) or clause
    for clause in sorted(clauses, key=_told_last):
        index = clauses.index(clause)
        (kind, ids, _), _ = clause[0]
        if len(clause) == 1 and kind is Kind.CONDITION and _is_held(questions.lowered, ids[0]):
            continue  # always told: it is what a reader asks first
        if questions.impossible(*rest(index), negation(questions.clause(clause))):
            del clauses[index]
    flat = [
        part
        for clause in clauses
        for part in (clauses_of(questions.lowered, clause[0]) if len(clause) == 1 else [clause])
    ]
    return replace(region, clauses=tuple(dict.fromkeys(flat)))


def _told_last(clause: Clause) -> bool:
    """What is not so is left out rather than what is so."""
    return any(literal.truth is Truth.TRUE for literal in clause)


def _is_held(policy: LoweredPolicy, node: int) -> bool:
    """Say whether a node asks whether something is held."""
    lowered = policy.nodes[node]
    if lowered.kind is not NodeKind.ATOM:
        return False
    left = policy.atoms[lowered.atom].left
    return isinstance(left, FactTerm) and policy.slots[left.slot].name == "held"


# --- merging ----------------------------------------------------------------------------------


def _merged(questions: Questions, leaves: Sequence[MapRegion]) -> list[MapRegion]:
    """Merge regions of one outcome, two by two, until no two can be; what is known of both is asserted."""
    regions = list(leaves)
    apart: set[tuple[MapRegion, MapRegion]] = set()
    index = 0
    while index < len(regions):
        for other in range(index + 1, len(regions)):
            one, two = regions[index], regions[other]
            if one.outcome is None or one.outcome != two.outcome or (one, two) in apart:
                continue
            union = _union(questions, one, two)
            if union is not None:
                regions[index] = union
                del regions[other]
                index = -1  # what could not be merged before perhaps can be now
                break
            apart.add((one, two))
        index += 1
    return regions


def _union(questions: Questions, one: MapRegion, two: MapRegion) -> MapRegion | None:
    """Return the union of two regions if it is a region: clauses of both, or joined from both."""
    first, second = (questions.conjunction(region.clauses) for region in (one, two))
    common = [clause for clause in one.clauses if clause in two.clauses]
    if min(len(one.clauses), len(two.clauses)) > len(common) + _MOST_APART:
        return None
    lost: list[list[Clause]] = []
    for region, other in ((one, second), (two, first)):
        own = [clause for clause in region.clauses if clause not in common]
        apart = [
            clause for clause in own if not questions.impossible(other, negation(questions.clause(clause)))
        ]
        common += [clause for clause in own if clause not in apart]
        lost.append(apart)
    candidates = [common]
    if min(len(lost[0]), len(lost[1])) == 1:  # else it would take several long clauses
        joined = (tuple(dict.fromkeys((*a, *b))) for a in lost[0] for b in lost[1])
        candidates += [[*common, clause] for clause in joined if len(clause) <= _LONGEST_JOINED]
    for clauses in candidates:
        hull = questions.conjunction(clauses)
        if questions.impossible(hull, negation(first), negation(second)):
            return MapRegion(tuple(dict.fromkeys(clauses)), one.outcome)
    return None


# --- proofs -----------------------------------------------------------------------------------


def _proof(questions: Questions, regions: Sequence[MapRegion]) -> Proof:
    """Prove of regions that they cover everything, that no two overlap, that each outcome is as said."""
    formulas = [questions.conjunction(region.clauses) for region in regions]
    ask = questions.solver.ask
    covering = [ask(*(negation(formula) for formula in formulas))]
    disjoint = [ask(formula, some(formulas[index + 1 :])) for index, formula in enumerate(formulas)]
    decided = [
        Answer.UNDECIDED
        if region.outcome is None
        else ask(formula, negation(questions.decides(region.outcome.rule)))
        for region, formula in zip(regions, formulas, strict=True)
    ]
    return Proof(_never(covering), _never(disjoint), _never(decided))


def _never(answers: Sequence[Answer]) -> bool | None:
    if Answer.POSSIBLE in answers:
        return False
    return None if Answer.UNDECIDED in answers else True
