"""One socket from its upgrade to its close, as its peer reads it or does not."""

import asyncio
import contextlib

import msgspec
from websockets.exceptions import ConnectionClosed

from gateway.model import CatalogEntry, Money
from gateway.settings import Settings
from tests.integration.conftest import SHOW, UNLIMITED, open_site
from tests.shopper import PATIENCE_S, connected, narrow


async def test_a_peer_that_reads_late_learns_that_the_process_goes_away(settings: Settings) -> None:
    """What waits for it is given up after a while, but not the reason."""
    settings = msgspec.structs.replace(settings, drain_s=1, close_timeout_ms=100)
    async with (
        open_site(settings, UNLIMITED) as site,
        connected(site.socket_url, sock=narrow(site.url), max_queue=1) as slow,
    ):
        await slow.ask("connect", token=site.ticket("slow"), show=SHOW)
        [seat] = (await site.gateway.listener.feed(site.shop)).roster.of("slow")
        entry = CatalogEntry("s", "S", Money(1, "EUR"), description="x" * 5_000)
        async with asyncio.timeout(PATIENCE_S):
            while not seat.outbox._waiting:
                await site.rooms.catalog.put(site.shop, (entry,))
                await asyncio.sleep(0.001)
            site.gateway.drain.begin()
            while site.gateway.door.guests:
                await asyncio.sleep(0.005)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await slow.socket.recv()
        assert await slow.closed() == 1012
