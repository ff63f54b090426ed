"""Hindsight: every decision of a journal that another policy would have made differently.

Each is judged on its own recorded facts: what the other policy would have bought before, it does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.codes import Action, Disposition
from engine.errors import DataError
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.lower import lower
from engine.language.policy import Policy
from engine.lowered import LoweredPolicy
from engine.model import Decision, OrderSide, SizedOrder
from engine.runtime.journal_port import JournalReader, StoredDecision
from engine.runtime.recall import Recalled, recall, with_limits_counted
from engine.runtime.replay import JournalReplayer
from engine.units import PRICE_SCALE, notional
from engine.verbs.decide import decide
from engine.verbs.recorded import reread
from engine.verbs.replay import ReplayError


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy decided, or would have: ``rule`` is "" where none does; ``became`` of what was chosen."""

    action: Action
    rule: str
    became: str
    order: SizedOrder | None

    @property
    def essence(self) -> object:
        """What makes it another decision than another one."""
        order = None if self.order is None else replace(self.order, limited_by=-1)
        return self.action, order


@dataclass(frozen=True, slots=True)
class Other:
    """A decision that would have been different."""

    cycle: int
    at_ms: int
    symbol: str
    old: Choice
    new: Choice


@dataclass
class Hindsight:
    """What a journal's decisions come to with two policies.

    ``last_bids`` (scaled) are the last that the journal has of each symbol; ``refused`` says, by reason, how
    many decisions could not be made again.
    """

    decisions: int = 0
    pruned: int = 0
    first_ms: int = 0
    last_ms: int = 0
    others: list[Other] = field(default_factory=list)
    last_bids: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def worth(self, other: Other) -> int | None:
        """Return what the new decision would have gained on the old one by the last bid, money.

        Either order is taken as filled whole at the price that sized it, without fee; what the rest of the
        account did is left aside.  None where the symbol has no bid.
        """
        bid = self.last_bids.get(other.symbol)
        return None if bid is None else _gain(other.new.order, bid) - _gain(other.old.order, bid)


def _gain(order: SizedOrder | None, bid: int) -> int:
    """Return what an order has gained when the bid has become another: of a sale, what it has spared."""
    if order is None:
        return 0
    rise = notional(order.quantity, bid) - notional(order.quantity, order.sized_at)
    return rise if order.side is OrderSide.BUY else -rise


def hindsight(journal: JournalReader, old: Policy, new: Policy) -> Hindsight:
    """Decide every record of a journal by two policies; by one that decided it, it is what it was.

    Raises JournalError where the journal is damaged.
    """
    found = Hindsight()
    judges = _Judge(journal, old), _Judge(journal, new)
    replayer = JournalReplayer()
    for cycle in journal.cycles():
        found.first_ms = found.first_ms or cycle.head.at_ms
        found.last_ms = cycle.head.at_ms
        found.pruned += cycle.pruned
        for record in cycle.decisions:
            try:
                recalled = recall(StoredDecision(cycle.head, record), replayer)
                one, other = (judge.choice(recalled) for judge in judges)
            except (ReplayError, DataError) as error:
                reason = str(error)
                found.refused[reason] = found.refused.get(reason, 0) + 1
                continue
            found.decisions += 1
            bid = record.values[recalled.replayed.lowered.slot("bid")]
            if bid == bid:
                found.last_bids[record.symbol] = round(bid * PRICE_SCALE)
            if one.essence != other.essence:
                made = Other(cycle.head.cycle, cycle.head.at_ms, record.symbol, one, other)
                found.others.append(made)
    return found


class _Judge:
    """Decides recorded facts by one policy; lowers it once for each symbol."""

    def __init__(self, journal: JournalReader, policy: Policy) -> None:
        self.journal = journal
        self.policy = policy
        self.forms: dict[str, tuple[LoweredPolicy, ReferenceEvaluator]] = {}

    def choice(self, recalled: Recalled) -> Choice:
        """Return what the policy decides; DataError where it does not know the symbol."""
        if recalled.policy.digest == self.policy.digest:
            return _choice(recalled.lowered, recalled.decision)
        symbol = recalled.stored.record.symbol
        listing = self.policy.listing(symbol)
        if listing is None:
            raise DataError(f"{self.policy.name} {self.policy.version} does not list {symbol}")
        if symbol not in self.forms:
            form = lower(self.policy, listing)
            self.forms[symbol] = form, ReferenceEvaluator(form)
        form, evaluator = self.forms[symbol]
        vector = reread(
            recalled.replayed,
            recalled.stored.head.at_ms,
            policy=self.policy,
            lowered=form,
            listing=listing,
            same_bars=self.policy.bars_seconds == recalled.policy.bars_seconds,
        )
        supposed = replace(recalled, policy=self.policy, lowered=form, listing=listing, vector=vector)
        values = list(vector.values)
        verdict = evaluator.verdict(values, vector.situation.stated)
        if verdict.winner >= 0 and form.rules[verdict.winner].action is Action.BUY:
            supposed = with_limits_counted(self.journal, supposed)  # only a buy asks its limits
        return _choice(form, decide(evaluator, list(supposed.vector.values), supposed.vector.situation))


def _choice(form: LoweredPolicy, decision: Decision) -> Choice:
    rule = form.rules[decision.rule].name if decision.rule >= 0 else ""
    became = Disposition(decision.dispositions[decision.rule]).word if decision.rule >= 0 else ""
    return Choice(decision.action, rule, became.replace("_", " "), decision.order)
