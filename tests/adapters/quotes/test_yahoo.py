"""Yahoo as a source, through the real yfinance and curl, against a server on loopback with TLS."""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.clock import WallClock
from adapters.quotes.source import Miss, Outcome, SourceFailedError, SourceQuote
from adapters.quotes.yahoo import YahooSource
from adapters.stubs.faults import EVERY_FAULT, Fault, Kind, Scripted
from adapters.stubs.yahoo import YahooStub
from engine.model import AssetClass
from tests.adapters.quotes.wrong_sources import CarelessYahoo
from tests.contracts.quote_fetch import (
    SENTINEL,
    SourceContract,
    World,
    check_requirement_18,
    check_requirement_20,
    check_requirement_30,
    told_under,
)
from tests.shared_data import shared_data

ADA = "ADA-USD"
_CHART = "/v8/finance/chart/"
_CRUMB = "getcrumb"


class _Always:
    """The same fault for every request whose path ends so."""

    def __init__(self, fault: Fault, path: str) -> None:
        self._fault = fault
        self._path = path

    def fault(self, method: str, path: str) -> Fault | None:
        return self._fault if path.endswith(self._path) else None


@pytest.fixture
def stub() -> Iterator[YahooStub]:
    """Return a server that knows a pair, two stocks and one in London."""
    prices = {ADA: Decimal("0.45123"), "BRK-B": Decimal("512.5"), "SPY": Decimal("689.43")}
    with YahooStub(prices=prices) as served:
        yield served


@pytest.fixture
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from the library what it kept in this process: its session, its crumb and its cookies."""
    import yfinance.cache
    import yfinance.data

    monkeypatch.setattr(yfinance.data.SingletonMeta, "_instances", {})
    monkeypatch.setattr(yfinance.cache._CookieCacheManager, "_Cookie_cache", None)


@pytest.fixture
def source(stub: YahooStub, fresh_library: None, tmp_path: Path) -> Iterator[YahooSource]:
    """Return the source.  Yahoo has no keys: what must stay secret is the password of the proxy."""
    proxy = stub.proxy_url.replace("//", f"//user:{SENTINEL}@")
    made = YahooSource(tmp_path, WallClock(), proxy=proxy, certificate=stub.certificate)
    yield made
    made.close()


@pytest.fixture
def world(stub: YahooStub, source: YahooSource) -> World:
    """Return the source and its server."""
    return World(
        source=source,
        asset_class=AssetClass.CRYPTO,
        spelling=ADA,
        unknown="NO-SUCH",
        currency="USD",
        set_price=stub.set_price,
        set_plan=lambda plan: setattr(stub, "plan", plan),
        asked=lambda: sum(asked.path.startswith(_CHART) for asked in stub.requests),
        now_ms=WallClock().now_utc_ms,
        path=_CHART,
        repeats_resets=True,
    )


@pytest.fixture
def careless(stub: YahooStub, fresh_library: None, world: World, tmp_path: Path) -> World:
    """Return the wrong source on the same server."""
    wrong = CarelessYahoo(WallClock(), stub.proxy_url, stub.certificate, tmp_path)
    return dataclasses.replace(world, source=wrong)


class TestYahooSource(SourceContract):
    """The suite of all sources."""


@pytest.mark.requirement(18)
def test_requirement_18_fails_the_careless(careless: World) -> None:
    """``fast_info`` has no time."""
    with pytest.raises(AssertionError):
        check_requirement_18(careless)


@pytest.mark.requirement(20)
def test_requirement_20_fails_the_careless(careless: World) -> None:
    """An unknown symbol has a price of 0."""
    with pytest.raises(AssertionError):
        check_requirement_20(careless)


@pytest.mark.requirement(30)
def test_requirement_30_fails_the_careless(careless: World) -> None:
    """The library hides what it could not read."""
    with pytest.raises(AssertionError):
        check_requirement_30(careless)


@pytest.mark.requirement(30)
@pytest.mark.parametrize("kind", [Kind.STATUS_500, Kind.STATUS_502])
def test_an_empty_frame_is_no_answer(world: World, kind: Kind) -> None:
    """HTTP 500, of which the library makes an empty frame, is a failure that names the status."""
    said = told_under(world, Fault(kind))
    assert isinstance(said, SourceFailedError)
    assert kind.value in said.reason


def test_several_places_are_behind_one_proxy(stub: YahooStub, source: YahooSource) -> None:
    """The library's own hosts are asked, through the proxy, and nothing else."""
    source.fetch([ADA], AssetClass.CRYPTO, 10.0)
    assert {asked.host for asked in stub.requests} == set(stub.hosts)
    assert "query2.finance.yahoo.com" in stub.hosts


