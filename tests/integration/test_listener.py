"""The subscription: it comes back by itself, notices what it missed, and survives what it hears."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money
from gateway.rooms import Rooms
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.sockets import ear
from gateway.sockets.listener import NewsListener
from tests.handoff import running
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site, settings_of
from tests.proxy import open_proxy
from tests.sales import eventually
from tests.shopper import PATIENCE_S, Message, Shopper

TEE = [{"sku": "tee", "quantity": 1}]


@contextlib.asynccontextmanager
async def site_on(server: EmbeddedValkey, shop: str) -> AsyncIterator[Site]:
    async with open_site(settings_of(server.url, shop), UNLIMITED) as site:
        yield site


async def hears_left(viewer: Shopper, units: int) -> None:
    """Wait until the viewer knows how many tees are left."""

    def told(push: Message) -> bool:
        return push["type"] == "stock" and bool(push["items"].get("tee") == units)

    if not any(told(push) for push in viewer.pushes):
        await viewer.until(told)


async def reserves(viewer: Shopper, key: str) -> Message:
    """Reserve until Redis is there again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reply = await viewer.ask("reserve", key=key, lines=TEE)
            if reply.get("code") != "unavailable":
                return reply
            await asyncio.sleep(0.05)


async def deafen(site: Site) -> None:
    """Cut the connection the news comes through."""
    assert await site.rooms.lane.command("CLIENT", "KILL", "TYPE", "pubsub") == 1


async def test_redis_restarts_and_everyone_starts_over(
    warden: Warden, tmp_path: Path, shop: str
) -> None:
    with EmbeddedValkey(warden.group, port=0, data_dir=tmp_path) as server:
        async with site_on(server, shop) as site:
            await site.sells("tee", 9)
            async with site.shopper("ann") as ann, site.shopper("bob") as bob:
                await ann.ask("reserve", key="k1", lines=TEE)
                await hears_left(bob, 8)
                server.stop()
                down = await ann.ask("reserve", key="k2", lines=TEE)
                assert down["code"] == "unavailable"
                server.start()
                # It may have lost writes: nobody is told of the stock what may not be true.
                for viewer in (ann, bob):
                    assert await viewer.closed() == 4009
            async with site.shopper("ann") as ann, site.shopper("bob") as bob:
                assert [hold["state"] for hold in ann.welcome["holds"]] == ["active"]
                assert (await reserves(ann, "k2"))["type"] == "hold"
                await hears_left(bob, 7)


async def test_redis_comes_back_empty_and_everyone_starts_over(warden: Warden, shop: str) -> None:
    with EmbeddedValkey(warden.group, port=0) as server:
        async with site_on(server, shop) as site:
            await site.sells("tee", 9)
            async with site.shopper("ann") as ann:
                server.kill()
                server.start()
                assert await ann.closed() == 4009


async def test_what_was_missed_is_told(site: Site) -> None:
    await site.sells("tee", 9)
    await site.sells("cap", 9)
    async with site.shopper("ann") as ann, site.shopper("bob") as bob:
        given_up = (await ann.ask("reserve", key="k1", lines=TEE))["hold"]
        paying = (await ann.ask("reserve", key="k2", lines=TEE))["hold"]
        kept = (await ann.ask("reserve", key="k3", lines=TEE))["hold"]
        await hears_left(bob, 6)
        await deafen(site)
        elsewhere = await site.rooms.holds.reserve(
            site.shop, "ann", SHOW, "k4", (LineRequest("cap", 1),), Fulfillment()
        )
        await site.rooms.holds.release(site.shop, "ann", given_up["id"])
        paid = await ann.pays(paying)
        await site.rooms.shows.highlight(site.shop, SHOW, "cap")
        await site.sells("hat", 9)
        for viewer in (ann, bob):
            await viewer.hears("highlight", sku="cap")
            await hears_left(viewer, 7)
            assert [e["sku"] for e in (await viewer.hears("catalog"))["items"]] == ["hat"]
        states: dict[str, str] = {}
        ours = {given_up["id"], paying["id"], kept["id"], elsewhere.hold.id}
        while states.keys() != ours:
            push = await ann.until(lambda push: push["type"] in {"hold", "order"})
            if push["type"] == "hold":
                states[push["hold"]["id"]] = push["hold"]["state"]
            else:
                ann.pushes.append(push)
        assert set(states.values()) == {"released", "committed", "active"}
        assert (await ann.hears("checkout", state="confirmed"))["order"] == paid["order"]
        assert (await ann.hears("order"))["order"] == paid["order"]
        assert not {push["type"] for push in bob.pushes} & {"hold", "checkout", "order"}


