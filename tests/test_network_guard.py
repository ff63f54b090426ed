"""The guard that keeps every test on this machine."""

from __future__ import annotations

import socket

import pytest

from tests import network_guard


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1", 80), ("::1", 80, 0, 0), "localhost", None, b"127.0.0.1", "/run/socket", "\0abstract"],
)
def test_loopback_and_local_sockets_are_local(address: object) -> None:
    """Loopback, Unix sockets and no address at all are allowed."""
    assert network_guard.is_local(address)


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 80), ("", 80), ("2001:db8::1", 80, 0, 0), "example.com", b"192.0.2.1"]
)
def test_everything_else_is_not(address: object) -> None:
    """Addresses, names and the wildcard that lead out of this machine are not."""
    assert not network_guard.is_local(address)


def test_an_attempt_is_refused_and_kept() -> None:
    """Connecting, looking up and sending are refused before a packet leaves, and remembered."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(network_guard.NetworkRefusedError):
            stream.connect_ex(("192.0.2.1", 80))
        with pytest.raises(network_guard.NetworkRefusedError):
            datagrams.sendto(b"x", ("192.0.2.1", 9))
    with pytest.raises(network_guard.NetworkRefusedError):
        socket.getaddrinfo("example.com", 80)
    assert len(network_guard.take_attempts()) == 3


def test_loopback_works() -> None:
    """A connection over loopback is let through."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        connection, _ = server.accept()
        connection.close()
    assert network_guard.take_attempts() == ()
