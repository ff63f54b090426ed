"""The router's ways: batches, turns, backoff, trials, late answers, what is learnt, and misses."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.quotes.breaker import BreakerState
from adapters.quotes.budget import BudgetSettings
from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Miss, Outcome, SourceFailedError
from adapters.settings.model import Rate, Settings
from adapters.symbols.directory import NotServed, Spelled
from adapters.symbols.inferred import infer_instrument
from adapters.symbols.store import SymbolStore
from engine.codes import UnknownReason
from engine.errors import ConfigurationError
from engine.model import AssetClass, NoQuote, Quote
from tests.adapters.quotes.fakes import (
    BROKEN_CLIENT,
    FAILS,
    HANGS,
    NO_BUDGETS,
    NO_DATA,
    RATE_LIMITED,
    UNSUPPORTED,
    Act,
    Behaviour,
    FakeDirectory,
    fresh,
    price,
    world,
)
from tests.adapters.quotes.virtual import FOREVER, VirtualClock, virtual
from tests.contracts.quote_source import QuotedMarket, QuoteSourceContract


class TestContract(QuoteSourceContract):
    """The router keeps the contract of every source of quotes."""

    @pytest.fixture
    def market(self) -> QuotedMarket:
        """A failing source before one that works."""
        here = world(FAILS, fresh)
        symbols = {"BTC-USD": AssetClass.CRYPTO, "SPY": AssetClass.STOCK, "GLD": AssetClass.COMMODITY}
        instruments = [infer_instrument(name, kind, "24/7", [100.0]) for name, kind in symbols.items()]
        return QuotedMarket(
            here.router(), instruments, here.clock.now_utc_ms, lambda ms: here.clock.sleep(ms / 1000)
        )


def _symbols(count: int) -> list[str]:
    return [f"S{number:03}" for number in range(count)]


def test_a_batch_is_one_call() -> None:
    """A hundred symbols at a source that takes forty at once are three calls, each symbol in one of them."""
    here = world(fresh, batch=40)
    routed = here.router().route(_symbols(100), here.deadline_ms())
    assert [len(spellings) for _, spellings in here.sources["a"].calls] == [40, 40, 20]
    assert sorted(here.sources["a"].asked) == _symbols(100)
    assert {one.hops[0].request for one in routed.values()} == {1, 2, 3}


def test_a_batch_is_of_one_class() -> None:
    """Stocks and coins are never in the same call."""
    here = world(fresh, batch=10)
    here.router().snapshot(["SPY", "BTC-USD", "AAPL", "ADA-USD", "GLD"], here.deadline_ms())
    assert sorted(tuple(sorted(spellings)) for _, spellings in here.sources["a"].calls) == [
        ("AAPL", "SPY"), ("ADA-USD", "BTC-USD"), ("GLD",),
    ]  # fmt: skip


def test_two_symbols_with_one_spelling_are_asked_once() -> None:
    """And both get the answer."""
    spellings: dict[tuple[str, str], Spelled | NotServed] = {("a", "BRK-B"): Spelled("BRK.B")}
    here = world(fresh, batch=10, directory=FakeDirectory(spellings))
    answers = here.router().snapshot(["BRK.B", "BRK-B"], here.deadline_ms())
    assert here.sources["a"].asked == ["BRK.B"]
    assert all(isinstance(answer, Quote) for answer in answers.values())


def test_where_symbols_are_counted_a_batch_is_cut_to_the_budget() -> None:
    """Eight credits a minute, batches of twenty: eight symbols now, the others the next minute."""
    budgets = {"a": BudgetSettings((Rate(8, 60),), per_symbol=True)}
    here = world(fresh, batch=20, settings=RouterSettings(budgets=budgets))
    router = here.router()
    router.snapshot(_symbols(16), here.deadline_ms())
    assert [len(spellings) for _, spellings in here.sources["a"].calls] == [8]
    here.clock.sleep(60)
    router.snapshot(_symbols(16), here.deadline_ms())
    assert sorted(here.sources["a"].asked) == _symbols(16)


def test_a_budget_that_comes_back_in_time_is_waited_for() -> None:
    """Thirty a second: forty symbols are all asked for within the source's time."""
    here = world(fresh, settings=RouterSettings(budgets={"a": BudgetSettings((Rate(30, 1),))}))
    answers = here.router().snapshot(_symbols(40), here.deadline_ms())
    assert sum(isinstance(answer, Quote) for answer in answers.values()) == 40


def test_who_is_beyond_the_budget_goes_on_at_once() -> None:
    """Nobody waits at a source for what will not come."""
    here = world(fresh, fresh, settings=RouterSettings(budgets={"a": BudgetSettings((Rate(3, 60),))}))
    routed = here.router().route(_symbols(10), here.deadline_ms())
    skipped = [one.hops[0] for one in routed.values() if one.used == "b"]
    assert len(skipped) == 7
    assert all(hop.elapsed_ms == 0 and hop.outcome is Outcome.SKIPPED for hop in skipped)
    assert skipped[0].reason.startswith("its budget")


