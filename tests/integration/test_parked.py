"""Deliveries that were given up."""

from collections.abc import AsyncIterator

import pytest

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.group import OrderGroup
from gateway.orders.stream import Entry
from gateway.pos.parked import Parking
from tests.sales import sell

NOW = "2026-11-21T20:11:54.123Z"


@pytest.fixture
def parking(lane: Lane, shop: str) -> Parking:
    return Parking(lane, shop, "till")


@pytest.fixture
async def group(lane: Lane, shop: str) -> AsyncIterator[OrderGroup]:
    group = OrderGroup(lane, shop, "till")
    await group.open()
    yield group
    await group.close()


async def pending(parking: Parking, group: OrderGroup, order: str) -> Entry:
    """An order's entry, read by the group and not acknowledged."""
    await sell(parking.lane, parking.shop, order)
    (entry,) = await group.new(1, 10)
    return entry


async def still_pending(parking: Parking) -> int:
    reply = await parking.lane.command("XPENDING", ShopKeys(parking.shop).orders, "till")
    return int(reply[0])


async def test_parking_acknowledges_and_keeps_the_event_byte_for_byte(
    parking: Parking, group: OrderGroup
) -> None:
    entry = await pending(parking, group, "o1")
    await parking.park(entry, "status 500", 12, NOW)
    assert await still_pending(parking) == 0
    assert await parking.count() == 1
    ((entry_id, record),) = [item async for item in parking.listing()]
    assert entry_id == entry.id
    assert (record.order, record.reason, record.attempts) == ("o1", "status 500", 12)
    assert await parking.entries([entry.id]) == [entry]


async def test_what_was_delivered_meanwhile_is_not_parked(
    parking: Parking, group: OrderGroup
) -> None:
    entry = await pending(parking, group, "o1")
    await parking.lane.command("XACK", ShopKeys(parking.shop).orders, "till", entry.id)
    await parking.park(entry, "status 500", 12, NOW)
    assert await parking.count() == 0


async def test_parking_again_renews_the_record(parking: Parking, group: OrderGroup) -> None:
    entry = await pending(parking, group, "o1")
    await parking.park(entry, "status 500", 12, NOW)
    await parking.park(entry, "status 422", 24, NOW)
    ((_, record),) = [item async for item in parking.listing()]
    assert (record.reason, record.attempts) == ("status 422", 24)


async def test_what_arrived_after_all_is_forgotten(parking: Parking, group: OrderGroup) -> None:
    entry = await pending(parking, group, "o1")
    await parking.park(entry, "status 500", 12, NOW)
    await parking.settle(entry.id)
    assert await parking.count() == 0
    assert await parking.entries([entry.id]) == []
    assert await parking.entries([]) == []


async def test_another_try_can_be_asked_for_all_or_for_some(
    parking: Parking, group: OrderGroup
) -> None:
    for order in ("o1", "o2", "o3"):
        await parking.park(await pending(parking, group, order), "status 500", 12, NOW)
    assert await parking.retry(["o2", "unknown"]) == 1
    assert await parking.wanted() == ["o2"]
    assert await parking.retry() == 3
    assert await parking.wanted() == ["o1", "o2", "o3"]
    await parking.tried("o2")
    assert await parking.wanted() == ["o1", "o3"]


async def test_nothing_parked_is_nothing_to_try(parking: Parking) -> None:
    assert await parking.retry() == 0
    assert await parking.wanted() == []


async def test_what_cannot_be_read_stays_and_keeps_up_no_other(
    parking: Parking, group: OrderGroup
) -> None:
    entry = await pending(parking, group, "o1")
    await parking.park(entry, "status 500", 12, NOW)
    await parking.lane.command("HSET", ShopKeys(parking.shop).parked("till"), "1-1", "{}")
    assert [entry_id async for entry_id, _ in parking.listing()] == [entry.id]
    assert await parking.entries(["1-1", entry.id]) == [entry]
    assert await parking.retry() == 1
    assert await parking.count() == 2
