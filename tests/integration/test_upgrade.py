"""An upgrade that cannot be made is refused before anything is made for it."""

import asyncio
import random
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.sockets.door import Door
from gateway.sockets.server import SocketProtocol
from gateway.sockets.upgrade import serving
from tests.wire import REQUEST, Wire

PATIENCE_S = 15


async def test_an_upgrade_is_refused_before_anything_is_made_for_it() -> None:
    """It rests on what the HTTP class does with what it takes for a class."""
    door = Door(1)
    made = serving(door, random.Random(1))
    config = uvicorn.Config(_unheard, interface="asgi3", ws=made, log_config=None)
    config.load()
    wires, states = (Wire(), Wire()), [uvicorn.server.ServerState() for _ in range(2)]
    for wire, state in zip(wires, states, strict=True):
        http = HttpToolsProtocol(config, state, {})
        http.connection_made(wire)
        http.data_received(REQUEST)
    assert [type(wire.protocol) is SocketProtocol for wire in wires] == [True, False]
    assert [len(state.tasks) for state in states] == [1, 0]
    assert [len(state.connections) for state in states] == [1, 0]
    assert wires[1].closing
    assert wires[1].written[0].startswith(b"HTTP/1.1 503")
    assert (door.open, door.refused) == (1, {"full": 1})
    wires[1].protocol.data_received(b"more")
    wires[1].protocol.connection_lost(None)
    assert door.open == 1
    wires[0].protocol.connection_lost(None)
    assert door.open == 0
    await asyncio.gather(*states[0].tasks)


async def test_a_refused_peer_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sockets.upgrade.GRACE_S", 0.01)
    refusal: Any = serving(Door(0), random.Random(1))
    wire = Wire()
    wire.waiting = 1_000
    refusal(None, None, {}).connection_made(wire)
    async with asyncio.timeout(PATIENCE_S):
        await wire.aborted.wait()


async def _unheard(_: Any, receive: Any, __: Any) -> None:
    """An application that does not answer."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
