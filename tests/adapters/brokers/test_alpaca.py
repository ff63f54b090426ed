"""The broker for Alpaca beyond contract and requirements: lists in pages, cursors, symbols, cancellation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.alpaca.activities import LATE_MS, FillCursor, VenueFill, cursor_of
from adapters.brokers.alpaca.assets import asset_of
from adapters.brokers.alpaca.orders import order_of
from adapters.brokers.alpaca.reading import OddRowError, instant_of, number_of, row_of
from adapters.clock import SimulatedClock
from adapters.stubs.faults import Fault, Kind, Scripted
from adapters.symbols.directory import NotServed
from adapters.symbols.registry import Registry
from adapters.vendors.alpaca import AlpacaAccess
from engine.codes import IntentState
from engine.errors import DataError, NotFoundError, UnavailableError
from engine.model import AssetClass, OrderSide
from engine.runtime.ports import AmbiguousOutcome, OrderRejected
from engine.units import QUANTITY_SCALE
from tests.adapters.brokers.alpaca_world import (
    KEY_ID,
    SECRET,
    START_MS,
    AlpacaWorld,
    order,
    price,
    quantity,
    stock_order,
)
from tests.adapters.vendors.canned import Canned, CannedServer
from tests.shared_data import shared_data

SELL = OrderSide.SELL


@pytest.fixture
def world() -> Iterator[AlpacaWorld]:
    """Return a local Alpaca with SOL-USD at 100 / 101."""
    with AlpacaWorld() as made:
        yield made


# --- lists in pages ------------------------------------------------------------------------------


def place(world: AlpacaWorld, name: str, size: str = "1", limit: str = "101") -> None:
    """Order at the venue itself: a person, or this account's agent long ago."""
    body = {"symbol": "SOL/USD", "side": "buy", "type": "limit", "time_in_force": "gtc"}
    world.stub.venue.submit({**body, "qty": size, "limit_price": limit, "client_order_id": name})


def test_all_fills_of_many_pages(world: AlpacaWorld) -> None:
    """Each once and in order, though many are of one instant, and with few questions about whose they are."""
    for number in range(230):
        place(world, f"n{number}", "0.2" if number % 2 else "0.1")
        if number % 50 == 49:
            world.quote(100, 101)
    fresh = world.open()
    asked = len(world.stub.requests)
    fills, cursor = fresh.fills_since("")
    assert [fill.client_id for fill in fills] == [f"n{number}" for number in range(230)]
    assert len({fill.fill_id for fill in fills}) == 230
    assert len(world.stub.requests) - asked == 5  # the account, three pages, one list of orders
    assert list(fresh.fills_since(cursor)[0]) == []


def test_fills_that_come_while_pages_are_read(world: AlpacaWorld) -> None:
    """Nothing is lost or doubled: the pages go forward in time."""
    for number in range(150):
        place(world, f"n{number}", "0.1")

    class FillsMeanwhile(AlpacaBroker):
        """The market trades after each page."""

        def _list(self, path: str, question: Mapping[str, object]) -> Sequence[object]:
            rows = super()._list(path, question)
            if path.endswith("FILL") and len(world.stub.venue.activities()) < 152:
                place(world, f"late{len(world.stub.venue.activities())}", "0.1")
            return rows

    reading = world.open(FillsMeanwhile)
    fills, cursor = reading.fills_since("")
    more, _ = reading.fills_since(cursor)
    names = [fill.client_id for fill in (*fills, *more)]
    assert names == [f"n{number}" for number in range(150)] + ["late150", "late151"]


def test_all_open_orders_of_many_pages(world: AlpacaWorld) -> None:
    """More than a page of them, many of one instant, the oldest first."""
    for number in range(520):
        if number % 100 == 0:
            world.quote(100, 101)
        place(world, f"n{number}", limit="11")
    reports = world.open().open_orders()
    assert [report.client_id for report in reports] == [f"n{number}" for number in range(520)]
    assert {report.state for report in reports} == {IntentState.SENT}


