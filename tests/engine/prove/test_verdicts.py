"""Proofs of several variants, put together, and the findings that follow from them."""

from __future__ import annotations

from engine.errors import Severity, Span
from engine.prove.proof import Proof, Trace, Verdict
from engine.prove.verdicts import joined, promise_findings

FIRST, SECOND = Span(10, 15), Span(20, 25)


def proof(name: str, span: Span, symbols: str, verdict: Verdict, how: str = "for every snapshot") -> Proof:
    """Return a proof of a promise for some symbols."""
    return Proof(name, span, tuple(symbols.split()), verdict, how, "the decision")


def test_what_is_said_alike_is_said_once() -> None:
    """Symbols of one verdict come together; another verdict of the same promise stays beside it."""
    found = joined(
        [
            proof("late", SECOND, "A", Verdict.PROVED),
            proof("early", FIRST, "A", Verdict.PROVED),
            proof("late", SECOND, "B C", Verdict.REFUTED, "by an example"),
            proof("early", FIRST, "B C", Verdict.PROVED),
        ]
    )
    assert [(one.promise, one.symbols, one.verdict) for one in found] == [
        ("early", ("A", "B", "C"), Verdict.PROVED),
        ("late", ("A",), Verdict.PROVED),
        ("late", ("B", "C"), Verdict.REFUTED),
    ]


def test_only_what_is_proved_is_no_finding() -> None:
    """A refuted promise comes with its cycles, an undecided one with the reason; both are warnings."""
    trace = Trace("cases", ("at once: A buy (dip)", "after 30s: A sell (stop)"), "sell 30s after buy")
    refuted = Proof("fast", FIRST, ("A",), Verdict.REFUTED, "by cycles", "orders", trace=trace)
    undecided = proof("slow", SECOND, "A B", Verdict.UNDECIDED, "no induction goes through")
    found = list(promise_findings([proof("good", FIRST, "A", Verdict.PROVED), refuted, undecided]))
    assert [(one.problem.code, one.problem.span, one.symbols) for one in found] == [
        ("promise-refuted", FIRST, ("A",)),
        ("promise-undecided", SECOND, ("A", "B")),
    ]
    assert found[0].trace is trace
    assert "no induction goes through" in found[1].problem.message
    assert {one.problem.severity for one in found} == {Severity.WARNING}
