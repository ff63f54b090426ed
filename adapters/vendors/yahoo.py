"""Yahoo through yfinance: the newest regular price of a symbol, within a deadline, with errors that are told.

What yfinance does by itself, and what is done about it here:

* its errors become empty frames, unless it is told not to hide them;
* a cookie and a crumb are asked for before everything else, with 30 s each under one lock, though charts
  need neither: here they get a share of the time that is left;
* the body of a refused crumb, of 429 or 500, is kept as the crumb for ever: here it never gets to see it;
* an answer of 400 or above is asked for again with another cookie, 404 and 429 too: here that is kept for
  401 and 403, which a new cookie may mend;
* a first request for the time zone of each symbol, whose failure is kept for ever: here not made;
* proxies come from the environment: curl reads it by itself, and curl_cffi's ``trust_env`` changes nothing.

The library keeps its state in the process, so there should be one client.  It is imported at the first
question: it takes the better part of a second.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from adapters.vendors.failures import VendorFailedError, retry_after_seconds, silence

if TYPE_CHECKING:
    from curl_cffi.requests import Response, Session

_WORKERS: Final = 4
_SIDE_SHARE: Final = 0.25
"""How much of the time that is left a cookie or a crumb may take, for the chart needs neither."""
_SIDE_PAUSE_SECONDS: Final = 60.0
"""How long neither is asked for after it could not be had."""
_CHART: Final = "/v8/finance/chart/"
_CRUMB: Final = "/v1/test/getcrumb"
_CONSENT_HOST: Final = "consent.yahoo.com"
_LONGEST_CRUMB: Final = 64


@dataclass(slots=True)
class _Question:
    """A symbol's question under way."""

    ends: float  # by time.monotonic
    refused: bool = False  # a cookie was refused once, and the library may get another one


_question: ContextVar[_Question] = ContextVar("question of this thread")


YahooBar = tuple[datetime, float, float, float, float, float]
"""Start in the exchange's zone, open, high, low, close, volume."""

_Said = TypeVar("_Said")


def import_library() -> None:
    """Import yfinance, about a second, before a question whose time is the network's."""
    import_module("yfinance")


class UnknownSymbolError(Exception):
    """Yahoo has nothing under this symbol."""


class _NoBarsError(Exception):
    """Yahoo has the symbol, and nothing of it in the span that was asked for."""


