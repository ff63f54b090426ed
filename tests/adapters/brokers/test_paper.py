"""The paper venue beyond the contract: partial fills, sessions, money, and a file that fails."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.brokers.paper import PaperBroker
from adapters.brokers.venue_file import APPLICATION_ID, CommitProbe, VenueFile
from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from engine.codes import IntentState
from engine.errors import ConfigurationError, DataError, UnavailableError
from engine.model import OrderReport, OrderSide, TimeInForce
from engine.runtime.ports import AmbiguousOutcome, Calendar, OrderRejected
from engine.units import MONEY_SCALE
from engine.verbs.fill import FillModel, Refusal
from tests.adapters.brokers.world import INSTRUMENTS, START_MS, Market, order, price, quantity

ROOT = Path(__file__).resolve().parents[3]
CASH = 10_000 * MONEY_SCALE
DAY, IOC = TimeInForce.DAY, TimeInForce.IOC
HALF = FillModel(partial_rate=Decimal(1), partial_share=Decimal("0.5"))


class World:
    """A file, a clock and a market; brokers opened here are closed at the end of the test."""

    def __init__(self, folder: Path) -> None:
        """Begin with SOL-USD at 100 / 101."""
        self.path = folder / "venue.sqlite3"
        self.clock = SimulatedClock(START_MS)
        self.market = Market(self.clock)
        self.market.set("SOL-USD", price(100), price(101))
        self.opened: list[PaperBroker] = []

    def open(
        self,
        model: FillModel | None = None,
        *,
        calendar: Calendar | None = None,
        probe: CommitProbe | None = None,
        cash: int = CASH,
    ) -> PaperBroker:
        """Open the venue's file."""
        broker = PaperBroker(
            self.path,
            self.market,
            self.clock,
            model or FillModel(),
            cash,
            INSTRUMENTS,
            calendar=calendar,
            probe=probe,
            busy_seconds=0.05,
        )
        self.opened.append(broker)
        return broker

    def later(self, seconds: int = 1) -> None:
        """Let time pass."""
        self.clock.sleep_until(self.clock.now_utc_ms() + 1000 * seconds)

    def quote(self, bid: str | int, ask: str | int, symbol: str = "SOL-USD") -> None:
        """Quote a symbol, one second later."""
        self.later()
        self.market.set(symbol, price(bid), price(ask))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world of its own."""
    made = World(tmp_path)
    yield made
    for broker in made.opened:
        broker.close()


def found(broker: PaperBroker, client_id: str) -> OrderReport:
    """Return an order that must be there."""
    report = broker.find(client_id)
    assert report is not None
    return report


def status(broker: PaperBroker, client_id: str) -> tuple[IntentState, int]:
    """Return state and filled quantity of an order."""
    report = found(broker, client_id)
    return report.state, report.filled_quantity


# Matching.


def test_one_quote_fills_an_order_once(world: World) -> None:
    """However often the venue is asked, a quote gives its part once; the next quote gives more."""
    broker = world.open(HALF)
    assert broker.submit(order("a", size=8)).filled_quantity == quantity(4)
    for again in (broker, world.open(HALF), broker):
        again.open_orders()
        assert status(again, "a") == (IntentState.PARTLY_FILLED, quantity(4))
    world.quote(100, 101)
    assert status(broker, "a") == (IntentState.PARTLY_FILLED, quantity(6))
    fills, _ = broker.fills_since("")
    assert [(fill.fill_id, fill.quantity) for fill in fills] == [("a/1", quantity(4)), ("a/2", quantity(2))]


def test_the_rest_of_an_immediate_order_is_cancelled(world: World) -> None:
    """Half is filled, the rest is not left behind."""
    broker = world.open(HALF)
    first = broker.submit(order("a", size=8, time_in_force=IOC))
    assert (first.state, first.filled_quantity) == (IntentState.CANCELLED, quantity(4))
    assert first.reason == "immediate or cancel"


def test_cancelling_keeps_what_was_filled(world: World) -> None:
    """Cancelled after a partial fill: position and money are those of the fill."""
    broker = world.open(HALF)
    broker.submit(order("a", size=8))
    broker.cancel("a")
    assert status(broker, "a") == (IntentState.CANCELLED, quantity(4))
    assert broker.account().positions == {"SOL-USD": quantity(4)}
    assert broker.account().cash == CASH - 404 * MONEY_SCALE


def test_a_fill_crosses_the_cancellation(world: World) -> None:
    """The market reached the order before the cancellation did: it is filled, not cancelled."""
    broker = world.open()
    broker.submit(order("a", limit=95))
    world.quote(94, 95)
    broker.cancel("a")
    assert status(broker, "a") == (IntentState.FILLED, quantity(2))


def test_without_a_quote_an_order_rests(world: World) -> None:
    """No quote, or no market at all: the order is booked and rests, look-ups answer, a quote fills it."""
    del world.market.quotes["SOL-USD"]
    broker = world.open()
    assert broker.submit(order("a")).state is IntentState.SENT
    world.market.down = True
    assert status(broker, "a") == (IntentState.SENT, 0)
    assert broker.submit(order("b", limit=50)).state is IntentState.SENT
    world.market.down = False
    world.quote(100, 101)
    assert status(broker, "a") == (IntentState.FILLED, quantity(2))


def test_the_market_is_asked_only_for_open_orders(world: World) -> None:
    """With nothing open, looking does not ask for quotes."""
    broker = world.open()
    broker.account()
    broker.find("a")
    assert world.market.asked == 0


def test_older_orders_fill_first(world: World) -> None:
    """At one quote the order that was booked first is filled first."""
    broker = world.open()
    for client_id, limit in (("late", 95), ("dear", 97), ("cheap", 96)):
        broker.submit(order(client_id, limit=limit))
    world.quote(90, 91)
    fills, _ = broker.fills_since("")
    assert [fill.client_id for fill in fills] == ["late", "dear", "cheap"]


def test_a_market_order_that_cash_no_longer_covers_is_cancelled(world: World) -> None:
    """Booked without a quote, its price comes too high: it ends with the venue's reason, cash untouched."""
    del world.market.quotes["SOL-USD"]
    broker = world.open()
    broker.submit(order("a", size=100, limit=None))
    world.quote(100, 101)
    report = found(broker, "a")
    assert (report.state, report.filled_quantity) == (IntentState.CANCELLED, 0)
    assert report.reason == "insufficient buying power at execution"
    assert broker.account().cash == CASH


