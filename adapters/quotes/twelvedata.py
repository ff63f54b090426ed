"""Twelve Data as a source of quotes: the last price of several symbols a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.quotes.numbers import instant_ms, price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.vendors.failures import VendorFailedError
from adapters.vendors.twelvedata import OF_ONE_SYMBOL, TWELVEDATA_URL, TwelveDataClient
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import Clock

FREE_PLAN_CREDITS: Final = 8
"""Symbols a minute in the free plan; a call for more of them can never be answered there."""


class TwelveDataSource:
    """``Source`` over ``/quote``: its ``close`` is the last price and ``last_quote_at`` the price's time.

    ``timestamp`` is not used: it is the start of the day's bar.  Nor is ``/price``, which has no time.
    """

    name = "twelvedata"

    def __init__(
        self, key: str, clock: Clock, *, url: str = TWELVEDATA_URL, batch: int = FREE_PLAN_CREDITS
    ) -> None:
        """Ask the server at ``url`` with this key; ConfigurationError where either is empty."""
        self.batch = batch
        self._clock = clock
        self._client = TwelveDataClient(key, clock.now_utc_ms, url=url)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for all spellings in one call, each of which costs a credit."""
        if not spellings:
            return {}
        try:
            told = self._client.quotes(spellings, timeout_seconds)
        except VendorFailedError as error:
            failure = error
        else:
            # Where the credits did not last for a single symbol, the call failed.
            failures = [self._client.failure_of(answer) for answer in told.values()]
            if None in failures or not (spent := [f for f in failures if f and f.retry_after_seconds]):
                return {spelling: self._answer(spelling, answer) for spelling, answer in told.items()}
            failure = spent[0]
        raise SourceFailedError(failure.reason, failure.retry_after_seconds)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def _answer(self, spelling: str, told: Mapping[str, Any]) -> Answer:
        failure = self._client.failure_of(told)
        if failure is not None:
            return _miss(failure)
        symbol, _, _ = spelling.partition(":")  # after the colon is the exchange asked for
        if told.get("symbol") != symbol:
            return Miss(Outcome.FAILED, f"the answer is not for {spelling}")
        price = price_of(told.get("close"))
        if price is None:
            return Miss(Outcome.NO_DATA, f"{spelling}: no price above 0")
        # Pairs name no currency: it is their second half.
        currency = told.get("currency") or symbol.partition("/")[2]
        if not isinstance(currency, str) or not currency:
            return Miss(Outcome.FAILED, f"the currency of {spelling} is not told")
        return SourceQuote(
            price=price,
            bid=price,
            ask=price,
            currency=currency,
            kind=QuoteKind.TRADE,
            source_time_ms=instant_ms(told.get("last_quote_at")),
            receive_time_ms=self._clock.now_utc_ms(),
        )


def _miss(failure: VendorFailedError) -> Miss:
    """Return what an error of one symbol means: it is unknown or not paid for, or the source failed."""
    unsupported = failure.status in OF_ONE_SYMBOL
    return Miss(Outcome.UNSUPPORTED if unsupported else Outcome.FAILED, failure.reason)
