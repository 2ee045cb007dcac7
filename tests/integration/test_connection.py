"""One socket from its upgrade to its close, as its peer reads it or does not."""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
from websockets.exceptions import ConnectionClosed

from gateway.model import CatalogEntry, Money
from gateway.settings import Settings
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site
from tests.sales import eventually
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


async def garbage_of(leaves: Callable[[], Awaitable[None]]) -> Counter[str]:
    """What of ours is freed only by looking for garbage, once all this has happened."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await leaves()
        gc.collect()
        kinds = (type(one) for one in gc.garbage)
        return Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("gateway."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_a_socket_that_is_over_is_no_garbage(site: Site) -> None:
    """Of thousands that come and go it would be tens of megabytes, kept until it is looked for."""
    await site.sells("tee", 9)

    async def gone() -> bool:
        return site.gateway.door.open == 0

    async def come_and_go() -> None:
        for number in range(5):
            async with site.shopper(f"shopper-{number}") as shopper:
                await shopper.ask("reserve", key="k", lines=[{"sku": "tee", "quantity": 1}])
            async with connected(site.socket_url):
                pass
        await eventually(gone)

    await come_and_go()
    assert await garbage_of(come_and_go) == Counter()
