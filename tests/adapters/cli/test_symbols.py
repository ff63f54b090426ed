"""Symbols on the command line: what is none is told before anybody is asked."""

from __future__ import annotations

import pytest

from adapters.cli.output import ExitCode
from adapters.cli.symbols import parse_symbols
from tests.adapters.cli.running import tradectl


def test_symbols_are_read_in_any_case_and_once() -> None:
    """In their order."""
    assert parse_symbols(["spy", "BTC-usd", "BRK.B", "SPY"]) == ("SPY", "BTC-USD", "BRK.B")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("btc/usd", "write BTC-USD"),
        ("../x", "such as SPY"),
        ("", "such as SPY"),
        ("A B", "such as SPY"),
        ("BTC-USD,SPY", "such as SPY"),
        ("ü", "such as SPY"),
    ],
)
@pytest.mark.parametrize("command", ["quote", "fetch-history"])
def test_what_is_no_symbol(command: str, text: str, hint: str) -> None:
    """It is a mistake of usage, with what was probably meant."""
    more = ["--interval", "1h", "--from", "2025-01-01"] if command == "fetch-history" else []
    result = tradectl(command, "SPY", text, *more)
    assert result.exit_code == ExitCode.USAGE, result.output
    assert "is no symbol" in result.stderr and hint in " ".join(result.stderr.split())