def test_fills_of_old_orders_are_asked_for_by_order(world: AlpacaWorld) -> None:
    """Whose a fill is does not depend on what this process has seen."""
    world.open().submit(order("old", limit=90, size=1))
    world.quote(88, 89)
    fills, _ = world.open().fills_since("")
    assert [(fill.client_id, fill.price, fill.fee) for fill in fills] == [("old", price(89), 0)]


# --- the cursor ----------------------------------------------------------------------------------


def venue_fill(number: int, at_ms: int) -> VenueFill:
    """Return a fill of that number."""
    name = f"20250801000000000::{UUID(int=number)}"
    return VenueFill(name, str(UUID(int=number)), "SOL/USD", SELL, Decimal(1), Decimal(100), at_ms)


@settings(max_examples=60)
@given(
    listings=st.lists(
        st.lists(st.tuples(st.integers(0, 5 * LATE_MS), st.integers(0, LATE_MS)), max_size=4), max_size=8
    )
)
def test_a_cursor_gives_each_fill_once(listings: list[list[tuple[int, int]]]) -> None:
    """Fills may be listed up to a minute behind later ones, and share instants; restarts keep the cursor."""
    cursor = FillCursor("00000000")
    listed: list[VenueFill] = []
    given_out: list[str] = []
    for listing in listings:
        newest_ms = max((fill.at_ms for fill in listed), default=START_MS)
        listed += [
            venue_fill(len(listed) + number, newest_ms + step - late)
            for number, (step, late) in enumerate(listing)
        ]
        answer = [fill for fill in listed if fill.at_ms > cursor.from_ms - 1000]
        given_out += [fill.fill_id for fill in answer if cursor.is_new(fill)]
        cursor = cursor_of(str(cursor.after(answer)), "00000000")
    assert sorted(given_out) == sorted(fill.fill_id for fill in listed)


@pytest.mark.parametrize("cursor", ["7.3", "ffffffff/0", "0", "x" * 1000, "00000000/1.zz"])
def test_a_cursor_of_another_account(world: AlpacaWorld, cursor: str) -> None:
    """Keys of another account, or the paper venue's cursor: no fill is passed over in silence."""
    with pytest.raises(DataError, match="another account"):
        world.open().fills_since(cursor)


def test_a_fill_whose_order_is_not_known() -> None:
    """It is given without a name, so that somebody looks, and the others are not lost."""
    order_ids = [str(UUID(int=number)) for number in (1, 2)]
    rows = [fill_row(f"a::{number}", order_ids[number], START_MS + number) for number in range(2)]
    with CannedServer() as server:
        server.answers = {
            "/v2/account": json_answer({"id": "acct", "cash": "1"}),
            "/v2/account/activities/FILL": json_answer(rows),
            f"/v2/orders/{order_ids[0]}": json_answer({"code": 40410000, "message": "not found"}, 404),
            f"/v2/orders/{order_ids[1]}": json_answer(order_row(id=order_ids[1])),
        }
        broker = canned_broker(server)
        fills, _ = broker.fills_since("")
        assert [(fill.client_id, fill.symbol) for fill in fills] == [("", "SOL-USD"), ("a", "SOL-USD")]
        assert broker.oddities


@pytest.mark.parametrize(
    "odd", [{"qty": "x"}, {"price": "0"}, {"transaction_time": None}, {"side": 1}, {"order_id": "../x"}]
)
def test_an_odd_fill_is_told_again(odd: Mapping[str, object]) -> None:
    """It does not lose the others, and comes as soon as it can be read."""
    order_id = str(UUID(int=1))
    rows = [fill_row(f"a::{number}", order_id, START_MS + number) for number in range(3)]
    with CannedServer() as server:
        server.answers = {
            "/v2/account": json_answer({"id": "acct", "cash": "1"}),
            "/v2/account/activities/FILL": [
                json_answer([rows[0], {**rows[1], **odd}, rows[2]]),
                json_answer(rows),
            ],
            f"/v2/orders/{order_id}": json_answer(order_row(id=order_id)),
        }
        broker = canned_broker(server)
        first, cursor = broker.fills_since("")
        assert [fill.fill_id for fill in first] == ["a::0", "a::2"]
        assert broker.oddities
        second, _ = broker.fills_since(cursor)
        assert [fill.fill_id for fill in second] == ["a::1"]


