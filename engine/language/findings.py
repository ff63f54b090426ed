"""Findings about a policy that need no prover: things that are legal and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import gcd
from typing import Final

from engine.codes import Action
from engine.errors import Problem, Span
from engine.language.expression import decimal_text, duration_text
from engine.language.finding_codes import finding
from engine.language.policy import Gate, Limit, Policy, Rule, Vote
from engine.language.types import (
    Combined,
    Compared,
    Condition,
    Constant,
    FactRead,
    SeriesColumn,
    SeriesFunction,
    Typed,
    TypedSeries,
    columns_of,
    comparisons_of,
    facts_of,
    facts_of_condition,
    is_constant,
)
from engine.lowered import Comparison, Once
from engine.series import SELF

DAY_SECONDS: Final = 86_400
HALF_HOUR_SECONDS: Final = 1800
"""Exchanges open and close on the half hour, so closes of their bars are multiples of it, or of less."""
_LESS: Final = (Comparison.LESS, Comparison.LESS_OR_EQUAL)
_MORE: Final = (Comparison.GREATER, Comparison.GREATER_OR_EQUAL)


@dataclass(frozen=True, slots=True)
class Whole:
    """What can be said of a policy only when all of it could be read."""

    declared: Mapping[str, tuple[str, Span]]  # its own names: what they are, and where
    used: set[str]
    timezone: str  # as stated, or ""
    top: Span  # where the file begins


def findings(policy: Policy, whole: Whole | None) -> list[Problem]:
    """Return warnings and information about a policy, or about what could be read of one (``whole`` None)."""
    found = [*_votes(policy), *_gates(policy), *_calendars(policy), *_scopes(policy), *_order_prices(policy)]
    for condition in _conditions(policy):
        found += [*_comparisons(condition), *_clock_windows(policy, condition)]
    if whole is not None:
        found += _whole(policy, whole)
    return list(dict.fromkeys(found))


def _conditions(policy: Policy) -> Iterator[Condition]:
    yield from (rule.when for rule in policy.rules)
    yield from (gate.when for gate in policy.gates if gate.when is not None and not gate.reserved)
    for signal in policy.signals:
        for vote in signal.votes:
            yield from (side for side in (vote.buy, vote.sell) if side is not None)


# --- the whole --------------------------------------------------------------------------------


def _whole(policy: Policy, whole: Whole) -> Iterator[Problem]:
    if not any(rule.protective for rule in policy.rules):
        message = "no rule is protective: nothing of this policy guards a held position"
        yield finding("no-protective-rule", message, whole.top, "mark a stop loss  protective: true")
    if not any(rule.action is Action.SELL for rule in policy.rules):
        yield finding("no-exit", "no rule ever sells", whole.top, "add a rule that says  sell all")
    for name, (kind, span) in whole.declared.items():
        if name not in whole.used:
            yield finding("unused", f"{kind}, '{name}', that nothing reads", span, "use it or delete it")
    total = sum((listing.weight for listing in policy.universe if listing.weight), start=Decimal(0))
    if total > 1:
        message = f"the weights add up to {decimal_text(total * 100)}%: more than there is"
        yield finding("weights", message, whole.top, "let them add up to at most 100%")
    if whole.timezone:
        return
    dated = next((rule for rule in policy.rules if rule.once in (Once.DAY, Once.WEEK, Once.MONTH)), None)
    facts = (fact for condition in _conditions(policy) for fact in facts_of_condition(condition))
    weekday = next((fact for fact in facts if fact.name in ("weekday", "time")), None)
    if dated or weekday:
        message = "days begin at midnight UTC, because the policy states no timezone"
        span = weekday.span if weekday else dated.span if dated else whole.top
        yield finding("timezone-default", message, span, "add a line  timezone: America/New_York")


# --- signals, gates, scopes -------------------------------------------------------------------


def _votes(policy: Policy) -> Iterator[Problem]:
    for signal in policy.signals:
        for vote in signal.votes:
            if _both(vote):
                message = f"both sides of vote '{vote.name}' can be true at once; then it casts nothing"
                yield finding("vote-both", message, vote.span, "leave a gap between buy and sell")


def _both(vote: Vote) -> bool:
    """Say whether one value makes both sides of a vote true, as far as single comparisons show it."""
    if vote.buy is None or vote.sell is None:
        return False
    if vote.buy == vote.sell:
        return True
    if not (isinstance(vote.buy, Compared) and isinstance(vote.sell, Compared)):
        return False
    (fact, buys, level), (other, sells, other_level) = _fact_first(vote.buy), _fact_first(vote.sell)
    if fact != other or not (isinstance(level, Constant) and isinstance(other_level, Constant)):
        return False
    if buys in _LESS and sells in _MORE:
        low, high = (other_level.value, sells), (level.value, buys)
    elif buys in _MORE and sells in _LESS:
        low, high = (level.value, buys), (other_level.value, sells)
    else:
        return (buys in _LESS and sells in _LESS) or (buys in _MORE and sells in _MORE)
    closed = (low[1], high[1]) == (Comparison.GREATER_OR_EQUAL, Comparison.LESS_OR_EQUAL)
    return low[0] < high[0] or (low[0] == high[0] and closed)


def _fact_first(compared: Compared) -> tuple[Typed, Comparison, Typed]:
    if is_constant(compared.left):
        return compared.right, compared.comparison.mirrored, compared.left
    return compared.left, compared.comparison, compared.right


def _gates(policy: Policy) -> Iterator[Problem]:
    for gate in policy.gates:
        if gate.reserved or gate.when is None:
            continue
        if gate.pass_if_unknown:
            message = f"gate '{gate.name}' lets sells pass while its condition is Unknown"
            yield finding("gate-passes-unknown", message, gate.span)


def _scopes(policy: Policy) -> Iterator[Problem]:
    places = {place for listing in policy.traded for place in (listing.symbol, listing.asset_class)}
    parts: tuple[Rule | Gate | Limit, ...] = (*policy.rules, *policy.gates, *policy.limits)
    for part in parts:
        if part.scope.names and places.isdisjoint(part.scope.names):
            message = f"'{part.name}' is for symbols that are only watched"
            yield finding("watch-only", message, part.span, "list them under 'symbols:' or 'weights:'")
    for parameter in policy.parameters.values():
        watched = next((name for name in parameter.overrides if name not in places), None)
        if watched is not None:
            message = f"'{parameter.name}' has a value for {watched}, which is only watched"
            yield finding("watch-only", message, parameter.span, "delete it")


def _calendars(policy: Policy) -> Iterator[Problem]:
    """Find series over symbols that do not trade at the same times: each would be a gap in the other."""
    calendar_of = {listing.symbol: listing.calendar for listing in policy.universe}
    own = {listing.calendar for listing in policy.traded}
    series: dict[TypedSeries, Span] = {}
    for name, indicator in policy.indicators.items():
        series |= {output: policy.spans[name] for output, _, _ in indicator.outputs.values()}
    for condition in _conditions(policy):
        for fact in facts_of_condition(condition):
            if fact.series is not None:
                series.setdefault(fact.series, fact.span)
    for node, span in series.items():
        symbols = {column.symbol for column in columns_of(node)}
        calendars = {calendar_of[symbol] for symbol in symbols if symbol in calendar_of}
        calendars |= own if SELF in symbols and len(symbols) > 1 else set()
        if len(symbols) > 1 and len(calendars) > 1:
            message = f"this mixes bars of different calendars ({', '.join(sorted(calendars))})"
            hint = "a bar that one of them lacks is a gap, and the value Unknown behind it"
            yield finding("calendars", message, span, hint)


def _order_prices(policy: Policy) -> Iterator[Problem]:
    limit = policy.sell_terms.limit
    for fact in facts_of(limit) if limit is not None else ():
        if fact.name not in ("price", "bid", "ask"):
            message = f"no sell can be sent, not even a protective one, while '{fact.name}' is Unknown"
            yield finding("exit-price", message, fact.span, "price sells from the bid")


# --- comparisons ------------------------------------------------------------------------------


def _comparisons(condition: Condition) -> Iterator[Problem]:
    for compared in comparisons_of(condition):
        if is_constant(compared.left) and is_constant(compared.right):
            message = f"'{compared.text}' reads no fact: it is the same at every moment"
            yield finding("constant", message, compared.span, "compare a fact")
        yield from _own_bar(compared)


_BEYOND: Final = {"highest": (Comparison.GREATER, "high"), "lowest": (Comparison.LESS, "low")}


def _own_bar(compared: Compared) -> Iterator[Problem]:
    """``close > highest(high, 20)`` can never be: the window holds the bar just closed."""
    mirrored = (compared.right, compared.comparison.mirrored, compared.left)
    for left, comparison, right in ((compared.left, compared.comparison, compared.right), mirrored):
        if not (isinstance(left, FactRead) and isinstance(right, FactRead)):
            continue
        column, window = left.series, right.series
        if not (isinstance(column, SeriesColumn) and isinstance(window, SeriesFunction)):
            continue
        outside, extreme = _BEYOND.get(window.function, (None, ""))
        possible = {replace(column, name=name) for name in (extreme, column.name)}
        if comparison is outside and window.inputs[0] in possible:
            message = f"'{compared.text}' can never be true: the window holds the bar just closed"
            yield finding("own-bar", message, compared.span, f"write prev({right.name})")


# --- times of day -----------------------------------------------------------------------------


def _clock_windows(policy: Policy, condition: Condition) -> Iterator[Problem]:
    """Find windows of the day in which no cycle falls, as far as that is certain without calendars.

    Cycles come ``every:`` so often, or else at closes of the policy's bars; both are multiples of what
    divides the interval and half an hour.
    """
    cadence = policy.every_seconds or policy.bars_seconds
    for low, high, span in _windows(condition):
        if low >= high:
            hint = "a window over midnight is  time >= 22:00 or time < 04:00"
            yield finding("clock-window", "this window of the day is empty", span, hint)
        elif high - low == 1:
            hint = "write a window, such as  10:00 <= time < 10:05"
            yield finding("clock-window", "this holds for one second of the day", span, hint)
        elif cadence >= DAY_SECONDS:
            message = f"the policy decides every {duration_text(cadence)}, at one time of the day"
            yield finding("clock-window", message, span, "add a line such as  every: 5m")
        elif _next_multiple(low, gcd(cadence, HALF_HOUR_SECONDS)) >= high:
            message = f"no cycle falls into this window: the policy decides every {duration_text(cadence)}"
            yield finding(
                "clock-window", message, span, "decide more often with  every:, or widen the window"
            )


def _next_multiple(value: int, step: int) -> int:
    return -(-value // step) * step


def _windows(condition: Condition) -> Iterator[tuple[int, int, Span]]:
    """Yield the windows [low, high) that conjunctions set for ``time``."""
    conjuncts = list(_conjuncts(condition))
    bounds = [
        (bound, part.span) for part in conjuncts if isinstance(part, Compared) and (bound := _bounds(part))
    ]
    if bounds:
        low, high = max(low for (low, _), _ in bounds), min(high for (_, high), _ in bounds)
        yield low, high, bounds[0][1]
    for part in conjuncts:
        if isinstance(part, Combined):
            for operand in part.operands:
                yield from _windows(operand)


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, Combined) and condition.every:
        for operand in condition.operands:
            yield from _conjuncts(operand)
    else:
        yield condition


def _bounds(compared: Compared) -> tuple[int, int] | None:
    left, comparison, right = _fact_first(compared)
    if not (isinstance(left, FactRead) and left.name == "time" and isinstance(right, Constant)):
        return None
    at = int(right.value)
    return {
        Comparison.LESS: (0, at),
        Comparison.LESS_OR_EQUAL: (0, at + 1),
        Comparison.GREATER: (at + 1, DAY_SECONDS),
        Comparison.GREATER_OR_EQUAL: (at, DAY_SECONDS),
        Comparison.EQUAL: (at, at + 1),
    }.get(comparison)
