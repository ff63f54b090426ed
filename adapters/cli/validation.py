"""What became of a file that was to be validated: read or not, checked, and perhaps proved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import Problem, Severity, TradectlError
from engine.verbs.check import Checked

if TYPE_CHECKING:  # what proves is loaded where something is proved
    from engine.prove.finding import Finding
    from engine.prove.proof import Proof
    from engine.prove.proving import Proved


STANDARD_INPUT: Final = "-"
"""The name of what comes through a pipe."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be read."""

    name: str
    error: TradectlError


@dataclass(frozen=True, slots=True)
class Validated:
    """A file that was checked; ``proved`` is None where the prover was not asked, or had no policy to ask."""

    name: str  # as it was given
    checked: Checked
    proved: Proved | None = None
    seconds: float = 0.0  # that proving took

    def rows(self) -> Iterator[tuple[Problem, Finding | None]]:
        """Yield every problem in the order of the file; those of the prover with what shows them."""
        found: list[tuple[Problem, Finding | None]] = [(problem, None) for problem in self.checked.problems]
        if self.proved is not None:
            found += [(one.problem, one) for one in self.proved.findings]
            found.sort(key=lambda row: (row[0].span.start, row[0].code))
        yield from found

    def count(self, severity: Severity) -> int:
        """Return how many problems are so severe."""
        return sum(problem.severity is severity for problem, _ in self.rows())

    def passes(self, *, strict: bool) -> bool:
        """Say whether it is a policy; with ``strict``, one without warnings."""
        return self.checked.policy is not None and not (strict and self.count(Severity.WARNING))

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What is said of its promises."""
        return self.proved.promises if self.proved is not None else ()

    @property
    def kept_promises(self) -> int:
        """How many promises are proved for every symbol."""
        open_ = {proof.promise for proof in self.proofs if proof.verdict != "proved"}
        return len({proof.promise for proof in self.proofs} - open_)


Outcome = Validated | Unread
