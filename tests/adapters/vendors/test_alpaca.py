"""Alpaca's library, made safe: its real clients at servers that answer well, badly, late and never."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.vendors import exchanges
from adapters.vendors.alpaca import (
    AlpacaAccess,
    AlpacaAmbiguous,
    AlpacaError,
    AlpacaRefused,
    AlpacaUnavailable,
    Guarded,
    RateLimit,
    crypto_client,
    stock_client,
    trading_client,
)
from engine.errors import ConfigurationError
from tests.adapters.vendors.canned import Canned, CannedServer, DrippingServer

if TYPE_CHECKING:
    from alpaca.common.rest import RESTClient

KEY_ID, SECRET = "PKSENTINELKEYID00002", "sentinelSecretNeverToBeSeenAnywhere000002"
NOW_SECONDS = 1_754_060_400
PATIENCE_SECONDS = 5.0

MAKERS: dict[str, Callable[..., Guarded[Any]]] = {
    "trading": trading_client,
    "stock": stock_client,
    "crypto": crypto_client,
}
"""Each client that is made safe."""


@pytest.fixture
def server() -> Iterator[CannedServer]:
    """Return a server with canned answers."""
    with CannedServer() as made:
        yield made


def access(url: str, **changes: Any) -> AlpacaAccess:  # noqa: ANN401 - fields of several types
    """Return how a server is reached."""
    return replace(AlpacaAccess(KEY_ID, SECRET, trading_url=url, data_url=url), **changes)


def path_of(client: RESTClient) -> str:
    """Return the path of a question to a client."""
    return f"/{client._api_version}/x"


def ask(guarded: Guarded[Any], method: str = "get") -> object:
    """Ask a client something."""
    answer: object = getattr(guarded.client, method)("/x")
    return answer


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_exact_numbers_with_the_keys_in_headers(server: CannedServer, name: str) -> None:
    """Numbers are what was written, also where no float could hold them."""
    guarded = MAKERS[name](access(server.url))
    server.answers[path_of(guarded.client)] = Canned(b'{"p": 0.1000000000000000000001, "n": 3, "big": 1e3}')
    assert ask(guarded) == {"p": Decimal("0.1000000000000000000001"), "n": 3, "big": Decimal(1000)}
    guarded.close()


def test_pages_of_market_data_are_exact(server: CannedServer) -> None:
    """The library's own methods read through it."""
    from alpaca.data.requests import StockLatestQuoteRequest

    server.answers["/v2/stocks/quotes/latest"] = Canned(b'{"quotes": {"SPY": {"bp": 512.07, "ap": 512.1}}}')
    guarded = stock_client(access(server.url))
    quotes = guarded.client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=["SPY"]))
    assert quotes == {"SPY": {"bp": Decimal("512.07"), "ap": Decimal("512.1")}}
    assert server.asked[0].query["symbols"] == "SPY"


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (401, b'{"message": "unauthorized."}', None, "unauthorized."),
        (403, b'{"code": 40310000, "message": "insufficient buying power"}', 40310000, None),
        (422, b'{"code": 42210000, "message": "a\\u001b[31m\\nb"}', 42210000, "a [31m b"),
        (400, b'{"message": "invalid symbol: BTCUSD"}', None, "invalid symbol: BTCUSD"),
        (404, b'{"code": "40410000", "message": "x"}', None, "x"),
    ],
)
def test_refusals_have_a_status_a_code_and_a_sentence(
    server: CannedServer, status: int, body: bytes, code: int | None, message: str | None
) -> None:
    """Also where the library's own error would raise when it is asked for its code."""
    server.answers["/v2/x"] = Canned(body, status)
    guarded = trading_client(access(server.url))
    for method in ("get", "post", "delete"):
        with pytest.raises(AlpacaRefused) as caught:
            ask(guarded, method)
        assert (caught.value.status, caught.value.code) == (status, code)
        assert message in (None, caught.value.message)
        assert str(status) in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_errors_that_tell_nothing(server: CannedServer, status: int) -> None:
    """A question is unanswered; a write may have been done."""
    server.answers["/v2/x"] = Canned(b'{"code": 1, "message": "later"}', status, {"Retry-After": "7"})
    guarded = trading_client(access(server.url))
    with pytest.raises(AlpacaUnavailable) as caught:
        ask(guarded)
    assert caught.value.retry_after_seconds == 7
    for method in ("post", "patch", "put", "delete"):
        with pytest.raises(AlpacaAmbiguous):
            ask(guarded, method)
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.5", 0.5),
        ("-3", None),
        (formatdate(NOW_SECONDS + 30, usegmt=True), 30.0),
        ("soon", None),
        ("", None),
        ("NaN", None),
        ("Infinity", None),
        ("1e999999", None),
    ],
)
def test_when_to_ask_again(server: CannedServer, text: str, seconds: float | None) -> None:
    """Seconds, or an instant by the server's own clock; nothing where it cannot be read."""
    headers = {"Retry-After": text, "Date": formatdate(NOW_SECONDS, usegmt=True)}
    server.answers["/v2/x"] = Canned(b"{}", 503, headers)
    with pytest.raises(AlpacaUnavailable) as caught:
        ask(trading_client(access(server.url)))
    assert caught.value.retry_after_seconds == seconds


