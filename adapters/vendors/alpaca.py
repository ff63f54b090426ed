"""Alpaca's client library made safe: its clients, through one careful request.

alpaca-py waits for ever, repeats writes by itself, goes to the real venue where an address is empty, and has
errors whose attributes raise.  The clients made here are the library's own; only the method in which the
library meets the network is ours:

* a request is sent once, and has an end, however its answer comes;
* it goes to the address that was asked for, and follows no redirect;
* what comes back is the venue's JSON with exact decimals, or one of three errors:
  ``AlpacaRefused`` (certainly not done), ``AlpacaUnavailable`` (nothing was changed, ask again),
  ``AlpacaAmbiguous`` (a write that may or may not have been done);
* no key is in any of their words.

The library is imported where a client is made: it takes most of a second.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import urlsplit

from engine.errors import ConfigurationError

if TYPE_CHECKING:
    from alpaca.common.rest import RESTClient
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient
    from alpaca.data.historical.stock import StockHistoricalDataClient
    from alpaca.trading.client import TradingClient

    from adapters.vendors.exchanges import Answer

PAPER_URL: Final = "https://paper-api.alpaca.markets"
LIVE_URL: Final = "https://api.alpaca.markets"
DATA_URL: Final = "https://data.alpaca.markets"

_PAPER_HOST: Final = "paper-api.alpaca.markets"
_DOMAIN: Final = ".alpaca.markets"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BUSY: Final = frozenset({408, 425, 429})  # statuses below 500 that say nothing of what became of a request
_LONGEST_WAIT_SECONDS: Final = 60.0  # the venue counts requests by the minute
_LONGEST_SENTENCE: Final = 300
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class AlpacaAccess:
    """Where Alpaca is, who asks, and how long an answer may take.

    Real money needs two switches beside the address: ``paper=False`` and ``live=True``.  ``feed`` is the
    venue's name of a feed of stock prices.  ``total_seconds`` counts from the first step to the last byte.
    """

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    trading_url: str = PAPER_URL
    data_url: str = DATA_URL
    paper: bool = True
    live: bool = False
    feed: str = "iex"
    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    total_seconds: float = 15.0

    def __post_init__(self) -> None:
        """Raise ConfigurationError, without a key in it, for what cannot or must not be used."""
        for name, key in (("key id", self.key_id), ("secret key", self.secret)):
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigurationError(
                    f"Alpaca's {name} is empty, or has blanks or other characters that no key has:"
                    " copy it again from Alpaca's page"
                )
        if min(self.connect_seconds, self.read_seconds, self.total_seconds) <= 0:
            raise ConfigurationError("the timeouts of Alpaca must be above 0 seconds")
        trading_host = _host("trading_url", self.trading_url)
        _host("data_url", self.data_url)
        harmless = trading_host == _PAPER_HOST or trading_host in _LOOPBACK
        if not harmless and (self.paper or not self.live):
            raise ConfigurationError(
                f"{self.trading_url} trades real money, which takes both paper=False and live=True;"
                f" paper trading is at {PAPER_URL}"
            )
        if harmless and (self.live or not self.paper):
            raise ConfigurationError(
                f"{self.trading_url} is paper trading, but paper={self.paper} and live={self.live}:"
                f" say which is meant (real money is at {LIVE_URL})"
            )


class AlpacaError(Exception):
    """No answer that can be used; ``reason`` has no key in it."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class AlpacaRefused(AlpacaError):
    """Alpaca understood and said no: what was asked was certainly not done.

    ``status`` is HTTP's, ``code`` Alpaca's own (None where it gives none), ``message`` its sentence, ``body``
    all it said.
    """

    def __init__(self, status: int, code: int | None, message: str, body: Mapping[str, object]) -> None:
        """Keep what it said."""
        number = f"{status}" if code is None else f"{status}/{code}"
        reason = f"Alpaca refused ({number}): {message}"
        if status == 401:
            reason = f"Alpaca refused the keys ({number}: {message}): are they those of paper trading?"
        super().__init__(reason)
        self.status = status
        self.code = code
        self.message = message
        self.body = body


class AlpacaAmbiguous(AlpacaError):
    """A write that was sent, or may have been, and whose answer is lost: it may have been done."""


class AlpacaUnavailable(AlpacaError):
    """A question without an answer, or a write that certainly was not sent.

    ``retry_after_seconds`` is the venue's own wish, None without one.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """Keep reason and wish."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the last answer said of the requests that are left, renewed ``renewed_seconds`` after it."""

    limit: int
    remaining: int
    renewed_seconds: float


