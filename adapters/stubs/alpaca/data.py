"""The market data API: latest quotes, trades and bars, snapshots, and bars page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.stubs.alpaca.prices import DAY, MINUTE, Page, Prices, Ticker, bar_json, day_before, timeframe_ms
from adapters.stubs.alpaca.refusal import Refusal, bad_request
from adapters.stubs.alpaca.venue import Venue
from adapters.stubs.alpaca.wire import parsed_instant
from engine.model import Bar

_CRYPTO_SYMBOL: Final = re.compile(r"[A-Z]+/[A-Z]+")
_LOCATIONS: Final = ("us", "us-1", "us-2", "eu-1", "bs-1")
_LATEST_FEEDS: Final = ("delayed_sip", "iex", "otc", "sip", "boats", "overnight")
_HISTORICAL_FEEDS: Final = ("iex", "otc", "sip", "boats")
_RECENT_MS: Final = 15 * 60_000
_RECENT_DAYS_MS: Final = 7 * 86_400_000
_USUAL_LIMIT: Final = 1000
_MOST: Final = 10_000

Document = dict[str, object]


def data_routes(venue: Venue, written: Callable[[object], str], *, sip: bool) -> list[web.RouteDef]:
    """Return the routes of the market data.

    ``written`` makes the body of an answer; ``sip`` says whether that feed may be read up to now.
    """
    stocks, crypto = _Data(venue, is_crypto=False, sip=sip), _Data(venue, is_crypto=True, sip=sip)

    def answered(answer: Callable[[web.Request], Document]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response(text=written(answer(request)))

        return handler

    pairs = "/v1beta3/crypto/{loc}"
    return [
        web.get("/v2/stocks/quotes/latest", answered(stocks.latest_quotes)),
        web.get("/v2/stocks/trades/latest", answered(stocks.latest_trades)),
        web.get("/v2/stocks/bars/latest", answered(stocks.latest_bars)),
        web.get("/v2/stocks/bars", answered(stocks.bars)),
        web.get("/v2/stocks/snapshots", answered(stocks.snapshots)),
        web.get(f"{pairs}/latest/quotes", answered(crypto.latest_quotes)),
        web.get(f"{pairs}/latest/trades", answered(crypto.latest_trades)),
        web.get(f"{pairs}/latest/bars", answered(crypto.latest_bars)),
        web.get(f"{pairs}/bars", answered(crypto.bars)),
        web.get(f"{pairs}/snapshots", answered(lambda request: {"snapshots": crypto.snapshots(request)})),
    ]


class _Data:
    """The market data of one class of assets."""

    def __init__(self, venue: Venue, *, is_crypto: bool, sip: bool) -> None:
        self._venue = venue
        self._is_crypto = is_crypto
        self._sip = sip

    def _recent(self, symbol: str, timeframe: str) -> Sequence[Bar]:
        """Return the bars of the last days: longer than any holiday."""
        now = self._venue.now_ms()
        return self._prices.series(symbol, timeframe, self._is_crypto, now - _RECENT_DAYS_MS, now)

    @property
    def _prices(self) -> Prices:
        return self._venue.prices

    def latest_quotes(self, request: web.Request) -> Document:
        tickers = self._tickers(request)
        return {"quotes": {symbol: ticker.quote_json(self._is_crypto) for symbol, ticker in tickers}}

    def latest_trades(self, request: web.Request) -> Document:
        tickers = self._tickers(request)
        return {"trades": {symbol: ticker.trade_json(self._is_crypto) for symbol, ticker in tickers}}

    def latest_bars(self, request: web.Request) -> Document:
        bars: Document = {}
        for symbol in self._symbols(request):
            series = self._recent(symbol, MINUTE)
            if series:
                bars[symbol] = bar_json(series[-1], self._is_crypto)
        return {"bars": bars}

    def snapshots(self, request: web.Request) -> Document:
        snapshots: Document = {}
        for symbol, ticker in self._tickers(request):
            snapshot: Document = {
                "latestQuote": ticker.quote_json(self._is_crypto),
                "latestTrade": ticker.trade_json(self._is_crypto),
            }
            minutes = self._recent(symbol, MINUTE)
            days = self._recent(symbol, DAY)
            for name, series, back in (
                ("minuteBar", minutes, 1),
                ("dailyBar", days, 1),
                ("prevDailyBar", days, 2),
            ):
                if len(series) >= back:
                    snapshot[name] = bar_json(series[-back], self._is_crypto)
            snapshots[symbol] = snapshot
        return snapshots

    def bars(self, request: web.Request) -> Document:
        query = request.query
        symbols = self._symbols(request, latest=False)
        timeframe = query.get("timeframe", "")
        timeframe_ms(timeframe)  # a refusal where it is none
        now = self._venue.now_ms()
        page = Page(
            start_ms=_instant(request, "start", day_before(now)),
            end_ms=_instant(request, "end", now),
            limit=_limit(request),
            descending=_descending(request),
            token=query.get("page_token") or None,
        )
        if (
            not self._is_crypto
            and query.get("feed") == "sip"
            and not self._sip
            and page.end_ms > now - _RECENT_MS
        ):
            raise Refusal(403, None, "subscription does not permit querying recent SIP data")

        def read(symbol: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
            return self._prices.series(symbol, timeframe, self._is_crypto, start_ms, end_ms)

        found, token = page.of(symbols, read, self._prices.stretch_ms(timeframe))
        bars = {symbol: [bar_json(bar, self._is_crypto) for bar in bars] for symbol, bars in found.items()}
        return {"bars": bars, "next_page_token": token}

    def _tickers(self, request: web.Request) -> Iterator[tuple[str, Ticker]]:
        for symbol in self._symbols(request):
            ticker = self._venue.ticker(symbol)
            if ticker is not None:
                yield symbol, ticker

    def _symbols(self, request: web.Request, *, latest: bool = True) -> list[str]:
        """Return the symbols that were asked for; what is not known is left out later, silently."""
        symbols = [part for part in request.query.get("symbols", "").split(",") if part]
        if not symbols:
            raise bad_request("symbols is required")
        if self._is_crypto:
            for symbol in symbols:
                if not _CRYPTO_SYMBOL.fullmatch(symbol):
                    raise bad_request(f"invalid symbol: {symbol} does not match ^[A-Z]+/[A-Z]+$")
            if request.match_info["loc"] not in _LOCATIONS:
                raise bad_request("invalid location")
            return list(dict.fromkeys(symbols))
        for symbol in symbols:
            if not re.fullmatch(r"[A-Z.]+", symbol):
                raise bad_request(f"invalid symbol: {symbol}")
        feed = request.query.get("feed")
        if feed and feed not in (_LATEST_FEEDS if latest else _HISTORICAL_FEEDS):
            raise bad_request(f"invalid feed: {feed}")
        if latest and feed == "sip" and not self._sip:
            raise Refusal(403, None, "subscription does not permit querying recent SIP data")
        return list(dict.fromkeys(symbols))


def _instant(request: web.Request, name: str, usual: int) -> int:
    written = request.query.get(name)
    if not written:
        return usual
    try:
        return parsed_instant(written) // 1000
    except (ValueError, OverflowError):
        raise bad_request(f"invalid {name}: {written}") from None


def _limit(request: web.Request) -> int:
    written = request.query.get("limit") or str(_USUAL_LIMIT)
    if not (written.isascii() and written.isdigit() and len(written) < 10 and 1 <= int(written) <= _MOST):
        raise bad_request("invalid limit: it must be between 1 and 10000")
    return int(written)


def _descending(request: web.Request) -> bool:
    sort = request.query.get("sort") or "asc"
    if sort not in ("asc", "desc"):
        raise bad_request(f"invalid sort: {sort}")
    return sort == "desc"
