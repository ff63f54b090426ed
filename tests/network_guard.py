"""No test leaves this machine: any address but loopback and local (Unix) sockets fails the test.

An audit hook sees what replacing ``socket.socket`` does not: ``connect_ex``, datagrams, name
look-ups and every thread.  An attempt is refused and also kept, so that code which swallows the
refusal fails its test none the less.  Libraries that open sockets in C, and child processes, are
sent to a proxy that does not exist.
"""

from __future__ import annotations

import ipaddress
import os
import sys

_ADDRESS_ARGUMENT = {
    "socket.bind": 1,
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
_NO_PROXY_THERE = "http://127.0.0.1:9"
_attempts: list[str] = []


class NetworkRefusedError(RuntimeError):
    """A test tried to reach an address that is not on this machine's loopback."""


def is_local(address: object) -> bool:
    """Say whether a socket address or a host is loopback, a Unix socket, or no address at all."""
    host = address[0] if isinstance(address, tuple) and address else address
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host == "localhost":
        return True
    if not isinstance(host, str):
        return False
    # A Unix socket's address is a path, or a name that begins with a zero.
    if "/" in host or host.startswith("\0"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    position = _ADDRESS_ARGUMENT.get(event)
    if position is None or is_local(arguments[position]):
        return
    attempt = f"{event} {arguments[position]!r}"
    _attempts.append(attempt)
    raise NetworkRefusedError(f"only loopback is allowed in tests: {attempt}")


def install() -> None:
    """Refuse everything but loopback from now on, for the rest of this process."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ[name] = os.environ[name.upper()] = _NO_PROXY_THERE
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,::1,localhost"
    sys.addaudithook(_audit)


def take_attempts() -> tuple[str, ...]:
    """Return the refused attempts since the last call and forget them."""
    taken = tuple(_attempts)
    del _attempts[: len(taken)]
    return taken
