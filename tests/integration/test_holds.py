"""The hold scripts through their methods, on a one-node cluster."""

import asyncio

import msgspec
import pytest

from gateway.errors import (
    HoldAlreadyReleased,
    HoldExpired,
    IdempotencyKeyReused,
    Invalid,
    LimitExceeded,
    NotFound,
    ShowNotLive,
    SoldOut,
)
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.model import CatalogEntry, Fulfillment, LineRequest, Money, Movement
from gateway.settings import Settings
from gateway.stock.holds import Held, Holds
from gateway.stock.movements import Movements
from gateway.stock.sweeper import expire_due

SHIP = Fulfillment()


class Shop:
    """A live show with some stock, and short words for what a shopper does."""

    def __init__(self, lane: Lane, settings: Settings, shop: str) -> None:
        self.lane, self.settings, self.shop = lane, settings, shop
        self.holds = Holds(lane, settings)
        self.movements = Movements(lane, settings)

    async def sells(
        self,
        sku: str,
        units: int,
        *,
        limit: int | None = None,
        price: int = 500,
        location: str = "main",
        currency: str = "EUR",
    ) -> None:
        entry = CatalogEntry(sku, sku, Money(price, currency), limit_per_shopper=limit)
        keys = ShopKeys(self.shop)
        await self.lane.command("HSET", keys.catalog, sku, msgspec.json.encode(entry))
        await self.lane.command("HSET", keys.shows, "tonight:state", "live")
        await self.movements.apply(self.shop, (received(sku, units, location),))

    async def reserve(
        self,
        shopper: str,
        key: str,
        *lines: tuple[str, int],
        show: str = "tonight",
        fulfillment: Fulfillment = SHIP,
    ) -> Held:
        wanted = tuple(LineRequest(sku, units) for sku, units in lines)
        return await self.holds.reserve(self.shop, shopper, show, key, wanted, fulfillment)

    async def available(self) -> dict[str, int]:
        return await self.movements.available(self.shop)


def received(sku: str, units: int, location: str = "main") -> Movement:
    return Movement(
        f"in-{sku}-{location}", "received", sku, location, units, "2026-11-21T20:00:00.000Z", "test"
    )


@pytest.fixture
def at(lane: Lane, settings: Settings, shop: str) -> Shop:
    return Shop(lane, settings, shop)


async def test_a_reservation_takes_units_off_sale(at: Shop) -> None:
    await at.sells("tee", 5)
    held = await at.reserve("ann", "k1", ("tee", 2))
    assert held.hold.state == "active"
    assert held.hold.total == Money(1000, "EUR")
    assert [(line.sku, line.quantity, line.location) for line in held.hold.lines] == [
        ("tee", 2, "main")
    ]
    assert await at.available() == {"tee": 3}


async def test_the_same_key_is_the_same_hold(at: Shop) -> None:
    await at.sells("tee", 5)
    first = await at.reserve("ann", "k1", ("tee", 2))
    again = await at.reserve("ann", "k1", ("tee", 2))
    assert again == first
    assert await at.available() == {"tee": 3}


async def test_the_same_key_sent_twice_in_one_call_is_one_hold(at: Shop) -> None:
    await at.sells("tee", 5)
    answers = await asyncio.gather(*(at.reserve("ann", "k1", ("tee", 2)) for _ in range(5)))
    assert len({answer.hold.id for answer in answers}) == 1
    assert await at.available() == {"tee": 3}


async def test_a_key_with_other_content_is_refused(at: Shop) -> None:
    await at.sells("tee", 5)
    await at.reserve("ann", "k1", ("tee", 2))
    with pytest.raises(IdempotencyKeyReused):
        await at.reserve("ann", "k1", ("tee", 3))


async def test_all_lines_or_none(at: Shop) -> None:
    await at.sells("tee", 5)
    await at.sells("cap", 1)
    with pytest.raises(SoldOut) as refused:
        await at.reserve("ann", "k1", ("tee", 1), ("cap", 2))
    assert refused.value.facts == {"sku": "cap", "available": 1}
    assert await at.available() == {"tee": 5, "cap": 1}


async def test_a_line_may_come_from_two_places(at: Shop) -> None:
    await at.sells("tee", 1)
    await at.sells("tee", 2, location="store-2")
    held = await at.reserve("ann", "k1", ("tee", 3))
    assert [(line.location, line.quantity) for line in held.hold.lines] == [
        ("main", 1),
        ("store-2", 2),
    ]
    assert await at.available() == {"tee": 0}


async def test_a_pickup_comes_from_its_own_place(at: Shop) -> None:
    await at.sells("tee", 1)
    await at.sells("tee", 2, location="store-2")
    pickup = Fulfillment("pickup", "store-2")
    held = await at.reserve("ann", "k1", ("tee", 2), fulfillment=pickup)
    assert [line.location for line in held.hold.lines] == ["store-2"]
    with pytest.raises(SoldOut):
        await at.reserve("bob", "k1", ("tee", 1), fulfillment=pickup)


