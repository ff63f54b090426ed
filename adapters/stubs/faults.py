"""Faults a server may show: before it did what was asked, or after, when only the answer goes wrong.

A ``FaultPlan`` decides for each request which fault it meets.  ``fault_middleware`` makes any aiohttp
application meet them; websockets are left alone (their drops and silences are the application's own).
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware


class Kind(StrEnum):
    """What goes wrong with an answer."""

    HANG = "hang"  # no answer, until the client goes away
    RESET = "reset"  # the connection ends without an answer
    TRUNCATED = "truncated"  # the connection ends within the body
    STATUS_408 = "408"
    STATUS_425 = "425"
    STATUS_429 = "429"  # with Retry-After
    STATUS_500 = "500"
    STATUS_502 = "502"  # an HTML page
    STATUS_503 = "503"
    STATUS_504 = "504"
    EMPTY = "empty"  # 200 without a body
    MALFORMED = "malformed"  # 200 with half of a JSON document
    HTML = "html"  # 200 with an HTML page
    TEXT = "text"  # 200 with plain text
    WRONG_TYPES = "wrong_types"  # 200 with JSON whose leaves have other types
    REDIRECT = "redirect"  # 302 to a page of HTML


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; with ``accepted`` the request is carried out and only its answer is spoilt."""

    kind: Kind
    accepted: bool = False

    def __str__(self) -> str:
        """Say when and what."""
        return f"{self.kind} {'after' if self.accepted else 'before'} acceptance"


EVERY_FAULT: Final[tuple[Fault, ...]] = tuple(
    Fault(kind, accepted) for kind in Kind for accepted in (False, True)
)


class FaultPlan(Protocol):
    """Says what happens to a request.  Called from the server's thread."""

    def fault(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets; None for none."""


class NoFaults:
    """All goes well."""

    def fault(self, method: str, path: str) -> Fault | None:
        """Return None."""
        return None


class Scripted:
    """Faults in turn, for the requests that match; then none.

    ``count`` is how many requests that match came in, faulty or not: how often a client really asked.
    """

    def __init__(self, faults: Iterable[Fault | None], method: str = "", path: str = "") -> None:
        """Spoil requests of ``method`` whose path holds ``path`` ("" for any)."""
        self._faults = list(faults)
        self._method = method
        self._path = path
        self.count = 0

    def fault(self, method: str, path: str) -> Fault | None:
        """Take the next one."""
        if self._method not in ("", method) or self._path not in path:
            return None
        self.count += 1
        return self._faults.pop(0) if self._faults else None


class Seeded:
    """Faults by chance: the same seed and the same requests in the same order meet the same ones."""

    def __init__(self, seed: int, share: float, faults: Sequence[Fault] = EVERY_FAULT) -> None:
        """Spoil this share of the requests."""
        self._random = random.Random(seed)
        self._share = share
        self._faults = tuple(faults)
        self._lock = threading.Lock()
        self.met: Counter[str] = Counter()
        """How often each fault was met."""

    def fault(self, method: str, path: str) -> Fault | None:
        """Draw."""
        with self._lock:
            if self._random.random() >= self._share:
                return None
            fault = self._random.choice(self._faults)
            self.met[f"{method} {fault}"] += 1
            return fault


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PAGE: Final = "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
_RETRY_AFTER_SECONDS: Final = "1"


def fault_middleware(plan: Callable[[], FaultPlan]) -> Middleware:
    """Return the aiohttp middleware that asks ``plan()`` at each request, so that plans can be exchanged."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        fault = plan().fault(request.method, request.path)
        if fault is None:
            return await handler(request)
        answer = await handler(request) if fault.accepted else None
        return await _spoilt(request, fault.kind, answer)

    return middleware


async def _spoilt(request: web.Request, kind: Kind, answer: web.StreamResponse | None) -> web.StreamResponse:
    body = (
        answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b'{"ok": 1}'
    )
    match kind:
        case Kind.HANG:
            await asyncio.Event().wait()
        case Kind.RESET:
            _drop(request)
        case Kind.TRUNCATED:
            cut = web.StreamResponse(headers={"Content-Length": str(len(body) + 1)})
            cut.content_type = "application/json"
            await cut.prepare(request)
            await cut.write(body[: len(body) // 2])
            _drop(request)
            return cut
        case Kind.EMPTY:
            return web.Response(status=200)
        case Kind.MALFORMED:
            return web.Response(body=body[: len(body) // 2] or b"{", content_type="application/json")
        case Kind.HTML:
            return web.Response(text=_PAGE, content_type="text/html")
        case Kind.TEXT:
            return web.Response(text="ok", content_type="text/plain")
        case Kind.WRONG_TYPES:
            return web.json_response(_other_types(_parsed(body)))
        case Kind.REDIRECT:
            return web.Response(status=302, headers={"Location": "/somewhere-else"}, text=_PAGE)
        case Kind.STATUS_502:
            return web.Response(status=502, text=_PAGE, content_type="text/html")
        case Kind.STATUS_429:
            headers = {"Retry-After": _RETRY_AFTER_SECONDS}
            return web.json_response(
                {"code": 42910000, "message": "rate limit exceeded"}, status=429, headers=headers
            )
        case _:
            status = int(kind.value)
            return web.json_response({"code": status * 100_000, "message": "try again later"}, status=status)
    return web.Response(status=500)  # the connection is gone: nobody reads this


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return {"value": body.decode(errors="replace")}


def _other_types(value: object) -> object:
    """Return the same document with a leaf of another type in the place of each leaf."""
    match value:
        case dict():
            return {key: _other_types(inner) for key, inner in value.items()}
        case list():
            return [_other_types(inner) for inner in value]
        case str():
            return [value]
        case bool() | None:
            return "perhaps"
        case _:
            return {"amount": value}
