"""The policy that the evaluators' benchmark and its hand-written peer share: 12 rules, 40 facts.

In words (priority descending; a gate's list is what it vetoes; p is protective):

    signal enhanced: rsi 2 (< 30, > 70, hold 1), macd 2, averages 1, bands 1, trend 2

    stop-loss       p sell all        held and gain <= -8%
    trailing-stop   p sell all        held and peak_gain >= 5% and price <= 94% of peak_price
    overbought-exit p sell all        held and rsi > 80
    crash-exit        sell all        held and (day_change <= -10% or zscore < -3)
    profit-target     sell all        held and gain >= 30%
    adopted-sell      sell all        held and enhanced.side == sell and enhanced.confidence >= 60%
    stale-position    sell all        held and held_for > 90d and gain < 2%
    trim-overweight   sell to target  held and position_value > 110% of target
    no-new-risk       hold            drawdown >= 15% or cash < 5% of equity
    adopted-buy       buy to target   enhanced.side == buy and enhanced.confidence >= 60% and rsi < 70
                                      and position_value < 90% of target
    breakout-entry    buy to 50% of target
                                      not held and close > bands.upper and volume_ratio > 1.5
                                      and enhanced.side != sell
    dip-entry         buy to target   not held and rsi < 35 and rsi > prev(rsi) and enhanced.side != sell
"""

from __future__ import annotations

import math
import random
from typing import Final

from engine.codes import Action, Side, Truth
from engine.errors import NOWHERE
from engine.evaluate.verdict import WOULD_EXIT
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
from engine.units import PRICE_SCALE, QUANTITY_SCALE, Measure, Unit, Words, quantise

SIDES: Final = Words("side", tuple(side.name.lower() for side in Side))
SESSION: Final = Words("session", ("regular", "pre", "post", "closed"))
AGENT: Final = Words("agent", ("active", "reducing", "halted"))

_NUMBER, _RATIO, _MONEY, _PRICE = Measure.NUMBER, Measure.RATIO, Measure.MONEY, Measure.PRICE
_SECONDS, _FLAG, _QUANTITY = Measure.DURATION, Measure.BOOLEAN, Measure.QUANTITY

FACTS: Final[tuple[tuple[str, Unit, int], ...]] = (
    ("price", _PRICE, 100),
    ("bid", _PRICE, 100),
    ("ask", _PRICE, 100),
    ("close", _PRICE, 100),
    ("position_qty", _QUANTITY, QUANTITY_SCALE),
    ("minimum", _QUANTITY, QUANTITY_SCALE),
    ("position_value", _MONEY, 100),
    ("target", _MONEY, 100),
    ("weight", _RATIO, 10**6),
    ("entry_price", _PRICE, 100),
    ("peak_price", _PRICE, 100),
    ("gain", _RATIO, 10_000),
    ("peak_gain", _RATIO, 10_000),
    ("held_for", _SECONDS, 1),
    ("entries", Measure.COUNT, 1),
    ("since_order", _SECONDS, 1),
    ("since_buy", _SECONDS, 1),
    ("since_sell", _SECONDS, 1),
    ("rsi", _NUMBER, 100),
    ("prev(rsi)", _NUMBER, 100),
    ("macd.line", _NUMBER, 10_000),
    ("macd.signal", _NUMBER, 10_000),
    ("fast", _PRICE, 100),
    ("slow", _PRICE, 100),
    ("bands.lower", _PRICE, 100),
    ("bands.upper", _PRICE, 100),
    ("hour", _PRICE, 100),
    ("trend", _PRICE, 100),
    ("session", SESSION, 0),
    ("quote_age", _SECONDS, 1),
    ("until_close", _SECONDS, 1),
    ("drawdown", _RATIO, 10_000),
    ("equity", _MONEY, 100),
    ("cash", _MONEY, 100),
    ("day_change", _RATIO, 10_000),
    ("zscore", _NUMBER, 100),
    ("volume_ratio", _RATIO, 10_000),
    ("agent", AGENT, 0),
    ("frozen", _FLAG, 0),
    ("tradable", _FLAG, 0),
)

_SIGNAL: Final[tuple[tuple[str, Unit, int], ...]] = (
    ("enhanced.side", SIDES, 0),
    ("enhanced.confidence", _RATIO, 100),
    ("enhanced.buy", _NUMBER, 10**6),
    ("enhanced.sell", _NUMBER, 10**6),
    ("enhanced.hold", _NUMBER, 10**6),
)


class _Writer:
    """Interns atoms and nodes of a policy written in Python."""

    def __init__(self, slots: tuple[FactSlot, ...]) -> None:
        self.slots = slots
        self.atoms: list[Atom] = []
        self.nodes: list[Node] = []

    def fact(self, name: str) -> FactTerm:
        return FactTerm(next(index for index, slot in enumerate(self.slots) if slot.name == name))

    def share(self, ratio: float, name: str) -> Term:
        return ArithmeticTerm(Operator.MULTIPLY, (ConstantTerm(ratio), self.fact(name)))

    def is_(self, name: str, comparison: str, right: float | str | Term) -> int:
        left = self.fact(name)
        slot = self.slots[left.slot]
        if isinstance(right, str):
            right = ConstantTerm(slot.unit.index(right)) if isinstance(slot.unit, Words) else self.fact(right)
        elif isinstance(right, float | int):
            right = ConstantTerm(float(right))
        atom = Atom(left, Comparison(comparison), right, slot.unit, slot.steps_per_unit, NOWHERE, "")
        if atom not in self.atoms:
            self.atoms.append(atom)
        return self._node(Node(NodeKind.ATOM, self.atoms.index(atom)))

    def all(self, *children: int) -> int:
        return self._node(Node(NodeKind.ALL, children=children))

    def any(self, *children: int) -> int:
        return self._node(Node(NodeKind.ANY, children=children))

    def not_(self, child: int) -> int:
        return self._node(Node(NodeKind.NOT, children=(child,)))

    def never(self) -> int:
        return self._node(Node(NodeKind.CONSTANT, int(Truth.FALSE)))

    def _node(self, node: Node) -> int:
        if node not in self.nodes:
            self.nodes.append(node)
        return self.nodes.index(node)


