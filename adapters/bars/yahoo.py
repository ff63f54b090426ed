"""Bars of stocks and crypto from Yahoo, through yfinance: one chart a request, as far back as Yahoo goes.

What its bars are, and what is done about it here:

* prices are adjusted by every split up to now, and not by dividends;
* they come in single precision (681.6900024414062): the shortest number that single precision keeps apart
  from its neighbours (681.69) is what was meant;
* a daily bar is labelled with its session's open in the exchange's zone, here with its date at 00:00Z;
* rows without prices are left out: they prove nothing, nor does a volume of 0;
* of half hours the library makes bars out of whatever quarters it got: quarters are asked for instead;
* the last row may carry the time of the last trade: it stands on no grid, and whoever asked drops it.
"""

from __future__ import annotations

import struct
from typing import Final

from adapters.bars.series import DAY_SECONDS
from adapters.bars.source import (
    Adjustment,
    FetchFailedError,
    NoSuchSymbolError,
    Page,
    PageRequest,
    Rows,
)
from adapters.vendors.failures import VendorFailedError
from adapters.vendors.yahoo import UnknownSymbolError, YahooBar, YahooClient
from engine.model import AssetClass

_INTERVALS: Final = {60: "1m", 120: "2m", 300: "5m", 900: "15m", 3600: "1h", DAY_SECONDS: "1d"}
# A day less than Yahoo's own limits, which it counts to the second.
_REACH_DAYS: Final = {60: 6, 120: 59, 300: 59, 900: 59, 3600: 729}
_PASSING: Final = frozenset({408, 425, 429})


class YahooBars:
    """``BarVendor`` over Yahoo's charts."""

    name = "yahoo"

    def __init__(self, client: YahooClient) -> None:
        """Ask through this client, which others may use, too."""
        self._client = client

    def native_seconds(self, interval_seconds: int, asset_class: AssetClass) -> int | None:
        """Return the longest interval of Yahoo's that divides this one."""
        if interval_seconds == DAY_SECONDS:
            return DAY_SECONDS
        return max((own for own in _INTERVALS if interval_seconds % own == 0), default=None)

    def reach_seconds(self, interval_seconds: int) -> int | None:
        """Return how far back Yahoo goes: a few days of minutes, months of quarters, all days."""
        days = _REACH_DAYS.get(interval_seconds)
        return None if days is None else days * DAY_SECONDS

    def page(self, request: PageRequest, timeout_seconds: float) -> Page:
        """Return all of it: Yahoo knows no pages; see ``BarVendor``."""
        try:
            metadata, rows = self._client.bars(
                request.spelling,
                _INTERVALS[request.interval_seconds],
                -(-request.start_ms // 1000),
                -(-request.end_ms // 1000),
                timeout_seconds,
            )
        except UnknownSymbolError:
            failure: FetchFailedError = NoSuchSymbolError(f"Yahoo finds nothing under {request.spelling}")
        except VendorFailedError as error:
            passing = error.status is None or error.status in _PASSING or error.status >= 500
            failure = FetchFailedError(f"Yahoo: {error.reason}", error.retry_after_seconds, passing=passing)
        else:
            if rows and metadata.get("symbol") != request.spelling:
                raise FetchFailedError(f"Yahoo: the answer is not for {request.spelling}")
            found = Rows(request.interval_seconds)
            for row in rows:
                _add(found, row, daily=request.interval_seconds == DAY_SECONDS)
            return Page(found.bars, request.end_ms, Adjustment.SPLIT, found.refused)
        raise failure


def _add(found: Rows, row: YahooBar, *, daily: bool) -> None:
    at, *numbers = row
    if daily:
        day = at.date().toordinal() - _EPOCH_DAY
        at_ms = day * DAY_SECONDS * 1000
    else:
        at_ms = int(at.timestamp()) * 1000
    found.add(at_ms, [*(_meant(price) for price in numbers[:4]), numbers[4]])


_EPOCH_DAY: Final = 719_163  # 1970-01-01


def _meant(price: float) -> float:
    """Return the shortest number that is this one in single precision; a double one is left as it is."""
    try:
        single = struct.pack("f", price)
    except (OverflowError, struct.error):
        return price
    if struct.unpack("f", single)[0] != price:
        return price
    # Nine digits tell all singles apart.
    return next(
        number
        for digits in range(6, 10)
        if struct.pack("f", number := float(f"{price:.{digits}g}")) == single
    )
