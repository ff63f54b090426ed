"""Alpaca's trade updates through alpaca-py's own stream: drops, silence, odd frames and a bad key."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters.brokers.alpaca_stream import AlpacaHints, stream_url
from adapters.clock import WallClock
from adapters.stubs.alpaca.server import AlpacaStub
from adapters.vendors.alpaca import AlpacaAccess
from engine.errors import ConfigurationError
from engine.runtime.ports import ANYTHING, Hint, OrderHints
from tests.adapters.brokers.stream_server import StreamServer
from tests.adapters.brokers.wrong_stream import Forgetful, LibraryAlone

PATIENCE_SECONDS = 10.0
SENTINEL = "SECRET-THAT-NOBODY-MAY-SEE"
QUICK = {"beat_seconds": 0.02, "first_wait_seconds": 0.02, "longest_wait_seconds": 0.05}


class StillClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.ns = 0

    def now_utc_ms(self) -> int:
        """Return the time."""
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the time, for measuring."""
        return self.ns

    def sleep_until(self, at_ms: int) -> None:
        """Jump there."""
        self.ns = max(self.ns, at_ms * 1_000_000)


class Loop:
    """The agent's loop, as far as hints know it: it sleeps until it is woken, then drains."""

    def __init__(self) -> None:
        """Begin asleep."""
        self._woken = threading.Condition()
        self.hints: OrderHints | None = None
        self.heard: list[Hint] = []

    def wake(self) -> None:
        """End the sleep."""
        with self._woken:
            self._woken.notify_all()

    def until(self, seen: Callable[[], bool], timeout_seconds: float = PATIENCE_SECONDS) -> bool:
        """Drain whenever woken, until something is seen; say whether it was."""

        def drained() -> bool:
            assert self.hints is not None
            self.heard += self.hints.drain()
            return seen()

        with self._woken:
            return self._woken.wait_for(drained, timeout_seconds)

    def hears(self, *hints: Hint, timeout_seconds: float = PATIENCE_SECONDS) -> bool:
        """Say whether these come."""
        return self.until(lambda: set(hints) <= set(self.heard), timeout_seconds)

    def hears_trouble(self, words: str, timeout_seconds: float = PATIENCE_SECONDS) -> bool:
        """Say whether a trouble of these words is told."""
        assert self.hints is not None
        hints = self.hints
        return self.until(lambda: words in hints.trouble(), timeout_seconds)


Subject = Callable[..., Any]
"""Makes what is under test: ``AlpacaHints``, or one that is wrong on purpose."""


def access(url: str = "ws://127.0.0.1:1/stream", key: str = "PKSTUB", secret: str = SENTINEL) -> AlpacaAccess:
    """Return the access to a stream on loopback."""
    return AlpacaAccess(key, secret, trading_url=url.replace("ws://", "http://").removesuffix("/stream"))


