"""The requirements on adapters, checked on orders through ccxt; and wrong adapters that the checks catch."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from adapters.brokers.ccxt import CcxtBroker, exchange_id
from adapters.stubs.exchange import KEY, SECRET, Refusal
from adapters.stubs.faults import EVERY_FAULT, Fault, FaultPlan, Kind, NoFaults, Scripted, Seeded
from adapters.vendors.ccxt import ExchangeClient
from engine.codes import IntentState
from engine.errors import UnavailableError
from engine.model import OrderReport, OrderRequest, OrderSide, TimeInForce
from engine.runtime.ports import AmbiguousOutcome, OrderRejected
from engine.units import PRICE_SCALE, QUANTITY_SCALE, unscaled
from tests.adapters.brokers import wrong_ccxt as wrong
from tests.adapters.brokers.ccxt_world import CcxtVenue, Journalled

QUICK_SECONDS = 0.3
LIMIT_SECONDS = 2.0

MakeVenue = Callable[..., CcxtVenue]
Check = Callable[..., None]


@pytest.fixture
def make() -> Iterator[MakeVenue]:
    """Return what makes an exchange with a broker; all are closed at the end."""
    venues: list[CcxtVenue] = []

    def made(**options: Any) -> CcxtVenue:  # noqa: ANN401 - the venue's own
        venues.append(CcxtVenue(**{"read_seconds": QUICK_SECONDS, **options}))
        return venues[-1]

    yield made
    for venue in venues:
        venue.close()


@contextlib.contextmanager
def _expected(right: bool) -> Iterator[None]:
    """Let a check pass with the real adapter, and demand that it fails with a wrong one."""
    if right:
        yield
    else:
        with pytest.raises(AssertionError):
            yield


def _subject(kind: type) -> Mapping[str, type]:
    """Return what makes a venue with this class in the place of the real one."""
    if issubclass(kind, ExchangeClient):
        return {"client": kind}
    return {"broker": kind}


def _outcome(broker: CcxtBroker, order: OrderRequest) -> OrderReport | Exception:
    try:
        return broker.submit(order)
    except (OrderRejected, AmbiguousOutcome, UnavailableError) as outcome:
        return outcome


def _sent(venue: CcxtVenue) -> Sequence[Mapping[str, str]]:
    return [asked.parameters for asked in venue.exchange.requests if asked.method == "POST"]


def _writes(venue: CcxtVenue) -> int:
    return sum(asked.method != "GET" for asked in venue.exchange.requests)


# 2: one write.


def check_requirement_2(venue: CcxtVenue, fault: Fault) -> None:
    """Whatever happens to it, an order is one POST and a cancellation one DELETE."""
    venue.exchange.plan = Scripted([fault], method="POST")
    order = venue.order(limit=90)
    _outcome(venue.ccxt, order)
    assert _writes(venue) == 1
    venue.exchange.plan = NoFaults()
    venue.seconds.now += 120
    if venue.broker.find(order.client_id) is not None:
        venue.exchange.plan = Scripted([fault], method="DELETE")
        with contextlib.suppress(AmbiguousOutcome, UnavailableError):
            venue.broker.cancel(order.client_id)
        assert _writes(venue) == 2


ONE_WRITE = [
    Fault(kind, accepted)
    for kind in Kind
    if kind.value.isdigit() or kind in (Kind.RESET, Kind.TRUNCATED)
    for accepted in (False, True)
]


@pytest.mark.requirement(2)
@pytest.mark.parametrize("fault", ONE_WRITE, ids=str)
def test_requirement_2(make: MakeVenue, fault: Fault) -> None:
    """At most one HTTP write for each order and each cancellation."""
    check_requirement_2(make(), fault)


@pytest.mark.requirement(2)
@pytest.mark.parametrize("accepted", [False, True])
def test_requirement_2_of_a_wrong_adapter(make: MakeVenue, accepted: bool) -> None:
    """The library's own retries are seen."""
    with pytest.raises(AssertionError):
        check_requirement_2(make(client=wrong.LibraryRetries), Fault(Kind.STATUS_502, accepted))


# 3: an end to waiting.


def check_requirement_3(venue: CcxtVenue, path: str) -> None:
    """A server that hangs costs a bounded time, in an order as in a question."""
    venue.exchange.plan = Scripted([Fault(Kind.HANG)] * 9, path=path)
    order = venue.order()

    def ask() -> None:
        with contextlib.suppress(UnavailableError, AmbiguousOutcome):
            venue.broker.submit(order) if path.endswith("order") else venue.broker.account()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(LIMIT_SECONDS)
    assert not asking.is_alive()


