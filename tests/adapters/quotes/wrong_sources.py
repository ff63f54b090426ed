"""Sources as they are easily written, and wrong: the checks of the requirements must fail them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from adapters.quotes.source import Answer, SourceFailedError, SourceQuote
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import Clock


def _traded(price: object, source_time_ms: int | None, now_ms: int) -> SourceQuote:
    amount = Decimal(str(price))
    return SourceQuote(amount, amount, amount, "USD", QuoteKind.TRADE, source_time_ms, now_ms)


class CarelessFinnhub:
    """The library as its page shows it: a price of 0 is a price, and everything is in dollars."""

    name = "finnhub"
    batch = 1

    def __init__(self, key: str, clock: Clock, url: str) -> None:
        """Make the library's own client."""
        import finnhub

        self._clock = clock
        self._client = finnhub.Client(api_key=key)
        self._client.API_URL = url

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Pass on what comes."""
        import requests

        try:
            told = self._client.quote(spellings[0])
        except requests.RequestException as error:
            raise SourceFailedError(str(error)) from error
        return {spellings[0]: _traded(told["c"], told["t"] * 1000, self._clock.now_utc_ms())}


class CarelessTwelveData:
    """Takes HTTP 200 for an answer, and the day's bar for the quote's time."""

    name = "twelvedata"
    batch = 8

    def __init__(self, key: str, clock: Clock, url: str) -> None:
        """Ask with the key in the address."""
        self._key = key
        self._clock = clock
        self._url = url

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for the first one."""
        address = f"{self._url}/quote?symbol={spellings[0]}&apikey={self._key}"
        try:
            with urllib.request.urlopen(address, timeout=timeout_seconds) as answer:
                told = json.load(answer)
        except OSError as error:
            raise SourceFailedError(f"{address}: {error}") from error
        price, at_seconds = float(told.get("close", 0)), told.get("timestamp", 0)
        return {spellings[0]: _traded(round(price, 2), at_seconds * 1000, self._clock.now_utc_ms())}


class CarelessYahoo:
    """On ``fast_info``: the last daily close, without a time; and whatever the library makes of an error."""

    name = "yahoo"
    batch = 1

    def __init__(self, clock: Clock, proxy: str, certificate: Path, cache: Path) -> None:
        """Make the session that the library takes."""
        import yfinance
        from curl_cffi.requests import Session
        from yfinance.cache import set_cache_location

        set_cache_location(str(cache))
        yfinance.config.debug.hide_exceptions = True
        self._clock = clock
        self._library = yfinance
        self._session: Any = Session(proxy=proxy, verify=cast(bool, str(certificate)))

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Return the last price, or 0 where there is none."""
        ticker = self._library.Ticker(spellings[0], session=self._session)
        try:
            price = ticker.fast_info.last_price
        except KeyError:
            price = None
        now_ms = self._clock.now_utc_ms()
        return {spellings[0]: _traded(price or 0, now_ms, now_ms)}


class CarelessAlpaca:
    """The library as it comes: floats, no limit of time, and the error's own text."""

    name = "alpaca"
    batch = 100

    def __init__(self, key_id: str, secret: str, clock: Clock, url: str) -> None:
        """Make the library's own client."""
        from alpaca.data.historical.crypto import CryptoHistoricalDataClient

        self._clock = clock
        self._keys = f"{key_id}:{secret}"
        self._client = CryptoHistoricalDataClient(key_id, secret, raw_data=True, url_override=url)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Return the ask, now."""
        from alpaca.data.requests import CryptoLatestQuoteRequest

        told: Any = self._client.get_crypto_latest_quote(
            CryptoLatestQuoteRequest(symbol_or_symbols=list(spellings))
        )
        now_ms = self._clock.now_utc_ms()
        return {spelling: _traded(quote["ap"], now_ms, now_ms) for spelling, quote in told.items()}
