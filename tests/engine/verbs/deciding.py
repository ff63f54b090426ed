"""Policies as text and facts by name, for tests of what is decided from them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from engine.codes import Action, Disposition, IntentState
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import load_policy
from engine.language.lower import lower
from engine.language.policy import Policy
from engine.lowered import LoweredPolicy
from engine.model import AssetClass, Decision, Instrument, OrderSide, WorkingOrder
from engine.units import MONEY_SCALE, PRICE_SCALE, QUANTITY_SCALE, quantise, scaled
from engine.verbs.decide import Situation, decide

SYMBOL: Final = "SOL-USD"
COIN: Final = Instrument(
    SYMBOL, AssetClass.CRYPTO, "24/7", Decimal("0.01"), Decimal("0.001"), Decimal("0.01"), Decimal(10)
)
HEAD: Final = """
apiVersion: tradectl/v1
policy: deciding
version: 1.0.0
bars: 1m
"""
UNIVERSE: Final = "universe: {crypto: {calendar: 24/7, weights: {SOL-USD: 10%}}}\n"
ORDERS: Final = "orders: {buy: {limit: 100% of ask}, sell: {limit: 100% of bid}}\n"

FLAT: Final[Mapping[str, float]] = {
    "price": 100.0,
    "bid": 100.0,
    "ask": 101.0,
    "held": 0.0,
    "dust": 0.0,
    "position_qty": 0.0,
    "position_value": 0.0,
    "equity": 10_000.0,
    "cash": 10_000.0,
    "equity_estimated": 0.0,
    "quote_state": 0.0,
    "frozen": 0.0,
    "position_state": 0.0,
    "lease": 1.0,
    "agent_state": 0.0,
    "clock_state": 0.0,
    "unsendable": 0.0,
    "open_order": 0.0,
    "minimum": 0.1,
    "target": 1000.0,
    "target_weight": 0.1,
    "weight": 0.0,
    "entries": 0.0,
    "held_for": 0.0,
    "since_order": 315_360_000.0,
    "since_buy": 315_360_000.0,
    "since_sell": 315_360_000.0,
}
"""An account of 10,000 USD without a position, a coin at 100 / 101."""

HELD: Final[Mapping[str, float]] = {
    **FLAT,
    "held": 1.0,
    "position_qty": 12.0,
    "position_value": 1200.0,
    "weight": 0.12,
    "entry_price": 100.0,
    "last_entry_price": 100.0,
    "peak_price": 120.0,
    "peak_gain": 0.2,
    "gain": 0.0,
    "entries": 1.0,
    "held_for": 3600.0,
}
"""The same with 12 coins bought at 100."""


def money(value: float | str) -> int:
    """Return scaled money."""
    return scaled(Decimal(str(value)), MONEY_SCALE)


def price(value: float | str) -> int:
    """Return a scaled price."""
    return scaled(Decimal(str(value)), PRICE_SCALE)


def quantity(value: float | str) -> int:
    """Return a scaled quantity."""
    return scaled(Decimal(str(value)), QUANTITY_SCALE)


def policy_of(text: str, *, selection: str = "exits_first", orders: str = ORDERS) -> Policy:
    """Load a policy; head, universe and orders are given where the text has none."""
    whole = HEAD + f"selection: {selection}\n"
    whole += "" if "universe:" in text else UNIVERSE
    whole += "" if "orders:" in text else orders
    return load_policy(whole + text, "deciding.yaml").required()


def lowered_of(policy: Policy, symbol: str = SYMBOL) -> LoweredPolicy:
    """Lower a policy for a symbol."""
    listing = policy.listing(symbol)
    assert listing is not None
    return lower(policy, listing)


def vector_of(lowered: LoweredPolicy, facts: Mapping[str, float]) -> list[float]:
    """Return the fact vector of facts by name; what is not named is Unknown, once periods are not used up."""
    values = []
    for slot in lowered.slots:
        value = facts.get(slot.name, 0.0 if slot.name.startswith("once.") else float("nan"))
        values.append(
            quantise(value, slot.steps_per_unit) if slot.steps_per_unit and value == value else value
        )
    return values


def situation_of(lowered: LoweredPolicy, facts: Mapping[str, float], **changes: Any) -> Situation:  # noqa: ANN401 - fields
    """Return what surrounds facts by name; ``changes`` are fields of the situation."""
    owned = facts.get("position_qty", 0.0)
    fields: dict[str, Any] = {
        "symbol": SYMBOL,
        "instrument": COIN,
        "quantity": quantity(owned),
        "working": None,
        "cash_available": money(facts.get("cash", 0.0)),
        "usage": (0,) * len(lowered.limits),
        "counted": owned > 0,
    }
    return Situation(**{**fields, **changes})


class Decided:
    """A decision by the reference and the compiled evaluator, which must be the same."""

    def __init__(
        self,
        text: str,
        facts: Mapping[str, float],
        *,
        selection: str = "exits_first",
        orders: str = ORDERS,
        **changes: Any,  # noqa: ANN401 - fields of the situation
    ) -> None:
        """Decide."""
        self.policy = policy_of(text, selection=selection, orders=orders)
        self.lowered = lowered_of(self.policy)
        situation = situation_of(self.lowered, facts, **changes)
        found = [
            decide(evaluator, vector_of(self.lowered, facts), situation)
            for evaluator in (ReferenceEvaluator(self.lowered), CompiledEvaluator(self.lowered))
        ]
        assert found[0] == found[1]
        self.decision: Decision = found[0]

    @property
    def action(self) -> Action:
        """What is done."""
        return self.decision.action

    @property
    def quantity(self) -> float:
        """The order's quantity in units, 0 without an order."""
        order = self.decision.order
        return 0.0 if order is None else order.quantity / QUANTITY_SCALE

    @property
    def limit(self) -> float | None:
        """The order's limit price."""
        order = self.decision.order
        assert order is not None
        return None if order.limit_price is None else order.limit_price / PRICE_SCALE

    def of(self, rule: str) -> str:
        """Return what became of a rule: the word of its disposition, and what is behind it."""
        index = next(i for i, found in enumerate(self.lowered.rules) if found.name == rule)
        word = Disposition(self.decision.dispositions[index])
        cause = self.decision.causes[index]
        match word:
            case Disposition.VETOED:
                return f"vetoed({self.lowered.gates[cause].name})"
            case Disposition.LIMITED:
                return f"limited({self.lowered.limits[cause].name})"
            case Disposition.DENIED:
                return f"denied({self.decision.denial.word})"
            case Disposition.UNKNOWN | Disposition.CONCURRED | Disposition.OUTRANKED:
                return f"{word.word}({self.lowered.rules[cause].name})"
        return word.word


def working(
    side: OrderSide,
    size: float | str,
    *,
    rule: str = "other",
    filled: float | str = 0,
    cancelling: bool = False,
) -> WorkingOrder:
    """Return an own order at the venue."""
    return WorkingOrder(
        "w", side, quantity(size), quantity(filled), price(100), IntentState.SENT, cancelling, None, rule, 0
    )