def test_a_symbol_that_fails_waits_longer_and_longer_alone() -> None:
    """Its neighbours at the same source are asked on; a good answer ends the waiting."""
    good = False

    def behaviour(clock: VirtualClock) -> Behaviour:
        bad = Act(Miss(Outcome.FAILED, "it cannot be read"))
        return lambda spelling: bad if spelling == "BAD" and not good else Act(price(clock))

    here = world(behaviour, batch=10)
    router = here.router()
    asked = 0
    for _ in range(40):
        answers = router.snapshot(["BAD", "SPY"], here.deadline_ms())
        assert isinstance(answers["SPY"], Quote)
        here.clock.sleep(1)
    asked = here.sources["a"].asked.count("BAD")
    assert 3 < asked < 25, "fewer than the passes, more than none"
    assert "in a row" in str(router.snapshot(["BAD"], here.deadline_ms())["BAD"]) or asked
    good = True
    here.clock.sleep(120)
    assert isinstance(router.snapshot(["BAD"], here.deadline_ms())["BAD"], Quote)
    here.clock.sleep(1)
    assert isinstance(router.snapshot(["BAD"], here.deadline_ms())["BAD"], Quote)


def test_a_source_that_failed_is_tried_with_one_call() -> None:
    """After its breaker's time one call goes out; when that works, all do."""
    works = False

    def behaviour(clock: VirtualClock) -> Behaviour:
        return lambda spelling: Act(price(clock)) if works else FAILS

    here = world(behaviour)
    router = here.router()
    router.snapshot(_symbols(10), here.deadline_ms())
    assert router.breaker("a", AssetClass.STOCK) is BreakerState.OPEN
    assert router.breaker("a", AssetClass.CRYPTO) is BreakerState.CLOSED
    tried = len(here.sources["a"].calls)
    here.clock.sleep(31)
    router.snapshot(_symbols(10), here.deadline_ms())
    assert len(here.sources["a"].calls) == tried + 1
    works = True
    here.clock.sleep(200)
    router.snapshot(_symbols(10), here.deadline_ms())
    assert router.breaker("a", AssetClass.STOCK) is BreakerState.CLOSED
    assert all(isinstance(a, Quote) for a in router.snapshot(_symbols(10), here.deadline_ms()).values())


def test_a_source_that_says_when_is_not_held_guilty() -> None:
    """A 429 with Retry-After leaves breaker and symbols alone, and is obeyed to the second."""
    here = world(RATE_LIMITED, fresh)
    router = here.router()
    for _ in range(10):
        routed = router.route(["SPY"], here.deadline_ms())["SPY"]
        assert routed.used == "b"
        assert router.breaker("a", AssetClass.STOCK) is BreakerState.CLOSED
        here.clock.sleep(31)
    assert len(here.sources["a"].calls) == 10


def test_a_429_without_a_time_is_a_failure() -> None:
    """Then the breaker does what it is for."""
    here = world(Act(SourceFailedError("HTTP 429", 0.0)), fresh)
    router = here.router()
    router.snapshot(_symbols(5), here.deadline_ms())
    assert router.breaker("a", AssetClass.STOCK) is BreakerState.OPEN


def test_while_all_of_its_workers_hang_a_source_is_busy() -> None:
    """It is passed over at once, with that reason, and no more calls are begun, pass after pass."""
    here = world(HANGS, fresh)
    router = here.router()
    router.snapshot(_symbols(20), here.deadline_ms())
    assert len(here.sources["a"].calls) == NO_BUDGETS.workers
    for _ in range(5):
        here.clock.sleep(300)
        begin_ms = here.clock.now_utc_ms()
        routed = router.route(_symbols(20), here.deadline_ms())
        assert here.clock.now_utc_ms() - begin_ms < 500
        assert {one.hops[0].reason for one in routed.values()} == {
            "busy: earlier requests still hang on all of its workers"
        }
        assert {one.used for one in routed.values()} == {"b"}
    assert len(here.sources["a"].calls) == NO_BUDGETS.workers


