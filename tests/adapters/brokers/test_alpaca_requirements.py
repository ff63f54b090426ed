"""Requirements on orders, as the broker for Alpaca keeps them: each with a broker that does not.

A check takes the broker's class, makes a local Alpaca of its own, and raises AssertionError.
"""

from __future__ import annotations

import ast
import contextlib
import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import adapters
from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.alpaca.refusals import AlpacaRefusal
from adapters.stubs.faults import EVERY_FAULT, Fault, Kind, Scripted
from adapters.symbols.assets import Asset
from adapters.symbols.registry import Registry
from adapters.vendors.alpaca import AlpacaAccess
from engine.codes import IntentState
from engine.errors import ConfigurationError, DataError, UnavailableError
from engine.model import AssetClass, OrderRequest, OrderSide, TimeInForce
from engine.runtime.ports import AmbiguousOutcome, OrderRejected
from engine.units import PRICE_SCALE, QUANTITY_SCALE, unscaled
from engine.verbs.fill import Refusal
from engine.verbs.lifecycle import VENUE_STATES
from tests.adapters.brokers.alpaca_world import KEY_ID, SECRET, AlpacaWorld, order, stock_order
from tests.adapters.brokers.wrong_alpaca import (
    AllForbidden,
    ClosesPositions,
    DayIsOver,
    DuplicateIsRefusal,
    KnowsItsStates,
    LibraryAsItIs,
    OddIsAbsent,
    ParsesAllOrNothing,
    QuotesErrors,
    SendsAnything,
    SendsFloats,
    StepTimeouts,
    TimeoutIsFailure,
    TimeoutIsUnavailable,
)
from tests.adapters.vendors.canned import Canned, CannedServer, DrippingServer

BUY, SELL = OrderSide.BUY, OrderSide.SELL
DAY, GTC, IOC = TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC
BrokerKind = type[AlpacaBroker]

AFTER: Final = [fault for fault in EVERY_FAULT if fault.accepted]
BEFORE: Final = [fault for fault in EVERY_FAULT if not fault.accepted]
SHORT: Final[Mapping[str, Any]] = {"read_seconds": 0.2, "total_seconds": 0.5}
"""For servers that hang."""

PATIENCE_SECONDS: Final = 5.0
"""Many times the limits above: who has not returned by then has none."""


def ready(world: AlpacaWorld, kind: BrokerKind = AlpacaBroker, **changes: Any) -> AlpacaBroker:  # noqa: ANN401 - an adapter's own arguments
    """Return a broker where the list of assets has been read already, with as much time as that took."""
    if world.registry.refreshed_ms("alpaca") is None:
        world.open(AlpacaBroker).instrument("SOL-USD")
    return world.open(kind, **changes)


def resting(name: str) -> OrderRequest:
    """Return an order that is taken and not filled."""
    return order(name, limit=90)


# --- 2: one write ------------------------------------------------------------------------------


def check_requirement_2(kind: BrokerKind, fault: Fault) -> None:
    """A submit is one POST and a cancel one DELETE, whatever comes back, and nothing else is written."""
    with AlpacaWorld() as world:
        broker = ready(world, **SHORT)
        broker.submit(resting("there"))
        broker = ready(world, kind, **SHORT)
        posts = Scripted([fault] * 9, "POST")
        world.stub.plan = posts
        with contextlib.suppress(Exception):
            broker.submit(resting("new"))
        assert posts.count == 1, f"{posts.count} POSTs"
        deletes = Scripted([fault] * 9, "DELETE")
        world.stub.plan = deletes
        with contextlib.suppress(Exception):
            broker.cancel("there")
        assert deletes.count == 1, f"{deletes.count} DELETEs"
        assert world.stub.count("POST") == 2
        assert world.stub.count("PATCH") == world.stub.count("PUT") == 0
        assert world.count_orders() == (2 if fault.accepted else 1)


@pytest.mark.requirement(2)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_requirement_2(fault: Fault) -> None:
    """Each fault, before and after acceptance."""
    check_requirement_2(AlpacaBroker, fault)


@pytest.mark.requirement(2)
@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("kind", [Kind.STATUS_429, Kind.STATUS_504])
def test_requirement_2_fails_with_the_librarys_retries(kind: Kind, accepted: bool) -> None:
    """The library repeats these two statuses three times."""
    with pytest.raises(AssertionError):
        check_requirement_2(LibraryAsItIs, Fault(kind, accepted))


# --- 3: an end ---------------------------------------------------------------------------------

CALLS: Final[Mapping[str, Callable[[AlpacaBroker], object]]] = {
    "submit": lambda broker: broker.submit(resting("new")),
    "find": lambda broker: broker.find("there"),
    "cancel": lambda broker: broker.cancel("there"),
    "open_orders": lambda broker: broker.open_orders(),
    "fills_since": lambda broker: broker.fills_since(""),
    "account": lambda broker: broker.account(),
    "clock": lambda broker: broker.clock(),
    "read_assets": lambda broker: broker.read_assets(),
}
"""Every call of the broker."""

