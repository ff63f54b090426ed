"""Bars of a crypto exchange through the real ccxt, against an exchange on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.bars.ccxt import BARS_A_PAGE, CcxtBars
from adapters.bars.fetching import HistoryFetcher, Wanted
from adapters.bars.source import NoSuchSymbolError, PageRequest
from adapters.bars.store import HistoryStore
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.stubs.exchange import ExchangeStub
from adapters.stubs.faults import Kind
from adapters.symbols.registry import Registry
from adapters.vendors.ccxt import ExchangeAccess, ExchangeClient
from engine.model import AssetClass, Bar
from tests.adapters.bars.vendor_checks import Served, check_fault, pages
from tests.adapters.bars.writing import ms

pytest.importorskip("ccxt", reason="needs the extra: ccxt")
pytest.importorskip("aiohttp", reason="needs the extra: stub")

_START = ms("2025-03-03T00:00:00Z")
_BARS = 700
_END = _START + _BARS * 900_000


@pytest.fixture
def exchange() -> Iterator[ExchangeStub]:
    """Serve quarters of BTC/USD, some without a trade, some absent."""
    rows = [
        (
            _START + number * 900_000,
            "90000.5",
            "90001",
            "89999.25",
            "90000.125",
            "0" if number % 9 == 4 else "2.5",
        )
        for number in range(_BARS)
        if number not in (100, 101, 102)
    ]
    with ExchangeStub(now_ms=lambda: _END) as exchange:
        exchange.set_bars("BTCUSD", "15m", rows)
        yield exchange


@pytest.fixture
def served(exchange: ExchangeStub) -> Iterator[Served]:
    """Return the vendor and quarters of BTC/USD."""
    access = ExchangeAccess("binanceus", url=exchange.url, read_seconds=0.5, total_seconds=1.0)
    client = ExchangeClient(access, lambda: _END, monotonic=lambda: 0.0)
    client.markets()
    request = PageRequest("BTC/USD", AssetClass.CRYPTO, 900, _START, _END)

    def spoil(plan: object) -> None:
        exchange.plan = plan  # type: ignore[assignment]  # a plan of faults

    yield Served(CcxtBars(client), request, [], spoil)
    client.close()


def test_pages_are_all_there_is(served: Served) -> None:
    """Three pages by start: every bar once; a volume of 0 proves that nobody traded there."""
    bars, count = pages(served)
    assert count == -(-(_BARS - 3) // BARS_A_PAGE)
    assert len(bars) == _BARS - 3
    assert bars[0] == Bar(_START, 90000.5, 90001.0, 89999.25, 90000.125, 2.5)
    untraded = [bar for bar in bars if not bar.traded]
    assert len(untraded) == len([n for n in range(_BARS) if n % 9 == 4 and n not in (100, 101, 102)])
    assert {(bar.open, bar.close, bar.volume) for bar in untraded} == {(90000.125, 90000.125, 0.0)}


def test_what_is_absent_is_a_gap(served: Served, tmp_path: Path) -> None:
    """Fault 29: three quarters that the exchange does not have are told, not filled."""
    store = HistoryStore(tmp_path)
    fetcher = HistoryFetcher(store, [served.vendor], Registry(), ExchangeCalendars(), SimulatedClock(_END))
    filled = fetcher.fill(Wanted("BTC-USD", AssetClass.CRYPTO, "24/7", 900), _START, _END)
    assert [(gap.start_ms, gap.bars) for gap in filled.gaps] == [(_START + 100 * 900_000, 3)]
    assert len(store.read("BTC-USD", 900)) == _BARS - 3


@pytest.mark.parametrize("kind", list(Kind))
def test_every_fault_is_a_typed_error(served: Served, kind: Kind) -> None:
    """One request, one error, within the limit."""
    check_fault(served, kind)


def test_a_market_that_is_not_there(served: Served) -> None:
    """The exchange's list does not have it: no failure of the exchange's."""
    with pytest.raises(NoSuchSymbolError, match="has no market NOPE/USD"):
        served.vendor.page(PageRequest("NOPE/USD", AssetClass.CRYPTO, 900, _START, _END), 5.0)


def test_intervals(served: Served) -> None:
    """The longest of the exchange's own that divides; a month is no minute; no stocks."""
    assert served.vendor.native_seconds(900, AssetClass.CRYPTO) == 900
    assert served.vendor.native_seconds(2700, AssetClass.CRYPTO) == 900
    assert served.vendor.native_seconds(7, AssetClass.CRYPTO) in (None, 1)
    assert served.vendor.native_seconds(900, AssetClass.STOCK) is None
