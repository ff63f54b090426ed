"""The shape of a policy: one mistake is one problem, in our words, at its own place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from engine.errors import PolicyError, Problem, render
from engine.language.source import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    Document,
    MappingNode,
    Node,
    ScalarNode,
    load_document,
    resolve,
)
from engine.language.structure import Structure, check_structure
from tests.engine.language.test_source import GOLDEN
from tests.golden import assert_golden
from tests.shared_data import shared_path

POLICY = """\
apiVersion: tradectl/v1
policy: every-key
version: 1.0.0-rc.1
description: uses every key once
timezone: America/New_York
selection: exits_first
every: 30s
bars: 15m
universe:
  stock: {calendar: NYSE, weights: {SPY: 12%, BRK.B: 0.5%}, watch: [QQQ]}
  crypto: {calendar: 24/7, symbols: [BTC-USD, 1INCH, ON, TRUE, NO]}
params:
  stop_loss: {value: 8%, range: [2%, 25%], for: {crypto: 12%, BTC-USD: 14%}}
  overbought: {value: 80}
indicators:
  rsi: rsi(14)
  hour: close on 1h
signals:
  enhanced:
    votes:
      rsi: {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 0.5, if_unknown: abstain}
  model: {from: feed, max_age: 15m}
define:
  five: 5
  goal: 5% of target
  roi: {by: held_for, from: {0m: 4%, 30m: 2%}}
rules:
  stop-loss:
    priority: 1000
    protective: true
    when: held and gain <= -stop_loss
    then: sell all
    because: "{gain} since entry"
  overbought-exit:
    priority: 900
    for: [stock, BTC-USD]
    when:
      all:
        - held
        - any: [rsi > overbought, enhanced.side == sell]
    then: sell to goal
    min_step: 5%
  entry: {priority: 100, for: crypto, when: not held, then: buy 100 USD, once: day}
gates:
  late: {vetoes: [buy], when: until_close < 15m, for: stock}
  closed: {vetoes: [sell, protective], when: session != regular, if_unknown: pass}
limits:
  order-rate: {at_most: 3 buys per 3m}
  cash: {at_least: 5% of equity, kept: cash}
  cap: {at_most: 15% of equity, per: symbol, for: crypto}
orders:
  buy: {type: limit, limit: 100.1% of ask, good_for: 1m, time_in_force: day, session: regular}
  sell: {type: market}
promises:
  still: {given: session != regular, always: action == hold}
  never-twice: {never: action == buy}
