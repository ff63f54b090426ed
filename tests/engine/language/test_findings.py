"""Findings: what is legal and probably not meant, and nothing else."""

from __future__ import annotations

import random

import pytest

from engine.errors import Severity
from engine.language.load import load_policy
from tests.engine.language.small import load
from tests.policy_texts import policy_text


def findings(when: str, *changes: tuple[str, str]) -> list[str]:
    """Return the codes of what is found in the changed small policy."""
    return [problem.code for problem in load(when, *changes).problems]


GOOD = "rsi < oversold and enhanced.side == buy and not calm"


def test_nothing_is_found_in_a_good_policy() -> None:
    """The small policy, from which the other tests start, has no finding."""
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("protective: true, ", "", "no-protective-rule"),
        ("  fast: ema(12)\n", "  fast: ema(12)\n  slow: ema(26)\n", "unused"),
        ("SPY: 20%", "SPY: 80%", "weights"),
        ("sell: rsi > 70", "sell: rsi > 20", "vote-both"),
        ("buy: close < bands.lower", "buy: bands.lower > ask, sell: bands.lower > ask", "vote-both"),
        ("rsi > 40 and rsi < 60", "close > highest(high, 20)", "own-bar"),
        ("rsi > 40 and rsi < 60", "lowest(close, 5) > close", "own-bar"),
        ("rsi > 40 and rsi < 60", "oversold > 20", "constant"),
        ("spy < hour", "spy < hour and 22:00 <= time < 04:00", "clock-window"),
        ("spy < hour", "spy < hour and time == 10:00", "clock-window"),
    ],
)
def test_one_change_is_one_finding(old: str, new: str, code: str) -> None:
    """Each is told, once, and nothing beside it."""
    assert findings(GOOD, (old, new)) == [code]


def test_findings_are_warnings_but_for_what_is_only_to_be_known() -> None:
    """A warning is probably a mistake; information is not."""
    gates = "gates: {calm: {vetoes: [sell], when: rsi < 10, if_unknown: pass}}\nrules:\n"
    found = load(
        "not calm and rsi < 30", ("rules:\n", gates), ("calm: rsi", "quiet: rsi"), ("not calm", "not quiet")
    )
    severities = {problem.code: problem.severity for problem in found.problems}
    assert severities["gate-passes-unknown"] is Severity.INFORMATION
    assert severities["unused"] is Severity.WARNING
    assert found.policy is not None


# --- votes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buy", "sell", "both"),
    [
        ("rsi < 30", "rsi > 70", False),
        ("rsi < 50", "rsi >= 50", False),
        ("rsi <= 50", "rsi >= 50", True),
        ("rsi < 50.01", "rsi > 50", True),
        ("rsi > 70", "rsi < 30", False),
        ("rsi > 30", "rsi < 70", True),
        ("30 > rsi", "rsi > 20", True),
        ("rsi < 30", "rsi < 40", True),
        ("rsi < 30", "fast < ask", False),  # different facts: for the prover
        ("rsi < 30 and held", "rsi > 20", False),
        ("rsi < oversold", "rsi > oversold", False),
    ],
)
def test_votes_for_both_sides(buy: str, sell: str, both: bool) -> None:
    """Found where one number makes both single comparisons true, and nowhere else."""
    found = findings(GOOD, ("buy: rsi < 30, sell: rsi > 70", f"buy: {buy}, sell: {sell}"))
    assert ("vote-both" in found) == both


# --- windows of the day -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "cadence", "found"),
    [
        ("10:00 <= time < 15:00", "bars: 15m\nevery: 1m", False),
        ("10:01 <= time < 10:14", "bars: 15m\nevery: 1m", False),
        ("10:01 <= time < 10:14", "bars: 15m", True),
        ("10:00 <= time < 10:05", "bars: 15m", False),
        ("10:15 <= time < 10:25", "bars: 1h", True),
        ("10:30 <= time < 10:45", "bars: 1h", False),  # an exchange that opens at 9:30 closes bars then
        ("time >= 15:30", "bars: 15m", False),
        ("time > 15:45 and time <= 16:00", "bars: 15m", False),
        ("time > 15:46 and time < 15:59", "bars: 15m", True),
        ("time < 10:00 or time > 15:00", "bars: 15m", False),
        ("time >= 22:00 and time < 04:00", "bars: 15m", True),
        ("time >= 22:00 or time < 04:00", "bars: 15m", False),
        ("held and (time >= 10:00 and (rsi < 30 and time < 09:00))", "bars: 15m", True),
        ("10:00 <= time < 15:00", "bars: 1d", True),
        ("10:00 <= time < 15:00", "bars: 1d\nevery: 5m", False),
        ("10:00 < time", "bars: 15m", False),
        ("time != 10:00", "bars: 15m", False),
    ],
)
def test_windows_without_a_cycle(window: str, cadence: str, found: bool) -> None:
    """A window is found where it is certain, whatever the calendar, that no cycle falls into it."""
    changes = [("bars: 15m\nevery: 1m", cadence)]
    if "1d" in cadence:
        changes.append(("spy < hour", "spy < fast"))
    assert (
        "clock-window"
        in findings(f"rsi < oversold and {window} and enhanced.side == buy and not calm", *changes)
    ) == found


