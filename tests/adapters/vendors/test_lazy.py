"""The libraries of vendors are loaded by those who use them: the command line starts without them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIBRARIES = (
    "alpaca",
    "aiohttp",
    "curl_cffi",
    "finnhub",
    "httpx2",
    "pandas",
    "requests",
    "websockets",
    "yfinance",
)


@pytest.mark.parametrize("module", ["alpaca", "finnhub", "history", "streamed", "twelvedata", "yahoo"])
def test_a_source_is_imported_without_its_library(module: str) -> None:
    """Importing a source imports none of the libraries."""
    source = f"import sys, adapters.quotes.{module}; print(*sorted(set({_LIBRARIES!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


_AT_ONCE = """
import sys, threading
from adapters.quotes.alpaca import AlpacaSource
from adapters.clock import WallClock
from adapters.vendors.alpaca import AlpacaAccess
from adapters.quotes.source import SourceFailedError
from engine.model import AssetClass

sys.setswitchinterval(1e-5)
access = AlpacaAccess("PKTEST", "secret", trading_url="http://127.0.0.1:9", data_url="http://127.0.0.1:9")
source, both, told = AlpacaSource(access, WallClock()), threading.Barrier(2), []

def ask(spelling, asset_class):
    both.wait()
    try:
        source.fetch([spelling], asset_class, 20)
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")

asked = [("SPY", AssetClass.STOCK), ("BTC/USD", AssetClass.CRYPTO)]
threads = [threading.Thread(target=ask, args=one) for one in asked]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*told, sep="\\n")
"""


def test_two_first_questions_at_once() -> None:
    """Stocks and coins, each in its thread, load alpaca-py together: both reach the network."""
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["SourceFailedError: Alpaca: the server refuses connections"] * 2
