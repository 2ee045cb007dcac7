"""What our HTTP class says to whoever finds no room, on a connection in memory."""

from typing import Any

import pytest
import uvicorn

from gateway.api import hall as halls
from gateway.api.hall import Hall
from gateway.api.server import FULL, listening
from tests.wire import Wire

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halls, "_LEAST_S", 0)
    monkeypatch.setattr(halls, "_MOST_TURNED_AWAY", 0)


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def comes(hall: Hall, wire: Wire) -> Any:
    """Somebody connects."""
    config = uvicorn.Config(app, interface="asgi3", ws="none", log_config=None)
    config.load()
    newcomer: Any = listening(hall)
    protocol = newcomer(config, uvicorn.server.ServerState(), {})
    protocol.connection_made(wire)
    return protocol


async def test_who_is_one_too_many_is_answered_before_the_end() -> None:
    """Whoever is aborted hears nothing: uvloop writes at the end of its turn."""
    hall, wire = Hall(0, 60, 60, 60), Wire()
    comes(hall, wire)
    assert (wire.written, wire.closing, wire.aborted.is_set()) == ([FULL], True, False)


async def test_who_gives_way_before_its_first_request_was_read_is_told() -> None:
    hall, first, second = Hall(1, 60, 60, 60), Wire(), Wire()
    one = comes(hall, first)
    two = comes(hall, second)
    assert (first.written, first.closing, first.aborted.is_set()) == ([FULL], True, False)
    one.data_received(GET)
    assert (len(one.tasks), len(hall)) == (0, 1)
    for protocol in (one, two):
        protocol.connection_lost(None)


async def test_who_gives_way_between_two_requests_is_told_nothing() -> None:
    hall, first, second = Hall(1, 60, 60, 60), Wire(), Wire()
    one = comes(hall, first)
    one.data_received(GET)
    for task in tuple(one.tasks):
        await task
    answered = list(first.written)
    two = comes(hall, second)
    assert (first.written, first.aborted.is_set()) == (answered, True)
    for protocol in (one, two):
        protocol.connection_lost(None)
