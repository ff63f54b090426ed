"""The websockets of the local Alpaca: trade updates, and the market data of stocks and of crypto."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler

from adapters.stubs.alpaca.assets import Asset
from adapters.stubs.alpaca.prices import Ticker, bar_json
from adapters.stubs.alpaca.venue import Venue
from adapters.stubs.alpaca.wire import bar_instant, data_instant, data_nanoseconds
from engine.model import Bar

TRADING: Final = "trading"
STOCKS: Final = "stocks"
CRYPTO: Final = "crypto"
KINDS: Final = (TRADING, STOCKS, CRYPTO)

TRADING_PATH: Final = "/stream"
STOCKS_PATH: Final = "/v2/iex"
CRYPTO_PATH: Final = "/v1beta3/crypto/us"

_CHANNELS: Final = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "orderbooks")
Message = dict[str, Any]


@dataclass(eq=False, slots=True)
class _Listener:
    """One connection.  Only the server's loop touches it."""

    kind: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    packed: bool  # messages of market data as msgpack, else as JSON
    channels: dict[str, set[str]] = field(default_factory=dict)
    authenticated: bool = False
    listening: bool = False
    waiting: asyncio.Queue[bytes | str] = field(default_factory=asyncio.Queue)

    def wants(self, channel: str, symbol: str) -> bool:
        symbols = self.channels.get(channel, ())
        return symbol in symbols or "*" in symbols

    def send(self, message: object) -> None:
        """Send, in the order of the calls; trade updates are JSON in binary frames, as the real ones."""
        if self.kind == TRADING:
            self.waiting.put_nowait(json.dumps(message).encode())
        elif self.packed:
            self.waiting.put_nowait(msgpack.packb(message))
        else:
            self.waiting.put_nowait(json.dumps(message))

    async def write(self) -> None:
        while True:
            frame = await self.waiting.get()
            send = self.socket.send_bytes(frame) if isinstance(frame, bytes) else self.socket.send_str(frame)
            try:
                await send
            except ConnectionError:
                return  # it was dropped: what it is not told is lost


