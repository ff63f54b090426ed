"""Explain: why this was decided, and why something else was not.

The reference evaluator supplies every leaf; here each rule, gate, limit and signal gets what became of it, in
words and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from engine.codes import Action, Denial, Disposition, Side, Truth, UnknownReason
from engine.evaluate.reference import WEIGHT_STEPS, ReferenceEvaluator, evaluate_term
from engine.evaluate.verdict import WOULD_EXIT, Verdict
from engine.language.expression import duration_text
from engine.language.policy import Policy
from engine.lowered import (
    ConstantTerm,
    FactTerm,
    LimitKind,
    LoweredGate,
    LoweredLimit,
    LoweredPolicy,
    LoweredRule,
    Term,
)
from engine.model import Decision, OrderSide
from engine.units import (
    GRID_PER_UNIT,
    MONEY_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    Measure,
    notional,
    quantise,
    unit_name,
    unscaled,
)
from engine.verbs.decide import decide
from engine.verbs.explanation import (
    Counterfactuals,
    Explanation,
    FactView,
    GateView,
    LimitView,
    MakeIt,
    OrderView,
    RuleView,
    SignalView,
    VoteView,
    WhyNot,
    WhyNotRule,
)
from engine.verbs.numbers import decimal, plain, shown
from engine.verbs.reading import TRUTH_WORDS, Reading
from engine.verbs.terms import slots_of_node, slots_of_term
from engine.verbs.vector import Vector

_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]


def explain(
    policy: Policy,
    lowered: LoweredPolicy,
    vector: Vector,
    decision: Decision,
    why_not: Action | None = None,
    *,
    make_it: Action | None = None,
    reached: Counterfactuals | None = None,
) -> Explanation:
    """Explain a decision made on ``vector``.

    ``why_not`` asks for another action's failing leaves, ``make_it`` only for what would give an action;
    ``reached`` is what would (``engine.prove.changes`` finds it).
    """
    reached = reached or Counterfactuals()
    return _Explainer(policy, lowered, vector, decision).explanation(why_not, make_it, reached)


def _instant(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Trial:
    """An entry tried on its own facts: the exit that would stand after it."""

    truth: int
    exit: int
    after: list[float]


class Watched(ReferenceEvaluator):
    """Notes the exits that entries are tried against while a decision is made."""

    def __init__(self, policy: LoweredPolicy) -> None:
        """Begin without trials."""
        super().__init__(policy)
        self.trials: dict[str, Trial] = {}
        self._entry = -1

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Remember the winner: the entry that is tried next."""
        found = super().verdict(values, stated, would_exit, would_exit_unknown)
        self._entry = found.winner
        return found

    def standing_exit(self, values: list[float], stated: int = 0) -> tuple[int, int]:
        """Note a trial that fails, by the entry's rule."""
        truth, rule = super().standing_exit(values, stated)
        if truth != Truth.FALSE:
            self.trials[self.policy.rules[self._entry].name] = Trial(truth, rule, list(values))
        return truth, rule


def _trials(reading: Reading) -> Mapping[str, Trial]:
    """Decide again, watching, and return the trials that failed by the entry's rule."""
    watched = Watched(reading.lowered)
    decide(watched, list(reading.vector.values), reading.vector.situation)
    return watched.trials


