"""Examples: what the solver finds becomes a facts file that ``explain --facts`` decides alike.

A model gives every fact a value, and knows only the relations between facts that hold exactly.  A facts
file is held to more: a position's value is its quantity at the bid, a gain is a price over another.  So a
model is looked for in which these hold, too, around an anchor: with the quantity, the entry price and the
equity fixed, all of them are linear in the price.  What the file then says is decided by the reference
evaluator and ``decide``, and only what comes out as asked is an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

from engine.errors import TradectlError
from engine.evaluate.reference import Evaluation
from engine.evaluate.symbolic.formulas import Formula, Number, as_real, every, implies, negation
from engine.evaluate.symbolic.snapshot import fact_values
from engine.evaluate.symbolic.solver import Answer, Model
from engine.language.expression import literal_text
from engine.language.source import load_document
from engine.lowered import LoweredPolicy, SlotOrigin
from engine.model import Decision
from engine.prove.calm import calm_model
from engine.prove.variant import Variant
from engine.units import Measure, Unit, Words
from engine.verbs.decide import decide
from engine.verbs.numbers import decimal
from engine.verbs.statement import parse_statement
from engine.verbs.terms import slots_of_node, slots_of_term
from engine.verbs.vector import Vector, fact_vector, narrowed
from engine.vocabulary import FACTS, SIGNAL_FIELDS

_VOTED: Final = (SlotOrigin.SIGNAL, SlotOrigin.ENTRY_SIGNAL)
_NO_FACTS: Final = (*_VOTED, SlotOrigin.OUTCOME)
_UNKNOWN: Final = "unknown"
_FIELDS: Final = tuple(SIGNAL_FIELDS)


class Outcome(NamedTuple):
    """What a facts file came to."""

    vector: Vector
    values: list[float]
    evaluation: Evaluation
    decision: Decision
    beyond: tuple[float, ...] = ()
    """Facts that promises alone read: those of the form's slots behind the policy's own."""


Confirms = Callable[[Outcome], bool]
"""Says whether an outcome shows what is claimed."""


@dataclass(frozen=True, slots=True)
class Example:
    """One situation, as a facts file states it, and what was decided in it."""

    symbol: str
    facts: tuple[tuple[str, str], ...]  # names and literals
    outcome: Outcome
    usage: tuple[tuple[str, str], ...] = ()  # what limits have used, where that matters

    @property
    def text(self) -> str:
        """The facts file."""
        return _text(self.symbol, dict(self.facts), dict(self.usage))

    @property
    def words(self) -> str:
        """The facts on one line."""
        used = [f"{value} used of {name}" for name, value in self.usage]
        return ", ".join([*(f"{name} {value}" for name, value in self.facts), *used])


class _Anchor(NamedTuple):
    """What is fixed so that the other relations are linear."""

    entry_price: Fraction
    quantity: Fraction
    equity: Fraction


_USUAL: Final = _Anchor(Fraction(100), Fraction(10), Fraction(100_000))


def example(variant: Variant, formulas: Sequence[Formula], confirms: Confirms) -> Example | None:
    """Return an example in which the formulas are true, confirmed; None where none was found."""
    for exactly in (False, True):
        found = _search(variant, formulas, confirms, exactly=exactly)
        if found is not None or not variant.snapshot.exact:
            return found
    return None


def _search(
    variant: Variant, formulas: Sequence[Formula], confirms: Confirms, *, exactly: bool
) -> Example | None:
    if variant.solver.budget.over():
        return None
    exact = variant.concerning(
        formulas, [*variant.snapshot.firm, *(variant.snapshot.exact if exactly else ())]
    )
    if (
        variant.is_large
    ):  # with the usual numbers fixed a question is soon answered, without them it may not be
        for anchor in _usual_anchors(variant):
            if (found := _anchored_at(variant, anchor, formulas, exact, confirms)) is not None:
                return found
    if variant.ask(*exact, *formulas, briefly=variant.is_large) is not Answer.POSSIBLE:
        return None
    first = variant.model()
    rest = () if variant.is_large else _usual_anchors(variant)
    for anchor in (*rest, *_anchors(variant, first)):
        if (found := _anchored_at(variant, anchor, formulas, exact, confirms)) is not None:
            return found
    return confirmed(variant, fact_values(variant.form.lowered, variant.snapshot, first), confirms)


def _anchored_at(
    variant: Variant,
    anchor: _Anchor,
    formulas: Sequence[Formula],
    exact: Sequence[Formula],
    confirms: Confirms,
) -> Example | None:
    with variant.supposing(*_anchored(variant, anchor), *exact):
        model = calm_model(variant, formulas)
    if model is None:
        return None
    return confirmed(variant, fact_values(variant.form.lowered, variant.snapshot, model), confirms)


def confirmed(variant: Variant, values: list[float], confirms: Confirms) -> Example | None:
    """Return facts as an example if a file that states them comes out as claimed."""
    facts = dict(_stated(variant, values))
    outcome = _outcome(variant, facts)
    if outcome is None or not confirms(outcome):
        return None
    return Example(variant.listing.symbol, tuple(_needed(variant, facts, outcome).items()), outcome)


def usual_account(variant: Variant) -> list[Formula]:
    """Return that equity is as usual, and no price or gain beyond belief: then facts need hardly be moved."""
    snapshot, weight = variant.snapshot, variant.listing.weight
    numbers = {"equity": _USUAL.equity}
    if weight is not None:
        numbers |= {"target": Fraction(weight) * _USUAL.equity, "target_weight": Fraction(weight)}
    fixed = [(snapshot.find(name), number) for name, number in numbers.items()]
    said = [found.value == round(number * found.slot.steps_per_unit) for found, number in fixed if found]
    owned, equity = snapshot.find("position_value"), snapshot.find("equity")
    if owned is not None and equity is not None:
        k, m = owned.slot.steps_per_unit, equity.slot.steps_per_unit
        said.append(owned.value * m <= equity.value * k)
    for name, (least, most) in _USUAL_RANGES.items():
        if found := snapshot.find(name):
            k = found.slot.steps_per_unit
            said += [found.value >= round(least * k), found.value <= round(most * k)]
    return said


_USUAL_RANGES: Final = {"price": (1e-4, 1e6), "gain": (-0.9, 9.0), "peak_gain": (0.0, 9.0)}


def decided(variant: Variant, values: list[float]) -> Outcome | None:
    """Return what facts come to, as a file states them; None where they contradict each other."""
    return _outcome(variant, dict(_stated(variant, values)))


def redecided(variant: Variant, earlier: Example, confirms: Confirms) -> Example | None:
    """Return an example of another variant as one of this, if it shows the same here."""
    outcome = _outcome(variant, dict(earlier.facts))
    if outcome is None or not confirms(outcome):
        return None
    return Example(variant.listing.symbol, earlier.facts, outcome)


def _needed(variant: Variant, facts: dict[str, str], outcome: Outcome) -> dict[str, str]:
    """Leave out what need not be said: what follows from the rest, or is taken for granted without it."""
    bare = _outcome(variant, {name: facts[name] for name in ("bid", "held") if name in facts})
    taken: set[str] = set()
    if bare is not None:
        slots = zip(variant.lowered.slots, bare.vector.values, outcome.vector.values, strict=True)
        taken = {slot.name for slot, value, wanted in slots if value == wanted}
    granted = [name for name in facts if name in taken and name not in _SAID]
    granted += [name for name, value in facts.items() if value == _UNKNOWN]
    derived = [name for name in facts if name in _FOLLOW and name not in granted]
    for group in (granted, derived):
        facts = _without(variant, facts, group, outcome)
    return facts


def _without(variant: Variant, facts: dict[str, str], group: list[str], outcome: Outcome) -> dict[str, str]:
    """Leave out a whole group of facts, or, where that changes something, half of it and then the other."""
    if not group:
        return facts
    fewer = {name: value for name, value in facts.items() if name not in group}
    same = _outcome(variant, fewer)
    if same is not None and _alike(same, outcome):
        return fewer
    if len(group) == 1:
        return facts
    half = len(group) // 2
    for part in (group[:half], group[half:]):
        facts = _without(variant, facts, part, outcome)
    return facts


_SAID: Final = frozenset({"bid", "ask"})
_FOLLOW: Final = (
    "price", "held", "dust", "position_value", "weight", "gain", "peak_gain", "target", "target_weight",
)  # fmt: skip


def _alike(one: Outcome, other: Outcome) -> bool:
    facts = zip((*one.values, *one.beyond), (*other.values, *other.beyond), strict=True)
    return one.decision == other.decision and all(a == b or (a != a and b != b) for a, b in facts)


def _text(symbol: str, facts: Mapping[str, str], usage: Mapping[str, str]) -> str:
    """Return a facts file."""
    sections = {"facts": facts, "usage": usage}
    rows = [
        f"{key}:\n" + "".join(f"  {name}: {value}\n" for name, value in said.items())
        for key, said in sections.items()
        if said
    ]
    return f"symbol: {symbol}\n" + "".join(rows)


def used_up(variant: Variant, shown: Example, usage: Mapping[str, str]) -> Example | None:
    """Return an example again with so much used of its limits; None where that contradicts itself."""
    outcome = _outcome(variant, dict(shown.facts), usage)
    return outcome and replace(shown, outcome=outcome, usage=tuple(usage.items()))


def _outcome(
    variant: Variant, facts: Mapping[str, str], usage: Mapping[str, str] = MappingProxyType({})
) -> Outcome | None:
    """Decide what a facts file says; None where its facts contradict each other."""
    text = _text(variant.listing.symbol, facts, usage)
    try:
        statement = parse_statement(load_document(text, "example"))
        vector = fact_vector(variant.policy, variant.form.lowered, variant.listing, statement)
    except TradectlError:
        return None
    vector, beyond = narrowed(vector, len(variant.lowered.slots))
    values = list(vector.values)
    evaluation = variant.reference.evaluate(values, vector.stated_mask)
    decision = decide(variant.reference, values, vector.situation)
    return Outcome(vector, values, evaluation, decision, tuple(beyond))


# --- facts as a person states them ------------------------------------------------------------


def literal_of(value: float, unit: Unit) -> str:
    """Return a fact's value as a facts file writes it."""
    if isinstance(unit, Words):
        return unit.words[int(value)]
    if unit is Measure.BOOLEAN:
        return "true" if value else "false"
    if unit is Measure.DURATION and value == FACTS["since_buy"].maximum:
        return "never"
    if unit in (Measure.QUANTITY, Measure.NUMBER, Measure.SCALAR, Measure.COUNT):
        return decimal(Decimal(repr(value)))
    return literal_text(Decimal(repr(value)), unit)


