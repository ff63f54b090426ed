"""Why ADA-USD and DOGE-USD had no price in the old agent while BTC-USD had one, and that they have here.

The same sources, at the same instant, with the faults that the vendors really have: the first serves no
ADA, and its book of DOGE is quiet for minutes; the second prices in USDT; the third gives no time of its
own; the fourth works.
"""

from __future__ import annotations

import pytest

from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome
from adapters.settings.model import ClassQuotes, QuoteSettings
from adapters.symbols.directory import NotServed, Spelled
from engine.codes import UnknownReason
from engine.model import AssetClass, NoQuote, Quote
from engine.units import PRICE_SCALE
from tests.adapters.quotes.fakes import (
    UNSUPPORTED,
    Act,
    Behaviour,
    FakeDirectory,
    FakeSource,
    World,
    price,
)
from tests.adapters.quotes.virtual import VirtualClock
from tests.adapters.quotes.wrong_router import OldRouter

_COINS = ("BTC-USD", "ADA-USD", "DOGE-USD")
_PRICES = {"BTC": "93412.55", "ADA": "0.45123", "DOGE": "0.15012"}
_DAILY_STAMP_SECONDS = 12 * 3600


def _coin(spelling: str) -> str:
    return next(name for name in _PRICES if name in spelling)


def _world() -> World:
    clock = VirtualClock()

    def alpaca(spelling: str) -> Act:
        ages = {"BTC": 2.0, "DOGE": 200.0}
        coin = _coin(spelling)
        return Act(price(clock, _PRICES[coin], age_seconds=ages[coin])) if coin in ages else UNSUPPORTED

    def finnhub(spelling: str) -> Act:
        return Act(price(clock, _PRICES[_coin(spelling)], currency="USDT"))

    def twelvedata(spelling: str) -> Act:
        return Act(price(clock, _PRICES[_coin(spelling)], age_seconds=_DAILY_STAMP_SECONDS))

    def yahoo(spelling: str) -> Act:
        return Act(price(clock, _PRICES[_coin(spelling)], age_seconds=15.0))

    behaviours: dict[str, Behaviour] = {
        "alpaca": alpaca,
        "finnhub": finnhub,
        "twelvedata": twelvedata,
        "yahoo": yahoo,
    }
    sources = {name: FakeSource(name, clock, act) for name, act in behaviours.items()}
    spellings: dict[tuple[str, str], Spelled | NotServed] = {}
    for symbol in _COINS:
        base = symbol.partition("-")[0]
        spellings["alpaca", symbol] = Spelled(f"{base}/USD")
        spellings["finnhub", symbol] = Spelled(f"BINANCE:{base}USDT", "USDT")
        spellings["twelvedata", symbol] = Spelled(f"{base}/USD")
    spellings["alpaca", "ADA-USD"] = NotServed("Alpaca lists no ADA/USD")
    settings = RouterSettings(QuoteSettings(crypto=ClassQuotes(order_age_seconds=60)))
    order = dict.fromkeys(AssetClass, tuple(sources))
    return World(clock, sources, order, FakeDirectory(spellings), settings)


def check_every_coin_is_priced(router: OldRouter | QuoteRouter, here: World) -> None:
    """Each of the three coins has a price, with all of its digits."""
    answers = router.snapshot(_COINS, here.deadline_ms())
    for symbol in _COINS:
        answer = answers[symbol]
        assert isinstance(answer, Quote), f"{symbol}: {answer}"
        assert answer.bid / PRICE_SCALE == float(_PRICES[_coin(symbol)])


def test_the_router_prices_all_three() -> None:
    """Pass after pass."""
    here = _world()
    router = here.router()
    for _ in range(5):
        check_every_coin_is_priced(router, here)
        here.clock.sleep(30)


def test_the_old_order_of_things_does_not() -> None:
    """It fails on ADA and DOGE, for no reason that it could tell, and BTC works: no fault of the format."""
    here = _world()
    old = OldRouter(here)
    with pytest.raises(AssertionError, match="ADA-USD"):
        check_every_coin_is_priced(old, here)
    answers = OldRouter(here).snapshot(_COINS, here.deadline_ms())
    assert isinstance(answers["BTC-USD"], Quote)
    for symbol in ("ADA-USD", "DOGE-USD"):
        assert answers[symbol] == NoQuote(symbol, UnknownReason.MISSING, "all methods failed")
    assert here.sources["yahoo"].asked == [], "the source that works is never reached"


def test_then_its_one_breaker_hides_what_worked() -> None:
    """The failures of two coins close the way for the third, too."""
    here = _world()
    old = OldRouter(here)
    for _ in range(3):
        old.snapshot(("ADA-USD", "DOGE-USD"), here.deadline_ms())
    assert isinstance(old.snapshot(["BTC-USD"], here.deadline_ms())["BTC-USD"], NoQuote)


def test_every_hop_is_told() -> None:
    """Where ADA and DOGE went, and why each source before the last was not used."""
    here = _world()
    routed = here.router().route(_COINS, here.deadline_ms())
    assert [hop.outcome for hop in routed["ADA-USD"].hops] == [
        Outcome.UNSUPPORTED, Outcome.UNSUPPORTED, Outcome.STALE, Outcome.FRESH,
    ]  # fmt: skip
    assert [hop.reason for hop in routed["DOGE-USD"].hops] == [
        "200 s old, 60 s are allowed",
        "its price is in USDT, which the settings do not take for USD",
        "43200 s old, 60 s are allowed",
        "",
    ]
    assert [one.used for one in routed.values()] == ["alpaca", "yahoo", "yahoo"]
