"""Traces: cycles that break a promise over time, found step by step on a real account.

A plan says which orders are to be made, or what is to stay violated, and how far apart.  The account behind
a time series of cases (``engine.verbs.case_series``) remembers what is remembered; before each step the
solver is asked for a market in which the step comes about, with all of that held fixed.  What comes out is
a case, and is believed only if ``CaseRunner`` says that it breaks the promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Final

from engine.codes import Action
from engine.errors import TradectlError
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.formulas import Formula, Number, as_real, every, implies, negation
from engine.evaluate.symbolic.snapshot import Variable, fact_values
from engine.evaluate.symbolic.solver import Answer
from engine.language.lower import lower
from engine.language.policy import Listing, Policy, Promise
from engine.language.source import load_document
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import Instrument
from engine.prove.calm import calm_model
from engine.prove.example import stated_facts
from engine.prove.proof import Trace
from engine.prove.variant import Variant
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, Measure, Words
from engine.verbs.case_file import Case, load_cases
from engine.verbs.case_series import Series, begin, kept, money, quantity
from engine.verbs.cases import CaseRunner, StepResult
from engine.verbs.decide import Situation, decide
from engine.verbs.numbers import decimal
from engine.verbs.state import NEVER
from engine.verbs.statement import parse_statement
from engine.verbs.vector import fact_vector, finest_instrument, narrowed

CASH: Final = 100_000
QUANTITY: Final = 10
PRICE: Final = 100
MOST_STEPS: Final = 16
"""Longer traces are not looked for: nobody reads them."""

_EPOCH_MS: Final = 1_767_225_600_000  # where a series begins that names no instant
_MOVED_BY_PRICE: Final = frozenset(
    {"price", "bid", "ask", "equity", "position_value", "weight", "target", "gain", "drawdown"}
)
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to come about in a step: formulas over the facts of its symbol; an order, if it needs one."""

    symbol: str
    after_seconds: int
    formulas: tuple[Formula, ...]
    order: Action | None = None


@dataclass(frozen=True, slots=True)
class _Cycle:
    """A step that came about."""

    wanted: Wanted
    facts: dict[str, str]
    action: Action
    rule: str


