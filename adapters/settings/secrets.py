"""Secrets that do not show themselves, and texts from which they are taken out.

Every key that is read becomes a ``Secret``; from then on ``redacted`` knows it.  What this process knows is
kept in one place on purpose: a message can be made anywhere, and it must not matter where.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterable
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus

HIDDEN: Final = "***"
LEAST_LENGTH: Final = 6
"""No key is shorter, and taking anything shorter out of a text would leave little of it."""
_LEAST_ENCODED: Final = 12
"""Of a shorter key in base64 so little is sure to be seen that it could be part of any word."""

# The names under which users keep keys, whether this process has read them or not.
_VARIABLE: Final = re.compile(
    r"(APCA|ALPACA)_(API_)?(KEY_ID|KEY|SECRET_KEY|SECRET)|(FINNHUB|TWELVEDATA)_(API_KEY|TOKEN)"
    r"|CCXT_[A-Z0-9]+_(KEY|SECRET|PASSWORD)"
)
# What stands behind these words in an address, a JSON body or a header is a key, known or not.
_NAMED: Final = re.compile(
    r"""(?P<name>\b(?:token|api_?key|secret|signature|password)=
        |['"](?:token|api_?key|secret|signature|password)['"]\s*:\s*['"]
        |\b(?:apca-api-key-id|apca-api-secret-key|x-finnhub-token|authorization)['"]?\s*[:=]\s*['"]?
         (?:(?:basic|bearer|apikey)\s+)?
        )(?P<value>[^\s'"&,;)}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_known: set[str] = set()
_lock = threading.Lock()


class Secret:
    """A text that only ``reveal`` shows.  It cannot be pickled; a copy is itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keep a text of at least ``LEAST_LENGTH`` characters; messages lose it from now on."""
        if len(value) < LEAST_LENGTH:
            raise ValueError(f"a secret has {LEAST_LENGTH} characters or more")
        self._value = value
        with _lock:
            _known.add(value)

    def reveal(self) -> str:
        """Return the text, for whoever sends it to its vendor."""
        return self._value

    def __repr__(self) -> str:
        """Show nothing."""
        return f"Secret({HIDDEN})"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        """Show nothing, whatever the format."""
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        """Return itself."""
        return self

    def __deepcopy__(self, _: object) -> Secret:
        """Return itself."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse: what is pickled lies about in files and pipes."""
        raise TypeError("a secret is not written down")


def known_secrets() -> frozenset[str]:
    """Return every secret of this process: those that were read, and those in its environment."""
    found = {
        value.strip()
        for name, value in os.environ.items()
        if _VARIABLE.fullmatch(name) and len(value.strip()) >= LEAST_LENGTH
    }
    with _lock:
        return frozenset(_known | found)


def redacted(text: str, secrets: Iterable[str] | None = None) -> str:
    """Return a text without secrets, in whichever way one is written: plain, quoted, escaped, in base64.

    ``secrets`` None stands for ``known_secrets()``.  What an address or a header names as a key goes, too.
    """
    ways = {
        way for secret in (known_secrets() if secrets is None else secrets) if secret for way in _ways(secret)
    }
    # The longest first: one secret may begin another.
    for way in sorted(ways, key=len, reverse=True):
        text = text.replace(way, HIDDEN)
    return _NAMED.sub(rf"\g<name>{HIDDEN}", text)


def _ways(secret: str) -> Iterable[str]:
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    if len(secret) < _LEAST_ENCODED:
        return
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii")
    yield encoded
    # Beside other text, as in "id:secret", the bytes fall on other borders: the middle is what all share.
    for shift in (1, 2):
        shifted = base64.b64encode(b"\0" * shift + secret.encode("utf-8", "surrogatepass")).decode("ascii")
        yield shifted[4 : -4 if shifted.endswith("=") else None]
    yield encoded[: -4 if encoded.endswith("=") else None]
