"""Our mends to uvicorn's WebSocket class, and a watch on the base class they rest on."""

import asyncio
import logging

import msgspec
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.news import News, publish
from gateway.sockets.server import SocketProtocol
from tests.integration.conftest import Site

PATIENCE_S = 15


def test_the_base_class_is_as_we_know_it() -> None:
    for name in ("connection_made", "send", "keepalive_timeout", "shutdown"):
        assert callable(vars(WebSocketsSansIOProtocol)[name])
    names = set(WebSocketsSansIOProtocol.__init__.__code__.co_names)
    assert {"handshake_complete", "close_sent", "transport", "loop", "conn"} <= names


async def test_a_refused_upgrade_is_not_logged_as_an_error(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(InvalidStatus) as refused:
        await connect(site.socket_url)
    assert refused.value.response.status_code == 422
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_no_frame_no_header_and_no_unknown_address_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with site.shopper("ann") as ann:
        await ann.ask("ask", text="the-secret-of-ann")
    for address in (f"{site.socket_url}/the-secret-of-ann", f"{site.url}/?the-secret-of-ann"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(address.replace("http", "ws"))
        assert refused.value.response.status_code == 403
    logged = [one.getMessage() for one in caplog.records if one.name == "uvicorn.error"]
    assert any("/v1/live" in line for line in logged)
    assert not any("secret" in line or "Bearer" in line for line in logged)


async def test_a_peer_that_never_reads_again_is_freed(site: Site) -> None:
    """An orderly close would wait for ever: its buffers are full and nobody empties them."""
    large = msgspec.Raw(msgspec.json.encode("x" * 300_000))
    async with site.shopper("ann") as ann:
        ann.socket.transport.pause_reading()
        for _ in range(60):
            news = News(shopper="ann", frame=large)
            await publish(site.rooms.lane, site.shop, news)
        async with asyncio.timeout(PATIENCE_S):
            while any(isinstance(one, SocketProtocol) for one in connections(site)):
                await publish(site.rooms.lane, site.shop, News(shopper="ann", frame=large))
                await asyncio.sleep(0.02)
        ann.socket.transport.abort()


def connections(site: Site) -> set[object]:
    return set(site.server.server_state.connections)
