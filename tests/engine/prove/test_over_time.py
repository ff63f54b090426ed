"""Promises over time: by induction over cycles, or refuted by a trace that the case runner replays."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codes import Action
from engine.evaluate.reference import ReferenceEvaluator
from engine.language.policy import Policy
from engine.language.source import load_document
from engine.prove.promises import prove_promises
from engine.prove.proof import Proof, Trace, Verdict
from engine.prove.traces import gaps, length, orders_of
from engine.verbs.case_file import load_cases
from engine.verbs.case_series import begin, money
from engine.verbs.cases import CaseRunner
from engine.verbs.decide import decide
from engine.verbs.promises import OverTime, PromiseJudge
from engine.verbs.statement import parse_statement
from engine.verbs.vector import fact_vector, finest_instrument, narrowed
from tests.engine.prove.promising import policy_with, proof_of, variants

STOP = "stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}"
HIGH = "high: {priority: 500, when: held and rsi > 70, then: sell all}"
MORE = "more: {priority: 100, when: rsi < 30, then: buy 100 USD, once: bar}"


def rules(*written: str) -> str:
    """Return a section of rules."""
    return "rules:\n" + "".join(f"  {rule}\n" for rule in written)


PATIENT = "gates:\n  patient: {vetoes: [buy, sell, protective], when: since_buy < 60s}\n"
UNPROTECTED = PATIENT.replace(", protective", "")
ONE = "universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%}}}\n"

INDUCTION = [
    # a limit on buys
    ("{never: more than 2 buys in 10m}", "", 1),
    ("{never: more than 2 buys in 5m, per: class}", "", 1),
    ("{never: more than 4 buys in 20m, per: symbol}", "", 1),
    # the distance between orders of one symbol
    ("{never: more than 1 buy in 5m, per: symbol}", "", 1),
    ("{never: more than 3 buys in 15m, per: symbol}", "", 1),
    ("{never: more than 1 buy in 5m}", ONE, 1),
    ("{given: rsi < 20, never: more than 1 buy in 5m, per: symbol}", "", 1),
    # one order after another
    ("{never: buy within 5m of buy}", "", 1),
    ("{never: buy within 5m of sell}", "", 1),
    ("{never: sell within 60s of buy}", PATIENT, 1),
    ("{given: gain > -8%, never: sell within 60s of buy}", UNPROTECTED, 1),
    ("{given: gain > -8%, never: sell within 3m of buy}", UNPROTECTED.replace("60s", "4 bars"), 1),
    # what waits comes true
    (
        "{given: held and gain <= -8%, always: 'action == sell or vetoed_by(\"integrity\") within 5 cycles'}",
        "gates: {patient: {vetoes: [sell, protective], when: since_order < 2m}}\n",
        6,
    ),
]


@pytest.mark.parametrize(("promise", "part", "k"), INDUCTION)
def test_proved_by_induction(promise: str, part: str, k: int) -> None:
    """For any number of cycles, from any state that the machine can be in."""
    proof = proof_of(promise, part)
    assert (proof.verdict, proof.how) == (Verdict.PROVED, f"by induction over cycles (k = {k})")
    assert proof.trace is None


@pytest.mark.parametrize(
    ("promise", "part", "how"),
    [
        ("{never: more than 0 sells in 1d}", rules(MORE), "for every snapshot: no such order is ever made"),
        ("{never: buy within 1d of sell}", rules(MORE), ""),  # cap: since_sell is never, which nobody told
        (
            "{given: gain <= -8%, always: 'action == sell or vetoed_by(\"integrity\") within 2 cycles'}",
            "",
            "for every snapshot: it is true at once",
        ),
    ],
)
def test_proved_at_once(promise: str, part: str, how: str) -> None:
    """What no single cycle breaks needs no induction."""
    proof = proof_of(promise, part)
    assert (proof.verdict is Verdict.PROVED) == bool(how)
    if how:
        assert proof.how == how


SINCE_BUY = "gates: {cooldown: {vetoes: [buy], when: since_buy < 5m}}\n"
REFUTED = [
    # the other side of every bound
    ("{never: more than 1 buy in 10m}", "", "2 buys in 0s"),
    ("{never: more than 3 buys in 20m}", "", "4 buys in"),
    ("{never: more than 1 buy in 301s, per: symbol}", SINCE_BUY, "2 buys in 5m"),
    ("{never: buy within 301s of sell}", "", "buy 5m after sell"),
    ("{never: sell within 60s of buy}", "", "sell 59s after buy"),
    ("{never: sell within 61s of buy}", PATIENT, "sell 1m after buy"),
    ("{never: more than 1 sell in 1h, per: symbol}", "", "2 sells in"),
    ("{never: more than 2 orders in 1h, per: symbol}", "", "3 orders in"),
    ("{given: rsi > 80, never: sell within 60s of buy}", "", "sell 59s after buy"),
    (
        "{given: held and gain <= -8%, always: action == sell within 2 cycles}",
        "gates: {patient: {vetoes: [sell, protective], when: since_order < 2m}}\n",
        "not in 3 cycles",
    ),
    (
        "{given: held and close < slow, always: action == sell within 1 cycle}",
        "",
        "not in 2 cycles, 30s long",
    ),
]


@pytest.mark.parametrize(("promise", "part", "breach"), REFUTED)
def test_refuted_by_a_trace(promise: str, part: str, breach: str) -> None:
    """A time series that test-policy replays, and that breaks the promise in its last step only."""
    proof = proof_of(promise, part)
    assert proof.verdict is Verdict.REFUTED, proof.how
    assert proof.trace is not None
    assert breach in proof.trace.breach
    assert replayed(policy_with(promise, part), proof.trace) == [f"promise 'p': {proof.trace.breach}"]


def replayed(policy: Policy, trace: Trace) -> list[str]:
    """Run a trace as a case file; return what is not as expected in its last step, nothing before."""
    file = load_cases(trace.text, "trace.yaml")
    (result,) = CaseRunner(policy, file).run_all()
    *before, last = result.steps
    assert len(result.steps) == len(trace.words) == len(file.cases[0].steps)
    assert not any(step.differences for step in before)
    return [f"{one.what}: {one.got}" for one in last.differences]


def test_a_trace_reads_well() -> None:
    """What every step has in common stands once; nothing is stated that is not needed."""
    proof = proof_of("{never: sell within 61s of buy}", PATIENT)
    assert proof.trace is not None
    assert proof.trace.words == ("BTC-USD buy (dip)", "after 1m: BTC-USD sell (high)")
    assert proof.trace.text == GOLDEN


GOLDEN = """\
apiVersion: tradectl/cases-v1
policy: promising
cases:
  p:
    symbol: BTC-USD
    account:
      cash: 100000 USD
    facts:
      price: 100 USD
      ask: 100 USD
    steps:
      - facts:
          rsi: 0
        expect: {action: buy, rule: dip}
      - after: 1m
        facts:
          rsi: 70.01
        expect: {action: sell, rule: high}
