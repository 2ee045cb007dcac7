"""The sweep finishes what nobody came back for, whatever stands in its way."""

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import AsyncGenerator
from typing import NoReturn

import pytest

from gateway.checkout.payment import Payments
from gateway.checkout.provider import Silent
from gateway.checkout.settle import Settler
from gateway.checkout.unknown import UnknownEvents
from gateway.clock import SystemClock
from gateway.errors import Unavailable
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.messages import Checkout, Payment
from gateway.model import CatalogEntry, Contact, Fulfillment, LineRequest, Money, Show
from gateway.reconcile.reconciler import Reconciler
from gateway.reconcile.statement import Paid, Statement
from gateway.rooms import Rooms, join
from gateway.settings import Settings
from gateway.stock.holds import order_id
from gateway.stock.standing import State, stand
from gateway.sweep import Sweep, serve
from tests.handoff import running
from tests.integration.conftest import Site
from tests.sales import eventually

PATIENCE_S = 10


async def until_captured(rooms: Rooms, shop: str, order: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            record = await rooms.records.find(shop, order)
            if record and record.phase == "captured":
                return
            await asyncio.sleep(0.02)


async def begun(site: Site, token: str = "pm_card_visa") -> str:
    """A payment that was begun and then forgotten; the order's id."""
    rooms, shop = site.rooms, site.shop
    await site.sells("tee", 2)
    lines = (LineRequest("tee", 1),)
    held = await rooms.holds.reserve(shop, "ann", "tonight", "k1", lines, Fulfillment())
    checkout = Checkout(
        1, held.hold.id, Money(1500, "EUR"), Payment(payment_method=token), Contact("a@example.com")
    )
    await rooms.records.begin(shop, "ann", checkout)
    return order_id(held.hold.id)


async def test_a_forgotten_payment_is_finished(site: Site) -> None:
    order = await begun(site)
    await site.rooms.lane.command("ZADD", ShopKeys(site.shop).unsettled, 0, order)
    sweep = site.sweep()
    await sweep.round(site.shop)
    await sweep.settled()
    await until_captured(site.rooms, site.shop, order)


async def test_a_payment_whose_hold_was_given_back_is_voided(site: Site) -> None:
    order = await begun(site, "pm_card_authenticationRequired")
    await site.rooms.settler.settle(site.shop, order)
    record = await site.rooms.records.find(site.shop, order)
    assert record
    assert record.pay_state == "requires_action"
    await site.rooms.holds.release(site.shop, "ann", record.hold)
    sweep = site.sweep()
    await sweep.round(site.shop)
    await sweep.settled()
    record = await site.rooms.records.find(site.shop, order)
    assert record
    assert record.phase == "voided"
    assert record.intent
    assert (await site.rooms.payments.read(record.intent)).status == "canceled"


async def test_a_defect_with_unknown_events_does_not_end_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    order, rounds = await begun(site), 0

    class Broken(UnknownEvents):
        async def retry(self, _: object) -> int:
            nonlocal rounds
            rounds += 1
            raise ValueError("a defect")

    rooms = site.rooms
    unknown = Broken(rooms.lane, rooms.clock, rooms.settings)
    await rooms.lane.command("ZADD", ShopKeys(site.shop).unsettled, 0, order)
    sweep = Sweep(dataclasses.replace(rooms, unknown=unknown))
    async with running(sweep):
        await until_captured(rooms, site.shop, order)
    assert rounds
    assert "unknown events: a round failed" in caplog.text


async def test_what_it_logs_of_an_outage_is_for_operators(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_silent(*_: object) -> NoReturn:
        raise Silent

    order = await begun(site)
    await site.rooms.lane.command("ZADD", ShopKeys(site.shop).unsettled, 0, order)
    monkeypatch.setattr(Settler, "settle", is_silent)
    sweep = site.sweep()
    await sweep.round(site.shop)
    await sweep.settled()
    assert f"sweep: shop {site.shop}: order {order}: Stripe does not answer." in caplog.messages


async def test_at_its_start_it_says_which_sales_a_crash_may_take_back(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    class Idle(Reconciler):
        async def look(self, *_: object) -> NoReturn:
            raise Unavailable("Nobody is to be asked.")

    caplog.set_level(logging.INFO, "gateway")
    lane, clock = Lane(settings), SystemClock()
    rooms = join(settings, clock, random.Random(1), lane, Payments(settings, lane, clock))
    serving = asyncio.create_task(serve(Sweep(rooms), Idle(rooms.settler)))

    async def said() -> bool:
        return "durability: captures at once" in caplog.text and "no_aof" in caplog.text

    try:
        await eventually(said)
        assert not serving.done()
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def test_it_goes_round_every_shop_and_survives_a_broken_one(site: Site) -> None:
    order = await begun(site)
    rooms = site.rooms
    broken = ShopKeys("a_broken_shop_" + site.shop[-8:])
    await rooms.lane.command("SADD", SHOPS, broken.shop)
    await rooms.lane.command("SET", broken.deadlines, "not a sorted set")
    await rooms.lane.command("ZADD", ShopKeys(site.shop).unsettled, 0, order)
    sweep = site.sweep()
    try:
        async with running(sweep):
            await until_captured(rooms, site.shop, order)
    finally:
        await rooms.lane.command("SREM", SHOPS, broken.shop)
        await rooms.lane.command("DEL", broken.deadlines)


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
async def test_a_clock_that_jumps_releases_nothing_early(site: Site, jump_ms: int) -> None:
    rooms, keys = site.rooms, ShopKeys(site.shop)
    await site.sells("tee", 2)
    lines = (LineRequest("tee", 1),)
    held = await rooms.holds.reserve(site.shop, "ann", "tonight", "k1", lines, Fulfillment())
    sweep = site.sweep()
    if jump_ms > 0:
        # A script has seen that time, and so will every other.
        later = rooms.clock.now_ms() + jump_ms
        await rooms.lane.command("HSET", keys.meta, "clock", later)
    else:
        # The deadline has passed by the server's clock; by ours it is an hour away.
        sweep = Sweep(dataclasses.replace(rooms, clock=Early(jump_ms)))
        await rooms.lane.command("ZADD", keys.deadlines, 1, f"{held.hold.id}:ann")
        await rooms.lane.command("HSET", keys.hold(held.hold.id), "expires_at", 1)
    await sweep.round(site.shop)
    assert sweep.jumped == {site.shop}
    (hold,) = await rooms.holds.of(site.shop, (held.hold.id,))
    assert hold.state == "active"


async def test_a_clock_that_is_mended_lets_holds_lapse(site: Site) -> None:
    rooms, keys = site.rooms, ShopKeys(site.shop)
    await site.sells("tee", 2)
    lines = (LineRequest("tee", 1),)
    held = await rooms.holds.reserve(site.shop, "ann", "tonight", "k1", lines, Fulfillment())
    await rooms.lane.command("ZADD", keys.deadlines, 1, f"{held.hold.id}:ann")
    await rooms.lane.command("HSET", keys.hold(held.hold.id), "expires_at", 1)
    true = await rooms.lane.command("HGET", keys.meta, "clock")
    sweep = site.sweep()
    await rooms.lane.command("HSET", keys.meta, "clock", rooms.clock.now_ms() + 3_600_000)
    await sweep.round(site.shop)
    await rooms.lane.command("HSET", keys.meta, "clock", true)
    await sweep.round(site.shop)
    assert sweep.jumped == set()
    (hold,) = await rooms.holds.of(site.shop, (held.hold.id,))
    assert hold.state == "expired"


async def lost(site: Site) -> None:
    """A shop sells one of two tees; then its server is lost, with all processes that knew it.

    Nobody bought on a socket, for a gateway that knew the shop would miss what is lost.
    """
    keys, order = ShopKeys(site.shop), await begun(site)
    await site.rooms.settler.settle(site.shop, order)
    await until_captured(site.rooms, site.shop, order)
    names = ("catalog", "deadlines", "ledger", "meta", "orders", "shows", "stock", "unsettled")
    gone = [getattr(keys, name) for name in names]
    await site.rooms.lane.command("DEL", *gone, keys.order(order), keys.movement("in-tee"))


async def opened_again(site: Site) -> None:
    """Who runs the shop opens it anew, and counts the tee that is sold among what it has."""
    await site.rooms.shows.put(site.shop, Show("tonight", "Tonight's show"))
    await site.rooms.shows.move(site.shop, "tonight", "live")
    await site.sells("tee", 2)


async def test_a_shop_that_seems_new_and_has_sold_before_is_rebuilt(site: Site) -> None:
    await lost(site)
    await opened_again(site)
    assert await site.rooms.movements.available(site.shop) == {"tee": 2}

    async def rebuilt() -> bool:
        return await site.rooms.movements.available(site.shop) == {"tee": 1}

    async with running(site.sweep()):
        await eventually(rebuilt)


async def test_a_shop_that_is_not_open_yet_is_not_taken_for_an_old_one(site: Site) -> None:
    """Its catalogue comes first, and a sweep may pass between that and its first show."""
    rooms, sweep = site.rooms, site.sweep()
    await lost(site)
    await rooms.catalog.put(site.shop, (CatalogEntry("tee", "The tee", Money(1500, "EUR")),))
    assert (await stand(rooms.lane, site.shop)).state is State.NEW
    await sweep.round(site.shop)
    await sweep.believe()
    await opened_again(site)
    await sweep.round(site.shop)
    await sweep.believe()
    assert await rooms.movements.available(site.shop) == {"tee": 1}


async def test_new_shops_share_a_reading_of_stripe(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings, paid = 0, Statement.paid

    def counted(statement: Statement, since_ms: int) -> AsyncGenerator[tuple[Paid, ...], None]:
        nonlocal readings
        readings += 1
        return paid(statement, since_ms)

    monkeypatch.setattr(Statement, "paid", counted)
    sweep = site.sweep()
    for n in range(5):
        shop = f"{site.shop}-{n}"
        await site.rooms.shows.put(shop, Show("tonight", "Tonight's show"))
        await sweep.round(shop)
    await sweep.believe()
    assert readings == 2, "one for the first who asked, and one for all others"
    await sweep.believe()
    assert readings == 2, "they are known now"


class Early(SystemClock):
    """A machine whose clock is behind or ahead."""

    def __init__(self, by_ms: int) -> None:
        self.by_ms = by_ms

    def now_ms(self) -> int:
        return super().now_ms() + self.by_ms
