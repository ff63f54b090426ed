"""Requirements 18 to 28 on adapters, as the router keeps them.

Each is a check that the real router passes, that a slow router without a mistake passes, too (but for
deadlines), and that a router with just the mistake in question fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Protocol

import pytest

from adapters.quotes.budget import BudgetSettings
from adapters.quotes.hop import Routed
from adapters.quotes.prices import price_text
from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome
from adapters.settings.model import ClassQuotes, QuoteSettings, Rate
from adapters.symbols.directory import Spelled
from engine.codes import UnknownReason
from engine.model import NoQuote, Quote, QuoteKind
from engine.units import PRICE_SCALE
from engine.verbs.facts import judge_quote
from engine.verbs.state import Memory
from tests.adapters.quotes.fakes import (
    BROKEN_CLIENT,
    FAILS,
    HANGS,
    NO_BUDGETS,
    NO_DATA,
    ONE_FAILS,
    RATE_LIMITED,
    SILENT,
    UNSUPPORTED,
    Act,
    Behaviour,
    FakeDirectory,
    World,
    fresh,
    price,
    world,
)
from tests.adapters.quotes.virtual import VirtualClock
from tests.adapters.quotes.wrong_router import Mistake, SequentialRouter


class Subject(Protocol):
    """What is checked."""

    def snapshot(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Quote | NoQuote]:
        """Return one answer per symbol."""

    def route(self, symbols: Sequence[str], deadline_ms: int) -> Mapping[str, Routed]:
        """Return the answers with their hops."""

    def price_text(self, price: Decimal, step: Decimal) -> str:
        """Return a price for people."""

    def directory_changed(self) -> None:
        """Ask again for what was not served."""


Maker = Callable[[World], Subject]


class _Real(QuoteRouter):
    """The real router, with the real text of prices beside it."""

    @staticmethod
    def price_text(price: Decimal, step: Decimal) -> str:
        return price_text(price, step)


def _real(made_of: World) -> Subject:
    router = made_of.router()
    router.__class__ = _Real
    assert isinstance(router, _Real)
    return router


def _of(told: Callable[[VirtualClock], Act]) -> Callable[[VirtualClock], Behaviour]:
    return lambda clock: lambda spelling: told(clock)


def _priced(text: str, clock: VirtualClock) -> Behaviour:
    return lambda spelling: Act(price(clock, text))


def check_requirement_18(make: Maker) -> None:
    """A quote has price, bid, ask, source, currency, the source's own time, the time of receipt, its kind."""
    here = world(
        _of(lambda clock: Act(price(clock, "100.5", age_seconds=9, spread="0.5", kind=QuoteKind.TRADE)))
    )
    stamp_ms = here.clock.now_utc_ms() - 9_000
    routed = make(here).route(["SPY"], here.deadline_ms())["SPY"]
    answer, given = routed.answer, routed.hops[0].quote
    assert isinstance(answer, Quote) and given is not None
    assert (answer.bid, answer.ask) == (100 * PRICE_SCALE, 101 * PRICE_SCALE)
    assert answer.source == routed.hops[0].source == routed.used == "a"
    assert abs(answer.source_time_ms - stamp_ms) <= 100, "the time is the source's own"
    assert answer.receive_time_ms >= stamp_ms + 9_000
    assert answer.kind is QuoteKind.TRADE
    assert (given.price, given.currency) == (Decimal("100.5"), "USD")


def check_requirement_19(make: Maker) -> None:
    """Without a source's time nothing is tradable; an old price is a typed answer that says its age."""
    here = world(_of(lambda clock: Act(price(clock, age_seconds=None))))
    answer = make(here).snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(answer, NoQuote), "its age is not known"
    assert answer.reason is UnknownReason.STALE
    ages = QuoteSettings(stock=ClassQuotes(order_age_seconds=300), crypto=ClassQuotes(order_age_seconds=60))
    here = world(_of(lambda clock: Act(price(clock, age_seconds=200))), settings=RouterSettings(ages))
    answers = make(here).snapshot(["SPY", "BTC-USD"], here.deadline_ms())
    old = answers["BTC-USD"]
    assert isinstance(answers["SPY"], Quote), "each class has its own age"
    assert isinstance(old, NoQuote) and old.reason is UnknownReason.STALE
    assert "200 s old, 60 s are allowed" in old.detail


