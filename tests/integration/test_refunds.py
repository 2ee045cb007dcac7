"""Money that goes back: once, never above what was captured, and everybody hears of it."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.errors import (
    IdempotencyKeyReused,
    Invalid,
    LimitExceeded,
    NotCaptured,
    NotFound,
    RefundTooMuch,
)
from gateway.lane import connect
from gateway.model import Movement
from gateway.news import News, decode, publish
from gateway.orders import current
from tests.bank import Bank
from tests.bought import CAP, TEE, TOTAL, Bought, euros, units
from tests.integration.conftest import Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def bought(corner: Corner) -> AsyncIterator[Bought]:
    bank = Bank(corner.stripe_url)
    await corner.sells("tee", 5, price=TEE, limit=2)
    await corner.sells("cap", 3, price=CAP)
    bought = Bought(corner.rooms, corner.shop, bank)
    await bought.pays()
    yield bought
    await bank.fails()


async def test_the_whole_cancels_an_order_nothing_of_which_was_handed_over(bought: Bought) -> None:
    refund = await bought.refund("k")
    assert (refund.state, refund.amount, refund.restocked) == ("done", TOTAL, True)
    assert await bought.left() == {"tee": 5, "cap": 3}
    assert (await bought.row("tee"), await bought.row("cap")) == ((5, 0), (3, 0))
    _, order = await bought.told()
    assert (order["state"], order["fulfillment"]["state"]) == ("canceled", "canceled")
    assert order["total"] == euros(TOTAL)
    assert await bought.unsettled() == 0
    await bought.adds_up()


async def test_the_whole_without_its_units_is_refunded(bought: Bought) -> None:
    refund = await bought.refund("k", restock=False, reason="Arrived broken.")
    assert (refund.state, refund.restocked) == ("done", False)
    assert await bought.left() == {"tee": 3, "cap": 2}
    _, order = await bought.told()
    assert (order["state"], order["fulfillment"]["state"]) == ("refunded", "proposed")
    (told,) = order["refunds"]
    assert (told["reason"], told["restocked"]) == ("Arrived broken.", False)
    await bought.adds_up()


async def test_by_line(bought: Bought) -> None:
    refund = await bought.refund("k", lines=units(tee=1))
    assert (refund.state, refund.amount) == ("done", TEE)
    assert [(line.sku, line.quantity, line.location) for line in refund.lines] == [
        ("tee", 1, "main")
    ]
    assert await bought.left() == {"tee": 4, "cap": 2}
    assert await bought.row("tee") == (5, 1)
    _, order = await bought.told()
    assert order["state"] == "partially_refunded"
    assert {line["sku"]: line["quantity"] for line in order["lines"]} == {"tee": 2, "cap": 1}
    await bought.adds_up()


async def test_by_amount_moves_no_units(bought: Bought) -> None:
    refund = await bought.refund("k", amount=euros(1))
    assert (refund.state, refund.amount, refund.lines, refund.restocked) == ("done", 1, (), False)
    assert await bought.left() == {"tee": 3, "cap": 2}
    assert (await bought.told())[1]["state"] == "partially_refunded"
    await bought.adds_up()


async def test_lines_at_another_price_than_theirs(bought: Bought) -> None:
    refund = await bought.refund("k", lines=units(tee=2, cap=1), amount=euros(TOTAL - 100))
    assert (refund.amount, refund.restocked) == (TOTAL - 100, True)
    assert (await bought.told())[1]["state"] == "partially_refunded"
    rest = await bought.refund("l")
    assert (rest.amount, rest.lines, rest.restocked) == (100, (), False)
    assert (await bought.told())[2]["state"] == "canceled"
    await bought.adds_up()


async def test_several_parts_up_to_exactly_the_whole_and_not_a_cent_more(bought: Bought) -> None:
    await bought.refund("a", lines=units(tee=1), restock=False)
    await bought.refund("b", amount=euros(200))
    with pytest.raises(RefundTooMuch) as refused:
        await bought.begin("c", amount=euros(TOTAL - TEE - 200 + 1))
    left = euros(TOTAL - TEE - 200)
    assert refused.value.facts == {"refundable": left}
    refund = await bought.refund("c", amount=left)
    assert refund.state == "done"
    with pytest.raises(RefundTooMuch) as refused:
        await bought.begin("d")
    assert refused.value.facts == {"refundable": euros(0)}
    assert [order["state"] for order in await bought.told()] == [
        *("confirmed", "partially_refunded", "partially_refunded", "refunded"),
    ]
    assert await bought.paid_back() == [TEE, 200, left["amount"]]
    await bought.adds_up()


async def test_a_whole_is_what_earlier_refunds_left(bought: Bought) -> None:
    await bought.refund("a", lines=units(tee=1))
    await bought.refund("b", amount=euros(100))
    rest = await bought.refund("c")
    assert rest.amount == TOTAL - TEE - 100
    assert {line.sku: line.quantity for line in rest.lines} == {"tee": 1, "cap": 1}
    assert (await bought.told())[3]["state"] == "canceled"
    assert await bought.left() == {"tee": 5, "cap": 3}
    await bought.adds_up()


async def test_no_more_units_than_were_sold(bought: Bought) -> None:
    await bought.refund("a", lines=units(tee=1))
    for key, lines, sku, left in (
        ("b", units(tee=2), "tee", 1),
        ("c", units(cap=1, tee=2), "tee", 1),
        ("d", units(sock=1), "sock", 0),
    ):
        with pytest.raises(RefundTooMuch) as refused:
            await bought.begin(key, lines=lines)
        facts = {"refundable": euros(TOTAL - TEE), "sku": sku, "quantity": left}
        assert refused.value.facts == facts
    assert await bought.unsettled() == 0
    await bought.adds_up()


async def test_lines_that_cost_more_than_is_left(bought: Bought) -> None:
    await bought.refund("a", amount=euros(TOTAL - CAP))
    with pytest.raises(RefundTooMuch) as refused:
        await bought.begin("b", lines=units(tee=1))
    assert refused.value.facts == {"refundable": euros(CAP)}
    assert (await bought.refund("b", lines=units(tee=2), amount=euros(CAP))).state == "done"
    await bought.adds_up()


async def test_the_same_key_is_the_same_refund(bought: Bought) -> None:
    first = await bought.refund("k", amount=euros(100))
    assert await bought.refund("k", amount=euros(100)) == first
    with pytest.raises(IdempotencyKeyReused):
        await bought.begin("k", amount=euros(101))
    assert await bought.paid_back() == [100]
    await bought.adds_up()


async def test_units_of_several_locations_go_back_to_theirs(corner: Corner) -> None:
    await corner.sells("tee", 1, price=TEE)
    await corner.sells("cap", 1, price=CAP)
    now = "2026-11-21T20:00:00.000Z"
    store = Movement("in-store", "received", "tee", "store", 2, now, "test")
    await corner.rooms.movements.apply(corner.shop, (store,))
    bought = Bought(corner.rooms, corner.shop, Bank(corner.stripe_url))
    await bought.pays()
    places = [
        [(line.location, line.quantity) for line in (await bought.refund(key, **asked)).lines]
        for key, asked in (("a", {"lines": units(tee=1)}), ("b", {"lines": units(tee=1)}))
    ]
    assert places == [[("main", 1)], [("store", 1)]]
    assert await bought.left() == {"tee": 3, "cap": 0}
    with pytest.raises(RefundTooMuch):
        await bought.begin("c", lines=units(tee=1))
    await bought.adds_up()


async def test_units_that_were_handed_over_come_back_on_hand(bought: Bought) -> None:
    await bought.hands_over("tee", 1)
    assert await bought.row("tee") == (4, 1)
    refund = await bought.refund("k")
    assert (refund.state, refund.handed_over) == ("done", True)
    assert (await bought.row("tee"), await bought.row("cap")) == ((5, 0), (3, 0))
    assert await bought.left() == {"tee": 5, "cap": 3}
    _, order = await bought.told()
    assert (order["state"], order["fulfillment"]["state"]) == ("refunded", "proposed")
    await bought.adds_up()


async def test_an_order_is_not_canceled_when_an_earlier_refund_took_back_what_had_left(
    bought: Bought,
) -> None:
    await bought.hands_over("tee", 2)
    await bought.refund("a", lines=units(tee=2))
    await bought.refund("b")
    assert [order["state"] for order in await bought.told()][2] == "refunded"
    await bought.adds_up()


async def test_the_shopper_may_buy_again_what_was_put_back(bought: Bought) -> None:
    lane, field = bought.rooms.lane, "units:tonight:tee"
    shopper = bought.keys.shopper("ann")
    assert await lane.command("HGET", shopper, field) == b"2"
    await bought.refund("a", lines=units(tee=1), restock=False)
    assert await lane.command("HGET", shopper, field) == b"2"
    await bought.refund("b", lines=units(tee=1))
    assert await lane.command("HGET", shopper, field) == b"1"
    await lane.command("DEL", shopper)
    await bought.refund("c")
    assert await lane.command("EXISTS", shopper) == 0


async def test_the_shopper_and_all_viewers_hear_of_it_once(bought: Bought) -> None:
    client = connect(bought.rooms.settings)
    async with client, client.pubsub() as pubsub:
        await pubsub.ssubscribe(bought.keys.news)
        await pubsub.get_message(timeout=30)
        await bought.begin("k", lines=units(tee=1))
        await bought.rooms.settler.settle(bought.shop, bought.order)
        await publish(bought.rooms.lane, bought.shop, News(show="that is all"))
        heard = [decode((await pubsub.get_message(timeout=30))["data"]) for _ in range(3)]
    assert heard[0].stock == {"tee": 4}
    assert heard[1].shopper == "ann"
    frame = msgspec.json.decode(heard[1].frame)
    assert (frame["type"], frame["order"]["state"]) == ("order", "partially_refunded")
    assert frame["order"]["order_version"] == 2
    assert heard[2].show == "that is all"


async def test_an_order_is_read_as_its_latest_version(bought: Bought) -> None:
    await bought.refund("k", lines=units(cap=1))
    event = await current.find(bought.rooms.lane, bought.shop, bought.order)
    assert event
    assert (event.id, event.type) == (
        f"evt_{bought.order}_2",
        "holdfast.order.partially_refunded",
    )
    assert event.time == event.data.recorded_at
    (told,) = event.data.refunds
    assert told.id == f"r_{bought.order.removeprefix('o_')}_1"
    first, _ = await bought.told()
    assert event.data.occurred_at == first["occurred_at"]


async def test_what_is_not_captured_is_not_refunded(bought: Bought) -> None:
    lane, order = bought.rooms.lane, bought.keys.order(bought.order)
    for phase in ("committed", "failed", "voided"):
        await lane.command("HSET", order, "phase", phase)
        with pytest.raises(NotCaptured) as refused:
            await bought.begin("k")
        assert refused.value.facts == {"state": phase}
    bought.order = "o_none"
    with pytest.raises(NotFound):
        await bought.begin("k")


@pytest.mark.parametrize(
    "request_",
    [
        {"amount": euros(0)},
        {"amount": {"amount": 1, "currency": "USD"}},
        {"amount": euros(1), "restock": True},
        {"lines": [*units(tee=1), *units(tee=1)]},
    ],
)
async def test_what_cannot_be_meant_is_refused(bought: Bought, request_: dict[str, Any]) -> None:
    before = await bought.rooms.lane.command("HGETALL", bought.keys.order(bought.order))
    with pytest.raises(Invalid):
        await bought.begin("k", **request_)
    assert before == await bought.rooms.lane.command("HGETALL", bought.keys.order(bought.order))


async def test_refunds_of_one_order_are_bounded(
    bought: Bought, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.checkout.refunds.MOST", 2)
    await bought.begin("a", amount=euros(1))
    await bought.begin("b", amount=euros(1))
    with pytest.raises(LimitExceeded):
        await bought.begin("c", amount=euros(1))
    await bought.begin("a", amount=euros(1))


async def test_a_record_lives_as_long_after_its_last_refund_as_after_its_payment(
    bought: Bought,
) -> None:
    lane, key = bought.rooms.lane, bought.keys.order(bought.order)
    await lane.command("PEXPIRE", key, 60_000)
    await bought.begin("k")
    days = bought.rooms.settings.order_retention_days
    assert await lane.command("PTTL", key) > (days - 1) * 86_400_000