def test_a_late_answer_helps_while_its_own_time_allows() -> None:
    """A source that takes 3 s is not waited for; what it said is used later, as long as it is fresh."""
    slow = True

    def behaviour(clock: VirtualClock) -> Behaviour:
        return lambda spelling: Act(price(clock, "42"), 3.0) if slow else HANGS

    here = world(behaviour)
    router = here.router()
    first = router.snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(first, NoQuote), "too late for this pass"
    slow = False
    here.clock.sleep(10)
    routed = router.route(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(routed.answer, Quote) and routed.answer.bid == int(Decimal(42) * 10**8)
    assert routed.hops[0].reason.startswith("from an answer that came too late")
    here.clock.sleep(60)
    assert isinstance(router.snapshot(["SPY"], here.deadline_ms())["SPY"], NoQuote), "it has grown old"


def test_a_late_answer_is_forgotten_when_a_newer_one_came() -> None:
    """Time does not run back."""
    turns: list[Act] = []

    def behaviour(clock: VirtualClock) -> Behaviour:
        turns.extend([Act(price(clock, "42"), 3.0), Act(price(clock, "43")), FAILS])
        return lambda spelling: turns.pop(0)

    here = world(behaviour)
    router = here.router()
    router.snapshot(["SPY"], here.deadline_ms())
    here.clock.sleep(5)
    second = router.snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(second, Quote) and second.bid == 43 * 10**8
    here.clock.sleep(1)
    assert isinstance(router.snapshot(["SPY"], here.deadline_ms())["SPY"], NoQuote)


@pytest.mark.parametrize("hanging", range(4))
def test_the_others_keep_their_share_of_the_time(hanging: int) -> None:
    """However many hang before it, the last source is asked, with time to answer."""
    here = world(*[HANGS] * hanging, lambda clock: fresh(clock, seconds=0.9))
    deadline_ms = here.deadline_ms(4_000)
    routed = here.router().route(["SPY"], deadline_ms)["SPY"]
    assert routed.used == chr(ord("a") + hanging)
    assert here.clock.now_utc_ms() <= deadline_ms


def test_what_is_not_served_is_learnt_once() -> None:
    """The registry is told, and asked as before: when it says otherwise, so does the router."""
    here = world(UNSUPPORTED, fresh)
    learnt: list[tuple[str, Mapping[str, str]]] = []

    def learn(source: str, reasons: Mapping[str, str]) -> None:
        learnt.append((source, reasons))
        here.directory.spellings.update({(source, symbol): NotServed(why) for symbol, why in reasons.items()})

    router = QuoteRouter(
        here.order, here.sources, here.directory, here.clock, random.Random(1), learn=learn,
        **virtual(here.clock),
    )  # fmt: skip
    for _ in range(3):
        router.snapshot(["NEW", "SPY"], here.deadline_ms())
    assert learnt == [("a", {"NEW": "it does not know the symbol", "SPY": "it does not know the symbol"})]
    here.directory.spellings.clear()
    router.snapshot(["NEW"], here.deadline_ms())
    assert here.sources["a"].asked == ["NEW", "SPY", "NEW"]


def test_the_registry_on_disk_learns(tmp_path: Path) -> None:
    """With the real registry what is not served is asked once, also after a restart."""
    here = world(UNSUPPORTED, fresh)
    here.sources["a"].name, here.sources["b"].name = "alpaca", "yahoo"
    sources = {source.name: source for source in here.sources.values()}
    for _ in range(2):
        store = SymbolStore(tmp_path / "symbols.json", now_ms=here.clock.now_utc_ms())

        def learn(source: str, reasons: Mapping[str, str], store: SymbolStore = store) -> None:
            store.learn(source, reasons, here.clock.now_utc_ms())

        router = QuoteRouter(
            dict.fromkeys(AssetClass, tuple(sources)), sources, store, here.clock, random.Random(1),
            learn=learn, **virtual(here.clock),
        )  # fmt: skip
        for _ in range(3):
            assert router.route(["ADA-USD"], here.deadline_ms())["ADA-USD"].used == "yahoo"
    assert sources["alpaca"].asked == ["ADA/USD"]


def test_a_wish_that_comes_late_is_honoured() -> None:
    """A 429 that took longer than the pass."""
    late = Act(SourceFailedError("HTTP 429", 100.0), 6.0)
    here = world(late, fresh)
    router = here.router()
    router.snapshot(["SPY"], here.deadline_ms())
    here.clock.sleep(30)
    router.snapshot(["GLD"], here.deadline_ms())
    hop = router.route(["AAPL"], here.deadline_ms())["AAPL"].hops[0]
    assert hop.reason.startswith("it asked to be left alone")


def test_a_pass_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """No callback runs, or fails, after its pass."""
    here = world(HANGS, RATE_LIMITED, BROKEN_CLIENT, UNSUPPORTED, fresh, batch=3)
    router = here.router()
    for _ in range(10):
        router.snapshot(_symbols(20), here.deadline_ms())
        here.clock.sleep(7)
    assert caplog.records == []


def test_another_spelling_is_asked_again() -> None:
    """What is known to be unsupported is a spelling, not a symbol."""
    here = world(UNSUPPORTED)
    router = here.router()
    router.snapshot(["BRK.B"], here.deadline_ms())
    here.directory.spellings["a", "BRK.B"] = Spelled("BRK-B")
    router.snapshot(["BRK.B"], here.deadline_ms())
    assert here.sources["a"].asked == ["BRK.B", "BRK-B"]


def test_what_the_directory_knows_costs_no_request() -> None:
    """Neither "not served" nor a currency that would not be used."""
    spellings: dict[tuple[str, str], Spelled | NotServed] = {
        ("a", "ADA-USD"): NotServed("it lists no ADA"),
        ("b", "ADA-USD"): Spelled("BINANCE:ADAUSDT", "USDT"),
    }
    here = world(fresh, fresh, directory=FakeDirectory(spellings))
    router = here.router()
    answer = router.snapshot(["ADA-USD"], here.deadline_ms())["ADA-USD"]
    assert isinstance(answer, NoQuote) and answer.reason is UnknownReason.NO_INSTRUMENT
    assert answer.detail.startswith("a: unsupported, it lists no ADA; b: unsupported, its price is in USDT")
    assert here.sources["a"].calls == here.sources["b"].calls == []
    told = router.survey(["ADA-USD"], here.deadline_ms())["ADA-USD"]
    assert told.hops[1].quote is not None, "who wants to see everything is shown it"


def test_a_survey_asks_everyone() -> None:
    """The answer is the same as a pass gives; the other sources' prices are told, too."""
    here = world(NO_DATA, fresh, lambda clock: fresh(clock, "101"), FAILS)
    told = here.router().survey(["SPY"], here.deadline_ms())["SPY"]
    assert [hop.outcome for hop in told.hops] == [
        Outcome.NO_DATA, Outcome.FRESH, Outcome.FRESH, Outcome.FAILED,
    ]  # fmt: skip
    assert told.used == "b"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ((FAILS, NO_DATA), UnknownReason.MISSING),
        ((UNSUPPORTED, NO_DATA), UnknownReason.MISSING),
        ((UNSUPPORTED, UNSUPPORTED), UnknownReason.NO_INSTRUMENT),
        ((UNSUPPORTED, HANGS), UnknownReason.MISSING),
    ],
)
def test_why_a_symbol_has_no_quote(told: tuple[Act, ...], reason: UnknownReason) -> None:
    """The code of a miss."""
    here = world(*told)
    answer = here.router().snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(answer, NoQuote) and answer.reason is reason


