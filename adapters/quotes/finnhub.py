"""Finnhub as a source of quotes: the last trade of one symbol a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.quotes.numbers import instant_ms, price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.vendors.failures import VendorFailedError
from adapters.vendors.finnhub import FINNHUB_URL, FinnhubClient
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import Clock

_FORBIDDEN: Final = 403
_NOT_PAID_FOR: Final = "access to this resource"
# What the second currency of a pair may be, the longer names first: BTCUSDT ends in USDT, not in USD.
_PAIR_CURRENCIES: Final = ("USDT", "USDC", "BUSD", "USD", "EUR", "GBP", "BTC", "ETH")


class FinnhubSource:
    """``Source`` over Finnhub's ``/quote``, which gives the last trade and its time, and no bid or ask."""

    name = "finnhub"
    batch = 1

    def __init__(self, key: str, clock: Clock, *, url: str = FINNHUB_URL) -> None:
        """Ask the server at ``url`` with this key; ConfigurationError where either is empty."""
        self._clock = clock
        self._client = FinnhubClient(key, clock.now_utc_ms, url=url)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for the one spelling given."""
        if not spellings:
            return {}
        (spelling,) = spellings
        try:
            told = self._client.quote(spelling, timeout_seconds)
        except VendorFailedError as error:
            failure = error
        else:
            return {spelling: self._answer(spelling, asset_class, told)}
        if failure.status == _FORBIDDEN and _NOT_PAID_FOR in failure.reason:
            return {spelling: Miss(Outcome.UNSUPPORTED, f"the key has no access to {spelling}")}
        raise SourceFailedError(failure.reason, failure.retry_after_seconds)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def _answer(self, spelling: str, asset_class: AssetClass, told: Mapping[str, Any]) -> Answer:
        # Finnhub has no error for a symbol it does not know: all numbers are 0, and the status is 200.
        if told.get("c") == 0 or told.get("t") == 0:
            return Miss(Outcome.NO_DATA, f"{spelling}: zeros, which is how an unknown symbol is answered")
        price = price_of(told.get("c"))
        if price is None:
            return Miss(Outcome.FAILED, "no price that can be read")
        currency = _currency(spelling, asset_class)
        if currency is None:
            return Miss(Outcome.FAILED, f"the currency of {spelling} is not known")
        return SourceQuote(
            price=price,
            bid=price,
            ask=price,
            currency=currency,
            kind=QuoteKind.TRADE,
            source_time_ms=instant_ms(told.get("t")),
            receive_time_ms=self._clock.now_utc_ms(),
        )


def _currency(spelling: str, asset_class: AssetClass) -> str | None:
    """Return the currency of a spelling, which an answer does not name: a pair's second, or dollars.

    Stocks are spelled by their listing in the United States.
    """
    if asset_class is not AssetClass.CRYPTO:
        return "USD"
    return next((currency for currency in _PAIR_CURRENCIES if spelling.endswith(currency)), None)
