"""ccxt's exchanges made safe: the library's own client, through one careful request.

ccxt picks up settings of requests, writes keys into its log, takes an unreadable answer for an order without
a number, loses a whole list for one odd row, and changes how the Decimals of its thread are rounded.  The
client made here is the library's own; only what stands between it and the network, and what it makes of
rows, is ours:

* a request is sent once, and has an end, however its answer comes;
* it goes to the exchange that was asked for, or to loopback in its place, and follows no redirect;
* numbers are text, exactly as the exchange wrote them;
* what comes back is ccxt's answer, or one of three errors: ``ExchangeRefused`` (certainly not done),
  ``ExchangeUnavailable`` (nothing was changed, ask again), ``ExchangeAmbiguous`` (a write that may or may not
  have been done);
* no key is in any of their words, nor in a log.

ccxt is imported where a client is made: it takes a third of a second.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import localcontext
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from adapters.extras import require
from adapters.vendors.failures import quoted, retry_after_seconds
from engine.errors import ConfigurationError

if TYPE_CHECKING:
    import requests

    from adapters.vendors.exchanges import Answer

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BUSY: Final = frozenset({408, 418, 425, 429})  # statuses below 500 that do not say what became of a request
# Exchanges whose sandbox is known to be their own: binanceus, for one, has that of binance by inheritance.
_SANDBOXES: Final = frozenset({"binance"})
_NOT_SIGNED: Final = frozenset({"load_markets", "fetch_time", "fetch_tickers", "fetch_ohlcv"})
_SPOT_ONLY: Final = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"]},
    "fetchMargins": False,
    "fetchCurrencies": False,
    "adjustForTimeDifference": False,
    "maxRetriesOnFailure": 0,
    "warnOnFetchOpenOrdersWithoutSymbol": False,
}

# ccxt writes every request to its log, with the header that holds the key.
_SILENT: Final = logging.getLogger(f"{__name__}.requests")
_SILENT.disabled = True
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """Which exchange, who asks, and how long an answer may take.

    Without a key only what everyone may ask is asked, at the exchange itself.  With one, orders go to the
    exchange's sandbox; real money needs two switches: ``sandbox=False`` and ``live=True``.  ``url`` puts a
    server on loopback in the exchange's place.  ``receive_window_ms`` is how old a signed request may be when
    the exchange gets it: after that it is refused, however long it was under way.
    """

    exchange: str
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    url: str | None = None
    sandbox: bool = True
    live: bool = False
    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    total_seconds: float = 15.0
    receive_window_ms: int = 5000

    def __post_init__(self) -> None:
        """Raise ConfigurationError, without a key in it, for what cannot or must not be used."""
        name = self.exchange
        if bool(self.key) != bool(self.secret):
            raise ConfigurationError(f"{name} needs both a key and its secret, or neither")
        if min(self.connect_seconds, self.read_seconds, self.total_seconds) <= 0:
            raise ConfigurationError(f"the timeouts of {name} must be above 0 seconds")
        if not 0 < self.receive_window_ms <= 60_000:
            raise ConfigurationError(f"the receive window of {name} must lie between 1 and 60000 ms")
        if self.url is not None and not _is_loopback(self.url):
            raise ConfigurationError(
                f"the address given for {name} must be a server on loopback, such as http://127.0.0.1:8080;"
                " leave it out for the exchange itself"
            )
        if self.live != (not self.sandbox):
            raise ConfigurationError(
                f"real money at {name} takes both sandbox=False and live=True,"
                f" but sandbox={self.sandbox} and live={self.live}"
            )
        if self.live and self.url is not None:
            raise ConfigurationError(f"{self.url} is not {name}: real money goes to no other address")


class ExchangeError(Exception):
    """No answer that can be used; ``reason`` has no key in it."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class ExchangeRefused(ExchangeError):
    """The exchange, or ccxt before it asked, said no: what was asked was certainly not done.

    ``kind`` is the name of ccxt's exception, such as OrderNotFound.
    """

    def __init__(self, reason: str, kind: str) -> None:
        """Keep what was said, and its kind."""
        super().__init__(reason)
        self.kind = kind


class ExchangeAmbiguous(ExchangeError):
    """A write that was sent, or may have been, and whose answer is lost: it may have been done."""


class ExchangeUnavailable(ExchangeError):
    """A question without an answer, or a write that certainly was not done.

    ``retry_after_seconds`` is the exchange's own wish, None without one.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """Keep reason and wish."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class ExchangeKeyRefused(ExchangeUnavailable):
    """The key, or what was signed with its secret, is not accepted: asking again mends nothing."""

    status: Final = 401