class _Explainer:
    def __init__(self, policy: Policy, lowered: LoweredPolicy, vector: Vector, decision: Decision) -> None:
        self.lowered = lowered
        self.vector = vector
        self.decision = decision
        self.reading = Reading(lowered, vector)
        self.values = self.reading.values
        self.trials = _trials(self.reading)
        self.then = {rule.name: rule.then_text for rule in policy.rules}

    def explanation(
        self, why_not: Action | None, make_it: Action | None, reached: Counterfactuals
    ) -> Explanation:
        lowered, decision = self.lowered, self.decision
        return Explanation(
            symbol=decision.symbol,
            at=_instant(self.vector.at_ms),
            policy=lowered.name,
            version=lowered.version,
            digest=lowered.digest,
            selection=lowered.selection.value,
            action=decision.action.name.lower(),
            rule=lowered.rules[decision.rule].name if decision.rule >= 0 else None,
            because=self._summary(),
            position=self._position(),
            order=self._order(),
            denial=decision.denial.word if decision.denial is not Denial.NONE else None,
            rules=tuple(self._rule(index) for index in range(len(lowered.rules))),
            gates=tuple(self._gate(index) for index in range(len(lowered.gates))),
            limits=tuple(self._limit(index) for index in range(len(lowered.limits))),
            signals=tuple(self._signals()),
            facts=tuple(self._facts()),
            notes=(*self.vector.notes, *(problem.message for problem in self.vector.problems)),
            why_not=None if why_not is None else self._why_not(why_not, reached),
            make_it=None if make_it is None else self._make_it(make_it, reached),
        )

    def _summary(self) -> str:
        """Return the sentence of the deciding rule, or why no rule decided."""
        decider = self.decision.rule
        if decider >= 0:
            disposition = Disposition(self.decision.dispositions[decider])
            rule = self.lowered.rules[decider]
            if disposition is Disposition.ACTED:
                return self._because(rule)
            return self._rule_text(decider, rule, disposition, self.decision.causes[decider])
        stopped = [
            rule.name
            for rule, disposition in zip(self.lowered.rules, self.decision.dispositions, strict=True)
            if disposition
        ]
        return f"what matches is stopped: {', '.join(stopped)}" if stopped else "no rule matches"

    # --- rules --------------------------------------------------------------------------------

    def _rule(self, index: int) -> RuleView:
        rule = self.lowered.rules[index]
        disposition = Disposition(self.decision.dispositions[index])
        cause = self.decision.causes[index]
        return RuleView(
            name=rule.name,
            priority=rule.priority,
            action=rule.action.name.lower(),
            then=self.then.get(rule.name, ""),
            protective=rule.protective,
            truth=TRUTH_WORDS[self.decision.truths[index]],
            disposition=disposition.word,
            cause=self._cause_name(disposition, cause),
            text=self._rule_text(index, rule, disposition, cause),
            leaves=self.reading.leaves(rule.when),
        )

    def _cause_name(self, disposition: Disposition, cause: int) -> str | None:
        if cause < 0:
            return None
        match disposition:
            case Disposition.VETOED:
                return self.lowered.gates[cause].name
            case Disposition.LIMITED:
                return self.lowered.limits[cause].name
            case Disposition.DENIED:
                return Denial(cause).word
            case _:
                return self.lowered.rules[cause].name

    def _rule_text(self, index: int, rule: LoweredRule, disposition: Disposition, cause: int) -> str:
        match disposition:
            case Disposition.NONE:
                return self._no_match_text(rule, self.decision.truths[index])
            case Disposition.ACTED:
                by = self.decision.order.limited_by if self.decision.order else -1
                limited = f"; {self.lowered.limits[by].name} shrank the order" if by >= 0 else ""
                return f"decided: {self._because(rule)}{limited}"
            case Disposition.VETOED:
                return f"vetoed by {self._veto_text(rule, self.lowered.gates[cause])}"
            case Disposition.UNKNOWN:
                return f"withheld: {self._withheld_text(self.lowered.rules[cause])}"
            case Disposition.LIMITED:
                return f"limited by {self.lowered.limits[cause].name}: {self._limit(cause).text}"
            case Disposition.DENIED:
                return f"denied: {self._denial_text(rule, Denial(cause))}"
            case Disposition.CONCURRED:
                return f"concurred: {self.lowered.rules[cause].name} decided"
            case Disposition.OUTRANKED:
                return f"outranked by {self.lowered.rules[cause].name}"
            case _:
                return disposition.meaning

    def _no_match_text(self, rule: LoweredRule, truth: int) -> str:
        if truth == Truth.UNKNOWN:
            return f"unknown: {self.reading.unknown_text(rule.when)}"
        return (
            self.reading.needs_text(self.reading.unmet(rule.when, Truth.TRUE)) or "never true for this symbol"
        )

    def _veto_text(self, rule: LoweredRule, gate: LoweredGate) -> str:
        node = gate.when_entry if rule.action is Action.BUY else gate.when
        if gate.name == WOULD_EXIT:
            return f"{WOULD_EXIT}: {self._trial_text(rule)}"
        if self.reading.evaluation.truths[node] == Truth.UNKNOWN:
            return f"{gate.name}, which is unknown: {self.reading.unknown_text(node)}"
        return f"{gate.name}: {self.reading.needs_text(self.reading.unmet(node, Truth.FALSE))}"

    def _trial_text(self, rule: LoweredRule) -> str:
        """Say which exit would stand just after an entry, and by which facts."""
        trial = self.trials.get(rule.name)
        if trial is None:
            return "an exit would be true, or unknown, just after this entry"
        leaving = self.lowered.rules[trial.exit]
        after = Reading(self.lowered, replace(self.vector, values=trial.after))
        if trial.truth == Truth.UNKNOWN:
            why = after.unknown_text(leaving.when_entry)
            return f"just after this entry {leaving.name} would be unknown ({why})"
        true = [
            leaf.text
            for leaf in after.leaves(leaving.when_entry)
            if leaf.truth == "true" and leaf.left != "held"
        ]
        return f"just after this entry {leaving.name} would be true ({'; '.join(true)})"

    def _withheld_text(self, cause: LoweredRule) -> str:
        if self.reading.truth(cause.when_entry) == Truth.UNKNOWN:
            return f"{cause.name} is unknown ({self.reading.unknown_text(cause.when_entry)})"
        if cause.name in self.trials:
            return f"whether {cause.name} may enter is unknown: {self._trial_text(cause)}"
        return f"{cause.name} is true, and only gates that are unknown stop it"

    def _denial_text(self, rule: LoweredRule, denial: Denial) -> str:
        buy = rule.action is Action.BUY
        style = self.lowered.buy_style if buy else self.lowered.sell_style
        terms: list[Term | None] = []
        names: tuple[str, ...] = ()
        if denial is Denial.SIZE_UNKNOWN:
            terms, names = [rule.size, style.limit], ("ask" if buy else "bid", "position_value")
        elif denial is Denial.LIMIT_UNKNOWN:
            terms = [limit.bound for limit in self.lowered.limits]
        elif denial is Denial.CASH:
            names = ("cash",)
        slots = [slot for term in terms if term is not None for slot in slots_of_term(term)]
        slots += [self.lowered.slot(name) for name in names]
        missing = ", ".join(fact.text for fact in self.reading.missing(slots))
        return f"{denial.meaning} ({missing})" if missing else denial.meaning

    def _because(self, rule: LoweredRule) -> str:
        """Return the rule's own sentence with its numbers, else the leaves that are true."""
        if not rule.because:
            leaves = [
                leaf
                for leaf in self.reading.leaves(rule.when)
                if leaf.truth == "true" or leaf.unit == "boolean"
            ]
            return "; ".join(leaf.text for leaf in leaves)
        return "".join(part if isinstance(part, str) else self._number(part) for part in rule.because)

    def _number(self, index: int) -> str:
        term, unit, k = self.lowered.because_terms[index]
        value = evaluate_term(term, self.values)
        if isinstance(term, ConstantTerm | FactTerm) or not isinstance(unit, Measure):
            return shown(value, unit, k)
        return shown(
            quantise(value, GRID_PER_UNIT[unit]) if value == value else value, unit, GRID_PER_UNIT[unit]
        )

    # --- gates and limits ---------------------------------------------------------------------

    def _gate(self, index: int) -> GateView:
        gate = self.lowered.gates[index]
        truths = self.reading.evaluation.truths
        vetoed = tuple(
            self.lowered.rules[rule].name
            for rule, disposition in enumerate(self.decision.dispositions)
            if disposition == Disposition.VETOED and self.decision.causes[rule] == index
        )
        kinds = (("buy", gate.vetoes_buy), ("sell", gate.vetoes_sell), ("protective", gate.vetoes_protective))
        truth = truths[gate.when_entry if gate.vetoes_buy and not gate.vetoes_sell else gate.when]
        if gate.name == WOULD_EXIT:
            text = "an exit would follow the entry" if vetoed else "no exit would follow the entry"
        elif truth == Truth.UNKNOWN:
            text = f"unknown: {self.reading.unknown_text(gate.when)}"
        elif truth == Truth.TRUE:
            text = self.reading.needs_text(self.reading.unmet(gate.when, Truth.FALSE))
        else:
            text = (
                self.reading.needs_text(self.reading.unmet(gate.when, Truth.TRUE))
                or "never true for this symbol"
            )
        return GateView(
            name=gate.name,
            reserved=gate.reserved,
            only_rule=self.lowered.rules[gate.only_rule].name if gate.only_rule >= 0 else None,
            vetoes=tuple(kind for kind, vetoes in kinds if vetoes),
            truth=TRUTH_WORDS[truths[gate.when]],
            entry_truth=TRUTH_WORDS[truths[gate.when_entry]],
            vetoed=vetoed,
            text=text,
            leaves=self.reading.leaves(gate.when),
        )

    def _limit(self, index: int) -> LimitView:
        limit = self.lowered.limits[index]
        usage = self.vector.situation.usage[index]
        money = limit.bound is not None
        bound = self.reading.evaluator.bound(index, self.values) if money else float(limit.count)
        used: float | None = None
        if usage is not None and limit.kind in (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST):
            used = float(usage)
        elif usage is not None and limit.kind is LimitKind.EXPOSURE_AT_MOST:
            used = float(unscaled(usage, MONEY_SCALE))
        shrank = self.decision.order is not None and self.decision.order.limited_by == index
        denied = any(
            disposition == Disposition.LIMITED and cause == index
            for disposition, cause in zip(self.decision.dispositions, self.decision.causes, strict=True)
        )
        return LimitView(
            name=limit.name,
            kind=limit.kind.value,
            scope=limit.scope.value,
            bound=bound if math.isfinite(bound) else None,
            used=used,
            binding=shrank or denied,
            text=self._limit_text(limit, bound, usage),
        )

    def _limit_text(self, limit: LoweredLimit, bound: float, usage: int | None) -> str:
        if limit.bound is not None and bound != bound:
            return "unknown: " + ", ".join(
                fact.text for fact in self.reading.missing(slots_of_term(limit.bound))
            )
        money = shown(bound, Measure.MONEY, _CENTS)
        count = "unknown" if usage is None else str(usage)
        match limit.kind:
            case LimitKind.ORDER_AT_MOST:
                return f"an order of at most {money}"
            case LimitKind.ORDER_AT_LEAST:
                return f"an order of at least {money}"
            case LimitKind.CASH_AT_LEAST:
                available = _money_text(self.vector.situation.cash_available)
                return f"{money} of cash is kept; {available} is there"
            case LimitKind.EXPOSURE_AT_MOST:
                used = "unknown" if usage is None else _money_text(usage)
                return f"at most {money} per {limit.scope.value}; {used} is used"
            case LimitKind.BUYS_AT_MOST:
                return f"at most {limit.count} buys per {duration_text(limit.window_seconds)}; {count} made"
            case LimitKind.POSITIONS_AT_MOST:
                return f"at most {limit.count} positions; {count} held"

    # --- signals ------------------------------------------------------------------------------

    def _signals(self) -> Iterable[SignalView]:
        for index, signal in enumerate(self.lowered.signals):
            stated = self.vector.stated_mask >> index & 1
            votes = () if stated else tuple(self._votes(index))
            side, confidence = signal.slots[0], signal.slots[1]
            yield self._signal(index, signal.name, "stated" if stated else "votes", side, confidence, votes)
        for offset, feed in enumerate(self.lowered.feeds):
            index = len(self.lowered.signals) + offset
            yield self._signal(index, feed.name, "feed", feed.side, feed.confidence, ())

    def _signal(
        self,
        index: int,
        name: str,
        source: str,
        side_slot: int,
        confidence_slot: int,
        votes: tuple[VoteView, ...],
    ) -> SignalView:
        side = self.values[side_slot] if side_slot >= 0 else math.nan
        confidence = self.values[confidence_slot] if confidence_slot >= 0 else math.nan
        disposition = Disposition(self.decision.signal_dispositions[index])
        adopting = [at for at, rule in enumerate(self.lowered.rules) if (index, side) in rule.adopts]
        candidates = [at for at in adopting if self.decision.dispositions[at]]
        word = Side(int(side)).name if side == side else "unknown"
        if side != side:
            text = self._unknown_signal_text(side_slot, votes)
        elif disposition is Disposition.NONE:
            text = "not directional"
        elif candidates:
            text = f"{disposition.word.replace('_', ' ')} by {self.lowered.rules[candidates[0]].name}"
        elif disposition is Disposition.CONCURRED:
            text = "concurred: the decision is its side"
        elif adopting:
            nearest = self.lowered.rules[adopting[0]]
            text = f"not adopted: {self._no_match_text(nearest, self.reading.truth(nearest.when))}"
        else:
            text = f"not adopted: no rule acts on a {word} of it"
        return SignalView(
            name=name,
            source=source,
            side=None if side != side else word.lower(),
            confidence=None if confidence != confidence else confidence,
            shown=f"{word} {shown(confidence, Measure.RATIO)}" if confidence == confidence else word,
            disposition=disposition.word,
            adopted_by=self.lowered.rules[candidates[0]].name if candidates else None,
            text=text,
            votes=votes,
        )

    def _unknown_signal_text(self, side_slot: int, votes: tuple[VoteView, ...]) -> str:
        leaves = [leaf for vote in votes if vote.cast == "unknown" for leaf in vote.leaves]
        missing = [fact for leaf in leaves for fact in leaf.missing]
        if not missing and side_slot >= 0:
            missing = list(self.reading.missing((side_slot,)))
        return ", ".join(dict.fromkeys(fact.text for fact in missing)) or "its side is not read"

    def _votes(self, index: int) -> Iterable[VoteView]:
        truths = self.reading.evaluation.truths
        for vote in self.lowered.signals[index].votes:
            buy = truths[vote.buy] if vote.buy >= 0 else None
            sell = truths[vote.sell] if vote.sell >= 0 else None
            leaves = [
                leaf for node in (vote.buy, vote.sell) if node >= 0 for leaf in self.reading.leaves(node)
            ]
            yield VoteView(
                name=vote.name,
                weight=vote.weight / WEIGHT_STEPS,
                buy=None if buy is None else TRUTH_WORDS[buy],
                sell=None if sell is None else TRUTH_WORDS[sell],
                cast=_cast(buy or Truth.FALSE, sell or Truth.FALSE, vote.hold_weight),
                leaves=tuple(leaves),
            )

    # --- facts --------------------------------------------------------------------------------

    def _facts(self) -> Iterable[FactView]:
        because = {assumed.name: assumed.because for assumed in self.vector.assumptions}
        own = self._own_slots()
        acting = {
            entry: slot
            for signal in self.lowered.signals
            for entry, slot in zip(signal.entry_slots, signal.slots, strict=True)
            if entry != slot
        }
        for index, slot in enumerate(self.lowered.slots):
            value = self.values[index]
            twin = acting.get(index)
            if twin is not None and (value == value or self.values[twin] != self.values[twin]):
                continue  # entries read what exits read
            unknown = value != value
            yield FactView(
                name=slot.name,
                unit=unit_name(slot.unit),
                value=plain(value, slot.unit),
                shown=shown(value, slot.unit, slot.steps_per_unit),
                origin=self.vector.origins[index].value,
                reason=UnknownReason(self.reading.reason(index)).word if unknown else None,
                because=because.get(slot.name, ""),
                reading="entries" if twin is not None else "",
                own=index in own,
            )

    def _own_slots(self) -> set[int]:
        """Return the slots that the policy itself reads; the built-in vetoes read the others."""
        lowered = self.lowered
        nodes = [node for rule in lowered.rules for node in (rule.when, rule.when_entry)]
        own_gates = [gate for gate in lowered.gates if not gate.reserved or gate.only_rule >= 0]
        nodes += [node for gate in own_gates for node in (gate.when, gate.when_entry)]
        counted = [s for index, s in enumerate(lowered.signals) if not self.vector.stated_mask >> index & 1]
        votes = [vote for signal in counted for vote in signal.votes]
        nodes += [side for vote in votes for side in (vote.buy, vote.sell) if side >= 0]
        terms: list[Term | None] = [rule.size for rule in lowered.rules]
        terms += [limit.bound for limit in lowered.limits]
        terms += [lowered.buy_style.limit, lowered.sell_style.limit]
        return {slot for node in nodes for slot in slots_of_node(lowered, node)} | {
            slot for term in terms if term is not None for slot in slots_of_term(term)
        }

    def _position(self) -> str:
        held, value, target = (self.reading.value(name) for name in ("held", "position_value", "target"))
        if held != held:
            return "position unknown"
        if not held:
            return "flat"
        if value != value:
            return "held"
        share = f", {shown(quantise(value / target, 1000), Measure.RATIO)} of target" if target > 0 else ""
        return f"held, {shown(value, Measure.MONEY, _CENTS)}{share}"

    def _order(self) -> OrderView | None:
        order = self.decision.order
        if order is None:
            return None
        quantity = decimal(unscaled(order.quantity, QUANTITY_SCALE))
        price = order.limit_price
        limit = None if price is None else decimal(unscaled(price, PRICE_SCALE), 2)
        worth = notional(order.quantity, price if price is not None else order.sized_at)
        if order.side is OrderSide.SELL and self.reading.value("position_qty") != self.reading.value(
            "position_qty"
        ):
            text = "sell the position (its quantity is not stated)"
        else:
            bound = "at market" if limit is None else f"at {limit} USD or better"
            text = f"{order.side.value} {quantity} {bound}, about {_money_text(worth)}"
        return OrderView(order.side.value, quantity, limit, decimal(unscaled(worth, MONEY_SCALE), 2), text)

    # --- why not ------------------------------------------------------------------------------

    def _why_not(self, action: Action, reached: Counterfactuals) -> WhyNot:
        asked = self._make_it(action, reached)
        rules = tuple(
            self._why_not_rule(index)
            for index, rule in enumerate(self.lowered.rules)
            if rule.action is action
        )
        return WhyNot(asked.action, asked.decided, rules, asked.changes, asked.text)

    def _make_it(self, action: Action, reached: Counterfactuals) -> MakeIt:
        word = action.name.lower()
        if self.decision.action is action:
            return MakeIt(word, True, (), f"the decision is {word}")
        text = reached.text
        if not reached.changes and all(rule.action is not action for rule in self.lowered.rules):
            text = f"no rule of the policy proposes to {word} {self.decision.symbol}"
        return MakeIt(word, False, reached.changes, text)

    def _why_not_rule(self, index: int) -> WhyNotRule:
        rule = self.lowered.rules[index]
        disposition = Disposition(self.decision.dispositions[index])
        needs = self.reading.unmet(rule.when, Truth.TRUE)
        unmet = tuple(self.reading.leaf(need.atom) for need in needs)
        return WhyNotRule(
            rule.name, self._rule_text(index, rule, disposition, self.decision.causes[index]), unmet
        )


def _money_text(money: int) -> str:
    return f"{decimal(unscaled(money, MONEY_SCALE), 2)} USD"


def _cast(buy: int, sell: int, hold_weight: int) -> str:
    if Truth.UNKNOWN in (buy, sell):
        return "unknown"
    if buy != sell:
        return "buy" if buy == Truth.TRUE else "sell"
    return "hold" if buy == Truth.FALSE and hold_weight else "nothing"
