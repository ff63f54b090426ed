"""Alpaca's latest quotes through alpaca-py: many symbols a call, as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adapters.vendors.alpaca import (
    AlpacaAccess,
    AlpacaUnavailable,
    crypto_client,
    import_library,
    stock_client,
)

if TYPE_CHECKING:
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient
    from alpaca.data.historical.stock import StockHistoricalDataClient

    from adapters.vendors.alpaca import Guarded


class AlpacaQuotes:
    """Asks for the latest quotes of stocks and of crypto.  The library is imported at the first question."""

    def __init__(self, access: AlpacaAccess) -> None:
        """Ask with this access; its feed is that of stocks."""
        self._access = access

    def of_stocks(self, symbols: Sequence[str], timeout_seconds: float) -> Mapping[str, Any]:
        """Return the quotes by symbol, with exact numbers; what Alpaca does not know is absent.

        Raises AlpacaRefused and AlpacaUnavailable.
        """
        import_library()
        from alpaca.data.enums import DataFeed
        from alpaca.data.requests import StockLatestQuoteRequest

        request = StockLatestQuoteRequest(symbol_or_symbols=list(symbols), feed=DataFeed(self._access.feed))
        with self._stocks.within(timeout_seconds) as client:
            try:
                return _quotes(client.get_stock_latest_quote(request))
            except _TAKEN_APART:
                failure = AlpacaUnavailable(_UNREADABLE)
        raise failure

    def of_crypto(self, pairs: Sequence[str], timeout_seconds: float) -> Mapping[str, Any]:
        """Return the same of pairs, such as BTC/USD."""
        import_library()
        from alpaca.data.requests import CryptoLatestQuoteRequest

        request = CryptoLatestQuoteRequest(symbol_or_symbols=list(pairs))
        with self._crypto.within(timeout_seconds) as client:
            try:
                return _quotes(client.get_crypto_latest_quote(request))
            except _TAKEN_APART:
                failure = AlpacaUnavailable(_UNREADABLE)
        raise failure

    @cached_property
    def _stocks(self) -> Guarded[StockHistoricalDataClient]:
        return stock_client(self._access)

    @cached_property
    def _crypto(self) -> Guarded[CryptoHistoricalDataClient]:
        return crypto_client(self._access)


# The library takes an answer apart before it is seen here.
_TAKEN_APART = (AttributeError, LookupError, TypeError, ValueError)
_UNREADABLE = "Alpaca: the answer holds no quotes that can be read"


def _quotes(told: Any) -> Mapping[str, Any]:  # noqa: ANN401 - what the library returns
    if not isinstance(told, dict):
        raise TypeError("no object of quotes")
    return told
