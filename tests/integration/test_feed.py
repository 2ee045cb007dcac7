"""Who hears what: pushes reach the right sockets and only those, and nobody keeps old news."""

import asyncio
import contextlib
import json
import time
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from gateway.keys import ShopKeys
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money, Show
from gateway.news import News, publish
from gateway.sessions import session
from gateway.sessions.session import Joined
from gateway.shows.shows import Shows
from gateway.sockets import connection, parting
from gateway.stock.holds import order_id
from tests.integration.conftest import SHOW, Corner, Site
from tests.shopper import PATIENCE_S, Message, Shopper, connected, shopping

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEE = [{"sku": "tee", "quantity": 1}]


async def another(site: Site) -> Corner:
    """A second shop at the same gateway."""
    name = f"shop_{uuid.uuid4().hex}"
    await site.rooms.shows.put(name, Show(SHOW, "Another show"))
    await site.rooms.shows.move(name, SHOW, "live")
    return Corner(site.url, site.gateway, site.stripe_url, site.server, name)


async def hears_stock(viewer: Shopper, **items: int) -> Message:
    """Wait until the viewer has been told these values, whatever came before."""
    known: dict[str, int] = {}
    for push in viewer.pushes:
        known |= push["items"] if push["type"] == "stock" else {}
    if items.items() <= known.items():
        return {}

    def told(message: Message) -> bool:
        known.update(message["items"] if message["type"] == "stock" else {})
        return items.items() <= known.items()

    return await viewer.until(told)


async def all_heard(corner: Corner, *viewers: Shopper) -> None:
    """Wait until whatever has been published so far was written to these viewers."""
    name = f"fence-{uuid.uuid4().hex}"
    await corner.rooms.catalog.put(corner.shop, (CatalogEntry(name, "-", Money(1, "EUR")),))
    for viewer in viewers:
        await viewer.until(
            lambda push: push["type"] == "catalog" and push["items"][0]["sku"] == name
        )


def kinds(viewer: Shopper) -> set[str]:
    return {push["type"] for push in viewer.pushes}


async def test_a_purchase_is_heard_on_all_devices_of_its_shopper_and_nowhere_else(
    corner: Corner,
) -> None:
    await corner.sells("tee", 3)
    elsewhere = await another(corner)
    async with (
        corner.shopper("ann") as ann,
        corner.shopper("ann") as tablet,
        corner.shopper("bob") as bob,
        elsewhere.shopper("ann") as namesake,
    ):
        paid = await ann.buys("tee", "k")
        for device in (ann, tablet):
            held = await device.hears("hold")
            assert held["hold"]["state"] == "active"
            assert held["version"] > 0
            confirmed = await device.hears("checkout", state="confirmed")
            assert confirmed["order"] == paid["order"]
            assert (await device.hears("order"))["order"] == paid["order"]
            await hears_stock(device, tee=2)
        await hears_stock(bob, tee=2)
        await all_heard(corner, bob)
        await all_heard(elsewhere, namesake)
        assert kinds(bob) <= {"stock", "viewers"}
        assert kinds(namesake) <= {"viewers"}
        assert "id" not in {key for push in bob.pushes for key in push}
        assert paid["order"]["id"] not in json.dumps(bob.pushes)


async def test_an_order_that_cannot_be_read_keeps_nobody_out_and_no_news_back(
    corner: Corner,
) -> None:
    """A newer gateway wrote it, say; and everything is read again, for news was lost."""
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann:
        order = (await ann.buys("tee", "k1"))["order"]["id"]
        hold = (await ann.ask("reserve", key="k2", lines=TEE))["hold"]["id"]
        for strange in map(ShopKeys(corner.shop).order, (order, order_id(hold))):
            await corner.rooms.lane.command("HSET", strange, "phase", "claimed")
        await (await corner.gateway.listener.feed(corner.shop)).read()
    async with corner.shopper("ann") as ann:
        assert (ann.welcome["orders"], len(ann.welcome["holds"])) == ([], 1)


