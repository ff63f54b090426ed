"""The progress bar: silent at first, on a terminal only, and gone in the end."""

from __future__ import annotations

from io import StringIO

from adapters.cli.progress import ProgressBar


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def drawn(stream: StringIO, seconds: list[float]) -> list[str]:
    """Report ten of ten pieces of work, one at each of some seconds; return what was written."""
    times = iter([0.0, *seconds, seconds[-1]])
    with ProgressBar("work", stream, lambda: next(times)) as bar:
        for done, _ in enumerate(seconds, 1):
            bar(done, len(seconds))
    return stream.getvalue().split("\r")[1:]


def test_work_of_less_than_a_second_shows_nothing() -> None:
    """Nor is anything wiped."""
    assert drawn(Terminal(), [0.3, 0.6, 0.99]) == []


def test_longer_work_is_drawn_and_wiped() -> None:
    """From the first second on, not more often than ten times a second."""
    bars = drawn(Terminal(), [0.5, 1.0, 1.05, 1.2])
    assert bars == [
        "work  [###############...............]  2 of 4",
        "work  [##############################]  4 of 4",
        "\x1b[2K",
    ]


def test_what_is_no_terminal_gets_nothing() -> None:
    """A log is no place for a bar."""
    assert drawn(StringIO(), [2.0, 3.0]) == []


def test_what_a_copy_of_the_process_has_drawn_is_wiped() -> None:
    """This one has drawn nothing in all the time."""
    times = iter([0.0, 1.5])
    stream = Terminal()
    with ProgressBar("work", stream, lambda: next(times)):
        pass
    assert stream.getvalue() == "\r\x1b[2K"


def test_work_of_unknown_length_says_what_it_does() -> None:
    """Each line stands in the place of the one before, with nothing left of that."""
    times = iter([0.0, 0.5, 1.0, 1.2])
    stream = Terminal()
    with ProgressBar("proving a.yaml:", stream, lambda: next(times)) as bar:
        for doing in ("conditions", "exits", "limits"):
            bar.say(doing)
    assert stream.getvalue().split("\r")[1:] == [
        "proving a.yaml:  exits\x1b[K",
        "proving a.yaml:  limits\x1b[K",
        "\x1b[2K",
    ]


def test_work_that_was_named_before_the_first_second_is_named_then() -> None:
    """Once, while it goes on."""
    times = iter([0.0, 0.1, 0.9, 1.0, 1.2, 1.4, 1.6])
    stream = Terminal()
    with ProgressBar("proving a.yaml:", stream, lambda: next(times)) as bar:
        bar.say("exits")
        for _ in range(4):
            bar.still()
    assert stream.getvalue().split("\r")[1:] == ["proving a.yaml:  exits\x1b[K", "\x1b[2K"]
