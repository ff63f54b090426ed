"""What every source of quotes must do.

A test module makes a subclass of ``QuoteSourceContract`` named ``Test...`` with a fixture ``market``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.codes import UnknownReason
from engine.model import Instrument, NoQuote, Quote
from engine.runtime.ports import QuoteSource


@dataclass(frozen=True, slots=True)
class QuotedMarket:
    """A source, the symbols it can quote now, and the time it lives in."""

    source: QuoteSource
    instruments: Sequence[Instrument]
    now_ms: Callable[[], int]
    pass_time: Callable[[int], None]  # milliseconds


class QuoteSourceContract:
    """The suite."""

    def test_every_symbol_has_one_answer(self, market: QuotedMarket) -> None:
        """One answer per symbol asked, under its name, whatever else is asked and however often."""
        symbols = [instrument.symbol for instrument in market.instruments]
        answers = _snapshot(market, [*symbols, "NO-SUCH", *symbols])
        assert set(answers) == {*symbols, "NO-SUCH"}
        assert all(answer.symbol == symbol for symbol, answer in answers.items())
        assert all(isinstance(answers[symbol], Quote) for symbol in symbols)
        assert _snapshot(market, []) == {}

    def test_a_symbol_that_cannot_be_quoted_says_why(self, market: QuotedMarket) -> None:
        """An unknown symbol gets a typed answer with a reason and a sentence, never None."""
        answer = _snapshot(market, ["NO-SUCH"])["NO-SUCH"]
        assert isinstance(answer, NoQuote)
        assert answer.reason is not UnknownReason.KNOWN
        assert answer.detail

    def test_quotes_are_sane(self, market: QuotedMarket) -> None:
        """Quotes are 0 < bid <= ask on the instrument's tick, stamped by a source that is named."""
        for instrument in market.instruments:
            quote = _snapshot(market, [instrument.symbol])[instrument.symbol]
            assert isinstance(quote, Quote)
            assert 0 < quote.bid <= quote.ask
            assert quote.bid % instrument.price_step_scaled == 0
            assert quote.ask % instrument.price_step_scaled == 0
            assert quote.source
            assert 0 < quote.source_time_ms <= quote.receive_time_ms <= market.now_ms()

    def test_time_does_not_run_back(self, market: QuotedMarket) -> None:
        """A later snapshot never has an older quote."""
        symbols = [instrument.symbol for instrument in market.instruments]
        last = dict.fromkeys(symbols, 0)
        for _ in range(30):
            for symbol, answer in _snapshot(market, symbols).items():
                if isinstance(answer, Quote):
                    assert answer.source_time_ms >= last[symbol]
                    last[symbol] = answer.source_time_ms
            market.pass_time(47_000)


def _snapshot(market: QuotedMarket, symbols: Sequence[str]) -> Mapping[str, Quote | NoQuote]:
    return market.source.snapshot(symbols, market.now_ms() + 5_000)
