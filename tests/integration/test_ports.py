"""Ports for servers."""

import socket
from pathlib import Path

import pytest

from gateway.sandbox import ports
from gateway.sandbox.ports import HOST, free_ports


def test_they_are_different_and_free() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        socket.create_server((HOST, port)).close()


def test_no_client_is_given_one() -> None:
    """What a system gives to connections is told by Linux alone."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not told.exists():
        pytest.skip("this system does not tell which ports it gives to connections")
    lowest = int(told.read_text().split()[0])
    assert max(free_ports(50)) < lowest


def test_there_are_not_always_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as taken:
        monkeypatch.setattr(ports, "_PORTS", (taken.getsockname()[1],))
        with pytest.raises(OSError, match="no 1 free ports"):
            free_ports(1)
