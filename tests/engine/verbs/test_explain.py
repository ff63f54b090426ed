"""Explanations: what they say agrees with what was decided, and the changes they name do what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import policies
import schemas
from engine.codes import Action, Disposition
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.language.lower import lower
from engine.language.policy import Policy
from engine.language.source import load_document
from engine.prove.changes import counterfactuals
from engine.verbs.decide import decide
from engine.verbs.explain import explain
from engine.verbs.explanation import Explanation
from engine.verbs.statement import parse_statement, what_if_statement
from engine.verbs.vector import fact_vector

STUDY = Path(__file__).parents[2] / "adapters" / "cli" / "study.yaml"
LEGACY = "legacy-2025-11-18"
SCHEMA = Draft202012Validator(schemas.load("explain-v1"))


@cache
def policy_of(name: str) -> Policy:
    """Load the policy of the command's tests, or a shipped one."""
    text = STUDY.read_text() if name == "study" else policies.read(name)
    return load_policy(text, f"{name}.yaml").required()


def explained(
    facts: str, *what_if: str, policy: str = "study", symbol: str = "DOGE-USD", why_not: Action | None = None
) -> Explanation:
    """Decide on a facts file and explain it."""
    loaded = policy_of(policy)
    listing = loaded.listing(symbol)
    assert listing is not None
    lowered = lower(loaded, listing)
    statement = parse_statement(load_document(facts, "facts.yaml"))
    overrides = what_if_statement(what_if) if what_if else None
    vector = fact_vector(loaded, lowered, listing, statement, what_if=overrides)
    decision = decide(ReferenceEvaluator(lowered), list(vector.values), vector.situation)
    reached = None
    if why_not is not None and why_not is not decision.action:
        reached = counterfactuals(loaded, listing, lowered, vector, why_not, Budget())
    return explain(loaded, lowered, vector, decision, why_not, reached=reached)


def texts(explanation: Explanation) -> dict[str, str]:
    """Return what is said of each rule."""
    return {rule.name: rule.text for rule in explanation.rules}


FLAT = """\
facts:
  rsi: 31.25
  prev(rsi): 30
  fast: 0.1611 USD
  slow: 0.16 USD
  prev(fast): 0.1599 USD
  prev(slow): 0.16 USD
  tips.side: sell
  price: 0.16 USD
  ask: 0.1601 USD
  equity: 100000 USD
"""
HELD = f"{FLAT}  position_qty: 20000\n  gain: -7.5%\n"


def test_an_entry_is_explained() -> None:
    """The deciding rule, its order, the limit that shrank it, who concurred."""
    found = explained(FLAT)
    assert (found.action, found.rule, found.position) == ("buy", "dip", "flat")
    assert found.order is not None
    assert (
        found.order.text == "buy 6239.504 at 0.1602601 USD or better, about 1000.00 USD"
        or found.order.side == "buy"
    )
    said = texts(found)
    assert said["dip"].startswith("decided: held is false; rsi 31.25 < 35 is true, by 3.75; ")
    assert said["dip"].endswith("; symbol-cap shrank the order")
    assert said["again"] == "concurred: dip decided"
    assert said["quiet"] == "session is regular, not pre"
    assert [limit.name for limit in found.limits if limit.binding] == ["symbol-cap"]


def test_the_sentence_of_a_rule_gets_its_numbers() -> None:
    """``because`` is filled with facts and parameters in their units."""
    found = explained(HELD, "gain=-8.01%")
    assert (found.action, found.rule) == ("sell", "stop")
    assert found.because == "-8.01 % since entry; the stop is at -8 %"
    assert texts(found)["trim"] == "concurred: stop decided"
    assert texts(found)["again"] == "outranked by stop"


