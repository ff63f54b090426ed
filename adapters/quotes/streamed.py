"""Alpaca's streams as a source of quotes: the newest that was heard, with the time that it carries.

A stream is a hint.  What was said while nobody listened is lost, so a symbol may have no quote here, or an
old one; the age of each is its own, and a stream gone mute grows stale by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.quotes.books import book_answer
from adapters.quotes.source import Answer, Miss, Outcome, SourceFailedError
from adapters.vendors.alpaca import AlpacaAccess
from adapters.vendors.alpaca_stream import QuoteStream, StreamHealth, StreamState
from engine.model import AssetClass
from engine.runtime.ports import Clock


class StreamedSource:
    """``Source`` out of memory: no call waits for the network.  Stocks and commodities share a stream."""

    name = "alpaca_stream"
    batch = 1000

    def __init__(
        self,
        access: AlpacaAccess,
        clock: Clock,
        *,
        stocks: Sequence[str] = (),
        crypto: Sequence[str] = (),
        stock_url: str = "",
        crypto_url: str = "",
        silent_seconds: float = 15.0,
    ) -> None:
        """Listen to these symbols, in Alpaca's notation, from the first question on.

        Args:
            access: The keys, and the feed of stocks.
            clock: Stamps what is received, and tells when a stream has been silent for too long.
            stocks: Symbols of stocks and commodities.
            crypto: Pairs of crypto.
            stock_url: The whole address of the websocket of stocks; "" is Alpaca's own.
            crypto_url: The same for crypto.
            silent_seconds: After so long without any message a stream is called silent.
        """
        self._clock = clock
        self._streams: dict[bool, QuoteStream] = {}
        for asset_class, symbols, url in (
            (AssetClass.STOCK, stocks, stock_url),
            (AssetClass.CRYPTO, crypto, crypto_url),
        ):
            if symbols:
                self._streams[asset_class is AssetClass.CRYPTO] = QuoteStream(
                    access, asset_class, symbols, clock.monotonic_ns, url=url, silent_seconds=silent_seconds
                )

    def start(self) -> None:
        """Begin to listen before the first question.  Safe to call again."""
        for stream in self._streams.values():
            stream.start()

    def fetch(
        self, spellings: Sequence[str], asset_class: AssetClass, timeout_seconds: float
    ) -> Mapping[str, Answer]:
        """Return what was heard.  Where a stream failed and had nothing, the call failed, with its reason."""
        if not spellings:
            return {}
        stream = self._streams.get(asset_class is AssetClass.CRYPTO)
        if stream is None:
            miss = Miss(Outcome.UNSUPPORTED, f"nothing of the class {asset_class} is listened to")
            return dict.fromkeys(spellings, miss)
        stream.start()
        heard = {spelling: stream.latest(spelling) for spelling in spellings}
        health = stream.health
        if health.state is StreamState.FAILED and not any(heard.values()):
            raise SourceFailedError(f"the stream has failed: {health.reason}")
        return {spelling: self._answer(spelling, told, health) for spelling, told in heard.items()}

    def health(self, asset_class: AssetClass) -> StreamHealth | None:
        """Return what the stream of a class is at; None where nothing of it is listened to."""
        stream = self._streams.get(asset_class is AssetClass.CRYPTO)
        return None if stream is None else stream.health

    def close(self) -> None:
        """Stop listening.  Safe to call twice."""
        for stream in self._streams.values():
            stream.close()

    def _answer(self, spelling: str, told: Mapping[str, object] | None, health: StreamHealth) -> Answer:
        if told is None:
            if health.state is StreamState.FAILED:
                return Miss(Outcome.FAILED, f"the stream has failed: {health.reason}")
            why = f": {health.reason}" if health.reason else ""
            return Miss(
                Outcome.NO_DATA, f"no quote of {spelling} was heard, the stream is {health.state}{why}"
            )
        at_ms = told["t"]
        return book_answer(
            spelling, told, at_ms if isinstance(at_ms, int) else None, self._clock.now_utc_ms()
        )
