"""``tradectl diff-policy``: equal, or where not, with examples that the other commands confirm."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.bootstrap.agents import current_agent, open_reader
from adapters.cli.output import state_directory
from engine.codes import Action
from tests.adapters.cli.running import AGENT, QUICK, ROOT, document, tradectl

DIP = ROOT / "docs" / "how-to" / "dip.yaml"


def changed(folder: Path, *changes: tuple[str, str]) -> str:
    """Write the policy of the documentation with some of its text replaced; return its path."""
    text = DIP.read_text("utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "changed.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def test_alike(tmp_path: Path) -> None:
    """A rule called otherwise and a condition said otherwise change nothing: proved, exit code 0."""
    other = changed(tmp_path, ("exit:", "way-out:"), ("held and rsi > 70", "not (not held or rsi <= 70)"))
    result = tradectl("diff-policy", str(DIP), other)
    assert result.exit_code == 0, result.output
    assert "They decide alike, whatever the facts: proved." in result.stdout
    assert "rule way-out: only in the new policy" in result.stdout


def test_the_region_of_a_threshold(tmp_path: Path) -> None:
    """The region is what lies between the two thresholds, and it is all."""
    result = tradectl("diff-policy", str(DIP), changed(tmp_path, ("rsi > 70", "rsi > 65")), "--json")
    assert result.exit_code == 1
    (group,) = document(result, "diff-policy-v1")["groups"]
    assert group["complete"] is True
    (region,) = group["regions"]
    assert "65 < rsi <= 70" in region["conditions"]
    assert "held" in region["conditions"]
    assert (region["old"]["action"], region["new"]["action"]) == ("hold", "sell")
    assert region["new"]["rule"] == "exit"


@pytest.mark.parametrize(
    "change",
    [
        ("rsi > 70", "rsi > 65"),
        ("gain <= -8%", "gain <= -9%"),
        ("rsi < 30", "rsi < 25"),
        ("then: sell all}\n  dip", "then: sell to 10 USD}\n  dip"),
        ("since_order < 30m", "since_order < 1h"),
    ],
)
def test_examples_are_explained_so(change: tuple[str, str], tmp_path: Path) -> None:
    """``explain --facts`` decides each example as is said, by either policy."""
    other = changed(tmp_path, change)
    read = document(tradectl("diff-policy", str(DIP), other, "--json"), "diff-policy-v1")
    regions = [region for group in read["groups"] for region in group["regions"]]
    assert regions
    for region in regions:
        example = region["example"]
        assert example["reproduces"] is True
        facts = tmp_path / "facts.yaml"
        rows = "".join(f"  {name}: {value}\n" for name, value in example["facts"].items())
        facts.write_text(f"symbol: {example['symbol']}\nfacts:\n{rows}", "utf-8")
        for policy, side in ((str(DIP), "old"), (other, "new")):
            result = tradectl(
                "explain", example["symbol"], "--policy", policy, "--facts", str(facts), "--json"
            )
            assert result.exit_code == 0, result.output
            decided = document(result, "explain-v1")
            assert decided["action"] == region[side]["action"]


def test_a_symbol_that_only_one_trades(tmp_path: Path) -> None:
    """It is told, and is a difference."""
    other = changed(tmp_path, ("ETH-USD: 5%", "SOL-USD: 5%"))
    result = tradectl("diff-policy", str(DIP), other)
    assert result.exit_code == 1
    assert "traded by OLD only: ETH-USD" in result.stdout
    assert "traded by NEW only: SOL-USD" in result.stdout


def test_undecided_is_said(tmp_path: Path) -> None:
    """Where no proof can be made nothing is claimed, and the exit code is that of a difference."""
    result = tradectl("diff-policy", str(DIP), changed(tmp_path, ("per 1h", "per 2h")))
    assert result.exit_code == 1
    assert "Undecided" in result.stdout
    assert "limit rate: another bound, count, window or scope" in result.stdout


def test_default_becomes_conservative() -> None:
    """Policies that have little in common are compared, too: examples, and what else differs."""
    result = tradectl("diff-policy", "default", "conservative", "--json", "--budget", "20")
    assert result.exit_code == 1
    read = document(result, "diff-policy-v1")
    assert read["equal"] is False
    assert "QQQ" in read["only_old"]
    assert any(group["regions"] for group in read["groups"])
    assert "bars: 15m becomes 1d" in read["beside"]


def test_a_policy_that_is_not_there() -> None:
    """A name that is neither a file nor shipped is told."""
    result = tradectl("diff-policy", str(DIP), "nowhere")
    assert result.exit_code == 3
    assert "nowhere" in result.stderr


# --- history ----------------------------------------------------------------------------------


def test_on_a_journal(tmp_path: Path) -> None:
    """Every decision that would have been different, and none of the others."""
    assert tradectl("run", "--policy", QUICK, "--cycles", "60").exit_code == 0
    text = Path(QUICK).read_text("utf-8")
    other = tmp_path / "slower.yaml"
    other.write_text(text.replace("held_for >= 2m", "held_for >= 4m"), "utf-8")
    read = document(tradectl("diff-policy", QUICK, str(other), "--on", AGENT, "--json"), "diff-policy-v1")
    history = read["history"]
    assert history["decisions"] == 120
    assert history["ledgers"] is None
    reader = open_reader(current_agent(state_directory(None), AGENT))
    sold = [
        (record.symbol, cycle.head.cycle)
        for cycle in reader.cycles()
        for record in cycle.decisions
        if record.decision.action is Action.SELL and record.decision.order is not None
    ]
    reader.close()
    assert [(one["symbol"], one["cycle"]) for one in history["different"]] == sold
    for one in history["different"]:
        assert (one["old"]["rule"], one["old"]["action"], one["new"]["action"]) == ("out", "sell", "hold")
        assert one["worth"] is not None
        assert one["old"]["quantity"] > 0


def test_on_a_journal_of_the_same(tmp_path: Path) -> None:
    """A policy said otherwise would have decided nothing differently; a journal's file does, too."""
    assert tradectl("run", "--policy", QUICK, "--cycles", "20").exit_code == 0
    other = tmp_path / "alike.yaml"
    other.write_text(Path(QUICK).read_text("utf-8").replace("out:", "leave:"), "utf-8")
    journal = current_agent(state_directory(None), AGENT).journal
    result = tradectl("diff-policy", QUICK, str(other), "--on", str(journal))
    assert result.exit_code == 0, result.output
    assert "none would have been different" in result.stdout