_Client = TypeVar("_Client", bound="RESTClient")
_importing: Final = threading.Lock()


def import_library() -> None:
    """Import alpaca-py, all that is used of it: about a second, once.

    Before any part of it is: its modules import each other in circles, and two threads that began with
    different ones would fail in a deadlock.  Before a question, too, whose time is the network's.
    """
    with _importing:
        for name in ("alpaca.data.live", "alpaca.trading.client", "alpaca.trading.stream"):
            import_module(name)


class Guarded(Generic[_Client]):
    """A client of the library whose requests are careful ones.

    ``client`` returns the venue's JSON as it is (``raw_data``), with Decimal for every number that is not
    whole.  Its methods raise AlpacaRefused, AlpacaUnavailable and AlpacaAmbiguous, and nothing else.
    """

    def __init__(self, client: _Client, transport: _Transport) -> None:
        """See ``trading_client``, ``stock_client`` and ``crypto_client``."""
        self.client = client
        self._transport = transport

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the venue last said of its limit; None before it said anything."""
        return self._transport.rate_limit

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[_Client]:
        """Give all requests of the block together this long at most (in this thread or task)."""
        ends = time.monotonic() + seconds
        outer = _ends.get()
        token = _ends.set(ends if outer is None else min(ends, outer))
        try:
            yield self.client
        finally:
            _ends.reset(token)


_ends: ContextVar[float | None] = ContextVar("ends", default=None)


def trading_client(access: AlpacaAccess, spend: Callable[[], None] | None = None) -> Guarded[TradingClient]:
    """Return a client for orders and the account.  ``spend`` is called before each request, and may raise."""
    import_library()
    from alpaca.trading.client import TradingClient

    client = TradingClient(
        access.key_id, access.secret, paper=access.paper, raw_data=True, url_override=access.trading_url
    )
    return _guarded(client, access.trading_url, access, spend)


def stock_client(
    access: AlpacaAccess, spend: Callable[[], None] | None = None
) -> Guarded[StockHistoricalDataClient]:
    """Return a client for prices of stocks."""
    import_library()
    from alpaca.data.historical.stock import StockHistoricalDataClient

    client = StockHistoricalDataClient(
        access.key_id, access.secret, raw_data=True, url_override=access.data_url
    )
    return _guarded(client, access.data_url, access, spend)


def crypto_client(
    access: AlpacaAccess, spend: Callable[[], None] | None = None
) -> Guarded[CryptoHistoricalDataClient]:
    """Return a client for prices of crypto."""
    import_library()
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient

    client = CryptoHistoricalDataClient(
        access.key_id, access.secret, raw_data=True, url_override=access.data_url
    )
    return _guarded(client, access.data_url, access, spend)


def _guarded(
    client: _Client, url: str, access: AlpacaAccess, spend: Callable[[], None] | None
) -> Guarded[_Client]:
    from adapters.vendors.exchanges import make_plain

    # Another version of the library might take another address than it was given, or name its parts anew.
    if str(client._base_url) != url or not hasattr(client, "_retry") or not hasattr(client, "_one_request"):
        raise ConfigurationError("this version of alpaca-py is not known to tradectl: install a tested one")
    client._retry = 0
    make_plain(client._session)
    transport = _Transport(client, url, access, spend)
    setattr(client, "_one_request", transport.one_request)  # noqa: B010 - a method of the library is replaced
    return Guarded(client, transport)


class _Transport:
    """How the clients of the library meet the network."""

    def __init__(
        self, client: RESTClient, url: str, access: AlpacaAccess, spend: Callable[[], None] | None
    ) -> None:
        self.rate_limit: RateLimit | None = None
        self._session = client._session
        self._url = url
        self._access = access
        self._spend = spend
        self._used_up_until = 0.0  # by the monotonic clock

    def one_request(self, method: str, url: str, opts: dict[str, Any], retry: int) -> Any:  # noqa: ANN401 - JSON
        """Stand in for ``RESTClient._one_request``: one request, its JSON, None where there is no content."""
        from adapters.vendors.exchanges import LostError, exchange

        if not url.startswith(f"{self._url}/"):
            raise ConfigurationError(f"a request to another address than {self._url}")
        now = time.monotonic()
        if now < self._used_up_until:
            wait = self._used_up_until - now
            raise AlpacaUnavailable("Alpaca's limit of requests is used up for now", wait)
        ends = _ends.get()
        seconds = self._access.total_seconds if ends is None else min(self._access.total_seconds, ends - now)
        if seconds <= 0:
            raise AlpacaUnavailable("no time was left to ask Alpaca")
        if self._spend is not None:
            self._spend()
        writes = method.upper() not in ("GET", "HEAD")
        try:
            answer = exchange(
                self._session,
                method,
                url,
                connect_seconds=min(self._access.connect_seconds, seconds),
                read_seconds=min(self._access.read_seconds, seconds),
                total_seconds=seconds,
                **opts,
            )
        except LostError as lost:
            self._lost(lost.reason, writes and lost.sent)
        self._note_limit(answer)
        return self._read(answer, writes)

    def close(self) -> None:
        self._session.close()

    def _read(self, answer: Answer, writes: bool) -> object:
        body = self._without_keys(answer.body)
        if answer.status == 204:
            return None
        said = _parsed(body)
        if 200 <= answer.status < 300 and isinstance(said, (dict, list)):
            return said
        if 400 <= answer.status < 500 and answer.status not in _BUSY and isinstance(said, dict):
            message = said.get("message")
            if isinstance(message, str):
                code = said.get("code")
                raise AlpacaRefused(
                    answer.status, code if type(code) is int else None, _sentence(message), said
                )
        if 300 <= answer.status < 400:
            what = "a redirect, which is not followed"
        elif answer.status in _BUSY or answer.status >= 500:
            what = "an error of its own"
        elif not body.strip():
            what = "nothing"
        else:
            kind = self._without_keys(answer.headers.get("Content-Type", "").encode()).decode()
            what = f"something that is no JSON of Alpaca's ({_sentence(kind) or 'of no stated type'})"
        self._lost(f"answered {what} (HTTP {answer.status})", writes, _retry_after(answer))

    def _lost(self, reason: str, ambiguous: bool, retry_after: float | None = None) -> NoReturn:
        if ambiguous:
            raise AlpacaAmbiguous(f"Alpaca: {reason}")
        raise AlpacaUnavailable(f"Alpaca: {reason}", retry_after)

    def _without_keys(self, body: bytes) -> bytes:
        for key in (self._access.secret, self._access.key_id):
            body = body.replace(key.encode(), b"***")
        return body

    def _note_limit(self, answer: Answer) -> None:
        """Keep what the venue says of its limit of requests, and honour that nothing is left of it."""
        headers = answer.headers
        numbers = [headers.get(f"X-RateLimit-{name}", "") for name in ("Limit", "Remaining", "Reset")]
        if not all(number.isascii() and number.isdigit() and len(number) < 16 for number in numbers):
            return
        limit, remaining, reset = map(int, numbers)
        seconds = min(max(0.0, reset - _venue_time(answer)), _LONGEST_WAIT_SECONDS)
        self.rate_limit = RateLimit(limit, remaining, seconds)
        if remaining == 0:
            self._used_up_until = time.monotonic() + seconds


def _host(name: str, url: str) -> str:
    """Return the host of an address; ConfigurationError unless it is https to Alpaca, or http to loopback."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        plain = f"{parts.scheme}://{parts.netloc}" == url and parts.port != 0
    except ValueError:
        plain, host = False, ""
    if not plain or not host or parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"{name} must be the address of a server alone, such as {PAPER_URL}: an empty one would go to the"
            " venue itself"
        )
    if host in _LOOPBACK:
        if parts.scheme not in ("http", "https"):
            raise ConfigurationError(f"{name} must begin with http:// or https://")
    elif parts.scheme != "https" or not host.endswith(_DOMAIN):
        raise ConfigurationError(f"{name} must be https:// and a server of Alpaca's (*{_DOMAIN}), not {host}")
    return host


def _parsed(body: bytes) -> object:
    """Return JSON with exact numbers; None where it is none (NaN and Infinity are not JSON)."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _sentence(text: str) -> str:
    """Return what a stranger wrote as one line that a terminal can show."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST_SENTENCE else line[: _LONGEST_SENTENCE - 1] + "…"


def _retry_after(answer: Answer) -> float | None:
    """Return the wish of an answer, given in seconds or as an instant; None where it cannot be read."""
    text = answer.headers.get("Retry-After", "")
    if _SECONDS.fullmatch(text):
        return float(text)
    at = _http_date(text)
    return None if at is None else max(0.0, at - _venue_time(answer))


def _venue_time(answer: Answer) -> float:
    """Return when the venue answered, by its own clock where it tells, seconds since 1970."""
    at = _http_date(answer.headers.get("Date", ""))
    return time.time() if at is None else at


def _http_date(text: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
