"""A Yahoo on loopback, with TLS, behind a proxy that leads its hosts here: charts, cookies and crumbs.

Give a client ``proxy_url`` as its proxy and ``certificate`` as the authority to trust.
"""

from __future__ import annotations

import ssl
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web

from adapters.extras import require
from adapters.stubs.board import QuoteStub
from adapters.stubs.proxy import ConnectProxy
from adapters.stubs.serving import LoopbackServer
from engine.model import Bar

_FAMILY: Final = ".yahoo.com"
_HOSTS: Final = ("*.yahoo.com", "*.finance.yahoo.com")
_CRUMB: Final = "a.Crumb/Of1"
_DAY_SECONDS: Final = 86_400
_YEAR_SECONDS: Final = 365 * _DAY_SECONDS


class YahooStub(QuoteStub):
    """Yahoo's charts.  ``crumbs_refused`` answers every request for a crumb with 429, as Yahoo likes to do.

    ``charts_refused`` is the status (401, 403) that every chart is answered with, as where cookies are bad.
    ``currencies`` are those of symbols that are not in US dollars.  ``history`` has the bars of symbols whose
    own were not set: by symbol, interval in Yahoo's words, first and last opening time; with their time zone.
    """

    history: Callable[[str, str, int, int], tuple[str, Sequence[Bar]] | None] | None = None

    crumbs_refused = False
    charts_refused: int | None = None

    def __init__(self, *, port: int = 0, prices: Mapping[str, Decimal] | None = None) -> None:
        """Listen; ``port`` is the proxy's, 0 takes a free one.  See ``QuoteStub``.

        Raises:
            ConfigurationError: The library that makes certificates is not installed.
        """
        self.currencies: dict[str, str] = {}
        self._bars: dict[tuple[str, str], tuple[str, Sequence[Bar]]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="tradectl-yahoo-")
        trustme = require("trustme", "stub")
        authority = trustme.CA()
        self.certificate = Path(self._folder.name) / "authority.pem"
        authority.cert_pem.write_to_path(self.certificate)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*_HOSTS).configure_cert(self._tls)
        super().__init__(prices=prices)
        self._proxy = ConnectProxy(self._server, _FAMILY, port)

    @property
    def proxy_url(self) -> str:
        """The proxy's address."""
        return self._proxy.url

    @property
    def hosts(self) -> list[str]:
        """Every host that the proxy was asked for, in order."""
        return self._proxy.hosts

    def set_bars(self, symbol: str, interval: str, bars: Sequence[Bar], zone: str = "UTC") -> None:
        """Serve bars of an interval in Yahoo's words (15m, 1d); ``zone`` is the exchange's time zone."""
        self._bars[symbol, interval] = zone, bars

    def close(self) -> None:
        """Stop listening and remove the certificate."""
        if Path(self._folder.name).exists():
            self._proxy.close()
            super().close()
            self._folder.cleanup()

    def _serve(self, port: int) -> LoopbackServer:
        return LoopbackServer(self._application, port, tls=self._tls)

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._cookie)
        router.add_get("/v1/test/getcrumb", self._crumb)
        router.add_get("/v8/finance/chart/{symbol}", self._chart)

    async def _cookie(self, request: web.Request) -> web.Response:
        """Answer fc.yahoo.com: there is nothing there but a cookie."""
        response = web.Response(status=404, text="Not Found")
        response.set_cookie("A3", "d=stub", domain=_FAMILY, max_age=_YEAR_SECONDS, secure=True, httponly=True)
        return response

    async def _crumb(self, request: web.Request) -> web.Response:
        if self.crumbs_refused:
            return web.Response(status=429, text="Too Many Requests\r\n")
        return web.Response(text=_CRUMB)

    async def _chart(self, request: web.Request) -> web.Response:
        if self.charts_refused is not None:
            error = {"code": "Unauthorized", "description": "Invalid Crumb"}
            return web.json_response(
                {"finance": {"result": None, "error": error}}, status=self.charts_refused
            )
        symbol, query = request.match_info["symbol"], request.query
        stored = self._bars.get((symbol, query.get("interval", "")))
        if stored is None and self.history is not None and "period1" in query:
            first_ms, last_ms = int(query["period1"]) * 1000, int(query["period2"]) * 1000 - 1
            stored = self.history(symbol, query.get("interval", ""), first_ms, last_ms)
        if stored is not None and "period1" in query:
            zone, bars = stored
            start_ms, end_ms = int(query["period1"]) * 1000, int(query["period2"]) * 1000
            found_bars = [bar for bar in bars if start_ms <= bar.open_time_ms < end_ms]
            history = _history(
                symbol, self.currencies.get(symbol, "USD"), zone, query["interval"], found_bars
            )
            return web.json_response({"chart": {"result": [history], "error": None}})
        found = self.price(symbol)
        if found is None:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return web.json_response({"chart": {"result": None, "error": error}}, status=404)
        result = _charted(symbol, self.currencies.get(symbol, "USD"), *found)
        return web.json_response({"chart": {"result": [result], "error": None}})


