"""Hostile policies: within 2 s of CPU and 500 MB, imports included, each is read, refused and shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each is Python for the text, so that a child process makes it: many would not fit in an argument.
HEAD = """
def policy(condition="rsi < 30", *, universe="crypto: {calendar: 24/7, weights: {BTC-USD: 10%}}", more="",
           rules="", also=""):
    return (
        "apiVersion: tradectl/v1\\npolicy: hostile\\nversion: 1.0.0\\nselection: exits_first\\nbars: 15m\\n"
        f"universe:\\n  {universe}\\nindicators:\\n  rsi: rsi(14)\\n{more}rules:\\n"
        "  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}\\n"
        f"  entry:\\n    priority: 1000\\n    when: {condition}\\n    then: buy to target\\n    once: bar\\n"
        + also + rules
    )

def entries(count, make, first=1):
    return "".join(f"  {make(i)}\\n" for i in range(first, count))

def rules(count, make):
    return entries(count, lambda i: f"r{i}: {{priority: {i}, when: {make(i)}, then: sell all}}")

def stocks(count, weight="0.001%"):
    return "stock: {calendar: NYSE, weights: {" + ", ".join(f"S{i}: {weight}" for i in range(count)) + "}}"

def listed(count, make):
    return ", ".join(make(i) for i in range(count))

def define(text):
    return "define:\\n" + text

def because(text):
    return f"    because: \\"{text}\\"\\n"
