"""The cap on sockets, and what becomes of those that vanish, at a gateway that serves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
import pytest
from websockets.frames import Frame

from gateway.messages import SUBPROTOCOL
from gateway.problems import MEDIA_TYPE
from gateway.settings import Settings
from gateway.sockets.door import Door
from gateway.sockets.server import SocketProtocol
from tests.integration.conftest import UNLIMITED, Site, open_site

PATIENCE_S = 15
CAP = 50
ATTEMPTS = 200


@contextlib.asynccontextmanager
async def asking(site: Site, *headers: str) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Ask for an upgrade, with less than a client library; the first line of the answer."""
    port = site.url.rpartition(":")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    lines = (
        "GET /v1/live HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: {site.url}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    )
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(PATIENCE_S):
            line = await reader.readline()
        yield line.decode().strip(), reader
    finally:
        writer.transport.abort()


OURS = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"


@contextlib.asynccontextmanager
async def small(settings: Settings, **changes: int) -> AsyncIterator[Site]:
    async with open_site(msgspec.structs.replace(settings, **changes), UNLIMITED) as site:
        yield site


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.005)


async def test_the_cap_holds_against_a_rush_and_the_others_are_told_when_to_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    enter = Door.enter

    def counted(door: Door) -> None:
        nonlocal most
        enter(door)
        most = max(most, door.open)

    monkeypatch.setattr(Door, "enter", counted)
    async with small(settings, sockets=CAP) as site, httpx.AsyncClient() as client:
        door = site.gateway.door
        async with contextlib.AsyncExitStack() as stack:
            attempts = (stack.enter_async_context(asking(site, OURS)) for _ in range(ATTEMPTS))
            answers = await asyncio.gather(*attempts)
            assert (await client.get(f"{site.url}/livez")).status_code == 200
            assert (await client.get(f"{site.url}/readyz")).status_code == 200
            lines = [line for line, _ in answers]
            assert lines.count("HTTP/1.1 101 Switching Protocols") == CAP
            assert lines.count("HTTP/1.1 503 Service Unavailable") == ATTEMPTS - CAP
            assert (door.open, door.accepted) == (CAP, CAP)
            refused = [reader for line, reader in answers if " 503 " in line]
            waits = {await read_refusal(reader) for reader in refused}
            assert len(waits) > 2
        await until(lambda: door.open == 0)
        assert most == CAP
        async with site.shopper("ann"):
            assert door.open == 1
        assert door.refused["full"] == ATTEMPTS - CAP


async def read_refusal(reader: asyncio.StreamReader) -> int:
    """What a refusal says, which is whole; when to come back."""
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    headers = dict(line.lower().split(": ") for line in head.splitlines())
    assert headers["content-type"] == MEDIA_TYPE
    assert headers["connection"] == "close"
    assert json.loads(body)["code"] == "overloaded"
    return int(headers["retry-after"])


async def test_a_place_is_given_back_whatever_ends_an_upgrade(
    settings: Settings,
) -> None:
    """Each attempt would fill the house, were the one before not forgotten."""
    async with small(settings, sockets=1) as site:
        door = site.gateway.door
        for headers, answer in (
            (("Sec-WebSocket-Protocol: other",), "HTTP/1.1 422"),
            (("Sec-WebSocket-Version: 7", OURS), "HTTP/1.1 400"),
            ((OURS,), "HTTP/1.1 101"),
        ):
            async with asking(site, *headers) as (line, _):
                assert line.startswith(answer)
            await until(lambda: door.open == 0)
        assert (door.accepted, door.refused["invalid"], door.refused["full"]) == (1, 1, 0)


@pytest.mark.parametrize("headers", [["X-Many: 1"] * 200, ["X-Long: " + "x" * 9_000]])
async def test_an_upgrade_that_uvicorn_can_read_and_the_library_cannot_keeps_no_place(
    settings: Settings, headers: list[str]
) -> None:
    """It would neither be answered nor asked for a sign of life, and so be there for good."""
    async with small(settings, sockets=1) as site:
        async with asking(site, *headers, OURS) as (line, reader):
            assert line.startswith("HTTP/1.1 431")
            async with asyncio.timeout(PATIENCE_S):
                await reader.read()
            await until(lambda: site.gateway.door.open == 0)
        async with asking(site, OURS) as (line, _):
            assert line.startswith("HTTP/1.1 101")


@pytest.mark.parametrize("header", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_an_upgrade_with_a_body_is_answered(settings: Settings, header: str) -> None:
    async with small(settings, sockets=1) as site, asking(site, header, OURS) as (line, reader):
        assert line.startswith("HTTP/1.1 422")
        async with asyncio.timeout(PATIENCE_S):
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert json.loads(body)["code"] == "invalid"
        await until(lambda: site.gateway.door.open == 0)


async def test_a_peer_that_never_reads_is_freed_and_one_that_only_answers_pings_stays(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ping cycles pass meanwhile. What the first has not read would fill every buffer."""
    monkeypatch.setattr("gateway.sockets.server.GRACE_S", 0.5)
    pongs = 0
    handle_pong = SocketProtocol.handle_pong

    def counted(protocol: SocketProtocol, event: Frame) -> None:
        nonlocal pongs
        pongs += 1
        handle_pong(protocol, event)

    monkeypatch.setattr(SocketProtocol, "handle_pong", counted)
    async with small(settings, ping_s=1) as site, asking(site, OURS) as (line, _):
        assert " 101 " in line
        [stalled] = protocols(site)
        stalled.transport.write(bytes(30_000_000))
        unread = 0
        async with site.shopper("ann") as ann:
            stray = {"type": "stray", "words": "x" * 2_000}
            await ann.socket.send(json.dumps(stray))
            async with asyncio.timeout(1 + 1 + 0.5 + PATIENCE_S):
                while stalled in protocols(site) or pongs < 3:
                    unread = stalled.transport.get_write_buffer_size() or unread
                    assert ann.socket.close_code is None
                    await asyncio.sleep(0.02)
            assert (await ann.ask("ask", text="Still there?"))["type"] == "ok"
            assert unread > 1_000_000, "it was slow, and not stalled"
            assert site.gateway.door.open == 1


async def test_a_peer_that_ends_its_side_and_leaves_much_unread_is_freed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for no more signs of life, and may never take what waits for it."""
    monkeypatch.setattr("gateway.sockets.server.GRACE_S", 0.1)
    patient = {"ping_s": 60, "slow_grace_s": 60}
    async with small(settings, **patient) as site, site.shopper("ann") as ann:
        [stalled] = protocols(site)
        ann.socket.transport.pause_reading()
        stalled.transport.write(bytes(30_000_000))
        ann.socket.transport.write_eof()
        await until(lambda: not protocols(site) and site.gateway.door.open == 0)
        assert not ann.socket.transport.is_closing()


def protocols(site: Site) -> set[SocketProtocol]:
    return {one for one in site.server.server_state.connections if isinstance(one, SocketProtocol)}
