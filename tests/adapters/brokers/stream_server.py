"""A stream of trade updates that misbehaves as a test wants, in ways that the local Alpaca never does."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from aiohttp import WSMsgType, web

from adapters.stubs.serving import LoopbackServer


class StreamServer:
    """Takes every key, until it is told to do otherwise; a context manager.

    Attributes:
        connections: How many were made so far.
        status: The answer to a key; None for no answer at all.
        beats: Whether heartbeats are answered.
        refuses: The status with which the connection itself is refused, 0 for none.
        sends_on_to: Where a connection is redirected to, "" for nowhere.
    """

    def __init__(self) -> None:
        """Listen on loopback."""
        self.connections = 0
        self.status: str | None = "authorized"
        self.beats = True
        self.refuses = 0
        self.sends_on_to = ""
        self._changed = threading.Condition()
        self._sockets: list[web.WebSocketResponse] = []
        application = web.Application()
        application.add_routes([web.get("/stream", self._serve)])
        self._server = LoopbackServer(application)
        self.url = f"{self._server.websocket_url}/stream"

    def __enter__(self) -> StreamServer:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self._server.close()

    def say(self, frame: str) -> None:
        """Send a frame, as it is, to all that are connected."""

        async def said() -> None:
            for socket in self._sockets:
                await socket.send_str(frame)

        self._server.call(said())

    def update(self, client_id: str) -> None:
        """Say that something happened to an order."""
        data = {"event": "fill", "order": {"client_order_id": client_id}}
        self.say(json.dumps({"stream": "trade_updates", "data": data}))

    def wait_for(self, connections: int, timeout_seconds: float = 10.0) -> bool:
        """Wait until so many connections were made in all."""
        with self._changed:
            return self._changed.wait_for(lambda: self.connections >= connections, timeout_seconds)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        if self.refuses:
            return web.Response(status=self.refuses)
        if self.sends_on_to:
            raise web.HTTPFound(self.sends_on_to)
        socket = web.WebSocketResponse(autoping=self.beats)
        await socket.prepare(request)
        async for frame in socket:
            if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self._answer(socket, json.loads(frame.data))
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message.get("action") == "authenticate":
            if self.status is None:
                await asyncio.sleep(3600)
            data = {"action": "authenticate", "status": self.status}
            await socket.send_str(json.dumps({"stream": "authorization", "data": data}))
        elif message.get("action") == "listen":
            self._sockets = [other for other in self._sockets if not other.closed] + [socket]
            listened = {"streams": ["trade_updates"]}
            await socket.send_str(json.dumps({"stream": "listening", "data": listened}))
