"""Lowering of promises: the policy's own form is its beginning, and each outcome slot says what it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from engine.codes import Action, Truth
from engine.errors import PolicyError
from engine.language.load import load_policy
from engine.language.lower import lower, lower_all
from engine.language.lower_promises import (
    Outcome,
    OutcomeKind,
    PromiseForm,
    lower_promises,
    lower_promises_all,
)
from engine.language.policy import Policy
from engine.lowered import LimitScope, LoweredPolicy, NodeKind, SlotOrigin
from tests.engine.language.small import text
from tests.policy_texts import policy_texts

MORE = """\
gates:
  shut: {vetoes: [buy], when: rsi > 90}
  coins: {vetoes: [buy, sell], when: rsi > 95, for: crypto}
limits:
  coins-cap: {at_most: 20% of equity, per: portfolio, for: crypto}
  symbol-cap: {at_most: 15% of equity, per: symbol}
  class-cap: {at_most: 30% of equity, per: class, for: crypto}
"""


def policy(*promises: str) -> Policy:
    """Return the small policy with gates, limits and promises."""
    rows = "".join(f"  p{index}: {entry}\n" for index, entry in enumerate(promises))
    return load_policy(f"{text()}{MORE}" + (f"promises:\n{rows}" if rows else ""), "p.yaml").required()


def form(*promises: str, symbol: str = "BTC-USD") -> PromiseForm:
    """Return promises, lowered for a symbol."""
    return lower_promises_all(policy(*promises))[symbol]


def assert_goes_on(found: PromiseForm, base: LoweredPolicy) -> None:
    """A form is the policy's, and more behind it; every outcome slot has its meaning."""
    whole = found.lowered
    for part in ("slots", "atoms", "nodes"):
        assert getattr(whole, part)[: len(getattr(base, part))] == getattr(base, part)
    for part in ("rules", "gates", "limits", "signals", "feeds", "buy_style", "sell_style", "because_terms"):
        assert getattr(whole, part) == getattr(base, part)
    of_outcomes = {i for i, slot in enumerate(whole.slots) if slot.origin is SlotOrigin.OUTCOME}
    assert of_outcomes == set(found.outcomes)
    assert all(index >= len(base.slots) for index in of_outcomes)


@settings(max_examples=40)
@given(policy_texts())
def test_random_policies_go_on(written: str) -> None:
    """Whatever a policy is made of, what decides keeps its ids; also for symbols outside its universe."""
    found = load_policy(written, "random.yaml").required()
    forms = lower_promises_all(found)
    bases = lower_all(found)
    assert list(forms) == list(bases)
    for symbol, base in bases.items():
        assert_goes_on(forms[symbol], base)
        assert [promise.promise for promise in forms[symbol].promises] == list(found.promises)


def test_without_promises_nothing_is_added() -> None:
    """The form is the policy's own."""
    found = load_policy(text(), "p.yaml").required()
    listing = found.universe[0]
    assert lower_promises(found, listing) == PromiseForm(lower(found, listing), (), {})


def outcomes(found: PromiseForm) -> dict[str, Outcome]:
    """Return the outcomes by the names of their slots."""
    return {found.lowered.slots[slot].name: outcome for slot, outcome in found.outcomes.items()}


def test_stages() -> None:
    """Each name is one slot; plain ``action`` is the decision's."""
    found = form(
        "{never: action == buy and candidate.action == sell}",
        "{never: decision.action == buy and intent.qty > position_qty and full_exit}",
    )
    assert outcomes(found) == {
        "decision.action": Outcome(OutcomeKind.DECISION_ACTION),
        "candidate.action": Outcome(OutcomeKind.CANDIDATE_ACTION),
        "intent.qty": Outcome(OutcomeKind.INTENT_QUANTITY),
        "full_exit": Outcome(OutcomeKind.FULL_EXIT),
    }


def test_exposures_name_the_limit_that_counts_them() -> None:
    """A limit of a class or symbol counts all of it; one of the account that is for a part does not."""
    found = outcomes(
        form("{never: exposure.symbol > 1 USD or exposure.class > 2 USD or exposure.portfolio > 3 USD}")
    )
    assert found == {
        "exposure.symbol": Outcome(OutcomeKind.EXPOSURE, LimitScope.SYMBOL, 1),
        "exposure.class": Outcome(OutcomeKind.EXPOSURE, LimitScope.CLASS, 2),
        "exposure.portfolio": Outcome(OutcomeKind.EXPOSURE, LimitScope.PORTFOLIO, -1),
    }
    of_stock = outcomes(form("{never: exposure.class > 2 USD}", symbol="SPY"))
    assert of_stock == {"exposure.class": Outcome(OutcomeKind.EXPOSURE, LimitScope.CLASS, -1)}


