"""The router on real sockets and threads: a pass ends in time, threads are bounded, and a process can end."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.clock import WallClock
from adapters.quotes.router import QuoteRouter
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.workers import DaemonWorkers
from adapters.settings.model import QuoteSettings
from adapters.stubs.serving import LoopbackServer
from engine.model import AssetClass
from tests.adapters.quotes.fakes import FakeDirectory
from tests.adapters.quotes.http_source import HttpSource, quotes_server

ROOT = Path(__file__).resolve().parents[3]
_CLOCK = WallClock()
_SYMBOLS = [f"S{number:03}" for number in range(500)]
_SETTINGS = RouterSettings(QuoteSettings(deadline_seconds=30, source_deadline_seconds=1))
_DEADLINE_MS = 30_000
_BOUND_SECONDS = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    """Serve good, limited and hanging answers."""
    with quotes_server() as running:
        yield running


def _router(server: LoopbackServer, *, obeys: bool) -> QuoteRouter:
    sources = {
        "hangs": HttpSource("hangs", f"{server.url}/hangs", 50, obeys=obeys),
        "limited": HttpSource("limited", f"{server.url}/limited", 50),
        "good": HttpSource("good", f"{server.url}/good", 50),
    }
    order = dict.fromkeys(AssetClass, tuple(sources))
    return QuoteRouter(order, sources, FakeDirectory(), _CLOCK, random.Random(1), _SETTINGS)


def _threads() -> int:
    return sum(thread.name == "quotes hangs" for thread in threading.enumerate())


@pytest.mark.parametrize("obeys", [True, False], ids=["obeys its timeout", "obeys nothing"])
def test_one_hangs_one_is_at_its_limit_and_all_are_fresh(server: LoopbackServer, obeys: bool) -> None:
    """Five hundred symbols, three passes: each ends by its deadline, with all from the third source."""
    before = _threads()
    router = _router(server, obeys=obeys)
    try:
        for _ in range(3):
            deadline_ms = _CLOCK.now_utc_ms() + _DEADLINE_MS
            routed = router.route(_SYMBOLS, deadline_ms)
            assert _CLOCK.now_utc_ms() <= deadline_ms
            assert {one.used for one in routed.values()} == {"good"}
            assert all(len(one.hops) == 3 for one in routed.values())
        assert _threads() - before <= _SETTINGS.workers
    finally:
        router.close()


def test_a_server_that_is_gone(server: LoopbackServer) -> None:
    """A refused connection is a failure like any other, told without an address or a key."""
    gone = quotes_server()
    gone.close()
    sources = {
        "gone": HttpSource("gone", f"{gone.url}/good", 50),
        "good": HttpSource("good", f"{server.url}/good", 50),
    }
    router = QuoteRouter(
        dict.fromkeys(AssetClass, tuple(sources)), sources, FakeDirectory(), _CLOCK, random.Random(1)
    )
    try:
        one = router.route(["SPY"], _CLOCK.now_utc_ms() + _DEADLINE_MS)["SPY"]
        assert one.used == "good"
        assert one.hops[0].reason == "ConnectionRefusedError"
    finally:
        router.close()


_HANGS = """
import random, sys, threading
from adapters.clock import WallClock
from adapters.quotes.router import QuoteRouter
from engine.model import AssetClass
from tests.adapters.quotes.fakes import FakeDirectory

class Hanging:
    name, batch = "hangs", 1
    def fetch(self, spellings, asset_class, timeout_seconds):
        threading.Event().wait()

clock = WallClock()
order = dict.fromkeys(AssetClass, ("hangs",))
router = QuoteRouter(order, {"hangs": Hanging()}, FakeDirectory(), clock, random.Random(1))
print(router.snapshot(["SPY"], clock.now_utc_ms() + 200)["SPY"].detail)
"""


def test_a_client_that_hangs_does_not_keep_the_process() -> None:
    """The pass ends, and then the process does, with a worker that never comes back."""
    done = subprocess.run(
        [sys.executable, "-c", _HANGS], cwd=ROOT, capture_output=True, text=True, timeout=_BOUND_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hangs: failed, no answer within"), done.stdout


# --- the workers ------------------------------------------------------------------------------


def test_workers_are_bounded_and_come_back() -> None:
    """Two calls at once; a worker is free before its result is told; both threads serve all calls."""
    workers = DaemonWorkers("test", 2)
    let_go = threading.Event()
    told: list[tuple[int, int]] = []
    all_told = threading.Event()

    def done(result: int) -> None:
        told.append((result, workers.free))
        if len(told) == 4:
            all_told.set()

    def waits(number: int) -> int:
        assert let_go.wait(_BOUND_SECONDS)
        return number

    for number in (1, 2):
        workers.start(lambda number=number: waits(number), done)  # type: ignore[misc] # bound now
    assert workers.free == 0
    with pytest.raises(AssertionError, match="no worker is free"):
        workers.start(lambda: 3, done)
    let_go.set()
    while workers.free < 2:
        assert not all_told.wait(0.01)
    for number in (3, 4):
        workers.start(lambda number=number: waits(number), done)  # type: ignore[misc] # bound now
    assert all_told.wait(_BOUND_SECONDS)
    assert sorted(result for result, _ in told) == [1, 2, 3, 4]
    assert all(free >= 1 for _, free in told)
    assert sum(thread.name == "quotes test" for thread in threading.enumerate()) == 2
    workers.close()


def test_closed_workers_end_their_threads() -> None:
    """Those that are free end; nothing is left behind."""
    workers = DaemonWorkers("ends", 1)
    told = threading.Event()
    workers.start(lambda: None, lambda _: told.set())
    assert told.wait(_BOUND_SECONDS)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "quotes ends"]
    workers.close()
    thread.join(_BOUND_SECONDS)
    assert not thread.is_alive()
