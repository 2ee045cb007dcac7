"""A payment whose answers are lost, late, broken or not durable: one charge or none."""

import dataclasses
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.checkout.settle import _patient
from gateway.checkout.voiding import Case
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import pairs
from gateway.orders import entry
from tests.bank import CANCEL, CAPTURE, CREATE
from tests.integration.conftest import Corner
from tests.purchase import SECOND_STEP, Purchase, holding

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(corner: Corner) -> AsyncIterator[Purchase]:
    async with holding(corner) as ann:
        yield ann


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
        assert await settler._capture(Case(ann.shop, record, _patient)) is False
        written = await rooms.lane.command("XRANGE", keys.orders, "-", "+")
        events = [entry.decode(pairs(fields)["event"]).id for _, fields in written]
        assert events == [entry.event_id(ann.order, 1)] * 2
    finally:
        rooms.lane.settings = lane_settings
    assert await ann.settle() == "confirmed"
