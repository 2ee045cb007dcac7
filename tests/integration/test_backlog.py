"""What waits, and for how long."""

import asyncio

import msgspec
import pytest

from gateway.backlog import Backlog, Waiting, of_shop, together
from gateway.clock import SystemClock
from gateway.durability import Durability
from gateway.errors import Unavailable
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.group import OrderGroup
from gateway.pos.webhooks import Webhook, WebhookBook
from gateway.stock.now import now
from gateway.stock.rows import Row
from tests.handoff import SECRET
from tests.sales import sell

TILL = Webhook("https://till.example.com/orders", SECRET)


async def test_in_a_shop_nobody_knows_nothing_waits(lane: Lane, shop: str) -> None:
    assert await of_shop(lane, shop) == Waiting(shops=1)


async def test_a_hold_that_has_outlived_its_deadline_is_overdue(lane: Lane, shop: str) -> None:
    keys, now_ms = ShopKeys(shop), await now(lane, shop)
    await lane.command("ZADD", keys.deadlines, now_ms - 5_000, "h1:ann", now_ms + 60_000, "h2:bo")
    waiting = await of_shop(lane, shop)
    assert waiting.holds == 2
    assert waiting.hold_overdue_s == pytest.approx(5, abs=2)
    await lane.command("ZREM", keys.deadlines, "h1:ann")
    assert (await of_shop(lane, shop)).hold_overdue_s == 0


async def test_payments_are_as_old_as_their_phase(lane: Lane, shop: str) -> None:
    keys, now_ms = ShopKeys(shop), await now(lane, shop)
    for order, phase, begun_s, committed_s in (
        ("o1", "paying", 70, 0),
        ("o2", "paying", 20, 0),
        ("o3", "committed", 900, 40),
        ("o4", "captured", 900_000, 900_000),
    ):
        await lane.command("ZADD", keys.unsettled, now_ms, order)
        fields = ("phase", phase, "attempt_at", now_ms - begun_s * 1000)
        await lane.command("HSET", keys.order(order), *fields)
        if committed_s:
            at_ms = now_ms - committed_s * 1000
            await lane.command("HSET", keys.order(order), "committed_at", at_ms)
    waiting = await of_shop(lane, shop)
    assert waiting.payments == 4
    assert waiting.paying_s == pytest.approx(70, abs=2)
    assert waiting.committed_s == pytest.approx(40, abs=2)
    assert waiting.voiding_s == 0


async def test_orders_wait_for_each_webhook_whether_a_relay_runs_or_not(
    lane: Lane, shop: str
) -> None:
    keys, book = ShopKeys(shop), WebhookBook(lane, shop)
    await sell(lane, shop, "o1")
    assert (await of_shop(lane, shop)).undelivered == 0
    await book.put("till", TILL)
    await book.put("books", TILL)
    await book.put("idle", msgspec.structs.replace(TILL, active=False))
    for order in ("o2", "o3"):
        await sell(lane, shop, order)
    assert (await of_shop(lane, shop)).undelivered == 6
    group = OrderGroup(lane, shop, "till")
    await group.open()
    read = await group.new(2, 100)
    await lane.command("XACK", keys.orders, "till", read[0].id)
    waiting = await of_shop(lane, shop)
    assert waiting.undelivered == 2 + 3
    assert 0 < waiting.undelivered_s < 60
    for entry in (*read, *await group.new(2, 100)):
        await lane.command("XACK", keys.orders, "till", entry.id)
    await group.close()
    await book.remove("books")
    waiting = await of_shop(lane, shop)
    assert (waiting.undelivered, waiting.undelivered_s) == (0, 0)


async def test_what_was_parked_and_what_is_short_is_counted(lane: Lane, shop: str) -> None:
    keys = ShopKeys(shop)
    await WebhookBook(lane, shop).put("till", TILL)
    await lane.command("HSET", keys.parked("till"), "1-1", "{}")
    for sku, on_hand in (("tee", -2), ("mug", 4)):
        packed = msgspec.json.encode([Row("main", on_hand, 1, 0, 0, 1, 0)])
        await lane.command("HSET", keys.stock, sku, packed)
    waiting = await of_shop(lane, shop)
    assert (waiting.parked, waiting.shortfall_units) == (1, 3)


def test_of_several_shops_counts_are_added_and_the_oldest_counts() -> None:
    one = Waiting(shops=1, holds=2, paying_s=7.0, parked=1)
    two = Waiting(shops=1, holds=3, paying_s=4.0, undelivered_s=9.0)
    assert together([one, two]) == Waiting(
        shops=2, holds=5, paying_s=7.0, undelivered_s=9.0, parked=1
    )
    assert together([]) == Waiting()


async def test_stock_that_cannot_be_read_is_named_and_all_else_is_counted(
    lane: Lane, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    short = msgspec.json.encode([Row("main", 1, 0, 3, 0, 1, 0)])
    await lane.command("HSET", ShopKeys(shop).stock, "tee", short, "cap", "damaged")
    assert (await of_shop(lane, shop)).shortfall_units == 2
    assert caplog.messages == [f"backlog: shop {shop}: the stock of cap cannot be read"]


async def test_while_redis_is_silent_the_figures_stay_and_their_age_grows(lane: Lane) -> None:
    away = Lane(lane.settings)
    backlog = Backlog(away, Durability(away, lane.settings, SystemClock()))
    backlog.lane._closed = True
    backlog.waiting, before = Waiting(parked=7), backlog.read._beat_s
    with pytest.raises(Unavailable):
        await backlog.look()
    assert backlog.waiting.parked == 7
    assert backlog.read._beat_s == before


async def test_that_nobody_tells_which_shops_there_are_is_said(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    away = Lane(lane.settings)
    away._closed = True
    backlog = Backlog(away, Durability(away, lane.settings, SystemClock()))
    reading = asyncio.create_task(backlog.run())
    async with asyncio.timeout(5):
        while not [one for one in caplog.messages if "which shops there are" in one]:
            await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_of_a_shop_that_is_silent_the_last_figures_stay_and_it_is_said_once(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shops = ["acme", "corner"]
    silent: set[str] = set()

    async def known(_: Lane) -> list[str]:
        return shops

    async def told(_: Lane, shop: str) -> Waiting:
        if shop in silent:
            raise Unavailable("It is silent.")
        return Waiting(shops=1, parked=1)

    monkeypatch.setattr("gateway.backlog.shops", known)
    monkeypatch.setattr("gateway.backlog.of_shop", told)
    backlog = Backlog(lane, Durability(lane, lane.settings, SystemClock()))
    await backlog.look()
    before = backlog.read._beat_s
    silent.add("acme")
    for _ in range(3):
        await backlog.look()
    assert backlog.waiting == Waiting(shops=2, parked=2)
    assert backlog.read._beat_s == before
    said = [one for one in caplog.records if one.name == "gateway.backlog"]
    assert [one.levelname for one in said] == ["WARNING"]
    assert "acme" in said[0].getMessage()
    shops.remove("acme")  # It is none any more: its figures go with it.
    await backlog.look()
    assert backlog.waiting == Waiting(shops=1, parked=1)
    assert backlog.read._beat_s > before