def test_a_list_of_fills_without_one_that_can_be_read() -> None:
    """The cursor does not go on: the call fails."""
    with CannedServer() as server:
        server.answers = {
            "/v2/account": json_answer({"id": "acct", "cash": "1"}),
            "/v2/account/activities/FILL": json_answer([{"id": 1}]),
        }
        with pytest.raises(UnavailableError, match="cannot be read"):
            canned_broker(server).fills_since("")


# --- symbols: what is held, and what it is called -------------------------------------------------


def test_shares_that_look_like_coins(world: AlpacaWorld) -> None:
    """ETH the share and ETH/USD the coin are two positions; BRK.B keeps its dot (fault 37)."""
    broker = world.open()
    for symbol in ("ETH/USD", "ETH", "BRK.B", "BTC/USD"):
        world.quote(30, 31, symbol)
    broker.submit(order("coin", symbol="ETH-USD", size=1, limit=31))
    broker.submit(stock_order("share", symbol="ETH", size=3, limit=31))
    broker.submit(stock_order("class", symbol="BRK.B", size=2, limit=31))
    broker.submit(order("btc", symbol="BTC-USD", size="0.5", limit=31))
    assert broker.account().positions == {
        "BRK.B": quantity(2),
        "BTC-USD": quantity("0.5"),
        "ETH": quantity(3),
        "ETH-USD": quantity(1),
    }
    symbols = {fill.client_id: fill.symbol for fill in broker.fills_since("")[0]}
    assert symbols == {"coin": "ETH-USD", "share": "ETH", "class": "BRK.B", "btc": "BTC-USD"}
    found = broker.find("share")
    assert found is not None
    assert found.symbol == "ETH"


def positions(*rows: Mapping[str, object]) -> Mapping[str, Canned]:
    """Return the answers of an account with positions."""
    return {
        "/v2/account": json_answer({"id": "acct", "cash": "-23140.2"}),
        "/v2/positions": json_answer(rows),
    }


HELD = {"symbol": "SPY", "asset_class": "us_equity", "asset_id": str(UUID(int=9)), "qty": "5", "side": "long"}


def test_positions_of_other_kinds_are_passed_over() -> None:
    """Options and what nobody knows yet are none of ours; short positions are below 0."""
    option = {**HELD, "symbol": "SPY251219C00600000", "asset_class": "us_option"}
    short = {**HELD, "symbol": "GLD", "qty": "-2", "side": "short"}
    with CannedServer() as server:
        server.answers = dict(positions(HELD, option, short))
        broker = canned_broker(server)
        account = broker.account()
        assert account.positions == {"SPY": 5 * QUANTITY_SCALE, "GLD": -2 * QUANTITY_SCALE}
        assert account.cash == -23_140_200_000
        assert any("us_option" in oddity for oddity in broker.oddities)


@pytest.mark.parametrize("odd", [{"qty": "many"}, {"qty": None}, {"symbol": 5}, {"asset_class": None}])
def test_a_position_that_cannot_be_read_is_not_absent(odd: Mapping[str, object]) -> None:
    """Without it we would think that we hold nothing, and buy again."""
    with CannedServer() as server:
        server.answers = dict(positions({**HELD, **odd}))
        with pytest.raises(UnavailableError, match="a position"):
            canned_broker(server).account()


def test_instruments_are_the_venues(world: AlpacaWorld) -> None:
    """Steps and minimums are read from its list, once; what is not there is not served."""
    broker = world.open()
    coin, share = broker.instrument("DOGE-USD"), broker.instrument("BRK.B")
    assert coin is not None
    assert (coin.price_step, coin.minimum_quantity) == (Decimal("1e-7"), Decimal("7.5"))
    assert (coin.asset_class, coin.calendar, coin.minimum_notional) == (
        AssetClass.CRYPTO,
        "24/7",
        Decimal(10),
    )
    assert share is not None
    assert (share.price_step, share.quantity_step, share.calendar) == (Decimal("0.01"), Decimal(1), "NYSE")
    assert broker.instrument("ADA-USD") is None
    assert isinstance(world.registry.tradable("alpaca", "ADA-USD"), NotServed)
    assert world.stub.count("GET", "/v2/assets") == 2


