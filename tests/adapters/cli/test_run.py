"""``tradectl run``: what is seen, how it ends, how it goes on, what stops it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from jsonschema import Draft202012Validator

import schemas
from adapters.bootstrap.agents import agent_folder, current_agent, open_reader
from adapters.cli.output import ExitCode
from adapters.cli.run import DEFAULT_CYCLES, Stop, StoppedAtOnce
from tests.adapters.cli.running import AGENT, HERE, QUICK, ROOT, run_quick, start, steady, tradectl
from tests.golden import assert_golden
from tests.shared_data import shared_data

LADDER = str(ROOT / "tests" / "policies" / "rsi_ladder.yaml")
_MINUTES = 40


def events(result: Result) -> list[dict[str, Any]]:
    """Return the JSON lines of a run, each checked against the schema."""
    validator = Draft202012Validator(schemas.load("run-v1"))
    read = [json.loads(line) for line in result.stdout.splitlines()]
    for one in read:
        validator.validate(one)
    return read


@pytest.fixture
def bars(tmp_path: Path) -> str:
    """Write forty minutes of BTC-USD; return the source of quotes."""
    rows = ["ts_utc,open,high,low,close,volume"]
    for minute in range(_MINUTES):
        close = 100 + minute % 7
        rows.append(f"2024-01-02T00:{minute:02d}:00Z,{close},{close + 1},{close - 1},{close},5")
    (tmp_path / "btc-usd_test_1m.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"bars:{tmp_path}/*.csv"


def test_what_is_seen(own_environment: Path, update_golden: bool) -> None:
    """On a pipe: a line per order, fill and changed decision, then what it came to."""
    result = run_quick(9)
    assert_golden(steady(result.stdout, own_environment), HERE / "golden" / "run.txt", update_golden)


def test_json_lines_add_up() -> None:
    """Every line follows the schema; the end says what the cycles said."""
    read = events(run_quick(9, "--json"))
    assert [one["event"] for one in read] == ["begin", *["cycle"] * 9, "end"]
    cycles, end = read[1:-1], read[-1]
    assert [cycle["cycle"] for cycle in cycles] == list(range(1, 10))
    orders = [order for cycle in cycles for order in cycle["orders"]]
    assert end["orders"] == dict(Counter(order["rule"] for order in orders)) == {"in": 2, "out": 2}
    fills = [fill for cycle in cycles for fill in cycle["fills"]]
    assert end["fills"] == len(fills) == 4
    assert end["fees"] == pytest.approx(sum(fill["fee"] for fill in fills))
    assert all(len(cycle["decisions"]) == 2 for cycle in cycles)


def test_without_options_a_newcomer_sees_entries_and_exits() -> None:
    """The embedded default buys and sells within its cycles, and names what to ask next."""
    result = tradectl("run")
    assert result.exit_code == 0, result.output
    assert f"{DEFAULT_CYCLES} cycles, 2025-11-05 14:30:30Z to 2025-11-05 15:30:00Z" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    sides = Counter(words[4] for words in lines if len(words) > 4 and words[3] == "fill")
    assert sides["buy"] > 0 and sides["sell"] > 0
    assert "tradectl funnel" in result.stdout


def test_a_second_run_goes_on() -> None:
    """Cycles and positions continue; ten runs of one cycle are one run of ten."""
    whole = events(run_quick(10, "--json", "--agent", "whole"))[-1]
    for number in range(10):
        parts = events(run_quick(1, "--json", "--agent", "parts"))
        assert parts[0]["after_cycle"] == number
        assert [one["cycle"] for one in parts if one["event"] == "cycle"] == [number + 1]
    same = ("cash", "equity", "realised", "fees", "drawdown", "last_at")
    assert {name: whole[name] for name in same} == {name: parts[-1][name] for name in same}


def test_restart_sets_aside(own_environment: Path) -> None:
    """--restart begins at cycle 1 and keeps the old journal."""
    run_quick(3)
    assert events(run_quick(1, "--json", "--restart"))[1]["cycle"] == 1
    old = open_reader(agent_folder(own_environment, f"{AGENT}.1"))
    head = old.last_cycle()
    old.close()
    assert head is not None and head.cycle == 3


def test_bars_end(bars: str) -> None:
    """Bars run to their end and say which facts stayed Unknown; after that it says how to begin anew."""
    first = events(tradectl("run", "--policy", QUICK, "--quotes", bars, "--json"))
    end = first[-1]
    assert end["cycles"] == _MINUTES and end["fills"] > 0
    unknown = {(fact["fact"], fact["reason"]): fact for fact in end["unknown_facts"]}
    slow = unknown["slow", "warm_up"]
    assert slow["share"] == 1 and slow["now"] and slow["symbols"] == ["BTC-USD"]
    assert slow["detail"] == f"needs 1000 bars of 1m in a row, had at most: BTC-USD {_MINUTES}"
    assert not unknown["mean", "warm_up"]["now"]
    again = tradectl("run", "--policy", QUICK, "--quotes", bars)
    assert again.exit_code == 0
    assert "nothing is left to do" in again.stdout and "--restart" in again.stdout
    anew = events(tradectl("run", "--policy", QUICK, "--quotes", bars, "--json", "--restart"))
    assert anew[-1] == end


def test_real_bars_trade() -> None:
    """The RSI ladder enters and leaves on minutes of 2018."""
    source = f"bars:{shared_data('crypto_1m')}/*_coinbase_1m_*.csv.gz"
    read = events(tradectl("run", "--policy", LADDER, "--quotes", source, "--cycles", "320", "--json"))
    end = read[-1]
    assert end["orders"] == {"entry": 3, "exit": 3} and end["fills"] == 6
    assert read[0]["symbols"] == ["BTC-USD", "ETH-USD", "LTC-USD"]


def test_real_bars_leave_facts_unknown() -> None:
    """With the default policy three days are too few, and the run says for what."""
    source = f"bars:{shared_data('crypto_1m')}/*_coinbase_1m_*.csv.gz"
    result = tradectl("run", "--quotes", source, "--cycles", "40")
    assert result.exit_code == 0
    assert "facts that stayed Unknown, and why" in result.stdout
    assert "needs 520 bars of 15m in a row, had at most: BTC-USD 2" in result.stdout
    assert "enhanced: a vote of the signal is Unknown" in result.stdout
    assert "orders    0" in result.stdout


DAILY = """\
apiVersion: tradectl/v1
policy: daily
version: 1.0.0
selection: exits_first
bars: 1d
universe: {stock: {calendar: NYSE, weights: {SPY: 50%}}}
rules:
  out: {priority: 900, protective: true, when: held and held_for >= 1d, then: sell all}
  in:  {priority: 100, when: not held and close > prev(close), then: buy to target}
