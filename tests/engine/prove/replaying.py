"""What the prover shows, replayed without it: facts files through the fact maker, both evaluators, decide."""

from __future__ import annotations

from typing import NamedTuple

from engine.evaluate.compiled import CompiledEvaluator
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.load import Loaded, load_policy
from engine.language.source import load_document
from engine.lowered import LoweredPolicy
from engine.model import Decision
from engine.prove.example import Example
from engine.prove.finding import Finding
from engine.prove.proving import Proved, prove
from engine.verbs.decide import decide
from engine.verbs.statement import parse_statement
from engine.verbs.vector import fact_vector


class Replayed(NamedTuple):
    """What a facts file comes to."""

    lowered: LoweredPolicy
    values: list[float]  # voted signals among them
    decision: Decision

    @property
    def rule(self) -> str:
        """The rule that was chosen, "" where there is none."""
        return self.lowered.rules[self.decision.rule].name if self.decision.rule >= 0 else ""

    def truth(self, rule: str) -> int:
        """Return the truth of a rule's condition."""
        return self.decision.truths[self._index(rule)]

    def disposition(self, rule: str) -> int:
        """Return what became of a rule."""
        return self.decision.dispositions[self._index(rule)]

    def _index(self, rule: str) -> int:
        return next(index for index, one in enumerate(self.lowered.rules) if one.name == rule)


def proved(text: str, name: str = "policy.yaml") -> tuple[Loaded, Proved]:
    """Load a policy and prove it."""
    loaded = load_policy(text, name)
    return loaded, prove(loaded.required(), loaded.lowered)


def replayed(loaded: Loaded, example: Example) -> Replayed:
    """Decide what an example's text says, by both evaluators; they and the example agree."""
    policy = loaded.required()
    listing = policy.listing(example.symbol)
    assert listing is not None
    lowered = loaded.lowered[example.symbol]
    statement = parse_statement(load_document(example.text, "example.yaml"))
    assert statement.symbol == example.symbol
    vector = fact_vector(policy, lowered, listing, statement)
    values = list(vector.values)
    decision = decide(ReferenceEvaluator(lowered), values, vector.situation)
    assert decide(CompiledEvaluator(lowered), list(vector.values), vector.situation) == decision
    assert decision == example.outcome.decision, "the file says less than what was decided on"
    return Replayed(lowered, values, decision)


def of_code(said: Proved, code: str) -> list[Finding]:
    """Return the findings of a kind."""
    return [one for one in said.findings if one.problem.code == code]


def codes(said: Proved) -> set[str]:
    """Return the kinds of findings."""
    return {one.problem.code for one in said.findings}