def test_vetoes_become_atoms_on_booleans() -> None:
    """They name the gates of the variant; integrity is every built-in one, once among them."""
    found = form(
        '{always: \'exit_vetoed_by("coins", "shut")\'}',
        "{always: entry_vetoed_by('integrity')}",
        "{always: vetoed_by('agent-state')}",
    )
    gates = found.lowered.gates
    number = {gate.name: index for index, gate in enumerate(gates)}
    named = outcomes(found)
    both = frozenset((Action.BUY, Action.SELL))
    assert named == {
        'exit_vetoed_by("coins", "shut")': Outcome(
            OutcomeKind.VETO,
            gates=frozenset((number["coins"], number["shut"])),
            actions=frozenset((Action.SELL,)),
        ),
        'entry_vetoed_by("integrity")': Outcome(
            OutcomeKind.VETO,
            gates=frozenset(index for index, gate in enumerate(gates) if gate.reserved),
            actions=frozenset((Action.BUY,)),
        ),
        'vetoed_by("agent-state")': Outcome(
            OutcomeKind.VETO,
            gates=frozenset(index for index, gate in enumerate(gates) if gate.name == "agent-state"),
            actions=both,
        ),
    }
    assert len(named['vetoed_by("agent-state")'].gates) == 2
    for promise in found.promises:
        assert found.lowered.nodes[promise.always].kind is NodeKind.ATOM


def test_a_gate_that_is_not_there_never_vetoes() -> None:
    """Outside its scope a promise still lowers."""
    found = form("{always: vetoed_by('coins') or action == hold}", symbol="SPY")
    assert list(outcomes(found)) == ["decision.action"]
    (nothing,) = form("{always: vetoed_by('coins')}", symbol="SPY").promises
    node = form("{always: vetoed_by('coins')}", symbol="SPY").lowered.nodes[nothing.always]
    assert (node.kind, node.atom) == (NodeKind.CONSTANT, Truth.FALSE)


def test_fixed_facts_are_decided() -> None:
    """A promise about a class is one thing in it and another outside."""
    entry = "{given: asset_class == crypto, never: action == buy}"
    truths = {}
    for symbol in ("BTC-USD", "SPY"):
        found = form(entry, symbol=symbol)
        truths[symbol] = found.lowered.nodes[found.promises[0].given].atom
    assert truths == {"BTC-USD": Truth.TRUE, "SPY": Truth.FALSE}


def test_a_promise_about_a_symbol_makes_it_a_variant() -> None:
    """Symbols share what they are lowered to only where their promises are the same."""
    plain = lower_promises_all(policy("{never: action == buy}"))
    assert plain["SPY"] is plain["QQQ"]
    own = lower_promises_all(policy("{given: symbol == SPY, never: action == buy}"))
    assert own["SPY"] is not own["QQQ"]
    assert own["SPY"].lowered.nodes[own["SPY"].promises[0].given].atom == Truth.TRUE
    assert own["QQQ"].lowered.nodes[own["QQQ"].promises[0].given].atom == Truth.FALSE


def test_facts_are_read_as_exits_read_them() -> None:
    """A signal that entries would read as Unknown is the acting one."""
    found = form("{given: enhanced.side == sell, never: action == buy}")
    node = found.lowered.nodes[found.promises[0].given]
    left = found.lowered.atoms[node.atom].left
    assert found.lowered.slots[getattr(left, "slot", -1)].origin is SlotOrigin.SIGNAL


def test_facts_that_only_promises_read_are_appended() -> None:
    """Series and feeds, too."""
    found = form("{given: 'prev(close, 3) > peak_price and model.confidence > 60%', never: action == buy}")
    base = lower(policy(), policy().universe[1])
    assert "prev(close, 3)" in {slot.name for slot in found.lowered.slots[len(base.slots) :]}


def test_form_over_time_has_no_conditions_of_its_own() -> None:
    """A rate is counted, not evaluated; its ``given`` is a node like any."""
    found = form("{given: held, never: more than 3 buys in 3m}", "{always: held within 2 cycles}")
    rate, within = found.promises
    assert (rate.given >= 0, rate.always, rate.never) == (True, -1, -1)
    assert (within.given, within.always >= 0, within.never) == (-1, True, -1)


def test_what_is_off_its_step_is_refused() -> None:
    """As in any condition."""
    with pytest.raises(PolicyError, match="1 problem"):
        policy("{given: rsi > 30.123456, never: action == buy}")
