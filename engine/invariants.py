"""The vocabulary's invariants as relations: what follows from which facts, what is never above what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Relation:
    """``target`` follows from ``inputs``: ``compute`` returns None where it does not.

    An inverse only completes; what holds by rounding alone is not held against a statement.
    """

    target: str
    inputs: tuple[str, ...]
    compute: Callable[..., float | None]
    words: str
    inverse: bool = False


def _product(quantity: float, price: float) -> float:
    return quantity * price


def _quotient(value: float, by: float) -> float | None:
    return value / by if by > 0 else None


def _rise(price: float, entry: float) -> float | None:
    return price / entry - 1 if entry > 0 else None


RELATIONS: Final = (
    Relation("price", ("bid",), lambda bid: bid, "the bid"),
    Relation("bid", ("price",), lambda price: price, "the price"),
    Relation("position_value", ("position_qty",), lambda q: 0.0 if q == 0 else None, "nothing at any price"),
    Relation("position_value", ("position_qty", "price"), _product, "position_qty x price"),
    Relation("position_qty", ("position_value",), lambda v: 0.0 if v == 0 else None, "nothing", True),
    Relation("position_qty", ("position_value", "price"), _quotient, "position_value / price", True),
    Relation("held", ("position_qty", "minimum"), lambda q, m: float(q >= m), "position_qty >= minimum"),
    Relation(
        "dust", ("position_qty", "minimum"), lambda q, m: float(0 < q < m), "0 < position_qty < minimum"
    ),
    Relation("equity", ("cash", "position_value"), lambda c, v: c + v, "cash + position_value", True),
    Relation(
        "cash", ("equity", "position_value"), lambda e, v: max(0.0, e - v), "equity - position_value", True
    ),
    Relation("weight", ("position_value", "equity"), _quotient, "position_value / equity"),
    Relation("target", ("target_weight", "equity"), _product, "target_weight x equity"),
    Relation("gain", ("price", "entry_price"), _rise, "price / entry_price - 1"),
    Relation("peak_gain", ("peak_price", "entry_price"), _rise, "peak_price / entry_price - 1"),
    Relation("since_order", ("since_buy", "since_sell"), min, "the shorter of since_buy and since_sell"),
    Relation(
        "since_order_bars",
        ("since_buy_bars", "since_sell_bars"),
        min,
        "the shorter of since_buy_bars and since_sell_bars",
    ),
    Relation("typical", ("high", "low", "close"), lambda *bar: sum(bar) / 3, "(high + low + close) / 3"),
)

SURE_AT_MOST: Final = (
    ("bid", "ask"),
    ("entry_price", "peak_price"),
    ("low", "open"),
    ("low", "close"),
    ("open", "high"),
    ("close", "high"),
    *((f"since_order{unit}", f"since_{side}{unit}") for unit in ("", "_bars") for side in ("buy", "sell")),
)
"""Pairs of which the first is never above the second: asserted in every cycle, assumed by the prover."""

AT_MOST: Final = (*SURE_AT_MOST, ("position_value", "equity"), ("cash", "equity"))
"""With those that facts files are held to: an account that owes money could break the last two."""

RELATED: Final = frozenset(
    {name for relation in RELATIONS for name in (relation.target, *relation.inputs)}
    | {name for pair in AT_MOST for name in pair}
)


def followers(name: str) -> set[str]:
    """Return the facts that follow from one, directly or not."""
    found: set[str] = set()
    frontier = {name}
    while frontier:
        frontier = {
            relation.target
            for relation in RELATIONS
            if not relation.inverse and frontier & set(relation.inputs) and relation.target != name
        } - found
        found |= frontier
    return found
