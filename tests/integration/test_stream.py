"""Reading orders by cursor, the gate, and trimming."""

import asyncio

import pytest

from gateway.clock import SystemClock
from gateway.errors import Invalid
from gateway.keys import ShopKeys
from gateway.lane import Lane
from gateway.orders.stream import HISTORY_MS, MAX_PAGE, START, Gate, OrderStream
from tests.sales import DEADLINE_S, event_of, move, sell


@pytest.fixture
def orders(lane: Lane, shop: str) -> OrderStream:
    return OrderStream(lane, shop)


async def read(orders: OrderStream, after: str = "", limit: int = 10) -> tuple[list[str], str]:
    page = await orders.page(after, limit)
    return [event.subject for event in page.orders], page.next


@pytest.mark.parametrize(
    ("phase", "gate"),
    [
        ("committed", Gate.SHUT),
        ("captured", Gate.OPEN),
        ("refunded", Gate.OPEN),
        ("failed", Gate.NEVER),
        (None, Gate.OPEN),
    ],
)
async def test_the_phase_of_the_payment_decides_what_the_pos_may_have(
    orders: OrderStream, phase: str | None, gate: Gate
) -> None:
    await sell(orders.lane, orders.shop, "o1", phase)
    assert await orders.gate("o1") is gate


async def test_a_shop_without_orders_has_an_empty_page(orders: OrderStream) -> None:
    assert await read(orders) == ([], START)


async def test_pages_follow_one_another_by_cursor(orders: OrderStream) -> None:
    for number in range(5):
        await sell(orders.lane, orders.shop, f"o{number}")
    first, cursor = await read(orders, limit=2)
    second, cursor = await read(orders, cursor, limit=2)
    third, cursor = await read(orders, cursor, limit=2)
    assert first + second + third == ["o0", "o1", "o2", "o3", "o4"]
    assert await read(orders, cursor) == ([], cursor)


async def test_what_is_no_event_of_an_order_is_passed_over(orders: OrderStream) -> None:
    for order in ("o1", "o2"):
        await orders.lane.command("XADD", orders.keys.orders, "*", "hello", "there")
        await sell(orders.lane, orders.shop, order)
    found, cursor = await read(orders)
    assert found == ["o1", "o2"]
    assert await read(orders, cursor) == ([], cursor)


async def test_entries_by_hand_are_passed_over_however_small_the_page(orders: OrderStream) -> None:
    for _ in range(3):
        await orders.lane.command("XADD", orders.keys.orders, "*", "hello", "there")
    damaged = ("order", b"\xff", "event_id", "e", "event", "{}")
    await orders.lane.command("XADD", orders.keys.orders, "*", *damaged)
    await sell(orders.lane, orders.shop, "o1")
    page = await orders.page_within("", 1, 5, SystemClock())
    assert [event.subject for event in page.orders] == ["o1"]


@pytest.mark.parametrize("damaged", ["{}", "damaged", b'{"id":"\xff","contact":"ada@example.org"}'])
async def test_an_event_that_cannot_be_read_is_passed_over_and_logged_and_stays(
    orders: OrderStream, caplog: pytest.LogCaptureFixture, damaged: str | bytes
) -> None:
    first = await sell(orders.lane, orders.shop, "o1")
    fields = ("order", "o2", "event_id", "evt_o2_1", "event", damaged)
    bad = (await orders.lane.command("XADD", orders.keys.orders, "*", *fields)).decode()
    last = await sell(orders.lane, orders.shop, "o3")
    found, cursor = await read(orders)
    assert (found, cursor) == (["o1", "o3"], last)
    found, cursor = await read(orders, first, limit=1)
    assert (found, cursor) == (["o3"], last)
    assert await read(orders, bad) == (["o3"], last)
    told = f"orders: shop {orders.shop}: entry {bad} of order o2 cannot be read and is passed over"
    assert caplog.messages == [told, told], "once for each reader who passes it"
    assert bad in await read_ids(orders.lane, orders.keys.orders)


async def test_an_order_comes_as_the_event_that_was_committed(orders: OrderStream) -> None:
    await sell(orders.lane, orders.shop, "o1")
    page = await orders.page("", 1)
    assert page.orders == (event_of(orders.shop, "o1"),)


async def test_a_page_stops_before_an_order_that_is_not_captured_and_none_is_missed(
    orders: OrderStream,
) -> None:
    for order, phase in (("o1", "captured"), ("o2", "committed"), ("o3", "captured")):
        await sell(orders.lane, orders.shop, order, phase)
    found, cursor = await read(orders)
    assert found == ["o1"]
    await move(orders.lane, orders.shop, "o2", "captured")
    assert (await read(orders, cursor))[0] == ["o2", "o3"]