def test_one_order_never_spends_what_another_holds(world: World) -> None:
    """A second minimum fee would come out of the other order's money: the fill is whole instead."""
    model = replace(HALF, minimum_fee=MONEY_SCALE)
    broker = world.open(model, cash=(1010 + 1 + 475 + 1) * MONEY_SCALE)
    broker.submit(order("other", size=5, limit=95))
    assert broker.submit(order("a", size=10)).state is IntentState.FILLED
    world.quote(94, 95)
    assert status(broker, "other")[0] is IntentState.FILLED
    assert broker.account().cash == 0


def test_a_duplicate_is_a_duplicate_before_anything_else(world: World) -> None:
    """A repeated order says "must be unique" also where cash, market or instrument would refuse it now."""
    broker = world.open()
    broker.submit(order("a", size=90))
    with pytest.raises(OrderRejected, match=r"^client id must be unique$") as caught:
        broker.submit(order("a", size=90))
    assert caught.value.reason == Refusal.DUPLICATE
    with pytest.raises(OrderRejected, match="must be unique"):
        broker.submit(order("a", symbol="UNKNOWN"))


def test_reasons_tell_refusals_apart(world: World) -> None:
    """Each reason begins with its word and gives the numbers."""
    broker = world.open()
    broker.submit(order("held", size=3))
    broker.submit(order("offered", OrderSide.SELL, size=2, limit=150))
    with pytest.raises(OrderRejected, match=r"^insufficient quantity: 2 SOL-USD requested, 1 available$"):
        broker.submit(order("b", OrderSide.SELL, size=2, limit=100))
    with pytest.raises(OrderRejected, match=r"^insufficient buying power: 10100 needed, 9697 available$"):
        broker.submit(order("c", size=100))
    with pytest.raises(OrderRejected, match=r"^below the minimum notional: 9\.09 is less than 10$"):
        broker.submit(order("d", size="0.09"))


def test_large_quantities_are_exact(world: World) -> None:
    """A holding whose scaled quantity outgrows 64 bits is kept exactly."""
    world.quote("0.01", "0.01")
    broker = world.open(cash=10**16)
    size = 900_000_000_000
    broker.submit(order("a", size=size, limit="0.01"))
    assert quantity(size) > 2**63
    assert world.open().account().positions == {"SOL-USD": quantity(size)}


# Sessions.


