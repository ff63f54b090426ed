"""Alpaca's stream of trade updates made safe: alpaca-py's TradingStream, without what it does for ever.

The library tries a bad key for ever, waits for ever for the answer to it, sees a dead connection after three
minutes, and loses what it cannot read and whatever happened while it was away.  Here each of these is told
to a ``Listener``.  Connecting again, later and later, is the library's own work.

The library is imported where a stream is made: it takes most of a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from adapters.vendors.alpaca import import_library
from engine.errors import ConfigurationError

if TYPE_CHECKING:
    from alpaca.trading.stream import TradingStream
    from websockets.legacy.client import WebSocketClientProtocol

_LIBRARY_LOG: Final = "alpaca.trading.stream"
_UPDATES: Final = "trade_updates"
_NO_KEY: Final = frozenset({401, 403})
_LONGEST_REASON: Final = 300
_CLOSING_SECONDS: Final = 1.0


class Listener(Protocol):
    """Is told of everything, on the stream's own thread; no call may wait."""

    def connected(self) -> None:
        """Every update from now on is told; those before are not."""

    def heard(self) -> None:
        """Something came, be it the answer to a heartbeat."""

    def said(self, update: Mapping[str, Any] | None) -> None:
        """An update came; None for one that cannot be read."""

    def lost(self, why: str) -> None:
        """The connection failed or ended; another one is tried."""

    def refused(self, why: str) -> None:
        """The venue does not take the key: nothing more is tried."""

    def is_silent(self) -> bool:
        """Say whether nothing was heard for too long: then the connection is given up."""


class _Refused(Exception):
    """The venue does not take the key."""


def trade_updates(
    key_id: str,
    secret: str,
    url: str,
    listener: Listener,
    *,
    beat_seconds: float,
    answer_seconds: float,
    first_wait_seconds: float,
    longest_wait_seconds: float,
) -> TradingStream:
    """Return a stream to be run with ``run_until_cancelled``.

    ``url`` is the websocket's whole address.  Each ``beat_seconds`` the venue is asked for a sign of life;
    ``answer_seconds`` is how long connecting, the key and the subscription may take; between two attempts
    it waits from ``first_wait_seconds`` up to ``longest_wait_seconds``.  ConfigurationError for an address
    that is none.
    """
    host = urlsplit(url).netloc
    if urlsplit(url).scheme not in ("ws", "wss") or not host:
        raise ConfigurationError(f"'{url}' is no address of a stream: write  wss://HOST/stream")

    import_library()
    from alpaca.trading.stream import TradingStream
    from websockets.exceptions import ConnectionClosed

    # what it logs is told to the listener, without the venue's words on our key
    logging.getLogger(_LIBRARY_LOG).setLevel(logging.CRITICAL)

    class Careful(TradingStream):
        """The library's stream, with ends."""

        async def _start_ws(self) -> None:
            try:
                await asyncio.wait_for(self._begin(), answer_seconds)
            except _Refused as refused:
                listener.refused(told(refused))
                await self.stop_ws()
                raise
            except TimeoutError:
                listener.lost(f"no answer within {answer_seconds:g} s")
                raise
            except Exception as error:
                if getattr(error, "status_code", None) in _NO_KEY:  # of the answer to the handshake
                    listener.refused(told(error))
                    await self.stop_ws()
                else:
                    listener.lost(told(error))
                raise
            listener.connected()

        async def _begin(self) -> None:
            await self._connect()  # type: ignore[no-untyped-call]  # the library does not type it
            socket = self._socket()
            there = socket.request_headers["Host"]
            if there != host:
                raise ConnectionError(f"it was sent on to {there}, which does not get our key")
            await self._auth()
            await self._subscribe_trade_updates()
            while True:
                message = read(await socket.recv())
                if message is not None and message.get("stream") == "listening":
                    return
                self._take(message)  # an update may come before the answer

        async def _auth(self) -> None:
            key = {"key_id": self._api_key, "secret_key": self._secret_key}
            await self._socket().send(json.dumps({"action": "authenticate", "data": key}))
            answer = read(await self._socket().recv()) or {}
            data = answer.get("data")
            status = data.get("status") if isinstance(data, Mapping) else None
            if status is None:
                raise ConnectionError("the answer to our key cannot be read")
            if status != "authorized":
                raise _Refused(f"the key is {status}")

        async def _consume(self) -> None:
            socket = self._socket()
            beat = asyncio.ensure_future(self._beat())
            try:
                while True:
                    message = read(await socket.recv())
                    listener.heard()
                    self._take(message)
            except ConnectionClosed as closed:
                listener.lost(told(closed))
                raise
            finally:
                beat.cancel()

        def _take(self, message: Mapping[str, Any] | None) -> None:
            if message is None:
                listener.said(None)
            elif message.get("stream") == _UPDATES:
                self._data_received = True
                data = message.get("data")
                listener.said(data if isinstance(data, Mapping) else None)

        def _socket(self) -> WebSocketClientProtocol:
            if self._ws is None:
                raise ConnectionError("the connection is closed")
            return self._ws

        async def _beat(self) -> None:
            socket = self._socket()
            while True:
                await asyncio.sleep(beat_seconds)
                if listener.is_silent():
                    socket.fail_connection()
                    return
                asyncio.ensure_future(await socket.ping()).add_done_callback(beaten)

    def beaten(answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            listener.heard()

    def told(error: Exception) -> str:
        """Return an error's words; a venue that repeats our key in them does not get it into a log."""
        words = str(error) or type(error).__name__
        for key in (key_id, secret):
            words = words.replace(key, "***")
        return words[:_LONGEST_REASON]

    # What websockets would log of a connection has the key in it.
    quiet = logging.Logger("stream", logging.CRITICAL)
    stream = Careful(
        key_id,
        secret,
        raw_data=True,
        url_override=url,
        websocket_params={
            "ping_interval": None,  # the heartbeat is ours
            "open_timeout": answer_seconds,
            "close_timeout": _CLOSING_SECONDS,
            "max_queue": 1024,
            "logger": quiet,
        },
    )
    stream._reconnect_min_backoff = first_wait_seconds
    stream._reconnect_max_backoff = longest_wait_seconds

    async def unused(update: object) -> None:
        """The library does not connect without a handler; ours is ``Listener.said``."""

    stream.subscribe_trade_updates(unused)
    return stream


async def run_until_cancelled(stream: TradingStream) -> None:
    """Run a stream until the task is cancelled or the venue refuses the key."""
    try:
        await stream._run_forever()  # type: ignore[no-untyped-call]  # the library does not type it
    finally:
        await stream.close()


def read(frame: str | bytes) -> Mapping[str, Any] | None:
    """Return a frame's JSON object; None where it is none."""
    try:
        message = json.loads(frame)
    except ValueError:
        return None
    return message if isinstance(message, Mapping) else None
