"""The local Alpaca as a server: every route of its trading and market data that we use, on one port."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from adapters.stubs.alpaca.assets import DEFAULT_ASSETS, Asset
from adapters.stubs.alpaca.data import data_routes
from adapters.stubs.alpaca.refusal import Refusal
from adapters.stubs.alpaca.sessions import CalendarSessions, Weekdays
from adapters.stubs.alpaca.streams import CRYPTO_PATH, STOCKS_PATH, TRADING_PATH, Streams
from adapters.stubs.alpaca.trading import trading_routes
from adapters.stubs.alpaca.venue import Venue
from adapters.stubs.faults import Fault, FaultPlan, NoFaults, fault_middleware
from adapters.stubs.serving import LoopbackServer
from engine.runtime.ports import Calendar, Clock

_KEY_HEADER: Final = "APCA-API-KEY-ID"
_SECRET_HEADER: Final = "APCA-API-SECRET-KEY"
_MINUTE_MS: Final = 60_000
_LARGEST_BODY: Final = 1_000_000


@dataclass(slots=True)
class _Logged:
    """One request; ``outcome`` is its status, the fault it met, or "pending" until it is known."""

    method: str
    path: str
    outcome: str = "pending"


_under_way: ContextVar[_Logged] = ContextVar("request")


class AlpacaStub:
    """A local Alpaca, from its making until ``close``; a context manager.

    Attributes:
        key_id: The API key it accepts.
        secret: The secret it accepts.
        venue: The account and its market.
        plan: The faults that requests meet; may be replaced at any time.
        requests_per_minute: How many requests are answered in a minute of the clock; None for any number.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        key_id: str = "PKSTUB",
        secret: str = "stub-secret",
        port: int = 0,
        cash: Decimal = Decimal(10_000),
        assets: Iterable[Asset] | None = None,
        calendar: Calendar | None = None,
        requests_per_minute: int | None = None,
        sip: bool = False,
    ) -> None:
        """Listen on loopback; ``port`` 0 takes a free one.

        Args:
            clock: Says what time it is at the venue.
            key_id: The API key to accept.
            secret: The secret to accept.
            port: Where to listen.
            cash: The account's money in US dollars.
            assets: Further assets beside ``DEFAULT_ASSETS``, or others in the place of some of them.
            calendar: Knows the sessions of the NYSE; without one they are weekdays, 09:30 to 16:00.
            requests_per_minute: The rate limit, if any.
            sip: Whether the account may read recent data of the feed "sip"; it costs at the real one.

        Raises:
            UnavailableError: The port is taken.
        """
        self.key_id = key_id
        self.secret = secret
        self.plan: FaultPlan = NoFaults()
        self.requests_per_minute = requests_per_minute
        listed = {asset.symbol: asset for asset in (*DEFAULT_ASSETS, *(assets or ()))}
        sessions = Weekdays() if calendar is None else CalendarSessions(calendar)
        self.venue = Venue(clock, list(listed.values()), cash, sessions)
        self._log: list[_Logged] = []
        self._lock = threading.Lock()
        self._minute = -1
        self._asked = 0
        middlewares = [self._logging, fault_middleware(lambda: _Noted(self.plan)), self._answering]
        application = web.Application(middlewares=middlewares, client_max_size=_LARGEST_BODY)
        application.add_routes(trading_routes(self.venue, self.written))
        application.add_routes(data_routes(self.venue, self.written, sip=sip))
        self._streams = Streams(self.venue, self.accepts)
        application.add_routes(self._streams.routes())
        self._server = LoopbackServer(application, port)
        self._server.call(self._streams.start())

    def written(self, document: object) -> str:
        """Return the body of an answer other than a refusal."""
        return json.dumps(document)

    # --- where it is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The trading API's address, without ``/v2``."""
        return self._server.url

    @property
    def data_url(self) -> str:
        """The market data's address, without a version."""
        return self._server.url

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def stream_url(self) -> str:
        """The whole address of the trade updates."""
        return self._server.websocket_url + TRADING_PATH

    @property
    def stock_stream_url(self) -> str:
        """The whole address of the stream of stocks' market data."""
        return self._server.websocket_url + STOCKS_PATH

    @property
    def crypto_stream_url(self) -> str:
        """The whole address of the stream of crypto's market data."""
        return self._server.websocket_url + CRYPTO_PATH

    # --- streams -------------------------------------------------------------------------------

    def drop_streams(self) -> None:
        """End every websocket without a word; what happens until they are back is lost to them."""
        self._server.call(self._streams.drop())

    def mute_streams(self) -> None:
        """Leave every websocket open, and say nothing more."""
        self._streams.mute(True)

    def unmute_streams(self) -> None:
        """Speak again; what happened meanwhile is lost."""
        self._streams.mute(False)

    def listeners(self, kind: str) -> int:
        """Return how many websockets ("trading", "stocks" or "crypto") have subscribed to something."""
        return self._streams.count(kind)

    def wait_for_listeners(self, kind: str, count: int = 1, timeout_seconds: float = 10.0) -> None:
        """Return when so many websockets of a kind have subscribed; TimeoutError if they do not."""
        if not self._streams.wait_for(kind, count, timeout_seconds):
            raise TimeoutError(f"no {count} listeners to {kind} within {timeout_seconds:g} s")

    # --- what it was asked ---------------------------------------------------------------------

    @property
    def requests(self) -> list[tuple[str, str, str]]:
        """Method, path and outcome of each request: a status, a fault's name, or "pending"."""
        with self._lock:
            return [(logged.method, logged.path, logged.outcome) for logged in self._log]

    def count(self, method: str, path_part: str = "") -> int:
        """Return how many requests of a method came in whose path holds ``path_part``."""
        return sum(asked == method and path_part in path for asked, path, _ in self.requests)

    def close(self) -> None:
        """Stop.  Safe to call twice."""
        self._server.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # --- middlewares, the outermost first ------------------------------------------------------

    @property
    def _logging(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            logged = _Logged(request.method, request.path)
            _under_way.set(logged)
            with self._lock:
                self._log.append(logged)
            response = await handler(request)
            if logged.outcome == "pending":
                logged.outcome = str(response.status)
            return response

        return middleware

    @property
    def _answering(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await handler(request)
            headers = self._counted()
            try:
                self._check_rate()
                self._check_key(request)
                response = await handler(request)
            except Refusal as refusal:
                response = web.json_response(refusal.body, status=refusal.status)
            except web.HTTPException as error:
                words = "endpoint not found." if error.status == 404 else f"{error.reason}."
                response = web.json_response({"message": words.lower()}, status=error.status)
            response.headers.update(headers)
            return response

        return middleware

    def _check_key(self, request: web.Request) -> None:
        if not self.accepts(request.headers.get(_KEY_HEADER, ""), request.headers.get(_SECRET_HEADER, "")):
            raise Refusal(401, None, "unauthorized.")

    def accepts(self, key_id: str, secret: str) -> bool:
        """Say whether a key and its secret are the right ones."""
        return hmac.compare_digest(f"{key_id}\n{secret}".encode(), f"{self.key_id}\n{self.secret}".encode())

    def _counted(self) -> dict[str, str]:
        """Count a request; return the headers that say how many are left in this minute."""
        limit = self.requests_per_minute
        if limit is None:
            return {}
        minute = self.venue.now_ms() // _MINUTE_MS
        if minute != self._minute:
            self._minute, self._asked = minute, 0
        self._asked += 1
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(limit - self._asked, 0)),
            "X-RateLimit-Reset": str((minute + 1) * _MINUTE_MS // 1000),
        }

    def _check_rate(self) -> None:
        if self.requests_per_minute is not None and self._asked > self.requests_per_minute:
            raise Refusal(429, 42910000, "rate limit exceeded")


@dataclass(frozen=True, slots=True)
class _Noted:
    """A plan whose faults are noted with the request that met them."""

    plan: FaultPlan

    def fault(self, method: str, path: str) -> Fault | None:
        fault = self.plan.fault(method, path)
        if fault is not None:
            _under_way.get().outcome = str(fault)
        return fault