def twelve_rules(selection: Selection = Selection.EXITS_FIRST) -> LoweredPolicy:
    """Return the policy."""
    slots = (
        *(FactSlot(name, unit, steps, SlotOrigin.VOCABULARY) for name, unit, steps in FACTS),
        *(FactSlot(name, unit, steps, SlotOrigin.SIGNAL) for name, unit, steps in _SIGNAL),
    )
    write = _Writer(slots)
    is_, fact = write.is_, write.fact
    held = is_("position_qty", ">=", "minimum")
    flat = write.not_(held)
    target = fact("target")

    def vote(name: str, weight: int, buy: int, sell: int, hold: int = 0) -> LoweredVote:
        return LoweredVote(name, weight * 10**6, buy, sell, hold * 10**6, False, NOWHERE)

    votes = (
        vote("rsi", 2, is_("rsi", "<", 30), is_("rsi", ">", 70), 1),
        vote("macd", 2, is_("macd.line", ">", "macd.signal"), is_("macd.line", "<", "macd.signal")),
        vote("averages", 1, is_("fast", ">", "slow"), is_("fast", "<", "slow")),
        vote("bands", 1, is_("close", "<", "bands.lower"), is_("close", ">", "bands.upper")),
        vote("trend", 2, is_("hour", ">", "trend"), is_("hour", "<", "trend")),
    )
    places = (40, 41, 42, 43, 44)
    signal = LoweredSignal("enhanced", votes, places, places, NOWHERE)

    def rule(
        name: str,
        priority: int,
        action: Action,
        when: int,
        size: Term | None = None,
        protective: bool = False,
        adopts: tuple[tuple[int, int], ...] = (),
    ) -> LoweredRule:
        return LoweredRule(
            name,
            priority,
            action,
            protective,
            when,
            when,
            size,
            _MONEY,
            False,
            0.05,
            None,
            (),
            adopts,
            NOWHERE,
        )

    sell, buy = Action.SELL, Action.BUY
    sure = is_("enhanced.confidence", ">=", 0.6)
    not_selling = is_("enhanced.side", "!=", "sell")
    falling = write.any(is_("day_change", "<=", -0.1), is_("zscore", "<", -3))
    rules = (
        rule("stop-loss", 1000, sell, write.all(held, is_("gain", "<=", -0.08)), protective=True),
        rule(
            "trailing-stop",
            950,
            sell,
            write.all(
                held, is_("peak_gain", ">=", 0.05), is_("price", "<=", write.share(0.94, "peak_price"))
            ),
            protective=True,
        ),
        rule("overbought-exit", 900, sell, write.all(held, is_("rsi", ">", 80)), protective=True),
        rule("crash-exit", 880, sell, write.all(held, falling)),
        rule("profit-target", 850, sell, write.all(held, is_("gain", ">=", 0.3))),
        rule(
            "adopted-sell",
            800,
            sell,
            write.all(held, is_("enhanced.side", "==", "sell"), sure),
            adopts=((0, int(Side.SELL)),),
        ),
        rule(
            "stale-position",
            750,
            sell,
            write.all(held, is_("held_for", ">", 90 * 86400), is_("gain", "<", 0.02)),
        ),
        rule(
            "trim-overweight",
            700,
            sell,
            write.all(held, is_("position_value", ">", write.share(1.1, "target"))),
            target,
        ),
        rule(
            "no-new-risk",
            600,
            Action.HOLD,
            write.any(is_("drawdown", ">=", 0.15), is_("cash", "<", write.share(0.05, "equity"))),
        ),
        rule(
            "adopted-buy",
            300,
            buy,
            write.all(
                is_("enhanced.side", "==", "buy"),
                sure,
                is_("rsi", "<", 70),
                is_("position_value", "<", write.share(0.9, "target")),
            ),
            target,
            adopts=((0, int(Side.BUY)),),
        ),
        rule(
            "breakout-entry",
            200,
            buy,
            write.all(flat, is_("close", ">", "bands.upper"), is_("volume_ratio", ">", 1.5), not_selling),
            write.share(0.5, "target"),
        ),
        rule(
            "dip-entry",
            100,
            buy,
            write.all(flat, is_("rsi", "<", 35), is_("rsi", ">", "prev(rsi)"), not_selling),
            target,
        ),
    )

    def gate(name: str, vetoes: str, when: int, only_rule: int = -1, reserved: bool = False) -> LoweredGate:
        return LoweredGate(
            name, reserved, "b" in vetoes, "s" in vetoes, "p" in vetoes, when, when, False, only_rule, NOWHERE
        )

    gates = (
        gate("no-tradable-quote", "bsp", is_("tradable", "==", 0), reserved=True),
        gate("frozen-symbol", "bsp", is_("frozen", "==", 1), reserved=True),
        gate("agent-halted", "bsp", is_("agent", "==", "halted"), reserved=True),
        gate("agent-reducing", "b", is_("agent", "==", "reducing"), reserved=True),
        gate(WOULD_EXIT, "b", write.never(), reserved=True),
        gate("market-hours", "bsp", is_("session", "!=", "regular")),
        gate("quote-freshness", "bs", is_("quote_age", ">", 60)),
        gate("cooldown", "b", is_("since_order", "<", 300)),
        gate("reentry", "b", is_("since_sell", "<", 3600)),
        gate("late-entry", "b", is_("until_close", "<", 900)),
        gate("drawdown-halt", "b", is_("drawdown", ">", 0.2)),
        gate("ladder-full", "b", is_("entries", ">=", 5), only_rule=9),
    )
    return LoweredPolicy(
        name="twelve-rules",
        version="1.0.0",
        digest="",
        selection=selection,
        asset_class="crypto",
        slots=slots,
        atoms=tuple(write.atoms),
        nodes=tuple(write.nodes),
        signals=(signal,),
        rules=rules,
        gates=gates,
        limits=(),
        buy_style=OrderStyle(write.share(1.001, "ask"), 60, "day", False),
        sell_style=OrderStyle(write.share(0.995, "bid"), 60, "day", False),
        because_terms=(),
    )