def check_requirement_20(make: Maker) -> None:
    """Prices are finite, above 0 and in order; a price or a time of 0 is no data."""
    for text, spread, age in (
        ("0", "0", 1.0), ("-3", "0", 1.0), ("NaN", "0", 1.0), ("Infinity", "0", 1.0), ("5", "-1", 1.0),
        ("5", "5", 1.0), ("1e30", "0", 1.0), ("1e-30", "0", 1.0), ("5", "0", 0.0),
    ):  # fmt: skip

        def odd(clock: VirtualClock, text: str = text, spread: str = spread, age: float = age) -> Act:
            quote = price(clock, text, spread=spread)
            return Act(quote if age else replace(quote, source_time_ms=0))

        here = world(_of(odd))
        routed = make(here).route(["SPY"], here.deadline_ms())["SPY"]
        assert isinstance(routed.answer, NoQuote), (text, spread, age)
        assert routed.hops[0].outcome in (Outcome.NO_DATA, Outcome.FAILED)


def check_requirement_21(make: Maker) -> None:
    """A price in USDT is flagged, and not a price in USD unless the settings say so."""

    def tether(clock: VirtualClock) -> Act:
        return Act(price(clock, "0.45", currency="USDT"))

    for directory in (FakeDirectory(), FakeDirectory({("a", "ADA-USD"): Spelled("BINANCE:ADAUSDT")})):
        here = world(_of(tether), directory=directory)
        answer = make(here).snapshot(["ADA-USD"], here.deadline_ms())["ADA-USD"]
        assert isinstance(answer, NoQuote), "USDT is not USD"
        assert "USDT" in answer.detail
    allowed = RouterSettings(QuoteSettings(crypto=ClassQuotes(currencies=("USD", "USDT"))))
    here = world(_of(tether), settings=allowed)
    answer = make(here).snapshot(["ADA-USD"], here.deadline_ms())["ADA-USD"]
    assert isinstance(answer, Quote) and answer.source == "a/USDT", "used, and flagged"


def check_requirement_22(make: Maker) -> None:
    """Unsupported is for good until the directory changes, and no failure of the source."""

    def behaviour(clock: VirtualClock) -> Behaviour:
        return lambda spelling: UNSUPPORTED if spelling.startswith("NEW") else Act(price(clock))

    here = world(behaviour)
    router = make(here)
    unknown = [f"NEW{number}" for number in range(10)]
    for _ in range(5):
        answers = router.snapshot([*unknown, "SPY"], here.deadline_ms())
        assert isinstance(answers["SPY"], Quote), "the source works"
        assert all(_reason(answers[symbol]) is UnknownReason.NO_INSTRUMENT for symbol in unknown)
        here.clock.sleep(30)
    asked = here.sources["a"].asked
    assert [asked.count(symbol) for symbol in unknown] == [1] * len(unknown), "asked once, never again"
    router.directory_changed()
    router.snapshot(unknown, here.deadline_ms())
    assert [asked.count(symbol) for symbol in unknown] == [1] * len(unknown)
    assert [here.sources["a"].asked.count(symbol) for symbol in unknown] == [2] * len(unknown)


def check_requirement_23(make: Maker) -> None:
    """A breaker is one source's and one class's; what has no data does not open it."""

    def a(clock: VirtualClock) -> Behaviour:
        return lambda spelling: FAILS if spelling.endswith("-USD") else Act(price(clock))

    coins = [f"C{number}-USD" for number in range(9)]
    here = world(a, fresh)
    router = make(here)
    for _ in range(4):
        answers = router.snapshot([*coins, "SPY"], here.deadline_ms())
        assert all(isinstance(answer, Quote) for answer in answers.values())
        assert _source(answers["SPY"]) == "a", "coins fail at it, stocks do not"
        here.clock.sleep(1)
    before = len(here.sources["a"].asked)
    router.snapshot(coins, here.deadline_ms())
    assert len(here.sources["a"].asked) == before, "its breaker for coins is open"

    def quiet(clock: VirtualClock) -> Behaviour:
        return lambda spelling: NO_DATA if spelling.startswith("Q") else Act(price(clock))

    here = world(quiet)
    router = make(here)
    for _ in range(4):
        router.snapshot([f"Q{number}" for number in range(20)], here.deadline_ms())
    assert isinstance(router.snapshot(["SPY"], here.deadline_ms())["SPY"], Quote), "no data is no failure"