def test_one_stale_source_makes_it_stale() -> None:
    """An old price says more than none."""
    here = world(FAILS, lambda clock: lambda spelling: Act(price(clock, age_seconds=900)), UNSUPPORTED)
    answer = here.router().snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert isinstance(answer, NoQuote) and answer.reason is UnknownReason.STALE


def test_a_symbol_or_class_that_nobody_has() -> None:
    """Typed answers, and no call."""
    here = world(fresh)
    here.order = {AssetClass.STOCK: ("a",)}
    answers = here.router().snapshot(["NO-SUCH", "BTC-USD"], here.deadline_ms())
    assert answers["NO-SUCH"] == NoQuote("NO-SUCH", UnknownReason.NO_INSTRUMENT, "there is no symbol NO-SUCH")
    assert "no source of quotes is set for the class crypto" in str(answers["BTC-USD"])
    assert here.sources["a"].calls == []


def test_a_client_that_breaks_tells_no_secret() -> None:
    """Of an exception that nobody foresaw only the name is told."""
    here = world(BROKEN_CLIENT)
    answer = here.router().snapshot(["SPY"], here.deadline_ms())["SPY"]
    assert "SENTINEL" not in str(answer)
    assert "its client failed (RuntimeError)" in str(answer)


@pytest.mark.parametrize(("names", "message"), [(("a", "z"), "'z' is no source"), (("a", "a"), "twice")])
def test_an_order_that_cannot_be(names: tuple[str, ...], message: str) -> None:
    """A source that is not there, or is named twice."""
    here = world(fresh)
    here.order = {AssetClass.STOCK: names}
    with pytest.raises(ConfigurationError, match=message):
        here.router()


def test_settings_become_the_routers() -> None:
    """Budgets by source; Twelve Data counts symbols."""
    settings = RouterSettings.of(Settings(), ["alpaca", "twelvedata", "history"])
    assert settings.budgets["alpaca"] == BudgetSettings((Rate(200, 60),), per_symbol=False)
    assert settings.budgets["twelvedata"].per_symbol
    assert (settings.total_ms, settings.hop_ms) == (5_000, 2_000)
    assert settings.demands(AssetClass.CRYPTO).tradable_seconds == 120


def test_nothing_is_virtual_for_ever() -> None:
    """The virtual clock itself: waiting for ever outside a worker is a mistake that is told."""
    with pytest.raises(AssertionError, match="for ever"):
        VirtualClock().sleep(FOREVER)
