"""Who says what about the money: Stripe's webhooks, forged ones, tampered totals, late approvals.

The second half of the table in ``test_faults``: a row, a test.
"""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import Callable

import msgspec
import pytest

from gateway.checkout.phases import Phase
from gateway.keys import unknown_events
from gateway.settings import Settings
from gateway.stock.holds import order_id
from tests.acceptance.place import (
    PATIENCE_S,
    SECOND_STEP,
    UNDER_WAY,
    UNITS,
    Place,
    hears_the_end,
    holds,
    opened,
)
from tests.bank import CREATE
from tests.sales import eventually
from tests.shopper import Message, Shopper

# Webhooks


async def test_webhook_ten_times_shuffled_72_h_late(place: Place) -> None:
    async with contextlib.AsyncExitStack() as stack:
        shoppers = [await stack.enter_async_context(place.site.shopper(f"s{n}")) for n in range(3)]
        mine = [await holds(shopper) for shopper in shoppers]
        for shopper, hold in zip(shoppers, mine, strict=True):
            step = await shopper.pays(hold, SECOND_STEP)
            await place.bank.second_step(step["client_secret"])
        events = 10 * await place.events()
        random.Random(1).shuffle(events)
        for first in range(0, len(events), 10):
            answers = await asyncio.gather(*map(place.hears, events[first : first + 10]))
            assert {answer.status_code for answer in answers} == {200}
        for shopper in shoppers:
            assert await shopper.hears("checkout", state="confirmed")
    orders = [order_id(hold["id"]) for hold in mine]
    end = [(await place.record(order), await place.charges(order)) for order in orders]
    assert [charges for _, charges in end] == [[("succeeded", 1500)]] * 3
    for event in await place.events():
        assert (await place.hears(event, late_s=72 * 3600)).status_code == 200
    assert [(await place.record(order), await place.charges(order)) for order in orders] == end
    assert await place.site.rooms.lane.command("XLEN", place.keys.orders) == 3
    await place.adds_up()


async def test_webhook_before_the_intents_id_is_stored(place: Place) -> None:
    await place.bank.fails(reply_delay_ms=600, endpoint=CREATE)
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        paying, order = asyncio.create_task(ann.pays(hold)), order_id(hold["id"])

        async def told() -> bool:
            return len(await place.events()) >= 2

        await eventually(told)
        assert (await place.record(order)).intent is None
        answers = await asyncio.gather(*map(place.hears, await place.events()))
        assert {answer.status_code for answer in answers} == {200}
        assert (await hears_the_end(ann, await paying))["state"] == "confirmed"
    assert await place.charges(order) == [("succeeded", 1500)]


async def test_webhook_of_an_unknown_id_is_accepted_and_parked(place: Place) -> None:
    """The event overtakes what it is about, as when a database is being restored."""
    lane = place.site.rooms.lane
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        step = await ann.pays(hold, SECOND_STEP)
        await place.bank.second_step(step["client_secret"])
        order = order_id(hold["id"])
        record = await lane.command("HGETALL", place.keys.order(order))
        await lane.command("DEL", place.keys.order(order))
        approved = [one for one in await place.events() if "capturable" in one["type"]]
        for _ in range(3):
            assert (await place.hears(approved[0])).status_code == 200
        parked = unknown_events(place.site.rooms.settings.environment)
        kept = await lane.command("ZRANGE", parked, 0, -1)
        [event] = [one for one in kept if order.encode() in one]
        await lane.command("HSET", place.keys.order(order), *record)
        await lane.command("ZADD", parked, 0, event)
        await place.site.sweep()._unknown_events()
        assert await ann.hears("checkout", state="confirmed")
        assert await lane.command("ZSCORE", parked, event) is None
    assert await place.charges(order) == [("succeeded", 1500)]


Forge = Callable[[Place, str], tuple[str, str]]

FORGERIES: dict[str, Forge] = {
    "signature": lambda place, body: (body, place.signature(body, secret="whsec_of_others_0123")),
    "301 s ago": lambda place, body: (body, place.signature(body, -301.5)),
    "301 s ahead": lambda place, body: (body, place.signature(body, 302)),
    "livemode": lambda place, body: _signed(place, body.replace('mode": false', 'mode": true')),
    "re-serialised": lambda place, body: (json.dumps(json.loads(body)), place.signature(body)),
}


def _signed(place: Place, body: str) -> tuple[str, str]:
    return body, place.signature(body)


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_webhook_forged(place: Place, forge: Forge) -> None:
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        step = await ann.pays(hold, SECOND_STEP)
        await place.bank.second_step(step["client_secret"])
        order = order_id(hold["id"])
        before = await place.record(order)
        [event] = [one for one in await place.events() if "capturable" in one["type"]]
        answer = await place.posts(*forge(place, json.dumps(event, indent=2)))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert await place.record(order) == before
        assert await place.charges(order) == [("requires_capture", 0)]
        assert (await place.hears(event)).status_code == 200
        assert await ann.hears("checkout", state="confirmed")


# Tampering


