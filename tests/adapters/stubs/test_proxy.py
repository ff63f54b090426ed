"""The proxy on loopback leads one family of hosts to its server, and nothing else anywhere."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from aiohttp import web

from adapters.stubs.proxy import ConnectProxy
from adapters.stubs.serving import LoopbackServer


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    """Return a proxy for hosts of a family, before a server that says hello."""

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.host}")

    application = web.Application()
    application.router.add_get("/", hello)
    with LoopbackServer(application) as server:
        made = ConnectProxy(server, ".example.test")
        yield made
        made.close()


def test_a_host_of_the_family_is_the_server(proxy: ConnectProxy) -> None:
    """Whatever its name, it is the server on loopback that answers."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.set_tunnel("any.example.test", 443)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello any.example.test:443"
    connection.close()
    assert proxy.hosts == ["any.example.test"]


def test_another_host_is_refused(proxy: ConnectProxy) -> None:
    """It is no way out of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.set_tunnel("elsewhere.test", 443)
    with pytest.raises(OSError, match="403"):
        connection.request("GET", "/")
    connection.close()
    assert proxy.hosts == ["elsewhere.test"]
