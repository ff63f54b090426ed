"""Stored bars as a source: the newest close, which prices no order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest

from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.quotes.history import HistorySource
from adapters.quotes.source import Miss, Outcome, SourceQuote
from engine.errors import DataError
from engine.model import AssetClass, Bar, QuoteKind

HOUR, DAY = 3600, 86_400
NOON_MS = 1_669_896_000_000  # 2022-12-01T12:00Z
_HOUR_MS = HOUR * 1000


class _Shelf:
    """A ``BarSource`` over bars by symbol and interval."""

    def __init__(self, stored: Mapping[tuple[str, int], Sequence[Bar]]) -> None:
        self._stored = stored

    def closed(self, symbol: str, interval_seconds: int, after_ms: int, until_ms: int) -> Sequence[Bar]:
        if symbol == "TORN-USD":
            raise DataError("torn.csv:17: not a number")
        return [
            bar
            for bar in self._stored.get((symbol, interval_seconds), ())
            if after_ms < bar.open_time_ms and bar.open_time_ms + interval_seconds * 1000 <= until_ms
        ]

    def interval_of(self, symbol: str) -> int | None:
        if symbol == "TORN-USD":
            return HOUR
        return min((interval for name, interval in self._stored if name == symbol), default=None)


def _bar(open_time_ms: int, close: float, traded: bool = True) -> Bar:
    return Bar(open_time_ms, close, close, close, close, 1.0, traded)


def _source(stored: Mapping[tuple[str, int], Sequence[Bar]]) -> HistorySource:
    return HistorySource(_Shelf(stored), ExchangeCalendars(), SimulatedClock(NOON_MS))


def _ask(source: HistorySource, symbol: str, asset_class: AssetClass = AssetClass.CRYPTO) -> object:
    return source.fetch([symbol], asset_class, 1.0)[symbol]


@pytest.mark.requirement(25)
def test_requirement_25_a_stored_close_says_that_it_is_one() -> None:
    """The close is told with the end of its bar as its time, and with a kind that prices no order."""
    bars = [_bar(NOON_MS - 3 * _HOUR_MS, 0.31), _bar(NOON_MS - 2 * _HOUR_MS, 0.45123)]
    quote = _ask(_source({("ADA-USD", HOUR): bars}), "ADA-USD")
    assert isinstance(quote, SourceQuote)
    assert quote.kind is QuoteKind.HISTORY
    assert (quote.price, quote.bid, quote.ask) == (Decimal("0.45123"),) * 3
    assert quote.source_time_ms == NOON_MS - _HOUR_MS
    assert (quote.currency, quote.receive_time_ms) == ("USD", NOON_MS)


def test_the_newest_of_all_intervals_is_told() -> None:
    """A daily bar that is newer than the last hour stored goes first."""
    yesterday_ms = NOON_MS - 36 * _HOUR_MS
    stored = {
        ("ADA-USD", HOUR): [_bar(yesterday_ms - 400 * _HOUR_MS, 0.31)],
        ("ADA-USD", DAY): [_bar(yesterday_ms, 0.45)],
    }
    quote = _ask(_source(stored), "ADA-USD")
    assert isinstance(quote, SourceQuote)
    assert quote.price == Decimal("0.45")


def test_a_daily_bar_of_a_stock_ends_with_its_session() -> None:
    """The time of a daily close is the close of the exchange, not midnight."""
    quote = _ask(_source({("SPY", DAY): [_bar(1_669_766_400_000, 407.68)]}), "SPY", AssetClass.STOCK)
    assert isinstance(quote, SourceQuote)
    assert quote.source_time_ms == 1_669_842_000_000  # 2022-11-30T21:00Z: 16:00 in New York


def test_bars_without_a_trade_or_a_price_are_passed_over() -> None:
    """What did not trade has no close of its own."""
    bars = [
        _bar(NOON_MS - 5 * _HOUR_MS, 0.4),
        _bar(NOON_MS - 4 * _HOUR_MS, float("nan")),
        _bar(NOON_MS - 3 * _HOUR_MS, 0.0),
        _bar(NOON_MS - 2 * _HOUR_MS, 0.5, traded=False),
    ]
    quote = _ask(_source({("ADA-USD", HOUR): bars}), "ADA-USD")
    assert isinstance(quote, SourceQuote)
    assert quote.price == Decimal("0.4")


@pytest.mark.parametrize(("symbol", "currency"), [("ADA-USDT", "USDT"), ("BTC-EUR", "EUR")])
def test_the_currency_is_the_pairs(symbol: str, currency: str) -> None:
    """A stored price in euros is no price in dollars."""
    quote = _ask(_source({(symbol, HOUR): [_bar(NOON_MS - 2 * _HOUR_MS, 5.0)]}), symbol)
    assert isinstance(quote, SourceQuote)
    assert quote.currency == currency


def test_what_is_not_stored_or_cannot_be_read() -> None:
    """No bars: not supported; no trade: no data; a torn file: failed, for that symbol alone."""
    stored = {("ADA-USD", HOUR): [_bar(NOON_MS - 2 * _HOUR_MS, 5.0, traded=False)]}
    answers = _source(stored).fetch(["NO-USD", "ADA-USD", "TORN-USD"], AssetClass.CRYPTO, 1.0)
    outcomes = {symbol: answer.outcome for symbol, answer in answers.items() if isinstance(answer, Miss)}
    assert outcomes == {
        "NO-USD": Outcome.UNSUPPORTED,
        "ADA-USD": Outcome.NO_DATA,
        "TORN-USD": Outcome.FAILED,
    }
    assert "torn.csv:17" in str(answers["TORN-USD"])


def test_where_the_time_does_not_last() -> None:
    """What was not looked up in time has failed, and says so."""
    answer = _source({("ADA-USD", HOUR): [_bar(NOON_MS - 2 * _HOUR_MS, 5.0)]}).fetch(
        ["ADA-USD"], AssetClass.CRYPTO, 0.0
    )["ADA-USD"]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.FAILED
