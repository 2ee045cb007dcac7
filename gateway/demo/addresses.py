"""Free ports."""

import contextlib
import errno
import os
import socket

from gateway.demo.refusal import Refusal

HOST = "127.0.0.1"


def claim(port: int) -> int:
    """Check that a port is free, before anything is started; 0 takes one that is.

    Raises:
        Refusal: it is taken, or not ours to take.
    """
    try:
        with socket.create_server((HOST, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refusal(
                f"Port {port} is taken by another program; choose one with --port."
            ) from None
        reason = os.strerror(error.errno or 0).lower()
        raise Refusal(f"Port {port} cannot be used ({reason}); choose one with --port.") from None


def free_ports(count: int) -> list[int]:
    """Different ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
