"""One order as the POS may see it now."""

import pytest

from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders import entry
from gateway.orders.current import find
from tests.sales import event_of


async def kept(lane: Lane, shop: str, phase: str) -> None:
    event = entry.encode(event_of(shop, "ord_1"))
    await lane.command("HSET", ShopKeys(shop).order("ord_1"), "phase", phase, "event", event)


async def test_an_order_whose_money_is_there_is_its_event(lane: Lane, shop: str) -> None:
    await kept(lane, shop, "captured")
    assert await find(lane, shop, "ord_1") == event_of(shop, "ord_1")


@pytest.mark.parametrize("phase", ["committed", "failed"])
async def test_an_order_without_its_money_is_none(lane: Lane, shop: str, phase: str) -> None:
    await kept(lane, shop, phase)
    assert await find(lane, shop, "ord_1") is None


async def test_a_payment_that_sold_nothing_is_none(lane: Lane, shop: str) -> None:
    await lane.command("HSET", ShopKeys(shop).order("ord_1"), "phase", "paying")
    assert await find(lane, shop, "ord_1") is None
    assert await find(lane, shop, "ord_2") is None
