"""A whole policy as formulas, with the meaning of ``engine.evaluate.verdict``.

A limit is not modelled beyond what every buy obeys: see ``PolicyTerms``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from engine.codes import Action
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
    some,
)
from engine.evaluate.symbolic.numbers import times, within
from engine.evaluate.symbolic.snapshot import Snapshot, Variable, slot_range
from engine.evaluate.verdict import WOULD_EXIT, gates_of
from engine.lowered import (
    ConstantTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    Selection,
    SlotOrigin,
    Term,
)
from engine.units import GRID_PER_UNIT, Measure

_BEYOND_LEVELS: Final = 10**18
_CENTS: Final = GRID_PER_UNIT[Measure.MONEY]


@dataclass
class Candidate:
    """What can become of one rule."""

    matches: Formula
    vetoed_by: list[tuple[int, Formula]] = field(default_factory=list)  # gate, when it is the one that vetoes
    withheld: Formula = False
    stands: Formula = False
    wins: Formula = False
    acts: Formula = False  # wins, and an order of it is sent or under way

    @property
    def vetoed(self) -> Formula:
        """When some gate vetoes it."""
        return some(veto for _, veto in self.vetoed_by)


class PolicyTerms(Conditions):
    """A whole policy as formulas: its conditions, what becomes of each rule, the decision.

    ``candidates`` has one entry per rule.  The action at the stage ``candidate`` is that of the rule that
    wins; at the stage ``decision`` the order must also have come about.  Certain of orders is only:

    * ``sell all`` of something held is sent or under way (``unsendable`` says where the venue would refuse);
    * a trim is not made within its least step, or, unless protective, on estimated equity;
    * a buy needs a known ask, no estimated equity, a distance from its level, and its exits to be false
      on the facts after it.  Whether limits and cash leave anything of it is open.
    """

    def __init__(
        self,
        policy: LoweredPolicy,
        snapshot: Snapshot,
        own: dict[int, Variable] | None = None,
        beside: PolicyTerms | None = None,
    ) -> None:
        """Translate the choice among the rules."""
        super().__init__(policy, snapshot, own, beside)
        self._speaking = [gates_of(policy, index) for index in range(len(policy.rules))]
        self._would_exit_gate = next(
            (index for index, gate in enumerate(policy.gates) if gate.name == WOULD_EXIT), -1
        )
        self._stopped: dict[object, Formula] = {}  # by gates: only Unknown ones stop what they speak of
        self.exits_first = policy.selection is Selection.EXITS_FIRST
        self._first_gain: Number | None = None if beside is None else beside._first_gain
        self._after: dict[object, Conditions] = {} if beside is None else beside._after  # by what is ordered
        self._levels: dict[object, tuple[Formula, Number]] = {} if beside is None else beside._levels
        self.moves: dict[int, Formula] = {}  # by rule with a size: its order is not at its level already
        self.helping: dict[int, Formula] = {}  # by rule: what is left open of its order
        self.would_exit: dict[int, Formula] = {}
        self.would_exit_unknown: dict[int, Formula] = {}
        self.candidates = [Candidate(self._matches(rule)) for rule in policy.rules]
        self._choose()

    # --- rules and gates

    def _matches(self, rule: LoweredRule) -> Formula:
        return self.node(rule.when).true

    def gate(self, index: int, rule: int) -> Kleene:
        """Return a gate's condition as a rule reads it."""
        gate = self.policy.gates[index]
        return self.node(gate.when_entry if self.policy.rules[rule].action is Action.BUY else gate.when)

    def gates_of(self, rule: int) -> list[tuple[int, LoweredGate]]:
        """Return the gates that can veto a rule."""
        return self._speaking[rule]

    def _vetoes(self, rule: int, index: int, gate: LoweredGate) -> Formula:
        truth = self.gate(index, rule)
        if self.policy.rules[rule].protective or gate.pass_if_unknown:
            return truth.true
        return negation(truth.false)

    def _veto(self, rule: int) -> None:
        would_exit = some((self.would_exit.get(rule, False), self.would_exit_unknown.get(rule, False)))
        candidate = self.candidates[rule]
        free: Formula = candidate.matches
        for index, gate in self._speaking[rule]:
            vetoes = self._vetoes(rule, index, gate)
            candidate.vetoed_by.append((index, every((free, vetoes))))
            free = every((free, negation(vetoes)))
        if would_exit is not False:
            candidate.vetoed_by.append((self._would_exit_gate, every((free, would_exit))))

    def _stopped_by_unknown_only(self, rule: int) -> Formula:
        lowered = self.policy.rules[rule]
        key = (tuple(index for index, _ in self._speaking[rule]), lowered.protective)
        if key not in self._stopped:
            gates = [(gate, self.node(gate.when_entry)) for _, gate in self._speaking[rule]]
            counts = [
                truth.unknown
                for gate, truth in gates
                if not (lowered.protective or gate.pass_if_unknown) or gate.when != gate.when_entry
            ]
            self._stopped[key] = every((*(negation(truth.true) for _, truth in gates), some(counts)))
        return self._stopped[key]

    def withholds(self, index: int) -> Formula:
        """Say when a rule, being Unknown or stopped by Unknown gates only, withholds the entries below it."""
        rule = self.policy.rules[index]
        truth = self.node(rule.when_entry)
        reasons = [truth.unknown]
        if rule.action is not Action.HOLD:
            reasons.append(every((truth.true, self._stopped_by_unknown_only(index))))
        if rule.action is Action.BUY:
            maybe = self.would_exit_unknown.get(index, False)
            reasons.append(every((maybe, negation(self.would_exit.get(index, False)))))
        return some(reasons)

    # --- the choice

    def _leave_tries_open(self) -> None:
        """Give entries truth values for what follows them: an exit, or perhaps one."""
        if not self.exits_first:
            return
        for index, rule in enumerate(self.policy.rules):
            if rule.action is Action.BUY:
                self.would_exit[index] = boolean(self.snapshot.fresh(f"would-exit {rule.name}"))
                if self.snapshot.anything_unknown:
                    name = self.snapshot.fresh(f"would-exit-unknown {rule.name}")
                    self.would_exit_unknown[index] = boolean(name)

    def _choose(self) -> None:
        self._leave_tries_open()
        rules = self.policy.rules
        exits_first = self.exits_first
        exits = [index for index, rule in enumerate(rules) if rule.action is Action.SELL]
        withheld = some(self.withholds(index) for index in exits)
        for index, rule in enumerate(rules):
            self._veto(index)
            candidate = self.candidates[index]
            if rule.action is Action.BUY:
                candidate.withheld = every((candidate.matches, negation(candidate.vetoed), withheld))
            if rule.action is not Action.SELL:
                withheld = some((withheld, self.withholds(index)))
            candidate.stands = every(
                (candidate.matches, negation(candidate.vetoed), negation(candidate.withheld))
            )
        free: Formula = True
        if exits_first:
            self._choose_exit(exits)
            free = negation(some(self.candidates[index].stands for index in exits))
        for index, rule in enumerate(rules):
            if not exits_first or rule.action is not Action.SELL:
                candidate = self.candidates[index]
                candidate.wins = every((candidate.stands, free))
                free = every((free, negation(candidate.stands)))
        for index, candidate in enumerate(self.candidates):
            candidate.acts = self._acts(index, candidate.wins)
        if exits_first:
            self._try_entries(self.would_exit, self.would_exit_unknown)

    def _choose_exit(self, exits: Sequence[int]) -> None:
        """The standing sell that leaves the smallest position wins; ties go to the first in order.

        Sells with one size leave the same; an Unknown level is the largest.
        """
        alike: dict[object, list[int]] = {}  # by size
        for index in exits:
            rule = self.policy.rules[index]
            alike.setdefault((rule.size, rule.size is None or rule.size_measure), []).append(index)
        is_least: dict[int, Formula] = dict.fromkeys(exits, True)
        if len(alike) > 1:
            least = integer(self.snapshot.fresh("least level"))
            reached: list[Formula] = []
            for indices in alike.values():
                known, level = self._level(indices[0])
                level = choice(known, level, _BEYOND_LEVELS)
                stands = some(self.candidates[index].stands for index in indices)
                self.snapshot.define(least, implies(stands, least <= level))
                reached.append(every((stands, least == level)))
                is_least.update(dict.fromkeys(indices, least == level))
            self.snapshot.define(least, some((least == _BEYOND_LEVELS, *reached)))
        free: Formula = True
        for index in exits:
            candidate = self.candidates[index]
            leaves_least = every((candidate.stands, is_least[index]))
            candidate.wins = every((leaves_least, free))
            free = every((free, negation(leaves_least)))

    def _level(self, rule: int) -> tuple[Formula, Number]:
        """Return the position value, in cents, that a sell would leave."""
        lowered = self.policy.rules[rule]
        if lowered.size is None:
            return True, 0
        size_known, size = self.size(rule)
        owned = self._named("position_value" if lowered.size_measure is Measure.MONEY else "position_qty")
        known = every((size_known, owned.known))
        if lowered.size_measure is Measure.MONEY:
            level = choice(size <= owned.value, size, owned.value)
            return known, choice(level >= 0, level, 0)
        if lowered.size in self._levels:
            return self._levels[lowered.size]
        least = integer(self.snapshot.fresh("level"))
        bid = self._named("price")
        self.snapshot.define(least, least >= 0, implies(size <= 0, least == 0))
        self.snapshot.exact.append(
            implies(
                size > 0,
                every(
                    within(
                        as_real(least),
                        as_real(choice(size <= owned.value, size, owned.value))
                        * as_real(bid.value)
                        * as_real(Fraction(_CENTS, owned.slot.steps_per_unit * bid.slot.steps_per_unit)),
                        Fraction(501, 1000),
                    )
                ),
            )
        )
        self._levels[lowered.size] = every((known, bid.known)), least
        return self._levels[lowered.size]

    def _named(self, name: str) -> Variable:
        return self.variable(self.policy.slot(name))

    def size(self, rule: int) -> tuple[Formula, Number]:
        """Return when a rule's size is known, and the size in steps of its measure's grid."""
        lowered = self.policy.rules[rule]
        assert lowered.size is not None
        return self.money(lowered.size, lowered.size_measure)

    def money(self, term: Term, measure: Measure = Measure.MONEY) -> tuple[Formula, Number]:
        """Return when an amount is known, and the amount in steps of its measure's grid."""
        k = GRID_PER_UNIT[measure]
        if isinstance(term, ConstantTerm):
            return True, round(term.value * k)
        return self.terms.on_grid(term, k)

    # --- orders

    def _acts(self, index: int, wins: Formula) -> Formula:
        rule = self.policy.rules[index]
        if rule.action is Action.HOLD or wins is False:
            return False
        needs: list[Formula] = [wins]
        estimated = self._named("equity_estimated")
        trusted = every((estimated.known, estimated.value * 20 <= estimated.slot.steps_per_unit))
        if rule.size is not None:
            known, moved = self._moves(index)
            self.moves[index] = moved
            needs += [known, moved]
            if not rule.protective:
                needs.append(trusted)
        if rule.action is Action.BUY:
            needs += [self._named("ask").known, self.sent(index)]
        else:
            needs.append(self._named("bid").known)
            style = self.policy.sell_style.limit
            if style is not None and not isinstance(style, ConstantTerm):
                needs.append(self.terms.on_grid(style, GRID_PER_UNIT[Measure.PRICE])[0])
            if rule.size is not None:
                needs.append(self.sent(index))
        return every(needs)

    def sent(self, rule: int) -> Formula:
        """Say that nothing beyond what is modelled leaves no order of a rule: limits, cash, rounding."""
        if rule not in self.helping:
            self.helping[rule] = boolean(self.snapshot.fresh(f"sent {self.policy.rules[rule].name}"))
        return self.helping[rule]

    def _moves(self, index: int) -> tuple[Formula, Formula]:
        """Say when a size is known, and when its order is not at its level already."""
        rule = self.policy.rules[index]
        known, size = self.size(index)
        if rule.additive:
            return known, size > 0
        owned = self._named("position_qty" if rule.size_measure is Measure.QUANTITY else "position_value")
        k = GRID_PER_UNIT[rule.size_measure]
        factor = k // owned.slot.steps_per_unit
        move = size - times(owned.value, factor)
        move = -move if rule.action is Action.SELL else move
        band = as_real(1)  # of rounding the least step
        share = as_real(Fraction(repr(rule.min_step)))
        enough = as_real(move) >= as_real(size) * share - band
        return every((known, owned.known)), every((move > 0, enough))

    # --- the entry, tried on its own facts

    def _try_entries(self, would_exit: dict[int, Formula], unknown: dict[int, Formula]) -> None:
        """An entry is made only if no exit's condition is true or Unknown on the facts after it."""
        exits = [rule for rule in self.policy.rules if rule.action is Action.SELL]
        for index, exits_after in would_exit.items():
            candidate = self.candidates[index]
            after = self.after_entry(index)
            assert after is not None, "would-exit is asked of entries only"
            truths = [after.node(rule.when_entry) for rule in exits]
            none = every(truth.false for truth in truths)
            self.snapshot.define(self.sent(index), implies(candidate.acts, none))
            self.snapshot.define(exits_after, implies(exits_after, some(truth.true for truth in truths)))
            if index in unknown:
                maybe = some(truth.unknown for truth in truths)
                self.snapshot.define(unknown[index], implies(unknown[index], maybe))

    def after_entry(self, rule: int) -> Conditions | None:
        """Return the conditions on the facts after an entry; None where no exit is tried on them.

        Entries that order the same lead to the same facts; others share what does not depend on the size.
        """
        lowered = self.policy.rules[rule]
        if not self.exits_first or lowered.action is not Action.BUY:
            return None
        key = entry_key(self.policy, lowered)
        if key not in self._after:
            self._after[key] = Conditions(self.policy, self.snapshot, self._given | self._after_entry())
        return self._after[key]

    def _after_entry(self) -> dict[int, Variable]:
        """Return the facts that an entry changes, as they may be after it (``verbs.decide.after_entry``)."""
        slots = {slot.name: index for index, slot in enumerate(self.policy.slots)}
        after: dict[int, Variable] = {}
        snapshot = self.snapshot

        def new(name: str) -> tuple[Variable, Number] | None:
            if name not in slots or self.policy.slots[slots[name]].origin is not SlotOrigin.VOCABULARY:
                return None
            index = slots[name]
            slot, before = self.policy.slots[index], self.variable(index)
            value = integer(snapshot.fresh(f"after.{name}"))
            low, high = slot_range(slot)
            snapshot.define(value, value >= low, value <= high)
            known: Formula = True
            if snapshot.anything_unknown:
                known = boolean(snapshot.fresh(f"after.{name}?"))
            after[index] = Variable(slot, known, value)
            return before, value

        held, owned = self._named("held"), self._named("position_qty")
        first = every((held.known, negation(held.value)))
        empty = every((owned.known, owned.value == 0))
        for name, truth in (("held", True), ("dust", False)):
            if name in slots:
                after[slots[name]] = Variable(self.policy.slots[slots[name]], True, truth)
        for name in ("position_qty", "position_value"):
            if made := new(name):
                more = implies(every((made[0].known, first)), made[1] >= made[0].value)
                snapshot.define(made[1], more)
        for name in ("weight", "last_entry_price"):
            new(name)
        ask = self._named("ask")
        entry = new("entry_price")
        if entry:
            snapshot.define(entry[1], implies(every((empty, ask.known)), entry[1] == ask.value))
        if made := new("gain"):  # the bid is never above the ask; of a first entry it is one for all sizes
            if self._first_gain is None:
                self._first_gain = made[1]
            snapshot.define(made[1], implies(empty, every((made[1] <= 0, made[1] == self._first_gain))))
        peak = new("peak_price")
        if entry and peak:
            snapshot.define(peak[1], implies(first, peak[1] == entry[1]), peak[1] >= entry[1])
        if made := new("peak_gain"):
            snapshot.define(made[1], implies(first, made[1] == 0))
        if made := new("entries"):
            snapshot.define(made[1], made[1] == choice(first, 1, made[0].value + 1))
        for name in ("held_for", "held_for_bars"):
            if made := new(name):
                snapshot.define(made[1], made[1] == choice(first, 0, made[0].value))
        for name in ("since_order", "since_buy", "since_order_bars", "since_buy_bars"):
            if name in slots:
                after[slots[name]] = Variable(self.policy.slots[slots[name]], True, 0)
        return after

    # --- the decision

    def proposes(self, action: Action) -> Formula:
        """Say when the action of the rule that wins is ``action``: the stage ``candidate``."""
        wins = [
            candidate.wins
            for rule, candidate in zip(self.policy.rules, self.candidates, strict=True)
            if rule.action is action
        ]
        if action is not Action.HOLD:
            return some(wins)
        return negation(some(candidate.wins for rule, candidate in self._orders()))

    def decides(self, action: Action) -> Formula:
        """Say when the decision is ``action``."""
        acts = [candidate.acts for rule, candidate in self._orders() if rule.action is action]
        if action is not Action.HOLD:
            return some(acts)
        return negation(some(candidate.acts for _, candidate in self._orders()))

    def _orders(self) -> list[tuple[LoweredRule, Candidate]]:
        pairs = zip(self.policy.rules, self.candidates, strict=True)
        return [(rule, candidate) for rule, candidate in pairs if rule.action is not Action.HOLD]


