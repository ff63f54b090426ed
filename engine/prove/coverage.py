"""Coverage: what the cases of a policy have shown of it, and what they have not.

Every rule should match and decide somewhere; every condition, and every comparison in it, should be true
somewhere and false somewhere; and each comparison should once *decide alone*, true and false: were it the
other way round and all else as it is, its condition would come out otherwise.  (Masking MC/DC, in Kleene's
logic: Chilenski, "An Investigation of Three Forms of the Modified Condition Decision Coverage (MCDC)
Criterion", DOT/FAA/AR-01/18, 2001.)  What is fixed for one symbol may differ for another: points are judged
over all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from engine.codes import Action, Disposition, Truth
from engine.errors import Span
from engine.evaluate.reference import NOT_TABLE, ReferenceEvaluator, conjunction, disjunction
from engine.language.lower import lower_all
from engine.language.policy import Gate, Policy, Scope, Vote
from engine.language.types import Combined, Compared, Condition, Negated, comparisons_of
from engine.prove.wording import condition_text
from engine.verbs.case_file import CaseFile
from engine.verbs.cases import CaseRunner, StepResult
from engine.verbs.replay import cause_text

_WORD: Final = {Truth.TRUE: "true", Truth.FALSE: "false"}


class Kind(StrEnum):
    """What is counted."""

    RULE = "rules"  # matched, decided
    DECISION = "decisions"  # a whole condition: true, false
    CONDITION = "conditions"  # a comparison in it: true, false
    ALONE = "alone"  # a comparison that decides alone: true, false
    GATE = "gates"  # vetoed something, let something pass
    VOTE = "votes"  # cast for each of its sides
    LIMIT = "limits"  # shrank or denied an order


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that cases can show; ``case`` is the first that does, "" where none does.

    ``part`` names the rule, gate, vote or limit ("rule stop-loss"); ``condition`` is the condition or
    comparison it is about, "" where it is about the whole part; ``needed`` says what no case shows.
    """

    kind: Kind
    part: str
    condition: str
    outcome: str
    needed: str
    span: Span
    case: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the cases of a policy show.

    ``exercised`` has the names of the cases in which a part matters: it acts, or one of its comparisons
    decides alone.
    """

    points: tuple[Point, ...]
    exercised: dict[str, tuple[str, ...]]

    def of(self, kind: Kind) -> tuple[int, int]:
        """Return how many points of a kind were seen, and how many there are."""
        points = [point for point in self.points if point.kind is kind]
        return sum(bool(point.case) for point in points), len(points)

    def percent(self, kind: Kind) -> float:
        """Return the share of a kind's points that were seen, in percent; 100 where there are none."""
        seen, count = self.of(kind)
        return 100.0 * seen / count if count else 100.0

    @property
    def unseen(self) -> tuple[Point, ...]:
        """The points that no case shows, in the order of the policy."""
        return tuple(point for point in self.points if not point.case)


def measure_coverage(policy: Policy, file: CaseFile) -> Coverage:
    """Run the cases and note what they show of the policy; PolicyError where they cannot be run."""
    observer = _Observer(policy)
    runner = CaseRunner(policy, file).against(observer.probed, lower_all(observer.probed))
    for case in file.cases:
        for step in runner.run(case).steps:
            observer.observe(case.name, step)
    points = tuple(replace(point, case=observer.seen.get(key, "")) for key, point in _points(policy))
    return Coverage(points, {part: tuple(names) for part, names in observer.exercised.items()})


# --- what there is to see ---------------------------------------------------------------------

_Key = tuple[Kind, str, int, str]
"""Kind, part, the comparison's place in its condition (-1: the whole), outcome."""


@dataclass(frozen=True, slots=True)
class _When:
    """A condition and the part it belongs to; ``signal`` is the index of a vote's signal, else -1."""

    part: str
    condition: Condition
    scope: Scope
    span: Span
    entry: bool  # read as entries read it
    signal: int = -1

    @property
    def leaves(self) -> tuple[Compared, ...]:
        """The comparisons, in order."""
        return tuple(comparisons_of(self.condition))


def _whens(policy: Policy) -> Iterator[_When]:
    for rule in policy.rules:
        yield _When(f"rule {rule.name}", rule.when, rule.scope, rule.when_span, rule.action is Action.BUY)
    for gate in policy.gates:
        if gate.when is not None and not gate.reserved:
            yield _When(f"gate {gate.name}", gate.when, gate.scope, gate.span, gate.vetoes == {"buy"})
    for index, signal in enumerate(signal for signal in policy.signals if signal.votes):
        for vote in signal.votes:
            for side, condition in (("buy", vote.buy), ("sell", vote.sell)):
                if condition is not None:
                    part = f"vote {signal.name}.{vote.name} {side}"
                    span = next(comparisons_of(condition)).span
                    yield _When(part, condition, Scope(), span, False, index)


