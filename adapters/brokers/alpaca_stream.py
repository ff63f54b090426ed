"""Alpaca's trade updates as hints: which order to look at, and never what became of it.

The stream runs in a thread of its own.  Its handler only notes names; the agent's thread drains them and
asks the venue by REST.  Whatever the stream cannot tell, because it was away or could not be read, becomes
the hint to compare everything.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from adapters.vendors.alpaca import AlpacaAccess
from adapters.vendors.alpaca_updates import run_until_cancelled, trade_updates
from engine.runtime.ports import ANYTHING, Clock, Hint

SILENT_AFTER_SECONDS: Final = 10.0
BEAT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 5.0


class AlpacaHints:
    """An ``OrderHints`` from its making until ``close``; a context manager.

    ``wake`` is called, on the stream's thread, when there is something to drain or a new trouble.
    """

    def __init__(
        self,
        access: AlpacaAccess,
        clock: Clock,
        wake: Callable[[], None],
        *,
        url: str | None = None,
        silent_after_seconds: float = SILENT_AFTER_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        """Connect in the background.

        Args:
            access: Whose account, and where; the stream is beside the trading API unless ``url`` is given.
            clock: Measures the silence.
            wake: Ends the sleep of the agent's loop.
            url: The websocket's whole address.
            silent_after_seconds: So long nothing may be heard, heartbeats included.
            beat_seconds: How often a sign of life is asked for.
            answer_seconds: How long connecting may take.
            first_wait_seconds: The wait before a second attempt.
            longest_wait_seconds: The longest wait between two.

        Raises:
            ConfigurationError: The address is none.
        """
        self._clock = clock
        self._wake = wake
        self._silent_ns = round(silent_after_seconds * 1e9)
        self._lock = threading.Lock()
        self._pending: dict[str, None] = {}  # as many as there are orders, however often each is told of
        self._trouble = ""
        self._heard_ns: int | None = None  # None while there is no connection
        self._stream = trade_updates(
            access.key_id,
            access.secret,
            stream_url(access) if url is None else url,
            self,
            beat_seconds=beat_seconds,
            answer_seconds=answer_seconds,
            first_wait_seconds=first_wait_seconds,
            longest_wait_seconds=longest_wait_seconds,
        )
        self._loop = asyncio.new_event_loop()
        self._running: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="Alpaca trade updates", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return itself; the stream is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream."""
        self.close()

    def close(self) -> None:
        """End the stream and its thread.  Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(_CLOSE_SECONDS)

    # --- the port -------------------------------------------------------------------------------

    def drain(self) -> Sequence[Hint]:
        """Return what was heard since the last call, oldest first."""
        with self._lock:
            names, self._pending = self._pending, {}
        return [Hint(name) for name in names]

    def trouble(self) -> str:
        """Return why nothing is heard now; "" where all is well."""
        with self._lock:
            trouble = self._trouble
        if not trouble and self.is_silent():
            return f"Alpaca's trade updates: nothing was heard for {self._silent_ns / 1e9:g} s"
        return trouble

    # --- the listener ---------------------------------------------------------------------------

    def connected(self) -> None:
        """What happened before this was not told: everything is to be looked at."""
        with self._lock:
            self._trouble = ""
            self._heard_ns = self._clock.monotonic_ns()
            self._pending[ANYTHING.client_id] = None
        self._wake()

    def heard(self) -> None:
        """Note when."""
        with self._lock:
            self._heard_ns = self._clock.monotonic_ns()

    def said(self, update: Mapping[str, Any] | None) -> None:
        """Note whose update it is; one that cannot be read may be of any order."""
        order = (update or {}).get("order")
        name = order.get("client_order_id") if isinstance(order, Mapping) else None
        with self._lock:
            self._pending[name if isinstance(name, str) else ANYTHING.client_id] = None
        self._wake()

    def lost(self, why: str) -> None:
        """Say so until it is connected again."""
        silent = self.is_silent()
        with self._lock:
            self._heard_ns = None
            if silent:
                why = f"nothing was heard for {self._silent_ns / 1e9:g} s"
            self._trouble = f"Alpaca's trade updates are not heard: {why}"
        self._wake()

    def refused(self, why: str) -> None:
        """Say so for good: a key does not become right by being tried again."""
        with self._lock:
            self._heard_ns = None
            self._trouble = (
                f"Alpaca's trade updates are refused: {why}; check the key, then start the agent again"
            )
        self._wake()

    def is_silent(self) -> bool:
        """Say whether a connection that stands was not heard for too long."""
        with self._lock:
            heard_ns = self._heard_ns
        return heard_ns is not None and self._clock.monotonic_ns() - heard_ns > self._silent_ns

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._running = self._loop.create_task(run_until_cancelled(self._stream))
        try:
            self._loop.run_until_complete(self._running)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self.lost(f"the stream has ended ({type(error).__name__})")
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()


def stream_url(access: AlpacaAccess) -> str:
    """Return the address of the trade updates beside a trading API."""
    secure, _, rest = access.trading_url.partition("://")
    return f"{'wss' if secure == 'https' else 'ws'}://{rest.rstrip('/')}/stream"
