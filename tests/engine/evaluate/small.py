"""Policies small enough to be written out in a test."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.codes import Action, Side, Truth
from engine.errors import NOWHERE
from engine.evaluate.verdict import WOULD_EXIT
from engine.lowered import (
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
    OrderStyle,
    Selection,
    SlotOrigin,
    Term,
)
from engine.units import Measure, Words

UNKNOWN = math.nan
SIDES = Words("side", tuple(side.name.lower() for side in Side))
_BASE = (
    FactSlot("position_qty", Measure.QUANTITY, 10**9, SlotOrigin.VOCABULARY),
    FactSlot("position_value", Measure.MONEY, 100, SlotOrigin.VOCABULARY),
    FactSlot("price", Measure.PRICE, 100, SlotOrigin.VOCABULARY),
)
BASE_FACTS = (1.0, 100.0, 100.0)


def fact(name: str) -> FactSlot:
    """Return the slot of a number on the grid of 1."""
    return FactSlot(name, Measure.NUMBER, 1, SlotOrigin.VOCABULARY)


def signal_slots(name: str, origin: SlotOrigin = SlotOrigin.SIGNAL) -> tuple[FactSlot, ...]:
    """Return the five slots of a voted signal."""
    return (
        FactSlot(f"{name}.side", SIDES, 0, origin),
        FactSlot(f"{name}.confidence", Measure.RATIO, 100, origin),
        *(FactSlot(f"{name}.{part}", Measure.NUMBER, 10**6, origin) for part in ("buy", "sell", "hold")),
    )


def positive(slot: int) -> Atom:
    """Return the atom "the number in ``slot`` is above 0"."""
    return Atom(FactTerm(slot), Comparison.GREATER, ConstantTerm(0.0), Measure.NUMBER, 1, NOWHERE, "")


def side_is(slot: int, side: Side) -> Atom:
    """Return the atom "the signal whose side is in ``slot`` says ``side``"."""
    return Atom(FactTerm(slot), Comparison.EQUAL, ConstantTerm(float(side)), SIDES, 0, NOWHERE, "")


def atom(index: int) -> Node:
    """Return the node of an atom."""
    return Node(NodeKind.ATOM, index)


def constant(truth: Truth) -> Node:
    """Return a node that is always ``truth``."""
    return Node(NodeKind.CONSTANT, int(truth))


def rule(
    action: Action,
    when: int,
    when_entry: int | None = None,
    *,
    protective: bool = False,
    size: Term | None = None,
    measure: Measure = Measure.MONEY,
) -> LoweredRule:
    """Return a rule; its order in the policy is its priority."""
    entry = when if when_entry is None else when_entry
    name = f"{action.name.lower()}-{when}"
    return LoweredRule(
        name, 0, action, protective, when, entry, size, measure, False, 0.05, None, (), (), NOWHERE
    )


def gate(
    vetoes: str,
    when: int,
    when_entry: int | None = None,
    *,
    pass_if_unknown: bool = False,
    only_rule: int = -1,
) -> LoweredGate:
    """Return a gate; ``vetoes`` has the letters b(uy), s(ell), p(rotective)."""
    entry = when if when_entry is None else when_entry
    speaks = ("b" in vetoes, "s" in vetoes, "p" in vetoes)
    return LoweredGate(f"gate-{when}", False, *speaks, when, entry, pass_if_unknown, only_rule, NOWHERE)


def vote(buy: int, sell: int, *, weight: int = 1, hold: int = 0, abstain: bool = False) -> LoweredVote:
    """Return a vote of whole weights."""
    return LoweredVote("vote", weight * 10**6, buy, sell, hold * 10**6, abstain, NOWHERE)


def policy(
    *,
    slots: Sequence[FactSlot] = (),
    atoms: Sequence[Atom] = (),
    nodes: Sequence[Node],
    rules: Sequence[LoweredRule],
    gates: Sequence[LoweredGate] = (),
    signals: Sequence[LoweredSignal] = (),
    selection: Selection = Selection.EXITS_FIRST,
) -> LoweredPolicy:
    """Return a policy; ``slots`` follow the three of ``BASE_FACTS``, the last gate is would-exit."""
    never = len(nodes)
    would_exit = LoweredGate(WOULD_EXIT, True, True, False, False, never, never, False, -1, NOWHERE)
    market_order = OrderStyle(None, None, "day", False)
    return LoweredPolicy(
        name="small",
        version="1.0.0",
        digest="",
        selection=selection,
        asset_class="stock",
        slots=(*_BASE, *slots),
        atoms=tuple(atoms),
        nodes=(*nodes, constant(Truth.FALSE)),
        signals=tuple(signals),
        rules=tuple(rules),
        gates=(*gates, would_exit),
        limits=(),
        buy_style=market_order,
        sell_style=market_order,
        because_terms=(),
    )