def test_an_order_waits_for_the_list_of_assets(world: AlpacaWorld) -> None:
    """Before it can be read nothing is refused for good, and nothing is sent."""
    broker = world.open()
    world.stub.plan = Scripted([Fault(Kind.STATUS_503)], path="/v2/assets")
    with pytest.raises(UnavailableError):
        broker.submit(order("a"))
    with pytest.raises(UnavailableError):
        world.stub.plan = Scripted([Fault(Kind.STATUS_503)], path="/v2/assets")
        broker.instrument("SOL-USD")
    assert world.stub.count("POST") == 0
    assert broker.submit(order("a")).client_id == "a"


def test_odd_assets_are_passed_over() -> None:
    """One row does not lose the list; a list without rows is no list."""
    good = {"id": str(UUID(int=1)), "class": "crypto", "symbol": "SOL/USD", "tradable": True}
    good |= {"fractionable": True, "min_order_size": "0.01"}
    with CannedServer() as server:
        server.answers = {"/v2/assets": json_answer([{**good, "tradable": "yes"}, good, 5])}
        broker = canned_broker(server)
        assert {asset.text for asset in broker.read_assets()} == {"SOL/USD"}
        assert len(broker.oddities) == 2
        server.answers = {"/v2/assets": json_answer([])}
        with pytest.raises(UnavailableError, match="empty"):
            broker.read_assets()


# --- orders of stocks ----------------------------------------------------------------------------


def test_fractions_and_small_prices(world: AlpacaWorld) -> None:
    """A fraction of a share for the day, and four decimals below a dollar, are taken."""
    broker = world.open()
    for symbol in ("SPY", "AAPL"):
        world.quote("0.4512", "0.4513", symbol)
    assert broker.submit(stock_order("f", size="2.5", limit="0.4513")).quantity == quantity("2.5")
    report = broker.find("f")
    assert report is not None
    assert (report.state, report.limit_price) == (IntentState.FILLED, price("0.4513"))
    fills, _ = broker.fills_since("")
    assert [fill.notional for fill in fills] == [1_128_250]


def test_extended_hours() -> None:
    """Before the opening a limit order for the day is filled if that was asked for, else it waits."""
    with AlpacaWorld(SimulatedClock(START_MS - 3 * 3600 * 1000)) as early:
        early.quote(500, 501, "SPY")
        early.open(extended_hours=True).submit(stock_order("now", limit=501))
        early.open().submit(stock_order("later", limit=501))
        states = {one.client_order_id: one.status for one in early.stub.venue.orders()}
        assert states == {"now": "filled", "later": "accepted"}
        coin = early.open(extended_hours=True).submit(order("coin"))
        assert coin.client_id == "coin"


def test_a_day_order_expires(world: AlpacaWorld) -> None:
    """After the session it is expired, and final."""
    broker = world.open()
    world.quote(500, 501, "SPY")
    broker.submit(stock_order("a", limit=400))
    world.clock.sleep_until(START_MS + 24 * 3600 * 1000)
    report = broker.find("a")
    assert report is not None
    assert report.state is IntentState.EXPIRED
    assert list(broker.open_orders()) == []
    broker.cancel("a")
    assert world.stub.count("DELETE") == 0


# --- cancellation and replacement ----------------------------------------------------------------


def test_a_cancellation_under_way_is_not_asked_for_again(world: AlpacaWorld) -> None:
    """One DELETE, however often the desk asks; the order is open until the venue says otherwise."""
    world.stub.venue.cancel_slowly = True
    broker = world.open()
    broker.submit(order("a", limit=90))
    for _ in range(3):
        broker.cancel("a")
    report = broker.find("a")
    assert report is not None
    assert (report.state, report.reason) == (IntentState.SENT, "pending_cancel")
    assert world.stub.count("DELETE") == 1
    world.stub.venue.settle_cancels()
    report = broker.find("a")
    assert report is not None
    assert report.state is IntentState.CANCELLED