def _points(policy: Policy) -> Iterator[tuple[_Key, Point]]:
    for rule in policy.rules:
        for outcome, needed in (("matched", "no case matches it"), ("decided", "it decides no case")):
            yield _whole(Kind.RULE, f"rule {rule.name}", outcome, needed, rule.span)
    for when in _whens(policy):
        yield from _points_of(when)
    for gate in policy.gates:
        if not gate.reserved:
            part = f"gate {gate.name}"
            yield _whole(Kind.GATE, part, "vetoed", "it vetoes nothing in any case", gate.span)
            yield _whole(Kind.GATE, part, "passed", "it lets no candidate pass in any case", gate.span)
    for signal in policy.signals:
        for vote in signal.votes:
            for side in _sides(vote):
                part = f"vote {signal.name}.{vote.name}"
                yield _whole(Kind.VOTE, part, side, f"it is cast for {side} in no case", vote.span)
    for limit in policy.limits:
        needed = "it shrinks or denies no order in any case"
        yield _whole(Kind.LIMIT, f"limit {limit.name}", "bound", needed, limit.span)


def _whole(kind: Kind, part: str, outcome: str, needed: str, span: Span) -> tuple[_Key, Point]:
    return (kind, part, -1, outcome), Point(kind, part, "", outcome, needed, span)


def _points_of(when: _When) -> Iterator[tuple[_Key, Point]]:
    whole, part = condition_text(when.condition), when.part
    for truth in _WORD.values():
        needed = f"'{whole}' is {truth} in no case"
        key = (Kind.DECISION, part, -1, truth)
        yield key, Point(Kind.DECISION, part, whole, truth, needed, when.span)
    for index, leaf in enumerate(when.leaves):
        wanted = " and ".join(_beside(when.condition, index))
        beside = f" (with {wanted})" if wanted else ""
        for kind, words, also in ((Kind.CONDITION, "is", ""), (Kind.ALONE, "decides alone when", beside)):
            for truth in _WORD.values():
                needed = f"'{leaf.text}' {words} {truth} in no case{also}"
                key = (kind, part, index, truth)
                yield key, Point(kind, part, leaf.text, truth, needed, leaf.span)


def _beside(condition: Condition, leaf: int) -> list[str]:
    """Return what must hold beside a comparison for it to decide alone."""
    match condition:
        case Negated(operand=operand):
            return _beside(operand, leaf)
        case Combined(every=every, operands=operands):
            found = []
            for operand in operands:
                count = sum(1 for _ in comparisons_of(operand))
                if 0 <= leaf < count:
                    found += _beside(operand, leaf)
                else:
                    found.append(f"'{condition_text(operand)}' {'true' if every else 'false'}")
                leaf -= count
            return found
    return []


def _sides(vote: Vote) -> list[str]:
    sides = {"buy": vote.buy is not None, "sell": vote.sell is not None, "hold": vote.hold > 0}
    return [side for side, there in sides.items() if there]


# --- what is seen -----------------------------------------------------------------------------


