"""The one way a payment moves on: whoever calls, however often, one charge or none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.phases import Phase
from gateway.checkout.records import Record
from gateway.checkout.settle import Settler, _Case, _patient
from gateway.errors import NotFound, Unavailable
from gateway.keys import ShopKeys
from gateway.lane import pairs
from gateway.messages import Checkout, Payment
from gateway.model import Address, Contact, Fulfillment, LineRequest, Money, Movement
from gateway.orders import entry
from gateway.stock.audit import audit
from gateway.stock.holds import order_id
from gateway.stock.sweeper import expire_due
from tests.bank import CANCEL, CAPTURE, CREATE, Bank
from tests.integration.conftest import SHOW, Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = "pm_card_visa"
SECOND_STEP = "pm_card_authenticationRequired"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"


class Till:
    """A corner that sells tees, and ann, who holds one."""

    def __init__(self, corner: Corner, bank: Bank) -> None:
        self.corner, self.bank, self.shop = corner, bank, corner.shop
        self.rooms = corner.rooms
        self.hold = ""

    @property
    def settler(self) -> Settler:
        return self.rooms.settler

    @property
    def order(self) -> str:
        return order_id(self.hold)

    async def open(self) -> None:
        await self.corner.sells("tee", 5)
        lines = (LineRequest("tee", 1),)
        held = await self.rooms.holds.reserve(self.shop, "ann", SHOW, "k", lines, Fulfillment())
        self.hold = held.hold.id

    async def begins(self, token: str = CARD) -> str:
        """Begin a payment, as a shopper's frame does before it settles."""
        payment = Payment(payment_method=token)
        command = Checkout(1, self.hold, Money(1500, "EUR"), payment, Contact("ann@example.com"))
        return await self.rooms.records.begin(self.shop, "ann", command)

    async def settle(self) -> str:
        return (await self.settler.settle(self.shop, self.order)).state

    async def pays(self, token: str = CARD) -> str:
        await self.begins(token)
        return await self.settle()

    async def record(self) -> Record:
        record = await self.rooms.records.find(self.shop, self.order)
        assert record
        return record

    async def lapses(self) -> None:
        """The hold's deadline passes, and the sweep comes by."""
        keys, rooms = ShopKeys(self.shop), self.rooms
        await rooms.lane.command("HSET", keys.hold(self.hold), "expires_at", 1)
        await rooms.lane.command("ZADD", keys.deadlines, 1, f"{self.hold}:ann")
        assert await expire_due(rooms.lane, rooms.settings, self.shop) == 1

    async def walk_in(self, units: int) -> None:
        """Somebody buys in the shop itself."""
        now = "2026-11-21T20:00:00.000Z"
        sold = Movement(f"till-{units}", "adjusted", "tee", "main", units, now, "test")
        await self.rooms.movements.apply(self.shop, (sold,))

    async def charged(self) -> list[tuple[str, int]]:
        """Status and money received, of every intent of the order."""
        found = await self.bank.intents(self.order)
        return [(one["status"], one["amount_received"]) for one in found]

    async def left(self) -> int:
        return (await self.rooms.movements.available(self.shop))["tee"]


@pytest_asyncio.fixture(loop_scope="module")
async def till(corner: Corner) -> AsyncIterator[Till]:
    bank = Bank(corner.stripe_url)
    till = Till(corner, bank)
    await till.open()
    yield till
    await bank.fails()


async def test_from_authorized_to_captured(till: Till) -> None:
    assert await till.pays() == "confirmed"
    assert (await till.record()).phase is Phase.CAPTURED
    assert await till.charged() == [("succeeded", 1500)]
    assert await till.left() == 4
    [(_, entry)] = await till.rooms.lane.command("XRANGE", ShopKeys(till.shop).orders, "-", "+")
    assert till.order.encode() in entry


async def test_settling_again_changes_nothing(till: Till) -> None:
    await till.pays()
    before = await till.record()
    assert [await till.settle() for _ in range(3)] == ["confirmed"] * 3
    assert await till.record() == before
    assert await till.rooms.lane.command("XLEN", ShopKeys(till.shop).orders) == 1


async def test_many_who_settle_at_once_are_as_good_as_one(till: Till) -> None:
    await till.begins()
    states = await asyncio.gather(*(till.settle() for _ in range(12)))
    assert set(states) <= {"confirmed", "processing"}
    assert await till.settle() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]
    assert await till.rooms.lane.command("XLEN", ShopKeys(till.shop).orders) == 1


