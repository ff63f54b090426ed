"""What every vendor's ``Source`` must do, as checks that a wrong one must fail.

A test module makes a subclass of ``SourceContract`` named ``Test...`` with a fixture ``world``.  The checks
of the numbered requirements are functions, so that the same module can show a wrong source failing them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import pytest

from adapters.quotes.source import Answer, Miss, Outcome, Source, SourceFailedError, SourceQuote
from adapters.stubs.faults import EVERY_FAULT, Fault, FaultPlan, Kind, NoFaults, Scripted
from engine.model import AssetClass, QuoteKind

SENTINEL = "SENTINEL-5ecret-KEY"
"""The key of every source under test."""

UNREADABLE = (
    Kind.EMPTY,
    Kind.MALFORMED,
    Kind.HTML,
    Kind.TEXT,
    Kind.WRONG_TYPES,
    Kind.REDIRECT,
    Kind.TRUNCATED,
)
_AGE_MS = 7_000
_FAULT_SECONDS = 0.4
_ENOUGH_SECONDS = 10.0
_PRICE = Decimal("0.00001234")


@dataclass(frozen=True, slots=True)
class World:
    """A source, its server, and what is true of them."""

    source: Source
    asset_class: AssetClass
    spelling: str
    unknown: str
    currency: str
    set_price: Callable[[str, Decimal, int], None]  # spelling, price, time in milliseconds
    set_plan: Callable[[FaultPlan], None]
    asked: Callable[[], int]  # how many questions for prices came in so far
    now_ms: Callable[[], int]
    kind: QuoteKind = QuoteKind.TRADE
    path: str = ""  # what is in the path of a question for prices
    repeats_resets: bool = False  # the transport itself asks again on a connection that was kept, and ended

    def ask(
        self, spelling: str | None = None, timeout_seconds: float = _ENOUGH_SECONDS
    ) -> Mapping[str, Answer]:
        """Ask for one spelling."""
        return self.source.fetch([spelling or self.spelling], self.asset_class, timeout_seconds)


def told(world: World, timeout_seconds: float = _ENOUGH_SECONDS) -> Answer | SourceFailedError:
    """Return what the source says of its symbol; AssertionError for anything that is not typed."""
    try:
        return world.ask(timeout_seconds=timeout_seconds)[world.spelling]
    except SourceFailedError as error:
        return error
    except Exception as error:
        raise AssertionError(f"an error without a type of ours: {error!r}") from error


def told_under(world: World, fault: Fault) -> Answer | SourceFailedError:
    """Return what the source says when its question meets a fault."""
    world.set_plan(Scripted([fault], path=world.path))
    try:
        return told(world, _FAULT_SECONDS)
    finally:
        world.set_plan(NoFaults())


def is_failure(said: Answer | SourceFailedError) -> bool:
    """Say whether it is a failure with a reason."""
    if isinstance(said, Miss):
        return said.outcome is Outcome.FAILED and bool(said.reason)
    return isinstance(said, SourceFailedError) and bool(said.reason)


# --- the requirements of ADAPTERS.md ----------------------------------------------------------


def check_requirement_3(world: World) -> None:
    """A server that hangs costs the time that was allowed, and is a failure."""
    told(world)  # what is imported or connected only once is not of the limit
    said: list[object] = []

    def ask() -> None:
        with contextlib.suppress(AssertionError):
            said.append(told_under(world, Fault(Kind.HANG)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(4.0)
    assert said, "the call did not return within ten times its limit"
    assert isinstance(said[0], SourceFailedError)


def check_requirement_18(world: World) -> None:
    """The time of a quote is the source's own, and the price is what was sent, to the last digit."""
    at_ms = world.now_ms() // 1000 * 1000 - _AGE_MS
    world.set_price(world.spelling, _PRICE, at_ms)
    quote = told(world)
    assert isinstance(quote, SourceQuote), quote
    assert quote.source_time_ms == at_ms
    assert (quote.price, quote.bid, quote.ask) == (_PRICE, _PRICE, _PRICE)
    assert quote.kind is world.kind
    assert at_ms < quote.receive_time_ms <= world.now_ms()


def check_requirement_20(world: World) -> None:
    """Neither an unknown symbol nor a price of 0 becomes a quote: there is no data, and a reason."""
    world.set_price(world.spelling, Decimal(0), world.now_ms())
    for spelling in (world.unknown, world.spelling):
        try:
            answer = world.ask(spelling).get(spelling)
        except Exception as error:
            raise AssertionError(f"{spelling}: {error!r}") from error
        if answer is not None:  # absent is no data, too
            assert isinstance(answer, Miss), answer
            assert answer.outcome in (Outcome.NO_DATA, Outcome.UNSUPPORTED)
            assert answer.reason


def check_requirement_21(world: World) -> None:
    """A price names the currency that it is in."""
    quote = told(world)
    assert isinstance(quote, SourceQuote), quote
    assert quote.currency == world.currency


