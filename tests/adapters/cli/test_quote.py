"""``tradectl quote``: what every source said, and why it was used or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.cli.output import ExitCode
from adapters.stubs.finnhub import FinnhubStub
from adapters.stubs.twelvedata import TwelveDataStub
from tests.adapters.cli.running import document, tradectl

_KEY = "SENTINEL-0123456789"
_COINS = {"BTC": "93412.55", "ADA": "0.45123", "DOGE": "0.15012", "SHIB": "0.00001234"}
_LONGEST_SECONDS = 60.0


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys that the servers ask for."""
    monkeypatch.setenv("FINNHUB_API_KEY", _KEY)
    monkeypatch.setenv("TWELVEDATA_API_KEY", _KEY)


@pytest.fixture
def finnhub() -> Iterator[FinnhubStub]:
    """Quote coins in USDT, and one stock."""
    prices = {f"BINANCE:{coin}USDT": Decimal(price) for coin, price in _COINS.items()}
    with FinnhubStub(key=_KEY, prices=prices | {"SPY": Decimal("580.1")}) as served:
        yield served


@pytest.fixture
def twelvedata() -> Iterator[TwelveDataStub]:
    """Quote coins in US dollars."""
    with TwelveDataStub(
        key=_KEY, prices={f"{coin}/USD": Decimal(price) for coin, price in _COINS.items()}
    ) as served:
        yield served


def _config(folder: Path, finnhub: str, twelvedata: str, order: str = "[finnhub, twelvedata]") -> str:
    path = folder / "config.yaml"
    path.write_text(
        f"""apiVersion: tradectl-config/v1
quotes:
  stock: {{sources: {order}}}
  commodity: {{sources: {order}}}
  crypto: {{sources: {order}}}
sources:
  finnhub: {{url: "{finnhub}"}}
  twelvedata: {{url: "{twelvedata}"}}
"""
    )
    return str(path)


def test_a_simulated_market() -> None:
    """Without settings nobody is asked over the network; prices have all of their digits."""
    result = tradectl("quote", "ada-usd", "SHIB-USD")
    assert result.exit_code == ExitCode.OK
    assert result.stdout.splitlines() == [
        "ADA-USD  2025-11-05 14:30:00Z  bid 0.44168  ask 0.44186  USD  from simulated, 0s old",
        "  source     asked as  price    bid      ask      age  kind   currency  took  outcome",
        "  simulated  ADA-USD   0.44168  0.44168  0.44186  0s   quote  USD       0 ms  used",
        "",
        "SHIB-USD  2025-11-05 14:30:00Z  bid 0.00000757  ask 0.00000758  USD  from simulated, 0s old",
        "  source     asked as  price       bid         ask         age  kind   currency  took  outcome",
        "  simulated  SHIB-USD  0.00000757  0.00000757  0.00000758  0s   quote  USD       0 ms  used",
    ]


def test_a_price_that_is_too_old_is_a_finding() -> None:
    """As New York opens the last price is of the day before."""
    result = tradectl("quote", "SPY", "BTC-USD", "--json")
    assert result.exit_code == ExitCode.FINDING
    spy, bitcoin = document(result, "quote-v1")["symbols"]
    assert (spy["used"], spy["reason"], spy["tradable"]) == (None, "stale", False)
    assert spy["sources"][0]["why"] == "stale: 63000 s old, 60 s are allowed"
    assert bitcoin["tradable"] and bitcoin["used"] == "simulated"


def test_every_source_is_shown(
    tmp_path: Path, keys: None, finnhub: FinnhubStub, twelvedata: TwelveDataStub
) -> None:
    """The real clients: coins in USDT are shown and not used; ADA and DOGE are priced like BTC."""
    config = _config(tmp_path, finnhub.url, twelvedata.url)
    result = tradectl("quote", "BTC-USD", "ADA-USD", "DOGE-USD", "SHIB-USD", "-c", config, "--json")
    assert result.exit_code == ExitCode.OK, result.output
    for symbol in document(result, "quote-v1")["symbols"]:
        coin = symbol["symbol"].partition("-")[0]
        tether, dollars = symbol["sources"]
        assert Decimal(tether["price"]) == Decimal(dollars["price"]) == Decimal(_COINS[coin])
        assert (tether["spelling"], tether["currency"]) == (f"BINANCE:{coin}USDT", "USDT")
        assert tether["outcome"] == "unsupported" and not tether["used"]
        assert dollars["why"] == "used" and symbol["used"] == "twelvedata"
        assert Decimal(symbol["bid"]) == Decimal(_COINS[coin])
    text = tradectl("quote", "ADA-USD", "-c", config).stdout
    assert "0.45123" in text and "its price is in USDT" in text


