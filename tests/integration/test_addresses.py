"""The port of the demo's page."""

import socket

import pytest

from gateway.demo.addresses import claim
from gateway.demo.refusal import Refusal
from gateway.sandbox.ports import HOST


def test_a_taken_port_is_named_in_one_sentence() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=rf"^Port {port} is taken by another program; [^\n]+\.$"):
            claim(port)
    assert claim(port) == port


def test_port_0_takes_a_free_one() -> None:
    assert claim(0) > 0
