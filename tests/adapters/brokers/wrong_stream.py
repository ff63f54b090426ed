"""Streams of hints that must fail: as they are written when the library's word is taken for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapters.brokers.alpaca_stream import AlpacaHints
from adapters.vendors.alpaca import AlpacaAccess
from engine.runtime.ports import Clock, Hint


class LibraryAlone:
    """The library's own stream in a thread; a handler that works on what comes, and no trouble ever."""

    def __init__(
        self, access: AlpacaAccess, clock: Clock, wake: Callable[[], None], *, url: str, **others: float
    ) -> None:
        """Connect in the background."""
        from alpaca.trading.stream import TradingStream

        self._names: list[str] = []
        self._wake = wake
        self._stream = TradingStream(access.key_id, access.secret, raw_data=True, url_override=url)
        self._stream.subscribe_trade_updates(self._handle)
        threading.Thread(target=self._stream.run, daemon=True).start()

    async def _handle(self, message: Mapping[str, Any]) -> None:
        self._names.append(message["data"]["order"]["client_order_id"])  # raises where it is not there
        self._wake()

    def drain(self) -> Sequence[Hint]:
        """Return what was heard."""
        names, self._names = self._names, []
        return [Hint(name) for name in names]

    def trouble(self) -> str:
        """All is well, always."""
        return ""

    def close(self) -> None:
        """End it."""
        self._stream.stop()


class Forgetful(AlpacaHints):
    """Connects again, and does not say that it was away; what it cannot read it passes over."""

    def connected(self) -> None:
        """Note nothing but that it is well."""
        super().connected()
        self.drain()

    def said(self, update: Mapping[str, Any] | None) -> None:
        """Pass over what has no name."""
        if update is not None and "order" in update:
            super().said(update)