def check_requirement_29(world: World, logs: pytest.LogCaptureFixture) -> None:
    """No key is in any error, in what it came from, in any reason, or in any line of a log, at any level."""
    with logs.at_level(logging.DEBUG):
        for fault in (None, *EVERY_FAULT):
            world.set_plan(Scripted([fault], path=world.path))
            try:
                said: object = world.ask(timeout_seconds=_FAULT_SECONDS)
            except Exception as error:
                said = error
            for one in _chain(said):
                assert SENTINEL not in f"{one!r} {one} {getattr(one, '__dict__', '')}", (
                    f"the key is in what is said: {fault}"
                )
            for record in logs.records:
                assert SENTINEL not in record.getMessage(), f"the key is in the log of {record.name}"
            logs.clear()
    world.set_plan(NoFaults())


def check_requirement_30(world: World) -> None:
    """What is not the vendor's JSON is a typed failure."""
    for fault in EVERY_FAULT:
        if fault.kind in UNREADABLE:
            said = told_under(world, fault)
            assert is_failure(said), f"{fault}: {said}"


def check_requirement_31(world: World, environment: pytest.MonkeyPatch) -> None:
    """The source goes where it was told to: neither a proxy of the environment nor no_proxy has a say."""
    with _Trap() as trap:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            environment.setenv(name, trap.url)
            environment.setenv(name.upper(), trap.url)
        for name in ("no_proxy", "NO_PROXY"):
            environment.setenv(name, ".finance.yahoo.com")
        said = told(world)
        assert trap.connections == 0
    assert isinstance(said, SourceQuote), said


def check_every_fault(world: World) -> None:
    """Each fault is a failure that costs one question, and the question after it is answered."""
    told(world)
    for fault in EVERY_FAULT:
        before = world.asked()
        said = told_under(world, fault)
        resent = world.repeats_resets and fault.kind is Kind.RESET
        assert is_failure(said) or resent, f"{fault}: {said}"
        assert world.asked() - before == 1 or resent, f"{fault}: asked {world.asked() - before} times"
        if fault.kind is Kind.STATUS_429:
            assert isinstance(said, SourceFailedError)
            assert said.retry_after_seconds == 1
        assert isinstance(told(world), SourceQuote), f"after {fault}"


class SourceContract:
    """The suite."""

    def test_a_question_for_nothing(self, world: World) -> None:
        """Nothing asked is nothing answered, without a request."""
        assert world.source.fetch([], world.asset_class, 1.0) == {}
        assert world.asked() == 0
        assert world.source.batch >= 1
        assert world.source.name

    def test_one_question_is_one_request(self, world: World) -> None:
        """A call asks once, and answers for the spelling that was asked."""
        assert set(world.ask()) == {world.spelling}
        assert world.asked() == 1

    def test_several_threads_at_once(self, world: World) -> None:
        """The router asks from several threads: each gets the answer to its own question."""
        told(world)
        with ThreadPoolExecutor(8) as threads:
            spellings = [world.spelling, world.unknown] * 8
            answers = list(threads.map(lambda spelling: world.ask(spelling).get(spelling), spellings))
        assert all(isinstance(answer, SourceQuote) for answer in answers[::2])
        assert not any(isinstance(answer, SourceQuote) for answer in answers[1::2])

    def test_every_fault_is_a_failure_and_passes(self, world: World) -> None:
        """Each fault, before and after acceptance, is typed, asked once, and leaves no trace."""
        check_every_fault(world)

    @pytest.mark.requirement(3)
    @pytest.mark.requirement(27)
    def test_requirement_3_a_server_that_hangs(self, world: World) -> None:
        """The time allowed for a call holds."""
        check_requirement_3(world)

    @pytest.mark.requirement(18)
    def test_requirement_18_price_and_time_are_the_sources_own(self, world: World) -> None:
        """Exact, and with the time of the source."""
        check_requirement_18(world)

    @pytest.mark.requirement(20)
    def test_requirement_20_zeros_are_no_data(self, world: World) -> None:
        """A zero is no price."""
        check_requirement_20(world)

    @pytest.mark.requirement(21)
    def test_requirement_21_the_currency_is_told(self, world: World) -> None:
        """USDT is not USD."""
        check_requirement_21(world)

    @pytest.mark.requirement(29)
    def test_requirement_29_no_key_in_errors_or_logs(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The sentinel key is nowhere, whatever goes wrong."""
        check_requirement_29(world, caplog)

    @pytest.mark.requirement(30)
    def test_requirement_30_what_cannot_be_read_is_typed(self, world: World) -> None:
        """HTML, bad JSON, text and redirects are failures with a type."""
        check_requirement_30(world)

    @pytest.mark.requirement(31)
    def test_requirement_31_no_proxy_of_the_environment(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment does not say where the source goes."""
        check_requirement_31(world, monkeypatch)


class _Trap:
    """A listener that counts who comes, and ends every connection."""

    def __init__(self) -> None:
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                connection.close()

    def __enter__(self) -> _Trap:
        return self

    def __exit__(self, *details: object) -> None:
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _chain(said: object) -> Iterator[object]:
    """Yield what was said, and for an error everything that it came from."""
    waiting: list[object] = [said]
    seen: list[object] = []
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        if isinstance(one, BaseException):
            waiting += [one.__cause__, one.__context__]