async def test_a_release_is_heard_on_the_other_device(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann, corner.shopper("ann") as tablet:
        held = await ann.ask("reserve", key="k", lines=TEE)
        await ann.ask("release", hold=held["hold"]["id"])
        pushed = await tablet.until(
            lambda push: push["type"] == "hold" and push["hold"]["state"] == "released"
        )
        assert pushed["hold"]["id"] == held["hold"]["id"]
        await hears_stock(tablet, tee=3)


async def test_shows_and_highlights_are_told_to_their_own_viewers(corner: Corner) -> None:
    await corner.sells("tee", 3)
    shows = corner.rooms.shows
    await shows.put(corner.shop, Show("later", "Later"))
    ticket = corner.ticket("eve", "later")
    async with corner.shopper("ann") as ann, shopping(corner.socket_url, ticket, "later") as eve:
        await shows.highlight(corner.shop, SHOW, "tee")
        assert await ann.hears("highlight") == {"type": "highlight", "sku": "tee"}
        await shows.highlight(corner.shop, SHOW, None)
        assert await ann.hears("highlight", sku=None) == {"type": "highlight", "sku": None}
        await shows.move(corner.shop, "later", "live")
        assert await eve.hears("show") == {"type": "show", "show": "later", "state": "live"}
        await all_heard(corner, ann, eve)
        assert "highlight" not in kinds(eve)
        assert "show" not in kinds(ann)


async def test_the_catalogue_is_told_and_in_the_next_welcome(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        await corner.sells("tee", 3, price=700)
        told = await ann.hears("catalog")
        assert [entry["sku"] for entry in told["items"]] == ["tee"]
        assert told["items"][0]["price"] == {"amount": 700, "currency": "EUR"}
        async with connected(corner.socket_url) as bob:
            welcome = await bob.ask("connect", token=corner.ticket("bob"), show=SHOW)
        assert welcome["catalog"] == told["items"]


async def test_viewers_are_counted(corner: Corner) -> None:
    async with corner.shopper("ann") as ann:
        await ann.hears("viewers", count=1)
        async with corner.shopper("bob") as bob:
            assert await bob.hears("viewers", count=2) == {"type": "viewers", "count": 2}
            await ann.hears("viewers", count=2)
            async with corner.shopper("cat") as cat:
                await cat.hears("viewers", count=3)
        ann.pushes.clear()
        await ann.hears("viewers", count=1)


async def test_versions_rise_and_values_are_absolute(corner: Corner) -> None:
    await corner.sells("tee", 30)
    async with corner.shopper("ann") as ann, connected(corner.socket_url) as bob:
        welcome = await bob.ask("connect", token=corner.ticket("bob"), show=SHOW)
        for number in range(8):
            await ann.ask("reserve", key=f"k{number}", lines=TEE)
        await hears_stock(bob, tee=22)
        told = [push for push in bob.pushes if push["type"] == "stock"]
        versions = [welcome["stock"]["version"], *(push["version"] for push in told)]
        assert versions == sorted(set(versions))
        assert {push["epoch"] for push in told} <= {welcome["stock"]["epoch"]}


async def test_many_changes_are_few_frames_and_sold_out_is_one_of_them(corner: Corner) -> None:
    await corner.sells("tee", 60)
    async with corner.shopper("ann") as ann:
        await asyncio.gather(
            *(
                corner.rooms.holds.reserve(
                    corner.shop, f"s{n}", SHOW, "k", (LineRequest("tee", 1),), Fulfillment()
                )
                for n in range(60)
            )
        )
        await hears_stock(ann, tee=0)
        assert len([push for push in ann.pushes if push["type"] == "stock"]) < 10


async def test_sold_out_does_not_wait_for_the_tick(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        feed = await corner.gateway.listener.feed(corner.shop)
        feed.fanout.tick_s = 60.0
        await ann.ask("reserve", key="k1", lines=TEE)  # after silence: at once
        await hears_stock(bob, tee=2)
        before = time.monotonic()
        await ann.ask("reserve", key="k2", lines=TEE)  # waits for the tick
        await ann.ask("reserve", key="k3", lines=TEE)
        await hears_stock(bob, tee=0)
        assert time.monotonic() - before < 5
        assert {"tee": 1} not in [p["items"] for p in bob.pushes if p["type"] == "stock"]


async def test_a_gap_in_the_versions_has_everything_read_again(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann:
        feed = await corner.gateway.listener.feed(corner.shop)
        keys, at = ShopKeys(corner.shop), feed.version
        # Two changes; the news of the first was lost, and the second says nothing of tee.
        rows = await corner.rooms.lane.command("HGET", keys.stock, "tee")
        changed = json.loads(rows)
        changed[0][1] = 8
        await corner.rooms.lane.command("HSET", keys.stock, "tee", json.dumps(changed))
        await corner.rooms.lane.command("HSET", keys.meta, "version", at + 2)
        await publish(corner.rooms.lane, corner.shop, News(epoch=1, version=at + 2, at=1))
        await hears_stock(ann, tee=8)
        assert feed.items == {"tee": 8}
        assert feed.version == at + 2


async def test_old_news_changes_nothing(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann:
        feed = await corner.gateway.listener.feed(corner.shop)
        old = News(epoch=1, version=feed.version, stock={"tee": 99})
        await publish(corner.rooms.lane, corner.shop, old)
        await all_heard(corner, ann)
        assert feed.items == {"tee": 3}
        assert "stock" not in kinds(ann)


async def test_a_new_epoch_sends_everybody_back_for_a_snapshot(corner: Corner) -> None:
    await corner.sells("tee", 3)
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        keys = ShopKeys(corner.shop)
        await corner.rooms.lane.command("HSET", keys.meta, "epoch", 2, "version", 1)
        await publish(corner.rooms.lane, corner.shop, News(epoch=2, version=1, stock={"tee": 3}))
        assert [await ann.closed(), await bob.closed()] == [4009, 4009]
    async with connected(corner.socket_url) as ann:
        welcome = await ann.ask("connect", token=corner.ticket("ann"), show=SHOW)
        assert welcome["stock"] == {"epoch": 2, "version": 1, "items": {"tee": 3}}


async def test_what_changes_while_a_viewer_joins_is_not_missed(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await corner.sells("tee", 3)
    held = await corner.rooms.holds.reserve(
        corner.shop, "ann", SHOW, "k", (LineRequest("tee", 1),), Fulfillment()
    )
    read = asyncio.Event()
    changed = asyncio.Event()

    async def slow_join(*words: Any) -> Joined:
        joined = await session.join(*words)
        read.set()
        await changed.wait()
        return joined

    monkeypatch.setattr(connection, "join", slow_join)
    async with connected(corner.socket_url) as ann, asyncio.timeout(PATIENCE_S):
        joining = asyncio.create_task(ann.ask("connect", token=corner.ticket("ann"), show=SHOW))
        await read.wait()
        await corner.rooms.holds.release(corner.shop, "ann", held.hold.id)
        await corner.rooms.shows.highlight(corner.shop, SHOW, "tee")
        await corner.sells("cap", 5)
        feed = await corner.gateway.listener.feed(corner.shop)
        while feed.items != {"tee": 3, "cap": 5}:
            await asyncio.sleep(0.005)
        changed.set()
        welcome = await joining
        assert not ann.pushes
        # What was read before is old; what was kept true is not; and pushes mend the rest.
        assert welcome["holds"][0]["state"] == "active"
        assert welcome["stock"]["items"] == {"tee": 3, "cap": 5}
        assert {entry["sku"] for entry in welcome["catalog"]} == {"tee", "cap"}
        assert (await ann.hears("hold"))["hold"]["state"] == "released"
        await ann.hears("highlight", sku="tee")


async def test_a_client_that_is_up_to_date_is_sent_what_is_new_alone(corner: Corner) -> None:
    await corner.sells("tee", 3)

    async def returns(resume: Message | None) -> Message:
        async with connected(corner.socket_url) as ann:
            known = {"resume": resume} if resume else {}
            return await ann.ask("connect", token=corner.ticket("ann"), show=SHOW, **known)

    first = await returns(None)
    resume = {name: first["stock"][name] for name in ("epoch", "version")}
    up_to_date = await returns(resume | {"catalog_tag": first["catalog_tag"]})
    assert up_to_date["stock"] == resume | {"items": {}}
    assert "catalog" not in up_to_date
    assert up_to_date["catalog_tag"] == first["catalog_tag"]
    of_old = await returns(resume)
    assert of_old["catalog"] == first["catalog"]
    assert of_old["stock"]["items"] == {}
    await corner.sells("cap", 2)
    feed = await corner.gateway.listener.feed(corner.shop)
    async with asyncio.timeout(PATIENCE_S):
        while feed.items != {"tee": 3, "cap": 2}:
            await asyncio.sleep(0.005)
    behind = await returns(resume | {"catalog_tag": first["catalog_tag"]})
    assert behind["stock"]["items"] == {"tee": 3, "cap": 2}
    assert {entry["sku"] for entry in behind["catalog"]} == {"tee", "cap"}


async def test_in_a_storm_of_newcomers_a_show_is_read_once_and_true_all_the_same(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = Shows.get

    async def noted(shows: Shows, shop: str, show: str) -> Show:
        reads.append(show)
        return await read(shows, shop, show)

    monkeypatch.setattr(Shows, "get", noted)
    shows = corner.rooms.shows
    async with corner.shopper("ann") as ann:
        for name in ("bob", "cat"):
            async with corner.shopper(name) as newcomer:
                assert newcomer.welcome["show"]["title"] == "Tonight's show"
        assert reads == [SHOW]
        await corner.sells("tee", 3)
        await shows.highlight(corner.shop, SHOW, "tee")
        await ann.hears("highlight", sku="tee")
        async with corner.shopper("bob") as bob:
            assert bob.welcome["show"]["highlight"] == "tee"
        assert reads == [SHOW]
        await shows.put(corner.shop, Show(SHOW, "Another title"))
        await all_heard(corner, ann)
        async with corner.shopper("bob") as bob:
            assert (
                bob.welcome["show"].items() >= {"title": "Another title", "state": "live"}.items()
            )
        assert reads == [SHOW, SHOW]
        await shows.move(corner.shop, SHOW, "ended")
        await ann.hears("show", state="ended")
        async with connected(corner.socket_url) as late:
            refused = await late.ask("connect", token=corner.ticket("bob"), show=SHOW)
            assert refused["code"] == "show_not_live"


async def test_what_is_read_of_a_show_while_it_changes_is_not_kept(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Shows.get
    changing = True

    async def slow(shows: Shows, shop: str, show: str) -> Show:
        found = await read(shows, shop, show)
        if changing:
            await shows.highlight(shop, show, "tee")
            # The news of it comes by another connection, and here before the reply.
            while feed._turns == turns:
                await asyncio.sleep(0.005)
        return found

    await corner.sells("tee", 3)
    feed = await corner.gateway.listener.feed(corner.shop)
    turns = feed._turns
    monkeypatch.setattr(Shows, "get", slow)
    async with corner.shopper("ann") as ann:
        assert ann.welcome["show"]["highlight"] is None
        await ann.hears("highlight", sku="tee")
        changing = False
        async with corner.shopper("bob") as bob:
            assert bob.welcome["show"]["highlight"] == "tee"


async def test_while_viewers_of_an_old_epoch_are_sent_away_they_hear_nothing_of_the_new_one(
    corner: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parting, "_PER_SEAT_S", 1.0)
    monkeypatch.setattr(parting, "_SLICE_S", 0.5)
    await corner.sells("tee", 3)
    async with corner.shopper("bob") as bob, corner.shopper("ann") as ann:
        held = await ann.ask("reserve", key="k", lines=TEE)
        assert held["type"] == "hold"
        await hears_stock(bob, tee=2)
        await all_heard(corner, ann, bob)
        bob.pushes.clear()
        keys, lane = ShopKeys(corner.shop), corner.rooms.lane
        await lane.command("HSET", keys.meta, "epoch", 2, "version", 1)
        await publish(lane, corner.shop, News(epoch=2, version=1, stock={"tee": 2}))
        assert await ann.closed() == 4009  # Who holds something goes first.
        assert bob.socket.close_code is None
        async with corner.shopper("ann") as again:
            assert again.welcome["stock"]["epoch"] == 2
            await lane.command("HSET", keys.meta, "version", 2)
            await publish(lane, corner.shop, News(epoch=2, version=2, stock={"tee": 0}))
            await hears_stock(again, tee=0)
        with contextlib.suppress(ConnectionClosed):
            await bob.until(lambda push: push["type"] == "stock")
        assert await bob.closed() == 4009
        assert "stock" not in kinds(bob)