"""


def test_daily_bars_fill_at_the_next_open(tmp_path: Path) -> None:
    """What is decided at a session's close rests over night, for all its time to live, and meets the open."""
    sessions = ("02", "03", "04", "05", "08", "09")  # of January 2024; the 6th and 7th are a weekend
    rows = ["ts_utc,open,high,low,close,volume"]
    for number, day in enumerate(sessions):
        close = 100 + number
        rows.append(f"2024-01-{day}T00:00:00Z,{close - 1}.05,{close + 2},{close - 2},{close},1000")
    (tmp_path / "spy_test_1d.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "daily.yaml").write_text(DAILY, encoding="utf-8")
    source = f"bars:{tmp_path}/*.csv"
    read = events(tradectl("run", "--policy", str(tmp_path / "daily.yaml"), "--quotes", source, "--json"))
    decided = [one["at"] for one in read if one["event"] == "cycle"]
    assert decided == [f"2024-01-{day}T21:00:00Z" for day in sessions]
    fills = [fill for one in read for fill in (one["fills"] if one["event"] == "between" else ())]
    orders = [order for one in read if one["event"] == "cycle" for order in one["orders"]]
    assert [(order["side"], order["at"]) for order in orders][:2] == [
        ("buy", "2024-01-03T21:00:00Z"),
        ("sell", "2024-01-05T21:00:00Z"),
    ]
    # the bid is the open of the session's bar, the ask two basis points above it
    assert [(fill["at"], fill["price"]) for fill in fills][:2] == [
        ("2024-01-04T14:30:00Z", 101.08),
        ("2024-01-08T14:30:00Z", 103.05),
    ]


def test_a_time_to_live_ends_between_two_cycles(tmp_path: Path) -> None:
    """An order good for a minute is cancelled after a minute, though the next cycle is a quarter away."""
    text = (
        Path(QUICK).read_text(encoding="utf-8").replace("every: 30s\n", "").replace("bars: 1m", "bars: 15m")
    )
    text += "\norders: {buy: {limit: 90% of bid, good_for: 1m}}\n"
    (tmp_path / "patient.yaml").write_text(text, encoding="utf-8")
    policy = str(tmp_path / "patient.yaml")
    read = events(tradectl("run", "--policy", policy, "--cycles", "2", "--json"))
    assert [one["event"] for one in read] == ["begin", "cycle", "between", "cycle", "end"]
    cycle, between = read[1], read[2]
    assert cycle["at"] == "2025-11-05T14:45:00Z" and len(cycle["orders"]) == 2
    ended = [(event["state"], event["at"]) for event in between["order_events"]]
    assert ended == [("cancelled", "2025-11-05T14:46:00Z")] * 2


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--live"], ExitCode.CONFIGURATION, "trades on paper only"),
        (["--quotes", "elsewhere"], ExitCode.CONFIGURATION, "write  sim,  bars:GLOB  or  live"),
        (["--quotes", "bars:/nowhere/*.csv"], ExitCode.NOT_FOUND, "no bar file"),
        (["--policy", "nobody"], ExitCode.NOT_FOUND, "shipped policies"),
        (["--cycles", "1", "--forever"], ExitCode.USAGE, "exclude each other"),
        (["--cycles", "0"], ExitCode.USAGE, "--cycles"),
        (["--speed", "0"], ExitCode.CONFIGURATION, "above 0"),
        (["--agent", "../x"], ExitCode.CONFIGURATION, "is no name for an agent"),
    ],
)
def test_refusals(arguments: list[str], code: ExitCode, message: str) -> None:
    """What cannot be is said in a sentence, with the exit code of its class."""
    result = tradectl("run", *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr


def test_a_broken_policy_is_shown_where_it_is_broken(tmp_path: Path) -> None:
    """All its problems with line and caret, exit code 1, and no agent was made."""
    text = Path(QUICK).read_text(encoding="utf-8").replace("held_for >= 2m", "held_for >= 2x")
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    result = tradectl("run", "--policy", str(tmp_path / "broken.yaml"))
    assert result.exit_code == ExitCode.FINDING
    assert "broken.yaml:" in result.stderr and "^" in result.stderr
    assert tradectl("status").exit_code == ExitCode.NOT_FOUND


def test_a_policy_that_guards_less_is_refused(tmp_path: Path) -> None:
    """While something is held that the last policy protects, one without protection must be forced."""
    run_quick(2, "--agent", "guarded")
    text = Path(QUICK).read_text(encoding="utf-8").replace("protective: true, ", "")
    (tmp_path / "bare.yaml").write_text(text, encoding="utf-8")
    arguments = ("run", "--policy", str(tmp_path / "bare.yaml"), "--cycles", "1", "--agent", "guarded")
    refused = tradectl(*arguments)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "no protective rule for BTC-USD, DOGE-USD, which this agent holds" in refused.stderr
    assert tradectl(*arguments, "--swap-unguarded").exit_code == 0


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    """It says what is in the way and what to name instead."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = tradectl("run", "--state-dir", str(tmp_path / "file"))
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "cannot be made" in result.stderr and "--state-dir" in result.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 24 MiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=24m", "tmpfs"]
    if (
        mount is None
        or subprocess.run([mount, *options, folder], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run([str(umount), "-l", folder], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """Without a byte left it does not begin, and says why; with room again it goes on where it was."""
    home = ["--state-dir", str(small_disk)]
    run_quick(2, *home)
    with (small_disk / "others").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    result = tradectl("run", "--policy", QUICK, *home)
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert "the disk is full; free some space" in result.stderr
    (small_disk / "others").unlink()
    assert tradectl("journal", "verify", *home).exit_code == 0
    run_quick(2, *home)


def test_a_read_only_state_folder(small_disk: Path) -> None:
    """It says that nothing can be written there."""
    mount = str(shutil.which("mount"))
    subprocess.run([mount, "-o", "remount,ro", small_disk], check=True, capture_output=True)
    result = tradectl("run", "--state-dir", str(small_disk))
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "Read-only file system" in result.stderr


# --- how it is stopped ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_ends_after_the_cycle(number: signal.Signals, code: ExitCode, own_environment: Path) -> None:
    """Asleep between two cycles it wakes, sums up, and leaves a sound journal that the next run continues."""
    process = start("run", "--policy", QUICK, "--speed", "0.001", "--forever", "--agent", "stopped")
    assert process.stdout is not None
    assert "policy quick" in process.stdout.readline()  # restored: from here on signals are polite
    process.send_signal(number)
    rest, errors = process.communicate()
    assert process.returncode == code, errors
    assert f"stopped by {number.name} after the cycle under way" in rest
    assert "account " in rest
    assert run_quick(1, "--agent", "stopped").exit_code == 0
    assert tradectl("journal", "verify").exit_code == 0


def test_a_signal_during_cycles() -> None:
    """While it runs as fast as it can the cycle under way is finished: its last cycle is the journal's."""
    process = start("run", "--policy", QUICK, "--forever", "--json", "--agent", "busy")
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate()
    assert process.returncode == ExitCode.TERMINATED
    last = [json.loads(line) for line in rest.splitlines()]
    assert last[-1]["event"] == "end"
    listed = json.loads(tradectl("journal", "list", "--last", "1", "--json").stdout)
    assert listed["cycles"][0]["cycle"] == last[-1]["cycles"]


def test_a_second_signal_is_at_once() -> None:
    """The first waits for the cycle and ends a sleep; the second, or one before the start, breaks in."""
    woken: list[int] = []
    stop = Stop()
    with stop.listening():
        with pytest.raises(StoppedAtOnce):
            signal.raise_signal(signal.SIGINT)
        stop.politely(lambda: woken.append(1))
        signal.raise_signal(signal.SIGTERM)
        assert woken == [1] and stop.asked is signal.SIGTERM
        with pytest.raises(StoppedAtOnce) as second:
            signal.raise_signal(signal.SIGINT)
    assert second.value.code == ExitCode.INTERRUPTED
    assert stop.code == ExitCode.TERMINATED


def test_handlers_are_given_back() -> None:
    """After a run the process has the handlers that it had before."""
    before: Callable[..., Any] | int | None = signal.getsignal(signal.SIGINT)
    run_quick(1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_table() -> None:
    """On a terminal: a table with each symbol's deciding rule, and the orders above it."""
    import pty

    arguments = ("run", "--policy", QUICK, "--cycles", "9")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from adapters.cli import main; main()", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "140"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    last = text[text.rindex("cycle 9 ") :]
    for word in ("symbol", "missing", "DOGE-USD", "vetoed by drawdown-halt", "run       9 cycles"):
        assert word in last
    assert "\x1b[?25h" in text  # the cursor is given back
    assert "(out, protective)" in text


def test_the_last_agent_is_the_one_asked(own_environment: Path) -> None:
    """Each run notes its agent: what status and the others ask when none is named."""
    run_quick(1, "--agent", "one")
    run_quick(1, "--agent", "two")
    assert current_agent(own_environment).path.name == "two"
    assert tradectl("status", "--agent", "one").stdout.startswith("agent     one ")
