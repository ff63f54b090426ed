"""Twelve Data over plain HTTP: its own library asks the network in its constructor, so it is not used.

Most errors come as HTTP 200 with ``"status": "error"`` and a code in the body.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from adapters.vendors.failures import VendorFailedError, quoted, retry_after_seconds, silence
from engine.errors import ConfigurationError

TWELVEDATA_URL: Final = "https://api.twelvedata.com"

_MINUTE_SECONDS: Final = 60
_DAY_SECONDS: Final = 86_400
_OK: Final = 200
OF_ONE_SYMBOL: Final = (403, 404)
"""Codes that speak of a symbol, not of the call: the plan does not hold it, or nobody knows it."""
_TOO_MANY_REQUESTS: Final = 429


class TwelveDataClient:
    """Asks for quotes.  Safe to use from several threads."""

    def __init__(self, key: str, now_ms: Callable[[], int], *, url: str = TWELVEDATA_URL) -> None:
        """Make the client; nothing is asked yet.

        Args:
            key: The API key.
            now_ms: The time: credits are counted by minutes and days of the clock.
            url: The server, without a slash at its end.

        Raises:
            ConfigurationError: The key or the address is empty.
        """
        if not key or not url:
            raise ConfigurationError("Twelve Data needs a key and an address that are not empty")
        import httpx2

        self._key = key
        self._now_ms = now_ms
        self._client = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"apikey {key}", "Accept": "application/json"},
            trust_env=False,
            follow_redirects=False,
        )

    def quotes(self, symbols: Sequence[str], timeout_seconds: float) -> Mapping[str, Mapping[str, Any]]:
        """Return what ``/quote`` says of each symbol: a quote, or an error of that symbol alone.

        Numbers are Decimal; Twelve Data writes most of them as strings.  A symbol it left out is absent.
        Raises VendorFailedError where the call failed as a whole.
        """
        status, headers, text = self._asked("/quote", {"symbol": ",".join(symbols)}, timeout_seconds)
        body = _parsed(text)
        told = retry_after_seconds(headers, self._now_ms())
        if body is None:
            words = "the answer is no JSON object" if status == _OK else f"HTTP {status}"
            raise VendorFailedError(words, status, told)
        failure = self.failure_of(body)
        if failure is not None and not (len(symbols) == 1 and failure.status in OF_ONE_SYMBOL):
            retry_after = failure.retry_after_seconds if told is None else told
            raise VendorFailedError(failure.reason, failure.status, retry_after)
        if failure is None and status != _OK:
            raise VendorFailedError(f"HTTP {status}", status, told)
        # One symbol is answered by its quote, several by an object of quotes.
        found = {symbols[0]: body} if len(symbols) == 1 else body
        return {
            symbol: answer for symbol in symbols if isinstance(answer := found.get(symbol), dict) and answer
        }

    def failure_of(self, answer: Mapping[str, Any]) -> VendorFailedError | None:
        """Return the error that an answer in a batch is; None for a quote."""
        if answer.get("status") != "error":
            return None
        code = answer.get("code")
        status = code if isinstance(code, int) else None
        words = quoted(answer.get("message", "an error without a message"), self._key)
        retry_after = self._until_credits(words) if status == _TOO_MANY_REQUESTS else None
        return VendorFailedError(words, status, retry_after)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def _asked(
        self, path: str, parameters: Mapping[str, str], timeout_seconds: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + timeout_seconds
        text = bytearray()
        try:
            with self._client.stream(
                "GET", path, params=dict(parameters), timeout=timeout_seconds
            ) as response:
                # The library's timeout is for each read alone, and a server may send a byte at a time.
                for piece in response.iter_bytes():
                    text += piece
                    if time.monotonic() > deadline:
                        raise TimeoutError
        except Exception as error:
            failure = silence(error, timeout_seconds)
        else:
            return response.status_code, response.headers, bytes(text)
        raise failure

    def _until_credits(self, words: str) -> float:
        span = _DAY_SECONDS if "for the day" in words else _MINUTE_SECONDS
        return span - self._now_ms() / 1000 % span


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(text, parse_float=Decimal)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
