"""Loading: from text to a typed policy, its canonical text and its digest."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import policies
from engine.codes import Action
from engine.errors import NOWHERE, PolicyError, Severity, render
from engine.language.load import INTEGRITY_GATES, RESERVED_GATES, Loaded, load_policy, load_recorded
from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.language.source import MAX_PROBLEMS, MappingNode, load_document
from engine.lowered import LimitKind, LimitScope, LoweredPolicy, Once, Selection
from engine.units import Measure
from tests.engine.language.small import load, policy, text
from tests.policy_texts import policy_text, policy_texts
from tests.shared_data import shared_path

EXAMPLES = 10_000 if os.environ.get("TRADECTL_HYPOTHESIS") == "long" else 80
SHIPPED = {name: policies.read(name) for name in policies.shipped()}


def without_places(lowered: LoweredPolicy) -> LoweredPolicy:
    """Return a lowered policy as if it had been written elsewhere."""

    def moved(parts: tuple) -> tuple:  # type: ignore[type-arg]  # of any parts with a span
        return tuple(replace(part, span=NOWHERE) for part in parts)

    signals = tuple(replace(signal, votes=moved(signal.votes), span=NOWHERE) for signal in lowered.signals)
    return replace(
        lowered,
        atoms=moved(lowered.atoms),
        signals=signals,
        rules=moved(lowered.rules),
        gates=moved(lowered.gates),
        limits=moved(lowered.limits),
        feeds=moved(lowered.feeds),
    )


def assert_reads_back(loaded: Policy) -> None:
    """The canonical text is the same policy: same digest, same lowered forms, recorded or not."""
    again = load_policy(loaded.canonical, "canonical").required()
    assert again.canonical == loaded.canonical
    assert again.digest == loaded.digest
    assert load_recorded(loaded.canonical, "journal").required().digest == loaded.digest
    first, second = lower_all(loaded), lower_all(again)
    assert list(first) == list(second)
    for symbol, lowered in first.items():
        assert without_places(lowered) == without_places(second[symbol])


# --- what loads -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_load_and_read_back(name: str) -> None:
    """Each loads without an error, and its canonical text is the same policy."""
    assert_reads_back(load_policy(SHIPPED[name], name).required())


def test_every_example_loads_and_reads_back() -> None:
    """The ten outside strategies and both models load without an error."""
    paths = sorted(shared_path("examples").glob("*.yaml"))
    assert len(paths) >= 10
    for path in paths:
        loaded = load_policy(path.read_bytes(), path.name)
        assert [p for p in loaded.problems if p.severity is Severity.ERROR] == []
        assert_reads_back(loaded.required())


@settings(max_examples=EXAMPLES // 4)
@given(policy_texts())
def test_random_policies_load_whole_and_read_back(written: str) -> None:
    """Every feature in every spelling: nothing is refused or left out, and the canonical text is the same."""
    loaded = load_policy(written, "random.yaml")
    note("\n".join(render(problem, loaded.source) for problem in loaded.problems))
    assert_whole(loaded, written)
    assert_reads_back(loaded.required())
    assert set(loaded.lowered) == {listing.symbol for listing in loaded.required().traded}


def assert_whole(loaded: Loaded, written: str | bytes) -> None:
    """A policy has every entry that its text has: nothing that could not be read is left out in silence."""
    found = loaded.required()
    root = load_document(written, "whole.yaml").root
    assert isinstance(root, MappingNode)
    entries = {key.text: len(node.entries) for key, node in root.entries if isinstance(node, MappingNode)}
    own_gates = [gate for gate in found.gates if not gate.reserved]
    counted = {
        "params": found.parameters,
        "indicators": found.indicators,
        "signals": found.signals,
        "rules": found.rules,
        "gates": own_gates,
        "limits": found.limits,
        "promises": found.promises,
    }
    for section, read in counted.items():
        assert len(read) == entries.get(section, 0), section
    assert len(json.loads(found.canonical).get("define", {})) == entries.get("define", 0)


# --- what does not ----------------------------------------------------------------------------

TOKEN = re.compile(r"[A-Za-z_][\w.]*|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
BASES = [*SHIPPED.values(), text()]
ODD = (
    "1e999", "9" * 400, "prev(", "crosses above ", "of equity", "100 USD", "not ", " and ", " or ", "10:00",
    "30 bars", "{", "}", "[", "]", '"', "'", "|", ">", "&x ", "*x ", "!held", "((((", "))))", "log(0)", "/ 0",
    "on SPY 1d", "- ", "\t", "\n", "once: bar", "protective: true", "by_priority", "target", "weight", "{{",
    "}}", "%", "~", "position_value",
)  # fmt: skip
POOL = sorted({token for base in BASES for token in TOKEN.findall(base)}) + list(ODD)


def mutated(rng: random.Random) -> str:
    """Return a policy with a few tokens deleted, doubled, replaced, moved."""
    found = TOKEN.findall(rng.choice(BASES))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at, length = rng.randrange(len(found)), rng.choice((1, 1, 1, 2, 5, 30))
        piece = found[at : at + length]
        match rng.randrange(6):
            case 0:
                del found[at : at + length]
            case 1:
                found[at:at] = piece
            case 2:
                found[at : at + 1] = [rng.choice(POOL)]
            case 3:
                found.insert(at, rng.choice(POOL))
            case 4:
                to = rng.randrange(len(found))
                found[at], found[to] = found[to], found[at]
            case _:
                to = rng.randrange(len(found))
                found[to:to] = piece
        found = found or [" "]
    return "".join(found)


def assert_nothing_else_happens(written: str | bytes) -> Loaded:
    """Load a text: it is a whole policy that lowers and reads back, or has problems that can be shown."""
    loaded = load_policy(written, "any.yaml")
    errors = [problem for problem in loaded.problems if problem.severity is Severity.ERROR]
    assert (loaded.policy is None) == bool(errors)
    assert len(loaded.problems) < 4 * MAX_PROBLEMS
    for problem in loaded.problems:
        assert 0 <= problem.span.start <= problem.span.end <= max(1, len(loaded.source.text))
        assert all(c.isprintable() or c == "\n" for c in render(problem, loaded.source))
    if loaded.policy is None:
        with pytest.raises(PolicyError):
            loaded.required()
        return loaded
    assert_whole(loaded, written)
    assert lower_all(loaded.policy).keys() == loaded.lowered.keys()
    assert load_policy(loaded.policy.canonical, "canonical").required().digest == loaded.policy.digest
    return loaded


@settings(max_examples=EXAMPLES)
@given(st.randoms(use_true_random=False))
def test_any_change_of_a_policy_gives_a_policy_or_problems(rng: random.Random) -> None:
    """Tokens deleted, doubled, replaced, moved: nothing is raised, and no part is left out in silence."""
    assert_nothing_else_happens(mutated(rng))


KEYS = """
apiVersion policy version selection bars every universe params indicators signals define rules gates limits
orders promises stock crypto calendar weights symbols watch value range for votes weight buy sell when then
once because all any by from at_most at_least per kept vetoes if_unknown priority protective min_step a rsi
SPY
"""
VALUES = "tradectl/v1|held|rsi < 30|5%|1h|sell all|buy to 5 USD|NYSE|15m|exits_first|1.0.0"
keys = st.sampled_from(KEYS.split())
words = st.one_of(st.sampled_from(VALUES.split("|")), st.text(max_size=8))
values = st.recursive(
    st.one_of(words, st.integers(-5, 1000), st.booleans(), st.none()),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(keys, below, max_size=5)),
    max_leaves=25,
)


@settings(max_examples=EXAMPLES)
@given(st.dictionaries(keys, values, max_size=12))
def test_any_document_gives_a_policy_or_problems(document: dict[str, object]) -> None:
    """Words of the language in the wrong places."""
    assert_nothing_else_happens(json.dumps(document))


def test_a_policy_with_errors_is_required_in_vain() -> None:
    """``required`` raises all errors, and no warning."""
    loaded = load("rsi < 30% and gain > 5", ("weights: {SPY: 20%", "weights: {SPY: 99%"))
    with pytest.raises(PolicyError) as raised:
        loaded.required()
    assert [problem.code for problem in raised.value.problems] == ["unit", "unit"]
    assert loaded.lowered == {}


def test_too_many_mistakes_end_the_reading() -> None:
    """So many are told, and that there are more."""
    rules = "".join(f"  r{i}: {{priority: {i}, when: rsi > {i}%, then: sell all}}\n" for i in range(200))
    loaded = load("held", ("define:\n", "define:\n"), ("  entry:\n", f"{rules}  entry:\n"))
    codes = [problem.code for problem in loaded.problems]
    assert codes.count("too-many-problems") == 1
    assert len(codes) == MAX_PROBLEMS + 1


def test_calendars_are_asked_for_once_each_class() -> None:
    """The loader hands the names of calendars out, and reports what comes back at their place."""
    loaded = load_policy(text(), "small.yaml", lambda name: f"no {name}" if name == "NYSE" else None)
    (problem,) = loaded.problems
    assert (problem.code, problem.message) == ("unknown-calendar", "no NYSE")
    assert loaded.source.text[problem.span.start : problem.span.end] == "NYSE"


# --- digests ----------------------------------------------------------------------------------

SAME: dict[str, Callable[[str], str]] = {
    "comments": lambda t: t.replace("rules:\n", "# why\nrules:   # which\n"),
    "a description": lambda t: t.replace("bars: 15m", "description: of nothing\nbars: 15m"),
    "60m for 1h": lambda t: t.replace("close on 1h", "close on 60m"),
    "900s for 15m": lambda t: t.replace("bars: 15m", "bars: 900s"),
    "8.0% for 8%": lambda t: t.replace("{value: 8%}", "{value: 8.0%}"),
    "blanks": lambda t: t.replace("rsi > 40 and rsi < 60", "rsi>40   and rsi<60"),
    "brackets": lambda t: t.replace("rsi > 40 and rsi < 60", "(rsi > 40) and ((rsi < 60))"),
    "quotes": lambda t: t.replace("calm: rsi > 40 and rsi < 60", "calm: 'rsi > 40 and rsi < 60'"),
    "a block": lambda t: t.replace("calm: rsi > 40 and rsi < 60", "calm: >\n    rsi > 40\n    and rsi < 60"),
    "a list": lambda t: t.replace(
        "    when: rsi < oversold and enhanced.side == buy and not calm\n",
        "    when:\n      all:\n        - rsi < oversold\n"
        "        - enhanced.side == buy\n        - not calm\n",
    ),
    "a default written out": lambda t: t.replace(
        "then: buy to target", "then: buy to target\n    min_step: 5%"
    ),
    "a default order style": lambda t: t + "orders: {buy: {limit: 100.1% of ask, good_for: 60s}}\n",
    "the order of keys": lambda t: t.replace(
        "    priority: 100\n    when: rsi < oversold and enhanced.side == buy and not calm\n",
        "    when: rsi < oversold and enhanced.side == buy and not calm\n    priority: 100\n",
    ),
    "the order of sections": lambda t: t.replace("bars: 15m\nevery: 1m\n", "every: 1m\nbars: 15m\n"),
    "line ends": lambda t: t.replace("\n", "\r\n"),
    "a mark in front": lambda t: "\ufeff" + t,
}
OTHER: dict[str, Callable[[str], str]] = {
    "a value": lambda t: t.replace("{value: 8%}", "{value: 9%}"),
    "a range": lambda t: t.replace("range: [10, 50]", "range: [10, 51]"),
    "a class's value": lambda t: t.replace("for: {crypto: 25}", "for: {crypto: 26}"),
    "a weight": lambda t: t.replace("SPY: 20%", "SPY: 21%"),
    "a vote's weight": lambda t: t.replace("weight: 2", "weight: 2.5"),
    "the order of symbols": lambda t: t.replace("SPY: 20%, QQQ: 10%", "QQQ: 10%, SPY: 20%"),
    "the order of conditions": lambda t: t.replace("rsi > 40 and rsi < 60", "rsi < 60 and rsi > 40"),
    "the order of rules": lambda t: t.replace(
        "  told: {priority: 400, when: model.side == sell and fast > 1 USD, then: sell all}\n", ""
    ) + "  told: {priority: 400, when: model.side == sell and fast > 1 USD, then: sell all}\n",
    "a priority": lambda t: t.replace("priority: 100", "priority: 101"),
    "a name": lambda t: t.replace("  entry:", "  entree:"),
    "a version": lambda t: t.replace("version: 1.0.0", "version: 1.0.1"),
    "the timezone": lambda t: t.replace("America/New_York", "UTC"),
    "the cadence": lambda t: t.replace("every: 1m", "every: 2m"),
    "no cadence": lambda t: t.replace("every: 1m\n", ""),
    "an order style": lambda t: t + "orders: {buy: {good_for: 2m}}\n",
    "a scope": lambda t: t.replace("then: buy to target", "then: buy to target\n    for: [stock, crypto]"),
    "a feed's age": lambda t: t.replace("max_age: 15m", "max_age: 16m"),
    "a promise": lambda t: t + "promises: {still: {never: action == buy}}\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_digest_is_blind_to_spelling(name: str) -> None:
    """What decides the same, in the same words and order, has the same digest."""
    changed = SAME[name](text())
    assert changed != text()
    assert load_policy(changed, "changed.yaml").required().digest == policy().digest


@pytest.mark.parametrize("name", OTHER)
def test_the_digest_sees_everything_else(name: str) -> None:
    """Values, order, names, versions: each makes another digest."""
    changed = OTHER[name](text())
    assert changed != text()
    assert load_policy(changed, "changed.yaml").required().digest != policy().digest


def test_the_canonical_text_is_json_and_says_all_defaults() -> None:
    """The journal keeps it: whoever reads it needs no other release's defaults."""
    written = json.loads(policy().canonical)
    assert written["orders"]["buy"] == {
        "type": "limit", "good_for": "1m", "limit": "100.1% of ask", "session": "regular",
    }  # fmt: skip
    assert written["rules"]["entry"]["min_step"] == "5%"
    assert written["define"]["roi"] == {"by": "held_for", "from": {"0s": "4%", "30m": "loss"}}
    assert "description" not in written


