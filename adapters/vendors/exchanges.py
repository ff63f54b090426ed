"""HTTP through requests, within a time that counts for the whole of a request.

The timeouts of requests bound one step each: a host name that does not resolve, and an answer that drips
byte by byte, last longer than any of them.  Here a request runs in a thread of its own.  When its time is
over its connection is cut, so that the thread ends soon, and nothing is sent after that.

This module is imported where a client is made, not before: requests is slow to load.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

MAXIMUM_BYTES: Final = 64 * 2**20
"""No answer is longer than this; the longest known, a list of all assets, has about 8 MB."""

_CHUNK_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.  Header names are compared without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LostError(Exception):
    """No whole answer came.  ``sent`` says whether the other side may have got any of the request.

    ``reason`` holds nothing of what was sent or received.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        """Keep what is known."""
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


def make_plain(session: requests.Session) -> None:
    """Make a client library's session one for ``exchange``: it takes nothing from the environment."""
    session.trust_env = False
    adapter = _Adapter(max_retries=0)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    connect_seconds: float,
    read_seconds: float,
    total_seconds: float,
    **options: Any,  # noqa: ANN401 - passed on to requests, which types them
) -> Answer:
    """Send one request, once, following no redirect, and return the answer.

    Raises LostError where no whole answer came within ``total_seconds``.
    """
    call = _Call()
    answers: list[Answer] = []
    failures: list[Exception] = []

    def run() -> None:
        _under_way.call = call
        try:
            answers.append(_fetch(session, method, url, (connect_seconds, read_seconds), options))
        except Exception as error:  # told in the thread that waits
            failures.append(error)

    worker = threading.Thread(target=run, name=f"request {method}", daemon=True)
    worker.start()
    worker.join(total_seconds)
    if answers:
        return answers[0]
    if not failures:
        call.cut()
        raise LostError(f"no whole answer within {total_seconds:.3g} s", sent=call.sent)
    raise LostError(_sentence(failures[0], connect_seconds, read_seconds), sent=call.sent)


def _fetch(
    session: requests.Session, method: str, url: str, timeout: tuple[float, float], options: dict[str, Any]
) -> Answer:
    options = options | {"allow_redirects": False, "timeout": timeout, "stream": True}
    with session.request(method, url, **options) as response:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAXIMUM_BYTES:
                raise _TooLongError
        return Answer(response.status_code, response.headers, bytes(body))


class _TooLongError(Exception):
    """An answer without end."""


class _OverError(OSError):
    """The time of the request ended before it was sent."""


class _Call:
    """One request under way: where it goes, and whether anything of it has left."""

    def __init__(self) -> None:
        self.sent = False
        self._over = False
        self._connection: HTTPConnection | None = None
        self._lock = threading.Lock()

    def opens(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._connection = connection

    def sends(self, connection: HTTPConnection) -> None:
        """Note that bytes leave now.  Raises _OverError where nobody waits for the answer any more."""
        with self._lock:
            if self._over:
                raise _OverError
            self._connection = connection
            self.sent = True

    def cut(self) -> None:
        with self._lock:
            self._over = True
            held = None if self._connection is None else self._connection.sock
        if held is not None:
            # Not SSLSocket.shutdown, which takes the encryption from under the thread that reads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(held, socket.SHUT_RDWR)


_under_way = threading.local()


def _call() -> _Call:
    call: _Call = _under_way.call
    return call


class _Connection(HTTPConnection):
    """A connection that tells the request under way what happens."""

    def connect(self) -> None:
        _call().opens(self)
        super().connect()

    def send(self, data: Any) -> None:  # noqa: ANN401 - as in http.client
        if self.sock is None:
            self.connect()
        _call().sends(self)
        super().send(data)


class _SecureConnection(HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        _call().opens(self)
        super().connect()

    def send(self, data: Any) -> None:  # noqa: ANN401 - as in http.client
        if self.sock is None:
            self.connect()
        _call().sends(self)
        super().send(data)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: Any,  # noqa: ANN401 - as in requests
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def _sentence(error: Exception, connect_seconds: float, read_seconds: float) -> str:
    """Say what happened, in words of our own: the texts of errors may quote headers, and keys in them."""
    failures = requests.exceptions
    causes = _causes(error)
    if isinstance(error, _TooLongError):
        return f"an answer of more than {MAXIMUM_BYTES // 2**20} MB"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "the name of the server cannot be resolved"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "the server refuses connections"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "no trusted TLS connection to the server"
    if isinstance(error, failures.ConnectTimeout):
        return f"no connection within {connect_seconds:.3g} s"
    if isinstance(error, failures.Timeout) or any(isinstance(cause, TimeoutError) for cause in causes):
        return f"no answer for {read_seconds:.3g} s"
    if isinstance(error, failures.ContentDecodingError):
        return "an answer that cannot be unpacked"
    if isinstance(error, (failures.ConnectionError, failures.ChunkedEncodingError)):
        return "the connection was lost"
    return f"the request failed ({type(error).__name__})"


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error with what caused it and what is in its arguments: urllib3 keeps its reasons there."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found