class ChoiceTerms(PolicyTerms):
    """What becomes of each rule before the choice; any comparison may be true, false or Unknown.

    Whatever is impossible here is so for facts, too: of them no more is said than its user says of ``atom``.
    The conditions ``whole`` are not looked into: they are one and the same, and so are questions about rules
    that differ in nothing else.  Two of them must not meet in a question.
    """

    def __init__(self, policy: LoweredPolicy, snapshot: Snapshot, whole: Collection[int] = ()) -> None:
        """Translate what becomes of each rule."""
        self._whole = whole
        self.condition = self._anything(snapshot, "condition")
        super().__init__(policy, snapshot)

    @staticmethod
    def _anything(snapshot: Snapshot, name: str) -> Kleene:
        true, false = (boolean(snapshot.fresh(name)) for _ in range(2))
        snapshot.define(true, negation(every((true, false))))
        return Kleene(true, false)

    def node(self, node: int) -> Kleene:
        """Return when a condition is true and when false."""
        return self.condition if node in self._whole else super().node(node)

    def atom(self, index: int) -> Kleene:
        """Return a comparison of which nothing is known but that it is not both true and false."""
        if index not in self._atoms:
            self._atoms[index] = self._anything(self.snapshot, f"atom {index}")
        return self._atoms[index]

    def _choose(self) -> None:
        """Choose nothing: what wins over what is its user's to say."""
        self._leave_tries_open()
        for bits in (
            self.would_exit,
            self.would_exit_unknown,
        ):  # a question is about one entry: one bit will do
            bits.update(dict.fromkeys(bits, next(iter(bits.values()), False)))
        self._open: dict[object, Formula] = {}  # by gates and who asks: none vetoes

    def is_free(self, index: int) -> Formula:
        """Say when a rule matches and no gate vetoes it."""
        rule = self.policy.rules[index]
        gates = self.gates_of(index)
        key = (tuple(number for number, _ in gates), rule.action, rule.protective)
        if key not in self._open:
            self._open[key] = negation(some(self._vetoes(index, number, gate) for number, gate in gates))
        would_exit = (self.would_exit.get(index, False), self.would_exit_unknown.get(index, False))
        return every((self.candidates[index].matches, self._open[key], *map(negation, would_exit)))


def entry_key(policy: LoweredPolicy, rule: LoweredRule) -> object:
    """Return what says how much a buy orders: rules with one key lead to the same facts after it."""
    size = (rule.size, rule.size_measure, rule.additive, rule.min_step)
    return size, policy.buy_style, policy.limits