@pytest.mark.requirement(3)
@pytest.mark.parametrize("kind", [ExchangeClient, wrong.Patient])
@pytest.mark.parametrize("path", ["order", "exchangeInfo", "account"])
def test_requirement_3(make: MakeVenue, kind: type, path: str) -> None:
    """Every call has its limits."""
    with _expected(kind is ExchangeClient):
        check_requirement_3(make(**_subject(kind)), path)


# 4: what is ambiguous.


def check_requirement_4(venue: CcxtVenue, fault: Fault) -> None:
    """An order whose answer was lost is never said to be refused or not sent; its name finds it."""
    venue.exchange.plan = Scripted([fault], method="POST")
    order = venue.order()
    outcome = _outcome(venue.ccxt, order)
    assert isinstance(outcome, OrderReport | AmbiguousOutcome), repr(outcome)
    venue.seconds.now += 120
    found = venue.broker.find(order.client_id)
    assert found is not None
    assert (found.client_id, found.state) == (order.client_id, IntentState.FILLED)


LOST_AFTER = [fault for fault in EVERY_FAULT if fault.accepted]


@pytest.mark.requirement(4)
@pytest.mark.parametrize("fault", LOST_AFTER, ids=str)
def test_requirement_4(make: MakeVenue, fault: Fault) -> None:
    """Every answer that is lost after acceptance is ambiguous until it is looked up."""
    check_requirement_4(make(), fault)


@pytest.mark.requirement(4)
@pytest.mark.parametrize("kind", [wrong.LostIsRejected, wrong.LostIsNotSent])
@pytest.mark.parametrize("fault", LOST_AFTER, ids=str)
def test_requirement_4_of_wrong_adapters(make: MakeVenue, kind: type, fault: Fault) -> None:
    """Who takes a lost answer for a no is seen with each of them."""
    with pytest.raises(AssertionError):
        check_requirement_4(make(**_subject(kind)), fault)


# 5: a name that is taken.


def check_requirement_5(venue: CcxtVenue) -> None:
    """An order that the look-up does not show yet, and whose name is refused, is looked up again."""
    order = venue.order(limit=90)
    first = venue.broker.submit(order)
    venue.restart()
    behind = [Refusal(-2013, "Order does not exist.")]

    def late(said: object) -> object:
        if behind:
            raise behind.pop()
        return said

    venue.exchange.edits["order"] = late
    outcome = _outcome(venue.ccxt, order)
    assert isinstance(outcome, OrderReport), repr(outcome)
    assert outcome.venue_id == first.venue_id
    assert len(_sent(venue)) == 2
    assert len(venue.exchange.orders()) == 1


@pytest.mark.requirement(5)
@pytest.mark.parametrize("kind", [ExchangeClient, wrong.DuplicateIsAnyRefusal])
def test_requirement_5(make: MakeVenue, kind: type) -> None:
    """A name that is taken means that the order is there."""
    with _expected(kind is ExchangeClient):
        check_requirement_5(make(**_subject(kind)))


# 8: exact numbers.


def check_requirement_8(venue: CcxtVenue) -> None:
    """What is sent is what was asked for, digit by digit; what is off the steps, or nothing, is not sent."""
    venue.exchange.set_quote("BTCUSD", Decimal("90000.01"), Decimal("90000.02"))
    venue.exchange.set_quote("DOGEUSD", Decimal("0.15433"), Decimal("0.15434"))
    for symbol, size, limit in [
        ("BTC-USD", "0.00029", "90000.01"),
        ("BTC-USD", "0.01234", "89999.99"),
        ("DOGE-USD", "10001", "0.15433"),
        ("SOL-USD", "1.001", "99.99"),
    ]:
        order = venue.order(size, limit, symbol=symbol)
        outcome = _outcome(venue.ccxt, order)
        assert isinstance(outcome, OrderReport), repr(outcome)
        sent = _sent(venue)[-1]
        assert (sent["quantity"], sent["price"]) == (size, limit)
        assert venue.exchange.orders()[-1].quantity == unscaled(order.quantity, QUANTITY_SCALE)
    before = len(_sent(venue))
    for size, limit in [("0", "100"), ("-1", "100"), ("1.0005", "100"), ("1", "100.005"), ("1", "-100")]:
        assert isinstance(_outcome(venue.ccxt, venue.order(size, limit)), OrderRejected)
    assert len(_sent(venue)) == before