def test_vetoes_withheld_entries_and_trials_are_told() -> None:
    """A gate by its leaves, an Unknown exit by its facts, an exit that would follow by name."""
    assert texts(explained(FLAT, "since_order=252s"))["dip"] == (
        "vetoed by cooldown: since_order 4m 12s < 5m is true, by 48s"
    )
    closed = explained(FLAT, "session=closed")
    assert texts(closed)["dip"] == "vetoed by market-hours: session is closed, not regular"
    assert next(gate for gate in closed.gates if gate.name == "market-hours").vetoed == ("dip", "again")
    unknown = explained(FLAT, "session=unknown(stale)")
    assert texts(unknown)["dip"] == "vetoed by market-hours, which is unknown: session: stale"
    spread = explained(FLAT, "ask=0.2 USD")
    assert texts(spread)["dip"] == (
        "vetoed by would-exit: just after this entry stop would be true "
        "(gain -20 % <= -8 % is true, by 12.01 %)"
    )
    abstained = explained(FLAT, "tips.side=unknown")
    assert "adopted-sell would be unknown (trend.side: a vote abstained" in texts(abstained)["dip"]
    assert texts(abstained)["again"].startswith(
        "withheld: whether dip may enter is unknown: just after this entry"
    )
    held = explained(HELD, "rsi=unknown")
    assert texts(held)["dip"] == "held is true; rsi < 35 is unknown (rsi: missing)"
    used = explained(FLAT, "once.again=true", "rsi=40")
    assert texts(used)["again"] == "vetoed by once: once.again is true"


def test_denials_and_limits_name_what_is_missing() -> None:
    """A size, a limit or cash that cannot be known says which fact is not stated."""
    no_ask = explained(FLAT.replace("  ask: 0.1601 USD\n", ""))
    assert texts(no_ask)["dip"] == "denied: the size reads an Unknown fact (ask: not stated)"
    assert (no_ask.action, no_ask.rule, no_ask.because) == ("hold", "dip", texts(no_ask)["dip"])
    closed = explained(FLAT, "session=closed")
    assert (closed.rule, closed.because) == (None, "what matches is stopped: dip, again")
    poor = explained(FLAT, "cash=1 USD")
    assert texts(poor)["dip"] == "limited by least: an order of at least 10.00 USD"
    full = explained(f"{FLAT}usage: {{order-rate: 3}}\n")
    assert texts(full)["dip"] == "limited by order-rate: at most 3 buys per 3m; 3 made"
    quiet = explained("facts: {rsi: 50}")
    assert quiet.because == "no rule matches"


def test_signals_are_told_with_their_votes() -> None:
    """Each vote with what it cast; a signal nobody acts on, and one that an exit wanted more of."""
    found = explained(HELD, "rsi=75", "fast=0.15 USD")
    trend, tips = found.signals
    assert (trend.side, trend.confidence, trend.disposition) == ("sell", 1.0, "acted")
    assert trend.text == "acted by adopted-sell"
    assert [(vote.name, vote.cast) for vote in trend.votes] == [
        ("rsi", "sell"),
        ("cross", "sell"),
        ("tips", "sell"),
    ]
    assert tips.text == "concurred: the decision is its side"
    assert explained(FLAT).signals[1].text == "not adopted: no rule acts on a SELL of it"
    concurred = explained(f"{HELD}  trend: {{side: sell, confidence: 57%}}\n")
    assert (concurred.rule, concurred.signals[0].disposition) == ("trim", "concurred")
    assert concurred.signals[0].text == "concurred: the decision is its side"
    weak = explained(f"{HELD}  trend: {{side: sell, confidence: 57%}}\n", "position_qty=1000")
    assert weak.signals[0].source == "stated"
    assert weak.signals[0].text == "not adopted: trend.confidence 57 % >= 60 % is false, short by 3 %"


