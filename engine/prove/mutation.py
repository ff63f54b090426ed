"""Mutation testing: which mutants of a policy its cases tell from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import PolicyError
from engine.language.lower import VariantKey, lower, lower_all, variant_key
from engine.language.policy import Policy
from engine.lowered import LoweredPolicy
from engine.prove.coverage import measure_coverage
from engine.prove.mutants import Mutant, mutants_of
from engine.verbs.case_file import Case, CaseFile
from engine.verbs.cases import CaseRunner

Equal = Callable[[Policy, Policy], bool | None]
"""Says whether two policies are proved to decide alike: True, False (they differ), None (undecided)."""
Progress = Callable[[int, int], None]
"""Is told how many of how many are done."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"  # a case came out differently from what it expects
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"  # it survived, and is proved to decide as the policy does
    STILLBORN = "stillborn"  # no policy: it cannot be lowered


@dataclass(frozen=True, slots=True)
class MutantResult:
    """A mutant and its fate.

    ``case`` is the case that killed it, else "".  ``differs`` is True of a survivor that is proved to
    decide otherwise somewhere: a case is missing.
    """

    mutant: Mutant
    fate: Fate
    case: str = ""
    differs: bool = False


@dataclass(frozen=True, slots=True)
class MutationResult:
    """The fates of all mutants that were tried."""

    results: tuple[MutantResult, ...]

    def count(self, fate: Fate) -> int:
        """Return how many had a fate."""
        return sum(result.fate is fate for result in self.results)

    @property
    def survivors(self) -> tuple[MutantResult, ...]:
        """Those that no case tells from the policy and that are not proved to be equivalent."""
        return tuple(result for result in self.results if result.fate is Fate.SURVIVED)

    @property
    def score(self) -> float:
        """The share of killed mutants in percent; equivalent and stillborn ones do not count."""
        killed, survived = self.count(Fate.KILLED), self.count(Fate.SURVIVED)
        return 100.0 * killed / (killed + survived) if killed + survived else 100.0


def run_mutants(
    policy: Policy,
    file: CaseFile,
    mutants: Sequence[Mutant] | None = None,
    *,
    equal: Equal | None = None,
    progress: Progress | None = None,
) -> MutationResult:
    """Run the cases against mutants (all of the policy by default).

    A case that does not pass on the policy itself says nothing about mutants and is left out.  ``equal`` is
    asked about survivors.  PolicyError where the cases cannot be run.
    """
    chosen = mutants_of(policy) if mutants is None else mutants
    trial = _Trial(policy, file)
    results = []
    for index, mutant in enumerate(chosen):
        if progress is not None:
            progress(index, len(chosen))
        result = trial.run(mutant)
        if result.fate is Fate.SURVIVED and equal is not None:
            answer = equal(policy, mutant.policy)
            fate = Fate.EQUIVALENT if answer else Fate.SURVIVED
            result = MutantResult(mutant, fate, differs=answer is False)
        results.append(result)
    if progress is not None:
        progress(len(chosen), len(chosen))
    return MutationResult(tuple(results))


class _Trial:
    """Runs cases against mutants, those that are likely to kill first."""

    def __init__(self, policy: Policy, file: CaseFile) -> None:
        self.policy = policy
        self.base = CaseRunner(policy, file)
        self.exercised = measure_coverage(policy, file).exercised
        self.cases = {case.name: case for case in file.cases if self.base.run(case).passed}
        self.symbols = {name: frozenset(_symbols(case)) for name, case in self.cases.items()}
        self.original = lower_all(policy)
        self.killers: dict[str, dict[str, None]] = defaultdict(dict)

    def run(self, mutant: Mutant) -> MutantResult:
        try:
            lowered = self._lower(mutant.policy)
        except PolicyError:
            return MutantResult(mutant, Fate.STILLBORN)
        changed = self._changed(lowered)
        runner = self.base.against(mutant.policy, lowered)
        for name in self._order(mutant):
            if not changed.isdisjoint(self.symbols[name]) and not runner.run(self.cases[name]).passed:
                self._remember(mutant, name)
                return MutantResult(mutant, Fate.KILLED, name)
        return MutantResult(mutant, Fate.SURVIVED)

    def _lower(self, policy: Policy) -> dict[str, LoweredPolicy]:
        """Lower a mutant for the symbols of the cases, each variant once."""
        variants: dict[VariantKey, LoweredPolicy] = {}
        lowered = {}
        for symbol in dict.fromkeys(
            symbol for symbols in self.symbols.values() for symbol in sorted(symbols)
        ):
            listing = policy.listing(symbol)
            assert listing is not None, "no mutant changes the universe"
            key = variant_key(policy, listing)
            if key not in variants:
                variants[key] = lower(policy, listing)
            lowered[symbol] = variants[key]
        return lowered

    def _changed(self, lowered: Mapping[str, LoweredPolicy]) -> frozenset[str]:
        """Return the symbols whose variant is not what it was."""
        same: dict[tuple[int, int], bool] = {}
        changed = set()
        for symbol, form in lowered.items():
            pair = (id(form), id(self.original[symbol]))
            if pair not in same:
                same[pair] = form == self.original[symbol]
            if not same[pair]:
                changed.add(symbol)
        return frozenset(changed)

    def _order(self, mutant: Mutant) -> dict[str, None]:
        """Return the cases: those that killed mutants of the same part, that exercise it, all others."""
        order: dict[str, None] = {}
        for part in mutant.parts:
            order |= dict.fromkeys(reversed(self.killers[part]))
        for part in mutant.parts:
            order |= dict.fromkeys(name for name in self.exercised.get(part, ()) if name in self.cases)
        return order | dict.fromkeys(self.cases)

    def _remember(self, mutant: Mutant, name: str) -> None:
        killers = self.killers[mutant.part]
        killers.pop(name, None)
        killers[name] = None  # the latest is tried first


def _symbols(case: Case) -> Iterator[str]:
    for step in case.steps:
        yield step.statement.symbol or ""