def test_an_answer_without_end(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken into memory."""
    monkeypatch.setattr(exchanges, "MAXIMUM_BYTES", 1000)
    server.answers["/v2/x"] = Canned(b"[" + b"1," * 1000 + b"1]")
    with pytest.raises(AlpacaUnavailable, match="more than"):
        ask(trading_client(access(server.url)))


# --- the limit of requests -----------------------------------------------------------------------


def limited(remaining: str, reset: str) -> Canned:
    """Return an answer that tells of the limit."""
    headers = {
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": remaining,
        "X-RateLimit-Reset": reset,
        "Date": formatdate(NOW_SECONDS, usegmt=True),
    }
    return Canned(b"{}", 200, headers)


def test_the_limit_is_exposed(server: CannedServer) -> None:
    """As the last answer told it."""
    guarded = trading_client(access(server.url))
    assert guarded.rate_limit is None
    server.answers["/v2/x"] = limited("17", str(NOW_SECONDS + 20))
    ask(guarded)
    assert guarded.rate_limit == RateLimit(limit=200, remaining=17, renewed_seconds=20.0)


def test_a_limit_that_is_used_up_is_honoured(server: CannedServer) -> None:
    """Until it is renewed nothing is sent, and a write was certainly not done."""
    guarded = trading_client(access(server.url))
    server.answers["/v2/x"] = limited("0", str(NOW_SECONDS + 20))
    ask(guarded)
    for method in ("get", "post"):
        with pytest.raises(AlpacaUnavailable) as caught:
            ask(guarded, method)
        assert caught.value.retry_after_seconds is not None
        assert 0 < caught.value.retry_after_seconds <= 20
    assert len(server.asked) == 1


@pytest.mark.parametrize("reset", ["-1", "x", "", "9" * 30, str(NOW_SECONDS - 5)])
def test_a_limit_that_makes_no_sense_stops_nobody(server: CannedServer, reset: str) -> None:
    """One that is over, or cannot be read."""
    guarded = trading_client(access(server.url))
    server.answers["/v2/x"] = limited("0", reset)
    ask(guarded)
    ask(guarded)
    assert len(server.asked) == 2


def test_a_reset_in_a_far_future_is_believed_for_a_minute(server: CannedServer) -> None:
    """The venue counts by the minute."""
    guarded = trading_client(access(server.url))
    server.answers["/v2/x"] = limited("0", str(NOW_SECONDS + 10**6))
    ask(guarded)
    with pytest.raises(AlpacaUnavailable) as caught:
        ask(guarded)
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds <= 60


# --- an end --------------------------------------------------------------------------------------


@pytest.mark.requirement(3)
@pytest.mark.parametrize("name", MAKERS)
def test_requirement_3(name: str) -> None:
    """Each client comes back from a server that drips, and leaves nothing behind."""
    with DrippingServer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n") as server:
        guarded = MAKERS[name](access(server.url, total_seconds=0.3))
        with pytest.raises(AlpacaUnavailable, match=r"0\.3 s"):
            ask(guarded)
        assert server.ended.wait(PATIENCE_SECONDS)
        with pytest.raises(AlpacaAmbiguous):
            ask(guarded, "post")
    for thread in threading.enumerate():
        if thread.name.startswith("request "):
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def test_a_name_that_does_not_resolve_in_time(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call comes back; and when the name is resolved at last, nothing is sent any more."""
    resolved, resolve = threading.Event(), socket.getaddrinfo

    def slowly(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as in socket
        assert resolved.wait(PATIENCE_SECONDS)
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    server.answers["/v2/x"] = Canned(b"{}")
    guarded = trading_client(access(server.url, total_seconds=0.2))
    with pytest.raises(AlpacaUnavailable, match="no whole answer"):
        ask(guarded, "post")
    late = [thread for thread in threading.enumerate() if thread.name == "request POST"]
    resolved.set()
    for thread in late:
        thread.join(PATIENCE_SECONDS)
    assert len(late) == 1
    assert not late[0].is_alive()
    assert server.asked == []


def test_within_counts_for_all_requests_of_a_block(server: CannedServer) -> None:
    """What is used up is not asked; blocks inside each other keep to the shortest."""
    server.answers["/v2/x"] = Canned(b"{}")
    guarded = trading_client(access(server.url))
    with guarded.within(30.0) as client:
        assert client.get("/x") == {}
        with guarded.within(0.0), guarded.within(30.0), pytest.raises(AlpacaUnavailable, match="no time"):
            client.get("/x")
        assert client.get("/x") == {}
    assert len(server.asked) == 2


def test_a_server_that_is_not_there() -> None:
    """Neither a question nor a write reached anybody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    guarded = trading_client(access(url))
    for method in ("get", "post"):
        with pytest.raises(AlpacaUnavailable, match="refuses connections"):
            ask(guarded, method)


def test_a_connection_that_is_lost_while_a_write_is_under_way() -> None:
    """It may have been done."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def hang_up() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                connection.recv(65536)
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        guarded = trading_client(access(url))
        with pytest.raises(AlpacaAmbiguous, match="connection was lost"):
            ask(guarded, "post")
        with pytest.raises(AlpacaUnavailable, match="connection was lost"):
            ask(guarded)
        thread.join(PATIENCE_SECONDS)


# --- where it goes, and with what ----------------------------------------------------------------


def test_nothing_is_taken_from_the_environment(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No proxy, no password file, no certificates: orders go where the settings say."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("APCA_API_BASE_URL", "http://127.0.0.1:9")
    server.answers["/v2/x"] = Canned(b"{}")
    assert ask(trading_client(access(server.url))) == {}


def test_another_address_than_that_of_the_settings(server: CannedServer) -> None:
    """A request that the library makes for another server is not sent: the keys would go with it."""
    guarded = trading_client(access(server.url))
    with pytest.raises(ConfigurationError, match="another address"):
        guarded.client._request("GET", "/x", base_url="http://127.0.0.1:9")
    guarded.client._base_url = f"{server.url}.evil.example"
    with pytest.raises(ConfigurationError, match="another address"):
        ask(guarded)
    assert server.asked == []


@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("name", ["connect_seconds", "read_seconds", "total_seconds"])
def test_timeouts_must_be_positive(name: str, seconds: float) -> None:
    """There is no way to wait for ever."""
    with pytest.raises(ConfigurationError, match="timeouts"):
        access("http://127.0.0.1:1", **{name: seconds})


def test_the_budget_is_asked_first(server: CannedServer) -> None:
    """What it raises is what comes out, and nothing is sent."""

    def spend() -> None:
        raise AlpacaUnavailable("the budget is used up", 3.0)

    with pytest.raises(AlpacaUnavailable, match="budget"):
        ask(trading_client(access(server.url), spend), "post")
    assert server.asked == []


def test_the_library_does_not_repeat_anything(server: CannedServer) -> None:
    """Its three attempts more are off in each client, also for questions."""
    for make in MAKERS.values():
        guarded = make(access(server.url))
        server.answers[path_of(guarded.client)] = Canned(b"{}", 504)
        started = time.monotonic()
        with pytest.raises(AlpacaUnavailable):
            ask(guarded)
        assert guarded.client._retry == 0
        assert time.monotonic() - started < PATIENCE_SECONDS
    assert len(server.asked) == len(MAKERS)


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.requirement(29)
@pytest.mark.parametrize("name", MAKERS)
def test_requirement_29(server: CannedServer, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No key is in what any client raises or shows, even if the server sends it back."""
    caplog.set_level("DEBUG")
    settings = access(server.url)
    guarded = MAKERS[name](settings)
    echo = f"{KEY_ID} {SECRET}".encode()
    shown = [repr(settings), str(settings), repr(guarded), repr(guarded.client)]
    for status in (200, 302, 400, 401, 403, 404, 422, 429, 500):
        for body in (b'{"code": 1, "message": "%s"}' % echo, b"<%s>" % echo):
            headers = {"Location": f"/?{SECRET}", "Retry-After": SECRET}
            server.answers[path_of(guarded.client)] = Canned(body, status, headers, f"text/{SECRET}")
            for method in ("get", "post", "delete"):
                try:
                    shown.append(repr(ask(guarded, method)))
                except AlpacaError as error:
                    shown.append("".join(traceback.format_exception(error)) + repr(vars(error)))
    shown.append(caplog.text)
    assert len(shown) == 5 + 9 * 2 * 3
    for text in shown:
        assert KEY_ID not in text
        assert SECRET not in text


@pytest.mark.requirement(30)
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "answer",
    [
        Canned(b"<html></html>", 200, {}, "text/html"),
        Canned(b"ok", 200, {}, "text/plain"),
        Canned(b"{", 200),
        Canned(b"", 200),
        Canned(b"", 302, {"Location": "/elsewhere"}),
        Canned(b"<html></html>", 403, {}, "text/html"),
    ],
    ids=["HTML", "text", "half", "nothing", "redirect", "HTML 403"],
)
def test_requirement_30(server: CannedServer, name: str, answer: Canned) -> None:
    """What is no answer of the venue's is a typed error, and a redirect is not followed."""
    guarded = MAKERS[name](access(server.url))
    server.answers[path_of(guarded.client)] = answer
    with pytest.raises(AlpacaUnavailable):
        ask(guarded)
    with pytest.raises(AlpacaAmbiguous):
        ask(guarded, "post")
    assert all(asked.path != "/elsewhere" for asked in server.asked)
