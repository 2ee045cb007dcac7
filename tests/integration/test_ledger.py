"""The ledger, read by cursor: every movement once, and of whom a hold was."""

from typing import Any

import pytest

from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money, Movement, Show
from gateway.stock.ledger import MAX_PAGE
from tests.front_door import Door, problem

PATH = "/v1/stock/movements"
NOW = "2026-11-21T20:00:00.000Z"


async def sells_and_holds(door: Door, *shoppers: str) -> None:
    """Ten tees of a live show, and a hold of each shopper, again and again if named again."""
    rooms, shop = door.rooms, door.shop
    await rooms.catalog.put(shop, (CatalogEntry("tee", "Tee", Money(500, "EUR")),))
    received = Movement("in", "received", "tee", "main", 10, NOW, "test")
    await rooms.movements.apply(shop, (received,))
    await rooms.shows.put(shop, Show("tonight", "Tonight"))
    await rooms.shows.move(shop, "tonight", "live")
    for number, shopper in enumerate(shoppers):
        lines = (LineRequest("tee", 1),)
        await rooms.holds.reserve(shop, shopper, "tonight", f"k{number}", lines, Fulfillment())


async def test_a_new_shop_has_no_movements(door: Door) -> None:
    assert await door.get(PATH, "pos") == {"movements": [], "next": "0-0"}


async def test_every_movement_is_read_once_page_by_page(door: Door) -> None:
    await sells_and_holds(door, "ann", "ben", "cleo")
    first = await door.get(PATH, "pos", limit=3)
    second = await door.get(PATH, "pos", limit=3, after=first["next"])
    read: list[dict[str, Any]] = first["movements"] + second["movements"]
    assert [one["kind"] for one in read] == ["received", "held", "held", "held"]
    assert len({one["id"] for one in read}) == 4
    assert await door.get(PATH, "pos", after=second["next"]) == {
        "movements": [],
        "next": second["next"],
    }
    whole = (await door.get(PATH, "pos"))["movements"]
    assert whole == read
    assert (whole[0]["on_hand"], whole[0]["reference"]) == (10, "in")
    assert (whole[1]["held"], whole[1]["show"], whole[1]["sku"]) == (1, "tonight", "tee")


async def test_a_shopper_is_told_apart_and_not_named(door: Door) -> None:
    await sells_and_holds(door, "ann", "ben", "ann")
    _, one, two, three = (await door.get(PATH, "pos"))["movements"]
    assert one["shopper"] == three["shopper"] != two["shopper"]
    assert one["shopper"] != door.rooms.tokens.guest(door.shop, "ann")
    assert "ann" not in one["shopper"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": MAX_PAGE + 1}, {"limit": "x"}, {"after": "yesterday"}]
)
async def test_cursor_and_limit_are_checked(door: Door, query: dict[str, str | int]) -> None:
    problem(await door.ask("GET", PATH, "pos", params=query), 422, "invalid")
