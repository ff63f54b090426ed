"""Alpaca's streams of quotes, watched: what a stream is at, and why, is known at any moment.

The library's stream connects again by itself and keeps what goes wrong to its log: a wrong key is tried for
ever, and a connection on which nothing comes looks like a good one.  Here each step is noted, and the newest
message of each symbol is kept.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from adapters.vendors.alpaca import AlpacaAccess, import_library
from adapters.vendors.failures import quoted
from engine.errors import ConfigurationError
from engine.model import AssetClass

if TYPE_CHECKING:
    from alpaca.data.live.websocket import DataStream

STREAM_URL: Final = "wss://stream.data.alpaca.markets"

_PING_SECONDS: Final = 5
_CLOSE_SECONDS: Final = 2.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_NANOSECONDS: Final = 1_000_000_000


class StreamState(StrEnum):
    """What a stream is at."""

    CONNECTING = "connecting"  # nobody has answered yet
    LIVE = "live"  # subscribed, and heard of within the limit
    SILENT = "silent"  # it should be live, and nothing came for longer than that
    FAILED = "failed"  # refused, lost, or never there; it goes on trying


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A stream's state, and why it is not live ("" where it is)."""

    state: StreamState
    reason: str = ""


class QuoteStream:
    """The newest quote of each symbol of one class, from when it is started.  Hints: what is missed is lost.

    ``latest`` may be called from any thread.
    """

    def __init__(
        self,
        access: AlpacaAccess,
        asset_class: AssetClass,
        symbols: Sequence[str],
        monotonic_ns: Callable[[], int],
        *,
        url: str = "",
        silent_seconds: float = 15.0,
    ) -> None:
        """Make the stream; nothing is imported or asked before ``start``.

        Args:
            access: The keys, and the feed of stocks.
            asset_class: CRYPTO, or any other for stocks.
            symbols: In Alpaca's notation, at least one.
            monotonic_ns: A clock that never steps.
            url: The whole address of the websocket; "" is Alpaca's own.
            silent_seconds: After so long without a message the stream is called silent.

        Raises:
            ConfigurationError: There are no symbols, or the keys would go over the network unencrypted.
        """
        if not symbols:
            raise ConfigurationError("a stream needs symbols")
        parts = urlsplit(url or STREAM_URL)
        if parts.scheme != "wss" and (parts.scheme != "ws" or parts.hostname not in _LOOPBACK):
            raise ConfigurationError(f"the address of a stream begins with wss://, not as in {url!r}")
        path = "v1beta3/crypto/us" if asset_class is AssetClass.CRYPTO else f"v2/{access.feed}"
        self._access = access
        self._is_crypto = asset_class is AssetClass.CRYPTO
        self._symbols = tuple(symbols)
        self._url = url or f"{STREAM_URL}/{path}"
        self._monotonic_ns = monotonic_ns
        self._silent_ns = int(silent_seconds * _NANOSECONDS)
        self._latest: dict[str, Mapping[str, Any]] = {}
        self._told = threading.Condition()
        self._health = StreamHealth(StreamState.CONNECTING, "not started")
        self._heard_ns = monotonic_ns()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to listen, in a thread of its own.  Safe to call again."""
        with self._told:
            if self._thread is not None or self._closed:
                return
            self._health = StreamHealth(StreamState.CONNECTING, "no answer yet")
            self._heard_ns = self._monotonic_ns()
            self._thread = threading.Thread(target=self._run, name="quote stream", daemon=True)
            self._thread.start()

    def latest(self, symbol: str) -> Mapping[str, Any] | None:
        """Return the newest quote of a symbol as it came, with ``t`` in milliseconds; None before one."""
        return self._latest.get(symbol)

    @property
    def health(self) -> StreamHealth:
        """What the stream is at now, by the clock."""
        with self._told:
            silent_ns = self._monotonic_ns() - self._heard_ns
            health = self._health
        if silent_ns <= self._silent_ns or health.state is StreamState.FAILED:
            return health
        words = f"nothing came for {silent_ns // _NANOSECONDS} s"
        return StreamHealth(
            StreamState.SILENT if health.state is StreamState.LIVE else StreamState.FAILED, words
        )

    def wait_for(self, wanted: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait until something holds that changes with a message or a state; say whether it does."""
        with self._told:
            return self._told.wait_for(wanted, timeout_seconds)

    def close(self) -> None:
        """Stop listening.  Safe to call twice."""
        with self._told:
            self._closed = True
            loop, over, thread = self._loop, self._over, self._thread
        if loop is not None and over is not None and not loop.is_closed():
            loop.call_soon_threadsafe(over.set)
        if thread is not None:
            thread.join(2 * _CLOSE_SECONDS)

    # --- in the stream's thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._listen())
        except Exception as error:  # whatever the library does, it is told
            self._note(StreamState.FAILED, f"the stream ended ({type(error).__name__})")

    async def _listen(self) -> None:
        over = asyncio.Event()
        with self._told:
            self._loop, self._over = asyncio.get_running_loop(), over
            if self._closed:
                return
        stream = self._made()
        # It waits in a busy loop for a first subscription: there must be one before it runs.
        stream.subscribe_quotes(self._keep, *self._symbols)  # type: ignore[attr-defined]  # both kinds have it
        running = asyncio.ensure_future(stream._run_forever())
        ending = asyncio.ensure_future(over.wait())
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        # Both: only its own way to stop ends a wait before it connects again, where websockets swallowed the
        # cancellation while it closed; and only a cancellation ends a wait for an answer.
        await stream.stop_ws()
        running.cancel()
        await asyncio.wait({running}, timeout=_CLOSE_SECONDS)
        try:
            await asyncio.wait_for(stream.close(), _CLOSE_SECONDS)
        except Exception as error:  # it is over, however it ends
            self._note(StreamState.FAILED, f"closed ({type(error).__name__})")

    def _made(self) -> DataStream:
        import_library()
        from alpaca.data.live.crypto import CryptoDataStream
        from alpaca.data.live.stock import StockDataStream

        # It logs with a traceback what is told here.
        logging.getLogger("alpaca.data.live.websocket").setLevel(logging.CRITICAL)
        kind = CryptoDataStream if self._is_crypto else StockDataStream
        # A connection whose other side is gone is noticed by a ping without an answer.
        pings = {"ping_interval": _PING_SECONDS, "ping_timeout": _PING_SECONDS, "max_queue": 1024}
        stream: DataStream = kind(
            self._access.key_id,
            self._access.secret,
            raw_data=True,
            websocket_params=pings,
            url_override=self._url,
        )
        begin, dispatch, wait = stream._start_ws, stream._dispatch, stream._wait_before_reconnect

        async def begin_watched() -> None:
            try:
                await asyncio.wait_for(begin(), self._access.total_seconds)
            except Exception as error:
                self._note(StreamState.FAILED, self._words(error))
                raise

        async def dispatch_watched(message: dict[str, Any]) -> None:
            self._hear(message)
            await dispatch(message)

        async def wait_watched(retries: int) -> None:
            if self._health.state is not StreamState.FAILED:
                self._note(StreamState.FAILED, "the connection was lost")
            await wait(retries)

        setattr(stream, "_wait_before_reconnect", wait_watched)  # noqa: B010 - as below
        setattr(stream, "_start_ws", begin_watched)  # noqa: B010 - a method of the library is replaced
        setattr(stream, "_dispatch", dispatch_watched)  # noqa: B010 - a method of the library is replaced
        return stream

    def _words(self, error: Exception) -> str:
        """Say why there is no connection: what the server said, or the class of what happened."""
        # The library raises ValueError with the server's own words, and with nothing else.
        if type(error) is ValueError:
            return f"refused: {quoted(error, self._access.secret, self._access.key_id)}"
        return f"no connection ({type(error).__name__})"

    def _hear(self, message: Mapping[str, Any]) -> None:
        match message.get("T"):
            case "error":
                words = quoted(message.get("msg", ""), self._access.secret, self._access.key_id)
                self._note(StreamState.FAILED, f"refused: {words}")
            case _:
                self._note(StreamState.LIVE, "")

    async def _keep(self, message: dict[str, Any]) -> None:
        """Keep a quote: the newest by its own time, for messages may come late."""
        symbol, at = message["S"], message["t"]
        at_ms = at.to_unix_nano() // 1_000_000 if hasattr(at, "to_unix_nano") else None
        before = self._latest.get(symbol)
        with self._told:
            if before is None or at_ms is None or before["t"] is None or at_ms >= before["t"]:
                self._latest[symbol] = {**message, "t": at_ms}
            self._told.notify_all()

    def _note(self, state: StreamState, reason: str) -> None:
        with self._told:
            self._health = StreamHealth(state, reason)
            self._heard_ns = self._monotonic_ns()
            self._told.notify_all()
