"""Bars from Alpaca through the real alpaca-py, against the local Alpaca."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.bars.alpaca import AlpacaBars
from adapters.bars.fetching import HistoryFetcher, Retry, Wanted
from adapters.bars.source import Adjustment, FetchFailedError, NoSuchSymbolError, PageRequest
from adapters.bars.store import HistoryStore
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.stubs.alpaca import AlpacaStub
from adapters.stubs.faults import Kind
from adapters.symbols.registry import Registry
from adapters.vendors.alpaca import AlpacaAccess
from engine.model import AssetClass, Bar
from tests.adapters.bars.vendor_checks import Served, check_fault, pages
from tests.adapters.bars.writing import ms

pytest.importorskip("aiohttp", reason="needs the extra: stub")

_CALENDAR = ExchangeCalendars()
_START, _END = ms("2025-03-07T00:00:00Z"), ms("2025-03-12T00:00:00Z")
_SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def stub() -> Iterator[AlpacaStub]:
    """Serve minutes of BTC/USD (some without a trade, some absent) and of SPY over a change of the clocks."""
    with AlpacaStub(clock=SimulatedClock(_END), secret=_SECRET, calendar=_CALENDAR) as stub:
        coins, close = [], 90_000.0
        for number, at_ms in enumerate(range(_START, _START + 4 * 3_600_000, 60_000)):
            if number % 11 == 5:
                # Alpaca writes the middle of the quotes where nobody traded.
                coins.append(Bar(at_ms, close + 3, close + 4, close + 2, close + 3, 0.0, traded=False))
            elif number % 50 != 7:
                close = 90_000.0 + number / 8
                coins.append(Bar(at_ms, close - 1, close + 2, close - 2, close, number / 16))
        stub.venue.set_bars("BTC/USD", coins)
        stub.venue.set_bars("SPY", _minutes_of_spy())
        yield stub


def _minutes_of_spy() -> list[Bar]:
    """Return minutes of regular sessions and of an hour before each."""
    opens = _CALENDAR.expected_bars("NYSE", 60, _START, _END)
    early = [at_ms - 3_600_000 for at_ms in opens if at_ms - 3_600_000 not in set(opens)]
    return [
        Bar(at_ms, 500, 501, 499, 500 + number % 4 / 4, 10.0 + number)
        for number, at_ms in enumerate(sorted({*opens, *early}))
    ]


@pytest.fixture
def vendor(stub: AlpacaStub) -> AlpacaBars:
    """Return the vendor, with small pages."""
    access = AlpacaAccess(stub.key_id, _SECRET, trading_url=stub.url, data_url=stub.data_url)
    return AlpacaBars(access, page_bars=100)


@pytest.fixture
def served(stub: AlpacaStub, vendor: AlpacaBars) -> Served:
    """Return the vendor and minutes of BTC/USD."""
    request = PageRequest("BTC/USD", AssetClass.CRYPTO, 60, _START, _START + 4 * 3_600_000)

    def spoil(plan: object) -> None:
        stub.plan = plan  # type: ignore[assignment]  # a plan of faults

    return Served(vendor, request, stub.venue.prices.bars["BTC/USD"]["1Min"], spoil, _SECRET)


def test_pages_are_all_there_is(served: Served) -> None:
    """Three pages by next_page_token: every bar, its start in UTC, exact prices."""
    bars, count = pages(served)
    assert count == 3
    assert [bar for bar in bars if bar.traded] == [bar for bar in served.bars if bar.traded]


def test_no_trade_is_claimed_only_where_it_is_proven(served: Served) -> None:
    """``n`` and ``v`` of 0 prove it: the bar repeats the close, not the quotes' middle; no other is made."""
    bars, _ = pages(served)
    assert [bar.open_time_ms for bar in bars] == [bar.open_time_ms for bar in served.bars]
    untraded = [index for index, bar in enumerate(bars) if not bar.traded]
    assert len(untraded) == 22
    # The first of a page has no close before it there: the store repeats the one it has.
    repeats = [index for index in untraded if bars[index].close == bars[index - 1].close]
    assert len(repeats) >= len(untraded) - 2
    assert all(bars[index].volume == 0 for index in untraded)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_fault_is_a_typed_error(served: Served, kind: Kind) -> None:
    """One request, one error without a key in it, within the limit."""
    check_fault(served, kind)


def test_a_wrong_key_is_told_without_it(stub: AlpacaStub) -> None:
    """It will not pass, and asking again does not help."""
    access = AlpacaAccess("PKWRONG", "wrong-secret", trading_url=stub.url, data_url=stub.data_url)
    request = PageRequest("BTC/USD", AssetClass.CRYPTO, 60, _START, _END)
    with pytest.raises(FetchFailedError) as caught:
        AlpacaBars(access).page(request, 5.0)
    assert not caught.value.passing
    assert "wrong-secret" not in caught.value.reason


