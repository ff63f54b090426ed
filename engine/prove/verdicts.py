"""What is said of promises for all variants together, and the findings that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine.language.finding_codes import finding
from engine.prove.finding import Finding
from engine.prove.proof import Proof, Verdict


def joined(proofs: Iterable[Proof]) -> tuple[Proof, ...]:
    """Put proofs of several variants together where they say the same of a promise.

    In the order of the file; of several refutations the first one's region, example and trace stand, of
    several proofs the one for which most was modelled: a promise may say nothing of some symbols.
    """
    together: dict[tuple[str, Verdict, str, str], Proof] = {}
    for proof in sorted(proofs, key=lambda proof: -len(proof.stage)):
        stage = "" if proof.verdict is Verdict.PROVED else proof.stage
        key = (proof.promise, proof.verdict, proof.how, stage)
        first = together.get(key, replace(proof, symbols=()))
        together[key] = replace(first, symbols=(*first.symbols, *proof.symbols))
    return tuple(sorted(together.values(), key=lambda proof: proof.span.start))


def promise_findings(proofs: Iterable[Proof]) -> Iterator[Finding]:
    """Yield a finding for every promise that is refuted, or was not decided."""
    for proof in proofs:
        if proof.verdict is Verdict.REFUTED:
            message = f"promise '{proof.promise}' does not hold"
            hint = "mend the rule, or promise less"
            problem = finding("promise-refuted", message, proof.span, hint)
            yield Finding(problem, proof.symbols, proof.region, proof.example, trace=proof.trace)
        elif proof.verdict is Verdict.UNDECIDED:
            message = f"promise '{proof.promise}' was neither proved nor refuted: {proof.how}"
            yield Finding(finding("promise-undecided", message, proof.span), proof.symbols)
