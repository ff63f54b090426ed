"""Policies small enough to be changed in one place by a test."""

from __future__ import annotations

from engine.errors import Problem
from engine.language.load import Loaded, load_policy
from engine.language.policy import Policy
from engine.language.types import Condition

SMALL = """\
apiVersion: tradectl/v1
policy: small
version: 1.0.0
timezone: America/New_York
selection: exits_first
bars: 15m
every: 1m
universe:
  stock: {calendar: NYSE, weights: {SPY: 20%, QQQ: 10%}}
  crypto: {calendar: 24/7, weights: {BTC-USD: 10%, ETH-USD: 5%}}
params:
  oversold: {value: 30, range: [10, 50], for: {crypto: 25}}
  loss: {value: 8%}
  n: {value: 14}
  pause: {value: 15m}
indicators:
  rsi: rsi(n)
  fast: ema(12)
  bands: bollinger(20, 2)
  pattern: hammer()
  hour: close on 1h
  spy: close on SPY 1d
signals:
  enhanced:
    votes:
      rsi: {weight: 2, buy: rsi < 30, sell: rsi > 70, hold: 1}
      bands: {weight: 1, buy: close < bands.lower, if_unknown: abstain}
  model: {from: feed, max_age: 15m}
define:
  goal: 50% of target
  calm: rsi > 40 and rsi < 60
  roi: {by: held_for, from: {0m: 4%, 30m: loss}}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -loss, then: sell all}
  exit: {priority: 500, when: gain > roi and since_order > pause or pattern == sell, then: sell to goal}
  trend: {priority: 450, when: held and spy < hour, then: sell all}
  told: {priority: 400, when: model.side == sell and fast > 1 USD, then: sell all}
  entry:
    priority: 100
    when: WHEN
    then: buy to target
"""


def text(
    when: str = "rsi < oversold and enhanced.side == buy and not calm", *changes: tuple[str, str]
) -> str:
    """Return the small policy with another condition of its entry, and other changes."""
    changed = SMALL.replace("WHEN", when)
    for old, new in changes:
        assert old in changed, old
        changed = changed.replace(old, new)
    return changed


def load(
    when: str = "rsi < oversold and enhanced.side == buy and not calm", *changes: tuple[str, str]
) -> Loaded:
    """Load the changed policy."""
    return load_policy(text(when, *changes), "small.yaml")


def policy(
    when: str = "rsi < oversold and enhanced.side == buy and not calm", *changes: tuple[str, str]
) -> Policy:
    """Load the changed policy, which must be one."""
    return load(when, *changes).required()


def condition(when: str) -> Condition:
    """Return a condition of the entry, typed."""
    (entry,) = (rule for rule in policy(when).rules if rule.name == "entry")
    return entry.when


def mistakes(when: str) -> list[Problem]:
    """Return what is wrong with a condition of the entry."""
    return [problem for problem in load(when).problems if problem.severity == "error"]