Connect = Callable[..., Loop]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect subjects that are closed at the end."""
    made: list[Any] = []

    def one(url: str, *, subject: Subject = AlpacaHints, clock: Any = None, **options: Any) -> Loop:  # noqa: ANN401 - any clock
        loop = Loop()
        secret = options.pop("secret", SENTINEL)
        loop.hints = subject(
            access(url, secret=secret), clock or StillClock(), loop.wake, url=url, **QUICK | options
        )
        made.append(loop.hints)
        return loop

    yield one
    for hints in made:
        hints.close()


@pytest.fixture
def server() -> Iterator[StreamServer]:
    """A stream that misbehaves on request."""
    with StreamServer() as made:
        yield made


# --- requirement 17: what goes wrong is kept, and seen within seconds -------------------------------


def check_17_bad_key(server: StreamServer, connect: Connect, subject: Subject) -> None:
    """A bad key is told, with the word of the venue, and is not tried again."""
    server.status = "unauthorized"
    loop = connect(server.url, subject=subject)
    assert loop.hears_trouble("unauthorized", PATIENCE_SECONDS if subject is AlpacaHints else 1.0)
    assert not server.wait_for(2, 0.5), "the same key is tried again and again"


def check_17_silence(server: StreamServer, connect: Connect, subject: Subject) -> None:
    """A connection that stands and is dead is told, and another one is made."""
    server.beats = False
    clock = StillClock()
    loop = connect(server.url, subject=subject, clock=clock, silent_after_seconds=10.0)
    assert server.wait_for(1)
    loop.hears(ANYTHING, timeout_seconds=PATIENCE_SECONDS if subject is AlpacaHints else 1.0)
    clock.ns += 11_000_000_000
    assert server.wait_for(2, PATIENCE_SECONDS if subject is AlpacaHints else 1.0), "nobody noticed"


def check_17_failures_are_kept(server: StreamServer, connect: Connect, subject: Subject) -> None:
    """An update that cannot be read is not lost: it asks to look at everything."""
    loop = connect(server.url, subject=subject)
    server.wait_for(1)
    loop.hears(ANYTHING, timeout_seconds=PATIENCE_SECONDS if subject is AlpacaHints else 1.0)
    for odd in (
        '{"stream": "trade_updates", "data": {"event": "fill"}}',
        "<html>",
        '{"stream": "trade_updates"}',
    ):
        loop.heard.clear()
        server.say(odd)
        assert loop.hears(ANYTHING, timeout_seconds=PATIENCE_SECONDS if subject is AlpacaHints else 1.0), odd
    server.update("a")
    assert loop.hears(Hint("a")), "what follows is heard"


CHECKS = [check_17_bad_key, check_17_silence, check_17_failures_are_kept]
Check = Callable[[StreamServer, Connect, Subject], None]


@pytest.mark.requirement(17)
@pytest.mark.parametrize("check", CHECKS)
def test_requirement_17(check: Check, server: StreamServer, connect: Connect) -> None:
    """A bad key and silence are told within seconds, and no failure loses anything."""
    check(server, connect, AlpacaHints)


@pytest.mark.requirement(17)
@pytest.mark.parametrize(
    ("check", "wrong"),
    [*((check, LibraryAlone) for check in CHECKS), (check_17_failures_are_kept, Forgetful)],
)
def test_requirement_17_fails_for_a_wrong_stream(
    check: Check, wrong: Subject, server: StreamServer, connect: Connect
) -> None:
    """The library alone, and one that passes over what it cannot read."""
    with pytest.raises(AssertionError):
        check(server, connect, wrong)


# --- requirement 16, the stream's part: what was missed is asked for ---------------------------------


def check_16_reconnect(connect: Connect, subject: Subject, clock: WallClock) -> None:
    """Each connection, also after a drop, asks to look at everything: events of the gap are lost."""
    with AlpacaStub(clock=clock) as stub:
        loop = connect(stub.stream_url, subject=subject, secret=stub.secret)
        stub.wait_for_listeners("trading", 1, PATIENCE_SECONDS)
        patience = PATIENCE_SECONDS if subject is AlpacaHints else 1.0
        assert loop.hears(ANYTHING, timeout_seconds=patience)
        loop.heard.clear()
        stub.drop_streams()
        stub.wait_for_listeners("trading", 1, PATIENCE_SECONDS)
        assert loop.hears(ANYTHING, timeout_seconds=patience)


@pytest.mark.requirement(16)
def test_requirement_16_reconnect(connect: Connect) -> None:
    """After a drop everything is looked at."""
    check_16_reconnect(connect, AlpacaHints, WallClock())


@pytest.mark.requirement(16)
def test_requirement_16_fails_for_a_wrong_stream(connect: Connect) -> None:
    """One that does not say that it was away."""
    with pytest.raises(AssertionError):
        check_16_reconnect(connect, Forgetful, WallClock())


# --- the local Alpaca --------------------------------------------------------------------------------


@pytest.mark.parametrize("drops", [0, 2])
def test_orders_of_the_local_alpaca_are_hinted_at(drops: int, connect: Connect) -> None:
    """An order's updates come by its client id, also after the connection was dropped."""
    with AlpacaStub(clock=WallClock()) as stub:
        loop = connect(stub.stream_url, secret=stub.secret)
        for left in range(drops, -1, -1):
            stub.wait_for_listeners("trading", 1, PATIENCE_SECONDS)
            assert loop.hears(ANYTHING)
            loop.heard.clear()
            if left:
                stub.drop_streams()
        place(stub, "our-name")
        assert loop.hears(Hint("our-name"))
        assert loop.hints is not None and loop.hints.trouble() == ""


def place(stub: AlpacaStub, client_id: str) -> None:
    """Send an order as alpaca-py does."""
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import LimitOrderRequest

    client = TradingClient(stub.key_id, stub.secret, url_override=stub.url)
    client.submit_order(
        LimitOrderRequest(
            symbol="BTC/USD", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=10,
            client_order_id=client_id,
        )
    )  # fmt: skip
    client._session.close()


def test_a_wrong_secret_of_the_local_alpaca(connect: Connect) -> None:
    """It is told once and for good, and no key is in the words."""
    with AlpacaStub(clock=WallClock()) as stub:
        loop = connect(stub.stream_url)
        assert loop.hears_trouble("unauthorized")
        assert loop.hints is not None and SENTINEL not in loop.hints.trouble()


