"""A variant of a policy with everything that is asked about it: its formulas, a solver, its evaluators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from engine.codes import Action
from engine.errors import Span
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.choice import PolicyTerms
from engine.evaluate.symbolic.formulas import Formula, Mentions, every, implies, negation
from engine.evaluate.symbolic.snapshot import Snapshot
from engine.evaluate.symbolic.solver import Answer, Budget, Model, Solver
from engine.language.lower_promises import PromiseForm, lower_promises
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.prove.grounds import Grounds
from engine.vocabulary import AGENT_STATE, CLOCK_STATE, POSITION_STATE, QUOTE_STATE

if TYPE_CHECKING:
    from engine.prove.finding import Finding
    from engine.prove.samples import Witnessed
    from engine.prove.search import Search

_NO_FACTS = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL, SlotOrigin.OUTCOME)
IN_ORDER: Mapping[str, int | bool] = {
    "quote_state": QUOTE_STATE.words.index("tradable"),
    "frozen": False,
    "position_state": POSITION_STATE.words.index("known"),
    "lease": True,
    "agent_state": AGENT_STATE.words.index("active"),
    "clock_state": CLOCK_STATE.words.index("ok"),
    "unsendable": False,
}
"""The facts of the built-in gates, as they are when none of them is closed."""


_FEW_DEFINITIONS = 150
"""So many helping variables are in no question's way."""
_MANY_ATOMS = 150
"""Of a policy with more comparisons computed numbers may lie between the steps of their grid: what is ruled
out is ruled out all the same, what is possible is replayed as ever, and it takes a fraction of the time."""