def test_a_source_that_was_not_needed(
    tmp_path: Path, keys: None, finnhub: FinnhubStub, twelvedata: TwelveDataStub
) -> None:
    """The second one's price is shown, too, with the reason why it was not used."""
    twelvedata.set_price("SPY", Decimal("580.2"))
    text = tradectl("quote", "SPY", "-c", _config(tmp_path, finnhub.url, twelvedata.url)).stdout
    assert "from finnhub" in text
    assert "580.20" in text and "fresh, not needed: finnhub goes before it" in text


def test_without_a_key_a_source_is_not_asked(tmp_path: Path, twelvedata: TwelveDataStub) -> None:
    """It is told which key is missing, and the others are asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWELVEDATA_API_KEY", _KEY)
        config = _config(tmp_path, "http://127.0.0.1:9", twelvedata.url)
        result = tradectl("quote", "ADA-USD", "-c", config, "--json")
    assert result.exit_code == ExitCode.OK
    told = document(result, "quote-v1")
    assert [source["source"] for source in told["symbols"][0]["sources"]] == ["twelvedata"]
    assert len(told["notes"]) == 1 and "FINNHUB_API_KEY" in told["notes"][0]


def test_without_any_source_it_is_the_settings_fault(tmp_path: Path) -> None:
    """No key at all: exit code 4, with what to do."""
    result = tradectl("quote", "SPY", "-c", _config(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9"))
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "FINNHUB_API_KEY" in result.stderr and "TWELVEDATA_API_KEY" in result.stderr


def test_where_nobody_can_be_reached(tmp_path: Path, keys: None) -> None:
    """Nothing listens there: exit code 5 before long, and no key in what is said."""
    config = _config(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9")
    begin = time.monotonic()
    result = tradectl("quote", "ADA-USD", "SPY", "-c", config)
    assert result.exit_code == ExitCode.UNAVAILABLE, result.output
    assert time.monotonic() - begin < _LONGEST_SECONDS
    assert "no price (missing)" in result.stdout and "failed: " in result.stdout
    assert "SENTINEL" not in result.output


def test_one_that_is_reached_and_knows_nothing_is_a_finding(
    tmp_path: Path, keys: None, twelvedata: TwelveDataStub
) -> None:
    """There is no price, but there is a network."""
    config = _config(tmp_path, "http://127.0.0.1:9", twelvedata.url)
    assert tradectl("quote", "NOSUCH", "-c", config).exit_code == ExitCode.FINDING


@pytest.mark.parametrize("quotes", ["bars", "bars:", "sim:1", "nonsense"])
def test_a_market_that_cannot_be(quotes: str) -> None:
    """It says what may be written."""
    result = tradectl("quote", "SPY", "--quotes", quotes)
    assert result.exit_code == ExitCode.CONFIGURATION
    assert "sim  or  bars:GLOB" in result.stderr


def test_bars_in_files(tmp_path: Path) -> None:
    """The last close is the price, at the instant of the last close; others are not served."""
    lines = ["ts_utc,open,high,low,close,volume"]
    lines += [f"2025-11-05T14:{minute:02}:00Z,0.45,0.46,0.44,0.4512{minute % 10},10" for minute in range(30)]
    (tmp_path / "ADA-USD_1m.csv").write_text("\n".join(lines) + "\n")
    result = tradectl("quote", "ADA-USD", "BTC-USD", "--quotes", f"bars:{tmp_path}", "--json")
    assert result.exit_code == ExitCode.FINDING, result.output
    told = document(result, "quote-v1")
    ada, bitcoin = told["symbols"]
    assert (told["at"], ada["bid"], ada["used"]) == ("2025-11-05T14:30:00Z", "0.45129", "bars")
    assert bitcoin["sources"][0]["outcome"] == "unsupported"
