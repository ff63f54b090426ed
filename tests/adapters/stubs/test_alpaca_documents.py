"""The local Alpaca answers as Alpaca's OpenAPI documents say, whatever it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from adapters.stubs.alpaca import AlpacaStub
from tests.adapters.stubs.alpaca_documents import (
    DATA,
    DOCUMENT_ERRORS,
    SERVED,
    TRADING,
    UNDOCUMENTED_STATUSES,
    check_conforms,
    document,
    served,
)
from tests.adapters.stubs.alpaca_world import TIMEOUT_SECONDS, Caller, market, order
from tests.adapters.stubs.wrong_alpaca import NumbersForStrings, TextForNumbers
from tests.shared_data import shared_data

_FIXTURES: Final = ("fixtures", "alpaca")
_EXAMPLES: Final = 8
_UNKNOWN_ID: Final = "61e69015-8549-4bfd-b9c3-01e75843f47d"


def answers(stub: AlpacaStub) -> Iterator[requests.Response]:
    """Ask all that the stub serves, in a market with orders in most states, positions, fills and bars."""
    ask = Caller(stub)
    yield ask("POST", "/v2/orders", order(qty="0.5", client_order_id="bought"))
    yield ask("POST", "/v2/orders", order("SPY", type="limit", limit_price="500.01", qty="1.5"))
    resting = ask("POST", "/v2/orders", order(type="limit", limit_price="90", client_order_id="resting"))
    yield resting
    yield ask("POST", "/v2/orders", order("ETH/USD", type="stop_limit", stop_price="60", limit_price="61"))
    yield ask("POST", "/v2/orders", order("AAPL", qty=None, notional="100"))
    replaced = ask("PATCH", f"/v2/orders/{resting.json()['id']}", {"limit_price": "91", "qty": "2"})
    yield replaced
    yield ask("DELETE", f"/v2/orders/{replaced.json()['id']}")
    yield ask("DELETE", f"/v2/orders/{replaced.json()['id']}")
    yield ask("GET", f"/v2/orders/{resting.json()['id']}")
    yield ask("GET", f"/v2/orders/{_UNKNOWN_ID}")
    yield ask("GET", "/v2/orders:by_client_order_id", client_order_id="bought")
    yield ask("GET", "/v2/orders:by_client_order_id", client_order_id="nobody")
    for status in ("open", "closed", "all"):
        yield ask("GET", "/v2/orders", status=status, nested="true", symbols="BTCUSD,ETHUSD,SPY", limit=500)
    yield ask("POST", "/v2/orders", order(client_order_id="bought"))
    yield ask("POST", "/v2/orders", order(side="sell", qty="7"))
    yield ask("POST", "/v2/orders", order(time_in_force="day"))
    for path in (
        "/v2/account",
        "/v2/positions",
        "/v2/positions/BTCUSD",
        "/v2/positions/DOGEUSD",
        "/v2/clock",
    ):
        yield ask("GET", path)
    yield ask("GET", "/v2/assets")
    yield ask("GET", "/v2/assets", asset_class="crypto", status="active")
    for name in ("SPY", "BTCUSD", "BTC%2FUSD", "ADA%2FUSD"):
        yield ask("GET", f"/v2/assets/{name}")
    yield ask("GET", "/v2/calendar", start="2025-11-01", end="2025-12-01")
    yield ask("GET", "/v2/account/activities")
    yield ask("GET", "/v2/account/activities/FILL", direction="asc", page_size=2)
    for path in ("quotes/latest", "trades/latest", "bars/latest", "snapshots"):
        yield ask("GET", f"/v2/stocks/{path}", symbols="SPY,AAPL,NONE", feed="iex")
    for path in ("latest/quotes", "latest/trades", "latest/bars", "snapshots"):
        yield ask("GET", f"/v1beta3/crypto/us/{path}", symbols="BTC/USD,ADA/USD")
    for path in ("/v2/stocks/bars", "/v1beta3/crypto/us/bars"):
        symbols = "BTC/USD" if "crypto" in path else "SPY"
        for timeframe in ("1Min", "1Hour", "1Day"):
            yield ask("GET", path, symbols=symbols, timeframe=timeframe, start="2025-11-20", limit=50)
    yield ask("GET", "/v1beta3/crypto/us/latest/quotes", symbols="BTCUSD")
    yield ask("DELETE", "/v2/positions/SPY", percentage="50")
    yield ask("DELETE", "/v2/positions", cancel_orders="true")
    yield ask("DELETE", "/v2/orders")
    yield Caller(stub, secret="wrong")("GET", "/v2/account")


def check_requirement_33(stub: AlpacaStub) -> None:
    """Check that all answers of a stub are as Alpaca's documents say."""
    for answer in answers(stub):
        check_conforms(answer)


@pytest.mark.requirement(33)
def test_answers_are_as_the_documents_say() -> None:
    """Every operation that is served, in its good and bad cases."""
    with market() as stub:
        check_requirement_33(stub)
        asked = {path for _, path, _ in stub.requests}
    assert len(asked) > 25


@pytest.mark.requirement(33)
@pytest.mark.parametrize("wrong", [NumbersForStrings, TextForNumbers])
def test_wrong_stubs_are_found(wrong: type[AlpacaStub]) -> None:
    """A stub that writes numbers for strings, or strings for numbers, fails the same check."""
    with market(wrong) as stub, pytest.raises(AssertionError, match="is not of type"):
        check_requirement_33(stub)