# --- the parts --------------------------------------------------------------------------------


def test_rules_are_in_the_order_of_choice() -> None:
    """Priority descending, then as written; every part of a rule is there."""
    found = policy()
    assert [rule.name for rule in found.rules] == ["stop", "exit", "trend", "told", "entry"]
    stop, exit_rule, *_, entry = found.rules
    assert (stop.protective, stop.action, stop.size, stop.then_text) == (True, Action.SELL, None, "sell all")
    assert (entry.action, entry.is_level, entry.min_step) == (Action.BUY, True, Decimal("0.05"))
    assert exit_rule.then_text == "sell to goal"
    assert exit_rule.size_measure is Measure.MONEY


def test_built_in_gates_come_first_and_would_exit_belongs_to_exits_first() -> None:
    """The reserved gates are written in the language; by_priority has no would-exit."""
    found = [gate.name for gate in policy().gates]
    assert found == [name for name, _, _ in INTEGRITY_GATES]
    other = policy("held and rsi < 30", ("exits_first", "by_priority"))
    assert [gate.name for gate in other.gates] == [name for name in found if name != "would-exit"]
    assert {*found, "once", "integrity"} == RESERVED_GATES


@pytest.mark.parametrize(
    ("limit", "kind", "per", "count", "window_seconds"),
    [
        ("{at_most: 3 buys per 3m}", LimitKind.BUYS_AT_MOST, LimitScope.PORTFOLIO, 3, 180),
        ("{at_most: 1 buy per 1d, per: symbol}", LimitKind.BUYS_AT_MOST, LimitScope.SYMBOL, 1, 86400),
        ("{at_most: 4 positions, per: class}", LimitKind.POSITIONS_AT_MOST, LimitScope.CLASS, 4, 0),
        ("{at_most: 15% of equity, per: symbol}", LimitKind.EXPOSURE_AT_MOST, LimitScope.SYMBOL, 0, 0),
        ("{at_most: 90% of equity}", LimitKind.EXPOSURE_AT_MOST, LimitScope.PORTFOLIO, 0, 0),
        ("{at_most: 500 USD, per: order}", LimitKind.ORDER_AT_MOST, LimitScope.ORDER, 0, 0),
        ("{at_least: 10 USD, per: order}", LimitKind.ORDER_AT_LEAST, LimitScope.ORDER, 0, 0),
        ("{at_least: 5% of equity, kept: cash}", LimitKind.CASH_AT_LEAST, LimitScope.PORTFOLIO, 0, 0),
        ("{at_least: 0, kept: cash}", LimitKind.CASH_AT_LEAST, LimitScope.PORTFOLIO, 0, 0),
    ],
)
def test_limits(limit: str, kind: LimitKind, per: LimitScope, count: int, window_seconds: int) -> None:
    """Money and counts, over orders, symbols, classes and all."""
    found = load_policy(text() + f"limits: {{one: {limit}}}\n", "limits.yaml").required()
    (one,) = found.limits
    assert (one.kind, one.per, one.count, one.window_seconds) == (kind, per, count, window_seconds)
    assert (one.bound is None) == (kind in (LimitKind.BUYS_AT_MOST, LimitKind.POSITIONS_AT_MOST))
    assert_reads_back(found)


