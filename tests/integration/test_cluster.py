"""Whatever knows Redis on a real cluster: all of it finds a shop, while slots move and servers die.

How a whole shop fares there is told in ``test_cluster_fair``.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.model import CatalogEntry, Money
from gateway.orders.group import OrderGroup
from gateway.orders.stream import START, Entry
from gateway.rooms import Rooms, join
from gateway.sandbox.warden import Warden
from gateway.sockets.feed import Feed
from gateway.sockets.listener import NewsListener
from tests.cluster import Cluster, slot_of
from tests.handoff import running
from tests.sales import eventually, sell
from tests.stall import Stall, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

Move = Callable[[Cluster, int, int], None]
MOVES = pytest.mark.parametrize("move", [Cluster.moves, Cluster.moves_at_once])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(warden: Warden) -> AsyncIterator[Cluster]:
    with Cluster(warden) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def lane(cluster: Cluster) -> AsyncIterator[Lane]:
    async with served(settings_for(cluster.url, "any")) as lane:
        yield lane


@pytest_asyncio.fixture(loop_scope="module")
async def rooms(lane: Lane) -> AsyncIterator[Rooms]:
    payments = Payments(lane.settings, lane, SystemClock())
    yield join(lane.settings, SystemClock(), random.Random(1), lane, payments)
    await payments.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def listener(rooms: Rooms) -> AsyncIterator[NewsListener]:
    listener = NewsListener(rooms)
    async with running(listener):
        yield listener


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each shop was read for the sake of its feed."""
    counted: Counter[str] = Counter()
    read = Feed.read

    async def noted(feed: Feed) -> None:
        counted[feed.shop] += 1
        await read(feed)

    monkeypatch.setattr(Feed, "read", noted)
    return counted


def stall_of(lane: Lane, shop: str) -> Stall:
    return Stall(lane, settings_for(lane.settings.redis_url, shop))


async def opened(lane: Lane, cluster: Cluster) -> list[Stall]:
    """A shop on every primary, that sells."""
    stalls = [stall_of(lane, cluster.shop_on(number)) for number in cluster.primaries]
    await asyncio.gather(*(stall.sells("tee", 300) for stall in stalls))
    return stalls


async def knows(feed: Feed, stall: Stall) -> None:
    """Wait until a feed is what Redis says."""

    async def same() -> bool:
        return feed.items == await stall.available()

    await eventually(same)


async def subscribed(cluster: Cluster, shop: str) -> None:
    """Wait until the news of a shop is heard at the server that has it."""
    home = cluster.number_of(slot_of(shop))

    async def there() -> bool:
        return bool(cluster.ask(home, "PUBSUB", "SHARDNUMSUB", ShopKeys(shop).news)[1])

    await eventually(there)


async def takes(group: OrderGroup) -> list[Entry]:
    """Read as a courier does: what is new, and after a failure first what is pending."""
    taken: list[Entry] = []
    async with asyncio.timeout(8):
        while not taken:
            try:
                taken = await group.new(10, 1_000)
            except Unavailable:
                taken = await pending(group)
    return taken


async def pending(group: OrderGroup) -> list[Entry]:
    while True:
        try:
            return await group.pending(START, 10)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_shops_on_every_primary_sell_through_one_lane(lane: Lane, cluster: Cluster) -> None:
    stalls = await opened(lane, cluster)
    await asyncio.gather(
        *(stall.reserves(f"s{n}", "k", ("tee", 1)) for n in range(40) for stall in stalls)
    )
    for stall in stalls:
        assert await stall.available() == {"tee": 260}
        assert (await stall.books()).drifts() == []


@MOVES
async def test_a_slot_moves_under_load_and_nothing_is_done_twice(
    lane: Lane, cluster: Cluster, move: Move
) -> None:
    shop = cluster.shop_on(0)
    stall = stall_of(lane, shop)
    await stall.sells("tee", 3_000)
    moving = asyncio.create_task(asyncio.to_thread(move, cluster, slot_of(shop), 1))
    bought = 0
    while not moving.done() or bought < 50:
        bought += 1
        await stall.reserves(f"s{bought}", "k", ("tee", 1))
    await moving
    assert cluster.number_of(slot_of(shop)) == 1
    assert await stall.available() == {"tee": 3_000 - bought}
    assert (await stall.books()).drifts() == []


