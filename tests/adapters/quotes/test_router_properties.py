"""What holds of the router whatever its sources do: random behaviours, several passes, virtual time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.quotes.breaker import BreakerState
from adapters.quotes.budget import BudgetSettings
from adapters.quotes.hop import Routed
from adapters.quotes.prices import as_quote
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Outcome
from adapters.settings.model import BackoffSettings, BreakerSettings, QuoteSettings, Rate
from engine.codes import UnknownReason
from engine.model import AssetClass, Quote, QuoteKind
from tests.adapters.quotes.fakes import (
    BROKEN_CLIENT,
    FAILS,
    HANGS,
    NO_DATA,
    ONE_FAILS,
    RATE_LIMITED,
    SILENT,
    UNSUPPORTED,
    Act,
    FakeDirectory,
    FakeSource,
    World,
    price,
)
from tests.adapters.quotes.virtual import VirtualClock

_SYMBOLS = ("SPY", "BRK.B", "GLD", "BTC-USD", "ADA-USD", "DOGE-USD", "AAPL")
_SOURCES = ("a", "b", "c")
_MISSES = {
    "fails": FAILS, "one fails": ONE_FAILS, "broken": BROKEN_CLIENT, "limited": RATE_LIMITED,
    "no data": NO_DATA, "unsupported": UNSUPPORTED, "silent": SILENT, "hangs": HANGS,
}  # fmt: skip
_PRICED = ("fresh", "slow", "too slow", "stale", "no time", "tether", "history", "crossed")
_HARMLESS = ("fresh", "stale", "no time", "tether", "history", "no data", "unsupported", "silent", "crossed")


@dataclass(frozen=True)
class Drawn:
    """What each source does for each symbol in each pass, in which batches and budgets."""

    kinds: dict[tuple[str, str], list[str]]
    batches: dict[str, int]
    budgets: dict[str, BudgetSettings]
    pauses: list[int]


def _drawn(kinds: tuple[str, ...]) -> st.SearchStrategy[Drawn]:
    told = st.lists(st.sampled_from(kinds), min_size=1, max_size=3)
    rates = st.lists(st.builds(Rate, st.integers(1, 6), st.sampled_from([1, 60, 3600])), max_size=2)
    return st.builds(
        Drawn,
        st.fixed_dictionaries({(source, symbol): told for source in _SOURCES for symbol in _SYMBOLS}),
        st.fixed_dictionaries(dict.fromkeys(_SOURCES, st.integers(1, 4))),
        st.fixed_dictionaries(
            dict.fromkeys(_SOURCES, st.builds(BudgetSettings, rates.map(tuple), st.booleans()))
        ),
        st.lists(st.sampled_from([0, 1, 30, 90]), min_size=1, max_size=4),
    )


def _act(kind: str, clock: VirtualClock) -> Act:
    match kind:
        case "slow":
            return Act(price(clock), 0.9)
        case "too slow":
            return Act(price(clock), 7.0)
        case "stale":
            return Act(price(clock, age_seconds=5_000))
        case "no time":
            return Act(price(clock, age_seconds=None))
        case "tether":
            return Act(price(clock, currency="USDT"))
        case "history":
            return Act(price(clock, kind=QuoteKind.HISTORY))
        case "crossed":
            return Act(price(clock, spread="-1"))
        case "fresh":
            return Act(price(clock))
    return _MISSES[kind]


def _world(drawn: Drawn) -> World:
    clock = VirtualClock()
    turns: dict[tuple[str, str], int] = defaultdict(int)

    def source(name: str) -> FakeSource:
        def act(symbol: str) -> Act:
            told = drawn.kinds[name, symbol]
            turns[name, symbol] += 1
            return _act(told[(turns[name, symbol] - 1) % len(told)], clock)

        return FakeSource(name, clock, act, drawn.batches[name])

    quotes = QuoteSettings(
        breaker=BreakerSettings(2, 20), backoff=BackoffSettings(1, 8), source_deadline_seconds=2
    )
    return World(
        clock,
        {name: source(name) for name in _SOURCES},
        dict.fromkeys(AssetClass, _SOURCES),
        FakeDirectory(),
        RouterSettings(quotes, drawn.budgets),
    )


@settings(max_examples=60)
@given(_drawn((*_MISSES, *_PRICED)))
def test_one_answer_each_the_first_usable_one_and_in_time(drawn: Drawn) -> None:
    """Exactly one answer per symbol, made of the first usable hop; nobody is passed over; the pass ends."""
    here = _world(drawn)
    router = here.router()
    for pause in drawn.pauses:
        deadline_ms = here.deadline_ms()
        routed = router.route(_SYMBOLS, deadline_ms)
        assert here.clock.now_utc_ms() <= deadline_ms
        assert list(routed) == list(_SYMBOLS)
        for symbol, one in routed.items():
            _check(symbol, one)
        here.clock.sleep(pause)


def _check(symbol: str, one: Routed) -> None:
    assert one.symbol == one.answer.symbol == symbol
    outcomes = [hop.outcome for hop in one.hops]
    if Outcome.FRESH in outcomes:
        first = outcomes.index(Outcome.FRESH)
        assert first == len(outcomes) - 1, "nobody is asked after one that is fresh"
        hop = one.hops[first]
        assert hop.quote is not None and isinstance(one.answer, Quote)
        assert one.answer == as_quote(symbol, hop.source, hop.quote)
        assert one.answer.kind is not QuoteKind.HISTORY
    else:
        assert [hop.source for hop in one.hops] == list(_SOURCES), "every source was reached"
        if isinstance(one.answer, Quote):
            assert one.answer.kind is QuoteKind.HISTORY
        else:
            assert one.answer.reason is not UnknownReason.KNOWN
            assert all(f"{hop.source}: " in one.answer.detail for hop in one.hops)
            assert "SENTINEL" not in one.answer.detail
    assert all(hop.reason for hop in one.hops if hop.outcome is not Outcome.FRESH)
    assert all(hop.request > 0 for hop in one.hops if hop.quote is not None and not hop.reason)


@settings(max_examples=60)
@given(_drawn((*_MISSES, *_PRICED)))
def test_budgets_are_never_exceeded(drawn: Drawn) -> None:
    """In no stretch of a rate's length are there more calls (or symbols) than it allows."""
    here = _world(drawn)
    router = here.router()
    for pause in [*drawn.pauses, *drawn.pauses]:
        router.snapshot(_SYMBOLS, here.deadline_ms())
        here.clock.sleep(pause)
    for name, budget in drawn.budgets.items():
        spent = [
            at_ns
            for at_ns, spellings in here.sources[name].calls
            for _ in (spellings if budget.per_symbol else [None])
        ]
        for rate in budget.rates:
            for first, beyond in zip(spent, spent[rate.requests :], strict=False):
                assert beyond - first >= rate.seconds * 10**9


@settings(max_examples=60)
@given(_drawn(_HARMLESS))
def test_no_breaker_opens_where_nothing_failed(drawn: Drawn) -> None:
    """No data, stale, unsupported, in another currency: the source was heard."""
    here = _world(drawn)
    router = here.router()
    for pause in drawn.pauses:
        routed = router.route(_SYMBOLS, here.deadline_ms())
        assert not [hop for one in routed.values() for hop in one.hops if "breaker" in hop.reason]
        for name in _SOURCES:
            for asset_class in AssetClass:
                assert router.breaker(name, asset_class) is BreakerState.CLOSED
        here.clock.sleep(pause)


@settings(max_examples=40)
@given(_drawn((*_MISSES, *_PRICED)), st.integers(0, 2**32))
def test_the_same_seed_and_sources_give_the_same_answers(drawn: Drawn, seed: int) -> None:
    """Nothing depends on anything but what was drawn."""

    def told() -> list[object]:
        here = _world(drawn)
        here.seed = seed
        router = here.router()
        found: list[object] = []
        for pause in drawn.pauses:
            found.append(router.route(_SYMBOLS, here.deadline_ms()))
            here.clock.sleep(pause)
        return found

    assert told() == told()
