"""A Twelve Data on loopback: ``/quote`` of one symbol or several, with its errors inside HTTP 200."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from aiohttp import web

from adapters.stubs.board import QuoteStub

_DAY_SECONDS: Final = 86_400
_NOT_FOUND: Final = {
    "code": 404,
    "message": "**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol "
    "according to API documentation: https://twelvedata.com/docs#reference-data",
    "status": "error",
}
_BAD_KEY: Final = {
    "code": 401,
    "message": "**apikey** parameter is incorrect or not specified.",
    "status": "error",
}


class TwelveDataStub(QuoteStub):
    """Twelve Data's quotes.  ``credits_left`` None is without end; each symbol of a call costs one."""

    credits_left: int | None = None

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_get("/quote", self._quote)

    async def _quote(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("apikey ")
        if self.key is not None and self.key not in (given, request.query.get("apikey")):
            return web.json_response(_BAD_KEY, status=401)
        symbols = [symbol for symbol in request.query.get("symbol", "").split(",") if symbol]
        if not symbols:
            return web.json_response(_NOT_FOUND)
        answers = {symbol: self._answer(symbol) for symbol in symbols}
        return web.json_response(answers[symbols[0]] if len(symbols) == 1 else answers)

    def _answer(self, symbol: str) -> dict[str, object]:
        if self.credits_left is not None:
            if self.credits_left <= 0:
                return {
                    "code": 429,
                    "message": "You have run out of API credits for the current minute. 9 API credits were "
                    "used, with the current limit being 8. Wait for the next minute or consider switching "
                    "to a higher tier plan at https://twelvedata.com/pricing",
                    "status": "error",
                }
            self.credits_left -= 1
        found = self.price(symbol)
        return dict(_NOT_FOUND) if found is None else _quoted(symbol, *found)


def _quoted(symbol: str, price: Decimal, at_ms: int) -> dict[str, object]:
    at_seconds = at_ms // 1000
    day_start = at_seconds // _DAY_SECONDS * _DAY_SECONDS
    pair = "/" in symbol
    listing = (
        {"exchange": "Coinbase Pro"}
        if pair
        else {"exchange": "NASDAQ", "mic_code": "XNGS", "currency": "USD"}
    )
    return {
        "symbol": symbol,
        "name": symbol,
        **listing,
        "datetime": datetime.fromtimestamp(at_seconds, UTC).date().isoformat(),
        # The start of the day's bar; the price is as old as last_quote_at.
        "timestamp": day_start,
        "last_quote_at": at_seconds,
        "open": str(price),
        "high": str(price * Decimal("1.02")),
        "low": str(price * Decimal("0.98")),
        "close": str(price),
        "volume": "1195050000",
        "previous_close": str(price),
        "change": "0.00000",
        "percent_change": "0.00000",
        "average_volume": "4489910000",
        "is_market_open": pair,
    }