def test_a_wrong_symbol_is_told(vendor: AlpacaBars) -> None:
    """One that Alpaca cannot even read is not there; one that it does not know has no bars."""
    with pytest.raises(NoSuchSymbolError, match="invalid symbol"):
        vendor.page(PageRequest("BTCUSD", AssetClass.CRYPTO, 60, _START, _END), 5.0)
    page = vendor.page(PageRequest("NOPE", AssetClass.STOCK, 60, _START, _END), 5.0)
    assert (len(page.bars), page.end_ms) == (0, _END)


@pytest.mark.parametrize(
    ("interval", "asset_class", "native"),
    [
        (60, AssetClass.CRYPTO, 60),
        (900, AssetClass.CRYPTO, 900),
        (3600, AssetClass.CRYPTO, 3600),
        (14_400, AssetClass.CRYPTO, 3600),
        (86_400, AssetClass.CRYPTO, 3600),
        (2700, AssetClass.CRYPTO, 900),
        (900, AssetClass.STOCK, 900),
        (3600, AssetClass.STOCK, 1800),
        (86_400, AssetClass.COMMODITY, 86_400),
        (7, AssetClass.STOCK, None),
        (90, AssetClass.CRYPTO, None),
    ],
)
def test_intervals_are_asked_for_on_our_grid(
    vendor: AlpacaBars, interval: int, asset_class: AssetClass, native: int | None
) -> None:
    """Hours of stocks and days of crypto stand elsewhere at Alpaca: finer ones are asked for."""
    assert vendor.native_seconds(interval, asset_class) == native


@pytest.mark.parametrize("interval", [900, 1800, 3600, 86_400])
def test_stocks_over_a_change_of_the_clocks(
    stub: AlpacaStub, vendor: AlpacaBars, tmp_path: Path, interval: int
) -> None:
    """Fault 33: stored are exactly the expected bars, before and after 2025-03-09; extended hours are not."""
    clock = SimulatedClock(_END)
    store = HistoryStore(tmp_path)
    fetcher = HistoryFetcher(store, [vendor], Registry(), _CALENDAR, clock, retry=Retry(jitter=lambda: 0))
    wanted = Wanted("SPY", AssetClass.STOCK, "NYSE", interval, Adjustment.RAW)
    filled = fetcher.fill(wanted, _START, _END)
    assert filled.failures == {}
    assert filled.gaps == []
    expected = _CALENDAR.expected_bars("NYSE", interval, _START, _END)
    assert list(store.read("SPY", interval).open_time_ms) == list(expected)
    (origin,) = next(iter(store.origins("SPY", interval).values()))
    assert (origin.source, origin.spelling, origin.adjustment) == ("alpaca", "SPY", Adjustment.RAW)


def test_days_of_crypto_are_those_of_utc(stub: AlpacaStub, vendor: AlpacaBars, tmp_path: Path) -> None:
    """Made of hours, a day begins at midnight UTC; an hour that is missing leaves no day."""
    hours = [
        Bar(_START + number * 3_600_000, 100, 101 + number, 99, 100, 1.0)
        for number in range(72)
        if number != 30
    ]
    stub.venue.set_bars("ETH/USD", hours, "1Hour")
    store = HistoryStore(tmp_path)
    fetcher = HistoryFetcher(store, [vendor], Registry(), _CALENDAR, SimulatedClock(_END))
    wanted = Wanted("ETH-USD", AssetClass.CRYPTO, "24/7", 86_400)
    filled = fetcher.fill(wanted, _START, _START + 72 * 3_600_000)
    days = store.read("ETH-USD", 86_400)
    assert [days.bar(index) for index in range(len(days))] == [
        Bar(_START, 100, 124, 99, 100, 24.0),
        Bar(_START + 2 * 86_400_000, 100, 172, 99, 100, 24.0),
    ]
    assert filled.missing == 1


def test_a_wish_reaches_the_venue(stub: AlpacaStub, vendor: AlpacaBars) -> None:
    """Adjustment is the venue's to make, and the page says what it got; crypto has none."""
    request = PageRequest("SPY", AssetClass.STOCK, 60, _START, _END, Adjustment.SPLIT)
    assert vendor.page(request, 5.0).adjustment is Adjustment.SPLIT
    crypto = replace(request, spelling="BTC/USD", asset_class=AssetClass.CRYPTO)
    assert vendor.page(crypto, 5.0).adjustment is Adjustment.RAW
