"""The catalogue: every fact, signal field, function and code of the language, as plain values.

``tradectl facts`` prints it and the reference page is made from it (schema facts-v1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from engine.codes import Code, Denial, Disposition, IntentState, UnknownReason
from engine.indicators.functions import FUNCTIONS, FunctionSpec, LikeInput, OutputSpec
from engine.units import Measure, Unit, Words, unit_name
from engine.verbs.numbers import Plain, decimal, plain, shown
from engine.vocabulary import FACTS, INVARIANTS, SIGNAL_FIELDS, Fact, Family

SCHEMA: Final = "facts-v1"


@dataclass(frozen=True, slots=True)
class FactEntry:
    """A fact of the vocabulary; ``when_absent`` is null where it is Unknown before anything happened."""

    name: str
    family: str
    unit: str
    words: tuple[str, ...]
    step: str | None
    minimum: str | None
    maximum: str | None
    typical_scale: str | None
    source: str
    meaning: str
    max_age: str
    when_absent: Plain
    when_absent_shown: str
    varies: str


@dataclass(frozen=True, slots=True)
class FieldEntry:
    """A field that every signal has."""

    name: str
    unit: str
    words: tuple[str, ...]
    step: str | None
    maximum: str | None


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """An output of a function; ``unit`` is "like its input" where it follows the series."""

    name: str
    unit: str
    words: tuple[str, ...]
    step: str | None


@dataclass(frozen=True, slots=True)
class FunctionEntry:
    """A function of closed bars."""

    name: str
    signature: str
    outputs: tuple[OutputEntry, ...]
    recursive: bool
    warm_up: str  # bars that make it known: a number, or a formula of the lengths
    meaning: str
    source: str


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """A code of the registry."""

    code: int
    word: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All of it."""

    facts: tuple[FactEntry, ...]
    signal_fields: tuple[FieldEntry, ...]
    functions: tuple[FunctionEntry, ...]
    codes: dict[str, tuple[CodeEntry, ...]]
    invariants: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have facts, in the order of the vocabulary."""
        return tuple(dict.fromkeys(fact.family for fact in self.facts))

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints: schema facts-v1."""
        return {"schema": SCHEMA, **asdict(self)}


_CODES: Final[tuple[tuple[str, type[Code]], ...]] = (
    ("unknown_reasons", UnknownReason),
    ("dispositions", Disposition),
    ("denials", Denial),
    ("order_states", IntentState),
)


def catalogue() -> Catalogue:
    """Return the catalogue of this version of the language."""
    return Catalogue(
        facts=tuple(_fact(fact) for family in Family for fact in FACTS.values() if fact.family is family),
        signal_fields=tuple(
            FieldEntry(name, unit_name(unit), _words(unit), _step(unit, k), _bound(maximum, unit))
            for name, (unit, k, maximum) in SIGNAL_FIELDS.items()
        ),
        functions=tuple(_function(spec) for spec in FUNCTIONS.values()),
        codes={
            title: tuple(CodeEntry(int(code), code.word, code.meaning) for code in codes)
            for title, codes in _CODES
        },
        invariants=tuple(INVARIANTS),
    )


def _fact(fact: Fact) -> FactEntry:
    absent = fact.when_absent
    return FactEntry(
        name=fact.name,
        family=fact.family.value,
        unit=unit_name(fact.unit),
        words=_words(fact.unit),
        step=_step(fact.unit, fact.steps_per_unit),
        minimum=_bound(fact.minimum, fact.unit),
        maximum=_bound(fact.maximum, fact.unit),
        typical_scale=_bound(fact.typical_scale, fact.unit),
        source=fact.source,
        meaning=fact.meaning,
        max_age=fact.max_age,
        when_absent=None if absent is None else plain(absent, fact.unit),
        when_absent_shown="unknown" if absent is None else shown(absent, fact.unit),
        varies=fact.varies.value,
    )


def _words(unit: Unit) -> tuple[str, ...]:
    return unit.words if isinstance(unit, Words) else ()


def _step(unit: Unit, steps_per_unit: int) -> str | None:
    if not isinstance(unit, Measure) or not steps_per_unit:
        return None
    step = Decimal(1) / steps_per_unit
    text = decimal(step * 100 if unit is Measure.RATIO else step)
    return f"{text}{_UNIT_SUFFIX.get(unit, '')}"


_UNIT_SUFFIX: Final = {
    Measure.RATIO: " %",
    Measure.PRICE: " USD",
    Measure.MONEY: " USD",
    Measure.DURATION: "s",
    Measure.CLOCK: "s",
    Measure.BARS: " bar",
}


def _bound(value: float, unit: Unit) -> str | None:
    """Return a bound in words; null of words and truth values, which have none."""
    if not isinstance(unit, Measure) or unit is Measure.BOOLEAN:
        return None
    text = shown(value, unit)
    return "3650d" if text == "never" else text


def _function(spec: FunctionSpec) -> FunctionEntry:
    return FunctionEntry(
        name=spec.name,
        signature=spec.signature,
        outputs=tuple(_output(output) for output in spec.outputs),
        recursive=spec.recursive,
        warm_up=_warm_up(spec),
        meaning=spec.doc,
        source=spec.source,
    )


def _output(output: OutputSpec) -> OutputEntry:
    if isinstance(output.unit, LikeInput):
        return OutputEntry(output.name, "like its input", (), None)
    step = _step(output.unit, output.steps_per_unit)
    return OutputEntry(output.name, unit_name(output.unit), _words(output.unit), step)


def _warm_up(spec: FunctionSpec) -> str:
    lengths: Sequence[str] = [parameter.name for parameter in spec.parameters if parameter.whole]
    if not lengths:
        return str(spec.warm_up([0.0 for _ in spec.parameters]))
    longest = lengths[0] if len(lengths) == 1 else f"the longest of {', '.join(lengths)}"
    if spec.recursive:
        return f"20 x {longest}"
    return f"{longest} + {spec.extra_bars}" if spec.extra_bars else longest
