"""What one vendor of bars answers: a page of bars and how far it reaches, or why there is none.

A vendor is a blocking client of one service, as in ``adapters.quotes.source``.  ``adapters.bars.fetching``
asks it page by page and gives its bars their place in the history store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from adapters.bars.series import BarSeries
from engine.model import AssetClass, Bar


class Adjustment(StrEnum):
    """What prices before a split or a dividend were changed by."""

    RAW = "raw"  # by nothing: as they were traded
    SPLIT = "split"  # by every split up to the day of the fetch
    ALL = "all"  # by splits and dividends


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Bars of ``interval_seconds`` with start_ms <= open < end_ms, from the oldest on.

    ``spelling`` is in the vendor's own notation; ``adjustment`` is a wish: the page says what it got.
    """

    spelling: str
    asset_class: AssetClass
    interval_seconds: int
    start_ms: int
    end_ms: int
    adjustment: Adjustment = Adjustment.RAW


@dataclass(frozen=True, slots=True)
class Page:
    """The beginning of what was asked for, or all of it.

    ``bars`` carry their start in UTC (a daily bar its session's date at 00:00Z), strictly ascending.  They
    may hold bars outside regular sessions and a last one not closed: whoever asked knows the calendar.
    A bar that cannot be read is left out and counted in ``refused``.  ``end_ms`` says how far the answer
    reaches: the end that was asked for, or where to ask on.
    """

    bars: BarSeries
    end_ms: int
    adjustment: Adjustment = Adjustment.RAW
    refused: int = 0


class Rows:
    """Makes a series of a vendor's rows; one that is no bar, or comes out of turn, costs that row.

    A row with a trade has 0 < low <= open, close <= high, all finite, and a volume of 0 or more.  Where the
    vendor proves that there was no trade, prices are the last close, whatever it wrote.
    """

    def __init__(self, interval_seconds: int) -> None:
        """Begin with no bars."""
        self.bars = BarSeries(interval_seconds)
        self.refused = 0

    def add(self, open_time_ms: int | None, numbers: Sequence[object], *, traded: bool = True) -> None:
        """Add a row: its start, and open, high, low, close, volume (numbers, or texts of numbers)."""
        last_ms = self.bars.open_time_ms[-1] if len(self.bars) else -math.inf
        try:
            opened, high, low, close, volume = map(_number, numbers)
        except (TypeError, ValueError):
            opened = high = low = close = volume = math.nan
        sane = 0 < low <= min(opened, close) <= max(opened, close) <= high and volume >= 0
        if not sane or open_time_ms is None or open_time_ms <= last_ms:
            self.refused += 1
            return
        if not traded:
            opened = high = low = close = self.bars.close[-1] if len(self.bars) else close
            volume = 0.0
        self.bars.append(Bar(open_time_ms, opened, high, low, close, volume, traded))


def _number(value: object) -> float:
    """Return the nearest float; NaN for what is not finite, TypeError or ValueError for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise TypeError(value)
    number = float(value)
    return number if math.isfinite(number) else math.nan


class FetchFailedError(Exception):
    """A page could not be had; no secret in ``reason``.

    ``retry_after_seconds`` is the vendor's own wish; ``passing`` says whether asking again may help.
    """

    def __init__(
        self, reason: str, retry_after_seconds: float | None = None, *, passing: bool = True
    ) -> None:
        """Keep what whoever asks on needs."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.passing = passing


class NoSuchSymbolError(FetchFailedError):
    """The vendor answered that it does not have the symbol: no failure of the vendor."""

    def __init__(self, reason: str) -> None:
        """Asking again does not help."""
        super().__init__(reason, passing=False)


class BarVendor(Protocol):
    """One vendor; ``name`` is its key in the configuration."""

    name: str

    def native_seconds(self, interval_seconds: int, asset_class: AssetClass) -> int | None:
        """Return the interval to ask for so that bars of ``interval_seconds`` can be made; None for none.

        It differs where the vendor's own bars of that interval stand on another grid than ours: from the
        session's open, or from UTC midnight.
        """

    def reach_seconds(self, interval_seconds: int) -> int | None:
        """Return how far back from now native bars are served; None where no bound is known."""

    def page(self, request: PageRequest, timeout_seconds: float) -> Page:
        """Return the first page of a native interval; one request, without retries.

        Raises:
            FetchFailedError: The vendor could not be heard, refused, or said what cannot be read.
            NoSuchSymbolError: It does not have the symbol.
        """
