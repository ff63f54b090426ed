"""Alpaca as a source of quotes: the latest bid and ask of many symbols a call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from adapters.quotes.books import book_answer, misspelt
from adapters.quotes.numbers import rfc3339_ms
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError
from adapters.vendors.alpaca import (
    AlpacaAccess,
    AlpacaError,
    AlpacaRefused,
    AlpacaUnavailable,
    crypto_client,
    stock_client,
)
from engine.model import AssetClass
from engine.runtime.ports import Clock

if TYPE_CHECKING:
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient
    from alpaca.data.historical.stock import StockHistoricalDataClient

    from adapters.vendors.alpaca import Guarded

SYMBOLS_A_CALL: Final = 100
_INVALID_SYMBOL: Final = re.compile(r"invalid symbol: ([A-Za-z0-9./-]+)")


class AlpacaSource:
    """``Source`` over the latest quotes of stocks (feed as in ``access``) and of crypto.

    A book with one side only is no data: the last trade behind it may be of any age.
    """

    name = "alpaca"

    def __init__(self, access: AlpacaAccess, clock: Clock, *, batch: int = SYMBOLS_A_CALL) -> None:
        """Ask with this access; the library is imported at the first question."""
        self.batch = batch
        self._access = access
        self._clock = clock

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for all spellings of the class in one call."""
        wrong = {spelling: misspelt(spelling, asset_class) for spelling in spellings}
        answers: dict[str, Answer] = {spelling: miss for spelling, miss in wrong.items() if miss is not None}
        asked = [spelling for spelling, miss in wrong.items() if miss is None]
        if not asked:
            return answers
        try:
            told = self._told(asked, asset_class, timeout_seconds)
        except AlpacaRefused as error:
            refused = _refused_symbol(error, asked)
            if refused is not None:
                return answers | refused
            failure = SourceFailedError(error.reason)
        except AlpacaUnavailable as error:
            failure = SourceFailedError(error.reason, error.retry_after_seconds)
        except AlpacaError as error:
            failure = SourceFailedError(error.reason)
        except (AttributeError, LookupError, TypeError, ValueError):
            # The library took the answer apart before we saw it.
            failure = SourceFailedError("Alpaca: the answer holds no quotes that can be read")
        else:
            return answers | {
                spelling: self._answer(spelling, told[spelling]) for spelling in asked if spelling in told
            }
        raise failure

    def _told(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Any]:
        """Return the quotes by symbol, as they came."""
        from alpaca.data.enums import DataFeed
        from alpaca.data.requests import CryptoLatestQuoteRequest, StockLatestQuoteRequest

        told: Any
        if asset_class is AssetClass.CRYPTO:
            with self._crypto.within(timeout_seconds) as crypto:
                told = crypto.get_crypto_latest_quote(
                    CryptoLatestQuoteRequest(symbol_or_symbols=list(spellings))
                )
        else:
            with self._stocks.within(timeout_seconds) as stocks:
                told = stocks.get_stock_latest_quote(
                    StockLatestQuoteRequest(
                        symbol_or_symbols=list(spellings), feed=DataFeed(self._access.feed)
                    )
                )
        if not isinstance(told, dict):
            raise TypeError("no object of quotes")
        return told

    def _answer(self, spelling: str, quote: object) -> Answer:
        if not isinstance(quote, dict):
            return Miss(Outcome.FAILED, "no quote that can be read")
        return book_answer(spelling, quote, rfc3339_ms(quote.get("t")), self._clock.now_utc_ms())

    @cached_property
    def _stocks(self) -> Guarded[StockHistoricalDataClient]:
        return stock_client(self._access)

    @cached_property
    def _crypto(self) -> Guarded[CryptoHistoricalDataClient]:
        return crypto_client(self._access)


def _refused_symbol(error: AlpacaRefused, asked: Sequence[str]) -> dict[str, Answer] | None:
    """Return answers where the call was refused for one symbol: it is not served, the others are lost."""
    found = _INVALID_SYMBOL.search(error.message)
    if found is None or (symbol := found.group(1).rstrip(".")) not in asked:
        return None
    lost = Miss(Outcome.FAILED, f"asked for together with {symbol}, which Alpaca does not know")
    return {**dict.fromkeys(asked, lost), symbol: Miss(Outcome.UNSUPPORTED, error.reason)}
