"""``tradectl explain`` on facts files: what people read, what ``--json`` prints, what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import schemas
from adapters.cli.group import cli
from adapters.cli.output import ExitCode
from tests.golden import assert_golden

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
STUDY = str(HERE / "study.yaml")
FLAT = """\
symbol: DOGE-USD
at: 2025-11-18T12:40:00Z
facts:
  held: false
  rsi: 31.25
  prev(rsi): 30
  fast: 0.1611 USD
  slow: 0.1600 USD
  prev(fast): 0.1599 USD
  prev(slow): 0.1600 USD
  tips.side: sell
  price: 0.16 USD
  ask: 0.1601 USD
assumed:
  equity: {value: 100000 USD, because: not in the log}
"""
HELD = FLAT.replace("held: false", "position_qty: 13750\n  gain: -7.5%")
LEGACY_DOGE = """\
at: 2025-11-18T12:03:27Z
facts:
  held: false
  enhanced: {side: sell, confidence: 57%}
  price: 0.16 USD
assumed:
  rsi: {value: 51.30, range: [0, 74.99], because: below 75 is all that the forced buy tells}
  ask: {value: 0.1601 USD, because: only the fill is in the log}
  equity: {value: 100000 USD, because: not in the log}
"""


def explain(facts: str, *arguments: str, symbol: str = "DOGE-USD", policy: str = STUDY) -> Result:
    """Run ``tradectl explain`` on a facts file given on standard input."""
    line = ["explain", symbol, "--policy", policy, "--facts", "-", *arguments]
    return CliRunner().invoke(cli, line, input=facts, prog_name="tradectl")


GOLDEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "entry": (FLAT, ()),
    "entry-vetoed": (FLAT, ("--what-if", "since_order=252s")),
    "entry-would-exit": (FLAT, ("--what-if", "ask=0.2 USD")),
    "held": (HELD, ()),
    "held-why-not-sell": (HELD, ("--why-not", "sell")),
    "closed-why-not-sell": (
        HELD,
        ("--why-not", "sell", "--what-if", "gain=-9%", "--what-if", "session=closed"),
    ),
    "stated-signal": (
        HELD,
        ("--what-if", "trend.confidence=57%", "--what-if", "rsi=75", "--why-not", "sell"),
    ),
    "make-it-sell": (HELD, ("--make-it", "sell")),
    "make-it-buy-later": (FLAT, ("--make-it", "buy", "--what-if", "since_order=252s", "--what-if", "rsi=36")),
    "make-it-what-it-is": (FLAT, ("--make-it", "buy")),
    "nothing-known": ("facts: {}\n", ()),
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_what_people_read(name: str, update_golden: bool) -> None:
    """The whole text of an explanation, without colour; the policy's digest is left out."""
    facts, arguments = GOLDEN[name]
    found = explain(facts, *arguments)
    assert found.exit_code == 0, found.output
    text = re.sub(r"\([0-9a-f]{6}\)", "(digest)", found.output)
    assert_golden(text, HERE / "golden" / f"explain-{name}.txt", update_golden)


@pytest.mark.wheel
def test_the_doge_buy_of_the_old_agent() -> None:
    """The shipped legacy policy names the 57 % that fell short, and the forced buy that won."""
    found = explain(LEGACY_DOGE, "--why-not", "sell", policy="legacy-2025-11-18")
    assert found.exit_code == 0, found.output
    assert "decision: BUY   (flat)" in found.output
    assert (
        "enhanced SELL 57 %   not adopted: enhanced.confidence 57 % > 60 % is false, short by 4 %"
        in found.output
    )
    assert re.search(
        r"- overbought-exit +held is false; rsi 51\.30 > 80 is false, short by 28\.71", found.output
    )
    assert "to sell  nothing that the market or the clock does would sell it: not held" in found.output


@pytest.mark.wheel
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--why-not", "sell"),
        ("--why-not", "hold", "--what-if", "rsi=unknown"),
        ("--make-it", "sell"),
        ("--make-it", "hold"),
    ],
)
def test_the_json_is_in_its_schema(arguments: tuple[str, ...]) -> None:
    """``--json`` prints what explain-v1 says."""
    found = explain(LEGACY_DOGE, "--json", *arguments, policy="legacy-2025-11-18")
    assert found.exit_code == 0, found.output
    document = json.loads(found.output)
    Draft202012Validator(schemas.load("explain-v1")).validate(document)
    assert document["policy"] == "legacy"
    assert document["action"] == ("hold" if "rsi=unknown" in arguments else "buy")
    leaves = {leaf["condition"]: leaf for rule in document["rules"] for leaf in rule["leaves"]}
    if "--what-if" not in arguments:
        assert leaves["rsi > 80"]["margin"] == {
            "fact": "rsi",
            "steps": 2871,
            "amount": 28.71,
            "shown": "28.71",
        }
    assumed = {fact["name"]: fact["because"] for fact in document["facts"] if fact["origin"] == "assumed"}
    assert assumed["equity"] == "not in the log"


