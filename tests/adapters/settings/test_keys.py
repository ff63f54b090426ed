"""Keys come from the environment or the keyring; what is missing or wrong is told without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from adapters.settings import keys
from adapters.settings.keys import (
    FoundKey,
    MissingKey,
    find_key,
    key_names,
    read_keyring,
    required_keys,
    store_in_keyring,
)
from adapters.settings.secrets import Secret
from engine.errors import ConfigurationError, UnavailableError

SENTINEL = "sEnTiNeL-0f-the-keyring"


class MemoryKeyring(KeyringBackend):
    """A keyring that is no one's."""

    priority = 1.0

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()  # type: ignore[no-untyped-call]  # the library states no types here
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """Look up."""
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep."""
        self.kept[service, username] = password


class BrokenKeyring(MemoryKeyring):
    """Fails, and quotes what it was given."""

    def get_password(self, service: str, username: str) -> str | None:
        """Fail."""
        raise RuntimeError(f"D-Bus is gone: {SENTINEL}")


class WaitingKeyring(MemoryKeyring):
    """Waits for a person who is not there."""

    def get_password(self, service: str, username: str) -> str | None:
        """Wait until the test is over."""
        threading.Event().wait()
        return None


@pytest.fixture(autouse=True)
def own_keyring() -> Iterator[MemoryKeyring]:
    """Put a keyring of the test's own in the place of the user's."""
    before = keyring.get_keyring()
    mine = MemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def test_the_environment_goes_first(own_keyring: MemoryKeyring) -> None:
    """A variable that is set wins; an empty one is none; a line break at the end is nobody's key."""
    store_in_keyring("FINNHUB_API_KEY", Secret(SENTINEL))
    assert own_keyring.kept == {("tradectl", "FINNHUB_API_KEY"): SENTINEL}
    found = find_key("FINNHUB_API_KEY", {"FINNHUB_API_KEY": "k-of-the-environment\n"})
    assert found == FoundKey("FINNHUB_API_KEY", "environment", Secret("k-of-the-environment"))
    found = find_key("FINNHUB_API_KEY", {"FINNHUB_API_KEY": "  "})
    assert found == FoundKey("FINNHUB_API_KEY", "keyring", Secret(SENTINEL))
    assert SENTINEL not in repr(found)


@pytest.mark.parametrize("value", ["2shrt", "with a blank in it", "with-\x07-a-bell", "mit-ümlaut-darin"])
def test_what_cannot_be_a_key(value: str) -> None:
    """Such a value would fail in a header, in an error that quotes it; it is told and not shown."""
    missing = find_key("FINNHUB_API_KEY", {"FINNHUB_API_KEY": value})
    assert isinstance(missing, MissingKey)
    assert value not in missing.reason


def test_missing_keys_are_named_with_the_cure() -> None:
    """All that is missing is said at once, and where to put it."""
    with pytest.raises(ConfigurationError) as caught:
        required_keys("alpaca", environ={})
    for word in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "environment", "keyring", "--store-keys"):
        assert word in str(caught.value)
    given = {"APCA_API_KEY_ID": "k-1-identifier", "APCA_API_SECRET_KEY": "k-2-secret"}
    assert required_keys("alpaca", environ=given) == (Secret("k-1-identifier"), Secret("k-2-secret"))


@pytest.mark.parametrize(
    ("source", "trading", "names"),
    [
        ("alpaca_stream", False, ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")),
        ("twelvedata", False, ("TWELVEDATA_API_KEY",)),
        ("ccxt:kraken", True, ("CCXT_KRAKEN_KEY", "CCXT_KRAKEN_SECRET")),
        ("ccxt:kraken", False, ()),
        ("yahoo", False, ()),
        ("history", False, ()),
        ("paper", True, ()),
    ],
)
def test_who_needs_which(source: str, trading: bool, names: tuple[str, ...]) -> None:
    """Prices of exchanges, Yahoo, history and paper need none."""
    assert key_names(source, trading=trading) == names
    if not names:
        assert required_keys(source, trading=trading, environ={}) == ()


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (NoKeyring, "has no keyring"),
        (BrokenKeyring, "failed (RuntimeError)"),
        (WaitingKeyring, "did not answer"),
    ],
)
def test_a_keyring_that_does_not_work_is_told(
    backend: type[KeyringBackend], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None, a broken one, and one that waits for ever: a sentence, never a traceback."""
    monkeypatch.setattr(keys, "_KEYRING_SECONDS", 0.2)
    keyring.set_keyring(backend())
    with pytest.raises(UnavailableError) as caught:
        read_keyring("FINNHUB_API_KEY")
    assert said in str(caught.value) and SENTINEL not in str(caught.value)
    missing = find_key("FINNHUB_API_KEY", {})
    assert isinstance(missing, MissingKey) and said in missing.reason