class YahooClient:
    """Asks for the newest price.  Safe to use from several threads."""

    def __init__(
        self,
        cache: Path,
        now_ms: Callable[[], int],
        *,
        proxy: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        """Make the client; nothing is imported or asked yet.

        Args:
            cache: A folder of our own for the library's cookies; made where it is missing.
            now_ms: The time, for a limit that the server tells as an instant.
            proxy: A proxy to go through; none otherwise, whatever the environment says.
            certificate: A file of authorities to trust in the place of the usual ones.
        """
        self._cache = cache
        self._now_ms = now_ms
        self._proxy = proxy
        self._certificate = certificate
        self._loaded: tuple[Any, Session[Response]] | None = None
        self._loading = threading.Lock()
        # The deadline is the wall's: also for what the library does beside asking the network.
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="yahoo")

    def newest(self, symbol: str, timeout_seconds: float) -> Mapping[str, Any]:
        """Return the metadata of a symbol's chart, as the library gives it.

        ``regularMarketPrice`` is the price (float), ``regularMarketTime`` its time (seconds since 1970 or a
        Timestamp), ``currency`` its currency.  Raises UnknownSymbolError or VendorFailedError.
        """
        ends = time.monotonic() + timeout_seconds
        asked = self._workers.submit(self._ask, symbol, ends)
        return _result(asked, timeout_seconds)

    def bars(
        self, symbol: str, interval: str, start_seconds: int, end_seconds: int, timeout_seconds: float
    ) -> tuple[Mapping[str, Any], Sequence[YahooBar]]:
        """Return the metadata of a symbol's chart and its bars with start <= time < end.

        ``interval`` is in Yahoo's words (1m, 5m, 15m, 1h, 1d); prices are adjusted by splits, not by
        dividends.  A chart without bars has none: no error.  Raises as ``newest`` does.
        """
        ends = time.monotonic() + timeout_seconds
        asked = self._workers.submit(self._ask_bars, symbol, interval, (start_seconds, end_seconds), ends)
        return _result(asked, timeout_seconds)

    def close(self) -> None:
        """Let go of the threads, without waiting for them."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _ask(self, symbol: str, ends: float) -> Mapping[str, Any]:
        with _asking(_Question(ends)):
            library, session = self._library()
            ticker = library.Ticker(symbol, session=session)
            # Only dates need the time zone; asking for it is a second request that fails for ever.
            ticker._tz = "UTC"
            ticker.history(period="1d", interval="1d", actions=False, auto_adjust=False)
            metadata: Mapping[str, Any] = ticker.get_history_metadata()
            return metadata

    def _ask_bars(
        self, symbol: str, interval: str, span: tuple[int, int], ends: float
    ) -> tuple[Mapping[str, Any], Sequence[YahooBar]]:
        with _asking(_Question(ends)):
            library, session = self._library()
            ticker = library.Ticker(symbol, session=session)
            ticker._tz = "UTC"
            # Of spans in the past it keeps whatever came, also half an answer, and never asks again.
            ticker._data.cache_get = ticker._data.get
            try:
                frame = ticker.history(
                    start=span[0], end=span[1], interval=interval, actions=False, auto_adjust=False
                )
            except _NoBarsError:
                return {}, ()
            except Exception as error:
                metadata: Mapping[str, Any] = ticker._lazy_load_price_history()._history_metadata or {}
                if type(error).__name__ == "YFPricesMissingError" and metadata.get("symbol") == symbol:
                    return metadata, ()
                raise
            metadata = ticker.get_history_metadata()
            columns = [frame[name].tolist() for name in ("Open", "High", "Low", "Close", "Volume")]
            return metadata, list(zip(frame.index.to_pydatetime(), *columns, strict=True))

    def _library(self) -> tuple[Any, Session[Response]]:
        with self._loading:
            if self._loaded is None:
                import yfinance
                from yfinance.cache import set_cache_location

                self._cache.mkdir(parents=True, exist_ok=True)
                set_cache_location(str(self._cache))
                yfinance.config.debug.hide_exceptions = False
                yfinance.config.network.retries = 0
                # What it logs is also raised, and belongs to whoever asked.
                logging.getLogger("yfinance").setLevel(logging.CRITICAL)
                # It uses what pandas is going to remove: nothing that its users can mend.
                warnings.filterwarnings("ignore", module=r"yfinance\.")
                self._loaded = yfinance, _session(self._proxy, self._certificate, self._now_ms)
            return self._loaded


@contextmanager
def _asking(question: _Question) -> Iterator[None]:
    token = _question.set(question)
    try:
        yield
    finally:
        _question.reset(token)


def _result(asked: Future[_Said], timeout_seconds: float) -> _Said:
    try:
        return asked.result(timeout_seconds)
    except (UnknownSymbolError, VendorFailedError):
        raise
    except Exception as error:
        asked.cancel()
        failure = _told(error, timeout_seconds)
    raise failure


def _told(error: Exception, timeout_seconds: float) -> VendorFailedError:
    """Return the failure for what the library raised, or for a deadline that passed."""
    if isinstance(error, OSError):
        return silence(error, timeout_seconds)
    if type(error).__name__ == "YFRateLimitError":
        return VendorFailedError("HTTP 429", 429)
    # YFPricesMissingError, a KeyError of the library in a body that is no chart, or a body that is no JSON
    return VendorFailedError(f"the answer is no chart that can be read ({type(error).__name__})")


def _session(proxy: str | None, certificate: Path | None, now_ms: Callable[[], int]) -> Session[Response]:
    """Return a session for the library that keeps the question's deadline and stops bad answers."""
    from curl_cffi import CurlOpt
    from curl_cffi.requests import Response, Session
    from curl_cffi.requests.exceptions import HTTPError, Timeout

    class CarefulSession(Session[Response]):
        """Looks at every answer before the library does."""

        _side_from = 0.0  # by time.monotonic: when a cookie or a crumb may be asked for again

        def request(self, method: Any, url: str, *arguments: Any, **options: Any) -> Response:  # noqa: ANN401 - as the library calls it
            question, path = _question.get(), urlsplit(url).path
            now = time.monotonic()
            left = question.ends - now
            if left <= 0:
                raise Timeout("no time is left")
            if path.startswith(_CHART):
                response = super().request(method, url, *arguments, **options | {"timeout": left})
                _check_chart(response, path, question, now_ms())
                return response
            # Raises an OSError: the library takes it for a passing fault, goes on without, and keeps nothing.
            if now < self._side_from:
                raise HTTPError("neither cookie nor crumb could be had a moment ago")
            self._side_from = now + _SIDE_PAUSE_SECONDS
            response = super().request(method, url, *arguments, **options | {"timeout": left * _SIDE_SHARE})
            if path == _CRUMB and not _is_crumb(response):
                raise HTTPError("no crumb")
            self._side_from = 0.0
            return response

    # An empty proxy is none at all, where no proxy would be that of the environment.
    return CarefulSession(
        impersonate="chrome",
        # It takes a file of authorities, though its types say otherwise.
        verify=True if certificate is None else cast(bool, str(certificate)),
        curl_options={CurlOpt.PROXY: proxy or "", CurlOpt.NOPROXY: ""},
    )


def _is_crumb(response: Response) -> bool:
    text = response.text
    return (
        response.status_code == 200 and 0 < len(text) <= _LONGEST_CRUMB and not set(text) & set(" <{\r\n\t")
    )


def _check_chart(response: Response, path: str, question: _Question, now_ms: int) -> None:
    """Raise for an answer that the library would ask for again, keep, or make an empty frame of."""
    status = response.status_code
    came_from = urlsplit(response.url)
    if came_from.path != path and came_from.hostname != _CONSENT_HOST:
        raise VendorFailedError("a redirect to another page")
    if status in (401, 403) and not question.refused:
        question.refused = True
        return
    if status == 404 and _says_not_found(response):
        raise UnknownSymbolError
    if status in (400, 422) and b"Data doesn't exist for startDate" in response.content:
        raise _NoBarsError
    if status >= 400:
        headers = {name: value or "" for name, value in response.headers.items()}
        raise VendorFailedError(f"HTTP {status}", status, retry_after_seconds(headers, now_ms))


def _says_not_found(response: Response) -> bool:
    try:
        return bool(json.loads(response.content)["chart"]["error"]["code"] == "Not Found")
    except (ValueError, LookupError, TypeError):
        return False
