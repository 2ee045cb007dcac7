"""The index knows which events a shop's stream has, and reads on from where it was."""

import pytest

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.entry import event_id
from gateway.orders.index import Copy, EventIndex, Unreadable
from tests.sales import sell


async def test_it_knows_the_events_of_each_order(lane: Lane, shop: str) -> None:
    first = await sell(lane, shop, "o1")
    await sell(lane, shop, "o2")
    await sell(lane, shop, "o1", version=2)
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    assert (index.entries, index.orders(), index.copies) == (3, ["o1", "o2"], [])
    assert index.events("o1") == {event_id("o1", 1), event_id("o1", 2)}
    assert index.events("o3") == frozenset()
    assert index.first_ms("o1") == int(first.partition("-")[0])


async def test_it_reads_on(lane: Lane, shop: str) -> None:
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    for number in range(3):
        await sell(lane, shop, f"o{number}")
        await index.catch_up()
        await index.catch_up()
        assert index.entries == number + 1
    assert index.copies == []


async def test_a_copy_is_named_with_both_its_places(lane: Lane, shop: str) -> None:
    first = await sell(lane, shop, "o1")
    again = await sell(lane, shop, "o1")
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    assert index.copies == [Copy("o1", event_id("o1", 1), first, again)]


async def test_what_came_before_its_window_is_not_read(lane: Lane, shop: str) -> None:
    entry = await sell(lane, shop, "o1")
    index = EventIndex(lane, shop, int(entry.partition("-")[0]) + 1)
    await index.catch_up()
    assert index.entries == 0


@pytest.mark.parametrize("count", [199, 200, 201])
async def test_pages_join(lane: Lane, shop: str, count: int) -> None:
    fields = ("units", "[]", "event", "{}")
    for number in range(count):
        words = ("order", f"o{number}", "event_id", f"evt_o{number}_1", *fields)
        await lane.command("XADD", ShopKeys(shop).orders, "*", *words)
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    assert len(index.orders()) == count


async def test_an_event_that_cannot_be_read_is_there_and_named(lane: Lane, shop: str) -> None:
    fields = ("order", "o1", "event_id", "evt_o1_1", "event", "damaged")
    bad = (await lane.command("XADD", ShopKeys(shop).orders, "*", *fields)).decode()
    await sell(lane, shop, "o2")
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    await index.catch_up()
    assert index.unreadable == [Unreadable("o1", bad)]
    assert (index.entries, index.events("o1")) == (2, frozenset({"evt_o1_1"}))


async def test_what_is_no_event_of_an_order_is_passed_over_and_logged(
    lane: Lane, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = ShopKeys(shop).orders
    await lane.command("XADD", key, "*", "hello", "there")
    await sell(lane, shop, "o1")
    await lane.command("XADD", key, "*", "hello", "again")
    index = EventIndex(lane, shop, 0)
    await index.catch_up()
    await index.catch_up()
    assert (index.entries, index.orders()) == (1, ["o1"])
    ours = [one for one in caplog.records if one.name == "gateway.orders.index"]
    assert [one.getMessage() for one in ours] == [
        f"orders: {key} has entries that are no events of orders"
    ]