"""
HOSTILE: dict[str, tuple[str, str]] = {
    "a good policy": ("policy()", ""),
    # numbers
    "400 digits": ("policy('rsi < ' + '9' * 400)", "too-large"),
    "1e999": ("policy('rsi < 1e999')", "syntax"),
    "400 digits behind the point": ("policy('rsi < 0.' + '1' * 400)", "too-large"),
    "a number of a million digits": ("policy('rsi < ' + '9' * 1_000_000)", "too-large"),
    "products of great numbers": ("policy('rsi < ' + ' * '.join(['999999999999999'] * 50))", "range"),
    "quotients of small numbers": ("policy('rsi < 1' + ' / 0.000000000001' * 50)", "range"),
    "a weight of 40 digits": (
        "policy(more='signals: {s: {votes: {v: {weight: 1.' + '0' * 39 + '1, buy: held}}}}\\n')",
        "range",
    ),
    "a weight of 1e-999": (
        "policy(more='signals: {s: {votes: {v: {weight: 1e-999, buy: held}}}}\\n')",
        "range",
    ),
    "a lag of 10,000": ("policy('prev(rsi, 10000) < 30')", ""),
    "a lag of a million": ("policy('prev(rsi, 1000000) < 30')", "length"),
    "a length of a million": ("policy('sma(1000000) < ask')", "length"),
    # long and deep expressions
    "9,000 characters": ("policy(' or '.join(['rsi < 30'] * 750))", ""),
    "10,001 characters, most of them blank": ("policy('rsi <' + ' ' * 10_000 + '30')", "too-large"),
    "200,000 characters": ("policy(' or '.join(['rsi < 30'] * 20_000))", "too-large"),
    "a condition on 9,000 lines": (
        "policy('>\\n' + '      rsi < 30 or\\n' * 9_000 + '      held')",
        "too-large",
    ),
    "1 MB of a condition": ("policy('rsi < 30 or ' * 80_000 + 'held')", "too-large"),
    "a sum of 3,000": ("policy('rsi < ' + ' + '.join(['1'] * 3_000))", "too-large"),
    "sums in brackets, leaning left": (
        "policy('rsi < ' + '(' * 30 + 'rsi' + ''.join(' + 1' * 40 + ')' for _ in range(30)))",
        "too-large",
    ),
    "3,000 brackets": ("policy('(' * 3_000 + 'held' + ')' * 3_000)", "too-large"),
    "3,000 brackets that stay open": ("policy('(' * 3_000)", "too-large"),
    "2,400 times not": ("policy('not ' * 2_400 + 'held')", "too-large"),
    "3,000 times minus": ("policy('rsi < ' + '- ' * 3_000 + '5')", "too-large"),
    "2,400 calls": ("policy('abs(' * 2_400 + 'rsi')", "too-large"),
    "a chain of 1,000": ("policy(' < '.join(['rsi'] * 1_000))", ""),
    "lists in lists": (
        "policy('{all: [{any: [' * 15 + 'held' + ']}]}' * 15)",
        "",
    ),
    "lists deeper than YAML goes": ("policy('{all: [{any: [' * 20 + 'held' + ']}]}' * 20)", "too-deep"),
    "a list of 20,000 conditions": (
        "policy('\\n      all:\\n' + '        - rsi < 30\\n' * 20_000)",
        "too-large",
    ),
    # names that multiply
    "definitions that double": (
        "policy('rsi < d40', more=define('  d0: rsi\\n' + entries(41, lambda i: f'd{i}: d{i-1} + d{i-1}')))",
        "too-large",
    ),
    "indicators that double": (
        "policy('i40 < ask', more='  i0: close\\n' + entries(41, lambda i: f'i{i}: i{i-1} + i{i-1}'))",
        "too-large",
    ),
    "conditions that double": (
        "policy('d40', more=define('  d0: held\\n' + entries(41, lambda i: f'd{i}: d{i-1} or d{i-1}')))",
        "too-large",
    ),
    "a chain of 480 definitions, backwards": (
        "policy('rsi < d479', more=define(entries(480, lambda i: f'd{480-i}: d{479-i} + 1') + '  d0: 1\\n'))",
        "too-large",
    ),
    "a circle of 480 definitions": (
        "policy('rsi < d479', more=define(entries(480, lambda i: f'd{i}: d{(i+1) % 480} + 1', 0)))",
        "cycle",
    ),
    "400 circles": (
        "policy('held', more=define(entries(400, lambda i: f'd{i}: d{i} + d{(i * 7) % 400}', 0)))",
        "too-many-problems",
    ),
    "a step table of 20,000": (
        "policy('rsi < t', more=define('  t: {by: held_for, from: {'"
        " + listed(20_000, lambda i: f'{i}s: {i % 90}') + '}}\\n'))",
        "too-large",
    ),
    "500 rules that name a large definition": (
        "policy(more=define('  d: ' + ' or '.join(['rsi < 30'] * 700) + '\\n'),"
        " rules=rules(499, lambda i: 'd'))",
        "too-large",
    ),
    "a large definition, named by ten rules": (
        "policy(more=define('  d: ' + ' or '.join(['rsi < 30'] * 700) + '\\n'),"
        " rules=rules(11, lambda i: 'd'))",
        "",
    ),
    # many
    "500 rules": ("policy(rules=rules(499, lambda i: f'held and rsi > {i % 90}'))", ""),
    "5,000 rules": ("policy(rules=rules(5_000, lambda i: f'held and rsi > {i % 90}'))", "too-large"),
    "500 rules of one priority": (
        "policy(rules=entries(499, lambda i: f'r{i}: {{priority: 7, when: held, then: sell to {i} USD}}'))",
        "too-many-problems",
    ),
    "500 misspelt rules": (
        "policy(rules=rules(499, lambda i: f'held and risi > {i % 90}'))",
        "too-many-problems",
    ),
    "1 MB": ("policy(more='# ' + 'x' * 1_047_000 + '\\n')", ""),
    "2 MB": ("policy(more='# ' + 'x' * 2_000_000 + '\\n')", "too-large"),
    "5,000 symbols": ("policy(universe=stocks(5_000))", ""),
    "5,001 symbols": ("policy(universe=stocks(5_001))", "too-large"),
    "40,000 symbols": ("policy(universe=stocks(40_000, '1%'))", "too-many-nodes"),
    "5,000 symbols, each a variant": (
        "policy(' or '.join(f'symbol == S{i}' for i in range(20)), universe=stocks(5_000))",
        "too-large",
    ),
    "5,000 symbols, each with a value of its own": (
        "policy('rsi < p', universe=stocks(5_000), more='params: {p: {value: 30, for: {'"
        " + listed(5_000, lambda i: f'S{i}: {i % 90}') + '}}}\\n')",
        "",
    ),
    "5,000 symbols, and rules for lists of them": (
        "policy(universe=stocks(5_000), rules=entries(80, lambda i: f'r{i}: {{priority: 7, for: ['"
        " + listed(60, lambda j: f'S{60 * i + j}') + f'], when: held, then: sell to {i} USD}}'))",
        "",
    ),
    "unknown names beside 5,000 known ones": (
        "policy(' and '.join(f'nmae_{i} > 1' for i in range(400)), universe=stocks(5_000))",
        "too-many-problems",
    ),
    "unknown symbols beside 5,000 known ones": (
        "policy(universe=stocks(5_000), rules=entries(400,"
        " lambda i: f'r{i}: {{priority: 5, for: SX{i}, when: held, then: sell all}}'))",
        "too-many-problems",
    ),
    # characters
    "a reason of braces": ("policy(also=because('{rsi}' * 90))", ""),
    "a reason of open braces": ("policy(also=because('{' * 400))", "because"),
    "control characters": ("policy('rsi < \\x1b[2J\\x07 30')", "refused-character"),
    "control characters by escapes": ("policy('\"rsi < \\\\e[2J 30\"')", "refused-character"),
    "a mark that reorders": ("policy('rsi < \\u202e30')", "refused-character"),
    "digits of another script": ("policy('rsi < \\u0663\\u0660')", "syntax"),
    "letters that look like ours": ("policy('r\\u0455i < 30')", "syntax"),
    "blanks that are none": ("policy('rsi\\u00a0< 30')", "syntax"),
    "bytes that are not UTF-8": ("policy().encode() + b'\\xff'", "encoding"),
    # YAML
    "aliases that double": (
        "'a0: &a0 [x]\\n' + entries(20, lambda i: f'a{i}: &a{i} [' + f'*a{i-1}, ' * 9 + ']')",
        "anchor",
    ),
    "100,000 brackets": ("'[' * 100_000", "too-deep"),
    "5,000 equal keys": ("policy(rules='  stop: x\\n' * 5_000)", "too-many-problems"),
    "a timezone that is a path": ("policy(more='timezone: ../../etc/passwd\\n')", "bad-text"),
    "a timezone that is a folder": ("policy(more='timezone: America\\n')", "timezone"),
}
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (500_000_000, 500_000_000))
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
from adapters.calendar import calendar_problem
from engine.errors import render
from engine.verbs.check import check
exec(sys.argv[1])
found = check(eval(sys.stdin.read()), "policy.yaml", calendar_problem)
for problem in found.problems:
    shown = render(problem, found.source)
    assert all(character.isprintable() or character == "\\n" for character in shown)
    assert len(shown) < 2_000
errors = {problem.code for problem in found.problems if problem.severity == "error"}
print(found.policy is not None, *sorted(errors))
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_in_time_and_memory(name: str) -> None:
    """It is a policy, or the code says why it is not; nothing is raised, and what is shown is short."""
    pytest.importorskip("resource")
    text, code = HOSTILE[name]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, HEAD], input=text, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    whole, *codes = done.stdout.split()
    assert (whole == "True") == (code == "")
    assert code in codes or not code, codes