# --- what else goes wrong ----------------------------------------------------------------------------


def test_silence_is_told_although_the_thread_is_stuck(server: StreamServer, connect: Connect) -> None:
    """Whoever asks for trouble measures the silence himself."""
    clock = StillClock()
    loop = connect(server.url, clock=clock, beat_seconds=3600.0)
    assert loop.hears(ANYTHING)
    clock.ns += 11_000_000_000
    assert loop.hints is not None and "nothing was heard for 10 s" in loop.hints.trouble()


def test_heartbeats_are_signs_of_life(server: StreamServer, connect: Connect) -> None:
    """A quiet market is no silence: as long as the venue answers, the connection stands."""
    clock = StillClock()
    loop = connect(server.url, clock=clock)
    assert loop.hears(ANYTHING)
    hints = loop.hints
    assert isinstance(hints, AlpacaHints)
    clock.ns += 9_000_000_000
    deadline = threading.Event()
    for _ in range(500):
        if hints._heard_ns == clock.ns:
            break
        deadline.wait(0.01)
    clock.ns += 9_000_000_000
    assert hints.trouble() == ""
    assert server.connections == 1


def test_no_answer_to_the_key(server: StreamServer, connect: Connect) -> None:
    """The venue that never answers is left, and tried again."""
    server.status = None
    loop = connect(server.url, answer_seconds=0.05)
    assert loop.hears_trouble("no answer within 0.05 s")
    assert server.wait_for(2)
    server.status = "authorized"
    assert loop.hears(ANYTHING)
    assert loop.hints is not None and loop.hints.trouble() == ""


@pytest.mark.parametrize(("status", "again"), [(401, False), (403, False), (429, True), (500, True)])
def test_refused_at_the_door(status: int, again: bool, server: StreamServer, connect: Connect) -> None:
    """A status about the key ends it; any other is tried again, later and later."""
    server.refuses = status
    loop = connect(server.url)
    assert loop.hears_trouble(f"HTTP {status}")
    assert server.wait_for(3, PATIENCE_SECONDS if again else 0.3) is again


def test_nobody_there(connect: Connect) -> None:
    """A venue that cannot be reached is a trouble, and no crash."""
    loop = connect("ws://127.0.0.1:1/stream")
    assert loop.hears_trouble("are not heard")


def test_the_key_is_not_sent_to_another_host(server: StreamServer, connect: Connect) -> None:
    """A redirection is followed by the library; our key is not."""
    with StreamServer() as other:
        server.sends_on_to = other.url
        loop = connect(server.url)
        assert loop.hears_trouble("does not get our key")
        assert other.wait_for(1)
        assert loop.heard == []


def test_a_venue_that_repeats_the_key(
    server: StreamServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Its words are told and logged without it."""
    caplog.set_level("DEBUG")
    server.status = f"wrong: {SENTINEL}"
    loop = connect(server.url)
    assert loop.hears_trouble("wrong: ***")
    assert SENTINEL not in caplog.text


def test_many_updates_of_one_order_are_one_hint(server: StreamServer, connect: Connect) -> None:
    """What waits to be drained does not grow with the number of updates."""
    loop = connect(server.url)
    assert loop.hears(ANYTHING)
    hints = loop.hints
    assert hints is not None
    for _ in range(20):
        server.update("a")
    server.update("b")
    assert loop.until(lambda: Hint("b") in loop.heard)
    server.say(json.dumps({"stream": "other", "data": {}}))
    assert len(loop.heard) <= 22 and set(loop.heard) == {ANYTHING, Hint("a"), Hint("b")}


def test_closing_twice(server: StreamServer) -> None:
    """The thread ends, and closing again does nothing."""
    hints = AlpacaHints(access(server.url), StillClock(), lambda: None, **QUICK)  # type: ignore[arg-type]  # floats by name
    hints.close()
    hints.close()
    assert not hints._thread.is_alive()


def test_addresses() -> None:
    """The stream is beside the trading API; an address that is none is refused at once."""
    assert stream_url(AlpacaAccess("k", "s")) == "wss://paper-api.alpaca.markets/stream"
    assert stream_url(access("ws://127.0.0.1:5/stream")) == "ws://127.0.0.1:5/stream"
    for url in ("", "https://x/stream", "ws://"):
        with pytest.raises(ConfigurationError):
            AlpacaHints(access(), StillClock(), lambda: None, url=url)
