"""The gateway is killed between any two steps of the walk; nothing is lost and nothing is owed.

By default at every fifth of them, for each is a process or two; ``HOLDFAST_TEST_DEEP=yes`` has it
killed at all.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.checkout.payment import Payments
from gateway.clock import SystemClock
from gateway.environment import read
from gateway.keys import ShopKeys
from gateway.lane import served
from gateway.model import CatalogEntry, Money, Movement, Show
from gateway.rooms import Rooms, join
from gateway.sandbox.stripe import server as stripe_server
from gateway.sandbox.stripe.app import Settings as StripeSettings
from gateway.sandbox.warden import Warden
from gateway.stock.audit import Verdict, audit
from gateway.sweep import Sweep
from tests.depth import deep, sample
from tests.processes import Process, environment, free_port
from tests.shopper import connected, shopping

STEPS = [
    "before:hold_reserve:1",
    "hold_reserve:1",
    "before:pay_begin:1",
    "pay_begin:1",
    "order_move:1",
    "before:authorize",
    "authorize",
    "order_move:2",
    "before:hold_commit:1",
    "hold_commit:1",
    "before:capture",
    "capture",
    "order_move:3",
]
REST_S = 30
SOLD = {"hold_commit:1", "before:capture", "capture", "order_move:3"}
"""Dying here, the shopper has bought: the sale must be finished."""
COMES_BACK = {"before:hold_commit:1", "before:capture", "order_move:3"}
"""Where the gateway is started again, and the shopper comes back to it."""


@pytest.fixture
async def stripe_url() -> AsyncIterator[str]:
    async with stripe_server.serving(StripeSettings(per_endpoint=0, per_account=0)) as url:
        yield url


@dataclass
class Aftermath:
    """What is found once everything has come to rest."""

    verdict: Verdict
    captured: int
    open_authorizations: int
    orders: int


@contextlib.asynccontextmanager
async def joined(env: dict[str, str]) -> AsyncIterator[Rooms]:
    settings = read(env)
    async with served(settings) as lane:
        payments = Payments(settings, lane, SystemClock())
        yield join(settings, SystemClock(), random.Random(1), lane, payments)
    await payments.aclose()


async def open_shop(rooms: Rooms) -> None:
    shop = rooms.settings.shop
    await rooms.catalog.put(shop, (CatalogEntry("tee", "Tee", Money(1500, "EUR")),))
    now = "2026-11-21T20:00:00.000Z"
    stock = Movement("in", "received", "tee", "main", 3, now, "test")
    await rooms.movements.apply(shop, (stock,))
    await rooms.shows.put(shop, Show("tonight", "Tonight"))
    await rooms.shows.move(shop, "tonight", "live")


async def shop_until_it_dies(rooms: Rooms, gateway: Process, url: str) -> None:
    """Buy; the socket breaks in the middle."""
    ticket, _ = rooms.tokens.sign_ticket(rooms.settings.shop, "tonight", "ann")
    with contextlib.suppress(ConnectionClosed):
        async with shopping(url, ticket, "tonight") as ann:
            await ann.buys("tee", "k1")
    assert await gateway.ended() == -9


async def has_what_was_paid_for(rooms: Rooms, url: str, orders: int) -> None:
    """The shopper comes back to the gateway that was started again."""
    ticket, _ = rooms.tokens.sign_ticket(rooms.settings.shop, "tonight", "ann")
    async with connected(url) as ann:
        welcome = await ann.ask("connect", token=ticket, show="tonight")
    assert [order["state"] for order in welcome["orders"]] == ["confirmed"] * orders
    assert welcome["holds"] == []


async def come_to_rest(rooms: Rooms) -> None:
    """Sweep until no hold and no payment is under way."""
    keys, sweep = ShopKeys(rooms.settings.shop), Sweep(rooms)
    async with asyncio.timeout(REST_S):
        while True:
            await sweep.round(rooms.settings.shop)
            await sweep.settled()
            if not any(
                [await rooms.lane.command("ZCARD", key) for key in (keys.deadlines, keys.unsettled)]
            ):
                return
            await asyncio.sleep(0.1)


async def look(rooms: Rooms, stripe_url: str) -> Aftermath:
    shop = rooms.settings.shop
    async with httpx.AsyncClient() as client:
        listing = await client.get(
            f"{stripe_url}/v1/payment_intents?limit=100",
            headers={"authorization": f"Bearer {rooms.settings.stripe_api_key}"},
        )
    mine = [one for one in listing.json()["data"] if one["metadata"].get("shop") == shop]
    return Aftermath(
        verdict=await audit(rooms.lane, shop),
        captured=sum(one["status"] == "succeeded" for one in mine),
        open_authorizations=sum(one["status"] not in {"succeeded", "canceled"} for one in mine),
        orders=await rooms.lane.command("XLEN", ShopKeys(shop).orders),
    )


@deep
@pytest.mark.parametrize("step", sample(STEPS, 5))
async def test_killed_at(step: str, redis_url: str, stripe_url: str, warden: Warden) -> None:
    port, shop = free_port(), f"shop_{uuid.uuid4().hex}"
    env = environment(
        redis_url,
        stripe_url,
        shop,
        port=port,
        hold_ttl_s=2,
        payment_budget_s=6,
        stripe_timeout_ms=2000,
        settle_interval_s=1,
    )
    async with joined(env) as rooms:
        await open_shop(rooms)
        async with Process(warden, ["-m", "tests.acceptance.mortal", step], env) as gateway:
            await gateway.answers(f"http://127.0.0.1:{port}/livez")
            await shop_until_it_dies(rooms, gateway, f"ws://127.0.0.1:{port}/v1/live")
            await gateway.ended()
        await come_to_rest(rooms)
        after = await look(rooms, stripe_url)
        if step in COMES_BACK:
            async with Process(warden, ["-m", "gateway", "serve"], env) as again:
                await again.answers(f"http://127.0.0.1:{port}/readyz")
                await has_what_was_paid_for(rooms, f"ws://127.0.0.1:{port}/v1/live", after.captured)
    assert after.verdict.drift == ()
    assert after.open_authorizations == 0
    assert after.captured == after.orders == after.verdict.committed_units
    if step in SOLD:
        assert after.captured == 1
