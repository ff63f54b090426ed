"""Bars of stocks and crypto from Alpaca, a page of up to 10,000 a request.

What its bars are, and what is done about it here:

* ``t`` is the bar's start; ``end`` is inclusive;
* a day of stocks is labelled midnight in New York (05:00Z, in summer 04:00Z), here the date at 00:00Z;
* intraday bars of stocks are aligned to the clock's hour, ours to the session's open: the two agree up to
  30 minutes, and longer bars are made of those;
* a day of crypto begins at midnight in the United States, ours at midnight UTC: made of hours;
* a crypto bar without a trade is made of the quotes' middle, with ``n`` and ``v`` 0: that proves that there
  was no trade.  An absent bar proves nothing, for stocks either: the feed may lack other venues' trades.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from adapters.bars.series import DAY_SECONDS
from adapters.bars.source import (
    Adjustment,
    FetchFailedError,
    NoSuchSymbolError,
    Page,
    PageRequest,
    Rows,
)
from adapters.vendors.alpaca import (
    AlpacaAccess,
    AlpacaError,
    AlpacaRefused,
    AlpacaUnavailable,
    crypto_client,
    stock_client,
)
from engine.model import AssetClass

if TYPE_CHECKING:
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient
    from alpaca.data.historical.stock import StockHistoricalDataClient

    from adapters.vendors.alpaca import Guarded

BARS_A_PAGE: Final = 10_000
_MINUTE: Final = 60
_HOUR: Final = 3600
_HALF_HOUR: Final = 1800
_DAY_MS: Final = DAY_SECONDS * 1000


class AlpacaBars:
    """``BarVendor`` over Alpaca's historical bars."""

    name = "alpaca"

    def __init__(self, access: AlpacaAccess, *, page_bars: int = BARS_A_PAGE) -> None:
        """Ask with this access; the library is imported at the first question."""
        self._access = access
        self._page_bars = page_bars

    def native_seconds(self, interval_seconds: int, asset_class: AssetClass) -> int | None:
        """Return the interval itself, or the longest one whose bars fit into it; whole minutes only."""
        if asset_class is not AssetClass.CRYPTO and interval_seconds == DAY_SECONDS:
            return DAY_SECONDS
        longest = _HOUR if asset_class is AssetClass.CRYPTO else _HALF_HOUR
        seconds = math.gcd(interval_seconds, longest)
        return seconds if seconds % _MINUTE == 0 else None

    def reach_seconds(self, interval_seconds: int) -> int | None:
        """Return None: years."""
        return None

    def page(self, request: PageRequest, timeout_seconds: float) -> Page:
        """Return the first page; see ``BarVendor``."""
        is_crypto = request.asset_class is AssetClass.CRYPTO
        try:
            said = self._said(request, is_crypto, timeout_seconds)
            rows, token = (said["bars"] or {}).get(request.spelling) or [], said.get("next_page_token")
            return _page(rows, bool(token), request, is_crypto)
        except AlpacaRefused as error:
            failure = FetchFailedError(error.reason, passing=False)
            if "invalid symbol" in error.message:
                failure = NoSuchSymbolError(error.reason)
        except AlpacaUnavailable as error:
            failure = FetchFailedError(error.reason, error.retry_after_seconds)
        except AlpacaError as error:
            failure = FetchFailedError(error.reason)
        except (AttributeError, LookupError, TypeError, ValueError):
            failure = FetchFailedError("Alpaca: the answer holds no bars that can be read")
        raise failure

    def _said(self, request: PageRequest, is_crypto: bool, timeout_seconds: float) -> Any:  # noqa: ANN401 - JSON
        # The library's own methods ask page after page without a word; one request is one page here.
        parameters = {
            "symbols": request.spelling,
            "timeframe": _timeframe(request.interval_seconds),
            "start": _instant(request.start_ms),
            "end": _instant(request.end_ms - 1),
            "limit": self._page_bars,
            "sort": "asc",
        }
        if is_crypto:
            with self._crypto.within(timeout_seconds) as crypto:
                return crypto.get("/crypto/us/bars", parameters)
        stocks_only = {"feed": self._access.feed, "adjustment": str(request.adjustment)}
        with self._stocks.within(timeout_seconds) as stocks:
            return stocks.get("/stocks/bars", parameters | stocks_only)

    @cached_property
    def _stocks(self) -> Guarded[StockHistoricalDataClient]:
        return stock_client(self._access)

    @cached_property
    def _crypto(self) -> Guarded[CryptoHistoricalDataClient]:
        return crypto_client(self._access)


def _page(rows: Any, more: bool, request: PageRequest, is_crypto: bool) -> Page:  # noqa: ANN401 - JSON
    found = Rows(request.interval_seconds)
    daily = request.interval_seconds == DAY_SECONDS
    last_ms = None
    for row in rows:
        at_ms = _start_ms(row, daily)
        last_ms = at_ms if at_ms is not None else last_ms
        numbers = [row.get(name) for name in ("o", "h", "l", "c", "v")] if isinstance(row, dict) else []
        traded = not (is_crypto and row.get("n") == 0 and row.get("v") == 0) if numbers else True
        found.add(at_ms, numbers, traded=traded)
    end_ms = request.end_ms
    if more:
        if last_ms is None:
            raise FetchFailedError("Alpaca: a page without bars that says that more follow")
        end_ms = last_ms + request.interval_seconds * 1000
    adjustment = Adjustment.RAW if is_crypto else request.adjustment
    return Page(found.bars, end_ms, adjustment, found.refused)


def _start_ms(row: object, daily: bool) -> int | None:
    """Return a row's start; None where it has none that can be read."""
    try:
        at = datetime.fromisoformat(row["t"])  # type: ignore[index]  # TypeError is caught
    except (KeyError, TypeError, ValueError):
        return None
    if at.tzinfo is None:
        return None
    at_ms = int(at.timestamp()) * 1000
    # Midnight in New York is 04:00Z or 05:00Z of the same date.
    return at_ms - at_ms % _DAY_MS if daily else at_ms


def _timeframe(seconds: int) -> str:
    if seconds == DAY_SECONDS:
        return "1Day"
    return "1Hour" if seconds == _HOUR else f"{seconds // _MINUTE}Min"


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