@MOVES
async def test_news_is_heard_where_the_shop_is_and_others_do_not_notice(
    rooms: Rooms,
    listener: NewsListener,
    cluster: Cluster,
    reads: Counter[str],
    move: Move,
) -> None:
    stalls = await opened(rooms.lane, cluster)
    feeds = [await listener.feed(stall.shop) for stall in stalls]
    for stall, feed in zip(stalls, feeds, strict=True):
        await stall.reserves("ann", "k", ("tee", 1))
        await knows(feed, stall)
        # The first of them finds its server at the second, when the lane knows the cluster.
        await subscribed(cluster, stall.shop)
    others = {stall.shop: reads[stall.shop] for stall in stalls[1:]}
    moved, feed = stalls[0], feeds[0]
    await asyncio.to_thread(move, cluster, slot_of(moved.shop), 1)
    await moved.reserves("bob", "k", ("tee", 1))
    await subscribed(cluster, moved.shop)
    await knows(feed, moved)
    seen = reads[moved.shop]
    # What no feed asks for by itself is heard, too.
    await rooms.catalog.put(moved.shop, (CatalogEntry("hat", "Hat", Money(900, "EUR")),))

    async def heard() -> bool:
        return "hat" in feed.catalog

    await eventually(heard)
    assert seen == reads[moved.shop]
    for stall, other in zip(stalls[1:], feeds[1:], strict=True):
        await stall.reserves("bob", "k", ("tee", 1))
        await knows(other, stall)
    assert {shop: reads[shop] for shop in others} == others


@MOVES
async def test_a_read_that_waits_for_orders_goes_where_the_shop_goes(
    lane: Lane, cluster: Cluster, move: Move
) -> None:
    shop = cluster.shop_on(0)
    group = OrderGroup(lane, shop, "till")
    await group.open()
    await sell(lane, shop, "o1")
    (first,) = await group.new(10, 100)
    reading = asyncio.create_task(takes(group))

    async def blocked() -> bool:
        return "blocked_clients:1" in cluster.ask(0, "INFO", "clients")

    await eventually(blocked)
    await asyncio.to_thread(move, cluster, slot_of(shop), 1)
    await sell(lane, shop, "o2")
    assert "o2" in {entry.order for entry in await reading}
    assert [entry.order for entry in await pending(group)] == ["o1", "o2"]
    assert (await pending(group))[0] == first
    await group.close()


async def test_a_shop_half_moved_is_read_where_its_orders_are(lane: Lane, cluster: Cluster) -> None:
    shop = cluster.shop_on(0)
    slot, stream = slot_of(shop), ShopKeys(shop).orders
    group = OrderGroup(lane, shop, "till")
    await group.open()
    await sell(lane, shop, "o1")
    cluster.ask(1, "CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.ask(0, "CLUSTER", "MYID"))
    cluster.ask(0, "CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.ask(1, "CLUSTER", "MYID"))
    cluster.ask(0, "MIGRATE", "127.0.0.1", cluster.servers[1].port, stream, 0, 5_000)
    await group.open()
    assert [entry.order for entry in await group.new(10, 10)] == ["o1"]
    assert [entry.order for entry in await group.pending(START, 10)] == ["o1"]
    cluster.moves(slot, 1)
    await group.close()


async def test_a_server_falls_silent_and_only_its_shops_notice(
    rooms: Rooms, listener: NewsListener, cluster: Cluster, reads: Counter[str]
) -> None:
    lane, victim = rooms.lane, 2
    stalls = await opened(lane, cluster)
    feeds = [await listener.feed(stall.shop) for stall in stalls]
    for stall, feed in zip(stalls, feeds, strict=True):
        await stall.reserves("ann", "k", ("tee", 1))
        await knows(feed, stall)
        await subscribed(cluster, stall.shop)
    group = OrderGroup(lane, stalls[victim].shop, "till")
    await group.open()
    others = {stall.shop: reads[stall.shop] for stall in stalls[:victim]}
    await lane.command("WAIT", 1, 1_000, at=stalls[victim].keys.meta)
    cluster.freezes(victim)
    with pytest.raises(Unavailable):
        await stalls[victim].reserves("bob", "k", ("tee", 1))
    slot = slot_of(stalls[victim].shop)
    promotion = asyncio.create_task(asyncio.to_thread(cluster.promoted, slot, victim))
    bought = 0
    while not promotion.done():
        bought += 1
        await asyncio.gather(
            *(one.reserves(f"b{bought}", "k", ("tee", 1)) for one in stalls[:victim])
        )
        await asyncio.sleep(0.02)
    assert await promotion == victim + 3

    async def sold() -> bool:
        try:
            await stalls[victim].reserves("bob", "k", ("tee", 1))
        except Unavailable:
            return False
        return True

    await eventually(sold)
    await sell(lane, stalls[victim].shop, "o1")
    assert [entry.order for entry in await takes(group)] == ["o1"]
    for stall, feed in zip(stalls, feeds, strict=True):
        await knows(feed, stall)
        assert (await stall.books()).drifts() == []
    await subscribed(cluster, stalls[victim].shop)
    assert bought
    assert {shop: reads[shop] for shop in others} == others
    await group.close()
    await asyncio.to_thread(cluster.revives, victim)