async def test_the_limit_counts_every_hold_of_a_shopper(at: Shop) -> None:
    await at.sells("tee", 9, limit=2)
    await at.reserve("ann", "k1", ("tee", 1))
    await at.reserve("ann", "k2", ("tee", 1))
    with pytest.raises(LimitExceeded):
        await at.reserve("ann", "k3", ("tee", 1))
    await at.reserve("bob", "k1", ("tee", 2))


async def test_a_release_gives_the_units_and_the_limit_back(at: Shop) -> None:
    await at.sells("tee", 2, limit=1)
    held = await at.reserve("ann", "k1", ("tee", 1))
    released = await at.holds.release(at.shop, "ann", held.hold.id)
    again = await at.holds.release(at.shop, "ann", held.hold.id)
    assert (released.hold.state, again.hold.state) == ("released", "released")
    assert await at.available() == {"tee": 2}
    await at.reserve("ann", "k2", ("tee", 1))
    with pytest.raises(HoldAlreadyReleased):
        await at.holds.extend(at.shop, "ann", held.hold.id)


async def test_another_shoppers_hold_does_not_exist(at: Shop) -> None:
    await at.sells("tee", 2)
    held = await at.reserve("ann", "k1", ("tee", 1))
    with pytest.raises(NotFound):
        await at.holds.release(at.shop, "bob", held.hold.id)
    with pytest.raises(NotFound):
        await at.holds.extend(at.shop, "bob", held.hold.id)
    assert await at.available() == {"tee": 1}


async def test_nothing_is_sold_outside_a_live_show(at: Shop) -> None:
    await at.sells("tee", 2)
    await at.lane.command("HSET", ShopKeys(at.shop).shows, "later:state", "scheduled")
    with pytest.raises(ShowNotLive):
        await at.reserve("ann", "k1", ("tee", 1), show="later")
    with pytest.raises(NotFound):
        await at.reserve("ann", "k1", ("tee", 1), show="nowhere")
    with pytest.raises(NotFound):
        await at.reserve("ann", "k2", ("hat", 1))


@pytest.mark.parametrize("price", [0, 100_000_000])
async def test_a_total_nobody_can_pay_is_not_held(at: Shop, price: int) -> None:
    await at.sells("tee", 2, price=price)
    with pytest.raises(Invalid):
        await at.reserve("ann", "k1", ("tee", 1))
    assert await at.available() == {"tee": 2}


async def test_two_currencies_are_not_one_total(at: Shop) -> None:
    await at.sells("tee", 2)
    await at.sells("cap", 2, currency="USD")
    with pytest.raises(Invalid):
        await at.reserve("ann", "k1", ("tee", 1), ("cap", 1))


async def test_expired_units_return_and_the_hold_stays_expired(
    lane: Lane, settings: Settings, shop: str
) -> None:
    at = Shop(lane, msgspec.structs.replace(settings, hold_ttl_s=1), shop)
    await at.sells("tee", 1)
    held = await at.reserve("ann", "k1", ("tee", 1))
    async with asyncio.timeout(30):
        while not await expire_due(lane, settings, shop):
            await asyncio.sleep(0.02)
    assert await at.available() == {"tee": 1}
    with pytest.raises(HoldExpired):
        await at.holds.extend(shop, "ann", held.hold.id)
    repeated = await at.reserve("ann", "k1", ("tee", 1))
    assert repeated.hold.state == "expired"
    assert await expire_due(lane, settings, shop) == 0


async def test_a_past_deadline_is_not_extended_even_before_the_sweep(
    lane: Lane, settings: Settings, shop: str
) -> None:
    at = Shop(lane, settings, shop)
    await at.sells("tee", 1)
    held = await at.reserve("ann", "k1", ("tee", 1))
    await lane.command("HSET", ShopKeys(shop).hold(held.hold.id), "expires_at", 1000)
    with pytest.raises(HoldExpired):
        await at.holds.extend(shop, "ann", held.hold.id)


async def test_extending_moves_the_deadline_up_to_the_longest_life(
    lane: Lane, settings: Settings, shop: str
) -> None:
    at = Shop(lane, msgspec.structs.replace(settings, hold_ttl_s=100, hold_max_s=100), shop)
    await at.sells("tee", 1)
    held = await at.reserve("ann", "k1", ("tee", 1))
    extended = await at.holds.extend(shop, "ann", held.hold.id)
    assert extended.hold.expires_at == held.hold.expires_at
    longer = Holds(lane, msgspec.structs.replace(settings, hold_ttl_s=300, hold_max_s=400))
    assert (await longer.extend(shop, "ann", held.hold.id)).hold.expires_at > held.hold.expires_at