NAN: Final = math.nan
POSITION_MEMORY: Final = ("entry_price", "peak_price", "gain", "peak_gain", "held_for")
_CAP: Final = 3650 * 86400.0


def market_facts(rng: random.Random) -> list[float]:
    """Return facts as a live agent would see them: nearly half held, little moving, seldom Unknown.

    A flat symbol has no position memory: those five facts are Unknown.
    """
    held = rng.random() < 0.45
    price = round(rng.uniform(20, 400), 2)
    target = 5_000.0
    gain = round(rng.gauss(0.03, 0.06), 4)
    quantity = round(target / price * rng.uniform(0.6, 1.15), 4) if held else 0.0
    rsi = min(95.0, max(5.0, round(rng.gauss(52, 13), 2)))
    average = price * rng.uniform(0.98, 1.02)
    facts = {
        "price": price,
        "bid": price,
        "ask": price + 0.02,
        "close": price + rng.choice((-0.1, 0.0, 0.1)),
        "position_qty": quantity,
        "minimum": 0.001,
        "position_value": quantity * price,
        "target": target,
        "weight": quantity * price / 100_000,
        "entry_price": price / (1 + gain),
        "peak_price": price * rng.uniform(1.0, 1.08),
        "gain": gain,
        "peak_gain": gain + rng.uniform(0.0, 0.08),
        "held_for": float(rng.randrange(60, 120 * 86400)),
        "entries": float(rng.randrange(1, 4)) if held else 0.0,
        "since_order": float(rng.choice((120, 4_000, 90_000))),
        "since_buy": 90_000.0,
        "since_sell": _CAP,
        "rsi": rsi,
        "prev(rsi)": rsi + rng.gauss(0, 2),
        "macd.line": rng.gauss(0, 1),
        "macd.signal": rng.gauss(0, 0.8),
        "fast": average,
        "slow": average * rng.uniform(0.99, 1.01),
        "bands.lower": average * 0.97,
        "bands.upper": average * 1.03,
        "hour": price,
        "trend": average * rng.uniform(0.97, 1.03),
        "session": float(rng.choice((0, 0, 0, 0, 3))),
        "quote_age": float(rng.randrange(0, 15)),
        "until_close": float(rng.randrange(600, 20_000)),
        "drawdown": abs(rng.gauss(0.02, 0.03)),
        "equity": 100_000.0,
        "cash": rng.uniform(4_000, 60_000),
        "day_change": rng.gauss(0, 0.03),
        "zscore": rng.gauss(0, 1.1),
        "volume_ratio": abs(rng.gauss(1, 0.4)),
        "agent": 0.0,
        "frozen": 0.0,
        "tradable": 1.0,
    }
    if not held:
        facts.update(dict.fromkeys(POSITION_MEMORY, NAN))
    if rng.random() < 0.05:
        facts[rng.choice(sorted(facts))] = NAN
    values = [
        quantise(facts[name], steps) if steps and facts[name] == facts[name] else facts[name]
        for name, _, steps in FACTS
    ]
    return values + [NAN] * len(_SIGNAL)


assert len(FACTS) == 40 and PRICE_SCALE % 100 == 0