class TraceFinder:
    """Looks for traces of one variant."""

    def __init__(self, variant: Variant) -> None:
        """Begin; a case file is read against the whole policy only where there is a trace to confirm."""
        self.variant = variant
        self._runner: CaseRunner | None = None
        self._last: dict[Action | None, dict[str, str]] = {}
        self._readers: dict[str, _Reader] = {}

    def find(self, promise: Promise, plan: Sequence[Wanted], held_for: int | None) -> Trace | None:
        """Return a trace that follows a plan and breaks a promise.

        ``held_for`` are seconds for which a position of every symbol has been held at the beginning, None
        where there is none.
        """
        if len(plan) > MOST_STEPS:
            return None
        symbols = dict.fromkeys(wanted.symbol for wanted in plan) if held_for is not None else {}
        series = self._begin(symbols, held_for or 0)
        cycles: list[_Cycle] = []
        for wanted in plan:
            series.now_ms += wanted.after_seconds * 1000
            cycle = self._step(series, wanted)
            if cycle is None:
                return None
            cycles.append(cycle)
        return self._confirmed(
            promise, _Case(self.variant.policy.name, promise, tuple(symbols), held_for, cycles)
        )

    def _begin(self, symbols: Iterable[str], held_for: int) -> Series:
        positions = {symbol: (quantity(QUANTITY), PRICE * PRICE_SCALE, held_for) for symbol in symbols}
        instruments = {symbol: self._reader(symbol).instrument for symbol in positions}
        return begin(self.variant.policy, positions, money(CASH), _EPOCH_MS, instruments)

    # --- one step -----------------------------------------------------------------------------

    def _step(self, series: Series, wanted: Wanted) -> _Cycle | None:
        """Make a step come about, if it can: with the facts of one like it, or with others."""
        earlier = self._last.get(wanted.order)
        if earlier is not None and (cycle := self._made(series, wanted, earlier)):
            return cycle
        if wanted.symbol not in self.variant.symbols:
            return None
        for calm in (True, False):
            facts = self._facts(series, wanted, in_order=calm)
            if facts is not None and (cycle := self._made(series, wanted, facts)):
                self._last[wanted.order] = facts
                return cycle
        return None

    def _facts(self, series: Series, wanted: Wanted, *, in_order: bool) -> dict[str, str] | None:
        """Ask for a market in which a step comes about, with what is remembered held fixed."""
        variant, form = self.variant, self.variant.form.lowered
        formulas = [*wanted.formulas, *([variant.in_order] if in_order else [])]
        fixed = list(self._remembered(series, wanted.symbol))
        if variant.ask(*formulas) is not Answer.POSSIBLE:
            return None
        with variant.solver.supposing(*fixed, *variant.snapshot.firm):
            model = calm_model(variant, formulas)
        if model is None:
            return None
        facts = stated_facts(variant, fact_values(form, variant.snapshot, model))
        return {name: value for name, value in facts.items() if not kept(name) and name != "bid"}

    def _made(self, series: Series, wanted: Wanted, facts: Mapping[str, str]) -> _Cycle | None:
        """Decide a step; where it came out as wanted its order is filled, else nothing has happened."""
        trial, reader = copy(series), self._reader(wanted.symbol)
        facts = reader.read(facts)
        try:
            values, situation = reader.seen(trial, facts)
        except TradectlError:
            return None
        lowered = reader.lowered
        decision = decide(reader.evaluator, values, situation)
        side = None if decision.order is None else Action[decision.order.side.name]
        if wanted.order is not None and side is not wanted.order:
            return None
        trial.fill(reader.listing, lowered, reader.instrument, decision, values[lowered.slot("ask")])
        series.state, series.prices, series.orders = trial.state, trial.prices, trial.orders
        rule = lowered.rules[decision.rule].name if decision.rule >= 0 else "none"
        return _Cycle(wanted, facts, decision.action, rule)

    def _reader(self, symbol: str) -> _Reader:
        """Return what reads a symbol's facts; those of another variant have its own policy."""
        if symbol not in self._readers:
            policy, own = self.variant.policy, symbol in self.variant.symbols
            listing = policy.listing(symbol)
            assert listing is not None, "plans are of listed symbols"
            lowered = self.variant.lowered if own else lower(policy, listing)
            form = self.variant.form.lowered if own else lowered
            evaluator = self.variant.reference if own else ReferenceEvaluator(lowered)
            self._readers[symbol] = _Reader(
                policy, listing, lowered, form, evaluator, finest_instrument(listing)
            )
        return self._readers[symbol]

    # --- what is remembered -------------------------------------------------------------------

    def _remembered(self, series: Series, symbol: str) -> Iterator[Formula]:
        """Yield the facts that the account keeps, at any price: the others follow from it."""
        variant = self.variant
        price = decimal(Decimal(series.prices.get(symbol, PRICE * PRICE_SCALE)) / PRICE_SCALE)
        probe = {"price": f"{price} USD", "ask": f"{price} USD"}
        values, _ = self._reader(symbol).seen(copy(series), probe, whole=True)
        for index, (slot, value) in enumerate(zip(variant.form.lowered.slots, values, strict=True)):
            remembered = slot.origin is SlotOrigin.ONCE or kept(slot.name)
            if remembered and slot.name not in _MOVED_BY_PRICE and value == value:
                yield _is(variant.terms.variable(index), value)
        yield from self._moved_by_price(series, symbol)

    def _moved_by_price(self, series: Series, symbol: str) -> Iterator[Formula]:
        snapshot, held = self.variant.snapshot, self.variant.held
        price = snapshot.find("price")
        assert price is not None, "every policy reads the price"
        at = as_real(price.value) * as_real(Fraction(1, price.slot.steps_per_unit))
        ledger = series.state.ledger
        holding = ledger.holding(symbol)
        owned = Fraction(holding.quantity, QUANTITY_SCALE)
        cash = Fraction(ledger.cash, MONEY_SCALE)
        others = sum(
            Fraction(one.quantity * series.prices.get(other, 0), QUANTITY_SCALE * PRICE_SCALE)
            for other, one in ledger.holdings.items()
            if other != symbol
        )
        worth = at * as_real(owned)
        equity = worth + as_real(cash + others)
        weight = next(one.weight for one in self.variant.policy.universe if one.symbol == symbol)
        yield from self._about("position_value", worth)
        yield from self._about("equity", equity)
        if weight is not None:
            yield from self._about("target", equity * as_real(Fraction(weight)))
        if holding.average_price is not None:
            gain = at * as_real(1 / Fraction(holding.average_price)) - 1
            yield implies(held, every(self._about("gain", gain)))
        memory, close = series.state.memory(symbol), snapshot.find("close")
        if close is not None and memory.episode_began_ms != NEVER:  # so that no close lifts the peak
            yield close.value * PRICE_SCALE <= memory.peak_price * close.slot.steps_per_unit

    def _about(self, name: str, exact: Number) -> Iterator[Formula]:
        """A fact is a number on its grid; not at a tie, where float and fraction might part."""
        found = self.variant.snapshot.find(name)
        if found is not None:
            k, band = found.slot.steps_per_unit, as_real(Fraction(499, 1000))
            yield as_real(found.value) <= exact * k + band
            yield as_real(found.value) >= exact * k - band

    # --- confirmation -------------------------------------------------------------------------

    def _confirmed(self, promise: Promise, case: _Case) -> Trace | None:
        """Return a trace if the case runner sees it break the promise, with as few facts as show it."""
        shown = self._breaks(promise, case)
        if shown is None:
            return None
        names = dict.fromkeys(name for cycle in case.cycles for name in cycle.facts)
        case = self._without(promise, case, [name for name in names if name not in ("price", "ask")])
        words = [
            f"{_after(cycle)}{cycle.wanted.symbol} {cycle.action.name.lower()}"
            + ("" if cycle.rule == "none" else f" ({cycle.rule})")
            for cycle in case.cycles
        ]
        return Trace(case.text, tuple(words), shown)

    def _breaks(self, promise: Promise, case: _Case) -> str | None:
        """Return what the last step of a case breaks the promise with, None where it does not."""
        try:
            file = load_cases(case.text, "trace.yaml")
            if self._runner is None:
                self._runner = CaseRunner(self.variant.policy, file)
            steps = self._runner.run(file.cases[0]).steps
        except TradectlError:
            return None
        if len(steps) < len(case.cycles) or not _as_expected(steps, file.cases[0]):
            return None
        broken = (one for one in steps[-1].differences if one.what == f"promise '{promise.name}'")
        return next((one.got for one in broken), None)

    def _without(self, promise: Promise, case: _Case, group: list[str]) -> _Case:
        """Leave facts out that are not needed: all of a group, or of its halves."""
        if not group:
            return case
        fewer = replace(
            case,
            cycles=[
                replace(cycle, facts={n: v for n, v in cycle.facts.items() if n not in group})
                for cycle in case.cycles
            ],
        )
        if self._breaks(promise, fewer) is not None:
            return fewer
        if len(group) == 1:
            return case
        half = len(group) // 2
        return self._without(promise, self._without(promise, case, group[:half]), group[half:])