PORT_ERRORS: Final = (UnavailableError, AmbiguousOutcome)


def ends(call: Callable[[], object], because: threading.Event) -> BaseException | None:
    """Return what a call raised; AssertionError where it has not come back for long.

    ``because`` is set when it is no longer waited for, so that whoever keeps it can let it go.
    """
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS if not because.is_set() else 1.5)
    assert raised, "it did not come back"
    return raised[0]


def check_requirement_3(kind: BrokerKind, name: str, *, patient: bool = True) -> None:
    """With a server that takes every request and does not answer, a call comes back with a typed error."""
    impatient = threading.Event()
    if not patient:
        impatient.set()
    with AlpacaWorld() as world:
        learned = ready(world)
        learned.submit(resting("there"))
        broker = ready(world, kind, **SHORT)
        world.stub.plan = Scripted([Fault(Kind.HANG)] * 9)
        error = ends(lambda: CALLS[name](broker), impatient)
        assert isinstance(error, PORT_ERRORS), repr(error)


@pytest.mark.requirement(3)
@pytest.mark.parametrize("name", CALLS)
def test_requirement_3(name: str) -> None:
    """Each call of the port."""
    check_requirement_3(AlpacaBroker, name)


@pytest.mark.requirement(3)
def test_requirement_3_fails_without_timeouts() -> None:
    """The library has none."""
    with pytest.raises(AssertionError, match="did not come back"):
        check_requirement_3(LibraryAsItIs, "find", patient=False)


def check_requirement_3_dripping(kind: BrokerKind, head: bytes, *, patient: bool = True) -> None:
    """With a server whose answer never ends, but always goes on, a call comes back, and hangs up."""
    impatient = threading.Event()
    if not patient:
        impatient.set()
    with DrippingServer(head) as server:
        access = AlpacaAccess(
            KEY_ID, SECRET, trading_url=server.url, connect_seconds=1, read_seconds=1, total_seconds=0.4
        )
        broker = kind(access, Registry, lambda assets: None)
        error = ends(lambda: broker.find("there"), impatient)
        assert isinstance(error, PORT_ERRORS), repr(error)
        assert server.ended.wait(PATIENCE_SECONDS), "the connection is kept"


HEADS: Final = {
    "body": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "status": b"HTTP/1.1 200 O",
}


@pytest.mark.requirement(3)
@pytest.mark.parametrize("where", HEADS)
def test_requirement_3_dripping(where: str) -> None:
    """In the body, in a header, in the first line."""
    check_requirement_3_dripping(AlpacaBroker, HEADS[where])


@pytest.mark.requirement(3)
def test_requirement_3_fails_with_timeouts_of_steps() -> None:
    """Each byte comes in time, the whole never does."""
    with pytest.raises(AssertionError, match="did not come back"):
        check_requirement_3_dripping(StepTimeouts, HEADS["body"], patient=False)


# --- 4 and 34: what is not known is called so ----------------------------------------------------


def check_requirement_4(kind: BrokerKind, fault: Fault) -> None:
    """What submit says is true, and the order is there at most once.

    A lost answer is looked up by client id: what was taken is reported; of what is not found nothing is
    claimed.
    """
    with AlpacaWorld() as world:
        ready(world)
        broker = ready(world, kind, **SHORT)
        world.stub.plan = Scripted([fault], "POST")
        told: object
        try:
            told = broker.submit(order("a"))
        except (OrderRejected, UnavailableError, AmbiguousOutcome) as error:
            told = type(error)
        orders = world.stub.venue.orders()
        assert [one.client_order_id for one in orders] == (["a"] if fault.accepted else [])
        if fault.accepted:
            assert getattr(told, "venue_id", "") == orders[0].id, told
        else:
            assert told is AmbiguousOutcome, told
        # The same name again, as the desk sends it when looks have shown that it is not there.
        again = broker.submit(order("a"))
        assert world.count_orders() == 1
        assert again.client_id == "a"
        assert broker.account().positions == {"SOL-USD": 2 * QUANTITY_SCALE}


@pytest.mark.requirement(4)
@pytest.mark.requirement(34)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_requirement_4(fault: Fault) -> None:
    """Each fault, before and after acceptance."""
    check_requirement_4(AlpacaBroker, fault)


@pytest.mark.requirement(4)
@pytest.mark.parametrize("fault", [Fault(Kind.HANG, True), Fault(Kind.STATUS_500)], ids=str)
@pytest.mark.parametrize("kind", [TimeoutIsFailure, TimeoutIsUnavailable])
def test_requirement_4_fails_where_a_lost_answer_is_a_failure(kind: BrokerKind, fault: Fault) -> None:
    """Neither a refusal nor an order that was not sent."""
    with pytest.raises(AssertionError):
        check_requirement_4(kind, fault)


