"""A source over real HTTP on loopback, and the server it asks: for what virtual time cannot show."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlsplit

from aiohttp import web

from adapters.quotes.source import Answer, SourceFailedError, SourceQuote
from adapters.stubs.serving import LoopbackServer
from engine.model import AssetClass, QuoteKind


def quotes_server(answer_seconds: float = 0.0) -> LoopbackServer:
    """Serve ``/good`` after so long, ``/limited`` as 429 with Retry-After, ``/hangs`` never."""

    async def good(request: web.Request) -> web.Response:
        await asyncio.sleep(answer_seconds)
        stamp_ms = time.time_ns() // 1_000_000
        symbols = request.query["symbols"].split(",")
        return web.json_response({symbol: {"p": 100.25, "t": stamp_ms} for symbol in symbols})

    async def limited(request: web.Request) -> web.Response:
        return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "30"})

    async def hangs(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    application = web.Application()
    application.router.add_get("/good", good)
    application.router.add_get("/limited", limited)
    application.router.add_get("/hangs", hangs)
    return LoopbackServer(application)


class HttpSource:
    """A blocking client.  With ``obeys`` it keeps the timeout it is given, else it waits for a minute."""

    def __init__(self, name: str, url: str, batch: int, *, obeys: bool = True) -> None:
        """Ask at an address on loopback."""
        self.name = name
        self.batch = batch
        self._obeys = obeys
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Make one request."""
        connection = HTTPConnection(self._host, self._port, timeout=timeout_seconds if self._obeys else 60.0)
        try:
            connection.request("GET", f"{self._path}?symbols={quote(','.join(spellings))}")
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            raise SourceFailedError(type(error).__name__) from None
        finally:
            connection.close()
        if response.status != 200:
            after = response.getheader("Retry-After")
            raise SourceFailedError(f"HTTP {response.status}", None if after is None else float(after))
        now_ms = time.time_ns() // 1_000_000
        told = json.loads(body, parse_float=Decimal)
        return {
            symbol: SourceQuote(
                quoted["p"], quoted["p"], quoted["p"], "USD", QuoteKind.TRADE, quoted["t"], now_ms
            )
            for symbol, quoted in told.items()
        }