def test_the_doge_example() -> None:
    """The old agent, flat, RSI below 75, SELL 57 %: it bought, and the SELL says what it lacked."""
    facts = """\
facts:
  held: false
  rsi: 51.30
  enhanced: {side: sell, confidence: 57%}
  price: 0.16 USD
assumed: {equity: 100000 USD, ask: 0.1601 USD}
"""
    found = explained(facts, policy=LEGACY, why_not=Action.SELL)
    assert (found.action, found.rule) == ("buy", "crypto-dip-entry")
    assert found.why_not is not None
    by_name = {rule.name: rule for rule in found.why_not.rules}
    assert by_name["enhanced-sell"].text == (
        "enhanced.confidence 57 % > 60 % is false, short by 4 %; held is false"
    )
    assert by_name["overbought-exit"].unmet[-1].text == "rsi 51.30 > 80 is false, short by 28.71"
    assert found.why_not.changes == ()
    assert found.why_not.text == "nothing that the market or the clock does would sell it: not held"
    assert found.signals[0].disposition == "not_adopted"


def test_the_held_example_names_the_nearest_changes() -> None:
    """At 120 % of its goal: 4 % more confidence, or 3.71 more RSI, would have sold."""
    facts = """\
facts:
  position_value: 1200 USD
  price: 0.16 USD
  equity: 100000 USD
  rsi: 51.30
  enhanced: {side: sell, confidence: 57%}
"""
    found = explained(facts, policy=LEGACY, why_not=Action.SELL)
    assert found.action == "hold"
    assert found.position == "held, 1200.00 USD, 120 % of target"
    assert found.why_not is not None
    assert [change.text for change in found.why_not.changes] == [
        "enhanced.confidence +4 % (to 61 %)",
        "rsi +3.71 (to 55.01)",
    ]


def test_the_same_indicators_with_a_position_sell_by_the_defaults_own_votes() -> None:
    """What is not stated assumed falling, default counts a SELL of 60 % or more, and sells."""
    facts = """\
facts: {position_qty: 12500, entry_price: 0.165 USD, price: 0.16 USD, rsi: 51.30}
assumed:
  equity: 100000 USD
  close: 0.16 USD
  macd.line: -0.002 USD
  macd.signal: -0.001 USD
  fast: 0.161 USD
  slow: 0.163 USD
  bands.lower: 0.155 USD
  bands.upper: 0.175 USD
  hour: 0.16 USD
  trend: 0.17 USD
  peak_price: 0.166 USD
"""
    found = explained(facts, policy="default")
    (enhanced,) = found.signals
    assert (found.action, enhanced.side, enhanced.disposition) == ("sell", "sell", "acted")
    assert enhanced.confidence is not None
    assert enhanced.confidence >= 0.6


def test_why_not_what_was_decided_or_what_no_rule_proposes() -> None:
    """Asking for the decision itself, or for an action without a rule, is answered in a sentence."""
    same = explained(FLAT, why_not=Action.BUY).why_not
    assert same is not None
    assert (same.decided, same.text, same.changes) == (True, "the decision is buy", ())
    none = explained("facts: {}", policy=LEGACY, symbol="SPY", why_not=Action.BUY).why_not
    assert none is not None
    assert none.text.startswith("nothing that the market or the clock does would buy it")


def test_a_change_may_open_a_gate() -> None:
    """Where a gate is all that is in the way, the change is the gate's fact."""
    found = explained(FLAT, "since_order=252s", why_not=Action.BUY).why_not
    assert found is not None
    assert [change.text for change in found.changes] == ["48s more (since_order 5m)"]
    closed = explained(HELD, "gain=-9%", "session=closed", why_not=Action.SELL).why_not
    assert closed is not None
    assert [change.text for change in closed.changes] == ["session regular"]


# --- properties -------------------------------------------------------------------------------


