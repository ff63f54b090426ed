"""The session that is given to a vendor's library keeps its limits, whatever the library asks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp import web

from adapters.stubs.faults import Fault, Kind, Scripted, fault_middleware
from adapters.stubs.serving import LoopbackServer
from adapters.vendors.exchanges import LostError
from adapters.vendors.sessions import DeadlineSession


@pytest.fixture
def scripted() -> Scripted:
    """Return the faults of the server: none until some are put in."""
    return Scripted([])


@pytest.fixture
def server(scripted: Scripted) -> Iterator[LoopbackServer]:
    """Return a server that tells a request's header and query."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"key": request.headers.get("X-Key"), "q": request.query.get("q")})

    application = web.Application(middlewares=[fault_middleware(lambda: scripted)])
    application.router.add_get("/told", answer)
    with LoopbackServer(application) as served:
        yield served


@pytest.fixture
def session() -> Iterator[DeadlineSession]:
    """Return a session with a header."""
    with DeadlineSession() as made:
        made.headers["X-Key"] = "k"
        yield made


def test_headers_and_parameters_arrive(session: DeadlineSession, server: LoopbackServer) -> None:
    """It is a session like any other where all goes well."""
    with session.within(5.0):
        answer = session.get(f"{server.url}/told", params={"q": "1"}, timeout=None)
    assert answer.ok
    assert answer.json() == {"key": "k", "q": "1"}
    assert "application/json" in answer.headers["content-type"]


def test_the_librarys_own_timeout_does_not_count(
    session: DeadlineSession, server: LoopbackServer, scripted: Scripted
) -> None:
    """A library that wants to wait for ever waits as long as it was given."""
    scripted._faults.append(Fault(Kind.HANG))
    with session.within(0.3), pytest.raises(LostError, match=r"0\.3 s"):
        session.get(f"{server.url}/told", timeout=None)


def test_all_requests_share_the_time(session: DeadlineSession, server: LoopbackServer) -> None:
    """Where no time is left nothing is sent."""
    with session.within(-1.0), pytest.raises(LostError, match="no time") as caught:
        session.get(f"{server.url}/told")
    assert not caught.value.sent


def test_a_redirect_is_not_followed(
    session: DeadlineSession, server: LoopbackServer, scripted: Scripted
) -> None:
    """A key never goes to where a redirect points."""
    scripted._faults.append(Fault(Kind.REDIRECT))
    with session.within(5.0), pytest.raises(LostError, match="redirect"):
        session.get(f"{server.url}/told", allow_redirects=True)
    assert scripted.count == 1


def test_without_a_limit_nothing_is_sent(session: DeadlineSession, server: LoopbackServer) -> None:
    """To forget the limit is a mistake that shows at once."""
    with pytest.raises(LookupError):
        session.get(f"{server.url}/told")
