"""What the servers of quotes have in common: prices that can be set, faults, and what they were asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from adapters.stubs.faults import FaultPlan, Handler, NoFaults, fault_middleware
from adapters.stubs.serving import LoopbackServer


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class QuoteStub:
    """A server on loopback whose prices are set by hand; a context manager.

    ``plan`` may be exchanged at any time; ``requests`` is every request in its order, faulty or not.
    """

    key: str | None
    """The key that is asked for; None lets everyone in."""

    def __init__(
        self, *, port: int = 0, key: str | None = None, prices: Mapping[str, Decimal] | None = None
    ) -> None:
        """Listen.

        Args:
            port: 0 takes a free one.
            key: Requests without it are refused as the vendor refuses them; None lets everyone in.
            prices: By the vendor's own spelling; they are quoted with the time at which they are asked for.
        """
        self.plan: FaultPlan = NoFaults()
        self.requests: list[Asked] = []
        self.key = key
        self._prices: dict[str, tuple[Decimal, int | None]] = {}
        for spelling, price in (prices or {}).items():
            self.set_price(spelling, price)
        self._application = web.Application(
            middlewares=[_recording(self.requests), fault_middleware(lambda: self.plan)]
        )
        self._route(self._application.router)
        self._server = self._serve(port)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self._server.url

    def set_price(self, spelling: str, price: Decimal, at_ms: int | None = None) -> None:
        """Quote a symbol at a price of that time; None: of the time at which it is asked for."""
        self._prices[spelling] = (price, at_ms)

    def forget(self, spelling: str) -> None:
        """Know the symbol no more."""
        self._prices.pop(spelling, None)

    def price(self, spelling: str) -> tuple[Decimal, int] | None:
        """Return a symbol's price and its time, whole seconds in milliseconds; None if it is not known."""
        found = self._prices.get(spelling)
        if found is None:
            return None
        price, at_ms = found
        return price, (time.time_ns() // 1_000_000 if at_ms is None else at_ms) // 1000 * 1000

    def close(self) -> None:
        """Stop listening.  Safe to call twice."""
        self._server.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _route(self, router: web.UrlDispatcher) -> None:
        """Add the vendor's paths."""
        raise NotImplementedError

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._application, port)


def _recording(requests: list[Asked]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        requests.append(
            Asked(request.method, request.host, request.path, dict(request.query), dict(request.headers))
        )
        return await handler(request)

    return middleware
