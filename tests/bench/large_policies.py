"""Large policies as a person might have written them: some forty facts, three or four comparisons to a rule.

That is what rules of the shipped policies and of other people's bots have; ``dense`` ones have eight or more.
Half the rules enter, of the others most sell; two classes have parameters, and so variants, of their own.
Each rule wants its own window of several indicators, so that most of them can be true together, and few
are true at any moment.
"""

from __future__ import annotations

import random
from typing import Final

_HEAD: Final = """\
apiVersion: tradectl/v1
policy: large
version: 1.0.0
timezone: America/New_York
selection: {selection}
bars: 15m
every: 1m
universe:
  stock: {{calendar: NYSE, weights: {{SPY: 10%, QQQ: 10%, AAPL: 5%}}}}
  crypto: {{calendar: 24/7, weights: {{BTC-USD: 10%, ETH-USD: 5%}}}}
params:
  stop: {{value: 8%, for: {{crypto: 12%}}}}
  trail: {{value: 6%, for: {{crypto: 10%}}}}
  hot: {{value: 80, for: {{crypto: 85}}}}
  sure: {{value: 60%}}
indicators:
  rsi: rsi(14)
  quick: rsi(5)
  hour_rsi: rsi(14) on 1h
  day_rsi: rsi(14) on 1d
  macd: macd(12, 26, 9)
  bands: bollinger(20, 2)
  fast: ema(12)
  slow: ema(26)
  trend: sma(50) on 1h
  season: sma(200) on 1d
  hour: close on 1h
  range: atr(14)
  change: roc(10)
  week: roc(5) on 1d
  z: zscore(close, 20)
  market: close on SPY 1d
  market_trend: sma(200) on SPY 1d
signals:
  mixed:
    votes:
      rsi: {{weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}}
      macd: {{weight: 2, buy: macd.line > macd.signal, sell: macd.line < macd.signal}}
      averages: {{weight: 1, buy: fast > slow, sell: fast < slow}}
      bands: {{weight: 1, buy: close < bands.lower, sell: close > bands.upper}}
  slowly:
    votes:
      trend: {{weight: 2, buy: hour > trend, sell: hour < trend}}
      season: {{weight: 1, buy: close > season, sell: close < season}}
      week: {{weight: 1.5, buy: week > 2%, sell: week < -2%, hold: 1}}
"""
_TAIL: Final = """\
gates:
  market-hours: {vetoes: [buy, sell, protective], when: session != regular}
  quote-freshness: {vetoes: [buy, sell], when: quote_age > 60s}
  cooldown: {vetoes: [buy], when: since_order < 5m}
  reentry: {vetoes: [buy], when: since_sell < 1h}
  late-entry: {vetoes: [buy], when: until_close < 15m}
  drawdown-halt: {vetoes: [buy], when: drawdown > 20%}
  nervous: {vetoes: [buy], when: range > 10% of close or market < 90% of market_trend}
  lunch: {vetoes: [buy], when: "12:00 <= time < 12:30 and rsi > 40"}
limits:
  order-rate: {at_most: 3 buys per 3m}
  cash-reserve: {at_least: 5% of equity, kept: cash}
  symbol-cap: {at_most: 15% of equity, per: symbol}
  class-cap: {at_most: 50% of equity, per: class}
  portfolio-cap: {at_most: 90% of equity, per: portfolio}
  least-order: {at_least: 10 USD, per: order}
"""
_SCALES: Final = {"rsi": (0, 100), "quick": (0, 100), "hour_rsi": (0, 100), "day_rsi": (0, 100)}
_PRICES: Final = (
    "close",
    "fast",
    "slow",
    "trend",
    "season",
    "hour",
    "bands.lower",
    "bands.middle",
    "bands.upper",
    "prev(close)",
    "prev(highest(high, 20))",
    "prev(lowest(low, 20))",
)
_RATIOS: Final = ("change", "week", "drawdown", "prev(change)")
_SPANS: Final = ("held_for", "since_buy", "since_sell", "until_close", "quote_age")


def large_policy(rules: int, seed: int = 1, selection: str = "exits_first", *, dense: bool = False) -> str:
    """Return a policy with so many rules."""
    rng = random.Random(seed)
    stops = (
        "  stop: {priority: 100000, protective: true, when: held and gain <= -stop, then: sell all}\n"
        "  trailing: {priority: 99999, protective: true, when: held and peak_gain >= 5% and "
        "price <= (100% - trail) of peak_price, then: sell all}\n"
    )
    written = [_rule(rng, number, 90_000 - 10 * number, dense) for number in range(rules - 2)]
    return _HEAD.format(selection=selection) + "rules:\n" + stops + "".join(written) + _TAIL


def _rule(rng: random.Random, number: int, priority: int, dense: bool) -> str:
    kind = rng.randrange(20)
    clauses = [_clause(rng) for _ in range(rng.randrange(4, 7) if dense else rng.randrange(1, 4))]
    once, scope = "", f"    for: {rng.choice(('stock', 'crypto'))}\n" if kind % 7 == 0 else ""
    if kind < 7:
        clauses.insert(0, rng.choice(("held and gain >= 2%", "held", "held and held_for > 1d")))
        then = "sell all" if kind < 5 else f"sell to {rng.choice((25, 50, 75))}% of target"
    elif kind < 9:
        then = "hold"
    else:
        clauses.insert(0, rng.choice(("not held", f"position_value < {rng.choice((50, 90))}% of target")))
        then = rng.choice(
            ("buy to target", "buy to 50% of target", "buy to 25% of target", "buy 5% of target")
        )
        once = "    once: day\n" if then == "buy 5% of target" else ""
    condition = " and ".join(f"({clause})" if " or " in clause else clause for clause in clauses)
    return (
        f"  rule-{number}:\n    priority: {priority}\n    when: {condition}\n    then: {then}\n{scope}{once}"
    )


def _clause(rng: random.Random) -> str:
    kind = rng.randrange(10)
    if kind < 3:
        fact = rng.choice(tuple(_SCALES))
        low = rng.randrange(5, 70)
        return f"{low} < {fact} < {low + rng.randrange(8, 30)}"
    if kind < 5:
        one, other = rng.sample(_PRICES, 2)
        return f"{one} {rng.choice('<>')} {rng.choice(('', '', '98% of ', '103% of '))}{other}"
    if kind == 5:
        return f"{rng.choice(_RATIOS)} {rng.choice(('>', '<='))} {rng.randrange(-5, 15)}%"
    if kind == 6:
        side = rng.choice(("buy", "sell"))
        return f"{rng.choice(('mixed', 'slowly'))}.side {rng.choice(('==', '!='))} {side}"
    if kind == 7:
        return f"{rng.choice(('mixed', 'slowly'))}.confidence >= {rng.choice(('40%', '50%', 'sure'))}"
    if kind == 8:
        return f"{rng.choice(_SPANS)} {rng.choice(('<', '>='))} {rng.randrange(1, 50)}h"
    other = rng.choice(
        (f"z > {rng.randrange(-2, 3)}", f"macd.histogram / range > {rng.randrange(-50, 200)}%")
    )
    return f"{_clause(rng)} or {other}"
