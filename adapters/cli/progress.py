"""A progress bar on standard error, for work that takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

WAIT_SECONDS: Final = 1.0
_WIDTH: Final = 30
_REDRAW_SECONDS: Final = 0.1


class ProgressBar:
    """Draws how much is done, on a terminal only, and wipes it away in the end.

    Call it with (done, total), or let it say what is being done, as often as you like.
    """

    def __init__(
        self, what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin: the first second draws nothing."""
        self._what = what
        self._stream = stream or sys.stderr
        self._clock = clock
        self._next = clock() + WAIT_SECONDS
        self._drawn = False
        self._doing = ""  # what was said and not drawn

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __call__(self, done: int, total: int) -> None:
        """Draw, if it is time to."""
        if total and self._due():
            full = _WIDTH * done // total
            bar = "#" * full + "." * (_WIDTH - full)
            self._draw(f"[{bar}]  {done} of {total}")

    def say(self, doing: str) -> None:
        """Draw what is being done, where nobody knows how much is to come."""
        self._doing = doing
        self.still()

    def still(self) -> None:
        """Draw what was said to be done, if there was no time to yet: it goes on."""
        if self._doing and self._due():
            self._draw(f"{self._doing}\x1b[K")
            self._doing = ""

    def _due(self) -> bool:
        now = self._clock()
        if now < self._next or not self._stream.isatty():
            return False
        self._next = now + _REDRAW_SECONDS
        return True

    def _draw(self, text: str) -> None:
        self._drawn = True
        self._stream.write(f"\r{self._what}  {text}")
        self._stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the line: where it took long, a copy of this process may have drawn what this one has not."""
        if self._drawn or self._due():
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