def test_a_day_order_ends_with_the_session(world: World) -> None:
    """It is filled in the session, and expired, never filled, from the close on."""
    world.market.set("SPY", price(600), price(601))
    broker = world.open(calendar=ExchangeCalendars())
    for client_id in ("a", "b"):
        broker.submit(order(client_id, limit=590, symbol="SPY", time_in_force=DAY, size="0.5"))
    world.quote(589, 590, "SPY")
    assert status(broker, "a")[0] is IntentState.FILLED
    broker.submit(order("c", limit=580, symbol="SPY", time_in_force=DAY, size="0.5"))
    close_ms = START_MS + (6 * 60 + 20) * 60_000  # 21:00Z
    world.clock.sleep_until(close_ms - 1000)
    assert status(broker, "c") == (IntentState.SENT, 0)
    world.quote(500, 501, "SPY")
    assert world.clock.now_utc_ms() == close_ms
    report = found(broker, "c")
    assert (report.state, report.reason) == (IntentState.EXPIRED, "the session ended")


def test_outside_the_session_an_order_rests(world: World) -> None:
    """An order for the next day waits for the open, whatever is quoted before."""
    world.clock.sleep_until(START_MS + 8 * 3_600_000)
    broker = world.open(calendar=ExchangeCalendars())
    world.quote(600, 601, "SPY")
    broker.submit(order("a", limit=601, symbol="SPY", time_in_force=DAY, size=1))
    assert status(broker, "a") == (IntentState.SENT, 0)
    world.clock.sleep_until(START_MS + 86_400_000)
    assert status(broker, "a") == (IntentState.FILLED, quantity(1))


# Money.


def test_starting_cash_counts_once(world: World) -> None:
    """The file keeps its account; another starting cash changes nothing afterwards."""
    world.open(cash=5 * MONEY_SCALE).close()
    assert world.open(cash=7 * MONEY_SCALE).account().cash == 5 * MONEY_SCALE
    with pytest.raises(ConfigurationError, match="must not be below 0"):
        world.open(cash=-1)


def test_deposits_and_withdrawals(world: World) -> None:
    """Money moves in and out; what open buys hold cannot leave."""
    broker = world.open(cash=0)
    broker.deposit(300 * MONEY_SCALE)
    broker.submit(order("a", limit=90))
    broker.withdraw(100 * MONEY_SCALE)
    with pytest.raises(ConfigurationError, match=r"^cannot withdraw 20\.000001: 20 is free$"):
        broker.withdraw(20 * MONEY_SCALE + 1)
    broker.withdraw(20 * MONEY_SCALE)
    assert broker.account().cash == 180 * MONEY_SCALE
    for refused in (broker.deposit, broker.withdraw):
        with pytest.raises(ConfigurationError, match="must be above 0"):
            refused(0)


# Cursors.


@pytest.mark.parametrize("cursor", ["x", "12", f"{START_MS}.99", f"{START_MS + 1}.0", f"{START_MS}.-1"])
def test_a_cursor_of_another_file_is_refused(cursor: str, world: World) -> None:
    """A cursor that is not of this file raises, so that no fill is passed over in silence."""
    with pytest.raises(DataError, match="is not of this paper venue's file"):
        world.open().fills_since(cursor)


# Several processes.


def test_two_processes_share_a_file(world: World) -> None:
    """What one broker books and fills the other sees, and its account follows."""
    one, two = world.open(), world.open()
    one.submit(order("a", size=5))
    assert two.account().positions == {"SOL-USD": quantity(5)}
    two.submit(order("b", OrderSide.SELL, size=2, limit=100))
    assert one.account() == two.account()
    with pytest.raises(OrderRejected, match="must be unique"):
        two.submit(order("a", size=5))


class MeetingProbe:
    """Before the first commit, waits until another process (here a thread) has seen the file as new."""

    def __init__(self, begin: Callable[[], None], seen: threading.Event) -> None:
        """Take what starts the other, and what it sets."""
        self.begin = begin
        self.seen = seen

    def before_commit(self, name: str) -> None:
        """Let the other look."""
        self.begin()
        assert self.seen.wait(60)

    def after_commit(self, name: str) -> None:
        """Do nothing."""


