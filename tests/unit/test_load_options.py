"""What a load test is told besides what it plays: where its sockets are, and which keys it has."""

import argparse
import base64
import json
import socket
from pathlib import Path

import pytest

from loadtest.drop.guard import NotAllowed
from loadtest.drop.options import ADMIN_KEY, add_options, read_options
from loadtest.drop.run import Run

_CLAIMS = base64.urlsafe_b64encode(json.dumps({"shop": "corner"}).encode()).decode().rstrip("=")
KEY = f"head.{_CLAIMS}.signature"
INSIDE = "ws://gateway.holdfast.svc/v1/live"


def said(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    add_options(parser.add_argument)
    return parser.parse_args(["--host", "http://127.0.0.1:8080", *words])


def socket_url(*words: str) -> str | None:
    return read_options(said(*words), {ADMIN_KEY: KEY}).socket_url


def test_sockets_may_be_opened_elsewhere_than_tickets_say_and_no_more_freely() -> None:
    assert socket_url() is None
    with pytest.raises(NotAllowed, match="--allow-remote-host gateway"):
        socket_url("--socket-url", INSIDE)
    with pytest.raises(NotAllowed, match="ws or wss"):
        socket_url("--socket-url", "http://127.0.0.1:1")
    words = ("--socket-url", INSIDE, "--allow-remote-host", "gateway.holdfast.svc")
    assert socket_url(*words) == INSIDE


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "admin-key"
    file.write_text(f"{KEY}\n")
    assert read_options(said(), {f"{ADMIN_KEY}_FILE": str(file)}).admin_key == KEY
    with pytest.raises(NotAllowed, match="not both"):
        read_options(said(), {f"{ADMIN_KEY}_FILE": str(file), ADMIN_KEY: KEY})
    with pytest.raises(NotAllowed, match="cannot be read"):
        read_options(said(), {f"{ADMIN_KEY}_FILE": "/nowhere"})


def test_a_sandbox_that_cannot_be_reached_from_here_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://localhost:{taken.getsockname()[1]}"
    run = Run(read_options(said(), {ADMIN_KEY: KEY}), leads=True, plays=True)
    assert run._sandbox({"sandbox_url": nobody}) is None
    assert run._sandbox({"sandbox_url": "http://stripe:12111"}) is None
    assert run._sandbox({"sandbox_url": None}) is None
