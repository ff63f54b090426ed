"""Random policies as YAML text, for runs on the simulated market: restless ones, of every kind of rule."""

from __future__ import annotations

import random
from collections.abc import Iterable

_SYMBOLS = ("BTC-USD", "ETH-USD", "DOGE-USD", "SOL-USD", "ADA-USD")


def random_policy(rng: random.Random) -> str:
    """Return the text of a valid policy; the same numbers give the same text."""
    symbols = ", ".join(
        f"{symbol}: {rng.randrange(5, 20)}%" for symbol in rng.sample(_SYMBOLS, rng.randrange(2, 5))
    )
    return "\n".join(
        (
            "apiVersion: tradectl/v1",
            "policy: random",
            "version: 1.0.0",
            f"selection: {rng.choice(('exits_first', 'exits_first', 'by_priority'))}",
            "bars: 1m",
            f"every: {rng.choice((20, 30, 60))}s",
            f"universe: {{crypto: {{calendar: 24/7, weights: {{{symbols}}}}}}}",
            "indicators: {rsi: rsi(2), slow: ema(5), far: sma(50) on 1h}",
            "signals:",
            "  pulse:",
            "    votes:",
            *_votes(rng),
            "  outside: {from: feed, max_age: 1h}",
            "rules:",
            *_rules(rng),
            "gates:",
            *_some(rng, _GATES, 0),
            "  never: {vetoes: [buy], when: drawdown > 90%}",
            "limits:",
            *_some(rng, _LIMITS, 2),
            "  least: {at_least: 1 USD, per: order}",
            f"orders: {{buy: {{limit: {rng.choice(('100%', '99.99%', '101%'))} of ask, good_for: 1m}}}}",
            "",
        )
    )


_GATES = (
    "  cooldown: {vetoes: [buy], when: since_order < 2m}",
    "  calm: {vetoes: [buy, sell], when: rsi > 95 or rsi < 5}",
    "  rested: {vetoes: [sell], when: since_buy < 90s}",
    "  quiet: {vetoes: [buy, sell, protective], when: rsi > 49 and rsi < 51}",
    "  trend: {vetoes: [buy], when: close < 90% of far}",
    "  told: {vetoes: [buy], when: outside.side == sell}",
)
_LIMITS = (
    "  rate: {at_most: 2 buys per 3m}",
    "  some: {at_most: 3 positions}",
    "  cap: {at_most: 12% of equity, per: symbol}",
    "  class: {at_most: 30% of equity, per: class}",
    "  order: {at_most: 4000 USD, per: order}",
    "  kept: {at_least: 60% of equity, kept: cash}",
    "  dollars: {at_least: 500 USD, per: order}",
)


def _votes(rng: random.Random) -> Iterable[str]:
    low, high = rng.randrange(20, 50), rng.randrange(50, 80)
    yield f"      rsi: {{weight: 2, buy: rsi < {low}, sell: rsi > {high}, hold: 1}}"
    yield "      slow: {weight: 1, buy: close > slow, sell: close < slow}"
    if rng.random() < 0.4:
        yield "      told: {weight: 2, buy: outside.side == buy, if_unknown: abstain}"
    if rng.random() < 0.1:
        yield "      deaf: {weight: 1, buy: outside.side == buy}"


def _rules(rng: random.Random) -> Iterable[str]:
    confidence, low, high = rng.randrange(30, 80, 10), rng.randrange(20, 60), rng.randrange(45, 80)
    bodies = [
        f"when: held and pulse.side == sell and pulse.confidence >= {confidence}%, then: sell all",
        f"when: held and rsi > {high}, then: sell all",
        f"when: held and gain < -0.{rng.randrange(1, 9)}%, protective: true, then: sell all",
        "when: held and position_value > 101% of target, then: sell to target",
        f"when: held and rsi > {high - 10}, once: bar, then: sell to 50% of position_value",
        f"when: held and rsi > {high - 5} and outside.side == sell, then: sell all",
        "when: rsi > 98, then: hold",
    ]
    entries = [
        f"when: pulse.side == buy and pulse.confidence >= {confidence}% and position_value < 95% of target, "
        "then: buy to target",
        f"when: rsi < {low}, once: bar, then: buy 1500 USD",
        f"when: not held and rsi < {low + 20}, then: buy to {rng.randrange(1000, 9000)} USD",
        "when: outside.side == buy, then: buy to target",
        f"when: not held and rsi > {low}, then: buy to 0.01 USD",
        "when: rsi < 90 and position_value < 50% of target, then: buy to 60% of target",
    ]
    chosen = rng.sample(bodies, rng.randrange(1, 5)) + rng.sample(entries, rng.randrange(1, 4))
    rng.shuffle(chosen)
    for number, body in enumerate(chosen):
        yield f"  rule-{number}: {{priority: {900 - 10 * number}, {body}}}"


def _some(rng: random.Random, lines: tuple[str, ...], least: int) -> list[str]:
    return rng.sample(lines, rng.randrange(least, len(lines) // 2 + 1))
