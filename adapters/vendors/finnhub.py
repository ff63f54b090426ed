"""Finnhub through finnhub-python: one quote a call, with a deadline, and with the key in no address.

The library puts the key into every address as ``token``, from where it gets into the text of connection
errors and into the debug log of urllib3.  Here it goes into the header that Finnhub also takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.vendors.failures import VendorFailedError, quoted, retry_after_seconds
from engine.errors import ConfigurationError

FINNHUB_URL: Final = "https://api.finnhub.io/api/v1"


class FinnhubClient:
    """Asks for quotes.  Safe to use from several threads."""

    def __init__(self, key: str, now_ms: Callable[[], int], *, url: str = FINNHUB_URL) -> None:
        """Make the client; nothing is asked yet.

        Args:
            key: The API key.
            now_ms: The time, for a limit that the server tells as an instant.
            url: The server, without a slash at its end.

        Raises:
            ConfigurationError: The key or the address is empty.
        """
        if not key or not url:
            raise ConfigurationError("Finnhub needs a key and an address that are not empty")
        import finnhub

        from adapters.vendors.exchanges import LostError
        from adapters.vendors.sessions import DeadlineSession

        self._key = key
        self._now_ms = now_ms
        self._session = DeadlineSession()
        self._session.headers.update({"Accept": "application/json", "X-Finnhub-Token": key})
        self._client = finnhub.Client(api_key="")
        self._client.close()
        # The library has no argument for a session of our own.
        self._client._session = self._session
        self._client.API_URL = url
        self._lost = LostError
        self._refused = finnhub.FinnhubAPIException

    def quote(self, symbol: str, timeout_seconds: float) -> Mapping[str, Any]:
        """Return Finnhub's answer for a symbol: ``c`` is the price and ``t`` its second since 1970.

        A symbol that Finnhub does not know has zeros.  Raises VendorFailedError.
        """
        try:
            with self._session.within(timeout_seconds):
                answer = self._client.quote(symbol)
        except self._refused as error:
            failure = self._refusal(error)
        except self._lost as error:
            failure = VendorFailedError(error.reason)
        except Exception:
            # Its own exception for a body it cannot read, or whatever it trips over in one.
            failure = VendorFailedError("the answer is no JSON that can be read")
        else:
            if isinstance(answer, dict):
                return answer
            failure = VendorFailedError("the answer is no JSON object")
        raise failure

    def close(self) -> None:
        """Drop the connections."""
        self._session.close()

    def _refusal(self, error: Any) -> VendorFailedError:  # noqa: ANN401 - the library has no types
        response = error.response
        words = _error_of(response)
        said = f": {quoted(words, self._key)}" if words else ""
        return VendorFailedError(
            f"HTTP {response.status_code}{said}",
            response.status_code,
            retry_after_seconds(response.headers, self._now_ms()),
        )


def _error_of(response: Any) -> str | None:  # noqa: ANN401 - a response of requests, which is not imported here
    try:
        body = response.json()
    except ValueError:
        return None
    words = body.get("error") if isinstance(body, dict) else None
    return words if isinstance(words, str) else None
