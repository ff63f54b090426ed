"""Who decides: what may be acted on when several evaluators gave their verdict.

Live, durable-rules decides and the compiled evaluator must give the same verdict before anything is
sent.  Where durable-rules cannot be imported the compiled evaluator decides and the reference
evaluator must agree.  Where they do not agree, or durable-rules failed, the reserved gate
``disagreement`` stops every candidate but protective exits.  A protective exit acts only where the compiled
and the reference evaluator agree that it stands; where one alone says so the position is unguarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.codes import Action, Denial, Disposition
from engine.evaluate.durable import EngineFault
from engine.evaluate.verdict import Verdict
from engine.lowered import LoweredPolicy, Selection

DISAGREEMENT = "disagreement"
"""The reserved gate that stops candidates here; its own condition is never looked at."""

_STANDS = (Disposition.ACTED, Disposition.CONCURRED, Disposition.OUTRANKED)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What may be acted on, and what is to be journalled where the evaluators did not agree.

    Rules are indices into the policy's.  Where ``agreed`` is false the facts, all verdicts and
    ``fault`` belong in the journal as an incident, and a durable evaluator is to be rebuilt.
    """

    verdict: Verdict
    agreed: bool
    differing: tuple[int, ...] = ()  # rules whose truth, disposition or cause is not the same everywhere
    withheld: tuple[int, ...] = ()  # buys and sells that stand in the compiled verdict and are stopped
    unguarded: tuple[int, ...] = ()  # protective rules that stand in one of compiled and reference only
    fault: str = ""  # why durable-rules gave no verdict


def agree(
    policy: LoweredPolicy,
    durable: Verdict | EngineFault | None,
    compiled: Verdict,
    reference: Callable[[], Verdict],
    level_after: Callable[[int], float],
) -> Agreement:
    """Return what may be acted on.

    ``durable`` is None where durable-rules cannot be imported.  ``reference`` is called only where its
    verdict is needed.  ``level_after`` gives the position value that an exit would leave, infinite
    where Unknown: of several protective exits the one that leaves the least acts.
    """
    witness = reference() if durable is None else durable
    if witness == compiled:
        return Agreement(compiled, True)
    checked = witness if isinstance(witness, Verdict) and durable is None else reference()
    ours, theirs = _protective_exits(policy, compiled), _protective_exits(policy, checked)
    exits = [rule for rule in ours if rule in theirs]
    verdicts = [compiled, checked, *([durable] if isinstance(durable, Verdict) else [])]
    return Agreement(
        verdict=_without(policy, compiled, exits, level_after),
        agreed=False,
        differing=tuple(
            rule
            for rule in range(len(policy.rules))
            if len({(v.truths[rule], v.dispositions[rule], v.causes[rule]) for v in verdicts}) > 1
        ),
        withheld=tuple(
            rule
            for rule, disposition in enumerate(compiled.dispositions)
            if disposition in _STANDS and policy.rules[rule].action is not Action.HOLD and rule not in exits
        ),
        unguarded=tuple(sorted(set(ours) ^ set(theirs))),
        fault=str(durable) if isinstance(durable, EngineFault) else "",
    )


def _protective_exits(policy: LoweredPolicy, verdict: Verdict) -> list[int]:
    """Return the protective exits that stand where every other buy and sell is stopped.

    Under ``by_priority`` a hold that stands before one still wins over it: no gate stops a hold.
    """
    exits = []
    for index, rule in enumerate(policy.rules):
        if verdict.dispositions[index] not in _STANDS:
            continue
        if rule.protective:
            exits.append(index)
        elif rule.action is Action.HOLD and policy.selection is Selection.BY_PRIORITY:
            break
    return exits


def _without(
    policy: LoweredPolicy, verdict: Verdict, exits: list[int], level_after: Callable[[int], float]
) -> Verdict:
    """Return the verdict in which ``disagreement`` stops all but these exits and holds."""
    gate = next((index for index, gate in enumerate(policy.gates) if gate.name == DISAGREEMENT), -1)
    stopped = (Disposition.VETOED, gate) if gate >= 0 else (Disposition.DENIED, int(Denial.DISAGREEMENT))
    holds = [
        index
        for index, rule in enumerate(policy.rules)
        if rule.action is Action.HOLD and verdict.dispositions[index] in _STANDS
    ]
    if not exits:
        winner = holds[0] if holds else -1
    elif policy.selection is Selection.EXITS_FIRST:
        winner = min(exits, key=lambda rule: (level_after(rule), rule))
    else:
        winner = exits[0]
    dispositions, causes = bytearray(verdict.dispositions), list(verdict.causes)
    for index, rule in enumerate(policy.rules):
        if dispositions[index] not in _STANDS:
            continue
        if index == winner:
            dispositions[index], causes[index] = Disposition.ACTED, -1
        elif index in exits or index in holds:
            same = winner >= 0 and rule.action is policy.rules[winner].action
            dispositions[index] = Disposition.CONCURRED if same else Disposition.OUTRANKED
            causes[index] = winner
        else:
            dispositions[index], causes[index] = stopped
    return Verdict(winner, verdict.truths, bytes(dispositions), tuple(causes))
