"""What doctor concludes about keys, venue, symbols and budgets: pure, from facts gathered before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.bootstrap.venues import GREATEST_SKEW_MS, skew_ms, told_skew
from adapters.settings.keys import FoundKey, MissingKey
from adapters.settings.model import Rate, Settings
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.registry import Registry
from engine.language.expression import duration_text
from engine.language.policy import Policy
from engine.model import AssetClass
from engine.runtime.ports import VenueClock

_PER_SYMBOL: Final = frozenset({"twelvedata"})
"""Sources that count the symbols of a call, not the calls."""
_NAMED: Final = 6
_SET_KEYS: Final = "set it in the environment, or run tradectl init --store-keys"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at; ``outcome`` is ok, warn or fail, and then ``cure`` says what to do."""

    name: str
    outcome: str
    detail: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """What came of asking the broker.  ``failure`` is empty where all went well.

    ``reached`` is whether it answered at all, ``authorised`` whether it took the keys.  Instants are ours,
    of just before the clock was asked for and just after.
    """

    reached: bool
    authorised: bool
    failure: str = ""
    clock: VenueClock | None = None
    asked_ms: int = 0
    answered_ms: int = 0


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """All that is needed: settings, keys by source, the venue (None: paper), the policy, the registry."""

    settings: Settings
    keys: Mapping[str, Sequence[FoundKey | MissingKey]]
    broker_keys: Sequence[FoundKey | MissingKey]
    venue: VenueFacts | None
    policy: Policy
    registry: Registry


def market_checks(facts: MarketFacts) -> Iterator[Check]:
    """Draw every conclusion."""
    yield from key_checks(facts)
    yield from venue_checks(facts)
    yield from symbol_checks(facts)
    yield from budget_checks(facts)


def sources_in_use(settings: Settings, policy: Policy) -> dict[str, tuple[AssetClass, ...]]:
    """Return each source that quotes of the policy's symbols are asked of, and for which classes."""
    classes = dict.fromkeys(AssetClass(listing.asset_class) for listing in policy.universe)
    used: dict[str, list[AssetClass]] = {}
    for asset_class in classes:
        for source in settings.quotes.of(asset_class).sources:
            used.setdefault(source, []).append(asset_class)
    return {source: tuple(of) for source, of in used.items()}


# --- keys -------------------------------------------------------------------------------------


def key_checks(facts: MarketFacts) -> Iterator[Check]:
    """Say where each key is, or what is missing: the broker's fails, a source's only leaves it out."""
    broker = facts.settings.broker.name
    if facts.broker_keys:
        yield _keys(f"keys {broker}", facts.broker_keys, "fail")
    for source, found in facts.keys.items():
        if found and source != broker:
            yield _keys(f"keys {source}", found, "warn")


def _keys(name: str, found: Sequence[FoundKey | MissingKey], otherwise: str) -> Check:
    missing = [key for key in found if isinstance(key, MissingKey)]
    if missing:
        reasons = dict.fromkeys(key.reason for key in missing)
        detail = "; ".join(
            f"{' and '.join(key.name for key in missing if key.reason == reason)}: {reason}"
            for reason in reasons
        )
        return Check(name, otherwise, detail, _SET_KEYS)
    return Check(
        name, "ok", ", ".join(f"{key.name} ({key.place})" for key in found if isinstance(key, FoundKey))
    )


# --- the venue --------------------------------------------------------------------------------


def venue_checks(facts: MarketFacts) -> Iterator[Check]:
    """Say whether the broker can be reached, takes the keys, and agrees about the time."""
    settings, venue = facts.settings.broker, facts.venue
    if not settings.paper:
        detail = "broker.paper is false, and this release trades on paper only"
        yield Check("broker", "fail", detail, "set paper: true")
        return
    if venue is None:
        if settings.name == "paper":
            yield Check("broker", "ok", "paper: orders are filled on this machine")
        return
    if not venue.reached:
        cure = "check the network, broker.url and the proxy; then the vendor's status page"
        yield Check("broker", "fail", f"{settings.name} cannot be reached: {venue.failure}", cure)
    elif not venue.authorised:
        cure = "check that the keys are those of paper trading, and have not been replaced"
        yield Check("broker", "fail", f"{settings.name} does not take the keys: {venue.failure}", cure)
    elif venue.failure:
        yield Check("broker", "fail", f"{settings.name}: {venue.failure}", "try again; then report it")
    else:
        yield Check("broker", "ok", f"{settings.name} answers and takes the keys")
    if venue.clock is not None:
        yield _skew(venue.clock, venue.asked_ms, venue.answered_ms)


def _skew(clock: VenueClock, asked_ms: int, answered_ms: int) -> Check:
    """Compare clocks: the venue's was read at some moment between question and answer."""
    skew = skew_ms(clock, asked_ms, answered_ms)
    if abs(skew) > GREATEST_SKEW_MS:
        cure = "set the machine's clock (NTP); quotes would be taken for older or newer than they are"
        return Check("venue clock", "warn", told_skew(skew), cure)
    return Check("venue clock", "ok", "agrees with ours")


# --- symbols ----------------------------------------------------------------------------------


