"""Findings about a policy that need no prover: things that are legal and probably not meant."""

from __future__ import annotations

from collections.abc import Mapping

from engine.codes import Action
from engine.errors import Problem, Severity, Span
from engine.language.expression import duration_text
from engine.language.policy import Policy
from engine.language.types import (
    Combined,
    Compared,
    Condition,
    Constant,
    FactRead,
    SeriesColumn,
    SeriesFunction,
    comparisons_of,
)
from engine.lowered import Comparison
from engine.units import Measure

DAY_SECONDS = 86400


def findings(
    policy: Policy, declared: Mapping[str, tuple[str, Span]], used: set[str], whole: Span
) -> list[Problem]:
    """Return warnings and errors about a policy that could be typed; ``declared`` are its own names."""
    found: list[Problem] = []
    top = Span(whole.start, whole.start + 1)
    if not any(rule.protective for rule in policy.rules):
        found.append(
            Problem(
                "no-protective-rule",
                "no rule is protective: nothing of this policy guards a held position",
                top,
                "mark a stop loss  protective: true",
                Severity.WARNING,
            )
        )
    if not any(rule.action is Action.SELL for rule in policy.rules):
        found.append(
            Problem("no-exit", "no rule ever sells", top, "add a rule that says  sell all", Severity.WARNING)
        )
    for name, (kind, span) in declared.items():
        if name not in used:
            found.append(
                Problem(
                    "unused", f"{kind} '{name}' is never used", span, "use it or delete it", Severity.WARNING
                )
            )
    total = sum((listing.weight for listing in policy.universe if listing.weight is not None), start=0)
    if total > 1:
        found.append(
            Problem(
                "weights",
                f"the weights add up to {total * 100:f}%: above 100%",
                top,
                severity=Severity.WARNING,
            )
        )
    for name, condition, span in _conditions(policy):
        found += _impossible(name, condition)
        found += _clock_windows(policy, condition, span)
    for signal in policy.signals:
        for vote in signal.votes:
            if vote.buy is not None and vote.buy == vote.sell:
                found.append(
                    Problem(
                        "vote-both",
                        f"vote '{vote.name}' is for buy and sell alike: it never casts",
                        vote.span,
                        severity=Severity.WARNING,
                    )
                )
    return found


def _conditions(policy: Policy) -> list[tuple[str, Condition, Span]]:
    found = [(rule.name, rule.when, rule.when_span) for rule in policy.rules]
    found += [
        (gate.name, gate.when, gate.span)
        for gate in policy.gates
        if gate.when is not None and not gate.reserved
    ]
    return found


_NEVER_ABOVE = {
    "highest": ("close", "open", "low", "high", "typical"),
    "lowest": ("close", "open", "high", "low", "typical"),
}


def _impossible(name: str, condition: Condition) -> list[Problem]:
    """``close > highest(high, 20)`` can never be: the window holds the bar just closed."""
    found = []
    for compared in comparisons_of(condition):
        for left, comparison, right in (
            (compared.left, compared.comparison, compared.right),
            (compared.right, _MIRROR.get(compared.comparison), compared.left),
        ):
            if not (isinstance(left, FactRead) and isinstance(right, FactRead)):
                continue
            window, column = right.series, left.series
            if not (isinstance(window, SeriesFunction) and isinstance(column, SeriesColumn)):
                continue
            above = window.function == "highest" and comparison is Comparison.GREATER
            below = window.function == "lowest" and comparison is Comparison.LESS
            source = window.inputs[0]
            if not (above or below) or not isinstance(source, SeriesColumn):
                continue
            extreme = source.name == ("high" if above else "low") or source.name == column.name
            if extreme and (source.symbol, source.interval_seconds) == (
                column.symbol,
                column.interval_seconds,
            ):
                found.append(
                    Problem(
                        "own-bar",
                        f"'{compared.text}' can never be true: the window of '{right.name}' includes the bar just closed",
                        compared.span,
                        f"write prev({right.name})",
                        Severity.WARNING,
                    )
                )
    return found


_MIRROR = {
    Comparison.LESS: Comparison.GREATER,
    Comparison.GREATER: Comparison.LESS,
    Comparison.LESS_OR_EQUAL: Comparison.GREATER_OR_EQUAL,
    Comparison.GREATER_OR_EQUAL: Comparison.LESS_OR_EQUAL,
}


def _clock_windows(policy: Policy, condition: Condition, span: Span) -> list[Problem]:
    """Find windows of the day in which no cycle falls.

    Cycles come ``every:`` so often, or else at closes of the policy's bars; of intraday bars the closes are
    taken as multiples of the interval, and a daily bar closes with its session.
    """
    found = []
    for low, high, where in _windows(condition):
        if high <= low:
            found.append(Problem("clock-window", "this window of the day is empty", where))
            continue
        cadence = policy.every_seconds or policy.bars_seconds
        if cadence >= DAY_SECONDS:
            found.append(
                Problem(
                    "clock-window",
                    f"no cycle falls into this window: the policy decides every {duration_text(cadence)}, at the close",
                    where,
                    "add a line such as  every: 5m",
                )
            )
        elif cadence > high - low and -(-low // cadence) * cadence >= high:
            found.append(
                Problem(
                    "clock-window",
                    f"no cycle falls into this window: the policy decides every {duration_text(cadence)}",
                    where,
                    "decide more often with  every:, or widen the window",
                )
            )
    return found


def _windows(condition: Condition) -> list[tuple[int, int, Span]]:
    """Return the [low, high) windows that conjunctions set for ``time``."""
    match condition:
        case Combined(every=True, operands=operands):
            low, high, where = 0, DAY_SECONDS, None
            found = []
            for operand in operands:
                if isinstance(operand, Combined):
                    found += _windows(operand)
                elif isinstance(operand, Compared):
                    bounds = _bounds(operand)
                    if bounds is not None:
                        low, high = max(low, bounds[0]), min(high, bounds[1])
                        where = where or operand.span
            if where is not None:
                found.append((low, high, where))
            return found
        case Combined(operands=operands):
            return [window for operand in operands for window in _windows(operand)]
        case Compared():
            bounds = _bounds(condition)
            return [] if bounds is None else [(*bounds, condition.span)]
        case _:
            return []


def _bounds(compared: Compared) -> tuple[int, int] | None:
    left, comparison, right = compared.left, compared.comparison, compared.right
    if isinstance(right, FactRead):
        left, right, mirrored = right, left, _MIRROR.get(comparison)
        if mirrored is None and comparison is not Comparison.EQUAL:
            return None
        comparison = mirrored or comparison
    if not (isinstance(left, FactRead) and left.name == "time" and isinstance(right, Constant)):
        return None
    if right.unit is not Measure.CLOCK:
        return None
    at = int(right.value)
    return {
        Comparison.LESS: (0, at),
        Comparison.LESS_OR_EQUAL: (0, at + 1),
        Comparison.GREATER: (at + 1, DAY_SECONDS),
        Comparison.GREATER_OR_EQUAL: (at, DAY_SECONDS),
        Comparison.EQUAL: (at, at + 1),
    }.get(comparison)
