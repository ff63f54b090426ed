"""Small policies with promises, and what the prover says of them."""

from __future__ import annotations

from engine.evaluate.symbolic.solver import Budget
from engine.language.load import load_policy
from engine.language.lower import lower_all
from engine.language.policy import Policy
from engine.prove.promises import prove_promises
from engine.prove.proof import Proof
from engine.prove.variant import Variant, variants_of
from tests.policy_blocks import whole

BASE = """\
apiVersion: tradectl/v1
policy: promising
version: 1.0.0
selection: exits_first
bars: 1m
every: 30s
universe: {crypto: {calendar: 24/7, weights: {BTC-USD: 10%, ETH-USD: 10%}}}
indicators: {rsi: rsi(14), slow: sma(200)}
rules:
  stop: {priority: 900, protective: true, when: held and gain <= -8%, then: sell all}
  high: {priority: 500, when: held and rsi > 70, then: sell all}
  dip: {priority: 100, when: not held and rsi < 30, then: buy to target}
gates:
  pause: {vetoes: [sell], when: quote_age > 60s}
  cooldown: {vetoes: [buy], when: since_order < 5m}
limits:
  rate: {at_most: 2 buys per 10m}
  cap: {at_most: 15% of equity, per: symbol}
"""


def policy_with(promise: str, part: str = "") -> Policy:
    """Return the policy above with one promise, ``p``; the entries of ``part`` replace its own."""
    text = f"{part}\npromises:\n  p: {promise}\n"
    return load_policy(whole(text, BASE), "promising.yaml").required()


def variants(policy: Policy) -> list[Variant]:
    """Return all variants of a policy."""
    return list(variants_of(policy, lower_all(policy), Budget()))


def proof_of(promise: str, part: str = "") -> Proof:
    """Return what is said of a promise about the policy above, which has one variant."""
    (variant,) = variants(policy_with(promise, part))
    (proof,) = prove_promises(variant)
    return proof
