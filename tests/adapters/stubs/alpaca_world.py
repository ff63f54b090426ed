"""A local Alpaca with a market and some history, and who asks it by plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests

from adapters.clock import SimulatedClock
from adapters.stubs.alpaca import AlpacaStub
from engine.model import Bar

THURSDAY_10H: Final = 1_763_650_800_000  # 2025-11-20 15:00:00Z, 10:00 in New York
SATURDAY: Final = 1_763_823_600_000  # 2025-11-22 15:00:00Z
MINUTE_MS: Final = 60_000
TIMEOUT_SECONDS: Final = 10


class Caller:
    """Asks a stub with its key, or with another."""

    def __init__(self, stub: AlpacaStub, key_id: str | None = None, secret: str | None = None) -> None:
        """Ask this stub."""
        self._url = stub.url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["APCA-API-KEY-ID"] = stub.key_id if key_id is None else key_id
        self._session.headers["APCA-API-SECRET-KEY"] = stub.secret if secret is None else secret

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry the key."""
        return {name: str(self._session.headers[name]) for name in ("APCA-API-KEY-ID", "APCA-API-SECRET-KEY")}

    def __call__(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        /,
        **query: Any,  # noqa: ANN401 - words and numbers
    ) -> requests.Response:
        """Send one request; ``body`` as JSON."""
        return self._session.request(
            method, self._url + path, params=query, json=body, timeout=TIMEOUT_SECONDS
        )

    def send(self, method: str, path: str, content: bytes) -> requests.Response:
        """Send one request with any body."""
        return self._session.request(method, self._url + path, data=content, timeout=TIMEOUT_SECONDS)


def order(symbol: str = "BTC/USD", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - what JSON may hold
    """Return the body of an order: a buy of one at the market, unless said otherwise."""
    crypto = "/" in symbol
    usual: Mapping[str, Any] = {
        "symbol": symbol,
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc" if crypto else "day",
        "qty": "1",
    }
    return {name: value for name, value in {**usual, **fields}.items() if value is not None}


def bars(count: int, first_ms: int = THURSDAY_10H - 3 * 3_600_000) -> list[Bar]:
    """Return as many bars of a minute, each a cent above the one before."""
    return [
        Bar(first_ms + i * MINUTE_MS, 100 + i / 100, 101 + i / 100, 99 + i / 100, 100.5 + i / 100, 10.0)
        for i in range(count)
    ]


@contextmanager
def market(
    stub_class: type[AlpacaStub] = AlpacaStub,
    at_ms: int = THURSDAY_10H,
    **arguments: Any,  # noqa: ANN401 - of the stub
) -> Iterator[AlpacaStub]:
    """Serve a market of BTC/USD at 99.99/100, ETH/USD, SPY at 499.99/500 and AAPL, with bars of some."""
    with stub_class(clock=SimulatedClock(at_ms), **arguments) as stub:
        for symbol, bid, ask in (
            ("BTC/USD", "99.99", "100"),
            ("ETH/USD", "49.99", "50"),
            ("SPY", "499.99", "500"),
            ("AAPL", "199.98", "200"),
        ):
            stub.venue.set_quote(symbol, bid, ask)
        for symbol in ("BTC/USD", "SPY"):
            stub.venue.set_bars(symbol, bars(180))
        yield stub
