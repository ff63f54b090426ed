"""The whole story on real bars: run an agent on them, ask why, and count what became of its signals.

The runs are bounded; the bars go on for three days.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.bootstrap.agents import current_agent, open_reader
from adapters.cli.group import cli
from engine.codes import Disposition
from engine.runtime.journal_port import StoredDecision
from engine.runtime.recount import count_funnel
from engine.runtime.replay import JournalReplayer
from engine.verbs.funnel import REACH, Funnel, totals
from tests.evidence import Evidence
from tests.shared_data import shared_data

ROOT = Path(__file__).parents[2]
LADDER = ROOT / "tests" / "policies" / "rsi_ladder.yaml"
SYMBOLS = ("BTC-USD", "ETH-USD", "LTC-USD")


def tradectl(*arguments: str) -> Result:
    """Run a command; it must end well."""
    result = CliRunner().invoke(cli, list(arguments), prog_name="tradectl")
    assert result.exit_code == 0, result.output
    return result


def run(policy: str, cycles: int) -> str:
    """Run an agent on the minute bars of three coins; return what it printed."""
    quotes = f"bars:{shared_data('crypto_1m')}/*_coinbase_1m_*.csv.gz"
    return tradectl("run", "--policy", policy, "--quotes", quotes, "--cycles", str(cycles)).stdout


def decisions(home: Path) -> list[StoredDecision]:
    """Return every record of the agent that ran last."""
    reader = open_reader(current_agent(home))
    found = [StoredDecision(cycle.head, record) for cycle in reader.cycles() for record in cycle.decisions]
    reader.close()
    return found


def believed(home: Path) -> Funnel:
    """Return the funnel of what is stored."""
    reader = open_reader(current_agent(home))
    found = count_funnel(reader)
    reader.close()
    return found


def recounted(home: Path) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str, str], int]]:
    """Decide every record again by the reference evaluator, and count in the plainest way.

    Returns the candidates by (rule, disposition) and the signals by (signal, side, disposition).
    """
    rules: dict[tuple[str, str, str, int], int] = {}
    signals: dict[tuple[str, str, str, int], int] = {}
    replayer = JournalReplayer()
    for stored in decisions(home):
        replayed = replayer.replay(stored.head, stored.record)
        lowered, decision, bar = replayed.lowered, replayed.decision, replayed.bar_open_seconds
        assert replayed.differences == ()
        for rule, disposition in zip(lowered.rules, decision.dispositions, strict=True):
            if disposition:
                reached(rules, (decision.symbol, rule.name, "", bar), disposition)
        for index, signal in enumerate(lowered.signals):
            side = {1.0: "buy", 2.0: "sell"}.get(replayed.values[signal.slots[0]])
            if side:
                key = (decision.symbol, signal.name, side, bar)
                reached(signals, key, decision.signal_dispositions[index])
    by_rule = Counter((rule, REACH[rank].word) for (_, rule, _, _), rank in rules.items())
    by_signal = Counter((name, side, REACH[rank].word) for (_, name, side, _), rank in signals.items())
    return dict(by_rule), dict(by_signal)


def reached(
    found: dict[tuple[str, str, str, int], int], key: tuple[str, str, str, int], disposition: int
) -> None:
    """Keep the furthest that an instance reached."""
    rank = REACH.index(Disposition(disposition))
    found[key] = min(rank, found.get(key, rank))


def compare(home: Path) -> Funnel:
    """Hold the funnel's totals against a recount from the facts; return the funnel."""
    funnel = believed(home)
    by_rule, by_signal = recounted(home)
    proposed = totals(funnel.candidates.rows).items()
    assert {(rule, word): count for (rule, _, word), count in proposed} == by_rule
    assert totals(funnel.signals.rows) == by_signal
    assert "recounted from the facts: equal" in tradectl("funnel", "--recount").stdout
    return funnel