# --- gates, scopes, calendars, orders ---------------------------------------------------------


def test_what_is_only_watched_needs_no_rules() -> None:
    """Rules, gates, limits and values for symbols that are never traded are told."""
    watched = ("BTC-USD: 10%, ETH-USD: 5%}", "BTC-USD: 10%}, watch: [ETH-USD]")
    assert findings(GOOD, watched) == []
    assert findings(GOOD, watched, ("for: {crypto: 25}", "for: {ETH-USD: 25}")) == ["watch-only"]
    assert findings(GOOD, watched, ("buy to target", "buy to target\n    for: [ETH-USD]")) == ["watch-only"]
    assert findings(GOOD, watched, ("buy to target", "buy to target\n    for: [ETH-USD, SPY]")) == []
    assert findings(GOOD, watched, ("buy to target", "buy to target\n    for: crypto")) == []


@pytest.mark.parametrize(
    ("indicator", "found"),
    [
        ("close / spy", True),  # of crypto and an exchange
        ("btc / spy", True),
        ("spy / qqq", False),
        ("btc / eth", False),
        ("close / open", False),
    ],
)
def test_series_over_calendars(indicator: str, found: bool) -> None:
    """Bars of different calendars in one series are gaps of each other."""
    others = "".join(f"  {name}: close on {symbol} 15m\n" for name, symbol in
                     (("spy", "SPY"), ("qqq", "QQQ"), ("btc", "BTC-USD"), ("eth", "ETH-USD")))  # fmt: skip
    codes = findings(
        f"{GOOD} and pair > 1%",
        ("  spy: close on SPY 1d\n", f"{others}  pair: {indicator}\n"),
    )
    assert codes.count("calendars") == found


def test_prices_of_sells_come_from_the_quote() -> None:
    """A sell price that may be Unknown when the quote is known would hold a stop back."""
    assert findings(GOOD, ("rules:\n", "orders: {sell: {limit: 99% of fast}}\nrules:\n")) == ["exit-price"]
    assert findings(GOOD, ("rules:\n", "orders: {sell: {limit: '99.9% of min(bid, ask)'}}\nrules:\n")) == []
    assert findings(GOOD, ("rules:\n", "orders: {buy: {limit: 99% of fast}}\nrules:\n")) == []


def test_days_without_a_timezone_are_told() -> None:
    """Where a rule counts days or names one, and no timezone is stated."""
    nowhere = ("timezone: America/New_York\n", "")
    assert findings(GOOD, nowhere) == []
    assert findings(f"{GOOD} and weekday == mon", nowhere) == ["timezone-default"]
    assert findings(GOOD, nowhere, ("buy to target", "buy to target\n    once: day")) == ["timezone-default"]
    assert findings(GOOD, nowhere, ("buy to target", "buy to target\n    once: bar")) == []


def test_a_name_is_used_wherever_it_is_read() -> None:
    """In conditions, sizes, votes, gates, limits, prices, reasons, promises and other definitions."""
    for use in (
        ("buy to target", "buy to target\n    because: '{extra}'"),
        ("rules:\n", "gates: {one: {vetoes: [buy], when: close > extra}}\nrules:\n"),
        ("rules:\n", "promises: {one: {given: close > extra, never: action == buy}}\nrules:\n"),
        ("rules:\n", "orders: {buy: {limit: extra}}\nrules:\n"),
        ("  calm: rsi > 40", "  calm: close > extra and rsi > 40"),
    ):
        assert findings(GOOD, ("  fast: ema(12)\n", "  fast: ema(12)\n  extra: ema(26)\n"), use) == []


def test_findings_never_keep_a_policy_from_loading() -> None:
    """Random policies have findings of many kinds, and load."""
    found: set[str] = set()
    for seed in range(60):
        loaded = load_policy(policy_text(random.Random(seed)), "random.yaml")
        assert loaded.policy is not None
        found |= {problem.code for problem in loaded.problems}
    assert {"unused", "no-protective-rule", "no-exit", "gate-passes-unknown"} <= found


def test_partly_broken_policies_have_the_findings_of_what_could_be_read() -> None:
    """One run tells errors and findings; what needs the whole is left for the next."""
    changes = ("spy < hour", "spy < hour and time == 10:00"), ("protective: true, ", "")
    assert sorted(findings("rsi < 30%", *changes)) == ["clock-window", "unit"]
    assert sorted(findings(GOOD, *changes)) == ["clock-window", "no-protective-rule"]
