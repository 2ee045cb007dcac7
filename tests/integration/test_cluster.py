"""The lane on a real cluster: every request finds its server, also while slots and servers move."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.lane import Lane, served
from gateway.sandbox.warden import Warden
from tests.cluster import Cluster, slot_of
from tests.stall import Stall, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(warden: Warden) -> AsyncIterator[Cluster]:
    with Cluster(warden) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def lane(cluster: Cluster) -> AsyncIterator[Lane]:
    async with served(settings_for(cluster.url, "any")) as lane:
        yield lane


def stall_of(lane: Lane, cluster: Cluster, shop: str) -> Stall:
    return Stall(lane, settings_for(cluster.url, shop))


async def test_shops_on_every_primary_sell_through_one_lane(lane: Lane, cluster: Cluster) -> None:
    stalls = [stall_of(lane, cluster, cluster.shop_on(number)) for number in (0, 1, 2)]
    await asyncio.gather(*(stall.sells("tee", 40) for stall in stalls))
    await asyncio.gather(
        *(stall.reserves(f"s{n}", "k", ("tee", 1)) for n in range(40) for stall in stalls)
    )
    for stall in stalls:
        assert await stall.available() == {"tee": 0}
        assert (await stall.books()).drifts() == []


async def test_a_slot_moves_under_load_and_nothing_is_done_twice(
    lane: Lane, cluster: Cluster
) -> None:
    shop = cluster.shop_on(0)
    stall = stall_of(lane, cluster, shop)
    await stall.sells("tee", 300)
    slot = slot_of(shop)
    moving = asyncio.create_task(asyncio.to_thread(cluster.moves, slot, 1))
    bought = 0
    while not moving.done() or bought < 50:
        bought += 1
        await stall.reserves(f"s{bought}", "k", ("tee", 1))
    await moving
    assert cluster.number_of(slot) == 1
    assert await stall.available() == {"tee": 300 - bought}
    assert (await stall.books()).drifts() == []
