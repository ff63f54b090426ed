"""A small policy with one of everything that can be covered or changed, and cases for it."""

from __future__ import annotations

from engine.language.load import load_policy
from engine.language.policy import Policy
from engine.verbs.case_file import CaseFile, load_cases

POLICY = """\
apiVersion: tradectl/v1
policy: small
version: 1.0.0
timezone: America/New_York
selection: exits_first
bars: 15m
every: 1m
universe:
  stock: {calendar: NYSE, weights: {SPY: 20%}}
  crypto: {calendar: 24/7, weights: {BTC-USD: 10%}}
params:
  oversold: {value: 30, for: {crypto: 25}}
indicators: {rsi: rsi(14)}
define:
  calm: rsi > 40 and rsi < 60
signals:
  mood:
    votes:
      rsi: {weight: 2, buy: rsi < 35, sell: rsi > 60, hold: 1}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  exit: {priority: 500, when: held and (rsi > 70 or asset_class == crypto and rsi > 65), then: sell all}
  entry:
    priority: 100
    when: not held and rsi < oversold and not calm and rsi > prev(rsi)
    then: buy to 50% of target
    once: day
gates:
  cooldown: {vetoes: [buy, sell], when: since_order < 30m}
  calm: {vetoes: [buy], when: calm}
limits:
  rate: {at_most: 1 buys per 1h}
  least: {at_least: 10 USD, per: order}
"""

CASES = """\
apiVersion: tradectl/cases-v1
policy: small
background:
  all:
    facts: {price: 100 USD, ask: 100 USD, equity: 10000 USD, rsi: 50, prev(rsi): 20, session: regular}
cases:
"""

BUYS = "buys: {symbol: BTC-USD, facts: {rsi: 24.99}, expect: {action: buy, rule: entry}}"
HOLDS = "holds: {symbol: BTC-USD, facts: {rsi: 25}, expect: {action: hold, rule: none}}"
_HELD = "position_qty: 5, entry_price: 100 USD"
STOCK_SELLS = f"stock-sells: {{symbol: SPY, facts: {{rsi: 71, {_HELD}}}, expect: {{rule: exit}}}}"
STOCK_KEEPS = f"stock-keeps: {{symbol: SPY, facts: {{rsi: 70, {_HELD}}}, expect: {{rule: none}}}}"
CRYPTO_SELLS = f"crypto-sells: {{symbol: BTC-USD, facts: {{rsi: 66, {_HELD}}}, expect: {{rule: exit}}}}"


def policy(*changes: tuple[str, str]) -> Policy:
    """Return the policy, changed in some places."""
    text = POLICY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return load_policy(text, "small.yaml").required()


def cases(*written: str) -> CaseFile:
    """Return cases."""
    return load_cases(CASES + "".join(f"  {case}\n" for case in written), "cases/small.yaml")