def test_two_processes_create_one_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sees a new file, but comes second to the lock, opens what the first one made."""
    seen, cash = threading.Event(), list[int]()
    look = VenueFile._is_fresh

    def looked(self: VenueFile) -> bool:
        fresh = look(self)
        if threading.current_thread() is second:
            seen.set()
        return fresh

    def open_second() -> None:
        model = FillModel()
        with PaperBroker(
            world.path, world.market, world.clock, model, 7 * CASH, INSTRUMENTS, busy_seconds=60
        ) as broker:
            cash.append(broker.account().cash)

    second = threading.Thread(target=open_second)
    monkeypatch.setattr(VenueFile, "_is_fresh", looked)
    first = world.open(probe=MeetingProbe(second.start, seen))
    second.join(60)
    assert cash == [first.account().cash] == [CASH]


_RACE = """
import sys
from pathlib import Path
from adapters.brokers.paper import PaperBroker
from adapters.clock import SimulatedClock
from engine.runtime.ports import OrderRejected
from engine.verbs.fill import FillModel
from tests.adapters.brokers.world import INSTRUMENTS, START_MS, Market, order, price
clock = SimulatedClock(START_MS)
market = Market(clock)
market.set("SOL-USD", price(100), price(101))
booked = 0
path, model = Path(sys.argv[1]), FillModel()
with PaperBroker(path, market, clock, model, 10**10, INSTRUMENTS, busy_seconds=30) as broker:
    for number in range(40):
        try:
            broker.submit(order(f"race-{number}", size=1))
            booked += 1
        except OrderRejected as rejected:
            assert rejected.reason == "client id must be unique", rejected.reason