def test_the_ladder_trades_and_tells_why(own_environment: Path, evidence: Evidence) -> None:
    """Coins are bought below RSI 30, sold above 80; explain and funnel tell the journal's story."""
    said = run(str(LADDER), 900)
    assert said.count(".extra.csv.gz: skipped") == 3
    bought = re.search(
        r"^(\S+ \S+Z)  BTC-USD  order     buy (\S+) at (\S+) or better   \(entry\)", said, re.M
    )
    sold = re.search(r"^(\S+ \S+Z)  BTC-USD  order     sell \S+ at \S+ or better   \(exit\)", said, re.M)
    assert bought is not None
    assert sold is not None

    why = tradectl("explain", "BTC-USD", "--at", bought[1]).stdout
    assert "decision: BUY   (flat)" in why
    assert float(re.search(r"because  entry: RSI (\S+) is below 30", why)[1]) < 30  # type: ignore[index]  # the assert
    assert f"buy {bought[2]} at {bought[3]} USD or better" in why
    assert re.search(r"^sent     planned .*, filled ", why, re.M)
    assert "decided again: the same" in why
    assert "because  exit: RSI " in tradectl("explain", "BTC-USD", "--at", sold[1]).stdout
    early = tradectl("explain", "BTC-USD", "--at", "2018-04-04T01:00:00Z").stdout
    assert re.search(r"^missing  warm up +rsi$", early, re.M)

    funnel = compare(own_environment)
    acted = sum(row.cycles for row in funnel.candidates.rows if row.disposition == "acted")
    orders = said.count(" or better   (")
    assert acted == orders >= 6
    evidence(
        f"{funnel.decisions} decisions, {orders} orders, {funnel.candidates.instances} proposals recounted"
    )


def test_the_default_policy_says_what_it_does_not_know(own_environment: Path) -> None:
    """Hours of minute bars are too few for its indicators: run and explain name them, nothing is bought."""
    said = run("default", 300)
    assert "no bars here, so not decided: SPY, QQQ" in said
    assert re.search(r"rsi: needs 280 bars of 15m in a row, had at most: BTC-USD 2\d", said)
    assert "enhanced: a vote of the signal is Unknown" in said
    why = tradectl("explain", "BTC-USD").stdout
    assert "? adopted-buy        unknown: enhanced.side: a vote is unknown" in why
    assert re.search(r"^missing  warm up +rsi, macd\.line", why, re.M)
    funnel = compare(own_environment)
    assert funnel.signals.instances == funnel.candidates.instances == 0
    assert [(one.signal, one.unknown) for one in funnel.readings] == [("enhanced", 900)]
    assert "enhanced was unknown in 900 decisions" in tradectl("funnel").stdout


def test_signals_on_real_bars_are_counted_as_the_facts_decide(
    own_environment: Path, tmp_path: Path, evidence: Evidence
) -> None:
    """Votes on minute bars: hundreds of signals, each with one disposition, recounted from the facts."""
    text = (ROOT / "tests" / "adapters" / "cli" / "pulse.yaml").read_text("utf-8")
    policy = tmp_path / "pulse.yaml"
    policy.write_text(text.replace("DOGE-USD", "LTC-USD"), "utf-8")
    run(str(policy), 250)
    funnel = compare(own_environment)
    words = {row.disposition for row in funnel.signals.rows}
    assert {"acted", "limited", "vetoed", "not_adopted"} <= words
    assert funnel.signals.instances > 300
    evidence(
        f"{funnel.signals.instances} signals in {funnel.signals.cycles} cycles: {', '.join(sorted(words))}"
    )


def test_an_edited_policy_does_not_rewrite_the_past(own_environment: Path, tmp_path: Path) -> None:
    """Run, edit the file, run on: each decision is explained by the policy that made it."""
    policy = tmp_path / "rsi_ladder.yaml"
    text = LADDER.read_text("utf-8")
    policy.write_text(text, "utf-8")
    run(str(policy), 290)
    before = tradectl("explain", "ETH-USD").stdout
    assert "rsi-ladder 1.0.0" in before
    policy.write_text(text.replace("rsi > 80", "rsi > 70").replace("1.0.0", "1.1.0"), "utf-8")
    assert tradectl("explain", "ETH-USD").stdout == before
    at = before.split("   ")[0].removeprefix("ETH-USD  ")
    run(str(policy), 10)
    assert "rsi-ladder 1.1.0" in tradectl("explain", "ETH-USD").stdout
    assert tradectl("explain", "ETH-USD", "--at", at).stdout == before
    otherwise = tradectl("explain", "ETH-USD", "--at", at, "--policy", str(policy)).stdout
    assert "rsi-ladder 1.1.0" in otherwise
    assert "by rsi-ladder 1.0.0" in otherwise


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_why_not(symbol: str, own_environment: Path) -> None:
    """While a position is held, what keeps it from being sold is named with its margin."""
    run(str(LADDER), 281)
    why = tradectl("explain", symbol, "--why-not", "sell").stdout
    assert "(held, " in why
    assert re.search(r"^to sell  .*rsi \+\d", why, re.M)
