"""Checkout over a real socket: payments outlive whoever began them."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.checkout import desk as desks
from gateway.keys import ShopKeys
from gateway.settings import Settings
from gateway.stock.holds import order_id
from gateway.stock.now import now
from tests.bank import CREATE, Bank
from tests.integration.conftest import UNLIMITED, Corner, open_site
from tests.shopper import PATIENCE_S, Message, Shopper, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECOND_STEP = "pm_card_authenticationRequired"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"


@pytest_asyncio.fixture(loop_scope="module")
async def bank(corner: Corner) -> AsyncIterator[Bank]:
    await corner.sells("tee", 9)
    bank = Bank(corner.stripe_url)
    yield bank
    await bank.fails()


async def holds(shopper: Shopper, key: str = "k") -> Message:
    reply = await shopper.ask("reserve", key=key, lines=[{"sku": "tee", "quantity": 1}])
    hold: Message = reply["hold"]
    return hold


async def pay(shopper: Shopper, hold: Message, **payment: str) -> Message:
    return await shopper.ask(
        "checkout",
        hold=hold["id"],
        expected_total=hold["total"],
        payment=payment,
        contact={"email": "ann@example.com", "name": "Ann", "phone": "+49 30 1"},
        ship_to={"line1": "1 Main St", "country": "DE", "city": "Berlin"},
    )


async def test_a_confirmed_payment(corner: Corner, bank: Bank) -> None:
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        paid = await pay(ann, hold, confirmation_token=await bank.token("pm_card_visa"))
        assert paid.keys() == {"type", "id", "hold", "state", "order"}
        assert (paid["type"], paid["hold"], paid["state"]) == ("checkout", hold["id"], "confirmed")
        order = paid["order"]
        assert order.keys() == {"id", "hold", "order_version", "state", "lines", "total"}
        assert (order["total"], order["lines"]) == (hold["total"], hold["lines"])
        assert [one["status"] for one in await bank.intents(order["id"])] == ["succeeded"]
    record = await corner.rooms.records.find(corner.shop, order["id"])
    assert record
    assert record.ship_to
    assert record.contact
    assert (record.contact.name, record.ship_to.city) == ("Ann", "Berlin")


async def test_a_declined_card_and_then_another(corner: Corner, bank: Bank) -> None:
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        no = await ann.pays(hold, DECLINED)
        assert (no["type"], no["state"]) == ("checkout", "declined")
        assert (no["code"], no["decline_code"]) == ("payment_declined", "insufficient_funds")
        assert "another card" in no["message"]
        assert (await ann.pays(hold))["state"] == "confirmed"


async def test_a_second_step_is_taken_in_the_page_and_the_rest_is_pushed(
    corner: Corner, bank: Bank
) -> None:
    async with corner.shopper("ann") as ann, corner.shopper("ann") as tablet:
        hold = await holds(ann)
        step = await ann.pays(hold, SECOND_STEP)
        assert step["state"] == "requires_action"
        assert step["client_secret"].startswith("pi_")
        again = await ann.pays(hold, SECOND_STEP)
        assert again | {"id": 0} == step | {"id": 0}
        other = await ann.pays(hold)
        assert other["code"] == "completion_in_progress"
        await bank.second_step(step["client_secret"])
        await corner.rooms.settler.settle(corner.shop, "o_" + hold["id"].removeprefix("h_"))
        for device in (ann, tablet):
            confirmed = await device.hears("checkout", state="confirmed")
            assert "id" not in confirmed
            order = await device.hears("order")
            assert order["order"] == confirmed["order"]


async def test_a_client_secret_is_for_its_shopper_only(
    corner: Corner, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gateway")
    async with corner.shopper("ann") as ann, corner.shopper("bob") as bob:
        step = await ann.pays(await holds(ann), SECOND_STEP)
        await corner.sells("cap", 1)
        await bob.hears("catalog")
        assert step["client_secret"] not in json.dumps(bob.pushes)
    for record in caplog.records:
        if record.name.startswith("gateway"):
            assert "_secret_" not in record.getMessage()
            assert "shopper@example.com" not in record.getMessage()


async def test_a_payment_goes_on_when_its_socket_closes(corner: Corner, bank: Bank) -> None:
    await bank.fails(latency_ms=300, endpoint=CREATE)
    async with corner.shopper("ann") as ann:
        hold = await holds(ann)
        paying = asyncio.create_task(ann.pays(hold))
        async with asyncio.timeout(PATIENCE_S):
            while not corner.gateway.desk._running:
                await asyncio.sleep(0.005)
        ann.socket.transport.abort()
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        while not (welcome := await welcomed(corner, "ann"))["orders"]:
            pass
    assert welcome["holds"] == []
    async with corner.shopper("ann") as ann, asyncio.timeout(PATIENCE_S):
        while (await ann.pays(hold))["state"] != "confirmed":
            pass


async def welcomed(corner: Corner, name: str) -> Message:
    async with connected(corner.socket_url) as shopper:
        return await shopper.ask("connect", token=corner.ticket(name), show="tonight")


async def test_a_bank_that_is_down_for_a_moment_costs_time_only(corner: Corner, bank: Bank) -> None:
    await bank.fails(lock_percent=100, times=3, endpoint=CREATE)
    async with corner.shopper("ann") as ann:
        assert (await ann.buys("tee", "k"))["state"] == "confirmed"


async def test_whoever_waits_long_hears_the_place_in_the_queue(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two payments a second: the reply says how long, and pushes say how it goes on."""
    monkeypatch.setattr(desks, "_PATIENCE_S", 1)
    settings = msgspec.structs.replace(settings, stripe_rate_per_s=2)
    async with open_site(settings, UNLIMITED) as site, contextlib.AsyncExitStack() as stack:
        await site.sells("tee", 9)
        shoppers = [await stack.enter_async_context(site.shopper(f"s{n}")) for n in range(9)]
        mine = [await holds(shopper) for shopper in shoppers]
        first = await asyncio.gather(
            *(shopper.pays(hold) for shopper, hold in zip(shoppers, mine, strict=True))
        )
        queued = [answer for answer in first if answer["state"] == "queued"]
        assert len(queued) >= 4
        assert max(answer["position"] for answer in queued) >= 5
        assert all(0 < answer["eta_s"] <= answer["position"] for answer in queued)
        last = shoppers[first.index(max(queued, key=lambda answer: answer["position"]))]
        moved = await last.hears("checkout", state="queued")
        assert moved["position"] <= max(answer["position"] for answer in queued)
        # Who is told every few seconds is not looked at by the sweep in between.
        order = order_id(moved["hold"])
        looked_at_ms = await site.rooms.lane.command("ZSCORE", ShopKeys(site.shop).unsettled, order)
        soonest_ms = await now(site.rooms.lane, site.shop) + settings.settle_interval_s * 1000
        assert float(looked_at_ms) > soonest_ms + 2_000
        for shopper in shoppers:
            await shopper.hears("checkout", state="confirmed")
