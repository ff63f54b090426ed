"""A session of ``requests`` that is safe to give to a vendor's library."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict

from adapters.vendors.exchanges import LostError, exchange, make_plain

_ends: ContextVar[float] = ContextVar("when the requests of this thread end, by time.monotonic")


class DeadlineSession(requests.Session):
    """Goes over ``exchange``: with a deadline, once, to no other address, without the environment's proxies.

    Works only inside ``within``, so that no call of a library can forget its limit.  Raises LostError
    where no answer came.
    """

    def __init__(self) -> None:
        """Take nothing from the environment."""
        super().__init__()
        self._plain = requests.Session()
        make_plain(self._plain)

    @contextmanager
    def within(self, timeout_seconds: float) -> Iterator[None]:
        """Let the requests of this thread run for so long, all together."""
        token = _ends.set(time.monotonic() + timeout_seconds)
        try:
            yield
        finally:
            _ends.reset(token)

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - the library's own options
        """Send one request, whatever timeout, redirects or streaming the library asked for."""
        seconds = _ends.get() - time.monotonic()
        if seconds <= 0:
            raise LostError("no time was left for a request", sent=False)
        for name in ("timeout", "allow_redirects", "stream"):
            options.pop(name, None)
        answer = exchange(
            self._plain,
            method,
            url,
            connect_seconds=seconds,
            read_seconds=seconds,
            total_seconds=seconds,
            headers=dict(self.headers),
            **options,
        )
        if 300 <= answer.status < 400:
            raise LostError("a redirect to another address, which is not followed", sent=True)
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.encoding = "utf-8"
        response.raw = io.BytesIO(answer.body)
        return response

    def close(self) -> None:
        """Drop the connections."""
        self._plain.close()
        super().close()