def test_fill_and_cancellation_cross(world: AlpacaWorld) -> None:
    """The venue says that it cannot be cancelled: it is looked up, is filled, and that is no error."""

    class FilledBetween(AlpacaBroker):
        """The order is filled between the question and the cancellation."""

        def _get(self, path: str, question: Mapping[str, object]) -> object:
            answer = super()._get(path, question)
            if isinstance(answer, dict) and answer.get("status") == "new":
                world.stub.venue.fill("a", 2, 90)
            return answer

    broker = world.open(FilledBetween)
    broker.submit(order("a", limit=90))
    broker.cancel("a")
    assert world.stub.count("DELETE") == 1
    report = broker.find("a")
    assert report is not None
    assert report.state is IntentState.FILLED


def test_a_venue_that_will_not_cancel(world: AlpacaWorld) -> None:
    """The refusal is told: the order is as open as before."""

    class PendingReplace(AlpacaBroker):
        """The order is being replaced, and says so to nobody."""

        def _get(self, path: str, question: Mapping[str, object]) -> object:
            answer = super()._get(path, question)
            if isinstance(answer, dict):
                return {**answer, "status": "pending_replace"}
            return answer

    world.open().submit(order("a", limit=90))
    world.stub.venue.set_state("a", "filled")
    with pytest.raises(OrderRejected, match="refused by Alpaca"):
        world.open(PendingReplace).cancel("a")


def test_an_order_that_somebody_replaced(world: AlpacaWorld) -> None:
    """Its own part is over; the report names what stands in its place, which has a name of its own."""
    broker = world.open()
    first = broker.submit(order("a", limit=90, size=2))
    world.stub.venue.fill("a", "0.5", 90)
    world.stub.venue.replace(first.venue_id, {"limit_price": "91", "client_order_id": "b"})
    report = broker.find("a")
    assert report is not None
    assert (report.state, report.filled_quantity) == (IntentState.CANCELLED, quantity("0.5"))
    (successor,) = broker.open_orders()
    assert report.replaced_by == successor.venue_id
    assert (successor.client_id, successor.quantity) == ("b", quantity("1.5"))
    broker.cancel("a")
    assert world.stub.count("DELETE") == 0


def test_an_id_that_the_venue_forgot_meanwhile() -> None:
    """A 404 of the venue's own is NotFoundError; one of something before it is not."""
    rows = {"/v2/orders:by_client_order_id": json_answer(order_row())}
    path = f"/v2/orders/{order_row()['id']}"
    with CannedServer() as server:
        server.answers = {**rows, path: json_answer({"code": 40410000, "message": "not found"}, 404)}
        with pytest.raises(NotFoundError):
            canned_broker(server).cancel("a")
        server.answers = {**rows, path: json_answer({"message": "no Route matched"}, 404)}
        with pytest.raises(AmbiguousOutcome):
            canned_broker(server).cancel("a")


# --- the venue -----------------------------------------------------------------------------------


def test_the_clock(world: AlpacaWorld) -> None:
    """Its own time, cut off to milliseconds, and the session of New York."""
    clock = world.open().clock()
    assert clock.now_ms == world.clock.now_utc_ms()
    assert clock.is_open
    assert clock.next_close_ms == START_MS + 5 * 3600 * 1000
    assert clock.next_open_ms > clock.next_close_ms


def test_keys_that_are_refused(world: AlpacaWorld) -> None:
    """An order is certainly not taken, and may be sent when the keys are right."""
    broker = world.open()
    broker.instrument("SOL-USD")
    world.stub.secret = "another"
    for call in (lambda: broker.submit(order("a")), broker.account, lambda: broker.find("a")):
        with pytest.raises(UnavailableError, match="401"):
            call()