@pytest.mark.requirement(33)
def test_all_states_and_shapes_are_answered() -> None:
    """The good answers among those that were checked are of every operation, and orders in many states."""
    with market() as stub:
        good = [answer for answer in answers(stub) if answer.ok]
        states = {shown["status"] for answer in good for shown in _orders_of(answer)}
    assert {"pending_new", "new", "filled", "replaced", "canceled"} <= states
    for name, paths in SERVED.items():
        for path in paths:
            methods = document(name)["paths"][path].keys() & {"get", "post", "patch", "delete"}
            for method in methods:
                assert any(_is_of(answer, method, path) for answer in good), f"{method} {path}"


def _orders_of(answer: requests.Response) -> list[dict[str, Any]]:
    if "/v2/orders" not in (answer.request.url or "") or answer.status_code != 200:
        return []
    body = answer.json()
    return body if isinstance(body, list) else [body]


def _is_of(answer: requests.Response, method: str, template: str) -> bool:
    path = answer.request.path_url.partition("?")[0].split("/")
    parts = template.split("/")
    return (
        answer.request.method == method.upper()
        and len(path) == len(parts)
        and all(part.startswith("{") or part == given for part, given in zip(parts, path, strict=True))
    )


@pytest.mark.requirement(33)
@pytest.mark.parametrize("name", [TRADING, DATA])
def test_fuzzed_requests_are_answered(name: str) -> None:
    """Whatever schemathesis makes of a document, right or wrong: no failure, and answers as documented."""
    with market() as stub:
        schema = schemathesis.openapi.from_dict(served(name))
        schema.config.update(base_url=stub.url)
        ask = Caller(stub)
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @settings(
                    max_examples=_EXAMPLES,
                    derandomize=True,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def run(case: schemathesis.Case[Any]) -> None:
                    check_conforms(_sent(case, ask))

                run()
        assert len(stub.requests) > _EXAMPLES * len(SERVED[name])


def _sent(case: schemathesis.Case[Any], ask: Caller) -> requests.Response:
    arguments = case.as_transport_kwargs(headers=ask.headers)
    return requests.request(**arguments, timeout=TIMEOUT_SECONDS)


_NUMBERS: Final = st.one_of(
    st.none(),
    st.integers(-1, 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(0, 1000, places=2).map(str),
    st.sampled_from(["", "NaN", "-1", "1e-9", "1e400", "1e-400", "9" * 40, "\uff10", "0x1", True, [], {}]),
)


@pytest.mark.requirement(33)
@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    bodies=st.lists(
        st.fixed_dictionaries(
            {
                "symbol": st.sampled_from(["BTC/USD", "BTCUSD", "SPY", "BRK.B", "ADA/USD", "", None]),
                "side": st.sampled_from(["buy", "sell", "hold", None]),
                "type": st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop", 3]),
                "time_in_force": st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "never"]),
            },
            optional={
                "qty": _NUMBERS,
                "notional": _NUMBERS,
                "limit_price": _NUMBERS,
                "stop_price": _NUMBERS,
                "extended_hours": st.sampled_from([True, False, None, "yes"]),
                "client_order_id": st.sampled_from(["a", "b", "", None, "c" * 129, 5]),
                "order_class": st.sampled_from(["simple", "", "bracket", None, 1]),
            },
        ),
        max_size=6,
    )
)
def test_fuzzed_orders_are_answered(bodies: list[dict[str, Any]]) -> None:
    """Orders near the rules and far off them: no failure, and money and positions stay known."""
    with market() as stub:
        ask = Caller(stub)
        for body in bodies:
            check_conforms(ask("POST", "/v2/orders", body))
        for path in ("/v2/account", "/v2/positions", "/v2/orders?status=all", "/v2/account/activities/FILL"):
            check_conforms(ask("GET", path))


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'"qty"', b"[]"])
def test_bodies_that_are_no_orders(content: bytes) -> None:
    """Bytes that are no JSON, or no object, are refused."""
    with market() as stub:
        answer = Caller(stub).send("POST", "/v2/orders", content)
        check_conforms(answer)
        assert answer.status_code in (400, 422)


def test_real_answers_pass_the_same_check() -> None:
    """What was captured of the real service passes: the check is no stricter than Alpaca is."""
    passed = 0
    for path in sorted(shared_data(*_FIXTURES).glob("*.json")):
        fixture = json.loads(path.read_text("utf-8"))
        # What the SDK's own tests hold of trading are placeholders, such as the word "string".
        is_real = "capture" in fixture["_provenance"]["kind"] or "historical" in path.name
        if is_real and fixture["http_status"] == 200:
            check_conforms(_as_received(fixture))
            passed += 1
    assert passed > 20


def _as_received(fixture: dict[str, Any]) -> requests.Response:
    path = fixture["request"].split(" ")[-1].removeprefix("https://data.alpaca.markets")
    response = requests.Response()
    response.status_code = fixture["http_status"]
    response.headers["Content-Type"] = "application/json"
    response._content = json.dumps(fixture["body"]).encode()
    response.request = requests.Request("GET", f"http://127.0.0.1{path}").prepare()
    response.url = response.request.url or ""
    return response


def test_exceptions_are_needed_and_explained() -> None:
    """Each exception from the documents has a reason, and the document is as the reason says."""
    assert all(reason.strip() for reason in (*UNDOCUMENTED_STATUSES.values(), *DOCUMENT_ERRORS.values()))
    schemas = document(TRADING)["components"]["schemas"]
    for name in ("TradingActivities", "NonTradeActivities"):
        assert "required" not in schemas[name], f"{name} has required fields now: drop the exception"
    for path in SERVED[TRADING]:
        for operation in document(TRADING)["paths"][path].values():
            responses = operation.get("responses", {}) if isinstance(operation, dict) else {}
            assert "401" not in responses, f"{path} lists 401 now: drop the exception"
