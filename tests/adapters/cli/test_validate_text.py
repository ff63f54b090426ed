"""What validate-policy tells people of a finding: flowed to the width of the terminal, nothing torn apart."""

from __future__ import annotations

from adapters.cli.validate_text import finding_lines
from engine.errors import Span
from engine.language.finding_codes import finding
from engine.language.load import load_policy
from engine.prove.finding import Finding
from engine.prove.proof import Trace
from engine.prove.proving import prove
from engine.prove.region import Region
from tests.test_findings_docs import PAGES


def test_parts_are_flowed_whole() -> None:
    """A line ends before a condition or a fact that it has no room for; what is longer stands alone."""
    region = Region((), ("held", "gain <= -8%", "position_value <= 110% of target", "rsi > 80"))
    one = Finding(finding("trap", "no way out", Span(0, 1)), ("A",), region, given="in a regular session")
    assert list(finding_lines(one, {}, 40)) == [
        "    where    held and gain <= -8%",
        "             and position_value <= 110% of target",
        "             and rsi > 80",
        "    given    in a regular session",
    ]


def test_an_example_is_symbol_facts_and_decision() -> None:
    """A fact stays with its value, whatever the width."""
    loaded = load_policy(PAGES["trap"].bad, "trap.yaml")
    (one,) = (f for f in prove(loaded.required(), loaded.lowered).findings if f.problem.code == "trap")
    assert one.example is not None
    facts = [f"{name} {value}" for name, value in one.example.facts]
    for width in (20, 60, 200):
        lines = list(finding_lines(one, loaded.lowered, width))
        at = next(index for index, line in enumerate(lines) if line.startswith("    example  BTC-USD:"))
        shown = " ".join(line[13:] for line in lines[at:])
        assert shown == f"BTC-USD: {', '.join(facts)} -> HOLD"
        assert all(any(fact in line for line in lines[at:]) for fact in facts)


def test_cycles_stand_one_below_the_other() -> None:
    """A promise over time is broken by several decisions: each has its line, then what they break."""
    trace = Trace("", ("at once: A buy (dip)", "after 30s: A sell (stop)"), "sell 30s after buy")
    one = Finding(finding("promise-refuted", "broken", Span(0, 1)), ("A",), trace=trace)
    assert list(finding_lines(one, {}, 80)) == [
        "    example  at once: A buy (dip)",
        "             after 30s: A sell (stop)",
        "    breaks   sell 30s after buy",
    ]