def test_a_currency_other_than_the_dollar_is_told(stub: YahooStub, source: YahooSource) -> None:
    """Pence are not pounds, and neither are dollars."""
    stub.set_price("VOD.L", Decimal("70.5"))
    stub.currencies["VOD.L"] = "GBp"
    quote = source.fetch(["VOD.L"], AssetClass.STOCK, 10.0)["VOD.L"]
    assert isinstance(quote, SourceQuote)
    assert (quote.price, quote.currency) == (Decimal("70.5"), "GBp")


def test_an_unknown_symbol_costs_one_question(world: World) -> None:
    """The library would ask again with another cookie."""
    world.ask(ADA)
    before = world.asked()
    answer = world.ask("NO-SUCH")["NO-SUCH"]
    assert isinstance(answer, Miss)
    assert answer.outcome is Outcome.NO_DATA
    assert world.asked() - before == 1


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_a_crumb_that_cannot_be_had_is_done_without(
    stub: YahooStub, source: YahooSource, fault: Fault
) -> None:
    """Whatever happens to the crumb, the chart is answered; and no answer but a crumb is ever sent as one."""
    stub.plan = _Always(fault, _CRUMB)
    for _ in range(2):
        assert isinstance(source.fetch([ADA], AssetClass.CRYPTO, 3.0)[ADA], SourceQuote)
    assert sum(asked.path.endswith(_CRUMB) for asked in stub.requests) <= 2
    sent = {asked.query.get("crumb") for asked in stub.requests if asked.path.startswith(_CHART)}
    # The shortest faults look like crumbs: half of one, and the word "ok".
    assert sent <= {None, "a.Cru", "ok"}


def test_429_for_a_crumb_is_not_kept(stub: YahooStub, source: YahooSource) -> None:
    """The words of the refusal are not sent as the crumb, neither now nor later."""
    stub.crumbs_refused = True
    for _ in range(3):
        assert isinstance(source.fetch([ADA], AssetClass.CRYPTO, 5.0)[ADA], SourceQuote)
    charts = [asked for asked in stub.requests if asked.path.startswith(_CHART)]
    assert len(charts) == 3
    assert not any("crumb" in asked.query for asked in charts)


def test_a_cookie_that_hangs_leaves_time_for_the_chart(stub: YahooStub, source: YahooSource) -> None:
    """The first step gets a share of the time, and is not tried again at every question."""
    stub.plan = _Always(Fault(Kind.HANG), "/")
    for _ in range(2):
        assert isinstance(source.fetch([ADA], AssetClass.CRYPTO, 3.0)[ADA], SourceQuote)
    assert [asked.path for asked in stub.requests].count("/") == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_cookie_is_replaced_once(stub: YahooStub, source: YahooSource, status: int) -> None:
    """401 and 403 may be mended by another cookie: the library asks again, once, and then it is a failure."""
    stub.charts_refused = status
    with pytest.raises(SourceFailedError, match=str(status)):
        source.fetch([ADA], AssetClass.CRYPTO, 5.0)
    assert sum(asked.path.startswith(_CHART) for asked in stub.requests) == 2
    stub.charts_refused = None
    assert isinstance(source.fetch([ADA], AssetClass.CRYPTO, 5.0)[ADA], SourceQuote)


def test_a_fault_is_not_remembered(stub: YahooStub, source: YahooSource) -> None:
    """The library would keep an unreadable answer about a symbol's time zone for ever."""
    stub.plan = Scripted([Fault(Kind.HTML)] * 4, path=_CHART)
    for _ in range(4):
        with pytest.raises(SourceFailedError):
            source.fetch([ADA], AssetClass.CRYPTO, 5.0)
    assert isinstance(source.fetch([ADA], AssetClass.CRYPTO, 5.0)[ADA], SourceQuote)


def test_the_library_keeps_its_files_where_it_was_told(source: YahooSource, tmp_path: Path) -> None:
    """The folder of the library's own choice is not used."""
    source.fetch([ADA], AssetClass.CRYPTO, 10.0)
    assert any(tmp_path.iterdir())


def test_the_server_answers_as_the_service_does(stub: YahooStub) -> None:
    """What the service was seen to answer is in the server's answers, with the same types."""
    import httpx2

    seen = json.loads((shared_data("fixtures", "yahoo") / "chart_spy_1d.json").read_text())["body"]
    trusted = ssl.create_default_context(cafile=stub.certificate)
    with httpx2.Client(trust_env=False, proxy=stub.proxy_url, verify=trusted) as client:
        told = client.get("https://query2.finance.yahoo.com/v8/finance/chart/SPY").json()
    _same_shape(seen, told, "body")


def _same_shape(seen: object, told: object, at: str) -> None:
    if isinstance(seen, dict):
        assert isinstance(told, dict), at
        assert set(seen) <= set(told), at
        for name, value in seen.items():
            _same_shape(value, told[name], f"{at}.{name}")
    elif isinstance(seen, list):
        assert isinstance(told, list) and told, at
        _same_shape(seen[0], told[0], f"{at}[0]")
    else:
        assert type(told) is type(seen), at
