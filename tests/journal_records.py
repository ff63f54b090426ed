"""Decisions of forty facts, as an agent would journal them: what the journal's tests and benches keep.

Facts come from a seeded walk, so that files are the same to the byte in every run.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from engine.codes import Action, Disposition, IntentState, Truth, UnknownReason
from engine.errors import NOWHERE
from engine.lowered import (
    FactSlot,
    LimitKind,
    LimitScope,
    LoweredGate,
    LoweredLimit,
    LoweredPolicy,
    LoweredRule,
    Once,
    OrderStyle,
    Selection,
    SlotOrigin,
)
from engine.model import Decision, OrderRequest, OrderSide, OrderType, SizedOrder, TimeInForce, WorkingOrder
from engine.runtime.journal_port import AccountNumbers, CycleRecord, Intent, PolicyText, StateSnapshot
from engine.units import ELAPSED_CAP_SECONDS, GRID_PER_UNIT, PRICE_SCALE, Measure, Unit, Words, quantise
from engine.verbs.record import DecisionRecord, Layout, layout_of

START_MS = 1_763_424_000_000  # 2025-11-18T00:00Z
CYCLE_MS = 30_000

SESSION = Words("session", ("pre", "regular", "post", "closed"))
SIDE = Words("side", ("none", "buy", "sell", "hold"))
_M = Measure
_CENTS = 100

_NAMES: tuple[tuple[str, Unit, int], ...] = (
    *((name, _M.PRICE, _CENTS) for name in ("price", "bid", "ask", "close", "entry_price", "peak_price")),
    *((f"bands.{name}", _M.PRICE, PRICE_SCALE) for name in ("lower", "middle", "upper")),
    *((name, _M.PRICE, PRICE_SCALE) for name in ("fast", "slow", "trend", "macd.line", "macd.signal")),
    *((name, _M.RATIO, GRID_PER_UNIT[_M.RATIO]) for name in ("gain", "peak_gain", "drawdown", "weight")),
    *((name, _M.NUMBER, GRID_PER_UNIT[_M.NUMBER]) for name in ("rsi", "prev(rsi)")),
    *((name, _M.MONEY, _CENTS) for name in ("position_value", "target", "equity", "cash")),
    ("position_qty", _M.QUANTITY, GRID_PER_UNIT[_M.QUANTITY]),
    *(
        (name, _M.DURATION, 1)
        for name in ("since_order", "since_buy", "since_sell", "held_for", "quote_age", "until_close")
    ),
    ("time", _M.CLOCK, 1),
    ("session", SESSION, 0),
    *((name, _M.BOOLEAN, 0) for name in ("held", "frozen")),
    ("enhanced.side", SIDE, 0),
    ("enhanced.confidence", _M.RATIO, 100),
    *((name, _M.NUMBER, 10**6) for name in ("enhanced.buy", "enhanced.sell", "enhanced.hold")),
)
RULES = (
    "stop-loss",
    "trailing-stop",
    "overbought-exit",
    "profit-target",
    "adopted-sell",
    "trim-overweight",
    "adopted-buy",
    "crypto-dip-entry",
)
_GATES = ("no-tradable-quote", "frozen-symbol", "market-hours", "cooldown")
_LIMITS = ("order-rate", "cash-reserve", "symbol-cap")

POLICY = PolicyText("d" * 64, "default", "1.0.0", "policy: default\n", "e" * 64, "v" * 64, "c" * 64)
ACCOUNT = AccountNumbers(cash=50_000_000_000, reserved=0, equity=100_000_000_000)


def lowered_policy() -> LoweredPolicy:
    """Return a policy of forty facts and eight rules; only its names and grids are meant."""
    style = OrderStyle(None, 60, "day", False)
    return LoweredPolicy(
        name=POLICY.name,
        version=POLICY.version,
        digest=POLICY.digest,
        selection=Selection.EXITS_FIRST,
        asset_class="crypto",
        slots=tuple(FactSlot(name, unit, k, SlotOrigin.VOCABULARY) for name, unit, k in _NAMES),
        atoms=(),
        nodes=(),
        signals=(),
        rules=tuple(
            LoweredRule(
                name=name,
                priority=1000 - index,
                action=Action.SELL,
                protective=index < 3,
                when=0,
                when_entry=0,
                size=None,
                size_measure=_M.MONEY,
                additive=False,
                min_step=0.05,
                once=Once.BAR if index == 7 else None,
                because=(),
                adopts=(),
                span=NOWHERE,
            )
            for index, name in enumerate(RULES)
        ),
        gates=tuple(
            LoweredGate(name, False, True, False, False, 0, 0, False, -1, NOWHERE) for name in _GATES
        ),
        limits=tuple(
            LoweredLimit(name, LimitKind.ORDER_AT_MOST, LimitScope.ORDER, None, 0, 0, NOWHERE)
            for name in _LIMITS
        ),
        buy_style=style,
        sell_style=style,
        because_terms=(),
    )


LAYOUT: Layout = layout_of(lowered_policy(), ("equity", "cash", "agent_state"))


class Market:
    """The facts of one symbol, cycle by cycle."""

    def __init__(self, symbol: str, layout: Layout = LAYOUT) -> None:
        """Start at a price that the symbol's name decides."""
        self.symbol = symbol
        self.layout = layout
        self._random = random.Random(symbol)
        self._price = self._random.uniform(20, 900)
        self._bought = self._random.randrange(1, 86_400)
        self._facts: dict[str, float] = {}
        self.move()

    def move(self) -> None:
        """Let the market move: every price, indicator and valuation becomes another."""
        self._price *= 1 + self._random.gauss(0, 0.001)
        for name, unit, k in _NAMES:
            share = 1 + self._random.gauss(0, 0.01)
            value = {_M.PRICE: self._price, _M.RATIO: 0.1, _M.NUMBER: 50.0, _M.MONEY: 40 * self._price}.get(
                unit if isinstance(unit, Measure) else _M.SCALAR, 0.0
            )
            self._facts[name] = quantise(value * share, k) if k else 0.0
        self._facts.update({"position_qty": 1.234567891, "held": 1.0, "session": 1.0})

    def record(self, cycle: int, **changes: float) -> DecisionRecord:
        """Return a HOLD at a cycle; but for ``changes`` only time has moved since the last call."""
        elapsed = cycle * CYCLE_MS // 1000
        clock = {
            "since_order": float(elapsed + self._bought),
            "since_buy": float(elapsed + self._bought),
            "since_sell": float(ELAPSED_CAP_SECONDS),
            "held_for": float(elapsed + self._bought),
            "quote_age": float(elapsed),
            "until_close": float(ELAPSED_CAP_SECONDS),
            "time": float((START_MS // 1000 + elapsed) % 86_400),
        }
        facts = {**self._facts, **clock, **changes}
        values = [facts[name] for name, _, _ in _NAMES]
        reasons = bytes(UnknownReason.WARM_UP if math.isnan(value) else 0 for value in values)
        return DecisionRecord(
            self.layout, values, reasons, 0, hold(self.symbol), None, (100_000_000_000, 50_000_000_000, 0)
        )

    def sell(self, cycle: int, quantity: int = 1_234_567_891) -> DecisionRecord:
        """Return a decision that sells all by the stop."""
        size = SizedOrder(OrderSide.SELL, quantity, 9_500_000_000, OrderType.LIMIT, TimeInForce.GTC, 60)
        decision = replace(
            hold(self.symbol),
            action=Action.SELL,
            rule=0,
            truths=bytes((Truth.TRUE, *bytes(7))),
            dispositions=bytes((Disposition.ACTED, *bytes(7))),
            order=size,
        )
        return replace(self.record(cycle), decision=decision)

    def buy(self, cycle: int, quantity: int = 500_000_000) -> DecisionRecord:
        """Return a decision that buys, shrunk by a limit, with an order of before still working."""
        size = SizedOrder(OrderSide.BUY, quantity, 9_600_000_000, OrderType.LIMIT, TimeInForce.DAY, None, 2)
        decision = replace(
            hold(self.symbol),
            action=Action.BUY,
            rule=6,
            truths=bytes((0, 0, 0, 0, 0, 0, Truth.TRUE, Truth.UNKNOWN)),
            dispositions=bytes((0, 0, 0, 0, 0, 0, Disposition.ACTED, 0)),
            order=size,
            limit_usage=(2, 5_000_000_000, None),
        )
        working = WorkingOrder(
            f"old-{self.symbol}",
            OrderSide.BUY,
            quantity,
            0,
            9_500_000_000,
            IntentState.SENT,
            False,
            None,
            "adopted-buy",
            START_MS,
        )
        return replace(self.record(cycle), decision=decision, working=working)


def hold(symbol: str) -> Decision:
    """Return a HOLD for which no rule matched."""
    return Decision(
        symbol,
        Action.HOLD,
        -1,
        bytes(len(RULES)),
        bytes(len(RULES)),
        (-1,) * len(RULES),
        bytes((Disposition.NOT_ADOPTED,)),
    )


def at_ms(cycle: int) -> int:
    """Return when a cycle is."""
    return START_MS + cycle * CYCLE_MS


def intent_of(record: DecisionRecord, cycle: int) -> Intent:
    """Name a decision's order."""
    order = record.decision.order
    assert order is not None
    request = OrderRequest(
        client_id=f"n0-{cycle}-{record.symbol}-{order.side}",
        symbol=record.symbol,
        side=order.side,
        quantity=order.quantity,
        limit_price=order.limit_price,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        expires_ms=None if order.good_for_seconds is None else at_ms(cycle) + order.good_for_seconds * 1000,
        created_ms=at_ms(cycle),
    )
    return Intent(request, RULES[record.decision.rule], record.decision.rule < 3, cycle)


def cycle_of(cycle: int, records: list[DecisionRecord], state: bytes | None = None) -> CycleRecord:
    """Return a cycle of these decisions, with an intent for each that has an order."""
    intents = [intent_of(record, cycle) for record in records if record.decision.order is not None]
    snapshot = None if state is None else StateSnapshot(1, state)
    return CycleRecord(cycle, at_ms(cycle), POLICY.digest, ACCOUNT, records, intents, snapshot)