class Streams:
    """All connections; what happens at the venue is told to those that asked for it, and to no one later."""

    def __init__(self, venue: Venue, accepts: Callable[[str, str], bool]) -> None:
        """Listen to a venue; ``accepts`` says whether a key and a secret are right."""
        self._accepts = accepts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[_Listener] = set()
        self._muted = False
        self._changed = threading.Condition()
        venue.listeners.updates.append(lambda update: self._soon(self._tell_update, update))
        venue.listeners.tickers.append(lambda asset, ticker: self._soon(self._tell_ticker, asset, ticker))
        venue.listeners.bars.append(lambda asset, bar: self._soon(self._tell_bar, asset, bar))

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the three streams."""
        return [
            web.get(TRADING_PATH, self._served(TRADING)),
            web.get(STOCKS_PATH, self._served(STOCKS)),
            web.get("/v2/sip", self._served(STOCKS)),
            web.get(CRYPTO_PATH, self._served(CRYPTO)),
        ]

    async def start(self) -> None:
        """Take the loop that the connections live on."""
        self._loop = asyncio.get_running_loop()

    async def drop(self) -> None:
        """End every connection at once, without a word."""
        for listener in list(self._listeners):
            listener.transport.abort()
        self._forget(list(self._listeners))

    def mute(self, muted: bool) -> None:
        """Say nothing more of what happens, or begin to again; the connections stay open."""
        self._muted = muted

    def count(self, kind: str) -> int:
        """Return how many connections of a kind have subscribed to something."""
        with self._changed:
            return self._count(kind)

    def wait_for(self, kind: str, count: int, timeout_seconds: float) -> bool:
        """Wait until so many connections of a kind have subscribed; say whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count(kind) >= count, timeout_seconds)

    def _count(self, kind: str) -> int:
        return sum(listener.kind == kind and listener.listening for listener in self._listeners)

    # --- what is told --------------------------------------------------------------------------

    def _soon(self, tell: Callable[..., None], *what: object) -> None:
        # Muted is what happens while it is muted, whenever the loop comes round to telling it.
        if not self._muted and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell, *what)

    def _tell_update(self, update: Message) -> None:
        for listener in self._audience(TRADING):
            listener.send({"stream": "trade_updates", "data": update})

    def _tell_ticker(self, asset: Asset, ticker: Ticker) -> None:
        kind = CRYPTO if asset.is_crypto else STOCKS
        for listener in self._audience(kind):
            told = []
            if listener.wants("quotes", asset.symbol):
                told.append({"T": "q", **ticker.quote_json(asset.is_crypto)})
            if listener.wants("trades", asset.symbol):
                told.append({"T": "t", **ticker.trade_json(asset.is_crypto)})
            for message in told:
                at = data_nanoseconds(ticker.at_ms) if listener.packed else None
                message |= {"S": asset.symbol, "t": _stamp(at, data_instant(ticker.at_ms))}
            if told:
                listener.send(told)

    def _tell_bar(self, asset: Asset, bar: Bar) -> None:
        kind = CRYPTO if asset.is_crypto else STOCKS
        for listener in self._audience(kind):
            if listener.wants("bars", asset.symbol):
                at = bar.open_time_ms * 1_000_000 if listener.packed else None
                stamp = _stamp(at, bar_instant(bar.open_time_ms))
                listener.send([{"T": "b", "S": asset.symbol, **bar_json(bar, asset.is_crypto), "t": stamp}])

    def _audience(self, kind: str) -> list[_Listener]:
        return [listener for listener in self._listeners if listener.kind == kind and listener.listening]

    # --- what is asked -------------------------------------------------------------------------

    def _served(self, kind: str) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            if request.transport is None:
                return socket  # it has gone already
            packed = "msgpack" in request.headers.get("Content-Type", "")
            listener = _Listener(kind, socket, request.transport, packed)
            with self._changed:
                self._listeners.add(listener)
            writer = asyncio.get_running_loop().create_task(listener.write())
            try:
                if kind != TRADING:
                    listener.send([{"T": "success", "msg": "connected"}])
                async for frame in socket:
                    if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        self._hear(listener, _read(frame.data, packed=packed and kind != TRADING))
            finally:
                writer.cancel()
                self._forget([listener])
            return socket

        return handler

    def _forget(self, listeners: Iterable[_Listener]) -> None:
        with self._changed:
            self._listeners.difference_update(listeners)
            self._changed.notify_all()

    def _hear(self, listener: _Listener, message: Message) -> None:
        if listener.kind == TRADING:
            self._hear_trading(listener, message)
        else:
            self._hear_data(listener, message)
        with self._changed:
            self._changed.notify_all()

    def _hear_trading(self, listener: _Listener, message: Message) -> None:
        details = message.get("data")
        details = details if isinstance(details, dict) else {}
        match message.get("action"):
            case "authenticate" | "auth":
                key_id = details.get("key_id", message.get("key", ""))
                secret = details.get("secret_key", message.get("secret", ""))
                listener.authenticated = self._accepts(str(key_id), str(secret))
                answer: Message = {"action": "authenticate", "status": "authorized"}
                if not listener.authenticated:
                    answer |= {"status": "unauthorized", "message": "access key verification failed"}
                listener.send({"stream": "authorization", "data": answer})
            case "listen" if listener.authenticated:
                streams = [name for name in details.get("streams", ()) if name == "trade_updates"]
                listener.listening = bool(streams)
                listener.send({"stream": "listening", "data": {"streams": streams}})
            case "listen":
                answer = {"action": "listen", "status": "unauthorized", "message": "not authenticated"}
                listener.send({"stream": "authorization", "data": answer})

    def _hear_data(self, listener: _Listener, message: Message) -> None:
        match message.get("action"):
            case "auth" if listener.authenticated:
                listener.send([_error(403, "already authenticated")])
            case "auth":
                key_id, secret = str(message.get("key", "")), str(message.get("secret", ""))
                listener.authenticated = self._accepts(key_id, secret)
                if listener.authenticated:
                    listener.send([{"T": "success", "msg": "authenticated"}])
                else:
                    listener.send([_error(402, "auth failed")])
            case "subscribe" | "unsubscribe" if not listener.authenticated:
                listener.send([_error(401, "not authenticated")])
            case "subscribe" | "unsubscribe" as action:
                _subscribe(listener, message, adds=action == "subscribe")
                told = {channel: sorted(symbols) for channel, symbols in listener.channels.items()}
                listener.send([{"T": "subscription", **told}])
            case _:
                listener.send([_error(400, "invalid syntax")])


def _subscribe(listener: _Listener, message: Mapping[str, Any], *, adds: bool) -> None:
    for channel in _CHANNELS:
        symbols = {symbol for symbol in message.get(channel) or () if isinstance(symbol, str)}
        present = listener.channels.setdefault(channel, set())
        if adds:
            present |= symbols
        else:
            present -= symbols
    listener.listening = any(listener.channels.values())


def _error(code: int, words: str) -> Message:
    return {"T": "error", "code": code, "msg": words}


def _stamp(nanoseconds: int | None, written: str) -> object:
    return written if nanoseconds is None else msgpack.Timestamp.from_unix_nano(nanoseconds)


def _read(frame: bytes | str, *, packed: bool) -> Message:
    """Return the message of a frame; an empty one where it cannot be read."""
    try:
        message = msgpack.unpackb(frame) if packed and isinstance(frame, bytes) else json.loads(frame)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
