"""Microseconds per decision of each evaluator: ``python tests/bench/bench_durable.py``.

One policy of thirty rules, six votes and ten gates like the default one, and facts drawn from a fixed seed:
all known, or a position's facts Unknown as they are while nothing is held.  Every evaluator decides every
vector in turn, so that whatever else the machine does falls on all alike; every answer is compared.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.codes import Action
from engine.errors import NOWHERE
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.durable import DurableEvaluator, durable_available
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import WOULD_EXIT, Evaluator
from engine.lowered import (
    ArithmeticTerm,
    Atom,
    Comparison,
    ConstantTerm,
    FactSlot,
    FactTerm,
    LoweredGate,
    LoweredPolicy,
    LoweredRule,
    LoweredSignal,
    LoweredVote,
    Node,
    NodeKind,
    Operator,
    OrderStyle,
    Selection,
    SlotOrigin,
    Term,
)
from engine.units import Measure

NAN = float("nan")
_COMPARISONS = {comparison.value: comparison for comparison in Comparison}
_INDICATORS = ("rsi", "macd", "macd_signal", "fast", "slow", "lower", "upper", "close", "hour", "trend")
_POSITION = ("gain", "peak_gain", "peak_price", "held_for")  # Unknown while nothing is held
_OTHERS = (
    "price", "held", "position_value", "position_qty", "target", "equity", "quote_age", "since_order",
    "since_sell", "until_close", "drawdown", "session", "atr", "momentum", "volume", "zscore",
)  # fmt: skip
_PARTS = ("side", "confidence", "buy", "sell", "hold")


class _Builder:
    """Interns atoms and nodes of a policy written as small tuples."""

    def __init__(self) -> None:
        names = (*_INDICATORS, *_POSITION, *_OTHERS)
        self.slots = [FactSlot(name, Measure.NUMBER, 10**4, SlotOrigin.VOCABULARY) for name in names]
        for part in _PARTS:
            self.slots.append(FactSlot(f"enhanced.{part}", Measure.NUMBER, 100, SlotOrigin.SIGNAL))
        self.slot = {slot.name: index for index, slot in enumerate(self.slots)}
        self.atoms: dict[Atom, int] = {}
        self.nodes: dict[Node, int] = {}

    def term(self, text: str) -> Term:
        """Return the term of ``1.5``, ``name`` or ``1.5*name``."""
        factor, _, name = text.rpartition("*")
        if factor:
            operands = (ConstantTerm(float(factor)), FactTerm(self.slot[name]))
            return ArithmeticTerm(Operator.MULTIPLY, operands)
        return FactTerm(self.slot[text]) if text in self.slot else ConstantTerm(float(text))

    def node(self, node: Node) -> int:
        return self.nodes.setdefault(node, len(self.nodes))

    def condition(self, text: str) -> int:
        """Return the node of comparisons joined by ``and``."""
        parts = []
        for part in text.split(" and "):
            left, word, right = part.split()
            made = Atom(
                self.term(left), _COMPARISONS[word], self.term(right), Measure.NUMBER, 10**4, NOWHERE, part
            )
            parts.append(self.node(Node(NodeKind.ATOM, self.atoms.setdefault(made, len(self.atoms)))))
        return parts[0] if len(parts) == 1 else self.node(Node(NodeKind.ALL, children=tuple(parts)))

    def rule(self, number: int, action: Action, text: str, protective: bool = False) -> LoweredRule:
        when = self.condition(text)
        size = self.term("target") if action is Action.BUY else None
        return LoweredRule(
            f"rule-{number}", 1000 - number, action, protective, when, when, size, Measure.MONEY, False, 0.05,
            None, (), (), NOWHERE,
        )  # fmt: skip

    def gate(self, text: str, buy: bool, sell: bool, protective: bool) -> LoweredGate:
        when = self.condition(text)
        return LoweredGate(text, False, buy, sell, protective, when, when, False, -1, NOWHERE)


def thirty_rules() -> LoweredPolicy:
    """Return the policy: 15 sells, 4 of them protective, 13 buys, 2 holds."""
    make = _Builder()
    votes = []
    for name, buy, sell in (
        ("rsi", "rsi < 30", "rsi > 70"),
        ("macd", "macd > macd_signal", "macd < macd_signal"),
        ("averages", "fast > slow", "fast < slow"),
        ("bands", "close < lower", "close > upper"),
        ("trend", "hour > trend", "hour < trend"),
        ("momentum", "momentum > 2", "momentum < -2"),
    ):
        sides = make.condition(buy), make.condition(sell)
        votes.append(LoweredVote(name, 1_000_000, *sides, 500_000, False, NOWHERE))
    first = make.slot["enhanced.side"]
    slots = (first, first + 1, first + 2, first + 3, first + 4)
    signal = LoweredSignal("enhanced", tuple(votes), slots, slots, NOWHERE)
    sells = [
        ("held == 1 and gain <= -8", True),
        ("held == 1 and peak_gain >= 5 and price <= 0.94*peak_price", True),
        ("held == 1 and rsi > 80", True),
        ("held == 1 and drawdown > 40", True),
        ("held == 1 and gain >= 30", False),
        ("held == 1 and enhanced.side == 2 and enhanced.confidence >= 0.6", False),
        ("held == 1 and position_value > 1.1*target", False),
        ("held == 1 and held_for > 90 and gain < 1", False),
        *((f"held == 1 and zscore > {n}.5 and close < fast and momentum < {n}", False) for n in range(2, 9)),
    ]
    buys = [
        "enhanced.side == 1 and enhanced.confidence >= 0.6 and rsi < 70 and position_value < 0.9*target",
        "held == 0 and rsi < 35 and enhanced.side != 2",
        *(f"held == 0 and zscore < -{n}.5 and close > fast and atr > {n}" for n in range(2, 10)),
        "close > upper and volume > 50 and position_value < 0.9*target",
        "fast > slow and macd > macd_signal and rsi > 50 and held == 0",
        "hour > trend and close < lower and momentum > 0",
    ]
    holds = ["volume < 1 and atr < 0.5", "session == 2"]
    rules = [make.rule(number, Action.SELL, *sell) for number, sell in enumerate(sells)]
    rules += [make.rule(number, Action.BUY, text) for number, text in enumerate(buys, len(rules))]
    rules += [make.rule(number, Action.HOLD, text) for number, text in enumerate(holds, len(rules))]
    never = make.node(Node(NodeKind.CONSTANT, 0))
    gates = [
        make.gate("session != 0", True, True, True),
        make.gate("quote_age > 60", True, True, False),
        make.gate("since_order < 15", True, False, False),
        make.gate("since_sell < 60", True, False, False),
        make.gate("until_close < 15", True, False, False),
        make.gate("drawdown > 20", True, False, False),
        make.gate("atr > 95", True, False, False),
        make.gate("equity < 1", True, False, False),
        make.gate("position_value >= 0.95*target", True, False, False),
        LoweredGate(WOULD_EXIT, True, True, False, False, never, never, False, -1, NOWHERE),
    ]
    style = OrderStyle(None, None, "gtc", False)
    return LoweredPolicy(
        "thirty", "1.0.0", "", Selection.EXITS_FIRST, "crypto", tuple(make.slots), tuple(make.atoms),
        tuple(make.nodes), (signal,), tuple(rules), tuple(gates), (), style, style, (),
    )  # fmt: skip


def vectors(policy: LoweredPolicy, count: int, holding: bool, seed: int = 1) -> list[list[float]]:
    """Return fact vectors: numbers of four decimals; a held position is below its target."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        values = [round(draw.uniform(0.0, 100.0), 4) for _ in policy.slots]
        for index, slot in enumerate(policy.slots):
            if slot.name == "held":
                values[index] = float(holding)
            elif slot.name in ("session", "drawdown"):
                values[index] = 0.0 if draw.random() < 0.9 else 2.0
            elif slot.name in _POSITION and not holding:
                values[index] = NAN
            elif slot.name in ("zscore", "momentum", "gain"):
                values[index] = round(draw.gauss(0.0, 2.0), 4)
        made.append(values)
    return made


