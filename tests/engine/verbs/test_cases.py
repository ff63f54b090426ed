"""Cases: how a file is read, what a runner compares, and how time passes in a series."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PolicyError
from engine.evaluate.compiled import CompiledEvaluator
from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.verbs.case_file import load_cases
from engine.verbs.cases import CaseResult, CaseRunner
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden" / "cases"
POLICY = load_policy(
    """\
apiVersion: tradectl/v1
policy: study
version: 1.0.0
timezone: UTC
selection: exits_first
bars: 15m
universe:
  crypto: {calendar: 24/7, weights: {BTC-USD: 10%, DOGE-USD: 5%}}
  stock:  {calendar: NYSE, weights: {SPY: 10%}}
indicators: {rsi: rsi(14), fast: ema(12), slow: ema(26)}
signals:
  tips: {from: feed, max_age: 15m}
  mood:
    votes:
      rsi:  {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      ema:  {weight: 1, buy: fast > slow, sell: fast < slow}
rules:
  stop:  {priority: 900, protective: true, when: held and gain <= -10%, then: sell all}
  exit:  {priority: 800, when: held and mood.side == sell and mood.confidence > 60%, then: sell all}
  trail: {priority: 750, when: held and price <= 90% of peak_price, then: sell all}
  trim:  {priority: 700, when: held and gain >= 20%, then: sell to 50% of position_value, once: position}
  bold:  {priority: 200, for: BTC-USD, when: tips.side == buy, then: buy 100 USD, once: day}
  dip:   {priority: 100, when: not held and rsi < 35, then: buy to target}
  bar:   {priority: 90, when: held and rsi < 20, then: buy 50 USD, once: bar}
gates:
  hours:    {vetoes: [buy, sell], when: session != regular}
  cooldown: {vetoes: [buy], when: since_order < 2 bars}
limits:
  rate:   {at_most: 2 buys per 1h}
  places: {at_most: 2 positions}
  cap:    {at_most: 8% of equity, per: symbol}
orders:
  buy:  {type: market}
  sell: {limit: 99% of bid}
""",
    "study.yaml",
).required()

HEAD = "apiVersion: tradectl/cases-v1\npolicy: study\n"
QUIET = "background: {all: {facts: {tips.side: none, tips.confidence: 0%}}}\n"
MARKET = "price: 100 USD, ask: 100 USD, equity: 10000 USD, rsi: 50, fast: 100 USD, slow: 100 USD"


def run(cases: str, head: str = HEAD + QUIET) -> tuple[CaseResult, ...]:
    """Run the cases of a file."""
    return CaseRunner(POLICY, load_cases(f"{head}cases:\n{cases}", "study-cases.yaml")).run_all()


def one(case: str) -> CaseResult:
    """Run one case, written in flow style."""
    (result,) = run(f"  it: {case}\n")
    return result


def told(result: CaseResult) -> list[str]:
    """Return the differences of a case in words."""
    return [f"{d.what}: {d.expected} | {d.got}" for step in result.steps for d in step.differences]


# --- what is compared -------------------------------------------------------------------------

HELD = "position_qty: 10, entry_price: 100 USD, peak_price: 100 USD"

PASSING = {
    "action": f"{{symbol: SPY, facts: {{{MARKET}, session: regular}}, expect: {{action: hold, rule: none}}}}",
    "signal from votes": (
        f"{{symbol: SPY, facts: {{{MARKET}, session: regular}},"
        " expect: {signals: {mood: {side: hold, confidence: 100%, disposition: none}}}}"
    ),
    "feed": (
        f"{{symbol: BTC-USD, facts: {{{MARKET}, tips: {{side: buy, confidence: 70%}}}},"
        " expect: {rule: bold, signals: {tips: {side: buy, disposition: acted}}}}"
    ),
    "order": (
        f"{{symbol: BTC-USD, facts: {{{MARKET.replace('rsi: 50', 'rsi: 30')}}},"
        " expect: {action: buy, limited_by: cap, order: {quantity: 8, notional: [799 USD, 800 USD]}}}"
    ),
    "veto": (
        f"{{symbol: SPY, facts: {{{MARKET.replace('rsi: 50', 'rsi: 30')}, session: pre}},"
        " expect: {order: none, vetoed_by: [hours], dispositions: {dip: [vetoed, hours], stop: none}}}"
    ),
    "limit": (
        f"{{symbol: BTC-USD, facts: {{{MARKET.replace('rsi: 50', 'rsi: 30')}}}, usage: {{rate: 2}},"
        " expect: {action: hold, rule: dip, limited_by: rate, dispositions: {dip: [limited, rate]}}}"
    ),
    "denial": (
        f"{{symbol: BTC-USD, facts: {{{MARKET.replace('rsi: 50', 'rsi: 30')}, equity_estimated: 6%}},"
        " expect: {action: hold, denied: equity_estimated}}"
    ),
    "margin": (
        f"{{symbol: BTC-USD, facts: {{{MARKET}, {HELD}, mood: {{side: sell, confidence: 57%}}}},"
        " expect: {short_by: {exit: {mood.confidence: 4%}, stop: {gain: 10%}}}}"
    ),
    "limit price": (
        f"{{symbol: BTC-USD, facts: {{{MARKET}, {HELD}, mood: {{side: sell, confidence: 61%}}}},"
        " expect: {action: sell, order: {limit_price: 99 USD, quantity: 10}}}"
    ),
}


@pytest.mark.parametrize("what", PASSING)
def test_passing(what: str) -> None:
    """Each kind of expectation can be met."""
    assert told(one(PASSING[what])) == []


FAILING = f"""\
  quiet:
    symbol: BTC-USD
    facts: {{{MARKET}}}
    expect:
      action: buy
      rule: dip
      vetoed_by: hours
      limited_by: cap
      denied: zero_size
      dispositions: {{dip: acted, stop: [vetoed, cooldown]}}
      signals: {{mood: {{side: sell, confidence: [60%, 90%], disposition: acted}}, tips: not_adopted}}
      short_by: {{dip: {{rsi: 1}}, bar: {{rsi: 30.01}}}}
      order: {{quantity: 1, notional: [1 USD, 2 USD]}}
  held:
    symbol: BTC-USD
    facts: {{{MARKET}, {HELD}, mood: {{side: sell, confidence: 70%}}}}
    expect:
      order: none
      signals: {{mood: not_adopted}}
      short_by: {{exit: {{mood.confidence: 1%}}}}
  priced:
    symbol: BTC-USD
    facts: {{{MARKET}, {HELD}, mood: {{side: sell, confidence: 70%}}}}
    expect:
      order: {{quantity: [11, 12], limit_price: 100 USD, notional: 1 USD}}
  unknown:
    symbol: BTC-USD
    facts: {{{MARKET.replace("rsi: 50", "rsi: unknown(warm_up)")}}}
    expect: {{signals: {{mood: {{side: sell, confidence: 70%}}}}, short_by: {{dip: {{rsi: 1}}}}}}
"""


def test_failing(update_golden: bool) -> None:
    """Each kind of expectation can fail, and says what was expected and what came."""
    text = "\n".join(
        f"{result.case.name}\n" + "\n".join(f"  {line}" for line in told(result)) for result in run(FAILING)
    )
    assert_golden(text, GOLDEN / "differences.txt", update_golden)


def test_what_is_not_mentioned_is_not_compared() -> None:
    """A case compares nothing beyond its expectation."""
    assert one(f"{{symbol: BTC-USD, facts: {{{MARKET}}}, expect: {{order: none}}}}").passed


def test_compiled_evaluator_gives_the_same_results() -> None:
    """Another evaluator may run the cases."""
    file = load_cases(f"{HEAD}cases:\n{FAILING}", "study-cases.yaml")
    reference = CaseRunner(POLICY, file).run_all()
    compiled = CaseRunner(POLICY, file, CompiledEvaluator).run_all()
    assert [told(result) for result in reference] == [told(result) for result in compiled]


# --- backgrounds and assumptions --------------------------------------------------------------


def test_closer_backgrounds_win() -> None:
    """A case's own fact goes before its symbol's background, that before its class's, that before all."""
    background = """\
background:
  all:
    facts: {rsi: 10, fast: 1 USD, slow: 1 USD, price: 1 USD, ask: 1 USD, equity: 10000 USD, tips.side: none}
  crypto:   {facts: {rsi: 34}, usage: {rate: 2}}
  DOGE-USD: {facts: {rsi: 60}, usage: {rate: 0}}
"""
    results = run(
        """\
  of-all:    {symbol: SPY, facts: {session: regular}, expect: {action: buy}}
  of-class:  {symbol: BTC-USD, expect: {action: hold, limited_by: rate}}
  of-symbol: {symbol: DOGE-USD, expect: {action: hold, rule: none}}
  of-case:   {symbol: DOGE-USD, facts: {rsi: 34}, expect: {action: buy}}
""",
        HEAD + background,
    )
    assert [told(result) for result in results] == [[], [], [], []]


def test_ranges_are_walked_and_sizes_are_not_compared() -> None:
    """Another value of an assumption changes the decision only where it matters; sizes follow it."""
    case = """\
  it:
    symbol: BTC-USD
    facts: {price: 100 USD, ask: 100 USD, fast: 100 USD, slow: 100 USD}
    assumed:
      equity: {value: 10000 USD, range: [1000 USD, 20000 USD], because: any}
      rsi: {value: 30, range: [0, 34.99], because: low}
    expect: {action: buy, order: {notional: [799 USD, 800 USD]}}
"""
    runner = CaseRunner(POLICY, load_cases(f"{HEAD}{QUIET}cases:\n{case}", "study-cases.yaml"))
    (found,) = runner.file.cases
    result = runner.run(found)
    assert result.passed
    assert [(a.name, a.bounds) for a in result.assumptions] == [
        ("equity", (1000.0, 20000.0)),
        ("rsi", (0.0, 34.99)),
    ]
    assert runner.run(found, {"equity": 20000.0}).passed
    assert told(runner.run(found, {"rsi": 35.0})) == ["action: buy | hold"]


# --- time -------------------------------------------------------------------------------------


def series(account: str, steps: list[str], at: str = "2026-01-05T15:00:00Z") -> CaseResult:
    """Run a time series of BTC-USD on a market without reason to trade but for what the steps state."""
    lines = "".join(f"      - {{symbol: BTC-USD, {step}}}\n" for step in steps)
    market = MARKET.replace("equity: 10000 USD, ", "")
    (result,) = run(
        f"  it:\n    at: {at}\n    account: {account}\n    facts: {{{market}}}\n    steps:\n{lines}"
    )
    return result


def test_cooldown_counts_bars() -> None:
    """An order starts the cooldown; it ends when so many bars have closed."""
    flat = "facts: {price: 80 USD, ask: 80 USD}, expect: {action: sell, rule: stop}"
    result = series(
        "{cash: 10000 USD}",
        [
            "facts: {rsi: 30}, expect: {action: buy, rule: dip}",
            "after: 1m, facts: {rsi: 30}, expect: {action: hold, rule: none}",
            f"after: 1m, {flat}",
            "after: 12m, facts: {rsi: 30}, expect: {action: hold, vetoed_by: cooldown}",
            "after: 15m, facts: {rsi: 30}, expect: {action: hold, vetoed_by: cooldown}",
            "after: 1m, facts: {rsi: 30}, expect: {action: buy}",
        ],
    )
    assert told(result) == []
    assert len(result.steps) == 6


def test_rate_counts_buys_in_a_sliding_window() -> None:
    """At 1 h the first buy of two leaves the window of 1 h."""
    buy = "expect: {action: buy, rule: bar}"
    result = series(
        "{cash: 10000 USD, positions: {BTC-USD: {quantity: 1, entry_price: 100 USD, held_for: 2d}}}",
        [
            f"facts: {{rsi: 19}}, {buy}",
            f"after: 30m, facts: {{rsi: 19}}, {buy}",
            "after: 1799s, facts: {rsi: 19}, expect: {action: hold, vetoed_by: cooldown}",
            "after: 1s, facts: {rsi: 19}, expect: {action: buy}",
        ],
    )
    assert told(result) == []


def test_once_per_bar_day_and_position() -> None:
    """A period is used up by a sent order and begins anew with the next bar, day or position."""
    result = series(
        "{cash: 10000 USD, positions: {BTC-USD: {quantity: 4, entry_price: 80 USD}}}",
        [
            "facts: {price: 100 USD}, expect: {action: sell, rule: trim, order: {quantity: 2}}",
            "after: 1m, facts: {price: 100 USD}, expect: {action: hold, vetoed_by: once}",
            "after: 30m, facts: {tips: {side: buy, confidence: 50%}}, expect: {action: buy, rule: bold}",
            "after: 45m, facts: {tips: {side: buy, confidence: 50%}}, expect: {vetoed_by: once}",
            "after: 9h, facts: {tips: {side: buy, confidence: 50%}}, expect: {action: buy, rule: bold}",
            "after: 1h, facts: {price: 50 USD, ask: 50 USD}, expect: {action: sell, rule: stop}",
            "after: 1h, facts: {rsi: 30, price: 50 USD, ask: 50 USD}, expect: {action: buy, rule: dip}",
            "after: 1h, facts: {price: 60 USD, ask: 60 USD}, expect: {action: sell, rule: trim}",
        ],
    )
    assert told(result) == []


def test_peak_is_made_of_closes_after_the_entry() -> None:
    """A high price alone sets no peak; the close of a bar that opened after the entry does."""
    result = series(
        "{cash: 10000 USD}",
        [
            "facts: {rsi: 30, close: 150 USD}, expect: {action: buy}",
            "after: 1m, facts: {price: 119 USD, ask: 119 USD}, expect: {action: hold}",
            "after: 1m, facts: {price: 101 USD, ask: 101 USD}, expect: {action: hold}",
            "after: 45m, facts: {price: 119 USD, ask: 119 USD, close: 118 USD}, expect: {action: hold}",
            "after: 1m, facts: {price: 106.2 USD, ask: 107 USD}, expect: {action: sell, rule: trail}",
        ],
    )
    assert told(result) == []


def test_a_series_stops_at_its_first_difference() -> None:
    """What comes after a wrong decision says nothing."""
    result = series(
        "{cash: 10000 USD}",
        ["facts: {rsi: 30}, expect: {action: hold}", "after: 1m, expect: {action: buy}"],
    )
    assert told(result) == ["action: hold | buy"]
    assert len(result.steps) == 1


# --- promises ---------------------------------------------------------------------------------


def promising(*promises: str) -> Policy:
    """Return the policy of this file with promises."""
    rows = "".join(f"  p{index}: {promise}\n" for index, promise in enumerate(promises))
    return load_policy(f"{POLICY.source.text}promises:\n{rows}", "study.yaml").required()


LOSING = f"facts: {{{MARKET.replace('price: 100 USD, ask: 100 USD', 'price: 85 USD, ask: 85 USD')}, {HELD}}}"


def promised(policy: Policy, case: str) -> CaseResult:
    """Run one case of a policy with promises."""
    (result,) = CaseRunner(policy, load_cases(f"{HEAD}{QUIET}cases:\n  it: {case}\n", "c.yaml")).run_all()
    return result


def test_a_broken_promise_fails_its_case() -> None:
    """With its name, what it says and where, and what it read; a kept one says nothing."""
    policy = promising(
        "{given: held and gain <= -10%, always: full_exit}",
        "{given: held and gain <= -10%, always: action == hold}",
    )
    result = promised(policy, f"{{symbol: BTC-USD, {LOSING}, expect: {{action: sell, rule: stop}}}}")
    line = policy.source.position(policy.promises[1].span.start)[0]
    assert told(result) == [
        f"promise 'p1': given held and gain <= -10%, always action == hold (study.yaml:{line})"
        " | held true, gain -15 %, decision.action sell"
    ]
    assert not result.passed
    assert result.steps[0].differences[0].span == result.case.steps[0].span


def test_promises_may_read_what_the_rules_do_not() -> None:
    """A case states it, and the step's own facts stay those of the policy."""
    policy = promising("{given: drawdown > 5%, never: action == sell}")
    facts = LOSING.replace("facts: {", "facts: {drawdown: DEEP, ")
    case = f"{{symbol: BTC-USD, {facts}, expect: {{rule: stop}}}}"
    assert promised(policy, case.replace("DEEP", "1%")).passed
    result = promised(policy, case.replace("DEEP", "6%"))
    assert [d.got for d in result.steps[0].differences] == ["drawdown 6 %, decision.action sell"]
    step = result.steps[0]
    assert len(step.vector.values) == len(step.lowered.slots) == len(step.values)
    assert "drawdown" not in {slot.name for slot in step.lowered.slots}


def test_promises_hold_through_ranges() -> None:
    """A value within its declared range may break what the stated one keeps."""
    policy = promising("{given: rsi < 40, always: action == buy}")
    facts = MARKET.replace(", rsi: 50", "")
    assumed = "assumed: {rsi: {value: 30, range: [25, 36], because: low}}"
    expect = "expect: {dispositions: {stop: none}}"
    case = f"  it: {{symbol: BTC-USD, facts: {{{facts}}}, {assumed}, {expect}}}\n"
    file = load_cases(f"{HEAD}{QUIET}cases:\n{case}", "c.yaml")
    runner = CaseRunner(policy, file)
    assert runner.run(file.cases[0], {"rsi": 30.0}).passed
    assert [d.what for d in runner.run(file.cases[0], {"rsi": 36.0}).steps[0].differences] == ["promise 'p0'"]


SERIES = """{at: 2026-01-05T15:00:00Z, account: ACCOUNT, facts: {FACTS}, steps: [
      {symbol: BTC-USD, facts: {rsi: 30}, expect: {action: buy}},
      {symbol: BTC-USD, after: 50s, facts: {price: 80 USD, ask: 80 USD}, expect: {action: sell}},
      {symbol: BTC-USD, after: 40m, facts: {rsi: 30}, expect: {action: buy}}]}"""


def over_time(promise: str, account: str = "{cash: 10000 USD}") -> list[tuple[int, str]]:
    """Return what a series says of one promise: the step it ends at, and what was got there."""
    facts = MARKET.replace("equity: 10000 USD, ", "")
    result = promised(promising(promise), SERIES.replace("FACTS", facts).replace("ACCOUNT", account))
    broken = [d.got for d in result.steps[-1].differences if d.what.startswith("promise")]
    return [(len(result.steps), got) for got in broken]


@pytest.mark.parametrize(
    ("promise", "got"),
    [
        ("{never: more than 2 orders in 1h}", [(3, "3 orders in 40m 50s")]),
        ("{never: more than 1 buy in 1h, per: symbol}", [(3, "2 buys in 40m 50s")]),
        ("{never: more than 1 buy in 40m}", []),
        ("{never: sell within 60s of buy}", [(2, "sell 50s after buy")]),
        ("{never: sell within 50s of buy}", []),
        ("{given: gain > -5%, never: sell within 60s of buy}", []),
        ("{always: intent.qty == 0 within 1 cycle}", [(2, "not in 2 cycles, 50s long")]),
        ("{given: rsi < 40, always: intent.qty == 0 within 1 cycle}", []),
    ],
)
def test_promises_over_time_in_a_series(promise: str, got: list[tuple[int, str]]) -> None:
    """Orders and cycles of the steps so far; the series stops where a promise is broken."""
    assert over_time(promise) == got


def test_orders_of_the_account_count() -> None:
    """The position that a series begins with was bought some time before."""
    account = "{cash: 10000 USD, positions: {DOGE-USD: {quantity: 1, entry_price: 100 USD, held_for: AGO}}}"
    promise = "{never: more than 1 buy in 10m, per: class}"
    assert over_time(promise, account.replace("AGO", "9m")) == [(1, "2 buys in 9m")]
    assert over_time(promise, account.replace("AGO", "10m")) == []


# --- files that cannot be used ----------------------------------------------------------------

BROKEN = Path(__file__).parent / "broken_cases"
"""Case files that cannot be used; what is said of each is in the golden file of its name."""


def problems_of(text: str | bytes) -> str:
    """Return what is said of a file that cannot be used."""
    try:
        CaseRunner(POLICY, load_cases(text, "cases.yaml")).run_all()
    except PolicyError as error:
        return error.render()
    return "nothing"


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_broken_file(path: Path, update_golden: bool) -> None:
    """One message per mistake, in its place, with what to write instead."""
    said = problems_of(path.read_bytes())
    assert "cases.yaml:" in said
    assert all(character.isprintable() or character == "\n" for character in said)
    assert_golden(said, GOLDEN / f"{path.stem}.txt", update_golden)


@given(st.data())
def test_no_edit_of_a_file_gives_a_traceback(data: st.DataObject) -> None:
    """Cut, doubled and overwritten pieces of a whole file are problems or cases, never another error."""
    text = f"{HEAD}cases:\n{FAILING}"
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 20)))
        put = data.draw(
            st.sampled_from(["", "{", "}", ": ", "\n", "  ", "[", "]", "%", "none", '"', "-1", "é"])
        )
        text = text[:start] + put + text[end:]
    assert problems_of(text)