_FAILURES: Mapping[str, Act | Callable[[VirtualClock], Behaviour]] = {
    "500": FAILS,
    "429": RATE_LIMITED,
    "no data": NO_DATA,
    "unsupported": UNSUPPORTED,
    "silent": SILENT,
    "unreadable": ONE_FAILS,
    "broken client": BROKEN_CLIENT,
    "stale": _of(lambda clock: Act(price(clock, age_seconds=86_400))),
    "no time": _of(lambda clock: Act(price(clock, age_seconds=None))),
    "zeros": _of(lambda clock: Act(price(clock, "0"))),
    "from the future": _of(lambda clock: Act(price(clock, age_seconds=-60))),
    "in USDT": _of(lambda clock: Act(price(clock, currency="USDT"))),
}


def check_requirement_24(make: Maker) -> None:
    """Whatever a source does, and wherever in the order it is, every other one is asked after it."""
    for name, failure in _FAILURES.items():
        for position in range(4):
            told: list[Act | Callable[[VirtualClock], Behaviour]] = [NO_DATA] * 4
            told[position] = failure
            here = world(*told, fresh)
            routed = make(here).route(["SPY"], here.deadline_ms())["SPY"]
            assert routed.used == "e", f"{name} at {position}"
            assert [hop.source for hop in routed.hops] == list("abcde")
    here = world(*_FAILURES.values())
    answer = make(here).snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(answer, NoQuote)
    for name in here.sources:
        assert f"{name}: " in answer.detail, "a miss tells every hop's reason"
    assert "SENTINEL" not in answer.detail


def check_requirement_25(make: Maker) -> None:
    """A stored close is the last resort, is marked, and is never tradable."""

    def stored(clock: VirtualClock) -> Act:
        return Act(price(clock, "99", age_seconds=40_000, kind=QuoteKind.HISTORY))

    here = world(_of(stored), fresh)
    assert make(here).route(["SPY"], here.deadline_ms())["SPY"].used == "b", "anything fresh goes first"
    here = world(_of(stored), FAILS)
    answer = make(here).snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(answer, Quote), "it may value a position"
    judged = judge_quote(answer, Memory(), here.clock.now_utc_ms(), 10**6, 0.2)
    assert judged.state == "stale", "it prices no order"


def check_requirement_26(make: Maker) -> None:
    """No budget is overdrawn, late symbols do not starve, and a source's own wish is honoured."""
    settings = RouterSettings(budgets={"a": BudgetSettings((Rate(8, 60),))})
    here = world(fresh, settings=settings)
    router = make(here)
    symbols = [f"S{number:02}" for number in range(20)]
    seen: dict[str, int] = dict.fromkeys(symbols, 0)
    for _ in range(10):
        for symbol, answer in router.snapshot(symbols, here.deadline_ms()).items():
            seen[symbol] += isinstance(answer, Quote)
        here.clock.sleep(30)
    stamps = [at_ns for at_ns, _ in here.sources["a"].calls]
    minute_ns = 60 * 10**9
    for first, ninth in zip(stamps, stamps[8:], strict=False):
        assert ninth - first >= minute_ns, "more than eight in a minute"
    assert max(seen.values()) - min(seen.values()) <= 1, f"some starve: {seen}"
    here = world(RATE_LIMITED, fresh, settings=settings)
    router = make(here)
    for _ in range(5):
        router.snapshot(["SPY"], here.deadline_ms())
        here.clock.sleep(5)
    assert len(here.sources["a"].calls) == 1, "it asked for 30 s"
    here.clock.sleep(5)
    router.snapshot(["SPY"], here.deadline_ms())
    assert len(here.sources["a"].calls) == 2