async def test_a_decline_leaves_the_hold_for_another_card(till: Till) -> None:
    frame = await _frame(till, DECLINED)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert frame.decline_code == "insufficient_funds"
    assert await till.left() == 4
    assert await till.pays() == "confirmed"
    assert (await till.record()).attempt == 2
    assert await till.charged() == [("succeeded", 1500), ("canceled", 0)]


async def _frame(till: Till, token: str) -> Any:
    await till.begins(token)
    return await till.settler.settle(till.shop, till.order)


async def test_a_second_step_that_succeeds(till: Till) -> None:
    frame = await _frame(till, SECOND_STEP)
    assert frame.state == "requires_action"
    await till.bank.second_step(frame.client_secret)
    assert await till.settle() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]


async def test_a_second_step_that_fails_is_a_decline(till: Till) -> None:
    frame = await _frame(till, SECOND_STEP)
    await till.bank.second_step(frame.client_secret, "fail")
    assert await till.settle() == "declined"
    assert await till.charged() == [("canceled", 0)]
    assert await till.pays() == "confirmed"


async def test_a_second_step_never_taken_ends_with_the_hold(till: Till) -> None:
    assert await till.pays(SECOND_STEP) == "requires_action"
    await till.lapses()
    frame = await till.settler.settle(till.shop, till.order)
    assert (frame.state, frame.code) == ("declined", "hold_expired")
    assert (await till.record()).phase is Phase.VOIDED
    assert await till.charged() == [("canceled", 0)]
    assert await till.left() == 5


async def test_approved_after_the_hold_has_lapsed_it_is_held_again_and_captured(till: Till) -> None:
    frame = await _frame(till, SECOND_STEP)
    await till.lapses()
    assert await till.left() == 5
    await till.bank.second_step(frame.client_secret)
    assert await till.settle() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]
    assert await till.left() == 4
    assert (await audit(till.rooms.lane, till.shop)).drift == ()


async def test_approved_after_the_hold_has_lapsed_and_the_units_are_gone_it_is_voided(
    till: Till,
) -> None:
    frame = await _frame(till, SECOND_STEP)
    await till.lapses()
    await till.walk_in(-5)
    await till.bank.second_step(frame.client_secret)
    after = await till.settler.settle(till.shop, till.order)
    assert (after.state, after.code) == ("declined", "hold_expired")
    assert after.message
    assert "gone" in after.message
    assert await till.charged() == [("canceled", 0)]
    assert (await audit(till.rooms.lane, till.shop)).drift == ()


async def test_giving_it_back_while_paying_voids(till: Till) -> None:
    assert await till.pays(SECOND_STEP) == "requires_action"
    await till.rooms.holds.release(till.shop, "ann", till.hold)
    frame = await till.settler.settle(till.shop, till.order)
    assert (frame.state, frame.code) == ("declined", "hold_already_released")
    assert await till.charged() == [("canceled", 0)]


async def test_a_capture_whose_reply_is_lost_charges_once(till: Till) -> None:
    await till.bank.fails(lose_reply_percent=100, endpoint=CAPTURE)
    await till.begins()
    with pytest.raises(Unavailable):
        await till.settle()
    assert (await till.record()).phase is Phase.COMMITTED
    await till.bank.fails()
    assert await till.settle() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]


async def test_an_authorization_whose_reply_is_lost_is_asked_for_again(till: Till) -> None:
    await till.bank.fails(lose_reply_percent=100, endpoint=CREATE)
    await till.begins()
    with pytest.raises(Unavailable):
        await till.settle()
    record = await till.record()
    assert (record.phase, record.intent) == (Phase.PAYING, None)
    await till.bank.fails()
    assert await till.settle() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]


async def test_an_authorization_nobody_knows_of_is_found_and_voided(till: Till) -> None:
    await till.bank.fails(lose_reply_percent=100, endpoint=CREATE)
    await till.begins()
    with pytest.raises(Unavailable):
        await till.settle()
    await till.bank.fails()
    await till.rooms.holds.release(till.shop, "ann", till.hold)
    assert await till.settle() == "declined"
    assert (await till.record()).phase is Phase.VOIDED
    assert await till.charged() == [("canceled", 0)]


async def test_a_create_that_may_still_arrive_is_waited_for(till: Till) -> None:
    await till.begins()
    asked_at = till.rooms.clock.now_ms()
    await till.rooms.lane.command(
        "HSET", ShopKeys(till.shop).order(till.order), "asked_at", asked_at
    )
    await till.lapses()
    assert await till.settle() == "processing"
    assert (await till.record()).phase is Phase.VOIDING
    await till.rooms.lane.command("HSET", ShopKeys(till.shop).order(till.order), "asked_at", 1)
    await till.settle()
    assert (await till.record()).phase is Phase.VOIDED
    assert await till.charged() == []


