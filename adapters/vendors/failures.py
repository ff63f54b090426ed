"""How a call to a vendor failed: in words that hold no secret, and without the library's own exception.

A library's exception may hold the key in its text, in its request or in the one it was raised from.  Ours
is raised after that one was left, so that it is neither its cause nor its context.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

_LONGEST_WORDS: Final = 200
_HIDDEN: Final = "[hidden]"


class VendorFailedError(Exception):
    """A call failed.  ``status`` is that of HTTP, or the vendor's own in a 200; None without an answer."""

    def __init__(
        self, reason: str, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        """Keep a reason without secrets, and how long the vendor asks to be left alone."""
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after_seconds = retry_after_seconds


def quoted(words: object, *secrets: str) -> str:
    """Return what a vendor said, fit for a line of a log: one line, short, printable, without secrets."""
    text = str(words)
    for secret in secrets:
        if secret:
            text = text.replace(secret, _HIDDEN)
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_WORDS]).split())
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 3] + "..."


def silence(error: BaseException, timeout_seconds: float) -> VendorFailedError:
    """Return the failure for an exception that came instead of an answer: told by its class, never its text.

    An exception's text is no place to quote from: it may hold the address asked, with the key in it.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if any("Timeout" in name for name in names):
        return VendorFailedError(f"no answer within {timeout_seconds:g} s")
    if any("Redirect" in name for name in names):
        return VendorFailedError("a redirect to another address, which is not followed")
    return VendorFailedError(f"the connection failed or broke off ({type(error).__name__})")


def retry_after_seconds(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Return how long a server asks to wait: Retry-After (seconds or a date), or X-RateLimit-Reset.

    The latter is the second since 1970 at which the budget is full again.  None where neither can be read.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    told = lowered.get("retry-after", "").strip()
    if told.isdecimal():
        return float(told)
    if told:
        try:
            at = parsedate_to_datetime(told)
        except ValueError:
            return None
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_ms / 1000)
    reset = lowered.get("x-ratelimit-reset", "").strip()
    return max(0.0, int(reset) - now_ms / 1000) if reset.isdecimal() else None