def stated_facts(variant: Variant, values: list[float]) -> dict[str, str]:
    """Return what a facts file says of the values of a form's slots, as literals by name."""
    return dict(_stated(variant, values))


def _stated(variant: Variant, values: list[float]) -> Iterator[tuple[str, str]]:
    """Yield what a facts file says: the facts that are read, and signals instead of their votes."""
    lowered = variant.lowered
    counted = list(values[: len(lowered.slots)])
    variant.reference.evaluate(counted)
    sides = [(signal, (signal.slots[0], signal.entry_slots[0])) for signal in lowered.signals]
    stated = [signal for signal, slots in sides if all(counted[slot] == counted[slot] for slot in slots)]
    read = _read_beside_votes(lowered, {signal.name for signal in stated})
    for index, (fact, value) in enumerate(zip(variant.form.lowered.slots, values, strict=False)):
        if fact.origin in _NO_FACTS or (index < len(lowered.slots) and index not in read):
            continue
        if value == value:
            yield fact.name, literal_of(value, fact.unit)
        elif variant.snapshot.anything_unknown:
            yield fact.name, _UNKNOWN
    for signal in stated:
        weights = any(slot in read for slot in (*signal.slots[2:], *signal.entry_slots[2:]))
        for field, slot in zip(_FIELDS[: 5 if weights else 2], signal.slots, strict=False):
            yield f"{signal.name}.{field}", literal_of(counted[slot], lowered.slots[slot].unit)


