"""Whatever knows Redis on a real cluster: all of it finds a shop, while slots move and servers die.

How a whole shop fares there is told in ``test_cluster_fair``.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.durability import Durability
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane, served
from gateway.model import CatalogEntry, Money
from gateway.orders.group import OrderGroup
from gateway.orders.stream import START, Entry
from gateway.privacy.erase import Erasure
from gateway.privacy.walk import Walk
from gateway.rooms import Rooms, join
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.warden import Warden
from gateway.sockets.feed import Feed
from gateway.sockets.listener import NewsListener
from tests.cluster import HOST, PRIMARIES, Cluster, slot_of
from tests.handoff import running
from tests.insist import insist
from tests.integration.conftest import UNLIMITED
from tests.personal import SHOPPER, TEXTS, Person, traces
from tests.sales import eventually, sell
from tests.stall import Stall, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(warden: Warden) -> AsyncIterator[Cluster]:
    with Cluster(warden) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stripe_url() -> AsyncIterator[str]:
    async with stripe_server.serving(UNLIMITED) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def lane(cluster: Cluster, stripe_url: str) -> AsyncIterator[Lane]:
    async with served(settings_for(cluster.url, "any", stripe_url=stripe_url)) as lane:
        yield lane


@pytest_asyncio.fixture(loop_scope="module")
async def rooms(lane: Lane) -> AsyncIterator[Rooms]:
    payments = Payments(lane.settings, lane, SystemClock())
    rooms = join(lane.settings, SystemClock(), random.Random(1), lane, payments)
    yield rooms
    await rooms.recovery.aclose()
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
    await asyncio.gather(*(stall.sells("tee", 3_000) for stall in stalls))
    return stalls


async def buys(stall: Stall, shopper: str) -> None:
    """Reserve a tee; as long as the shop is unavailable, with the same key again."""
    await insist(lambda: stall.reserves(shopper, "k", ("tee", 1)))


async def knows(feed: Feed, stall: Stall) -> None:
    """Wait until a feed is what Redis says."""

    async def same() -> bool:
        found = await stall.lane.command("HMGET", stall.keys.meta, "epoch", "version")
        known = (feed.epoch, feed.version)
        return known == (int(found[0]), int(found[1])) and feed.items == await stall.available()

    await eventually(same)


@contextlib.asynccontextmanager
async def orders_of(lane: Lane, shop: str) -> AsyncIterator[OrderGroup]:
    group = OrderGroup(lane, shop, "till")
    await group.open()
    try:
        yield group
    finally:
        await group.close()


async def subscribed(cluster: Cluster, shop: str) -> None:
    """Wait until the news of a shop is heard at the server that has it."""
    home = cluster.number_of(slot_of(shop))

    async def there() -> bool:
        return bool(cluster.ask(home, "PUBSUB", "SHARDNUMSUB", ShopKeys(shop).news)[1])

    await eventually(there)


async def takes(group: OrderGroup) -> list[Entry]:
    """Read as a courier does: what is new, and after a failure first what is pending."""
    taken: list[Entry] = []
    async with asyncio.timeout(PATIENCE_S):
        while not taken:
            try:
                taken = await group.new(10, 1_000)
            except Unavailable:
                taken = await insist(lambda: group.pending(START, 10))
    return taken


async def test_every_primary_is_asked_what_it_is_set_to(cluster: Cluster, lane: Lane) -> None:
    primaries = tuple(sorted(f"127.0.0.1:{server.port}" for server in cluster.servers[:PRIMARIES]))
    report = await Durability(lane, lane.settings, SystemClock()).report()
    found = {finding.code: finding.servers for finding in report.findings}
    assert found == {"no_aof": primaries, "wait_off": primaries}
    waiting = msgspec.structs.replace(lane.settings, wait_replicas=2)
    report = await Durability(lane, waiting, SystemClock()).report()
    found = {finding.code: finding.servers for finding in report.findings}
    assert found == {"no_aof": primaries, "too_few_replicas": primaries}


async def test_shops_on_every_primary_sell_through_one_lane(lane: Lane, cluster: Cluster) -> None:
    stalls = await opened(lane, cluster)
    await asyncio.gather(
        *(stall.reserves(f"s{n}", "k", ("tee", 1)) for n in range(40) for stall in stalls)
    )
    for stall in stalls:
        assert await stall.available() == {"tee": 2_960}
        assert (await stall.books()).drifts() == []


async def test_a_shopper_is_found_and_erased_wherever_the_shop_is(
    lane: Lane, rooms: Rooms, cluster: Cluster
) -> None:
    tee = CatalogEntry("tee", "The tee", Money(1500, "EUR"))
    stalls = await opened(lane, cluster)
    for stall in stalls:
        await rooms.catalog.put(stall.shop, (tee,))
        person = Person(rooms, stall.shop)
        await person.lives()
        walk = Walk(lane, stall.shop)
        assert (await walk.find(SHOPPER)).orders.keys() == {person.bought, person.declined}
        await Erasure(walk, lane.settings, SystemClock(), random.Random(1)).erase(SHOPPER)
        assert await traces(lane, stall.keys.meta, (*TEXTS, SHOPPER), stall.keys.every) == {}


async def test_while_a_shop_moves_half_of_it_does_not_pass_for_all(
    lane: Lane, cluster: Cluster
) -> None:
    stall, *_ = await opened(lane, cluster)
    await buys(stall, "ann")
    slot, walk = slot_of(stall.shop), Walk(lane, stall.shop)
    source = cluster.begins_to_move(slot, 1)
    with pytest.raises(Unavailable, match="is moving"):
        await walk.find("ann")
    cluster.ask(source, "CLUSTER", "SETSLOT", slot, "STABLE")
    cluster.ask(1, "CLUSTER", "SETSLOT", slot, "STABLE")
    assert len((await walk.find("ann")).holds) == 1


async def test_a_slot_moves_under_load_and_others_do_not_notice(
    rooms: Rooms, listener: NewsListener, cluster: Cluster, reads: Counter[str]
) -> None:
    stalls = await opened(rooms.lane, cluster)
    feeds = await listened(listener, cluster, stalls)
    moved, feed = stalls[0], feeds[0]
    others = {stall.shop: reads[stall.shop] for stall in stalls[1:]}
    moving = asyncio.create_task(asyncio.to_thread(cluster.moves, slot_of(moved.shop), 1))
    bought = 0
    while not moving.done() or bought < 50:
        bought += 1
        await asyncio.gather(*(buys(stall, f"s{bought}") for stall in stalls))
    await moving
    assert cluster.number_of(slot_of(moved.shop)) == 1
    for stall in stalls:
        assert await stall.available() == {"tee": 3_000 - 1 - bought}
        assert (await stall.books()).drifts() == []
    await subscribed(cluster, moved.shop)
    for stall, one in zip(stalls, feeds, strict=True):
        await knows(one, stall)
    assert {shop: reads[shop] for shop in others} == others
    # What no feed asks for by itself is heard, too.
    seen = reads[moved.shop]
    await rooms.catalog.put(moved.shop, (CatalogEntry("hat", "Hat", Money(900, "EUR")),))

    async def heard() -> bool:
        return "hat" in feed.showcase.catalog

    await eventually(heard)
    assert reads[moved.shop] == seen


async def listened(listener: NewsListener, cluster: Cluster, stalls: list[Stall]) -> list[Feed]:
    """The feeds of shops, each subscribed where the shop is."""
    feeds = [await listener.feed(stall.shop) for stall in stalls]
    for stall, feed in zip(stalls, feeds, strict=True):
        await buys(stall, "ann")
        await knows(feed, stall)
        await subscribed(cluster, stall.shop)
    return feeds


@pytest.mark.parametrize("move", [Cluster.moves, Cluster.moves_at_once])
async def test_a_read_that_waits_for_orders_goes_where_the_shop_goes(
    lane: Lane, cluster: Cluster, move: Callable[[Cluster, int, int], None]
) -> None:
    shop = cluster.shop_on(0)
    async with orders_of(lane, shop) as group:
        await sell(lane, shop, "o1")
        (first,) = await group.new(10, 100)
        reading = asyncio.create_task(takes(group))

        async def blocked() -> bool:
            return "blocked_clients:1" in cluster.ask(0, "INFO", "clients")

        await eventually(blocked)
        await asyncio.to_thread(move, cluster, slot_of(shop), 1)
        await sell(lane, shop, "o2")
        assert "o2" in {entry.order for entry in await reading}
        again, second = await insist(lambda: group.pending(START, 10))
        assert (again, second.order) == (first, "o2")


async def test_a_shop_half_moved_is_read_where_its_orders_are(lane: Lane, cluster: Cluster) -> None:
    shop = cluster.shop_on(0)
    slot, stream = slot_of(shop), ShopKeys(shop).orders
    async with orders_of(lane, shop) as group:
        await sell(lane, shop, "o1")
        cluster.begins_to_move(slot, 1)
        cluster.ask(0, "MIGRATE", HOST, cluster.servers[1].port, stream, 0, 5_000)
        await group.open()
        assert [entry.order for entry in await group.new(10, 10)] == ["o1"]
        assert [entry.order for entry in await group.pending(START, 10)] == ["o1"]
        cluster.moves(slot, 1)


async def test_a_server_falls_silent_and_only_its_shops_notice(
    rooms: Rooms, listener: NewsListener, cluster: Cluster, reads: Counter[str]
) -> None:
    lane, victim = rooms.lane, 2
    stalls = await opened(lane, cluster)
    feeds = await listened(listener, cluster, stalls)
    hit, others = stalls[victim], stalls[:victim]
    before = {stall.shop: reads[stall.shop] for stall in others}
    async with orders_of(lane, hit.shop) as group:
        await lane.command("WAIT", 1, 1_000, at=hit.keys.meta)
        cluster.freezes(victim)
        with pytest.raises(Unavailable):
            await hit.reserves("bob", "k", ("tee", 1))
        promotion = asyncio.to_thread(cluster.promoted, slot_of(hit.shop), victim)
        coming_back = asyncio.create_task(promotion)
        bought = 0
        while not coming_back.done():
            bought += 1
            # Not asked twice: there is nothing in the way of these.
            await asyncio.gather(*(one.reserves(f"b{bought}", "k", ("tee", 1)) for one in others))
            await asyncio.sleep(0.02)
        assert await coming_back == victim + PRIMARIES
        await buys(hit, "bob")
        await sell(lane, hit.shop, "o1")
        assert [entry.order for entry in await takes(group)] == ["o1"]
    await subscribed(cluster, hit.shop)
    for stall, feed in zip(stalls, feeds, strict=True):
        await knows(feed, stall)
        assert (await stall.books()).drifts() == []
    assert bought
    assert {shop: reads[shop] for shop in before} == before
    # Nothing goes on knocking at the server that is gone.
    gone = (HOST, cluster.servers[victim].port)
    assert gone not in lane.servers
    assert gone not in {server for server, _ in lane._tracks}
    assert not {way for way in lane._runs if way not in lane._tracks}
    await asyncio.to_thread(cluster.revives, victim)
