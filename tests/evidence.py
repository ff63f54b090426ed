"""Figures that tests assert on, printed at the end of the run, so that one sees what it covered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Evidence = Callable[[str], None]
_PROPERTY = "evidence"


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Return a function that adds a line to the run's summary (also from a worker process)."""

    def say(line: str) -> None:
        request.node.user_properties.append((_PROPERTY, line))

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines, in the order of the tests."""
    lines = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if lines:
        terminalreporter.section("evidence")
        for nodeid, line in sorted(lines, key=lambda entry: entry[0]):
            terminalreporter.write_line(f"{nodeid.rpartition('::')[2]}: {line}")
