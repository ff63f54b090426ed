"""Compare the evaluators on one policy of 12 rules and 40 facts.

Run it with ``python -m tests.bench.bench_evaluators``.  All decide the same cases in one process, in
interleaved rounds; the median round counts, in CPU time.

* ``handwritten`` is ``peers/handwritten.py``: all rules, Unknown honoured, the same verdict.
* ``compiled``, ``reference`` (which records every leaf) and ``durable`` are the policy's evaluators.
* ``zen matches`` gives zen-engine the decision as it would be used for it: an expression node for the
  signal, a decision table that collects the matched rules, one that collects the closed gates, an expression
  for the choice.
* ``zen first hit`` is the least that decides: gates folded into the conditions of one first-hit table, so
  that it stops at the first match and tells neither the other matches nor the vetoes.

Both zen-engine graphs are compiled ahead and served by its loader, its fastest way, and their contexts are
made before the clock starts.  It has no third truth value (a comparison with null is an error): Unknown facts
are 0 there, no entry is withheld, nothing has a cause.  That it decides the same where all is known is
checked first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.durable import DurableEvaluator, durable_available
from engine.evaluate.reference import ReferenceEvaluator
from tests.bench.peers.handwritten import decide
from tests.bench.policies import FACTS, POSITION_MEMORY, market_facts, twelve_rules

# --- the policy for zen-engine ------------------------------------------------------------------

_NAMES = [name.replace("prev(rsi)", "rsi_before").replace(".", "_") for name, _, _ in FACTS]

# Weights as in the policy.
_SIGNAL = {
    "held": "position_qty >= minimum",
    "buy": "(rsi < 30 ? 2 : 0) + (macd_line > macd_signal ? 2 : 0) + (fast > slow ? 1 : 0)"
    " + (close < bands_lower ? 1 : 0) + (hour > trend ? 2 : 0)",
    "sell": "(rsi > 70 ? 2 : 0) + (macd_line < macd_signal ? 2 : 0) + (fast < slow ? 1 : 0)"
    " + (close > bands_upper ? 1 : 0) + (hour < trend ? 2 : 0)",
    "hold": "rsi >= 30 and rsi <= 70 ? 1 : 0",
    "side": "$.buy > $.sell and $.buy > $.hold ? 'buy'"
    " : $.sell > $.buy and $.sell > $.hold ? 'sell' : 'other'",
    "confidence": "round(max([$.buy, $.sell, $.hold]) * 100 / ($.buy + $.sell + $.hold + 0.0000001)) / 100",
}
_OPEN = {
    "protective": "tradable == 1 and frozen == 0 and agent != 2 and session == 0",
    "exit": "$.protective and quote_age <= 60",
    "entry": "$.exit and agent == 0 and since_order >= 300 and since_sell >= 3600 and until_close >= 900"
    " and drawdown <= 0.2",
    "adopted": "$.entry and entries < 5",
    "always": "true",
}
_RULES = (
    ("stop-loss", "protective", "held and gain <= -0.08"),
    (
        "trailing-stop",
        "protective",
        "held and peak_gain >= 0.05 and price <= round(0.94 * peak_price * 100) / 100",
    ),
    ("overbought-exit", "protective", "held and rsi > 80"),
    ("crash-exit", "exit", "held and (day_change <= -0.1 or zscore < -3)"),
    ("profit-target", "exit", "held and gain >= 0.3"),
    ("adopted-sell", "exit", "held and side == 'sell' and confidence >= 0.6"),
    ("stale-position", "exit", "held and held_for > 7776000 and gain < 0.02"),
    ("trim-overweight", "exit", "held and position_value > round(1.1 * target * 100) / 100"),
    ("no-new-risk", "always", "drawdown >= 0.15 or cash < round(0.05 * equity * 100) / 100"),
    (
        "adopted-buy",
        "adopted",
        "side == 'buy' and confidence >= 0.6 and rsi < 70"
        " and position_value < round(0.9 * target * 100) / 100",
    ),
    ("breakout-entry", "entry", "not held and close > bands_upper and volume_ratio > 1.5 and side != 'sell'"),
    ("dip-entry", "entry", "not held and rsi < 35 and rsi > rsi_before and side != 'sell'"),
)
_EXITS, _ENTRIES = "protective exit", "entry adopted"
_GATES = (
    ("no-tradable-quote", f"{_EXITS} {_ENTRIES}", "tradable == 0"),
    ("frozen-symbol", f"{_EXITS} {_ENTRIES}", "frozen == 1"),
    ("agent-halted", f"{_EXITS} {_ENTRIES}", "agent == 2"),
    ("agent-reducing", _ENTRIES, "agent == 1"),
    ("market-hours", f"{_EXITS} {_ENTRIES}", "session != 0"),
    ("quote-freshness", f"exit {_ENTRIES}", "quote_age > 60"),
    ("cooldown", _ENTRIES, "since_order < 300"),
    ("reentry", _ENTRIES, "since_sell < 3600"),
    ("late-entry", _ENTRIES, "until_close < 900"),
    ("drawdown-halt", _ENTRIES, "drawdown > 0.2"),
    ("ladder-full", "adopted", "entries >= 5"),
)


def _expressions(name: str, expressions: dict[str, str], keep: bool = True) -> dict[str, Any]:
    rows = [
        {"id": f"{name}{i}", "key": key, "value": value} for i, (key, value) in enumerate(expressions.items())
    ]
    content = {"expressions": rows, "passThrough": keep}
    return {"id": name, "type": "expressionNode", "name": name, "content": content}


def _table(name: str, hits: str, rows: list[dict[str, str]], into: str | None = None) -> dict[str, Any]:
    outputs = [key for key in rows[0] if key not in ("_id", "when")]
    content = {
        "hitPolicy": hits,
        "inputs": [{"id": "when", "name": "when", "type": "expression"}],
        "outputs": [{"id": key, "name": key, "type": "expression", "field": key} for key in outputs],
        "rules": rows,
        **({"passThrough": True, "outputPath": into} if into else {}),
    }
    return {"id": name, "type": "decisionTableNode", "name": name, "content": content}


def _graph(*nodes: dict[str, Any]) -> str:
    chain = [
        {"id": "in", "type": "inputNode", "name": "facts"},
        *nodes,
        {"id": "out", "type": "outputNode", "name": "decision"},
    ]
    edges = [
        {"id": f"{a['id']}-{b['id']}", "sourceId": a["id"], "targetId": b["id"], "type": "edge"}
        for a, b in itertools.pairwise(chain)
    ]
    return json.dumps({"nodes": [{**node, "position": {"x": 0, "y": 0}} for node in chain], "edges": edges})


def _first_hit() -> str:
    rows = [
        {"_id": name, "when": f"{stops} and ({condition})", "winner": json.dumps(name)}
        for name, stops, condition in _RULES
    ]
    return _graph(_expressions("signal", _SIGNAL | _OPEN), _table("rules", "first", rows))


def _all_matches() -> str:
    rules = [
        {"_id": name, "when": condition, "rule": json.dumps(name), "stops": json.dumps(stops)}
        for name, stops, condition in _RULES
    ]
    gates = [
        {
            "_id": name,
            "when": condition,
            "gate": json.dumps(name),
            **{kind: str(kind in stops.split()).lower() for kind in _OPEN},
        }
        for name, stops, condition in _GATES
    ]
    choice = {
        **{f"no_{kind}": f"some(vetoes, #.{kind})" for kind in _OPEN},
        "standing": "filter(matches, not ("
        + " or ".join(f"(#.stops == '{kind}' and $.no_{kind})" for kind in _OPEN)
        + "))",
        "winner": "len($.standing) > 0 ? $.standing[0].rule : ''",
        "matches": "matches",
        "vetoes": "vetoes",
    }
    return _graph(
        _expressions("signal", _SIGNAL),
        _table("rules", "collect", rules, "matches"),
        _table("gates", "collect", gates, "vetoes"),
        _expressions("choice", choice, keep=False),
    )


ZEN_GRAPHS: dict[str, Callable[[], str]] = {"zen matches": _all_matches, "zen first hit": _first_hit}


def zen_decider(graph: str) -> Callable[[dict[str, Any]], str]:
    """Return a function from zen-engine's context to the name of the deciding rule, '' for none."""
    import zen

    content = zen.ZenDecisionContent(graph)
    engine = zen.ZenEngine({"loader": lambda _: content})

    def evaluate(context: dict[str, Any]) -> str:
        result = engine.evaluate("policy", context)["result"]
        return str(result.get("winner") or "") if result else ""

    return evaluate


