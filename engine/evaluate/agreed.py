"""The evaluator of the live agent: durable-rules decides and the compiled evaluator must agree.

Where durable-rules cannot be imported the compiled evaluator decides and the reference one checks it.
What to do on disagreement is in ``engine.evaluate.agreement``; this file runs the evaluators and keeps
what happened.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from engine.codes import Truth
from engine.evaluate.agreement import Agreement, agree
from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.durable import DurableEvaluator, EngineFault, durable_available
from engine.evaluate.reference import ReferenceEvaluator
from engine.evaluate.verdict import Verdict
from engine.lowered import LoweredPolicy


class AgreedEvaluator:
    """Two evaluators that must agree, behind the one protocol.

    ``disagreements`` collects what was not agreed since it was last cleared; the caller journals it.
    """

    def __init__(self, policy: LoweredPolicy, *, durable: bool = True) -> None:
        """Build the evaluators; ``durable`` False leaves durable-rules out, as where there is none."""
        self.policy = policy
        self.compiled = CompiledEvaluator(policy)
        self.reference = ReferenceEvaluator(policy)
        self.durable = DurableEvaluator(policy) if durable and durable_available() else None
        self.disagreements: list[Agreement] = []

    def close(self) -> None:
        """Let go of the rules engine."""
        if self.durable is not None:
            self.durable.close()

    def verdict(
        self, values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0
    ) -> Verdict:
        """Return the verdict that may be acted on."""
        compiled = self.compiled.verdict(values, stated, would_exit, would_exit_unknown)
        witness: Verdict | EngineFault | None = None
        if self.durable is not None:
            try:
                witness = self.durable.verdict(values, stated, would_exit, would_exit_unknown)
            except EngineFault as fault:
                witness = fault
        agreement = agree(
            self.policy,
            witness,
            compiled,
            partial(self.reference.verdict, values, stated, would_exit, would_exit_unknown),
            partial(self.reference.level_after, values=values),
        )
        if not agreement.agreed:
            self.disagreements.append(agreement)
            self._rebuild()
        return agreement.verdict

    def _rebuild(self) -> None:
        """Build the rules engine anew; one that cannot be built says so again in the next cycle."""
        if self.durable is not None:
            with suppress(EngineFault):
                self.durable.rebuild()

    def standing_exit(self, values: list[float], stated: int = 0) -> tuple[int, int]:
        """Return the first standing exit; where the evaluators differ it is Unknown: no entry."""
        compiled = self.compiled.standing_exit(values, stated)
        checked = self.reference.standing_exit(values, stated)
        if compiled != checked:
            return int(Truth.UNKNOWN), max(compiled[1], checked[1])
        return compiled

    def size(self, rule: int, values: list[float]) -> float:
        """Return a rule's size; NaN (Unknown) where the evaluators differ."""
        return _same(self.compiled.size(rule, values), self.reference.size(rule, values))

    def bound(self, limit: int, values: list[float]) -> float:
        """Return a limit's bound; NaN (Unknown) where the evaluators differ."""
        return _same(self.compiled.bound(limit, values), self.reference.bound(limit, values))

    def price(self, buy: bool, values: list[float]) -> float:
        """Return an order style's price; NaN (Unknown) where the evaluators differ."""
        return _same(self.compiled.price(buy, values), self.reference.price(buy, values))


def _same(a: float, b: float) -> float:
    return a if a == b else float("nan")