def symbol_checks(facts: MarketFacts) -> Iterator[Check]:
    """Say for each source which symbols of the policy it does not serve and why; fail where none does."""
    settings, policy, registry = facts.settings, facts.policy, facts.registry
    served: set[str] = set()
    for source, classes in sources_in_use(settings, policy).items():
        symbols = [one.symbol for one in policy.universe if AssetClass(one.asset_class) in classes]
        reasons = {symbol: _why_not(settings, registry, source, symbol) for symbol in symbols}
        lacking = [f"{symbol} ({reason})" for symbol, reason in reasons.items() if reason]
        if source != "history" and not any(isinstance(key, MissingKey) for key in facts.keys.get(source, ())):
            served.update(symbol for symbol, reason in reasons.items() if not reason)
        count = f"{len(symbols) - len(lacking)} of {len(symbols)} symbols"
        listed = source == settings.broker.name and registry.refreshed_ms(source) is None
        asked = " (its list of assets has not been read)" if listed else ""
        name = f"symbols {source}"
        if lacking:
            yield Check(
                name, "warn", f"{count}; not {_some(lacking)}", "the other sources are asked for them"
            )
        else:
            yield Check(name, "ok", f"{count}{asked}")
    unserved = [one.symbol for one in policy.universe if one.symbol not in served]
    if unserved:
        cure = "add a source, a key or a currency, or take them out of the universe"
        yield Check("symbols", "fail", f"no source prices orders for {_some(unserved)}", cure)
    yield from _tradable(facts)


def _why_not(settings: Settings, registry: Registry, source: str, symbol: str) -> str:
    spelled = registry.spelled(source, symbol)
    if isinstance(spelled, NotServed):
        return spelled.reason
    allowed = settings.quotes.of(registry.asset_class(symbol)).currencies
    return "" if spelled.currency in allowed else f"priced in {spelled.currency}, which is not allowed"


def _tradable(facts: MarketFacts) -> Iterator[Check]:
    """Compare what the policy trades with what the broker does."""
    broker = facts.settings.broker.name
    if broker == "paper":
        return
    traded = [listing.symbol for listing in facts.policy.traded]
    reasons: dict[str, str] = {}
    for symbol in traded:
        spelled = facts.registry.spelled(broker, symbol)
        asset = facts.registry.tradable(broker, symbol)
        if isinstance(spelled, Spelled) and spelled.currency != "USD":
            reasons[symbol] = f"it is paid in {spelled.currency} there"
        for answer in (spelled, asset):
            if isinstance(answer, NotServed):
                reasons[symbol] = answer.reason
    count = f"{broker} trades {len(traded) - len(reasons)} of {len(traded)}"
    if reasons:
        lacking = _some([f"{symbol} ({reason})" for symbol, reason in reasons.items()])
        cure = "take them out of the universe, or only watch them"
        yield Check("tradable", "warn", f"{count}; not {lacking}", cure)
    elif facts.registry.refreshed_ms(broker) is None:
        yield Check("tradable", "ok", f"{broker} is asked when it is needed: its list has not been read")
    else:
        yield Check("tradable", "ok", count)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


# --- budgets ----------------------------------------------------------------------------------


def budget_checks(facts: MarketFacts) -> Iterator[Check]:
    """Compare what a source would be asked, were it the only one that answers, with what it allows."""
    settings, policy = facts.settings, facts.policy
    cadence = policy.every_seconds or policy.bars_seconds
    for source, classes in sources_in_use(settings, policy).items():
        if source == "history":
            continue
        own = settings.source(source)
        cost, symbols = 0, 0
        for asset_class in classes:
            here = [
                one.symbol
                for one in policy.universe
                if AssetClass(one.asset_class) is asset_class
                and isinstance(facts.registry.spelled(source, one.symbol), Spelled)
            ]
            symbols += len(here)
            cost += len(here) if source in _PER_SYMBOL else -(-len(here) // own.batch)
        if not symbols or not own.budget:
            continue
        unit = "symbols" if source in _PER_SYMBOL else "requests"
        need = f"{symbols} symbols every {duration_text(cadence)} are {cost} {unit} a pass"
        scarce = [
            rate for rate in own.budget if not fits(rate, cost, cadence, settings.quotes.deadline_seconds)
        ]
        first = any(settings.quotes.of(one).sources[0] == source for one in classes)
        if not scarce:
            yield Check(f"budget {source}", "ok", need)
            continue
        allowed = " and ".join(f"{rate.requests} per {duration_text(rate.seconds)}" for rate in scarce)
        detail = f"{need}; it allows {allowed}"
        if first:
            cure = "ask another source first, decide less often, or buy a larger budget and say so"
            yield Check(f"budget {source}", "warn", detail, cure)
        else:
            yield Check(f"budget {source}", "ok", f"{detail}: as a fallback it serves some, by turns")


def fits(rate: Rate, cost: int, cadence_seconds: int, deadline_seconds: int) -> bool:
    """Say whether ``cost`` requests every ``cadence_seconds`` keep within a rate.

    A rate over a shorter time than that binds within a pass only, which lasts ``deadline_seconds``.
    """
    if rate.seconds >= cadence_seconds:
        return cost * rate.seconds <= rate.requests * cadence_seconds
    return cost <= rate.requests * max(1, min(deadline_seconds, cadence_seconds) // rate.seconds)
