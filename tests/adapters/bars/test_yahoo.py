"""Bars from Yahoo through the real yfinance and curl, against a server on loopback with TLS."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bars.fetching import HistoryFetcher, Wanted
from adapters.bars.source import Adjustment, FetchFailedError, NoSuchSymbolError, PageRequest
from adapters.bars.store import HistoryStore
from adapters.bars.yahoo import YahooBars, _meant
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.stubs.faults import Fault, Kind, Scripted
from adapters.stubs.yahoo import YahooStub
from adapters.symbols.registry import Registry
from adapters.vendors.yahoo import YahooClient
from engine.model import AssetClass, Bar
from tests.adapters.bars.vendor import bars_of
from tests.adapters.bars.vendor_checks import SILENT, Served, check_fault, pages
from tests.adapters.bars.writing import ms

pytest.importorskip("trustme", reason="needs the extra: stub")

_CALENDAR = ExchangeCalendars()
_START, _END = ms("2025-03-06T00:00:00Z"), ms("2025-03-12T00:00:00Z")
_NEW_YORK = "America/New_York"


@pytest.fixture
def stub() -> Iterator[YahooStub]:
    """Serve quarters of SPY over a change of the clocks, some of them without prices."""
    opens = _CALENDAR.expected_bars("NYSE", 900, _START, _END)
    bars = bars_of(opens, lambda number: round(580.01 + number / 100, 2))
    with YahooStub() as stub:
        stub.set_bars("SPY", "15m", bars, _NEW_YORK)
        yield stub


@pytest.fixture
def vendor(stub: YahooStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[YahooBars]:
    """Return the vendor, with nothing that the library kept in this process."""
    import yfinance.cache
    import yfinance.data

    monkeypatch.setattr(yfinance.data.SingletonMeta, "_instances", {})
    monkeypatch.setattr(yfinance.cache._CookieCacheManager, "_Cookie_cache", None)
    client = YahooClient(
        tmp_path / "cookies", lambda: _END, proxy=stub.proxy_url, certificate=stub.certificate
    )
    yield YahooBars(client)
    client.close()


@pytest.fixture
def served(stub: YahooStub, vendor: YahooBars) -> Served:
    """Return the vendor and quarters of SPY."""
    request = PageRequest("SPY", AssetClass.STOCK, 900, _START, _END)

    def spoil(plan: object) -> None:
        stub.plan = plan  # type: ignore[assignment]  # a plan of faults

    return Served(vendor, request, list(stub._bars["SPY", "15m"][1]), spoil)


def test_a_chart_is_all_there_is(served: Served) -> None:
    """Every bar with its start in UTC, in one page; prices as they were before single precision."""
    bars, count = pages(served)
    assert (bars, count) == (served.bars, 1)


def test_rows_without_prices_are_absent(stub: YahooStub, vendor: YahooBars, tmp_path: Path) -> None:
    """Fault 29: nulls are no bars and prove nothing: a gap. The live row at the end is dropped."""
    opens = list(_CALENDAR.expected_bars("NYSE", 900, _START, _START + 86_400_000))
    bars = [
        Bar(bar.open_time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, traded=number not in (3, 4))
        for number, bar in enumerate(bars_of(opens[:20]))
    ]
    live = Bar(opens[20] + 127_000, 100, 100, 100, 100, 0.0)
    stub.set_bars("SPY", "15m", [*bars, live], _NEW_YORK)
    store = HistoryStore(tmp_path / "history")
    clock = SimulatedClock(opens[20] + 128_000)
    fetcher = HistoryFetcher(store, [vendor], Registry(), _CALENDAR, clock)
    wanted = Wanted("SPY", AssetClass.STOCK, "NYSE", 900)
    filled = fetcher.fill(wanted, _START, _END)
    assert list(store.read("SPY", 900).open_time_ms) == [*opens[:3], *opens[5:20]]
    assert [(gap.start_ms, gap.bars) for gap in filled.gaps] == [(opens[3], 2)]


def test_daily_bars_carry_their_sessions_date(stub: YahooStub, vendor: YahooBars) -> None:
    """Fault 33: labelled 14:30Z before and 13:30Z after the clocks change, they are the calendar's dates."""
    labels = ["2025-03-06T14:30:00Z", "2025-03-07T14:30:00Z", "2025-03-10T13:30:00Z", "2025-03-11T13:30:00Z"]
    stub.set_bars("SPY", "1d", bars_of([ms(label) for label in labels]), _NEW_YORK)
    page = vendor.page(PageRequest("SPY", AssetClass.STOCK, 86_400, _START, _END), 10.0)
    assert list(page.bars.open_time_ms) == list(_CALENDAR.expected_bars("NYSE", 86_400, _START, _END))
    assert page.adjustment is Adjustment.SPLIT


def test_a_span_without_bars_is_empty(vendor: YahooBars) -> None:
    """No bars is an answer, not an error."""
    page = vendor.page(PageRequest("SPY", AssetClass.STOCK, 900, _END, _END + 900_000), 10.0)
    assert (len(page.bars), page.end_ms) == (0, _END + 900_000)


def test_a_symbol_that_is_not_there(vendor: YahooBars) -> None:
    """Yahoo says so: no failure of Yahoo's."""
    with pytest.raises(NoSuchSymbolError, match="Yahoo finds nothing under NOPE"):
        vendor.page(PageRequest("NOPE", AssetClass.STOCK, 900, _START, _END), 10.0)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in SILENT])
def test_every_fault_is_a_typed_error(vendor: YahooBars, stub: YahooStub, kind: Kind) -> None:
    """One error within the limit, never an empty chart; the next question is answered."""
    stub.plan = Scripted([Fault(kind)] * 9, path="chart")
    request = PageRequest("SPY", AssetClass.STOCK, 900, _START, _END)
    with pytest.raises(FetchFailedError) as caught:
        vendor.page(request, 10.0)
    assert not isinstance(caught.value, NoSuchSymbolError)
    stub.plan = Scripted([])
    assert len(vendor.page(request, 10.0).bars) == 104


def test_a_server_that_hangs_ends_with_the_limit(served: Served) -> None:
    """The deadline is the wall's."""
    served.vendor.page(served.request, 10.0)  # what the library asks for beside the chart is done
    check_fault(served, Kind.HANG)


@pytest.mark.parametrize(
    ("interval", "native"),
    [(60, 60), (900, 900), (1800, 900), (3600, 3600), (14_400, 3600), (86_400, 86_400), (7, None)],
)
def test_intervals(vendor: YahooBars, interval: int, native: int | None) -> None:
    """Half hours are made of quarters by us: the library makes bars of half of them."""
    assert vendor.native_seconds(interval, AssetClass.STOCK) == native


@given(st.floats(1e-6, 1e6))
def test_what_single_precision_meant(number: float) -> None:
    """It is the same single, and short where a short number was meant; other numbers are left alone."""
    single: float = struct.unpack("f", struct.pack("f", number))[0]
    meant = _meant(single)
    assert struct.pack("f", meant) == struct.pack("f", single)
    cents = round(number % 10_000, 2)
    assert _meant(struct.unpack("f", struct.pack("f", cents))[0]) == cents
    assert _meant(0.1 + number) == 0.1 + number or struct.pack("f", 0.1 + number)