class _Observer:
    """Notes what decisions show.

    It decides with a policy that has one more gate for each comparison.  These gates veto nothing; their
    conditions say, in every variant, what the comparison is there: folded, shared with others, or neither.
    """

    def __init__(self, policy: Policy) -> None:
        self.seen: dict[_Key, str] = {}
        self.exercised: dict[str, dict[str, None]] = defaultdict(dict)
        self._policy = policy
        self._whens = tuple(_whens(policy))
        self._votes = [
            (f"vote {signal.name}.{vote.name}", vote, index)
            for index, signal in enumerate(signal for signal in policy.signals if signal.votes)
            for vote in signal.votes
        ]
        probes = [
            Gate(f"{when.part} {index}", frozenset(), leaf, False, when.scope, leaf.span, reserved=True)
            for when in self._whens
            for index, leaf in enumerate(when.leaves)
        ]
        self.probed = replace(policy, gates=(*policy.gates, *probes))
        self._nodes: dict[int, dict[str, tuple[int, int]]] = {}
        self._evaluators: dict[int, ReferenceEvaluator] = {}

    def observe(self, case: str, step: StepResult) -> None:
        """Note what one decision shows."""
        lowered, stated = step.lowered, step.vector.stated_mask
        if id(lowered) not in self._nodes:
            self._nodes[id(lowered)] = {gate.name: (gate.when, gate.when_entry) for gate in lowered.gates}
            self._evaluators[id(lowered)] = ReferenceEvaluator(lowered)
        truths = self._evaluators[id(lowered)].evaluate(list(step.values), stated).truths
        wholes = {}
        for when in self._whens:
            if when.scope.covers(step.listing) and (when.signal < 0 or not stated >> when.signal & 1):
                wholes[when.part] = self._condition(case, when, truths, self._nodes[id(lowered)])
        self._rules(case, step)
        self._gates(case, step, wholes)
        self._cast(case, stated, wholes)
        self._limits(case, step)

    def _note(self, case: str, kind: Kind, part: str, outcome: str, leaf: int = -1) -> None:
        self.seen.setdefault((kind, part, leaf, outcome), case)

    def _matters(self, case: str, part: str) -> None:
        self.exercised[part][case] = None

    def _condition(
        self, case: str, when: _When, truths: Sequence[int], nodes: dict[str, tuple[int, int]]
    ) -> int:
        """Note what a condition and its comparisons are; return what it is."""
        leaves = [truths[nodes[f"{when.part} {index}"][when.entry]] for index in range(len(when.leaves))]
        whole = kleene(when.condition, leaves)
        if whole != Truth.UNKNOWN:
            self._note(case, Kind.DECISION, when.part, _WORD[Truth(whole)])
        for index, leaf in enumerate(leaves):
            if leaf == Truth.UNKNOWN:
                continue
            self._note(case, Kind.CONDITION, when.part, _WORD[Truth(leaf)], index)
            leaves[index] = NOT_TABLE[leaf]
            if whole != Truth.UNKNOWN and kleene(when.condition, leaves) != whole:
                self._note(case, Kind.ALONE, when.part, _WORD[Truth(leaf)], index)
                self._matters(case, when.part)
            leaves[index] = leaf
        return whole

    def _rules(self, case: str, step: StepResult) -> None:
        for index, rule in enumerate(step.lowered.rules):
            part = f"rule {rule.name}"
            if step.decision.truths[index] == Truth.TRUE:
                self._note(case, Kind.RULE, part, "matched")
                self._matters(case, part)
            if step.decision.dispositions[index] == Disposition.ACTED:
                self._note(case, Kind.RULE, part, "decided")

    def _gates(self, case: str, step: StepResult, wholes: dict[str, int]) -> None:
        decision, rules = step.decision, step.lowered.rules
        candidates = [rule for rule, truth in zip(rules, decision.truths, strict=True) if truth == Truth.TRUE]
        kinds = {"protective" if rule.protective else rule.action.name.lower() for rule in candidates}
        for gate in self._policy.gates:
            if wholes.get(f"gate {gate.name}") == Truth.FALSE and not kinds.isdisjoint(gate.vetoes):
                self._note(case, Kind.GATE, f"gate {gate.name}", "passed")
        for gate_name in self._causes(step, Disposition.VETOED):
            self._note(case, Kind.GATE, f"gate {gate_name}", "vetoed")
            self._matters(case, f"gate {gate_name}")

    def _cast(self, case: str, stated: int, wholes: dict[str, int]) -> None:
        for part, vote, signal in self._votes:
            if stated >> signal & 1:
                continue
            buy, sell = (
                Truth.FALSE if condition is None else wholes[f"{part} {side}"]
                for side, condition in (("buy", vote.buy), ("sell", vote.sell))
            )
            if Truth.UNKNOWN in (buy, sell) or (buy, sell) == (Truth.TRUE, Truth.TRUE):
                continue
            side = "buy" if buy == Truth.TRUE else "sell" if sell == Truth.TRUE else "hold"
            self._note(case, Kind.VOTE, part, side)
            self._matters(case, part)

    def _limits(self, case: str, step: StepResult) -> None:
        names = self._causes(step, Disposition.LIMITED)
        order = step.decision.order
        if order is not None and order.limited_by >= 0:
            names.append(step.lowered.limits[order.limited_by].name)
        for name in names:
            self._note(case, Kind.LIMIT, f"limit {name}", "bound")
            self._matters(case, f"limit {name}")

    @staticmethod
    def _causes(step: StepResult, wanted: Disposition) -> list[str]:
        return [
            cause_text(step.lowered, wanted, cause)
            for disposition, cause in zip(step.decision.dispositions, step.decision.causes, strict=True)
            if disposition == wanted
        ]


def kleene(condition: Condition, leaves: Sequence[int]) -> int:
    """Return the truth of a condition from those of its comparisons, in order."""
    given = iter(leaves)

    def truth(below: Condition) -> int:
        match below:
            case Combined(every=every, operands=operands):
                truths = [truth(operand) for operand in operands]
                return (conjunction if every else disjunction)(tuple(range(len(truths))), truths)
            case Negated(operand=operand):
                return NOT_TABLE[truth(operand)]
        return next(given)

    return truth(condition)