@pytest.mark.requirement(8)
@pytest.mark.parametrize("kind", [Journalled, wrong.RoundsUp, wrong.LetsTheExchangeSay])
def test_requirement_8(make: MakeVenue, kind: type) -> None:
    """Quantities and prices go out exactly, on their steps, above 0."""
    with _expected(kind is Journalled):
        check_requirement_8(make(**_subject(kind)))


# 9: checked before the send.


def check_requirement_9(venue: CcxtVenue) -> None:
    """What the exchange would refuse whatever the account holds is refused here, without a request."""
    for order in [
        venue.order("0.05", 101),  # 5.05 USD, where 10 is the least
        venue.order("0.0001", 101),
        venue.order(1, 101, time_in_force=TimeInForce.DAY),
        venue.order(1, 101, symbol="NO-SUCH"),
        venue.order(1, 101, symbol="ETH-USD"),  # a market of the exchange, but not traded here
        replace(venue.order(1, 101), limit_price=None),
    ]:
        outcome = _outcome(venue.ccxt, order)
        assert isinstance(outcome, OrderRejected), (order, outcome)
        assert outcome.reason
    assert _sent(venue) == []


@pytest.mark.requirement(9)
@pytest.mark.parametrize("kind", [Journalled, wrong.LetsTheExchangeSay])
def test_requirement_9(make: MakeVenue, kind: type) -> None:
    """Minimums, notional floor and time in force are checked before a send."""
    with _expected(kind is Journalled):
        check_requirement_9(make(**_subject(kind)))


# 10: states.

STATES = {
    "NEW": IntentState.SENT,
    "ACCEPTED": IntentState.SENT,
    "PENDING_NEW": IntentState.AMBIGUOUS,
    "PARTIALLY_FILLED": IntentState.SENT,  # with nothing filled
    "FILLED": IntentState.FILLED,
    "CANCELED": IntentState.CANCELLED,
    "PENDING_CANCEL": IntentState.SENT,
    "REJECTED": IntentState.REJECTED,
    "EXPIRED": IntentState.EXPIRED,
    "EXPIRED_IN_MATCH": IntentState.EXPIRED,
    "TELEPORTED": IntentState.AMBIGUOUS,
    "": None,
}


def check_requirement_10(venue: CcxtVenue, word: str) -> None:
    """Each word of the exchange is a state, a new one AMBIGUOUS; none at all is no answer."""
    order = venue.order(limit=90)
    venue.broker.submit(order)
    venue.exchange.edits["order"] = lambda said: said | {"status": word}
    try:
        found = venue.broker.find(order.client_id)
    except UnavailableError:
        assert STATES[word] is None
    except KeyError as unknown:
        raise AssertionError(f"unknown state {unknown}") from unknown
    else:
        assert found is not None
        assert found.state is STATES[word]


@pytest.mark.requirement(10)
@pytest.mark.parametrize("word", STATES)
def test_requirement_10(make: MakeVenue, word: str) -> None:
    """All states, and unknown ones, map through one table."""
    check_requirement_10(make(), word)


@pytest.mark.requirement(10)
def test_requirement_10_of_a_wrong_adapter(make: MakeVenue) -> None:
    """Who knows only the states of today is seen."""
    with pytest.raises(AssertionError):
        check_requirement_10(make(broker=wrong.KnowsEveryState), "TELEPORTED")


# 11: odd rows.


def check_requirement_11(venue: CcxtVenue) -> None:
    """An odd row costs that row: markets, open orders, orders and trades beside it are there."""
    odd = [None, 7, {"symbol": ["x"], "orderId": {}, "filters": 3, "baseAsset": 1, "id": "x"}]
    venue.exchange.edits["exchangeInfo"] = lambda said: said | {"symbols": [*odd, *said["symbols"]]}
    for path in ("openOrders", "allOrders", "myTrades"):
        venue.exchange.edits[path] = lambda rows: [*odd, *rows]
    try:
        filled, resting = venue.order(), venue.order(limit=90)
        for order in (filled, resting):
            venue.broker.submit(order)
        venue.restart()
        assert [report.client_id for report in venue.broker.open_orders()] == [resting.client_id]
        fills, _ = venue.broker.fills_since("")
    except UnavailableError as lost:
        raise AssertionError(f"a list is lost: {lost}") from lost
    assert [fill.client_id for fill in fills] == [filled.client_id]


@pytest.mark.requirement(11)
@pytest.mark.parametrize("kind", [ExchangeClient, wrong.AllOrNothing])
def test_requirement_11(make: MakeVenue, kind: type) -> None:
    """One odd row never loses the list."""
    with _expected(kind is ExchangeClient):
        check_requirement_11(make(**_subject(kind)))


# 29: secrets.


