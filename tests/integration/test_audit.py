"""The audit finds what was done to the stock behind the ledger's back, and mends what it can."""

import msgspec
import pytest

from gateway.commands.audit_report import in_words
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money, Movement, Show
from gateway.rooms import Rooms
from gateway.stock import rows
from gateway.stock.audit import Drift, audit

NOW = "2026-11-21T20:00:00.000Z"


@pytest.fixture
async def selling(rooms: Rooms, shop: str) -> str:
    """A shop with ten tees, two of them held by a shopper; the hold's id."""
    await rooms.catalog.put(shop, (CatalogEntry("tee", "Tee", Money(500, "EUR")),))
    received = Movement("in", "received", "tee", "main", 10, NOW, "test")
    await rooms.movements.apply(shop, (received,))
    await rooms.shows.put(shop, Show("tonight", "Tonight"))
    await rooms.shows.move(shop, "tonight", "live")
    lines = (LineRequest("tee", 2),)
    held = await rooms.holds.reserve(shop, "ann", "tonight", "k1", lines, Fulfillment())
    return held.hold.id


async def tamper(lane: Lane, shop: str, **quantities: int) -> None:
    key = ShopKeys(shop).stock
    (row,) = rows.decode(await lane.command("HGET", key, "tee"))
    changed = msgspec.structs.replace(row, **quantities)
    await lane.command("HSET", key, "tee", msgspec.json.encode([changed]))


async def test_an_honest_shop_has_no_drift(rooms: Rooms, shop: str, selling: str) -> None:
    verdict = await audit(rooms.lane, shop)
    assert (verdict.drift, verdict.active_holds, verdict.movements) == ((), 1, 2)


async def test_an_unknown_shop_has_no_drift(rooms: Rooms, shop: str) -> None:
    assert (await audit(rooms.lane, shop)).drift == ()


async def test_a_changed_quantity_is_named_by_sku_and_location(
    rooms: Rooms, shop: str, selling: str
) -> None:
    await tamper(rooms.lane, shop, on_hand=11, held=1)
    assert (await audit(rooms.lane, shop)).drift == (
        Drift("tee", "main", "on_hand", expected=10, found=11),
        Drift("tee", "main", "held", expected=2, found=1),
    )


async def test_a_repair_sets_what_the_ledger_says_and_tells_the_viewers(
    rooms: Rooms, shop: str, selling: str
) -> None:
    await tamper(rooms.lane, shop, on_hand=11, held=1, next_unit=7)
    repaired = await audit(rooms.lane, shop, repair=True)
    assert [drift.repaired for drift in repaired.drift] == [True, True]
    again = await audit(rooms.lane, shop)
    assert again.drift == ()
    assert again.version == repaired.version + 1
    assert await rooms.movements.available(shop) == {"tee": 8}


async def test_a_row_that_vanished_is_named_and_written_again(
    rooms: Rooms, shop: str, selling: str
) -> None:
    await rooms.lane.command("HDEL", ShopKeys(shop).stock, "tee")
    assert len((await audit(rooms.lane, shop, repair=True)).drift) == 2
    assert await rooms.movements.available(shop) == {"tee": 8}


@pytest.mark.parametrize("damaged", [b"\xff", b'[["\xff",1,2,3,4,5,6]]', b"[[1]]", b""])
async def test_a_row_that_cannot_be_read_is_named_and_keeps_up_no_other(
    rooms: Rooms, shop: str, selling: str, damaged: bytes
) -> None:
    """A newer version wrote it, say: then a repair would take from it what it has."""
    received = Movement("in2", "received", "cap", "main", 4, NOW, "test")
    await rooms.catalog.put(shop, (CatalogEntry("cap", "Cap", Money(500, "EUR")),))
    await rooms.movements.apply(shop, (received,))
    key = ShopKeys(shop).stock
    await rooms.lane.command("HSET", key, "tee", damaged)
    await rooms.lane.command("HSET", key, "cap", '[["main",5,0,0,0,1,0]]')
    verdict = await audit(rooms.lane, shop, repair=True)
    unreadable, cap = verdict.drift
    assert (unreadable.sku, unreadable.quantity) == ("tee", "record_unreadable")
    assert not unreadable.repaired
    assert cap == Drift("cap", "main", "on_hand", expected=4, found=5, repaired=True)
    assert "  tee: record_unreadable (" in in_words(verdict)
    assert await rooms.lane.command("HGET", key, "tee") == damaged


async def test_units_of_a_hold_that_is_gone_are_left_to_a_person(
    rooms: Rooms, shop: str, selling: str
) -> None:
    await rooms.lane.command("DEL", ShopKeys(shop).hold(selling))
    (drift,) = (await audit(rooms.lane, shop, repair=True)).drift
    assert (drift.quantity, drift.found, drift.repaired) == ("hold", 2, False)
    assert selling in drift.why


async def test_an_active_hold_without_units_is_named(rooms: Rooms, shop: str, selling: str) -> None:
    keys = ShopKeys(shop)
    lines = (
        '[{"sku":"tee","quantity":3,"location":"main","unit_price":{"amount":1,"currency":"EUR"}}]'
    )
    await rooms.lane.command("HSET", keys.hold("h_ghost"), "state", "active", "lines", lines)
    await rooms.lane.command("ZADD", keys.deadlines, 1, "h_ghost:ann")
    (drift,) = (await audit(rooms.lane, shop)).drift
    assert (drift.sku, drift.location, drift.expected, drift.found) == ("tee", "main", 3, 0)
    assert "h_ghost" in drift.why


async def test_a_hold_that_has_not_all_its_units_is_named(
    rooms: Rooms, shop: str, selling: str
) -> None:
    key = ShopKeys(shop).hold(selling)
    lines = await rooms.lane.command("HGET", key, "lines")
    more = lines.replace(b'"quantity":2', b'"quantity":5')
    assert more != lines
    await rooms.lane.command("HSET", key, "lines", more)
    (drift,) = (await audit(rooms.lane, shop)).drift
    assert (drift.quantity, drift.expected, drift.found) == ("hold", 5, 2)


async def test_a_unit_sold_twice_is_named_by_its_number(
    rooms: Rooms, shop: str, selling: str
) -> None:
    sold = ("kind", "committed", "sku", "tee", "location", "main", "quantity", 1, "on_hand", 0)
    more = ("safety_stock", 0, "held", 0, "committed", 0, "reference", "x", "first_unit", 1)
    for _ in range(2):
        await rooms.lane.command("XADD", ShopKeys(shop).ledger, "*", *sold, *more)
    (drift,) = (await audit(rooms.lane, shop)).drift
    assert (drift.quantity, drift.found, drift.why) == ("unit", 2, "unit 1 was sold twice")