def _history(symbol: str, currency: str, zone: str, interval: str, bars: Sequence[Bar]) -> dict[str, object]:
    """Return a chart of bars; a bar that did not trade is a row of nulls, as Yahoo writes it."""
    at_seconds = bars[-1].open_time_ms // 1000 if bars else 0
    chart = _charted(
        symbol, currency, Decimal(repr(bars[-1].close)) if bars else Decimal(1), at_seconds * 1000
    )
    metadata: dict[str, Any] = chart["meta"]
    metadata |= {"exchangeTimezoneName": zone, "dataGranularity": interval}
    days: dict[date, list[int]] = {}
    for bar in bars:
        seconds = bar.open_time_ms // 1000
        days.setdefault(datetime.fromtimestamp(seconds, ZoneInfo(zone)).date(), []).append(seconds)
    metadata["tradingPeriods"] = [
        [{"timezone": zone, "gmtoffset": 0, "start": opens[0], "end": opens[-1] + 1}]
        for opens in days.values()
    ]
    chart["timestamp"] = [bar.open_time_ms // 1000 for bar in bars]
    columns = {
        name: [_single(getattr(bar, name)) if bar.traded else None for bar in bars]
        for name in ("open", "high", "low", "close", "volume")
    }
    chart["indicators"] = {"quote": [columns if bars else {}], "adjclose": [{"adjclose": columns["close"]}]}
    if not bars:
        del chart["timestamp"]
    return chart


def _single(number: float) -> float:
    """Return a number as Yahoo's single precision leaves it: 681.69 as 681.6900024414062."""
    single: float = struct.unpack("f", struct.pack("f", number))[0]
    return single


def _charted(symbol: str, currency: str, price: Decimal, at_ms: int) -> dict[str, Any]:
    at_seconds, shown = at_ms // 1000, float(price)
    day_start = at_seconds // _DAY_SECONDS * _DAY_SECONDS
    zone = {"timezone": "UTC", "gmtoffset": 0}
    bounds = {"pre": 0, "regular": _DAY_SECONDS // 2, "post": _DAY_SECONDS}
    periods = {name: {**zone, "start": day_start, "end": day_start + end} for name, end in bounds.items()}
    row = {name: [shown] for name in ("open", "high", "low", "close")}
    return {
        "meta": {
            "currency": currency,
            "symbol": symbol,
            "exchangeName": "PCX",
            "fullExchangeName": "NYSEArca",
            "instrumentType": "CRYPTOCURRENCY" if symbol.endswith("-USD") else "EQUITY",
            "firstTradeDate": 728_317_800,
            "regularMarketTime": at_seconds,
            "hasPrePostMarketData": True,
            "gmtoffset": 0,
            "timezone": "UTC",
            "exchangeTimezoneName": "UTC",
            "regularMarketPrice": shown,
            "fiftyTwoWeekHigh": shown,
            "fiftyTwoWeekLow": shown,
            "regularMarketDayHigh": shown,
            "regularMarketDayLow": shown,
            "regularMarketVolume": 99_309_328,
            "longName": symbol,
            "shortName": symbol,
            "chartPreviousClose": shown,
            "priceHint": 2,
            "currentTradingPeriod": periods,
            "dataGranularity": "1d",
            "range": "1d",
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        },
        "timestamp": [day_start],
        "indicators": {"quote": [{**row, "volume": [99_309_328]}], "adjclose": [{"adjclose": [shown]}]},
    }