def test_the_default_policy_is_the_shipped_one() -> None:
    """Without --policy the decision is default.yaml's."""
    found = CliRunner().invoke(
        cli, ["explain", "BTC-USD", "--facts", "-"], input="facts: {}", prog_name="tradectl"
    )
    assert found.exit_code == 0, found.output
    assert re.match(r"BTC-USD   default \d", found.output)


def test_an_override_of_an_input_of_a_stated_signal_says_so() -> None:
    """The note says that its votes are not evaluated."""
    found = explain(LEGACY_DOGE, "--what-if", "rsi=81", policy="legacy-2025-11-18")
    assert "enhanced is stated, so its votes are not evaluated: rsi changes nothing in it" in found.output


@pytest.mark.parametrize(
    ("facts", "arguments", "symbol", "code", "said"),
    [
        (FLAT, (), "DOGE", ExitCode.NOT_FOUND, "does not trade 'DOGE': did you mean DOGE-USD?"),
        (FLAT, (), "ETH-USD", ExitCode.NOT_FOUND, "does not trade 'ETH-USD'"),
        (FLAT, (), "BTC-USD", ExitCode.CONFIGURATION, "these facts are of 'DOGE-USD'"),
        (FLAT, ("--make-it", "buy", "--why-not", "sell"), "DOGE-USD", ExitCode.USAGE, "ask one at a time"),
        (FLAT, ("--what-if", "rsi"), "DOGE-USD", ExitCode.CONFIGURATION, "'rsi' is not NAME=VALUE"),
        (FLAT, ("--what-if", "rsi=81%"), "DOGE-USD", ExitCode.CONFIGURATION, "--what-if:1:5: error[unit]"),
        (FLAT, ("--policy", "no-such"), "DOGE-USD", ExitCode.NOT_FOUND, "shipped policies: "),
        (FLAT, ("--facts", "no-such.yaml"), "DOGE-USD", ExitCode.NOT_FOUND, "no facts file 'no-such.yaml'"),
        (FLAT, ("--facts", str(HERE)), "DOGE-USD", ExitCode.UNAVAILABLE, "cannot be read"),
        ("facts: {rsi: 51.305}", (), "DOGE-USD", ExitCode.CONFIGURATION, "<stdin>:1:14: error[off-step]"),
        ("", (), "DOGE-USD", ExitCode.CONFIGURATION, "the file is empty"),
        ("facts: [", (), "DOGE-USD", ExitCode.CONFIGURATION, "<stdin>:1:"),
        ("rules: {}", ("--policy", __file__), "DOGE-USD", ExitCode.CONFIGURATION, "error["),
        ("x" * 1_100_000, (), "DOGE-USD", ExitCode.CONFIGURATION, "error[too-large]"),
    ],
)
def test_what_cannot_be_used_is_told(
    facts: str, arguments: tuple[str, ...], symbol: str, code: ExitCode, said: str
) -> None:
    """Wrong names, files and values end with their exit code, a message and no traceback."""
    found = explain(facts, *arguments, symbol=symbol)
    assert (found.exit_code, said in found.output) == (code, True), found.output
    assert "Traceback" not in found.output


def test_as_a_process_it_reads_a_file_and_loads_nothing_large(tmp_path: Path) -> None:
    """The text is plain where it is piped, and neither tables nor calendars nor terminals are loaded."""
    file = tmp_path / "facts.yaml"
    file.write_text(LEGACY_DOGE, encoding="utf-8")
    code = (
        "import sys\nfrom adapters.cli import main\n"
        "try:\n    main()\nfinally:\n    print('LOADED', *sorted(sys.modules))"
    )
    line = [
        sys.executable,
        "-c",
        code,
        "explain",
        "DOGE-USD",
        "--policy",
        "legacy-2025-11-18",
        "--facts",
        str(file),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    text, _, loaded = done.stdout.partition("LOADED")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in text
    assert "crypto-dip-entry" in text
    large = (
        "numpy",
        "pandas",
        "pyarrow",
        "sqlalchemy",
        "exchange_calendars",
        "rich",
        "durable_rules_engine",
        "z3",
    )
    assert [name for name in loaded.split() if name in large] == []


def test_colour_only_marks_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal the same text is printed, coloured."""
    from adapters.cli.output import Output

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = "BTC-USD   decision: BUY\nrules    - dip   rsi 51.30 > 80 is false, [short] by 28.71"
    Output(as_json=False, colour=True, given_state_dir=None).show(text)
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text + "\n"