@pytest.mark.parametrize(
    ("then", "action", "verb"),
    [
        ("sell   all", Action.SELL, "sell all"),
        ("hold", Action.HOLD, "hold"),
        ("sell to 0", Action.SELL, "sell to 0"),
        ("buy to 50.0% of target", Action.BUY, "buy to 50% of target"),
        ("buy to (5% of equity) / price", Action.BUY, "buy to 5% of equity / price"),
    ],
)
def test_actions(then: str, action: Action, verb: str) -> None:
    """What stands behind then: has one canonical text."""
    found = next(rule for rule in policy("held", ("buy to target", then)).rules if rule.name == "entry")
    assert (found.action, found.then_text) == (action, verb)


def test_parameters_of_classes_and_symbols() -> None:
    """A symbol's own value goes before its class's, which goes before the plain one."""
    found = policy("rsi < oversold", ("for: {crypto: 25}", "for: {crypto: 25, BTC-USD: 20}"))
    oversold = found.parameters["oversold"]
    values = {listing.symbol: oversold.resolve(listing) for listing in found.universe}
    assert values == {"SPY": 30, "QQQ": 30, "BTC-USD": 20, "ETH-USD": 25}


@pytest.mark.parametrize(
    ("parameter", "unit"),
    [
        ("{value: 0, range: [0m, 1d]}", Measure.DURATION),
        ("{value: 0, for: {crypto: 5%}}", Measure.RATIO),
        ("{value: 5%, range: [0, 10%]}", Measure.RATIO),
        ("{value: 0}", Measure.SCALAR),
        ("{value: -5%}", Measure.RATIO),
        ("{value: 30 bars}", Measure.BARS),
        ("{value: 10:00}", Measure.CLOCK),
    ],
)
def test_a_bare_zero_has_the_unit_of_the_other_numbers(parameter: str, unit: Measure) -> None:
    """The unit of a parameter is that of its numbers."""
    found = policy("held", ("  pause: {value: 15m}", f"  pause: {{value: 15m}}\n  other: {parameter}"))
    assert found.parameters["other"].unit is unit


