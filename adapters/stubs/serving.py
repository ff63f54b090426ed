"""A server on loopback in a thread of its own: HTTP and websockets, on a port that the system chooses."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aiohttp import web

from engine.errors import UnavailableError

LOOPBACK: Final = "127.0.0.1"
_START_SECONDS: Final = 10.0
_SHUTDOWN_SECONDS: Final = 0.05
_LAST_TURNS: Final = 3
"""Of the loop: a connection that is closed is told so in the next one, and lets go of its socket then."""
_Result = TypeVar("_Result")


class LoopbackServer:
    """Serves one application from its making until ``close``; a context manager.

    The application's handlers run on the server's own event loop.  ``call`` runs a coroutine there.
    """

    def __init__(
        self, application: web.Application, port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen; ``port`` 0 takes a free one.  UnavailableError where it cannot."""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stub server", daemon=True)
        self._thread.start()
        # Who hangs on a fault must not keep the server from closing.
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        try:
            self.port = self.call(self._listen(port))
        except OSError as error:
            self._stop_loop()
            raise UnavailableError(f"{LOOPBACK}:{port}: cannot be listened on ({error.strerror})") from error

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:40123``, without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def websocket_url(self) -> str:
        """The address of its websockets, without a slash at its end."""
        return f"ws://{LOOPBACK}:{self.port}"

    def call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine on the server's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)

    def close(self) -> None:
        """Stop listening and drop every connection.  Safe to call twice."""
        if self._thread.is_alive():
            self.call(self._end())
            self._stop_loop()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def _listen(self, port: int) -> int:
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, port, ssl_context=self._tls)
        await site.start()
        address = self._runner.addresses[0]
        return int(address[1])

    async def _end(self) -> None:
        """Drop every connection, also one that was just being taken, and see that it is gone."""
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)
        self._loop.close()