class ExchangeClient:
    """One exchange's client.  Its calls may come from any thread and are made one after the other."""

    def __init__(
        self,
        access: ExchangeAccess,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the client; no request is sent.

        Args:
            access: Which exchange, and who asks.
            now_ms: The wall clock, by which requests are stamped (corrected by the exchange's own).
            monotonic: By which the exchange's wish to be left alone is kept, seconds.

        Raises:
            ConfigurationError: ccxt is not installed or does not know the exchange, or the exchange has no
                sandbox and real money was not asked for.
        """
        self._ccxt = require("ccxt", "ccxt")
        if access.exchange not in self._ccxt.exchanges:
            raise ConfigurationError(f"ccxt knows no exchange '{access.exchange}'")
        self.access = access
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._in_step = False
        self._exchange = self._made()
        self._gate = _Gate(access, _hosts(self._exchange), monotonic, now_ms)
        self._exchange.session = self._gate

    @property
    def name(self) -> str:
        """The exchange's name at ccxt, such as ``binanceus``."""
        return self.access.exchange

    def can(self, ability: str) -> bool:
        """Say whether ccxt's description of the exchange claims an ability of its own, such as fetchOrder."""
        return self._exchange.has.get(ability) is True

    def markets(self, seconds: float | None = None) -> Mapping[str, Mapping[str, Any]]:
        """Return ccxt's markets by symbol, such as ``BTC/USD``; they are asked for once.

        Raises ExchangeUnavailable.
        """
        if not self._exchange.markets:
            self._exchange.markets = None
            self.call("load_markets", seconds=seconds)
        if not self._exchange.markets:
            raise ExchangeUnavailable(f"{self.name}: its list of markets cannot be read")
        markets: Mapping[str, Mapping[str, Any]] = self._exchange.markets
        return markets

    def timeframes(self) -> frozenset[str]:
        """Return the lengths of bars that the exchange has, such as ``15m``, in ccxt's words."""
        return frozenset(self._exchange.timeframes or ())

    def call(self, method: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - as ccxt answers
        """Call a method of ccxt's client and return what it returns, numbers as text.

        All requests of the call together end within ``seconds``, at most the access's total; a write is one
        request.  Rows of a list that cannot be read come as ``{"info": row}``.

        Raises ExchangeRefused, ExchangeUnavailable or ExchangeAmbiguous.
        """
        total = self.access.total_seconds
        ends = time.monotonic() + (total if seconds is None else min(total, seconds))
        if not self._lock.acquire(timeout=max(0.0, ends - time.monotonic())):
            raise ExchangeUnavailable(f"{self.name}: no time was left to ask")
        try:
            # ccxt sets the rounding and the traps of the context it works in.
            with localcontext():
                self._gate.begin(ends)
                failure: Exception
                try:
                    if method not in _NOT_SIGNED and not self._in_step:
                        self._keep_step()
                        self._gate.begin(ends)
                    return getattr(self._exchange, method)(*arguments)
                except Exception as error:  # judged below: ccxt raises whatever its parsing meets
                    failure = self._judged(error)
        finally:
            self._lock.release()
        # Raised after ccxt's own was left: that one may hold the key, and must be neither cause nor context.
        raise failure

    def close(self) -> None:
        """Drop the connections."""
        self._gate.close()

    def _made(self) -> Any:  # noqa: ANN401 - ccxt has no types
        access = self.access
        exchange = getattr(self._ccxt, access.exchange)(
            {
                "apiKey": access.key,
                "secret": access.secret,
                "number": str,
                "enableRateLimit": False,
                "requests_trust_env": False,
                "options": _SPOT_ONLY | {"recvWindow": access.receive_window_ms},
            }
        )
        exchange.has["fetchCurrencies"] = False
        exchange.milliseconds = self._now_ms
        exchange.logger = _SILENT
        exchange.verbose = False
        if access.key and access.url is None and not access.live:
            if access.exchange not in _SANDBOXES:
                raise ConfigurationError(
                    f"no sandbox of {access.exchange} is known: try the agent on a local exchange, or trade"
                    " real money, which takes both sandbox=False and live=True"
                )
            exchange.set_sandbox_mode(True)
        self._read_rows_one_by_one(exchange)
        return exchange

    @staticmethod
    def _read_rows_one_by_one(exchange: Any) -> None:  # noqa: ANN401 - ccxt has no types
        """Let an odd row cost that row, not the list."""
        parse_order, parse_trade = exchange.parse_order, exchange.parse_trade
        parse_ticker, parse_market = exchange.parse_ticker, exchange.parse_market
        parse_bar, parse_bars = exchange.parse_ohlcv, exchange.parse_ohlcvs

        def each(parse: Callable[..., Any]) -> Callable[..., list[Any]]:
            def parsed(rows: object, market: object = None, *_ignored: object) -> list[Any]:
                if not isinstance(rows, list):
                    raise _UnusableError("no list where one was asked for")
                return [_parsed_or_odd(parse, row, market) for row in rows]

            return parsed

        def tickers(rows: object, *_ignored: object) -> dict[str, Any]:
            found = [row for row in each(parse_ticker)(rows) if isinstance(row.get("symbol"), str)]
            if rows and not found:
                raise _UnusableError("tickers that cannot be read")
            return {ticker["symbol"]: ticker for ticker in found}

        def market_or_none(row: object) -> Any:  # noqa: ANN401 - as ccxt parses
            found = _parsed_or_odd(parse_market, row)
            return found if found is not None and found.get("symbol") else None

        def bars(rows: object, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - as ccxt parses
            # ccxt leaves out what has no time, and makes no bars of what is none: "there are none".
            if not isinstance(rows, list) or (
                rows and not any(type(parse_bar(row, *arguments[:1])[0]) is int for row in rows)
            ):
                raise _UnusableError("no bars that can be read")
            return parse_bars(rows, *arguments, **options)

        exchange.parse_ohlcvs = bars
        exchange.parse_orders = each(parse_order)
        exchange.parse_trades = each(parse_trade)
        exchange.parse_tickers = tickers
        exchange.parse_market = market_or_none

    def _keep_step(self) -> None:
        """Measure how far our clock is from the exchange's, which refuses requests that are stamped wrong."""
        before = self._now_ms()
        theirs = self._exchange.fetch_time()
        if type(theirs) is not int:
            raise _UnusableError("no time where one was asked for")
        self._exchange.options["timeDifference"] = (before + self._now_ms()) // 2 - theirs
        self._in_step = True

    def _judged(self, error: Exception) -> Exception:
        from adapters.vendors.exchanges import LostError

        gate, ccxt = self._gate, self._ccxt
        if isinstance(error, ConfigurationError):
            return error
        if isinstance(error, LostError | _UnusableError):
            return self._unheard(error.reason)
        if gate.status is None and isinstance(error, ccxt.ExchangeError):
            return ExchangeRefused(self._quoted(error), type(error).__name__)
        if gate.is_definite():
            words = self._quoted(gate.words())
            if isinstance(error, ccxt.AuthenticationError):
                return ExchangeKeyRefused(f"{self.name} does not accept the key: {words}")
            if isinstance(error, ccxt.InvalidNonce):
                self._in_step = False
                return ExchangeUnavailable(f"{self.name} does not accept the time of a request: {words}")
            if isinstance(error, ccxt.ExchangeError):
                return ExchangeRefused(words, _kind(error, words))
        if gate.status is not None and not 200 <= gate.status < 300:
            return self._unheard(f"HTTP {gate.status} {self._quoted(gate.words())}".rstrip())
        return self._unheard(f"an answer that cannot be read ({type(error).__name__})")

    def _unheard(self, reason: str) -> ExchangeError:
        text = f"{self.name}: {reason}"
        if self._gate.wrote:
            return ExchangeAmbiguous(text)
        return ExchangeUnavailable(text, self._gate.wish_seconds)

    def _quoted(self, words: object) -> str:
        return quoted(words, self.access.secret, self.access.key)


class _UnusableError(Exception):
    """An answer that is none, whatever its status."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Reply:
    """What ccxt looks at of a response of requests."""

    def __init__(self, answer: Answer, text: str) -> None:
        self.status_code = answer.status
        self.reason = ""
        self.headers = answer.headers
        self.content = answer.body
        self.text = text
        self.encoding = "utf-8"

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            from requests import HTTPError

            raise HTTPError(str(self.status_code))


class _Gate:
    """What ccxt takes for its session of requests: the one way out, and what came of the call under way."""

    def __init__(
        self,
        access: ExchangeAccess,
        hosts: frozenset[str],
        monotonic: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        import requests

        from adapters.vendors.exchanges import make_plain

        self._session: requests.Session = requests.Session()
        make_plain(self._session)
        self.headers: dict[str, str] = {}
        self.cookies = self._session.cookies
        self._access = access
        self._hosts = hosts
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._alone_until = 0.0
        self.begin(0.0)

    def begin(self, ends: float) -> None:
        """Forget the last call; this one ends at ``ends``, by time.monotonic."""
        self._ends = ends
        self.wrote = False  # a write was sent, or may have been
        self.status: int | None = None  # of the last answer
        self.wish_seconds: float | None = None  # so long the exchange wants no request
        self._said: object = None

    def close(self) -> None:
        self._session.close()

    def request(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_settings: object,
    ) -> _Reply:
        """Send one request.  The timeouts, proxies and switches that ccxt passes on are not used."""
        from adapters.vendors.exchanges import LostError, exchange

        target = self._target(url)
        wait = self._alone_until - self._monotonic()
        if wait > 0:
            self.wish_seconds = wait
            raise _UnusableError(f"it asked to be left alone for another {wait:.0f} s")
        seconds = self._ends - time.monotonic()
        if seconds <= 0:
            raise _UnusableError("no time was left to ask")
        writes = method.upper() not in ("GET", "HEAD")
        try:
            answer = exchange(
                self._session,
                method,
                target,
                connect_seconds=min(self._access.connect_seconds, seconds),
                read_seconds=min(self._access.read_seconds, seconds),
                total_seconds=seconds,
                data=data,
                headers=headers,
            )
        except LostError as lost:
            self.wrote = self.wrote or (writes and lost.sent)
            raise
        self.wrote = self.wrote or writes
        return self._read(answer)

    def _read(self, answer: Answer) -> _Reply:
        self.status = answer.status
        self._note_limit(answer)
        text = answer.body.decode(errors="replace")
        self._said = _json_or_none(text)
        if 300 <= answer.status < 400:
            raise _UnusableError(f"a redirect, which is not followed (HTTP {answer.status})")
        if answer.status < 300 and self._said is None:
            raise _UnusableError("an answer that is no JSON" if text.strip() else "an empty answer")
        return _Reply(answer, text)

    def is_definite(self) -> bool:
        """Say whether the last answer is the exchange's own and certain no: 4xx, with a code of its own."""
        if self.status is None or not 400 <= self.status < 500 or self.status in _BUSY:
            return False
        return isinstance(self._said, dict) and isinstance(self._said.get("code"), int)

    def words(self) -> str:
        """Return what the exchange said of an error, with its code."""
        if not isinstance(self._said, dict):
            return ""
        return f"{self._said.get('msg') or self._said.get('message')} ({self._said.get('code')})"

    def _note_limit(self, answer: Answer) -> None:
        """Keep to Retry-After: who goes on asking after a 429 is banned (418)."""
        if answer.status in (418, 429):
            self.wish_seconds = retry_after_seconds(answer.headers, self._now_ms())
            self._alone_until = self._monotonic() + (self.wish_seconds or 0.0)

    def _target(self, url: str) -> str:
        """Return where a request really goes; ConfigurationError where that is not the exchange."""
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname not in self._hosts:
            raise ConfigurationError(f"a request to another address than {self._access.exchange}'s")
        if self._access.url is None:
            return url
        ours = urlsplit(self._access.url)
        return urlunsplit((ours.scheme, ours.netloc, parts.path, parts.query, ""))


def _parsed_or_odd(parse: Callable[..., Any], row: object, *market: object) -> Any:  # noqa: ANN401 - as ccxt parses
    try:
        return parse(row, *market)
    except Exception as error:  # ccxt's parsing raises whatever it meets in a row that it does not expect
        _log.warning("a row that cannot be read (%s)", type(error).__name__)
        return {"info": row}


def _json_or_none(text: str) -> object:
    """Return a JSON object or list whose fractions are text as written; None for anything else."""
    try:
        said = json.loads(text, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict | list) else None


def _kind(error: Exception, words: str) -> str:
    """Return the name of ccxt's exception; Binance's duplicate id is told by its words alone."""
    return "DuplicateOrderId" if "duplicate" in words.lower() else type(error).__name__


def _hosts(exchange: Any) -> frozenset[str]:  # noqa: ANN401 - ccxt has no types
    """Return the servers that ccxt's description names for an exchange (its sandbox's, if switched on)."""
    found: set[str] = set()
    waiting = [exchange.urls["api"]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, str):
            host = urlsplit(exchange.implode_hostname(one)).hostname
            if host:
                found.add(host)
    return frozenset(found)


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = f"{parts.scheme}://{parts.netloc}" == url and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return plain and parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK
