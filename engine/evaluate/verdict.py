"""What every evaluator answers: which rules matched, which was chosen, and why not the others.

The meaning, for a fact vector ``values`` (see ``engine.lowered``):

*Signals.*  A vote casts ``weight`` for buy when its buy condition is true and its sell condition
false, for sell the other way round, ``hold_weight`` for hold when both are false, nothing when both
are true.  A missing side is false; an Unknown side makes the vote Unknown.  Acting reading: a vote that
may abstain casts nothing when Unknown; any other Unknown vote makes the signal Unknown.  Entry reading:
every Unknown vote makes the signal Unknown.  The strictly largest of buy, sell and hold weight wins;
confidence is its share of all weight cast, on the grid of 0.01; a shared largest, or nothing cast, is
side ``none`` with confidence 0.  ``buy``, ``sell``, ``hold`` are the weights cast, in units of weight.
An Unknown signal has NaN in all its slots.  A signal whose bit is set in ``stated`` is read from its
slots as they are; its votes are not evaluated.

*Candidates.*  A rule is a candidate when its ``when`` is true.  For a buy rule ``when`` is the entry
reading; for sells and holds the acting reading, and ``when_entry`` the entry reading.

*Gates.*  Gates speak of a rule when ``only_rule`` is -1 or that rule.
A buy is VETOED by the first gate that vetoes buys and whose ``when_entry`` is true, or is Unknown and not
``pass_if_unknown``; then by ``would-exit`` if its bit is set in ``would_exit``.
An ordinary sell is VETOED by the first gate that vetoes sells whose ``when`` is true, or Unknown and not
``pass_if_unknown``.  A protective sell is VETOED only by a gate that vetoes protective exits and is
definitely true.  A hold is never vetoed.

*Withheld entries.*  A buy that no gate vetoes is UNKNOWN (withheld; the cause is the rule) while there is
  (a) a sell rule whose ``when_entry`` is Unknown, or whose ``when_entry`` is true and which is stopped by
      Unknown gates only;
  (b) a buy or hold rule before it whose ``when_entry`` is Unknown;
  (c) a buy rule before it whose ``when_entry`` is true and which is stopped by Unknown gates only;
  (d) a buy rule before it whose bit is set in ``would_exit_unknown`` (and not in ``would_exit``).
A rule is *stopped by Unknown gates only* when no gate that speaks of it has a true ``when_entry`` and one
has an Unknown ``when_entry`` that counts: of a gate that does not ``pass_if_unknown`` where the rule is not
protective; and always of a gate whose two readings differ, because what it vetoes as exits read it may
be an exit that stands once the abstained votes are known.
The cause is the first such rule in the order of ``rules``.  A buy whose own bit is set in
``would_exit_unknown`` is VETOED by ``would-exit``.

*Selection.*  Candidates neither vetoed nor withheld *stand*.
``exits_first``: if a sell stands, the standing sell that leaves the smallest position wins (``level_after``;
an Unknown level counts as the largest; ties go to the first in order); other standing sells are CONCURRED,
and every buy and hold candidate is OUTRANKED (their gates are not looked at).  Otherwise the first
standing buy or hold wins.  ``by_priority``: the first standing candidate wins.  Of the standing candidates
that did not win, those with the winner's action are CONCURRED, the others OUTRANKED.  The winner is ACTED.
Rules that are no candidates have disposition NONE and cause -1.

*Causes.*  VETOED: index of the gate.  UNKNOWN, CONCURRED, OUTRANKED: index of the rule.  ACTED: -1.

``level_after`` of a sell rule, in money on the grid of cents: 0 for ``sell all``; for a money level
``min(X, position_value)``; for a quantity level ``min(X, position_qty) * price``; never below 0.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from engine.codes import Action
from engine.lowered import LoweredGate, LoweredPolicy

WOULD_EXIT = "would-exit"
"""The reserved gate that a decision sets after trying the entry on its own facts."""


def gates_of(policy: LoweredPolicy, index: int) -> list[tuple[int, LoweredGate]]:
    """Return the gates that can veto a rule, with their indices, in the order they are asked."""
    rule = policy.rules[index]
    return [
        (number, gate)
        for number, gate in enumerate(policy.gates)
        if gate.only_rule in (-1, index)
        and (
            gate.vetoes_buy
            if rule.action is Action.BUY
            else gate.vetoes_protective
            if rule.protective
            else gate.vetoes_sell and rule.action is Action.SELL
        )
    ]


class Verdict(NamedTuple):
    """The choice among a policy's rules, before any order is sized."""

    winner: int
    truths: bytes  # of each rule's ``when``
    dispositions: bytes
    causes: tuple[int, ...]


class Evaluator(Protocol):
    """One implementation of the meaning, for one lowered policy.

    ``values`` has one float per slot; the evaluator writes the slots of the voted signals.
    """

    policy: LoweredPolicy

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Evaluate signals, rules and gates, and choose.  The integers are bit masks."""

    def standing_exit(self, values: list[float], stated: int = 0) -> tuple[int, int]:
        """Return (truth, rule) over ``when_entry`` of all sell rules, gates left aside.

        True with the first true one, else Unknown with the first Unknown one, else (FALSE, -1).
        """

    def size(self, rule: int, values: list[float]) -> float:
        """Return the rule's size on its measure's grid; NaN where Unknown."""

    def bound(self, limit: int, values: list[float]) -> float:
        """Return a limit's bound in money on the grid of cents; NaN where Unknown."""

    def price(self, buy: bool, values: list[float]) -> float:
        """Return the limit price of the order style, on the price grid; NaN where Unknown."""