@pytest.mark.requirement(4)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_a_look_up_that_fails_settles_nothing(fault: Fault) -> None:
    """Where the look-up meets the same fault, the outcome is ambiguous, and the order there at most once."""
    with AlpacaWorld() as world:
        broker = ready(world, **SHORT)
        world.stub.plan = Scripted([fault] * 9, path="/v2/orders")
        with pytest.raises(AmbiguousOutcome):
            broker.submit(order("a"))
        assert world.stub.count("POST") == world.stub.count("GET", "by_client_order_id") == 1
        assert world.count_orders() == int(fault.accepted)


@pytest.mark.requirement(34)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_what_cancel_says_is_true(fault: Fault) -> None:
    """It returns only where the order is cancelled, and is ambiguous where it is not."""
    with AlpacaWorld() as world:
        broker = ready(world, **SHORT)
        broker.submit(resting("a"))
        world.stub.plan = Scripted([fault], "DELETE")
        if fault.accepted:
            broker.cancel("a")
        else:
            with pytest.raises(AmbiguousOutcome):
                broker.cancel("a")
        assert (world.stub.venue.order("a").status == "canceled") is fault.accepted
        assert world.stub.count("DELETE") == 1
        broker.cancel("a")
        assert world.stub.venue.order("a").status == "canceled"


@pytest.mark.requirement(34)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
def test_what_find_says_is_true(fault: Fault) -> None:
    """An answer that is spoilt is an error, and never None: the order is there."""
    with AlpacaWorld() as world:
        broker = ready(world, **SHORT)
        broker.submit(resting("a"))
        world.stub.plan = Scripted([fault], "GET")
        with pytest.raises((UnavailableError, DataError)):
            broker.find("a")
        assert broker.find("a") is not None


@pytest.mark.requirement(34)
def test_a_server_that_is_not_there_took_nothing() -> None:
    """Without a connection an order was certainly not sent: that is not ambiguous."""
    with AlpacaWorld() as world:
        broker = ready(world)
        world.stub.close()
        with pytest.raises(UnavailableError, match="not sent"):
            broker.submit(order("a"))
        with pytest.raises(UnavailableError):
            broker.cancel("a")


# --- 5: "must be unique" -------------------------------------------------------------------------


def check_requirement_5(kind: BrokerKind) -> None:
    """A name that is taken is looked up, and its order is the result; also when it is cancelled."""
    with AlpacaWorld() as world:
        first = ready(world).submit(resting("a"))
        broker = ready(world, kind)
        try:
            again = broker.submit(resting("a"))
        except OrderRejected as rejected:
            raise AssertionError(f"refused: {rejected.reason}") from rejected
        assert again.venue_id == first.venue_id
        broker.cancel("a")
        ended = broker.submit(resting("a"))
        assert (ended.venue_id, ended.state) == (first.venue_id, IntentState.CANCELLED)
        assert world.count_orders() == 1


@pytest.mark.requirement(5)
def test_requirement_5() -> None:
    """The name's own order is the result."""
    check_requirement_5(AlpacaBroker)


@pytest.mark.requirement(5)
def test_requirement_5_fails_where_a_duplicate_is_a_refusal() -> None:
    """The order is live."""
    with pytest.raises(AssertionError):
        check_requirement_5(DuplicateIsRefusal)


# --- 7: exits are orders -------------------------------------------------------------------------


def check_requirement_7(kind: BrokerKind) -> None:
    """To sell all is an order with our name; positions are never deleted."""
    with AlpacaWorld() as world:
        broker = ready(world, kind)
        broker.submit(order("in"))
        with contextlib.suppress(Exception):
            broker.submit(order("out", SELL, limit=100))
        assert world.stub.count("DELETE", "/v2/positions") == 0
        assert [one.client_order_id for one in world.stub.venue.orders()] == ["in", "out"]


def check_requirement_7_in(source: str) -> None:
    """No code calls the library's ways to close positions, or to cancel all orders."""
    forbidden = {"close_position", "close_all_positions", "cancel_orders"}
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", None) or getattr(node, "id", None)
        assert name not in forbidden, f"line {getattr(node, 'lineno', 0)}: {name}"


@pytest.mark.requirement(7)
def test_requirement_7() -> None:
    """By what is asked of the venue, and in all the code that could."""
    check_requirement_7(AlpacaBroker)
    folder = Path(adapters.__path__[0])
    files = [path for path in sorted(folder.rglob("*.py")) if "stubs" not in path.parts]
    assert len(files) > 50
    for path in files:
        check_requirement_7_in(path.read_text(encoding="utf-8"))


@pytest.mark.requirement(7)
def test_requirement_7_fails_with_close_position() -> None:
    """By what is asked, and in the code."""
    with pytest.raises(AssertionError):
        check_requirement_7(ClosesPositions)
    wrong = Path(__file__).with_name("wrong_alpaca.py").read_text(encoding="utf-8")
    with pytest.raises(AssertionError):
        check_requirement_7_in(wrong)


