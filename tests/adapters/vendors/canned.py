"""A server that answers as it was told, byte by byte if need be, and keeps what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from adapters.stubs.serving import LoopbackServer


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Canned:
    """One answer; ``body`` is sent as it is."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class CannedServer:
    """Answers each path with what ``answers`` holds for it: one answer, or several in turn (the last stays).

    A path that is not there gets a 404 with a page of HTML.
    """

    def __init__(self) -> None:
        """Listen."""
        self.answers: dict[str, Canned | list[Canned]] = {}
        self.asked: list[Asked] = []
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._server = LoopbackServer(application)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(Asked(request.method, request.path, dict(request.query), await request.read()))
        answer = self.answers.get(request.path, Canned(b"<html>no such page</html>", 404, {}, "text/html"))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        headers = {**answer.headers, "Content-Type": answer.content_type}
        return web.Response(body=answer.body, status=answer.status, headers=headers)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.close()


class DrippingServer:
    """Takes any request and answers for ever: ``drip`` again and again, a byte each 20 ms after ``head``."""

    def __init__(self, head: bytes, drip: bytes = b" ") -> None:
        """Listen."""
        self._head, self._drip = head, drip
        self._stop = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.ended = threading.Event()
        """Set when a client has gone away."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._listening.settimeout(0.05)
        while not self._stop.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self._head)
                    while not self._stop.wait(0.02):
                        connection.sendall(self._drip)
                except OSError:
                    self.ended.set()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(10)
        self._listening.close()