def _read_beside_votes(lowered: LoweredPolicy, stated: set[str]) -> set[int]:
    """Return the slots that something beside the votes of the stated signals reads."""
    nodes = [node for rule in lowered.rules for node in (rule.when, rule.when_entry)]
    nodes += [node for gate in lowered.gates for node in (gate.when, gate.when_entry)]
    votes = [vote for signal in lowered.signals if signal.name not in stated for vote in signal.votes]
    nodes += [side for vote in votes for side in (vote.buy, vote.sell) if side >= 0]
    read = {slot for node in set(nodes) for slot in slots_of_node(lowered, node)}
    terms = [rule.size for rule in lowered.rules] + [limit.bound for limit in lowered.limits]
    terms += [lowered.buy_style.limit, lowered.sell_style.limit]
    read |= {slot for term in terms if term is not None for slot in slots_of_term(term)}
    voted = {
        slot
        for signal in lowered.signals
        for vote in signal.votes
        for side in (vote.buy, vote.sell)
        if side >= 0
        for slot in slots_of_node(lowered, side)
    }
    plain = {index for index, slot in enumerate(lowered.slots) if slot.origin not in _VOTED}
    return read | (plain - voted)


# --- anchors ----------------------------------------------------------------------------------


def _usual_anchors(variant: Variant) -> Iterator[_Anchor]:
    """Yield usual numbers that may be fixed."""
    yield _USUAL
    if variant.listing.weight is not None:  # above its target, about at it, below it
        target = Fraction(variant.listing.weight) * _USUAL.equity / _USUAL.entry_price
        for part in (Fraction(3, 2), Fraction(1), Fraction(1, 2)):
            yield _USUAL._replace(quantity=_rounded(target * part, 9))


