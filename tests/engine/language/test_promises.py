"""Promises as they are written: what each form is, its one spelling, and what is refused where."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codes import Action
from engine.errors import Problem, Severity
from engine.language.expression import MAXIMUM_LENGTH, ExpressionError
from engine.language.load import Loaded, load_policy
from engine.language.policy import Follows, Promise, Rate
from engine.language.promises import (
    MAXIMUM_COUNT,
    MAXIMUM_CYCLES,
    Within,
    Written,
    parse_promise,
    written_text,
)
from engine.language.types import Combined, Vetoed
from engine.lowered import LimitScope, SlotOrigin
from engine.units import ELAPSED_CAP_SECONDS, Measure
from tests.engine.language.small import text


def loaded(*entries: str) -> Loaded:
    """Return the small policy with promises, each a mapping in flow style."""
    rows = "".join(f"  p{index}: {entry}\n" for index, entry in enumerate(entries))
    return load_policy(
        f"{text()}gates:\n  shut: {{vetoes: [buy], when: rsi > 90}}\npromises:\n{rows}", "p.yaml"
    )


def promises(*entries: str) -> tuple[Promise, ...]:
    """Return promises that load."""
    return loaded(*entries).required().promises


def mistakes(entry: str) -> tuple[Problem, ...]:
    """Return what is wrong with one promise."""
    return tuple(p for p in loaded(entry).problems if p.severity is Severity.ERROR)


# --- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "form", "canonical"),
    [
        ("more than 3 buys in 3m", Rate(Action.BUY, 3, 180), "more than 3 buys in 3m"),
        ("more than 1 orders in 3600s", Rate(None, 1, 3600), "more than 1 order in 1h"),
        ("more  than 0 sell in 1d", Rate(Action.SELL, 0, 86_400), "more than 0 sells in 1d"),
        ("sell within 60s of buy", Follows(Action.SELL, Action.BUY, 60), "sell within 1m of buy"),
        ("buy within 90s of buy", Follows(Action.BUY, Action.BUY, 90), "buy within 90s of buy"),
    ],
)
def test_forms_about_orders(written: str, form: Written, canonical: str) -> None:
    """Counts, sides and times; one spelling of each."""
    assert parse_promise(written) == form
    assert written_text(form) == canonical
    assert parse_promise(canonical) == form


@pytest.mark.parametrize(
    ("written", "canonical", "cycles"),
    [
        ("action == sell within 5 cycles", "action == sell within 5 cycles", 5),
        ("held or (rsi < 3) within 1 cycles", "held or rsi < 3 within 1 cycle", 1),
        ("within within 2 cycle", "within within 2 cycles", 2),
    ],
)
def test_within_cycles(written: str, canonical: str, cycles: int) -> None:
    """It is of the whole condition before it; its words may be names of a policy."""
    found = parse_promise(written)
    assert isinstance(found, Within)
    assert found.cycles == cycles
    assert written_text(found) == canonical
    assert parse_promise(canonical) == found


@pytest.mark.parametrize("written", ["more", "more > 3", "within", "than and more", "cycles < 3", "in > 2"])
def test_words_of_the_forms_are_no_keywords(written: str) -> None:
    """A policy may call its own things so."""
    assert written_text(parse_promise(written)) == written


_actions = st.sampled_from((Action.BUY, Action.SELL))
_seconds = st.integers(1, ELAPSED_CAP_SECONDS)


@given(
    st.builds(Rate, st.none() | _actions, st.integers(0, MAXIMUM_COUNT), _seconds)
    | st.builds(Follows, _actions, _actions, _seconds)
)
def test_canonical_text_reads_back(form: Rate | Follows) -> None:
    """Whatever is counted, and over whatever time."""
    assert parse_promise(written_text(form)) == form


def test_the_limits_of_numbers() -> None:
    """What can be written is what can be counted."""
    assert parse_promise(f"more than {MAXIMUM_COUNT} buys in 1s") == Rate(Action.BUY, MAXIMUM_COUNT, 1)
    assert isinstance(parse_promise(f"held within {MAXIMUM_CYCLES} cycles"), Within)
    for beyond in (f"more than {MAXIMUM_COUNT + 1} buys in 1s", f"held within {MAXIMUM_CYCLES + 1} cycles"):
        with pytest.raises(ExpressionError, match="a whole number from"):
            parse_promise(beyond)
    long = " or ".join(["rsi<30"] * 3)
    padded = f"{long}{' ' * (MAXIMUM_LENGTH - len(long) - len('within 5 cycles'))}within 5 cycles"
    assert isinstance(parse_promise(padded), Within)
    dense = " or ".join(["rsi<30"] * 999)  # spaces of its canonical text make it longer than may be read
    with pytest.raises(ExpressionError, match="may have 10,000 characters"):
        parse_promise(f"{dense} within 5 cycles")


# --- what a policy makes of them --------------------------------------------------------------


def test_promises_of_a_policy() -> None:
    """Each form has its own field; the rest is empty."""
    plain, rate, follows, within = promises(
        "{given: held, always: action == sell or vetoed_by('shut')}",
        "{never: more than 3 buys in 3m, per: class}",
        "{given: gain > -8%, never: sell within 60s of buy}",
        "{given: held, always: action == sell within 5 cycles}",
    )
    assert isinstance(plain.always, Combined)
    assert plain.always.operands[1] == Vetoed(("shut",), plain.span)
    assert plain.conditions == (plain.given, plain.always)
    assert not plain.over_time
    assert rate.rate == Rate(Action.BUY, 3, 180, LimitScope.CLASS)
    assert rate.conditions == ()
    assert follows.follows == Follows(Action.SELL, Action.BUY, 60)
    assert follows.given is not None
    assert (within.within_cycles, within.never) == (5, None)
    assert within.always is not None
    assert rate.over_time and follows.over_time and within.over_time
    assert [promise.text for promise in (plain, rate, follows, within)] == [
        'given held, always action == sell or vetoed_by("shut")',
        "never more than 3 buys in 3m per class",
        "given gain > -8%, never sell within 1m of buy",
        "given held, always action == sell within 5 cycles",
    ]


def test_a_rate_is_over_the_account_unless_it_says_otherwise() -> None:
    """What is not written is not in the canonical text either: old digests stay."""
    (rate,) = promises("{never: more than 3 orders in 3m}")
    assert rate.rate == Rate(None, 3, 180, LimitScope.PORTFOLIO)
    canonical = json.loads(loaded("{never: more than 3 order in 180s}").required().canonical)
    assert canonical["promises"] == {"p0": {"never": "more than 3 orders in 3m"}}


def test_vetoes_of_exits_and_of_entries() -> None:
    """Each function speaks of candidates of its own."""
    found = [
        promise.always
        for promise in promises(
            '{always: \'vetoed_by("shut", "integrity")\'}',
            "{always: exit_vetoed_by('once')}",
            "{always: entry_vetoed_by('clock')}",
        )
    ]
    assert all(isinstance(vetoed, Vetoed) for vetoed in found)
    assert [(v.gates, v.action) for v in found if isinstance(v, Vetoed)] == [
        (("shut", "integrity"), None),
        (("once",), Action.SELL),
        (("clock",), Action.BUY),
    ]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("exposure.symbol", Measure.MONEY),
        ("exposure.class", Measure.MONEY),
        ("exposure.portfolio", Measure.MONEY),
        ("intent.qty", Measure.QUANTITY),
    ],
)
def test_outcomes_have_units(name: str, unit: Measure) -> None:
    """They are compared like facts, and come from the decision."""
    other = "15% of equity" if unit is Measure.MONEY else "position_qty"
    (promise,) = promises(f"{{never: {name} > {other}}}")
    (compared,) = promise.conditions
    assert getattr(compared, "unit", None) is unit
    assert getattr(getattr(compared, "left", None), "origin", None) is SlotOrigin.OUTCOME


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "code", "message", "at"),
    [
        ("{never: more than 3 buys}", "syntax", "expected 'in' and a time, found the end", "}"),
        ("{never: more than 3 buys per 3m}", "syntax", "expected 'in' and a time, found 'per'", "per"),
        ("{never: more than 3 buys in 0m}", "range", "a time above 0 is needed here", "0m"),
        ("{never: more than 3.5 buys in 3m}", "range", "a whole number from 0 to 999,999", "3.5"),
        ("{never: more than three buys in 3m}", "syntax", "expected a number of orders", "three"),
        ("{never: more than 3 holds in 3m}", "syntax", "'buys', 'sells' or 'orders'", "holds"),
        ("{never: more than 3 buys in 3m and held}", "syntax", "expected the end, found 'and'", "and"),
        ("{never: 3 buys in 3m}", "syntax", "a rate says what is too much", "3 "),
        ("{never: sell within of buy}", "syntax", "expected a time behind 'within', found 'of'", "of"),
        ("{never: sell within 60s}", "syntax", "expected 'of' and the earlier order", "}"),
        ("{never: sell within 60s of hold}", "syntax", "expected 'buy' or 'sell', found 'hold'", "hold"),
        ("{never: hold within 60s of buy}", "syntax", "expected 'buy' or 'sell', found 'hold'", "hold"),
        ("{never: sell within 5 cycles}", "syntax", "expected a time behind 'within', found '5'", "5"),
        ("{always: held within 0 cycles}", "range", "a whole number from 1 to 1,000", "0"),
        ("{always: not held within 5m}", "syntax", "expected a number of cycles, found '5m'", "5m"),
        ("{always: held within 5 bars}", "syntax", "a number of cycles, found '5 bars'", "5 bars"),
        ("{always: held within 5}", "syntax", "expected 'cycles', found the end", "}"),
        ("{never: held within 5 cycles}", "promise", "goes with 'always', not with 'never'", "held"),
        ("{always: more than 3 buys in 3m}", "promise", "goes with 'never', not with 'always'", "more"),
        ("{given: sell within 60s of buy, never: held}", "promise", "not with 'given'", "sell"),
        ("{never: action == buy, per: symbol}", "promise", "'per' belongs to a rate of orders", "per"),
        ("{never: vetoed_by()}", "type", "vetoed_by names at least one gate", "vetoed_by"),
        ("{never: entry_vetoed_by(shut)}", "type", "gates are named as texts", "shut"),
        ("{never: exit_vetoed_by('shot')}", "unknown-name", "there is no gate 'shot'", "'shot'"),
        ("{never: exposure.symbol > 3%}", "unit", "they cannot be compared", "exposure"),
        ("{never: prev(full_exit)}", "not-a-series", "'full_exit' is not made from bars", "full_exit"),
        ("{never: ''}", "syntax", "an expression is missing here", ""),
    ],
)
def test_wrong_promises(entry: str, code: str, message: str, at: str) -> None:
    """One problem, in its place, with what to write instead."""
    (problem,) = mistakes(entry)
    assert problem.code == code
    assert message in problem.message
    source = loaded(entry).source
    assert source.text[problem.span.start :].startswith(at)


def test_mistakes_of_both_parts_are_told() -> None:
    """One run tells all: the condition's and the form's."""
    assert [p.code for p in mistakes("{given: helt, never: more than 3 buys}")] == ["unknown-name", "syntax"]


@pytest.mark.parametrize("name", ["exposure", "exit_vetoed_by", "entry_vetoed_by"])
def test_words_of_promises_are_taken(name: str) -> None:
    """No policy may give them another meaning."""
    found = load_policy(text("held", ("calm:", f"{name}:")), "p.yaml")
    assert any(p.code == "name-taken" for p in found.problems)