# --- 8: exact numbers ----------------------------------------------------------------------------

SHIB: Final = Asset(
    text="SHIB/USD",
    venue_id="",
    asset_class=AssetClass.CRYPTO,
    minimum_quantity=Decimal("0.00000001"),
    quantity_step=Decimal("0.00000001"),
    price_step=Decimal("0.00000001"),
    minimum_notional=Decimal(0),
)


class Posted:
    """A server that refuses every order, and keeps what was sent."""

    def __init__(self, server: CannedServer) -> None:
        """Know one asset, with fine steps."""
        self.server = server
        server.answers["/v2/orders"] = Canned(b'{"code": 42210000, "message": "no"}', 422)
        self.registry = Registry().refreshed("alpaca", [SHIB], 0)
        self.access = AlpacaAccess(KEY_ID, SECRET, trading_url=server.url)
        self.brokers: dict[BrokerKind, AlpacaBroker] = {}

    def body(self, kind: BrokerKind, request: OrderRequest) -> dict[str, Any] | None:
        """Return what is sent for an order; None where nothing is."""
        if kind not in self.brokers:
            self.brokers[kind] = kind(self.access, lambda: self.registry, lambda assets: None)
        self.server.asked.clear()
        with contextlib.suppress(Exception):
            self.brokers[kind].submit(request)
        asked = self.server.asked
        return json.loads(asked[0].body, parse_float=lambda digits: f"a float: {digits}") if asked else None


@pytest.fixture(scope="module")
def posted() -> Iterator[Posted]:
    """Return a server of this module's."""
    with CannedServer() as server:
        made = Posted(server)
        yield made
        for broker in made.brokers.values():
            broker.close()


def check_requirement_8(posted: Posted, kind: BrokerKind, quantity: int, limit: int) -> None:
    """What is sent is the order's own numbers in plain digits, never more; off the steps nothing is sent."""
    request = replace(order("a", symbol="SHIB-USD"), quantity=quantity, limit_price=limit)
    body = posted.body(kind, request)
    on_steps = quantity > 0 and quantity % 10 == 0 and limit > 0
    assert (body is not None) == on_steps
    if body is None:
        return
    for name, value, scale in (("qty", quantity, QUANTITY_SCALE), ("limit_price", limit, PRICE_SCALE)):
        text = body[name]
        assert isinstance(text, str), f"{name} is {text!r}"
        assert set(text) <= set("0123456789."), f"{name} is {text!r}"
        assert Decimal(text) == unscaled(value, scale)
    assert body["client_order_id"] == "a"


@pytest.mark.requirement(8)
@settings(max_examples=40)
@given(quantity=st.integers(-10, 10**17), limit=st.integers(-1, 10**13))
@example(quantity=1, limit=1)
@example(quantity=0, limit=1)
@example(quantity=-10, limit=1)
@example(quantity=10, limit=0)
def test_requirement_8(posted: Posted, quantity: int, limit: int) -> None:
    """Quantities in steps of 1e-8 and prices of any size."""
    check_requirement_8(posted, AlpacaBroker, quantity * 10 if quantity % 3 else quantity, limit)


@pytest.mark.requirement(8)
@pytest.mark.parametrize("quantity", [0, 10, 10**9, 19_999_999_990])
def test_requirement_8_fails_with_floats(posted: Posted, quantity: int) -> None:
    """Nothing at all, nothing by rounding, a number that is no string, and a quantity rounded up."""
    with pytest.raises(AssertionError):
        check_requirement_8(posted, SendsFloats, quantity, 1)


@pytest.mark.requirement(8)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("NaN"), 1.5])
def test_numbers_that_are_none_are_not_sent(posted: Posted, number: Any) -> None:  # noqa: ANN401 - wrong by intent
    """Whoever gets past the types with one is refused."""
    assert posted.body(AlpacaBroker, replace(order("a", symbol="SHIB-USD"), quantity=number)) is None
    assert posted.body(AlpacaBroker, replace(order("a", symbol="SHIB-USD"), limit_price=number)) is None


# --- 9: checked before it is sent ----------------------------------------------------------------