def test_every_request_is_counted(world: AlpacaWorld) -> None:
    """The budget is spent before each request, and may stop it."""
    spent: list[int] = []
    broker = world.open(spend=lambda: spent.append(1))
    broker.submit(order("a"))
    broker.fills_since("")
    assert len(spent) == len(world.stub.requests)

    def refuse() -> None:
        raise UnavailableError("the budget is used up")

    with pytest.raises(UnavailableError, match="budget"):
        world.open(spend=refuse).submit(order("b"))
    assert world.stub.count("POST") == 1


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2024-07-18T04:10:33.389952169-04:00", 1_721_290_233_389),
        ("2024-07-18T08:10:33Z", 1_721_290_233_000),
        ("2024-07-18T08:10:33.9Z", 1_721_290_233_900),
    ],
)
def test_instants(text: str, at_ms: int) -> None:
    """Nanoseconds are cut off, offsets reckoned with."""
    assert instant_of({"t": text}, "t") == at_ms


@pytest.mark.parametrize("value", ["2024-07-18", "2024-07-18T08:10:33", "2024-13-18T08:10:33Z", "", None, 5])
def test_instants_that_are_none(value: object) -> None:
    """A time without its zone is none."""
    with pytest.raises(OddRowError):
        instant_of({"t": value}, "t")


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "1e15", "1e-31", "1_0x", "", None, True, 1.5, [], "1e999999"]
)
def test_numbers_that_are_none(value: object) -> None:
    """Neither what is no number, nor what nobody can reckon with, nor a float."""
    with pytest.raises(OddRowError):
        number_of({"n": value}, "n")


def canonical(text: str, asset_class: AssetClass, identifier: str) -> str | None:
    """Read a symbol as an empty registry does."""
    return Registry().canonical("alpaca", text, asset_class, identifier)


@pytest.mark.parametrize(
    "name", ["get_order_by_client_id", "get_order_by_id", "get_orders", "market_order", "replace_order"]
)
def test_real_answers_are_read(name: str) -> None:
    """Orders as the library's own tests have them."""
    document = json.loads(shared_data("fixtures", "alpaca", f"order_routes__{name}.json").read_text())
    body = document["body"]
    for row in body if isinstance(body, list) else [body]:
        read = order_of(row_of(row), canonical).report
        assert read.client_id == row["client_order_id"]
        assert read.quantity == QUANTITY_SCALE * Decimal(str(row["qty"]))


def test_real_assets_are_read() -> None:
    """Steps and minimums of a capture."""
    document = json.loads(shared_data("fixtures", "alpaca", "assets_crypto_two.json").read_text())
    doge, aave = [asset_of(row) for row in document["body"]]
    assert (doge.currency, doge.price_step) == ("USDC", Decimal("1e-9"))
    assert (aave.text, aave.minimum_quantity) == ("AAVE/USD", Decimal("0.010186515"))


# --- canned answers ------------------------------------------------------------------------------


def json_answer(document: object, status: int = 200) -> Canned:
    """Return an answer of JSON."""
    return Canned(json.dumps(document).encode(), status)


def canned_broker(server: CannedServer) -> AlpacaBroker:
    """Return a broker at a server with canned answers."""
    return AlpacaBroker(AlpacaAccess(KEY_ID, SECRET, trading_url=server.url), Registry, lambda assets: None)


def order_row(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an order of the venue's."""
    return {
        "id": str(UUID(int=7)),
        "client_order_id": "a",
        "asset_id": str(UUID(int=8)),
        "symbol": "SOL/USD",
        "asset_class": "crypto",
        "side": "buy",
        "qty": "2",
        "filled_qty": "0",
        "limit_price": "90",
        "status": "new",
        "submitted_at": "2025-08-01T15:00:00Z",
        **fields,
    }


def fill_row(fill_id: str, order_id: str, at_ms: int) -> dict[str, Any]:
    """Return a fill of the venue's."""
    seconds, rest = divmod(at_ms - START_MS, 1000)
    return {
        "id": fill_id,
        "activity_type": "FILL",
        "order_id": order_id,
        "symbol": "SOL/USD",
        "side": "buy",
        "qty": "1",
        "price": "100",
        "transaction_time": f"2025-08-01T15:00:{seconds:02d}.{rest:03d}Z",
    }
