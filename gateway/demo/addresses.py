"""The port of the page: whether it is free."""

import errno
import os
import socket

from gateway.demo.refusal import Refusal
from gateway.sandbox.ports import HOST, free_ports


def claim(port: int) -> int:
    """Check that a port is free, before anything is started; 0 takes one that is.

    Raises:
        Refusal: it is taken, or not ours to take.
    """
    if not port:
        return free_ports(1)[0]
    try:
        with socket.create_server((HOST, port)):
            return port
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refusal(
                f"Port {port} is taken by another program; choose one with --port."
            ) from None
        reason = os.strerror(error.errno or 0).lower()
        raise Refusal(f"Port {port} cannot be used ({reason}); choose one with --port.") from None
