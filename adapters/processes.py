"""Work that is done at once, in processes that begin as copies of this one."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, NoReturn, TypeVar

Done = TypeVar("Done")

_FAILED: Final = 1


def at_once(tasks: Sequence[Callable[[], Done]], processors: int | None = None) -> list[Done]:
    """Do tasks, all but the first in processes of their own, and return what they come to, in their order.

    What they come to must be picklable; what else they do to memory is lost.  Where the system cannot copy a
    process, or has one processor, they are done in turn; so is one whose process came to nothing, or for
    which there was no process left.
    """
    own, *others = tasks
    if not others or (processors or _processors()) < 2 or not hasattr(os, "fork"):
        return [task() for task in tasks]
    began: list[_Process[Done]] = []
    try:
        with suppress(OSError):
            for task in others:
                began.append(_Process(task))
        first = own()
        here = others[len(began) :]
        return [first, *(process.result() for process in began), *(task() for task in here)]
    finally:
        for process in began:
            process.end()


def _processors() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))  # those that this process may run on
    return os.cpu_count() or 1


class _Process(Generic[Done]):
    """A copy of this process at work on a task, and the pipe that its result comes through."""

    def __init__(self, task: Callable[[], Done]) -> None:
        self._task = task
        reads, writes = os.pipe()
        try:
            self._number = os.fork()
        except OSError:
            os.close(reads)
            os.close(writes)
            raise
        if not self._number:
            _work(task, reads, writes)
        os.close(writes)
        self._pipe = os.fdopen(reads, "rb")
        self._ended = False

    def result(self) -> Done:
        """Wait for it, and return what the task came to; without a result do the task here."""
        written = self._pipe.read()
        _, status = os.waitpid(self._number, 0)
        self._ended = True
        if status:
            return self._task()  # what went wrong goes wrong again, and is told
        done: Done = pickle.loads(written)
        return done

    def end(self) -> None:
        """Stop it, if it has not ended."""
        self._pipe.close()
        if not self._ended:
            os.kill(self._number, signal.SIGKILL)
            os.waitpid(self._number, 0)


def _work(task: Callable[[], object], reads: int, writes: int) -> NoReturn:
    """Do a task, write what it came to, and end this process."""
    status = _FAILED
    try:
        os.close(reads)  # who waits for the result may be gone: then writing it fails
        result = pickle.dumps(task())
        with os.fdopen(writes, "wb") as file:
            file.write(result)
        status = 0
    finally:
        os._exit(status)  # what the other process has open is neither written out nor ended by this one