def check_requirement_29(venue: CcxtVenue, logged: pytest.LogCaptureFixture) -> None:
    """Neither key nor secret is in any error, in what it was raised from, or in any log."""

    def echo(_said: object) -> object:
        raise Refusal(-2010, f"no order for {KEY} with {SECRET}")

    texts: list[str] = [repr(venue.access)]
    logged.set_level(logging.DEBUG)
    plans: list[FaultPlan] = [Scripted([Fault(kind)] * 9) for kind in Kind if kind is not Kind.HANG]
    for plan in [NoFaults(), *plans]:
        venue.exchange.plan = plan
        venue.exchange.edits = dict.fromkeys(("order", "account"), echo) if plan not in plans else {}
        for ask in (lambda: venue.broker.submit(venue.order()), venue.broker.account):
            try:
                ask()
            except (OrderRejected, AmbiguousOutcome, UnavailableError) as error:
                texts += [str(error), repr(error), *traceback.format_exception(error)]
        venue.seconds.now += 120
    assert len(texts) > 20
    texts += [record.getMessage() for record in logged.records]
    for secret in (KEY, SECRET):
        assert not [text for text in texts if secret in text]


@pytest.mark.requirement(29)
@pytest.mark.parametrize("kind", [ExchangeClient, wrong.QuotesTheExchange, wrong.LetsCcxtLog])
def test_requirement_29(make: MakeVenue, kind: type, caplog: pytest.LogCaptureFixture) -> None:
    """Keys never appear in logs or exceptions."""
    with _expected(kind is ExchangeClient):
        check_requirement_29(make(**_subject(kind)), caplog)


# 30: answers that are none.

NO_ANSWERS = (
    Kind.HTML,
    Kind.TEXT,
    Kind.MALFORMED,
    Kind.EMPTY,
    Kind.TRUNCATED,
    Kind.REDIRECT,
    Kind.WRONG_TYPES,
)


def check_requirement_30(venue: CcxtVenue, kind: Kind) -> None:
    """An answer that is none is an UnavailableError, for every question; no redirect is followed."""
    order = venue.order()
    venue.broker.submit(order)
    venue.broker.submit(venue.order(limit=90))
    venue.broker.fills_since("")
    questions: dict[str, Callable[[], object]] = {
        "order": lambda: venue.broker.find(order.client_id),
        "openOrders": venue.broker.open_orders,
        "allOrders": lambda: venue.broker.fills_since(""),
        "account": venue.broker.account,
        "time": venue.broker.clock,
        "exchangeInfo": lambda: venue.broker.instrument("SOL-USD"),
        "myTrades": lambda: venue.broker.fills_since(""),
    }
    for path, ask in questions.items():
        if path == "myTrades" and kind is Kind.WRONG_TYPES:
            continue  # rows that cannot be read: the next test
        venue.exchange.plan = Scripted([Fault(kind)] * 3, path=f"/{path}")
        venue.restart()
        try:
            said = ask()
        except UnavailableError as error:
            assert str(error)
        else:
            raise AssertionError(f"{path}: {said}")
    assert not [asked for asked in venue.exchange.requests if not asked.path.startswith("/api/v3/")]


@pytest.mark.requirement(30)
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_requirement_30(make: MakeVenue, kind: Kind) -> None:
    """HTML, bad JSON, plain text and redirects give typed errors."""
    check_requirement_30(make(), kind)


@pytest.mark.requirement(30)
def test_requirement_30_of_a_wrong_adapter(make: MakeVenue) -> None:
    """Who takes what it cannot read for nothing is seen."""
    with pytest.raises(AssertionError):
        check_requirement_30(make(broker=wrong.ZeroWhenUnsure), Kind.HTML)


def test_trades_that_cannot_be_read_are_not_passed_over(make: MakeVenue) -> None:
    """Until a trade can be read the cursor stays before it, and none is lost."""
    venue = make()
    venue.broker.submit(venue.order())
    venue.exchange.edits["myTrades"] = lambda rows: [{**row, "qty": ["?"]} for row in rows]
    fills, cursor = venue.broker.fills_since("")
    assert list(fills) == []
    venue.exchange.edits.clear()
    assert len(venue.broker.fills_since(cursor)[0]) == 1


# 34: every fault, before and after acceptance.


class AroundTheSend:
    """Spoils the send of an order, and the look-up that follows it."""

    def __init__(self, send: Fault, look_up: Fault | None) -> None:
        """The look-up before the send goes well."""
        self._faults: list[tuple[str, Fault | None]] = [("GET", None), ("POST", send), ("GET", look_up)]

    def fault(self, method: str, path: str) -> Fault | None:
        """Take the next one, once its turn has come."""
        if not path.endswith("/order") or not self._faults or self._faults[0][0] != method:
            return None
        return self._faults.pop(0)[1]


