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
