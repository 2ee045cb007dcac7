"""One shop's orders on their way to one webhook: a real Valkey, a real till, a real socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.group import OrderGroup
from gateway.orders.stream import Entry, OrderStream
from gateway.pos.courier import IN_FLIGHT, Courier, Route
from gateway.pos.delivery import Line
from gateway.pos.fence import Fence
from gateway.pos.webhooks import Webhook
from gateway.settings import Settings
from tests.handoff import Handoff, Receiver, handoff, running
from tests.sales import eventually

TLS = ssl.create_default_context()
HERE = Fence.around("127.0.0.0/8")


@pytest.fixture
async def site(lane: Lane, shop: str, settings: Settings) -> AsyncIterator[Handoff]:
    async with handoff(lane, shop, replace(settings, relay_attempts=3)) as site:
        yield site


def courier(site: Handoff, webhook: Webhook | None = None) -> Courier:
    clock = site.patience.clock
    route = Route(
        orders=OrderStream(site.lane, site.shop),
        group=OrderGroup(site.lane, site.shop, "till"),
        line=Line(webhook or site.webhook, 1.0, IN_FLIGHT, TLS, HERE, clock),
        parking=site.parking,
    )
    return Courier(route, site.settings, site.patience, site.tally.of(site.shop, "till"))


async def test_orders_arrive_and_are_acknowledged(site: Handoff) -> None:
    await site.sell("before")
    async with running(courier(site)):
        await site.has("before")
        await site.sell("after")
        await site.has("before", "after")
        await site.settled()
    assert (await site.summary())["duplicates"] == 0
    assert site.count("delivered_total") == 2


@pytest.mark.parametrize("damaged", ["damaged", b'{"traceparent":"\xff"}'])
async def test_an_event_that_cannot_be_read_is_parked_and_keeps_up_nobody(
    site: Handoff, damaged: str | bytes
) -> None:
    fields = ("order", "strange", "event_id", "evt_strange_1", "event", damaged)
    await site.lane.command("XADD", ShopKeys(site.shop).orders, "*", *fields)
    await site.sell("goes")
    async with running(courier(site)):
        await site.has("goes")
        await site.parks(1)


async def test_an_order_waits_for_its_money_and_keeps_up_nobody(site: Handoff) -> None:
    await site.sell("waits", "committed")
    await site.sell("goes")
    async with running(courier(site)):
        await site.has("goes")
        assert await site.pending() == 1
        await site.move("waits", "captured")
        await site.has("waits", "goes")
        await site.settled()


async def test_an_order_whose_money_failed_is_never_heard_of(site: Handoff) -> None:
    await site.sell("fails", "committed")
    await site.sell("failed", "failed")
    await site.sell("goes")
    async with running(courier(site)):
        await site.has("goes")
        await site.move("fails", "failed")
        await site.settled()
    assert await site.orders() == ["goes"]
    assert site.count("skipped_total") == 2


async def test_an_order_without_a_record_goes(site: Handoff) -> None:
    await site.sell("old", phase=None)
    async with running(courier(site)):
        await site.has("old")


async def test_lost_replies_and_refusals_have_their_effect_once(site: Handoff) -> None:
    await site.faults(lose_reply=3, status=503, count=3)
    for number in range(8):
        await site.sell(f"o{number}")
    async with running(courier(site)):
        await site.has(*(f"o{number}" for number in range(8)))
        await site.settled()
    summary = await site.summary()
    assert (summary["orders"], summary["units"], summary["duplicates"]) == (8, 16, 3)
    assert site.count("delivered_total") == 8
    assert site.count("retried_total") == 6
    assert site.count("parked_total") == 0


async def test_a_conflict_means_that_the_receiver_has_it(site: Handoff) -> None:
    await site.faults(status=409, count=1)
    await site.sell("o1")
    async with running(courier(site)):
        await site.settled()
    assert site.count("delivered_total") == 1
    assert site.count("retried_total") == 0


async def test_what_keeps_failing_is_parked_and_keeps_up_nobody(site: Handoff) -> None:
    await site.faults(status=500, count=1_000, order="poison")
    await site.sell("poison")
    await site.sell("goes")
    async with running(courier(site)):
        await site.parks(1)
        await site.has("goes")
        await site.settled()
    ((_, record),) = [item async for item in site.parking.listing()]
    assert (record.order, record.attempts, record.reason) == ("poison", 3, "status 500")
    assert site.count("parked_total") == 1


async def test_gone_means_park_at_once(site: Handoff) -> None:
    await site.faults(status=410, count=1)
    await site.sell("o1")
    async with running(courier(site)):
        await site.parks(1)
    assert site.count("retried_total") == 0


async def test_versions_of_an_order_arrive_in_order_whatever_fails(site: Handoff) -> None:
    for version in (1, 2, 3):
        await site.sell("o1", version=version)
        await site.sell("o2", version=version)
    receiver = Receiver(refusals={"evt_o1_1": 2, "evt_o1_3": 1})
    receiver.go.set()
    async with receiver.listening(), running(courier(site, receiver.webhook)):
        await site.settled()
    assert [one for one in receiver.seen if "o1" in one] == [
        *("evt_o1_1", "evt_o1_1", "evt_o1_1", "evt_o1_2"),
        *("evt_o1_3", "evt_o1_3"),
    ]
    assert [one for one in receiver.seen if "o2" in one] == ["evt_o2_1", "evt_o2_2", "evt_o2_3"]
    assert receiver.seen.index("evt_o2_3") < receiver.seen.index("evt_o1_2")


async def test_what_follows_a_parked_order_is_parked_behind_it_over_a_restart_too(
    site: Handoff,
) -> None:
    await site.faults(status=500, count=3, order="o1")
    await site.sell("o1", version=1)
    await site.sell("o1", version=2)
    async with running(courier(site)):
        await site.parks(2)
    await site.sell("o1", version=3)
    async with running(courier(site)):
        await site.parks(3)
        await site.settled()
    assert await site.orders() == []


async def test_parked_orders_are_tried_again_in_order_when_somebody_asks(site: Handoff) -> None:
    await site.sell("o1", version=1)
    await site.sell("o1", version=2)
    receiver = Receiver(refusals={"evt_o1_1": 3})
    receiver.go.set()
    async with receiver.listening(), running(courier(site, receiver.webhook)):
        await site.parks(2)
        assert await site.parking.retry() == 1
        await site.parks(0)
        await site.tried()
        await site.sell("o1", version=3)
        await site.settled()
        assert site.count("parked_now") == 0
    assert receiver.seen == ["evt_o1_1"] * 4 + ["evt_o1_2", "evt_o1_3"]


async def test_what_fails_again_stays_parked(site: Handoff) -> None:
    await site.faults(status=500, count=1_000)
    await site.sell("o1", version=1)
    await site.sell("o1", version=2)
    async with running(courier(site)):
        await site.parks(2)
        await site.parking.retry(["o1", "unknown"])
        await site.tried()
        assert await site.parking.count() == 2
    assert site.count("retried_total") == 4


async def test_where_nobody_listens_orders_wait_and_are_never_parked(
    site: Handoff, unused_tcp_port: int
) -> None:
    await site.sell("o1")
    nowhere = Webhook(f"http://127.0.0.1:{unused_tcp_port}/", site.webhook.secret)
    async with running(courier(site, nowhere)):

        async def knocked() -> bool:
            return site.count("unreachable_total") > site.settings.relay_attempts

        await eventually(knocked)
    assert await site.parking.count() == 0
    assert await site.pending() == 1
    async with running(courier(site)):
        await site.has("o1")
        await site.settled()


async def test_a_restart_begins_with_what_was_left_pending(site: Handoff) -> None:
    dead = OrderGroup(site.lane, site.shop, "till")
    await dead.open()
    await site.sell("left")
    await dead.new(10, 10)
    await dead.close()
    async with running(courier(site)):
        await site.has("left")
        await site.settled()


async def test_entries_of_a_read_whose_reply_was_lost_are_delivered(
    site: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = OrderGroup.new, list[Entry]()

    async def new(group: OrderGroup, count: int, block_ms: int) -> list[Entry]:
        page = await real(group, count, block_ms)
        if page and not lost:
            lost.extend(page)
            raise Unavailable("the reply was lost")
        return page

    monkeypatch.setattr(OrderGroup, "new", new)
    async with running(courier(site)):
        await site.sell("o1", version=1)
        await site.sell("o1", version=2)
        await site.has("o1")
        await site.settled()
    assert lost
    assert site.count("delivered_total") == 2


async def test_a_delivery_under_way_may_end_when_the_courier_is_stopped(
    site: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.pos.courier.GRACE_S", 60.0)
    await site.sell("o1")
    receiver = Receiver()
    async with (
        receiver.listening(),
        asyncio.timeout(30),
        running(courier(site, receiver.webhook)),
    ):
        await receiver.has_seen(1)
        asyncio.get_running_loop().call_later(0.1, receiver.go.set)
    assert await site.pending() == 0
    assert site.count("delivered_total") == 1


async def test_a_delivery_that_takes_too_long_to_end_stays_pending(
    site: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.pos.courier.GRACE_S", 0.05)
    await site.sell("o1")
    receiver = Receiver()
    async with receiver.listening():
        async with running(courier(site, receiver.webhook)):
            await receiver.has_seen(1)
        receiver.go.set()
    assert await site.pending() == 1
    assert site.count("delivered_total") == 0


async def test_no_more_deliveries_are_under_way_than_allowed(site: Handoff) -> None:
    for number in range(3 * IN_FLIGHT):
        await site.sell(f"o{number}")
    receiver = Receiver()
    async with receiver.listening(), running(courier(site, receiver.webhook)):
        await receiver.has_seen(IN_FLIGHT)
        receiver.go.set()
        await site.settled()
    assert receiver.most_under_way == IN_FLIGHT
    assert len(receiver.seen) == 3 * IN_FLIGHT
