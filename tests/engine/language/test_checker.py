"""The checker: what an expression means, in the words of the lowered form, and what it cannot mean."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.language.checker import MAXIMUM_SIZE, suggestion
from engine.language.types import (
    Combined,
    Compared,
    Constant,
    FactRead,
    Negated,
    SeriesFunction,
    SeriesLag,
    comparisons_of,
    facts_of_condition,
)
from engine.lowered import Comparison, SlotOrigin
from engine.units import Measure, Words
from tests.engine.language.small import condition, load, mistakes, policy


def texts(when: str) -> list[str]:
    """Return the canonical texts of a condition's comparisons."""
    return [compared.text for compared in comparisons_of(condition(when))]


def test_a_cross_is_two_comparisons() -> None:
    """``a crosses above b`` is ``prev(a) <= prev(b) and a > b``; the second marks the cross."""
    assert texts_of("rsi crosses above 30") == ["prev(rsi) <= 30", "rsi > 30"]
    assert texts_of("fast crosses below bands.middle") == [
        "prev(fast) >= prev(bands.middle)",
        "fast < bands.middle",
    ]
    before, now = comparisons_of(crossing("rsi crosses above 30"))
    assert (before.comparison, now.comparison) == (Comparison.LESS_OR_EQUAL, Comparison.GREATER)
    assert (before.crossing, now.crossing) == (False, True)
    assert isinstance(before.left, FactRead) and isinstance(before.left.series, SeriesLag)
    assert before.right == now.right == Constant(Decimal(30), Measure.SCALAR, now.span)


def crossing(when: str) -> Combined:
    """Return a cross of the entry, typed (with the once that a buy on one needs)."""
    loaded = policy(when, ("    then: buy to target", "    then: buy to target\n    once: bar"))
    (entry,) = (rule for rule in loaded.rules if rule.name == "entry")
    assert isinstance(entry.when, Combined)
    return entry.when


def texts_of(when: str) -> list[str]:
    """Return the canonical texts of a cross."""
    return [compared.text for compared in comparisons_of(crossing(when))]


def test_a_chain_is_a_conjunction_of_its_links() -> None:
    """Each neighbouring pair is compared."""
    assert texts("20 < rsi <= 30") == ["20 < rsi", "rsi <= 30"]
    assert isinstance(condition("20 < rsi <= 30"), Combined)


def test_a_condition_is_inlined_where_it_is_named() -> None:
    """``calm`` is rsi > 40 and rsi < 60, also behind not."""
    tree = condition("not calm")
    assert isinstance(tree, Negated)
    assert texts("not calm") == ["rsi > 40", "rsi < 60"]


@pytest.mark.parametrize(
    ("when", "name", "unit", "origin"),
    [
        ("gain < 5%", "gain", Measure.RATIO, SlotOrigin.VOCABULARY),
        ("rsi < 30", "rsi", Measure.NUMBER, SlotOrigin.SERIES),
        ("close < 30 USD", "close", Measure.PRICE, SlotOrigin.SERIES),
        ("bands.upper < 30 USD", "bands.upper", Measure.PRICE, SlotOrigin.SERIES),
        ("prev(rsi, 2) < 30", "prev(rsi, 2)", Measure.NUMBER, SlotOrigin.SERIES),
        ("prev(rsi,2 bars) < 30", "prev(rsi, 2 bars)", Measure.NUMBER, SlotOrigin.SERIES),
        ("highest(high, n) < 30 USD", "highest(high, n)", Measure.PRICE, SlotOrigin.SERIES),
        ("roc(10) < 5%", "roc(10)", Measure.RATIO, SlotOrigin.SERIES),
        ("sma(volume, 20) < position_qty", "sma(volume, 20)", Measure.QUANTITY, SlotOrigin.SERIES),
        ("enhanced.confidence > 60%", "enhanced.confidence", Measure.RATIO, SlotOrigin.SIGNAL),
        ("enhanced.buy > 2", "enhanced.buy", Measure.SCALAR, SlotOrigin.SIGNAL),
        ("model.confidence > 60%", "model.confidence", Measure.RATIO, SlotOrigin.FEED),
        ("since_order < 30 bars", "since_order_bars", Measure.BARS, SlotOrigin.VOCABULARY),
        ("30 bars > since_order", "since_order_bars", Measure.BARS, SlotOrigin.VOCABULARY),
        ("held_for >= 5 bars", "held_for_bars", Measure.BARS, SlotOrigin.VOCABULARY),
    ],
)
def test_what_names_stand_for(when: str, name: str, unit: Measure, origin: SlotOrigin) -> None:
    """Facts, bars, indicators, outputs, functions, signals: one way to name each."""
    read = next(facts_of_condition(condition(when)))
    assert (read.name, read.unit, read.origin) == (name, unit, origin)


def test_words_are_indices_of_their_enumeration() -> None:
    """A word stands on either side of == and !=, and a calendar with a slash stands in quotes."""
    for when in ("session != regular", "regular != session"):
        (found,) = comparisons_of(condition(when))
        assert found.right == Constant(Decimal(1), found.unit, found.span)
        assert (found.comparison, found.text) == (Comparison.NOT_EQUAL, when)
    (symbol,) = comparisons_of(condition("symbol == SPY"))
    assert isinstance(symbol.unit, Words)
    assert symbol.unit.words[int(symbol.right.value)] == "SPY"  # type: ignore[union-attr]  # a constant
    assert texts('calendar == "24/7"') == ['calendar == "24/7"']
    assert texts("enhanced.side == model.side") == ["enhanced.side == model.side"]