async def test_a_create_that_was_never_sent_is_not_waited_for(till: Till) -> None:
    await till.begins()
    await till.lapses()
    assert await till.settle() == "declined"
    assert (await till.record()).phase is Phase.VOIDED


async def test_an_authorization_that_arrives_after_the_void_is_given_back(till: Till) -> None:
    """Stripe is slow; the shopper gives up; the sweep finds no intent and stops waiting for one."""
    await till.bank.fails(latency_ms=700, endpoint=CREATE)
    await till.begins()
    key = ShopKeys(till.shop).order(till.order)
    slow = asyncio.create_task(till.settler.settle(till.shop, till.order))
    async with asyncio.timeout(5):
        while (await till.record()).asked_at is None:
            await asyncio.sleep(0.01)
    await till.rooms.holds.release(till.shop, "ann", till.hold)
    await till.rooms.lane.command("HSET", key, "asked_at", 1)
    assert await till.settle() == "declined"
    assert (await till.record()).phase is Phase.VOIDED
    assert await till.charged() == []
    assert (await slow).state == "declined"
    assert await till.charged() == [("canceled", 0)]


async def test_a_key_that_comes_again_when_its_hold_is_forgotten_is_no_second_purchase(
    till: Till,
) -> None:
    assert await till.pays() == "confirmed"
    rooms, keys = till.rooms, ShopKeys(till.shop)
    hold_ttl_ms = await rooms.lane.command("PTTL", keys.hold(till.hold))
    assert hold_ttl_ms > rooms.settings.hold_retention_s * 1000
    await rooms.lane.command("DEL", keys.hold(till.hold))
    lines = (LineRequest("tee", 1),)
    again = await rooms.holds.reserve(till.shop, "ann", SHOW, "k", lines, Fulfillment())
    assert again.hold.id == till.hold
    assert await till.pays("pm_card_mastercard") == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]
    await rooms.holds.release(till.shop, "ann", till.hold)
    assert (await till.record()).phase is Phase.CAPTURED


async def test_a_total_stripe_will_never_take_is_a_definite_no(till: Till) -> None:
    await till.corner.sells("pin", 1, price=30)
    lines = (LineRequest("pin", 1),)
    held = await till.rooms.holds.reserve(till.shop, "ann", SHOW, "k2", lines, Fulfillment())
    payment = Payment(payment_method=CARD)
    command = Checkout(1, held.hold.id, Money(30, "EUR"), payment, Contact("ann@example.com"))
    order = await till.rooms.records.begin(till.shop, "ann", command)
    frame = await till.settler.settle(till.shop, order)
    assert (frame.state, frame.decline_code) == ("declined", "amount_too_small")


async def test_a_decline_takes_no_time_away(till: Till) -> None:
    keys = ShopKeys(till.shop)
    before = await till.rooms.lane.command("HGET", keys.hold(till.hold), "expires_at")
    assert await till.pays(DECLINED) == "declined"
    after = await till.rooms.lane.command("HGET", keys.hold(till.hold), "expires_at")
    assert int(after) >= int(before)


async def test_an_address_belongs_to_its_attempt(till: Till) -> None:
    payment, total = Payment(payment_method=DECLINED), Money(1500, "EUR")
    contact, address = Contact("ann@example.com"), Address("Old street 1", "DE")
    command = Checkout(1, till.hold, total, payment, contact, address)
    await till.rooms.records.begin(till.shop, "ann", command)
    assert (await till.record()).ship_to == address
    assert await till.settle() == "declined"
    assert await till.pays() == "confirmed"
    assert (await till.record()).ship_to is None


@pytest.mark.parametrize(
    ("field", "value"), [("amount", "1"), ("currency", "USD"), ("attempt", "7")]
)
async def test_an_intent_that_is_not_for_this_order_is_never_captured(
    till: Till, field: str, value: str
) -> None:
    frame = await _frame(till, SECOND_STEP)
    await till.bank.second_step(frame.client_secret)
    key = ShopKeys(till.shop).order(till.order)
    await till.rooms.lane.command("HSET", key, field, value)
    frame = await till.settler.settle(till.shop, till.order)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert await till.charged() == [("canceled", 0)]


