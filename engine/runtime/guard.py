"""The guard: which held positions no protective rule could leave now, and gates on drawdown that hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.codes import Disposition, Truth
from engine.evaluate.agreed import AgreedEvaluator
from engine.evaluate.agreement import Agreement
from engine.lowered import LoweredPolicy
from engine.model import SessionFacts
from engine.verbs.plan import Planned
from engine.verbs.terms import slots_of_node
from engine.vocabulary import FACTS, Family

_EXTENDED: Final = ("pre", "post")


def is_unguarded(item: Planned, session: SessionFacts, disagreements: Sequence[Agreement] = ()) -> bool:
    """Say whether a held position has a protective rule that is Unknown, or true and cannot be sent.

    It is judged only in sessions in which the rule could be sent.  A gate of the policy that lists
    ``protective`` and is definitely true closes the rule: that is what the policy says, and no alarm.
    """
    evaluator = item.subject.evaluator
    policy = evaluator.policy
    if not item.subject.quantity or item.subject.values[policy.slot("held")] == 0.0:
        return False
    if session.session != "regular" and not (
        policy.sell_style.extended_hours and session.session in _EXTENDED
    ):
        return False
    disputed = {rule for agreement in disagreements for rule in agreement.unguarded}
    if not any(
        rule.protective and (index in disputed or _is_stuck(item, index))
        for index, rule in enumerate(policy.rules)
    ):
        return False
    return not (isinstance(evaluator, AgreedEvaluator) and _is_closed(evaluator, item.subject.values))


def _is_stuck(item: Planned, rule: int) -> bool:
    """Say whether a protective rule is Unknown, or true and its order neither sent nor at the venue."""
    decision = item.decision
    if decision.truths[rule] == Truth.UNKNOWN:
        return True
    match Disposition(decision.dispositions[rule]):
        case Disposition.VETOED:
            return item.subject.evaluator.policy.gates[decision.causes[rule]].reserved
        case Disposition.DENIED | Disposition.AWAITING_CANCEL:
            return True
    return False


def _is_closed(evaluator: AgreedEvaluator, values: list[float]) -> bool:
    truths = evaluator.reference.evaluate(list(values)).truths
    return any(
        truths[gate.when] == Truth.TRUE
        for gate in evaluator.policy.gates
        if gate.vetoes_protective and not gate.reserved
    )


def protects(policy: LoweredPolicy) -> bool:
    """Say whether a policy has a protective rule at all."""
    return any(rule.protective for rule in policy.rules)


@dataclass(frozen=True, slots=True)
class DrawdownGates:
    """The conditions of gates that read ``drawdown``: of the account alone, and of a symbol too."""

    account: tuple[int, ...] = ()
    symbol: tuple[int, ...] = ()

    @classmethod
    def of(cls, policy: LoweredPolicy) -> DrawdownGates:
        """Find them."""
        names = [slot.name for slot in policy.slots]
        account: list[int] = []
        symbol: list[int] = []
        for gate in policy.gates:
            read = {names[slot] for slot in slots_of_node(policy, gate.when)}
            if gate.reserved or "drawdown" not in read:
                continue
            shared = all(name in FACTS and FACTS[name].family is Family.ACCOUNT for name in read)
            (account if shared else symbol).append(gate.when)
        return cls(tuple(account), tuple(symbol))


def drawdown_gate_is_true(planned: Iterable[Planned], gates: Mapping[int, DrawdownGates]) -> bool:
    """Say whether a gate on drawdown is true for any symbol; ``gates`` by the id of the lowered policy."""
    asked: set[int] = set()
    for item in planned:
        evaluator = item.subject.evaluator
        found = gates.get(id(evaluator.policy))
        if found is None or not isinstance(evaluator, AgreedEvaluator):
            continue
        conditions = found.symbol
        if id(evaluator) not in asked:  # what reads the account alone is the same for every symbol
            asked.add(id(evaluator))
            conditions = found.account + found.symbol
        if conditions:
            truths = evaluator.reference.evaluate(list(item.subject.values)).truths
            if any(truths[condition] == Truth.TRUE for condition in conditions):
                return True
    return False
