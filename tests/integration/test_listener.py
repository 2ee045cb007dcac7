"""The subscription: it comes back by itself, notices what it missed, and survives what it hears."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from gateway.app import Gateway
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money
from gateway.rooms import Rooms
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.sockets.ear import Waits
from gateway.sockets.feed import Feed
from gateway.sockets.listener import NewsListener
from tests.handoff import running
from tests.integration.conftest import SHOW, UNLIMITED, Site, open_site, settings_of
from tests.proxy import Proxy, open_proxy
from tests.sales import eventually
from tests.shopper import PATIENCE_S, Message, Shopper

TEE = [{"sku": "tee", "quantity": 1}]
IMPATIENT = Waits(
    retry_s=0.05,
    connect_s=0.2,
    ping_after_s=0.05,
    silent_s=0.3,
    look_every_s=0.1,
    probe_after_s=0.2,
    deaf_s=0.8,
    fallen_s=0.1,
)
"""Everything about ten times as soon."""


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

        async def told() -> bool:
            # A gap has all read, and told, before the rest of the message is looked at.
            return bool(errors())

        def errors() -> list[str]:
            return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

        await eventually(told)
    assert errors() == [f"news: shop {site.shop}: a message could not be taken in"]


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


async def test_thousands_who_ask_for_a_new_shop_at_once_have_it_read_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = Feed.read

    async def noted(feed: Feed) -> None:
        reads.append(feed.shop)
        await read(feed)

    monkeypatch.setattr(Feed, "read", noted)
    feeds = await asyncio.gather(*(site.gateway.listener.feed("new") for _ in range(1_000)))
    assert len({id(feed) for feed in feeds}) == 1
    assert reads == ["new"]


async def test_without_redis_there_is_no_feed(site: Site) -> None:
    # A listener that nobody runs is one whose Redis does not answer.
    with pytest.raises(Unavailable):
        await NewsListener(site.rooms).feed(site.shop)


async def test_a_server_that_falls_silent_is_noticed_though_nothing_is_sold(
    rooms: Rooms,
    valkey: EmbeddedValkey,
    shop: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_proxy(valkey.port) as proxy:
        far = msgspec.structs.replace(rooms.settings, redis_url=proxy.url)
        listener = NewsListener(dataclasses.replace(rooms, settings=far), waits=IMPATIENT)
        async with running(listener):
            feed = await listener.feed(shop)
            proxy.swallow()
            await rooms.catalog.put(shop, (CatalogEntry("hat", "Hat", Money(900, "EUR")),))

            async def noticed() -> bool:
                return "news: lost redis: TimeoutError" in caplog.messages

            await eventually(noticed)
            assert "hat" not in feed.showcase.catalog
            proxy.heal()

            async def heard() -> bool:
                return "hat" in feed.showcase.catalog

            await eventually(heard)


@contextlib.asynccontextmanager
async def apart(
    settings: Settings, valkey: EmbeddedValkey
) -> AsyncIterator[tuple[Site, Proxy, httpx.AsyncClient]]:
    """A site whose news comes through a proxy, and nothing else does."""
    async with open_proxy(valkey.port) as proxy, httpx.AsyncClient() as client:

        def prepare(gateway: Gateway) -> None:
            far = msgspec.structs.replace(gateway.rooms.settings, redis_url=proxy.url)
            gateway.listener.rooms = dataclasses.replace(gateway.rooms, settings=far)
            gateway.listener.waits = IMPATIENT

        async with open_site(settings, UNLIMITED, prepare) as site:
            yield site, proxy, client


async def test_while_the_news_is_lost_it_is_not_ready_and_afterwards_everybody_is_told_the_truth(
    settings: Settings, valkey: EmbeddedValkey
) -> None:
    async with apart(settings, valkey) as (site, proxy, client):

        async def failing() -> list[str]:
            answer = await client.get(f"{site.url}/readyz")
            found: list[str] = answer.json().get("failing", [])
            assert answer.status_code == (503 if found else 200)
            return found

        async def is_deaf() -> bool:
            return await failing() == ["news"]

        async def hears() -> bool:
            return await failing() == []

        await site.sells("tee", 9)
        async with site.shopper("ann") as ann, site.shopper("bob") as bob:
            assert await hears()
            proxy.swallow()
            await eventually(is_deaf)
            for number in range(3):
                await ann.ask("reserve", key=f"k{number}", lines=TEE)
            await site.rooms.shows.highlight(site.shop, SHOW, "tee")
            # Stock is read the way commands go, should this take long.
            assert "highlight" not in {push["type"] for push in ann.pushes}
            assert await is_deaf()
            proxy.heal()
            for viewer in (ann, bob):
                await viewer.hears("highlight", sku="tee")
                await hears_left(viewer, 6)
            await eventually(hears)
        async with site.shopper("cat") as cat:
            assert cat.welcome["show"]["highlight"] == "tee"


async def test_without_viewers_nobody_misses_the_news(
    settings: Settings, valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with apart(settings, valkey) as (site, proxy, client):
        listener = site.gateway.listener
        await listener.feed(site.shop)
        proxy.swallow()

        async def lost() -> bool:
            return caplog.messages.count("news: lost redis: TimeoutError") > 1

        await eventually(lost)
        assert (await client.get(f"{site.url}/readyz")).status_code == 200


async def test_a_connection_that_answers_and_passes_nothing_on_is_made_anew(
    settings: Settings, valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with apart(settings, valkey) as (site, proxy, _), site.shopper("ann") as ann:
        proxy.mute(b"smessage")
        # It has no version, so that no gap shows it.
        await site.rooms.catalog.put(site.shop, (CatalogEntry("hat", "Hat", Money(900, "EUR")),))
        assert [entry["sku"] for entry in (await ann.hears("catalog"))["items"]] == ["hat"]
        assert f"news: shop {site.shop}: its probes are not heard" in caplog.messages


async def test_one_probe_is_enough_for_all_who_listen(rooms: Rooms, shop: str) -> None:
    still = Waits(look_every_s=3_600, probe_after_s=60)
    listeners = [NewsListener(rooms, waits=still) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(running(listener))
            await listener.feed(shop)
        channels = [listener._channels[shop] for listener in listeners]
        for channel in channels:
            channel.heard_at_s -= 100

        async def heard() -> bool:
            return all(channel.silent_s < 60 for channel in channels)

        assert not await heard()
        await listeners[0]._probe(channels[0])
        await eventually(heard)
        for listener, channel in zip(listeners, channels, strict=True):
            channel.probes = 0
            await listener._probe(channel)
            assert channel.probes == 0


async def test_probes_that_are_heard_keep_a_silent_shop_standing(
    rooms: Rooms, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener = NewsListener(rooms, waits=IMPATIENT)
    async with running(listener):
        await listener.feed(shop)
        channel = listener._channels[shop]
        times: set[float] = set()

        async def often_enough() -> bool:
            times.add(channel.heard_at_s)
            return len(times) * IMPATIENT.probe_after_s > IMPATIENT.deaf_s

        await eventually(often_enough)
        assert channel.standing
    assert not [message for message in caplog.messages if "probes" in message]