class Variant:
    """One lowered form of a policy; ``symbols`` share it, ``listing`` is the first of them.

    ``lowered`` is what evaluators decide by; ``form`` has the promises behind it, and ``terms`` speak of
    both.  Everything is known but facts of a position that is not held and those of outside feeds.
    """

    def __init__(
        self,
        policy: Policy,
        listing: Listing,
        symbols: tuple[str, ...],
        lowered: LoweredPolicy,
        budget: Budget,
        *,
        anything_unknown: bool = False,
        form: PromiseForm | None = None,
        told: dict[tuple[str, Span], Finding] | None = None,
        name: str = "",
    ) -> None:
        """Translate the policy; every fact of it gets a variable.

        ``form`` is as good as its lowering; ``told`` are the findings of the variants before this one;
        ``name`` tells the variables of several moments apart.
        """
        self.told = {} if told is None else told
        self.policy = policy
        self.listing = listing
        self.symbols = symbols
        self.lowered = lowered
        self.form: PromiseForm = form or lower_promises(policy, listing)
        self.snapshot = Snapshot(name, anything_unknown=anything_unknown)
        self.snapshot.whole = len(lowered.atoms) <= _MANY_ATOMS
        self.terms = PolicyTerms(self.form.lowered, self.snapshot)
        self.reference = ReferenceEvaluator(lowered)
        self.solver = Solver(budget)
        self.has_outcomes = False
        self._asserted = 0  # so many constraints, or, of a large policy, of those common to all questions
        self._defined: dict[int, int] = {}  # by helping variable: so many of its formulas
        self._supposed: tuple[Formula, ...] = ()
        self._mentions = Mentions()
        self._closures: dict[int, tuple[int, frozenset[int]]] = {}  # by formula: as of so much said
        for slot in self.form.lowered.slots:
            if slot.origin not in _NO_FACTS:
                self.snapshot.variable(slot)
        self.in_order: Formula = every(self._in_order())
        """No built-in gate is closed: a quote is there, nothing is frozen, the agent is active; no dust."""
        self.delivered: list[Formula] = [
            variable.known
            for variable in self.snapshot.variables.values()
            if variable.slot.origin is SlotOrigin.FEED
        ]
        """By feed: it has delivered something."""

    def _in_order(self) -> Iterator[Formula]:
        for name, value in IN_ORDER.items():
            variable = self.terms.variable(self.lowered.slot(name))
            if isinstance(value, bool):
                yield variable.value if value else negation(variable.value)
            else:
                yield variable.value == value
        owned = self.terms.variable(self.lowered.slot("position_qty"))
        yield implies(negation(self.held), owned.value == 0)

    @cached_property
    def unknown(self) -> Variant:
        """The same variant, of which any fact may be Unknown; a variant of that kind itself."""
        return self if self.snapshot.anything_unknown else self.moment("")

    @cached_property
    def grounds(self) -> Grounds:
        """What is known of how its formulas are made."""
        return Grounds()

    @cached_property
    def witnessed(self) -> Witnessed:
        """What samples of facts have shown of it."""
        from engine.prove.samples import Witnessed  # it looks at variants itself

        return Witnessed(self)

    @cached_property
    def search(self) -> Search:
        """What looks for situations by moving facts."""
        from engine.prove.search import Search  # it looks at variants itself

        return Search(self)

    def moment(self, name: str) -> Variant:
        """Return the same variant at a moment of its own, of which any fact may be Unknown."""
        return Variant(
            self.policy,
            self.listing,
            self.symbols,
            self.lowered,
            self.solver.budget,
            anything_unknown=True,
            form=self.form,
            name=name,
        )

    def ask(self, *formulas: Formula, briefly: bool = False) -> Answer:
        """Say whether formulas can be true in some snapshot; ``briefly``: or not for sure."""
        if not self.solver.budget.over():
            self._settle(formulas)
        return self.solver.ask(*formulas, briefly=briefly)

    @contextmanager
    def supposing(self, *formulas: Formula) -> Iterator[None]:
        """Assert for a while."""
        if self.solver.budget.over():
            yield  # nothing is asked any more
            return
        self._settle(formulas)
        before = self.solver, self._asserted, self._defined, self._supposed
        if self.is_large:
            self._supposed = (*self._supposed, *formulas)
            self._begin()
            yield
        else:
            with self.solver.supposing(*formulas):
                yield
        # what was settled meanwhile went with it
        self.solver, self._asserted, self._defined, self._supposed = before

    def model(self) -> Model:
        """Return the snapshot found by the last question."""
        return self.solver.model()

    def least_core(self, formulas: list[Formula], most: int | None = None) -> list[Formula] | None:
        """Return the fewest of some formulas that are impossible together, in their order.

        If more than ``most`` are left of them, it is not tried which could be left out.
        """
        if self.solver.budget.over():
            return None
        self._settle(formulas)
        return self.solver.least_core(formulas, most)

    # --- what a question is about

    def concerning(self, formulas: Iterable[Formula], among: Sequence[Formula]) -> list[Formula]:
        """Return those that need only the helping variables of formulas; of a small policy all."""
        if not self.is_large:
            return list(among)
        needed = self._needed(formulas)
        return [one for one in among if self._mentioned(one) <= needed]

    @property
    def is_large(self) -> bool:
        """Whether questions are asked each with what they are about, and nothing else."""
        return len(self.snapshot.definitions) > _FEW_DEFINITIONS

    def _settle(self, formulas: Iterable[Formula]) -> None:
        """Assert what formulas stand for that was not asserted yet.

        Of many helping variables most are none of a question's concern, and would only be in its way: then
        it is asked of a solver that knows the facts, and those variables that it mentions.
        """
        if not self.is_large:
            fresh = self.snapshot.constraints[self._asserted :]
            self._asserted += len(fresh)
            self.solver.add(*fresh)
            return
        needed = self._needed(formulas)
        if len(self._defined.keys() - needed) > _FEW_DEFINITIONS:
            self._begin()
        self._define(needed)

    def _begin(self) -> None:
        """Go on with a solver that knows nothing but the facts, and what is supposed."""
        self.solver = Solver(self.solver.budget)
        self._asserted, self._defined = 0, {}
        self._define(self._needed(self._supposed))
        self.solver.add(*self._supposed)

    def _define(self, needed: set[int]) -> None:
        fresh = self.snapshot.common[self._asserted :]
        self._asserted += len(fresh)
        self.solver.add(*fresh)
        for helping in needed:
            _, formulas = self.snapshot.definitions[helping]
            said = self._defined.get(helping, 0)
            self.solver.add(*formulas[said:])
            self._defined[helping] = len(formulas)

    def _needed(self, formulas: Iterable[Formula]) -> set[int]:
        """Return the helping variables that formulas mention, and those that their definitions mention."""
        return set().union(*(self._mentioned(formula) for formula in formulas))

    def _mentioned(self, formula: Formula) -> frozenset[int]:
        if isinstance(formula, bool):
            return frozenset()
        definitions, version = self.snapshot.definitions, self.snapshot.said
        known = self._closures.get(formula.identity)
        if known is not None and known[0] == version:
            return known[1]
        needed: frozenset[int] = frozenset()
        frontier = self._mentions.of(formula, definitions)
        while frontier:
            needed |= frontier
            frontier = (
                frozenset().union(
                    *(
                        self._mentions.of(said, definitions)
                        for helping in frontier
                        for said in definitions[helping][1]
                    )
                )
                - needed
            )
        self._closures[formula.identity] = version, needed
        return needed

    def rules(self, *actions: Action) -> list[int]:
        """Return the rules of some actions, in the order of choice."""
        return [index for index, rule in enumerate(self.lowered.rules) if rule.action in actions]

    @property
    def held(self) -> Formula:
        """Something is held."""
        return self.terms.variable(self.lowered.slot("held")).value

    @property
    def words(self) -> str:
        """The symbols it is for, in words: a few by name, more by number."""
        shown = ", ".join(self.symbols[:3])
        more = len(self.symbols) - 3
        return shown if more <= 0 else f"{shown} and {more} more"


def variants_of(policy: Policy, lowered: Mapping[str, LoweredPolicy], budget: Budget) -> Iterator[Variant]:
    """Translate each lowered form of a policy once, for all symbols that share it."""
    sharing: dict[int, list[str]] = {}
    for symbol, form in lowered.items():
        sharing.setdefault(id(form), []).append(symbol)
    told: dict[tuple[str, Span], Finding] = {}
    for symbols in sharing.values():
        listing = policy.listing(symbols[0])
        assert listing is not None, "only listed symbols are lowered"
        yield Variant(policy, listing, tuple(symbols), lowered[symbols[0]], budget, told=told)
