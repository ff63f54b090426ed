"""Alpaca as a source of quotes: the latest bid and ask of many symbols a call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from adapters.quotes.books import book_answer, misspelt
from adapters.quotes.numbers import rfc3339_ms
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError
from adapters.vendors.alpaca import AlpacaAccess, AlpacaError, AlpacaRefused, AlpacaUnavailable
from adapters.vendors.alpaca_quotes import AlpacaQuotes
from engine.model import AssetClass
from engine.runtime.ports import Clock

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
        self._clock = clock
        self._quotes = AlpacaQuotes(access)

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Ask for all spellings of the class in one call."""
        wrong = {spelling: misspelt(spelling, asset_class) for spelling in spellings}
        answers: dict[str, Answer] = {spelling: miss for spelling, miss in wrong.items() if miss is not None}
        asked = [spelling for spelling, miss in wrong.items() if miss is None]
        if not asked:
            return answers
        ask = self._quotes.of_crypto if asset_class is AssetClass.CRYPTO else self._quotes.of_stocks
        try:
            told = ask(asked, timeout_seconds)
        except AlpacaRefused as error:
            refused = _refused_symbol(error, asked)
            if refused is not None:
                return answers | refused
            failure = SourceFailedError(error.reason)
        except AlpacaUnavailable as error:
            failure = SourceFailedError(error.reason, error.retry_after_seconds)
        except AlpacaError as error:
            failure = SourceFailedError(error.reason)
        else:
            return answers | {
                spelling: self._answer(spelling, told[spelling]) for spelling in asked if spelling in told
            }
        raise failure

    def _answer(self, spelling: str, quote: object) -> Answer:
        if not isinstance(quote, dict):
            return Miss(Outcome.FAILED, "no quote that can be read")
        return book_answer(spelling, quote, rfc3339_ms(quote.get("t")), self._clock.now_utc_ms())


def _refused_symbol(error: AlpacaRefused, asked: Sequence[str]) -> dict[str, Answer] | None:
    """Return answers where the call was refused for one symbol: it is not served, the others are lost."""
    found = _INVALID_SYMBOL.search(error.message)
    if found is None or (symbol := found.group(1).rstrip(".")) not in asked:
        return None
    lost = Miss(Outcome.FAILED, f"asked for together with {symbol}, which Alpaca does not know")
    return {**dict.fromkeys(asked, lost), symbol: Miss(Outcome.UNSUPPORTED, error.reason)}
