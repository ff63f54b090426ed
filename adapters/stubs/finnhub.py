"""A Finnhub on loopback: ``/quote``, with its zeros for symbols it does not know."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from aiohttp import web

from adapters.stubs.board import QuoteStub

_UNKNOWN: Final[dict[str, float | None]] = {
    "c": 0,
    "d": None,
    "dp": None,
    "h": 0,
    "l": 0,
    "o": 0,
    "pc": 0,
    "t": 0,
}


class FinnhubStub(QuoteStub):
    """Finnhub's quotes.  ``not_paid_for`` are symbols that the key has no access to."""

    not_paid_for: frozenset[str] = frozenset()

    def _route(self, router: web.UrlDispatcher) -> None:
        # The client writes two slashes, and the service takes it.
        router.add_get("/{slashes:/?}quote", self._quote)

    async def _quote(self, request: web.Request) -> web.Response:
        given = request.headers.get("X-Finnhub-Token") or request.query.get("token")
        if self.key is not None and given != self.key:
            return web.json_response({"error": "Invalid API key"}, status=401)
        symbol = request.query.get("symbol", "")
        if symbol in self.not_paid_for:
            return web.json_response({"error": "You don't have access to this resource."}, status=403)
        found = self.price(symbol)
        return web.json_response(_UNKNOWN if found is None else _quoted(*found))


def _quoted(price: Decimal, at_ms: int) -> dict[str, float]:
    day = {"h": price * Decimal("1.02"), "l": price * Decimal("0.98"), "o": price, "pc": price}
    return {
        "c": float(price),
        "d": 0.0,
        "dp": 0.0,
        **{k: float(v) for k, v in day.items()},
        "t": at_ms // 1000,
    }
