"""What slow viewers cost, on real sockets, by the short way and under a server that offers none."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed

from gateway.errors import CloseCode
from gateway.model import Fulfillment, LineRequest
from gateway.news import News, publish
from gateway.settings import Settings
from gateway.sockets import server
from gateway.sockets.feed import Feed
from gateway.sockets.outbox import Outbox
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site
from tests.shopper import PATIENCE_S, Shopper, connected, narrow

_LARGE = msgspec.Raw(msgspec.json.encode({"type": "filler", "text": "x" * 100_000}))


@pytest.fixture
def slow_grace_s() -> int:
    return 1


@pytest.fixture(params=["the short way", "under another server"])
async def watched(
    request: pytest.FixtureRequest,
    settings: Settings,
    slow_grace_s: int,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Site]:
    """A site that has little patience with the slow, and keeps little for them."""
    if request.param == "under another server":
        monkeypatch.setattr("gateway.app.serving", lambda *_: WebSocketsSansIOProtocol)
    monkeypatch.setattr(server, "GRACE_S", 0.2)
    impatient = msgspec.structs.replace(
        settings, slow_grace_s=slow_grace_s, send_buffer_bytes=4_608
    )
    async with open_site(impatient, UNLIMITED) as site:
        await site.sells("tee", 30)
        yield site


@contextlib.asynccontextmanager
async def small_shopper(site: Site, name: str) -> AsyncIterator[Shopper]:
    """A shopper whose system keeps little of what is not read."""
    async with connected(site.socket_url, sock=narrow(site.url)) as shopper:
        welcome = await shopper.ask("connect", token=site.ticket(name), show=SHOW)
        shopper.welcome = welcome
        try:
            yield shopper
        finally:
            shopper.socket.transport.abort()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that is not said on a socket."""
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.005)


async def stalls(site: Site, shopper: Shopper, feed: Feed, name: str) -> Outbox:
    """Have a shopper stop reading, until something waits for it in its outbox."""
    shopper.socket.transport.pause_reading()
    outbox = feed.roster.of(name)[0].outbox
    async with asyncio.timeout(PATIENCE_S):
        while not outbox._waiting or len(outbox._frames) < 2:
            await publish(site.rooms.lane, site.shop, News(shopper=name, frame=_LARGE))
            await asyncio.sleep(0.001)
    return outbox


def is_left(feed: Feed, units: int) -> bool:
    return feed.items["tee"] == units


async def sell(site: Site, feed: Feed, units: int) -> None:
    """Sell one by one, until this is known here and told."""
    for number in range(units):
        left = feed.items["tee"] - 1
        await site.rooms.holds.reserve(
            site.shop, f"s{number}", SHOW, f"k{number}", (LineRequest("tee", 1),), Fulfillment()
        )
        await until(partial(is_left, feed, left))
        await until(lambda: not feed.fanout._walks and not feed.fanout._timer)


@pytest.mark.parametrize("slow_grace_s", [60])
async def test_a_peer_that_reads_again_in_time_gets_one_frame_with_everything_as_it_is(
    watched: Site,
) -> None:
    async with small_shopper(watched, "slow") as slow, watched.shopper("ann") as ann:
        feed = await watched.gateway.listener.feed(watched.shop)
        await stalls(watched, slow, feed, "slow")
        slow.pushes.clear()
        await sell(watched, feed, 3)
        for available in (29, 28, 27):
            await ann.hears("stock", items={"tee": available})
        slow.socket.transport.resume_reading()
        told = await slow.hears("stock")
        assert told["items"] == {"tee": 27}
        assert told["version"] == feed.version
        await slow.ask("ask", text="What have I missed?")
        assert not [one for one in slow.pushes if one["type"] == "stock"]
        assert not watched.gateway.listener.tally.closed


async def test_a_peer_that_takes_nothing_is_closed_after_the_grace_and_nobody_else_is(
    watched: Site,
) -> None:
    tally = watched.gateway.listener.tally
    async with small_shopper(watched, "slow") as slow, watched.shopper("ann") as ann:
        feed = await watched.gateway.listener.feed(watched.shop)
        outbox = await stalls(watched, slow, feed, "slow")
        await sell(watched, feed, 3)
        await until(lambda: tally.closed[CloseCode.SLOW_CONSUMER] == 1)
        await until(lambda: not feed.roster.of("slow"))
        assert outbox.left
        assert tally.values["dropped"] == 3
        for available in (29, 28, 27):
            await ann.hears("stock", items={"tee": available})
        assert (await ann.ask("ask", text="Still there?"))["type"] == "ok"
        assert tally.closed == {CloseCode.SLOW_CONSUMER: 1}


async def test_a_slow_peer_that_reads_at_last_learns_why_it_was_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE_S", PATIENCE_S)
    async with small_shopper(site, "slow") as slow:
        feed = await site.gateway.listener.feed(site.shop)
        outbox = await stalls(site, slow, feed, "slow")
        outbox.overflowed()
        await until(lambda: not feed.roster.of("slow"))
        slow.socket.transport.resume_reading()
        with pytest.raises(ConnectionClosed) as closed:
            await slow.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == CloseCode.SLOW_CONSUMER


async def test_a_slow_peer_that_never_reads_again_is_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0.2)
    small = msgspec.structs.replace(settings, send_buffer_bytes=4_608)
    async with open_site(small, UNLIMITED) as site, small_shopper(site, "slow") as slow:
        feed = await site.gateway.listener.feed(site.shop)
        outbox = await stalls(site, slow, feed, "slow")
        (connection,) = (
            one
            for one in site.server.server_state.connections
            if isinstance(one, server.SocketProtocol)
        )
        kept = connection.transport.get_extra_info("socket")
        assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 4_608
        assert connection.transport.get_write_buffer_size() < 300_000
        outbox.overflowed()
        await until(lambda: connection not in site.server.server_state.connections)
