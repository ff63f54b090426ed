"""Alpaca's quotes, as REST and streams both write them: a bid and an ask of one book."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from adapters.quotes.numbers import price_of
from adapters.quotes.source import Answer, Miss, Outcome, SourceQuote
from engine.model import AssetClass, QuoteKind

_PAIR: Final = re.compile(r"[A-Z0-9]+/[A-Z]+")
_TICKER: Final = re.compile(r"[A-Z][A-Z0-9.]*")


def misspelt(spelling: str, asset_class: AssetClass) -> Miss | None:
    """Return why Alpaca cannot be asked for a spelling: one such would lose the answer for all others."""
    form = _PAIR if asset_class is AssetClass.CRYPTO else _TICKER
    if form.fullmatch(spelling):
        return None
    return Miss(
        Outcome.UNSUPPORTED, f"{spelling} is not how Alpaca writes a symbol of the class {asset_class}"
    )


def book_answer(
    spelling: str, told: Mapping[str, object], source_time_ms: int | None, receive_time_ms: int
) -> Answer:
    """Return the answer for a book: ``bp`` and ``ap``, of which 0 says that the side is empty."""
    if told.get("bp") == 0 or told.get("ap") == 0:
        side = "bid" if told.get("bp") == 0 else "ask"
        return Miss(Outcome.NO_DATA, f"{spelling}: nobody is on the {side} side of the book")
    bid, ask = price_of(told.get("bp")), price_of(told.get("ap"))
    if bid is None or ask is None:
        return Miss(Outcome.FAILED, "no bid or no ask that can be read")
    return SourceQuote(
        price=(bid + ask) / 2,
        bid=bid,
        ask=ask,
        currency=spelling.partition("/")[2] or "USD",
        kind=QuoteKind.QUOTE,
        source_time_ms=source_time_ms,
        receive_time_ms=receive_time_ms,
    )