def check_requirement_27(make: Maker) -> None:
    """Each hop and the whole pass end in time, whatever hangs."""
    here = world(HANGS, HANGS, HANGS, fresh, batch=10)
    router = make(here)
    symbols = [f"S{number}" for number in range(50)]
    deadline_ms = here.deadline_ms()
    routed = router.route(symbols, deadline_ms)
    assert here.clock.now_utc_ms() <= deadline_ms
    assert all(one.used == "d" for one in routed.values())
    assert all(hop.elapsed_ms <= NO_BUDGETS.hop_ms for one in routed.values() for hop in one.hops)
    begin_ms = here.clock.now_utc_ms()
    router.route(symbols, begin_ms + 100)
    assert here.clock.now_utc_ms() <= begin_ms + 100, "a short deadline"
    assert set(router.route(symbols, begin_ms - 1)) == set(symbols), "one that is past"


def check_requirement_28(make: Maker) -> None:
    """No price is rounded before use, and none is shown with fewer digits than it has."""
    for symbol, text, step in (
        ("ADA-USD", "0.45123", "0.0001"),
        ("SHIB-USD", "0.00001234", "0.00000001"),
        ("SPY", "580.1", "0.01"),
    ):
        here = world(partial(_priced, text))
        router = make(here)
        answer = router.snapshot([symbol], here.deadline_ms())[symbol]
        assert isinstance(answer, Quote), f"{symbol} has a price"
        assert answer.bid == answer.ask == int(Decimal(text) * PRICE_SCALE)
        shown = router.price_text(Decimal(text), Decimal(step))
        assert Decimal(shown) == Decimal(text)
        assert len(shown.partition(".")[2]) >= len(step.partition(".")[2])


_CHECKS = [
    pytest.param(check, mistake, id=str(number), marks=pytest.mark.requirement(number))
    for number, check, mistake in (
        (18, check_requirement_18, Mistake.OWN_TIME),
        (19, check_requirement_19, Mistake.NO_TIME_IS_NOW),
        (20, check_requirement_20, Mistake.ANY_PRICE),
        (21, check_requirement_21, Mistake.TETHER_IS_DOLLAR),
        (22, check_requirement_22, Mistake.UNSUPPORTED_IS_FAILURE),
        (23, check_requirement_23, Mistake.ONE_BREAKER),
        (24, check_requirement_24, Mistake.GIVES_UP),
        (25, check_requirement_25, Mistake.HISTORY_IS_A_QUOTE),
        (26, check_requirement_26, Mistake.NO_BUDGET),
        (27, check_requirement_27, Mistake.WAITS),
        (28, check_requirement_28, Mistake.TWO_DECIMALS),
    )
]


@pytest.mark.parametrize(("check", "mistake"), _CHECKS)
def test_the_router_keeps_the_requirement(check: Callable[[Maker], None], mistake: Mistake) -> None:
    """The real router passes."""
    check(_real)


@pytest.mark.parametrize(("check", "mistake"), _CHECKS)
def test_a_wrong_router_fails(check: Callable[[Maker], None], mistake: Mistake) -> None:
    """A router with the one mistake does not."""
    with pytest.raises(AssertionError):
        check(lambda made_of: SequentialRouter(made_of, mistake))


@pytest.mark.parametrize(
    ("check", "mistake"), [case for case in _CHECKS if case.id != "27"], ids=lambda value: None
)
def test_it_is_the_mistake_that_fails(check: Callable[[Maker], None], mistake: Mistake) -> None:
    """The same router without its mistake passes (what it cannot keep is a deadline)."""
    check(SequentialRouter)


def _reason(answer: Quote | NoQuote) -> UnknownReason | None:
    return answer.reason if isinstance(answer, NoQuote) else None


def _source(answer: Quote | NoQuote) -> str | None:
    return answer.source if isinstance(answer, Quote) else None
