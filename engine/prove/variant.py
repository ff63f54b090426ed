"""A variant of a policy with everything that is asked about it: its formulas, a solver, its evaluators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from engine.codes import Action
from engine.errors import Span
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.smt import PolicyTerms, Snapshot
from engine.evaluate.solver import Answer, Budget, Formula, Model, Solver, every, implies, negation
from engine.language.lower_promises import PromiseForm, lower_promises
from engine.language.policy import Listing, Policy
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.vocabulary import AGENT_STATE, CLOCK_STATE, POSITION_STATE, QUOTE_STATE

if TYPE_CHECKING:
    from engine.prove.finding import Finding

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
        self.terms = PolicyTerms(self.form.lowered, self.snapshot)
        self.reference = ReferenceEvaluator(lowered)
        self.solver = Solver(budget)
        self.has_outcomes = False
        self._asserted = 0
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

    def ask(self, *formulas: Formula) -> Answer:
        """Say whether formulas can be true in some snapshot."""
        self._settle()
        return self.solver.ask(*formulas)

    @contextmanager
    def supposing(self, *formulas: Formula) -> Iterator[None]:
        """Assert for a while."""
        self._settle()
        settled = self._asserted
        with self.solver.supposing(*formulas):
            yield
        self._asserted = settled  # what was settled meanwhile went with it

    def model(self) -> Model:
        """Return the snapshot found by the last question."""
        return self.solver.model()

    def least_core(self, formulas: list[Formula]) -> list[Formula] | None:
        """Return the fewest of some formulas that are impossible together, in their order."""
        self._settle()
        return self.solver.least_core(formulas)

    def _settle(self) -> None:
        """Assert what the formulas made since the last question stand for."""
        fresh = self.snapshot.constraints[self._asserted :]
        self._asserted += len(fresh)
        self.solver.add(*fresh)

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
