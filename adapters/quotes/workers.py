"""Daemon threads for blocking clients: so many for each source and no more.

A client that never comes back keeps its thread, and nothing else: not the pass, which goes on without it,
and not the end of the process, which does not wait for daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

_Result = TypeVar("_Result")


class Workers(Protocol):
    """What a source's calls run on."""

    @property
    def free(self) -> int:
        """How many calls may be started now."""

    def start(self, work: Callable[[], _Result], done: Callable[[_Result], None]) -> None:
        """Run ``work``, which raises nothing, and tell ``done`` from any thread; only while one is free."""

    def close(self) -> None:
        """Let go of the threads that are free, now and later."""


class DaemonWorkers:
    """``Workers`` of at most ``count`` threads, made when they are first needed."""

    def __init__(self, name: str, count: int) -> None:
        """Begin without a thread."""
        self._name = name
        self._count = count
        self._threads = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    @property
    def free(self) -> int:
        """How many calls may be started now."""
        return self._count - self._busy

    def start(self, work: Callable[[], _Result], done: Callable[[_Result], None]) -> None:
        """Run ``work`` in a thread, then ``done`` with its result in the same one."""

        def both() -> None:
            result = work()
            with self._lock:
                self._busy -= 1
            done(result)

        with self._lock:
            assert self._busy < self._count, "no worker is free"
            self._busy += 1
            if self._busy > self._threads:
                self._threads += 1
                threading.Thread(target=self._serve, name=f"quotes {self._name}", daemon=True).start()
        self._work.put(both)

    def close(self) -> None:
        """End every thread that is free, and each of the others when its call ends."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
