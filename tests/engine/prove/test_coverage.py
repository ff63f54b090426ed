"""Coverage: what one case shows, what it does not, and that nothing is seen that did not happen."""

from __future__ import annotations

import itertools

import pytest

from engine.codes import Truth
from engine.errors import PolicyError
from engine.language.types import Combined, Condition, Negated
from engine.prove.coverage import Coverage, Kind, kleene, measure_coverage
from engine.prove.wording import condition_text
from tests.engine.prove.small_policy import (
    BUYS,
    CRYPTO_SELLS,
    HOLDS,
    STOCK_KEEPS,
    STOCK_SELLS,
    cases,
    policy,
)


def coverage(*written: str) -> Coverage:
    """Return what some cases show of the small policy."""
    return measure_coverage(policy(), cases(*written))


def seen(found: Coverage, part: str, kind: Kind) -> set[tuple[str, str]]:
    """Return what was seen of a part: conditions with their outcomes."""
    return {
        (point.condition, point.outcome)
        for point in found.points
        if point.case and point.part == part and point.kind is kind
    }


def test_what_one_case_shows() -> None:
    """A buy: its rule matches and decides, each comparison that could have stopped it decided alone."""
    found = coverage(BUYS)
    assert seen(found, "rule entry", Kind.RULE) == {("", "matched"), ("", "decided")}
    assert seen(found, "rule exit", Kind.RULE) == set()
    whole = "not held and rsi < oversold and not (rsi > 40 and rsi < 60) and rsi > prev(rsi)"
    assert seen(found, "rule entry", Kind.DECISION) == {(whole, "true")}
    assert seen(found, "rule entry", Kind.CONDITION) == {
        ("held", "false"),
        ("rsi < oversold", "true"),
        ("rsi > 40", "false"),
        ("rsi < 60", "true"),
        ("rsi > prev(rsi)", "true"),
    }
    assert seen(found, "rule entry", Kind.ALONE) == {
        ("held", "false"),
        ("rsi < oversold", "true"),
        (
            "rsi > 40",
            "false",
        ),  # were it true, it would be calm; 'rsi < 60' the other way round changes nothing
        ("rsi > prev(rsi)", "true"),
    }
    assert seen(found, "gate cooldown", Kind.GATE) == {("", "passed")}
    assert seen(found, "vote mood.rsi", Kind.VOTE) == {("", "buy")}
    assert {point.case for point in found.points} == {"", "buys"}


def test_one_that_differs_between_symbols_is_judged_over_all_of_them() -> None:
    """``asset_class == crypto`` is always true of one symbol and always false of another."""
    part, text = "rule exit", "asset_class == crypto"
    assert (text, "false") not in seen(coverage(CRYPTO_SELLS), part, Kind.CONDITION)
    both = coverage(CRYPTO_SELLS, STOCK_KEEPS)
    assert {(text, "true"), (text, "false")} <= seen(both, part, Kind.CONDITION)
    assert (text, "true") in seen(both, part, Kind.ALONE)
    assert (text, "false") in seen(both, part, Kind.ALONE)  # an RSI of 70 is sold of a coin


def test_unknown_is_neither_true_nor_false() -> None:
    """What is not known shows nothing, and decides nothing."""
    written = "blind: {symbol: BTC-USD, facts: {rsi: unknown, prev(rsi): unknown}, expect: {action: hold}}"
    found = coverage(written)
    assert seen(found, "rule entry", Kind.CONDITION) == {("held", "false")}
    assert seen(found, "rule entry", Kind.DECISION) == set()
    assert seen(found, "vote mood.rsi buy", Kind.CONDITION) == set()
    assert seen(found, "vote mood.rsi", Kind.VOTE) == set()


def test_the_votes_of_a_stated_signal_are_not_evaluated() -> None:
    """They show nothing."""
    stated = BUYS.replace("rsi: 24.99", "rsi: 24.99, mood: {side: buy, confidence: 90%}")
    found = coverage(stated)
    assert (found.of(Kind.VOTE), found.of(Kind.RULE)) == ((0, 3), (2, 6))
    assert seen(found, "vote mood.rsi buy", Kind.CONDITION) == set()


def test_gates_and_limits() -> None:
    """A gate vetoes a candidate; a limit that denies an order has bound."""
    vetoed = BUYS.replace("24.99", "24.99, since_order: 1m").replace("buy, rule: entry", "hold")
    denied = "denied: {symbol: BTC-USD, facts: {rsi: 24}, usage: {rate: 1}, expect: {action: hold}}"
    found = coverage(vetoed, denied)
    assert seen(found, "gate cooldown", Kind.GATE) == {("", "vetoed"), ("", "passed")}
    assert seen(found, "limit rate", Kind.LIMIT) == {("", "bound")}
    assert seen(found, "limit least", Kind.LIMIT) == set()
    assert seen(found, "rule entry", Kind.RULE) == {("", "matched")}  # it decided nothing
    assert found.exercised["limit rate"] == ("denied",)
    assert found.exercised["gate cooldown"] == ("buys", "denied")  # in the second its 'false' lets it pass


def test_what_is_needed_is_said() -> None:
    """Each point that no case shows says which part, and what must hold beside it."""
    needed = {(point.part, point.kind, point.outcome): point for point in coverage(BUYS, HOLDS).unseen}
    exits = needed["rule exit", Kind.RULE, "matched"]
    assert exits.needed == "no case matches it"
    alone = next(
        point
        for point in coverage(STOCK_SELLS).unseen
        if (point.condition, point.kind, point.outcome) == ("rsi > 65", Kind.ALONE, "true")
    )
    assert alone.needed == (
        "'rsi > 65' decides alone when true in no case "
        "(with 'held' true and 'rsi > 70' false and 'asset_class == crypto' true)"
    )
    source = policy().source
    assert source.text[alone.span.start : alone.span.end] == "rsi > 65"


def test_shares() -> None:
    """Seen of all, in percent; nothing to see is all of it."""
    found = coverage(BUYS)
    assert found.of(Kind.RULE) == (2, 6)
    assert found.percent(Kind.RULE) == pytest.approx(33.3333, abs=1e-3)
    assert Coverage((), {}).percent(Kind.VOTE) == 100.0


def test_cases_that_cannot_be_run() -> None:
    """A mistake in the file is told as without coverage."""
    with pytest.raises(PolicyError):
        coverage(BUYS.replace("entry", "entri"))


@pytest.mark.parametrize("leaves", list(itertools.product(Truth, repeat=3)))
def test_kleene(leaves: tuple[Truth, Truth, Truth]) -> None:
    """``a and (b or not c)``: Unknown only where the known ones leave it open."""
    (entry,) = (rule for rule in policy().rules if rule.name == "exit")
    assert isinstance(entry.when, Combined)
    a, either = entry.when.operands
    assert isinstance(either, Combined)
    b, c = either.operands[0], a
    condition: Condition = Combined(True, (a, Combined(False, (b, Negated(c)))))
    completions = itertools.product(*([leaf] if leaf != Truth.UNKNOWN else [0, 1] for leaf in leaves))
    possible = {bool(x and (y or not z)) for x, y, z in completions}
    expected = Truth(possible.pop()) if len(possible) == 1 else Truth.UNKNOWN
    assert kleene(condition, leaves) == expected


def test_conditions_as_text() -> None:
    """And, or and not read as they are written, with brackets where they are needed."""
    (exits,) = (rule for rule in policy().rules if rule.name == "exit")
    text = "held and (rsi > 70 or (asset_class == crypto and rsi > 65))"
    assert condition_text(exits.when) == text
    assert condition_text(Negated(exits.when)) == f"not ({text})"
