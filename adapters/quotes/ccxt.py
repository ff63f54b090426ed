"""A crypto exchange as a source of quotes, through ccxt: the best bid and ask of many markets in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.quotes.numbers import price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.vendors.ccxt import ExchangeClient, ExchangeError, ExchangeUnavailable
from engine.errors import ConfigurationError
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import Clock


class CcxtSource:
    """``Source`` over ccxt's ``fetchTickers``; spellings are ccxt's symbols, such as BTC/USD.

    The first call asks for the list of markets too.  Exchanges that give their tickers no time give quotes
    whose age is not known.
    """

    batch = 100

    def __init__(self, client: ExchangeClient, clock: Clock) -> None:
        """Raise ConfigurationError for an exchange that does not tell the tickers of many markets at once."""
        if not client.can("fetchTickers"):
            raise ConfigurationError(f"{client.name} gives no quotes of many markets in one call")
        self.name = f"ccxt:{client.name}"
        self._client = client
        self._clock = clock

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for all spellings at once."""
        if not spellings:
            return {}
        if asset_class is not AssetClass.CRYPTO:
            return {text: Miss(Outcome.UNSUPPORTED, "an exchange of coins") for text in spellings}
        failure: ExchangeError
        try:
            return self._fetch(spellings, time.monotonic() + timeout_seconds)
        except ExchangeError as error:
            failure = error
        wish = failure.retry_after_seconds if isinstance(failure, ExchangeUnavailable) else None
        raise SourceFailedError(failure.reason, wish)

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def _fetch(self, spellings: Sequence[str], ends: float) -> Mapping[str, Answer]:
        markets = self._client.markets(ends - time.monotonic())
        answers: dict[str, Answer] = {}
        asked = []
        for text in spellings:
            market = markets.get(text)
            if market is None:
                answers[text] = Miss(Outcome.UNSUPPORTED, f"{self._client.name} has no market {text}")
            elif market.get("active") is False:
                answers[text] = Miss(Outcome.NO_DATA, f"{self._client.name} has halted {text}")
            else:
                asked.append(text)
        if asked:
            tickers = self._client.call("fetch_tickers", asked, seconds=ends - time.monotonic())
            received_ms = self._clock.now_utc_ms()
            for text in asked:
                answers[text] = _answer(tickers.get(text), str(markets[text]["quote"]), received_ms)
        return answers


def _answer(ticker: Mapping[str, Any] | None, currency: str, received_ms: int) -> Answer:
    if ticker is None:
        return Miss(Outcome.NO_DATA, "no ticker of it that can be read")
    bid, ask, at_ms = price_of(ticker.get("bid")), price_of(ticker.get("ask")), ticker.get("timestamp")
    if bid is None or ask is None:
        return Miss(Outcome.NO_DATA, "nobody bids, or nobody asks")
    return SourceQuote(
        price=(bid + ask) / 2,
        bid=bid,
        ask=ask,
        currency=currency,
        kind=QuoteKind.QUOTE,
        source_time_ms=at_ms if type(at_ms) is int and at_ms > 0 else None,
        receive_time_ms=received_ms,
    )
