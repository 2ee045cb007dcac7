"""Ports for servers on this machine."""

import contextlib
import secrets
import socket

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections (on Linux from 32,768): a port that was
free a moment ago is not taken by the next of thousands of clients."""
_MOST_TRIES = 1_000


def free_ports(count: int) -> list[int]:
    """Different ports that were free a moment ago.

    Raises:
        OSError: there are not so many.
    """
    found: list[int] = []
    with contextlib.ExitStack() as probes:
        for _ in range(_MOST_TRIES):
            if len(found) == count:
                return found
            port = _PORTS[secrets.randbelow(len(_PORTS))]
            with contextlib.suppress(OSError):
                probes.enter_context(socket.create_server((HOST, port)))
                found.append(port)
    raise OSError(f"no {count} free ports on {HOST}")
