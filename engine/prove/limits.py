"""Limits that no order reaches, and limits that every order does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.codes import Action, Truth
from engine.evaluate.symbolic.formulas import Formula, every
from engine.evaluate.symbolic.solver import Answer
from engine.lowered import LimitKind, LimitScope, LoweredLimit
from engine.prove.finding import Finding, found
from engine.prove.variant import Variant
from engine.units import Measure

_WORTH_ROUNDING_CENTS: Final = 1000
"""Of sizes below this, two may round to the same although one is a multiple of the other."""


def check_limits(variant: Variant) -> Iterator[Finding]:
    """Compare the size of every entry with the bounds that speak of one order, or of its symbol."""
    entries = [
        index
        for index in variant.rules(Action.BUY)
        if variant.lowered.rules[index].size_measure is Measure.MONEY and _can_match(variant, index)
    ]
    if len(entries) < len(variant.rules(Action.BUY)) or not entries:
        return
    for limit in variant.lowered.limits:
        if limit.bound is None or not _of_one_order(limit):
            continue
        if _seen_both(variant, entries, limit):
            continue
        over = [_exceeds(variant, rule, limit) for rule in entries]
        asked = [variant.ask(one) for one in over]
        at_least = limit.kind is LimitKind.ORDER_AT_LEAST
        if all(answer is Answer.IMPOSSIBLE for answer in asked):
            code, what = ("limit-always-binds", "denies") if at_least else ("limit-never-binds", "")
            yield _said(variant, code, limit, what)
        elif all(variant.ask(_within(variant, rule, limit)) is Answer.IMPOSSIBLE for rule in entries):
            code, what = ("limit-never-binds", "") if at_least else ("limit-always-binds", "shrinks")
            yield _said(variant, code, limit, what)


def _can_match(variant: Variant, rule: int) -> bool:
    matches = variant.terms.candidates[rule].matches
    seen = variant.witnessed.true[variant.lowered.rules[rule].when]
    return seen or variant.ask(matches) is Answer.POSSIBLE


def _seen_both(variant: Variant, entries: list[int], limit: LoweredLimit) -> bool:
    """Say whether samples have shown orders within a limit and beyond it."""
    index = variant.lowered.limits.index(limit)
    owned_slot = variant.lowered.slot("position_value")
    within = beyond = False
    for values, truths in variant.witnessed.facts:
        matching = [rule for rule in entries if truths[variant.lowered.rules[rule].when] == Truth.TRUE]
        for rule in matching:
            lowered = variant.lowered.rules[rule]
            size, bound = variant.reference.size(rule, values), variant.reference.bound(index, values)
            owned = values[owned_slot]
            if limit.kind is LimitKind.EXPOSURE_AT_MOST:
                size += owned if lowered.additive else 0.0
            elif not lowered.additive:
                size -= owned
            if size >= _WORTH_ROUNDING_CENTS / 100:
                within, beyond = within or size <= bound, beyond or size > bound
    return within and beyond


def _of_one_order(limit: LoweredLimit) -> bool:
    """Say whether a limit bounds what can be seen of one symbol: other positions are not modelled."""
    if limit.kind is LimitKind.EXPOSURE_AT_MOST:
        return limit.scope is LimitScope.SYMBOL
    return limit.kind in (LimitKind.ORDER_AT_MOST, LimitKind.ORDER_AT_LEAST)


def _said(variant: Variant, code: str, limit: LoweredLimit, what: str) -> Finding:
    message = f"limit '{limit.name}' {what} every order" if what else f"no order reaches limit '{limit.name}'"
    return found(variant, code, message, limit.span)


def _size(variant: Variant, rule: int, limit: LoweredLimit) -> tuple[Formula, object, object]:
    """Return when a rule wins with known numbers, the most it orders, and the least."""
    lowered = variant.lowered.rules[rule]
    known, size = variant.terms.size(rule)
    owned = variant.terms.variable(variant.lowered.slot("position_value"))
    wins = every((variant.terms.candidates[rule].matches, known, owned.known, size >= _WORTH_ROUNDING_CENTS))
    if lowered.additive:
        most = size + owned.value if limit.kind is LimitKind.EXPOSURE_AT_MOST else size
        return wins, most, most
    if limit.kind is LimitKind.EXPOSURE_AT_MOST:
        return wins, size, size  # a level: what is held counts in it
    return every((wins, size > owned.value)), size - owned.value, size - owned.value


def _exceeds(variant: Variant, rule: int, limit: LoweredLimit) -> Formula:
    assert limit.bound is not None
    wins, most, _ = _size(variant, rule, limit)
    known, bound = variant.terms.money(limit.bound)
    return every((wins, known, bound >= 0, most > bound))


def _within(variant: Variant, rule: int, limit: LoweredLimit) -> Formula:
    assert limit.bound is not None
    wins, _, least = _size(variant, rule, limit)
    known, bound = variant.terms.money(limit.bound)
    return every((wins, known, bound >= 0, least <= bound))
