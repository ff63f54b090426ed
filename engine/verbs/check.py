"""Check: what can be said of a policy's text without facts: its problems, its size, the bars it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import Problem, Severity, Source
from engine.language.declarations import CalendarProblem
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.lowered import LoweredPolicy
from engine.series import SELF, columns


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy's text, checked.  The rest is empty where there is no policy.

    ``needs`` are the intervals of bars (seconds, ascending) that each symbol is needed on, ``lowered`` is the
    form of the policy that each traded symbol has.
    """

    source: Source
    policy: Policy | None
    problems: tuple[Problem, ...]
    variants: int
    needs: Mapping[str, tuple[int, ...]]
    lowered: Mapping[str, LoweredPolicy]

    def count(self, severity: Severity) -> int:
        """Return how many problems are so severe."""
        return sum(problem.severity is severity for problem in self.problems)


def check(text: str | bytes, name: str, calendar_problem: CalendarProblem) -> Checked:
    """Load a policy; ``calendar_problem`` says what is wrong with the name of a calendar."""
    loaded = load_policy(text, name, calendar_problem)
    if loaded.policy is None:
        return Checked(loaded.source, None, loaded.problems, 0, {}, {})
    variants = len({id(variant) for variant in loaded.lowered.values()})
    needs = data_needs(loaded.policy, loaded.lowered)
    return Checked(loaded.source, loaded.policy, loaded.problems, variants, needs, loaded.lowered)


def data_needs(policy: Policy, lowered: Mapping[str, LoweredPolicy]) -> dict[str, tuple[int, ...]]:
    """Return the intervals that bars of each symbol are needed on: the traded ones first, as written.

    Bars of the policy's own interval make the peak price of a position, so every traded symbol needs them.
    """
    needs: dict[str, set[int]] = {symbol: {policy.bars_seconds} for symbol in lowered}
    for symbol, variant in lowered.items():
        for slot in variant.slots:
            for column in columns(slot.series) if slot.series is not None else ():
                source = symbol if column.symbol == SELF else column.symbol
                needs.setdefault(source, set()).add(column.interval_seconds)
    return {symbol: tuple(sorted(intervals)) for symbol, intervals in needs.items()}