"""


def test_not_decided() -> None:
    """A second sell within the hour needs a first that was filled in part: no case file can say that."""
    reentry = "gates: {reentry: {vetoes: [buy], when: since_sell < 1h}}\n"
    proof = proof_of("{never: more than 1 sell in 1h, per: symbol}", reentry)
    assert proof.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    "promise", ["{never: sell within 60s of buy}", "{never: more than 1 buy in 1d, per: symbol}"]
)
def test_for_some_cycles(promise: str) -> None:
    """Who only ever buys again has never bought: true from the beginning, and for no state but that."""
    again = "again: {priority: 100, when: since_sell < 1d and rsi < 30, then: buy 100 USD, once: bar}"
    proof = proof_of(promise, rules(STOP, again))
    assert proof.verdict is Verdict.UNDECIDED
    assert proof.how == "for up to 6 cycles of an account that never traded, not beyond"


@pytest.mark.parametrize(
    "promise",
    [
        "{never: more than 999999 sells in 1d}",
        "{given: held and rsi > 50, always: action == sell within 1000 cycles}",
    ],
)
def test_long_traces_are_not_looked_for(promise: str) -> None:
    """Nobody would read them: the promise stays undecided, and soon."""
    proof = proof_of(promise)
    assert proof.verdict is Verdict.UNDECIDED
    assert proof.how == "no induction goes through, and no trace was found"


def test_a_limit_that_does_not_cover_all_symbols_bounds_nothing() -> None:
    """Of a promise about the account every symbol must be under the limit."""
    part = "limits: {rate: {at_most: 2 buys per 10m, for: BTC-USD}}\n"
    proofs = all_proofs("{never: more than 2 buys in 10m}", part)
    assert [proof.verdict for proof in proofs] == [Verdict.REFUTED, Verdict.REFUTED]
    proofs = all_proofs("{never: more than 2 buys in 10m, per: symbol}", part)
    assert proofs[0].verdict is Verdict.PROVED


def all_proofs(promise: str, part: str) -> list[Proof]:
    """Return what is said of a promise for each variant."""
    found = []
    for variant in variants(policy_with(promise, part)):
        found += prove_promises(variant)
    return found


def test_words_of_time_and_plans() -> None:
    """Lengths of time in one unit; orders in a row or alternating; as far apart as may be, or at once."""
    assert [length(seconds) for seconds in (0, 59, 60, 90, 7200, 86400)] == [
        "0s",
        "59s",
        "1m",
        "90s",
        "2h",
        "1d",
    ]
    buy, sell = Action.BUY, Action.SELL
    assert orders_of(buy, 3) == [[buy, buy, buy], [buy, sell, buy, sell, buy]]
    assert orders_of(sell, 1) == [[sell]]
    assert gaps(59, 3) == [[0, 29, 30], [0, 1, 1]]
    assert gaps(59, 1) == [[0]]
    assert gaps(1, 2) == [[0, 1]]
    assert gaps(1, 3) == []


# --- random policies and markets --------------------------------------------------------------

seconds = st.sampled_from([30, 59, 60, 61, 120, 300])


@settings(max_examples=12, deadline=None)
@given(seconds, seconds, seconds, st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 2**32))
def test_what_is_proved_no_market_breaks(
    cooldown: int, patience: int, within: int, count: int, orders: int, protective: bool, seed: int
) -> None:
    """Gates and limits at random, promises at random beside them, and accounts in random markets."""
    vetoes = "sell, protective" if protective else "sell"
    part = (
        f"gates:\n  cooldown: {{vetoes: [buy], when: since_order < {cooldown}s}}\n"
        f"  patient: {{vetoes: [{vetoes}], when: since_buy < {patience}s}}\n"
        f"limits: {{rate: {{at_most: {count} buys per {cooldown}s}}}}\n"
    )
    promises = [
        f"{{never: sell within {within}s of buy}}",
        f"{{never: buy within {within}s of sell}}",
        f"{{never: more than {orders} buys in {within}s}}",
        f"{{never: more than {orders} buys in {within}s, per: symbol}}",
        f"{{given: held and rsi > 70, always: action == sell within {orders} cycles}}",
    ]
    promise = promises[seed % len(promises)]
    policy = policy_with(promise, part)
    proof = proof_of(promise, part)
    if proof.verdict is Verdict.REFUTED:
        assert proof.trace is not None
        assert replayed(policy, proof.trace)
    broken = walked(policy, random.Random(seed), 100)
    if broken:
        assert proof.verdict is not Verdict.PROVED


def walked(policy: Policy, rng: random.Random, steps: int) -> int:
    """Walk an account through a random market, cycle by cycle; return how often the promise was broken."""
    (variant,) = variants(policy)
    series = begin(policy, {}, money(10_000), 1_767_225_600_000, {})
    judge, watch, breaches = PromiseJudge(variant.form), OverTime(policy.promises), 0
    evaluator = ReferenceEvaluator(variant.lowered)
    for _ in range(steps):
        series.now_ms += rng.choice((30, 30, 30, 60, 300)) * 1000
        for listing in policy.traded:
            price = rng.choice((80, 95, 100, 120))
            facts = f"rsi: {rng.choice((20, 25, 50, 71, 90))}, price: {price} USD, ask: {price} USD"
            text = f"symbol: {listing.symbol}\nfacts: {{{facts}}}\n"
            statement = parse_statement(load_document(text, "walk"))
            vector = fact_vector(policy, variant.form.lowered, listing, statement)
            coin = finest_instrument(listing)
            vector = series.see(listing, variant.form.lowered, coin, vector, float("nan"))
            vector, beyond = narrowed(vector, len(variant.lowered.slots))
            values = list(vector.values)
            decision = decide(evaluator, values, vector.situation)
            series.fill(listing, variant.lowered, coin, decision, float(price))
            judgement = judge.judge([*values, *beyond], decision, vector.situation)
            breaches += len(watch.see(judgement.occasion(series.now_ms, listing.symbol)))
    return breaches
