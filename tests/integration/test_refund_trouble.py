"""Refunds when Stripe is in trouble, when we crash, and when many ask at once: still once."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Coroutine, Generator
from functools import partial
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout.payback import pay_back
from gateway.errors import (
    RefundTooMuch,
    Unavailable,
)
from tests.bank import REFUND, Bank
from tests.bought import CAP, TEE, TOTAL, Bought, euros, refunds_of, units
from tests.integration.conftest import Corner

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWAITS = 120
"""More than there are in one refund, from first to last."""


@pytest_asyncio.fixture(loop_scope="module")
async def bought(corner: Corner) -> AsyncIterator[Bought]:
    bank = Bank(corner.stripe_url)
    await corner.sells("tee", 5, price=TEE, limit=2)
    await corner.sells("cap", 3, price=CAP)
    bought = Bought(corner.rooms, corner.shop, bank)
    await bought.pays()
    yield bought
    await bank.fails()


async def test_many_copies_at_once_are_one_refund(bought: Bought) -> None:
    await asyncio.gather(*(bought.begin("k") for _ in range(8)))
    outcomes = await asyncio.gather(*(bought.go_on() for _ in range(8)), return_exceptions=True)
    assert all(isinstance(one, bool | Unavailable) for one in outcomes)
    await bought.go_on()
    assert await bought.paid_back() == [TOTAL]
    assert await bought.left() == {"tee": 5, "cap": 3}
    await bought.adds_up()


async def test_many_at_once_never_exceed_what_was_captured(bought: Bought) -> None:
    asked = (bought.refund(f"k{number}", amount=euros(1000)) for number in range(8))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, RefundTooMuch) for one in outcomes) == 5
    await bought.go_on()
    assert await bought.paid_back() == [1000] * 3
    await bought.adds_up()


@pytest.mark.parametrize(
    "fault",
    [
        {"lose_reply_percent": 100, "times": 1},
        {"error_500_percent": 100, "times": 1},
        {"lock_percent": 100, "times": 2},
    ],
    ids=["reply lost", "500 with effect", "429"],
)
async def test_stripe_in_trouble_pays_back_once(bought: Bought, fault: dict[str, Any]) -> None:
    await bought.begin("k")
    await bought.bank.fails(endpoint=REFUND, **fault)
    assert await bought.go_on()
    assert await bought.paid_back() == [TOTAL]
    await bought.adds_up()


async def test_a_500_without_effect_ends_the_refund_and_frees_its_money(bought: Bought) -> None:
    refund = await bought.begin("k")
    await bought.bank.fails(endpoint=REFUND, error_500_percent=100, error_500_effect=False, times=1)
    with pytest.raises(Unavailable):
        await bought.go_on()
    # From now on Stripe says 500 again under this key, whatever its state.
    assert await bought.go_on()
    refund = await bought.again(refund)
    assert (refund.state, refund.code, refund.restocked) == ("failed", "processing_error", False)
    assert await bought.paid_back() == []
    assert len(await bought.told()) == 1
    assert await bought.unsettled() == 0
    assert (await bought.refund("l")).state == "done"
    await bought.adds_up()


async def test_what_was_refunded_elsewhere_is_not_refunded_again(bought: Bought) -> None:
    intent = (await bought.record()).intent
    form = {"payment_intent": intent}
    await bought.bank._ask("POST", "/v1/refunds", data=form)
    refund = await bought.refund("k", lines=units(tee=1))
    assert (refund.state, refund.code) == ("failed", "charge_already_refunded")
    assert await bought.left() == {"tee": 3, "cap": 2}
    assert len(await bought.told()) == 1
    assert await bought.unsettled() == 0
    # It is told as it is to whoever asks again, and its money and units are free.
    assert await bought.refund("k", lines=units(tee=1)) == refund
    assert (await bought.begin("l")).amount == TOTAL


async def test_one_that_is_stuck_keeps_no_other_waiting(bought: Bought) -> None:
    first = await bought.begin("a", amount=euros(100))
    second = await bought.begin("b", amount=euros(200))
    await bought.bank.fails(endpoint=REFUND, error_500_percent=100, error_500_effect=False, times=1)
    assert await bought.go_on()
    states = [(await bought.again(refund)).state for refund in (first, second)]
    assert states == ["pending", "done"]
    assert await bought.unsettled() == 1
    assert [order["state"] for order in await bought.told()] == ["confirmed", "partially_refunded"]


async def test_a_crash_before_stripe_was_asked(bought: Bought) -> None:
    await bought.begin("k")
    assert await bought.unsettled() == 1
    assert await bought.go_on()
    assert not await bought.go_on()
    await bought.adds_up()


async def test_a_crash_after_stripe_did_it_even_when_it_forgot_the_key(bought: Bought) -> None:
    refund, record = await bought.begin("k"), await bought.record()
    rooms = bought.rooms
    paid = await pay_back(rooms.payments.provider, rooms.settings, bought.shop, record, refund)
    # Under another key Stripe would pay again: only looking keeps it from that.
    forgotten = msgspec.structs.replace(record, attempt_at=record.attempt_at + 1)
    assert await bought.refunds.go_on(bought.shop, forgotten)
    assert (await bought.again(refund)).reference == paid.id
    assert await bought.paid_back() == [TOTAL]
    await bought.adds_up()


class CutShort:
    """Work that is cancelled at its nth await; awaiting it says whether it came to its end."""

    def __init__(self, work: Coroutine[Any, Any, object], awaits: int) -> None:
        self.work, self.awaits = work, awaits

    def __await__(self) -> Generator[Any, None, bool]:
        step = partial(self.work.send, None)
        try:
            while True:
                waited = step()
                self.awaits -= 1
                if self.awaits == 0:
                    step = partial(self.work.throw, asyncio.CancelledError())
                    continue
                try:
                    yield waited
                except BaseException as error:
                    step = partial(self.work.throw, error)
                else:
                    step = partial(self.work.send, None)
        except StopIteration:
            return True
        except asyncio.CancelledError:
            return False


async def test_a_crash_at_every_await(corner: Corner) -> None:
    ended = 0
    for awaits in range(1, AWAITS):
        shop = f"{corner.shop}_{awaits}"
        there = Corner(corner.url, corner.gateway, corner.stripe_url, corner.server, shop)
        await corner.rooms.shows.put(shop, (await corner.rooms.shows.get(corner.shop, "tonight")))
        await corner.rooms.shows.move(shop, "tonight", "live")
        await there.sells("tee", 5, price=TEE)
        await there.sells("cap", 3, price=CAP)
        bought = Bought(corner.rooms, shop, Bank(corner.stripe_url))
        await bought.pays()
        ended = ended + 1 if await CutShort(bought.refund("k"), awaits) else 0
        assert (await bought.refund("k")).state == "done"
        assert await bought.paid_back() == [TOTAL]
        assert await bought.left() == {"tee": 5, "cap": 3}
        await bought.adds_up()
        if ended == 2:
            return
    pytest.fail("there are more awaits than were cut")


async def test_two_that_end_at_once_are_two_versions(bought: Bought) -> None:
    refunds = [await bought.begin(key, amount=euros(100)) for key in ("a", "b")]
    record = await bought.record()
    rooms, shop = bought.rooms, bought.shop
    asked = [
        pay_back(rooms.payments.provider, rooms.settings, shop, record, refund)
        for refund in refunds
    ]
    paid = await asyncio.gather(*asked)
    ends = [
        bought.refunds._finish(shop, record, refund, answer.id)
        for refund, answer in zip(refunds, paid, strict=True)
    ]
    assert await asyncio.gather(*ends) == [True, True]
    assert [len(order.get("refunds", [])) for order in await bought.told()] == [0, 1, 2]
    await bought.adds_up()


async def test_what_stripe_holds_back_is_pending_until_it_ends(bought: Bought) -> None:
    await bought.bank.fails(endpoint=REFUND, pending_refund_percent=100)
    refund = await bought.refund("k")
    assert (refund.state, refund.restocked) == ("pending", False)
    assert await bought.left() == {"tee": 3, "cap": 2}
    assert not await bought.go_on()
    assert await bought.unsettled() == 1
    (paid,) = await bought.bank.refunds((await bought.record()).intent or "")
    await bought.bank.refund_ends(paid["id"])
    assert await bought.go_on()
    assert (await bought.again(refund)).reference == paid["id"]
    await bought.adds_up()


async def test_what_the_bank_sends_back_has_failed(bought: Bought) -> None:
    await bought.bank.fails(endpoint=REFUND, pending_refund_percent=100)
    refund = await bought.refund("k")
    (paid,) = await bought.bank.refunds((await bought.record()).intent or "")
    await bought.bank.refund_ends(paid["id"], "fail")
    assert await bought.go_on()
    refund = await bought.again(refund)
    assert (refund.state, refund.code) == ("failed", "declined")
    assert len(await bought.told()) == 1
    assert await bought.unsettled() == 0
    await bought.bank.fails()
    assert (await bought.refund("l")).amount == TOTAL


async def test_a_refund_that_was_lost_is_not_begun_again_as_another(bought: Bought) -> None:
    """Who had read it asks a new primary about it, which never had it."""
    pending = await bought.begin("k", amount=euros(100))
    rooms, record = bought.rooms, await bought.record()
    await rooms.lane.command("HDEL", bought.keys.order(bought.order), "refunds")
    settings = msgspec.structs.replace(rooms.settings, wait_replicas=1)
    careful = dataclasses.replace(bought.refunds, settings=settings)
    assert not await careful._is_durable(bought.shop, record, pending)
    assert (await bought.refunds.read(bought.shop, bought.order)).refunds == ()


async def test_without_its_replicas_nothing_is_refunded(bought: Bought) -> None:
    rooms = bought.rooms
    settings = msgspec.structs.replace(rooms.settings, wait_replicas=1)
    strict = refunds_of(rooms)
    careful = type(strict)(rooms.lane, rooms.payments, settings, rooms.clock, strict.encode_event)
    bought.refunds = careful
    with pytest.raises(Unavailable):
        await bought.begin("k")
    assert not await bought.go_on()
    assert await bought.paid_back() == []
    bought.refunds = strict
    assert (await bought.refund("k")).state == "done"
    await bought.adds_up()
