"""Orders as the commit leaves them behind, for tests of what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.keys import SHOPS, ShopKeys
from gateway.lane import Lane
from gateway.model import Contact, Line, Money, Order, OrderFulfillment
from gateway.orders import entry

DEADLINE_S = 8.0


async def eventually(
    probe: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S, every_s: float = 0.005
) -> None:
    """Wait until something is so; fail when it is not within the deadline."""
    async with asyncio.timeout(deadline_s):
        while not await probe():
            await asyncio.sleep(every_s)


def event_of(shop: str, order: str, version: int = 1) -> entry.OrderEvent:
    """The event of an order of two shirts."""
    price = Money(1_950, "USD")
    return entry.event(
        shop,
        Order(
            id=order,
            order_version=version,
            state="confirmed",
            lines=(Line("shirt-m", 2, price, "main"),),
            total=Money(3_900, "USD"),
            tenders=(),
            contact=Contact("ada@example.org", name="Ada Żółć"),
            fulfillment=OrderFulfillment("ship", "proposed"),
            show="tonight",
            occurred_at="2026-11-21T20:11:54.123Z",
            recorded_at="2026-11-21T20:11:54.123Z",
        ),
    )


async def sell(
    lane: Lane, shop: str, order: str, phase: str | None = "captured", version: int = 1
) -> str:
    """Append an order's event and, unless ``None``, its phase; return the entry's id."""
    keys, event = ShopKeys(shop), event_of(shop, order, version)
    await lane.command("SADD", SHOPS, shop)
    if phase is not None:
        await move(lane, shop, order, phase)
    fields = ("order", order, "event_id", event.id, "units", "[]", "event", entry.encode(event))
    entry_id: bytes = await lane.command("XADD", keys.orders, "*", *fields)
    return entry_id.decode()


async def move(lane: Lane, shop: str, order: str, phase: str) -> None:
    """Set the phase of an order's payment."""
    await lane.command("HSET", ShopKeys(shop).order(order), "phase", phase)
