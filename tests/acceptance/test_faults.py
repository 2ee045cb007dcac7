"""What goes wrong between a shopper, us, Redis and Stripe, and what must come of it: a row, a test.

Whatever happens, one charge or none, and the shopper hears which.

    here
    a reserve's reply is lost              the same hold again
    a gateway is killed, Redis pauses      latency; nothing is captured that replicas do not have
    Stripe times out, breaks, is down      the same keys; queued, with a place, within the hold

    in test_faults_money
    webhooks come often, late, too early   the same end
    webhooks are forged                    400, and nothing changes
    an amount, an intent is not its own    refused, voided, and written down
    approved after the deadline            sold if there is a unit left, else voided

``test_lane`` loses the replies of every script, ``test_webhook`` forges more, and ``test_settle``
settles step by step what is settled here as a whole.

A gateway dies with 200 payments under way, in depth alone; ``HOLDFAST_TEST_PAYMENTS=60`` makes them
fewer.
"""

import asyncio
import contextlib
import os
import signal
import time

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.sandbox.valkey import EmbeddedValkey
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from gateway.stock.holds import order_id
from tests.acceptance.buyer import Buyer
from tests.acceptance.market import open_market
from tests.acceptance.place import PATIENCE_S, UNITS, Place, hears_the_end, holds, opened
from tests.bank import CAPTURE, CREATE
from tests.depth import many, only_deep
from tests.integration.conftest import settings_of
from tests.processes import free_port
from tests.proxy import open_proxy
from tests.sales import eventually
from tests.shopper import Message, Shopper

PAYMENTS = many("PAYMENTS", 200, 200)
"""More than Stripe grants in two seconds."""

# Redis


async def test_reserve_executes_and_its_reply_is_dropped_three_times(
    settings: Settings, valkey: EmbeddedValkey
) -> None:
    async with open_proxy(valkey.port) as proxy:
        behind = msgspec.structs.replace(settings, redis_url=proxy.url)
        async with opened(behind) as place, place.site.shopper("ann") as ann:
            proxy.lose_replies(3)
            line = {"sku": "tee", "quantity": 1}
            first = await ann.ask("reserve", key="k", lines=[line])
            assert first["code"] == "unavailable"
            again = await holds(ann)
            assert await holds(ann) == again
            assert await place.left() == UNITS - 1
            assert (await ann.pays(again))["state"] == "confirmed"
            await place.adds_up()


async def test_redis_paused_1_s(place: Place, valkey: EmbeddedValkey) -> None:
    """In the middle of payments: it takes longer, and that is all."""
    await place.bank.fails(reply_delay_ms=300, endpoint=CREATE)
    async with contextlib.AsyncExitStack() as stack:
        names = [f"s{n}" for n in range(4)]
        shoppers = [await stack.enter_async_context(place.site.shopper(name)) for name in names]
        mine = [await holds(shopper) for shopper in shoppers]
        paying = [
            asyncio.create_task(shopper.pays(hold))
            for shopper, hold in zip(shoppers, mine, strict=True)
        ]

        async def authorized() -> bool:
            return bool((await place.bank.summary())["payment_intents"])

        await eventually(authorized)
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(1)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        replies = await asyncio.gather(*paying)
        for shopper, reply in zip(shoppers, replies, strict=True):
            assert (await hears_the_end(shopper, reply))["state"] == "confirmed"
    assert (await place.bank.summary())["captured"] == {"count": 4, "amount": {"eur": 6000}}
    await place.adds_up()


async def test_all_replicas_down(warden: Warden, shop: str) -> None:
    """Nothing new is held or paid for that only the primary would know of."""
    with EmbeddedValkey(warden.group, port=free_port()) as primary:
        replicaof = {"replicaof": f"127.0.0.1 {primary.port}"}
        with EmbeddedValkey(warden.group, port=free_port(), config=replicaof) as replica:
            changes = {"wait_replicas": 1, "settle_interval_s": 1}
            settings = msgspec.structs.replace(settings_of(primary.url, shop), **changes)
            async with opened(settings) as place, place.site.shopper("ann") as ann:
                await _replicated(place, 1)
                assert (await ann.buys("tee", "k1"))["state"] == "confirmed"
                hold = await holds(ann, "k2")
                replica.stop()
                await _replicated(place, 0)
                lines = [{"sku": "tee", "quantity": 1}]
                for refused in (
                    await ann.ask("reserve", key="k3", lines=lines),
                    await ann.pays(hold),
                ):
                    assert (refused["code"], refused["reason"]) == ("unavailable", "paused")
                order = order_id(hold["id"])
                assert await place.charges(order) == []
                replica.start()
                await _replicated(place, 1)
                await _paying(ann, hold)
                await place.comes_to(order, Phase.CAPTURED)
                assert await place.charges(order) == [("succeeded", 1500)]
                await place.adds_up()


async def _paying(shopper: Shopper, hold: Message) -> None:
    """A replica counts once it is in step, a moment after it is there."""

    async def taken() -> bool:
        return bool((await shopper.pays(hold))["type"] == "checkout")

    await eventually(taken, PATIENCE_S)


