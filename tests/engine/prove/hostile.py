"""Policies that are hard to prove on purpose: each loads, and asks for more than a small budget has."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

_HEAD: Final = """\
apiVersion: tradectl/v1
policy: hostile
version: 1.0.0
timezone: UTC
selection: {selection}
bars: 15m
every: 1m
universe: {{crypto: {{calendar: 24/7, weights: {{BTC-USD: 10%}}}}}}
indicators: {{rsi: rsi(14), quick: rsi(5), fast: ema(12), slow: ema(26), trend: sma(50)}}
"""
_STOP: Final = "  stop: {priority: 999999, protective: true, when: held and gain <= -8%, then: sell all}\n"
_PRICES: Final = ("close", "open", "high", "low", "fast", "slow", "trend", "price", "ask")


def _policy(rules: str, *, selection: str = "exits_first", more: str = "") -> str:
    return f"{_HEAD.format(selection=selection)}{more}rules:\n{_STOP}{rules}"


def _rule(number: int, when: str, then: str = "buy to target") -> str:
    return f"  rule-{number}: {{priority: {9000 - number}, when: '{when}', then: {then}}}\n"


def products() -> str:
    """Products of many facts, compared with each other."""
    rng = random.Random(1)

    def product() -> str:
        return " * ".join(f"({a} / {b})" for a, b in (rng.sample(_PRICES, 2) for _ in range(5)))

    parts = [" and ".join(f"{product()} > {product()}" for _ in range(6)) for _ in range(12)]
    return _policy("".join(_rule(number, f"not held and {part}") for number, part in enumerate(parts)))


def divisions() -> str:
    """Quotients whose divisors are near zero."""
    rng = random.Random(2)

    def quotient() -> str:
        a, b, c, d = rng.sample(_PRICES, 4)
        return f"({a} - {b}) / ({c} - {d})"

    parts = [
        " and ".join(f"abs({quotient()}) < {quotient()} - {rng.randrange(1, 9)}%" for _ in range(4))
        for _ in range(10)
    ]
    return _policy("".join(_rule(number, f"not held and {part}") for number, part in enumerate(parts)))


def clauses() -> str:
    """Thousands of comparisons in conjunctions of disjunctions: a puzzle in disguise."""
    rng = random.Random(3)

    def literal() -> str:
        return f"{rng.choice(('rsi', 'quick'))} {rng.choice('<>')} {rng.randrange(1, 9999) / 100}"

    rows = []
    for number in range(30):
        rows.append(f"  rule-{number}:\n    priority: {9000 - number}\n    then: buy to target\n")
        rows.append("    when:\n      all:\n        - not held\n")
        rows += [f"        - {' or '.join(literal() for _ in range(3))}\n" for _ in range(60)]
    return _policy("".join(rows))


def nested() -> str:
    """Conditions nested deeply."""

    def deep(level: int, rng: random.Random) -> str:
        if level == 0:
            return f"fast > {rng.randrange(90, 110)}% of slow"
        return f"not (rsi > {rng.randrange(1, 99)} {rng.choice(('and', 'or'))} ({deep(level - 1, rng)}))"

    rows = [_rule(number, f"not held and {deep(10, random.Random(number))}") for number in range(60)]
    return _policy("".join(rows))


def votes() -> str:
    """A signal of 64 votes with odd weights, and rules on its confidence."""
    rng = random.Random(4)
    rows = [
        f"      vote-{index}: {{weight: {1 + rng.randrange(1, 999999) / 1000000:.6f}, hold: 1, "
        f"buy: {a} > {rng.randrange(95, 105)}% of {b}, sell: {a} < {rng.randrange(80, 95)}% of {b}}}\n"
        for index in range(64)
        for a, b in [rng.sample(_PRICES, 2)]
    ]
    entries = [
        _rule(number, f"not held and crowd.side == buy and crowd.confidence == {number + 34}%")
        for number in range(40)
    ]
    exits = [
        _rule(100 + number, f"held and crowd.side == sell and crowd.confidence > {number + 50}%", "sell all")
        for number in range(20)
    ]
    return _policy("".join(entries + exits), more=f"signals:\n  crowd:\n    votes:\n{''.join(rows)}")


def constants() -> str:
    """Numbers as large, and as fine, as they may be."""
    rows = [
        _rule(
            number,
            f"not held and close > {999999 - number}.12345678 USD "
            f"and fast < {99.999999 + number / 1000000:.6f}% of (close * {10**9 + number}) "
            f"and equity > {10**11 + number}.01 USD",
        )
        for number in range(60)
    ]
    return _policy("".join(rows))


def steps() -> str:
    """Step tables of hundreds of steps."""
    tables = ""
    for index, by in enumerate(("held_for", "since_buy", "since_sell", "since_order")):
        rows = ", ".join(f"{n}m: {(n * 7919 + index) % 400 / 100}%" for n in range(400))
        tables += f"  table_{index}: {{by: {by}, from: {{{rows}}}}}\n"
    rules = [
        _rule(number, f"held and gain > table_{number % 4} and gain < table_{(number + 1) % 4}", "sell all")
        for number in range(8)
    ]
    return _policy("".join(rules), more=f"define:\n{tables}")


def overlapping(selection: str = "exits_first") -> str:
    """Hundreds of rules that are true together and propose different things."""
    kinds = ("buy to {n}% of target", "sell to {n}% of target", "hold")
    rows = [
        _rule(
            number,
            f"{'held and ' if number % 3 == 1 else ''}rsi > {number % 50} and quick < {99 - number % 40} "
            f"and fast > {90 + number % 9}% of slow",
            kinds[number % 3].format(n=1 + number % 98),
        )
        for number in range(400)
    ]
    return _policy("".join(rows), selection=selection)


def promises() -> str:
    """Promises of every form about rules that all overlap, at once and over time."""
    forms = (
        "{{given: rsi > {n} and held, always: action == sell}}",
        "{{given: quick < {n}, never: action == buy}}",
        "{{given: fast > {n}% of slow, never: exposure.symbol > {n}% of equity}}",
        "{{never: buy within {n}m of sell}}",
        "{{never: more than {n} buys in {n}m}}",
        "{{given: held and gain <= -{n}%, always: full_exit within {n} cycles}}",
    )
    rows = "".join(f"  p{n}: {forms[n % 6].format(n=n + 1)}\n" for n in range(48))
    return f"{overlapping()}promises:\n{rows}"


def many_variants() -> str:
    """A parameter with a value of its own for each of hundreds of symbols."""
    symbols = [f"C{number}-USD" for number in range(300)]
    weights = ", ".join(f"{symbol}: 0.1%" for symbol in symbols)
    values = ", ".join(f"{symbol}: {10 + number / 10}" for number, symbol in enumerate(symbols))
    rules = [
        _rule(number, f"not held and rsi < bottom - {number} and quick > {number}") for number in range(20)
    ]
    text = _policy("".join(rules), more=f"params: {{bottom: {{value: 30, for: {{{values}}}}}}}\n")
    return text.replace("{BTC-USD: 10%}", f"{{{weights}}}")


HOSTILE: Final[Mapping[str, Callable[[], str]]] = {
    "products": products,
    "divisions": divisions,
    "clauses": clauses,
    "nested": nested,
    "votes": votes,
    "constants": constants,
    "steps": steps,
    "overlapping": overlapping,
    "overlapping by priority": lambda: overlapping("by_priority"),
    "promises": promises,
    "many variants": many_variants,
}