def _as_expected(steps: Sequence[StepResult], case: Case) -> bool:
    """Say whether every step decided what the case says: only promises may differ, and in the last one."""
    return len(steps) == len(case.steps) and all(
        difference.what.startswith("promise ") for step in steps for difference in step.differences
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reads the facts of a symbol, and decides on them."""

    policy: Policy
    listing: Listing
    lowered: LoweredPolicy
    form: LoweredPolicy
    evaluator: ReferenceEvaluator
    instrument: Instrument

    def read(self, facts: Mapping[str, str]) -> dict[str, str]:
        """Return the facts that mean something for the symbol."""
        names = {slot.name for slot in self.form.slots}
        return {name: value for name, value in facts.items() if name in names}

    def seen(
        self, series: Series, facts: Mapping[str, str], *, whole: bool = False
    ) -> tuple[list[float], Situation]:
        """Return a step's facts with what is remembered put in, of the policy or of the whole form."""
        rows = "".join(f"  {name}: {value}\n" for name, value in facts.items())
        statement = parse_statement(load_document(f"symbol: {self.listing.symbol}\nfacts:\n{rows}", "trace"))
        vector = fact_vector(self.policy, self.form, self.listing, statement)
        close = float(facts["close"].removesuffix(" USD")) if "close" in facts else math.nan
        vector = series.see(self.listing, self.form, self.instrument, vector, close)
        if not whole:
            vector, _ = narrowed(vector, len(self.lowered.slots))
        return list(vector.values), vector.situation


def _is(variable: Variable, value: float) -> Formula:
    unit = variable.slot.unit
    if unit is Measure.BOOLEAN:
        return variable.value if value else negation(variable.value)
    k = 1 if isinstance(unit, Words) else variable.slot.steps_per_unit
    return variable.value == round(value * k)


# --- as text ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """A trace as a case of a case file."""

    policy: str
    promise: Promise
    held: tuple[str, ...]
    held_for: int | None
    cycles: list[_Cycle]

    @property
    def text(self) -> str:
        """The case file: what is the same in every step stands once."""
        common = self._common()
        symbols = {cycle.wanted.symbol for cycle in self.cycles}
        lines = [
            "apiVersion: tradectl/cases-v1",
            f"policy: {self.policy}",
            "cases:",
            f"  {self.promise.name}:",
            *([f"    symbol: {self.cycles[0].wanted.symbol}"] if len(symbols) == 1 else []),
            "    account:",
            f"      cash: {CASH} USD",
            *self._positions(),
            *_facts("    ", common),
            "    steps:",
        ]
        for cycle in self.cycles:
            own = {name: value for name, value in cycle.facts.items() if common.get(name) != value}
            step = [
                *([f"symbol: {cycle.wanted.symbol}"] if len(symbols) > 1 else []),
                *([f"after: {length(cycle.wanted.after_seconds)}"] if cycle.wanted.after_seconds else []),
                *_facts("", own),
                f"expect: {{action: {cycle.action.name.lower()}, rule: {cycle.rule}}}",
            ]
            lines += [f"      {'- ' if index == 0 else '  '}{line}" for index, line in enumerate(step)]
        return "\n".join(lines) + "\n"

    def _common(self) -> dict[str, str]:
        first, *rest = (cycle.facts for cycle in self.cycles)
        if not rest:
            return {}
        return {n: v for n, v in first.items() if all(facts.get(n) == v for facts in rest)}

    def _positions(self) -> Iterator[str]:
        if self.held:
            yield "      positions:"
        for symbol in self.held:
            held_for = length(self.held_for or 0)
            yield (
                f"        {symbol}: {{quantity: {QUANTITY}, entry_price: {PRICE} USD, held_for: {held_for}}}"
            )


def _facts(indent: str, facts: Mapping[str, str]) -> Iterator[str]:
    if facts:
        yield f"{indent}facts:"
    for name, value in facts.items():
        yield f"{indent}  {name}: {value}"


def length(seconds: int) -> str:
    """Return a length of time in its largest whole unit."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0 and (seconds or size == 1))
    return f"{seconds // size}{unit}"


def _after(cycle: _Cycle) -> str:
    seconds = cycle.wanted.after_seconds
    return f"after {length(seconds)}: " if seconds else ""


# --- plans ------------------------------------------------------------------------------------


def gaps(seconds: int, count: int) -> list[list[int]]:
    """Return ways to spread orders over at most so many seconds: as far apart as may be, or at once."""
    if count < 2:
        return [[0] * count]
    apart = seconds // (count - 1)
    ways = [[0, *[apart] * (count - 2), seconds - apart * (count - 2)], [0, *[1] * (count - 1)]]
    return [way for way in (ways[:1] if ways[0] == ways[1] else ways) if apart > 0]


def orders_of(action: Action, count: int) -> list[list[Action]]:
    """Return sequences with so many orders of a side: in a row, or with the other side between."""
    other = Action.SELL if action is Action.BUY else Action.BUY
    row = [action] * count
    alternating = [one for pair in pairwise([*row, action]) for one in (pair[0], other)][:-1]
    return [row, alternating] if count > 1 else [row]
