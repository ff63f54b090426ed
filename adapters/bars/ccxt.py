"""Bars of crypto exchanges through ccxt, page by page.

An exchange's own bar with a volume of 0 proves that nobody traded there; an absent bar proves nothing.
Exchanges differ in how many bars a page has and in what they do with a stretch without any, so an answer is
taken to reach to its last bar, and an empty one a few bars further only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.bars.reading import interval_seconds_of
from adapters.bars.source import FetchFailedError, NoSuchSymbolError, Page, PageRequest, Rows
from adapters.vendors.ccxt import ExchangeClient, ExchangeError, ExchangeRefused, ExchangeUnavailable
from engine.errors import ConfigurationError
from engine.model import AssetClass

BARS_A_PAGE: Final = 300
"""What the exchanges with the smallest pages still give, mostly; a shorter answer is only a shorter page."""

_CERTAIN_BARS: Final = 100
"""No exchange looks at fewer bars behind the start it is given."""


class CcxtBars:
    """``BarVendor`` over ccxt's ``fetchOHLCV``; spellings are ccxt's symbols, such as BTC/USD."""

    def __init__(self, client: ExchangeClient) -> None:
        """Raise ConfigurationError for an exchange that has no bars."""
        if not client.can("fetchOHLCV"):
            raise ConfigurationError(f"{client.name} gives no bars")
        self.name = f"ccxt:{client.name}"
        self._client = client
        self._timeframes: Mapping[int, str] = {
            # 1M is a month, not a minute.
            seconds: text
            for text in client.timeframes()
            if text.islower() and (seconds := interval_seconds_of(text))
        }

    def native_seconds(self, interval_seconds: int, asset_class: AssetClass) -> int | None:
        """Return the exchange's longest interval that divides this one."""
        if asset_class is not AssetClass.CRYPTO:
            return None
        return max((own for own in self._timeframes if interval_seconds % own == 0), default=None)

    def reach_seconds(self, interval_seconds: int) -> int | None:
        """Return None: exchanges do not say."""
        return None

    def page(self, request: PageRequest, timeout_seconds: float) -> Page:
        """Return the first page; see ``BarVendor``."""
        failure: ExchangeError
        try:
            markets = self._client.markets(timeout_seconds)
            if request.spelling not in markets:
                raise NoSuchSymbolError(f"{self._client.name} has no market {request.spelling}")
            said = self._client.call(
                "fetch_ohlcv",
                request.spelling,
                self._timeframes[request.interval_seconds],
                request.start_ms,
                BARS_A_PAGE,
                seconds=timeout_seconds,
            )
        except ExchangeError as error:
            failure = error
        else:
            return _page(said, request, self._client.name)
        wish = failure.retry_after_seconds if isinstance(failure, ExchangeUnavailable) else None
        raise FetchFailedError(failure.reason, wish, passing=not isinstance(failure, ExchangeRefused))


def _page(said: Any, request: PageRequest, exchange: str) -> Page:  # noqa: ANN401 - as ccxt answers
    step_ms = request.interval_seconds * 1000
    found = Rows(request.interval_seconds)
    reached_ms = request.start_ms
    rows = [row for row in said if isinstance(row, list) and row and isinstance(row[0], int)]
    if said and not rows:
        raise FetchFailedError(f"{exchange}: the answer holds no bars that can be read")
    for at_ms, *numbers in rows:
        if at_ms < request.start_ms:
            continue
        reached_ms = max(reached_ms, at_ms + step_ms)
        if at_ms < request.end_ms:
            found.add(at_ms, numbers, traded=not _is_zero(numbers))
    if reached_ms == request.start_ms:
        reached_ms += _CERTAIN_BARS * step_ms
    return Page(found.bars, min(reached_ms, request.end_ms), refused=found.refused)


def _is_zero(numbers: list[Any]) -> bool:
    try:
        return float(numbers[-1]) == 0
    except (IndexError, TypeError, ValueError):
        return False