UNSENDABLE: Final[Mapping[str, tuple[OrderRequest, str]]] = {
    "minimum size": (order("a", size="0.005"), Refusal.MINIMUM_QUANTITY),
    "notional floor": (order("a", size="0.05"), Refusal.MINIMUM_NOTIONAL),
    "zero": (order("a", size=0), Refusal.QUANTITY_STEP),
    "negative": (order("a", size=-1), Refusal.QUANTITY_STEP),
    "off the step": (order("a", size="2.00001"), Refusal.QUANTITY_STEP),
    "off the tick": (order("a", limit="100.001"), Refusal.PRICE_STEP),
    "a coin for the day": (order("a", time_in_force=DAY), Refusal.TIME_IN_FORCE),
    "a fraction good till cancelled": (
        stock_order("a", size="1.5", time_in_force=GTC),
        Refusal.TIME_IN_FORCE,
    ),
    "a fraction of a whole share": (
        stock_order("a", size="0.5", symbol="BRK.B"),
        Refusal.QUANTITY_STEP,
    ),
    "sub-penny": (stock_order("a", limit="500.001"), Refusal.PRICE_STEP),
    "sub-sub-penny": (stock_order("a", limit="0.50001", size=10), Refusal.PRICE_STEP),
    "fraction below a dollar": (stock_order("a", limit=500, size="0.001"), Refusal.MINIMUM_NOTIONAL),
    "limit without a price": (replace(order("a"), limit_price=None), Refusal.ORDER_TYPE),
    "a long name": (order("a" * 129), Refusal.CLIENT_ID),
    "no name": (order(""), Refusal.CLIENT_ID),
    "not listed": (order("a", symbol="ADA-USD"), Refusal.UNKNOWN_SYMBOL),
    "extended hours, no limit": (stock_order("a", limit=None), AlpacaRefusal.EXTENDED_HOURS),
    "extended hours, good till cancelled": (
        stock_order("a", time_in_force=GTC),
        AlpacaRefusal.EXTENDED_HOURS,
    ),
}


def check_requirement_9(kind: BrokerKind, request: OrderRequest, reason: str) -> None:
    """An order that the venue would refuse is refused here, with its reason, and nothing is sent."""
    with AlpacaWorld() as world:
        broker = ready(world, kind, extended_hours=reason == AlpacaRefusal.EXTENDED_HOURS)
        world.quote(500, 501, "SPY")
        with pytest.raises(OrderRejected) as caught:
            broker.submit(request)
        assert world.stub.count("POST") == 0, "it was sent"
        assert caught.value.reason.startswith(reason)


@pytest.mark.requirement(9)
@pytest.mark.parametrize("case", UNSENDABLE)
def test_requirement_9(case: str) -> None:
    """Each rule of the venue's that can be known before."""
    check_requirement_9(AlpacaBroker, *UNSENDABLE[case])


@pytest.mark.requirement(9)
@pytest.mark.parametrize("case", ["minimum size", "notional floor", "sub-penny", "a coin for the day"])
def test_requirement_9_fails_where_the_venue_is_asked(case: str) -> None:
    """Every such request costs one of 200 a minute, and an answer that may be lost."""
    with pytest.raises(AssertionError):
        check_requirement_9(SendsAnything, *UNSENDABLE[case])


def test_what_is_held_may_be_sold_below_the_floor() -> None:
    """The floor is for buys: a remainder can always go."""
    with AlpacaWorld() as world:
        broker = ready(world)
        broker.submit(order("in"))
        broker.submit(order("most", SELL, "1.95", 100))
        broker.submit(order("rest", SELL, "0.05", 100))
        assert broker.account().positions == {}


# --- 10: every state -----------------------------------------------------------------------------

OPEN_WORDS: Final = (
    *("accepted", "pending_new", "new", "accepted_for_bidding", "held", "done_for_day", "calculated"),
    *("suspended", "stopped", "pending_cancel", "pending_replace"),
)
FINAL_WORDS: Final = {
    "filled": IntentState.FILLED,
    "canceled": IntentState.CANCELLED,
    "expired": IntentState.EXPIRED,
    "rejected": IntentState.REJECTED,
    "replaced": IntentState.CANCELLED,
}
UNKNOWN_WORDS: Final = ["accepted_for_tokenisation", "ON_HOLD", "Ω", "x" * 1000]