def main() -> None:
    """Measure and print p50 and p99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=5000)
    count: int = parser.parse_args().decisions
    policy = thirty_rules()
    evaluators: dict[str, Evaluator] = {
        "reference": ReferenceEvaluator(policy),
        "compiled": CompiledEvaluator(policy),
    }
    if durable_available():
        evaluators["durable-rules"] = DurableEvaluator(policy)
    clock: Callable[[], int] = time.thread_time_ns
    sizes = f"{len(policy.rules)} rules, {len(policy.gates)} gates, {len(policy.slots)} facts"
    print(f"{sizes}, {count} decisions each, CPU microseconds")
    print(f"{'':14}{'':10}{'p50':>8}{'p99':>8}")
    for label, holding in (("held", True), ("not held", False)):
        spent: dict[str, list[int]] = {name: [] for name in evaluators}
        actions = dict.fromkeys(Action, 0)
        for values in vectors(policy, count, holding):
            answers = []
            for name, evaluator in evaluators.items():
                facts = list(values)
                begun = clock()
                verdict = evaluator.verdict(facts)
                spent[name].append(clock() - begun)
                answers.append(verdict)
            if any(answer != answers[0] for answer in answers):
                raise SystemExit(f"the evaluators disagree about {values}")
            winner = answers[0].winner
            actions[policy.rules[winner].action if winner >= 0 else Action.HOLD] += 1
        for name, times in spent.items():
            times.sort()
            p50, p99 = times[count // 2] / 1000, times[count * 99 // 100] / 1000
            print(f"{name:14}{label:10}{p50:8.1f}{p99:8.1f}")
        print(f"{'':14}{'':10}" + ", ".join(f"{n} {action.name.lower()}" for action, n in actions.items()))


if __name__ == "__main__":
    main()
