"""Work done at once, in processes: nothing is lost, mixed up or left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import pytest

from adapters.processes import at_once

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot copy a process")
HERE = os.getpid()


def _said(word: str) -> tuple[str, bool]:
    return word, os.getpid() == HERE


def _nobody_is_left() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_each_is_done_in_a_process_of_its_own_but_the_first() -> None:
    """In the order of the tasks; a large result comes through, too."""
    long = "x" * 10**6
    done = at_once([partial(_said, word) for word in ("a", "b", long)], processors=2)
    assert done == [("a", True), ("b", False), (long, False)]
    _nobody_is_left()


def test_with_one_processor_all_are_done_here() -> None:
    """One after the other."""
    done = at_once([partial(_said, word) for word in "ab"], processors=1)
    assert done == [("a", True), ("b", True)]
    assert at_once([partial(_said, "a")], processors=8) == [("a", True)]


def _killed_elsewhere() -> str:
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done after all"


def test_what_a_killed_process_did_not_do_is_done_here() -> None:
    """The system may end a process for want of memory."""
    assert at_once([lambda: "own", _killed_elsewhere], processors=2) == ["own", "done after all"]
    _nobody_is_left()


def test_what_cannot_be_sent_is_done_here() -> None:
    """A result must be picklable to come through the pipe; here it need not be."""
    tasks: list[Callable[[], object]] = [lambda: 1, lambda: _fails]
    assert at_once(tasks, processors=2) == [1, _fails]
    tasks = [lambda: 1, lambda: lambda: 2]
    assert callable(at_once(tasks, processors=2)[1])


def test_where_there_is_no_process_left_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the tasks, and nothing stays open."""

    def refused() -> int:
        raise BlockingIOError("no process is left")

    opened = os.dup(0)
    os.close(opened)
    monkeypatch.setattr(os, "fork", refused)
    done = at_once([partial(_said, word) for word in "abc"], processors=3)
    assert done == [("a", True), ("b", True), ("c", True)]
    lowest = os.dup(0)
    os.close(lowest)
    assert lowest == opened


def _fails(reason: str) -> None:
    raise ValueError(reason)


def test_errors_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    """The first task's, or that of one that failed elsewhere: once, by this process; no other is left."""
    tasks: list[Callable[[], None]] = [partial(_fails, "here"), signal.pause]
    with pytest.raises(ValueError, match="here"):
        at_once(tasks, processors=2)
    _nobody_is_left()
    tasks = [lambda: None, partial(_fails, "there")]
    with pytest.raises(ValueError, match="there"):
        at_once(tasks, processors=2)
    _nobody_is_left()
    assert capfd.readouterr() == ("", "")