async def test_another_orders_intent_settles_nothing(till: Till) -> None:
    frame = await _frame(till, SECOND_STEP)
    await till.bank.second_step(frame.client_secret)
    copied = await till.rooms.lane.command("HGETALL", ShopKeys(till.shop).order(till.order))
    await till.rooms.lane.command("HSET", ShopKeys(till.shop).order("o_other"), *copied)
    frame = await till.settler.settle(till.shop, "o_other")
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert await till.charged() == [("canceled", 0)]
    assert await till.settle() == "declined"


async def test_an_authorization_that_is_gone_puts_the_units_back(till: Till) -> None:
    await till.bank.fails(lock_percent=100, endpoint=CAPTURE)
    await till.begins()
    with pytest.raises(Unavailable):
        await till.settle()
    record = await till.record()
    assert record.phase is Phase.COMMITTED
    assert record.intent
    await till.bank.fails()
    await till.rooms.payments.cancel(till.shop, record, record.intent)  # as after seven days
    frame = await till.settler.settle(till.shop, till.order)
    assert (frame.state, frame.code) == ("declined", "payment_declined")
    assert (await till.record()).phase is Phase.FAILED
    assert await till.charged() == [("canceled", 0)]
    assert await till.left() == 5


@pytest.mark.parametrize("endpoint", [CREATE, CAPTURE])
async def test_a_500_that_took_effect_is_seen_through(till: Till, endpoint: str) -> None:
    await till.bank.fails(error_500_percent=100, endpoint=endpoint)
    assert await till.pays() == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]


async def test_a_500_without_effect_authorizes_nothing(till: Till) -> None:
    await till.bank.fails(error_500_percent=100, error_500_effect=False, endpoint=CREATE)
    await till.begins()
    with pytest.raises(Unavailable):
        await till.settle()
    # Under this key Stripe says so for a day: the attempt is over, and nothing was made.
    frame = await till.settler.settle(till.shop, till.order)
    assert (frame.state, frame.decline_code) == ("declined", "processing_error")
    assert await till.charged() == []
    await till.bank.fails()
    assert await till.pays("pm_card_mastercard") == "confirmed"
    assert await till.charged() == [("succeeded", 1500)]


@pytest.mark.parametrize("endpoint", [CANCEL, CAPTURE])
async def test_a_500_without_effect_is_asked_under_another_key(till: Till, endpoint: str) -> None:
    """A capture or a cancellation cannot happen twice, so that another key is safe."""
    plan = {"error_500_percent": 100, "error_500_effect": False, "times": 1}
    await till.bank.fails(endpoint=endpoint, **plan)
    if endpoint == CANCEL:
        await till.pays(SECOND_STEP)
        await till.rooms.holds.release(till.shop, "ann", till.hold)
        outcome, charged = "declined", ("canceled", 0)
    else:
        await till.begins()
        outcome, charged = "confirmed", ("succeeded", 1500)
    with pytest.raises(Unavailable):
        await till.settle()
    assert await till.settle() == outcome
    assert await till.charged() == [charged]


async def test_replicas_that_do_not_confirm_mean_no_capture(till: Till) -> None:
    rooms = till.rooms
    strict = msgspec.structs.replace(rooms.settings, wait_replicas=1, wait_timeout_ms=50)
    lane_settings, rooms.lane.settings = rooms.lane.settings, strict
    records = type(rooms.records)(rooms.lane, strict)
    settler = Settler(
        rooms.lane, records, rooms.payments, rooms.clock, strict, till.settler.encode_event
    )
    await till.begins()
    try:
        for _ in range(2):
            assert (await settler.settle(till.shop, till.order)).state == "processing"
        assert (await till.record()).phase is Phase.COMMITTED
        assert await till.charged() == [("requires_capture", 0)]
        # A replica without the sale takes over: it is written there as it was here.
        keys = ShopKeys(till.shop)
        await rooms.lane.command("HDEL", keys.order(till.order), "units")
        await rooms.lane.command("HSET", keys.order(till.order), "phase", "paying")
        await rooms.lane.command("HSET", keys.hold(till.hold), "state", "active")
        record = msgspec.structs.replace(await till.record(), phase=Phase.COMMITTED)
        assert not await settler._is_durable(_Case(till.shop, record, _patient))
        written = await rooms.lane.command("XRANGE", keys.orders, "-", "+")
        events = [entry.decode(pairs(fields)["event"]).id for _, fields in written]
        assert events == [entry.event_id(till.order, 1)] * 2
    finally:
        rooms.lane.settings = lane_settings
    assert await till.settle() == "confirmed"


async def test_an_order_nobody_made(till: Till) -> None:
    with pytest.raises(NotFound):
        await till.settler.settle(till.shop, "o_nobodys")
    assert await till.settler.tidings(till.shop, "o_nobodys") == ()
