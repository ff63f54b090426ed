"""Yahoo as a source of quotes: the newest price of one symbol a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.quotes.numbers import instant_ms, price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError, SourceQuote
from adapters.vendors.failures import VendorFailedError
from adapters.vendors.yahoo import UnknownSymbolError, YahooClient
from engine.model import AssetClass, QuoteKind
from engine.runtime.ports import Clock


class YahooSource:
    """``Source`` over yfinance's charts: the regular market's last price, with its time and currency.

    One symbol a call: the library's own ``download`` of several makes as many requests, and swallows the
    errors of each.
    """

    name = "yahoo"
    batch = 1

    def __init__(
        self, cache: Path, clock: Clock, *, proxy: str | None = None, certificate: Path | None = None
    ) -> None:
        """Keep the library's cookies in ``cache``; see ``YahooClient`` for the rest."""
        self._clock = clock
        self._client = YahooClient(cache, clock.now_utc_ms, proxy=proxy, certificate=certificate)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for the one spelling given."""
        if not spellings:
            return {}
        (spelling,) = spellings
        try:
            told = self._client.newest(spelling, timeout_seconds)
        except UnknownSymbolError:
            # Yahoo says so now and then of symbols it had a moment before: not for good, then.
            return {spelling: Miss(Outcome.NO_DATA, f"Yahoo finds nothing under {spelling}")}
        except VendorFailedError as error:
            failure = SourceFailedError(error.reason, error.retry_after_seconds)
        else:
            return {spelling: self._answer(spelling, told)}
        raise failure

    def close(self) -> None:
        """Let go of the client's threads."""
        self._client.close()

    def _answer(self, spelling: str, told: Mapping[str, Any]) -> Answer:
        if told.get("symbol") != spelling:
            return Miss(Outcome.FAILED, f"the answer is not for {spelling}")
        price = price_of(told.get("regularMarketPrice"))
        if price is None:
            return Miss(Outcome.NO_DATA, f"{spelling}: no price above 0")
        currency = told.get("currency")
        if not isinstance(currency, str) or not currency:
            return Miss(Outcome.FAILED, f"the currency of {spelling} is not told")
        return SourceQuote(
            price=price,
            bid=price,
            ask=price,
            currency=currency,
            kind=QuoteKind.TRADE,
            source_time_ms=_instant_ms(told.get("regularMarketTime")),
            receive_time_ms=self._clock.now_utc_ms(),
        )


def _instant_ms(at: Any) -> int | None:  # noqa: ANN401 - a number, or a Timestamp of the library's
    return instant_ms(int(at.timestamp()) if hasattr(at, "timestamp") else at)