async def test_failed_orders_are_passed_over_and_the_page_is_filled_all_the_same(
    orders: OrderStream,
) -> None:
    for number in range(9):
        await sell(orders.lane, orders.shop, f"o{number}", "failed" if number % 3 else "captured")
    found, cursor = await read(orders, limit=2)
    assert found == ["o0", "o3"]
    found, cursor = await read(orders, cursor, limit=2)
    assert found == ["o6"]
    assert await read(orders, cursor) == ([], cursor)


@pytest.mark.parametrize(
    "after", ["x", "1", "1-", "-1-0", "1-1\n", "(1-1", "+", "$", "9" * 20 + "-0", "\u0661-\u0661"]
)
async def test_a_cursor_that_is_none_of_ours_is_refused(orders: OrderStream, after: str) -> None:
    with pytest.raises(Invalid):
        await orders.page(after, 1)


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
async def test_the_limit_of_a_page_is_bounded(orders: OrderStream, limit: int) -> None:
    with pytest.raises(Invalid):
        await orders.page("", limit)


async def test_a_waiting_reader_hears_of_an_order_as_soon_as_it_is_captured(
    orders: OrderStream,
) -> None:
    asked = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.set()
        await asyncio.sleep(seconds / 20)

    await sell(orders.lane, orders.shop, "o1", "committed")
    waiting = asyncio.create_task(orders.page_within("", 10, 30, SystemClock(), sleep))
    async with asyncio.timeout(DEADLINE_S):
        await asked.wait()
        await move(orders.lane, orders.shop, "o1", "captured")
        page = await waiting
    assert [event.subject for event in page.orders] == ["o1"]


async def test_a_waiting_reader_gets_an_empty_page_when_its_time_is_up(
    orders: OrderStream,
) -> None:
    await sell(orders.lane, orders.shop, "o1", "failed")
    page = await orders.page_within("", 10, 0.05, SystemClock())
    assert page.orders == ()
    assert page.next != START


@pytest.mark.parametrize("wait_s", [-1, 31, float("nan")])
async def test_waiting_is_bounded(orders: OrderStream, wait_s: float) -> None:
    with pytest.raises(Invalid):
        await orders.page_within("", 10, wait_s, SystemClock())


async def test_trimming_keeps_what_any_group_has_not_acknowledged(
    orders: OrderStream, lane: Lane, shop: str
) -> None:
    ids = [await sell(lane, shop, f"o{number}", None) for number in range(60)]
    key = ShopKeys(shop).orders
    for group in ("ahead", "behind"):
        await lane.command("XGROUP", "CREATE", key, group, START)
        await lane.command("XREADGROUP", "GROUP", group, "relay", "COUNT", 50, "STREAMS", key, ">")
    await lane.command("XACK", key, "ahead", *ids[:50])
    await lane.command("XACK", key, "behind", *ids[:30], *ids[31:50])
    dropped = await orders.trim(keep_ms=0)
    assert 0 < dropped <= 30
    assert await read_ids(lane, key) == ids[dropped:]

    await orders.acknowledge("behind", ids[30])
    dropped += await orders.trim(keep_ms=0)
    assert 30 < dropped <= 50
    assert await read_ids(lane, key) == ids[dropped:]


async def test_trimming_keeps_everything_for_a_group_that_has_not_begun(
    orders: OrderStream, lane: Lane, shop: str
) -> None:
    for number in range(20):
        await sell(lane, shop, f"o{number}", None)
    await lane.command("XGROUP", "CREATE", ShopKeys(shop).orders, "new", START)
    assert await orders.trim(keep_ms=0) == 0


async def test_trimming_keeps_the_history_that_pullers_need(
    orders: OrderStream, lane: Lane, shop: str
) -> None:
    for number in range(20):
        await sell(lane, shop, f"o{number}", None)
    assert await orders.trim() == 0
    assert await orders.trim(HISTORY_MS * 10_000) == 0
    assert await orders.trim(keep_ms=0) > 0


async def test_a_shop_without_orders_can_be_trimmed(orders: OrderStream) -> None:
    assert await orders.trim(keep_ms=0) == 0


async def read_ids(lane: Lane, key: str) -> list[str]:
    return [row[0].decode() for row in await lane.command("XRANGE", key, "-", "+")]
