"""Many ask for an upgrade in the same moment, at a gateway that serves."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.messages import SUBPROTOCOL
from gateway.settings import Settings
from gateway.sockets import porch
from gateway.sockets.door import Door
from gateway.sockets.porch import Make, Porch
from gateway.sockets.server import SocketProtocol, serving
from tests.integration.conftest import UNLIMITED, Site, open_site
from tests.wire import REQUEST, Wire

PATIENCE_S = 15
CAP = 120
ATTEMPTS = 200
ASK = REQUEST.replace(b"GET / ", b"GET /v1/live ").replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: %b\r\n\r\n" % SUBPROTOCOL.encode()
)


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porch, "EACH_TURN", 2)


@dataclass
class Rush:
    """All of them, and what was seen at the door meanwhile."""

    peers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    porches: set[Porch] = field(default_factory=set)
    most_waiting: int = 0
    most_open: int = 0

    @property
    def waiting(self) -> int:
        return sum(len(one.waiting) for one in self.porches)

    async def asks_and_waits(self) -> None:
        """Ends as soon as somebody has to wait."""
        for _, writer in self.peers:
            writer.write(ASK)
        async with asyncio.timeout(PATIENCE_S):
            while not self.waiting:
                await asyncio.sleep(0)

    async def answers(self) -> Counter[str]:
        """By status; empty for those who were cut."""

        async def status(reader: asyncio.StreamReader) -> str:
            with contextlib.suppress(ConnectionError):
                return (await reader.readline())[9:12].decode()
            return ""

        async with asyncio.timeout(PATIENCE_S):
            return Counter(await asyncio.gather(*(status(reader) for reader, _ in self.peers)))


@contextlib.asynccontextmanager
async def rush(site: Site, count: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rush]:
    """So many are connected, and have not asked yet."""
    port = int(site.url.rpartition(":")[2])
    connections = site.server.server_state.connections
    peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    crowd = Rush(peers)
    newcomer, enter = Porch.newcomer, Door.enter

    def comes(self: Porch, make: Make) -> asyncio.Protocol:
        made = newcomer(self, make)
        crowd.porches.add(self)
        crowd.most_waiting = max(crowd.most_waiting, len(self.waiting))
        return made

    def enters(door: Door) -> None:
        enter(door)
        crowd.most_open = max(crowd.most_open, door.open)

    monkeypatch.setattr(Porch, "newcomer", comes)
    monkeypatch.setattr(Door, "enter", enters)
    async with asyncio.timeout(PATIENCE_S):
        while len(connections) < count:
            await asyncio.sleep(0.001)
    try:
        yield crowd
    finally:
        for _, writer in peers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def roomy(settings: Settings) -> AsyncIterator[Site]:
    async with open_site(msgspec.structs.replace(settings, sockets=CAP), UNLIMITED) as site:
        yield site


async def test_all_who_fit_get_in_a_few_at_a_time_and_never_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with roomy(settings) as site:
        async with rush(site, ATTEMPTS, monkeypatch) as crowd:
            await crowd.asks_and_waits()
            assert await crowd.answers() == {"101": CAP, "503": ATTEMPTS - CAP}
            assert crowd.most_waiting > CAP / 2
            assert crowd.most_open == CAP
            assert site.gateway.door.accepted == CAP
        await eventually_empty(site.gateway.door)
        async with site.shopper("ann"):
            assert site.gateway.door.open == 1


async def test_those_who_vanish_while_they_wait_are_forgotten(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with roomy(settings) as site:
        async with rush(site, CAP, monkeypatch) as crowd:
            await crowd.asks_and_waits()
            for _, writer in crowd.peers[1::2]:
                writer.transport.abort()
            answers = await crowd.answers()
            assert answers["101"] >= CAP / 2
            door = site.gateway.door
            async with asyncio.timeout(PATIENCE_S):
                while door.open > CAP / 2:
                    await asyncio.sleep(0.005)
            assert (door.open, crowd.waiting) == (CAP / 2, 0)
            assert door.accepted < CAP, "nobody went while it waited"
        await eventually_empty(door)


async def test_a_drain_refuses_those_who_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with roomy(settings) as site:
        async with rush(site, CAP, monkeypatch) as crowd:
            await crowd.asks_and_waits()
            door, waiting = site.gateway.door, crowd.waiting
            site.gateway.drain.begin()
            answers = await crowd.answers()
            assert answers["503"] >= waiting > CAP / 2
            assert answers == {"101": door.accepted, "503": door.refused["draining"]}
        await eventually_empty(door)


async def eventually_empty(door: Door) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while door.open:
            await asyncio.sleep(0.005)
    assert door.open == 0


async def test_whoever_waits_costs_no_socket_and_no_task() -> None:
    """Until it is its turn; it rests on what the HTTP class does with what it takes for a class."""
    door, state = Door(4), uvicorn.server.ServerState()
    made = serving(door, random.Random(1))
    config = uvicorn.Config(_closes, interface="asgi3", ws=made, log_config=None)
    config.load()
    wires = [Wire() for _ in range(5)]
    for wire in wires:
        http = HttpToolsProtocol(config, state, {})
        http.connection_made(wire)
        http.data_received(REQUEST)
    assert (len(state.tasks), len(state.connections)) == (2, 2)
    assert (door.open, door.refused) == (4, {"full": 1})
    assert wires[4].closing
    async with asyncio.timeout(PATIENCE_S):
        while not all(wire.written for wire in wires):
            await asyncio.sleep(0)
    sockets = [wire.protocol for wire in wires[:4]]
    assert all(type(socket) is SocketProtocol for socket in sockets)
    for socket in sockets:
        socket.connection_lost(None)
    assert (door.open, len(state.connections)) == (0, 0)


async def _closes(_: object, receive: object, send: object) -> None:
    await receive()  # type: ignore[operator]
    await send({"type": "websocket.close"})  # type: ignore[operator]