async def test_the_end_of_the_show_is_not_missed(site: Site) -> None:
    async with site.shopper("ann") as ann:
        await deafen(site)
        await site.rooms.shows.move(site.shop, SHOW, "ended")
        await ann.hears("show", state="ended")
        assert await ann.closed() == 4510


async def test_a_last_message_that_never_came_is_noticed(site: Site) -> None:
    await site.sells("tee", 9)
    async with site.shopper("ann") as ann:
        keys = ShopKeys(site.shop)
        await site.rooms.lane.command("HSET", keys.stock, "tee", '[["main",4,0,0,0,1,0]]')
        await site.rooms.lane.command("HINCRBY", keys.meta, "version", 1)
        await hears_left(ann, 4)


@pytest.mark.parametrize(
    "message",
    [
        "not JSON",
        "[]",
        '{"version":"many"}',
        '{"epoch":1,"version":1000,"holds":[["ann","too","few"]]}',
        '{"epoch":1,"version":1000,"holds":[["ann","h","active","?","1","EUR","1","{}"]]}',
        '{"show":"tonight","state":"cancelled"}',
    ],
)
async def test_news_that_makes_no_sense_is_survived(
    site: Site, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    await site.sells("tee", 9)
    async with site.shopper("ann") as ann, site.shopper("bob") as bob:
        await site.rooms.lane.command("SPUBLISH", ShopKeys(site.shop).news, message)
        await site.rooms.lane.command("SPUBLISH", ShopKeys("nobody").news, message)
        await ann.ask("reserve", key="k", lines=TEE)
        await hears_left(bob, 8)
    [logged] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert logged == f"news: shop {site.shop}: a message could not be taken in"


async def test_one_subscription_serves_all_who_ask_at_once(site: Site) -> None:
    listener = site.gateway.listener
    feeds = await asyncio.gather(*(listener.feed(site.shop) for _ in range(50)))
    assert len({id(feed) for feed in feeds}) == 1
    channels = await site.rooms.lane.command("PUBSUB", "SHARDNUMSUB", ShopKeys(site.shop).news)
    assert channels[1] == 1


async def test_whoever_leaves_while_a_shop_is_being_read_spoils_nothing(site: Site) -> None:
    listener = site.gateway.listener
    waiting = [asyncio.create_task(listener.feed(site.shop)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    feeds = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(feeds[0], asyncio.CancelledError)
    assert feeds[1] is feeds[2]


async def test_without_redis_there_is_no_feed(site: Site) -> None:
    # A listener that nobody runs is one whose Redis does not answer.
    with pytest.raises(Unavailable):
        await NewsListener(site.rooms).feed(site.shop)


async def test_a_server_that_falls_silent_is_noticed_though_nothing_is_sold(
    rooms: Rooms,
    valkey: EmbeddedValkey,
    shop: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for patience, seconds in (
        ("_PING_AFTER_S", 0.05),
        ("_SILENT_S", 0.3),
        ("_CONNECT_TIMEOUT_S", 0.2),
    ):
        monkeypatch.setattr(ear, patience, seconds)
    async with open_proxy(valkey.port) as proxy:
        far = msgspec.structs.replace(rooms.settings, redis_url=proxy.url)
        listener = NewsListener(dataclasses.replace(rooms, settings=far))
        async with running(listener):
            feed = await listener.feed(shop)
            proxy.swallow()
            await rooms.catalog.put(shop, (CatalogEntry("hat", "Hat", Money(900, "EUR")),))

            async def noticed() -> bool:
                return "news: lost redis: TimeoutError" in caplog.messages

            await eventually(noticed)
            assert "hat" not in feed.catalog
            proxy.heal()

            async def heard() -> bool:
                return "hat" in feed.catalog

            await eventually(heard)
