"""Keys: from the environment, or from the system's keyring; never from a file of ours.

A key is named as its environment variable; in the keyring that is the user's name under the service
``tradectl``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.settings.model import CCXT
from adapters.settings.scrubbing import install_scrubbing
from adapters.settings.secrets import LEAST_LENGTH, Secret
from engine.errors import ConfigurationError, UnavailableError

SERVICE: Final = "tradectl"
_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "alpaca": ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"),
    "alpaca_stream": ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"),
    "finnhub": ("FINNHUB_API_KEY",),
    "twelvedata": ("TWELVEDATA_API_KEY",),
}
_KEYRING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key, and where it was: "environment" or "keyring"."""

    name: str
    place: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class MissingKey:
    """A key that is not there or cannot be used, and why; the sentence holds no part of it."""

    name: str
    reason: str


def key_names(source: str, *, trading: bool = False) -> tuple[str, ...]:
    """Return the names of the keys a source needs: none for Yahoo, history, paper trading, public prices."""
    if source.startswith(CCXT):
        exchange = source.removeprefix(CCXT).upper()
        return (f"CCXT_{exchange}_KEY", f"CCXT_{exchange}_SECRET") if trading else ()
    return _VARIABLES.get(source, ())


def find_key(
    name: str,
    environ: Mapping[str, str] | None = None,
    from_keyring: Callable[[str], str | None] | None = None,
) -> FoundKey | MissingKey:
    """Look for a key, in the environment first.

    ``environ`` None is the process's own; ``from_keyring`` None asks the system's keyring.
    """
    install_scrubbing()
    given = (os.environ if environ is None else environ).get(name, "")
    place = "environment"
    if not given.strip():
        place = "keyring"
        try:
            given = (from_keyring or read_keyring)(name) or ""
        except UnavailableError as error:
            return MissingKey(name, f"not in the environment, and {error}")
    # A line break at the end is the usual slip of whoever pastes or reads from a file.
    value = given.strip()
    if not value:
        return MissingKey(name, "neither in the environment nor in the keyring")
    if not value.isascii() or not value.isprintable() or " " in value:
        return MissingKey(
            name, f"the {place} has it with blanks or characters that no key has: copy it again"
        )
    if len(value) < LEAST_LENGTH:
        return MissingKey(name, f"what the {place} has is too short to be a key")
    return FoundKey(name, place, Secret(value))


def required_keys(
    source: str,
    *,
    trading: bool = False,
    environ: Mapping[str, str] | None = None,
    from_keyring: Callable[[str], str | None] | None = None,
) -> tuple[Secret, ...]:
    """Return a source's keys in the order of ``key_names``; ConfigurationError names all that are missing."""
    found = [find_key(name, environ, from_keyring) for name in key_names(source, trading=trading)]
    missing = [key for key in found if isinstance(key, MissingKey)]
    if missing:
        raise ConfigurationError(
            f"{source} needs keys: "
            + "; ".join(f"{key.name} ({key.reason})" for key in missing)
            + f". Set {' and '.join(key.name for key in missing)} in the environment, or store them with"
            " 'tradectl init --store-keys'"
        )
    return tuple(key.secret for key in found if isinstance(key, FoundKey))


# --- the keyring ------------------------------------------------------------------------------


def read_keyring(name: str) -> str | None:
    """Return a key from the system's keyring; UnavailableError, in words, where it has none to ask."""
    import keyring

    return _within(lambda: keyring.get_password(SERVICE, name))


def store_in_keyring(name: str, secret: Secret) -> None:
    """Keep a key in the system's keyring; UnavailableError where it takes none."""
    import keyring

    _within(lambda: keyring.set_password(SERVICE, name, secret.reveal()))


def _within(call: Callable[[], str | None]) -> str | None:
    """Run a call that may wait for a person or a bus for ever; its errors may quote what it was given."""
    from keyring.errors import NoKeyringError

    outcome: list[str | None] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="keyring", daemon=True)
    thread.start()
    thread.join(_KEYRING_SECONDS)
    if outcome:
        return outcome[0]
    if not failure:
        raise UnavailableError(f"the system's keyring did not answer within {_KEYRING_SECONDS:.0f} s")
    if isinstance(failure[0], NoKeyringError):
        raise UnavailableError("this system has no keyring")
    raise UnavailableError(f"the system's keyring failed ({type(failure[0]).__name__})")