def zen_context(values: list[float]) -> dict[str, Any]:
    """Return facts as zen-engine takes them: Unknown is 0."""
    return {name: value if value == value else 0.0 for name, value in zip(_NAMES, values, strict=False)}


# --- rounds -------------------------------------------------------------------------------------


def _rate(evaluate: Callable[[Any], object], cases: list[Any]) -> float:
    start = time.process_time()
    for case in cases:
        evaluate(case)
    return len(cases) / (time.process_time() - start)


def _check_zen(name: str, zen: Callable[[dict[str, Any]], str], facts: list[list[float]]) -> None:
    """Raise AssertionError if it decides otherwise where all but the memory of a position is known."""
    policy = twelve_rules()
    reference = ReferenceEvaluator(policy)
    compared = 0
    needed = [slot for slot, (fact, _, _) in enumerate(FACTS) if fact not in POSITION_MEMORY]
    for values in facts[:1000]:
        verdict = reference.verdict(list(values))
        if all(values[slot] == values[slot] for slot in needed):
            wanted = policy.rules[verdict.winner].name if verdict.winner >= 0 else ""
            found = zen(zen_context(values))
            assert found == wanted, f"{name} says {found!r}, the policy {wanted!r}: {zen_context(values)}"
            compared += 1
    print(f"{name} decides the same in {compared:,} cases")


