"""Relays: which of them works for a shop, and what they do when something goes away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from gateway.__main__ import main
from gateway.errors import Unavailable
from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.orders.group import OrderGroup
from gateway.pos import relay
from gateway.pos.relay import Retried
from gateway.pos.tally import Tally
from gateway.pos.webhooks import Webhook, WebhookBook
from gateway.pulse import Pulse
from gateway.sandbox import till
from gateway.sandbox.valkey import EmbeddedValkey, ValkeyMissingError
from gateway.sandbox.warden import Warden
from gateway.settings import Settings
from tests.handoff import SECRET, Handoff, Receiver, handoff, running
from tests.sales import DEADLINE_S, eventually


@pytest.fixture
async def site(lane: Lane, shop: str, settings: Settings) -> AsyncIterator[Handoff]:
    async with handoff(lane, shop, settings) as site:
        yield site


async def lease(site: Handoff) -> str | None:
    owner: bytes | None = await site.lane.command("GET", ShopKeys(site.shop).relay)
    return owner.decode() if owner else None


async def groups(site: Handoff) -> int:
    return len(await site.lane.command("XINFO", "GROUPS", ShopKeys(site.shop).orders))


async def test_orders_of_a_shop_that_comes_later_reach_its_till(site: Handoff) -> None:
    async with running(site.relay()):
        await site.sell("o1")
        await site.book.put("till", site.webhook)
        await site.has("o1")
        await site.settled()


async def test_every_webhook_gets_every_order(site: Handoff) -> None:
    await site.sell("o1")
    await site.book.put("till", site.webhook)
    async with till.serving(":memory:", SECRET) as url, running(site.relay()):
        await site.book.put("second", Webhook(f"{url}/orders", SECRET))
        await site.has("o1")
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

            async def there() -> bool:
                return bool((await http.get("/orders")).json())

            await eventually(there)


async def test_a_webhook_that_is_switched_off_misses_nothing(site: Handoff) -> None:
    await site.book.put("till", site.webhook)
    witness = Receiver()
    witness.go.set()
    async with witness.listening(), running(site.relay()):
        await site.sell("o1")
        await site.has("o1")
        await site.book.put("witness", witness.webhook)
        await site.book.put("till", Webhook(site.webhook.url, SECRET, active=False))

        async def noticed() -> bool:
            return site.at_work() == {"witness"}

        await eventually(noticed)
        await site.sell("o2")
        # Whoever is switched on has it by now.
        await witness.has_seen(2)
        assert await site.orders() == ["o1"]
        await site.book.put("till", site.webhook)
        await site.has("o1", "o2")


async def test_a_webhook_that_moved_is_followed(site: Handoff) -> None:
    receiver = Receiver()
    async with receiver.listening():
        await site.book.put("till", receiver.webhook)
        async with running(site.relay()):
            await site.sell("o1")
            await receiver.has_seen(1)
            await site.book.put("till", site.webhook)
            receiver.go.set()

            async def moved() -> bool:
                await site.sell("o2")
                return "o2" in await site.orders()

            await eventually(moved)
            await site.settled()


async def test_a_removed_webhook_leaves_no_group_behind(site: Handoff) -> None:
    await site.book.put("till", site.webhook)
    async with running(site.relay()):
        await site.sell("o1")
        await site.has("o1")
        await site.book.remove("till")

        async def gone() -> bool:
            return await groups(site) == 0 and not site.count("in_hand")

        await eventually(gone)


async def test_of_two_relays_one_delivers_and_the_other_takes_over_at_once_when_it_stops(
    site: Handoff,
) -> None:
    await site.book.put("till", site.webhook)
    await site.sell("o1")
    async with running(site.relay("one", lease_ms=60_000)):
        await site.has("o1")
        assert await lease(site) == "one"
        async with running(site.relay("two", lease_ms=60_000)):
            await site.sell("o2")
            await site.has("o1", "o2")
            assert await lease(site) == "one"
    async with running(site.relay("two", lease_ms=60_000)):
        await site.sell("o3")
        await site.has("o1", "o2", "o3")
        assert await lease(site) == "two"
    assert await lease(site) is None
    assert (await site.summary())["duplicates"] == 0


async def test_what_a_dead_relay_left_behind_is_taken_over_when_its_lease_ends(
    site: Handoff,
) -> None:
    await site.book.put("till", site.webhook)
    await site.lane.command("SET", ShopKeys(site.shop).relay, "dead", "PX", 300)
    dead = OrderGroup(site.lane, site.shop, "till")
    await dead.open()
    await site.sell("left", version=1)
    await dead.new(10, 10)
    await dead.close()
    await site.sell("left", version=2)
    async with running(site.relay()):
        await site.has("left")
        await site.settled()
    (event,) = (await site.http.get("/orders")).json()
    assert event["data"]["order_version"] == 2


async def test_a_relay_that_lost_its_lease_stops_delivering(site: Handoff) -> None:
    await site.book.put("till", site.webhook)
    async with running(site.relay()):
        await site.sell("o1")
        await site.has("o1")
        await site.lane.command("SET", ShopKeys(site.shop).relay, "other", "PX", 60_000)

        async def stopped() -> bool:
            return not site.at_work()

        await eventually(stopped)
        await site.sell("o2")
        assert await lease(site) == "other"
    assert await site.orders() == ["o1"]
    assert await lease(site) == "other"


async def test_a_webhook_nobody_can_read_keeps_up_no_other(site: Handoff) -> None:
    await site.lane.command("HSET", ShopKeys(site.shop).webhooks, "broken", "{")
    await site.book.put("till", site.webhook)
    async with running(site.relay()):
        await site.sell("o1")
        await site.has("o1")


async def test_a_courier_that_fails_is_started_again(
    site: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faults = OrderGroup.pending, [RuntimeError("a fault of ours")]

    async def pending(group: OrderGroup, after: str, count: int) -> object:
        if faults:
            raise faults.pop()
        return await real(group, after, count)

    monkeypatch.setattr(OrderGroup, "pending", pending)
    await site.book.put("till", site.webhook)
    await site.sell("o1")
    async with running(site.relay()):
        await site.has("o1")
    assert not faults


async def test_old_orders_are_trimmed_now_and_then(
    site: Handoff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.pos.relay._TRIM_S", 0.0)
    trimmed = asyncio.Event()

    async def trim(_: object) -> int:
        trimmed.set()
        return 0

    monkeypatch.setattr("gateway.orders.stream.OrderStream.trim", trim)
    await site.sell("o1")
    async with running(site.relay()), asyncio.timeout(DEADLINE_S):
        await trimmed.wait()


async def test_everything_parked_can_be_tried_again(site: Handoff) -> None:
    await site.faults(status=410, count=2)
    await site.book.put("till", site.webhook)
    await site.sell("o1")
    await site.sell("o2")
    async with running(site.relay()):
        await site.parks(2)
        assert await relay.retry_parked(site.settings) == Retried(orders=2)
        await site.has("o1", "o2")
        await site.parks(0)
    assert await relay.retry_parked(site.settings) == Retried(orders=0)


async def test_a_shop_whose_server_is_away_is_named_and_the_others_are_tried_again(
    site: Handoff, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every, away = WebhookBook.all, f"{site.shop}-away"

    async def unless_away(book: WebhookBook) -> dict[str, Webhook]:
        if book.shop == away:
            raise Unavailable("The stock is moving; try again.")
        return await every(book)

    await site.book.put("till", site.webhook)
    parked = b'{"order":"o1","event_id":"e","reason":"","attempts":1,"parked_at":"","event":{}}'
    await site.lane.command("HSET", ShopKeys(site.shop).parked("till"), "1-1", parked)
    await site.lane.command("SADD", SHOPS, site.shop, away)
    monkeypatch.setattr(WebhookBook, "all", unless_away)
    monkeypatch.setenv("REDIS_URL", site.settings.redis_url)
    try:
        code = await asyncio.to_thread(main, ["relay", "--retry-parked"])
    finally:
        await site.lane.command("SREM", SHOPS, away)
    assert code == 1
    told = capsys.readouterr()
    assert told.out == "1 orders will be delivered once more\n"
    assert told.err.endswith(f"holdfast: {away} does not answer, and is left out; ask again\n")
    assert "Traceback" not in told.err
    assert await site.parking.wanted() == ["o1"]


async def test_the_process_outlives_a_redis_that_goes_away(
    warden: Warden, settings: Settings, shop: str
) -> None:
    server = EmbeddedValkey(warden.group, port=0, config={"save": "3600 1"})
    try:
        server.start()
    except ValkeyMissingError as missing:
        pytest.skip(str(missing))
    with contextlib.closing(server):
        own = replace(settings, redis_url=server.url)
        lane = Lane(own)
        lane_task = asyncio.create_task(lane.run())
        async with handoff(lane, shop, own) as site:
            await site.book.put("till", site.webhook)
            await site.sell("o1")
            tally = Tally(CollectorRegistry())
            task = asyncio.create_task(relay.run(Lane(own), own, tally, Pulse()))
            await site.has("o1")
            server.stop()
            server.start()
            await site.book.put("till", site.webhook)
            await site.sell("o2")
            await site.has("o1", "o2")
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await site.lane.command("EXISTS", ShopKeys(shop).relay) == 0
            assert await site.lane.command("SISMEMBER", SHOPS, shop) == 1
        lane_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lane_task