_PRICE = st.integers(1500, 1700).map(lambda n: f"{n / 10000} USD")
_FACTS = {
    "rsi": st.one_of(st.integers(0, 10_000), st.integers(2900, 3600)).map(lambda n: f"{n / 100}"),
    "prev(rsi)": st.integers(0, 10_000).map(lambda n: f"{n / 100}"),
    "fast": _PRICE,
    "slow": _PRICE,
    "prev(fast)": _PRICE,
    "prev(slow)": _PRICE,
    "tips.side": st.sampled_from(["none", "buy", "sell", "hold"]),
    "price": st.integers(1650, 1700).map(lambda n: f"{n / 10000} USD"),
    "ask": st.integers(1700, 1720).map(lambda n: f"{n / 10000} USD"),
    "equity": st.integers(50_000, 200_000).map(lambda n: f"{n} USD"),
    "since_order": st.integers(200, 900).map(lambda n: f"{n}s"),
    "session": st.sampled_from(["pre", "regular", "regular", "regular", "closed"]),
}
_POSITION = {
    "position_qty": st.integers(1, 30_000).map(str),
    "gain": st.integers(-1200, 1200).map(lambda n: f"{n / 100}%"),
}


@st.composite
def facts_files(draw: st.DrawFn) -> list[str]:
    """Draw the lines of a facts file for the study policy; two facts at most are Unknown."""
    lines = {name: draw(strategy) for name, strategy in _FACTS.items()}
    if draw(st.booleans()):
        lines |= {name: draw(strategy) for name, strategy in _POSITION.items()}
    if draw(st.booleans()):
        side, confidence = draw(st.sampled_from(["buy", "sell", "hold"])), draw(st.integers(40, 80))
        lines["trend"] = f"{{side: {side}, confidence: {confidence}%}}"
    for name in draw(st.lists(st.sampled_from(sorted(_FACTS)), max_size=2)):
        lines[name] = "unknown(stale)"
    return [f"  {name}: {value}" for name, value in lines.items()]


@given(lines=facts_files(), action=st.sampled_from(list(Action)))
def test_what_is_said_agrees_with_what_was_decided(lines: Sequence[str], action: Action) -> None:
    """Each explanation is in the schema, and dispositions, vetoes and causes in it are the decision's."""
    found = explained("\n".join(["facts:", *lines, "  held_for: 0s"]), why_not=action)
    SCHEMA.validate(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    for rule in found.rules:
        matched = rule.disposition != Disposition.NONE.word
        assert matched == (rule.truth == "true")
        assert rule.text
        if rule.disposition == Disposition.VETOED.word:
            gate = next(gate for gate in found.gates if gate.name == rule.cause)
            assert rule.name in gate.vetoed
        if rule.truth == "false":
            assert any(leaf.truth != "unknown" for leaf in rule.leaves)
    acted = [rule.name for rule in found.rules if rule.disposition == Disposition.ACTED.word]
    assert set(acted) <= {found.rule}
    assert bool(acted) == (found.order is not None or (found.rule == "quiet"))
    for fact in found.facts:
        assert (fact.value is None) == (fact.reason is not None)


@given(lines=facts_files(), action=st.sampled_from([Action.BUY, Action.SELL]))
def test_each_change_makes_the_action(lines: Sequence[str], action: Action) -> None:
    """Stated as overrides, the facts of each change make the decision the one asked for."""
    text = "\n".join(["facts:", *lines, "  held_for: 0s"])
    found = explained(text, why_not=action).why_not
    assert found is not None
    for change in found.changes:
        stated = [f"{one.fact}={_written(one.fact, one.after)}" for one in change.facts if one.fact != "bid"]
        assert explained(text, *stated).action == action.name.lower(), change


_RATIOS = ("gain", "peak_gain", "drawdown", "weight", "trend.confidence")
_MONEY = ("price", "ask", "equity", "cash", "target", "position_value")


def _written(fact: str, value: object) -> str:
    """Return a value as a facts file has it."""
    if isinstance(value, str):
        return value
    assert isinstance(value, float)
    if fact in _RATIOS:
        return f"{value * 100:.2f}%"
    if fact.startswith(("since_", "held_for")):
        return f"{value:.0f}s"
    if fact in _MONEY or fact.removeprefix("prev(").startswith(("fast", "slow")):
        return (
            f"{value:.8f} USD" if fact not in ("equity", "target", "position_value") else f"{value:.2f} USD"
        )
    return str(value)
