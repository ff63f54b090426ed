"""What doctor asks before it concludes: settings, keys, the policy, the broker; each within a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from adapters.bootstrap.venues import OpenVenue, open_broker, refused_status, refuses_keys
from adapters.cli.doctor_checks import MarketFacts, VenueFacts, sources_in_use
from adapters.clock import WallClock
from adapters.settings.keys import MissingKey, find_key, key_names
from adapters.settings.model import DAY, Settings
from adapters.symbols.store import FILE, SymbolStore
from engine.errors import ConfigurationError, TradectlError, UnavailableError
from engine.language.policy import Policy
from engine.runtime.ports import Clock

VenueOpener = Callable[[Settings, SymbolStore, Clock, Sequence[str]], AbstractContextManager[OpenVenue]]
_QUESTIONS: Final = 4  # the clock, the account, its positions, the list of assets


def gather(
    settings: Settings,
    policy: Policy,
    state_dir: Path,
    clock: Clock | None = None,
    open_venue: VenueOpener = open_broker,
) -> tuple[MarketFacts, list[str]]:
    """Ask for all facts; return them, and what a person should know of the symbol registry's file.

    ConfigurationError where the settings ask for what cannot be.
    """
    clock = clock or WallClock()
    days = max(1, settings.refresh_symbols_seconds // DAY)
    store = SymbolStore(state_dir / FILE, policy.universe, now_ms=clock.now_utc_ms(), stale_after_days=days)
    broker = settings.broker
    broker_keys = [find_key(name) for name in key_names(broker.name, trading=True)]
    venue = None
    if (
        broker.name != "paper"
        and broker.paper
        and not any(isinstance(key, MissingKey) for key in broker_keys)
    ):
        venue = _asked(settings, policy, store, clock, open_venue)
    keys = {
        source: [find_key(name) for name in key_names(source)] for source in sources_in_use(settings, policy)
    }
    return MarketFacts(settings, keys, broker_keys, venue, policy, store.registry), store.notes


def _asked(
    settings: Settings, policy: Policy, store: SymbolStore, clock: Clock, open_venue: VenueOpener
) -> VenueFacts:
    """Ask the broker in a thread, which is left behind where a client does not keep its own deadline."""
    answers: list[VenueFacts] = []
    failures: list[TradectlError] = []

    def work() -> None:
        try:
            pairs = [one.symbol for one in policy.traded if one.asset_class == "crypto"]
            with open_venue(settings, store, clock, pairs) as venue:
                answers.append(_answers(settings.broker.name, venue, store, clock))
        except TradectlError as error:
            failures.append(error)
        except Exception as error:  # of a vendor's library: its text may hold a key
            failures.append(UnavailableError(f"its client failed ({type(error).__name__})"))

    thread = threading.Thread(target=work, name="doctor", daemon=True)
    thread.start()
    longest = _QUESTIONS * settings.broker.timeout_seconds
    thread.join(longest)
    if answers:
        return answers[0]
    if failures and isinstance(failures[0], ConfigurationError):
        raise failures[0]
    why = str(failures[0]) if failures else f"no answer within {longest} s"
    return VenueFacts(reached=False, authorised=False, failure=why)


def _answers(name: str, venue: OpenVenue, store: SymbolStore, clock: Clock) -> VenueFacts:
    asked_ms = clock.now_utc_ms()
    told = None
    try:
        told = venue.broker.clock()
        answered_ms = clock.now_utc_ms()
        venue.broker.account()
        if venue.read_assets is not None and store.is_stale(name, clock.now_utc_ms()):
            store.refresh(name, venue.read_assets(), clock.now_utc_ms())
    except UnavailableError as error:
        status = refused_status(error)
        reached = status is not None or told is not None
        refused = refuses_keys(error)
        if told is None:
            return VenueFacts(reached, reached and not refused, str(error))
        return VenueFacts(True, not refused, str(error), told, asked_ms, answered_ms)
    return VenueFacts(True, True, "", told, asked_ms, answered_ms)