def measure(rounds: int, count: int) -> dict[str, float]:
    """Return decisions per second of CPU of each evaluator: medians of interleaved rounds."""
    policy = twelve_rules()
    rng = random.Random(7)
    facts = [market_facts(rng) for _ in range(count)]
    few = facts[: max(1, count // 20)]
    evaluators: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "handwritten": (decide, facts),
        "compiled": (CompiledEvaluator(policy).verdict, facts),
        "reference": (ReferenceEvaluator(policy).verdict, few),
    }
    try:
        for name, graph in ZEN_GRAPHS.items():
            zen = zen_decider(graph())
            _check_zen(name, zen, facts)
            evaluators[name] = (zen, [zen_context(values) for values in few])
    except ImportError:
        print("zen-engine is not installed: pip install zen-engine", file=sys.stderr)
    durable = DurableEvaluator(policy) if durable_available() else None
    if durable is not None:
        evaluators["durable"] = (durable.verdict, few)
    rates: dict[str, list[float]] = {name: [] for name in evaluators}
    for _ in range(rounds):
        for name, (evaluate, cases) in evaluators.items():
            rates[name].append(_rate(evaluate, cases))
    if durable is not None:
        durable.close()
    return {name: statistics.median(found) for name, found in rates.items()}


def main() -> None:
    """Print decisions per second and the ratios that are promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", type=int, default=4_000)
    arguments = parser.parse_args()
    rates = measure(arguments.rounds, arguments.cases)
    for name, rate in sorted(rates.items(), key=lambda entry: -entry[1]):
        print(f"{name:12} {rate:12,.0f} decisions/s   {1e6 / rate:9.2f} us")
    print(f"compiled / handwritten  {rates['compiled'] / rates['handwritten']:8.2f}   (at least 0.6)")
    for name in ZEN_GRAPHS:
        if name in rates:
            print(f"compiled / {name:13}{rates['compiled'] / rates[name]:8.1f}   (at least 20)")
    print(f"reference               {rates['reference']:8,.0f}/s with every leaf   (at least 25,000)")


if __name__ == "__main__":
    main()
