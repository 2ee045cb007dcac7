"""Orders, pulled by the point of sale."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.clock import rfc3339
from gateway.keys import ShopKeys
from gateway.model import Contact, Line, Money, Order, OrderFulfillment, Tender
from gateway.orders import entry
from tests.front_door import Door, problem

PATH = "/v1/orders"


async def sold(door: Door, order: str, phase: str = "captured") -> dict[str, Any]:
    """Write what a commit leaves of an order; return its event as JSON."""
    price, now = Money(500, "EUR"), rfc3339(door.rooms.clock.now_ms())
    event = entry.event(
        door.shop,
        Order(
            id=order,
            order_version=1,
            state="confirmed",
            lines=(Line("tee", 1, price, "main"),),
            total=price,
            tenders=(Tender("card", price, "stripe", "pi_1"),),
            contact=Contact("ann@example.org"),
            fulfillment=OrderFulfillment("ship", "proposed"),
            show="tonight",
            occurred_at=now,
            recorded_at=now,
        ),
    )
    encoded, keys, lane = entry.encode(event), ShopKeys(door.shop), door.rooms.lane
    await lane.command("HSET", keys.order(order), "phase", phase, "event", encoded)
    added = ("order", order, "event_id", event.id, "event", encoded)
    await lane.command("XADD", keys.orders, "*", *added)
    told: dict[str, Any] = msgspec.json.decode(encoded)
    return told


async def test_orders_are_read_page_by_page(door: Door) -> None:
    events = [await sold(door, f"ord_{number}") for number in range(5)]
    first = await door.get(PATH, "pos", limit=3)
    assert first["orders"] == events[:3]
    second = await door.get(PATH, "pos", limit=3, after=first["next"])
    assert second["orders"] == events[3:]
    again = await door.get(PATH, "pos", after=second["next"])
    assert again == {"orders": [], "next": second["next"]}
    assert (await door.get(PATH, "pos", after=""))["orders"] == events


async def test_one_damaged_event_does_not_stop_a_till_that_pulls(door: Door) -> None:
    before = await sold(door, "ord_1")
    damaged = ("order", "ord_2", "event_id", "evt_ord_2_1", "event", "damaged")
    await door.rooms.lane.command("XADD", ShopKeys(door.shop).orders, "*", *damaged)
    after = await sold(door, "ord_3")
    assert (await door.get(PATH, "pos"))["orders"] == [before, after]


async def test_an_order_is_told_only_when_its_money_is_there(door: Door) -> None:
    await sold(door, "ord_1")
    await sold(door, "ord_2", phase="committed")
    await sold(door, "ord_3")
    page = await door.get(PATH, "pos")
    assert [event["subject"] for event in page["orders"]] == ["ord_1"]
    problem(await door.ask("GET", f"{PATH}/ord_2", "pos"), 404, "not_found")
    keys = ShopKeys(door.shop)
    await door.rooms.lane.command("HSET", keys.order("ord_2"), "phase", "captured")
    page = await door.get(PATH, "pos", after=page["next"])
    assert [event["subject"] for event in page["orders"]] == ["ord_2", "ord_3"]


async def test_a_waiting_request_answers_as_soon_as_there_is_an_order(door: Door) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = asyncio.create_task(door.get(PATH, "pos", wait_s=10))
    # The first look has found nothing once another request has been there and back.
    await door.get(PATH, "pos")
    event = await sold(door, "ord_1")
    page = await waiting
    assert page["orders"] == [event]
    assert loop.time() - began < 5


async def test_a_waiting_request_ends_without_an_order(door: Door) -> None:
    page = await door.get(PATH, "pos", wait_s=1)
    assert page == {"orders": [], "next": "0-0"}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "x"},
        {"limit": "9" * 400},
        {"wait_s": 31},
        {"wait_s": -1},
        {"after": "x"},
        {"after": "1"},
        {"after": "1-1 2"},
    ],
)
async def test_a_wrong_question_is_refused(door: Door, query: dict[str, Any]) -> None:
    problem(await door.ask("GET", PATH, "pos", params=query), 422, "invalid")


async def test_one_order_is_read_by_its_id_even_when_the_stream_is_trimmed(door: Door) -> None:
    event = await sold(door, "ord_1")
    await door.rooms.lane.command("DEL", ShopKeys(door.shop).orders)
    assert await door.get(f"{PATH}/ord_1", "pos") == event


async def test_an_order_that_is_none_is_not_found(door: Door) -> None:
    await sold(door, "ord_f", phase="failed")
    keys = ShopKeys(door.shop)
    await door.rooms.lane.command("HSET", keys.order("ord_p"), "phase", "paying")
    for order in ("ord_0", "ord_f", "ord_p"):
        problem(await door.ask("GET", f"{PATH}/{order}", "pos"), 404, "not_found")
    problem(await door.ask("GET", f"{PATH}/a:b", "pos"), 422, "invalid")