print(booked)
"""


def test_racing_processes_never_double_an_order(world: World) -> None:
    """Three processes create one file and send the same forty orders: each is booked and filled once."""
    command = [sys.executable, "-c", _RACE, str(world.path)]
    racing = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate(timeout=120) for process in racing]
    assert [process.returncode for process in racing] == [0, 0, 0], printed
    assert sum(int(out) for out, _ in printed) == 40
    account = world.open().account()
    assert account.positions == {"SOL-USD": quantity(40)}
    assert account.cash == CASH - 4040 * MONEY_SCALE


# A file that fails.


@contextmanager
def sql(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file behind the venue's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_commits_reach_the_disk(world: World) -> None:
    """The file has a write-ahead log that is synchronised at every commit."""
    connection = world.open()._file._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_file_of_another_kind_is_left_alone(world: World) -> None:
    """Another program's database is refused, and not changed by so much as a byte."""
    with sql(world.path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = world.path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a SQLite file but not a paper venue's"):
        world.open()
    assert world.path.read_bytes() == before


def test_a_file_of_another_format_is_refused(world: World) -> None:
    """A later program's file says which format it has and which is read here."""
    world.open().close()
    with sql(world.path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(ConfigurationError, match="of format 7, this program reads format 1"):
        world.open()


def test_a_file_that_is_no_database(world: World) -> None:
    """Text is not taken for an empty venue."""
    world.path.write_text("these are not the orders you are looking for\n" * 100)
    with pytest.raises(UnavailableError, match="damaged or of another kind"):
        world.open()


def test_a_damaged_file(world: World) -> None:
    """Overwritten pages are reported as damage, with what to do."""
    broker = world.open()
    for number in range(40):
        broker.submit(order(f"order-{number}", size="0.1"))
    broker.close()
    content = bytearray(world.path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    world.path.write_bytes(content)
    with pytest.raises(UnavailableError, match=r"is damaged; restore a backup|of another kind"):
        world.open().find("order-1")


@pytest.mark.parametrize(
    ("tampering", "message"),
    [
        ("UPDATE fills SET quantity = '1' WHERE side = 'buy'", r"contradict each other \(.*sells"),
        ("UPDATE fills SET notional = 'many'", "a row cannot be read"),
        ("UPDATE funding SET amount = '1'", "contradict each other"),
        ("UPDATE orders SET state = 'sent', quantity = '2.5'", "a row cannot be read"),
    ],
)
def test_rows_that_cannot_be(tampering: str, message: str, world: World) -> None:
    """Rows that no venue wrote are damage, not a traceback."""
    broker = world.open()
    broker.submit(order("a"))
    broker.submit(order("b", OrderSide.SELL, size=1, limit=100))
    broker.close()
    with sql(world.path) as connection:
        connection.execute(tampering)
    with pytest.raises(UnavailableError, match=message):
        world.open().open_orders()


def test_a_folder_that_is_not_there(world: World) -> None:
    """The message says to look at the folder."""
    world.path = world.path.parent / "none" / "venue.sqlite3"
    with pytest.raises(UnavailableError, match="check that its folder exists"):
        world.open()


def test_a_locked_file(world: World) -> None:
    """While another process holds the file an order is certainly not booked, and look-ups go on."""
    broker = world.open()
    with sql(world.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another process is writing to it; try again"):
            broker.submit(order("a"))
        assert broker.find("a") is None
        other.execute("ROLLBACK")
    assert broker.submit(order("a")).state is IntentState.FILLED


def test_a_file_that_cannot_be_written(world: World) -> None:
    """A read-only venue answers look-ups and refuses orders with what to do."""
    broker = world.open()
    broker.submit(order("a"))
    # As root, permissions stop nobody: this makes SQLite itself refuse every write with the same error.
    broker._file._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(UnavailableError, match="it cannot be written; check its permissions"):
        broker.submit(order("b"))
    assert status(broker, "a")[0] is IntentState.FILLED
    assert broker.find("b") is None


def test_a_full_disk(world: World) -> None:
    """No order is half booked on a full disk; with space again the same order goes through."""
    broker = world.open()
    connection = broker._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    sent: list[str] = []
    with pytest.raises(UnavailableError, match="the disk is full; free some space"):
        for number in range(1000):
            broker.submit(order(f"order-{number}", size="0.2", limit=95))
            sent.append(f"order-{number}")
    assert [report.client_id for report in broker.open_orders()] == sent
    assert broker.find(f"order-{len(sent)}") is None
    connection.execute("PRAGMA max_page_count = 100000")
    assert broker.submit(order(f"order-{len(sent)}", limit=95)).state is IntentState.SENT


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let the operating system refuse to make any file longer than this (bytes)."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no limit on the size of files")
@pytest.mark.parametrize("part", ["nothing", "half a page", "all but a byte"])
def test_a_commit_that_fails_half_way_is_ambiguous(part: str, world: World, tmp_path: Path) -> None:
    """A commit that the system cuts off may or may not have happened; the look-up says, for good."""
    broker = world.open()
    log = world.path.with_name(world.path.name + "-wal")
    before = log.stat().st_size
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in tmp_path.glob("venue.sqlite3*"):
        shutil.copy(file, copied)
    twin = World(copied)
    twin.open().submit(order("a", limit=95))
    grown = (copied / log.name).stat().st_size - before
    allowed = {"nothing": 0, "half a page": 2048, "all but a byte": grown - 1}[part]
    twin.opened[0].close()
    with files_at_most(before + allowed), pytest.raises(AmbiguousOutcome, match="a commit failed"):
        broker.submit(order("a", limit=95))
    answers = [other.find("a") for other in (broker, world.open())]
    assert answers[0] == answers[1]
    if answers[0] is None:
        assert broker.submit(order("a", limit=95)).state is IntentState.SENT
    assert [report.client_id for report in world.open().open_orders()] == ["a"]


class FailingProbe:
    """Raises at the commits of one name."""

    def __init__(self, name: str, moment: str) -> None:
        """Choose the commit and whether it fails before or after."""
        self.chosen = (name, moment)

    def before_commit(self, name: str) -> None:
        """Fail here, or not."""
        if self.chosen == (name, "before"):
            raise UnavailableError("a fault")

    def after_commit(self, name: str) -> None:
        """Fail here, or not."""
        if self.chosen == (name, "after"):
            raise UnavailableError("a fault")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_booked_order_is_reported_although_matching_fails(moment: str, world: World) -> None:
    """Once booked, an order is never reported as unavailable: its sender would think it was not sent."""
    report = world.open(probe=FailingProbe("match", moment)).submit(order("a"))
    assert (report.state, report.client_id) == (IntentState.SENT, "a")
    assert status(world.open(), "a") == (IntentState.FILLED, quantity(2))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_fault_at_booking(moment: str, world: World) -> None:
    """Before the commit nothing is booked; after it the order is there, and stays one."""
    with pytest.raises(UnavailableError, match="a fault"):
        world.open(probe=FailingProbe("book", moment)).submit(order("a"))
    booked = world.open().find("a")
    assert (booked is not None) == (moment == "after")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_fault_at_a_deposit_leaves_the_account_right(moment: str, world: World) -> None:
    """The same broker goes on with the account the file has."""
    broker = world.open(probe=FailingProbe("deposit", moment))
    with pytest.raises(UnavailableError, match="a fault"):
        broker.deposit(MONEY_SCALE)
    expected = CASH + (MONEY_SCALE if moment == "after" else 0)
    assert broker.account().cash == world.open().account().cash == expected


def test_an_instrument_no_longer_served(world: World) -> None:
    """An open order of a symbol that is no longer served rests and can be cancelled."""
    world.open().submit(order("a", limit=95))
    with PaperBroker(world.path, world.market, world.clock, FillModel(), 0, {}) as broker:
        world.quote(90, 91)
        assert status(broker, "a") == (IntentState.SENT, 0)
        with pytest.raises(OrderRejected, match="unknown symbol: SOL-USD"):
            broker.submit(replace(order("b")))
        broker.cancel("a")
        assert status(broker, "a")[0] is IntentState.CANCELLED
