"""The rules of the local Alpaca: what it refuses, in the real one's words, and what becomes of orders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from adapters.calendar import ExchangeCalendars
from adapters.clock import SimulatedClock
from adapters.stubs.alpaca import AlpacaStub, Venue, crypto, stock
from tests.adapters.stubs.alpaca_world import (
    SATURDAY,
    THURSDAY_10H,
    Caller,
    bars,
    market,
    order,
)
from tests.shared_data import shared_data


@pytest.fixture
def stub() -> Iterator[AlpacaStub]:
    """A market with 10,000 dollars."""
    with market() as served:
        yield served


@pytest.fixture
def ask(stub: AlpacaStub) -> Caller:
    """Who asks it."""
    return Caller(stub)


def placed(ask: Caller, body: dict[str, Any]) -> dict[str, Any]:
    """Place an order that must be taken; return the answer."""
    answer = ask("POST", "/v2/orders", body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def fixture(name: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the body of a real answer."""
    return json.loads(shared_data("fixtures", "alpaca", f"{name}.json").read_text("utf-8"))["body"]


# --- refusals ----------------------------------------------------------------------------------

REFUSED = [
    # crypto
    (order(time_in_force="day"), 422, 42210000, "invalid crypto time_in_force"),
    (order(time_in_force="fok"), 422, 42210000, "invalid crypto time_in_force"),
    (order(type="stop", stop_price="120"), 422, 42210000, "invalid order type for crypto order"),
    (order(extended_hours=True), 422, 42210000, "extended_hours"),
    (order(type="limit", limit_price="90.001"), 422, 42210000, "price_increment"),
    (order(qty="0.0000000001"), 422, 42210000, "9 decimal places"),
    (order(qty="0.000001"), 403, 40310000, "minimal amount of order 0.000016"),
    (order(qty="0.09"), 403, 40310000, "cost basis must be >= minimal amount of order 10"),
    (order(qty=None, notional="9.99"), 403, 40310000, "cost basis must be >= minimal amount of order 10"),
    (order(qty="1000"), 403, 40310000, "insufficient balance for USD (requested: 100000, available: 10000)"),
    (order(side="sell"), 403, 40310000, "insufficient balance for BTC (requested: 1, available: 0)"),
    (order("ADA/USD"), 422, 42210000, 'asset "ADA/USD" not found'),
    # stocks
    (order("SPY", qty="0.5", time_in_force="gtc"), 422, 42210000, "fractional orders must be DAY orders"),
    (order("SPY", qty=None, notional="5", time_in_force="gtc"), 422, 42210000, "must be DAY orders"),
    (order("SPY", type="limit", limit_price="499.999"), 422, 42210000, "sub-penny increment"),
    (order("SPY", type="limit", limit_price="0.99999"), 422, 42210000, "sub-penny increment"),
    (order("SPY", extended_hours=True), 422, 42210000, "must be DAY limit orders"),
    (order("BRK.B", qty="0.5"), 403, 40310000, "not fractionable"),
    (order("SPY", qty="21"), 403, 40310000, "insufficient buying power"),
    (order("SPY", side="sell"), 403, 40310000, "insufficient qty available for order"),
    (order("SPY", time_in_force="opg"), 422, 42210000, "not simulated here"),
    # any
    (order(qty="0"), 422, 42210000, "qty must be > 0"),
    (order(qty="-1"), 422, 42210000, "qty must be > 0"),
    (order(qty="NaN"), 422, 40010001, "qty is not a number"),
    (order(notional="20"), 422, 40010001, "qty or notional"),
    (order(type="limit"), 422, 40010001, "limit orders require limit price"),
    (order(side=None), 422, 40010001, "side is required"),
    (order(client_order_id="x" * 129), 422, 40010001, "no more than 128 characters"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    REFUSED,
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)
def test_refusals(
    ask: Caller, stub: AlpacaStub, body: dict[str, Any], status: int, code: int, words: str
) -> None:
    """What breaks a rule is refused with its status, code and words, and leaves nothing behind."""
    answer = ask("POST", "/v2/orders", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["message"]
    assert not stub.venue.orders()
    assert stub.venue.cash == 10_000


def test_refusals_are_the_real_ones(ask: Caller) -> None:
    """The bodies that are known of the real service are the local one's."""
    short = ask("POST", "/v2/orders", order(side="sell", qty="0.008067"))
    real = fixture("err_insufficient_balance_crypto")
    assert (short.status_code, short.json() | real) == (403, short.json())
    spelling = ask("GET", "/v1beta3/crypto/us/latest/quotes", symbols="BTCUSD")
    assert (spelling.status_code, spelling.json()) == (400, fixture("err_crypto_symbol_format"))


@pytest.mark.parametrize(
    "path", ["/v2/account", "/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD", "/v2/none"]
)
def test_a_wrong_key_is_unauthorized(stub: AlpacaStub, path: str) -> None:
    """Also for what is not there; in the real one's words."""
    for ask in (Caller(stub, key_id="PK"), Caller(stub, secret="no"), Caller(stub, "", "")):
        answer = ask("GET", path)
        assert (answer.status_code, answer.json()) == (401, {"message": "unauthorized."})


def test_the_same_client_id_is_refused_for_ever(ask: Caller, stub: AlpacaStub) -> None:
    """Also after the order was cancelled, and for a replacement."""
    shown = placed(ask, order(type="limit", limit_price="50", client_order_id="one"))
    for _ in range(2):
        again = ask("POST", "/v2/orders", order(client_order_id="one"))
        assert again.status_code == 422
        assert again.json() == {"code": 40010001, "message": "client_order_id must be unique"}
        ask("DELETE", f"/v2/orders/{shown['id']}")
    other = placed(ask, order(type="limit", limit_price="50"))
    replacing = ask("PATCH", f"/v2/orders/{other['id']}", {"qty": "2", "client_order_id": "one"})
    assert replacing.json()["code"] == 40010001
    assert [one.status for one in stub.venue.orders()] == ["canceled", "new"]


def test_what_is_held_for_orders_is_told(ask: Caller, stub: AlpacaStub) -> None:
    """A second sell of the same is refused with what is held by which order, also while it is cancelled."""
    placed(ask, order("SPY", qty="10"))
    resting = placed(ask, order("SPY", side="sell", type="limit", limit_price="600", qty="8"))
    stub.venue.cancel_slowly = True
    assert ask("DELETE", f"/v2/orders/{resting['id']}").status_code == 204
    refused = ask("POST", "/v2/orders", order("SPY", side="sell", qty="10"))
    assert refused.status_code == 403
    assert refused.json() == {
        "code": 40310000,
        "message": "insufficient qty available for order (requested: 10, available: 2)",
        "symbol": "SPY",
        "existing_qty": "10",
        "available": "2",
        "held_for_orders": "8",
        "related_orders": [resting["id"]],
    }
    stub.venue.settle_cancels()
    placed(ask, order("SPY", side="sell", qty="10"))
    assert stub.venue.positions() == {}


LIMIT_90 = {"type": "limit", "limit_price": "90"}


@pytest.mark.parametrize(
    ("mine", "theirs", "kind"),
    [
        (LIMIT_90, {"side": "sell", "type": "market"}, "market/stop"),
        (
            LIMIT_90,
            {"side": "sell", "type": "stop_limit", "stop_price": "80", "limit_price": "79"},
            "market/stop",
        ),
        (LIMIT_90, LIMIT_90 | {"side": "sell"}, "limit"),
        (LIMIT_90, LIMIT_90 | {"side": "sell", "limit_price": "90.01"}, None),
    ],
)
def test_wash_trades(ask: Caller, mine: dict[str, str], theirs: dict[str, str], kind: str | None) -> None:
    """Orders that could trade with an open one of the same account are refused, crypto's too."""
    placed(ask, order(qty="2"))
    resting = placed(ask, order(**mine))
    answer = ask("POST", "/v2/orders", order(**theirs))
    if kind is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 403
    assert answer.json() == {
        "code": 40310000,
        "message": "potential wash trade detected. use complex orders",
        "existing_order_id": resting["id"],
        "reject_reason": f"opposite side {kind} order exists",
    }


# --- what becomes of orders --------------------------------------------------------------------


def test_marketable_orders_fill_at_the_quote(ask: Caller, stub: AlpacaStub) -> None:
    """A buy at the ask and a sell at the bid, exactly; the answer is of before."""
    shown = placed(ask, order(type="limit", limit_price="110", qty="0.123456789", client_order_id="in"))
    assert (shown["status"], shown["filled_qty"]) == ("pending_new", "0")
    bought = stub.venue.order("in")
    assert (bought.status, bought.filled_cost) == ("filled", Decimal("12.3456789"))
    placed(ask, order(side="sell", type="limit", limit_price="1", qty="0.023456789"))
    spent = Decimal("12.3456789") - Decimal("99.99") * Decimal("0.023456789")
    assert stub.venue.cash == 10_000 - spent
    (position,) = ask("GET", "/v2/positions").json()
    assert (position["symbol"], position["qty"], position["avg_entry_price"]) == ("BTCUSD", "0.1", "100")


def test_orders_in_money_buy_what_it_is_worth(ask: Caller, stub: AlpacaStub) -> None:
    """The quantity is cut off at nine decimals, and the order is done."""
    stub.venue.set_quote("BTC/USD", "29.99", "30")
    placed(ask, order(qty=None, notional="100", client_order_id="money"))
    done = stub.venue.order("money")
    assert (done.status, done.filled_quantity) == ("filled", Decimal("3.333333333"))
    assert stub.venue.cash == 10_000 - Decimal("99.99999999")
    assert stub.venue.held_money == 0


def test_a_resting_order_waits_for_its_price(ask: Caller, stub: AlpacaStub) -> None:
    """It holds its money, and is filled when the quote reaches its limit."""
    placed(ask, order(type="limit", limit_price="90", qty="10", client_order_id="low"))
    assert ask("GET", "/v2/account").json()["buying_power"] == "9100"
    stub.venue.set_quote("BTC/USD", "89", "90.01")
    assert stub.venue.order("low").status == "new"
    stub.venue.set_quote("BTC/USD", "88", "89.5")
    assert stub.venue.order("low").status == "filled"
    assert stub.venue.cash == 10_000 - 895


def test_stop_limits_wait_for_their_stop(ask: Caller, stub: AlpacaStub) -> None:
    """The stop is reached once; then the limit counts."""
    placed(ask, order(type="stop_limit", stop_price="105", limit_price="106", client_order_id="stop"))
    stub.venue.set_quote("BTC/USD", "104", "104.99")
    assert stub.venue.order("stop").status == "new"
    stub.venue.set_quote("BTC/USD", "106", "107")
    assert stub.venue.order("stop").status == "new"
    stub.venue.set_quote("BTC/USD", "100", "101")
    assert stub.venue.order("stop").status == "filled"


def test_partial_fills_share_by_share(ask: Caller, stub: AlpacaStub) -> None:
    """With a share set, each matching fills so much; the cumulative quantity grows to the whole."""
    stub.venue.share = Decimal("0.4")
    placed(ask, order(type="limit", limit_price="100", qty="1", client_order_id="parts"))
    seen = [stub.venue.order("parts").filled_quantity]
    while stub.venue.order("parts").is_open:
        stub.venue.match()
        seen.append(stub.venue.order("parts").filled_quantity)
    assert seen == [Decimal("0.4"), Decimal("0.8"), Decimal(1)]
    entries = ask("GET", "/v2/account/activities/FILL", direction="asc").json()
    assert [(entry["type"], entry["qty"], entry["cum_qty"], entry["leaves_qty"]) for entry in entries] == [
        ("partial_fill", "0.4", "0.4", "0.6"),
        ("partial_fill", "0.4", "0.8", "0.2"),
        ("fill", "0.2", "1", "0"),
    ]


@pytest.mark.parametrize(
    ("time_in_force", "share", "status", "filled"),
    [("ioc", "0.25", "canceled", "1"), ("fok", "0.25", "canceled", "0"), ("fok", "1", "filled", "4")],
)
def test_immediate_orders(
    ask: Caller, stub: AlpacaStub, time_in_force: str, share: str, status: str, filled: str
) -> None:
    """IOC takes what there is, FOK all or nothing; nothing waits."""
    stub.venue.share = Decimal(share)
    placed(ask, order("SPY", qty="4", time_in_force=time_in_force, client_order_id="now"))
    done = stub.venue.order("now")
    assert (done.status, done.filled_quantity) == (status, Decimal(filled))


def test_nothing_is_filled_until_asked_for(ask: Caller, stub: AlpacaStub) -> None:
    """Without automatic matching, and while a symbol is halted, orders stay new."""
    stub.venue.automatic = False
    placed(ask, order(client_order_id="held"))
    stub.venue.set_quote("BTC/USD", "10", "11")
    assert stub.venue.order("held").status == "new"
    stub.venue.halt("BTC/USD")
    stub.venue.match()
    assert stub.venue.order("held").status == "new"
    stub.venue.resume("BTC/USD")
    stub.venue.match()
    assert stub.venue.order("held").status == "filled"


def test_fills_by_hand_cross_a_cancel(ask: Caller, stub: AlpacaStub) -> None:
    """An order in pending_cancel can still be filled in part, and ends as cancelled with that."""
    shown = placed(ask, order(type="limit", limit_price="90", qty="2", client_order_id="cross"))
    stub.venue.cancel_slowly = True
    assert ask("DELETE", f"/v2/orders/{shown['id']}").status_code == 204
    stub.venue.fill("cross", "0.5", "90")
    assert stub.venue.order("cross").status == "pending_cancel"
    with pytest.raises(ValueError, match=r"has 1\.5 left"):
        stub.venue.fill("cross", 2, 90)
    assert ask("DELETE", f"/v2/orders/{shown['id']}").status_code == 422
    stub.venue.settle_cancels()
    done = ask("GET", f"/v2/orders/{shown['id']}").json()
    assert (done["status"], done["filled_qty"], done["filled_avg_price"]) == ("canceled", "0.5", "90")
    assert done["canceled_at"] is not None
    refused = ask("DELETE", f"/v2/orders/{shown['id']}")
    assert refused.json() == {"code": 42210000, "message": 'order is already in "canceled" state'}


def test_replacing_an_order(ask: Caller, stub: AlpacaStub) -> None:
    """The new order has a new id; each names the other; what the old one held is free for it."""
    shown = placed(ask, order(type="limit", limit_price="90", qty="100", client_order_id="old"))
    changed = ask("PATCH", f"/v2/orders/{shown['id']}", {"limit_price": 91, "client_order_id": "new"}).json()
    old, new = stub.venue.order("old"), stub.venue.order("new")
    assert (changed["id"], changed["replaces"], changed["limit_price"]) == (new.id, old.id, "91")
    assert (old.status, old.replaced_by, new.status) == ("replaced", new.id, "new")
    stub.venue.fill("new", 40, 91)
    third = ask("PATCH", f"/v2/orders/{new.id}", {"limit_price": "92"}).json()
    assert third["qty"] == "60"
    assert ask("PATCH", f"/v2/orders/{new.id}", {"qty": "1"}).status_code == 422
    too_dear = ask("PATCH", f"/v2/orders/{third['id']}", {"qty": "1000"})
    assert too_dear.status_code == 403
    assert ask("GET", f"/v2/orders/{third['id']}").json()["status"] == "new"


@pytest.mark.parametrize(
    "status",
    [
        "accepted",
        "pending_new",
        "new",
        "partially_filled",
        "filled",
        "done_for_day",
        "canceled",
        "expired",
        "replaced",
        "pending_cancel",
        "pending_replace",
        "accepted_for_bidding",
        "stopped",
        "rejected",
        "suspended",
        "calculated",
        "held",
        "brand_new_state",
    ],
)
def test_any_state_can_be_shown(ask: Caller, stub: AlpacaStub, status: str) -> None:
    """All seventeen, and one that nobody knows; final ones are not among the open orders."""
    stub.venue.automatic = False
    placed(ask, order(client_order_id="any"))
    stub.venue.set_state("any", status)
    assert ask("GET", "/v2/orders:by_client_order_id", client_order_id="any").json()["status"] == status
    is_open = status not in ("filled", "canceled", "expired", "replaced", "rejected")
    assert len(ask("GET", "/v2/orders", status="open").json()) == is_open


def test_orders_can_be_shown_distorted(ask: Caller, stub: AlpacaStub) -> None:
    """One odd row among good ones, for who must not lose the list."""
    placed(ask, order(client_order_id="odd"))
    placed(ask, order(client_order_id="good"))
    stub.venue.distort("odd", side="sideways", qty=None, filled_qty={})
    rows = {row["client_order_id"]: row for row in ask("GET", "/v2/orders", status="all").json()}
    assert (rows["odd"]["side"], rows["good"]["side"]) == ("sideways", "buy")


# --- time --------------------------------------------------------------------------------------


def test_stocks_wait_for_the_market_and_expire_with_it() -> None:
    """Placed on a Saturday, a DAY order is accepted, new at Monday's open and expired at its close."""
    clock = SimulatedClock(SATURDAY)
    with AlpacaStub(clock=clock, calendar=ExchangeCalendars()) as stub:
        venue, ask = stub.venue, Caller(stub)
        venue.set_quote("SPY", 499, 500)
        venue.submit(order("SPY", client_order_id="market"))
        venue.submit(order("SPY", type="limit", limit_price="400", client_order_id="low"))
        venue.submit(
            order("SPY", type="limit", limit_price="400", time_in_force="gtc", client_order_id="gtc")
        )
        venue.submit(order("SPY", time_in_force="ioc", client_order_id="ioc"))
        told = ask("GET", "/v2/clock").json()
        assert told["is_open"] is False
        assert told["next_open"] == "2025-11-24T09:30:00-05:00"
        assert told["next_close"] == "2025-11-24T16:00:00-05:00"
        assert states(venue) == {
            "market": "accepted",
            "low": "accepted",
            "gtc": "accepted",
            "ioc": "canceled",
        }
        monday_open = 1_763_994_600_000
        clock.sleep_until(monday_open)
        assert states(venue) == {"market": "filled", "low": "new", "gtc": "new", "ioc": "canceled"}
        told = ask("GET", "/v2/clock").json()
        assert (told["is_open"], told["next_open"]) == (True, "2025-11-25T09:30:00-05:00")
        clock.sleep_until(monday_open + 23_400_000)
        assert states(venue)["low"] == "expired"
        assert states(venue)["gtc"] == "new"
        shown = ask("GET", "/v2/orders:by_client_order_id", client_order_id="low").json()
        assert shown["expired_at"].startswith("2025-11-24T21:00:00")


def states(venue: Venue) -> dict[str, str]:
    """Return the state of each order."""
    return {one.client_order_id: one.status for one in venue.orders()}


def test_extended_hours_trade_limits(ask: Caller) -> None:
    """Before the open an order for extended hours trades, others wait."""
    before_open = THURSDAY_10H - 3_600_000
    with market(at_ms=before_open) as early:
        early.venue.submit(order("SPY", type="limit", limit_price="500", extended_hours=True))
        early.venue.submit(order("SPY", type="limit", limit_price="500"))
        assert [one.status for one in early.venue.orders()] == ["filled", "accepted"]


def test_the_calendar_knows_holidays_and_early_closes() -> None:
    """Thanksgiving is closed, the day after closes at one."""
    with AlpacaStub(clock=SimulatedClock(THURSDAY_10H), calendar=ExchangeCalendars()) as stub:
        days = Caller(stub)("GET", "/v2/calendar", start="2025-11-26", end="2025-11-28").json()
    assert [(day["date"], day["open"], day["close"]) for day in days] == [
        ("2025-11-26", "09:30", "16:00"),
        ("2025-11-28", "09:30", "13:00"),
    ]


# --- lists -------------------------------------------------------------------------------------


def test_fills_page_by_page(ask: Caller, stub: AlpacaStub) -> None:
    """Every fill once, in order, in both directions, also when many happen in one millisecond."""
    for i in range(25):
        placed(ask, order(qty="0.2", client_order_id=f"c{i}"))
    ids = [activity.id for activity in stub.venue.activities()]
    assert ids == sorted(ids)
    for direction in ("asc", "desc"):
        seen: list[str] = []
        while page := ask(
            "GET",
            "/v2/account/activities/FILL",
            direction=direction,
            page_size=10,
            **({"page_token": seen[-1]} if seen else {}),
        ).json():
            seen += [entry["id"] for entry in page]
        assert seen == (ids if direction == "asc" else ids[::-1])
    assert ask("GET", "/v2/account/activities/DIV").json() == []
    assert ask("GET", "/v2/account/activities/FILL", page_size=101).status_code == 422


def test_lists_of_orders(ask: Caller) -> None:
    """By state, symbol in either spelling, side, time and place; at most so many."""
    for i in range(6):
        placed(
            ask, order("BTC/USD" if i % 2 else "SPY", type="limit", limit_price="50", client_order_id=f"o{i}")
        )

    def listed(**query: str | int) -> list[str]:
        return [row["client_order_id"] for row in ask("GET", "/v2/orders", **query).json()]

    assert listed() == ["o5", "o4", "o3", "o2", "o1", "o0"]
    assert listed(direction="asc", limit=2) == ["o0", "o1"]
    assert listed(symbols="BTCUSD", direction="asc") == listed(symbols="BTC/USD", direction="asc")
    assert listed(symbols="SPY", side="buy", direction="asc") == ["o0", "o2", "o4"]
    assert listed(status="closed") == []
    assert listed(after="2025-11-20T14:59:59Z", limit=1) == ["o5"]
    assert listed(after="2025-11-20T15:00:01Z") == []
    third = ask("GET", "/v2/orders:by_client_order_id", client_order_id="o2").json()["id"]
    assert listed(after_order_id=third, direction="asc") == ["o3", "o4", "o5"]
    for query in ({"limit": 0}, {"limit": 501}, {"status": "some"}, {"direction": "up"}, {"after": "soon"}):
        assert ask("GET", "/v2/orders", **query).status_code == 422, query


def test_assets_are_those_of_the_registry(ask: Caller, stub: AlpacaStub) -> None:
    """ADA is not served; a coin and a stock of one name are told apart; more can be added."""
    pairs = {row["symbol"] for row in ask("GET", "/v2/assets", asset_class="crypto").json()}
    stocks = {row["symbol"] for row in ask("GET", "/v2/assets").json()}
    assert {"BTC/USD", "DOGE/USD", "SHIB/USD", "USDT/USD", "LINK/USD"} <= pairs
    assert {"SPY", "GLD", "BRK.B", "LINK", "ETH"} <= stocks
    assert "ADA/USD" not in pairs
    assert ask("GET", "/v2/assets/ADA%2FUSD").status_code == 404
    stub.venue.add_asset(crypto("ADA/USD", min_order_size="2"))
    assert ask("GET", "/v2/assets/ADAUSD").json()["min_order_size"] == "2"
    by_name = ask("GET", "/v2/assets/LINK").json()
    assert (by_name["class"], ask("GET", f"/v2/assets/{by_name['id']}").json()) == ("us_equity", by_name)


def test_assets_by_argument() -> None:
    """Five hundred more, beside those that are always there."""
    more = [
        crypto(f"{'ABCDEFGHIJ'[i // 50]}{'ABCDEFGHIJ'[i // 10 % 5]}{'ABCDEFGHIJ'[i % 10]}C/USD")
        for i in range(500)
    ]
    with market(assets=[*more, stock("MSFT")]) as stub:
        assert {"ABAC/USD", "MSFT", "BTC/USD"} <= {asset.symbol for asset in stub.venue.assets()}


# --- market data -------------------------------------------------------------------------------


def test_unknown_symbols_are_silently_absent(ask: Caller, stub: AlpacaStub) -> None:
    """As at the real one; numbers are numbers, times have nanoseconds and are the quote's own."""
    stub.venue.set_quote("SHIB/USD", "0.00000849", "0.0000085", at_ms=THURSDAY_10H - 61_000)
    quotes = ask("GET", "/v1beta3/crypto/us/latest/quotes", symbols="SHIB/USD,ADA/USD").json()["quotes"]
    assert list(quotes) == ["SHIB/USD"]
    assert (quotes["SHIB/USD"]["bp"], quotes["SHIB/USD"]["ap"]) == (0.00000849, 0.0000085)
    assert quotes["SHIB/USD"]["t"] == "2025-11-20T14:58:59.000661592Z"
    assert ask("GET", "/v2/stocks/quotes/latest", symbols="NONE").json() == {"quotes": {}}
    stub.venue.remove_quote("SHIB/USD")
    assert ask("GET", "/v1beta3/crypto/us/latest/trades", symbols="SHIB/USD").json() == {"trades": {}}


def test_bars_page_by_page(ask: Caller, stub: AlpacaStub) -> None:
    """Every bar of several symbols once, symbol after symbol, in both directions."""
    stub.venue.set_bars("ETH/USD", bars(7))
    query = {"symbols": "ETH/USD,BTC/USD,ADA/USD", "timeframe": "1Min", "start": "2025-11-20T00:00:00Z"}
    for sort in ("asc", "desc"):
        seen: list[tuple[str, str]] = []
        token: str | None = ""
        while token is not None:
            answer = ask(
                "GET",
                "/v1beta3/crypto/us/bars",
                limit=50,
                sort=sort,
                page_token=token,
                **query,
            ).json()
            seen += [(symbol, bar["t"]) for symbol, found in answer["bars"].items() for bar in found]
            token = answer["next_page_token"]
        assert len(seen) == len(set(seen)) == 187
        assert [symbol for symbol, _ in seen] == ["BTC/USD"] * 180 + ["ETH/USD"] * 7
        times = [at for symbol, at in seen if symbol == "BTC/USD"]
        assert times == sorted(times, reverse=sort == "desc")


def test_longer_bars_are_made_of_minutes(ask: Caller) -> None:
    """An hour's bar has its first open, its extremes, its last close and its whole volume."""
    answer = ask(
        "GET",
        "/v2/stocks/bars",
        symbols="SPY",
        timeframe="1Hour",
        start="2025-11-20",
        end="2025-11-20T12:59:59Z",
    ).json()
    (bar,) = answer["bars"]["SPY"]
    assert (bar["t"], bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]) == (
        "2025-11-20T12:00:00Z", 100.0, 101.59, 99.0, 101.09, 600
    )  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        {"timeframe": "1Min"},
        {"symbols": "SPY", "timeframe": "7Years"},
        {"symbols": "SPY", "timeframe": "1Min", "limit": 10_001},
        {"symbols": "SPY", "timeframe": "1Min", "start": "once"},
        {"symbols": "SPY", "timeframe": "1Min", "page_token": "nonsense"},
        {"symbols": "SPY", "timeframe": "1Min", "feed": "none"},
    ],
)
def test_bad_questions_about_bars(ask: Caller, query: dict[str, Any]) -> None:
    """Each is a 400 that says what is wrong."""
    answer = ask("GET", "/v2/stocks/bars", **query)
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_recent_sip_data_must_be_paid_for(ask: Caller) -> None:
    """The free account reads the feed iex, and older data of sip."""
    assert ask("GET", "/v2/stocks/quotes/latest", symbols="SPY", feed="sip").status_code == 403
    assert ask("GET", "/v2/stocks/quotes/latest", symbols="SPY", feed="iex").status_code == 200
    query: dict[str, Any] = {"symbols": "SPY", "timeframe": "1Min", "feed": "sip", "start": "2025-11-20"}
    assert ask("GET", "/v2/stocks/bars", **query).status_code == 403
    assert ask("GET", "/v2/stocks/bars", end="2025-11-20T14:00:00Z", **query).status_code == 200


# --- the server --------------------------------------------------------------------------------


def test_a_minute_has_so_many_requests() -> None:
    """The headers count down; then 429 until the clock's next minute."""
    clock = SimulatedClock(THURSDAY_10H)
    with AlpacaStub(clock=clock, requests_per_minute=2) as stub:
        ask = Caller(stub)
        answers = [ask("GET", "/v2/clock") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
        reset = int(answers[-1].headers["X-RateLimit-Reset"])
        assert reset * 1000 == THURSDAY_10H + 60_000
        clock.sleep_until(reset * 1000)
        assert ask("GET", "/v2/clock").status_code == 200


def test_other_paths_and_methods(ask: Caller) -> None:
    """They are told to be none, as JSON."""
    assert ask("GET", "/v2/watchlists").json() == {"message": "endpoint not found."}
    assert ask("PUT", "/v2/orders").status_code == 405
