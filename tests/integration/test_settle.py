"""The one way a payment moves on: whoever calls, however often, one charge or none."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.errors import NotFound
from gateway.keys import ShopKeys
from gateway.messages import Checkout, Payment
from gateway.model import Address, Contact, Fulfillment, LineRequest, Money
from tests.integration.conftest import SHOW, Corner
from tests.purchase import CARD, DECLINED, SECOND_STEP, Purchase, holding

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(corner: Corner) -> AsyncIterator[Purchase]:
    async with holding(corner) as ann:
        yield ann


async def test_from_authorized_to_captured(ann: Purchase) -> None:
    assert await ann.pays() == "confirmed"
    assert (await ann.record()).phase is Phase.CAPTURED
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.left() == 4
    [(_, entry)] = await ann.rooms.lane.command("XRANGE", ShopKeys(ann.shop).orders, "-", "+")
    assert ann.order.encode() in entry


async def test_settling_again_changes_nothing(ann: Purchase) -> None:
    await ann.pays()
    before = await ann.record()
    assert [await ann.settle() for _ in range(3)] == ["confirmed"] * 3
    assert await ann.record() == before
    assert await ann.rooms.lane.command("XLEN", ShopKeys(ann.shop).orders) == 1


async def test_many_who_settle_at_once_are_as_good_as_one(ann: Purchase) -> None:
    await ann.begins()
    states = await asyncio.gather(*(ann.settle() for _ in range(12)))
    assert set(states) <= {"confirmed", "processing"}
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]
    assert await ann.rooms.lane.command("XLEN", ShopKeys(ann.shop).orders) == 1


async def test_a_decline_leaves_the_hold_for_another_card(ann: Purchase) -> None:
    frame = await ann.frame(DECLINED)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert frame.decline_code == "insufficient_funds"
    assert await ann.left() == 4
    assert await ann.pays() == "confirmed"
    assert (await ann.record()).attempt == 2
    assert await ann.charged() == [("succeeded", 1500), ("canceled", 0)]


async def test_a_second_step_that_succeeds(ann: Purchase) -> None:
    frame = await ann.frame(SECOND_STEP)
    assert frame.state == "requires_action"
    await ann.second_step(frame)
    assert await ann.settle() == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]


async def test_a_second_step_that_fails_is_a_decline(ann: Purchase) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame, "fail")
    assert await ann.settle() == "declined"
    assert await ann.charged() == [("canceled", 0)]
    assert await ann.pays() == "confirmed"


async def test_a_key_that_comes_again_when_its_hold_is_forgotten_is_no_second_purchase(
    ann: Purchase,
) -> None:
    assert await ann.pays() == "confirmed"
    rooms, keys = ann.rooms, ShopKeys(ann.shop)
    hold_ttl_ms = await rooms.lane.command("PTTL", keys.hold(ann.hold))
    assert hold_ttl_ms > rooms.settings.hold_retention_s * 1000
    await rooms.lane.command("DEL", keys.hold(ann.hold))
    lines = (LineRequest("tee", 1),)
    again = await rooms.holds.reserve(ann.shop, "ann", SHOW, "k", lines, Fulfillment())
    assert again.hold.id == ann.hold
    assert await ann.pays("pm_card_mastercard") == "confirmed"
    assert await ann.charged() == [("succeeded", 1500)]
    await rooms.holds.release(ann.shop, "ann", ann.hold)
    assert (await ann.record()).phase is Phase.CAPTURED


async def test_a_total_stripe_will_never_take_is_a_definite_no(ann: Purchase) -> None:
    await ann.corner.sells("pin", 1, price=30)
    lines = (LineRequest("pin", 1),)
    held = await ann.rooms.holds.reserve(ann.shop, "ann", SHOW, "k2", lines, Fulfillment())
    payment = Payment(payment_method=CARD)
    command = Checkout(1, held.hold.id, Money(30, "EUR"), payment, Contact("ann@example.com"))
    order = await ann.rooms.records.begin(ann.shop, "ann", command)
    frame = await ann.settler.settle(ann.shop, order)
    assert (frame.state, frame.decline_code) == ("declined", "amount_too_small")


async def test_a_decline_takes_no_time_away(ann: Purchase) -> None:
    keys = ShopKeys(ann.shop)
    before = await ann.rooms.lane.command("HGET", keys.hold(ann.hold), "expires_at")
    assert await ann.pays(DECLINED) == "declined"
    after = await ann.rooms.lane.command("HGET", keys.hold(ann.hold), "expires_at")
    assert int(after) >= int(before)


async def test_an_address_belongs_to_its_attempt(ann: Purchase) -> None:
    payment, total = Payment(payment_method=DECLINED), Money(1500, "EUR")
    contact, address = Contact("ann@example.com"), Address("Old street 1", "DE")
    command = Checkout(1, ann.hold, total, payment, contact, address)
    await ann.rooms.records.begin(ann.shop, "ann", command)
    assert (await ann.record()).ship_to == address
    assert await ann.settle() == "declined"
    assert await ann.pays() == "confirmed"
    assert (await ann.record()).ship_to is None


@pytest.mark.parametrize(
    ("field", "value"), [("amount", "1"), ("currency", "USD"), ("attempt", "7")]
)
async def test_an_intent_that_is_not_for_this_order_is_never_captured(
    ann: Purchase, field: str, value: str
) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame)
    key = ShopKeys(ann.shop).order(ann.order)
    await ann.rooms.lane.command("HSET", key, field, value)
    frame = await ann.settler.settle(ann.shop, ann.order)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert await ann.charged() == [("canceled", 0)]


async def test_another_orders_intent_settles_nothing(ann: Purchase) -> None:
    frame = await ann.frame(SECOND_STEP)
    await ann.second_step(frame)
    copied = await ann.rooms.lane.command("HGETALL", ShopKeys(ann.shop).order(ann.order))
    await ann.rooms.lane.command("HSET", ShopKeys(ann.shop).order("o_other"), *copied)
    frame = await ann.settler.settle(ann.shop, "o_other")
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert await ann.charged() == [("requires_capture", 0)]
    assert await ann.settle() == "confirmed"


async def test_an_order_nobody_made(ann: Purchase) -> None:
    with pytest.raises(NotFound):
        await ann.settler.settle(ann.shop, "o_nobodys")
    assert await ann.settler.tidings(ann.shop, "o_nobodys") == ()
