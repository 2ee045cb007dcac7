"""What one webhook has still to get."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.group import OrderGroup
from gateway.orders.stream import START, OrderStream
from gateway.settings import Settings
from tests.sales import sell


@pytest.fixture
async def group(lane: Lane, shop: str) -> AsyncIterator[OrderGroup]:
    group = OrderGroup(lane, shop, "till")
    await group.open()
    yield group
    await group.close()


async def test_a_new_group_begins_with_the_oldest_order(lane: Lane, shop: str) -> None:
    await sell(lane, shop, "o1")
    late = OrderGroup(lane, shop, "late")
    await late.open()
    assert [entry.order for entry in await late.new(10, 10)] == ["o1"]
    await late.close()


async def test_opening_again_loses_no_place(group: OrderGroup, lane: Lane, shop: str) -> None:
    await sell(lane, shop, "o1")
    await group.new(10, 10)
    await group.open()
    assert await group.new(10, 10) == []


async def test_what_was_read_is_pending_until_it_is_acknowledged(
    group: OrderGroup, lane: Lane, shop: str
) -> None:
    for order in ("o1", "o2", "o3"):
        await sell(lane, shop, order)
    first, second, third = await group.new(10, 10)
    await OrderStream(lane, shop).acknowledge("till", second.id)
    assert await group.pending(START, 10) == [first, third]
    assert await group.pending(first.id, 10) == [third]


async def test_a_read_without_orders_ends_by_itself(group: OrderGroup) -> None:
    assert await group.new(10, 10) == []
    assert await group.pending(START, 10) == []


async def test_a_group_that_vanished_is_made_again(
    group: OrderGroup, lane: Lane, shop: str
) -> None:
    await sell(lane, shop, "o1")
    await lane.command("XGROUP", "DESTROY", ShopKeys(shop).orders, "till")
    assert await group.new(10, 10) == []
    assert [entry.order for entry in await group.new(10, 10)] == ["o1"]


async def test_a_pending_entry_that_was_deleted_is_not_pending_for_ever(
    group: OrderGroup, lane: Lane, shop: str
) -> None:
    await sell(lane, shop, "o1")
    (entry,) = await group.new(10, 10)
    await lane.command("XDEL", ShopKeys(shop).orders, entry.id)
    assert await group.pending(START, 10) == []
    assert (await lane.command("XPENDING", ShopKeys(shop).orders, "till"))[0] == 0


async def test_what_is_no_event_of_an_order_keeps_up_none_that_is(
    group: OrderGroup, lane: Lane, shop: str
) -> None:
    """Somebody wrote it by hand; it is done with."""
    await lane.command("XADD", ShopKeys(shop).orders, "*", "hello", "there")
    await sell(lane, shop, "o1")
    assert [entry.order for entry in await group.new(10, 10)] == ["o1"]
    assert [entry.order for entry in await group.pending(START, 10)] == ["o1"]
    assert (await lane.command("XPENDING", ShopKeys(shop).orders, "till"))[0] == 1


async def test_a_redis_that_is_away_is_an_error_of_ours(settings: Settings, shop: str) -> None:
    nowhere = replace(settings, redis_url="redis://127.0.0.1:1/0")
    group = OrderGroup(Lane(nowhere), shop, "till")
    with pytest.raises(Unavailable):
        await group.open()
    await group.close()
