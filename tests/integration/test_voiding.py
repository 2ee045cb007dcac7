"""A payment whose hold is gone: sold after all, or nothing charged and nothing owed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.sandbox.stripe.faults import Faults
from gateway.stock.audit import audit
from tests.bank import CREATE, REFUND
from tests.integration.conftest import Corner
from tests.purchase import SECOND_STEP, Purchase, holding

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(corner: Corner) -> AsyncIterator[Purchase]:
    async with holding(corner) as ann:
        yield ann


async def test_a_second_step_never_taken_ends_with_the_hold(ann: Purchase) -> None:
    assert await ann.pays(SECOND_STEP) == "requires_action"
    await ann.lapses()
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert (frame.state, frame.code) == ("declined", "hold_expired")
    assert (await ann.record()).phase is Phase.VOIDED
    assert await ann.charged() == [("canceled", 0)]
    assert await ann.left() == 5


async def test_approved_after_the_hold_has_lapsed_it_is_sold_after_all(
    ann: Purchase,
) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.lapses()
    assert await ann.left() == 5
    await ann.second_step(frame)
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.left() == 4
    assert (await audit(ann.rooms.lane, ann.shop)).drift == ()


async def test_approved_after_the_hold_has_lapsed_and_the_units_are_gone_it_is_voided(
    ann: Purchase,
) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.lapses()
    await ann.walk_in(-5)
    await ann.second_step(frame)
    after = await ann.settler.settle(ann.shop, ann.order)
    assert (after.state, after.code) == ("declined", "hold_expired")
    assert after.message
    assert "gone" in after.message
    assert await ann.charged() == [("canceled", 0)]
    assert (await audit(ann.rooms.lane, ann.shop)).drift == ()


async def test_giving_it_back_while_paying_voids(ann: Purchase) -> None:
    assert await ann.pays(SECOND_STEP) == "requires_action"
    await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert (frame.state, frame.code) == ("declined", "hold_already_released")
    assert await ann.charged() == [("canceled", 0)]


async def test_a_second_step_that_never_ends_ends_with_the_hold(ann: Purchase) -> None:
    await ann.bank.fails(second_step="never")
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame)
    assert await ann.settle() == "requires_action"
    await ann.bank.fails()
    await ann.lapses()
    assert await ann.settle() == "declined"
    assert await ann.charged() == [("canceled", 0)]


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


async def test_an_authorization_that_arrives_after_the_void_is_given_back(
    ann: Purchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe is slow; the shopper gives up; the sweep finds no intent and stops waiting for one."""
    go_on = asyncio.Event()

    async def held_up(_: Faults, endpoint: str) -> None:
        if endpoint == CREATE:
            await go_on.wait()

    monkeypatch.setattr(Faults, "hold_up", held_up)
    await ann.begins()
    key = ShopKeys(ann.shop).order(ann.order)
    slow = asyncio.create_task(ann.settler.settle(ann.shop, ann.order))
    try:
        async with asyncio.timeout(30):
            while (await ann.record()).asked_at is None:
                await asyncio.sleep(0.01)
        await ann.rooms.holds.release(ann.shop, "ann", ann.hold)
        await ann.rooms.lane.command("HSET", key, "asked_at", 1)
        assert await ann.settle() == "declined"
        assert (await ann.record()).phase is Phase.VOIDED
        assert await ann.charged() == []
        assert not slow.done()
    finally:
        go_on.set()
    assert (await slow).state == "declined"
    assert await ann.charged() == [("canceled", 0)]


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


async def test_a_charge_that_cannot_be_given_back_now_is_given_back_later(ann: Purchase) -> None:
    """Stripe repeats a 500 for a day under its key; the order is not forgotten meanwhile."""
    frame = await ann.frame(SECOND_STEP)
    await ann.lapses()
    await ann.second_step(frame)
    await ann.bank._ask("POST", f"/v1/payment_intents/{(await ann.record()).intent}/capture")
    await ann.walk_in(-5)
    plan = {"error_500_percent": 100, "error_500_effect": False, "times": 1}
    await ann.bank.fails(endpoint=REFUND, **plan)
    with pytest.raises(Unavailable):
        await ann.settle()
    record = await ann.record()
    assert (record.phase, record.given_back) == (Phase.VOIDING, record.intent)
    unsettled = ShopKeys(ann.shop).unsettled
    assert await ann.rooms.lane.command("ZSCORE", unsettled, ann.order) is not None
    assert await ann.settle() == "declined"
    [refund] = await ann.bank.refunds(record.intent or "")
    assert refund["amount"] == 1500