def _anchors(variant: Variant, model: Model) -> Iterator[_Anchor]:
    """Yield numbers of a model that may be fixed."""

    def value(name: str) -> Fraction | None:
        found = variant.snapshot.find(name)
        if found is None or not model.truth(found.known):
            return None
        return model.number(found.value) / found.slot.steps_per_unit

    equity = value("equity") or _USUAL.equity
    entry = value("entry_price") or _USUAL.entry_price
    gain, worth, price = value("gain"), value("position_value"), value("price")
    for at in dict.fromkeys((_USUAL.entry_price, entry)):
        now = at * (1 + gain) if gain is not None and gain > -1 else price or at
        for whole in dict.fromkeys((_USUAL.equity, equity)):
            share = worth * whole / equity if worth and equity else None
            quantity = share / now if share and now > 0 else _USUAL.quantity
            for scale in (1, Fraction(11, 10), Fraction(9, 10)):
                yield _Anchor(at, _rounded(quantity * scale, 9), whole)
    owned = value("position_qty")
    if owned:
        yield _Anchor(entry, owned, equity)


def _rounded(number: Fraction, places: int) -> Fraction:
    return Fraction(round(number * 10**places), 10**places)


def _anchored(variant: Variant, anchor: _Anchor) -> Iterator[Formula]:
    """Yield the relations of a position's facts, with the anchor's numbers fixed."""
    snapshot, held = variant.snapshot, variant.held

    def steps(name: str) -> tuple[Number, int] | None:
        found = snapshot.find(name)
        return None if found is None else (found.value, found.slot.steps_per_unit)

    def is_about(name: str, exact: Number) -> Iterator[Formula]:
        """A fact is a number on its grid; not at a tie, where float and fraction might part."""
        if found := steps(name):
            value, k = found
            band = as_real(Fraction(499, 1000))
            within = every((as_real(value) <= exact * k + band, as_real(value) >= exact * k - band))
            yield implies(held, within)

    price = steps("price")
    assert price is not None, "every policy reads the price"
    at = as_real(price[0]) * as_real(Fraction(1, price[1]))
    for name, number in (("position_qty", anchor.quantity), ("entry_price", anchor.entry_price)):
        if found := steps(name):
            yield implies(held, found[0] == round(number * found[1]))
    for name in ("position_qty", "position_value", "weight"):
        if found := steps(name):
            yield implies(negation(held), found[0] == 0)
    if found := steps("equity"):
        yield found[0] == round(anchor.equity * found[1])
    for name in ("position_value", "cash"):  # a facts file knows no debts
        if found := steps(name):
            yield found[0] <= round(anchor.equity * found[1])
    yield from is_about("position_value", at * as_real(anchor.quantity))
    yield from is_about("weight", at * as_real(anchor.quantity / anchor.equity))
    yield from is_about("gain", at * as_real(1 / anchor.entry_price) - 1)
    peak = steps("peak_price")
    if peak is not None:
        top = as_real(peak[0]) * as_real(Fraction(1, peak[1]))
        yield from is_about("peak_gain", top * as_real(1 / anchor.entry_price) - 1)
    weight = variant.listing.weight
    if weight is not None:
        if found := steps("target_weight"):
            yield found[0] == round(Fraction(weight) * found[1])
        if found := steps("target"):
            yield found[0] == round(Fraction(weight) * anchor.equity * found[1])
