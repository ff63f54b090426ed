"""The old agent: its log line by line, and its rules as LEGACY.md tells them, written down a second time."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codes import Action
from engine.verbs.case_file import load_cases
from engine.verbs.cases import CaseRunner
from tests.policies import shipped_cases as shipped
from tests.shared_data import shared_path

LEGACY = "legacy-2025-11-18"
ROW = re.compile(r"^\| (\d\d:\d\d:\d\d) \| ([A-Z, -]+) \| (.+) \|$", re.MULTILINE)


def log_rows() -> list[tuple[str, str, str]]:
    """Return (time, symbol, text) of every line of the published log, one per symbol."""
    text = shared_path("LEGACY.md").read_text("utf-8")
    rows = [(at, symbol, what) for at, symbols, what in ROW.findall(text) for symbol in symbols.split(", ")]
    assert len(rows) == 19, "the table of LEGACY.md has 18 lines, one of them of two symbols"
    return rows


def test_every_line_of_the_log_is_a_case() -> None:
    """At its instant, of its symbol, with the price, RSI and signal that the line states under facts."""
    cases = shipped.case_file(LEGACY).cases
    for at, symbol, what in log_rows():
        begins = f"log-{at.replace(':', '-')}-{symbol.removesuffix('-USD').lower()}"
        found = [case for case in cases if case.name.startswith(begins) and not case.name.endswith("votes")]
        assert len(found) == 1, begins
        case = found[0]
        statement = case.steps[0].statement
        assert statement.symbol == symbol
        local = datetime.fromisoformat(f"2025-11-18T{at}-06:00")
        assert case.at_ms == round(local.timestamp() * 1000)
        facts = {given.name: given.value.text for given in statement.given if not given.assumed}
        if rsi := re.search(r"RSI (\d+\.\d)", what):
            assert facts["rsi"] == rsi[1]
        if price := re.search(r"@ ([\d.]+) =", what):
            assert f"{float(facts['price'].split()[0]):.2f}" == f"{float(price[1]):.2f}"
        if signal := re.search(r"enhanced SELL 0\.(\d\d)", what):
            assert (facts["enhanced.side"], facts["enhanced.confidence"]) == ("sell", f"{signal[1]}%")
        if "no quote" in what:
            assert facts["quote_state"] == "missing"
        if "no position" in what or "forced buy" in what:
            assert facts["held"] == "false"


def test_every_buy_of_the_log_has_its_size() -> None:
    """Where a line states quantity x price = size, the decided order is that size and quantity."""
    for at, symbol, what in log_rows():
        match = re.fullmatch(r"buy ([\d.]+) @ [\d.]+ = ([\d.]+)", what)
        if match is None:
            continue
        name = f"log-{at.replace(':', '-')}-{symbol.removesuffix('-USD').lower()}"
        case = next(case for case in shipped.case_file(LEGACY).cases if case.name == name)
        order = shipped.runner(LEGACY).run(case).steps[0].decision.order
        assert order is not None
        assert order.quantity / 10**9 == pytest.approx(float(match[1]), rel=0.01)
        assert order.quantity * order.sized_at / 10**17 == pytest.approx(float(match[2]), abs=0.01)


# --- the rules, told a second time ------------------------------------------------------------

ANY = """\
apiVersion: tradectl/cases-v1
policy: legacy
cases:
  any:
    symbol: DOGE-USD
    assumed:
      equity: {value: 100000 USD, because: "a goal of 1000.00"}
      price: {value: 1 USD, because: any}
      ask: {value: 1 USD, because: any}
      rsi: {value: 50, range: [0, 100], because: drawn}
      position_qty: {value: 0, range: [0, 3000], because: drawn}
      enhanced.side: {value: buy, range: [buy, sell, hold], because: drawn}
      enhanced.confidence: {value: 50%, range: [10%, 100%], because: drawn}
    expect: {action: buy}
"""
GOAL = 1000.0


def old_agent(rsi: float, quantity: float, side: str, confidence: float) -> Action:
    """Decide for a crypto symbol as the request tells it; the price is 1, the goal 1000.

    No position and RSI < 75: forced BUY.  A position and RSI > 80: forced SELL.  Else the enhanced signal
    above 60 %, else the standard one, which sells above RSI 55.  A SELL executes above 110 % of the goal,
    a BUY below 98 %.
    """
    held = quantity > 0
    if held and rsi > 80:
        signal = "sell"
    elif not held and rsi < 75:
        signal = "buy"
    elif confidence > 0.6:
        signal = side
    else:
        signal = "sell" if held and rsi > 55 else "hold"
    if signal == "sell" and held and quantity > 1.10 * GOAL:
        return Action.SELL
    if signal == "buy" and quantity < 0.98 * GOAL:
        return Action.BUY
    return Action.HOLD


@given(
    rsi=st.one_of(
        st.sampled_from([55.0, 55.01, 74.99, 75.0, 80.0, 80.01]), st.integers(0, 10000).map(lambda n: n / 100)
    ),
    quantity=st.one_of(
        st.sampled_from([0.0, 979.99, 980.0, 1100.0, 1100.01]), st.integers(0, 3000).map(float)
    ),
    side=st.sampled_from(["buy", "sell", "hold"]),
    confidence=st.one_of(st.sampled_from([0.6, 0.61]), st.integers(10, 100).map(lambda n: n / 100)),
)
@example(rsi=55.01, quantity=1101.0, side="buy", confidence=0.61)  # an accepted BUY near target sold nothing
def test_policy_decides_as_the_old_agent(rsi: float, quantity: float, side: str, confidence: float) -> None:
    """Over RSI, position, side and confidence, boundaries included, the policy and the told rules agree."""
    runner = _any_runner()
    replaced = {
        "rsi": rsi,
        "position_qty": quantity,
        "enhanced.side": {"buy": 1.0, "sell": 2.0, "hold": 3.0}[side],
        "enhanced.confidence": confidence,
    }
    decision = runner.run(runner.file.cases[0], replaced).steps[0].decision
    assert decision.action is old_agent(rsi, quantity, side, confidence)


_runners: list[CaseRunner] = []


def _any_runner() -> CaseRunner:
    if not _runners:
        _runners.append(CaseRunner(shipped.policy(LEGACY), load_cases(ANY, "any.yaml")))
    return _runners[0]


@pytest.mark.parametrize(("percent", "action"), [(95, "hold"), (105, "hold"), (110, "hold"), (115, "sell")])
def test_trim_gate_at_rsi_85(percent: int, action: str) -> None:
    """The trial of LEGACY.md: at 95, 105 and exactly 110 % of goal HOLD, at 115 % a sell to goal."""
    runner = _any_runner()
    replaced = {"rsi": 85.0, "position_qty": percent * GOAL / 100}
    step = runner.run(runner.file.cases[0], replaced).steps[0]
    assert step.decision.action.name.lower() == action
    if step.decision.order is not None:
        assert step.decision.order.quantity == (percent - 100) * 10 * 10**9
