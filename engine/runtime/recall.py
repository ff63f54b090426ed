"""Recall: a decision out of the journal, made again as it was, or with other facts or another policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.evaluate.reference import ReferenceEvaluator
from engine.language.lower import lower
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy
from engine.model import Decision, OrderSide
from engine.runtime.journal_port import JournalReader, StoredDecision
from engine.runtime.replay import JournalReplayer
from engine.verbs.decide import decide
from engine.verbs.recorded import recorded_vector, reread
from engine.verbs.replay import Replayed
from engine.verbs.statement import Statement
from engine.verbs.vector import Vector


@dataclass(frozen=True, slots=True)
class Recalled:
    """A decision and all it is made of; ``replayed`` is the record as it was, decided again."""

    stored: StoredDecision
    replayed: Replayed
    policy: Policy
    lowered: LoweredPolicy
    listing: Listing
    vector: Vector
    decision: Decision
    supposed: bool = False  # not the recorded facts and policy
    limits_asked: bool = True  # what limits have used is known: a buy was sized, or it was counted now


def recall(stored: StoredDecision, replayer: JournalReplayer | None = None) -> Recalled:
    """Decide a record again; of many, one ``replayer`` reads each policy once.

    Raises ReplayError, JournalError: see ``JournalReplayer.replay``.
    """
    replayer = replayer or JournalReplayer()
    replayed = replayer.replay(stored.head, stored.record)
    return Recalled(
        stored,
        replayed,
        replayer.policy(stored.head),
        replayed.lowered,
        replayed.listing,
        recorded_vector(replayed, stored.head.at_ms),
        replayed.decision,
        limits_asked=bool(stored.record.decision.limit_usage) or not replayed.lowered.limits,
    )


def suppose(
    journal: JournalReader,
    recalled: Recalled,
    *,
    policy: Policy | None = None,
    listing: Listing | None = None,
    what_if: Statement | None = None,
) -> Recalled:
    """Decide the recorded facts with another policy, or with other values in their place.

    ``listing`` is the symbol's in ``policy``.  What limits have used is counted from the journal.
    Raises PolicyError for overrides that cannot be used or a policy that cannot be lowered.
    """
    own = recalled.policy
    lowered = recalled.lowered
    if policy is not None and policy.digest != own.digest:
        assert listing is not None
        own, lowered, recalled = policy, lower(policy, listing), replace(recalled, listing=listing)
    vector = reread(
        recalled.replayed,
        recalled.stored.head.at_ms,
        policy=own,
        lowered=lowered,
        listing=recalled.listing,
        same_bars=own.bars_seconds == recalled.policy.bars_seconds,
        what_if=what_if,
    )
    supposed = replace(recalled, policy=own, lowered=lowered, vector=vector, supposed=True)
    supposed = with_limits_counted(journal, supposed)
    decision = decide(ReferenceEvaluator(lowered), list(vector.values), supposed.vector.situation)
    return replace(supposed, decision=decision)


def with_limits_counted(journal: JournalReader, recalled: Recalled) -> Recalled:
    """Return the same with what its limits had used, counted from the journal (if it is not pruned)."""
    # Most explanations need none of it, and it needs all of the agent's state.
    from engine.verbs.limits_used import book_before, usage_of

    head, symbol = recalled.stored.head, recalled.stored.record.symbol
    cycle = next(one for one in journal.cycles(head.at_ms, head.at_ms) if one.head.cycle == head.cycle)
    if cycle.pruned:
        return recalled
    vector = recalled.vector
    held, bid = (vector.values[recalled.lowered.slot(name)] for name in ("held", "bid"))
    book = book_before(
        recalled.policy,
        cycle.decisions,
        symbol,
        (vector.situation.quantity, held, bid),
        head.at_ms,
        head.account.cash,
        _buys_before(journal, recalled),
    )
    usage = usage_of(book, recalled.policy, recalled.lowered, recalled.listing)
    situation = replace(vector.situation, usage=usage)
    return replace(recalled, vector=replace(vector, situation=situation), limits_asked=True)


def _buys_before(journal: JournalReader, recalled: Recalled) -> Sequence[tuple[int, str]]:
    """Return the buy intents of earlier cycles that a limit may still count."""
    head = recalled.stored.head
    longest = max((limit.window_seconds for limit in recalled.policy.limits), default=0)
    return [
        (intent.order.created_ms, intent.order.symbol)
        for intent in journal.intents(after_ms=head.at_ms - longest * 1000 - 1)
        if intent.order.side is OrderSide.BUY and intent.cycle < head.cycle
    ]