async def _replicated(place: Place, replicas: int) -> None:
    async def so_many() -> bool:
        role = await place.site.rooms.lane.command("ROLE")
        return len(role[2]) == replicas

    await eventually(so_many, PATIENCE_S)


# The gateway


@only_deep
async def test_gateway_killed_with_many_payments_under_way(redis_url: str, warden: Warden) -> None:
    """All settle through the other within 30 s, at the rate Stripe grants."""
    pace = {"hold_ttl_s": 5, "payment_budget_s": 60}
    async with open_market(redis_url, warden, 25, **pace) as market:
        await market.opens("tee", PAYMENTS)
        # Some have been asked for, and will be made when whoever asked is dead.
        await market.bank.fails(latency_ms=4000, endpoint=CREATE)
        victim, doors = market.sockets[0], asyncio.Event()
        buyers = [Buyer(market, f"s{n}", victim) for n in range(PAYMENTS)]
        visits = [asyncio.create_task(buyer.visit(doors)) for buyer in buyers]
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(buyer.is_in.wait() for buyer in buyers))
            doors.set()

            async def under_way() -> bool:
                return await market.running(victim) == PAYMENTS

            await eventually(under_way, PATIENCE_S)
            await market.dies(victim)
            await market.bank.fails()
            async with asyncio.timeout(30):
                await asyncio.gather(*(buyer.done.wait() for buyer in buyers))
        finally:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
        assert {buyer.outcome and buyer.outcome["state"] for buyer in buyers} == {"confirmed"}
        assert await market.bank.statuses(market.shop) == {"succeeded": PAYMENTS}
        assert (await market.audit()).drift == ()


# Stripe


async def test_capture_times_out_after_it_took_effect(place: Place) -> None:
    await place.bank.fails(reply_delay_ms=3000, endpoint=CAPTURE)
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        reply = asyncio.create_task(ann.pays(hold))
        order = order_id(hold["id"])

        async def charged() -> bool:
            return await place.charges(order) == [("succeeded", 1500)]

        await eventually(charged)
        assert (await place.record(order)).phase is Phase.COMMITTED
        await place.bank.fails()
        assert (await hears_the_end(ann, await reply))["state"] == "confirmed"
        assert await place.charges(order) == [("succeeded", 1500)]
    await place.adds_up()


@pytest.mark.parametrize("endpoint", [CREATE, CAPTURE])
async def test_stripe_500_replayed(place: Place, endpoint: str) -> None:
    """It had worked, and Stripe will not say so under that key: the state is read."""
    await place.bank.fails(error_500_percent=100, times=1, endpoint=endpoint)
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        reply = await hears_the_end(ann, await ann.pays(hold))
        assert reply["state"] == "confirmed"
        assert await place.charges(order_id(hold["id"])) == [("succeeded", 1500)]


@pytest.mark.parametrize("endpoint", [CREATE, CAPTURE])
async def test_stripe_429(place: Place, endpoint: str) -> None:
    """Asked again under the same key: one intent, one attempt."""
    await place.bank.fails(lock_percent=100, times=5, endpoint=endpoint)
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        assert (await hears_the_end(ann, await ann.pays(hold)))["state"] == "confirmed"
        order = order_id(hold["id"])
        assert await place.charges(order) == [("succeeded", 1500)]
        assert (await place.record(order)).attempt == 1


async def test_stripe_down_10_minutes(settings: Settings) -> None:
    """Some eighty times faster: eight seconds, of which a hold by itself would last six.

    As long as the budget, which is ten minutes unless the shop says otherwise.
    """
    pace = {"hold_ttl_s": 6, "payment_budget_s": 8, "stripe_rate_per_s": 25}
    async with (
        opened(msgspec.structs.replace(settings, **pace)) as place,
        place.swept(),
        contextlib.AsyncExitStack() as stack,
    ):
        names = [f"s{n}" for n in range(UNITS)]
        shoppers = [await stack.enter_async_context(place.site.shopper(name)) for name in names]
        mine = [await holds(shopper) for shopper in shoppers]
        await place.bank.fails(down=True)
        down_until = time.monotonic() + 8
        pay = (shopper.pays(hold) for shopper, hold in zip(shoppers, mine, strict=True))
        replies = await asyncio.gather(*pay)
        assert {reply["state"] for reply in replies} <= {"queued", "processing"}
        for shopper in shoppers:
            place_in_queue = await shopper.hears("checkout", state="queued")
            assert place_in_queue["position"] >= 1
            assert place_in_queue["eta_s"] >= 1
        await asyncio.sleep(max(0.0, down_until - time.monotonic()))
        assert (await place.bank.summary())["payment_intents"] == {}
        await place.bank.fails()
        back = time.monotonic()
        for shopper, reply in zip(shoppers, replies, strict=True):
            end = await shopper.hears("checkout", state="confirmed")
            assert end["hold"] == reply["hold"]
        assert time.monotonic() - back < 60
        orders = [order_id(hold["id"]) for hold in mine]
        assert [await place.charges(order) for order in orders] == [[("succeeded", 1500)]] * UNITS
        assert {(await place.record(order)).attempt for order in orders} == {1}
        await place.adds_up()