async def test_tampered_price(place: Place) -> None:
    """The shopper's page says another price: refused, and nothing has begun."""
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        for total in ({"amount": 1, "currency": "EUR"}, {"amount": 1500, "currency": "JPY"}):
            refused = await ann.pays(hold | {"total": total})
            assert (refused["code"], refused["total"]) == ("total_changed", hold["total"])
        assert await place.charges(order_id(hold["id"])) == []
        assert (await ann.pays(hold))["state"] == "confirmed"


@pytest.mark.parametrize(
    ("field", "value"), [("amount", "1"), ("currency", "USD"), ("attempt", "2")]
)
async def test_tampered_amount_or_currency(
    place: Place, field: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the bank approved is not what the order says."""
    async with place.site.shopper("ann") as ann:
        hold = await holds(ann)
        step = await ann.pays(hold, SECOND_STEP)
        await place.bank.second_step(step["client_secret"])
        order = order_id(hold["id"])
        await place.site.rooms.lane.command("HSET", place.keys.order(order), field, value)
        await place.sweeps()
        end = await ann.hears("checkout", state="declined")
        assert (end["code"], "not charged" in end["message"]) == ("payment_declined", True)
        assert await place.charges(order) == [("canceled", 0)]
        record = await place.record(order)
        assert (record.phase, record.reason) == (Phase.VOIDED, "mismatch")
        assert f"order {order}: the intent is not its own" in caplog.text
    await place.adds_up()


async def test_another_shoppers_intent(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Bob cannot pay for what Ann holds, nor with what her bank approved."""
    async with place.site.shopper("ann") as ann, place.site.shopper("bob") as bob:
        hers, his = await holds(ann), await holds(bob)
        assert (await bob.pays(hers))["code"] == "not_found"
        step = await ann.pays(hers, SECOND_STEP)
        await place.bank.second_step(step["client_secret"])
        await _is_told_to_pay_with(place, bob, his, order_id(hers["id"]))
        record = await place.record(order_id(his["id"]))
        assert (record.phase, record.reason) == (Phase.VOIDED, "mismatch")
        assert f"order {record.order}: the intent is not its own" in caplog.text
    await place.adds_up()


async def test_another_shoppers_money(place: Place) -> None:
    """What Ann has paid stays hers, whatever Bob's order says."""
    async with place.site.shopper("ann") as ann, place.site.shopper("bob") as bob:
        hers, his = await holds(ann), await holds(bob)
        assert (await ann.pays(hers))["state"] == "confirmed"
        [intent] = await place.bank.intents(order_id(hers["id"]))
        await _is_told_to_pay_with(place, bob, his, order_id(hers["id"]))
        assert (await place.record(order_id(hers["id"]))).phase is Phase.CAPTURED
        assert await place.bank.refunds(intent["id"]) == []
    await place.adds_up()


async def _is_told_to_pay_with(place: Place, bob: Shopper, his: Message, order: str) -> None:
    """Bob's order names the intent of another, and is settled."""
    assert (await bob.pays(his, SECOND_STEP))["state"] == "requires_action"
    [intent], mine = await place.bank.intents(order), order_id(his["id"])
    site = place.site
    await site.rooms.lane.command("HSET", place.keys.order(mine), "intent", intent["id"])
    await site.rooms.settler.settle(site.shop, mine)
    assert (await bob.hears("checkout", state="declined"))["code"] == "payment_declined"


# After the deadline


async def pays_before_it_lapses(shopper: Shopper) -> tuple[Message, Message]:
    """A hold of a second, and what its payment asks for; a busy machine may need another."""
    keys = (f"k{number}" for number in itertools.count())
    async with asyncio.timeout(PATIENCE_S):
        while True:
            hold = await holds(shopper, next(keys))
            step = await shopper.pays(hold, SECOND_STEP)
            if step.get("code") != "hold_expired":
                return hold, step


@pytest.mark.parametrize("left", [True, False], ids=["unit left", "not left"])
async def test_approved_1_s_after_expiry(settings: Settings, left: bool) -> None:  # noqa: FBT001
    """Held again and captured, or voided; the shopper hears which within two seconds."""
    pace = {"hold_ttl_s": 1, "payment_budget_s": 2, "stripe_queue_s": 1}
    async with (
        opened(msgspec.structs.replace(settings, **pace)) as place,
        place.site.shopper("ann") as ann,
        place.swept(),
    ):
        hold, step = await pays_before_it_lapses(ann)
        await ann.until(
            lambda message: (
                message["type"] == "hold"
                and (message["hold"]["id"], message["hold"]["state"]) == (hold["id"], "expired")
            )
        )
        if not left:
            await place.sells_all_elsewhere()
        await asyncio.sleep(1)
        await place.bank.second_step(step["client_secret"])
        approved = time.monotonic()
        [event] = [one for one in await place.events() if "capturable" in one["type"]]
        assert (await place.hears(event)).status_code == 200
        end = await ann.until(
            lambda message: message["type"] == "checkout" and message["state"] not in UNDER_WAY
        )
        assert time.monotonic() - approved < 2
        charges = await place.charges(order_id(hold["id"]))
        if left:
            assert (end["state"], charges) == ("confirmed", [("succeeded", 1500)])
            assert await place.left() == UNITS - 1
        else:
            assert (end["state"], end["code"]) == ("declined", "hold_expired")
            assert "gone" in end["message"]
            assert charges == [("canceled", 0)]
        await place.adds_up()
