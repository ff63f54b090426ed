"""Faults seeded into policies: a contradiction made of one of a rule's own comparisons.

A policy's text is read and written as YAML, so a seeded policy loads as any other does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import yaml
from yaml.emitter import Emitter
from yaml.representer import SafeRepresenter
from yaml.resolver import BaseResolver
from yaml.serializer import Serializer

from engine.language.load import Loaded, load_policy
from engine.lowered import Atom, ConstantTerm, FactTerm, LoweredPolicy, SlotOrigin
from engine.prove.region import sides
from engine.units import Measure, Words
from engine.verbs.terms import atoms_of_node
from engine.vocabulary import FACTS


class _Plain(Emitter, Serializer, SafeRepresenter, BaseResolver):
    """Writes scalars as they are: all of them are strings, none is taken for a date or a number."""

    def __init__(self, stream: Any, **options: Any) -> None:  # noqa: ANN401 - of PyYAML
        Emitter.__init__(self, stream, width=100_000, allow_unicode=True)
        Serializer.__init__(self)
        SafeRepresenter.__init__(self, default_flow_style=False, sort_keys=False)
        BaseResolver.__init__(self)


class Seeded(NamedTuple):
    """A policy with a rule that nothing can make true."""

    text: str
    rule: str
    contradiction: str
    kind: str


def with_conditions(text: str, rule: str, *more: str) -> str:
    """Return a policy in which a rule has further conditions; without any it is what it was."""
    document = yaml.load(text, yaml.BaseLoader)
    when = document["rules"][rule]["when"]
    document["rules"][rule]["when"] = {"all": [when, *more]}
    if more:
        document.pop("promises", None)  # they take most of the time, and are not what is looked at
    return yaml.dump(document, Dumper=_Plain)


def seeded(text: str, rng: random.Random) -> Seeded | None:
    """Seed a fault into a random rule of a policy; None where none of its comparisons is of use."""
    loaded = load_policy(text, "random.yaml")
    forms = list({id(form): form for form in loaded.lowered.values()}.values())
    rules = list(dict.fromkeys(rule.name for form in forms for rule in form.rules))
    places = [
        (rule, form, form.atoms[index])
        for rule in rules
        for form in forms
        for one in form.rules
        if one.name == rule
        for index in atoms_of_node(form, one.when)
    ]
    rng.shuffle(places)
    makers = list(_MAKERS.items())
    rng.shuffle(makers)
    for kind, make in makers:
        for rule, form, atom in places:
            for parts in make(form, atom, rng):
                found = with_conditions(text, rule, *parts)
                if _is_new(load_policy(found, "seeded.yaml"), rule):
                    return Seeded(found, rule, " and ".join(parts), kind)
    return None


def _is_new(loaded: Loaded, rule: str) -> bool:
    """Say whether a seeded policy loads, and the rule is left to the prover in some form."""
    return loaded.policy is not None and any(
        one.name == rule for form in loaded.lowered.values() for one in form.rules
    )


# --- contradictions ---------------------------------------------------------------------------


def _opposite(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """A comparison and its negation."""
    yield [f"({atom.text})", f"not ({atom.text})"]


def _ordered(atom: Atom) -> tuple[str, str] | None:
    """Return the texts of both sides of a comparison of numbers."""
    left, between, right = sides(atom)
    return (left, right) if between and atom.steps_per_unit else None


def _both_ways(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """One number above another, and the other above the one."""
    if texts := _ordered(atom):
        left, right = texts
        yield rng.choice(
            (
                [f"{left} > {right}", f"{right} > {left}"],
                [f"{left} >= {right}", f"{right} > {left}"],
                [f"{left} == {right}", f"{left} != {right}"],
                [f"{left} == {right}", f"{left} < {right}"],
            )
        )


def _literal(value: float, unit: object) -> str | None:
    text = repr(round(value, 8)) if value != int(value) else str(int(value))
    match unit:
        case Measure.NUMBER | Measure.SCALAR | Measure.COUNT:
            return text
        case Measure.RATIO:
            percent = round(value * 100, 6)
            return f"{percent if percent != int(percent) else int(percent)}%"
        case Measure.PRICE | Measure.MONEY:
            return f"{text} USD"
        case Measure.DURATION:
            return f"{int(value)}s"
    return None


def _window(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """A fact above a number, and below one that is a little less, or no step more."""
    if not (isinstance(atom.left, FactTerm) and isinstance(atom.right, ConstantTerm) and _ordered(atom)):
        return
    slot, at = form.slots[atom.left.slot], atom.right.value
    name, step = sides(atom)[0], 1 / (slot.steps_per_unit or 1)
    above = _literal(at, slot.unit)
    below = _literal(at + rng.choice((step, 0, -step, -abs(at) / 2 // step * step)), slot.unit)
    if above and below:
        yield [f"{name} > {above}", f"{name} < {below}"]


def _impossible(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """A bound beyond what the fact can be."""
    if not (isinstance(atom.left, FactTerm) and _ordered(atom)):
        return
    slot, name = form.slots[atom.left.slot], sides(atom)[0]
    fact = FACTS.get(slot.name) if slot.origin is SlotOrigin.VOCABULARY else None
    if fact is not None and fact.minimum == 0:
        if least := _literal(0, slot.unit):
            yield [f"{name} < {least}"]
    elif slot.name.startswith("rsi"):
        yield rng.choice(([f"{name} > 100"], [f"{name} < 0"]))


def _two_words(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """A fact that is one word and not, or one and another."""
    if isinstance(atom.unit, Words) and isinstance(atom.left, FactTerm) and sides(atom)[1]:
        name = sides(atom)[0]
        one, other = rng.sample(atom.unit.words, 2)
        yield [f"{name} == {one}", f"{name} == {other}"]
        yield [f"{name} == {one}", f"{name} != {one}"]


def _nonnegative(form: LoweredPolicy, atom: Atom) -> str | None:
    """Return the text of a fact of the comparison that is never below zero, if there is one."""
    for term, text in zip((atom.left, atom.right), _ordered(atom) or ("", ""), strict=True):
        if isinstance(term, FactTerm) and text:
            fact = FACTS.get(form.slots[term.slot].name)
            if (
                form.slots[term.slot].origin is SlotOrigin.VOCABULARY
                and fact is not None
                and fact.minimum >= 0
            ):
                return text
    return None


def _computed(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """Something between 110 % of a number and 105 % of it."""
    text = _nonnegative(form, atom)
    if text is None or not isinstance(atom.left, FactTerm) or atom.unit is Measure.COUNT:
        return
    alike = [
        name for name, unit in _ALIKE.items() if unit is form.slots[atom.left.slot].unit and name != text
    ]
    if alike:
        other = rng.choice(alike)
        yield [f"110% of {text} < {other}", f"{other} < 105% of {text}"]


def _chain(form: LoweredPolicy, atom: Atom, rng: random.Random) -> Iterator[list[str]]:
    """Three numbers, each above the next one."""
    texts = _ordered(atom)
    if texts is None:
        return
    alike = [name for name, unit in _ALIKE.items() if unit is atom.unit and name not in texts]
    if alike:
        other = rng.choice(alike)
        left, right = texts
        yield [f"{left} > {right}", f"{right} >= {other}", f"{other} >= {left}"]


_ALIKE: Final[Mapping[str, Measure]] = {
    "price": Measure.PRICE,
    "ask": Measure.PRICE,
    "close": Measure.PRICE,
    "fast": Measure.PRICE,
    "equity": Measure.MONEY,
    "cash": Measure.MONEY,
    "position_value": Measure.MONEY,
    "gain": Measure.RATIO,
    "drawdown": Measure.RATIO,
    "weight": Measure.RATIO,
    "since_order": Measure.DURATION,
    "quote_age": Measure.DURATION,
    "rsi": Measure.NUMBER,
    "z": Measure.NUMBER,
}
_MAKERS: Final[Mapping[str, Callable[[LoweredPolicy, Atom, random.Random], Iterator[list[str]]]]] = {
    "opposite": _opposite,
    "both ways": _both_ways,
    "window": _window,
    "impossible": _impossible,
    "two words": _two_words,
    "computed": _computed,
    "chain": _chain,
}