"""


def check(text: str) -> tuple[Document, Structure]:
    """Load a text that has a tree, and check it."""
    document = load_document(text, "policy.yaml")
    return document, check_structure(document)


def all_problems(text: str) -> tuple[Document, list[Problem]]:
    """Return the problems of both stages by place."""
    document, structure = check(text)
    return document, sorted([*document.problems, *structure.problems], key=lambda problem: problem.span.start)


# What is written, and what is written instead: each is one mistake.
MISTAKES: dict[str, tuple[str, str]] = {
    "unknown section": ("define:\n", "defines:\n"),
    "misspelt needed section": ("selection: exits_first", "selektion: exits_first"),
    "unknown key like none": ("protective: true", "colour: red"),
    "key of another section": ("    then: sell all\n", "    then: sell all\n    vetoes: [buy]\n"),
    "misspelt needed key": ("    then: sell all\n", "    than: sell all\n"),
    "misspelt alternative": ("{at_least: 5%", "{at_last: 5%"),
    "needed section missing": ("selection: exits_first\n", ""),
    "needed key missing": ("    then: sell all\n", ""),
    "needed key missing in braces": ("{vetoes: [buy], when", "{when"),
    "value without a key": ("value: 8%, ", ""),
    "alternatives missing": ("at_most: 3 buys per 3m", "per: order"),
    "both alternatives": ("5% of equity, kept: cash", "5% of equity, at_most: 3 positions"),
    "symbols and weights": ("watch: [QQQ]", "symbols: [QQQ]"),
    "feed without age": ("{from: feed, max_age: 15m}", "{from: feed}"),
    "age without feed": ("{from: feed, max_age: 15m}", "{votes: {a: {weight: 1, buy: held}}, max_age: 1m}"),
    "vote for nothing": ("buy: rsi < 30, sell: rsi > 70, hold: 0.5, ", ""),
    "promise of nothing": ("{never: action == buy}", "{given: held}"),
    "text for a number": ("priority: 1000", "priority: high"),
    "fraction": ("priority: 1000", "priority: 1.5"),
    "quoted number": ("priority: 1000", "priority: '1000'"),
    "number out of range": ("priority: 1000", "priority: -1"),
    "weight of zero": ("weight: 2", "weight: 0"),
    "yes for true": ("protective: true", "protective: yes"),
    "text for a mapping": ("{at_most: 3 buys per 3m}", "3 buys per 3m"),
    "text for a list": ("vetoes: [buy]", "vetoes: buy"),
    "mapping for text": ("then: buy 100 USD", "then: {buy: 100 USD}"),
    "list for a condition": ("when: not held", "when: [not held, rsi > 3]"),
    "list in lines for a condition": ("      all:\n        - held\n        -", "        - held\n        -"),
    "null": ("because: \"{gain} since entry\"", "because: ~"),
    "all and any": ("      all:\n        - held\n", "      all: [held]\n      any:\n        - held\n"),
    "unknown kind of list": ("- any: [rsi", "- some: [rsi"),
    "empty list": ("any: [rsi > overbought, enhanced.side == sell]", "any: []"),
    "empty mapping": ("weights: {SPY: 12%, BRK.B: 0.5%}", "weights: {}"),
    "half a range": ("range: [2%, 25%]", "range: [2%]"),
    "range too long": ("range: [2%, 25%]", "range: [2%, 3%, 25%]"),
    "word not known": ("once: day", "once: hour"),
    "word like a known one": ("selection: exits_first", "selection: exit_first"),
    "wrong version of the language": ("tradectl/v1", "tradectl/v2"),
    "item not known": ("[sell, protective]", "[sell, stop]"),
    "item twice": ("[sell, protective]", "[sell, sell]"),
    "symbol twice": ("1INCH, ON,", "1INCH, ON, ON,"),
    "version of two numbers": ("version: 1.0.0-rc.1", "version: 1.10"),
    "version with a line break": ("version: 1.0.0-rc.1", 'version: "1.0.0\\n"'),
    "interval in words": ("every: 30s", "every: 30 seconds"),
    "policy's name": ("policy: every-key", "policy: Every Key"),
    "description too long": ("description: uses", "description: " + "very " * 400 + "long, uses"),
    "symbol in lower case": ("watch: [QQQ]", "watch: [qqq]"),
    "weight of a symbol in lower case": ("{SPY: 12%", "{spy: 12%"),
    "parameter's name": ("stop_loss: {value", "stop-loss: {value"),
    "rule's name": ("  entry: {", "  Entry Rule: {"),
    "name that cannot be mended": ("  overbought: {", "  '%': {"),
    "class not known": ("  crypto: {cal", "  cryptos: {cal"),
    "step without a number": ("{0m: 4%", "{zero: 4%"),
    # of the source: the structure has nothing to add
    "no value": ("priority: 1000", "priority:"),
    "no value of a section": ("every: 30s", "every:"),
    "leading zero": ("priority: 1000", "priority: 0100"),
    "comma": ("when: not held, then: buy 100 USD", "when: max(a, b) > 3, then: buy 100 USD"),
    "key twice": ("    then: sell all\n", "    then: sell all\n    then: hold\n"),
    "exclamation mark": ("when: not held,", "when: !held ,"),
    "no blank behind a colon": ("when: not held", "when:held"),
    "template": ("then: buy 100 USD", "then: {{ action }}"),
}  # fmt: skip


def test_mistakes_are_explained(update_golden: bool) -> None:
    """Each mistake is told in our words, at its place, with what to write instead."""
    parts = []
    for name, (right, wrong) in MISTAKES.items():
        assert POLICY.count(right) == 1, name
        document, problems = all_problems(POLICY.replace(right, wrong))
        parts += [f"=== {name}", *(render(problem, document.source) for problem in problems), ""]
    assert_golden("\n".join(parts), GOLDEN / "structure.txt", update_golden)


@pytest.mark.parametrize("name", MISTAKES)
def test_one_mistake_is_one_problem(name: str) -> None:
    """No mistake causes a second message, in either stage."""
    right, wrong = MISTAKES[name]
    _, problems = all_problems(POLICY.replace(right, wrong))
    assert len(problems) == 1


def test_many_mistakes_are_as_many_problems() -> None:
    """Mistakes in different places are all found at once."""
    together = {
        "misspelt needed section", "misspelt needed key", "text for a list", "fraction", "half a range",
        "weight of zero", "alternatives missing", "symbol twice", "promise of nothing", "exclamation mark",
    }  # fmt: skip
    text = POLICY
    for name in together - {"misspelt needed key"}:
        text = text.replace(*MISTAKES[name])
    text = text.replace("then: sell to goal", "than: sell to goal")
    assert len(all_problems(text)[1]) == len(together)


def test_a_policy_that_uses_every_key_is_right() -> None:
    """Nothing is found, and nothing is broken, where nothing is wrong."""
    _, structure = check(POLICY)
    assert structure == Structure((), frozenset())


def test_every_key_of_the_schema_is_used_above() -> None:
    """The policy above names each key that the schema knows, so that no key goes untried."""
    schema = schemas.load("policy-v1")
    known = {
        key
        for part in (schema, *_parts(schema))
        for key in part.get("properties", {})
        if isinstance(part.get("properties"), dict)
    }
    root = load_document(POLICY, "policy.yaml").root
    assert known - set(_keys(root)) == {"commodity"}


def _parts(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON value
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        if isinstance(value, dict):
            yield value
        yield from _parts(value)


def _keys(node: Node) -> Iterator[str]:
    if isinstance(node, MappingNode):
        for key, value in node.entries:
            yield key.text
            yield from _keys(value)
    elif not isinstance(node, ScalarNode):
        for item in node.items:
            yield from _keys(item)


def test_the_examples_are_right() -> None:
    """The ten example policies have the shape, and an editor would say so, too."""
    paths = sorted(shared_path("examples").glob("*.yaml"))
    assert len(paths) >= 10
    standard = Draft202012Validator(schemas.load("policy-v1"))
    for path in paths:
        document, structure = check(path.read_text(encoding="utf-8"))
        assert structure == Structure((), frozenset()), path.name
        assert [error.message for error in standard.iter_errors(_as_an_editor_reads(document.root))] == []


def _as_an_editor_reads(node: Node) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(node, ScalarNode):
        value = resolve(node)
        return value if value is None or isinstance(value, bool | int | str) else float(value)
    if isinstance(node, MappingNode):
        return {key.text: _as_an_editor_reads(value) for key, value in node.entries}
    return [_as_an_editor_reads(item) for item in node.items]


def test_an_editor_accepts_every_key() -> None:
    """The schema without our extensions takes the policy above as a YAML 1.2 reader sees it."""
    value = _as_an_editor_reads(load_document(POLICY, "policy.yaml").root)
    assert [
        error.message for error in Draft202012Validator(schemas.load("policy-v1")).iter_errors(value)
    ] == []


def test_the_examples_in_the_schema_are_right() -> None:
    """What the schema shows as a right value is one."""
    schema = schemas.load("policy-v1")
    parts = [part for part in _parts(schema) if isinstance(part.get("examples"), list)]
    assert parts
    for part in parts:
        validator = Draft202012Validator({**part, "$defs": schema["$defs"]})
        for example in part["examples"]:
            assert [error.message for error in validator.iter_errors(example)] == [], json.dumps(example)


def test_every_key_is_described() -> None:
    """An editor has something to say about each key."""
    schema = schemas.load("policy-v1")
    for part in (schema, *_parts(schema)):
        properties = part.get("properties", {})
        if all(isinstance(value, dict) for value in properties.values()):
            assert [key for key, value in properties.items() if "description" not in value] == []


def test_broken_paths_cover_what_is_wrong_or_missing() -> None:
    """Later stages learn where not to look: at the wrong, the missing, the misspelt."""
    text = POLICY.replace("then: sell all", "than: sell all").replace("priority: 900", "priority: high")
    _, structure = check(text.replace("bars: 15m\n", "").replace("once: day", "once: !x day"))
    assert structure.broken == {
        ("bars",),
        ("rules", "stop-loss", "than"),
        ("rules", "stop-loss", "then"),
        ("rules", "overbought-exit", "priority"),
        ("rules", "entry", "once"),
    }
    assert not structure.usable(("rules", "stop-loss", "then"))
    assert not structure.usable(("bars", "anything below"))
    assert structure.usable(("rules", "stop-loss"))
    assert structure.usable(("rules", "stop-loss", "when"))


@pytest.mark.parametrize("text", ["- a", "x", "5", "{}", "a: 1", "rules: []", "'': 1"])
def test_other_documents_are_no_policy(text: str) -> None:
    """A document of another shape has problems at places of its own."""
    document, problems = all_problems(text)
    assert problems
    assert all(problem.span.end <= len(text) and render(problem, document.source) for problem in problems)


def test_more_mistakes_than_can_be_shown_are_cut() -> None:
    """The last problem says that there are more."""
    rules = "".join(f"  r{number}: {{colour: red}}\n" for number in range(100))
    _, structure = check(POLICY[: POLICY.index("rules:")] + "rules:\n" + rules)
    assert len(structure.problems) == MAX_PROBLEMS + 1
    assert [problem.code for problem in structure.problems].index("too-many-problems") == MAX_PROBLEMS


def test_the_deepest_condition_is_checked() -> None:
    """Nesting up to the source's bound is checked to its end, without a RecursionError."""
    depth = (MAX_DEPTH - 4) // 2
    nested = "{all: [" * depth + "5, {x: 1}" + "]}" * depth
    _, structure = check(POLICY.replace("when: not held", f"when: {nested}"))
    assert [problem.code for problem in structure.problems] == ["unknown-key"]


KEYS = "apiVersion policy rules when all any universe stock symbols for votes limits at_most range by from"
WORDS = st.sampled_from([*KEYS.split(), "x", "1", "~", "true", "SPY", "010", "1.5", "''"])
TREES = st.recursive(
    WORDS,
    lambda children: st.one_of(
        st.lists(children, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(WORDS, children), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(key=st.sampled_from([*POLICY.split("\n")]), tree=TREES)
def test_no_tree_raises(key: str, tree: str) -> None:
    """Any tree in any place of a policy gives problems that can be shown, one for each place."""
    head = key.partition(":")[0]
    text = POLICY.replace(key + "\n", f"{head}: {tree}\n", 1) if head.strip() else tree
    try:
        document, structure = check(text)
    except PolicyError:
        return
    places = [(problem.span, problem.message) for problem in structure.problems]
    assert len(places) == len(set(places))
    for problem in structure.problems:
        assert 0 <= problem.span.start < problem.span.end <= len(text)
        assert all(
            character.isprintable() or character == "\n" for character in render(problem, document.source)
        )