def check_requirement_10(kind: BrokerKind, word: str) -> None:
    """A state is what the table says, with what is filled; one that is not there is AMBIGUOUS, and open."""
    with AlpacaWorld() as world:
        ready(world).submit(resting("a"))
        broker = ready(world, kind)
        for filled in (False, True):
            if filled:
                world.stub.venue.fill("a", "0.5", 90)
            world.stub.venue.set_state("a", word)
            try:
                report = broker.find("a")
            except Exception as error:
                raise AssertionError(f"{word}: {error}") from error
            assert report is not None
            if word in OPEN_WORDS or word == "partially_filled":
                partly = filled or word == "partially_filled"
                expected = IntentState.PARTLY_FILLED if partly else IntentState.SENT
            elif word == "rejected" and filled:
                expected = IntentState.CANCELLED
            else:
                expected = FINAL_WORDS.get(word, IntentState.AMBIGUOUS)
            assert report.state is expected, f"{word}, filled {filled}: {report.state!r}"
            assert report.filled_quantity == (QUANTITY_SCALE // 2 if filled else 0)


@pytest.mark.requirement(10)
@pytest.mark.parametrize("word", [*OPEN_WORDS, "partially_filled", *FINAL_WORDS, *UNKNOWN_WORDS])
def test_requirement_10(word: str) -> None:
    """All 17 states, and words that no version of the library knows."""
    check_requirement_10(AlpacaBroker, word)


@pytest.mark.requirement(10)
def test_all_17_states_are_tested() -> None:
    """As many as the venue's specification lists, and as the one table has."""
    words = {*OPEN_WORDS, "partially_filled", *FINAL_WORDS}
    assert len(words) == 17
    assert words == set(VENUE_STATES)


@pytest.mark.requirement(10)
@pytest.mark.parametrize(("kind", "word"), [(KnowsItsStates, UNKNOWN_WORDS[0]), (DayIsOver, "done_for_day")])
def test_requirement_10_fails_where_states_are_known_better(kind: BrokerKind, word: str) -> None:
    """An enumeration that raises, and a day's end taken for an order's."""
    with pytest.raises(AssertionError):
        check_requirement_10(kind, word)


# --- 11: one odd row -----------------------------------------------------------------------------

ODD: Final[Mapping[str, Mapping[str, object]]] = {
    "unknown words": {"status": "zombie", "type": "twap", "order_class": "swarm", "asset_class": "crypto"},
    "no quantity": {"qty": None},
    "no number": {"filled_qty": "NaN"},
    "a huge number": {"qty": "1e999999999"},
    "more filled than ordered": {"filled_qty": "3"},
    "no side": {"side": "sideways"},
    "no symbol": {"symbol": None},
    "no id": {"id": ["x"]},
    "another class": {"asset_class": "crypto_perp"},
    "no time": {"updated_at": "yesterday", "submitted_at": "yesterday"},
}


def check_requirement_11(kind: BrokerKind, fields: Mapping[str, object]) -> None:
    """One odd row leaves the others; it is told of; and looked up by name it does not look like absence."""
    with AlpacaWorld() as world:
        broker = ready(world)
        for name in ("a", "odd", "z"):
            broker.submit(resting(name))
        world.stub.venue.distort("odd", **fields)
        broker = ready(world, kind)
        try:
            listed = [report.client_id for report in broker.open_orders()]
        except Exception as error:
            raise AssertionError(f"the list is lost: {type(error).__name__}") from error
        assert [name for name in listed if name != "odd"] == ["a", "z"]
        assert "odd" in listed or broker.oddities
        try:
            found = broker.find("odd")
        except DataError:
            assert broker.oddities
        else:
            assert found is not None, "it looks as if it were not there"
            assert found.state is IntentState.AMBIGUOUS


@pytest.mark.requirement(11)
@pytest.mark.parametrize("case", ODD)
def test_requirement_11(case: str) -> None:
    """Each field that may be odd."""
    check_requirement_11(AlpacaBroker, ODD[case])


@pytest.mark.requirement(11)
@pytest.mark.parametrize("kind", [ParsesAllOrNothing, OddIsAbsent])
def test_requirement_11_fails_where_odd_is_lost_or_absent(kind: BrokerKind) -> None:
    """The library's models, and a look-up that shrugs."""
    with pytest.raises(AssertionError):
        check_requirement_11(kind, {**ODD["no number"], "status": "zombie"})


# --- 12: refusals told apart ---------------------------------------------------------------------

WORDS: Final = (
    Refusal.INSUFFICIENT_BUYING_POWER,
    AlpacaRefusal.HELD_FOR_ORDERS,
    AlpacaRefusal.WASH_TRADE,
    Refusal.MINIMUM_NOTIONAL,
    Refusal.INSUFFICIENT_QUANTITY,
)


def check_requirement_12(kind: BrokerKind) -> None:
    """Five reasons behind one number of the venue's have five first words, that never change."""
    with AlpacaWorld() as world:
        world.quote(500, 501, "SPY")
        broker = ready(world)
        broker.submit(order("in", size=3))
        broker.submit(order("offered", SELL, 2, 120))
        broker = ready(world, kind)
        cases = [
            (order("1", size=1000), WORDS[0]),
            (stock_order("2", size=100), WORDS[0]),
            (order("3", SELL, 2, 119), WORDS[1]),
            (order("4", limit=121), WORDS[2]),
            (order("5", size="0.05", limit=None), WORDS[3]),
            (stock_order("6", side=SELL), WORDS[4]),
        ]
        for request, word in cases:
            with pytest.raises(OrderRejected) as caught:
                broker.submit(request)
            reason = caught.value.reason
            assert reason.startswith(f"{word}: "), reason
            assert len(reason) > len(word) + 5, "without the venue's own sentence"
        assert world.count_orders() == 2


@pytest.mark.requirement(12)
def test_requirement_12() -> None:
    """Money, what is held for orders, wash trades, minimums, and what is not there."""
    check_requirement_12(AlpacaBroker)


@pytest.mark.requirement(12)
def test_requirement_12_fails_with_numbers_alone() -> None:
    """They are all 403/40310000."""
    with pytest.raises(AssertionError):
        check_requirement_12(AllForbidden)


# --- 14: where it goes ---------------------------------------------------------------------------

LIVE: Final = "https://api.alpaca.markets"
PAPER: Final = "https://paper-api.alpaca.markets"
FORBIDDEN: Final[tuple[Mapping[str, Any], ...]] = (
    {"trading_url": ""},
    {"trading_url": "   "},
    {"data_url": ""},
    {"trading_url": LIVE},
    {"trading_url": LIVE, "live": True},
    {"trading_url": LIVE, "paper": False},
    {"trading_url": PAPER, "live": True},
    {"trading_url": PAPER, "paper": False},
    {"trading_url": "http://127.0.0.1:1", "live": True, "paper": False},
    {"trading_url": "http://paper-api.alpaca.markets"},
    {"trading_url": f"{PAPER}/"},
    {"trading_url": f"{PAPER}/v2"},
    {"trading_url": f"{PAPER}?x=1"},
    {"trading_url": "https://paper-api.alpaca.markets@evil.example"},
    {"trading_url": "https://paper-api.alpaca.markets.evil.example"},
    {"trading_url": "https://user:word@paper-api.alpaca.markets"},
    {"trading_url": "https://evil.example", "live": True, "paper": False},
    {"trading_url": "https://[::1"},
    {"trading_url": "ftp://127.0.0.1"},
    {"data_url": "https://evil.example"},
)


def base_of(settings: Mapping[str, Any]) -> str:
    """Return where a client of ours would go; ConfigurationError where it must not be made."""
    from adapters.vendors.alpaca import trading_client

    return str(trading_client(AlpacaAccess(KEY_ID, SECRET, **settings)).client._base_url)


def careless_base_of(settings: Mapping[str, Any]) -> str:
    """Return where the library's own client goes with the same settings."""
    from alpaca.trading.client import TradingClient

    url, paper = settings.get("trading_url"), settings.get("paper", True)
    return str(TradingClient(KEY_ID, SECRET, paper=paper, url_override=url)._base_url)


def check_requirement_14(base: Callable[[Mapping[str, Any]], str], settings: Mapping[str, Any]) -> None:
    """No client is made with settings that are empty, contradict each other, or go elsewhere."""
    try:
        url = base(settings)
    except ConfigurationError as error:
        assert KEY_ID not in str(error)
        assert SECRET not in str(error)
        return
    raise AssertionError(f"it goes to {url}")


@pytest.mark.requirement(14)
@pytest.mark.parametrize("settings", FORBIDDEN, ids=str)
def test_requirement_14(settings: Mapping[str, Any]) -> None:
    """Every address but three kinds, and real money without both switches."""
    check_requirement_14(base_of, settings)


@pytest.mark.requirement(14)
def test_the_addresses_that_are_allowed() -> None:
    """Paper, loopback, and real money with both switches: exactly there."""
    assert base_of({}) == PAPER
    assert base_of({"trading_url": "http://127.0.0.1:1"}) == "http://127.0.0.1:1"
    assert base_of({"trading_url": LIVE, "live": True, "paper": False}) == LIVE


@pytest.mark.requirement(14)
@pytest.mark.parametrize("settings", [FORBIDDEN[0], {"trading_url": "", "paper": False}], ids=str)
def test_requirement_14_fails_with_the_library_alone(settings: Mapping[str, Any]) -> None:
    """An empty address is the venue's own, and without paper that of real money."""
    with pytest.raises(AssertionError, match=r"alpaca\.markets|BaseURL"):
        check_requirement_14(careless_base_of, settings)


# --- 29: keys ------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    """Return everything that a log would show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def check_requirement_29(kind: BrokerKind, caplog: pytest.LogCaptureFixture) -> None:
    """No key is in any error, representation, oddity or log, even if the server sends them back."""
    caplog.set_level("DEBUG")
    echo = f"you are {KEY_ID} with {SECRET}"
    answers = [
        Canned(json.dumps({"code": 40310000, "message": echo}).encode(), 403),
        Canned(json.dumps({"message": echo}).encode(), 401),
        Canned(json.dumps({"message": echo}).encode(), 500),
        Canned(f"<html>{echo}</html>".encode(), 502, {}, "text/html"),
        Canned(b"ok", 200, {"Server": echo}, f"text/{SECRET}"),
        Canned(json.dumps({"id": echo, "cash": SECRET}).encode()),
        Canned(
            json.dumps([{"id": echo, "submitted_at": SECRET, "symbol": KEY_ID, "class": SECRET}]).encode()
        ),
        Canned(b"", 302, {"Location": f"https://evil.example/?{SECRET}"}),
    ]
    with CannedServer() as server:
        access = AlpacaAccess(KEY_ID, SECRET, trading_url=server.url)
        registry = Registry().refreshed("alpaca", [replace(SHIB, text="SOL/USD")], 0)
        broker = kind(access, lambda: registry, lambda assets: None)
        seen = [repr(access), str(access), repr(broker)]
        paths = ["/v2/orders", "/v2/account", "/v2/clock", "/v2/assets", "/v2/positions"]
        paths += ["/v2/orders:by_client_order_id", "/v2/account/activities/FILL"]
        for answer in answers:
            server.answers = dict.fromkeys(paths, answer)
            for call in CALLS.values():
                try:
                    call(broker)
                except Exception as error:
                    seen.append(told(error))
        assert len(seen) > len(answers) * len(CALLS) / 2
        seen += [*broker.oddities, caplog.text]
        for text in seen:
            assert KEY_ID not in text, text
            assert SECRET not in text, text


@pytest.mark.requirement(29)
def test_requirement_29(caplog: pytest.LogCaptureFixture) -> None:
    """A server that sends the keys back in everything."""
    check_requirement_29(AlpacaBroker, caplog)


@pytest.mark.requirement(29)
def test_requirement_29_fails_where_errors_are_quoted(caplog: pytest.LogCaptureFixture) -> None:
    """The library's errors are the server's text."""
    with pytest.raises(AssertionError):
        check_requirement_29(QuotesErrors, caplog)


@pytest.mark.requirement(29)
@pytest.mark.parametrize("key", ["", f"{SECRET}\n", f" {SECRET}", f"{SECRET}é", f"{SECRET}\x00"])
def test_keys_that_no_header_may_have(key: str) -> None:
    """They are refused at once, and not quoted: a library's error would do that."""
    for keys in ((key, "x"), ("x", key)):
        with pytest.raises(ConfigurationError) as caught:
            AlpacaAccess(*keys)
        assert SECRET not in str(caught.value)


# --- 30: what is no answer -----------------------------------------------------------------------

NO_ANSWERS: Final = {
    "HTML": Canned(b"<html>hello</html>", 200, {}, "text/html"),
    "HTML 404": Canned(b"<html>no such page</html>", 404, {}, "text/html"),
    "JSON 404 of another's": Canned(b'{"message": "no Route matched"}', 404),
    "HTML 403": Canned(b"<html>blocked</html>", 403, {}, "text/html"),
    "half of a JSON": Canned(b'{"id": "x'),
    "not a number": Canned(b'{"cash": NaN}'),
    "deep JSON": Canned(b"[" * 100_000),
    "long number": Canned(b'{"cash": ' + b"1" * 5000 + b"}"),
    "text": Canned(b"ok", 200, {}, "text/plain"),
    "JSON text": Canned(b'"ok"'),
    "null": Canned(b"null"),
    "nothing": Canned(b""),
    "redirect": Canned(b"", 302, {"Location": "/elsewhere"}),
    "permanent redirect": Canned(b"<html></html>", 308, {"Location": "/elsewhere"}, "text/html"),
    "zipped, it says": Canned(b"not zipped", 200, {"Content-Encoding": "gzip"}),
    "bytes": Canned(b"\xff\xfe\x00{", 200),
}


def check_requirement_30(kind: BrokerKind, answer: Canned) -> None:
    """Each call ends in an error of the port: a question is unanswered, a write ambiguous; nobody follows."""
    with CannedServer() as server:
        paths = ["/v2/orders", "/v2/account", "/v2/clock", "/v2/assets", "/v2/positions"]
        paths += ["/v2/orders:by_client_order_id", "/v2/account/activities/FILL"]
        server.answers = dict.fromkeys(paths, answer)
        registry = Registry().refreshed("alpaca", [replace(SHIB, text="SOL/USD")], 0)
        access = AlpacaAccess(KEY_ID, SECRET, trading_url=server.url)
        broker = kind(access, lambda: registry, lambda assets: None)
        for name, call in CALLS.items():
            expected = AmbiguousOutcome if name == "submit" else UnavailableError
            try:
                call(broker)
            except Exception as error:
                assert isinstance(error, expected), f"{name}: {error!r}"
            else:
                raise AssertionError(f"{name}: no error")
        assert all(asked.path != "/elsewhere" for asked in server.asked)
        assert sum(asked.method == "POST" for asked in server.asked) == 1


@pytest.mark.requirement(30)
@pytest.mark.parametrize("case", NO_ANSWERS)
def test_requirement_30(case: str) -> None:
    """Everything that a proxy, a gateway or a tired server says in the venue's place."""
    check_requirement_30(AlpacaBroker, NO_ANSWERS[case])


@pytest.mark.requirement(30)
@pytest.mark.parametrize("case", ["HTML", "HTML 404", "half of a JSON", "redirect"])
def test_requirement_30_fails_with_the_library_alone(case: str) -> None:
    """Its errors are those of whatever part of it stumbles."""
    with pytest.raises(AssertionError):
        check_requirement_30(LibraryAsItIs, NO_ANSWERS[case])
