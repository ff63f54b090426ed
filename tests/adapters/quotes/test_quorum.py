"""Quorum: several sources must agree, else the quote is Unknown and says who disagreed, and by how much."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.quotes.hop import Hop
from adapters.quotes.quorum import chosen, disagreement
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome, SourceQuote
from adapters.settings.model import ClassQuotes, Quorum, QuoteSettings
from engine.codes import UnknownReason
from engine.model import NoQuote, Quote, QuoteKind
from engine.units import PRICE_SCALE
from tests.adapters.quotes.fakes import FAILS, HANGS, Act, Behaviour, fresh, price, world
from tests.adapters.quotes.virtual import VirtualClock

_TWO = Quorum(2, Decimal("0.005"))
_SETTINGS = RouterSettings(QuoteSettings(crypto=ClassQuotes(quorum=_TWO)))


def _at(text: str, seconds: float = 0.02) -> object:
    def make(clock: VirtualClock) -> Behaviour:
        return lambda spelling: Act(price(clock, text), seconds)

    return make


def _answer(*told: object) -> Quote | NoQuote:
    here = world(*told, settings=_SETTINGS)  # type: ignore[arg-type] # behaviours, as _at makes them
    return here.router().snapshot(["ADA-USD"], here.deadline_ms())["ADA-USD"]


def test_two_that_agree_are_believed() -> None:
    """The first in the order that has company is the answer."""
    answer = _answer(_at("0.45123"), _at("0.45200"))
    assert isinstance(answer, Quote)
    assert (answer.source, answer.bid) == ("a", 45_123_000)


def test_the_odd_one_out_is_not_the_answer() -> None:
    """Also where it is the first in the order."""
    answer = _answer(_at("45.123"), _at("0.45123"), _at("0.45200"))
    assert isinstance(answer, Quote) and answer.source == "b"


def test_two_that_disagree_make_the_quote_unknown() -> None:
    """It says who said what, and how far apart they are."""
    answer = _answer(_at("0.45123"), _at("0.46200"), FAILS)
    assert isinstance(answer, NoQuote) and answer.reason is UnknownReason.UNCONFIRMED
    assert "a 0.45123, b 0.462 (+2.39 %)" in answer.detail
    assert "2 sources must agree within 0.5 %" in answer.detail
    assert "c: failed, HTTP 500" in answer.detail


def test_one_alone_is_not_enough() -> None:
    """However fresh; the others' reasons are told."""
    answer = _answer(_at("0.45123"), FAILS)
    assert isinstance(answer, NoQuote) and answer.reason is UnknownReason.UNCONFIRMED
    assert "fresh: a 0.45123" in answer.detail
    assert "b: failed" in answer.detail


def test_none_at_all_is_what_it_always_is() -> None:
    """No price is missing, not unconfirmed."""
    answer = _answer(FAILS, FAILS)
    assert isinstance(answer, NoQuote) and answer.reason is UnknownReason.MISSING


def test_they_are_asked_side_by_side() -> None:
    """Three sources of a second each take one second, and one that hangs no more than its limit."""
    slow = [_at("0.45", 1.0) for _ in range(3)]
    here = world(*slow, HANGS, settings=_SETTINGS)  # type: ignore[arg-type] # behaviours, as _at makes them
    begin_ms = here.clock.now_utc_ms()
    assert isinstance(here.router().snapshot(["ADA-USD"], here.deadline_ms())["ADA-USD"], Quote)
    assert here.clock.now_utc_ms() - begin_ms <= _SETTINGS.hop_ms + 10


def test_other_classes_need_none() -> None:
    """A quorum for coins asks nothing of stocks."""
    here = world(fresh, FAILS, settings=_SETTINGS)
    router = here.router()
    assert isinstance(router.snapshot(["SPY"], here.deadline_ms())["SPY"], Quote)
    assert here.sources["b"].calls == []


@given(
    st.lists(st.integers(9_900, 10_100), min_size=1, max_size=5),
    st.integers(2, 3),
    st.sampled_from(["0", "0.001", "0.005", "0.02"]),
)
def test_the_chosen_one_has_company(cents: list[int], needed: int, within: str) -> None:
    """By trying every group: the first price that is in some group of the size which is near together."""
    quorum = Quorum(needed, Decimal(within))
    hops = [
        Hop(str(index), "X", Outcome.FRESH, quote=_quoted(Decimal(value) / 100), request=1)
        for index, value in enumerate(cents)
    ]
    agreed = {
        index
        for group in combinations(range(len(cents)), needed)
        if max(cents[i] for i in group) - min(cents[i] for i in group)
        <= Decimal(within) * min(cents[i] for i in group)
        for index in group
    }
    found = chosen(quorum, hops)
    assert (None if found is None else int(found.source)) == min(agreed, default=None)
    assert disagreement(quorum, hops)


def _quoted(value: Decimal) -> SourceQuote:
    return SourceQuote(value, value, value, "USD", QuoteKind.QUOTE, 1, 1)


@pytest.mark.parametrize("spread", ["0.1", "0.2"])
def test_what_is_compared_is_the_middle(spread: str) -> None:
    """A wide book does not disagree with a narrow one about the same price."""

    def wide(clock: VirtualClock) -> Behaviour:
        return lambda spelling: Act(price(clock, "10", spread=spread))

    answer = _answer(wide, _at("10.01"))
    assert isinstance(answer, Quote) and answer.bid < 10 * PRICE_SCALE
