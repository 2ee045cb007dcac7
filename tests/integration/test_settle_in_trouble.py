"""A payment whose answers are lost, late, broken or not durable: one charge or none."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.checkout.settle import _Case, _patient
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import pairs
from gateway.orders import entry
from tests.bank import CANCEL, CAPTURE, CREATE, Bank
from tests.integration.conftest import Corner
from tests.purchase import SECOND_STEP, Purchase

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(corner: Corner) -> AsyncIterator[Purchase]:
    bank = Bank(corner.stripe_url)
    ann = Purchase(corner, bank)
    await ann.reserves()
    yield ann
    await bank.fails()


async def test_a_capture_whose_reply_is_lost_charges_once(ann: Purchase) -> None:
    await ann.bank.fails(lose_reply_percent=100, endpoint=CAPTURE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    assert (await ann.record()).phase is Phase.COMMITTED
    await ann.bank.fails()
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


async def test_an_authorization_whose_reply_is_lost_is_asked_for_again(ann: Purchase) -> None:
    await ann.bank.fails(lose_reply_percent=100, endpoint=CREATE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    record = await ann.record()
    assert (record.phase, record.intent) == (Phase.PAYING, None)
    await ann.bank.fails()
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


async def test_an_authorization_nobody_knows_of_is_found_and_voided(ann: Purchase) -> None:
    await ann.bank.fails(lose_reply_percent=100, endpoint=CREATE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    await ann.bank.fails()
    await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    assert await ann.settle() == "declined"
    assert (await ann.record()).phase is Phase.VOIDED
    assert await ann.charged() == [("canceled", 0)]


async def test_a_create_that_may_still_arrive_is_waited_for(ann: Purchase) -> None:
    await ann.begins()
    asked_at = ann.rooms.clock.now_ms()
    await ann.rooms.lane.command("HSET", ShopKeys(ann.shop).order(ann.order), "asked_at", asked_at)
    await ann.lapses()
    assert await ann.settle() == "processing"
    assert (await ann.record()).phase is Phase.VOIDING
    await ann.rooms.lane.command("HSET", ShopKeys(ann.shop).order(ann.order), "asked_at", 1)
    await ann.settle()
    assert (await ann.record()).phase is Phase.VOIDED
    assert await ann.charged() == []


async def test_a_create_that_was_never_sent_is_not_waited_for(ann: Purchase) -> None:
    await ann.begins()
    await ann.lapses()
    assert await ann.settle() == "declined"
    assert (await ann.record()).phase is Phase.VOIDED


async def test_an_authorization_that_arrives_after_the_void_is_given_back(ann: Purchase) -> None:
    """Stripe is slow; the shopper gives up; the sweep finds no intent and stops waiting for one."""
    await ann.bank.fails(latency_ms=700, endpoint=CREATE)
    await ann.begins()
    key = ShopKeys(ann.shop).order(ann.order)
    slow = asyncio.create_task(ann.settler.settle(ann.shop, ann.order))
    async with asyncio.timeout(5):
        while (await ann.record()).asked_at is None:
            await asyncio.sleep(0.01)
    await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    await ann.rooms.lane.command("HSET", key, "asked_at", 1)
    assert await ann.settle() == "declined"
    assert (await ann.record()).phase is Phase.VOIDED
    assert await ann.charged() == []
    assert (await slow).state == "declined"
    assert await ann.charged() == [("canceled", 0)]


async def test_an_authorization_that_is_gone_puts_the_units_back(ann: Purchase) -> None:
    await ann.bank.fails(lock_percent=100, endpoint=CAPTURE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    record = await ann.record()
    assert record.phase is Phase.COMMITTED
    assert record.intent
    await ann.bank.fails()
    await ann.rooms.payments.cancel(ann.shop, record, record.intent)  # as after seven days
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert (await ann.record()).phase is Phase.FAILED
    assert await ann.charged() == [("canceled", 0)]
    assert await ann.left() == 5


@pytest.mark.parametrize("endpoint", [CREATE, CAPTURE])
async def test_a_500_that_took_effect_is_seen_through(ann: Purchase, endpoint: str) -> None:
    await ann.bank.fails(error_500_percent=100, endpoint=endpoint)
    assert await ann.pays() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


async def test_a_500_without_effect_authorizes_nothing(ann: Purchase) -> None:
    await ann.bank.fails(error_500_percent=100, error_500_effect=False, endpoint=CREATE)
    await ann.begins()
    with pytest.raises(Unavailable):
        await ann.settle()
    # Under this key Stripe says so for a day: the attempt is over, and nothing was made.
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert (frame.state, frame.decline_code) == ("declined", "processing_error")
    assert await ann.charged() == []
    await ann.bank.fails()
    assert await ann.pays("pm_card_mastercard") == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


@pytest.mark.parametrize("endpoint", [CANCEL, CAPTURE])
async def test_after_a_500_without_effect_another_key_is_asked(
    ann: Purchase, endpoint: str
) -> None:
    """A capture or a cancellation cannot happen twice, so that another key is safe."""
    plan = {"error_500_percent": 100, "error_500_effect": False, "times": 1}
    await ann.bank.fails(endpoint=endpoint, **plan)
    if endpoint == CANCEL:
        await ann.pays(SECOND_STEP)
        await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
        outcome, charged = "declined", ("canceled", 0)
    else:
        await ann.begins()
        outcome, charged = "confirmed", ("succeeded", 1500)
    with pytest.raises(Unavailable):
        await ann.settle()
    assert await ann.settle() == outcome
    assert await ann.charged() == [charged]


async def test_replicas_that_do_not_confirm_mean_no_capture(ann: Purchase) -> None:
    rooms = ann.rooms
    strict = msgspec.structs.replace(rooms.settings, wait_replicas=1, wait_timeout_ms=50)
    lane_settings, rooms.lane.settings = rooms.lane.settings, strict
    records = type(rooms.records)(rooms.lane, strict)
    settler = dataclasses.replace(ann.settler, records=records, settings=strict)
    await ann.begins()
    try:
        for _ in range(2):
            assert (await settler.settle(ann.shop, ann.order)).state == "processing"
        assert (await ann.record()).phase is Phase.COMMITTED
        assert await ann.charged() == [("requires_capture", 0)]
        # A replica without the sale takes over: it is written there as it was here.
        keys = ShopKeys(ann.shop)
        await rooms.lane.command("HDEL", keys.order(ann.order), "units")
        await rooms.lane.command("HSET", keys.order(ann.order), "phase", "paying")
        await rooms.lane.command("HSET", keys.hold(ann.hold), "state", "active")
        record = msgspec.structs.replace(await ann.record(), phase=Phase.COMMITTED)
        assert await settler._capture(_Case(ann.shop, record, _patient)) is False
        written = await rooms.lane.command("XRANGE", keys.orders, "-", "+")
        events = [entry.decode(pairs(fields)["event"]).id for _, fields in written]
        assert events == [entry.event_id(ann.order, 1)] * 2
    finally:
        rooms.lane.settings = lane_settings
    assert await ann.settle() == "confirmed"


async def test_somebody_else_captures_while_it_is_voided(ann: Purchase) -> None:
    """By hand, at Stripe: what was taken without a sale goes back, once."""
    await ann.pays(SECOND_STEP)
    await ann.bank.fails(cancel_loses_percent=100, times=1)
    await ann.second_step(await ann.settler.settle(ann.shop, ann.order))
    await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    frame = await ann.settler.settle(ann.shop, ann.order)
    for _ in range(2):
        frame = await ann.settler.settle(ann.shop, ann.order)
    assert frame.state == "declined"
    assert frame.message
    assert "given back" in frame.message
    [refund] = await ann.bank.refunds(str((await ann.record()).intent))
    assert refund["amount"] == 1500
    assert (await ann.record()).phase is Phase.VOIDED


async def test_a_second_step_that_never_ends_ends_with_the_hold(ann: Purchase) -> None:
    await ann.bank.fails(second_step="never")
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame)
    assert await ann.settle() == "requires_action"
    await ann.bank.fails()
    await ann.lapses()
    assert await ann.settle() == "declined"
    assert await ann.charged() == [("canceled", 0)]