def check_requirement_34(venue: CcxtVenue, plan: FaultPlan) -> None:
    """What is told of an order is true, and after everything that a desk does there is exactly one."""
    venue.exchange.plan = plan
    order = venue.order()  # it is filled at once: from then on its name is free at the exchange
    outcome = _outcome(venue.ccxt, order)
    there = len(venue.exchange.orders())
    assert there <= 1
    if isinstance(outcome, OrderReport):
        assert there == 1
        assert (outcome.state, outcome.filled_quantity) == (IntentState.FILLED, order.quantity)
    elif not isinstance(outcome, AmbiguousOutcome):
        assert there == 0
    venue.exchange.plan = NoFaults()
    for restart in (False, True):
        if restart:
            venue.restart()
        venue.seconds.now += (
            120  # longer than a lost request lives, and than the exchange wants to be left alone
        )
        found = venue.broker.find(order.client_id)
        assert (found is not None) == (len(venue.exchange.orders()) == 1)
        again = _outcome(venue.ccxt, order)
        assert isinstance(again, OrderReport), repr(again)
        assert len(venue.exchange.orders()) == 1
    fills = venue.broker.fills_since("")[0]
    assert [(fill.client_id, fill.quantity) for fill in fills] == [(order.client_id, order.quantity)]
    assert venue.exchange.orders()[0].client_id == exchange_id(order.client_id)
    assert venue.exchange.balance("SOL") == unscaled(order.quantity, QUANTITY_SCALE)


@pytest.mark.requirement(34)
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=str)
@pytest.mark.parametrize("look_up", [None, Fault(Kind.RESET)], ids=["seen", "unseen"])
def test_requirement_34(make: MakeVenue, fault: Fault, look_up: Fault | None) -> None:
    """Every fault before and after acceptance: never two orders, and what is told is true."""
    check_requirement_34(make(), AroundTheSend(fault, look_up))


@pytest.mark.requirement(34)
@pytest.mark.parametrize("kind", [wrong.LostIsNotSent, wrong.FreshNames, wrong.TrustsTheName])
def test_requirement_34_of_wrong_adapters(make: MakeVenue, kind: type) -> None:
    """Who sends again under a new name, or under a used one without a look, is seen."""
    with pytest.raises(AssertionError):
        plan = AroundTheSend(Fault(Kind.STATUS_504, accepted=True), Fault(Kind.RESET))
        check_requirement_34(make(broker=kind), plan)


@pytest.mark.requirement(34)
@pytest.mark.parametrize("seed", range(3))
def test_many_orders_through_many_faults(make: MakeVenue, seed: int) -> None:
    """With a fault at every second request, of every kind that does not hang, each order is there once."""
    venue = make()
    quick = [fault for fault in EVERY_FAULT if fault.kind is not Kind.HANG]
    plan = Seeded(seed, 0.5, quick)
    venue.exchange.plan = plan
    orders = [venue.order("0.2", 101 if number % 2 else 90) for number in range(40)]
    for order in orders:
        for attempt in range(60):
            if isinstance(_outcome(venue.ccxt, order), OrderReport):
                break
            venue.seconds.now += 120
            if attempt % 5 == 4:
                venue.restart()
        else:
            pytest.fail(f"{order.client_id} was never settled")
    venue.exchange.plan = NoFaults()
    venue.seconds.now += 120
    assert sum(plan.met.values()) > 50
    names = [order.client_id for order in venue.exchange.orders()]
    assert names == [exchange_id(order.client_id) for order in orders]
    filled = {order.client_id: order.quantity for order in orders if order.limit_price == 101 * PRICE_SCALE}
    assert {fill.client_id: fill.quantity for fill in venue.broker.fills_since("")[0]} == filled


def test_a_resend_waits_until_the_lost_request_is_dead(make: MakeVenue) -> None:
    """Until the exchange would refuse the first request as too old, the second is not sent."""
    venue = make()
    venue.exchange.plan = Scripted([Fault(Kind.HANG)], method="POST")
    order = venue.order(side=OrderSide.BUY)
    for _ in range(2):
        assert isinstance(_outcome(venue.ccxt, order), AmbiguousOutcome)
    assert len(_sent(venue)) == 1
    venue.seconds.now += venue.access.receive_window_ms / 1000 + venue.access.total_seconds
    assert isinstance(_outcome(venue.ccxt, order), OrderReport)
    assert len(_sent(venue)) == 2