def test_a_reason_is_text_and_terms() -> None:
    """Expressions stand in braces; the asset class is known when the policy is lowered."""
    found = policy(
        "held",
        (
            "then: buy to target",
            "then: buy to target\n    because: 'RSI {rsi}, twice {2*rsi} of {asset_class}'",
        ),
    )
    entry = next(rule for rule in found.rules if rule.name == "entry")
    assert [part if isinstance(part, str) else "..." for part in entry.because] == [
        "RSI ", "...", ", twice ", "...", " of ", "...",
    ]  # fmt: skip
    assert (
        json.loads(found.canonical)["rules"]["entry"]["because"]
        == "RSI {rsi}, twice {2 * rsi} of {asset_class}"
    )


def test_once_and_selection_are_words() -> None:
    """Enumerations of the file are those of the lowered form."""
    found = policy("held", ("then: buy to target", "then: buy to target\n    once: position"))
    assert next(rule for rule in found.rules if rule.name == "entry").once is Once.POSITION
    assert found.selection is Selection.EXITS_FIRST


def test_equal_priorities_need_plainly_disjoint_conditions() -> None:
    """Class words, enum words, scopes and held keep two rules apart; anything else does not."""

    def collides(first: str, second: str, extra: str = "") -> bool:
        rules = (
            f"  one: {{priority: 7, when: {first}, then: buy to target}}\n"
            f"  two: {{priority: 7, when: {second}, then: hold{extra}}}\n"
        )
        problems = load("held", ("  entry:\n", f"{rules}  entry:\n")).problems
        return "equal-priority" in {problem.code for problem in problems}

    assert collides("rsi < 30", "rsi > 70")  # numbers are for the prover
    assert collides("rsi < 30", "held")
    assert not collides("not held", "held")
    assert not collides("enhanced.side == buy", "enhanced.side == sell")
    assert not collides("enhanced.side == buy", "enhanced.side != buy")
    assert collides("enhanced.side != buy", "enhanced.side != sell")
    assert not collides("asset_class == crypto", "asset_class == stock and held")
    assert collides("rsi < 30", "held", ", for: crypto")
    disjoint = (
        "  one: {priority: 7, for: stock, when: held, then: sell all}\n"
        "  two: {priority: 7, for: [BTC-USD, ETH-USD], when: held, then: sell to goal}\n"
    )
    assert load("held", ("  entry:\n", f"{disjoint}  entry:\n")).policy is not None


def test_rules_of_equal_priority_that_propose_the_same_are_welcome() -> None:
    """Two reasons to sell all may share a priority."""
    rules = "".join(f"  r{i}: {{priority: 7, when: held and rsi > {i}, then: sell all}}\n" for i in (60, 70))
    assert load("held", ("  entry:\n", f"{rules}  entry:\n")).policy is not None


def test_random_texts_are_the_same_for_the_same_numbers() -> None:
    """A failure can be repeated from its seed."""
    assert policy_text(random.Random(5)) == policy_text(random.Random(5))


def test_the_module_folder_has_a_test_for_each_stage() -> None:
    """Every stage of the language is tested by a file of its name."""
    here = Path(__file__).parent
    stages = {path.stem for path in Path(load_policy.__code__.co_filename).parent.glob("[a-z]*.py")}
    tested_by = {"declarations": "load", "reading": "load", "policy": "load"}
    tested_by |= {"edits": "format", "layout": "format", "lines": "format", "migrate_v0": "migrate"}
    assert [stage for stage in stages if not (here / f"test_{tested_by.get(stage, stage)}.py").exists()] == []
