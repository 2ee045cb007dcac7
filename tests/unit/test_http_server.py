"""What our HTTP class does on a connection in memory: who finds no room, who becomes a socket."""

import asyncio
from typing import Any

import pytest
import uvicorn

from gateway.api import hall as halls
from gateway.api.hall import Hall
from gateway.api.server import FULL, listening
from tests.wire import REQUEST, Wire

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halls, "_LEAST_S", 0)
    monkeypatch.setattr(halls, "_MOST_TURNED_AWAY", 0)
    monkeypatch.setattr(halls, "LOOKS_EVERY_S", 0.001)


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Socket(asyncio.Protocol):
    """In place of ours."""

    def __init__(self, **_: Any) -> None:
        self.said = b""

    def data_received(self, data: bytes) -> None:
        self.said += data


def comes(hall: Hall, wire: Wire) -> Any:
    """Somebody connects."""
    config = uvicorn.Config(app, interface="asgi3", ws=Socket, log_config=None)
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


async def test_who_becomes_a_socket_is_not_counted_any_more() -> None:
    hall, wire = Hall(1, 60, 60, 60), Wire()
    http = comes(hall, wire)
    assert len(hall) == 1
    http.data_received(REQUEST)
    assert wire.protocol.said.startswith(b"GET / HTTP/1.1\r\n")
    assert (len(hall), hall.cut) == (0, 0)
    async with asyncio.timeout(10):
        while hall._timer:
            await asyncio.sleep(0.001)


async def test_nobody_becomes_a_socket_who_waits_for_an_answer() -> None:
    """It would be written into the socket, and the connection be waited for for ever."""
    hall, wire = Hall(1, 60, 60, 60), Wire()
    http = comes(hall, wire)
    http.data_received(GET + REQUEST)
    await asyncio.gather(*http.tasks)
    assert (wire.protocol, wire.aborted.is_set(), len(hall), hall._silent) == (None, True, 0, {})