def test_indicator_lengths_may_be_parameters_and_definitions() -> None:
    """A number is a length however it is named; with a series first, that is averaged."""
    loaded = policy(
        "short < long and mid < long",
        ("define:\n", "define:\n  twenty: 20\n"),
        (
            "  rsi: rsi(n)\n",
            "  rsi: rsi(n)\n  short: sma(twenty)\n  mid: sma(typical, n)\n"
            "  long: sma((high + low) / 2, 50)\n",
        ),
    )
    series = {
        name: indicator.outputs[""][0]
        for name, indicator in loaded.indicators.items()
        if "" in indicator.outputs
    }
    lengths = {
        name: [getattr(length, "value", length) for length in found.lengths]
        for name, found in series.items()
        if isinstance(found, SeriesFunction)
    }
    assert lengths["short"] == [20]
    assert lengths["long"] == [50]


@pytest.mark.parametrize(
    ("when", "code", "message"),
    [
        ("rsi > 80%", "unit", "'rsi' is a number and '80%' a ratio"),
        ("enhanced.confidence >= 0.6", "unit", "'enhanced.confidence' is a ratio and '0.6' a plain number"),
        ("price > 100", "unit", "'price' is a price and '100' a plain number"),
        ("held > dust", "type", "has no order"),
        ("symbol < SPY", "type", "has no order"),
        ("session == mon", "unknown-word", "'mon' is not a session"),
        ("weekday == monday", "unknown-word", "'monday' is not a weekday"),
        ("rsi == overbought", "unknown-name", "'overbought'"),
        ("rsi == buy", "unit", "'buy' is a word"),
        ("asset_class == commodities", "unknown-word", "'commodities'"),
        ("calendar == 24/7", "unit", "they cannot be compared"),
        ("oversold.x > 3", "unknown-name", "'oversold.x'"),
        ("rsi.line > 3", "unknown-name", "'rsi' has no output 'line'"),
        ("price.x > 3", "unknown-name", "'price.x'"),
        ("a.b.c > 3", "unknown-name", "'a.b.c'"),
        ("prev(enhanced.confidence) > 60%", "not-a-series", "'enhanced.confidence' is not made from bars"),
        ("prev(rsi, 2, 3) > 60", "type", "takes a series"),
        ("prev(rsi, gain) > 60", "type", "how many bars back"),
        ("-session == regular", "type", "no arithmetic"),
        ("-time < 10:00", "unit", "cannot be negative"),
        ("highest(pattern, 3) > 5", "type", "no arithmetic"),
        ("spy crosses above hour", "mixed-intervals", "different bars: 1h and 1d"),
        ("prev(spy / hour) > 1%", "mixed-intervals", "different bars: 1h and 1d"),
        ("zscore(spy - hour, 5) > 1", "mixed-intervals", "different bars: 1h and 1d"),
        ("vetoed_by(\"calm\")", "unknown-name", "only promises speak of 'vetoed_by'"),
        ("abs(held) > 0", "type", "no arithmetic"),
        ("calm + 1 > 0", "type", "'calm' is a condition"),
        ("roi", "type", "'roi' is a ratio"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(when: str, code: str, message: str) -> None:
    """One problem, of a stable kind, in words."""
    (found,) = mistakes(f">-\n      {when}")
    assert found.code == code
    assert message in found.message


def test_comparisons_of_mixed_intervals_are_legal() -> None:
    """Each side is the value of its own last closed bar; only series cannot be mixed."""
    assert texts("hour < spy and rsi < 30") == ["hour < spy", "rsi < 30"]


def test_every_mistake_of_a_disjunction_is_told() -> None:
    """Operands behind a mistake are looked at, too; those of broken names are passed over."""
    found = mistakes("rsi > 80% or (price > 100 and not (gian > 3%)) or held")
    assert [problem.code for problem in found] == ["unit", "unit", "unknown-name"]


def test_a_definition_counts_wherever_it_is_named() -> None:
    """An expression may have so many parts with all its definitions put in, and no more."""

    def found(times: int) -> list[str]:
        lines = f"define:\n  d0: {' + '.join(['equity'] * 30)}\n"
        lines += "".join(f"  d{i}: d{i - 1} + d{i - 1}\n" for i in range(1, times + 1))
        problems = load(f"d{times} > 5 USD", ("define:\n", lines)).problems
        return [problem.code for problem in problems if problem.severity == "error"]

    size, times = 59, 0  # 30 facts, 29 sums
    while 3 + (3 + 2 * size) <= MAXIMUM_SIZE:  # a sum of two names, each with what it stands for
        size, times = 3 + 2 * size, times + 1
    assert times > 5
    assert found(times) == []
    assert found(times + 1) == ["too-large"]


def test_suggestions_are_near_and_cheap() -> None:
    """A name that is spelt nearly so is suggested as it is spelt; of many names the first are compared."""
    assert suggestion("spy", ["SPY", "QQQ"]) == "did you mean 'SPY'?"
    assert suggestion("x" * 10_000, ["x" * 64]) == f"did you mean '{'x' * 64}'?"
    assert suggestion("volume", ["price"]) == ""
    assert suggestion("q", [f"q{i}" for i in range(10**6)]) != ""


def test_a_compared_boolean_is_one() -> None:
    """A fact that is true or false stands alone."""
    (found,) = comparisons_of(condition("held"))
    assert isinstance(found, Compared)
    assert (found.text, found.right) == ("held", Constant(Decimal(1), Measure.BOOLEAN, found.span))
