"""A proxy on loopback that leads to one server, whatever host of a family is asked for.

So a client that knows no other address than its vendor's, with TLS, can be shown a server of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from adapters.stubs.serving import LOOPBACK, LoopbackServer

_READ_BYTES: Final = 65_536


class ConnectProxy:
    """Answers CONNECT for hosts that end in ``family`` by a tunnel to ``server``, on the server's own loop.

    ``hosts`` is every host that was asked for, in order, refused ones too.
    """

    def __init__(self, server: LoopbackServer, family: str, port: int = 0) -> None:
        """Listen; ``port`` 0 takes a free one."""
        self.hosts: list[str] = []
        self._server = server
        self._family = family
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening = server.call(asyncio.start_server(self._serve, LOOPBACK, port))
        self.port = int(self._listening.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:40123``, without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Stop listening and end every tunnel.  The server must still be running."""
        self._server.call(self._stop())

    async def _stop(self) -> None:
        self._listening.close()
        # Not by cancelling: what asyncio does with a cancelled connection is to complain of it.
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                await self._answer(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        host = target.rpartition(":")[0]
        self.hosts.append(host)
        if method == "CONNECT" and host.endswith(self._family):
            await self._tunnel(reader, writer)
        else:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._server.port)
        self._writers.add(far_writer)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers.discard(far_writer)
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, and then end the other."""
    try:
        while piece := await reader.read(_READ_BYTES):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