def test_on_bars_both_are_run(tmp_path: Path) -> None:
    """Both ledgers stand beside each other; nothing of the runs is left behind."""
    bars = tmp_path / "btc-usd_test_1m.csv"
    rows = ["ts_utc,open,high,low,close,volume"]
    for minute in range(90):
        close = 100 + minute % 7
        time = f"2024-01-02T{minute // 60:02d}:{minute % 60:02d}:00Z"
        rows.append(f"{time},{close},{close + 1},{close - 1},{close},5")
    bars.write_text("\n".join(rows) + "\n", "utf-8")
    text = Path(QUICK).read_text("utf-8").replace("drawdown > 0.03%", "drawdown > 50%")
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(text, "utf-8")
    new.write_text(text.replace("held_for >= 2m", "held_for >= 9m"), "utf-8")
    result = tradectl("diff-policy", str(old), str(new), "--on", f"bars:{bars}", "--json")
    assert result.exit_code == 1, result.output
    history = document(result, "diff-policy-v1")["history"]
    assert history["ledgers"]["old"]["cycles"] == history["ledgers"]["new"]["cycles"] > 60
    assert history["ledgers"]["old"]["orders"] > history["ledgers"]["new"]["orders"] > 0
    assert history["ledgers"]["old"]["fees"] > history["ledgers"]["new"]["fees"]
    assert history["different"]
    assert not (state_directory(None) / "agents").exists()


def test_on_nothing(tmp_path: Path) -> None:
    """An agent that is not there, and cycles without bars, are told."""
    result = tradectl("diff-policy", str(DIP), str(DIP), "--on", "nobody")
    assert result.exit_code == 3
    assert "nobody" in result.stderr
    assert tradectl("diff-policy", str(DIP), str(DIP), "--cycles", "3").exit_code == 2
